/* Messages received. */
#include "inside.h"

/* By reference to the block it came in, when that is mostly this value. */
static struct value keep(struct slice bytes, const struct value *whole)
{
    if (whole->block != NULL && bytes.size >= whole->block->size / 2)
        return (struct value){block_hold(whole->block), bytes.data, bytes.size};
    return value_copy(bytes);
}

static void acknowledge(struct replica *r, const struct peer *peer, struct slice id,
    struct cluster_epoch epoch, struct version version)
{
    struct replica_message ack = {
        .kind = REPLICA_ACK, .round = r->round, .id = id, .epoch = epoch, .version = version};
    send_to_peer(r, peer, &ack);
}

static bool has_room(const struct replica *r, const struct entry *entry, size_t size)
{
    const uint64_t before = entry != NULL ? entry->value.size : sizeof(*entry);
    return r->options.limit_bytes == 0 || size <= before ||
           r->memory + size - before <= r->options.limit_bytes;
}

/* The word of `peer` is the newest. */
static void take(struct replica *r, struct peer *peer, struct entry *entry,
    const struct replica_message *message, const struct value *whole)
{
    enum replica_state state = message->state;
    struct value value = value_none();
    if (state == REPLICA_VALUE && !r->overflowed) {
        value = keep(value_slice(message->value), whole);
        if (value.block == NULL)
            state = REPLICA_NONE; /* no memory: to be read the strong way */
    } else if (state == REPLICA_VALUE) {
        state = REPLICA_NONE;
    }
    const bool ours = entry->teller == NULL;
    const bool was_told = ours && entry->telling != NULL;
    if (ours && message->state == REPLICA_NONE) {
        entry_give_up(r, entry, message->epoch, message->version);
    } else {
        telling_free(r, entry);
        entry_take_over(r, entry, peer);
        entry_set(r, entry, message->epoch, message->version, state, value);
    }
    if (was_told && r->events.superseded)
        r->events.superseded(r->events.context, message->id);
}

static void hear(struct replica *r, struct peer *peer, const struct replica_message *message,
    const struct value *whole)
{
    r->metrics.heard++;
    struct entry *entry = entry_find(r, message->id);
    const struct cluster_epoch epoch = message->epoch;
    if (!r->overflowed && !has_room(r, entry, entry_room(message->id.size, message->value.size))) {
        overflow(r);
        entry = entry_find(r, message->id);
    }
    if (entry == NULL && r->overflowed) { /* nothing is kept, so nothing can be too old */
        acknowledge(r, peer, message->id, epoch, message->version);
        return;
    }
    if (entry == NULL && (entry = entry_create(r, message->id, peer)) == NULL) {
        r->metrics.messages_dropped++; /* not acknowledged: it is offered again */
        return;
    }
    const int order = keeps(r, RULE_REPLICA_WORD)
                          ? word_compare(epoch, message->version, entry->epoch, entry->version)
                          : version_compare(message->version, entry->version);
    if (order > 0 || !keeps(r, RULE_REPLICA_NEWEST) ||
        (order == 0 && entry->state == REPLICA_NONE && message->state != REPLICA_NONE))
        take(r, peer, entry, message, whole);
    acknowledge(r, peer, message->id, entry->epoch, entry->version);
}

static void hear_offer(
    struct replica *r, const struct peer *peer, const struct replica_message *message)
{
    static const struct cluster_epoch no_epoch;
    static const struct version nothing;
    const struct entry *entry = entry_find(r, message->id);
    if (entry != NULL)
        acknowledge(r, peer, message->id, entry->epoch, entry->version);
    else if (r->overflowed)
        acknowledge(r, peer, message->id, message->epoch, message->version);
    else
        acknowledge(r, peer, message->id, no_epoch, nothing);
}

/* Of a round that is over: whoever sent it will hear of the new one. */
static bool is_current(
    const struct replica *r, const struct peer *peer, const struct replica_message *message)
{
    switch (message->kind) {
    case REPLICA_SYNC:
        return message->round > 0;
    case REPLICA_ACK:
        return peer_is_told(peer) && message->round == peer->round;
    default:
        return message->round == r->round;
    }
}

static void dispatch(struct replica *r, struct peer *peer, const struct replica_message *message,
    const struct value *whole)
{
    struct entry *entry;
    switch (message->kind) {
    case REPLICA_SYNC:
        peer_synced(r, peer, message);
        break;
    case REPLICA_END:
        peer_ended(r, peer);
        break;
    case REPLICA_TELL:
        hear(r, peer, message, whole);
        break;
    case REPLICA_OFFER:
        hear_offer(r, peer, message);
        break;
    case REPLICA_ACK:
        entry = entry_find(r, message->id);
        if (entry != NULL)
            telling_acknowledged(r, peer, entry, message->epoch, message->version);
        break;
    case REPLICA_KINDS:
        break;
    }
}

int replica_receive(struct replica *r, struct slice from, const struct value *bytes,
    const struct etf_marks *marks, uint64_t now_ms)
{
    struct replica_message message;
    r->now_ms = now_ms;
    const int status =
        replica_message_read(&message, value_slice(*bytes), marks, r->options.term_limits);
    if (status == BRAIN_ENOMEM) {
        r->metrics.messages_dropped++;
        return 0;
    }
    if (status != 0) {
        r->metrics.messages_malformed++;
        return status;
    }
    struct peer *peer = r->in && message.to == r->incarnation ? peer_find(r, message.from) : NULL;
    if (peer == NULL || !slice_equal(from, slice_of(peer->name, peer->name_size)) ||
        !is_current(r, peer, &message)) {
        r->metrics.messages_dropped++;
        return 0;
    }
    dispatch(r, peer, &message, bytes);
    return 0;
}
