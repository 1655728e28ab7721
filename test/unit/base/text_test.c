/* utf8, crc32c, hex, metrics, error. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "brain/base.h"
#include "brain/metrics.h"
#include "crc32c.h"
#include "suite.h"

/* ---- UTF-8
 * --------------------------------------------------------------------------------------- */

static bool valid(const char *text)
{
    return utf8_is_valid(slice_of_string(text));
}

START_TEST(utf8_accepts_well_formed)
{
    ck_assert(utf8_is_valid(slice_of(NULL, 0)));
    ck_assert(utf8_is_valid(slice_of("a\0b", 3)));
    ck_assert(valid("plain ascii, longer than eight bytes"));
    ck_assert(valid("\x7F"));
    ck_assert(valid("\xC2\x80"));         /* U+0080, the first of two bytes */
    ck_assert(valid("\xDF\xBF"));         /* U+07FF */
    ck_assert(valid("\xE0\xA0\x80"));     /* U+0800 */
    ck_assert(valid("\xED\x9F\xBF"));     /* U+D7FF, before the surrogates */
    ck_assert(valid("\xEE\x80\x80"));     /* U+E000, after them */
    ck_assert(valid("\xEF\xBF\xBF"));     /* U+FFFF */
    ck_assert(valid("\xF0\x90\x80\x80")); /* U+10000 */
    ck_assert(valid("\xF4\x8F\xBF\xBF")); /* U+10FFFF */
    ck_assert(valid("12345678\xE2\x82\xAC 12345678"));
}
END_TEST

START_TEST(utf8_refuses_ill_formed)
{
    static const char *const bad[] = {
        "\x80",
        "\xBF",
        "abc\xFF",
        "\xFE", /* no first byte */
        "\xC0\x80",
        "\xC1\xBF", /* overlong two bytes */
        "\xE0\x80\x80",
        "\xE0\x9F\xBF", /* overlong three */
        "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF", /* overlong four */
        "\xED\xA0\x80",
        "\xED\xBF\xBF", /* surrogates */
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", /* above U+10FFFF */
        "\xC2",
        "\xE2\x82",
        "\xF0\x9F\x98",
        "\xE2", /* cut */
        "\xC2 ",
        "\xE2\x82 ",
        "\xE2 \xAC",
        "\xF0\x9F\x98 ",
        "\xF0\x9F \x80",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!valid(bad[i]), "accepted ill-formed text %zu", i);
}
END_TEST

/* Whatever stands around it, at each place in the eight bytes taken at once. */
START_TEST(utf8_finds_a_bad_byte_anywhere)
{
    char text[41];
    for (size_t at = 0; at < 40; at++) {
        memset(text, 'a', sizeof text);
        ck_assert(utf8_is_valid(slice_of(text, 40)));
        text[at] = (char)0xFF;
        ck_assert(!utf8_is_valid(slice_of(text, 40)));
        memcpy(text + at, "\xC3\xA9", at < 39 ? 2 : 1);
        ck_assert_int_eq(utf8_is_valid(slice_of(text, 40)), at < 39);
    }
}
END_TEST

/* ---- CRC-32C
 * ------------------------------------------------------------------------------------- */

START_TEST(crc32c_has_the_published_values)
{
    uint8_t bytes[32];
    ck_assert_uint_eq(crc32c(0, slice_of(NULL, 0)), 0);
    ck_assert_uint_eq(crc32c(0, slice_of_string("123456789")), 0xE3069283);
    /* RFC 3720, appendix B.4 */
    memset(bytes, 0, 32);
    ck_assert_uint_eq(crc32c(0, slice_of(bytes, 32)), 0x8A9136AA);
    ck_assert_uint_eq(crc32c_by_table(0, slice_of(bytes, 32)), 0x8A9136AA);
    memset(bytes, 0xFF, 32);
    ck_assert_uint_eq(crc32c(0, slice_of(bytes, 32)), 0x62A8AB43);
    ck_assert_uint_eq(crc32c_by_table(0, slice_of(bytes, 32)), 0x62A8AB43);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    ck_assert_uint_eq(crc32c(0, slice_of(bytes, 32)), 0x46DD794E);
    ck_assert_uint_eq(crc32c_by_table(0, slice_of(bytes, 32)), 0x46DD794E);
}
END_TEST

/* The definition, bit by bit. */
static uint32_t crc32c_by_bit(uint32_t crc, struct slice bytes)
{
    crc = ~crc;
    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
    }
    return ~crc;
}

START_TEST(crc32c_ways_agree)
{
    uint8_t bytes[300];
    uint32_t random = 12345;
    for (size_t i = 0; i < sizeof bytes; i++) {
        random = random * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(random >> 24);
    }
    for (size_t begin = 0; begin < 9; begin++) {
        for (size_t size = 0; size <= 280; size++) {
            struct slice part = slice_of(bytes + begin, size);
            uint32_t expected = crc32c_by_bit(random, part);
            ck_assert_uint_eq(crc32c_by_table(random, part), expected);
            ck_assert_uint_eq(crc32c(random, part), expected);
            if (crc32c_has_instruction())
                ck_assert_uint_eq(crc32c_by_instruction(random, part), expected);
            struct slice head = slice_of(part.data, size / 3);
            struct slice rest = slice_of(part.data + size / 3, size - size / 3);
            ck_assert_uint_eq(crc32c(crc32c(random, head), rest), expected);
            ck_assert_uint_eq(
                crc32c_combine(crc32c(random, head), crc32c(0, rest), rest.size), expected);
        }
    }
}
END_TEST

