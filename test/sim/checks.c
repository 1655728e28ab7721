/* What must hold: after every step, at every dump, and of the whole history. */
#include <string.h>

#include "sim.h"

/* ---- one owner, and epochs that never repeat ----------------------------------------------------
 */

static void check_epoch(struct world *w, struct node *node, uint32_t id, struct cluster_epoch epoch)
{
    if (node->epoch_view[id] == epoch.view && node->epoch_counter[id] == epoch.counter)
        return;
    node->epoch_view[id] = epoch.view;
    node->epoch_counter[id] = epoch.counter;
    world_trace(w, "n%u owns %s under %llu.%llu", node->index, w->id_text[id],
        (unsigned long long)epoch.view, (unsigned long long)epoch.counter);
    for (uint32_t i = 0; i < w->adoptions_count; i++) {
        const struct adoption *old = &w->adoptions[i];
        if (old->id == id && old->view == epoch.view && old->counter == epoch.counter &&
            !w->etcd.muddled)
            world_fail(w, "R4", "epoch %llu.%llu of %s was granted to n%u and then to n%u",
                (unsigned long long)epoch.view, (unsigned long long)epoch.counter, w->id_text[id],
                old->node, node->index);
    }
    if (w->adoptions_count < ADOPTIONS)
        w->adoptions[w->adoptions_count++] =
            (struct adoption){epoch.view, epoch.counter, node->etcd_life, (uint8_t)id, node->index};
}

void check_node(struct world *w, struct node *node)
{
    uint16_t bit = (uint16_t)(1U << node->index);
    for (uint32_t id = 0; id < w->plan.ids; id++) {
        struct cluster_epoch epoch;
        if (!cluster_owns(node->core, w->ids[id], &epoch)) {
            if (cluster_state(node->core) == CLUSTER_IN && storage_is_resident(node, id))
                world_fail(
                    w, "R1", "n%u has %s in RAM, and does not own it", node->index, w->id_text[id]);
            w->owners[id] = (uint16_t)(w->owners[id] & ~bit);
            node->epoch_counter[id] = 0;
            continue;
        }
        w->owners[id] |= bit;
        check_epoch(w, node, id, epoch);
    }
}

void check_owners(struct world *w)
{
    for (uint32_t id = 0; id < w->plan.ids; id++) {
        uint32_t owners = w->owners[id];
        if ((owners & (owners - 1)) == 0)
            continue;
        int first = -1;
        for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++) {
            struct node *node = &w->nodes[i];
            if ((owners & 1U << i) == 0 || !cluster_serves(node->core, node_ms(node)))
                continue;
            if (first >= 0) {
                world_fail(
                    w, "promise 1", "n%d and n%u both believe to own %s", first, i, w->id_text[id]);
                return;
            }
            first = i;
        }
    }
}

/* ---- the warehouse
 * -------------------------------------------------------------------------------
 */

/* Is this the value of a write (not a delete) that was carried out before the delete whose mark was
 * removed? The mark's time is that of its dump: a write that came in between has a higher version.
 */
static bool was_deleted(const struct world *w, const struct shelf *shelf, const struct stored *what)
{
    uint32_t number = world_number_in(what->value);
    if (number == 0 || number > w->operations_count)
        return false;
    const struct operation *write = &w->operations[number - 1];
    return write->executed_us < shelf->deleted_us &&
           version_compare(write->version, shelf->deleted) < 0;
}

/* Promise 3. Only what a muddled etcd of another life counted may be lower: R4 puts it above what
 * is stored, but what was removed from there is not known any more. */
void check_stored(struct world *w, uint32_t id, const struct stored *what, bool removes,
    const struct node *writer)
{
    struct shelf *shelf = &w->shelves[id];
    if (removes) {
        if (version_compare(what->version, shelf->now.version) < 0)
            world_fail(w, "promise 3", "n%u removes a newer %s than it knows", writer->index,
                w->id_text[id]);
        shelf->deleted_us = what->unix_ms * 1000;
        shelf->deleted = what->version;
        return;
    }
    if (version_compare(what->version, shelf->highest) < 0 &&
        (!w->etcd.muddled || version_compare(what->version, shelf->now.version) < 0))
        world_fail(w, "promise 3", "n%u puts an older version of %s over a newer one",
            writer->index, w->id_text[id]);
    if (shelf->deleted_us != 0 && was_deleted(w, shelf, what) &&
        version_compare(shelf->now.version, (struct version){0, 0, 0}) == 0)
        world_fail(
            w, "promise 3", "n%u brings %s back, which was deleted", writer->index, w->id_text[id]);
    if (version_compare(what->version, shelf->highest) > 0)
        shelf->highest = what->version;
}

