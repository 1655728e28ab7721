/* What a peer may send to any OTP node, and what this one answers: byte for byte against dumps of
 * OTP, then row by row. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "channel_dumps.h"
#include "channel_fixture.h"
#include "suite.h"

/* ---- dumps ----------------------------------------------------------------------------------- */

static void replay(uint64_t flags, uint32_t creation, const char *peer,
    const struct dump_step *steps, size_t count, unsigned messages)
{
    struct fixture fixture;
    ck_assert(fixture_open(&fixture, flags, creation));
    fixture.echo = true;
    fixture_connect(&fixture, peer, FLAGS_ERLANG);
    for (size_t i = 0; i < count; i++) {
        if (steps[i].kind == DUMP_OUT) {
            fixture_expect_hex(&fixture, steps[i].row, steps[i].hex);
            continue;
        }
        fixture_expect_hex(&fixture, steps[i].row, NULL);
        ck_assert_msg(fixture_frame(&fixture, steps[i].hex) == 0, "%s: %s", steps[i].row,
            channel_error(fixture.channel));
    }
    fixture_expect_hex(&fixture, "end", NULL);
    ck_assert_uint_eq(fixture.messages, messages);
    ck_assert_uint_eq(fixture.node.metrics.messages_received, messages);
    fixture_close(&fixture);
}

#define STEPS(dump) dump, sizeof(dump) / sizeof(dump[0])

START_TEST(dump_with_ei_flags)
{
    replay(UINT64_C(0x407074F9C), 0x6b00f764, "tester@localhost", STEPS(dump_ei), 8);
}
END_TEST

START_TEST(dump_with_monitors)
{
    replay(UINT64_C(0xD07074FBC), 0x6b00f768, "testerA@localhost", STEPS(dump_monitors), 3);
}
END_TEST

START_TEST(dump_with_everything)
{
    replay(DFLAGS_OFFERED, 0x6b00f769, "testerB@localhost", STEPS(dump_full), 3);
}
END_TEST

/* ---- rows ------------------------------------------------------------------------------------ */

