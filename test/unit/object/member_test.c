/* The store of a member of a cluster: every sentence of its part of object.h has a scenario here.
 * The warehouse, the journal and the grants are played by hand; what the store tells is a text. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/etf.h"
#include "brain/object.h"
#include "heap_fault.h"

enum { ASKED_MAX = 256, RECORDS_MAX = 4096, TTL = 1000, LOG_SIZE = 4096 };

static struct store *store;
static struct {
    struct object *object;
    bool dump, expected_known, over;
    struct version version, expected;
    char id[16], value[16];
} asked[ASKED_MAX];
static size_t asked_count;
static int8_t records[RECORDS_MAX]; /* by seq: 0 none, 1 given, 2 live, 3 dead */
static uint64_t last_seq;
static bool journal, may_dump;
static int journal_status, reserve_status;
static struct version grant; /* of all ids; view 0: none */
static unsigned grants_asked;
static struct store_waiter w[8];
static struct version kept_version;
static uint64_t now;
static char told[LOG_SIZE], answered[LOG_SIZE], text[16];

static void note(char *log, const char *format, ...)
{
    size_t used = strlen(log);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(log + used, LOG_SIZE - used, format, arguments);
    va_end(arguments);
}

static void copy_text(char out[16], const struct value *value)
{
    size_t size = value && value->size < 15 ? value->size : 0;
    if (size > 0)
        memcpy(out, value->data, size);
    out[size] = 0;
}

static void note_version(const char *what, struct slice id, struct version version)
{
    note(told, "%s %.*s %llu.%llu.%llu", what, (int)id.size, (const char *)id.data,
        (unsigned long long)version.view, (unsigned long long)version.counter,
        (unsigned long long)version.seq);
}

static void note_value(const struct value *value)
{
    char bytes[16];
    copy_text(bytes, value);
    note(told, value ? " %s; " : " deleted; ", bytes);
}

static void is_and_clear(char *log, const char *wanted)
{
    ck_assert_str_eq(log, wanted);
    log[0] = 0;
}
#define ASSERT_TOLD(wanted)     is_and_clear(told, wanted)
#define ASSERT_ANSWERED(wanted) is_and_clear(answered, wanted)

/* ---- events ---------------------------------------------------------------------------------- */

static void ask(struct object *object, struct slice id, bool dump)
{
    ck_assert_uint_lt(asked_count, ASKED_MAX);
    memset(&asked[asked_count], 0, sizeof(asked[0]));
    asked[asked_count].object = object;
    asked[asked_count].dump = dump;
    memcpy(asked[asked_count++].id, id.data, id.size < 15 ? id.size : 15);
}

static void on_load(void *context, struct object *object, struct slice id)
{
    (void)context;
    ask(object, id, false);
}

static void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value)
{
    (void)context;
    ck_assert(may_dump);
    ask(object, id, true);
    asked[asked_count - 1].version = version;
    asked[asked_count - 1].expected_known = expected != NULL;
    if (expected)
        asked[asked_count - 1].expected = *expected;
    copy_text(asked[asked_count - 1].value, value);
}

static void on_set_aside(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)context, (void)id, (void)version, (void)value;
    ck_abort_msg("a member sets nothing aside");
}

static int on_record(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)context, (void)id, (void)value;
    if (journal_status != 0)
        return journal_status;
    ck_assert_uint_gt(version.seq, last_seq);
    ck_assert_uint_lt(version.seq, RECORDS_MAX);
    last_seq = version.seq;
    records[version.seq] = 1;
    return 0;
}

static void on_live(void *context, uint64_t seq)
{
    (void)context;
    ck_assert_int_eq(records[seq]++, 1);
}

static void on_dead(void *context, uint64_t seq)
{
    (void)context;
    ck_assert_int_eq(records[seq]++, 2);
}

static const char *status_name(int status)
{
    switch (status) {
    case STORE_DONE:
        return "done";
    case STORE_FOUND:
        return "found";
    case STORE_ABSENT:
        return "absent";
    case BRAIN_EUNAVAILABLE:
        return "unavailable";
    case BRAIN_EUNKNOWN:
        return "unknown";
    case BRAIN_ENOMEM:
        return "nomem";
    case BRAIN_EJOURNAL:
        return "journal";
    case BRAIN_EWAREHOUSE:
        return "warehouse";
    case BRAIN_ETIMEOUT:
        return "timeout";
    default:
        return "?";
    }
}

static void on_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    (void)context;
    char bytes[16];
    copy_text(bytes, value);
    note(answered, "%d %s%s%s; ", (int)(waiter - w), status_name(status), value ? " " : "", bytes);
}

static bool on_grant(void *member, struct slice id, struct version *epoch)
{
    (void)id;
    ck_assert_ptr_eq(member, told);
    grants_asked++;
    *epoch = (struct version){grant.view, grant.counter, 123456}; /* seq is not looked at */
    return grant.view > 0;
}

static bool on_may_dump(void *member, uint64_t now_ms)
{
    ck_assert_uint_eq(now_ms, now);
    ck_assert_ptr_eq(member, told);
    return may_dump;
}

static int on_reserve(void *member, struct slice id)
{
    (void)member, (void)id;
    return reserve_status;
}

static void on_written(void *member, struct slice id, struct version version,
    const struct value *value, uint64_t now_ms)
{
    ck_assert_uint_eq(now_ms, now);
    ck_assert_ptr_eq(member, told);
    if (journal)
        ck_assert_int_eq(records[version.seq], 2);
    note_version("written", id, version);
    note_value(value);
}

static void on_stored(void *member, struct slice id, struct version version, uint64_t now_ms)
{
    ck_assert_uint_eq(now_ms, now);
    ck_assert_ptr_eq(member, told);
    note_version("stored", id, version);
    note(told, "; ");
}

static void on_outdated(void *member, struct slice id, struct version version, uint64_t now_ms)
{
    ck_assert_uint_eq(now_ms, now);
    ck_assert_ptr_eq(member, told);
    note_version("outdated", id, version);
    note(told, "; ");
}

static void on_released(void *member, struct slice id, uint64_t now_ms)
{
    ck_assert_uint_eq(now_ms, now);
    ck_assert_ptr_eq(member, told);
    note(told, "released %.*s; ", (int)id.size, (const char *)id.data);
}

