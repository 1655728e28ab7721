/* The device side of peers.h: peering.c with the node's connections, the loop's clock, and the log.
 */
#include "peers.h"

#include <string.h>

#include "brain/log.h"
#include "peering.h"

enum {
    ADVANCE_MS = 250,
    SHOWN_BYTES = 24,
};

struct peers {
    struct node *node;
    uv_loop_t *loop;
    struct peers_events events;
    struct peering peering;
    uv_timer_t timer;
    struct buffer hello;
};

static uint64_t now_of(const struct peers *peers)
{
    return uv_now(peers->loop);
}

/* ---- what peering asks ------------------------------------------------------------------------
 */

static connection_id on_find(void *context, struct slice name, struct peers_place place)
{
    struct peers *peers = context;
    return node_link(peers->node, name, place.address, place.port);
}

static void on_end(void *context, connection_id id, const char *why)
{
    struct peers *peers = context;
    node_disconnect(peers->node, id, why);
}

static void on_mark(void *context, connection_id id)
{
    struct peers *peers = context;
    node_mark_link(peers->node, id);
}

static int on_send(
    void *context, connection_id id, uint64_t order, struct slice head, const struct value *tail)
{
    struct peers *peers = context;
    struct channel *channel = node_channel(peers->node, id);
    struct buffer *out = channel != NULL
                             ? channel_send_named_begin(channel, slice_of_string(PEERS_NAME), order)
                             : NULL;
    if (out == NULL)
        return BRAIN_ECLOSED;
    buffer_append_slice(out, head);
    int status = channel_send_commit(channel, tail);
    node_flush(peers->node, channel);
    return status;
}

static int on_send_hello(void *context, connection_id id)
{
    struct peers *peers = context;
    buffer_clear(&peers->hello);
    peers->events.write_hello(peers->events.context, &peers->hello);
    int status = buffer_status(&peers->hello);
    return status != 0 ? status : on_send(peers, id, 0, buffer_slice(&peers->hello), NULL);
}

static void on_news(
    void *context, enum peering_news news, struct slice name, const char *why, struct slice bad)
{
    char hex[2 * SHOWN_BYTES + 4];
    (void)context;
    switch (news) {
    case PEERING_LINKED:
        log_info("linked with %.*s", (int)name.size, (const char *)name.data);
        break;
    case PEERING_UNLINKED:
        log_info("the link with %.*s ended", (int)name.size, (const char *)name.data);
        break;
    case PEERING_REFUSED:
        log_warning("the link with %.*s was closed: %s (first bytes %s)", (int)name.size,
            (const char *)name.data, why, hex_of(bad, SHOWN_BYTES, hex));
        break;
    case PEERING_STRANGER:
        log_warning("messages of %.*s to " PEERS_NAME " are ignored: %s (first bytes %s)",
            (int)name.size, (const char *)name.data, why, hex_of(bad, SHOWN_BYTES, hex));
        break;
    }
}

static int on_read_hello(void *context, struct slice payload, const char **why)
{
    struct peers *peers = context;
    return peers->events.read_hello(peers->events.context, payload, why);
}

static int on_message(
    void *context, struct slice from, const struct value *message, const struct etf_marks *marks)
{
    struct peers *peers = context;
    return peers->events.message(peers->events.context, from, message, marks);
}

static void on_down(void *context, struct slice name)
{
    struct peers *peers = context;
    peers->events.down(peers->events.context, name);
}

/* ---- what the server asks ---------------------------------------------------------------------
 */

static void on_timer(uv_timer_t *timer)
{
    struct peers *peers = timer->data;
    peering_advance(&peers->peering, now_of(peers));
}

struct peers *peers_create(struct node *node, uv_loop_t *loop, struct peers_events events)
{
    struct peers *peers = heap_allocate_zeroed(sizeof(*peers));
    if (peers == NULL)
        return NULL;
    peers->node = node;
    peers->loop = loop;
    peers->events = events;
    buffer_init(&peers->hello);
    peering_init(&peers->peering, (struct peering_events){
                                      .context = peers,
                                      .find = on_find,
                                      .end = on_end,
                                      .mark = on_mark,
                                      .send = on_send,
                                      .send_hello = on_send_hello,
                                      .news = on_news,
                                      .read_hello = on_read_hello,
                                      .message = on_message,
                                      .down = on_down,
                                  });
    uv_timer_init(loop, &peers->timer);
    peers->timer.data = peers;
    uv_timer_start(&peers->timer, on_timer, ADVANCE_MS, ADVANCE_MS);
    return peers;
}

static void on_closed(uv_handle_t *handle)
{
    heap_release(handle->data);
}

void peers_destroy(struct peers *peers)
{
    if (peers == NULL)
        return;
    peering_release(&peers->peering);
    buffer_release(&peers->hello);
    uv_close((uv_handle_t *)&peers->timer, on_closed);
}

void peers_metrics_register(struct metrics_registry *registry, const struct peers *peers)
{
    const char *group = "peers";
    const struct peers_metrics *source = &peers->peering.metrics;
    PEERS_METRICS(METRICS_ROW)
}

uint64_t peers_queued_bytes(const struct peers *peers)
{
    return peers->peering.queued_bytes;
}

void peers_send(struct peers *peers, struct slice name, struct peers_place place, uint64_t order,
    struct slice head, const struct value *tail)
{
    peering_send(&peers->peering, name, place, order, head, tail, now_of(peers));
}

void peers_on_message(struct peers *peers, connection_id from, struct channel *channel,
    const struct channel_message *message)
{
    /* A client made with ei may have any name, a member's too. */
    if (channel_peer_is_simple(channel)) {
        peering_stranger(&peers->peering, channel_peer(channel), "an ei client is no member",
            message->payload, now_of(peers));
        return;
    }
    peering_message(&peers->peering, from, channel_peer(channel), message, now_of(peers));
}

void peers_on_up(struct peers *peers, connection_id id, struct channel *channel)
{
    if (!channel_peer_is_simple(channel))
        peering_up(&peers->peering, id, channel_peer(channel), now_of(peers));
}

void peers_on_down(struct peers *peers, connection_id id, struct slice name)
{
    peering_ended(&peers->peering, id, name, now_of(peers));
}
