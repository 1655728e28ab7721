#include "dispatch.h"

#include <string.h>

#include "brain/log.h"

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
    if (strcmp(config->ack, "journal") == 0 && config->journal)
        return STORE_ACK_JOURNAL;
    return STORE_ACK_MEMORY;
}

void dispatch_init(struct dispatch *dispatch, const struct config *config, uv_loop_t *loop)
{
    *dispatch = (struct dispatch){
        .loop = loop,
        .limits = {(uint32_t)config->max_term_depth, config->max_term_elements},
        .max_object_bytes = config->max_object_bytes,
        .ack = default_ack(config),
        .has_journal = config->journal,
    };
}

void dispatch_release(struct dispatch *dispatch)
{
    heap_release(dispatch->spare);
    dispatch->spare = NULL;
}

void dispatch_metrics_register(struct metrics_registry *registry, const struct dispatch *dispatch)
{
    const char *group = "command";
    const struct command_metrics *source = &dispatch->metrics;
    COMMAND_METRICS(METRICS_ROW)
}

/* ---- answers --------------------------------------------------------------------------------- */

static void answer(struct dispatch *dispatch, connection_id from, const struct reply_to *reply,
    enum reply_kind kind, int error, const struct value *tail)
{
    if (!reply_is_sent(reply->form, kind))
        return;
    struct channel *channel = node_route(dispatch->node, from, reply->pid);
    if (channel == NULL)
        return; /* counted there: answers_undeliverable */
    struct buffer *out = channel_send_begin(channel, reply->pid, reply->alias);
    if (out == NULL)
        return;
    reply_write(out, reply, kind, error);
    /* A failed commit is the channel's to report: too long a queue closes it. */
    channel_send_commit(channel, tail);
    node_flush(dispatch->node, channel);
}

static void answer_error(
    struct dispatch *dispatch, connection_id from, const struct reply_to *reply, int error)
{
    answer(dispatch, from, reply, REPLY_KIND_ERROR, error, NULL);
}

/* The answer to what store_get, store_persist and the rest return. */
static void answer_status(struct dispatch *dispatch, connection_id from,
    const struct reply_to *reply, int status, const struct value *value)
{
    switch (status) {
    case STORE_FOUND:
        answer(dispatch, from, reply, REPLY_KIND_VALUE, 0, value);
        break;
    case STORE_ABSENT:
        answer(dispatch, from, reply, REPLY_KIND_KO, 0, NULL);
        break;
    case STORE_DONE:
        answer(dispatch, from, reply, REPLY_KIND_OK, 0, NULL);
        break;
    default:
        answer_error(dispatch, from, reply, status);
    }
}

