/* The claimer's side: ids with something under way ("places"), claims, grants, fetching copies,
 * adoption; and what is remembered of other owners ("hints"). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

/* ---- places ------------------------------------------------------------------------------------
 */

struct cluster_place *place_find(struct cluster *c, struct key key)
{
    return (struct cluster_place *)(void *)keyed_find(&slot_of(c, key)->places, key);
}

struct cluster_place *place_create(struct cluster *c, struct key key, struct slice id)
{
    assert(id.size > 0 && id.size <= ID_LIMIT);
    struct cluster_place *place = heap_allocate_zeroed(sizeof(*place) + id.size);
    if (!place)
        return NULL;
    place->keyed.key = key;
    place->id_size = (uint16_t)id.size;
    memcpy(place->id, id.data, id.size);
    list_init(&place->timer);
    list_init(&place->queue);
    list_init(&place->forwards);
    list_init(&place->asking);
    keyed_insert(&slot_of(c, key)->places, &place->keyed);
    c->places++;
    return place;
}

static void drop_grant(struct cluster_place *place)
{
    heap_release(place->candidates);
    place->candidates = NULL;
    place->candidates_count = place->candidates_at = 0;
    value_drop(&place->best.value);
    place->has_best = false;
    place->complete = (struct version){0, 0, 0};
    place->epoch = (struct cluster_epoch){0, 0};
    place->stage = PLACE_RESTING;
}

static void unwant(struct cluster *c, struct cluster_place *place)
{
    c->looking -= place->looked;
    place->wanted = place->looked = false;
}

void place_free(struct cluster *c, struct cluster_place *place)
{
    unwant(c, place);
    drop_grant(place);
    list_remove(&place->timer);
    keyed_remove(&slot_of(c, place->keyed.key)->places, &place->keyed);
    c->places--;
    heap_release(place);
}

void place_settle(struct cluster *c, struct cluster_place *place)
{
    if (place->pins > 0 || place->wanted || place->raising || place->stage != PLACE_RESTING ||
        !list_is_empty(&place->queue) || !list_is_empty(&place->forwards) ||
        !list_is_empty(&place->asking))
        return;
    place_free(c, place);
}

static void unpin(struct cluster *c, struct cluster_place *place)
{
    place->pins--;
    place_settle(c, place);
}

void place_wait(struct cluster *c, struct cluster_place *place)
{
    place->sent_ms = c->now_ms;
    list_remove(&place->timer);
    list_append(&c->timers, &place->timer);
}

static struct slice place_id(const struct cluster_place *place)
{
    return slice_of(place->id, place->id_size);
}

void place_void(struct cluster *c, struct cluster_place *place)
{
    if (place->stage == PLACE_FETCHING || (place->stage == PLACE_CLAIMING && !place->raising))
        foreign_refuse_queue(c, place);
    drop_grant(place);
    place->nonce = place->waits = 0;
    place->locating = false;
    place->refused_by = 0;
    place->refused = place->denied = (struct cluster_epoch){0, 0};
}

/* The id is owned here no more, so there is no epoch to raise: a claim that is outstanding for that
 * goes on as any other. Were it forgotten that it began so, whatever it is granted would be raised
 * at once, while the object, for which nobody asked, is released: for ever. */
void place_disowned(struct cluster *c, struct key key)
{
    struct cluster_place *place = c->places > 0 ? place_find(c, key) : NULL;
    if (!place || !place->raising)
        return;
    place->raising = false;
    place->floor = (struct cluster_epoch){0, 0};
    if (place->stage != PLACE_RESTING)
        return;
    list_remove(&place->timer); /* perhaps there is no use for it: that is seen in the next turn */
    list_append(&c->wake, &place->timer);
}

/* The home has told the sender of a grant that is still on its way to this node. Were it to count
 * when it comes, the sender's next request would be carried out before the one that was refused. */
void place_deny(struct cluster *c, struct key key, struct cluster_epoch epoch)
{
    struct cluster_place *place = c->places > 0 ? place_find(c, key) : NULL;
    if (place && place->stage == PLACE_CLAIMING && keeps(c, CLUSTER_R5_VOID) &&
        cluster_epoch_compare(epoch, place->denied) > 0)
        place->denied = epoch;
}

/* ---- hints -------------------------------------------------------------------------------------
 */

