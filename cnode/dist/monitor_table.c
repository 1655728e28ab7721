#include "monitor_table.h"

#include <assert.h>
#include <string.h>

#include <xxhash.h>

/* With node names of up to 30 characters the pid and a reference of 5 words fit inline. */
enum { INLINE_BYTES = 112, FIRST_SLOTS = 16, FIRST_RECORDS = 8, KEEP_RECORDS = 1024 };

struct monitor_record {
    uint32_t hash;
    uint32_t next_free; /* of a free record: index plus one */
    uint16_t key_size, watcher_size;
    uint8_t target;
    union {
        uint8_t bytes[INLINE_BYTES]; /* key, then watcher */
        uint8_t *heap;               /* the same, when both together are longer */
    } term;
};
_Static_assert(sizeof(struct monitor_record) == 128, "two cache lines per monitor");

static const uint8_t *record_bytes(const struct monitor_record *record)
{
    bool is_inline = (size_t)record->key_size + record->watcher_size <= INLINE_BYTES;
    return is_inline ? record->term.bytes : record->term.heap;
}

static void record_free_terms(struct monitor_record *record)
{
    if ((size_t)record->key_size + record->watcher_size > INLINE_BYTES)
        heap_release(record->term.heap);
}

void monitor_table_init(struct monitor_table *table, uint32_t limit, uint64_t seed)
{
    *table = (struct monitor_table){.limit = limit, .seed = seed};
}

void monitor_table_release(struct monitor_table *table)
{
    for (uint32_t i = 0; i < table->records_used; i++)
        if (table->records[i].target != MONITOR_FREE)
            record_free_terms(&table->records[i]);
    heap_release(table->records);
    heap_release(table->slots);
    monitor_table_init(table, table->limit, table->seed);
}

static uint32_t key_hash(const struct monitor_table *table, struct slice key)
{
    return (uint32_t)XXH3_64bits_withSeed(key.data, key.size, table->seed);
}

/* The slot of `key`, or where it would go. The table has an empty slot. */
static uint32_t find_slot(const struct monitor_table *table, struct slice key, uint32_t hash)
{
    uint32_t mask = table->slots_capacity - 1;
    uint32_t slot = hash & mask;
    while (table->slots[slot] != 0) {
        const struct monitor_record *record = &table->records[table->slots[slot] - 1];
        if (record->hash == hash && record->key_size == key.size &&
            memcmp(record_bytes(record), key.data, key.size) == 0)
            break;
        slot = (slot + 1) & mask;
    }
    return slot;
}

static int grow_slots(struct monitor_table *table)
{
    uint64_t needed = (uint64_t)table->count + 1;
    if (needed * 4 <= (uint64_t)table->slots_capacity * 3)
        return 0;
    uint32_t capacity = table->slots_capacity == 0 ? FIRST_SLOTS : table->slots_capacity * 2;
    if (capacity < table->slots_capacity)
        return BRAIN_ETOOBIG;
    uint32_t *slots = heap_allocate_zeroed(capacity * sizeof(*slots));
    if (slots == NULL)
        return BRAIN_ENOMEM;
    for (uint32_t i = 0; i < table->records_used; i++) {
        if (table->records[i].target == MONITOR_FREE)
            continue;
        uint32_t slot = table->records[i].hash & (capacity - 1);
        while (slots[slot] != 0)
            slot = (slot + 1) & (capacity - 1);
        slots[slot] = i + 1;
    }
    heap_release(table->slots);
    table->slots = slots;
    table->slots_capacity = capacity;
    return 0;
}

static int grow_records(struct monitor_table *table)
{
    if (table->free_record != 0 || table->records_used < table->records_capacity)
        return 0;
    uint64_t wanted = (uint64_t)table->records_capacity * 2;
    uint32_t capacity = wanted > table->limit ? table->limit : (uint32_t)wanted;
    if (capacity < FIRST_RECORDS)
        capacity = FIRST_RECORDS;
    struct monitor_record *records =
        heap_resize(table->records, capacity * sizeof(struct monitor_record));
    if (records == NULL)
        return BRAIN_ENOMEM;
    table->records = records;
    table->records_capacity = capacity;
    return 0;
}

static uint32_t take_record(struct monitor_table *table)
{
    if (table->free_record == 0)
        return table->records_used++;
    uint32_t index = table->free_record - 1;
    table->free_record = table->records[index].next_free;
    return index;
}

int monitor_table_add(
    struct monitor_table *table, enum monitor_target target, struct slice key, struct slice watcher)
{
    assert(target != MONITOR_FREE && key.size != 0);
    monitor_table_remove(table, key);
    size_t size = key.size + watcher.size;
    if (table->count >= table->limit || key.size > UINT16_MAX || watcher.size > UINT16_MAX)
        return BRAIN_ETOOBIG;
    int status = grow_slots(table);
    if (status == 0)
        status = grow_records(table);
    if (status != 0)
        return status;
    uint8_t *heap = NULL;
    if (size > INLINE_BYTES && (heap = heap_allocate(size)) == NULL)
        return BRAIN_ENOMEM;

    uint32_t hash = key_hash(table, key);
    uint32_t index = take_record(table);
    struct monitor_record *record = &table->records[index];
    record->hash = hash;
    record->key_size = (uint16_t)key.size;
    record->watcher_size = (uint16_t)watcher.size;
    record->target = (uint8_t)target;
    uint8_t *bytes = record->term.bytes;
    if (heap != NULL)
        bytes = record->term.heap = heap;
    memcpy(bytes, key.data, key.size);
    if (watcher.size != 0)
        memcpy(bytes + key.size, watcher.data, watcher.size);
    table->slots[find_slot(table, key, hash)] = index + 1;
    table->count++;
    return 0;
}

/* Empties `slot` and moves up what had been pushed past it, so that no marks of the deleted are
 * needed. Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm R. */
static void clear_slot(struct monitor_table *table, uint32_t slot)
{
    uint32_t mask = table->slots_capacity - 1;
    for (uint32_t next = (slot + 1) & mask; table->slots[next] != 0; next = (next + 1) & mask) {
        uint32_t home = table->records[table->slots[next] - 1].hash & mask;
        /* Stays when its home lies cyclically behind the hole. */
        if (((next - home) & mask) < ((next - slot) & mask))
            continue;
        table->slots[slot] = table->slots[next];
        slot = next;
    }
    table->slots[slot] = 0;
}

bool monitor_table_remove(struct monitor_table *table, struct slice key)
{
    if (table->count == 0)
        return false;
    uint32_t slot = find_slot(table, key, key_hash(table, key));
    if (table->slots[slot] == 0)
        return false;
    uint32_t index = table->slots[slot] - 1;
    struct monitor_record *record = &table->records[index];
    clear_slot(table, slot);
    record_free_terms(record);
    record->target = MONITOR_FREE;
    record->next_free = table->free_record;
    table->free_record = index + 1;
    /* What a burst of monitors took is given back when it is over. */
    if (--table->count == 0 && table->records_capacity > KEEP_RECORDS)
        monitor_table_release(table);
    return true;
}

bool monitor_table_next(
    const struct monitor_table *table, uint32_t *cursor, struct monitor *monitor)
{
    while (*cursor < table->records_used) {
        const struct monitor_record *record = &table->records[(*cursor)++];
        if (record->target == MONITOR_FREE)
            continue;
        const uint8_t *bytes = record_bytes(record);
        *monitor =
            (struct monitor){(enum monitor_target)record->target, slice_of(bytes, record->key_size),
                slice_of(bytes + record->key_size, record->watcher_size)};
        return true;
    }
    return false;
}
