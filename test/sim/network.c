/* Links between members, as TCP connections of the distribution protocol behave: in order for one
 * object, otherwise as it comes; a broken one loses its tail, and each end hears of it when it
 * does.
 *
 * A cut stops one direction. Short ones only delay. A long one breaks the connection (ticks are
 * missed), and no new one can be made as long as it lasts; on `one_way` plans the other direction
 * goes on meanwhile, and what was sent into the cut is lost. */
#include <assert.h>
#include <string.h>

#include "sim.h"

enum { TICK_US = 600000 }; /* of silence, after which a connection is given up */

static struct channel *channel_of(struct world *w, uint8_t a, uint8_t b)
{
    return a < b ? &w->channels[a][b] : &w->channels[b][a];
}

/* The direction, and the end, of `from`. */
static int end_of(uint8_t from, uint8_t to)
{
    return from < to ? 0 : 1;
}

static uint64_t delay(struct world *w)
{
    if (world_chance(w, w->plan.slow_chance))
        return 1 + world_random(w, w->plan.slow_us);
    return 1 + world_random(w, w->plan.delay_us);
}

static bool may_leave(struct world *w, struct channel *channel, int end)
{
    bool mine = channel->cut_until_us[end] > w->now_us;
    bool theirs = channel->cut_until_us[1 - end] > w->now_us;
    if (channel->known[end] != channel->generation)
        return false; /* a dead socket */
    if (w->plan.one_way)
        return !mine;
    /* What is sent on a connection that is cut waits in the kernel, until that gives up. A new
     * connection needs both directions: the break of a cut is not followed by one. */
    bool broken = channel->generation > 0 &&
                  ((mine && w->now_us - channel->cut_from_us[end] > TICK_US) ||
                      (theirs && w->now_us - channel->cut_from_us[1 - end] > TICK_US));
    return !broken;
}

void network_send(struct node *from, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail)
{
    struct world *w = from->world;
    const struct node *peer = node_named(w, to->name);
    assert(peer && peer != from);
    struct channel *channel = channel_of(w, from->index, peer->index);
    int end = end_of(from->index, peer->index);
    if (!from->up || !peer->up || !may_leave(w, channel, end))
        return;
    uint64_t at = w->now_us + delay(w);
    if (channel->cut_until_us[end] > w->now_us)
        at += channel->cut_until_us[end] - w->now_us;
    uint64_t *last = &channel->last_us[end][order * UINT64_C(0x9e3779b97f4a7c15) >> 60];
    if (order != 0 && at <= *last)
        at = *last + 1;
    if (order != 0)
        *last = at;
    struct event *event = world_event(w, EVENT_MESSAGE, at - w->now_us, peer);
    size_t size = head.size + (tail ? tail->size : 0);
    struct block *block = block_create(size);
    if (!block)
        return;
    memcpy(block->bytes, head.data, head.size);
    if (tail)
        memcpy(block->bytes + head.size, tail->data, tail->size);
    event->message = (struct value){block, block->bytes, size};
    event->peer = from->index;
    event->a = channel->generation;
}

static void hear_of_break(struct world *w, struct node *node, uint8_t peer)
{
    struct channel *channel = channel_of(w, node->index, peer);
    int end = end_of(node->index, peer);
    if (channel->known[end] == channel->generation)
        return;
    channel->known[end] = channel->generation;
    world_trace(w, "n%u: link to n%u is down", node->index, peer);
    cluster_peer_down(node->core, slice_of_string(w->nodes[peer].name), node_ms(node));
}

/* For people: what kind of message it is. */
static void trace_message(const struct world *w, const struct event *event)
{
    if (!w->options.trace)
        return;
    struct etf_reader reader;
    uint32_t arity;
    uint64_t view = 0;
    struct slice kind = {NULL, 0};
    struct slice room;
    struct etf_limits limits = {.max_depth = 32, .max_elements = 10000};
    etf_reader_init(&reader, value_slice(event->message), limits);
    if (replica_is_message(value_slice(event->message)))
        (void)(etf_read_tuple(&reader, &arity) == 0 && etf_read_atom(&reader, &room) == 0 &&
               etf_read_atom(&reader, &kind) == 0 && etf_read_uint64(&reader, &view) == 0);
    else if (etf_read_tuple(&reader, &arity) == 0 && etf_read_uint64(&reader, &view) == 0)
        (void)etf_read_atom(&reader, &kind);
    world_trace(w, "n%u -> n%u  %.*s (view %llu)", event->peer, event->node, (int)kind.size,
        (const char *)kind.data, (unsigned long long)view);
}

