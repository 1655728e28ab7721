#include <string.h>

#include "member_model.h"

static uint8_t bytes[VALUE_MAX];

static size_t size_of(uint32_t number)
{
    return number % 7 == 0 ? 19000 : number % 3 == 0 ? 300 : 12;
}

struct slice bytes_of(uint32_t number)
{
    memset(bytes, (int)number, size_of(number));
    memcpy(bytes, &number, sizeof(number));
    return slice_of(bytes, size_of(number));
}

uint32_t number_of(struct model *model, const struct value *value)
{
    uint32_t number;
    expect(model, value->size >= sizeof(number));
    memcpy(&number, value->data, sizeof(number));
    expect(model, slice_equal(bytes_of(number), value_slice(*value)));
    return number;
}

void becomes(struct model *model, struct place *place, struct content content)
{
    place->now = content;
    expect(model, place->history_count < HISTORY);
    place->history[place->history_count++] = content.deleted ? 0 : content.number;
}

/* ---- the warehouse --------------------------------------------------------------------------- */

void put(struct model *model, struct place *place, struct content content)
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

void complete_one(struct model *model)
{
    if (model->operations_count == 0)
        return;
    unsigned i = roll(model, OPERATIONS);
    while (!model->operations[i].object)
        i = (i + 1) % OPERATIONS;
    complete(model, &model->operations[i]);
}

bool is_under_way(const struct model *model, unsigned id)
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

void journal_step(struct model *model)
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

/* ---- the store ------------------------------------------------------------------------------- */

void add_device_events(const struct model *model, struct store_events *events)
{
    events->load = on_load;
    events->dump = on_dump;
    events->set_aside = on_set_aside;
    if (model->journal) {
        events->record = on_record;
        events->record_live = on_live;
        events->record_dead = on_dead;
    }
}
