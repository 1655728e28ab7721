/* A higher epoch that an owner asked for (R4), and is granted when it owns the id no more. */
#include <check.h>

#include "cluster_net.h"
#include "suite.h"

static struct net net;

enum { A = 0, B = 1, C = 2, ABC = 7, BC = 6 };

static const char *id;

/* A owns what C is the home of, and has asked for a higher epoch; the grant is on its way. */
static void a_asks_for_more(void)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    id = net_id(ABC, C, BC, -1, -1, -1);
    net_store(&net, id, (struct version){1, 1, 1}, "old");
    ck_assert_str_eq(net_read(&net, A, id), "old");
    ck_assert(net_owns(&net, A, id));
    net_hold(&net, "grant", C, A);
    struct version stored = {9, 1, 1};
    net_store(&net, id, stored, "newer");
    cluster_object_outdated(net.nodes[A].cluster, slice_of_string(id), stored, net.now_ms);
    net_settle(&net, true);
    ck_assert_uint_eq(net_count(&net, "grant", C, A), 1);
}

static bool nothing_is_under_way(int node)
{
    return cluster_is_idle(net.nodes[node].cluster, slice_of_string(id));
}

static uint64_t claims(int node)
{
    return cluster_metrics(net.nodes[node].cluster, net.now_ms)->claims;
}

/* What is granted is adopted, loaded, and since nobody asks for it released again: once. */
START_TEST(what_was_released_meanwhile_is_taken_once)
{
    a_asks_for_more();
    ck_assert(net_idle(&net, A, id));
    net_settle(&net, true);
    uint64_t before = claims(A);
    for (int i = 0; i < 5 && net_deliver(&net, "grant", C, A); i++) {
        net_settle(&net, true);
        (void)net_idle(&net, A, id);
        net_settle(&net, true);
    }
    ck_assert_uint_eq(claims(A), before);
    ck_assert_uint_eq(net_count(&net, "grant", C, A), 0);
    ck_assert(nothing_is_under_way(A));
    ck_assert_str_eq(net_read(&net, B, id), "newer");
    ck_assert(net_owns(&net, B, id));
    net_end(&net);
}
END_TEST

/* A is no member for a while: in its next life it owns nothing, so there is nothing to raise. Then
 * views, and so epochs, are above what is stored. */
static void a_comes_again(void)
{
    a_asks_for_more();
    net_view(&net, B, 10, BC);
    net_view(&net, C, 10, BC);
    net_view(&net, A, 10, BC);
    net_pass(&net, 200, true);
    ck_assert_int_eq(cluster_state(net.nodes[A].cluster), CLUSTER_OUT);
    net_unhold(&net, "grant");
    net.nodes[A].incarnation++;
    net_view(&net, B, 11, ABC);
    net_view(&net, C, 11, ABC);
    net.nodes[A].incarnation--;
    net_join(&net, A, 11, ABC);
    net_pass(&net, 200, true);
}

START_TEST(the_next_life_asks_for_nothing)
{
    a_comes_again();
    ck_assert(nothing_is_under_way(A));
    net_hold(&net, "grant", C, A);
    struct net_request *read = net_ask(&net, A, CLUSTER_READ, id, NULL);
    net_settle(&net, true);
    uint64_t before = claims(A);
    for (int i = 0; i < 5 && net_deliver(&net, "grant", -1, A); i++)
        net_settle(&net, true);
    ck_assert(net_answered(read, STORE_FOUND, "newer"));
    ck_assert_uint_eq(claims(A), before);
    net_end(&net);
}
END_TEST

START_TEST(the_next_life_can_drain)
{
    a_comes_again();
    cluster_drain(net.nodes[A].cluster, net.now_ms);
    net_pass(&net, 500, true);
    ck_assert(net.nodes[A].drained);
    net_end(&net);
}
END_TEST

/* The same owner still: it goes on asking. */
START_TEST(a_new_view_does_not_end_it)
{
    a_asks_for_more();
    for (int node = A; node <= C; node++)
        net_view(&net, node, 6, ABC);
    net_unhold(&net, "grant");
    net_pass(&net, 200, true);
    struct cluster_epoch epoch;
    ck_assert(cluster_owns(net.nodes[A].cluster, slice_of_string(id), &epoch));
    ck_assert_int_gt(cluster_epoch_compare(epoch, (struct cluster_epoch){9, 1}), 0);
    ck_assert(nothing_is_under_way(B));
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster raising");
    TCase *tests = tcase_create("raising");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, what_was_released_meanwhile_is_taken_once);
    tcase_add_test(tests, the_next_life_asks_for_nothing);
    tcase_add_test(tests, the_next_life_can_drain);
    tcase_add_test(tests, a_new_view_does_not_end_it);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
