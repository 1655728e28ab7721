/* The talk between members without links: what is asked of the world, event by event. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>

#include "heap_fault.h"
#include "peering.h"
#include "suite.h"

/* What peering did, one word after the other. */
static char log_text[4000];
static size_t log_size;
static connection_id link_found; /* what find answers */
static bool no_send;
static struct peering peering;
static uint64_t now_ms;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_size +=
        (size_t)vsnprintf(log_text + log_size, sizeof(log_text) - log_size, format, arguments);
    va_end(arguments);
    ck_assert_uint_lt(log_size, sizeof(log_text));
}

static void forget(void)
{
    log_size = 0;
    log_text[0] = '\0';
}

/* Since the last time. */
static void expect(const char *text)
{
    ck_assert_str_eq(log_text, text);
    forget();
}

static connection_id on_find(void *context, struct slice name, struct peers_place place)
{
    (void)context;
    note("find %.*s %s:%u;", (int)name.size, (const char *)name.data, place.address, place.port);
    return link_found;
}

static void on_end(void *context, connection_id id, const char *why)
{
    (void)context;
    (void)why;
    note("end %d;", (int)id);
}

static void on_mark(void *context, connection_id id)
{
    (void)context;
    (void)id;
}

static int on_send(
    void *context, connection_id id, uint64_t order, struct slice head, const struct value *tail)
{
    (void)context;
    if (no_send)
        return BRAIN_ENOMEM;
    note("%d/%d %.*s%.*s;", (int)id, (int)order, (int)head.size, (const char *)head.data,
        tail != NULL ? (int)tail->size : 0, tail != NULL ? (const char *)tail->data : "");
    return 0;
}

static int on_send_hello(void *context, connection_id id)
{
    (void)context;
    if (no_send)
        return BRAIN_ENOMEM;
    note("hello %d;", (int)id);
    return 0;
}

static void on_news(
    void *context, enum peering_news news, struct slice name, const char *why, struct slice bad)
{
    static const char *const words[] = {"linked", "unlinked", "refused", "stranger"};
    (void)context;
    (void)why;
    (void)bad;
    note("%s %.*s;", words[news], (int)name.size, (const char *)name.data);
}

/* {hello} is the right one, {hello, ...} is not. */
static int on_read_hello(void *context, struct slice payload, const char **why)
{
    (void)context;
    *why = "wrong";
    return slice_equal(payload, slice_of("h\1w\5hello", 9)) ? 0 : BRAIN_EPROTO;
}

static int on_message(
    void *context, struct slice from, const struct value *message, const struct etf_marks *marks)
{
    (void)context;
    (void)marks;
    note("%.*s says %.*s;", (int)from.size, (const char *)from.data, (int)message->size,
        (const char *)message->data);
    if (slice_equal_string(value_slice(*message), "ask")) /* answered at once */
        peering_send(
            &peering, from, (struct peers_place){"", 0}, 7, slice_of("answer", 6), NULL, now_ms);
    return slice_equal_string(value_slice(*message), "bad") ? BRAIN_EPROTO : 0;
}

static void on_down(void *context, struct slice name)
{
    (void)context;
    note("down %.*s;", (int)name.size, (const char *)name.data);
}

static void set_up(void)
{
    forget();
    link_found = 0;
    no_send = false;
    now_ms = 1000000;
    peering_init(&peering, (struct peering_events){
                               .find = on_find,
                               .end = on_end,
                               .mark = on_mark,
                               .send = on_send,
                               .send_hello = on_send_hello,
                               .news = on_news,
                               .read_hello = on_read_hello,
                               .message = on_message,
                               .down = on_down,
                           });
}

static void tear_down(void)
{
    peering_release(&peering);
}

static void say(const char *name, uint64_t order, const char *text)
{
    peering_send(&peering, slice_of_string(name), (struct peers_place){"host", 4}, order,
        slice_of_string(text), NULL, now_ms);
}

static void up(connection_id id, const char *name)
{
    peering_up(&peering, id, slice_of_string(name), now_ms);
}

static void ended(connection_id id, const char *name)
{
    peering_ended(&peering, id, slice_of_string(name), now_ms);
}

static void hear_bytes(connection_id id, const char *name, struct slice bytes, int error)
{
    const struct channel_message message = {.payload = bytes, .payload_error = error};
    peering_message(&peering, id, slice_of_string(name), &message, now_ms);
}

static void hear(connection_id id, const char *name, const char *text)
{
    hear_bytes(id, name, slice_of_string(text), 0);
}

