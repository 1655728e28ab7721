/* A node on loopback in this process, and clients of it that are bare sockets. */
#ifndef NODE_FIXTURE_H
#define NODE_FIXTURE_H

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include "brain/node.h"

#define EI_FLAGS UINT64_C(0x407074f9c)

struct seen_node {
    struct node *node;
    bool ready, failed, closed;
    uint16_t port;
    char sentence[256];
    unsigned messages;
    connection_id from;
    bool close_on_message;
    size_t answer_bytes; /* of the binary that every message is answered with */
};

static uv_loop_t loop;

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

/* Answers the sender with a binary, by reference when it is large. */
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

static struct node_options plain_options(const char *name)
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

static int open_node(struct seen_node *seen, const struct node_options *options)
{
    const char *why;
    return node_open(&seen->node, &loop, options,
        (struct node_events){
            .context = seen,
            .on_ready = seen_ready,
            .on_failed = seen_failed,
            .on_message = seen_message,
        },
        &why);
}

/* Turns the loop until the condition holds, at most `limit_ms`; then `condition` is asserted. */
#define turn_until(condition, limit_ms)                                                            \
    do {                                                                                           \
        uint64_t end_ = uv_hrtime() + (uint64_t)(limit_ms)*1000000;                                \
        while (!(condition) && uv_hrtime() < end_) {                                               \
            uv_run(&loop, UV_RUN_NOWAIT);                                                          \
            usleep(200);                                                                           \
        }                                                                                          \
        ck_assert_msg((condition), "not within " #limit_ms " ms: " #condition);                    \
    } while (0)

static void turn_for(unsigned milliseconds)
{
    uint64_t end = uv_hrtime() + (uint64_t)milliseconds * 1000000;
    while (uv_hrtime() < end) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(200);
    }
}

static void start_node(struct seen_node *seen, const struct node_options *options)
{
    ck_assert_int_eq(open_node(seen, options), 0);
    turn_until(seen->ready, 5000);
    ck_assert_uint_ne(seen->port, 0);
}

static void stop_node(struct seen_node *seen)
{
    node_close(seen->node, 1000, seen_closed);
    turn_until(seen->closed, 3000);
}

static uint64_t metric_of(const struct seen_node *seen, const char *name)
{
    struct metrics_registry *registry = calloc(1, sizeof(*registry));
    node_metrics_register(registry, seen->node);
    uint64_t value = UINT64_MAX;
    for (size_t i = 0; i < registry->count; i++)
        if (strcmp(registry->metrics[i].name, name) == 0)
            value = *registry->metrics[i].value;
    free(registry);
    ck_assert_msg(value != UINT64_MAX, "no metric %s", name);
    return value;
}

/* ---- a client ---------------------------------------------------------------------------------
 */
struct client {
    int fd;
    char name[64];
    struct handshake handshake;
    struct buffer out, in;
    int progress;
    bool eof;
};

static int client_socket(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Reads what is there. Returns whether the end of the stream was seen. */
static bool client_read(struct client *client)
{
    uint8_t bytes[65536];
    ssize_t got;
    while (!client->eof && (got = recv(client->fd, bytes, sizeof(bytes), 0)) != 0) {
        if (got < 0) {
            client->eof = errno != EAGAIN;
            return client->eof;
        }
        size_t at = 0;
        if (client->progress == HANDSHAKE_MORE) {
            size_t consumed;
            client->progress = handshake_feed(
                &client->handshake, slice_of(bytes, (size_t)got), &consumed, &client->out);
            at = consumed;
            if (client->out.size != 0)
                (void)!write(client->fd, client->out.data, client->out.size);
            buffer_clear(&client->out);
        }
        buffer_append(&client->in, bytes + at, (size_t)got - at);
    }
    return client->eof = true;
}

static bool client_is_up(struct client *client)
{
    client_read(client);
    return client->progress == HANDSHAKE_DONE;
}

static void client_open(struct client *client, uint16_t port, const char *name, const char *cookie)
{
    memset(client, 0, sizeof(*client));
    snprintf(client->name, sizeof(client->name), "%s", name);
    client->fd = client_socket(port);
    struct handshake_options options = {
        .role = HANDSHAKE_INITIATOR,
        .node = slice_of_string(client->name),
        .cookie = slice_of_string(cookie),
        .flags = EI_FLAGS | DFLAG_MANDATORY_25_DIGEST,
        .creation = 77,
        .challenge = 12345,
        .peer = slice_of_string("brain@localhost"),
        .length_bytes = 2,
    };
    handshake_init(&client->handshake, &options, &client->out);
    (void)!write(client->fd, client->out.data, client->out.size);
    buffer_clear(&client->out);
}

static void client_connect(struct client *client, uint16_t port, const char *name)
{
    client_open(client, port, name, "secret");
    turn_until(client_is_up(client), 3000);
}

static void client_close(struct client *client)
{
    close(client->fd);
    buffer_release(&client->in);
    buffer_release(&client->out);
}

static void write_all(int fd, struct slice bytes)
{
    for (size_t at = 0; at < bytes.size;) {
        ssize_t sent = send(fd, bytes.data + at, bytes.size - at, MSG_NOSIGNAL);
        ck_assert(sent > 0 || errno == EAGAIN);
        at += sent > 0 ? (size_t)sent : 0;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

/* {6, Pid, '', brain} and a payload, from the pid of `from`. */
static void client_send(struct client *client, const char *from, struct slice payload)
{
    struct buffer frame;
    buffer_init(&frame);
    buffer_append_be32(&frame, 0);
    buffer_append(&frame, "p\x83h\x04\x61\x06", 6);
    etf_write_pid(&frame, slice_of_string(from), 9, 0, 77);
    buffer_append(&frame,
        "w\x00w\x05"
        "brain\x83",
        10);
    buffer_append_slice(&frame, payload);
    if (buffer_status(&frame) == 0) { /* else a test of this very thing is running */
        store_be32(frame.data, (uint32_t)(frame.size - 4));
        write_all(client->fd, buffer_slice(&frame));
    }
    buffer_release(&frame);
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

#endif
