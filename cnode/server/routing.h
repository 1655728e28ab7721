/* routing: the service's way to objects that may be another member's.
 *
 * What this node owns and has in RAM is read and written at once (holdings_get, holdings_write), in
 * the same few steps as alone. All else becomes a request of the cluster, which finds the owner;
 * its answer comes later, to whoever asked, once. Requests of one id keep their order: the cluster
 * takes them in the order they come, and what is answered at once is answered only when nothing of
 * its id waits. */
#ifndef BRAIN_SERVER_ROUTING_H
#define BRAIN_SERVER_ROUTING_H

#include "brain/holdings.h"
#include "brain/replica.h"
#include "service.h"

struct routing {
    struct service *service;
    struct holdings *holdings;
    struct cluster *cluster;
    struct store *store;
    struct replica *replica; /* NULL: nothing is replicated */
    bool replicas_awaited;   /* by writes, whatever their class */
    struct link waiting;     /* struct routed, as they came */
    uint64_t bytes, limit;   /* that requests which wait take, and may take */
    uint64_t timeout_ms;     /* after which an untagged answer is not sent any more */
    uint64_t now_ms;         /* of routing_begin */
    /* May objects be read and written without asking the cluster? Not before it has carried out
     * what waited for the lease. */
    bool direct;
    bool touched; /* since it was last cleared: cluster_advance may have something to do */
};

void routing_init(struct routing *routing, struct service *service, const struct config *config,
    struct holdings *holdings, struct cluster *cluster, struct store *store);

/* Before and after the calls below, while one message or batch is executed. R11: the time is read
 * after the requests were received. */
void routing_begin(struct routing *routing);
void routing_end(struct routing *routing);

void routing_get(
    struct routing *routing, connection_id from, const struct command *command, uint64_t hash);
/* `block`: what holds the value; NULL: it must be copied. */
void routing_set(struct routing *routing, connection_id from, const struct command *command,
    uint64_t hash, struct block *block, enum store_ack ack);
void routing_delete(
    struct routing *routing, connection_id from, const struct command *command, enum store_ack ack);
/* Persist, owner. */
void routing_ask(struct routing *routing, connection_id from, const struct command *command,
    enum cluster_kind kind, enum store_ack ack);

/* As cluster_events.answer, with `routing` as the context. */
void routing_answer(
    void *context, struct cluster_request *request, int status, const struct value *value);

/* Tells everybody who waits `error`; the cluster's answers come to nobody then. */
void routing_refuse_all(struct routing *routing, int error);

#endif
