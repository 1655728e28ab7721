/* loop_watch: how long the turns of the owner's loop take. A turn is what is done between two waits
 * for the kernel; nobody is served in the meantime, so it should stay below 5 ms. */
#ifndef BRAIN_SERVER_LOOP_WATCH_H
#define BRAIN_SERVER_LOOP_WATCH_H

#include <uv.h>

#include "brain/metrics.h"

#define LOOP_METRICS(X)                                                                            \
    X(turns, COUNTER, "turns of the loop")                                                         \
    X(long_turns, COUNTER, "turns of more than 5 ms")                                              \
    X(longest_turn_us, GAUGE, "the longest turn since the start, in microseconds")                 \
    X(longest_turn_minute_us, GAUGE, "the longest turn of the last full minute, in microseconds")

struct loop_metrics {
    METRICS_FIELDS(LOOP_METRICS)
};

struct loop_watch {
    uv_prepare_t turn; /* the kernel is about to be waited for */
    uint64_t at_ns;    /* when it was the last time */
    uint64_t idle_ns;  /* how long it had been waited for until then, all in all */
    uint64_t minute_ns, minute_longest_ns;
    struct loop_metrics metrics;
};

/* Before anything else runs on the loop. */
void loop_watch_start(struct loop_watch *watch, uv_loop_t *loop);
void loop_watch_stop(struct loop_watch *watch);
void loop_watch_metrics_register(struct metrics_registry *registry, const struct loop_watch *watch);

#endif
