/* etcd, and what a node's managers do with it: a key and a lease for each member, a view for each
 * change, evict keys. The etcd of the simulator answers at once or not at all; its clock is the
 * true time. The contract is include/brain/managers.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { LEASE_US = LEASE_MS * 1000 };

const struct etcd_view *etcd_newest(const struct world *w)
{
    const struct etcd *etcd = &w->etcd;
    return etcd->views_count == 0 ? NULL : &etcd->views[etcd->views_count - 1];
}

static bool is_reachable(const struct world *w, const struct node *node)
{
    return w->etcd.down_until_us <= w->now_us && node->etcd_cut_until_us <= w->now_us;
}

static uint64_t delay(struct world *w)
{
    if (world_chance(w, w->plan.slow_chance))
        return 1 + world_random(w, w->plan.slow_us);
    return 200 + world_random(w, 10000);
}

/* ---- the store of etcd
 * ---------------------------------------------------------------------------
 */

static void look_after(struct world *w, const struct node *node, uint64_t us)
{
    world_event(w, EVENT_WATCH, us, node);
}

/* One event under the member prefix. Other keys move the revision too. */
static void new_view(struct world *w)
{
    struct etcd *etcd = &w->etcd;
    if (etcd->views_count == etcd->views_capacity) {
        etcd->views_capacity = etcd->views_capacity ? etcd->views_capacity * 2 : 32;
        etcd->views = realloc(etcd->views, etcd->views_capacity * sizeof(struct etcd_view));
        if (!etcd->views)
            abort();
    }
    etcd->revision += 1 + world_random(w, 3);
    struct etcd_view *view = &etcd->views[etcd->views_count++];
    *view = (struct etcd_view){.number = (etcd->era << 40) + etcd->revision};
    char text[NODES * 3 + 1] = "";
    for (uint8_t i = 0; i < (uint8_t)NODES; i++) {
        if (etcd->members[i].incarnation == 0)
            continue;
        view->incarnations[view->count] = etcd->members[i].incarnation;
        view->nodes[view->count++] = i;
        snprintf(text + strlen(text), 4, " n%u", i);
    }
    w->stats.views++;
    world_trace(w, "etcd: view %llu:%s", (unsigned long long)view->number, text);
    for (uint8_t i = 0; i < (uint8_t)NODES; i++) {
        if (w->nodes[i].up && w->nodes[i].member)
            look_after(w, &w->nodes[i], 1 + world_random(w, w->plan.watch_us));
    }
}

static void remove_member(struct world *w, uint8_t node, const char *why)
{
    world_trace(w, "etcd: n%u is no member any more: %s", node, why);
    faults_ended(w, w->etcd.members[node].incarnation);
    w->etcd.members[node] = (struct etcd_member){0};
    faults_lost(w, &w->nodes[node]);
    new_view(w);
}

static void extend(struct world *w, uint8_t node)
{
    struct etcd_member *member = &w->etcd.members[node];
    member->expires_us = w->now_us + LEASE_US;
    struct event *event = world_event(w, EVENT_EXPIRE, LEASE_US, NULL);
    event->node = node;
    event->a = member->incarnation;
}

void etcd_expire(struct world *w, const struct event *event)
{
    const struct etcd_member *member = &w->etcd.members[event->node];
    if (member->incarnation == event->a && member->incarnation != 0 &&
        member->expires_us <= w->now_us && w->etcd.down_until_us <= w->now_us)
        remove_member(w, event->node, "its lease ended");
}

void etcd_down(struct world *w, uint64_t for_us, bool reset)
{
    struct etcd *etcd = &w->etcd;
    if (etcd->down_until_us > w->now_us)
        return;
    world_trace(w, "etcd is down for %llu ms%s", (unsigned long long)for_us / 1000,
        reset ? ", and comes back empty" : "");
    etcd->down_until_us = w->now_us + for_us;
    etcd->reset = reset;
    world_event(w, EVENT_ETCD_UP, for_us, NULL);
}

