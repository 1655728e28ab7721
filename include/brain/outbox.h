/* outbox: what one connection still has to send, in the order and form it goes on the wire.
 *
 * Small messages are encoded straight into the outbox's memory; values are taken by reference and
 * never copied. One writev sends everything that is ready.
 *
 * Lanes: towards a peer that takes fragments, a message whose payload is larger than
 * fragment_bytes goes in a lane: small messages go first, then each lane in turn gives one whole
 * message, or one fragment of a message that is larger than whole_bytes, so that a value of many MB
 * does not hold up an answer of 20 bytes: at most 256 KiB are chosen ahead of what the socket takes
 * (2 MiB once, where it has taken all so far) and the frame that passes this, and only those stand
 * before a message that is committed now. Messages to one receiver keep their order: while a lane
 * of that receiver is open, its later messages queue behind it in the same lane.
 *
 * Pure. Source: ERTS user's guide, "Distribution Protocol", "Distribution Header for fragmented
 * messages". */
#ifndef BRAIN_OUTBOX_H
#define BRAIN_OUTBOX_H

#include <sys/uio.h>

#include "brain/base.h"

struct outbox_limits {
    uint64_t queued_bytes;   /* more than this unsent: BRAIN_ETOOBIG, the reader does not read */
    uint32_t fragment_bytes; /* control and payload bytes per fragment, 65536 as Erlang does; a
                                control tuple that is longer makes its first fragment longer */
    uint32_t whole_bytes;    /* payloads up to here are one frame all the same: an Erlang node joins
                                fragments by copying them */
    struct budget *total;    /* queued bytes of all connections together; NULL: none */
};

struct outbox; /* opaque: cnode/dist/outbox.c */

/* `header`: distribution headers and fragments, else 'p' frames. NULL: no memory. */
struct outbox *outbox_create(bool header, const struct outbox_limits *limits);
void outbox_destroy(struct outbox *outbox);
/* Changes the form of messages: for an outbox that carried the handshake before the flags were
 * agreed on. Only before the first outbox_begin. */
void outbox_set_header(struct outbox *outbox, bool header);

/* One message is written as
 *
 *     struct buffer *out = outbox_begin(outbox);
 *     control_write_...(out, ...);
 *     outbox_payload(outbox);               only when there is a payload
 *     etf_write_...(out, ...);              the payload's beginning
 *     outbox_commit(outbox, receiver, &value);   the payload's end, by reference; or NULL
 *
 * `receiver`: a hash of the receiving process, equal for messages whose order matters; 0: none.
 * The outbox takes its own reference to value->block; small values and values without a block are
 * copied. outbox_begin never returns NULL: without memory the buffer is a failed one, and
 * outbox_commit says so. outbox_commit returns 0; BRAIN_ETOOBIG (queue limit passed, or a message
 * that no frame can carry: close the connection); or BRAIN_ENOMEM. In both cases this message is
 * dropped and the connection is still in step. outbox_abort undoes outbox_begin. */
struct buffer *outbox_begin(struct outbox *outbox);
void outbox_payload(struct outbox *outbox);
int outbox_commit(struct outbox *outbox, uint64_t receiver, const struct value *value);
void outbox_abort(struct outbox *outbox);

/* A whole small message in one go, when nothing asks for more than that: its control tuple and its
 * payload, each in pieces. As outbox_begin to outbox_commit; or OUTBOX_NOT_SMALL and nothing
 * happened, when lanes are open (its receiver's order is to be kept) or it is too long to be one
 * frame. */
enum { OUTBOX_NOT_SMALL = 1 };
int outbox_small(struct outbox *outbox, const struct slice *control, size_t controls,
    const struct slice *payload, size_t payloads);

/* Queues raw bytes: handshake packets, which all come before the first message. 0, BRAIN_ETOOBIG
 * or BRAIN_ENOMEM. */
int outbox_raw(struct outbox *outbox, struct slice bytes);
/* Queues a tick, unless something is queued already (anything sent counts as a sign of life). An
 * outbox with nothing else to send also gives back memory that a burst left behind. 0 or
 * BRAIN_ENOMEM. */
int outbox_tick(struct outbox *outbox);

bool outbox_is_empty(const struct outbox *outbox);
/* Bytes still to be sent, as they will be on the wire, fragment headers included. */
uint64_t outbox_queued(const struct outbox *outbox);

/* Fills up to `limit` entries with what should be sent next and returns how many; the same bytes
 * come first in every answer until outbox_sent says that `size` bytes of them left. The entries
 * point into the outbox and are valid until the next call of any other function of it. Not between
 * outbox_begin and outbox_commit. 0 entries though the outbox is not empty: no memory for a
 * fragment's header, try again later. */
size_t outbox_vector(struct outbox *outbox, struct iovec *vector, size_t limit);
void outbox_sent(struct outbox *outbox, size_t size);

#endif
