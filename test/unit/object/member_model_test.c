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
#include <string.h>

#include "member_model.h"
#include "suite.h"

static unsigned all_reached;

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
        raise_epoch(model, id);
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
            raise_epoch(model, id);
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
    struct store_events events = {.context = &model, .answer = on_answer};
    add_device_events(&model, &events);
    add_member_events(&model, &events);
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
    bool all = run_seeds(run, 150, 1500);
    ck_assert(!all || all_reached == 255);
}
END_TEST

START_TEST(any_failed_allocation_changes_nothing)
{
    run_without_memory(run, 6, 150);
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
