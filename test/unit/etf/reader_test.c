/* The reader, the ids and the writer. */
#include <check.h>
#include <string.h>

#include "brain/etf.h"
#include "suite.h"

static const struct etf_limits roomy = {100, 100000};

#define BYTES(...) slice_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static struct etf_reader reader_of(struct slice bytes)
{
    struct etf_reader reader;
    etf_reader_init(&reader, bytes, roomy);
    return reader;
}

START_TEST(integers_in_every_form)
{
    static const int64_t numbers[] = {0, 1, 255, 256, -1, INT32_MAX, INT32_MIN, INT64_C(1) << 31,
        INT64_MAX, INT64_MIN, INT64_MIN + 1};
    struct buffer out;
    buffer_init(&out);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        buffer_clear(&out);
        etf_write_int64(&out, numbers[i]);
        struct etf_reader reader = reader_of(buffer_slice(&out));
        int64_t number = 77;
        ck_assert_int_eq(etf_read_int64(&reader, &number), 0);
        ck_assert(number == numbers[i] && etf_at_end(&reader));
        reader = reader_of(buffer_slice(&out));
        uint64_t magnitude;
        ck_assert_int_eq(etf_read_uint64(&reader, &magnitude), numbers[i] < 0 ? BRAIN_ETERM : 0);
        ck_assert(etf_at_end(&reader) == (numbers[i] >= 0));
    }
    buffer_clear(&out);
    etf_write_uint64(&out, UINT64_MAX);
    ck_assert_uint_eq(out.size, 11);
    struct etf_reader reader = reader_of(buffer_slice(&out));
    int64_t number;
    uint64_t magnitude = 0;
    ck_assert_int_eq(etf_read_int64(&reader, &number), BRAIN_ETERM);
    ck_assert_int_eq(etf_read_uint64(&reader, &magnitude), 0);
    ck_assert(magnitude == UINT64_MAX);
    reader = reader_of(BYTES(110, 10, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0)); /* leading zeros */
    ck_assert_int_eq(etf_read_int64(&reader, &number), 0);
    ck_assert_int_eq(number, -5);
    buffer_release(&out);
}
END_TEST

START_TEST(a_failed_read_leaves_the_cursor)
{
    struct slice cut = BYTES(109, 0, 0, 0, 9, 1);
    struct etf_reader reader = reader_of(cut);
    struct slice bytes;
    uint32_t count;
    ck_assert_int_eq(etf_read_binary(&reader, &bytes), BRAIN_ETERM);
    ck_assert_int_eq(etf_read_tuple(&reader, &count), BRAIN_ETERM);
    ck_assert_int_eq(etf_read_list(&reader, &count), BRAIN_ETERM);
    ck_assert_int_eq(etf_read_map(&reader, &count), BRAIN_ETERM);
    ck_assert_int_eq(etf_read_atom(&reader, &bytes), BRAIN_ETERM);
    ck_assert_int_eq(etf_skip(&reader), BRAIN_ETERM);
    ck_assert_ptr_eq(reader.at, cut.data);
    reader = reader_of(slice_of(NULL, 0));
    ck_assert_int_eq(etf_peek(&reader), -1);
    ck_assert_int_eq(etf_skip(&reader), BRAIN_ETERM);
}
END_TEST

