/* A disk that fills up or breaks while the journal runs. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal_fixture.h"
#include "record.h"
#include "suite.h"

static void check_all(uint64_t last, size_t size)
{
    bool *seen = calloc(last + 1, sizeof(*seen));
    for (size_t i = 0; i < found_count; i++) {
        expect_found(i, found[i].seq, size);
        seen[found[i].seq] = true;
    }
    for (uint64_t seq = 1; seq <= last; seq++)
        ck_assert_msg(seen[seq], "%u is lost", (unsigned)seq);
    free(seen);
}

static bool has_settled(void)
{
    return !journal_is_failing(journal) && journal_held_bytes(journal) == 0;
}

/* At every amount of free space: the batch is told to have failed, kept, and appended later; the
 * file never shows a piece of it meanwhile. */
START_TEST(disk_full)
{
    const enum journal_sync policies[] = {
        JOURNAL_SYNC_ALWAYS, JOURNAL_SYNC_INTERVAL, JOURNAL_SYNC_NEVER};
    fault_install();
    options.sync = policies[_i];
    for (uint64_t space = 0; space < 3 * (RECORD_HEADER + 3000); space += 211) {
        size_t size;
        fault_set((struct fault){0});
        open_journal();
        ck_assert_uint_eq(next_seq, 1);
        append(1, 3000);
        journal_submit(journal);
        run_until_written(1);
        ck_assert(!journal_is_failing(journal));
        fault_set((struct fault){.limited = true, .space = space});
        append(2, 3000);
        append(3, 3000);
        append(4, 3000);
        journal_submit(journal);
        run_until_failed(4);
        ck_assert_uint_eq(written, 1);
        ck_assert(journal_is_failing(journal));
        ck_assert_ptr_nonnull(strstr(journal_last_error(journal), "No space left"));
        free(read_segment(1, &size));
        ck_assert_uint_eq(size, SEGMENT_HEADER + RECORD_HEADER + 3000);
        append(5, 3000); /* told again */
        journal_submit(journal);
        run_until_failed(5);
        ck_assert_uint_eq(failures_told, 2);
        ck_assert_uint_eq(metric("pending_records"), 4);
        ck_assert_uint_ge(journal_held_bytes(journal), 4 * 3000);
        fault_set((struct fault){0});
        run_until_written(5);
        ck_assert(!journal_is_failing(journal));
        ck_assert_str_eq(journal_last_error(journal), "");
        ck_assert_uint_ge(metric("failures"), 1);
        ck_assert_uint_eq(metric("records"), 5);
        close_journal();
        open_journal();
        ck_assert_uint_eq(found_count, 5);
        check_all(5, 3000);
        ck_assert_uint_eq(metric("recovered_torn_bytes"), 0);
        ck_assert_uint_eq(metric("recovered_bad_records"), 0);
        for (uint64_t seq = 1; seq <= 5; seq++)
            journal_dead(journal, seq);
        close_journal();
    }
}
END_TEST

/* The disk is full of segments that nobody needs: they go, although a batch waits. */
START_TEST(full_of_the_dead)
{
    uint64_t numbers[4];
    fault_install();
    options.segment_bytes = 1000;
    open_journal();
    append(1, 2000);
    journal_submit(journal);
    run_until_written(1);
    fault_set((struct fault){.limited = true});
    /* The first is needed until the second is durable, or in the warehouse. */
    struct value value = payload_of(2, 2000);
    ck_assert_int_eq(journal_append(journal, 2, value_slice(value), NULL), 0);
    value_drop(&value);
    journal_replace(journal, 1, 2);
    journal_submit(journal);
    run_until_failed(2);
    ck_assert_uint_eq(segment_files(numbers, 4), 1);
    journal_dead(journal, 2);
    while (segment_files(numbers, 4) != 0)
        run_once();
    fault_set((struct fault){0});
    run_until_written(2);
    append(3, 2000);
    journal_submit(journal);
    run_until_written(3);
    close_journal();
    open_journal();
    ck_assert_uint_eq(found[found_count - 1].seq, 3);
}
END_TEST

