/* The store of a member of a cluster: what is resident is owned, under an epoch that the cluster's
 * core knows (events.grant). Here are what becomes of an object whose epoch is too low (R4), and
 * how objects are given up: one (R13), or all (R1). */
#include "store_inside.h"

#include <assert.h>
#include <string.h>

/* ---- what is told ---------------------------------------------------------------------------- */

void member_tell_written(struct store *store, const struct item *item)
{
    struct value value = item_value(item);
    store->events.written(store->events.member, item_id(item),
        epochs_unpack(&store->epochs, item_version(item)),
        item->flags & ITEM_TOMBSTONE ? NULL : &value, store->now_ms);
}

/* ---- R4: a higher epoch ---------------------------------------------------------------------- */

bool object_is_outdated(struct store *store, struct object *object)
{
    struct item *item = object->item;
    struct version own = epochs_unpack(&store->epochs, object->version), stored = object->stored;
    if (!object->outdated && (!object->stored_known || version_compare(stored, own) < 0))
        return false;
    struct version epoch;
    if (!store->events.grant(store->events.member, item_id(item), &epoch) ||
        epoch_compare(epoch, stored) <= 0 ||
        (epoch_compare(epoch, own) != 0 && store_restamp_item(store, item, epoch) != 0))
        return true;
    object->outdated = false;
    return false;
}

void object_await_grant(struct store *store, struct object *object)
{
    object->outdated = true;
    store_back_off(store, &store->backoff, object, store->now_ms);
    store->events.outdated(
        store->events.member, item_id(object->item), object->stored, store->now_ms);
}

static struct item *find(const struct store *store, struct slice id)
{
    return table_find(&store->table, table_hash(&store->table, id), id);
}

int store_restamp(struct store *store, struct slice id, uint64_t now_ms)
{
    store_set_now(store, now_ms);
    struct item *item = find(store, id);
    struct version epoch;
    if (!item || !(item->flags & ITEM_DIRTY))
        return 0;
    if (!store->events.grant(store->events.member, id, &epoch))
        return BRAIN_EUNAVAILABLE;
    struct object *object = object_of(item);
    if (epoch_compare(epoch, epochs_unpack(&store->epochs, item_version(item))) != 0) {
        int status = store_restamp_item(store, item, epoch);
        if (status != 0)
            return status;
        if (object)
            object_rewrite(store, object);
    }
    if (!object || !object->outdated || epoch_compare(epoch, object->stored) <= 0)
        return 0;
    object->outdated = false;
    if (object->stage == OBJECT_LISTED) {
        object_hurry(store, object);
        store_pump(store);
    }
    return 0;
}

/* ---- what others ask ------------------------------------------------------------------------- */

bool store_is_resident(const struct store *store, struct slice id, uint64_t hash)
{
    return table_find(&store->table, hash, id) != NULL;
}

bool store_peek_dirty(struct store *store, struct slice id, struct version *version,
    struct value *value, bool *deleted)
{
    const struct item *item = find(store, id);
    if (!item || !(item->flags & ITEM_DIRTY))
        return false;
    *version = epochs_unpack(&store->epochs, item_version(item));
    *deleted = item->flags & ITEM_TOMBSTONE;
    *value = *deleted ? value_none() : item_value(item);
    return true;
}

bool store_peek_stored(struct store *store, struct slice id, struct version *version)
{
    struct item *item = find(store, id);
    const struct object *object = item ? object_of(item) : NULL;
    if (!item)
        return false;
    if (object)
        *version = object->stored;
    else if (item->flags & ITEM_STORED_KNOWN)
        *version = epochs_unpack(&store->epochs, *item_stored(item));
    else if (!(item->flags & ITEM_DIRTY))
        *version = epochs_unpack(&store->epochs, item->version);
    else
        return false;
    return !object || object->stored_known;
}

bool store_next(struct store *store, uint64_t *cursor, uint8_t *id, size_t *id_size)
{
    enum { BUCKETS = 256 };
    const struct item *item;
    *id_size = 0;
    if (!table_next(&store->table, cursor, BUCKETS, &item))
        return false;
    if (item) {
        struct slice own = item_id(item);
        memcpy(id, own.data, own.size);
        *id_size = own.size;
    }
    return true;
}

/* ---- R13: giving up one ---------------------------------------------------------------------- */

/* Nothing of it is under way outside, but it may be listed. The item has none any more. */
static void drop_object(struct store *store, struct object *object)
{
    list_remove(&object->link);
    list_remove(&object->unwritten);
    object_detach(object);
    object_free(store, object);
}

/* The same, of what is under way: it goes on, and the object stays for its result. */
static void leave_behind(struct store *store, struct object *object)
{
    if (object->stage == OBJECT_DUMPING)
        object_forget_dump(store, object);
    list_remove(&object->link);
    list_remove(&object->unwritten);
    copy_forget(store, object);
    object_detach(object);
    object->item = NULL;
}

