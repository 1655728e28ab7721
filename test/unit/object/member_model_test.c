/* The store of a member under random requests, grants, raises, copies, partings, lost leases, late
 * results and failures, against a plain model: what the warehouse has, what other members hold, and
 * what each owned object must be. What must hold:
 * - the warehouse never goes back to an older version, whoever wrote it;
 * - what was acknowledged is always in the warehouse, in a copy of others, or dirty here, and those
 *   copies are given up only for what the warehouse has (`stored`);
 * - reads show what the object is, or was at some time since they were asked;
 * - what is released is clean, and nothing of it is under way;
 * - exactly the dirty objects, and what was handed over dirty, have a live record.
 * A failure prints the seed: MODEL_SEED=n replays it alone, MODEL_SEEDS=n runs more. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/object.h"
#include "heap_fault.h"
#include "suite.h"

enum { IDS = 8, OPERATIONS = 64, SEQS = 8192, VALUE_MAX = 20000, HISTORY = 4096 };

/* `number` counts all writes of a run, whoever made them; 0: never written. */
struct content {
    struct version version;
    uint32_t number;
    bool deleted;
};

struct operation {
    struct object *object; /* NULL: free */
    bool dump, orphan, expected_known;
    unsigned id;
    struct version expected;
    struct content content;
};

struct request {
    struct store_waiter waiter; /* first: the store hands it back */
    enum { READ, PERSIST, WRITE } kind;
    unsigned id;
    uint32_t since;  /* read: an index into the history of the id */
    uint32_t number; /* write: its own; persist: what must be stored */
    enum store_ack ack;
};

struct place {
    struct content cell;   /* in the warehouse */
    struct content copy;   /* what other members hold; number 0: nothing */
    bool granted, pending; /* pending: the copy is not compared yet */
    struct version epoch;
    bool dirty;
    struct content now; /* what it is: when dirty, the version written last */
    uint32_t wanted;    /* a raise was asked for, above this version */
    struct version outdated;
    uint32_t history[HISTORY]; /* numbers of what it was, 0 for absent */
    uint32_t history_count;
    unsigned waiting;
};

struct model {
    uint64_t seed, random, now_ms;
    struct store *store;
    struct store_options options;
    bool journal, faults, reliable, fenced, abandoning, journal_failed, no_reserve;
    uint32_t number;
    uint64_t counter;
    unsigned waiting, operations_count;
    unsigned asking; /* whose request is in a call of the store; IDS: none */
    struct place places[IDS];
    struct operation operations[OPERATIONS];
    uint64_t recorded, written;
    bool proposing;
    unsigned proposed_id;
    uint32_t proposed;
    bool proposed_deleted;
    uint32_t kept; /* live records of what was given up */
    uint32_t live;
    unsigned reached; /* of what a run is to reach: bits */
    struct content writes[SEQS];
    uint8_t record_states[SEQS]; /* 1 given, 2 live, 3 dead */
};

enum {
    REACHED_ADOPTED = 1,
    REACHED_COPY_WON = 2,
    REACHED_OUTDATED = 4,
    REACHED_PARTED = 8,
    REACHED_BUSY = 16,
    REACHED_LATE = 32,
    REACHED_KEPT = 64,
    REACHED_RELEASED = 128,
};

static unsigned all_reached;
static uint8_t bytes[VALUE_MAX];

#define expect(model, condition)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("MODEL_SEED=%llu: line %d: %s", (unsigned long long)(model)->seed,        \
                __LINE__, #condition);                                                             \
    } while (0)

static uint32_t roll(struct model *model, uint32_t sides)
{
    model->random = model->random * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(model->random >> 33) % sides;
}

static size_t size_of(uint32_t number)
{
    return number % 7 == 0 ? 19000 : number % 3 == 0 ? 300 : 12;
}

static struct slice bytes_of(uint32_t number)
{
    memset(bytes, (int)number, size_of(number));
    memcpy(bytes, &number, sizeof(number));
    return slice_of(bytes, size_of(number));
}

