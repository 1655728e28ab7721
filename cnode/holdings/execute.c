/* Requests of the cluster being carried out, and the fast paths of clients of this node. */
#include <assert.h>

#include "inside.h"

enum { SPARE_LIMIT = 64, EXPIRED_AT_ONCE = 1024 };

/* ---- executions -------------------------------------------------------------------------------
 */

/* NULL: no memory. It is in nobody's hands yet, but its deadline is watched. */
static struct execution *create(struct holdings *h, struct cluster_request *request)
{
    struct execution *execution;
    if (h->spare_count > 0) {
        execution = list_entry(list_first(&h->spare), struct execution, by_deadline);
        list_remove(&execution->by_deadline);
        h->spare_count--;
    } else if (!(execution = heap_allocate(sizeof(*execution)))) {
        return NULL;
    }
    *execution = (struct execution){.request = request};
    list_init(&execution->in_entry);
    /* All of a list wait equally long, so they come nearly in order. */
    struct link *list =
                    request->kind == CLUSTER_WEAK_READ ? &h->weak_deadlines : &h->strong_deadlines,
                *at = list->previous;
    while (at != list && list_entry(at, struct execution, by_deadline)->request->deadline_ms >
                             request->deadline_ms)
        at = at->previous;
    struct link *after = at->next;
    execution->by_deadline = (struct link){at, after};
    at->next = after->previous = &execution->by_deadline;
    h->metrics.executing++;
    return execution;
}

/* Nobody has it any more. */
static void release(struct holdings *h, struct execution *execution)
{
    value_drop(&execution->value);
    if (h->spare_count >= SPARE_LIMIT) {
        heap_release(execution);
        return;
    }
    list_append(&h->spare, &execution->by_deadline);
    h->spare_count++;
}

/* The request, to be answered by whoever takes it. */
static struct cluster_request *take_request(struct holdings *h, struct execution *execution)
{
    struct cluster_request *request = execution->request;
    list_remove(&execution->by_deadline);
    execution->request = NULL;
    h->metrics.executing--;
    return request;
}

void execution_finish(
    struct holdings *h, struct execution *execution, int status, const struct value *value)
{
    struct cluster_request *request = take_request(h, execution);
    struct value kept = execution->value;
    if (value == &execution->value)
        value = &kept;
    execution->value = value_none();
    release(h, execution);
    cluster_executed(h->cluster, request, status, status == STORE_FOUND ? value : NULL, h->now_ms);
    value_drop(&kept);
}

void executions_release(struct holdings *h)
{
    struct link *link;
    while ((link = list_first(&h->spare)) != NULL) {
        list_remove(link);
        heap_release(list_entry(link, struct execution, by_deadline));
    }
    h->spare_count = 0;
}

int execution_abandoned(const struct cluster_request *request)
{
    return is_write(request) ? BRAIN_EUNKNOWN : BRAIN_EUNAVAILABLE;
}

/* ---- reads ------------------------------------------------------------------------------------
 */

/* Keeps what the read has seen until it may be told. */
static int capture(struct execution *execution, int status, const struct value *value)
{
    execution->status = status;
    if (status != STORE_FOUND)
        return 0;
    execution->value = value->block ? value_hold(*value) : value_copy(value_slice(*value));
    return execution->value.block ? 0 : BRAIN_ENOMEM;
}

/* A strong read has seen what it sees: told at once, or when the holders have it. `needs`: as of
 * unbacked_wait. */
static void read_is_seen(struct holdings *h, struct execution *execution, struct unbacked *entry,
    struct version needs, int status, const struct value *value)
{
    if (!entry || (entry->reads == 0 && version_reaches(entry->reached, needs)))
        execution_finish(h, execution, status, value);
    else if (capture(execution, status, value) != 0)
        execution_finish(h, execution, BRAIN_ENOMEM, NULL);
    else
        unbacked_wait(h, entry, execution, needs);
}

/* Anything this node holds, at once. STORE_WAIT: nothing. */
static int peek(struct holdings *h, struct slice id, struct value *value)
{
    struct version version;
    bool deleted;
    if (!store_peek_dirty(h->store, id, &version, value, &deleted))
        return STORE_WAIT;
    return deleted ? STORE_ABSENT : STORE_FOUND;
}

static void read_is_answered(
    struct holdings *h, struct execution *execution, int status, const struct value *value)
{
    bool strong = execution->request->kind == CLUSTER_READ;
    struct unbacked *entry = NULL;
    if (strong && (status == STORE_FOUND || status == STORE_ABSENT))
        entry = unbacked_find(h, execution->request->id);
    read_is_seen(h, execution, entry, unbacked_need_of_any(h, entry), status, value);
}

