#include "peering.h"

#include <assert.h>
#include <string.h>

enum { ADDRESS_LIMIT = 256 };

struct peering_link {
    connection_id id;
    bool said, heard; /* hello */
    bool ending;      /* closed by us: whatever comes of it is not looked at */
};

/* A message that waits for a link. */
struct queued {
    struct queued *next;
    uint64_t at_ms, order;
    struct value tail; /* its block is held, or made */
    bool has_tail;
    size_t head_size;
    uint8_t head[];
};

struct peering_peer {
    struct peering_peer *next;
    struct peering_link links[PEERING_LINKS];
    unsigned links_count;
    connection_id speaking;  /* the link that we send on; 0: none */
    connection_id listening; /* the link on which its last message came */
    struct queued *first, **last;
    uint64_t queued_bytes;
    uint64_t refused_until_ms, used_ms;
    uint64_t say_ms; /* no refusal is told before */
    char address[ADDRESS_LIMIT];
    uint16_t port;
    size_t name_size;
    uint8_t name[];
};

static struct slice name_of(const struct peering_peer *peer)
{
    return slice_of(peer->name, peer->name_size);
}

/* ---- peers and their links --------------------------------------------------------------------
 */

/* A cluster has some tens of members: a list, whoever was asked for last in front. */
static struct peering_peer *peer_find(struct peering *peering, struct slice name)
{
    for (struct peering_peer **at = &peering->peers; *at != NULL; at = &(*at)->next) {
        struct peering_peer *peer = *at;
        if (!slice_equal(name_of(peer), name))
            continue;
        *at = peer->next;
        peer->next = peering->peers;
        return peering->peers = peer;
    }
    return NULL;
}

static void peer_free(struct peering *peering, struct peering_peer *peer);

/* Anybody with the cookie may say hello under any name, so there may be more than members: those
 * that are neither linked nor spoken to make room for one that is. The last of the list are those
 * that were not asked for for the longest time. */
static void peers_spare(struct peering *peering)
{
    struct peering_peer **spare = NULL;
    for (struct peering_peer **at = &peering->peers; *at != NULL; at = &(*at)->next)
        if ((*at)->links_count == 0 && (*at)->first == NULL)
            spare = at;
    if (spare == NULL)
        return;
    struct peering_peer *peer = *spare;
    *spare = peer->next;
    peer_free(peering, peer);
}

static struct peering_peer *peer_make(struct peering *peering, struct slice name, uint64_t now_ms)
{
    struct peering_peer *peer = peer_find(peering, name);
    if (peer == NULL) {
        if (peering->count >= PEERING_MEMBERS)
            peers_spare(peering);
        if (peering->count >= PEERING_MEMBERS || name.size > NODE_NAME_LIMIT)
            return NULL;
        peer = heap_allocate_zeroed(sizeof(*peer) + name.size);
        if (peer == NULL)
            return NULL;
        memcpy(peer->name, name.data, name.size);
        peer->name_size = name.size;
        peer->last = &peer->first;
        peer->next = peering->peers;
        peering->peers = peer;
        peering->count++;
    }
    peer->used_ms = now_ms;
    return peer;
}

static struct peering_link *link_find(struct peering_peer *peer, connection_id id)
{
    for (unsigned i = 0; peer != NULL && i < peer->links_count; i++)
        if (peer->links[i].id == id)
            return &peer->links[i];
    return NULL;
}

/* NULL: the peer has too many already. */
static struct peering_link *link_make(struct peering_peer *peer, connection_id id)
{
    struct peering_link *link = link_find(peer, id);
    if (link != NULL || peer->links_count == PEERING_LINKS)
        return link;
    link = &peer->links[peer->links_count++];
    *link = (struct peering_link){.id = id};
    return link;
}

static void link_end(
    struct peering *peering, struct peering_peer *peer, struct peering_link *link, const char *why)
{
    link->ending = true;
    if (peer->speaking == link->id)
        peer->speaking = 0;
    peering->events.end(peering->events.context, link->id, why);
}

