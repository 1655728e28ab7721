/* dispatch: loads first, a bounded number under way, the order of one id, deadlines; the last test
 * compares it with its rules over random histories. */
#include "dispatch.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

static struct dispatch dispatch;
static struct warehouse_request requests[64];

static struct warehouse_request *add(
    unsigned index, enum warehouse_operation operation, const char *id, uint64_t deadline_ms)
{
    struct warehouse_request *request = &requests[index];
    memset(request, 0, sizeof(*request));
    request->operation = operation;
    request->id_size = strlen(id);
    memcpy(request->id, id, request->id_size);
    request->id_hash = (uint32_t)id[0] % 2; /* ids share lanes' buckets */
    request->deadline_ms = deadline_ms;
    dispatch_add(&dispatch, request);
    return request;
}

START_TEST(loads_go_first)
{
    dispatch_init(&dispatch, 4);
    for (unsigned i = 0; i < 4; i++)
        add(i, WAREHOUSE_DUMP, (const char[]){(char)('a' + i), '\0'}, 0);
    struct warehouse_request *load = add(4, WAREHOUSE_LOAD, "z", 0);
    ck_assert_ptr_eq(dispatch_next(&dispatch), load);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[0]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[1]);
    /* Half of four is for loads, however many writes there are. */
    ck_assert_ptr_null(dispatch_next(&dispatch));
    load = add(5, WAREHOUSE_LOAD, "y", 0);
    ck_assert_ptr_eq(dispatch_next(&dispatch), load);
    add(6, WAREHOUSE_LOAD, "x", 0);
    ck_assert_ptr_null(dispatch_next(&dispatch));
    dispatch_done(&dispatch, &requests[0]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[6]);
    dispatch_done(&dispatch, &requests[6]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[2]);
    ck_assert_uint_eq(dispatch.count, 5);
}
END_TEST

START_TEST(one_slot)
{
    dispatch_init(&dispatch, 1);
    add(0, WAREHOUSE_DUMP, "a", 0);
    add(1, WAREHOUSE_LOAD, "b", 0);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[1]);
    ck_assert_ptr_null(dispatch_next(&dispatch));
    dispatch_done(&dispatch, &requests[1]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[0]);
}
END_TEST

START_TEST(one_id_keeps_its_order)
{
    dispatch_init(&dispatch, 8);
    add(0, WAREHOUSE_DUMP, "a", 0);
    add(1, WAREHOUSE_LOAD, "a", 0);
    add(2, WAREHOUSE_SET_ASIDE, "a", 0);
    add(3, WAREHOUSE_LOAD, "c", 0); /* the same bucket */
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[3]);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[i]);
        ck_assert_ptr_null(dispatch_next(&dispatch));
        dispatch_done(&dispatch, &requests[i]);
    }
    dispatch_done(&dispatch, &requests[3]);
    ck_assert_uint_eq(dispatch.count, 0);
}
END_TEST

START_TEST(deadlines)
{
    dispatch_init(&dispatch, 1);
    add(0, WAREHOUSE_LOAD, "a", 10);
    add(1, WAREHOUSE_LOAD, "b", 20);
    add(2, WAREHOUSE_LOAD, "b", 30);
    add(3, WAREHOUSE_DUMP, "d", 20);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[0]);
    /* What is under way is the driver's to end. */
    ck_assert_ptr_null(dispatch_expire(&dispatch, 19));
    ck_assert_ptr_eq(dispatch_expire(&dispatch, 25), &requests[1]);
    ck_assert_ptr_eq(dispatch_expire(&dispatch, 25), &requests[3]);
    ck_assert_ptr_null(dispatch_expire(&dispatch, 25));
    dispatch_limit(&dispatch, 15);
    ck_assert_uint_eq(requests[0].deadline_ms, 10);
    ck_assert_ptr_eq(dispatch_expire(&dispatch, 15), &requests[2]);
    add(4, WAREHOUSE_LOAD, "e", 99); /* the queue is whole */
    dispatch_done(&dispatch, &requests[0]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[4]);
    dispatch_done(&dispatch, &requests[4]);
    ck_assert_uint_eq(dispatch.count, 0);
}
END_TEST

