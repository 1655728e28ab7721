/* Clients: each sends to one node, may send more before it hears an answer, and remembers. */
#include <assert.h>
#include <string.h>

#include "sim.h"

static bool is_strong(const struct operation *operation)
{
    return operation->kind == CLUSTER_READ || operation->kind == CLUSTER_WRITE ||
           operation->kind == CLUSTER_DELETE;
}

struct operation *clients_ask(struct world *w, uint32_t id, uint8_t node, enum cluster_kind kind,
    uint8_t ack, uint32_t sender)
{
    assert(w->operations_count < OPERATIONS);
    struct operation *operation = &w->operations[w->operations_count++];
    *operation = (struct operation){.world = w,
        .number = w->operations_count,
        .id = id,
        .sender = sender,
        .process = w->nodes[node].process,
        .node = node,
        .kind = kind,
        .start_us = w->now_us,
        .end_us = UINT64_MAX};
    operation->request = (struct cluster_request){.kind = kind, .ack = ack, .id = w->ids[id]};
    if (kind == CLUSTER_WRITE)
        operation->request.value = world_value(w, operation->number);
    w->per_id[id] += is_strong(operation);
    w->stats.operations++;
    struct event *event = world_event(w, EVENT_REQUEST, 1, &w->nodes[node]);
    event->a = operation->number;
    return operation;
}

static enum cluster_kind choose(struct world *w)
{
    if (world_chance(w, w->plan.weak_chance))
        return CLUSTER_WEAK_READ;
    if (world_chance(w, 40))
        return CLUSTER_PERSIST;
    if (world_chance(w, 10))
        return CLUSTER_OWNER;
    if (world_chance(w, w->plan.readers_chance))
        return CLUSTER_READ;
    return world_chance(w, w->plan.delete_chance) ? CLUSTER_DELETE : CLUSTER_WRITE;
}

static void operate(struct world *w, uint32_t id, uint8_t n, uint32_t count)
{
    struct node *node = &w->nodes[n];
    uint32_t sender = 1 + (node->process * NODES + n) * 2 + (uint32_t)world_random(w, 2);
    if (!node->up)
        return;
    for (uint32_t i = 0; i < count; i++) {
        bool last_ones = w->operations_count + NODES * IDS >= OPERATIONS;
        if (w->per_id[id] >= OPERATIONS_PER_ID || last_ones)
            return;
        bool stored = w->plan.only_warehouse || world_chance(w, w->plan.warehouse_ack_chance);
        clients_ask(w, id, n, choose(w), stored ? STORE_ACK_WAREHOUSE : STORE_ACK_BACKUP, sender);
    }
}

void clients_operate(struct world *w)
{
    uint8_t n = (uint8_t)world_random(w, w->plan.nodes);
    operate(
        w, (uint32_t)world_random(w, w->plan.ids), n, 1 + (uint32_t)world_random(w, w->plan.burst));
}

void clients_burst(struct world *w, uint32_t id, uint8_t node)
{
    operate(w, id, node, 2 + (uint32_t)world_random(w, 3));
}

/* What needs no other member is answered at once, as in cnode/server/routing.c. */
static int answer_here(struct node *node, struct operation *operation, struct value *value)
{
    const struct cluster_request *request = &operation->request;
    uint64_t hash = store_hash(node->store, request->id), now_ms = node_ms(node);
    bool direct = node->direct && cluster_serves(node->core, now_ms);
    int status = STORE_WAIT;
    bool strong = request->kind == CLUSTER_READ;
    if (direct && (strong || request->kind == CLUSTER_WEAK_READ))
        status = holdings_get(node->holdings, request->id, hash, now_ms, value);
    else if (request->kind == CLUSTER_WEAK_READ)
        status = store_get_hashed(node->store, request->id, hash, now_ms, value, NULL);
    if (strong || request->kind == CLUSTER_WEAK_READ) {
        if (status != STORE_WAIT)
            return status;
        status = replicas_read(node, operation->id, strong, value);
        operation->replicated = status != STORE_WAIT;
        return status;
    }
    bool writes = request->kind == CLUSTER_WRITE;
    if (!direct || (!writes && request->kind != CLUSTER_DELETE) ||
        replicas_awaited(node, operation->id))
        return STORE_WAIT;
    node->executing = writes ? operation->number : 0;
    status = holdings_write(node->holdings, request->id, hash, writes ? &request->value : NULL,
        (enum store_ack)request->ack, true, now_ms);
    if (status == STORE_DONE && (node->executing != 0 || !writes))
        storage_note_write(node, operation->id); /* nobody was told */
    node->executing = 0;
    if (status == STORE_WAIT)
        operation->executed_us = 0; /* if it was written, it is written once more */
    return status;
}

