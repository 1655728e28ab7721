/* Membership: joining, installing views, losing the lease. */
#include <assert.h>
#include <string.h>

#include "inside.h"

static bool has_self(const struct cluster *c, const struct cluster_view *view, uint64_t incarnation)
{
    for (size_t i = 0; i < view->count; i++) {
        if (view->members[i].incarnation == incarnation &&
            slice_equal(view->members[i].name, c->options.name))
            return true;
    }
    return false;
}

/* R2: outstanding claims, and grants that are not adopted yet, count no more: the home of the new
 * view does not hear of them, so it may grant these ids to others. Their requests wait on. */
static void seal(struct cluster *c)
{
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++) {
        struct keyed *node = keyed_any(&c->slots[s].places), *next;
        for (; node; node = next) {
            struct cluster_place *place = (struct cluster_place *)(void *)node;
            next = keyed_next(&c->slots[s].places, node);
            if (keeps(c, CLUSTER_R2_SEAL) || c->state != CLUSTER_IN)
                place_void(c, place);
            list_remove(&place->timer);
            list_append(&c->wake, &place->timer);
        }
    }
}

static void install(struct cluster *c, struct view *view)
{
    struct view *before = c->view;
    seal(c);
    c->view = view;
    c->installed_ms = c->now_ms;
    c->rebuilt_ms = 0;
    c->metrics.views_installed++;
    c->lag_since_ms = 0;
    serve_update(c);
    hints_clear(c);
    c->grants = c->shared_grant = 0;
    forwards_lost(c, view, slice_of(NULL, 0));
    directory_begin(c, before);
    reports_begin(c, before);
    liveness_begin(c, before);
    room_begin(c, before);
    dirty_begin(c, before);
    copies_begin(c);
    view_release(before);
    for (uint16_t m = 0; m < view->count; m++)
        reports_send(c, m);
    stash_replay(c);
}

int cluster_join(struct cluster *c, uint64_t incarnation, const struct cluster_view *from,
    uint64_t lease_until_ms, uint64_t now_ms)
{
    assert(c->state == CLUSTER_OUT && incarnation != 0 && has_self(c, from, incarnation));
    c->now_ms = now_ms;
    struct view *view = view_create(from, c->options.name, incarnation, c->options.backups);
    if (!view)
        return BRAIN_ENOMEM;
    copies_clock(c);
    copies_age(c); /* R10 */
    c->incarnation = incarnation;
    c->lease_until_ms = c->last_valid_ms = lease_until_ms;
    c->advanced_ms = 0;
    c->fenced = true; /* until there is a view, and it is noticed that the lease is there */
    c->behind_told = 0;
    state_set(c, CLUSTER_IN);
    install(c, view);
    if (serves(c)) {
        c->fenced = false;
        requests_held_flush(c);
    }
    return 0;
}

int cluster_view(struct cluster *c, const struct cluster_view *from, uint64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->state != CLUSTER_IN || from->number <= c->view->number)
        return 0;
    if (!has_self(c, from, c->incarnation)) {
        cluster_lost(c, now_ms);
        return 0;
    }
    struct view *view = view_create(from, c->options.name, c->incarnation, c->options.backups);
    if (!view)
        return BRAIN_ENOMEM;
    c->drained = false; /* what is owned by nobody may have to be looked after again */
    install(c, view);
    return 0;
}

/* ---- the lease is lost ------------------------------------------------------------------------
 */

static void forget_homes(struct cluster *c)
{
    directory_clear(c);
    hints_clear(c);
    stash_clear(c);
    moving_clear(c);
    uses_reset(c);
}

void cluster_lost(struct cluster *c, uint64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->state != CLUSTER_IN)
        return;
    c->metrics.leases_lost++;
    c->serve_until_ms = 0;
    c->drained = false;
    offers_gather(c, c->view);
    if (!keeps(c, CLUSTER_R1_VOID)) { /* the simulator's: everything is still owned */
        view_release(c->view);
        c->view = NULL;
        state_set(c, CLUSTER_OUT);
        return;
    }
    /* R1: void all grants, claims and directories. Those who wait at this node as the owner are
     * refused while they can still be told by this incarnation. */
    state_set(c, CLUSTER_ABANDONING);
    c->former = c->incarnation;
    seal(c);
    forwards_lost(c, NULL, slice_of(NULL, 0));
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++) {
        struct keyed *node = keyed_any(&c->slots[s].places), *next;
        for (; node; node = next) {
            next = keyed_next(&c->slots[s].places, node);
            foreign_refuse_queue(c, (struct cluster_place *)(void *)node);
            place_disowned(c, node->key);
        }
    }
    owned_clear(c);
    forget_homes(c);
    requests_held_end(c);
    view_release(c->view);
    c->view = NULL;
    c->sweeping = c->sweeping_waited = false;
    list_take_all(&c->stale_dirty, &c->stale_first);
    list_take_all(&c->stale_dirty, &c->unsettled);
    list_take_all(&c->stale_dirty, &c->settled);
    c->settling++;
    c->settled_count = 0;
}

/* R1: everything owned is given up before the next join. */
bool lost_advance(struct cluster *c, uint32_t budget)
{
    struct link *link;
    for (uint32_t i = 0; i < budget; i++) {
        link = list_first(&c->stale_dirty);
        if (!link)
            break;
        dirty_free(c, list_entry(link, struct dirty, timer));
    }
    if (!list_is_empty(&c->stale_dirty) || !c->objects.abandon(c->objects.context, budget))
        return false;
    c->incarnation = 0;
    state_set(c, CLUSTER_OUT);
    return true;
}

void cluster_keep_copy(
    struct cluster *c, struct slice id, const struct cluster_copy *copy, uint64_t now_ms)
{
    c->now_ms = now_ms;
    /* Without memory this copy is lost here; others hold it, or the journal. */
    struct key key = id_key(c, id);
    (void)copy_keep(c, key, id, copy);
    struct copy *kept = copy_find(c, key);
    if (kept && kept->confirmed_ms > (int64_t)c->last_valid_ms)
        kept->confirmed_ms =
            (int64_t)c->last_valid_ms; /* R10: it was owned until then, no longer */
}

/* Records come in the order in which they were written, but one that compaction wrote again is
 * behind younger ones of other versions: so each says something of its own version only. */
int cluster_restore(
    struct cluster *c, struct slice id, const struct cluster_copy *copy, uint64_t age_ms)
{
    assert(c->state == CLUSTER_OUT);
    struct key key = id_key(c, id);
    struct copy *kept = copy_find(c, key);
    const int64_t wanted_ms = (int64_t)c->now_ms - (int64_t)age_ms;
    if (kept && version_compare(kept->what.version, copy->version) >= 0) {
        if (version_compare(kept->what.version, copy->version) == 0 &&
            kept->confirmed_ms < wanted_ms)
            kept->confirmed_ms = wanted_ms;
        return 0;
    }
    if (age_ms > c->options.tombstone_keep_ms && keeps(c, CLUSTER_R10_AGE)) {
        c->metrics.copies_set_aside++;
        if (c->events.set_aside)
            c->events.set_aside(c->events.context, id, copy);
        if (c->events.copy_changed && !kept) /* not to come back at the next start */
            c->events.copy_changed(c->events.context, id, NULL);
        return 0;
    }
    int status = copy_keep(c, key, id, copy);
    kept = status == 0 ? copy_find(c, key) : NULL;
    if (kept)
        kept->confirmed_ms = wanted_ms;
    return status;
}
