/* RAM: what is taken, and who leaves first when it becomes too much.
 *
 *   evict_above (95 % of the limit)   from here on the coldest leave: clean items at once; a dirty
 *                                     one that is colder than the coldest clean one is dumped first
 *   the limit                         from here on any clean item leaves before a dirty one, and a
 *                                     write that still finds no room is refused
 *
 * What is taken by small objects is counted in whole pages. So it takes a page's worth of them to
 * leave until there is less, unless the write that needs room fits into a slot of theirs; and items
 * move together when that empties a page. The coldest are found in the pages that come up first in
 * the idle wheels. */
#include "store_inside.h"

uint64_t store_memory(const struct store *store)
{
    return memory_of(sizeof(*store)) + store->pages.memory + store->block_memory +
           store->object_memory + store->captured_memory + store->outside_memory +
           store->table.memory + epochs_bytes(&store->epochs);
}

void store_set_outside_bytes(struct store *store, uint64_t bytes)
{
    store->outside_memory = bytes;
}

uint64_t store_held_bytes(const struct store *store)
{
    const struct store_metrics *m = &store->metrics;
    uint64_t items = store->pages.memory + store->block_memory + store->table.memory;
    uint64_t around = items > m->bytes ? items - m->bytes : 0; /* shared by all of them alike */
    uint64_t held = m->objects > 0 ? m->dirty_bytes + around / m->objects * m->dirty : items;
    return store_memory(store) - items + (held < items ? held : items);
}

void store_press(struct store *store, bool pressed)
{
    store->pressed = pressed;
}

uint32_t store_looks_for(uint64_t bytes)
{
    /* Two full pages at least: items beside each other are looked at in 5 to 10 ns each. No item is
     * smaller than 32 bytes with its place in the table. */
    enum { AT_LEAST = 1024, BYTES_PER_LOOK = 32, AT_MOST = 1 << 20 };
    uint64_t looks = AT_LEAST + bytes / BYTES_PER_LOOK;
    return looks < AT_MOST ? (uint32_t)looks : AT_MOST;
}

static bool is_colder(const struct store *store, const struct item *a, const struct item *b)
{
    return store_idle_ticks(store, a) > store_idle_ticks(store, b);
}

struct item *store_dirty_victim(struct store *store)
{
    uint64_t memory = store_memory(store) + store->wanted_memory;
    if (!store->pressed &&
        (memory <= store->evict_above || memory - store->evict_above <= store->dumping_bytes))
        return NULL;
    uint32_t looks = store_looks_for(0);
    return store_coldest(store, PAGE_DIRTY, &looks);
}

/* What a write would need. Wanted: what an earlier one did, that was refused. */
static uint64_t growth_of(const struct store *store, size_t size, uint64_t bytes)
{
    uint64_t growth = bytes + (size > 0 ? pages_growth(&store->pages, size) : 0);
    return growth > store->wanted_memory ? growth : store->wanted_memory;
}

static bool fits(const struct store *store, size_t size, uint64_t bytes, uint64_t limit)
{
    return store_memory(store) + growth_of(store, size, bytes) <= limit;
}

bool store_make_room(struct store *store, size_t size, uint64_t bytes, uint32_t looks)
{
    uint64_t limit = store->options.memory_limit_bytes;
    if (limit == 0)
        return true;
    while (!fits(store, size, bytes, store->evict_above)) {
        if (store_compact(store, false, &looks))
            continue;
        struct item *item = store_coldest(store, PAGE_CLEAN, &looks);
        if (!item)
            break;
        if (fits(store, size, bytes, limit) && !store->breaker_open) {
            struct item *dirty = store_coldest(store, PAGE_DIRTY, &looks);
            if (dirty && is_colder(store, dirty, item))
                break; /* it leaves first, by way of a dump */
        }
        store_remove(store, item);
        store->metrics.dropped_memory++;
    }
    if (fits(store, size, bytes, store->evict_above))
        store->wanted_memory = 0;
    return fits(store, size, bytes, limit);
}
