/* Objects follow their users, and leave a node that drains: a release, and a nudge to who should
 * claim. There is no other path to ownership. */
#include <string.h>

#include "inside.h"

/* ---- who uses what
 * --------------------------------------------------------------------------------- */

enum { MOVING_LIMIT = 64 };

static struct use *use_of(struct cluster *c, struct key key)
{
    return &c->uses[key.low % USES];
}

static void use_forget(struct cluster *c, struct use *use)
{
    c->uses_count -= use->count > 0;
    *use = (struct use){0};
}

void use_clear(struct cluster *c, struct key key)
{
    struct use *use = use_of(c, key);
    if (use->count > 0 && key_equal(use->key, key))
        use_forget(c, use);
}

void uses_reset(struct cluster *c)
{
    memset(c->uses, 0, USES * sizeof(struct use));
    c->uses_count = 0;
}

bool cluster_counts_uses(const struct cluster *c)
{
    return c->uses_count > 0;
}

void cluster_used(struct cluster *c, struct slice id)
{
    use_clear(c, id_key(c, id));
}

static bool move_later(struct cluster *c, struct slice id, uint64_t incarnation)
{
    uint32_t count = 0;
    for (const struct moving *moving = c->moving; moving; moving = moving->next)
        count++;
    struct moving *moving = count < MOVING_LIMIT ? heap_allocate(sizeof(*moving) + id.size) : NULL;
    if (!moving)
        return false; /* it will be used again */
    moving->incarnation = incarnation;
    moving->id_size = id.size;
    memcpy(moving->id, id.data, id.size);
    moving->next = c->moving;
    c->moving = moving;
    return true;
}

static void move_when_due(struct cluster *c, struct use *use, struct slice id)
{
    if (use->count >= c->options.handoff_uses && !use->moving)
        use->moving = move_later(c, id, use->incarnation);
}

static struct use *use_by(struct cluster *c, struct key key, uint64_t incarnation)
{
    struct use *use = use_of(c, key);
    bool is_it = use->count > 0 && use->incarnation == incarnation && key_equal(use->key, key);
    return is_it ? use : NULL;
}

/* A request of that member is about to be executed. It moves in a later turn: not under the feet of
 * the store. */
void use_count(struct cluster *c, struct key key, uint64_t incarnation, struct slice id)
{
    if (c->options.handoff_uses == 0)
        return;
    struct use *use = use_by(c, key, incarnation);
    if (!use) {
        use = use_of(c, key);
        c->uses_count += use->count == 0;
        *use = (struct use){.key = key, .incarnation = incarnation};
    }
    use->count += use->count < c->options.handoff_uses;
    move_when_due(c, use, id);
}

/* What could not move while an answer was pending (R13) is tried again after each: where there are
 * only acknowledged writes, each next use finds one pending again. */
void use_answered(struct cluster *c, struct key key, uint64_t incarnation, struct slice id)
{
    struct use *use = use_by(c, key, incarnation);
    if (use)
        move_when_due(c, use, id);
}

void moving_clear(struct cluster *c)
{
    while (c->moving) {
        struct moving *next = c->moving->next;
        heap_release(c->moving);
        c->moving = next;
    }
}

/* ---- moving
 * ------------------------------------------------------------------------------------------ */

void nudge_send(struct cluster *c, uint16_t member, struct slice id, struct cluster_epoch epoch)
{
    struct message nudge = {.kind = MESSAGE_NUDGE, .id = id, .epoch = epoch};
    send_message(c, member, &nudge);
}

/* The sender owns it no more, and its release may be on its way still, or lost: the claim says so
 * like that of one who was refused, so that the home asks (R5). */
void nudged(struct cluster *c, uint16_t member, const struct message *message)
{
    struct key key = id_key(c, message->id);
    struct cluster_epoch epoch;
    struct idmap_entry hint;
    if (c->draining || owned_find(c, key, &epoch))
        return;
    if (idmap_find(&slot_of(c, key)->hints, &c->epochs, key, &hint) &&
        epoch_equal(hint.epoch, message->epoch))
        hint_drop(c, key);
    struct cluster_place *place = place_find(c, key);
    if (!place && !(place = place_create(c, key, message->id)))
        return; /* the sender looks after its copy */
    if (place->stage == PLACE_RESTING) {
        place->refused_by = c->view->members[member].incarnation;
        place->refused = message->epoch;
    }
    place->wanted = true;
    place_pump(c, place);
}

