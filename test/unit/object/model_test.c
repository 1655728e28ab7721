/* Random requests, delays, failures and crashes against a plain model: a map of what each id must
 * hold, an emulated warehouse that writes conditionally, and an emulated journal. Every answer is
 * checked when it comes; after a crash all that was acknowledged is there (after a loss of power:
 * what was synced or in the warehouse), reads show that and nothing older; after a drain the
 * warehouse must hold exactly the map. A failure prints the seed: MODEL_SEED=n replays it alone,
 * MODEL_SEEDS=n runs more of them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/object.h"
#include "heap_fault.h"
#include "suite.h"

enum { IDS = 12, OPERATIONS = 64, RECORDS = 8192, VALUE_MAX = 4800, NEST_MAX = 3 };

/* What an id holds, here or in the warehouse. `write` numbers the writes of one id; the bytes of a
 * value follow from id, write and size. */
struct content {
    bool exists;
    uint32_t write;
    size_t size;
    enum store_ack ack; /* of that write, when this process made it */
    uint64_t seq;       /* and its first record; 0: none */
    uint64_t failed;    /* dumps that had failed before it */
};

struct cell {
    struct content content;
    struct version version; /* 0: never written */
};

struct operation {
    struct object *object; /* NULL: free */
    bool dump;
    unsigned id;
    struct version version, expected;
    bool expected_known;
    struct content content;
};

struct record {
    unsigned id;
    struct version version;
    struct content content;
    bool live, dead;
    uint64_t dead_after; /* dead: it may be deleted when the journal has got to here */
};

enum request_kind { READ, PERSIST, WRITE };

struct request {
    struct store_waiter waiter; /* first: the store hands it back */
    unsigned id;
    enum request_kind kind;
    struct content seen; /* read: at the time of the request; else what must be acknowledged */
    uint32_t turn;       /* order of the reads of one id */
    bool unsure;         /* read: begun before a restored object was looked for in the warehouse */
};

struct model {
    uint64_t seed, random, now_ms, key_ttl_ms;
    struct store *store;
    struct content contents[IDS];
    struct cell cells[IDS];
    struct operation operations[OPERATIONS];
    unsigned operations_count;
    uint32_t reads_begun[IDS], reads_done[IDS];
    unsigned waiting, depth;
    unsigned loads_failed; /* results given */
    bool at_once, reliable, faults;
    struct store_options options;
    bool journal, crashed;
    uint64_t power_lost; /* last seq given when it was */
    bool verify;         /* the journal still has records from before that */
    struct record records[RECORDS];
    unsigned records_count;
    uint64_t recorded, written, settled; /* last seq: given, appended, told about */
    uint64_t synced;                     /* what a loss of power leaves for sure */
    bool journal_fails, journal_failed;
    unsigned journal_errors;
    bool proposing; /* a write is under way, and not recorded yet */
    unsigned proposed_id;
    struct content proposed;
    uint32_t acked[IDS];  /* the last write that the journal or the warehouse has */
    uint32_t stored[IDS]; /* and that the warehouse has */
    bool unsure[IDS];     /* restored after a loss of power, not written or read since */
};

static uint8_t bytes[VALUE_MAX];

/* Not ck_assert_msg: that writes a note of every place passed, also of those where all is well, and
 * reading back a million of them took most of the test's time. */
#define expect(model, condition)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("MODEL_SEED=%llu: %s", (unsigned long long)(model)->seed, #condition);    \
    } while (0)

static uint32_t roll(struct model *model, uint32_t sides)
{
    model->random = model->random * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(model->random >> 33) % sides;
}

static void fill_bytes(unsigned id, const struct content *content)
{
    memset(bytes, (int)(id * 31 + content->write), content->size);
    uint32_t mark[2] = {id, content->write};
    memcpy(bytes, mark, content->size < sizeof(mark) ? content->size : sizeof(mark));
}

