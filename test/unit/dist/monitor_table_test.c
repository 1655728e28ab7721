#include "monitor_table.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "heap_fault.h"
#include "suite.h"

static struct slice text_key(char buffer[32], unsigned number)
{
    return slice_of(buffer, (size_t)sprintf(buffer, "key %u", number));
}

static size_t count_all(const struct monitor_table *table)
{
    struct monitor monitor;
    uint32_t cursor = 0;
    size_t count = 0;
    while (monitor_table_next(table, &cursor, &monitor))
        count++;
    return count;
}

START_TEST(what_was_added_is_found_with_its_watcher)
{
    struct monitor_table table;
    struct monitor monitor;
    uint32_t cursor = 0;
    monitor_table_init(&table, 10, 1);
    ck_assert(!monitor_table_remove(&table, slice_of_string("reference")));
    ck_assert_int_eq(monitor_table_add(
                         &table, MONITOR_REX, slice_of_string("reference"), slice_of_string("pid")),
        0);
    ck_assert(monitor_table_next(&table, &cursor, &monitor));
    ck_assert_int_eq(monitor.target, MONITOR_REX);
    ck_assert(slice_equal_string(monitor.key, "reference"));
    ck_assert(slice_equal_string(monitor.watcher, "pid"));
    ck_assert(!monitor_table_next(&table, &cursor, &monitor));
    ck_assert(!monitor_table_remove(&table, slice_of_string("referencf")));
    ck_assert(monitor_table_remove(&table, slice_of_string("reference")));
    ck_assert(!monitor_table_remove(&table, slice_of_string("reference")));
    ck_assert_uint_eq(table.count, 0);
    monitor_table_release(&table);
}
END_TEST

START_TEST(the_limit_holds)
{
    struct monitor_table table;
    char buffer[32];
    struct slice none = slice_of(NULL, 0);
    monitor_table_init(&table, 10, 1);
    for (unsigned i = 0; i < 10; i++)
        ck_assert_int_eq(monitor_table_add(&table, MONITOR_LINK, text_key(buffer, i), none), 0);
    ck_assert_int_eq(
        monitor_table_add(&table, MONITOR_LINK, text_key(buffer, 10), none), BRAIN_ETOOBIG);
    /* One that is there already needs no place. */
    ck_assert_int_eq(monitor_table_add(&table, MONITOR_PID, text_key(buffer, 3), none), 0);
    ck_assert_uint_eq(table.count, 10);
    ck_assert(monitor_table_remove(&table, text_key(buffer, 5)));
    ck_assert_int_eq(monitor_table_add(&table, MONITOR_LINK, text_key(buffer, 10), none), 0);
    monitor_table_release(&table);
    ck_assert_uint_eq(table.count, 0);
}
END_TEST

/* Terms of long node names do not fit into the records. */
START_TEST(long_terms_are_kept_whole)
{
    struct monitor_table table;
    uint8_t key[1100], watcher[1050];
    struct monitor monitor;
    memset(key, 'k', sizeof(key));
    memset(watcher, 'w', sizeof(watcher));
    monitor_table_init(&table, 1000, 1);
    for (unsigned i = 0; i < 300; i++) {
        store_be32(key + sizeof(key) - 4, i);
        ck_assert_int_eq(monitor_table_add(&table, MONITOR_PID, slice_of(key, sizeof(key)),
                             slice_of(watcher, sizeof(watcher))),
            0);
    }
    for (unsigned i = 0; i < 300; i += 2) {
        store_be32(key + sizeof(key) - 4, i);
        ck_assert(monitor_table_remove(&table, slice_of(key, sizeof(key))));
    }
    uint32_t cursor = 0, seen = 0;
    while (monitor_table_next(&table, &cursor, &monitor)) {
        ck_assert_uint_eq(monitor.key.size, sizeof(key));
        ck_assert_uint_eq(load_be32(monitor.key.data + sizeof(key) - 4) % 2, 1);
        ck_assert_mem_eq(monitor.watcher.data, watcher, sizeof(watcher));
        seen++;
    }
    ck_assert_uint_eq(seen, 150);
    monitor_table_release(&table);
    /* Sizes are kept in 16 bits. */
    static const uint8_t huge[1 << 16];
    int status =
        monitor_table_add(&table, MONITOR_PID, slice_of(huge, sizeof(huge)), slice_of(NULL, 0));
    ck_assert_int_eq(status, BRAIN_ETOOBIG);
}
END_TEST