static void on_keep(
    void *member, struct slice id, struct version version, const struct value *value, bool recorded)
{
    ck_assert_ptr_eq(member, told);
    note_version(recorded ? "keep recorded" : "keep", id, version);
    note_value(value);
    note(answered, "keep; "); /* the order of both */
    kept_version = version;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void open_with(uint64_t memory_limit)
{
    store_destroy(store);
    asked_count = grants_asked = 0;
    journal_status = reserve_status = 0;
    last_seq = 0;
    may_dump = true;
    grant = (struct version){5, 1, 0};
    now = 10000;
    memset(w, 0, sizeof(w));
    memset(records, 0, sizeof(records));
    told[0] = answered[0] = 0;
    struct store_options options = {.key_ttl_ms = TTL,
        .wait_timeout_ms = 5000,
        .dumps_parallel = 4,
        .dumps_parallel_bytes = 100000,
        .retry_min_ms = 100,
        .retry_max_ms = 1000,
        .hash_seed = 42,
        .memory_limit_bytes = memory_limit};
    struct store_events events = {.load = on_load,
        .dump = on_dump,
        .set_aside = on_set_aside,
        .answer = on_answer,
        .member = told,
        .grant = on_grant,
        .may_dump = on_may_dump,
        .reserve = on_reserve,
        .written = on_written,
        .stored = on_stored,
        .outdated = on_outdated,
        .released = on_released};
    if (journal) {
        events.record = on_record;
        events.record_live = on_live;
        events.record_dead = on_dead;
    }
    store = store_create(&options, events);
}

static void forget(
    void *member, struct slice id, struct version version, const struct value *value, bool recorded)
{
    (void)member, (void)id, (void)version, (void)value, (void)recorded;
}

static void setup(void)
{
    heap_fault_start(0);
    store = NULL;
    journal = false;
    open_with(0);
}

static void setup_journal(void)
{
    heap_fault_start(0);
    store = NULL;
    journal = true;
    open_with(0);
}

static void teardown(void)
{
    store_abandon(store, UINT32_MAX, now, forget);
    for (size_t i = 0; i < asked_count; i++) { /* what is still under way */
        if (!asked[i].over && asked[i].dump)
            store_dumped(store, asked[i].object, BRAIN_EWAREHOUSE, NULL, now);
        else if (!asked[i].over)
            store_loaded(store, asked[i].object, BRAIN_EWAREHOUSE, NULL, NULL, now);
    }
    store_destroy(store);
    heap_fault_stop();
}

static const struct store_metrics *metrics(void)
{
    return store_metrics(store, now);
}

static struct slice id_of(const char *id)
{
    return slice_of_string(id);
}

static struct value value_of(const char *bytes)
{
    struct slice slice = slice_of_string(bytes);
    return (struct value){NULL, slice.data, slice.size};
}

static int set_as(
    const char *id, const char *value, enum store_ack ack, struct store_waiter *waiter)
{
    return store_set(store, id_of(id), value_of(value), ack, now, waiter);
}

static int set(const char *id, const char *value)
{
    return set_as(id, value, STORE_ACK_MEMORY, NULL);
}

static int erase(const char *id)
{
    return store_delete(store, id_of(id), STORE_ACK_MEMORY, now, NULL);
}

static int get(const char *id, struct store_waiter *waiter)
{
    struct value value = value_none();
    int status = store_get(store, id_of(id), now, &value, waiter);
    copy_text(text, status == STORE_FOUND ? &value : NULL);
    return status;
}

static bool shows(const char *id, const char *wanted)
{
    return get(id, NULL) == STORE_FOUND && strcmp(text, wanted) == 0;
}

static int persist(const char *id, struct store_waiter *waiter)
{
    return store_persist(store, id_of(id), now, waiter);
}

static int adopt(const char *id, struct version version, const char *bytes)
{
    struct value value = value_of(bytes ? bytes : "");
    return store_adopt(store, id_of(id), version, bytes ? &value : NULL, now);
}

static int restamp(const char *id)
{
    return store_restamp(store, id_of(id), now);
}

/* `bytes` NULL: absent, and `version` that of a tombstone, or all 0. */
static void loaded(size_t i, struct version version, const char *bytes)
{
    ck_assert_uint_lt(i, asked_count);
    ck_assert(!asked[i].dump && !asked[i].over);
    asked[i].over = true;
    struct value value = value_of(bytes ? bytes : "");
    store_loaded(store, asked[i].object, bytes ? 0 : STORE_ABSENT, version.view ? &version : NULL,
        bytes ? &value : NULL, now);
}

static void load_fails(size_t i)
{
    asked[i].over = true;
    store_loaded(store, asked[i].object, BRAIN_EWAREHOUSE, NULL, NULL, now);
}

static void dumped(size_t i, int status)
{
    ck_assert_uint_lt(i, asked_count);
    ck_assert(asked[i].dump && !asked[i].over);
    asked[i].over = true;
    store_dumped(store, asked[i].object, status, NULL, now);
}

static void conflicted(size_t i, struct version stored)
{
    ck_assert_uint_lt(i, asked_count);
    asked[i].over = true;
    store_dumped(store, asked[i].object, BRAIN_ECONFLICT, &stored, now);
}

static void assert_asked(size_t i, bool dump, const char *id, struct version version)
{
    ck_assert_uint_eq(asked_count, i + 1);
    ck_assert(asked[i].dump == dump);
    ck_assert_str_eq(asked[i].id, id);
    ck_assert_int_eq(version_compare(asked[i].version, version), 0);
}

static uint64_t advance(uint64_t ms)
{
    now += ms;
    uint64_t next;
    for (unsigned turn = 0; (next = store_advance(store, now, 1000)) == 0; turn++)
        ck_assert_uint_lt(turn, 1000);
    return next;
}

/* A clean object, as a member has it: read, with this version. */
static void have(const char *id, struct version version, const char *bytes)
{
    static struct store_waiter reader;
    ck_assert_int_eq(get(id, &reader), STORE_WAIT);
    size_t log = strlen(answered);
    loaded(asked_count - 1, version, bytes);
    answered[log] = 0;
    told[0] = 0;
}

static struct version v(uint64_t view, uint64_t counter, uint64_t seq)
{
    return (struct version){view, counter, seq};
}

static const struct version NONE;

static bool abandon_all(void)
{
    bool done = false;
    for (unsigned turn = 0; !done && turn < 1000; turn++)
        done = store_abandon(store, 10, now, on_keep);
    return done;
}

/* ---- versions and writes --------------------------------------------------------------------- */

START_TEST(a_write_is_stamped_with_the_grant_and_told)
{
    ck_assert_int_eq(set("a", "one"), STORE_DONE);
    ASSERT_TOLD("written a 5.1.1 one; ");
    grant = v(6, 2, 0);
    ck_assert_int_eq(set("b", "two"), STORE_DONE);
    ASSERT_TOLD("written b 6.2.2 two; ");
    /* What is dirty keeps its epoch, and nobody is asked; seq grows over all. */
    unsigned before = grants_asked;
    ck_assert_int_eq(set("a", "ONE"), STORE_DONE); /* takes the place of its like */
    ASSERT_TOLD("written a 5.1.3 ONE; ");
    ck_assert_int_eq(set("a", "longer"), STORE_DONE);
    ASSERT_TOLD("written a 5.1.4 longer; ");
    ck_assert_int_eq(erase("a"), STORE_DONE);
    ASSERT_TOLD("written a 5.1.5 deleted; ");
    ck_assert_uint_eq(grants_asked, before);
    /* What is clean asks again. */
    have("c", v(3, 3, 900), "old");
    set("c", "new");
    ASSERT_TOLD("written c 6.2.6 new; ");
}
END_TEST

START_TEST(backup_is_for_the_store_the_same_as_memory)
{
    ck_assert_int_eq(set_as("a", "one", STORE_ACK_BACKUP, &w[0]), STORE_DONE);
    ck_assert(shows("a", "one"));
    ck_assert_int_eq(store_delete(store, id_of("a"), STORE_ACK_BACKUP, now, &w[0]), STORE_DONE);
    ck_assert_uint_eq(metrics()->waiting, 0);
    ck_assert_uint_eq(asked_count, 0);
}
END_TEST

START_TEST(a_write_without_grant_or_memory_for_it_changes_nothing)
{
    set("a", "one");
    have("c", v(3, 3, 900), "old");
    told[0] = 0;
    grant.view = 0;
    ck_assert_int_eq(set("b", "two"), BRAIN_EUNAVAILABLE);
    ck_assert_int_eq(set("c", "two"), BRAIN_EUNAVAILABLE);
    ck_assert_int_eq(erase("c"), BRAIN_EUNAVAILABLE);
    ck_assert_int_eq(set("a", "two"), STORE_DONE);
    ASSERT_TOLD("written a 5.1.2 two; ");
    grant.view = 5;
    reserve_status = BRAIN_ENOMEM;
    ck_assert_int_eq(set("a", "333"), BRAIN_ENOMEM);
    ck_assert_int_eq(set("a", "another"), BRAIN_ENOMEM);
    ck_assert_int_eq(set("b", "two"), BRAIN_ENOMEM);
    ck_assert_int_eq(erase("c"), BRAIN_ENOMEM);
    ASSERT_TOLD("");
    ck_assert(shows("a", "two"));
    ck_assert(shows("c", "old"));
    ck_assert(!store_is_resident(store, id_of("b"), store_hash(store, id_of("b"))));
    ck_assert_uint_eq(metrics()->dirty, 1);
}
END_TEST

START_TEST(a_refused_record_is_not_told)
{
    set("a", "one");
    told[0] = 0;
    journal_status = BRAIN_EJOURNAL;
    ck_assert_int_eq(set("a", "two"), BRAIN_EJOURNAL);
    ck_assert_int_eq(set("b", "two"), BRAIN_EJOURNAL);
    ASSERT_TOLD("");
    ck_assert_int_eq(records[1], 2);
}
END_TEST

START_TEST(compaction_of_the_journal_keeps_the_epoch)
{
    set("a", "one");
    grant = v(9, 9, 0);
    told[0] = 0;
    while (store_rewrite(store, 1, 1, 100))
        ;
    ASSERT_TOLD("written a 5.1.2 one; ");
    ck_assert_int_eq(records[1], 3);
    ck_assert_int_eq(records[2], 2);
}
END_TEST

/* ---- reads ----------------------------------------------------------------------------------- */

START_TEST(a_get_without_waiter_neither_waits_nor_loads)
{
    ck_assert_int_eq(get("a", NULL), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 0);
    ck_assert(!store_is_resident(store, id_of("a"), store_hash(store, id_of("a"))));
    get("a", &w[0]);
    ck_assert(store_is_resident(store, id_of("a"), store_hash(store, id_of("a"))));
    ck_assert_int_eq(get("a", NULL), STORE_WAIT); /* it is being loaded */
    ck_assert_uint_eq(metrics()->waiting, 1);
    loaded(0, v(1, 1, 1), "one");
    ck_assert(shows("a", "one"));
    erase("a");
    ck_assert_int_eq(get("a", NULL), STORE_ABSENT);
    /* A version that is not acknowledged yet. */
    set_as("b", "two", STORE_ACK_WAREHOUSE, &w[1]);
    ck_assert_int_eq(get("b", NULL), STORE_WAIT);
    ck_assert_uint_eq(metrics()->waiting, 1);
    dumped(1, 0);
    ck_assert(shows("b", "two"));
}
END_TEST

/* ---- loads ----------------------------------------------------------------------------------- */

START_TEST(a_load_tells_what_is_stored_and_an_absent_object_is_released)
{
    get("a", &w[0]);
    loaded(0, v(1, 2, 3), "one");
    ASSERT_TOLD("stored a 1.2.3; ");
    ASSERT_ANSWERED("0 found one; ");
    get("b", &w[0]);
    loaded(1, NONE, NULL);
    ASSERT_TOLD("released b; ");
    get("c", &w[0]);
    loaded(2, v(4, 4, 4), NULL);
    ASSERT_TOLD("stored c 4.4.4; released c; ");
    get("d", &w[0]);
    load_fails(3);
    ASSERT_TOLD("released d; ");
}
END_TEST

START_TEST(a_load_above_the_grant_is_outdated)
{
    get("a", &w[0]);
    loaded(0, v(5, 1, 3), "same epoch");
    ASSERT_TOLD("stored a 5.1.3; outdated a 5.1.3; ");
    get("b", &w[0]);
    loaded(1, v(5, 2, 3), "above");
    ASSERT_TOLD("stored b 5.2.3; outdated b 5.2.3; ");
    ck_assert(shows("b", "above"));
    /* A write under the old grant is not dumped over it. */
    set("b", "mine");
    ASSERT_TOLD("written b 5.1.1 mine; ");
    persist("b", &w[0]);
    ASSERT_TOLD("outdated b 5.2.3; ");
    ck_assert_uint_eq(asked_count, 2);
    grant = v(5, 3, 0);
    ck_assert_int_eq(restamp("b"), 0);
    ASSERT_TOLD("written b 5.3.2 mine; ");
    assert_asked(2, true, "b", v(5, 3, 2));
    ck_assert_int_eq(version_compare(asked[2].expected, v(5, 2, 3)), 0);
}
END_TEST

START_TEST(a_write_during_a_load_is_compared_with_what_it_brings)
{
    get("a", &w[0]);
    set("a", "mine");
    told[0] = 0;
    loaded(0, v(4, 9, 9), "old");
    ASSERT_TOLD("stored a 4.9.9; ");
    ASSERT_ANSWERED("0 found old; ");
    /* Dirty, and not above: stored would make others drop their copies of it. */
    get("b", &w[0]);
    set("b", "mine");
    told[0] = 0;
    loaded(1, v(7, 1, 1), "theirs");
    ASSERT_TOLD("outdated b 7.1.1; ");
    ck_assert(shows("b", "mine"));
    advance(2 * TTL);
    ck_assert_uint_eq(asked_count, 3); /* of a */
    ASSERT_TOLD("outdated b 7.1.1; ");
    grant = v(8, 1, 0);
    restamp("b");
    ASSERT_TOLD("written b 8.1.3 mine; ");
    assert_asked(3, true, "b", v(8, 1, 3));
    dumped(3, 0);
    ASSERT_TOLD("stored b 8.1.3; ");
}
END_TEST

/* ---- dumps ----------------------------------------------------------------------------------- */

START_TEST(a_confirmed_dump_is_told)
{
    set("a", "one");
    told[0] = 0;
    persist("a", &w[0]);
    set("a", "two");
    told[0] = 0;
    dumped(0, 0);
    ASSERT_TOLD("stored a 5.1.1; ");
    ASSERT_ANSWERED("0 done; ");
    persist("a", NULL);
    conflicted(1, v(5, 1, 2)); /* an earlier attempt of ours, whose answer was lost */
    ASSERT_TOLD("stored a 5.1.2; released a; ");
    ck_assert_uint_eq(metrics()->dirty, 0);
}
END_TEST

START_TEST(an_older_version_in_the_warehouse_is_replaced_at_once)
{
    set("a", "one");
    persist("a", &w[0]);
    told[0] = 0;
    conflicted(0, v(4, 7, 80));
    assert_asked(1, true, "a", v(5, 1, 1));
    ck_assert(asked[1].expected_known);
    ck_assert_int_eq(version_compare(asked[1].expected, v(4, 7, 80)), 0);
    dumped(1, 0);
    ASSERT_TOLD("stored a 5.1.1; released a; ");
    ASSERT_ANSWERED("0 done; ");
    /* Not for ever. */
    set("b", "one");
    persist("b", NULL);
    for (size_t i = 2; i < 6; i++)
        conflicted(i, v(4, 7, 80 + i));
    ck_assert_uint_eq(asked_count, 6);
    ck_assert_uint_eq(metrics()->dumps_failed, 1);
    advance(300);
    ck_assert_uint_eq(asked_count, 7);
}
END_TEST

START_TEST(a_newer_version_in_the_warehouse_waits_for_a_higher_grant)
{
    set("a", "one");
    persist("a", &w[0]);
    told[0] = 0;
    conflicted(0, v(6, 1, 1));
    ASSERT_TOLD("outdated a 6.1.1; ");
    ck_assert_uint_eq(metrics()->dirty, 1);
    ck_assert(shows("a", "one"));
    /* Not dumped, whoever asks; told again with each retry. */
    persist("a", NULL);
    ASSERT_TOLD("outdated a 6.1.1; ");
    advance(1000);
    ASSERT_TOLD("outdated a 6.1.1; ");
    advance(1000);
    ASSERT_TOLD("outdated a 6.1.1; ");
    ck_assert_uint_eq(asked_count, 1);
    ASSERT_ANSWERED("");
    grant = v(6, 2, 0);
    ck_assert_int_eq(restamp("a"), 0);
    ASSERT_TOLD("written a 6.2.2 one; ");
    assert_asked(1, true, "a", v(6, 2, 2));
    ck_assert_int_eq(version_compare(asked[1].expected, v(6, 1, 1)), 0);
    dumped(1, 0);
    ASSERT_TOLD("stored a 6.2.2; released a; ");
    ASSERT_ANSWERED("0 done; ");
}
END_TEST

START_TEST(a_dump_overtaken_by_a_restamp_is_not_outdated)
{
    set("a", "one");
    persist("a", NULL);
    grant = v(8, 1, 0);
    told[0] = 0;
    ck_assert_int_eq(restamp("a"), 0);
    ASSERT_TOLD("written a 8.1.2 one; ");
    conflicted(0, v(6, 1, 1)); /* newer than what was dumped, older than what it is now */
    ASSERT_TOLD("");
    assert_asked(1, true, "a", v(8, 1, 2));
    /* The confirmation of an older version does not make it clean. */
    grant = v(9, 1, 0);
    restamp("a");
    told[0] = 0;
    dumped(1, 0);
    ASSERT_TOLD("stored a 8.1.2; ");
    ck_assert_uint_eq(metrics()->dirty, 1);
}
END_TEST

START_TEST(a_restamp_that_fails_is_made_up_for_by_the_retry)
{
    set("a", "one");
    persist("a", NULL);
    store_written(store, 1, 0, now);
    conflicted(0, v(6, 1, 1));
    grant = v(7, 1, 0);
    told[0] = 0;
    reserve_status = BRAIN_ENOMEM;
    ck_assert_int_eq(restamp("a"), BRAIN_ENOMEM);
    reserve_status = 0;
    journal_status = BRAIN_EJOURNAL;
    ck_assert_int_eq(restamp("a"), BRAIN_EJOURNAL);
    advance(1000);
    ASSERT_TOLD("outdated a 6.1.1; ");
    journal_status = 0;
    advance(1000);
    ASSERT_TOLD("written a 7.1.4 one; ");
    store_written(store, 100, 0, now);
    assert_asked(1, true, "a", v(7, 1, 4));
    /* Nothing to do. */
    grant.view = 0;
    ck_assert_int_eq(restamp("a"), BRAIN_EUNAVAILABLE);
    ck_assert_int_eq(restamp("nobody"), 0);
}
END_TEST

START_TEST(no_dump_begins_while_it_may_not)
{
    may_dump = false;
    set("a", "one");
    persist("a", &w[0]);
    ck_assert_uint_le(advance(1), 100);
    set("b", "two");
    for (unsigned i = 0; i < 30; i++) {
        ck_assert_uint_le(advance(50), 100);
        ck_assert_uint_ge(advance(0), 1);
    }
    store_drain(store, now);
    ck_assert_uint_eq(asked_count, 0);
    may_dump = true;
    advance(1);
    ck_assert_uint_eq(asked_count, 2);
}
END_TEST

START_TEST(a_dump_held_for_its_record_does_not_begin_either)
{
    set("a", "one");
    persist("a", &w[0]);
    may_dump = false;
    store_written(store, 1, 0, now);
    ck_assert_uint_eq(asked_count, 0);
    ck_assert_uint_le(advance(1), 100);
    may_dump = true;
    advance(100);
    assert_asked(0, true, "a", v(5, 1, 1));
}
END_TEST

/* ---- released -------------------------------------------------------------------------------- */

START_TEST(what_leaves_ram_by_itself_is_released)
{
    have("idle", v(1, 1, 1), "one");
    advance(3 * TTL);
    ASSERT_TOLD("released idle; ");
    have("p", v(1, 1, 1), "one");
    persist("p", NULL);
    ASSERT_TOLD("released p; ");
    set("tomb", "one");
    erase("tomb");
    persist("tomb", NULL);
    told[0] = 0;
    dumped(asked_count - 1, 0);
    ASSERT_TOLD("stored tomb 5.1.2; released tomb; ");
}
END_TEST

START_TEST(what_leaves_for_the_memory_limit_is_released)
{
    open_with(1);
    uint64_t empty = metrics()->memory;
    open_with(empty + 200000);
    char id[16], big[8000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    unsigned dropped = 0;
    for (unsigned i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "m%u", i);
        get(id, &w[0]);
        loaded(asked_count - 1, v(1, 1, 1), big);
        for (const char *at = told; (at = strstr(at, "released m")) != NULL; at++)
            dropped++;
        told[0] = answered[0] = 0;
    }
    ck_assert_uint_gt(dropped, 10);
    ck_assert_uint_eq(metrics()->dropped_memory, dropped);
}
END_TEST

/* ---- copies ---------------------------------------------------------------------------------- */

START_TEST(a_copy_that_is_greater_becomes_a_write)
{
    ck_assert_int_eq(adopt("a", v(4, 4, 7), "copy"), 0);
    assert_asked(0, false, "a", NONE);
    ck_assert(store_is_resident(store, id_of("a"), store_hash(store, id_of("a"))));
    ck_assert_int_eq(get("a", &w[0]), STORE_WAIT);
    loaded(0, v(4, 4, 6), "older");
    ASSERT_TOLD("written a 5.1.1 copy; ");
    ASSERT_ANSWERED("0 found copy; ");
    ck_assert(shows("a", "copy"));
    ck_assert_uint_eq(metrics()->dirty, 1);
    /* Its dump knows what is there. */
    persist("a", NULL);
    assert_asked(1, true, "a", v(5, 1, 1));
    ck_assert_int_eq(version_compare(asked[1].expected, v(4, 4, 6)), 0);
    /* Nothing there: the same. */
    adopt("b", v(4, 4, 7), "copy");
    get("b", &w[0]);
    answered[0] = told[0] = 0;
    loaded(2, NONE, NULL);
    ASSERT_TOLD("written b 5.1.2 copy; ");
    ASSERT_ANSWERED("0 found copy; ");
}
END_TEST

START_TEST(a_copy_that_is_not_greater_gives_way)
{
    adopt("a", v(4, 4, 7), "copy");
    get("a", &w[0]);
    loaded(0, v(4, 4, 7), "stored");
    ASSERT_TOLD("stored a 4.4.7; ");
    ASSERT_ANSWERED("0 found stored; ");
    ck_assert_uint_eq(metrics()->dirty, 0);
    adopt("b", v(4, 4, 7), "copy");
    get("b", &w[0]);
    loaded(1, v(4, 5, 1), NULL); /* deleted meanwhile */
    ASSERT_TOLD("stored b 4.5.1; released b; ");
    ASSERT_ANSWERED("0 absent; ");
}
END_TEST

START_TEST(a_copy_may_be_a_tombstone)
{
    adopt("a", v(4, 4, 7), NULL);
    get("a", &w[0]);
    loaded(0, v(4, 4, 6), "older");
    ASSERT_TOLD("written a 5.1.1 deleted; ");
    ASSERT_ANSWERED("0 absent; ");
    ck_assert_int_eq(get("a", NULL), STORE_ABSENT);
    ck_assert_uint_eq(metrics()->dirty, 1);
    persist("a", NULL);
    assert_asked(1, true, "a", v(5, 1, 1));
    told[0] = 0;
    dumped(1, 0);
    ASSERT_TOLD("stored a 5.1.1; released a; ");
}
END_TEST

START_TEST(a_copy_waits_for_a_load_as_long_as_it_takes)
{
    adopt("a", v(4, 4, 7), "copy");
    get("a", &w[0]);
    load_fails(0);
    ASSERT_ANSWERED("0 warehouse; ");
    ASSERT_TOLD("");
    ck_assert_int_eq(get("a", NULL), STORE_WAIT);
    for (size_t i = 1; i < 20; i++) {
        ck_assert_uint_eq(asked_count, i);
        ck_assert_uint_eq(metrics()->loading, 0);
        ck_assert_uint_le(advance(0), 1000);
        advance(1100); /* not before retry_max_ms */
        ck_assert_uint_eq(asked_count, i + 1);
        load_fails(i);
    }
    /* Who asks meanwhile does not wait for that. */
    get("a", &w[1]);
    ck_assert_uint_eq(asked_count, 21);
    loaded(20, NONE, NULL);
    ASSERT_ANSWERED("1 found copy; ");
    ASSERT_TOLD("written a 5.1.1 copy; ");
    advance(5);
    ck_assert_uint_eq(asked_count, 21);
}
END_TEST

START_TEST(a_copy_that_cannot_be_written_is_kept)
{
    adopt("a", v(4, 4, 7), "copy");
    get("a", &w[0]);
    journal_status = BRAIN_EJOURNAL;
    loaded(0, NONE, NULL);
    ASSERT_ANSWERED("0 journal; ");
    advance(1000);
    ck_assert_uint_eq(asked_count, 2);
    journal_status = 0;
    reserve_status = BRAIN_ENOMEM;
    get("a", &w[0]);
    loaded(1, NONE, NULL);
    ASSERT_ANSWERED("0 nomem; ");
    reserve_status = 0;
    advance(1000);
    grant.view = 0;
    loaded(2, NONE, NULL);
    ASSERT_TOLD("");
    grant.view = 5;
    advance(1000);
    loaded(3, NONE, NULL);
    ck_assert_uint_eq(asked_count, 4);
    ck_assert(shows("a", "copy"));
    ck_assert_uint_eq(metrics()->dirty, 1);
}
END_TEST

START_TEST(a_write_replaces_the_copy)
{
    uint64_t memory = metrics()->memory;
    adopt("a", v(4, 4, 7), "copy");
    ck_assert_uint_gt(metrics()->memory, memory + strlen("copy") + sizeof(struct value));
    get("a", &w[0]);
    set("a", "mine");
    ASSERT_TOLD("written a 5.1.1 mine; ");
    get("a", &w[1]);
    loaded(0, v(4, 4, 6), "older"); /* who came before the write sees what was before it */
    ASSERT_ANSWERED("0 found copy; 1 found mine; ");
    ASSERT_TOLD("stored a 4.4.6; ");
    ck_assert(shows("a", "mine"));
    /* And while it waits for the next load: that is not needed any more. */
    adopt("b", v(4, 4, 7), "copy");
    load_fails(1);
    set("b", "mine");
    advance(50);
    ck_assert_uint_eq(asked_count, 2);
    ck_assert(shows("b", "mine"));
    adopt("c", v(4, 4, 7), "copy");
    load_fails(2);
    answered[0] = 0;
    ck_assert_int_eq(set_as("c", "mine", STORE_ACK_WAREHOUSE, &w[0]), STORE_WAIT);
    ck_assert_uint_eq(asked_count, 4);
    dumped(3, 0);
    ASSERT_ANSWERED("0 done; ");
}
END_TEST

START_TEST(a_copy_above_the_grant_is_outdated)
{
    /* The warehouse is above the grant, the copy above the warehouse. */
    adopt("a", v(7, 1, 9), "copy");
    loaded(0, v(7, 1, 3), "older");
    ASSERT_TOLD("written a 5.1.1 copy; outdated a 7.1.3; ");
    persist("a", NULL);
    ASSERT_TOLD("outdated a 7.1.3; ");
    ck_assert_uint_eq(asked_count, 1);
    grant = v(8, 1, 0);
    restamp("a");
    assert_asked(1, true, "a", v(8, 1, 2));
}
END_TEST

START_TEST(a_copy_can_be_persisted)
{
    adopt("a", v(4, 4, 7), "copy");
    ck_assert_int_eq(persist("a", &w[0]), STORE_WAIT);
    load_fails(0);
    ASSERT_ANSWERED("0 warehouse; ");
    ck_assert_int_eq(persist("a", &w[0]), STORE_WAIT); /* looks again at once */
    ck_assert_uint_eq(asked_count, 2);
    loaded(1, NONE, NULL);
    ck_assert_uint_eq(asked_count, 3);
    told[0] = 0;
    dumped(2, 0);
    ASSERT_ANSWERED("0 done; ");
    ASSERT_TOLD("stored a 5.1.1; released a; ");
}
END_TEST

/* ---- what others ask ------------------------------------------------------------------------- */

START_TEST(peeks)
{
    struct version version;
    struct value value;
    bool deleted;
    struct slice a = id_of("a"), b = id_of("b"), c = id_of("c");
    ck_assert(!store_peek_dirty(store, a, &version, &value, &deleted));
    ck_assert(!store_peek_stored(store, a, &version));
    have("a", v(1, 2, 3), "one");
    ck_assert(!store_peek_dirty(store, a, &version, &value, &deleted));
    ck_assert(store_peek_stored(store, a, &version));
    ck_assert_int_eq(version_compare(version, v(1, 2, 3)), 0);
    set("a", "two");
    ck_assert(store_peek_dirty(store, a, &version, &value, &deleted));
    ck_assert_int_eq(version_compare(version, v(5, 1, 1)), 0);
    ck_assert(!deleted && value.size == 3 && memcmp(value.data, "two", 3) == 0);
    ck_assert(store_peek_stored(store, a, &version));
    ck_assert_int_eq(version_compare(version, v(1, 2, 3)), 0);
    set("b", "new");
    ck_assert(!store_peek_stored(store, b, &version));
    erase("b");
    ck_assert(store_peek_dirty(store, b, &version, &value, &deleted));
    ck_assert(deleted && !value.data);
    persist("b", NULL);
    ck_assert(!store_peek_stored(store, b, &version));
    set("b", "again");
    dumped(asked_count - 1, 0);
    ck_assert(store_peek_stored(store, b, &version));
    ck_assert_int_eq(version_compare(version, v(5, 1, 3)), 0);
    adopt("c", v(4, 1, 1), "copy");
    ck_assert(!store_peek_dirty(store, c, &version, &value, &deleted));
    ck_assert(!store_peek_stored(store, c, &version));
    loaded(asked_count - 1, NONE, NULL);
    ck_assert(store_peek_dirty(store, c, &version, &value, &deleted));
}
END_TEST

START_TEST(next_sees_all_that_stays)
{
    enum { COUNT = 3000 };
    char id[16];
    uint8_t bytes[ID_LIMIT], *seen = calloc(COUNT, 1);
    size_t size;
    uint64_t cursor = 0;
    ck_assert(!store_next(store, &cursor, bytes, &size) || size == 0);
    cursor = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(id, sizeof(id), "n%u", i);
        set(id, "x");
        told[0] = 0;
    }
    struct version version;
    struct value value;
    bool deleted;
    unsigned calls = 0;
    do {
        /* Every fourth goes meanwhile, so that buckets merge; then others come. */
        snprintf(id, sizeof(id), "n%u", calls % COUNT);
        if (calls < COUNT && calls % 4 != 0 &&
            store_part(store, id_of(id), &version, &value, &deleted) == STORE_GONE_DIRTY)
            value_drop(&value);
        snprintf(id, sizeof(id), "late%u", calls);
        if (calls > COUNT / 2 && calls < 2 * COUNT)
            set(id, "x");
        told[0] = 0;
        ck_assert_uint_lt(++calls, 100 * COUNT);
        if (!store_next(store, &cursor, bytes, &size))
            break;
        if (size > 0 && bytes[0] == 'n') {
            bytes[size] = 0;
            seen[atoi((char *)bytes + 1)] = 1;
        }
    } while (true);
    ck_assert_uint_eq(cursor, 0);
    for (unsigned i = 0; i < COUNT; i += 4)
        ck_assert_msg(seen[i], "n%u was not seen", i);
    ck_assert_uint_gt(calls, COUNT / 4);
    free(seen);
}
END_TEST

