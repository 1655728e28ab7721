/* Who joins: hears all, is believed only then, and has nothing older than what was acknowledged. */
#include <check.h>
#include <stdio.h>

#include "net.h"
#include "suite.h"

static struct net net;

static void start(uint64_t limit_bytes)
{
    net_init(&net, true, limit_bytes);
    net_up(&net, 0);
    net_up(&net, 1);
    net_install_all(&net);
    net_pass(&net, 50);
}

static void join(int node)
{
    net_up(&net, node);
    net_install_all(&net);
}

START_TEST(gets_everything)
{
    enum { COUNT = 1000 };
    char id[16];
    start(0);
    for (int i = 1; i <= COUNT; i++) {
        snprintf(id, sizeof(id), "r:%d", i);
        net_write(&net, i % 2, id, 5, (uint64_t)i, i % 10 == 0 ? 0 : (uint64_t)i, true);
    }
    net_settle(&net);
    join(2);
    net_settle(&net);
    ck_assert(!net_readable(&net, 2)); /* only so much is on its way at once */
    ck_assert(!net_readable(&net, 0)); /* nor knows it yet what the new one told */
    net_pass(&net, 1000);
    ck_assert(net_readable(&net, 0) && net_readable(&net, 1) && net_readable(&net, 2));
    for (int i = 1; i <= COUNT; i++) {
        snprintf(id, sizeof(id), "r:%d", i);
        ck_assert_int_eq(net_read(&net, 2, id), i % 10 == 0 ? 0 : i);
    }
    ck_assert_uint_eq(replica_metrics(net.nodes[0].replica)->unacknowledged, 0);
    net_end(&net);
}
END_TEST

START_TEST(lost_messages_of_a_join)
{
    start(0);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    net_settle(&net);
    for (int lost = 0; lost < REPLICA_KINDS; lost++) {
        join(2);
        for (int i = 0; i < 20; i++) {
            if (!net_drop(&net, lost, -1, -1) && !net_deliver(&net, -1, -1, -1))
                break;
        }
        while (net_drop(&net, lost, -1, -1))
            continue;
        net_pass(&net, 1000);
        ck_assert(net_readable(&net, 2));
        ck_assert_int_eq(net_read(&net, 2, "r:1"), 11);
        net_down(&net, 2);
        net_install_all(&net);
        net_pass(&net, 500);
    }
    net_end(&net);
}
END_TEST

/* What is pushed is older than a write that came meanwhile. */
START_TEST(a_push_never_overwrites_a_newer_write)
{
    start(0);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    net_settle(&net);
    join(2);
    while (net_deliver(&net, REPLICA_SYNC, -1, -1))
        continue;
    (void)replica_advance(net.nodes[0].replica, net.now_ms, 100);
    ck_assert_uint_eq(net_count(&net, REPLICA_TELL, 0, 2), 1);
    struct net_message **push = &net.messages, *late;
    while ((*push)->kind != REPLICA_TELL)
        push = &(*push)->next;
    late = *push;
    *push = late->next;
    ck_assert_int_eq(net_write(&net, 0, "r:1", 5, 2, 22, true), 2);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 2)); /* the write first, the push after it */
    late->next = net.messages;
    net.messages = late;
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 2));
    net_pass(&net, 300);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 22);
    net_end(&net);
}
END_TEST

/* The former owner has not heard of the newest write when it pushes, and the owner dies before it
 * has pushed anything: what the joiner heard is not believed. */