void hint_drop(struct cluster *c, struct key key)
{
    c->hints -= idmap_remove(&slot_of(c, key)->hints, &c->epochs, key);
}

void hint_put(struct cluster *c, struct key key, uint16_t owner, struct cluster_epoch epoch)
{
    /* Full: the hints of some slots go, in turn. A hint only saves the way to the home. */
    while (c->hints >= c->options.hints_limit && c->hints > 0) {
        struct idmap *hints = &c->slots[c->hints_evict++ % CLUSTER_SLOTS].hints;
        c->hints -= hints->count;
        idmap_clear(hints, &c->epochs);
    }
    struct idmap *hints = &slot_of(c, key)->hints;
    struct idmap_entry entry = {key, epoch, owner};
    c->hints -= hints->count;
    (void)idmap_put(hints, &c->epochs, &entry); /* without memory there is no hint */
    c->hints += hints->count;
}

void hints_clear(struct cluster *c)
{
    for (uint32_t s = 0; c->hints > 0 && s < CLUSTER_SLOTS; s++) {
        c->hints -= c->slots[s].hints.count;
        idmap_clear(&c->slots[s].hints, &c->epochs);
    }
}

/* ---- claiming ----------------------------------------------------------------------------------
 */

static void claim(struct cluster *c, struct cluster_place *place)
{
    if (!serves(c))
        return;                  /* R1: what would be granted could not be used */
    uint64_t nonce = ++c->nonce; /* R3: each its own; the grant of an earlier one counts no more */
    if (place->first_nonce == 0)
        place->first_nonce = nonce;
    struct message message = {.kind = MESSAGE_CLAIM,
        .key = place->keyed.key,
        .number = nonce,
        .second_number = place->first_nonce,
        .member = place->refused_by,
        .epoch = place->refused,
        .second_epoch = place->floor};
    place->nonce = message.number;
    place->stage = PLACE_CLAIMING;
    c->metrics.claims++;
    place_wait(c, place);
    send_message(c, view_home(c->view, key_slot(place->keyed.key)), &message);
}

static void locate(struct cluster *c, struct cluster_place *place)
{
    struct message message = {.kind = MESSAGE_WHERE, .key = place->keyed.key, .number = ++c->nonce};
    place->locating = true;
    place_wait(c, place);
    send_message(c, view_home(c->view, key_slot(place->keyed.key)), &message);
}

static void answer_owner(struct cluster *c, struct cluster_place *place, int owner)
{
    struct link *link;
    while ((link = list_first(&place->asking)) != NULL) {
        struct cluster_request *request = list_entry(link, struct cluster_request, in_place);
        request_unlink(c, request);
        struct slice name = owner < 0 ? slice_of(NULL, 0) : c->view->members[owner].name;
        struct value value = {NULL, name.data, name.size};
        request_finish(c, request, owner < 0 ? STORE_ABSENT : STORE_FOUND, &value);
    }
}

static void pump_asking(
    struct cluster *c, struct cluster_place *place, bool owned, const struct idmap_entry *hint)
{
    if (list_is_empty(&place->asking))
        return;
    if (owned)
        answer_owner(c, place, c->view->self);
    else if (hint)
        answer_owner(c, place, hint->owner);
    else if (!place->locating)
        locate(c, place);
}

static void pump_queue(
    struct cluster *c, struct cluster_place *place, const struct idmap_entry *hint)
{
    /* R9: as long as requests are at an owner that may refuse them, later ones must not go to
     * another, nor may this node become the owner. */
    bool at_owner = !list_is_empty(&place->forwards) && keeps(c, CLUSTER_R9_ORDER);
    bool at_another = at_owner && hint &&
                      (place->at != c->view->members[hint->owner].incarnation ||
                          !epoch_equal(place->at_epoch, hint->epoch));
    bool waits = !list_is_empty(&place->queue);
    /* A claim may be answered by a grant, so what waits goes nowhere meanwhile; but for that the
     * home has been asked for the owner by others, so that there may be a hint already. */
    bool claiming = place->stage == PLACE_CLAIMING && keeps(c, CLUSTER_R9_ORDER);
    if (hint && waits && !at_another && !claiming)
        forward_all(c, place, hint);
    else if (at_owner || (!waits && !place->wanted) || place->stage != PLACE_RESTING)
        return;
    else if (c->draining && !place->wanted && !place->locating)
        locate(c, place);
    else if (c->draining && !place->wanted)
        return;
    else
        claim(c, place);
}