START_TEST(next_looks_at_a_few_hundred_places)
{
    char id[16];
    uint8_t bytes[ID_LIMIT];
    size_t size;
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(id, sizeof(id), "n%u", i);
        set(id, "x");
        told[0] = 0;
    }
    store_drain(store, now); /* the table keeps its buckets */
    struct version version;
    struct value value;
    bool deleted;
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(id, sizeof(id), "n%u", i);
        if (store_part(store, id_of(id), &version, &value, &deleted) == STORE_GONE_DIRTY)
            value_drop(&value);
    }
    unsigned empty = 0;
    uint64_t cursor = 0;
    while (store_next(store, &cursor, bytes, &size)) {
        empty += size == 0;
        ck_assert_uint_lt(empty, 1000);
    }
    ck_assert_uint_gt(empty, 1);
}
END_TEST

/* ---- giving up one --------------------------------------------------------------------------- */

static enum store_parted part(const char *id, struct version *version)
{
    struct value value = value_none();
    bool deleted = false;
    *version = NONE;
    enum store_parted parted = store_part(store, id_of(id), version, &value, &deleted);
    copy_text(text, parted == STORE_GONE_DIRTY ? &value : NULL);
    if (parted == STORE_GONE_DIRTY) {
        ck_assert(deleted ? !value.block : value.block != NULL);
        value_drop(&value);
    }
    return parted;
}