START_TEST(dumps_that_have_not_begun_are_taken_back)
{
    dispatch_init(&dispatch, 2);
    add(0, WAREHOUSE_DUMP, "a", 0);
    add(1, WAREHOUSE_SET_ASIDE, "b", 0);
    add(2, WAREHOUSE_DUMP, "c", 0);
    add(3, WAREHOUSE_LOAD, "c", 0);
    add(4, WAREHOUSE_DUMP, "d", 0);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[0]);
    ck_assert_ptr_eq(dispatch_take_back(&dispatch), &requests[2]);
    ck_assert_ptr_eq(dispatch_take_back(&dispatch), &requests[4]);
    ck_assert_ptr_null(dispatch_take_back(&dispatch));
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[3]); /* it was behind one of them */
    dispatch_done(&dispatch, &requests[0]);
    dispatch_done(&dispatch, &requests[3]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[1]);
    dispatch_done(&dispatch, &requests[1]);
    ck_assert_uint_eq(dispatch.count, 0);
}
END_TEST

START_TEST(random_histories)
{
    enum { COUNT = 64, IDS = 5 };
    for (unsigned seed = 1; seed <= 300; seed++) {
        srand(seed);
        unsigned parallel = 1 + (unsigned)rand() % 5, added = 0, over = 0, under_way = 0;
        unsigned next_of[IDS] = {0}, writes = 0;
        unsigned number_of[COUNT], count_of[IDS] = {0};
        struct warehouse_request *running[8];
        dispatch_init(&dispatch, parallel);
        while (over < COUNT) {
            unsigned what = (unsigned)rand() % 4;
            if (what == 0 && added < COUNT) {
                unsigned id = (unsigned)rand() % IDS;
                number_of[added] = count_of[id]++;
                add(added, rand() % 2 ? WAREHOUSE_LOAD : WAREHOUSE_DUMP,
                    (const char[]){(char)('a' + id), '\0'}, (uint64_t)rand() % 100);
                added++;
                continue;
            }
            struct warehouse_request *request = NULL;
            if (what == 1 && under_way > 0) {
                unsigned index = (unsigned)rand() % under_way;
                request = running[index];
                running[index] = running[--under_way];
                writes -= request->operation != WAREHOUSE_LOAD;
                dispatch_done(&dispatch, request);
                next_of[request->id[0] - 'a']++;
                over++;
            } else if (what == 2 && (request = dispatch_expire(&dispatch, seed % 3)) != NULL) {
                ck_assert_uint_le(request->deadline_ms, seed % 3);
                ck_assert_uint_eq(number_of[request - requests], next_of[request->id[0] - 'a']);
                next_of[request->id[0] - 'a']++;
                over++;
            } else if (what == 3 && (request = dispatch_next(&dispatch)) != NULL) {
                /* Its turn among those of its id, and none of them is under way. */
                ck_assert_uint_eq(number_of[request - requests], next_of[request->id[0] - 'a']);
                for (unsigned i = 0; i < under_way; i++)
                    ck_assert_int_ne(running[i]->id[0], request->id[0]);
                running[under_way++] = request;
                writes += request->operation != WAREHOUSE_LOAD;
                ck_assert_uint_le(under_way, parallel);
                ck_assert_uint_le(writes, parallel == 1 ? 1 : parallel / 2);
            }
            ck_assert_uint_eq(dispatch.count, added - over);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dispatch");
    TCase *tcase = tcase_create("dispatch");
    tcase_add_test(tcase, loads_go_first);
    tcase_add_test(tcase, one_slot);
    tcase_add_test(tcase, one_id_keeps_its_order);
    tcase_add_test(tcase, deadlines);
    tcase_add_test(tcase, dumps_that_have_not_begun_are_taken_back);
    tcase_add_test(tcase, random_histories);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