void place_pump(struct cluster *c, struct cluster_place *place)
{
    if (c->state != CLUSTER_IN || !c->view || place->stage == PLACE_FETCHING)
        return;
    struct key key = place->keyed.key;
    struct idmap_entry entry, *hint = NULL;
    place->pins++;
    bool owned = idmap_find(&slot_of(c, key)->owned, &c->epochs, key, NULL);
    if (!owned && idmap_find(&slot_of(c, key)->hints, &c->epochs, key, &entry))
        hint = &entry;
    pump_asking(c, place, owned, hint);
    struct link *link;
    if (!owned) {
        pump_queue(c, place, hint);
    } else if (place->raising && place->stage == PLACE_RESTING) {
        claim(c, place);
    } else if (place->raising) {
        place->wanted = true;
    } else {
        unwant(c, place);
    }
    /* R11: not while the lease is over. In order, as long as it is owned: it may be given up. */
    while ((serves(c) || !keeps(c, CLUSTER_R11_EXECUTE)) &&
           (link = list_first(&place->queue)) != NULL &&
           idmap_find(&slot_of(c, key)->owned, &c->epochs, key, NULL))
        request_execute(c, list_entry(link, struct cluster_request, in_place));
    if (owned && list_first(&place->queue) && place->stage == PLACE_RESTING &&
        !idmap_find(&slot_of(c, key)->owned, &c->epochs, key, NULL)) {
        /* It was given up under way: what is left is asked for in the next turn. */
        list_remove(&place->timer);
        list_append(&c->wake, &place->timer);
    }
    unpin(c, place);
}

bool places_want(const struct cluster *c)
{
    for (uint32_t s = 0; c->places > 0 && s < CLUSTER_SLOTS; s++) {
        const struct keyed_table *places = &c->slots[s].places;
        for (struct keyed *node = keyed_any(places); node; node = keyed_next(places, node)) {
            const struct cluster_place *place = (const struct cluster_place *)(const void *)node;
            if (place->wanted || place->raising || place->stage == PLACE_FETCHING)
                return true;
        }
    }
    return false;
}

void place_look(struct cluster *c, struct key key, struct slice id)
{
    struct cluster_place *place = place_find(c, key);
    if (!place)
        place = place_create(c, key, id);
    if (!place)
        return; /* tried again, or by somebody else */
    c->looking += !place->looked;
    place->wanted = place->looked = true;
    place_pump(c, place);
}

/* ---- grants ------------------------------------------------------------------------------------
 */

static int compare_listed(const void *a, const void *b)
{
    const struct listed_copy *x = a, *y = b;
    return version_compare(y->version, x->version);
}

/* R7: is what was fetched known to be the highest version there is? */
static bool is_complete(const struct cluster_place *place)
{
    static const struct version none;
    return place->has_best && version_compare(place->complete, none) != 0 &&
           version_compare(place->best.version, place->complete) == 0 &&
           (place->candidates_count == 0 ||
               version_compare(place->candidates[0].version, place->complete) <= 0);
}

static void adopt(struct cluster *c, struct cluster_place *place)
{
    struct key key = place->keyed.key;
    struct cluster_epoch epoch = place->epoch;
    struct cluster_copy copy = place->best;
    bool has_copy = place->has_best, had_candidates = place->candidates_count > 0;
    bool complete = is_complete(place);
    place->best.value = value_none();
    drop_grant(place);
    place->first_nonce = 0;
    place->pins++;
    if (owned_put(c, key, epoch) != 0) {
        owned_release(c, key, epoch);
    } else {
        if (has_copy || had_candidates)
            dirty_mark_listed(c, key, place_id(place));
        int status = c->objects.adopt(
            c->objects.context, place_id(place), epoch, has_copy ? &copy : NULL, complete);
        if (status == 0) {
            c->metrics.granted++;
            c->metrics.takeovers += has_copy;
            c->metrics.takeovers_complete += complete;
            unwant(c, place);
        } else {
            owned_remove(c, key);
            dirty_forget(c, key);
            owned_release(c, key, epoch);
        }
    }
    value_drop(&copy.value);
    if (idmap_find(&slot_of(c, key)->owned, &c->epochs, key, NULL))
        place_pump(c, place);
    else
        place_wait(c, place); /* no memory: later */
    unpin(c, place);
}

