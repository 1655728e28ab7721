/* store_inside: what the files of this room share.
 *
 *   store.c    making and freeing, metrics, get, persist
 *   write.c    set, delete, restore, rewrite: a new version of an object
 *   acks.c     who waits for an acknowledgement, and when it is reached
 *   life.c     dumps and their results; what is next for an object; when an item comes to rest
 *   load.c     results of loads
 *   breaker.c  pausing the dumps while the warehouse fails
 *   memory.c   what RAM is taken, and who leaves first
 *   rest.c     items at rest: which page is to be looked at when, and what is found there
 *   member.c   the store of a member: epochs that are too low, giving up, what others ask
 *   copies.c   what was adopted with a copy
 *   compact.c  moving items out of pages that are nearly empty
 *   idle.c     what time brings: idle steps, retries, expired waiters, drain
 *
 * An item is in one of these states, and its flags say which:
 *
 *   at rest        its page is in the idle wheels, and comes up before it may have been idle for
 *                  long enough
 *   ITEM_COLD      dirty and idle (or draining): dumped when it is its turn; its page is in `cold`
 *   ITEM_BUSY      it has a struct object, which is
 *       LOADING    waiting for store_loaded
 *       LISTED     waiting for its dump to begin: in `urgent`, `retries` or `backoff`; or, with a
 *                  `copy`, for its next load: in `copies`
 *       DUMPING    waiting for store_dumped; or, with `held`, for the record of the version that is
 *                  to be dumped (`unrecorded`), then for its turn (`ready`)
 *       RESTING    while an event is being handled (object_settle decides what is next), or as long
 *                  as reads wait for an acknowledgement
 *
 * Events may call back into the store. So whatever is told to the outside is told last, or with the
 * object pinned; a pinned object is neither freed nor moved on. Its item may move to another slot,
 * as any item may, in every call that writes or advances.
 *
 * The journal, where there is one: a dirty item has exactly one live record, and its seq is that of
 * the item's version. So no item needs memory for it, and each change of a dirty item's version is
 * recorded before it happens.
 *
 * The warehouse never gets what the journal does not have yet: after a crash the journal would
 * bring back what was before it. Whose turn to be dumped comes too early is held as it is then: an
 * object that is written all the time has never its newest version in the journal. It takes none of
 * the places of dumps under way, so a journal that has failed holds up nobody else.
 *
 * A restored item, where records may be missing, is ITEM_UNSURE: the first read of it loads what
 * the warehouse has, and the later of the two is what is shown from then on. */
#ifndef BRAIN_OBJECT_STORE_INSIDE_H
#define BRAIN_OBJECT_STORE_INSIDE_H

#include "ages.h"
#include "table.h"
#include "waiters.h"
#include "wheel.h"

/* What other members held of an object when it was adopted (R7), until it is compared with what the
 * warehouse holds. The item is ITEM_UNKNOWN: a write drops the copy, unless reads wait for the
 * load: then it goes with the load's result. */
struct copy {
    struct version version;
    bool deleted;
    struct value value; /* with a block, unless `deleted` */
};

enum object_stage { OBJECT_RESTING, OBJECT_LOADING, OBJECT_LISTED, OBJECT_DUMPING };

/* An item with something under way. */
struct object {
    struct item *item;             /* NULL: given up, only pinned; or abandoned, and its load or
                                      dump is still under way */
    struct packed_version version; /* of the item */
    struct link link;              /* LISTED, or held */
    struct link unwritten;         /* its first read waits for the journal: in store.unwritten */
    uint64_t unwritten_seq;        /* looked at when the journal is there */
    struct waiter_line reads, persists;
    struct version stored; /* what the warehouse holds, as far as known; seq 0 in all: nothing */
    struct version dumped; /* DUMPING: the version under way, and the bytes it takes */
    uint64_t dumped_bytes;
    struct value held_value; /* of `dumped`; none: a tombstone */
    struct copy *copy;       /* or NULL */
    void *operation;         /* of the load or dump under way: the caller's; or NULL */
    uint64_t retry_at_ms;
    uint32_t pins;
    uint8_t stage;
    uint8_t failures;  /* of dumps, in a row */
    uint8_t conflicts; /* in a row */
    uint8_t later_age; /* DUMPING and rewritten: when the first write after the dump came */
    bool stored_known;
    bool repeated;  /* DUMPING: this version was tried before */
    bool rewritten; /* DUMPING: written since */
    bool held;      /* DUMPING: the dump has not begun */
    bool soon;      /* dump as soon as it may begin: somebody said {p, Id}, or waits for it */
    bool leave;     /* out of RAM once clean: {p, Id}, and nothing was written since */
    bool outdated;  /* `stored` is not below the grant: no dump before it is */
    bool guarded;   /* reads of the item's version wait for its dump: STORE_ACK_WAREHOUSE */
    bool comparing; /* LOADING: counted in store.comparing */
};

