/* The warehouse through its interface: what is stored comes back, nothing newer is overwritten, the
 * order of one id is kept, everything asked is answered. */
#include "brain/warehouse.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/stored.h"
#include "heap_fault.h"
#include "suite.h"
#include "warehouse_fixture.h"

enum { MAP = 1 << 20, TINY = 64 << 10 };

static const struct version none = {0, 0, 0};

START_TEST(round_trip)
{
    open_with(MAP);
    ck_assert_str_eq(warehouse_name(warehouse), "local");
    ck_assert_int_eq(load("user:1")->status, BRAIN_ENOENT);
    ck_assert(!order[0]->stored_known);
    ck_assert_int_eq(dump("user:1", at(1, 1), NULL, "one")->status, 0);
    expect_loaded("user:1", at(1, 1), "one");
    ck_assert_int_eq(load("user:2")->status, BRAIN_ENOENT);
    ck_assert_int_eq(dump("user:1", at(1, 2), NULL, "two")->status, 0);
    expect_loaded("user:1", at(1, 2), "two");
    ck_assert_str_eq(warehouse_last_error(warehouse), "");
}
END_TEST

START_TEST(tombstones)
{
    open_with(MAP);
    ck_assert_int_eq(dump("k", at(1, 1), NULL, "v")->status, 0);
    ck_assert_int_eq(drop("k", at(1, 2))->status, 0);
    const struct warehouse_request *request = load("k");
    ck_assert_int_eq(request->status, BRAIN_ENOENT);
    ck_assert(request->stored_known);
    ck_assert(request->stored_tombstone);
    ck_assert_int_eq(version_compare(request->stored, at(1, 2)), 0);
    ck_assert_ptr_null(request->loaded.block);
    /* What was deleted does not come back by a late write. */
    request = dump("k", at(1, 1), NULL, "v");
    ck_assert_int_eq(request->status, BRAIN_ECONFLICT);
    ck_assert(request->stored_tombstone);
    ck_assert_int_eq(load("k")->status, BRAIN_ENOENT);
    ck_assert_int_eq(dump("k", at(1, 3), NULL, "again")->status, 0);
    expect_loaded("k", at(1, 3), "again");
    ck_assert_int_eq(drop("never", at(1, 4))->status, 0);
}
END_TEST

static void expect_conflict(const struct warehouse_request *request, struct version there)
{
    ck_assert_int_eq(request->status, BRAIN_ECONFLICT);
    ck_assert(request->stored_known);
    ck_assert_int_eq(version_compare(request->stored, there), 0);
}

static const struct warehouse_request *forget(const char *id, struct version expected)
{
    struct warehouse_request *request = new_request(WAREHOUSE_FORGET, id);
    request->expected = expected;
    request->expected_known = true;
    submit(request);
    wait_for(answered + 1);
    return request;
}

/* Only the tombstone that is meant goes: not a later one, and never a value. */
START_TEST(forgotten_tombstones)
{
    open_with(MAP);
    ck_assert(warehouse_forgets(warehouse));
    ck_assert_int_eq(drop("k", at(1, 2))->status, 0);
    ck_assert_uint_gt(load("k")->stored_unix_ms, 1700000000000);
    ck_assert_int_eq(forget("k", at(1, 1))->status, 0);
    ck_assert(load("k")->stored_tombstone);
    ck_assert_int_eq(forget("k", at(1, 2))->status, 0);
    ck_assert(!load("k")->stored_known);
    ck_assert_int_eq(forget("k", at(1, 2))->status, 0);
    ck_assert_int_eq(dump("k", at(1, 3), NULL, "v")->status, 0);
    ck_assert_int_eq(forget("k", at(1, 3))->status, 0);
    expect_loaded("k", at(1, 3), "v");
}
END_TEST

START_TEST(preconditions)
{
    struct version first = at(1, 5), other = at(1, 4);
    open_with(MAP);
    /* Known to hold none. */
    ck_assert_int_eq(dump("k", first, &none, "first")->status, 0);
    expect_conflict(dump("k", at(1, 6), &none, "no"), first);
    /* Known to hold a version, and it does; or another; or none. */
    expect_conflict(dump("k", at(1, 6), &other, "no"), first);
    ck_assert_int_eq(dump("k", at(1, 6), &first, "second")->status, 0);
    expect_conflict(dump("k", at(1, 7), &first, "no"), at(1, 6));
    expect_conflict(dump("absent", at(1, 7), &first, "no"), none);
    /* Not known: newer wins. */
    ck_assert_int_eq(dump("k", at(2, 1), NULL, "third")->status, 0);
    expect_conflict(dump("k", at(1, 9), NULL, "no"), at(2, 1));
    /* This very version: an earlier attempt of ours had succeeded. */
    ck_assert_int_eq(dump("k", at(2, 1), NULL, "third")->status, 0);
    ck_assert_int_eq(dump("k", at(2, 1), &first, "third")->status, 0);
    /* A view outranks a counter, a counter a number. */
    ck_assert_int_eq(dump("k", (struct version){1, 0, 0}, NULL, "fourth")->status, 0);
    expect_conflict(dump("k", at(99, 99), NULL, "no"), (struct version){1, 0, 0});
    expect_loaded("k", (struct version){1, 0, 0}, "fourth");
    ck_assert_str_eq(warehouse_last_error(warehouse), "");
}
END_TEST

