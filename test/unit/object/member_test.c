/* The store of a member of a cluster: versions, reads, loads and dumps. Every sentence of its part
 * of object.h has a scenario here, in member_copies_test.c or in member_parting_test.c. */
#include "member_fixture.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "brain/etf.h"
#include "heap_fault.h"
#include "suite.h"

/* ---- versions and writes --------------------------------------------------------------------- */

START_TEST(a_write_is_stamped_with_the_grant_and_told)
{
    ck_assert_int_eq(set("a", "one"), STORE_DONE);
    ASSERT_TOLD("written a 5.1.1 one; ");
    grant = v(6, 2, 0);
    ck_assert_int_eq(set("b", "two"), STORE_DONE);
    ASSERT_TOLD("written b 6.2.2 two; ");
    /* What is dirty keeps its epoch, and nobody is asked; seq grows over all. */
    unsigned before = grants_asked;
    ck_assert_int_eq(set("a", "ONE"), STORE_DONE); /* takes the place of its like */
    ASSERT_TOLD("written a 5.1.3 ONE; ");
    ck_assert_int_eq(set("a", "longer"), STORE_DONE);
    ASSERT_TOLD("written a 5.1.4 longer; ");
    ck_assert_int_eq(erase("a"), STORE_DONE);
    ASSERT_TOLD("written a 5.1.5 deleted; ");
    ck_assert_uint_eq(grants_asked, before);
    /* What is clean asks again. */
    have("c", v(3, 3, 900), "old");
    set("c", "new");
    ASSERT_TOLD("written c 6.2.6 new; ");
}
END_TEST

START_TEST(backup_is_for_the_store_the_same_as_memory)
{
    ck_assert_int_eq(set_as("a", "one", STORE_ACK_BACKUP, &w[0]), STORE_DONE);
    ck_assert(shows("a", "one"));
    ck_assert_int_eq(store_delete(store, id_of("a"), STORE_ACK_BACKUP, now, &w[0]), STORE_DONE);
    ck_assert_uint_eq(metrics()->waiting, 0);
    ck_assert_uint_eq(asked_count, 0);
}
END_TEST

START_TEST(a_write_without_grant_or_memory_for_it_changes_nothing)
{
    set("a", "one");
    have("c", v(3, 3, 900), "old");
    told[0] = 0;
    grant.view = 0;
    ck_assert_int_eq(set("b", "two"), BRAIN_EUNAVAILABLE);
    ck_assert_int_eq(set("c", "two"), BRAIN_EUNAVAILABLE);
    ck_assert_int_eq(erase("c"), BRAIN_EUNAVAILABLE);
    ck_assert_int_eq(set("a", "two"), STORE_DONE);
    ASSERT_TOLD("written a 5.1.2 two; ");
    grant.view = 5;
    reserve_status = BRAIN_ENOMEM;
    ck_assert_int_eq(set("a", "333"), BRAIN_ENOMEM);
    ck_assert_int_eq(set("a", "another"), BRAIN_ENOMEM);
    ck_assert_int_eq(set("b", "two"), BRAIN_ENOMEM);
    ck_assert_int_eq(erase("c"), BRAIN_ENOMEM);
    ASSERT_TOLD("");
    ck_assert(shows("a", "two"));
    ck_assert(shows("c", "old"));
    ck_assert(!store_is_resident(store, id_of("b"), store_hash(store, id_of("b"))));
    ck_assert_uint_eq(metrics()->dirty, 1);
}
END_TEST

START_TEST(a_refused_record_is_not_told)
{
    set("a", "one");
    told[0] = 0;
    journal_status = BRAIN_EJOURNAL;
    ck_assert_int_eq(set("a", "two"), BRAIN_EJOURNAL);
    ck_assert_int_eq(set("b", "two"), BRAIN_EJOURNAL);
    ASSERT_TOLD("");
    ck_assert_int_eq(records[1], 2);
}
END_TEST

