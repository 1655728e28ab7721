/* The store of a member of a cluster: copies that are adopted, and what others may look at. */
#include "member_fixture.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/etf.h"
#include "suite.h"

/* ---- copies ---------------------------------------------------------------------------------- */

START_TEST(a_copy_that_is_greater_becomes_a_write)
{
    ck_assert_int_eq(adopt("a", v(4, 4, 7), "copy"), 0);
    assert_asked(0, false, "a", NONE);
    ck_assert(store_is_resident(store, id_of("a"), store_hash(store, id_of("a"))));
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    loaded(0, v(4, 4, 6), "older");
    ASSERT_TOLD("written a 5.1.1 copy; ");
    ASSERT_ANSWERED("0 found copy; ");
    ck_assert(shows("a", "copy"));
    ck_assert_uint_eq(metrics()->dirty, 1);
    /* Its dump knows what is there. */
    persist("a", NULL);
    assert_asked(1, true, "a", v(5, 1, 1));
    ck_assert_int_eq(version_compare(asked[1].expected, v(4, 4, 6)), 0);
    /* Nothing there: the same. */
    adopt("b", v(4, 4, 7), "copy");
    get("b", &w[0]);
    answered[0] = told[0] = 0;
    loaded(2, NONE, NULL);
    ASSERT_TOLD("written b 5.1.2 copy; ");
    ASSERT_ANSWERED("0 found copy; ");
}
END_TEST

/* Nothing above it is anywhere: it is shown without a look at the warehouse, and its dump finds out
 * what is there. */
START_TEST(a_complete_copy_is_a_write_at_once)
{
    ck_assert_int_eq(adopt_complete("a", v(4, 4, 7), "copy"), 0);
    ASSERT_TOLD("written a 5.1.1 copy; ");
    ck_assert_uint_eq(asked_count, 0);
    ck_assert(shows("a", "copy"));
    ck_assert_uint_eq(metrics()->dirty, 1);
    struct version stored;
    ck_assert(!store_peek_stored(store, id_of("a"), &stored));
    persist("a", NULL);
    assert_asked(0, true, "a", v(5, 1, 1));
    ck_assert(!asked[0].expected_known);
    conflicted(0, v(4, 4, 6));
    assert_asked(1, true, "a", v(5, 1, 1));
    ck_assert_int_eq(version_compare(asked[1].expected, v(4, 4, 6)), 0);
    dumped(1, 0);
    ASSERT_TOLD("stored a 5.1.1; released a; ");
    /* A tombstone. */
    ck_assert_int_eq(adopt_complete("b", v(4, 4, 8), NULL), 0);
    ck_assert_int_eq(get("b", NULL), STORE_ABSENT);
    ck_assert_uint_eq(metrics()->dirty, 1);
    ck_assert_uint_eq(asked_count, 2);
}
END_TEST

/* For what is under way it is told when somebody comes to wait for it. */
START_TEST(what_is_waited_for)
{
    adopt("a", v(4, 4, 7), "copy");
    ck_assert(!asked[0].wanted);
    ck_assert_uint_eq(store_comparing(store), 1);
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    ck_assert(asked[0].wanted);
    /* It fails, and is tried again when somebody asks. */
    load_fails(0);
    ck_assert_uint_eq(store_comparing(store), 0);
    get("a", &w[0]);
    ck_assert(asked[1].wanted);
    ck_assert_uint_eq(store_comparing(store), 1);
    loaded(1, NONE, NULL);
    ck_assert_uint_eq(store_comparing(store), 0);
    /* Nobody waits for a dump; until somebody does. */
    persist("a", NULL);
    assert_asked(2, true, "a", v(5, 1, 1));
    ck_assert(!asked[2].wanted);
    persist("a", &w[0]);
    ck_assert(asked[2].wanted);
    dumped(2, 0);
    /* A write that waits for the warehouse; and one that waits for the end of another's dump. */
    set_as("b", "1", STORE_ACK_WAREHOUSE, &w[0]);
    ck_assert(asked[3].dump && asked[3].wanted);
    set("c", "1");
    persist("c", NULL);
    ck_assert(asked[4].dump && !asked[4].wanted);
    set_as("c", "2", STORE_ACK_WAREHOUSE, &w[1]);
    ck_assert(asked[4].wanted);
    /* A read of what is not in RAM. */
    get("d", &w[2]);
    ck_assert(!asked[5].dump && asked[5].wanted);
    ck_assert_uint_eq(store_comparing(store), 0);
    loaded(5, NONE, NULL);
    dumped(3, 0);
    dumped(4, 0);
    ck_assert(asked[6].dump && asked[6].wanted);
    dumped(6, 0);
}
END_TEST