START_TEST(part_gives_up_what_rests)
{
    struct version version;
    ck_assert_int_eq(part("a", &version), STORE_GONE_CLEAN);
    have("a", v(1, 1, 1), "one");
    ck_assert_int_eq(part("a", &version), STORE_GONE_CLEAN);
    ck_assert_int_eq(get("a", NULL), STORE_WAIT);
    set("b", "two");
    erase("c");
    set("d", "cold");
    told[0] = 0;
    ck_assert_int_eq(part("b", &version), STORE_GONE_DIRTY);
    ck_assert_int_eq(version_compare(version, v(5, 1, 1)), 0);
    ck_assert_str_eq(text, "two");
    ck_assert_int_eq(part("c", &version), STORE_GONE_DIRTY);
    ck_assert_int_eq(version_compare(version, v(5, 1, 2)), 0);
    may_dump = false; /* so it is cold, and listed */
    advance(2 * TTL);
    persist("d", NULL);
    ck_assert_int_eq(part("d", &version), STORE_GONE_DIRTY);
    ck_assert_str_eq(text, "cold");
    ASSERT_TOLD("");
    ck_assert_uint_eq(metrics()->dirty + metrics()->objects + metrics()->bytes, 0);
    ck_assert_uint_eq(metrics()->oldest_dirty_ms, 0);
    may_dump = true;
    advance(2 * TTL);
    ck_assert_uint_eq(asked_count, 1);
    ASSERT_TOLD("");
}
END_TEST

