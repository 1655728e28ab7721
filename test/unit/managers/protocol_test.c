/* session: members of one cluster speak one protocol. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "session_fixture.h"

static size_t times(const char *text)
{
    size_t count = 0;
    for (const char *at = notes; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

START_TEST(who_is_later_does_not_join)
{
    session_join(&session, now_ms);
    for (int i = 0; i < 3; i++) {
        asks(STEP_LOOK);
        /* All keys that begin so: up to brain/member0. */
        ck_assert(body_has_key("brain/member/"));
        ck_assert(body_has("\"range_end\":\"YnJhaW4vbWVtYmVyMA==\""));
        answers_look_among(stranger_kv("b@h", 4, 40));
        asks_nothing();
        ck_assert_uint_eq(session_due(&session), now_ms + SESSION_TAKEN_MS);
        now_ms += SESSION_TAKEN_MS;
    }
    ck_assert_uint_eq(told_count, 1); /* once as long as it lasts */
    ck_assert_int_eq(last_told(0)->kind, MANAGERS_REFUSED);
    ck_assert_str_eq(told[0].names, "b@h");
    ck_assert_str_eq(session.error, "member b@h speaks protocol 4 of members, this one 3");
    asks(STEP_LOOK);
    answers_look_among(stranger_kv("b@h", 3, 60));
    asks(STEP_GRANT);
    ck_assert_str_eq(session.error, "");
}
END_TEST

/* Etcd answers; what it says is no failure of it. */
START_TEST(who_is_later_is_not_without_etcd)
{
    session_join(&session, now_ms);
    for (int i = 0; i < 40; i++) {
        asks(STEP_LOOK);
        fails();
        if (i % 2 == 1)
            now_ms = session_due(&session);
    }
    ck_assert_uint_eq(times("no use of etcd"), 1);
    asks(STEP_LOOK);
    answers_look_among(stranger_kv("b@h", 4, 40));
    ck_assert_uint_eq(times("etcd answers at"), 1);
    ck_assert_str_eq(session.error, "member b@h speaks protocol 4 of members, this one 3");
}
END_TEST

/* Nobody can tell what the rest of these mean: they are no members. */
START_TEST(other_keys_keep_nobody_away)
{
    session_join(&session, now_ms);
    asks(STEP_LOOK);
    answers_look_among(kv_of("brain/member/b@h", "hello", 40, 0));
    asks(STEP_GRANT);
}
END_TEST

/* Its own name's last process: waited for, or ended, as ever. */
START_TEST(an_own_predecessor_may_have_spoken_another)
{
    session_join(&session, now_ms);
    asks(STEP_LOOK);
    answers_look_among(stranger_kv("a@h", 2, 40));
    asks(STEP_GRANT);
}
END_TEST

/* Both had looked, and found nobody. */
START_TEST(of_two_at_once_the_later_goes)
{
    char list[4096];
    session_join(&session, now_ms);
    asks(STEP_LOOK);
    answers_look(NULL);
    asks(STEP_GRANT);
    answers_grant();
    asks(STEP_CREATE);
    answers_create(OWN_REVISION);
    asks(STEP_MEMBERS);
    snprintf(list, sizeof(list), "%s,%s", own_kv(), stranger_kv("b@h", 4, OWN_REVISION - 1));
    answers_members(OWN_REVISION, list);
    asks(STEP_REVOKE);
    ck_assert(body_has("\"ID\":\"4711\""));
    answers("{\"header\":{}}");
    asks(STEP_LOOK);
    answers_look_among(stranger_kv("b@h", 4, OWN_REVISION - 1));
    asks_nothing();
    ck_assert_uint_eq(count_told(MANAGERS_JOINED), 0);
    ck_assert_int_eq(last_told(0)->kind, MANAGERS_REFUSED);
}
END_TEST

