/* The owner's side. Each version that holders have is told to all members that know of each other;
 * who does not acknowledge it is asked, now and then, whether it has it, and gets it if not. */
#include <assert.h>

#include "inside.h"

/* Of what is pushed to one member: so much may be on its way. */
enum { PUSH_WINDOW = 256, WORD_BITS = 64 };
/* Of a telling's bits. */
enum part { OWED, PUSHED, UNAWARE, PARTS };
static const uint64_t PUSH_WINDOW_BYTES = UINT64_C(4) << 20;

/* ---- tellings ---------------------------------------------------------------------------------
 */

static size_t telling_size(uint32_t words)
{
    return sizeof(struct telling) + PARTS * (size_t)words * sizeof(uint64_t);
}

static uint32_t words_needed(const struct replica *r)
{
    return r->slots_count == 0 ? 1 : (r->slots_count + WORD_BITS - 1) / WORD_BITS;
}

static uint64_t *word_of(struct telling *telling, enum part part, uint32_t slot)
{
    return &telling->bits[part * telling->words + slot / WORD_BITS];
}

static uint64_t bit_of(uint32_t slot)
{
    return UINT64_C(1) << (slot % WORD_BITS);
}

int telling_reserve(struct replica *r)
{
    const uint32_t words = words_needed(r);
    if (r->spare_telling != NULL && r->spare_telling->words >= words)
        return 0;
    struct telling *telling = heap_allocate(telling_size(words));
    if (telling == NULL)
        return BRAIN_ENOMEM;
    telling->words = words;
    heap_release(r->spare_telling);
    r->spare_telling = telling;
    return 0;
}

static void wait_for_it(struct replica *r, struct telling *telling)
{
    list_remove(&telling->timer);
    list_append(&r->waiting, &telling->timer);
}

/* The entry has a telling with a bit for each member afterwards. */
static int attach(struct replica *r, struct entry *entry)
{
    struct telling *before = entry->telling, *telling;
    if (before != NULL && before->words >= words_needed(r))
        return 0;
    if (telling_reserve(r) != 0)
        return BRAIN_ENOMEM;
    telling = r->spare_telling;
    r->spare_telling = NULL;
    const uint32_t words = telling->words;
    memset(telling, 0, telling_size(words));
    telling->words = words;
    telling->entry = entry;
    list_init(&telling->timer);
    list_append(&r->unheld, &telling->timer);
    if (before != NULL) {
        telling->version = before->version;
        telling->sent_ms = r->now_ms;
        telling->owed = before->owed;
        telling->unaware = before->unaware;
        telling->fresh = before->fresh;
        telling->reached = before->reached;
        for (uint32_t part = 0; part < PARTS; part++)
            memcpy(telling->bits + part * words, before->bits + part * before->words,
                before->words * sizeof(uint64_t));
        list_remove(&before->timer);
        if (telling->owed > 0)
            wait_for_it(r, telling);
        r->memory -= telling_size(before->words);
        heap_release(before);
    } else {
        r->tellings++;
    }
    r->memory += telling_size(words);
    entry->telling = telling;
    return 0;
}

static void settle_push(struct replica *r, struct peer *peer, const struct entry *entry)
{
    const uint64_t bytes = entry->value.size;
    peer->in_flight--;
    peer->in_flight_bytes =
        peer->in_flight == 0 || peer->in_flight_bytes < bytes ? 0 : peer->in_flight_bytes - bytes;
    peer_end_if_all(r, peer);
}

/* It has given up what was told under earlier grants, or is gone. */
static void now_aware(struct telling *telling, const struct peer *peer)
{
    const uint64_t bit = bit_of(peer->slot);
    telling->unaware -= (*word_of(telling, UNAWARE, peer->slot) & bit) != 0;
    *word_of(telling, UNAWARE, peer->slot) &= ~bit;
}

