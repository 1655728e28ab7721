/* Journal records kept for copies, and compaction: what was given up holds no old segment. */
#include <check.h>
#include <stdio.h>

#include "members.h"
#include "suite.h"

static struct world world;

/* Of the journal's old part: those that a rewrite must leave dead. */
static uint32_t live_through(int member, uint64_t seq)
{
    uint32_t count = 0;
    for (const struct journaled *record = world.members[member].journal; record;
         record = record->next)
        count += record->live && !record->dead && record->seq <= seq;
    return count;
}

/* As the server does it; returns in how many pieces. */
static int rewrite(int member, uint64_t through, uint32_t budget)
{
    struct member *with = &world.members[member];
    int pieces = 1;
    while (store_rewrite(with->store, 1, through, budget))
        pieces++;
    while (holdings_rewrite(with->holdings, 1, through, budget)) {
        ck_assert_int_lt(pieces, 10000);
        pieces++;
    }
    return pieces;
}

/* Member 0 wrote it, member 1 has it; the warehouse is away. */
static void move(const char *id, const char *text)
{
    world_write(&world, 0, id, text);
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(world_read(&world, 1, id), text);
    ck_assert(member_owns(&world, 1, id));
    ck_assert_uint_eq(member_live_records(&world, 0, id), 1);
}

static void start(void)
{
    world_init(&world, 3, 1); /* x is held by the third: 0 keeps what it had */
    world.handoff_uses = 3;
    ck_assert(world_start(&world));
    for (int i = 0; i < 3; i++)
        world.members[i].dumps_stop = true;
}

START_TEST(what_was_handed_over_is_written_again)
{
    start();
    move("x", "one");
    world_write(&world, 0, "own", "mine");
    uint64_t last = world.members[0].appended;
    uint32_t kept = (uint32_t)member_metric(&world, 0, "records_kept");
    ck_assert_uint_eq(live_through(0, last), 1 + kept);
    rewrite(0, last, 1);
    ck_assert_uint_eq(live_through(0, last), 0);
    ck_assert_uint_eq(member_live_records(&world, 0, "own"), 1);
    ck_assert_uint_eq(member_live_records(&world, 0, "x"), kept);
    ck_assert_uint_eq(member_metric(&world, 0, "records_rewritten"), kept);
    world_end(&world);
}
END_TEST

/* R1: given up with the lease, in a cluster where nobody else has it. */
static void give_up_many(uint32_t count)
{
    world_init(&world, 1, 1);
    ck_assert(world_start(&world));
    world.members[0].dumps_stop = world.members[0].loads_stop = true;
    for (uint32_t i = 0; i < count; i++) {
        char id[TEXT], text[TEXT];
        snprintf(id, sizeof(id), "id%u", i);
        snprintf(text, sizeof(text), "value %u", i);
        struct ask *asked = world_ask(&world, 0, i % 7 == 3 ? CLUSTER_DELETE : CLUSTER_WRITE, id,
            i % 7 == 3 ? NULL : text, STORE_ACK_JOURNAL);
        world_settle(&world);
        ck_assert(is_answered(asked, STORE_DONE, NULL));
    }
    member_lose(&world, 0);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), count);
}

static void check_many(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char id[TEXT], text[TEXT];
        snprintf(id, sizeof(id), "id%u", i);
        snprintf(text, sizeof(text), "value %u", i);
        ck_assert_str_eq(world_read(&world, 0, id), i % 7 == 3 ? "" : text);
    }
}

START_TEST(what_was_given_up_is_written_again_and_comes_back)
{
    enum { COUNT = 600 };
    give_up_many(COUNT);
    for (int round = 0; round < 3; round++) {
        uint64_t last = world.members[0].appended;
        ck_assert_int_gt(rewrite(0, last, 10), COUNT / 10 / 2);
        ck_assert_uint_eq(live_through(0, last), 0);
        ck_assert_uint_eq(member_live_records(&world, 0, NULL), COUNT);
    }
    member_crash(&world, 0);
    ck_assert(member_create(&world, 0));
    member_restore(&world, 0);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), COUNT);
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), COUNT);
    world_view(&world);
    world_settle(&world);
    world.members[0].dumps_stop = world.members[0].loads_stop = false;
    world_pass(&world, 1000);
    check_many(COUNT);
    world_pass(&world, 30000);
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), 0);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), 0);
    world_end(&world);
}
END_TEST

START_TEST(a_journal_that_fails_loses_no_record)
{
    enum { COUNT = 20 };
    give_up_many(COUNT);
    uint64_t last = world.members[0].appended;
    world.members[0].journal_fails = true;
    rewrite(0, last, 5);
    ck_assert_uint_eq(live_through(0, last), COUNT);
    world.members[0].journal_fails = false;
    rewrite(0, last, 5);
    ck_assert_uint_eq(live_through(0, last), 0);
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), COUNT);
    world_end(&world);
}
END_TEST

/* The range is that of one segment: what is in others stays where it is. */
START_TEST(only_the_oldest_segment_is_written_again)
{
    enum { COUNT = 20 };
    give_up_many(COUNT);
    uint64_t last = world.members[0].appended;
    rewrite(0, last / 2, 100);
    ck_assert_uint_eq(live_through(0, last / 2), 0);
    ck_assert_uint_eq(live_through(0, last), COUNT - last / 2);
    world_end(&world);
}
END_TEST

/* The same record twice: it counts once. */
START_TEST(a_record_that_is_found_twice_is_live_once)
{
    struct version version = {3, 1, 1};
    world_init(&world, 1, 1);
    member_journal(&world, 0, "x", version, "one");
    ck_assert(member_create(&world, 0));
    member_restore(&world, 0);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), 1);
    uint8_t term[] = {109, 0, 0, 0, 3, 'o', 'n', 'e'};
    struct value value = {NULL, term, sizeof(term)};
    ck_assert_int_eq(holdings_restore(world.members[0].holdings, 1, slice_of_string("x"), version,
                         &value, 0, world.now_ms),
        0);
    /* The journal was told that it is live for each of the two, and that one is dead. */
    ck_assert_uint_eq(member_live_records(&world, 0, "x"), 0);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), 1);
    world.members[0].journal->dead = false;
    world_view(&world);
    world_settle(&world);
    ck_assert_str_eq(world_read(&world, 0, "x"), "one");
    world_end(&world);
}
END_TEST

/* R10: that a copy is written again does not mean that its owner wants it. */
START_TEST(a_copy_that_is_written_again_keeps_its_age)
{
    enum { COUNT = 3, AWAY_MS = 5000 };
    give_up_many(COUNT);
    const uint64_t last = world.members[0].appended;
    world_pass(&world, AWAY_MS);
    ck_assert(!holdings_may_rewrite(world.members[0].holdings, world.now_ms)); /* no lease */
    rewrite(0, last, 10);
    uint32_t again = 0;
    for (const struct journaled *record = world.members[0].journal; record; record = record->next) {
        if (record->seq <= last)
            continue;
        ck_assert_uint_ge(record->age_ms, AWAY_MS);
        again++;
    }
    ck_assert_uint_eq(again, COUNT);
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("holdings/records");
    TCase *tcase = tcase_create("records");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, what_was_handed_over_is_written_again);
    tcase_add_test(tcase, what_was_given_up_is_written_again_and_comes_back);
    tcase_add_test(tcase, a_journal_that_fails_loses_no_record);
    tcase_add_test(tcase, only_the_oldest_segment_is_written_again);
    tcase_add_test(tcase, a_record_that_is_found_twice_is_live_once);
    tcase_add_test(tcase, a_copy_that_is_written_again_keeps_its_age);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
