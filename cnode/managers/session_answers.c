/* session_answers: what each answer of the lane means. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "session.h"

/* Is it this, the first of its group? NULL: the group is empty. */
static const struct answer_kv *first_of(const struct answer *answer, unsigned group)
{
    for (size_t i = 0; i < answer->count; i++)
        if (answer->kvs[i].group == group)
            return &answer->kvs[i];
    return NULL;
}

static void go(struct session *session, enum session_step step, uint64_t at_ms)
{
    session->next = step;
    session->next_ms = at_ms;
}

/* ---- joining ------------------------------------------------------------------------------------
 */

static bool take_authenticate(struct session *session)
{
    const struct answer *answer = &session->answer;
    if (answer->error != ANSWER_GOOD && answer->error != ANSWER_AUTH_OFF)
        return false;
    if (answer->error == ANSWER_GOOD && answer->token[0] == '\0')
        return false;
    memcpy(session->token, answer->token, sizeof(session->token));
    session->wants_token = false;
    return true;
}

/* The lease is gone, by this or by itself. */
static bool is_revoked(const struct answer *answer)
{
    return answer->error == ANSWER_GOOD || answer->error == ANSWER_MISSING;
}

/* R1: may the member that is there be ended? Only when it is this process's own past, which stopped
 * before managers_join, or its predecessor's in the data_dir whose lock it holds. */
static bool is_own_past(const struct session *session, const struct answer_kv *kv)
{
    const struct session_options *options = &session->options;
    return kv->lease != 0 &&
           ((options->data_dir_locked && kv->lease == options->predecessor_lease) ||
               kv->lease == session->self.lease);
}

static void wait_for_name(struct session *session, const struct answer_kv *kv, uint64_t now_ms)
{
    struct managers_member other = {.address = ""};
    uint64_t third = session->options.lease_ms / 3;
    call_member_decode(&other, answer_value(&session->answer, kv));
    if (!session->taken_told)
        session_note(session, LOG_WARNING,
            "there is a member %s already (incarnation %016" PRIx64
            ", address \"%s\"): waiting until "
            "its lease ends",
            session->options.self.name, other.incarnation, other.address);
    session->taken_told = true;
    snprintf(session->error, sizeof(session->error), "the name %s is another member's",
        session->options.self.name);
    go(session, STEP_LOOK, now_ms + (third < SESSION_TAKEN_MS ? third : SESSION_TAKEN_MS));
}

/* Does anybody of this group speak another protocol than this node? */
static bool has_stranger(
    const struct session *session, unsigned group, struct managers_member *stranger)
{
    const struct answer *answer = &session->answer;
    for (size_t i = 0; i < answer->count; i++)
        if (answer->kvs[i].group == group &&
            session_is_stranger(session, answer, &answer->kvs[i], stranger))
            return true;
    return false;
}

static void wait_for_stranger(
    struct session *session, const struct managers_member *stranger, uint64_t now_ms)
{
    session_fine(session, session->turn.at);
    snprintf(session->error, sizeof(session->error),
        "member %s speaks protocol %" PRIu32 " of members, this one %" PRIu32, stranger->name,
        stranger->protocol, session->options.self.protocol);
    go(session, STEP_LOOK, now_ms + SESSION_TAKEN_MS);
    if (session->refused_told)
        return;
    session->refused_told = session->hooks.event(
        session->hooks.context, &(struct managers_event){.kind = MANAGERS_REFUSED,
                                    .view = {.count = 1, .members = stranger}});
}

static bool read_history(struct session *session, const struct answer_kv *kv)
{
    char text[17] = "";
    struct slice value = answer_value(&session->answer, kv);
    uint64_t history;
    if (value.size != 16)
        return false;
    memcpy(text, value.data, 16);
    if (strspn(text, "0123456789abcdef") != 16 || sscanf(text, "%16" SCNx64, &history) != 1)
        return false;
    session->history = history;
    session->history_revision = kv->mod_revision;
    return true;
}

static bool take_look(struct session *session, uint64_t now_ms)
{
    const struct answer *answer = &session->answer;
    const struct answer_kv *member = first_of(answer, 0), *history = first_of(answer, 1);
    struct managers_member stranger;
    if (answer->error != ANSWER_GOOD)
        return false;
    session->history_revision = 0;
    if (has_stranger(session, 2, &stranger)) {
        wait_for_stranger(session, &stranger, now_ms);
        return true;
    }
    session->refused_told = false;
    if (history == NULL) {
        go(session, STEP_HISTORY, now_ms);
        return true;
    }
    if (!read_history(session, history)) {
        session_note(session, LOG_WARNING,
            "etcd's key %s is not what members write: a new history begins",
            call_key_history(session->options.prefix).text);
        session->history_revision = history->mod_revision;
        go(session, STEP_HISTORY, now_ms);
        return true;
    }
    if (session->former.joined && session->former.history == session->history &&
        answer->revision < session->former.seen_revision) {
        go(session, STEP_HISTORY, now_ms); /* an older state: from here on it is another history */
        return true;
    }
    if (member == NULL) {
        go(session, STEP_GRANT, now_ms);
    } else if (is_own_past(session, member)) {
        session_note(session, LOG_INFO, "the lease of this node's predecessor is revoked");
        session->old_lease = member->lease;
        go(session, STEP_REVOKE, now_ms);
    } else {
        wait_for_name(session, member, now_ms);
    }
    return true;
}

