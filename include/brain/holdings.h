/* holdings: the objects of a member of a cluster: the store (object.h) as the cluster's core
 * (cluster.h) needs it, and who waits for holders of copies. Pure: no descriptor, no clock.
 *
 *     service --> holdings_get/set (what is here) -----> store
 *             --> cluster_request (all else) --> cluster <--> holdings <--> store
 *
 * It keeps
 * - R6, R11: a write of class STORE_ACK_BACKUP, and a strong read of what it wrote, are told only
 *   when the holders have that version, or the warehouse has;
 * - R7, R13, R1 by way of the store; R4 by passing on what is outdated;
 * - the journal records of what was given up dirty, or came back from the journal, until the core
 * no longer keeps the copy: so a crash brings them back as copies.
 *
 * The events of store and core come from within their calls, where neither may be called back. What
 * must call back is put off: so holdings_settle is to be called after every call into store,
 * cluster or holdings (once per turn of a loop that does many, before its answers leave).
 *
 * Making one: holdings_create; store_create with events completed by holdings_store_events;
 * cluster_create with holdings_objects; holdings_attach. Freed in this order: cluster, store,
 * holdings. */
#ifndef BRAIN_HOLDINGS_H
#define BRAIN_HOLDINGS_H

#include "brain/cluster.h"
#include "brain/replica.h"

struct holdings_events {
    void *context;
    /* A weak read of the warehouse alone; answered by exactly one holdings_stored_read. NULL: it
     * cannot be read, they are answered BRAIN_EUNAVAILABLE. */
    void (*read_stored)(void *context, struct cluster_request *request);
    /* Of records that are kept for copies. NULL, all three: no journal. */
    /* As store_events.record, under a number of its own, which is not the version's, and of a copy
     * that nobody is known to have wanted for `age_ms` (R10). */
    int (*record)(void *context, uint64_t seq, uint64_t age_ms, struct slice id,
        struct version version, const struct value *value);
    /* As store_events.record_live and record_dead. */
    void (*record_live)(void *context, uint64_t seq);
    void (*record_dead)(void *context, uint64_t seq);
};

/* Objects of which all members hold replicas (replica.h): who is told of their versions. Called
 * from within calls of holdings and of its store; may call back into neither. */
struct holdings_replicas {
    void *context;
    bool wait; /* a write, of any class, waits until all members have it */
    bool (*covers)(void *context, struct slice id);
    /* As replica_reserve, replica_written, replica_held, replica_knows and replica_doubt. */
    int (*reserve)(void *context, struct slice id);
    int (*written)(void *context, struct slice id, struct version version,
        const struct value *value, enum replica_hold hold, uint64_t now_ms);
    bool (*held)(void *context, struct slice id, struct version version, uint64_t now_ms);
    bool (*knows)(void *context, struct slice id, struct version version);
    void (*doubt)(void *context, struct slice id, struct version version);
};

#define HOLDINGS_METRICS(X)                                                                        \
    X(awaiting_backup, GAUGE, "writes and reads that wait for holders of copies")                  \
    X(unbacked, GAUGE, "objects whose newest version some holder has not acknowledged")            \
    X(records_kept, GAUGE, "journal records kept for copies")                                      \
    X(records_rewritten, COUNTER, "of them, those written again by compaction")                    \
    X(executing, GAUGE, "requests of the cluster being carried out")                               \
    X(refused_full, COUNTER, "writes refused because a holder has no RAM for copies")              \
    X(records_left, COUNTER, "journal records that stay until the next start, for want of memory")

struct holdings_metrics {
    METRICS_FIELDS(HOLDINGS_METRICS)
};

struct holdings; /* opaque: cnode/holdings/inside.h */

/* NULL: no memory. */
struct holdings *holdings_create(struct holdings_events events);
/* Nothing may be executing. */
void holdings_destroy(struct holdings *holdings);
/* Fills in `member` and the events of a member; the others are the caller's, with a context of its
 * own. All waiters of this store are holdings': `answer` must lead to holdings_answer. */