static void hear_hello(connection_id id, const char *name)
{
    hear_bytes(id, name, slice_of("h\1w\5hello", 9), 0);
}

static void advance(uint64_t ms)
{
    now_ms += ms;
    peering_advance(&peering, now_ms);
}

/* ---- the usual --------------------------------------------------------------------------------
 */

START_TEST(we_speak_first)
{
    say("b@h", 1, "one");
    say("b@h", 2, "two");
    expect("find b@h host:4;find b@h host:4;");
    advance(100);
    expect("find b@h host:4;");
    up(5, "b@h");
    expect("hello 5;5/1 one;5/2 two;");
    say("b@h", 1, "three");
    expect("5/1 three;");
    hear_hello(5, "b@h");
    expect("linked b@h;");
    ck_assert_uint_eq(peering.metrics.links, 1);
    hear(5, "b@h", "ask");
    expect("b@h says ask;5/7 answer;");
    ended(5, "b@h");
    expect("unlinked b@h;down b@h;");
    ck_assert_uint_eq(peering.metrics.links, 0);
    ck_assert_uint_eq(peering.metrics.sent, 4);
    ck_assert_uint_eq(peering.metrics.received, 1);
    ck_assert_uint_eq(peering.metrics.dropped, 0);
}
END_TEST

START_TEST(the_peer_speaks_first)
{
    up(5, "b@h"); /* anybody may be that */
    ended(4, "b@h");
    expect("");
    hear_hello(5, "b@h");
    expect("linked b@h;hello 5;");
    say("b@h", 1, "one");
    expect("5/1 one;");
    hear(5, "b@h", "text");
    expect("b@h says text;");
}
END_TEST

START_TEST(a_link_that_is_there_is_used)
{
    link_found = 9;
    say("b@h", 1, "one");
    expect("find b@h host:4;hello 9;9/1 one;");
    say("b@h", 1, "two");
    expect("9/1 two;");
    ended(9, "b@h"); /* before its hello: perhaps it cannot bear ours */
    expect("down b@h;");
    say("b@h", 1, "three");
    expect("");
    ck_assert_uint_eq(peering.metrics.dropped, 1);
    now_ms += PEERING_PAUSE_MS;
    say("b@h", 1, "four");
    expect("find b@h host:4;hello 9;9/1 four;");
}
END_TEST

/* ---- two links --------------------------------------------------------------------------------
 */

START_TEST(both_dialled)
{
    say("b@h", 1, "one");
    up(5, "b@h"); /* ours */
    up(6, "b@h"); /* its */
    hear_hello(6, "b@h");
    hear(6, "b@h", "x");
    hear_hello(5, "b@h");
    expect("find b@h host:4;hello 5;5/1 one;linked b@h;hello 6;b@h says x;linked b@h;");
    say("b@h", 1, "two");
    hear(6, "b@h", "y");
    expect("5/1 two;b@h says y;"); /* each on its own, for as long as they live */
    ended(5, "b@h");
    say("b@h", 1, "three");
    expect("down b@h;6/1 three;");
}
END_TEST

/* What the peer said on a link that it gave up must not come after what it says on another. */
START_TEST(a_link_that_was_left_is_not_read)
{
    hear_hello(5, "b@h");
    hear(5, "b@h", "1");
    hear_hello(6, "b@h");
    hear(5, "b@h", "2");
    expect("linked b@h;hello 5;b@h says 1;linked b@h;hello 6;b@h says 2;");
    hear(6, "b@h", "3");
    expect("end 5;b@h says 3;");
    hear(5, "b@h", "late");
    expect("");
    say("b@h", 1, "four"); /* it was spoken on */
    expect("6/1 four;");
    ended(5, "b@h");
    expect("down b@h;");
    ck_assert_uint_eq(peering.metrics.links, 1);
}
END_TEST

START_TEST(links_without_end)
{
    for (connection_id id = 1; id <= PEERING_LINKS; id++)
        hear_hello(id, "b@h");
    forget();
    hear_hello(PEERING_LINKS + 1, "b@h");
    expect("end 9;");
    ck_assert_uint_eq(peering.metrics.links, PEERING_LINKS);
}
END_TEST

/* ---- the queue --------------------------------------------------------------------------------
 */