static void refuse(struct peering *peering, struct peering_peer *peer, struct peering_link *link,
    const char *why, struct slice bad, uint64_t now_ms, uint64_t pause_ms)
{
    peering->metrics.refused++;
    peer->refused_until_ms = now_ms + pause_ms;
    if (now_ms >= peer->say_ms) {
        peer->say_ms = now_ms + PEERING_SAY_MS;
        peering->events.news(peering->events.context, PEERING_REFUSED, name_of(peer), why, bad);
    }
    link_end(peering, peer, link, why);
}

/* ---- the queue --------------------------------------------------------------------------------
 */

static uint64_t weight(const struct queued *queued)
{
    return sizeof(*queued) + queued->head_size + queued->tail.size;
}

static struct queued *queue_take(struct peering *peering, struct peering_peer *peer)
{
    struct queued *queued = peer->first;
    if (queued == NULL)
        return NULL;
    peer->first = queued->next;
    if (peer->first == NULL)
        peer->last = &peer->first;
    peer->queued_bytes -= weight(queued);
    peering->queued_bytes -= weight(queued);
    return queued;
}

static void queued_free(struct queued *queued)
{
    value_drop(&queued->tail);
    heap_release(queued);
}

static void queue_put(struct peering *peering, struct peering_peer *peer, uint64_t order,
    struct slice head, const struct value *tail, uint64_t now_ms)
{
    const size_t tail_size = tail != NULL ? tail->size : 0;
    const uint64_t size = sizeof(struct queued) + head.size + tail_size;
    struct queued *queued = NULL;
    if (peer->first == NULL || peer->queued_bytes + size <= PEERING_QUEUE_BYTES)
        queued = heap_allocate(sizeof(*queued) + head.size);
    if (queued == NULL) {
        peering->metrics.dropped++;
        return;
    }
    *queued = (struct queued){
        .at_ms = now_ms, .order = order, .has_tail = tail != NULL, .head_size = head.size};
    memcpy(queued->head, head.data, head.size);
    if (tail != NULL)
        queued->tail = tail->block != NULL ? value_hold(*tail) : value_copy(value_slice(*tail));
    if (tail != NULL && queued->tail.block == NULL) {
        heap_release(queued);
        peering->metrics.dropped++;
        return;
    }
    *peer->last = queued;
    peer->last = &queued->next;
    peer->queued_bytes += size;
    peering->queued_bytes += size;
}

/* ---- speaking ---------------------------------------------------------------------------------
 */

static bool say_hello(struct peering *peering, struct peering_link *link)
{
    if (!link->said) {
        peering->events.mark(peering->events.context, link->id);
        link->said = peering->events.send_hello(peering->events.context, link->id) == 0;
    }
    return link->said;
}

static void say(struct peering *peering, struct peering_link *link, uint64_t order,
    struct slice head, const struct value *tail)
{
    if (say_hello(peering, link) &&
        peering->events.send(peering->events.context, link->id, order, head, tail) == 0)
        peering->metrics.sent++;
    else
        peering->metrics.dropped++;
}

static void speak_on(struct peering *peering, struct peering_peer *peer, struct peering_link *link)
{
    struct queued *queued;
    peer->speaking = link->id;
    while ((queued = queue_take(peering, peer)) != NULL) {
        say(peering, link, queued->order, slice_of(queued->head, queued->head_size),
            queued->has_tail ? &queued->tail : NULL);
        queued_free(queued);
    }
}

/* The link to speak on: the one so far, else one on which the peer said hello, else any, else NULL:
 * one is being dialled. */
static struct peering_link *voice(struct peering *peering, struct peering_peer *peer)
{
    struct peering_link *link = link_find(peer, peer->speaking);
    if (link != NULL)
        return link;
    for (unsigned i = 0; i < peer->links_count; i++)
        if (peer->links[i].heard && !peer->links[i].ending)
            link = &peer->links[i];
    if (link == NULL) {
        connection_id id = peering->events.find(peering->events.context, name_of(peer),
            (struct peers_place){peer->address, peer->port});
        if (id != 0)
            link = link_make(peer, id);
    }
    if (link == NULL || link->ending)
        return NULL;
    speak_on(peering, peer, link);
    return link;
}

