/* The store of a member of a cluster: objects that are given up, one or all. */
#include "member_fixture.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "suite.h"

/* ---- giving up one --------------------------------------------------------------------------- */

static enum store_parted part(const char *id, struct version *version)
{
    struct value value = value_none();
    bool deleted = false;
    *version = NONE;
    enum store_parted parted = store_part(store, id_of(id), version, &value, &deleted);
    copy_text(text, parted == STORE_GONE_DIRTY ? &value : NULL);
    if (parted == STORE_GONE_DIRTY) {
        ck_assert(deleted ? !value.block : value.block != NULL);
        value_drop(&value);
    }
    return parted;
}

START_TEST(part_gives_up_what_rests)
{
    struct version version;
    ck_assert_int_eq(part("a", &version), STORE_GONE_CLEAN);
    have("a", v(1, 1, 1), "one");
    ck_assert_int_eq(part("a", &version), STORE_GONE_CLEAN);
    ck_assert_int_eq(get("a", NULL), STORE_WAIT);
    set("b", "two");
    erase("c");
    set("d", "cold");
    told[0] = 0;
    ck_assert_int_eq(part("b", &version), STORE_GONE_DIRTY);
    ck_assert_int_eq(version_compare(version, v(5, 1, 1)), 0);
    ck_assert_str_eq(text, "two");
    ck_assert_int_eq(part("c", &version), STORE_GONE_DIRTY);
    ck_assert_int_eq(version_compare(version, v(5, 1, 2)), 0);
    may_dump = false; /* so it is cold, and listed */
    advance(2 * TTL);
    persist("d", NULL);
    ck_assert_int_eq(part("d", &version), STORE_GONE_DIRTY);
    ck_assert_str_eq(text, "cold");
    ASSERT_TOLD("");
    ck_assert_uint_eq(metrics()->dirty + metrics()->objects + metrics()->bytes, 0);
    ck_assert_uint_eq(metrics()->oldest_dirty_ms, 0);
    may_dump = true;
    advance(2 * TTL);
    ck_assert_uint_eq(asked_count, 1);
    ASSERT_TOLD("");
}
END_TEST

START_TEST(part_leaves_what_is_under_way)
{
    struct version version;
    get("a", &w[0]);
    ck_assert_int_eq(part("a", &version), STORE_BUSY); /* a load */
    loaded(0, v(1, 1, 1), "one");
    ck_assert_int_eq(part("a", &version), STORE_GONE_CLEAN);
    set("b", "two");
    persist("b", NULL);
    ck_assert_int_eq(part("b", &version), STORE_BUSY); /* a dump */
    dumped(1, 0);
    may_dump = false;
    set("c", "three");
    persist("c", &w[0]);
    ck_assert_int_eq(part("c", &version), STORE_BUSY); /* somebody who waits */
    set_as("d", "four", STORE_ACK_WAREHOUSE, &w[1]);
    ck_assert_int_eq(part("d", &version), STORE_BUSY);
    adopt("e", v(4, 4, 4), "copy");
    load_fails(2);
    ck_assert_int_eq(part("e", &version), STORE_BUSY); /* a copy to be compared */
    advance(6000);
    ck_assert_int_eq(part("c", &version), STORE_GONE_DIRTY); /* who waited has left */
}
END_TEST

START_TEST(part_leaves_the_record_live)
{
    struct version version;
    set("a", "one");
    set_as("b", "two", STORE_ACK_JOURNAL, &w[0]);
    ck_assert_int_eq(part("a", &version), STORE_GONE_DIRTY);
    ck_assert_int_eq(records[1], 2);
    ck_assert_int_eq(part("b", &version), STORE_BUSY); /* a write that waits for the journal */
    store_written(store, 2, 0, now);
    ck_assert_int_eq(part("b", &version), STORE_GONE_DIRTY);
    ck_assert_int_eq(records[2], 2);
    /* A write that was written over, and still waits for the journal. */
    set_as("e", "four", STORE_ACK_JOURNAL, &w[1]);
    set("e", "five");
    ck_assert_int_eq(part("e", &version), STORE_BUSY);
    store_written(store, 4, 0, now);
    ck_assert_int_eq(part("e", &version), STORE_GONE_DIRTY);
    /* A dump that waits for its record. */
    set("c", "three");
    persist("c", NULL);
    ck_assert_int_eq(part("c", &version), STORE_BUSY);
    ck_assert_uint_eq(asked_count, 0);
}
END_TEST

/* ---- giving up all --------------------------------------------------------------------------- */

START_TEST(abandon_hands_over_what_is_dirty_before_it_answers)
{
    have("clean", v(1, 1, 1), "one");
    set("dirty", "two");
    told[0] = answered[0] = 0;
    ck_assert(abandon_all());
    ASSERT_TOLD("keep dirty 5.1.1 two; ");
    ASSERT_ANSWERED("keep; ");
    erase("t");
    told[0] = 0;
    ck_assert(abandon_all());
    ASSERT_TOLD("keep t 5.1.2 deleted; ");
    answered[0] = 0;
    set_as("a", "one", STORE_ACK_WAREHOUSE, &w[0]);
    get("a", &w[1]);
    persist("a", &w[2]);
    told[0] = 0;
    ck_assert(abandon_all());
    ASSERT_TOLD("keep a 5.1.3 one; ");
    ASSERT_ANSWERED("keep; 1 unavailable; 0 unknown; 2 unavailable; ");
    ck_assert_uint_eq(metrics()->waiting, 0);
    adopt("c", v(4, 4, 4), "copy");
    get("c", &w[1]);
    adopt("d", v(4, 4, 5), NULL);
    load_fails(asked_count - 1);
    ck_assert(abandon_all());
    ck_assert(strstr(told, "keep c 4.4.4 copy; ") && strstr(told, "keep d 4.4.5 deleted; "));
    ck_assert(strcmp(answered, "keep; 1 unavailable; keep; ") == 0 ||
              strcmp(answered, "keep; keep; 1 unavailable; ") == 0);
}
END_TEST

