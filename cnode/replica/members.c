/* The other members. Each is told, until it says that it has told all to this table's round; and
 * each is told all once it has said its own round. */
#include <assert.h>

#include "inside.h"

void send_to_peer(struct replica *r, const struct peer *peer, struct replica_message *message)
{
    message->from = r->incarnation;
    message->to = peer->incarnation;
    buffer_clear(&r->out);
    replica_message_write(&r->out, message);
    if (r->out.failed) { /* as if it were lost on its way */
        r->metrics.messages_dropped++;
        return;
    }
    const struct cluster_member member = {slice_of(peer->name, peer->name_size), peer->incarnation};
    r->events.send(r->events.context, &member, message->id.size > 0 ? id_order(r, message->id) : 1,
        buffer_slice(&r->out), message->state == REPLICA_VALUE ? &message->value : NULL);
}

static struct peer *peer_of(struct link *link)
{
    return list_entry(link, struct peer, link);
}

struct peer *peer_find(const struct replica *r, uint64_t incarnation)
{
    for (struct link *link = r->peers.next; link != &r->peers; link = link->next)
        if (peer_of(link)->present && peer_of(link)->incarnation == incarnation)
            return peer_of(link);
    return NULL;
}

bool peer_is_told(const struct peer *peer)
{
    return peer->present && peer->agrees;
}

uint32_t peers_told(const struct replica *r)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < r->slots_count; slot++)
        count += r->slots[slot] != NULL && peer_is_told(r->slots[slot]);
    return count;
}

void look_whether_readable(struct replica *r)
{
    uint32_t behind = 0;
    for (uint32_t slot = 0; slot < r->slots_count; slot++)
        behind +=
            r->slots[slot] != NULL &&
            !(r->slots[slot]->agrees && (r->slots[slot]->ended || !keeps(r, RULE_REPLICA_END)));
    r->metrics.members_behind = behind;
    r->readable = r->in && !r->incomplete && !r->overflowed && behind == 0;
    r->metrics.readable = r->readable;
}

/* ---- they come and go -------------------------------------------------------------------------
 */

void peer_unused(struct replica *r, struct peer *peer)
{
    (void)r;
    if (peer->present || peer->entries > 0)
        return;
    list_remove(&peer->link);
    heap_release(peer);
}

static bool find_slot(struct replica *r, uint32_t *slot)
{
    for (*slot = 0; *slot < r->slots_count; ++*slot)
        if (r->slots[*slot] == NULL)
            return true;
    struct peer **slots = heap_resize(r->slots, (r->slots_count + 1) * sizeof(struct peer *));
    if (slots == NULL)
        return false;
    r->slots = slots;
    r->slots[r->slots_count++] = NULL;
    return true;
}

static bool peer_create(struct replica *r, const struct cluster_member *member)
{
    uint32_t slot;
    struct peer *peer = heap_allocate_zeroed(sizeof(*peer) + member->name.size);
    if (peer == NULL || !find_slot(r, &slot)) {
        heap_release(peer);
        return false;
    }
    peer->incarnation = member->incarnation;
    peer->present = true;
    peer->slot = slot;
    peer->cursor.is_cursor = true;
    list_init(&peer->cursor.link);
    peer->name_size = (uint16_t)member->name.size;
    memcpy(peer->name, member->name.data, member->name.size);
    list_append(&r->peers, &peer->link);
    r->slots[slot] = peer;
    return true;
}

static void peer_leave(struct replica *r, struct peer *peer)
{
    peer->present = peer->pushed_all = false;
    tellings_forgive(r, peer, true);
    push_stop(peer);
    r->slots[peer->slot] = NULL;
    peer_unused(r, peer);
}

static bool is_listed(const struct cluster_view *view, uint64_t incarnation)
{
    for (size_t i = 0; i < view->count; i++)
        if (view->members[i].incarnation == incarnation)
            return true;
    return false;
}

/* A member that had not told all: what it told others, and nobody else tells, is not known here. */
static bool take_leave(struct replica *r, const struct cluster_view *view)
{
    bool anew = false;
    for (uint32_t slot = 0; slot < r->slots_count; slot++) {
        struct peer *peer = r->slots[slot];
        if (peer == NULL || is_listed(view, peer->incarnation))
            continue;
        anew |= !peer->ended && keeps(r, RULE_REPLICA_ROUND);
        peer_leave(r, peer);
        list_take_all(&r->spread, &r->given_up);
    }
    return anew;
}