/* ... and the earlier one never takes it in. */
START_TEST(of_two_at_once_the_earlier_stays)
{
    char list[4096];
    becomes_member();
    watch_starts();
    ck_assert(watch_says("{\"result\":{\"header\":{},\"events\":[{\"kv\":%s}]}}\n",
        stranger_kv("b@h", 4, OWN_REVISION + 1)));
    ck_assert_uint_eq(count_told(MANAGERS_VIEW), 0);
    ck_assert_uint_eq(times("b@h has put itself among the members"), 1);
    /* What etcd has is what the watch told, stranger or not. */
    now_ms += 4000;
    asks(STEP_KEEPALIVE);
    answers_keepalive(TTL_S);
    asks(STEP_READ);
    snprintf(list, sizeof(list), "%s,%s", own_kv(), stranger_kv("b@h", 4, OWN_REVISION + 1));
    answers_read(140, list, false);
    ck_assert_int_eq(last_told(0)->kind, MANAGERS_RENEWED);
    ck_assert_uint_eq(last_told(0)->behind_ms, 0);
    ck_assert(watch_says(
        "{\"result\":{\"header\":{},\"events\":[%s]}}\n", delete_event("b@h", OWN_REVISION + 2)));
    ck_assert_uint_eq(count_told(MANAGERS_VIEW), 0);
    ck_assert(watch_says(
        "{\"result\":{\"header\":{},\"events\":[%s]}}\n", put_event("c@h", 2, OWN_REVISION + 3)));
    ck_assert_str_eq(told[told_count - 1].names, "a@h c@h");
    ck_assert_uint_eq(times("has put itself"), 1);
}
END_TEST

/* Nor are these taken in, and it is said why, when they come and when they are found. */
START_TEST(keys_of_nobody_are_named)
{
    becomes_member();
    watch_starts();
    ck_assert(watch_says("{\"result\":{\"header\":{},\"events\":[{\"kv\":%s},{\"kv\":%s}]}}\n",
        kv_of("brain/member/b@h", "hello", 110, 0), stranger_kv("no-name", 3, 111)));
    ck_assert_uint_eq(times("brain/member/b@h is among the members', and no member's: its value is "
                            "not what members write"),
        1);
    ck_assert_uint_eq(times("brain/member/no-name is among the members', and no member's: its name "
                            "is not a node's"),
        1);
    ck_assert_uint_eq(count_told(MANAGERS_VIEW), 0);
}
END_TEST

/* Of its own incarnation: the same, as long as it came later. */
START_TEST(a_twin_is_not_taken_in)
{
    char value[300], event[600];
    becomes_member();
    watch_starts();
    snprintf(value, sizeof(value), "%s", member_value(session.self.incarnation, 10000));
    snprintf(event, sizeof(event), "%s", kv_of("brain/member/b@h", value, 110, 0));
    ck_assert(watch_says("{\"result\":{\"header\":{},\"events\":[{\"kv\":%s}]}}\n", event));
    ck_assert_uint_eq(times("brain/member/b@h is among the members', and no member's: another has "
                            "its incarnation"),
        1);
    ck_assert_str_eq(told[told_count - 1].names, "a@h");
    ck_assert_uint_eq(count_told(MANAGERS_LOST), 0);
}
END_TEST

static void add(void *tcase)
{
    tcase_add_test(tcase, keys_of_nobody_are_named);
    tcase_add_test(tcase, a_twin_is_not_taken_in);
    tcase_add_test(tcase, who_is_later_does_not_join);
    tcase_add_test(tcase, who_is_later_is_not_without_etcd);
    tcase_add_test(tcase, other_keys_keep_nobody_away);
    tcase_add_test(tcase, an_own_predecessor_may_have_spoken_another);
    tcase_add_test(tcase, of_two_at_once_the_later_goes);
    tcase_add_test(tcase, of_two_at_once_the_earlier_stays);
}

int main(void)
{
    return session_suite_run("protocol", add);
}
