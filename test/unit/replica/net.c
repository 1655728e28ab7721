#include "net.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static const struct etf_limits limits = {100, 100000};

/* Without memory: none. */
static struct value copy_of(struct slice head, const struct value *tail)
{
    struct buffer bytes;
    buffer_init(&bytes);
    buffer_append_slice(&bytes, head);
    if (tail != NULL)
        buffer_append_slice(&bytes, value_slice(*tail));
    const struct value value =
        buffer_status(&bytes) == 0 ? value_copy(buffer_slice(&bytes)) : value_none();
    buffer_release(&bytes);
    return value;
}

static void on_send(void *context, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail)
{
    struct net_node *node = context;
    const struct value bytes = copy_of(head, tail);
    if (bytes.block == NULL)
        return; /* lost on its way */
    struct net_message *message = calloc(1, sizeof(*message)), **end = &node->net->messages;
    struct replica_message read;
    message->from = node->number;
    message->to = to->name.data[0] - 'a';
    message->order = order;
    message->bytes = bytes;
    const int status = replica_message_read(&read, value_slice(message->bytes), NULL, limits);
    assert(status == 0 || status == BRAIN_ENOMEM);
    message->kind = read.kind;
    while (*end != NULL)
        end = &(*end)->next;
    *end = message;
}

static bool on_owns(void *context, struct slice id, struct cluster_epoch epoch)
{
    struct net_node *node = context;
    return node->net->owns == NULL || node->net->owns(node, id, epoch);
}

static void on_reached(void *context, struct slice id, struct version version)
{
    struct net_node *node = context;
    node->reached = version;
    node->reached_count++;
    snprintf(node->id, sizeof(node->id), "%.*s", (int)id.size, (const char *)id.data);
    if (node->net->on_reached != NULL)
        node->net->on_reached(node, id, version);
}

static void on_differs(void *context, struct slice member, struct slice theirs)
{
    struct net_node *node = context;
    assert(member.size == 3 && theirs.size > 0);
    node->differs++;
}

static void on_overflowed(void *context)
{
    struct net_node *node = context;
    node->overflowed++;
}

static void on_superseded(void *context, struct slice id)
{
    struct net_node *node = context;
    assert(id.size > 0);
    node->superseded++;
}

bool net_configure(
    struct net *net, int node, const char *prefix, bool wait_all, uint64_t limit_bytes)
{
    const struct slice prefixes[] = {slice_of_string(prefix), slice_of_string("also:")};
    const struct replica_options options = {.prefixes = prefixes,
        .prefixes_count = 2,
        .wait_all = wait_all,
        .seed = 7,
        .retry_ms = 100,
        .pause_ms = 5000,
        .tombstone_keep_ms = 60000,
        .limit_bytes = limit_bytes,
        .term_limits = limits,
        .broken = net->broken};
    struct net_node *at = &net->nodes[node];
    replica_destroy(at->replica);
    at->replica = replica_create(&options, (struct replica_events){at, on_send, on_owns, on_reached,
                                               on_differs, on_overflowed, on_superseded});
    return at->replica != NULL;
}

void net_init(struct net *net, bool wait_all, uint64_t limit_bytes)
{
    *net = (struct net){.now_ms = 1000, .incarnations = 100, .view = 5};
    for (int i = 0; i < NET_NODES; i++) {
        net->nodes[i].net = net;
        net->nodes[i].number = i;
        snprintf(net->nodes[i].name, sizeof(net->nodes[i].name), "%c@n", 'a' + i);
        (void)net_configure(net, i, "r:", wait_all, limit_bytes);
    }
}

void net_break(struct net *net, uint32_t broken)
{
    net->broken = broken;
    for (int i = 0; i < NET_NODES; i++)
        (void)net_configure(net, i, "r:", true, 0);
}

static void discard(struct net_message *message)
{
    block_drop(message->bytes.block);
    free(message);
}

void net_end(struct net *net)
{
    while (net->messages != NULL) {
        struct net_message *next = net->messages->next;
        discard(net->messages);
        net->messages = next;
    }
    for (int i = 0; i < NET_NODES; i++)
        replica_destroy(net->nodes[i].replica);
}

static void list_members(struct net *net)
{
    net->view++;
    net->members_count = 0;
    for (int i = 0; i < NET_NODES; i++)
        if (net->nodes[i].incarnation != 0)
            net->members[net->members_count++] = (struct cluster_member){
                slice_of_string(net->nodes[i].name), net->nodes[i].incarnation};
}

void net_up(struct net *net, int node)
{
    net->nodes[node].incarnation = ++net->incarnations;
    list_members(net);
}

void net_down(struct net *net, int node)
{
    net->nodes[node].incarnation = 0;
    if (net->nodes[node].replica != NULL)
        replica_lost(net->nodes[node].replica);
    list_members(net);
}

