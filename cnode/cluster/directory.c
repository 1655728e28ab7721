/* R4: what a home knows of its slots: who owns an id under which epoch, and which copies are held.
 * Rebuilt in each view from reports. What this node owns itself is not in it: a home looks into its
 * own tables, so that a cluster of one has no directory. */
#include <string.h>

#include "inside.h"

/* ---- complete copies --------------------------------------------------------------------------
 *
 * The last owner released the id while it held what the object was: no version above that copy is
 * anywhere, not in the warehouse either, as long as nobody owns the id again. Only this home grants
 * it, so only this home can know: it is told by the release itself, of the epoch in the directory
 * (no other owner was between), and forgotten with the next grant. But a claimer that claims again
 * and again, since its grant was lost or came late, is told each time: its claims say since when it
 * has not adopted the id (docs/decisions/0018). */

static struct finished *finished_find(struct cluster *c, struct key key)
{
    struct keyed_table *table = &slot_of(c, key)->finished;
    return table->count == 0 ? NULL : (struct finished *)(void *)keyed_find(table, key);
}

static void finished_drop(struct cluster *c, struct key key)
{
    struct finished *finished = finished_find(c, key);
    if (!finished)
        return;
    keyed_remove(&slot_of(c, key)->finished, &finished->keyed);
    heap_release(finished);
}

/* Without memory it is compared with the warehouse, as any other. */
static void finished_put(struct cluster *c, struct key key, struct version version)
{
    struct finished *finished = finished_find(c, key);
    if (!finished) {
        finished = heap_allocate_zeroed(sizeof(*finished));
        if (!finished)
            return;
        finished->keyed.key = key;
        keyed_insert(&slot_of(c, key)->finished, &finished->keyed);
    }
    finished->version = version;
    finished->granted_to = finished->granted_nonce = 0;
}

/* What a release, or a denial of the owner that is in the directory, says. */
static void finished_told(struct cluster *c, const struct message *message)
{
    if (message->complete && message->state != STATE_NONE)
        finished_put(c, message->key, message->version);
    else if (keeps(c, CLUSTER_R7_COMPLETE))
        finished_drop(c, message->key);
}

/* For the grant of this claim. All 0: not known. */
static struct version finished_for(struct cluster *c, uint16_t member, const struct message *claim)
{
    struct finished *finished = finished_find(c, claim->key);
    uint64_t claimer = c->view->members[member].incarnation;
    if (!finished)
        return (struct version){0, 0, 0};
    if (finished->granted_to != 0 && keeps(c, CLUSTER_R7_COMPLETE) &&
        (finished->granted_to != claimer || claim->second_number > finished->granted_nonce)) {
        finished_drop(c, claim->key);
        return (struct version){0, 0, 0};
    }
    finished->granted_to = claimer;
    finished->granted_nonce = claim->number;
    return finished->version;
}

/* A new view. This home granted nothing after the old one ended, and if it is the home still nobody
 * else has granted: no slot opens without its report. What it granted is another matter: that may
 * have been adopted, and released again, which was not heard any more. */
static void finished_begin(struct cluster *c, const struct view *before)
{
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++) {
        struct keyed_table *table = &c->slots[s].finished;
        bool home = before && c->view && view_home(before, s) == before->self &&
                    view_home(c->view, s) == c->view->self;
        for (struct keyed *node = keyed_any(table), *next; node; node = next) {
            next = keyed_next(table, node);
            if (home && (((struct finished *)(void *)node)->granted_to == 0 ||
                            !keeps(c, CLUSTER_R7_COMPLETE)))
                continue;
            keyed_remove(table, node);
            heap_release(node);
        }
    }
}

/* ---- listings ---------------------------------------------------------------------------------
 */

static struct listing *listing_find(struct cluster *c, struct key key)
{
    return (struct listing *)(void *)keyed_find(&slot_of(c, key)->listings, key);
}

static void listing_free(struct cluster *c, struct listing *listing)
{
    keyed_remove(&slot_of(c, listing->keyed.key)->listings, &listing->keyed);
    heap_release(listing->copies);
    heap_release(listing);
}

