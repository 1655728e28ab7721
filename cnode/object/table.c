/* Linear hashing over buckets of one cache line:
 *
 *   bucket, 64 bytes                                          slot, 6 bytes
 *   +-------------+----------------+--------------------+      +----------+------------------+
 *   | 10 tags     | 10 handles     | overflow bucket, 0 |      | hash tag | handle of item   |
 *   | (16 bits)   | (32 bits)      | for none (32 bits) |      | 12 bits  | 36 bits: pages.h |
 *   +-------------+----------------+--------------------+      +----------+------------------+
 *
 * The table grows by one bucket at a time, whose items it takes from one other bucket, and shrinks
 * the same way. So no operation ever moves more than a bucket's worth of items, and memory follows
 * the number of items instead of doubling. Buckets lie in pages (pages.h); only the array of those
 * (16 bytes per 64 KiB) is ever copied. Overflow buckets lie side by side, too: when one becomes
 * free, the last takes its place. A lookup reads one bucket in nearly all cases, and then only
 * items whose 12 tag bits fit. */
#include "table.h"

#include <assert.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    BUCKET_SLOTS = 10,
    BUCKETS_MIN = 16,
    CACHE_LINE = 64,
    /* Items per bucket, on average, above which a bucket is split and below which two are merged.
     */
    SPLIT_ABOVE = 7,
    MERGE_BELOW = 3,
    HANDLE_HIGH_BITS = 4, /* in the tag */
    HASH_TAG_SHIFT = 48,
};

struct table_bucket {
    uint16_t tags[BUCKET_SLOTS];
    uint32_t handles[BUCKET_SLOTS];
    uint32_t overflow; /* number from 1 */
};
_Static_assert(sizeof(struct table_bucket) == CACHE_LINE, "one bucket, one cache line");

/* What a bucket keeps of an item. A handle is never 0: a page does not begin with an item. */
struct slot {
    uint16_t tag;
    uint32_t handle;
};

static const uint16_t HASH_TAG = (uint16_t)(UINT16_MAX << HANDLE_HIGH_BITS);

static uint16_t tag_of(uint64_t hash)
{
    return (uint16_t)(hash >> HASH_TAG_SHIFT) & HASH_TAG;
}

static struct slot slot_of(const struct table *table, uint64_t hash, const struct item *item)
{
    uint64_t handle = pages_handle(table->pages, item);
    assert(handle != 0 && handle >> (32 + HANDLE_HIGH_BITS) == 0);
    return (struct slot){(uint16_t)(tag_of(hash) | handle >> 32), (uint32_t)handle};
}

static struct slot slot_at(const struct table_bucket *bucket, unsigned i)
{
    return (struct slot){bucket->tags[i], bucket->handles[i]};
}

static bool is_free(const struct table_bucket *bucket, unsigned i)
{
    return bucket->handles[i] == 0 && (bucket->tags[i] & ~HASH_TAG) == 0;
}

static struct item *slot_item(const struct table *table, struct slot slot)
{
    return pages_item(table->pages, (uint64_t)(slot.tag & ~HASH_TAG) << 32 | slot.handle);
}

static void put(struct table_bucket *bucket, unsigned i, struct slot slot)
{
    bucket->tags[i] = slot.tag;
    bucket->handles[i] = slot.handle;
}

static struct table_bucket *numbered(
    const struct table *table, const struct table_buckets *buckets, size_t number)
{
    size_t mask = ((size_t)1 << table->segment_bits) - 1;
    return &buckets->segments[number >> table->segment_bits].buckets[number & mask];
}

static struct table_bucket *bucket_at(const struct table *table, size_t index)
{
    return numbered(table, &table->main, index);
}

/* Number from 1. */
static struct table_bucket *overflow_at(const struct table *table, uint32_t number)
{
    return numbered(table, &table->overflow, number - 1);
}

static struct table_bucket *next_of(const struct table *table, const struct table_bucket *bucket)
{
    return bucket->overflow ? overflow_at(table, bucket->overflow) : NULL;
}

static struct table_bucket *bucket_of(const struct table *table, uint64_t hash)
{
    uint64_t index = hash & table->mask;
    if (index >= table->buckets) /* not split off yet */
        index &= table->mask >> 1;
    return bucket_at(table, index);
}

/* Room for the bucket after the last `used`. 0 or BRAIN_ENOMEM. */
static int add_segment(struct table *table, struct table_buckets *buckets, size_t used)
{
    if (used < buckets->used << table->segment_bits)
        return 0;
    if (buckets->used == buckets->capacity) {
        size_t capacity = buckets->capacity ? buckets->capacity * 2 : 4;
        struct table_segment *segments =
            heap_resize(buckets->segments, capacity * sizeof(*segments));
        if (!segments)
            return BRAIN_ENOMEM;
        table->memory += memory_of(capacity * sizeof(*segments)) -
                         memory_of(buckets->capacity * sizeof(*segments));
        buckets->segments = segments;
        buckets->capacity = capacity;
    }
    struct table_segment *segment = &buckets->segments[buckets->used];
    segment->buckets = pages_take_plain(table->pages, &segment->region);
    if (!segment->buckets)
        return BRAIN_ENOMEM;
    buckets->used++;
    return 0;
}

