/* See inside.h. Life of the struct, what the store tells, what is put off. */
#include <assert.h>

#include "inside.h"

enum { PUT_OFF_RESERVE = 4096, ROUNDS = 4 };

/* ---- time -------------------------------------------------------------------------------------
 */

void holdings_see(struct holdings *h, uint64_t now_ms)
{
    if (now_ms > h->now_ms)
        h->now_ms = now_ms;
}

void holdings_time(struct holdings *h, uint64_t now_ms)
{
    holdings_see(h, now_ms);
}

/* ---- what is put off --------------------------------------------------------------------------
 *
 * One after the other in a buffer: what, for which id, and a version. Without memory an `outdated`
 * is lost (the store tells it again). */

enum put_off_kind { PUT_OFF_CHECK, PUT_OFF_OUTDATED, PUT_OFF_TELL };

struct put_off {
    enum put_off_kind kind;
    uint16_t id_size;
    struct version version;
};

static bool put_off(
    struct holdings *h, enum put_off_kind kind, struct slice id, struct version version)
{
    struct put_off what = {kind, (uint16_t)id.size, version};
    uint8_t *at = buffer_extend(&h->put_off, sizeof(what) + id.size);
    if (!at) {
        h->put_off.failed = false;
        return false;
    }
    memcpy(at, &what, sizeof(what));
    memcpy(at + sizeof(what), id.data, id.size);
    return true;
}

bool holdings_check_later(struct holdings *h, struct slice id)
{
    return put_off(h, PUT_OFF_CHECK, id, (struct version){0, 0, 0});
}

void holdings_tell_later(struct holdings *h, struct slice id, struct version version)
{
    (void)put_off(h, PUT_OFF_TELL, id, version);
}

static void carry_out(struct holdings *h)
{
    struct buffer now = h->put_off; /* what comes meanwhile: another time */
    buffer_init(&h->put_off);
    for (size_t at = 0; at < now.size;) {
        struct put_off what;
        memcpy(&what, now.data + at, sizeof(what));
        struct slice id = slice_of(now.data + at + sizeof(what), what.id_size);
        at += sizeof(what) + what.id_size;
        if (what.kind == PUT_OFF_OUTDATED)
            cluster_object_outdated(h->cluster, id, what.version, h->now_ms);
        else if (what.kind == PUT_OFF_TELL)
            replicated_loaded(h, id, what.version);
        else if (!store_is_resident(h->store, id, hash_of(h, id)))
            cluster_object_released(h->cluster, id, h->now_ms);
    }
    if (h->put_off.size > 0) {
        buffer_release(&now);
        return;
    }
    buffer_release(&h->put_off);
    buffer_clear(&now);
    h->put_off = now;
}

void holdings_settle(struct holdings *h, uint64_t now_ms)
{
    holdings_see(h, now_ms);
    if (h->settling)
        return;
    h->settling = true;
    for (int round = 0; round < ROUNDS; round++) {
        if (!list_is_empty(&h->ready))
            unbacked_flush(h);
        if (h->put_off.size > 0)
            carry_out(h);
    }
    h->settling = false;
}

void holdings_advance(struct holdings *h, uint64_t now_ms)
{
    holdings_see(h, now_ms);
    executions_expire(h);
    holdings_settle(h, now_ms);
}

/* ---- what the store tells ---------------------------------------------------------------------
 */

static bool on_grant(void *member, struct slice id, struct version *epoch)
{
    struct holdings *h = member;
    struct cluster_epoch granted;
    if (!cluster_owns(h->cluster, id, &granted))
        return false;
    epoch->view = granted.view;
    epoch->counter = granted.counter;
    return true;
}

/* R11 */
static bool on_may_dump(void *member, uint64_t now_ms)
{
    struct holdings *h = member;
    holdings_see(h, now_ms);
    return cluster_serves(h->cluster, now_ms) || !holdings_keeps(h, CLUSTER_R11_PUT);
}

static int on_reserve(void *member, struct slice id)
{
    struct holdings *h = member;
    const struct writing *writing = h->writing;
    /* Before it takes effect; what the store makes of what is dirty already is not refused. */
    if (writing && !writing->told && !writing->deletes && slice_equal(writing->id, id) &&
        !cluster_has_room(h->cluster, id, h->now_ms)) {
        h->metrics.refused_full++;
        return BRAIN_EOVERLOAD;
    }
    if (!unbacked_reserve(h, id) ||
        (is_replicated(h, id) && h->replicas.reserve(h->replicas.context, id) != 0))
        return BRAIN_ENOMEM;
    return cluster_object_reserve(h->cluster, id);
}

/* The store's own writes (a copy that wins, a new stamp) are of the highest class that asks for
 * holders: what the object's own was, it has forgotten. */
static bool asks_for_holders(enum store_ack ack)
{
    return ack == STORE_ACK_BACKUP || ack == STORE_ACK_WAREHOUSE;
}

static void on_written(void *member, struct slice id, struct version version,
    const struct value *value, uint64_t now_ms)
{
    struct holdings *h = member;
    holdings_see(h, now_ms);
    struct writing *writing = h->writing;
    if (writing && (writing->told || !slice_equal(writing->id, id)))
        writing = NULL;
    int holders = cluster_object_written(h->cluster, id, version, value, h->now_ms);
    if (h->records.count > 0)
        record_superseded(h, id, version);
    /* Without holders a write that waits for the warehouse is nowhere else until it is there. */
    enum replica_hold hold = REPLICA_UNHELD;
    if (holders == 0 && !writing)
        hold = REPLICA_AS_BEFORE;
    else if (holders == 0 && writing->ack != STORE_ACK_WAREHOUSE)
        hold = REPLICA_IS_HELD;
    bool replicated = replicated_written(h, id, version, value, hold);
    unbacked_written(h, id, version, !writing || asks_for_holders(writing->ack) || replicated,
        replicated && holders == 0 ? 1 : holders);
    if (!writing)
        return;
    writing->told = true;
    writing->waits = holders != 0 || replicated;
    writing->replicated = replicated;
    writing->version = version;
    if (writing->execution && (replicated || (holders != 0 && writing->ack == STORE_ACK_BACKUP)))
        writing->execution->needs = version;
}

