/* The life of a channel: handshake and its deadline, time, limits, and lack of memory. */
#include "brain/channel.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "channel_fixture.h"
#include "heap_fault.h"
#include "suite.h"

enum { CREATION = 0x6b00f764 };

static void open_and_connect(struct fixture *fixture, uint64_t peer_flags)
{
    ck_assert(fixture_open(fixture, DFLAGS_OFFERED, CREATION));
    fixture_connect(fixture, "tester@localhost", peer_flags);
}

static int clock_at(struct fixture *fixture, uint64_t later_ms)
{
    fixture->now_ms += later_ms;
    return channel_clock(fixture->channel, fixture->now_ms);
}

/* ---- two channels against each other ----------------------------------------------------------
 */

static size_t move(struct fixture *from, struct fixture *to, uint32_t *random)
{
    struct iovec vector[3];
    size_t count = channel_output(from->channel, vector, 3), moved = 0;
    for (size_t i = 0; i < count; i++) {
        *random = *random * 1103515245 + 12345;
        size_t size = 1 + (*random >> 12) % 30000;
        bool whole = size >= vector[i].iov_len;
        if (whole)
            size = vector[i].iov_len;
        ck_assert_int_eq(fixture_feed(to, slice_of(vector[i].iov_base, size)), 0);
        moved += size;
        if (!whole)
            break;
    }
    channel_sent(from->channel, moved, from->now_ms);
    return moved;
}

static void settle(struct fixture *a, struct fixture *b)
{
    uint32_t random = 7;
    while (move(a, b, &random) + move(b, a, &random) != 0)
        continue;
}

static void open_pair(struct fixture *acceptor, struct fixture *initiator)
{
    static const char dialled[] = "brain@localhost";
    ck_assert(fixture_open(acceptor, DFLAGS_OFFERED, CREATION));
    ck_assert(fixture_open(initiator, DFLAGS_OFFERED, CREATION));
    struct channel_events events = {.context = NULL};
    channel_destroy(initiator->channel);
    initiator->node.name = slice_of_string("other@localhost");
    initiator->channel = channel_create(&initiator->node, HANDSHAKE_INITIATOR,
        slice_of_string(dialled), 99, initiator->now_ms, events);
    ck_assert_ptr_nonnull(initiator->channel);
}

static void send_value(struct channel *channel, size_t size)
{
    uint8_t to[64];
    struct buffer pid;
    buffer_init(&pid);
    terms_append(&pid, "S"); /* the acceptor's */
    ck_assert_uint_le(pid.size, sizeof(to));
    struct value value = {block_create(size + 5), NULL, size + 5};
    value.block->bytes[0] = ETF_BINARY;
    store_be32(value.block->bytes + 1, (uint32_t)size);
    memset(value.block->bytes + 5, (int)(size & 0xff), size);
    value.data = value.block->bytes;
    struct buffer *out = channel_send_begin(channel, buffer_slice(&pid), slice_of(NULL, 0));
    ck_assert_ptr_nonnull(out);
    etf_write_tuple(out, 2);
    etf_write_uint64(out, size);
    ck_assert_int_eq(channel_send_commit(channel, &value), 0);
    value_drop(&value);
    buffer_release(&pid);
}

