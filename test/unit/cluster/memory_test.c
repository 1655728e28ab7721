/* Every allocation of the core fails in turn, while a small cluster lives through all it can. What
 * is lost for want of memory is as if a message were lost: it must not break a promise, and all
 * must be well again afterwards. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "cluster_net.h"
#include "heap_fault.h"
#include "suite.h"

static struct net net;

/* Acknowledged means that it is there. */
static void check(int node, const char *id, const struct net_request *write, const char *text)
{
    const char *seen = net_read(&net, node, id);
    if (strcmp(seen, "?") == 0) /* it may be this very read that has no memory */
        seen = net_read(&net, node, id);
    if (write->status == STORE_DONE)
        ck_assert_str_eq(seen, text);
    else
        ck_assert_str_ne(seen, "?");
}

static bool all_up(void)
{
    for (uint32_t i = 0; i < net.count; i++) {
        if (!net.nodes[i].up || cluster_state(net.nodes[i].cluster) != CLUSTER_IN ||
            cluster_view_number(net.nodes[i].cluster) != 5)
            return false;
    }
    return true;
}

static void live(void)
{
    net_init(&net, 3, 1, 0);
    net.handoff_uses = 3;
    net_start(&net, 5);
    if (!all_up()) { /* no memory to begin with */
        net_end(&net);
        return;
    }
    struct net_request *first = net_ask(&net, 0, CLUSTER_WRITE, "x", "1");
    net_pass(&net, 300, true);
    struct net_request *second = net_ask(&net, 1, CLUSTER_WRITE, "y", "2");
    struct net_request *remote = net_ask(&net, 2, CLUSTER_READ, "x", NULL);
    net_pass(&net, 300, true);
    for (int i = 0; i < 3; i++)
        (void)net_read(&net, 2, "y");
    net_pass(&net, 300, true);
    net_dump(&net, 0, "x");
    net_pass(&net, 300, true);
    /* Node 0 loses its lease; the others go on, and it comes back. */
    cluster_lost(net.nodes[0].cluster, net.now_ms);
    net_settle(&net, true);
    for (int view = 0; view < 3; view++) {
        net_view(&net, 1, 6, 6);
        net_view(&net, 2, 6, 6);
        net_pass(&net, 100, true);
    }
    check(1, "x", first, "1");
    check(2, "y", second, "2");
    net_pass(&net, 6000, true);
    ck_assert_int_eq(first->answers, 1);
    ck_assert_int_eq(second->answers, 1);
    ck_assert_int_eq(remote->answers, 1);
    net_end(&net);
}

START_TEST(every_allocation_fails_once)
{
    unsigned n = 1;
    for (; n < 100000; n++) {
        heap_fault_start(n);
        live();
        if (!heap_fault_stop())
            break;
    }
    ck_assert_uint_gt(n, 100);
    ck_assert_uint_lt(n, 100000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster memory");
    TCase *tcase = tcase_create("memory");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, every_allocation_fails_once);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