/* Takes the bits of one member out. */
static void forgive(struct replica *r, struct telling *telling, struct peer *peer, bool owed)
{
    const uint64_t bit = bit_of(peer->slot);
    if (peer->slot / WORD_BITS >= telling->words)
        return;
    if ((*word_of(telling, PUSHED, peer->slot) & bit) != 0) {
        *word_of(telling, PUSHED, peer->slot) &= ~bit;
        settle_push(r, peer, telling->entry);
    }
    if (owed && (*word_of(telling, OWED, peer->slot) & bit) != 0) {
        *word_of(telling, OWED, peer->slot) &= ~bit;
        telling->owed--;
        now_aware(telling, peer);
    }
}

void telling_free(struct replica *r, struct entry *entry)
{
    struct telling *telling = entry->telling;
    if (telling == NULL)
        return;
    for (uint32_t slot = 0; slot < r->slots_count; slot++)
        if (r->slots[slot] != NULL)
            forgive(r, telling, r->slots[slot], true);
    list_remove(&telling->timer);
    entry->telling = NULL;
    r->tellings--;
    r->memory -= telling_size(telling->words);
    if (r->spare_telling == NULL)
        r->spare_telling = telling;
    else
        heap_release(telling);
}

/* ---- sending ----------------------------------------------------------------------------------
 */

/* Has some member, but this one, not told all yet? It may be gone already, and who asks know that.
 */
static bool others_are_behind(const struct replica *r, const struct peer *peer)
{
    for (uint32_t slot = 0; slot < r->slots_count; slot++)
        if (r->slots[slot] != NULL && r->slots[slot] != peer && !r->slots[slot]->ended)
            return true;
    return false;
}

/* Told before the round, and no owner's word any more: another one, who is gone, may have told
 * others something newer since; also if this node owns it again, and has not told what it is now.
 */
static bool is_unproven(const struct replica *r, const struct entry *entry)
{
    return entry->number <= r->unproven && keeps(r, RULE_REPLICA_UNPROVEN) &&
           !r->events.owns(r->events.context, entry_id(entry), entry->epoch);
}

/* Likewise, or another one may be gone of whom only who asks knows. */
static bool is_in_doubt(const struct replica *r, const struct peer *peer, const struct entry *entry)
{
    return is_unproven(r, entry) ||
           (others_are_behind(r, peer) && keeps(r, RULE_REPLICA_UNPROVEN) &&
               !r->events.owns(r->events.context, entry_id(entry), entry->epoch));
}

static void send_version(struct replica *r, const struct peer *peer, const struct entry *entry)
{
    const struct telling *telling = entry->telling;
    struct replica_message message = {.kind = REPLICA_TELL,
        .round = peer->round,
        .id = entry_id(entry),
        .epoch = entry->epoch,
        .version = telling->version,
        .state = may_be_shown(entry) && !is_in_doubt(r, peer, entry) ? entry->state : REPLICA_NONE};
    if (message.state == REPLICA_VALUE)
        message.value = entry->value;
    r->metrics.told++;
    send_to_peer(r, peer, &message);
}

static void offer(struct replica *r, const struct peer *peer, const struct entry *entry)
{
    struct replica_message message = {.kind = REPLICA_OFFER,
        .round = peer->round,
        .id = entry_id(entry),
        .epoch = entry->epoch,
        .version = entry->telling->version};
    r->metrics.offered++;
    send_to_peer(r, peer, &message);
}

/* Part of what is pushed to this member, which may have an older word of somebody else's: it does
 * not know all until it has this. */
static void count_as_pushed(struct peer *peer, struct telling *telling)
{
    const uint64_t bit = bit_of(peer->slot);
    if ((*word_of(telling, PUSHED, peer->slot) & bit) != 0)
        return;
    *word_of(telling, PUSHED, peer->slot) |= bit;
    peer->in_flight++;
    peer->in_flight_bytes += telling->entry->value.size;
}