/* Does a write of the object wait for the journal? Those that wait are not known by id: but only by
 * seq, and the last one of the object has the item's. */
static bool may_await_record(const struct store *store, const struct item *item)
{
    const struct store_waiter *first = store->records.first;
    return item->flags & ITEM_DIRTY && first && first->seq <= item_seq(store, item);
}

enum store_parted store_part(struct store *store, struct slice id, struct version *version,
    struct value *value, bool *deleted)
{
    struct item *item = find(store, id);
    if (!item)
        return STORE_GONE_CLEAN;
    struct object *object = object_of(item);
    bool dumping = object && object->stage == OBJECT_DUMPING;
    if (store_breaks(store, STORE_BREAK_RELEASE) && dumping && !object->held)
        dumping = false;
    if (store_read_waits(store, item) || may_await_record(store, item) || dumping ||
        (object &&
            (object->pins > 0 || object->outdated || object->copy || object->persists.first ||
                object->reads.first || object->stage == OBJECT_LOADING)))
        return STORE_BUSY;
    bool dirty = store_peek_dirty(store, id, version, value, deleted);
    if (dirty && !*deleted) {
        *value = value->block ? value_hold(*value) : value_copy(value_slice(*value));
        if (!value->block)
            return STORE_BUSY; /* without memory to hand it over: later */
    }
    if (store_breaks(store, STORE_BREAK_RELEASE) && object && object->stage == OBJECT_DUMPING)
        leave_behind(store, object);
    else if (object)
        drop_object(store, object);
    store_give_up(store, item);
    return dirty ? STORE_GONE_DIRTY : STORE_GONE_CLEAN;
}

/* ---- R1: giving up all ----------------------------------------------------------------------- */

static void hand_over(struct store *store, const struct item *item, store_keep_cb keep)
{
    const struct object *object = object_of(item);
    if (item->flags & ITEM_DIRTY) {
        struct value value = item_value(item);
        keep(store->events.member, item_id(item), epochs_unpack(&store->epochs, item_version(item)),
            item->flags & ITEM_TOMBSTONE ? NULL : &value, store->events.record != NULL);
    } else if (object && object->copy) {
        keep(store->events.member, item_id(item), object->copy->version,
            object->copy->deleted ? NULL : &object->copy->value, false);
    }
}

/* The object is found by nobody any more. */
static void answer_all(struct store *store, struct object *object)
{
    struct store_waiter *waiter;
    while ((waiter = waiters_pop(&store->deadlines, &object->reads)) != NULL)
        store_answer(store, waiter, BRAIN_EUNAVAILABLE, NULL);
    while ((waiter = waiters_pop(&store->deadlines, &object->persists)) != NULL)
        store_answer(store, waiter,
            waiter->kind == WAITER_STORED ? BRAIN_EUNKNOWN : BRAIN_EUNAVAILABLE, NULL);
}

static void abandon(struct store *store, struct item *item, store_keep_cb keep)
{
    struct object *object = object_of(item);
    hand_over(store, item, keep);
    if (!object) {
        store_give_up(store, item);
        return;
    }
    bool under_way =
        object->stage == OBJECT_LOADING || (object->stage == OBJECT_DUMPING && !object->held);
    leave_behind(store, object);
    store_give_up(store, item);
    if (!under_way)
        object->stage = OBJECT_RESTING;
    object->pins++;
    answer_all(store, object);
    object_unpin(store, object, store->now_ms);
}

/* The first item of the next buckets that is not in use by a call in progress; NULL: none there. */
static void find_idle(void *context, struct item *item)
{
    const struct object *object = object_of(item);
    if (!object || object->pins == 0)
        *(struct item **)context = item;
}

bool store_abandon(struct store *store, uint32_t budget, uint64_t now_ms, store_keep_cb keep)
{
    store_set_now(store, now_ms);
    size_t cursor = store->abandon_cursor;
    uint32_t left = budget > 0 ? budget : 1;
    while (left > 0 && store->table.items > 0) {
        struct item *item = NULL;
        --left;
        size_t bucket = cursor;
        if (!table_scan(&store->table, &cursor, find_idle, &item)) {
            cursor = 0; /* what came meanwhile, or was moved by a merge */
        } else if (item) {
            cursor = bucket; /* there may be more in it */
            abandon(store, item, keep);
        }
    }
    store->abandon_cursor = store->table.items > 0 ? cursor : 0;
    struct store_waiter *write;
    while (left > 0 && store->table.items == 0 &&
           (write = waiters_pop(&store->deadlines, &store->records)) != NULL) {
        --left;
        store_answer(store, write, BRAIN_EUNKNOWN, NULL);
    }
    return store->table.items == 0 && !store->records.first;
}
