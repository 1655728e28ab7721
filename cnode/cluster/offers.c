/* R6, how dirty versions get to their holders: offered many in one message, sent one by one, and
 * never more at a time than a link bears. What a holder has not answered yet is counted, and what
 * does not fit waits, for each holder apart: one that is slow keeps nobody waiting but those it
 * holds copies for. */
#include <assert.h>
#include <string.h>

#include "inside.h"

enum {
    BATCHES = 8, /* of offers, under way to one holder */
    /* What a message costs both sides besides its bytes, counted as bytes: so no more than 1024 of
     * the smallest values fill a window of 8 MiB, some milliseconds of the holder's. */
    MESSAGE_WEIGHT = 8192,
    /* Of what nobody waits for no more than this, half a millisecond of the holder's each: claims
     * and requests come behind it on the same link, all members do it at the same time, and a loop
     * turns in a millisecond or two meanwhile. */
    CALM_BATCHES = 1,
    CALM_VALUES = 128,
};

static bool is_wanted(const struct dirty *dirty, const struct backup_at *at)
{
    return !at->asked && version_compare(at->acknowledged, dirty->version) < 0;
}

/* Of what somebody waits for, more: a write has its way while everything is offered anew and sent
 * to a new holder. */
static bool has_room(const struct cluster *c, const struct member *member,
    const struct dirty *dirty, const struct backup_at *at)
{
    const bool calm = dirty->told;
    if (at->lacks && calm && member->calm >= CALM_VALUES)
        return false;
    if (at->lacks)
        return member->backup_bytes < (calm ? 1 : 2) * c->options.backup_window_bytes;
    return member->filling || member->batches < (calm ? CALM_BATCHES : BATCHES);
}

/* ---- sending ----------------------------------------------------------------------------------
 */

static void send_batch(struct cluster *c, uint16_t m)
{
    struct member *member = &c->view->members[m];
    struct message offer = {.kind = MESSAGE_OFFER, .copies = buffer_slice(&member->offers)};
    member->filling = false;
    c->filling--;
    if (member->offers.failed) {
        member->batches--; /* offered again after retry_ms */
    } else {
        member->batched_ms = c->now_ms;
        send_message(c, m, &offer);
    }
    buffer_release(&member->offers);
}

void offers_flush(struct cluster *c)
{
    for (uint16_t m = 0; c->filling > 0 && m < c->view->count; m++) {
        if (c->view->members[m].filling)
            send_batch(c, m);
    }
}

static void offer(struct cluster *c, const struct dirty *dirty, uint16_t m)
{
    struct member *member = &c->view->members[m];
    if (!member->filling) {
        member->filling = true;
        member->batches++;
        c->filling++;
        buffer_init(&member->offers);
    }
    held_record_write(&member->offers, dirty->keyed.key, dirty->version);
    if (member->offers.size >= (size_t)OFFER_RECORDS * HELD_RECORD)
        send_batch(c, m);
}

/* `what`: NULL: asked for. */
static void send_value(struct cluster *c, const struct dirty *dirty, struct backup_at *at,
    uint16_t m, const struct cluster_copy *what)
{
    struct slice id = slice_of(dirty->id, dirty->id_size);
    struct cluster_copy now;
    if (!what) {
        if (!c->objects.peek(c->objects.context, id, &now) ||
            version_compare(now.version, dirty->version) != 0)
            return; /* another version is on its way here */
        what = &now;
    }
    struct message backup = {.kind = MESSAGE_BACKUP,
        .id = id,
        .state = what->deleted ? STATE_DELETED : STATE_VALUE,
        .version = dirty->version};
    if (!what->deleted)
        backup.value = what->value;
    uint64_t weight = MESSAGE_WEIGHT + backup.value.size;
    at->bytes += weight;
    at->under_way++;
    c->view->members[m].backup_bytes += weight;
    if (dirty->told) {
        at->calm++;
        c->view->members[m].calm++;
    }
    c->metrics.backups_sent++;
    send_message(c, m, &backup);
}

/* Where it waits when more than one window is full: at who will have room sooner. */
static struct member *sooner(struct member *a, struct member *b)
{
    if (!a || a->stuck != b->stuck)
        return !a || a->stuck ? b : a;
    return a->answered_ms >= b->answered_ms ? a : b;
}

