/* node: the device side of distribution: listens, accepts, dials, reads and writes sockets, and
 * drives one channel per connection. All on the owner's loop.
 *
 * Reads always. A connection that breaks the protocol or a limit is closed with one log line that
 * says who and what. No turn of the loop handles one connection for more than a few milliseconds.
 */
#ifndef BRAIN_NODE_H
#define BRAIN_NODE_H

#include <uv.h>

#include "brain/channel.h"

#define NODE_METRICS(X)                                                                            \
    X(connections, GAUGE, "open connections, handshakes included")                                 \
    X(handshakes_pending, GAUGE, "connections whose handshake is not finished")                    \
    X(connections_accepted, COUNTER, "connections accepted")                                       \
    X(connections_refused, COUNTER,                                                                \
        "connections refused: a limit, or no descriptor or memory left")                           \
    X(connections_closed, COUNTER, "connections closed, by either side")                           \
    X(connections_dialled, COUNTER, "connections made to nodes of connect_nodes and to members")   \
    X(dials_failed, COUNTER, "attempts to connect to such a node that failed")                     \
    X(answers_undeliverable, COUNTER, "answers to a node without an open link")                    \
    X(crowds, COUNTER,                                                                             \
        "times that a connection began to be read by the clock: many processes asked at once")     \
    X(bytes_received, COUNTER, "bytes received on distribution connections")                       \
    X(bytes_sent, COUNTER, "bytes sent on distribution connections")

struct node_metrics {
    METRICS_FIELDS(NODE_METRICS)
};

struct node_options {
    struct channel_node channel; /* creation is filled in when registered; receive.total and
                                    send.total by the node, both to one budget of: */
    uint64_t max_buffers_bytes;  /* unfinished and unsent messages of all connections together */
    const char *listen_address;  /* numeric, or a name resolved off the thread */
    uint16_t listen_port;        /* 0: any free one */
    bool epmd_enable;            /* false: fixed port, random creation, no registration */
    const char *epmd_address;    /* numeric; where this node's own epmd is */
    uint16_t epmd_port;
    uint32_t max_connections, max_pending_handshakes;
    char *const *connect_nodes; /* dialled at start and again whenever the link is lost */
    size_t connect_nodes_count;
    /* Further registered names of our one process: of links between members, of the original. At
     * most CHANNEL_OTHER_NAMES. */
    const char *const *other_names;
    size_t other_names_count;
};

struct node; /* opaque: cnode/dist/node.c */

/* A connection, named so that a name that outlived it is seen: never reused. 0: none. */
typedef uint64_t connection_id;

struct node_events {
    void *context;
    void (*on_ready)(void *context, uint16_t port);         /* listening and registered */
    void (*on_failed)(void *context, const char *sentence); /* cannot start */
    void (*on_message)(void *context, connection_id from, struct channel *channel,
        const struct channel_message *message);
    /* As channel_events.on_settle; may be NULL. */
    void (*on_settle)(void *context, connection_id from, struct channel *channel);
    void (*start_epmd)(void *context);
    /* For links to other members of a cluster; NULL: none. A connection finished its handshake, or
     * ended after that (`peer`: its name; the channel is gone, and so is its number). Neither is
     * called any more once node_close was. */
    void (*on_up)(void *context, connection_id id, struct channel *channel);
    void (*on_down)(void *context, connection_id id, struct slice peer);
    /* A message to a name of node_options.other_names; `which`: its place there. */
    void (*on_named)(void *context, connection_id from, struct channel *channel, size_t which,
        const struct channel_message *message);
};

/* Strings of the options must outlive the node. No event is called before this returned, and
 * nothing is accepted before on_ready, because our creation is not known. Returns 0 and the node,
 * or an error and a sentence in `*why` (static or owned by the node module). */
int node_open(struct node **node, uv_loop_t *loop, const struct node_options *options,
    struct node_events events, const char **why);

/* The live channel of a connection, or NULL when it is gone. */
struct channel *node_channel(struct node *node, connection_id id);
/* A link to the node `name`: an open one, handshake done, with a node and not with an ei client of
 * that name; or 0. When there is none it is dialled in the background, once: on_up says that it is
 * there, whoever made it. `address` "" or NULL: the host of the name; `port` 0: asks epmd there.
 * Failures are counted, logged once a minute, and tried again by the next call after a second (1 to
 * 8 where the peer answers and closes: another cookie, no room). A name that is not name@host, or
 * this node's own, is never linked. */
connection_id node_link(struct node *node, struct slice name, const char *address, uint16_t port);
/* This connection is a link to a member: it does not count among max_connections, and ends within
 * NODE_LINK_SILENCE_MS when the other machine does not even acknowledge what is sent: its kernel,
 * not its process, which may stand still for longer than that (but not with a full socket). */
enum { NODE_LINK_SILENCE_MS = 7000 };
void node_mark_link(struct node *node, connection_id id);
/* Closes it at the end of this turn, or when what is being read now was read: on_down follows.
 * `why` (static) goes to the log of `log_mode = debug` only. */
void node_disconnect(struct node *node, connection_id id, const char *why);
/* Where an answer to `pid` goes: `asked_on` when that link's peer is the pid's node, else an open
 * link to it, else NULL, which is counted (answers_undeliverable). */
struct channel *node_route(struct node *node, connection_id asked_on, struct slice pid);
/* Something was queued on this channel: it is flushed at the end of this turn of the loop. */
void node_flush(struct node *node, struct channel *channel);

const struct channel_node *node_identity(const struct node *node);
/* Bytes in unfinished and unsent messages of all connections, as max_buffers_bytes counts them. */
uint64_t node_buffered_bytes(const struct node *node);
void node_metrics_register(struct metrics_registry *registry, const struct node *node);

/* Stops listening and unregisters; open connections go on. */
void node_stop_listening(struct node *node);
/* Says goodbye on every connection, flushes for at most `grace_ms`, closes all, then calls
 * `closed` with the context of the events. The node is freed after that. May be called from any
 * event: it begins in the next turn. Nothing is read from then on. */
void node_close(struct node *node, uint32_t grace_ms, void (*closed)(void *context));

#endif