static bool value_is(unsigned id, const struct content *content, const struct value *value)
{
    if (!content->exists || !value || value->size != content->size)
        return false;
    fill_bytes(id, content);
    return memcmp(bytes, value->data, value->size) == 0;
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

static void complete_one(struct model *model)
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

static void journal_step(struct model *model)
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

/* ---- requests -------------------------------------------------------------------------------- */

/* By the warehouse, or because the journal refused the version that a conflict asked for, or failed
 * before they could begin. */
static uint64_t dumps_failed(struct model *model)
{
    return store_metrics(model->store, model->now_ms)->dumps_failed + model->journal_errors;
}

/* Had the write that was seen reached its class, or been told why not? */
static bool is_acknowledged(struct model *model, unsigned id, const struct content *seen)
{
    bool stored = model->cells[id].content.write >= seen->write;
    if (seen->ack == STORE_ACK_JOURNAL)
        return stored || seen->seq <= model->settled; /* seq 0: there is no journal */
    /* The breaker also ends waits for dumps that were not tried. */
    if (seen->ack == STORE_ACK_WAREHOUSE && model->options.breaker_failures == 0)
        return stored || dumps_failed(model) > seen->failed || model->faults;
    return true;
}

/* A read that has to wait for a look at the warehouse may see what is written while it waits. One
 * delete looks like the other: then it is the one that may be seen. */
static void find_seen(
    struct model *model, struct request *request, int status, const struct value *value)
{
    for (unsigned i = 0; i < model->records_count; i++) {
        const struct record *record = &model->records[i];
        const struct content *content = &record->content;
        if (record->id == request->id && content->write > request->seen.write &&
            (status == STORE_FOUND ? value_is(request->id, content, value) : !content->exists)) {
            request->seen = *content;
            if (is_acknowledged(model, request->id, content))
                return;
        }
    }
}

static void check_read(
    struct model *model, struct request *request, int status, const struct value *value)
{
    expect(model, request->turn == model->reads_done[request->id]);
    model->reads_done[request->id]++;
    if (status == STORE_FOUND || status == STORE_ABSENT) {
        model->unsure[request->id] = false;
        if (request->unsure &&
            (status == STORE_FOUND ? !value_is(request->id, &request->seen, value)
                                   : request->seen.exists))
            find_seen(model, request, status, value);
        expect(model, is_acknowledged(model, request->id, &request->seen));
    }
    switch (status) {
    case STORE_FOUND:
        expect(model, value_is(request->id, &request->seen, value));
        break;
    case STORE_ABSENT:
        expect(model, !request->seen.exists);
        break;
    case BRAIN_ETIMEOUT:
        expect(model, model->now_ms >= request->waiter.deadline_ms);
        break;
    case BRAIN_ENOMEM:
        expect(model, model->faults);
        break;
    default:
        expect(model, status == BRAIN_EWAREHOUSE && model->loads_failed > 0);
    }
}

static void random_request(struct model *model);

static void on_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    struct model *model = context;
    struct request *request = (struct request *)(void *)waiter;
    model->waiting--;
    if (model->crashed) {
        free(request);
        return;
    }
    bool by_journal = request->kind == WRITE && request->seen.ack == STORE_ACK_JOURNAL;
    if (request->kind == READ) {
        check_read(model, request, status, value);
    } else if (status == STORE_DONE) {
        if (by_journal)
            expect(model, model->written >= request->seen.seq);
        else
            expect(model, model->cells[request->id].content.write >= request->seen.write);
        if (!by_journal && model->stored[request->id] < request->seen.write)
            model->stored[request->id] = request->seen.write;
        if (model->acked[request->id] < request->seen.write)
            model->acked[request->id] = request->seen.write;
    } else if (status == BRAIN_EJOURNAL) {
        expect(model, model->journal_failed);
    } else if (status == BRAIN_ETIMEOUT) {
        expect(model, model->now_ms >= waiter->deadline_ms);
    } else {
        expect(model, status == BRAIN_EWAREHOUSE && (dumps_failed(model) > 0 || model->faults));
    }
    free(request);
    if (model->depth < NEST_MAX && roll(model, 4) == 0)
        random_request(model);
}

static void random_get(struct model *model, unsigned id)
{
    char text[16];
    struct value value;
    struct request *request = calloc(1, sizeof(*request));
    request->id = id;
    request->seen = model->contents[id];
    request->turn = model->reads_begun[id]++;
    request->unsure = model->unsure[id];
    model->waiting++;
    int status = store_get(model->store, id_of(id, text), model->now_ms, &value, &request->waiter);
    if (status == STORE_WAIT)
        return;
    model->waiting--;
    if (status == BRAIN_ENOMEM) {
        expect(model, model->faults);
        model->reads_begun[id]--;
    } else {
        check_read(model, request, status, &value);
    }
    free(request);
}