static uint32_t number_of(struct model *model, const struct value *value)
{
    uint32_t number;
    expect(model, value->size >= sizeof(number));
    memcpy(&number, value->data, sizeof(number));
    expect(model, slice_equal(bytes_of(number), value_slice(*value)));
    return number;
}

static struct slice id_of(unsigned id, char text[16])
{
    return slice_of(text, (size_t)snprintf(text, 16, "key-%u", id));
}

static unsigned index_of(struct slice id)
{
    char text[16] = {0};
    memcpy(text, id.data, id.size);
    return (unsigned)atoi(text + 4);
}

static bool is_above(struct version a, struct version b)
{
    return version_compare(a, b) > 0;
}

static void becomes(struct model *model, struct place *place, struct content content)
{
    place->now = content;
    expect(model, place->history_count < HISTORY);
    place->history[place->history_count++] = content.deleted ? 0 : content.number;
}

/* ---- the warehouse --------------------------------------------------------------------------- */

static void put(struct model *model, struct place *place, struct content content)
{
    expect(model, is_above(content.version, place->cell.version));
    place->cell = content;
}

static void complete(struct model *model, struct operation *operation)
{
    struct operation o = *operation;
    struct place *place = &model->places[o.id];
    bool fails = !model->reliable && roll(model, 4) == 0;
    operation->object = NULL;
    model->operations_count--;
    if (o.orphan)
        model->reached |= REACHED_LATE;
    if (!o.dump) {
        struct content cell = place->cell;
        if (fails) {
            store_loaded(model->store, o.object, BRAIN_EWAREHOUSE, NULL, NULL, model->now_ms);
            return;
        }
        /* Abandoned, or about to be: then it may be compared still. */
        if ((!o.orphan || model->abandoning) && place->pending &&
            !is_above(place->copy.version, cell.version))
            place->pending = false;
        struct slice slice = bytes_of(cell.number);
        struct value value = {NULL, slice.data, slice.size};
        bool found = cell.number > 0 && !cell.deleted;
        store_loaded(model->store, o.object, found ? 0 : STORE_ABSENT,
            cell.number ? &cell.version : NULL, found ? &value : NULL, model->now_ms);
        return;
    }
    if (fails && roll(model, 2) == 0) { /* never arrived */
        store_dumped(model->store, o.object, BRAIN_EWAREHOUSE, NULL, model->now_ms);
        return;
    }
    bool conflict = o.expected_known ? version_compare(place->cell.version, o.expected) != 0
                                     : !is_above(o.content.version, place->cell.version);
    if (!conflict)
        put(model, place, o.content);
    struct version stored = place->cell.version;
    store_dumped(model->store, o.object,
        fails      ? BRAIN_EWAREHOUSE
        : conflict ? BRAIN_ECONFLICT
                   : 0,
        conflict ? &stored : NULL, model->now_ms);
}

static void complete_one(struct model *model)
{
    if (model->operations_count == 0)
        return;
    unsigned i = roll(model, OPERATIONS);
    while (!model->operations[i].object)
        i = (i + 1) % OPERATIONS;
    complete(model, &model->operations[i]);
}

static bool is_under_way(const struct model *model, unsigned id)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        const struct operation *o = &model->operations[i];
        if (o->object && o->id == id && !o->orphan)
            return true;
    }
    return false;
}

static struct operation *add(struct model *model, struct object *object, unsigned id, bool dump)
{
    unsigned i = 0;
    expect(model, !is_under_way(model, id));
    for (unsigned j = 0; j < OPERATIONS; j++)
        expect(model, model->operations[j].object != object);
    while (model->operations[i].object)
        expect(model, ++i < OPERATIONS);
    model->operations_count++;
    model->operations[i] = (struct operation){.object = object, .id = id, .dump = dump};
    return &model->operations[i];
}

static void on_load(void *context, struct object *object, struct slice id)
{
    add(context, object, index_of(id), false);
}

