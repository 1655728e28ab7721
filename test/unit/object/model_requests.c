/* Random requests, and what may be answered to them. */
#include <stdlib.h>

#include "model.h"

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

void on_answer(void *context, struct store_waiter *waiter, int status, const struct value *value)
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

void random_request(struct model *model)
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
