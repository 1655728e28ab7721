/* Requests: their queues, deadlines and answers. */
#include <assert.h>

#include "inside.h"

/* ---- queues
 * --------------------------------------------------------------------------------------- */

static struct link *deadlines_of(struct cluster *c, const struct cluster_request *request)
{
    return request->kind == CLUSTER_WEAK_READ ? &c->weak_deadlines : &c->deadlines;
}

static void watch(struct cluster *c, struct cluster_request *request)
{
    /* The same time for all of a list, so it is in order, but for those that come back to it: they
     * are older than what is there, and mostly go to its beginning. */
    struct link *list = deadlines_of(c, request), *at = list->previous;
    if (at != list && list_entry(list->next, struct cluster_request, by_deadline)->deadline_ms >=
                          request->deadline_ms)
        at = list;
    while (at != list &&
           list_entry(at, struct cluster_request, by_deadline)->deadline_ms > request->deadline_ms)
        at = at->previous;
    struct link *after = at->next;
    request->by_deadline.previous = at;
    request->by_deadline.next = after;
    at->next = after->previous = &request->by_deadline;
}

void request_unlink(struct cluster *c, struct cluster_request *request)
{
    (void)c;
    list_remove(&request->in_place);
    list_remove(&request->by_deadline);
    if (request->place && request->place->last_refused == request)
        request->place->last_refused = NULL;
    request->place = NULL;
}

void request_queue(struct cluster *c, struct cluster_place *place, struct cluster_request *request)
{
    request->place = place;
    request->state = REQUEST_QUEUED;
    list_append(&place->queue, &request->in_place);
    watch(c, request);
}

/* R9: where it stood. Refusals come in order, so mostly right behind the one before. */
void request_requeue(
    struct cluster *c, struct cluster_place *place, struct cluster_request *request)
{
    struct link *at = &place->queue;
    const struct cluster_request *last = place->last_refused;
    if (last && last->state == REQUEST_QUEUED && last->order < request->order)
        at = &place->last_refused->in_place;
    while (at->next != &place->queue &&
           list_entry(at->next, struct cluster_request, in_place)->order < request->order)
        at = at->next;
    struct link *after = at->next;
    list_remove(&request->in_place);
    list_remove(&request->by_deadline);
    request->in_place.previous = at;
    request->in_place.next = after;
    at->next = after->previous = &request->in_place;
    request->place = place;
    request->state = REQUEST_QUEUED;
    place->last_refused = request;
    watch(c, request);
}

/* ---- the beginning
 * --------------------------------------------------------------------------------- */

static void read_stored(struct cluster *c, struct cluster_request *request)
{
    request->state = REQUEST_READING;
    c->metrics.stale_reads++;
    c->objects.read_stored(c->objects.context, request);
}

/* A weak read that this node can answer by itself, or must. */
static bool answer_weakly(struct cluster *c, struct cluster_request *request, struct key key)
{
    const struct copy *copy = copy_find(c, key);
    if (idmap_find(&slot_of(c, key)->owned, &c->epochs, key, NULL)) {
        request->state = REQUEST_EXECUTING;
        c->objects.execute(c->objects.context, request);
        return true;
    }
    if (copy) {
        struct value value = value_hold(copy->what.value);
        c->metrics.stale_reads++;
        request_finish(c, request, copy->what.deleted ? STORE_ABSENT : STORE_FOUND, &value);
        value_drop(&value);
        return true;
    }
    if (serves(c))
        return false;
    read_stored(c, request);
    return true;
}

