/* The warehouse: one shelf for each id, with the very bytes that a driver wrote. It answers late,
 * not at all (though it did what was asked), or with an error; requests overtake each other, and
 * may arrive long after their maker has given them up. Replacing is on condition of an ETag; on
 * plans with versioned names (FTP) nothing is compared: each write has a name of its own, and the
 * highest is read. */
#include <assert.h>
#include <stdlib.h>

#include "sim.h"

enum { PATIENCE_US = 400000 }; /* of a driver, with one exchange */

static uint64_t delay(struct world *w)
{
    if (!w->calm && world_chance(w, w->plan.store_slow_chance))
        return 1 + world_random(w, w->plan.store_slow_us);
    return 250 + world_random(w, w->plan.store_us);
}

static struct exchange *copy_of(const struct exchange *exchange)
{
    struct exchange *copy = malloc(sizeof(*copy));
    if (!copy)
        abort();
    *copy = *exchange;
    value_hold(copy->form);
    return copy;
}

/* An answer of which nothing but its coming is known. */
static void tell_later(const struct exchange *exchange, enum warehouse_outcome outcome,
    uint64_t after_us, struct node *node)
{
    struct exchange answer = *exchange;
    answer.form = value_none();
    answer.outcome = outcome;
    struct event *event = world_event(node->world, EVENT_STORE_REPLY, after_us, node);
    event->data = copy_of(&answer);
}

void warehouse_resume(struct node *node, const struct exchange *exchange, uint64_t after_us)
{
    tell_later(exchange, WAREHOUSE_RESUME, after_us, node);
}

void warehouse_send(struct node *node, const struct exchange *exchange)
{
    struct world *w = node->world;
    uint64_t there_us = delay(w);
    struct event *event = world_event(w, EVENT_STORE, there_us, node);
    event->data = copy_of(exchange);
    if (there_us > PATIENCE_US)
        tell_later(exchange, WAREHOUSE_FAILED, PATIENCE_US, node);
}

/* Equal bytes have equal ETags. */
static uint64_t tag_of(struct slice bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes.size; i++)
        hash = (hash ^ bytes.data[i]) * UINT64_C(0x100000001b3);
    return hash | 1;
}

static void trace(const struct world *w, uint32_t id, const struct node *writer, const char *what,
    const struct stored *stored)
{
    world_trace(w, "warehouse: %s %s by n%u: %u@%llu.%llu.%llu%s", what, w->id_text[id],
        writer->index, world_number_in(stored->value), (unsigned long long)stored->version.view,
        (unsigned long long)stored->version.counter, (unsigned long long)stored->version.seq,
        stored->deleted ? " deleted" : "");
}

static void clear(struct shelf *shelf)
{
    value_drop(&shelf->form);
    shelf->now = (struct stored){.deleted = false};
    shelf->tag = 0;
}

static void remove_it(
    struct world *w, uint32_t id, const struct stored *what, const struct node *writer)
{
    check_stored(w, id, what, true, writer);
    trace(w, id, writer, "removes", what);
    w->stats.removed++;
    clear(&w->shelves[id]);
}

static void put(struct world *w, struct exchange *exchange, const struct node *writer)
{
    struct shelf *shelf = &w->shelves[exchange->id];
    struct stored what;
    int status = stored_read(value_slice(exchange->form), w->ids[exchange->id], &what);
    assert(status == 0);
    (void)status;
    bool taken = sim_keeps(w, SIM_PUT_CONDITION) &&
                 (exchange->exists ? shelf->tag != exchange->tag : shelf->tag != 0);
    exchange->outcome = WAREHOUSE_DONE;
    exchange->tag = tag_of(value_slice(exchange->form));
    if (w->plan.versioned_names) {
        if (version_compare(shelf->now.version, what.version) >= 0)
            return; /* beside a higher one */
    } else if (taken) {
        exchange->outcome = WAREHOUSE_REFUSED;
        return;
    }
    if (what.deleted && w->options.broken & CLUSTER_BREAK(CLUSTER_R10_TOMBSTONE)) {
        remove_it(w, exchange->id, &what, writer);
        return;
    }
    check_stored(w, exchange->id, &what, false, writer);
    trace(w, exchange->id, writer, "has", &what);
    w->stats.dumps++;
    clear(shelf);
    shelf->form = value_hold(exchange->form);
    shelf->now = what; /* points into the form */
    shelf->tag = exchange->tag;
}

static void serve(struct world *w, struct exchange *exchange, const struct node *node)
{
    struct shelf *shelf = &w->shelves[exchange->id];
    switch (exchange->step) {
    case WAREHOUSE_GET:
    case WAREHOUSE_HEAD:
        exchange->outcome = shelf->tag != 0 ? WAREHOUSE_DONE : WAREHOUSE_ABSENT;
        exchange->tag = shelf->tag;
        exchange->form = value_hold(shelf->form);
        break;
    case WAREHOUSE_PUT:
        put(w, exchange, node);
        break;
    case WAREHOUSE_REMOVE:
        exchange->outcome = WAREHOUSE_DONE;
        if (shelf->tag == exchange->tag) {
            struct stored what = shelf->now;
            remove_it(w, exchange->id, &what, node);
        }
        break;
    }
}

void warehouse_apply(struct world *w, struct event *event)
{
    struct node *node = &w->nodes[event->node];
    struct exchange *exchange = event->data;
    uint64_t back_us = delay(w);
    if (w->store_down_until_us > w->now_us ||
        (!w->calm && world_chance(w, w->plan.store_error_chance))) {
        exchange->outcome = WAREHOUSE_FAILED;
    } else {
        serve(w, exchange, node);
        if (!w->calm && world_chance(w, w->plan.store_lost_chance)) {
            exchange->outcome = WAREHOUSE_FAILED;
            back_us = PATIENCE_US;
        }
    }
    if (!node->up || node->process != event->process)
        return;
    if (back_us > PATIENCE_US) {
        back_us = PATIENCE_US;
        exchange->outcome = WAREHOUSE_FAILED;
    }
    struct event *answer = world_event(w, EVENT_STORE_REPLY, back_us, node);
    answer->data = copy_of(exchange);
}

void warehouse_event_drop(struct event *event)
{
    struct exchange *exchange = event->data;
    if (!exchange)
        return;
    value_drop(&exchange->form);
    free(exchange);
}