/* Each of those that are told now may still show what was told under an earlier grant. */
static void begin_grant(struct replica *r, struct telling *telling)
{
    telling->fresh = telling->reached = false;
    for (uint32_t slot = 0; slot < r->slots_count; slot++) {
        if (r->slots[slot] == NULL || !peer_is_told(r->slots[slot]))
            continue;
        telling->unaware += (*word_of(telling, UNAWARE, slot) & bit_of(slot)) == 0;
        *word_of(telling, UNAWARE, slot) |= bit_of(slot);
    }
}

/* To everybody, from the beginning. False: there is nobody. */
static bool tell(struct replica *r, struct entry *entry, struct version version)
{
    /* A member came meanwhile for which there is no bit, and no memory for one: it must not seem to
     * have the version, so nobody is told, until the next one. */
    if (attach(r, entry) != 0)
        return true;
    struct telling *telling = entry->telling;
    const bool again = !version_is_none(telling->version);
    telling->reached = telling->reached && version_equal(telling->version, version);
    telling->version = version;
    telling->offered = false;
    telling->sent_ms = r->now_ms;
    if (telling->fresh)
        begin_grant(r, telling);
    for (uint32_t slot = 0; slot < r->slots_count; slot++) {
        struct peer *peer = r->slots[slot];
        if (peer == NULL || !peer_is_told(peer))
            continue;
        if (again && peer->pushing && entry->number <= peer->push_until)
            count_as_pushed(peer, telling);
        telling->owed += (*word_of(telling, OWED, slot) & bit_of(slot)) == 0;
        *word_of(telling, OWED, slot) |= bit_of(slot);
        send_version(r, peer, entry);
    }
    if (!is_unproven(r, entry))
        entry_take_over(r, entry, NULL); /* the last one told */
    if (telling->owed > 0) {
        wait_for_it(r, telling);
        return true;
    }
    list_remove(&telling->timer);
    list_append(&r->unheld, &telling->timer);
    if (may_be_shown(entry))
        telling_free(r, entry);
    return false;
}

/* Some member owes less than before, when so many were unaware of the grant. When none is any more,
 * they are told what it is. */
static void settle(struct replica *r, struct telling *telling, uint32_t unaware)
{
    struct entry *entry = telling->entry;
    const struct version version = telling->version;
    const bool all = telling->owed == 0, shows = may_be_shown(entry);
    const bool reached = all && !telling->reached && !entry->given_up;
    if (all) {
        telling->reached = true;
        list_remove(&telling->timer);
        list_append(&r->unheld, &telling->timer);
    }
    if (shows && unaware > 0)
        tell(r, entry, version);
    else if (shows && all)
        telling_free(r, entry);
    if (reached)
        r->events.reached(r->events.context, entry_id(entry), version);
}

void telling_named(struct replica *r, struct entry *entry)
{
    struct telling *telling = entry->telling;
    if (telling != NULL) {
        telling->fresh = false;
        telling->unaware = 0;
        for (uint32_t i = 0; i < telling->words; i++)
            telling->bits[UNAWARE * telling->words + i] = 0;
    }
    tell(r, entry, entry->version);
}

bool spread_advance(struct replica *r, uint32_t *budget)
{
    struct link *link;
    while ((link = list_first(&r->spread)) != NULL) {
        if (*budget == 0)
            return false;
        --*budget;
        list_remove(link);
        telling_named(r, list_entry(link, struct entry, dead));
    }
    return true;
}

int replica_reserve(struct replica *r, struct slice id)
{
    const int status = telling_reserve(r);
    return status != 0 ? status : entry_reserve(r, id);
}

/* What is kept of a value: its block; without one, or above the limit, only that it is there. */
static struct value keep(const struct replica *r, const struct value *value)
{
    if (r->options.limit_bytes > 0 && r->memory + value->size > r->options.limit_bytes)
        return value_none();
    return value->block != NULL ? value_hold(*value) : value_copy(value_slice(*value));
}