static void give(struct world *w, struct node *node, struct operation *operation)
{
    struct cluster_request *request = &operation->request;
    struct value value = value_none();
    int status = answer_here(node, operation, &value);
    if (status == STORE_WAIT) {
        cluster_request(node->core, request, node_ms(node));
        return;
    }
    w->stats.replicated += operation->replicated;
    if (cluster_counts_uses(node->core) && !operation->replicated)
        cluster_used(node->core, request->id);
    clients_answer(w, request, status, &value);
}

void clients_give(struct world *w, const struct event *event)
{
    struct operation *operation = &w->operations[event->a - 1];
    static const char *const names[] = {
        "reads", "reads weakly", "writes", "deletes", "persists", "asks for the owner of"};
    struct node *node = &w->nodes[operation->node];
    world_trace(w, "#%u: a client of n%u %s %s", operation->number, operation->node,
        names[operation->kind], w->id_text[operation->id]);
    operation->given = true;
    replicas_note_begin(w, operation);
    give(w, node, operation);
}

void clients_answer(
    struct world *w, struct cluster_request *request, int status, const struct value *value)
{
    struct operation *operation = (struct operation *)(void *)request;
    const struct node *node = &w->nodes[operation->node];
    if (!node->up || node->process != operation->process || node->leaving)
        return; /* nobody there to hear it */
    if (operation->answers++ > 0) {
        world_fail(w, "promise 4", "request #%u was answered twice", operation->number);
        return;
    }
    operation->status = status;
    operation->end_us = w->now_us;
    if (status == STORE_FOUND && operation->kind != CLUSTER_OWNER)
        operation->result = world_number(value);
    replicas_note_end(w, operation);
    w->stats.answered++;
    w->stats.unknown += status == BRAIN_EUNKNOWN;
    world_trace(w, "#%u: answered %s, value %u", operation->number,
        status < 0              ? error_atom(status)
        : status == STORE_FOUND ? "found"
        : status == STORE_DONE  ? "done"
                                : "absent",
        operation->result);
    value_drop(&operation->request.value); /* a write's own; the core drops what it put there */
}

static void keep_highest(struct version *highest, struct version version)
{
    if (version_compare(version, *highest) > 0)
        *highest = version;
}

void clients_written(
    struct node *node, uint32_t id, uint32_t number, struct version version, bool executed)
{
    struct world *w = node->world;
    if (number == 0) { /* which delete it is, is not told by what it writes */
        keep_highest(&w->deleted[id], version);
        w->deleted_by[id] = node->incarnation;
        return;
    }
    if (number > w->operations_count) {
        world_fail(w, "promise 6", "a value of nobody is written");
        return;
    }
    struct operation *operation = &w->operations[number - 1];
    if (executed && operation->executed_us != 0 && w->options.broken == 0) {
        world_fail(w, "R9", "write #%u was carried out twice", number);
        return;
    }
    if (executed) {
        operation->executed_us = w->now_us;
        operation->executed_by = node->incarnation;
    }
    keep_highest(&operation->version, version);
}

void clients_unconfirmed(struct world *w, uint32_t id, uint32_t number)
{
    if (number == 0)
        keep_highest(&w->unconfirmed[id], w->deleted[id]);
    else if (number <= w->operations_count)
        w->operations[number - 1].unconfirmed = true;
}

uint32_t clients_pending(const struct world *w)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->operations_count; i++) {
        const struct operation *operation = &w->operations[i];
        const struct node *node = &w->nodes[operation->node];
        count += operation->answers == 0 && node->up && node->process == operation->process;
    }
    return count;
}

void clients_print(const struct world *w, FILE *out)
{
    static const char *const names[] = {"read", "weak", "write", "delete", "persist", "owner"};
    for (uint32_t id = 0; id < w->plan.ids; id++) {
        for (uint32_t i = 0; i < w->operations_count; i++) {
            const struct operation *o = &w->operations[i];
            if (o->id != id || !is_strong(o))
                continue;
            fprintf(out, "  %s #%-3u n%u sender %-4u %-7s %9.3f .. %9.3f  ", w->id_text[id],
                o->number, o->node, o->sender, names[o->kind], (double)o->start_us / 1000.0,
                o->answers ? (double)o->end_us / 1000.0 : -1.0);
            if (!o->answers)
                fprintf(out, "no answer\n");
            else if (o->status < 0)
                fprintf(out, "%s\n", error_atom(o->status));
            else
                fprintf(out, "%u\n", o->kind == CLUSTER_WRITE ? o->number : o->result);
        }
    }
}
