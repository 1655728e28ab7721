#include "routing.h"

#include <string.h>

#include "brain/log.h"
#include "brain/managers.h"
#include "service_inside.h"

/* Of memory_limit: what requests that wait may take. A view changes in milliseconds, a lease ends
 * in seconds; clients that do not wait for answers could bring gigabytes meanwhile. */
enum { WAITING_SHARE = 8 };
static const uint64_t WAITING_BYTES = UINT64_C(1) << 30; /* without a memory_limit */

/* A request on its way through the cluster, and whom to tell. */
struct routed {
    struct cluster_request request; /* first: the cluster hands this back */
    struct link waiting;
    connection_id from;
    struct reply_to *reply; /* NULL: nobody is to be told */
    uint64_t late_ms;
    size_t bytes;
    uint8_t id[];
};

void routing_init(struct routing *routing, struct service *service, const struct config *config,
    struct holdings *holdings, struct cluster *cluster, struct store *store)
{
    *routing = (struct routing){
        .service = service,
        .holdings = holdings,
        .cluster = cluster,
        .store = store,
        .limit = config->memory_limit > 0 ? config->memory_limit / WAITING_SHARE : WAITING_BYTES,
        .timeout_ms = config->server_exec_timeout,
        .now_ms = managers_now_ms(),
    };
    list_init(&routing->waiting);
}

void routing_begin(struct routing *routing)
{
    routing->now_ms = managers_now_ms();
    routing->touched = true;
    holdings_time(routing->holdings, routing->now_ms);
}

void routing_end(struct routing *routing)
{
    holdings_settle(routing->holdings, routing->now_ms);
}

static bool is_direct(const struct routing *routing)
{
    return routing->direct && cluster_serves(routing->cluster, routing->now_ms);
}

/* ---- requests of the cluster ----------------------------------------------------------------- */

static bool is_write(enum cluster_kind kind)
{
    return kind == CLUSTER_WRITE || kind == CLUSTER_DELETE;
}

static void free_routed(struct routing *routing, struct routed *routed)
{
    routing->bytes -= routed->bytes;
    list_remove(&routed->waiting);
    value_drop(&routed->request.value);
    heap_release(routed->reply);
    heap_release(routed);
}

/* By reference to the block that the value came in, when that is mostly this value. */
static struct value keep_value(struct slice bytes, struct block *block)
{
    if (block != NULL && bytes.size >= block->size / 2)
        return (struct value){block_hold(block), bytes.data, bytes.size};
    return value_copy(bytes);
}

/* NULL: no memory. */
static struct routed *make_routed(
    connection_id from, const struct command *command, enum cluster_kind kind, struct block *block)
{
    struct routed *routed = heap_allocate_zeroed(sizeof(*routed) + command->id.size);
    if (routed == NULL)
        return NULL;
    memcpy(routed->id, command->id.data, command->id.size);
    routed->from = from;
    routed->bytes = sizeof(*routed) + command->id.size;
    routed->request.kind = kind;
    routed->request.id = slice_of(routed->id, command->id.size);
    if (kind == CLUSTER_WRITE) {
        routed->request.value = keep_value(command->value, block);
        routed->bytes += command->value.size;
    }
    if (command->reply.form != REPLY_NONE)
        routed->reply = reply_to_keep(&command->reply);
    if ((kind == CLUSTER_WRITE && routed->request.value.block == NULL) ||
        (command->reply.form != REPLY_NONE && routed->reply == NULL)) {
        value_drop(&routed->request.value);
        heap_release(routed->reply);
        heap_release(routed);
        return NULL;
    }
    return routed;
}

static void refuse(struct routing *routing, connection_id from, const struct reply_to *reply,
    enum cluster_kind kind, int error)
{
    if (is_write(kind))
        service_note_refusal(routing->service, error, slice_of(NULL, 0));
    service_answer_status(routing->service, from, reply, error, NULL);
}

static void route(struct routing *routing, connection_id from, const struct command *command,
    enum cluster_kind kind, struct block *block, enum store_ack ack)
{
    if (routing->bytes + command->value.size > routing->limit) {
        refuse(routing, from, &command->reply, kind, BRAIN_EOVERLOAD);
        return;
    }
    struct routed *routed = make_routed(from, command, kind, block);
    if (routed == NULL) {
        refuse(routing, from, &command->reply, kind, BRAIN_ENOMEM);
        return;
    }
    routed->request.ack = (uint8_t)ack;
    if (ack == STORE_ACK_JOURNAL && command->reply.form == REPLY_NONE)
        routed->request.ack = HOLDINGS_ACK_JOURNAL_IF_ANY;
    routed->late_ms = routing->now_ms + routing->timeout_ms;
    routing->bytes += routed->bytes;
    list_append(&routing->waiting, &routed->waiting);
    cluster_request(routing->cluster, &routed->request, routing->now_ms);
}

/* What others told this node. Not where a request of this id waits for its owner, which the client
 * may have made before this one. */
