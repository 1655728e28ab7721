#include "service.h"

#include <string.h>

#include "brain/log.h"
#include "routing.h"
#include "service_inside.h"

enum { REFUSAL_LOG_INTERVAL_MS = 10000 };

/* A request that waits for a load, a dump or the journal, and whom to tell. */
struct request_waiter {
    struct store_waiter waiter; /* first: the store hands this back */
    connection_id from;
    struct reply_to *reply; /* NULL: nobody can be told any more */
};

static enum store_ack default_ack(const struct config *config)
{
    if (strcmp(config->ack, "warehouse") == 0)
        return STORE_ACK_WAREHOUSE;
    if (strcmp(config->ack, "backup") == 0)
        return STORE_ACK_BACKUP;
    if (strcmp(config->ack, "journal") == 0 && config->journal)
        return STORE_ACK_JOURNAL;
    return STORE_ACK_MEMORY;
}

void service_init(struct service *service, const struct config *config, uv_loop_t *loop)
{
    *service = (struct service){
        .loop = loop,
        .limits = {(uint32_t)config->max_term_depth, config->max_term_elements},
        .max_object_bytes = config->max_object_bytes,
        .ack = default_ack(config),
        .has_journal = config->journal,
        .has_backups = config->manager_enable && config->backups > 0,
    };
}

void service_release(struct service *service)
{
    heap_release(service->spare);
    service->spare = NULL;
}

void service_metrics_register(struct metrics_registry *registry, const struct service *service)
{
    const char *group = "command";
    const struct command_metrics *source = &service->metrics;
    COMMAND_METRICS(METRICS_ROW)
}

/* ---- answers --------------------------------------------------------------------------------- */

static void answer(struct service *service, connection_id from, const struct reply_to *reply,
    enum reply_kind kind, int error, const struct value *tail)
{
    if (!reply_is_sent(reply->form, kind) || service->node == NULL)
        return;
    struct channel *channel = node_route(service->node, from, reply->pid);
    if (channel == NULL)
        return; /* counted there: answers_undeliverable */
    struct slice parts[REPLY_PARTS];
    size_t count = reply_parts(reply, kind, parts);
    /* A failed send is the channel's to report: too long a queue closes it. */
    if (count > 0) {
        channel_send(channel, reply->pid, reply->alias, parts, count, tail);
    } else {
        struct buffer *out = channel_send_begin(channel, reply->pid, reply->alias);
        if (out == NULL)
            return;
        reply_write(out, reply, kind, error);
        channel_send_commit(channel, tail);
    }
    node_flush(service->node, channel);
}

static void answer_error(
    struct service *service, connection_id from, const struct reply_to *reply, int error)
{
    answer(service, from, reply, REPLY_KIND_ERROR, error, NULL);
}

void service_answer_status(struct service *service, connection_id from,
    const struct reply_to *reply, int status, const struct value *value)
{
    switch (status) {
    case STORE_FOUND:
        answer(service, from, reply, REPLY_KIND_VALUE, 0, value);
        break;
    case STORE_ABSENT:
        answer(service, from, reply, REPLY_KIND_KO, 0, NULL);
        break;
    case STORE_DONE:
        answer(service, from, reply, REPLY_KIND_OK, 0, NULL);
        break;
    default:
        answer_error(service, from, reply, status);
    }
}

