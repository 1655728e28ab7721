/* Messages in and out: whose they are, of which view, and who handles them. */
#include <assert.h>
#include <string.h>

#include "inside.h"

/* ---- out
 * ------------------------------------------------------------------------------------------- */

static void dispatch(
    struct cluster *c, uint16_t member, struct slice from, const struct message *message);

/* Messages about one id arrive in order, and so do reports. */
static uint64_t order_of(const struct cluster *c, const struct message *message)
{
    switch (message->kind) {
    case MESSAGE_REPORT:
    case MESSAGE_REPORT_ACK:
        return 1;
    case MESSAGE_PING:
    case MESSAGE_OFFER:
    case MESSAGE_OFFER_ACK:
        return 0;
    case MESSAGE_BACKUP:
    case MESSAGE_HELD:
    case MESSAGE_NUDGE:
        return id_key(c, message->id).low | 1;
    default:
        return message->key.low | 1;
    }
}

void send_to(struct cluster *c, struct slice name, uint64_t incarnation, struct message *message)
{
    if (c->incarnation == 0)
        return;
    message->view = c->view ? c->view->number : 0;
    message->from = c->incarnation;
    message->to = incarnation;
    buffer_clear(&c->out);
    message_write(&c->out, message);
    if (c->out.failed) { /* as if it were lost on its way */
        c->metrics.messages_dropped++;
        return;
    }
    struct cluster_member member = {name, incarnation};
    c->events.send(c->events.context, &member, order_of(c, message), buffer_slice(&c->out),
        message_has_value(message) ? &message->value : NULL);
}

void send_message(struct cluster *c, uint16_t member, struct message *message)
{
    struct member *to = &c->view->members[member];
    if (member != c->view->self) {
        to->sent_ms = c->now_ms;
        send_to(c, to->name, to->incarnation, message);
        return;
    }
    message->view = c->view->number;
    message->from = message->to = c->incarnation;
    dispatch(c, member, to->name, message);
}

/* ---- messages of newer views
 * ------------------------------------------------------------------------ */

static void stash(struct cluster *c, struct slice from, const struct value *message, uint64_t view)
{
    size_t size = sizeof(struct stashed) + from.size + message->size;
    if (c->stashed_bytes + size > c->options.stash_limit_bytes) {
        c->metrics.messages_dropped++;
        return; /* it will be repeated */
    }
    struct stashed *stashed = heap_allocate(sizeof(*stashed) + from.size);
    struct value kept = message->block ? value_hold(*message) : value_copy(value_slice(*message));
    if (!stashed || !kept.block) {
        heap_release(stashed);
        value_drop(&kept);
        c->metrics.messages_dropped++;
        return;
    }
    *stashed =
        (struct stashed){.message = kept, .view = view, .at_ms = c->now_ms, .name_size = from.size};
    memcpy(stashed->name, from.data, from.size);
    *c->stashed_end = stashed;
    c->stashed_end = &stashed->next;
    c->stashed_bytes += size;
    c->metrics.messages_stashed++;
}

static struct stashed *stash_take(struct cluster *c)
{
    struct stashed *all = c->stashed;
    c->stashed = NULL;
    c->stashed_end = &c->stashed;
    c->stashed_bytes = 0;
    return all;
}

static void stashed_free(struct stashed *stashed)
{
    value_drop(&stashed->message);
    heap_release(stashed);
}

void stash_replay(struct cluster *c)
{
    struct stashed *stashed = stash_take(c);
    while (stashed) {
        struct stashed *next = stashed->next;
        /* It was well-formed when it came. Newer ones go back into the stash. */
        (void)cluster_receive(
            c, slice_of(stashed->name, stashed->name_size), &stashed->message, NULL, c->now_ms);
        stashed_free(stashed);
        stashed = next;
    }
}

void stash_clear(struct cluster *c)
{
    struct stashed *stashed = stash_take(c);
    while (stashed) {
        struct stashed *next = stashed->next;
        stashed_free(stashed);
        stashed = next;
    }
}

