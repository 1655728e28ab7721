/* What of the process's memory counts beside what is counted, and that the process is asked. */
#include <check.h>
#include <stdlib.h>

#include "resident.h"
#include "suite.h"

enum { MB = 1 << 20 };

START_TEST(a_small_difference_is_tolerated)
{
    /* limit, counted, program, anonymous, excess; in MB */
    static const uint64_t rows[][5] = {
        {100, 60, 5, 60, 0},   /* less than is counted: the kernel has not given all of it yet */
        {100, 60, 5, 65, 0},   /* exactly */
        {100, 60, 5, 70, 0},   /* a twentieth of the limit */
        {100, 60, 5, 71, 1},   /* what is above */
        {100, 60, 5, 95, 25},  /* a quarter */
        {100, 60, 5, 900, 25}, /* no more */
        {100, 0, 900, 60, 0},  /* no wrap */
        {0, 60, 5, 900, 0},    /* no limit */
    };
    const uint64_t *row = rows[_i];
    ck_assert_uint_eq(
        resident_excess(row[3] * MB, row[2] * MB, row[1] * MB, row[0] * MB), row[4] * MB);
}
END_TEST

START_TEST(the_process_is_looked_at)
{
    enum { SIZE = 64 * MB };
    struct resident resident;
    resident_open(&resident);
    ck_assert_int_ge(resident.statm, 0);
    ck_assert_uint_gt(resident.program_bytes, 0);
    resident_look(&resident, 0, 100 * MB);
    ck_assert_uint_lt(resident.excess_bytes, 8 * MB);
    volatile char *taken = malloc(SIZE);
    ck_assert_ptr_nonnull((const void *)taken);
    for (size_t i = 0; i < SIZE; i += 1024)
        taken[i] = 1;
    resident_look(&resident, 0, 1000 * MB);
    ck_assert_uint_gt(resident.excess_bytes, 8 * MB);
    resident_look(&resident, SIZE, 1000 * MB);
    ck_assert_uint_eq(resident.excess_bytes, 0);
    free((void *)taken);
    resident_close(&resident);
    resident_look(&resident, 0, 100 * MB); /* closed: nothing is known */
    ck_assert_uint_eq(resident.excess_bytes, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/resident");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, a_small_difference_is_tolerated, 0, 8);
    tcase_add_test(all, the_process_is_looked_at);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
