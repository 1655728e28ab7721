/* wire: what members say to each other about replicated objects (docs/protocol-peers.md). */
#ifndef BRAIN_REPLICA_WIRE_H
#define BRAIN_REPLICA_WIRE_H

#include "brain/replica.h"

/* X(NAME, atom, elements after To): g settings, i id, e epoch (two), s state, v version (three),
 * x value */
#define REPLICA_MESSAGES(X)                                                                        \
    X(SYNC, "sync", "g")                                                                           \
    X(END, "end", "")                                                                              \
    X(TELL, "tell", "iesvx")                                                                       \
    X(OFFER, "offer", "iev")                                                                       \
    X(ACK, "ack", "iev")
#define REPLICA_MESSAGE_ENUM(name, atom, elements) REPLICA_##name,
enum replica_kind { REPLICA_MESSAGES(REPLICA_MESSAGE_ENUM) REPLICA_KINDS };
#undef REPLICA_MESSAGE_ENUM

/* What is known of a version. NONE: that it exists; the owner must be asked. */
enum replica_state { REPLICA_NONE, REPLICA_VALUE, REPLICA_DELETED, REPLICA_STATES };

enum { REPLICA_SETTINGS_LIMIT = 4096 };

struct replica_message {
    enum replica_kind kind;
    uint64_t round, from, to;
    struct slice settings, id;
    struct cluster_epoch epoch;
    struct version version;
    enum replica_state state;
    struct value value; /* read: points into the message, without a block */
};

/* Appends all but the value. */
void replica_message_write(struct buffer *out, const struct replica_message *message);
/* 0, BRAIN_EPROTO or BRAIN_ENOMEM. */
int replica_message_read(struct replica_message *message, struct slice bytes,
    const struct etf_marks *marks, struct etf_limits limits);

#endif
