/* R6, R8: the holder's side: versions of other owners' dirty objects. A copy outlives views; it
 * goes when the warehouse has its version or a later one, as the owner says, or as this node finds
 * out by claiming an id that nobody owns. */
#include <assert.h>
#include <string.h>

#include "inside.h"

enum {
    /* Copies that are looked after at once: claimed, or adopted and being compared with the
     * warehouse. More would not make it faster, and whoever wants one of the objects would find it
     * in line there. (Slots of a warehouse for what nobody waits for: 16 by default.) */
    LOOKS_AT_ONCE = 64,
    SETTLE_MS = 10, /* until it is looked whether some are done; nobody says so */
};

struct copy *copy_find(struct cluster *c, struct key key)
{
    return c->copies == 0 ? NULL : (struct copy *)(void *)keyed_find(&slot_of(c, key)->copies, key);
}

struct copy *copy_allocate(struct cluster *c, struct key key, struct slice id)
{
    (void)c;
    struct copy *copy = heap_allocate_zeroed(sizeof(*copy) + id.size);
    if (!copy)
        return NULL;
    copy->keyed.key = key;
    copy->id_size = (uint16_t)id.size;
    memcpy(copy->id, id.data, id.size);
    list_init(&copy->timer);
    return copy;
}

static struct slice copy_id(const struct copy *copy)
{
    return slice_of(copy->id, copy->id_size);
}

static void tell(struct cluster *c, const struct copy *copy, bool there)
{
    if (c->events.copy_changed)
        c->events.copy_changed(c->events.context, copy_id(copy), there ? &copy->what : NULL);
}

static void forget(struct cluster *c, struct copy *copy)
{
    list_remove(&copy->timer);
    keyed_remove(&slot_of(c, copy->keyed.key)->copies, &copy->keyed);
    c->copies--;
    c->copies_bytes -= copy->what.value.size;
    value_drop(&copy->what.value);
    heap_release(copy);
}

void copy_drop(struct cluster *c, struct copy *copy)
{
    tell(c, copy, false);
    forget(c, copy);
}

void copies_clear(struct cluster *c)
{
    struct link *lists[] = {&c->fresh_copies, &c->stale_copies}, *link;
    for (size_t i = 0; i < 2; i++) {
        while ((link = list_first(lists[i])) != NULL)
            forget(c, list_entry(link, struct copy, timer));
    }
}

static void set(struct cluster *c, struct copy *copy, const struct cluster_copy *what)
{
    copy->confirmed_ms = (int64_t)c->now_ms;
    copy->released = (struct cluster_epoch){0, 0};
    struct value old = copy->what.value;
    copy->what = *what;
    value_hold(copy->what.value);
    c->copies_bytes = c->copies_bytes - old.size + what->value.size;
    value_drop(&old);
    tell(c, copy, true);
}

void copy_install(struct cluster *c, struct copy *copy, const struct cluster_copy *what)
{
    struct copy *old = copy_find(c, copy->keyed.key);
    if (old)
        forget(c, old);
    keyed_insert(&slot_of(c, copy->keyed.key)->copies, &copy->keyed);
    list_append(&c->stale_copies, &copy->timer);
    c->copies++;
    set(c, copy, what);
}

int copy_keep(struct cluster *c, struct key key, struct slice id, const struct cluster_copy *what)
{
    struct copy *copy = copy_find(c, key);
    if (copy) {
        /* R6: the highest version is kept. */
        if (version_compare(copy->what.version, what->version) < 0 || !keeps(c, CLUSTER_R6_HIGHEST))
            set(c, copy, what);
        return 0;
    }
    copy = copy_allocate(c, key, id);
    if (!copy)
        return BRAIN_ENOMEM;
    copy_install(c, copy, what);
    return 0;
}

/* ---- age (R10)
 * ------------------------------------------------------------------------------------- */

/* The mark of a deletion is kept for tombstone_keep. A copy that its owner has not wanted to be
 * kept for nearly as long (messages take time, clocks differ) may be of an object that was deleted
 * since, and the mark is about to be forgotten. */
static bool is_too_old(const struct cluster *c, const struct copy *copy)
{
    int64_t age_ms = (int64_t)c->now_ms - copy->confirmed_ms;
    return age_ms > (int64_t)(c->options.tombstone_keep_ms - c->options.tombstone_keep_ms / 10) &&
           keeps(c, CLUSTER_R10_AGE);
}

static bool age(struct cluster *c, struct copy *copy)
{
    if (!is_too_old(c, copy))
        return false;
    c->metrics.copies_set_aside++;
    if (c->events.set_aside)
        c->events.set_aside(c->events.context, copy_id(copy), &copy->what);
    copy_drop(c, copy);
    return true;
}

