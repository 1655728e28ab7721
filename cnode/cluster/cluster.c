/* Life of the struct, the lease, metrics, and what is asked about it. */
#include <assert.h>
#include <string.h>

#include "inside.h"

int cluster_epoch_compare(struct cluster_epoch a, struct cluster_epoch b)
{
    if (a.view != b.view)
        return a.view < b.view ? -1 : 1;
    return a.counter == b.counter ? 0 : a.counter < b.counter ? -1 : 1;
}

static void init_lists(struct cluster *c)
{
    struct link *lists[] = {&c->timers, &c->wake, &c->deadlines, &c->weak_deadlines, &c->foreigners,
        &c->unsettled, &c->stale_first, &c->stale_dirty, &c->settled, &c->fresh_copies,
        &c->stale_copies};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        list_init(lists[i]);
    c->held_end = &c->held_first;
    c->stashed_end = &c->stashed;
}

struct cluster *cluster_create(const struct cluster_options *options, struct cluster_events events,
    struct cluster_objects objects)
{
    assert(options->name.size > 0 && options->name.size <= CLUSTER_NAME_LIMIT);
    assert(options->backups <= CLUSTER_BACKUPS_LIMIT && options->retry_ms > 0);
    struct cluster *c = heap_allocate_zeroed(sizeof(*c));
    if (!c)
        return NULL;
    c->options = *options;
    c->options.name.data = NULL;
    c->events = events;
    c->objects = objects;
    buffer_init(&c->out);
    init_lists(c);
    uint8_t *name = heap_allocate(options->name.size);
    c->slots = heap_allocate_zeroed(CLUSTER_SLOTS * sizeof(struct slot));
    c->uses = heap_allocate_zeroed(USES * sizeof(struct use));
    if (!name || !c->slots || !c->uses) {
        heap_release(name);
        heap_release(c->slots);
        heap_release(c->uses);
        heap_release(c);
        return NULL;
    }
    memcpy(name, options->name.data, options->name.size);
    c->options.name.data = name;
    if (c->options.report_chunk_bytes == 0)
        c->options.report_chunk_bytes = 65536;
    if (c->options.backup_window_bytes == 0)
        c->options.backup_window_bytes = 8 << 20;
    for (size_t i = 0; i < CLUSTER_SLOTS; i++) {
        c->slots[i].directory.with_owner = c->slots[i].hints.with_owner = true;
        c->slots[i].parked_end = &c->slots[i].parked;
    }
    /* Nonces only have to differ within one incarnation; numbers too. A start that nobody knows
     * makes that a stray message of another run fits nothing. */
    c->nonce = c->number = options->random_seed >> 16;
    c->settling = 1;
    c->state = CLUSTER_OUT;
    return c;
}

/* Every request there is: those in places, those that are held. Foreign ones just end. */
static void end_requests(struct cluster *c)
{
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++) {
        struct keyed *node;
        while ((node = keyed_any(&c->slots[s].places)) != NULL) {
            struct cluster_place *place = (struct cluster_place *)(void *)node;
            struct link *lists[] = {&place->queue, &place->forwards, &place->asking};
            for (size_t i = 0; i < 3; i++) {
                struct link *link;
                while ((link = list_first(lists[i])) != NULL) {
                    struct cluster_request *request =
                        list_entry(link, struct cluster_request, in_place);
                    request_unlink(c, request);
                    request_finish(c, request, BRAIN_ESHUTDOWN, NULL);
                }
            }
            place_free(c, place);
        }
    }
    requests_held_end(c);
}

void cluster_destroy(struct cluster *c)
{
    if (!c)
        return;
    c->incarnation = 0; /* nobody is told anything any more */
    c->state = CLUSTER_OUT;
    end_requests(c);
    struct link *link;
    while ((link = list_first(&c->foreigners)) != NULL) {
        struct foreign *foreign = list_entry(link, struct foreign, all);
        list_remove(link);
        value_drop(&foreign->request.value);
        heap_release(foreign);
    }
    directory_clear(c);
    hints_clear(c);
    owned_clear(c);
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++) {
        struct keyed *node;
        while ((node = keyed_any(&c->slots[s].dirty)) != NULL)
            dirty_free(c, (struct dirty *)(void *)node);
    }
    copies_clear(c);
    stash_clear(c);
    moving_clear(c);
    if (c->view)
        offers_gather(c, c->view);
    view_release(c->view);
    epoch_views_release(&c->epochs);
    buffer_release(&c->out);
    heap_release((void *)(uintptr_t)c->options.name.data);
    heap_release(c->slots);
    heap_release(c->uses);
    heap_release(c);
}