static void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value)
{
    struct model *model = context;
    struct operation *operation = add(model, object, index_of(id), true);
    const struct place *place = &model->places[operation->id];
    expect(model, !model->fenced && place->granted && place->dirty && version.seq < SEQS);
    expect(model, !model->journal || version.seq <= model->written);
    operation->content = model->writes[version.seq];
    expect(model, version_compare(operation->content.version, version) == 0);
    expect(model,
        value ? number_of(model, value) == operation->content.number : operation->content.deleted);
    operation->expected_known = expected != NULL;
    if (expected) {
        operation->expected = *expected;
        expect(model, is_above(version, *expected));
    }
}

static void on_set_aside(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)id, (void)version, (void)value;
    bool sets_aside = true;
    expect((struct model *)context, !sets_aside);
}

/* ---- the journal ----------------------------------------------------------------------------- */

static int on_record(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)id, (void)value;
    struct model *model = context;
    if (!model->reliable && roll(model, 12) == 0) {
        model->journal_failed = true;
        return BRAIN_EJOURNAL;
    }
    expect(model, version.seq > model->recorded && version.seq < SEQS);
    model->recorded = version.seq;
    model->record_states[version.seq] = 1;
    return 0;
}

static void on_live(void *context, uint64_t seq)
{
    struct model *model = context;
    expect(model, model->record_states[seq]++ == 1);
    model->live++;
}

static void on_dead(void *context, uint64_t seq)
{
    struct model *model = context;
    expect(model, model->record_states[seq]++ == 2);
    model->live--;
}

static void journal_step(struct model *model)
{
    if (!model->journal || model->written == model->recorded)
        return;
    uint64_t seq = model->written + 1 + roll(model, (uint32_t)(model->recorded - model->written));
    if (!model->reliable && roll(model, 8) == 0) {
        store_written(model->store, seq, BRAIN_EJOURNAL, model->now_ms);
        return;
    }
    model->written = seq;
    store_written(model->store, seq, 0, model->now_ms);
}

/* ---- the member ------------------------------------------------------------------------------ */

static bool on_grant(void *member, struct slice id, struct version *epoch)
{
    const struct place *place = &((struct model *)member)->places[index_of(id)];
    *epoch = place->epoch;
    epoch->seq = 99;
    return place->granted;
}

static bool on_may_dump(void *member, uint64_t now_ms)
{
    struct model *model = member;
    expect(model, now_ms == model->now_ms);
    return !model->fenced;
}

static int on_reserve(void *member, struct slice id)
{
    (void)id;
    struct model *model = member;
    if (model->reliable || roll(model, 16) > 0)
        return 0;
    model->no_reserve = true;
    return BRAIN_ENOMEM;
}

static void on_written(void *member, struct slice id, struct version version,
    const struct value *value, uint64_t now_ms)
{
    struct model *model = member;
    unsigned index = index_of(id);
    struct place *place = &model->places[index];
    struct content content = {version, 0, !value};
    expect(model, now_ms == model->now_ms && version.seq > 0 && version.seq < SEQS);
    expect(model, !model->journal || model->record_states[version.seq] == 2);
    if (place->dirty) {
        expect(model, !is_above(place->now.version, version));
    } else {
        expect(model, place->granted && version.view == place->epoch.view &&
                          version.counter == place->epoch.counter);
    }
    if (model->proposing && index == model->proposed_id) {
        content.number = model->proposed;
        expect(model, content.deleted == model->proposed_deleted);
        model->proposing = false;
    } else if (place->dirty) {
        content.number = place->now.number;
        expect(model, content.deleted == place->now.deleted);
    } else {
        expect(model, place->pending);
        content.number = place->copy.number;
        expect(model, content.deleted == place->copy.deleted);
        model->reached |= REACHED_COPY_WON;
    }
    if (value)
        expect(model, number_of(model, value) == content.number);
    place->pending = false;
    place->dirty = true;
    place->copy = content;
    becomes(model, place, content);
    model->writes[version.seq] = content;
}

