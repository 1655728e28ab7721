/* R6, the owner's side: every dirty version goes to the holders of its slot, which say what they
 * hold. In each view everything dirty is offered again, without the value: who lacks it says so.
 *
 *   written --> unsettled --(all holders have it)--> settled --(in the warehouse)--> gone
 *                ^    ^                                 |
 *                |    +---- stale <---- a new view -----+
 *          (there is room)
 *                |
 *                +--> waits for the window of a holder (offers.c) */
#include <assert.h>
#include <string.h>

#include "inside.h"

static struct dirty *dirty_find(struct cluster *c, struct key key)
{
    return (struct dirty *)(void *)keyed_find(&slot_of(c, key)->dirty, key);
}

void dirty_put_in(struct cluster *c, struct dirty *dirty, struct link *list)
{
    list_remove(&dirty->timer);
    list_append(list, &dirty->timer);
    c->settled_count -= dirty->settled_in == c->settling;
    dirty->settled_in = list == &c->settled ? c->settling : 0;
    c->settled_count += list == &c->settled;
}

static struct dirty *dirty_create(struct cluster *c, struct key key, struct slice id)
{
    size_t at = c->options.backups * sizeof(struct backup_at);
    struct dirty *dirty = heap_allocate_zeroed(sizeof(*dirty) + at + id.size);
    if (!dirty)
        return NULL;
    dirty->keyed.key = key;
    dirty->id_size = (uint16_t)id.size;
    dirty->id = (uint8_t *)dirty->at + at;
    memcpy(dirty->id, id.data, id.size);
    list_init(&dirty->timer);
    dirty_put_in(c, dirty, &c->settled);
    keyed_insert(&slot_of(c, key)->dirty, &dirty->keyed);
    c->dirty++;
    return dirty;
}

void dirty_free(struct cluster *c, struct dirty *dirty)
{
    list_remove(&dirty->timer);
    c->settled_count -= dirty->settled_in == c->settling;
    if (c->view && dirty->view == c->view->number) {
        for (uint16_t i = 0; i < c->view->holders; i++) {
            uint16_t m = view_holder(c->view, key_slot(dirty->keyed.key), i);
            backup_arrived(&c->view->members[m], &dirty->at[i], true);
        }
    }
    keyed_remove(&slot_of(c, dirty->keyed.key)->dirty, &dirty->keyed);
    c->dirty--;
    heap_release(dirty);
}

void dirty_forget(struct cluster *c, struct key key)
{
    struct dirty *dirty = c->dirty > 0 ? dirty_find(c, key) : NULL;
    if (dirty)
        dirty_free(c, dirty);
}

void dirty_mark_listed(struct cluster *c, struct key key, struct slice id)
{
    struct dirty *dirty = dirty_find(c, key);
    if (!dirty)
        dirty = dirty_create(c, key, id);
    if (dirty) /* without memory the holders will ask by themselves */
        dirty->listed = true;
}

static struct slice dirty_id(const struct dirty *dirty)
{
    return slice_of(dirty->id, dirty->id_size);
}

static bool has_version(const struct dirty *dirty)
{
    return dirty->version.view != 0 || dirty->version.counter != 0 || dirty->version.seq != 0;
}

/* ---- sending ------------------------------------------------------------------------------------
 */

static void start_view(struct cluster *c, struct dirty *dirty)
{
    if (dirty->view == c->view->number)
        return;
    dirty->view = c->view->number;
    memset(dirty->at, 0, c->options.backups * sizeof(struct backup_at));
}

/* The highest version that all holders of this view have. */
static struct version common(const struct cluster *c, const struct dirty *dirty)
{
    struct version lowest = dirty->version;
    for (uint16_t i = 0; i < c->view->holders; i++) {
        if (dirty->view != c->view->number)
            return (struct version){0, 0, 0};
        if (version_compare(dirty->at[i].acknowledged, lowest) < 0)
            lowest = dirty->at[i].acknowledged;
    }
    return lowest;
}

static void settle(struct cluster *c, struct dirty *dirty)
{
    dirty_put_in(c, dirty, &c->settled);
    dirty->told = true;
}

void dirty_push(struct cluster *c, struct dirty *dirty, const struct cluster_copy *what)
{
    start_view(c, dirty);
    if (!has_version(dirty)) {
        settle(c, dirty);
        return;
    }
    if (version_compare(common(c, dirty), dirty->version) >= 0) {
        bool told = dirty->told;
        settle(c, dirty);
        if (!told)
            c->objects.backed_up(c->objects.context, dirty_id(dirty), dirty->version);
        return;
    }
    if (!dirty_send(c, dirty, what))
        return;
    dirty_put_in(c, dirty, &c->unsettled);
    dirty->sent_ms = c->now_ms;
}