START_TEST(part_leaves_what_is_under_way)
{
    struct version version;
    get("a", &w[0]);
    ck_assert_int_eq(part("a", &version), STORE_BUSY); /* a load */
    loaded(0, v(1, 1, 1), "one");
    ck_assert_int_eq(part("a", &version), STORE_GONE_CLEAN);
    set("b", "two");
    persist("b", NULL);
    ck_assert_int_eq(part("b", &version), STORE_BUSY); /* a dump */
    dumped(1, 0);
    may_dump = false;
    set("c", "three");
    persist("c", &w[0]);
    ck_assert_int_eq(part("c", &version), STORE_BUSY); /* somebody who waits */
    set_as("d", "four", STORE_ACK_WAREHOUSE, &w[1]);
    ck_assert_int_eq(part("d", &version), STORE_BUSY);
    adopt("e", v(4, 4, 4), "copy");
    load_fails(2);
    ck_assert_int_eq(part("e", &version), STORE_BUSY); /* a copy to be compared */
    advance(6000);
    ck_assert_int_eq(part("c", &version), STORE_GONE_DIRTY); /* who waited has left */
}
END_TEST

START_TEST(part_leaves_the_record_live)
{
    struct version version;
    set("a", "one");
    set_as("b", "two", STORE_ACK_JOURNAL, &w[0]);
    ck_assert_int_eq(part("a", &version), STORE_GONE_DIRTY);
    ck_assert_int_eq(records[1], 2);
    ck_assert_int_eq(part("b", &version), STORE_BUSY); /* a write that waits for the journal */
    store_written(store, 2, 0, now);
    ck_assert_int_eq(part("b", &version), STORE_GONE_DIRTY);
    ck_assert_int_eq(records[2], 2);
    /* A write that was written over, and still waits for the journal. */
    set_as("e", "four", STORE_ACK_JOURNAL, &w[1]);
    set("e", "five");
    ck_assert_int_eq(part("e", &version), STORE_BUSY);
    store_written(store, 4, 0, now);
    ck_assert_int_eq(part("e", &version), STORE_GONE_DIRTY);
    /* A dump that waits for its record. */
    set("c", "three");
    persist("c", NULL);
    ck_assert_int_eq(part("c", &version), STORE_BUSY);
    ck_assert_uint_eq(asked_count, 0);
}
END_TEST

