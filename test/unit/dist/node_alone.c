#include "node_alone.h"

#include <string.h>

struct seen_node seen;

void set_up(void)
{
    memset(&seen, 0, sizeof(seen));
    seen.answer_bytes = 10;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
}

void tear_down(void)
{
    if (seen.node != NULL)
        stop_node(&seen);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* busy: a handle was left open */
}

void start_plain(void)
{
    struct node_options options = plain_options("brain@localhost");
    start_node(&seen, &options);
}