START_TEST(compaction_of_the_journal_keeps_the_epoch)
{
    set("a", "one");
    grant = v(9, 9, 0);
    told[0] = 0;
    while (store_rewrite(store, 1, 1, 100))
        ;
    ASSERT_TOLD("written a 5.1.2 one; ");
    ck_assert_int_eq(records[1], 3);
    ck_assert_int_eq(records[2], 2);
}
END_TEST

/* ---- reads ----------------------------------------------------------------------------------- */

START_TEST(a_get_without_waiter_neither_waits_nor_loads)
{
    ck_assert_int_eq(get("a", NULL), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 0);
    ck_assert(!store_is_resident(store, id_of("a"), store_hash(store, id_of("a"))));
    get("a", &w[0]);
    ck_assert(store_is_resident(store, id_of("a"), store_hash(store, id_of("a"))));
    ck_assert_int_eq(get("a", NULL), STORE_WAIT); /* it is being loaded */
    ck_assert_uint_eq(metrics()->waiting, 1);
    loaded(0, v(1, 1, 1), "one");
    ck_assert(shows("a", "one"));
    erase("a");
    ck_assert_int_eq(get("a", NULL), STORE_ABSENT);
    /* A version that is not acknowledged yet. */
    set_as("b", "two", STORE_ACK_WAREHOUSE, &w[1]);
    ck_assert_int_eq(get("b", NULL), STORE_WAIT);
    ck_assert_uint_eq(metrics()->waiting, 1);
    dumped(1, 0);
    ck_assert(shows("b", "two"));
}
END_TEST

/* ---- loads ----------------------------------------------------------------------------------- */

START_TEST(a_load_tells_what_is_stored_and_an_absent_object_is_released)
{
    get("a", &w[0]);
    loaded(0, v(1, 2, 3), "one");
    ASSERT_TOLD("stored a 1.2.3; ");
    ASSERT_ANSWERED("0 found one; ");
    get("b", &w[0]);
    loaded(1, NONE, NULL);
    ASSERT_TOLD("released b; ");
    get("c", &w[0]);
    loaded(2, v(4, 4, 4), NULL);
    ASSERT_TOLD("stored c 4.4.4; released c; ");
    get("d", &w[0]);
    load_fails(3);
    ASSERT_TOLD("released d; ");
}
END_TEST

START_TEST(a_load_above_the_grant_is_outdated)
{
    get("a", &w[0]);
    loaded(0, v(5, 1, 3), "same epoch");
    ASSERT_TOLD("stored a 5.1.3; outdated a 5.1.3; ");
    get("b", &w[0]);
    loaded(1, v(5, 2, 3), "above");
    ASSERT_TOLD("stored b 5.2.3; outdated b 5.2.3; ");
    ck_assert(shows("b", "above"));
    /* A write under the old grant is not dumped over it. */
    set("b", "mine");
    ASSERT_TOLD("written b 5.1.1 mine; ");
    persist("b", &w[0]);
    ASSERT_TOLD("outdated b 5.2.3; ");
    ck_assert_uint_eq(asked_count, 2);
    grant = v(5, 3, 0);
    ck_assert_int_eq(restamp("b"), 0);
    ASSERT_TOLD("written b 5.3.2 mine; ");
    assert_asked(2, true, "b", v(5, 3, 2));
    ck_assert_int_eq(version_compare(asked[2].expected, v(5, 2, 3)), 0);
}
END_TEST

START_TEST(a_write_during_a_load_is_compared_with_what_it_brings)
{
    get("a", &w[0]);
    set("a", "mine");
    told[0] = 0;
    loaded(0, v(4, 9, 9), "old");
    ASSERT_TOLD("stored a 4.9.9; ");
    ASSERT_ANSWERED("0 found old; ");
    /* Dirty, and not above: stored would make others drop their copies of it. */
    get("b", &w[0]);
    set("b", "mine");
    told[0] = 0;
    loaded(1, v(7, 1, 1), "theirs");
    ASSERT_TOLD("outdated b 7.1.1; ");
    ck_assert(shows("b", "mine"));
    advance(2 * TTL);
    ck_assert_uint_eq(asked_count, 3); /* of a */
    ASSERT_TOLD("outdated b 7.1.1; ");
    grant = v(8, 1, 0);
    restamp("b");
    ASSERT_TOLD("written b 8.1.3 mine; ");
    assert_asked(3, true, "b", v(8, 1, 3));
    dumped(3, 0);
    ASSERT_TOLD("stored b 8.1.3; ");
}
END_TEST

