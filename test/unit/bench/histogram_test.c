/* The histogram of brain-bench: buckets without gaps, and percentiles as sorting gives them. */
#include <check.h>
#include <stdlib.h>

#include "histogram.h"
#include "suite.h"

static struct histogram histogram;

START_TEST(test_buckets_follow_each_other)
{
    uint64_t begin = 0;
    for (size_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        uint64_t end = histogram_bucket_end(bucket);
        ck_assert_uint_eq(histogram_bucket(begin), bucket);
        ck_assert_uint_eq(histogram_bucket(end), bucket);
        /* No wider than 1/512 of what it holds. */
        ck_assert_uint_le(end - begin, begin / 512);
        begin = end + 1;
    }
    ck_assert_uint_eq(begin - 1, HISTOGRAM_LIMIT);
    ck_assert_uint_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}
END_TEST

START_TEST(test_small_values_are_exact)
{
    histogram_clear(&histogram);
    for (uint64_t value = 1; value <= 1000; value++)
        histogram_record(&histogram, value);
    ck_assert_uint_eq(histogram_quantile(&histogram, 0), 1);
    ck_assert_uint_eq(histogram_quantile(&histogram, 0.001), 1);
    ck_assert_uint_eq(histogram_quantile(&histogram, 0.5), 500);
    ck_assert_uint_eq(histogram_quantile(&histogram, 0.99), 990);
    ck_assert_uint_eq(histogram_quantile(&histogram, 0.9991), 1000);
    ck_assert_uint_eq(histogram_quantile(&histogram, 1), 1000);
    ck_assert_uint_eq(histogram.least, 1);
    ck_assert_uint_eq(histogram.most, 1000);
    ck_assert_double_eq_tol(histogram_mean(&histogram), 500.5, 1e-9);
}
END_TEST

START_TEST(test_nothing_recorded)
{
    histogram_clear(&histogram);
    ck_assert_uint_eq(histogram_quantile(&histogram, 0.99), 0);
    ck_assert_double_eq_tol(histogram_mean(&histogram), 0, 1e-9);
}
END_TEST

START_TEST(test_one_value_is_every_quantile)
{
    histogram_clear(&histogram);
    histogram_record(&histogram, 1234567);
    ck_assert_uint_eq(histogram_quantile(&histogram, 0), 1234567);
    ck_assert_uint_eq(histogram_quantile(&histogram, 0.5), 1234567);
    ck_assert_uint_eq(histogram_quantile(&histogram, 1), 1234567);
}
END_TEST

START_TEST(test_values_beyond_the_range_keep_the_largest)
{
    histogram_clear(&histogram);
    histogram_record(&histogram, 5);
    histogram_record(&histogram, UINT64_C(1) << 50);
    ck_assert_uint_eq(histogram_quantile(&histogram, 1), UINT64_C(1) << 50);
    ck_assert_uint_eq(histogram_quantile(&histogram, 0.5), 5);
}
END_TEST

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

START_TEST(test_quantiles_as_sorting_gives_them)
{
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    srand((unsigned)_i);
    histogram_clear(&histogram);
    for (size_t i = 0; i < COUNT; i++) {
        /* From nanoseconds to minutes. */
        values[i] = ((uint64_t)rand() << 8 ^ (uint64_t)rand()) >> rand() % 36;
        histogram_record(&histogram, values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), compare);
    static const double quantiles[] = {0.0001, 0.01, 0.5, 0.9, 0.99, 0.999, 1};
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        double rank = quantiles[i] * COUNT;
        size_t at = (size_t)rank;
        at += (double)at < rank ? 1 : 0;
        uint64_t exact = values[at - 1], told = histogram_quantile(&histogram, quantiles[i]);
        ck_assert_uint_ge(told, exact);
        ck_assert_uint_le(told, exact + exact / 512);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("histogram");
    TCase *test = tcase_create("histogram");
    tcase_add_test(test, test_buckets_follow_each_other);
    tcase_add_test(test, test_small_values_are_exact);
    tcase_add_test(test, test_nothing_recorded);
    tcase_add_test(test, test_one_value_is_every_quantile);
    tcase_add_test(test, test_values_beyond_the_range_keep_the_largest);
    tcase_add_loop_test(test, test_quantiles_as_sorting_gives_them, 1, 6);
    suite_add_tcase(suite, test);
    return suite_run(suite);
}
