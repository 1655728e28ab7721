#include "store_fixture.h"

#include <check.h>
#include <string.h>

#include "heap_fault.h"

struct store *store;
struct asked asked[ASKED_MAX];
struct answered answers[ANSWERS_MAX];
struct record records[RECORDS_MAX];
size_t asked_count, answers_count, records_count, asides;
char aside[32];
struct store_waiter w[16];
int journal_status;
bool at_once;
uint64_t now;
char text[32];

static void copy_text(char out[32], const struct value *value)
{
    size_t size = value && value->size < 31 ? value->size : 0;
    if (size > 0)
        memcpy(out, value->data, size);
    out[size] = 0;
}

/* ---- events ---------------------------------------------------------------------------------- */

static struct asked *ask(struct object *object, struct slice id, bool dump)
{
    struct asked *it = &asked[asked_count++ % ASKED_MAX];
    *it = (struct asked){.object = object, .dump = dump};
    memcpy(it->id, id.data, id.size < 31 ? id.size : 31);
    return it;
}

static void on_load(void *context, struct object *object, struct slice id)
{
    (void)context;
    ask(object, id, false);
    if (at_once)
        store_loaded(store, object, STORE_ABSENT, NULL, NULL, now);
}

static void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value)
{
    (void)context;
    struct asked *it = ask(object, id, true);
    it->version = version;
    it->expected_known = expected != NULL;
    if (expected)
        it->expected = *expected;
    it->tombstone = value == NULL;
    it->size = value ? value->size : 0;
    copy_text(it->value, value);
    if (at_once)
        store_dumped(store, object, 0, NULL, now);
}

static void on_set_aside(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)context, (void)id, (void)version;
    asides++;
    copy_text(aside, value);
}

static int on_record(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)context, (void)id;
    if (journal_status != 0)
        return journal_status;
    records[records_count++ % RECORDS_MAX] =
        (struct record){.seq = version.seq, .tombstone = value == NULL};
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
    struct answered *it = &answers[answers_count++ % ANSWERS_MAX];
    it->waiter = waiter;
    it->status = status;
    copy_text(it->value, value);
}

/* ---- setting up ------------------------------------------------------------------------------ */

struct store_options options_default(void)
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

void open_with(struct store_options options, bool journal)
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

void setup(void)
{
    heap_fault_start(0);
    store = NULL;
    asides = 0;
    open_with(options_default(), false);
}

void teardown(void)
{
    store_destroy(store);
    heap_fault_stop();
}

void setup_journal(void)
{
    heap_fault_start(0);
    store = NULL;
    asides = 0;
    open_with(options_default(), true);
}

void teardown_journal(void)
{
    ck_assert_uint_eq(asides, 0);
    teardown();
}

/* ---- requests and results -------------------------------------------------------------------- */

const struct store_metrics *metrics(void)
{
    return store_metrics(store, now);
}

static struct value value_of(const char *bytes)
{
    struct slice slice = slice_of_string(bytes);
    return (struct value){NULL, slice.data, slice.size};
}

int set_as(const char *id, const char *value, enum store_ack ack, struct store_waiter *waiter)
{
    return store_set(store, slice_of_string(id), value_of(value), ack, now, waiter);
}

int set(const char *id, const char *value)
{
    return set_as(id, value, STORE_ACK_MEMORY, NULL);
}

int erase(const char *id)
{
    return store_delete(store, slice_of_string(id), STORE_ACK_MEMORY, now, NULL);
}

int get(const char *id, struct store_waiter *waiter)
{
    struct value value = value_none();
    int status = store_get(store, slice_of_string(id), now, &value, waiter);
    copy_text(text, status == STORE_FOUND ? &value : NULL);
    return status;
}

int get_is(const char *id, const char *want)
{
    int status = get(id, NULL);
    ck_assert_str_eq(text, want);
    return status;
}

int persist(const char *id, struct store_waiter *waiter)
{
    return store_persist(store, slice_of_string(id), now, waiter);
}

void restore(const char *id, struct version version, const char *value)
{
    struct value restored = value_of(value);
    records[records_count++] = (struct record){.seq = version.seq};
    ck_assert_int_eq(
        store_restore(store, slice_of_string(id), version, value[0] ? &restored : NULL, now), 0);
}

void loaded(size_t i, int status, struct version version, const char *value)
{
    ck_assert_uint_lt(i, asked_count);
    ck_assert(!asked[i].dump);
    struct value there = value_of(value);
    store_loaded(store, asked[i].object, status, status < 0 ? NULL : &version,
        status == 0 ? &there : NULL, now);
}

void dumped(size_t i, int status)
{
    ck_assert_uint_lt(i, asked_count);
    store_dumped(store, asked[i].object, status, NULL, now);
}

void journal_is_ahead(void)
{
    store_written(store, 1000000, 0, now);
}

void advance(uint64_t ms)
{
    now += ms;
    for (unsigned turn = 0; store_advance(store, now, 1000) == 0; turn++)
        ck_assert_uint_lt(turn, 1000);
}

void assert_version(struct version a, struct version b)
{
    ck_assert_int_eq(version_compare(a, b), 0);
}

void assert_answer(size_t i, struct store_waiter *waiter, int status, const char *value)
{
    ck_assert_uint_gt(answers_count, i);
    ck_assert_ptr_eq(answers[i].waiter, waiter);
    ck_assert_int_eq(answers[i].status, status);
    ck_assert_str_eq(answers[i].value, value);
}