bool place_spared(struct cluster *c, struct key key, struct slice id)
{
    struct cluster_epoch epoch;
    if (!serves(c) || c->draining || idmap_find(&slot_of(c, key)->hints, &c->epochs, key, NULL) ||
        !home_takes(c, key, &epoch) || owned_put(c, key, epoch) != 0)
        return false;
    if (c->objects.adopt(c->objects.context, id, epoch, NULL, false) != 0) {
        owned_remove(c, key);
        return false;
    }
    c->metrics.claims++;
    c->metrics.grants++;
    c->metrics.granted++;
    return true;
}

/* R7: the highest copy that is listed, else the next one; then the warehouse, which is the
 * store's to read. */
static void fetch(struct cluster *c, struct cluster_place *place)
{
    while (keeps(c, CLUSTER_R7_FETCH) && place->candidates_at < place->candidates_count) {
        const struct listed_copy *next = &place->candidates[place->candidates_at];
        int holder = view_find(c->view, next->holder);
        if (holder < 0 || holder == c->view->self ||
            (place->has_best && version_compare(place->best.version, next->version) >= 0)) {
            place->candidates_at++;
            continue;
        }
        struct message message = {
            .kind = MESSAGE_FETCH, .key = place->keyed.key, .epoch = place->epoch};
        place_wait(c, place);
        send_message(c, (uint16_t)holder, &message);
        return;
    }
    adopt(c, place);
}

static void raise_epoch(
    struct cluster *c, struct cluster_place *place, const struct message *message)
{
    struct idmap_entry old;
    bool lower = idmap_find(&slot_of(c, message->key)->owned, &c->epochs, message->key, &old) &&
                 cluster_epoch_compare(message->epoch, old.epoch) <= 0;
    if (lower || owned_put(c, message->key, message->epoch) != 0)
        return; /* the claim is repeated */
    place->pins++;
    place->raising = false;
    unwant(c, place);
    place->stage = PLACE_RESTING;
    place->nonce = place->waits = 0;
    place->floor = (struct cluster_epoch){0, 0};
    c->objects.raise(c->objects.context, place_id(place), message->epoch);
    place_pump(c, place);
    unpin(c, place);
}

void place_granted(struct cluster *c, const struct message *message)
{
    struct cluster_place *place = place_find(c, message->key);
    bool expected = place && place->stage == PLACE_CLAIMING && place->nonce == message->number;
    /* R3: only the answer to the claim that is outstanding. */
    if (!expected && (keeps(c, CLUSTER_R3_NONCE) || !place || place->stage == PLACE_FETCHING))
        return;
    bool owned = idmap_find(&slot_of(c, message->key)->owned, &c->epochs, message->key, NULL);
    if (expected && cluster_epoch_compare(message->epoch, place->denied) <= 0) {
        place->stage = PLACE_RESTING; /* R5; the next one is another */
        place->nonce = place->waits = 0;
        if (!owned)
            foreign_refuse_queue(c, place);
        place_pump(c, place);
        return;
    }
    if (owned) {
        if (place->raising)
            raise_epoch(c, place, message);
        return;
    }
    assert(!place->raising);
    size_t count = message->copies.size / LISTED_RECORD;
    struct listed_copy *candidates =
        count > 0 ? heap_allocate(count * sizeof(struct listed_copy)) : NULL;
    if (count > 0 && !candidates)
        return; /* the claim is repeated */
    for (size_t i = 0; i < count; i++)
        listed_record_read(message->copies.data + i * LISTED_RECORD, &candidates[i].holder,
            &candidates[i].version);
    if (count > 1)
        qsort(candidates, count, sizeof(struct listed_copy), compare_listed);
    place->candidates = candidates;
    place->candidates_count = (uint32_t)count;
    place->candidates_at = 0;
    place->stage = PLACE_FETCHING;
    place->nonce = place->waits = 0;
    place->epoch = message->epoch;
    place->complete = message->version;
    foreign_refuse_others(c, place, message->epoch); /* that came before the grant: R9 */
    place->refused_by = 0;
    place->refused = place->denied = place->floor = (struct cluster_epoch){0, 0};
    const struct copy *own = copy_find(c, message->key);
    if (own) {
        place->best = own->what;
        value_hold(own->what.value);
        place->has_best = true;
    }
    fetch(c, place);
}