void cluster_request(struct cluster *c, struct cluster_request *request, uint64_t now_ms)
{
    assert(request->id.size > 0 && request->id.size <= ID_LIMIT);
    c->now_ms = now_ms;
    c->waiting++;
    list_init(&request->in_place);
    list_init(&request->by_deadline);
    request->state = REQUEST_NEW;
    request->order = ++c->order;
    request->number = request->answered_by = 0;
    request->place = NULL;
    request->deadline_ms = now_ms + c->options.request_timeout_ms;
    struct key key = id_key(c, request->id);
    if (request->kind == CLUSTER_WEAK_READ) {
        if (answer_weakly(c, request, key))
            return;
        if (c->options.weak_timeout_ms < c->options.request_timeout_ms)
            request->deadline_ms = now_ms + c->options.weak_timeout_ms;
    }
    struct cluster_place *place = c->places > 0 ? place_find(c, key) : NULL;
    if (!place) {
        bool owned = idmap_find(&slot_of(c, key)->owned, &c->epochs, key, NULL);
        if (!owned && request->kind != CLUSTER_OWNER)
            owned = place_spared(c, key, request->id);
        if (owned && serves(c) && request->kind != CLUSTER_OWNER) {
            request_execute(c, request);
            return;
        }
        place = place_create(c, key, request->id);
    }
    if (!place) {
        request_finish(c, request, BRAIN_ENOMEM, NULL);
        return;
    }
    request_queue(c, place, request);
    if (request->kind == CLUSTER_OWNER) {
        list_remove(&request->in_place);
        list_append(&place->asking, &request->in_place);
        request->state = REQUEST_ASKING;
    }
    place_pump(c, place);
}

void request_execute(struct cluster *c, struct cluster_request *request)
{
    request_unlink(c, request);
    request->state = REQUEST_EXECUTING;
    struct key key = id_key(c, request->id);
    if (request->foreign) {
        const struct foreign *foreign = (const struct foreign *)(void *)request;
        c->metrics.forwards_executed++;
        use_count(c, key, foreign->incarnation, request->id);
    } else if (c->uses_count > 0) {
        use_clear(c, key);
    }
    c->objects.execute(c->objects.context, request);
}

/* ---- the end
 * ----------------------------------------------------------------------------------------- */

void request_finish(
    struct cluster *c, struct cluster_request *request, int status, const struct value *value)
{
    if (request->foreign) {
        foreign_finish(c, (struct foreign *)(void *)request, status, value);
        return;
    }
    c->waiting--;
    c->metrics.unknown += status == BRAIN_EUNKNOWN;
    c->events.answer(c->events.context, request, status, value);
}

/* Given back by the store undone: done again by whoever owns the id then. */
static void do_again(struct cluster *c, struct cluster_request *request)
{
    if (request->foreign) {
        foreign_refuse(c, (struct foreign *)(void *)request);
        return;
    }
    struct key key = id_key(c, request->id);
    struct cluster_place *place = place_find(c, key);
    if (!place)
        place = place_create(c, key, request->id);
    if (!place) {
        request_finish(c, request, BRAIN_ENOMEM, NULL);
        return;
    }
    request_requeue(c, place, request);
}

/* R11: the lease ran out between execution and answer. If it is found to live on, the answer is
 * right; if it was lost, another owner may have answered since. */
static void hold(
    struct cluster *c, struct cluster_request *request, int status, const struct value *value)
{
    bool read = request->kind == CLUSTER_READ || request->kind == CLUSTER_WEAK_READ;
    if (read && value) {
        request->value = value->block ? value_hold(*value) : value_copy(value_slice(*value));
        if (!request->value.block) {
            request_finish(c, request, BRAIN_ENOMEM, NULL);
            return;
        }
    }
    c->metrics.answers_held++;
    c->fenced = true;
    request->state = REQUEST_HELD;
    request->held_status = status;
    request->held = NULL;
    *c->held_end = request;
    c->held_end = &request->held;
}

void cluster_executed(struct cluster *c, struct cluster_request *request, int status,
    const struct value *value, uint64_t now_ms)
{
    c->now_ms = now_ms;
    if (request->state == REQUEST_READING ||
        (request->kind == CLUSTER_WEAK_READ && status != BRAIN_EUNAVAILABLE)) {
        request_finish(c, request, status, value);
        return;
    }
    assert(request->state == REQUEST_EXECUTING);
    if (status == BRAIN_EUNAVAILABLE)
        do_again(c, request);
    else if (status < 0 || serves(c) || !keeps(c, CLUSTER_R11_ANSWER))
        request_finish(c, request, status, value);
    else if (c->state == CLUSTER_IN)
        hold(c, request, status, value);
    else if (request_may_repeat(request))
        do_again(c, request);
    else
        request_finish(c, request, BRAIN_EUNKNOWN, NULL);
}

