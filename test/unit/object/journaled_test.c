/* What must be true of acknowledgements and of the journal: one scenario each. */
#include <check.h>
#include <stdio.h>

#include "brain/object.h"
#include "store_fixture.h"
#include "suite.h"

/* ---- acknowledgements ------------------------------------------------------------------------ */

START_TEST(a_write_and_its_reads_wait_for_the_journal)
{
    ck_assert(!store_awaits_records(store));
    ck_assert_int_eq(set_as("a", "one", STORE_ACK_JOURNAL, &w[0]), STORE_WAIT);
    ck_assert(store_awaits_records(store));
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT);
    ck_assert_int_eq(set_as("b", "two", STORE_ACK_JOURNAL, NULL), STORE_WAIT); /* a plain {s} */
    ck_assert_int_eq(get("b", &w[2]), STORE_WAIT);
    ck_assert_int_eq(set("c", "three"), STORE_DONE);
    ck_assert_int_eq(get_is("c", "three"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->waiting, 3);
    store_written(store, 1, 0, now);
    ck_assert_uint_eq(answers_count, 2);
    assert_answer(0, &w[0], STORE_DONE, "");
    assert_answer(1, &w[1], STORE_FOUND, "one");
    ck_assert_int_eq(get_is("a", "one"), STORE_FOUND);
    ck_assert(store_awaits_records(store)); /* the read of b */
    store_written(store, 2, 0, now);
    assert_answer(2, &w[2], STORE_FOUND, "two");
    ck_assert(!store_awaits_records(store)); /* c is for nobody to wait for */
    ck_assert_uint_eq(metrics()->waiting, 0);
    ck_assert_uint_eq(asked_count, 0);
}
END_TEST

START_TEST(a_read_is_not_overtaken_by_one_of_a_later_version)
{
    set_as("a", "one", STORE_ACK_JOURNAL, NULL);
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    ck_assert_int_eq(set("a", "two"), STORE_DONE);
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT); /* behind the first */
    store_written(store, 1, 0, now);
    assert_answer(0, &w[0], STORE_FOUND, "one");
    assert_answer(1, &w[1], STORE_FOUND, "two");
    /* Behind a load: the load first, then the journal. */
    get("l", &w[2]);
    store_delete(store, slice_of_string("l"), STORE_ACK_JOURNAL, now, &w[3]);
    ck_assert_int_eq(get("l", &w[4]), STORE_WAIT);
    store_loaded(store, asked[0].object, STORE_ABSENT, NULL, NULL, now);
    ck_assert_uint_eq(answers_count, 3);
    assert_answer(2, &w[2], STORE_ABSENT, "");
    store_written(store, 3, 0, now);
    assert_answer(3, &w[3], STORE_DONE, "");
    assert_answer(4, &w[4], STORE_ABSENT, "");
}
END_TEST

