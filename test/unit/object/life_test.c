/* The rules of an object's life, one scenario each. */
#include <check.h>
#include <string.h>

#include "brain/object.h"
#include "store_fixture.h"
#include "suite.h"

START_TEST(a_set_is_read_at_once)
{
    ck_assert_int_eq(set("a", "one"), STORE_DONE);
    ck_assert_int_eq(get("a", &w[0]), STORE_FOUND);
    ck_assert_str_eq(text, "one");
    ck_assert_int_eq(set("a", "two"), STORE_DONE);
    ck_assert_int_eq(get("a", &w[0]), STORE_FOUND);
    ck_assert_str_eq(text, "two");
    ck_assert_int_eq(set("a", ""), STORE_DONE);
    ck_assert_int_eq(get("a", &w[0]), STORE_FOUND);
    ck_assert_uint_eq(metrics()->objects, 1);
    ck_assert_uint_eq(metrics()->bytes, 1);
    ck_assert_uint_eq(metrics()->dirty, 1);
    ck_assert_uint_eq(metrics()->hits, 3);
    ck_assert_uint_eq(asked_count, 0);
}
END_TEST

START_TEST(one_load_answers_all_in_order)
{
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(get("a", &w[i]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 1);
    ck_assert_uint_eq(metrics()->loading, 1);
    ck_assert_uint_eq(metrics()->waiting, 3);
    loaded(0, 0, VERSION(0, 9, 3), "stored");
    for (unsigned i = 0; i < 3; i++)
        assert_answer(i, &w[i], STORE_FOUND, "stored");
    ck_assert_int_eq(get("a", &w[0]), STORE_FOUND);
    ck_assert_str_eq(text, "stored");
    ck_assert_uint_eq(metrics()->dirty, 0);
    ck_assert_uint_eq(metrics()->loads_found, 1);
}
END_TEST

START_TEST(absent_and_failed_loads_leave_nothing)
{
    get("a", &w[0]);
    store_loaded(store, asked[0].object, STORE_ABSENT, NULL, NULL, now);
    assert_answer(0, &w[0], STORE_ABSENT, "");
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT);
    store_loaded(store, asked[1].object, BRAIN_ECORRUPT, NULL, NULL, now);
    assert_answer(1, &w[1], BRAIN_ECORRUPT, "");
    ck_assert_uint_eq(metrics()->bytes, 0);
    ck_assert_int_eq(get("a", &w[2]), STORE_WAIT); /* asks again */
    store_loaded(store, asked[2].object, BRAIN_EWAREHOUSE, NULL, NULL, now);
    ck_assert_uint_eq(metrics()->loads_absent, 1);
    ck_assert_uint_eq(metrics()->loads_failed, 2);
}
END_TEST

START_TEST(a_set_during_a_load_wins_and_keeps_the_order)
{
    get("a", &w[0]);
    set("a", "new");
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT);
    erase("a");
    ck_assert_int_eq(get("a", &w[2]), STORE_WAIT);
    set("a", "last");
    ck_assert_uint_eq(answers_count, 0);
    loaded(0, 0, VERSION(1, 7, 5), "old");
    assert_answer(0, &w[0], STORE_FOUND, "old");
    assert_answer(1, &w[1], STORE_FOUND, "new");
    assert_answer(2, &w[2], STORE_ABSENT, "");
    get("a", &w[3]);
    ck_assert_str_eq(text, "last");
    /* The dump knows what is there, and is above it, though the store began below. */
    persist("a", NULL);
    ck_assert(asked[1].dump && asked[1].expected_known);
    assert_version(asked[1].expected, VERSION(1, 7, 5));
    ck_assert_int_gt(version_compare(asked[1].version, VERSION(1, 7, 5)), 0);
    dumped(1, 0);
}
END_TEST

START_TEST(a_failed_load_keeps_what_was_set_meanwhile)
{
    get("a", &w[0]);
    set("a", "new");
    store_loaded(store, asked[0].object, BRAIN_EWAREHOUSE, NULL, NULL, now);
    assert_answer(0, &w[0], BRAIN_EWAREHOUSE, "");
    ck_assert_int_eq(get("a", &w[1]), STORE_FOUND);
    persist("a", NULL);
    ck_assert(!asked[1].expected_known);
    dumped(1, 0);
}
END_TEST

