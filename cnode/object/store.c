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
    store->random = options->hash_seed | 1;
    if (table_init(&store->table, options->hash_seed) != 0) {
        heap_release(store);
        return NULL;
    }
    epochs_init(&store->epochs);
    ages_init(&store->ages);
    /* Both idle steps fit on the ring, and neither is more than about 2 % late. */
    uint64_t granularity_ms = store->options.key_ttl_ms / 128 + 1;
    wheel_init(&store->idle, granularity_ms);
    /* Times of access are rounded down to a tick: never idle too early. */
    store->ttl_ticks =
        (uint32_t)((store->options.key_ttl_ms + 2 * (granularity_ms - 1)) / granularity_ms);
    wheel_init(&store->backoff, store->options.retry_min_ms / 8 + 1);
    list_init(&store->urgent);
    list_init(&store->retries);
    list_init(&store->cold);
    return store;
}

static void release_item(void *context, struct item *item)
{
    (void)context;
    if (item->flags & ITEM_BUSY)
        heap_release(item->object);
    item_release(item);
}

void store_destroy(struct store *store)
{
    if (!store)
        return;
    assert(store->metrics.loading == 0 && store->metrics.persisting == 0);
    while (store->deadlines.oldest) {
        struct store_waiter *waiter = store->deadlines.oldest;
        struct object *object = waiter->object;
        waiters_pop(
            &store->deadlines, waiter->kind == WAITER_PERSIST ? &object->persists : &object->reads);
        store_answer(store, waiter, BRAIN_ESHUTDOWN, NULL);
    }
    for (size_t cursor = 0; table_scan(&store->table, &cursor, release_item, NULL);)
        ;
    table_release(&store->table);
    epochs_release(&store->epochs);
    heap_release(store);
}

/* ---- metrics --------------------------------------------------------------------------------- */