int listing_add(struct cluster *c, struct key key, uint64_t holder, struct version version)
{
    struct listing *listing = listing_find(c, key);
    if (!listing) {
        listing = heap_allocate_zeroed(sizeof(*listing));
        if (!listing)
            return BRAIN_ENOMEM;
        listing->keyed.key = key;
        keyed_insert(&slot_of(c, key)->listings, &listing->keyed);
    }
    for (uint32_t i = 0; i < listing->count; i++) {
        if (listing->copies[i].holder == holder) {
            listing->copies[i].version = version;
            return 0;
        }
    }
    if (listing->count == listing->capacity) {
        uint32_t capacity = listing->capacity ? listing->capacity * 2 : 2;
        void *copies = heap_resize(listing->copies, capacity * sizeof(struct listed_copy));
        if (!copies) {
            if (listing->count == 0)
                listing_free(c, listing);
            return BRAIN_ENOMEM;
        }
        listing->copies = copies;
        listing->capacity = capacity;
    }
    listing->copies[listing->count++] = (struct listed_copy){holder, version};
    return 0;
}

static void listing_remove(struct cluster *c, struct key key, uint64_t holder)
{
    struct listing *listing = listing_find(c, key);
    for (uint32_t i = 0; listing && i < listing->count; i++) {
        if (listing->copies[i].holder == holder) {
            listing->copies[i] = listing->copies[--listing->count];
            if (listing->count == 0)
                listing_free(c, listing);
            return;
        }
    }
}

/* The owner's confirmed dump made copies up to `version` worthless: their holders may forget them,
 * also those that the owner does not know of. */
void home_discards(struct cluster *c, struct key key, struct version version)
{
    struct listing *listing = listing_find(c, key);
    const struct finished *finished = finished_find(c, key);
    if (finished && version_compare(finished->version, version) <= 0)
        finished_drop(c, key);
    if (!listing)
        return;
    for (uint32_t i = 0; i < listing->count;) {
        if (version_compare(listing->copies[i].version, version) > 0) {
            i++;
            continue;
        }
        int holder = view_find(c->view, listing->copies[i].holder);
        struct message discard = {.kind = MESSAGE_DISCARD, .key = key, .version = version};
        if (holder >= 0 && holder != c->view->self)
            send_message(c, (uint16_t)holder, &discard);
        listing->copies[i] = listing->copies[--listing->count];
    }
    if (listing->count == 0)
        listing_free(c, listing);
}

/* ---- entries ----------------------------------------------------------------------------------
 */

/* The owner as this home knows it: this node's own tables first. */
static bool find_owner(struct cluster *c, struct key key, struct idmap_entry *entry)
{
    struct slot *slot = slot_of(c, key);
    struct cluster_epoch epoch;
    if (owned_find(c, key, &epoch)) {
        *entry = (struct idmap_entry){key, epoch, c->view->self};
        return true;
    }
    return idmap_find(&slot->directory, &c->epochs, key, entry);
}

static int put_entry(struct cluster *c, struct key key, uint16_t owner, struct cluster_epoch epoch)
{
    struct idmap *directory = &slot_of(c, key)->directory;
    uint32_t before = directory->count;
    struct idmap_entry entry = {key, epoch, owner};
    int status = idmap_put(directory, &c->epochs, &entry);
    c->directory += directory->count - before;
    return status;
}

static void remove_entry(struct cluster *c, struct key key)
{
    c->directory -= idmap_remove(&slot_of(c, key)->directory, &c->epochs, key);
}

int directory_report(struct cluster *c, uint16_t member, struct key key, struct cluster_epoch epoch)
{
    struct idmap_entry entry;
    /* Two who say so: a rule was broken somewhere. The later grant is the better guess. */
    if (find_owner(c, key, &entry) && entry.owner != member &&
        cluster_epoch_compare(entry.epoch, epoch) > 0)
        return 0;
    finished_drop(c, key);
    return put_entry(c, key, member, epoch);
}

