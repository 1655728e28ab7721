/* sim: a whole cluster in one process, from a seed.
 *
 *   clients.c    requests, and the history of what they were answered
 *   node.c       a member: the real core, holdings and store, and a clock
 *   storage.c    the store wired to journal and warehouse, as cnode/server/storage.c does it
 *   replicas.c   the replica wired to them all, and what must hold of it
 *   journal.c    the disk of a node
 *   driver.c     loads and dumps at the node: what the drivers of cnode/warehouse do
 *   warehouse.c  what is stored, and how that fails
 *   network.c    links between members; etcd.c: leases, views, evict keys
 *   faults.c     what goes wrong, and what a seed is made of
 *   checks.c     what must hold;  linear.c: linearizability
 *   world.c      the queue of events;  main.c: options, processes, replays
 *
 * Nothing here knows the rules: it knows the promises. Time is true time in microseconds; each node
 * has a clock of its own, in ms, which runs up to 1 % faster or slower. */
#ifndef BRAIN_SIM_H
#define BRAIN_SIM_H

#include <stdio.h>

#include "brain/holdings.h"
#include "brain/replica.h"
#include "brain/stored.h"
#include "compaction.h"
#include "ledger.h"
#include "linear.h"
#include "random.h"

enum {
    NODES = 9,
    IDS = 3,
    OPERATIONS_PER_ID = 36, /* and one read of each node at the end: linear_check takes 64 */
    LOSSES = 512,
    ENDINGS = 64,
    OPERATIONS = IDS * (OPERATIONS_PER_ID + NODES) + 200,
    LEASE_MS = 1000,
    LEASE_MARGIN_MS = LEASE_MS / 10,
    SIM_NAME = 16,
    LANES = 16,
    ADOPTIONS = 4096,
    VALUE_BYTES = 512,
    MEMORY_LIMIT = 4 << 20, /* of a store: pages are small then */
};

/* Rules that the simulator itself keeps, in the place of etcd's adapter and of the warehouse. */
#define SIM_RULES(X)                                                                               \
    X(R1_SENT, "a lease counts from when its renewal was sent")                                    \
    X(R1_AGAIN, "a lease that is known to be lost is not resumed: the member is another one")      \
    X(R10_RECORD, "a record is not younger than its segment, or the copy it was written from")     \
    X(R10_SEGMENT, "what is needed of an old segment is written again, so that the rest goes")     \
    X(PUT_CONDITION, "the warehouse writes only if nobody else did in between")
#define SIM_RULE_ENUM(name, text) SIM_##name,
enum sim_rule { SIM_RULES(SIM_RULE_ENUM) SIM_RULE_COUNT };
#undef SIM_RULE_ENUM

struct sim_options {
    uint64_t seed;
    uint32_t nodes; /* 0: from the seed */
    uint32_t steps; /* events before the faults stop */
    uint64_t broken;
    uint32_t sim_broken, replica_broken;
    bool trace;
};

/* Which of the ids are replicated: the first one, or all. */
enum replicated { REPLICATED_NONE, REPLICATED_FIRST, REPLICATED_ALL };
/* `replicate` and `write_wait` of a member. */
struct replica_settings {
    enum replicated ids;
    bool wait_owner;
};

