/* What goes wrong, and when. A seed is made of some kinds of faults, not of all: what is rare among
 * many is frequent among few.
 *
 * The loss of a node (a crash, a lease that ends) is harmless when everything is as the promises
 * ask: then it is `armed`. Plans that keep to the promises wait for that; where a loss comes at
 * another time, in whatever way, the check of the history is told, and allows what was at stake. */
#include <assert.h>
#include <string.h>

#include "sim.h"

enum { ARMED_US = 500000 };

/* ---- the plan
 * ------------------------------------------------------------------------------------
 */

static uint64_t between(struct world *w, uint64_t low, uint64_t high)
{
    return random_between(&w->random, low, high);
}

static uint32_t one_of(struct world *w, const uint32_t *values, size_t count)
{
    return values[world_random(w, count)];
}

static void plan_size(struct world *w)
{
    static const uint32_t nodes[] = {2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 7, 8, 9};
    static const uint32_t backups[] = {0, 1, 1, 1, 1, 1, 1, 2, 2, 2};
    struct plan *plan = &w->plan;
    plan->nodes = one_of(w, nodes, sizeof(nodes) / sizeof(nodes[0]));
    if (w->options.nodes != 0)
        plan->nodes = w->options.nodes;
    plan->first_nodes = (uint32_t)between(w, plan->nodes < 3 ? plan->nodes : 3, plan->nodes);
    plan->ids = (uint32_t)between(w, 1, IDS);
    plan->backups = one_of(w, backups, sizeof(backups) / sizeof(backups[0]));
    plan->losses_overlap = world_chance(w, 80);
    plan->only_warehouse = plan->backups == 0 && !plan->losses_overlap;
    plan->versioned_names = world_chance(w, 150);
    plan->one_way = world_chance(w, 300);
}

static void plan_pace(struct world *w)
{
    static const uint32_t delays[] = {1000, 3000, 10000, 40000};
    static const uint32_t stores[] = {2000, 10000, 50000, 200000};
    static const uint32_t ttls[] = {100, 300, 1000, 3000};
    static const uint32_t dirty[] = {0, 150, 600, 2500};
    static const uint32_t journals[] = {300, 3000, 30000};
    static const uint32_t deadlines[] = {300, 1000, 3000};
    struct plan *plan = &w->plan;
    plan->delay_us = one_of(w, delays, 4);
    plan->slow_chance = world_chance(w, 500) ? (uint32_t)between(w, 1, 60) : 0;
    plan->slow_us = (uint32_t)between(w, 50000, 250000);
    plan->operation_us =
        (uint32_t)(world_chance(w, 250) ? between(w, 150000, 600000) : between(w, 20000, 150000));
    plan->burst = (uint32_t)between(w, 1, 5);
    plan->delete_chance = (uint32_t)between(w, 0, 500);
    plan->readers_chance = (uint32_t)between(w, 200, 700);
    plan->warehouse_ack_chance = world_chance(w, 300) ? 200 : 0;
    plan->weak_chance = world_chance(w, 300) ? 100 : 0;
    plan->key_ttl_ms = one_of(w, ttls, 4);
    plan->max_dirty_ms = one_of(w, dirty, 4);
    plan->dumps_parallel = (uint32_t)between(w, 1, 4);
    plan->breaker_failures = world_chance(w, 500) ? 3 : 0;
    plan->pressure = world_chance(w, 200) ? 20 : 0;
    plan->value_bytes = world_chance(w, 300) ? (uint32_t)between(w, 9, VALUE_BYTES) : 0;
    plan->journal = world_chance(w, 850);
    plan->journal_us = one_of(w, journals, 3);
    plan->journal_slow_chance = world_chance(w, 300) ? 50 : 0;
    plan->journal_slow_us = (uint32_t)between(w, 50000, 1000000);
    plan->journal_error_chance = world_chance(w, 150) ? 50 : 0;
    plan->segment_records = (uint32_t)between(w, 1, 20);
    plan->journal_limit = world_chance(w, 300) ? (uint32_t)between(w, 1, 4) : 0;
    plan->power_chance = world_chance(w, 300) ? 500 : 0;
    plan->deadline_ms = one_of(w, deadlines, 3);
    plan->store_us = one_of(w, stores, 4);
    plan->store_slow_chance = world_chance(w, 400) ? 100 : 0;
    plan->store_slow_us = (uint32_t)between(w, 500000, 3000000);
    plan->store_error_chance = world_chance(w, 300) ? 100 : 0;
    plan->store_lost_chance = world_chance(w, 400) ? 150 : 0;
    plan->handoff_uses = world_chance(w, 600) ? (uint32_t)between(w, 1, 4) : 0;
    plan->hints_limit = world_chance(w, 300) ? 1 : 100;
    plan->report_chunk = world_chance(w, 300) ? 1 : 0;
    plan->endless_cuts = world_chance(w, 200);
    /* Longer than the longest request under way can live. */
    plan->tombstone_keep_ms = (uint32_t)between(w, 6000, 9000);
    plan->watch_us = world_chance(w, 700) ? 20000 : 200000;
}

