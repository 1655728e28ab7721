/* Keys, ids and values of brain-bench: what is stored can be told from everything else, and keys
 * are asked for as often as their distribution says. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "suite.h"
#include "workload.h"

static const uint64_t sizes[] = {
    0, 1, 7, 8, 9, 100, 4096, 65520, 65521, 65529, 65530, 200000, 300000};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static struct values values;

static uint8_t *made(uint64_t size, uint64_t key)
{
    ck_assert_int_eq(values_init(&values, size), 0);
    uint8_t *bytes = malloc(size + 1);
    ck_assert_ptr_nonnull(bytes);
    value_write(&values, key, bytes);
    return bytes;
}

START_TEST(test_a_value_is_itself_whole_and_in_parts)
{
    uint64_t size = sizes[_i];
    uint8_t *bytes = made(size, 4711);
    ck_assert(value_is(&values, 4711, bytes));
    ck_assert(value_matches(&values, 4711, 0, bytes, size));
    for (uint64_t part = size / 1000 + 1; part < size; part += part / 2 + 1) {
        for (uint64_t at = 0; at < size; at += part)
            ck_assert(
                value_matches(&values, 4711, at, bytes + at, part < size - at ? part : size - at));
    }
    free(bytes);
    values_release(&values);
}
END_TEST

START_TEST(test_every_byte_counts)
{
    uint64_t size = sizes[_i];
    uint8_t *bytes = made(size, 4711);
    uint64_t step = size > 5000 ? size / 50 + 1 : 1;
    for (uint64_t at = 0; at < size; at += step) {
        bytes[at] ^= 1;
        ck_assert(!value_is(&values, 4711, bytes));
        ck_assert(!value_matches(&values, 4711, 0, bytes, size));
        ck_assert(!value_matches(&values, 4711, at, bytes + at, 1));
        bytes[at] ^= 1;
    }
    ck_assert(value_is(&values, 4711, bytes));
    free(bytes);
    values_release(&values);
}
END_TEST

START_TEST(test_more_than_there_is_does_not_match)
{
    uint8_t *bytes = made(100, 1), more[101] = {0};
    memcpy(more, bytes, 100);
    ck_assert(!value_matches(&values, 1, 0, more, 101));
    ck_assert(!value_matches(&values, 1, 100, more, 1));
    ck_assert(!value_matches(&values, 1, UINT64_MAX, more, 1));
    ck_assert(value_matches(&values, 1, 100, more, 0));
    free(bytes);
    values_release(&values);
}
END_TEST

START_TEST(test_keys_have_different_values)
{
    ck_assert_int_eq(values_init(&values, 100), 0);
    uint8_t bytes[100];
    for (uint64_t key = 0; key < 1000; key++) {
        value_write(&values, key, bytes);
        ck_assert(!value_is(&values, key + 1, bytes));
        /* Nor does the right stamp save a value of another pattern. */
        uint64_t stamp = value_stamp(key + 1);
        memcpy(bytes, &stamp, STAMP_BYTES);
        ck_assert_int_eq(value_is(&values, key + 1, bytes),
            value_stamp(key) >> 52 == value_stamp(key + 1) >> 52);
    }
    values_release(&values);
}
END_TEST

START_TEST(test_a_block_in_the_wrong_place_is_seen)
{
    uint8_t *bytes = made(300000, 7);
    for (size_t block = 512; block <= 131072; block *= 2) {
        uint8_t *copy = malloc(300000);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, bytes, 300000);
        memcpy(copy + block, copy, block);
        ck_assert(!value_is(&values, 7, copy));
        free(copy);
    }
    free(bytes);
    values_release(&values);
}
END_TEST

START_TEST(test_ids)
{
    uint8_t id[20];
    id_write_zero(id, sizeof(id));
    ck_assert_mem_eq(id, "k0000000000000000000", 20);
    id_write_digits(id + 20, 90807, 5);
    ck_assert_mem_eq(id, "k0000000000000090807", 20);
    id_write_digits(id + 20, 3, 5);
    ck_assert_mem_eq(id, "k0000000000000000003", 20);
    id_write_digits(id + 20, 123456, 6);
    ck_assert_mem_eq(id, "k0000000000000123456", 20);
    ck_assert_uint_eq(id_digits(1), 1);
    ck_assert_uint_eq(id_digits(10), 1);
    ck_assert_uint_eq(id_digits(11), 2);
    ck_assert_uint_eq(id_digits(1000000), 6);
    ck_assert_uint_eq(id_digits(1000001), 7);
}
END_TEST