/* Long inputs are computed in lanes. */
START_TEST(crc32c_ways_agree_on_long_inputs)
{
    enum { SIZE = 200000 };
    uint8_t *bytes = malloc(SIZE);
    uint32_t random = 99;
    for (size_t i = 0; i < SIZE; i++) {
        random = random * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(random >> 24);
    }
    for (size_t size = 24570; size <= SIZE; size += size < 24600 ? 1 : 12345) {
        struct slice part = slice_of(bytes + size % 7, size - 7);
        const uint32_t expected = crc32c_by_table(random, part);
        if (crc32c_has_instruction())
            ck_assert_uint_eq(crc32c_by_instruction(random, part), expected);
        struct slice rest = slice_of(part.data + 1000, part.size - 1000);
        ck_assert_uint_eq(
            crc32c_combine(crc32c(random, slice_of(part.data, 1000)), crc32c(0, rest), rest.size),
            expected);
    }
    free(bytes);
    /* Sizes beyond memory: of two inputs that follow each other the sizes add. */
    const uint64_t first = UINT64_C(123456789012345), second = UINT64_C(1) << 40;
    ck_assert_uint_eq(crc32c_combine(crc32c_combine(random, 0, first), 0, second),
        crc32c_combine(random, 0, first + second));
}
END_TEST

/* ---- hex, metrics, errors
 * ------------------------------------------------------------------------ */

START_TEST(hex_shows_the_first_bytes)
{
    char out[2 * 4 + 4];
    ck_assert_str_eq(hex_of(slice_of(NULL, 0), 4, out), "");
    ck_assert_str_eq(hex_of(slice_of("\x00\xFF\x1a", 3), 4, out), "00ff1a");
    ck_assert_str_eq(hex_of(slice_of("\x01\x02\x03\x04", 4), 4, out), "01020304");
    ck_assert_str_eq(hex_of(slice_of("\x01\x02\x03\x04\x05", 5), 4, out), "01020304...");
}
END_TEST

#define TEST_METRICS(X)                                                                            \
    X(stored, COUNTER, "objects stored")                                                           \
    X(resident, GAUGE, "objects in RAM")
struct test_metrics {
    METRICS_FIELDS(TEST_METRICS)
};

START_TEST(metrics_keep_their_rows)
{
    static struct metrics_registry registry_of_test;
    struct metrics_registry *registry = &registry_of_test;
    struct test_metrics metrics = {0}, *source = &metrics;
    const char *group = "test";
    TEST_METRICS(METRICS_ROW)
    ck_assert_uint_eq(registry->count, 2);
    ck_assert_str_eq(registry->metrics[0].group, "test");
    ck_assert_str_eq(registry->metrics[0].name, "stored");
    ck_assert_str_eq(registry->metrics[0].help, "objects stored");
    ck_assert_int_eq(registry->metrics[0].kind, METRIC_COUNTER);
    ck_assert_str_eq(registry->metrics[1].name, "resident");
    ck_assert_int_eq(registry->metrics[1].kind, METRIC_GAUGE);
    metrics.resident = 17;
    ck_assert(*registry->metrics[1].value == 17);
    ck_assert(*registry->metrics[0].value == 0);
}
END_TEST

START_TEST(errors_have_sentence_and_atom)
{
#define CHECK_ERROR(name, value, atom, sentence)                                                   \
    ck_assert_int_lt(name, 0);                                                                     \
    ck_assert_str_eq(error_atom(name), atom);                                                      \
    ck_assert_str_eq(error_sentence(name), sentence);
    BRAIN_ERRORS(CHECK_ERROR)
    ck_assert_str_eq(error_sentence(12345), "unknown error");
    ck_assert_str_eq(error_atom(0), "unknown");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    TCase *utf8 = tcase_create("utf8");
    tcase_add_test(utf8, utf8_accepts_well_formed);
    tcase_add_test(utf8, utf8_refuses_ill_formed);
    tcase_add_test(utf8, utf8_finds_a_bad_byte_anywhere);
    suite_add_tcase(suite, utf8);
    TCase *checksum = tcase_create("crc32c");
    tcase_add_test(checksum, crc32c_has_the_published_values);
    tcase_add_test(checksum, crc32c_ways_agree);
    tcase_add_test(checksum, crc32c_ways_agree_on_long_inputs);
    suite_add_tcase(suite, checksum);
    TCase *rest = tcase_create("hex, metrics, errors");
    tcase_add_test(rest, hex_shows_the_first_bytes);
    tcase_add_test(rest, metrics_keep_their_rows);
    tcase_add_test(rest, errors_have_sentence_and_atom);
    suite_add_tcase(suite, rest);
    return suite_run(suite);
}