void stash_prune(struct cluster *c, uint64_t newest_view)
{
    struct stashed **at = &c->stashed;
    while (*at) {
        struct stashed *stashed = *at;
        if (stashed->view <= newest_view ||
            c->now_ms - stashed->at_ms < c->options.report_timeout_ms) {
            at = &stashed->next;
            continue;
        }
        *at = stashed->next;
        c->stashed_bytes -= sizeof(*stashed) + stashed->name_size + stashed->message.size;
        c->metrics.messages_old++;
        stashed_free(stashed);
    }
    c->stashed_end = at;
}

/* ---- in
 * -----------------------------------------------------------------------------------------------
 */

static void discard(struct cluster *c, const struct message *message)
{
    copy_discard(c, message->key, message->version);
    if (view_home(c->view, key_slot(message->key)) == c->view->self)
        home_discards(c, message->key, message->version);
}

static void dispatch(
    struct cluster *c, uint16_t member, struct slice from, const struct message *message)
{
    switch (message->kind) {
    case MESSAGE_REPORT:
        report_received(c, member, message);
        break;
    case MESSAGE_REPORT_ACK:
        report_acknowledged(c, member, message);
        break;
    case MESSAGE_CLAIM:
    case MESSAGE_WHERE:
        home_asked(c, member, message);
        break;
    case MESSAGE_GRANT:
        place_granted(c, message);
        break;
    case MESSAGE_OWNED:
        place_owned(c, message);
        break;
    case MESSAGE_RELEASE:
        home_released(c, member, message);
        break;
    case MESSAGE_CONFIRM:
        owned_confirm(c, member, message);
        break;
    case MESSAGE_CONFIRMED:
        home_confirmed(c, member, message);
        break;
    case MESSAGE_NOT_OWNER:
        home_not_owner(c, member, message);
        break;
    case MESSAGE_FETCH:
        copy_fetch(c, member, message);
        break;
    case MESSAGE_FETCHED:
        place_fetched(c, member, message);
        break;
    case MESSAGE_BACKUP:
        copy_backup(c, member, message);
        break;
    case MESSAGE_BACKUP_ACK:
        backup_answered(c, member, message);
        break;
    case MESSAGE_OFFER:
        copy_offered(c, member, message);
        break;
    case MESSAGE_OFFER_ACK:
        offers_answered(c, member, message);
        break;
    case MESSAGE_DISCARD:
        discard(c, message);
        break;
    case MESSAGE_HELD:
        owned_held(c, member, message);
        break;
    case MESSAGE_KEEP:
        copy_wanted(c, message);
        break;
    case MESSAGE_NUDGE:
        nudged(c, member, message);
        break;
    case MESSAGE_LOCATED:
        place_located(c, message);
        break;
    case MESSAGE_FORWARD:
        forward_received(c, from, message);
        break;
    case MESSAGE_REFUSE:
        forward_refused(c, message);
        break;
    case MESSAGE_REPLY:
        forward_replied(c, message);
        break;
    case MESSAGE_ROOM:
        room_heard(c, member, message);
        break;
    case MESSAGE_PING: /* that it was heard is all there is to it */
        break;
    case MESSAGE_COUNT:
        assert(false);
        break;
    }
}

static bool is_backup(enum message_kind kind)
{
    return kind == MESSAGE_BACKUP || kind == MESSAGE_BACKUP_ACK || kind == MESSAGE_OFFER ||
           kind == MESSAGE_OFFER_ACK;
}

/* R3, and what the switches of the simulator make of it. */
static bool may_be_old(const struct cluster *c, enum message_kind kind)
{
    return !keeps(c, CLUSTER_R3_VIEW) || (is_backup(kind) && !keeps(c, CLUSTER_R3_BACKUP_VIEW));
}

