/* What is next for an object, and dumps: how they begin, what their results mean. */
#include "store_inside.h"

#include <assert.h>

/* A warehouse that reports conflict after conflict is not believed for ever: after so many in a row
 * the dump counts as failed and waits like any other. */
enum { CONFLICTS_MAX = 3 };

/* ---- struct object -----------------------------------------------------------------------------
 */

struct object *object_allocate(struct store *store)
{
    struct object *object = heap_allocate_zeroed(sizeof(*object));
    if (!object)
        return NULL;
    list_init(&object->link);
    list_init(&object->unwritten);
    store->object_memory += memory_of(sizeof(*object));
    return object;
}

void object_attach(struct store *store, struct object *object, struct item *item)
{
    object->item = item;
    if (item->flags & ITEM_STORED_KNOWN) {
        object->stored = epochs_unpack(&store->epochs, *item_stored(item));
        object->stored_known = true;
        epochs_drop(&store->epochs, *item_stored(item));
        item->flags &= (uint8_t)~ITEM_STORED_KNOWN;
    } else if (!(item->flags & (ITEM_DIRTY | ITEM_UNKNOWN))) {
        object->stored = epochs_unpack(&store->epochs, item->version);
        object->stored_known = true;
    }
    store_leave_cold(store, item);
    object->version = item->version;
    item->object = object;
    item->flags |= ITEM_BUSY;
}

void object_detach(struct object *object)
{
    object->item->version = object->version;
    object->item->flags &= (uint8_t)~ITEM_BUSY;
}

struct object *object_create(struct store *store, struct item *item)
{
    struct object *object = object_allocate(store);
    if (object)
        object_attach(store, object, item);
    return object;
}

/* Takes out the value that is held for the dump. */
static struct value take_held(struct store *store, struct object *object)
{
    struct value held = object->held_value;
    object->held_value = value_none();
    object->held = false;
    if (held.block)
        store->captured_memory -= memory_of(sizeof(struct block) + held.block->size);
    return held;
}

void object_free(struct store *store, struct object *object)
{
    struct value held = take_held(store, object);
    value_drop(&held);
    copy_forget(store, object);
    store->object_memory -= memory_of(sizeof(*object));
    heap_release(object);
}

/* Back to an item alone. */
static struct item *object_dissolve(struct store *store, struct object *object)
{
    struct item *item = object->item;
    assert(!object->reads.first && !object->persists.first && object->pins == 0);
    list_remove(&object->link);
    list_remove(&object->unwritten);
    object_detach(object);
    /* Without memory, or room, what the warehouse holds is forgotten: the next dump then finds out
     * by a conflict. */
    if (item->flags & ITEM_DIRTY && item->flags & ITEM_HAS_STORED && object->stored_known &&
        epochs_hold(&store->epochs, object->stored, item_stored(item)) == 0)
        item->flags |= ITEM_STORED_KNOWN;
    object_free(store, object);
    return item;
}

/* Reads wait for an acknowledgement: the object stays until they have it. They may go on coming, so
 * a dump that is overdue does not wait for their end. */
static void hold(struct store *store, struct object *object, uint64_t now_ms)
{
    struct item *item = object->item;
    if (!(item->flags & ITEM_DIRTY) || store->breaker_open ||
        !(store->draining || store_is_overdue(store, item, now_ms)))
        return;
    object->stage = OBJECT_LISTED;
    list_append(&store->retries, &object->link);
}

void object_load(struct store *store, struct object *object)
{
    list_remove(&object->link);
    object->stage = OBJECT_LOADING;
    object->comparing = object->copy != NULL;
    store->comparing += object->comparing;
    store->metrics.loading++;
    store->events.load(store->events.context, object, item_id(object->item));
}

/* A read waits for what the warehouse has, and nothing is under way that would bring it. A dump in
 * line is put off until it is known: it may not be needed any more. */
