/* Any bytes as etcd's answers and as its watch, into a whole session: it never breaks its own
 * rules.
 *
 * The input is a sequence of   kind size(2) bytes   : an answer to what is under way (0), a failure
 * (1), bytes of the watch (2), the end of the watch (3), time (4), what the owner says (5). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    bool member;
    uint64_t number, until_ms;
} told;
static uint64_t now_ms;

static bool on_event(void *context, const struct managers_event *event)
{
    bool found = false;
    (void)context;
    switch (event->kind) {
    case MANAGERS_JOINED:
    case MANAGERS_VIEW:
        assert(told.member == (event->kind == MANAGERS_VIEW));
        assert(event->kind == MANAGERS_JOINED || event->view.number > told.number);
        told.number = event->view.number;
        told.member = true;
        for (size_t i = 0; i < event->view.count; i++) {
            const struct managers_member *member = &event->view.members[i];
            assert(member->incarnation != 0 && member->name[0] != '\0');
            assert(i == 0 || strcmp(member[-1].name, member->name) < 0);
            found = found || strcmp(member->name, "a@h") == 0;
        }
        assert(found);
        break;
    case MANAGERS_RENEWED:
        assert(told.member);
        /* Never longer than the longest lease from now. */
        assert(event->until_ms <= now_ms + UINT64_C(3600000));
        break;
    case MANAGERS_LOST:
        assert(told.member);
        told.member = false;
        break;
    case MANAGERS_LEFT:
        told.member = false;
        break;
    case MANAGERS_LEASE:
        assert(event->lease > 0 && !told.member);
        break;
    case MANAGERS_REFUSED:
        assert(!told.member && event->view.count == 1 && event->view.members[0].name[0] != '\0');
        break;
    }
    return true;
}

static void on_note(void *context, enum log_level level, const char *sentence)
{
    (void)context;
    (void)level;
    (void)sentence;
}

static void say(struct session *session, uint8_t what)
{
    switch (what % 4) {
    case 0:
        session_join(session, now_ms);
        break;
    case 1:
        told.member = false; /* whoever leaves does not serve any more */
        session_leave(session, now_ms);
        break;
    default:
        if (session->roster.count > 0) {
            const struct managers_member *target =
                &session->roster.entries[what % session->roster.count];
            session_evict(session, now_ms, target->name, target->incarnation);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct session session;
    static struct endpoints endpoints;
    struct session_call call;
    char why[MANAGERS_TEXT];
    bool running = false, watching = false;
    struct managers_options given = {.prefix = "b/",
        .user = size > 0 && data[0] % 2 == 1 ? "u" : "",
        .password = "p",
        .lease_ms = 10000,
        .name = "a@h",
        .address = ""};
    struct session_options own;

    memset(&told, 0, sizeof(told));
    now_ms = 1000;
    if (endpoints.count == 0 && endpoints_parse(&endpoints, "http://a,http://b", why, sizeof(why)))
        abort();
    if (session_options_set(&own, &given, why) != 0)
        abort();
    own.endpoints = &endpoints;
    /* Inputs do not depend on it: an incarnation can be learned, so the seed is the same for all.
     */
    own.seed = 1;
    session_init(&session, &own, (struct session_hooks){NULL, on_event, on_note});
    session_join(&session, now_ms);
    for (size_t at = size > 0 ? 1 : 0; at + 3 <= size;) {
        uint8_t kind = data[at] % 6;
        size_t length = load_be16(data + at + 1);
        at += 3;
        length = length > size - at ? size - at : length;
        struct slice bytes = slice_of(data + at, length);
        at += length;
        session_advance(&session, now_ms);
        if (watching && session_watch_unwanted(&session)) {
            watching = false;
            session_watch_ended(&session, now_ms, "fuzz");
        }
        running = running || session_call(&session, now_ms, &call);
        watching = watching || session_watch(&session, now_ms, &call);
        /* All that can be started was: the device may sleep, and does not spin. */
        assert(session_due(&session) > now_ms);
        if (kind == 0 && running) {
            running = false;
            session_answered(&session, now_ms, bytes);
        } else if (kind == 1 && running) {
            running = false;
            session_failed(&session, now_ms, "fuzz");
        } else if (kind == 2 && watching) {
            if (!session_watch_bytes(&session, now_ms, bytes)) {
                watching = false;
                session_watch_ended(&session, now_ms, "fuzz");
            }
        } else if (kind == 3 && watching) {
            watching = false;
            session_watch_ended(&session, now_ms, "fuzz");
        } else if (kind == 4) {
            now_ms += length == 0 ? 500 : bytes.data[0] * UINT64_C(50);
        } else if (kind == 5 && length > 0) {
            say(&session, bytes.data[0]);
        }
    }
    session_release(&session);
    return 0;
}
