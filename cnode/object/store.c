#include "store_inside.h"

#include <assert.h>

/* ---- making and freeing ---------------------------------------------------------------------- */

struct store *store_create(const struct store_options *options, struct store_events events)
{
    struct store *store = heap_allocate_zeroed(sizeof(*store));
    if (!store)
        return NULL;
    store->options = *options;
    store->events = events;
    if (store->options.key_ttl_ms == 0)
        store->options.key_ttl_ms = 1;
    if (store->options.dumps_parallel == 0)
        store->options.dumps_parallel = 1;
    if (store->options.retry_min_ms == 0)
        store->options.retry_min_ms = 1;
    if (store->options.retry_max_ms < store->options.retry_min_ms)
        store->options.retry_max_ms = store->options.retry_min_ms;
    store->latest = options->epoch;
    store->restored_seq = options->epoch.seq;
    store->rewrite_first = 1;
    store->evict_above =
        options->memory_limit_bytes > 0 ? options->memory_limit_bytes / 20 * 19 : UINT64_MAX;
    store->random = options->hash_seed | 1;
    pages_init(&store->pages, options->memory_limit_bytes);
    if (table_init(&store->table, &store->pages, options->hash_seed) != 0) {
        pages_release(&store->pages);
        heap_release(store);
        return NULL;
    }
    epochs_init(&store->epochs);
    ages_init(&store->ages);
    /* Both idle steps fit on the ring, and neither is more than about 2 % late; unless max_dirty_ms
     * is much shorter: then the ring is finer, but not so fine that stamps wrap too soon. */
    uint64_t ttl_ms = store->options.key_ttl_ms, shortest_ms = ttl_ms;
    if (options->max_dirty_ms > 0 && options->max_dirty_ms < shortest_ms)
        shortest_ms = options->max_dirty_ms;
    uint64_t granularity_ms = shortest_ms / 128 + 1;
    if (granularity_ms < ttl_ms / 8192 + 1)
        granularity_ms = ttl_ms / 8192 + 1;
    for (unsigned kind = 0; kind < PAGE_KINDS; kind++)
        wheel_init(&store->idle[kind], granularity_ms);
    /* Times of access are rounded down to a tick: never idle too early. */
    store->ttl_ticks = (uint32_t)((ttl_ms + 2 * (granularity_ms - 1)) / granularity_ms);
    store->pass_gap[PAGE_CLEAN] = (uint32_t)(ttl_ms / granularity_ms / 16);
    store->pass_gap[PAGE_DIRTY] = (uint32_t)(shortest_ms / granularity_ms / 16);
    wheel_init(&store->backoff, store->options.retry_min_ms / 8 + 1);
    wheel_init(&store->copies, store->backoff.granularity_ms);
    list_init(&store->unwritten);
    list_init(&store->unrecorded);
    list_init(&store->ready);
    list_init(&store->urgent);
    list_init(&store->retries);
    list_init(&store->cold);
    return store;
}

static void release_item(void *context, struct item *item)
{
    struct store *store = context;
    store_leave_cold(store, item);
    if (item->flags & ITEM_BUSY)
        object_free(store, item->object);
    item_release(&store->pages, item);
}

void store_destroy(struct store *store)
{
    if (!store)
        return;
    assert(store->metrics.loading == 0 && store->metrics.persisting == 0);
    while (store->deadlines.oldest) {
        struct store_waiter *waiter = store->deadlines.oldest;
        waiters_pop(&store->deadlines, waiters_line(&store->records, waiter));
        store_answer(store, waiter, BRAIN_ESHUTDOWN, NULL);
    }
    for (size_t cursor = 0; table_scan(&store->table, &cursor, release_item, store);)
        ;
    table_release(&store->table);
    pages_release(&store->pages);
    epochs_release(&store->epochs);
    heap_release(store);
}

/* ---- metrics --------------------------------------------------------------------------------- */

const struct store_metrics *store_metrics(struct store *store, uint64_t now_ms)
{
    store->metrics.oldest_dirty_ms = ages_oldest_ms(&store->ages, now_ms);
    store->metrics.waiting = store->deadlines.count;
    store->metrics.memory = store_memory(store);
    store->metrics.breaker_open = store->breaker_open;
    return &store->metrics;
}

void store_verify_restored(struct store *store)
{
    store->verify_restored = true;
}

void store_raise_seq(struct store *store, uint64_t seq)
{
    if (store->latest.seq < seq)
        store->latest.seq = seq;
}

void store_metrics_register(struct metrics_registry *registry, struct store *store)
{
    const struct store_metrics *source = &store->metrics;
    const char *group = "object";
    STORE_METRICS(METRICS_ROW)
}

static void count(struct store *store, const struct item *item, uint64_t one)
{
    struct store_metrics *metrics = &store->metrics;
    /* `one` is 1, or -1 in the arithmetic of uint64_t. */
    store->block_memory += one * item_memory_outside(item);
    if (item->flags & ITEM_UNKNOWN)
        return;
    uint64_t value_bytes = one * item_value_size(item);
    metrics->objects += item->flags & ITEM_TOMBSTONE ? 0 : one;
    metrics->bytes += one * item->id_size + value_bytes;
    if (item->flags & ITEM_DIRTY) {
        metrics->dirty += one;
        metrics->dirty_bytes += value_bytes;
    }
}

void store_count(struct store *store, const struct item *item)
{
    count(store, item, 1);
}

void store_uncount(struct store *store, const struct item *item)
{
    count(store, item, UINT64_MAX);
}

/* ---- what requests have in common ------------------------------------------------------------ */

void store_set_now(struct store *store, uint64_t now_ms)
{
    if (store->now_ms == now_ms)
        return;
    store->now_ms = now_ms;
    store->now_tick = now_ms / store->idle[PAGE_CLEAN].granularity_ms;
}

