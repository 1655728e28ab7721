/* object: the object table and the life of an object. Pure: events in, actions out, time given.
 *
 *   absent -> loading -> clean <-> dirty -> persisting -> clean -> (idle again) -> dropped
 *
 * - idle for key_ttl: persisted if dirty, kept in RAM; idle for another key_ttl: dropped. Any
 * access resets the clock. Tracking costs O(1) per access and nothing per tick for busy objects.
 * - One load, however many wait for it. A set never waits: it makes a loading object dirty at once;
 *   reads that came before it still get the loaded value, reads after it the new one, answered in
 *   the order they came.
 * - A write during a dump leaves the object dirty. A failed dump keeps the object and is retried
 * with exponential backoff. Only a confirmed dump makes it clean.
 * - A delete leaves a tombstone: in RAM until the warehouse has it.
 * - A write is acknowledged when its class is reached: in RAM, in the journal, or in the warehouse.
 * A strong read never shows a version whose own acknowledgement is still being waited for.
 * - RAM has a limit: above it the coldest objects leave first, dirty ones after their dump; when
 * the warehouse cannot keep up, writes that need more RAM are refused.
 *
 * The table owns nothing outside RAM: loads and dumps are asked for through store_events and their
 * results come back through store_loaded and store_dumped. */
#ifndef BRAIN_OBJECT_H
#define BRAIN_OBJECT_H

#include "brain/base.h"
#include "brain/metrics.h"

/* Every version of an object: epoch {view, counter}, then the number of the write in that epoch.
 * The epoch grows with each grant of ownership; alone, with each start of the process. */
struct version {
    uint64_t view;
    uint64_t counter;
    uint64_t seq;
};
int version_compare(struct version a, struct version b); /* <0, 0, >0 */

#define STORE_METRICS(X)                                                                           \
    X(objects, GAUGE, "objects resident in RAM")                                                   \
    X(bytes, GAUGE, "bytes of resident ids and values")                                            \
    X(dirty, GAUGE, "resident objects that the warehouse does not have yet, tombstones included")  \
    X(dirty_bytes, GAUGE, "bytes of values that the warehouse does not have yet")                  \
    X(oldest_dirty_ms, GAUGE, "age of the oldest write that the warehouse does not have yet, ms")  \
    X(loading, GAUGE, "objects being loaded")                                                      \
    X(persisting, GAUGE, "objects being dumped")                                                   \
    X(waiting, GAUGE, "requests waiting for a load, a dump or the journal")                        \
    X(hits, COUNTER, "reads answered from RAM")                                                    \
    X(misses, COUNTER, "reads of objects that were not in RAM")                                    \
    X(loads_found, COUNTER, "loads that found the object")                                         \
    X(loads_absent, COUNTER, "loads that found nothing")                                           \
    X(loads_failed, COUNTER, "loads that failed")                                                  \
    X(dumps_done, COUNTER, "dumps confirmed by the warehouse")                                     \
    X(dumps_failed, COUNTER, "dumps that failed and will be retried")                              \
    X(dumps_late, COUNTER, "values set aside because the warehouse held a newer version")          \
    X(dropped_idle, COUNTER, "objects dropped from RAM after idling")                              \
    X(dropped_persist, COUNTER, "objects dropped from RAM by {p, Id}")                             \
    X(timeouts, COUNTER, "requests that left the queue after server_exec_timeout")                 \
    X(memory, GAUGE, "bytes of RAM taken: objects, index, bookkeeping and buffers")                \
    X(dropped_memory, COUNTER, "objects dropped from RAM for the memory limit")                    \
    X(refused_overload, COUNTER, "writes refused at the memory limit")                             \
    X(refused_journal, COUNTER, "writes refused or not confirmed because the journal failed")      \
    X(restored, COUNTER, "objects restored from the journal at start")                             \
    X(restored_late, COUNTER, "restored objects of which the warehouse held a newer version")      \
    X(breaker_open, GAUGE, "1 while dumps pause because the warehouse fails")

