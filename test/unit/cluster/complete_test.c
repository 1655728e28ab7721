/* Objects that move while the warehouse is away (docs/decisions/0018): what its last owner released
 * is shown at once, and only that. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "cluster_net.h"
#include "suite.h"

static struct net net;

enum { A = 0, B = 1, C = 2, D = 3, ABC = 7, ABCD = 15, BC = 6, BCD = 14 };

/* A owns a dirty object, and the warehouse is gone. */
static void start_view(uint32_t count, unsigned members)
{
    net_init(&net, count, 0, 0);
    net.handoff_uses = 2;
    net_create_clusters(&net);
    for (uint32_t i = 0; i < count; i++)
        net.nodes[i].incarnation += members >> i & 1;
    for (uint32_t i = 0; i < count; i++) {
        if (!(members >> i & 1))
            continue;
        net.nodes[i].incarnation--;
        net_join(&net, (int)i, 5, members);
    }
    net_settle(&net, true);
}

static bool written(int node, const char *id, const char *text)
{
    struct net_request *write = net_ask(&net, node, CLUSTER_WRITE, id, text);
    net_settle(&net, true);
    return net_answered(write, STORE_DONE, NULL);
}

static void owned_by_a(const char *id, const char *text)
{
    net_store(&net, id, (struct version){1, 1, 1}, "old");
    ck_assert(written(A, id, text));
    net.away = true;
}

/* A's object moves to who uses it: two reads do that. */
static void use_twice(int from, const char *id)
{
    for (int i = 0; i < 2; i++) {
        (void)net_ask(&net, from, CLUSTER_READ, id, NULL);
        net_settle(&net, true);
    }
}

static void move(int to, const char *id)
{
    use_twice(to, id);
    net_pass(&net, 200, true);
}

static bool reads(int node, const char *id, const char *text)
{
    struct net_request *read = net_ask(&net, node, CLUSTER_READ, id, NULL);
    net_pass(&net, 400, true);
    return net_answered(read, *text ? STORE_FOUND : STORE_ABSENT, *text ? text : NULL);
}

static uint64_t shown_at_once(int node)
{
    return cluster_metrics(net.nodes[node].cluster, net.now_ms)->takeovers_complete;
}

/* Whoever is the home: another, the old owner, the new one. */
START_TEST(an_object_moves_without_the_warehouse)
{
    start_view(3, ABC);
    const char *id = net_id(ABC, _i, 0, -1, A, -1);
    owned_by_a(id, "one");
    move(B, id);
    ck_assert(net_owns(&net, B, id));
    ck_assert_uint_eq(shown_at_once(B), 1);
    for (int node = A; node <= C; node++)
        ck_assert(reads(node, id, "one"));
    ck_assert(written(C, id, "two"));
    ck_assert(reads(A, id, "two"));
    move(C, id); /* its base was such a copy */
    ck_assert(net_owns(&net, C, id));
    ck_assert(reads(A, id, "two"));
    net.away = false;
    net_dump(&net, C, id);
    net_pass(&net, 400, true);
    ck_assert_str_eq(net_stored(&net, id)->value.text, "two");
    for (int node = A; node <= C; node++)
        ck_assert(!cluster_copy_held(net.nodes[node].cluster, slice_of_string(id), NULL));
    net_end(&net);
}
END_TEST

START_TEST(a_deleted_object_moves_too)
{
    start_view(3, ABC);
    const char *id = net_id(ABC, C, 0, -1, A, -1);
    owned_by_a(id, "one");
    struct net_request *deleted = net_ask(&net, A, CLUSTER_DELETE, id, NULL);
    net_settle(&net, true);
    ck_assert(net_answered(deleted, STORE_DONE, NULL));
    move(B, id);
    ck_assert(net_owns(&net, B, id));
    ck_assert(reads(C, id, ""));
    net_end(&net);
}
END_TEST

/* A drains: the objects go to their first holders. */
START_TEST(a_drain_needs_no_warehouse)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    char ids[9][NET_TEXT];
    for (int i = 0; i < 9; i++) {
        snprintf(ids[i], NET_TEXT, "d%d", i);
        ck_assert(written(A, ids[i], ids[i]));
    }
    net.away = true;
    cluster_drain(net.nodes[A].cluster, net.now_ms);
    net_pass(&net, 2000, true);
    ck_assert_int_eq(cluster_state(net.nodes[A].cluster), CLUSTER_DRAINED);
    net_crash(&net, A);
    net_view(&net, B, 6, BC);
    net_view(&net, C, 6, BC);
    for (int i = 0; i < 9; i++) {
        ck_assert(reads(B + i % 2, ids[i], ids[i]));
        ck_assert(written(C - i % 2, ids[i], "new"));
    }
    net_end(&net);
}
END_TEST

