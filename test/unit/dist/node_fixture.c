#include "node_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uv_loop_t loop;

static void seen_ready(void *context, uint16_t port)
{
    struct seen_node *seen = context;
    seen->ready = true;
    seen->port = port;
}

static void seen_failed(void *context, const char *sentence)
{
    struct seen_node *seen = context;
    seen->failed = true;
    snprintf(seen->sentence, sizeof(seen->sentence), "%s", sentence);
}

static void seen_closed(void *context)
{
    struct seen_node *seen = context;
    seen->closed = true;
    seen->node = NULL;
}

static void seen_message(void *context, connection_id from, struct channel *channel,
    const struct channel_message *message)
{
    struct seen_node *seen = context;
    ck_assert_ptr_eq(node_channel(seen->node, from), channel);
    seen->messages++;
    seen->from = from;
    if (seen->close_on_message)
        node_close(seen->node, 500, seen_closed);
    struct channel *to = node_route(seen->node, from, message->from);
    struct buffer *out =
        to != NULL ? channel_send_begin(to, message->from, slice_of(NULL, 0)) : NULL;
    if (out == NULL)
        return;
    buffer_append_u8(out, ETF_BINARY);
    buffer_append_be32(out, (uint32_t)seen->answer_bytes);
    struct value tail = value_none();
    tail.block = block_create(seen->answer_bytes + 1);
    if (tail.block == NULL) {
        channel_send_abort(to);
        return;
    }
    memset(tail.block->bytes, 'v', seen->answer_bytes);
    tail.data = tail.block->bytes;
    tail.size = seen->answer_bytes;
    channel_send_commit(to, &tail);
    value_drop(&tail);
    node_flush(seen->node, to);
}

struct node_options plain_options(const char *name)
{
    return (struct node_options){
        .channel =
            {
                .name = slice_of_string(name),
                .cookie = slice_of_string("secret"),
                .registered_name = slice_of_string("brain"),
                .flags = DFLAGS_OFFERED,
                .receive = {.frame_bytes = 64 << 20,
                    .message_bytes = 64 << 20,
                    .sequences = 16,
                    .pending_bytes = 128 << 20,
                    .terms = {64, 10000000},
                    .scan_budget = 1000},
                .send = {.queued_bytes = 64 << 20, .fragment_bytes = 65536},
                .monitors = 100,
                .handshake_timeout_ms = 500,
                .tick_interval_ms = 15000,
                .tick_timeout_ms = 75000,
            },
        .max_buffers_bytes = 1 << 30,
        .listen_address = "127.0.0.1",
        .epmd_address = "127.0.0.1",
        .epmd_port = 1,
        .max_connections = 1000,
        .max_pending_handshakes = 500,
    };
}

int open_node(struct seen_node *seen, const struct node_options *options)
{
    const char *why;
    return node_open(&seen->node, &loop, options,
        (struct node_events){
            .context = seen,
            .on_ready = seen_ready,
            .on_failed = seen_failed,
            .on_message = seen_message,
            .on_up = seen->on_up,
            .on_down = seen->on_down,
            .on_named = seen->on_named,
        },
        &why);
}

void turn_for(unsigned milliseconds)
{
    uint64_t end = uv_hrtime() + (uint64_t)milliseconds * 1000000;
    while (uv_hrtime() < end) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(200);
    }
}

void start_node(struct seen_node *seen, const struct node_options *options)
{
    ck_assert_int_eq(open_node(seen, options), 0);
    turn_until(seen->ready, 5000);
    ck_assert_uint_ne(seen->port, 0);
}

void stop_node(struct seen_node *seen)
{
    node_close(seen->node, 1000, seen_closed);
    turn_until(seen->closed, 3000);
}

uint64_t metric_in(struct metrics_registry *registry, const char *name)
{
    uint64_t value = UINT64_MAX;
    for (size_t i = 0; i < registry->count; i++)
        if (strcmp(registry->metrics[i].name, name) == 0)
            value = *registry->metrics[i].value;
    free(registry);
    ck_assert_msg(value != UINT64_MAX, "no metric %s", name);
    return value;
}

uint64_t metric_of(const struct seen_node *seen, const char *name)
{
    struct metrics_registry *registry = calloc(1, sizeof(*registry));
    node_metrics_register(registry, seen->node);
    return metric_in(registry, name);
}
