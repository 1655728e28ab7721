/* See objects.h. */
#include "objects.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A request that is not answered yet. */
enum waiting_for { FOR_LOAD, FOR_VERSION, FOR_STORED, FOR_NOTHING };
struct waiting {
    struct waiting *next;
    struct cluster_request *request;
    enum waiting_for what;
    struct version version;
    uint8_t ack;
    bool found;
    struct value value;
};

struct object {
    struct slice id;
    uint8_t bytes[32];
    bool owned;
    struct cluster_epoch epoch;
    /* R7: the copy it was adopted with, not compared with the warehouse yet. */
    bool has_copy;
    struct cluster_copy copy;
    /* What it is, when `known`. */
    bool known, dirty;
    struct cluster_copy now;
    uint64_t deleted_ms;
    uint8_t ack;
    /* What the warehouse holds, when `stored_known`; without its value. */
    bool stored_known;
    struct stored stored;
    struct version backed;  /* all holders have it */
    struct version written; /* the last version of ours that the warehouse confirmed */
    bool loading, dumping, blind, removing;
    uint64_t load_ticket, dump_ticket;
    struct version dumped; /* on its way */
    bool leaves;           /* persist: drop it when it is clean */
    struct waiting *waiting;
    /* R8_OWNER broken: a copy that somebody else owns is written. */
    uint64_t stray_ticket;
};

struct objects {
    struct objects_options options;
    struct objects_events events;
    struct cluster *cluster;
    struct object *all;
    uint32_t count;
    uint64_t ticket, seq, now_ms, wall_ms;
    struct waiting *careless; /* R13 broken: answers of objects that are gone */
};

static const struct version NONE;

static bool keeps(const struct objects *o, enum cluster_rule rule)
{
    return (o->options.broken & CLUSTER_BREAK(rule)) == 0;
}

static struct object *find(const struct objects *o, struct slice id)
{
    for (uint32_t i = 0; i < o->count; i++) {
        if (slice_equal(o->all[i].id, id))
            return &o->all[i];
    }
    return NULL;
}

static struct object *find_or_make(struct objects *o, struct slice id)
{
    struct object *object = find(o, id);
    if (object)
        return object;
    assert(o->count < o->options.ids_limit && id.size <= sizeof(object->bytes));
    object = &o->all[o->count++];
    memcpy(object->bytes, id.data, id.size);
    object->id = slice_of(object->bytes, id.size);
    return object;
}

static void set_now(struct object *object, struct version version, bool deleted, struct value value)
{
    struct value old = object->now.value;
    object->now = (struct cluster_copy){version, deleted, value_hold(value)};
    value_drop(&old);
}

static void drop_copy(struct object *object)
{
    value_drop(&object->copy.value);
    object->has_copy = false;
}

static bool is_at_least(struct version a, struct version b)
{
    return version_compare(a, b) >= 0;
}

/* ---- requests that wait ------------------------------------------------------------------------
 */

static struct waiting *wait_for(
    struct object *object, struct cluster_request *request, enum waiting_for what)
{
    struct waiting *waiting = calloc(1, sizeof(*waiting)), **end = &object->waiting;
    if (!waiting)
        abort();
    waiting->request = request;
    waiting->what = what;
    while (*end)
        end = &(*end)->next;
    *end = waiting;
    return waiting;
}

/* The waiting one is unlinked already. */
static void answer(struct objects *o, struct waiting *waiting, int status)
{
    struct cluster_request *request = waiting->request;
    struct value value = waiting->value;
    free(waiting);
    cluster_executed(o->cluster, request, status, status == STORE_FOUND ? &value : NULL, o->now_ms);
    value_drop(&value);
}

static int result_of(const struct waiting *waiting)
{
    if (waiting->request->kind == CLUSTER_READ || waiting->request->kind == CLUSTER_WEAK_READ)
        return waiting->found ? STORE_FOUND : STORE_ABSENT;
    return STORE_DONE;
}

