#include "channel_fixture.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CREATION = 0x6b00f765, OUR_CREATION = 0x6b00f764 };

/* ---- terms ------------------------------------------------------------------------------------
 */

void hex_append(struct buffer *out, const char *hex)
{
    unsigned byte;
    int used;
    while (sscanf(hex, " %2x%n", &byte, &used) == 1) {
        buffer_append_u8(out, (uint8_t)byte);
        hex += used;
    }
    ck_assert_msg(*hex == '\0', "not hex: %.20s", hex);
}

static uint32_t test_creation = CREATION;

static bool append_special(struct buffer *out, char letter)
{
    static const uint32_t words[2][3] = {{26800, 3871408130, 695159467}, {1, 2, 3}};
    struct slice peer = slice_of_string("tester@localhost");
    struct slice self = slice_of_string("brain@localhost");
    switch (letter) {
    case 'P':
        etf_write_pid(out, peer, 89, 0, CREATION);
        return true;
    case 'Q':
        etf_write_pid(out, peer, 90, 0, CREATION);
        return true;
    case 'S':
        etf_write_pid(out, self, CHANNEL_PID_ID, CHANNEL_PID_SERIAL, test_creation);
        return true;
    case 'Z':
        etf_write_pid(out, self, CHANNEL_PID_ID, CHANNEL_PID_SERIAL, 0);
        return true;
    case 'D':
        etf_write_pid(out, self, 77, 1, test_creation);
        return true;
    case 'F':
        etf_write_pid(out, slice_of_string("third@localhost"), 1, 1, 7);
        return true;
    case 'R':
        etf_write_reference(out, peer, CREATION, words[0], 3);
        return true;
    case 'T':
        etf_write_reference(out, peer, CREATION, words[1], 3);
        return true;
    default:
        return false;
    }
}

static const char *append_term(struct buffer *out, const char *at);

/* Elements up to one of `stops`, into `out`. */
static const char *append_elements(
    struct buffer *out, const char *at, const char *stops, uint32_t *count)
{
    for (*count = 0;; ++*count) {
        while (*at == ' ')
            at++;
        if (strchr(stops, *at) != NULL)
            return at;
        at = append_term(out, at);
    }
}

static const char *append_container(struct buffer *out, const char *at)
{
    struct buffer elements;
    uint32_t count;
    bool tuple = *at == '{';
    buffer_init(&elements);
    at = append_elements(&elements, at + 1, tuple ? "}" : "]|", &count);
    if (tuple)
        etf_write_tuple(out, count);
    else if (count != 0)
        etf_write_list(out, count);
    buffer_append_slice(out, buffer_slice(&elements));
    buffer_release(&elements);
    if (tuple)
        return at + 1;
    if (*at == ']') {
        etf_write_nil(out);
        return at + 1;
    }
    at = append_term(out, at + 1);
    ck_assert_int_eq(*at, ']');
    return at + 1;
}

static const char *append_term(struct buffer *out, const char *at)
{
    if (*at == '{' || *at == '[')
        return append_container(out, at);
    if (*at >= '0' && *at <= '9') {
        char *end;
        etf_write_uint64(out, strtoull(at, &end, 10));
        return end;
    }
    if (*at == '\'' || *at == '"') {
        const char *end = strchr(at + 1, *at);
        ck_assert_ptr_nonnull(end);
        struct slice text = slice_of(at + 1, (size_t)(end - at - 1));
        if (*at == '"')
            etf_write_binary(out, text);
        else
            etf_write_atom_slice(out, text);
        return end + 1;
    }
    size_t size = strcspn(at, " {}[]|'\"");
    ck_assert_uint_ne(size, 0);
    if (size != 1 || !append_special(out, *at))
        etf_write_atom_slice(out, slice_of(at, size));
    return at + size;
}

void terms_append(struct buffer *out, const char *text)
{
    const char *end = append_term(out, text);
    ck_assert_msg(*end == '\0', "more than one term: %s", text);
}