struct store_metrics {
    METRICS_FIELDS(STORE_METRICS)
};

struct object; /* opaque: an object with something under way (cnode/object/store_inside.h); stable
                  from the load or dump event to its result */
struct store;  /* opaque: cnode/object/store_inside.h */

struct store_options {
    uint64_t key_ttl_ms;      /* each of the two idle steps */
    uint64_t wait_timeout_ms; /* server_exec_timeout */
    uint32_t dumps_parallel;  /* dumps under way at once, and their bytes */
    uint64_t dumps_parallel_bytes;
    uint64_t retry_min_ms, retry_max_ms; /* backoff of failed dumps, doubling, with jitter */
    uint64_t hash_seed;                  /* random: ids cannot be chosen to collide */
    /* Of new versions. View and counter: above all stored ones. seq: of the last write ever made,
     * so that it grows over the life of the data directory. Writes that a crash lost count too, the
     * warehouse may have them: so leave a gap above the last that was found. */
    struct version epoch;
    uint64_t max_dirty_ms;       /* a busy object is dumped at least this often; 0: no bound */
    uint64_t memory_limit_bytes; /* 0: none */
    uint32_t breaker_failures; /* dumps that fail in a row before all dumps pause and one at a time
                                  is tried, every retry_max_ms at the latest; 0: never */
#ifdef BRAIN_BREAKABLE
    uint32_t broken; /* bits of enum store_break */
#endif
};

/* Switches of the simulator, like CLUSTER_RULES (cluster.h): its own build of this room looks at
 * them, no other does. */
enum store_break {
    STORE_BREAK_COMPARE = 1, /* R7: a copy always wins */
    STORE_BREAK_RELEASE = 2, /* R13: store_part, with a dump under way too */
};

/* When a write is acknowledged. */
enum store_ack {
    STORE_ACK_MEMORY,    /* it is in RAM */
    STORE_ACK_JOURNAL,   /* store_written said that its record is there */
    STORE_ACK_WAREHOUSE, /* store_dumped confirmed it; the dump is started as soon as it may be */
    STORE_ACK_BACKUP,    /* other members hold it: for the store the same as STORE_ACK_MEMORY, who
                            owns the store waits for them (holdings.h) */
};

/* A request that waits, embedded by the caller in a struct of its own. Zero it before use; it
 * belongs to the store until `answer` has been called for it. */
struct store_waiter {
    struct store_waiter *next;          /* of its object, in order of arrival */
    struct store_waiter *older, *newer; /* of all, by deadline */
    struct object *object;
    uint64_t deadline_ms;
    struct value captured; /* what this read must show; none: what the load brings */
    uint64_t seq;          /* private */
    uint8_t kind;          /* private */
    uint8_t state;         /* private */
};

/* All events but the three of the journal may call back into the store, and load and dump may be
 * answered within the event. What an event is given is borrowed for its call, and only until it
 * calls back into the store. */