/* ---- parked claims -----------------------------------------------------------------------------
 */

enum { PARKED_LIMIT = 1 << 18 };

/* A claimer has one claim: an older one would get a grant that it does not wait for any more, after
 * the one that it does. */
static void unpark_older(struct cluster *c, uint16_t member, const struct message *message)
{
    struct slot *slot = slot_of(c, message->key);
    struct parked **link = &slot->parked;
    while (*link) {
        struct parked *parked = *link;
        if (parked->member != member || parked->message.kind != message->kind ||
            !key_equal(parked->message.key, message->key)) {
            link = &parked->next;
            continue;
        }
        *link = parked->next;
        heap_release(parked);
        c->parked--;
    }
    slot->parked_end = link;
}

static void park(struct cluster *c, uint16_t member, const struct message *message)
{
    struct slot *slot = slot_of(c, message->key);
    if (c->parked >= PARKED_LIMIT)
        return; /* the claimer repeats it */
    struct parked *parked = heap_allocate(sizeof(*parked));
    if (!parked) {
        c->metrics.messages_dropped++;
        return;
    }
    parked->next = NULL;
    parked->message = *message;
    parked->member = member;
    *slot->parked_end = parked;
    slot->parked_end = &parked->next;
    c->parked++;
}

/* Takes out the parked claims of the slot (of the key, when there is one), in order. */
static struct parked *unpark(struct cluster *c, struct slot *slot, const struct key *key)
{
    struct parked *taken = NULL, **taken_end = &taken, **link = &slot->parked;
    while (*link) {
        struct parked *parked = *link;
        if (key && !key_equal(parked->message.key, *key)) {
            link = &parked->next;
            continue;
        }
        *link = parked->next;
        parked->next = NULL;
        *taken_end = parked;
        taken_end = &parked->next;
        c->parked--;
    }
    slot->parked_end = link;
    return taken;
}

static void ask_again(struct cluster *c, struct parked *parked)
{
    while (parked) {
        struct parked *next = parked->next;
        home_asked(c, parked->member, &parked->message);
        heap_release(parked);
        parked = next;
    }
}

static void parked_clear(struct cluster *c, struct slot *slot)
{
    struct parked *parked = unpark(c, slot, NULL);
    while (parked) {
        struct parked *next = parked->next;
        heap_release(parked);
        parked = next;
    }
}

/* ---- claims ------------------------------------------------------------------------------------
 */

static bool above(struct cluster_epoch *epoch, struct cluster_epoch floor)
{
    if (cluster_epoch_compare(*epoch, floor) > 0)
        return true;
    if (floor.view <= VIEW_LIMIT &&
        floor.counter < EPOCH_COUNTER_LIMIT - 1) { /* any number, of whoever says so */
        *epoch = (struct cluster_epoch){floor.view, floor.counter + 1};
        return true;
    }
    if (floor.view >= VIEW_LIMIT)
        return false;
    *epoch = (struct cluster_epoch){floor.view + 1, 1};
    return true;
}

/* R4: (view, counter); above what the claimer has seen, above the grant before it, and above the
 * copies that are known: after etcd was made anew the views' numbers may be lower than theirs. */
static bool next_epoch(struct cluster *c, const struct message *claim,
    const struct idmap_entry *entry, const struct listing *listing, const struct copy *own,
    struct cluster_epoch *epoch)
{
    *epoch = (struct cluster_epoch){c->view->number, ++c->grants};
    c->shared_grant = 0;
    bool fits = above(epoch, claim->second_epoch);
    if (entry)
        fits = fits && above(epoch, entry->epoch);
    for (uint32_t i = 0; listing && i < listing->count && keeps(c, CLUSTER_R4_HIGHER); i++)
        fits = fits && above(epoch, version_epoch(listing->copies[i].version));
    if (own && keeps(c, CLUSTER_R4_HIGHER))
        fits = fits && above(epoch, version_epoch(own->what.version));
    return fits;
}

