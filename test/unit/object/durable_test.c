/* What must be true of acknowledgements, of the journal, of the memory limit and of a warehouse
 * that fails: one scenario each. The warehouse and the journal are played by hand, as in
 * life_test.c. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "brain/object.h"
#include "heap_fault.h"
#include "suite.h"

enum { ASKED_MAX = 4096, RECORDS_MAX = 4096, TTL = 1000 };

static struct store *store;
static struct {
    struct object *object;
    bool dump, expected_known;
    struct version version;
    char id[16];
} asked[ASKED_MAX];
static size_t asked_count;
static struct {
    uint64_t seq;
    int live; /* 1: live, -1: dead again */
    bool tombstone;
} records[RECORDS_MAX];
static size_t records_count;
static struct {
    struct store_waiter *waiter;
    int status;
    char value[16];
} answers[64];
static size_t answers_count;
static struct store_waiter w[8];
static int journal_status;
static bool at_once;
static uint64_t now;
static char text[16];

static void copy_text(char out[16], const struct value *value)
{
    size_t size = value && value->size < 15 ? value->size : 0;
    if (size > 0)
        memcpy(out, value->data, size);
    out[size] = 0;
}

static void ask(struct object *object, struct slice id, bool dump)
{
    size_t i = asked_count++ % ASKED_MAX;
    memset(&asked[i], 0, sizeof(asked[i]));
    asked[i].object = object;
    asked[i].dump = dump;
    memcpy(asked[i].id, id.data, id.size < 15 ? id.size : 15);
}

static void on_load(void *context, struct object *object, struct slice id)
{
    (void)context;
    ask(object, id, false);
}

static void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value)
{
    (void)context, (void)value;
    ask(object, id, true);
    asked[(asked_count - 1) % ASKED_MAX].version = version;
    asked[(asked_count - 1) % ASKED_MAX].expected_known = expected != NULL;
    if (at_once)
        store_dumped(store, object, 0, NULL, now);
}

static void on_set_aside(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)context, (void)id, (void)version, (void)value;
    ck_abort_msg("nothing is set aside here");
}

static int on_record(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)context, (void)id;
    if (journal_status != 0)
        return journal_status;
    records[records_count % RECORDS_MAX].seq = version.seq;
    records[records_count % RECORDS_MAX].live = 0;
    records[records_count++ % RECORDS_MAX].tombstone = value == NULL;
    return 0;
}

static void mark(uint64_t seq, int from, int to)
{
    for (size_t i = 0; i < records_count && i < RECORDS_MAX; i++) {
        if (records[i].seq == seq) {
            ck_assert_int_eq(records[i].live, from);
            records[i].live = to;
            return;
        }
    }
    ck_assert_msg(records_count > RECORDS_MAX, "no record %llu", (unsigned long long)seq);
}

static void on_live(void *context, uint64_t seq)
{
    (void)context;
    mark(seq, 0, 1);
}

static void on_dead(void *context, uint64_t seq)
{
    (void)context;
    mark(seq, 1, -1);
}

static void on_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    (void)context;
    size_t i = answers_count++ % 64;
    answers[i].waiter = waiter;
    answers[i].status = status;
    copy_text(answers[i].value, value);
}

static struct store_options options_default(void)
{
    return (struct store_options){.key_ttl_ms = TTL,
        .wait_timeout_ms = 5000,
        .dumps_parallel = 4,
        .dumps_parallel_bytes = 100000,
        .retry_min_ms = 100,
        .retry_max_ms = 1000,
        .hash_seed = 42,
        .epoch = {1, 1, 0}};
}

static void open_with(struct store_options options, bool journal)
{
    store_destroy(store);
    asked_count = answers_count = records_count = 0;
    at_once = false;
    journal_status = 0;
    now = 10000;
    memset(w, 0, sizeof(w));
    struct store_events events = {
        .load = on_load, .dump = on_dump, .set_aside = on_set_aside, .answer = on_answer};
    if (journal) {
        events.record = on_record;
        events.record_live = on_live;
        events.record_dead = on_dead;
    }
    store = store_create(&options, events);
}

static void setup(void)
{
    heap_fault_start(0);
    store = NULL;
    open_with(options_default(), true);
}

static void teardown(void)
{
    store_destroy(store);
    heap_fault_stop();
}

static const struct store_metrics *metrics(void)
{
    return store_metrics(store, now);
}

static int set(const char *id, const char *value, enum store_ack ack, struct store_waiter *waiter)
{
    struct slice bytes = slice_of_string(value);
    return store_set(
        store, slice_of_string(id), (struct value){NULL, bytes.data, bytes.size}, ack, now, waiter);
}

static int set_sized(const char *id, size_t size)
{
    static uint8_t bytes[200000];
    return store_set(
        store, slice_of_string(id), (struct value){NULL, bytes, size}, STORE_ACK_MEMORY, now, NULL);
}