/* The first grant is lost; nobody else had it meanwhile, and the claims say so. */
START_TEST(a_lost_grant_is_told_again)
{
    start_view(3, ABC);
    const char *id = net_id(ABC, C, 0, -1, A, -1);
    owned_by_a(id, "one");
    net_drop(&net, "grant", C, B);
    move(B, id);
    ck_assert(!net_owns(&net, B, id) && !net_owns(&net, A, id));
    net_unhold(&net, "grant");
    net_pass(&net, 1000, true);
    ck_assert(net_owns(&net, B, id));
    ck_assert(reads(B, id, "one"));
    ck_assert_uint_eq(shown_at_once(B), 1);
    net_end(&net);
}
END_TEST

/* The release is lost: the home finds out by asking, and hears the same. */
START_TEST(a_lost_release_is_told_again)
{
    start_view(3, ABC);
    const char *id = net_id(ABC, C, 0, -1, A, -1);
    owned_by_a(id, "one");
    net_drop(&net, "release", -1, -1);
    net_drop(&net, "nudge", -1, -1);
    net_hold(&net, "claim", A, C); /* A would look after its copy */
    move(B, id);
    ck_assert(!net_owns(&net, A, id));
    ck_assert(reads(B, id, "one"));
    ck_assert_uint_eq(shown_at_once(B), 1);
    net_end(&net);
}
END_TEST

/* Granted to B, which adopted it, wrote, persisted, released it; then others ask. */
START_TEST(another_owner_in_between_is_noticed)
{
    start_view(3, ABC);
    const char *id = net_id(ABC, C, 0, -1, A, -1);
    owned_by_a(id, "one");
    move(B, id);
    net.away = false;
    net_drop(&net, "discard", -1, -1);
    ck_assert(written(B, id, "two"));
    net_dump(&net, B, id);
    net_settle(&net, true);
    ck_assert(net_idle(&net, B, id));
    ck_assert(cluster_copy_held(net.nodes[A].cluster, slice_of_string(id), NULL));
    ck_assert(reads(C, id, "two"));
    ck_assert_uint_eq(shown_at_once(C), 0);
    net_end(&net);
}
END_TEST

/* The view changes between release and claim. */
static void released_before_a_view(int home, int home_then, const char **id)
{
    start_view(4, ABC);
    *id = net_id(ABC, home, ABCD, home_then, A, -1);
    owned_by_a(*id, "one");
    net_drop(&net, "nudge", -1, -1);
    use_twice(B, *id);
    ck_assert(!net_owns(&net, A, *id) && !net_owns(&net, B, *id));
    net.nodes[D].incarnation++;
    for (int i = A; i <= C; i++)
        net_view(&net, i, 6, ABCD);
    net.nodes[D].incarnation--;
    net_join(&net, D, 6, ABCD);
    net_settle(&net, true);
}

START_TEST(the_same_home_still_knows)
{
    const char *id;
    released_before_a_view(_i, _i, &id);
    ck_assert(reads(B, id, "one"));
    net_end(&net);
}
END_TEST

START_TEST(another_home_does_not)
{
    const char *id;
    released_before_a_view(C, D, &id);
    struct net_request *read = net_ask(&net, B, CLUSTER_READ, id, NULL);
    net_pass(&net, 400, true);
    ck_assert_int_eq(read->answers, 0);
    net.away = false;
    net_pass(&net, 400, true);
    ck_assert(net_answered(read, STORE_FOUND, "one"));
    net_end(&net);
}
END_TEST

/* After its owner's death a strong read compares; the last dump may be newer than the copy. */
START_TEST(the_copy_of_a_dead_owner_is_compared)
{
    net_init(&net, 3, 1, 0);
    net_start(&net, 5);
    const char *id = net_id(ABC, C, BC, C, A, -1);
    ck_assert(written(A, id, "one"));
    net.away = true;
    net_crash(&net, A);
    net_view(&net, B, 6, BC);
    net_view(&net, C, 6, BC);
    struct net_request *read = net_ask(&net, B, CLUSTER_READ, id, NULL);
    net_pass(&net, 400, true);
    ck_assert_int_eq(read->answers, 0);
    net.away = false;
    net_pass(&net, 400, true);
    ck_assert(net_answered(read, STORE_FOUND, "one"));
    ck_assert_uint_eq(shown_at_once(B) + shown_at_once(C), 0);
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("complete copies");
    TCase *tcase = tcase_create("moves");
    tcase_set_timeout(tcase, 20);
    tcase_add_loop_test(tcase, an_object_moves_without_the_warehouse, A, D);
    tcase_add_test(tcase, a_deleted_object_moves_too);
    tcase_add_test(tcase, a_drain_needs_no_warehouse);
    tcase_add_test(tcase, a_lost_grant_is_told_again);
    tcase_add_test(tcase, a_lost_release_is_told_again);
    tcase_add_test(tcase, another_owner_in_between_is_noticed);
    tcase_add_loop_test(tcase, the_same_home_still_knows, A, D);
    tcase_add_test(tcase, another_home_does_not);
    tcase_add_test(tcase, the_copy_of_a_dead_owner_is_compared);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