START_TEST(foreign_and_damaged_objects)
{
    struct buffer bytes;
    open_with(MAP);
    ck_assert_int_eq(dump("k", at(1, 1), NULL, "value")->status, 0);
    close_all();
    struct slice good = get_raw("k");
    ck_assert_ptr_nonnull(good.data);

    buffer_init(&bytes);
    buffer_append_slice(&bytes, good);
    bytes.data[bytes.size - 1] ^= 1;
    put_raw("damaged", slice_of_string("not ours"));
    put_raw("k", buffer_slice(&bytes));
    put_raw("stranger", good); /* another object's bytes */
    put_raw("empty", slice_of_string(""));

    open_with(MAP);
    static const char *const names[] = {"damaged", "stranger", "empty"};
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(load(names[i])->status, BRAIN_ECORRUPT);
        ck_assert_int_eq(dump(names[i], at(9, 9), NULL, "x")->status, BRAIN_ECORRUPT);
        ck_assert_int_eq(drop(names[i], at(9, 9))->status, BRAIN_ECORRUPT);
        ck_assert_int_eq(load(names[i])->status, BRAIN_ECORRUPT);
    }
    /* A value that fails its checksum is not handed out; its version can be read, so it can be
     * replaced. */
    ck_assert_int_eq(load("k")->status, BRAIN_ECORRUPT);
    ck_assert_ptr_null(order[0]->loaded.block);
    ck_assert_int_eq(dump("k", at(1, 2), NULL, "new")->status, 0);
    expect_loaded("k", at(1, 2), "new");
    close_all();
    struct slice left = get_raw("damaged");
    ck_assert(slice_equal_string(left, "not ours"));
    heap_release((void *)left.data);
    heap_release((void *)good.data);
    buffer_release(&bytes);
}
END_TEST

START_TEST(set_aside)
{
    struct stored stored;
    char long_id[1025];
    open_with(MAP);
    ck_assert_int_eq(dump("user:1", at(2, 1), NULL, "newer")->status, 0);
    struct warehouse_request *request = new_dump("user:1", at(1, 7), NULL, slice_of_string("late"));
    request->operation = WAREHOUSE_SET_ASIDE;
    fixture_reset();
    submit(request);
    wait_for(1);
    ck_assert_int_eq(request->status, 0);
    expect_loaded("user:1", at(2, 1), "newer");
    memset(long_id, ':', 1024);
    long_id[1024] = '\0';
    request = new_dump(long_id, (struct version){UINT64_MAX, UINT64_MAX, UINT64_MAX}, NULL,
        slice_of_string("late"));
    request->operation = WAREHOUSE_SET_ASIDE;
    fixture_reset();
    submit(request);
    wait_for(1);
    ck_assert_int_eq(request->status, 0);
    close_all();

    struct slice kept = get_raw("!conflict/user%3A1/0.1.7");
    ck_assert_ptr_nonnull(kept.data);
    ck_assert_int_eq(stored_read(kept, slice_of_string("user:1"), &stored), 0);
    ck_assert(slice_equal_string(stored.value, "late"));
    heap_release((void *)kept.data);
}
END_TEST

/* ---- order ----------------------------------------------------------------------------------- */

START_TEST(order_of_one_id)
{
    enum { ROUNDS = 300 };
    open_with(MAP);
    char text[32];
    for (unsigned i = 0; i < ROUNDS; i++) {
        snprintf(text, sizeof(text), "%u", i);
        submit(new_request(WAREHOUSE_LOAD, "k"));
        submit(new_dump("k", at(1, i + 1), NULL, slice_of_string(text)));
    }
    wait_for(2 * ROUNDS);
    unsigned next = 0;
    for (unsigned i = 0; i < answered; i++) {
        if (order[i]->operation != WAREHOUSE_LOAD)
            continue;
        /* The n-th load sees the n-th version, none at first. */
        if (next == 0) {
            ck_assert_int_eq(order[i]->status, BRAIN_ENOENT);
        } else {
            snprintf(text, sizeof(text), "%u", next - 1);
            ck_assert_int_eq(order[i]->status, 0);
            ck_assert(slice_equal_string(value_slice(order[i]->loaded), text));
        }
        next++;
    }
    ck_assert_uint_eq(next, ROUNDS);
}
END_TEST

