/* session: the way to a membership (R1), servers in turn, users, and the way out. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "session_fixture.h"

START_TEST(alone)
{
    asks_nothing();
    ck_assert_uint_eq(session_due(&session), UINT64_MAX);
    session_join(&session, now_ms);
    asks(STEP_LOOK);
    ck_assert_str_eq(call.path, "/v3/kv/txn");
    ck_assert(body_has_key("brain/member/a@h") && body_has_key("brain/history"));
    asks_nothing(); /* one at a time */
    answers_look(NULL);
    asks(STEP_GRANT);
    ck_assert_str_eq(call.path, "/v3/lease/grant");
    ck_assert(body_has("\"TTL\":\"10\""));
    uint64_t sent_ms = now_ms;
    now_ms += 700;
    answers_grant();
    ck_assert_int_eq(last_told(0)->kind, MANAGERS_LEASE);
    ck_assert_int_eq(last_told(0)->lease, LEASE_ID);
    asks(STEP_CREATE);
    ck_assert(body_has_key("brain/member/a@h"));
    ck_assert(body_has("\"target\":\"CREATE\",\"result\":\"EQUAL\",\"create_revision\":\"0\""));
    ck_assert(body_has("\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"2\""));
    ck_assert(body_has("\"lease\":\"4711\""));
    answers_create(OWN_REVISION);
    asks(STEP_MEMBERS);
    ck_assert_str_eq(call.path, "/v3/kv/range");
    ck_assert(body_has("\"revision\":\"100\""));
    answers_members(120, own_kv());
    ck_assert_uint_eq(told_count, 2);
    const struct managers_event *joined = last_told(0);
    ck_assert_int_eq(joined->kind, MANAGERS_JOINED);
    ck_assert_uint_eq(joined->view.number, OWN_REVISION);
    ck_assert_str_eq(told[1].names, "a@h");
    ck_assert_uint_ne(joined->incarnation, 0);
    ck_assert_uint_eq(joined->history, 0xff);
    ck_assert(!joined->reset);
    /* From before the lease was asked for. */
    ck_assert_uint_eq(joined->until_ms, sent_ms + 9000);
    asks_nothing();
    session_advance(&session, now_ms);
    struct session_call watch;
    ck_assert(session_watch(&session, now_ms, &watch));
    ck_assert(memmem(watch.body.data, watch.body.size, "\"start_revision\":\"101\"", 22) != NULL);
    ck_assert_uint_eq(session.metrics.joins, 1);
}
END_TEST

START_TEST(the_first_ever_puts_the_history)
{
    session_join(&session, now_ms);
    asks(STEP_LOOK);
    answers("{\"header\":{\"revision\":\"1\"},\"succeeded\":true,\"responses\":[{\"response_"
            "range\":{}},"
            "{\"response_range\":{}}]}");
    asks(STEP_HISTORY);
    ck_assert(body_has_key("brain/history"));
    ck_assert(body_has("\"create_revision\":\"0\""));
    answers("{\"header\":{\"revision\":\"2\"}}"); /* somebody else was faster: the same to us */
    asks(STEP_LOOK);
    answers_look(NULL);
    asks(STEP_GRANT);
}
END_TEST

START_TEST(the_name_is_taken)
{
    session_join(&session, now_ms);
    for (int i = 0; i < 3; i++) {
        asks(STEP_LOOK);
        answers_look(kv_of("brain/member/a@h", member_value(5, 10000), 40, 99));
        asks_nothing();
        ck_assert_uint_eq(session_due(&session), now_ms + SESSION_TAKEN_MS);
        now_ms += SESSION_TAKEN_MS;
    }
    ck_assert_uint_eq(told_count, 0);
    ck_assert_ptr_nonnull(strstr(notes, "there is a member a@h already"));
    ck_assert_ptr_null(strstr(strstr(notes, "already") + 1, "already")); /* said once */
    asks(STEP_LOOK);
    answers_look(NULL);
    asks(STEP_GRANT);
}
END_TEST

static void start_as_successor(int64_t predecessor, bool locked)
{
    tear_down();
    options.predecessor_lease = predecessor;
    options.data_dir_locked = locked;
    set_up();
    options.predecessor_lease = 0;
    options.data_dir_locked = false;
    session_join(&session, now_ms);
    asks(STEP_LOOK);
    answers_look(kv_of("brain/member/a@h", member_value(5, 10000), 40, 99));
}

