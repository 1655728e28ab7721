/* channel: one distribution connection without its socket: handshake, then frames, control
 * messages, and the manners of an Erlang node.
 *
 * Bytes in, bytes out, time as an argument. Everything that a peer expects of any OTP node is
 * answered here (cnode/dist/citizen.c): ticks, `net_adm:ping`, monitors, links, unlink, spawn
 * requests, `rex`, `sys` messages, `io_request`. What is meant for the registered process goes up
 * to on_message. Nobody ever hangs on us: what is not served is refused at once.
 *
 * Several live channels may have the same peer name (PHP workers): channels are told apart by
 * themselves, never by name. */
#ifndef BRAIN_CHANNEL_H
#define BRAIN_CHANNEL_H

#include <sys/uio.h>

#include "brain/control.h"
#include "brain/frame.h"
#include "brain/handshake.h"
#include "brain/metrics.h"
#include "brain/outbox.h"

/* X(field, kind, help) */
#define CHANNEL_METRICS(X)                                                                         \
    X(handshakes_done, COUNTER, "handshakes completed")                                            \
    X(refused_cookie, COUNTER, "handshakes refused: wrong cookie or digest")                       \
    X(refused_flags, COUNTER, "handshakes refused: required flags missing")                        \
    X(refused_handshake, COUNTER, "handshakes refused: malformed or rejected by the peer")         \
    X(handshake_timeouts, COUNTER, "handshakes not finished by their deadline")                    \
    X(protocol_errors, COUNTER, "connections closed for broken framing or control messages")       \
    X(limit_errors, COUNTER, "connections closed for passing a receive limit")                     \
    X(slow_readers, COUNTER, "connections closed because their output queue passed its limit")     \
    X(silent_peers, COUNTER, "Erlang peers dropped after tick_timeout of silence")                 \
    X(messages_received, COUNTER, "messages received for our names")                               \
    X(messages_sent, COUNTER, "messages sent")                                                     \
    X(messages_dropped, COUNTER, "messages to unknown names or pids")                              \
    X(terms_refused, COUNTER, "messages refused because their term was malformed or over a limit") \
    X(pings_answered, COUNTER, "net_adm:ping answered")                                            \
    X(requests_refused, COUNTER, "spawn, rex, sys, io and gen_event requests refused")             \
    X(memory_errors, COUNTER, "connections closed because memory ran out")                         \
    X(monitors, GAUGE, "monitors and links held by peers on our processes")

struct channel_metrics {
    METRICS_FIELDS(CHANNEL_METRICS)
};
void channel_metrics_register(
    struct metrics_registry *registry, const struct channel_metrics *metrics);

/* What all channels of one node share; outlives them. */
struct channel_node {
    struct slice name; /* name@host */
    struct slice cookie;
    struct slice registered_name; /* "brain" */
    /* Further names of the same process: what is sent to them goes to on_named. */
    const char *const *other_names;
    size_t other_names_count; /* at most CHANNEL_OTHER_NAMES */
    uint64_t flags;           /* DFLAGS_OFFERED */
    uint32_t creation;        /* from epmd; may change only while there are no channels */
    uint32_t next_dynamic_name;
    /* limits */
    struct frame_limits receive;
    struct outbox_limits send;
    uint32_t monitors;             /* monitors and links of one channel */
    uint32_t handshake_timeout_ms; /* one absolute deadline for the whole handshake */
    uint32_t tick_interval_ms;     /* 15000; send a tick when nothing was sent for so long */
    uint32_t tick_timeout_ms;      /* 75000; drop an Erlang peer after so long without a byte */
    struct channel_metrics metrics;
};

enum { CHANNEL_OTHER_NAMES = 16 };

/* Our one pid: registered process. Every field but the creation is constant. */
enum { CHANNEL_PID_ID = 1, CHANNEL_PID_SERIAL = 1 };

struct channel; /* opaque: cnode/dist/channel.c */

/* A message for the registered process. The struct is valid only during the call, and so is what it
 * points at, unless it `stays`. */
struct channel_message {
    struct slice payload;          /* one term, without version byte */
    struct block *block;           /* holds payload; NULL: copy what you keep */
    const struct etf_marks *marks; /* NULL: payload is not checked yet, read it with limits */
    int payload_error;             /* 0, or why the payload as a whole is not acceptable; its
                                      beginning may still be read to find whom to refuse */
    struct slice from;             /* sender's pid term; empty: not known */
    bool stays;                    /* payload and from lie still until on_settle: the message may be
                                      put off until then */
};

