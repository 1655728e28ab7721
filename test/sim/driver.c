/* Loads and dumps at a node: the steps of cnode/warehouse/s3_operation.c, with its memory of ETags,
 * and of ftp_store.c, in a thread of its own as far as pauses allow. Requests of one id keep their
 * order. A dump whose answer is lost is looked at before it is repeated; a request that takes
 * longer than its deadline is given up, while what it asked for may still be on its way. */
#include <assert.h>
#include <stdlib.h>

#include "sim.h"

struct job {
    struct job *next;
    uint64_t number, deadline_us;
    uint32_t attempt, tries, id;
    enum driver_operation operation;
    struct object *object;
    struct cluster_request *asker;
    struct version version, expected;
    bool expected_known, deleted, without_lease, begun;
    struct value form; /* of a dump */
    enum warehouse_step step;
    bool exists; /* what was seen there: */
    struct version seen;
    uint64_t tag;
};

static const struct version NONE;

static void send_step(struct node *node, struct job *job);

/* ---- the end of a request ---------------------------------------------------------------------
 */

static void begin(struct node *node, struct job *job);

static void tell(struct node *node, struct job *job, int status, const struct stored *stored)
{
    const struct version *expected = job->expected_known ? &job->expected : NULL;
    struct value value = value_none();
    if (stored && !stored->deleted && job->operation == DRIVER_LOAD)
        value = value_copy(stored->value); /* the real ones hand on what they received */
    if (job->asker)
        holdings_stored_read(node->holdings, job->asker,
            status != 0   ? status
            : value.block ? STORE_FOUND
                          : STORE_ABSENT,
            &value, node_ms(node));
    else if (job->object && job->operation == DRIVER_LOAD)
        storage_loaded(node, job->object,
            status != 0   ? status
            : value.block ? 0
                          : STORE_ABSENT,
            stored, &value);
    else if (job->object)
        storage_dumped(node, job->object, job->id, status, job->version, expected,
            stored ? &stored->version : NULL);
    value_drop(&value);
}

/* `stored`: what a load found, or a dump met; NULL: nothing is known of it. */
static void finish(struct node *node, struct job *job, int status, const struct stored *stored)
{
    struct job **link = &node->jobs;
    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
    struct job *behind = node->jobs; /* the last of the list is the first that came */
    struct job *next = NULL;
    for (; behind; behind = behind->next) {
        if (behind->id == job->id && !behind->begun)
            next = behind;
    }
    uint64_t number = next ? next->number : 0;
    tell(node, job, status, stored);
    value_drop(&job->form);
    free(job);
    for (next = node->jobs; next && number != 0; next = next->next) {
        if (next->number == number && node->up) {
            begin(node, next);
            break;
        }
    }
}

/* ---- steps ------------------------------------------------------------------------------------
 */

static void remember(struct node *node, const struct job *job, struct version version, uint64_t tag)
{
    node->etags[job->id] = (struct etag){true, version, tag};
}

static void try_again(struct node *node, struct job *job, enum warehouse_step step)
{
    struct world *w = node->world;
    uint64_t pause_us = world_random(w, UINT64_C(20000) << (job->tries < 4 ? job->tries : 4));
    job->tries++;
    if (w->now_us + pause_us >= job->deadline_us) {
        finish(node, job, BRAIN_EWAREHOUSE, NULL);
        return;
    }
    job->step = step;
    struct exchange pause = {.job = job->number, .attempt = ++job->attempt, .id = job->id};
    warehouse_resume(node, &pause, pause_us);
}

static bool may_write(const struct node *node, const struct job *job)
{
    bool breaks = node->world->options.broken & CLUSTER_BREAK(CLUSTER_R11_PUT);
    return job->without_lease || breaks || node_ms(node) < node->lease_until_ms;
}

static void send_step(struct node *node, struct job *job)
{
    bool changes = job->step == WAREHOUSE_PUT || job->step == WAREHOUSE_REMOVE;
    if (node->world->now_us >= job->deadline_us || (changes && !may_write(node, job))) {
        finish(node, job, BRAIN_EWAREHOUSE, NULL);
        return;
    }
    struct exchange exchange = {.job = job->number,
        .attempt = ++job->attempt,
        .id = job->id,
        .step = job->step,
        .exists = job->exists,
        .tag = job->tag};
    if (job->step == WAREHOUSE_PUT)
        exchange.form = value_hold(job->form);
    warehouse_send(node, &exchange);
    value_drop(&exchange.form);
}

/* What is there is known: may our version replace it? */
static void decide(struct node *node, struct job *job, bool deleted)
{
    struct version stored = job->exists ? job->seen : NONE;
    int order = job->exists ? version_compare(stored, job->version) : -1;
    if (order == 0) {
        finish(node, job, 0, NULL);
    } else if (order < 0 && (!job->expected_known || version_compare(stored, job->expected) == 0)) {
        job->step = WAREHOUSE_PUT;
        send_step(node, job);
    } else {
        struct stored found = {.version = stored, .deleted = deleted};
        finish(node, job, BRAIN_ECONFLICT, &found);
    }
}

