/* session: a membership: what renews it, what ends it, views out of the watch. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "session_fixture.h"

static const struct managers_event *renewed(void)
{
    ck_assert_int_eq(last_told(0)->kind, MANAGERS_RENEWED);
    return last_told(0);
}

static void lost(enum managers_reason reason)
{
    ck_assert_int_eq(last_told(0)->kind, MANAGERS_LOST);
    ck_assert_int_eq(last_told(0)->reason, reason);
    asks_nothing(); /* until managers_join */
    ck_assert_int_eq(session.phase, SESSION_LOST);
}

START_TEST(renewals)
{
    becomes_member();
    uint64_t granted_ms = now_ms;
    asks_nothing();
    ck_assert_uint_le(session_due(&session), now_ms); /* the watch */
    watch_starts();
    ck_assert_uint_eq(session_due(&session), granted_ms + 3333);
    now_ms = granted_ms + 3332;
    asks_nothing();
    now_ms++;
    asks(STEP_KEEPALIVE);
    ck_assert_str_eq(call.path, "/v3/lease/keepalive");
    uint64_t sent_ms = now_ms;
    now_ms += 500;
    answers_keepalive(TTL_S);
    ck_assert_uint_eq(count_told(MANAGERS_RENEWED), 0); /* half of it is nothing */
    asks(STEP_READ);
    ck_assert(body_has_key("brain/member/") && body_has_key("brain/history"));
    char evict[64];
    snprintf(evict, sizeof(evict), "brain/evict/a@h/%016llx",
        (unsigned long long)session.self.incarnation);
    ck_assert(body_has_key(evict));
    now_ms += 900;
    answers_read(140, own_kv(), false);
    ck_assert_uint_eq(renewed()->until_ms, sent_ms + 9000);
    ck_assert_uint_eq(renewed()->behind_ms, 0);
    ck_assert_uint_eq(renewed()->newest_view, OWN_REVISION);
    ck_assert_uint_eq(session_due(&session), sent_ms + 3333);
    /* etcd may change the time. */
    now_ms = sent_ms + 3333;
    asks(STEP_KEEPALIVE);
    answers_keepalive(20);
    asks(STEP_READ);
    answers_read(140, own_kv(), false);
    ck_assert_uint_eq(renewed()->until_ms, now_ms + 18000);
}
END_TEST

START_TEST(half_a_renewal_is_begun_again)
{
    becomes_member();
    watch_starts();
    now_ms += 4000;
    asks(STEP_KEEPALIVE);
    unsigned used = call.endpoint;
    answers_keepalive(TTL_S);
    now_ms += 1000;
    asks(STEP_READ);
    ck_assert_uint_eq(call.endpoint, used);
    fails();
    asks(STEP_KEEPALIVE); /* both of one server */
    ck_assert_uint_ne(call.endpoint, used);
    answers_keepalive(TTL_S);
    asks(STEP_READ);
    answers_read(140, own_kv(), false);
    ck_assert_uint_eq(renewed()->until_ms, now_ms + 9000);
    ck_assert_uint_eq(count_told(MANAGERS_RENEWED), 1);
}
END_TEST

START_TEST(a_long_outage_and_the_same_lease)
{
    becomes_member();
    watch_starts();
    session_watch_ended(&session, now_ms, "gone");
    uint64_t back_ms = now_ms + 60000;
    while (now_ms < back_ms) {
        struct session_call watch;
        session_advance(&session, now_ms);
        if (session_call(&session, now_ms, &call)) {
            ck_assert_int_eq(call.step, STEP_KEEPALIVE);
            fails();
        } else if (session_watch(&session, now_ms, &watch)) {
            session_watch_ended(&session, now_ms, "refused");
        } else {
            ck_assert_uint_gt(session_due(&session), now_ms);
            now_ms = session_due(&session);
        }
    }
    ck_assert_uint_eq(told_count, 2); /* nothing is known: nothing is told */
    now_ms += 2000;
    renews(140);
    ck_assert_uint_eq(renewed()->until_ms, now_ms + 9000);
    ck_assert_uint_eq(count_told(MANAGERS_LOST), 0);
}
END_TEST

START_TEST(the_lease_is_gone)
{
    becomes_member();
    watch_starts();
    now_ms += 4000;
    asks(STEP_KEEPALIVE);
    answers_keepalive(0);
    lost(MANAGERS_GONE);
    ck_assert(session_watch_unwanted(&session));
    ck_assert(
        !watch_says("{\"result\":{\"header\":{},\"events\":[%s]}}\n", put_event("b@h", 2, 130)));
    session_watch_ended(&session, now_ms, "stopped");
    ck_assert_uint_eq(count_told(MANAGERS_VIEW), 0);
    now_ms += 100000;
    asks_nothing();
    /* Only when the owner stopped serving: the old lease is revoked, by what it is. */
    session_join(&session, now_ms);
    asks(STEP_REVOKE);
    ck_assert(body_has("\"ID\":\"4711\""));
    answers("{\"error\":\"etcdserver: requested lease not found\",\"code\":5}");
    asks(STEP_LOOK);
}
END_TEST

