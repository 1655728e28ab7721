#include "session_fixture.h"

#include <check.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base64.h"
#include "suite.h"

struct session session;
uint64_t now_ms;
struct told told[TOLD_LIMIT];
size_t told_count;
struct session_call call;
bool told_fails;
char notes[4096];
struct managers_options options = {.prefix = "brain/",
    .user = "",
    .password = "",
    .lease_ms = 10000,
    .name = "a@h",
    .address = "10.0.0.1",
    .port = 1234,
    .protocol = 3};

static struct endpoints endpoints;

static bool on_event(void *context, const struct managers_event *event)
{
    (void)context;
    bool is_view = event->kind == MANAGERS_JOINED || event->kind == MANAGERS_VIEW;
    if (is_view && told_fails)
        return false;
    ck_assert_uint_lt(told_count, TOLD_LIMIT);
    struct told *item = &told[told_count++];
    *item = (struct told){.event = *event};
    for (size_t i = 0; i < event->view.count; i++) {
        if (i > 0)
            strcat(item->names, " ");
        strcat(item->names, event->view.members[i].name);
    }
    item->event.view.members = NULL;
    return true;
}

static void on_note(void *context, enum log_level level, const char *sentence)
{
    (void)context;
    (void)level;
    size_t size = strlen(notes);
    snprintf(notes + size, sizeof(notes) - size, "%s\n", sentence);
}

void set_up(void)
{
    struct session_options own;
    char why[MANAGERS_TEXT];
    ck_assert_int_eq(endpoints_parse(&endpoints, "http://one,http://two", why, sizeof(why)), 0);
    ck_assert_int_eq(session_options_set(&own, &options, why), 0);
    own.endpoints = &endpoints;
    own.seed = 42;
    session_init(&session, &own, (struct session_hooks){NULL, on_event, on_note});
    now_ms = 1000000;
    told_count = 0;
    told_fails = false;
    notes[0] = '\0';
}

void tear_down(void)
{
    session_release(&session);
}

void asks(enum session_step step)
{
    session_advance(&session, now_ms);
    ck_assert_msg(session_call(&session, now_ms, &call), "step %d is not asked", step);
    ck_assert_int_eq(call.step, step);
    ck_assert_uint_lt(call.endpoint, 2);
}

void asks_nothing(void)
{
    session_advance(&session, now_ms);
    ck_assert_msg(!session_call(&session, now_ms, &call), "step %d is asked", call.step);
}

void answers(const char *format, ...)
{
    static char text[65536];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    session_answered(&session, now_ms, slice_of_string(text));
    session_advance(&session, now_ms);
}

void fails(void)
{
    session_failed(&session, now_ms, "no route");
}

bool body_has(const char *text)
{
    return memmem(call.body.data, call.body.size, text, strlen(text)) != NULL;
}

/* Takes nothing from the heap, whose allocations are counted. */
static const char *base64_of(const char *text)
{
    static uint8_t encoded[4][2048];
    static unsigned next;
    struct buffer out = {.data = encoded[next++ % 4], .capacity = sizeof(encoded[0])};
    base64_append(&out, slice_of_string(text));
    buffer_append_u8(&out, '\0');
    ck_assert_ptr_eq(out.data, encoded[(next - 1) % 4]);
    return (const char *)out.data;
}

bool body_has_key(const char *key)
{
    char wanted[2048];
    snprintf(wanted, sizeof(wanted), "\"key\":\"%s\"", base64_of(key));
    return body_has(wanted);
}

/* Some texts of each kind live at once. */
enum { TEXT_SIZE = 4096, TEXTS = 4 };

const char *kv_of(const char *key, const char *value, uint64_t revision, int64_t lease)
{
    static char texts[TEXTS][TEXT_SIZE];
    static unsigned next;
    char *text = texts[next++ % TEXTS];
    snprintf(text, TEXT_SIZE,
        "{\"key\":\"%s\",\"value\":\"%s\",\"create_revision\":\"%" PRIu64
        "\",\"mod_revision\":\"%" PRIu64 "\",\"lease\":\"%" PRId64 "\"}",
        base64_of(key), base64_of(value), revision, revision, lease);
    return text;
}

const char *member_value(uint64_t incarnation, uint64_t lease_ms)
{
    static char texts[TEXTS][TEXT_SIZE];
    static unsigned next;
    char *text = texts[next++ % TEXTS];
    snprintf(text, TEXT_SIZE,
        "{\"incarnation\":\"%016" PRIx64
        "\",\"address\":\"10.0.0.1\",\"port\":1234,\"protocol\":3,\"lease_ms\":%" PRIu64 "}",
        incarnation, lease_ms);
    return text;
}

const char *stranger_kv(const char *name, uint32_t protocol, uint64_t revision)
{
    char key[300], value[200];
    snprintf(key, sizeof(key), "brain/member/%s", name);
    snprintf(value, sizeof(value),
        "{\"incarnation\":\"00000000000000ab\",\"address\":\"\",\"port\":1,\"protocol\":%" PRIu32
        ",\"lease_ms\":10000}",
        protocol);
    return kv_of(key, value, revision, 9000);
}

const char *own_kv(void)
{
    return kv_of("brain/member/a@h", member_value(session.self.incarnation, session.self.lease_ms),
        OWN_REVISION, LEASE_ID);
}