static void random_write(struct model *model, unsigned id, bool delete)
{
    static const size_t sizes[] = {0, 1, 8, 100, 100, 100, 101, 4096, 4097, VALUE_MAX};
    char text[16];
    struct content before = model->contents[id], after = {.exists = !delete};
    after.write = before.write + 1;
    after.ack = (enum store_ack)roll(model, 3);
    after.failed = dumps_failed(model);
    struct value value = value_none();
    if (!delete) {
        after.size = sizes[roll(model, sizeof(sizes) / sizeof(sizes[0]))];
        fill_bytes(id, &after);
        value = (struct value){NULL, bytes, after.size};
        if (roll(model, 2) == 0)
            value = value_copy(slice_of(bytes, after.size));
        if (!value.data) {
            expect(model, model->faults);
            return;
        }
    }
    struct request *request = NULL;
    if (after.ack != STORE_ACK_MEMORY && roll(model, 3) > 0) {
        request = calloc(1, sizeof(*request));
        request->id = id;
        request->kind = WRITE;
        request->seen = after;
        /* Records are given in order, so no other comes between. */
        request->seen.seq = model->recorded + 1;
        model->waiting++;
    }
    /* It is there from the moment that the journal is given it: a dump may begin within the call.
     */
    if (model->journal) {
        model->proposing = true;
        model->proposed_id = id;
        model->proposed = after;
    } else {
        model->contents[id] = after;
    }
    struct store_waiter *waiter = request ? &request->waiter : NULL;
    int status =
        delete ? store_delete(model->store, id_of(id, text), after.ack, model->now_ms, waiter)
               : store_set(model->store, id_of(id, text), value, after.ack, model->now_ms, waiter);
    model->proposing = false;
    value_drop(&value);
    if (status == STORE_WAIT) {
        expect(model, after.ack == STORE_ACK_WAREHOUSE || (after.ack && model->journal));
        return;
    }
    if (request) {
        model->waiting--;
        free(request);
    }
    if (status == STORE_DONE) {
        expect(model, after.ack == STORE_ACK_MEMORY || !model->journal);
        return;
    }
    if (!model->journal)
        model->contents[id] = before;
    expect(model, (status == BRAIN_ENOMEM && model->faults) ||
                      (status == BRAIN_EJOURNAL && model->journal_failed) ||
                      (status == BRAIN_EOVERLOAD && !delete &&model->options.memory_limit_bytes));
}

static void random_persist(struct model *model, unsigned id)
{
    char text[16];
    struct request *request = NULL;
    if (roll(model, 3) > 0) {
        request = calloc(1, sizeof(*request));
        request->id = id;
        request->kind = PERSIST;
        request->seen = model->contents[id];
        model->waiting++;
    }
    int status = store_persist(
        model->store, id_of(id, text), model->now_ms, request ? &request->waiter : NULL);
    if (status == STORE_WAIT)
        return;
    expect(model, status == STORE_DONE || (status == BRAIN_ENOMEM && model->faults));
    if (request) {
        if (status == STORE_DONE)
            expect(model, model->cells[id].content.write == request->seen.write);
        model->waiting--;
        free(request);
    }
}

static void random_request(struct model *model)
{
    unsigned id = roll(model, IDS);
    model->depth++;
    switch (roll(model, 9)) {
    case 8:
        if (model->records_count > 0 && roll(model, 4) == 0) {
            uint64_t first = model->records[roll(model, model->records_count)].version.seq;
            store_rewrite(model->store, first, first + roll(model, 30), 1 + roll(model, 40));
        }
        break;
    case 0:
    case 1:
    case 2:
        random_write(model, id, false);
        break;
    case 3:
        random_write(model, id, true);
        break;
    case 4:
        random_persist(model, id);
        break;
    default:
        random_get(model, id);
    }
    model->depth--;
}

/* ---- one run --------------------------------------------------------------------------------- */

static void check_metrics(struct model *model)
{
    const struct store_metrics *metrics = store_metrics(model->store, model->now_ms);
    uint64_t unsaved = 0;
    for (unsigned id = 0; id < IDS; id++)
        unsaved += model->cells[id].content.write != model->contents[id].write;
    expect(model, metrics->dirty >= unsaved);
    expect(model, metrics->waiting == model->waiting);
    expect(model, metrics->loading + metrics->persisting == model->operations_count);
    expect(model, metrics->dirty > 0 || metrics->dirty_bytes + metrics->oldest_dirty_ms == 0);
    expect(model, metrics->objects <= IDS && metrics->dirty <= IDS);
    uint64_t live = 0;
    for (unsigned i = 0; i < model->records_count; i++)
        live += model->records[i].live && !model->records[i].dead;
    expect(model, !model->journal || live == metrics->dirty);
}

