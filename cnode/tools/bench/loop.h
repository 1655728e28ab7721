/* loop: runs the links: waits for sockets, reads, asks again, keeps the time.
 *
 * Each wake-up of a link is one read, of everything that is there, and one write, of everything
 * that this made room for. The clock is read once after the read and once before the write: an
 * operation's latency runs from the write that carries it to the read that brings its answer. */
#ifndef BRAIN_BENCH_LOOP_H
#define BRAIN_BENCH_LOOP_H

#include "link.h"
#include "result.h"

/* Nanoseconds of the monotonic clock. */
uint64_t loop_now_ns(void);

/* Connects, runs, disconnects. Returns 0 with `result` (its histogram is `tally`'s), also when
 * answers were wrong; -1 when the run broke off, with the tally's failure. */
int loop_run(const struct options *options, struct tally *tally, struct result *result);

/* Ends the measured part now. To be called by a signal handler. */
void loop_interrupt(void);

#endif