/* ---- the history
 * ---------------------------------------------------------------------------------
 */

static bool is_weak_or_other(const struct operation *operation)
{
    return operation->kind != CLUSTER_READ && operation->kind != CLUSTER_WRITE &&
           operation->kind != CLUSTER_DELETE;
}

/* What a loss that no promise covers may bring back: no less than the warehouse had then. */
static size_t what_may_come(const struct world *w, uint32_t id, const struct loss *loss,
    uint32_t values[OPERATIONS_PER_ID + 1])
{
    size_t count = 0;
    values[count++] = 0; /* absent, or deleted: which delete wrote what version is not recorded */
    for (uint32_t i = 0; i < w->operations_count; i++) {
        const struct operation *o = &w->operations[i];
        bool may = loss->lawless || version_compare(o->version, loss->stored[id]) >= 0 ||
                   o->number == loss->number[id];
        if (o->id == id && o->kind == CLUSTER_WRITE && o->executed_us != 0 && may &&
            count <= OPERATIONS_PER_ID)
            values[count++] = o->number;
    }
    return count;
}

static bool linear_of(const struct operation *o, struct linear_operation *linear)
{
    if (is_weak_or_other(o) || (o->answers > 0 && o->status == BRAIN_ETIMEOUT))
        return false; /* a write that timed out had no effect: nobody may have seen it */
    bool read = o->kind == CLUSTER_READ;
    bool known = o->answers > 0 && o->status >= 0;
    if (read && !known)
        return false;
    *linear = (struct linear_operation){.kind = read ? LINEAR_READ : LINEAR_WRITE,
        .value = read                        ? o->result
                 : o->kind == CLUSTER_DELETE ? 0
                                             : o->number,
        .start = o->start_us,
        .end = known ? o->end_us : UINT64_MAX,
        .sender = o->sender};
    return true;
}

/* Of which history is it: `at` none, what was not read from replicas, which show a write at one
 * node before another; `at` a node, what was read there, from its replicas only where nobody waits
 * for them: the owner may have shown something newer before. */
static bool is_of(const struct world *w, const struct operation *o, int at)
{
    if (o->kind != CLUSTER_READ)
        return true;
    if (at < 0)
        return !o->replicated;
    return o->node == at && (o->replicated || replicas_all_wait(w));
}

static void check_id(struct world *w, uint32_t id, int at)
{
    struct linear_operation history[LOSSES + ENDINGS + OPERATIONS_PER_ID + NODES];
    uint32_t may_come[LOSSES][OPERATIONS_PER_ID + 1];
    size_t count = 0;
    for (uint32_t i = 0; i < w->losses_count; i++) {
        size_t values = what_may_come(w, id, &w->losses[i], may_come[i]);
        history[count++] = (struct linear_operation){.kind = LINEAR_LOSS,
            .start = w->losses[i].at_us,
            .end = UINT64_MAX,
            .allowed = may_come[i],
            .allowed_count = values};
    }
    for (uint32_t i = 0; i < w->endings_count; i++) {
        const struct lost *lost = &w->endings[i].lost[id];
        if (lost->count > 0)
            history[count++] = (struct linear_operation){.kind = LINEAR_LOSS,
                .start = w->endings[i].at_us,
                .end = UINT64_MAX,
                .allowed = lost->left,
                .allowed_count = lost->left_count,
                .from = lost->values,
                .from_count = lost->count};
    }
    for (uint32_t i = 0; i < w->operations_count; i++) {
        const struct operation *o = &w->operations[i];
        if (o->id != id || !is_of(w, o, at) || !linear_of(o, &history[count]))
            continue;
        /* Nobody waits until another node shows it. */
        if (at >= 0 && at != o->node && !replicas_all_wait(w))
            history[count].end = UINT64_MAX;
        count++;
    }
    switch (linear_check(history, count, 300000)) {
    case LINEAR_NO:
        if (at < 0)
            world_fail(
                w, "promises 1 and 2", "what %s was and was read as has no order", w->id_text[id]);
        else
            world_fail(w, "replicas", "what n%d showed of %s has no order", at, w->id_text[id]);
        break;
    case LINEAR_UNDECIDED:
        w->stats.undecided++;
        break;
    default:
        break;
    }
}