static bool is_reached(
    const struct objects *o, const struct object *object, const struct waiting *waiting)
{
    bool in_warehouse =
        object->stored_known && is_at_least(object->stored.version, waiting->version);
    bool read = waiting->request->kind == CLUSTER_READ;
    if (read && !keeps(o, CLUSTER_R11_VERSION))
        return true;
    switch (waiting->ack) {
    case ACK_MEMORY:
        return true;
    case ACK_BACKUP:
        return in_warehouse || is_at_least(object->backed, waiting->version);
    default:
        return in_warehouse;
    }
}

static void flush(struct objects *o, struct object *object)
{
    struct waiting **link = &object->waiting;
    while (*link) {
        struct waiting *waiting = *link;
        bool over = (waiting->what == FOR_VERSION && is_reached(o, object, waiting)) ||
                    (waiting->what == FOR_STORED && object->stored_known &&
                        is_at_least(object->stored.version, waiting->version));
        if (!over) {
            link = &waiting->next;
            continue;
        }
        *link = waiting->next;
        answer(o, waiting, result_of(waiting));
        link = &object->waiting; /* the answer may have changed everything */
    }
}

/* ---- loading and dumping ------------------------------------------------------------------------
 */

static void load(struct objects *o, struct object *object)
{
    if (object->loading)
        return;
    object->loading = true;
    object->load_ticket = ++o->ticket;
    o->events.load(o->events.context, object->id, object->load_ticket);
}

static void outdated(struct objects *o, struct object *object)
{
    cluster_object_outdated(o->cluster, object->id, object->stored.version, o->now_ms);
}

static bool stored_is_above(const struct object *object)
{
    struct version stored = object->stored.version;
    struct cluster_epoch epoch = {stored.view, stored.counter};
    return object->stored_known && version_compare(stored, NONE) != 0 &&
           version_compare(stored, object->written) != 0 &&
           cluster_epoch_compare(epoch, object->epoch) >= 0;
}

static void dump(struct objects *o, struct object *object)
{
    if (!object->owned || !object->known || !object->dirty || object->dumping || object->loading)
        return;
    /* R11 */
    if (!cluster_serves(o->cluster, o->now_ms) && keeps(o, CLUSTER_R11_PUT))
        return;
    if (stored_is_above(object)) {
        outdated(o, object);
        if (keeps(o, CLUSTER_R4_HIGHER))
            return;
    }
    object->dumping = true;
    object->blind = !object->stored_known;
    object->dump_ticket = ++o->ticket;
    object->dumped = object->now.version;
    object->deleted_ms = o->wall_ms;
    struct stored what = {.version = object->now.version,
        .deleted = object->now.deleted,
        .deleted_ms = object->deleted_ms,
        .value = object->now.value};
    object->removing = object->now.deleted && !keeps(o, CLUSTER_R10_TOMBSTONE);
    o->events.dump(o->events.context, object->id, object->dump_ticket, &what,
        object->stored_known ? object->stored.tag : 0, object->removing);
}

/* R10: a tombstone has been there for long enough. */
static void remove_tombstone(struct objects *o, struct object *object)
{
    const struct stored *stored = &object->stored;
    if (o->options.tombstone_keep_ms == 0 || !object->owned || !object->known || object->dirty ||
        object->dumping || object->loading || !object->stored_known || !stored->deleted ||
        o->wall_ms < stored->deleted_ms + o->options.tombstone_keep_ms ||
        !cluster_serves(o->cluster, o->now_ms))
        return;
    object->dumping = object->removing = true;
    object->blind = false;
    object->dump_ticket = ++o->ticket;
    object->dumped = stored->version;
    o->events.dump(o->events.context, object->id, object->dump_ticket, stored, stored->tag, true);
}

static void take_stored(struct object *object, const struct stored *stored)
{
    object->stored = *stored;
    object->stored.value = value_none();
    object->stored_known = true;
}