/* Leases live on: etcd gives each its whole time again. Made anew, it knows nothing. */
void etcd_up(struct world *w)
{
    struct etcd *etcd = &w->etcd;
    if (etcd->down_until_us > w->now_us)
        return;
    world_trace(w, "etcd is up");
    if (etcd->reset) {
        etcd->reset = false;
        etcd->life++;
        bool later = world_chance(w, 700); /* or the calendar of the first member is wrong */
        etcd->era += later;
        etcd->muddled |= !later;
        world_trace(w, "its history began %s", later ? "later" : "at the same time, as it seems");
        etcd->revision = world_random(w, 3);
        etcd->views_count = 0;
        w->stats.resets++;
        for (uint8_t i = 0; i < (uint8_t)NODES; i++) {
            if (etcd->members[i].incarnation != 0)
                faults_lost(w, &w->nodes[i]);
        }
        memset(etcd->members, 0, sizeof(etcd->members));
        return;
    }
    for (uint8_t i = 0; i < (uint8_t)NODES; i++) {
        if (etcd->members[i].incarnation != 0)
            extend(w, i);
    }
}

/* ---- requests
 * ------------------------------------------------------------------------------------
 */

static void ask(struct node *node, enum etcd_request request, uint64_t a, uint64_t b)
{
    struct world *w = node->world;
    struct event *event = world_event(w, EVENT_ETCD, delay(w), node);
    event->detail = (uint8_t)request;
    event->a = a;
    event->b = b;
}

struct reply {
    enum etcd_request to;
    bool lost, evicted;
    uint64_t incarnation, newest, attempt, sent_ms, asked;
    uint32_t life, seen;
};

static void reply(struct world *w, const struct node *node, const struct reply *what)
{
    struct event *event = world_event(w, EVENT_ETCD_REPLY, delay(w), node);
    struct reply *copy = malloc(sizeof(*copy));
    if (!copy)
        abort();
    *copy = *what;
    event->data = copy;
}

static void join(struct world *w, const struct node *node, const struct event *event)
{
    struct etcd *etcd = &w->etcd;
    struct etcd_member *member = &etcd->members[node->index];
    /* R1: created only if absent; what is there is this data directory's own, from an earlier life
     * that serves no more, so its lease is revoked first. */
    if (member->incarnation != 0)
        remove_member(w, node->index, "it comes again");
    bool again = !sim_keeps(w, SIM_R1_AGAIN) && node->incarnation != 0;
    member->incarnation = again ? node->incarnation : ++etcd->incarnations * 1000 + node->index;
    member->evicted = false;
    extend(w, node->index);
    new_view(w);
    w->stats.joins++;
    reply(w, node,
        &(struct reply){.to = ETCD_JOIN,
            .incarnation = member->incarnation,
            .attempt = event->a,
            .sent_ms = event->b,
            .life = etcd->life,
            .seen = etcd->views_count});
}

static void renew(struct world *w, const struct node *node, const struct event *event)
{
    const struct etcd_member *member = &w->etcd.members[node->index];
    struct reply answer = {.to = ETCD_RENEW,
        .incarnation = event->a,
        .sent_ms = event->b,
        .life = w->etcd.life,
        .lost = member->incarnation != event->a,
        .evicted = member->evicted};
    if (!answer.lost && !member->evicted)
        extend(w, node->index);
    if (w->etcd.views_count > 0)
        answer.newest = etcd_newest(w)->number;
    reply(w, node, &answer);
}

/* R12: an evict key. The member reads it after its next renewal; when it has had the time of a
 * lease to do so, it is removed. */
