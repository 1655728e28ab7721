/* R12 at any time: members that cannot hear each other find out, and one of them goes. */
#include <check.h>
#include <string.h>

#include "cluster_net.h"
#include "suite.h"

static struct net net;

enum { A, B, C, D, TIMEOUT_MS = 1000, KEEP_MS = 60000 };

static void start(uint32_t count, uint32_t backups, uint64_t broken)
{
    net_init(&net, count, backups, broken);
    net_start(&net, 5);
    net_pass(&net, 2 * TIMEOUT_MS, true);
}

static void cut(int from, int to)
{
    net_drop(&net, "*", from, to);
}

static uint32_t evictions(int node)
{
    return net.nodes[node].evictions;
}

START_TEST(nobody_goes_while_all_are_heard)
{
    start(4, 1, 0);
    uint64_t before = cluster_metrics(net.nodes[A].cluster, net.now_ms)->messages;
    net_pass(&net, 20 * TIMEOUT_MS, true);
    const struct cluster_metrics *m = cluster_metrics(net.nodes[A].cluster, net.now_ms);
    for (int i = A; i <= D; i++)
        ck_assert_uint_eq(evictions(i), 0);
    ck_assert_uint_eq(m->silent, 0);
    /* Three a timeout from each of the three others, and not more. */
    ck_assert_uint_le(m->messages - before, 3 * 3 * 20);
    ck_assert_uint_ge(m->messages - before, 3 * 2 * 20);
    net_end(&net);
}
END_TEST

/* Neither hears the other, the third hears both: the first of the view is the one who says so, and
 * sooner. */
START_TEST(a_cut_is_noticed_in_a_quiet_view)
{
    start(3, 0, 0);
    cut(A, B);
    cut(B, A);
    net_pass(&net, TIMEOUT_MS / 2, true);
    ck_assert_uint_eq(evictions(A) + evictions(B), 0);
    net_pass(&net, TIMEOUT_MS, true);
    ck_assert_uint_eq(evictions(A), 1);
    ck_assert_int_eq(net.nodes[A].evicted, B);
    ck_assert_uint_eq(evictions(B), 0);
    net_pass(&net, 2 * TIMEOUT_MS, true); /* B: in case A is not able to */
    ck_assert_int_eq(net.nodes[B].evicted, A);
    ck_assert_uint_ge(evictions(B), 1);
    ck_assert_uint_eq(evictions(C), 0);
    ck_assert_uint_eq(cluster_metrics(net.nodes[A].cluster, net.now_ms)->silent, 1);
    net_end(&net);
}
END_TEST

/* One direction: the deaf end knows by itself, the other one is told. */
START_TEST(a_cut_in_one_direction_is_known_at_both_ends)
{
    for (int deaf = A; deaf <= B; deaf++) {
        start(3, 0, 0);
        cut(A + B - deaf, deaf);
        net_pass(&net, 4 * TIMEOUT_MS, true);
        ck_assert_int_eq(net.nodes[A].evicted, B);
        ck_assert_int_eq(net.nodes[B].evicted, A);
        ck_assert_uint_ge(evictions(A), 1);
        ck_assert_uint_ge(evictions(B), 1);
        ck_assert_uint_eq(evictions(C), 0);
        net_end(&net);
    }
}
END_TEST

/* A silence that ended counts no more, also between members that always have something else to say
 * than a ping. */