static bool look(struct store *store, struct object *object)
{
    const struct store_waiter *first = object->reads.first;
    if (!first || (first->kind != WAITER_LOAD && first->kind != WAITER_LOOK) ||
        (object->stage != OBJECT_RESTING && object->stage != OBJECT_LISTED))
        return false;
    if (object->stage == OBJECT_LISTED && object->retry_at_ms == 0)
        object->soon = true;
    object_load(store, object);
    return true;
}

void object_settle(struct store *store, struct object *object, uint64_t now_ms)
{
    struct item *item = object->item;
    if (object->pins > 0 || look(store, object) || object->stage != OBJECT_RESTING)
        return;
    list_remove(&object->link);
    if (object->copy) {
        copy_list(store, object, now_ms);
        return;
    }
    if (item->flags & ITEM_DIRTY && (object->soon || object->persists.first)) {
        object_hurry(store, object);
        return;
    }
    if (item->flags & ITEM_DIRTY && object->retry_at_ms > 0 && !store->breaker_open) {
        object->stage = OBJECT_LISTED; /* a look at the warehouse came between */
        wheel_insert(&store->backoff, &object->link, object->retry_at_ms);
        return;
    }
    if (object->reads.first) {
        hold(store, object, now_ms);
        return;
    }
    if (item->flags & ITEM_DIRTY) {
        bool tried = object->failures > 0;
        item = object_dissolve(store, object);
        if (tried && store->breaker_open)
            store_make_cold(store, item); /* its time had come, however lately used */
        else
            store_rest(store, item);
        return;
    }
    bool leave = object->leave;
    item = object_dissolve(store, object);
    if (item->flags & (ITEM_UNKNOWN | ITEM_TOMBSTONE)) {
        store_remove(store, item); /* there is nothing, and the warehouse knows */
    } else if (leave) {
        store_remove(store, item);
        store->metrics.dropped_persist++;
    } else {
        store_rest(store, item);
    }
}

void object_unpin(struct store *store, struct object *object, uint64_t now_ms)
{
    if (object->pins == 1)
        store_release_reads(store, object); /* what came while it was pinned */
    if (--object->pins > 0)
        return;
    if (object->item)
        object_settle(store, object, now_ms);
    else if (object->stage == OBJECT_RESTING)
        object_free(store, object); /* given up meanwhile */
}

void object_hurry(struct store *store, struct object *object)
{
    if (object->stage == OBJECT_LISTED && object->retry_at_ms == 0)
        return; /* keeps its place in line */
    object->stage = OBJECT_LISTED;
    object->retry_at_ms = 0;
    list_remove(&object->link);
    list_append(&store->urgent, &object->link);
}

/* ---- dumps ----------------------------------------------------------------------------------- */

static bool may_start(const struct store *store, uint64_t bytes)
{
    if (store->metrics.persisting == 0)
        return true; /* one at least, however large */
    return store->metrics.persisting < store->options.dumps_parallel &&
           bytes <= store->options.dumps_parallel_bytes &&
           store->dumping_bytes <= store->options.dumps_parallel_bytes - bytes;
}

static bool is_recorded(const struct store *store, uint64_t seq)
{
    return !store->events.record || seq <= store->written_seq || seq <= store->restored_seq;
}

/* Keeps the version that is to be dumped when the journal has it. False: no memory. */
static bool hold_dump(struct store *store, struct object *object)
{
    struct item *item = object->item;
    if (!(item->flags & ITEM_TOMBSTONE)) {
        struct value value = item_value(item);
        value = value.block ? value_hold(value) : value_copy(value_slice(value));
        if (!value.block)
            return false;
        object->held_value = value;
        store->captured_memory += memory_of(sizeof(struct block) + value.block->size);
    }
    object->held = true;
    return true;
}

static void send_dump(struct store *store, struct object *object, const struct value *value)
{
    store->metrics.persisting++;
    store->dumping_bytes += object->dumped_bytes;
    struct version stored = object->stored; /* a copy: see below */
    store->events.dump(store->events.context, object, item_id(object->item), object->dumped,
        object->stored_known ? &stored : NULL, value);
}

