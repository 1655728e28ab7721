/* R8: who holds copies that nobody owns takes them over a few at a time: each is compared with the
 * warehouse, and whoever wants one of the objects must not find thousands before it. */
#include <check.h>
#include <stdio.h>

#include "cluster_net.h"
#include "suite.h"

enum { OBJECTS = 120, AT_ONCE = 64 };

static struct net net;

static void write_all(void)
{
    for (int i = 0; i < OBJECTS; i++) {
        char id[NET_TEXT];
        snprintf(id, sizeof(id), "x%d", i);
        (void)net_ask(&net, 0, CLUSTER_WRITE, id, "abc");
    }
    net_settle(&net, true);
}

static const struct cluster_metrics *metrics(int node)
{
    return cluster_metrics(net.nodes[node].cluster, net.now_ms);
}

/* The one of two that owns what is changed dies, and the warehouse is slow: nothing comes from it.
 */
static void owner_dies(void)
{
    net_init(&net, 2, 1, 0);
    net_start(&net, 5);
    write_all();
    ck_assert_uint_eq(metrics(1)->copies, OBJECTS);
    net.away = true;
    net_crash(&net, 0);
    net_view(&net, 1, 6, 2);
}

START_TEST(a_few_at_a_time)
{
    owner_dies();
    net_pass(&net, 3000, true);
    ck_assert_uint_eq(metrics(1)->takeovers, AT_ONCE);
    /* The next when one is done. */
    net.away = false;
    ck_assert(net_operation(&net, 1, false));
    ck_assert(net_operation(&net, 1, false));
    net.away = true;
    net_pass(&net, 3000, true);
    ck_assert_uint_eq(metrics(1)->takeovers, AT_ONCE + 2);
    net.away = false;
    net_pass(&net, 3000, true);
    ck_assert_uint_eq(metrics(1)->takeovers, OBJECTS);
    ck_assert_uint_eq(metrics(1)->owned, OBJECTS);
    for (int i = 0; i < OBJECTS; i++) {
        char id[NET_TEXT];
        snprintf(id, sizeof(id), "x%d", i);
        ck_assert_str_eq(net_read(&net, 1, id), "abc");
    }
    net_end(&net);
}
END_TEST

/* Who asks for one does not wait for the turn of its copy. */
START_TEST(but_who_asks_goes_first)
{
    owner_dies();
    net_pass(&net, 3000, true);
    struct net_request *reads[OBJECTS];
    for (int i = 0; i < OBJECTS; i++) {
        char id[NET_TEXT];
        snprintf(id, sizeof(id), "x%d", i);
        reads[i] = i % 4 == 0 ? net_ask(&net, 1, CLUSTER_READ, id, NULL) : NULL;
    }
    net_settle(&net, false);
    uint64_t taken = metrics(1)->takeovers;
    ck_assert_uint_gt(taken, AT_ONCE + 3);
    ck_assert_uint_le(taken, AT_ONCE + OBJECTS / 4);
    net.away = false;
    net_settle(&net, true);
    for (int i = 0; i < OBJECTS; i += 4)
        ck_assert(net_answered(reads[i], STORE_FOUND, "abc"));
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("takeover");
    TCase *tcase = tcase_create("takeover");
    tcase_add_test(tcase, a_few_at_a_time);
    tcase_add_test(tcase, but_who_asks_goes_first);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
