#include "session.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- small things -------------------------------------------------------------------------------
 */

void session_note(struct session *session, enum log_level level, const char *format, ...)
{
    char sentence[MANAGERS_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    session->hooks.note(session->hooks.context, level, sentence);
}

uint64_t session_random(struct session *session)
{
    /* xorshift64*, Vigna 2016 */
    session->random ^= session->random >> 12;
    session->random ^= session->random << 25;
    session->random ^= session->random >> 27;
    return session->random * 0x2545F4914F6CDD1Du;
}

/* A renewal is due every third of the lease and is two requests: a server that does not answer must
 * leave time for another one. */
uint64_t session_timeout_ms(const struct session *session)
{
    uint64_t lease =
        session->self.lease_ms != 0 ? session->self.lease_ms : session->options.lease_ms;
    uint64_t timeout = lease / 6;
    return timeout < 300 ? 300 : timeout > 5000 ? 5000 : timeout;
}

/* etcd checks a password slowly on purpose, one after the other, and who asks again waits anew:
 * members that all need a token, after etcd started again, would get none in time. */
static uint64_t password_timeout_ms(const struct session *session)
{
    enum { LONGEST_MS = 5000 };
    const uint64_t half_ms = session->self.lease_ms / 2;
    return session->phase == SESSION_MEMBER && half_ms < LONGEST_MS ? half_ms : LONGEST_MS;
}

static const char *url_of(const struct session *session, unsigned endpoint)
{
    return session->options.endpoints->urls[endpoint];
}

void session_trouble(struct session *session, unsigned endpoint, const char *why)
{
    session->metrics.errors++;
    snprintf(session->error, sizeof(session->error), "%s: %s", url_of(session, endpoint), why);
    if (!session->was_out_of_reach)
        session_note(session, LOG_WARNING, "no use of etcd at %s", session->error);
    session->was_out_of_reach = true;
}

void session_fine(struct session *session, unsigned endpoint)
{
    session->error[0] = '\0';
    if (session->was_out_of_reach)
        session_note(session, LOG_INFO, "etcd answers at %s", url_of(session, endpoint));
    session->was_out_of_reach = false;
}

void session_see(struct session *session, uint64_t revision)
{
    if (revision > session->seen_revision)
        session->seen_revision = revision;
}

bool session_is_in_roster(const struct session *session)
{
    const struct managers_member *found = roster_find(&session->roster, session->self.name);
    return found != NULL && found->revision == session->self.revision &&
           found->incarnation == session->self.incarnation &&
           roster_twin(&session->roster, found) == NULL;
}

bool session_is_stranger(const struct session *session, const struct answer *answer,
    const struct answer_kv *kv, struct managers_member *stranger)
{
    struct call_key all = call_key_member(session->options.prefix, "");
    struct slice name;
    *stranger = (struct managers_member){.revision = kv->mod_revision, .lease = kv->lease};
    if (kv->deleted || !roster_name(answer_key(answer, kv), all.text, &name) ||
        !roster_is_node(name) || slice_equal_string(name, session->options.self.name) ||
        !call_member_decode(stranger, answer_value(answer, kv)))
        return false;
    memcpy(stranger->name, name.data, name.size);
    return stranger->protocol != session->options.self.protocol;
}

/* NULL: it is, or speaks another protocol. */
static const char *why_not_taken_in(
    const struct session *session, const struct answer *answer, const struct answer_kv *kv)
{
    struct call_key all = call_key_member(session->options.prefix, "");
    struct managers_member decoded;
    char text[MANAGERS_NAME_LIMIT + 1] = "";
    struct slice name;
    if (!roster_name(answer_key(answer, kv), all.text, &name) || !roster_is_node(name))
        return "its name is not a node's";
    if (!call_member_decode(&decoded, answer_value(answer, kv)))
        return "its value is not what members write";
    memcpy(text, name.data, name.size);
    const struct managers_member *entry = roster_find(&session->roster, text);
    return entry != NULL && roster_twin(&session->roster, entry) != NULL
               ? "another has its incarnation"
               : NULL;
}

void session_note_key(
    struct session *session, const struct answer *answer, const struct answer_kv *kv)
{
    enum { SHOWN = 80 };
    struct managers_member stranger;
    if (kv->deleted)
        return;
    if (session_is_stranger(session, answer, kv, &stranger)) {
        session_note(session, LOG_WARNING,
            "%s has put itself among the members, but speaks protocol %" PRIu32
            " of members and this cluster %" PRIu32 ": it is not taken in",
            stranger.name, stranger.protocol, session->options.self.protocol);
        return;
    }
    const char *why = why_not_taken_in(session, answer, kv);
    struct slice key = answer_key(answer, kv);
    if (why != NULL)
        session_note(session, LOG_WARNING,
            "etcd's key %.*s%s is among the members', and no member's: %s; it is not taken in",
            (int)(key.size < SHOWN ? key.size : SHOWN), (const char *)key.data,
            key.size < SHOWN ? "" : "...", why);
}

static bool tell(struct session *session, const struct managers_event *event)
{
    return session->hooks.event(session->hooks.context, event);
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static bool copy_text(char *to, size_t size, const char *from, size_t least)
{
    size_t length = strlen(from);
    if (length < least || length >= size)
        return false;
    memcpy(to, from, length + 1);
    return utf8_is_valid(slice_of_string(from));
}

int session_options_set(struct session_options *to, const struct managers_options *from, char *why)
{
    const char *objection = NULL;
    *to = (struct session_options){.lease_ms = from->lease_ms,
        .predecessor_lease = from->predecessor_lease,
        .data_dir_locked = from->data_dir_locked};
    to->self.port = from->port;
    to->self.protocol = from->protocol;
    if (!copy_text(to->prefix, sizeof(to->prefix), from->prefix, 1))
        objection = "the prefix of etcd's keys is empty, too long or not UTF-8";
    else if (!copy_text(to->user, sizeof(to->user), from->user, 0))
        objection = "the user for etcd is too long or not UTF-8";
    else if (!copy_text(to->password, sizeof(to->password), from->password, 0))
        objection = "the password for etcd is too long or not UTF-8";
    else if (!copy_text(to->self.name, sizeof(to->self.name), from->name, 1))
        objection = "the member's name is empty, too long or not UTF-8";
    else if (!copy_text(to->self.address, sizeof(to->self.address), from->address, 0))
        objection = "the member's address is too long or not UTF-8";
    else if (from->lease_ms < 1000 || from->lease_ms > 3600000)
        objection = "the lease is shorter than a second or longer than an hour";
    snprintf(why, MANAGERS_TEXT, "%s", objection == NULL ? "" : objection);
    return objection == NULL ? 0 : BRAIN_ECONFIG;
}

void session_init(
    struct session *session, const struct session_options *options, struct session_hooks hooks)
{
    answer_guard_memory();
    memset(session, 0, sizeof(*session));
    session->options = *options;
    session->hooks = hooks;
    session->random = options->seed;
    session->wants_token = options->user[0] != '\0';
    /* Members should not all be at the first server of the list. */
    session->turn.at = (unsigned)(session_random(session) % options->endpoints->count);
    session->watch.turn.at = session->turn.at;
    buffer_init(&session->lane.body);
    buffer_init(&session->watch.body);
    buffer_init(&session->watch.line);
    answer_init(&session->answer);
    answer_init(&session->watch.answer);
    roster_init(&session->roster, options->self.protocol);
}

void session_release(struct session *session)
{
    buffer_release(&session->lane.body);
    buffer_release(&session->watch.body);
    buffer_release(&session->watch.line);
    answer_release(&session->answer);
    answer_release(&session->watch.answer);
    roster_release(&session->roster);
    explicit_bzero(session->options.password, sizeof(session->options.password));
    explicit_bzero(session->token, sizeof(session->token));
}

/* What belongs to a membership, gone. Its lease may still live. */
static void forget_membership(struct session *session)
{
    if (session->self.lease != 0)
        session->old_lease = session->self.lease;
    session->self = session->options.self;
    session->until_ms = session->seen_revision = session->behind_since_ms = 0;
    memset(session->evictions, 0, sizeof(session->evictions));
    roster_release(&session->roster);
    watch_stop(session);
    session->metrics.behind_ms = session->metrics.members = 0;
}

void session_join(struct session *session, uint64_t now_ms)
{
    if (session->phase != SESSION_IDLE && session->phase != SESSION_LOST)
        return;
    forget_membership(session);
    session->epoch++;
    session->phase = SESSION_JOINING;
    session->next = session->old_lease != 0 ? STEP_REVOKE : STEP_LOOK;
    session->next_ms = now_ms;
    session->taken_told = session->refused_told = false;
}

void session_lose(struct session *session, enum managers_reason reason)
{
    static const char *const words[] = {
        [MANAGERS_GONE] = "the lease ended, or the key was removed",
        [MANAGERS_EVICTED] = "another member evicts this one",
        [MANAGERS_COMPACTED] = "events of the watch are missing",
        [MANAGERS_RESET] = "etcd has other data, or an older state of it",
    };
    if (session->phase != SESSION_MEMBER)
        return;
    session_note(session, LOG_WARNING, "the membership is lost: %s", words[reason]);
    session->former.history = session->history;
    session->former.seen_revision = session->seen_revision;
    session->former.joined = true;
    forget_membership(session);
    session->epoch++;
    session->phase = SESSION_LOST;
    session->metrics.losses++;
    tell(session, &(struct managers_event){.kind = MANAGERS_LOST, .reason = reason});
}

void session_leave(struct session *session, uint64_t now_ms)
{
    if (session->phase == SESSION_LEAVING)
        return;
    if (session->phase == SESSION_MEMBER) {
        session->former.history = session->history;
        session->former.seen_revision = session->seen_revision;
        session->former.joined = true;
    }
    uint64_t lease_ms =
        session->self.lease_ms != 0 ? session->self.lease_ms : session->options.lease_ms;
    forget_membership(session);
    session->epoch++;
    session->phase = SESSION_LEAVING;
    session->leave_ms = now_ms + lease_ms;
}

static void left(struct session *session, bool confirmed)
{
    session->epoch++;
    session->phase = SESSION_IDLE;
    tell(session, &(struct managers_event){.kind = MANAGERS_LEFT, .confirmed = confirmed});
}

bool session_tell_view(struct session *session, enum managers_event_kind kind, bool reset)
{
    struct managers_event event = {.kind = kind,
        .incarnation = session->self.incarnation,
        .lease = session->self.lease,
        .until_ms = session->until_ms,
        .history = session->history,
        .reset = reset};
    bool told = roster_view(&session->roster, session->history, &event.view) == 0;
    if (told) {
        session->metrics.members = event.view.count;
        session->metrics.views++;
        told = tell(session, &event);
        heap_release((void *)(uintptr_t)event.view.members);
    }
    /* A view that is not told is an event that is missing. */
    if (!told)
        session_lose(session, MANAGERS_COMPACTED);
    return told;
}

/* ---- what is due --------------------------------------------------------------------------------
 */

void session_advance(struct session *session, uint64_t now_ms)
{
    if (session->phase == SESSION_LEAVING && session->lane.step == STEP_NONE &&
        session->old_lease == 0)
        left(session, true);
    if (session->phase == SESSION_LEAVING && now_ms >= session->leave_ms)
        left(session, false);
    /* A lease that is over cannot carry a key any more, and a key that was put went with it. */
    if (session->phase == SESSION_JOINING && session->lane.step == STEP_NONE &&
        (session->next == STEP_CREATE || session->next == STEP_MEMBERS) &&
        now_ms >= session->until_ms) {
        session->old_lease = session->self.lease;
        session->next = STEP_REVOKE;
    }
    watch_advance(session, now_ms);
}

/* What the lane is to do next, and when. */
static enum session_step lane_next(
    const struct session *session, uint64_t *at_ms, struct eviction **eviction)
{
    *at_ms = 0;
    *eviction = NULL;
    if (session->phase == SESSION_IDLE || session->phase == SESSION_LOST)
        return STEP_NONE;
    if (session->phase == SESSION_LEAVING && session->old_lease == 0)
        return STEP_NONE;
    if (session->wants_token)
        return STEP_AUTHENTICATE;
    switch (session->phase) {
    case SESSION_JOINING:
        *at_ms = session->next_ms;
        return session->next;
    case SESSION_LEAVING:
        return STEP_LEAVE;
    default:
        break;
    }
    if (session->next == STEP_READ)
        return STEP_READ;
    *at_ms = session->renew_ms;
    return STEP_KEEPALIVE;
}

uint64_t session_due(const struct session *session)
{
    uint64_t due = watch_due(session);
    if (session->phase == SESSION_LEAVING && session->leave_ms < due)
        due = session->leave_ms;
    if (session->lane.step != STEP_NONE)
        return due;
    uint64_t at_ms;
    struct eviction *eviction;
    enum session_step step = lane_next(session, &at_ms, &eviction);
    if (step == STEP_NONE)
        return due;
    if (session->phase == SESSION_MEMBER && step == STEP_KEEPALIVE &&
        evictions_due(session) < at_ms)
        at_ms = evictions_due(session);
    if (at_ms < session->turn.again_ms)
        at_ms = session->turn.again_ms;
    return at_ms < due ? at_ms : due;
}

/* ---- requests -----------------------------------------------------------------------------------
 */

static const char *path_of(enum session_step step)
{
    switch (step) {
    case STEP_AUTHENTICATE:
        return "/v3/auth/authenticate";
    case STEP_REVOKE:
    case STEP_CLEAR:
    case STEP_LEAVE:
        return "/v3/lease/revoke";
    case STEP_GRANT:
        return "/v3/lease/grant";
    case STEP_KEEPALIVE:
        return "/v3/lease/keepalive";
    case STEP_MEMBERS:
        return "/v3/kv/range";
    default:
        return "/v3/kv/txn";
    }
}

/* Views of a history made later have greater numbers: after that of the former membership, and
 * otherwise by the calendar. */
static uint64_t new_history(struct session *session, uint64_t now_ms)
{
    static const uint64_t since_s = 1735689600; /* 2025-01-01 */
    const struct session_options *options = &session->options;
    uint64_t wall_s = options->wall_s + (now_ms - options->wall_at_ms) / 1000;
    uint64_t era = wall_s > since_s ? (wall_s - since_s) / ROSTER_ERA_S : 0;
    if (session->former.joined && era <= roster_era(session->former.history))
        era = roster_era(session->former.history) + 1;
    uint64_t random = session_random(session) >> (64 - ROSTER_REVISION_BITS);
    return (era % ROSTER_ERA_LIMIT) << ROSTER_REVISION_BITS | random | 1;
}

static void make_body(
    struct session *session, enum session_step step, struct eviction *eviction, uint64_t now_ms)
{
    const struct session_options *options = &session->options;
    struct buffer *body = &session->lane.body;
    const char *prefix = options->prefix, *name = options->self.name;
    buffer_clear(body);
    switch (step) {
    case STEP_AUTHENTICATE:
        call_authenticate(body, options->user, options->password);
        break;
    case STEP_REVOKE:
    case STEP_LEAVE:
        call_lease(body, session->old_lease);
        break;
    case STEP_LOOK:
        call_look(body, prefix, name);
        break;
    case STEP_HISTORY:
        call_history(body, prefix, new_history(session, now_ms), session->history_revision);
        break;
    case STEP_GRANT:
        call_grant(body, (options->lease_ms + 999) / 1000);
        break;
    case STEP_CREATE:
        call_create(body, prefix, &session->self, session->history_revision);
        break;
    case STEP_MEMBERS:
        call_members(body, prefix, session->self.revision);
        break;
    case STEP_KEEPALIVE:
        call_lease(body, session->self.lease);
        break;
    case STEP_READ:
        call_read(body, prefix, name, session->self.incarnation);
        break;
    default:
        eviction_body(session, eviction);
        break;
    }
}

bool session_call(struct session *session, uint64_t now_ms, struct session_call *call)
{
    uint64_t at_ms;
    struct eviction *eviction;
    if (session->lane.step != STEP_NONE || now_ms < session->turn.again_ms)
        return false;
    enum session_step step = lane_next(session, &at_ms, &eviction);
    if (step == STEP_NONE)
        return false;
    if (now_ms < at_ms) {
        if (session->phase != SESSION_MEMBER)
            return false;
        /* Renewals come first. */
        eviction = eviction_due(session, now_ms);
        if (eviction == NULL)
            return false;
        step = eviction->step;
    }
    make_body(session, step, eviction, now_ms);
    if (buffer_status(&session->lane.body) != 0) {
        endpoint_failed(
            &session->turn, session->options.endpoints->count, now_ms, session_random(session));
        /* As after a full round: there is no use in trying at once. */
        session->turn.again_ms = now_ms + ENDPOINTS_PAUSE_MAX_MS;
        return false;
    }
    session->lane.step = step;
    session->lane.epoch = session->epoch;
    session->lane.sent_ms = now_ms;
    session->lane.seen_revision = session->seen_revision;
    session->lane.eviction = eviction;
    session->metrics.requests++;
    *call = (struct session_call){.step = step,
        .endpoint = session->turn.at,
        .path = path_of(step),
        .body = buffer_slice(&session->lane.body),
        .token = step == STEP_AUTHENTICATE ? "" : session->token,
        .timeout_ms =
            step == STEP_AUTHENTICATE ? password_timeout_ms(session) : session_timeout_ms(session)};
    return true;
}

/* Anything that is not the answer: the step is repeated at the next server. */
static void step_failed(struct session *session, uint64_t now_ms, const char *why)
{
    session_trouble(session, session->turn.at, why);
    endpoint_failed(
        &session->turn, session->options.endpoints->count, now_ms, session_random(session));
    /* A renewal begins again with the keepalive: both parts of it must be of one server, so that
     * one that lost its leader, and does not know yet, cannot give half of it. */
    if (session->phase == SESSION_MEMBER && session->next == STEP_READ)
        session->next = STEP_KEEPALIVE;
}

void session_failed(struct session *session, uint64_t now_ms, const char *why)
{
    session->lane.step = STEP_NONE;
    step_failed(session, now_ms, why);
}

void session_answered(struct session *session, uint64_t now_ms, struct slice body)
{
    struct answer *answer = &session->answer;
    enum session_step step = session->lane.step;
    int status = answer_decode(answer, body);
    bool good = status == 0, immediately = false;
    char why[MANAGERS_TEXT];

    session->lane.step = STEP_NONE;
    if (good && answer->error == ANSWER_TOKEN_BAD && session->options.user[0] != '\0' &&
        step != STEP_AUTHENTICATE) {
        /* Tokens are forgotten after some minutes, or when etcd starts again. */
        session->wants_token = true;
        immediately = session->token_proven;
        session->token_proven = false;
        good = false;
    } else if (good) {
        session->lane.step = step;
        good = session_take(session, now_ms);
        session->lane.step = STEP_NONE;
    }
    if (immediately)
        return;
    if (good) {
        if (step != STEP_AUTHENTICATE)
            session->token_proven = true;
        /* Half a renewal is none, and does not end an outage. */
        if ((step == STEP_LOOK && !session->refused_told) || step == STEP_MEMBERS ||
            step == STEP_READ)
            session_fine(session, session->turn.at);
        if (step != STEP_KEEPALIVE)
            endpoint_succeeded(&session->turn);
        return;
    }
    if (status == 0 && answer->error != ANSWER_GOOD)
        snprintf(why, sizeof(why), "POST %s was answered: %s%s", path_of(step), answer->sentence,
            answer->error == ANSWER_TOKEN_BAD && session->options.user[0] == '\0'
                ? " (see manager_user)"
                : "");
    else
        snprintf(why, sizeof(why), "POST %s: the answer is not etcd's (%zu bytes)", path_of(step),
            body.size);
    step_failed(session, now_ms, why);
}
