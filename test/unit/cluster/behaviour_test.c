/* What a cluster does when nothing is broken: order, time, views, hand-off, drain, weak reads. One
 * scenario each, messages delivered by hand. Claims: claims_test.c; copies: copies_test.c. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "cluster_net.h"
#include "suite.h"

static struct net net;

START_TEST(a_cluster_of_one_sends_nothing)
{
    net_init(&net, 1, 1, 0);
    net_start(&net, 5);
    ck_assert_str_eq(net_read(&net, 0, "x"), "");
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, "x", "one");
    net_settle(&net, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    ck_assert_str_eq(net_read(&net, 0, "x"), "one");
    const struct cluster_metrics *m = cluster_metrics(net.nodes[0].cluster, net.now_ms);
    ck_assert_uint_eq(m->messages, 0);
    ck_assert_uint_eq(m->directory, 0);
    ck_assert_uint_eq(m->owned, 1);
    ck_assert_uint_eq(m->slots_open, CLUSTER_SLOTS);
    net_dump(&net, 0, "x");
    net_settle(&net, true);
    ck_assert(net_idle(&net, 0, "x"));
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->owned, 0);
    ck_assert_str_eq(net_read(&net, 0, "x"), "one");
    net_end(&net);
}
END_TEST

/* Order per id across the hop, while the owner changes under way. */
START_TEST(before_it_joins_a_node_knows_nothing)
{
    net_init(&net, 1, 1, 0);
    net_create_clusters(&net);
    struct cluster *cluster = net.nodes[0].cluster;
    const struct slice x = slice_of_string("x");
    ck_assert(!cluster_serves(cluster, net.now_ms));
    ck_assert(!cluster_is_open(cluster, x) && !cluster_owns(cluster, x, NULL));
    ck_assert(cluster_has_room(cluster, x, net.now_ms));
    ck_assert_uint_eq(cluster_full_members(cluster, net.now_ms), 0);
    ck_assert(!cluster_tells_holders(cluster) && !cluster_has_holders(cluster));
    ck_assert_int_eq(cluster_object_reserve(cluster, x), 0);
    ck_assert_int_eq(
        cluster_object_written(cluster, x, (struct version){1, 1, 1}, NULL, net.now_ms), 0);
    ck_assert_uint_eq(cluster_view_number(cluster), 0);
    net_end(&net);
}
END_TEST

START_TEST(requests_keep_their_order)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    (void)net_ask(&net, 1, CLUSTER_WRITE, id, "0");
    net_settle(&net, true);
    (void)net_read(&net, 0, id); /* has a hint now */
    net_hold(&net, "forward", 0, 1);
    struct net_request *asked[20];
    for (int i = 0; i < 20; i++) {
        char text[8];
        snprintf(text, sizeof(text), "%d", i + 1);
        asked[i] = i % 2 == 0 ? net_ask(&net, 0, CLUSTER_WRITE, id, text)
                              : net_ask(&net, 0, CLUSTER_READ, id, NULL);
    }
    /* The owner gives it up meanwhile. */
    net_dump(&net, 1, id);
    while (net_operation(&net, 1, true))
        ;
    ck_assert(net_idle(&net, 1, id));
    net_unhold(&net, "forward");
    net_settle(&net, true);
    for (int i = 0; i < 20; i++) {
        char text[8];
        snprintf(text, sizeof(text), "%d", i);
        ck_assert(i % 2 == 0 ? net_answered(asked[i], STORE_DONE, NULL)
                             : net_answered(asked[i], STORE_FOUND, text));
    }
    net_end(&net);
}
END_TEST

/* Nothing waits for ever: the owner is out of reach. */
START_TEST(requests_end_in_time)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    net_store(&net, id, (struct version){1, 1, 1}, "stored");
    (void)net_read(&net, 1, id);
    (void)net_read(&net, 0, id);
    net_drop(&net, "forward", -1, -1);
    net_drop(&net, "where", -1, -1);
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    struct net_request *read = net_ask(&net, 0, CLUSTER_READ, id, NULL);
    struct net_request *weak = net_ask(&net, 0, CLUSTER_WEAK_READ, id, NULL);
    struct net_request *where = net_ask(&net, 0, CLUSTER_OWNER, "y", NULL);
    net_pass(&net, 2600, true);
    ck_assert(net_answered(weak, STORE_FOUND, "stored"));
    ck_assert_int_eq(write->answers + read->answers, 0);
    net_pass(&net, 2600, true);
    ck_assert(net_answered(write, BRAIN_EUNKNOWN, NULL));
    ck_assert(net_answered(read, BRAIN_ETIMEOUT, NULL));
    ck_assert(net_answered(where, BRAIN_ETIMEOUT, NULL) || where->status == STORE_ABSENT);
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->waiting, 0);
    net_end(&net);
}
END_TEST

