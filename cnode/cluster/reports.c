/* R2, R4: in each view every member tells each home what it owns and holds of the home's slots. A
 * report covers a range of slots, ranges come in order, and a slot opens as soon as all members
 * have covered it. What this node owns and holds itself needs no report: a home looks. */
#include <string.h>

#include "inside.h"

enum { WINDOW = 4 }; /* reports under way to one home */

bool slot_is_open(const struct cluster *c, uint32_t slot)
{
    return slot < c->open_below;
}

/* All told, acknowledged and heard. */
static bool part_is_done(const struct cluster *c)
{
    if (c->open_below < CLUSTER_SLOTS)
        return false;
    for (uint16_t m = 0; m < c->view->count; m++) {
        const struct member *member = &c->view->members[m];
        if (m != c->view->self && member->is_home && member->acknowledged < CLUSTER_SLOTS)
            return false;
    }
    return true;
}

static void note_part(struct cluster *c)
{
    if (c->rebuilt_ms == 0 && part_is_done(c))
        c->rebuilt_ms = c->now_ms;
}

/* Offers that nobody waits for would take the CPU from what opens slots, here and elsewhere. This
 * node knows when its own part is done, not when the others', so they are given as much time again.
 */
bool reports_are_over(struct cluster *c, uint64_t *wait_ms)
{
    uint64_t until_ms = c->installed_ms + 2 * c->options.retry_ms;
    note_part(c);
    uint64_t twice_ms = c->rebuilt_ms + (c->rebuilt_ms - c->installed_ms);
    if (c->rebuilt_ms != 0 && twice_ms < until_ms)
        until_ms = twice_ms;
    *wait_ms = until_ms > c->now_ms ? until_ms - c->now_ms : 0;
    return *wait_ms == 0;
}

/* ---- telling ----------------------------------------------------------------------------------
 */

static void append_slot(struct cluster *c, uint32_t s, struct buffer *owned, struct buffer *copies)
{
    struct slot *slot = &c->slots[s];
    struct idmap_entry entry;
    uint32_t cursor = 0;
    while (idmap_next(&slot->owned, &c->epochs, &cursor, &entry))
        owned_record_write(owned, entry.key, entry.epoch);
    for (struct keyed *node = keyed_any(&slot->copies); node;
         node = keyed_next(&slot->copies, node)) {
        const struct copy *copy = (const struct copy *)(const void *)node;
        held_record_write(copies, node->key, copy->what.version);
    }
}

static bool send_one(struct cluster *c, uint16_t m)
{
    struct member *member = &c->view->members[m];
    struct buffer owned, copies;
    buffer_init(&owned);
    buffer_init(&copies);
    uint32_t slot = member->told;
    for (; slot < CLUSTER_SLOTS && owned.size + copies.size < c->options.report_chunk_bytes;
         slot++) {
        if (view_home(c->view, slot) == m)
            append_slot(c, slot, &owned, &copies);
    }
    bool whole = !owned.failed && !copies.failed;
    if (whole) {
        struct message report = {.kind = MESSAGE_REPORT,
            .first = member->told,
            .through = slot,
            .owned = buffer_slice(&owned),
            .copies = buffer_slice(&copies)};
        send_message(c, m, &report);
        member->told = slot;
        member->under_way++;
    }
    buffer_release(&owned);
    buffer_release(&copies);
    return whole;
}

void reports_send(struct cluster *c, uint16_t m)
{
    struct member *member = &c->view->members[m];
    if (m == c->view->self || !member->is_home)
        return;
    while (member->told < CLUSTER_SLOTS && member->under_way < WINDOW && send_one(c, m))
        ;
    member->told_ms = c->now_ms;
}

void report_acknowledged(struct cluster *c, uint16_t m, const struct message *message)
{
    struct member *member = &c->view->members[m];
    if (message->through > member->told)
        return;
    if (member->under_way > 0)
        member->under_way--;
    if (message->through > member->acknowledged) {
        member->acknowledged = message->through;
        member->acknowledged_ms = c->now_ms;
    }
    note_part(c);
    reports_send(c, m);
}