START_TEST(what_waits_too_long_is_dropped)
{
    say("b@h", 1, "one");
    now_ms += PEERING_QUEUE_MS - 1;
    say("b@h", 1, "two");
    forget();
    advance(0);
    expect("find b@h host:4;");
    advance(1);
    ck_assert_uint_eq(peering.metrics.dropped, 1);
    forget();
    up(5, "b@h");
    expect("hello 5;5/1 two;");
    ck_assert_uint_eq(peering.queued_bytes, 0);
    say("c@h", 1, "one");
    advance(PEERING_QUEUE_MS);
    ck_assert_uint_eq(peering.metrics.dropped, 2);
    ck_assert_uint_eq(peering.queued_bytes, 0);
    forget();
    up(6, "c@h");
    expect("");
}
END_TEST

START_TEST(the_queue_is_bounded)
{
    static const uint8_t bytes[PEERING_QUEUE_BYTES / 4];
    const struct value tail = {NULL, bytes, sizeof(bytes)}; /* copied: borrowed */
    const struct slice name = slice_of_string("b@h");
    const struct peers_place place = {NULL, 0};
    for (int i = 0; i < 6; i++)
        peering_send(&peering, name, place, 1, slice_of("h", 1), &tail, now_ms);
    ck_assert_uint_eq(peering.metrics.dropped, 3);
    ck_assert_uint_le(peering.queued_bytes, PEERING_QUEUE_BYTES);
    ck_assert_uint_gt(peering.queued_bytes, 3 * sizeof(bytes));
    /* One of any size, by reference; another peer's queue is its own. */
    struct value large = {block_create(3 * PEERING_QUEUE_BYTES), NULL, 3 * PEERING_QUEUE_BYTES};
    large.data = large.block->bytes;
    peering_send(&peering, slice_of_string("c@h"), place, 1, slice_of("h", 1), &large, now_ms);
    ck_assert_uint_eq(peering.metrics.dropped, 3);
    ck_assert_uint_eq(atomic_load(&large.block->references), 2);
    say("c@h", 1, "x");
    ck_assert_uint_eq(peering.metrics.dropped, 4);
    advance(PEERING_QUEUE_MS);
    ck_assert_uint_eq(atomic_load(&large.block->references), 1);
    value_drop(&large);
    ck_assert_uint_eq(peering.queued_bytes, 0);
    forget();
}
END_TEST

/* ---- refusals ---------------------------------------------------------------------------------
 */

START_TEST(another_hello_is_refused)
{
    static const struct slice wrong = {(const uint8_t *)"h\2w\5helloa\1", 11};
    hear_bytes(5, "b@h", wrong, 0);
    expect("refused b@h;end 5;");
    hear_hello(5, "b@h"); /* nothing more is read of it */
    say("b@h", 1, "dropped");
    ended(5, "b@h");
    expect("");
    now_ms += PEERING_REFUSED_MS - 1;
    say("b@h", 1, "dropped");
    expect("");
    now_ms++;
    say("b@h", 1, "one");
    expect("find b@h host:4;");
    up(6, "b@h");
    hear_bytes(6, "b@h", wrong, 0); /* told once a minute */
    expect("hello 6;6/1 one;end 6;");
    ended(6, "b@h");
    expect("down b@h;");
    now_ms += PEERING_SAY_MS;
    hear_bytes(7, "b@h", wrong, 0);
    expect("refused b@h;end 7;");
    ended(7, "b@h");
    hear_hello(8, "b@h"); /* it was started again as it should be */
    say("b@h", 1, "two");
    expect("linked b@h;hello 8;8/1 two;");
    ck_assert_uint_eq(peering.metrics.refused, 3);
    ck_assert_uint_eq(peering.metrics.dropped, 2);
}
END_TEST

START_TEST(strangers_are_ignored)
{
    hear(5, "x@h", "j");
    hear_bytes(5, "x@h", slice_of("h\3", 2), BRAIN_ETERM);
    hear(6, "y@h", "");
    expect("stranger x@h;");
    ended(5, "x@h");
    now_ms += PEERING_SAY_MS;
    peering_stranger(&peering, slice_of_string("z@h"), "", slice_of("j", 1), now_ms);
    expect("stranger z@h;");
    ck_assert_uint_eq(peering.metrics.refused, 4);
    ck_assert_uint_eq(peering.count, 0);
    /* But whom we said hello to must say it, too. */
    link_found = 7;
    say("b@h", 1, "one");
    hear(7, "b@h", "j");
    expect("find b@h host:4;hello 7;7/1 one;refused b@h;end 7;");
}
END_TEST

START_TEST(what_is_malformed_ends_the_link)
{
    hear_hello(5, "b@h");
    hear(5, "b@h", "bad");
    hear(5, "b@h", "unread");
    expect("linked b@h;hello 5;b@h says bad;refused b@h;end 5;");
    ended(5, "b@h");
    expect("unlinked b@h;down b@h;");
    say("b@h", 1, "dropped");
    expect("");
    hear_hello(6, "b@h");
    hear_bytes(6, "b@h", slice_of("cut", 3), BRAIN_ETERM); /* never handed on */
    expect("linked b@h;hello 6;end 6;");
    ended(6, "b@h");
}
END_TEST