static void drop_segment(struct table *table, struct table_buckets *buckets)
{
    struct table_segment *last = &buckets->segments[--buckets->used];
    pages_give_plain(table->pages, last->buckets, last->region);
}

/* A segment is given back when the one before it is half empty too: no flutter at the edge. */
static void drop_segments(struct table *table, struct table_buckets *buckets, size_t used)
{
    size_t half = (size_t)1 << table->segment_bits >> 1;
    while (buckets->used > 1 && used + half <= (buckets->used - 1) << table->segment_bits)
        drop_segment(table, buckets);
}

static void release_buckets(struct table *table, struct table_buckets *buckets)
{
    while (buckets->used > 0)
        drop_segment(table, buckets);
    heap_release(buckets->segments);
}

/* ---- overflow buckets ------------------------------------------------------------------------ */

/* Returns its number, from 1; 0: no memory. It is empty. */
static uint32_t add_overflow(struct table *table)
{
    if (table->overflow_used == UINT32_MAX - 1 ||
        add_segment(table, &table->overflow, table->overflow_used) != 0)
        return 0;
    uint32_t number = ++table->overflow_used;
    *overflow_at(table, number) = (struct table_bucket){.overflow = 0};
    return number;
}

/* An empty one, in no chain. The last one moves into its place: it is found by an item in it. */
static void release_overflow(struct table *table, uint32_t released)
{
    uint32_t last = table->overflow_used;
    struct table_bucket *from = overflow_at(table, last);
    if (released != last) {
        unsigned i = 0;
        while (is_free(from, i))
            i++; /* one in a chain is never empty */
        struct item *item = slot_item(table, slot_at(from, i));
        struct table_bucket *bucket = bucket_of(table, table_hash(table, item_id(item)));
        while (bucket->overflow != last)
            bucket = next_of(table, bucket);
        bucket->overflow = released;
        *overflow_at(table, released) = *from;
    }
    table->overflow_used--;
    drop_segments(table, &table->overflow, table->overflow_used);
}

/* ---- the table ------------------------------------------------------------------------------- */

int table_init(struct table *table, struct pages *pages, uint64_t seed)
{
    *table = (struct table){
        .pages = pages, .seed = seed, .buckets = BUCKETS_MIN, .mask = BUCKETS_MIN - 1};
    table->segment_bits =
        (unsigned)__builtin_ctz(pages->page_size / (unsigned)sizeof(struct table_bucket));
    int status = add_segment(table, &table->main, 0);
    if (status != 0)
        table_release(table);
    return status;
}

void table_release(struct table *table)
{
    release_buckets(table, &table->main);
    release_buckets(table, &table->overflow);
    *table = (struct table){0};
}

uint64_t table_hash(const struct table *table, struct slice id)
{
    return XXH3_64bits_withSeed(id.data, id.size, table->seed);
}

enum { TAGS_AT_ONCE = 4, TAG_BITS = 16 };

/* As many tags in one word, the first one lowest. */
static uint64_t load_tags(const uint16_t *tags, unsigned count)
{
    uint64_t word = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(&word, tags, count * sizeof *tags);
#else
    for (unsigned i = 0; i < count; i++)
        word |= (uint64_t)tags[i] << (i * TAG_BITS);
#endif
    return word;
}

/* Which of the four tags has these bits of the hash? As bits 0 to 3. */
static uint32_t fitting(uint64_t tags, uint16_t tag)
{
    const uint64_t each = UINT64_C(0x0001000100010001);
    /* 12 bits in each place, and above them room for a carry where they are not all 0. */
    uint64_t differences = (tags ^ each * tag) >> HANDLE_HIGH_BITS & each * 0x0FFF;
    uint64_t same = ~(differences + each * 0x0FFF) >> 12 & each;
    /* From bits 0, 16, 32 and 48 to 48 to 51. */
    return (uint32_t)(same * UINT64_C(0x0001000200040008) >> 48 & 0xF);
}

/* The slots that may hold an item of this hash, as bits; free ones may be among them. */
static inline uint32_t fitting_slots(const struct table_bucket *bucket, uint16_t tag)
{
    _Static_assert(BUCKET_SLOTS == 2 * TAGS_AT_ONCE + 2, "two and two more");
    const uint16_t *tags = bucket->tags;
    uint32_t last = fitting(load_tags(tags + (size_t)2 * TAGS_AT_ONCE, 2), tag) & 3;
    return fitting(load_tags(tags, TAGS_AT_ONCE), tag) |
           fitting(load_tags(tags + TAGS_AT_ONCE, TAGS_AT_ONCE), tag) << TAGS_AT_ONCE |
           last << 2 * TAGS_AT_ONCE;
}