/* From an Erlang peer, all answers go by alias or SEND_SENDER. */
static const struct row {
    const char *control, *payload;
    const char *answer, *answer_payload; /* NULL: none */
    size_t counter;                      /* the metric that grows */
} rows[] = {
#define COUNTED(field) offsetof(struct channel_metrics, field)
#define NOT_COUNTED    SIZE_MAX
    {"{6 P '' net_kernel}", CALL("{is_auth tester@localhost}"), "{33 S R}", "{[alias|R] yes}",
        COUNTED(pings_answered)},
    {"{6 P '' net_kernel}", "{'$gen_call' {P R} {is_auth x}}", "{22 S P}", "{R yes}",
        COUNTED(pings_answered)},
    {"{6 P '' net_kernel}", "{'$gen_call' {P [[alias|R]|T]} {is_auth x}}", "{33 S R}",
        "{[[alias|R]|T] yes}", COUNTED(pings_answered)},
    {"{6 P '' net_kernel}", "{'$gen_call' {P [alias R]} {is_auth x}}", "{22 S P}",
        "{[alias R] yes}", COUNTED(pings_answered)},
    {"{6 P '' net_kernel}", "{'$gen_call' {P {T node}} {is_auth x}}", "{22 S P}", "{{T node} yes}",
        COUNTED(pings_answered)},
    {"{6 P '' net_kernel}", CALL("{spawn_func x}"), "{33 S R}", "{[alias|R] {error notsup}}",
        COUNTED(requests_refused)},
    {"{6 P '' net_kernel}", "{is_auth x}", NULL, NULL, COUNTED(messages_dropped)},
    {"{6 P '' net_kernel}", "{'$gen_call' nobody {is_auth x}}", NULL, NULL,
        COUNTED(messages_dropped)},
    {"{6 P '' net_kernel}", "{system {'$gen_call' {P R} x} y}", NULL, NULL,
        COUNTED(messages_dropped)},
    /* rex */
    {"{6 P '' rex}", CALL("{block_call erlang node [] P}"), "{33 S R}",
        "{[alias|R] {badrpc notsup}}", COUNTED(requests_refused)},
    {"{6 P '' rex}", "{'$gen_call' {P R} {call erlang node [] P}}", "{22 S P}",
        "{R {badrpc notsup}}", COUNTED(requests_refused)},
    {"{6 P '' rex}", "{Q {call erlang node [] user}}", "{22 S Q}", "{rex {badrpc notsup}}",
        COUNTED(requests_refused)},
    {"{6 P '' rex}", "{P {sbcast name message}}", "{22 S P}",
        "{rex brain@localhost {nonexisting_name name}}", COUNTED(requests_refused)},
    {"{6 P '' rex}", "{P features_request}", "{22 S P}", "{features_reply brain@localhost []}",
        NOT_COUNTED},
    {"{6 P '' rex}", "{'$gen_cast' {cast erlang node [] P}}", NULL, NULL,
        COUNTED(messages_dropped)},
    /* sys, at any name */
    {"{6 P '' brain}", SYSTEM("get_state"), "{33 S R}", "{[alias|R] {ok running}}", NOT_COUNTED},
    {"{22 P S}", SYSTEM("get_status"), "{33 S R}",
        "{[alias|R] {status S {module brain} [[] running S [] []]}}", NOT_COUNTED},
    {"{6 P '' rex}", SYSTEM("get_state"), "{33 S R}", "{[alias|R] {ok running}}", NOT_COUNTED},
    {"{6 P '' brain}", SYSTEM("suspend"), "{33 S R}", "{[alias|R] {error notsup}}",
        COUNTED(requests_refused)},
    {"{6 P '' brain}", SYSTEM("{replace_state x}"), "{33 S R}", "{[alias|R] {error notsup}}",
        COUNTED(requests_refused)},
    /* io and gen_event */
    {"{22 P S}", "{io_request Q T {put_chars x}}", "{22 S Q}", "{io_reply T {error enotsup}}",
        COUNTED(requests_refused)},
    {"{6 P '' brain}", "{P {P [alias|R]} {call h req}}", "{33 S R}",
        "{[alias|R] {error bad_module}}", COUNTED(requests_refused)},
    {"{6 P '' brain}", "{P {P [alias|R]} {delete_handler h x}}", "{33 S R}",
        "{[alias|R] {error module_not_found}}", COUNTED(requests_refused)},
    {"{6 P '' brain}", "{P {P [alias|R]} which_handlers}", "{33 S R}", "{[alias|R] []}",
        NOT_COUNTED},
    {"{6 P '' brain}", "{P {P [alias|R]} {add_handler h x}}", "{33 S R}",
        "{[alias|R] {error notsup}}", COUNTED(requests_refused)},
    /* processes that are not there */
    {"{6 P '' nosuch}", CALL("get"), NULL, NULL, COUNTED(messages_dropped)},
    {"{22 P D}", "hello", NULL, NULL, COUNTED(messages_dropped)},
    {"{2 '' F}", "hello", NULL, NULL, COUNTED(messages_dropped)},
    {"{33 P R}", "hello", NULL, NULL, COUNTED(messages_dropped)},
    {"{19 P nosuch R}", NULL, "{28 nosuch P R}", "noproc", NOT_COUNTED},
    {"{19 P D R}", NULL, "{28 D P R}", "noproc", NOT_COUNTED},
    {"{19 P F R}", NULL, NULL, NULL, COUNTED(messages_dropped)},
    {"{1 P D}", NULL, "{24 D P}", "noproc", NOT_COUNTED},
    {"{1 P F}", NULL, NULL, NULL, COUNTED(messages_dropped)},
    {"{35 7 P D}", NULL, "{36 7 D P}", NULL, NOT_COUNTED},
    {"{35 123456789012 P S}", NULL, "{36 123456789012 S P}", NULL, NOT_COUNTED},
    {"{35 7 P F}", NULL, NULL, NULL, COUNTED(messages_dropped)},
    /* spawn */
    {"{29 R P Q {erpc execute_call 4} [monitor]}", "[T erlang node []]", "{31 R P 0 notsup}", NULL,
        COUNTED(requests_refused)},
    {"{30 R P Q {erlang node 0} [] {1 2 3 P 5}}", "[]", "{31 R P 0 notsup}", NULL,
        COUNTED(requests_refused)},
    /* nothing to do */
    {"{7 P S}", NULL, NULL, NULL, NOT_COUNTED},
    {"{8 P S because}", NULL, NULL, NULL, NOT_COUNTED},
    {"{26 P S}", "because", NULL, NULL, NOT_COUNTED},
    {"{20 P brain R}", NULL, NULL, NULL, NOT_COUNTED},
    {"{21 P S R noproc}", NULL, NULL, NULL, NOT_COUNTED},
    {"{31 R S 0 notsup}", NULL, NULL, NULL, NOT_COUNTED},
    {"{36 7 P S}", NULL, NULL, NULL, NOT_COUNTED},
    {"{4 P S}", NULL, NULL, NULL, NOT_COUNTED},
};