void plan_make(struct world *w)
{
    static const uint32_t likely[FAULT_COUNT] = {[FAULT_PAUSE] = 600,
        [FAULT_BREAK] = 500,
        [FAULT_CUT] = 500,
        [FAULT_LAG] = 400,
        [FAULT_START] = 1000,
        [FAULT_DRAIN] = 350,
        [FAULT_STORE] = 250,
        [FAULT_ETCD] = 150,
        [FAULT_CRASH] = 500,
        [FAULT_CRASH_DISK] = 400,
        [FAULT_LONG_PAUSE] = 400,
        [FAULT_LONG_CUT] = 250,
        [FAULT_ETCD_CUT] = 400,
        [FAULT_STUCK] = 200,
        [FAULT_ETCD_RESET] = 40};
    plan_size(w);
    plan_pace(w);
    plan_replicas(w);
    w->plan.fault_us = (uint32_t)between(w, 30000, 500000);
    for (int i = 0; i < FAULT_COUNT; i++)
        w->plan.weights[i] = world_chance(w, likely[i]) ? (uint32_t)between(w, 1, 10) : 0;
}

/* ---- losses
 * --------------------------------------------------------------------------------------
 */

void faults_note_loss(struct world *w)
{
    bool lawless = w->etcd.muddled;
    for (int n = 0; n < 2; n++) { /* what it had may come back after something older was seen */
        if (w->losses_count == LOSSES) {
            w->lawless = true;
            return;
        }
        struct loss *loss = &w->losses[w->losses_count++];
        *loss = (struct loss){.at_us = w->now_us, .lawless = lawless};
        for (uint32_t id = 0; id < w->plan.ids; id++) {
            loss->stored[id] = w->shelves[id].now.version;
            loss->number[id] = world_number_in(w->shelves[id].now.value);
        }
    }
}

void faults_lost(struct world *w, struct node *node)
{
    if (node->lost)
        return;
    node->lost = true;
    w->stats.losses++;
    /* Without copies nothing covers what was written since, unless the warehouse has it. */
    bool covered = w->plan.backups > 0 || w->plan.only_warehouse;
    bool harmless = covered && w->armed_us != 0 && w->now_us - w->armed_us <= ARMED_US;
    w->armed_us = 0;
    if (harmless)
        return;
    w->stats.overlapping++;
    world_trace(w, "the loss of n%u is one too many", node->index);
    faults_note_loss(w);
}

static bool is_above(const struct world *w, uint32_t id, struct version version)
{
    return version_compare(version, w->shelves[id].now.version) > 0;
}

/* Where only the warehouse covers: what may be lost with a membership that ends now, of one id. Its
 * lease has ended, and nobody owns yet what it did: so the warehouse has all that it confirmed. */
static bool what_ends(const struct world *w, uint32_t id, struct lost *lost)
{
    uint32_t stored = world_number_in(w->shelves[id].now.value);
    for (uint32_t i = 0; i < w->operations_count; i++) {
        const struct operation *o = &w->operations[i];
        if (o->id != id || o->kind != CLUSTER_WRITE || o->executed_us == 0)
            continue;
        bool above = is_above(w, id, o->version);
        if (above && o->unconfirmed)
            lost->values[lost->count++] = o->number;
        if (above || o->number == stored)
            lost->left[lost->left_count++] = o->number;
    }
    if (is_above(w, id, w->unconfirmed[id]))
        lost->values[lost->count++] = 0;
    if (is_above(w, id, w->deleted[id]) || stored == 0)
        lost->left[lost->left_count++] = 0;
    return lost->count > 0;
}

