#include "model.h"

#include <string.h>

uint8_t bytes[VALUE_MAX];

void fill_bytes(unsigned id, const struct content *content)
{
    memset(bytes, (int)(id * 31 + content->write), content->size);
    uint32_t mark[2] = {id, content->write};
    memcpy(bytes, mark, content->size < sizeof(mark) ? content->size : sizeof(mark));
}

bool value_is(unsigned id, const struct content *content, const struct value *value)
{
    if (!content->exists || !value || value->size != content->size)
        return false;
    fill_bytes(id, content);
    return memcmp(bytes, value->data, value->size) == 0;
}

/* ---- the warehouse --------------------------------------------------------------------------- */

static void complete_load(struct model *model, struct operation *operation)
{
    struct operation o = *operation;
    struct cell cell = model->cells[o.id];
    operation->object = NULL;
    model->operations_count--;
    if (model->crashed || (!model->reliable && roll(model, 6) == 0)) {
        model->loads_failed++;
        store_loaded(model->store, o.object, BRAIN_EWAREHOUSE, NULL, NULL, model->now_ms);
    } else if (cell.content.exists) {
        fill_bytes(o.id, &cell.content);
        struct value value = value_copy(slice_of(bytes, cell.content.size));
        if (!value.block) {
            store_loaded(model->store, o.object, BRAIN_ENOMEM, NULL, NULL, model->now_ms);
            return;
        }
        store_loaded(model->store, o.object, 0, &cell.version, &value, model->now_ms);
        value_drop(&value);
    } else {
        store_loaded(model->store, o.object, STORE_ABSENT, cell.version.seq ? &cell.version : NULL,
            NULL, model->now_ms);
    }
}

static void complete_dump(struct model *model, struct operation *operation)
{
    struct operation o = *operation;
    struct cell *cell = &model->cells[o.id];
    operation->object = NULL;
    model->operations_count--;
    if (model->crashed) {
        store_dumped(model->store, o.object, BRAIN_EWAREHOUSE, NULL, model->now_ms);
        return;
    }
    bool fails = !model->reliable && roll(model, 4) == 0;
    if (fails && roll(model, 2) == 0) { /* never arrived */
        store_dumped(model->store, o.object, BRAIN_EWAREHOUSE, NULL, model->now_ms);
        return;
    }
    int order = version_compare(cell->version, o.version);
    bool conflict = o.expected_known ? version_compare(cell->version, o.expected) != 0 : order >= 0;
    if (!conflict) {
        expect(model, order < 0);
        cell->version = o.version;
        cell->content = o.content;
    }
    struct version stored = cell->version;
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
    struct operation *operation = &model->operations[i];
    (operation->dump ? complete_dump : complete_load)(model, operation);
}

static struct record *find_record(struct model *model, uint64_t seq)
{
    for (unsigned i = model->records_count; i > 0; i--) {
        if (model->records[i - 1].version.seq == seq)
            return &model->records[i - 1];
    }
    return NULL;
}

static struct operation *add_operation(
    struct model *model, struct object *object, struct slice id, bool dump)
{
    unsigned i = 0;
    for (unsigned j = 0; j < OPERATIONS; j++)
        expect(model, model->operations[j].object != object);
    while (model->operations[i].object)
        i++;
    model->operations_count++;
    model->operations[i] = (struct operation){.object = object, .dump = dump, .id = index_of(id)};
    return &model->operations[i];
}

static void on_load(void *context, struct object *object, struct slice id)
{
    struct model *model = context;
    struct operation *operation = add_operation(model, object, id, false);
    if (model->at_once && roll(model, 2) == 0)
        complete_load(model, operation);
}

static void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value)
{
    struct model *model = context;
    struct operation *operation = add_operation(model, object, id, true);
    operation->version = version;
    operation->expected_known = expected != NULL;
    if (expected)
        operation->expected = *expected;
    operation->content = model->contents[operation->id];
    if (model->journal) {
        const struct record *record = find_record(model, version.seq);
        expect(model, record && version_compare(record->version, version) == 0);
        expect(model, version.seq <= model->written);
        operation->content = record->content;
    }
    if (value)
        expect(model, value_is(operation->id, &operation->content, value));
    else
        expect(model, !operation->content.exists);
    if (model->at_once && !model->proposing && roll(model, 2) == 0)
        complete_dump(model, operation);
}

