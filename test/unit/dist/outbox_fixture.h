/* An outbox with room for all, what is taken off it, and messages that tell who they are. */
#ifndef OUTBOX_FIXTURE_H
#define OUTBOX_FIXTURE_H

#include "brain/outbox.h"
#include "frame_stream.h"

enum { TAGGED_CONTROL = 14 };

/* Begins the budget `total` anew. */
struct outbox_limits wide(void);

/* Takes up to `size` bytes off the outbox, as a socket with that much room would. */
size_t take(struct outbox *outbox, size_t size, struct stream *s);

void drain(struct outbox *outbox, struct stream *s);
void outbox_free(struct outbox *outbox);

/* A message to `receiver` with the control tuple {2,Receiver,Number}, of TAGGED_CONTROL bytes, and
 * a binary as payload, of which `by_value` bytes are given as value. */
int send_tagged(struct outbox *outbox, uint32_t receiver, uint32_t number,
    const struct stream *payload, size_t by_value, bool with_block);

/* ---- what arrives ---------------------------------------------------------------------------- */

struct arrivals {
    uint32_t receiver[4096], number[4096];
    unsigned count;
    const uint32_t *sizes; /* of the payloads by number; NULL: not looked at */
};

int on_arrival(void *context, const struct frame_message *message);
void no_tick(void *context);

/* Reads it as the peer would: all of it must be whole messages. */
void read_back(const struct stream *s, bool header, struct arrivals *a);

#endif