static int get(const char *id, struct store_waiter *waiter)
{
    struct value value = value_none();
    int status = store_get(store, slice_of_string(id), now, &value, waiter);
    copy_text(text, status == STORE_FOUND ? &value : NULL);
    return status;
}

static int get_is(const char *id, const char *want)
{
    int status = get(id, NULL);
    ck_assert_str_eq(text, want);
    return status;
}

static int persist(const char *id, struct store_waiter *waiter)
{
    return store_persist(store, slice_of_string(id), now, waiter);
}

static void dumped(size_t i, int status)
{
    ck_assert_uint_lt(i, asked_count);
    store_dumped(store, asked[i].object, status, NULL, now);
}

static void advance(uint64_t ms)
{
    now += ms;
    for (unsigned turn = 0; store_advance(store, now, 1000) == 0; turn++)
        ck_assert_uint_lt(turn, 1000);
}

static void assert_answer(size_t i, struct store_waiter *waiter, int status, const char *value)
{
    ck_assert_uint_gt(answers_count, i);
    ck_assert_ptr_eq(answers[i].waiter, waiter);
    ck_assert_int_eq(answers[i].status, status);
    ck_assert_str_eq(answers[i].value, value);
}

/* For what is not about waiting for it: every record is there as soon as it is given. */
static void journal_is_ahead(void)
{
    store_written(store, 1000000, 0, now);
}

/* ---- acknowledgements ------------------------------------------------------------------------ */

START_TEST(a_write_and_its_reads_wait_for_the_journal)
{
    ck_assert(!store_awaits_records(store));
    ck_assert_int_eq(set("a", "one", STORE_ACK_JOURNAL, &w[0]), STORE_WAIT);
    ck_assert(store_awaits_records(store));
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT);
    ck_assert_int_eq(set("b", "two", STORE_ACK_JOURNAL, NULL), STORE_WAIT); /* a plain {s} */
    ck_assert_int_eq(get("b", &w[2]), STORE_WAIT);
    ck_assert_int_eq(set("c", "three", STORE_ACK_MEMORY, NULL), STORE_DONE);
    ck_assert_int_eq(get_is("c", "three"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->waiting, 3);
    store_written(store, 1, 0, now);
    ck_assert_uint_eq(answers_count, 2);
    assert_answer(0, &w[0], STORE_DONE, "");
    assert_answer(1, &w[1], STORE_FOUND, "one");
    ck_assert_int_eq(get_is("a", "one"), STORE_FOUND);
    ck_assert(store_awaits_records(store)); /* the read of b */
    store_written(store, 2, 0, now);
    assert_answer(2, &w[2], STORE_FOUND, "two");
    ck_assert(!store_awaits_records(store)); /* c is for nobody to wait for */
    ck_assert_uint_eq(metrics()->waiting, 0);
    ck_assert_uint_eq(asked_count, 0);
}
END_TEST

START_TEST(a_read_is_not_overtaken_by_one_of_a_later_version)
{
    set("a", "one", STORE_ACK_JOURNAL, NULL);
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    ck_assert_int_eq(set("a", "two", STORE_ACK_MEMORY, NULL), STORE_DONE);
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT); /* behind the first */
    store_written(store, 1, 0, now);
    assert_answer(0, &w[0], STORE_FOUND, "one");
    assert_answer(1, &w[1], STORE_FOUND, "two");
    /* Behind a load: the load first, then the journal. */
    get("l", &w[2]);
    store_delete(store, slice_of_string("l"), STORE_ACK_JOURNAL, now, &w[3]);
    ck_assert_int_eq(get("l", &w[4]), STORE_WAIT);
    store_loaded(store, asked[0].object, STORE_ABSENT, NULL, NULL, now);
    ck_assert_uint_eq(answers_count, 3);
    assert_answer(2, &w[2], STORE_ABSENT, "");
    store_written(store, 3, 0, now);
    assert_answer(3, &w[3], STORE_DONE, "");
    assert_answer(4, &w[4], STORE_ABSENT, "");
}
END_TEST