START_TEST(atoms_and_pids)
{
    struct etf_reader reader = reader_of(BYTES(100, 0, 2, 'o', 'k'));
    ck_assert(!etf_take_atom(&reader, "o"));
    ck_assert(etf_take_atom(&reader, "ok") && etf_at_end(&reader));
    reader = reader_of(BYTES(115, 1, 0xe9));
    struct slice text;
    ck_assert_int_eq(etf_read_atom(&reader, &text), BRAIN_ETERM);
    ck_assert_int_eq(etf_skip(&reader), 0);

    struct buffer out;
    buffer_init(&out);
    etf_write_pid(&out, slice_of_string("a@b"), 1, 2, 0xfffffffe);
    struct etf_pid pid;
    ck_assert_int_eq(etf_pid_parts(buffer_slice(&out), &pid), 0);
    ck_assert(slice_equal_string(pid.node, "a@b"));
    ck_assert(pid.id == 1 && pid.serial == 2 && pid.creation == 0xfffffffe);
    ck_assert_int_eq(etf_pid_parts(slice_of(out.data, out.size - 1), &pid), BRAIN_ETERM);
    ck_assert_int_eq(etf_pid_parts(BYTES(103, 115, 1, 'n', 0, 0, 0, 1, 0, 0, 0, 2, 3), &pid), 0);
    ck_assert_uint_eq(pid.creation, 3);
    buffer_clear(&out);
    uint32_t words[3] = {1, 2, 3};
    etf_write_reference(&out, slice_of_string("a@b"), 9, words, 3);
    reader = reader_of(buffer_slice(&out));
    ck_assert_int_eq(etf_read_pid(&reader, &text), BRAIN_ETERM);
    ck_assert_int_eq(etf_read_reference(&reader, &text), 0);
    ck_assert(slice_equal(text, buffer_slice(&out)));
    buffer_release(&out);
}
END_TEST

/* Reads `term` as an id and compares; expected NULL: it is none, and is stepped over. */
static void id_is(struct slice term, const char *expected)
{
    struct etf_reader reader = reader_of(term);
    uint8_t id[ID_LIMIT];
    size_t size = 0;
    int status = etf_read_id(&reader, id, &size);
    ck_assert(etf_at_end(&reader));
    if (expected == NULL) {
        ck_assert_int_eq(status, BRAIN_EBADID);
        return;
    }
    ck_assert_int_eq(status, 0);
    ck_assert_msg(slice_equal_string(slice_of(id, size), expected), "'%.*s' is not '%s'", (int)size,
        (const char *)id, expected);
}