START_TEST(a_journal_that_fails)
{
    set_as("a", "one", STORE_ACK_JOURNAL, &w[0]);
    get("a", &w[1]);
    store_written(store, 1, BRAIN_EJOURNAL, now);
    assert_answer(0, &w[0], BRAIN_EJOURNAL, "");
    assert_answer(1, &w[1], STORE_FOUND, "one"); /* nobody waits any more */
    ck_assert_int_eq(get_is("a", "one"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->dirty, 1);
    journal_status = BRAIN_EJOURNAL;
    ck_assert_int_eq(set("a", "two"), BRAIN_EJOURNAL);
    ck_assert_int_eq(set_as("b", "two", STORE_ACK_JOURNAL, &w[2]), BRAIN_EJOURNAL);
    ck_assert_int_eq(get_is("a", "one"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->objects, 1);
    ck_assert_uint_eq(metrics()->refused_journal, 3);
    journal_status = 0;
    store_written(store, 1, 0, now);
    ck_assert_uint_eq(answers_count, 2);
    ck_assert_int_eq(set_as("a", "three", STORE_ACK_JOURNAL, &w[2]), STORE_WAIT);
    store_written(store, 9, 0, now);
    assert_answer(2, &w[2], STORE_DONE, "");
}
END_TEST

START_TEST(ack_warehouse_dumps_at_once_and_stays)
{
    ck_assert_int_eq(set_as("a", "one", STORE_ACK_WAREHOUSE, &w[0]), STORE_WAIT);
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 0);
    journal_is_ahead(); /* not enough */
    ck_assert_uint_eq(asked_count, 1);
    ck_assert_uint_eq(answers_count, 0);
    dumped(0, 0);
    assert_answer(0, &w[0], STORE_DONE, "");
    assert_answer(1, &w[1], STORE_FOUND, "one");
    ck_assert_int_eq(get_is("a", "one"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->objects, 1);
    ck_assert_uint_eq(metrics()->dirty, 0);
    /* A failed dump is told, the read then shows it, and it is retried. */
    set_as("a", "two", STORE_ACK_WAREHOUSE, &w[2]);
    get("a", &w[3]);
    dumped(1, BRAIN_EWAREHOUSE);
    assert_answer(2, &w[2], BRAIN_EWAREHOUSE, "");
    assert_answer(3, &w[3], STORE_FOUND, "two");
    ck_assert_int_eq(get_is("a", "two"), STORE_FOUND);
    advance(120);
    dumped(2, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
    /* A version written during a dump waits for its own. */
    set("a", "three");
    persist("a", NULL);
    set_as("a", "four", STORE_ACK_WAREHOUSE, &w[4]);
    get("a", &w[5]);
    dumped(3, 0);
    ck_assert_uint_eq(answers_count, 4);
    dumped(4, 0);
    assert_answer(4, &w[4], STORE_DONE, "");
    assert_answer(5, &w[5], STORE_FOUND, "four");
}
END_TEST

START_TEST(waits_for_acknowledgements_end)
{
    set_as("a", "one", STORE_ACK_JOURNAL, &w[0]);
    get("a", &w[1]);
    now += 1000;
    get("a", &w[2]);
    advance(4000);
    assert_answer(0, &w[0], BRAIN_ETIMEOUT, "");
    assert_answer(1, &w[1], BRAIN_ETIMEOUT, "");
    ck_assert_uint_eq(answers_count, 2);
    store_written(store, 1, 0, now);
    assert_answer(2, &w[2], STORE_FOUND, "one");
    set_as("a", "two", STORE_ACK_JOURNAL, &w[3]);
    get("a", &w[4]);
    store_destroy(store);
    store = NULL;
    assert_answer(3, &w[3], BRAIN_ESHUTDOWN, "");
    assert_answer(4, &w[4], BRAIN_ESHUTDOWN, "");
}
END_TEST

/* ---- records --------------------------------------------------------------------------------- */

START_TEST(a_dirty_object_has_one_live_record)
{
    journal_is_ahead();
    set("a", "one");
    ck_assert_int_eq(records[0].live, 1);
    set("a", "two");
    ck_assert_int_eq(records[0].live, -1);
    ck_assert_int_eq(records[1].live, 1);
    persist("a", NULL);
    erase("a");
    ck_assert(records[2].tombstone);
    ck_assert_int_eq(records[1].live, -1);
    dumped(0, 0);
    ck_assert_int_eq(records[2].live, 1); /* the dump was of the version before */
    persist("a", NULL);
    dumped(1, 0);
    ck_assert_int_eq(records[2].live, -1);
    ck_assert_uint_eq(records_count, 3);
}
END_TEST

START_TEST(a_renewed_version_is_recorded_first)
{
    journal_is_ahead();
    set("a", "one");
    persist("a", &w[0]);
    struct version stored = {1, 20, 9};
    journal_status = BRAIN_EJOURNAL;
    store_dumped(store, asked[0].object, BRAIN_ECONFLICT, &stored, now);
    assert_answer(0, &w[0], BRAIN_EWAREHOUSE, "");
    ck_assert_int_eq(records[0].live, 1); /* still the one there is */
    journal_status = 0;
    persist("a", &w[1]);
    store_dumped(store, asked[1].object, BRAIN_ECONFLICT, &stored, now);
    ck_assert_int_eq(records[0].live, -1);
    ck_assert_int_eq(records[1].live, 1);
    ck_assert_uint_eq(records[1].seq, asked[2].version.seq);
    ck_assert_int_gt(version_compare(asked[2].version, stored), 0);
    dumped(2, 0);
    ck_assert_int_eq(records[1].live, -1);
}
END_TEST

START_TEST(rewriting_goes_in_slices)
{
    journal_is_ahead();
    restore("old", VERSION(1, 1, 1), "x");
    char id[8];
    for (unsigned i = 2; i <= 200; i++) {
        snprintf(id, sizeof(id), "%u", i);
        set(id, "value");
    }
    persist("50", NULL);
    unsigned calls = 1;
    while (store_rewrite(store, 1, 100, 10))
        calls++;
    ck_assert_uint_ge(calls, 10);
    for (size_t i = 1; i < 100; i++)
        ck_assert_int_eq(records[i].live, -1);
    for (size_t i = 100; i < records_count; i++)
        ck_assert_int_eq(records[i].live, 1);
    ck_assert_uint_eq(records_count, 200 + 99);
    /* The restored one is not: it goes to the warehouse, at once. */
    ck_assert_int_eq(records[0].live, 1);
    ck_assert_uint_eq(asked_count, 2);
    ck_assert_str_eq(asked[1].id, "old");
    dumped(1, 0);
    ck_assert_int_eq(records[0].live, -1);
    dumped(0, 0); /* of the version before it was rewritten */
    ck_assert_uint_eq(metrics()->dirty, 199);
    journal_status = BRAIN_EJOURNAL;
    ck_assert(!store_rewrite(store, 101, 200, 1000));
}
END_TEST

/* ---- the journal first ----------------------------------------------------------------------- */

START_TEST(a_dump_waits_for_its_record)
{
    set("a", "one");
    set("b", "two");
    ck_assert(!store_awaits_records(store));
    persist("b", &w[0]);
    ck_assert(store_awaits_records(store));
    persist("a", &w[1]);
    ck_assert_uint_eq(asked_count, 0);
    ck_assert_uint_eq(metrics()->persisting, 0);
    store_written(store, 1, 0, now);
    ck_assert_uint_eq(asked_count, 1);
    ck_assert_str_eq(asked[0].id, "a");
    /* Waiting is no work. */
    uint64_t next_ms = store_advance(store, now, 1000);
    ck_assert_uint_gt(next_ms, 1);
    store_written(store, 2, 0, now);
    ck_assert_uint_eq(asked_count, 2);
    dumped(0, 0);
    dumped(1, 0);
    assert_answer(0, &w[1], STORE_DONE, "");
    assert_answer(1, &w[0], STORE_DONE, "");
    ck_assert_uint_eq(metrics()->objects, 0);
    /* One that is always written again is dumped as it was when its turn came. */
    set("a", "three");
    persist("a", &w[2]);
    for (unsigned i = 0; i < 5; i++)
        set("a", "four");
    store_written(store, 3, 0, now);
    ck_assert_uint_eq(asked_count, 3);
    ck_assert_uint_eq(asked[2].version.seq, 3);
    dumped(2, 0);
    assert_answer(2, &w[2], STORE_DONE, "");
    ck_assert_uint_eq(metrics()->dirty, 1);
    /* Also while draining. */
    store_drain(store, now);
    advance(10);
    ck_assert_uint_eq(asked_count, 3);
    store_written(store, 8, 0, now);
    ck_assert_uint_eq(asked_count, 4);
    dumped(3, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

START_TEST(a_journal_that_fails_holds_up_only_its_own)
{
    struct store_options options = options_default();
    options.dumps_parallel = 1;
    open_with(options, true);
    set("there", "1");
    store_written(store, 1, 0, now);
    set_as("a", "2", STORE_ACK_WAREHOUSE, &w[0]);
    get("a", &w[1]);
    set("b", "3");
    persist("b", NULL);
    store_written(store, 3, BRAIN_EJOURNAL, now);
    assert_answer(0, &w[0], BRAIN_EJOURNAL, "");
    assert_answer(1, &w[1], STORE_FOUND, "2");
    ck_assert_int_eq(get_is("a", "2"), STORE_FOUND);
    ck_assert_uint_eq(asked_count, 0);
    persist("there", NULL);
    ck_assert_uint_eq(asked_count, 1);
    ck_assert_str_eq(asked[0].id, "there");
    dumped(0, 0);
    ck_assert_uint_eq(asked_count, 1);
    store_written(store, 3, 0, now);
    ck_assert_uint_eq(asked_count, 2);
    dumped(1, 0);
    ck_assert_uint_eq(asked_count, 3);
    dumped(2, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/journaled");
    TCase *tcase = tcase_create("scenarios");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup_journal, teardown_journal);
    tcase_add_test(tcase, a_write_and_its_reads_wait_for_the_journal);
    tcase_add_test(tcase, a_read_is_not_overtaken_by_one_of_a_later_version);
    tcase_add_test(tcase, a_journal_that_fails);
    tcase_add_test(tcase, ack_warehouse_dumps_at_once_and_stays);
    tcase_add_test(tcase, waits_for_acknowledgements_end);
    tcase_add_test(tcase, a_dirty_object_has_one_live_record);
    tcase_add_test(tcase, a_renewed_version_is_recorded_first);
    tcase_add_test(tcase, rewriting_goes_in_slices);
    tcase_add_test(tcase, a_dump_waits_for_its_record);
    tcase_add_test(tcase, a_journal_that_fails_holds_up_only_its_own);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
