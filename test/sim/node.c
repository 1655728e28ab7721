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

static void set_record(
    const struct world *w, struct record *record, const struct cluster_copy *copy)
{
    value_drop(&record->copy.value);
    *record = (struct record){.there = copy != NULL, .at_us = w->now_us};
    if (copy) {
        record->copy = *copy;
        value_hold(copy->value);
    }
}

static void on_copy_changed(void *context, struct slice id, const struct cluster_copy *copy)
{
    struct node *node = context;
    struct record *record = &node->copies[world_id(node->world, id)];
    set_record(node->world, record, copy);
    /* What is restored, or kept when a lease is lost, is older than that. */
    if (cluster_state(node->core) != CLUSTER_IN && node->last_valid_us < record->at_us)
        record->at_us = node->last_valid_us;
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
    if (node->copies[i].there && (w->now_us - node->copies[i].at_us) / 1000 + LEASE_MS <
                                     w->plan.tombstone_keep_ms / 100 * 88)
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
    if (state == CLUSTER_DRAINED)
        world_event(node->world, EVENT_LEAVE, 1000, node);
}

/* ---- what its objects say
 * ------------------------------------------------------------------------
 */

static void on_load(void *context, struct slice id, uint64_t ticket)
{
    warehouse_load(context, id, ticket);
}

static void on_dump(void *context, struct slice id, uint64_t ticket, const struct stored *what,
    uint64_t expected, bool removes)
{
    warehouse_dump(context, id, ticket, what, expected, removes);
}

static void on_record(void *context, struct slice id, const struct cluster_copy *copy)
{
    struct node *node = context;
    int i = world_id(node->world, id);
    set_record(node->world, &node->before[i], node->owned[i].there ? &node->owned[i].copy : NULL);
    set_record(node->world, &node->owned[i], copy);
    if (copy)
        clients_recorded(node->world, copy);
}

static void on_executed(void *context, struct cluster_request *request, struct version version)
{
    const struct node *node = context;
    world_trace(node->world, "n%u writes %.*s@%llu.%llu.%llu := %u", node->index,
        (int)request->id.size, (const char *)request->id.data, (unsigned long long)version.view,
        (unsigned long long)version.counter, (unsigned long long)version.seq,
        request->kind == CLUSTER_DELETE ? 0 : world_number(&request->value));
    clients_executed(node->world, request, version);
}

static void on_broken(void *context, const char *rule, const char *what, struct slice id)
{
    const struct node *node = context;
    /* Two histories that are muddled: R4 settles them. */
    if (!node->world->etcd.muddled)
        world_fail(node->world, rule, "%s (%.*s, n%u)", what, (int)id.size, (const char *)id.data,
            node->index);
}

/* ---- life
 * ----------------------------------------------------------------------------------------
 */

static struct cluster *make_core(struct node *node)
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
    return cluster_create(&options, events, objects_interface(node->objects));
}

/* R1, R10: what the journal brought back, before the first join. The last record may be missing. */
static void replay(struct node *node)
{
    struct world *w = node->world;
    uint64_t age_ms =
        node->last_valid_us == 0
            ? 0
            : (w->now_us > node->last_valid_us ? (w->now_us - node->last_valid_us) / 1000 : 0);
    for (uint32_t i = 0; i < w->plan.ids; i++) {
        struct record *records[] = {&node->owned[i], &node->copies[i]};
        if (node->before[i].there && world_chance(w, 150))
            records[0] = &node->before[i];
        for (int n = 0; n < 2; n++) {
            struct record *record = records[n];
            if (!record->there)
                continue;
            world_trace(w, "n%u replays %s: %u", node->index, w->id_text[i],
                world_number(&record->copy.value));
            struct cluster_copy copy = record->copy;
            value_hold(copy.value);
            if (cluster_restore(node->core, w->ids[i], &copy, age_ms) != 0)
                world_fail(w, "memory", "cluster_restore");
            value_drop(&copy.value);
        }
        set_record(w, &node->owned[i], NULL); /* they are copies now */
        set_record(w, &node->before[i], NULL);
    }
}

void node_start(struct node *node)
{
    struct world *w = node->world;
    if (node->up)
        return;
    node->up = true;
    node->process++;
    node->draining = node->leaving = node->member = false;
    node->paused_until_us = node->advance_at_us = node->renewed_us = 0;
    node->attempt = 0;
    world_trace(w, "n%u starts", node->index);
    struct objects_options options = {.ids_limit = IDS,
        .tombstone_keep_ms = w->plan.versioned_names ? 0 : w->plan.tombstone_keep_ms,
        .broken = w->options.broken};
    struct objects_events events = {.context = node,
        .load = on_load,
        .dump = on_dump,
        .record = on_record,
        .executed = on_executed,
        .broken = on_broken};
    node->objects = objects_create(&options, events);
    for (uint32_t i = 0; i < w->plan.ids; i++)
        objects_expect(node->objects, w->ids[i]);
    node->core = make_core(node);
    if (!node->core) {
        world_fail(w, "memory", "cluster_create");
        return;
    }
    objects_attach(node->objects, node->core);
    objects_time(node->objects, node_ms(node), w->now_us / 1000);
    replay(node);
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
    network_break_all(w, node->index);
    /* Those who asked it hear nothing any more; what it holds back may not be freed by answers. */
    cluster_destroy(node->core);
    objects_destroy(node->objects);
    node->core = NULL;
    node->objects = NULL;
}

void node_forget_disk(struct node *node)
{
    for (uint32_t i = 0; i < IDS; i++) {
        set_record(node->world, &node->owned[i], NULL);
        set_record(node->world, &node->copies[i], NULL);
        set_record(node->world, &node->before[i], NULL);
    }
    node->last_valid_us = 0;
}

/* Drained, or out of patience. Stop serving before revoking. */
void node_leave(struct node *node)
{
    if (!node->draining || node->leaving)
        return;
    struct world *w = node->world;
    if (cluster_state(node->core) != CLUSTER_DRAINED) {
        world_trace(w, "n%u leaves without being drained", node->index);
        faults_lost(w, node);
    }
    node->leaving = true;
    w->stats.drains++;
    w->armed_us = 0; /* what its copies protected has to be sent to others */
    cluster_lost(node->core, node_ms(node));
    while (cluster_state(node->core) == CLUSTER_ABANDONING)
        (void)cluster_advance(node->core, node_ms(node), 1000);
    etcd_leave(node);
    world_trace(w, "n%u leaves", node->index);
    node_stop(node);
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
    node->advance_at_us = 0;
    uint64_t wait_ms = cluster_advance(node->core, node_ms(node), world_chance(w, 100) ? 1 : 1000);
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

void node_tick(struct node *node)
{
    struct world *w = node->world;
    bool hurry = node->draining || w->calm;
    uint32_t drop = w->plan.drop_chance;
    if (w->calm && drop < 20) /* what idles leaves at last, and its copies are looked after */
        drop = 20;
    objects_tick(node->objects, &w->random, hurry ? 128 : w->plan.dump_chance, drop);
    world_event(w, EVENT_TICK, 20000 + world_random(w, 30000), node);
}
