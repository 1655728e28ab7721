/* dispatch: what is waited for first, a bounded number under way, the order of one id, what waits
 * for too long; the last test compares it with its rules over random histories. */
#include "dispatch.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

static struct dispatch dispatch;
static struct warehouse_request requests[64];

static struct warehouse_request *add_for(bool wanted, unsigned index,
    enum warehouse_operation operation, const char *id, uint64_t queued_ms)
{
    struct warehouse_request *request = &requests[index];
    memset(request, 0, sizeof(*request));
    request->operation = operation;
    request->id_size = strlen(id);
    memcpy(request->id, id, request->id_size);
    request->id_hash = (uint32_t)id[0] % 2; /* ids share lanes' buckets */
    request->queued_ms = queued_ms;
    request->wanted = wanted;
    dispatch_add(&dispatch, request);
    return request;
}

/* As it mostly is: somebody waits for a load, nobody for a write. */
static struct warehouse_request *add(
    unsigned index, enum warehouse_operation operation, const char *id, uint64_t queued_ms)
{
    return add_for(operation == WAREHOUSE_LOAD, index, operation, id, queued_ms);
}

static const char *letter(unsigned index)
{
    static char text[2];
    text[0] = (char)('A' + index);
    return text;
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

/* A read does not wait behind what nobody waits for, loads or writes, however many there are. */
START_TEST(what_is_waited_for_goes_first)
{
    dispatch_init(&dispatch, 8);
    for (unsigned i = 0; i < 20; i++)
        add_for(false, i, i % 2 ? WAREHOUSE_DUMP : WAREHOUSE_LOAD, letter(i), 0);
    /* In the order in which they came, and no more than half of eight. */
    for (unsigned i = 0; i < 4; i++)
        ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[i]);
    ck_assert_ptr_null(dispatch_next(&dispatch));
    add_for(true, 20, WAREHOUSE_DUMP, letter(20), 0);
    add_for(true, 21, WAREHOUSE_LOAD, letter(21), 0);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[21]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[20]);
    ck_assert_ptr_null(dispatch_next(&dispatch));
    dispatch_done(&dispatch, &requests[20]);
    ck_assert_ptr_null(dispatch_next(&dispatch));
    dispatch_done(&dispatch, &requests[0]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[4]);
}
END_TEST

/* Reads without end do not keep the rest from being served. */
START_TEST(nothing_waits_for_ever)
{
    dispatch_init(&dispatch, 1);
    add_for(false, 0, WAREHOUSE_LOAD, "a", 0);
    add_for(false, 1, WAREHOUSE_DUMP, "b", 0);
    add_for(true, 2, WAREHOUSE_DUMP, "c", 0);
    unsigned turns_of[3] = {0}, turns = 0;
    for (unsigned i = 3; i < 60; i++) {
        add_for(true, i, WAREHOUSE_LOAD, letter(i), 0);
        struct warehouse_request *request = dispatch_next(&dispatch);
        turns++;
        if (request - requests < 3)
            turns_of[request - requests] = turns;
        dispatch_done(&dispatch, request);
    }
    ck_assert_uint_eq(turns_of[0], 8);
    ck_assert_uint_eq(turns_of[1], 16);
    ck_assert_uint_eq(turns_of[2], 24);
}
END_TEST

START_TEST(somebody_comes_to_wait)
{
    dispatch_init(&dispatch, 2);
    add_for(false, 0, WAREHOUSE_LOAD, "a", 0);
    add_for(false, 1, WAREHOUSE_LOAD, "b", 0);
    add_for(false, 2, WAREHOUSE_LOAD, "c", 0);
    add_for(false, 3, WAREHOUSE_LOAD, "d", 0);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[0]);
    ck_assert_ptr_null(dispatch_next(&dispatch));
    dispatch_promote(&dispatch, 7); /* none */
    ck_assert_ptr_null(dispatch_next(&dispatch));
    requests[3].wanted = true;
    dispatch_promote(&dispatch, 7);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[3]);
    ck_assert_uint_eq(requests[3].queued_ms, 7);
    /* The queue that it left is whole, and what is under way counts as it began. */
    requests[0].wanted = true;
    add_for(false, 4, WAREHOUSE_LOAD, "e", 0);
    dispatch_done(&dispatch, &requests[3]);
    ck_assert_ptr_null(dispatch_next(&dispatch));
    dispatch_done(&dispatch, &requests[0]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[1]);
    dispatch_done(&dispatch, &requests[1]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[2]);
    dispatch_done(&dispatch, &requests[2]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[4]);
    dispatch_done(&dispatch, &requests[4]);
    ck_assert_uint_eq(dispatch.count, 0);
}
END_TEST

