/* What a node told and gives up for another one's word, and what it does not believe of itself any
 * more: none of it may leave a member with something older than what was acknowledged. */
#include <check.h>

#include "net.h"
#include "suite.h"

static struct net net;

static bool owns_nothing(struct net_node *node, struct slice id, struct cluster_epoch epoch)
{
    (void)node, (void)id, (void)epoch;
    return false;
}

static bool owns_under_7(struct net_node *node, struct slice id, struct cluster_epoch epoch)
{
    (void)node, (void)id;
    return epoch.view == 7;
}

static void start(int count)
{
    net_init(&net, true, 0);
    for (int i = 0; i < count; i++)
        net_up(&net, i);
    net_install_all(&net);
    net_pass(&net, 50);
}

/* c came, is seen by this node only, and goes before it has told what it had to: its table begins
 * anew. */
static void begin_anew(int node)
{
    net_up(&net, 2);
    net_install(&net, node);
    net_down(&net, 2);
    net_install(&net, node);
}

/* a told c, b wrote before it knew that c is there, and a, which owns it again, has told b of that,
 * and not yet c (simulator, seed 94998). */
START_TEST(who_gave_up_a_word_still_owes_it)
{
    start(2);
    net_up(&net, 2);
    net_install_all(&net);
    while (net_drop(&net, REPLICA_SYNC, 2, 1))
        continue;
    net_settle(&net);
    (void)replica_advance(net.nodes[0].replica, net.now_ms, 100);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    net_settle(&net);
    ck_assert_int_eq(net_write(&net, 1, "r:1", 6, 1, 22, true), 1);
    net_settle(&net);
    ck_assert_uint_eq(net.nodes[1].reached_count, 1);
    ck_assert(!net_readable(&net, 2));
    net_write(&net, 0, "r:1", 7, 1, 33, true);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 1));
    net.now_ms += 200;
    (void)replica_advance(net.nodes[2].replica, net.now_ms, 100);
    ck_assert(net_deliver(&net, REPLICA_SYNC, 2, 1));
    (void)replica_advance(net.nodes[1].replica, net.now_ms, 100);
    while (net_deliver(&net, -1, 1, 2) || net_deliver(&net, -1, 2, 1))
        continue;
    ck_assert(net_readable(&net, 2));
    ck_assert_int_eq(net_read(&net, 2, "r:1"), -1);
    net_pass(&net, 500);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 33);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 33);
    net_end(&net);
}
END_TEST

/* On its way to b when it was given up: b has not told all before it is acknowledged. */
START_TEST(what_is_given_up_while_it_is_told)
{
    start(2);
    net_write(&net, 1, "r:1", 5, 1, 11, true);
    net_settle(&net);
    net_up(&net, 2);
    net_install_all(&net);
    net_settle(&net);
    (void)replica_advance(net.nodes[1].replica, net.now_ms, 100);
    ck_assert(net_drop(&net, REPLICA_TELL, 1, 2));
    net_write(&net, 0, "r:1", 6, 1, 22, true);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 1));
    while (net_drop(&net, REPLICA_TELL, 0, 2))
        continue;
    ck_assert_uint_eq(net_count(&net, REPLICA_END, 1, 2), 0);
    ck_assert(!net_held(&net, 1, "r:1", 5, 1)); /* nobody waits for that any more */
    net_pass(&net, 500);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 22);
    /* Nobody waited for what b told for a. */
    ck_assert_uint_eq(net.nodes[1].reached_count, 1);
    net_end(&net);
}
END_TEST

/* a told c only, and is gone: b would show the older one for ever (simulator, seed 96647). */
START_TEST(what_was_given_up_is_told_on_when_its_owner_goes)
{
    start(3);
    net_write(&net, 2, "r:1", 5, 1, 11, true);
    net_settle(&net);
    net_write(&net, 0, "r:1", 6, 1, 22, true);
    ck_assert(net_drop(&net, REPLICA_TELL, 0, 1));
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 2));
    ck_assert(!replica_is_heard(net.nodes[0].replica));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 11);
    net_down(&net, 0);
    net_install(&net, 1);
    net_install(&net, 2);
    net_pass(&net, 500);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), -1);
    ck_assert(replica_is_heard(net.nodes[2].replica));
    ck_assert(!replica_knows(net.nodes[2].replica, slice_of_string("r:1"), net_version(6, 1)));
    /* c is the next owner: it waits for b, and for nothing that it told for a. */
    net_write(&net, 2, "r:1", 7, 1, 33, false);
    ck_assert(net_held(&net, 2, "r:1", 7, 1));
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 33);
    net_end(&net);
}
END_TEST

/* It owns the object again, and has not looked what it is now (simulator, seed 95555). */
START_TEST(who_owns_it_again_does_not_believe_what_it_told_before)
{
    start(2);
    net_write(&net, 1, "r:1", 5, 1, 11, true);
    net_settle(&net);
    begin_anew(1);
    net.owns = owns_under_7;
    net_down(&net, 0);
    net_up(&net, 0);
    net_install_all(&net);
    net_pass(&net, 500);
    ck_assert(net_readable(&net, 0));
    ck_assert_int_eq(net_read(&net, 0, "r:1"), -1);
    net_write(&net, 1, "r:1", 7, 1, 22, true);
    net_pass(&net, 500);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), 22);
    net_end(&net);
}
END_TEST

/* That all know of the grant does not make true what is doubtful since. */
START_TEST(what_is_doubtful_stays_so_when_all_know_of_the_grant)
{
    start(2);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    begin_anew(0);
    net.owns = owns_nothing;
    net_pass(&net, 500);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    net_down(&net, 1);
    net_up(&net, 1);
    net_install_all(&net);
    net_pass(&net, 500);
    ck_assert(net_readable(&net, 1));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), -1);
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replica giving up");
    TCase *tcase = tcase_create("giving_up");
    tcase_add_test(tcase, who_gave_up_a_word_still_owes_it);
    tcase_add_test(tcase, what_is_given_up_while_it_is_told);
    tcase_add_test(tcase, what_was_given_up_is_told_on_when_its_owner_goes);
    tcase_add_test(tcase, who_owns_it_again_does_not_believe_what_it_told_before);
    tcase_add_test(tcase, what_is_doubtful_stays_so_when_all_know_of_the_grant);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
