/* Linear hashing over buckets of one cache line:
 *
 *   bucket, 64 bytes                              slot
 *   +--------+--------+-- 7 slots --+----------+  +-----------+-----------------------+
 *   | slot 0 | slot 1 | ...         | overflow |  | hash tag  | struct item *         |
 *   +--------+--------+-------------+----------+  | (16 bits) | (48 bits)             |
 *                                                 +-----------+-----------------------+
 *
 * The table grows by one bucket at a time, whose items it takes from one other bucket, and shrinks
 * the same way. So no operation ever moves more than a bucket's worth of items, and memory follows
 * the number of items instead of doubling. Buckets lie in segments of 64 KiB; only the array of
 * segments (16 bytes per 64 KiB) is ever copied. A lookup reads one bucket in nearly all cases, and
 * then only items whose 16 tag bits fit.
 *
 * Memory, measured as growth of the resident set with 1,000,000 objects of 20 + 100 bytes, all
 * dirty (test/unit/object/bytes_per_object.c, glibc 2.36): 54.9 bytes per object beyond id and
 * value, of which 40 are the item (header 32, malloc 8; sizes are rounded up to 16) and 15 this
 * table. */
#include "table.h"

#include <assert.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    BUCKET_SLOTS = 7,
    SEGMENT_BUCKETS = 1024,
    BUCKETS_MIN = 16,
    CACHE_LINE = 64,
    /* Items per bucket, on average, above which a bucket is split and below which two are merged.
     */
    SPLIT_ABOVE = 6,
    MERGE_BELOW = 3,
};

struct table_bucket {
    uint64_t slots[BUCKET_SLOTS]; /* 0: free */
    struct table_bucket *overflow;
};
enum { SEGMENT_MEMORY = SEGMENT_BUCKETS * sizeof(struct table_bucket) + CACHE_LINE - 1 };
_Static_assert(sizeof(struct table_bucket) == CACHE_LINE, "one bucket, one cache line");

static const uint64_t POINTER_BITS = (UINT64_C(1) << 48) - 1;

static uint64_t slot_of(uint64_t hash, const struct item *item)
{
    uint64_t pointer = (uint64_t)(uintptr_t)item;
    assert(pointer != 0 && (pointer & ~POINTER_BITS) == 0);
    return (hash & ~POINTER_BITS) | pointer;
}

static struct item *slot_item(uint64_t slot)
{
    return (struct item *)(uintptr_t)(slot & POINTER_BITS);
}

static struct table_bucket *bucket_at(const struct table *table, size_t index)
{
    return &table->segments[index / SEGMENT_BUCKETS].buckets[index % SEGMENT_BUCKETS];
}

static struct table_bucket *bucket_of(const struct table *table, uint64_t hash)
{
    uint64_t index = hash & table->mask;
    if (index >= table->buckets) /* not split off yet */
        index &= table->mask >> 1;
    return bucket_at(table, index);
}

static struct table_bucket *add_overflow(struct table *table)
{
    struct table_bucket *bucket = heap_allocate_zeroed(sizeof(*bucket));
    if (bucket)
        table->memory += memory_of(sizeof(*bucket));
    return bucket;
}

static void release_overflow(struct table *table, struct table_bucket *bucket)
{
    heap_release(bucket);
    table->memory -= memory_of(sizeof(*bucket));
}

static int add_segment(struct table *table)
{
    if (table->segments_used == table->segments_capacity) {
        size_t capacity = table->segments_capacity ? table->segments_capacity * 2 : 4;
        struct table_segment *segments = heap_resize(table->segments, capacity * sizeof(*segments));
        if (!segments)
            return BRAIN_ENOMEM;
        table->memory += memory_of(capacity * sizeof(*segments)) -
                         memory_of(table->segments_capacity * sizeof(*segments));
        table->segments = segments;
        table->segments_capacity = capacity;
    }
    void *memory = heap_allocate_zeroed(SEGMENT_MEMORY);
    if (!memory)
        return BRAIN_ENOMEM;
    table->memory += memory_of(SEGMENT_MEMORY);
    size_t skip = -(uintptr_t)memory % CACHE_LINE;
    table->segments[table->segments_used++] =
        (struct table_segment){memory, (struct table_bucket *)(void *)((char *)memory + skip)};
    return 0;
}

