#include "brain/control.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "channel_fixture.h"
#include "suite.h"

static const struct etf_limits limits = {64, 1000};

static struct buffer terms;

static int read_text(const char *text, struct control *control, bool *at_end)
{
    struct etf_reader reader;
    buffer_clear(&terms);
    terms_append(&terms, text);
    etf_reader_init(&reader, buffer_slice(&terms), limits);
    const uint8_t *begin = reader.at;
    int status = control_read(&reader, control);
    *at_end = etf_at_end(&reader);
    ck_assert(status == 0 || reader.at == begin);
    return status;
}

static bool is_term(struct slice got, const char *text)
{
    struct buffer want;
    buffer_init(&want);
    if (*text != '\0')
        terms_append(&want, text);
    bool equal = slice_equal(got, buffer_slice(&want));
    buffer_release(&want);
    return equal;
}

/* Every operation with all its fields; "" is a field that it does not have. */
static const struct {
    const char *text;
    enum control_operation operation;
    bool has_payload;
    const char *from, *to, *name, *reference, *reason, *unlink_id;
} operations[] = {
    {"{1 P S}", CONTROL_LINK, false, "P", "S", "", "", "", ""},
    {"{2 '' S}", CONTROL_SEND, true, "", "S", "", "", "", ""},
    {"{3 P S normal}", CONTROL_EXIT, false, "P", "S", "", "", "normal", ""},
    {"{4 P S}", CONTROL_UNLINK, false, "P", "S", "", "", "", ""},
    {"{6 P '' brain}", CONTROL_REG_SEND, true, "P", "", "brain", "", "", ""},
    {"{6 P cookie brain}", CONTROL_REG_SEND, true, "P", "", "brain", "", "", ""},
    {"{7 P S}", CONTROL_GROUP_LEADER, false, "P", "S", "", "", "", ""},
    {"{8 P S {a [b]}}", CONTROL_EXIT2, false, "P", "S", "", "", "{a [b]}", ""},
    {"{12 '' S {1 2}}", CONTROL_SEND, true, "", "S", "", "", "", ""},
    {"{13 P S {1 2} why}", CONTROL_EXIT, false, "P", "S", "", "", "why", ""},
    {"{16 P '' brain {1 2}}", CONTROL_REG_SEND, true, "P", "", "brain", "", "", ""},
    {"{18 P S {1 2} why}", CONTROL_EXIT2, false, "P", "S", "", "", "why", ""},
    {"{19 P S R}", CONTROL_MONITOR_P, false, "P", "S", "", "R", "", ""},
    {"{19 P brain R}", CONTROL_MONITOR_P, false, "P", "", "brain", "R", "", ""},
    {"{20 P brain R}", CONTROL_DEMONITOR_P, false, "P", "", "brain", "R", "", ""},
    {"{21 P S R why}", CONTROL_MONITOR_P_EXIT, false, "P", "S", "", "R", "why", ""},
    {"{21 name S R why}", CONTROL_MONITOR_P_EXIT, false, "name", "S", "", "R", "why", ""},
    {"{22 P S}", CONTROL_SEND_SENDER, true, "P", "S", "", "", "", ""},
    {"{23 P S {1 2}}", CONTROL_SEND_SENDER, true, "P", "S", "", "", "", ""},
    {"{24 P S}", CONTROL_PAYLOAD_EXIT, true, "P", "S", "", "", "", ""},
    {"{25 P S {1 2}}", CONTROL_PAYLOAD_EXIT, true, "P", "S", "", "", "", ""},
    {"{26 P S}", CONTROL_PAYLOAD_EXIT2, true, "P", "S", "", "", "", ""},
    {"{27 P S {1 2}}", CONTROL_PAYLOAD_EXIT2, true, "P", "S", "", "", "", ""},
    {"{28 P S R}", CONTROL_PAYLOAD_MONITOR_P_EXIT, true, "P", "S", "", "R", "", ""},
    {"{29 R P Q {m f 1} []}", CONTROL_SPAWN_REQUEST, true, "P", "", "", "R", "", ""},
    {"{30 R P Q {m f 1} [] {1}}", CONTROL_SPAWN_REQUEST, true, "P", "", "", "R", "", ""},
    {"{31 R P 0 notsup}", CONTROL_SPAWN_REPLY, false, "", "P", "", "R", "", ""},
    {"{32 R P 0 notsup {1}}", CONTROL_SPAWN_REPLY, false, "", "P", "", "R", "", ""},
    {"{33 P R}", CONTROL_ALIAS_SEND, true, "P", "", "", "R", "", ""},
    {"{34 P R {1}}", CONTROL_ALIAS_SEND, true, "P", "", "", "R", "", ""},
    {"{35 1 P S}", CONTROL_UNLINK_ID, false, "P", "S", "", "", "", "1"},
    {"{35 18446744073709551615 P S}", CONTROL_UNLINK_ID, false, "P", "S", "", "", "",
        "18446744073709551615"},
    {"{36 300 P S}", CONTROL_UNLINK_ID_ACK, false, "P", "S", "", "", "", "300"},
};

