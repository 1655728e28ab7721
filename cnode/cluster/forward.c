/* R9: requests at their owner, and requests of others at this one.
 *
 * A forward carries the epoch under which the sender believes the receiver to be the owner. Under
 * another it is refused without being executed, and goes back in line where it stood. As long as
 * requests of an id are at an owner, later ones go nowhere else (claims.c): nothing overtakes. */
#include <assert.h>
#include <string.h>

#include "inside.h"

/* ---- at the entry node
 * ---------------------------------------------------------------------------- */

static void forward(struct cluster *c, struct cluster_place *place, struct cluster_request *request,
    const struct idmap_entry *hint)
{
    struct message message = {.kind = MESSAGE_FORWARD,
        .key = place->keyed.key,
        .id = request->id,
        .epoch = hint->epoch,
        .number = ++c->number,
        .operation = request->kind == CLUSTER_WEAK_READ ? CLUSTER_READ : request->kind,
        .ack = request->ack};
    if (request->kind == CLUSTER_WRITE)
        message.value = request->value;
    request->number = message.number;
    request->state = REQUEST_FORWARDED;
    list_remove(&request->in_place);
    list_append(&place->forwards, &request->in_place);
    place->at = c->view->members[hint->owner].incarnation;
    place->at_epoch = hint->epoch;
    c->metrics.forwards_sent++;
    send_message(c, hint->owner, &message);
}

void forward_all(struct cluster *c, struct cluster_place *place, const struct idmap_entry *hint)
{
    struct link *link;
    place->last_refused = NULL;
    while ((link = list_first(&place->queue)) != NULL) {
        struct cluster_request *request = list_entry(link, struct cluster_request, in_place);
        if (request->foreign) /* this node was the owner, and is no more */
            foreign_refuse(c, (struct foreign *)(void *)request);
        else
            forward(c, place, request, hint);
    }
}

static struct cluster_request *find(const struct cluster_place *place, uint64_t number)
{
    for (struct link *link = place->forwards.next; link != &place->forwards; link = link->next) {
        struct cluster_request *request = list_entry(link, struct cluster_request, in_place);
        if (request->number == number)
            return request;
    }
    return NULL;
}

void forward_refused(struct cluster *c, const struct message *message)
{
    struct cluster_place *place = place_find(c, message->key);
    struct cluster_request *request = place ? find(place, message->number) : NULL;
    struct idmap_entry hint;
    if (!request)
        return;
    request_requeue(c, place, request);
    /* R5: who refused goes with the next claim. */
    place->refused_by = message->from;
    place->refused = message->epoch;
    if (idmap_find(&slot_of(c, message->key)->hints, &c->epochs, message->key, &hint) &&
        epoch_equal(hint.epoch, message->epoch))
        hint_drop(c, message->key);
    place_pump(c, place);
}

/* The first answer counts; a request that is over is not found any more. */
void forward_replied(struct cluster *c, const struct message *message)
{
    struct cluster_place *place = place_find(c, message->key);
    struct cluster_request *request = place ? find(place, message->number) : NULL;
    if (!request)
        return;
    place->pins++;
    request_unlink(c, request);
    request->answered_by = message->from;
    request_finish(c, request, message->status, &message->value);
    place->pins--;
    if (list_is_empty(&place->forwards))
        place_pump(c, place);
}

static void lose(struct cluster *c, struct cluster_place *place)
{
    struct link *link;
    place->pins++;
    while ((link = list_first(&place->forwards)) != NULL) {
        struct cluster_request *request = list_entry(link, struct cluster_request, in_place);
        if (request_may_repeat(request) || !keeps(c, CLUSTER_R9_RETRY)) {
            request_requeue(c, place, request);
        } else {
            request_unlink(c, request);
            request_finish(c, request, BRAIN_EUNKNOWN, NULL);
        }
    }
    place->pins--;
    hint_drop(c, place->keyed.key);
    list_remove(&place->timer);
    list_append(&c->wake, &place->timer); /* pumped, or freed, in the next turn */
}

void forwards_lost(struct cluster *c, const struct view *view, struct slice name)
{
    /* First who they are: an answer may bring new requests, which change the tables. */
    struct link lost, *link;
    list_init(&lost);
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++) {
        for (struct keyed *node = keyed_any(&c->slots[s].places); node;
             node = keyed_next(&c->slots[s].places, node)) {
            struct cluster_place *place = (struct cluster_place *)(void *)node;
            if (list_is_empty(&place->forwards))
                continue;
            int member = view ? view_find(view, place->at) : -1;
            if (member >= 0 && !slice_equal(view->members[member].name, name))
                continue;
            list_remove(&place->timer);
            list_append(&lost, &place->timer);
            place->pins++;
        }
    }
    while ((link = list_first(&lost)) != NULL) {
        struct cluster_place *place = list_entry(link, struct cluster_place, timer);
        place->pins--;
        lose(c, place);
    }
}

void cluster_peer_down(struct cluster *c, struct slice name, uint64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->view && c->state == CLUSTER_IN)
        forwards_lost(c, c->view, name);
}

/* ---- at the owner
 * ---------------------------------------------------------------------------------- */

