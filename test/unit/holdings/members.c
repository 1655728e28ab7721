#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "members_devices.h"

enum { RETRY_MS = 100, STEP_MS = 50, LEASE_MS = 2000 };

/* ---- journal ----------------------------------------------------------------------------------
 */

static struct journaled *append(
    struct member *member, uint64_t seq, struct slice id, struct version version)
{
    struct journaled *record = allocate(sizeof(*record));
    set_id(record->id, id);
    record->seq = seq;
    record->version = version;
    record->next = member->journal;
    member->journal = record;
    ck_assert_uint_gt(seq, member->appended);
    member->appended = seq;
    return record;
}

static int on_record_as(void *context, uint64_t seq, uint64_t age_ms, struct slice id,
    struct version version, const struct value *value)
{
    const struct member *member = context;
    if (member->journal_fails)
        return BRAIN_EJOURNAL;
    struct journaled *record = append(context, seq, id, version);
    record->age_ms = age_ms;
    record->deleted = value == NULL;
    if (value)
        set_value(record->text, value);
    return 0;
}

static int on_record(
    void *context, struct slice id, struct version version, const struct value *value)
{
    return on_record_as(context, version.seq, 0, id, version, value);
}

void member_journal(
    struct world *world, int member, const char *id, struct version version, const char *text)
{
    struct journaled *record =
        append(&world->members[member], version.seq, slice_of_string(id), version);
    set_text(record->text, text);
    record->live = true;
}

static struct journaled *record_of(const struct member *member, uint64_t seq)
{
    struct journaled *record = member->journal;
    while (record && record->seq != seq)
        record = record->next;
    ck_assert_msg(record != NULL, "a record that nobody wrote");
    return record;
}

static void on_record_live(void *context, uint64_t seq)
{
    struct journaled *record = record_of(context, seq);
    ck_assert_msg(!record->live && !record->dead, "live twice");
    record->live = true;
}

static void on_record_dead(void *context, uint64_t seq)
{
    struct journaled *record = record_of(context, seq);
    ck_assert_msg(record->live && !record->dead, "dead before it was live, or twice");
    record->dead = true;
}

static bool write_journal(struct member *member)
{
    if (!member->up || member->journal_stops || !member->world->journals ||
        !store_awaits_records(member->store))
        return false;
    store_written(member->store, member->appended, 0, member->world->now_ms);
    return true;
}

uint32_t member_live_records(const struct world *world, int member, const char *id)
{
    uint32_t count = 0;
    for (const struct journaled *record = world->members[member].journal; record;
         record = record->next)
        count += record->live && !record->dead && (!id || strcmp(record->id, id) == 0);
    return count;
}

/* ---- events -----------------------------------------------------------------------------------
 */

void on_answer(
    void *context, struct cluster_request *request, int status, const struct value *value)
{
    struct member *member = context;
    struct ask *ask = (struct ask *)(void *)request;
    ask->answers++;
    ask->status = status;
    ask->answered = ++member->world->answers;
    if (status == STORE_FOUND && request->kind != CLUSTER_OWNER)
        set_value(ask->text, value);
    value_drop(&request->value);
}

static void on_store_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    struct member *member = context;
    holdings_answer(member->holdings, waiter, status, value);
}

static void on_copy_changed(void *context, struct slice id, const struct cluster_copy *copy)
{
    struct member *member = context;
    if (member->holdings)
        holdings_copy_changed(member->holdings, id, copy);
}

static void on_copy_set_aside(void *context, struct slice id, const struct cluster_copy *copy)
{
    struct member *member = context;
    (void)id, (void)copy;
    member->set_aside++;
}

static void on_evict(void *context, const struct cluster_member *member, uint64_t view)
{
    (void)context, (void)member, (void)view;
}

static void on_behind(void *context, uint64_t view)
{
    (void)context, (void)view;
}

static void on_read_stored(void *context, struct cluster_request *request)
{
    struct member *member = context;
    char id[TEXT];
    set_id(id, request->id);
    const struct kept *kept = kept_of(member->world, id);
    uint8_t term[TEXT + TERM_HEAD];
    bool found = kept && !kept->deleted;
    struct value value = {NULL, term, found ? term_of(term, kept->text) : 0};
    holdings_stored_read(member->holdings, request, found ? STORE_FOUND : STORE_ABSENT, &value,
        member->world->now_ms);
}

static bool on_has_room(void *context, uint64_t bytes)
{
    const struct member *member = context;
    ck_assert_uint_gt(bytes, 0);
    return !member->has_no_room;
}

/* ---- members ----------------------------------------------------------------------------------
 */

