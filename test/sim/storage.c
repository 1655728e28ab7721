/* The store of a member and its holdings, wired to the journal and the warehouse of the simulator
 * as cnode/server does it to the real ones (storage.c, journaling.c, clustering.c there). What is
 * here decides nothing. */
#include <assert.h>

#include "../../cnode/holdings/inside.h" /* whom the store answers */
#include "sim.h"

/* The node at which something happens. So that two of the functions that holdings gave away can be
 * listened to without passing on the dozen others. */
static struct node *here;

void storage_enter(struct node *node)
{
    here = node;
    holdings_time(node->holdings, node_ms(node));
}

/* ---- the store -> journal, warehouse ------------------------------------------------------------
 */

static uint32_t id_of(const struct node *node, struct slice id)
{
    return (uint32_t)world_id(node->world, id);
}

static void on_load(void *context, struct object *object, struct slice id)
{
    struct node *node = context;
    driver_submit(node, &(struct driver_request){
                            .operation = DRIVER_LOAD, .id = id_of(node, id), .object = object});
}

static void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value)
{
    struct node *node = context;
    driver_submit(node, &(struct driver_request){.operation = DRIVER_DUMP,
                            .id = id_of(node, id),
                            .object = object,
                            .version = version,
                            .expected = expected,
                            .value = value});
}

/* Only a store that is alone takes what the warehouse has for somebody else's later word. */
static void on_set_aside(
    void *context, struct slice id, struct version version, const struct value *value)
{
    const struct node *node = context;
    (void)version, (void)value;
    world_fail(node->world, "R4", "n%u sets aside its %.*s for what the warehouse has", node->index,
        (int)id.size, (const char *)id.data);
}

static int on_record(
    void *context, struct slice id, struct version version, const struct value *value)
{
    return journal_record(context, version.seq, NULL, id, version, value);
}

static int on_record_again(void *context, uint64_t seq, uint64_t age_ms, struct slice id,
    struct version version, const struct value *value)
{
    return journal_record(context, seq, &age_ms, id, version, value);
}

static void on_record_live(void *context, uint64_t seq)
{
    journal_live(context, seq);
}

static void on_record_dead(void *context, uint64_t seq)
{
    journal_dead(context, seq);
}

/* Of a write that is told that the journal or the warehouse failed: whoever reads it then, is shown
 * it. A timeout ends nothing (object.h). */
static void note_failure(const struct node *node, const struct store_waiter *waiter)
{
    const struct execution *execution = (const struct execution *)(const void *)waiter;
    const struct cluster_request *request = execution->request;
    if (request && request->kind == CLUSTER_WRITE)
        clients_unconfirmed(node->world, id_of(node, request->id), world_number(&request->value));
    else if (request && request->kind == CLUSTER_DELETE)
        clients_unconfirmed(node->world, id_of(node, request->id), 0);
}

static void on_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    const struct node *node = context;
    if (status == BRAIN_EWAREHOUSE || status == BRAIN_EJOURNAL)
        note_failure(node, waiter);
    holdings_answer(node->holdings, waiter, status, value);
}

/* ---- what is listened to ------------------------------------------------------------------------
 */

static void note_write(
    struct node *node, struct slice id, struct version version, const struct value *value)
{
    struct world *w = node->world;
    uint32_t number = value ? world_number(value) : 0;
    bool executed = number != 0 && node->executing == number;
    if (executed)
        node->executing = 0;
    world_trace(w, "n%u writes %.*s@%llu.%llu.%llu := %u%s", node->index, (int)id.size,
        (const char *)id.data, (unsigned long long)version.view,
        (unsigned long long)version.counter, (unsigned long long)version.seq, number,
        executed || number == 0 ? "" : " again");
    clients_written(node, id_of(node, id), number, version, executed);
}

static void on_written(void *member, struct slice id, struct version version,
    const struct value *value, uint64_t now_ms)
{
    note_write(here, id, version, value);
    here->told.written(member, id, version, value, now_ms);
}

void storage_note_write(struct node *node, uint32_t id)
{
    struct version version;
    struct value value;
    bool deleted;
    struct slice bytes = node->world->ids[id];
    if (store_peek_dirty(node->store, bytes, &version, &value, &deleted))
        note_write(node, bytes, version, deleted ? NULL : &value);
}