void holdings_store_events(struct holdings *holdings, struct store_events *events);
void holdings_answer(
    struct holdings *holdings, struct store_waiter *waiter, int status, const struct value *value);
struct cluster_objects holdings_objects(struct holdings *holdings);

/* cluster_request.ack is one of enum store_ack, or this: nobody is told of the write, so where its
 * owner has no journal it is written all the same. STORE_ACK_JOURNAL is refused there, with
 * BRAIN_ENOTSUP: less is never given silently. */
enum { HOLDINGS_ACK_JOURNAL_IF_ANY = STORE_ACK_BACKUP + 1 };
void holdings_attach(struct holdings *holdings, struct store *store, struct cluster *cluster);
/* Before the first join. Without it nothing is replicated. */
void holdings_replicate(struct holdings *holdings, const struct holdings_replicas *replicas);
/* As replica_events.reached. */
void holdings_replicated(struct holdings *holdings, struct slice id, struct version version);
/* As replica_events.superseded. A write that waits is not acknowledged by that: its outcome is
 * unknown at its deadline. */
void holdings_superseded(struct holdings *holdings, struct slice id);
void holdings_metrics_register(struct metrics_registry *registry, struct holdings *holdings);

/* The time, before a call into the cluster: what it makes the store do happens then. One clock for
 * store, cluster and holdings. */
void holdings_time(struct holdings *holdings, uint64_t now_ms);

/* ---- what clients ask, where no other member is needed ----
 *
 * Only for a node that serves (cluster_serves), with the store's hash of the id. After
 * cluster_lease not before cluster_advance, called as long as it returns 0, has carried out what
 * waited for the lease: or these would overtake it. Uses are counted by the caller
 * (cluster_counts_uses). */

/* STORE_FOUND (borrowed, as store_get), STORE_ABSENT, or STORE_WAIT: it is not here, or not to be
 * shown yet: make it a cluster_request. */
int holdings_get(struct holdings *holdings, struct slice id, uint64_t hash, uint64_t now_ms,
    struct value *value);
/* `value` NULL: a delete. `told`: somebody waits for the acknowledgement. STORE_DONE; an error of
 * the store, nothing changed; or STORE_WAIT: it is not resident, or cannot be acknowledged at once.
 * Then make it a cluster_request at once: nothing has changed. */
int holdings_write(struct holdings *holdings, struct slice id, uint64_t hash,
    const struct value *value, enum store_ack ack, bool told, uint64_t now_ms);

/* ---- what the owner must pass on ---- */

/* At start, before the first join, for each record of the journal in order (as store_restore),
 * which is live already (journal_live) under the number `seq`: it becomes a copy (cluster_restore
 * with `age_ms`), and its record stays live until the copy goes. 0 or BRAIN_ENOMEM: it stays live,
 * and is no copy. */
int holdings_restore(struct holdings *holdings, uint64_t seq, struct slice id,
    struct version version, const struct value *value, uint64_t age_ms, uint64_t now_ms);
/* May the journal be compacted now (R10)? Only under a valid lease: what is owned counts as wanted
 * from when it is written again. */
bool holdings_may_rewrite(const struct holdings *holdings, uint64_t now_ms);
/* Compaction of the journal, as store_rewrite: of records kept for copies. They keep their
 * versions: it is the same write; and their age. */
bool holdings_rewrite(
    struct holdings *holdings, uint64_t first_seq, uint64_t last_seq, uint32_t budget);
/* cluster_events.copy_changed. */
void holdings_copy_changed(
    struct holdings *holdings, struct slice id, const struct cluster_copy *copy);
/* The answer to read_stored: STORE_FOUND with a value, STORE_ABSENT, or an error. */
void holdings_stored_read(struct holdings *holdings, struct cluster_request *request, int status,
    const struct value *value, uint64_t now_ms);

/* Does what was put off. */
void holdings_settle(struct holdings *holdings, uint64_t now_ms);
/* Ends waiting that is over its request's deadline: BRAIN_ETIMEOUT for reads, BRAIN_EUNKNOWN for
 * writes that took effect. Call every 100 ms or so. */
void holdings_advance(struct holdings *holdings, uint64_t now_ms);

#endif