bool dirty_send(struct cluster *c, struct dirty *dirty, const struct cluster_copy *what)
{
    struct member *full = NULL;
    for (uint16_t i = 0; i < c->view->holders; i++) {
        struct backup_at *at = &dirty->at[i];
        if (!is_wanted(dirty, at))
            continue;
        uint16_t m = view_holder(c->view, key_slot(dirty->keyed.key), i);
        struct member *member = &c->view->members[m];
        if (!has_room(c, member, dirty, at)) {
            full = sooner(full, member);
            continue;
        }
        at->asked = true;
        if (at->lacks)
            send_value(c, dirty, at, m, what);
        else
            offer(c, dirty, m);
    }
    if (full)
        dirty_put_in(c, dirty, &full->waiting[dirty->told]);
    return !full;
}

void dirty_ask_again(struct cluster *c, struct dirty *dirty)
{
    for (uint16_t i = 0; i < c->view->holders; i++) {
        struct backup_at *at = &dirty->at[i];
        if (version_compare(at->acknowledged, dirty->version) >= 0)
            continue;
        if (at->under_way == 0) {
            at->asked = at->lacks = false;
            continue;
        }
        /* Is it slow, or lost? This comes after the value, or instead of it. */
        struct message backup = {.kind = MESSAGE_BACKUP,
            .id = slice_of(dirty->id, dirty->id_size),
            .state = STATE_NONE,
            .version = dirty->version};
        send_message(c, view_holder(c->view, key_slot(dirty->keyed.key), i), &backup);
    }
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void answered(const struct cluster *c, struct member *member)
{
    member->answered_ms = c->now_ms;
    member->stuck = false;
}

void backup_arrived(struct member *member, struct backup_at *at, bool all)
{
    if (at->under_way == 0)
        return;
    uint64_t bytes = all ? at->bytes : at->bytes / at->under_way;
    at->under_way = all ? 0 : at->under_way - 1;
    at->bytes -= bytes;
    uint16_t calm = at->calm > at->under_way ? (uint16_t)(at->calm - at->under_way) : 0;
    at->calm -= calm;
    assert(member->backup_bytes >= bytes && member->calm >= calm);
    member->backup_bytes -= bytes;
    member->calm -= calm;
}

void offers_answered(struct cluster *c, uint16_t m, const struct message *message)
{
    struct member *member = &c->view->members[m];
    answered(c, member);
    if (member->batches > member->filling)
        member->batches--;
    for (size_t at = 0; at < message->copies.size; at += ANSWER_RECORD) {
        struct key key;
        struct version asked, held;
        answer_record_read(message->copies.data + at, &key, &asked, &held);
        dirty_answered(c, m, key, asked, held, false);
    }
}

void backup_answered(struct cluster *c, uint16_t m, const struct message *message)
{
    answered(c, &c->view->members[m]);
    dirty_answered(c, m, message->key, message->version, message->second_version, true);
}

/* ---- views and time ----------------------------------------------------------------------------
 */

static bool waits(const struct member *member)
{
    return !list_is_empty(&member->waiting[false]) || !list_is_empty(&member->waiting[true]);
}

static void gather(struct cluster *c, struct member *member)
{
    list_take_all(&c->stale_first, &member->waiting[false]);
    list_take_all(&c->stale_dirty, &member->waiting[true]);
}

static void advance_waiting(struct cluster *c, uint16_t m, struct link *waiting, uint32_t *budget)
{
    struct member *member = &c->view->members[m];
    struct link *link;
    while (*budget > 0 && (link = list_first(waiting)) != NULL) {
        struct dirty *dirty = list_entry(link, struct dirty, timer);
        int rank = holder_rank(c->view, key_slot(dirty->keyed.key), m);
        assert(rank >= 0);
        if (is_wanted(dirty, &dirty->at[rank]) && !has_room(c, member, dirty, &dirty->at[rank]))
            return;
        --*budget;
        dirty_push(c, dirty, NULL);
    }
}

void offers_advance(struct cluster *c, uint32_t *budget)
{
    for (uint16_t m = 0; m < c->view->count; m++) {
        struct member *member = &c->view->members[m];
        if (member->batches > 0 && !member->filling &&
            c->now_ms >= member->batched_ms + c->options.retry_ms)
            member->batches = 0; /* lost; or slow, and the next are not many */
        if (!waits(member))
            continue;
        for (int told = 0; told < 2; told++)
            advance_waiting(c, m, &member->waiting[told], budget);
        if (c->view->holders > 1 && !member->stuck &&
            c->now_ms >= member->answered_ms + c->options.retry_ms) {
            /* It stopped to answer: what waits here for others as well has to wait there. */
            member->stuck = true;
            gather(c, member);
        }
    }
}

void offers_gather(struct cluster *c, struct view *view)
{
    for (uint16_t m = 0; m < view->count; m++) {
        gather(c, &view->members[m]);
        if (view->members[m].filling)
            buffer_release(&view->members[m].offers);
        view->members[m].filling = false;
    }
    c->filling = 0;
}