/* The member of the view that said this; -1: none. */
static int sender_of(const struct cluster *c, struct slice from, const struct message *message)
{
    int index = c->view ? view_find(c->view, message->from) : -1;
    if (index < 0 || index == c->view->self || !slice_equal(c->view->members[index].name, from))
        return -1;
    return index;
}

static bool counts(struct cluster *c, struct slice from, const struct message *message, int sender,
    uint16_t *member)
{
    if (message->to != c->incarnation && keeps(c, CLUSTER_R1_INCARNATION))
        return false;
    if (!message_is_bound(message->kind))
        return true;
    if (message->view < c->view->number && !may_be_old(c, message->kind))
        return false;
    int index = sender;
    for (int i = 0; index < 0 && !keeps(c, CLUSTER_R1_INCARNATION) && i < c->view->count; i++) {
        if (i != c->view->self && slice_equal(c->view->members[i].name, from))
            index = i;
    }
    if (index < 0)
        return false;
    *member = (uint16_t)index;
    return true;
}

static bool keeps_value(enum message_kind kind)
{
    return kind == MESSAGE_BACKUP || kind == MESSAGE_FETCHED || kind == MESSAGE_FORWARD;
}

/* A value that will be kept: by reference to the block it came in, when that is mostly this value,
 * so that no more is kept than is used. */
static int own_value(struct message *message, const struct value *whole)
{
    struct slice bytes = value_slice(message->value);
    if (whole->block && bytes.size >= whole->block->size / 2)
        message->value.block = block_hold(whole->block);
    else
        message->value = value_copy(bytes);
    return message->value.block ? 0 : BRAIN_ENOMEM;
}

int cluster_receive(struct cluster *c, struct slice from, const struct value *bytes,
    const struct etf_marks *marks, uint64_t now_ms)
{
    struct message message;
    uint16_t member = 0;
    c->now_ms = now_ms;
    c->metrics.messages++;
    if (from.size > CLUSTER_NAME_LIMIT)
        return BRAIN_EPROTO;
    int status = message_read(&message, value_slice(*bytes), marks, c->options.term_limits);
    if (status == BRAIN_ENOMEM) {
        c->metrics.messages_dropped++;
        return 0;
    }
    if (status != 0) {
        c->metrics.messages_malformed++;
        return status;
    }
    if (c->state != CLUSTER_IN && message.kind == MESSAGE_FORWARD && message.to != 0 &&
        message.to == c->former) {
        forward_late(c, from, &message);
        return 0;
    }
    int sender = message.to == c->incarnation ? sender_of(c, from, &message) : -1;
    if (sender >= 0) /* of whatever view */
        liveness_heard(c, (uint16_t)sender, &message);
    bool bound = message_is_bound(message.kind);
    /* R3: of a newer view: catch up first. Before the join is known here others know of it. */
    bool newer = !c->view || message.view > c->view->number;
    if (is_backup(message.kind) && c->view &&
        !keeps(c, CLUSTER_R3_BACKUP_VIEW)) /* the simulator's */
        newer = false;
    bool for_another =
        c->incarnation != 0 && message.to != c->incarnation && keeps(c, CLUSTER_R1_INCARNATION);
    if (bound && newer && !for_another && c->state != CLUSTER_ABANDONING) {
        stash(c, from, bytes, message.view);
        if (c->view && message.view > c->behind_told && c->events.behind) {
            c->behind_told = message.view;
            c->events.behind(c->events.context, message.view);
        }
        return 0;
    }
    if (c->state != CLUSTER_IN || !c->view || !counts(c, from, &message, sender, &member)) {
        c->metrics.messages_old++;
        return 0;
    }
    if (message_has_value(&message) && keeps_value(message.kind) &&
        own_value(&message, bytes) != 0) {
        c->metrics.messages_dropped++;
        return 0;
    }
    if (message.kind == MESSAGE_REPLY && message_has_value(&message))
        message.value.block = block_hold(bytes->block);
    dispatch(c, member, from, &message);
    value_drop(&message.value);
    return 0;
}
