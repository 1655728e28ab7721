/* Who owns an object when nothing is broken: claims, grants, and forwards that come before them.
 * One scenario each, messages delivered by hand. */
#include <check.h>
#include <stdio.h>

#include "cluster_net.h"
#include "suite.h"

static struct net net;

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

/* Nobody waits for it any more. */
START_TEST(an_answer_that_comes_too_late_is_ignored)
{
    net_init(&net, 3, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(7, 2, 0, -1, -1, -1);
    net_hold(&net, "located", 2, 0);
    struct net_request *where = net_ask(&net, 0, CLUSTER_OWNER, id, NULL);
    net_pass(&net, 10000, true);
    ck_assert_int_eq(where->answers, 1);
    ck_assert_int_lt(where->status, 0);
    ck_assert_uint_ge(net_count(&net, "located", 2, 0), 1);
    net_unhold(&net, "located");
    net_settle(&net, true);
    ck_assert_str_eq(net_read(&net, 0, id), "");
    net_end(&net);
}
END_TEST

/* A claimer has one claim in line, its last, and takes nobody else's place there. */
START_TEST(a_claim_that_is_repeated_takes_the_place_of_the_one_before)
{
    net_init(&net, 4, 0, 0);
    net_start(&net, 5);
    const char *id = net_id(15, 2, 0, -1, -1, -1);
    net_hold(&net, "report", 3, 2); /* so the slot is closed */
    for (int i = 0; i < 4; i++)
        net_view(&net, i, 6, 15);
    net_settle(&net, true);
    ck_assert(!cluster_is_open(net.nodes[2].cluster, slice_of_string(id)));
    struct net_request *a = net_ask(&net, 0, CLUSTER_READ, id, NULL);
    struct net_request *b = net_ask(&net, 1, CLUSTER_READ, id, NULL);
    net_pass(&net, 900, true);
    ck_assert_uint_gt(cluster_metrics(net.nodes[0].cluster, net.now_ms)->claims, 1);
    ck_assert_uint_gt(cluster_metrics(net.nodes[1].cluster, net.now_ms)->claims, 1);
    const uint64_t claims = cluster_metrics(net.nodes[0].cluster, net.now_ms)->claims +
                            cluster_metrics(net.nodes[1].cluster, net.now_ms)->claims;
    net_hold(&net, "grant", 2, -1);
    net_hold(&net, "owned", 2, -1);
    net_unhold(&net, "report");
    net_settle(&net, true);
    ck_assert_uint_eq(net_count(&net, "grant", 2, -1), 1);
    ck_assert_uint_eq(net_count(&net, "owned", 2, -1), 1);
    net_unhold(&net, "grant");
    net_unhold(&net, "owned");
    net_settle(&net, true);
    ck_assert(net_answered(a, STORE_ABSENT, NULL) && net_answered(b, STORE_ABSENT, NULL));
    ck_assert_uint_eq(cluster_metrics(net.nodes[0].cluster, net.now_ms)->claims +
                          cluster_metrics(net.nodes[1].cluster, net.now_ms)->claims,
        claims);
    net_end(&net);
}
END_TEST

/* R4: what is stored may have an epoch of anybody's making. */
START_TEST(what_is_stored_under_any_epoch_is_written_over)
{
    static const struct cluster_epoch stored[] = {{9, 3}, {9, UINT32_MAX}, {9, UINT64_MAX - 1},
        {9, (UINT64_C(1) << 44) - 1}, {9, UINT64_MAX}};
    for (size_t i = 0; i < sizeof(stored) / sizeof(stored[0]); i++) {
        net_init(&net, 2, 1, 0);
        net_start(&net, 5);
        const char *id = net_id(3, 1, 0, -1, -1, -1);
        net_store(&net, id, (struct version){stored[i].view, stored[i].counter, 1}, "old");
        ck_assert_str_eq(net_read(&net, 0, id), "old");
        struct net_request *write = net_ask(&net, 0, CLUSTER_WRITE, id, "new");
        net_pass(&net, 1000, true);
        ck_assert(net_answered(write, STORE_DONE, NULL));
        net_dump(&net, 0, id);
        net_pass(&net, 1000, true);
        ck_assert_str_eq(net_stored(&net, id)->value.text, "new");
        ck_assert_int_gt(cluster_epoch_compare(epoch_of(0, id), stored[i]), 0);
        ck_assert_uint_eq(net.bad, 0);
        net_end(&net);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster claims");
    TCase *tcase = tcase_create("claims");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_home_that_takes_shares_epochs);
    tcase_add_test(tcase, any_node_answers_for_any_object);
    tcase_add_test(tcase, two_first_touches_have_one_owner);
    tcase_add_test(tcase, a_forward_before_its_grant_waits);
    tcase_add_test(tcase, a_forward_before_a_grant_that_is_lost_is_refused);
    tcase_add_test(tcase, a_forward_before_a_grant_that_never_comes_times_out);
    tcase_add_test(tcase, claims_become_patient);
    tcase_add_test(tcase, an_answer_that_comes_too_late_is_ignored);
    tcase_add_test(tcase, a_claim_that_is_repeated_takes_the_place_of_the_one_before);
    tcase_add_test(tcase, what_is_stored_under_any_epoch_is_written_over);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
