/* The life of one connection: handshake, then frames; time; sending. What the messages mean is
 * citizen.c's. */
#include "brain/channel.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "channel_internal.h"
#include "citizen.h"

enum {
    /* A tick to an ei peer restarts its receive timeout, so it must never hear more of them. */
    SIMPLE_TICK_INTERVAL_MS = 15000,
    /* A tick is answered unless something left just now. Answering helps Erlang nodes with a short
     * net_ticktime (they tick every quarter of it); the pause keeps two nodes that both answer from
     * ticking each other for ever. */
    TICK_ANSWER_PAUSE_MS = 500,
    ERROR_NAME_LIMIT = 64,
    ERROR_HEX_LIMIT = 32,
    /* Longer values are the outbox's to hold by reference. */
    CHANNEL_COPY_BYTES = 1024,
};

void channel_metrics_register(
    struct metrics_registry *registry, const struct channel_metrics *source)
{
    const char *group = "dist";
    CHANNEL_METRICS(METRICS_ROW)
}

/* ---- errors -----------------------------------------------------------------------------------
 */

/* Names come from the peer: shown cut, and without anything that is not plain text in a log. */
static void printable_name(const struct channel *channel, char out[ERROR_NAME_LIMIT + 4])
{
    struct slice name = channel_peer(channel);
    if (name.size == 0 && channel->handshake != NULL)
        name = slice_of(channel->handshake->peer_name, channel->handshake->peer_name_size);
    if (name.size == 0 && channel->handshake != NULL)
        name = channel->handshake->options.peer;
    if (name.size == 0)
        name = slice_of_string("unnamed peer");
    size_t size = 0;
    for (; size < name.size && size < ERROR_NAME_LIMIT; size++) {
        uint8_t byte = name.data[size];
        out[size] = byte >= 0x20 && byte < 0x7f ? (char)byte : '?';
    }
    memcpy(out + size, size < name.size ? "..." : "\0\0\0", 4);
}

int channel_fail(struct channel *channel, int error, uint64_t *counter, const char *sentence,
    struct slice offending)
{
    assert(error < 0);
    channel_settle(channel); /* while it can still be answered */
    if (channel->error != 0)
        return channel->error;
    char name[ERROR_NAME_LIMIT + 4];
    char hex[2 * ERROR_HEX_LIMIT + 4];
    printable_name(channel, name);
    if (offending.size != 0)
        snprintf(channel->error_text, sizeof(channel->error_text), "%s: %s (first bytes %s)", name,
            sentence, hex_of(offending, ERROR_HEX_LIMIT, hex));
    else
        snprintf(channel->error_text, sizeof(channel->error_text), "%s: %s", name, sentence);
    (*counter)++;
    return channel->error = error;
}

static int fail_memory(struct channel *channel)
{
    return channel_fail(channel, BRAIN_ENOMEM, &channel->node->metrics.memory_errors,
        error_sentence(BRAIN_ENOMEM), slice_of(NULL, 0));
}

static int fail_handshake(struct channel *channel, int error)
{
    struct channel_metrics *metrics = &channel->node->metrics;
    uint64_t *counter = error == BRAIN_EAUTH    ? &metrics->refused_cookie
                        : error == BRAIN_EFLAGS ? &metrics->refused_flags
                        : error == BRAIN_ENOMEM ? &metrics->memory_errors
                                                : &metrics->refused_handshake;
    const char *sentence = handshake_error(channel->handshake);
    if (sentence == NULL || error == BRAIN_ENOMEM)
        sentence = error_sentence(error);
    return channel_fail(channel, error, counter, sentence, slice_of(NULL, 0));
}

static int fail_frames(struct channel *channel, int error)
{
    struct channel_metrics *metrics = &channel->node->metrics;
    uint64_t *counter = error == BRAIN_ETOOBIG  ? &metrics->limit_errors
                        : error == BRAIN_ENOMEM ? &metrics->memory_errors
                                                : &metrics->protocol_errors;
    struct slice offending = slice_of(NULL, 0);
    const char *sentence = frame_reader_error(channel->reader, &offending);
    if (sentence == NULL)
        sentence = error_sentence(error);
    return channel_fail(channel, error, counter, sentence, offending);
}

const char *channel_error(struct channel *channel)
{
    return channel->error_text;
}

/* ---- life -------------------------------------------------------------------------------------
 */

