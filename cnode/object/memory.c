/* RAM: what is taken, and who leaves first when it becomes too much.
 *
 *   evict_above (95 % of the limit)   from here on the coldest leave: clean items at once; a dirty
 *                                     one that is colder than the coldest clean one is dumped first
 *   the limit                         from here on any clean item leaves before a dirty one, and a
 *                                     write that still finds no room is refused
 *
 * The coldest are those in the nearest tick of the idle wheels (1/128 of key_ttl wide); one that
 * was used since it was put there is put where it belongs when it is looked at. */
#include "store_inside.h"

uint64_t store_memory(const struct store *store)
{
    uint64_t epochs = store->epochs.capacity *
                      (uint64_t)(sizeof(*store->epochs.rows) + sizeof(*store->epochs.heads));
    return memory_of(sizeof(*store)) + store->item_memory + store->object_memory +
           store->captured_memory + store->outside_memory + store->table.memory + epochs;
}

void store_set_outside_bytes(struct store *store, uint64_t bytes)
{
    store->outside_memory = bytes;
}

uint32_t store_looks_for(uint64_t bytes)
{
    /* No item is smaller than 64 bytes with its place in the table; and half of those looked at may
     * turn out to have been used. */
    enum { AT_LEAST = 64, BYTES_PER_LOOK = 32, AT_MOST = 1 << 20 };
    uint64_t looks = AT_LEAST + bytes / BYTES_PER_LOOK;
    return looks < AT_MOST ? (uint32_t)looks : AT_MOST;
}

static struct item *coldest(struct store *store, struct wheel *wheel, uint32_t *looks)
{
    struct link *link;
    uint64_t tick;
    while (*looks > 0 && (link = wheel_peek(wheel, &tick)) != NULL) {
        struct item *item = list_entry(link, struct item, idle);
        --*looks;
        uint32_t limit = store_idle_limit(store, item);
        uint32_t idle = store_idle_ticks(store, item, store->now_ms);
        uint64_t due = store->now_ms / wheel->granularity_ms + (limit > idle ? limit - idle : 0);
        /* The last tick of the ring also holds what is due later than that. */
        if (idle >= limit || due <= tick || tick == wheel->cursor + WHEEL_TICKS - 1 ||
            store_is_overdue(store, item, tick * wheel->granularity_ms))
            return item;
        store_rest(store, item, store->now_ms);
    }
    return NULL;
}

static bool is_colder(const struct store *store, const struct item *a, const struct item *b)
{
    return store_idle_ticks(store, a, store->now_ms) > store_idle_ticks(store, b, store->now_ms);
}

struct item *store_dirty_victim(struct store *store)
{
    uint64_t memory = store_memory(store) + store->wanted_memory;
    if (memory <= store->evict_above || memory - store->evict_above <= store->dumping_bytes)
        return NULL;
    uint32_t looks = store_looks_for(0);
    return coldest(store, &store->idle_dirty, &looks);
}

bool store_make_room(struct store *store, uint64_t growth, uint32_t looks)
{
    uint64_t limit = store->options.memory_limit_bytes;
    if (limit == 0)
        return true;
    if (growth < store->wanted_memory)
        growth = store->wanted_memory;
    while (store_memory(store) + growth > store->evict_above) {
        struct item *item = coldest(store, &store->idle_clean, &looks);
        if (!item)
            break;
        if (store_memory(store) + growth <= limit && !store->breaker_open) {
            struct item *dirty = coldest(store, &store->idle_dirty, &looks);
            if (dirty && is_colder(store, dirty, item))
                break; /* it leaves first, by way of a dump */
        }
        store_remove(store, item);
        store->metrics.dropped_memory++;
    }
    if (store_memory(store) + growth <= store->evict_above)
        store->wanted_memory = 0;
    return store_memory(store) + growth <= limit;
}
