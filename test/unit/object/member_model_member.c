/* What a member's store asks and tells, and what happens around a member. */
#include "member_model.h"

/* ---- what the store asks and tells ----------------------------------------------------------- */

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

void add_member_events(struct model *model, struct store_events *events)
{
    events->member = model;
    events->grant = on_grant;
    events->may_dump = on_may_dump;
    events->reserve = on_reserve;
    events->written = on_written;
    events->stored = on_stored;
    events->outdated = on_outdated;
    events->released = on_released;
}

/* ---- what happens to a member ---------------------------------------------------------------- */

bool claim(struct model *model, unsigned id)
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

void raise_epoch(struct model *model, unsigned id)
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

void part(struct model *model, unsigned id)
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

void go_on_abandoning(struct model *model)
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

void lose_lease(struct model *model)
{
    model->abandoning = model->fenced = true;
    for (unsigned id = 0; id < IDS; id++)
        model->places[id].granted = false;
    go_on_abandoning(model);
}

void write_elsewhere(struct model *model, unsigned id)
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