static struct cluster *make_cluster(struct world *world, struct member *member)
{
    struct cluster_options options = {
        .name = slice_of_string(member->name),
        .seed = 7,
        .random_seed = (uint64_t)member->number << 40,
        .backups = world->backups,
        .request_timeout_ms = world->request_ms,
        .weak_timeout_ms = world->request_ms / 2,
        .retry_ms = RETRY_MS,
        .report_timeout_ms = 60000,
        .view_lag_ms = 60000,
        .copy_check_ms = 500,
        .tombstone_keep_ms = 600000,
        .handoff_uses = world->handoff_uses,
        .hints_limit = 1000,
        .stash_limit_bytes = 100000,
        .term_limits = {100, 1000000},
    };
    struct cluster_events events = {.context = member,
        .send = on_send,
        .answer = on_answer,
        .evict = on_evict,
        .behind = on_behind,
        .copy_changed = on_copy_changed,
        .set_aside = on_copy_set_aside,
        .has_room = on_has_room};
    return cluster_create(&options, events, holdings_objects(member->holdings));
}

static struct store *make_store(struct world *world, struct member *member)
{
    struct store_options options = {.key_ttl_ms = 10000,
        .wait_timeout_ms = world->request_ms,
        .dumps_parallel = 8,
        .dumps_parallel_bytes = 1 << 20,
        .retry_min_ms = 100,
        .retry_max_ms = 200,
        .hash_seed = 5,
        .epoch = {0, 0, member->appended}};
    struct store_events events = {.context = member,
        .load = on_load,
        .dump = on_dump,
        .set_aside = on_set_aside,
        .answer = on_store_answer};
    if (world->journals) {
        events.record = on_record;
        events.record_live = on_record_live;
        events.record_dead = on_record_dead;
    }
    holdings_store_events(member->holdings, &events);
    return store_create(&options, events);
}

static void destroy(struct member *member)
{
    cluster_destroy(member->cluster);
    store_destroy(member->store);
    holdings_destroy(member->holdings);
    member->cluster = NULL;
    member->store = NULL;
    member->holdings = NULL;
    member->up = false;
}

bool member_create(struct world *world, int number)
{
    struct member *member = &world->members[number];
    struct holdings_events events = {.context = member, .read_stored = on_read_stored};
    if (world->journals) {
        events.record = on_record_as;
        events.record_live = on_record_live;
        events.record_dead = on_record_dead;
    }
    member->holdings = holdings_create(events);
    if (!member->holdings)
        return false;
    member->store = make_store(world, member);
    member->cluster = make_cluster(world, member);
    if (!member->store || !member->cluster) {
        destroy(member);
        return false;
    }
    holdings_attach(member->holdings, member->store, member->cluster);
    member->incarnation += 1000;
    return member->up = true;
}

static void lose(struct member *member)
{
    uint64_t now_ms = member->world->now_ms;
    holdings_time(member->holdings, now_ms);
    cluster_lost(member->cluster, now_ms);
    for (int i = 0; cluster_state(member->cluster) != CLUSTER_OUT; i++) {
        ck_assert_int_lt(i, 10000);
        cluster_advance(member->cluster, now_ms, 2);
        holdings_settle(member->holdings, now_ms);
    }
}

void member_lose(struct world *world, int member)
{
    lose(&world->members[member]);
    world->members[member].incarnation += 1000;
}

/* Gives everything up, as a node does that ends; nothing is said by it. */
static void end(struct member *member)
{
    struct world *world = member->world;
    if (!member->up)
        return;
    member->up = false;
    lose(member);
    for (struct operation **link = &world->operations; *link;) {
        struct operation *operation = *link;
        if (operation->member != member->number) {
            link = &operation->next;
            continue;
        }
        *link = operation->next;
        if (operation->put)
            store_dumped(member->store, operation->object, BRAIN_EWAREHOUSE, NULL, world->now_ms);
        else
            store_loaded(
                member->store, operation->object, BRAIN_EWAREHOUSE, NULL, NULL, world->now_ms);
        free(operation);
    }
    destroy(member);
}

static void drop_letters(struct world *world, int member)
{
    for (struct letter **link = &world->letters; *link;) {
        struct letter *letter = *link;
        if (member >= 0 && letter->to != member) {
            link = &letter->next;
            continue;
        }
        *link = letter->next;
        value_drop(&letter->bytes);
        free(letter);
    }
}

void member_crash(struct world *world, int number)
{
    struct member *member = &world->members[number];
    /* Its end changes the journal; the crash leaves it as it is. */
    struct journaled *record;
    uint32_t count = 0, at = 0;
    for (record = member->journal; record; record = record->next)
        count++;
    bool *dead = allocate(count + 1);
    for (record = member->journal; record; record = record->next)
        dead[at++] = record->dead;
    end(member);
    at = 0;
    for (record = member->journal; record && at < count; record = record->next)
        record->dead = dead[at++];
    ck_assert(!record && at == count);
    free(dead);
    drop_letters(world, number);
    for (uint32_t i = 0; i < world->count; i++) {
        if (world->members[i].up) {
            holdings_time(world->members[i].holdings, world->now_ms);
            cluster_peer_down(
                world->members[i].cluster, slice_of_string(member->name), world->now_ms);
        }
    }
}

