/* What loads bring: an object, or what a restored one is compared with. */
#include "store_inside.h"

#include <assert.h>

/* Puts what the load brought in the place of the item that waited for it. */
static int fill(
    struct store *store, struct object *object, struct version version, const struct value *value)
{
    struct item *empty = object->item;
    struct item *item = item_create(&store->pages, item_id(empty), value, false);
    if (!item)
        return BRAIN_ENOMEM;
    if (epochs_hold(&store->epochs, version, &object->version) != 0) {
        item_release(&store->pages, item);
        return BRAIN_ENOMEM;
    }
    item->accessed = empty->accessed;
    item->flags |= ITEM_BUSY;
    item->object = object;
    object->item = item;
    table_replace(&store->table, table_hash(&store->table, item_id(item)), empty, item);
    store_uncount(store, empty);
    item_release(&store->pages, empty);
    store_count(store, item);
    return 0;
}

/* A restored item that is still not sure was looked at in vain. */
static void answer_loads(
    struct store *store, struct object *object, int status, const struct value *value)
{
    const struct store_waiter *first;
    while ((first = object->reads.first) != NULL &&
           (first->kind == WAITER_LOAD ||
               (first->kind == WAITER_LOOK && store_must_look(store, object->item))))
        store_answer(store, waiters_pop(&store->deadlines, &object->reads), status,
            status == STORE_FOUND ? value : NULL);
    store_release_reads(store, object);
}

void object_become_clean(struct store *store, struct object *object)
{
    struct item *item = object->item;
    ages_leave(&store->ages, item->age);
    store_uncount(store, item);
    item->flags &= (uint8_t) ~(ITEM_DIRTY | ITEM_UNSURE);
    store_count(store, item);
    object->guarded = false;
    store_bury_record(store, item_seq(store, item));
}

bool store_is_lost_successor(struct version stored, struct version restored)
{
    return version_compare(stored, restored) > 0 && stored.seq > restored.seq;
}

void object_become_unknown(struct store *store, struct object *object)
{
    struct item *item = object->item;
    store->metrics.restored_late++;
    store_bury_record(store, item_seq(store, item));
    ages_leave(&store->ages, item->age);
    store_uncount(store, item);
    epochs_drop(&store->epochs, object->version);
    item->flags &= (uint8_t) ~(ITEM_DIRTY | ITEM_TOMBSTONE | ITEM_UNSURE);
    item->flags |= ITEM_UNKNOWN;
    store_count(store, item);
    object->soon = false;
    object->retry_at_ms = 0;
    for (struct store_waiter *read = object->reads.first; read; read = read->next) {
        if (read->kind == WAITER_LOOK)
            read->kind = WAITER_LOAD;
    }
}

/* A load of what a restored, unsure item is to be compared with. */
static void compare_restored(struct store *store, struct object *object, struct version stored)
{
    struct item *item = object->item;
    struct version own = epochs_unpack(&store->epochs, object->version);
    int order = version_compare(stored, own);
    if (store_is_lost_successor(stored, own)) {
        object_become_unknown(store, object);
        return;
    }
    item->flags &= (uint8_t)~ITEM_UNSURE;
    if (order == 0)
        object_become_clean(store, object);
    else if (order > 0)
        /* Not ours. Without memory or journal for a later version, the dump finds out again. */
        object->stored_known = store_renew_version(store, item) == 0;
}

/* Of what the warehouse has with what was restored, or written in the meantime. */
static void compare(struct store *store, struct object *object, struct version stored)
{
    struct item *item = object->item;
    bool unknown = item->flags & ITEM_UNKNOWN;
    store_raise_above(store, stored);
    if (!unknown && store_must_look(store, item)) {
        compare_restored(store, object, stored);
    } else if (!unknown) {
        /* The write wins, so it must be the later version. Without memory or journal for that, the
         * dump's conflict will say so again. */
        struct version own = epochs_unpack(&store->epochs, object->version);
        object->stored_known =
            version_compare(own, stored) > 0 || store_renew_version(store, item) == 0;
    }
}

void store_loaded(struct store *store, struct object *object, int status,
    const struct version *version, const struct value *value, uint64_t now_ms)
{
    assert(object->stage == OBJECT_LOADING && (status != 0 || value));
    store_set_now(store, now_ms);
    object->stage = OBJECT_RESTING;
    object->operation = NULL;
    object->pins++;
    store->metrics.loading--;
    store->comparing -= object->comparing;
    if (!object->item) { /* abandoned */
        object_unpin(store, object, now_ms);
        return;
    }
    struct value copy = value_none();
    if (status == 0 || status == STORE_ABSENT) {
        struct version stored = version ? *version : (struct version){0, 0, 0};
        object->stored = stored;
        object->stored_known = true;
        if (store->events.grant)
            status = copy_compare(store, object, status, &copy);
        else
            compare(store, object, stored);
        if (status == 0 && object->item->flags & ITEM_UNKNOWN)
            status = fill(store, object, stored, value);
    } else if (!(object->item->flags & ITEM_UNKNOWN)) {
        copy_forget(store, object); /* it was written meanwhile; who waited hears of the failure */
    }
    if (status == 0)
        store->metrics.loads_found++;
    else if (status == STORE_ABSENT)
        store->metrics.loads_absent++;
    else
        store->metrics.loads_failed++;
    answer_loads(store, object, status == 0 ? STORE_FOUND : status, copy.block ? &copy : value);
    value_drop(&copy);
    if (!(object->item->flags & ITEM_DIRTY))
        store_answer_persists(store, object, true, object->copy ? status : STORE_DONE);
    object_unpin(store, object, now_ms);
    store_make_room(store, 0, 0, store_looks_for(value ? value->size : 0));
    store_pump(store);
}
