/* Replicated objects: the real replica of a member, wired to core, holdings and clients as
 * cnode/server does it (replication.c, routing.c, clustering*.c there). What is here decides
 * nothing. */
#include <string.h>

#include "sim.h"

/* ---- replica -> members, core, holdings ---------------------------------------------------------
 */

static void on_send(void *context, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail)
{
    network_send(context, to, order, head, tail);
}

static bool on_owns(void *context, struct slice id, struct cluster_epoch epoch)
{
    const struct node *node = context;
    struct cluster_epoch now;
    return cluster_owns(node->core, id, &now) && cluster_epoch_compare(now, epoch) == 0;
}

static void on_reached(void *context, struct slice id, struct version version)
{
    struct node *node = context;
    holdings_replicated(node->holdings, id, version);
}

static void on_superseded(void *context, struct slice id)
{
    struct node *node = context;
    holdings_superseded(node->holdings, id);
}

static void on_differs(void *context, struct slice member, struct slice theirs)
{
    const struct node *node = context;
    if (node->world->plan.differ_chance == 0)
        world_fail(node->world, "replicas", "n%u hears that %.*s has %.*s", node->index,
            (int)member.size, (const char *)member.data, (int)theirs.size,
            (const char *)theirs.data);
    world_trace(node->world, "n%u hears that %.*s has %.*s", node->index, (int)member.size,
        (const char *)member.data, (int)theirs.size, (const char *)theirs.data);
}

static void on_overflowed(void *context)
{
    const struct node *node = context;
    world_trace(node->world, "n%u gives its replicas up: they are too large", node->index);
}

/* ---- holdings -> replica ------------------------------------------------------------------------
 */

static bool on_covers(void *context, struct slice id)
{
    const struct node *node = context;
    return replica_covers(node->replica, id);
}

static int on_reserve(void *context, struct slice id)
{
    const struct node *node = context;
    return replica_reserve(node->replica, id);
}

static int on_written(void *context, struct slice id, struct version version,
    const struct value *value, enum replica_hold hold, uint64_t now_ms)
{
    const struct node *node = context;
    struct cluster_epoch epoch;
    if (!cluster_owns(node->core, id, &epoch))
        return BRAIN_EUNAVAILABLE;
    return replica_written(node->replica, id, epoch, version, value, hold, now_ms);
}

static bool on_held(void *context, struct slice id, struct version version, uint64_t now_ms)
{
    const struct node *node = context;
    return replica_held(node->replica, id, version, now_ms);
}

static bool on_knows(void *context, struct slice id, struct version version)
{
    const struct node *node = context;
    return replica_knows(node->replica, id, version);
}