static void on_set_aside(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)id, (void)version, (void)value;
    struct model *model = context;
    bool another_writer = false; /* a model without one sets nothing aside */
    expect(model, another_writer);
}

/* ---- the journal ----------------------------------------------------------------------------- */

static int on_record(
    void *context, struct slice id, struct version version, const struct value *value)
{
    struct model *model = context;
    unsigned index = index_of(id);
    if (model->crashed)
        return BRAIN_EJOURNAL;
    if (model->journal_fails && !model->reliable && roll(model, 2) == 0) {
        model->journal_failed = true;
        return BRAIN_EJOURNAL;
    }
    if (model->proposing) { /* else a renewal of what is there */
        expect(model, index == model->proposed_id);
        model->contents[index] = model->proposed;
        model->contents[index].seq = version.seq;
        model->unsure[index] = false;
        model->proposing = false;
    }
    expect(model, model->records_count < RECORDS && version.seq > model->recorded);
    const struct content *content = &model->contents[index];
    expect(model, value ? value_is(index, content, value) : !content->exists);
    model->records[model->records_count++] = (struct record){index, version, *content, 0, 0, 0};
    model->recorded = version.seq;
    return 0;
}

static void on_record_live(void *context, uint64_t seq)
{
    struct model *model = context;
    struct record *record = find_record(model, seq);
    expect(model, record && !record->live && !record->dead);
    record->live = true;
}

static void on_record_dead(void *context, uint64_t seq)
{
    struct model *model = context;
    if (model->crashed)
        return;
    struct record *record = find_record(model, seq);
    expect(model, record && record->live && !record->dead);
    record->dead = true;
    record->dead_after = model->recorded;
}

void journal_step(struct model *model)
{
    if (roll(model, 3) == 0)
        model->synced = model->written;
    if (model->written == model->recorded)
        return;
    if (!model->reliable && roll(model, 8) == 0)
        model->journal_fails = !model->journal_fails;
    uint64_t seq = model->written + 1 + roll(model, (uint32_t)(model->recorded - model->written));
    if (seq > model->settled)
        model->settled = seq;
    if (model->journal_fails && !model->reliable) {
        model->journal_failed = true;
        model->journal_errors++;
        store_written(model->store, seq, BRAIN_EJOURNAL, model->now_ms);
    } else {
        model->written = seq;
        store_written(model->store, seq, 0, model->now_ms);
    }
}

void lose_records(struct model *model, bool power)
{
    uint64_t sure = power ? model->synced : model->written, last = sure;
    if (model->recorded > last)
        last += roll(model, (uint32_t)(model->recorded - last) + 1);
    bool suffix = roll(model, 2) == 0;
    unsigned first_kept = 0, kept = 0;
    while (suffix && first_kept < model->records_count && model->records[first_kept].dead &&
           model->records[first_kept].dead_after <= sure)
        first_kept++;
    first_kept = first_kept ? roll(model, first_kept + 1) : 0;
    for (unsigned i = first_kept; i < model->records_count; i++) {
        struct record record = model->records[i];
        bool dead = record.dead && record.dead_after <= sure;
        if (record.version.seq > last || (dead && !suffix))
            continue;
        record.live = record.dead = false;
        model->records[kept++] = record;
    }
    model->records_count = kept;
    if (power)
        model->power_lost = model->recorded;
    model->verify = kept > 0 && model->records[0].version.seq <= model->power_lost;
    /* The numbers of lost records are not given again: nobody knows how many there were. */
    model->recorded += UINT64_C(1) << 32;
    model->written = model->settled = model->synced = model->recorded;
}

/* ---- the store ------------------------------------------------------------------------------- */

bool open_store(struct model *model)
{
    struct store_events events = {.context = model,
        .load = on_load,
        .dump = on_dump,
        .set_aside = on_set_aside,
        .answer = on_answer};
    if (model->journal) {
        events.record = on_record;
        events.record_live = on_record_live;
        events.record_dead = on_record_dead;
    }
    model->store = store_create(&model->options, events);
    expect(model, model->store || model->faults);
    return model->store != NULL;
}
