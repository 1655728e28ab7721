/* R1, R7, R8, R13: ids that come and go, and what becomes of their records. */
#include <check.h>
#include <stdio.h>

#include "members.h"
#include "suite.h"

static struct world world;

static void start(uint32_t count, uint32_t backups)
{
    world_init(&world, count, backups);
    ck_assert(world_start(&world));
}

static struct ask *ask(int member, enum cluster_kind kind, const char *text, enum store_ack ack)
{
    struct ask *asked = world_ask(&world, member, kind, "x", text, ack);
    world_settle(&world);
    return asked;
}

static uint64_t owned(int member)
{
    return cluster_metrics(world.members[member].cluster, world.now_ms)->owned;
}

static void persist(int member, const char *id)
{
    const struct ask *asked =
        world_ask(&world, member, CLUSTER_PERSIST, id, NULL, STORE_ACK_MEMORY);
    world_settle(&world);
    ck_assert(is_answered(asked, STORE_DONE, NULL));
}

/* ---- released ---------------------------------------------------------------------------------
 */

START_TEST(what_leaves_ram_is_owned_no_more)
{
    start(2, 1);
    world_keep(&world, "x", "old");
    persist(0, "x"); /* it is not even here */
    ck_assert_uint_eq(owned(0) + owned(1), 0);
    ck_assert_str_eq(world_read(&world, 0, "x"), "old");
    ck_assert(member_owns(&world, 0, "x"));
    persist(1, "x"); /* clean, and elsewhere */
    ck_assert_uint_eq(owned(0) + owned(1), 0);
    ck_assert_str_eq(world_read(&world, 1, "x"), "old");
    ck_assert(member_owns(&world, 1, "x"));
    persist(1, "x");
    ck_assert_str_eq(world_read(&world, 0, "none"), ""); /* absent */
    ck_assert_uint_eq(owned(0) + owned(1), 0);
    /* A delete of what is not here needs no load; the tombstone goes once it is stored. */
    world.members[0].loads_stop = true;
    ck_assert(is_answered(ask(0, CLUSTER_DELETE, NULL, STORE_ACK_BACKUP), STORE_DONE, NULL));
    ck_assert(member_owns(&world, 0, "x") && member_has_copy(&world, 1, "x"));
    persist(0, "x");
    ck_assert(world_kept(&world, "x")->deleted);
    ck_assert_uint_eq(owned(0) + owned(1), 0);
    ck_assert(!member_has_copy(&world, 1, "x"));
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), 0);
    world_end(&world);
}
END_TEST

START_TEST(what_idles_is_owned_no_more)
{
    start(2, 1);
    world_write(&world, 0, "x", "one");
    world_pass(&world, 25000); /* dumped, then dropped */
    ck_assert_str_eq(world_kept(&world, "x")->text, "one");
    ck_assert_uint_eq(owned(0) + owned(1), 0);
    ck_assert(!member_has_copy(&world, 1, "x"));
    ck_assert_str_eq(world_read(&world, 1, "x"), "one");
    world_end(&world);
}
END_TEST

/* A persist makes an object leave while other requests of it stand behind: none of them waits for
 * more than it must. */
START_TEST(a_release_does_not_leave_requests_behind)
{
    start(2, 1);
    for (int i = 0; i < 8; i++) { /* of homes here and there */
        char id[2] = {(char)('a' + i), 0};
        world_keep(&world, id, "old");
        world_stop(&world, "claim", false);
        world_stop(&world, "grant", false);
        struct ask *asked[4];
        enum cluster_kind kinds[] = {CLUSTER_PERSIST, CLUSTER_READ, CLUSTER_PERSIST, CLUSTER_READ};
        for (int k = 0; k < 4; k++)
            asked[k] = world_ask(&world, 0, kinds[k], id, NULL, STORE_ACK_MEMORY);
        world_go_on(&world, "claim");
        world_go_on(&world, "grant");
        world_settle(&world);
        for (int k = 0; k < 4; k++)
            ck_assert_int_eq(asked[k]->answers, 1);
        ck_assert(is_answered(asked[3], STORE_FOUND, "old"));
    }
    /* The same where the object is resident, and the lease was over for a while. */
    ck_assert_str_eq(world_read(&world, 0, "a"), "old");
    world.now_ms += 5000;
    struct ask *first = world_ask(&world, 0, CLUSTER_PERSIST, "a", NULL, STORE_ACK_MEMORY);
    struct ask *second = world_ask(&world, 0, CLUSTER_READ, "a", NULL, STORE_ACK_MEMORY);
    ck_assert_int_eq(first->answers + second->answers, 0);
    world_lease(&world);
    world_settle(&world);
    ck_assert(is_answered(first, STORE_DONE, NULL) && is_answered(second, STORE_FOUND, "old"));
    world_end(&world);
}
END_TEST

