/* command: a request as a struct, and the answer to it.
 *
 * Parses the plain tuples and the calls of docs/protocol.md, and writes answers. Pure: knows terms,
 * not connections and not objects. */
#ifndef BRAIN_COMMAND_H
#define BRAIN_COMMAND_H

#include "brain/etf.h"
#include "brain/metrics.h"

enum command_operation {
    COMMAND_GET,
    COMMAND_SET,
    COMMAND_PERSIST,
    COMMAND_DELETE,
    COMMAND_INFO,
    COMMAND_OWNER,
    COMMAND_SHUTDOWN,
};

/* How the asker wants to hear of it. */
enum reply_form {
    REPLY_NONE,     /* a plain message, a cast: nothing is ever sent */
    REPLY_UNTAGGED, /* plain g: {ok, V} or ko; errors are not sent (the asker's timeout is the
                       error) */
    REPLY_TAGGED,   /* {Tag, Answer} */
    REPLY_CALL,     /* {Tag, Answer} of gen_server:call; by alias when the tag carries one */
};

/* Where an answer goes. Terms are raw, borrowed from the message. */
struct reply_to {
    enum reply_form form;
    struct slice pid;
    struct slice tag;   /* REPLY_TAGGED and REPLY_CALL */
    struct slice alias; /* the reference of [alias|Ref] or [[alias|Ref]|_]; else empty */
};

/* set, delete: when the answer is due, as the asker wants it. */
enum command_ack {
    COMMAND_ACK_DEFAULT, /* as the node is configured */
    COMMAND_ACK_MEMORY,
    COMMAND_ACK_JOURNAL,
    COMMAND_ACK_BACKUP,
    COMMAND_ACK_WAREHOUSE,
};

struct command {
    enum command_operation operation;
    bool consistent; /* get: Consistency; true unless said otherwise */
    enum command_ack ack;
    struct slice id;    /* its text: in the message, or in id_text */
    struct slice value; /* set: the raw term, borrowed from the message */
    struct reply_to reply;
    uint8_t id_text[ID_LIMIT]; /* private */
};

/* Parses one message: one term, without version byte. `marks` as in etf_reader, NULL when the
 * payload is not checked yet; `payload_error`: not 0 when the payload is known to be unacceptable
 * as a whole (it is then only read to find whom to refuse, and is the error returned). Allocates
 * nothing itself; terms nested deep may cost etf_skip an allocation.
 *
 * Accepted are the plain tuples and, as '$gen_call' or (never answered) '$gen_cast':
 *     {get, Id} {set, Id, Value} {persist, Id} {delete, Id}, each also with Opts behind it,
 *     {owner, Id}, info, shutdown
 * Opts is a proper list of {Key, Value} (the first of a key counts) or a map: `consistency` (true,
 * false) for get; `ack` (`memory`, `journal`, `backup`, `warehouse`) for the others. The Tag of a
 * plain s, p or d is any term, null too.
 *
 * Returns 0, or BRAIN_EREQUEST (unknown tuple, strange consistency, bad pid or options),
 * BRAIN_EBADID, BRAIN_ETERM (malformed, or bytes behind the term), BRAIN_EDEPTH, BRAIN_EELEMENTS,
 * BRAIN_ENOMEM. On an error command->reply is still valid: its form says whether and where {error,
 * Reason} is to be sent (REPLY_NONE when nobody can be told), and nothing else is. */
int command_parse(struct command *command, struct slice payload, const struct etf_marks *marks,
    struct etf_limits limits, int payload_error);

/* A heap copy of `reply`, with its terms, for an answer that comes later; heap_release frees it. */
struct reply_to *reply_to_keep(const struct reply_to *reply);

enum reply_kind {
    REPLY_KIND_OK,    /* ok */
    REPLY_KIND_VALUE, /* {ok, Value}: the value's bytes are appended by the caller, last */
    REPLY_KIND_KO,    /* ko */
    REPLY_KIND_ERROR, /* {error, Reason} */
    REPLY_KIND_TERM,  /* a term of our own (info, owner), appended by the caller, last */
};

/* Is anything sent for this kind in this form? */
bool reply_is_sent(enum reply_form form, enum reply_kind kind);
/* Appends the answer up to (without) the value or term, as a term without version byte; only for
 * what reply_is_sent says. `error`: for REPLY_KIND_ERROR. */
void reply_write(struct buffer *out, const struct reply_to *reply, enum reply_kind kind, int error);

/* The same without a buffer: the pieces of the answer, up to (without) the value, into `parts`.
 * Returns how many; 0 when this kind is written with reply_write only. They point into `reply`, and
 * to constants. */
enum { REPLY_PARTS = 3 };
size_t reply_parts(
    const struct reply_to *reply, enum reply_kind kind, struct slice parts[REPLY_PARTS]);

#define COMMAND_METRICS(X)                                                                         \
    X(gets, COUNTER, "get requests")                                                               \
    X(sets, COUNTER, "set requests")                                                               \
    X(persists, COUNTER, "persist requests")                                                       \
    X(deletes, COUNTER, "delete requests")                                                         \
    X(refused_requests, COUNTER, "unknown or malformed requests")                                  \
    X(refused_ids, COUNTER, "requests with a bad id")                                              \
    X(refused_terms, COUNTER, "requests with a term that is malformed or over a limit")            \
    X(refused_sizes, COUNTER, "values larger than max_object_bytes")                               \
    X(refused_shutdown, COUNTER, "requests refused while shutting down")                           \
    X(refused_writes, COUNTER, "writes refused, or without an answer from their owner")            \
    X(timeouts, COUNTER, "requests that waited longer than server_exec_timeout")

struct command_metrics {
    METRICS_FIELDS(COMMAND_METRICS)
};

#endif
