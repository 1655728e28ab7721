/* loop_watch: how long the turns of the owner's loop take. A turn is what is done between two waits
 * for the kernel; nobody is served in the meantime, so it should stay below 5 ms. What is told is
 * never too short, and at most 1 ms too long (2 where the kernel's clock ticks every millisecond):
 * a little work in a turn may be told as that much. */
#ifndef BRAIN_SERVER_LOOP_WATCH_H
#define BRAIN_SERVER_LOOP_WATCH_H

#include <uv.h>

#include "brain/metrics.h"

#define LOOP_METRICS(X)                                                                            \
    X(turns, COUNTER, "turns of the loop")                                                         \
    X(long_turns, COUNTER, "turns of more than 5 ms (to the millisecond)")                         \
    X(longest_turn_us, GAUGE, "the longest turn since the start, in microseconds")                 \
    X(longest_turn_minute_us, GAUGE, "the longest turn of the last full minute, in microseconds")

struct loop_metrics {
    METRICS_FIELDS(LOOP_METRICS)
};

struct loop_watch {
    uv_prepare_t turn; /* the kernel is about to be waited for */
    uv_check_t wake;   /* it was waited for, and what came was looked at */
    uint64_t at_ns;    /* of `turn`, the last time */
    uint64_t woken_ns; /* when the last wait was over, rounded down to a millisecond */
    uint64_t minute_ns, minute_longest_ns;
    struct loop_metrics metrics;
};

/* Before anything else runs on the loop. */
void loop_watch_start(struct loop_watch *watch, uv_loop_t *loop);
void loop_watch_stop(struct loop_watch *watch);
void loop_watch_metrics_register(struct metrics_registry *registry, const struct loop_watch *watch);

#endif