static void on_stored(void *member, struct slice id, struct version version, uint64_t now_ms)
{
    struct model *model = member;
    struct place *place = &model->places[index_of(id)];
    expect(model, now_ms == model->now_ms && version.view > 0);
    if (place->dirty) {
        expect(model, !is_above(version, place->now.version));
        if (version_compare(version, place->now.version) == 0)
            place->dirty = false;
    } else {
        expect(model, version_compare(version, place->cell.version) == 0);
        if (place->now.number != place->cell.number)
            becomes(model, place, place->cell);
    }
    if (place->copy.number > 0 && !is_above(place->copy.version, version))
        place->copy = (struct content){.number = 0};
}

static void on_outdated(void *member, struct slice id, struct version version, uint64_t now_ms)
{
    struct model *model = member;
    struct place *place = &model->places[index_of(id)];
    expect(model, now_ms == model->now_ms && (place->granted || model->abandoning));
    struct version epoch = place->epoch;
    epoch.seq = 0;
    expect(
        model, is_above(version, epoch) || (place->dirty && is_above(version, place->now.version)));
    place->outdated = version;
    place->wanted = 1;
    model->reached |= REACHED_OUTDATED;
}

static void on_released(void *member, struct slice id, uint64_t now_ms)
{
    struct model *model = member;
    unsigned index = index_of(id);
    struct place *place = &model->places[index];
    expect(model, now_ms == model->now_ms);
    expect(model, (place->granted || model->abandoning) && !place->dirty && !place->pending);
    expect(model, place->waiting <= (index == model->asking) && !is_under_way(model, index));
    place->granted = false;
    place->wanted = 0;
    model->reached |= REACHED_RELEASED;
}

/* Given up: nobody here knows it any more. */
static void leave(struct place *place)
{
    place->granted = place->dirty = place->pending = false;
    place->wanted = 0;
}

static void on_keep(
    void *member, struct slice id, struct version version, const struct value *value, bool recorded)
{
    struct model *model = member;
    struct place *place = &model->places[index_of(id)];
    expect(model, place->dirty || place->pending);
    const struct content *content = place->dirty ? &place->now : &place->copy;
    expect(model, version_compare(version, content->version) == 0);
    expect(model, value ? number_of(model, value) == content->number : content->deleted);
    expect(model, recorded == (place->dirty && model->journal));
    model->kept += recorded;
    place->copy = *content;
    place->dirty = place->pending = false;
    model->reached |= REACHED_KEPT;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void check_read(
    struct model *model, const struct request *request, int status, const struct value *value)
{
    const struct place *place = &model->places[request->id];
    uint32_t number = status == STORE_FOUND ? number_of(model, value) : 0;
    for (uint32_t i = place->history_count; i > request->since; i--) {
        if (place->history[i - 1] == number)
            return;
    }
    bool seen = false;
    expect(model, seen);
}

static void on_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    struct model *model = context;
    struct request *request = (struct request *)waiter;
    struct place *place = &model->places[request->id];
    bool expected_error =
        status == BRAIN_ENOMEM || status == BRAIN_ETIMEOUT || status == BRAIN_EWAREHOUSE ||
        (status == BRAIN_EUNAVAILABLE && (model->abandoning || !place->granted)) ||
        (status == BRAIN_EUNKNOWN && model->abandoning && request->kind == WRITE) ||
        (status == BRAIN_EJOURNAL && model->journal);
    if (status == STORE_FOUND || status == STORE_ABSENT) {
        expect(model, request->kind == READ);
        check_read(model, request, status, value);
    } else if (status == STORE_DONE) {
        expect(model, request->kind != READ);
        expect(model, request->ack != STORE_ACK_WAREHOUSE || place->cell.number >= request->number);
    } else {
        expect(model, expected_error);
        if (model->abandoning && request->kind == WRITE)
            expect(model, status != BRAIN_EUNAVAILABLE);
    }
    place->waiting--;
    model->waiting--;
    free(request);
}