/* The link to the owner ends: reads are done again, writes have an unknown outcome. */
START_TEST(a_lost_link_is_noticed)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    net_store(&net, id, (struct version){1, 1, 1}, "stored");
    (void)net_read(&net, 1, id);
    (void)net_read(&net, 0, id);
    net_drop(&net, "reply", -1, -1);
    struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    struct net_request *read = net_ask(&net, 0, CLUSTER_READ, id, NULL);
    net_settle(&net, true);
    net_unhold(&net, "reply");
    cluster_peer_down(net.nodes[0].cluster, slice_of_string("b@n"), net.now_ms);
    net_settle(&net, true);
    ck_assert(net_answered(write, BRAIN_EUNKNOWN, NULL));
    ck_assert(net_answered(read, STORE_FOUND, "one"));
    net_end(&net);
}
END_TEST

/* Weak reads: of a copy at once, of the warehouse when fenced. */
START_TEST(weak_reads)
{
    net_init(&net, 2, 1, 0);
    net_start(&net, 5);
    net_store(&net, "y", (struct version){1, 1, 1}, "stored");
    (void)net_ask(&net, 0, CLUSTER_WRITE, "x", "one");
    net_settle(&net, true);
    struct net_request *weak = net_ask(&net, 1, CLUSTER_WEAK_READ, "x", NULL);
    ck_assert(net_answered(weak, STORE_FOUND, "one"));
    net.now_ms += 20000; /* both leases are over */
    weak = net_ask(&net, 1, CLUSTER_WEAK_READ, "y", NULL);
    ck_assert(net_answered(weak, STORE_FOUND, "stored"));
    weak = net_ask(&net, 0, CLUSTER_WEAK_READ, "x", NULL);
    ck_assert(net_answered(weak, STORE_FOUND, "one"));
    struct net_request *strong = net_ask(&net, 0, CLUSTER_READ, "x", NULL);
    ck_assert_int_eq(strong->answers, 0);
    net_lease(&net, 0);
    net_settle(&net, true);
    ck_assert(net_answered(strong, STORE_FOUND, "one"));
    net_end(&net);
}
END_TEST

/* The lease is lost and the node comes back: what it had is a copy, waiting requests are served. */
START_TEST(a_node_comes_back)
{
    net_init(&net, 2, 1, 0);
    net_start(&net, 5);
    const char *id = net_id(3, 1, 0, -1, -1, -1);
    (void)net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    cluster_lost(net.nodes[0].cluster, net.now_ms);
    struct net_request *read = net_ask(&net, 0, CLUSTER_READ, id, NULL);
    net_settle(&net, true);
    ck_assert_int_eq(cluster_state(net.nodes[0].cluster), CLUSTER_OUT);
    ck_assert(cluster_copy_held(net.nodes[0].cluster, slice_of_string(id), NULL));
    ck_assert_int_eq(read->answers, 0);
    net_view(&net, 1, 6, 2);
    net_settle(&net, true);
    struct net_request *write = net_ask(&net, 1, CLUSTER_WRITE, id, "two");
    net_settle(&net, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    net.nodes[0].incarnation++;
    net_view(&net, 1, 7, 3);
    net.nodes[0].incarnation--;
    net_join(&net, 0, 7, 3);
    net_settle(&net, true);
    ck_assert(net_answered(read, STORE_FOUND, "two"));
    net_end(&net);
}
END_TEST

/* Drain: clean and dirty objects go to others, whose clients see no error. */
START_TEST(a_drained_node_owns_nothing)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    char ids[6][NET_TEXT];
    for (int i = 0; i < 6; i++) {
        snprintf(ids[i], NET_TEXT, "d%d", i);
        (void)net_ask(&net, 0, CLUSTER_WRITE, ids[i], ids[i]);
        net_settle(&net, true);
        if (i % 2 == 0)
            net_dump(&net, 0, ids[i]);
    }
    net_settle(&net, true);
    cluster_drain(net.nodes[0].cluster, net.now_ms);
    net_pass(&net, 2000, true);
    ck_assert_int_eq(cluster_state(net.nodes[0].cluster), CLUSTER_DRAINED);
    ck_assert(net.nodes[0].drained);
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->owned, 0);
    struct net_request *own = net_ask(&net, 0, CLUSTER_READ, "d0", NULL);
    net_settle(&net, true);
    ck_assert(net_answered(own, BRAIN_ESHUTDOWN, NULL)); /* nobody owns it */
    own = net_ask(&net, 0, CLUSTER_READ, "d1", NULL);
    net_settle(&net, true);
    ck_assert(net_answered(own, STORE_FOUND, "d1")); /* its owner is another now */
    net_crash(&net, 0);
    net_view(&net, 1, 6, 6);
    net_view(&net, 2, 6, 6);
    for (int i = 0; i < 6; i++)
        ck_assert_str_eq(net_read(&net, 1 + i % 2, ids[i]), ids[i]);
    net_end(&net);
}
END_TEST

