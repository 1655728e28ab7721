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

static uint32_t *head_of(const struct epoch_views *epochs, uint64_t view)
{
    uint32_t hash = (uint32_t)(view * UINT64_C(0x9E3779B97F4A7C15) >> 32);
    return &epochs->heads[hash & (epochs->capacity - 1)];
}

static void link_view(struct epoch_views *epochs, uint32_t index)
{
    uint32_t *head = head_of(epochs, epochs->views[index].view);
    epochs->views[index].next = *head;
    *head = index + 1;
}

/* All views are in use. */
static int grow_views(struct epoch_views *epochs)
{
    uint32_t capacity = epochs->capacity ? epochs->capacity * 2 : 4;
    if (capacity > VIEWS_LIMIT)
        return BRAIN_ENOMEM;
    uint32_t *heads = heap_allocate_zeroed(capacity * sizeof(*heads));
    struct epoch_view *views = heap_resize(epochs->views, capacity * sizeof(*views));
    if (views)
        epochs->views = views;
    if (!heads || !views) {
        heap_release(heads);
        return BRAIN_ENOMEM;
    }
    heap_release(epochs->heads);
    epochs->heads = heads;
    epochs->capacity = capacity;
    for (uint32_t i = 0; i < epochs->count; i++)
        link_view(epochs, i);
    return 0;
}

/* As many views as a member says: the table is not searched one by one. */
static int hold_view(struct epoch_views *epochs, uint64_t view, uint32_t *index)
{
    const struct epoch_view *last =
        epochs->last < epochs->count ? &epochs->views[epochs->last] : NULL;
    uint32_t found = last && last->uses > 0 && last->view == view ? epochs->last + 1 : 0;
    if (found == 0 && epochs->capacity > 0)
        found = *head_of(epochs, view);
    while (found != 0 && epochs->views[found - 1].view != view)
        found = epochs->views[found - 1].next;
    if (found != 0) {
        *index = epochs->last = found - 1;
        epochs->views[*index].uses++;
        return 0;
    }
    if (epochs->free == 0 && epochs->count == epochs->capacity && grow_views(epochs) != 0)
        return BRAIN_ENOMEM;
    if (epochs->free != 0) {
        *index = epochs->free - 1;
        epochs->free = epochs->views[*index].next;
    } else {
        *index = epochs->count++;
    }
    epochs->views[*index] = (struct epoch_view){.view = view, .uses = 1};
    link_view(epochs, *index);
    epochs->last = *index;
    return 0;
}

static void drop_view(struct epoch_views *epochs, uint64_t packed)
{
    const uint32_t index = (uint32_t)(packed >> EPOCH_COUNTER_BITS);
    struct epoch_view *dropped = &epochs->views[index];
    assert(dropped->uses > 0);
    if (--dropped->uses > 0)
        return;
    uint32_t *at = head_of(epochs, dropped->view);
    while (*at != index + 1)
        at = &epochs->views[*at - 1].next;
    *at = dropped->next;
    dropped->next = epochs->free;
    epochs->free = index + 1;
}

void epoch_views_release(struct epoch_views *epochs)
{
    heap_release(epochs->views);
    heap_release(epochs->heads);
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
