/* receiver: messages that arrive on a connection which `ei` made.
 *
 * Read here and not by ei_xreceive_msg, which believes the length that a frame claims and writes
 * past its buffer on a frame of three bytes. */
#ifndef BRAIN_CONSOLE_RECEIVER_H
#define BRAIN_CONSOLE_RECEIVER_H

#include <signal.h>
#include <stdint.h>

#include "brain/base.h"

/* Over this the peer is not believed. Memory grows with what has arrived, not with what a frame
 * claims. */
enum { RECEIVER_FRAME_LIMIT = 1 << 30 };

/* Set by a signal handler: somebody does not want to wait any longer. */
extern volatile sig_atomic_t receiver_interrupted;

/* Milliseconds of the monotonic clock. */
uint64_t receiver_now_ms(void);

/* Waits for the next message to one of our processes, answering ticks. `*message` (with its version
 * byte) points into `frame` and is valid until that is used again.
 *
 * Returns 0, BRAIN_ETIMEOUT at deadline_ms or when interrupted, BRAIN_ECLOSED, BRAIN_EPROTO,
 * BRAIN_ETOOBIG, BRAIN_ENOMEM: the connection is of no use after any of them, because half a frame
 * may have been read. */
int receiver_await(
    int descriptor, uint64_t deadline_ms, struct buffer *frame, struct slice *message);

#endif