/* ---- giving up all --------------------------------------------------------------------------- */

START_TEST(abandon_hands_over_what_is_dirty_before_it_answers)
{
    have("clean", v(1, 1, 1), "one");
    set("dirty", "two");
    told[0] = answered[0] = 0;
    ck_assert(abandon_all());
    ASSERT_TOLD("keep dirty 5.1.1 two; ");
    ASSERT_ANSWERED("keep; ");
    erase("t");
    told[0] = 0;
    ck_assert(abandon_all());
    ASSERT_TOLD("keep t 5.1.2 deleted; ");
    answered[0] = 0;
    set_as("a", "one", STORE_ACK_WAREHOUSE, &w[0]);
    get("a", &w[1]);
    persist("a", &w[2]);
    told[0] = 0;
    ck_assert(abandon_all());
    ASSERT_TOLD("keep a 5.1.3 one; ");
    ASSERT_ANSWERED("keep; 1 unavailable; 0 unknown; 2 unavailable; ");
    ck_assert_uint_eq(metrics()->waiting, 0);
    adopt("c", v(4, 4, 4), "copy");
    get("c", &w[1]);
    adopt("d", v(4, 4, 5), NULL);
    load_fails(asked_count - 1);
    ck_assert(abandon_all());
    ck_assert(strstr(told, "keep c 4.4.4 copy; ") && strstr(told, "keep d 4.4.5 deleted; "));
    ck_assert(strcmp(answered, "keep; 1 unavailable; keep; ") == 0 ||
              strcmp(answered, "keep; keep; 1 unavailable; ") == 0);
}
END_TEST

