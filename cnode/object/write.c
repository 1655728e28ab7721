/* New versions: set and delete, renewal after a conflict, and what the journal brings and wants. */
#include "store_inside.h"

#include <assert.h>

/* ---- versions and their records -------------------------------------------------------------- */

/* In a member's store: what is dirty keeps its epoch, it was written under the grant or was stamped
 * again; all else asks for it. */
static bool epoch_of(
    const struct store *store, const struct item *item, struct slice id, struct version *epoch)
{
    if (item && item->flags & ITEM_DIRTY) {
        *epoch = epochs_unpack(&store->epochs, item_version(item));
        return true;
    }
    return store->events.grant(store->events.member, id, epoch);
}

/* Of this epoch. What can fail before its record is given to the journal. */
static int next_version(
    struct store *store, struct slice id, struct version epoch, struct packed_version *packed)
{
    epoch.seq = store->latest.seq + 1;
    if (epochs_hold(&store->epochs, epoch, packed) != 0)
        return BRAIN_ENOMEM;
    int status = store_reserve(store, id);
    if (status != 0)
        epochs_drop(&store->epochs, *packed);
    else
        store->latest.seq = epoch.seq;
    return status;
}

void store_raise_above(struct store *store, struct version seen)
{
    if (store->events.grant) /* the epoch is not ours to raise */
        return;
    if (version_compare(seen, store->latest) <= 0)
        return;
    if (seen.counter < UINT64_MAX)
        store->latest = (struct version){seen.view, seen.counter + 1, store->latest.seq};
    else if (seen.view < UINT64_MAX)
        store->latest = (struct version){seen.view + 1, 0, store->latest.seq};
}

static int record(
    struct store *store, struct slice id, struct packed_version version, const struct value *value)
{
    if (!store->events.record)
        return 0;
    int status = store->events.record(
        store->events.context, id, epochs_unpack(&store->epochs, version), value);
    store->metrics.refused_journal += status == BRAIN_EJOURNAL;
    return status;
}

static void announce_record(struct store *store, uint64_t seq)
{
    if (store->events.record_live)
        store->events.record_live(store->events.context, seq);
}

void store_bury_record(struct store *store, uint64_t seq)
{
    if (store->events.record_dead)
        store->events.record_dead(store->events.context, seq);
}

int store_restamp_item(struct store *store, struct item *item, struct version epoch)
{
    assert(item->flags & ITEM_DIRTY);
    struct packed_version version;
    int status = next_version(store, item_id(item), epoch, &version);
    if (status != 0)
        return status;
    struct value value = item_value(item);
    status = record(store, item_id(item), version, item->flags & ITEM_TOMBSTONE ? NULL : &value);
    if (status != 0) {
        epochs_drop(&store->epochs, version);
        return status;
    }
    uint64_t old_seq = item_seq(store, item);
    epochs_drop(&store->epochs, item_version(item));
    item_set_version(item, version);
    announce_record(store, item_seq(store, item));
    store_bury_record(store, old_seq);
    store_tell_written(store, item);
    return 0;
}