static int start_handshake(
    struct channel *channel, enum handshake_role role, struct slice peer, uint32_t challenge)
{
    struct channel_node *node = channel->node;
    /* The dialled name must outlive the handshake, so it is ours from now on. */
    if (peer.size != 0) {
        if ((channel->peer = heap_allocate(peer.size)) == NULL)
            return BRAIN_ENOMEM;
        memcpy(channel->peer, peer.data, peer.size);
    }
    struct handshake_options options = {
        .role = role,
        .node = node->name,
        .cookie = node->cookie,
        .flags = node->flags,
        .creation = node->creation,
        .challenge = challenge,
        .dynamic_name = node->next_dynamic_name++,
        .peer = slice_of(channel->peer, peer.size),
        .length_bytes = 2,
        .is_dialling = channel->events.is_dialling,
        .context = channel->events.context,
    };
    if ((channel->handshake = heap_allocate_zeroed(sizeof(*channel->handshake))) == NULL)
        return BRAIN_ENOMEM;
    handshake_init(channel->handshake, &options, &channel->greeting);
    etf_write_pid(&channel->self, node->name, CHANNEL_PID_ID, CHANNEL_PID_SERIAL, node->creation);
    return channel->greeting.failed || channel->self.failed ? BRAIN_ENOMEM : 0;
}

struct channel *channel_create(struct channel_node *node, enum handshake_role role,
    struct slice peer, uint32_t challenge, uint64_t now_ms, struct channel_events events)
{
    struct channel *channel = heap_allocate_zeroed(sizeof(*channel));
    if (channel == NULL)
        return NULL;
    channel->node = node;
    channel->events = events;
    channel->deadline_ms = now_ms + node->handshake_timeout_ms;
    channel->now_ms = channel->received_ms = channel->sent_ms = now_ms;
    buffer_init(&channel->greeting);
    buffer_init(&channel->self);
    buffer_init(&channel->head_to_pid);
    buffer_init(&channel->head_to_alias);
    monitor_table_init(&channel->monitors, node->monitors,
        XXH3_64bits_withSeed(node->cookie.data, node->cookie.size, challenge));
    if (start_handshake(channel, role, peer, challenge) != 0) {
        channel_destroy(channel);
        return NULL;
    }
    return channel;
}

void channel_destroy(struct channel *channel)
{
    if (channel == NULL)
        return;
    citizen_release(channel);
    if (channel->reader != NULL)
        frame_reader_destroy(channel->reader);
    if (channel->outbox != NULL)
        outbox_destroy(channel->outbox);
    heap_release(channel->handshake);
    heap_release(channel->peer);
    buffer_release(&channel->greeting);
    buffer_release(&channel->self);
    buffer_release(&channel->head_to_pid);
    buffer_release(&channel->head_to_alias);
    heap_release(channel);
}

bool channel_is_up(const struct channel *channel)
{
    return channel->outbox != NULL && channel->error == 0;
}

bool channel_gave_way(const struct channel *channel)
{
    return channel->handshake != NULL && channel->handshake->gave_way;
}

struct slice channel_peer(const struct channel *channel)
{
    return slice_of(channel->peer, channel->peer_size);
}

bool channel_peer_is_simple(const struct channel *channel)
{
    return !channel_has(channel, DFLAG_DIST_MONITOR_NAME) && !channel_has(channel, DFLAG_FRAGMENTS);
}

/* ---- bytes in ---------------------------------------------------------------------------------
 */

static void on_tick(void *context)
{
    struct channel *channel = context;
    /* An ei peer's tick is its answer to ours: answered again, it would never end. */
    if (channel->error != 0 || channel_peer_is_simple(channel))
        return;
    if (channel->now_ms - channel->sent_ms < TICK_ANSWER_PAUSE_MS)
        return;
    if (outbox_tick(channel->outbox) == BRAIN_ENOMEM)
        fail_memory(channel);
}

static int on_frame_message(void *context, const struct frame_message *message)
{
    struct channel *channel = context;
    return channel->error != 0 ? channel->error : citizen_message(channel, message);
}

static int come_up(struct channel *channel)
{
    struct handshake *handshake = channel->handshake;
    struct channel_node *node = channel->node;
    uint8_t *peer = heap_allocate(handshake->peer_name_size);
    if (peer == NULL)
        return fail_memory(channel);
    memcpy(peer, handshake->peer_name, handshake->peer_name_size);
    heap_release(channel->peer);
    channel->peer = peer;
    channel->peer_size = handshake->peer_name_size;
    channel->flags = handshake->flags;

    const struct slice self = buffer_slice(&channel->self), open_end = slice_of(NULL, 0);
    control_write_alias_send(&channel->head_to_alias, self, open_end);
    if (channel_has(channel, DFLAG_SEND_SENDER))
        control_write_send_sender(&channel->head_to_pid, self, open_end);
    else
        control_write_send(&channel->head_to_pid, open_end);
    if (channel->head_to_alias.failed || channel->head_to_pid.failed)
        return fail_memory(channel);

    bool header = channel_has(channel, DFLAG_FRAGMENTS);
    channel->reader = frame_reader_create(header, &node->receive,
        (struct frame_events){
            .context = channel, .on_tick = on_tick, .on_message = on_frame_message});
    channel->outbox = outbox_create(header, &node->send);
    if (channel->reader == NULL || channel->outbox == NULL)
        return fail_memory(channel);
    heap_release(handshake);
    channel->handshake = NULL;
    node->metrics.handshakes_done++;
    if (channel->events.on_up != NULL)
        channel->events.on_up(channel->events.context, channel);
    return channel->error;
}