uint64_t look_revision = 50, history_revision = 2;
const char *history_text = "00000000000000ff";

static const char *history_kv(void)
{
    return kv_of("brain/history", history_text, history_revision, 0);
}

void answers_look(const char *member_kv)
{
    answers("{\"header\":{\"revision\":\"%" PRIu64
            "\"},\"succeeded\":true,\"responses\":[{\"response_range\":"
            "{\"kvs\":[%s]}},{\"response_range\":{\"kvs\":[%s]}}]}",
        look_revision, member_kv == NULL ? "" : member_kv, history_kv());
}

void answers_look_among(const char *member_kvs)
{
    answers("{\"header\":{\"revision\":\"%" PRIu64
            "\"},\"succeeded\":true,\"responses\":[{\"response_range\":{}},"
            "{\"response_range\":{\"kvs\":[%s]}},{\"response_range\":{\"kvs\":[%s]}}]}",
        look_revision, history_kv(), member_kvs);
}

void answers_grant(void)
{
    answers("{\"header\":{\"revision\":\"50\"},\"ID\":\"%d\",\"TTL\":\"%d\"}", LEASE_ID, TTL_S);
}

void answers_create(uint64_t revision)
{
    answers("{\"header\":{\"revision\":\"%" PRIu64 "\"},\"succeeded\":true,\"responses\":[{"
            "\"response_put\":{}}]}",
        revision);
}

void answers_members(uint64_t revision, const char *kvs)
{
    answers("{\"header\":{\"revision\":\"%" PRIu64 "\"},\"kvs\":[%s]}", revision, kvs);
}

void answers_keepalive(uint64_t ttl_s)
{
    if (ttl_s == 0)
        answers("{\"result\":{\"header\":{\"revision\":\"1\"},\"ID\":\"%d\"}}", LEASE_ID);
    else
        answers("{\"result\":{\"header\":{\"revision\":\"1\"},\"ID\":\"%d\",\"TTL\":\"%" PRIu64
                "\"}}",
            LEASE_ID, ttl_s);
}

void answers_read(uint64_t revision, const char *member_kvs, bool evicted)
{
    answers("{\"header\":{\"revision\":\"%" PRIu64
            "\"},\"succeeded\":true,\"responses\":[{\"response_range\":{\"kvs\":[%s]}},{"
            "\"response_range\":{\"kvs\":[%s]}},{\"response_range\":{\"kvs\":[%s]}}]}",
        revision, member_kvs, evicted ? "{\"key\":\"ZQ==\"}" : "", history_kv());
}

void comes_to_create(void)
{
    asks(STEP_LOOK);
    answers_look(NULL);
    asks(STEP_GRANT);
    answers_grant();
    asks(STEP_CREATE);
}

void becomes_member(void)
{
    session_join(&session, now_ms);
    comes_to_create();
    answers_create(OWN_REVISION);
    asks(STEP_MEMBERS);
    answers_members(OWN_REVISION, own_kv());
    ck_assert_int_eq(session.phase, SESSION_MEMBER);
}

void renewal_reads(uint64_t revision, const char *member_kvs, bool evicted)
{
    asks(STEP_KEEPALIVE);
    answers_keepalive(TTL_S);
    asks(STEP_READ);
    answers_read(revision, member_kvs, evicted);
}

void renews(uint64_t revision)
{
    renewal_reads(revision, own_kv(), false);
}

void watch_starts(void)
{
    struct session_call watch;
    session_advance(&session, now_ms);
    ck_assert(session_watch(&session, now_ms, &watch));
    ck_assert_str_eq(watch.path, "/v3/watch");
    ck_assert(watch_says("{\"result\":{\"header\":{\"revision\":\"100\"},\"created\":true}}\n"));
}

bool watch_says(const char *format, ...)
{
    char text[16384];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return session_watch_bytes(&session, now_ms, slice_of_string(text));
}

const char *put_event(const char *name, uint64_t incarnation, uint64_t revision)
{
    static char texts[TEXTS][TEXT_SIZE];
    static unsigned next;
    char *text = texts[next++ % TEXTS], key[300];
    snprintf(key, sizeof(key), "brain/member/%s", name);
    snprintf(text, TEXT_SIZE, "{\"kv\":%s}",
        kv_of(key, member_value(incarnation, 10000), revision, 9000 + (int64_t)incarnation));
    return text;
}

const char *delete_event(const char *name, uint64_t revision)
{
    static char texts[TEXTS][TEXT_SIZE];
    static unsigned next;
    char *text = texts[next++ % TEXTS], key[300];
    snprintf(key, sizeof(key), "brain/member/%s", name);
    snprintf(text, TEXT_SIZE,
        "{\"type\":\"DELETE\",\"kv\":{\"key\":\"%s\",\"mod_revision\":\"%" PRIu64 "\"}}",
        base64_of(key), revision);
    return text;
}

const struct managers_event *last_told(size_t n)
{
    ck_assert_uint_lt(n, told_count);
    return &told[told_count - 1 - n].event;
}

size_t count_told(enum managers_event_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < told_count; i++)
        count += told[i].event.kind == kind;
    return count;
}

int session_suite_run(const char *name, void (*add)(void *tcase))
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    add(tcase);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
