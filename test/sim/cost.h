/* cost: members of the real core in simulated time, for scripts/sim --cost (cost.c says what for).
 *
 * Each call of the core is timed on the CPU it runs on (its thread's CPU time, less what reading
 * the clock costs), and its member is busy for that long; what it sends leaves when it is done,
 * through the sender's and the receiver's link. A member's turn is that of the server's loop:
 * messages that wait (for 2 ms for each peer at most), then cluster_advance. The objects are a
 * table without a price. */
#ifndef BRAIN_SIM_COST_H
#define BRAIN_SIM_COST_H

#include "brain/cluster.h"

enum {
    LINK_NS = 100000,      /* one way */
    LINK_BITS_PER_NS = 10, /* 10 Gbit/s */
    TURN_NS = 2000000,     /* of messages of one peer in one turn (cnode/dist/connection.c) */
    ADVANCE_BUDGET = 1000, /* as in cnode/server/clustering.c, and the next three */
    ADVANCE_INTERVAL_MS = 100,
    RETRY_MS = 200,
    COPY_CHECK_MS = 10000,
    HINTS_LIMIT = 200000,
    BACKUPS = 1, /* as in include/brain/config.h, and the next three */
    HANDOFF_USES = 4,
    REQUEST_TIMEOUT_MS = 5000,
    LEASE_MS = 10000,
    VALUE_SIZE = 100,     /* bytes of a dirty object's value */
    PROBES = 256,         /* requests of each kind in each change */
    AT_ONCE = 128,        /* requests of one member while its objects are made */
    PATIENCE_MS = 120000, /* simulated, for one change */
    DRAIN_MS = 2000,      /* simulated, for one member to drain */
    NODES_LIMIT = 1000,
    NOBODY = UINT16_MAX,
    ID_SIZE = 16,
    NAME_SIZE = 24,
};
static const uint64_t MS = 1000000; /* ns */

/* ---- the world ---- */

enum item_kind { ITEM_MESSAGE, ITEM_VIEW, ITEM_JOIN, ITEM_REQUEST, ITEM_DRAIN };

/* What a member has to do; first on the wire, then in its inbox. */
struct item {
    struct item *next;
    uint64_t ready_ns;
    enum item_kind kind;
    uint16_t from, to;
    struct value message;
    struct cluster_request *request;
};

struct member {
    uint16_t index;
    bool up;
    char name[NAME_SIZE];
    uint64_t incarnation;
    struct cluster *core;
    struct item *inbox, **inbox_end, *outbox, **outbox_end;
    uint64_t busy_until_ns, due_ns, turn_ns; /* turn_ns: UINT64_MAX: none is planned */
    uint64_t out_free_ns, in_free_ns;
    uint32_t *ids; /* that it adopted; some may be gone since */
    size_t ids_count, ids_capacity;
    /* of the change */
    uint64_t cpu_ns, messages, bytes, slots_open_ns;
};

struct object {
    struct cluster_epoch epoch;
    uint32_t seq;
    uint16_t owner;
    bool dirty, orphan; /* orphan: dirty, and its owner is gone */
};

struct event {
    uint64_t at_ns, number;
    struct member *member;
    struct item *item; /* NULL: a turn */
};

struct probe {
    struct cluster_request request;
    uint8_t id[ID_SIZE];
    uint64_t start_ns, end_ns;
    struct probe *next; /* answered in the call that is under way */
    uint32_t object;
};

struct cost {
    uint64_t now_ns, events_count, clock_ns, view, incarnations;
    struct event *queue;
    size_t queue_size, queue_capacity;
    struct member *members;
    uint16_t members_count;
    struct object *objects;
    uint32_t objects_count, objects_capacity, orphans;
    struct value value;
    struct probe *answered;
    uint32_t waiting, percent_dirty;
};
extern struct cost cost;

/* Ends the program: something that must hold does not. */
_Noreturn void cost_fail(const char *what);
void *cost_need(void *memory); /* memory, or the end */
/* Of object number `object`, in `bytes` (ID_SIZE). */
struct slice cost_id(uint32_t object, uint8_t *bytes);
uint64_t cost_now_ms(void);

/* A member that has not joined yet, with nothing; the end of one, whatever it owns. */
void cost_member_start(struct member *member);
void cost_member_end(struct member *member);
/* Something to do, from now on; a request of a client of this member. */
void cost_tell(struct member *member, enum item_kind kind);
void cost_ask(struct member *member, struct cluster_request *request);
void cost_run_until(uint64_t until_ns);
/* Forgets all that is to come. */
void cost_clear(void);

void cost_clock_measure(void); /* once, first */
uint64_t cost_cpu_ns(void);
/* A call of the core, begun at `from_ns` of cost_cpu_ns, is over: the member was busy with it, what
 * it sent leaves. */
void cost_charge(struct member *member, uint64_t from_ns);

#endif
