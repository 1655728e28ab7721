/* A member: the real core on a clock of its own, with a disk that outlives it. */
#include <assert.h>
#include <string.h>

#include "sim.h"

uint64_t node_ms(const struct node *node)
{
    uint64_t now = node->world->now_us;
    int64_t drift = (int64_t)now * node->clock_rate / 1000000;
    return (node->clock_us + now + (uint64_t)drift) / 1000;
}

bool node_hears(const struct node *node)
{
    return node->up && node->paused_until_us <= node->world->now_us;
}

struct node *node_named(struct world *w, struct slice name)
{
    for (int i = 0; i < NODES; i++) {
        if (slice_equal_string(name, w->nodes[i].name))
            return &w->nodes[i];
    }
    return NULL;
}

/* ---- what the core says
 * --------------------------------------------------------------------------
 */

static void on_send(void *context, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail)
{
    network_send(context, to, order, head, tail);
}

static void on_answer(
    void *context, struct cluster_request *request, int status, const struct value *value)
{
    struct node *node = context;
    clients_answer(node->world, request, status, value);
}

static void on_evict(void *context, const struct cluster_member *member, uint64_t view)
{
    struct node *node = context;
    world_trace(node->world, "n%u wants n%c evicted (view %llu)", node->index, member->name.data[1],
        (unsigned long long)view);
    etcd_evict(node, member);
}

static void on_behind(void *context, uint64_t view)
{
    (void)view;
    etcd_look(context);
}

static void on_copy_changed(void *context, struct slice id, const struct cluster_copy *copy)
{
    struct node *node = context;
    struct held *held = &node->held[world_id(node->world, id)];
    *held = (struct held){.there = copy != NULL, .at_us = node->world->now_us};
    /* What is restored, or kept when a lease is lost, is older than that. */
    if (cluster_state(node->core) != CLUSTER_IN && node->last_valid_us < held->at_us)
        held->at_us = node->last_valid_us;
    if (node->restoring_us != 0 && node->restoring_us < held->at_us)
        held->at_us = node->restoring_us;
    holdings_copy_changed(node->holdings, id, copy);
    if (!node->up)
        return;
    if (copy)
        world_trace(node->world, "n%u holds %.*s@%llu.%llu.%llu %s%u", node->index, (int)id.size,
            (const char *)id.data, (unsigned long long)copy->version.view,
            (unsigned long long)copy->version.counter, (unsigned long long)copy->version.seq,
            copy->deleted ? "deleted" : "", world_number(&copy->value));
    else
        world_trace(node->world, "n%u discards its copy of %.*s", node->index, (int)id.size,
            (const char *)id.data);
}

/* R10. What nobody was able to own for so long is given up, and was perhaps the only one. */
static void on_set_aside(void *context, struct slice id, const struct cluster_copy *copy)
{
    const struct node *node = context;
    struct world *w = node->world;
    int i = world_id(w, id);
    world_trace(w, "n%u sets aside %.*s: %u", node->index, (int)id.size, (const char *)id.data,
        world_number(&copy->value));
    w->stats.set_aside++;
    if (node->held[i].there &&
        (w->now_us - node->held[i].at_us) / 1000 + LEASE_MS < w->plan.tombstone_keep_ms / 100 * 88)
        world_fail(
            w, "R10", "n%u sets aside a copy of %s that is not old", node->index, w->id_text[i]);
    if (version_compare(copy->version, w->shelves[i].now.version) > 0)
        faults_note_loss(w);
}

static void on_state(void *context, enum cluster_state state)
{
    static const char *const names[] = {"out", "abandoning", "in", "drained"};
    struct node *node = context;
    world_trace(node->world, "n%u is %s", node->index, names[state]);
    replicas_state(node, state);
    if (state == CLUSTER_DRAINED)
        world_event(node->world, EVENT_LEAVE, 1000, node);
}

/* ---- life
 * ----------------------------------------------------------------------------------------
 */

struct cluster *node_make_core(struct node *node, struct cluster_objects objects)
{
    struct world *w = node->world;
    const struct plan *plan = &w->plan;
    struct cluster_options options = {.name = slice_of_string(node->name),
        .seed = w->options.seed,
        .random_seed = random_next(&w->random),
        .backups = plan->backups,
        .request_timeout_ms = 2500,
        .weak_timeout_ms = 300,
        .retry_ms = 50,
        .report_timeout_ms = 500,
        .view_lag_ms = 400,
        .copy_check_ms = 300,
        .looks_at_once = 2,
        .tombstone_keep_ms = plan->tombstone_keep_ms,
        .handoff_uses = plan->handoff_uses,
        .hints_limit = plan->hints_limit,
        .stash_limit_bytes = 16384,
        .report_chunk_bytes = plan->report_chunk,
        .term_limits = {.max_depth = 32, .max_elements = 10000},
        .broken = w->options.broken};
    struct cluster_events events = {.context = node,
        .send = on_send,
        .answer = on_answer,
        .evict = on_evict,
        .behind = on_behind,
        .copy_changed = on_copy_changed,
        .set_aside = on_set_aside,
        .state = on_state};
    return cluster_create(&options, events, objects);
}

