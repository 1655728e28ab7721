/* Answers as brain-bench reads them: right ones however they are cut, and none that is damaged. */
#include <check.h>
#include <stdio.h>

#include "brain/base.h"
#include "brain/control.h"
#include "brain/etf.h"
#include "protocol.h"
#include "protocol_erlang.h"
#include "suite.h"

enum { REQUESTS = 6 };

static struct options options;
static struct values values;
static struct tally tally;
static struct link link;

static void set_up(const struct protocol *protocol, uint64_t size)
{
    options = (struct options){.target = "server",
        .protocol = protocol,
        .size = size,
        .keys = 1000,
        .id_bytes = 20,
        .in_flight = REQUESTS,
        .connections = 1,
        .barrier = 1};
    memset(&tally, 0, sizeof(tally));
    histogram_clear(&tally.latency);
    tally.measuring = true;
    ck_assert_int_eq(values_init(&values, size), 0);
    link = (struct link){.fd = -1,
        .options = &options,
        .values = &values,
        .tally = &tally,
        .id_digits = id_digits(options.keys)};
    if (protocol->is_erlang) { /* without a handshake */
        struct erlang *erlang = heap_allocate_zeroed(sizeof(*erlang));
        ck_assert_ptr_nonnull(erlang);
        struct buffer pid;
        buffer_init(&pid);
        etf_write_pid(&pid, slice_of_string("bench@localhost"), 1, 0, 4);
        memcpy(erlang->pid, pid.data, pid.size);
        erlang->pid_size = pid.size;
        erlang->header = true;
        buffer_release(&pid);
        link.state = erlang;
    } else {
        ck_assert_int_eq(protocol->open(&link), 0);
    }
    ck_assert_int_eq(link_prepare(&link), 0);
}

static void tear_down(void)
{
    link_release(&link);
    values_release(&values);
}

/* ---- what a server would answer -------------------------------------------------------------- */

static void put_value(struct buffer *out, uint64_t key)
{
    uint8_t *at = buffer_extend(out, (size_t)values.size);
    ck_assert_ptr_nonnull(at);
    value_write(&values, key, at);
}

static void put_erlang(struct buffer *out, const struct request *request, uint64_t sequence)
{
    const struct erlang *erlang = link.state;
    struct buffer payload;
    buffer_init(&payload);
    etf_write_tuple(&payload, 2);
    etf_write_uint64(&payload, request->tag);
    if (request->kind == REQUEST_GET) {
        etf_write_tuple(&payload, 2);
        etf_write_atom(&payload, "ok");
        buffer_append_u8(&payload, ETF_BINARY);
        buffer_append_be32(&payload, (uint32_t)values.size);
        put_value(&payload, request->key);
    } else {
        etf_write_atom(&payload, "ok");
    }
    /* One frame, or fragments of 5000 bytes. */
    size_t part = 5000, begin = out->size;
    uint64_t fragments = (payload.size + part - 1) / part;
    bool whole = fragments < 2;
    buffer_append_be32(out, 0);
    buffer_append_u8(out, 131);
    buffer_append_u8(out, whole ? 68 : 69);
    if (!whole) {
        buffer_append_be64(out, sequence);
        buffer_append_be64(out, fragments);
    }
    buffer_append_u8(out, 0);
    control_write_send(out, slice_of(erlang->pid, erlang->pid_size));
    for (size_t at = 0; at < payload.size; at += part) {
        if (at != 0) {
            begin = out->size;
            buffer_append_be32(out, 0);
            buffer_append_u8(out, 131);
            buffer_append_u8(out, 70);
            buffer_append_be64(out, sequence);
            buffer_append_be64(out, --fragments);
        }
        size_t size = payload.size - at < part ? payload.size - at : part;
        buffer_append(out, payload.data + at, size);
        store_be32(out->data + begin, (uint32_t)(out->size - begin - 4));
    }
    buffer_release(&payload);
}

static void put_answer(struct buffer *out, const struct request *request)
{
    char text[64];
    bool is_get = request->kind == REQUEST_GET;
    if (options.protocol == &protocol_redis) {
        snprintf(
            text, sizeof(text), is_get ? "$%llu\r\n" : "+OK\r\n", (unsigned long long)values.size);
    } else {
        snprintf(text, sizeof(text), is_get ? "VA %llu\r\n" : "STORED\r\n",
            (unsigned long long)values.size);
    }
    buffer_append(out, text, strlen(text));
    if (is_get) {
        put_value(out, request->key);
        buffer_append(out, "\r\n", 2);
    }
}