/* Asks the home for the object, as who was asked for it does. False: not now. */
static bool claim(struct model *model, unsigned id)
{
    struct place *place = &model->places[id];
    char text[16];
    if (place->granted)
        return true;
    if (model->abandoning)
        return false;
    /* Sometimes etcd was made anew: what it grants is below what there is. */
    bool low = !model->reliable && roll(model, 8) == 0;
    place->epoch = (struct version){low ? 1 : 10, ++model->counter, 0};
    if (!low && (place->cell.version.view >= 10 || place->copy.version.view >= 10)) {
        uint64_t view = place->cell.version.view > place->copy.version.view
                            ? place->cell.version.view
                            : place->copy.version.view;
        place->epoch.view = view + (roll(model, 4) == 0);
    }
    place->granted = true;
    bool copy_wins = place->copy.number > 0 && is_above(place->copy.version, place->cell.version);
    becomes(model, place, copy_wins ? place->copy : place->cell);
    if (place->copy.number == 0)
        return true;
    struct slice slice = bytes_of(place->copy.number);
    struct value value = {NULL, slice.data, slice.size};
    place->pending = true;
    /* Nothing above it is anywhere, and who released it could tell. */
    bool complete = copy_wins && roll(model, 2) == 0;
    if (store_adopt(model->store, id_of(id, text), place->copy.version,
            place->copy.deleted ? NULL : &value, complete, model->now_ms) != 0) {
        expect(model, model->faults);
        leave(place);
        return false;
    }
    model->reached |= REACHED_ADOPTED;
    return true;
}

static struct request *make_request(struct model *model, unsigned id)
{
    struct request *request = calloc(1, sizeof(*request));
    request->id = id;
    model->waiting++;
    model->places[id].waiting++;
    model->asking = id;
    return request;
}

static void end_request(struct model *model, struct request *request)
{
    if (!request)
        return;
    model->waiting--;
    model->places[request->id].waiting--;
    free(request);
}

static void random_read(struct model *model, unsigned id)
{
    char text[16];
    struct value value;
    bool waits = roll(model, 5) > 0;
    struct request *request = waits ? make_request(model, id) : NULL;
    if (request) {
        request->kind = READ;
        request->since = model->places[id].history_count - 1;
    }
    int status = store_get(
        model->store, id_of(id, text), model->now_ms, &value, request ? &request->waiter : NULL);
    if (status == STORE_WAIT)
        return;
    if (status == STORE_FOUND || status == STORE_ABSENT) {
        struct request now = {.kind = READ, .id = id, .since = model->places[id].history_count - 1};
        check_read(model, &now, status, &value);
    } else {
        expect(model, status == BRAIN_ENOMEM && model->faults);
    }
    end_request(model, request);
}

static void random_write(struct model *model, unsigned id, bool deletes)
{
    char text[16];
    struct request *request = NULL;
    enum store_ack ack = (enum store_ack)roll(model, 4);
    uint32_t number = ++model->number;
    if (roll(model, 2) == 0) {
        request = make_request(model, id);
        request->kind = WRITE;
        request->number = number;
        request->ack = ack;
    }
    model->proposing = true;
    model->proposed_id = id;
    model->proposed = number;
    model->proposed_deleted = deletes;
    struct value value = value_copy(bytes_of(number));
    if (!value.block) {
        model->proposing = false;
        end_request(model, request);
        return;
    }
    struct store_waiter *waiter = request ? &request->waiter : NULL;
    int status = deletes
                     ? store_delete(model->store, id_of(id, text), ack, model->now_ms, waiter)
                     : store_set(model->store, id_of(id, text), value, ack, model->now_ms, waiter);
    value_drop(&value);
    bool told = !model->proposing;
    model->proposing = false;
    expect(model, told == (status == STORE_DONE || status == STORE_WAIT));
    if (status == STORE_WAIT)
        return;
    end_request(model, request);
    expect(model, status == STORE_DONE ||
                      (status == BRAIN_ENOMEM && (model->faults || model->no_reserve)) ||
                      (status == BRAIN_EJOURNAL && model->journal_failed) ||
                      (status == BRAIN_EUNAVAILABLE && !model->places[id].granted) ||
                      (status == BRAIN_EOVERLOAD && model->options.memory_limit_bytes));
}