START_TEST(every_operation_is_read)
{
    struct control control;
    bool at_end;
    ck_assert_int_eq(read_text(operations[_i].text, &control, &at_end), 0);
    ck_assert(at_end);
    ck_assert_int_eq(control.operation, operations[_i].operation);
    ck_assert(control.has_payload == operations[_i].has_payload);
    ck_assert(is_term(control.from, operations[_i].from));
    ck_assert(is_term(control.to, operations[_i].to));
    ck_assert(slice_equal_string(control.to_name, operations[_i].name));
    ck_assert(is_term(control.reference, operations[_i].reference));
    ck_assert(is_term(control.reason, operations[_i].reason));
    ck_assert(is_term(control.unlink_id, operations[_i].unlink_id));
}
END_TEST

/* Cut anywhere, it is refused and nothing behind the end is read (ASan sees to that). */
START_TEST(cut_tuples_are_refused)
{
    struct buffer whole;
    buffer_init(&whole);
    terms_append(&whole, operations[_i].text);
    for (size_t size = 0; size < whole.size; size++) {
        struct control control;
        struct etf_reader reader;
        uint8_t *copy = malloc(size + 1);
        memcpy(copy + 1, whole.data, size);
        etf_reader_init(&reader, slice_of(copy + 1, size), limits);
        ck_assert_int_lt(control_read(&reader, &control), 0);
        free(copy);
    }
    buffer_release(&whole);
}
END_TEST

static const char *const refused[] = {
    "atom",
    "[1 P S]",
    "{}",
    "{P}",
    "{1}",
    "{0 P S}",
    "{5 P S}",
    "{9 P S}",
    "{37 0 P S}",
    "{38 P S}",
    "{18446744073709551615 P S}",
    "{1 P}",
    "{1 P S S}",
    "{1 P brain}",
    "{1 R S}",
    "{2 '' brain}",
    "{6 P '' P}",
    "{6 P '' \"brain\"}",
    "{16 P '' brain}",
    "{19 P brain P}",
    "{19 P 1 R}",
    "{21 1 S R why}",
    "{31 P R 0 x}",
    "{33 P P}",
    "{35 P 1 S}",
    "{35 a P S}",
};

START_TEST(everything_else_is_refused)
{
    struct control control;
    bool at_end;
    ck_assert_int_eq(read_text(refused[_i], &control, &at_end), BRAIN_EPROTO);
}
END_TEST

/* A term that is stepped over keeps its own error. */
START_TEST(malformed_terms_are_refused)
{
    struct control control;
    struct etf_reader reader;
    buffer_clear(&terms);
    hex_append(&terms, "68 05 61 0d"); /* EXIT_TT */
    terms_append(&terms, "P");
    terms_append(&terms, "S");
    hex_append(&terms, "ff 61 01");
    etf_reader_init(&reader, buffer_slice(&terms), limits);
    ck_assert_int_eq(control_read(&reader, &control), BRAIN_ETERM);
}
END_TEST

static void expect_written(const char *text)
{
    struct buffer want;
    buffer_init(&want);
    terms_append(&want, text);
    ck_assert_msg(slice_equal(buffer_slice(&terms), buffer_slice(&want)), "%s", text);
    buffer_release(&want);
    buffer_clear(&terms);
}

START_TEST(encoders_write_what_otp_reads)
{
    struct buffer pid, other, reference, id;
    struct buffer *all[] = {&pid, &other, &reference, &id};
    const char *texts[] = {"P", "S", "R", "70000"};
    for (size_t i = 0; i < 4; i++) {
        buffer_init(all[i]);
        terms_append(all[i], texts[i]);
    }
    struct slice p = buffer_slice(&pid), s = buffer_slice(&other), r = buffer_slice(&reference);
    buffer_clear(&terms);
    control_write_send(&terms, p);
    expect_written("{2 '' P}");
    control_write_send_sender(&terms, s, p);
    expect_written("{22 S P}");
    control_write_reg_send(&terms, s, slice_of_string("brain"));
    expect_written("{6 S '' brain}");
    control_write_alias_send(&terms, s, r);
    expect_written("{33 S R}");
    control_write_exit(&terms, s, p, "noproc", false);
    expect_written("{3 S P noproc}");
    control_write_exit(&terms, s, p, "noproc", true);
    expect_written("{24 S P}");
    control_write_monitor_exit(&terms, s, p, r, "shutdown", false);
    expect_written("{21 S P R shutdown}");
    control_write_monitor_exit(&terms, s, p, r, "shutdown", true);
    expect_written("{28 S P R}");
    control_write_unlink_ack(&terms, buffer_slice(&id), s, p);
    expect_written("{36 70000 S P}");
    control_write_spawn_refusal(&terms, r, p, "notsup");
    expect_written("{31 R P 0 notsup}");
    for (size_t i = 0; i < 4; i++)
        buffer_release(all[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dist-control");
    TCase *reading = tcase_create("reading");
    int count = (int)(sizeof(operations) / sizeof(operations[0]));
    tcase_add_loop_test(reading, every_operation_is_read, 0, count);
    tcase_add_loop_test(reading, cut_tuples_are_refused, 0, count);
    tcase_add_loop_test(
        reading, everything_else_is_refused, 0, (int)(sizeof(refused) / sizeof(refused[0])));
    tcase_add_test(reading, malformed_terms_are_refused);
    suite_add_tcase(suite, reading);
    TCase *writing = tcase_create("writing");
    tcase_add_test(writing, encoders_write_what_otp_reads);
    suite_add_tcase(suite, writing);
    int status = suite_run(suite);
    buffer_release(&terms);
    return status;
}
