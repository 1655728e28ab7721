/* R6, R11: when writes and reads are told, and in which order; deadlines. */
#include <check.h>
#include <stdio.h>
#include <string.h>

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

/* Without holders the journal is waited for, and nothing is remembered. */
START_TEST(alone_a_write_waits_for_the_journal)
{
    start(1, 1);
    struct ask *write = world_ask(&world, 0, CLUSTER_WRITE, "x", "one", STORE_ACK_BACKUP);
    ck_assert_int_eq(write->answers, 0); /* its record is on its way */
    world_settle(&world);
    ck_assert(is_answered(write, STORE_DONE, NULL));
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 0);
    ck_assert_uint_eq(member_metric(&world, 0, "executing"), 0);
    /* And from then on by the fast path, where nobody waits for it. */
    struct member *member = &world.members[0];
    struct slice id = slice_of_string("x");
    uint64_t hash = store_hash(member->store, id);
    struct value seen = value_none(), value = write->request.value;
    uint8_t term[] = {109, 0, 0, 0, 3, 't', 'w', 'o'};
    value = (struct value){NULL, term, sizeof(term)};
    ck_assert_int_eq(
        holdings_write(member->holdings, id, hash, &value, STORE_ACK_BACKUP, false, world.now_ms),
        STORE_DONE);
    ck_assert_int_eq(
        holdings_write(member->holdings, id, hash, &value, STORE_ACK_BACKUP, true, world.now_ms),
        STORE_WAIT);
    ck_assert_str_eq(world_read(&world, 0, "x"), "two"); /* its record is there since */
    ck_assert_int_eq(holdings_get(member->holdings, id, hash, world.now_ms, &seen), STORE_FOUND);
    ck_assert_uint_eq(seen.size, sizeof(term));
    ck_assert_mem_eq(seen.data, term, sizeof(term));
    /* What cannot be told at once is not done. */
    struct slice other = slice_of_string("other");
    ck_assert_int_eq(holdings_write(member->holdings, other, store_hash(member->store, other),
                         &value, STORE_ACK_BACKUP, false, world.now_ms),
        STORE_WAIT);
    ck_assert_int_eq(
        holdings_write(member->holdings, id, hash, &value, STORE_ACK_JOURNAL, true, world.now_ms),
        STORE_WAIT);
    ck_assert_int_eq(
        holdings_write(member->holdings, id, hash, &value, STORE_ACK_WAREHOUSE, true, world.now_ms),
        STORE_WAIT);
    ck_assert_uint_eq(member_live_records(&world, 0, "x"), 1);
    ck_assert_str_eq(world_read(&world, 0, "x"), "two");
    world_end(&world);
}
END_TEST

/* One or two holders: write and read wait for all of them. */
START_TEST(a_write_and_its_reads_wait_for_all_holders)
{
    uint32_t holders = (uint32_t)_i;
    start(holders + 1, holders);
    world_write(&world, 0, "x", "zero");
    world_stop(&world, "backup_ack", false);
    struct ask *write = ask(0, CLUSTER_WRITE, "one", STORE_ACK_BACKUP);
    struct ask *here = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    struct ask *there = ask(1, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    struct ask *weak = ask(0, CLUSTER_WEAK_READ, NULL, STORE_ACK_MEMORY);
    struct ask *fast = world_ask_fast(&world, 0, CLUSTER_READ, "x", NULL, STORE_ACK_MEMORY);
    world_settle(&world);
    ck_assert_int_eq(write->answers + here->answers + there->answers + fast->answers, 0);
    ck_assert(is_answered(weak, STORE_FOUND, "one")); /* anything that is here */
    ck_assert_uint_eq(member_metric(&world, 0, "awaiting_backup"), 4);
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 1);
    world_go_on(&world, "backup_ack");
    world_settle(&world);
    ck_assert(is_answered(write, STORE_DONE, NULL));
    ck_assert(is_answered(here, STORE_FOUND, "one") && is_answered(there, STORE_FOUND, "one"));
    ck_assert(is_answered(fast, STORE_FOUND, "one"));
    ck_assert(write->answered < here->answered && here->answered < there->answered);
    ck_assert_uint_eq(member_metric(&world, 0, "awaiting_backup"), 0);
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 0);
    world_end(&world);
}
END_TEST