static void finish(struct model *model)
{
    model->reliable = true;
    model->at_once = roll(model, 2) == 0;
    model->depth = NEST_MAX; /* no requests out of answers any more */
    store_drain(model->store, model->now_ms);
    for (unsigned turn = 0;; turn++) {
        const struct store_metrics *metrics = store_metrics(model->store, model->now_ms);
        if (metrics->dirty + metrics->persisting + metrics->loading + metrics->waiting == 0)
            break;
        expect(model, turn < 10000);
        complete_one(model);
        journal_step(model);
        model->now_ms += store_advance(model->store, model->now_ms, 3);
    }
    for (unsigned id = 0; id < IDS; id++) {
        const struct content *want = &model->contents[id], *have = &model->cells[id].content;
        expect(model, have->write == want->write);
        expect(model, have->exists == want->exists && have->size == want->size);
    }
    expect(model, model->waiting == 0);
    /* Left alone, all of it leaves RAM. */
    if (model->faults)
        return;
    uint64_t end_ms = model->now_ms + model->key_ttl_ms * 2 + model->key_ttl_ms / 16 + 10;
    while (model->now_ms < end_ms)
        model->now_ms += store_advance(model->store, model->now_ms, 100);
    expect(model, store_metrics(model->store, model->now_ms)->objects == 0);
    expect(model, store_metrics(model->store, model->now_ms)->bytes == 0);
}

static bool open_store(struct model *model)
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

/* What a crash leaves of the journal: all that was written (a loss of power: synced) and is not
 * dead; of the rest, a part from the end of the dead on, or to the beginning of what was not. */
static void lose_records(struct model *model, bool power)
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

/* All of it gets to a warehouse that is well, and is what was expected. */
static void dump_all(struct model *model)
{
    for (unsigned id = 0; id < IDS; id++) {
        char text[16];
        store_persist(model->store, id_of(id, text), model->now_ms, NULL);
    }
    bool reliable = model->reliable;
    model->reliable = true;
    model->depth = NEST_MAX;
    for (unsigned turn = 0; store_metrics(model->store, model->now_ms)->dirty > 0; turn++) {
        expect(model, turn < 1000);
        complete_one(model);
        journal_step(model);
        model->now_ms += store_advance(model->store, model->now_ms, 10);
    }
    model->reliable = reliable;
    model->depth = 0;
    for (unsigned id = 0; id < IDS; id++)
        expect(model, model->cells[id].content.write == model->contents[id].write);
}

static void crash(struct model *model, bool power)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        struct operation *o = &model->operations[i];
        struct cell *cell = &model->cells[o->id];
        if (!o->object || !o->dump || roll(model, 2) == 0)
            continue; /* else it arrives, and nobody hears of that */
        if (o->expected_known ? version_compare(cell->version, o->expected) == 0
                              : version_compare(cell->version, o->version) < 0)
            *cell = (struct cell){o->content, o->version};
    }
    model->crashed = true;
    while (model->operations_count > 0)
        complete_one(model);
    store_destroy(model->store);
    model->crashed = false;
    expect(model, model->waiting == 0);

    lose_records(model, power);
    memset(model->reads_begun, 0, sizeof(model->reads_begun));
    memset(model->reads_done, 0, sizeof(model->reads_done));
    memset(model->unsure, 0, sizeof(model->unsure));
    model->options.epoch.counter++;
    if (!open_store(model))
        return;
    for (unsigned id = 0; id < IDS; id++)
        model->contents[id] = model->cells[id].content;
    for (unsigned i = 0; i < model->records_count; i++) {
        struct record *record = &model->records[i];
        char text[16];
        fill_bytes(record->id, &record->content);
        struct value value = {NULL, bytes, record->content.size};
        expect(model, store_restore(model->store, id_of(record->id, text), record->version,
                          record->content.exists ? &value : NULL, model->now_ms) == 0);
        model->contents[record->id] = record->content;
        model->unsure[record->id] = model->verify;
    }
    store_raise_seq(model->store, model->recorded);
    if (model->verify)
        store_verify_restored(model->store);
    for (unsigned id = 0; id < IDS; id++) {
        struct content *here = &model->contents[id];
        const struct content *there = &model->cells[id].content;
        /* The warehouse never has what the journal had not; but power may have taken that again. */
        if (here->write < there->write) {
            expect(model, model->verify);
            *here = *there;
        }
        expect(model, here->write >= (power ? model->stored : model->acked)[id]);
        here->ack = STORE_ACK_MEMORY;
        here->seq = 0;
        if (model->acked[id] > here->write)
            model->acked[id] = here->write;
    }
    check_metrics(model);
    if (roll(model, 3) == 0)
        dump_all(model);
}