struct store_events {
    void *context;
    /* Read `id` from the warehouse; answer with exactly one store_loaded(object). */
    void (*load)(void *context, struct object *object, struct slice id);
    /* Write this version; answer with exactly one store_dumped(object). `expected`: the version the
     * warehouse is known to hold (seq 0 in all: known to hold none); NULL: not known. `value`: NULL
     * for a tombstone; else take a reference to keep it (its bytes do not change; a value without
     * block must be copied). With a journal, its record is there: store_written has said so. */
    void (*dump)(void *context, struct object *object, struct slice id, struct version version,
        const struct version *expected, const struct value *value);
    /* Somebody waits now for a load or dump that was asked for, and is not answered yet; perhaps
     * somebody did before. Only for objects with store_set_operation; may not call back into the
     * store. NULL: nobody minds. */
    void (*wanted)(void *context, struct object *object);
    /* Keep this value under a conflict name: the warehouse holds a newer one that is not ours.
     * `value` NULL: it was a delete; there is nothing to keep. */
    void (*set_aside)(
        void *context, struct slice id, struct version version, const struct value *value);
    /* Append this write to the journal; it is there when store_written says so, which is not within
     * this event. An error (a journal that fails: BRAIN_EJOURNAL) refuses the write, nothing is
     * changed. NULL: there is no journal, and STORE_ACK_JOURNAL is the same as STORE_ACK_MEMORY.
     * `value` NULL: a tombstone. */
    int (*record)(
        void *context, struct slice id, struct version version, const struct value *value);
    /* The record with this seq is the only copy outside RAM of what an object is now (live); it is
     * so no more, because the warehouse has it or a later record replaced it (dead). Each seq at
     * most once each, live first. A record may be dead before the one that replaced it is appended:
     * so its bytes must stay until all records given so far are appended, and synced. NULL with
     * `record` NULL. */
    void (*record_live)(void *context, uint64_t seq);
    void (*record_dead)(void *context, uint64_t seq);
    /* A waiting request is over; the waiter is the caller's again. status: STORE_FOUND with the
     * value (borrowed for the call), STORE_ABSENT, STORE_DONE, or an error. */
    void (*answer)(
        void *context, struct store_waiter *waiter, int status, const struct value *value);

    /* The store of a member of a cluster (cluster.h): all of the following, or none. They get
     * `member`, and may not call back into the store. What is resident there is owned; what leaves
     * RAM is released. `now_ms`: the time that the store was told last.
     *
     * The epoch under which `id` is owned: view and counter, seq is not looked at. A write whose
     * object is dirty already keeps the epoch it has, and does not ask. false: not owned, the write
     * is refused with BRAIN_EUNAVAILABLE. */
    void *member;
    bool (*grant)(void *member, struct slice id, struct version *epoch);
    /* R11: may a dump begin now? */
    bool (*may_dump)(void *member, uint64_t now_ms);
    /* Memory for the next `written`, which is of this id: asked right before each. Or BRAIN_ENOMEM,
     * or BRAIN_EOVERLOAD: the write is refused. */
    int (*reserve)(void *member, struct slice id);
    /* The object has a new version that the warehouse does not have; `value` NULL: a tombstone.
     * Its record, where there is a journal, was accepted. */
    void (*written)(void *member, struct slice id, struct version version,
        const struct value *value, uint64_t now_ms);
    /* The warehouse is known to hold this version: it was loaded, or its dump was confirmed. Not
     * told while a dirty version of ours is below it: copies of that are still needed (see
     * `outdated`). */
    void (*stored)(void *member, struct slice id, struct version version, uint64_t now_ms);
    /* R4: the warehouse holds this version, which is not below the grant's epoch and not what this
     * store dumped. Told when a load brings it; then, as long as what is dirty is not above it,
     * with each try of a dump: that waits for store_restamp. */
    void (*outdated)(void *member, struct slice id, struct version version, uint64_t now_ms);
    /* The object has left RAM, clean, absent or not loaded, and nothing of it is under way. Not for
     * what store_part and store_abandon give up. */
    void (*released)(void *member, struct slice id, uint64_t now_ms);
};

enum store_status { STORE_DONE = 0, STORE_FOUND = 1, STORE_ABSENT = 2, STORE_WAIT = 3 };

struct store *store_create(const struct store_options *options, struct store_events events);
/* Waiters are answered BRAIN_ESHUTDOWN; objects are freed, dirty or not; no load or dump may be
 * under way any more. */
void store_destroy(struct store *store);
const struct store_metrics *store_metrics(struct store *store, uint64_t now_ms);
void store_metrics_register(struct metrics_registry *registry, struct store *store);

/* A batch of requests under way at once: hash the ids of all, then touch the index for all, then
 * the objects of all, then execute them in order; each step finds in the cache what the one before
 * it asked for, where a request at a time would wait for memory twice (measured: 150 ns each over
 * 1 GB). Hints: they change nothing, may be left out, and outdate harmlessly. */
uint64_t store_hash(const struct store *store, struct slice id);
void store_prefetch_slot(const struct store *store, uint64_t hash);
void store_prefetch_item(const struct store *store, uint64_t hash);

