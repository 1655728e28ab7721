#include "idmap.h"

#include <assert.h>
#include <string.h>

/* ---- packed epochs ----------------------------------------------------------------------------
 */

static const uint32_t VIEWS_LIMIT = UINT32_C(1) << (64 - EPOCH_COUNTER_BITS);

static struct cluster_epoch unpack(const struct epoch_views *epochs, uint64_t packed)
{
    return (struct cluster_epoch){
        epochs->views[packed >> EPOCH_COUNTER_BITS].view, packed & (EPOCH_COUNTER_LIMIT - 1)};
}

static int hold_view(struct epoch_views *epochs, uint64_t view, uint32_t *index)
{
    uint32_t free_one = epochs->count;
    if (epochs->last < epochs->count && epochs->views[epochs->last].uses > 0 &&
        epochs->views[epochs->last].view == view) {
        *index = epochs->last;
        epochs->views[*index].uses++;
        return 0;
    }
    for (uint32_t i = 0; i < epochs->count; i++) {
        if (epochs->views[i].uses == 0) {
            free_one = i;
        } else if (epochs->views[i].view == view) {
            *index = epochs->last = i;
            epochs->views[i].uses++;
            return 0;
        }
    }
    if (free_one == epochs->capacity) {
        uint32_t capacity = epochs->capacity ? epochs->capacity * 2 : 4;
        void *views = capacity > VIEWS_LIMIT
                          ? NULL
                          : heap_resize(epochs->views, capacity * sizeof(*epochs->views));
        if (!views)
            return BRAIN_ENOMEM;
        epochs->views = views;
        epochs->capacity = capacity;
    }
    if (free_one == epochs->count)
        epochs->count++;
    epochs->views[free_one].view = view;
    epochs->views[free_one].uses = 1;
    *index = epochs->last = free_one;
    return 0;
}

static void drop_view(struct epoch_views *epochs, uint64_t packed)
{
    uint64_t *uses = &epochs->views[packed >> EPOCH_COUNTER_BITS].uses;
    assert(*uses > 0);
    --*uses;
}

void epoch_views_release(struct epoch_views *epochs)
{
    heap_release(epochs->views);
    *epochs = (struct epoch_views){0};
}

/* ---- the map ----------------------------------------------------------------------------------
 */

enum { NOT_THERE = -1 };

static size_t memory_for(const struct idmap *map, size_t capacity)
{
    return capacity * (sizeof(struct key) + sizeof(uint64_t) + (map->with_owner ? 2 : 0));
}

size_t idmap_memory(const struct idmap *map)
{
    return memory_for(map, map->capacity);
}

static struct key *keys(const struct idmap *map)
{
    return map->memory;
}

static uint64_t *values(const struct idmap *map)
{
    return (uint64_t *)(void *)(keys(map) + map->capacity);
}

static uint16_t *owners(const struct idmap *map)
{
    return (uint16_t *)(void *)(values(map) + map->capacity);
}

/* The slot took the high bits of the key; here are low ones. */
static uint32_t wanted_at(const struct idmap *map, struct key key)
{
    return (uint32_t)key.low & (map->capacity - 1);
}

static int64_t position(const struct idmap *map, struct key key)
{
    if (map->count == 0)
        return NOT_THERE;
    for (uint32_t i = wanted_at(map, key); values(map)[i] != 0; i = (i + 1) & (map->capacity - 1)) {
        if (key_equal(keys(map)[i], key))
            return i;
    }
    return NOT_THERE;
}

static struct idmap_entry entry_at(
    const struct idmap *map, const struct epoch_views *epochs, uint32_t position)
{
    return (struct idmap_entry){keys(map)[position], unpack(epochs, values(map)[position]),
        map->with_owner ? owners(map)[position] : 0};
}

bool idmap_find(const struct idmap *map, const struct epoch_views *epochs, struct key key,
    struct idmap_entry *entry)
{
    int64_t at = position(map, key);
    if (at == NOT_THERE)
        return false;
    if (entry)
        *entry = entry_at(map, epochs, (uint32_t)at);
    return true;
}

