/* What must be true of objects that a start brought back out of the journal: one scenario each. */
#include <check.h>
#include <string.h>

#include "brain/object.h"
#include "heap_fault.h"
#include "store_fixture.h"
#include "suite.h"

START_TEST(restored_objects_are_dirty)
{
    journal_is_ahead();
    restore("a", VERSION(1, 1, 5), "old");
    restore("b", VERSION(1, 7, 6), "b");
    restore("a", VERSION(1, 7, 8), "new");
    restore("d", VERSION(1, 7, 9), "");
    ck_assert_int_eq(records[0].live, -1);
    ck_assert_int_eq(records[2].live, 1);
    ck_assert_uint_eq(metrics()->restored, 3);
    ck_assert_uint_eq(metrics()->dirty, 3);
    ck_assert_int_eq(get_is("a", "new"), STORE_FOUND);
    ck_assert_int_eq(get_is("d", ""), STORE_ABSENT);
    /* What is written now is later than all of it. */
    set("b", "again");
    ck_assert_uint_eq(records[4].seq, 10);
    persist("a", NULL);
    ck_assert(!asked[0].expected_known);
    ck_assert_int_eq(version_compare(asked[0].version, VERSION(1, 7, 8)), 0);
    /* It was there already: dumped before the crash. */
    store_dumped(store, asked[0].object, BRAIN_ECONFLICT, &asked[0].version, now);
    ck_assert_int_eq(records[2].live, -1);
    persist("b", NULL);
    ck_assert_int_gt(version_compare(asked[1].version, VERSION(1, 7, 9)), 0);
    dumped(1, 0);
    ck_assert_uint_eq(metrics()->dirty, 1);
}
END_TEST

START_TEST(a_restored_object_gives_way_to_its_lost_successor)
{
    journal_is_ahead();
    restore("a", VERSION(1, 1, 5), "old");
    restore("b", VERSION(1, 1, 6), "ours");
    restore("c", VERSION(1, 1, 7), "c");
    persist("a", &w[0]);
    struct version later = {1, 1, 8}, foreign = {1, 9, 2};
    store_dumped(store, asked[0].object, BRAIN_ECONFLICT, &later, now);
    assert_answer(0, &w[0], STORE_DONE, "");
    ck_assert_uint_eq(metrics()->restored_late, 1);
    ck_assert_int_eq(records[0].live, -1);
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT); /* loads the later one */
    store_loaded(store, asked[1].object, STORE_ABSENT, &later, NULL, now);
    /* Not a later write of this data directory: ours is kept, above it. */
    persist("b", &w[2]);
    store_dumped(store, asked[2].object, BRAIN_ECONFLICT, &foreign, now);
    ck_assert_int_gt(version_compare(asked[3].version, foreign), 0);
    dumped(3, 0);
    /* Written since: as any write. */
    persist("c", &w[3]);
    set("c", "new");
    struct version newer = {1, 30, 20};
    store_dumped(store, asked[4].object, BRAIN_ECONFLICT, &newer, now);
    ck_assert_int_gt(version_compare(asked[5].version, newer), 0);
    dumped(5, 0);
    ck_assert_uint_eq(metrics()->restored_late, 1);
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

/* ---- looks after a loss of power ------------------------------------------------------------- */