/* The object is given up after the first of the requests that waited: the others claim it again. */
START_TEST(what_waits_behind_a_release_goes_on)
{
    net_init(&net, 1, 0, 0);
    net_start(&net, 5);
    ck_assert_str_eq(net_read(&net, 0, "x"), "");
    net.now_ms += 20000; /* the lease is over */
    struct net_request *first = net_ask(&net, 0, CLUSTER_READ, "x", NULL);
    struct net_request *second = net_ask(&net, 0, CLUSTER_READ, "x", NULL);
    ck_assert_int_eq(first->answers + second->answers, 0);
    net.leave_at_once = true;
    net_pass(&net, 300, true);
    ck_assert(net_answered(first, STORE_ABSENT, NULL));
    ck_assert(net_answered(second, STORE_ABSENT, NULL));
    ck_assert_uint_ge(cluster_metrics(net.nodes[0].cluster, net.now_ms)->claims, 2);
    net_end(&net);
}
END_TEST

static uint64_t takeovers(int node)
{
    return cluster_metrics(net.nodes[node].cluster, net.now_ms)->takeovers;
}

/* What a draining node parted with it does not claim itself, also where it is the home and is the
 * first to be asked. */
START_TEST(a_drained_node_takes_nothing_back)
{
    net_init(&net, 2, 1, 0);
    net_start(&net, 5);
    const char *id = net_id(3, 0, 0, -1, -1, -1);
    (void)net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    net_pass(&net, 500, true); /* at the beginning of a view copies are left alone */
    uint64_t claims = cluster_metrics(net.nodes[0].cluster, net.now_ms)->claims;
    net_hold(&net, "claim", 1, 0);
    cluster_drain(net.nodes[0].cluster, net.now_ms);
    net_pass(&net, 50, true);
    ck_assert(!net_owns(&net, 0, id));
    ck_assert_uint_eq(net_count(&net, "claim", 1, 0), 1);
    net_pass(&net, 50, true); /* it looks after its copies, and not yet after this one */
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->claims, claims);
    net_unhold(&net, "claim");
    net_pass(&net, 500, true);
    ck_assert(net_owns(&net, 1, id));
    ck_assert_int_eq(cluster_state(net.nodes[0].cluster), CLUSTER_DRAINED);
    ck_assert_uint_eq(takeovers(0), 0);
    net_end(&net);
}
END_TEST

/* A copy that nobody owns, of a node that is gone: a draining node has another claim it. */
START_TEST(a_draining_node_lets_others_claim)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 1, 6, 1, 0, 1);
    (void)net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    ck_assert(cluster_copy_held(net.nodes[1].cluster, slice_of_string(id), NULL));
    cluster_drain(net.nodes[1].cluster, net.now_ms);
    net_crash(&net, 0);
    net_view(&net, 1, 6, 6);
    net_view(&net, 2, 6, 6);
    net_pass(&net, 1000, true);
    ck_assert(net_owns(&net, 2, id));
    ck_assert_int_eq(cluster_state(net.nodes[1].cluster), CLUSTER_DRAINED);
    ck_assert_uint_eq(takeovers(1), 0);
    ck_assert_str_eq(net_read(&net, 2, id), "one");
    net_end(&net);
}
END_TEST