static void evict(struct world *w, const struct event *event)
{
    uint8_t target = event->peer;
    struct etcd_member *member = &w->etcd.members[target];
    const struct etcd_member *author = &w->etcd.members[event->node];
    /* In one transaction: one eviction at a time, so of two that evict each other one goes. */
    for (uint8_t i = 0; i < (uint8_t)NODES; i++) {
        if (w->etcd.members[i].evicted)
            return;
    }
    if (author->incarnation != event->b || author->evicted || member->incarnation != event->a ||
        member->evicted)
        return;
    world_trace(w, "etcd: n%u evicts n%u", event->node, target);
    member->evicted = true;
    w->stats.evictions++;
    faults_lost(w, &w->nodes[target]);
    struct event *end = world_event(w, EVENT_EVICT, LEASE_US + LEASE_MARGIN_MS * 1000, NULL);
    end->node = target;
    end->a = member->incarnation;
}

void etcd_evicted(struct world *w, const struct event *event)
{
    const struct etcd_member *member = &w->etcd.members[event->node];
    if (member->incarnation != event->a || member->incarnation == 0)
        return;
    if (w->etcd.down_until_us > w->now_us) {
        struct event *later = world_event(w, EVENT_EVICT, LEASE_US, NULL);
        later->node = event->node;
        later->a = event->a;
        return;
    }
    remove_member(w, event->node, "evicted");
}

void etcd_request(struct world *w, const struct event *event)
{
    const struct node *node = &w->nodes[event->node];
    if (!is_reachable(w, node))
        return;
    bool lives = node->up && node->process == event->process;
    switch ((enum etcd_request)event->detail) {
    case ETCD_JOIN:
        if (lives)
            join(w, node, event);
        break;
    case ETCD_RENEW:
        if (lives)
            renew(w, node, event);
        break;
    case ETCD_LEAVE:
        if (w->etcd.members[node->index].incarnation == event->a && event->a != 0)
            remove_member(w, node->index, "it left");
        break;
    case ETCD_EVICT:
        evict(w, event);
        break;
    }
}

/* ---- at the node
 * ---------------------------------------------------------------------------------
 */

static void view_of(const struct world *w, const struct etcd_view *from, struct cluster_view *view,
    struct cluster_member *members)
{
    for (uint32_t i = 0; i < from->count; i++)
        members[i] = (struct cluster_member){
            slice_of_string(w->nodes[from->nodes[i]].name), from->incarnations[i]};
    *view = (struct cluster_view){from->number, from->count, members};
}

static void lose(struct node *node, const char *why)
{
    world_trace(node->world, "n%u lost its membership: %s", node->index, why);
    node->member = false;
    node->lease_until_ms = 0;
    faults_lost(node->world, node);
    cluster_lost(node->core, node_ms(node));
}

static void joined(struct node *node, const struct reply *answer)
{
    struct world *w = node->world;
    if (node->member || node->attempt != answer->attempt || answer->life != w->etcd.life ||
        cluster_state(node->core) != CLUSTER_OUT)
        return;
    struct cluster_member members[NODES];
    struct cluster_view view;
    view_of(w, &w->etcd.views[answer->seen - 1], &view, members);
    node->member = true;
    node->incarnation = answer->incarnation;
    node->watched = answer->seen;
    node->etcd_life = answer->life;
    node->renewed_us = w->now_us;
    uint64_t until_ms = answer->sent_ms + LEASE_MS - LEASE_MARGIN_MS;
    world_trace(w, "n%u joins as %llu", node->index, (unsigned long long)answer->incarnation);
    node->last_valid_us = w->now_us + LEASE_US;
    node->lost = false;
    node->direct = false;
    node->lease_until_ms = until_ms;
    if (cluster_join(node->core, answer->incarnation, &view, until_ms, node_ms(node)) != 0)
        world_fail(w, "memory", "cluster_join");
    replicas_view(node, &view);
    etcd_look(node);
}

