/* The scanner: what it accepts, its limits, and that it may stop anywhere. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "brain/etf.h"
#include "heap_fault.h"
#include "suite.h"

static const struct etf_limits roomy = {1000, 1000000};

#define BYTES(...) slice_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static int check_size(struct slice bytes, size_t *size)
{
    return etf_check(bytes, roomy, size);
}

START_TEST(accepts_a_call_as_erlang_sends_it)
{
    struct buffer out;
    buffer_init(&out);
    etf_write_tuple(&out, 3);
    etf_write_atom(&out, "$gen_call");
    etf_write_pid(&out, slice_of_string("a@localhost"), 102, 0, 7);
    etf_write_map(&out, 1);
    etf_write_atom(&out, "k");
    etf_write_binary(&out, slice_of_string("value"));
    size_t length = out.size;
    buffer_append_u8(&out, 0xff); /* what follows is not looked at */
    size_t size = 0;
    ck_assert_int_eq(check_size(buffer_slice(&out), &size), 0);
    ck_assert_uint_eq(size, length);
    for (size_t cut = 0; cut < length; cut++)
        ck_assert_int_eq(check_size(slice_of(out.data, cut), &size), BRAIN_ETERM);
    buffer_release(&out);
}
END_TEST

START_TEST(refuses_what_otp_refuses)
{
    size_t size;
    ck_assert_int_eq(check_size(BYTES(119, 2, 0xff, 0xfe), &size), BRAIN_ETERM);
    ck_assert_int_eq(check_size(BYTES(119, 3, 0xed, 0xa0, 0x80), &size), BRAIN_ETERM);
    ck_assert_int_eq(check_size(BYTES(80, 0, 0, 0, 2, 0, 0), &size), BRAIN_ETERM);
    ck_assert_int_eq(check_size(BYTES(82, 0), &size), BRAIN_ETERM);
    ck_assert_int_eq(check_size(BYTES(131, 97, 1), &size), BRAIN_ETERM);
    ck_assert_int_eq(check_size(BYTES(70, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0), &size), BRAIN_ETERM);
    ck_assert_int_eq(check_size(BYTES(77, 0, 0, 0, 1, 9, 5), &size), BRAIN_ETERM);
    ck_assert_int_eq(
        check_size(BYTES(88, 97, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1), &size), BRAIN_ETERM);
    ck_assert_int_eq(check_size(BYTES(108, 0, 0, 0, 0, 106), &size), 0);
    ck_assert_uint_eq(size, 6);
    ck_assert_int_eq(check_size(slice_of(NULL, 0), &size), BRAIN_ETERM);
}
END_TEST

START_TEST(refuses_long_atoms)
{
    uint8_t atom[3 + 4 * 256] = {118, 256 >> 8, 0};
    memset(atom + 3, 'a', 256);
    size_t size;
    ck_assert_int_eq(check_size(slice_of(atom, 3 + 256), &size), BRAIN_ETERM);
    atom[1] = 0, atom[2] = 255;
    ck_assert_int_eq(check_size(slice_of(atom, 3 + 255), &size), 0);
    /* 255 characters of four bytes each are an atom, too. */
    atom[1] = 1020 >> 8, atom[2] = 1020 & 255;
    for (size_t i = 0; i < 255; i++)
        memcpy(atom + 3 + 4 * i, "\xf0\x9f\x98\x80", 4);
    ck_assert_int_eq(check_size(slice_of(atom, 3 + 1020), &size), 0);
    ck_assert_uint_eq(size, 1023);
}
END_TEST

START_TEST(refuses_a_claim_before_it_is_fulfilled)
{
    size_t size;
    heap_fault_start(1); /* any allocation would fail */
    ck_assert_int_eq(check_size(BYTES(108, 0x80, 0, 0, 0, 97), &size), BRAIN_EELEMENTS);
    ck_assert_int_eq(check_size(BYTES(105, 0xff, 0xff, 0xff, 0xff, 97), &size), BRAIN_EELEMENTS);
    ck_assert_int_eq(check_size(BYTES(116, 0xff, 0xff, 0xff, 0xff, 97), &size), BRAIN_EELEMENTS);
    ck_assert(!heap_fault_stop());
    /* The limit counts all levels together, the root and tails included. */
    struct slice nested = BYTES(104, 2, 104, 2, 97, 1, 97, 2, 108, 0, 0, 0, 1, 97, 1, 106);
    ck_assert_int_eq(etf_check(nested, (struct etf_limits){9, 7}, &size), 0);
    ck_assert_int_eq(etf_check(nested, (struct etf_limits){9, 6}, &size), BRAIN_EELEMENTS);
}
END_TEST