static void written(struct objects *o, struct object *object)
{
    o->events.record(o->events.context, object->id, &object->now);
    int holders = cluster_object_written(o->cluster, object->id, object->now.version,
        object->now.deleted ? NULL : &object->now.value, o->now_ms);
    if (holders == 0)
        object->backed = object->now.version;
}

static struct version next_version(struct objects *o, const struct object *object)
{
    return (struct version){object->epoch.view, object->epoch.counter, ++o->seq};
}

static void stored_now(struct objects *o, struct object *object)
{
    o->events.record(o->events.context, object->id, object->dirty ? &object->now : NULL);
    if (version_compare(object->stored.version, NONE) != 0)
        cluster_object_stored(o->cluster, object->id, object->stored.version, o->now_ms);
}

static void fail_loads(struct objects *o, struct object *object)
{
    struct waiting **link = &object->waiting;
    while (*link) {
        struct waiting *waiting = *link;
        if (waiting->what != FOR_LOAD) {
            link = &waiting->next;
            continue;
        }
        *link = waiting->next;
        answer(o, waiting, BRAIN_EWAREHOUSE);
        link = &object->waiting;
    }
}

static void show_loaded(struct object *object, const struct cluster_copy *loaded, uint8_t ack)
{
    for (struct waiting *waiting = object->waiting; waiting; waiting = waiting->next) {
        if (waiting->what != FOR_LOAD)
            continue;
        waiting->what = FOR_VERSION;
        waiting->version = object->now.version;
        waiting->ack = ack;
        waiting->found = !loaded->deleted && loaded->value.data != NULL;
        waiting->value = value_hold(loaded->value);
    }
}

static void stray_loaded(struct objects *o, struct object *object, const struct stored *stored)
{
    struct cluster_copy copy;
    object->stray_ticket = 0;
    if (object->owned || !cluster_copy_held(o->cluster, object->id, &copy) ||
        is_at_least(stored->version, copy.version))
        return;
    struct stored what = {.version = copy.version, .deleted = copy.deleted, .value = copy.value};
    o->events.dump(o->events.context, object->id, ++o->ticket, &what, stored->tag, false);
}

static void read_stored_loaded(
    struct objects *o, struct object *object, int status, const struct stored *stored)
{
    struct waiting *waiting = object->waiting;
    object->waiting = NULL;
    while (waiting) { /* of an id that is not owned there are only weak reads */
        struct waiting *next = waiting->next;
        waiting->next = NULL;
        waiting->found = status == 0 && !stored->deleted && stored->value.data != NULL;
        if (waiting->found)
            waiting->value = value_hold(stored->value);
        answer(o, waiting, status != 0 ? BRAIN_EWAREHOUSE : result_of(waiting));
        waiting = next;
    }
}

void objects_loaded(
    struct objects *o, struct slice id, uint64_t ticket, int status, const struct stored *stored)
{
    struct object *object = find(o, id);
    if (object && ticket == object->stray_ticket && status == 0)
        stray_loaded(o, object, stored);
    if (!object || !object->loading || object->load_ticket != ticket)
        return;
    object->loading = false;
    if (!object->owned) {
        read_stored_loaded(o, object, status, stored);
        return;
    }
    if (status != 0) {
        fail_loads(o, object); /* a copy that is to be compared: again with the next tick */
        return;
    }
    if (!object->stored_known || is_at_least(stored->version, object->stored.version))
        take_stored(object, stored);
    /* R7: the greater of the two. */
    bool copy_wins =
        object->has_copy && (version_compare(object->copy.version, stored->version) > 0 ||
                                !keeps(o, CLUSTER_R7_COMPARE));
    struct cluster_copy loaded = {stored->version, stored->deleted, value_hold(stored->value)};
    uint64_t deleted_ms = stored->deleted_ms;
    if (copy_wins) {
        value_drop(&loaded.value);
        loaded = (struct cluster_copy){
            object->copy.version, object->copy.deleted, value_hold(object->copy.value)};
        deleted_ms = o->wall_ms; /* when it was made is not known any more */
    }
    drop_copy(object);
    if (!object->known && copy_wins) {
        object->known = object->dirty = true;
        object->ack = ACK_BACKUP;
        object->deleted_ms = deleted_ms;
        set_now(object, next_version(o, object), loaded.deleted, loaded.value);
        written(o, object);
    } else if (!object->known) {
        object->known = true;
        object->dirty = false;
        object->ack = ACK_MEMORY;
        object->deleted_ms = deleted_ms;
        set_now(object, stored->version, stored->deleted, stored->value);
        stored_now(o, object);
    }
    uint8_t ack = object->ack > ACK_BACKUP ? object->ack : ACK_BACKUP;
    show_loaded(object, &loaded, object->dirty ? ack : ACK_MEMORY);
    value_drop(&loaded.value);
    if (stored_is_above(object))
        outdated(o, object);
    flush(o, object);
    remove_tombstone(o, object);
}

