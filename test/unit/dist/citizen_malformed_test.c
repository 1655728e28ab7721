/* What a peer may not send: which of it keeps the link, and what closes it. */
#include <check.h>
#include <string.h>

#include "channel_fixture.h"
#include "suite.h"

/* ---- payloads -------------------------------------------------------------------------------- */

/* A frame of a control message and raw bytes behind it. */
static int feed_raw_payload(
    struct fixture *fixture, const char *control, const char *begin, const char *hex, size_t filler)
{
    struct buffer frame;
    buffer_init(&frame);
    buffer_append_be32(&frame, 0);
    hex_append(&frame, fixture->header ? "83 44 00" : "70 83");
    terms_append(&frame, control);
    if (!fixture->header)
        buffer_append_u8(&frame, ETF_VERSION);
    if (begin != NULL)
        hex_append(&frame, begin);
    hex_append(&frame, hex);
    for (size_t i = 0; i < filler; i++)
        hex_append(&frame, "68 01");
    store_be32(frame.data, (uint32_t)frame.size - 4);
    fixture_feed(fixture, buffer_slice(&frame));
    buffer_release(&frame);
    return fixture->status;
}

/* {'$gen_call', {P, {}}, and then */
static const char call_begin[] =
    "68 03 77 09 24 67 65 6e 5f 63 61 6c 6c 68 02"
    "58 77 10 74 65 73 74 65 72 40 6c 6f 63 61 6c 68 6f 73 74 00 00 00 59 00 00 00 00 6b 00 f7 65"
    "68 00";

START_TEST(malformed_payloads_keep_the_link)
{
    struct fixture fixture;
    connect_full(&fixture);
    struct channel_metrics *metrics = &fixture.node.metrics;

    feed_raw_payload(&fixture, "{6 P '' net_kernel}", call_begin, "6c ff ff ff ff 61", 0);
    fixture_expect(&fixture, "{22 S P}", "{{} {error too_many_elements}}");
    ck_assert_uint_eq(metrics->terms_refused, 1);
    feed_raw_payload(&fixture, "{6 P '' net_kernel}", call_begin, "ff", 0);
    fixture_expect(&fixture, "{22 S P}", "{{} {error bad_term}}");
    ck_assert_uint_eq(metrics->terms_refused, 2);
    /* two terms */
    feed_raw_payload(&fixture, "{6 P '' net_kernel}", call_begin,
        "68 02 77 07 69 73 5f 61 75 74 68 77 01 78 77 01 78", 0);
    fixture_expect(&fixture, "{22 S P}", "{{} {error bad_term}}");
    ck_assert_uint_eq(metrics->terms_refused, 3);
    feed_raw_payload(&fixture, "{6 P '' net_kernel}", call_begin, "68 01", 100);
    fixture_expect(&fixture, "{22 S P}", "{{} {error too_deep}}");
    ck_assert_uint_eq(metrics->terms_refused, 4);
    /* 60 kB of depth, checked before it gets here */
    feed_raw_payload(&fixture, "{6 P '' net_kernel}", call_begin, "68 01", 30000);
    fixture_expect(&fixture, "{22 S P}", "{{} {error too_deep}}");
    ck_assert_uint_eq(metrics->terms_refused, 5);
    ck_assert_uint_eq(metrics->pings_answered, 0);
    /* For the registered process it is the server's to refuse. */
    feed_raw_payload(&fixture, "{6 P '' brain}", call_begin, "68 01", 30000);
    ck_assert_uint_eq(fixture.messages, 1);
    ck_assert_int_eq(fixture.payload_error, BRAIN_EDEPTH);
    ck_assert_uint_eq(metrics->terms_refused, 6);
    /* nothing at all */
    feed_raw_payload(&fixture, "{6 P '' brain}", NULL, "", 0);
    ck_assert_uint_eq(metrics->terms_refused, 7);
    ck_assert_int_eq(fixture.status, 0);

    fixture_message(&fixture, "{6 P '' net_kernel}", CALL("{is_auth x}"));
    fixture_expect(&fixture, "{33 S R}", "{[alias|R] yes}");
    ck_assert_uint_eq(metrics->protocol_errors + metrics->limit_errors, 0);
    fixture_close(&fixture);
}
END_TEST

START_TEST(php_sends_a_version_byte_and_nothing)
{
    struct fixture fixture;
    connect_ei(&fixture);
    ck_assert_int_eq(feed_raw_payload(&fixture, "{6 P '' brain}", NULL, "", 0), 0);
    ck_assert_uint_eq(fixture.node.metrics.terms_refused, 1);
    ck_assert_int_eq(feed_raw_payload(&fixture, "{6 P '' rex}", NULL, "68 02", 0), 0);
    ck_assert(channel_is_up(fixture.channel));
    fixture_expect(&fixture, NULL, NULL);
    fixture_close(&fixture);
}
END_TEST

/* ---- control messages ------------------------------------------------------------------------ */

static const struct {
    const char *control, *payload;
} bad_controls[] = {
    {"{37 1 P S}", "prio"},   /* ALTACT_SIG is not offered */
    {"{99 P S}", NULL},       /* unknown */
    {"{}", NULL},             /* empty */
    {"{1 P}", NULL},          /* cut */
    {"{1 P S S}", NULL},      /* too long */
    {"{1 x S}", NULL},        /* no pid */
    {"{19 P brain x}", NULL}, /* no reference */
    {"{6 P '' 5}", "x"},      /* no name */
    {"{35 x P S}", NULL},     /* no integer */
    {"{19 P brain R}", "x"},  /* something behind it */
    {"{0 P S}", NULL},        /* a hole in the table */
    {"{5 P S}", NULL},        /* an obsolete operation */
};

START_TEST(malformed_control_messages_close)
{
    struct fixture fixture;
    connect_full(&fixture);
    int status = fixture_message(&fixture, bad_controls[_i].control, bad_controls[_i].payload);
    ck_assert_int_eq(status, BRAIN_EPROTO);
    ck_assert_uint_eq(fixture.node.metrics.protocol_errors, 1);
    const char *error = channel_error(fixture.channel);
    ck_assert_msg(strncmp(error, "tester@localhost: ", 18) == 0, "%s", error);
    ck_assert_msg(strstr(error, "first bytes 68") != NULL, "%s", error);
    ck_assert(!channel_is_up(fixture.channel));
    ck_assert_int_eq(channel_clock(fixture.channel, fixture.now_ms), BRAIN_EPROTO);
    ck_assert_int_eq(channel_feed(fixture.channel, slice_of(NULL, 0), 0), BRAIN_EPROTO);
    ck_assert_uint_eq(fixture.node.metrics.protocol_errors, 1);
    fixture_close(&fixture);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dist-citizen-malformed");
    TCase *malformed = tcase_create("malformed");
    tcase_add_test(malformed, malformed_payloads_keep_the_link);
    tcase_add_test(malformed, php_sends_a_version_byte_and_nothing);
    tcase_add_loop_test(malformed, malformed_control_messages_close, 0,
        (int)(sizeof(bad_controls) / sizeof(bad_controls[0])));
    suite_add_tcase(suite, malformed);
    return suite_run(suite);
}