void copies_age(struct cluster *c)
{
    struct link *lists[] = {&c->fresh_copies, &c->stale_copies};
    for (size_t i = 0; i < 2; i++) {
        struct link *link = lists[i]->next;
        while (link != lists[i]) {
            struct copy *copy = list_entry(link, struct copy, timer);
            link = link->next;
            (void)age(c, copy);
        }
    }
}

/* Copies that were restored before this process knew what time it is. */
void copies_clock(struct cluster *c)
{
    if (c->clock_known)
        return;
    c->clock_known = true;
    struct link *lists[] = {&c->fresh_copies, &c->stale_copies};
    for (size_t i = 0; i < 2; i++) {
        for (struct link *link = lists[i]->next; link != lists[i]; link = link->next)
            list_entry(link, struct copy, timer)->confirmed_ms += (int64_t)c->now_ms;
    }
}

/* ---- what owners and claimers ask
 * ---------------------------------------------------------------- */

static void refresh(struct cluster *c, struct copy *copy)
{
    copy->owned_view = c->view->number;
    copy->checked_ms = c->now_ms;
    list_remove(&copy->timer);
    list_append(&c->fresh_copies, &copy->timer);
}

void copy_backup(struct cluster *c, uint16_t member, const struct message *message)
{
    struct key key = id_key(c, message->id);
    struct cluster_epoch epoch;
    /* R6: a holder without a lease may not be one any more, in a view it has not heard of. */
    if (!serves(c) && keeps(c, CLUSTER_R6_LEASE))
        return;
    if (owned_find(c, key, &epoch))
        return; /* not from the owner, then */
    if (!room_for(c, message))
        return; /* not acknowledged: offered again */
    if (message->state != STATE_NONE) {
        struct cluster_copy what = {
            message->version, message->state == STATE_DELETED, value_none()};
        if (message->state == STATE_VALUE)
            what.value = message->value;
        if (copy_keep(c, key, message->id, &what) != 0) {
            c->metrics.messages_dropped++;
            return; /* not acknowledged: offered again */
        }
    }
    struct copy *copy = copy_find(c, key);
    struct message ack = {.kind = MESSAGE_BACKUP_ACK, .key = key, .version = message->version};
    if (copy) {
        ack.second_version = copy->what.version;
        refresh(c, copy);
        copy->confirmed_ms = (int64_t)c->now_ms;
    }
    send_message(c, member, &ack);
}

/* Have you got these? */
void copy_offered(struct cluster *c, uint16_t member, const struct message *message)
{
    struct buffer answers;
    if (!serves(c) && keeps(c, CLUSTER_R6_LEASE))
        return;
    buffer_init(&answers);
    for (size_t at = 0; at < message->copies.size; at += HELD_RECORD) {
        struct key key;
        struct version version;
        struct cluster_epoch epoch;
        held_record_read(message->copies.data + at, &key, &version);
        if (owned_find(c, key, &epoch))
            continue; /* not from the owner, then */
        struct copy *copy = copy_find(c, key);
        answer_record_write(
            &answers, key, version, copy ? copy->what.version : (struct version){0, 0, 0});
        if (copy) {
            refresh(c, copy);
            copy->confirmed_ms = (int64_t)c->now_ms;
        }
    }
    struct message answer = {.kind = MESSAGE_OFFER_ACK, .copies = buffer_slice(&answers)};
    if (answers.failed)
        c->metrics.messages_dropped++;
    else
        send_message(c, member, &answer);
    buffer_release(&answers);
}

void copy_fetch(struct cluster *c, uint16_t member, const struct message *message)
{
    struct message answer = {.kind = MESSAGE_FETCHED, .key = message->key, .epoch = message->epoch};
    const struct copy *copy = copy_find(c, message->key);
    if (copy && !is_too_old(c, copy)) {
        answer.state = copy->what.deleted ? STATE_DELETED : STATE_VALUE;
        answer.version = copy->what.version;
        answer.value = copy->what.value;
    }
    send_message(c, member, &answer);
}

void copy_discard(struct cluster *c, struct key key, struct version version)
{
    struct copy *copy = copy_find(c, key);
    if (copy &&
        (version_compare(copy->what.version, version) <= 0 || !keeps(c, CLUSTER_R6_DISCARD)))
        copy_drop(c, copy);
}

void copy_is_owned(struct cluster *c, struct key key, uint16_t owner, struct cluster_epoch epoch)
{
    struct copy *copy = copy_find(c, key);
    if (!copy)
        return;
    refresh(c, copy);
    struct message held = {.kind = MESSAGE_HELD,
        .id = copy_id(copy),
        .version = copy->what.version,
        .epoch = epoch,
        .number = c->now_ms};
    send_message(c, owner, &held);
}

void copy_wanted(struct cluster *c, const struct message *message)
{
    struct copy *copy = copy_find(c, message->key);
    if (copy && message->number <= c->now_ms && (int64_t)message->number > copy->confirmed_ms)
        copy->confirmed_ms = (int64_t)message->number;
}