static void write_listing(
    struct cluster *c, struct buffer *out, const struct listing *listing, const struct copy *own)
{
    if (!keeps(c, CLUSTER_R4_COPIES))
        return;
    for (uint32_t i = 0; listing && i < listing->count; i++)
        listed_record_write(out, listing->copies[i].holder, listing->copies[i].version);
    if (own)
        listed_record_write(out, c->incarnation, own->what.version);
}

static void grant(struct cluster *c, uint16_t member, const struct message *claim,
    const struct idmap_entry *entry)
{
    const struct listing *listing = listing_find(c, claim->key);
    const struct copy *own = copy_find(c, claim->key);
    struct message granted = {.kind = MESSAGE_GRANT, .key = claim->key, .number = claim->number};
    if (!next_epoch(c, claim, entry, listing, own, &granted.epoch))
        return;
    struct buffer copies;
    buffer_init(&copies);
    write_listing(c, &copies, listing, own);
    granted.copies = buffer_slice(&copies);
    granted.version = finished_for(c, member, claim);
    if (copies.failed ||
        (member != c->view->self && put_entry(c, claim->key, member, granted.epoch) != 0)) {
        c->metrics.messages_dropped++;
    } else {
        c->metrics.grants++;
        if (member == c->view->self)
            remove_entry(c, claim->key);
        send_message(c, member, &granted);
    }
    buffer_release(&copies);
}

/* Epochs are compared for one id only. So all that is taken one after the other has the same one,
 * which is stored once (a million objects with one each would take 28 MB more), as long as nobody
 * else was granted anything and nothing of it was given up: the next grant of that id must be
 * greater. */
bool home_takes(struct cluster *c, struct key key, struct cluster_epoch *epoch)
{
    uint32_t s = key_slot(key);
    if (view_home(c->view, s) != c->view->self || !slot_is_open(c, s) ||
        idmap_find(&c->slots[s].directory, &c->epochs, key, NULL) || listing_find(c, key) ||
        finished_find(c, key) || copy_find(c, key))
        return false;
    if (c->shared_grant == 0)
        c->shared_grant = ++c->grants;
    *epoch = (struct cluster_epoch){c->view->number, c->shared_grant};
    return epoch_is_valid(*epoch);
}

static void tell_owner(struct cluster *c, uint16_t member, const struct message *asked,
    const struct idmap_entry *entry)
{
    struct message owned = {.kind = asked->kind == MESSAGE_WHERE ? MESSAGE_LOCATED : MESSAGE_OWNED,
        .key = asked->key,
        .number = asked->number};
    if (entry) {
        owned.member = c->view->members[entry->owner].incarnation;
        owned.epoch = entry->epoch;
    }
    send_message(c, member, &owned);
}

void home_asked(struct cluster *c, uint16_t member, const struct message *message)
{
    uint32_t slot = key_slot(message->key);
    if (view_home(c->view, slot) != c->view->self)
        return;
    unpark_older(c, member, message);
    if (!slot_is_open(c, slot)) {
        park(c, member, message);
        return;
    }
    struct idmap_entry entry;
    bool owned = find_owner(c, message->key, &entry);
    if (message->kind == MESSAGE_WHERE) {
        tell_owner(c, member, message, owned ? &entry : NULL);
    } else if (!owned || entry.owner == member) {
        grant(c, member, message, owned ? &entry : NULL);
        struct parked *others = owned ? unpark(c, slot_of(c, message->key), &message->key) : NULL;
        ask_again(c, others);
    } else if (keeps(c, CLUSTER_R5_CONFIRM) && entry.owner != c->view->self &&
               message->member == c->view->members[entry.owner].incarnation &&
               epoch_equal(message->epoch, entry.epoch)) {
        /* R5: the owner we know refused the claimer. Is it one? The claim waits for the answer. */
        struct message confirm = {
            .kind = MESSAGE_CONFIRM, .key = message->key, .epoch = entry.epoch};
        c->metrics.confirms++;
        park(c, member, message);
        send_message(c, entry.owner, &confirm);
    } else {
        tell_owner(c, member, message, &entry);
    }
}

