/* Connections by id, by channel and by peer name. */
#include <assert.h>
#include <string.h>

#include <xxhash.h>

#include "node_private.h"

enum { FIRST_BUCKETS = 64, FIRST_SLOTS = 64 };

int connection_table_init(struct connection_table *table, uint64_t seed)
{
    memset(table, 0, sizeof(*table));
    table->seed = seed;
    for (unsigned which = 0; which < INDEX_COUNT; which++) {
        struct connection_index *index = &table->indexes[which];
        index->buckets = heap_allocate_zeroed(FIRST_BUCKETS * sizeof(*index->buckets));
        if (index->buckets == NULL)
            return BRAIN_ENOMEM;
        index->size = FIRST_BUCKETS;
    }
    return 0;
}

void connection_table_release(struct connection_table *table)
{
    assert(table->count == 0);
    for (unsigned which = 0; which < INDEX_COUNT; which++)
        heap_release(table->indexes[which].buckets);
    heap_release(table->slots);
    memset(table, 0, sizeof(*table));
}

/* ---- ids --------------------------------------------------------------------------------------
 */

static int grow_slots(struct connection_table *table)
{
    uint32_t size = table->slots_size == 0 ? FIRST_SLOTS : table->slots_size * 2;
    struct connection_slot *slots = heap_resize(table->slots, size * sizeof(*slots));
    if (slots == NULL)
        return BRAIN_ENOMEM;
    table->slots = slots;
    table->slots_size = size;
    return 0;
}

int connection_table_add(struct connection_table *table, struct connection *connection)
{
    uint32_t index;
    if (table->first_free != 0) {
        index = table->first_free - 1;
        table->first_free = table->slots[index].next_free;
    } else {
        if (table->slots_used == table->slots_size && grow_slots(table) != 0)
            return BRAIN_ENOMEM;
        index = table->slots_used++;
        table->slots[index].generation = 0;
    }
    struct connection_slot *slot = &table->slots[index];
    slot->connection = connection;
    connection->id = (uint64_t)slot->generation << 32 | (index + 1u);
    table->count++;
    return 0;
}

struct connection *connection_table_find(const struct connection_table *table, connection_id id)
{
    uint32_t number = (uint32_t)id;
    if (number == 0 || number > table->slots_used)
        return NULL;
    const struct connection_slot *slot = &table->slots[number - 1];
    return slot->generation == id >> 32 ? slot->connection : NULL;
}

/* ---- hashes -----------------------------------------------------------------------------------
 */

static uint64_t hash_of(const struct connection_table *table, const void *data, size_t size)
{
    return XXH3_64bits_withSeed(data, size, table->seed);
}

static void grow_index(struct connection_table *table, unsigned which)
{
    struct connection_index *index = &table->indexes[which];
    size_t size = index->size * 2;
    struct connection **buckets = heap_allocate_zeroed(size * sizeof(*buckets));
    if (buckets == NULL)
        return;
    for (size_t i = 0; i < index->size; i++) {
        struct connection *next;
        for (struct connection *at = index->buckets[i]; at != NULL; at = next) {
            struct index_link *link = &at->links[which];
            next = link->next;
            link->next = buckets[link->hash & (size - 1)];
            buckets[link->hash & (size - 1)] = at;
        }
    }
    heap_release(index->buckets);
    index->buckets = buckets;
    index->size = size;
}

static void add_to_index(
    struct connection_table *table, unsigned which, struct connection *connection, uint64_t hash)
{
    struct connection_index *index = &table->indexes[which];
    if (index->count >= index->size)
        grow_index(table, which);
    struct index_link *link = &connection->links[which];
    assert(!link->in);
    struct connection **bucket = &index->buckets[hash & (index->size - 1)];
    *link = (struct index_link){*bucket, hash, true};
    *bucket = connection;
    index->count++;
}

static void remove_from_index(
    struct connection_table *table, unsigned which, struct connection *connection)
{
    struct connection_index *index = &table->indexes[which];
    struct index_link *link = &connection->links[which];
    if (!link->in)
        return;
    struct connection **at = &index->buckets[link->hash & (index->size - 1)];
    while (*at != connection)
        at = &(*at)->links[which].next;
    *at = link->next;
    link->in = false;
    index->count--;
}

void connection_table_remove(struct connection_table *table, struct connection *connection)
{
    for (unsigned which = 0; which < INDEX_COUNT; which++)
        remove_from_index(table, which, connection);
    uint32_t number = (uint32_t)connection->id;
    struct connection_slot *slot = &table->slots[number - 1];
    assert(slot->connection == connection);
    slot->connection = NULL;
    slot->generation++;
    slot->next_free = table->first_free;
    table->first_free = number;
    table->count--;
}

void connection_table_add_channel(struct connection_table *table, struct connection *connection)
{
    add_to_index(table, INDEX_CHANNEL, connection,
        hash_of(table, &connection->channel, sizeof(connection->channel)));
}

void connection_table_add_name(struct connection_table *table, struct connection *connection)
{
    struct slice name = channel_peer(connection->channel);
    add_to_index(table, INDEX_NAME, connection, hash_of(table, name.data, name.size));
}

struct connection *connection_table_by_channel(
    const struct connection_table *table, const struct channel *channel)
{
    const struct connection_index *index = &table->indexes[INDEX_CHANNEL];
    uint64_t hash = hash_of(table, &channel, sizeof(channel));
    struct connection *at = index->buckets[hash & (index->size - 1)];
    while (at != NULL && at->channel != channel)
        at = at->links[INDEX_CHANNEL].next;
    return at;
}

static struct connection *by_name(
    const struct connection_table *table, struct slice name, bool simple_too)
{
    const struct connection_index *index = &table->indexes[INDEX_NAME];
    uint64_t hash = hash_of(table, name.data, name.size);
    struct connection *at = index->buckets[hash & (index->size - 1)];
    while (at != NULL && !(at->links[INDEX_NAME].hash == hash && channel_is_up(at->channel) &&
                             at->ending == NULL && slice_equal(channel_peer(at->channel), name) &&
                             (simple_too || !channel_peer_is_simple(at->channel))))
        at = at->links[INDEX_NAME].next;
    return at;
}

struct connection *connection_table_by_name(const struct connection_table *table, struct slice name)
{
    return by_name(table, name, true);
}

struct connection *connection_table_node(const struct connection_table *table, struct slice name)
{
    return by_name(table, name, false);
}
