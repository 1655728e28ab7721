/* Random requests, and what may be answered to them. */
#include <stdlib.h>

#include "member_model.h"

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

void on_answer(void *context, struct store_waiter *waiter, int status, const struct value *value)
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

void random_read(struct model *model, unsigned id)
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

void random_write(struct model *model, unsigned id, bool deletes)
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

void random_persist(struct model *model, unsigned id)
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