void fixture_frame_append(
    const struct fixture *fixture, struct buffer *out, const char *control, const char *payload)
{
    struct buffer frame;
    buffer_init(&frame);
    hex_append(&frame, fixture->header ? "83 44 00" : "70 83");
    terms_append(&frame, control);
    if (payload != NULL) {
        if (!fixture->header)
            etf_write_version(&frame);
        terms_append(&frame, payload);
    }
    buffer_append_be32(out, (uint32_t)frame.size);
    buffer_append_slice(out, buffer_slice(&frame));
    buffer_release(&frame);
}

/* ---- the server above -------------------------------------------------------------------------
 */

static void on_up(void *context, struct channel *channel)
{
    struct fixture *fixture = context;
    ck_assert(channel_is_up(channel));
    fixture->ups++;
}

/* {'$gen_call', {Pid, Tag}, Request} -> {Tag, {ok, Request}} */
static void echo(struct channel *channel, struct slice payload)
{
    static const struct etf_limits limits = {64, 1000};
    struct etf_reader reader, tag_reader;
    struct slice pid, tag, request, alias = slice_of(NULL, 0);
    uint32_t arity;
    etf_reader_init(&reader, payload, limits);
    if (etf_read_tuple(&reader, &arity) != 0 || !etf_take_atom(&reader, "$gen_call"))
        return;
    ck_assert_int_eq(etf_read_tuple(&reader, &arity), 0);
    ck_assert_int_eq(etf_read_pid(&reader, &pid), 0);
    ck_assert_int_eq(etf_read_term(&reader, &tag), 0);
    ck_assert_int_eq(etf_read_term(&reader, &request), 0);
    etf_reader_init(&tag_reader, request, limits);
    if (etf_take_atom(&tag_reader, "noreply"))
        return;
    etf_reader_init(&tag_reader, tag, limits);
    if (etf_peek(&tag_reader) == ETF_LIST) {
        ck_assert_int_eq(etf_read_list(&tag_reader, &arity), 0);
        ck_assert(etf_take_atom(&tag_reader, "alias"));
        ck_assert_int_eq(etf_read_reference(&tag_reader, &alias), 0);
    }
    const struct slice parts[] = {slice_of("h\2", 2), tag, slice_of("h\2w\2ok", 6)};
    struct value tail = {NULL, request.data, request.size};
    channel_send(channel, pid, alias, parts, 3, &tail);
}

static void on_settle(void *context, struct channel *channel)
{
    struct fixture *fixture = context;
    for (unsigned i = 0; i < fixture->put_offs; i++)
        echo(channel, fixture->put_off[i]);
    fixture->put_offs = 0;
}

static void on_message(
    void *context, struct channel *channel, const struct channel_message *message)
{
    struct fixture *fixture = context;
    fixture->messages++;
    fixture->name = NULL;
    fixture->payload_error = message->payload_error;
    fixture->has_marks = message->marks != NULL;
    fixture->has_block = message->block != NULL;
    buffer_clear(&fixture->payload);
    buffer_append_slice(&fixture->payload, message->payload);
    buffer_clear(&fixture->from);
    buffer_append_slice(&fixture->from, message->from);
    if (fixture->puts_off && message->stays) {
        ck_assert_uint_lt(fixture->put_offs, 16);
        fixture->put_off[fixture->put_offs++] = message->payload;
        fixture->put_offs_ever++;
        return;
    }
    on_settle(fixture, channel);
    if (fixture->echo)
        echo(channel, message->payload);
}

static void on_named(
    void *context, struct channel *channel, size_t which, const struct channel_message *message)
{
    struct fixture *fixture = context;
    on_message(context, channel, message);
    fixture->name = fixture->node.other_names[which];
}