/* Nothing is counted but the answer, when it is a message, and what the row says. */
static void check_counted(const struct channel_metrics *before, const struct channel_metrics *after,
    const struct row *row)
{
    bool sent = row->answer != NULL &&
                (strncmp(row->answer, "{33 ", 4) == 0 || strncmp(row->answer, "{22 ", 4) == 0);
    for (size_t at = 0; at < sizeof(*before); at += sizeof(uint64_t)) {
        uint64_t was, is;
        memcpy(&was, (const char *)before + at, sizeof(was));
        memcpy(&is, (const char *)after + at, sizeof(is));
        bool grows = at == row->counter || (sent && at == COUNTED(messages_sent));
        ck_assert_msg(is == was + grows, "%s %s: counter %zu", row->control,
            row->payload != NULL ? row->payload : "", at / sizeof(uint64_t));
    }
}

START_TEST(every_row_is_answered)
{
    const struct row *row = &rows[_i];
    struct fixture fixture;
    connect_full(&fixture);
    struct channel_metrics before = fixture.node.metrics;
    ck_assert_int_eq(fixture_message(&fixture, row->control, row->payload), 0);
    fixture_expect(&fixture, row->answer, row->answer_payload);
    check_counted(&before, &fixture.node.metrics, row);
    ck_assert_uint_eq(fixture.messages, 0);
    fixture_close(&fixture);
}
END_TEST

/* The forms of an ei peer: no SEND_SENDER, no alias, reasons inside. */
START_TEST(simple_peers_hear_plain_forms)
{
    struct fixture fixture;
    connect_ei(&fixture);
    fixture_message(&fixture, "{6 P '' net_kernel}", CALL("{is_auth x}"));
    fixture_expect(&fixture, "{2 '' P}", "{[alias|R] yes}");
    fixture_message(&fixture, "{6 P '' rex}", "{P {call erlang node [] user}}");
    fixture_expect(&fixture, "{2 '' P}", "{rex {badrpc notsup}}");
    fixture_message(&fixture, "{1 P D}", NULL);
    fixture_expect(&fixture, "{3 D P noproc}", NULL);
    fixture_message(&fixture, "{19 P nosuch R}", NULL);
    fixture_expect(&fixture, "{21 nosuch P R noproc}", NULL);
    ck_assert_int_eq(fixture.status, 0);
    fixture_close(&fixture);
}
END_TEST

/* ---- what goes up ---------------------------------------------------------------------------- */

static void expect_message(
    struct fixture *fixture, const char *control, const char *payload, const char *from)
{
    struct buffer expected;
    unsigned messages = fixture->messages;
    ck_assert_int_eq(fixture_message(fixture, control, payload), 0);
    ck_assert_uint_eq(fixture->messages, messages + 1);
    buffer_init(&expected);
    terms_append(&expected, payload);
    ck_assert(slice_equal(buffer_slice(&fixture->payload), buffer_slice(&expected)));
    buffer_clear(&expected);
    if (from != NULL)
        terms_append(&expected, from);
    ck_assert(slice_equal(buffer_slice(&fixture->from), buffer_slice(&expected)));
    buffer_release(&expected);
    fixture_expect(fixture, NULL, NULL);
}

START_TEST(messages_for_the_registered_process_go_up)
{
    struct fixture fixture;
    connect_full(&fixture);
    expect_message(&fixture, "{6 P '' brain}", "{s \"id\" value}", "P");
    expect_message(&fixture, "{22 P S}", "{g true \"id\" P null}", "P");
    expect_message(&fixture, "{2 '' S}", "{d \"id\"}", NULL);
    expect_message(&fixture, "{2 '' Z}", "{d \"id\"}", NULL); /* of any creation */
    expect_message(&fixture, "{16 P '' brain {1 17 1 P 0}}", "traced", "P");
    expect_message(&fixture, "{6 P '' brain}", CALL("{get \"id\"}"), "P");
    expect_message(&fixture, "{6 P '' brain}", "{'$gen_cast' {set \"id\" 1}}", "P");
    /* Not quite what is answered here. */
    expect_message(&fixture, "{6 P '' brain}", "{system x y}", "P");
    expect_message(&fixture, "{6 P '' brain}", "{io_request x y z}", "P");
    expect_message(&fixture, "{6 P '' brain}", "{P y z}", "P");
    expect_message(&fixture, "{6 P '' brain}", "{}", "P");
    ck_assert_uint_eq(fixture.node.metrics.messages_received, 11);
    ck_assert_uint_eq(fixture.node.metrics.terms_refused, 0);
    fixture_close(&fixture);
}
END_TEST

