/* What a cluster does when nothing is broken: claims, forwards, order, copies, views, hand-off,
 * drain, fencing, weak reads. One scenario each, messages delivered by hand. */
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

static struct cluster_epoch epoch_of(int node, const char *id)
{
    struct cluster_epoch epoch = {0, 0};
    ck_assert(cluster_owns(net.nodes[node].cluster, slice_of_string(id), &epoch));
    return epoch;
}

/* What a home takes for itself has one epoch, but no id ever has the same one twice in a view. */
START_TEST(a_home_that_takes_shares_epochs)
{
    net_init(&net, 2, 0, 0);
    net_start(&net, 5);
    char ids[4][NET_TEXT];
    const char *other = ids[3];
    for (unsigned found = 0, i = 0; found < 4; i++) {
        snprintf(ids[found], NET_TEXT, "y%u", i);
        found += cluster_is_open(net.nodes[0].cluster, slice_of_string(ids[found]));
    }
    ck_assert_str_eq(net_read(&net, 0, ids[0]), "");
    ck_assert_str_eq(net_read(&net, 0, ids[1]), "");
    struct cluster_epoch first = epoch_of(0, ids[0]);
    ck_assert_int_eq(cluster_epoch_compare(epoch_of(0, ids[1]), first), 0);
    /* One that comes again. */
    ck_assert(net_idle(&net, 0, ids[0]));
    ck_assert(!net_owns(&net, 0, ids[0]));
    ck_assert_str_eq(net_read(&net, 0, ids[0]), "");
    struct cluster_epoch again = epoch_of(0, ids[0]);
    ck_assert_int_gt(cluster_epoch_compare(again, first), 0);
    ck_assert_int_eq(cluster_epoch_compare(epoch_of(0, ids[1]), first), 0);
    ck_assert_str_eq(net_read(&net, 0, ids[2]), "");
    ck_assert_int_eq(cluster_epoch_compare(epoch_of(0, ids[2]), again), 0);
    /* One that was another's in between. */
    ck_assert_str_eq(net_read(&net, 1, other), "");
    struct cluster_epoch theirs = epoch_of(1, other);
    ck_assert_int_gt(cluster_epoch_compare(theirs, again), 0);
    ck_assert(net_idle(&net, 1, other));
    net_settle(&net, true);
    ck_assert_str_eq(net_read(&net, 0, other), "");
    ck_assert_int_gt(cluster_epoch_compare(epoch_of(0, other), theirs), 0);
    net_end(&net);
}
END_TEST

/* First touch wins, wherever the home is; everybody reaches the object. */
START_TEST(any_node_answers_for_any_object)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    for (int home = 0; home < 3; home++) {
        for (int owner = 0; owner < 3; owner++) {
            char id[NET_TEXT];
            snprintf(id, sizeof(id), "%s", net_id(7, home, 0, -1, owner, -1));
            char text[8];
            snprintf(text, sizeof(text), "v%d%d", home, owner);
            net_store(&net, id, (struct version){1, 1, 1}, "old");
            ck_assert_str_eq(net_read(&net, owner, id), owner == 0 ? "old" : net_read(&net, 0, id));
            struct net_request *write = net_ask(&net, owner, CLUSTER_WRITE, id, text);
            net_settle(&net, true);
            ck_assert(net_answered(write, STORE_DONE, NULL));
            for (int node = 0; node < 3; node++)
                ck_assert_str_eq(net_read(&net, node, id), text);
            struct net_request *where = net_ask(&net, 2, CLUSTER_OWNER, id, NULL);
            net_settle(&net, true);
            ck_assert_int_eq(where->status, STORE_FOUND);
            ck_assert(net_owns(&net, where->answer[0] - 'a', id));
            struct net_request *deleted = net_ask(&net, 1, CLUSTER_DELETE, id, NULL);
            net_settle(&net, true);
            ck_assert(net_answered(deleted, STORE_DONE, NULL));
            ck_assert_str_eq(net_read(&net, 2, id), "");
        }
    }
    struct net_request *where = net_ask(&net, 1, CLUSTER_OWNER, "nobody", NULL);
    net_settle(&net, true);
    ck_assert(net_answered(where, STORE_ABSENT, NULL));
    net_end(&net);
}
END_TEST

START_TEST(two_first_touches_have_one_owner)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    struct net_request *a = net_ask(&net, 0, CLUSTER_WRITE, id, "a");
    struct net_request *b = net_ask(&net, 1, CLUSTER_WRITE, id, "b");
    net_settle(&net, true);
    ck_assert(net_answered(a, STORE_DONE, NULL) && net_answered(b, STORE_DONE, NULL));
    ck_assert_int_eq(net_owns(&net, 0, id) + net_owns(&net, 1, id), 1);
    ck_assert_str_eq(net_read(&net, 2, id), net_owns(&net, 0, id) ? "b" : "a");
    net_end(&net);
}
END_TEST