static void renewed(struct node *node, const struct reply *answer)
{
    struct world *w = node->world;
    if (!node->member || answer->incarnation != node->incarnation)
        return;
    if (answer->lost || answer->life != node->etcd_life) {
        lose(node, "the lease is gone");
        return;
    }
    if (answer->evicted) {
        lose(node, "it was evicted");
        return;
    }
    /* R1: from when it was sent. */
    uint64_t from_ms = sim_keeps(w, SIM_R1_SENT) ? answer->sent_ms : node_ms(node);
    /* A node that stood still hears late what was true when it asked. */
    node->last_valid_us = w->now_us + LEASE_US - (node_ms(node) - from_ms) * 1000;
    uint64_t until_ms = from_ms + LEASE_MS - LEASE_MARGIN_MS;
    if (!cluster_serves(node->core, node_ms(node)))
        node->direct = false; /* what waited for the lease goes first */
    cluster_lease(node->core, until_ms, answer->newest, node_ms(node));
    node->lease_until_ms = until_ms;
}

void etcd_reply(struct world *w, const struct event *event)
{
    struct node *node = &w->nodes[event->node];
    const struct reply *answer = event->data;
    if (!is_reachable(w, node))
        return;
    if (answer->to == ETCD_JOIN)
        joined(node, answer);
    else
        renewed(node, answer);
}

void etcd_look(struct node *node)
{
    look_after(node->world, node, 1 + world_random(node->world, 5000));
}

void etcd_watch(struct world *w, const struct event *event)
{
    struct node *node = &w->nodes[event->node];
    if (!node->member || node->etcd_life != w->etcd.life || node->watched >= w->etcd.views_count)
        return;
    uint64_t stuck = node->watch_stuck_until_us > node->etcd_cut_until_us
                         ? node->watch_stuck_until_us
                         : node->etcd_cut_until_us;
    if (w->etcd.down_until_us > stuck)
        stuck = w->etcd.down_until_us;
    if (stuck > w->now_us) {
        look_after(w, node, stuck - w->now_us + 1 + world_random(w, 30000));
        return;
    }
    /* Mostly the next one; one that wakes up may see only the last. */
    uint32_t next = world_chance(w, 150) ? w->etcd.views_count - 1 : node->watched;
    struct cluster_member members[NODES];
    struct cluster_view view;
    view_of(w, &w->etcd.views[next], &view, members);
    node->watched = next + 1;
    world_trace(w, "n%u sees view %llu", node->index, (unsigned long long)view.number);
    if (cluster_view(node->core, &view, node_ms(node)) != 0)
        world_fail(w, "memory", "cluster_view");
    replicas_view(node, &view);
    enum cluster_state state = cluster_state(node->core);
    if (state != CLUSTER_IN && state != CLUSTER_DRAINED) {
        node->member = false; /* it is not in there: what the core noticed, it lost */
        node->lease_until_ms = 0;
        faults_lost(w, node);
    } else if (node->watched < w->etcd.views_count) {
        look_after(w, node, 1 + world_random(w, w->plan.watch_us));
    }
}

void etcd_manage(struct node *node)
{
    struct world *w = node->world;
    if (node->leaving)
        return;
    if (node->member) {
        if (w->now_us - node->renewed_us >= LEASE_US / 3) {
            node->renewed_us = w->now_us;
            ask(node, ETCD_RENEW, node->incarnation, node_ms(node));
        }
    } else if (!node->draining && cluster_state(node->core) == CLUSTER_OUT &&
               (node->attempt == 0 || w->now_us - node->renewed_us >= LEASE_US / 4)) {
        node->renewed_us = w->now_us;
        ask(node, ETCD_JOIN, ++node->attempt, node_ms(node));
    }
}

void etcd_leave(struct node *node)
{
    ask(node, ETCD_LEAVE, node->incarnation, 0);
}

void etcd_evict(struct node *node, const struct cluster_member *member)
{
    struct world *w = node->world;
    const struct node *target = node_named(w, member->name);
    struct event *event = world_event(w, EVENT_ETCD, delay(w), node);
    event->detail = ETCD_EVICT;
    event->peer = target->index;
    event->a = member->incarnation;
    event->b = node->incarnation;
}
