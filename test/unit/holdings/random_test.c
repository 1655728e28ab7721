/* Two to four members at random: reads, writes, deletes and persists of all classes from
 * everywhere, members that join, crash and come back with their journal, leases that are lost,
 * links that fail. One request of an id at a time, so that it is known what a strong read may see:
 * what was acknowledged last, or anything since of which nobody knows. In the end everything is
 * answered and in the warehouse, and nothing is left of it anywhere. */
#include <check.h>
#include <stdio.h>

#include "members.h"
#include "suite.h"

enum { IDS = 6, STEPS = 400, CANDIDATES = 64 };

static struct world world;
static uint64_t state;

static uint32_t below(uint32_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 33) % limit;
}

/* What an id may be. `memory`: only if something was lost since. */
static struct subject {
    char id[TEXT], text[TEXT];
    struct ask *asked;
    uint32_t count;
    struct {
        char text[TEXT];
        bool if_lost;
    } may_be[CANDIDATES];
} subjects[IDS];

static void may_be(struct subject *subject, const char *text)
{
    ck_assert_uint_lt(subject->count, CANDIDATES);
    snprintf(subject->may_be[subject->count].text, TEXT, "%s", text);
    subject->may_be[subject->count++].if_lost = false;
}

static bool is_possible(const struct subject *subject, const char *text)
{
    for (uint32_t i = 0; i < subject->count; i++) {
        if (strcmp(subject->may_be[i].text, text) == 0 && !subject->may_be[i].if_lost)
            return true;
    }
    return false;
}

static void something_is_lost(void)
{
    for (int i = 0; i < IDS; i++) {
        for (uint32_t k = 0; k < subjects[i].count; k++)
            subjects[i].may_be[k].if_lost = false;
    }
}

static void check(const struct subject *subject, const char *text)
{
    ck_assert_msg(is_possible(subject, text), "%s is \"%s\"", subject->id, text);
}

/* The answer has come: what it says of the id. */
static void learn(struct subject *subject)
{
    struct ask *ask = subject->asked;
    subject->asked = NULL;
    ck_assert_int_eq(ask->answers, 1);
    bool writes = ask->request.kind == CLUSTER_WRITE || ask->request.kind == CLUSTER_DELETE;
    const char *text = ask->request.kind == CLUSTER_WRITE ? subject->text : "";
    if (ask->request.kind == CLUSTER_READ && ask->status >= 0)
        check(subject, ask->status == STORE_FOUND ? ask->text : "");
    if (!writes || ask->status == BRAIN_ETIMEOUT || ask->status == BRAIN_EUNAVAILABLE ||
        ask->status == BRAIN_ESHUTDOWN)
        return;
    if (ask->status != STORE_DONE) {
        may_be(subject, text);
        return;
    }
    bool durable = ask->request.ack == STORE_ACK_BACKUP || ask->request.ack == STORE_ACK_WAREHOUSE;
    if (durable)
        subject->count = 0;
    for (uint32_t i = 0; i < subject->count; i++)
        subject->may_be[i].if_lost = true;
    may_be(subject, text);
}

static int any_up(void)
{
    int member;
    do
        member = (int)below(world.count);
    while (!world.members[member].up || cluster_state(world.members[member].cluster) != CLUSTER_IN);
    return member;
}

static uint32_t count_up(void)
{
    uint32_t up = 0;
    for (uint32_t i = 0; i < world.count; i++)
        up += world.members[i].up;
    return up;
}

static void ask_something(void)
{
    static const enum cluster_kind kinds[] = {CLUSTER_READ, CLUSTER_READ, CLUSTER_WRITE,
        CLUSTER_WRITE, CLUSTER_WRITE, CLUSTER_WEAK_READ, CLUSTER_PERSIST, CLUSTER_DELETE};
    static uint32_t number;
    struct subject *subject = &subjects[below(IDS)];
    if (subject->asked && subject->asked->answers == 0)
        return;
    if (subject->asked)
        learn(subject);
    if (subject->count > CANDIDATES - 2)
        return;
    snprintf(subject->text, TEXT, "v%u", ++number);
    enum cluster_kind kind = kinds[below(8)];
    enum store_ack ack = (enum store_ack)below(4);
    subject->asked = (below(2) ? world_ask : world_ask_fast)(
        &world, any_up(), kind, subject->id, subject->text, ack);
}

