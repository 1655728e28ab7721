#include "keyed.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

struct key key_of(uint64_t seed, struct slice id)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(id.data, id.size, seed);
    return (struct key){hash.high64, hash.low64};
}

void key_store(uint8_t bytes[KEY_BYTES], struct key key)
{
    store_be64(bytes, key.high);
    store_be64(bytes + 8, key.low);
}

struct key key_load(const uint8_t bytes[KEY_BYTES])
{
    return (struct key){load_be64(bytes), load_be64(bytes + 8)};
}

static struct keyed *const *bucket_of(const struct keyed_table *table, struct key key)
{
    return table->buckets ? &table->buckets[key.low & table->mask] : &table->one;
}

static struct keyed **bucket_to_change(struct keyed_table *table, struct key key)
{
    return table->buckets ? &table->buckets[key.low & table->mask] : &table->one;
}

struct keyed *keyed_find(const struct keyed_table *table, struct key key)
{
    struct keyed *node = *bucket_of(table, key);
    while (node && !key_equal(node->key, key))
        node = node->next;
    return node;
}

static void grow(struct keyed_table *table)
{
    size_t old_size = table->buckets ? (size_t)table->mask + 1 : 1;
    size_t size = table->buckets ? old_size * 2 : 4;
    struct keyed **buckets = heap_allocate_zeroed(size * sizeof(struct keyed *));
    if (!buckets)
        return;
    for (size_t i = 0; i < old_size; i++) {
        struct keyed *node = table->buckets ? table->buckets[i] : table->one;
        while (node) {
            struct keyed *next = node->next;
            struct keyed **bucket = &buckets[node->key.low & (size - 1)];
            node->next = *bucket;
            *bucket = node;
            node = next;
        }
    }
    heap_release(table->buckets);
    table->buckets = buckets;
    table->one = NULL;
    table->mask = (uint32_t)(size - 1);
}

void keyed_insert(struct keyed_table *table, struct keyed *node)
{
    if (table->count > (table->buckets ? table->mask : 0))
        grow(table);
    struct keyed **bucket = bucket_to_change(table, node->key);
    node->next = *bucket;
    *bucket = node;
    table->count++;
}

void keyed_remove(struct keyed_table *table, struct keyed *node)
{
    struct keyed **link = bucket_to_change(table, node->key);
    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    node->next = NULL;
    if (--table->count == 0)
        keyed_release(table);
}

struct keyed *keyed_next(const struct keyed_table *table, const struct keyed *node)
{
    if (node && node->next)
        return node->next;
    if (!table->buckets)
        return node ? NULL : table->one;
    for (size_t i = node ? (node->key.low & table->mask) + 1 : 0; i <= table->mask; i++) {
        if (table->buckets[i])
            return table->buckets[i];
    }
    return NULL;
}

struct keyed *keyed_any(const struct keyed_table *table)
{
    return keyed_next(table, NULL);
}

void keyed_release(struct keyed_table *table)
{
    heap_release(table->buckets);
    *table = (struct keyed_table){0};
}
