/* Who waits for an acknowledgement.
 *
 * A write that waits for the journal needs no struct object: all of them are in one line, by seq. A
 * write that waits for the warehouse is in line with those who said {p, Id}.
 *
 * A read waits, with what it has seen, for the acknowledgement of just that version, and for the
 * reads of its id before it, so that they are answered in order. Its object is in `unwritten` as
 * long as its first read waits for the journal. */
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

/* ---- reads ----------------------------------------------------------------------------------- */

/* Also notes when the answer has become no. */
static bool is_unwritten(const struct store *store, struct item *item)
{
    if (!(item->flags & ITEM_UNWRITTEN))
        return false;
    if (item_seq(store, item) > store->settled_seq)
        return true;
    item->flags &= (uint8_t)~ITEM_UNWRITTEN;
    return false;
}

bool store_read_waits(struct store *store, struct item *item)
{
    struct object *object = object_of(item);
    if (object && (item->flags & ITEM_UNKNOWN || object->reads.first || object->guarded))
        return true;
    return is_unwritten(store, item);
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

int store_queue_read(
    struct store *store, struct item *item, uint64_t now_ms, struct store_waiter *waiter)
{
    uint8_t kind = WAITER_LOAD, needs = 0;
    uint64_t seq = 0;
    struct value captured = value_none();
    if (item->flags & ITEM_TOMBSTONE) {
        kind = WAITER_ABSENT;
    } else if (!(item->flags & ITEM_UNKNOWN)) {
        kind = WAITER_VALUE;
        captured = item_value(item);
        captured = captured.block ? value_hold(captured) : value_copy(value_slice(captured));
        if (!captured.block)
            return BRAIN_ENOMEM;
    }
    struct object *object = object_of(item);
    if (!object && (object = object_create(store, item)) == NULL) {
        value_drop(&captured);
        return BRAIN_ENOMEM;
    }
    if (kind == WAITER_LOAD) {
        store->metrics.misses++;
    } else {
        store->metrics.hits++;
        seq = item_seq(store, item);
        needs = (uint8_t)((is_unwritten(store, item) ? WAITER_NEEDS_RECORD : 0) |
                          (object->guarded ? WAITER_NEEDS_DUMP : 0));
    }
    waiters_push(&store->deadlines, &object->reads, waiter, object, kind,
        now_ms + store->options.wait_timeout_ms);
    waiter->captured = captured;
    waiter->state = needs;
    waiter->seq = seq;
    if (captured.block)
        store->captured_memory += memory_of(sizeof(struct block) + captured.block->size);
    list_unwritten(store, object);
    return STORE_WAIT;
}

void store_release_reads(struct store *store, struct object *object)
{
    struct store_waiter *waiter;
    while ((waiter = object->reads.first) != NULL && waiter->kind != WAITER_LOAD &&
           !(waiter->state & WAITER_NEEDS_DUMP) && !needs_record(store, waiter)) {
        waiters_pop(&store->deadlines, &object->reads);
        bool found = waiter->kind == WAITER_VALUE;
        store_answer(
            store, waiter, found ? STORE_FOUND : STORE_ABSENT, found ? &waiter->captured : NULL);
    }
    list_unwritten(store, object);
}

void store_forget_guard(struct object *object, uint64_t seq)
{
    for (struct store_waiter *read = object->reads.first; read; read = read->next) {
        if (read->kind != WAITER_LOAD && read->seq <= seq)
            read->state &= (uint8_t)~WAITER_NEEDS_DUMP;
    }
}

/* ---- the journal ----------------------------------------------------------------------------- */

void store_written(struct store *store, uint64_t seq, int status, uint64_t now_ms)
{
    store->now_ms = now_ms;
    if (seq > store->settled_seq)
        store->settled_seq = seq;
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
}