/* A read waits for what it saw, not for what is written later; and for the reads before it. */
START_TEST(a_read_waits_for_the_version_it_saw)
{
    start(2, 1);
    world_write(&world, 0, "x", "zero");
    world_stop(&world, "backup", false);
    ask(0, CLUSTER_WRITE, "one", STORE_ACK_BACKUP);
    struct ask *first = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    struct ask *memory = ask(0, CLUSTER_WRITE, "two", STORE_ACK_MEMORY);
    ck_assert(is_answered(memory, STORE_DONE, NULL)); /* its class asks for nobody */
    struct ask *second = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    ck_assert_int_eq(first->answers, 0);
    ck_assert_int_eq(second->answers, 0); /* only because of the first */
    struct ask *third = ask(0, CLUSTER_WRITE, "three", STORE_ACK_BACKUP);
    struct ask *fourth = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    world_go_on(&world, "backup");
    world_settle(&world);
    ck_assert(is_answered(first, STORE_FOUND, "one") && is_answered(second, STORE_FOUND, "two"));
    ck_assert(is_answered(third, STORE_DONE, NULL) && is_answered(fourth, STORE_FOUND, "three"));
    ck_assert(first->answered < second->answered && second->answered < fourth->answered);
    world_end(&world);
}
END_TEST

START_TEST(a_read_of_a_memory_write_does_not_wait)
{
    start(2, 1);
    world_write(&world, 0, "x", "zero");
    world_stop(&world, "backup", false);
    struct ask *backup = ask(0, CLUSTER_WRITE, "one", STORE_ACK_BACKUP);
    ck_assert(is_answered(ask(0, CLUSTER_WRITE, "two", STORE_ACK_MEMORY), STORE_DONE, NULL));
    ck_assert(is_answered(ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY), STORE_FOUND, "two"));
    ck_assert(is_answered(ask(0, CLUSTER_WRITE, "three", STORE_ACK_JOURNAL), STORE_DONE, NULL));
    ck_assert(is_answered(ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY), STORE_FOUND, "three"));
    ck_assert_int_eq(backup->answers, 0);
    /* The holder has it with the latest version. */
    world_go_on(&world, "backup");
    world_settle(&world);
    ck_assert(is_answered(backup, STORE_DONE, NULL));
    world_end(&world);
}
END_TEST

/* A write that nobody waits for: a strong read does. */
START_TEST(an_untold_write_is_waited_for_by_its_read)
{
    start(2, 1);
    world_write(&world, 0, "x", "zero");
    world_stop(&world, "backup", false);
    struct member *member = &world.members[0];
    struct slice id = slice_of_string("x");
    uint64_t hash = store_hash(member->store, id);
    uint8_t term[] = {109, 0, 0, 0, 3, 'o', 'n', 'e'};
    struct value value = {NULL, term, sizeof(term)};
    ck_assert_int_eq(
        holdings_write(member->holdings, id, hash, &value, STORE_ACK_BACKUP, false, world.now_ms),
        STORE_DONE);
    ck_assert_int_eq(holdings_get(member->holdings, id, hash, world.now_ms, &value), STORE_WAIT);
    struct ask *read = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    ck_assert_int_eq(read->answers, 0);
    world_go_on(&world, "backup");
    world_settle(&world);
    ck_assert(is_answered(read, STORE_FOUND, "one"));
    ck_assert_int_eq(holdings_get(member->holdings, id, hash, world.now_ms, &value), STORE_FOUND);
    world_end(&world);
}
END_TEST