START_TEST(two_channels_talk)
{
    struct fixture acceptor, initiator;
    open_pair(&acceptor, &initiator);
    ck_assert(!channel_is_up(initiator.channel));
    ck_assert_uint_eq(channel_peer(acceptor.channel).size, 0);
    settle(&acceptor, &initiator);
    ck_assert(channel_is_up(acceptor.channel) && channel_is_up(initiator.channel));
    ck_assert(slice_equal_string(channel_peer(acceptor.channel), "other@localhost"));
    ck_assert(slice_equal_string(channel_peer(initiator.channel), "brain@localhost"));
    ck_assert(!channel_peer_is_simple(initiator.channel));
    ck_assert_uint_eq(acceptor.node.metrics.handshakes_done, 1);
    ck_assert_uint_eq(initiator.node.metrics.handshakes_done, 1);

    static const size_t sizes[] = {0, 1, 1000, 70000, 500000, 300};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        send_value(initiator.channel, sizes[i]);
    settle(&acceptor, &initiator);
    ck_assert_uint_eq(acceptor.messages, 6);
    ck_assert_uint_eq(initiator.node.metrics.messages_sent, 6);
    /* One receiver: in order, so the last is the last. */
    ck_assert_uint_eq(acceptor.payload.size, 2 + 5 + 5 + 300);
    ck_assert_uint_eq(acceptor.payload.data[acceptor.payload.size - 1], 300 & 0xff);
    /* Its sender is our pid in the other node. */
    struct etf_pid pid;
    ck_assert_int_eq(etf_pid_parts(buffer_slice(&acceptor.from), &pid), 0);
    ck_assert(slice_equal_string(pid.node, "other@localhost"));
    ck_assert_uint_eq(pid.id, CHANNEL_PID_ID);
    fixture_close(&acceptor);
    fixture_close(&initiator);
}
END_TEST

/* Neither answers an answer. */
START_TEST(two_channels_do_not_tick_for_ever)
{
    struct fixture acceptor, initiator;
    open_pair(&acceptor, &initiator);
    settle(&acceptor, &initiator);
    uint32_t random = 3;
    acceptor.now_ms += 20000, initiator.now_ms += 20000;
    ck_assert_int_eq(channel_clock(acceptor.channel, acceptor.now_ms), 0);
    ck_assert_uint_eq(move(&acceptor, &initiator, &random), 4);
    ck_assert_uint_eq(move(&initiator, &acceptor, &random), 4);
    ck_assert_uint_eq(move(&acceptor, &initiator, &random), 0);
    ck_assert_uint_eq(move(&initiator, &acceptor, &random), 0);
    fixture_close(&acceptor);
    fixture_close(&initiator);
}
END_TEST

/* ---- handshake --------------------------------------------------------------------------------
 */

START_TEST(the_frame_behind_the_handshake_is_read)
{
    struct fixture fixture;
    ck_assert(fixture_open(&fixture, DFLAGS_OFFERED, CREATION));
    fixture_send_name(&fixture, "tester@localhost", FLAGS_ERLANG);
    fixture.header = true;
    uint8_t digest[16];
    struct buffer bytes;
    buffer_init(&bytes);
    hex_append(&bytes, "00 15 72 00 00 30 39");
    ck_assert(handshake_digest(slice_of_string("secret"), 0x55828aad, digest));
    buffer_append(&bytes, digest, sizeof(digest));
    fixture_frame_append(&fixture, &bytes, "{22 P S}", "first");
    fixture_frame_append(&fixture, &bytes, "{22 P S}", "second");
    ck_assert_int_eq(channel_feed(fixture.channel, buffer_slice(&bytes), fixture.now_ms), 0);
    ck_assert_uint_eq(fixture.ups, 1);
    ck_assert_uint_eq(fixture.messages, 2);
    buffer_release(&bytes);
    fixture_close(&fixture);
}
END_TEST

START_TEST(a_byte_a_second_ends_at_the_deadline)
{
    struct fixture fixture;
    ck_assert(fixture_open(&fixture, DFLAGS_OFFERED, CREATION));
    static const uint8_t name[] = {0, 31, 'N', 0, 0, 0, 0xd, 7, 0xdf, 0x7f};
    int status = 0;
    size_t fed = 0;
    while (status == 0 && fed < sizeof(name)) {
        status = channel_feed(fixture.channel, slice_of(&name[fed++], 1), fixture.now_ms);
        fixture.now_ms += 1000;
    }
    ck_assert_int_eq(status, BRAIN_ETIMEOUT);
    ck_assert_uint_eq(fed, 8); /* the one that came 7 s after the first was not looked at */
    ck_assert_uint_eq(fixture.node.metrics.handshake_timeouts, 1);
    ck_assert_int_eq(channel_clock(fixture.channel, fixture.now_ms), BRAIN_ETIMEOUT);
    ck_assert_uint_eq(fixture.node.metrics.handshake_timeouts, 1);
    ck_assert_str_eq(
        channel_error(fixture.channel), "unnamed peer: the handshake was not finished in time");
    fixture_close(&fixture);
}
END_TEST