START_TEST(the_key_is_gone_or_another)
{
    const char *const lists[] = {"", "own but other revision", "own but other lease"};
    for (size_t i = 0; i < 3; i++) {
        tear_down();
        set_up();
        becomes_member();
        watch_starts();
        now_ms += 4000;
        renewal_reads(140,
            i == 0   ? lists[0]
            : i == 1 ? kv_of("brain/member/a@h", "", OWN_REVISION + 1, LEASE_ID)
                     : kv_of("brain/member/a@h", "", OWN_REVISION, LEASE_ID + 1),
            false);
        lost(MANAGERS_GONE);
        ck_assert_uint_eq(count_told(MANAGERS_RENEWED), 0);
    }
}
END_TEST

START_TEST(evicted)
{
    becomes_member();
    watch_starts();
    now_ms += 4000;
    renewal_reads(140, own_kv(), true);
    lost(MANAGERS_EVICTED);
    ck_assert_uint_eq(count_told(MANAGERS_RENEWED), 0);
}
END_TEST

START_TEST(the_revision_goes_backwards)
{
    becomes_member();
    watch_starts();
    now_ms += 4000;
    renews(140);
    now_ms += 4000;
    renews(139);
    lost(MANAGERS_RESET);
    session_watch_ended(&session, now_ms, "stopped");
    session_join(&session, now_ms);
    asks(STEP_REVOKE);
    answers("{\"header\":{}}");
    asks(STEP_LOOK);
    answers_look(NULL);
    /* An older state of the same history: from here on it is another, whose views have greater
     * numbers. */
    asks(STEP_HISTORY);
    ck_assert(body_has_key("brain/history") && body_has("\"mod_revision\":\"2\""));
    ck_assert(body_has("\"value\":\"MDAwMDAx")); /* "000001" and more, in base64 */
    answers("{\"header\":{\"revision\":\"51\"},\"succeeded\":true}");
    asks(STEP_LOOK);
    history_text = "00000100000000ff";
    history_revision = look_revision = 51;
    answers_look(NULL);
    asks(STEP_GRANT);
    answers_grant();
    asks(STEP_CREATE);
    answers_create(OWN_REVISION);
    asks(STEP_MEMBERS);
    answers_members(OWN_REVISION, own_kv());
    ck_assert_int_eq(last_told(0)->kind, MANAGERS_JOINED);
    ck_assert(last_told(0)->reset);
    ck_assert_uint_eq(last_told(0)->view.number, (UINT64_C(1) << 40) + OWN_REVISION);
}
END_TEST

START_TEST(an_answer_from_before_is_not_backwards)
{
    /* A read that was under way while the watch saw a later revision. */
    becomes_member();
    watch_starts();
    now_ms += 4000;
    asks(STEP_KEEPALIVE);
    answers_keepalive(TTL_S);
    asks(STEP_READ);
    ck_assert(
        watch_says("{\"result\":{\"header\":{},\"events\":[%s]}}\n", put_event("b@h", 2, 150)));
    answers_read(140, own_kv(), false);
    ck_assert_uint_eq(renewed()->behind_ms, 0);
    /* But the next is asked after that. */
    now_ms += 4000;
    renews(149);
    lost(MANAGERS_RESET);
}
END_TEST

START_TEST(the_history_is_another)
{
    becomes_member();
    watch_starts();
    now_ms += 4000;
    asks(STEP_KEEPALIVE);
    answers_keepalive(TTL_S);
    asks(STEP_READ);
    answers(
        "{\"header\":{\"revision\":\"200\"},\"succeeded\":true,\"responses\":[{\"response_range\":{"
        "\"kvs\":[%s]}},{\"response_range\":{}},{\"response_range\":{}}]}",
        own_kv());
    lost(MANAGERS_RESET);
}
END_TEST

