/* The table. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "inside.h"

int word_compare(
    struct cluster_epoch epoch_a, struct version a, struct cluster_epoch epoch_b, struct version b)
{
    const int order = cluster_epoch_compare(epoch_a, epoch_b);
    return order != 0 ? order : version_compare(a, b);
}

uint64_t id_hash(const struct replica *r, struct slice id)
{
    return XXH3_128bits_withSeed(id.data, id.size, r->options.seed).high64;
}

/* As the cluster's own messages about this id. */
uint64_t id_order(const struct replica *r, struct slice id)
{
    return XXH3_128bits_withSeed(id.data, id.size, r->options.seed).low64 | 1;
}

static struct entry *entry_of(struct id_node *node)
{
    return (struct entry *)(void *)node;
}

static bool is_stale(const struct replica *r, const struct entry *entry)
{
    return entry->era != (entry->teller == NULL ? r->told_era : r->heard_era);
}

struct entry *entry_find(struct replica *r, struct slice id)
{
    struct entry *entry = entry_of(id_table_find(&r->table, id_hash(r, id), id));
    if (entry == NULL || !is_stale(r, entry))
        return entry;
    entry_free(r, entry);
    return NULL;
}

size_t entry_room(size_t id_size, size_t value_size)
{
    return sizeof(struct entry) + id_size +
           (value_size > 0 ? sizeof(struct block) + value_size : 0);
}

static void count(struct replica *r, const struct entry *entry, bool more)
{
    const size_t room = entry_room(entry->node.id_size, entry->value.size);
    r->memory = more ? r->memory + room : r->memory - room;
}

int entry_reserve(struct replica *r, struct slice id)
{
    enum { USUAL = 40 };
    if (r->spare_entry != NULL && r->spare_id_size >= id.size)
        return 0;
    const size_t size = id.size > USUAL ? id.size : USUAL;
    struct entry *spare = heap_allocate(sizeof(*spare) + size);
    if (spare == NULL)
        return BRAIN_ENOMEM;
    heap_release(r->spare_entry);
    r->spare_entry = spare;
    r->spare_id_size = (uint16_t)size;
    return 0;
}

struct entry *entry_create(struct replica *r, struct slice id, struct peer *teller)
{
    if (entry_reserve(r, id) != 0)
        return NULL;
    struct entry *entry = r->spare_entry;
    r->spare_entry = NULL;
    *entry = (struct entry){.state = REPLICA_NONE};
    memcpy(entry->id, id.data, id.size);
    entry->node =
        (struct id_node){.hash = id_hash(r, id), .id = entry->id, .id_size = (uint16_t)id.size};
    list_init(&entry->mark.link);
    list_init(&entry->dead);
    id_table_insert(&r->table, &entry->node);
    count(r, entry, true);
    entry_take_over(r, entry, teller);
    return entry;
}

static void leave_teller(struct replica *r, struct entry *entry)
{
    struct peer *teller = entry->teller;
    entry->teller = NULL;
    if (teller == NULL)
        return;
    teller->entries--;
    peer_unused(r, teller);
}

void entry_free(struct replica *r, struct entry *entry)
{
    telling_free(r, entry);
    count(r, entry, false);
    value_drop(&entry->value);
    list_remove(&entry->mark.link);
    list_remove(&entry->dead);
    leave_teller(r, entry);
    id_table_remove(&r->table, &entry->node);
    heap_release(entry);
}

void entry_take_over(struct replica *r, struct entry *entry, struct peer *teller)
{
    if (entry->teller != teller) {
        leave_teller(r, entry);
        entry->teller = teller;
        if (teller != NULL)
            teller->entries++;
    }
    list_remove(&entry->mark.link);
    list_append(teller == NULL ? &r->told : &r->heard, &entry->mark.link);
    entry->era = teller == NULL ? r->told_era : r->heard_era;
    entry->number = teller == NULL ? ++r->numbers : 0;
}

void entry_set(struct replica *r, struct entry *entry, struct cluster_epoch epoch,
    struct version version, enum replica_state state, struct value value)
{
    count(r, entry, false);
    value_drop(&entry->value);
    entry->epoch = epoch;
    entry->version = version;
    entry->state = state;
    entry->value = value;
    count(r, entry, true);
    list_remove(&entry->dead);
    entry->given_up = false;
    entry->since_ms = r->now_ms;
    if (state == REPLICA_DELETED)
        list_append(&r->tombstones, &entry->dead);
}

void entry_give_up(
    struct replica *r, struct entry *entry, struct cluster_epoch epoch, struct version version)
{
    entry_set(r, entry, epoch, version, REPLICA_NONE, value_none());
    entry->given_up = true;
    list_append(&r->given_up, &entry->dead);
    if (entry->telling != NULL)
        telling_named(r, entry);
}