START_TEST(test_uniform_keys_reach_all_evenly)
{
    enum { KEYS = 100, DRAWS = 100000 };
    static unsigned seen[KEYS];
    struct keys keys;
    keys_init(&keys, KEYS, DISTRIBUTION_UNIFORM, 0.99, 1);
    memset(seen, 0, sizeof(seen));
    for (size_t i = 0; i < DRAWS; i++) {
        uint64_t key = keys_next(&keys);
        if (key >= KEYS)
            ck_abort_msg("no key");
        seen[key]++;
    }
    /* 1000 each; 6 standard deviations. */
    for (size_t i = 0; i < KEYS; i++)
        ck_assert_double_eq_tol(seen[i], 1000, 190);
}
END_TEST

static const double exponents[] = {0.5, 0.99, 1, 1.5};

START_TEST(test_zipf_ranks_are_as_frequent_as_they_should)
{
    enum { KEYS = 1000, DRAWS = 400000 };
    static unsigned seen[KEYS];
    double exponent = exponents[_i], sum = 0;
    struct keys keys;
    keys_init(&keys, KEYS, DISTRIBUTION_ZIPF, exponent, 5);
    memset(seen, 0, sizeof(seen));
    for (size_t i = 0; i < DRAWS; i++) {
        uint64_t rank = keys_zipf_rank(&keys);
        if (rank >= KEYS)
            ck_abort_msg("no rank");
        seen[rank]++;
    }
    for (size_t rank = 1; rank <= KEYS; rank++)
        sum += pow((double)rank, -exponent);
    for (size_t rank = 1; rank <= KEYS; rank++) {
        double expected = DRAWS * pow((double)rank, -exponent) / sum;
        ck_assert_double_eq_tol(seen[rank - 1], expected, 6 * sqrt(expected) + 3);
    }
}
END_TEST

START_TEST(test_ranks_are_scattered_over_all_keys)
{
    static const uint64_t counts[] = {1, 2, 3, 10, 997, 1000, 4096};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct keys keys;
        bool seen[4096] = {false};
        keys_init(&keys, counts[i], DISTRIBUTION_ZIPF, 0.99, 1);
        for (uint64_t rank = 0; rank < counts[i]; rank++) {
            uint64_t key = keys_of_rank(&keys, rank);
            ck_assert_uint_lt(key, counts[i]);
            ck_assert(!seen[key]);
            seen[key] = true;
        }
    }
}
END_TEST

START_TEST(test_a_seed_is_a_sequence)
{
    struct keys a, b, c;
    keys_init(&a, 1000000, DISTRIBUTION_ZIPF, 0.99, 1);
    keys_init(&b, 1000000, DISTRIBUTION_ZIPF, 0.99, 1);
    keys_init(&c, 1000000, DISTRIBUTION_ZIPF, 0.99, 2);
    unsigned same = 0;
    for (size_t i = 0; i < 100; i++) {
        uint64_t key = keys_next(&a);
        ck_assert_uint_eq(key, keys_next(&b));
        same += key == keys_next(&c);
    }
    ck_assert_uint_lt(same, 50);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("workload");
    TCase *test = tcase_create("workload");
    tcase_add_loop_test(test, test_a_value_is_itself_whole_and_in_parts, 0, SIZES);
    tcase_add_loop_test(test, test_every_byte_counts, 0, SIZES);
    tcase_add_test(test, test_more_than_there_is_does_not_match);
    tcase_add_test(test, test_keys_have_different_values);
    tcase_add_test(test, test_a_block_in_the_wrong_place_is_seen);
    tcase_add_test(test, test_ids);
    tcase_add_test(test, test_uniform_keys_reach_all_evenly);
    tcase_add_loop_test(test, test_zipf_ranks_are_as_frequent_as_they_should, 0,
        (int)(sizeof(exponents) / sizeof(exponents[0])));
    tcase_add_test(test, test_ranks_are_scattered_over_all_keys);
    tcase_add_test(test, test_a_seed_is_a_sequence);
    suite_add_tcase(suite, test);
    return suite_run(suite);
}
