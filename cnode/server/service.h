/* service: a message becomes a command, the command a call of the store, its result an answer. */
#ifndef BRAIN_SERVER_SERVICE_H
#define BRAIN_SERVER_SERVICE_H

#include "brain/command.h"
#include "brain/config.h"
#include "brain/node.h"
#include "brain/object.h"

/* Misses of the cache overlap from a few on; more than the first-level cache holds would push each
 * other out. */
enum { SERVICE_BATCH = 32 };

struct routing;

struct service {
    struct routing *routing; /* of a member of a cluster; NULL: alone */
    struct node *node;       /* NULL when it is closed: answers have nowhere to go */
    struct store *store;
    uv_loop_t *loop;
    struct etf_limits limits;
    uint64_t max_object_bytes;
    enum store_ack ack; /* of writes that do not say */
    bool has_journal;
    bool has_backups;           /* a cluster with backups: STORE_ACK_BACKUP may be asked for */
    bool stopping;              /* writes are refused, reads are still answered */
    bool closing;               /* reads are refused too: everything is persisted */
    uint64_t refusal_logged_ms; /* 0: never */
    struct command_metrics metrics;
    /* Requests that came with one read and are put off, so that their objects come into the
     * processor's cache together; all of one connection. */
    struct service_request {
        struct command command;
        uint64_t hash; /* of its id, of a read or write */
    } batch[SERVICE_BATCH];
    unsigned batched;
    struct request_waiter *spare; /* ready for the next request that waits */
    void *context;
    /* Appends the map that answers `info`. */
    void (*write_info)(void *context, struct buffer *out);
    /* A client asked the node to stop. */
    void (*on_shutdown)(void *context);
};

void service_init(struct service *service, const struct config *config, uv_loop_t *loop);
void service_release(struct service *service);
void service_metrics_register(struct metrics_registry *registry, const struct service *service);

/* As node_events.on_message. */
void service_message(struct service *service, connection_id from, struct channel *channel,
    const struct channel_message *message);
/* As node_events.on_settle. */
void service_settle(struct service *service, connection_id from);
/* As store_events.answer. */
void service_answer(
    struct service *service, struct store_waiter *waiter, int status, const struct value *value);

#endif