void place_fetched(struct cluster *c, uint16_t member, const struct message *message)
{
    struct cluster_place *place = place_find(c, message->key);
    if (!place || place->stage != PLACE_FETCHING || !epoch_equal(place->epoch, message->epoch) ||
        place->candidates_at >= place->candidates_count ||
        place->candidates[place->candidates_at].holder != c->view->members[member].incarnation)
        return;
    if (message->state != STATE_NONE &&
        (!place->has_best || version_compare(message->version, place->best.version) > 0)) {
        value_drop(&place->best.value);
        place->best =
            (struct cluster_copy){message->version, message->state == STATE_DELETED, value_none()};
        place->has_best = true;
        if (message->state == STATE_VALUE) {
            place->best.value = message->value; /* a reference of ours: see receive.c */
            value_hold(place->best.value);
        }
    }
    place->candidates_at++;
    fetch(c, place);
}

/* ---- others own it ------------------------------------------------------------------------------
 */

void place_owned(struct cluster *c, const struct message *message)
{
    struct cluster_place *place = place_find(c, message->key);
    int owner = view_find(c->view, message->member);
    if (!place || place->stage != PLACE_CLAIMING || place->nonce != message->number || owner < 0 ||
        owner == c->view->self)
        return;
    /* It refused us, and says that it is the owner: it is short of memory, or the home does not
     * ask. Not again at once. */
    bool refused =
        place->refused_by == message->member && epoch_equal(place->refused, message->epoch);
    place->pins++;
    foreign_refuse_queue(c, place);
    place->stage = PLACE_RESTING;
    place->nonce = place->waits = 0;
    unwant(c, place);
    place->refused_by = 0;
    place->refused = (struct cluster_epoch){0, 0};
    list_remove(&place->timer);
    copy_is_owned(c, message->key, (uint16_t)owner, message->epoch);
    hint_put(c, message->key, (uint16_t)owner, message->epoch);
    if (refused)
        place_wait(c, place);
    else if (!list_is_empty(&place->queue) || !list_is_empty(&place->asking))
        place_pump(c, place);
    unpin(c, place);
}

void place_located(struct cluster *c, const struct message *message)
{
    struct cluster_place *place = place_find(c, message->key);
    if (!place || !place->locating)
        return;
    int owner = message->member == 0 ? -1 : view_find(c->view, message->member);
    place->pins++;
    place->locating = false;
    answer_owner(c, place, owner);
    if (owner >= 0 && owner != c->view->self && epoch_is_valid(message->epoch)) {
        hint_put(c, message->key, (uint16_t)owner, message->epoch);
        place_pump(c, place);
    } else if (c->draining) {
        /* Nobody owns it, and this node takes nothing on any more. */
        struct link *link;
        while ((link = list_first(&place->queue)) != NULL) {
            struct cluster_request *request = list_entry(link, struct cluster_request, in_place);
            request_unlink(c, request);
            request_finish(c, request, BRAIN_ESHUTDOWN, NULL);
        }
    }
    unpin(c, place);
}

/* ---- time
 * ---------------------------------------------------------------------------------------- */

/* The answer to a claim counts no more once it is repeated: so each waits for twice as long as the
 * one before, or a home that is slow to answer would never be heard. */
static bool is_due(uint32_t waits)
{
    enum { LONGEST = 16 };
    return waits < LONGEST ? (waits & (waits - 1)) == 0 : waits % LONGEST == 0;
}

void place_retry(struct cluster *c, struct cluster_place *place)
{
    list_remove(&place->timer);
    if (c->state != CLUSTER_IN || !c->view)
        return;
    if (place->stage == PLACE_FETCHING) {
        fetch(c, place);
        return;
    }
    if (place->stage == PLACE_CLAIMING && !is_due(++place->waits)) {
        place_wait(c, place);
        return;
    }
    if (place->stage == PLACE_CLAIMING) {
        place->stage = PLACE_RESTING;
        if (!place->raising)
            foreign_refuse_queue(c, place); /* the grant they came before counts no more */
    } else {
        place->waits = 0;
    }
    place->locating = false;
    place->pins++;
    place_pump(c, place);
    if (!serves(c) && (place->wanted || place->raising))
        place_wait(c, place);
    unpin(c, place);
}