/* The list is the latest first; it is read from the oldest on. */
static void restore(struct member *member, struct journaled *record)
{
    if (!record)
        return;
    restore(member, record->next);
    if (!record->live || record->dead)
        return;
    uint8_t term[TEXT + TERM_HEAD];
    struct value value = {NULL, term, term_of(term, record->text)};
    ck_assert_int_eq(
        holdings_restore(member->holdings, record->seq, slice_of_string(record->id),
            record->version, record->deleted ? NULL : &value, 0, member->world->now_ms),
        0);
}

void member_restore(struct world *world, int member)
{
    restore(&world->members[member], world->members[member].journal);
}

/* ---- the world --------------------------------------------------------------------------------
 */

void world_init(struct world *world, uint32_t count, uint32_t backups)
{
    *world = (struct world){.now_ms = 1000,
        .request_ms = 5000,
        .view = 10,
        .count = count,
        .backups = backups,
        .journals = true};
    for (uint32_t i = 0; i < count; i++) {
        world->members[i].world = world;
        world->members[i].number = (int)i;
        world->members[i].incarnation = i + 1;
        snprintf(world->members[i].name, sizeof(world->members[i].name), "%c@n", 'a' + (char)i);
    }
}

void world_view(struct world *world)
{
    struct cluster_member list[MEMBERS];
    struct cluster_view view = {.number = ++world->view, .members = list};
    for (uint32_t i = 0; i < world->count; i++) {
        const struct member *member = &world->members[i];
        if (member->up)
            list[view.count++] =
                (struct cluster_member){slice_of_string(member->name), member->incarnation};
    }
    for (uint32_t i = 0; i < world->count; i++) {
        struct member *member = &world->members[i];
        if (!member->up)
            continue;
        holdings_time(member->holdings, world->now_ms);
        int status = BRAIN_ENOMEM;
        for (int tries = 0; tries < 10 && status != 0; tries++)
            status = cluster_state(member->cluster) == CLUSTER_OUT
                         ? cluster_join(member->cluster, member->incarnation, &view,
                               world->now_ms + LEASE_MS, world->now_ms)
                         : cluster_view(member->cluster, &view, world->now_ms);
        ck_assert_int_eq(status, 0);
        holdings_settle(member->holdings, world->now_ms);
    }
}

bool world_start(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        if (!member_create(world, (int)i))
            return false;
    }
    world_view(world);
    world_settle(world);
    return true;
}

void world_lease(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        struct member *member = &world->members[i];
        if (!member->up)
            continue;
        holdings_time(member->holdings, world->now_ms);
        cluster_lease(member->cluster, world->now_ms + LEASE_MS, world->view, world->now_ms);
        holdings_settle(member->holdings, world->now_ms);
    }
}

static bool advance(struct world *world)
{
    bool more = false;
    for (uint32_t i = 0; i < world->count; i++) {
        struct member *member = &world->members[i];
        if (!member->up)
            continue;
        holdings_advance(member->holdings, world->now_ms);
        more |= cluster_advance(member->cluster, world->now_ms, 1000) == 0;
        holdings_settle(member->holdings, world->now_ms);
        store_press(member->store, cluster_full_members(member->cluster, world->now_ms) > 0);
        more |= store_advance(member->store, world->now_ms, 100) == 0;
        holdings_settle(member->holdings, world->now_ms);
        more |= write_journal(member);
        holdings_settle(member->holdings, world->now_ms);
    }
    return more;
}

static void settle_all(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        if (world->members[i].up)
            holdings_settle(world->members[i].holdings, world->now_ms);
    }
}

void world_settle(struct world *world)
{
    settle_all(world);
    for (int turn = 0; turn < 100000; turn++) {
        if (deliver_one(world) || operate_one(world)) {
            settle_all(world);
            continue;
        }
        if (!advance(world) && !deliver_one(world) && !operate_one(world))
            return;
        settle_all(world);
    }
    ck_abort_msg("it never ends");
}

void world_pass(struct world *world, uint64_t ms)
{
    for (uint64_t until = world->now_ms + ms; world->now_ms < until;) {
        world->now_ms += STEP_MS;
        world_lease(world);
        world_settle(world);
    }
}

void world_end(struct world *world)
{
    for (uint32_t i = 0; i < world->count; i++)
        end(&world->members[i]);
    drop_letters(world, -1);
    for (uint32_t i = 0; i < world->count; i++) {
        struct journaled *record;
        while ((record = world->members[i].journal) != NULL) {
            world->members[i].journal = record->next;
            free(record);
        }
    }
    struct ask *ask;
    while ((ask = world->asks) != NULL) {
        world->asks = ask->next;
        ck_assert_int_eq(ask->answers, 1);
        free(ask);
    }
    struct kept *kept;
    while ((kept = world->warehouse) != NULL) {
        world->warehouse = kept->next;
        free(kept);
    }
}