START_TEST(abandon_ignores_late_results)
{
    uint64_t memory = metrics()->memory;
    get("a", &w[0]);
    set("b", "two");
    persist("b", NULL);
    ck_assert_uint_eq(asked_count, 2);
    told[0] = 0;
    ck_assert(abandon_all());
    ck_assert_uint_eq(metrics()->loading, 1);
    ck_assert_uint_eq(metrics()->persisting, 1);
    ck_assert_uint_eq(metrics()->dirty + metrics()->objects + metrics()->bytes, 0);
    ck_assert(!store_is_resident(store, id_of("a"), store_hash(store, id_of("a"))));
    /* The same ids come again, before that is over. */
    grant = v(7, 1, 0);
    told[0] = answered[0] = 0;
    get("a", &w[1]);
    set("b", "new");
    persist("b", &w[2]);
    ck_assert_uint_eq(asked_count, 4);
    ASSERT_TOLD("written b 7.1.2 new; ");
    loaded(0, v(1, 1, 1), "late");
    dumped(1, 0);
    ASSERT_TOLD("");
    ASSERT_ANSWERED("");
    ck_assert_uint_eq(metrics()->loading, 1);
    ck_assert_uint_eq(metrics()->persisting, 1);
    ck_assert_uint_eq(metrics()->dumps_done + metrics()->loads_found, 0);
    loaded(2, v(1, 1, 2), "one");
    dumped(3, 0);
    ASSERT_ANSWERED("1 found one; 2 done; ");
    ASSERT_TOLD("stored a 1.1.2; stored b 7.1.2; released b; ");
    ck_assert(abandon_all());
    ck_assert_uint_eq(metrics()->loading + metrics()->persisting, 0);
    ck_assert_uint_le(metrics()->memory, memory + 70000); /* a page or so, no object */
}
END_TEST

