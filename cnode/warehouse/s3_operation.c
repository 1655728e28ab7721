/* s3_operation: one load, dump or set-aside against S3.
 *
 *   load:      LOAD -> complete
 *   set-aside: WRITE -> complete
 *   forget:    REMOVE -> complete, whatever came of it; where the store proved that it removes
 * under a condition, and the tombstone's ETag is known (it was just loaded), else nothing dump:
 * [HELD until the store was probed] -> READ -> WRITE -> complete
 *
 * A dump writes under a condition: create only if there is nothing, replace only the very version
 * that was compared (its ETag). What is compared is what the etags remember; where they do not, or
 * where the caller expects something else, the head of what the store holds is read first. Whenever
 * a write did not clearly succeed, it is read again before anything is repeated: the very version
 * is there: an earlier attempt of ours had succeeded; a newer one: we are late; an older one:
 * write.
 *
 * Attempts that may work later are repeated with exponential backoff and full jitter, within the
 * deadline of the request. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "brain/log.h"
#include "brain/stored.h"
#include "s3_inside.h"

enum {
    HEAD_BYTES = 2048, /* enough for all of a stored form but the value: the id has 1024 at most */
    NAME_LIMIT = 1024, /* S3's for keys */
    CONFLICT_TAIL = 80,
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 5000,
    GRACE_MS = 100,
};

enum step { LOAD, READ, WRITE, REMOVE };

struct s3_operation {
    struct s3_operation *next, **link; /* among s3->operations */
    struct s3 *s3;
    struct warehouse_request *request;
    enum step step;
    bool held;           /* until the store was probed */
    bool waiting;        /* until wake_ms */
    uint64_t wake_ms;    /* due then */
    unsigned tries;      /* that failed */
    unsigned flips;      /* of the ETag's form */
    unsigned refreshes;  /* of the credentials */
    bool exists;         /* what the write replaces: nothing, or what has this ETag */
    bool conditional;    /* the write under way has a condition */
    struct version seen; /* its version */
    char etag[S3_ETAG_LIMIT + 1];
    char refused[S3_ETAG_LIMIT + 1]; /* the ETag in the condition that did not hold */
    struct buffer name, head;
    struct s3_exchange exchange;
    char failure[WAREHOUSE_TEXT]; /* of the last try that the deadline did not cut off */
};

static void send_step(struct s3_operation *operation);

static struct slice id_of(const struct s3_operation *operation)
{
    return slice_of(operation->request->id, operation->request->id_size);
}

/* Words for the end of one that has none of an answer of its own. */
static const char *last_error(const struct s3_operation *operation)
{
    const char *said = operation->held                 ? operation->s3->probe.error
                       : operation->failure[0] != '\0' ? operation->failure
                                                       : operation->exchange.error;
    return said[0] != '\0' ? said : "s3: the store did not answer in time";
}

/* ---- the end ----------------------------------------------------------------------------------
 */

static void finish(struct s3_operation *operation, int status, const char *error)
{
    struct s3 *s3 = operation->s3;
    struct warehouse_request *request = operation->request;
    char text[WAREHOUSE_TEXT];
    snprintf(text, sizeof(text), "%s", status == BRAIN_EWAREHOUSE ? error : "");
    request->status = status;
    request->driver = NULL;
    s3_exchange_end(&s3->client, &operation->exchange);
    buffer_release(&operation->name);
    buffer_release(&operation->head);
    *operation->link = operation->next;
    if (operation->next != NULL)
        operation->next->link = operation->link;
    heap_release(operation);
    s3->events.complete(s3->events.context, request, text);
}

static void finish_no_memory(struct s3_operation *operation)
{
    finish(operation, BRAIN_EWAREHOUSE, error_sentence(BRAIN_ENOMEM));
}

/* The request is given up; `error` may be of the exchange. */
static void give_up(struct s3_operation *operation, const char *error)
{
    char text[WAREHOUSE_TEXT];
    if (operation->tries > 1)
        snprintf(text, sizeof(text), "%.400s (given up after %u tries)", error, operation->tries);
    else
        snprintf(text, sizeof(text), "%s", error);
    finish(operation, BRAIN_EWAREHOUSE, text);
}