static void confirmed(struct objects *o, struct object *object, uint64_t tag)
{
    object->stored_known = true;
    if (object->removing && version_compare(object->dumped, object->now.version) == 0) {
        object->stored = (struct stored){.tag = 0};
        object->written = NONE;
        object->ack = ACK_MEMORY; /* whoever reads it waits for nothing */
        if (object->dirty) {      /* R10 broken: a delete without a mark */
            object->dirty = false;
            object->backed = object->now.version;
            o->events.record(o->events.context, object->id, NULL);
            cluster_object_stored(o->cluster, object->id, object->dumped, o->now_ms);
        }
        flush(o, object);
        return;
    }
    object->stored = (struct stored){.version = object->removing ? NONE : object->dumped,
        .tag = object->removing ? 0 : tag,
        .deleted = !object->removing && object->now.deleted,
        .deleted_ms = object->deleted_ms};
    object->written = object->stored.version;
    if (version_compare(object->dumped, object->now.version) == 0)
        object->dirty = false;
    else
        object->stored.deleted = false; /* what it was then matters no more: it is dirty */
    stored_now(o, object);
    flush(o, object);
}

void objects_dumped(
    struct objects *o, struct slice id, uint64_t ticket, int status, const struct stored *stored)
{
    struct object *object = find(o, id);
    if (!object || !object->dumping || object->dump_ticket != ticket)
        return;
    object->dumping = false;
    if (status == 0) {
        confirmed(o, object, stored->tag);
    } else if (status == BRAIN_ECONFLICT) {
        int order = version_compare(stored->version, object->dumped);
        bool knew = !object->blind;
        if (object->removing && version_compare(stored->version, NONE) == 0) {
            confirmed(o, object, 0); /* an earlier attempt of ours */
            return;
        }
        if (order == 0 && !object->removing) {
            confirmed(o, object, stored->tag);
            return;
        }
        take_stored(object, stored);
        if (order < 0 || object->removing) {
            dump(o, object);
        } else if (stored_is_above(object)) {
            /* Nobody but the owner writes, so it cannot be outrun. */
            if (knew && cluster_serves(o->cluster, o->now_ms) && object->owned)
                o->events.broken(o->events.context, "R8",
                    "the warehouse holds a newer version than its owner wrote", id);
            outdated(o, object);
        }
    }
}

/* ---- what the cluster asks ----------------------------------------------------------------------
 */

