/* session_watch: the stream of events: lines of JSON into revisions, revisions into views. */
#include <inttypes.h>
#include <string.h>

#include "session.h"

void watch_start_from(struct session *session, uint64_t revision)
{
    session->watch.delivered = revision;
    endpoint_succeeded(&session->watch.turn);
    session->watch.turn.at = session->turn.at;
}

void watch_stop(struct session *session)
{
    session->watch.unwanted = session->watch.state != WATCH_OFF;
}

void watch_advance(struct session *session, uint64_t now_ms)
{
    if (session->watch.state == WATCH_STARTING && now_ms >= session->watch.created_by_ms)
        session->watch.unwanted = true;
}

static bool may_watch(const struct session *session)
{
    return session->phase == SESSION_MEMBER && session->watch.state == WATCH_OFF &&
           !session->wants_token;
}

uint64_t watch_due(const struct session *session)
{
    if (session->watch.state == WATCH_STARTING)
        return session->watch.created_by_ms;
    return may_watch(session) ? session->watch.turn.again_ms : UINT64_MAX;
}

bool session_watch(struct session *session, uint64_t now_ms, struct session_call *call)
{
    struct buffer *body = &session->watch.body;
    if (!may_watch(session) || now_ms < session->watch.turn.again_ms)
        return false;
    buffer_clear(body);
    call_watch(body, session->options.prefix, session->watch.delivered + 1);
    if (buffer_status(body) != 0) {
        session->watch.turn.again_ms = now_ms + ENDPOINTS_PAUSE_MAX_MS;
        return false;
    }
    buffer_clear(&session->watch.line);
    session->watch.state = WATCH_STARTING;
    session->watch.unwanted = false;
    session->watch.why[0] = '\0';
    session->watch.endpoint = session->watch.turn.at;
    session->watch.created_by_ms = now_ms + session_timeout_ms(session);
    session->metrics.watches++;
    *call = (struct session_call){.step = STEP_NONE,
        .endpoint = session->watch.endpoint,
        .path = "/v3/watch",
        .body = buffer_slice(body),
        .token = session->token,
        .timeout_ms = 0};
    return true;
}

bool session_watch_unwanted(const struct session *session)
{
    return session->watch.state != WATCH_OFF && session->watch.unwanted;
}

void session_watch_ended(struct session *session, uint64_t now_ms, const char *why)
{
    bool was_running = session->watch.state == WATCH_RUNNING;
    bool was_unwanted = session->watch.unwanted;
    session->watch.state = WATCH_OFF;
    session->watch.unwanted = false;
    if (session->phase != SESSION_MEMBER)
        return;
    if (session->watch.why[0] != '\0')
        why = session->watch.why;
    if (!was_unwanted)
        session_note(session,
            !was_running && session->watch.turn.failures == 0 ? LOG_WARNING : LOG_DEBUG,
            "the watch at %s ended: %s", session->options.endpoints->urls[session->watch.endpoint],
            why);
    /* One that ran had no failure; the first is then tried again elsewhere at once. */
    if (was_running)
        endpoint_succeeded(&session->watch.turn);
    endpoint_failed(
        &session->watch.turn, session->options.endpoints->count, now_ms, session_random(session));
}

/* All events of one revision are in the roster: that is one view. False: the watch is over. */
static bool revision_done(struct session *session, uint64_t revision, bool changed)
{
    session->watch.delivered = revision;
    session_see(session, revision);
    if (session->behind_since_ms != 0 && session->roster.set == session->behind_set)
        session->behind_since_ms = session->metrics.behind_ms = 0;
    if (!changed)
        return true;
    if (!session_is_in_roster(session)) {
        session_lose(session, MANAGERS_GONE);
        return false;
    }
    return session_tell_view(session, MANAGERS_VIEW, false);
}

static bool take_events(struct session *session)
{
    const struct answer *answer = &session->watch.answer;
    struct call_key all = call_key_member(session->options.prefix, "");
    bool changed = false;
    for (size_t i = 0; i < answer->count; i++) {
        const struct answer_kv *kv = &answer->kvs[i];
        uint64_t revision = kv->mod_revision;
        bool last = i + 1 == answer->count || answer->kvs[i + 1].mod_revision != revision;
        /* etcd sends them in order, and those of a revision together. */
        if (revision == 0 || (i + 1 < answer->count && answer->kvs[i + 1].mod_revision < revision))
            return false;
        if (revision <= session->watch.delivered)
            continue;
        if (roster_apply(&session->roster, all.text, answer, kv, &changed) != 0) {
            session_lose(session, MANAGERS_COMPACTED);
            return false;
        }
        session_note_key(session, answer, kv);
        if (last && !revision_done(session, revision, changed))
            return false;
        if (last)
            changed = false;
    }
    return true;
}

static bool take_line(struct session *session, struct slice line)
{
    struct answer *answer = &session->watch.answer;
    if (answer_decode(answer, line) != 0)
        return false;
    if (answer->compact_revision > 0) {
        session_lose(session, MANAGERS_COMPACTED);
        return false;
    }
    if (answer->error != ANSWER_GOOD || answer->canceled) {
        if (answer->error == ANSWER_TOKEN_BAD && session->options.user[0] != '\0')
            session->wants_token = true;
        memcpy(session->watch.why, answer->sentence, sizeof(session->watch.why));
        session->metrics.errors++;
        return false;
    }
    if (answer->created) {
        session->watch.state = WATCH_RUNNING;
        return true;
    }
    if (session->watch.state != WATCH_RUNNING)
        return false;
    if (answer->count > 0)
        return take_events(session);
    /* A notice of progress: nothing is missing up to there. So a resume does not ask for revisions
     * that were compacted since, when the members change less often than others' keys. */
    if (answer->revision > session->watch.delivered)
        session->watch.delivered = answer->revision;
    return true;
}

bool session_watch_bytes(struct session *session, uint64_t now_ms, struct slice bytes)
{
    struct buffer *line = &session->watch.line;
    (void)now_ms;
    while (bytes.size > 0 && session->watch.state != WATCH_OFF && !session->watch.unwanted) {
        const uint8_t *end = memchr(bytes.data, '\n', bytes.size);
        size_t size = end == NULL ? bytes.size : (size_t)(end - bytes.data);
        if (line->size + size > ANSWER_LIMIT)
            return false;
        buffer_append(line, bytes.data, size);
        if (buffer_status(line) != 0) {
            buffer_clear(line);
            return false;
        }
        if (end == NULL)
            return true;
        bytes = slice_of(end + 1, bytes.size - size - 1);
        bool good = line->size == 0 || take_line(session, buffer_slice(line));
        buffer_clear(line);
        if (!good)
            return false;
    }
    return session->watch.state != WATCH_OFF && !session->watch.unwanted;
}