int store_renew_version(struct store *store, struct item *item)
{
    struct version epoch = store->latest;
    if (store->events.grant)
        (void)epoch_of(store, item, item_id(item), &epoch); /* it is dirty */
    return store_restamp_item(store, item, epoch);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A write under way: all that can fail is done first, and then nothing is left to fail. */
struct change {
    struct slice id;
    const struct value *value; /* NULL: a tombstone */
    uint64_t hash, now_ms;
    struct item *item; /* as it is; NULL: none */
    struct object *object;
    bool keeps_stored;
    struct packed_version version;
    struct item *fresh;   /* takes the item's place; NULL: the item is written over */
    struct value kept;    /* for an item that is written over and ITEM_EXTERNAL */
    struct object *spare; /* for an item that has none */
};

/* Is the item written over, where it is? */
static bool is_over(const struct store *store, const struct change *change)
{
    return change->item && !(change->item->flags & ITEM_UNKNOWN) &&
           item_takes(&store->pages, change->item, change->value, change->keeps_stored);
}

/* RAM for it, taken from the coldest. The item itself is not among them. What takes less than it is
 * never refused, though it may begin a page. */
static bool has_room(struct store *store, const struct change *change)
{
    if (store->options.memory_limit_bytes == 0 || !change->value)
        return true;
    const struct pages *pages = &store->pages;
    size_t size;
    uint64_t after =
        item_memory_outside_for(pages, change->id.size, change->value, change->keeps_stored, &size);
    uint64_t before = change->item ? item_memory_outside(change->item) : 0;
    bool shrinks = change->item && after + pages_slot_size(pages, size) <=
                                       before + page_of(pages, change->item)->slot_size;
    uint64_t bytes = after > before ? after - before : 0;
    if (is_over(store, change))
        size = 0;
    uint64_t growth = bytes + (size > 0 ? pages_growth(pages, size) : 0);
    if (store_memory(store) + growth <= store->evict_above)
        return true;
    store->kept = change->item;
    store->wanted_memory = 0;
    bool fits = store_make_room(store, size, bytes, store_looks_for(growth)) || shrinks;
    store->kept = NULL;
    if (!fits && growth <= store->evict_above)
        store->wanted_memory = growth; /* the next try shall find it */
    return fits;
}

static void undo(struct store *store, struct change *change, bool inserted)
{
    if (inserted)
        table_remove(&store->table, change->hash, change->fresh);
    if (change->fresh)
        item_release(&store->pages, change->fresh);
    value_drop(&change->kept);
    if (change->spare)
        object_free(store, change->spare);
    epochs_drop(&store->epochs, change->version);
}

/* Everything that can fail. `given`: the version, or NULL: the next one of this store. */
static int prepare(
    struct store *store, struct change *change, const struct version *given, bool needs_object)
{
    struct item *item = change->item;
    struct version epoch = store->latest;
    if (!given && store->events.grant && !epoch_of(store, item, change->id, &epoch))
        return BRAIN_EUNAVAILABLE;
    int status = given ? epochs_hold(&store->epochs, *given, &change->version)
                       : next_version(store, change->id, epoch, &change->version);
    if (status != 0)
        return status;
    bool inserted = false, over = is_over(store, change);
    status = BRAIN_ENOMEM;
    if (needs_object && !change->object && (change->spare = object_allocate(store)) == NULL)
        goto failed;
    struct value recorded = value_none();
    if (!over) {
        change->fresh = item_create(&store->pages, change->id, change->value, change->keeps_stored);
        if (!change->fresh)
            goto failed;
        if (!item && table_insert(&store->table, change->hash, change->fresh) != 0)
            goto failed;
        inserted = !item;
        recorded = item_value(change->fresh);
    } else if (item->value_size == ITEM_EXTERNAL) {
        change->kept = item_keep(change->value);
        if (!change->kept.block)
            goto failed;
        recorded = change->kept;
    } else if (change->value) {
        recorded = *change->value;
    }
    if (!given) {
        status = record(store, change->id, change->version, change->value ? &recorded : NULL);
        if (status != 0)
            goto failed;
    }
    return 0;
failed:
    undo(store, change, inserted);
    return status;
}

/* The new item takes the old one's place: everything but id, value and version. */
static void take_place(struct store *store, uint64_t hash, struct item *old, struct item *new)
{
    if (old->flags & ITEM_BUSY) {
        new->object = old->object;
        new->object->item = new;
    } else {
        store_leave_cold(store, old);
    }
    new->age = old->age;
    new->flags |= old->flags &(ITEM_DIRTY | ITEM_BUSY);
    table_replace(&store->table, hash, old, new);
}

/* Nothing fails any more. Returns the item as it is now.
 *
 * Which version the warehouse holds is remembered: in the struct object where there is one, else
 * beside the item. An item that is clean is that version. */
static struct item *commit(struct store *store, struct change *change)
{
    struct item *item = change->item;
    struct object *object = change->object;
    struct packed_version stored = {0, 0};
    bool stored_known = false;
    uint64_t old_seq = 0;
    bool had_record = item && item->flags & ITEM_DIRTY;
    if (item)
        store_uncount(store, item);
    if (item && !(item->flags & ITEM_UNKNOWN)) {
        old_seq = item_seq(store, item);
        if (item->flags & ITEM_STORED_KNOWN) {
            stored = *item_stored(item);
            stored_known = true;
        } else if (!(item->flags & ITEM_DIRTY) && !object) {
            stored = item_version(item);
            stored_known = true;
        }
        if (!stored_known || item->flags & ITEM_STORED_KNOWN)
            epochs_drop(&store->epochs, item_version(item));
    }
    if (change->fresh) {
        if (item) {
            take_place(store, change->hash, item, change->fresh);
            item_release(&store->pages, item);
        }
        item = change->fresh;
    } else if (change->value) {
        item_overwrite(item, item->value_size == ITEM_EXTERNAL ? &change->kept : change->value);
    }
    item_set_version(item, change->version);
    item->flags &= (uint8_t) ~(ITEM_TOMBSTONE | ITEM_STORED_KNOWN | ITEM_UNSURE);
    if (stored_known) {
        *item_stored(item) = stored;
        item->flags |= ITEM_STORED_KNOWN;
    }
    if (!change->value)
        item->flags |= ITEM_TOMBSTONE;
    if (!(item->flags & ITEM_DIRTY)) {
        item->flags |= ITEM_DIRTY;
        item->age = ages_enter(&store->ages, change->now_ms);
    } else if (object && object->stage == OBJECT_DUMPING && !object->rewritten) {
        object->rewritten = true;
        object->later_age = ages_enter(&store->ages, change->now_ms);
    }
    store_count(store, item);
    store_touch(store, item);
    announce_record(store, item_seq(store, item));
    if (had_record)
        store_bury_record(store, old_seq);
    if (object) {
        object->leave = false;
        object->guarded = false;
        /* It is older; but a read that waits for the load came before this write, and sees it. */
        if (object->stage != OBJECT_LOADING || !object->reads.first)
            copy_forget(store, object);
    } else {
        store_rest(store, item);
        if (change->spare)
            object_attach(store, change->spare, item);
    }
    return item;
}

/* `item`: of this id, or NULL. */
static struct change change_of(
    struct item *item, struct slice id, uint64_t hash, const struct value *value, uint64_t now_ms)
{
    struct change change = {.id = id, .value = value, .hash = hash, .now_ms = now_ms, .item = item};
    if (item) {
        change.object = object_of(item);
        change.keeps_stored = change.object || item->flags & ITEM_STORED_KNOWN ||
                              !(item->flags & (ITEM_DIRTY | ITEM_UNKNOWN));
    }
    return change;
}

/* The dump that the acknowledgement waits for, started at once. */
static int dump_now(
    struct store *store, struct item *item, uint64_t now_ms, struct store_waiter *waiter)
{
    struct object *object = item->object;
    object->guarded = true;
    object->soon = true;
    if (waiter)
        waiters_push(&store->deadlines, &object->persists, waiter, object, WAITER_STORED,
            now_ms + store->options.wait_timeout_ms);
    object_want(store, object);
    if (object->stage == OBJECT_LISTED)
        object_hurry(store, object);
    else
        object_settle(store, object, now_ms);
    store_pump(store);
    return STORE_WAIT;
}

/* The usual write to a busy object: a value takes the place of one of the same size, which the
 * warehouse does not have either; nothing is under way, and there is RAM. So nothing that is
 * counted changes: not what is dirty and since when, not what the warehouse has, not the epoch. The
 * idle bounds of its page stay true (rest.c). */
static bool is_repeat(const struct store *store, const struct item *item, const struct value *value)
{
    enum { SPECIAL = ITEM_TOMBSTONE | ITEM_UNKNOWN | ITEM_BUSY | ITEM_COLD };
    if (!item || !value || (item->flags & (SPECIAL | ITEM_DIRTY)) != ITEM_DIRTY ||
        item->value_size != value->size || item->value_size == ITEM_EXTERNAL ||
        !(item->flags & ITEM_HAS_STORED) != !(item->flags & ITEM_STORED_KNOWN))
        return false;
    if (store->draining ||
        (store->options.memory_limit_bytes > 0 && store_memory(store) > store->evict_above))
        return false;
    struct version next = epochs_unpack(&store->epochs, item->version), latest = store->latest;
    bool of_epoch =
        store->events.grant || (next.view == latest.view && next.counter == latest.counter);
    return of_epoch && next.seq >> 32 == (latest.seq + 1) >> 32;
}

static int repeat(struct store *store, struct item *item, const struct value *value)
{
    int status = store_reserve(store, item_id(item));
    if (status != 0)
        return status;
    struct packed_version version = item->version, old = version;
    version.seq = (uint32_t)++store->latest.seq;
    status = record(store, item_id(item), version, value);
    if (status != 0)
        return status;
    item->version = version;
    item_overwrite(item, value);
    item->flags &= (uint8_t)~ITEM_UNSURE;
    store_touch(store, item);
    announce_record(store, epochs_unpack(&store->epochs, version).seq);
    store_bury_record(store, epochs_unpack(&store->epochs, old).seq);
    store_tell_written(store, item);
    return 0;
}

/* The write is done: STORE_DONE, or what its acknowledgement waits for. Not STORE_ACK_WAREHOUSE. */
static int acknowledge(struct store *store, struct item *item, enum store_ack ack, uint64_t now_ms,
    struct store_waiter *waiter)
{
    if (ack != STORE_ACK_JOURNAL || !store->events.record)
        return STORE_DONE;
    item->flags |= ITEM_UNSURE;
    if (waiter) {
        waiters_push(&store->deadlines, &store->records, waiter, NULL, WAITER_RECORD,
            now_ms + store->options.wait_timeout_ms);
        waiter->seq = item_seq(store, item);
    }
    return STORE_WAIT;
}

/* `item`: of this id, or NULL. */
static int write(struct store *store, struct item *item, struct slice id, uint64_t hash,
    const struct value *value, enum store_ack ack, uint64_t now_ms, struct store_waiter *waiter)
{
    if (ack != STORE_ACK_WAREHOUSE && is_repeat(store, item, value)) {
        int status = repeat(store, item, value);
        return status == 0 ? acknowledge(store, item, ack, now_ms, waiter) : status;
    }
    struct change change = change_of(item, id, hash, value, now_ms);
    if (!has_room(store, &change)) {
        store->metrics.refused_overload++;
        store_pump(store);
        return BRAIN_EOVERLOAD;
    }
    int status = prepare(store, &change, NULL, ack == STORE_ACK_WAREHOUSE);
    if (status != 0)
        return status;
    bool freed = copy_is_listed(change.object);
    if (freed)
        copy_unlist(change.object);
    item = commit(store, &change);
    store_tell_written(store, item);
    if (ack == STORE_ACK_WAREHOUSE)
        return dump_now(store, item, now_ms, waiter);
    status = acknowledge(store, item, ack, now_ms, waiter);
    if (freed)
        object_settle(store, item->object, now_ms);
    if (store->draining || store_memory(store) > store->evict_above)
        store_pump(store);
    return status;
}

int store_set(struct store *store, struct slice id, struct value value, enum store_ack ack,
    uint64_t now_ms, struct store_waiter *waiter)
{
    return store_set_hashed(store, id, table_hash(&store->table, id), value, ack, now_ms, waiter);
}

int store_set_hashed(struct store *store, struct slice id, uint64_t hash, struct value value,
    enum store_ack ack, uint64_t now_ms, struct store_waiter *waiter)
{
    store_set_now(store, now_ms);
    struct item *item = table_find(&store->table, hash, id);
    return write(store, item, id, hash, &value, ack, now_ms, waiter);
}

int store_delete(struct store *store, struct slice id, enum store_ack ack, uint64_t now_ms,
    struct store_waiter *waiter)
{
    store_set_now(store, now_ms);
    uint64_t hash = table_hash(&store->table, id);
    struct item *item = table_find(&store->table, hash, id);
    return write(store, item, id, hash, NULL, ack, now_ms, waiter);
}

int store_replace(struct store *store, struct slice id, uint64_t hash, const struct value *value,
    enum store_ack ack, bool untold, uint64_t now_ms)
{
    store_set_now(store, now_ms);
    struct item *item = table_find(&store->table, hash, id);
    if (!item)
        return STORE_ABSENT;
    store->untold = untold;
    int status = write(store, item, id, hash, value, ack, now_ms, NULL);
    store->untold = false;
    return status;
}

int store_write_copy(struct store *store, struct object *object, uint64_t now_ms)
{
    struct item *item = object->item;
    const struct copy *copy = object->copy;
    struct slice id = item_id(item);
    struct change change = change_of(
        item, id, table_hash(&store->table, id), copy->deleted ? NULL : &copy->value, now_ms);
    int status = prepare(store, &change, NULL, false);
    if (status != 0)
        return status;
    bool leave = object->leave;
    item = commit(store, &change);
    object->leave = leave;
    store_tell_written(store, item);
    return 0;
}

/* ---- the journal ----------------------------------------------------------------------------- */

int store_restore(struct store *store, struct slice id, struct version version,
    const struct value *value, uint64_t now_ms)
{
    store_set_now(store, now_ms);
    uint64_t hash = table_hash(&store->table, id);
    struct change change = change_of(table_find(&store->table, hash, id), id, hash, value, now_ms);
    if (change.item && item_seq(store, change.item) >= version.seq)
        return 0;
    int status = prepare(store, &change, &version, false);
    if (status != 0)
        return status;
    store->metrics.restored += !change.item;
    commit(store, &change)->flags |= ITEM_UNSURE;
    if (store->latest.seq < version.seq)
        store->latest.seq = version.seq;
    if (store->restored_seq < version.seq)
        store->restored_seq = version.seq;
    store_raise_above(store, version);
    return 0;
}

uint64_t store_take_seq(struct store *store)
{
    return ++store->latest.seq;
}

void object_rewrite(struct store *store, struct object *object)
{
    if (object->stage != OBJECT_DUMPING || object->rewritten)
        return;
    object->rewritten = true;
    object->later_age = ages_enter(&store->ages, store->now_ms);
}

static void rewrite(void *context, struct item *item)
{
    struct store *store = context;
    store->rewrite_looked++;
    if (store->rewrite_refused || !(item->flags & ITEM_DIRTY))
        return;
    uint64_t seq = item_seq(store, item);
    if (seq < store->rewrite_first || seq > store->rewrite_last)
        return;
    struct object *object = object_of(item);
    if (seq <= store->restored_seq) {
        /* A new version would claim to be later than what the warehouse may hold: see conflict() in
         * life.c. So it is dumped, and soon. */
        if (!object)
            store_make_cold(store, item);
        return;
    }
    if (store_renew_version(store, item) != 0)
        store->rewrite_refused = true;
    else if (object)
        object_rewrite(store, object);
}

bool store_rewrite(struct store *store, uint64_t first_seq, uint64_t last_seq, uint32_t budget)
{
    if (store->rewrite_first != first_seq || store->rewrite_last != last_seq) {
        store->rewrite_first = first_seq;
        store->rewrite_last = last_seq;
        store->rewrite_cursor = 0;
    }
    store->rewrite_looked = 0;
    store->rewrite_refused = false;
    store->table.keep_buckets = true;
    bool more = true;
    while (more && !store->rewrite_refused && store->rewrite_looked < budget) {
        more = table_scan(&store->table, &store->rewrite_cursor, rewrite, store);
        store->rewrite_looked++; /* an empty bucket is looked at, too */
    }
    if (more && !store->rewrite_refused)
        return true;
    store->rewrite_first = 1;
    store->rewrite_last = 0;
    store->table.keep_buckets = store->draining;
    store_pump(store);
    return false;
}