void faults_ended(struct world *w, uint64_t incarnation)
{
    struct ending ending = {.at_us = w->now_us};
    bool loses = false;
    if (!w->plan.only_warehouse)
        return;
    for (uint32_t id = 0; id < w->plan.ids; id++)
        loses |= what_ends(w, id, &ending.lost[id]);
    if (loses && w->endings_count == ENDINGS)
        w->lawless = true;
    else if (loses)
        w->endings[w->endings_count++] = ending;
    /* Whoever waits for it is told that the outcome is unknown. It may come back, as a copy. */
    for (uint32_t i = 0; i < w->operations_count; i++)
        w->operations[i].unconfirmed |= w->operations[i].executed_by == incarnation;
    for (uint32_t id = 0; id < w->plan.ids; id++) {
        if (w->deleted_by[id] == incarnation)
            clients_unconfirmed(w, id, 0);
    }
}

static bool node_is_well(struct world *w, const struct node *node)
{
    return node->member && !node->draining && node_hears(node) &&
           cluster_state(node->core) == CLUSTER_IN &&
           cluster_view_number(node->core) == etcd_newest(w)->number &&
           cluster_serves(node->core, node_ms(node));
}

/* Versions above the warehouse's that nobody owns: how many have the highest? */
static uint32_t holders_of_highest(struct world *w, uint32_t id)
{
    struct version highest = w->shelves[id].now.version;
    uint32_t count = 0;
    for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++) {
        struct cluster_copy copy;
        if (!w->nodes[i].up || !cluster_copy_held(w->nodes[i].core, w->ids[id], &copy))
            continue;
        int order = version_compare(copy.version, highest);
        if (order > 0)
            count = 0;
        if (order > 0 || (order == 0 && count > 0)) {
            highest = copy.version;
            count++;
        }
    }
    return count;
}

/* An owner that adopted a copy, and cannot write it: its journal fails. Nobody else need have it.
 */
static bool is_still_a_copy(struct node *node, uint32_t id)
{
    struct cluster_copy copy;
    struct version version = {0, 0, 0};
    bool deleted, dirty;
    uint32_t number;
    if (!cluster_copy_held(node->core, node->world->ids[id], &copy))
        return false;
    (void)storage_peek(node, id, &version, &deleted, &number, &dirty);
    return version_compare(copy.version, version) > 0;
}

/* Would the loss of any one node be covered now? As the nodes themselves believe; `but` may be in
 * whatever state. */
static bool is_covered(struct world *w, const struct node *but)
{
    const struct etcd_view *view = etcd_newest(w);
    if (!view || view->count < 2 || w->etcd.down_until_us > w->now_us || !network_is_whole(w))
        return false;
    for (uint32_t i = 0; i < view->count; i++) {
        struct node *node = &w->nodes[view->nodes[i]];
        if (!node->up || node->incarnation != view->incarnations[i] ||
            w->etcd.members[node->index].evicted)
            return false;
    }
    for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++) {
        struct node *node = &w->nodes[i];
        if (!node->up || node == but)
            continue;
        if (!node_is_well(w, node) || node->etcd_cut_until_us > w->now_us ||
            node->watch_stuck_until_us > w->now_us || !storage_is_settled(node))
            return false;
        const struct cluster_metrics *m = cluster_metrics(node->core, node_ms(node));
        if (m->unbacked > 0 || m->slots_open != m->slots ||
            (w->plan.backups == 0 && !storage_is_clean(node)))
            return false;
    }
    for (uint32_t id = 0; id < w->plan.ids; id++) {
        bool owned = false;
        for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++) {
            struct node *node = &w->nodes[i];
            owned |= node->up && storage_is_resident(node, id);
            if (node->up && cluster_owns(node->core, w->ids[id], NULL) &&
                (!storage_is_resident(node, id) || is_still_a_copy(node, id)))
                return false; /* about to adopt it */
        }
        if (!owned && holders_of_highest(w, id) == 1)
            return false;
    }
    return true;
}

/* Nobody misses who owns nothing, unless somebody else is lost before all is as it should be. */
void faults_left(struct world *w, struct node *node)
{
    if (is_covered(w, node))
        node->lost = true;
    else
        faults_lost(w, node);
    w->armed_us = 0;
}