START_TEST(abandon_gives_the_places_of_dumps_back_when_they_end)
{
    for (char id[2] = "a"; id[0] <= 'd'; id[0]++) {
        set(id, "one");
        persist(id, NULL);
    }
    ck_assert_uint_eq(asked_count, 4); /* dumps_parallel */
    ck_assert(abandon_all());
    grant = v(7, 1, 0);
    set("e", "two");
    persist("e", NULL);
    ck_assert_uint_eq(asked_count, 4);
    dumped(0, BRAIN_EWAREHOUSE);
    assert_asked(4, true, "e", v(7, 1, 5));
    for (size_t i = 1; i < 5; i++)
        dumped(i, 0);
}
END_TEST

START_TEST(abandon_with_a_journal)
{
    set_as("a", "one", STORE_ACK_JOURNAL, &w[0]);
    get("a", &w[1]);
    set("b", "two");
    persist("b", &w[2]); /* held for its record */
    told[0] = 0;
    ck_assert(abandon_all());
    ck_assert(strstr(told, "keep recorded a 5.1.1 one; "));
    ck_assert(strstr(told, "keep recorded b 5.1.2 two; "));
    ck_assert(strstr(answered, "1 unavailable; ") && strstr(answered, "2 unavailable; "));
    ck_assert(strstr(answered, "0 unknown; "));
    ck_assert_int_eq(records[1], 2);
    ck_assert_int_eq(records[2], 2);
    ck_assert(!store_awaits_records(store));
    told[0] = answered[0] = 0;
    store_written(store, 2, 0, now);
    advance(6000);
    ck_assert_uint_eq(asked_count, 0);
    ASSERT_TOLD("");
    ASSERT_ANSWERED("");
    ck_assert_uint_eq(metrics()->waiting + metrics()->dirty, 0);
}
END_TEST

START_TEST(abandon_goes_by_its_budget)
{
    enum { COUNT = 5000 };
    char id[16];
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(id, sizeof(id), "n%u", i);
        set(id, "x");
        told[0] = 0;
    }
    uint64_t before = metrics()->dirty;
    ck_assert(!store_abandon(store, 10, now, on_keep));
    ck_assert_uint_ge(metrics()->dirty, before - 10);
    unsigned calls = 0;
    while (!store_abandon(store, 100, now, on_keep)) {
        told[0] = answered[0] = 0;
        ck_assert_uint_lt(++calls, COUNT);
    }
    ck_assert_uint_ge(calls, COUNT / 100);
    ck_assert_uint_eq(metrics()->dirty + metrics()->objects, 0);
    told[0] = 0;
    set("a", "again");
    ASSERT_TOLD("written a 5.1.5001 again; ");
    ck_assert(shows("a", "again"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/member");
    TCase *tcase = tcase_create("alone");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_write_is_stamped_with_the_grant_and_told);
    tcase_add_test(tcase, backup_is_for_the_store_the_same_as_memory);
    tcase_add_test(tcase, a_write_without_grant_or_memory_for_it_changes_nothing);
    tcase_add_test(tcase, a_get_without_waiter_neither_waits_nor_loads);
    tcase_add_test(tcase, a_load_tells_what_is_stored_and_an_absent_object_is_released);
    tcase_add_test(tcase, a_load_above_the_grant_is_outdated);
    tcase_add_test(tcase, a_write_during_a_load_is_compared_with_what_it_brings);
    tcase_add_test(tcase, a_confirmed_dump_is_told);
    tcase_add_test(tcase, an_older_version_in_the_warehouse_is_replaced_at_once);
    tcase_add_test(tcase, a_newer_version_in_the_warehouse_waits_for_a_higher_grant);
    tcase_add_test(tcase, a_dump_overtaken_by_a_restamp_is_not_outdated);
    tcase_add_test(tcase, no_dump_begins_while_it_may_not);
    tcase_add_test(tcase, what_leaves_ram_by_itself_is_released);
    tcase_add_test(tcase, what_leaves_for_the_memory_limit_is_released);
    tcase_add_test(tcase, a_copy_that_is_greater_becomes_a_write);
    tcase_add_test(tcase, a_copy_that_is_not_greater_gives_way);
    tcase_add_test(tcase, a_copy_may_be_a_tombstone);
    tcase_add_test(tcase, a_copy_waits_for_a_load_as_long_as_it_takes);
    tcase_add_test(tcase, a_write_replaces_the_copy);
    tcase_add_test(tcase, a_copy_above_the_grant_is_outdated);
    tcase_add_test(tcase, a_copy_can_be_persisted);
    tcase_add_test(tcase, peeks);
    tcase_add_test(tcase, next_sees_all_that_stays);
    tcase_add_test(tcase, next_looks_at_a_few_hundred_places);
    tcase_add_test(tcase, part_gives_up_what_rests);
    tcase_add_test(tcase, part_leaves_what_is_under_way);
    tcase_add_test(tcase, abandon_hands_over_what_is_dirty_before_it_answers);
    tcase_add_test(tcase, abandon_ignores_late_results);
    tcase_add_test(tcase, abandon_gives_the_places_of_dumps_back_when_they_end);
    tcase_add_test(tcase, abandon_goes_by_its_budget);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("journal");
    tcase_add_checked_fixture(tcase, setup_journal, teardown);
    tcase_add_test(tcase, a_refused_record_is_not_told);
    tcase_add_test(tcase, compaction_of_the_journal_keeps_the_epoch);
    tcase_add_test(tcase, a_restamp_that_fails_is_made_up_for_by_the_retry);
    tcase_add_test(tcase, a_dump_held_for_its_record_does_not_begin_either);
    tcase_add_test(tcase, a_copy_that_cannot_be_written_is_kept);
    tcase_add_test(tcase, part_leaves_the_record_live);
    tcase_add_test(tcase, abandon_with_a_journal);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