START_TEST(reads_time_out_and_let_those_behind_go)
{
    get("a", &w[0]);
    now += 4000;
    set("a", "new");
    get("a", &w[1]);
    advance(999);
    ck_assert_uint_eq(answers_count, 0);
    advance(1);
    assert_answer(0, &w[0], BRAIN_ETIMEOUT, "");
    assert_answer(1, &w[1], STORE_FOUND, "new");
    ck_assert_uint_eq(metrics()->timeouts, 1);
    loaded(0, 0, VERSION(0, 1, 1), "old");
    ck_assert_uint_eq(answers_count, 2);
}
END_TEST

START_TEST(two_idle_steps)
{
    set("a", "one");
    advance(TTL - 10);
    ck_assert_int_eq(get("a", &w[0]), STORE_FOUND); /* resets the clock */
    advance(TTL - 10);
    ck_assert_uint_eq(asked_count, 0);
    advance(10 + TTL / 32);
    ck_assert_uint_eq(asked_count, 1);
    ck_assert(asked[0].dump && !asked[0].expected_known);
    dumped(0, 0);
    ck_assert_uint_eq(metrics()->objects, 1);
    ck_assert_uint_eq(metrics()->dirty, 0);
    advance(TTL - TTL / 16);
    ck_assert_uint_eq(metrics()->objects, 1);
    advance(TTL / 8);
    ck_assert_uint_eq(metrics()->objects, 0);
    ck_assert_uint_eq(metrics()->dropped_idle, 1);
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    loaded(1, 0, asked[0].version, "one");
}
END_TEST

START_TEST(any_key_ttl_is_kept)
{
    static const uint64_t ttls[] = {10, 127, 128, 1000, 60000, 86400000, 4 * 604800000ULL};
    for (unsigned i = 0; i < sizeof(ttls) / sizeof(ttls[0]); i++) {
        struct store_options options = options_default();
        options.key_ttl_ms = ttls[i];
        open_with(options, false);
        at_once = true;
        set("a", "one");
        uint64_t start = now, dump_ms = 0, gone_ms = 0;
        while (gone_ms == 0) {
            now += ttls[i] / 50 + 1;
            store_advance(store, now, 10);
            if (dump_ms == 0 && metrics()->dumps_done == 1)
                dump_ms = now - start;
            if (metrics()->objects == 0)
                gone_ms = now - start;
            ck_assert_uint_lt(now - start, ttls[i] * 3);
        }
        ck_assert_uint_ge(dump_ms, ttls[i]);
        ck_assert_uint_le(dump_ms, ttls[i] + ttls[i] / 16 + 2);
        ck_assert_uint_ge(gone_ms, 2 * ttls[i]);
        ck_assert_uint_le(gone_ms, 2 * ttls[i] + ttls[i] / 8 + 2);
    }
}
END_TEST

START_TEST(a_write_during_a_dump_stays_dirty)
{
    set("a", "one");
    now += 300;
    ck_assert_uint_eq(metrics()->oldest_dirty_ms, 300);
    ck_assert_int_eq(persist("a", &w[0]), STORE_WAIT);
    ck_assert_uint_eq(metrics()->persisting, 1);
    set("a", "two");
    ck_assert_int_eq(persist("a", &w[1]), STORE_WAIT);
    now += 5;
    dumped(0, 0);
    assert_answer(0, &w[0], STORE_DONE, "");
    ck_assert_uint_eq(answers_count, 1);
    ck_assert_uint_eq(metrics()->dirty, 1);
    ck_assert_uint_eq(metrics()->oldest_dirty_ms, 5);
    ck_assert_uint_eq(asked_count, 2); /* the second {p} at once */
    ck_assert_str_eq(asked[1].value, "two");
    assert_version(asked[1].expected, asked[0].version);
    dumped(1, 0);
    assert_answer(1, &w[1], STORE_DONE, "");
    ck_assert_uint_eq(metrics()->objects, 0); /* released */
    ck_assert_uint_eq(metrics()->dropped_persist, 1);
}
END_TEST