START_TEST(silence_in_the_handshake_ends_at_the_deadline)
{
    struct fixture fixture;
    ck_assert(fixture_open(&fixture, DFLAGS_OFFERED, CREATION));
    fixture_send_name(&fixture, "tester@localhost", FLAGS_ERLANG);
    ck_assert_int_eq(clock_at(&fixture, 6999), 0);
    ck_assert_str_eq(channel_error(fixture.channel), "");
    ck_assert_int_eq(clock_at(&fixture, 1), BRAIN_ETIMEOUT);
    ck_assert_uint_eq(fixture.node.metrics.handshake_timeouts, 1);
    ck_assert_str_eq(
        channel_error(fixture.channel), "tester@localhost: the handshake was not finished in time");
    fixture_close(&fixture);
}
END_TEST

START_TEST(every_refusal_is_counted_as_what_it_is)
{
    struct fixture fixture;
    struct channel_metrics *metrics = &fixture.node.metrics;
    ck_assert(fixture_open(&fixture, DFLAGS_OFFERED, CREATION));
    fixture_send_name(&fixture, "tester@localhost", FLAGS_ERLANG);
    fixture_send_reply(&fixture, "guess");
    ck_assert_int_eq(fixture.status, BRAIN_EAUTH);
    ck_assert_uint_eq(metrics->refused_cookie, 1);
    ck_assert_uint_eq(
        metrics->refused_flags + metrics->refused_handshake + metrics->handshakes_done, 0);
    ck_assert_ptr_null(strstr(channel_error(fixture.channel), "secret"));
    ck_assert_ptr_nonnull(strstr(channel_error(fixture.channel), "tester@localhost: "));
    fixture_close(&fixture);

    ck_assert(fixture_open(&fixture, DFLAGS_OFFERED, CREATION));
    fixture_send_name(&fixture, "tester@localhost", DFLAG_HANDSHAKE_23);
    ck_assert_int_eq(fixture.status, BRAIN_EFLAGS);
    ck_assert_uint_eq(metrics->refused_flags, 1);
    ck_assert_uint_eq(metrics->refused_cookie + metrics->refused_handshake, 0);
    /* The refusal is there to be flushed. */
    fixture_expect_hex(&fixture, "refusal", "00 0c 73 6e 6f 74 5f 61 6c 6c 6f 77 65 64");
    fixture_close(&fixture);

    ck_assert(fixture_open(&fixture, DFLAGS_OFFERED, CREATION));
    static const char http[] = "GET / HTTP/1.0\r\n\r\n";
    fixture_feed(&fixture, slice_of_string(http));
    ck_assert_int_lt(fixture.status, 0);
    ck_assert_uint_eq(metrics->refused_handshake, 1);
    ck_assert_ptr_null(channel_send_begin(fixture.channel, slice_of(NULL, 0), slice_of(NULL, 0)));
    fixture_close(&fixture);
}
END_TEST

/* ---- time -------------------------------------------------------------------------------------
 */

START_TEST(idle_links_are_ticked)
{
    struct fixture fixture;
    open_and_connect(&fixture, FLAGS_ERLANG);
    ck_assert_int_eq(clock_at(&fixture, 14999), 0);
    fixture_expect_hex(&fixture, "too early", NULL);
    ck_assert_int_eq(clock_at(&fixture, 1), 0);
    ck_assert_int_eq(clock_at(&fixture, 0), 0); /* queued already */
    fixture_expect_hex(&fixture, "tick", "00 00 00 00");
    ck_assert_int_eq(clock_at(&fixture, 10000), 0);
    fixture_expect_hex(&fixture, "just ticked", NULL);
    /* Anything sent counts. */
    fixture_message(&fixture, "{19 P nosuch R}", NULL);
    fixture_expect(&fixture, "{28 nosuch P R}", "noproc");
    ck_assert_int_eq(clock_at(&fixture, 14999), 0);
    fixture_expect_hex(&fixture, "sent something", NULL);
    ck_assert_int_eq(clock_at(&fixture, 1), 0);
    fixture_expect_hex(&fixture, "tick", "00 00 00 00");
    fixture_close(&fixture);
}
END_TEST