/* Reads. `waiter` NULL: only what can be answered at once; else STORE_WAIT, nothing is queued and
 * nothing is loaded. STORE_FOUND: `*value` is borrowed until the next call into the store (hold it
 * to keep it). STORE_ABSENT: known not to exist. STORE_WAIT: not in RAM; `waiter` was queued,
 * answered later. Or BRAIN_ENOMEM. */
int store_get(struct store *store, struct slice id, uint64_t now_ms, struct value *value,
    struct store_waiter *waiter);
/* The same for who has the hash already. */
int store_get_hashed(struct store *store, struct slice id, uint64_t hash, uint64_t now_ms,
    struct value *value, struct store_waiter *waiter);

/* Creates or replaces. A value with a block of its own that is mostly this value is kept by
 * reference, others are copied; what store_get lent for the same id may be given as well.
 * STORE_DONE: acknowledged. STORE_WAIT: `waiter` was queued, and is answered STORE_DONE, or with
 * why its class was not reached (BRAIN_EJOURNAL, the dump's error, BRAIN_ETIMEOUT): the value is in
 * RAM and dirty all the same. `waiter` NULL: nobody is told, but the result is the same, and reads
 * wait for `ack` as well. Or, nothing changed: BRAIN_ENOMEM, BRAIN_EJOURNAL, BRAIN_EOVERLOAD.
 *
 * A read of a version whose class is not reached waits for that, and the reads of the id after it
 * wait for their turn. Once the writer has been told an error they show the value. A timeout of the
 * writer ends nothing: they go on waiting, each until its own. */
int store_set(struct store *store, struct slice id, struct value value, enum store_ack ack,
    uint64_t now_ms, struct store_waiter *waiter);
int store_set_hashed(struct store *store, struct slice id, uint64_t hash, struct value value,
    enum store_ack ack, uint64_t now_ms, struct store_waiter *waiter);

/* Deletes, in RAM at once and in the warehouse by a tombstone. Results as of store_set; a delete is
 * never refused with BRAIN_EOVERLOAD. */
int store_delete(struct store *store, struct slice id, enum store_ack ack, uint64_t now_ms,
    struct store_waiter *waiter);

/* Dumps now, ahead of all that idles, and releases from RAM unless it is written again meanwhile.
 * STORE_DONE when there is nothing to dump; STORE_WAIT: answered STORE_DONE when the warehouse has
 * it, or with the dump's error (the object stays, and is retried), or BRAIN_ETIMEOUT. BRAIN_ENOMEM.
 * `waiter` NULL: nobody wants to know. */
int store_persist(
    struct store *store, struct slice id, uint64_t now_ms, struct store_waiter *waiter);

/* Results. Load: status 0 with `value` and `version`; STORE_ABSENT with `version` of a tombstone or
 * NULL; or an error (BRAIN_EWAREHOUSE, BRAIN_ECORRUPT: waiting reads get it, the stored object is
 * left untouched). Dump: 0; BRAIN_ECONFLICT with the `stored` version; or an error.
 *
 * A conflict with a version that this process never knew makes the object newer than it, and it is
 * dumped again at once; so does one with an older version than ours (an earlier attempt of our own
 * whose answer was lost). One with the very version dumped is a success when it was
 * tried before. One with a newer version
 * than the one known: ours is set aside, and leaves RAM. */
void store_loaded(struct store *store, struct object *object, int status,
    const struct version *version, const struct value *value, uint64_t now_ms);
void store_dumped(struct store *store, struct object *object, int status,
    const struct version *stored, uint64_t now_ms);

/* Of an object whose load or dump was asked for, and is not answered yet. Does somebody wait for
 * it: a read, or who is told when it is dumped? */
bool store_is_wanted(const struct object *object);
/* What serves it, for `wanted`; the caller's own, forgotten with the answer. */
void store_set_operation(struct object *object, void *operation);
void *store_operation(const struct object *object);

