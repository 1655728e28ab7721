#include "loop_watch.h"

enum { LONG_TURN_NS = 5000000, NS_PER_US = 1000 };
static const uint64_t minute = UINT64_C(60000000000);

static void next_minute(struct loop_watch *watch, uint64_t now_ns)
{
    if (now_ns - watch->minute_ns < minute)
        return;
    watch->metrics.longest_turn_minute_us = watch->minute_longest_ns / NS_PER_US;
    watch->minute_longest_ns = 0;
    watch->minute_ns = now_ns;
}

/* libuv runs the callbacks of descriptors inside its wait, so it is asked how much of the time
 * since the last turn was waiting. */
static void on_turn(uv_prepare_t *prepare)
{
    struct loop_watch *watch = prepare->data;
    uint64_t now_ns = uv_hrtime();
    uint64_t idle_ns = uv_metrics_idle_time(prepare->loop);
    uint64_t passed_ns = now_ns - watch->at_ns, waited_ns = idle_ns - watch->idle_ns;
    uint64_t turn_ns = passed_ns > waited_ns ? passed_ns - waited_ns : 0;
    watch->at_ns = now_ns;
    watch->idle_ns = idle_ns;
    watch->metrics.turns++;
    watch->metrics.long_turns += turn_ns > LONG_TURN_NS;
    if (turn_ns / NS_PER_US > watch->metrics.longest_turn_us)
        watch->metrics.longest_turn_us = turn_ns / NS_PER_US;
    if (turn_ns > watch->minute_longest_ns)
        watch->minute_longest_ns = turn_ns;
    next_minute(watch, now_ns);
}

void loop_watch_start(struct loop_watch *watch, uv_loop_t *loop)
{
    uv_loop_configure(loop, UV_METRICS_IDLE_TIME);
    uv_prepare_init(loop, &watch->turn);
    watch->turn.data = watch;
    watch->at_ns = watch->minute_ns = uv_hrtime();
    watch->idle_ns = uv_metrics_idle_time(loop);
    uv_prepare_start(&watch->turn, on_turn);
    uv_unref((uv_handle_t *)&watch->turn);
}

void loop_watch_stop(struct loop_watch *watch)
{
    uv_close((uv_handle_t *)&watch->turn, NULL);
}

void loop_watch_metrics_register(struct metrics_registry *registry, const struct loop_watch *watch)
{
    const char *group = "loop";
    const struct loop_metrics *source = &watch->metrics;
    LOOP_METRICS(METRICS_ROW)
}