/* Asks, alternately for gets and sets, and makes the answers. */
static void ask_and_answer(struct buffer *answers)
{
    buffer_init(answers);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        link_ask(&link, i % 3 == 2 ? REQUEST_SET : REQUEST_GET, 100 + i, 0);
        const struct request *request =
            &link.requests[link.free_slots[(link.taken - 1) & (link.slots - 1)]];
        if (options.protocol->is_erlang)
            put_erlang(answers, request, i + 1);
        else
            put_answer(answers, request);
    }
    ck_assert_int_eq(buffer_status(answers), 0);
}

/* Feeds bytes as the loop does: what is left comes again in front of the next. */
static bool feed(struct slice bytes, size_t step)
{
    static uint8_t area[1 << 20];
    size_t left = 0;
    for (size_t at = 0; at < bytes.size;) {
        size_t part = bytes.size - at < step ? bytes.size - at : step;
        memcpy(area + left, bytes.data + at, part);
        at += part;
        left += part;
        ptrdiff_t done = options.protocol->parse(&link, area, left);
        if (done < 0)
            return false;
        left -= (size_t)done;
        if (left > REST_LIMIT)
            ck_abort_msg("more is left than a link keeps");
        memmove(area, area + done, left);
    }
    return true;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static const struct protocol *const protocols[] = {
    &protocol_erlang, &protocol_redis, &protocol_memcached};
static const uint64_t sizes[] = {0, 3, 100, 12000};
enum { CASES = 3 * 4 };

static void set_up_case(int number)
{
    set_up(protocols[number / 4], sizes[number % 4]);
}

START_TEST(test_right_answers_however_cut)
{
    static const size_t steps[] = {1, 2, 3, 7, 64, 1000, 4096, 1 << 19};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        set_up_case(_i);
        /* Twice: the second time the form of the answers is known. */
        for (uint64_t round = 1; round <= 2; round++) {
            struct buffer answers;
            ask_and_answer(&answers);
            ck_assert_msg(feed(buffer_slice(&answers), steps[i]), "%s", tally.failure);
            buffer_release(&answers);
            ck_assert_msg(tally.errors == 0, "%s", tally.wrong);
            ck_assert_uint_eq(tally.operations, round * REQUESTS);
            ck_assert_uint_eq(tally.latency.count, round * REQUESTS);
            ck_assert_uint_eq(link.outstanding, 0);
        }
        tear_down();
    }
}
END_TEST

START_TEST(test_no_damaged_answer_is_right)
{
    struct buffer answers = {0};
    size_t size = 1;
    for (size_t at = 0; at<size; at += size> 10000 ? 41 : 1) {
        set_up_case(_i);
        struct buffer first;
        ask_and_answer(&first); /* so that the form is known */
        ck_assert(feed(buffer_slice(&first), 1 << 19));
        buffer_release(&first);
        ask_and_answer(&answers);
        size = answers.size;
        answers.data[at] ^= 1;
        bool went_on = feed(buffer_slice(&answers), 1 << 19);
        uint64_t right = tally.operations - tally.errors - REQUESTS;
        ck_assert_msg(!went_on || right < REQUESTS, "byte %zu of %zu", at, size);
        ck_assert(went_on || tally.failure[0] != '\0');
        buffer_release(&answers);
        tear_down();
    }
}
END_TEST

START_TEST(test_an_answer_twice_is_not_asked_for)
{
    set_up_case(_i);
    struct buffer answers;
    ask_and_answer(&answers);
    ck_assert(feed(buffer_slice(&answers), 1 << 19));
    ck_assert(!feed(buffer_slice(&answers), 1 << 19));
    ck_assert(tally.failure[0] != '\0');
    buffer_release(&answers);
    tear_down();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("answers");
    TCase *test = tcase_create("answers");
    tcase_set_timeout(test, 60);
    tcase_add_loop_test(test, test_right_answers_however_cut, 0, CASES);
    tcase_add_loop_test(test, test_no_damaged_answer_is_right, 0, CASES);
    tcase_add_loop_test(test, test_an_answer_twice_is_not_asked_for, 0, CASES);
    suite_add_tcase(suite, test);
    return suite_run(suite);
}