bool fixture_open(struct fixture *fixture, uint64_t flags, uint32_t creation)
{
    static const char *const other_names[] = {"brain_peer", "memory"};
    *fixture = (struct fixture){
        .node =
            {
                .name = slice_of_string("brain@localhost"),
                .cookie = slice_of_string("secret"),
                .registered_name = slice_of_string("brain"),
                .other_names = other_names,
                .other_names_count = 2,
                .flags = flags,
                .creation = creation,
                .receive =
                    {
                        .frame_bytes = 1 << 20,
                        .message_bytes = 1 << 20,
                        .sequences = 4,
                        .pending_bytes = 2 << 20,
                        .terms = {.max_depth = 64, .max_elements = 10000},
                        .scan_budget = 1000000,
                    },
                .send = {.queued_bytes = 1 << 20, .fragment_bytes = 65536},
                .monitors = 100,
                .handshake_timeout_ms = 7000,
                .tick_interval_ms = 15000,
                .tick_timeout_ms = 75000,
            },
        .now_ms = 1000000,
        .random = 1,
    };
    test_creation = creation;
    buffer_init(&fixture->out);
    buffer_init(&fixture->payload);
    buffer_init(&fixture->from);
    struct channel_events events = {.context = fixture,
        .on_up = on_up,
        .on_message = on_message,
        .on_settle = on_settle,
        .on_named = on_named};
    fixture->channel = channel_create(
        &fixture->node, HANDSHAKE_ACCEPTOR, slice_of(NULL, 0), 0x55828aad, fixture->now_ms, events);
    return fixture->channel != NULL;
}

void fixture_close(struct fixture *fixture)
{
    channel_destroy(fixture->channel);
    ck_assert_uint_eq(fixture->node.metrics.monitors, 0);
    buffer_release(&fixture->out);
    buffer_release(&fixture->payload);
    buffer_release(&fixture->from);
}

/* ---- the peer ---------------------------------------------------------------------------------
 */

int fixture_feed(struct fixture *fixture, struct slice bytes)
{
    do {
        fixture->random = fixture->random * 1103515245 + 12345;
        size_t size = 1 + (fixture->random >> 16) % 97;
        uint8_t *area = NULL;
        size_t room = 0;
        if (size > bytes.size)
            size = bytes.size;
        struct slice piece = slice_of(bytes.data, size);
        if (channel_area(fixture->channel, &area, &room)) {
            size = room < bytes.size ? room : bytes.size;
            memcpy(area, bytes.data, size);
            piece = slice_of(area, size);
        }
        fixture->status = channel_feed(fixture->channel, piece, fixture->now_ms);
        bytes = slice_of(bytes.data + size, bytes.size - size);
        while (fixture->status == 1)
            fixture->status = channel_feed(fixture->channel, slice_of(NULL, 0), fixture->now_ms);
    } while (bytes.size != 0 && fixture->status == 0);
    return fixture->status;
}

static int feed_buffer(struct fixture *fixture, struct buffer *bytes)
{
    fixture_feed(fixture, buffer_slice(bytes));
    buffer_release(bytes);
    return fixture->status;
}

int fixture_frame(struct fixture *fixture, const char *hex)
{
    struct buffer frame;
    buffer_init(&frame);
    buffer_append_be32(&frame, 0);
    hex_append(&frame, hex);
    store_be32(frame.data, (uint32_t)frame.size - 4);
    return feed_buffer(fixture, &frame);
}

int fixture_message(struct fixture *fixture, const char *control, const char *payload)
{
    struct buffer frame;
    buffer_init(&frame);
    fixture_frame_append(fixture, &frame, control, payload);
    return feed_buffer(fixture, &frame);
}

void fixture_send_name(struct fixture *fixture, const char *peer, uint64_t peer_flags)
{
    struct buffer packet;
    buffer_init(&packet);
    buffer_append_be16(&packet, (uint16_t)(15 + strlen(peer)));
    buffer_append_u8(&packet, 'N');
    buffer_append_be64(&packet, peer_flags);
    buffer_append_be32(&packet, CREATION);
    buffer_append_be16(&packet, (uint16_t)strlen(peer));
    buffer_append(&packet, peer, strlen(peer));
    feed_buffer(fixture, &packet);
}