void node_start(struct node *node)
{
    struct world *w = node->world;
    if (node->up)
        return;
    node->up = true;
    node->process++;
    node->draining = node->leaving = node->member = node->direct = false;
    node->paused_until_us = node->advance_at_us = node->renewed_us = 0;
    node->attempt = node->waited_ms = node->pressed_until_ms = node->lease_until_ms = 0;
    memset(node->etags, 0, sizeof(node->etags));
    memset(node->held, 0, sizeof(node->held));
    world_trace(w, "n%u starts", node->index);
    storage_open(node);
    if (w->failed)
        return;
    world_event(w, EVENT_MANAGE, world_random(w, 20000), node);
    world_event(w, EVENT_TICK, world_random(w, 20000), node);
    node_touched(node);
}

void node_stop(struct node *node)
{
    struct world *w = node->world;
    if (!node->up)
        return;
    node->up = node->member = false;
    node->process++;
    for (uint32_t i = 0; i < IDS; i++)
        w->owners[i] = (uint16_t)(w->owners[i] & ~(1U << node->index));
    memset(node->epoch_counter, 0, sizeof(node->epoch_counter));
    storage_note_owned(node);
    network_break_all(w, node->index);
    /* Those who asked it hear nothing any more. */
    storage_close(node);
}

void node_forget_disk(struct node *node)
{
    journal_forget(node);
    node->last_valid_us = 0;
}

void node_drain(struct node *node)
{
    storage_enter(node);
    node->draining = true;
    cluster_drain(node->core, node_ms(node));
    store_drain(node->store, node_ms(node));
    storage_settle(node);
    node_touched(node);
}

static bool is_drained(struct node *node)
{
    const struct store_metrics *m = store_metrics(node->store, node_ms(node));
    if (node->replica && !replica_is_heard(node->replica))
        return false;
    return cluster_state(node->core) == CLUSTER_DRAINED && m->dirty == 0 && m->loading == 0 &&
           m->persisting == 0;
}

/* Drained, or out of patience. Stop serving before revoking. */
void node_leave(struct node *node, bool out_of_patience)
{
    if (!node->draining || node->leaving)
        return;
    struct world *w = node->world;
    if (!is_drained(node)) {
        if (!out_of_patience) {
            world_event(w, EVENT_LEAVE, 50000, node);
            return;
        }
        world_trace(w, "n%u leaves without being drained", node->index);
        faults_lost(w, node);
    }
    faults_left(w, node);
    node->leaving = true;
    w->stats.drains++;
    node->lease_until_ms = 0;
    cluster_lost(node->core, node_ms(node));
    while (cluster_state(node->core) == CLUSTER_ABANDONING)
        (void)cluster_advance(node->core, node_ms(node), 1000);
    storage_settle(node);
    etcd_leave(node);
    world_trace(w, "n%u leaves", node->index);
    node_stop(node);
    journal_crash(node, false);
    struct event *event = world_event(w, EVENT_START, 100000 + world_random(w, 2000000), NULL);
    event->node = node->index;
    event->process = node->process;
}

/* ---- time
 * ----------------------------------------------------------------------------------------
 */

void node_advance(struct node *node)
{
    struct world *w = node->world;
    uint64_t now_ms = node_ms(node);
    node->advance_at_us = 0;
    uint64_t wait_ms = cluster_advance(node->core, now_ms, world_chance(w, 100) ? 1 : 1000);
    if (now_ms - node->waited_ms >= 100) {
        node->waited_ms = now_ms;
        holdings_advance(node->holdings, now_ms);
    }
    holdings_settle(node->holdings, now_ms);
    node->direct |= wait_ms > 0;
    const uint64_t other_ms = replicas_advance(node);
    if (other_ms < wait_ms)
        wait_ms = other_ms;
    if (wait_ms > 1000)
        wait_ms = 1000;
    uint64_t wait_us = wait_ms * 1000 + world_random(w, 3000);
    if (node->advance_at_us != 0 && node->advance_at_us <= w->now_us + wait_us)
        return;
    node->advance_at_us = w->now_us + wait_us;
    world_event(w, EVENT_ADVANCE, wait_us, node);
}

void node_touched(struct node *node)
{
    struct world *w = node->world;
    uint64_t soon_us = 1000 + world_random(w, 8000);
    if (node->advance_at_us != 0 && node->advance_at_us <= w->now_us + soon_us)
        return;
    node->advance_at_us = w->now_us + soon_us;
    world_event(w, EVENT_ADVANCE, soon_us, node);
}

/* R8, broken: who holds a copy writes it to the warehouse. */
static void write_copies(struct node *node)
{
    struct world *w = node->world;
    for (uint32_t id = 0; id < w->plan.ids; id++) {
        struct cluster_copy copy;
        if (cluster_owns(node->core, w->ids[id], NULL) || !world_chance(w, 250) ||
            !cluster_copy_held(node->core, w->ids[id], &copy))
            continue;
        driver_submit(node, &(struct driver_request){.operation = DRIVER_DUMP,
                                .id = id,
                                .version = copy.version,
                                .value = copy.deleted ? NULL : &copy.value,
                                .without_lease = true});
    }
}

void node_tick(struct node *node)
{
    struct world *w = node->world;
    if (!w->calm && world_chance(w, w->plan.pressure))
        node->pressed_until_ms = node_ms(node) + world_random(w, 500);
    uint64_t wait_ms = storage_advance(node);
    if ((w->options.broken & CLUSTER_BREAK(CLUSTER_R8_OWNER)) != 0)
        write_copies(node);
    uint64_t most_us = 20000 + world_random(w, 60000);
    world_event(w, EVENT_TICK, wait_ms * 1000 < most_us ? wait_ms * 1000 + 1 : most_us, node);
}