void service_answer_term(struct service *service, connection_id from, const struct reply_to *reply,
    enum reply_kind kind, const struct buffer *term)
{
    struct value value = {NULL, term->data, term->size};
    if (buffer_status(term) != 0)
        answer_error(service, from, reply, BRAIN_ENOMEM);
    else
        answer(service, from, reply, kind, 0, &value);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* A waiter must be there before the store is asked, but is needed only when the answer is not in
 * RAM: one is kept ready, so that a hit allocates nothing. */
static struct request_waiter *spare_waiter(struct service *service)
{
    if (service->spare == NULL)
        service->spare = heap_allocate_zeroed(sizeof(*service->spare));
    return service->spare;
}

/* The store queued the spare waiter: remember whom to tell. */
static void spare_is_taken(
    struct service *service, connection_id from, const struct reply_to *reply)
{
    struct request_waiter *waiter = service->spare;
    service->spare = NULL;
    waiter->from = from;
    waiter->reply = reply_to_keep(reply);
    if (waiter->reply == NULL)
        log_error("no memory to remember whom to answer; one request stays unanswered");
}

void service_answer(struct service *service, struct store_waiter *store_waiter, int status,
    const struct value *value)
{
    struct request_waiter *waiter = (struct request_waiter *)store_waiter;
    if (status == BRAIN_ETIMEOUT)
        service->metrics.timeouts++;
    if (waiter->reply != NULL)
        service_answer_status(service, waiter->from, waiter->reply, status, value);
    heap_release(waiter->reply);
    heap_release(waiter);
}

/* ---- commands -------------------------------------------------------------------------------- */

static void do_get(
    struct service *service, connection_id from, const struct command *command, uint64_t hash)
{
    service->metrics.gets++;
    if (command->reply.form == REPLY_NONE)
        return;
    if (service->closing) {
        service->metrics.refused_shutdown++;
        answer_error(service, from, &command->reply, BRAIN_ESHUTDOWN);
        return;
    }
    if (service->routing != NULL) {
        routing_get(service->routing, from, command, hash);
        return;
    }
    struct request_waiter *waiter = spare_waiter(service);
    if (waiter == NULL) {
        answer_error(service, from, &command->reply, BRAIN_ENOMEM);
        return;
    }
    struct value value = value_none();
    int status = store_get_hashed(
        service->store, command->id, hash, uv_now(service->loop), &value, &waiter->waiter);
    if (status == STORE_WAIT)
        spare_is_taken(service, from, &command->reply);
    else
        service_answer_status(service, from, &command->reply, status, &value);
}

/* The class that this write asks for; BRAIN_ENOTSUP for one that this node does not have: less is
 * never given silently. */
static int ack_of(const struct service *service, const struct command *command, enum store_ack *ack)
{
    *ack = service->ack;
    switch (command->ack) {
    case COMMAND_ACK_DEFAULT:
        break;
    case COMMAND_ACK_MEMORY:
        *ack = STORE_ACK_MEMORY;
        break;
    case COMMAND_ACK_JOURNAL:
        if (!service->has_journal)
            return BRAIN_ENOTSUP;
        *ack = STORE_ACK_JOURNAL;
        break;
    case COMMAND_ACK_BACKUP:
        if (!service->has_backups)
            return BRAIN_ENOTSUP;
        *ack = STORE_ACK_BACKUP;
        break;
    case COMMAND_ACK_WAREHOUSE:
        *ack = STORE_ACK_WAREHOUSE;
        break;
    }
    return 0;
}

/* Calls hear of it themselves, plain messages do not, so a person must. What had no answer was not
 * refused: it may have taken effect. */
void service_note_refusal(struct service *service, int status, struct slice owner)
{
    service->metrics.refused_writes++;
    uint64_t now_ms = uv_now(service->loop);
    if (service->refusal_logged_ms != 0 &&
        now_ms - service->refusal_logged_ms < REFUSAL_LOG_INTERVAL_MS)
        return;
    service->refusal_logged_ms = now_ms;
    unsigned long long count = service->metrics.refused_writes;
    if (status == BRAIN_EUNKNOWN || status == BRAIN_ETIMEOUT)
        log_error("writes had no answer from their owner: %s (%llu so far)", error_sentence(status),
            count);
    else
        log_error("writes are refused%s%.*s: %s (%llu so far)", owner.size > 0 ? " by " : "",
            (int)owner.size, owner.size > 0 ? (const char *)owner.data : "", error_sentence(status),
            count);
}

/* What a write came to: answered now, or when its class is reached. */
static void finish_write(
    struct service *service, connection_id from, const struct command *command, int status)
{
    if (status == STORE_WAIT) {
        if (command->reply.form != REPLY_NONE)
            spare_is_taken(service, from, &command->reply);
        return;
    }
    if (status == STORE_DONE && command->reply.form == REPLY_NONE)
        return;
    if (status == BRAIN_EJOURNAL || status == BRAIN_EOVERLOAD || status == BRAIN_ENOMEM)
        service_note_refusal(service, status, slice_of(NULL, 0));
    service_answer_status(service, from, &command->reply, status, NULL);
}

/* Where a write may wait; NULL when nobody is to be told. */
static int waiter_for(
    struct service *service, const struct command *command, struct store_waiter **waiter)
{
    *waiter = NULL;
    if (command->reply.form == REPLY_NONE)
        return 0;
    struct request_waiter *spare = spare_waiter(service);
    if (spare == NULL)
        return BRAIN_ENOMEM;
    *waiter = &spare->waiter;
    return 0;
}

static int refuse_write(struct service *service)
{
    if (!service->stopping)
        return 0;
    service->metrics.refused_shutdown++;
    return BRAIN_ESHUTDOWN;
}

/* What is refused before any object is asked. */
static int check_write(struct service *service, const struct command *command, enum store_ack *ack)
{
    int status = refuse_write(service);
    if (status == 0 && command->operation == COMMAND_SET &&
        command->value.size > service->max_object_bytes) {
        service->metrics.refused_sizes++;
        status = BRAIN_ETOOBIG;
    }
    return status == 0 ? ack_of(service, command, ack) : status;
}

static void do_set(struct service *service, connection_id from, const struct command *command,
    uint64_t hash, struct block *block)
{
    enum store_ack ack;
    struct store_waiter *waiter;
    service->metrics.sets++;
    int status = check_write(service, command, &ack);
    if (status == 0 && service->routing != NULL) {
        routing_set(service->routing, from, command, hash, block, ack);
        return;
    }
    if (status == 0)
        status = waiter_for(service, command, &waiter);
    if (status == 0) {
        struct value value = {block, command->value.data, command->value.size};
        status = store_set_hashed(
            service->store, command->id, hash, value, ack, uv_now(service->loop), waiter);
    }
    finish_write(service, from, command, status);
}

static void do_delete(struct service *service, connection_id from, const struct command *command)
{
    enum store_ack ack;
    struct store_waiter *waiter;
    service->metrics.deletes++;
    int status = check_write(service, command, &ack);
    if (status == 0 && service->routing != NULL) {
        routing_delete(service->routing, from, command, ack);
        return;
    }
    if (status == 0)
        status = waiter_for(service, command, &waiter);
    if (status == 0)
        status = store_delete(service->store, command->id, ack, uv_now(service->loop), waiter);
    finish_write(service, from, command, status);
}

static void do_persist(struct service *service, connection_id from, const struct command *command)
{
    service->metrics.persists++;
    if (service->routing != NULL) {
        if (service->closing)
            answer_error(service, from, &command->reply, BRAIN_ESHUTDOWN);
        else
            routing_ask(service->routing, from, command, CLUSTER_PERSIST, STORE_ACK_MEMORY);
        return;
    }
    struct slice id = command->id;
    uint64_t now_ms = uv_now(service->loop);
    if (command->reply.form == REPLY_NONE) {
        store_persist(service->store, id, now_ms, NULL);
        return;
    }
    struct request_waiter *waiter = spare_waiter(service);
    if (waiter == NULL) {
        answer_error(service, from, &command->reply, BRAIN_ENOMEM);
        return;
    }
    int status = store_persist(service->store, id, now_ms, &waiter->waiter);
    if (status == STORE_WAIT)
        spare_is_taken(service, from, &command->reply);
    else
        service_answer_status(service, from, &command->reply, status, NULL);
}

static void do_info(struct service *service, connection_id from, const struct command *command)
{
    struct buffer map;
    buffer_init(&map);
    service->write_info(service->context, &map);
    service_answer_term(service, from, &command->reply, REPLY_KIND_TERM, &map);
    buffer_release(&map);
}

/* Alone, this node owns everything. */
static void do_owner(struct service *service, connection_id from, const struct command *command)
{
    if (service->routing != NULL) {
        if (service->closing)
            answer_error(service, from, &command->reply, BRAIN_ESHUTDOWN);
        else
            routing_ask(service->routing, from, command, CLUSTER_OWNER, STORE_ACK_MEMORY);
        return;
    }
    struct buffer name;
    buffer_init(&name);
    etf_write_atom_slice(&name, node_identity(service->node)->name);
    service_answer_term(service, from, &command->reply, REPLY_KIND_VALUE, &name);
    buffer_release(&name);
}

static void count_refusal(struct service *service, int error)
{
    switch (error) {
    case BRAIN_EBADID:
        service->metrics.refused_ids++;
        break;
    case BRAIN_ETERM:
    case BRAIN_EDEPTH:
    case BRAIN_EELEMENTS:
        service->metrics.refused_terms++;
        break;
    default:
        service->metrics.refused_requests++;
    }
}

static void execute(struct service *service, connection_id from,
    const struct service_request *request, struct block *block)
{
    const struct command *command = &request->command;
    switch (command->operation) {
    case COMMAND_GET:
        do_get(service, from, command, request->hash);
        break;
    case COMMAND_SET:
        do_set(service, from, command, request->hash, block);
        break;
    case COMMAND_DELETE:
        do_delete(service, from, command);
        break;
    case COMMAND_PERSIST:
        do_persist(service, from, command);
        break;
    case COMMAND_INFO:
        do_info(service, from, command);
        break;
    case COMMAND_OWNER:
        do_owner(service, from, command);
        break;
    case COMMAND_SHUTDOWN:
        answer(service, from, &command->reply, REPLY_KIND_OK, 0, NULL);
        service->on_shutdown(service->context);
        break;
    }
}

void service_settle(struct service *service, connection_id from)
{
    const unsigned count = service->batched;
    service->batched = 0;
    if (count == 0)
        return;
    if (service->routing != NULL)
        routing_begin(service->routing);
    for (unsigned i = 0; i < count; i++)
        store_prefetch_item(service->store, service->batch[i].hash);
    for (unsigned i = 0; i < count; i++)
        execute(service, from, &service->batch[i], NULL);
    if (service->routing != NULL)
        routing_end(service->routing);
}

void service_message(struct service *service, connection_id from, struct channel *channel,
    const struct channel_message *message)
{
    (void)channel;
    struct service_request *request = &service->batch[service->batched];
    struct command *command = &request->command;
    int error = command_parse(
        command, message->payload, message->marks, service->limits, message->payload_error);
    bool read_or_write =
        error == 0 && (command->operation == COMMAND_GET || command->operation == COMMAND_SET);
    if (read_or_write)
        request->hash = store_hash(service->store, command->id);
    if (read_or_write && message->stays) {
        store_prefetch_slot(service->store, request->hash);
        if (++service->batched == SERVICE_BATCH)
            service_settle(service, from);
        return;
    }
    service_settle(service, from); /* leaves this request alone: it is behind them */
    if (error != 0) {
        count_refusal(service, error);
        answer_error(service, from, &command->reply, error);
        return;
    }
    if (service->routing != NULL)
        routing_begin(service->routing);
    execute(service, from, request, message->block);
    if (service->routing != NULL)
        routing_end(service->routing);
}