/* The journal has all records up to and with `seq` (status 0), or failed to append them
 * (BRAIN_EJOURNAL): whoever waits for them, or for a dump that waits for them, hears it, the values
 * stay dirty in RAM; a later status 0 for them only moves on. Dumps of these versions begin with
 * status 0, not before: also while draining. */
void store_written(struct store *store, uint64_t seq, int status, uint64_t now_ms);
/* Does anybody wait for that: a write for its answer, a read for what it saw, a dump? */
bool store_awaits_records(const struct store *store);

/* At start, before anything else: one record of the journal, in the order of seq. It becomes a
 * dirty object (or tombstone) of that version in RAM, replaces an earlier record of its id, and is
 * live (record_live). When its dump finds a newer version with a higher seq in the warehouse, that
 * one wins: the record was older than what a later, lost record had become; it is dropped and
 * counted. (seq grows over the life of the data directory, so a newer version with a lower seq is
 * none of its later writes: then it is as with any version that was never known.) The memory limit
 * is not looked at. 0 or BRAIN_ENOMEM. */
int store_restore(struct store *store, struct slice id, struct version version,
    const struct value *value, uint64_t now_ms);

/* At start, after the last store_restore: writes get numbers above `seq` (a journal may have held
 * records that nobody could read: so leave a gap above the last that was found). */
void store_raise_seq(struct store *store, uint64_t seq);

/* A number for a record of the journal that is none of this store's: no version gets it. */
uint64_t store_take_seq(struct store *store);

/* At start, after the last store_restore, when records that were acknowledged may be missing (a
 * loss of power before they were synced): the warehouse may hold what they had become. So the first
 * read of a restored object loads, and the later one wins, by the rule of store_restore; should the
 * load fail, the read is answered with its error, and the next one tries again. A confirmed dump
 * and a write make that unneeded. Without this call restored objects are shown at once. */
void store_verify_restored(struct store *store);

/* Compaction of the journal: appends again (events.record, a new version) every dirty object whose
 * live record has a seq in first..last. Restored objects that were not written since are put in
 * line for a dump instead: under a new version they would seem to be later than what the warehouse
 * may have. About `budget` objects are looked at; returns true while there is more to do (call
 * again in the next turn with the same range), false when done or when the journal refused a
 * record. */
bool store_rewrite(struct store *store, uint64_t first_seq, uint64_t last_seq, uint32_t budget);

/* Bytes that others hold and that count against memory_limit: buffers of connections. From 95 % of
 * the limit on the coldest objects leave RAM: here at the next call that writes or advances. */
void store_set_outside_bytes(struct store *store, uint64_t bytes);
/* RAM that would still be taken if all clean objects left, about. O(1). */
uint64_t store_held_bytes(const struct store *store);
/* While it is set, what is dirty is dumped as fast as dumps_parallel allows, the coldest first, as
 * near memory_limit; nothing leaves RAM for it. */
void store_press(struct store *store, bool pressed);

/* Does what time asks for: idle steps, retries, expired waiters, the drain; at most `budget`
 * objects are looked at. Returns how many ms until it wants to be called again (0: at once, in the
 * next turn of the loop). What other calls bring in the meantime is never due sooner than that. The
 * table grows and shrinks bucket by bucket with each write, not here. */
uint64_t store_advance(struct store *store, uint64_t now_ms, uint32_t budget);

/* ---- the store of a member ---- */

bool store_is_resident(const struct store *store, struct slice id, uint64_t hash);

/* As store_set_hashed, or (`value` NULL) store_delete, without a waiter, of what is resident; else
 * STORE_ABSENT, and nothing is done. `untold`: nobody wants to hear of new versions, whichever this
 * call makes: neither `reserve` nor `written` is called. */
int store_replace(struct store *store, struct slice id, uint64_t hash, const struct value *value,
    enum store_ack ack, bool untold, uint64_t now_ms);

