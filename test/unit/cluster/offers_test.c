/* How dirty versions get to their holders: many offers in one message, after the reports, and never
 * more under way to one holder than its window lets. Messages delivered by hand. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "cluster_net.h"
#include "suite.h"

static struct net net;

enum { WEIGHT = 8192 + 8 }; /* of one small value in the window: see offers.c */

static void write_many(int node, const char *prefix, int count)
{
    for (int i = 0; i < count; i++) {
        char id[NET_TEXT];
        snprintf(id, sizeof(id), "%s%d", prefix, i);
        (void)net_ask(&net, node, CLUSTER_WRITE, id, "abc");
    }
    net_settle(&net, true);
}

static uint64_t copies(int node)
{
    return cluster_metrics(net.nodes[node].cluster, net.now_ms)->copies;
}

static uint64_t unbacked(int node)
{
    return cluster_metrics(net.nodes[node].cluster, net.now_ms)->unbacked;
}

/* Node `node` comes to those of `members`. */
static void joins(int node, uint64_t view, unsigned members)
{
    net.nodes[node].incarnation++;
    for (int i = 0; i < (int)net.count; i++) {
        if (i != node && members & 1U << i)
            net_view(&net, i, view, members);
    }
    net.nodes[node].incarnation--;
    net_join(&net, node, view, members);
}

static void two_of_three_are_members(void)
{
    net_init(&net, 3, 1, 0);
    net_create_clusters(&net);
    for (int i = 0; i < 2; i++)
        net.nodes[i].incarnation++;
    for (int i = 0; i < 2; i++) {
        net.nodes[i].incarnation--;
        net_join(&net, i, 5, 3);
    }
    net_settle(&net, true);
}

/* Of `count` nodes; a dirty version has `backups` copies, and this much under way to one holder at
 * once; 0: as much as the net lets. */
static void first_of_many_is_member(uint32_t count, uint32_t backups, uint64_t window)
{
    net_init(&net, count, backups, 0);
    if (window > 0)
        net.backup_window = window;
    net_create_clusters(&net);
    net_join(&net, 0, 5, 1);
    net_settle(&net, true);
}

START_TEST(many_offers_are_one_message)
{
    two_of_three_are_members();
    write_many(0, "x", 200);
    ck_assert_uint_eq(copies(1), 200);
    net_hold(&net, "offer", 0, -1);
    joins(2, 6, 7);
    net_pass(&net, 100, true); /* reports take one step of 50 ms, and are given another */
    ck_assert_uint_eq(net_count(&net, "offer", 0, 1), 1);
    ck_assert_uint_eq(net_count(&net, "offer", 0, 2), 1);
    ck_assert_uint_eq(net_count(&net, "backup", 0, -1), 0);
    uint64_t sent = cluster_metrics(net.nodes[0].cluster, net.now_ms)->backups_sent;
    net_unhold(&net, "offer");
    net_settle(&net, true);
    ck_assert_uint_eq(unbacked(0), 0);
    ck_assert_uint_gt(copies(2), 20);
    /* Only who lacked a value was sent it. */
    ck_assert_uint_eq(
        cluster_metrics(net.nodes[0].cluster, net.now_ms)->backups_sent - sent, copies(2));
    net_end(&net);
}
END_TEST

START_TEST(lost_offers_are_repeated)
{
    first_of_many_is_member(2, 1, 0);
    write_many(0, "x", 20);
    net_drop(&net, "offer", 0, 1);
    joins(1, 6, 3);
    net_pass(&net, 500, true);
    ck_assert_uint_eq(copies(1), 0);
    net_unhold(&net, "offer");
    net_drop(&net, "offer_ack", 1, 0);
    net_pass(&net, 500, true);
    ck_assert_uint_eq(copies(1), 0);
    net_unhold(&net, "offer_ack");
    net_drop(&net, "backup", 0, 1);
    net_pass(&net, 500, true);
    ck_assert_uint_eq(copies(1), 0);
    net_unhold(&net, "backup");
    net_pass(&net, 500, true);
    ck_assert_uint_eq(copies(1), 20);
    ck_assert_uint_eq(unbacked(0), 0);
    net_end(&net);
}
END_TEST

/* Slots open sooner when offers wait; but not for ever, and what is written does not wait. */
START_TEST(offers_come_after_reports)
{
    two_of_three_are_members();
    write_many(0, "x", 20);
    net_hold(&net, "report_ack", -1, 0);
    net_hold(&net, "offer", 0, -1);
    joins(2, 6, 7);
    net_pass(&net, 100, true);
    ck_assert_uint_eq(net_count(&net, "offer", 0, -1), 0);
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, "x1", "new");
    net_settle(&net, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    net_pass(&net, 300, true);
    ck_assert_uint_ge(net_count(&net, "offer", 0, -1), 1);
    net_end(&net);
}
END_TEST

/* What a write waits for is offered first, also before the reports are out. */
START_TEST(who_waits_comes_first)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 1, 3, 1, 0, 1);
    net_drop(&net, "backup", 0, -1);
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    ck_assert_int_eq(write->answers, 0);
    net_unhold(&net, "backup");
    net_hold(&net, "report_ack", -1, 0);
    net_view(&net, 0, 6, 3);
    net_view(&net, 1, 6, 3);
    net_pass(&net, 50, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    net_end(&net);
}
END_TEST

