/* Objects that follow their users. */
#include <check.h>

#include "cluster_net.h"
#include "suite.h"

static struct net net;

/* An object used only through one other node moves there; a use at home keeps it. */
START_TEST(objects_follow_their_users)
{
    net_init(&net, 3, 1, 0);
    net.handoff_uses = 4;
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    (void)net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    for (int i = 0; i < 3; i++)
        (void)net_read(&net, 1, id);
    (void)net_read(&net, 0, id);
    for (int i = 0; i < 3; i++)
        (void)net_read(&net, 1, id);
    ck_assert(net_owns(&net, 0, id));
    (void)net_read(&net, 1, id);
    net_pass(&net, 200, true);
    ck_assert(!net_owns(&net, 0, id) && net_owns(&net, 1, id));
    ck_assert_str_eq(net_read(&net, 1, id), "one");
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->handoffs, 1);
    net_end(&net);
}
END_TEST

/* No write that is acknowledged by holders can be followed at once: while its own answer is pending
 * the object does not move (R13). It moves when the answer has gone. */
START_TEST(acknowledged_writes_alone_move_an_object)
{
    net_init(&net, 3, 1, 0);
    net.handoff_uses = 4;
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    (void)net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    net_hold(&net, "backup_ack", -1, 0);
    for (int i = 0; i < 4; i++) {
        struct net_request *write = net_ask(&net, 1, CLUSTER_WRITE, id, "two");
        net_pass(&net, 100, true);
        ck_assert_int_eq(write->answers, 0);
        ck_assert(net_owns(&net, 0, id));
        while (net_deliver(&net, "backup_ack", -1, 0))
            ;
        net_settle(&net, true);
        ck_assert(net_answered(write, STORE_DONE, NULL));
    }
    net_unhold(&net, "backup_ack");
    net_pass(&net, 200, true);
    ck_assert(!net_owns(&net, 0, id) && net_owns(&net, 1, id));
    ck_assert_str_eq(net_read(&net, 1, id), "two");
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->handoffs, 1);
    ck_assert(!cluster_counts_uses(net.nodes[0].cluster));
    net_end(&net);
}
END_TEST

/* What waits to move is used at home meanwhile: it stays. */
START_TEST(a_use_at_home_ends_a_move)
{
    net_init(&net, 3, 1, 0);
    net.handoff_uses = 1;
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    (void)net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    net_hold(&net, "backup_ack", -1, 0);
    struct net_request *there = net_ask(&net, 1, CLUSTER_WRITE, id, "two");
    net_pass(&net, 100, true);
    struct net_request *here = net_ask(&net, 0, CLUSTER_WRITE, id, "three");
    net_pass(&net, 100, true);
    net_unhold(&net, "backup_ack");
    net_pass(&net, 200, true);
    ck_assert(net_answered(there, STORE_DONE, NULL) && net_answered(here, STORE_DONE, NULL));
    ck_assert(net_owns(&net, 0, id));
    ck_assert_str_eq(net_read(&net, 0, id), "three");
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster handoff");
    TCase *tcase = tcase_create("handoff");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, objects_follow_their_users);
    tcase_add_test(tcase, acknowledged_writes_alone_move_an_object);
    tcase_add_test(tcase, a_use_at_home_ends_a_move);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