/* Called during channel_feed. They may send on the channel, but must not destroy it or feed it.
 * on_up, on_settle and is_dialling may be NULL, and on_named where there are no other names.
 *
 * on_settle: whatever was put off is to be done now. It comes after one or more messages with
 * `stays`: before the channel sends anything of its own, so that the order of answers is that of
 * the messages; before an error ends it; and at the end of channel_feed. Putting off lets messages
 * that came with one read be looked at together, and costs no time: nothing is sent before the end
 * of channel_feed anyway. */
struct channel_events {
    void *context;
    void (*on_up)(void *context, struct channel *channel);
    void (*on_message)(
        void *context, struct channel *channel, const struct channel_message *message);
    void (*on_settle)(void *context, struct channel *channel);
    /* As on_message, to the name at `which` of channel_node.other_names. */
    void (*on_named)(void *context, struct channel *channel, size_t which,
        const struct channel_message *message);
    /* As handshake_options. */
    bool (*is_dialling)(void *context, struct slice peer);
};

/* role HANDSHAKE_INITIATOR: `peer` is the dialled node. `challenge`: 32 fresh random bits. NULL: no
 * memory. */
struct channel *channel_create(struct channel_node *node, enum handshake_role role,
    struct slice peer, uint32_t challenge, uint64_t now_ms, struct channel_events events);
/* Answers nothing more; forgets everything of the peer. */
void channel_destroy(struct channel *channel);

/* Handshake done, and nothing has ended the channel yet. */
bool channel_is_up(const struct channel *channel);
/* The handshake ended because the peer prefers its own connection to this node. */
bool channel_gave_way(const struct channel *channel);
struct slice channel_peer(const struct channel *channel); /* name; empty before the handshake */
/* Did the peer offer no more than ei does (neither monitors by name nor fragments)? Then it ticks
 * only inside its receive calls: it is never dropped for silence, ticked at most every 15 s, and
 * its ticks (answers to ours) are not answered. */
bool channel_peer_is_simple(const struct channel *channel);

/* As frame_reader_area. */
bool channel_area(struct channel *channel, uint8_t **area, size_t *size);
/* Feeds bytes read at `now_ms`. Returns 0, 1 (call again with no bytes in the next turn, see
 * frame_reader_feed), or an error: flush what is queued as far as the socket takes it at once, and
 * close. The reason has been counted. */
int channel_feed(struct channel *channel, struct slice bytes, uint64_t now_ms);
/* How many messages came for our process since the last call, and from whom: `*senders` has a bit
 * for each sender, by the low bits of its pid's number. */
uint64_t channel_take_count(struct channel *channel, uint64_t *senders);
/* Call about once a second: deadline of the handshake, ticks, silence, output limit. Same errors.
 */
int channel_clock(struct channel *channel, uint64_t now_ms);
/* One sentence on the error that ended the channel: who, what, the first bytes; printable and
 * short. Empty while there is none. Valid until channel_destroy. */
const char *channel_error(struct channel *channel);

/* ---- sending --------------------------------------------------------------------------------
 *
 *     struct buffer *out = channel_send_begin(channel, to, alias);
 *     etf_write_...(out, ...);
 *     channel_send_commit(channel, tail);
 *
 * `to`: pid term. `alias`: reference term from a call's tag, or empty; used when the peer
 * negotiated ALIAS, so that an answer that comes too late is dropped there. Returns NULL when the
 * channel is not up (any more). `tail` as in outbox_commit. BRAIN_ENOMEM: this message is dropped.
 * BRAIN_ETOOBIG: the output limit is passed; from then on the channel is not up, and channel_clock
 * and channel_feed return it too. */
struct buffer *channel_send_begin(struct channel *channel, struct slice to, struct slice alias);
int channel_send_commit(struct channel *channel, const struct value *tail);
/* The same to a registered name. `order`: as `receiver` of outbox_commit, mixed with the name. */
struct buffer *channel_send_named_begin(struct channel *channel, struct slice name, uint64_t order);
void channel_send_abort(struct channel *channel);

/* The same in one go, for answers that are nearly all pieces to be copied: the payload is `parts`
 * (at most CHANNEL_PARTS), then `tail` (may be NULL). Results as of channel_send_commit; a channel
 * that is not up sends nothing, which is no error of the message. */
enum { CHANNEL_PARTS = 4 };
int channel_send(struct channel *channel, struct slice to, struct slice alias,
    const struct slice *parts, size_t count, const struct value *tail);

/* Tells every process that monitors or links to ours that it is gone ('DOWN' shutdown). */
void channel_say_goodbye(struct channel *channel);

/* As outbox_vector and outbox_sent; `now_ms` is when the bytes left. */
size_t channel_output(struct channel *channel, struct iovec *vector, size_t limit);
void channel_sent(struct channel *channel, size_t size, uint64_t now_ms);
uint64_t channel_queued(const struct channel *channel);

#endif