static void send_held(struct store *store, struct object *object)
{
    bool exists = object->held_value.block != NULL;
    list_remove(&object->link);
    struct value value = take_held(store, object);
    send_dump(store, object, exists ? &value : NULL);
    value_drop(&value);
}

/* False: no memory, it stays where it is. */
static bool start_dump(struct store *store, struct object *object)
{
    struct item *item = object->item;
    if (object->held) {
        send_held(store, object);
        return true;
    }
    if (store->events.grant && object_is_outdated(store, object)) {
        object_await_grant(store, object);
        return true;
    }
    assert(item->flags & ITEM_DIRTY && object->stage == OBJECT_LISTED && !object->rewritten);
    struct version version = epochs_unpack(&store->epochs, object->version);
    if (!is_recorded(store, version.seq) && !hold_dump(store, object))
        return false;
    list_remove(&object->link);
    object->stage = OBJECT_DUMPING;
    object->retry_at_ms = 0;
    object->soon = false;
    object->repeated = object->failures > 0 && version_compare(version, object->dumped) == 0;
    object->dumped = version;
    object->dumped_bytes = item_value_size(item);
    for (struct store_waiter *waiter = object->persists.first; waiter; waiter = waiter->next)
        waiter->state = WAITER_THIS_DUMP;
    if (object->held) {
        list_append(&store->unrecorded, &object->link);
        return true;
    }
    /* A copy: the result may come, and the object go, before the event returns. */
    struct value value = item_value(item);
    send_dump(store, object, item->flags & ITEM_TOMBSTONE ? NULL : &value);
    return true;
}

/* The next object to dump, still in its list; NULL: none, or no memory. */
static struct object *next_dump(struct store *store)
{
    if (!breaker_allows(store) || store_is_fenced(store))
        return NULL;
    struct link *link = list_first(&store->ready);
    if (!link)
        link = list_first(&store->urgent);
    if (!link && !store->yielding)
        link = list_first(&store->retries);
    if (link)
        return list_entry(link, struct object, link);
    if (store->yielding)
        return NULL;
    struct item *cold = store_first_cold(store);
    struct item *item = cold ? cold : store_dirty_victim(store);
    if (!item || !may_start(store, item_value_size(item)))
        return NULL;
    /* Holding what is to leave RAM would take more of it. */
    if (!cold && !is_recorded(store, item_seq(store, item)))
        return NULL;
    struct object *object = object_create(store, item);
    if (!object)
        return NULL; /* it stays where it is, until the next call */
    object->stage = OBJECT_LISTED;
    list_append(&store->retries, &object->link);
    return object;
}

void store_pump(struct store *store)
{
    /* A warehouse may answer within the event: then this loop goes on, and does not nest. */
    if (store->pumping)
        return;
    store->pumping = true;
    struct object *object;
    while ((object = next_dump(store)) != NULL &&
           may_start(store, object->held ? object->dumped_bytes : item_value_size(object->item)) &&
           start_dump(store, object))
        ;
    store->pumping = false;
}

static void confirm(struct store *store, struct object *object)
{
    struct item *item = object->item;
    object->stored = object->dumped;
    object->stored_known = true;
    object->failures = 0;
    object->conflicts = 0;
    breaker_succeeded(store);
    store_forget_guard(object, object->dumped.seq);
    if (object->rewritten) {
        ages_leave(&store->ages, item->age);
        item->age = object->later_age;
        object->rewritten = false;
    } else {
        object_become_clean(store, object);
    }
    store->metrics.dumps_done++;
    store_tell_stored(store, item_id(item), object->stored);
    store_answer_persists(store, object, false, STORE_DONE);
}

