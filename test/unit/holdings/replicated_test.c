/* Objects of which all members hold replicas: what whoever holds them is told, and who waits. */
#include <check.h>
#include <stdio.h>

#include "members.h"
#include "suite.h"

static struct world world;

/* What the one who holds the replicas was told, and how many members it says to have told. */
static struct teller {
    struct version written, held;
    uint32_t writes, helds, reserved;
    bool at_once, is_known;
    uint32_t doubts;
    char text[TEXT];
    int others;
} teller;

static bool on_covers(void *context, struct slice id)
{
    (void)context;
    return id.size > 0 && id.data[0] == 'r';
}

static int on_reserve(void *context, struct slice id)
{
    struct teller *told = context;
    (void)id;
    told->reserved++;
    return 0;
}

static int on_written(void *context, struct slice id, struct version version,
    const struct value *value, enum replica_hold hold, uint64_t now_ms)
{
    struct teller *told = context;
    (void)id, (void)now_ms;
    told->writes++;
    told->written = version;
    told->at_once = hold == REPLICA_IS_HELD;
    snprintf(told->text, sizeof(told->text), "%.*s", value != NULL ? (int)value->size - 5 : 0,
        value != NULL ? (const char *)value->data + 5 : "");
    return told->others;
}

static bool on_held(void *context, struct slice id, struct version version, uint64_t now_ms)
{
    struct teller *told = context;
    (void)id, (void)now_ms;
    told->helds++;
    told->held = version;
    return told->others > 0;
}

static bool on_knows(void *context, struct slice id, struct version version)
{
    const struct teller *told = context;
    (void)id;
    return told->is_known || version_compare(version, told->written) == 0;
}

static void on_doubt(void *context, struct slice id, struct version version)
{
    struct teller *told = context;
    (void)id, (void)version;
    told->doubts++;
}

static void start(uint32_t count, bool wait, int others)
{
    const struct holdings_replicas replicas = {
        &teller, wait, on_covers, on_reserve, on_written, on_held, on_knows, on_doubt};
    teller = (struct teller){.others = others};
    world_init(&world, count, count - 1);
    world.journals = true;
    ck_assert(world_start(&world));
    holdings_replicate(world.members[0].holdings, &replicas);
}

static struct ask *write(const char *id, const char *text, enum store_ack ack)
{
    struct ask *asked =
        world_ask(&world, 0, text != NULL ? CLUSTER_WRITE : CLUSTER_DELETE, id, text, ack);
    world_settle(&world);
    return asked;
}

static void all_have_it(void)
{
    holdings_replicated(world.members[0].holdings, slice_of_string("r"), teller.written);
    world_settle(&world);
}

static const enum store_ack classes[] = {
    STORE_ACK_MEMORY, STORE_ACK_JOURNAL, STORE_ACK_WAREHOUSE, STORE_ACK_BACKUP};

START_TEST(a_write_of_any_class_waits_for_all)
{
    start(2, true, 2);
    struct ask *first = write("r", "one", classes[_i]);
    ck_assert_uint_eq(teller.reserved, 1);
    ck_assert_str_eq(teller.text, "one");
    ck_assert(!teller.at_once);
    ck_assert_int_eq(version_compare(teller.held, teller.written), 0);
    ck_assert_int_eq(first->answers, 0);
    struct ask *read = world_ask(&world, 0, CLUSTER_READ, "r", NULL, STORE_ACK_MEMORY);
    world_settle(&world);
    ck_assert_int_eq(read->answers, 0);
    all_have_it();
    ck_assert(is_answered(first, STORE_DONE, NULL));
    ck_assert(is_answered(read, STORE_FOUND, "one"));
    /* The same for a delete. */
    struct ask *second = write("r", NULL, classes[_i]);
    ck_assert_int_eq(second->answers, 0);
    ck_assert_str_eq(teller.text, "");
    all_have_it();
    ck_assert(is_answered(second, STORE_DONE, NULL));
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 0);
    /* Other ids know nothing of it. */
    const uint32_t writes = teller.writes;
    ck_assert(is_answered(write("x", "one", classes[_i]), STORE_DONE, NULL));
    ck_assert_uint_eq(teller.writes, writes);
    world_end(&world);
}
END_TEST

START_TEST(nobody_to_wait_for)
{
    start(2, true, 0);
    ck_assert(is_answered(write("r", "one", classes[_i]), STORE_DONE, NULL));
    ck_assert_uint_eq(teller.writes, 1);
    world_end(&world);
    start(2, false, 2); /* write_wait = owner */
    ck_assert(is_answered(write("r", "one", classes[_i]), STORE_DONE, NULL));
    ck_assert_uint_eq(teller.writes, 1);
    ck_assert_int_eq(version_compare(teller.held, teller.written), 0);
    world_end(&world);
}
END_TEST

START_TEST(told_when_holders_have_it)
{
    start(2, true, 1);
    world_stop(&world, "backup_ack", false);
    struct ask *one = write("r", "one", STORE_ACK_BACKUP);
    ck_assert_uint_eq(teller.writes, 1);
    ck_assert_uint_eq(teller.helds, 0);
    all_have_it(); /* which cannot be: it was not told yet */
    ck_assert_uint_eq(teller.helds, 0);
    world_go_on(&world, "backup_ack");
    world_settle(&world);
    ck_assert_uint_ge(teller.helds, 1);
    all_have_it();
    ck_assert(is_answered(one, STORE_DONE, NULL));
    world_end(&world);
    /* Alone there are no holders: at once. */
    start(1, true, 0);
    ck_assert(is_answered(write("r", "one", STORE_ACK_BACKUP), STORE_DONE, NULL));
    ck_assert(teller.at_once);
    world_end(&world);
}
END_TEST