/* ---- again ------------------------------------------------------------------------------------
 */

/* Goes to `step` after a pause, if there is time left for it. */
static void try_again(struct s3_operation *operation, enum step step, const char *error)
{
    struct s3 *s3 = operation->s3;
    unsigned doublings = operation->tries < 10 ? operation->tries : 10;
    uint64_t most_ms = (uint64_t)BACKOFF_FIRST_MS << doublings;
    if (most_ms > BACKOFF_MAX_MS)
        most_ms = BACKOFF_MAX_MS;
    uint64_t pause_ms = s3_random(s3) % (most_ms + 1);
    uint64_t now_ms = driver_now_ms();
    uint64_t deadline_ms = operation->request->deadline_ms;
    operation->tries++;
    /* "Timed out" of the last one, which had no time left, would hide what is wrong. */
    bool is_cut = operation->exchange.status == 0 && now_ms + GRACE_MS >= deadline_ms;
    if (!is_cut || operation->failure[0] == '\0')
        snprintf(operation->failure, sizeof(operation->failure), "%s", error);
    if (s3->stopping || now_ms + pause_ms >= deadline_ms) {
        give_up(operation, operation->failure);
        return;
    }
    operation->step = step;
    operation->waiting = true;
    operation->wake_ms = now_ms + pause_ms;
}

/* ---- dumps ------------------------------------------------------------------------------------
 */

/* What the store holds is known (operation->exists, seen): may our version replace it? */
static void decide(struct s3_operation *operation, bool is_tombstone)
{
    struct warehouse_request *request = operation->request;
    struct version none = {0, 0, 0};
    struct version stored = operation->exists ? operation->seen : none;
    int order = operation->exists ? version_compare(stored, request->version) : -1;
    if (order == 0) {
        finish(operation, 0, "");
        return;
    }
    if (order < 0 &&
        (!request->expected_known || version_compare(stored, request->expected) == 0)) {
        operation->step = WRITE;
        send_step(operation);
        return;
    }
    request->stored = stored;
    request->stored_known = true;
    request->stored_tombstone = operation->exists && is_tombstone;
    finish(operation, BRAIN_ECONFLICT, "");
}

/* Starts a dump from what is remembered. */
static void plan(struct s3_operation *operation)
{
    struct s3 *s3 = operation->s3;
    const struct warehouse_request *request = operation->request;
    struct version none = {0, 0, 0};
    operation->step = READ;
    const struct s3_etag *known = s3_etags_find(&s3->etags, id_of(operation));
    if (known != NULL && s3->ability.replace &&
        version_compare(known->version, request->version) < 0 &&
        (!request->expected_known || version_compare(known->version, request->expected) == 0)) {
        operation->step = WRITE;
        operation->exists = true;
        operation->seen = known->version;
        memcpy(operation->etag, known->text, sizeof(known->text));
    } else if (known == NULL && s3->ability.create && request->expected_known &&
               version_compare(request->expected, none) == 0) {
        operation->step = WRITE;
        operation->exists = false;
    }
    send_step(operation);
}

static void on_read(struct s3_operation *operation)
{
    struct s3_exchange *exchange = &operation->exchange;
    struct stored stored = {.deleted = false};
    uint32_t crc;
    operation->exists = exchange->outcome == S3_DONE;
    operation->etag[0] = '\0';
    if (operation->exists) {
        struct slice bytes =
            slice_of(exchange->body == NULL ? NULL : exchange->body->bytes, exchange->body_size);
        if (stored_read_head(bytes, id_of(operation), &stored, &crc) != 0) {
            finish(operation, BRAIN_ECORRUPT, "");
            return;
        }
        operation->seen = stored.version;
        memcpy(operation->etag, exchange->etag, sizeof(operation->etag));
        s3_etags_put(&operation->s3->etags, id_of(operation), stored.version, exchange->etag);
    }
    s3_exchange_end(&operation->s3->client, exchange);
    /* The condition that was refused does hold: it was its form that the store did not like. */
    if (operation->refused[0] != '\0' && strcmp(operation->refused, operation->etag) == 0) {
        if (operation->flips++ >= 2) {
            give_up(operation, "s3: the store refuses If-Match with the ETag that it gave itself");
            return;
        }
        operation->s3->ability.quoted = !operation->s3->ability.quoted;
    }
    operation->refused[0] = '\0';
    decide(operation, stored.deleted);
}