/* ---- handed over ------------------------------------------------------------------------------
 */

START_TEST(an_object_moves_when_nothing_waits_for_it)
{
    world_init(&world, 3, 1);
    world.handoff_uses = 3;
    ck_assert(world_start(&world));
    world_write(&world, 0, "x", "one");
    world_stop(&world, "backup_ack", false);
    struct ask *write = ask(0, CLUSTER_WRITE, "two", STORE_ACK_BACKUP);
    for (int i = 0; i < 4; i++)
        ask(1, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    ck_assert_int_eq(write->answers, 0);
    ck_assert(member_owns(&world, 0, "x")); /* R13 */
    world_go_on(&world, "backup_ack");
    world_settle(&world);
    ck_assert(is_answered(write, STORE_DONE, NULL));
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(world_read(&world, 1, "x"), "two");
    ck_assert(member_owns(&world, 1, "x") && !member_owns(&world, 0, "x"));
    ck_assert(!member_has_resident(&world, 0, "x"));
    /* Its record lives as long as the copy does. */
    ck_assert(member_has_copy(&world, 0, "x"));
    ck_assert_uint_eq(member_live_records(&world, 0, "x"), 1);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), 1);
    ck_assert_uint_eq(member_live_records(&world, 1, "x"), 1);
    persist(1, "x");
    world_pass(&world, 2000);
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), 0);
    ck_assert_uint_eq(member_live_records(&world, 1, NULL), 0);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), 0);
    ck_assert(!member_has_copy(&world, 0, "x"));
    world_end(&world);
}
END_TEST

/* It comes back, and is written: the new record makes the old one unneeded. */
START_TEST(a_record_is_dead_when_its_object_is_written_again)
{
    world_init(&world, 3, 1);
    world.handoff_uses = 3;
    ck_assert(world_start(&world));
    world_write(&world, 0, "x", "one");
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(world_read(&world, 1, "x"), "one");
    ck_assert(member_owns(&world, 1, "x"));
    ck_assert_uint_eq(member_live_records(&world, 0, "x"), 1);
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(world_read(&world, 0, "x"), "one");
    ck_assert(member_owns(&world, 0, "x"));
    ck_assert_uint_eq(member_live_records(&world, 0, "x"), 1);
    world_write(&world, 0, "x", "two");
    ck_assert_uint_eq(member_live_records(&world, 0, "x"), 1);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), 0);
    persist(0, "x");
    world_pass(&world, 2000);
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), 0);
    ck_assert_uint_eq(member_live_records(&world, 1, NULL), 0);
    world_end(&world);
}
END_TEST

START_TEST(a_member_drains)
{
    start(3, 1);
    world_keep(&world, "clean", "old");
    ck_assert_str_eq(world_read(&world, 0, "clean"), "old");
    for (int i = 0; i < 8; i++) {
        char id[2] = {(char)('a' + i), 0};
        world_write(&world, 0, id, "dirty");
    }
    world.members[0].dumps_stop = true; /* to holders, then */
    cluster_drain(world.members[0].cluster, world.now_ms);
    world_pass(&world, 5000);
    ck_assert_int_eq(cluster_state(world.members[0].cluster), CLUSTER_DRAINED);
    ck_assert_uint_eq(owned(0), 0);
    for (int i = 0; i < 8; i++) {
        char id[2] = {(char)('a' + i), 0};
        ck_assert_str_eq(world_read(&world, 1, id), "dirty");
    }
    world_end(&world);
}
END_TEST

/* ---- taken over -------------------------------------------------------------------------------
 */