START_TEST(a_predecessor)
{
    start_as_successor(99, false); /* no lock */
    asks_nothing();
    start_as_successor(98, true); /* not that one */
    asks_nothing();
    start_as_successor(0, true);
    asks_nothing();
    start_as_successor(99, true);
    asks(STEP_REVOKE);
    ck_assert_str_eq(call.path, "/v3/lease/revoke");
    ck_assert(body_has("\"ID\":\"99\""));
    fails(); /* repeated */
    asks(STEP_REVOKE);
    answers("{\"error\":\"etcdserver: requested lease not found\",\"code\":5}");
    asks(STEP_LOOK);
    answers_look(NULL);
    asks(STEP_GRANT);
}
END_TEST

START_TEST(a_key_without_a_lease_is_nobodys_past)
{
    start_as_successor(0, true);
    now_ms += SESSION_TAKEN_MS;
    asks(STEP_LOOK);
    answers_look(kv_of("brain/member/a@h", "x", 40, 0));
    asks_nothing();
}
END_TEST

START_TEST(the_answer_of_the_put_is_lost)
{
    session_join(&session, now_ms);
    comes_to_create();
    unsigned first = call.endpoint;
    fails();
    asks(STEP_CREATE); /* at the other one, at once */
    ck_assert_uint_ne(call.endpoint, first);
    answers(
        "{\"header\":{\"revision\":\"130\"},\"responses\":[{\"response_range\":{\"kvs\":[%s]}}]}",
        own_kv());
    asks(STEP_MEMBERS);
    ck_assert(body_has("\"revision\":\"100\"")); /* that of the put, not of the answer */
}
END_TEST

START_TEST(somebody_was_faster)
{
    session_join(&session, now_ms);
    comes_to_create();
    answers(
        "{\"header\":{\"revision\":\"130\"},\"responses\":[{\"response_range\":{\"kvs\":[%s]}}]}",
        kv_of("brain/member/a@h", member_value(5, 10000), 40, 99));
    asks(STEP_REVOKE);
    ck_assert(body_has("\"ID\":\"4711\"")); /* ours, which has nothing */
    answers("{\"header\":{}}");
    asks(STEP_LOOK);
    answers_look(kv_of("brain/member/a@h", member_value(5, 10000), 40, 99));
    asks_nothing();
    ck_assert_uint_eq(count_told(MANAGERS_JOINED), 0);
}
END_TEST

START_TEST(the_lease_ends_while_joining)
{
    session_join(&session, now_ms);
    comes_to_create();
    answers("{\"error\":\"etcdserver: requested lease not found\",\"code\":5}");
    comes_to_create();
    answers_create(OWN_REVISION);
    asks(STEP_MEMBERS);
    /* Etcd lost its data: it will never know that revision. */
    for (int i = 0; i < 100 && session.next == STEP_MEMBERS; i++) {
        answers(
            "{\"error\":\"etcdserver: mvcc: required revision is a future revision\",\"code\":11}");
        now_ms += 1300;
        session_advance(&session, now_ms);
        if (session.next == STEP_MEMBERS)
            asks(STEP_MEMBERS);
    }
    asks(STEP_REVOKE);
    ck_assert_uint_eq(count_told(MANAGERS_JOINED), 0);
}
END_TEST

START_TEST(the_first_list_is_compacted_already)
{
    session_join(&session, now_ms);
    comes_to_create();
    answers_create(OWN_REVISION);
    asks(STEP_MEMBERS);
    answers("{\"error\":\"etcdserver: mvcc: required revision has been compacted\",\"code\":11}");
    asks(STEP_REVOKE);
    answers("{\"header\":{}}");
    asks(STEP_LOOK);
}
END_TEST