static void random_persist(struct model *model, unsigned id)
{
    char text[16];
    struct request *request = NULL;
    if (roll(model, 2) == 0) {
        request = make_request(model, id);
        request->kind = PERSIST;
        request->number = model->places[id].now.number;
        request->ack = STORE_ACK_WAREHOUSE;
    }
    int status = store_persist(
        model->store, id_of(id, text), model->now_ms, request ? &request->waiter : NULL);
    if (status == STORE_WAIT)
        return;
    expect(model, status == STORE_DONE || (status == BRAIN_ENOMEM && model->faults));
    end_request(model, request);
}

/* The home answers `outdated`; sometimes with an epoch that is still too low. */
static void raise(struct model *model, unsigned id)
{
    struct place *place = &model->places[id];
    char text[16];
    if (!place->granted || (!place->wanted && roll(model, 8) > 0))
        return;
    place->wanted = 0;
    struct version epoch = place->epoch;
    epoch.counter = ++model->counter;
    if (place->outdated.view > epoch.view)
        epoch.view = place->outdated.view + (model->reliable || roll(model, 3) > 0);
    if (place->outdated.view == epoch.view && place->outdated.counter >= epoch.counter)
        epoch.counter = place->outdated.counter + 1;
    if (!is_above(epoch, place->epoch))
        return;
    place->epoch = epoch;
    int status = store_restamp(model->store, id_of(id, text), model->now_ms);
    expect(model, status == 0 || (status == BRAIN_ENOMEM && (model->faults || model->no_reserve)) ||
                      (status == BRAIN_EJOURNAL && model->journal_failed));
}

/* May what is parted be busy? */
static bool has_reason(const struct model *model, unsigned id)
{
    const struct place *place = &model->places[id];
    return is_under_way(model, id) || place->waiting > 0 || place->pending ||
           (place->dirty && model->journal && place->now.version.seq > model->written) ||
           place->dirty; /* its acknowledgement is waited for, or its dump for its record */
}

static void part(struct model *model, unsigned id)
{
    struct place *place = &model->places[id];
    char text[16];
    struct version version;
    struct value value = value_none();
    bool deleted = false;
    struct slice name = id_of(id, text);
    bool resident = store_is_resident(model->store, name, store_hash(model->store, name));
    expect(model, !resident || place->granted || model->abandoning);
    struct version peeked;
    bool dirty = store_peek_dirty(model->store, name, &version, &value, &deleted);
    expect(model, dirty == place->dirty);
    if (dirty) {
        expect(model, version_compare(version, place->now.version) == 0);
        expect(model, deleted ? !value.data : number_of(model, &value) == place->now.number);
    }
    if (store_peek_stored(model->store, name, &peeked) && !is_under_way(model, id))
        expect(model, resident && !is_above(peeked, place->cell.version));
    switch (store_part(model->store, name, &version, &value, &deleted)) {
    case STORE_BUSY:
        expect(model, resident && (has_reason(model, id) || model->faults));
        model->reached |= REACHED_BUSY;
        return;
    case STORE_GONE_DIRTY:
        expect(model, place->dirty && version_compare(version, place->now.version) == 0);
        expect(model, deleted ? place->now.deleted : number_of(model, &value) == place->now.number);
        value_drop(&value);
        model->kept += model->journal;
        place->copy = place->now;
        model->reached |= REACHED_PARTED;
        break;
    default:
        expect(model, !place->dirty && !place->pending);
    }
    expect(model, !is_under_way(model, id) && place->waiting == 0);
    leave(place);
}

