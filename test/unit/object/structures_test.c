/* The small structures of the room, each alone. */
#include <check.h>
#include <string.h>

#include "ages.h"
#include "epochs.h"
#include "heap_fault.h"
#include "suite.h"
#include "waiters.h"
#include "wheel.h"

struct thing {
    struct link link;
    uint64_t due_ms, taken_ms;
};

START_TEST(list_keeps_order_and_lets_go)
{
    struct link a, b, things[3];
    list_init(&a), list_init(&b);
    ck_assert_ptr_null(list_first(&a));
    for (unsigned i = 0; i < 3; i++)
        list_append(&a, &things[i]);
    list_remove(&things[0]);
    list_remove(&things[0]); /* harmless */
    list_append(&b, &things[0]);
    list_take_all(&b, &a);
    ck_assert(list_is_empty(&a));
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_ptr_eq(list_first(&b), &things[i]);
        list_remove(&things[i]);
    }
    ck_assert(list_is_empty(&b));
}
END_TEST

START_TEST(wheel_gives_back_when_due)
{
    static const uint64_t granularities[] = {1, 7, 1000};
    for (unsigned g = 0; g < 3; g++) {
        struct wheel wheel;
        static struct thing things[1000];
        uint64_t granularity = granularities[g], now = 5000000, taken = 0;
        wheel_init(&wheel, granularity);
        ck_assert_uint_eq(wheel_next_ms(&wheel, now), UINT64_MAX);
        ck_assert_ptr_null(wheel_take(&wheel, now));
        for (unsigned i = 0; i < 1000; i++) {
            /* some farther than the ring reaches */
            things[i] = (struct thing){.due_ms = now + (i * 7919U) % 2000 * granularity};
            wheel_insert(&wheel, &things[i].link, things[i].due_ms);
        }
        while (taken < 1000) {
            uint64_t wait = wheel_next_ms(&wheel, now);
            ck_assert_uint_ne(wait, UINT64_MAX);
            now += wait;
            struct link *link = wheel_take(&wheel, now);
            if (!link)
                continue;
            struct thing *thing = list_entry(link, struct thing, link);
            if (thing->due_ms > now) { /* from the far end: put back */
                wheel_insert(&wheel, link, thing->due_ms);
                continue;
            }
            ck_assert_uint_eq(thing->taken_ms, 0);
            ck_assert_uint_lt(now - thing->due_ms, granularity);
            thing->taken_ms = now;
            taken++;
        }
        ck_assert_uint_eq(wheel_next_ms(&wheel, now), UINT64_MAX);
    }
}
END_TEST

START_TEST(wheel_survives_a_long_sleep)
{
    struct wheel wheel;
    struct thing thing = {.due_ms = 1010};
    wheel_init(&wheel, 10);
    ck_assert_ptr_null(wheel_take(&wheel, 1000));
    wheel_insert(&wheel, &thing.link, thing.due_ms);
    ck_assert_ptr_null(wheel_take(&wheel, 1009));
    ck_assert_ptr_eq(wheel_take(&wheel, 1000000000), &thing.link);
    ck_assert_ptr_null(wheel_take(&wheel, 1000000000));
    wheel_insert(&wheel, &thing.link, 5); /* in the past: at once */
    ck_assert_uint_eq(wheel_next_ms(&wheel, 1000000000), 0);
    struct link all;
    list_init(&all);
    wheel_take_all(&wheel, &all);
    ck_assert_ptr_eq(list_first(&all), &thing.link);
}
END_TEST

START_TEST(ages_know_the_oldest)
{
    struct ages ages;
    ages_init(&ages);
    ck_assert_uint_eq(ages_oldest_ms(&ages, 77), 0);
    uint8_t first = ages_enter(&ages, 1000), second = ages_enter(&ages, 1500);
    ck_assert_uint_eq(ages_oldest_ms(&ages, 1600), 600);
    ages_leave(&ages, first);
    ck_assert_uint_eq(ages_oldest_ms(&ages, 1600), 100);
    ages_leave(&ages, second);
    ck_assert_uint_eq(ages_oldest_ms(&ages, 1600), 0);
}
END_TEST