START_TEST(servers_in_turn)
{
    session_join(&session, now_ms);
    uint64_t last_ms = now_ms;
    for (unsigned i = 0; i < 40; i++) {
        asks(STEP_LOOK);
        unsigned used = call.endpoint;
        if (i % 2 == 0)
            fails();
        else
            answers("<html>busy</html>");
        if (i % 2 == 1) { /* all have failed: a pause, at most 1.25 s */
            asks_nothing();
            uint64_t due_ms = session_due(&session);
            ck_assert_uint_gt(due_ms, now_ms);
            ck_assert_uint_le(due_ms, now_ms + 1250);
            now_ms = due_ms;
        }
        ck_assert_uint_ne(session.turn.at, used);
    }
    ck_assert_uint_gt(now_ms - last_ms, 10000);
    ck_assert_ptr_nonnull(strstr(session.error, "not etcd's"));
    ck_assert_ptr_null(strstr(strstr(notes, "no use of etcd") + 1, "no use of etcd")); /* once */
    asks(STEP_LOOK);
    answers_look(NULL);
    ck_assert_str_eq(session.error, "");
    ck_assert_ptr_nonnull(strstr(notes, "etcd answers at"));
    ck_assert_uint_eq(session.metrics.errors, 40);
}
END_TEST

static void start_with_user(void)
{
    tear_down();
    options.user = "u";
    options.password = "p\"q";
    set_up();
    options.user = options.password = "";
    session_join(&session, now_ms);
}

static const char bad_token[] = "{\"error\":\"etcdserver: invalid auth token\",\"code\":16}";

START_TEST(users)
{
    start_with_user();
    asks(STEP_AUTHENTICATE);
    ck_assert_str_eq(call.path, "/v3/auth/authenticate");
    ck_assert_str_eq(call.token, "");
    ck_assert(body_has("\"name\":\"u\"") && body_has("\"password\":\"p\\\"q\""));
    ck_assert_uint_eq(call.timeout_ms, 5000); /* a password takes etcd longer than anything else */
    answers("{\"error\":\"etcdserver: authentication failed, invalid user ID or "
            "password\",\"code\":3}");
    asks(STEP_AUTHENTICATE);
    answers("{\"header\":{},\"token\":\"T1\"}");
    asks(STEP_LOOK);
    ck_assert_str_eq(call.token, "T1");
    answers_look(NULL);
    asks(STEP_GRANT);
    /* It worked before, so it ran out: at once, at the same server. */
    unsigned used = call.endpoint;
    answers("%s", bad_token);
    asks(STEP_AUTHENTICATE);
    ck_assert_uint_eq(call.endpoint, used);
    answers("{\"header\":{},\"token\":\"T2\"}");
    asks(STEP_GRANT);
    ck_assert_str_eq(call.token, "T2");
    /* A fresh one that does not work is a failure like others: no busy loop. */
    unsigned asked = 0;
    uint64_t until_ms = now_ms + 10000;
    while (now_ms < until_ms) {
        session_advance(&session, now_ms);
        if (session_call(&session, now_ms, &call)) {
            asked++;
            answers("%s",
                call.step == STEP_AUTHENTICATE ? "{\"header\":{},\"token\":\"T3\"}" : bad_token);
        } else {
            now_ms = session_due(&session);
        }
        ck_assert_uint_lt(asked, 200);
    }
}
END_TEST

/* Somebody wrote something else there: whoever joins begins anew, and does not wait for help. */
START_TEST(a_history_that_is_none)
{
    session_join(&session, now_ms);
    asks(STEP_LOOK);
    history_text = "backwards";
    answers_look(NULL);
    ck_assert_ptr_nonnull(strstr(notes, "etcd's key brain/history is not what members write"));
    asks(STEP_HISTORY);
    ck_assert(body_has("\"mod_revision\""));
    answers("{\"header\":{},\"succeeded\":true}");
    asks(STEP_LOOK);
}
END_TEST

START_TEST(users_where_there_are_none)
{
    start_with_user();
    asks(STEP_AUTHENTICATE);
    answers("{\"error\":\"etcdserver: authentication is not enabled\",\"code\":9}");
    asks(STEP_LOOK);
    ck_assert_str_eq(call.token, "");
    answers("{\"error\":\"etcdserver: user name is empty\",\"code\":3}"); /* it was enabled */
    now_ms += 2000;
    asks(STEP_AUTHENTICATE);
}
END_TEST