/* What a seed is made of: which faults there are, and how often. Chances are of 1000. */
struct plan {
    uint32_t nodes, ids, backups, first_nodes;
    bool versioned_names; /* as on FTP: no compare-and-swap, the highest version is read */
    bool only_warehouse;  /* all writes ask for ack = warehouse */
    bool losses_overlap;  /* more than one node is lost at a time: the promises are weaker */
    bool endless_cuts;    /* until the faults stop */
    bool one_way;         /* cuts lose one direction only, without a word */
    uint32_t delay_us, slow_chance, slow_us;
    uint32_t operation_us, burst, delete_chance, warehouse_ack_chance, weak_chance;
    uint32_t readers_chance;
    /* Of the store. `pressure`: RAM is short from time to time. */
    uint32_t key_ttl_ms, max_dirty_ms, dumps_parallel, breaker_failures, pressure;
    /* Of the journal; a segment is so many records. */
    bool journal;
    uint32_t journal_us, journal_slow_us, journal_slow_chance, journal_error_chance;
    uint32_t segment_records, journal_limit, power_chance; /* journal_limit: in segments */
    uint32_t deadline_ms;                                  /* of a load or dump, retries included */
    uint32_t store_us, store_slow_chance, store_slow_us, store_error_chance, store_lost_chance;
    uint32_t fault_us;
    uint32_t weights[16]; /* by enum fault */
    uint32_t value_bytes; /* 0: a few */
    uint32_t handoff_uses, hints_limit, report_chunk, tombstone_keep_ms, watch_us;
    struct replica_settings replicas; /* of most members */
    uint32_t differ_chance;           /* of a member, with each start, to have others */
    bool differ_wait;                 /* in write_wait, too */
    uint32_t replica_limit;           /* bytes of a table; 0: none */
};

enum fault {
    FAULT_PAUSE,      /* short */
    FAULT_BREAK,      /* a connection */
    FAULT_CUT,        /* short */
    FAULT_LAG,        /* the watch of one node */
    FAULT_START,      /* of a node that is down, or not yet in */
    FAULT_DRAIN,      /* and leave */
    FAULT_STORE,      /* is out of reach */
    FAULT_ETCD,       /* is down for all, and comes back as it was */
    FAULT_CRASH,      /* from here on: a node is lost */
    FAULT_CRASH_DISK, /* with its journal */
    FAULT_LONG_PAUSE,
    FAULT_LONG_CUT,   /* may be for ever */
    FAULT_ETCD_CUT,   /* of one node */
    FAULT_STUCK,      /* watch: renewals go on */
    FAULT_ETCD_RESET, /* all is lost, revisions begin anew */
    FAULT_COUNT,
};

enum event_kind {
    EVENT_MESSAGE,
    EVENT_PEER_DOWN,
    EVENT_ADVANCE,
    EVENT_TICK, /* of the store */
    EVENT_JOURNAL,
    EVENT_MANAGE,
    EVENT_ETCD,
    EVENT_ETCD_REPLY,
    EVENT_WATCH,
    EVENT_EXPIRE,
    EVENT_EVICT,
    EVENT_ETCD_UP,
    EVENT_STORE,
    EVENT_STORE_REPLY,
    EVENT_OPERATE,
    EVENT_REQUEST,
    EVENT_START,
    EVENT_LEAVE,
    EVENT_FAULT,
    EVENT_LOSS,
    EVENT_BREAK,
    EVENT_SAMPLE,
};

struct event {
    uint64_t at_us, number;
    uint8_t kind, node, peer, detail;
    uint32_t process; /* of the node, when it is for one: events of an earlier life are dropped */
    uint64_t a, b;
    struct value message;
    void *data;
};

/* ---- etcd ----------------------------------------------------------------------------------- */

struct etcd_view {
    uint64_t number;
    uint32_t count;
    uint8_t nodes[NODES];
    uint64_t incarnations[NODES];
};
struct etcd_member {
    uint64_t incarnation; /* 0: not there */
    uint64_t expires_us;
    bool evicted;
};
struct etcd {
    uint64_t down_until_us;
    bool reset; /* when it comes back */
    uint32_t life;
    /* When this history began, as its first member thought: in the upper bits of views' numbers
     * (include/brain/managers.h). Muddled: not after the one before. */
    uint64_t era;
    bool muddled;
    uint64_t revision, incarnations;
    struct etcd_member members[NODES];
    struct etcd_view *views;
    uint32_t views_count, views_capacity;
};

/* ---- nodes ---------------------------------------------------------------------------------- */