START_TEST(no_new_segment)
{
    fault_install();
    options.segment_bytes = 100;
    open_journal();
    append(1, 200);
    journal_submit(journal);
    run_until_written(1);
    fault_set((struct fault){.refuse_new = true});
    append(2, 200);
    journal_submit(journal);
    run_until_failed(2);
    ck_assert_ptr_nonnull(strstr(journal_last_error(journal), "could not be made"));
    fault_set((struct fault){0});
    run_until_written(2);
    close_journal();
    fault_set((struct fault){.refuse_new = true});
    ck_assert_int_eq(try_open(), BRAIN_EIO);
    ck_assert_ptr_nonnull(strstr(why, "could not be made"));
    fault_set((struct fault){0});
    open_journal();
    check_all(2, 200);
}
END_TEST

static uint64_t left_files;
static bool files_are_left(void)
{
    uint64_t numbers[8];
    return segment_files(numbers, 8) == left_files;
}
static bool recovered_is_gone(void)
{
    return !journal_holds_recovered(journal);
}

/* What is left is always the end: else an old record would be found without its successors. */
START_TEST(a_segment_that_cannot_be_removed_keeps_the_younger)
{
    uint64_t numbers[8];
    fault_install();
    options.segment_bytes = 100;
    open_journal();
    ck_assert(!journal_holds_recovered(journal));
    for (uint64_t seq = 1; seq <= 2; seq++) {
        append(seq, 200);
        journal_submit(journal);
        run_until_written(seq);
    }
    close_journal();
    open_journal();
    ck_assert(journal_holds_recovered(journal));
    for (uint64_t seq = 3; seq <= 5; seq++) {
        append(seq, 200);
        journal_submit(journal);
        run_until_written(seq);
    }
    ck_assert_uint_eq(segment_files(numbers, 8), 5);
    fault_set((struct fault){.unremovable = 2});
    for (uint64_t seq = 1; seq <= 4; seq++)
        journal_dead(journal, seq);
    left_files = 4;
    run_until(files_are_left);
    append(6, 200);
    journal_submit(journal);
    run_until_written(6);
    /* 2, which cannot, 3 and 4, which wait for it, and the live ones. */
    ck_assert_uint_eq(segment_files(numbers, 8), 5);
    for (uint64_t i = 0; i < 5; i++)
        ck_assert_uint_eq(numbers[i], i + 2);
    ck_assert_uint_eq(metric("bytes"), 2 * (SEGMENT_HEADER + RECORD_HEADER + 200));
    ck_assert(journal_holds_recovered(journal));
    fault_set((struct fault){0});
    append(7, 200);
    journal_submit(journal);
    left_files = 3;
    run_until(files_are_left);
    run_until(recovered_is_gone);
}
END_TEST

/* Syncs fail and lose the pages, one, two or three in a row, also those of a new segment's header
 * or not: everything is there in the end, and
 * with ALWAYS nothing was told to be written before it was. */
START_TEST(sync_fails)
{
    fault_install();
    options.sync = _i % 6 < 3 ? JOURNAL_SYNC_ALWAYS : JOURNAL_SYNC_INTERVAL;
    options.retry_ms = 150; /* or a failure may be over before the loop hears of it */
    unsigned failures = 1 + (unsigned)_i % 3;
    open_journal();
    append(1, 1000);
    append(2, 1000);
    journal_submit(journal);
    run_until_written(2);
    run_until(has_settled);
    fault_set((struct fault){.failing_syncs = failures, .spares_headers = _i < 6});
    append(3, 1000);
    append(4, 1000);
    journal_submit(journal);
    if (options.sync == JOURNAL_SYNC_ALWAYS) {
        run_until_failed(4);
        ck_assert_uint_eq(written_before, 2);
        if (_i < 6)
            ck_assert_ptr_nonnull(strstr(told_why, "could not be synced"));
    } else {
        run_until_written(4);
        while (metric("failures") == 0)
            run_once();
    }
    append(5, 1000);
    journal_submit(journal);
    run_until_written(5);
    run_until(has_settled);
    ck_assert_uint_eq(metric("failures"), failures);
    ck_assert_uint_eq(metric("segments"), 2); /* however often it failed */
    ck_assert_uint_eq(metric("records"), 5);
    append(6, 1000);
    journal_submit(journal);
    run_until_written(6);
    close_journal();
    open_journal();
    check_all(6, 1000);
    /* What the failed segment had lost was written again: no damage is left to report. */
    ck_assert_uint_eq(found_count, 6);
    ck_assert_uint_eq(metric("recovered_bad_records"), 0);
    ck_assert_uint_eq(metric("recovered_torn_bytes"), 0);
    ck_assert_uint_eq(metric("recovered_missing"), 0);
}
END_TEST