static void run(uint64_t seed, unsigned steps, bool faults)
{
    static struct model model;
    memset(&model, 0, offsetof(struct model, records));
    memset(&model.records_count, 0, sizeof(model) - offsetof(struct model, records_count));
    model.seed = seed;
    model.random = seed * 0x9E3779B97F4A7C15U;
    model.faults = faults;
    model.now_ms = 1000 + roll(&model, 100000);
    model.at_once = roll(&model, 3) == 0;
    model.journal = roll(&model, 4) > 0;
    for (unsigned id = 0; id < IDS; id++) {
        /* Some were written by earlier processes, also by ones with a higher epoch. */
        if (roll(&model, 2) == 0)
            continue;
        struct content content = {.exists = roll(&model, 4) > 0, .write = 1};
        content.size = content.exists ? 50 : 0;
        model.contents[id] = content;
        model.cells[id] =
            (struct cell){content, {roll(&model, 3), 1 + roll(&model, 9), 1 + roll(&model, 5)}};
    }
    model.key_ttl_ms = roll(&model, 2) ? 50 : 5000;
    model.recorded = model.written = model.settled = model.synced = 100;
    model.options = (struct store_options){
        .key_ttl_ms = model.key_ttl_ms,
        .wait_timeout_ms = 400,
        .dumps_parallel = 1 + roll(&model, 4),
        .dumps_parallel_bytes = roll(&model, 2) ? 5000 : 1000000,
        .retry_min_ms = 20,
        .retry_max_ms = 300,
        .hash_seed = seed,
        .epoch = {1, 4, 100},
        .max_dirty_ms = roll(&model, 2) ? 0 : 40 + roll(&model, 100),
        .breaker_failures = roll(&model, 2) ? 0 : 1 + roll(&model, 5),
    };
    if (!open_store(&model))
        return;
    if (model.journal && roll(&model, 2) == 0) {
        store_destroy(model.store);
        model.options.memory_limit_bytes = 1; /* the size of pages depends on it */
        if (!open_store(&model))
            return;
        uint64_t empty = store_metrics(model.store, model.now_ms)->memory;
        store_destroy(model.store);
        model.options.memory_limit_bytes = empty + 16000 + roll(&model, 24000);
        if (!open_store(&model))
            return;
    }
    for (unsigned step = 0; step < steps; step++) {
        uint32_t what = roll(&model, 12);
        if (what < 6) {
            random_request(&model);
        } else if (what < 9) {
            complete_one(&model);
        } else if (what < 11) {
            journal_step(&model);
        } else {
            model.now_ms += roll(&model, 8) == 0 ? roll(&model, 12000) : roll(&model, 30);
            store_advance(model.store, model.now_ms, 1 + roll(&model, 8));
        }
        check_metrics(&model);
        if (model.journal && !faults && roll(&model, 300) == 0)
            crash(&model, roll(&model, 2) == 0);
    }
    finish(&model);
    store_destroy(model.store);
}

START_TEST(every_answer_is_right_and_nothing_is_lost)
{
    const char *only = getenv("MODEL_SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    const char *seeds = getenv("MODEL_SEEDS");
    uint64_t last = only ? first : seeds ? strtoull(seeds, NULL, 10) : 200;
    for (uint64_t seed = first; seed <= last; seed++) {
        heap_fault_start(0);
        run(seed, 1000, false);
        heap_fault_stop();
    }
}
END_TEST

START_TEST(any_failed_allocation_changes_nothing)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        unsigned n = 1;
        for (bool reached = true; reached; n++) {
            heap_fault_start(n);
            run(seed, 100, true);
            reached = heap_fault_stop();
        }
        ck_assert_uint_gt(n, 20);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/model");
    TCase *tcase = tcase_create("random");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, every_answer_is_right_and_nothing_is_lost);
    tcase_add_test(tcase, any_failed_allocation_changes_nothing);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