/* ---- views and time
 * -------------------------------------------------------------------------------- */

static bool is_holder(const struct cluster *c, const struct copy *copy)
{
    uint32_t slot = key_slot(copy->keyed.key);
    for (uint16_t i = 0; i < c->view->holders; i++) {
        if (c->view->orders[(size_t)slot * c->view->width + i] == c->view->self)
            return true;
    }
    return false;
}

void copies_begin(struct cluster *c)
{
    list_take_all(&c->stale_copies, &c->fresh_copies);
    struct link *link = c->stale_copies.next;
    while (!keeps(c, CLUSTER_R6_KEEP) && link != &c->stale_copies) { /* the simulator's */
        struct copy *copy = list_entry(link, struct copy, timer);
        link = link->next;
        if (!is_holder(c, copy))
            copy_drop(c, copy);
    }
}

bool copies_are_owned(const struct cluster *c)
{
    for (const struct link *link = c->fresh_copies.next; link != &c->fresh_copies;
         link = link->next) {
        const struct copy *copy = list_entry(link, struct copy, timer);
        if (copy->owned_view != c->view->number)
            return false;
    }
    return list_is_empty(&c->stale_copies);
}

void copy_parted(struct cluster *c, struct copy *copy)
{
    copy->checked_ms = c->now_ms;
    list_remove(&copy->timer);
    list_append(&c->fresh_copies, &copy->timer);
}

bool copy_nudge(struct cluster *c, struct copy *copy, struct cluster_epoch epoch)
{
    if (c->view->holders == 0 || copy->nudged_view == c->view->number || !epoch_is_valid(epoch))
        return false;
    copy->nudged_view = c->view->number;
    nudge_send(c, view_holder(c->view, key_slot(copy->keyed.key), 0), copy_id(copy), epoch);
    return true;
}

bool copy_came_back(struct cluster *c, struct key key)
{
    const struct copy *copy = copy_find(c, key);
    return copy && copy->nudged_view == c->view->number;
}

/* R8: does anybody own it? Nobody: then this node, which compares it with the warehouse. One that
 * drains asks another to do that first: what it claimed it would only have to give away again. */
static void look_after(struct cluster *c, struct copy *copy)
{
    struct key key = copy->keyed.key;
    struct cluster_epoch epoch;
    if (age(c, copy))
        return;
    copy_parted(c, copy);
    bool is_owned = c->draining && copy->owned_view == c->view->number;
    if (is_owned || owned_find(c, key, &epoch) || !keeps(c, CLUSTER_R8_CLAIM))
        return;
    if (!c->draining || !copy_nudge(c, copy, version_epoch(copy->what.version))) {
        hint_drop(c, key); /* what the home said a while ago is no answer */
        place_look(c, key, copy_id(copy));
    }
}

/* In how many ms may it be that the next one is looked after? UINT64_MAX: now. */
static uint64_t look_wait(const struct cluster *c, uint32_t budget)
{
    uint32_t limit = c->options.looks_at_once;
    if (limit == 0)
        limit = LOOKS_AT_ONCE;
    if (budget == 0 || c->looking >= limit)
        return budget == 0 ? 0 : c->options.retry_ms;
    uint32_t comparing = c->objects.comparing ? c->objects.comparing(c->objects.context) : 0;
    return c->looking + comparing >= limit ? SETTLE_MS : UINT64_MAX;
}

uint64_t copies_advance(struct cluster *c, uint32_t *budget)
{
    /* The owner of most of them is there, and offers them in this view: so not at once. */
    uint64_t grace = c->installed_ms + 2 * c->options.retry_ms;
    uint64_t interval = c->draining ? c->options.retry_ms : c->options.copy_check_ms;
    uint64_t wait = UINT64_MAX;
    struct link *link;
    if (!serves(c))
        return c->copies > 0 ? c->options.retry_ms : wait;
    while ((link = list_first(&c->stale_copies)) != NULL) {
        if (c->now_ms < grace) {
            wait = grace - c->now_ms;
            break;
        }
        uint64_t pause = look_wait(c, *budget);
        if (pause != UINT64_MAX)
            return pause;
        --*budget;
        look_after(c, list_entry(link, struct copy, timer));
    }
    while ((link = list_first(&c->fresh_copies)) != NULL) {
        struct copy *copy = list_entry(link, struct copy, timer);
        uint64_t due = copy->checked_ms + interval;
        if (due > c->now_ms)
            return due - c->now_ms < wait ? due - c->now_ms : wait;
        uint64_t pause = look_wait(c, *budget);
        if (pause != UINT64_MAX)
            return pause;
        --*budget;
        look_after(c, copy);
    }
    return wait;
}
