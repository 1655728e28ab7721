/* store_inside: what the files of this room share.
 *
 *   store.c   the requests: get, set, delete, persist
 *   life.c    loads, dumps and their results; when an item comes to rest
 *   idle.c    what time brings: idle steps, retries, expired waiters, drain
 *
 * An item is in one of these places, and its flags say which:
 *
 *   idle wheel     at rest; looked at when it may have been idle for long enough
 *   `cold`         dirty and idle (or draining): dumped when it is its turn
 *   ITEM_BUSY      it has a struct object, which is
 *       LOADING    waiting for store_loaded
 *       LISTED     waiting for its dump to begin: in `urgent`, `retries` or `backoff`
 *       DUMPING    waiting for store_dumped
 *       RESTING    only while an event is being handled; object_settle decides what is next
 *
 * Events may call back into the store. So whatever is told to the outside is told last, or with the
 * object pinned; a pinned object is neither freed nor moved on. */
#ifndef BRAIN_OBJECT_STORE_INSIDE_H
#define BRAIN_OBJECT_STORE_INSIDE_H

#include "ages.h"
#include "table.h"
#include "waiters.h"
#include "wheel.h"

enum object_stage { OBJECT_RESTING, OBJECT_LOADING, OBJECT_LISTED, OBJECT_DUMPING };

/* An item with something under way. */
struct object {
    struct item *item; /* NULL: given up, only pinned */
    struct link link;  /* LISTED */
    struct waiter_line reads, persists;
    struct version stored; /* what the warehouse holds, as far as known; seq 0 in all: nothing */
    struct version dumped; /* DUMPING: the version under way, and the bytes it takes */
    uint64_t dumped_bytes;
    uint64_t retry_at_ms;
    uint32_t pins;
    uint8_t stage;
    uint8_t failures;  /* of dumps, in a row */
    uint8_t conflicts; /* in a row */
    uint8_t later_age; /* DUMPING and rewritten: when the first write after the dump came */
    bool stored_known;
    bool repeated;  /* DUMPING: this version was tried before */
    bool rewritten; /* DUMPING: written since */
    bool soon;      /* dump as soon as it may begin: somebody said {p, Id} */
    bool leave;     /* out of RAM once clean: the same, and nothing was written since */
};

struct store {
    struct store_options options;
    struct store_events events;
    struct store_metrics metrics;
    struct version latest; /* store epoch, and the last seq given */
    struct epochs epochs;
    struct table table;
    struct ages ages; /* of dirty items: by the first write the warehouse lacks */
    struct waiter_deadlines deadlines;
    struct wheel idle;    /* items */
    struct wheel backoff; /* objects */
    struct link urgent;   /* objects to be dumped, in this order of precedence: */
    struct link retries;  /* objects */
    struct link cold;     /* items */
    uint64_t dumping_bytes;
    uint64_t random;
    uint32_t ttl_ticks; /* key_ttl in ticks of the idle wheel */
    bool pumping;
    bool draining;
    size_t drain_cursor;
    bool drain_scanned;
};

/* store.c */
void store_touch(struct store *store, struct item *item, uint64_t now_ms);
/* Adds an item to the metrics, or takes it out: around every change of what they count. */
void store_count(struct store *store, const struct item *item);
void store_uncount(struct store *store, const struct item *item);
/* Gives the item the next version of this store; BRAIN_ENOMEM: it keeps its own. */
int store_renew_version(struct store *store, struct item *item);
/* Takes an item that has no struct object (any more) out of RAM. */
void store_remove(struct store *store, struct item *item);
void store_answer(
    struct store *store, struct store_waiter *waiter, int status, const struct value *value);

/* life.c */
/* NULL: no memory. The item leaves the list it is in. */
struct object *object_create(struct store *store, struct item *item);
/* Nothing is under way (stage RESTING): starts what is next, or lets the item rest or go. */
void object_settle(struct store *store, struct object *object, uint64_t now_ms);
/* Undoes one `pins++`, then settles; the object may be gone after that. */
void object_unpin(struct store *store, struct object *object, uint64_t now_ms);
/* To be dumped before all that is not urgent. */
void object_hurry(struct store *store, struct object *object);
/* Starts as many dumps as may be under way at once. */
void store_pump(struct store *store);
void store_answer_persists(struct store *store, struct object *object, bool all, int status);

/* idle.c */
/* Lets an item without object rest: in the idle wheel, or `cold` when draining. */
void store_rest(struct store *store, struct item *item, uint64_t now_ms);
void store_back_off(struct store *store, struct object *object, uint64_t now_ms);

#endif