START_TEST(abandon_ignores_late_results)
{
    uint64_t memory = metrics()->memory;
    get("a", &w[0]);
    set("b", "two");
    persist("b", NULL);
    ck_assert_uint_eq(asked_count, 2);
    told[0] = 0;
    ck_assert(abandon_all());
    ck_assert_uint_eq(metrics()->loading, 1);
    ck_assert_uint_eq(metrics()->persisting, 1);
    ck_assert_uint_eq(metrics()->dirty + metrics()->objects + metrics()->bytes, 0);
    ck_assert(!store_is_resident(store, id_of("a"), store_hash(store, id_of("a"))));
    /* The same ids come again, before that is over. */
    grant = v(7, 1, 0);
    told[0] = answered[0] = 0;
    get("a", &w[1]);
    set("b", "new");
    persist("b", &w[2]);
    ck_assert_uint_eq(asked_count, 4);
    ASSERT_TOLD("written b 7.1.2 new; ");
    loaded(0, v(1, 1, 1), "late");
    dumped(1, 0);
    ASSERT_TOLD("");
    ASSERT_ANSWERED("");
    ck_assert_uint_eq(metrics()->loading, 1);
    ck_assert_uint_eq(metrics()->persisting, 1);
    ck_assert_uint_eq(metrics()->dumps_done + metrics()->loads_found, 0);
    loaded(2, v(1, 1, 2), "one");
    dumped(3, 0);
    ASSERT_ANSWERED("1 found one; 2 done; ");
    ASSERT_TOLD("stored a 1.1.2; stored b 7.1.2; released b; ");
    ck_assert(abandon_all());
    ck_assert_uint_eq(metrics()->loading + metrics()->persisting, 0);
    ck_assert_uint_le(metrics()->memory, memory + 70000); /* a page or so, no object */
}
END_TEST

START_TEST(abandon_gives_the_places_of_dumps_back_when_they_end)
{
    for (char id[2] = "a"; id[0] <= 'd'; id[0]++) {
        set(id, "one");
        persist(id, NULL);
    }
    ck_assert_uint_eq(asked_count, 4); /* dumps_parallel */
    ck_assert(abandon_all());
    grant = v(7, 1, 0);
    set("e", "two");
    persist("e", NULL);
    ck_assert_uint_eq(asked_count, 4);
    dumped(0, BRAIN_EWAREHOUSE);
    assert_asked(4, true, "e", v(7, 1, 5));
    for (size_t i = 1; i < 5; i++)
        dumped(i, 0);
}
END_TEST

START_TEST(abandon_with_a_journal)
{
    set_as("a", "one", STORE_ACK_JOURNAL, &w[0]);
    get("a", &w[1]);
    set("b", "two");
    persist("b", &w[2]); /* held for its record */
    told[0] = 0;
    ck_assert(abandon_all());
    ck_assert(strstr(told, "keep recorded a 5.1.1 one; "));
    ck_assert(strstr(told, "keep recorded b 5.1.2 two; "));
    ck_assert(strstr(answered, "1 unavailable; ") && strstr(answered, "2 unavailable; "));
    ck_assert(strstr(answered, "0 unknown; "));
    ck_assert_int_eq(records[1], 2);
    ck_assert_int_eq(records[2], 2);
    ck_assert(!store_awaits_records(store));
    told[0] = answered[0] = 0;
    store_written(store, 2, 0, now);
    advance(6000);
    ck_assert_uint_eq(asked_count, 0);
    ASSERT_TOLD("");
    ASSERT_ANSWERED("");
    ck_assert_uint_eq(metrics()->waiting + metrics()->dirty, 0);
}
END_TEST

START_TEST(abandon_goes_by_its_budget)
{
    enum { COUNT = 5000 };
    char id[16];
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(id, sizeof(id), "n%u", i);
        set(id, "x");
        told[0] = 0;
    }
    uint64_t before = metrics()->dirty;
    ck_assert(!store_abandon(store, 10, now, on_keep));
    ck_assert_uint_ge(metrics()->dirty, before - 10);
    unsigned calls = 0;
    while (!store_abandon(store, 100, now, on_keep)) {
        told[0] = answered[0] = 0;
        ck_assert_uint_lt(++calls, COUNT);
    }
    ck_assert_uint_ge(calls, COUNT / 100);
    ck_assert_uint_eq(metrics()->dirty + metrics()->objects, 0);
    told[0] = 0;
    set("a", "again");
    ASSERT_TOLD("written a 5.1.5001 again; ");
    ck_assert(shows("a", "again"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/member_parting");
    TCase *tcase = tcase_create("alone");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, part_gives_up_what_rests);
    tcase_add_test(tcase, part_leaves_what_is_under_way);
    tcase_add_test(tcase, abandon_hands_over_what_is_dirty_before_it_answers);
    tcase_add_test(tcase, abandon_ignores_late_results);
    tcase_add_test(tcase, abandon_gives_the_places_of_dumps_back_when_they_end);
    tcase_add_test(tcase, abandon_goes_by_its_budget);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("journal");
    tcase_add_checked_fixture(tcase, setup_journal, teardown);
    tcase_add_test(tcase, part_leaves_the_record_live);
    tcase_add_test(tcase, abandon_with_a_journal);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
