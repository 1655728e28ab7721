/* The printer and the parser. */
#include <check.h>
#include <string.h>

#include "brain/etf.h"
#include "heap_fault.h"
#include "suite.h"

static const struct etf_limits roomy = {100, 100000};

static int parse(struct buffer *out, const char *text, const char **error_text)
{
    size_t error_at = 0;
    int status = etf_parse(out, slice_of_string(text), roomy, &error_at, error_text);
    ck_assert_uint_le(error_at, strlen(text));
    return status;
}

/* `text` parses, and prints as `shown`. */
static void shows(const char *text, const char *shown)
{
    struct buffer term, printed;
    buffer_init(&term);
    buffer_init(&printed);
    const char *error_text = "";
    int status = parse(&term, text, &error_text);
    ck_assert_msg(status == 0, "%s: %s", text, error_text);
    etf_print(&printed, buffer_slice(&term), 10000);
    ck_assert_msg(slice_equal_string(buffer_slice(&printed), shown), "%s: printed %.*s", text,
        (int)printed.size, (const char *)printed.data);
    buffer_release(&term);
    buffer_release(&printed);
}

START_TEST(terms_come_back)
{
    static const char *const same[] = {"a", "'hello world'", "'A'", "''", "1", "-1", "1.0", "-0.0",
        "1.5e-7", "1.0e22", "\"abc\"", "[]", "<<>>", "<<\"abc\">>", "<<\"h\xc3\xa9\"/utf8>>",
        "<<0,255>>", "{}", "{a,{b},[]}", "[1,2]", "[a|b]", "[1,[2,[3]]]", "#{}",
        "#{a => 1,\"k\" => #{b => []}}", "\"a\\nb\\\"\"", "123456789012345678901234567890",
        "#{#{a => 1} => {[#{}]}}", "'it\\'s'", "\"\xe2\x82\xac\""};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        shows(same[i], same[i]);
    shows("  { a , 'b' } . % comment", "{a,b}");
    shows("16#FF", "255");
    shows("-16#1_0", "-16");
    shows("2#101", "5");
    shows("$a", "97");
    shows("$\\n", "10");
    shows("[97,98]", "\"ab\"");
    shows("\"\\x41\\x{20ac}\\101\"", "\"A\xe2\x82\xac"
                                     "A\"");
    shows("<<1,$a,\"b\">>", "<<1,97,98>>");
    shows("1_000", "1000");
}
END_TEST

START_TEST(parser_says_what_is_wrong)
{
    static const char *const wrong[] = {"", "{", "{a", "{a,}", "[a|]", "[a|b,c]", "[|a]", "#{a}",
        "#{a => }", "Variable", "a b", "\"abc", "'abc", "<<256>>", "<<\"\xe2\x82\xac\">>", "<<1",
        "16#", "1#0", "99#1", "1.0e", "1.0e999", "-", "\"\\x{d800}\"", "\"\\x{110000}\"",
        "#{a => 1, a => 2}", "{a}}", "\"\xff\"", "#", "$", "(a)"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct buffer out;
        buffer_init(&out);
        const char *error_text = NULL;
        ck_assert_msg(parse(&out, wrong[i], &error_text) == BRAIN_ETERM, "%s", wrong[i]);
        ck_assert_ptr_nonnull(error_text);
        ck_assert_uint_eq(out.size, 0);
        buffer_release(&out);
    }
}
END_TEST

START_TEST(parser_has_limits)
{
    enum { LEVELS = 200000 };
    static char deep[LEVELS];
    memset(deep, '[', sizeof deep);
    struct buffer out;
    buffer_init(&out);
    size_t error_at = 0;
    const char *error_text = NULL;
    ck_assert_int_eq(
        etf_parse(&out, slice_of(deep, sizeof deep), roomy, &error_at, &error_text), BRAIN_ETERM);
    ck_assert_str_eq(error_text, "nested too deep");
    ck_assert_uint_eq(error_at, 102);
    struct slice wide = slice_of_string("[a,b,c]");
    ck_assert_int_eq(
        etf_parse(&out, wide, (struct etf_limits){9, 4}, &error_at, &error_text), BRAIN_ETERM);
    ck_assert_int_eq(etf_parse(&out, wide, (struct etf_limits){0, 5}, &error_at, &error_text), 0);
    buffer_release(&out);
}
END_TEST

