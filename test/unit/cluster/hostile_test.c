/* What a member may say that no member says: whoever has the cookie and a member's incarnation. It
 * must harm nobody for longer than it lasts. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "cluster_net.h"
#include "suite.h"
#include "wire.h"

static struct net net;
enum { A = 0, B = 1, C = 2, VIEW = 5 };

/* To A, as B. */
static int say(struct message message)
{
    struct buffer bytes;
    message.from = net.nodes[B].incarnation;
    if (message.to == 0)
        message.to = net.nodes[A].incarnation;
    if (message.view == 0)
        message.view = VIEW;
    buffer_init(&bytes);
    message_write(&bytes, &message);
    struct value term = value_copy(buffer_slice(&bytes));
    buffer_release(&bytes);
    int status = cluster_receive(
        net.nodes[A].cluster, slice_of_string(net.nodes[B].name), &term, NULL, net.now_ms);
    value_drop(&term);
    return status;
}

static const struct cluster_metrics *metrics(void)
{
    return cluster_metrics(net.nodes[A].cluster, net.now_ms);
}

static void start(uint32_t count, uint32_t backups)
{
    net_init(&net, count, backups, 0);
    net_start(&net, VIEW);
    net_settle(&net, true);
}

/* The grant is above every epoch that the claimer names, whatever that is. */
START_TEST(a_claim_above_any_counter)
{
    static const uint64_t counters[] = {
        UINT64_MAX, UINT64_C(1) << 44, (UINT64_C(1) << 44) - 1, (UINT64_C(1) << 44) - 2, 1, 0};
    start(2, 0);
    const char *id = net_id(3, A, 0, -1, -1, -1);
    struct message claim = {.kind = MESSAGE_CLAIM, .key = key_of(7, slice_of_string(id))};
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        uint64_t before = metrics()->grants;
        claim.second_epoch = (struct cluster_epoch){VIEW, counters[i]};
        ck_assert_int_eq(say(claim), 0);
        ck_assert_uint_eq(metrics()->grants, before + 1);
    }
    net_settle(&net, true);
    ck_assert_str_eq(net_read(&net, A, id), "");
    net_end(&net);
}
END_TEST

/* Nor is one granted that its claimer would take for malformed: the link would be closed for it. */
START_TEST(no_grant_above_the_last_view)
{
    static const struct {
        struct cluster_epoch floor;
        bool granted;
    } cases[] = {{{UINT64_MAX - (UINT64_C(1) << 40), 5}, true},
        {{UINT64_MAX - (UINT64_C(1) << 40), UINT64_MAX}, false},
        {{UINT64_MAX - (UINT64_C(1) << 40) + 1, 0}, false}, {{UINT64_MAX, UINT64_MAX}, false}};
    start(2, 0);
    const char *id = net_id(3, A, 0, -1, -1, -1);
    struct message claim = {.kind = MESSAGE_CLAIM, .key = key_of(7, slice_of_string(id))};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t before = metrics()->grants;
        claim.second_epoch = cases[i].floor;
        ck_assert_int_eq(say(claim), 0);
        ck_assert_uint_eq(metrics()->grants, before + cases[i].granted);
        net_settle(&net, true);
    }
    ck_assert_uint_eq(cluster_metrics(net.nodes[B].cluster, net.now_ms)->messages_malformed, 0);
    net_end(&net);
}
END_TEST

/* The same, of a copy that somebody reports to hold. */
START_TEST(a_grant_above_any_copy)
{
    start(2, 0);
    const char *id = net_id(3, A, 0, -1, -1, -1);
    struct message held = {.kind = MESSAGE_RELEASE,
        .key = key_of(7, slice_of_string(id)),
        .epoch = {VIEW, 1},
        .state = STATE_VALUE,
        .version = {VIEW, UINT64_MAX, UINT64_MAX}};
    ck_assert_int_eq(say(held), 0);
    struct message claim = {.kind = MESSAGE_CLAIM, .key = held.key};
    ck_assert_int_eq(say(claim), 0);
    ck_assert_uint_eq(metrics()->grants, 1);
    net_settle(&net, true);
    ck_assert_str_eq(net_read(&net, A, id), "");
    net_end(&net);
}
END_TEST

/* Messages of a view that never comes do not take the room of others for ever. */
START_TEST(the_stash_is_emptied)
{
    net_init(&net, 2, 0, 0);
    net.stash_limit = 1000;
    net_start(&net, VIEW);
    net_settle(&net, true);
    struct message where = {.kind = MESSAGE_WHERE, .view = UINT64_C(1) << 62};
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(say(where), 0);
    const uint64_t stashed = metrics()->messages_stashed;
    ck_assert_uint_gt(stashed, 0);
    ck_assert_uint_gt(metrics()->messages_dropped, 0);
    net_pass(&net, 2 * net.lease_ms, true);
    where.view = VIEW + 1;
    ck_assert_int_eq(say(where), 0);
    ck_assert_uint_eq(metrics()->messages_stashed, stashed + 1);
    /* Nor are those of somebody else kept at all. */
    where.to = net.nodes[A].incarnation + 1;
    ck_assert_int_eq(say(where), 0);
    ck_assert_uint_eq(metrics()->messages_stashed, stashed + 1);
    net_end(&net);
}
END_TEST

/* Who says that it has no room is believed until it would have said so again. */
START_TEST(nobody_is_full_for_long)
{
    start(2, 1);
    struct message room = {.kind = MESSAGE_ROOM, .number = UINT64_MAX};
    ck_assert_int_eq(say(room), 0);
    ck_assert(!cluster_has_room(net.nodes[A].cluster, slice_of_string("x"), net.now_ms + 2000));
    ck_assert(cluster_has_room(net.nodes[A].cluster, slice_of_string("x"), net.now_ms + 3001));
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster hostile");
    TCase *tcase = tcase_create("hostile");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_claim_above_any_counter);
    tcase_add_test(tcase, no_grant_above_the_last_view);
    tcase_add_test(tcase, a_grant_above_any_copy);
    tcase_add_test(tcase, the_stash_is_emptied);
    tcase_add_test(tcase, nobody_is_full_for_long);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