/* Until a dump is confirmed, the object is as old as its first write that is not dumped. */
void object_forget_dump(struct store *store, struct object *object)
{
    if (object->rewritten)
        ages_leave(&store->ages, object->later_age);
    object->rewritten = false;
}

void object_let_go(struct store *store, struct object *object)
{
    list_remove(&object->link);
    object->stage = OBJECT_RESTING;
    if (!object->held)
        return;
    struct value held = take_held(store, object);
    value_drop(&held);
    object_forget_dump(store, object);
    if (!object->repeated)
        object->dumped = (struct version){0, 0, 0}; /* was never tried */
}

/* It has not begun. Whoever waits for it waits on: it is in line again. */
static void take_back(struct object *object)
{
    object->soon = object->guarded || object->persists.first;
    if (!object->repeated)
        object->dumped = (struct version){0, 0, 0};
}

void store_let_held_go(struct store *store)
{
    struct link waiting, *link;
    list_init(&waiting);
    list_take_all(&waiting, &store->ready);
    list_take_all(&waiting, &store->unrecorded);
    while ((link = list_first(&waiting)) != NULL) {
        struct object *object = list_entry(link, struct object, link);
        object_let_go(store, object);
        take_back(object);
        object_settle(store, object, store->now_ms);
    }
}

/* The journal failed: whoever waits for the dump hears why it has not begun. It goes on waiting. */
static void tell_held(struct store *store, struct object *object, uint64_t seq)
{
    bool all = item_seq(store, object->item) <= seq;
    object->pins++;
    if (all)
        object->guarded = false;
    store_forget_guard(object, seq);
    store_answer_persists(store, object, all, BRAIN_EJOURNAL);
    store_release_reads(store, object);
    object_unpin(store, object, store->now_ms);
}

void store_free_held(struct store *store, uint64_t seq, int status)
{
    struct link waiting;
    list_init(&waiting);
    list_take_all(&waiting, &store->unrecorded);
    struct link *link;
    while ((link = list_first(&waiting)) != NULL) {
        struct object *object = list_entry(link, struct object, link);
        list_remove(link);
        bool concerned = object->dumped.seq <= seq;
        list_append(concerned && status == 0 ? &store->ready : &store->unrecorded, link);
        if (concerned && status != 0)
            tell_held(store, object, seq);
    }
}

static void fail(struct store *store, struct object *object, int status, uint64_t now_ms)
{
    object_forget_dump(store, object);
    store->metrics.dumps_failed++;
    object->conflicts = 0;
    object->guarded = false;
    store_forget_guard(object, UINT64_MAX);
    if (!breaker_failed(store)) {
        store_back_off(store, &store->backoff, object, now_ms);
        store_answer_persists(store, object, true, status);
        return;
    }
    object->soon = false;
    if (object->failures < UINT8_MAX)
        object->failures++;
    store_answer_persists(store, object, true, status);
    breaker_tell(store, status);
}

/* What the warehouse holds wins: ours leaves RAM, before anybody hears of it, so that whoever then
 * reads, reads the newer one. Reads that had begun before get what they saw. The object has no item
 * after that, and goes when it is unpinned. */
static void leave_to(struct store *store, struct object *object, int status)
{
    struct item *item = object->item;
    store_forget_guard(object, UINT64_MAX);
    store_bury_record(store, item_seq(store, item));
    object_detach(object);
    store_remove(store, item);
    object->item = NULL;
    store_answer_persists(store, object, true, status);
    for (struct store_waiter *read = object->reads.first; read; read = read->next)
        read->state = 0; /* the record was of no use */
}

/* Somebody else replaced what we had read. Theirs is newer: ours must not overwrite it, and must
 * not be lost silently either. */
static void give_up(struct store *store, struct object *object)
{
    struct item *item = object->item;
    struct value value = item_value(item);
    object_forget_dump(store, object);
    store->metrics.dumps_late++;
    store->events.set_aside(store->events.context, item_id(item),
        epochs_unpack(&store->epochs, object->version),
        item->flags & ITEM_TOMBSTONE ? NULL : &value);
    leave_to(store, object, BRAIN_ECONFLICT);
}

