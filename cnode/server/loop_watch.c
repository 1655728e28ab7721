#include "loop_watch.h"

enum { LONG_TURN_NS = 5000000, NS_PER_MS = 1000000, NS_PER_US = 1000 };
static const uint64_t minute = UINT64_C(60000000000);

static void next_minute(struct loop_watch *watch, uint64_t now_ns)
{
    if (now_ns - watch->minute_ns < minute)
        return;
    watch->metrics.longest_turn_minute_us = watch->minute_longest_ns / NS_PER_US;
    watch->minute_longest_ns = 0;
    watch->minute_ns = now_ns;
}

/* libuv runs the callbacks of descriptors inside its wait. When it was woken is known to a
 * millisecond: that is the loop's time behind the wait. (It could tell better how long it waited,
 * but then asks the kernel twice in each turn.) */
static void on_wake(uv_check_t *check)
{
    struct loop_watch *watch = check->data;
    watch->woken_ns = uv_now(check->loop) * NS_PER_MS;
}

static void on_turn(uv_prepare_t *prepare)
{
    struct loop_watch *watch = prepare->data;
    uint64_t now_ns = uv_hrtime();
    uint64_t since_ns = watch->woken_ns > watch->at_ns ? watch->woken_ns : watch->at_ns;
    uint64_t turn_ns = now_ns > since_ns ? now_ns - since_ns : 0;
    watch->at_ns = now_ns;
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
    uv_prepare_init(loop, &watch->turn);
    uv_check_init(loop, &watch->wake);
    watch->turn.data = watch->wake.data = watch;
    watch->at_ns = watch->woken_ns = watch->minute_ns = uv_hrtime();
    uv_prepare_start(&watch->turn, on_turn);
    uv_check_start(&watch->wake, on_wake);
    uv_unref((uv_handle_t *)&watch->turn);
    uv_unref((uv_handle_t *)&watch->wake);
}

void loop_watch_stop(struct loop_watch *watch)
{
    uv_close((uv_handle_t *)&watch->turn, NULL);
    uv_close((uv_handle_t *)&watch->wake, NULL);
}

void loop_watch_metrics_register(struct metrics_registry *registry, const struct loop_watch *watch)
{
    const char *group = "loop";
    const struct loop_metrics *source = &watch->metrics;
    LOOP_METRICS(METRICS_ROW)
}