void faults_sample(struct world *w)
{
    if (!is_covered(w, NULL))
        return;
    w->armed_us = w->now_us;
    for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++)
        w->nodes[i].lost &= !w->nodes[i].up;
    if (!w->wants_loss)
        return;
    w->wants_loss = false;
    /* What a new member was not told yet is worth most, too. */
    const uint64_t within_us = replicas_are_behind(w) ? 10000 : 300000;
    struct event *event = world_event(w, EVENT_LOSS, world_random(w, within_us), NULL);
    event->a = w->next_loss;
}

/* ---- faults
 * --------------------------------------------------------------------------------------
 */

static void start_later(struct world *w, const struct node *node, uint64_t after_us)
{
    struct event *event = world_event(w, EVENT_START, after_us, NULL);
    event->node = node->index;
    event->process = node->process;
}

static void crash(struct world *w, struct node *node, bool disk)
{
    world_trace(w, "n%u crashes%s", node->index, disk ? "" : ", with its disk");
    faults_lost(w, node);
    node_stop(node);
    if (disk)
        journal_crash(node, world_chance(w, w->plan.power_chance));
    else
        node_forget_disk(node);
    static const uint32_t downs[] = {200000, 1500000, 4000000};
    start_later(w, node, 10000 + world_random(w, one_of(w, downs, 3)));
}

static void cut(struct world *w, uint64_t us)
{
    uint8_t a = (uint8_t)world_random(w, w->plan.nodes);
    uint8_t b = (uint8_t)world_random(w, w->plan.nodes);
    if (a == b)
        return;
    network_cut(w, a, b, us);
    if (world_chance(w, 500))
        network_cut(w, b, a, us);
}

static struct node *some_node(struct world *w)
{
    return &w->nodes[world_random(w, w->plan.nodes)];
}

/* The last moments before a loss count most: clients write and read one object, and its owner goes
 * at about the time at which messages arrive. */
static void lose_busy(struct world *w, const struct node *node, enum fault fault)
{
    uint32_t id = (uint32_t)world_random(w, w->plan.ids);
    for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++) {
        if (w->nodes[i].up && storage_is_resident(&w->nodes[i], id))
            node = &w->nodes[i];
    }
    clients_burst(w, id, world_chance(w, 500) ? node->index : some_node(w)->index);
    struct event *event =
        world_event(w, EVENT_LOSS, 1000 + world_random(w, 4 * w->plan.delay_us), NULL);
    event->a = fault;
    event->b = node->index + 1U;
}

void faults_lose(struct world *w, enum fault fault, uint64_t chosen)
{
    struct node *node = chosen > 0 ? &w->nodes[chosen - 1] : some_node(w);
    bool armed = w->armed_us != 0 && w->now_us - w->armed_us <= ARMED_US;
    if (!armed && !w->plan.losses_overlap) {
        w->wants_loss = true;
        w->next_loss = fault;
        return;
    }
    if (!node->up || !node->member || node->draining)
        return;
    if (chosen == 0 && world_chance(w, 400)) {
        lose_busy(w, node, fault);
        return;
    }
    uint64_t long_us = between(w, LEASE_MS * 1000, 3 * LEASE_MS * 1000);
    switch (fault) {
    case FAULT_CRASH:
    case FAULT_CRASH_DISK:
        crash(w, node, fault == FAULT_CRASH_DISK);
        break;
    case FAULT_LONG_PAUSE:
        if (!node_hears(node)) /* what waits for the end of one pause must not be met by another */
            break;
        world_trace(w, "n%u pauses for %llu ms", node->index, (unsigned long long)long_us / 1000);
        node->paused_until_us = w->now_us + long_us;
        faults_lost(w, node);
        break;
    case FAULT_LONG_CUT:
        cut(w, w->plan.endless_cuts ? UINT64_C(3600000000) : long_us);
        break;
    case FAULT_ETCD_CUT:
        world_trace(w, "n%u is cut off from etcd for %llu ms", node->index,
            (unsigned long long)long_us / 1000);
        node->etcd_cut_until_us = w->now_us + long_us;
        faults_lost(w, node);
        break;
    case FAULT_STUCK:
        world_trace(w, "the watch of n%u is stuck for %llu ms", node->index,
            (unsigned long long)long_us / 1000);
        node->watch_stuck_until_us = w->now_us + long_us;
        break;
    default:
        assert(fault == FAULT_ETCD_RESET);
        /* Not before the last lease that the old one gave has ended: whoever makes it anew sooner
         * makes two clusters. */
        etcd_down(w, between(w, LEASE_MS * 1200, LEASE_MS * 2500), true);
        break;
    }
}