static struct cluster_request *take_held(struct cluster *c)
{
    struct cluster_request *first = c->held_first;
    c->held_first = NULL;
    c->held_end = &c->held_first;
    return first;
}

static void finish_held(struct cluster *c, struct cluster_request *request, int status)
{
    struct value value = value_none();
    bool read = request->kind == CLUSTER_READ || request->kind == CLUSTER_WEAK_READ;
    if (read) {
        value = request->value;
        request->value = value_none();
    }
    request->state = REQUEST_EXECUTING;
    if (status == BRAIN_EUNAVAILABLE)
        do_again(c, request);
    else
        request_finish(c, request, status, &value);
    value_drop(&value);
}

void requests_held_flush(struct cluster *c)
{
    struct cluster_request *request = take_held(c);
    while (request) {
        struct cluster_request *next = request->held;
        finish_held(c, request, request->held_status);
        request = next;
    }
}

void requests_held_end(struct cluster *c)
{
    struct cluster_request *request = take_held(c);
    while (request) {
        struct cluster_request *next = request->held;
        bool again = c->state == CLUSTER_ABANDONING && request_may_repeat(request);
        finish_held(c, request, again ? BRAIN_EUNAVAILABLE : BRAIN_EUNKNOWN);
        request = next;
    }
}

/* Held ones wait no longer than others: nobody knows, then. */
static void expire_held(struct cluster *c)
{
    struct cluster_request *request = take_held(c);
    while (request) {
        struct cluster_request *next = request->held;
        if (request->deadline_ms > c->now_ms) {
            request->held = NULL;
            *c->held_end = request;
            c->held_end = &request->held;
        } else {
            c->metrics.timeouts++;
            finish_held(c, request, request_may_repeat(request) ? BRAIN_ETIMEOUT : BRAIN_EUNKNOWN);
        }
        request = next;
    }
}

static void expire(struct cluster *c, struct cluster_request *request)
{
    struct cluster_place *place = request->place;
    bool forwarded = request->state == REQUEST_FORWARDED;
    request_unlink(c, request);
    place->pins++;
    if (request->kind == CLUSTER_WEAK_READ) {
        read_stored(c, request);
    } else {
        c->metrics.timeouts++;
        bool unknown = forwarded && !request_may_repeat(request);
        request_finish(c, request, unknown ? BRAIN_EUNKNOWN : BRAIN_ETIMEOUT, NULL);
    }
    place->pins--;
    if (forwarded && list_is_empty(&place->forwards) && place->pins == 0) {
        hint_drop(c, place->keyed.key); /* an owner that does not answer: ask the home again */
        place_pump(c, place);
    } else {
        place_settle(c, place);
    }
}

uint64_t requests_advance(struct cluster *c, uint32_t *budget)
{
    struct link *lists[] = {&c->deadlines, &c->weak_deadlines}, *link;
    uint64_t wait = UINT64_MAX;
    for (size_t i = 0; i < 2; i++) {
        while ((link = list_first(lists[i])) != NULL) {
            struct cluster_request *request = list_entry(link, struct cluster_request, by_deadline);
            if (request->deadline_ms > c->now_ms) {
                if (request->deadline_ms - c->now_ms < wait)
                    wait = request->deadline_ms - c->now_ms;
                break;
            }
            if (*budget == 0)
                return 0;
            --*budget;
            expire(c, request);
        }
    }
    if (c->held_first) {
        expire_held(c);
        if (c->held_first && c->options.retry_ms < wait)
            wait = c->options.retry_ms;
    }
    return wait;
}