/* What its disk outlives it with. */
struct journal_record {
    uint64_t seq;
    uint64_t appended_us; /* 0: not yet */
    uint64_t segment;     /* the ledger's ordinal; and when that was begun, on the wall clock */
    uint64_t begun_ms;
    uint64_t kept_ms; /* of a copy that compaction wrote again (compaction.h) */
    bool live;
    struct value form; /* stored.h */
};
struct journal {
    struct journal_record *records;
    size_t count, capacity;
    struct ledger ledger;
    struct compaction compaction;
    uint64_t collected, submitted, last_live; /* seqs */
    uint64_t last_us;                         /* when the last batch will be there */
    uint64_t open_since_us, open_until_us;    /* it could be compacted all that time */
    uint32_t in_segment;
    bool failing, replaying;
};

/* What the driver of the warehouse remembers of an object, as s3_etags.h. */
struct etag {
    bool known;
    struct version version;
    uint64_t tag;
};

struct held {
    bool there;
    uint64_t at_us; /* since when, at least */
};

struct job;
struct world;
struct node {
    struct world *world;
    uint8_t index;
    char name[SIM_NAME];
    bool up, draining, leaving;
    uint32_t process;
    uint64_t clock_us;  /* of its clock at true time 0 */
    int64_t clock_rate; /* parts per million */
    uint64_t paused_until_us, etcd_cut_until_us, watch_stuck_until_us;
    uint64_t advance_at_us;
    struct cluster *core;
    struct holdings *holdings;
    struct store *store;
    struct replica *replica; /* NULL: nothing is replicated */
    struct replica_settings settings;
    uint64_t beside[NODES]; /* incarnations: the view that its replica has */
    size_t beside_count;
    struct store_events told; /* what holdings want to hear of it */
    void (*execute)(void *context, struct cluster_request *request); /* holdings' */
    uint32_t executing; /* the write that is being carried out, by number */
    bool direct;        /* cnode/server/routing.h */
    uint64_t waited_ms, pressed_until_ms;
    struct job *jobs;
    uint64_t jobs_count;
    struct etag etags[IDS];
    uint64_t lease_until_ms; /* of dumps */
    /* its part of the managers */
    bool member;
    uint64_t attempt, incarnation, renewed_us;
    uint32_t etcd_life, watched; /* views_count that it has seen */
    uint64_t last_valid_us;
    struct journal journal;
    /* for checks */
    struct held held[IDS];
    uint64_t restoring_us;   /* how old what is restored now is told to be: since then */
    uint64_t owned_seq[IDS]; /* when it ended: the record of what it owned, dirty; 0: none */
    uint64_t epoch_view[IDS], epoch_counter[IDS];
    uint64_t shown_us[IDS]; /* when what its replicas showed last was written */
    bool lost;              /* counted as lost, and not back yet */
};

struct channel {
    uint32_t generation, known[2];
    uint64_t cut_until_us[2], cut_from_us[2];
    uint64_t last_us[2][LANES];
};

/* ---- the warehouse -------------------------------------------------------------------------- */

struct shelf {
    struct value form; /* none: nothing */
    uint64_t tag;      /* of these bytes */
    struct stored now; /* what they say */
    struct version highest;
    uint64_t deleted_us; /* of the tombstone that was removed last; 0: none */
    struct version deleted;
};

/* ---- clients -------------------------------------------------------------------------------- */

struct operation {
    struct cluster_request request;
    struct world *world;
    uint32_t number; /* and the value that it writes */
    uint32_t id, sender, process, result, answers;
    uint8_t node;
    enum cluster_kind kind;
    bool given, last;
    bool replicated; /* answered from what others told this node */
    int status;
    uint64_t start_us, end_us, executed_us;
    struct version version; /* of a write: the highest under which it was executed */
    uint64_t executed_by;   /* an incarnation */
    bool unconfirmed;       /* nobody waits for its acknowledgement any more, and there was none */
};

/* Of a node, when no promise covered it. */
struct loss {
    uint64_t at_us;
    struct version stored[IDS];
    uint32_t number[IDS];
    bool lawless; /* two histories of etcd were muddled: versions have no order any more */
};

/* The end of a membership, where only the warehouse covers what was written: takes with it what was
 * not acknowledged, although strong reads may have shown it (docs/protocol.md, "Acknowledged"). By
 * number; 0: absent. */