/* It cannot be written: then it is compared, as any other. */
START_TEST(a_complete_copy_that_cannot_be_written_is_compared)
{
    reserve_status = BRAIN_ENOMEM;
    ck_assert_int_eq(adopt_complete("a", v(4, 4, 7), "copy"), 0);
    ASSERT_TOLD("");
    assert_asked(0, false, "a", NONE);
    reserve_status = 0;
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    loaded(0, v(4, 4, 6), "older");
    ASSERT_TOLD("written a 5.1.1 copy; ");
    ASSERT_ANSWERED("0 found copy; ");
}
END_TEST

START_TEST(a_copy_that_is_not_greater_gives_way)
{
    adopt("a", v(4, 4, 7), "copy");
    get("a", &w[0]);
    loaded(0, v(4, 4, 7), "stored");
    ASSERT_TOLD("stored a 4.4.7; ");
    ASSERT_ANSWERED("0 found stored; ");
    ck_assert_uint_eq(metrics()->dirty, 0);
    adopt("b", v(4, 4, 7), "copy");
    get("b", &w[0]);
    loaded(1, v(4, 5, 1), NULL); /* deleted meanwhile */
    ASSERT_TOLD("stored b 4.5.1; released b; ");
    ASSERT_ANSWERED("0 absent; ");
}
END_TEST

START_TEST(a_copy_may_be_a_tombstone)
{
    adopt("a", v(4, 4, 7), NULL);
    get("a", &w[0]);
    loaded(0, v(4, 4, 6), "older");
    ASSERT_TOLD("written a 5.1.1 deleted; ");
    ASSERT_ANSWERED("0 absent; ");
    ck_assert_int_eq(get("a", NULL), STORE_ABSENT);
    ck_assert_uint_eq(metrics()->dirty, 1);
    persist("a", NULL);
    assert_asked(1, true, "a", v(5, 1, 1));
    told[0] = 0;
    dumped(1, 0);
    ASSERT_TOLD("stored a 5.1.1; released a; ");
}
END_TEST

START_TEST(a_copy_waits_for_a_load_as_long_as_it_takes)
{
    adopt("a", v(4, 4, 7), "copy");
    get("a", &w[0]);
    load_fails(0);
    ASSERT_ANSWERED("0 warehouse; ");
    ASSERT_TOLD("");
    ck_assert_int_eq(get("a", NULL), STORE_WAIT);
    for (size_t i = 1; i < 20; i++) {
        ck_assert_uint_eq(asked_count, i);
        ck_assert_uint_eq(metrics()->loading, 0);
        ck_assert_uint_le(advance(0), 1000);
        advance(1100); /* not before retry_max_ms */
        ck_assert_uint_eq(asked_count, i + 1);
        load_fails(i);
    }
    /* Who asks meanwhile does not wait for that. */
    get("a", &w[1]);
    ck_assert_uint_eq(asked_count, 21);
    loaded(20, NONE, NULL);
    ASSERT_ANSWERED("1 found copy; ");
    ASSERT_TOLD("written a 5.1.1 copy; ");
    advance(5);
    ck_assert_uint_eq(asked_count, 21);
}
END_TEST

START_TEST(a_copy_that_cannot_be_written_is_kept)
{
    adopt("a", v(4, 4, 7), "copy");
    get("a", &w[0]);
    journal_status = BRAIN_EJOURNAL;
    loaded(0, NONE, NULL);
    ASSERT_ANSWERED("0 journal; ");
    advance(1000);
    ck_assert_uint_eq(asked_count, 2);
    journal_status = 0;
    reserve_status = BRAIN_ENOMEM;
    get("a", &w[0]);
    loaded(1, NONE, NULL);
    ASSERT_ANSWERED("0 nomem; ");
    reserve_status = 0;
    advance(1000);
    grant.view = 0;
    loaded(2, NONE, NULL);
    ASSERT_TOLD("");
    grant.view = 5;
    advance(1000);
    loaded(3, NONE, NULL);
    ck_assert_uint_eq(asked_count, 4);
    ck_assert(shows("a", "copy"));
    ck_assert_uint_eq(metrics()->dirty, 1);
}
END_TEST