static void refuse(struct cluster *c, struct slice name, uint64_t incarnation, struct key key,
    uint64_t number, struct cluster_epoch epoch)
{
    struct message message = {.kind = MESSAGE_REFUSE, .key = key, .number = number, .epoch = epoch};
    c->metrics.forwards_refused++;
    send_to(c, name, incarnation, &message);
}

/* To a member that is none any more: it has given up all it owned, so this was not done and will
 * not be. Said as long as it is asked: else the sender would have to wonder, when it hears of the
 * departure, what became of its write. */
void forward_late(struct cluster *c, struct slice from, const struct message *forward)
{
    struct message message = {.kind = MESSAGE_REFUSE,
        .from = forward->to,
        .to = forward->from,
        .key = id_key(c, forward->id),
        .number = forward->number,
        .epoch = forward->epoch};
    struct cluster_member to = {from, forward->from};
    c->metrics.forwards_refused++;
    buffer_clear(&c->out);
    message_write(&c->out, &message);
    if (!c->out.failed)
        c->events.send(c->events.context, &to, message.key.low | 1, buffer_slice(&c->out), NULL);
}

static void foreign_free(struct foreign *foreign)
{
    list_remove(&foreign->all);
    value_drop(&foreign->request.value);
    heap_release(foreign);
}

void foreign_refuse(struct cluster *c, struct foreign *foreign)
{
    if (foreign->request.place)
        request_unlink(c, &foreign->request);
    refuse(c, slice_of(foreign->name, foreign->name_size), foreign->incarnation, foreign->key,
        foreign->number, foreign->epoch);
    foreign_free(foreign);
}

void foreign_refuse_queue(struct cluster *c, struct cluster_place *place)
{
    foreign_refuse_others(c, place, (struct cluster_epoch){0, 0});
}

void foreign_refuse_others(struct cluster *c, struct cluster_place *place, struct cluster_epoch but)
{
    struct link *link = place->queue.next;
    while (link != &place->queue) {
        struct cluster_request *request = list_entry(link, struct cluster_request, in_place);
        link = link->next;
        struct foreign *foreign = (struct foreign *)(void *)request;
        if (request->foreign && !epoch_equal(foreign->epoch, but))
            foreign_refuse(c, foreign);
    }
}

void foreign_finish(
    struct cluster *c, struct foreign *foreign, int status, const struct value *value)
{
    struct message message = {
        .kind = MESSAGE_REPLY, .key = foreign->key, .number = foreign->number, .status = status};
    if (status == STORE_FOUND)
        message.value = *value;
    send_to(c, slice_of(foreign->name, foreign->name_size), foreign->incarnation, &message);
    if (c->uses_count > 0)
        use_answered(c, foreign->key, foreign->incarnation, foreign->request.id);
    foreign_free(foreign);
}

static struct foreign *foreign_create(
    struct cluster *c, struct slice from, const struct message *message)
{
    struct foreign *foreign = heap_allocate_zeroed(sizeof(*foreign) + message->id.size);
    if (!foreign)
        return NULL;
    memcpy(foreign->id, message->id.data, message->id.size);
    memcpy(foreign->name, from.data, from.size);
    foreign->name_size = (uint16_t)from.size;
    foreign->number = message->number;
    foreign->incarnation = message->from;
    foreign->epoch = message->epoch;
    foreign->key = id_key(c, message->id);
    list_append(&c->foreigners, &foreign->all);
    struct cluster_request *request = &foreign->request;
    request->foreign = true;
    request->kind = message->operation;
    request->ack = message->ack;
    request->id = slice_of(foreign->id, message->id.size);
    request->order = ++c->order;
    request->deadline_ms = c->now_ms + c->options.request_timeout_ms;
    list_init(&request->in_place);
    list_init(&request->by_deadline);
    if (request->kind == CLUSTER_WRITE)
        request->value = value_hold(message->value);
    return foreign;
}

/* The sender has heard of a grant that is still on its way to this node. To refuse would be right,
 * and where an object moves with each use nobody would ever be served: so it waits for the answer
 * to the claim. */
static bool is_early(const struct cluster_place *place, const struct message *message)
{
    return place && place->stage == PLACE_CLAIMING && !place->raising &&
           cluster_epoch_compare(message->epoch, place->denied) > 0;
}

void forward_received(struct cluster *c, struct slice from, const struct message *message)
{
    struct key key = id_key(c, message->id);
    struct cluster_epoch epoch;
    struct foreign *foreign = NULL;
    struct cluster_place *place = c->places > 0 ? place_find(c, key) : NULL;
    bool owner = owned_find(c, key, &epoch) &&
                 (epoch_equal(epoch, message->epoch) || !keeps(c, CLUSTER_R9_EPOCH));
    if (owner || is_early(place, message))
        foreign = foreign_create(c, from, message);
    if (!foreign) { /* without memory: not done either */
        place_deny(c, key, message->epoch);
        refuse(c, from, message->from, key, message->number, message->epoch);
        return;
    }
    /* Not adopted yet, or without a lease for the moment: it waits here. */
    if (!place && serves(c)) {
        request_execute(c, &foreign->request);
        return;
    }
    if (!place)
        place = place_create(c, key, foreign->request.id);
    if (!place) {
        foreign_refuse(c, foreign);
        return;
    }
    request_queue(c, place, &foreign->request);
    place_pump(c, place);
}