void network_deliver(struct world *w, struct event *event)
{
    struct node *node = &w->nodes[event->node];
    const struct channel *channel = channel_of(w, event->node, event->peer);
    if (event->a != channel->generation)
        return;                          /* lost with its connection */
    hear_of_break(w, node, event->peer); /* a new connection takes the place of the old one */
    trace_message(w, event);
    const struct slice from = slice_of_string(w->nodes[event->peer].name);
    int status = replica_is_message(value_slice(event->message))
                     ? replicas_receive(node, from, &event->message)
                     : cluster_receive(node->core, from, &event->message, NULL, node_ms(node));
    if (status != 0)
        world_fail(
            w, "promise 5", "n%u refuses a message of n%u as malformed", event->node, event->peer);
}

void network_peer_down(struct world *w, const struct event *event)
{
    hear_of_break(w, &w->nodes[event->node], event->peer);
}

void network_break(struct world *w, uint8_t a, uint8_t b)
{
    struct channel *channel = channel_of(w, a, b);
    channel->generation++;
    world_trace(w, "link n%u n%u breaks", a, b);
    for (int end = 0; end < 2; end++) {
        const struct node *node = &w->nodes[(end == 0) == (a < b) ? a : b];
        uint64_t after = world_random(w, world_chance(w, 800) ? 20000 : 300000);
        memset(channel->last_us[end], 0, sizeof(channel->last_us[end]));
        if (!node->up) {
            channel->known[end] = channel->generation;
            continue;
        }
        struct event *event = world_event(w, EVENT_PEER_DOWN, after, node);
        event->peer = node->index == a ? b : a;
    }
}

void network_break_all(struct world *w, uint8_t node)
{
    for (uint8_t i = 0; i < (uint8_t)NODES; i++) {
        if (i != node)
            network_break(w, node, i);
    }
}

void network_cut(struct world *w, uint8_t from, uint8_t to, uint64_t for_us)
{
    struct channel *channel = channel_of(w, from, to);
    int end = end_of(from, to);
    world_trace(w, "n%u -> n%u is cut for %llu ms", from, to, (unsigned long long)for_us / 1000);
    if (channel->cut_until_us[end] <= w->now_us)
        channel->cut_from_us[end] = w->now_us;
    if (w->now_us + for_us > channel->cut_until_us[end])
        channel->cut_until_us[end] = w->now_us + for_us;
    if (!w->plan.one_way && for_us <= TICK_US)
        return;
    /* One way: when it ends, the receiver sees the gap. Else: when ticks are missed. */
    struct event *event = world_event(w, EVENT_BREAK, w->plan.one_way ? for_us : TICK_US, NULL);
    event->node = from < to ? from : to;
    event->peer = from < to ? to : from;
    event->a = channel->generation;
}

void network_heal(struct world *w)
{
    for (uint8_t a = 0; a < (uint8_t)NODES; a++) {
        for (uint8_t b = (uint8_t)(a + 1); b < (uint8_t)NODES; b++) {
            struct channel *channel = &w->channels[a][b];
            bool was_cut =
                channel->cut_until_us[0] > w->now_us || channel->cut_until_us[1] > w->now_us;
            memset(channel->cut_until_us, 0, sizeof(channel->cut_until_us));
            if (was_cut)
                network_break(w, a, b);
        }
    }
}

bool network_is_whole(const struct world *w)
{
    for (uint8_t a = 0; a < (uint8_t)NODES; a++) {
        for (uint8_t b = (uint8_t)(a + 1); b < (uint8_t)NODES; b++) {
            const struct channel *channel = &w->channels[a][b];
            if (channel->cut_until_us[0] > w->now_us || channel->cut_until_us[1] > w->now_us)
                return false;
        }
    }
    return true;
}