void fixture_send_reply(struct fixture *fixture, const char *cookie)
{
    uint8_t digest[16];
    struct buffer packet;
    ck_assert(handshake_digest(slice_of_string(cookie), 0x55828aad, digest));
    buffer_init(&packet);
    buffer_append_be16(&packet, 21);
    buffer_append_u8(&packet, 'r');
    buffer_append_be32(&packet, 12345);
    buffer_append(&packet, digest, sizeof(digest));
    feed_buffer(fixture, &packet);
}

void fixture_connect(struct fixture *fixture, const char *peer, uint64_t peer_flags)
{
    fixture_send_name(fixture, peer, peer_flags);
    ck_assert_int_eq(fixture->status, 0);
    fixture_send_reply(fixture, "secret");
    ck_assert_int_eq(fixture->status, 0);
    fixture_drain(fixture);
    /* The last packet proves to the peer that we have the cookie too. */
    uint8_t digest[16];
    ck_assert(handshake_digest(slice_of_string("secret"), 12345, digest));
    ck_assert_uint_gt(fixture->out.size, 19);
    const uint8_t *ack = fixture->out.data + fixture->out.size - 19;
    ck_assert_mem_eq(ack, "\0\21a", 3);
    ck_assert_mem_eq(ack + 3, digest, 16);
    ck_assert(channel_is_up(fixture->channel));
    ck_assert_uint_eq(fixture->ups, 1);
    buffer_clear(&fixture->out);
    fixture->header = (fixture->node.flags & peer_flags & DFLAG_FRAGMENTS) != 0;
}

void connect_full(struct fixture *fixture)
{
    ck_assert(fixture_open(fixture, DFLAGS_OFFERED, OUR_CREATION));
    fixture_connect(fixture, "tester@localhost", FLAGS_ERLANG);
    ck_assert(!channel_peer_is_simple(fixture->channel));
}

void connect_ei(struct fixture *fixture)
{
    ck_assert(fixture_open(fixture, DFLAGS_OFFERED, OUR_CREATION));
    fixture_connect(fixture, "tester@localhost", FLAGS_EI);
    ck_assert(channel_peer_is_simple(fixture->channel));
}

void fixture_drain(struct fixture *fixture)
{
    struct iovec vector[4];
    size_t count;
    while ((count = channel_output(fixture->channel, vector, 4)) != 0) {
        size_t sent = 0;
        for (size_t i = 0; i < count; i++) {
            buffer_append(&fixture->out, vector[i].iov_base, vector[i].iov_len);
            sent += vector[i].iov_len;
        }
        channel_sent(fixture->channel, sent, fixture->now_ms);
    }
    ck_assert_uint_eq(channel_queued(fixture->channel), 0);
}

static void expect_bytes(struct fixture *fixture, const char *where, struct buffer *expected)
{
    fixture_drain(fixture);
    struct slice got = buffer_slice(&fixture->out), want = buffer_slice(expected);
    if (!slice_equal(got, want)) {
        char *got_hex = malloc(2 * got.size + 4), *want_hex = malloc(2 * want.size + 4);
        ck_abort_msg("%s:\n got %s\nwant %s", where, hex_of(got, got.size, got_hex),
            hex_of(want, want.size, want_hex));
    }
    buffer_clear(&fixture->out);
    buffer_release(expected);
}

void fixture_expect_hex(struct fixture *fixture, const char *where, const char *hex)
{
    struct buffer expected;
    buffer_init(&expected);
    if (hex != NULL)
        hex_append(&expected, hex);
    expect_bytes(fixture, where, &expected);
}

void fixture_expect(struct fixture *fixture, const char *control, const char *payload)
{
    struct buffer expected;
    buffer_init(&expected);
    if (control != NULL)
        fixture_frame_append(fixture, &expected, control, payload);
    expect_bytes(fixture, control != NULL ? control : "silence", &expected);
}
