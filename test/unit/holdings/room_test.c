/* Decision 0019: a member without RAM for copies, and those whose objects it should hold. */
#include <check.h>

#include "members.h"
#include "suite.h"

static struct world world;

static void start(uint32_t count)
{
    world_init(&world, count, 1);
    world.journals = false; /* it is not waited for before a dump */
    ck_assert(world_start(&world));
}

static struct ask *write_to(int member, const char *id, const char *text, enum store_ack ack)
{
    struct ask *asked =
        world_ask(&world, member, text ? CLUSTER_WRITE : CLUSTER_DELETE, id, text, ack);
    world_settle(&world);
    return asked;
}

static void set_full(int member, bool full)
{
    world.members[member].has_no_room = full;
    cluster_set_full(world.members[member].cluster, full);
    world_settle(&world);
}

START_TEST(writes_that_a_full_holder_would_hold_are_refused)
{
    static const enum store_ack classes[] = {STORE_ACK_MEMORY,
        (enum store_ack)HOLDINGS_ACK_JOURNAL_IF_ANY, STORE_ACK_WAREHOUSE, STORE_ACK_BACKUP};
    start(2);
    world_keep(&world, "stored", "old");
    world_write(&world, 0, "x", "one");
    world.members[0].dumps_stop = true;
    set_full(1, true);
    ck_assert_uint_eq(cluster_full_members(world.members[0].cluster, world.now_ms), 1);
    for (int i = 0; i < 4; i++) {
        ck_assert(is_answered(write_to(0, "x", "two", classes[i]), BRAIN_EOVERLOAD, NULL));
        ck_assert(is_answered(write_to(0, "new", "two", classes[i]), BRAIN_EOVERLOAD, NULL));
        /* Also of the full member's own clients: the owner is asked. */
        ck_assert(is_answered(write_to(1, "x", "two", classes[i]), BRAIN_EOVERLOAD, NULL));
    }
    const struct ask *fast = world_ask_fast(&world, 0, CLUSTER_WRITE, "x", "two", STORE_ACK_MEMORY);
    world_settle(&world);
    ck_assert(is_answered(fast, BRAIN_EOVERLOAD, NULL));
    ck_assert_uint_ge(member_metric(&world, 0, "refused_full"), 13);
    /* They had no effect, and what was there is where it was. */
    ck_assert_str_eq(world_read(&world, 0, "x"), "one");
    ck_assert_str_eq(world_read(&world, 0, "new"), "");
    ck_assert_str_eq(world_read(&world, 0, "stored"), "old");
    ck_assert(member_has_copy(&world, 1, "x"));
    /* A delete takes nothing. */
    ck_assert(is_answered(write_to(0, "x", NULL, STORE_ACK_BACKUP), STORE_DONE, NULL));
    set_full(1, false);
    ck_assert(is_answered(write_to(0, "x", "three", STORE_ACK_BACKUP), STORE_DONE, NULL));
    ck_assert_str_eq(world_read(&world, 1, "x"), "three");
    world_end(&world);
}
END_TEST

/* Of three members one is full: what the others hold for each other goes on. */
START_TEST(writes_that_it_would_not_hold_go_on)
{
    uint32_t refused = 0, done = 0;
    start(3);
    set_full(2, true);
    for (int i = 0; i < 26; i++) {
        const char id[2] = {(char)('a' + i), 0};
        const struct ask *asked = write_to(i % 2, id, "one", STORE_ACK_BACKUP);
        bool good = is_answered(asked, STORE_DONE, NULL);
        ck_assert(good || is_answered(asked, BRAIN_EOVERLOAD, NULL));
        ck_assert(!member_has_copy(&world, 2, id));
        done += good;
        refused += !good;
    }
    ck_assert_uint_gt(refused, 4);
    ck_assert_uint_gt(done, 4);
    world_end(&world);
}
END_TEST

/* What was on its way when the holder had no room any more: not acknowledged by it, and not lost.
 */
