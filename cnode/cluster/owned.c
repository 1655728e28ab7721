/* The owner's side: what is owned under which epoch, and what the objects tell of themselves. */
#include <assert.h>
#include <string.h>

#include "inside.h"

bool owned_find(struct cluster *c, struct key key, struct cluster_epoch *epoch)
{
    struct idmap_entry entry;
    if (idmap_find(&slot_of(c, key)->owned, &c->epochs, key, &entry)) {
        *epoch = entry.epoch;
        return true;
    }
    const struct cluster_place *place = c->places > 0 ? place_find(c, key) : NULL;
    if (!place || place->stage != PLACE_FETCHING)
        return false;
    *epoch = place->epoch;
    return true;
}

int owned_put(struct cluster *c, struct key key, struct cluster_epoch epoch)
{
    struct idmap *owned = &slot_of(c, key)->owned;
    struct idmap_entry entry = {key, epoch, 0};
    c->owned -= owned->count;
    int status = idmap_put(owned, &c->epochs, &entry);
    c->owned += owned->count;
    return status;
}

bool owned_remove(struct cluster *c, struct key key)
{
    struct idmap *owned = &slot_of(c, key)->owned;
    struct idmap_entry entry;
    if (c->shared_grant != 0 && idmap_find(owned, &c->epochs, key, &entry) &&
        entry.epoch.counter == c->shared_grant)
        c->shared_grant = 0; /* its next grant is greater */
    bool removed = idmap_remove(owned, &c->epochs, key);
    c->owned -= removed;
    place_disowned(c, key);
    return removed;
}

void owned_clear(struct cluster *c)
{
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++)
        idmap_clear(&c->slots[s].owned, &c->epochs);
    c->owned = 0;
    c->shared_grant = 0;
}

static void add_copy(struct cluster *c, struct message *message)
{
    const struct copy *copy = keeps(c, CLUSTER_R5_COPY) ? copy_find(c, message->key) : NULL;
    if (!copy)
        return;
    message->state = copy->what.deleted ? STATE_DELETED : STATE_VALUE;
    message->version = copy->what.version;
    message->complete = epoch_equal(copy->released, message->epoch);
}

/* R5: with the copy that is still held here. Lost releases are found out by `confirm`. */
void owned_release(struct cluster *c, struct key key, struct cluster_epoch epoch)
{
    if (!c->view)
        return;
    struct message release = {.kind = MESSAGE_RELEASE, .key = key, .epoch = epoch};
    add_copy(c, &release);
    c->metrics.releases++;
    send_message(c, view_home(c->view, key_slot(key)), &release);
}

/* R5: is this node still the owner under that epoch? */
void owned_confirm(struct cluster *c, uint16_t member, const struct message *message)
{
    struct cluster_epoch epoch;
    struct message answer = {.key = message->key, .epoch = message->epoch};
    bool owner = owned_find(c, message->key, &epoch);
    struct cluster_place *place = place_find(c, message->key);
    if (owner && epoch_equal(epoch, message->epoch)) {
        answer.kind = MESSAGE_CONFIRMED;
        send_message(c, member, &answer);
        return;
    }
    if (owner) {
        /* The home knows of a grant that never came here, and not of the one that did: to say "not
         * the owner" would make two of them. A new grant makes both agree. */
        if (place && place->stage == PLACE_RESTING) {
            place->raising = true;
            place_pump(c, place);
        }
        return;
    }
    owned_deny(c, member, message->key, message->epoch);
}

void owned_deny(struct cluster *c, uint16_t home, struct key key, struct cluster_epoch epoch)
{
    struct cluster_epoch now;
    if (owned_find(c, key, &now))
        return;
    struct message answer = {.kind = MESSAGE_NOT_OWNER, .key = key, .epoch = epoch};
    struct cluster_place *place = place_find(c, key);
    /* The grant the home speaks of may still be on its way: it must not count when it comes. */
    if (place && place->stage == PLACE_CLAIMING && keeps(c, CLUSTER_R5_VOID)) {
        place->stage = PLACE_RESTING;
        place->nonce = place->waits = 0;
        foreign_refuse_queue(c, place);
    }
    add_copy(c, &answer);
    send_message(c, home, &answer);
}

bool owned_part(struct cluster *c, struct slice id, struct key key)
{
    struct cluster_epoch epoch;
    struct idmap_entry entry;
    if (!idmap_find(&slot_of(c, key)->owned, &c->epochs, key, &entry))
        return false;
    epoch = entry.epoch;
    if (keeps(c, CLUSTER_R13_RELEASE) && !dirty_is_backed_up(c, key, id))
        return false; /* R13, R6: acknowledgements of this view */
    /* Memory first: what was given up must not be lost for the want of it. */
    struct copy *spare = copy_allocate(c, key, id);
    if (!spare)
        return false;
    struct cluster_copy what = {0};
    enum cluster_parted parted = c->objects.give_up(c->objects.context, id,
        keeps(c, CLUSTER_R13_RELEASE) ? CLUSTER_PART_POLITELY : CLUSTER_PART_CARELESSLY, &what);
    if (parted == CLUSTER_GONE_DIRTY) {
        copy_install(c, spare, &what);
        copy_parted(c, spare);
        if (keeps(c, CLUSTER_R13_RELEASE)) /* politely: a strong read would have shown just this */
            spare->released = epoch;
        value_drop(&what.value);
    } else {
        heap_release(spare);
    }
    if (parted == CLUSTER_BUSY)
        return false;
    owned_remove(c, key);
    dirty_forget(c, key);
    owned_release(c, key, epoch);
    return true;
}

/* ---- what objects tell
 * --------------------------------------------------------------------------- */

void cluster_object_released(struct cluster *c, struct slice id, uint64_t now_ms)
{
    c->now_ms = now_ms;
    struct key key = id_key(c, id);
    struct idmap_entry entry;
    if (!idmap_find(&slot_of(c, key)->owned, &c->epochs, key, &entry))
        return;
    owned_remove(c, key);
    dirty_forget(c, key);
    owned_release(c, key, entry.epoch);
}

void cluster_object_stored(
    struct cluster *c, struct slice id, struct version version, uint64_t now_ms)
{
    c->now_ms = now_ms;
    if ((c->dirty == 0 && c->copies == 0) || c->state != CLUSTER_IN)
        return;
    struct key key = id_key(c, id);
    dirty_stored(c, key, id, version);
    copy_discard(c, key, version);
}

/* R4 */
void cluster_object_outdated(
    struct cluster *c, struct slice id, struct version version, uint64_t now_ms)
{
    c->now_ms = now_ms;
    struct key key = id_key(c, id);
    if (!keeps(c, CLUSTER_R4_HIGHER) || !idmap_find(&slot_of(c, key)->owned, &c->epochs, key, NULL))
        return;
    struct cluster_place *place = place_find(c, key);
    if (!place)
        place = place_create(c, key, id);
    if (!place)
        return; /* told again after the next attempt to dump */
    struct cluster_epoch floor = version_epoch(version);
    if (cluster_epoch_compare(floor, place->floor) > 0)
        place->floor = floor;
    place->raising = true;
    place_pump(c, place);
}
