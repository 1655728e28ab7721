/* What must be true of the time that an object may be dirty, of a warehouse that fails, and of the
 * memory limit: one scenario each. */
#include <check.h>
#include <stdio.h>

#include "brain/object.h"
#include "store_fixture.h"
#include "suite.h"

/* ---- time ------------------------------------------------------------------------------------ */

START_TEST(a_busy_object_is_dumped_in_time)
{
    struct store_options options = options_default();
    options.key_ttl_ms = 60000;
    options.max_dirty_ms = 500;
    open_with(options, true);
    uint64_t since = now, longest = 0;
    for (unsigned i = 0; i < 2000; i++) {
        size_t before = asked_count;
        /* Reads wait for the journal all the time: the line is never empty. */
        set_as("a", "x", STORE_ACK_JOURNAL, NULL);
        get("a", &w[i % 2]);
        store_written(store, records_count - 1, 0, now);
        advance(5);
        if (asked_count > before) {
            dumped(before, 0);
            longest = now - since > longest ? now - since : longest;
            since = now;
        }
    }
    ck_assert_uint_ge(asked_count, 15);
    ck_assert_uint_le(longest, 600);
    store_written(store, records_count, 0, now);
}
END_TEST

START_TEST(the_breaker_pauses_and_probes)
{
    struct store_options options = options_default();
    options.breaker_failures = 3;
    open_with(options, true);
    journal_is_ahead();
    char id[8];
    uint64_t before = 0;
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(id, sizeof(id), "%u", i);
        set(id, "value");
    }
    before = metrics()->memory;
    advance(TTL + TTL / 16);
    ck_assert_uint_eq(asked_count, 4);
    for (size_t i = 0; i < 4; i++)
        dumped(i, BRAIN_EWAREHOUSE);
    ck_assert_uint_eq(metrics()->breaker_open, 1);
    ck_assert_uint_ge(asked_count, 4);
    for (size_t i = 4; i < asked_count; i++)
        dumped(i, BRAIN_EWAREHOUSE);
    size_t tried = asked_count;
    advance(1);
    ck_assert_uint_eq(asked_count, tried);
    ck_assert_uint_eq(metrics()->memory, before); /* nothing but the dirty items themselves */
    ck_assert_int_eq(persist("7", &w[0]), STORE_WAIT);
    ck_assert_int_eq(set_as("8", "new", STORE_ACK_WAREHOUSE, &w[1]), STORE_WAIT);
    ck_assert_int_eq(get("8", &w[2]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, tried);
    advance(1100);
    ck_assert_uint_eq(asked_count, tried + 1); /* one, and who waits first */
    ck_assert_str_eq(asked[tried].id, "7");
    dumped(tried, BRAIN_EWAREHOUSE);
    assert_answer(0, &w[0], BRAIN_EWAREHOUSE, "");
    assert_answer(1, &w[1], BRAIN_EWAREHOUSE, "");
    assert_answer(2, &w[2], STORE_FOUND, "new");
    ck_assert_int_eq(get_is("8", "new"), STORE_FOUND);
    advance(1100);
    ck_assert_uint_eq(asked_count, tried + 2);
    at_once = true;
    dumped(tried + 1, 0);
    advance(TTL * 2);
    ck_assert_uint_eq(metrics()->breaker_open, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
    for (size_t i = 0; i < records_count; i++)
        ck_assert_int_eq(records[i].live, -1);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

static int set_sized(const char *id, size_t size)
{
    static uint8_t bytes[200000];
    return store_set(
        store, slice_of_string(id), (struct value){NULL, bytes, size}, STORE_ACK_MEMORY, now, NULL);
}

static struct store_options options_limited(uint64_t above_empty)
{
    struct store_options options = options_default();
    options.memory_limit_bytes = above_empty; /* the size of pages depends on it */
    open_with(options, false);
    options.memory_limit_bytes = metrics()->memory + above_empty;
    return options;
}

START_TEST(ten_times_the_limit_is_written)
{
    enum { SPACE = 1000000, WRITES = 5000 };
    struct store_options options = options_limited(SPACE);
    open_with(options, false);
    at_once = true;
    char id[16];
    set("hot", "hot");
    for (unsigned i = 0; i < WRITES; i++) {
        snprintf(id, sizeof(id), "%u", i);
        ck_assert_int_eq(set_sized(id, i % 100 == 0 ? 20000 : 1000 + i % 2000), STORE_DONE);
        ck_assert_uint_le(metrics()->memory, options.memory_limit_bytes);
        ck_assert_int_eq(get("hot", &w[0]), STORE_FOUND);
        advance(1);
    }
    ck_assert_uint_gt(metrics()->memory, options.memory_limit_bytes / 2);
    ck_assert_uint_gt(metrics()->dropped_memory, WRITES / 2);
    ck_assert_uint_eq(metrics()->refused_overload, 0);
    ck_assert_int_eq(get(id, NULL), STORE_FOUND); /* the newest are there */
}
END_TEST

START_TEST(a_full_store_refuses_writes_only)
{
    struct store_options options = options_limited(100000);
    open_with(options, true);
    journal_is_ahead();
    char id[16];
    unsigned written = 0;
    for (int status = STORE_DONE; written < 1000; written++) {
        snprintf(id, sizeof(id), "%u", written);
        status = set_sized(id, 900);
        if (status == STORE_DONE)
            continue;
        ck_assert_int_eq(status, BRAIN_EOVERLOAD);
        break;
    }
    ck_assert_uint_gt(written, 80);
    ck_assert_uint_lt(written, 120);
    ck_assert_uint_eq(metrics()->refused_overload, 1);
    ck_assert_uint_le(metrics()->memory, options.memory_limit_bytes);
    ck_assert_uint_eq(metrics()->persisting, 4); /* it works on it */
    ck_assert_int_eq(get("1", NULL), STORE_FOUND);
    ck_assert_int_eq(set("1", "smaller"), STORE_DONE);
    ck_assert_int_eq(erase("2"), STORE_DONE);
    ck_assert_int_eq(set_sized(id, 90000), BRAIN_EOVERLOAD);
    /* The warehouse answers: what was asked for fits in the end. */
    for (size_t i = 0; i < asked_count; i++)
        dumped(i, 0);
    ck_assert_int_eq(set_sized(id, 900), STORE_DONE);
    store_set_outside_bytes(store, 50000);
    advance(1);
    for (size_t i = 0; i < asked_count; i++) {
        if (metrics()->persisting > 0 && asked[i].object &&
            i + metrics()->persisting >= asked_count)
            dumped(i, 0);
    }
    ck_assert_uint_le(metrics()->memory, options.memory_limit_bytes);
    ck_assert_uint_ge(metrics()->memory, 50000);
}
END_TEST

/* A start brings back three times of what may be in RAM, and at once clients read all of it, in the
 * order in which it came, faster than it can be dumped: whatever is looked at for leaving has just
 * been used. */
START_TEST(what_was_restored_above_the_limit_leaves_while_it_is_read)
{
    enum { OBJECTS = 4000, SIZE = 300, PER_TURN = 50, SPACE = 300000, PASSES = 12 };
    struct store_options options = options_limited(SPACE);
    open_with(options, true);
    journal_is_ahead();
    static const uint8_t bytes[SIZE];
    static struct store_waiter readers[OBJECTS];
    const struct value value = {NULL, bytes, SIZE};
    const struct version version = {1, 1, OBJECTS};
    char id[16];
    for (unsigned i = 0; i < OBJECTS; i++) {
        snprintf(id, sizeof(id), "%u", i);
        records[records_count].live = 0;
        records[records_count++].seq = i + 1;
        ck_assert_int_eq(
            store_restore(store, slice_of_string(id), (struct version){1, 1, i + 1}, &value, now),
            0);
    }
    ck_assert_uint_gt(metrics()->memory, 2 * options.memory_limit_bytes);
    size_t done = 0;
    for (unsigned i = 1; i <= PASSES * OBJECTS; i++) {
        snprintf(id, sizeof(id), "%u", i % OBJECTS);
        ck_assert_int_ge(get(id, &readers[i % OBJECTS]), 0);
        if (i % PER_TURN != 0)
            continue;
        now += TTL / 100;
        store_advance(store, now, 1000);
        for (; done < asked_count; done++) {
            struct object *object = asked[done % ASKED_MAX].object;
            if (asked[done % ASKED_MAX].dump)
                store_dumped(store, object, 0, NULL, now);
            else
                store_loaded(store, object, 0, &version, &value, now);
        }
    }
    /* What the last turn loaded leaves in the next. */
    ck_assert_uint_le(metrics()->memory, options.memory_limit_bytes + PER_TURN * (SIZE + 100));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/limits");
    TCase *tcase = tcase_create("scenarios");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup_journal, teardown_journal);
    tcase_add_test(tcase, a_busy_object_is_dumped_in_time);
    tcase_add_test(tcase, the_breaker_pauses_and_probes);
    tcase_add_test(tcase, ten_times_the_limit_is_written);
    tcase_add_test(tcase, a_full_store_refuses_writes_only);
    tcase_add_test(tcase, what_was_restored_above_the_limit_leaves_while_it_is_read);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
