/* Who waits for an acknowledgement.
 *
 * A write that waits for the journal needs no struct object: all of them are in one line, by seq. A
 * write that waits for the warehouse is in line with those who said {p, Id}.
 *
 * A read waits, with what it has seen, for the acknowledgement of just that version, and for the
 * reads of its id before it, so that they are answered in order. Its object is in `unwritten` as
 * long as its first read waits for the journal. A read of a restored item that is not sure has seen
 * nothing yet: it sees what the item is when it has become sure. */
#include "store_inside.h"

void store_answer(
    struct store *store, struct store_waiter *waiter, int status, const struct value *value)
{
    struct value captured = waiter->captured;
    waiter->captured = value_none();
    if (captured.block)
        store->captured_memory -= memory_of(sizeof(struct block) + captured.block->size);
    if (status == STORE_FOUND && value == &waiter->captured)
        value = &captured;
    store->events.answer(store->events.context, waiter, status, value);
    value_drop(&captured);
}

void store_answer_persists(struct store *store, struct object *object, bool all, int status)
{
    /* Those that stand there now: an answer may bring new ones. */
    for (size_t left = object->persists.count; left > 0 && object->persists.first; left--) {
        if (!all && object->persists.first->state != WAITER_THIS_DUMP)
            break;
        store_answer(store, waiters_pop(&store->deadlines, &object->persists), status, NULL);
    }
}

bool store_is_wanted(const struct object *object)
{
    return object->reads.first || object->persists.first || object->guarded;
}

void store_set_operation(struct object *object, void *operation)
{
    object->operation = operation;
}

void *store_operation(const struct object *object)
{
    return object->operation;
}

void object_want(struct store *store, struct object *object)
{
    if (object->operation && store->events.wanted)
        store->events.wanted(store->events.context, object);
}

/* ---- reads ----------------------------------------------------------------------------------- */

bool store_must_look(const struct store *store, struct item *item)
{
    if (!(item->flags & ITEM_UNSURE) || item_seq(store, item) > store->restored_seq)
        return false;
    if (!store->verify_restored)
        item->flags &= (uint8_t)~ITEM_UNSURE;
    return store->verify_restored;
}

/* Also notes when the answer has become no. */
static bool is_unwritten(const struct store *store, struct item *item)
{
    if (!(item->flags & ITEM_UNSURE) || item_seq(store, item) <= store->restored_seq)
        return false;
    if (item_seq(store, item) > store->settled_seq)
        return true;
    item->flags &= (uint8_t)~ITEM_UNSURE;
    return false;
}

bool store_read_waits(struct store *store, struct item *item)
{
    struct object *object = object_of(item);
    if (object && (item->flags & ITEM_UNKNOWN || object->reads.first || object->guarded))
        return true;
    return store_must_look(store, item) || is_unwritten(store, item);
}

static bool needs_record(const struct store *store, const struct store_waiter *read)
{
    return read->state & WAITER_NEEDS_RECORD && read->seq > store->settled_seq;
}

/* The object's first read waits for the journal. Should others be in line for a later record, it
 * waits for that one: the line is in order, and no longer than what the journal has before it. */
static void list_unwritten(struct store *store, struct object *object)
{
    struct store_waiter *first = object->reads.first;
    if (!first || !needs_record(store, first) || !list_is_empty(&object->unwritten))
        return;
    object->unwritten_seq = first->seq;
    if (!list_is_empty(&store->unwritten)) {
        uint64_t last =
            list_entry(store->unwritten.previous, struct object, unwritten)->unwritten_seq;
        if (last > object->unwritten_seq)
            object->unwritten_seq = last;
    }
    list_append(&store->unwritten, &object->unwritten);
}

static int capture(const struct item *item, struct value *captured)
{
    struct value value = item_value(item);
    *captured = value.block ? value_hold(value) : value_copy(value_slice(value));
    return captured->block ? 0 : BRAIN_ENOMEM;
}

static uint8_t needs_of(const struct store *store, struct item *item, const struct object *object)
{
    return (uint8_t)((is_unwritten(store, item) ? WAITER_NEEDS_RECORD : 0) |
                     (object->guarded ? WAITER_NEEDS_DUMP : 0));
}