static int adopt(void *context, struct slice id, struct cluster_epoch epoch,
    const struct cluster_copy *copy, bool complete)
{
    struct objects *o = context;
    struct object *object = find_or_make(o, id);
    assert(!object->owned);
    object->owned = true;
    object->epoch = epoch;
    object->known = object->dirty = object->loading = object->dumping = object->leaves = false;
    object->stored_known = false;
    object->backed = object->written = NONE;
    object->has_copy = copy != NULL;
    if (copy) {
        object->copy = *copy;
        value_hold(copy->value);
    }
    if (copy && complete) { /* R7: what its last owner released */
        object->known = object->dirty = true;
        object->ack = ACK_BACKUP;
        object->deleted_ms = o->wall_ms;
        set_now(object, next_version(o, object), copy->deleted, copy->value);
        drop_copy(object);
        written(o, object);
    }
    if (object->has_copy ||
        object->waiting) /* weak reads were waiting: they get what the others get */
        load(o, object);
    return 0;
}

static void raise_epoch(void *context, struct slice id, struct cluster_epoch epoch)
{
    struct objects *o = context;
    struct object *object = find(o, id);
    if (!object || !object->owned)
        return;
    object->epoch = epoch;
    if (object->known && object->dirty) {
        struct value value = value_hold(object->now.value);
        set_now(object, next_version(o, object), object->now.deleted, value);
        value_drop(&value);
        written(o, object);
        flush(o, object);
        dump(o, object);
    }
}

static void execute_read(struct objects *o, struct object *object, struct cluster_request *request)
{
    if (!object->known) {
        wait_for(object, request, FOR_LOAD);
        load(o, object);
        return;
    }
    struct waiting *waiting = wait_for(object, request, FOR_VERSION);
    waiting->version = object->now.version;
    waiting->ack = request->kind == CLUSTER_WEAK_READ ? ACK_MEMORY : object->ack;
    waiting->found = !object->now.deleted && object->now.value.data != NULL;
    waiting->value = value_hold(object->now.value);
    flush(o, object);
}

static void execute_write(struct objects *o, struct object *object, struct cluster_request *request)
{
    bool deletes = request->kind == CLUSTER_DELETE;
    bool was_loading = object->loading, stored = request->ack == ACK_WAREHOUSE;
    object->known = object->dirty = true;
    object->ack = request->ack;
    object->deleted_ms = o->wall_ms;
    set_now(object, next_version(o, object), deletes, deletes ? value_none() : request->value);
    if (!was_loading)
        drop_copy(object);
    o->events.executed(o->events.context, request, object->now.version);
    struct waiting *waiting = wait_for(object, request, FOR_VERSION);
    waiting->version = object->now.version;
    waiting->ack = request->ack;
    written(o, object);
    flush(o, object); /* the request may be gone */
    if (stored)
        dump(o, object);
}

static void execute(void *context, struct cluster_request *request)
{
    struct objects *o = context;
    struct object *object = find(o, request->id);
    assert(object && (object->owned || !keeps(o, CLUSTER_R1_VOID)));
    switch (request->kind) {
    case CLUSTER_READ:
    case CLUSTER_WEAK_READ:
        execute_read(o, object, request);
        break;
    case CLUSTER_WRITE:
    case CLUSTER_DELETE:
        execute_write(o, object, request);
        break;
    default:
        object->leaves = true;
        if (!object->known || !object->dirty) {
            cluster_executed(o->cluster, request, STORE_DONE, NULL, o->now_ms);
            break;
        }
        wait_for(object, request, FOR_STORED)->version = object->now.version;
        dump(o, object);
        break;
    }
}

static void read_stored(void *context, struct cluster_request *request)
{
    struct objects *o = context;
    struct object *object = find_or_make(o, request->id);
    wait_for(object, request, FOR_LOAD);
    load(o, object);
}

static bool peek(void *context, struct slice id, struct cluster_copy *copy)
{
    const struct object *object = find(context, id);
    if (!object || !object->owned || !object->known || !object->dirty)
        return false;
    *copy = object->now;
    return true;
}

static bool in_warehouse(void *context, struct slice id, struct version *version)
{
    const struct object *object = find(context, id);
    if (!object || !object->owned || !object->stored_known)
        return false;
    *version = object->stored.version;
    return true;
}