bool cluster_keeps(const struct cluster *c, enum cluster_rule rule)
{
    return keeps(c, rule);
}

enum cluster_state cluster_state(const struct cluster *c)
{
    return c->drained && c->state == CLUSTER_IN ? CLUSTER_DRAINED : c->state;
}

void state_set(struct cluster *c, enum cluster_state state)
{
    c->state = state;
    if (c->events.state)
        c->events.state(c->events.context, state);
}

/* ---- the lease (R1, R11, R12) -----------------------------------------------------------------
 */

void serve_update(struct cluster *c)
{
    c->serve_until_ms = 0;
    if (c->state != CLUSTER_IN || !c->view)
        return;
    c->serve_until_ms = c->lease_until_ms;
    /* R12: a node that does not hear of new views would answer as an owner of old ones for ever. */
    if (c->lag_since_ms != 0 && keeps(c, CLUSTER_R12_LAG) &&
        c->lag_since_ms + c->options.view_lag_ms < c->serve_until_ms)
        c->serve_until_ms = c->lag_since_ms + c->options.view_lag_ms;
}

bool cluster_serves(const struct cluster *c, uint64_t now_ms)
{
    return now_ms < c->serve_until_ms;
}

static void wake_all(struct cluster *c)
{
    /* All that wait: they are in the timers, or alone (requests at the owner of a fenced node). */
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++) {
        for (struct keyed *node = keyed_any(&c->slots[s].places); node;
             node = keyed_next(&c->slots[s].places, node)) {
            struct cluster_place *place = (struct cluster_place *)(void *)node;
            list_remove(&place->timer);
            list_append(&c->wake, &place->timer);
        }
    }
}

void cluster_lease(struct cluster *c, uint64_t until_ms, uint64_t newest_view, uint64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->state != CLUSTER_IN)
        return;
    if (!serves(c))
        c->fenced = true;
    if (until_ms > c->lease_until_ms)
        c->lease_until_ms = until_ms;
    c->last_valid_ms = c->lease_until_ms;
    if (newest_view <= c->view->number)
        c->lag_since_ms = 0;
    else if (c->lag_since_ms == 0)
        c->lag_since_ms = now_ms;
    stash_prune(c, newest_view);
    serve_update(c);
    if (!serves(c) || !c->fenced)
        return;
    c->fenced = false;
    requests_held_flush(c);
    wake_all(c);
}

/* ---- metrics ----------------------------------------------------------------------------------
 */

static uint64_t slots_memory(const struct cluster *c)
{
    uint64_t bytes = CLUSTER_SLOTS * sizeof(struct slot) + USES * sizeof(struct use);
    for (uint32_t s = 0; s < CLUSTER_SLOTS; s++) {
        const struct slot *slot = &c->slots[s];
        bytes += idmap_memory(&slot->owned) + idmap_memory(&slot->directory) +
                 idmap_memory(&slot->hints) + keyed_memory(&slot->places) +
                 keyed_memory(&slot->dirty) + keyed_memory(&slot->copies) +
                 keyed_memory(&slot->listings) + keyed_memory(&slot->finished) +
                 slot->finished.count * sizeof(struct finished);
    }
    return bytes;
}