START_TEST(refuses_depth)
{
    enum { LEVELS = 1000000 };
    struct buffer out;
    buffer_init(&out);
    for (int i = 0; i < LEVELS; i++)
        etf_write_tuple(&out, 1);
    etf_write_nil(&out);
    size_t size;
    struct etf_limits limits = {500, UINT64_MAX};
    ck_assert_int_eq(etf_check(buffer_slice(&out), limits, &size), BRAIN_EDEPTH);
    limits.max_depth = LEVELS - 1; /* the outermost is in nothing */
    ck_assert_int_eq(etf_check(buffer_slice(&out), limits, &size), 0);
    ck_assert_uint_eq(size, out.size);
    limits.max_depth = LEVELS - 2;
    ck_assert_int_eq(etf_check(buffer_slice(&out), limits, &size), BRAIN_EDEPTH);
    limits.max_depth = 0; /* a flat term */
    ck_assert_int_eq(etf_check(BYTES(104, 1, 97, 1), limits, &size), 0);
    ck_assert_int_eq(etf_check(BYTES(104, 1, 104, 1, 97, 1), limits, &size), BRAIN_EDEPTH);
    buffer_release(&out);
}
END_TEST

static void write_mixed(struct buffer *out)
{
    etf_write_tuple(out, 4);
    etf_write_atom(out, "s");
    etf_write_binary(out, slice_of_string("user:1"));
    etf_write_list(out, 40);
    for (unsigned i = 0; i < 40; i++) {
        etf_write_tuple(out, 2);
        etf_write_int64(out, (int64_t)i * -1000000007);
        etf_write_double(out, i);
    }
    etf_write_nil(out);
    static const uint8_t fun[] = {112, 0, 0, 0, 58, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
        14, 15, 16, 0, 0, 0, 7, 0, 0, 0, 1, 119, 1, 'm', 97, 1, 97, 2, 88, 119, 3, 'a', '@', 'b', 0,
        0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 104, 1, 97, 9};
    buffer_append(out, fun, sizeof fun);
}

START_TEST(stops_anywhere)
{
    struct buffer out;
    buffer_init(&out);
    write_mixed(&out);
    size_t size = 0;
    ck_assert_int_eq(check_size(buffer_slice(&out), &size), 0);
    ck_assert_uint_eq(size, out.size);

    for (size_t step = 1; step < 70; step++) {
        struct etf_scanner scanner, moved;
        etf_scanner_init(&scanner, roomy);
        size_t here = 0;
        unsigned turns = 0;
        int status = ETF_NEED_BYTES;
        while (status != ETF_DONE) {
            ck_assert_uint_lt(turns++, 10000);
            moved = scanner; /* it may be moved, and so may the bytes */
            memset(&scanner, 0xee, sizeof scanner);
            scanner = moved;
            uint8_t *copy = malloc(here + 1);
            memcpy(copy, out.data, here);
            status = etf_scan(&scanner, slice_of(copy, here), step % 7 + 1);
            free(copy);
            ck_assert_int_ge(status, 0);
            if (status == ETF_NEED_BYTES) {
                ck_assert_uint_lt(here, out.size);
                here = here + step < out.size ? here + step : out.size;
            }
        }
        ck_assert_uint_eq(here, out.size);
        ck_assert_uint_eq(scanner.offset, out.size);
        etf_scanner_release(&scanner);
    }
    buffer_release(&out);
}
END_TEST

START_TEST(fun_must_end_where_it_says)
{
    struct buffer out;
    buffer_init(&out);
    write_mixed(&out);
    size_t size, fun = out.size - 59 + 4;
    out.data[fun]++;
    ck_assert_int_eq(check_size(buffer_slice(&out), &size), BRAIN_ETERM);
    out.data[fun] = (uint8_t)(out.data[fun] - 2);
    ck_assert_int_eq(check_size(buffer_slice(&out), &size), BRAIN_ETERM);
    buffer_release(&out);
}
END_TEST

START_TEST(steps_over_a_binary_that_is_not_here)
{
    struct etf_scanner scanner;
    etf_scanner_init(&scanner, roomy);
    struct slice head = BYTES(104, 2, 109, 1, 0, 0, 0);
    ck_assert_int_eq(etf_scan(&scanner, head, UINT64_MAX), ETF_NEED_BYTES);
    ck_assert_uint_eq(scanner.offset, 7 + (1u << 24));
    ck_assert_int_eq(etf_scan(&scanner, head, UINT64_MAX), ETF_NEED_BYTES);
    etf_scanner_release(&scanner);
}
END_TEST

