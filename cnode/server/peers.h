/* peers: links to the other members, over the node's own distribution connections.
 *
 * A link is an ordinary connection of hidden nodes, made when there is first something to say to a
 * member, or by the member. Messages go to the registered name `brain_peer` there. The first one
 * each way is a hello; who speaks another protocol, or has another cookie or seed, is refused with
 * one log line and tried again after a while, and what is said to it meanwhile is dropped. What is
 * said before a link is up waits in a bounded queue for a short time, and is dropped after that:
 * the core repeats what must be repeated. Large values travel in fragments, in a lane for each
 * `order`, so that small messages never wait behind them. All on the owner's loop. */
#ifndef BRAIN_SERVER_PEERS_H
#define BRAIN_SERVER_PEERS_H

#include "brain/metrics.h"
#include "brain/node.h"

#define PEERS_NAME "brain_peer"

#define PEERS_METRICS(X)                                                                           \
    X(links, GAUGE, "links to members that are up and have said hello")                            \
    X(sent, COUNTER, "messages sent to members")                                                   \
    X(received, COUNTER, "messages of members received")                                           \
    X(dropped, COUNTER, "messages to members dropped: no link, or its queue was full")             \
    X(refused, COUNTER, "links refused: another protocol, cookie or seed, or malformed messages")

struct peers_metrics {
    METRICS_FIELDS(PEERS_METRICS)
};

struct peers_events {
    void *context;
    /* As cluster_hello_write, cluster_hello_read, cluster_receive (an error: the link is closed)
     * and cluster_peer_down. `down` is not called from within peers_send. */
    void (*write_hello)(void *context, struct buffer *out);
    int (*read_hello)(void *context, struct slice payload, const char **why);
    int (*message)(void *context, struct slice from, const struct value *message,
        const struct etf_marks *marks);
    void (*down)(void *context, struct slice name);
};

/* Where a member is: `address` "" or NULL: the host of its name; `port` 0: ask epmd there. */
struct peers_place {
    const char *address;
    uint16_t port;
};

struct peers; /* opaque: cnode/server/peers.c */

/* NULL: no memory. `node` must be open. */
struct peers *peers_create(struct node *node, uv_loop_t *loop, struct peers_events events);
/* Calls nothing any more. Before the node is closed. */
void peers_destroy(struct peers *peers);
void peers_metrics_register(struct metrics_registry *registry, const struct peers *peers);
/* Bytes queued for links that are not up yet. */
uint64_t peers_queued_bytes(const struct peers *peers);

/* One message to a member, as cluster_events.send: a term without version byte, `head` and then the
 * bytes of `tail` (NULL: none; by reference). */
void peers_send(struct peers *peers, struct slice name, struct peers_place place, uint64_t order,
    struct slice head, const struct value *tail);

/* From node_events: a message to PEERS_NAME; a link came up; a link ended. */
void peers_on_message(struct peers *peers, connection_id from, struct channel *channel,
    const struct channel_message *message);
void peers_on_up(struct peers *peers, connection_id id, struct channel *channel);
void peers_on_down(struct peers *peers, connection_id id, struct slice name);

#endif