/* Replicas: each node for itself. */
static void check_shown_everywhere(struct world *w)
{
    uint16_t read[IDS] = {0}; /* a bit per node */
    for (uint32_t i = 0; i < w->operations_count; i++) {
        const struct operation *o = &w->operations[i];
        if (o->kind == CLUSTER_READ && o->replicated)
            read[o->id] |= (uint16_t)(1U << o->node);
    }
    for (uint32_t id = 0; id < w->plan.ids; id++) {
        for (int at = 0; at < NODES && !w->failed && !w->lawless; at++) {
            if ((read[id] & 1U << at) != 0)
                check_id(w, id, at);
        }
    }
    check_converged(w);
}

static void check_answers(struct world *w)
{
    for (uint32_t i = 0; i < w->operations_count; i++) {
        const struct operation *o = &w->operations[i];
        const struct node *node = &w->nodes[o->node];
        bool lives = node->up && node->process == o->process;
        if (o->answers == 0 && lives && o->given)
            world_fail(w, "promise 4", "request #%u was never answered", o->number);
        if (o->last && o->answers > 0 && o->status < 0)
            world_fail(w, "promise 4", "the last read, #%u, was answered %s", o->number,
                error_atom(o->status));
        if (o->answers > 0 && o->status == STORE_FOUND && o->kind != CLUSTER_OWNER &&
            (o->result == 0 || o->result > w->operations_count ||
                w->operations[o->result - 1].kind != CLUSTER_WRITE ||
                w->operations[o->result - 1].id != o->id ||
                w->operations[o->result - 1].start_us > o->end_us))
            world_fail(
                w, "promise 6", "request #%u was answered with what nobody wrote", o->number);
    }
}

void check_history(struct world *w)
{
    check_answers(w);
    w->stats.undecided += w->lawless;
    for (uint32_t id = 0; id < w->plan.ids && !w->failed && !w->lawless; id++)
        check_id(w, id, -1);
    check_shown_everywhere(w);
    for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++) {
        if (!w->nodes[i].up)
            continue;
        const struct cluster_metrics *m = cluster_metrics(w->nodes[i].core, node_ms(&w->nodes[i]));
        w->stats.grants += m->grants;
        w->stats.takeovers += m->takeovers;
        w->stats.handoffs += m->handoffs;
    }
}

/* ---- for people
 * ----------------------------------------------------------------------------------
 */

static void print_resident(struct node *node, uint32_t id, FILE *out)
{
    struct version version;
    bool deleted, dirty;
    uint32_t number;
    if (storage_peek(node, id, &version, &deleted, &number, &dirty))
        fprintf(out, ", %s %u@%llu.%llu.%llu%s", dirty ? "dirty" : "clean", number,
            (unsigned long long)version.view, (unsigned long long)version.counter,
            (unsigned long long)version.seq, deleted ? " deleted" : "");
}

void check_print(struct world *w, FILE *out)
{
    for (uint32_t id = 0; id < w->plan.ids; id++) {
        const struct stored *stored = &w->shelves[id].now;
        fprintf(out, "  %s: warehouse %u@%llu.%llu.%llu%s\n", w->id_text[id],
            world_number_in(stored->value), (unsigned long long)stored->version.view,
            (unsigned long long)stored->version.counter, (unsigned long long)stored->version.seq,
            stored->deleted ? " deleted" : "");
        for (uint8_t i = 0; i < (uint8_t)w->plan.nodes; i++) {
            struct node *node = &w->nodes[i];
            struct cluster_epoch epoch;
            struct cluster_copy copy;
            if (!node->up)
                continue;
            if (cluster_owns(node->core, w->ids[id], &epoch)) {
                fprintf(out, "    n%u owns it under %llu.%llu, %s", i,
                    (unsigned long long)epoch.view, (unsigned long long)epoch.counter,
                    storage_is_resident(node, id) ? "resident" : "NOT resident");
                print_resident(node, id, out);
                fprintf(out, "\n");
            } else if (storage_is_resident(node, id)) {
                fprintf(out, "    n%u has it in RAM, and does NOT own it\n", i);
            }
            if (cluster_copy_held(node->core, w->ids[id], &copy))
                fprintf(out, "    n%u holds %u@%llu.%llu.%llu%s\n", i, world_number(&copy.value),
                    (unsigned long long)copy.version.view, (unsigned long long)copy.version.counter,
                    (unsigned long long)copy.version.seq, copy.deleted ? " deleted" : "");
        }
    }
}
