/* The judge of the simulator: histories that have an order, and histories that have none. */
#include <check.h>

#include "linear.h"
#include "suite.h"

#define OPEN         UINT64_MAX
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define READ(value, from, to)                                                                      \
    {                                                                                              \
        LINEAR_READ, (value), (from), (to), 0, NULL, 0, NULL, 0                                    \
    }
#define WRITE(value, from, to)                                                                     \
    {                                                                                              \
        LINEAR_WRITE, (value), (from), (to), 0, NULL, 0, NULL, 0                                   \
    }
#define BY(sender, kind, value, from, to)                                                          \
    {                                                                                              \
        (kind), (value), (from), (to), (sender), NULL, 0, NULL, 0                                  \
    }

#define LOSS(at, values)                                                                           \
    {                                                                                              \
        LINEAR_LOSS, 0, (at), OPEN, 0, (values), COUNT(values), NULL, 0                            \
    }
#define LOSS_OF(at, values, lost)                                                                  \
    {                                                                                              \
        LINEAR_LOSS, 0, (at), OPEN, 0, (values), COUNT(values), (lost), COUNT(lost)                \
    }

#define GOOD(history) ck_assert_int_eq(linear_check(history, COUNT(history), 10000), LINEAR_YES)
#define BAD(history)  ck_assert_int_eq(linear_check(history, COUNT(history), 10000), LINEAR_NO)

START_TEST(what_comes_one_after_another)
{
    const struct linear_operation good[] = {
        READ(0, 0, 1), WRITE(1, 2, 3), READ(1, 4, 5), WRITE(0, 6, 7), READ(0, 8, 9)};
    GOOD(good);
    const struct linear_operation stale[] = {WRITE(1, 0, 1), WRITE(2, 2, 3), READ(1, 4, 5)};
    BAD(stale);
    const struct linear_operation returned[] = {WRITE(1, 0, 1), WRITE(0, 2, 3), READ(1, 4, 5)};
    BAD(returned);
    const struct linear_operation invented[] = {WRITE(1, 0, 1), READ(2, 2, 3)};
    BAD(invented);
    const struct linear_operation lost[] = {WRITE(1, 0, 1), READ(0, 2, 3)};
    BAD(lost);
}
END_TEST

START_TEST(what_overlaps_has_either_order)
{
    const struct linear_operation one[] = {WRITE(1, 0, 10), WRITE(2, 0, 10), READ(1, 11, 12)};
    GOOD(one);
    const struct linear_operation other[] = {WRITE(1, 0, 10), WRITE(2, 0, 10), READ(2, 11, 12)};
    GOOD(other);
    /* but one order for all */
    const struct linear_operation both[] = {
        WRITE(1, 0, 10), WRITE(2, 0, 10), READ(1, 11, 12), READ(2, 13, 14)};
    BAD(both);
    const struct linear_operation during[] = {WRITE(1, 0, 10), READ(1, 2, 3), READ(0, 4, 5)};
    BAD(during);
    const struct linear_operation before[] = {WRITE(1, 0, 10), READ(0, 2, 3), READ(1, 4, 5)};
    GOOD(before);
}
END_TEST

START_TEST(what_nobody_knows_may_happen_late_or_never)
{
    const struct linear_operation never[] = {WRITE(1, 0, 1), WRITE(2, 2, OPEN), READ(1, 4, 5)};
    GOOD(never);
    const struct linear_operation late[] = {
        WRITE(1, 0, 1), WRITE(2, 2, OPEN), READ(1, 4, 5), READ(2, 6, 7)};
    GOOD(late);
    const struct linear_operation undone[] = {
        WRITE(1, 0, 1), WRITE(2, 2, OPEN), READ(2, 4, 5), READ(1, 6, 7)};
    BAD(undone);
    const struct linear_operation early[] = {WRITE(1, 0, 1), READ(2, 2, 3), WRITE(2, 4, OPEN)};
    BAD(early);
    const struct linear_operation unheard[] = {WRITE(1, 0, 1), READ(7, 2, OPEN), READ(1, 4, 5)};
    GOOD(unheard);
}
END_TEST