int cluster_object_reserve(struct cluster *c, struct slice id)
{
    if (c->options.backups == 0 || !c->view || c->view->holders == 0)
        return 0;
    struct key key = id_key(c, id);
    return dirty_find(c, key) || dirty_create(c, key, id) ? 0 : BRAIN_ENOMEM;
}

int cluster_object_written(struct cluster *c, struct slice id, struct version version,
    const struct value *value, uint64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->state != CLUSTER_IN || !c->view)
        return 0;
    uint16_t holders = c->view->holders;
    c->metrics.backups_short += holders < c->options.backups;
    if (holders == 0 && c->dirty == 0)
        return 0;
    struct key key = id_key(c, id);
    struct dirty *dirty = dirty_find(c, key);
    if (!dirty && holders == 0)
        return 0;
    if (!dirty && !(dirty = dirty_create(c, key, id))) {
        c->sweeping = c->sweeping_waited = true; /* found when there is memory again */
        return BRAIN_ENOMEM;
    }
    start_view(c, dirty);
    dirty->version = version;
    dirty->told = holders == 0;
    for (uint16_t i = 0; i < holders; i++) {
        dirty->at[i].asked = false;
        dirty->at[i].lacks = true;
    }
    struct cluster_copy what = {version, !value, value ? *value : value_none()};
    if (holders == 0)
        dirty_put_in(c, dirty, &c->settled);
    else
        dirty_push(c, dirty, &what);
    return keeps(c, CLUSTER_R6_WAIT) ? holders : 0;
}

bool cluster_tells_holders(const struct cluster *c)
{
    return c->dirty > 0 || (c->view && c->view->holders > 0);
}

void cluster_object_untold(struct cluster *c)
{
    c->metrics.backups_short += c->view && c->view->holders < c->options.backups;
}

/* ---- acknowledgements
 * ---------------------------------------------------------------------------- */

void dirty_answered(struct cluster *c, uint16_t member, struct key key, struct version asked,
    struct version held, bool in_order)
{
    struct dirty *dirty = c->dirty > 0 ? dirty_find(c, key) : NULL;
    int rank = holder_rank(c->view, key_slot(key), member);
    if (!dirty || rank < 0 || !has_version(dirty))
        return;
    start_view(c, dirty);
    struct backup_at *at = &dirty->at[rank];
    bool latest = version_compare(asked, dirty->version) == 0;
    if (in_order)
        backup_arrived(&c->view->members[member], at, latest);
    if (version_compare(held, dirty->version) > 0) {
        /* The holder keeps what it has, of an epoch above ours: etcd was made anew (R4). */
        if (cluster_epoch_compare(version_epoch(held), version_epoch(dirty->version)) > 0)
            cluster_object_outdated(c, dirty_id(dirty), held, c->now_ms);
        return;
    }
    if (version_compare(held, asked) < 0) {
        if (!latest || at->under_way > 0)
            return; /* what is latest is on its way; or was lost: dirty_ask_again */
        at->lacks = true;
        at->asked = false;
        dirty_push(c, dirty, NULL);
        return;
    }
    struct version before = common(c, dirty);
    if (version_compare(held, at->acknowledged) > 0)
        at->acknowledged = held;
    struct version now = common(c, dirty);
    bool told = dirty->told;
    if (version_compare(now, dirty->version) >= 0)
        settle(c, dirty);
    if (version_compare(now, before) > 0 && !told)
        c->objects.backed_up(c->objects.context, dirty_id(dirty), now);
}

bool dirty_is_backed_up(struct cluster *c, struct key key, struct slice id)
{
    const struct dirty *dirty = c->dirty > 0 ? dirty_find(c, key) : NULL;
    struct cluster_copy now;
    if (c->sweeping && c->view->holders > 0 && (!dirty || !has_version(dirty)))
        return !c->objects.peek(c->objects.context, id, &now); /* not known here yet */
    return !dirty || !has_version(dirty) || version_compare(common(c, dirty), dirty->version) >= 0;
}

/* ---- the warehouse has it
 * ------------------------------------------------------------------------- */

void dirty_stored(struct cluster *c, struct key key, struct slice id, struct version version)
{
    (void)id;
    struct dirty *dirty = c->dirty > 0 ? dirty_find(c, key) : NULL;
    if (!dirty || !c->view)
        return;
    struct message discard = {.kind = MESSAGE_DISCARD, .key = key, .version = version};
    uint16_t home = view_home(c->view, key_slot(key));
    bool told_home = false;
    for (uint16_t i = 0; has_version(dirty) && i < c->view->holders; i++) {
        uint16_t holder = view_holder(c->view, key_slot(key), i);
        told_home |= holder == home;
        send_message(c, holder, &discard);
    }
    if (dirty->listed && !told_home)
        send_message(c, home, &discard);
    if (has_version(dirty) && version_compare(dirty->version, version) <= 0)
        dirty_free(c, dirty);
}