void store_touch(struct store *store, struct item *item)
{
    item->accessed = (uint16_t)store->now_tick;
}

uint64_t store_random(struct store *store)
{
    uint64_t x = store->random; /* xorshift64*: Marsaglia, "Xorshift RNGs"; Vigna */
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    store->random = x;
    return x * 0x2545F4914F6CDD1DU;
}

static void drop_versions(struct store *store, struct item *item)
{
    if (!(item->flags & ITEM_UNKNOWN))
        epochs_drop(&store->epochs, item_version(item));
    if (item->flags & ITEM_STORED_KNOWN)
        epochs_drop(&store->epochs, *item_stored(item));
}

static void take_out(struct store *store, struct item *item)
{
    assert(!(item->flags & ITEM_BUSY));
    store_uncount(store, item);
    if (item->flags & ITEM_DIRTY)
        ages_leave(&store->ages, item->age);
    store_leave_cold(store, item);
    drop_versions(store, item);
    table_remove(&store->table, table_hash(&store->table, item_id(item)), item);
}

void store_remove(struct store *store, struct item *item)
{
    take_out(store, item);
    if (store->events.grant)
        store->events.released(store->events.member, item_id(item), store->now_ms);
    item_release(&store->pages, item);
}

void store_give_up(struct store *store, struct item *item)
{
    take_out(store, item);
    item_release(&store->pages, item);
}

/* ---- prefetch -------------------------------------------------------------------------------- */

uint64_t store_hash(const struct store *store, struct slice id)
{
    return table_hash(&store->table, id);
}

void store_prefetch_slot(const struct store *store, uint64_t hash)
{
    table_prefetch_slot(&store->table, hash);
}

void store_prefetch_item(const struct store *store, uint64_t hash)
{
    table_prefetch_item(&store->table, hash);
}

/* ---- get ------------------------------------------------------------------------------------- */

struct object *store_add_unknown(struct store *store, struct slice id, uint64_t hash)
{
    struct item *item = item_create(&store->pages, id, NULL, false);
    if (!item)
        return NULL;
    item->flags |= ITEM_UNKNOWN;
    struct object *object = object_create(store, item);
    if (!object || table_insert(&store->table, hash, item) != 0) {
        if (object)
            object_free(store, object);
        item_release(&store->pages, item);
        return NULL;
    }
    store_count(store, item);
    store_touch(store, item);
    return object;
}

static int start_load(struct store *store, struct slice id, uint64_t hash, uint64_t now_ms,
    struct store_waiter *waiter)
{
    if (!waiter)
        return STORE_WAIT;
    struct object *object = store_add_unknown(store, id, hash);
    if (!object)
        return BRAIN_ENOMEM;
    store->metrics.misses++;
    waiters_push(&store->deadlines, &object->reads, waiter, object, WAITER_LOAD,
        now_ms + store->options.wait_timeout_ms);
    object_load(store, object);
    return STORE_WAIT;
}

int store_get(struct store *store, struct slice id, uint64_t now_ms, struct value *value,
    struct store_waiter *waiter)
{
    return store_get_hashed(store, id, table_hash(&store->table, id), now_ms, value, waiter);
}

int store_get_hashed(struct store *store, struct slice id, uint64_t hash, uint64_t now_ms,
    struct value *value, struct store_waiter *waiter)
{
    store_set_now(store, now_ms);
    struct item *item = table_find(&store->table, hash, id);
    if (!item)
        return start_load(store, id, hash, now_ms, waiter);
    store_touch(store, item);
    if (item->flags & (ITEM_BUSY | ITEM_UNSURE) && store_read_waits(store, item)) {
        if (!waiter)
            return STORE_WAIT;
        int status = store_queue_read(store, item, now_ms, waiter);
        if (status == STORE_WAIT && (waiter->kind == WAITER_LOOK || copy_is_listed(item->object)))
            object_settle(store, item->object, now_ms); /* looks at the warehouse */
        return status;
    }
    store->metrics.hits++;
    if (item->flags & ITEM_TOMBSTONE)
        return STORE_ABSENT;
    *value = item_value(item);
    return STORE_FOUND;
}

/* ---- persist --------------------------------------------------------------------------------- */

int store_persist(
    struct store *store, struct slice id, uint64_t now_ms, struct store_waiter *waiter)
{
    store_set_now(store, now_ms);
    struct item *item = table_find(&store->table, table_hash(&store->table, id), id);
    if (!item)
        return STORE_DONE;
    struct object *object = object_of(item);
    bool has_copy = object && object->copy; /* which may have to be dumped */
    if (!(item->flags & ITEM_DIRTY) && !has_copy) {
        if (object) {
            object->leave = true; /* when what is under way is over */
        } else {
            store_remove(store, item);
            store->metrics.dropped_persist++;
        }
        return STORE_DONE;
    }
    if (!object) {
        object = object_create(store, item);
        if (!object)
            return BRAIN_ENOMEM;
    }
    object->leave = true;
    bool next = object->stage != OBJECT_DUMPING || object->rewritten;
    if (next)
        object->soon = true;
    if (waiter) {
        waiters_push(&store->deadlines, &object->persists, waiter, object, WAITER_PERSIST,
            now_ms + store->options.wait_timeout_ms);
        waiter->state = next ? WAITER_NEXT_DUMP : WAITER_THIS_DUMP;
        object_want(store, object);
    }
    if (copy_is_listed(object))
        object_load(store, object);
    else if (object->stage == OBJECT_LISTED)
        object_hurry(store, object);
    else
        object_settle(store, object, now_ms);
    store_pump(store);
    return STORE_WAIT;
}