/* One absolute deadline, whatever trickles in. */
static int check_deadline(struct channel *channel)
{
    if (channel->now_ms < channel->deadline_ms)
        return 0;
    return channel_fail(channel, BRAIN_ETIMEOUT, &channel->node->metrics.handshake_timeouts,
        "the handshake was not finished in time", slice_of(NULL, 0));
}

static void set_now(struct channel *channel, uint64_t now_ms)
{
    if (now_ms > channel->now_ms)
        channel->now_ms = now_ms;
}

bool channel_area(struct channel *channel, uint8_t **area, size_t *size)
{
    return channel_is_up(channel) && frame_reader_area(channel->reader, area, size);
}

int channel_feed(struct channel *channel, struct slice bytes, uint64_t now_ms)
{
    if (channel->error != 0)
        return channel->error;
    set_now(channel, now_ms);
    if (bytes.size != 0)
        channel->received_ms = channel->now_ms;
    if (channel->handshake != NULL) {
        size_t consumed = 0;
        int status = check_deadline(channel);
        if (status != 0)
            return status;
        status = handshake_feed(channel->handshake, bytes, &consumed, &channel->greeting);
        if (status >= 0 && channel->greeting.failed)
            status = BRAIN_ENOMEM;
        if (status < 0)
            return fail_handshake(channel, status);
        if (status == HANDSHAKE_MORE)
            return 0;
        if ((status = come_up(channel)) != 0 || consumed == bytes.size)
            return status;
        bytes = slice_of(bytes.data + consumed, bytes.size - consumed);
    }
    int status = frame_reader_feed(channel->reader, bytes);
    channel_settle(channel);
    if (channel->error != 0)
        return channel->error;
    return status < 0 ? fail_frames(channel, status) : status;
}

uint64_t channel_take_count(struct channel *channel, uint64_t *senders)
{
    const uint64_t messages = channel->messages;
    *senders = channel->senders;
    channel->messages = channel->senders = 0;
    return messages;
}

int channel_clock(struct channel *channel, uint64_t now_ms)
{
    if (channel->error != 0)
        return channel->error;
    set_now(channel, now_ms);
    if (channel->handshake != NULL)
        return check_deadline(channel);

    const struct channel_node *node = channel->node;
    bool simple = channel_peer_is_simple(channel);
    if (!simple && channel->now_ms - channel->received_ms >= node->tick_timeout_ms)
        return channel_fail(channel, BRAIN_ETIMEOUT, &channel->node->metrics.silent_peers,
            "nothing was heard of the peer for longer than tick_timeout", slice_of(NULL, 0));
    uint64_t interval = node->tick_interval_ms;
    if (simple && interval < SIMPLE_TICK_INTERVAL_MS)
        interval = SIMPLE_TICK_INTERVAL_MS;
    if (channel->now_ms - channel->sent_ms >= interval &&
        outbox_tick(channel->outbox) == BRAIN_ENOMEM)
        return fail_memory(channel);
    return 0;
}

/* ---- bytes out --------------------------------------------------------------------------------
 */

static uint64_t hash_of_receiver(struct slice to)
{
    uint64_t hash = XXH3_64bits(to.data, to.size);
    return hash != 0 ? hash : 1; /* 0 means that no order is asked for */
}

/* What the outbox said; a full queue ends the channel. */
static int committed(struct channel *channel, int status)
{
    if (status == BRAIN_ETOOBIG)
        return channel_fail(channel, status, &channel->node->metrics.slow_readers,
            "the peer does not read: its output queue passed the limit", slice_of(NULL, 0));
    return status;
}

static int commit(struct channel *channel, uint64_t receiver, const struct value *tail)
{
    return committed(channel, outbox_commit(channel->outbox, receiver, tail));
}

struct buffer *channel_send_begin(struct channel *channel, struct slice to, struct slice alias)
{
    if (!channel_is_up(channel))
        return NULL;
    struct buffer *out = outbox_begin(channel->outbox);
    if (out == NULL)
        return NULL;
    const bool by_alias = alias.size != 0 && channel_has(channel, DFLAG_ALIAS);
    buffer_append_slice(
        out, buffer_slice(by_alias ? &channel->head_to_alias : &channel->head_to_pid));
    buffer_append_slice(out, by_alias ? alias : to);
    outbox_payload(channel->outbox);
    channel->receiver = hash_of_receiver(to);
    return out;
}

