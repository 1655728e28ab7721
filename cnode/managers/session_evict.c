/* session_evict: R12, the way of an evict key.
 *
 *   EVICT   put the key, under this member's lease, if the target is still what it is and nobody
 *           is being evicted
 *   (wait)  the target's lease and a tenth: a renewal of it that began before the key was there has
 *           ended by then, and every later one reads the key
 *   REMOVE  in one transaction, if both keys are still the same: remove them. The evict key is the
 *           proof that nothing extended the target's lease meanwhile, for it goes with this
 * member's lease, and the transaction is where that is looked at CLEAR   revoke the target's lease,
 * which has no member key any more, with what else is under it */
#include <string.h>

#include "session.h"

void session_evict(struct session *session, uint64_t now_ms, const char *name, uint64_t incarnation)
{
    struct eviction *free_slot = NULL;
    const struct managers_member *target = roster_find(&session->roster, name);
    if (session->phase != SESSION_MEMBER || target == NULL || target->incarnation != incarnation ||
        strcmp(name, session->self.name) == 0)
        return;
    for (size_t i = 0; i < SESSION_EVICTIONS; i++) {
        struct eviction *eviction = &session->evictions[i];
        if (eviction->step == STEP_NONE)
            free_slot = free_slot == NULL ? eviction : free_slot;
        else if (eviction->target.incarnation == incarnation &&
                 strcmp(eviction->target.name, name) == 0)
            return;
    }
    if (free_slot == NULL)
        return;
    session_note(session, LOG_WARNING, "member %s is being evicted: it does not do its part", name);
    *free_slot = (struct eviction){.step = STEP_EVICT, .at_ms = now_ms, .target = *target};
}

struct eviction *eviction_due(struct session *session, uint64_t now_ms)
{
    for (size_t i = 0; i < SESSION_EVICTIONS; i++) {
        struct eviction *eviction = &session->evictions[i];
        if (eviction->step != STEP_NONE && now_ms >= eviction->at_ms)
            return eviction;
    }
    return NULL;
}

uint64_t evictions_due(const struct session *session)
{
    uint64_t due = UINT64_MAX;
    for (size_t i = 0; i < SESSION_EVICTIONS; i++)
        if (session->evictions[i].step != STEP_NONE && session->evictions[i].at_ms < due)
            due = session->evictions[i].at_ms;
    return due;
}

void eviction_body(struct session *session, struct eviction *eviction)
{
    struct buffer *body = &session->lane.body;
    const char *prefix = session->options.prefix;
    if (eviction->step == STEP_EVICT)
        call_evict(body, prefix, &eviction->target, session->self.lease);
    else if (eviction->step == STEP_REMOVE)
        call_remove(body, prefix, &eviction->target, eviction->revision);
    else
        call_lease(body, eviction->target.lease);
}

bool eviction_take(struct session *session, struct eviction *eviction, uint64_t now_ms)
{
    const struct answer *answer = &session->answer;
    uint64_t lease_ms = eviction->target.lease_ms > session->self.lease_ms
                            ? eviction->target.lease_ms
                            : session->self.lease_ms;
    if (eviction->step == STEP_EVICT && answer->error == ANSWER_MISSING) {
        /* This member's own lease is over; its next renewal says so. */
        eviction->step = STEP_NONE;
        return true;
    }
    bool is_cleared = eviction->step == STEP_CLEAR && answer->error == ANSWER_MISSING;
    if (answer->error != ANSWER_GOOD && !is_cleared)
        return false;
    switch (eviction->step) {
    case STEP_EVICT:
        eviction->step = answer->succeeded ? STEP_REMOVE : STEP_NONE;
        eviction->revision = answer->revision;
        eviction->at_ms = now_ms + lease_ms + lease_ms / 10;
        return true;
    case STEP_REMOVE:
        eviction->step = answer->succeeded ? STEP_CLEAR : STEP_NONE;
        return true;
    default:
        eviction->step = STEP_NONE;
        return true;
    }
}