START_TEST(ticks_of_erlang_are_answered)
{
    static const uint8_t ticks[12] = {0};
    struct fixture fixture;
    open_and_connect(&fixture, FLAGS_ERLANG);
    fixture.now_ms += 2000;
    fixture_feed(&fixture, slice_of(ticks, 4));
    fixture_expect_hex(&fixture, "answer", "00 00 00 00");
    fixture_feed(&fixture, slice_of(ticks, 12));
    fixture_expect_hex(&fixture, "something left just now", NULL);
    fixture.now_ms += 2000;
    fixture_feed(&fixture, slice_of(ticks, 12));
    fixture_expect_hex(&fixture, "one answer for a flood", "00 00 00 00");
    fixture_close(&fixture);
}
END_TEST

START_TEST(silent_erlang_peers_are_dropped)
{
    struct fixture fixture;
    open_and_connect(&fixture, FLAGS_ERLANG);
    ck_assert_int_eq(clock_at(&fixture, 74999), 0);
    fixture_feed(&fixture, slice_of("\0\0\0\0", 4));
    ck_assert_int_eq(clock_at(&fixture, 74999), 0);
    ck_assert_int_eq(clock_at(&fixture, 1), BRAIN_ETIMEOUT);
    ck_assert_int_eq(clock_at(&fixture, 1), BRAIN_ETIMEOUT);
    ck_assert_uint_eq(fixture.node.metrics.silent_peers, 1);
    fixture_close(&fixture);
}
END_TEST

START_TEST(ei_peers_may_be_silent_and_hear_few_ticks)
{
    struct fixture fixture;
    open_and_connect(&fixture, FLAGS_EI);
    fixture.node.tick_interval_ms = 1000; /* too often for them */
    ck_assert_int_eq(clock_at(&fixture, 14999), 0);
    fixture_expect_hex(&fixture, "too early", NULL);
    ck_assert_int_eq(clock_at(&fixture, 1), 0);
    fixture_expect_hex(&fixture, "tick", "00 00 00 00");
    /* Its answer is not answered. */
    fixture.now_ms += 5000;
    fixture_feed(&fixture, slice_of("\0\0\0\0", 4));
    fixture_expect_hex(&fixture, "answer to an answer", NULL);
    ck_assert_int_eq(clock_at(&fixture, 3600 * 1000), 0);
    ck_assert(channel_is_up(fixture.channel));
    fixture_close(&fixture);
}
END_TEST

/* ---- limits -----------------------------------------------------------------------------------
 */

START_TEST(slow_readers_are_closed)
{
    struct fixture fixture;
    open_and_connect(&fixture, FLAGS_ERLANG);
    fixture.echo = true;
    static const char call[] = "{'$gen_call' {P [alias|R]} get}";
    struct buffer frame;
    buffer_init(&frame);
    fixture_frame_append(&fixture, &frame, "{6 P '' brain}", call);
    unsigned calls = 0;
    while (fixture.status == 0 && calls++ < 100000)
        fixture_feed(&fixture, buffer_slice(&frame));
    ck_assert_int_eq(fixture.status, BRAIN_ETOOBIG);
    ck_assert_uint_lt(calls, 20000);
    ck_assert_uint_eq(fixture.node.metrics.slow_readers, 1);
    ck_assert_uint_eq(fixture.node.metrics.limit_errors + fixture.node.metrics.protocol_errors, 0);
    ck_assert_int_eq(channel_clock(fixture.channel, fixture.now_ms), BRAIN_ETOOBIG);
    ck_assert_uint_eq(fixture.node.metrics.slow_readers, 1);
    ck_assert(!channel_is_up(fixture.channel));
    ck_assert_ptr_null(channel_send_begin(fixture.channel, slice_of(NULL, 0), slice_of(NULL, 0)));
    buffer_release(&frame);
    fixture_close(&fixture);
}
END_TEST