static void place(struct idmap *map, struct key key, uint64_t packed, uint16_t owner)
{
    uint32_t i = wanted_at(map, key);
    while (values(map)[i] != 0)
        i = (i + 1) & (map->capacity - 1);
    keys(map)[i] = key;
    values(map)[i] = packed;
    if (map->with_owner)
        owners(map)[i] = owner;
}

static int resize(struct idmap *map, uint32_t capacity)
{
    struct idmap bigger = {
        .capacity = capacity, .count = map->count, .with_owner = map->with_owner};
    bigger.memory = heap_allocate(memory_for(map, capacity));
    if (!bigger.memory)
        return BRAIN_ENOMEM;
    memset(values(&bigger), 0, capacity * sizeof(uint64_t));
    for (uint32_t i = 0; i < map->capacity; i++) {
        if (values(map)[i] != 0)
            place(&bigger, keys(map)[i], values(map)[i], map->with_owner ? owners(map)[i] : 0);
    }
    heap_release(map->memory);
    *map = bigger;
    return 0;
}

int idmap_put(struct idmap *map, struct epoch_views *epochs, const struct idmap_entry *entry)
{
    assert(epoch_is_valid(entry->epoch));
    uint32_t view;
    int status = hold_view(epochs, entry->epoch.view, &view);
    if (status != 0)
        return status;
    uint64_t packed = (uint64_t)view << EPOCH_COUNTER_BITS | entry->epoch.counter;
    int64_t at = position(map, entry->key);
    if (at != NOT_THERE) {
        drop_view(epochs, values(map)[at]);
        values(map)[at] = packed;
        if (map->with_owner)
            owners(map)[at] = entry->owner;
        return 0;
    }
    if (map->count + 1 > map->capacity / 8 * 7) {
        status = resize(map, map->capacity ? map->capacity * 2 : 8);
        if (status != 0) {
            drop_view(epochs, packed);
            return status;
        }
    }
    place(map, entry->key, packed, entry->owner);
    map->count++;
    return 0;
}

bool idmap_remove(struct idmap *map, struct epoch_views *epochs, struct key key)
{
    int64_t at = position(map, key);
    if (at == NOT_THERE)
        return false;
    drop_view(epochs, values(map)[at]);
    uint32_t mask = map->capacity - 1, hole = (uint32_t)at;
    /* What stands behind the hole and may stand in it, moves there: no marks of deleted ones. */
    for (uint32_t i = (hole + 1) & mask; values(map)[i] != 0; i = (i + 1) & mask) {
        uint32_t wanted = wanted_at(map, keys(map)[i]);
        if (((i - wanted) & mask) < ((i - hole) & mask))
            continue;
        keys(map)[hole] = keys(map)[i];
        values(map)[hole] = values(map)[i];
        if (map->with_owner)
            owners(map)[hole] = owners(map)[i];
        hole = i;
    }
    values(map)[hole] = 0;
    map->count--;
    if (map->count == 0) {
        heap_release(map->memory);
        map->memory = NULL;
        map->capacity = 0;
    } else if (map->capacity > 8 && map->count < map->capacity / 8) {
        (void)resize(map, map->capacity / 2); /* without memory it stays as large as it is */
    }
    return true;
}

bool idmap_next(const struct idmap *map, const struct epoch_views *epochs, uint32_t *cursor,
    struct idmap_entry *entry)
{
    while (*cursor < map->capacity) {
        uint32_t i = (*cursor)++;
        if (values(map)[i] != 0) {
            *entry = entry_at(map, epochs, i);
            return true;
        }
    }
    return false;
}

void idmap_clear(struct idmap *map, struct epoch_views *epochs)
{
    for (uint32_t i = 0; i < map->capacity; i++) {
        if (values(map)[i] != 0)
            drop_view(epochs, values(map)[i]);
    }
    heap_release(map->memory);
    map->memory = NULL;
    map->capacity = map->count = 0;
}
