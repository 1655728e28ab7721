/* The order in which an outbox sends: lanes and turns; and a loopback through the frame reader with
 * random messages, receivers and partial sends. */
#include <check.h>
#include <stdlib.h>

#include "outbox_fixture.h"
#include "suite.h"

static void expect_numbers(const struct arrivals *a, const uint32_t *numbers, unsigned count)
{
    ck_assert_uint_eq(a->count, count);
    for (unsigned i = 0; i < count; i++)
        ck_assert_msg(
            a->number[i] == numbers[i], "place %u: %u, not %u", i, a->number[i], numbers[i]);
}

START_TEST(small_messages_overtake_lanes_of_others)
{
    struct stream big = stream_new(), s = stream_new(), small = stream_new();
    put_binary(&big, 1000000, 1);
    put_binary(&small, 30, 1);
    struct outbox_limits limits = wide();
    struct outbox *outbox = outbox_create(true, &limits);
    send_tagged(outbox, 1, 1, &big, 999000, true);
    send_tagged(outbox, 2, 2, &small, 0, true); /* before anything is chosen: at once */
    send_tagged(outbox, 1, 3, &small, 0, true); /* behind number 1, in its lane */
    take(outbox, 100, &s);
    send_tagged(outbox, 3, 4, &small, 0, true); /* behind what was chosen */
    send_tagged(outbox, 0, 5, &small, 0, true);
    /* Within the bytes chosen ahead, both are through. */
    while (s.size < 262144 + 65536 + 1000)
        take(outbox, 5000, &s);
    struct frame_limits reading = roomy();
    struct arrivals a = {.count = 0};
    struct frame_reader *reader =
        frame_reader_create(true, &reading, (struct frame_events){&a, no_tick, on_arrival});
    ck_assert_int_eq(pour(reader, s.data, s.size), 0);
    frame_reader_destroy(reader);
    expect_numbers(&a, (uint32_t[]){2, 4, 5}, 3);
    total.used_bytes = outbox_queued(outbox); /* roomy() began the budget anew */
    drain(outbox, &s);
    read_back(&s, true, &a);
    expect_numbers(&a, (uint32_t[]){2, 4, 5, 1, 3}, 5);
    total.used_bytes = 0;
    outbox_free(outbox);
    free(big.data);
    free(small.data);
    free(s.data);
}
END_TEST

START_TEST(lanes_take_turns)
{
    struct stream big = stream_new(), bigger = stream_new(), s = stream_new();
    put_binary(&big, 200000, 1);
    put_binary(&bigger, 600000, 1);
    struct outbox_limits limits = wide();
    struct outbox *outbox = outbox_create(true, &limits);
    send_tagged(outbox, 1, 1, &bigger, 0, true);
    send_tagged(outbox, 2, 2, &big, 0, true);
    send_tagged(outbox, 2, 3, NULL, 0, true);
    send_tagged(outbox, 2, 4, &big, 0, true); /* a second one of that lane */
    send_tagged(outbox, 0, 5, &big, 0, true); /* no receiver: lanes of their own */
    send_tagged(outbox, 0, 6, &big, 0, true);
    drain(outbox, &s);
    struct arrivals a;
    read_back(&s, true, &a);
    expect_numbers(&a, (uint32_t[]){2, 3, 5, 6, 4, 1}, 6);
    outbox_free(outbox);
    free(big.data);
    free(bigger.data);
    free(s.data);
}
END_TEST

/* Up to whole_bytes a large message is one frame, but waits for its turn like fragments do. */
START_TEST(large_frames_take_turns)
{
    struct stream big = stream_new(), bigger = stream_new(), small = stream_new();
    struct stream s = stream_new();
    put_binary(&big, 200000, 1);
    put_binary(&bigger, 400000, 1);
    put_binary(&small, 30, 1);
    struct outbox_limits limits = wide();
    limits.whole_bytes = 300000;
    struct outbox *outbox = outbox_create(true, &limits);
    send_tagged(outbox, 1, 1, &bigger, 0, true);
    send_tagged(outbox, 2, 2, &big, 0, true);
    send_tagged(outbox, 2, 3, &small, 0, true); /* behind number 2, in its turn */
    send_tagged(outbox, 2, 4, &big, 0, true);   /* in a turn of its own */
    send_tagged(outbox, 3, 5, &big, 0, true);
    send_tagged(outbox, 4, 6, &small, 0, true);
    const uint64_t queued = outbox_queued(outbox);
    take(outbox, 100, &s);
    send_tagged(outbox, 4, 7, &small, 0, true); /* behind what was chosen: up to number 3 */
    drain(outbox, &s);
    ck_assert_uint_eq(s.size, queued + 7 + TAGGED_CONTROL + small.size);
    struct arrivals a;
    read_back(&s, true, &a);
    expect_numbers(&a, (uint32_t[]){6, 2, 3, 7, 5, 4, 1}, 7);
    /* Number 2 follows the first fragment, and no fragment is inside of it. */
    size_t at = 7 + TAGGED_CONTROL + small.size;
    const size_t prefix = 4 + 18;
    ck_assert_uint_eq(s.data[at + 5], 69);
    at += 4 + load_be32(s.data + at);
    ck_assert_uint_eq(at, 7 + TAGGED_CONTROL + small.size + prefix + 1 + 65536);
    ck_assert_uint_eq(s.data[at + 5], 68);
    ck_assert_uint_eq(load_be32(s.data + at), 3 + TAGGED_CONTROL + big.size);
    outbox_free(outbox);
    free(big.data);
    free(bigger.data);
    free(small.data);
    free(s.data);
}
END_TEST