static void run_read(struct holdings *h, struct cluster_request *request)
{
    bool strong = request->kind == CLUSTER_READ;
    uint64_t hash = hash_of(h, request->id);
    struct unbacked *entry =
        strong && h->unbacked.count > 0 ? unbacked_find_hashed(h, request->id, hash) : NULL;
    bool blocked = entry && unbacked_blocks(h, entry);
    struct value value = value_none();
    int status = store_get_hashed(h->store, request->id, hash, h->now_ms, &value, NULL);
    if (status == STORE_WAIT && !strong)
        status = peek(h, request->id, &value);
    struct execution *execution = NULL;
    if ((blocked || status == STORE_WAIT) && !(execution = create(h, request)))
        status = BRAIN_ENOMEM;
    if (!execution) {
        cluster_executed(
            h->cluster, request, status, status == STORE_FOUND ? &value : NULL, h->now_ms);
    } else if (status != STORE_WAIT) {
        read_is_seen(h, execution, entry, unbacked_need_of_newest(h, entry), status, &value);
    } else {
        status =
            store_get_hashed(h->store, request->id, hash, h->now_ms, &value, &execution->waiter);
        if (status != STORE_WAIT) /* else the store has it, or has answered already */
            read_is_answered(h, execution, status, &value);
    }
}

/* ---- the rest ---------------------------------------------------------------------------------
 */

/* With nobody to hold copies, what survives most is the journal. Asked when the write is executed:
 * it may have waited for the view that says so. */
static enum store_ack ack_now(const struct holdings *h, enum store_ack ack)
{
    if (ack != STORE_ACK_BACKUP || cluster_has_holders(h->cluster))
        return ack;
    return h->events.record_dead != NULL ? STORE_ACK_JOURNAL : STORE_ACK_MEMORY;
}

/* What another member asks for may be anything. */
static enum store_ack ack_of(const struct holdings *h, const struct cluster_request *request)
{
    if (request->ack == HOLDINGS_ACK_JOURNAL_IF_ANY)
        return h->events.record_dead != NULL ? STORE_ACK_JOURNAL : STORE_ACK_MEMORY;
    return request->ack <= STORE_ACK_BACKUP ? ack_now(h, (enum store_ack)request->ack)
                                            : STORE_ACK_WAREHOUSE;
}

static int write(struct holdings *h, struct cluster_request *request, struct writing *writing,
    struct store_waiter *waiter)
{
    struct writing *outer = h->writing;
    *writing = (struct writing){.id = request->id,
        .ack = ack_of(h, request),
        .deletes = request->kind == CLUSTER_DELETE,
        .execution = (struct execution *)(void *)waiter};
    h->writing = writing;
    /* Where there is a journal the record is waited for as well, while the copies are on their way:
     * all members may end at once. */
    const enum store_ack ack = writing->ack == STORE_ACK_BACKUP && h->events.record_dead != NULL
                                   ? STORE_ACK_JOURNAL
                                   : writing->ack;
    int status = request->kind == CLUSTER_DELETE
                     ? store_delete(h->store, request->id, ack, h->now_ms, waiter)
                     : store_set(h->store, request->id, request->value, ack, h->now_ms, waiter);
    h->writing = outer;
    return status;
}

static void run_write(struct holdings *h, struct cluster_request *request)
{
    const bool lacks_journal = request->ack == STORE_ACK_JOURNAL && h->events.record_dead == NULL;
    struct execution *execution = lacks_journal ? NULL : create(h, request);
    if (!execution) {
        cluster_executed(
            h->cluster, request, lacks_journal ? BRAIN_ENOTSUP : BRAIN_ENOMEM, NULL, h->now_ms);
        return;
    }
    struct writing writing;
    int status = write(h, request, &writing, &execution->waiter);
    if (status == STORE_WAIT)
        return; /* the store has it, or has answered already */
    struct unbacked *entry = NULL;
    if (status == STORE_DONE && writing.waits &&
        (writing.ack == STORE_ACK_BACKUP || writing.replicated))
        entry = unbacked_find(h, request->id);
    if (entry && !version_reaches(entry->reached, writing.version))
        unbacked_wait(h, entry, execution, writing.version);
    else
        execution_finish(h, execution, status, NULL);
}

static void run_persist(struct holdings *h, struct cluster_request *request)
{
    struct execution *execution = create(h, request);
    if (!execution) {
        cluster_executed(h->cluster, request, BRAIN_ENOMEM, NULL, h->now_ms);
        return;
    }
    int status = store_persist(h->store, request->id, h->now_ms, &execution->waiter);
    if (status != STORE_WAIT)
        execution_finish(h, execution, status, NULL);
}