static void drain(struct world *w, struct node *node)
{
    if (!node->up || !node->member || node->draining || cluster_state(node->core) != CLUSTER_IN)
        return;
    world_trace(w, "n%u drains", node->index);
    node_drain(node);
    struct event *event = world_event(w, EVENT_LEAVE, between(w, 4000000, 8000000), node);
    event->a = 1;
}

static void strike(struct world *w, enum fault fault)
{
    struct node *node = some_node(w);
    switch (fault) {
    case FAULT_PAUSE:
        if (node_hears(node))
            node->paused_until_us = w->now_us + world_random(w, 250000);
        break;
    case FAULT_BREAK: {
        const struct node *other = some_node(w);
        if (other != node)
            network_break(w, node->index, other->index);
        break;
    }
    case FAULT_CUT:
        cut(w, world_random(w, 200000));
        break;
    case FAULT_LAG:
        node->watch_stuck_until_us = w->now_us + world_random(w, 250000);
        break;
    case FAULT_START:
        if (!node->up && node->process == 0)
            start_later(w, node, 1);
        break;
    case FAULT_DRAIN:
        drain(w, node);
        break;
    case FAULT_STORE:
        w->store_down_until_us = w->now_us + world_random(w, 1500000);
        world_trace(w, "the warehouse is out of reach");
        break;
    case FAULT_ETCD:
        etcd_down(w, world_random(w, 3 * LEASE_MS * 1000), false);
        break;
    default:
        if (w->plan.losses_overlap) {
            faults_lose(w, fault, 0);
        } else if (!w->wants_loss) {
            w->wants_loss = true;
            w->next_loss = fault;
        }
        break;
    }
}

void faults_strike(struct world *w)
{
    uint64_t sum = 0;
    for (int i = 0; i < FAULT_COUNT; i++)
        sum += w->plan.weights[i];
    uint64_t chosen = world_random(w, sum);
    for (int i = 0; i < FAULT_COUNT; i++) {
        if (chosen < w->plan.weights[i]) {
            strike(w, (enum fault)i);
            return;
        }
        chosen -= w->plan.weights[i];
    }
}

/* ---- the end of them
 * -----------------------------------------------------------------------------
 */

void faults_stop(struct world *w)
{
    world_trace(w, "the faults stop");
    w->calm = true;
    w->wants_loss = false;
    w->store_down_until_us = 0;
    network_heal(w);
    for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++) {
        struct node *node = &w->nodes[i];
        node->etcd_cut_until_us = node->watch_stuck_until_us = 0;
        if (!node->up)
            start_later(w, node, world_random(w, 500000));
        else
            etcd_look(node);
    }
}

bool faults_are_over(struct world *w, const char **why)
{
    static const char *const reasons[] = {"a node is down", "a node does not serve",
        "a node is dirty", "a copy is left behind", "a slot is closed", "a request waits",
        "replicas are behind"};
    if (w->etcd.down_until_us > w->now_us) {
        *why = "etcd is down";
        return false;
    }
    for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++) {
        struct node *node = &w->nodes[i];
        if (!node->up) {
            *why = reasons[0];
            return false;
        }
        if (!etcd_newest(w) || etcd_newest(w)->count != w->plan.nodes || !node_is_well(w, node)) {
            *why = reasons[1];
            return false;
        }
        if (!storage_is_clean(node)) {
            *why = reasons[2];
            return false;
        }
        const struct cluster_metrics *m = cluster_metrics(node->core, node_ms(node));
        if (m->copies > 0 || m->slots_open != m->slots) {
            *why = m->copies > 0 ? reasons[3] : reasons[4];
            return false;
        }
        if (!replicas_are_settled(node)) {
            *why = reasons[6];
            return false;
        }
    }
    *why = reasons[5];
    return clients_pending(w) == 0;
}