START_TEST(views)
{
    becomes_member();
    watch_starts();
    ck_assert(watch_says("{\"result\":{\"header\":{\"revision\":\"999\"},\"events\":[%s,%s,%s]}}\n",
        put_event("b@h", 2, 120), put_event("c@h", 3, 120), put_event("d@h", 4, 125)));
    /* One revision is one view, whatever etcd puts in one message. */
    ck_assert_uint_eq(count_told(MANAGERS_VIEW), 2);
    ck_assert_uint_eq(last_told(1)->view.number, 120);
    ck_assert_str_eq(told[told_count - 2].names, "a@h b@h c@h");
    ck_assert_uint_eq(last_told(0)->view.number, 125);
    ck_assert_str_eq(told[told_count - 1].names, "a@h b@h c@h d@h");
    ck_assert(watch_says("{\"result\":{\"header\":{},\"events\":[%s,%s]}}\n",
        delete_event("b@h", 130), delete_event("d@h", 130)));
    ck_assert_uint_eq(count_told(MANAGERS_VIEW), 3);
    ck_assert_str_eq(told[told_count - 1].names, "a@h c@h");
    /* Again what was there already: nothing. */
    ck_assert(
        watch_says("{\"result\":{\"header\":{},\"events\":[%s]}}\n", put_event("b@h", 2, 120)));
    /* Byte by byte. */
    char line[8192];
    snprintf(line, sizeof(line), "{\"result\":{\"header\":{},\"events\":[%s]}}\n",
        put_event("e@h", 5, 140));
    for (char *p = line; *p != '\0'; p++) {
        ck_assert_uint_eq(count_told(MANAGERS_VIEW), 3);
        ck_assert(session_watch_bytes(&session, now_ms, slice_of(p, 1)));
    }
    ck_assert_uint_eq(count_told(MANAGERS_VIEW), 4);
    ck_assert_uint_eq(session.metrics.members, 3);
    /* The watch is resumed behind that. */
    session_watch_ended(&session, now_ms, "gone");
    struct session_call watch;
    ck_assert(session_watch(&session, now_ms, &watch));
    ck_assert(memmem(watch.body.data, watch.body.size, "\"start_revision\":\"141\"", 22) != NULL);
}
END_TEST

START_TEST(progress)
{
    becomes_member();
    watch_starts();
    ck_assert(watch_says("{\"result\":{\"header\":{\"revision\":\"500\"}}}\n"));
    session_watch_ended(&session, now_ms, "gone");
    struct session_call watch;
    ck_assert(session_watch(&session, now_ms, &watch));
    ck_assert(memmem(watch.body.data, watch.body.size, "\"start_revision\":\"501\"", 22) != NULL);
    /* Not by what says where etcd is, but not where this watch is. */
    ck_assert(watch_says("{\"result\":{\"header\":{\"revision\":\"700\"},\"created\":true}}\n"));
    ck_assert(watch_says("{\"result\":{\"header\":{\"revision\":\"800\"},\"events\":[%s]}}\n",
        put_event("b@h", 2, 600)));
    ck_assert_uint_eq(session.watch.delivered, 600);
}
END_TEST

START_TEST(compacted)
{
    becomes_member();
    watch_starts();
    session_watch_ended(&session, now_ms, "gone");
    struct session_call watch;
    ck_assert(session_watch(&session, now_ms, &watch));
    ck_assert(watch_says("{\"result\":{\"header\":{},\"created\":true}}\n"));
    ck_assert(
        !watch_says("{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"4\"}}\n"));
    session_watch_ended(&session, now_ms, "stopped");
    lost(MANAGERS_COMPACTED);
}
END_TEST

START_TEST(own_events)
{
    becomes_member();
    watch_starts();
    ck_assert(
        !watch_says("{\"result\":{\"header\":{},\"events\":[%s]}}\n", delete_event("a@h", 130)));
    lost(MANAGERS_GONE);
    ck_assert_uint_eq(count_told(MANAGERS_VIEW), 0); /* never one without this node */
    tear_down();
    set_up();
    becomes_member();
    watch_starts();
    ck_assert(
        !watch_says("{\"result\":{\"header\":{},\"events\":[%s]}}\n", put_event("a@h", 77, 130)));
    lost(MANAGERS_GONE);
}
END_TEST