/* ---- hearing ----------------------------------------------------------------------------------
 */

static void open_slots(struct cluster *c)
{
    uint32_t below = CLUSTER_SLOTS;
    for (uint16_t m = 0; m < c->view->count && keeps(c, CLUSTER_R4_REPORTS); m++) {
        if (c->view->members[m].reported < below)
            below = c->view->members[m].reported;
    }
    uint32_t first = c->open_below;
    if (below <= first)
        return;
    c->open_below = below;
    home_opened(c, first, below);
}

static int take_owned(struct cluster *c, uint16_t m, const struct message *message)
{
    for (size_t at = 0; at < message->owned.size; at += OWNED_RECORD) {
        struct key key;
        struct cluster_epoch epoch;
        owned_record_read(message->owned.data + at, &key, &epoch);
        uint32_t slot = key_slot(key);
        if (slot < message->first || slot >= message->through || !epoch_is_valid(epoch))
            continue;
        if (view_home(c->view, slot) != c->view->self)
            continue;
        if (directory_report(c, m, key, epoch) != 0)
            return BRAIN_ENOMEM;
    }
    return 0;
}

static int take_copies(struct cluster *c, uint16_t m, const struct message *message)
{
    for (size_t at = 0; at < message->copies.size; at += HELD_RECORD) {
        struct key key;
        struct version version;
        held_record_read(message->copies.data + at, &key, &version);
        uint32_t slot = key_slot(key);
        if (slot < message->first || slot >= message->through ||
            view_home(c->view, slot) != c->view->self)
            continue;
        if (listing_add(c, key, c->view->members[m].incarnation, version) != 0)
            return BRAIN_ENOMEM;
    }
    return 0;
}

void report_received(struct cluster *c, uint16_t m, const struct message *message)
{
    struct member *member = &c->view->members[m];
    /* A range counts once, and only in order: a repetition that comes after a slot was opened would
     * undo what has been granted since. Without memory it counts when it is repeated. */
    if (message->first == member->reported && message->through > member->reported &&
        take_owned(c, m, message) == 0 && take_copies(c, m, message) == 0) {
        member->reported = message->through;
        member->reported_ms = c->now_ms;
    }
    struct message ack = {.kind = MESSAGE_REPORT_ACK, .through = member->reported};
    send_message(c, m, &ack);
    open_slots(c);
    note_part(c);
}

/* ---- a view begins, time passes ----------------------------------------------------------------
 */

void reports_begin(struct cluster *c, const struct view *before)
{
    struct view *view = c->view;
    c->open_below = 0;
    for (uint16_t m = 0; m < view->count; m++) {
        struct member *member = &view->members[m];
        member->reported = m == view->self ? CLUSTER_SLOTS : 0;
        int old = before ? view_find(before, member->incarnation) : -1;
        if (!keeps(c, CLUSTER_R4_FRESH) && old >= 0) /* the simulator's */
            member->reported = before->members[old].reported;
    }
    open_slots(c);
}

uint64_t reports_advance(struct cluster *c)
{
    uint64_t wait = UINT64_MAX;
    for (uint16_t m = 0; m < c->view->count; m++) {
        struct member *member = &c->view->members[m];
        if (m == c->view->self || !member->is_home || member->acknowledged == CLUSTER_SLOTS)
            continue;
        uint64_t due = member->told_ms + c->options.retry_ms;
        if (c->now_ms >= due) { /* lost: again from what is acknowledged */
            member->told = member->acknowledged;
            member->under_way = 0;
            reports_send(c, m);
            due = c->now_ms + c->options.retry_ms;
        }
        if (due - c->now_ms < wait)
            wait = due - c->now_ms;
    }
    return wait;
}