int replica_written(struct replica *r, struct slice id, struct cluster_epoch epoch,
    struct version version, const struct value *value, enum replica_hold hold, uint64_t now_ms)
{
    r->now_ms = now_ms;
    if (!r->in)
        return 0;
    struct entry *entry = entry_find(r, id);
    if (entry == NULL && (telling_reserve(r) != 0 || (entry = entry_create(r, id, NULL)) == NULL))
        return BRAIN_ENOMEM;
    const bool ours = entry->teller == NULL && !version_is_none(entry->version);
    const struct version before = entry->version;
    const bool attached = entry->telling != NULL;
    if (attach(r, entry) != 0)
        return BRAIN_ENOMEM;
    if (!attached && ours)
        entry->telling->version = before;
    if ((!ours || cluster_epoch_compare(entry->epoch, epoch) != 0) && keeps(r, RULE_REPLICA_AWARE))
        entry->telling->fresh = true;
    const bool waits = ours && !version_equal(entry->telling->version, before);
    const bool held = hold == REPLICA_IS_HELD || (hold == REPLICA_AS_BEFORE && !waits);
    if (entry->teller != NULL)
        entry_take_over(r, entry, NULL);
    enum replica_state state = value != NULL ? REPLICA_VALUE : REPLICA_DELETED;
    const struct value kept = value != NULL ? keep(r, value) : value_none();
    if (value != NULL && kept.block == NULL)
        state = REPLICA_NONE;
    entry_set(r, entry, epoch, version, state, kept);
    const uint32_t others = peers_told(r);
    const bool at_once = held || !keeps(r, RULE_REPLICA_HELD);
    if (at_once)
        tell(r, entry, version);
    if (!keeps(r, RULE_REPLICA_WAIT))
        return 0;
    /* Who says its round before this is held is told it then, and is to be waited for. */
    return others == 0 && !at_once ? 1 : (int)others;
}

bool replica_held(struct replica *r, struct slice id, struct version version, uint64_t now_ms)
{
    r->now_ms = now_ms;
    struct entry *entry = r->in ? entry_find(r, id) : NULL;
    if (entry == NULL || entry->teller != NULL || entry->given_up || entry->telling == NULL)
        return false;
    const struct telling *telling = entry->telling;
    const struct version least =
        version_compare(version, entry->version) < 0 ? version : entry->version;
    if (version_compare(least, telling->version) <= 0 && !telling->fresh)
        return keeps(r, RULE_REPLICA_WAIT) && telling->owed > 0;
    return tell(r, entry, least) && keeps(r, RULE_REPLICA_WAIT);
}

void telling_acknowledged(struct replica *r, struct peer *peer, struct entry *entry,
    struct cluster_epoch epoch, struct version version)
{
    struct telling *telling = entry->teller == NULL ? entry->telling : NULL;
    if (telling == NULL || version_is_none(telling->version))
        return;
    const bool has = word_compare(epoch, version, entry->epoch, telling->version) >= 0;
    const bool owes = peer->slot / WORD_BITS < telling->words &&
                      (*word_of(telling, OWED, peer->slot) & bit_of(peer->slot)) != 0;
    if (!owes)
        return;
    const uint32_t unaware = telling->unaware;
    if (cluster_epoch_compare(epoch, entry->epoch) >= 0)
        now_aware(telling, peer);
    /* Under this grant it was told in this round: at least what was pushed. */
    if (has || cluster_epoch_compare(epoch, entry->epoch) >= 0)
        forgive(r, telling, peer, has);
    if (!has && telling->offered)
        send_version(r, peer, entry);
    settle(r, telling, unaware);
}

void tellings_forgive(struct replica *r, struct peer *peer, bool gone)
{
    struct link *link = r->waiting.next, *next;
    for (; link != &r->waiting; link = next) {
        struct telling *telling = list_entry(link, struct telling, timer);
        next = link->next;
        const uint32_t unaware = telling->unaware;
        forgive(r, telling, peer, gone);
        settle(r, telling, unaware);
    }
}