START_TEST(what_was_written_already_is_dumped_at_once)
{
    start(2);
    world.members[1].has_no_room = true;
    world.members[0].dumps_stop = true;
    struct ask *write = write_to(0, "x", "one", STORE_ACK_BACKUP);
    struct ask *read = world_ask(&world, 0, CLUSTER_READ, "x", NULL, STORE_ACK_MEMORY);
    world_pass(&world, 1000);
    ck_assert_int_eq(write->answers + read->answers, 0);
    ck_assert(!member_has_copy(&world, 1, "x"));
    ck_assert_uint_gt(cluster_metrics(world.members[1].cluster, world.now_ms)->copies_refused, 0);
    world.members[0].dumps_stop = false;
    world_pass(&world, 1000);
    ck_assert_int_eq(write->answers, 0); /* nothing says that there is need to hurry */
    set_full(1, true);
    world_pass(&world, 100);
    ck_assert(is_answered(write, STORE_DONE, NULL)); /* the warehouse has it */
    ck_assert(is_answered(read, STORE_FOUND, "one"));
    ck_assert_str_eq(world_kept(&world, "x")->text, "one");
    ck_assert(member_has_resident(&world, 0, "x"));
    world_end(&world);
}
END_TEST

START_TEST(what_was_written_already_is_backed_up_when_there_is_room)
{
    start(2);
    world.members[0].dumps_stop = true;
    set_full(1, true);
    world_stop(&world, "room", true);
    world_pass(&world, 10000); /* it is not heard of any more: believed no longer */
    ck_assert_uint_eq(cluster_full_members(world.members[0].cluster, world.now_ms), 0);
    struct ask *write = write_to(0, "x", "one", STORE_ACK_BACKUP);
    world_pass(&world, 1000);
    ck_assert_int_eq(write->answers, 0);
    set_full(1, false);
    world_pass(&world, 500);
    ck_assert(is_answered(write, STORE_DONE, NULL));
    ck_assert(member_has_copy(&world, 1, "x"));
    world_end(&world);
}
END_TEST

/* It is said to a member that comes later, too, and again as long as it lasts. */
START_TEST(a_new_view_changes_nothing)
{
    world_init(&world, 3, 1);
    ck_assert(member_create(&world, 0) && member_create(&world, 1));
    world_view(&world);
    world_settle(&world);
    set_full(1, true);
    world_pass(&world, 10000);
    ck_assert_uint_eq(cluster_full_members(world.members[0].cluster, world.now_ms), 1);
    ck_assert(member_create(&world, 2));
    world_view(&world);
    world_settle(&world);
    ck_assert_uint_eq(cluster_full_members(world.members[0].cluster, world.now_ms), 1);
    ck_assert_uint_eq(cluster_full_members(world.members[2].cluster, world.now_ms), 1);
    member_crash(&world, 1);
    world_view(&world);
    world_settle(&world);
    ck_assert_uint_eq(cluster_full_members(world.members[0].cluster, world.now_ms), 0);
    world_write(&world, 0, "x", "one");
    world_end(&world);
}
END_TEST

/* Never dropped for want of room: what was acknowledged is there when its owner is not. */
START_TEST(an_acknowledged_copy_stays)
{
    start(3);
    for (int i = 0; i < 3; i++)
        world.members[i].dumps_stop = true;
    world_write(&world, 0, "x", "one");
    world_write(&world, 0, "y", "one");
    set_full(1, true);
    set_full(2, true);
    world_pass(&world, 5000);
    member_crash(&world, 0);
    world_view(&world);
    world_pass(&world, 1000);
    for (int i = 1; i < 3; i++)
        world.members[i].dumps_stop = false;
    world_pass(&world, 2000);
    ck_assert_str_eq(world_read(&world, 1, "x"), "one");
    ck_assert_str_eq(world_read(&world, 2, "y"), "one");
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("holdings/room");
    TCase *tcase = tcase_create("room");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, writes_that_a_full_holder_would_hold_are_refused);
    tcase_add_test(tcase, writes_that_it_would_not_hold_go_on);
    tcase_add_test(tcase, what_was_written_already_is_dumped_at_once);
    tcase_add_test(tcase, what_was_written_already_is_backed_up_when_there_is_room);
    tcase_add_test(tcase, a_new_view_changes_nothing);
    tcase_add_test(tcase, an_acknowledged_copy_stays);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