START_TEST(no_user_where_one_is_needed)
{
    session_join(&session, now_ms);
    asks(STEP_LOOK);
    answers("{\"error\":\"etcdserver: user name is empty\",\"code\":3}");
    ck_assert_ptr_nonnull(strstr(session.error, "manager_user"));
    now_ms += 2000;
    asks(STEP_LOOK);
}
END_TEST

START_TEST(leaving)
{
    session_leave(&session, now_ms); /* nothing to leave */
    session_advance(&session, now_ms);
    ck_assert_int_eq(last_told(0)->kind, MANAGERS_LEFT);
    ck_assert(last_told(0)->confirmed);
    becomes_member();
    watch_starts();
    session_leave(&session, now_ms);
    ck_assert(session_watch_unwanted(&session));
    session_watch_ended(&session, now_ms, "x");
    asks(STEP_LEAVE);
    ck_assert(body_has("\"ID\":\"4711\""));
    fails();
    ck_assert_uint_eq(count_told(MANAGERS_LEFT), 1);
    asks(STEP_LEAVE);
    answers("{\"header\":{}}");
    ck_assert_uint_eq(count_told(MANAGERS_LEFT), 2);
    ck_assert(last_told(0)->confirmed);
    asks_nothing();
    look_revision = OWN_REVISION;
    becomes_member();
    ck_assert(last_told(0)->reset); /* the same revision again: another etcd */
    /* Out of reach: given up after the lease. */
    uint64_t since_ms = now_ms;
    session_leave(&session, now_ms);
    while (count_told(MANAGERS_LEFT) == 2) {
        if (session_call(&session, now_ms, &call))
            fails();
        else
            now_ms = session_due(&session);
        ck_assert_uint_le(now_ms, since_ms + 10000);
        session_advance(&session, now_ms);
    }
    ck_assert(!last_told(0)->confirmed);
    ck_assert_uint_eq(now_ms, since_ms + 10000);
    /* The next join first ends what may still live. */
    session_join(&session, now_ms);
    now_ms += 2000;
    asks(STEP_REVOKE);
}
END_TEST

START_TEST(leaving_while_joining)
{
    session_join(&session, now_ms);
    asks(STEP_LOOK);
    answers_look(NULL);
    asks(STEP_GRANT);
    session_leave(&session, now_ms);
    session_advance(&session, now_ms);
    ck_assert_uint_eq(count_told(MANAGERS_LEFT), 0);
    answers_grant(); /* too late to be told, but it must go */
    ck_assert_uint_eq(count_told(MANAGERS_LEASE), 0);
    asks(STEP_LEAVE);
    ck_assert(body_has("\"ID\":\"4711\""));
    answers("{\"header\":{}}");
    ck_assert(last_told(0)->confirmed);
}
END_TEST

/* Etcd was made anew between the put and the list. */
START_TEST(the_first_list_lacks_this_node)
{
    session_join(&session, now_ms);
    comes_to_create();
    answers_create(OWN_REVISION);
    asks(STEP_MEMBERS);
    answers_members(OWN_REVISION + 10, kv_of("brain/member/b@h", member_value(5, 10000), 40, 99));
    asks(STEP_REVOKE);
    ck_assert_uint_eq(count_told(MANAGERS_JOINED), 0);
}
END_TEST

static void add(void *tcase)
{
    tcase_add_test(tcase, alone);
    tcase_add_test(tcase, the_first_ever_puts_the_history);
    tcase_add_test(tcase, the_name_is_taken);
    tcase_add_test(tcase, a_predecessor);
    tcase_add_test(tcase, a_key_without_a_lease_is_nobodys_past);
    tcase_add_test(tcase, the_answer_of_the_put_is_lost);
    tcase_add_test(tcase, somebody_was_faster);
    tcase_add_test(tcase, the_lease_ends_while_joining);
    tcase_add_test(tcase, the_first_list_is_compacted_already);
    tcase_add_test(tcase, the_first_list_lacks_this_node);
    tcase_add_test(tcase, servers_in_turn);
    tcase_add_test(tcase, users);
    tcase_add_test(tcase, a_history_that_is_none);
    tcase_add_test(tcase, users_where_there_are_none);
    tcase_add_test(tcase, no_user_where_one_is_needed);
    tcase_add_test(tcase, leaving);
    tcase_add_test(tcase, leaving_while_joining);
}

int main(void)
{
    return session_suite_run("joining", add);
}