START_TEST(a_loss_falls_back_once_to_what_is_allowed)
{
    const uint32_t first[] = {1};
    const struct linear_operation fallen[] = {
        WRITE(1, 0, 1), WRITE(2, 2, 3), READ(2, 4, 5), LOSS(6, first), READ(1, 7, 8)};
    GOOD(fallen);
    const struct linear_operation too_early[] = {
        WRITE(1, 0, 1), WRITE(2, 2, 3), READ(1, 4, 5), LOSS(6, first)};
    BAD(too_early);
    const struct linear_operation too_far[] = {
        WRITE(1, 0, 1), WRITE(2, 2, 3), LOSS(6, first), READ(0, 7, 8)};
    BAD(too_far);
    const struct linear_operation twice[] = {WRITE(1, 0, 1), WRITE(2, 2, 3), LOSS(6, first),
        READ(1, 7, 8), WRITE(3, 9, 10), READ(1, 11, 12)};
    BAD(twice);
}
END_TEST

/* A node is lost with a write whose acknowledgement failed, and only that. */
START_TEST(a_loss_of_some_values_takes_no_other)
{
    const uint32_t stored[] = {1}, failed[] = {2, 5};
    const struct linear_operation shown[] = {WRITE(1, 0, 1), WRITE(2, 2, OPEN), READ(2, 4, 5),
        LOSS_OF(6, stored, failed), READ(1, 7, 8)};
    GOOD(shown);
    const struct linear_operation unseen[] = {
        WRITE(1, 0, 1), WRITE(2, 2, OPEN), LOSS_OF(6, stored, failed), READ(1, 7, 8)};
    GOOD(unseen);
    const struct linear_operation returned[] = {WRITE(1, 0, 1), WRITE(2, 2, OPEN), READ(2, 4, 5),
        LOSS_OF(6, stored, failed), READ(1, 7, 8), READ(2, 9, 10)};
    BAD(returned);
    const struct linear_operation acknowledged[] = {WRITE(1, 0, 1), WRITE(2, 2, OPEN),
        WRITE(3, 2, 3), READ(3, 4, 5), LOSS_OF(6, stored, failed), READ(1, 7, 8)};
    BAD(acknowledged);
    const struct linear_operation pending[] = {WRITE(1, 0, 1), WRITE(2, 2, OPEN), WRITE(3, 2, OPEN),
        READ(3, 4, 5), LOSS_OF(6, stored, failed), READ(1, 7, 8)};
    BAD(pending);
}
END_TEST

/* The later one can less: it is taken where it will do. */
START_TEST(of_two_losses_the_one_that_can_less_is_taken)
{
    const uint32_t both[] = {1, 2}, one[] = {2};
    const struct linear_operation good[] = {WRITE(1, 0, 1), WRITE(2, 2, 3), WRITE(3, 4, 5),
        LOSS(6, both), LOSS(6, one), READ(2, 7, 8), READ(1, 9, 10)};
    GOOD(good);
    const struct linear_operation none_left[] = {WRITE(1, 0, 1), WRITE(2, 2, 3), WRITE(3, 4, 5),
        LOSS(6, both), LOSS(6, one), READ(1, 7, 8), READ(2, 9, 10), READ(1, 11, 12)};
    BAD(none_left);
    const struct linear_operation not_yet[] = {WRITE(1, 0, 1), WRITE(2, 2, 3), WRITE(3, 4, 5),
        LOSS(6, both), LOSS(9, one), READ(2, 7, 8), READ(1, 9, 10)};
    BAD(not_yet);
}
END_TEST

/* Each value is lost, and what was before it comes back. */
START_TEST(many_losses_are_counted)
{
    enum { LOST = 20 };
    uint32_t before[LOST];
    struct linear_operation history[4 * LOST];
    size_t count = 0;
    uint64_t now = 0;
    for (uint32_t i = 0; i < LOST; i++) {
        before[i] = i;
        history[count++] = (struct linear_operation)WRITE(i + 1, now, now + 1);
        history[count++] = (struct linear_operation)READ(i + 1, now + 2, now + 3);
        history[count++] = (struct linear_operation){.kind = LINEAR_LOSS,
            .start = now + 4,
            .end = OPEN,
            .allowed = before,
            .allowed_count = i + 1};
        history[count++] = (struct linear_operation)READ(i, now + 5, now + 6);
        now += 10;
    }
    ck_assert_int_eq(linear_check(history, count, 10000), LINEAR_YES);
    history[2].start = now; /* one less than there were falls, until the end */
    ck_assert_int_eq(linear_check(history, count, 10000), LINEAR_NO);
}
END_TEST