static void go_on_abandoning(struct model *model)
{
    for (unsigned i = 0; i < OPERATIONS; i++)
        model->operations[i].orphan = true;
    if (!store_abandon(model->store, 1 + roll(model, 6), model->now_ms, on_keep))
        return;
    model->abandoning = model->fenced = false;
    const struct store_metrics *metrics = store_metrics(model->store, model->now_ms);
    expect(model, metrics->objects + metrics->bytes + metrics->dirty + metrics->waiting == 0);
    for (unsigned id = 0; id < IDS; id++) {
        expect(model, !model->places[id].dirty && !model->places[id].pending);
        leave(&model->places[id]);
    }
}

static void lose_lease(struct model *model)
{
    model->abandoning = model->fenced = true;
    for (unsigned id = 0; id < IDS; id++)
        model->places[id].granted = false;
    go_on_abandoning(model);
}

/* Another member owns it for a while. */
static void write_elsewhere(struct model *model, unsigned id)
{
    struct place *place = &model->places[id];
    if (place->granted || model->abandoning)
        return;
    struct version above = is_above(place->copy.version, place->cell.version) ? place->copy.version
                                                                              : place->cell.version;
    above.view = above.view > 10 ? above.view : 10;
    above.view += roll(model, 3) == 0;
    above.counter = ++model->counter;
    above.seq = 1 + roll(model, 3000);
    place->copy = (struct content){.number = 0};
    put(model, place, (struct content){above, ++model->number, roll(model, 4) == 0});
}

/* ---- one run --------------------------------------------------------------------------------- */

static void check_metrics(struct model *model)
{
    const struct store_metrics *metrics = store_metrics(model->store, model->now_ms);
    uint64_t dirty = 0;
    for (unsigned id = 0; id < IDS; id++)
        dirty += model->places[id].dirty;
    expect(model, metrics->dirty == dirty);
    expect(model, metrics->waiting == model->waiting);
    expect(model, metrics->loading + metrics->persisting == model->operations_count);
    expect(model, dirty > 0 || metrics->dirty_bytes + metrics->oldest_dirty_ms == 0);
    expect(model, !model->journal || model->live == dirty + model->kept);
}

static void step(struct model *model)
{
    unsigned id = roll(model, IDS);
    model->asking = IDS;
    if (model->abandoning && roll(model, 3) == 0)
        go_on_abandoning(model);
    switch (roll(model, 14)) {
    case 0:
    case 1:
    case 2:
        if (claim(model, id))
            random_read(model, id);
        break;
    case 3:
    case 4:
        if (claim(model, id))
            random_write(model, id, roll(model, 4) == 0);
        break;
    case 5:
        if (claim(model, id))
            random_persist(model, id);
        break;
    case 6:
    case 7:
    case 8:
        complete_one(model);
        break;
    case 9:
        journal_step(model);
        break;
    case 10:
        raise(model, id);
        break;
    case 11:
        if (!model->abandoning && roll(model, 3) == 0)
            part(model, id);
        else if (roll(model, 40) == 0 && !model->abandoning)
            lose_lease(model);
        else if (!model->abandoning && roll(model, 4) == 0)
            model->fenced = !model->fenced;
        break;
    case 12:
        write_elsewhere(model, id);
        break;
    default:
        model->now_ms += roll(model, 8) == 0 ? roll(model, 3000) : roll(model, 30);
        store_advance(model->store, model->now_ms, 1 + roll(model, 8));
        if (model->journal && model->recorded > 0 && roll(model, 4) == 0)
            store_rewrite(
                model->store, 1 + roll(model, (uint32_t)model->recorded), model->recorded, 10);
    }
    check_metrics(model);
}

static bool is_pending(const struct model *model)
{
    for (unsigned id = 0; id < IDS; id++) {
        if (model->places[id].pending)
            return true;
    }
    return false;
}

