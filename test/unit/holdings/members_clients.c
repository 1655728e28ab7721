#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "members_devices.h"

/* ---- clients ----------------------------------------------------------------------------------
 */

static struct ask *make_ask(struct world *world, int member, enum cluster_kind kind, const char *id,
    const char *text, enum store_ack ack)
{
    struct ask *ask = allocate(sizeof(*ask));
    ask->next = world->asks;
    world->asks = ask;
    ask->member = member;
    set_text(ask->id, id);
    ask->request.kind = kind;
    ask->request.ack = (uint8_t)ack;
    ask->request.id = slice_of_string(ask->id);
    if (kind == CLUSTER_WRITE) {
        uint8_t term[TEXT + TERM_HEAD];
        ask->request.value = value_copy(slice_of(term, term_of(term, text)));
        if (!ask->request.value.block) {
            ask->answers = 1;
            ask->status = BRAIN_ENOMEM;
        }
    }
    return ask;
}

struct ask *world_ask(struct world *world, int number, enum cluster_kind kind, const char *id,
    const char *text, enum store_ack ack)
{
    struct member *member = &world->members[number];
    struct ask *ask = make_ask(world, number, kind, id, text, ack);
    if (ask->answers > 0)
        return ask;
    holdings_time(member->holdings, world->now_ms);
    cluster_request(member->cluster, &ask->request, world->now_ms);
    holdings_settle(member->holdings, world->now_ms);
    return ask;
}

struct ask *world_ask_fast(struct world *world, int number, enum cluster_kind kind, const char *id,
    const char *text, enum store_ack ack)
{
    struct member *member = &world->members[number];
    struct ask *ask = make_ask(world, number, kind, id, text, ack);
    if (ask->answers > 0)
        return ask;
    uint64_t now_ms = world->now_ms, hash = store_hash(member->store, ask->request.id);
    struct value value = value_none();
    int status = STORE_WAIT;
    if (cluster_serves(member->cluster, now_ms)) {
        if (kind == CLUSTER_READ || kind == CLUSTER_WEAK_READ)
            status = holdings_get(member->holdings, ask->request.id, hash, now_ms, &value);
        else if (kind == CLUSTER_WRITE || kind == CLUSTER_DELETE)
            status = holdings_write(member->holdings, ask->request.id, hash,
                kind == CLUSTER_WRITE ? &ask->request.value : NULL, ack, true, now_ms);
    }
    if (status == STORE_WAIT)
        cluster_request(member->cluster, &ask->request, now_ms);
    else
        on_answer(member, &ask->request, status, &value);
    holdings_settle(member->holdings, now_ms);
    return ask;
}

bool is_answered(const struct ask *ask, int status, const char *text)
{
    return ask->answers == 1 && ask->status == status && (!text || strcmp(ask->text, text) == 0);
}

const char *world_read(struct world *world, int member, const char *id)
{
    const struct ask *read = world_ask(world, member, CLUSTER_READ, id, NULL, STORE_ACK_MEMORY);
    world_settle(world);
    if (is_answered(read, STORE_FOUND, NULL))
        return read->text;
    return is_answered(read, STORE_ABSENT, NULL) ? "" : "?";
}

void world_write(struct world *world, int member, const char *id, const char *text)
{
    const struct ask *write = world_ask(world, member, CLUSTER_WRITE, id, text, STORE_ACK_BACKUP);
    world_settle(world);
    ck_assert(is_answered(write, STORE_DONE, NULL));
}

/* ---- questions --------------------------------------------------------------------------------
 */

bool member_owns(const struct world *world, int member, const char *id)
{
    return cluster_owns(world->members[member].cluster, slice_of_string(id), NULL);
}

bool member_has_copy(const struct world *world, int member, const char *id)
{
    return cluster_copy_held(world->members[member].cluster, slice_of_string(id), NULL);
}

bool member_has_resident(const struct world *world, int member, const char *id)
{
    const struct store *store = world->members[member].store;
    return store_is_resident(store, slice_of_string(id), store_hash(store, slice_of_string(id)));
}

uint64_t member_metric(const struct world *world, int member, const char *name)
{
    struct metrics_registry registry = {.count = 0};
    holdings_metrics_register(&registry, world->members[member].holdings);
    for (size_t i = 0; i < registry.count; i++) {
        if (strcmp(registry.metrics[i].name, name) == 0)
            return *registry.metrics[i].value;
    }
    ck_abort_msg("there is no metric %s", name);
}
