/* session: each allocation of a life fails once: the life goes on, or ends with LOST; no view is
 * left out. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "heap_fault.h"
#include "session_fixture.h"

/* One message of the watch; whenever it does not fit, the watch is started again. */
static void say(const char *line)
{
    struct session_call watch;
    bool good = session.watch.state != WATCH_OFF || session_watch(&session, now_ms, &watch);
    if (good && session.watch.state == WATCH_STARTING)
        good = session_watch_bytes(
            &session, now_ms, slice_of_string("{\"result\":{\"header\":{},\"created\":true}}\n"));
    good = good && session_watch_bytes(&session, now_ms, slice_of_string(line));
    if (!good && session.watch.state != WATCH_OFF)
        session_watch_ended(&session, now_ms, "stopped");
}

/* Answers whatever is asked, as an etcd with this node and then another would, until it is a member
 * that has renewed and knows the other. False: the membership was lost. */
static bool live(void)
{
    session_join(&session, now_ms);
    for (int i = 0; i < 100 && (count_told(MANAGERS_RENEWED) == 0 || count_told(MANAGERS_VIEW) < 2);
         i++) {
        session_advance(&session, now_ms);
        if (session.phase == SESSION_LOST)
            return false;
        if (!session_call(&session, now_ms, &call)) {
            char line[4096];
            snprintf(line, sizeof(line), "{\"result\":{\"header\":{},\"events\":[%s,%s]}}\n",
                put_event("b@h", 2, 120), put_event("c@h", 3, 130));
            if (session.phase == SESSION_MEMBER && count_told(MANAGERS_VIEW) < 2)
                say(line);
            now_ms += 500;
            continue;
        }
        switch (call.step) {
        case STEP_LOOK:
            answers_look(NULL);
            break;
        case STEP_GRANT:
            answers_grant();
            break;
        case STEP_CREATE:
            answers_create(OWN_REVISION);
            break;
        case STEP_MEMBERS:
            answers_members(OWN_REVISION, own_kv());
            break;
        case STEP_KEEPALIVE:
            answers_keepalive(TTL_S);
            break;
        case STEP_READ:
            answers_read(140, own_kv(), false);
            break;
        default:
            answers("{\"header\":{}}");
        }
    }
    ck_assert_uint_eq(count_told(MANAGERS_JOINED), 1);
    ck_assert_uint_ge(count_told(MANAGERS_RENEWED), 1);
    ck_assert_uint_eq(count_told(MANAGERS_VIEW), 2);
    ck_assert_uint_eq(session.metrics.members, 3);
    return true;
}

START_TEST(a_life)
{
    unsigned n;
    tear_down();
    for (n = 1;; n++) {
        heap_fault_start(n);
        set_up();
        if (!live())
            ck_assert_int_eq(last_told(0)->kind, MANAGERS_LOST);
        tear_down();
        if (!heap_fault_stop())
            break;
    }
    ck_assert_uint_gt(n, 20);
    set_up();
}
END_TEST

/* The device's memory: a view that could not be told is not left out, it ends the membership. */
START_TEST(a_view_that_cannot_be_told)
{
    becomes_member();
    watch_starts();
    told_fails = true;
    ck_assert(
        !watch_says("{\"result\":{\"header\":{},\"events\":[%s]}}\n", put_event("b@h", 2, 120)));
    ck_assert_int_eq(last_told(0)->kind, MANAGERS_LOST);
    ck_assert_int_eq(last_told(0)->reason, MANAGERS_COMPACTED);
}
END_TEST

static void add(void *tcase)
{
    tcase_add_test(tcase, a_view_that_cannot_be_told);
    tcase_add_test(tcase, a_life);
}

int main(void)
{
    return session_suite_run("memory", add);
}
