/* The warehouse: one shelf for each id. It answers late, not at all (though it did what was asked),
 * or with an error; requests overtake each other. On plans with versioned names (FTP) nothing is
 * compared: a dump lists first, then writes under a name of its own, and the highest is read. */
#include <assert.h>
#include <stdlib.h>

#include "sim.h"

struct job {
    struct slice id;
    uint64_t ticket, expected;
    struct stored what;
    bool dumps, removes, listed;
    /* the answer */
    int status;
    struct stored found;
};

static uint64_t delay(struct world *w)
{
    if (!w->calm && world_chance(w, w->plan.store_slow_chance))
        return 1 + world_random(w, w->plan.store_slow_us);
    return 500 + world_random(w, w->plan.store_us);
}

static void begin(struct node *node, const struct job *job)
{
    struct world *w = node->world;
    struct job *copy = malloc(sizeof(*copy));
    if (!copy)
        abort();
    *copy = *job;
    value_hold(copy->what.value);
    struct event *event = world_event(w, EVENT_STORE, delay(w), node);
    event->data = copy;
}

void warehouse_load(struct node *node, struct slice id, uint64_t ticket)
{
    struct world *w = node->world;
    begin(node, &(struct job){.id = w->ids[world_id(w, id)], .ticket = ticket});
}

void warehouse_dump(struct node *node, struct slice id, uint64_t ticket, const struct stored *what,
    uint64_t expected, bool removes)
{
    struct world *w = node->world;
    begin(node, &(struct job){.id = w->ids[world_id(w, id)],
                    .ticket = ticket,
                    .expected = expected,
                    .what = *what,
                    .dumps = true,
                    .removes = removes});
}

static void found(struct job *job, const struct shelf *shelf)
{
    job->found = shelf->now;
    value_hold(job->found.value);
}

static void write(struct world *w, struct job *job, struct shelf *shelf, const struct node *writer)
{
    uint32_t id = (uint32_t)world_id(w, job->id);
    check_stored(w, id, &job->what, job->removes, writer);
    value_drop(&shelf->now.value);
    if (job->removes) {
        w->stats.removed++;
        shelf->now = (struct stored){.tag = 0};
    } else {
        w->stats.dumps++;
        shelf->now = job->what;
        value_hold(shelf->now.value);
        shelf->now.tag = ++w->tags;
    }
    world_trace(w, "warehouse: %s %s by n%u: %u@%llu.%llu.%llu%s", job->removes ? "removes" : "has",
        w->id_text[id], writer->index, world_number(&job->what.value),
        (unsigned long long)job->what.version.view, (unsigned long long)job->what.version.counter,
        (unsigned long long)job->what.version.seq, job->what.deleted ? " deleted" : "");
}

static void dump(struct world *w, struct job *job, struct shelf *shelf, const struct node *writer)
{
    if (w->plan.versioned_names) {
        if (version_compare(shelf->now.version, job->what.version) < 0)
            write(w, job, shelf, writer);
    } else if (shelf->now.tag == job->expected || !sim_keeps(w, SIM_PUT_CONDITION)) {
        write(w, job, shelf, writer);
    } else {
        w->stats.conflicts++;
        job->status = BRAIN_ECONFLICT;
    }
    found(job, shelf);
}

/* A listing that shows a higher version, or a later answer to the write itself. */
static bool list(struct world *w, struct job *job, const struct shelf *shelf)
{
    if (!w->plan.versioned_names || job->listed)
        return false;
    job->listed = true;
    if (version_compare(shelf->now.version, job->what.version) <= 0)
        return true; /* and then writes */
    w->stats.conflicts++;
    job->status = BRAIN_ECONFLICT;
    found(job, shelf);
    return false;
}

void warehouse_apply(struct world *w, struct event *event)
{
    struct node *node = &w->nodes[event->node];
    struct job *job = event->data;
    struct shelf *shelf = &w->shelves[world_id(w, job->id)];
    event->data = NULL;
    bool fails = w->store_down_until_us > w->now_us ||
                 (!w->calm && world_chance(w, w->plan.store_error_chance));
    uint64_t lost_us = 0;
    if (fails) {
        job->status = BRAIN_EWAREHOUSE;
    } else if (job->dumps) {
        if (list(w, job, shelf)) {
            struct event *second = world_event(w, EVENT_STORE, delay(w), NULL);
            second->node = event->node;
            second->process = event->process;
            second->data = job;
            return;
        }
        if (job->status == 0)
            dump(w, job, shelf, node);
        if (!w->calm && world_chance(w, w->plan.store_lost_chance)) {
            /* It did what was asked, but the answer never came. */
            value_drop(&job->found.value);
            job->status = BRAIN_EWAREHOUSE;
            lost_us = world_random(w, 400000);
        }
    } else {
        found(job, shelf);
    }
    struct event *answer = world_event(w, EVENT_STORE_REPLY, delay(w) + lost_us, NULL);
    answer->node = event->node;
    answer->process = event->process;
    answer->data = job;
}

/* A request that is given up by its maker while it is still under way: the worst of slowness. */
void warehouse_reply(struct world *w, struct event *event)
{
    const struct node *node = &w->nodes[event->node];
    struct job *job = event->data;
    if (job->dumps)
        objects_dumped(node->objects, job->id, job->ticket, job->status, &job->found);
    else
        objects_loaded(node->objects, job->id, job->ticket, job->status, &job->found);
}

void warehouse_event_drop(struct event *event)
{
    struct job *job = event->data;
    if (!job)
        return;
    value_drop(&job->what.value);
    value_drop(&job->found.value);
    free(job);
}