struct lost {
    uint32_t values[OPERATIONS_PER_ID + 1], left[OPERATIONS_PER_ID + 1];
    size_t count, left_count;
};
struct ending {
    uint64_t at_us;
    struct lost lost[IDS];
};

/* Of an id: what clients know of it. */
struct shown {
    uint64_t changed_us; /* when the last began of the writes and deletes that were acknowledged */
    uint64_t written_us; /* and of the writes */
    uint64_t deleted_us; /* when the last delete was acknowledged */
    uint32_t deletes_open;
};

struct adoption {
    uint64_t view, counter;
    uint32_t life;
    uint8_t id, node;
};

struct stats {
    uint64_t seeds, events, operations, answered, unknown, views, losses, overlapping, joins,
        drains, evictions, grants, takeovers, handoffs, dumps, conflicts, removed, undecided,
        resets, set_aside, replicated;
};

struct world {
    struct sim_options options;
    struct plan plan;
    struct random random;
    uint64_t now_us, steps, events_count;
    struct event *queue;
    size_t queue_size, queue_capacity;
    struct node nodes[NODES];
    struct channel channels[NODES][NODES]; /* [lower][higher] */
    struct etcd etcd;
    struct shelf shelves[IDS];
    uint64_t store_down_until_us;
    struct operation operations[OPERATIONS];
    uint32_t operations_count, per_id[IDS];
    struct shown shown[IDS];
    struct slice ids[IDS];
    char id_text[IDS][SIM_NAME];
    bool calm;         /* the faults have stopped */
    uint64_t armed_us; /* when the loss of a node was last known to be harmless; 0: it is not */
    bool wants_loss, lawless; /* lawless: too much was lost for a check of the history */
    enum fault next_loss;
    struct loss losses[LOSSES];
    uint32_t losses_count;
    struct ending endings[ENDINGS];
    uint32_t endings_count;
    struct version deleted[IDS], unconfirmed[IDS]; /* the highest of deletes, as of operations */
    uint64_t deleted_by[IDS];
    uint16_t owners[IDS]; /* bit per node */
    struct adoption adoptions[ADOPTIONS];
    uint32_t adoptions_count;
    struct stats stats;
    bool failed;
    char failure[512];
};

/* world.c */
struct world *world_create(const struct sim_options *options);
void world_run(struct world *world);
void world_destroy(struct world *world);
struct event *world_event(
    struct world *world, enum event_kind kind, uint64_t after_us, const struct node *node);
