#include "member_fixture.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/etf.h"
#include "heap_fault.h"

struct store *store;
struct asked asked[ASKED_MAX];
size_t asked_count;
int8_t records[RECORDS_MAX];
uint64_t last_seq;
bool journal, may_dump;
int journal_status, reserve_status;
struct version grant;
unsigned grants_asked;
struct store_waiter w[8];
struct version kept_version;
uint64_t now;
char told[LOG_SIZE], answered[LOG_SIZE], text[16];

static void note(char *log, const char *format, ...)
{
    size_t used = strlen(log);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(log + used, LOG_SIZE - used, format, arguments);
    va_end(arguments);
}

void copy_text(char out[16], const struct value *value)
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

void is_and_clear(char *log, const char *wanted)
{
    ck_assert_str_eq(log, wanted);
    log[0] = 0;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void ask(struct object *object, struct slice id, bool dump)
{
    ck_assert_uint_lt(asked_count, ASKED_MAX);
    memset(&asked[asked_count], 0, sizeof(asked[0]));
    asked[asked_count].object = object;
    asked[asked_count].dump = dump;
    asked[asked_count].wanted = store_is_wanted(object);
    store_set_operation(object, &asked[asked_count]);
    memcpy(asked[asked_count++].id, id.data, id.size < 15 ? id.size : 15);
}

static void on_wanted(void *context, struct object *object)
{
    (void)context;
    struct asked *operation = store_operation(object);
    ck_assert(!operation->over);
    operation->wanted = true;
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

void on_keep(
    void *member, struct slice id, struct version version, const struct value *value, bool recorded)
{
    ck_assert_ptr_eq(member, told);
    note_version(recorded ? "keep recorded" : "keep", id, version);
    note_value(value);
    note(answered, "keep; "); /* the order of both */
    kept_version = version;
}

/* ---- setting up ------------------------------------------------------------------------------ */

void open_with(uint64_t memory_limit)
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
        .wanted = on_wanted,
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

void setup(void)
{
    heap_fault_start(0);
    store = NULL;
    journal = false;
    open_with(0);
}

void setup_journal(void)
{
    heap_fault_start(0);
    store = NULL;
    journal = true;
    open_with(0);
}

void teardown(void)
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

const struct store_metrics *metrics(void)
{
    return store_metrics(store, now);
}

struct slice id_of(const char *id)
{
    return slice_of_string(id);
}

static struct value value_of(const char *bytes)
{
    struct slice slice = slice_of_string(bytes);
    return (struct value){NULL, slice.data, slice.size};
}

int set_as(const char *id, const char *value, enum store_ack ack, struct store_waiter *waiter)
{
    return store_set(store, id_of(id), value_of(value), ack, now, waiter);
}

int set(const char *id, const char *value)
{
    return set_as(id, value, STORE_ACK_MEMORY, NULL);
}

int erase(const char *id)
{
    return store_delete(store, id_of(id), STORE_ACK_MEMORY, now, NULL);
}

int get(const char *id, struct store_waiter *waiter)
{
    struct value value = value_none();
    int status = store_get(store, id_of(id), now, &value, waiter);
    copy_text(text, status == STORE_FOUND ? &value : NULL);
    return status;
}

bool shows(const char *id, const char *wanted)
{
    return get(id, NULL) == STORE_FOUND && strcmp(text, wanted) == 0;
}

int persist(const char *id, struct store_waiter *waiter)
{
    return store_persist(store, id_of(id), now, waiter);
}

int adopt(const char *id, struct version version, const char *bytes)
{
    struct value value = value_of(bytes ? bytes : "");
    return store_adopt(store, id_of(id), version, bytes ? &value : NULL, false, now);
}

int adopt_complete(const char *id, struct version version, const char *bytes)
{
    struct value value = value_of(bytes ? bytes : "");
    return store_adopt(store, id_of(id), version, bytes ? &value : NULL, true, now);
}

int restamp(const char *id)
{
    return store_restamp(store, id_of(id), now);
}

/* `bytes` NULL: absent, and `version` that of a tombstone, or all 0. */
void loaded(size_t i, struct version version, const char *bytes)
{
    ck_assert_uint_lt(i, asked_count);
    ck_assert(!asked[i].dump && !asked[i].over);
    asked[i].over = true;
    struct value value = value_of(bytes ? bytes : "");
    store_loaded(store, asked[i].object, bytes ? 0 : STORE_ABSENT, version.view ? &version : NULL,
        bytes ? &value : NULL, now);
}

void load_fails(size_t i)
{
    asked[i].over = true;
    store_loaded(store, asked[i].object, BRAIN_EWAREHOUSE, NULL, NULL, now);
}

void dumped(size_t i, int status)
{
    ck_assert_uint_lt(i, asked_count);
    ck_assert(asked[i].dump && !asked[i].over);
    asked[i].over = true;
    store_dumped(store, asked[i].object, status, NULL, now);
}

void conflicted(size_t i, struct version stored)
{
    ck_assert_uint_lt(i, asked_count);
    asked[i].over = true;
    store_dumped(store, asked[i].object, BRAIN_ECONFLICT, &stored, now);
}

void assert_asked(size_t i, bool dump, const char *id, struct version version)
{
    ck_assert_uint_eq(asked_count, i + 1);
    ck_assert(asked[i].dump == dump);
    ck_assert_str_eq(asked[i].id, id);
    ck_assert_int_eq(version_compare(asked[i].version, version), 0);
}

uint64_t advance(uint64_t ms)
{
    now += ms;
    uint64_t next;
    for (unsigned turn = 0; (next = store_advance(store, now, 1000)) == 0; turn++)
        ck_assert_uint_lt(turn, 1000);
    return next;
}

/* A clean object, as a member has it: read, with this version. */
void have(const char *id, struct version version, const char *bytes)
{
    static struct store_waiter reader;
    ck_assert_int_eq(get(id, &reader), STORE_WAIT);
    size_t log = strlen(answered);
    loaded(asked_count - 1, version, bytes);
    answered[log] = 0;
    told[0] = 0;
}

struct version v(uint64_t view, uint64_t counter, uint64_t seq)
{
    return (struct version){view, counter, seq};
}

bool abandon_all(void)
{
    bool done = false;
    for (unsigned turn = 0; !done && turn < 1000; turn++)
        done = store_abandon(store, 10, now, on_keep);
    return done;
}