START_TEST(restored_objects_are_looked_for_after_a_loss_of_power)
{
    const struct version newer = {1, 1, 20}, older = {1, 1, 1}, none = {0, 0, 0};
    restore("a", VERSION(1, 1, 5), "ours");
    restore("b", VERSION(1, 1, 6), "ours");
    restore("c", VERSION(1, 1, 7), "ours");
    restore("d", VERSION(1, 1, 8), "");
    restore("e", VERSION(1, 1, 9), "ours");
    store_verify_restored(store);
    store_raise_seq(store, 9 + (UINT64_C(1) << 32));
    /* A failed look is told; the next one finds a newer one. One load for both reads. */
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    loaded(0, BRAIN_EWAREHOUSE, none, "");
    assert_answer(0, &w[0], BRAIN_EWAREHOUSE, "");
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 2);
    loaded(1, 0, newer, "theirs");
    assert_answer(1, &w[0], STORE_FOUND, "theirs");
    assert_answer(2, &w[1], STORE_FOUND, "theirs");
    ck_assert_int_eq(get_is("a", "theirs"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->restored_late, 1);
    ck_assert_int_eq(records[0].live, -1);
    ck_assert_uint_eq(metrics()->dirty, 4);
    /* An older one, and none: ours is shown, and needs no other look. */
    get("b", &w[2]);
    loaded(2, 0, older, "old");
    assert_answer(3, &w[2], STORE_FOUND, "ours");
    ck_assert_int_eq(get_is("b", "ours"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->dirty, 4);
    get("d", &w[3]);
    loaded(3, STORE_ABSENT, none, "");
    assert_answer(4, &w[3], STORE_ABSENT, "");
    /* The very same: nothing is to be dumped. */
    get("c", &w[4]);
    loaded(4, 0, VERSION(1, 1, 7), "ours");
    assert_answer(5, &w[4], STORE_FOUND, "ours");
    ck_assert_uint_eq(metrics()->dirty, 3);
    ck_assert_int_eq(records[2].live, -1);
    /* A write ends it, also for a read that waits: that sees it when it may be seen. */
    get("e", &w[5]);
    set_as("e", "new", STORE_ACK_JOURNAL, NULL);
    ck_assert_uint_gt(records[records_count - 1].seq, UINT32_MAX);
    loaded(5, 0, newer, "theirs");
    ck_assert_uint_eq(answers_count, 6);
    store_written(store, records[records_count - 1].seq, 0, now);
    assert_answer(6, &w[5], STORE_FOUND, "new");
    ck_assert_int_eq(get_is("e", "new"), STORE_FOUND);
}
END_TEST

START_TEST(a_dump_is_a_look_too)
{
    const struct version newer = {1, 1, 20};
    restore("a", VERSION(1, 1, 5), "ours");
    restore("b", VERSION(1, 1, 6), "ours");
    restore("c", VERSION(1, 1, 7), "ours");
    store_verify_restored(store);
    persist("a", &w[0]);
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 1);
    dumped(0, 0);
    assert_answer(0, &w[0], STORE_DONE, "");
    assert_answer(1, &w[1], STORE_FOUND, "ours");
    ck_assert_uint_eq(asked_count, 1);
    /* A newer one is found: the reads load it. */
    persist("b", &w[2]);
    get("b", &w[3]);
    store_dumped(store, asked[1].object, BRAIN_ECONFLICT, &newer, now);
    assert_answer(2, &w[2], STORE_DONE, "");
    loaded(2, 0, newer, "theirs");
    assert_answer(3, &w[3], STORE_FOUND, "theirs");
    ck_assert_uint_eq(metrics()->restored_late, 1);
    /* It fails: the read looks before the dump is tried again, and that is not forgotten. */
    persist("c", &w[4]);
    get("c", &w[5]);
    dumped(3, BRAIN_EWAREHOUSE);
    assert_answer(4, &w[4], BRAIN_EWAREHOUSE, "");
    loaded(4, STORE_ABSENT, VERSION(0, 0, 0), "");
    assert_answer(5, &w[5], STORE_FOUND, "ours");
    ck_assert_uint_eq(asked_count, 5);
    advance(120);
    ck_assert_uint_eq(asked_count, 6);
    dumped(5, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

static void look_without_memory(void)
{
    struct slice bytes = slice_of_string("ours");
    struct value ours = {NULL, bytes.data, bytes.size};
    open_with(options_default(), false);
    if (!store || store_restore(store, slice_of_string("a"), VERSION(1, 1, 5), &ours, now))
        return;
    store_verify_restored(store);
    int status = get("a", &w[0]);
    if (status == STORE_WAIT) {
        loaded(0, 0, VERSION(1, 1, 20), "theirs");
        ck_assert_uint_eq(answers_count, 1);
        status = answers[0].status;
        ck_assert(status == BRAIN_ENOMEM || strcmp(answers[0].value, "theirs") == 0);
        ck_assert_uint_eq(metrics()->dirty, 0);
    } else {
        ck_assert_int_eq(status, BRAIN_ENOMEM);
        ck_assert_uint_eq(metrics()->dirty, 1);
    }
}

START_TEST(a_look_without_memory_loses_nothing)
{
    store_destroy(store);
    store = NULL;
    heap_fault_stop();
    unsigned n = 1;
    for (bool reached = true; reached; n++) {
        heap_fault_start(n);
        look_without_memory();
        store_destroy(store);
        store = NULL;
        reached = heap_fault_stop();
    }
    ck_assert_uint_ge(n, 5);
    heap_fault_start(0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/restored");
    TCase *tcase = tcase_create("scenarios");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup_journal, teardown_journal);
    tcase_add_test(tcase, restored_objects_are_dirty);
    tcase_add_test(tcase, a_restored_object_gives_way_to_its_lost_successor);
    tcase_add_test(tcase, restored_objects_are_looked_for_after_a_loss_of_power);
    tcase_add_test(tcase, a_dump_is_a_look_too);
    tcase_add_test(tcase, a_look_without_memory_loses_nothing);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