/* Holders that come after writes that had none. */
START_TEST(holders_that_come_are_waited_for)
{
    world_init(&world, 2, 1);
    ck_assert(member_create(&world, 0));
    world_view(&world);
    world_settle(&world);
    world_write(&world, 0, "x", "zero");
    struct ask *alone = world_ask_fast(&world, 0, CLUSTER_WRITE, "x", "one", STORE_ACK_BACKUP);
    world_settle(&world);
    ck_assert(is_answered(alone, STORE_DONE, NULL));
    ck_assert(member_create(&world, 1));
    world_view(&world);
    world_settle(&world);
    world_stop(&world, "backup_ack", false);
    const uint64_t appended = world.members[0].appended;
    struct ask *write = world_ask_fast(&world, 0, CLUSTER_WRITE, "x", "two", STORE_ACK_BACKUP);
    world_settle(&world);
    ck_assert_int_eq(write->answers, 0);
    /* Written once: not here first, and then again as a request, which might be refused. */
    ck_assert_uint_eq(world.members[0].appended, appended + 1);
    world_go_on(&world, "backup_ack");
    world_settle(&world);
    ck_assert(is_answered(write, STORE_DONE, NULL));
    /* And those that go are not. */
    world_stop(&world, "backup", false);
    write = ask(0, CLUSTER_WRITE, "three", STORE_ACK_BACKUP);
    ck_assert_int_eq(write->answers, 0);
    member_crash(&world, 1);
    world_view(&world);
    world_settle(&world);
    ck_assert(is_answered(write, STORE_DONE, NULL));
    world_end(&world);
}
END_TEST

/* Less than what was asked for is never given silently; nobody asks for a write that is not told.
 */
START_TEST(an_owner_without_a_journal_says_so)
{
    world_init(&world, 2, 1);
    world.journals = false;
    ck_assert(world_start(&world));
    world_write(&world, 0, "x", "zero");
    for (int member = 0; member < 2; member++) {
        struct ask *write = ask(member, CLUSTER_WRITE, "one", STORE_ACK_JOURNAL);
        ck_assert(is_answered(write, BRAIN_ENOTSUP, NULL));
        ck_assert(
            is_answered(ask(member, CLUSTER_DELETE, NULL, STORE_ACK_JOURNAL), BRAIN_ENOTSUP, NULL));
        ck_assert_str_eq(world_read(&world, member, "x"), "zero");
    }
    world.members[0].dumps_stop = world.members[1].dumps_stop = true; /* nor is it the warehouse */
    for (int member = 0; member < 2; member++) {
        struct ask *write =
            ask(member, CLUSTER_WRITE, "two", (enum store_ack)HOLDINGS_ACK_JOURNAL_IF_ANY);
        ck_assert(is_answered(write, STORE_DONE, NULL));
        ck_assert_str_eq(world_read(&world, 1 - member, "x"), "two");
    }
    world_end(&world);
}
END_TEST

/* What was written while nobody was to be told of it: holders have it once they are there. */
START_TEST(what_was_written_alone_is_held_by_who_comes)
{
    world_init(&world, 2, 1);
    ck_assert(member_create(&world, 0));
    world_view(&world);
    world_settle(&world);
    world_write(&world, 0, "x", "zero");
    world_write(&world, 0, "gone", "zero");
    /* For nobody who waits: what asks for holders waits for the journal, which is no fast path. */
    ck_assert_int_eq(
        world_ask_fast(&world, 0, CLUSTER_WRITE, "x", "one", STORE_ACK_MEMORY)->answers, 1);
    ck_assert_int_eq(
        world_ask_fast(&world, 0, CLUSTER_DELETE, "gone", NULL, STORE_ACK_MEMORY)->answers, 1);
    ck_assert_str_eq(world_read(&world, 0, "x"), "one");
    ck_assert_str_eq(world_read(&world, 0, "gone"), "");
    ck_assert_uint_eq(member_live_records(&world, 0, NULL), 2);
    ck_assert(member_create(&world, 1));
    world_view(&world);
    /* Written again while they are being looked for. */
    ck_assert_int_eq(
        world_ask_fast(&world, 0, CLUSTER_WRITE, "x", "two", STORE_ACK_MEMORY)->answers, 1);
    world_settle(&world);
    ck_assert(member_has_copy(&world, 1, "x") && member_has_copy(&world, 1, "gone"));
    member_crash(&world, 0);
    world_view(&world);
    world_settle(&world);
    ck_assert_str_eq(world_read(&world, 1, "x"), "two");
    ck_assert_str_eq(world_read(&world, 1, "gone"), "");
    world_end(&world);
}
END_TEST