struct store {
    struct store_options options;
    struct store_events events;
    struct store_metrics metrics;
    struct version latest; /* store epoch, and the last seq given */
    uint64_t restored_seq; /* versions up to this one are of an earlier process */
    uint64_t settled_seq;  /* nobody waits any more for records up to this one */
    uint64_t written_seq;  /* the journal has all records up to this one */
    bool verify_restored;  /* records may be missing: look at the warehouse first */
    uint64_t now_ms;       /* of the last call that said it */
    uint64_t now_tick;     /* the same, of the idle wheels */
    struct epochs epochs;
    struct pages pages;
    struct table table;
    struct ages ages; /* of dirty items: by the first write the warehouse lacks */
    struct waiter_deadlines deadlines;
    struct waiter_line records;    /* writes that wait for the journal, by seq */
    struct link unwritten;         /* objects, by unwritten_seq */
    struct wheel idle[PAGE_KINDS]; /* pages; of the same granularity */
    struct wheel backoff;          /* objects */
    struct wheel copies;           /* objects: LISTED, with a copy */
    struct link unrecorded;        /* objects, held */
    struct link ready;             /* objects to be dumped, in this order of precedence: */
    struct link urgent;            /* objects */
    struct link retries;           /* objects */
    struct link cold;              /* pages with items that are ITEM_COLD */
    uint64_t dumping_bytes;
    uint32_t comparing; /* loads under way that began for a copy */
    uint64_t block_memory, object_memory, captured_memory, outside_memory;
    const struct item *kept; /* being written over: neither moves nor leaves */
    uint16_t source_cursor;  /* of compact.c: a slot of pages.source */
    uint64_t wanted_memory; /* what the last refused write would have needed, until there is room */
    uint64_t evict_above;   /* of memory_limit_bytes; UINT64_MAX: no limit */
    uint64_t random;
    uint32_t ttl_ticks;            /* key_ttl in ticks of the idle wheels */
    uint32_t pass_gap[PAGE_KINDS]; /* ticks between two looks at a full page */
    bool pressed;                  /* dirty items are dumped, whatever RAM there is */
    bool pumping;
    bool draining, yielding;
    bool untold; /* within store_replace: nobody wants to be told of new versions */
    size_t drain_cursor;
    size_t abandon_cursor; /* a bucket */
    bool drain_scanned;
    bool breaker_open;
    uint32_t breaker_failures; /* of dumps, of whatever object, in a row */
    uint32_t breaker_probes;   /* failed ones since it opened */
    uint64_t breaker_probe_at_ms;
    uint64_t rewrite_first, rewrite_last; /* the range being rewritten; none: 1, 0 */
    size_t rewrite_cursor;
    uint32_t rewrite_looked;
    bool rewrite_refused;
};

/* Is this part of a rule broken (enum store_break)? Only in the simulator. */
static inline bool store_breaks(const struct store *store, uint32_t part)
{
#ifdef BRAIN_BREAKABLE
    return (store->options.broken & part) != 0;
#else
    (void)store, (void)part;
    return false;
#endif
}

/* store.c */
void store_set_now(struct store *store, uint64_t now_ms);
void store_touch(struct store *store, struct item *item);
/* Adds an item to the metrics, or takes it out: around every change of what they count. */
void store_count(struct store *store, const struct item *item);
void store_uncount(struct store *store, const struct item *item);
/* Takes an item that has no struct object (any more) out of RAM. It is released: no longer owned.
 * store_give_up: without saying so. */
void store_remove(struct store *store, struct item *item);
void store_give_up(struct store *store, struct item *item);
/* A new item that is ITEM_UNKNOWN, with an object that is RESTING. NULL: no memory. */
struct object *store_add_unknown(struct store *store, struct slice id, uint64_t hash);
uint64_t store_random(struct store *store);
static inline struct object *object_of(const struct item *item)
{
    return item->flags & ITEM_BUSY ? item->object : NULL;
}
static inline struct packed_version item_version(const struct item *item)
{
    return item->flags & ITEM_BUSY ? item->object->version : item->version;
}
static inline void item_set_version(struct item *item, struct packed_version version)
{
    *(item->flags & ITEM_BUSY ? &item->object->version : &item->version) = version;
}
static inline uint64_t item_seq(const struct store *store, const struct item *item)
{
    return epochs_unpack(&store->epochs, item_version(item)).seq;
}