static void answer_term(struct dispatch *dispatch, connection_id from, const struct reply_to *reply,
    enum reply_kind kind, const struct buffer *term)
{
    struct value value = {NULL, term->data, term->size};
    if (buffer_status(term) != 0)
        answer_error(dispatch, from, reply, BRAIN_ENOMEM);
    else
        answer(dispatch, from, reply, kind, 0, &value);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* A waiter must be there before the store is asked, but is needed only when the answer is not in
 * RAM: one is kept ready, so that a hit allocates nothing. */
static struct request_waiter *spare_waiter(struct dispatch *dispatch)
{
    if (dispatch->spare == NULL)
        dispatch->spare = heap_allocate_zeroed(sizeof(*dispatch->spare));
    return dispatch->spare;
}

/* The store queued the spare waiter: remember whom to tell. */
static void spare_is_taken(
    struct dispatch *dispatch, connection_id from, const struct reply_to *reply)
{
    struct request_waiter *waiter = dispatch->spare;
    dispatch->spare = NULL;
    waiter->from = from;
    waiter->reply = reply_to_keep(reply);
    if (waiter->reply == NULL)
        log_error("no memory to remember whom to answer; one request stays unanswered");
}

void dispatch_answer(struct dispatch *dispatch, struct store_waiter *store_waiter, int status,
    const struct value *value)
{
    struct request_waiter *waiter = (struct request_waiter *)store_waiter;
    if (status == BRAIN_ETIMEOUT)
        dispatch->metrics.timeouts++;
    if (waiter->reply != NULL)
        answer_status(dispatch, waiter->from, waiter->reply, status, value);
    heap_release(waiter->reply);
    heap_release(waiter);
}

/* ---- commands -------------------------------------------------------------------------------- */

static void do_get(struct dispatch *dispatch, connection_id from, const struct command *command)
{
    dispatch->metrics.gets++;
    if (command->reply.form == REPLY_NONE)
        return;
    struct request_waiter *waiter = spare_waiter(dispatch);
    if (waiter == NULL) {
        answer_error(dispatch, from, &command->reply, BRAIN_ENOMEM);
        return;
    }
    struct value value = value_none();
    int status = store_get(dispatch->store, slice_of(command->id, command->id_size),
        uv_now(dispatch->loop), &value, &waiter->waiter);
    if (status == STORE_WAIT)
        spare_is_taken(dispatch, from, &command->reply);
    else
        answer_status(dispatch, from, &command->reply, status, &value);
}

/* The class that this write asks for; BRAIN_ENOTSUP for one that this node does not have: less is
 * never given silently. */
static int ack_of(
    const struct dispatch *dispatch, const struct command *command, enum store_ack *ack)
{
    *ack = dispatch->ack;
    switch (command->ack) {
    case COMMAND_ACK_DEFAULT:
        break;
    case COMMAND_ACK_MEMORY:
        *ack = STORE_ACK_MEMORY;
        break;
    case COMMAND_ACK_JOURNAL:
        if (!dispatch->has_journal)
            return BRAIN_ENOTSUP;
        *ack = STORE_ACK_JOURNAL;
        break;
    case COMMAND_ACK_WAREHOUSE:
        *ack = STORE_ACK_WAREHOUSE;
        break;
    }
    return 0;
}

/* One line when writes begin to be refused; the counters say how many were. Calls hear of it
 * themselves, plain messages do not, so a person must. */
static void note_refusal(struct dispatch *dispatch, int status)
{
    dispatch->metrics.refused_writes++;
    uint64_t now_ms = uv_now(dispatch->loop);
    if (dispatch->refusal_logged_ms != 0 &&
        now_ms - dispatch->refusal_logged_ms < REFUSAL_LOG_INTERVAL_MS)
        return;
    dispatch->refusal_logged_ms = now_ms;
    log_error("writes are refused: %s (%llu so far)", error_sentence(status),
        (unsigned long long)dispatch->metrics.refused_writes);
}

/* What a write came to: answered now, or when its class is reached. */
static void finish_write(
    struct dispatch *dispatch, connection_id from, const struct command *command, int status)
{
    if (status == STORE_WAIT) {
        if (command->reply.form != REPLY_NONE)
            spare_is_taken(dispatch, from, &command->reply);
        return;
    }
    if (status == BRAIN_EJOURNAL || status == BRAIN_EOVERLOAD || status == BRAIN_ENOMEM)
        note_refusal(dispatch, status);
    answer_status(dispatch, from, &command->reply, status, NULL);
}

/* Where a write may wait; NULL when nobody is to be told. */
static int waiter_for(
    struct dispatch *dispatch, const struct command *command, struct store_waiter **waiter)
{
    *waiter = NULL;
    if (command->reply.form == REPLY_NONE)
        return 0;
    struct request_waiter *spare = spare_waiter(dispatch);
    if (spare == NULL)
        return BRAIN_ENOMEM;
    *waiter = &spare->waiter;
    return 0;
}

static int refuse_write(struct dispatch *dispatch)
{
    if (!dispatch->stopping)
        return 0;
    dispatch->metrics.refused_shutdown++;
    return BRAIN_ESHUTDOWN;
}

static int set(struct dispatch *dispatch, const struct command *command, struct block *block)
{
    enum store_ack ack;
    struct store_waiter *waiter;
    int status = refuse_write(dispatch);
    if (status == 0 && command->value.size > dispatch->max_object_bytes) {
        dispatch->metrics.refused_sizes++;
        status = BRAIN_ETOOBIG;
    }
    if (status == 0)
        status = ack_of(dispatch, command, &ack);
    if (status == 0)
        status = waiter_for(dispatch, command, &waiter);
    if (status != 0)
        return status;
    struct value value = {block, command->value.data, command->value.size};
    return store_set(dispatch->store, slice_of(command->id, command->id_size), value, ack,
        uv_now(dispatch->loop), waiter);
}

static int delete (struct dispatch *dispatch, const struct command *command)
{
    enum store_ack ack;
    struct store_waiter *waiter;
    int status = refuse_write(dispatch);
    if (status == 0)
        status = ack_of(dispatch, command, &ack);
    if (status == 0)
        status = waiter_for(dispatch, command, &waiter);
    if (status != 0)
        return status;
    return store_delete(dispatch->store, slice_of(command->id, command->id_size), ack,
        uv_now(dispatch->loop), waiter);
}

static void do_set(struct dispatch *dispatch, connection_id from, const struct command *command,
    struct block *block)
{
    dispatch->metrics.sets++;
    finish_write(dispatch, from, command, set(dispatch, command, block));
}

static void do_delete(struct dispatch *dispatch, connection_id from, const struct command *command)
{
    dispatch->metrics.deletes++;
    finish_write(dispatch, from, command, delete (dispatch, command));
}

static void do_persist(struct dispatch *dispatch, connection_id from, const struct command *command)
{
    dispatch->metrics.persists++;
    struct slice id = slice_of(command->id, command->id_size);
    uint64_t now_ms = uv_now(dispatch->loop);
    if (command->reply.form == REPLY_NONE) {
        store_persist(dispatch->store, id, now_ms, NULL);
        return;
    }
    struct request_waiter *waiter = spare_waiter(dispatch);
    if (waiter == NULL) {
        answer_error(dispatch, from, &command->reply, BRAIN_ENOMEM);
        return;
    }
    int status = store_persist(dispatch->store, id, now_ms, &waiter->waiter);
    if (status == STORE_WAIT)
        spare_is_taken(dispatch, from, &command->reply);
    else
        answer_status(dispatch, from, &command->reply, status, NULL);
}

static void do_info(struct dispatch *dispatch, connection_id from, const struct command *command)
{
    struct buffer map;
    buffer_init(&map);
    dispatch->write_info(dispatch->context, &map);
    answer_term(dispatch, from, &command->reply, REPLY_KIND_TERM, &map);
    buffer_release(&map);
}

/* Alone, this node owns everything. */
static void do_owner(struct dispatch *dispatch, connection_id from, const struct command *command)
{
    struct buffer name;
    buffer_init(&name);
    etf_write_atom_slice(&name, node_identity(dispatch->node)->name);
    answer_term(dispatch, from, &command->reply, REPLY_KIND_VALUE, &name);
    buffer_release(&name);
}

static void count_refusal(struct dispatch *dispatch, int error)
{
    switch (error) {
    case BRAIN_EBADID:
        dispatch->metrics.refused_ids++;
        break;
    case BRAIN_ETERM:
    case BRAIN_EDEPTH:
    case BRAIN_EELEMENTS:
        dispatch->metrics.refused_terms++;
        break;
    default:
        dispatch->metrics.refused_requests++;
    }
}

void dispatch_message(struct dispatch *dispatch, connection_id from, struct channel *channel,
    const struct channel_message *message)
{
    (void)channel;
    struct command *command = &dispatch->command;
    int error = command_parse(
        command, message->payload, message->marks, dispatch->limits, message->payload_error);
    if (error != 0) {
        count_refusal(dispatch, error);
        answer_error(dispatch, from, &command->reply, error);
        return;
    }
    switch (command->operation) {
    case COMMAND_GET:
        do_get(dispatch, from, command);
        break;
    case COMMAND_SET:
        do_set(dispatch, from, command, message->block);
        break;
    case COMMAND_DELETE:
        do_delete(dispatch, from, command);
        break;
    case COMMAND_PERSIST:
        do_persist(dispatch, from, command);
        break;
    case COMMAND_INFO:
        do_info(dispatch, from, command);
        break;
    case COMMAND_OWNER:
        do_owner(dispatch, from, command);
        break;
    case COMMAND_SHUTDOWN:
        answer(dispatch, from, &command->reply, REPLY_KIND_OK, 0, NULL);
        dispatch->on_shutdown(dispatch->context);
        break;
    }
}