/* The warehouse is as good as holders. */
START_TEST(the_warehouse_is_as_good_as_holders)
{
    start(2, 1);
    world_write(&world, 0, "x", "zero");
    world_stop(&world, "backup", false);
    struct ask *write = ask(0, CLUSTER_WRITE, "one", STORE_ACK_BACKUP);
    struct ask *read = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    ck_assert_int_eq(write->answers + read->answers, 0);
    struct ask *persist = ask(0, CLUSTER_PERSIST, NULL, STORE_ACK_MEMORY);
    ck_assert(is_answered(persist, STORE_DONE, NULL));
    ck_assert(is_answered(write, STORE_DONE, NULL) && is_answered(read, STORE_FOUND, "one"));
    ck_assert_str_eq(world_kept(&world, "x")->text, "one");
    world_go_on(&world, "backup");
    world_settle(&world);
    ck_assert(!member_owns(&world, 0, "x") && !member_has_resident(&world, 0, "x"));
    world_end(&world);
}
END_TEST

START_TEST(a_write_to_the_warehouse_waits_for_it)
{
    start(2, 1);
    world_write(&world, 0, "x", "zero");
    world.members[0].dumps_stop = true;
    struct ask *write = ask(0, CLUSTER_WRITE, "one", STORE_ACK_WAREHOUSE);
    struct ask *read = ask(1, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    ck_assert_int_eq(write->answers + read->answers, 0);
    world.members[0].dumps_stop = false;
    world_settle(&world);
    ck_assert(is_answered(write, STORE_DONE, NULL) && is_answered(read, STORE_FOUND, "one"));
    world_end(&world);
}
END_TEST

/* The store's part and the holders' part of one acknowledgement. */
START_TEST(a_read_waits_for_journal_and_holders)
{
    start(2, 1);
    world_write(&world, 0, "x", "zero");
    world_stop(&world, "backup_ack", false);
    world.members[0].journal_stops = true;
    struct ask *backup = ask(0, CLUSTER_WRITE, "one", STORE_ACK_BACKUP);
    struct ask *journal = ask(0, CLUSTER_WRITE, "two", STORE_ACK_JOURNAL);
    struct ask *read = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    ck_assert_int_eq(backup->answers + journal->answers + read->answers, 0);
    world.members[0].journal_stops = false;
    world_settle(&world);
    ck_assert(is_answered(journal, STORE_DONE, NULL));
    ck_assert_int_eq(backup->answers, 0);
    world_go_on(&world, "backup_ack");
    world_settle(&world);
    ck_assert(is_answered(backup, STORE_DONE, NULL) && is_answered(read, STORE_FOUND, "two"));
    world_end(&world);
}
END_TEST

/* More ids than a table begins with, all of them waiting; some are dumped, the rest backed up. */
START_TEST(many_ids_wait)
{
    enum { IDS = 1500 };
    start(2, 1);
    static struct ask *writes[IDS];
    world_stop(&world, "backup_ack", true);
    for (int i = 0; i < IDS; i++) {
        char id[TEXT];
        snprintf(id, sizeof(id), "id %d", i);
        writes[i] = world_ask(&world, 0, CLUSTER_WRITE, id, "one", STORE_ACK_BACKUP);
        if (i % 100 == 0)
            world_settle(&world);
    }
    world_settle(&world);
    ck_assert_uint_ge(member_metric(&world, 0, "unbacked"), IDS);
    ck_assert_uint_eq(member_metric(&world, 0, "awaiting_backup"), IDS);
    for (int i = 0; i < IDS; i += 10)
        store_persist(world.members[0].store, slice_of_string(writes[i]->id), world.now_ms, NULL);
    world_settle(&world);
    ck_assert_uint_eq(member_metric(&world, 0, "awaiting_backup"), IDS - IDS / 10);
    world_go_on(&world, "backup_ack");
    world_pass(&world, 1000);
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 0);
    for (int i = 0; i < IDS; i++)
        ck_assert(is_answered(writes[i], STORE_DONE, NULL));
    world_end(&world);
}
END_TEST

/* ---- deadlines --------------------------------------------------------------------------------
 */