START_TEST(loads_overtake_dumps_of_others)
{
    /* Six batches of 8 MB; their values are one, so that asking takes no time. */
    enum { DUMPS = 96, BYTES = 512 << 10 };
    char id[32];
    open_with(MAP);
    ck_assert_int_eq(dump("wanted", at(1, 1), NULL, "here")->status, 0);
    fixture_reset();
    uint8_t *text = calloc(1, BYTES);
    struct value shared = value_copy(slice_of(text, BYTES));
    free(text);
    for (unsigned i = 0; i < DUMPS; i++) {
        snprintf(id, sizeof(id), "other:%u", i);
        struct warehouse_request *request = new_request(WAREHOUSE_DUMP, id);
        request->version = at(1, 1);
        request->value = value_hold(shared);
        submit(request);
    }
    value_drop(&shared);
    struct warehouse_request *request = new_request(WAREHOUSE_LOAD, "wanted");
    submit(request);
    wait_for(DUMPS + 1);
    unsigned place = 0;
    while (order[place] != request)
        place++;
    ck_assert_int_eq(request->status, 0);
    /* Behind the batches that were under way or done when it came, before the rest. */
    ck_assert_uint_le(place, DUMPS - 16);
}
END_TEST

START_TEST(close_completes_everything)
{
    enum { COUNT = 3000 };
    char id[32];
    open_with(TINY);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(id, sizeof(id), "k:%u", i);
        submit(new_dump(id, at(1, 1), NULL, slice_of_string("some value")));
        submit(new_request(WAREHOUSE_LOAD, id));
    }
    close_all();
    ck_assert_uint_eq(answered, 2 * COUNT);
    for (unsigned i = 0; i < answered; i++)
        ck_assert_int_eq(order[i]->status, 0);
    open_with(TINY);
    expect_loaded("k:2999", at(1, 1), "some value");
}
END_TEST

/* ---- size ------------------------------------------------------------------------------------ */

START_TEST(growth_with_loads_between)
{
    enum { COUNT = 400, BYTES = 30000 };
    uint8_t *text = malloc(BYTES);
    char id[32];
    open_with(TINY);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(id, sizeof(id), "k:%u", i);
        memset(text, (int)(i & 0xff), BYTES);
        submit(new_dump(id, at(1, i + 1), NULL, slice_of(text, BYTES)));
        snprintf(id, sizeof(id), "k:%u", i / 2);
        submit(new_request(WAREHOUSE_LOAD, id));
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    wait_for(2 * COUNT);
    unsigned loads = 0;
    for (unsigned i = 0; i < answered; i++) {
        ck_assert_int_eq(order[i]->status, 0);
        if (order[i]->operation != WAREHOUSE_LOAD)
            continue;
        loads++;
        ck_assert_uint_eq(order[i]->loaded.size, BYTES);
        memset(text, (int)((order[i]->stored.seq - 1) & 0xff), BYTES);
        ck_assert_mem_eq(order[i]->loaded.data, text, BYTES);
    }
    ck_assert_uint_eq(loads, COUNT);
    free(text);
}
END_TEST

START_TEST(twenty_thousand)
{
    enum { COUNT = 20000 };
    char id[32], text[32];
    open_with(MAP);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(id, sizeof(id), "user:%u", i);
        submit(new_dump(id, at(1, 1), NULL, slice_of_string(id)));
    }
    wait_for(COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_int_eq(order[i]->status, 0);
    close_all();
    fixture_reset();
    open_with(TINY); /* smaller than the file: its size is taken */
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(id, sizeof(id), "user:%u", i);
        submit(new_request(WAREHOUSE_LOAD, id));
    }
    wait_for(COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), "%.*s", (int)order[i]->id_size, (const char *)order[i]->id);
        ck_assert_int_eq(order[i]->status, 0);
        ck_assert(slice_equal_string(value_slice(order[i]->loaded), text));
    }
}
END_TEST

START_TEST(twenty_megabytes)
{
    const size_t size = 20 << 20;
    uint8_t *text = malloc(size);
    for (size_t i = 0; i < size; i++)
        text[i] = (uint8_t)(i * 2654435761u >> 24);
    open_with(TINY);
    submit(new_dump("big", at(1, 1), NULL, slice_of(text, size)));
    wait_for(1);
    ck_assert_int_eq(order[0]->status, 0);
    const struct warehouse_request *request = load("big");
    ck_assert_int_eq(request->status, 0);
    ck_assert_uint_eq(request->loaded.size, size);
    ck_assert_mem_eq(request->loaded.data, text, size);
    ck_assert_ptr_eq(request->loaded.data, request->loaded.block->bytes);
    free(text);
}
END_TEST