int channel_send_commit(struct channel *channel, const struct value *tail)
{
    int status = commit(channel, channel->receiver, tail);
    if (status == 0)
        channel->node->metrics.messages_sent++;
    return status;
}

static int send_large(struct channel *channel, struct slice to, struct slice alias,
    const struct slice *parts, size_t count, const struct value *tail)
{
    struct buffer *out = channel_send_begin(channel, to, alias);
    if (out == NULL)
        return BRAIN_ENOMEM;
    for (size_t i = 0; i < count; i++)
        buffer_append_slice(out, parts[i]);
    return channel_send_commit(channel, tail);
}

int channel_send(struct channel *channel, struct slice to, struct slice alias,
    const struct slice *parts, size_t count, const struct value *tail)
{
    assert(count <= CHANNEL_PARTS);
    if (!channel_is_up(channel))
        return 0;
    if (tail != NULL && tail->size > CHANNEL_COPY_BYTES)
        return send_large(channel, to, alias, parts, count, tail);

    const bool by_alias = alias.size != 0 && channel_has(channel, DFLAG_ALIAS);
    const struct slice control[] = {
        buffer_slice(by_alias ? &channel->head_to_alias : &channel->head_to_pid),
        by_alias ? alias : to,
    };
    struct slice payload[CHANNEL_PARTS + 1];
    size_t payloads = 0;
    for (; payloads < count; payloads++)
        payload[payloads] = parts[payloads];
    if (tail != NULL)
        payload[payloads++] = value_slice(*tail);
    int status = outbox_small(channel->outbox, control, 2, payload, payloads);
    if (status == OUTBOX_NOT_SMALL)
        return send_large(channel, to, alias, parts, count, tail);
    if (status == 0)
        channel->node->metrics.messages_sent++;
    return committed(channel, status);
}

struct buffer *channel_send_named_begin(struct channel *channel, struct slice name, uint64_t order)
{
    if (!channel_is_up(channel))
        return NULL;
    struct buffer *out = outbox_begin(channel->outbox);
    control_write_reg_send(out, buffer_slice(&channel->self), name);
    outbox_payload(channel->outbox);
    channel->receiver = order != 0 ? hash_of_receiver(name) ^ order : 0;
    if (order != 0 && channel->receiver == 0)
        channel->receiver = 1;
    return out;
}

void channel_send_abort(struct channel *channel)
{
    outbox_abort(channel->outbox);
}

struct buffer *channel_signal_begin(struct channel *channel)
{
    channel_settle(channel);
    if (!channel_is_up(channel))
        return NULL;
    struct buffer *out = outbox_begin(channel->outbox);
    if (out == NULL)
        fail_memory(channel);
    return out;
}

int channel_signal_commit(struct channel *channel, struct slice to)
{
    if (commit(channel, hash_of_receiver(to), NULL) == BRAIN_ENOMEM)
        return fail_memory(channel);
    return channel->error;
}

void channel_say_goodbye(struct channel *channel)
{
    if (channel_is_up(channel))
        citizen_say_goodbye(channel);
}

size_t channel_output(struct channel *channel, struct iovec *vector, size_t limit)
{
    size_t count = 0;
    if (limit != 0 && channel->greeting_sent < channel->greeting.size) {
        vector[0].iov_base = channel->greeting.data + channel->greeting_sent;
        vector[0].iov_len = channel->greeting.size - channel->greeting_sent;
        count = 1;
    }
    if (channel->outbox != NULL && count < limit)
        count += outbox_vector(channel->outbox, vector + count, limit - count);
    return count;
}

void channel_sent(struct channel *channel, size_t size, uint64_t now_ms)
{
    if (size == 0)
        return;
    set_now(channel, now_ms);
    channel->sent_ms = channel->now_ms;
    size_t greeting = channel->greeting.size - channel->greeting_sent;
    if (greeting > size)
        greeting = size;
    channel->greeting_sent += greeting;
    if (channel->greeting_sent == channel->greeting.size) {
        buffer_release(&channel->greeting);
        channel->greeting_sent = 0;
    }
    if (size > greeting)
        outbox_sent(channel->outbox, size - greeting);
}

uint64_t channel_queued(const struct channel *channel)
{
    uint64_t queued = channel->greeting.size - channel->greeting_sent;
    return queued + (channel->outbox != NULL ? outbox_queued(channel->outbox) : 0);
}