/* The further names are the same process, but who was meant is told. */
START_TEST(messages_to_other_names_go_up_with_the_name)
{
    struct fixture fixture;
    connect_full(&fixture);
    expect_message(&fixture, "{6 P '' brain_peer}", "{hello 1 2}", "P");
    ck_assert_str_eq(fixture.name, "brain_peer");
    expect_message(&fixture, "{6 P '' brain_peer}", "{hello 1 3}", "P"); /* as expected */
    ck_assert_str_eq(fixture.name, "brain_peer");
    expect_message(&fixture, "{6 P '' memory}", CALL("{get \"id\"}"), "P");
    ck_assert_str_eq(fixture.name, "memory");
    expect_message(&fixture, "{6 P '' brain}", "{hello 1 2}", "P");
    ck_assert_ptr_null(fixture.name);
    fixture_message(&fixture, "{6 P '' memory}", SYSTEM("get_state"));
    fixture_expect(&fixture, "{33 S R}", "{[alias|R] {ok running}}");
    /* A call to it monitors it first. */
    fixture_message(&fixture, "{19 P memory R}", NULL);
    fixture_expect(&fixture, NULL, NULL);
    ck_assert_uint_eq(fixture.node.metrics.monitors, 1);
    channel_say_goodbye(fixture.channel);
    fixture_expect(&fixture, "{28 memory P R}", "shutdown");
    ck_assert_int_eq(fixture.status, 0);
    fixture_close(&fixture);
}
END_TEST

/* A control tuple like the one before it is not read again: what differs must be seen all the same.
 */
START_TEST(messages_addressed_alike)
{
    struct fixture fixture;
    connect_full(&fixture);
    expect_message(&fixture, "{6 P '' brain}", "{p a}", "P");
    expect_message(&fixture, "{6 P '' brain}", "{p b}", "P");
    expect_message(&fixture, "{6 Q '' brain}", "{p c}", "Q"); /* another process */
    expect_message(&fixture, "{6 F '' brain}", "{p d}", "F"); /* of another node */
    expect_message(&fixture, "{6 Q '' brain}", "{p e}", "Q");
    expect_message(&fixture, "{22 Q S}", "{p f}", "Q");
    expect_message(&fixture, "{22 P S}", "{p g}", "P");
    expect_message(&fixture, "{2 '' S}", "{p h}", NULL);
    expect_message(&fixture, "{2 '' S}", "{p i}", NULL);
    unsigned messages = fixture.messages;
    ck_assert_int_eq(fixture_message(&fixture, "{2 '' D}", "{p j}"), 0);
    ck_assert_int_eq(fixture_message(&fixture, "{6 P '' brai}", "{p j}"), 0);
    ck_assert_int_eq(fixture_message(&fixture, "{6 P '' brainy}", "{p j}"), 0);
    ck_assert_uint_eq(fixture.messages, messages);
    ck_assert_uint_eq(fixture.node.metrics.messages_dropped, 3);
    expect_message(&fixture, "{6 P '' brain}", "{p k}", "P");
    ck_assert_int_eq(
        fixture_message(&fixture, "{6 P '' net_kernel}", CALL("{is_auth tester@localhost}")), 0);
    fixture_expect(&fixture, "{33 S R}", "{[alias|R] yes}");
    expect_message(&fixture, "{6 P '' brain}", "{p l}", "P");
    fixture_expect(&fixture, NULL, NULL);
    /* Cut in its last byte. */
    ck_assert_int_eq(
        fixture_frame(&fixture, "83 44 00 68 04 61 06 58 77 10 74 65 73 74 65 72 40 6c "
                                "6f 63 61 6c 68 6f 73 74 00 00 00 59 00 00 00 00 6b 00 "
                                "f7 65 77 00 77 05 62 72 61 69"),
        BRAIN_EPROTO);
    fixture_close(&fixture);
}
END_TEST