/* R7: a copy that wins is shown to a strong read only when it has its holders again. */
START_TEST(a_copy_that_wins_is_shown_when_it_is_backed_up)
{
    start(3, 1);
    world_keep(&world, "x", "old");
    world_write(&world, 0, "x", "one");
    member_crash(&world, 0);
    world_stop(&world, "backup_ack", false);
    world_view(&world);
    world_settle(&world);
    struct ask *read = ask(1, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    world_pass(&world, 500);
    ck_assert_int_eq(read->answers, 0);
    world_go_on(&world, "backup_ack");
    world_settle(&world);
    ck_assert(is_answered(read, STORE_FOUND, "one"));
    ck_assert_str_eq(world_read(&world, 2, "x"), "one");
    world_end(&world);
}
END_TEST

/* A read that waits for the load sees the copy, although a write came meanwhile: the warehouse has
 * only what was before it. */
START_TEST(a_read_before_a_write_sees_the_copy)
{
    start(3, 1);
    world_keep(&world, "x", "old");
    world_write(&world, 0, "x", "one");
    member_crash(&world, 0);
    world.members[1].loads_stop = world.members[2].loads_stop = true;
    world_view(&world);
    world_pass(&world, 1000); /* who holds the copy claims it */
    struct ask *before = ask(1, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    struct ask *write = ask(1, CLUSTER_WRITE, "two", STORE_ACK_MEMORY);
    struct ask *after = ask(1, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    ck_assert_int_eq(before->answers, 0);
    world.members[1].loads_stop = world.members[2].loads_stop = false;
    world_settle(&world);
    ck_assert(is_answered(write, STORE_DONE, NULL));
    ck_assert(is_answered(before, STORE_FOUND, "one"));
    ck_assert(is_answered(after, STORE_FOUND, "two"));
    ck_assert_str_eq(world_read(&world, 2, "x"), "two");
    world_end(&world);
}
END_TEST

START_TEST(a_copy_that_loses_is_not_shown)
{
    start(3, 1);
    world_write(&world, 0, "x", "one");
    world_stop(&world, "discard", true);
    persist(0, "x");
    world_go_on(&world, "discard");
    ck_assert(member_has_copy(&world, 1, "x") || member_has_copy(&world, 2, "x"));
    member_crash(&world, 0);
    world_view(&world);
    world_settle(&world);
    struct ask *read = ask(1, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    ck_assert(is_answered(read, STORE_FOUND, "one"));
    world_pass(&world, 2000);
    ck_assert(!member_has_copy(&world, 1, "x") && !member_has_copy(&world, 2, "x"));
    ck_assert_uint_eq(member_metric(&world, 1, "unbacked"), 0);
    ck_assert_uint_eq(member_metric(&world, 2, "unbacked"), 0);
    world_end(&world);
}
END_TEST

/* R4: the warehouse holds what is above any grant: a higher one is asked for, and what was written
 * in the meantime is stamped anew. */
START_TEST(an_epoch_is_raised)
{
    start(2, 1);
    world_keep(&world, "x", "old");
    world.warehouse->version = (struct version){1000000, 1, 1};
    struct ask *write = ask(0, CLUSTER_WRITE, "one", STORE_ACK_BACKUP); /* has not looked */
    ck_assert(is_answered(write, STORE_DONE, NULL));
    persist(0, "x");
    ck_assert_str_eq(world_kept(&world, "x")->text, "one");
    world.warehouse->version.view = 2000000;
    ck_assert_str_eq(world_read(&world, 1, "x"), "one"); /* has looked */
    write = ask(1, CLUSTER_WRITE, "two", STORE_ACK_BACKUP);
    ck_assert(is_answered(write, STORE_DONE, NULL));
    persist(1, "x");
    ck_assert_str_eq(world_kept(&world, "x")->text, "two");
    ck_assert_uint_gt(world_kept(&world, "x")->version.view, 1999999);
    ck_assert_uint_eq(owned(0) + owned(1), 0);
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), 0);
    ck_assert_uint_eq(member_live_records(&world, 1, NULL), 0);
    ck_assert_uint_eq(world.members[0].late_set_aside + world.members[1].late_set_aside, 0);
    world_end(&world);
}
END_TEST

/* ---- abandoned --------------------------------------------------------------------------------
 */

START_TEST(a_lost_lease_ends_everything)
{
    start(2, 1);
    world_keep(&world, "loads", "old");
    world_write(&world, 0, "x", "zero");
    world_write(&world, 0, "dumps", "one");
    world_write(&world, 0, "journaled", "one");
    world_stop(&world, "backup", true);
    struct member *member = &world.members[0];
    member->loads_stop = member->dumps_stop = member->journal_stops = true;
    struct ask *backup = ask(0, CLUSTER_WRITE, "one", STORE_ACK_BACKUP);
    struct ask *read = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    struct ask *foreign = ask(1, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    struct ask *loads = world_ask(&world, 0, CLUSTER_READ, "loads", NULL, STORE_ACK_MEMORY);
    struct ask *dumps = world_ask(&world, 0, CLUSTER_PERSIST, "dumps", NULL, STORE_ACK_MEMORY);
    struct ask *journal =
        world_ask(&world, 0, CLUSTER_WRITE, "journaled", "two", STORE_ACK_JOURNAL);
    struct ask *stored = world_ask(&world, 0, CLUSTER_WRITE, "stored", "one", STORE_ACK_WAREHOUSE);
    world_settle(&world);
    ck_assert_uint_ge(member_metric(&world, 0, "executing"), 6);
    member_lose(&world, 0);
    ck_assert_uint_eq(member_metric(&world, 0, "executing"), 0);
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 0);
    ck_assert(is_answered(backup, BRAIN_EUNKNOWN, NULL));
    ck_assert(is_answered(journal, BRAIN_EUNKNOWN, NULL));
    ck_assert(is_answered(stored, BRAIN_EUNKNOWN, NULL));
    ck_assert_int_eq(read->answers + loads->answers + dumps->answers, 0); /* done again */
    ck_assert_uint_eq(member_live_records(&world, 0, "x"), 1);
    ck_assert_uint_eq(member_live_records(&world, 0, "journaled"), 1);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), 4);
    world_go_on(&world, "backup");
    member->loads_stop = member->dumps_stop = member->journal_stops = false;
    world_view(&world);
    world_settle(&world);
    world_pass(&world, 2000);
    ck_assert(is_answered(read, STORE_FOUND, "one")); /* the journal's and its own copy */
    ck_assert(is_answered(foreign, STORE_FOUND, "one"));
    ck_assert(is_answered(loads, STORE_FOUND, "old"));
    ck_assert(is_answered(dumps, STORE_DONE, NULL));
    ck_assert_str_eq(world_read(&world, 1, "journaled"), "two");
    world_pass(&world, 30000); /* all of it idles, is dumped, and leaves */
    ck_assert_str_eq(world_kept(&world, "x")->text, "one");
    ck_assert_str_eq(world_kept(&world, "journaled")->text, "two");
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), 0);
    ck_assert_uint_eq(member_live_records(&world, 1, NULL), 0);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), 0);
    world_end(&world);
}
END_TEST

