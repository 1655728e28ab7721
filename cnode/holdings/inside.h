/* holdings' parts, for the files of this room.
 *
 *   holdings.c   life of the struct, events of the store, what is put off, time
 *   replicated.c objects that all members hold replicas of
 *   execute.c    requests being carried out: reads, writes, deadlines, answers; the fast paths
 *   unbacked.c   versions that wait for their holders, and who waits for them
 *   parting.c    adopt, give up, abandon
 *   records.c    journal records kept for copies
 *
 * A request of the cluster is an `execution` while it is carried out, unless it can be answered at
 * once. First the store has it (as a waiter), as long as the store's part of the acknowledgement is
 * missing; then, if a holder's is, the entry of its id has it (`unbacked.waiting`), in order. One
 * that is over its deadline while the store has it is told so and left there: the store's answer
 * then goes nowhere.
 *
 * Who calls whom. Events of the store are passed on to the core within the event where the core
 * calls nothing back (written, stored, released), else put off (outdated). Answers to what waits
 * for holders are put off, too: an entry that may have some is `ready`.
 *
 * A release that comes while the core is in a call of ours is also put off: the core may just be
 * carrying out the requests of that id, one by one, and would leave the rest of them lying. Without
 * memory for that it is told at once; they are then delayed. What is put off is looked at when its
 * time comes: an id that is resident again is not released. An id that was adopted, and for which
 * nothing made the store have anything, is looked at in the same way: so after holdings_settle all
 * that is owned is resident. */
#ifndef BRAIN_HOLDINGS_INSIDE_H
#define BRAIN_HOLDINGS_INSIDE_H

#include "brain/holdings.h"
#include "brain/idtable.h"
#include "brain/list.h"

/* ---- requests being carried out ---------------------------------------------------------------
 */

struct execution {
    struct store_waiter waiter;      /* first: the store hands this back */
    struct cluster_request *request; /* NULL: told already, only the store still has it */
    struct link by_deadline;         /* or, of a spare one, in holdings.spare */
    struct link in_entry;            /* of an entry's `waiting`, or alone */
    struct unbacked *entry;          /* NULL: the store has it */
    struct version needs;            /* of that entry, to be reached; of a write that the store
                                        has: of the entry to come; all 0: nothing */
    int status;                      /* of a read that has seen what it sees: */
    struct value value;
};

/* ---- versions that wait for their holders ------------------------------------------------------
 */

struct unbacked {
    struct id_node node;
    struct link ready;      /* in holdings.ready, or alone */
    struct link waiting;    /* executions, in order */
    uint32_t reads;         /* of them */
    struct version newest;  /* what the object is */
    struct version needed;  /* the highest whose class asks for holders */
    struct version reached; /* holders, or the warehouse, have all up to this one */
    bool comparing;         /* adopted with a copy, and what it is compared with is not known yet */
    bool pinned;            /* in use further up the stack */
    uint16_t capacity;      /* of id[] */
    uint8_t id[];
};

/* The write that the store is told of, on the stack of who tells it. */
struct writing {
    struct slice id;
    enum store_ack ack;
    bool deletes;
    struct execution *execution; /* NULL: nobody is told */
    bool told;                   /* by the store: */
    bool waits;                  /* for holders */
    bool replicated;             /* and for all members, whatever its class */
    struct version version;      /* for this one */
};

/* ---- journal records kept for copies ----------------------------------------------------------
 */

struct record {
    struct id_node node;
    struct version version;
    uint64_t seq; /* its number in the journal: the version's, or a later one, of compaction */
    uint8_t id[];
};

struct holdings {
    struct holdings_events events;
    struct holdings_replicas replicas; /* all NULL: none */
    struct holdings_metrics metrics;
    struct store *store;
    struct cluster *cluster;
    uint64_t now_ms;
    uint32_t depth; /* calls of the core's that are under way */
    struct writing *writing;
    bool settling;
    struct id_table unbacked, records;
    uint64_t rewrite_first, rewrite_last; /* the range that is being rewritten; none: 1, 0 */
    struct id_cursor rewrite_cursor;
    uint32_t rewrite_looked;
    bool rewrite_refused;
    struct unbacked *spare_unbacked; /* for the next version told */
    struct link ready;
    struct link strong_deadlines, weak_deadlines; /* executions */
    struct link spare;                            /* executions */
    uint32_t spare_count;
    struct buffer put_off;
};

/* Is this part of a rule kept? Always, but in the simulator. */
static inline bool holdings_keeps(const struct holdings *h, enum cluster_rule rule)
{
#ifdef BRAIN_BREAKABLE
    return cluster_keeps(h->cluster, rule);
#else
    (void)h, (void)rule;
    return true;
#endif
}
static inline bool version_is_none(struct version version)
{
    return version.view == 0 && version.counter == 0 && version.seq == 0;
}
static inline bool version_reaches(struct version a, struct version b)
{
    return version_compare(a, b) >= 0;
}
static inline bool is_read(const struct cluster_request *request)
{
    return request->kind == CLUSTER_READ || request->kind == CLUSTER_WEAK_READ;
}
static inline bool is_write(const struct cluster_request *request)
{
    return request->kind == CLUSTER_WRITE || request->kind == CLUSTER_DELETE;
}
static inline uint64_t hash_of(const struct holdings *holdings, struct slice id)
{
    return store_hash(holdings->store, id);
}