static void on_doubt(void *context, struct slice id, struct version version)
{
    const struct node *node = context;
    replica_doubt(node->replica, id, version);
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static bool differ(const struct node *a, const struct node *b)
{
    return a->settings.ids != b->settings.ids ||
           (a->settings.ids != REPLICATED_NONE && a->settings.wait_owner != b->settings.wait_owner);
}

/* Whoever is started when the faults are over has the settings of all; but who is there then may
 * differ to the end. */
static struct replica_settings choose_settings(struct world *w)
{
    struct replica_settings settings = w->plan.replicas;
    if (w->plan.differ_chance == 0 || w->calm || !world_chance(w, w->plan.differ_chance))
        return settings;
    if (w->plan.differ_wait && world_chance(w, 500))
        settings.wait_owner = !settings.wait_owner;
    else if (world_chance(w, 500))
        settings.ids = REPLICATED_NONE;
    else
        settings.ids = settings.ids == REPLICATED_ALL ? REPLICATED_FIRST : REPLICATED_ALL;
    return settings;
}

void replicas_open(struct node *node)
{
    static const char *const names[] = {"nothing", "the first id", "all ids"};
    struct world *w = node->world;
    const struct plan *plan = &w->plan;
    node->settings = choose_settings(w);
    if (plan->differ_chance != 0)
        world_trace(w, "n%u replicates %s, its writes wait for %s", node->index,
            names[node->settings.ids], node->settings.wait_owner ? "their owner" : "all");
    if (node->settings.ids == REPLICATED_NONE)
        return;
    const struct slice prefix =
        node->settings.ids == REPLICATED_ALL ? slice_of_string("id:") : w->ids[0];
    const struct replica_options options = {.prefixes = &prefix,
        .prefixes_count = 1,
        .wait_all = !node->settings.wait_owner,
        .seed = w->options.seed,
        .retry_ms = 50,
        .pause_ms = 500,
        .tombstone_keep_ms = plan->tombstone_keep_ms,
        .limit_bytes = plan->replica_limit,
        .term_limits = {.max_depth = 32, .max_elements = 10000},
        .broken = w->options.replica_broken};
    const struct replica_events events = {
        node, on_send, on_owns, on_reached, on_differs, on_overflowed, on_superseded};
    node->replica = replica_create(&options, events);
    if (!node->replica) {
        world_fail(w, "memory", "no replica");
        return;
    }
    const struct holdings_replicas replicas = {
        node, options.wait_all, on_covers, on_reserve, on_written, on_held, on_knows, on_doubt};
    holdings_replicate(node->holdings, &replicas);
}

void replicas_close(struct node *node)
{
    replica_destroy(node->replica);
    node->replica = NULL;
}

/* ---- membership, messages, time -----------------------------------------------------------------
 */

void replicas_view(struct node *node, const struct cluster_view *view)
{
    if (!node->replica || cluster_view_number(node->core) != view->number)
        return;
    node->beside_count = view->count;
    for (size_t i = 0; i < view->count; i++)
        node->beside[i] = view->members[i].incarnation;
    if (replica_view(node->replica, view, node->incarnation, node_ms(node)) != 0)
        world_fail(node->world, "memory", "replica_view");
}

void replicas_state(struct node *node, enum cluster_state state)
{
    if (node->replica && (state == CLUSTER_OUT || state == CLUSTER_ABANDONING))
        replica_lost(node->replica);
}

int replicas_receive(struct node *node, struct slice from, const struct value *message)
{
    return node->replica ? replica_receive(node->replica, from, message, NULL, node_ms(node)) : 0;
}

uint64_t replicas_advance(struct node *node)
{
    return node->replica ? replica_advance(node->replica, node_ms(node),
                               world_chance(node->world, 100) ? 1 : 1000)
                         : UINT64_MAX;
}

/* ---- clients ------------------------------------------------------------------------------------
 */

bool replicas_cover(const struct node *node, uint32_t id)
{
    return node->replica && replica_covers(node->replica, node->world->ids[id]);
}

bool replicas_awaited(const struct node *node, uint32_t id)
{
    return replicas_cover(node, id) && !node->settings.wait_owner;
}

bool replicas_all_wait(const struct world *w)
{
    return !w->plan.replicas.wait_owner && !w->plan.differ_wait;
}

static bool is_direct(const struct node *node)
{
    return node->direct && cluster_serves(node->core, node_ms(node));
}

int replicas_read(struct node *node, uint32_t id, bool strong, struct value *value)
{
    const struct slice bytes = node->world->ids[id];
    int status = STORE_WAIT;
    if (!replicas_cover(node, id))
        return status;
    if (is_direct(node) && cluster_is_idle(node->core, bytes))
        status = replica_get(node->replica, bytes, value);
    if (status == STORE_WAIT && !strong)
        status = replica_get_weak(node->replica, bytes, value);
    return status;
}

/* ---- what must hold -----------------------------------------------------------------------------
 */

/* The first member beside this one, in the view that its replica has, that has other settings. */
static const struct node *other_settings(const struct node *node)
{
    for (uint8_t i = 0; i < (uint8_t)node->world->plan.nodes; i++) {
        const struct node *other = &node->world->nodes[i];
        for (size_t j = 0; other->up && other->member && j < node->beside_count; j++) {
            if (node->beside[j] == other->incarnation && differ(node, other))
                return other;
        }
    }
    return NULL;
}

/* All that is told was heard, and all that is read is read here. Not where members differ to the
 * end: of what one wrote, and another who tells nobody wrote again before it was held, nothing is
 * ever told. */
bool replicas_are_settled(struct node *node)
{
    if (!node->replica || other_settings(node))
        return true;
    const struct replica_metrics *m = replica_metrics(node->replica);
    return m->unacknowledged == 0 && (m->readable != 0 || node->world->plan.replica_limit > 0);
}

/* Members that differ: neither waits for the other, and so neither reads its table. */
static void check_agreed(struct node *node)
{
    const struct node *other = other_settings(node);
    if (other && replica_metrics(node->replica)->readable != 0)
        world_fail(node->world, "replicas", "n%u reads its table, though n%u has other settings",
            node->index, other->index);
}

bool replicas_are_behind(const struct world *w)
{
    for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++) {
        if (w->nodes[i].replica && replica_metrics(w->nodes[i].replica)->readable == 0)
            return true;
    }
    return false;
}

/* A strong operation begins, or its outcome is known. */
void replicas_note_begin(struct world *w, const struct operation *operation)
{
    struct shown *shown = &w->shown[operation->id];
    if (operation->kind == CLUSTER_DELETE)
        shown->deletes_open++;
}