/* The server sees it first, then the connection. */
START_TEST(an_answer_over_the_limit_closes)
{
    struct fixture fixture;
    open_and_connect(&fixture, FLAGS_ERLANG);
    struct value big = {block_create(2 << 20), NULL, 2 << 20};
    big.data = big.block->bytes;
    memset(big.block->bytes, 0, big.size);
    struct buffer *out =
        channel_send_begin(fixture.channel, slice_of_string("pid"), slice_of(NULL, 0));
    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(channel_send_commit(fixture.channel, &big), BRAIN_ETOOBIG);
    value_drop(&big);
    ck_assert_int_eq(channel_feed(fixture.channel, slice_of(NULL, 0), 0), BRAIN_ETOOBIG);
    ck_assert_uint_eq(fixture.node.metrics.slow_readers, 1);
    ck_assert_uint_eq(fixture.node.metrics.messages_sent, 0);
    fixture_close(&fixture);
}
END_TEST

START_TEST(aborted_messages_are_not_sent)
{
    struct fixture fixture;
    open_and_connect(&fixture, FLAGS_ERLANG);
    struct buffer *out =
        channel_send_begin(fixture.channel, slice_of_string("pid"), slice_of(NULL, 0));
    etf_write_atom(out, "never");
    channel_send_abort(fixture.channel);
    fixture_message(&fixture, "{19 P nosuch R}", NULL);
    fixture_expect(&fixture, "{28 nosuch P R}", "noproc");
    ck_assert_uint_eq(fixture.node.metrics.messages_sent, 0);
    fixture_close(&fixture);
}
END_TEST

static const struct {
    const char *hex;
    int status;
    const char *sentence; /* its end */
} broken_frames[] = {
    {"00 00 00 03 83 44 00", BRAIN_EPROTO, NULL},
    {"00 00 00 02 70 83", BRAIN_EPROTO, NULL},
    {"00 00 00 12 83 46 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 02", BRAIN_EPROTO,
        "(first bytes 834600000000000000010000000000000002)"},
    {"ff ff ff ff", BRAIN_ETOOBIG, NULL},
};

START_TEST(broken_frames_close)
{
    struct fixture fixture;
    struct buffer bytes;
    open_and_connect(&fixture, FLAGS_ERLANG);
    buffer_init(&bytes);
    hex_append(&bytes, broken_frames[_i].hex);
    ck_assert_int_eq(fixture_feed(&fixture, buffer_slice(&bytes)), broken_frames[_i].status);
    buffer_release(&bytes);
    const struct channel_metrics *metrics = &fixture.node.metrics;
    ck_assert_uint_eq(metrics->protocol_errors, broken_frames[_i].status == BRAIN_EPROTO);
    ck_assert_uint_eq(metrics->limit_errors, broken_frames[_i].status == BRAIN_ETOOBIG);
    const char *error = channel_error(fixture.channel);
    ck_assert_msg(strncmp(error, "tester@localhost: ", 18) == 0, "%s", error);
    if (broken_frames[_i].sentence != NULL)
        ck_assert_msg(strstr(error, broken_frames[_i].sentence) != NULL, "%s", error);
    fixture_close(&fixture);
}
END_TEST

/* Whatever its name, the log line stays one short line of plain text. */
START_TEST(names_in_errors_are_short_and_printable)
{
    struct fixture fixture;
    char name[201];
    memset(name, 'x', sizeof(name) - 1);
    memcpy(name, "h\xc3\xa9llo", 6);
    memcpy(name + 190, "@localhost", 11);
    ck_assert(fixture_open(&fixture, DFLAGS_OFFERED, CREATION));
    fixture_connect(&fixture, name, FLAGS_ERLANG);
    fixture_feed(&fixture, slice_of("\xff\xff\xff\xff", 4));
    const char *error = channel_error(fixture.channel);
    ck_assert_msg(strncmp(error, "h??lloxxx", 9) == 0, "%s", error);
    ck_assert_uint_lt(strlen(error), 319);
    for (const char *at = error; *at != '\0'; at++)
        ck_assert(*at >= ' ' && *at < 0x7f);
    fixture_close(&fixture);
}
END_TEST