struct item *table_find(const struct table *table, uint64_t hash, struct slice id)
{
    const uint16_t tag = tag_of(hash);
    for (const struct table_bucket *bucket = bucket_of(table, hash); bucket;
         bucket = next_of(table, bucket)) {
        for (uint32_t slots = fitting_slots(bucket, tag); slots; slots &= slots - 1) {
            unsigned i = (unsigned)__builtin_ctz(slots);
            if (is_free(bucket, i))
                continue;
            struct item *item = slot_item(table, slot_at(bucket, i));
            struct slice own = item_id(item);
            if (own.size == id.size && bytes_equal(own.data, id.data, id.size))
                return item;
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
    const uint16_t tag = tag_of(hash);
    for (uint32_t slots = fitting_slots(bucket, tag); slots; slots &= slots - 1) {
        unsigned i = (unsigned)__builtin_ctz(slots);
        if (is_free(bucket, i))
            continue;
        const char *item = (const char *)slot_item(table, slot_at(bucket, i));
        __builtin_prefetch(item);
        __builtin_prefetch(item + CACHE_LINE);
        __builtin_prefetch(item + (size_t)2 * CACHE_LINE);
    }
}

/* Where an item is: the bucket, the one before it in its chain (NULL: none), the slot. */
struct place {
    struct table_bucket *before, *bucket;
    unsigned i;
};

static struct place place_of(const struct table *table, uint64_t hash, const struct item *item)
{
    struct slot wanted = slot_of(table, hash, item);
    struct place place = {NULL, bucket_of(table, hash), 0};
    while (place.bucket) {
        for (place.i = 0; place.i < BUCKET_SLOTS; place.i++) {
            if (place.bucket->handles[place.i] == wanted.handle &&
                place.bucket->tags[place.i] == wanted.tag)
                return place;
        }
        place.before = place.bucket;
        place.bucket = next_of(table, place.bucket);
    }
    assert(place.bucket); /* the item must be there */
    return place;
}

/* Puts `slot` into the chain, taking a bucket from `*spare` (a list by overflow) when it is full.
 * False: it is full and there is no spare one. */
static bool chain_add(
    struct table *table, struct table_bucket *bucket, struct slot slot, uint32_t *spare)
{
    for (;;) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (is_free(bucket, i)) {
                put(bucket, i, slot);
                return true;
            }
        }
        if (!bucket->overflow) {
            if (!*spare)
                return false;
            bucket->overflow = *spare;
            struct table_bucket *added = next_of(table, bucket);
            *spare = added->overflow;
            added->overflow = 0;
        }
        bucket = next_of(table, bucket);
    }
}

/* Those of the highest number first: so what takes a place that becomes free is in a chain. */
static void release_spare(struct table *table, uint32_t spare)
{
    while (spare) {
        uint32_t *highest = &spare;
        for (uint32_t *link = &spare; *link; link = &overflow_at(table, *link)->overflow)
            highest = *link > *highest ? link : highest;
        uint32_t released = *highest;
        *highest = overflow_at(table, released)->overflow;
        release_overflow(table, released);
    }
}

/* Splits the next bucket in turn. Needs no memory but, rarely, a segment; without that it is left
 * for another time. */
static void split(struct table *table)
{
    size_t added = table->buckets;
    if (add_segment(table, &table->main, added) != 0)
        return;
    if (added > table->mask)
        table->mask = table->mask * 2 + 1;
    table->buckets++;
    struct table_bucket *source = bucket_at(table, added & (table->mask >> 1));

    /* A chain of n buckets, dealt out to two chains, never needs more than n + 1; and as each
     * bucket is emptied before it is dealt out, there is always a spare one in time. */
    struct table_bucket batch = *source;
    uint32_t spare = 0;
    *source = (struct table_bucket){.overflow = 0};
    for (;;) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++)
            __builtin_prefetch(is_free(&batch, i) ? NULL : slot_item(table, slot_at(&batch, i)));
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (is_free(&batch, i))
                continue;
            struct slot slot = slot_at(&batch, i);
            uint64_t hash = table_hash(table, item_id(slot_item(table, slot)));
            bool added_it = chain_add(table, bucket_of(table, hash), slot, &spare);
            assert(added_it);
            (void)added_it;
        }
        uint32_t emptied = batch.overflow;
        if (!emptied)
            break;
        struct table_bucket *next = overflow_at(table, emptied);
        batch = *next;
        *next = (struct table_bucket){.overflow = spare};
        spare = emptied;
    }
    release_spare(table, spare);
}