void replicas_note_end(struct world *w, const struct operation *operation)
{
    struct shown *shown = &w->shown[operation->id];
    const bool deletes = operation->kind == CLUSTER_DELETE;
    if ((!deletes && operation->kind != CLUSTER_WRITE) || operation->status != STORE_DONE)
        return; /* a delete of unknown outcome stays open */
    if (operation->start_us > shown->changed_us)
        shown->changed_us = operation->start_us;
    if (deletes) {
        shown->deletes_open--;
        shown->deleted_us = operation->end_us;
    } else if (operation->start_us > shown->written_us) {
        shown->written_us = operation->start_us;
    }
}

/* What a strong read would be answered from here now. It never goes back at one node: what was
 * shown is held, and survives its owner. With write_wait = all it is not older than what was
 * acknowledged to anybody; what began after the other was carried out is newer than that. A loss
 * that no promise covers may bring back anything. */
static void check_shown(struct world *w, struct node *node, uint32_t id)
{
    const struct shown *shown = &w->shown[id];
    const bool all = !node->settings.wait_owner;
    struct value value = value_none();
    const int status = replica_get(node->replica, w->ids[id], &value);
    if (status == STORE_ABSENT && all && shown->deletes_open == 0 &&
        shown->written_us > shown->deleted_us)
        world_fail(w, "replicas", "n%u shows no %s, though a write was acknowledged since",
            node->index, w->id_text[id]);
    if (status != STORE_FOUND)
        return;
    const uint32_t number = world_number(&value);
    if (number == 0 || number > w->operations_count) {
        world_fail(w, "replicas", "n%u shows what nobody wrote", node->index);
        return;
    }
    const uint64_t written_us = w->operations[number - 1].executed_us;
    if (all && written_us < shown->changed_us)
        world_fail(w, "replicas", "n%u shows %u as %s, though a later one was acknowledged",
            node->index, number, w->id_text[id]);
    if (written_us < node->shown_us[id])
        world_fail(w, "replicas", "n%u shows %u as %s, and showed a later one before", node->index,
            number, w->id_text[id]);
    node->shown_us[id] = written_us;
}

void check_replicas(struct world *w, struct node *node)
{
    if (node->replica && node->member)
        check_agreed(node);
    if (!node->replica || w->losses_count > 0 || w->endings_count > 0 || w->lawless ||
        !is_direct(node))
        return;
    for (uint32_t id = 0; id < w->plan.ids; id++) {
        if (replicas_cover(node, id) && !cluster_owns(node->core, w->ids[id], NULL) &&
            cluster_is_idle(node->core, w->ids[id]))
            check_shown(w, node, id);
    }
}

/* May what a last read showed be carried out only now: a write that nobody was told the outcome of?
 */
static bool is_undecided(const struct world *w, const struct operation *read)
{
    for (uint32_t i = 0; i < w->operations_count; i++) {
        const struct operation *o = &w->operations[i];
        const bool shows =
            read->result == 0 ? o->kind == CLUSTER_DELETE : o->number == read->result;
        if (o->id == read->id && shows && (o->answers == 0 || o->status < 0))
            return true;
    }
    return false;
}

/* After the faults each node was asked for each object. A write of unknown outcome that only the
 * warehouse has is shown by the first one who asks that, and by all from then on. */
void check_converged(struct world *w)
{
    for (uint32_t i = 0; i < w->operations_count; i++) {
        const struct operation *one = &w->operations[i];
        for (uint32_t j = 0; one->last && j < i; j++) {
            const struct operation *other = &w->operations[j];
            if (!other->last || other->id != one->id || other->answers == 0 || one->answers == 0 ||
                other->result == one->result)
                continue;
            if (!is_undecided(w, one->end_us > other->end_us ? one : other))
                world_fail(w, "replicas", "at the end n%u shows %u as %s, n%u %u", one->node,
                    one->result, w->id_text[one->id], other->node, other->result);
        }
    }
}

void plan_replicas(struct world *w)
{
    /* Of its own, so that what a seed is without replicas stays as it is. */
    struct random random = {w->options.seed * UINT64_C(0x9e6c63d0876a9a99) + 3};
    if (!random_chance(&random, 300))
        return;
    struct plan *plan = &w->plan;
    plan->replicas.ids = random_chance(&random, 500) ? REPLICATED_FIRST : REPLICATED_ALL;
    plan->replicas.wait_owner = random_chance(&random, 250);
    if (random_chance(&random, 100))
        plan->replica_limit = (uint32_t)random_between(&random, 200, 1500);
    if (random_chance(&random, 250)) {
        plan->differ_chance = (uint32_t)random_between(&random, 100, 500);
        plan->differ_wait = random_chance(&random, 500);
    }
}
