#include "get_nodes.h"

enum { ANY_CREATION = 0 };

/* Of our own process its creation is known; of another node's only its node, once it is asked. */
static void write_entry(struct buffer *out, struct slice name, const struct channel_node *self)
{
    const bool own = slice_equal(name, self->name);
    etf_write_tuple(out, 2);
    etf_write_atom_slice(out, name);
    etf_write_pid(
        out, name, CHANNEL_PID_ID, CHANNEL_PID_SERIAL, own ? self->creation : ANY_CREATION);
}

static void write_answer(
    struct buffer *out, const struct members *members, const struct channel_node *self)
{
    const size_t count = members != NULL ? members->view.count : 0;
    etf_write_list(out, count > 0 ? (uint32_t)count : 1);
    for (size_t i = 0; i < count; i++)
        write_entry(out, members->core[i].name, self);
    if (count == 0)
        write_entry(out, self->name, self);
    etf_write_nil(out);
}

void get_nodes_message(struct node *node, const struct members *members, connection_id from,
    const struct channel_message *message)
{
    struct etf_reader reader;
    struct slice pid;
    uint32_t arity;
    const struct etf_limits limits = {.max_depth = 8, .max_elements = 100};
    etf_reader_init(&reader, message->payload, limits);
    if (message->payload_error != 0 || etf_read_tuple(&reader, &arity) != 0 || arity != 2 ||
        !etf_take_atom(&reader, "get_nodes") || etf_read_pid(&reader, &pid) != 0 ||
        !etf_at_end(&reader))
        return;
    struct channel *channel = node_route(node, from, pid);
    if (channel == NULL)
        return;
    struct buffer *out = channel_send_begin(channel, pid, slice_of(NULL, 0));
    if (out == NULL)
        return;
    write_answer(out, members, node_identity(node));
    channel_send_commit(channel, NULL);
    node_flush(node, channel);
}