static bool take_grant(struct session *session, uint64_t now_ms)
{
    const struct answer *answer = &session->answer;
    struct managers_member *self = &session->self;
    if (answer->error != ANSWER_GOOD || answer->id == 0 || answer->ttl == 0 || answer->ttl > 3600)
        return false;
    self->lease = answer->id;
    self->lease_ms = answer->ttl * 1000;
    do
        self->incarnation = session_random(session);
    while (self->incarnation == 0);
    session->until_ms = session->lane.sent_ms + self->lease_ms - self->lease_ms / 10;
    session->renew_ms = session->lane.sent_ms + self->lease_ms / 3;
    session->hooks.event(session->hooks.context,
        &(struct managers_event){.kind = MANAGERS_LEASE, .lease = self->lease});
    go(session, STEP_CREATE, now_ms);
    return true;
}

static bool take_create(struct session *session, uint64_t now_ms)
{
    const struct answer *answer = &session->answer;
    struct managers_member *self = &session->self, there = {.incarnation = 0};
    const struct answer_kv *kv = first_of(answer, 0);
    if (answer->error == ANSWER_MISSING) { /* it took so long that the lease is over */
        self->lease = 0;
        go(session, STEP_LOOK, now_ms);
        return true;
    }
    if (answer->error != ANSWER_GOOD || (answer->succeeded && answer->revision == 0))
        return false;
    if (answer->succeeded) {
        self->revision = answer->revision;
        go(session, STEP_MEMBERS, now_ms);
        return true;
    }
    /* An earlier try, whose answer was lost, may have put it. */
    if (kv != NULL && kv->lease == self->lease &&
        call_member_decode(&there, answer_value(answer, kv)) &&
        there.incarnation == self->incarnation) {
        self->revision = kv->mod_revision;
        go(session, STEP_MEMBERS, now_ms);
        return true;
    }
    /* Somebody was faster, or etcd lost its data in between. */
    session->old_lease = self->lease;
    go(session, STEP_REVOKE, now_ms);
    return true;
}

/* The members as of the creating put: the first view. What comes after it comes by the watch. */
static bool take_members(struct session *session, uint64_t now_ms)
{
    const struct answer *answer = &session->answer;
    struct call_key all = call_key_member(session->options.prefix, "");
    struct managers_member *self = &session->self, stranger;
    bool changed = false;
    if (answer->error == ANSWER_COMPACTED) {
        session->old_lease = self->lease;
        go(session, STEP_REVOKE, now_ms);
        return true;
    }
    if (answer->error != ANSWER_GOOD || answer->revision < self->revision)
        return false;
    roster_release(&session->roster);
    for (size_t i = 0; i < answer->count; i++)
        if (roster_apply(&session->roster, all.text, answer, &answer->kvs[i], &changed) != 0)
            return false;
    /* A stranger put its key since we looked, before ours: the later one goes. */
    if (!session_is_in_roster(session) || has_stranger(session, 0, &stranger)) {
        session->old_lease = self->lease;
        go(session, STEP_REVOKE, now_ms);
        return true;
    }
    for (size_t i = 0; i < answer->count; i++)
        session_note_key(session, answer, &answer->kvs[i]);
    session->roster.number = self->revision;
    session->seen_revision = answer->revision;
    bool reset = session->former.joined && (session->former.history != session->history ||
                                               self->revision <= session->former.seen_revision);
    session->epoch++;
    session->phase = SESSION_MEMBER;
    session->next = STEP_KEEPALIVE;
    session->metrics.joins++;
    watch_start_from(session, self->revision);
    session_note(session, LOG_INFO,
        "%s is a member: incarnation %016" PRIx64 ", revision %" PRIu64
        ", one of %zu, lease %" PRIu64 " ms%s",
        self->name, self->incarnation, session->roster.number,
        session->roster.count - session->roster.strays, self->lease_ms,
        reset ? "; etcd has other data than before" : "");
    session_tell_view(session, MANAGERS_JOINED, reset);
    return true;
}

/* ---- a member -----------------------------------------------------------------------------------
 */

static bool take_keepalive(struct session *session)
{
    const struct answer *answer = &session->answer;
    uint64_t ttl_ms = answer->ttl * 1000;
    if (answer->error == ANSWER_MISSING ||
        (answer->error == ANSWER_GOOD && answer->ttl == 0 && answer->id == session->self.lease)) {
        session_lose(session, MANAGERS_GONE);
        return true;
    }
    if (answer->error != ANSWER_GOOD || answer->id != session->self.lease || answer->ttl > 3600)
        return false;
    session->keepalive_sent_ms = session->lane.sent_ms;
    session->renewed_until_ms = session->lane.sent_ms + ttl_ms - ttl_ms / 10;
    session->next = STEP_READ;
    return true;
}

