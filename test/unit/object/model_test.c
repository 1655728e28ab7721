/* Random requests, delays and failures against a plain model: a map of what each id must hold, and
 * an emulated warehouse that writes conditionally. Every answer is checked when it comes; after a
 * drain the warehouse must hold exactly the map. A failure prints the seed: MODEL_SEED=n replays it
 * alone,
 * MODEL_SEEDS=n runs more of them. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/object.h"
#include "heap_fault.h"

enum { IDS = 12, OPERATIONS = 256, VALUE_MAX = 4800, NEST_MAX = 3 };

/* What an id holds, here or in the warehouse. `write` numbers the writes of one id; the bytes of a
 * value follow from id, write and size. */
struct content {
    bool exists;
    uint32_t write;
    size_t size;
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

struct request {
    struct store_waiter waiter; /* first: the store hands it back */
    unsigned id;
    bool persist;
    struct content seen; /* get: at the time of the request; persist: what must be dumped */
    uint32_t turn;       /* order of the reads of one id */
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
    unsigned loads_failed, dumps_failed; /* results given */
    bool at_once, reliable, faults;
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
    if (!model->reliable && roll(model, 6) == 0) {
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
    bool fails = !model->reliable && roll(model, 4) == 0;
    if (fails && roll(model, 2) == 0) { /* never arrived */
        model->dumps_failed++;
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
    model->dumps_failed += fails;
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
    if (value)
        expect(model, value_is(operation->id, &operation->content, value));
    else
        expect(model, !operation->content.exists);
    if (model->at_once && roll(model, 2) == 0)
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

/* ---- requests -------------------------------------------------------------------------------- */

static void check_read(
    struct model *model, struct request *request, int status, const struct value *value)
{
    expect(model, request->turn == model->reads_done[request->id]);
    model->reads_done[request->id]++;
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
    if (!request->persist) {
        check_read(model, request, status, value);
    } else if (status == STORE_DONE) {
        expect(model, model->cells[request->id].content.write >= request->seen.write);
    } else if (status == BRAIN_ETIMEOUT) {
        expect(model, model->now_ms >= waiter->deadline_ms);
    } else {
        expect(model, status == BRAIN_EWAREHOUSE && (model->dumps_failed > 0 || model->faults));
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
    struct content before = model->contents[id];
    struct content after = {!delete, before.write + 1, 0};
    int status;
    if (delete) {
        model->contents[id] = after;
        status = store_delete(model->store, id_of(id, text), STORE_ACK_MEMORY, model->now_ms, NULL);
    } else {
        after.size = sizes[roll(model, sizeof(sizes) / sizeof(sizes[0]))];
        fill_bytes(id, &after);
        struct value value = {NULL, bytes, after.size};
        if (roll(model, 2) == 0)
            value = value_copy(slice_of(bytes, after.size));
        if (!value.data) {
            expect(model, model->faults);
            return;
        }
        model->contents[id] = after; /* a drain may dump it within the call */
        status =
            store_set(model->store, id_of(id, text), value, STORE_ACK_MEMORY, model->now_ms, NULL);
        value_drop(&value);
    }
    if (status == STORE_DONE)
        return;
    expect(model, status == BRAIN_ENOMEM && model->faults);
    model->contents[id] = before;
}

static void random_persist(struct model *model, unsigned id)
{
    char text[16];
    struct request *request = NULL;
    if (roll(model, 3) > 0) {
        request = calloc(1, sizeof(*request));
        request->id = id;
        request->persist = true;
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
    switch (roll(model, 8)) {
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

static void run(uint64_t seed, unsigned steps, bool faults)
{
    static struct model model;
    model = (struct model){.seed = seed, .random = seed * 0x9E3779B97F4A7C15U, .faults = faults};
    model.now_ms = 1000 + roll(&model, 100000);
    model.at_once = roll(&model, 3) == 0;
    for (unsigned id = 0; id < IDS; id++) {
        /* Some were written by earlier processes, also by ones with a higher epoch. */
        if (roll(&model, 2) == 0)
            continue;
        struct content content = {roll(&model, 4) > 0, 1, 0};
        content.size = content.exists ? 50 : 0;
        model.contents[id] = content;
        model.cells[id] =
            (struct cell){content, {roll(&model, 3), 1 + roll(&model, 9), 1 + roll(&model, 5)}};
    }
    model.key_ttl_ms = roll(&model, 2) ? 50 : 5000;
    struct store_options options = {
        .key_ttl_ms = model.key_ttl_ms,
        .wait_timeout_ms = 400,
        .dumps_parallel = 1 + roll(&model, 4),
        .dumps_parallel_bytes = roll(&model, 2) ? 5000 : 1000000,
        .retry_min_ms = 20,
        .retry_max_ms = 300,
        .hash_seed = seed,
        .epoch = {1, 4, 0},
    };
    model.store = store_create(&options, (struct store_events){.context = &model,
                                             .load = on_load,
                                             .dump = on_dump,
                                             .set_aside = on_set_aside,
                                             .answer = on_answer});
    if (!model.store) {
        expect(&model, faults);
        return;
    }
    for (unsigned step = 0; step < steps; step++) {
        uint32_t what = roll(&model, 10);
        if (what < 6)
            random_request(&model);
        else if (what < 9)
            complete_one(&model);
        else {
            model.now_ms += roll(&model, 8) == 0 ? roll(&model, 12000) : roll(&model, 30);
            store_advance(model.store, model.now_ms, 1 + roll(&model, 8));
        }
        check_metrics(&model);
    }
    finish(&model);
    store_destroy(model.store);
}

START_TEST(every_answer_is_right_and_nothing_is_lost)
{
    const char *only = getenv("MODEL_SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    const char *seeds = getenv("MODEL_SEEDS");
    uint64_t last = only ? first : seeds ? strtoull(seeds, NULL, 10) : 40;
    for (uint64_t seed = first; seed <= last; seed++) {
        heap_fault_start(0);
        run(seed, 1000, false);
        heap_fault_stop();
    }
}
END_TEST

START_TEST(any_failed_allocation_changes_nothing)
{
    for (uint64_t seed = 1; seed <= 1; seed++) {
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
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