START_TEST(a_journal_that_fails)
{
    set("a", "one", STORE_ACK_JOURNAL, &w[0]);
    get("a", &w[1]);
    store_written(store, 1, BRAIN_EJOURNAL, now);
    assert_answer(0, &w[0], BRAIN_EJOURNAL, "");
    assert_answer(1, &w[1], STORE_FOUND, "one"); /* nobody waits any more */
    ck_assert_int_eq(get_is("a", "one"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->dirty, 1);
    journal_status = BRAIN_EJOURNAL;
    ck_assert_int_eq(set("a", "two", STORE_ACK_MEMORY, NULL), BRAIN_EJOURNAL);
    ck_assert_int_eq(set("b", "two", STORE_ACK_JOURNAL, &w[2]), BRAIN_EJOURNAL);
    ck_assert_int_eq(get_is("a", "one"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->objects, 1);
    ck_assert_uint_eq(metrics()->refused_journal, 3);
    journal_status = 0;
    store_written(store, 1, 0, now);
    ck_assert_uint_eq(answers_count, 2);
    ck_assert_int_eq(set("a", "three", STORE_ACK_JOURNAL, &w[2]), STORE_WAIT);
    store_written(store, 9, 0, now);
    assert_answer(2, &w[2], STORE_DONE, "");
}
END_TEST

START_TEST(ack_warehouse_dumps_at_once_and_stays)
{
    ck_assert_int_eq(set("a", "one", STORE_ACK_WAREHOUSE, &w[0]), STORE_WAIT);
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 0);
    journal_is_ahead(); /* not enough */
    ck_assert_uint_eq(asked_count, 1);
    ck_assert_uint_eq(answers_count, 0);
    dumped(0, 0);
    assert_answer(0, &w[0], STORE_DONE, "");
    assert_answer(1, &w[1], STORE_FOUND, "one");
    ck_assert_int_eq(get_is("a", "one"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->objects, 1);
    ck_assert_uint_eq(metrics()->dirty, 0);
    /* A failed dump is told, the read then shows it, and it is retried. */
    set("a", "two", STORE_ACK_WAREHOUSE, &w[2]);
    get("a", &w[3]);
    dumped(1, BRAIN_EWAREHOUSE);
    assert_answer(2, &w[2], BRAIN_EWAREHOUSE, "");
    assert_answer(3, &w[3], STORE_FOUND, "two");
    ck_assert_int_eq(get_is("a", "two"), STORE_FOUND);
    advance(120);
    dumped(2, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
    /* A version written during a dump waits for its own. */
    set("a", "three", STORE_ACK_MEMORY, NULL);
    persist("a", NULL);
    set("a", "four", STORE_ACK_WAREHOUSE, &w[4]);
    get("a", &w[5]);
    dumped(3, 0);
    ck_assert_uint_eq(answers_count, 4);
    dumped(4, 0);
    assert_answer(4, &w[4], STORE_DONE, "");
    assert_answer(5, &w[5], STORE_FOUND, "four");
}
END_TEST

START_TEST(waits_for_acknowledgements_end)
{
    set("a", "one", STORE_ACK_JOURNAL, &w[0]);
    get("a", &w[1]);
    now += 1000;
    get("a", &w[2]);
    advance(4000);
    assert_answer(0, &w[0], BRAIN_ETIMEOUT, "");
    assert_answer(1, &w[1], BRAIN_ETIMEOUT, "");
    ck_assert_uint_eq(answers_count, 2);
    store_written(store, 1, 0, now);
    assert_answer(2, &w[2], STORE_FOUND, "one");
    set("a", "two", STORE_ACK_JOURNAL, &w[3]);
    get("a", &w[4]);
    store_destroy(store);
    store = NULL;
    assert_answer(3, &w[3], BRAIN_ESHUTDOWN, "");
    assert_answer(4, &w[4], BRAIN_ESHUTDOWN, "");
}
END_TEST

/* ---- records --------------------------------------------------------------------------------- */

START_TEST(a_dirty_object_has_one_live_record)
{
    journal_is_ahead();
    set("a", "one", STORE_ACK_MEMORY, NULL);
    ck_assert_int_eq(records[0].live, 1);
    set("a", "two", STORE_ACK_MEMORY, NULL);
    ck_assert_int_eq(records[0].live, -1);
    ck_assert_int_eq(records[1].live, 1);
    persist("a", NULL);
    store_delete(store, slice_of_string("a"), STORE_ACK_MEMORY, now, NULL);
    ck_assert(records[2].tombstone);
    ck_assert_int_eq(records[1].live, -1);
    dumped(0, 0);
    ck_assert_int_eq(records[2].live, 1); /* the dump was of the version before */
    persist("a", NULL);
    dumped(1, 0);
    ck_assert_int_eq(records[2].live, -1);
    ck_assert_uint_eq(records_count, 3);
}
END_TEST

START_TEST(a_renewed_version_is_recorded_first)
{
    journal_is_ahead();
    set("a", "one", STORE_ACK_MEMORY, NULL);
    persist("a", &w[0]);
    struct version stored = {1, 20, 9};
    journal_status = BRAIN_EJOURNAL;
    store_dumped(store, asked[0].object, BRAIN_ECONFLICT, &stored, now);
    assert_answer(0, &w[0], BRAIN_EWAREHOUSE, "");
    ck_assert_int_eq(records[0].live, 1); /* still the one there is */
    journal_status = 0;
    persist("a", &w[1]);
    store_dumped(store, asked[1].object, BRAIN_ECONFLICT, &stored, now);
    ck_assert_int_eq(records[0].live, -1);
    ck_assert_int_eq(records[1].live, 1);
    ck_assert_uint_eq(records[1].seq, asked[2].version.seq);
    ck_assert_int_gt(version_compare(asked[2].version, stored), 0);
    dumped(2, 0);
    ck_assert_int_eq(records[1].live, -1);
}
END_TEST

static void restore(const char *id, struct version version, const char *value)
{
    struct slice bytes = slice_of_string(value);
    struct value restored = {NULL, bytes.data, bytes.size};
    records[records_count++].seq = version.seq;
    records[records_count - 1].live = 0;
    ck_assert_int_eq(
        store_restore(store, slice_of_string(id), version, value[0] ? &restored : NULL, now), 0);
}

START_TEST(restored_objects_are_dirty)
{
    journal_is_ahead();
    restore("a", (struct version){1, 1, 5}, "old");
    restore("b", (struct version){1, 7, 6}, "b");
    restore("a", (struct version){1, 7, 8}, "new");
    restore("d", (struct version){1, 7, 9}, "");
    ck_assert_int_eq(records[0].live, -1);
    ck_assert_int_eq(records[2].live, 1);
    ck_assert_uint_eq(metrics()->restored, 3);
    ck_assert_uint_eq(metrics()->dirty, 3);
    ck_assert_int_eq(get_is("a", "new"), STORE_FOUND);
    ck_assert_int_eq(get_is("d", ""), STORE_ABSENT);
    /* What is written now is later than all of it. */
    set("b", "again", STORE_ACK_MEMORY, NULL);
    ck_assert_uint_eq(records[4].seq, 10);
    persist("a", NULL);
    ck_assert(!asked[0].expected_known);
    ck_assert_int_eq(version_compare(asked[0].version, (struct version){1, 7, 8}), 0);
    /* It was there already: dumped before the crash. */
    store_dumped(store, asked[0].object, BRAIN_ECONFLICT, &asked[0].version, now);
    ck_assert_int_eq(records[2].live, -1);
    persist("b", NULL);
    ck_assert_int_gt(version_compare(asked[1].version, (struct version){1, 7, 9}), 0);
    dumped(1, 0);
    ck_assert_uint_eq(metrics()->dirty, 1);
}
END_TEST

START_TEST(a_restored_object_gives_way_to_its_lost_successor)
{
    journal_is_ahead();
    restore("a", (struct version){1, 1, 5}, "old");
    restore("b", (struct version){1, 1, 6}, "ours");
    restore("c", (struct version){1, 1, 7}, "c");
    persist("a", &w[0]);
    struct version later = {1, 1, 8}, foreign = {1, 9, 2};
    store_dumped(store, asked[0].object, BRAIN_ECONFLICT, &later, now);
    assert_answer(0, &w[0], STORE_DONE, "");
    ck_assert_uint_eq(metrics()->restored_late, 1);
    ck_assert_int_eq(records[0].live, -1);
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT); /* loads the later one */
    store_loaded(store, asked[1].object, STORE_ABSENT, &later, NULL, now);
    /* Not a later write of this data directory: ours is kept, above it. */
    persist("b", &w[2]);
    store_dumped(store, asked[2].object, BRAIN_ECONFLICT, &foreign, now);
    ck_assert_int_gt(version_compare(asked[3].version, foreign), 0);
    dumped(3, 0);
    /* Written since: as any write. */
    persist("c", &w[3]);
    set("c", "new", STORE_ACK_MEMORY, NULL);
    struct version newer = {1, 30, 20};
    store_dumped(store, asked[4].object, BRAIN_ECONFLICT, &newer, now);
    ck_assert_int_gt(version_compare(asked[5].version, newer), 0);
    dumped(5, 0);
    ck_assert_uint_eq(metrics()->restored_late, 1);
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

START_TEST(rewriting_goes_in_slices)
{
    journal_is_ahead();
    restore("old", (struct version){1, 1, 1}, "x");
    char id[8];
    for (unsigned i = 2; i <= 200; i++) {
        snprintf(id, sizeof(id), "%u", i);
        set(id, "value", STORE_ACK_MEMORY, NULL);
    }
    persist("50", NULL);
    unsigned calls = 1;
    while (store_rewrite(store, 1, 100, 10))
        calls++;
    ck_assert_uint_ge(calls, 10);
    for (size_t i = 1; i < 100; i++)
        ck_assert_int_eq(records[i].live, -1);
    for (size_t i = 100; i < records_count; i++)
        ck_assert_int_eq(records[i].live, 1);
    ck_assert_uint_eq(records_count, 200 + 99);
    /* The restored one is not: it goes to the warehouse, at once. */
    ck_assert_int_eq(records[0].live, 1);
    ck_assert_uint_eq(asked_count, 2);
    ck_assert_str_eq(asked[1].id, "old");
    dumped(1, 0);
    ck_assert_int_eq(records[0].live, -1);
    dumped(0, 0); /* of the version before it was rewritten */
    ck_assert_uint_eq(metrics()->dirty, 199);
    journal_status = BRAIN_EJOURNAL;
    ck_assert(!store_rewrite(store, 101, 200, 1000));
}
END_TEST

/* ---- the journal first ----------------------------------------------------------------------- */

START_TEST(a_dump_waits_for_its_record)
{
    set("a", "one", STORE_ACK_MEMORY, NULL);
    set("b", "two", STORE_ACK_MEMORY, NULL);
    ck_assert(!store_awaits_records(store));
    persist("b", &w[0]);
    ck_assert(store_awaits_records(store));
    persist("a", &w[1]);
    ck_assert_uint_eq(asked_count, 0);
    ck_assert_uint_eq(metrics()->persisting, 0);
    store_written(store, 1, 0, now);
    ck_assert_uint_eq(asked_count, 1);
    ck_assert_str_eq(asked[0].id, "a");
    /* Waiting is no work. */
    uint64_t next_ms = store_advance(store, now, 1000);
    ck_assert_uint_gt(next_ms, 1);
    store_written(store, 2, 0, now);
    ck_assert_uint_eq(asked_count, 2);
    dumped(0, 0);
    dumped(1, 0);
    assert_answer(0, &w[1], STORE_DONE, "");
    assert_answer(1, &w[0], STORE_DONE, "");
    ck_assert_uint_eq(metrics()->objects, 0);
    /* One that is always written again is dumped as it was when its turn came. */
    set("a", "three", STORE_ACK_MEMORY, NULL);
    persist("a", &w[2]);
    for (unsigned i = 0; i < 5; i++)
        set("a", "four", STORE_ACK_MEMORY, NULL);
    store_written(store, 3, 0, now);
    ck_assert_uint_eq(asked_count, 3);
    ck_assert_uint_eq(asked[2].version.seq, 3);
    dumped(2, 0);
    assert_answer(2, &w[2], STORE_DONE, "");
    ck_assert_uint_eq(metrics()->dirty, 1);
    /* Also while draining. */
    store_drain(store, now);
    advance(10);
    ck_assert_uint_eq(asked_count, 3);
    store_written(store, 8, 0, now);
    ck_assert_uint_eq(asked_count, 4);
    dumped(3, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

START_TEST(a_journal_that_fails_holds_up_only_its_own)
{
    struct store_options options = options_default();
    options.dumps_parallel = 1;
    open_with(options, true);
    set("there", "1", STORE_ACK_MEMORY, NULL);
    store_written(store, 1, 0, now);
    set("a", "2", STORE_ACK_WAREHOUSE, &w[0]);
    get("a", &w[1]);
    set("b", "3", STORE_ACK_MEMORY, NULL);
    persist("b", NULL);
    store_written(store, 3, BRAIN_EJOURNAL, now);
    assert_answer(0, &w[0], BRAIN_EJOURNAL, "");
    assert_answer(1, &w[1], STORE_FOUND, "2");
    ck_assert_int_eq(get_is("a", "2"), STORE_FOUND);
    ck_assert_uint_eq(asked_count, 0);
    persist("there", NULL);
    ck_assert_uint_eq(asked_count, 1);
    ck_assert_str_eq(asked[0].id, "there");
    dumped(0, 0);
    ck_assert_uint_eq(asked_count, 1);
    store_written(store, 3, 0, now);
    ck_assert_uint_eq(asked_count, 2);
    dumped(1, 0);
    ck_assert_uint_eq(asked_count, 3);
    dumped(2, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

static void loaded(size_t i, int status, struct version version, const char *value)
{
    ck_assert_uint_lt(i, asked_count);
    ck_assert(!asked[i].dump);
    struct slice bytes = slice_of_string(value);
    struct value there = {NULL, bytes.data, bytes.size};
    store_loaded(store, asked[i].object, status, status < 0 ? NULL : &version,
        status == 0 ? &there : NULL, now);
}

START_TEST(restored_objects_are_looked_for_after_a_loss_of_power)
{
    const struct version newer = {1, 1, 20}, older = {1, 1, 1}, none = {0, 0, 0};
    restore("a", (struct version){1, 1, 5}, "ours");
    restore("b", (struct version){1, 1, 6}, "ours");
    restore("c", (struct version){1, 1, 7}, "ours");
    restore("d", (struct version){1, 1, 8}, "");
    restore("e", (struct version){1, 1, 9}, "ours");
    store_verify_restored(store);
    store_raise_seq(store, 9 + (UINT64_C(1) << 32));
    /* A failed look is told; the next one finds a newer one. One load for both reads. */
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    loaded(0, BRAIN_EWAREHOUSE, none, "");
    assert_answer(0, &w[0], BRAIN_EWAREHOUSE, "");
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 2);
    loaded(1, 0, newer, "theirs");
    assert_answer(1, &w[0], STORE_FOUND, "theirs");
    assert_answer(2, &w[1], STORE_FOUND, "theirs");
    ck_assert_int_eq(get_is("a", "theirs"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->restored_late, 1);
    ck_assert_int_eq(records[0].live, -1);
    ck_assert_uint_eq(metrics()->dirty, 4);
    /* An older one, and none: ours is shown, and needs no other look. */
    get("b", &w[2]);
    loaded(2, 0, older, "old");
    assert_answer(3, &w[2], STORE_FOUND, "ours");
    ck_assert_int_eq(get_is("b", "ours"), STORE_FOUND);
    ck_assert_uint_eq(metrics()->dirty, 4);
    get("d", &w[3]);
    loaded(3, STORE_ABSENT, none, "");
    assert_answer(4, &w[3], STORE_ABSENT, "");
    /* The very same: nothing is to be dumped. */
    get("c", &w[4]);
    loaded(4, 0, (struct version){1, 1, 7}, "ours");
    assert_answer(5, &w[4], STORE_FOUND, "ours");
    ck_assert_uint_eq(metrics()->dirty, 3);
    ck_assert_int_eq(records[2].live, -1);
    /* A write ends it, also for a read that waits: that sees it when it may be seen. */
    get("e", &w[5]);
    set("e", "new", STORE_ACK_JOURNAL, NULL);
    ck_assert_uint_gt(records[records_count - 1].seq, UINT32_MAX);
    loaded(5, 0, newer, "theirs");
    ck_assert_uint_eq(answers_count, 6);
    store_written(store, records[records_count - 1].seq, 0, now);
    assert_answer(6, &w[5], STORE_FOUND, "new");
    ck_assert_int_eq(get_is("e", "new"), STORE_FOUND);
}
END_TEST

START_TEST(a_dump_is_a_look_too)
{
    const struct version newer = {1, 1, 20};
    restore("a", (struct version){1, 1, 5}, "ours");
    restore("b", (struct version){1, 1, 6}, "ours");
    restore("c", (struct version){1, 1, 7}, "ours");
    store_verify_restored(store);
    persist("a", &w[0]);
    ck_assert_int_eq(get("a", &w[1]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 1);
    dumped(0, 0);
    assert_answer(0, &w[0], STORE_DONE, "");
    assert_answer(1, &w[1], STORE_FOUND, "ours");
    ck_assert_uint_eq(asked_count, 1);
    /* A newer one is found: the reads load it. */
    persist("b", &w[2]);
    get("b", &w[3]);
    store_dumped(store, asked[1].object, BRAIN_ECONFLICT, &newer, now);
    assert_answer(2, &w[2], STORE_DONE, "");
    loaded(2, 0, newer, "theirs");
    assert_answer(3, &w[3], STORE_FOUND, "theirs");
    ck_assert_uint_eq(metrics()->restored_late, 1);
    /* It fails: the read looks before the dump is tried again, and that is not forgotten. */
    persist("c", &w[4]);
    get("c", &w[5]);
    dumped(3, BRAIN_EWAREHOUSE);
    assert_answer(4, &w[4], BRAIN_EWAREHOUSE, "");
    loaded(4, STORE_ABSENT, (struct version){0, 0, 0}, "");
    assert_answer(5, &w[5], STORE_FOUND, "ours");
    ck_assert_uint_eq(asked_count, 5);
    advance(120);
    ck_assert_uint_eq(asked_count, 6);
    dumped(5, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

static void look_without_memory(void)
{
    struct slice bytes = slice_of_string("ours");
    struct value ours = {NULL, bytes.data, bytes.size};
    open_with(options_default(), false);
    if (!store || store_restore(store, slice_of_string("a"), (struct version){1, 1, 5}, &ours, now))
        return;
    store_verify_restored(store);
    int status = get("a", &w[0]);
    if (status == STORE_WAIT) {
        loaded(0, 0, (struct version){1, 1, 20}, "theirs");
        ck_assert_uint_eq(answers_count, 1);
        status = answers[0].status;
        ck_assert(status == BRAIN_ENOMEM || strcmp(answers[0].value, "theirs") == 0);
        ck_assert_uint_eq(metrics()->dirty, 0);
    } else {
        ck_assert_int_eq(status, BRAIN_ENOMEM);
        ck_assert_uint_eq(metrics()->dirty, 1);
    }
}

START_TEST(a_look_without_memory_loses_nothing)
{
    store_destroy(store);
    store = NULL;
    heap_fault_stop();
    unsigned n = 1;
    for (bool reached = true; reached; n++) {
        heap_fault_start(n);
        look_without_memory();
        store_destroy(store);
        store = NULL;
        reached = heap_fault_stop();
    }
    ck_assert_uint_ge(n, 5);
    heap_fault_start(0);
}
END_TEST

/* ---- time ------------------------------------------------------------------------------------ */

START_TEST(a_busy_object_is_dumped_in_time)
{
    struct store_options options = options_default();
    options.key_ttl_ms = 60000;
    options.max_dirty_ms = 500;
    open_with(options, true);
    uint64_t since = now, longest = 0;
    for (unsigned i = 0; i < 2000; i++) {
        size_t before = asked_count;
        /* Reads wait for the journal all the time: the line is never empty. */
        set("a", "x", STORE_ACK_JOURNAL, NULL);
        get("a", &w[i % 2]);
        store_written(store, records_count - 1, 0, now);
        advance(5);
        if (asked_count > before) {
            dumped(before, 0);
            longest = now - since > longest ? now - since : longest;
            since = now;
        }
    }
    ck_assert_uint_ge(asked_count, 15);
    ck_assert_uint_le(longest, 600);
    store_written(store, records_count, 0, now);
}
END_TEST

START_TEST(the_breaker_pauses_and_probes)
{
    struct store_options options = options_default();
    options.breaker_failures = 3;
    open_with(options, true);
    journal_is_ahead();
    char id[8];
    uint64_t before = 0;
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(id, sizeof(id), "%u", i);
        set(id, "value", STORE_ACK_MEMORY, NULL);
    }
    before = metrics()->memory;
    advance(TTL + TTL / 16);
    ck_assert_uint_eq(asked_count, 4);
    for (size_t i = 0; i < 4; i++)
        dumped(i, BRAIN_EWAREHOUSE);
    ck_assert_uint_eq(metrics()->breaker_open, 1);
    ck_assert_uint_ge(asked_count, 4);
    for (size_t i = 4; i < asked_count; i++)
        dumped(i, BRAIN_EWAREHOUSE);
    size_t tried = asked_count;
    advance(1);
    ck_assert_uint_eq(asked_count, tried);
    ck_assert_uint_eq(metrics()->memory, before); /* nothing but the dirty items themselves */
    ck_assert_int_eq(persist("7", &w[0]), STORE_WAIT);
    ck_assert_int_eq(set("8", "new", STORE_ACK_WAREHOUSE, &w[1]), STORE_WAIT);
    ck_assert_int_eq(get("8", &w[2]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, tried);
    advance(1100);
    ck_assert_uint_eq(asked_count, tried + 1); /* one, and who waits first */
    ck_assert_str_eq(asked[tried].id, "7");
    dumped(tried, BRAIN_EWAREHOUSE);
    assert_answer(0, &w[0], BRAIN_EWAREHOUSE, "");
    assert_answer(1, &w[1], BRAIN_EWAREHOUSE, "");
    assert_answer(2, &w[2], STORE_FOUND, "new");
    ck_assert_int_eq(get_is("8", "new"), STORE_FOUND);
    advance(1100);
    ck_assert_uint_eq(asked_count, tried + 2);
    at_once = true;
    dumped(tried + 1, 0);
    advance(TTL * 2);
    ck_assert_uint_eq(metrics()->breaker_open, 0);
    ck_assert_uint_eq(metrics()->dirty, 0);
    for (size_t i = 0; i < records_count; i++)
        ck_assert_int_eq(records[i].live, -1);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

static struct store_options options_limited(uint64_t above_empty)
{
    struct store_options options = options_default();
    options.memory_limit_bytes = above_empty; /* the size of pages depends on it */
    open_with(options, false);
    options.memory_limit_bytes = metrics()->memory + above_empty;
    return options;
}

START_TEST(ten_times_the_limit_is_written)
{
    enum { SPACE = 1000000, WRITES = 5000 };
    struct store_options options = options_limited(SPACE);
    open_with(options, false);
    at_once = true;
    char id[16];
    set("hot", "hot", STORE_ACK_MEMORY, NULL);
    for (unsigned i = 0; i < WRITES; i++) {
        snprintf(id, sizeof(id), "%u", i);
        ck_assert_int_eq(set_sized(id, i % 100 == 0 ? 20000 : 1000 + i % 2000), STORE_DONE);
        ck_assert_uint_le(metrics()->memory, options.memory_limit_bytes);
        ck_assert_int_eq(get("hot", &w[0]), STORE_FOUND);
        advance(1);
    }
    ck_assert_uint_gt(metrics()->memory, options.memory_limit_bytes / 2);
    ck_assert_uint_gt(metrics()->dropped_memory, WRITES / 2);
    ck_assert_uint_eq(metrics()->refused_overload, 0);
    ck_assert_int_eq(get(id, NULL), STORE_FOUND); /* the newest are there */
}
END_TEST

START_TEST(a_full_store_refuses_writes_only)
{
    struct store_options options = options_limited(100000);
    open_with(options, true);
    journal_is_ahead();
    char id[16];
    unsigned written = 0;
    for (int status = STORE_DONE; written < 1000; written++) {
        snprintf(id, sizeof(id), "%u", written);
        status = set_sized(id, 900);
        if (status == STORE_DONE)
            continue;
        ck_assert_int_eq(status, BRAIN_EOVERLOAD);
        break;
    }
    ck_assert_uint_gt(written, 80);
    ck_assert_uint_lt(written, 120);
    ck_assert_uint_eq(metrics()->refused_overload, 1);
    ck_assert_uint_le(metrics()->memory, options.memory_limit_bytes);
    ck_assert_uint_eq(metrics()->persisting, 4); /* it works on it */
    ck_assert_int_eq(get("1", NULL), STORE_FOUND);
    ck_assert_int_eq(set("1", "smaller", STORE_ACK_MEMORY, NULL), STORE_DONE);
    ck_assert_int_eq(
        store_delete(store, slice_of_string("2"), STORE_ACK_MEMORY, now, NULL), STORE_DONE);
    ck_assert_int_eq(set_sized(id, 90000), BRAIN_EOVERLOAD);
    /* The warehouse answers: what was asked for fits in the end. */
    for (size_t i = 0; i < asked_count; i++)
        dumped(i, 0);
    ck_assert_int_eq(set_sized(id, 900), STORE_DONE);
    store_set_outside_bytes(store, 50000);
    advance(1);
    for (size_t i = 0; i < asked_count; i++) {
        if (metrics()->persisting > 0 && asked[i].object &&
            i + metrics()->persisting >= asked_count)
            dumped(i, 0);
    }
    ck_assert_uint_le(metrics()->memory, options.memory_limit_bytes);
    ck_assert_uint_ge(metrics()->memory, 50000);
}
END_TEST

/* A start brings back three times of what may be in RAM, and at once clients read all of it, in the
 * order in which it came, faster than it can be dumped: whatever is looked at for leaving has just
 * been used. */
START_TEST(what_was_restored_above_the_limit_leaves_while_it_is_read)
{
    enum { OBJECTS = 4000, SIZE = 300, PER_TURN = 50, SPACE = 300000, PASSES = 12 };
    struct store_options options = options_limited(SPACE);
    open_with(options, true);
    journal_is_ahead();
    static const uint8_t bytes[SIZE];
    static struct store_waiter readers[OBJECTS];
    const struct value value = {NULL, bytes, SIZE};
    const struct version version = {1, 1, OBJECTS};
    char id[16];
    for (unsigned i = 0; i < OBJECTS; i++) {
        snprintf(id, sizeof(id), "%u", i);
        records[records_count].live = 0;
        records[records_count++].seq = i + 1;
        ck_assert_int_eq(
            store_restore(store, slice_of_string(id), (struct version){1, 1, i + 1}, &value, now),
            0);
    }
    ck_assert_uint_gt(metrics()->memory, 2 * options.memory_limit_bytes);
    size_t done = 0;
    for (unsigned i = 1; i <= PASSES * OBJECTS; i++) {
        snprintf(id, sizeof(id), "%u", i % OBJECTS);
        ck_assert_int_ge(get(id, &readers[i % OBJECTS]), 0);
        if (i % PER_TURN != 0)
            continue;
        now += TTL / 100;
        store_advance(store, now, 1000);
        for (; done < asked_count; done++) {
            struct object *object = asked[done % ASKED_MAX].object;
            if (asked[done % ASKED_MAX].dump)
                store_dumped(store, object, 0, NULL, now);
            else
                store_loaded(store, object, 0, &version, &value, now);
        }
    }
    /* What the last turn loaded leaves in the next. */
    ck_assert_uint_le(metrics()->memory, options.memory_limit_bytes + PER_TURN * (SIZE + 100));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/durable");
    TCase *tcase = tcase_create("scenarios");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_write_and_its_reads_wait_for_the_journal);
    tcase_add_test(tcase, a_read_is_not_overtaken_by_one_of_a_later_version);
    tcase_add_test(tcase, a_journal_that_fails);
    tcase_add_test(tcase, ack_warehouse_dumps_at_once_and_stays);
    tcase_add_test(tcase, waits_for_acknowledgements_end);
    tcase_add_test(tcase, a_dirty_object_has_one_live_record);
    tcase_add_test(tcase, a_renewed_version_is_recorded_first);
    tcase_add_test(tcase, restored_objects_are_dirty);
    tcase_add_test(tcase, a_restored_object_gives_way_to_its_lost_successor);
    tcase_add_test(tcase, rewriting_goes_in_slices);
    tcase_add_test(tcase, a_dump_waits_for_its_record);
    tcase_add_test(tcase, a_journal_that_fails_holds_up_only_its_own);
    tcase_add_test(tcase, restored_objects_are_looked_for_after_a_loss_of_power);
    tcase_add_test(tcase, a_dump_is_a_look_too);
    tcase_add_test(tcase, a_look_without_memory_loses_nothing);
    tcase_add_test(tcase, a_busy_object_is_dumped_in_time);
    tcase_add_test(tcase, the_breaker_pauses_and_probes);
    tcase_add_test(tcase, ten_times_the_limit_is_written);
    tcase_add_test(tcase, a_full_store_refuses_writes_only);
    tcase_add_test(tcase, what_was_restored_above_the_limit_leaves_while_it_is_read);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
