/* session: R12, from the side of the one that evicts. */
#include <check.h>
#include <string.h>

#include "session_fixture.h"

static void with_another(void)
{
    becomes_member();
    watch_starts();
    ck_assert(
        watch_says("{\"result\":{\"header\":{},\"events\":[%s]}}\n", put_event("b@h", 2, 120)));
    now_ms += 3333;
    renews(140);
}

static void done(uint64_t revision, bool succeeded)
{
    answers("{\"header\":{\"revision\":\"%llu\"},\"succeeded\":%s}", (unsigned long long)revision,
        succeeded ? "true" : "false");
}

START_TEST(the_whole_way)
{
    with_another();
    session_evict(&session, now_ms, "b@h", 2);
    session_evict(&session, now_ms, "b@h", 2);
    asks(STEP_EVICT);
    ck_assert(body_has_key("brain/evict/b@h/0000000000000002"));
    ck_assert(body_has("\"mod_revision\":\"120\"")); /* of the member's key */
    ck_assert(body_has("\"lease\":\"4711\""));       /* of this one */
    /* And nobody is being evicted. */
    ck_assert(body_has_key("brain/evict/") && body_has("\"create_revision\":\"0\""));
    now_ms += 200;
    done(150, true);
    uint64_t ready_ms = now_ms + 11000; /* since the answer */
    while (now_ms < ready_ms) {
        session_advance(&session, now_ms);
        if (session_call(&session, now_ms, &call)) {
            ck_assert_int_eq(call.step, STEP_KEEPALIVE); /* nothing but renewals */
            answers_keepalive(TTL_S);
            asks(STEP_READ);
            answers_read(150, own_kv(), false);
            /* own_kv alone: as if the watch were behind; not of interest here */
            session.behind_since_ms = 0;
            if (session_watch_unwanted(&session)) {
                session_watch_ended(&session, now_ms, "x");
                watch_starts();
            }
        } else {
            uint64_t due_ms = session_due(&session);
            ck_assert_uint_gt(due_ms, now_ms);
            now_ms = due_ms < ready_ms ? due_ms : ready_ms;
        }
    }
    asks(STEP_REMOVE);
    ck_assert(body_has("\"mod_revision\":\"120\"") && body_has("\"mod_revision\":\"150\""));
    ck_assert(body_has_key("brain/member/b@h") && body_has_key("brain/evict/b@h/0000000000000002"));
    done(160, true);
    asks(STEP_CLEAR);
    ck_assert_str_eq(call.path, "/v3/lease/revoke");
    ck_assert(body_has("\"ID\":\"9002\""));
    answers("{\"error\":\"etcdserver: requested lease not found\",\"code\":5}");
    asks_nothing();
    ck_assert_int_eq(session.phase, SESSION_MEMBER);
}
END_TEST

START_TEST(it_went_by_itself)
{
    with_another();
    session_evict(&session, now_ms, "b@h", 2);
    asks(STEP_EVICT);
    done(150, false);
    asks_nothing();
    session_evict(&session, now_ms, "b@h", 2);
    asks(STEP_EVICT);
    done(150, true);
    now_ms += 11000;
    asks(STEP_KEEPALIVE); /* first */
    fails();
    fails();
    now_ms += 200;
    renews(150);
    asks(STEP_REMOVE);
    done(160, false); /* that removed the evict key, if any */
    asks_nothing();
}
END_TEST

START_TEST(who_cannot_be_evicted)
{
    session_evict(&session, now_ms, "b@h", 2);
    with_another();
    session_evict(&session, now_ms, "b@h", 3);
    session_evict(&session, now_ms, "c@h", 2);
    session_evict(&session, now_ms, "a@h", session.self.incarnation);
    asks_nothing();
}
END_TEST

START_TEST(forgotten_with_the_membership)
{
    with_another();
    session_evict(&session, now_ms, "b@h", 2);
    asks(STEP_EVICT);
    ck_assert(
        !watch_says("{\"result\":{\"header\":{},\"events\":[%s]}}\n", delete_event("a@h", 130)));
    ck_assert_int_eq(last_told(0)->kind, MANAGERS_LOST);
    session_watch_ended(&session, now_ms, "x");
    session_join(&session, now_ms);
    done(150, true); /* comes too late, and must not be taken for the next life's */
    asks(STEP_REVOKE);
    ck_assert_uint_eq(evictions_due(&session), UINT64_MAX);
}
END_TEST

START_TEST(no_more_than_there_is_room_for)
{
    becomes_member();
    watch_starts();
    char name[32];
    for (uint64_t i = 0; i < SESSION_EVICTIONS + 5; i++) {
        snprintf(name, sizeof(name), "m%llu@h", (unsigned long long)i);
        ck_assert(watch_says(
            "{\"result\":{\"header\":{},\"events\":[%s]}}\n", put_event(name, i + 1, 120 + i)));
        session_evict(&session, now_ms, name, i + 1);
    }
    unsigned asked = 0;
    while (session_call(&session, now_ms, &call)) {
        ck_assert_int_eq(call.step, STEP_EVICT);
        done(500, false);
        asked++;
    }
    ck_assert_uint_eq(asked, SESSION_EVICTIONS);
}
END_TEST

static void add(void *tcase)
{
    tcase_add_test(tcase, the_whole_way);
    tcase_add_test(tcase, it_went_by_itself);
    tcase_add_test(tcase, who_cannot_be_evicted);
    tcase_add_test(tcase, forgotten_with_the_membership);
    tcase_add_test(tcase, no_more_than_there_is_room_for);
}

int main(void)
{
    return session_suite_run("evicting", add);
}