static void backed_up(void *context, struct slice id, struct version version)
{
    struct objects *o = context;
    struct object *object = find(o, id);
    if (!object || !object->owned)
        return;
    if (version_compare(version, object->backed) > 0)
        object->backed = version;
    flush(o, object);
}

static void let_go(struct objects *o, struct object *object)
{
    object->owned = object->known = object->dirty = object->loading = object->dumping = false;
    object->leaves = object->stored_known = false;
    drop_copy(object);
    set_now(object, NONE, false, value_none());
    o->events.record(o->events.context, object->id, NULL);
}

static enum cluster_parted give_up(
    void *context, struct slice id, enum cluster_parting parting, struct cluster_copy *copy)
{
    struct objects *o = context;
    struct object *object = find(o, id);
    if (!object || !object->owned)
        return CLUSTER_GONE_CLEAN;
    /* R13 */
    bool busy = object->dumping || object->loading || object->waiting || object->has_copy ||
                (object->dirty && !is_at_least(object->backed, object->now.version));
    if (busy && parting == CLUSTER_PART_POLITELY)
        return CLUSTER_BUSY;
    if (object->has_copy || object->loading)
        return CLUSTER_BUSY;
    struct waiting **end = &o->careless;
    while (*end)
        end = &(*end)->next;
    *end = object->waiting;
    object->waiting = NULL;
    bool dirty = object->known && object->dirty;
    if (dirty)
        *copy = (struct cluster_copy){
            object->now.version, object->now.deleted, value_hold(object->now.value)};
    let_go(o, object);
    return dirty ? CLUSTER_GONE_DIRTY : CLUSTER_GONE_CLEAN;
}

static void end_waiting(struct objects *o, struct object *object)
{
    struct waiting *waiting = object->waiting;
    object->waiting = NULL;
    while (waiting) {
        struct waiting *next = waiting->next;
        bool had_effect =
            waiting->request->kind == CLUSTER_WRITE || waiting->request->kind == CLUSTER_DELETE;
        answer(o, waiting, had_effect ? BRAIN_EUNKNOWN : BRAIN_EUNAVAILABLE);
        waiting = next;
    }
}

static bool abandon(void *context, uint32_t budget)
{
    struct objects *o = context;
    for (uint32_t i = 0; i < o->count; i++) {
        struct object *object = &o->all[i];
        if (!object->owned)
            continue;
        if (budget-- == 0)
            return false;
        if (object->known && object->dirty)
            cluster_keep_copy(o->cluster, object->id, &object->now, o->now_ms);
        end_waiting(o, object);
        let_go(o, object);
    }
    return true;
}

static bool next(void *context, uint64_t *cursor, uint8_t *id, size_t *id_size)
{
    struct objects *o = context;
    while (*cursor < o->count) {
        const struct object *object = &o->all[(*cursor)++];
        if (!object->owned)
            continue;
        memcpy(id, object->bytes, object->id.size);
        *id_size = object->id.size;
        return true;
    }
    *cursor = 0;
    return false;
}

/* ---- time ---------------------------------------------------------------------------------------
 */

static void expire(struct objects *o, struct object *object)
{
    struct waiting **link = &object->waiting;
    while (*link) {
        struct waiting *waiting = *link;
        if (waiting->request->deadline_ms > o->now_ms) {
            link = &waiting->next;
            continue;
        }
        *link = waiting->next;
        bool wrote =
            waiting->request->kind == CLUSTER_WRITE || waiting->request->kind == CLUSTER_DELETE;
        answer(o, waiting, wrote ? BRAIN_EUNKNOWN : BRAIN_ETIMEOUT);
        link = &object->waiting;
    }
}

static void drop(struct objects *o, struct object *object)
{
    if (!object->owned || object->dirty || object->dumping || object->loading || object->waiting ||
        object->has_copy)
        return;
    let_go(o, object);
    cluster_object_released(o->cluster, object->id, o->now_ms);
}