/* The disk is full just when the records of the failed sync are to be written again. */
START_TEST(sync_fails_and_disk_full)
{
    enum { ONE = RECORD_HEADER + 1000 };
    size_t size;
    fault_install();
    options.sync = JOURNAL_SYNC_INTERVAL;
    options.sync_interval_ms = 200;
    open_journal();
    append(1, 1000);
    journal_submit(journal);
    run_until_written(1);
    run_until(has_settled);
    /* Room for these three, and then for a new segment with one of them. */
    fault_set((struct fault){.failing_syncs = 1,
        .spares_headers = true,
        .limited = true,
        .space = 3 * ONE + SEGMENT_HEADER + ONE + ONE / 2});
    for (uint64_t seq = 2; seq <= 4; seq++) {
        append(seq, 1000);
        journal_submit(journal);
    }
    while (metric("failures") < 3)
        run_once();
    append(5, 1000);
    journal_submit(journal);
    run_until_failed(5);
    while (metric("syncs") < 2)
        run_once();
    ck_assert(journal_is_failing(journal));
    /* One of them is safe in the new segment; the old one keeps what it has until all are. */
    free(read_segment(1, &size));
    ck_assert_uint_eq(size, SEGMENT_HEADER + 4 * ONE);
    fault_set((struct fault){0});
    run_until_written(5);
    run_until(has_settled);
    free(read_segment(1, &size));
    ck_assert_uint_eq(size, SEGMENT_HEADER + ONE);
    close_journal();
    open_journal();
    check_all(5, 1000);
    ck_assert_uint_eq(found_count, 5);
    ck_assert_uint_eq(metric("recovered_bad_records"), 0);
    ck_assert_uint_eq(metric("recovered_missing"), 0);
}
END_TEST

/* What cannot be written before the end is told, and does not keep it. */
START_TEST(close_while_failing)
{
    fault_install();
    open_journal();
    append(1, 1000);
    journal_submit(journal);
    run_until_written(1);
    fault_set((struct fault){.limited = true});
    append(2, 1000);
    close_journal();
    ck_assert_uint_eq(written, 1);
    ck_assert_uint_eq(failed, 2);
    fault_set((struct fault){0});
    open_journal();
    ck_assert_uint_eq(found_count, 1);
    ck_assert_uint_eq(metric("recovered_torn_bytes"), 0);
}
END_TEST

/* A real limit: EFBIG from the kernel, after a part of the batch. */
START_TEST(real_limit)
{
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {20000, 100000};
        setrlimit(RLIMIT_FSIZE, &limit);
        open_journal();
        append(1, 15000);
        journal_submit(journal);
        run_until_written(1);
        append(2, 15000);
        journal_submit(journal);
        run_until_failed(2);
        size_t size;
        free(read_segment(1, &size));
        if (size != SEGMENT_HEADER + RECORD_HEADER + 15000 ||
            strstr(journal_last_error(journal), "File too large") == NULL)
            _exit(1);
        limit.rlim_cur = 100000;
        setrlimit(RLIMIT_FSIZE, &limit);
        run_until_written(2);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    open_journal();
    ck_assert_uint_eq(found_count, 2);
    check_all(2, 15000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal: faults");
    TCase *tcase = tcase_create("faults");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, disk_full, 0, 3);
    tcase_add_test(tcase, full_of_the_dead);
    tcase_add_test(tcase, no_new_segment);
    tcase_add_test(tcase, a_segment_that_cannot_be_removed_keeps_the_younger);
    tcase_add_loop_test(tcase, sync_fails, 0, 12);
    tcase_add_test(tcase, sync_fails_and_disk_full);
    tcase_add_test(tcase, close_while_failing);
    tcase_add_test(tcase, real_limit);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