int table_init(struct table *table, uint64_t seed)
{
    *table = (struct table){.seed = seed, .buckets = BUCKETS_MIN, .mask = BUCKETS_MIN - 1};
    int status = add_segment(table);
    if (status != 0)
        table_release(table);
    return status;
}

void table_release(struct table *table)
{
    for (size_t i = 0; table->segments_used > 0 && i < table->buckets; i++) {
        struct table_bucket *overflow = bucket_at(table, i)->overflow;
        while (overflow) {
            struct table_bucket *next = overflow->overflow;
            heap_release(overflow);
            overflow = next;
        }
    }
    for (size_t i = 0; i < table->segments_used; i++)
        heap_release(table->segments[i].memory);
    heap_release(table->segments);
    *table = (struct table){0};
}

uint64_t table_hash(const struct table *table, struct slice id)
{
    return XXH3_64bits_withSeed(id.data, id.size, table->seed);
}

static uint64_t *find_slot(const struct table *table, uint64_t hash, uint64_t wanted)
{
    for (struct table_bucket *bucket = bucket_of(table, hash); bucket; bucket = bucket->overflow) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (bucket->slots[i] == wanted)
                return &bucket->slots[i];
        }
    }
    return NULL;
}

struct item *table_find(const struct table *table, uint64_t hash, struct slice id)
{
    for (struct table_bucket *bucket = bucket_of(table, hash); bucket; bucket = bucket->overflow) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t slot = bucket->slots[i];
            if (((slot ^ hash) & ~POINTER_BITS) != 0 || slot_item(slot) == NULL)
                continue;
            if (slice_equal(item_id(slot_item(slot)), id))
                return slot_item(slot);
        }
    }
    return NULL;
}

void table_prefetch_slot(const struct table *table, uint64_t hash)
{
    __builtin_prefetch(bucket_of(table, hash));
}

/* Overflow buckets are rare, and not worth a look. Three cache lines hold
 * header, id and value of a usual small object. */
void table_prefetch_item(const struct table *table, uint64_t hash)
{
    const struct table_bucket *bucket = bucket_of(table, hash);
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        uint64_t slot = bucket->slots[i];
        if (slot == 0 || ((slot ^ hash) & ~POINTER_BITS) != 0)
            continue;
        const char *item = (const char *)slot_item(slot);
        __builtin_prefetch(item);
        __builtin_prefetch(item + CACHE_LINE);
        __builtin_prefetch(item + (size_t)2 * CACHE_LINE);
    }
}

/* Puts `slot` into the chain, taking a bucket from `*spare` (a list by overflow) when it is full.
 * False: it is full and there is no spare one. */
static bool chain_add(struct table_bucket *bucket, uint64_t slot, struct table_bucket **spare)
{
    for (;;) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (bucket->slots[i] == 0) {
                bucket->slots[i] = slot;
                return true;
            }
        }
        if (!bucket->overflow) {
            if (!*spare)
                return false;
            bucket->overflow = *spare;
            *spare = (*spare)->overflow;
            *bucket->overflow = (struct table_bucket){{0}, NULL};
        }
        bucket = bucket->overflow;
    }
}

/* Splits the next bucket in turn. Needs no memory but, rarely, a segment; without that it is left
 * for another time. */
static void split(struct table *table)
{
    size_t added = table->buckets;
    if (added == table->segments_used * SEGMENT_BUCKETS && add_segment(table) != 0)
        return;
    if (added > table->mask)
        table->mask = table->mask * 2 + 1;
    table->buckets++;
    struct table_bucket *source = bucket_at(table, added & (table->mask >> 1));

    /* A chain of n buckets, dealt out to two chains, never needs more than n + 1; and as each
     * bucket is emptied before it is dealt out, there is always a spare one in time. */
    struct table_bucket batch = *source;
    struct table_bucket *spare = NULL;
    *source = (struct table_bucket){{0}, NULL};
    for (;;) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (batch.slots[i] == 0)
                continue;
            uint64_t hash = table_hash(table, item_id(slot_item(batch.slots[i])));
            bool added_it = chain_add(bucket_of(table, hash), batch.slots[i], &spare);
            assert(added_it);
            (void)added_it;
        }
        struct table_bucket *emptied = batch.overflow;
        if (!emptied)
            break;
        batch = *emptied;
        emptied->overflow = spare;
        spare = emptied;
    }
    while (spare) {
        struct table_bucket *next = spare->overflow;
        release_overflow(table, spare);
        spare = next;
    }
}