/* What came out of a channel that was fed `bytes` in pieces of `size`, each gone after its feed. */
static void answers_to(struct slice bytes, size_t size, struct buffer *out, unsigned *put_offs)
{
    struct fixture fixture;
    connect_full(&fixture);
    fixture.echo = fixture.puts_off = true;
    for (size_t at = 0; at < bytes.size && fixture.status == 0; at += size) {
        size_t part = bytes.size - at < size ? bytes.size - at : size;
        uint8_t *piece = malloc(part);
        memcpy(piece, bytes.data + at, part);
        fixture.status = channel_feed(fixture.channel, slice_of(piece, part), fixture.now_ms);
        free(piece);
        ck_assert_uint_eq(fixture.put_offs, 0);
    }
    ck_assert_int_eq(fixture.status, BRAIN_EPROTO);
    fixture_drain(&fixture);
    buffer_append_slice(out, buffer_slice(&fixture.out));
    *put_offs = fixture.put_offs_ever;
    fixture_close(&fixture);
}

/* Requests may be put off until their read is through; nobody can tell by the answers. */
START_TEST(messages_put_off_are_answered_in_order)
{
    static const char *const frames[][2] = {
        {"{6 P '' brain}", CALL("a")}, {"{6 Q '' brain}", CALL("b")},
        {"{6 P '' net_kernel}", CALL("{is_auth tester@localhost}")}, {"{6 P '' brain}", CALL("c")},
        {"{19 P brain R}", NULL}, {"{6 P '' brain}", CALL("d")},
        {"{6 P '' brain}", "{system {P T} get_state}"}, {"{6 Q '' brain}", CALL("e")},
        {"{35 7 P S}", NULL}, {"{6 Q '' brain}", CALL("f")},
        {"{0 P S}", NULL}, /* the channel ends; what came before is answered */
    };
    struct fixture form;
    struct buffer bytes, one_by_one, at_once;
    unsigned put_offs;
    connect_full(&form);
    buffer_init(&bytes);
    buffer_init(&one_by_one);
    buffer_init(&at_once);
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++)
        fixture_frame_append(&form, &bytes, frames[i][0], frames[i][1]);
    fixture_close(&form);

    answers_to(buffer_slice(&bytes), 1, &one_by_one, &put_offs);
    ck_assert_uint_eq(put_offs, 0);
    for (size_t size = 2; size <= bytes.size; size += size < 300 ? 1 : 17) {
        buffer_clear(&at_once);
        answers_to(buffer_slice(&bytes), size, &at_once, &put_offs);
        ck_assert(slice_equal(buffer_slice(&one_by_one), buffer_slice(&at_once)));
    }
    buffer_clear(&at_once);
    answers_to(buffer_slice(&bytes), bytes.size, &at_once, &put_offs);
    ck_assert(slice_equal(buffer_slice(&one_by_one), buffer_slice(&at_once)));
    ck_assert_uint_eq(put_offs, 6);
    buffer_release(&bytes);
    buffer_release(&one_by_one);
    buffer_release(&at_once);
}
END_TEST

/* A large value arrives in fragments: checked, with marks, in a block that may be kept. */
START_TEST(fragments_become_one_message)
{
    enum { VALUE = 200000, PART = 65536 };
    struct fixture fixture;
    struct buffer message, frames;
    connect_full(&fixture);
    buffer_init(&message);
    buffer_init(&frames);
    etf_write_tuple(&message, 2);
    etf_write_atom(&message, "big");
    uint8_t *value = calloc(1, VALUE);
    etf_write_binary(&message, slice_of(value, VALUE));
    free(value);
    uint64_t left = (message.size + PART - 1) / PART;
    for (size_t at = 0; at < message.size; at += PART, left--) {
        struct buffer head;
        buffer_init(&head);
        hex_append(
            &head, at == 0 ? "83 45 00 00 04 88 00 00 09 13" : "83 46 00 00 04 88 00 00 09 13");
        buffer_append_be64(&head, left);
        if (at == 0) {
            buffer_append_u8(&head, 0);
            terms_append(&head, "{6 P '' brain}");
        }
        size_t size = message.size - at < PART ? message.size - at : PART;
        buffer_append_be32(&frames, (uint32_t)(head.size + size));
        buffer_append_slice(&frames, buffer_slice(&head));
        buffer_append(&frames, message.data + at, size);
        buffer_release(&head);
    }
    ck_assert_int_eq(fixture_feed(&fixture, buffer_slice(&frames)), 0);
    ck_assert_uint_eq(fixture.messages, 1);
    ck_assert(slice_equal(buffer_slice(&fixture.payload), buffer_slice(&message)));
    ck_assert(fixture.has_marks && fixture.has_block && fixture.payload_error == 0);
    buffer_release(&message);
    buffer_release(&frames);
    fixture_close(&fixture);
}
END_TEST