START_TEST(ids_are_one_in_all_their_forms)
{
    id_is(BYTES(109, 0, 0, 0, 2, 'u', '1'), "u1");
    id_is(BYTES(107, 0, 2, 'u', '1'), "u1");
    id_is(BYTES(119, 2, 'u', '1'), "u1");
    id_is(BYTES(100, 0, 2, 'u', '1'), "u1");
    id_is(BYTES(108, 0, 0, 0, 2, 97, 'u', 98, 0, 0, 0, '1', 106), "u1");
    id_is(BYTES(108, 0, 0, 0, 1, 97, 'u', 107, 0, 1, '1'), "u1");
    id_is(BYTES(77, 0, 0, 0, 2, 8, 'u', '1'), "u1");
    /* "hé": Latin-1 code points, or UTF-8 already (PHP). */
    id_is(BYTES(107, 0, 2, 'h', 0xe9), "h\xc3\xa9");
    id_is(BYTES(107, 0, 3, 'h', 0xc3, 0xa9), "h\xc3\xa9");
    id_is(BYTES(108, 0, 0, 0, 2, 97, 'h', 97, 0xe9, 106), "h\xc3\xa9");
    id_is(BYTES(115, 2, 'h', 0xe9), "h\xc3\xa9");
    id_is(BYTES(119, 3, 'h', 0xc3, 0xa9), "h\xc3\xa9");
    id_is(BYTES(108, 0, 0, 0, 2, 98, 0, 1, 3, 0x48, 97, 'a', 106), "\xf0\x90\x8d\x88"
                                                                   "a");
    id_is(BYTES(97, 42), "42");
    id_is(BYTES(98, 0xff, 0xff, 0xff, 0xff), "-1");
    id_is(BYTES(110, 8, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "18446744073709551615");
    id_is(BYTES(110, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1), "-18446744073709551616");
    id_is(BYTES(110, 1, 1, 0), "0");
}
END_TEST

START_TEST(what_is_no_id)
{
    id_is(BYTES(109, 0, 0, 0, 0), NULL);
    id_is(BYTES(106), NULL);
    id_is(BYTES(119, 0), NULL);
    id_is(BYTES(107, 0, 0), NULL);
    id_is(BYTES(77, 0, 0, 0, 1, 3, 0xe0), NULL);
    id_is(BYTES(104, 1, 97, 1), NULL);
    id_is(BYTES(70, 0, 0, 0, 0, 0, 0, 0, 0), NULL);
    id_is(BYTES(116, 0, 0, 0, 0), NULL);
    id_is(BYTES(108, 0, 0, 0, 1, 97, 1, 97, 2), NULL);                    /* improper */
    id_is(BYTES(108, 0, 0, 0, 1, 107, 0, 1, 'a', 106), NULL);             /* nested */
    id_is(BYTES(108, 0, 0, 0, 1, 98, 0, 0, 0xd8, 0, 106), NULL);          /* surrogate */
    id_is(BYTES(108, 0, 0, 0, 1, 98, 0, 0x11, 0, 0, 106), NULL);          /* beyond Unicode */
    id_is(BYTES(108, 0, 0, 0, 1, 98, 0xff, 0xff, 0xff, 0xff, 106), NULL); /* negative */
}
END_TEST

START_TEST(ids_are_1024_bytes_at_most)
{
    struct buffer out;
    buffer_init(&out);
    uint8_t text[ID_LIMIT + 1], id[ID_LIMIT];
    memset(text, 'x', sizeof text);
    for (size_t size = ID_LIMIT; size <= ID_LIMIT + 1; size++) {
        buffer_clear(&out);
        etf_write_binary(&out, slice_of(text, size));
        struct etf_reader reader = reader_of(buffer_slice(&out));
        size_t got = 0;
        ck_assert_int_eq(etf_read_id(&reader, id, &got), size == ID_LIMIT ? 0 : BRAIN_EBADID);
        ck_assert(etf_at_end(&reader));
        ck_assert_uint_eq(got, size == ID_LIMIT ? ID_LIMIT : 0);
    }
    /* 1024 nines, and one more: the largest integer that is an id, in 426 bytes. */
    const char *error_text;
    size_t error_at;
    memset(text, '9', sizeof text);
    for (size_t digits = ID_LIMIT; digits <= ID_LIMIT + 1; digits++) {
        buffer_clear(&out);
        ck_assert_int_eq(etf_parse(&out, slice_of(text, digits), roomy, &error_at, &error_text), 0);
        struct etf_reader reader = reader_of(buffer_slice(&out));
        size_t got = 0;
        int status = etf_read_id(&reader, id, &got);
        ck_assert_int_eq(status, digits == ID_LIMIT ? 0 : BRAIN_EBADID);
        if (status == 0)
            ck_assert(slice_equal(slice_of(id, got), slice_of(text, digits)));
    }
    buffer_release(&out);
}
END_TEST

START_TEST(writer_refuses_what_is_no_atom)
{
    struct buffer out;
    buffer_init(&out);
    uint8_t text[1021] = {0};
    etf_write_atom_slice(&out, slice_of(text, sizeof text));
    ck_assert_int_eq(buffer_status(&out), BRAIN_ENOMEM);
    buffer_release(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etf reader");
    TCase *tcase = tcase_create("reader, ids and writer");
    tcase_add_test(tcase, integers_in_every_form);
    tcase_add_test(tcase, a_failed_read_leaves_the_cursor);
    tcase_add_test(tcase, atoms_and_pids);
    tcase_add_test(tcase, ids_are_one_in_all_their_forms);
    tcase_add_test(tcase, what_is_no_id);
    tcase_add_test(tcase, ids_are_1024_bytes_at_most);
    tcase_add_test(tcase, writer_refuses_what_is_no_atom);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