START_TEST(a_silence_that_ended_is_forgotten_by_busy_members)
{
    start(3, 0, 0);
    struct net_request *write = net_ask(&net, A, CLUSTER_WRITE, "x", "one");
    net_settle(&net, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    cut(A, B);
    net_pass(&net, TIMEOUT_MS * 9 / 10, true); /* B has told A that it does not hear it */
    net_unhold(&net, "*");
    for (int i = 0; i < 40; i++) {
        struct net_request *read = net_ask(&net, B, CLUSTER_READ, "x", NULL);
        net_pass(&net, TIMEOUT_MS / 10, true);
        ck_assert(net_answered(read, STORE_FOUND, "one"));
    }
    for (int i = A; i <= C; i++)
        ck_assert_uint_eq(evictions(i), 0);
    net_end(&net);
}
END_TEST

/* Who hears nobody is the one with the fault, wherever it stands in the view. */
START_TEST(a_deaf_member_evicts_nobody)
{
    for (int deaf = A; deaf <= C; deaf++) {
        start(3, 0, 0);
        for (int i = A; i <= C; i++)
            if (i != deaf)
                cut(i, deaf);
        net_pass(&net, 3 * TIMEOUT_MS, true);
        for (int i = A; i <= C; i++) {
            ck_assert_uint_eq(evictions(i) == 0, i == deaf);
            ck_assert(i == deaf || net.nodes[i].evicted == deaf);
        }
        net_pass(&net, 2 * TIMEOUT_MS, true); /* nobody else is able to: it has to be */
        ck_assert_uint_ge(evictions(deaf), 1);
        net_end(&net);
    }
}
END_TEST

START_TEST(of_two_halves_the_first_stays)
{
    start(4, 0, 0);
    for (int i = A; i <= B; i++) {
        for (int j = C; j <= D; j++)
            cut(i, j), cut(j, i);
    }
    net_pass(&net, 5 * TIMEOUT_MS / 2, true);
    ck_assert_uint_eq(evictions(A), 2);
    ck_assert_uint_eq(evictions(B), 2);
    ck_assert_uint_eq(evictions(C) + evictions(D), 0);
    net_end(&net);
}
END_TEST

/* A changing view does not begin the count anew. */
START_TEST(views_do_not_hide_a_cut)
{
    start(3, 0, 0);
    cut(A, B);
    cut(B, A);
    net_drop(&net, "report_ack", -1, -1); /* this silence begins with each view */
    for (uint64_t view = 6; view < 10; view++) {
        for (int i = A; i <= C; i++)
            net_view(&net, i, view, 7);
        net_pass(&net, TIMEOUT_MS / 2, true);
    }
    ck_assert_uint_ge(evictions(A), 1);
    ck_assert_int_eq(net.nodes[A].evicted, B);
    net_end(&net);
}
END_TEST

/* It was this process that stood still. */
START_TEST(a_pause_is_no_silence)
{
    start(3, 0, 0);
    net.now_ms += 8 * TIMEOUT_MS;
    net_settle(&net, true);
    net_pass(&net, 2 * TIMEOUT_MS, true);
    for (int i = A; i <= C; i++)
        ck_assert_uint_eq(evictions(i), 0);
    net_end(&net);
}
END_TEST

START_TEST(without_the_rule_nobody_notices)
{
    start(3, 0, CLUSTER_BREAK(CLUSTER_R12_HEAR));
    cut(A, B);
    cut(B, A);
    net_pass(&net, 10 * TIMEOUT_MS, true);
    ck_assert_uint_eq(evictions(A) + evictions(B) + evictions(C), 0);
    net_end(&net);
}
END_TEST

static void write_backed_up(const char *id)
{
    struct net_request *write = net_ask(&net, A, CLUSTER_WRITE, id, "one");
    net_settle(&net, true);
    ck_assert(net_answered(write, STORE_DONE, NULL));
    ck_assert(cluster_copy_held(net.nodes[B].cluster, slice_of_string(id), NULL));
}

/* R10: of a deletion that the holder does not hear of the mark is forgotten after a while. */
START_TEST(a_copy_that_nobody_wants_is_set_aside)
{
    start(2, 1, CLUSTER_BREAK(CLUSTER_R12_EVICT));
    write_backed_up("x");
    net_pass(&net, 2 * KEEP_MS, true); /* its owner wants it */
    ck_assert(cluster_copy_held(net.nodes[B].cluster, slice_of_string("x"), NULL));
    cut(A, B);
    net_pass(&net, KEEP_MS / 2, true);
    ck_assert(cluster_copy_held(net.nodes[B].cluster, slice_of_string("x"), NULL));
    net_pass(&net, KEEP_MS / 2, true);
    ck_assert(!cluster_copy_held(net.nodes[B].cluster, slice_of_string("x"), NULL));
    ck_assert_uint_eq(net.nodes[B].set_aside, 1);
    net_end(&net);
}
END_TEST

/* The age of what a journal brings back counts from before this process. */
START_TEST(a_restored_copy_goes_on_ageing)
{
    net_init(&net, 1, 1, 0);
    net.now_ms = UINT64_C(1000000000);
    net_create_clusters(&net);
    static const uint8_t term[] = {109, 0, 0, 0, 1, 'x'};
    struct cluster_copy copy = {{3, 1, 1}, false, value_copy(slice_of(term, sizeof(term)))};
    struct cluster *cluster = net.nodes[A].cluster;
    ck_assert_int_eq(cluster_restore(cluster, slice_of_string("old"), &copy, KEEP_MS / 2), 0);
    ck_assert_int_eq(cluster_restore(cluster, slice_of_string("new"), &copy, 0), 0);
    (void)cluster_advance(cluster, net.now_ms, 100);
    net.now_ms += KEEP_MS / 2;
    net_join(&net, A, 5, 1);
    ck_assert(!cluster_copy_held(cluster, slice_of_string("old"), NULL));
    ck_assert(cluster_copy_held(cluster, slice_of_string("new"), NULL));
    ck_assert_uint_eq(net.nodes[A].set_aside, 1);
    value_drop(&copy.value);
    net_end(&net);
}
END_TEST

static void restore(struct cluster *cluster, uint64_t seq, uint64_t age_ms)
{
    static const uint8_t term[] = {109, 0, 0, 0, 1, 'x'};
    struct cluster_copy copy = {{3, 1, seq}, false, value_copy(slice_of(term, sizeof(term)))};
    ck_assert_int_eq(cluster_restore(cluster, slice_of_string("x"), &copy, age_ms), 0);
    value_drop(&copy.value);
}

static uint64_t held_seq(const struct cluster *cluster)
{
    struct cluster_copy copy;
    return cluster_copy_held(cluster, slice_of_string("x"), &copy) ? copy.version.seq : 0;
}

/* A record that compaction wrote again stands behind younger ones: it says nothing of theirs, and
 * of its own version the younger age is true. */
START_TEST(a_record_speaks_of_its_own_version)
{
    net_init(&net, 1, 1, 0);
    net_create_clusters(&net);
    struct cluster *cluster = net.nodes[A].cluster;
    const struct slice x = slice_of_string("x");
    restore(cluster, 2, 30);
    restore(cluster, 1, 50);
    ck_assert_uint_eq(held_seq(cluster), 2);
    ck_assert_uint_eq(cluster_copy_age(cluster, x, 0), 30);
    ck_assert_uint_eq(cluster_copy_age(cluster, x, 500), 30); /* what time it is nobody knows yet */
    restore(cluster, 1, 10);
    ck_assert_uint_eq(cluster_copy_age(cluster, x, 0), 30);
    const uint32_t changed = net.nodes[A].copies_changed;
    restore(cluster, 1, KEEP_MS + 1);
    ck_assert_uint_eq(held_seq(cluster), 2);
    ck_assert_uint_eq(net.nodes[A].set_aside, 0); /* nobody needs it */
    restore(cluster, 2, 40);
    ck_assert_uint_eq(cluster_copy_age(cluster, x, 0), 30);
    restore(cluster, 2, 20);
    ck_assert_uint_eq(cluster_copy_age(cluster, x, 0), 20);
    restore(cluster, 3, 70);
    ck_assert_uint_eq(held_seq(cluster), 3);
    ck_assert_uint_eq(cluster_copy_age(cluster, x, 0), 70);
    restore(cluster, 4, KEEP_MS + 1);
    ck_assert_uint_eq(held_seq(cluster), 3);
    ck_assert_uint_eq(net.nodes[A].set_aside, 1);
    /* The record of what is held was not told to be needless: only that of 3 has changed it. */
    ck_assert_uint_eq(net.nodes[A].copies_changed, changed + 1);
    restore(cluster, 5, KEEP_MS);
    ck_assert_uint_eq(held_seq(cluster), 5);
    net_end(&net);
}
END_TEST

/* R10: it counts from when its owner wanted it last: for what this node owned, and may not have
 * known to be somebody else's since, from the end of its lease. */
START_TEST(the_age_of_a_copy)
{
    const struct slice x = slice_of_string("x");
    start(2, 1, CLUSTER_BREAK(CLUSTER_R12_EVICT));
    write_backed_up("x");
    const struct cluster *owner = net.nodes[A].cluster, *holder = net.nodes[B].cluster;
    const uint64_t wrote_ms = net.now_ms;
    ck_assert_uint_eq(cluster_copy_age(holder, x, wrote_ms), 0);
    ck_assert_uint_eq(cluster_copy_age(holder, x, wrote_ms + 70), 70);
    ck_assert_uint_eq(cluster_copy_age(holder, x, wrote_ms - 70), 0);
    ck_assert_uint_eq(cluster_copy_age(owner, x, wrote_ms), 0);
    ck_assert_uint_eq(cluster_copy_age(holder, slice_of_string("other"), wrote_ms), 0);
    /* The lease is the net's 10 s; then it is given up, and what is dirty becomes a copy. */
    net_lease(&net, A);
    const uint64_t until_ms = net.now_ms + net.lease_ms;
    net_pass(&net, net.lease_ms + 3000, false);
    (void)cluster_lost(net.nodes[A].cluster, net.now_ms);
    net_settle(&net, true);
    net_pass(&net, 500, false);
    ck_assert(cluster_copy_held(owner, x, NULL));
    ck_assert_uint_eq(cluster_copy_age(owner, x, net.now_ms), net.now_ms - until_ms);
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster liveness");
    TCase *tcase = tcase_create("liveness");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, nobody_goes_while_all_are_heard);
    tcase_add_test(tcase, a_cut_is_noticed_in_a_quiet_view);
    tcase_add_test(tcase, a_cut_in_one_direction_is_known_at_both_ends);
    tcase_add_test(tcase, a_silence_that_ended_is_forgotten_by_busy_members);
    tcase_add_test(tcase, a_deaf_member_evicts_nobody);
    tcase_add_test(tcase, of_two_halves_the_first_stays);
    tcase_add_test(tcase, views_do_not_hide_a_cut);
    tcase_add_test(tcase, a_pause_is_no_silence);
    tcase_add_test(tcase, without_the_rule_nobody_notices);
    tcase_add_test(tcase, a_copy_that_nobody_wants_is_set_aside);
    tcase_add_test(tcase, a_restored_copy_goes_on_ageing);
    tcase_add_test(tcase, a_record_speaks_of_its_own_version);
    tcase_add_test(tcase, the_age_of_a_copy);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