/* Some messages, some operations. */
static void go_on(void)
{
    static const char *const kinds[] = {"backup", "backup_ack", "grant", "forward", "reply"};
    for (uint32_t i = 0; i < world.count; i++) {
        struct member *member = &world.members[i];
        member->dumps_stop = below(3) == 0;
        member->loads_stop = below(4) == 0;
        member->journal_stops = below(4) == 0;
        member->loads_fail = below(20) == 0;
    }
    /* Compaction of the journal: all records up to some number are written again. */
    struct member *compacted = &world.members[below(world.count)];
    uint64_t through = compacted->appended - below((uint32_t)(compacted->appended / 2 + 1));
    if (compacted->up && below(4) == 0) {
        while (store_rewrite(compacted->store, 1, through, 3))
            ;
        while (holdings_rewrite(compacted->holdings, 1, through, 3))
            ;
    }
    const char *stopped = below(3) == 0 ? kinds[below(5)] : NULL;
    bool lost = stopped && below(2) && strncmp(stopped, "backup", 6) == 0;
    if (stopped)
        world_stop(&world, stopped, lost);
    world_pass(&world, 50 * (1 + below(4)));
    if (stopped)
        world_go_on(&world, stopped);
}

/* All that is acknowledged by holders is, before the next loss: so that there is one at a time. */
static void calm(void)
{
    for (uint32_t i = 0; i < world.count; i++) {
        struct member *member = &world.members[i];
        member->dumps_stop = member->loads_stop = member->journal_stops = member->loads_fail =
            false;
    }
    world_pass(&world, 1500);
}

static void disturb(void)
{
    int member = (int)below(world.count);
    switch (below(4)) {
    case 0: /* crash, and the others go on without it */
        if (count_up() < 2 || !world.members[member].up)
            break;
        calm();
        something_is_lost();
        member_crash(&world, member);
        world_view(&world);
        calm();
        break;
    case 1: /* somebody comes back, with what its journal had */
        if (world.members[member].up)
            break;
        ck_assert(member_create(&world, member));
        member_restore(&world, member);
        world_view(&world);
        calm();
        break;
    case 2: /* the lease is lost for a moment */
        if (!world.members[member].up)
            break;
        calm();
        something_is_lost();
        member_lose(&world, member);
        world_view(&world);
        calm();
        break;
    default:
        if (!world.members[member].up)
            break;
        /* What is under way goes down with its link, or has arrived. Here it would arrive later
         * than that: a write of unknown outcome after one that was acknowledged since, elsewhere.
         */
        world_settle(&world);
        for (uint32_t i = 0; i < world.count; i++) {
            if (world.members[i].up && (int)i != member)
                cluster_peer_down(world.members[i].cluster,
                    slice_of_string(world.members[member].name), world.now_ms);
        }
    }
}

static void finish(void)
{
    calm();
    world_pass(&world, 6000);
    for (int i = 0; i < IDS; i++) {
        if (subjects[i].asked)
            learn(&subjects[i]);
        const char *text = world_read(&world, any_up(), subjects[i].id);
        check(&subjects[i], text);
    }
    world_pass(&world, 30000);
    for (int i = 0; i < IDS; i++) {
        const struct kept *kept = world_kept(&world, subjects[i].id);
        check(&subjects[i], kept && !kept->deleted ? kept->text : "");
    }
    for (uint32_t m = 0; m < world.count; m++) {
        if (!world.members[m].up)
            continue;
        const struct cluster_metrics *metrics =
            cluster_metrics(world.members[m].cluster, world.now_ms);
        ck_assert_uint_eq(metrics->owned, 0);
        ck_assert_uint_eq(metrics->copies, 0);
        ck_assert_uint_eq(metrics->waiting, 0);
        ck_assert_uint_eq(member_live_records(&world, (int)m, NULL), 0);
        ck_assert_uint_eq(member_metric(&world, (int)m, "records_kept"), 0);
        ck_assert_uint_eq(member_metric(&world, (int)m, "unbacked"), 0);
        ck_assert_uint_eq(member_metric(&world, (int)m, "executing"), 0);
        ck_assert_uint_eq(world.members[m].late_set_aside, 0);
    }
}

START_TEST(everything_ends_well)
{
    state = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(_i + 1);
    world_init(&world, 2 + below(3), 1 + below(2));
    world.handoff_uses = below(2) * 3;
    ck_assert(world_start(&world));
    for (int i = 0; i < IDS; i++) {
        subjects[i] = (struct subject){.count = 0};
        snprintf(subjects[i].id, TEXT, "id%d", i);
        may_be(&subjects[i], "");
    }
    for (int step = 0; step < STEPS; step++) {
        ask_something();
        if (below(4) == 0)
            go_on();
        if (below(30) == 0)
            disturb();
    }
    finish();
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("holdings/random");
    TCase *tcase = tcase_create("random");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, everything_ends_well, 0, 30);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
