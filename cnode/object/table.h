/* table: finds items by id. See table.c. */
#ifndef BRAIN_OBJECT_TABLE_H
#define BRAIN_OBJECT_TABLE_H

#include "pages.h"

struct table_bucket;
struct table_segment {
    struct table_bucket *buckets;
    uint32_t region; /* of pages.h */
};

/* Buckets by number, in segments of a page each. */
struct table_buckets {
    struct table_segment *segments;
    size_t used, capacity; /* segments */
};

struct table {
    struct pages *pages;
    unsigned segment_bits; /* of the number of buckets in a segment */
    uint64_t seed;
    size_t items;
    size_t buckets;
    uint64_t mask; /* the smallest 2^n - 1 that covers all buckets */
    struct table_buckets main, overflow;
    uint32_t overflow_used;
    size_t memory;     /* bytes of all this beside the pages, as the allocator rounds them */
    bool keep_buckets; /* while scanning: buckets split but do not merge */
};

/* `pages`: of all its items; the table's buckets are there, too. 0 or BRAIN_ENOMEM. */
int table_init(struct table *table, struct pages *pages, uint64_t seed);
void table_release(struct table *table); /* the items are the caller's */

/* A lookup in two steps, so that many can be under way at once: hash, then find. */
uint64_t table_hash(const struct table *table, struct slice id);
struct item *table_find(const struct table *table, uint64_t hash, struct slice id);
/* Hints, so that a find soon after waits for no memory: of the bucket, then of what lies in it. */
void table_prefetch_slot(const struct table *table, uint64_t hash);
void table_prefetch_item(const struct table *table, uint64_t hash);
/* The id must not be there yet. 0 or BRAIN_ENOMEM (nothing changed). */
int table_insert(struct table *table, uint64_t hash, struct item *item);
/* The item must be there. */
void table_replace(struct table *table, uint64_t hash, struct item *old, struct item *new);
void table_remove(struct table *table, uint64_t hash, struct item *item);

/* The item after the one at `*cursor` (0 to start), looking at `buckets` buckets at most: true with
 * `*item` NULL when there is none in them. False: no more, and the cursor is 0 again. The order is
 * that of the reversed bits of the hashes: so every item that stays in the table is seen, whatever
 * is split and merged meanwhile. (One of two whose 64 bits are the same is not: for 10^8 items the
 * odds that there are such are 1 in 4000.) */
bool table_next(
    const struct table *table, uint64_t *cursor, unsigned buckets, const struct item **item);

typedef void (*table_visit_cb)(void *context, struct item *item);
/* Visits one bucket and moves the cursor (0 to start); false when it has passed the last. While
 * `keep_buckets` is set, every item that stays in the table is visited at least once. `visit` must
 * not change the table; it may free items when the table is released next. */
bool table_scan(struct table *table, size_t *cursor, table_visit_cb visit, void *context);

#endif