static void execute(void *context, struct cluster_request *request)
{
    struct node *node = here;
    uint32_t outer = node->executing;
    node->executing = request->kind == CLUSTER_WRITE ? world_number(&request->value) : 0;
    node->execute(context, request);
    node->executing = outer;
}

/* ---- warehouse -> the store ---------------------------------------------------------------------
 */

void storage_loaded(struct node *node, struct object *object, int status,
    const struct stored *stored, const struct value *value)
{
    store_loaded(
        node->store, object, status, stored ? &stored->version : NULL, value, node_ms(node));
    const struct world *w = node->world;
    uint64_t wall_ms = w->now_us / 1000;
    if (w->plan.versioned_names || !stored || !stored->deleted || stored->unix_ms > wall_ms ||
        wall_ms - stored->unix_ms < w->plan.tombstone_keep_ms)
        return;
    driver_submit(node, &(struct driver_request){.operation = DRIVER_FORGET,
                            .id = id_of(node, stored->id),
                            .expected = &stored->version});
}

/* R8: nobody but the owner writes, so it cannot be outrun by what it never knew. Two histories of
 * etcd that are muddled are settled by R4. */
static void check_outrun(const struct node *node, uint32_t id, struct version version,
    const struct version *expected, const struct version *stored)
{
    struct world *w = node->world;
    struct cluster_epoch epoch;
    if (!expected || version_compare(*stored, version) <= 0 || w->etcd.muddled ||
        !cluster_serves(node->core, node_ms(node)) ||
        !cluster_owns(node->core, w->ids[id], &epoch) || epoch.view != version.view ||
        epoch.counter != version.counter)
        return;
    world_fail(w, "R8", "the warehouse holds a newer %s than its owner n%u wrote", w->id_text[id],
        node->index);
}