/* Hardly any of them can matter: there are two reads. */
START_TEST(losses_that_are_not_missed_are_not_tried)
{
    enum { MANY = 200 };
    const uint32_t all[] = {0, 1, 2}, none[] = {0};
    struct linear_operation history[MANY + 4] = {
        WRITE(1, 0, 1), WRITE(2, 2, 3), READ(1, 2000, 2001), READ(2, 2002, 2003)};
    for (uint32_t i = 0; i < MANY; i++)
        history[4 + i] = i == 0 ? (struct linear_operation)LOSS(10, all)
                                : (struct linear_operation)LOSS(10 + i, none);
    ck_assert_int_eq(linear_check(history, MANY + 4, 10000), LINEAR_NO);
    history[MANY + 3] = (struct linear_operation)LOSS(10 + MANY, all);
    ck_assert_int_eq(linear_check(history, MANY + 4, 10000), LINEAR_YES);
}
END_TEST

START_TEST(one_sender_is_served_in_order)
{
    const struct linear_operation swapped[] = {
        BY(1, LINEAR_WRITE, 1, 0, 10), BY(1, LINEAR_WRITE, 2, 0, 9), READ(1, 11, 12)};
    BAD(swapped);
    const struct linear_operation two_senders[] = {
        BY(1, LINEAR_WRITE, 1, 0, 10), BY(2, LINEAR_WRITE, 2, 0, 9), READ(1, 11, 12)};
    GOOD(two_senders);
    const struct linear_operation own[] = {
        BY(1, LINEAR_WRITE, 1, 0, 10), BY(1, LINEAR_READ, 0, 0, 11)};
    BAD(own);
    const struct linear_operation done_again[] = {
        BY(1, LINEAR_READ, 2, 0, 20), BY(1, LINEAR_READ, 0, 0, 9), WRITE(2, 10, 11)};
    GOOD(done_again);
    const struct linear_operation unknown[] = {
        BY(1, LINEAR_WRITE, 1, 0, OPEN), BY(1, LINEAR_READ, 0, 1, 2), READ(1, 3, 4)};
    GOOD(unknown);
}
END_TEST

/* Writes at once whose outcome is unknown, and reads that saw them: much to try. */
START_TEST(a_limit_ends_the_search)
{
    struct linear_operation many[41];
    for (uint32_t i = 0; i < 20; i++) {
        many[i] = (struct linear_operation)WRITE(i + 1, 0, 1000);
        many[i + 20] = (struct linear_operation)READ(i + 1, 500, 900);
    }
    many[40] = (struct linear_operation)READ(99, 2000, 2001);
    ck_assert_int_eq(linear_check(many, 41, 1000), LINEAR_UNDECIDED);
    ck_assert_int_eq(linear_check(many + 30, 11, 10000), LINEAR_NO); /* only reads */
}
END_TEST

START_TEST(too_many_operations_are_not_decided)
{
    struct linear_operation many[65];
    for (uint32_t i = 0; i < 65; i++)
        many[i] = (struct linear_operation)READ(0, i * 10, i * 10 + 5);
    ck_assert_int_eq(linear_check(many, 65, 1000), LINEAR_UNDECIDED);
    ck_assert_int_eq(linear_check(many, 64, 1000), LINEAR_YES);
    const uint32_t none[] = {0};
    for (uint32_t i = 1; i < 65; i++) /* after the last read a loss does not matter */
        many[i] = (struct linear_operation)LOSS(5, none);
    many[0] = (struct linear_operation)READ(0, 0, 4);
    ck_assert_int_eq(linear_check(many, 65, 1000), LINEAR_YES);
    many[0] = (struct linear_operation)READ(1, 0, 4);
    ck_assert_int_eq(linear_check(many, 65, 1000), LINEAR_NO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/linear");
    TCase *tests = tcase_create("linear");
    tcase_add_test(tests, what_comes_one_after_another);
    tcase_add_test(tests, what_overlaps_has_either_order);
    tcase_add_test(tests, what_nobody_knows_may_happen_late_or_never);
    tcase_add_test(tests, a_loss_falls_back_once_to_what_is_allowed);
    tcase_add_test(tests, a_loss_of_some_values_takes_no_other);
    tcase_add_test(tests, of_two_losses_the_one_that_can_less_is_taken);
    tcase_add_test(tests, many_losses_are_counted);
    tcase_add_test(tests, losses_that_are_not_missed_are_not_tried);
    tcase_add_test(tests, one_sender_is_served_in_order);
    tcase_add_test(tests, a_limit_ends_the_search);
    tcase_add_test(tests, too_many_operations_are_not_decided);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