/* What is before it in its lane goes first, so that goes before others. */
START_TEST(who_is_waited_for_takes_its_lane_along)
{
    dispatch_init(&dispatch, 2);
    add_for(false, 0, WAREHOUSE_DUMP, "a", 0);
    add_for(false, 1, WAREHOUSE_DUMP, "b", 0);
    add_for(false, 2, WAREHOUSE_SET_ASIDE, "b", 0);
    add_for(true, 3, WAREHOUSE_LOAD, "b", 5);
    ck_assert_uint_eq(requests[1].queued_ms, 5);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[1]);
    ck_assert_ptr_null(dispatch_next(&dispatch));
    dispatch_done(&dispatch, &requests[1]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[2]);
    dispatch_done(&dispatch, &requests[2]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[3]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[0]);
    /* Promoted behind one that waits. */
    add_for(false, 4, WAREHOUSE_DUMP, "c", 0);
    add_for(false, 5, WAREHOUSE_DUMP, "d", 0);
    add_for(false, 6, WAREHOUSE_LOAD, "d", 0);
    requests[6].wanted = true;
    dispatch_promote(&dispatch, 0);
    dispatch_done(&dispatch, &requests[0]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[5]);
}
END_TEST

START_TEST(what_waits_for_too_long)
{
    dispatch_init(&dispatch, 1);
    add(0, WAREHOUSE_LOAD, "a", 10);
    add(1, WAREHOUSE_LOAD, "b", 20);
    add(2, WAREHOUSE_LOAD, "b", 30);
    add(3, WAREHOUSE_DUMP, "d", 20);
    add_for(false, 4, WAREHOUSE_LOAD, "e", 20);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[0]);
    /* What is under way is the driver's to end. */
    ck_assert_ptr_null(dispatch_expire(&dispatch, 19, false));
    /* The store answers: nobody waits for loads any more, all else waits on. */
    ck_assert_ptr_eq(dispatch_expire(&dispatch, 25, true), &requests[1]);
    ck_assert_ptr_null(dispatch_expire(&dispatch, 25, true));
    /* It does not. */
    ck_assert_ptr_eq(dispatch_expire(&dispatch, 25, false), &requests[4]);
    ck_assert_ptr_eq(dispatch_expire(&dispatch, 25, false), &requests[3]);
    ck_assert_ptr_null(dispatch_expire(&dispatch, 25, false));
    ck_assert_ptr_eq(dispatch_expire(&dispatch, UINT64_MAX, false), &requests[2]);
    requests[0].deadline_ms = 99;
    dispatch_limit(&dispatch, 15);
    ck_assert_uint_eq(requests[0].deadline_ms, 15);
    dispatch_limit(&dispatch, 16);
    ck_assert_uint_eq(requests[0].deadline_ms, 15);
    add(5, WAREHOUSE_LOAD, "e", 99); /* the queue is whole */
    dispatch_done(&dispatch, &requests[0]);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[5]);
    dispatch_done(&dispatch, &requests[5]);
    ck_assert_uint_eq(dispatch.count, 0);
}
END_TEST