static void on_written(struct s3_operation *operation)
{
    const struct warehouse_request *request = operation->request;
    if (request->operation == WAREHOUSE_DUMP)
        s3_etags_put(
            &operation->s3->etags, id_of(operation), request->version, operation->exchange.etag);
    finish(operation, 0, "");
}

static void on_condition_failed(struct s3_operation *operation)
{
    operation->refused[0] = '\0';
    if (operation->conditional && operation->exists && operation->exchange.status == 412)
        memcpy(operation->refused, operation->etag, sizeof(operation->refused));
    s3_etags_forget(&operation->s3->etags, id_of(operation));
    if (operation->tries++ == 0 && !operation->s3->stopping) {
        operation->step = READ;
        send_step(operation);
    } else {
        try_again(operation, READ, operation->exchange.error);
    }
}

/* ---- loads ------------------------------------------------------------------------------------
 */

static void on_loaded(struct s3_operation *operation)
{
    struct s3_exchange *exchange = &operation->exchange;
    struct warehouse_request *request = operation->request;
    struct stored stored;
    struct slice bytes =
        slice_of(exchange->body == NULL ? NULL : exchange->body->bytes, exchange->body_size);
    if (stored_read(bytes, id_of(operation), &stored) != 0) {
        finish(operation, BRAIN_ECORRUPT, "");
        return;
    }
    request->stored = stored.version;
    request->stored_known = true;
    request->stored_tombstone = stored.deleted;
    request->stored_unix_ms = stored.unix_ms;
    s3_etags_put(&operation->s3->etags, id_of(operation), stored.version, exchange->etag);
    if (!stored.deleted) {
        size_t at = (size_t)(stored.value.data - exchange->body->bytes);
        struct block *body = exchange->body;
        if (body->size > exchange->body_size) {
            struct block *smaller = block_resize(body, exchange->body_size);
            body = smaller != NULL ? smaller : body;
        }
        request->loaded = (struct value){body, body->bytes + at, stored.value.size};
        exchange->body = NULL;
    }
    finish(operation, stored.deleted ? BRAIN_ENOENT : 0, "");
}

/* ---- the answer -------------------------------------------------------------------------------
 */

static void on_done(struct s3_operation *operation)
{
    if (operation->step == LOAD)
        on_loaded(operation);
    else if (operation->step == READ)
        on_read(operation);
    else
        on_written(operation);
}

static void on_absent(struct s3_operation *operation)
{
    s3_etags_forget(&operation->s3->etags, id_of(operation));
    if (operation->step == LOAD)
        finish(operation, BRAIN_ENOENT, "");
    else if (operation->step == READ)
        on_read(operation);
    else /* what was to be replaced is gone */
        on_condition_failed(operation);
}

static void on_denied(struct s3_operation *operation)
{
    struct s3 *s3 = operation->s3;
    unsigned used = operation->exchange.generation;
    if (used == s3->client.generation && s3_client_refresh(&s3->client))
        log_info("s3: read new credentials from %s", s3->client.source.file);
    /* Newer ones, whoever found them, deserve another try. */
    if (used != s3->client.generation && operation->refreshes++ < 2) {
        send_step(operation);
        return;
    }
    operation->tries++;
    give_up(operation, operation->exchange.error);
}