static void on_stored(void *member, struct slice id, struct version version, uint64_t now_ms)
{
    struct holdings *h = member;
    holdings_see(h, now_ms);
    if (!version_is_none(version))
        cluster_object_stored(h->cluster, id, version, h->now_ms);
    if (h->records.count > 0)
        record_superseded(h, id, version);
    if (replicated_lack(h, id, version))
        unbacked_compared(h, id);
    else
        unbacked_reached(h, id, version, true);
    replicated_stored(h, id, version);
}

static void on_outdated(void *member, struct slice id, struct version version, uint64_t now_ms)
{
    struct holdings *h = member;
    holdings_see(h, now_ms);
    (void)put_off(h, PUT_OFF_OUTDATED, id, version);
}

static void on_released(void *member, struct slice id, uint64_t now_ms)
{
    struct holdings *h = member;
    holdings_see(h, now_ms);
    if (h->depth > 0 && holdings_check_later(h, id))
        return;
    cluster_object_released(h->cluster, id, h->now_ms);
}

/* ---- what the core asks -----------------------------------------------------------------------
 */

static void raise_epoch(void *context, struct slice id, struct cluster_epoch epoch)
{
    struct holdings *h = context;
    (void)epoch; /* the store asks for it */
    h->depth++;
    (void)store_restamp(h->store, id, h->now_ms); /* else outdated is told again */
    h->depth--;
}

static void execute(void *context, struct cluster_request *request)
{
    struct holdings *h = context;
    h->depth++;
    execution_run(h, request);
    h->depth--;
}

static void read_stored(void *context, struct cluster_request *request)
{
    struct holdings *h = context;
    if (h->events.read_stored)
        h->events.read_stored(h->events.context, request);
    else
        cluster_executed(h->cluster, request, BRAIN_EUNAVAILABLE, NULL, h->now_ms);
}

void holdings_stored_read(struct holdings *h, struct cluster_request *request, int status,
    const struct value *value, uint64_t now_ms)
{
    holdings_see(h, now_ms);
    cluster_executed(h->cluster, request, status, status == STORE_FOUND ? value : NULL, h->now_ms);
}

static bool peek(void *context, struct slice id, struct cluster_copy *copy)
{
    struct holdings *h = context;
    copy->value = value_none();
    return id.size > 0 &&
           store_peek_dirty(h->store, id, &copy->version, &copy->value, &copy->deleted);
}

static bool in_warehouse(void *context, struct slice id, struct version *version)
{
    struct holdings *h = context;
    return store_peek_stored(h->store, id, version);
}

static void backed_up(void *context, struct slice id, struct version version)
{
    struct holdings *h = context;
    if (!replicated_lack(h, id, version))
        unbacked_reached(h, id, version, false);
}

static bool next(void *context, uint64_t *cursor, uint8_t *id, size_t *id_size)
{
    struct holdings *h = context;
    return store_next(h->store, cursor, id, id_size);
}

/* ---- life -------------------------------------------------------------------------------------
 */

struct holdings *holdings_create(struct holdings_events events)
{
    struct holdings *h = heap_allocate_zeroed(sizeof(*h));
    if (!h)
        return NULL;
    h->events = events;
    h->rewrite_first = 1;
    struct link *lists[] = {&h->ready, &h->strong_deadlines, &h->weak_deadlines, &h->spare};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        list_init(lists[i]);
    buffer_init(&h->put_off);
    if (buffer_reserve(&h->put_off, PUT_OFF_RESERVE) == NULL) {
        heap_release(h);
        return NULL;
    }
    return h;
}

void holdings_destroy(struct holdings *h)
{
    if (!h)
        return;
    assert(h->metrics.executing == 0);
    unbacked_release(h);
    records_release(h);
    executions_release(h);
    buffer_release(&h->put_off);
    heap_release(h);
}

void holdings_store_events(struct holdings *h, struct store_events *events)
{
    events->member = h;
    events->grant = on_grant;
    events->may_dump = on_may_dump;
    events->reserve = on_reserve;
    events->written = on_written;
    events->stored = on_stored;
    events->outdated = on_outdated;
    events->released = on_released;
}

static uint32_t comparing(void *context)
{
    const struct holdings *h = context;
    return store_comparing(h->store);
}

struct cluster_objects holdings_objects(struct holdings *h)
{
    return (struct cluster_objects){.context = h,
        .adopt = parting_adopt,
        .raise = raise_epoch,
        .execute = execute,
        .read_stored = read_stored,
        .peek = peek,
        .in_warehouse = in_warehouse,
        .backed_up = backed_up,
        .give_up = parting_give_up,
        .abandon = parting_abandon,
        .next = next,
        .comparing = comparing};
}

void holdings_attach(struct holdings *h, struct store *store, struct cluster *cluster)
{
    h->store = store;
    h->cluster = cluster;
}

void holdings_metrics_register(struct metrics_registry *registry, struct holdings *h)
{
    const char *group = "holdings";
    const struct holdings_metrics *source = &h->metrics;
    HOLDINGS_METRICS(METRICS_ROW)
}