START_TEST(who_goes_before_it_has_told_all_makes_the_table_begin_anew)
{
    start(0);
    net_write(&net, 0, "r:1", 5, 1, 11, true); /* teller: a */
    net_settle(&net);
    net_up(&net, 2);
    net_install(&net, 0);
    net_install(&net, 2);
    /* b still has the older view, and owns the id by now. */
    ck_assert_int_eq(net_write(&net, 1, "r:1", 6, 2, 22, true), 1);
    while (net_deliver(&net, REPLICA_SYNC, 2, 0))
        continue;
    while (net_deliver(&net, REPLICA_SYNC, 0, 2))
        continue;
    (void)replica_advance(net.nodes[0].replica, net.now_ms, 100);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 2));
    ck_assert_int_eq(net_read_weak(&net, 2, "r:1"), 11);
    ck_assert(net_deliver(&net, REPLICA_TELL, 1, 0));
    ck_assert(net_deliver(&net, REPLICA_ACK, 0, 1));
    ck_assert_uint_eq(net.nodes[1].reached_count, 1); /* acknowledged, by all that b knows of */
    net_down(&net, 1);
    net_install_all(&net);
    net_pass(&net, 1000);
    ck_assert(net_readable(&net, 2));
    ck_assert_int_ne(net_read(&net, 2, "r:1"), 11);
    ck_assert_int_ne(net_read(&net, 0, "r:1"), 11);
    net_end(&net);
}
END_TEST

/* A write that nobody was there for, when it came, is waited for by who came before it was held. */
START_TEST(who_comes_before_a_write_is_held_is_waited_for)
{
    net_init(&net, true, 0);
    net_up(&net, 0);
    net_install_all(&net);
    ck_assert_int_eq(net_write(&net, 0, "r:1", 5, 1, 11, false), 1);
    join(1);
    net_pass(&net, 200);
    ck_assert(net_readable(&net, 1));
    ck_assert(net_held(&net, 0, "r:1", 5, 1));
    ck_assert_uint_eq(net.nodes[0].reached_count, 0);
    net_settle(&net);
    ck_assert_uint_eq(net.nodes[0].reached_count, 1);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 11);
    net_end(&net);
}
END_TEST

static bool owns_nothing(struct net_node *node, struct slice id, struct cluster_epoch epoch)
{
    (void)node, (void)id, (void)epoch;
    return false;
}

static bool owns_by_the_seventh_grant(
    struct net_node *node, struct slice id, struct cluster_epoch epoch)
{
    (void)node, (void)id;
    return epoch.view == 7;
}

/* c wrote before b had said its round, so b does not know of it; a hears that c is gone before b
 * does, and begins a new round: what b told before c is no more than a rumour. */
START_TEST(who_has_not_heard_all_tells_others_no_values_of_its_own)
{
    start(0);
    net_write(&net, 1, "r:1", 5, 1, 11, true);
    net_settle(&net);
    join(2);
    ck_assert_int_eq(net_write(&net, 2, "r:1", 6, 2, 22, true), 0); /* acknowledged at once */
    while (net_drop(&net, -1, 2, -1))
        continue;
    net_down(&net, 2);
    net_install(&net, 0);
    net.owns = owns_nothing;
    for (int i = 0; i < 20; i++) { /* b still has the older view */
        net.now_ms += 10;
        (void)replica_advance(net.nodes[0].replica, net.now_ms, 100);
        (void)replica_advance(net.nodes[1].replica, net.now_ms, 100);
        while (
            net_deliver(&net, -1, 0, 1) || net_deliver(&net, -1, 1, 0) || net_drop(&net, -1, -1, 2))
            continue;
    }
    ck_assert(net_readable(&net, 0));
    ck_assert_int_eq(net_read(&net, 0, "r:1"), -1);
    net_end(&net);
}
END_TEST

/* c replicates other ids: what it wrote it told nobody, and when it is gone b owns the object
 * again, under a later grant than that of what it told; it has not loaded it yet. */
START_TEST(what_was_told_under_an_earlier_grant_is_in_doubt)
{
    net_init(&net, true, 0);
    ck_assert(net_configure(&net, 2, "other:", true, 0));
    for (int i = 0; i < 3; i++)
        net_up(&net, i);
    net_install_all(&net);
    net_pass(&net, 200);
    ck_assert(!net_readable(&net, 0));
    net_write(&net, 1, "r:1", 5, 1, 11, true);
    net_settle(&net);
    net_down(&net, 2);
    net.owns = owns_by_the_seventh_grant;
    net_install_all(&net);
    net_pass(&net, 200);
    ck_assert(net_readable(&net, 0));
    ck_assert_int_eq(net_read(&net, 0, "r:1"), -1);
    /* It finds what c had written, and tells that. */
    net_write(&net, 1, "r:1", 7, 2, 22, true);
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), 22);
    /* By this grant it owns it still: what it told is no less true in a new round. */
    join(2);
    net_down(&net, 2);
    net_install_all(&net);
    net_pass(&net, 200);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), 22);
    net_end(&net);
}
END_TEST