static int read_replica(struct routing *routing, const struct command *command, struct value *value)
{
    int status = STORE_WAIT;
    if (!replica_covers(routing->replica, command->id))
        return status;
    if (is_direct(routing) && cluster_is_idle(routing->cluster, command->id))
        status = replica_get(routing->replica, command->id, value);
    if (status == STORE_WAIT && !command->consistent)
        status = replica_get_weak(routing->replica, command->id, value);
    return status;
}

/* Has this write to wait for others, whatever its class? */
static bool is_awaited(const struct routing *routing, const struct command *command)
{
    return routing->replicas_awaited && command->reply.form != REPLY_NONE &&
           replica_covers(routing->replica, command->id);
}

void routing_get(
    struct routing *routing, connection_id from, const struct command *command, uint64_t hash)
{
    struct value value = value_none();
    int status = STORE_WAIT;
    if (is_direct(routing))
        status = holdings_get(routing->holdings, command->id, hash, routing->now_ms, &value);
    else if (!command->consistent)
        status = store_get_hashed(routing->store, command->id, hash, routing->now_ms, &value, NULL);
    if (status == STORE_WAIT && routing->replica != NULL &&
        (status = read_replica(routing, command, &value)) != STORE_WAIT) {
        service_answer_status(routing->service, from, &command->reply, status, &value);
        return;
    }
    if (status == STORE_WAIT) {
        route(routing, from, command, command->consistent ? CLUSTER_READ : CLUSTER_WEAK_READ, NULL,
            STORE_ACK_MEMORY);
        return;
    }
    if (cluster_counts_uses(routing->cluster))
        cluster_used(routing->cluster, command->id);
    service_answer_status(routing->service, from, &command->reply, status, &value);
}

/* What is here is written at once, `value` NULL: deleted; else it becomes a request. */
static void write_or_route(struct routing *routing, connection_id from,
    const struct command *command, uint64_t hash, const struct value *value, enum store_ack ack)
{
    const enum cluster_kind kind = value != NULL ? CLUSTER_WRITE : CLUSTER_DELETE;
    const bool told = command->reply.form != REPLY_NONE;
    int status = STORE_WAIT;
    if (is_direct(routing) && !is_awaited(routing, command))
        status =
            holdings_write(routing->holdings, command->id, hash, value, ack, told, routing->now_ms);
    if (status == STORE_WAIT) {
        route(routing, from, command, kind, value != NULL ? value->block : NULL, ack);
        return;
    }
    if (cluster_counts_uses(routing->cluster))
        cluster_used(routing->cluster, command->id);
    if (status < 0)
        refuse(routing, from, &command->reply, kind, status);
    else if (told)
        service_answer_status(routing->service, from, &command->reply, status, NULL);
}

void routing_set(struct routing *routing, connection_id from, const struct command *command,
    uint64_t hash, struct block *block, enum store_ack ack)
{
    const struct value value = {block, command->value.data, command->value.size};
    write_or_route(routing, from, command, hash, &value, ack);
}

void routing_delete(
    struct routing *routing, connection_id from, const struct command *command, enum store_ack ack)
{
    write_or_route(routing, from, command, store_hash(routing->store, command->id), NULL, ack);
}

void routing_ask(struct routing *routing, connection_id from, const struct command *command,
    enum cluster_kind kind, enum store_ack ack)
{
    route(routing, from, command, kind, NULL, ack);
}

/* ---- their answers --------------------------------------------------------------------------- */

static void answer_owner(
    struct routing *routing, const struct routed *routed, const struct value *name)
{
    struct buffer atom;
    buffer_init(&atom);
    etf_write_atom_slice(&atom, value_slice(*name));
    service_answer_term(routing->service, routed->from, routed->reply, REPLY_KIND_VALUE, &atom);
    buffer_release(&atom);
}

static void tell(
    struct routing *routing, const struct routed *routed, int status, const struct value *value)
{
    /* A late answer would be taken for that of the asker's next get. */
    if (routed->reply->form == REPLY_UNTAGGED && managers_now_ms() > routed->late_ms) {
        if (status != BRAIN_ETIMEOUT)
            routing->service->metrics.timeouts++;
        return;
    }
    if (routed->request.kind == CLUSTER_OWNER && status == STORE_FOUND)
        answer_owner(routing, routed, value);
    else
        service_answer_status(routing->service, routed->from, routed->reply, status, value);
}

void routing_answer(
    void *context, struct cluster_request *request, int status, const struct value *value)
{
    struct routing *routing = context;
    struct routed *routed = (struct routed *)(void *)request;
    if (status == BRAIN_ETIMEOUT)
        routing->service->metrics.timeouts++;
    if (status < 0 && is_write(request->kind))
        service_note_refusal(
            routing->service, status, cluster_member_name(routing->cluster, request->answered_by));
    if (routed->reply != NULL)
        tell(routing, routed, status, value);
    free_routed(routing, routed);
}

void routing_refuse_all(struct routing *routing, int error)
{
    for (struct link *link = routing->waiting.next; link != &routing->waiting; link = link->next) {
        struct routed *routed = list_entry(link, struct routed, waiting);
        if (routed->reply != NULL)
            service_answer_status(routing->service, routed->from, routed->reply, error, NULL);
        heap_release(routed->reply);
        routed->reply = NULL;
    }
}
