/* idtable: structs by id, found by a seeded hash of it. A struct embeds its node; the id's bytes
 * are its own. Growing never takes long: the table is many small ones. */
#ifndef BRAIN_IDTABLE_H
#define BRAIN_IDTABLE_H

#include "brain/base.h"

struct id_node {
    struct id_node *next;
    uint64_t hash;
    const uint8_t *id;
    uint16_t id_size;
};

enum { ID_TABLE_PARTS = 256 };
struct id_table {
    struct id_part {
        struct id_node **buckets; /* NULL: `one` is the only bucket */
        struct id_node *one;
        uint32_t mask, count;
    } parts[ID_TABLE_PARTS];
    uint64_t count;
};

static inline struct slice id_node_id(const struct id_node *node)
{
    return slice_of(node->id, node->id_size);
}

struct id_node *id_table_find(const struct id_table *table, uint64_t hash, struct slice id);
/* The id must not be there. Never fails: without memory to grow the chains get longer. */
void id_table_insert(struct id_table *table, struct id_node *node);
void id_table_remove(struct id_table *table, struct id_node *node); /* must be there */
/* All nodes, a few at a time. `cursor`: zeroed to begin. Each call visits at most some; false when
 * that was the last of them. `visit` may neither insert nor remove; between two calls both may
 * happen: whatever stays is visited, perhaps twice. */
struct id_cursor {
    uint32_t part, bucket, mask;
};
bool id_table_visit(const struct id_table *table, struct id_cursor *cursor,
    void (*visit)(void *context, struct id_node *node), void *context);
/* Some node, or NULL when empty; for taking all of them out. */
struct id_node *id_table_any(const struct id_table *table);

#endif