static void finish(struct model *model)
{
    model->asking = IDS;
    model->reliable = true;
    while (model->abandoning)
        go_on_abandoning(model);
    model->fenced = false;
    store_drain(model->store, model->now_ms);
    for (unsigned turn = 0;; turn++) {
        const struct store_metrics *metrics = store_metrics(model->store, model->now_ms);
        if (metrics->dirty + metrics->persisting + metrics->loading + metrics->waiting == 0 &&
            !is_pending(model))
            break;
        expect(model, turn < 10000);
        complete_one(model);
        journal_step(model);
        for (unsigned id = 0; id < IDS; id++)
            raise(model, id);
        model->now_ms += store_advance(model->store, model->now_ms, 3);
        check_metrics(model);
    }
    for (unsigned id = 0; id < IDS; id++) {
        const struct place *place = &model->places[id];
        expect(model, !place->granted || place->now.number == place->cell.number);
        expect(model, !place->granted || place->copy.number == 0);
    }
    expect(model, model->waiting == 0);
    if (!model->faults) { /* left alone, all of it leaves RAM */
        for (unsigned i = 0; i < 100; i++) {
            model->now_ms += 100;
            store_advance(model->store, model->now_ms, 1000);
        }
        expect(model, store_metrics(model->store, model->now_ms)->objects == 0);
    }
}

static void run(uint64_t seed, unsigned steps, bool faults)
{
    static struct model model;
    memset(&model, 0, sizeof(model));
    model.seed = seed;
    model.random = seed * 0x9E3779B97F4A7C15U;
    model.faults = faults;
    model.now_ms = 1000 + roll(&model, 100000);
    model.journal = roll(&model, 3) > 0;
    model.options = (struct store_options){
        .key_ttl_ms = roll(&model, 2) ? 100 : 1000,
        .wait_timeout_ms = 400,
        .dumps_parallel = 1 + roll(&model, 4),
        .dumps_parallel_bytes = roll(&model, 2) ? 5000 : 1000000,
        .retry_min_ms = 20,
        .retry_max_ms = 300,
        .hash_seed = seed,
        .max_dirty_ms = roll(&model, 2) ? 0 : 40 + roll(&model, 100),
        .breaker_failures = roll(&model, 2) ? 0 : 1 + roll(&model, 5),
        .memory_limit_bytes = roll(&model, 3) ? 0 : 250000,
    };
    struct store_events events = {.context = &model,
        .load = on_load,
        .dump = on_dump,
        .set_aside = on_set_aside,
        .answer = on_answer,
        .member = &model,
        .grant = on_grant,
        .may_dump = on_may_dump,
        .reserve = on_reserve,
        .written = on_written,
        .stored = on_stored,
        .outdated = on_outdated,
        .released = on_released};
    if (model.journal) {
        events.record = on_record;
        events.record_live = on_live;
        events.record_dead = on_dead;
    }
    model.store = store_create(&model.options, events);
    if (!model.store)
        return;
    for (unsigned i = 0; i < steps; i++)
        step(&model);
    finish(&model);
    store_destroy(model.store);
    all_reached |= model.reached;
}

START_TEST(nothing_is_lost_or_goes_back)
{
    const char *only = getenv("MODEL_SEED"), *seeds = getenv("MODEL_SEEDS");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only ? first : seeds ? strtoull(seeds, NULL, 10) : 150;
    for (uint64_t seed = first; seed <= last; seed++) {
        heap_fault_start(0);
        run(seed, 1500, false);
        heap_fault_stop();
    }
    ck_assert(only || all_reached == 255);
}
END_TEST

START_TEST(any_failed_allocation_changes_nothing)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        unsigned n = 1;
        for (bool reached = true; reached; n++) {
            heap_fault_start(n);
            run(seed, 150, true);
            reached = heap_fault_stop();
        }
        ck_assert_uint_gt(n, 20);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/member_model");
    TCase *tcase = tcase_create("random");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, nothing_is_lost_or_goes_back);
    tcase_add_test(tcase, any_failed_allocation_changes_nothing);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