void peering_send(struct peering *peering, struct slice name, struct peers_place place,
    uint64_t order, struct slice head, const struct value *tail, uint64_t now_ms)
{
    struct peering_peer *peer = peer_make(peering, name, now_ms);
    if (peer == NULL || now_ms < peer->refused_until_ms) {
        peering->metrics.dropped++;
        return;
    }
    if (peer->speaking == 0) {
        const char *address = place.address != NULL ? place.address : "";
        const size_t size = strlen(address);
        if (size < sizeof(peer->address))
            memcpy(peer->address, address, size + 1);
        peer->port = place.port;
    }
    struct peering_link *link = voice(peering, peer);
    if (link != NULL)
        say(peering, link, order, head, tail);
    else
        queue_put(peering, peer, order, head, tail, now_ms);
}

void peering_up(struct peering *peering, connection_id id, struct slice name, uint64_t now_ms)
{
    struct peering_peer *peer = peer_find(peering, name);
    if (peer == NULL || peer->first == NULL || now_ms < peer->refused_until_ms)
        return; /* nothing to say: a client, or a member that may say hello */
    struct peering_link *link = peer->speaking == 0 ? link_make(peer, id) : NULL;
    if (link != NULL)
        speak_on(peering, peer, link);
}

/* ---- listening --------------------------------------------------------------------------------
 */

/* What begins as one, in whatever version of the protocol. */
static bool is_hello(struct slice payload)
{
    struct etf_reader reader;
    uint32_t arity;
    etf_reader_init(&reader, payload, (struct etf_limits){4, 16});
    return etf_read_tuple(&reader, &arity) == 0 && etf_take_atom(&reader, "hello");
}

static void hear_hello(
    struct peering *peering, connection_id id, struct slice name, uint64_t now_ms)
{
    struct peering_peer *peer = peer_make(peering, name, now_ms);
    struct peering_link *link = peer != NULL ? link_make(peer, id) : NULL;
    if (link == NULL) {
        peering->metrics.refused++;
        peering->events.end(peering->events.context, id, "no memory, or too many links");
        return;
    }
    link->heard = true;
    peer->refused_until_ms = 0;
    peering->metrics.links++;
    peering->events.mark(peering->events.context, id);
    peering->events.news(
        peering->events.context, PEERING_LINKED, name_of(peer), "", slice_of(NULL, 0));
    say_hello(peering, link);
    if (peer->speaking == 0)
        speak_on(peering, peer, link);
}

void peering_stranger(struct peering *peering, struct slice name, const char *why,
    struct slice payload, uint64_t now_ms)
{
    peering->metrics.refused++;
    if (now_ms < peering->stranger_say_ms)
        return;
    peering->stranger_say_ms = now_ms + PEERING_SAY_MS;
    peering->events.news(peering->events.context, PEERING_STRANGER, name, why, payload);
}

/* The first message of a link. */
static void first_message(struct peering *peering, connection_id id, struct slice name,
    const struct channel_message *message, uint64_t now_ms)
{
    struct peering_peer *peer = peer_find(peering, name);
    struct peering_link *link = link_find(peer, id);
    const char *why = "the first message of a member is malformed";
    int status = message->payload_error;
    if (status == 0)
        status = peering->events.read_hello(peering->events.context, message->payload, &why);
    if (status == 0) {
        hear_hello(peering, id, name, now_ms);
        return;
    }
    if (link == NULL && !is_hello(message->payload)) {
        peering_stranger(peering, name, why, message->payload, now_ms);
        return;
    }
    if (link == NULL && (peer = peer_make(peering, name, now_ms)) != NULL)
        link = link_make(peer, id);
    if (link == NULL) {
        peering->metrics.refused++;
        peering->events.end(peering->events.context, id, why);
        return;
    }
    refuse(peering, peer, link, why, message->payload, now_ms, PEERING_REFUSED_MS);
}