START_TEST(who_is_gone_is_forgotten)
{
    hear_hello(5, "b@h");
    advance(10 * PEERING_FORGET_MS);
    ck_assert_uint_eq(peering.count, 1);
    ended(5, "b@h");
    advance(PEERING_FORGET_MS - 1);
    ck_assert_uint_eq(peering.count, 1);
    advance(1);
    ck_assert_uint_eq(peering.count, 0);
    for (int i = 0; i < PEERING_MEMBERS + 10; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d@h", i);
        forget();
        say(name, 1, "one");
    }
    ck_assert_uint_eq(peering.count, PEERING_MEMBERS);
    ck_assert_uint_eq(peering.metrics.dropped, 10);
    forget();
    peering.events.find = NULL; /* asked no more: all is dropped */
    advance(PEERING_FORGET_MS);
    ck_assert_uint_eq(peering.count, 0);
}
END_TEST

/* Who has the cookie may come and go under any name: that keeps no member out. */
START_TEST(names_without_end)
{
    for (int i = 0; i < PEERING_MEMBERS + 10; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%d@h", i);
        hear_hello(5, name);
        ended(5, name);
        forget();
    }
    ck_assert_uint_eq(peering.count, PEERING_MEMBERS);
    hear_hello(6, "b@h");
    expect("linked b@h;hello 6;");
    link_found = 7;
    say("c@h", 1, "one");
    expect("find c@h host:4;hello 7;7/1 one;");
    ck_assert_uint_eq(peering.metrics.refused, 0);
    ended(6, "b@h");
    ended(7, "c@h");
}
END_TEST

/* ---- memory -----------------------------------------------------------------------------------
 */

/* Whatever is lost, hello comes first. */
START_TEST(hello_could_not_be_sent)
{
    link_found = 5;
    no_send = true;
    say("b@h", 1, "one");
    no_send = false;
    say("b@h", 1, "two");
    expect("find b@h host:4;hello 5;5/1 two;");
    ck_assert_uint_eq(peering.metrics.dropped, 1);
}
END_TEST

START_TEST(no_memory)
{
    for (unsigned n = 1;; n++) {
        set_up();
        heap_fault_start(n);
        const struct value tail = {NULL, (const uint8_t *)"tail", 4};
        peering_send(&peering, slice_of_string("b@h"), (struct peers_place){"host", 4}, 1,
            slice_of_string("one "), &tail, now_ms);
        say("b@h", 1, "two");
        up(5, "b@h");
        hear_hello(6, "c@h");
        hear(6, "c@h", "ask");
        peering_release(&peering);
        if (!heap_fault_stop()) {
            expect("find b@h host:4;find b@h host:4;hello 5;5/1 one tail;5/1 two;linked "
                   "c@h;hello 6;c@h says ask;6/7 answer;");
            ck_assert_uint_gt(n, 4);
            break;
        }
        /* Nothing was said before a hello, nothing out of order. */
        const char *one = strstr(log_text, "5/1 one"), *two = strstr(log_text, "5/1 two");
        const char *hello = strstr(log_text, "hello 5");
        ck_assert(two == NULL || one == NULL || one < two);
        ck_assert((one == NULL && two == NULL) || hello != NULL);
        ck_assert_uint_ge(peering.metrics.dropped + peering.metrics.refused, 1);
    }
    set_up();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/peering");
    TCase *tcase = tcase_create("peering");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, we_speak_first);
    tcase_add_test(tcase, the_peer_speaks_first);
    tcase_add_test(tcase, a_link_that_is_there_is_used);
    tcase_add_test(tcase, both_dialled);
    tcase_add_test(tcase, a_link_that_was_left_is_not_read);
    tcase_add_test(tcase, links_without_end);
    tcase_add_test(tcase, what_waits_too_long_is_dropped);
    tcase_add_test(tcase, the_queue_is_bounded);
    tcase_add_test(tcase, another_hello_is_refused);
    tcase_add_test(tcase, strangers_are_ignored);
    tcase_add_test(tcase, what_is_malformed_ends_the_link);
    tcase_add_test(tcase, who_is_gone_is_forgotten);
    tcase_add_test(tcase, names_without_end);
    tcase_add_test(tcase, hello_could_not_be_sent);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