/* ---- restored ---------------------------------------------------------------------------------
 */

START_TEST(records_come_back_as_copies)
{
    start(1, 1);
    world_keep(&world, "x", "old");
    ck_assert(is_answered(ask(0, CLUSTER_WRITE, "one", STORE_ACK_JOURNAL), STORE_DONE, NULL));
    struct ask *deleted = world_ask(&world, 0, CLUSTER_DELETE, "y", NULL, STORE_ACK_JOURNAL);
    world_settle(&world);
    ck_assert(is_answered(deleted, STORE_DONE, NULL));
    member_crash(&world, 0);
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), 2);
    ck_assert(member_create(&world, 0));
    member_restore(&world, 0);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), 2);
    ck_assert(member_has_copy(&world, 0, "x") && member_has_copy(&world, 0, "y"));
    world_view(&world);
    world_settle(&world);
    ck_assert_str_eq(world_read(&world, 0, "x"), "one");
    ck_assert_str_eq(world_read(&world, 0, "y"), "");
    persist(0, "x");
    world_pass(&world, 30000);
    ck_assert_str_eq(world_kept(&world, "x")->text, "one");
    ck_assert(world_kept(&world, "y")->deleted);
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), 0);
    ck_assert_uint_eq(member_metric(&world, 0, "records_kept"), 0);
    ck_assert_uint_eq(owned(0), 0);
    world_end(&world);
}
END_TEST