void peering_message(struct peering *peering, connection_id id, struct slice name,
    const struct channel_message *message, uint64_t now_ms)
{
    struct peering_peer *peer = peer_find(peering, name);
    struct peering_link *link = link_find(peer, id);
    if (link != NULL && link->ending)
        return;
    if (link == NULL || !link->heard) {
        first_message(peering, id, name, message, now_ms);
        return;
    }
    if (peer->listening != id) {
        struct peering_link *before = link_find(peer, peer->listening);
        if (before != NULL && !before->ending)
            link_end(peering, peer, before, "the member speaks on another link");
        peer->listening = id;
    }
    peering->metrics.received++;
    peer->used_ms = now_ms;
    const struct value whole = {message->block, message->payload.data, message->payload.size};
    int status = message->payload_error;
    if (status == 0)
        status =
            peering->events.message(peering->events.context, name_of(peer), &whole, message->marks);
    /* What it called may have spoken, and so moved things. */
    peer = peer_find(peering, name);
    link = link_find(peer, id);
    if (status != 0 && link != NULL && !link->ending)
        refuse(
            peering, peer, link, "a malformed message", message->payload, now_ms, PEERING_PAUSE_MS);
}

void peering_ended(struct peering *peering, connection_id id, struct slice name, uint64_t now_ms)
{
    struct peering_peer *peer = peer_find(peering, name);
    struct peering_link *link = link_find(peer, id);
    if (link == NULL)
        return;
    const struct peering_link ended = *link;
    *link = peer->links[--peer->links_count];
    if (peer->speaking == id)
        peer->speaking = 0;
    if (peer->listening == id)
        peer->listening = 0;
    if (ended.heard)
        peering->metrics.links--;
    peer->used_ms = now_ms;
    bool still_linked = false;
    for (unsigned i = 0; i < peer->links_count; i++)
        still_linked = still_linked || peer->links[i].heard;
    /* Perhaps it closes each link because it cannot bear our hello. */
    if (ended.said && !ended.heard && !ended.ending && !still_linked)
        peer->refused_until_ms = now_ms + PEERING_PAUSE_MS;
    if (ended.heard && !still_linked)
        peering->events.news(
            peering->events.context, PEERING_UNLINKED, name, "", slice_of(NULL, 0));
    if (ended.said || ended.heard)
        peering->events.down(peering->events.context, name);
}

/* ---- time -------------------------------------------------------------------------------------
 */

static void drop_old(struct peering *peering, struct peering_peer *peer, uint64_t now_ms)
{
    while (peer->first != NULL && now_ms - peer->first->at_ms >= PEERING_QUEUE_MS) {
        queued_free(queue_take(peering, peer));
        peering->metrics.dropped++;
    }
}

static void peer_free(struct peering *peering, struct peering_peer *peer)
{
    struct queued *queued;
    while ((queued = queue_take(peering, peer)) != NULL)
        queued_free(queued);
    peering->count--;
    heap_release(peer);
}

void peering_advance(struct peering *peering, uint64_t now_ms)
{
    for (struct peering_peer **at = &peering->peers; *at != NULL;) {
        struct peering_peer *peer = *at;
        drop_old(peering, peer, now_ms);
        if (peer->first != NULL && now_ms >= peer->refused_until_ms)
            voice(peering, peer);
        if (peer->links_count != 0 || peer->first != NULL || now_ms < peer->refused_until_ms ||
            now_ms - peer->used_ms < PEERING_FORGET_MS) {
            at = &peer->next;
            continue;
        }
        *at = peer->next;
        peer_free(peering, peer);
    }
}

void peering_init(struct peering *peering, struct peering_events events)
{
    *peering = (struct peering){.events = events};
}

void peering_release(struct peering *peering)
{
    while (peering->peers != NULL) {
        struct peering_peer *peer = peering->peers;
        peering->peers = peer->next;
        peer_free(peering, peer);
    }
    assert(peering->count == 0 && peering->queued_bytes == 0);
}
