/* The copies of dirty versions when nothing is broken: who holds them, what they outlive, when they
 * go. One scenario each, messages delivered by hand. */
#include <check.h>

#include "cluster_net.h"
#include "suite.h"

static struct net net;

/* A write waits for its holder, and a read of it as well. */
START_TEST(a_write_waits_for_its_copies)
{
    net_init(&net, 3, 2, 0);
    net_start(&net, 5);
    net_hold(&net, "backup_ack", 2, -1);
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, "x", "one");
    net_settle(&net, true);
    struct net_request *read = net_ask(&net, 1, CLUSTER_READ, "x", NULL);
    net_settle(&net, true);
    ck_assert_int_eq(write->answers + read->answers, 0);
    net_unhold(&net, "backup_ack");
    net_settle(&net, true);
    ck_assert(net_answered(write, STORE_DONE, NULL) && net_answered(read, STORE_FOUND, "one"));
    struct cluster_copy copy;
    ck_assert(cluster_copy_held(net.nodes[1].cluster, slice_of_string("x"), &copy));
    ck_assert(cluster_copy_held(net.nodes[2].cluster, slice_of_string("x"), &copy));
    ck_assert_uint_eq(cluster_metrics(net.nodes[1].cluster, net.now_ms)->copies_bytes, 8);
    /* Once the warehouse has it they are discarded. */
    net_dump(&net, 0, "x");
    net_settle(&net, true);
    ck_assert(!cluster_copy_held(net.nodes[1].cluster, slice_of_string("x"), &copy));
    ck_assert(!cluster_copy_held(net.nodes[2].cluster, slice_of_string("x"), &copy));
    ck_assert_uint_eq(cluster_metrics(net.nodes[1].cluster, net.now_ms)->copies_bytes, 0);
    net_end(&net);
}
END_TEST

START_TEST(lost_backups_are_repeated)
{
    net_init(&net, 2, 1, 0);
    net_start(&net, 5);
    net_drop(&net, "backup", -1, -1);
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, "x", "one");
    net_pass(&net, 300, true);
    ck_assert_int_eq(write->answers, 0);
    net_unhold(&net, "backup");
    net_pass(&net, 300, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    ck_assert(cluster_copy_held(net.nodes[1].cluster, slice_of_string("x"), NULL));
    net_end(&net);
}
END_TEST

/* Fewer members than backups: acknowledged by those there are, counted; who joins gets its copy. */
START_TEST(fewer_members_than_backups)
{
    net_init(&net, 3, 2, 0);
    net_create_clusters(&net);
    net_join(&net, 0, 5, 1);
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, "x", "one");
    net_settle(&net, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->backups_short, 1);
    net.nodes[1].incarnation++;
    net_view(&net, 0, 6, 3);
    net.nodes[1].incarnation--;
    net_join(&net, 1, 6, 3);
    net_settle(&net, true);
    ck_assert(cluster_copy_held(net.nodes[1].cluster, slice_of_string("x"), NULL));
    net_end(&net);
}
END_TEST

/* The owner is lost: what was acknowledged comes back from its copy, and has copies again. */
START_TEST(a_copy_outlives_its_owner)
{
    for (int home = 0; home < 3; home++) {
        net_init(&net, 3, 1, 0);
        net_start(&net, 5);
        const char *id = net_id(7, home, 0, -1, 0, -1);
        struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, id, "one");
        net_settle(&net, true);
        ck_assert(net_answered(write, STORE_DONE, NULL));
        net_crash(&net, 0);
        net_view(&net, 1, 6, 6);
        net_view(&net, 2, 6, 6);
        ck_assert_str_eq(net_read(&net, 1, id), "one");
        ck_assert(net_owns(&net, 1, id));
        ck_assert_uint_eq(cluster_metrics(net.nodes[1].cluster, net.now_ms)->takeovers, 1);
        /* Backed up before it was shown. */
        ck_assert(cluster_copy_held(net.nodes[2].cluster, slice_of_string(id), NULL));
        net_end(&net);
    }
}
END_TEST

/* R8: nobody asks for the object any more, and the copy gets to the warehouse all the same. */
START_TEST(an_unowned_copy_is_looked_after)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, "x", "one");
    net_settle(&net, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    net_crash(&net, 0);
    net_view(&net, 1, 6, 6);
    net_view(&net, 2, 6, 6);
    net_pass(&net, 1000, true);
    int owner = net_owns(&net, 1, "x") ? 1 : 2;
    ck_assert(net_owns(&net, owner, "x"));
    net_dump(&net, owner, "x");
    net_settle(&net, true);
    ck_assert_str_eq(net_stored(&net, "x")->value.text, "one");
    ck_assert(!cluster_copy_held(net.nodes[1].cluster, slice_of_string("x"), NULL));
    ck_assert(!cluster_copy_held(net.nodes[2].cluster, slice_of_string("x"), NULL));
    net_end(&net);
}
END_TEST

