/* clock: the time that store, holdings and cluster are told.
 *
 * Alone it is the loop's, which is free: read once a turn. Of a member it is the clock of leases
 * (managers_now_ms, CLOCK_BOOTTIME), the same for all three, read each time: a process that was
 * stopped between two messages of one turn must see that its lease is over (R11). The two are never
 * mixed; timers of the loop, log intervals and the journal's own gauges stay with uv_now. */
#ifndef BRAIN_SERVER_CLOCK_H
#define BRAIN_SERVER_CLOCK_H

#include "brain/managers.h"

struct server_clock {
    uv_loop_t *loop;
    bool of_leases;
};

static inline uint64_t server_clock_ms(const struct server_clock *clock)
{
    return clock->of_leases ? managers_now_ms() : uv_now(clock->loop);
}

#endif