/* The reverse: the last bucket goes back to where it was split from. */
static void merge(struct table *table)
{
    size_t index = table->buckets - 1;
    struct table_bucket *last = bucket_at(table, index);
    struct table_bucket *target = bucket_at(table, index & (table->mask >> 1));
    unsigned needed = 0, room = 0;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++)
        needed += last->slots[i] != 0;
    struct table_bucket *end = target;
    for (struct table_bucket *bucket = target; bucket; bucket = bucket->overflow) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++)
            room += bucket->slots[i] == 0;
        end = bucket;
    }
    if (room < needed) {
        end->overflow = add_overflow(table);
        if (!end->overflow)
            return; /* another time */
        end = end->overflow;
    }
    struct table_bucket *none = NULL;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        if (last->slots[i] != 0)
            chain_add(target, last->slots[i], &none);
    }
    end->overflow = last->overflow;
    *last = (struct table_bucket){{0}, NULL};
    table->buckets--;
    if (table->buckets <= (table->mask >> 1) + 1)
        table->mask >>= 1;
    /* A segment is given back when the one before it is half empty too: no flutter at the edge. */
    while (table->buckets + SEGMENT_BUCKETS / 2 <=
           (table->segments_used - 1) * (size_t)SEGMENT_BUCKETS) {
        heap_release(table->segments[--table->segments_used].memory);
        table->memory -= memory_of(SEGMENT_MEMORY);
    }
}

int table_insert(struct table *table, uint64_t hash, struct item *item)
{
    uint64_t slot = slot_of(hash, item);
    struct table_bucket *spare = NULL;
    if (!chain_add(bucket_of(table, hash), slot, &spare)) {
        spare = add_overflow(table);
        if (!spare)
            return BRAIN_ENOMEM;
        chain_add(bucket_of(table, hash), slot, &spare);
    }
    table->items++;
    if (table->items > table->buckets * SPLIT_ABOVE)
        split(table);
    return 0;
}

void table_replace(struct table *table, uint64_t hash, struct item *old, struct item *new)
{
    uint64_t *slot = find_slot(table, hash, slot_of(hash, old));
    assert(slot);
    *slot = slot_of(hash, new);
}

void table_remove(struct table *table, uint64_t hash, struct item *item)
{
    uint64_t wanted = slot_of(hash, item);
    struct table_bucket **link = NULL;
    struct table_bucket *bucket = bucket_of(table, hash);
    unsigned i = 0;
    for (; bucket; link = &bucket->overflow, bucket = bucket->overflow) {
        for (i = 0; i < BUCKET_SLOTS && bucket->slots[i] != wanted; i++)
            ;
        if (i < BUCKET_SLOTS)
            break;
    }
    assert(bucket);
    bucket->slots[i] = 0;
    table->items--;
    unsigned used = 0;
    for (i = 0; i < BUCKET_SLOTS; i++)
        used += bucket->slots[i] != 0;
    if (used == 0 && link) {
        *link = bucket->overflow;
        release_overflow(table, bucket);
    }
    if (!table->keep_buckets && table->buckets > BUCKETS_MIN &&
        table->items < table->buckets * MERGE_BELOW)
        merge(table);
}

bool table_scan(struct table *table, size_t *cursor, table_visit_cb visit, void *context)
{
    if (*cursor >= table->buckets)
        return false;
    for (struct table_bucket *b = bucket_at(table, *cursor); b; b = b->overflow) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (b->slots[i] != 0)
                visit(context, slot_item(b->slots[i]));
        }
    }
    ++*cursor;
    return true;
}