START_TEST(waiting_for_holders_ends)
{
    start(2, 1);
    world_write(&world, 0, "x", "zero");
    world_stop(&world, "backup", true);
    uint64_t began_ms = world.now_ms;
    struct ask *write = ask(0, CLUSTER_WRITE, "one", STORE_ACK_BACKUP);
    struct ask *read = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    struct ask *deleted = ask(0, CLUSTER_DELETE, NULL, STORE_ACK_BACKUP);
    while (world.now_ms < began_ms + world.request_ms - 100)
        world_pass(&world, 50);
    ck_assert_int_eq(write->answers + read->answers + deleted->answers, 0);
    world_pass(&world, 200);
    ck_assert(is_answered(write, BRAIN_EUNKNOWN, NULL));
    ck_assert(is_answered(read, BRAIN_ETIMEOUT, NULL));
    ck_assert(is_answered(deleted, BRAIN_EUNKNOWN, NULL));
    ck_assert_uint_eq(member_metric(&world, 0, "awaiting_backup"), 0);
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 1); /* still true */
    world_go_on(&world, "backup");
    world_pass(&world, 500);
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 0);
    ck_assert_str_eq(world_read(&world, 1, "x"), "");
    world_end(&world);
}
END_TEST

START_TEST(waiting_in_the_store_ends)
{
    start(2, 1);
    world_write(&world, 0, "x", "zero");
    world.members[0].journal_stops = world.members[0].dumps_stop = true;
    world.members[0].loads_stop = world.members[1].loads_stop = true;
    struct ask *journal = ask(0, CLUSTER_WRITE, "one", STORE_ACK_JOURNAL);
    struct ask *read = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    struct ask *persist = ask(0, CLUSTER_PERSIST, NULL, STORE_ACK_MEMORY);
    struct ask *loading = world_ask(&world, 1, CLUSTER_READ, "y", NULL, STORE_ACK_MEMORY);
    struct ask *stored = ask(0, CLUSTER_WRITE, "two", STORE_ACK_WAREHOUSE);
    world_pass(&world, world.request_ms + 100);
    ck_assert(is_answered(journal, BRAIN_EUNKNOWN, NULL));
    ck_assert(is_answered(stored, BRAIN_EUNKNOWN, NULL));
    ck_assert(is_answered(read, BRAIN_ETIMEOUT, NULL));
    ck_assert(is_answered(persist, BRAIN_ETIMEOUT, NULL));
    ck_assert(is_answered(loading, BRAIN_ETIMEOUT, NULL));
    ck_assert_uint_eq(member_metric(&world, 0, "executing"), 0);
    world.members[0].journal_stops = world.members[0].dumps_stop = false;
    world.members[0].loads_stop = world.members[1].loads_stop = false;
    world_settle(&world);
    ck_assert_str_eq(world_read(&world, 1, "x"), "two");
    world_end(&world);
}
END_TEST

/* A request that waited for its owner does not wait that long again in its store. */
START_TEST(a_deadline_counts_from_the_beginning)
{
    start(2, 1);
    world_stop(&world, "claim", false);
    world_stop(&world, "grant", false);
    world_stop(&world, "forward", false);
    struct ask *asked[8];
    for (int i = 0; i < 8; i++) {
        char id[2] = {(char)('a' + i), 0};
        asked[i] = world_ask(&world, 0, CLUSTER_READ, id, NULL, STORE_ACK_MEMORY);
    }
    world.members[0].loads_stop = true;
    world_pass(&world, world.request_ms - 500);
    world_go_on(&world, "claim");
    world_go_on(&world, "grant");
    world_go_on(&world, "forward");
    world_pass(&world, 600);
    for (int i = 0; i < 8; i++)
        ck_assert(is_answered(asked[i], BRAIN_ETIMEOUT, NULL));
    world.members[0].loads_stop = false;
    world_settle(&world);
    world_end(&world);
}
END_TEST