START_TEST(budget_bounds_the_work)
{
    struct buffer out;
    buffer_init(&out);
    etf_write_list(&out, 1000);
    for (unsigned i = 0; i < 1000; i++)
        etf_write_uint64(&out, i & 255);
    etf_write_nil(&out);
    struct etf_scanner scanner;
    etf_scanner_init(&scanner, roomy);
    unsigned turns = 1;
    while (etf_scan(&scanner, buffer_slice(&out), 10) == ETF_NEED_BUDGET)
        turns++;
    ck_assert_uint_eq(turns, 101); /* 1002 terms, ten a turn */
    ck_assert_uint_eq(scanner.elements, 1002);
    ck_assert_int_eq(etf_scan(&scanner, buffer_slice(&out), 0), ETF_DONE);
    etf_scanner_release(&scanner);
    buffer_release(&out);
}
END_TEST

START_TEST(errors_stay)
{
    struct etf_scanner scanner;
    etf_scanner_init(&scanner, roomy);
    ck_assert_int_eq(etf_scan(&scanner, BYTES(1), UINT64_MAX), BRAIN_ETERM);
    ck_assert_int_eq(etf_scan(&scanner, BYTES(97, 1), UINT64_MAX), BRAIN_ETERM);
    etf_scanner_release(&scanner);
}
END_TEST

START_TEST(marks_let_a_reader_step_over)
{
    struct buffer out;
    buffer_init(&out);
    etf_write_tuple(&out, 3);
    etf_write_atom(&out, "s");
    etf_write_uint64(&out, 1);
    size_t value = out.size;
    etf_write_list(&out, 50); /* more large subterms than there are marks */
    for (unsigned i = 0; i < 50; i++) {
        etf_write_tuple(&out, 1);
        uint8_t *bytes = buffer_extend(&out, 5005);
        memset(bytes, 0, 5005);
        bytes[0] = 109;
        store_be32(bytes + 1, 5000);
    }
    etf_write_nil(&out);
    struct etf_scanner scanner;
    etf_scanner_init(&scanner, roomy);
    ck_assert_int_eq(etf_scan(&scanner, buffer_slice(&out), UINT64_MAX), ETF_DONE);
    bool found = false;
    for (uint32_t i = 0; i < scanner.marks.count; i++)
        found = found ||
                (scanner.marks.mark[i].begin == value && scanner.marks.mark[i].end == out.size);
    ck_assert(found);

    /* A reader with limits that the value does not keep steps over it all the same. */
    struct etf_reader reader;
    etf_reader_init(&reader, buffer_slice(&out), (struct etf_limits){0, 1});
    reader.marks = &scanner.marks;
    uint32_t arity;
    uint64_t number;
    struct slice term;
    ck_assert_int_eq(etf_read_tuple(&reader, &arity), 0);
    ck_assert(etf_take_atom(&reader, "s"));
    ck_assert_int_eq(etf_read_uint64(&reader, &number), 0);
    struct etf_reader unmarked = reader;
    unmarked.marks = NULL;
    ck_assert_int_eq(etf_skip(&unmarked), BRAIN_EELEMENTS);
    ck_assert_int_eq(etf_read_term(&reader, &term), 0);
    ck_assert(etf_at_end(&reader));
    ck_assert_uint_eq(term.size, out.size - value);
    etf_scanner_release(&scanner);
    buffer_release(&out);
}
END_TEST

START_TEST(survives_failing_allocations)
{
    enum { LEVELS = 300 };
    uint8_t bytes[2 * LEVELS + 1];
    for (int i = 0; i < LEVELS; i++)
        bytes[2 * i] = 104, bytes[2 * i + 1] = 1;
    bytes[2 * LEVELS] = 106;
    unsigned failures = 0;
    for (unsigned n = 1;; n++) {
        size_t size = 0;
        heap_fault_start(n);
        int status = check_size(slice_of(bytes, sizeof bytes), &size);
        if (!heap_fault_stop()) {
            ck_assert_int_eq(status, 0);
            break;
        }
        ck_assert_int_eq(status, BRAIN_ENOMEM);
        failures++;
    }
    ck_assert_uint_eq(failures, 4); /* 48, 96, 192, 384 levels */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etf scanner");
    TCase *tcase = tcase_create("scanner");
    tcase_add_test(tcase, accepts_a_call_as_erlang_sends_it);
    tcase_add_test(tcase, refuses_what_otp_refuses);
    tcase_add_test(tcase, refuses_long_atoms);
    tcase_add_test(tcase, refuses_a_claim_before_it_is_fulfilled);
    tcase_add_test(tcase, refuses_depth);
    tcase_add_test(tcase, stops_anywhere);
    tcase_add_test(tcase, fun_must_end_where_it_says);
    tcase_add_test(tcase, steps_over_a_binary_that_is_not_here);
    tcase_add_test(tcase, budget_bounds_the_work);
    tcase_add_test(tcase, errors_stay);
    tcase_add_test(tcase, marks_let_a_reader_step_over);
    tcase_add_test(tcase, survives_failing_allocations);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