int store_queue_read(
    struct store *store, struct item *item, uint64_t now_ms, struct store_waiter *waiter)
{
    uint8_t kind = WAITER_LOAD, needs = 0;
    uint64_t seq = 0;
    struct value captured = value_none();
    if (!(item->flags & ITEM_UNKNOWN)) {
        kind = store_must_look(store, item)   ? WAITER_LOOK
               : item->flags & ITEM_TOMBSTONE ? WAITER_ABSENT
                                              : WAITER_VALUE;
    }
    if (kind == WAITER_VALUE && capture(item, &captured) != 0)
        return BRAIN_ENOMEM;
    struct object *object = object_of(item);
    if (!object && (object = object_create(store, item)) == NULL) {
        value_drop(&captured);
        return BRAIN_ENOMEM;
    }
    if (kind == WAITER_LOAD || kind == WAITER_LOOK) {
        store->metrics.misses++;
    } else {
        store->metrics.hits++;
        seq = item_seq(store, item);
        needs = needs_of(store, item, object);
    }
    waiters_push(&store->deadlines, &object->reads, waiter, object, kind,
        now_ms + store->options.wait_timeout_ms);
    waiter->captured = captured;
    waiter->state = needs;
    waiter->seq = seq;
    if (captured.block)
        store->captured_memory += memory_of(sizeof(struct block) + captured.block->size);
    list_unwritten(store, object);
    object_want(store, object);
    return STORE_WAIT;
}

/* Reads that waited for it see what the item is. */
static void show(struct store *store, struct object *object)
{
    struct item *item = object->item;
    bool exists = !(item->flags & ITEM_TOMBSTONE);
    struct value seen = value_none();
    bool fits = !exists || capture(item, &seen) == 0;
    for (struct store_waiter *read = object->reads.first; read && read->kind == WAITER_LOOK;
         read = read->next) {
        read->kind = exists && fits ? WAITER_VALUE : WAITER_ABSENT;
        read->state = fits ? needs_of(store, item, object) : WAITER_NO_MEMORY;
        read->seq = item_seq(store, item);
        if (!seen.block)
            continue;
        read->captured = value_hold(seen);
        store->captured_memory += memory_of(sizeof(struct block) + seen.block->size);
    }
    value_drop(&seen);
}

/* The first read that waits for nothing, or NULL. */
static struct store_waiter *first_to_release(struct store *store, struct object *object)
{
    struct store_waiter *first = object->reads.first;
    if (first && first->kind == WAITER_LOOK) {
        if (store_must_look(store, object->item))
            return NULL;
        show(store, object);
    }
    return !first || first->kind == WAITER_LOAD || first->state & WAITER_NEEDS_DUMP ||
                   needs_record(store, first)
               ? NULL
               : first;
}

void store_release_reads(struct store *store, struct object *object)
{
    struct store_waiter *waiter;
    while ((waiter = first_to_release(store, object)) != NULL) {
        waiters_pop(&store->deadlines, &object->reads);
        bool found = waiter->kind == WAITER_VALUE;
        int status = waiter->state & WAITER_NO_MEMORY ? BRAIN_ENOMEM
                     : found                          ? STORE_FOUND
                                                      : STORE_ABSENT;
        store_answer(store, waiter, status, found ? &waiter->captured : NULL);
    }
    list_unwritten(store, object);
}

void store_forget_guard(struct object *object, uint64_t seq)
{
    for (struct store_waiter *read = object->reads.first; read; read = read->next) {
        if (read->kind != WAITER_LOAD && read->kind != WAITER_LOOK && read->seq <= seq)
            read->state &= (uint8_t)~WAITER_NEEDS_DUMP;
    }
}

/* ---- the journal ----------------------------------------------------------------------------- */

bool store_awaits_records(const struct store *store)
{
    return store->records.first != NULL || !list_is_empty(&store->unwritten) ||
           !list_is_empty(&store->unrecorded);
}

void store_written(struct store *store, uint64_t seq, int status, uint64_t now_ms)
{
    store_set_now(store, now_ms);
    if (seq > store->settled_seq)
        store->settled_seq = seq;
    if (status == 0 && seq > store->written_seq)
        store->written_seq = seq;
    struct store_waiter *write;
    while ((write = store->records.first) != NULL && write->seq <= seq) {
        waiters_pop(&store->deadlines, &store->records);
        store->metrics.refused_journal += status != 0;
        store_answer(store, write, status == 0 ? STORE_DONE : BRAIN_EJOURNAL, NULL);
    }
    struct link *link;
    while ((link = list_first(&store->unwritten)) != NULL) {
        struct object *object = list_entry(link, struct object, unwritten);
        if (object->unwritten_seq > seq)
            break;
        list_remove(link);
        object->pins++;
        store_release_reads(store, object);
        object_unpin(store, object, now_ms);
    }
    store_free_held(store, seq, status);
    store_pump(store);
}