/* ---- lack of memory ---------------------------------------------------------------------------
 */

/* Bytes prepared outside, so that only the channel allocates inside. */
struct scenario {
    struct buffer bytes;
    size_t steps[16];
    size_t count;
};

static void scenario_step(struct scenario *scenario)
{
    ck_assert_uint_lt(scenario->count, 16);
    scenario->steps[scenario->count++] = scenario->bytes.size;
}

static void scenario_make(struct scenario *scenario)
{
    uint8_t digest[16];
    struct fixture shape = {.header = true};
    struct buffer *bytes = &scenario->bytes;
    *scenario = (struct scenario){0};
    buffer_init(bytes);
    hex_append(bytes, "00 1f 4e 00 00 00 0d 07 df 7f bd 6b 00 f7 65 00 10 "
                      "74 65 73 74 65 72 40 6c 6f 63 61 6c 68 6f 73 74");
    scenario_step(scenario);
    hex_append(bytes, "00 15 72 00 00 30 39");
    ck_assert(handshake_digest(slice_of_string("secret"), 0x55828aad, digest));
    buffer_append(bytes, digest, sizeof(digest));
    scenario_step(scenario);
    static const char *const messages[][2] = {
        {"{6 P '' net_kernel}", "{'$gen_call' {P [alias|R]} {is_auth x}}"},
        {"{19 P brain R}", NULL},
        {"{6 P '' brain}", "{'$gen_call' {P [alias|R]} {get {a {deep [term]}}}}"},
        {"{19 P nosuch T}", NULL},
        {"{20 P brain R}", NULL},
        {"{1 Q S}", NULL},
        {"{29 R P Q {m f 1} []}", "[]"},
        {"{6 P '' rex}", "{P {call m f [] user}}"},
    };
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        fixture_frame_append(&shape, bytes, messages[i][0], messages[i][1]);
        scenario_step(scenario);
    }
}

/* A server that answers everything; it may be told that there is no memory for it. */
static void answer(void *context, struct channel *channel, const struct channel_message *message)
{
    unsigned *unsent = context;
    struct buffer *out = channel_send_begin(channel, message->from, slice_of(NULL, 0));
    ck_assert_ptr_nonnull(out);
    etf_write_atom(out, "ok");
    int status = channel_send_commit(channel, NULL);
    ck_assert(status == 0 || status == BRAIN_ENOMEM);
    *unsent += status != 0;
}