/* Simulator, seed 3823: told at once, others showed what only the owner had, and it was lost. */
START_TEST(without_holders_what_waits_for_the_warehouse_is_told_when_it_is_there)
{
    const enum store_ack others[] = {STORE_ACK_MEMORY, STORE_ACK_JOURNAL, STORE_ACK_BACKUP};
    start(1, true, 1);
    world.members[0].dumps_stop = true;
    struct ask *one = write("r", "one", STORE_ACK_WAREHOUSE);
    ck_assert_uint_eq(teller.writes, 1);
    ck_assert(!teller.at_once);
    ck_assert_uint_eq(teller.helds, 0);
    world.members[0].dumps_stop = false;
    world_settle(&world);
    ck_assert_int_eq(version_compare(teller.held, teller.written), 0);
    ck_assert_int_eq(one->answers, 0);
    all_have_it();
    ck_assert(is_answered(one, STORE_DONE, NULL));
    world_end(&world);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        start(1, true, 1);
        (void)write("r", "one", others[i]);
        ck_assert(teller.at_once);
        all_have_it();
        world_end(&world);
    }
}
END_TEST

/* Simulator, seed 1081: after another owner's word, reads at an owner that comes back waited for
 * what it had written before, until their deadline. */
START_TEST(what_is_told_no_more_is_not_waited_for)
{
    start(2, true, 1);
    struct ask *one = write("r", "one", STORE_ACK_BACKUP);
    struct ask *read = world_ask(&world, 0, CLUSTER_READ, "r", NULL, STORE_ACK_MEMORY);
    world_settle(&world);
    ck_assert_int_eq(one->answers + read->answers, 0);
    world_pass(&world, world.request_ms + 500);
    ck_assert(is_answered(one, BRAIN_EUNKNOWN, NULL));
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 1);
    struct ask *two = write("r", "two", STORE_ACK_BACKUP);
    holdings_superseded(world.members[0].holdings, slice_of_string("r"));
    world_settle(&world);
    ck_assert_int_eq(two->answers, 0); /* not acknowledged by that */
    ck_assert_str_eq(world_read(&world, 0, "r"), "two");
    world_pass(&world, world.request_ms + 500);
    ck_assert(is_answered(two, BRAIN_EUNKNOWN, NULL));
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 0);
    world_end(&world);
}
END_TEST

START_TEST(nothing_waits_for_ever)
{
    start(2, true, 1);
    struct ask *one = write("r", "one", classes[_i]);
    world_pass(&world, world.request_ms + 500);
    ck_assert(is_answered(one, BRAIN_EUNKNOWN, NULL));
    all_have_it();
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 0);
    ck_assert_uint_eq(member_metric(&world, 0, "executing"), 0);
    world_end(&world);
}
END_TEST

START_TEST(what_is_loaded_is_told)
{
    start(2, true, 1);
    world_keep(&world, "r", "old");
    ck_assert_str_eq(world_read(&world, 0, "r"), "old");
    ck_assert_uint_eq(teller.writes, 1);
    ck_assert(teller.at_once);
    ck_assert_str_eq(teller.text, "old");
    ck_assert_int_eq(version_compare(teller.written, (struct version){1, 1, 1}), 0);
    ck_assert_uint_eq(teller.doubts, 0);
    world_end(&world);
    start(2, true, 1);
    teller.is_known = true;
    world_keep(&world, "r", "old");
    ck_assert_str_eq(world_read(&world, 0, "r"), "old");
    ck_assert_uint_eq(teller.writes, 0);
    world_end(&world);
}
END_TEST

/* What is deleted leaves the store as soon as it has been read, and is owned no more. */
START_TEST(what_was_given_up_before_it_was_told_is_doubted)
{
    start(2, true, 1);
    world_keep(&world, "r", "old");
    world.warehouse->deleted = true;
    struct ask *read = world_ask(&world, 0, CLUSTER_READ, "r", NULL, STORE_ACK_MEMORY);
    world_settle(&world);
    ck_assert(is_answered(read, STORE_ABSENT, NULL));
    ck_assert_uint_eq(teller.writes, 0);
    ck_assert_uint_eq(teller.doubts, 1);
    world_end(&world);
}
END_TEST

int main(void)
{
    const int count = sizeof(classes) / sizeof(classes[0]);
    Suite *suite = suite_create("holdings replicated");
    TCase *tcase = tcase_create("replicated");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, a_write_of_any_class_waits_for_all, 0, count);
    tcase_add_loop_test(tcase, nobody_to_wait_for, 0, count);
    tcase_add_test(tcase, told_when_holders_have_it);
    tcase_add_test(tcase, without_holders_what_waits_for_the_warehouse_is_told_when_it_is_there);
    tcase_add_test(tcase, what_is_told_no_more_is_not_waited_for);
    tcase_add_loop_test(tcase, nothing_waits_for_ever, 0, count);
    tcase_add_test(tcase, what_is_loaded_is_told);
    tcase_add_test(tcase, what_was_given_up_before_it_was_told_is_doubted);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