START_TEST(same_bytes_until_they_are_sent)
{
    struct stream big = stream_new(), whole = stream_new(), s = stream_new();
    put_binary(&big, 300000, 1);
    struct outbox_limits limits = wide();
    for (size_t step = 0; step < 100000; step = step * 9 + 1) {
        struct outbox *outbox = outbox_create(true, &limits);
        send_tagged(outbox, 1, 1, &big, 290000, true);
        send_tagged(outbox, 2, 2, &big, 290000, false);
        s.size = 0;
        while (!outbox_is_empty(outbox)) {
            struct iovec once[3], again[3];
            const size_t count = outbox_vector(outbox, once, 3);
            ck_assert_uint_eq(outbox_vector(outbox, again, 3), count);
            ck_assert_mem_eq(once, again, count * sizeof *once);
            take(outbox, step == 0 ? SIZE_MAX : step, &s);
            if (step == 1 && s.size > 500)
                step = 2; /* byte by byte over the first borders is enough */
            if (step == 2)
                break;
        }
        if (step == 0) {
            put(&whole, s.data, s.size);
        } else if (step != 2) {
            ck_assert_uint_eq(s.size, whole.size);
        }
        ck_assert_mem_eq(s.data, whole.data, s.size);
        outbox_free(outbox);
    }
    free(big.data);
    free(whole.data);
    free(s.data);
}
END_TEST

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

enum { LOOPBACK_MESSAGES = 400, LOOPBACK_RECEIVERS = 7 };

static void loopback(uint64_t seed, bool header)
{
    uint64_t random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    static uint32_t sizes[LOOPBACK_MESSAGES], receivers[LOOPBACK_MESSAGES];
    struct stream wire = stream_new(), payload = stream_new();
    struct outbox_limits limits = wide();
    limits.fragment_bytes = 1 + (uint32_t)(next_random(&random) % 9000);
    limits.whole_bytes = (uint32_t)(next_random(&random) % 30000);
    struct outbox *outbox = outbox_create(header, &limits);
    struct arrivals a = {.sizes = sizes};
    struct frame_limits reading = roomy();
    reading.sequences = LOOPBACK_MESSAGES;
    reading.scan_budget = 1 + next_random(&random) % 50;
    total.limit_bytes = 64 << 20;
    struct frame_reader *reader =
        frame_reader_create(header, &reading, (struct frame_events){&a, no_tick, on_arrival});
    unsigned sent = 0;
    while (sent < LOOPBACK_MESSAGES || !outbox_is_empty(outbox)) {
        if (sent < LOOPBACK_MESSAGES && next_random(&random) % 3 != 0) {
            static const uint32_t bounds[] = {20, 500, 3000, 40000};
            sizes[sent] = (uint32_t)(next_random(&random) % bounds[next_random(&random) % 4]);
            receivers[sent] = (uint32_t)(next_random(&random) % LOOPBACK_RECEIVERS);
            payload.size = 0;
            put_binary(&payload, sizes[sent], sent);
            const uint64_t how = next_random(&random);
            ck_assert_int_eq(send_tagged(outbox, receivers[sent], sent, &payload,
                                 (size_t)(how >> 8) % (payload.size + 1), how & 1),
                0);
            sent++;
        } else {
            wire.size = 0;
            take(outbox, (size_t)(next_random(&random) % 20000), &wire);
            ck_assert_int_eq(pour(reader, wire.data, wire.size), 0);
        }
    }
    ck_assert_uint_eq(a.count, LOOPBACK_MESSAGES);
    ck_assert_uint_eq(frame_reader_pending(reader), 0);
    static bool seen[LOOPBACK_MESSAGES];
    memset(seen, 0, sizeof seen);
    int64_t last[LOOPBACK_RECEIVERS];
    memset(last, 0xFF, sizeof last);
    for (unsigned i = 0; i < a.count; i++) {
        ck_assert(!seen[a.number[i]]);
        seen[a.number[i]] = true;
        ck_assert_uint_eq(a.receiver[i], receivers[a.number[i]]);
        if (a.receiver[i] == 0)
            continue; /* no order asked for */
        ck_assert_msg(last[a.receiver[i]] < (int64_t)a.number[i], "seed %llu: %u before %lld",
            (unsigned long long)seed, a.number[i], (long long)last[a.receiver[i]]);
        last[a.receiver[i]] = a.number[i];
    }
    frame_reader_destroy(reader);
    outbox_free(outbox);
    free(wire.data);
    free(payload.data);
}

START_TEST(loopback_with_random_messages)
{
    for (uint64_t seed = 1; seed <= 6; seed++)
        loopback(seed, seed % 4 != 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("outbox_order");
    TCase *order = tcase_create("order");
    tcase_add_test(order, small_messages_overtake_lanes_of_others);
    tcase_add_test(order, lanes_take_turns);
    tcase_add_test(order, large_frames_take_turns);
    tcase_add_test(order, same_bytes_until_they_are_sent);
    tcase_add_test(order, loopback_with_random_messages);
    tcase_set_timeout(order, 60);
    suite_add_tcase(suite, order);
    return suite_run(suite);
}
