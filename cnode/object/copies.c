/* What was adopted with a copy (R7): an object that other members hold in a version that the
 * warehouse may not have. The copy is kept beside the placeholder of the load. When the warehouse
 * has been read the greater of the two is the object. A copy that wins is written like a set, under
 * the epoch of the grant: from then on it is newer than whatever its former owner may still have on
 * the way to the warehouse. A copy that is known to be the greatest is written so at once. */
#include "store_inside.h"

#include <assert.h>

static uint64_t memory_of_copy(const struct copy *copy)
{
    const struct block *block = copy->value.block;
    return memory_of(sizeof(*copy)) + (block ? memory_of(sizeof(*block) + block->size) : 0);
}

void copy_forget(struct store *store, struct object *object)
{
    struct copy *copy = object->copy;
    if (!copy)
        return;
    object->copy = NULL;
    store->captured_memory -= memory_of_copy(copy);
    value_drop(&copy->value);
    heap_release(copy);
}

static struct copy *copy_create(struct version version, const struct value *value)
{
    struct copy *copy = heap_allocate_zeroed(sizeof(*copy));
    if (!copy)
        return NULL;
    copy->version = version;
    copy->deleted = !value;
    if (value && (copy->value = item_keep(value)).block == NULL) {
        heap_release(copy);
        return NULL;
    }
    return copy;
}

int store_adopt(struct store *store, struct slice id, struct version version,
    const struct value *value, bool complete, uint64_t now_ms)
{
    store_set_now(store, now_ms);
    uint64_t hash = table_hash(&store->table, id);
    assert(!table_find(&store->table, hash, id));
    struct copy *copy = copy_create(version, value);
    if (!copy)
        return BRAIN_ENOMEM;
    struct object *object = store_add_unknown(store, id, hash);
    if (!object) {
        value_drop(&copy->value);
        heap_release(copy);
        return BRAIN_ENOMEM;
    }
    object->copy = copy;
    store->captured_memory += memory_of_copy(copy);
    if (complete && store_write_copy(store, object, now_ms) == 0)
        object_settle(store, object, now_ms);
    else
        object_load(store, object);
    store_make_room(store, 0, 0, store_looks_for(value ? value->size : 0));
    return 0;
}

uint32_t store_comparing(const struct store *store)
{
    return store->comparing;
}

void copy_list(struct store *store, struct object *object, uint64_t now_ms)
{
    assert(object->item->flags & ITEM_UNKNOWN);
    store_back_off(store, &store->copies, object, now_ms);
}

/* The warehouse holds a version that we did not write: is it above the grant? Then all that is
 * written from now on would be below it. */
static void look_for_outdated(struct store *store, struct object *object)
{
    struct version epoch, stored = object->stored;
    struct item *item = object->item;
    bool granted = store->events.grant(store->events.member, item_id(item), &epoch);
    if (!granted || version_is_zero(stored) || epoch_compare(stored, epoch) < 0)
        return;
    object->outdated = item->flags & ITEM_DIRTY;
    store->events.outdated(store->events.member, item_id(item), stored, store->now_ms);
}

/* The copy wins, though over a write it is only shown. 0, STORE_ABSENT for a tombstone, or an
 * error: it is kept. */
static int take_copy(
    struct store *store, struct object *object, bool over_write, struct value *shown)
{
    struct value value = value_hold(object->copy->value);
    bool deleted = object->copy->deleted;
    int status = 0;
    if (over_write)
        copy_forget(store, object);
    else
        status = store_write_copy(store, object, store->now_ms);
    if (status != 0) {
        value_drop(&value);
        return status;
    }
    *shown = value;
    return deleted ? STORE_ABSENT : 0;
}

int copy_compare(struct store *store, struct object *object, int status, struct value *shown)
{
    struct version stored = object->stored;
    bool unknown = object->item->flags & ITEM_UNKNOWN;
    bool wins = object->copy && (version_compare(object->copy->version, stored) > 0 ||
                                    store_breaks(store, STORE_BREAK_COMPARE));
    if (wins) {
        status = take_copy(store, object, !unknown, shown);
        if (object->copy)
            return status;
    }
    if (!wins || !unknown) {
        copy_forget(store, object);
        /* A dirty version that is not above what is stored is not to be given up for it. */
        bool above =
            unknown || version_compare(stored, epochs_unpack(&store->epochs, object->version)) < 0;
        if (above && !version_is_zero(stored))
            store_tell_stored(store, item_id(object->item), stored);
    }
    if (unknown) {
        object->failures = 0;
        object->retry_at_ms = 0;
    }
    look_for_outdated(store, object);
    return status;
}