/* A conflict in a member's store. Only owners write, so what is newer was written by one with a
 * higher epoch: ours must be dumped under one that is higher still (R4). */
static void outrun(
    struct store *store, struct object *object, struct version stored, uint64_t now_ms)
{
    object_forget_dump(store, object);
    object->stored = stored;
    object->stored_known = true;
    object->outdated = version_compare(stored, object->dumped) > 0;
    if (object_is_outdated(store, object)) {
        store->metrics.dumps_failed++;
        object->conflicts = 0;
        object_await_grant(store, object);
    } else if (++object->conflicts > CONFLICTS_MAX) {
        fail(store, object, BRAIN_EWAREHOUSE, now_ms);
    } else {
        object_hurry(store, object);
    }
}

/* The warehouse holds something else than expected. */
static void conflict(
    struct store *store, struct object *object, struct version stored, uint64_t now_ms)
{
    int order = version_compare(stored, object->dumped);
    bool restored = object->dumped.seq <= store->restored_seq;
    breaker_succeeded(store);
    /* Our own earlier attempt, whose answer was lost, with us or with the process before us. Where
     * there was none, a process before us had raised its epoch to just where ours is. */
    if (order == 0 &&
        (object->repeated || object->stored_known || restored || store->events.grant)) {
        confirm(store, object);
        return;
    }
    if (store->events.grant) {
        outrun(store, object, stored, now_ms);
        return;
    }
    /* A newer version than one we knew. One that we never knew is from before this process: alone,
     * we own the id, so what was written to us is the later one. */
    if (order > 0 && object->stored_known) {
        give_up(store, object);
        return;
    }
    /* What the journal brought back may be older than what it had lost, and the warehouse got. */
    if (restored && !object->rewritten && store_is_lost_successor(stored, object->dumped)) {
        if (object->reads.first && object->reads.first->kind == WAITER_LOOK) {
            object_become_unknown(store, object); /* they load it */
            object->stored_known = false;
            store_answer_persists(store, object, true, STORE_DONE);
            return;
        }
        store->metrics.restored_late++;
        leave_to(store, object, STORE_DONE);
        return;
    }
    if (restored && !object->rewritten)
        object->item->flags &= (uint8_t)~ITEM_UNSURE; /* this was a look, too */
    object_forget_dump(store, object);
    store_raise_above(store, stored);
    if (++object->conflicts > CONFLICTS_MAX ||
        (order >= 0 && store_renew_version(store, object->item) != 0)) {
        fail(store, object, BRAIN_EWAREHOUSE, now_ms);
        return;
    }
    object->stored = stored;
    object->stored_known = true;
    object_hurry(store, object);
}

void store_dumped(struct store *store, struct object *object, int status,
    const struct version *stored, uint64_t now_ms)
{
    assert(object->stage == OBJECT_DUMPING);
    store_set_now(store, now_ms);
    object->stage = OBJECT_RESTING;
    object->operation = NULL;
    object->pins++;
    store->metrics.persisting--;
    store->dumping_bytes -= object->dumped_bytes;
    if (!object->item) { /* abandoned */
        object_unpin(store, object, now_ms);
        store_pump(store);
        return;
    }
    if (status == 0) {
        confirm(store, object);
    } else if (status == BRAIN_ESHUTDOWN) {
        object_forget_dump(store, object);
        take_back(object);
    } else if (status == BRAIN_ECONFLICT && stored) {
        conflict(store, object, *stored, now_ms);
    } else {
        fail(store, object, status == BRAIN_ECONFLICT ? BRAIN_EWAREHOUSE : status, now_ms);
    }
    store_release_reads(store, object);
    object_unpin(store, object, now_ms);
    store_make_room(store, 0, 0, store_looks_for(0));
    store_pump(store);
}