/* The nudge is there before the release: the home asks, and is told. */
START_TEST(a_nudge_before_its_release_is_enough)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, 0, 2);
    (void)net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    net_hold(&net, "release", 0, 2);
    cluster_drain(net.nodes[0].cluster, net.now_ms);
    net_pass(&net, 50, true);
    ck_assert_uint_eq(net_count(&net, "release", 0, 2), 1);
    ck_assert(net_owns(&net, 2, id));
    net_unhold(&net, "release");
    net_pass(&net, 500, true);
    ck_assert(net_owns(&net, 2, id));
    ck_assert_str_eq(net_read(&net, 1, id), "one");
    net_end(&net);
}
END_TEST

/* All drain: nobody claims what another parts with, so who takes it back keeps it for the store to
 * dump. */
START_TEST(all_drain)
{
    net_init(&net, 2, 1, 0);
    net_start(&net, 5);
    (void)net_ask(&net, 0, CLUSTER_WRITE, "x", "one");
    net_settle(&net, true);
    for (int i = 0; i < 2; i++)
        cluster_drain(net.nodes[i].cluster, net.now_ms);
    net_pass(&net, 2000, true);
    ck_assert_uint_eq(takeovers(0) + takeovers(1), 1);
    int owner = net_owns(&net, 0, "x") ? 0 : 1;
    ck_assert(net_owns(&net, owner, "x"));
    net_dump(&net, owner, "x");
    net_pass(&net, 500, true);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(cluster_state(net.nodes[i].cluster), CLUSTER_DRAINED);
    ck_assert_str_eq(net_stored(&net, "x")->value.text, "one");
    net_end(&net);
}
END_TEST

/* What it handed over goes with the one that was to claim it: then it is taken back, and stays
 * until it is dumped. */
START_TEST(the_last_to_drain_keeps_what_it_could_not_hand_over)
{
    net_init(&net, 2, 1, 0);
    net_start(&net, 5);
    (void)net_ask(&net, 0, CLUSTER_WRITE, "x", "one");
    net_settle(&net, true);
    net_hold(&net, "nudge", 0, 1);
    cluster_drain(net.nodes[0].cluster, net.now_ms);
    net_pass(&net, 20, true);
    ck_assert(!net_owns(&net, 0, "x"));
    net_crash(&net, 1);
    net_view(&net, 0, 6, 1);
    net_pass(&net, 2000, true);
    ck_assert_int_ne(cluster_state(net.nodes[0].cluster), CLUSTER_DRAINED);
    ck_assert(net_owns(&net, 0, "x"));
    net_dump(&net, 0, "x");
    net_pass(&net, 500, true);
    ck_assert_int_eq(cluster_state(net.nodes[0].cluster), CLUSTER_DRAINED);
    ck_assert_str_eq(net_stored(&net, "x")->value.text, "one");
    net_end(&net);
}
END_TEST

/* Who has left says so to those who do not know it yet: nothing that they ask is in doubt. */
START_TEST(who_has_left_refuses)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 1, 0, -1, 0, -1);
    (void)net_ask(&net, 0, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    net_dump(&net, 0, id);
    net_settle(&net, true);
    ck_assert_str_eq(net_read(&net, 2, id), "one"); /* node 2 knows the owner */
    struct cluster *left = net.nodes[0].cluster;
    cluster_lost(left, net.now_ms);
    struct net_request *early = net_ask(&net, 2, CLUSTER_WRITE, id, "two");
    net_settle(&net, true);
    while (cluster_state(left) != CLUSTER_OUT)
        cluster_advance(left, net.now_ms, 1000);
    struct net_request *late = net_ask(&net, 2, CLUSTER_WRITE, id, "three");
    net_settle(&net, true);
    ck_assert_int_eq(early->answers + late->answers, 0);
    net_view(&net, 1, 6, 6);
    net_view(&net, 2, 6, 6);
    net_pass(&net, 500, true);
    ck_assert(net_answered(early, STORE_DONE, NULL));
    ck_assert(net_answered(late, STORE_DONE, NULL));
    ck_assert_str_eq(net_read(&net, 1, id), "three");
    net_end(&net);
}
END_TEST