void net_install(struct net *net, int node)
{
    const struct cluster_view view = {net->view, net->members_count, net->members};
    struct net_node *at = &net->nodes[node];
    if (at->incarnation == 0 || at->replica == NULL)
        return;
    if (replica_view(at->replica, &view, at->incarnation, net->now_ms) != 0)
        (void)replica_view(at->replica, &view, at->incarnation, net->now_ms);
}

void net_install_all(struct net *net)
{
    for (int i = 0; i < NET_NODES; i++)
        net_install(net, i);
}

static struct net_message **find(const struct net *net, int kind, int from, int to)
{
    struct net_message **at = (struct net_message **)(uintptr_t)&net->messages;
    while (*at != NULL && ((kind >= 0 && (int)(*at)->kind != kind) ||
                              (from >= 0 && (*at)->from != from) || (to >= 0 && (*at)->to != to)))
        at = &(*at)->next;
    return at;
}

uint32_t net_count(const struct net *net, int kind, int from, int to)
{
    uint32_t count = 0;
    for (const struct net_message *at = net->messages; at != NULL; at = at->next)
        count += (kind < 0 || (int)at->kind == kind) && (from < 0 || at->from == from) &&
                 (to < 0 || at->to == to);
    return count;
}

static void hear(struct net *net, const struct net_message *message)
{
    const struct net_node *to = &net->nodes[message->to];
    if (to->replica == NULL)
        return;
    const int status = replica_receive(to->replica, slice_of_string(net->nodes[message->from].name),
        &message->bytes, NULL, net->now_ms);
    assert(status == 0);
    (void)status;
}

bool net_drop(struct net *net, int kind, int from, int to)
{
    struct net_message **at = find(net, kind, from, to), *message = *at;
    if (message == NULL)
        return false;
    *at = message->next;
    discard(message);
    return true;
}

bool net_deliver(struct net *net, int kind, int from, int to)
{
    struct net_message **at = find(net, kind, from, to), *message = *at;
    if (message == NULL)
        return false;
    *at = message->next;
    hear(net, message);
    discard(message);
    return true;
}

bool net_repeat(struct net *net, int kind, int from, int to)
{
    const struct net_message *message = *find(net, kind, from, to);
    if (message == NULL)
        return false;
    hear(net, message);
    return true;
}

void net_settle(struct net *net)
{
    while (net_deliver(net, -1, -1, -1))
        continue;
}

void net_pass(struct net *net, uint64_t ms)
{
    const uint64_t until = net->now_ms + ms;
    for (;;) {
        for (int i = 0; i < NET_NODES; i++)
            if (net->nodes[i].replica != NULL)
                (void)replica_advance(net->nodes[i].replica, net->now_ms, 100);
        net_settle(net);
        if (net->now_ms >= until)
            return;
        net->now_ms += 50;
    }
}

struct version net_version(uint64_t grant, uint64_t seq)
{
    return (struct version){grant, 1, seq};
}

int net_write(struct net *net, int node, const char *id, uint64_t grant, uint64_t seq,
    uint64_t number, bool held)
{
    uint8_t bytes[ETF_UINT64_BYTES];
    const size_t size = (size_t)(etf_put_uint64(bytes, number) - bytes);
    const struct value value = {NULL, bytes, size};
    struct replica *replica = net->nodes[node].replica;
    if (replica_reserve(replica, slice_of_string(id)) != 0)
        return BRAIN_ENOMEM;
    return replica_written(replica, slice_of_string(id), (struct cluster_epoch){grant, 1},
        net_version(grant, seq), number != 0 ? &value : NULL,
        held ? REPLICA_IS_HELD : REPLICA_UNHELD, net->now_ms);
}

bool net_held(struct net *net, int node, const char *id, uint64_t grant, uint64_t seq)
{
    return replica_held(
        net->nodes[node].replica, slice_of_string(id), net_version(grant, seq), net->now_ms);
}

static int64_t number_of(int status, struct value value)
{
    struct etf_reader reader;
    uint64_t number;
    if (status != STORE_FOUND)
        return status == STORE_ABSENT ? 0 : -1;
    etf_reader_init(&reader, value_slice(value), limits);
    const int read = etf_read_uint64(&reader, &number);
    assert(read == 0);
    return read == 0 ? (int64_t)number : -1;
}

int64_t net_read(struct net *net, int node, const char *id)
{
    struct value value = value_none();
    const int status = replica_get(net->nodes[node].replica, slice_of_string(id), &value);
    return number_of(status, value);
}

int64_t net_read_weak(struct net *net, int node, const char *id)
{
    struct value value = value_none();
    const int status = replica_get_weak(net->nodes[node].replica, slice_of_string(id), &value);
    return number_of(status, value);
}

bool net_readable(struct net *net, int node)
{
    return replica_metrics(net->nodes[node].replica)->readable == 1;
}
