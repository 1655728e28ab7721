/* The inside of a channel, shared by channel.c (its life, time and sending) and citizen.c (what a
 * peer's messages mean). Nobody else includes this. */
#ifndef BRAIN_DIST_CHANNEL_INTERNAL_H
#define BRAIN_DIST_CHANNEL_INTERNAL_H

#include "brain/channel.h"
#include "monitor_table.h"

enum { CHANNEL_ERROR_TEXT = 320 };

struct channel {
    struct channel_node *node;
    struct channel_events events;
    struct handshake *handshake; /* NULL when it is done */
    struct buffer greeting;      /* handshake packets, sent before anything of the outbox */
    size_t greeting_sent;
    struct frame_reader *reader; /* both NULL before the handshake is done */
    struct outbox *outbox;
    struct buffer self; /* our pid term */
    /* Control tuples of messages to a pid and to an alias, without that: written once. */
    struct buffer head_to_pid, head_to_alias;
    uint8_t *peer; /* name */
    size_t peer_size;
    uint64_t flags; /* negotiated */
    struct monitor_table monitors;
    uint64_t deadline_ms;          /* of the handshake */
    uint64_t now_ms;               /* of the last feed or clock */
    uint64_t received_ms, sent_ms; /* when bytes last came and left */
    uint64_t receiver;             /* of the message that is being written */
    uint64_t messages, senders;    /* since channel_take_count */
    bool unsettled;                /* on_settle is due */
    /* What a message with an expected control tuple is (frame_reader_expect): whom it is for, and
     * where in the tuple its sender's pid stands. */
    enum monitor_target expected_target;
    size_t expected_from, expected_from_size;
    int error; /* sticky: the connection is to be closed */
    char error_text[CHANNEL_ERROR_TEXT];
};

/* Ends the channel: counts the cause in `*counter`, writes the sentence. The first call wins;
 * returns the error that stands. */
int channel_fail(struct channel *channel, int error, uint64_t *counter, const char *sentence,
    struct slice offending);

/* What was put off is done now, if there is any. */
static inline void channel_settle(struct channel *channel)
{
    if (!channel->unsettled)
        return;
    channel->unsettled = false;
    if (channel->events.on_settle != NULL)
        channel->events.on_settle(channel->events.context, channel);
}

static inline bool channel_has(const struct channel *channel, uint64_t flag)
{
    return (channel->flags & flag) != 0;
}

/* A control message without payload, or with one written by the caller after outbox_payload:
 * begin returns NULL when the channel is not up, or is out of memory and thereby ended. */
struct buffer *channel_signal_begin(struct channel *channel);
/* `to`: the pid whose signals keep their order. Returns channel->error: a signal or answer of ours
 * that cannot be queued ends the channel, because somebody waits for it. */
int channel_signal_commit(struct channel *channel, struct slice to);

#endif