/* write.c */
/* Gives the item the next version of this store, in the journal too. An error: it keeps its own. */
int store_renew_version(struct store *store, struct item *item);
/* The same, under this epoch. */
int store_restamp_item(struct store *store, struct item *item, struct version epoch);
/* The dump under way is of an older version from now on, though of the same value. */
void object_rewrite(struct store *store, struct object *object);
/* The object's copy becomes what it is, by a new version, as a write would. The memory limit is not
 * looked at. An error: nothing is changed. */
int store_write_copy(struct store *store, struct object *object, uint64_t now_ms);
/* Every version given from now on is above `seen`; not in a member's store. */
void store_raise_above(struct store *store, struct version seen);
/* The item's record is needed no more. */
void store_bury_record(struct store *store, uint64_t seq);

/* acks.c */
/* Is it to be compared with what the warehouse has, before it is shown? Also notes when not. */
bool store_must_look(const struct store *store, struct item *item);
void store_answer(
    struct store *store, struct store_waiter *waiter, int status, const struct value *value);
void store_answer_persists(struct store *store, struct object *object, bool all, int status);
/* Does a read of this item have to wait? */
bool store_read_waits(struct store *store, struct item *item);
/* Queues a read behind what it waits for; it has seen what it sees. STORE_WAIT or BRAIN_ENOMEM. */
int store_queue_read(
    struct store *store, struct item *item, uint64_t now_ms, struct store_waiter *waiter);
/* Somebody waits for it now: says so to who serves its load or dump. */
void object_want(struct store *store, struct object *object);
/* Answers the reads that wait for nothing any more and for nobody before them. Pin the object.
 * Those for which the warehouse was to be looked at see what the item is, if that is sure now. */
void store_release_reads(struct store *store, struct object *object);
/* Reads of versions up to `seq` wait for a dump no longer. */
void store_forget_guard(struct object *object, uint64_t seq);

/* life.c */
/* NULL: no memory. The item is no longer at rest, or cold. */
struct object *object_create(struct store *store, struct item *item);
struct object *object_allocate(struct store *store);
void object_attach(struct store *store, struct object *object, struct item *item);
/* The item has none any more; what becomes of both is the caller's. */
void object_detach(struct object *object);
void object_free(struct store *store, struct object *object);
/* Nothing is under way (stage RESTING): starts what is next, or lets the item rest or go. */
void object_settle(struct store *store, struct object *object, uint64_t now_ms);
/* Undoes one `pins++`, then settles; the object may be gone after that. */
void object_unpin(struct store *store, struct object *object, uint64_t now_ms);
/* Asks for the item's load, wherever the object was listed. */
void object_load(struct store *store, struct object *object);
/* To be dumped before all that is not urgent. */
void object_hurry(struct store *store, struct object *object);
/* Starts as many dumps as may be under way at once. */
void store_pump(struct store *store);
/* The journal was at `seq`, status as of store_written: what was held for it moves on. */
void store_free_held(struct store *store, uint64_t seq, int status);
/* Those that wait for the journal to be dumped, and that nobody waits for, are not dumped. */
void store_let_held_go(struct store *store);
/* The dump under way will not make anything clean. */
void object_forget_dump(struct store *store, struct object *object);
/* Held no longer, and not dumped: RESTING. */
void object_let_go(struct store *store, struct object *object);

static inline int epoch_compare(struct version a, struct version b)
{
    a.seq = b.seq = 0;
    return version_compare(a, b);
}
static inline bool version_is_zero(struct version version)
{
    return version_compare(version, (struct version){0, 0, 0}) == 0;
}

/* member.c: all of it only where events.grant is set, unless it says otherwise */
void member_tell_written(struct store *store, const struct item *item);
/* R4: must the dump wait for a higher epoch? If the grant has one already, the item is written
 * again under it. */
bool object_is_outdated(struct store *store, struct object *object);
/* Asks for one, and lists the object for another try. */
void object_await_grant(struct store *store, struct object *object);
/* R11: may no dump begin now? In any store. */
static inline bool store_is_fenced(const struct store *store)
{
    return store->events.grant && !store->events.may_dump(store->events.member, store->now_ms);
}
/* In any store. */
static inline int store_reserve(struct store *store, struct slice id)
{
    return store->events.grant && !store->untold ? store->events.reserve(store->events.member, id)
                                                 : 0;
}
static inline void store_tell_written(struct store *store, const struct item *item)
{
    if (store->events.grant && !store->untold)
        member_tell_written(store, item);
}
static inline void store_tell_stored(struct store *store, struct slice id, struct version version)
{
    if (store->events.grant)
        store->events.stored(store->events.member, id, version, store->now_ms);
}