START_TEST(watches_that_fail)
{
    static const char backwards[] = "{\"result\":{\"header\":{},\"events\":[{\"kv\":{\"key\":\"YQ=="
                                    "\",\"mod_revision\":\"300\"}},"
                                    "{\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"299\"}}]}}\n";
    const char *const lines[] = {"nonsense\n", "{\"error\":{\"message\":\"no leader\"}}\n",
        "{\"result\":{\"header\":{},\"canceled\":true,\"cancel_reason\":\"permission denied\"}}\n",
        "{\"result\":{\"header\":{},\"events\":[{\"kv\":{\"key\":\"YQ==\"}}]}}\n", backwards};
    becomes_member();
    struct session_call watch;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        now_ms += 1300;
        ck_assert(session_watch(&session, now_ms, &watch));
        if (i > 2)
            ck_assert(watch_says("{\"result\":{\"header\":{},\"created\":true}}\n"));
        ck_assert_msg(!watch_says("%s", lines[i]), "%s", lines[i]);
        session_watch_ended(&session, now_ms, "stopped");
        ck_assert_uint_eq(session.watch.delivered, OWN_REVISION);
    }
    /* Events before `created` are no watch's of ours. */
    now_ms += 1300;
    ck_assert(session_watch(&session, now_ms, &watch));
    ck_assert(
        !watch_says("{\"result\":{\"header\":{},\"events\":[%s]}}\n", put_event("b@h", 2, 120)));
    session_watch_ended(&session, now_ms, "stopped");
    /* One that is never created is given up. */
    now_ms += 1300;
    unsigned used = session.watch.turn.at;
    ck_assert(session_watch(&session, now_ms, &watch));
    ck_assert_uint_eq(watch.endpoint, used);
    now_ms = session.watch.created_by_ms;
    session_advance(&session, now_ms);
    ck_assert(session_watch_unwanted(&session));
    session_watch_ended(&session, now_ms, "stopped");
    ck_assert_uint_ne(session.watch.turn.at, used);
    ck_assert_int_eq(session.phase, SESSION_MEMBER);
    ck_assert_uint_eq(count_told(MANAGERS_VIEW), 0);
}
END_TEST

START_TEST(the_watch_is_behind)
{
    char list[2048];
    becomes_member();
    watch_starts();
    snprintf(list, sizeof(list), "%s,%s", own_kv(), kv_of("brain/member/b@h", "", 120, 7));
    for (unsigned i = 0; i < 3; i++) {
        now_ms += 4000;
        renewal_reads(140, list, false);
        ck_assert_uint_eq(renewed()->behind_ms, i * 4000);
        ck_assert_uint_eq(renewed()->newest_view, 120);
        /* The second time, another one is tried. */
        ck_assert_int_eq(session_watch_unwanted(&session), i > 0);
        if (i > 0) {
            unsigned used = session.watch.endpoint;
            struct session_call watch;
            session_watch_ended(&session, now_ms, "stopped");
            now_ms += 1300;
            ck_assert(session_watch(&session, now_ms, &watch));
            ck_assert_uint_ne(watch.endpoint, used);
            ck_assert(watch_says("{\"result\":{\"header\":{},\"created\":true}}\n"));
            now_ms -= 1300;
        }
    }
    /* It comes, and more with it. */
    ck_assert(watch_says("{\"result\":{\"header\":{},\"events\":[%s,%s]}}\n",
        put_event("b@h", 2, 120), put_event("c@h", 3, 135)));
    now_ms += 4000;
    asks(STEP_KEEPALIVE);
    answers_keepalive(TTL_S);
    asks(STEP_READ);
    snprintf(list, sizeof(list), "%s,%s,%s", own_kv(), kv_of("brain/member/b@h", "", 120, 7),
        kv_of("brain/member/c@h", "", 135, 7));
    answers_read(140, list, false);
    ck_assert_uint_eq(renewed()->behind_ms, 0);
    /* A delete that the watch does not deliver: no revision in the list tells, its content does. */
    for (unsigned i = 0; i < 20 && session.phase == SESSION_MEMBER; i++) {
        now_ms += 4000;
        renews(160);
        if (session.phase == SESSION_MEMBER) {
            ck_assert_uint_eq(renewed()->behind_ms, i * 4000);
            ck_assert_uint_eq(renewed()->newest_view, 136); /* the last one told was 135 */
        }
    }
    lost(MANAGERS_COMPACTED); /* after twice the lease */
}
END_TEST

static void add(void *tcase)
{
    tcase_add_test(tcase, renewals);
    tcase_add_test(tcase, half_a_renewal_is_begun_again);
    tcase_add_test(tcase, a_long_outage_and_the_same_lease);
    tcase_add_test(tcase, the_lease_is_gone);
    tcase_add_test(tcase, the_key_is_gone_or_another);
    tcase_add_test(tcase, evicted);
    tcase_add_test(tcase, the_revision_goes_backwards);
    tcase_add_test(tcase, an_answer_from_before_is_not_backwards);
    tcase_add_test(tcase, the_history_is_another);
    tcase_add_test(tcase, views);
    tcase_add_test(tcase, progress);
    tcase_add_test(tcase, compacted);
    tcase_add_test(tcase, own_events);
    tcase_add_test(tcase, watches_that_fail);
    tcase_add_test(tcase, the_watch_is_behind);
}

int main(void)
{
    return session_suite_run("member", add);
}
