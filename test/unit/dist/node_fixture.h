/* A node on loopback in this process. */
#ifndef NODE_FIXTURE_H
#define NODE_FIXTURE_H

#include <check.h>
#include <unistd.h>

#include "brain/node.h"

struct seen_node {
    struct node *node;
    bool ready, failed, closed;
    uint16_t port;
    char sentence[256];
    unsigned messages;
    connection_id from;
    bool close_on_message;
    size_t answer_bytes; /* of the binary that every message is answered with */
    /* Of struct node_events, with this struct as context. */
    void (*on_up)(void *context, connection_id id, struct channel *channel);
    void (*on_down)(void *context, connection_id id, struct slice peer);
    void (*on_named)(void *context, connection_id from, struct channel *channel, size_t which,
        const struct channel_message *message);
};

extern uv_loop_t loop;

/* A free port of 127.0.0.1, no epmd, the cookie "secret", registered as `brain`. */
struct node_options plain_options(const char *name);
/* As node_open; every message is answered. */
int open_node(struct seen_node *seen, const struct node_options *options);

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

void turn_for(unsigned milliseconds);
/* Until it listens. */
void start_node(struct seen_node *seen, const struct node_options *options);
/* Until it is closed. */
void stop_node(struct seen_node *seen);
/* The metric of that name; frees `registry`. */
uint64_t metric_in(struct metrics_registry *registry, const char *name);
uint64_t metric_of(const struct seen_node *seen, const char *name);

#endif