/* A discard was lost: the holder asks, and the owner whose object is clean says so. */
START_TEST(a_forgotten_copy_is_discarded)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    (void)net_ask(&net, 0, CLUSTER_WRITE, "x", "one");
    net_settle(&net, true);
    int holder = cluster_copy_held(net.nodes[1].cluster, slice_of_string("x"), NULL) ? 1 : 2;
    net_drop(&net, "discard", -1, -1);
    net_dump(&net, 0, "x");
    net_settle(&net, true);
    net_unhold(&net, "discard");
    ck_assert(cluster_copy_held(net.nodes[holder].cluster, slice_of_string("x"), NULL));
    net_pass(&net, 2000, true);
    ck_assert(net_owns(&net, 0, "x"));
    ck_assert(!cluster_copy_held(net.nodes[holder].cluster, slice_of_string("x"), NULL));
    net_end(&net);
}
END_TEST

START_TEST(the_journals_objects_are_copies)
{
    net_init(&net, 2, 1, 0);
    net_create_clusters(&net);
    uint8_t term[] = {ETF_BINARY, 0, 0, 0, 3, 'o', 'l', 'd'};
    struct cluster_copy copy = {{1, 1, 7}, false, {NULL, term, sizeof(term)}};
    copy.value = value_copy(slice_of(term, sizeof(term)));
    struct slice id = slice_of_string("j");
    ck_assert_int_eq(cluster_restore(net.nodes[0].cluster, id, &copy, 1000), 0);
    ck_assert_int_eq(
        cluster_restore(net.nodes[0].cluster, slice_of_string("aged"), &copy, 70000), 0);
    value_drop(&copy.value);
    ck_assert_uint_eq(net.nodes[0].set_aside, 1);
    net.nodes[0].incarnation++;
    net.nodes[1].incarnation++;
    for (int i = 0; i < 2; i++) {
        net.nodes[i].incarnation--;
        net_join(&net, i, 5, 3);
    }
    net_settle(&net, true);
    ck_assert_str_eq(net_read(&net, 1, "j"), "old");
    ck_assert_str_eq(net_read(&net, 1, "aged"), "");
    net_end(&net);
}
END_TEST

/* What a holder had, and left with, is not what it gets when it comes back. */
START_TEST(what_was_written_again_without_holders_is_held_by_who_comes)
{
    net_init(&net, 2, 1, 0);
    net_start(&net, 5);
    (void)net_ask(&net, 0, CLUSTER_WRITE, "x", "one");
    net_settle(&net, true);
    net_crash(&net, 1);
    net_view(&net, 0, 6, 1);
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, "x", "two");
    net_settle(&net, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    net.nodes[1].incarnation++;
    net_view(&net, 0, 7, 3);
    net.nodes[1].incarnation--;
    net_join(&net, 1, 7, 3);
    net_pass(&net, 500, true);
    ck_assert(cluster_copy_held(net.nodes[1].cluster, slice_of_string("x"), NULL));
    net_crash(&net, 0);
    net_view(&net, 1, 8, 2);
    net_pass(&net, 500, true);
    ck_assert_str_eq(net_read(&net, 1, "x"), "two");
    net_end(&net);
}
END_TEST

/* The last copy of what a dead member owned: whoever drains stays until somebody owns it. */
START_TEST(who_drains_stays_until_its_copies_are_owned)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 1, 6, 1, 0, 1);
    (void)net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    ck_assert(cluster_copy_held(net.nodes[1].cluster, slice_of_string(id), NULL));
    net_hold(&net, "nudge", 1, 2);
    net.away = true;
    cluster_drain(net.nodes[1].cluster, net.now_ms);
    net_crash(&net, 0);
    net_view(&net, 1, 6, 6);
    net_view(&net, 2, 6, 6);
    for (int i = 0; i < 40; i++) {
        net_pass(&net, 50, true);
        ck_assert(!net_owns(&net, 2, id));
        ck_assert_int_ne(cluster_state(net.nodes[1].cluster), CLUSTER_DRAINED);
    }
    net_unhold(&net, "nudge");
    net.away = false;
    net_pass(&net, 3000, true);
    ck_assert_str_eq(net_read(&net, 2, id), "one");
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster copies");
    TCase *tcase = tcase_create("copies");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_write_waits_for_its_copies);
    tcase_add_test(tcase, lost_backups_are_repeated);
    tcase_add_test(tcase, fewer_members_than_backups);
    tcase_add_test(tcase, a_copy_outlives_its_owner);
    tcase_add_test(tcase, an_unowned_copy_is_looked_after);
    tcase_add_test(tcase, a_forgotten_copy_is_discarded);
    tcase_add_test(tcase, the_journals_objects_are_copies);
    tcase_add_test(tcase, what_was_written_again_without_holders_is_held_by_who_comes);
    tcase_add_test(tcase, who_drains_stays_until_its_copies_are_owned);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
