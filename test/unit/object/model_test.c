/* Random requests, delays, failures and crashes against a plain model: a map of what each id must
 * hold, an emulated warehouse that writes conditionally, and an emulated journal. Every answer is
 * checked when it comes; after a crash all that was acknowledged is there (after a loss of power:
 * what was synced or in the warehouse), reads show that and nothing older; after a drain the
 * warehouse must hold exactly the map. A failure prints the seed: MODEL_SEED=n replays it alone,
 * MODEL_SEEDS=n runs more of them. */
#include <check.h>
#include <string.h>

#include "model.h"
#include "suite.h"

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
    run_seeds(run, 200, 1000);
}
END_TEST

START_TEST(any_failed_allocation_changes_nothing)
{
    run_without_memory(run, 8, 100);
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
