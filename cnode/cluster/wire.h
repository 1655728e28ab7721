/* wire: the messages between members as structs, and as terms (docs/protocol-peers.md). */
#ifndef BRAIN_CLUSTER_WIRE_H
#define BRAIN_CLUSTER_WIRE_H

#include "brain/cluster.h"
#include "keyed.h"

/* X(NAME, atom, elements after To, bound to a view). The elements, one letter each:
 *   k key   i id   n number   m incarnation   e epoch (two)   f second epoch (two)
 *   v version (three)   h second version (three)   s state   o operation   a ack   t status
 *   b complete: true or false   N second number
 *   F first   T through   O owned   C copies of a report, or offered   L copies of a grant
 *   A answers to offers   x value */
#define MESSAGES(X)                                                                                \
    X(REPORT, "report", "FTOC", true)                                                              \
    X(REPORT_ACK, "report_ack", "T", true)                                                         \
    X(CLAIM, "claim", "knNmef", true)                                                              \
    X(GRANT, "grant", "kneLv", true)                                                               \
    X(OWNED, "owned", "knme", true)                                                                \
    X(RELEASE, "release", "kesvb", true)                                                           \
    X(CONFIRM, "confirm", "ke", true)                                                              \
    X(CONFIRMED, "confirmed", "ke", true)                                                          \
    X(NOT_OWNER, "not_owner", "kesvb", true)                                                       \
    X(FETCH, "fetch", "ke", true)                                                                  \
    X(FETCHED, "fetched", "kesvx", true)                                                           \
    X(BACKUP, "backup", "isvx", true)                                                              \
    X(BACKUP_ACK, "backup_ack", "kvh", true)                                                       \
    X(OFFER, "offer", "C", true)                                                                   \
    X(OFFER_ACK, "offer_ack", "A", true)                                                           \
    X(DISCARD, "discard", "kv", true)                                                              \
    X(HELD, "held", "iven", true)                                                                  \
    X(KEEP, "keep", "kn", true)                                                                    \
    X(NUDGE, "nudge", "ie", true)                                                                  \
    X(WHERE, "where", "kn", true)                                                                  \
    X(LOCATED, "located", "knme", true)                                                            \
    X(FORWARD, "forward", "ienoax", false)                                                         \
    X(REFUSE, "refuse", "kne", false)                                                              \
    X(REPLY, "reply", "kntx", false)                                                               \
    X(PING, "ping", "n", false)                                                                    \
    X(ROOM, "room", "n", true)
#define MESSAGE_ENUM(name, atom, elements, bound) MESSAGE_##name,
enum message_kind { MESSAGES(MESSAGE_ENUM) MESSAGE_COUNT };
#undef MESSAGE_ENUM

enum message_state { STATE_NONE, STATE_VALUE, STATE_DELETED, STATE_COUNT };

enum { OWNED_RECORD = 32, HELD_RECORD = 40, LISTED_RECORD = 32, ANSWER_RECORD = 64 };

/* How many records a message may have: all are handled in one turn of the loop. */
enum {
    OFFER_RECORDS = 512, /* 20 KB: less than half a millisecond of the holder's; answers as many */
    /* A report ends with a slot, and a member that owned 200 million ids would have 50,000 of each.
     */
    REPORT_RECORDS = 65536,
};

/* The next epoch of an id is above every one that is known of it, so one that leaves no room above
 * it is the last for ever. Views are numbered by time (managers.h), and this one is of 2059: a
 * message with a later one is malformed, and none is granted. */
static const uint64_t VIEW_LIMIT = UINT64_MAX - (UINT64_C(1) << 40);

struct message {
    enum message_kind kind;
    uint64_t view, from, to;
    struct key key;
    struct slice id;
    uint64_t
        number; /* a claim's nonce, a request's number, a time of the sender's, ms of silence */
    uint64_t second_number; /* the nonce of a claim's first attempt */
    uint64_t member;
    struct cluster_epoch epoch, second_epoch;
    struct version version, second_version;
    enum message_state state;
    bool complete;
    enum cluster_kind operation;
    uint8_t ack;
    int status;
    uint32_t first, through;
    struct slice owned, copies; /* records */
    struct value value;         /* read: points into the message, without a block */
};

bool message_is_bound(enum message_kind kind); /* to the view of the sender (R3) */
/* Has it a value behind its head? */
bool message_has_value(const struct message *message);

/* Appends all but the value. */
void message_write(struct buffer *out, const struct message *message);
/* Reads one term. 0, or BRAIN_EPROTO; BRAIN_ENOMEM. Epochs are valid, where they are not optional
 * (`claim`, `located`); records are whole; state, operation and status fit the value. */
int message_read(struct message *message, struct slice bytes, const struct etf_marks *marks,
    struct etf_limits limits);

void hello_write(struct buffer *out, uint64_t seed);
int hello_read(struct slice payload, uint64_t seed, struct etf_limits limits, const char **why);

void owned_record_write(struct buffer *out, struct key key, struct cluster_epoch epoch);
void held_record_write(struct buffer *out, struct key key, struct version version);
void listed_record_write(struct buffer *out, uint64_t holder, struct version version);
void answer_record_write(
    struct buffer *out, struct key key, struct version asked, struct version held);
void answer_record_read(
    const uint8_t *bytes, struct key *key, struct version *asked, struct version *held);
void owned_record_read(const uint8_t *bytes, struct key *key, struct cluster_epoch *epoch);
void held_record_read(const uint8_t *bytes, struct key *key, struct version *version);
void listed_record_read(const uint8_t *bytes, uint64_t *holder, struct version *version);

#endif