static void write_stray(struct objects *o, struct object *object)
{
    if (object->owned || object->stray_ticket != 0 ||
        !cluster_copy_held(o->cluster, object->id, NULL))
        return;
    object->stray_ticket = ++o->ticket;
    o->events.load(o->events.context, object->id, object->stray_ticket);
}

void objects_tick(
    struct objects *o, struct random *random, uint32_t dump_chance, uint32_t drop_chance)
{
    while (o->careless) {
        struct waiting *waiting = o->careless;
        o->careless = waiting->next;
        answer(o, waiting, result_of(waiting));
    }
    for (uint32_t i = 0; i < o->count; i++) {
        struct object *object = &o->all[i];
        expire(o, object);
        if (object->owned && object->has_copy)
            load(o, object);
        if (object->waiting && object->waiting->what == FOR_LOAD && !object->known)
            load(o, object);
        bool wanted = object->ack == ACK_WAREHOUSE || object->leaves;
        if (random_below(random, 256) < (wanted ? 128 : dump_chance))
            dump(o, object);
        remove_tombstone(o, object);
        if (random_below(random, 256) < (object->leaves ? 128 : drop_chance))
            drop(o, object);
        if (!keeps(o, CLUSTER_R8_OWNER) && random_below(random, 4) == 0)
            write_stray(o, object);
    }
}

/* ---- life and questions -------------------------------------------------------------------------
 */

struct objects *objects_create(const struct objects_options *options, struct objects_events events)
{
    struct objects *o = calloc(1, sizeof(*o));
    if (!o || !(o->all = calloc(options->ids_limit, sizeof(struct object))))
        abort();
    o->options = *options;
    o->events = events;
    return o;
}

void objects_destroy(struct objects *o)
{
    struct waiting *waiting;
    for (uint32_t i = 0; i <= o->count; i++) {
        struct waiting **list = i < o->count ? &o->all[i].waiting : &o->careless;
        while ((waiting = *list) != NULL) {
            *list = waiting->next;
            value_drop(&waiting->value);
            free(waiting);
        }
        if (i < o->count) {
            drop_copy(&o->all[i]);
            value_drop(&o->all[i].now.value);
        }
    }
    free(o->all);
    free(o);
}

struct cluster_objects objects_interface(struct objects *o)
{
    return (struct cluster_objects){.context = o,
        .adopt = adopt,
        .raise = raise_epoch,
        .execute = execute,
        .read_stored = read_stored,
        .peek = peek,
        .in_warehouse = in_warehouse,
        .backed_up = backed_up,
        .give_up = give_up,
        .abandon = abandon,
        .next = next};
}

void objects_attach(struct objects *o, struct cluster *cluster)
{
    o->cluster = cluster;
}

void objects_time(struct objects *o, uint64_t now_ms, uint64_t wall_ms)
{
    o->now_ms = now_ms;
    o->wall_ms = wall_ms;
}

void objects_expect(struct objects *o, struct slice id)
{
    (void)find_or_make(o, id);
}

bool objects_are_clean(const struct objects *o)
{
    for (uint32_t i = 0; i < o->count; i++) {
        const struct object *object = &o->all[i];
        if (object->owned && (object->dirty || object->loading || object->dumping ||
                                 object->waiting || object->has_copy))
            return false;
    }
    return true;
}

bool objects_are_settled(const struct objects *o)
{
    for (uint32_t i = 0; i < o->count; i++) {
        const struct object *object = &o->all[i];
        if (object->owned && (object->has_copy || object->loading))
            return false;
    }
    return true;
}

bool objects_own(const struct objects *o, struct slice id)
{
    const struct object *object = find(o, id);
    return object && object->owned;
}

bool objects_peek(const struct objects *o, struct slice id, struct cluster_copy *copy)
{
    const struct object *object = find(o, id);
    if (!object || !object->owned || !object->known)
        return false;
    *copy = object->now;
    return true;
}
