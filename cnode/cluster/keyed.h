/* keyed: ids as 128-bit keys, and hash tables of structs that embed their key.
 *
 * A key is the seeded XXH3 of an id. The seed is secret from clients (it comes from the cookie), so
 * nobody can choose ids that collide, and by chance a cluster of 10^12 objects has a pair of equal
 * keys with probability 10^-15; two such ids would share an owner, and nothing else
 * (docs/decisions/0012). */
#ifndef BRAIN_CLUSTER_KEYED_H
#define BRAIN_CLUSTER_KEYED_H

#include "brain/cluster.h"

struct key {
    uint64_t high, low;
};
enum { KEY_BYTES = 16 };

struct key key_of(uint64_t seed, struct slice id);
static inline bool key_equal(struct key a, struct key b)
{
    return a.high == b.high && a.low == b.low;
}
/* The slot: the key's first bits. */
static inline uint32_t key_slot(struct key key)
{
    return (uint32_t)(key.high >> (64 - CLUSTER_SLOT_BITS));
}
void key_store(uint8_t bytes[KEY_BYTES], struct key key);
struct key key_load(const uint8_t bytes[KEY_BYTES]);

/* One table per slot and use: so each is small, and growing one takes no time. */
struct keyed {
    struct keyed *next;
    struct key key;
};
struct keyed_table {
    struct keyed **buckets; /* NULL: `one` is the only bucket */
    struct keyed *one;
    uint32_t mask, count;
};

struct keyed *keyed_find(const struct keyed_table *table, struct key key);
/* The key must not be there. Never fails: without memory to grow the chains get longer. */
void keyed_insert(struct keyed_table *table, struct keyed *node);
void keyed_remove(struct keyed_table *table, struct keyed *node); /* must be there */
/* Some node, or NULL when empty; for taking all of them out. */
struct keyed *keyed_any(const struct keyed_table *table);
/* The node after `node` in the table's order (NULL: the first). */
struct keyed *keyed_next(const struct keyed_table *table, const struct keyed *node);
void keyed_release(struct keyed_table *table); /* the nodes are the caller's */
static inline size_t keyed_memory(const struct keyed_table *table)
{
    return table->buckets ? ((size_t)table->mask + 1) * sizeof(struct keyed *) : 0;
}

#endif