/* Entering and leaving in order, ever older: about 1 % too high at most. */
START_TEST(ages_stay_close_with_few_groups)
{
    enum { MEMBERS = 20000 };
    static uint8_t groups[MEMBERS];
    static uint64_t entered[MEMBERS];
    struct ages ages;
    ages_init(&ages);
    size_t head = 0;
    uint64_t now = 1000;
    for (size_t tail = 0; tail < MEMBERS; tail++) {
        now += (tail * 31) % 17;
        entered[tail] = now;
        groups[tail] = ages_enter(&ages, now);
        while (tail - head > tail / 2)
            ages_leave(&ages, groups[head++]);
        uint64_t exact = now - entered[head], told = ages_oldest_ms(&ages, now);
        ck_assert_uint_ge(told, exact);
        ck_assert_uint_le(told, exact + exact / 32 + 20);
    }
}
END_TEST

START_TEST(versions_are_ordered)
{
    struct version v = {2, 2, 2};
    ck_assert_int_eq(version_compare(v, v), 0);
    ck_assert_int_lt(version_compare((struct version){1, 9, 9}, v), 0);
    ck_assert_int_lt(version_compare((struct version){2, 1, 9}, v), 0);
    ck_assert_int_lt(version_compare((struct version){2, 2, 1}, v), 0);
    ck_assert_int_gt(version_compare((struct version){2, 2, UINT64_MAX}, v), 0);
    ck_assert_int_gt(version_compare((struct version){3, 0, 0}, v), 0);
}
END_TEST

/* Rows that are free; those in chains are counted as what they are. */
static uint32_t count_free(const struct epochs *epochs)
{
    uint32_t free_rows = 0, seen = 0, size = 1U << EPOCHS_FIRST_BITS;
    for (unsigned s = 0; s < epochs->segments; s++) {
        for (uint32_t i = 0; i < size && seen < epochs->used; i++, seen++)
            free_rows += epochs->rows[s][i].references == 0;
        size <<= s > 0;
    }
    ck_assert_uint_eq(seen, epochs->used);
    return free_rows;
}

/* As many epochs as objects, as in a cluster: each is found again at every size, what is there
 * stays where it is, and no chain becomes long. */