START_TEST(a_write_replaces_the_copy)
{
    uint64_t memory = metrics()->memory;
    adopt("a", v(4, 4, 7), "copy");
    ck_assert_uint_gt(metrics()->memory, memory + strlen("copy") + sizeof(struct value));
    get("a", &w[0]);
    set("a", "mine");
    ASSERT_TOLD("written a 5.1.1 mine; ");
    get("a", &w[1]);
    loaded(0, v(4, 4, 6), "older"); /* who came before the write sees what was before it */
    ASSERT_ANSWERED("0 found copy; 1 found mine; ");
    ASSERT_TOLD("stored a 4.4.6; ");
    ck_assert(shows("a", "mine"));
    /* And while it waits for the next load: that is not needed any more. */
    adopt("b", v(4, 4, 7), "copy");
    load_fails(1);
    set("b", "mine");
    advance(50);
    ck_assert_uint_eq(asked_count, 2);
    ck_assert(shows("b", "mine"));
    adopt("c", v(4, 4, 7), "copy");
    load_fails(2);
    answered[0] = 0;
    ck_assert_int_eq(set_as("c", "mine", STORE_ACK_WAREHOUSE, &w[0]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 4);
    dumped(3, 0);
    ASSERT_ANSWERED("0 done; ");
}
END_TEST

START_TEST(a_copy_above_the_grant_is_outdated)
{
    /* The warehouse is above the grant, the copy above the warehouse. */
    adopt("a", v(7, 1, 9), "copy");
    loaded(0, v(7, 1, 3), "older");
    ASSERT_TOLD("written a 5.1.1 copy; outdated a 7.1.3; ");
    persist("a", NULL);
    ASSERT_TOLD("outdated a 7.1.3; ");
    ck_assert_uint_eq(asked_count, 1);
    grant = v(8, 1, 0);
    restamp("a");
    assert_asked(1, true, "a", v(8, 1, 2));
}
END_TEST

START_TEST(a_copy_can_be_persisted)
{
    adopt("a", v(4, 4, 7), "copy");
    ck_assert_int_eq(persist("a", &w[0]), STORE_WAIT);
    load_fails(0);
    ASSERT_ANSWERED("0 warehouse; ");
    ck_assert_int_eq(persist("a", &w[0]), STORE_WAIT); /* looks again at once */
    ck_assert_uint_eq(asked_count, 2);
    loaded(1, NONE, NULL);
    ck_assert_uint_eq(asked_count, 3);
    told[0] = 0;
    dumped(2, 0);
    ASSERT_ANSWERED("0 done; ");
    ASSERT_TOLD("stored a 5.1.1; released a; ");
}
END_TEST

/* ---- what others ask ------------------------------------------------------------------------- */

START_TEST(peeks)
{
    struct version version;
    struct value value;
    bool deleted;
    struct slice a = id_of("a"), b = id_of("b"), c = id_of("c");
    ck_assert(!store_peek_dirty(store, a, &version, &value, &deleted));
    ck_assert(!store_peek_stored(store, a, &version));
    have("a", v(1, 2, 3), "one");
    ck_assert(!store_peek_dirty(store, a, &version, &value, &deleted));
    ck_assert(store_peek_stored(store, a, &version));
    ck_assert_int_eq(version_compare(version, v(1, 2, 3)), 0);
    set("a", "two");
    ck_assert(store_peek_dirty(store, a, &version, &value, &deleted));
    ck_assert_int_eq(version_compare(version, v(5, 1, 1)), 0);
    ck_assert(!deleted && value.size == 3 && memcmp(value.data, "two", 3) == 0);
    ck_assert(store_peek_stored(store, a, &version));
    ck_assert_int_eq(version_compare(version, v(1, 2, 3)), 0);
    set("b", "new");
    ck_assert(!store_peek_stored(store, b, &version));
    erase("b");
    ck_assert(store_peek_dirty(store, b, &version, &value, &deleted));
    ck_assert(deleted && !value.data);
    persist("b", NULL);
    ck_assert(!store_peek_stored(store, b, &version));
    set("b", "again");
    dumped(asked_count - 1, 0);
    ck_assert(store_peek_stored(store, b, &version));
    ck_assert_int_eq(version_compare(version, v(5, 1, 3)), 0);
    adopt("c", v(4, 1, 1), "copy");
    ck_assert(!store_peek_dirty(store, c, &version, &value, &deleted));
    ck_assert(!store_peek_stored(store, c, &version));
    loaded(asked_count - 1, NONE, NULL);
    ck_assert(store_peek_dirty(store, c, &version, &value, &deleted));
}
END_TEST

START_TEST(next_sees_all_that_stays)
{
    enum { COUNT = 3000 };
    char id[16];
    uint8_t bytes[ID_LIMIT], *seen = calloc(COUNT, 1);
    size_t size;
    uint64_t cursor = 0;
    ck_assert(!store_next(store, &cursor, bytes, &size) || size == 0);
    cursor = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(id, sizeof(id), "n%u", i);
        set(id, "x");
        told[0] = 0;
    }
    struct version version;
    struct value value;
    bool deleted;
    unsigned calls = 0;
    do {
        /* Every fourth goes meanwhile, so that buckets merge; then others come. */
        snprintf(id, sizeof(id), "n%u", calls % COUNT);
        if (calls < COUNT && calls % 4 != 0 &&
            store_part(store, id_of(id), &version, &value, &deleted) == STORE_GONE_DIRTY)
            value_drop(&value);
        snprintf(id, sizeof(id), "late%u", calls);
        if (calls > COUNT / 2 && calls < 2 * COUNT)
            set(id, "x");
        told[0] = 0;
        ck_assert_uint_lt(++calls, 100 * COUNT);
        if (!store_next(store, &cursor, bytes, &size))
            break;
        if (size > 0 && bytes[0] == 'n') {
            bytes[size] = 0;
            seen[atoi((char *)bytes + 1)] = 1;
        }
    } while (true);
    ck_assert_uint_eq(cursor, 0);
    for (unsigned i = 0; i < COUNT; i += 4)
        ck_assert_msg(seen[i], "n%u was not seen", i);
    ck_assert_uint_gt(calls, COUNT / 4);
    free(seen);
}
END_TEST

