/* What time brings: expired waiters, retries, idle steps (rest.c); and the drain. */
#include "store_inside.h"

#include <assert.h>

/* ---- retries --------------------------------------------------------------------------------- */

/* Twice as long after each failure, and of that a random part between a half and all, so that what
 * failed together does not come back together. A drain does not double: it wants to know soon. */
static uint64_t next_delay_ms(struct store *store, struct object *object)
{
    uint64_t delay_ms = store->options.retry_min_ms;
    unsigned doublings = store->draining ? 0 : object->failures;
    while (doublings-- > 0 && delay_ms < store->options.retry_max_ms)
        delay_ms = delay_ms <= store->options.retry_max_ms / 2 ? delay_ms * 2
                                                               : store->options.retry_max_ms;
    if (object->failures < UINT8_MAX)
        object->failures++;
    return delay_ms - store_random(store) % (delay_ms / 2 + 1);
}

void store_back_off(
    struct store *store, struct wheel *wheel, struct object *object, uint64_t now_ms)
{
    object->stage = OBJECT_LISTED;
    object->retry_at_ms = now_ms + next_delay_ms(store, object);
    list_remove(&object->link);
    wheel_insert(wheel, &object->link, object->retry_at_ms);
}

static void advance_retries(struct store *store, uint64_t now_ms, uint32_t *budget)
{
    struct link *link;
    while (*budget > 0 && (link = wheel_take(&store->backoff, now_ms)) != NULL) {
        struct object *object = list_entry(link, struct object, link);
        --*budget;
        if (object->retry_at_ms > now_ms) /* further off than the wheel reaches */
            wheel_insert(&store->backoff, link, object->retry_at_ms);
        else
            list_append(&store->retries, link);
    }
}

static void advance_copies(struct store *store, uint64_t now_ms, uint32_t *budget)
{
    struct link *link;
    while (*budget > 0 && (link = wheel_take(&store->copies, now_ms)) != NULL) {
        struct object *object = list_entry(link, struct object, link);
        --*budget;
        if (object->retry_at_ms > now_ms)
            wheel_insert(&store->copies, link, object->retry_at_ms);
        else
            object_load(store, object);
    }
}

/* ---- waiters --------------------------------------------------------------------------------- */

static void advance_waiters(struct store *store, uint64_t now_ms, uint32_t *budget)
{
    struct store_waiter *waiter;
    while (*budget > 0 && (waiter = store->deadlines.oldest) != NULL &&
           waiter->deadline_ms <= now_ms) {
        struct object *object = waiter->object;
        struct waiter_line *line = waiters_line(&store->records, waiter);
        struct store_waiter *first = waiters_pop(&store->deadlines, line);
        assert(first == waiter);
        (void)first;
        --*budget;
        store->metrics.timeouts++;
        if (object)
            object->pins++;
        store_answer(store, waiter, BRAIN_ETIMEOUT, NULL);
        if (object) {
            store_release_reads(store, object); /* those that only waited for this one */
            object_unpin(store, object, now_ms);
        }
    }
}

/* ---- drain ----------------------------------------------------------------------------------- */

static void make_cold(void *context, struct item *item)
{
    struct store *store = context;
    if ((item->flags & (ITEM_DIRTY | ITEM_BUSY)) == ITEM_DIRTY)
        store_make_cold(store, item);
}

static void advance_drain(struct store *store, uint32_t *budget)
{
    while (*budget > 0 && !store->drain_scanned) {
        --*budget;
        if (!table_scan(&store->table, &store->drain_cursor, make_cold, store))
            store->drain_scanned = true;
    }
}

void store_yield(struct store *store, bool yields, uint64_t now_ms)
{
    store_set_now(store, now_ms);
    store->yielding = yields;
    if (yields)
        store_let_held_go(store);
    store_pump(store);
}

void store_drain(struct store *store, uint64_t now_ms)
{
    store_set_now(store, now_ms);
    if (!store->draining) {
        store->breaker_probe_at_ms = now_ms;
        store->draining = true;
        store->table.keep_buckets = true;
        /* Whatever failed before gets one try now. */
        wheel_take_all(&store->backoff, &store->retries);
    }
    store_pump(store);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

/* Dumps may begin again at any time, and nobody says so. */
static uint64_t fence_next_ms(const struct store *store)
{
    enum { LOOK_AGAIN_MS = 100 };
    return store_has_waiting_dumps(store) ? LOOK_AGAIN_MS : UINT64_MAX;
}

uint64_t store_advance(struct store *store, uint64_t now_ms, uint32_t budget)
{
    store_set_now(store, now_ms);
    uint32_t left = budget > 0 ? budget : 1;
    advance_waiters(store, now_ms, &left);
    if (store->breaker_open)
        breaker_shelve(store, &left);
    advance_retries(store, now_ms, &left);
    if (store->events.grant)
        advance_copies(store, now_ms, &left);
    if (store->draining)
        advance_drain(store, &left);
    store_advance_rest(store, PAGE_DIRTY, &left);
    store_advance_rest(store, PAGE_CLEAN, &left);
    while (store_compact(store, true, &left))
        ;
    store_make_room(store, 0, 0, left);
    store_pump(store);
    if (left == 0)
        return 0;

    /* What comes into being after this call is due no sooner than one of these times. */
    uint64_t next_ms = at_most(store->options.key_ttl_ms, store->options.retry_min_ms / 2);
    next_ms = at_most(next_ms, store->options.wait_timeout_ms);
    if (store->options.max_dirty_ms > 0)
        next_ms = at_most(next_ms, store->options.max_dirty_ms);
    next_ms =
        at_most(next_ms, store_is_fenced(store) ? fence_next_ms(store) : breaker_next_ms(store));
    for (unsigned kind = 0; kind < PAGE_KINDS; kind++)
        next_ms = at_most(next_ms, wheel_next_ms(&store->idle[kind], now_ms));
    next_ms = at_most(next_ms, wheel_next_ms(&store->backoff, now_ms));
    if (store->events.grant)
        next_ms = at_most(next_ms, wheel_next_ms(&store->copies, now_ms));
    if (store->deadlines.oldest && store->deadlines.oldest->deadline_ms > now_ms)
        next_ms = at_most(next_ms, store->deadlines.oldest->deadline_ms - now_ms);
    return next_ms > 0 ? next_ms : 1;
}
