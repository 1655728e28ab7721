#include "peers_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct member members[MEMBERS];
struct member *const a = &members[0], *const b = &members[1];
static const char *const other_names[] = {PEERS_NAME};

void send_term(struct member *from, const struct member *to, uint64_t order, struct buffer *head,
    const struct value *tail)
{
    from->sending++;
    if (buffer_status(head) == 0)
        peers_send(from->peers, slice_of_string(to->name),
            (struct peers_place){"127.0.0.1", to->seen.port}, order, buffer_slice(head), tail);
    from->sending--;
    buffer_release(head);
}

void say(struct member *from, const struct member *to, uint64_t order, uint64_t number, size_t size)
{
    struct buffer head;
    buffer_init(&head);
    etf_write_tuple(&head, 3);
    etf_write_uint64(&head, order);
    etf_write_uint64(&head, number);
    struct value tail = {block_create(size + 5), NULL, size + 5};
    if (tail.block == NULL) {
        buffer_release(&head);
        return;
    }
    tail.data = tail.block->bytes;
    tail.block->bytes[0] = ETF_BINARY;
    store_be32(tail.block->bytes + 1, (uint32_t)size);
    memset(tail.block->bytes + 5, (int)(number & 0xff), size);
    send_term(from, to, order, &head, &tail);
    value_drop(&tail);
}

static void on_up(void *context, connection_id id, struct channel *channel)
{
    struct member *member = context;
    member->ups++;
    if (member->peers != NULL)
        peers_on_up(member->peers, id, channel);
}

static void on_down(void *context, connection_id id, struct slice peer)
{
    struct member *member = context;
    ck_assert_ptr_null(node_channel(member->seen.node, id));
    if (member->peers != NULL)
        peers_on_down(member->peers, id, peer);
}

static void on_named(void *context, connection_id from, struct channel *channel, size_t which,
    const struct channel_message *message)
{
    struct member *member = context;
    ck_assert_uint_eq(which, 0);
    if (member->peers != NULL)
        peers_on_message(member->peers, from, channel, message);
}

static void write_hello(void *context, struct buffer *out)
{
    const struct member *member = context;
    etf_write_tuple(out, 2);
    etf_write_atom(out, "hello");
    etf_write_uint64(out, member->protocol);
}

static const struct etf_limits limits = {16, 1000};

static int read_hello(void *context, struct slice payload, const char **why)
{
    const struct member *member = context;
    struct etf_reader reader;
    uint32_t arity;
    uint64_t protocol;
    etf_reader_init(&reader, payload, limits);
    *why = "not {hello, Protocol}";
    if (etf_read_tuple(&reader, &arity) != 0 || arity != 2 || !etf_take_atom(&reader, "hello") ||
        etf_read_uint64(&reader, &protocol) != 0)
        return BRAIN_EPROTO;
    *why = "another protocol";
    return protocol == member->protocol ? 0 : BRAIN_EPROTO;
}

/* {Order, Number, Binary}, each byte of the binary the number's lowest. */
static int heard(
    void *context, struct slice from, const struct value *message, const struct etf_marks *marks)
{
    struct member *member = context;
    struct etf_reader reader;
    uint32_t arity;
    struct slice bytes;
    struct heard *one = &member->heard[member->heard_count];
    ck_assert_uint_eq(member->sending, 0);
    etf_reader_init(&reader, value_slice(*message), limits);
    reader.marks = marks;
    if (etf_read_tuple(&reader, &arity) != 0 || arity != 3 ||
        etf_read_uint64(&reader, &one->order) != 0 || etf_read_uint64(&reader, &one->number) != 0 ||
        etf_read_binary(&reader, &bytes) != 0 || !etf_at_end(&reader))
        return BRAIN_EPROTO;
    for (size_t i = 0; i < bytes.size; i += 997)
        ck_assert_uint_eq(bytes.data[i], one->number & 0xff);
    one->size = bytes.size;
    member->saw_block = member->saw_block || message->block != NULL;
    ck_assert_uint_lt(++member->heard_count, HEARD_LIMIT);
    snprintf(member->heard_of, sizeof(member->heard_of), "%.*s", (int)from.size,
        (const char *)from.data);
    if (member->answers)
        for (int i = 0; i < MEMBERS; i++)
            if (slice_equal_string(from, members[i].name))
                say(member, &members[i], one->order, one->number, 1);
    return 0;
}

static void down(void *context, struct slice name)
{
    struct member *member = context;
    ck_assert_uint_eq(member->sending, 0);
    ck_assert_uint_ne(name.size, 0);
    member->downs++;
}

void prepare(struct member *member, char letter)
{
    memset(member, 0, sizeof(*member));
    snprintf(member->name, sizeof(member->name), "%c@localhost", letter);
    member->options = plain_options(member->name);
    member->options.other_names = other_names;
    member->options.other_names_count = 1;
    member->options.channel.receive.sequences = 4096;
    member->seen.answer_bytes = 10;
    member->seen.on_up = on_up;
    member->seen.on_down = on_down;
    member->seen.on_named = on_named;
    member->protocol = 1;
    member->heard = calloc(HEARD_LIMIT, sizeof(*member->heard));
}

void open_peers(struct member *member)
{
    member->peers = peers_create(member->seen.node, &loop,
        (struct peers_events){
            .context = member,
            .write_hello = write_hello,
            .read_hello = read_hello,
            .message = heard,
            .down = down,
        });
}

/* The node listens on the same port again when it is started again. */
void start(struct member *member)
{
    member->seen.ready = member->seen.closed = false;
    member->options.listen_port = member->seen.port;
    start_node(&member->seen, &member->options);
    open_peers(member);
    ck_assert_ptr_nonnull(member->peers);
}

void stop(struct member *member)
{
    peers_destroy(member->peers);
    member->peers = NULL;
    stop_node(&member->seen);
}

void set_up(void)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    for (int i = 0; i < MEMBERS; i++)
        prepare(&members[i], (char)('a' + i));
}

void tear_down(void)
{
    for (int i = 0; i < MEMBERS; i++) {
        if (members[i].seen.node != NULL)
            stop(&members[i]);
        free(members[i].heard);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* busy: a handle was left open */
}

uint64_t peers_metric(const struct member *member, const char *name)
{
    struct metrics_registry *registry = calloc(1, sizeof(*registry));
    peers_metrics_register(registry, member->peers);
    return metric_in(registry, name);
}

void check_order(const struct member *member)
{
    uint64_t last[16] = {0};
    for (size_t i = 0; i < member->heard_count; i++) {
        const struct heard *one = &member->heard[i];
        ck_assert_uint_lt(one->order, 16);
        if (one->order != 0)
            ck_assert_uint_gt(one->number, last[one->order]);
        last[one->order] = one->number;
    }
}