START_TEST(lack_of_memory_at_any_place_is_survived)
{
    struct scenario scenario;
    struct fixture fixture;
    struct buffer unread;
    unsigned fail_at, closed = 0, unsent = 0;
    ck_assert(fixture_open(&fixture, DFLAGS_OFFERED, CREATION));
    scenario_make(&scenario);
    buffer_init(&unread);
    fixture.header = true;
    fixture_frame_append(&fixture, &unread, "{19 P D R}", NULL);
    channel_destroy(fixture.channel);
    fixture.channel = NULL;
    struct channel_events events = {.context = &unsent, .on_message = answer};
    for (fail_at = 1;; fail_at++) {
        memset(&fixture.node.metrics, 0, sizeof(fixture.node.metrics));
        heap_fault_start(fail_at);
        struct channel *channel = channel_create(
            &fixture.node, HANDSHAKE_ACCEPTOR, slice_of(NULL, 0), 0x55828aad, 0, events);
        int status = channel == NULL ? BRAIN_ENOMEM : 0;
        size_t at = 0;
        for (size_t i = 0; i < scenario.count && status == 0; at = scenario.steps[i++]) {
            struct iovec vector[4];
            struct slice bytes = slice_of(scenario.bytes.data + at, scenario.steps[i] - at);
            /* In two pieces, so that partial frames are kept too. */
            status = channel_feed(channel, slice_of(bytes.data, 9), 0);
            if (status == 0)
                status = channel_feed(channel, slice_of(bytes.data + 9, bytes.size - 9), 0);
            for (size_t count; (count = channel_output(channel, vector, 4)) != 0;)
                for (size_t k = 0; k < count; k++)
                    channel_sent(channel, vector[k].iov_len, 0);
        }
        /* A queue of signals that grows, because nobody reads. */
        struct slice signal = buffer_slice(&unread);
        for (unsigned i = 0; i < 300 && status == 0; i++)
            status = channel_feed(channel, signal, 0);
        if (channel != NULL) {
            channel_say_goodbye(channel);
            ck_assert(status == 0 || status == BRAIN_ENOMEM);
            status = channel_clock(channel, 0);
            ck_assert_uint_eq(fixture.node.metrics.memory_errors, status != 0);
            closed += status != 0;
        }
        channel_destroy(channel);
        ck_assert_uint_eq(fixture.node.metrics.monitors, 0);
        if (!heap_fault_stop())
            break;
        /* Nobody waits for what was not sent: the caller knows, or the connection ended. */
        ck_assert(status == BRAIN_ENOMEM || unsent != 0);
        unsent = 0;
    }
    ck_assert_uint_gt(fail_at, 10);
    ck_assert_uint_gt(closed, 5);
    buffer_release(&scenario.bytes);
    buffer_release(&unread);
    fixture_close(&fixture);
}
END_TEST

/* ---- metrics ----------------------------------------------------------------------------------
 */

START_TEST(all_metrics_are_registered)
{
    struct channel_metrics metrics = {.monitors = 42};
    static struct metrics_registry registry;
    channel_metrics_register(&registry, &metrics);
    ck_assert_uint_eq(registry.count, sizeof(metrics) / sizeof(uint64_t));
    const struct metric *last = &registry.metrics[registry.count - 1];
    ck_assert_str_eq(last->name, "monitors");
    ck_assert_str_eq(last->group, "dist");
    ck_assert_int_eq(last->kind, METRIC_GAUGE);
    ck_assert_uint_eq(*last->value, 42);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dist-channel");
    TCase *pair = tcase_create("two channels");
    tcase_add_test(pair, two_channels_talk);
    tcase_add_test(pair, two_channels_do_not_tick_for_ever);
    suite_add_tcase(suite, pair);
    TCase *handshake = tcase_create("handshake");
    tcase_add_test(handshake, the_frame_behind_the_handshake_is_read);
    tcase_add_test(handshake, a_byte_a_second_ends_at_the_deadline);
    tcase_add_test(handshake, silence_in_the_handshake_ends_at_the_deadline);
    tcase_add_test(handshake, every_refusal_is_counted_as_what_it_is);
    suite_add_tcase(suite, handshake);
    TCase *time = tcase_create("time");
    tcase_add_test(time, idle_links_are_ticked);
    tcase_add_test(time, ticks_of_erlang_are_answered);
    tcase_add_test(time, silent_erlang_peers_are_dropped);
    tcase_add_test(time, ei_peers_may_be_silent_and_hear_few_ticks);
    suite_add_tcase(suite, time);
    TCase *limits = tcase_create("limits");
    tcase_add_test(limits, slow_readers_are_closed);
    tcase_add_test(limits, an_answer_over_the_limit_closes);
    tcase_add_test(limits, aborted_messages_are_not_sent);
    tcase_add_loop_test(
        limits, broken_frames_close, 0, (int)(sizeof(broken_frames) / sizeof(broken_frames[0])));
    tcase_add_test(limits, names_in_errors_are_short_and_printable);
    suite_add_tcase(suite, limits);
    TCase *memory = tcase_create("memory");
    tcase_add_test(memory, lack_of_memory_at_any_place_is_survived);
    tcase_add_test(memory, all_metrics_are_registered);
    suite_add_tcase(suite, memory);
    return suite_run(suite);
}