/* R12: has the watch delivered what the list shows? */
static void compare_with_watch(struct session *session, uint64_t set, uint64_t now_ms)
{
    if (session->answer.revision < session->watch.delivered)
        return; /* the watch is ahead of this answer */
    if (set == session->roster.set) {
        session->behind_since_ms = 0;
    } else if (session->behind_since_ms == 0) {
        session->behind_since_ms = now_ms;
        session->behind_set = set;
    } else {
        /* Not a moment ago: this watch may be one that says nothing for ever. */
        session_note(session, LOG_WARNING, "the watch is %" PRIu64 " ms behind the member list",
            now_ms - session->behind_since_ms);
        session->watch.unwanted = session->watch.state != WATCH_OFF;
    }
}

static bool take_read(struct session *session, uint64_t now_ms)
{
    const struct answer *answer = &session->answer;
    const struct managers_member *self = &session->self;
    struct call_key all = call_key_member(session->options.prefix, "");
    const struct answer_kv *history = first_of(answer, 2);
    uint64_t set = 0, newest = session->roster.number;
    bool is_there = false;
    if (answer->error != ANSWER_GOOD || !answer->succeeded)
        return false;
    if (answer->revision < session->lane.seen_revision || history == NULL ||
        history->mod_revision != session->history_revision) {
        session_lose(session, MANAGERS_RESET);
        return true;
    }
    for (size_t i = 0; i < answer->count; i++) {
        const struct answer_kv *kv = &answer->kvs[i];
        struct slice name;
        if (kv->group != 0 || !roster_name(answer_key(answer, kv), all.text, &name))
            continue;
        set += roster_set_mark(name, kv->mod_revision);
        newest = kv->mod_revision > newest ? kv->mod_revision : newest;
        if (slice_equal_string(name, self->name))
            is_there = kv->mod_revision == self->revision && kv->lease == self->lease;
    }
    if (!is_there) {
        session_lose(session, MANAGERS_GONE);
        return true;
    }
    if (first_of(answer, 1) != NULL) {
        session_lose(session, MANAGERS_EVICTED);
        return true;
    }
    session_see(session, answer->revision);
    compare_with_watch(session, set, now_ms);
    uint64_t behind_ms = session->behind_since_ms == 0 ? 0 : now_ms - session->behind_since_ms;
    session->metrics.behind_ms = behind_ms;
    if (session->behind_since_ms == 0)
        newest = session->roster.number;
    else if (newest == session->roster.number)
        newest++;
    if (behind_ms > 2 * self->lease_ms) {
        session_lose(session, MANAGERS_COMPACTED);
        return true;
    }
    session->next = STEP_KEEPALIVE;
    session->until_ms = session->renewed_until_ms;
    session->renew_ms = session->keepalive_sent_ms + self->lease_ms / 3;
    session->metrics.renewals++;
    session->hooks.event(
        session->hooks.context, &(struct managers_event){.kind = MANAGERS_RENEWED,
                                    .incarnation = self->incarnation,
                                    .lease = self->lease,
                                    .until_ms = session->until_ms,
                                    .behind_ms = behind_ms,
                                    .newest_view = roster_number(session->history, newest)});
    return true;
}

/* ---- all of them --------------------------------------------------------------------------------
 */

/* An answer to a phase that is over. A lease that came too late must still be revoked. */
static void take_late(struct session *session)
{
    const struct answer *answer = &session->answer;
    if (session->lane.step == STEP_GRANT && answer->error == ANSWER_GOOD && session->old_lease == 0)
        session->old_lease = answer->id;
}

bool session_take(struct session *session, uint64_t now_ms)
{
    const struct answer *answer = &session->answer;
    enum session_step step = session->lane.step;
    if (step == STEP_AUTHENTICATE)
        return take_authenticate(session);
    if (session->lane.epoch != session->epoch) {
        take_late(session);
        return true;
    }
    switch (step) {
    case STEP_REVOKE:
        if (!is_revoked(answer))
            return false;
        if (session->old_lease == session->self.lease)
            session->self.lease = 0;
        session->old_lease = 0;
        go(session, STEP_LOOK, now_ms);
        return true;
    case STEP_LOOK:
        return take_look(session, now_ms);
    case STEP_HISTORY:
        if (answer->error != ANSWER_GOOD)
            return false;
        go(session, STEP_LOOK, now_ms);
        return true;
    case STEP_GRANT:
        return take_grant(session, now_ms);
    case STEP_CREATE:
        return take_create(session, now_ms);
    case STEP_MEMBERS:
        return take_members(session, now_ms);
    case STEP_KEEPALIVE:
        return take_keepalive(session);
    case STEP_READ:
        return take_read(session, now_ms);
    case STEP_LEAVE:
        if (!is_revoked(answer))
            return false;
        session->old_lease = 0;
        return true; /* session_advance tells */
    default:
        return eviction_take(session, session->lane.eviction, now_ms);
    }
}