START_TEST(dumps_that_have_not_begun_are_taken_back)
{
    dispatch_init(&dispatch, 2);
    add(0, WAREHOUSE_DUMP, "a", 0);
    ck_assert_ptr_eq(dispatch_next(&dispatch), &requests[0]);
    add(1, WAREHOUSE_SET_ASIDE, "b", 0);
    add(2, WAREHOUSE_DUMP, "c", 0);
    add(3, WAREHOUSE_LOAD, "c", 0);
    add(4, WAREHOUSE_DUMP, "d", 0);
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

/* A random history: what was added, and what became of it. */
enum { COUNT = 57, IDS = 5 };
struct history {
    unsigned parallel, added, over, under_way, writes, unwanted;
    unsigned next_of[IDS], number_of[COUNT], count_of[IDS];
    bool began_wanted[COUNT];
    struct warehouse_request *running[8];
};

static void history_add(struct history *h)
{
    unsigned id = (unsigned)rand() % IDS;
    h->number_of[h->added] = h->count_of[id]++;
    add_for(rand() % 2, h->added, rand() % 2 ? WAREHOUSE_LOAD : WAREHOUSE_DUMP, letter(id),
        (uint64_t)rand() % 100);
    h->added++;
}

/* Its turn among those of its id. */
static void history_left(struct history *h, const struct warehouse_request *request)
{
    unsigned id = (unsigned)(request->id[0] - 'A');
    ck_assert_uint_eq(h->number_of[request - requests], h->next_of[id]);
    h->next_of[id]++;
    h->over++;
}

static void history_begin(struct history *h)
{
    bool waited_for = false, turn = dispatch.begun % 8 == 7;
    for (unsigned i = DISPATCH_WANTED_LOADS; i <= DISPATCH_WANTED_WRITES; i++)
        waited_for = waited_for || (dispatch.queues[i].first &&
                                       (i == DISPATCH_WANTED_LOADS ||
                                           h->writes < (h->parallel == 1 ? 1 : h->parallel / 2)));
    struct warehouse_request *request = dispatch_next(&dispatch);
    if (request == NULL) {
        ck_assert(!waited_for || h->under_way == h->parallel);
        return;
    }
    ck_assert_uint_eq(h->number_of[request - requests], h->next_of[request->id[0] - 'A']);
    for (unsigned i = 0; i < h->under_way; i++)
        ck_assert_int_ne(h->running[i]->id[0], request->id[0]);
    ck_assert(!waited_for || request->lane.wanted || turn);
    h->began_wanted[request - requests] = request->lane.wanted;
    h->running[h->under_way++] = request;
    h->writes += request->operation != WAREHOUSE_LOAD;
    h->unwanted += !request->lane.wanted;
    ck_assert_uint_le(h->under_way, h->parallel);
    ck_assert_uint_le(h->writes, h->parallel == 1 ? 1 : h->parallel / 2);
    ck_assert_uint_le(h->unwanted, h->parallel == 1 ? 1 : h->parallel / 2);
}

static void history_end(struct history *h)
{
    unsigned index = (unsigned)rand() % h->under_way;
    struct warehouse_request *request = h->running[index];
    h->running[index] = h->running[--h->under_way];
    h->writes -= request->operation != WAREHOUSE_LOAD;
    h->unwanted -= !h->began_wanted[request - requests];
    dispatch_done(&dispatch, request);
    history_left(h, request);
}

START_TEST(random_histories)
{
    for (unsigned seed = 1; seed <= 150; seed++) {
        srand(seed);
        struct history history = {.parallel = 1 + (unsigned)rand() % 5}, *h = &history;
        dispatch_init(&dispatch, h->parallel);
        while (h->over < COUNT) {
            const struct warehouse_request *request;
            unsigned what = (unsigned)rand() % 5;
            bool loads = rand() % 2;
            if (what == 0 && h->added < COUNT) {
                history_add(h);
            } else if (what == 1 && h->under_way > 0) {
                history_end(h);
            } else if (what == 2 &&
                       (request = dispatch_expire(&dispatch, seed % 3, loads)) != NULL) {
                ck_assert_uint_le(request->queued_ms, seed % 3);
                ck_assert(!loads || request->operation == WAREHOUSE_LOAD);
                history_left(h, request);
            } else if (what == 3) {
                history_begin(h);
            } else if (what == 4 && h->added > 0) {
                requests[(unsigned)rand() % h->added].wanted = true;
                dispatch_promote(&dispatch, (uint64_t)rand() % 100);
            }
            ck_assert_uint_eq(dispatch.count, h->added - h->over);
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
    tcase_add_test(tcase, what_is_waited_for_goes_first);
    tcase_add_test(tcase, nothing_waits_for_ever);
    tcase_add_test(tcase, somebody_comes_to_wait);
    tcase_add_test(tcase, who_is_waited_for_takes_its_lane_along);
    tcase_add_test(tcase, what_waits_for_too_long);
    tcase_add_test(tcase, dumps_that_have_not_begun_are_taken_back);
    tcase_add_test(tcase, random_histories);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