/* R7: `id`, which is not resident, was granted, and other members hold this version of it (`value`
 * NULL: a tombstone; else a reference is taken). The warehouse is read and the greater of the two
 * is the object. A copy that wins is a new write under the grant: dirty, recorded, told by
 * `written`. A load that fails is tried again with backoff, as long as it takes (reads that wait
 * hear of it). A write in the meantime replaces the copy; reads that came before it still get the
 * greater of the two. `complete`: there is no greater one, it wins at once and nothing is read (but
 * when its write fails, for want of memory or a journal: then as above). 0 or BRAIN_ENOMEM. */
int store_adopt(struct store *store, struct slice id, struct version version,
    const struct value *value, bool complete, uint64_t now_ms);

/* How many adopted objects the warehouse is being read for now: not those that wait for another
 * try. */
uint32_t store_comparing(const struct store *store);

/* R4: `grant` has a higher epoch for this id now: what is dirty is written again under it
 * (recorded, told by `written`), and dumped at once if a dump waited for that. 0; BRAIN_ENOMEM,
 * BRAIN_EJOURNAL: not now; the next retry of the dump does it, or tells `outdated` again.
 * BRAIN_EUNAVAILABLE: it is not granted. */
int store_restamp(struct store *store, struct slice id, uint64_t now_ms);

/* The version and value of a dirty object; borrowed until the next call into the store. `*deleted`:
 * a tombstone, no value. false: it is clean or not resident, or only a copy to be compared. */
bool store_peek_dirty(struct store *store, struct slice id, struct version *version,
    struct value *value, bool *deleted);
/* The version that the warehouse is known to hold (all 0: it has none). false: not known. */
bool store_peek_stored(struct store *store, struct slice id, struct version *version);

/* R13: gives up an object unless something of it is under way: a load, a dump, somebody who waits,
 * a copy to be compared, a higher epoch (R4). STORE_GONE_DIRTY: version, value (a reference, the
 * caller's to drop) and
 * `*deleted` are what it was, and its record stays live in the journal: record_dead is the caller's
 * to say. STORE_BUSY also without memory for the reference. */
enum store_parted { STORE_BUSY, STORE_GONE_CLEAN, STORE_GONE_DIRTY };
enum store_parted store_part(struct store *store, struct slice id, struct version *version,
    struct value *value, bool *deleted);

/* R1: gives up everything, whatever is under way; about `budget` objects a call. Reads and persists
 * that wait are answered BRAIN_EUNAVAILABLE, writes BRAIN_EUNKNOWN. What is dirty, and copies to be
 * compared, are handed to `keep` (borrowed; records as of store_part: `recorded` says whether there
 * is one), before those who wait are answered. Results of loads and dumps that were under way are
 * ignored when they come; until then they count as under way (metrics, dumps_parallel). true:
 * nothing is left. What the store is busy with when this is called from within one of its events
 * is left for another call. `keep` may not call back into the store. */
typedef void (*store_keep_cb)(void *member, struct slice id, struct version version,
    const struct value *value, bool recorded);
bool store_abandon(struct store *store, uint32_t budget, uint64_t now_ms, store_keep_cb keep);

/* A resident object after the one at `*cursor` (0 to start): its id in `id` (ID_LIMIT bytes).
 * false: no more, and the cursor is 0 again. Every object that stays resident is seen, some twice.
 * Looks at a few hundred places at most: then true with `*id_size` 0, go on. */
bool store_next(struct store *store, uint64_t *cursor, uint8_t *id, size_t *id_size);

/* As long as others take over what is dirty (R13), a dump that nobody waits for would only keep an
 * object here: none begins while this is on. Those that wait for the journal are given up; those
 * that are with the warehouse, and have not begun there, can be taken back by who has them:
 * store_dumped with BRAIN_ESHUTDOWN, which is no failure; it begins again if somebody waits. */
void store_yield(struct store *store, bool yields, uint64_t now_ms);

/* From now on everything dirty is dumped as fast as dumps_parallel allows. Progress is in the
 * metrics: done when dirty, persisting and loading are 0. */
void store_drain(struct store *store, uint64_t now_ms);

#endif