static bool welcome(struct replica *r, const struct cluster_view *view)
{
    for (size_t i = 0; i < view->count; i++) {
        const struct cluster_member *member = &view->members[i];
        if (member->incarnation != r->incarnation && peer_find(r, member->incarnation) == NULL &&
            !peer_create(r, member))
            return false;
    }
    return true;
}

int replica_view(
    struct replica *r, const struct cluster_view *view, uint64_t incarnation, uint64_t now_ms)
{
    r->now_ms = now_ms;
    bool anew = false;
    if (!r->in || r->incarnation != incarnation) {
        replica_lost(r);
        r->incarnation = incarnation;
        r->in = true;
        r->told_era = ++r->eras;
        list_take_all(&r->stale, &r->told);
        anew = true;
    }
    anew |= take_leave(r, view);
    r->incomplete = !welcome(r, view);
    if (anew)
        round_begin(r);
    look_whether_readable(r);
    return r->incomplete ? BRAIN_ENOMEM : 0;
}

void replica_lost(struct replica *r)
{
    static const struct cluster_view nobody;
    r->in = r->overflowed = false; /* first: nothing is said any more */
    tellings_release(r);
    take_leave(r, &nobody);
    look_whether_readable(r);
}

void peers_release(struct replica *r)
{
    struct link *link;
    while ((link = list_first(&r->peers)) != NULL) {
        struct peer *peer = peer_of(link);
        assert(peer->entries == 0);
        list_remove(link);
        heap_release(peer);
    }
    heap_release(r->slots);
    r->slots = NULL;
    r->slots_count = 0;
}

/* ---- rounds ------------------------------------------------------------------------------------
 */

static void ask(struct replica *r, struct peer *peer)
{
    struct replica_message sync = {
        .kind = REPLICA_SYNC, .round = r->round, .settings = buffer_slice(&r->settings)};
    peer->asked_ms = r->now_ms;
    send_to_peer(r, peer, &sync);
}

void round_begin(struct replica *r)
{
    r->heard_era = ++r->eras;
    list_take_all(&r->stale, &r->heard);
    r->unproven = r->numbers;
    r->round++;
    r->metrics.rounds++;
    r->overflowed = false;
    for (uint32_t slot = 0; slot < r->slots_count; slot++) {
        struct peer *peer = r->slots[slot];
        if (peer == NULL)
            continue;
        peer->ended = false;
        ask(r, peer);
    }
    look_whether_readable(r);
}

void overflow(struct replica *r)
{
    r->overflowed = true;
    r->overflowed_ms = r->now_ms;
    r->heard_era = ++r->eras;
    list_take_all(&r->stale, &r->heard);
    r->metrics.overflows++;
    look_whether_readable(r);
    if (r->events.overflowed)
        r->events.overflowed(r->events.context);
}

void peer_end_if_all(struct replica *r, struct peer *peer)
{
    if (!r->in || !peer->present || !peer->pushed_all || peer->in_flight > 0)
        return;
    struct replica_message end = {.kind = REPLICA_END, .round = peer->round};
    send_to_peer(r, peer, &end);
}

void peer_synced(struct replica *r, struct peer *peer, const struct replica_message *message)
{
    if (!slice_equal(message->settings, buffer_slice(&r->settings)) &&
        keeps(r, RULE_REPLICA_AGREE)) {
        if (!peer->complains && r->events.differs)
            r->events.differs(
                r->events.context, slice_of(peer->name, peer->name_size), message->settings);
        peer->complains = true;
        return;
    }
    if (message->round <= peer->round) {
        if (message->round == peer->round)
            peer_end_if_all(r, peer); /* it may not have heard it */
        return;
    }
    peer->agrees = true;
    peer->round = message->round;
    push_begin(r, peer);
    look_whether_readable(r);
}

void peer_ended(struct replica *r, struct peer *peer)
{
    peer->ended = true;
    look_whether_readable(r);
}

uint64_t peers_advance(struct replica *r, uint32_t *budget)
{
    uint64_t wait_ms = UINT64_MAX;
    for (uint32_t slot = 0; slot < r->slots_count; slot++) {
        struct peer *peer = r->slots[slot];
        if (peer == NULL)
            continue;
        if (!peer->ended && r->now_ms - peer->asked_ms >= r->options.retry_ms)
            ask(r, peer);
        if (!peer->ended && r->options.retry_ms < wait_ms)
            wait_ms = r->options.retry_ms;
        if (push_some(r, peer, budget))
            wait_ms = 0;
    }
    return wait_ms;
}
