/* Every allocation of the core fails in turn, while a small cluster lives through all it can. What
 * is lost for want of memory is as if a message were lost: it must not break a promise, and all
 * must be well again afterwards. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
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

static void *nothing(size_t size)
{
    (void)size;
    return NULL;
}

static void *no_more(void *memory, size_t size)
{
    (void)memory, (void)size;
    return NULL;
}

/* What was written while alone is looked for when there is a holder. Without memory to tell it,
 * that is tried again after a while, not over and over in one turn. */
START_TEST(what_nobody_was_told_of_is_looked_for_later)
{
    net_init(&net, 2, 1, 0);
    net_create_clusters(&net);
    net_join(&net, 0, 5, 1);
    net_settle(&net, true);
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, "x", "1");
    net_settle(&net, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    net_join(&net, 1, 6, 3);
    net_view(&net, 0, 6, 3);
    const struct heap_hooks hooks = {.allocate = nothing, .resize = no_more, .release = free};
    heap_set_hooks(&hooks);
    const uint64_t wait = cluster_advance(net.nodes[0].cluster, net.now_ms, 1000);
    heap_set_hooks(NULL);
    ck_assert_uint_gt(wait, 0);
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->unbacked, 1); /* sweeps */
    net_pass(&net, 1000, true);
    net_crash(&net, 0);
    net_view(&net, 1, 7, 2);
    net_pass(&net, 1000, true);
    ck_assert_str_eq(net_read(&net, 1, "x"), "1");
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster memory");
    TCase *tcase = tcase_create("memory");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, every_allocation_fails_once);
    tcase_add_test(tcase, what_nobody_was_told_of_is_looked_for_later);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