/* ---- dumps ----------------------------------------------------------------------------------- */

START_TEST(a_confirmed_dump_is_told)
{
    set("a", "one");
    told[0] = 0;
    persist("a", &w[0]);
    set("a", "two");
    told[0] = 0;
    dumped(0, 0);
    ASSERT_TOLD("stored a 5.1.1; ");
    ASSERT_ANSWERED("0 done; ");
    persist("a", NULL);
    conflicted(1, v(5, 1, 2)); /* an earlier attempt of ours, whose answer was lost */
    ASSERT_TOLD("stored a 5.1.2; released a; ");
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

START_TEST(an_older_version_in_the_warehouse_is_replaced_at_once)
{
    set("a", "one");
    persist("a", &w[0]);
    told[0] = 0;
    conflicted(0, v(4, 7, 80));
    assert_asked(1, true, "a", v(5, 1, 1));
    ck_assert(asked[1].expected_known);
    ck_assert_int_eq(version_compare(asked[1].expected, v(4, 7, 80)), 0);
    dumped(1, 0);
    ASSERT_TOLD("stored a 5.1.1; released a; ");
    ASSERT_ANSWERED("0 done; ");
    /* Not for ever. */
    set("b", "one");
    persist("b", NULL);
    for (size_t i = 2; i < 6; i++)
        conflicted(i, v(4, 7, 80 + i));
    ck_assert_uint_eq(asked_count, 6);
    ck_assert_uint_eq(metrics()->dumps_failed, 1);
    advance(300);
    ck_assert_uint_eq(asked_count, 7);
}
END_TEST

START_TEST(a_newer_version_in_the_warehouse_waits_for_a_higher_grant)
{
    set("a", "one");
    persist("a", &w[0]);
    told[0] = 0;
    conflicted(0, v(6, 1, 1));
    ASSERT_TOLD("outdated a 6.1.1; ");
    ck_assert_uint_eq(metrics()->dirty, 1);
    ck_assert(shows("a", "one"));
    /* Not dumped, whoever asks; told again with each retry. */
    persist("a", NULL);
    ASSERT_TOLD("outdated a 6.1.1; ");
    advance(1000);
    ASSERT_TOLD("outdated a 6.1.1; ");
    advance(1000);
    ASSERT_TOLD("outdated a 6.1.1; ");
    ck_assert_uint_eq(asked_count, 1);
    ASSERT_ANSWERED("");
    grant = v(6, 2, 0);
    ck_assert_int_eq(restamp("a"), 0);
    ASSERT_TOLD("written a 6.2.2 one; ");
    assert_asked(1, true, "a", v(6, 2, 2));
    ck_assert_int_eq(version_compare(asked[1].expected, v(6, 1, 1)), 0);
    dumped(1, 0);
    ASSERT_TOLD("stored a 6.2.2; released a; ");
    ASSERT_ANSWERED("0 done; ");
}
END_TEST

START_TEST(a_dump_overtaken_by_a_restamp_is_not_outdated)
{
    set("a", "one");
    persist("a", NULL);
    grant = v(8, 1, 0);
    told[0] = 0;
    ck_assert_int_eq(restamp("a"), 0);
    ASSERT_TOLD("written a 8.1.2 one; ");
    conflicted(0, v(6, 1, 1)); /* newer than what was dumped, older than what it is now */
    ASSERT_TOLD("");
    assert_asked(1, true, "a", v(8, 1, 2));
    /* The confirmation of an older version does not make it clean. */
    grant = v(9, 1, 0);
    restamp("a");
    told[0] = 0;
    dumped(1, 0);
    ASSERT_TOLD("stored a 8.1.2; ");
    ck_assert_uint_eq(metrics()->dirty, 1);
}
END_TEST

START_TEST(a_restamp_that_fails_is_made_up_for_by_the_retry)
{
    set("a", "one");
    persist("a", NULL);
    store_written(store, 1, 0, now);
    conflicted(0, v(6, 1, 1));
    grant = v(7, 1, 0);
    told[0] = 0;
    reserve_status = BRAIN_ENOMEM;
    ck_assert_int_eq(restamp("a"), BRAIN_ENOMEM);
    reserve_status = 0;
    journal_status = BRAIN_EJOURNAL;
    ck_assert_int_eq(restamp("a"), BRAIN_EJOURNAL);
    advance(1000);
    ASSERT_TOLD("outdated a 6.1.1; ");
    journal_status = 0;
    advance(1000);
    ASSERT_TOLD("written a 7.1.4 one; ");
    store_written(store, 100, 0, now);
    assert_asked(1, true, "a", v(7, 1, 4));
    /* Nothing to do. */
    grant.view = 0;
    ck_assert_int_eq(restamp("a"), BRAIN_EUNAVAILABLE);
    ck_assert_int_eq(restamp("nobody"), 0);
}
END_TEST

START_TEST(no_dump_begins_while_it_may_not)
{
    may_dump = false;
    set("a", "one");
    persist("a", &w[0]);
    ck_assert_uint_le(advance(1), 100);
    set("b", "two");
    for (unsigned i = 0; i < 30; i++) {
        ck_assert_uint_le(advance(50), 100);
        ck_assert_uint_ge(advance(0), 1);
    }
    store_drain(store, now);
    ck_assert_uint_eq(asked_count, 0);
    may_dump = true;
    advance(1);
    ck_assert_uint_eq(asked_count, 2);
}
END_TEST

START_TEST(a_dump_held_for_its_record_does_not_begin_either)
{
    set("a", "one");
    persist("a", &w[0]);
    may_dump = false;
    store_written(store, 1, 0, now);
    ck_assert_uint_eq(asked_count, 0);
    ck_assert_uint_le(advance(1), 100);
    may_dump = true;
    advance(100);
    assert_asked(0, true, "a", v(5, 1, 1));
}
END_TEST

/* Others take over what is dirty: only what somebody waits for is dumped. */
START_TEST(who_yields_dumps_what_is_waited_for)
{
    set("a", "one");
    set("b", "two");
    set("c", "three");
    store_yield(store, true, now);
    advance(3 * TTL);
    ck_assert_uint_eq(asked_count, 0);
    persist("a", &w[0]);
    set_as("b", "two", STORE_ACK_WAREHOUSE, &w[1]);
    ck_assert_uint_eq(asked_count, 2);
    /* They are taken back, and begin again since somebody waits; and once more. */
    dumped(0, BRAIN_ESHUTDOWN);
    dumped(1, BRAIN_ESHUTDOWN);
    ck_assert_uint_eq(asked_count, 4);
    ASSERT_ANSWERED("");
    ck_assert_uint_eq(metrics()->dumps_failed, 0);
    dumped(2, 0);
    dumped(3, 0);
    ASSERT_ANSWERED("0 done; 1 done; ");
    advance(3 * TTL);
    ck_assert_uint_eq(asked_count, 4);
    store_yield(store, false, now);
    advance(TTL);
    ck_assert_uint_eq(asked_count, 5);
    /* Nobody waits for this one. */
    store_yield(store, true, now);
    dumped(4, BRAIN_ESHUTDOWN);
    advance(3 * TTL);
    ck_assert_uint_eq(asked_count, 5);
    ck_assert_uint_eq(metrics()->dirty, 1);
    ck_assert_uint_eq(metrics()->persisting, 0);
    struct version version;
    struct value value;
    bool deleted;
    ck_assert_int_eq(store_part(store, id_of("c"), &version, &value, &deleted), STORE_GONE_DIRTY);
    value_drop(&value);
}
END_TEST

/* A dump that failed, and that nobody waits for, is not tried again. */
START_TEST(who_yields_repeats_no_dumps)
{
    set("a", "one");
    advance(2 * TTL);
    ck_assert_uint_eq(asked_count, 1);
    dumped(0, BRAIN_EWAREHOUSE);
    store_yield(store, true, now);
    advance(3 * TTL);
    ck_assert_uint_eq(asked_count, 1);
    store_yield(store, false, now);
    advance(TTL);
    ck_assert_uint_eq(asked_count, 2);
}
END_TEST

/* With a journal: what waits for its record to be dumped is given up, too. */
START_TEST(who_yields_holds_no_dumps)
{
    set("a", "one");
    store_drain(store, now);
    advance(1);
    ck_assert_uint_eq(metrics()->persisting, 0);
    store_yield(store, true, now);
    store_written(store, 1, 0, now);
    advance(TTL);
    ck_assert_uint_eq(asked_count, 0);
    struct version version;
    struct value value;
    bool deleted;
    ck_assert_int_eq(store_part(store, id_of("a"), &version, &value, &deleted), STORE_GONE_DIRTY);
    value_drop(&value);
}
END_TEST

/* ---- released -------------------------------------------------------------------------------- */

START_TEST(what_leaves_ram_by_itself_is_released)
{
    have("idle", v(1, 1, 1), "one");
    advance(3 * TTL);
    ASSERT_TOLD("released idle; ");
    have("p", v(1, 1, 1), "one");
    persist("p", NULL);
    ASSERT_TOLD("released p; ");
    set("tomb", "one");
    erase("tomb");
    persist("tomb", NULL);
    told[0] = 0;
    dumped(asked_count - 1, 0);
    ASSERT_TOLD("stored tomb 5.1.2; released tomb; ");
}
END_TEST

START_TEST(what_leaves_for_the_memory_limit_is_released)
{
    open_with(1);
    uint64_t empty = metrics()->memory;
    open_with(empty + 200000);
    char id[16], big[8000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    unsigned dropped = 0;
    for (unsigned i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "m%u", i);
        get(id, &w[0]);
        loaded(asked_count - 1, v(1, 1, 1), big);
        for (const char *at = told; (at = strstr(at, "released m")) != NULL; at++)
            dropped++;
        told[0] = answered[0] = 0;
    }
    ck_assert_uint_gt(dropped, 10);
    ck_assert_uint_eq(metrics()->dropped_memory, dropped);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/member");
    TCase *tcase = tcase_create("alone");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_write_is_stamped_with_the_grant_and_told);
    tcase_add_test(tcase, backup_is_for_the_store_the_same_as_memory);
    tcase_add_test(tcase, a_write_without_grant_or_memory_for_it_changes_nothing);
    tcase_add_test(tcase, a_get_without_waiter_neither_waits_nor_loads);
    tcase_add_test(tcase, a_load_tells_what_is_stored_and_an_absent_object_is_released);
    tcase_add_test(tcase, a_load_above_the_grant_is_outdated);
    tcase_add_test(tcase, a_write_during_a_load_is_compared_with_what_it_brings);
    tcase_add_test(tcase, a_confirmed_dump_is_told);
    tcase_add_test(tcase, an_older_version_in_the_warehouse_is_replaced_at_once);
    tcase_add_test(tcase, a_newer_version_in_the_warehouse_waits_for_a_higher_grant);
    tcase_add_test(tcase, a_dump_overtaken_by_a_restamp_is_not_outdated);
    tcase_add_test(tcase, no_dump_begins_while_it_may_not);
    tcase_add_test(tcase, who_yields_dumps_what_is_waited_for);
    tcase_add_test(tcase, who_yields_repeats_no_dumps);
    tcase_add_test(tcase, what_leaves_ram_by_itself_is_released);
    tcase_add_test(tcase, what_leaves_for_the_memory_limit_is_released);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("journal");
    tcase_add_checked_fixture(tcase, setup_journal, teardown);
    tcase_add_test(tcase, who_yields_holds_no_dumps);
    tcase_add_test(tcase, a_refused_record_is_not_told);
    tcase_add_test(tcase, compaction_of_the_journal_keeps_the_epoch);
    tcase_add_test(tcase, a_restamp_that_fails_is_made_up_for_by_the_retry);
    tcase_add_test(tcase, a_dump_held_for_its_record_does_not_begin_either);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