START_TEST(a_window_bounds_what_is_under_way)
{
    first_of_many_is_member(2, 1, 4 * WEIGHT);
    write_many(0, "x", 30);
    net_hold(&net, "backup_ack", 1, 0);
    joins(1, 6, 3);
    net_pass(&net, 2000, true);
    ck_assert_uint_eq(copies(1), 4); /* the rest waits, however often these are asked for */
    /* What a client waits for has its own room, which is bounded as well. */
    write_many(0, "y", 10);
    ck_assert_uint_eq(copies(1), 8);
    net_pass(&net, 1000, true);
    ck_assert_uint_eq(copies(1), 8);
    ck_assert_uint_eq(unbacked(0), 40);
    net_unhold(&net, "backup_ack");
    net_pass(&net, 2000, true);
    ck_assert_uint_eq(copies(1), 40);
    ck_assert_uint_eq(unbacked(0), 0);
    for (uint32_t i = 0; i < net.requests_count; i++)
        ck_assert(net_answered(net.requests[i], STORE_DONE, NULL));
    net_end(&net);
}
END_TEST

/* Room comes also when what was under way is not needed any more. */
START_TEST(a_dump_makes_room)
{
    first_of_many_is_member(2, 1, 2 * WEIGHT);
    write_many(0, "x", 10);
    net_hold(&net, "backup_ack", 1, 0);
    joins(1, 6, 3);
    net_pass(&net, 500, true);
    ck_assert_uint_eq(copies(1), 2);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 10; i++) {
            char id[NET_TEXT];
            snprintf(id, sizeof(id), "x%d", i);
            if (cluster_copy_held(net.nodes[1].cluster, slice_of_string(id), NULL))
                net_dump(&net, 0, id);
        }
        net_settle(&net, true);
        net_pass(&net, 50, true);
        ck_assert_uint_le(copies(1), 2);
    }
    ck_assert_uint_eq(copies(1), 0);
    ck_assert_uint_eq(unbacked(0), 0);
    net_end(&net);
}
END_TEST

/* One holder that does not answer keeps the other from nothing. */
START_TEST(each_holder_has_its_window)
{
    first_of_many_is_member(3, 2, 2 * WEIGHT);
    write_many(0, "x", 30);
    net_hold(&net, "backup_ack", 2, 0);
    for (int i = 1; i < 3; i++)
        net.nodes[i].incarnation++;
    net_view(&net, 0, 6, 7);
    for (int i = 1; i < 3; i++) {
        net.nodes[i].incarnation--;
        net_join(&net, i, 6, 7);
    }
    net_pass(&net, 3000, true);
    ck_assert_uint_eq(copies(1), 30);
    ck_assert_uint_eq(copies(2), 2);
    /* Its link breaks, it goes, it comes back: everything gets there. */
    cluster_lost(net.nodes[2].cluster, net.now_ms);
    net_settle(&net, true);
    net_view(&net, 0, 7, 3);
    net_view(&net, 1, 7, 3);
    net_pass(&net, 200, true);
    ck_assert_uint_eq(unbacked(0), 0);
    net_unhold(&net, "backup_ack");
    joins(2, 8, 7);
    net_pass(&net, 3000, true);
    ck_assert_uint_eq(copies(2), 30);
    ck_assert_uint_eq(unbacked(0), 0);
    net_end(&net);
}
END_TEST

/* A version that is written while its former one is under way, again and again. */
START_TEST(the_latest_version_gets_there)
{
    net_init(&net, 2, 1, 0);
    net.backup_window = WEIGHT;
    net_start(&net, 5);
    net_hold(&net, "backup_ack", 1, 0);
    for (int i = 0; i < 20; i++) {
        char text[8];
        snprintf(text, sizeof(text), "v%d", i);
        (void)net_ask(&net, 0, CLUSTER_WRITE, "x", text);
        net_settle(&net, true);
    }
    net_unhold(&net, "backup_ack");
    net_pass(&net, 500, true);
    ck_assert_uint_eq(unbacked(0), 0);
    for (uint32_t i = 0; i < net.requests_count; i++)
        ck_assert(net_answered(net.requests[i], STORE_DONE, NULL));
    net_crash(&net, 0);
    net_view(&net, 1, 6, 2);
    ck_assert_str_eq(net_read(&net, 1, "x"), "v19");
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster offers");
    TCase *tcase = tcase_create("offers");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, many_offers_are_one_message);
    tcase_add_test(tcase, lost_offers_are_repeated);
    tcase_add_test(tcase, offers_come_after_reports);
    tcase_add_test(tcase, who_waits_comes_first);
    tcase_add_test(tcase, a_window_bounds_what_is_under_way);
    tcase_add_test(tcase, a_dump_makes_room);
    tcase_add_test(tcase, each_holder_has_its_window);
    tcase_add_test(tcase, the_latest_version_gets_there);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