/* holdings.c */
void holdings_see(struct holdings *h, uint64_t now_ms); /* time never goes back */
/* Looks later whether this id is resident: if not, it is owned no more. False: no memory. */
bool holdings_check_later(struct holdings *h, struct slice id);

/* It was loaded: who has replicas of it is told later. */
void holdings_tell_later(struct holdings *h, struct slice id, struct version version);

/* replicated.c */
bool is_replicated(const struct holdings *h, struct slice id);
/* A new version was written. True: it has to be waited for. */
bool replicated_written(struct holdings *h, struct slice id, struct version version,
    const struct value *value, enum replica_hold hold);
/* Holders, or the warehouse, have it. True: other members do not, and must. */
bool replicated_lack(struct holdings *h, struct slice id, struct version version);
/* The warehouse is known to have this version, which may just have been loaded. */
void replicated_stored(struct holdings *h, struct slice id, struct version version);
void replicated_loaded(struct holdings *h, struct slice id, struct version version);

/* execute.c */
void execution_run(struct holdings *h, struct cluster_request *request);
/* It is out of all lists of others; it is freed. */
void execution_finish(
    struct holdings *h, struct execution *execution, int status, const struct value *value);
void executions_expire(struct holdings *h);
void executions_release(struct holdings *h); /* the spare ones */
/* What a request is told that is given up: by the lost lease, or by its deadline. */
int execution_abandoned(const struct cluster_request *request);

/* unbacked.c */
struct unbacked *unbacked_find_hashed(const struct holdings *h, struct slice id, uint64_t hash);
struct unbacked *unbacked_find(const struct holdings *h, struct slice id);
/* Must a read of this entry's object wait, for holders or for reads before it? */
bool unbacked_blocks(const struct holdings *h, const struct unbacked *entry);
/* The version for which a read that has just seen the newest one waits; none: all 0. */
struct version unbacked_need_of_newest(const struct holdings *h, const struct unbacked *entry);
/* The same of a read that saw an earlier one, nobody knows which. */
struct version unbacked_need_of_any(const struct holdings *h, const struct unbacked *entry);
/* Memory for the next unbacked_written or unbacked_compare of this id. False: none. */
bool unbacked_reserve(struct holdings *h, struct slice id);
/* A version was told to the core, which waits for so many holders, or has no memory (< 0). */
void unbacked_written(
    struct holdings *h, struct slice id, struct version version, bool needed, int holders);
/* Adopted with a copy: what is read needs holders until the warehouse was read. */
void unbacked_compare(struct holdings *h, struct slice id);
/* The warehouse was read: nothing is compared any more. */
void unbacked_compared(struct holdings *h, struct slice id);
void unbacked_reached(struct holdings *h, struct slice id, struct version version, bool warehouse);
/* Takes the execution, which waits for `needs`, or only for reads before it. */
void unbacked_wait(
    struct holdings *h, struct unbacked *entry, struct execution *execution, struct version needs);
void unbacked_leave(struct holdings *h, struct execution *execution); /* takes it out again */
/* Nobody will say that what is needed was reached: what is read from now on does not wait for it.
 */
void unbacked_superseded(struct holdings *h, struct slice id);
/* The object is gone, nobody waits. */
void unbacked_forget(struct holdings *h, struct slice id);
void unbacked_flush(struct holdings *h);
/* Ends all that wait, and forgets all; about `budget` of them. True: nothing is left. */
bool unbacked_abandon(struct holdings *h, uint32_t *budget);
void unbacked_release(struct holdings *h);

/* records.c */
struct record *record_create(struct holdings *h, struct slice id);
/* It is kept for the copy of this version; one that was kept before is dead. `seq`: its number. */
void record_keep(struct holdings *h, struct record *record, struct version version, uint64_t seq);
/* What the core holds of this id is newer, so the record is dead; or not. */
void record_compare(struct holdings *h, struct slice id);
/* The warehouse has this version, or it was written here (with a record of its own). */
void record_superseded(struct holdings *h, struct slice id, struct version version);
void records_release(struct holdings *h); /* they stay live */

/* parting.c */
int parting_adopt(void *context, struct slice id, struct cluster_epoch epoch,
    const struct cluster_copy *copy, bool complete);
enum cluster_parted parting_give_up(
    void *context, struct slice id, enum cluster_parting parting, struct cluster_copy *copy);
bool parting_abandon(void *context, uint32_t budget);

#endif