void world_fail(struct world *world, const char *rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void world_trace(const struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int world_id(const struct world *world, struct slice id); /* -1: none of ours */
struct value world_value(const struct world *world, uint32_t number);
/* The stored form of a version; `value` NULL: a tombstone of now. */
struct value world_form(
    const struct world *world, struct slice id, struct version version, const struct value *value);
uint32_t world_number(const struct value *value); /* 0: none */
uint32_t world_number_in(struct slice value);
static inline bool sim_keeps(const struct world *world, enum sim_rule rule)
{
    return (world->options.sim_broken & (1U << rule)) == 0;
}
static inline uint64_t world_random(struct world *world, uint64_t limit)
{
    return random_below(&world->random, limit);
}
static inline bool world_chance(struct world *world, uint32_t of_1000)
{
    return random_chance(&world->random, of_1000);
}

/* node.c */
struct cluster *node_make_core(struct node *node, struct cluster_objects objects);
uint64_t node_ms(const struct node *node); /* its clock, now */
void node_start(struct node *node);
void node_stop(struct node *node); /* as kill -9; its disk stays */
void node_forget_disk(struct node *node);
void node_advance(struct node *node);
void node_touched(struct node *node); /* something happened at it */
void node_tick(struct node *node);
void node_drain(struct node *node);
bool node_hears(const struct node *node); /* up and not paused */
void node_leave(struct node *node, bool out_of_patience);
struct node *node_named(struct world *world, struct slice name);

/* storage.c */
/* Something happens at this node from now on, at its time. */
void storage_enter(struct node *node);
void storage_open(struct node *node);  /* the store, the core, and what the journal brings back */
void storage_close(struct node *node); /* as kill -9 */
/* What it owns, dirty, when it ends (owned_seq). */
void storage_note_owned(struct node *node);
/* A write was carried out that the store told nobody of. */
void storage_note_write(struct node *node, uint32_t id);
void storage_settle(struct node *node);      /* the end of a turn */
uint64_t storage_advance(struct node *node); /* in how many ms again */
void storage_read(struct node *node, struct cluster_request *request);
void storage_loaded(struct node *node, struct object *object, int status,
    const struct stored *stored, const struct value *value);
void storage_dumped(struct node *node, struct object *object, uint32_t id, int status,
    struct version version, const struct version *expected, const struct version *stored);
bool storage_is_resident(const struct node *node, uint32_t id);
bool storage_is_clean(struct node *node);   /* nothing is dirty or under way */
bool storage_is_settled(struct node *node); /* nothing is being loaded, or compared with a copy */
/* What is known here of an owned id. False: nothing. */
bool storage_peek(struct node *node, uint32_t id, struct version *version, bool *deleted,
    uint32_t *number, bool *dirty);

/* replicas.c */
void plan_replicas(struct world *world);
void replicas_open(struct node *node);
void replicas_close(struct node *node);
void replicas_view(struct node *node, const struct cluster_view *view); /* installed in the core */
void replicas_state(struct node *node, enum cluster_state state);
int replicas_receive(struct node *node, struct slice from, const struct value *message);
uint64_t replicas_advance(struct node *node); /* in how many ms again */
bool replicas_cover(const struct node *node, uint32_t id);
bool replicas_awaited(const struct node *node, uint32_t id); /* by a write, whatever its class */
bool replicas_all_wait(const struct world *world);           /* each member, for all others */
/* STORE_WAIT: not from here. */
int replicas_read(struct node *node, uint32_t id, bool strong, struct value *value);
bool replicas_are_settled(struct node *node);
bool replicas_are_behind(const struct world *world); /* a node waits for what others have to tell */
void replicas_note_begin(struct world *world, const struct operation *operation);
void replicas_note_end(struct world *world, const struct operation *operation);
void check_replicas(struct world *world, struct node *node); /* something happened at it */
void check_converged(struct world *world);

/* journal.c */
/* `age_ms`: of a copy that is written again; NULL: a write of now. */
int journal_record(struct node *node, uint64_t seq, const uint64_t *age_ms, struct slice id,
    struct version version, const struct value *value);
void journal_live(struct node *node, uint64_t seq);
void journal_dead(struct node *node, uint64_t seq);
void journal_submit(struct node *node); /* the end of a turn */
void journal_written(struct node *node, const struct event *event);
void journal_crash(struct node *node, bool power); /* what was not appended, or synced, is gone */
void journal_forget(struct node *node);            /* the disk is gone */
/* `lease_age_ms`: UINT64_MAX: it never was a member. */
void journal_replay(struct node *node, uint64_t lease_age_ms);
void journal_advance(struct node *node); /* compaction */

/* driver.c */
enum driver_operation { DRIVER_LOAD, DRIVER_DUMP, DRIVER_FORGET };
struct driver_request {
    enum driver_operation operation;
    uint32_t id;
    struct object *object; /* who asked; both NULL: nobody hears of it */
    struct cluster_request *asker;
    struct version version;         /* dump */
    const struct version *expected; /* dump: NULL: not known; forget: the tombstone's */
    const struct value *value;      /* dump: NULL: a tombstone */
    bool without_lease;
};
void driver_submit(struct node *node, const struct driver_request *request);
void driver_reply(struct world *world, struct event *event);
void driver_stop(struct node *node); /* all that is under way is told to have failed */

/* network.c */
void network_send(struct node *from, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail);
void network_deliver(struct world *world, struct event *event);
void network_peer_down(struct world *world, const struct event *event);
void network_break(struct world *world, uint8_t a, uint8_t b);
void network_break_all(struct world *world, uint8_t node);
void network_cut(struct world *world, uint8_t from, uint8_t to, uint64_t for_us);
void network_heal(struct world *world);
bool network_is_whole(const struct world *world);

/* etcd.c */
enum etcd_request { ETCD_JOIN, ETCD_RENEW, ETCD_LEAVE, ETCD_EVICT };
void etcd_manage(struct node *node); /* what the node's managers do from time to time */
void etcd_leave(struct node *node);
void etcd_evict(struct node *node, const struct cluster_member *member);
void etcd_look(struct node *node); /* at the watch, soon */
void etcd_request(struct world *world, const struct event *event);
void etcd_reply(struct world *world, const struct event *event);
void etcd_watch(struct world *world, const struct event *event);
void etcd_expire(struct world *world, const struct event *event);
void etcd_evicted(struct world *world, const struct event *event);
void etcd_up(struct world *world);
void etcd_down(struct world *world, uint64_t for_us, bool reset);
const struct etcd_view *etcd_newest(const struct world *world);

/* warehouse.c */
enum warehouse_step { WAREHOUSE_GET, WAREHOUSE_HEAD, WAREHOUSE_PUT, WAREHOUSE_REMOVE };
enum warehouse_outcome {
    WAREHOUSE_DONE,
    WAREHOUSE_ABSENT,
    WAREHOUSE_REFUSED, /* the condition does not hold */
    WAREHOUSE_FAILED,  /* nobody knows what happened */
    WAREHOUSE_RESUME,  /* the driver's own: a pause is over */
};
/* One exchange, on its way there, then on its way back. */
struct exchange {
    uint64_t job;
    uint32_t attempt, id;
    enum warehouse_step step;
    bool exists; /* PUT: replaces what has `tag`; else creates */
    uint64_t tag;
    struct value form;
    enum warehouse_outcome outcome;
};
void warehouse_send(struct node *node, const struct exchange *exchange);
void warehouse_resume(struct node *node, const struct exchange *exchange, uint64_t after_us);
void warehouse_apply(struct world *world, struct event *event);
void warehouse_event_drop(struct event *event);

/* clients.c */
void clients_operate(struct world *world); /* one or more new requests */
void clients_burst(struct world *world, uint32_t id, uint8_t node);
void clients_give(struct world *world, const struct event *event);
void clients_answer(
    struct world *world, struct cluster_request *request, int status, const struct value *value);
/* Write `number` (0: a delete) got this version at that node: carried out, or (a copy that won, a
 * higher epoch) again. */
void clients_written(
    struct node *node, uint32_t id, uint32_t number, struct version version, bool executed);
/* Whoever waited for the acknowledgement of this write (0: of a delete) was told of a failure. */
void clients_unconfirmed(struct world *world, uint32_t id, uint32_t number);
struct operation *clients_ask(struct world *world, uint32_t id, uint8_t node,
    enum cluster_kind kind, uint8_t ack, uint32_t sender);
/* Requests that wait for their answer at a node that lives. */
uint32_t clients_pending(const struct world *world);
void clients_print(const struct world *world, FILE *out);

/* faults.c */
void plan_make(struct world *world);
void faults_strike(struct world *world);
/* `node`: its number and 1; 0: any. */
void faults_lose(struct world *world, enum fault fault, uint64_t node);
void faults_sample(struct world *world);
void faults_lost(struct world *world, struct node *node);     /* whatever the reason */
void faults_left(struct world *world, struct node *node);     /* drained */
void faults_note_loss(struct world *world);                   /* that no promise covers */
void faults_ended(struct world *world, uint64_t incarnation); /* a membership, in etcd */
void faults_stop(struct world *world);
bool faults_are_over(struct world *world, const char **why); /* all is as it should be again */

/* checks.c */
void check_node(struct world *world, struct node *node); /* something happened at it */
void check_owners(struct world *world);
void check_stored(struct world *world, uint32_t id, const struct stored *what, bool removes,
    const struct node *writer);
void check_history(struct world *world);
void check_print(struct world *world, FILE *out); /* who has what */

#endif