START_TEST(written_after_persist_stays_in_ram)
{
    set("a", "one");
    persist("a", &w[0]);
    set("a", "two");
    dumped(0, 0);
    ck_assert_uint_eq(metrics()->objects, 1);
    ck_assert_uint_eq(metrics()->dirty, 1);
    ck_assert_int_eq(get("a", &w[1]), STORE_FOUND);
    ck_assert_str_eq(text, "two");
    ck_assert_int_eq(persist("absent", &w[1]), STORE_DONE);
}
END_TEST

START_TEST(persist_of_clean_and_loading)
{
    get("a", &w[0]);
    ck_assert_int_eq(persist("a", &w[1]), STORE_DONE);
    loaded(0, 0, VERSION(0, 1, 1), "stored");
    assert_answer(0, &w[0], STORE_FOUND, "stored");
    ck_assert_uint_eq(metrics()->objects, 0);
    get("a", &w[0]);
    set("a", "new");
    ck_assert_int_eq(persist("a", &w[1]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 2);
    loaded(1, 0, VERSION(0, 1, 1), "stored");
    ck_assert_uint_eq(asked_count, 3); /* the dump waited for the load, then began at once */
    ck_assert_str_eq(asked[2].value, "new");
    dumped(2, 0);
    assert_answer(2, &w[1], STORE_DONE, "");
}
END_TEST

START_TEST(failed_dumps_back_off)
{
    set("a", "one");
    ck_assert_int_eq(persist("a", &w[0]), STORE_WAIT);
    uint64_t longest = 100;
    for (size_t i = 0; i < 8; i++) {
        dumped(i, BRAIN_EWAREHOUSE);
        ck_assert_uint_eq(metrics()->dirty, 1);
        advance(longest / 2 - 1);
        ck_assert_uint_eq(asked_count, i + 1); /* never before half of it */
        advance(longest / 2 + 20);
        ck_assert_uint_eq(asked_count, i + 2);
        longest = longest * 2 > 1000 ? 1000 : longest * 2;
    }
    assert_answer(0, &w[0], BRAIN_EWAREHOUSE, "");
    ck_assert_uint_eq(answers_count, 1);
    ck_assert_uint_eq(metrics()->dumps_failed, 8);
    dumped(8, BRAIN_EWAREHOUSE);
    ck_assert_int_eq(persist("a", &w[1]), STORE_WAIT); /* does not wait for the retry */
    ck_assert_uint_eq(asked_count, 10);
    dumped(9, 0);
    assert_answer(1, &w[1], STORE_DONE, "");
}
END_TEST

START_TEST(a_delete_is_a_tombstone_until_dumped)
{
    get("a", &w[0]);
    loaded(0, 0, VERSION(0, 1, 1), "one");
    ck_assert_int_eq(erase("a"), STORE_DONE);
    ck_assert_int_eq(get("a", &w[0]), STORE_ABSENT);
    ck_assert_uint_eq(metrics()->objects, 0);
    ck_assert_uint_eq(metrics()->dirty, 1);
    advance(TTL + TTL / 16);
    ck_assert_uint_eq(asked_count, 2);
    ck_assert(asked[1].dump && asked[1].tombstone);
    assert_version(asked[1].expected, VERSION(0, 1, 1));
    ck_assert_int_eq(get("a", &w[0]), STORE_ABSENT);
    dumped(1, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
    ck_assert_uint_eq(metrics()->bytes, 0);
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    struct version tombstone = asked[1].version;
    set("a", "again");
    store_loaded(store, asked[2].object, STORE_ABSENT, &tombstone, NULL, now);
    persist("a", NULL);
    assert_version(asked[3].expected, tombstone);
    dumped(3, 0);
}
END_TEST

START_TEST(a_conflict_with_the_unknown_raises_the_epoch)
{
    set("a", "one");
    persist("a", &w[0]);
    struct version stored = VERSION(1, 20, 9);
    store_dumped(store, asked[0].object, BRAIN_ECONFLICT, &stored, now);
    ck_assert_uint_eq(asked_count, 2); /* at once */
    assert_version(asked[1].expected, stored);
    ck_assert_int_gt(version_compare(asked[1].version, stored), 0);
    ck_assert_uint_eq(asked[1].version.counter, 21);
    dumped(1, 0);
    assert_answer(0, &w[0], STORE_DONE, "");
    ck_assert_uint_eq(asides, 0);
}
END_TEST

START_TEST(a_conflict_with_the_known_sets_ours_aside)
{
    get("a", &w[0]);
    loaded(0, 0, VERSION(0, 1, 1), "old");
    set("a", "ours");
    persist("a", &w[1]);
    struct version stored = VERSION(2, 1, 1);
    store_dumped(store, asked[1].object, BRAIN_ECONFLICT, &stored, now);
    ck_assert_uint_eq(asides, 1);
    ck_assert_str_eq(aside, "ours");
    assert_answer(1, &w[1], BRAIN_ECONFLICT, "");
    ck_assert_uint_eq(metrics()->dumps_late, 1);
    ck_assert_uint_eq(metrics()->dirty, 0);
    ck_assert_uint_eq(metrics()->bytes, 0);
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    loaded(2, 0, stored, "theirs");
}
END_TEST

START_TEST(a_conflict_with_ourselves_is_a_success)
{
    set("a", "one");
    persist("a", &w[0]);
    dumped(0, BRAIN_EWAREHOUSE); /* it had arrived, though */
    persist("a", &w[1]);
    store_dumped(store, asked[1].object, BRAIN_ECONFLICT, &asked[0].version, now);
    assert_answer(1, &w[1], STORE_DONE, "");
    ck_assert_uint_eq(metrics()->objects, 0);
}
END_TEST

START_TEST(dumps_are_bounded_and_p_goes_first)
{
    struct store_options options = options_default();
    options.dumps_parallel_bytes = 1000;
    open_with(options, false);
    char id[2] = "a";
    for (; id[0] < 'a' + 10; id[0]++)
        set(id, "0123456789");
    advance(TTL + TTL / 16);
    ck_assert_uint_eq(metrics()->persisting, 4);
    id[0] = asked[3].id[0]; /* not under way: one of those after the fourth */
    for (id[0] = 'a'; id[0] == asked[0].id[0] || id[0] == asked[1].id[0] ||
                      id[0] == asked[2].id[0] || id[0] == asked[3].id[0] || id[0] == 'e';
         id[0]++)
        ;
    persist(id, &w[0]);
    dumped(0, 0);
    ck_assert_uint_eq(asked_count, 5);
    ck_assert_str_eq(asked[4].id, id);
    for (size_t i = 1; i < 10; i++)
        dumped(i, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);

    static char large[5000];
    for (id[0] = 'a'; id[0] < 'd'; id[0]++)
        store_set(store, slice_of_string(id),
            (struct value){NULL, (const uint8_t *)large, sizeof(large)}, STORE_ACK_MEMORY, now,
            NULL);
    store_drain(store, now);
    advance(0);
    ck_assert_uint_eq(metrics()->persisting, 1); /* beyond the bytes, but one always */
    for (size_t i = 10; i < 13; i++) {
        ck_assert_uint_eq(asked[i].size, sizeof(large));
        dumped(i, 0);
    }
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

START_TEST(a_drain_waits_for_no_idling_and_no_backoff)
{
    set("a", "one");
    persist("a", NULL);
    dumped(0, BRAIN_EWAREHOUSE);
    set("b", "two");
    store_drain(store, now);
    advance(0);
    ck_assert_uint_eq(metrics()->persisting, 2);
    set("c", "three");
    ck_assert_uint_eq(metrics()->persisting, 3);
    for (size_t i = 1; i < 4; i++)
        dumped(i, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

START_TEST(large_values_are_kept_by_reference)
{
    struct block *block = block_create(100000);
    memset(block->bytes, 7, block->size);
    struct value most = {block, block->bytes + 10, 90000}, part = {block, block->bytes, 20000};
    store_set(store, slice_of_string("most"), most, STORE_ACK_MEMORY, now, NULL);
    store_set(store, slice_of_string("part"), part, STORE_ACK_MEMORY, now, NULL);
    struct value value;
    ck_assert_int_eq(store_get(store, slice_of_string("most"), now, &value, NULL), STORE_FOUND);
    ck_assert_ptr_eq(value.block, block);
    ck_assert_ptr_eq(value.data, block->bytes + 10);
    ck_assert_int_eq(store_get(store, slice_of_string("part"), now, &value, NULL), STORE_FOUND);
    ck_assert_ptr_ne(value.block, block);
    ck_assert_uint_eq(value.size, 20000);
    ck_assert_uint_eq(atomic_load(&block->references), 2);
    block_drop(block);
}
END_TEST

/* 100,000 objects come due at once: they go in slices of what the caller allows. */
START_TEST(a_mass_expiry_goes_in_slices)
{
    enum { OBJECTS = 100000, SLICE = 500 };
    at_once = true;
    for (uint32_t i = 0; i < OBJECTS; i++)
        ck_assert_int_eq(
            store_set(store, slice_of(&i, sizeof(i)), (struct value){NULL, (const uint8_t *)"x", 1},
                STORE_ACK_MEMORY, now, NULL),
            STORE_DONE);
    now += TTL + TTL / 16;
    unsigned slices = 1;
    for (uint64_t before = 0; store_advance(store, now, SLICE) == 0; slices++) {
        ck_assert_uint_le(metrics()->dumps_done - before, SLICE);
        before = metrics()->dumps_done;
    }
    ck_assert_uint_eq(metrics()->dumps_done, OBJECTS);
    ck_assert_uint_ge(slices, OBJECTS / SLICE);
    now += TTL + TTL / 16;
    while (store_advance(store, now, SLICE) == 0)
        ;
    ck_assert_uint_eq(metrics()->objects, 0);
    ck_assert_uint_eq(metrics()->dropped_idle, OBJECTS);
}
END_TEST

START_TEST(destroy_answers_those_who_wait)
{
    set("a", "one");
    persist("a", NULL);
    dumped(0, BRAIN_EWAREHOUSE);
    for (size_t i = 1; i < 5; i++) /* all places taken: the fifth waits in line */
        set((char[]){(char)('a' + i), 0}, "x"), persist((char[]){(char)('a' + i), 0}, NULL);
    ck_assert_int_eq(persist("a", &w[0]), STORE_WAIT);
    for (size_t i = 1; i < 5; i++)
        dumped(i, BRAIN_EWAREHOUSE);
    dumped(5, BRAIN_EWAREHOUSE);
    assert_answer(0, &w[0], BRAIN_EWAREHOUSE, "");
    set("z", "x");
    ck_assert_uint_eq(metrics()->dirty, 6);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/life");
    TCase *tcase = tcase_create("scenarios");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_set_is_read_at_once);
    tcase_add_test(tcase, one_load_answers_all_in_order);
    tcase_add_test(tcase, absent_and_failed_loads_leave_nothing);
    tcase_add_test(tcase, a_set_during_a_load_wins_and_keeps_the_order);
    tcase_add_test(tcase, a_failed_load_keeps_what_was_set_meanwhile);
    tcase_add_test(tcase, reads_time_out_and_let_those_behind_go);
    tcase_add_test(tcase, two_idle_steps);
    tcase_add_test(tcase, any_key_ttl_is_kept);
    tcase_add_test(tcase, a_write_during_a_dump_stays_dirty);
    tcase_add_test(tcase, written_after_persist_stays_in_ram);
    tcase_add_test(tcase, persist_of_clean_and_loading);
    tcase_add_test(tcase, failed_dumps_back_off);
    tcase_add_test(tcase, a_delete_is_a_tombstone_until_dumped);
    tcase_add_test(tcase, a_conflict_with_the_unknown_raises_the_epoch);
    tcase_add_test(tcase, a_conflict_with_the_known_sets_ours_aside);
    tcase_add_test(tcase, a_conflict_with_ourselves_is_a_success);
    tcase_add_test(tcase, dumps_are_bounded_and_p_goes_first);
    tcase_add_test(tcase, a_drain_waits_for_no_idling_and_no_backoff);
    tcase_add_test(tcase, large_values_are_kept_by_reference);
    tcase_add_test(tcase, a_mass_expiry_goes_in_slices);
    tcase_add_test(tcase, destroy_answers_those_who_wait);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