/* False: not now. */
static bool move(struct cluster *c, struct slice id, struct key key, uint64_t incarnation)
{
    struct idmap_entry entry;
    int member = view_find(c->view, incarnation);
    if (member < 0 || !idmap_find(&slot_of(c, key)->owned, &c->epochs, key, &entry))
        return true; /* nobody there, or nothing to move */
    if (!serves(c) || !owned_part(c, id, key))
        return false;
    c->metrics.handoffs++;
    nudge_send(c, (uint16_t)member, id, entry.epoch);
    return true;
}

static void moving_try(struct cluster *c, const struct moving *moving)
{
    struct slice id = slice_of(moving->id, moving->id_size);
    struct key key = id_key(c, id);
    bool done = move(c, id, key, moving->incarnation);
    struct use *use = use_by(c, key, moving->incarnation);
    if (use && done)
        use_forget(c, use);
    else if (use)
        use->moving = false; /* by its next use, or when that is answered */
}

/* ---- drain
 * ------------------------------------------------------------------------------------------- */

void cluster_drain(struct cluster *c, uint64_t now_ms)
{
    c->now_ms = now_ms;
    c->draining = true;
    c->drain_cursor = 0;
}

/* What a drain gives away each ms, so that whoever takes it over keeps up, and answers requests
 * between: a dirty object costs this node 10 us, and the one that claims, adopts and backs it up
 * more than that; a clean one is a message. */
enum { DRAIN_SHARE = 256, DRAIN_DIRTY = 4, DRAIN_CLEAN = 1 };

/* To the first holder: it has the copy. Alone, or when the holder does not claim (it may be
 * draining too): only what is clean leaves, the store dumps. Returns what it took of the share. */
static uint32_t drain_one(struct cluster *c, struct slice id)
{
    struct key key = id_key(c, id);
    struct idmap_entry entry;
    if (!idmap_find(&slot_of(c, key)->owned, &c->epochs, key, &entry))
        return 0;
    if (c->view->holders == 0 || copy_came_back(c, key)) {
        struct cluster_copy copy;
        if (c->objects.peek(c->objects.context, id, &copy))
            return 0;
    }
    if (!owned_part(c, id, key))
        return 0;
    struct copy *copy = copy_find(c, key);
    if (!copy)
        return DRAIN_CLEAN;
    (void)copy_nudge(c, copy, entry.epoch);
    return DRAIN_DIRTY;
}

static bool is_drained(const struct cluster *c)
{
    /* Alone, too: a copy that nobody owns, perhaps one of what was just parted with, is claimed and
     * dumped; left lying, it would be in this journal only, and nobody would know. */
    return c->owned == 0 && !places_want(c) && copies_are_owned(c);
}

static uint64_t drain(struct cluster *c, uint32_t *budget)
{
    uint8_t id[ID_LIMIT];
    size_t size;
    if (!serves(c))
        return c->options.retry_ms;
    if (c->given_ms != c->now_ms)
        c->drain_spent = 0;
    c->given_ms = c->now_ms;
    while (*budget > 0 && c->owned > 0 && c->drain_spent < DRAIN_SHARE) {
        --*budget;
        if (!c->objects.next(c->objects.context, &c->drain_cursor, id, &size))
            return c->options.retry_ms; /* what was busy: another round */
        c->drain_spent += drain_one(c, slice_of(id, size));
    }
    if (c->owned > 0)
        return c->drain_spent < DRAIN_SHARE ? 0 : 1;
    if (!c->drained && is_drained(c)) {
        c->drained = true;
        if (c->events.state)
            c->events.state(c->events.context, CLUSTER_DRAINED);
    }
    return c->drained ? UINT64_MAX : c->options.retry_ms;
}

uint64_t handoff_advance(struct cluster *c, uint32_t *budget)
{
    while (c->moving && *budget > 0) {
        struct moving *moving = c->moving;
        c->moving = moving->next;
        --*budget;
        moving_try(c, moving);
        heap_release(moving);
    }
    uint64_t wait = c->draining ? drain(c, budget) : UINT64_MAX;
    return c->moving ? 0 : wait;
}