const struct cluster_metrics *cluster_metrics(struct cluster *c, uint64_t now_ms)
{
    struct cluster_metrics *m = &c->metrics;
    m->members = c->view ? c->view->count : 0;
    m->serving = cluster_serves(c, now_ms);
    m->owned = c->owned;
    m->directory = c->directory;
    m->slots = m->slots_open = 0;
    for (uint32_t s = 0; c->view && s < CLUSTER_SLOTS; s++) {
        bool home = view_home(c->view, s) == c->view->self;
        m->slots += home;
        m->slots_open += home && slot_is_open(c, s);
    }
    m->copies = c->copies;
    m->copies_bytes = c->copies_bytes;
    m->full = c->full;
    m->full_members = cluster_full_members(c, now_ms);
    m->unbacked = c->dirty - c->settled_count + c->sweeping; /* there may be some */
    m->silent = liveness_silent(c);
    m->waiting = c->waiting;
    m->memory = slots_memory(c) + cluster_copies_memory(c) +
                c->places * sizeof(struct cluster_place) + c->dirty * sizeof(struct dirty) +
                c->parked * sizeof(struct parked) + c->stashed_bytes + c->out.capacity;
    return m;
}

void cluster_metrics_register(struct metrics_registry *registry, struct cluster *c)
{
    const char *group = "cluster";
    const struct cluster_metrics *source = &c->metrics;
    CLUSTER_METRICS(METRICS_ROW)
}

/* ---- questions --------------------------------------------------------------------------------
 */

uint64_t cluster_view_number(const struct cluster *c)
{
    return c->view ? c->view->number : 0;
}

bool cluster_is_idle(const struct cluster *c, struct slice id)
{
    struct key key = id_key(c, id);
    const struct slot *slot = &c->slots[key_slot(key)];
    return !idmap_find(&slot->owned, &c->epochs, key, NULL) && !keyed_find(&slot->places, key);
}

bool cluster_owns(const struct cluster *c, struct slice id, struct cluster_epoch *epoch)
{
    struct key key = id_key(c, id);
    const struct slot *slot = &c->slots[key_slot(key)];
    struct idmap_entry entry;
    if (idmap_find(&slot->owned, &c->epochs, key, &entry)) {
        if (epoch)
            *epoch = entry.epoch;
        return true;
    }
    const struct cluster_place *place =
        (const struct cluster_place *)(const void *)keyed_find(&slot->places, key);
    if (!place || place->stage != PLACE_FETCHING)
        return false;
    if (epoch)
        *epoch = place->epoch;
    return true;
}

bool cluster_has_holders(const struct cluster *c)
{
    return c->view && c->view->holders > 0;
}

struct slice cluster_member_name(const struct cluster *c, uint64_t incarnation)
{
    int member = c->view ? view_find(c->view, incarnation) : -1;
    return member < 0 ? slice_of(NULL, 0) : c->view->members[member].name;
}

struct slice cluster_home(const struct cluster *c, struct slice id)
{
    if (!c->view)
        return slice_of(NULL, 0);
    return c->view->members[view_home(c->view, key_slot(id_key(c, id)))].name;
}

bool cluster_is_open(const struct cluster *c, struct slice id)
{
    uint32_t slot = key_slot(id_key(c, id));
    return c->view && view_home(c->view, slot) == c->view->self && slot_is_open(c, slot);
}

bool cluster_copy_held(const struct cluster *c, struct slice id, struct cluster_copy *copy)
{
    struct key key = id_key(c, id);
    const struct copy *held =
        (const struct copy *)(const void *)keyed_find(&c->slots[key_slot(key)].copies, key);
    if (held && copy)
        *copy = held->what;
    return held != NULL;
}

uint64_t cluster_copy_age(const struct cluster *c, struct slice id, uint64_t now_ms)
{
    struct key key = id_key(c, id);
    struct cluster_epoch epoch;
    /* Until this process knows what time it is, ages are kept from 0 on. */
    const int64_t at_ms = c->clock_known ? (int64_t)now_ms : (int64_t)c->now_ms;
    const struct copy *held =
        (const struct copy *)(const void *)keyed_find(&c->slots[key_slot(key)].copies, key);
    if (!held || held->confirmed_ms >= at_ms ||
        (cluster_serves(c, now_ms) && cluster_owns(c, id, &epoch)))
        return 0;
    return (uint64_t)(at_ms - held->confirmed_ms);
}

void cluster_hello_write(const struct cluster *c, struct buffer *out)
{
    hello_write(out, c->options.seed);
}

int cluster_hello_read(const struct cluster *c, struct slice payload, const char **why)
{
    return hello_read(payload, c->options.seed, c->options.term_limits, why);
}