static void on_exchange(struct s3_exchange *exchange)
{
    struct s3_operation *operation = exchange->context;
    enum step repeat = operation->step;
    if (operation->step == REMOVE) {
        /* Removed, or somebody was faster, or not this time: then the next load tries again. */
        s3_etags_forget(&operation->s3->etags, id_of(operation));
        finish(operation, 0, "");
        return;
    }
    switch (exchange->outcome) {
    case S3_DONE:
        on_done(operation);
        return;
    case S3_ABSENT:
        on_absent(operation);
        return;
    case S3_CONDITION:
        if (operation->step == WRITE && operation->conditional)
            on_condition_failed(operation);
        else
            try_again(operation, repeat, exchange->error);
        return;
    case S3_AGAIN:
        /* A dump that may have been applied is looked at before it is repeated. */
        if (operation->step == WRITE && operation->request->operation == WAREHOUSE_DUMP &&
            !exchange->not_sent)
            repeat = READ;
        try_again(operation, repeat, exchange->error);
        return;
    case S3_DENIED:
        on_denied(operation);
        return;
    case S3_UNSUPPORTED:
        if (operation->step == WRITE && operation->conditional &&
            !operation->s3->require_conditions) {
            s3_note_weak(operation->s3);
            operation->step = READ;
            send_step(operation);
            return;
        }
        break;
    case S3_REFUSED:
        if (operation->step == READ && exchange->status == 416) {
            finish(operation, BRAIN_ECORRUPT, ""); /* it has no bytes: not ours */
            return;
        }
        break;
    }
    operation->tries++;
    give_up(operation, exchange->error);
}

/* ---- the request ------------------------------------------------------------------------------
 */

/* Sends what operation->step says; the last exchange is over. */
static void send_step(struct s3_operation *operation)
{
    struct s3 *s3 = operation->s3;
    struct warehouse_request *request = operation->request;
    struct s3_call call = {.name = buffer_slice(&operation->name)};
    uint64_t now_ms = driver_now_ms();
    s3_exchange_end(&s3->client, &operation->exchange);
    operation->waiting = operation->held = false;
    if (now_ms >= request->deadline_ms) {
        give_up(operation, last_error(operation));
        return;
    }
    const bool changes = operation->step == WRITE || operation->step == REMOVE;
    if (changes && !driver_may_write(request)) {
        give_up(operation, "s3: " DRIVER_NO_LEASE);
        return;
    }
    switch (operation->step) {
    case LOAD:
        call.method = S3_GET;
        call.limit = s3->value_limit + HEAD_BYTES;
        break;
    case READ:
        call.method = S3_GET;
        call.limit = HEAD_BYTES;
        call.first_bytes = true;
        break;
    case WRITE:
        call.method = S3_PUT;
        call.head = buffer_slice(&operation->head);
        call.tail = request->tombstone ? slice_of(NULL, 0) : value_slice(request->value);
        operation->conditional =
            request->operation == WAREHOUSE_DUMP &&
            (operation->exists ? s3->ability.replace && operation->etag[0] != '\0'
                               : s3->ability.create);
        if (operation->conditional) {
            call.condition = operation->exists ? S3_IF_MATCH : S3_IF_NONE;
            call.etag = operation->etag;
            call.quoted = s3->ability.quoted;
        } else if (request->operation == WAREHOUSE_DUMP && s3->require_conditions) {
            give_up(operation, "s3: the store takes no conditional writes, and "
                               "s3_require_conditions is set");
            return;
        }
        break;
    case REMOVE:
        call.method = S3_DELETE;
        call.condition = S3_IF_MATCH;
        call.etag = operation->etag;
        call.quoted = s3->ability.quoted;
        break;
    }
    if (!s3_exchange_start(&s3->client, &operation->exchange, &call, request->deadline_ms - now_ms))
        finish_no_memory(operation);
}

static uint64_t unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void s3_object_name(
    const struct s3 *s3, struct buffer *out, const struct warehouse_request *request)
{
    struct slice id = slice_of(request->id, request->id_size);
    char text[sizeof(s3->prefix) + CONFLICT_TAIL];
    if (request->operation != WAREHOUSE_SET_ASIDE) {
        stored_name(out, s3->prefix, id, NAME_LIMIT);
        return;
    }
    snprintf(text, sizeof(text), "%s!conflict/", s3->prefix);
    stored_name(out, text, id, NAME_LIMIT - CONFLICT_TAIL);
    int size =
        snprintf(text, sizeof(text), "/%llu.%llu.%llu", (unsigned long long)request->version.view,
            (unsigned long long)request->version.counter, (unsigned long long)request->version.seq);
    buffer_append(out, text, (size_t)size);
}