/* ---- what owners say ----------------------------------------------------------------------------
 */

/* R5: an entry goes only if owner and epoch are those that are told; the copy is listed anyway. */
static void owner_no_more(struct cluster *c, uint16_t member, const struct message *message)
{
    struct idmap_entry entry;
    if (view_home(c->view, key_slot(message->key)) != c->view->self)
        return;
    if (member == c->view->self) { /* a home looks into its own tables, which say no more of epochs
                                      than that one has just ended */
        if (message->kind == MESSAGE_RELEASE)
            finished_told(c, message);
        return;
    }
    struct slot *slot = slot_of(c, message->key);
    uint64_t incarnation = c->view->members[member].incarnation;
    if (message->state == STATE_NONE)
        listing_remove(c, message->key, incarnation);
    else if (listing_add(c, message->key, incarnation, message->version) != 0)
        return; /* the entry stays: better asked again than a copy forgotten */
    if (!idmap_find(&slot->directory, &c->epochs, message->key, &entry) || entry.owner != member ||
        (!epoch_equal(entry.epoch, message->epoch) && keeps(c, CLUSTER_R5_EPOCH)))
        return;
    remove_entry(c, message->key);
    finished_told(c, message);
    if (slot_is_open(c, key_slot(message->key)))
        ask_again(c, unpark(c, slot, &message->key));
}

void home_released(struct cluster *c, uint16_t member, const struct message *message)
{
    owner_no_more(c, member, message);
}

void home_not_owner(struct cluster *c, uint16_t member, const struct message *message)
{
    owner_no_more(c, member, message);
}

void home_confirmed(struct cluster *c, uint16_t member, const struct message *message)
{
    struct idmap_entry entry;
    uint32_t s = key_slot(message->key);
    if (view_home(c->view, s) != c->view->self || !slot_is_open(c, s) ||
        !find_owner(c, message->key, &entry) || entry.owner != member ||
        !epoch_equal(entry.epoch, message->epoch))
        return;
    struct parked *parked = unpark(c, slot_of(c, message->key), &message->key);
    while (parked) {
        struct parked *next = parked->next;
        tell_owner(c, parked->member, &parked->message, &entry);
        heap_release(parked);
        parked = next;
    }
}

/* ---- a view begins -----------------------------------------------------------------------------
 */

void home_opened(struct cluster *c, uint32_t first, uint32_t through)
{
    for (uint32_t s = first; s < through; s++) {
        if (c->slots[s].parked)
            ask_again(c, unpark(c, &c->slots[s], NULL));
    }
}

static void entries_clear(struct cluster *c)
{
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++) {
        struct slot *slot = &c->slots[s];
        idmap_clear(&slot->directory, &c->epochs);
        struct keyed *node;
        while ((node = keyed_any(&slot->listings)) != NULL)
            listing_free(c, (struct listing *)(void *)node);
        parked_clear(c, slot);
    }
    c->directory = 0;
}

void directory_clear(struct cluster *c)
{
    finished_begin(c, NULL);
    entries_clear(c);
}

/* The simulator's, when R4 is broken: entries of members that are still there are taken over. */
static void take_over(struct cluster *c, const struct view *before)
{
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++) {
        struct slot *slot = &c->slots[s];
        struct idmap old = slot->directory;
        struct idmap_entry entry;
        slot->directory = (struct idmap){.with_owner = true};
        uint32_t cursor = 0;
        while (idmap_next(&old, &c->epochs, &cursor, &entry)) {
            int now = view_find(c->view, before->members[entry.owner].incarnation);
            entry.owner = (uint16_t)now;
            if (now >= 0)
                (void)idmap_put(&slot->directory, &c->epochs, &entry);
        }
        idmap_clear(&old, &c->epochs);
        parked_clear(c, slot);
    }
}

void directory_begin(struct cluster *c, const struct view *before)
{
    finished_begin(c, before);
    if (before && !keeps(c, CLUSTER_R4_FRESH))
        take_over(c, before);
    else
        entries_clear(c);
}