/* A holder asks whether its copy is needed. */
void owned_held(struct cluster *c, uint16_t member, const struct message *message)
{
    struct key key = id_key(c, message->id);
    struct version stored;
    if (!idmap_find(&slot_of(c, key)->owned, &c->epochs, key, NULL)) {
        /* R5: the home names an owner that is none: its release was lost, and nobody uses the id,
         * so nobody is refused. But its grant may still be on its way. */
        const struct cluster_place *place = c->places > 0 ? place_find(c, key) : NULL;
        if (place && place->stage == PLACE_CLAIMING)
            return;
        if (keeps(c, CLUSTER_R5_CONFIRM))
            owned_deny(c, view_home(c->view, key_slot(key)), key, message->epoch);
        return;
    }
    struct message answer = {.kind = MESSAGE_DISCARD, .key = key, .version = message->version};
    struct cluster_copy now;
    if (c->objects.in_warehouse(c->objects.context, message->id, &stored) &&
        version_compare(stored, message->version) >= 0) {
        send_message(c, member, &answer);
    } else if (c->objects.peek(c->objects.context, message->id, &now) &&
               version_compare(now.version, message->version) >= 0) {
        answer.kind = MESSAGE_KEEP; /* R10 */
        answer.number = message->number;
        send_message(c, member, &answer);
    }
}

/* ---- views and time
 * -------------------------------------------------------------------------------- */

void dirty_begin(struct cluster *c, struct view *before)
{
    list_take_all(&c->stale_first, &c->unsettled);
    if (before)
        offers_gather(c, before);
    if (keeps(c, CLUSTER_R6_RESEND)) {
        list_take_all(&c->stale_dirty, &c->settled);
        c->settling++;
        c->settled_count = 0;
    }
    for (uint16_t m = 0; m < c->view->count; m++)
        c->view->members[m].answered_ms = c->now_ms;
    if (before && before->holders == 0 && c->view->holders > 0) {
        c->sweeping = true;
        c->sweep_cursor = 0;
    }
}

/* What became dirty while there was nobody to hold a copy, or no memory to say so. False: there is
 * no memory now either. */
static bool sweep(struct cluster *c, uint32_t *budget)
{
    uint8_t id[ID_LIMIT];
    size_t size;
    while (c->sweeping && *budget > 0) {
        --*budget;
        if (!c->objects.next(c->objects.context, &c->sweep_cursor, id, &size)) {
            c->sweeping = c->sweeping_waited = false;
            c->sweep_cursor = 0;
            return true;
        }
        struct slice bytes = slice_of(id, size);
        struct key key = id_key(c, bytes);
        struct cluster_copy what;
        struct dirty *dirty = dirty_find(c, key);
        if ((dirty && has_version(dirty)) || !c->objects.peek(c->objects.context, bytes, &what))
            continue;
        if (!dirty && !(dirty = dirty_create(c, key, bytes))) {
            c->sweep_cursor = 0; /* another time, from the beginning */
            return false;
        }
        dirty->version = what.version;
        dirty->told = !c->sweeping_waited;
        dirty_put_in(c, dirty, &c->stale_dirty);
    }
    return true;
}

static void push_all(struct cluster *c, struct link *list, uint32_t *budget)
{
    struct link *link;
    while (*budget > 0 && (link = list_first(list)) != NULL) {
        --*budget;
        dirty_push(c, list_entry(link, struct dirty, timer), NULL);
    }
}

/* How long it waits for answers; 0: there is more to do. */
static uint64_t repeat(struct cluster *c, uint32_t *budget)
{
    struct link *link;
    while ((link = list_first(&c->unsettled)) != NULL) {
        struct dirty *dirty = list_entry(link, struct dirty, timer);
        uint64_t due = dirty->sent_ms + c->options.retry_ms;
        if (due > c->now_ms)
            return due - c->now_ms;
        if (*budget == 0)
            return 0;
        --*budget;
        dirty_ask_again(c, dirty);
        dirty_push(c, dirty, NULL);
    }
    return UINT64_MAX;
}

uint64_t dirty_advance(struct cluster *c, uint32_t *budget)
{
    uint64_t patience; /* what nobody waits for comes later */
    bool later = !reports_are_over(c, &patience);
    const bool sweeps = c->sweeping && c->view->holders > 0;
    const bool has_memory = !sweeps || sweep(c, budget);
    offers_advance(c, budget);
    push_all(c, &c->stale_first, budget);
    if (!later)
        push_all(c, &c->stale_dirty, budget);
    uint64_t wait = repeat(c, budget);
    offers_flush(c);
    if ((sweeps && c->sweeping && has_memory) || !list_is_empty(&c->stale_first) ||
        (!later && !list_is_empty(&c->stale_dirty)))
        return 0;
    if (later && !list_is_empty(&c->stale_dirty) && patience < wait)
        wait = patience;
    return has_memory || wait < c->options.retry_ms ? wait : c->options.retry_ms;
}