void storage_dumped(struct node *node, struct object *object, uint32_t id, int status,
    struct version version, const struct version *expected, const struct version *stored)
{
    if (status == BRAIN_ECONFLICT) {
        node->world->stats.conflicts++;
        check_outrun(node, id, version, expected, stored);
    }
    store_dumped(node->store, object, status, stored, node_ms(node));
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static void on_read_stored(void *context, struct cluster_request *request)
{
    struct node *node = context;
    driver_submit(
        node, &(struct driver_request){
                  .operation = DRIVER_LOAD, .id = id_of(node, request->id), .asker = request});
}

static struct store *make_store(struct node *node)
{
    struct world *w = node->world;
    const struct plan *plan = &w->plan;
    struct store_options options = {.key_ttl_ms = plan->key_ttl_ms,
        .wait_timeout_ms = 2500,
        .dumps_parallel = plan->dumps_parallel,
        .dumps_parallel_bytes = 1 << 20,
        .retry_min_ms = 50,
        .retry_max_ms = 500,
        .hash_seed = random_next(&w->random),
        .epoch = {0, w->now_us / 1000, 0},
        .max_dirty_ms = plan->max_dirty_ms,
        .memory_limit_bytes = MEMORY_LIMIT,
        .breaker_failures = plan->breaker_failures,
        .broken =
            (w->options.broken & CLUSTER_BREAK(CLUSTER_R7_COMPARE) ? STORE_BREAK_COMPARE : 0) |
            (w->options.broken & CLUSTER_BREAK(CLUSTER_R13_RELEASE) ? STORE_BREAK_RELEASE : 0)};
    struct store_events events = {.context = node,
        .load = on_load,
        .dump = on_dump,
        .set_aside = on_set_aside,
        .answer = on_answer};
    if (plan->journal) {
        events.record = on_record;
        events.record_live = on_record_live;
        events.record_dead = on_record_dead;
    }
    holdings_store_events(node->holdings, &events);
    node->told = events;
    events.written = on_written;
    return store_create(&options, events);
}

void storage_open(struct node *node)
{
    struct world *w = node->world;
    struct holdings_events events = {.context = node,
        .read_stored = on_read_stored,
        .record = w->plan.journal ? on_record_again : NULL,
        .record_live = w->plan.journal ? on_record_live : NULL,
        .record_dead = w->plan.journal ? on_record_dead : NULL};
    node->holdings = holdings_create(events);
    if (!node->holdings || !(node->store = make_store(node))) {
        world_fail(w, "memory", "no store");
        return;
    }
    struct cluster_objects objects = holdings_objects(node->holdings);
    node->execute = objects.execute;
    objects.execute = execute;
    node->core = node_make_core(node, objects);
    if (!node->core) {
        world_fail(w, "memory", "no core");
        return;
    }
    holdings_attach(node->holdings, node->store, node->core);
    replicas_open(node);
    storage_enter(node);
    /* R10: without a former membership it is this node's alone, and of no age. */
    uint64_t age_ms =
        w->now_us > node->last_valid_us ? (w->now_us - node->last_valid_us) / 1000 : 0;
    if (node->last_valid_us == 0)
        age_ms = UINT64_MAX;
    if (w->plan.journal)
        journal_replay(node, age_ms);
}

void storage_note_owned(struct node *node)
{
    for (uint32_t id = 0; id < node->world->plan.ids; id++) {
        struct version version;
        struct value value;
        bool deleted;
        node->owned_seq[id] =
            store_peek_dirty(node->store, node->world->ids[id], &version, &value, &deleted)
                ? version.seq
                : 0;
    }
}

/* Nobody hears of what happens now: the node is not up any more. */
void storage_close(struct node *node)
{
    assert(!node->up);
    storage_enter(node);
    cluster_lost(node->core, node_ms(node));
    while (cluster_state(node->core) == CLUSTER_ABANDONING)
        (void)cluster_advance(node->core, node_ms(node), 1000);
    driver_stop(node);
    holdings_settle(node->holdings, node_ms(node));
    cluster_destroy(node->core);
    store_destroy(node->store);
    replicas_close(node);
    holdings_destroy(node->holdings);
    node->core = NULL;
    node->store = NULL;
    node->holdings = NULL;
}

/* ---- turns and time -----------------------------------------------------------------------------
 */

void storage_settle(struct node *node)
{
    holdings_settle(node->holdings, node_ms(node));
    if (node->world->plan.journal)
        journal_submit(node);
}

uint64_t storage_advance(struct node *node)
{
    uint64_t now_ms = node_ms(node);
    store_set_outside_bytes(node->store, now_ms < node->pressed_until_ms ? MEMORY_LIMIT : 0);
    const uint64_t wait_ms =
        store_advance(node->store, now_ms, world_chance(node->world, 100) ? 1 : 1000);
    if (node->world->plan.journal)
        journal_advance(node);
    return wait_ms;
}

/* ---- questions ----------------------------------------------------------------------------------
 */

bool storage_is_resident(const struct node *node, uint32_t id)
{
    struct slice bytes = node->world->ids[id];
    return store_is_resident(node->store, bytes, store_hash(node->store, bytes));
}

bool storage_is_settled(struct node *node)
{
    const struct world *w = node->world;
    for (uint32_t id = 0; id < w->plan.ids; id++) {
        struct version version;
        struct value value;
        bool deleted;
        if (storage_is_resident(node, id) &&
            !store_peek_dirty(node->store, w->ids[id], &version, &value, &deleted) &&
            !store_peek_stored(node->store, w->ids[id], &version))
            return false;
    }
    return true;
}

bool storage_is_clean(struct node *node)
{
    const struct store_metrics *m = store_metrics(node->store, node_ms(node));
    return m->dirty == 0 && m->loading == 0 && m->persisting == 0 && m->waiting == 0 &&
           storage_is_settled(node);
}

bool storage_peek(struct node *node, uint32_t id, struct version *version, bool *deleted,
    uint32_t *number, bool *dirty)
{
    struct slice bytes = node->world->ids[id];
    struct value value = value_none();
    *deleted = false;
    *dirty = store_peek_dirty(node->store, bytes, version, &value, deleted);
    if (!*dirty && !store_peek_stored(node->store, bytes, version))
        return false;
    *number = *dirty && !*deleted ? world_number(&value) : 0;
    return true;
}