const struct store_metrics *store_metrics(struct store *store, uint64_t now_ms)
{
    store->metrics.oldest_dirty_ms = ages_oldest_ms(&store->ages, now_ms);
    store->metrics.waiting = store->deadlines.count;
    return &store->metrics;
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
    if (item->flags & ITEM_UNKNOWN)
        return;
    /* `one` is 1, or -1 in the arithmetic of uint64_t. */
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

void store_touch(struct store *store, struct item *item, uint64_t now_ms)
{
    item->accessed = (uint16_t)(now_ms / store->idle.granularity_ms);
}

static struct object *object_of(const struct item *item)
{
    return item->flags & ITEM_BUSY ? item->object : NULL;
}

static int next_version(struct store *store, struct packed_version *packed)
{
    struct version next = store->latest;
    next.seq++;
    int status = epochs_hold(&store->epochs, next, packed);
    if (status == 0)
        store->latest = next;
    return status;
}

int store_renew_version(struct store *store, struct item *item)
{
    struct packed_version version;
    int status = next_version(store, &version);
    if (status != 0)
        return status;
    epochs_drop(&store->epochs, item->version);
    item->version = version;
    return 0;
}

static void drop_versions(struct store *store, struct item *item)
{
    if (!(item->flags & ITEM_UNKNOWN))
        epochs_drop(&store->epochs, item->version);
    if (item->flags & ITEM_STORED_KNOWN)
        epochs_drop(&store->epochs, *item_stored(item));
}

void store_remove(struct store *store, struct item *item)
{
    assert(!(item->flags & ITEM_BUSY));
    store_uncount(store, item);
    if (item->flags & ITEM_DIRTY)
        ages_leave(&store->ages, item->age);
    list_remove(&item->idle);
    drop_versions(store, item);
    table_remove(&store->table, table_hash(&store->table, item_id(item)), item);
    item_release(item);
}

void store_answer(
    struct store *store, struct store_waiter *waiter, int status, const struct value *value)
{
    struct value captured = waiter->captured;
    waiter->captured = value_none();
    if (status == STORE_FOUND && value == &waiter->captured)
        value = &captured;
    store->events.answer(store->events.context, waiter, status, value);
    value_drop(&captured);
}

/* ---- get ------------------------------------------------------------------------------------- */

static int start_load(struct store *store, struct slice id, uint64_t hash, uint64_t now_ms,
    struct store_waiter *waiter)
{
    struct item *item = item_create(id, NULL, false);
    if (!item)
        return BRAIN_ENOMEM;
    item->flags |= ITEM_UNKNOWN;
    struct object *object = object_create(store, item);
    if (!object || table_insert(&store->table, hash, item) != 0) {
        heap_release(object);
        item_release(item);
        return BRAIN_ENOMEM;
    }
    store_touch(store, item, now_ms);
    object->stage = OBJECT_LOADING;
    store->metrics.loading++;
    store->metrics.misses++;
    waiters_push(&store->deadlines, &object->reads, waiter, object, WAITER_LOAD,
        now_ms + store->options.wait_timeout_ms);
    store->events.load(store->events.context, object, item_id(item));
    return STORE_WAIT;
}

/* A read that must wait its turn behind others, but has seen what it sees. */
static int queue_read(
    struct store *store, struct item *item, uint64_t now_ms, struct store_waiter *waiter)
{
    struct object *object = item->object;
    uint8_t kind = WAITER_LOAD;
    struct value captured = value_none();
    if (item->flags & ITEM_TOMBSTONE) {
        kind = WAITER_ABSENT;
    } else if (!(item->flags & ITEM_UNKNOWN)) {
        kind = WAITER_VALUE;
        captured = item_value(item);
        captured = captured.block ? value_hold(captured) : value_copy(value_slice(captured));
        if (!captured.block)
            return BRAIN_ENOMEM;
    }
    store->metrics.misses++;
    waiters_push(&store->deadlines, &object->reads, waiter, object, kind,
        now_ms + store->options.wait_timeout_ms);
    waiter->captured = captured;
    return STORE_WAIT;
}

int store_get(struct store *store, struct slice id, uint64_t now_ms, struct value *value,
    struct store_waiter *waiter)
{
    uint64_t hash = table_hash(&store->table, id);
    struct item *item = table_find(&store->table, hash, id);
    if (!item)
        return start_load(store, id, hash, now_ms, waiter);
    store_touch(store, item, now_ms);
    struct object *object = object_of(item);
    if (object && (item->flags & ITEM_UNKNOWN || object->reads.first))
        return queue_read(store, item, now_ms, waiter);
    store->metrics.hits++;
    if (item->flags & ITEM_TOMBSTONE)
        return STORE_ABSENT;
    *value = item_value(item);
    return STORE_FOUND;
}

/* ---- set and delete -------------------------------------------------------------------------- */

/* The new item takes the old one's place: everything but id, value and version. */
static struct item *take_place(
    struct store *store, uint64_t hash, struct item *old, struct item *new)
{
    if (old->flags & ITEM_BUSY) {
        new->object = old->object;
        new->object->item = new;
    } else {
        list_remove(&old->idle);
    }
    new->age = old->age;
    new->flags |= old->flags &(ITEM_DIRTY | ITEM_BUSY);
    table_replace(&store->table, hash, old, new);
    return new;
}

/* `value` NULL: a tombstone.
 *
 * Which version the warehouse holds is remembered: in the struct object where there is one, else
 * beside the item. An item that is clean is that version. */
static int write(struct store *store, struct slice id, const struct value *value, uint64_t now_ms)
{
    uint64_t hash = table_hash(&store->table, id);
    struct item *item = table_find(&store->table, hash, id);
    struct object *object = item ? object_of(item) : NULL;
    bool was_clean = item && !(item->flags & (ITEM_DIRTY | ITEM_UNKNOWN));
    bool keeps_stored = object || was_clean || (item && item->flags & ITEM_STORED_KNOWN);
    struct packed_version version, stored = {0, 0};
    bool stored_known = false;

    /* All that can fail comes first. */
    struct item *fresh = NULL;
    if (next_version(store, &version) != 0)
        return BRAIN_ENOMEM;
    if (item)
        store_uncount(store, item);
    if (!item || item->flags & ITEM_UNKNOWN || !item_overwrite(item, value, keeps_stored)) {
        fresh = item_create(id, value, keeps_stored);
        if (!fresh || (!item && table_insert(&store->table, hash, fresh) != 0)) {
            if (item)
                store_count(store, item);
            if (fresh)
                item_release(fresh);
            epochs_drop(&store->epochs, version);
            return BRAIN_ENOMEM;
        }
    }

    if (item && !(item->flags & ITEM_UNKNOWN)) {
        if (item->flags & ITEM_STORED_KNOWN) {
            stored = *item_stored(item);
            stored_known = true;
        } else if (was_clean && !object) {
            stored = item->version;
            stored_known = true;
        }
        if (!stored_known || item->flags & ITEM_STORED_KNOWN)
            epochs_drop(&store->epochs, item->version);
    }
    if (fresh && item) {
        take_place(store, hash, item, fresh);
        item_release(item);
    }
    if (fresh)
        item = fresh;
    item->version = version;
    item->flags &= (uint8_t) ~(ITEM_TOMBSTONE | ITEM_STORED_KNOWN);
    if (stored_known) {
        *item_stored(item) = stored;
        item->flags |= ITEM_STORED_KNOWN;
    }
    if (!value)
        item->flags |= ITEM_TOMBSTONE;
    if (!(item->flags & ITEM_DIRTY)) {
        item->flags |= ITEM_DIRTY;
        item->age = ages_enter(&store->ages, now_ms);
    } else if (object && object->stage == OBJECT_DUMPING && !object->rewritten) {
        object->rewritten = true;
        object->later_age = ages_enter(&store->ages, now_ms);
    }
    store_count(store, item);
    store_touch(store, item, now_ms);
    if (object) {
        object->leave = false;
    } else {
        list_remove(&item->idle);
        store_rest(store, item, now_ms);
        if (store->draining)
            store_pump(store);
    }
    return STORE_DONE;
}

int store_set(struct store *store, struct slice id, struct value value, uint64_t now_ms)
{
    return write(store, id, &value, now_ms);
}

int store_delete(struct store *store, struct slice id, uint64_t now_ms)
{
    return write(store, id, NULL, now_ms);
}

/* ---- persist --------------------------------------------------------------------------------- */

int store_persist(
    struct store *store, struct slice id, uint64_t now_ms, struct store_waiter *waiter)
{
    struct item *item = table_find(&store->table, table_hash(&store->table, id), id);
    if (!item)
        return STORE_DONE;
    struct object *object = object_of(item);
    if (!(item->flags & ITEM_DIRTY)) {
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
    }
    if (object->stage == OBJECT_LISTED)
        object_hurry(store, object);
    else
        object_settle(store, object, now_ms);
    store_pump(store);
    return STORE_WAIT;
}