void execution_run(struct holdings *h, struct cluster_request *request)
{
    if (is_read(request))
        run_read(h, request);
    else if (is_write(request))
        run_write(h, request);
    else
        run_persist(h, request);
}

void holdings_answer(
    struct holdings *h, struct store_waiter *waiter, int status, const struct value *value)
{
    struct execution *execution = (struct execution *)(void *)waiter;
    if (!execution->request || status == BRAIN_ESHUTDOWN) {
        if (execution->request) /* the store ends after the cluster: there is nobody to tell */
            take_request(h, execution);
        release(h, execution);
    } else if (is_read(execution->request)) {
        read_is_answered(h, execution, status, value);
    } else {
        if (status == BRAIN_ETIMEOUT && is_write(execution->request))
            status = BRAIN_EUNKNOWN; /* it took effect: who may read it is another question */
        struct unbacked *entry = NULL;
        if (status == STORE_DONE && !version_is_none(execution->needs))
            entry = unbacked_find(h, execution->request->id);
        if (entry && !version_reaches(entry->reached, execution->needs))
            unbacked_wait(h, entry, execution, execution->needs);
        else
            execution_finish(h, execution, status, NULL);
    }
}

/* ---- deadlines --------------------------------------------------------------------------------
 */

static void expire(struct holdings *h, struct execution *execution)
{
    int status = is_write(execution->request) ? BRAIN_EUNKNOWN : BRAIN_ETIMEOUT;
    if (execution->entry) {
        unbacked_leave(h, execution);
        execution_finish(h, execution, status, NULL);
    } else {
        struct cluster_request *request = take_request(h, execution);
        cluster_executed(h->cluster, request, status, NULL, h->now_ms);
    }
}

void executions_expire(struct holdings *h)
{
    struct link *lists[] = {&h->strong_deadlines, &h->weak_deadlines}, *link;
    uint32_t budget = EXPIRED_AT_ONCE;
    for (size_t i = 0; i < 2; i++) {
        while (budget > 0 && (link = list_first(lists[i])) != NULL) {
            struct execution *execution = list_entry(link, struct execution, by_deadline);
            if (execution->request->deadline_ms > h->now_ms)
                break;
            budget--;
            expire(h, execution);
        }
    }
}

/* ---- what clients ask, where no other member is needed ----------------------------------------
 */

int holdings_get(
    struct holdings *h, struct slice id, uint64_t hash, uint64_t now_ms, struct value *value)
{
    holdings_see(h, now_ms);
    if (h->unbacked.count > 0) {
        const struct unbacked *entry = unbacked_find_hashed(h, id, hash);
        if (entry && unbacked_blocks(h, entry))
            return STORE_WAIT;
    }
    return store_get_hashed(h->store, id, hash, h->now_ms, value, NULL);
}

/* Is there nobody to be told of a write, nor anything kept that it would change? No holder, now or
 * before, no replica, no record of a copy: then the store need not say what it writes. Should
 * holders come, the core looks for what is dirty by itself. */
static bool is_alone(const struct holdings *h)
{
    return h->unbacked.count == 0 && h->records.count == 0 && !h->replicas.covers &&
           !cluster_tells_holders(h->cluster);
}

/* Can it not be acknowledged at once? Known before anything is done: what becomes a request after
 * its effect may be refused there, and say that nothing had happened. `ack` as of ack_now: a backup
 * is asked for only where there are holders. */
static bool will_wait(const struct holdings *h, enum store_ack ack)
{
    switch (ack) {
    case STORE_ACK_MEMORY:
        break;
    case STORE_ACK_JOURNAL:
        return h->events.record_dead != NULL;
    case STORE_ACK_WAREHOUSE:
    case STORE_ACK_BACKUP:
        return true;
    }
    return false;
}

int holdings_write(struct holdings *h, struct slice id, uint64_t hash, const struct value *value,
    enum store_ack ack, bool told, uint64_t now_ms)
{
    holdings_see(h, now_ms);
    ack = ack_now(h, ack);
    if (told && will_wait(h, ack))
        return STORE_WAIT;
    if (is_alone(h)) {
        int status = store_replace(h->store, id, hash, value, ack, true, h->now_ms);
        if (status == STORE_ABSENT)
            return STORE_WAIT;
        if (status < 0)
            return status;
        cluster_object_untold(h->cluster);
        return STORE_DONE;
    }
    struct writing writing = {.id = id, .ack = ack, .deletes = value == NULL}, *outer = h->writing;
    h->writing = &writing;
    int status = store_replace(h->store, id, hash, value, ack, false, h->now_ms);
    h->writing = outer;
    if (status == STORE_ABSENT)
        return STORE_WAIT;
    return status == STORE_WAIT ? STORE_DONE : status;
}