/* copies.c */
/* In any store; there may be none. */
void copy_forget(struct store *store, struct object *object);
/* The load failed, or the copy could not be written: waits for another try. */
void copy_list(struct store *store, struct object *object, uint64_t now_ms);
/* R7: what the load brought (`status` 0 or STORE_ABSENT) with the copy, or with what was written in
 * the meantime. Returns `status`; or that of the copy, if it wins, with its value in `*shown` (a
 * reference); or an error: the copy is kept. */
int copy_compare(struct store *store, struct object *object, int status, struct value *shown);
static inline bool copy_is_listed(const struct object *object)
{
    return object && object->copy && object->stage == OBJECT_LISTED;
}
static inline void copy_unlist(struct object *object)
{
    list_remove(&object->link);
    object->stage = OBJECT_RESTING;
    object->retry_at_ms = 0;
    object->failures = 0;
}

/* load.c */
/* The warehouse has this version of the item. */
void object_become_clean(struct store *store, struct object *object);
/* The restored item gives way: to what will be, or was just loaded. Its reads wait for that. */
void object_become_unknown(struct store *store, struct object *object);
/* Is what the warehouse holds what a later record, lost since, had become? seq grows with each
 * write of the same data directory: a lower one is not such a later write. */
bool store_is_lost_successor(struct version stored, struct version restored);

/* breaker.c */
bool breaker_allows(const struct store *store);
static inline bool store_has_waiting_dumps(const struct store *store)
{
    return !list_is_empty(&store->ready) || !list_is_empty(&store->urgent) ||
           !list_is_empty(&store->retries) || !list_is_empty(&store->cold);
}
/* The warehouse answered a dump, whatever it said. */
void breaker_succeeded(struct store *store);
/* It did not. True: the dump is not to be retried by itself, all dumps pause. */
bool breaker_failed(struct store *store);
/* Tells all that wait for a dump in line that there will be none for now. */
void breaker_tell(struct store *store, int status);
/* While it is open: objects that wait for a retry go back to being plain dirty items. */
void breaker_shelve(struct store *store, uint32_t *budget);
/* Until the next probe; UINT64_MAX: nothing waits for one. */
uint64_t breaker_next_ms(const struct store *store);

/* memory.c */
uint64_t store_memory(const struct store *store);
/* Drops the coldest clean items until a slot for an item of `size` bytes (0: none) and `bytes` more
 * fit; looks at `looks` items at most. False: they would go above the limit. */
bool store_make_room(struct store *store, size_t size, uint64_t bytes, uint32_t looks);
/* How many items may be looked at to make room for so many bytes. */
uint32_t store_looks_for(uint64_t bytes);
/* The coldest dirty item, when it must be dumped so that it can leave; else NULL. */
struct item *store_dirty_victim(struct store *store);

/* rest.c */
/* Lets an item without object rest; or, when draining, be cold. */
void store_rest(struct store *store, struct item *item);
void store_make_cold(struct store *store, struct item *item);
void store_leave_cold(struct store *store, struct item *item);
/* An item that is cold, left where it is; NULL: none. */
struct item *store_first_cold(struct store *store);
/* Has it been dirty for longer than max_dirty_ms? */
bool store_is_overdue(const struct store *store, const struct item *item, uint64_t now_ms);
/* How long ago it was used. */
uint32_t store_idle_ticks(const struct store *store, const struct item *item);
/* Looks at the pages of which items may be due: they become cold, or leave RAM. */
void store_advance_rest(struct store *store, enum page_kind kind, uint32_t *budget);
/* The coldest item of its kind at rest, left where it is, or one that is not much warmer; NULL:
 * none, or all `looks` taken. */
struct item *store_coldest(struct store *store, enum page_kind kind, uint32_t *looks);

/* compact.c */
/* Moves items out of one page, at most `budget`: of a class that leaves a page unused (`clearly`:
 * and a sixteenth of all). False: there is nothing to move. */
bool store_compact(struct store *store, bool clearly, uint32_t *budget);

/* idle.c */
/* Lists the object in `backoff` or `copies`, for later and later. */
void store_back_off(
    struct store *store, struct wheel *wheel, struct object *object, uint64_t now_ms);

#endif
