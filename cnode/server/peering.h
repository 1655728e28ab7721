/* peering: the talk of links between members, without the links: who has said hello, which link is
 * spoken on, what waits until there is one.
 *
 * Pure: no descriptor, no clock, logs nothing; server/peers.c gives it links, time and a voice.
 *
 * Both ends of a pair may dial at the same time, and now and then make two links. Each end speaks
 * on one of them for as long as that lives, so what it says keeps its order, and listens on both.
 * When a peer begins to speak on another link, the one before has ended on its side, and what still
 * lies there unread must not come after the new: it is closed unread. */
#ifndef BRAIN_SERVER_PEERING_H
#define BRAIN_SERVER_PEERING_H

#include "peers.h"

enum {
    PEERING_QUEUE_BYTES = 4 << 20, /* for one member without a link; or one message of any size */
    PEERING_QUEUE_MS = 2000,       /* what waited longer is dropped */
    PEERING_REFUSED_MS = 10000,    /* after a hello that is not ours */
    PEERING_PAUSE_MS = 1000,       /* after a link that ended before the peer's hello, or for a
                                      malformed message */
    PEERING_FORGET_MS = 60000,     /* a member without a link, to whom nothing is said */
    PEERING_SAY_MS = 60000, /* between two refusals of one member that are told; of strangers */
    PEERING_LINKS = 8,      /* with one member at once: two when both dialled */
    PEERING_MEMBERS = 4096,
};

/* What is to be known outside. Refusals are not told each time. */
enum peering_news {
    PEERING_LINKED,   /* it said hello */
    PEERING_UNLINKED, /* the last link on which it had said hello ended */
    PEERING_REFUSED,  /* its link is being closed, and why */
    PEERING_STRANGER, /* it sends to PEERS_NAME, but no hello: ignored, its connection stays */
};

struct peering_events {
    void *context;
    /* As node_link, node_disconnect and node_mark_link. */
    connection_id (*find)(void *context, struct slice name, struct peers_place place);
    void (*end)(void *context, connection_id id, const char *why);
    void (*mark)(void *context, connection_id id);
    /* To PEERS_NAME on this link. 0, or why it was dropped: where that ends the link,
     * peering_ended comes later, not from within. */
    int (*send)(void *context, connection_id id, uint64_t order, struct slice head,
        const struct value *tail);
    int (*send_hello)(void *context, connection_id id);
    void (*news)(void *context, enum peering_news news, struct slice name, const char *why,
        struct slice bad);
    /* As peers_events. */
    int (*read_hello)(void *context, struct slice payload, const char **why);
    int (*message)(void *context, struct slice from, const struct value *message,
        const struct etf_marks *marks);
    void (*down)(void *context, struct slice name);
};

struct peering_peer;

struct peering {
    struct peers_metrics metrics;
    uint64_t queued_bytes;
    /* private */
    struct peering_events events;
    struct peering_peer *peers;
    size_t count;
    uint64_t stranger_say_ms;
};

void peering_init(struct peering *peering, struct peering_events events);
void peering_release(struct peering *peering);

/* As peers_send. */
void peering_send(struct peering *peering, struct slice name, struct peers_place place,
    uint64_t order, struct slice head, const struct value *tail, uint64_t now_ms);
/* A link with a node (not an ei client) is up. */
void peering_up(struct peering *peering, connection_id id, struct slice name, uint64_t now_ms);
/* A message to PEERS_NAME. */
void peering_message(struct peering *peering, connection_id id, struct slice name,
    const struct channel_message *message, uint64_t now_ms);
/* The same, of who cannot be a member. */
void peering_stranger(struct peering *peering, struct slice name, const char *why,
    struct slice payload, uint64_t now_ms);
/* A link ended. May be told of any. */
void peering_ended(struct peering *peering, connection_id id, struct slice name, uint64_t now_ms);
/* To be called several times a second: drops what waited too long, looks for links again, forgets.
 */
void peering_advance(struct peering *peering, uint64_t now_ms);

#endif