/* ---- monitors and links ---------------------------------------------------------------------- */

START_TEST(goodbye_tells_everybody_who_watches)
{
    struct fixture fixture;
    connect_full(&fixture);
    uint64_t *gauge = &fixture.node.metrics.monitors;
    fixture_message(&fixture, "{19 P brain R}", NULL);
    ck_assert_uint_eq(*gauge, 1);
    fixture_message(&fixture, "{19 P brain R}", NULL);
    ck_assert_uint_eq(*gauge, 1);
    fixture_message(&fixture, "{20 P brain R}", NULL);
    ck_assert_uint_eq(*gauge, 0);
    fixture_message(&fixture, "{19 P rex R}", NULL);
    fixture_message(&fixture, "{19 Q S T}", NULL);
    fixture_message(&fixture, "{1 P S}", NULL);
    fixture_message(&fixture, "{1 Q S}", NULL);
    ck_assert_uint_eq(*gauge, 4);
    fixture_message(&fixture, "{24 Q S}", "normal");
    ck_assert_uint_eq(*gauge, 3);
    fixture_message(&fixture, "{1 Q S}", NULL);
    fixture_message(&fixture, "{35 1 Q S}", NULL);
    ck_assert_uint_eq(*gauge, 3);
    fixture_expect(&fixture, "{36 1 S Q}", NULL);
    channel_say_goodbye(fixture.channel);
    ck_assert_uint_eq(*gauge, 0);

    struct buffer expected;
    buffer_init(&expected);
    fixture_frame_append(&fixture, &expected, "{28 rex P R}", "shutdown");
    fixture_frame_append(&fixture, &expected, "{28 S Q T}", "shutdown");
    fixture_frame_append(&fixture, &expected, "{24 S P}", "shutdown");
    fixture_drain(&fixture);
    ck_assert(slice_equal(buffer_slice(&fixture.out), buffer_slice(&expected)));
    buffer_release(&expected);
    fixture_close(&fixture);
}
END_TEST

START_TEST(too_many_monitors_close)
{
    struct fixture fixture;
    connect_full(&fixture);
    for (unsigned i = 0; i < fixture.node.monitors; i++) {
        struct buffer frame;
        buffer_init(&frame);
        hex_append(&frame, "00 00 00 00 83 44 00 68 04 61 13");
        terms_append(&frame, "P");
        terms_append(&frame, "brain");
        uint32_t words[3] = {i, 2, 3};
        etf_write_reference(&frame, slice_of_string("tester@localhost"), 7, words, 3);
        store_be32(frame.data, (uint32_t)frame.size - 4);
        ck_assert_int_eq(fixture_feed(&fixture, buffer_slice(&frame)), 0);
        buffer_release(&frame);
    }
    ck_assert_uint_eq(fixture.node.metrics.monitors, 100);
    ck_assert_int_eq(fixture_message(&fixture, "{19 P brain R}", NULL), BRAIN_ETOOBIG);
    ck_assert_uint_eq(fixture.node.metrics.limit_errors, 1);
    ck_assert_uint_eq(fixture.node.metrics.monitors, 100);
    fixture_close(&fixture); /* asserts that the gauge is 0 again */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dist-citizen");
    TCase *dumps = tcase_create("dumps of OTP 25");
    tcase_add_test(dumps, dump_with_ei_flags);
    tcase_add_test(dumps, dump_with_monitors);
    tcase_add_test(dumps, dump_with_everything);
    suite_add_tcase(suite, dumps);
    TCase *answers = tcase_create("answers");
    tcase_add_loop_test(answers, every_row_is_answered, 0, (int)(sizeof(rows) / sizeof(rows[0])));
    tcase_add_test(answers, simple_peers_hear_plain_forms);
    tcase_add_test(answers, messages_for_the_registered_process_go_up);
    tcase_add_test(answers, messages_addressed_alike);
    tcase_add_test(answers, messages_to_other_names_go_up_with_the_name);
    tcase_add_test(answers, messages_put_off_are_answered_in_order);
    tcase_add_test(answers, fragments_become_one_message);
    suite_add_tcase(suite, answers);
    TCase *watchers = tcase_create("monitors and links");
    tcase_add_test(watchers, goodbye_tells_everybody_who_watches);
    tcase_add_test(watchers, too_many_monitors_close);
    suite_add_tcase(suite, watchers);
    return suite_run(suite);
}
