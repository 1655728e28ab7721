/* crowd: are many processes of one peer asking at once, a few requests at a time?
 *
 * An Erlang node has one connection to us for all its processes. Each of their requests is a packet
 * of its own that wakes us up, and an answer that leaves at once wakes the client up: both sides
 * spend more on that than on the request. Such a connection is better read by the clock, every
 * CROWD_INTERVAL_NS, whatever has come by then at once. Measured, gets by 50 processes of a BEAM,
 * every 100, 150, 200, 300 us: server CPU x 0.47, 0.32, 0.26, 0.29 of Erlang/OTP's with ETS (0.73
 * without it), and as the client's core is the limit, more gets a second, too.
 *
 * That helps only where the client does not wait for the clock: where at most two thirds of the
 * processes ask within an interval, the others have something to do meanwhile. A single process,
 * or one that asks many times before it listens, is no crowd and is never kept waiting.
 *
 * Pure. */
#ifndef BRAIN_DIST_CROWD_H
#define BRAIN_DIST_CROWD_H

#include "brain/base.h"

enum {
    CROWD_INTERVAL_NS = 150000,
    CROWD_WINDOW_NS = 1000000, /* judged anew after so long */
    CROWD_SENDERS = 16,        /* fewer are none */
    CROWD_MESSAGES = 2,        /* per interval; fewer are not worth the timer */
};

struct crowd {
    uint64_t begin_ns; /* of the window */
    uint64_t messages; /* in it */
    uint64_t senders;  /* of them, a bit for each, by their numbers modulo 64 */
    bool present;
};

/* At `now_ns`, `messages` more have been read, from `senders` (as above). Returns whether there is
 * a crowd, which is also in crowd->present. To be called after each read, also one that brought
 * nothing. */
bool crowd_note(struct crowd *crowd, uint64_t messages, uint64_t senders, uint64_t now_ns);

#endif