/* ---- all there is, to a new member ------------------------------------------------------------
 */

void push_stop(struct peer *peer)
{
    list_remove(&peer->cursor.link);
    peer->pushing = false;
}

void push_begin(struct replica *r, struct peer *peer)
{
    peer->pushed_all = false;
    tellings_forgive(r, peer, false);
    push_stop(peer);
    assert(peer->in_flight == 0);
    peer->pushing = true;
    peer->push_until = r->numbers;
    struct link *head = &r->told;
    peer->cursor.link = (struct link){head, head->next};
    head->next->previous = &peer->cursor.link;
    head->next = &peer->cursor.link;
}

static bool push(struct replica *r, struct peer *peer, struct entry *entry)
{
    const bool attached = entry->telling != NULL;
    if (attach(r, entry) != 0)
        return false;
    struct telling *telling = entry->telling;
    if (!attached)
        telling->version = entry->version;
    if (version_is_none(telling->version))
        return true;
    const uint64_t bit = bit_of(peer->slot);
    if (telling->owed == 0) {
        telling->sent_ms = r->now_ms;
        wait_for_it(r, telling);
    }
    telling->owed += (*word_of(telling, OWED, peer->slot) & bit) == 0;
    *word_of(telling, OWED, peer->slot) |= bit;
    count_as_pushed(peer, telling);
    send_version(r, peer, entry);
    return true;
}

static void step_over(struct peer *peer, struct link *link)
{
    struct link *cursor = &peer->cursor.link;
    list_remove(cursor);
    *cursor = (struct link){link, link->next};
    link->next->previous = cursor;
    link->next = cursor;
}

bool push_some(struct replica *r, struct peer *peer, uint32_t *budget)
{
    while (peer->pushing && *budget > 0) {
        struct link *link = peer->cursor.link.next;
        struct mark *mark = list_entry(link, struct mark, link);
        if (peer->in_flight >= PUSH_WINDOW || peer->in_flight_bytes >= PUSH_WINDOW_BYTES)
            return false;
        --*budget;
        struct entry *entry = NULL;
        if (link != &r->told && !mark->is_cursor)
            entry = list_entry(link, struct entry, mark.link);
        if (link == &r->told || (entry != NULL && entry->number > peer->push_until)) {
            push_stop(peer);
            peer->pushed_all = true;
            peer_end_if_all(r, peer);
            return false;
        }
        if (entry != NULL && !push(r, peer, entry))
            return false;
        step_over(peer, link);
    }
    return peer->pushing;
}

/* ---- time -------------------------------------------------------------------------------------
 */

static void offer_again(struct replica *r, struct telling *telling)
{
    telling->sent_ms = r->now_ms;
    telling->offered = true;
    wait_for_it(r, telling);
    for (uint32_t slot = 0; slot < r->slots_count && slot / WORD_BITS < telling->words; slot++)
        if (r->slots[slot] != NULL && (*word_of(telling, OWED, slot) & bit_of(slot)) != 0)
            offer(r, r->slots[slot], telling->entry);
}

uint64_t tellings_advance(struct replica *r, uint32_t *budget)
{
    struct link *link;
    while ((link = list_first(&r->waiting)) != NULL) {
        struct telling *telling = list_entry(link, struct telling, timer);
        const uint64_t due = telling->sent_ms + r->options.retry_ms;
        if (due > r->now_ms || !keeps(r, RULE_REPLICA_OFFER))
            return due > r->now_ms ? due - r->now_ms : r->options.retry_ms;
        if (*budget == 0)
            return 0;
        --*budget;
        offer_again(r, telling);
    }
    return UINT64_MAX;
}

void tellings_release(struct replica *r)
{
    struct link *link;
    list_take_all(&r->unheld, &r->waiting);
    while ((link = list_first(&r->unheld)) != NULL)
        telling_free(r, list_entry(link, struct telling, timer)->entry);
}