/* The same while the joiner's push goes past an id whose newest write waits for its holders. */
START_TEST(a_push_names_what_it_cannot_show)
{
    start(0);
    net_write(&net, 1, "r:1", 5, 1, 11, true);
    net_settle(&net);
    net_write(&net, 0, "r:1", 6, 2, 22, true);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 1));
    net_settle(&net);
    net_write(&net, 0, "r:1", 6, 3, 33, false);
    join(2);
    net_pass(&net, 500);
    ck_assert(net_readable(&net, 2));
    ck_assert_int_eq(net_read(&net, 2, "r:1"), -1); /* b has 22, a nothing to show */
    ck_assert(net_held(&net, 0, "r:1", 6, 3));
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 33);
    net_end(&net);
}
END_TEST

START_TEST(members_that_differ)
{
    start(0);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    net_settle(&net);
    ck_assert(net_configure(&net, 2, "other:", true, 0));
    join(2);
    net_pass(&net, 1000);
    ck_assert_uint_eq(net.nodes[0].differs, 1);
    ck_assert_uint_eq(net.nodes[2].differs, 2);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), -1);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    /* Writes do not wait for it. */
    ck_assert_int_eq(net_write(&net, 0, "r:1", 5, 2, 22, true), 1);
    net_settle(&net);
    ck_assert_uint_eq(net.nodes[0].reached_count, 2);
    net_down(&net, 2);
    net_install_all(&net);
    net_pass(&net, 1000);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 22);
    net_end(&net);
}
END_TEST

/* Above its limit a table is given up: writes go on, reads take the strong way. */
START_TEST(too_large)
{
    char id[16];
    start(20000);
    for (int i = 1; i <= 200; i++) {
        snprintf(id, sizeof(id), "r:%d", i);
        ck_assert_int_eq(net_write(&net, 0, id, 5, (uint64_t)i, (uint64_t)i, true), 1);
        net_settle(&net);
        ck_assert_uint_eq(net.nodes[0].reached_count, (unsigned)i);
    }
    ck_assert_uint_ge(net.nodes[1].overflowed, 1);
    ck_assert(!net_readable(&net, 1));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    net_pass(&net, 500);
    ck_assert_uint_le(replica_metrics(net.nodes[1].replica)->memory, 1000);
    for (int i = 1; i <= 190; i++) { /* and when there is room again, it begins anew */
        snprintf(id, sizeof(id), "r:%d", i);
        net_write(&net, 0, id, 5, 1000 + (uint64_t)i, 0, true);
        net_settle(&net);
    }
    net_pass(&net, 61000);
    net_pass(&net, 6000);
    ck_assert(net_readable(&net, 1));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), -1);
    net_write(&net, 0, "r:200", 5, 2000, 77, true);
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 1, "r:200"), 77);
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replica joining");
    TCase *tcase = tcase_create("joining");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, gets_everything);
    tcase_add_test(tcase, lost_messages_of_a_join);
    tcase_add_test(tcase, a_push_never_overwrites_a_newer_write);
    tcase_add_test(tcase, who_goes_before_it_has_told_all_makes_the_table_begin_anew);
    tcase_add_test(tcase, who_comes_before_a_write_is_held_is_waited_for);
    tcase_add_test(tcase, who_has_not_heard_all_tells_others_no_values_of_its_own);
    tcase_add_test(tcase, what_was_told_under_an_earlier_grant_is_in_doubt);
    tcase_add_test(tcase, a_push_names_what_it_cannot_show);
    tcase_add_test(tcase, members_that_differ);
    tcase_add_test(tcase, too_large);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
