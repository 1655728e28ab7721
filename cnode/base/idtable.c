#include "brain/idtable.h"

static struct id_part *part_of(const struct id_table *table, uint64_t hash)
{
    return (struct id_part *)(uintptr_t)&table->parts[hash >> 56];
}

static struct id_node **bucket_of(struct id_part *part, uint64_t hash)
{
    return part->buckets ? &part->buckets[hash & part->mask] : &part->one;
}

struct id_node *id_table_find(const struct id_table *table, uint64_t hash, struct slice id)
{
    struct id_node *node = *bucket_of(part_of(table, hash), hash);
    while (node && (node->hash != hash || !slice_equal(id_node_id(node), id)))
        node = node->next;
    return node;
}

static void grow(struct id_part *part)
{
    size_t old_size = part->buckets ? (size_t)part->mask + 1 : 1;
    size_t size = part->buckets ? old_size * 2 : 4;
    struct id_node **buckets = heap_allocate_zeroed(size * sizeof(struct id_node *));
    if (!buckets)
        return;
    for (size_t i = 0; i < old_size; i++) {
        struct id_node *node = part->buckets ? part->buckets[i] : part->one;
        while (node) {
            struct id_node *next = node->next;
            struct id_node **bucket = &buckets[node->hash & (size - 1)];
            node->next = *bucket;
            *bucket = node;
            node = next;
        }
    }
    heap_release(part->buckets);
    part->buckets = buckets;
    part->one = NULL;
    part->mask = (uint32_t)(size - 1);
}

void id_table_insert(struct id_table *table, struct id_node *node)
{
    struct id_part *part = part_of(table, node->hash);
    if (part->count > (part->buckets ? part->mask : 0))
        grow(part);
    struct id_node **bucket = bucket_of(part, node->hash);
    node->next = *bucket;
    *bucket = node;
    part->count++;
    table->count++;
}

void id_table_remove(struct id_table *table, struct id_node *node)
{
    struct id_part *part = part_of(table, node->hash);
    struct id_node **link = bucket_of(part, node->hash);
    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    node->next = NULL;
    table->count--;
    if (--part->count > 0)
        return;
    heap_release(part->buckets);
    *part = (struct id_part){0};
}

struct id_node *id_table_any(const struct id_table *table)
{
    for (size_t p = 0; table->count > 0 && p < ID_TABLE_PARTS; p++) {
        const struct id_part *part = &table->parts[p];
        if (part->one)
            return part->one;
        for (size_t i = 0; part->buckets && i <= part->mask; i++) {
            if (part->buckets[i])
                return part->buckets[i];
        }
    }
    return NULL;
}

bool id_table_visit(const struct id_table *table, struct id_cursor *cursor,
    void (*visit)(void *context, struct id_node *node), void *context)
{
    if (cursor->part >= ID_TABLE_PARTS)
        return false;
    const struct id_part *part = &table->parts[cursor->part];
    if (cursor->mask != part->mask) /* grown, or new: what moved is found again */
        cursor->bucket = 0;
    cursor->mask = part->mask;
    struct id_node *node = part->buckets ? part->buckets[cursor->bucket] : part->one;
    while (node) {
        struct id_node *next = node->next;
        visit(context, node);
        node = next;
    }
    if (!part->buckets || cursor->bucket++ >= part->mask)
        *cursor = (struct id_cursor){cursor->part + 1, 0, 0};
    return cursor->part < ID_TABLE_PARTS;
}