START_TEST(next_looks_at_a_few_hundred_places)
{
    char id[16];
    uint8_t bytes[ID_LIMIT];
    size_t size;
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(id, sizeof(id), "n%u", i);
        set(id, "x");
        told[0] = 0;
    }
    store_drain(store, now); /* the table keeps its buckets */
    struct version version;
    struct value value;
    bool deleted;
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(id, sizeof(id), "n%u", i);
        if (store_part(store, id_of(id), &version, &value, &deleted) == STORE_GONE_DIRTY)
            value_drop(&value);
    }
    unsigned empty = 0;
    uint64_t cursor = 0;
    while (store_next(store, &cursor, bytes, &size)) {
        empty += size == 0;
        ck_assert_uint_lt(empty, 1000);
    }
    ck_assert_uint_gt(empty, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/member_copies");
    TCase *tcase = tcase_create("alone");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_copy_that_is_greater_becomes_a_write);
    tcase_add_test(tcase, a_complete_copy_is_a_write_at_once);
    tcase_add_test(tcase, a_complete_copy_that_cannot_be_written_is_compared);
    tcase_add_test(tcase, what_is_waited_for);
    tcase_add_test(tcase, a_copy_that_is_not_greater_gives_way);
    tcase_add_test(tcase, a_copy_may_be_a_tombstone);
    tcase_add_test(tcase, a_copy_waits_for_a_load_as_long_as_it_takes);
    tcase_add_test(tcase, a_write_replaces_the_copy);
    tcase_add_test(tcase, a_copy_above_the_grant_is_outdated);
    tcase_add_test(tcase, a_copy_can_be_persisted);
    tcase_add_test(tcase, peeks);
    tcase_add_test(tcase, next_sees_all_that_stays);
    tcase_add_test(tcase, next_looks_at_a_few_hundred_places);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("journal");
    tcase_add_checked_fixture(tcase, setup_journal, teardown);
    tcase_add_test(tcase, a_copy_that_cannot_be_written_is_kept);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