/* Random additions and removals against an array of flags. */
START_TEST(it_behaves_like_a_set)
{
    enum { KEYS = 300, STEPS = 20000 };
    static bool there[KEYS];
    struct monitor_table table;
    char buffer[32];
    size_t count = 0;
    uint32_t random = (uint32_t)_i + 1;
    memset(there, 0, sizeof(there));
    monitor_table_init(&table, KEYS, (uint64_t)_i);
    for (unsigned step = 0; step < STEPS; step++) {
        random = random * 1103515245 + 12345;
        unsigned number = (random >> 8) % KEYS;
        /* Long phases of growing and of shrinking. */
        bool add = (random >> 20) % 8 < (step / 2000 % 2 == 0 ? 6 : 2);
        struct slice key = text_key(buffer, number);
        if (add) {
            ck_assert_int_eq(monitor_table_add(&table, MONITOR_PID, key, key), 0);
        } else {
            ck_assert(monitor_table_remove(&table, key) == there[number]);
        }
        count += (size_t)add - (size_t)there[number];
        there[number] = add;
        ck_assert_uint_eq(table.count, count);
    }
    ck_assert_uint_eq(count_all(&table), count);
    for (unsigned number = 0; number < KEYS; number++)
        ck_assert(monitor_table_remove(&table, text_key(buffer, number)) == there[number]);
    ck_assert_uint_eq(table.count, 0);
    ck_assert_uint_eq(count_all(&table), 0);
    monitor_table_release(&table);
}
END_TEST

/* A call adds a monitor and takes it back: nothing is allocated for that. */
START_TEST(calls_allocate_nothing_once_warm)
{
    struct monitor_table table;
    char buffer[32];
    struct slice none = slice_of(NULL, 0);
    monitor_table_init(&table, 100000, 1);
    ck_assert_int_eq(monitor_table_add(&table, MONITOR_PID, text_key(buffer, 0), none), 0);
    heap_fault_start(1);
    for (unsigned i = 1; i < 1000; i++) {
        ck_assert_int_eq(monitor_table_add(&table, MONITOR_PID, text_key(buffer, i), none), 0);
        ck_assert(monitor_table_remove(&table, text_key(buffer, i)));
    }
    ck_assert(!heap_fault_stop());
    monitor_table_release(&table);
}
END_TEST

START_TEST(a_burst_gives_its_memory_back)
{
    struct monitor_table table;
    char buffer[32];
    monitor_table_init(&table, 100000, 1);
    for (unsigned i = 0; i < 5000; i++)
        ck_assert_int_eq(
            monitor_table_add(&table, MONITOR_PID, text_key(buffer, i), slice_of(NULL, 0)), 0);
    for (unsigned i = 0; i < 5000; i++)
        ck_assert(monitor_table_remove(&table, text_key(buffer, i)));
    ck_assert_ptr_null(table.records);
    ck_assert_ptr_null(table.slots);
    ck_assert_int_eq(
        monitor_table_add(&table, MONITOR_PID, text_key(buffer, 1), slice_of(NULL, 0)), 0);
    monitor_table_release(&table);
}
END_TEST

START_TEST(without_memory_it_stays_as_it_was)
{
    for (unsigned fail_at = 1;; fail_at++) {
        struct monitor_table table;
        char buffer[32];
        uint32_t added = 0;
        heap_fault_start(fail_at);
        monitor_table_init(&table, 100, 1);
        for (unsigned i = 0; i < 50; i++) {
            int status =
                monitor_table_add(&table, MONITOR_PID, text_key(buffer, i), slice_of(NULL, 0));
            ck_assert(status == 0 || status == BRAIN_ENOMEM);
            added += status == 0;
        }
        ck_assert_uint_eq(table.count, added);
        ck_assert_uint_eq(count_all(&table), added);
        monitor_table_release(&table);
        if (!heap_fault_stop())
            break;
        ck_assert_uint_eq(added, 49);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dist-monitor-table");
    TCase *core = tcase_create("core");
    tcase_add_test(core, what_was_added_is_found_with_its_watcher);
    tcase_add_test(core, the_limit_holds);
    tcase_add_test(core, long_terms_are_kept_whole);
    tcase_add_loop_test(core, it_behaves_like_a_set, 0, 3);
    tcase_add_test(core, calls_allocate_nothing_once_warm);
    tcase_add_test(core, a_burst_gives_its_memory_back);
    tcase_add_test(core, without_memory_it_stays_as_it_was);
    suite_add_tcase(suite, core);
    return suite_run(suite);
}