static void begin_forget(struct s3_operation *operation)
{
    struct s3 *s3 = operation->s3;
    const struct s3_etag *known = s3_etags_find(&s3->etags, id_of(operation));
    if (s3->state == S3_UNTRIED || !s3->ability.remove || known == NULL ||
        version_compare(known->version, operation->request->expected) != 0) {
        finish(operation, 0, "");
        return;
    }
    memcpy(operation->etag, known->text, sizeof(known->text));
    operation->step = REMOVE;
    send_step(operation);
}

void s3_operation_begin(struct s3 *s3, struct warehouse_request *request)
{
    struct s3_operation *operation = heap_allocate_zeroed(sizeof(*operation));
    if (operation == NULL) {
        request->status = BRAIN_EWAREHOUSE;
        s3->events.complete(s3->events.context, request, error_sentence(BRAIN_ENOMEM));
        return;
    }
    operation->s3 = s3;
    operation->request = request;
    operation->next = s3->operations;
    operation->link = &s3->operations;
    if (operation->next != NULL)
        operation->next->link = &operation->next;
    s3->operations = operation;
    operation->exchange.done = on_exchange;
    operation->exchange.context = operation;
    request->driver = operation;
    buffer_init(&operation->name);
    buffer_init(&operation->head);
    s3_object_name(s3, &operation->name, request);
    if (request->operation == WAREHOUSE_DUMP || request->operation == WAREHOUSE_SET_ASIDE) {
        if (request->tombstone)
            stored_write_tombstone(&operation->head, id_of(operation), request->version, unix_ms());
        else
            stored_write_head(&operation->head, id_of(operation), request->version,
                crc32c(0, value_slice(request->value)));
    }
    if (buffer_status(&operation->name) != 0 || buffer_status(&operation->head) != 0) {
        finish_no_memory(operation);
    } else if (request->operation == WAREHOUSE_LOAD) {
        operation->step = LOAD;
        send_step(operation);
    } else if (request->operation == WAREHOUSE_SET_ASIDE) {
        operation->step = WRITE;
        send_step(operation);
    } else if (request->operation == WAREHOUSE_FORGET) {
        begin_forget(operation);
    } else if (s3->state == S3_UNTRIED) {
        operation->held = true;
        if (s3->stopping || s3->probe.is_refused)
            give_up(operation, last_error(operation));
    } else {
        plan(operation);
    }
}

/* ---- all of them ------------------------------------------------------------------------------
 */

uint64_t s3_operations_advance(struct s3 *s3, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    struct s3_operation *operation, *next;
    for (operation = s3->operations; operation != NULL; operation = next) {
        uint64_t deadline_ms = operation->request->deadline_ms;
        next = operation->next;
        /* libcurl's own timeout comes first while it runs, and has better words. */
        if (operation->exchange.transfer.running)
            deadline_ms += GRACE_MS;
        if (now_ms >= deadline_ms) {
            give_up(operation, last_error(operation));
            next_ms = 0; /* there is something to deliver */
        } else if (operation->waiting && now_ms >= operation->wake_ms) {
            send_step(operation);
            next_ms = 0;
        } else {
            uint64_t due_ms = operation->waiting ? operation->wake_ms : deadline_ms;
            next_ms = due_ms < next_ms ? due_ms : next_ms;
        }
    }
    return next_ms;
}

void s3_operations_release(struct s3 *s3, const char *error)
{
    struct s3_operation *operation, *next;
    for (operation = s3->operations; operation != NULL; operation = next) {
        next = operation->next;
        if (!operation->held)
            continue;
        if (error[0] != '\0') {
            give_up(operation, error);
            continue;
        }
        operation->held = false;
        plan(operation);
    }
}

void s3_operations_stop(struct s3 *s3, uint64_t deadline_ms)
{
    struct s3_operation *operation, *next;
    s3->stopping = true;
    for (operation = s3->operations; operation != NULL; operation = next) {
        next = operation->next;
        if (operation->request->deadline_ms > deadline_ms)
            operation->request->deadline_ms = deadline_ms;
        if (operation->waiting || operation->held)
            give_up(operation, last_error(operation));
    }
}