START_TEST(epochs_grow)
{
    enum { VERSIONS = 70000, CHAIN = 16 };
    struct epochs epochs;
    struct packed_version *packed = heap_allocate(VERSIONS * sizeof(*packed)), again;
    uint32_t wrong = 0; /* an assertion for each would take most of the time */
    epochs_init(&epochs);
    for (uint32_t i = 0; i < VERSIONS; i++) {
        wrong += epochs_hold(&epochs, (struct version){9, i, 1}, &packed[i]) != 0;
        wrong += packed[i].epoch != i;
        for (uint32_t k = 0; i % 997 == 0 && k <= i; k += 89) {
            wrong += epochs_hold(&epochs, (struct version){9, k, 1}, &again) != 0;
            wrong += again.epoch != k;
            epochs_drop(&epochs, again);
        }
    }
    ck_assert_uint_eq(wrong, 0);
    const struct epoch *first = epochs.rows[0];
    uint32_t longest = 0, size = 1U << EPOCHS_FIRST_BITS, bucket = 0;
    for (unsigned s = 0; s < epochs.segments; s++) {
        for (uint32_t i = 0; i < size && bucket < epochs.used; i++, bucket++) {
            uint32_t length = 0;
            for (uint32_t row = epochs.heads[s][i]; row != UINT32_MAX; length++) {
                const unsigned top = row < 4 ? 0 : 31 - (unsigned)__builtin_clz(row);
                row = row < 4 ? epochs.rows[0][row].next
                              : epochs.rows[top - 1][row - (1U << top)].next;
            }
            longest = length > longest ? length : longest;
        }
        size <<= s > 0;
    }
    ck_assert_uint_lt(longest, CHAIN);
    for (uint32_t i = 0; i < VERSIONS; i++) { /* in another order than they came */
        const uint32_t one = (uint32_t)((uint64_t)i * 7919 % VERSIONS);
        wrong += epochs_unpack(&epochs, packed[one]).counter != one;
        epochs_drop(&epochs, packed[one]);
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_eq(count_free(&epochs), VERSIONS);
    ck_assert_ptr_eq(epochs.rows[0], first);
    ck_assert_uint_ge(epochs_bytes(&epochs), VERSIONS * sizeof(struct epoch));
    epochs_release(&epochs);
    heap_release(packed);
}
END_TEST

START_TEST(epochs_pack_and_unpack)
{
    enum { VERSIONS = 500 };
    for (unsigned n = 0;; n++) {
        struct epochs epochs;
        struct packed_version packed[VERSIONS];
        struct version versions[VERSIONS];
        heap_fault_start(n);
        epochs_init(&epochs);
        unsigned failures = 0;
        for (unsigned round = 0; round < 2; round++) { /* the second reuses rows */
            for (unsigned i = 0; i < VERSIONS; i++) {
                versions[i] = (struct version){i % 3, i / 7 + round, (uint64_t)i << (i % 40)};
                while (epochs_hold(&epochs, versions[i], &packed[i]) != 0)
                    ck_assert_uint_eq(++failures, 1);
            }
            for (unsigned i = 0; i < VERSIONS; i++)
                ck_assert_int_eq(
                    version_compare(epochs_unpack(&epochs, packed[i]), versions[i]), 0);
            uint32_t used = epochs.used;
            ck_assert_uint_le(used, VERSIONS);
            for (unsigned i = 0; i < VERSIONS; i++)
                epochs_drop(&epochs, packed[i]);
            ck_assert_uint_eq(count_free(&epochs), used);
        }
        epochs_release(&epochs);
        if (!heap_fault_stop() && n > 0)
            break;
    }
}
END_TEST

START_TEST(waiters_leave_in_order)
{
    struct waiter_deadlines deadlines = {0};
    struct waiter_line a = {0}, b = {0};
    struct store_waiter w[4];
    memset(w, 0, sizeof(w));
    waiters_push(&deadlines, &a, &w[0], NULL, WAITER_LOAD, 10);
    waiters_push(&deadlines, &b, &w[1], NULL, WAITER_PERSIST, 11);
    waiters_push(&deadlines, &a, &w[2], NULL, WAITER_LOAD, 12);
    waiters_push(&deadlines, &b, &w[3], NULL, WAITER_PERSIST, 5); /* a clock that went back */
    ck_assert_uint_eq(w[3].deadline_ms, 12);
    ck_assert_ptr_eq(deadlines.oldest, &w[0]);
    ck_assert_ptr_eq(waiters_pop(&deadlines, &b), &w[1]);
    ck_assert_ptr_eq(waiters_pop(&deadlines, &a), &w[0]);
    ck_assert_ptr_eq(deadlines.oldest, &w[2]);
    ck_assert_uint_eq(deadlines.count, 2);
    ck_assert_ptr_eq(waiters_pop(&deadlines, &a), &w[2]);
    ck_assert_ptr_null(waiters_pop(&deadlines, &a));
    ck_assert_ptr_eq(waiters_pop(&deadlines, &b), &w[3]);
    ck_assert_ptr_null(deadlines.oldest);
    ck_assert_ptr_null(deadlines.newest);
}
END_TEST

START_TEST(the_wheel_shows_what_comes_first)
{
    struct wheel wheel;
    struct link links[3];
    uint64_t tick;
    wheel_init(&wheel, 10);
    ck_assert_ptr_null(wheel_peek(&wheel, &tick));
    for (unsigned i = 0; i < 3; i++)
        wheel_insert(&wheel, &links[i], 300 - i * 100);
    ck_assert_ptr_eq(wheel_peek(&wheel, &tick), &links[2]);
    ck_assert_uint_eq(tick, 10);
    list_remove(&links[2]);
    ck_assert_ptr_eq(wheel_peek(&wheel, &tick), &links[1]);
    wheel_insert(&wheel, &links[2], 150); /* nearer again */
    ck_assert_ptr_eq(wheel_peek(&wheel, &tick), &links[2]);
    ck_assert_uint_eq(tick, 15);
    ck_assert_ptr_eq(wheel_take(&wheel, 1000), &links[2]);
    ck_assert_ptr_eq(wheel_take(&wheel, 1000), &links[1]);
    ck_assert_ptr_eq(wheel_peek(&wheel, &tick), &links[0]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/structures");
    TCase *tcase = tcase_create("structures");
    tcase_add_test(tcase, list_keeps_order_and_lets_go);
    tcase_add_test(tcase, wheel_gives_back_when_due);
    tcase_add_test(tcase, wheel_survives_a_long_sleep);
    tcase_add_test(tcase, ages_know_the_oldest);
    tcase_add_test(tcase, ages_stay_close_with_few_groups);
    tcase_add_test(tcase, versions_are_ordered);
    tcase_add_test(tcase, epochs_pack_and_unpack);
    tcase_add_test(tcase, epochs_grow);
    tcase_add_test(tcase, waiters_leave_in_order);
    tcase_add_test(tcase, the_wheel_shows_what_comes_first);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