/* The reverse: the last bucket goes back to where it was split from. */
static void merge(struct table *table)
{
    size_t index = table->buckets - 1;
    struct table_bucket *last = bucket_at(table, index);
    struct table_bucket *target = bucket_at(table, index & (table->mask >> 1));
    unsigned needed = 0, room = 0;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++)
        needed += !is_free(last, i);
    struct table_bucket *end = target;
    for (struct table_bucket *bucket = target; bucket; bucket = next_of(table, bucket)) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++)
            room += is_free(bucket, i);
        end = bucket;
    }
    if (room < needed) {
        end->overflow = add_overflow(table);
        if (!end->overflow)
            return; /* another time */
        end = next_of(table, end);
    }
    uint32_t none = 0;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        if (!is_free(last, i))
            chain_add(table, target, slot_at(last, i), &none);
    }
    end->overflow = last->overflow;
    *last = (struct table_bucket){.overflow = 0};
    table->buckets--;
    if (table->buckets <= (table->mask >> 1) + 1)
        table->mask >>= 1;
    drop_segments(table, &table->main, table->buckets);
}

int table_insert(struct table *table, uint64_t hash, struct item *item)
{
    struct slot slot = slot_of(table, hash, item);
    uint32_t spare = 0;
    if (!chain_add(table, bucket_of(table, hash), slot, &spare)) {
        spare = add_overflow(table);
        if (!spare)
            return BRAIN_ENOMEM;
        chain_add(table, bucket_of(table, hash), slot, &spare);
    }
    table->items++;
    if (table->items > table->buckets * SPLIT_ABOVE)
        split(table);
    return 0;
}

void table_replace(struct table *table, uint64_t hash, struct item *old, struct item *new)
{
    struct place place = place_of(table, hash, old);
    put(place.bucket, place.i, slot_of(table, hash, new));
}

void table_remove(struct table *table, uint64_t hash, struct item *item)
{
    struct place place = place_of(table, hash, item);
    put(place.bucket, place.i, (struct slot){0, 0});
    table->items--;
    unsigned used = 0;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++)
        used += !is_free(place.bucket, i);
    if (used == 0 && place.before) {
        uint32_t emptied = place.before->overflow;
        place.before->overflow = place.bucket->overflow;
        release_overflow(table, emptied);
    }
    if (!table->keep_buckets && table->buckets > BUCKETS_MIN &&
        table->items < table->buckets * MERGE_BELOW)
        merge(table);
}

bool table_scan(struct table *table, size_t *cursor, table_visit_cb visit, void *context)
{
    if (*cursor >= table->buckets)
        return false;
    for (struct table_bucket *b = bucket_at(table, *cursor); b; b = next_of(table, b)) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (!is_free(b, i))
                visit(context, slot_item(table, slot_at(b, i)));
        }
    }
    ++*cursor;
    return true;
}

static uint64_t reverse_bits(uint64_t bits)
{
    bits = (bits >> 1 & UINT64_C(0x5555555555555555)) | (bits & UINT64_C(0x5555555555555555)) << 1;
    bits = (bits >> 2 & UINT64_C(0x3333333333333333)) | (bits & UINT64_C(0x3333333333333333)) << 2;
    bits = (bits >> 4 & UINT64_C(0x0F0F0F0F0F0F0F0F)) | (bits & UINT64_C(0x0F0F0F0F0F0F0F0F)) << 4;
    return __builtin_bswap64(bits);
}

/* What a bucket holds are the hashes that end with its number: their reversed bits are a range. As
 * long as a bucket is not split off, its items are in the one with a bit less, whose range is that
 * of both. The cursor is the reversed hash that comes next. */
bool table_next(
    const struct table *table, uint64_t *cursor, unsigned buckets, const struct item **item)
{
    *item = NULL;
    for (; buckets > 0; buckets--) {
        uint64_t hash = reverse_bits(*cursor), mask = table->mask, nearest = UINT64_MAX;
        if ((hash & mask) >= table->buckets)
            mask >>= 1;
        for (const struct table_bucket *b = bucket_at(table, hash & mask); b;
             b = next_of(table, b)) {
            for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
                if (is_free(b, i))
                    continue;
                const struct item *other = slot_item(table, slot_at(b, i));
                uint64_t place = reverse_bits(table_hash(table, item_id(other)));
                if (place >= *cursor && (!*item || place < nearest)) {
                    nearest = place;
                    *item = other;
                }
            }
        }
        uint64_t last = *cursor | reverse_bits(~mask);
        if (*item) {
            *cursor = nearest + 1; /* after the very last possible one it starts again */
            return true;
        }
        *cursor = last + 1;
        if (last == UINT64_MAX)
            return false;
    }
    return true;
}