/* Every length of id, of bytes that are encoded and of bytes that are not; the longest have the
 * same beginning, so a cut name would mix them up. */
START_TEST(long_ids)
{
    char id[1025], text[32];
    open_with(MAP);
    for (int fill = 0; fill < 2; fill++) {
        unsigned asked = 0;
        fixture_reset();
        for (size_t size = 1; size <= 1024; size++) {
            memset(id, fill == 0 ? 'a' : ':', size);
            id[size] = '\0';
            snprintf(text, sizeof(text), "%zu", size);
            submit(new_dump(id, at(1, 1), NULL, slice_of_string(text)));
            submit(new_request(WAREHOUSE_LOAD, id));
            asked += 2;
        }
        wait_for(asked);
        for (unsigned i = 0; i < answered; i++) {
            ck_assert_int_eq(order[i]->status, 0);
            snprintf(text, sizeof(text), "%zu", order[i]->id_size);
            if (order[i]->operation == WAREHOUSE_LOAD)
                ck_assert(slice_equal_string(value_slice(order[i]->loaded), text));
        }
    }
}
END_TEST

START_TEST(metrics)
{
    struct metrics_registry registry = {.count = 0};
    open_with(MAP);
    warehouse_metrics_register(&registry, warehouse);
    ck_assert_uint_eq(registry.count, 6);
    ck_assert_str_eq(registry.metrics[0].name, "loads");
    ck_assert_int_eq(dump("k", at(1, 1), NULL, "12345")->status, 0);
    ck_assert_int_eq(load("k")->status, 0);
    ck_assert_int_eq(load("none")->status, BRAIN_ENOENT);
    ck_assert_uint_eq(*registry.metrics[0].value, 2); /* loads */
    ck_assert_uint_eq(*registry.metrics[1].value, 1); /* dumps */
    ck_assert_uint_eq(*registry.metrics[2].value, 0); /* errors */
    ck_assert_uint_eq(*registry.metrics[3].value, 0); /* queued */
    ck_assert_uint_eq(*registry.metrics[4].value, 5);
    ck_assert_uint_eq(*registry.metrics[5].value, 5);
}
END_TEST

/* Whatever allocation fails, also on the thread: an error that says so or success, nothing lost. */
START_TEST(no_memory)
{
    for (unsigned n = 1;; n++) {
        heap_fault_start(n);
        bool good = try_open(MAP) == 0;
        if (good) {
            struct warehouse_request *request =
                new_dump("user:1", at(epoch.counter, 1), NULL, slice_of_string("v"));
            if (request->value.block == NULL) {
                good = false;
                free(request);
            } else {
                fixture_reset();
                submit(request);
                wait_for(1);
                good = request->status == 0;
                ck_assert(good || request->status == BRAIN_EWAREHOUSE);
                ck_assert_int_eq(good, warehouse_last_error(warehouse)[0] == '\0');
            }
            if (good) {
                int status = load("user:1")->status;
                good = status == 0;
                ck_assert(good || status == BRAIN_EWAREHOUSE);
            }
            close_all();
        }
        fixture_reset();
        bool failed = heap_fault_stop();
        ck_assert_int_eq(good, !failed);
        if (!failed)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("warehouse");
    TCase *tcase = tcase_create("objects");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, round_trip);
    tcase_add_test(tcase, tombstones);
    tcase_add_test(tcase, preconditions);
    tcase_add_test(tcase, foreign_and_damaged_objects);
    tcase_add_test(tcase, forgotten_tombstones);
    tcase_add_test(tcase, set_aside);
    tcase_add_test(tcase, metrics);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    TCase *sequence = tcase_create("order");
    tcase_add_checked_fixture(sequence, set_up, tear_down);
    tcase_set_timeout(sequence, 60);
    tcase_add_test(sequence, order_of_one_id);
    tcase_add_test(sequence, loads_overtake_dumps_of_others);
    tcase_add_test(sequence, close_completes_everything);
    suite_add_tcase(suite, sequence);
    TCase *size = tcase_create("size");
    tcase_add_checked_fixture(size, set_up, tear_down);
    tcase_set_timeout(size, 120);
    tcase_add_test(size, growth_with_loads_between);
    tcase_add_test(size, twenty_thousand);
    tcase_add_test(size, twenty_megabytes);
    tcase_add_test(size, long_ids);
    suite_add_tcase(suite, size);

    return suite_run(suite);
}