/* Begins from what is remembered, where the store has conditions. */
static void begin(struct node *node, struct job *job)
{
    const struct world *w = node->world;
    const struct etag *known = &node->etags[job->id];
    job->begun = true;
    job->deadline_us = w->now_us + w->plan.deadline_ms * UINT64_C(1000);
    job->step = WAREHOUSE_GET;
    if (job->operation == DRIVER_FORGET) {
        if (!known->known || version_compare(known->version, job->expected) != 0) {
            finish(node, job, 0, NULL);
            return;
        }
        job->step = WAREHOUSE_REMOVE;
        job->exists = true;
        job->tag = known->tag;
    } else if (job->operation == DRIVER_DUMP) {
        job->step = WAREHOUSE_HEAD;
        if (known->known && !w->plan.versioned_names &&
            version_compare(known->version, job->version) < 0 &&
            (!job->expected_known || version_compare(known->version, job->expected) == 0)) {
            job->step = WAREHOUSE_PUT;
            job->exists = true;
            job->seen = known->version;
            job->tag = known->tag;
        } else if (!known->known && !w->plan.versioned_names && job->expected_known &&
                   version_compare(job->expected, NONE) == 0) {
            job->step = WAREHOUSE_PUT;
            job->exists = false;
        }
    }
    send_step(node, job);
}

void driver_submit(struct node *node, const struct driver_request *request)
{
    struct world *w = node->world;
    struct job *job = calloc(1, sizeof(*job));
    if (!job)
        abort();
    bool first = true;
    for (const struct job *other = node->jobs; other; other = other->next)
        first &= other->id != request->id;
    *job = (struct job){.next = node->jobs,
        .number = ++node->jobs_count,
        .id = request->id,
        .operation = request->operation,
        .object = request->object,
        .asker = request->asker,
        .version = request->version,
        .expected_known = request->expected != NULL,
        .deleted = !request->value,
        .without_lease = request->without_lease};
    if (request->expected)
        job->expected = *request->expected;
    if (request->operation == DRIVER_DUMP)
        job->form = world_form(w, w->ids[request->id], request->version, request->value);
    node->jobs = job;
    /* Not within the event: what is under way stays so until its answer comes. */
    if (!first)
        return;
    job->begun = true;
    job->deadline_us = w->now_us + w->plan.deadline_ms * UINT64_C(1000);
    struct exchange start = {.job = job->number, .attempt = ++job->attempt, .id = job->id};
    warehouse_resume(node, &start, world_random(w, 300));
}

/* ---- what comes back --------------------------------------------------------------------------
 */

static void on_found(struct node *node, struct job *job, const struct exchange *exchange)
{
    struct stored stored;
    bool exists = exchange->outcome == WAREHOUSE_DONE;
    if (exists) {
        int status = stored_read(value_slice(exchange->form), node->world->ids[job->id], &stored);
        assert(status == 0);
        (void)status;
        remember(node, job, stored.version, exchange->tag);
    } else {
        node->etags[job->id].known = false;
    }
    if (job->step == WAREHOUSE_GET) {
        finish(node, job, 0, exists ? &stored : NULL);
        return;
    }
    job->exists = exists;
    job->seen = exists ? stored.version : NONE;
    job->tag = exchange->tag;
    decide(node, job, exists && stored.deleted);
}

static void on_refused(struct node *node, struct job *job)
{
    node->etags[job->id].known = false;
    if (job->tries++ == 0) {
        job->step = WAREHOUSE_HEAD;
        send_step(node, job);
    } else {
        try_again(node, job, WAREHOUSE_HEAD);
    }
}

static struct job *find(const struct node *node, const struct exchange *exchange)
{
    struct job *job = node->jobs;
    while (job && job->number != exchange->job)
        job = job->next;
    return job && job->attempt == exchange->attempt ? job : NULL;
}

void driver_reply(struct world *w, struct event *event)
{
    struct node *node = &w->nodes[event->node];
    const struct exchange *exchange = event->data;
    struct job *job = find(node, exchange);
    if (!job)
        return; /* given up, or tried again */
    if (exchange->outcome == WAREHOUSE_RESUME) {
        if (job->tries == 0 && job->attempt == 1)
            begin(node, job);
        else
            send_step(node, job);
    } else if (job->step == WAREHOUSE_REMOVE) {
        node->etags[job->id].known = false;
        finish(node, job, 0, NULL);
    } else if (exchange->outcome == WAREHOUSE_FAILED) {
        try_again(node, job, job->step == WAREHOUSE_PUT ? WAREHOUSE_HEAD : job->step);
    } else if (job->step != WAREHOUSE_PUT) {
        on_found(node, job, exchange);
    } else if (exchange->outcome == WAREHOUSE_DONE) {
        remember(node, job, job->version, exchange->tag);
        finish(node, job, 0, NULL);
    } else {
        on_refused(node, job);
    }
}

void driver_stop(struct node *node)
{
    while (node->jobs)
        finish(node, node->jobs, BRAIN_EWAREHOUSE, NULL);
}
