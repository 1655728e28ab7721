/* R12, at any time: members of one view that cannot hear each other.
 *
 * Each member says something to each other one at least three times in report_timeout: a `ping`,
 * where there was nothing else to say. In a cluster of 100 with a timeout of 10 s that is 30 small
 * messages a second for each. A ping tells for how long its sender has not heard the receiver, so
 * that both ends know of a link that loses one direction only. Who has complained so pings on,
 * three times, after it hears the other one again, whatever else it says: only a ping takes that
 * back.
 *
 * Who has not been heard for report_timeout, or does not hear, or keeps a slot closed, is evicted;
 * but one fault should cost one member. From one broken link both ends suffer, from a member that
 * is deaf all others do, and a deaf one suspects everybody. So those evict first who hear most:
 *
 *   heard here, this member included    patience, in report_timeouts
 *   more than half of all               1; 2 for who comes later in the view's order
 *   half                                2 on the side with the first of the view, 3 on the other
 *   less                                4
 *
 * and one is evicted at a time: etcd looks at that when the key is written
 * (include/brain/managers.h). */
#include "inside.h"

enum { PINGS = 3 }; /* in report_timeout_ms */

static uint64_t since(const struct cluster *c, uint64_t ms)
{
    return c->now_ms > ms ? c->now_ms - ms : 0;
}

static void longest(uint64_t *ms, uint64_t other)
{
    if (other > *ms)
        *ms = other;
}

/* For how long it has not done its part, in ms. */
static uint64_t trouble(const struct cluster *c, uint16_t m)
{
    const struct member *member = &c->view->members[m];
    uint64_t ms = 0;
    if (m == c->view->self)
        return 0;
    if (keeps(c, CLUSTER_R12_HEAR)) {
        longest(&ms, since(c, member->heard_ms));
        longest(&ms, member->deaf_ms != 0 ? since(c, member->deaf_ms) : 0);
    }
    /* It keeps slots of ours closed, or keeps us from claiming at its. */
    if (c->view->self_is_home && member->reported < CLUSTER_SLOTS)
        longest(&ms, since(c, member->reported_ms));
    if (member->is_home && member->acknowledged < CLUSTER_SLOTS)
        longest(&ms, since(c, member->acknowledged_ms));
    return ms;
}

uint32_t liveness_silent(const struct cluster *c)
{
    uint32_t count = 0;
    for (uint16_t m = 0; c->view && m < c->view->count; m++)
        count += trouble(c, m) >= c->options.report_timeout_ms;
    return count;
}

static uint64_t patience(const struct cluster *c, uint16_t m, uint32_t silent)
{
    uint32_t heard = c->view->count - silent;
    uint32_t timeouts = 4;
    if (heard > silent)
        timeouts = c->view->self < m ? 1 : 2;
    else if (heard == silent)
        timeouts = trouble(c, 0) < c->options.report_timeout_ms ? 2 : 3;
    return timeouts * c->options.report_timeout_ms;
}

static void evict_silent(struct cluster *c)
{
    uint32_t silent = liveness_silent(c);
    for (uint16_t m = 0; silent > 0 && m < c->view->count; m++) {
        struct member *member = &c->view->members[m];
        bool again = since(c, member->evicted_ms) >= c->options.report_timeout_ms;
        uint64_t ms = trouble(c, m);
        if (ms < c->options.report_timeout_ms || ms < patience(c, m, silent) || !again)
            continue;
        struct cluster_member target = {member->name, member->incarnation};
        member->evicted_ms = c->now_ms;
        c->metrics.evictions++;
        if (c->events.evict)
            c->events.evict(c->events.context, &target, c->view->number);
    }
}

static void ping(struct cluster *c, uint16_t m)
{
    struct member *member = &c->view->members[m];
    struct message message = {.kind = MESSAGE_PING, .number = since(c, member->heard_ms)};
    member->pinged_ms = c->now_ms;
    if (message.number >= c->options.report_timeout_ms / 2)
        member->reassuring = PINGS;
    else if (member->reassuring > 0)
        member->reassuring--;
    c->metrics.pings++;
    send_message(c, m, &message);
}

void liveness_heard(struct cluster *c, uint16_t m, const struct message *message)
{
    struct member *member = &c->view->members[m];
    member->heard_ms = c->now_ms;
    if (message->kind != MESSAGE_PING)
        return;
    if (message->number < c->options.report_timeout_ms / 2)
        member->deaf_ms = 0;
    else if (member->deaf_ms == 0)
        member->deaf_ms = c->now_ms;
}

void liveness_begin(struct cluster *c, const struct view *before)
{
    for (uint16_t m = 0; m < c->view->count; m++) {
        struct member *member = &c->view->members[m];
        int old = before ? view_find(before, member->incarnation) : -1;
        if (old >= 0) {
            member->heard_ms = before->members[old].heard_ms;
            member->sent_ms = before->members[old].sent_ms;
            member->pinged_ms = before->members[old].pinged_ms;
            member->deaf_ms = before->members[old].deaf_ms;
            member->reassuring = before->members[old].reassuring;
        } else {
            member->heard_ms = c->now_ms;
        }
        member->reported_ms = member->acknowledged_ms = c->now_ms;
    }
    c->liveness_due_ms = 0;
}

static void later(const struct cluster *c, uint64_t *ms, uint64_t by)
{
    *ms = *ms + by < c->now_ms ? *ms + by : c->now_ms;
}

/* This process stood still for `ms`: what it did not hear meanwhile may wait in its sockets. */
static void was_away(struct cluster *c, uint64_t ms)
{
    for (uint16_t m = 0; m < c->view->count; m++) {
        struct member *member = &c->view->members[m];
        later(c, &member->heard_ms, ms);
        later(c, &member->reported_ms, ms);
        later(c, &member->acknowledged_ms, ms);
        if (member->deaf_ms != 0)
            member->deaf_ms = c->now_ms;
    }
}

uint64_t liveness_advance(struct cluster *c)
{
    uint64_t interval = c->options.report_timeout_ms / PINGS, now = c->now_ms;
    if (c->view->count == 1)
        return UINT64_MAX;
    if (interval == 0)
        interval = 1;
    if (c->advanced_ms != 0 && since(c, c->advanced_ms) > interval)
        was_away(c, since(c, c->advanced_ms));
    c->advanced_ms = now;
    if (now < c->liveness_due_ms)
        return c->liveness_due_ms - now;
    uint64_t due = now + interval;
    for (uint16_t m = 0; m < c->view->count; m++) {
        const struct member *member = &c->view->members[m];
        if (m == c->view->self)
            continue;
        /* Who is not heard is told so, whatever else it is sent. */
        bool quiet = since(c, member->heard_ms) > interval;
        bool pings_only = quiet || member->reassuring > 0;
        uint64_t last = pings_only ? member->pinged_ms : member->sent_ms;
        if (since(c, last) >= interval)
            ping(c, m);
        else if (last + interval < due)
            due = last + interval;
    }
    /* Those that are due soon after each other are looked at together. */
    uint64_t soonest = now + (interval + 7) / 8;
    c->liveness_due_ms = due > soonest ? due : soonest;
    if (keeps(c, CLUSTER_R12_EVICT))
        evict_silent(c);
    return c->liveness_due_ms - now;
}