START_TEST(of_two_records_the_later_version_is_restored)
{
    world_init(&world, 1, 1);
    member_journal(&world, 0, "x", (struct version){3, 1, 1}, "one");
    member_journal(&world, 0, "x", (struct version){3, 1, 2}, "two");
    member_journal(&world, 0, "x", (struct version){2, 1, 3}, "three"); /* of an older epoch */
    ck_assert(member_create(&world, 0));
    member_restore(&world, 0);
    ck_assert_uint_eq(member_live_records(&world, 0, "x"), 1);
    world_view(&world);
    world_settle(&world);
    ck_assert_str_eq(world_read(&world, 0, "x"), "two");
    world_end(&world);
}
END_TEST

START_TEST(a_record_that_is_too_old_is_set_aside)
{
    struct version version = {3, 1, 1};
    world_init(&world, 1, 1);
    member_journal(&world, 0, "x", version, "old");
    ck_assert(member_create(&world, 0));
    ck_assert_int_eq(holdings_restore(world.members[0].holdings, 1, slice_of_string("x"), version,
                         NULL, 1000000, world.now_ms),
        0);
    ck_assert_uint_eq(world.members[0].set_aside, 1);
    ck_assert_uint_eq(member_live_records(&world, 0, "x"), 0);
    world_view(&world);
    world_settle(&world);
    ck_assert_str_eq(world_read(&world, 0, "x"), "");
    world_end(&world);
}
END_TEST

/* ---- without a lease --------------------------------------------------------------------------
 */

START_TEST(weak_reads_go_on_without_a_lease)
{
    start(2, 1);
    world_keep(&world, "x", "old");
    world_write(&world, 0, "here", "one");
    world.now_ms += 5000;
    struct ask *stored = world_ask(&world, 0, CLUSTER_WEAK_READ, "x", NULL, STORE_ACK_MEMORY);
    struct ask *own = world_ask(&world, 0, CLUSTER_WEAK_READ, "here", NULL, STORE_ACK_MEMORY);
    struct ask *copy = world_ask(&world, 1, CLUSTER_WEAK_READ, "here", NULL, STORE_ACK_MEMORY);
    ck_assert(is_answered(stored, STORE_FOUND, "old"));
    ck_assert(is_answered(own, STORE_FOUND, "one") && is_answered(copy, STORE_FOUND, "one"));
    /* R11: and nothing is dumped. */
    struct ask *persisted = world_ask(&world, 0, CLUSTER_PERSIST, "here", NULL, STORE_ACK_MEMORY);
    store_persist(world.members[0].store, slice_of_string("here"), world.now_ms, NULL);
    ck_assert_ptr_null(world.operations);
    world_lease(&world);
    world_settle(&world);
    ck_assert(is_answered(persisted, STORE_DONE, NULL));
    ck_assert_str_eq(world_kept(&world, "here")->text, "one");
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("holdings/parting");
    TCase *tcase = tcase_create("parting");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, what_leaves_ram_is_owned_no_more);
    tcase_add_test(tcase, what_idles_is_owned_no_more);
    tcase_add_test(tcase, a_release_does_not_leave_requests_behind);
    tcase_add_test(tcase, an_object_moves_when_nothing_waits_for_it);
    tcase_add_test(tcase, a_record_is_dead_when_its_object_is_written_again);
    tcase_add_test(tcase, a_member_drains);
    tcase_add_test(tcase, a_copy_that_wins_is_shown_when_it_is_backed_up);
    tcase_add_test(tcase, a_read_before_a_write_sees_the_copy);
    tcase_add_test(tcase, a_copy_that_loses_is_not_shown);
    tcase_add_test(tcase, an_epoch_is_raised);
    tcase_add_test(tcase, a_lost_lease_ends_everything);
    tcase_add_test(tcase, records_come_back_as_copies);
    tcase_add_test(tcase, of_two_records_the_later_version_is_restored);
    tcase_add_test(tcase, a_record_that_is_too_old_is_set_aside);
    tcase_add_test(tcase, weak_reads_go_on_without_a_lease);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