/* Who asks the home after a grant may reach the new owner before the grant does. */
START_TEST(a_forward_before_its_grant_waits)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    net_hold(&net, "grant", 2, 0);
    struct net_request *first = net_ask(&net, 0, CLUSTER_READ, id, NULL);
    net_settle(&net, true);
    struct net_request *early = net_ask(&net, 1, CLUSTER_WRITE, id, "b");
    net_settle(&net, true);
    ck_assert_uint_eq(cluster_metrics(net.nodes[1].cluster, net.now_ms)->forwards_sent, 1);
    ck_assert_int_eq(first->answers + early->answers, 0);
    net_unhold(&net, "grant");
    net_settle(&net, true);
    ck_assert(net_answered(first, STORE_ABSENT, NULL) && net_answered(early, STORE_DONE, NULL));
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->forwards_refused, 0);
    net_end(&net);
}
END_TEST

/* The grant that it waited for is lost, and the next one has another epoch. */
START_TEST(a_forward_before_a_grant_that_is_lost_is_refused)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    net_drop(&net, "grant", 2, 0);
    struct net_request *first = net_ask(&net, 0, CLUSTER_READ, id, NULL);
    net_settle(&net, true);
    struct net_request *early = net_ask(&net, 1, CLUSTER_WRITE, id, "b");
    net_settle(&net, true);
    net_unhold(&net, "grant");
    net_pass(&net, 300, true);
    ck_assert_int_eq(first->answers, 1);
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->forwards_refused, 1);
    ck_assert(net_answered(early, STORE_DONE, NULL));
    ck_assert_str_eq(net_read(&net, 2, id), "b");
    net_end(&net);
}
END_TEST

/* It waits no longer than any request. */
START_TEST(a_forward_before_a_grant_that_never_comes_times_out)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    net_drop(&net, "grant", 2, 0);
    (void)net_ask(&net, 0, CLUSTER_READ, id, NULL);
    net_settle(&net, true);
    struct net_request *early = net_ask(&net, 1, CLUSTER_WRITE, id, "b");
    net_pass(&net, 5500, true);
    ck_assert_int_eq(early->answers, 1);
    ck_assert(early->status == BRAIN_ETIMEOUT || early->status == BRAIN_EUNKNOWN);
    net_end(&net);
}
END_TEST

/* The answer to a claim that is repeated counts no more: each waits longer than the one before. */
START_TEST(claims_become_patient)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    net_hold(&net, "grant", 2, 0);
    struct net_request *read = net_ask(&net, 0, CLUSTER_READ, id, NULL);
    net_pass(&net, 1500, true);
    ck_assert_uint_ge(net_count(&net, "grant", 2, 0), 4);
    ck_assert_uint_le(net_count(&net, "grant", 2, 0), 5);
    for (int i = 0; i < 5; i++)
        (void)net_deliver(&net, "grant", 2, 0);
    net_settle(&net, true);
    ck_assert(net_answered(read, STORE_ABSENT, NULL));
    net_end(&net);
}
END_TEST

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

/* Order per id across the hop, while the owner changes under way. */
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
    tcase_add_test(tcase, a_home_that_takes_shares_epochs);
    tcase_add_test(tcase, any_node_answers_for_any_object);
    tcase_add_test(tcase, two_first_touches_have_one_owner);
    tcase_add_test(tcase, a_forward_before_its_grant_waits);
    tcase_add_test(tcase, a_forward_before_a_grant_that_is_lost_is_refused);
    tcase_add_test(tcase, a_forward_before_a_grant_that_never_comes_times_out);
    tcase_add_test(tcase, claims_become_patient);
    tcase_add_test(tcase, a_write_waits_for_its_copies);
    tcase_add_test(tcase, lost_backups_are_repeated);
    tcase_add_test(tcase, fewer_members_than_backups);
    tcase_add_test(tcase, a_copy_outlives_its_owner);
    tcase_add_test(tcase, an_unowned_copy_is_looked_after);
    tcase_add_test(tcase, a_forgotten_copy_is_discarded);
    tcase_add_test(tcase, requests_keep_their_order);
    tcase_add_test(tcase, requests_end_in_time);
    tcase_add_test(tcase, a_lost_link_is_noticed);
    tcase_add_test(tcase, weak_reads);
    tcase_add_test(tcase, a_node_comes_back);
    tcase_add_test(tcase, objects_follow_their_users);
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
    tcase_add_test(tcase, the_journals_objects_are_copies);
    tcase_add_test(tcase, hellos);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