/* Messages of a view that is not installed yet wait for it, and ask for it. */
START_TEST(newer_messages_wait)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    net_view(&net, 0, 6, 7);
    net_settle(&net, false);
    ck_assert_uint_eq(net.nodes[1].behind, 6);
    ck_assert_uint_gt(cluster_metrics(net.nodes[1].cluster, net.now_ms)->messages_stashed, 0);
    net_view(&net, 1, 6, 7);
    net_view(&net, 2, 6, 7);
    net_settle(&net, false);
    for (int i = 0; i < 3; i++) {
        const struct cluster_metrics *m = cluster_metrics(net.nodes[i].cluster, net.now_ms);
        ck_assert_uint_eq(m->slots, m->slots_open);
    }
    net_end(&net);
}
END_TEST

/* Without room for them they are repeated. */
START_TEST(lost_reports_are_repeated)
{
    net_init(&net, 3, 1, 0);
    net.stash_limit = 0;
    net_start(&net, 5);
    net_pass(&net, 500, true);
    for (int i = 0; i < 3; i++) {
        const struct cluster_metrics *m = cluster_metrics(net.nodes[i].cluster, net.now_ms);
        ck_assert_uint_eq(m->slots, m->slots_open);
        ck_assert_uint_eq(net.nodes[i].evictions, 0);
    }
    net_end(&net);
}
END_TEST

START_TEST(hellos)
{
    net_init(&net, 1, 0, 0);
    net_create_clusters(&net);
    struct buffer out;
    buffer_init(&out);
    const char *why;
    cluster_hello_write(net.nodes[0].cluster, &out);
    ck_assert_int_eq(cluster_hello_read(net.nodes[0].cluster, buffer_slice(&out), &why), 0);
    for (size_t cut = 0; cut < out.size; cut++)
        ck_assert_int_eq(
            cluster_hello_read(net.nodes[0].cluster, slice_of(out.data, cut), &why), BRAIN_EPROTO);
    out.data[out.size - 1] ^= 1;
    ck_assert_int_eq(
        cluster_hello_read(net.nodes[0].cluster, buffer_slice(&out), &why), BRAIN_EPROTO);
    ck_assert_ptr_nonnull(strstr(why, "seed"));
    buffer_clear(&out);
    etf_write_tuple(&out, 2);
    etf_write_atom(&out, "hello");
    etf_write_uint64(&out, CLUSTER_PROTOCOL + 1);
    ck_assert_int_eq(
        cluster_hello_read(net.nodes[0].cluster, buffer_slice(&out), &why), BRAIN_EPROTO);
    ck_assert_ptr_nonnull(strstr(why, "version"));
    buffer_release(&out);
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster behaviour");
    TCase *tcase = tcase_create("behaviour");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_cluster_of_one_sends_nothing);
    tcase_add_test(tcase, before_it_joins_a_node_knows_nothing);
    tcase_add_test(tcase, requests_keep_their_order);
    tcase_add_test(tcase, requests_end_in_time);
    tcase_add_test(tcase, a_lost_link_is_noticed);
    tcase_add_test(tcase, weak_reads);
    tcase_add_test(tcase, a_node_comes_back);
    tcase_add_test(tcase, a_drained_node_owns_nothing);
    tcase_add_test(tcase, what_waits_behind_a_release_goes_on);
    tcase_add_test(tcase, a_drained_node_takes_nothing_back);
    tcase_add_test(tcase, a_draining_node_lets_others_claim);
    tcase_add_test(tcase, a_nudge_before_its_release_is_enough);
    tcase_add_test(tcase, all_drain);
    tcase_add_test(tcase, the_last_to_drain_keeps_what_it_could_not_hand_over);
    tcase_add_test(tcase, who_has_left_refuses);
    tcase_add_test(tcase, newer_messages_wait);
    tcase_add_test(tcase, lost_reports_are_repeated);
    tcase_add_test(tcase, hellos);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