/* Nobody is told of the write; who reads it next hears of what will not be lost. */
START_TEST(a_write_that_is_not_told_is_in_the_journal_if_there_is_one)
{
    start(2, 0);
    world_write(&world, 0, "x", "zero");
    world.members[0].journal_stops = true;
    struct ask *write = ask(0, CLUSTER_WRITE, "one", (enum store_ack)HOLDINGS_ACK_JOURNAL_IF_ANY);
    struct ask *read = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    ck_assert_int_eq(write->answers + read->answers, 0);
    world.members[0].dumps_stop = true;
    world.members[0].journal_stops = false;
    world_settle(&world);
    ck_assert(is_answered(write, STORE_DONE, NULL) && is_answered(read, STORE_FOUND, "one"));
    /* The same where the owner's own client writes: a backup is the journal, without holders. */
    world.members[0].journal_stops = true;
    struct member *member = &world.members[0];
    const struct slice id = slice_of_string("x");
    const uint64_t hash = store_hash(member->store, id);
    uint8_t term[] = {109, 0, 0, 0, 3, 't', 'w', 'o'};
    struct value value = {NULL, term, sizeof(term)}, seen;
    ck_assert_int_eq(
        holdings_write(member->holdings, id, hash, &value, STORE_ACK_BACKUP, false, world.now_ms),
        STORE_DONE);
    ck_assert_int_eq(holdings_get(member->holdings, id, hash, world.now_ms, &seen), STORE_WAIT);
    read = ask(0, CLUSTER_READ, NULL, STORE_ACK_MEMORY);
    ck_assert_int_eq(read->answers, 0);
    world.members[0].journal_stops = false;
    world_settle(&world);
    ck_assert(is_answered(read, STORE_FOUND, "two"));
    world_end(&world);
}
END_TEST

/* However much there is to tell who comes: what nobody waits for is offered after the reports, so
 * many records in one message, one message under way, and another one when no answer came for
 * retry_ms. */
START_TEST(offers_are_bounded)
{
    enum { IDS = 2600, BATCHES = 2, RECORDS = 512, RECORD = 40, HEAD = 70 };
    world_init(&world, 2, 1);
    ck_assert(member_create(&world, 0));
    world_view(&world);
    world_settle(&world);
    for (int i = 0; i < IDS; i++) {
        char id[TEXT];
        snprintf(id, sizeof(id), "id %d", i);
        (void)world_ask(&world, 0, CLUSTER_WRITE, id, "one", STORE_ACK_MEMORY);
        if (i % 100 == 0)
            world_settle(&world);
    }
    world_settle(&world);
    ck_assert(member_create(&world, 1));
    world_stop(&world, "offer", false);
    world_view(&world);
    world_settle(&world);
    world_pass(&world, 100);
    unsigned offers = 0, full = 0;
    for (const struct letter *letter = world.letters; letter; letter = letter->next) {
        if (strcmp(letter->kind, "offer") != 0)
            continue;
        offers++;
        ck_assert_uint_le(letter->bytes.size, RECORDS * RECORD + HEAD);
        full += letter->bytes.size > RECORDS * RECORD;
    }
    ck_assert_uint_gt(full, 0);
    ck_assert_uint_eq(offers, BATCHES);
    world_go_on(&world, "offer");
    world_pass(&world, 2000);
    ck_assert_uint_eq(member_metric(&world, 0, "unbacked"), 0);
    for (int i = 0; i < IDS; i++) {
        char id[TEXT];
        snprintf(id, sizeof(id), "id %d", i);
        ck_assert_msg(member_has_copy(&world, 1, id), "no copy of %s", id);
    }
    world_end(&world);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("holdings/acks");
    TCase *tcase = tcase_create("acks");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, alone_a_write_waits_for_the_journal);
    tcase_add_loop_test(tcase, a_write_and_its_reads_wait_for_all_holders, 1, 3);
    tcase_add_test(tcase, a_read_waits_for_the_version_it_saw);
    tcase_add_test(tcase, a_read_of_a_memory_write_does_not_wait);
    tcase_add_test(tcase, an_untold_write_is_waited_for_by_its_read);
    tcase_add_test(tcase, holders_that_come_are_waited_for);
    tcase_add_test(tcase, an_owner_without_a_journal_says_so);
    tcase_add_test(tcase, what_was_written_alone_is_held_by_who_comes);
    tcase_add_test(tcase, the_warehouse_is_as_good_as_holders);
    tcase_add_test(tcase, a_write_to_the_warehouse_waits_for_it);
    tcase_add_test(tcase, a_read_waits_for_journal_and_holders);
    tcase_add_test(tcase, many_ids_wait);
    tcase_add_test(tcase, waiting_for_holders_ends);
    tcase_add_test(tcase, waiting_in_the_store_ends);
    tcase_add_test(tcase, a_deadline_counts_from_the_beginning);
    tcase_add_test(tcase, a_write_that_is_not_told_is_in_the_journal_if_there_is_one);
    tcase_add_test(tcase, offers_are_bounded);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