START_TEST(parser_survives_failing_allocations)
{
    for (unsigned n = 1;; n++) {
        struct buffer out;
        const char *error_text;
        heap_fault_start(n);
        buffer_init(&out);
        int status = parse(&out,
            "{[1,2],\"abc\",<<\"x\",2>>,#{a => 'b', [] => 1.5},16#FFFFFFFFFFFFFFFFFFFF}",
            &error_text);
        buffer_release(&out);
        bool failed = heap_fault_stop();
        ck_assert_int_eq(status, failed ? BRAIN_ENOMEM : 0);
        if (!failed) {
            ck_assert_uint_gt(n, 5);
            break;
        }
    }
}
END_TEST

static void prints(struct slice term, size_t limit, const char *shown)
{
    struct buffer out;
    buffer_init(&out);
    etf_print(&out, term, limit);
    ck_assert_msg(slice_equal_string(buffer_slice(&out), shown), "printed %.*s, not %s",
        (int)out.size, (const char *)out.data, shown);
    buffer_release(&out);
}

#define BYTES(...) slice_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

START_TEST(printer_shows_identifiers)
{
    prints(
        BYTES(88, 119, 3, 'a', '@', 'b', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 9), 100, "#Pid<a@b.1.2>");
    prints(BYTES(90, 0, 2, 119, 3, 'a', '@', 'b', 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2), 100,
        "#Ref<a@b.1.2>");
    prints(BYTES(89, 119, 3, 'a', '@', 'b', 0, 0, 0, 7, 0, 0, 0, 9), 100, "#Port<a@b.7>");
    prints(BYTES(113, 119, 1, 'm', 119, 1, 'F', 97, 2), 100, "fun m:'F'/2");
    prints(BYTES(77, 0, 0, 0, 2, 3, 1, 0xe0), 100, "<<1,7:3>>");
}
END_TEST

START_TEST(printer_never_fails)
{
    prints(slice_of(NULL, 0), 100, "<<malformed>>");
    prints(BYTES(104, 2, 97, 1), 100, "{1<<malformed>>");
    prints(BYTES(108, 0xff, 0xff, 0xff, 0xff, 97, 7), 100, "[7<<malformed>>");
    prints(BYTES(109, 0, 0, 0, 9, 'a'), 100, "<<malformed>>");
    prints(BYTES(104, 3, 97, 1, 97, 2, 97, 3), 4, "{1,2...");
    prints(BYTES(107, 0, 5, 'h', 'e', 'l', 'l', 'o'), 4, "\"hel...");
    enum { LEVELS = 100000 };
    static uint8_t deep[2 * LEVELS + 1];
    for (int i = 0; i < LEVELS; i++)
        deep[2 * i] = 104, deep[2 * i + 1] = 1;
    struct buffer out;
    buffer_init(&out);
    etf_print(&out, slice_of(deep, sizeof deep), 1 << 20);
    ck_assert_uint_lt(out.size, 300);
    ck_assert_int_eq(memcmp(out.data + out.size - 4, "{...", 4), 0);
    buffer_release(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etf text");
    TCase *tcase = tcase_create("printer and parser");
    tcase_add_test(tcase, terms_come_back);
    tcase_add_test(tcase, parser_says_what_is_wrong);
    tcase_add_test(tcase, parser_has_limits);
    tcase_add_test(tcase, parser_survives_failing_allocations);
    tcase_add_test(tcase, printer_shows_identifiers);
    tcase_add_test(tcase, printer_never_fails);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
