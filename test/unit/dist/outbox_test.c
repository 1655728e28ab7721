/* The outbox: bytes against dumps of real nodes, order and lanes, limits, memory; and a loopback
 * through the frame reader with random messages, receivers and partial sends. */
#include "brain/outbox.h"

#include "frame_stream.h"
#include "heap_fault.h"
#include "suite.h"

static struct outbox_limits wide(void)
{
    total = (struct budget){64 << 20, 0};
    return (struct outbox_limits){
        .queued_bytes = 64 << 20, .fragment_bytes = 65536, .total = &total};
}

/* Takes up to `size` bytes off the outbox, as a socket with that much room would. */
static size_t take(struct outbox *outbox, size_t size, struct stream *s)
{
    struct iovec vector[7];
    const size_t count = outbox_vector(outbox, vector, 7);
    size_t taken = 0;
    for (size_t i = 0; i < count && taken < size; i++) {
        size_t part = vector[i].iov_len < size - taken ? vector[i].iov_len : size - taken;
        put(s, vector[i].iov_base, part);
        taken += part;
    }
    outbox_sent(outbox, taken);
    return taken;
}

static void drain(struct outbox *outbox, struct stream *s)
{
    while (!outbox_is_empty(outbox))
        ck_assert_uint_gt(take(outbox, SIZE_MAX, s), 0);
}

static void outbox_free(struct outbox *outbox)
{
    outbox_destroy(outbox);
    ck_assert_uint_eq(total.used_bytes, 0);
}

/* A message to `receiver` with the control tuple {2,Receiver,Number} and a binary as payload, of
 * which `by_value` bytes are given as value. */
static const size_t tagged_control = 14;

static int send_tagged(struct outbox *outbox, uint32_t receiver, uint32_t number,
    const struct stream *payload, size_t by_value, bool with_block)
{
    if (number % 2 == 1 && payload != NULL) { /* in one go, where that can be */
        uint8_t integer[10] = {ETF_INTEGER, [5] = ETF_INTEGER};
        store_be32(integer + 1, receiver);
        store_be32(integer + 6, number);
        const struct slice head[] = {slice_of("\x68\x03\x61\x02", 4), slice_of(integer, 10)};
        const struct slice parts[] = {slice_of(payload->data, payload->size - by_value),
            slice_of(payload->data + payload->size - by_value, by_value)};
        int status = outbox_small(outbox, head, 2, parts, 2);
        if (status != OUTBOX_NOT_SMALL)
            return status;
    }
    struct buffer *out = outbox_begin(outbox);
    buffer_append(out, "\x68\x03\x61\x02\x62", 5);
    buffer_append_be32(out, receiver);
    buffer_append_u8(out, ETF_INTEGER);
    buffer_append_be32(out, number);
    if (payload == NULL)
        return outbox_commit(outbox, receiver, NULL);
    outbox_payload(outbox);
    const size_t direct = payload->size - by_value;
    buffer_append(out, payload->data, direct);
    if (by_value == 0)
        return outbox_commit(outbox, receiver, NULL);
    struct value value = {NULL, payload->data + direct, by_value};
    if (with_block) {
        value = value_copy(slice_of(payload->data + direct, by_value));
        if (value.block == NULL) {
            outbox_abort(outbox);
            return BRAIN_ENOMEM;
        }
    }
    int status = outbox_commit(outbox, receiver, &value);
    value_drop(&value);
    return status;
}

/* ---- bytes
 * --------------------------------------------------------------------------------------- */

/* {2,'',Pid} || {Tag,yes} as a reply to net_adm:ping in pass-through mode. */
static const char ping_reply[] = "00 00 00 60 70 83 68 03 61 02 77 00 58 77 10 74 65 73 74 65 72 "
                                 "40 6c 6f 63 61 6c 68 6f 73 74 00 "
                                 "00 00 59 00 00 00 00 6b 00 f7 65 83 68 02 6c 00 00 00 01 77 05 "
                                 "61 6c 69 61 73 5a 00 03 77 10 74 "
                                 "65 73 74 65 72 40 6c 6f 63 61 6c 68 6f 73 74 6b 00 f7 65 00 00 "
                                 "68 b0 e6 c1 00 02 29 6f 4a ab 77 "
                                 "03 79 65 73";
/* {28,nosuch,Pid,Ref} || noproc with a distribution header. */
static const char monitor_exit[] = "00 00 00 5d 83 44 00 68 04 61 1c 77 06 6e 6f 73 75 63 68 58 77 "
                                   "11 74 65 73 74 65 72 42 40 6c 6f "
                                   "63 61 6c 68 6f 73 74 00 00 00 6c 00 00 00 00 6b 00 f7 c2 5a 00 "
                                   "03 77 11 74 65 73 74 65 72 42 40 "
                                   "6c 6f 63 61 6c 68 6f 73 74 6b 00 f7 c2 00 03 71 d2 06 c8 00 02 "
                                   "38 57 63 68 77 06 6e 6f 70 72 6f "
                                   "63";

START_TEST(frames_as_in_the_dumps)
{
    static const struct {
        bool header;
        const char *bytes;
        size_t control, payload;
    } dumps[] = {{false, ping_reply, 6, 43}, {true, monitor_exit, 7, 89}};
    for (size_t i = 0; i < 2; i++) {
        struct stream expected = stream_new(), s = stream_new();
        put_hex(&expected, dumps[i].bytes);
        struct outbox_limits limits = wide();
        struct outbox *outbox = outbox_create(!dumps[i].header, &limits);
        outbox_set_header(outbox, dumps[i].header);
        struct buffer *out = outbox_begin(outbox);
        buffer_append(out, expected.data + dumps[i].control, dumps[i].payload - dumps[i].control);
        outbox_payload(outbox);
        const size_t payload = dumps[i].payload + !dumps[i].header;
        buffer_append(out, expected.data + payload, expected.size - payload);
        ck_assert_int_eq(outbox_commit(outbox, 1, NULL), 0);
        ck_assert_uint_eq(outbox_queued(outbox), expected.size);
        ck_assert_uint_eq(total.used_bytes, expected.size);
        drain(outbox, &s);
        ck_assert_uint_eq(s.size, expected.size);
        ck_assert_mem_eq(s.data, expected.data, s.size);
        /* The same in one go, in pieces. */
        s.size = 0;
        const size_t cut = dumps[i].control + 5;
        const struct slice head[] = {
            slice_of(expected.data + dumps[i].control, cut - dumps[i].control),
            slice_of(expected.data + cut, dumps[i].payload - cut)};
        const struct slice parts[] = {slice_of(NULL, 0), slice_of(expected.data + payload, 3),
            slice_of(expected.data + payload + 3, expected.size - payload - 3)};
        ck_assert_int_eq(outbox_small(outbox, head, 2, parts, 3), 0);
        ck_assert_uint_eq(outbox_queued(outbox), expected.size);
        drain(outbox, &s);
        ck_assert_uint_eq(s.size, expected.size);
        ck_assert_mem_eq(s.data, expected.data, s.size);
        outbox_free(outbox);
        free(expected.data);
        free(s.data);
    }
}
END_TEST

START_TEST(fragments_as_in_the_dump)
{
    struct stream expected = stream_new(), s = stream_new();
    put_big_200k(&expected, 1);
    struct outbox_limits limits = wide();
    struct outbox *outbox = outbox_create(true, &limits);
    struct value value = value_none();
    value.block = block_create(200000);
    memset(value.block->bytes, 'x', 200000);
    value.data = value.block->bytes, value.size = 200000;
    struct buffer *out = outbox_begin(outbox);
    buffer_append(out, expected.data + 4 + 19, BIG_CONTROL);
    outbox_payload(outbox);
    buffer_append(out, expected.data + 4 + 19 + BIG_CONTROL, BIG_PAYLOAD - 200000);
    ck_assert_int_eq(outbox_commit(outbox, 1, &value), 0);
    value_drop(&value);
    ck_assert_uint_eq(outbox_queued(outbox), expected.size);
    drain(outbox, &s);
    ck_assert_uint_eq(s.size, expected.size);
    ck_assert_mem_eq(s.data, expected.data, s.size);
    outbox_free(outbox);
    free(expected.data);
    free(s.data);
}
END_TEST

START_TEST(ticks_and_raw_bytes)
{
    struct stream s = stream_new();
    struct outbox_limits limits = wide();
    struct outbox *outbox = outbox_create(true, &limits);
    ck_assert(outbox_is_empty(outbox));
    ck_assert_int_eq(outbox_raw(outbox, slice_of("\0\3sok", 5)), 0);
    ck_assert_int_eq(outbox_tick(outbox), 0); /* something is queued: not needed */
    ck_assert_uint_eq(outbox_queued(outbox), 5);
    drain(outbox, &s);
    ck_assert_int_eq(outbox_tick(outbox), 0);
    ck_assert_int_eq(outbox_tick(outbox), 0);
    drain(outbox, &s);
    ck_assert_uint_eq(s.size, 9);
    ck_assert_mem_eq(s.data, "\0\3sok\0\0\0\0", 9);
    outbox_free(outbox);
    free(s.data);
}
END_TEST

START_TEST(large_values_go_by_reference_small_ones_are_copied)
{
    struct stream payload = stream_new(), s = stream_new();
    put_binary(&payload, 20000, 1);
    struct outbox_limits limits = wide();
    struct outbox *outbox = outbox_create(false, &limits);
    struct value value = value_copy(slice_of(payload.data, payload.size));
    struct buffer *out = outbox_begin(outbox);
    buffer_append(out, control, sizeof control);
    outbox_payload(outbox);
    ck_assert_int_eq(outbox_commit(outbox, 1, &value), 0);
    ck_assert_uint_eq(atomic_load(&value.block->references), 2);
    struct iovec vector[8];
    ck_assert_uint_eq(outbox_vector(outbox, vector, 8), 2);
    ck_assert_ptr_eq(vector[1].iov_base, value.data);
    ck_assert_uint_eq(vector[1].iov_len, value.size);
    ck_assert_uint_eq(load_be32(vector[0].iov_base), 2 + sizeof control + 1 + value.size);
    /* The reference lives as long as a byte is unsent. */
    outbox_sent(outbox, vector[0].iov_len + value.size - 1);
    ck_assert_uint_eq(atomic_load(&value.block->references), 2);
    outbox_sent(outbox, 1);
    ck_assert_uint_eq(atomic_load(&value.block->references), 1);
    value_drop(&value);
    ck_assert_int_eq(send_tagged(outbox, 1, 1, &payload, 1000, true), 0);
    ck_assert_int_eq(send_tagged(outbox, 1, 1, NULL, 0, true), 0);
    ck_assert_uint_eq(outbox_vector(outbox, vector, 8), 1); /* a burst is one piece */
    outbox_free(outbox);
    free(payload.data);
    free(s.data);
}
END_TEST

START_TEST(aborted_message_leaves_no_trace)
{
    struct stream s = stream_new();
    struct outbox_limits limits = wide();
    struct outbox *outbox = outbox_create(true, &limits);
    send_tagged(outbox, 1, 1, NULL, 0, false);
    buffer_append(outbox_begin(outbox), control, sizeof control);
    outbox_abort(outbox);
    send_tagged(outbox, 1, 2, NULL, 0, false);
    drain(outbox, &s);
    ck_assert_uint_eq(s.size, 2 * (7 + tagged_control));
    ck_assert_uint_eq(s.data[s.size - 1], 2);
    outbox_free(outbox);
    free(s.data);
}
END_TEST

/* ---- limits
 * ---------------------------------------------------------------------------------------- */

START_TEST(queue_limit_and_total_budget)
{
    for (int which = 0; which < 2; which++) {
        struct stream payload = stream_new(), s = stream_new();
        put_binary(&payload, 100000, 1);
        struct outbox_limits limits = wide();
        if (which == 0)
            limits.queued_bytes = 250000;
        else
            total.limit_bytes = 250000;
        struct outbox *outbox = outbox_create(true, &limits);
        ck_assert_int_eq(send_tagged(outbox, 1, 1, &payload, 50000, true), 0);
        ck_assert_int_eq(send_tagged(outbox, 2, 2, &payload, 0, true), 0);
        const uint64_t queued = outbox_queued(outbox);
        ck_assert_int_eq(send_tagged(outbox, 3, 3, &payload, 50000, true), BRAIN_ETOOBIG);
        payload.size = 0;
        put_binary(&payload, 60000, 1);
        ck_assert_int_eq(send_tagged(outbox, 4, 4, &payload, 50000, true), BRAIN_ETOOBIG);
        ck_assert_uint_eq(outbox_queued(outbox), queued);
        /* What was refused left no trace, and room comes back as bytes leave. */
        drain(outbox, &s);
        ck_assert_uint_eq(s.size, queued);
        ck_assert_int_eq(send_tagged(outbox, 4, 4, &payload, 50000, true), 0);
        outbox_free(outbox);
        free(payload.data);
        free(s.data);
    }
}
END_TEST

START_TEST(message_that_no_frame_can_carry)
{
    struct outbox_limits limits = {.queued_bytes = UINT64_MAX};
    struct outbox *outbox = outbox_create(false, &limits);
    /* Never looked at, only counted: 2^32 - 1 bytes of frame would fit, one more does not. */
    struct value value = value_copy(slice_of("v", 1));
    value.size = UINT32_MAX - 2 - sizeof control;
    for (int over = 1; over >= 0; over--) {
        struct buffer *out = outbox_begin(outbox);
        buffer_append(out, control, sizeof control);
        outbox_payload(outbox);
        value.size -= 1 - (unsigned)over;
        ck_assert_int_eq(outbox_commit(outbox, 1, &value), over ? BRAIN_ETOOBIG : 0);
    }
    ck_assert_uint_eq(outbox_queued(outbox), UINT64_C(0x100000003));
    value.size = 1;
    value_drop(&value);
    outbox_destroy(outbox);
}
END_TEST

/* ---- order
 * ------------------------------------------------------------------------------------------ */

struct arrivals {
    uint32_t receiver[4096], number[4096];
    unsigned count;
    const uint32_t *sizes; /* of the payloads by number; NULL: not looked at */
};

static int on_arrival(void *context, const struct frame_message *message)
{
    struct arrivals *a = context;
    ck_assert_uint_eq(message->control.size, tagged_control);
    ck_assert_int_eq(message->payload_error, 0);
    ck_assert_uint_lt(a->count, 4096);
    const uint32_t number = load_be32(message->control.data + 10);
    a->receiver[a->count] = load_be32(message->control.data + 5);
    a->number[a->count++] = number;
    if (a->sizes == NULL)
        return 0;
    struct stream expected = {malloc(a->sizes[number] + 5), 0}; /* all it needs */
    put_binary(&expected, a->sizes[number], number);
    ck_assert_uint_eq(message->payload.size, expected.size);
    ck_assert_mem_eq(message->payload.data, expected.data, expected.size);
    free(expected.data);
    return 0;
}

static void no_tick(void *context)
{
    (void)context;
}

static void read_back(const struct stream *s, bool header, struct arrivals *a)
{
    *a = (struct arrivals){.count = 0};
    struct frame_limits limits = roomy();
    limits.total = NULL;
    struct frame_reader *reader =
        frame_reader_create(header, &limits, (struct frame_events){a, no_tick, on_arrival});
    ck_assert_int_eq(pour(reader, s->data, s->size), 0);
    ck_assert_uint_eq(frame_reader_pending(reader), 0);
    frame_reader_destroy(reader);
}

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
    ck_assert_uint_eq(s.size, queued + 7 + tagged_control + small.size);
    struct arrivals a;
    read_back(&s, true, &a);
    expect_numbers(&a, (uint32_t[]){6, 2, 3, 7, 5, 4, 1}, 7);
    /* Number 2 follows the first fragment, and no fragment is inside of it. */
    size_t at = 7 + tagged_control + small.size;
    const size_t prefix = 4 + 18;
    ck_assert_uint_eq(s.data[at + 5], 69);
    at += 4 + load_be32(s.data + at);
    ck_assert_uint_eq(at, 7 + tagged_control + small.size + prefix + 1 + 65536);
    ck_assert_uint_eq(s.data[at + 5], 68);
    ck_assert_uint_eq(load_be32(s.data + at), 3 + tagged_control + big.size);
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

/* ---- memory
 * ----------------------------------------------------------------------------------------- */

START_TEST(steady_small_messages_allocate_nothing)
{
    struct stream payload = stream_new(), s = stream_new();
    put_binary(&payload, 300, 1);
    struct outbox_limits limits = wide();
    struct outbox *outbox = NULL;
    for (int warm = 1; warm >= 0; warm--) {
        if (warm)
            outbox = outbox_create(true, &limits);
        else
            heap_fault_start(1);
        for (unsigned i = 0; i < 5000; i++) {
            ck_assert_int_eq(send_tagged(outbox, i, i, &payload, 100, false), 0);
            if (i % 700 == 699) { /* bursts of a few chunks */
                s.size = 0;
                drain(outbox, &s);
            }
        }
        s.size = 0;
        drain(outbox, &s);
    }
    ck_assert(!heap_fault_stop());
    /* A tick on an idle connection gives the burst's memory back, and is sent. */
    ck_assert_int_eq(outbox_tick(outbox), 0);
    ck_assert_uint_eq(outbox_queued(outbox), 4);
    outbox_free(outbox);
    free(payload.data);
    free(s.data);
}
END_TEST

START_TEST(memory_may_fail_anywhere)
{
    struct stream big = stream_new(), medium = stream_new(), s = stream_new();
    put_binary(&big, 150000, 1);
    put_binary(&medium, 5000, 1);
    bool fault = true;
    unsigned n = 1;
    for (; fault; n++) {
        struct outbox_limits limits = wide();
        heap_fault_start(n);
        struct outbox *outbox = outbox_create(true, &limits);
        unsigned good = 0;
        s.size = 0;
        if (outbox != NULL) {
            static const struct {
                uint32_t receiver;
                bool big;
                size_t by_value;
                bool with_block;
            } plan[] = {{1, false, 0, false}, {2, true, 149000, true}, {2, false, 4000, true},
                {3, true, 100000, false}, {0, true, 0, false}, {4, false, 4000, false},
                {5, false, 4000, true}, {6, false, 0, false}, {7, false, 0, false}};
            for (uint32_t i = 0; i < sizeof plan / sizeof plan[0]; i++) {
                int status = send_tagged(outbox, plan[i].receiver, i, plan[i].big ? &big : &medium,
                    plan[i].by_value, plan[i].with_block);
                ck_assert(status == 0 || status == BRAIN_ENOMEM);
                good += status == 0;
                if (i % 3 == 2)
                    take(outbox, 30000, &s);
            }
            int status = outbox_raw(outbox, slice_of("\0\0\0\0", 4)); /* a tick, to the reader */
            ck_assert(status == 0 || status == BRAIN_ENOMEM);
            for (int i = 0; i < 1000 && !outbox_is_empty(outbox); i++)
                take(outbox, 40000, &s);
            ck_assert(outbox_is_empty(outbox));
        }
        outbox_destroy(outbox);
        ck_assert_uint_eq(total.used_bytes, 0);
        fault = heap_fault_stop();
        /* Whatever was taken arrives whole, whatever was refused left no trace. */
        struct arrivals a;
        read_back(&s, true, &a);
        ck_assert_uint_eq(a.count, good);
        if (outbox != NULL)
            ck_assert_uint_ge(good, fault ? 8 : 9);
    }
    ck_assert_uint_gt(n, 20);
    free(big.data);
    free(medium.data);
    free(s.data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("outbox");
    TCase *bytes = tcase_create("bytes");
    tcase_add_test(bytes, frames_as_in_the_dumps);
    tcase_add_test(bytes, fragments_as_in_the_dump);
    tcase_add_test(bytes, ticks_and_raw_bytes);
    tcase_add_test(bytes, large_values_go_by_reference_small_ones_are_copied);
    tcase_add_test(bytes, aborted_message_leaves_no_trace);
    suite_add_tcase(suite, bytes);
    TCase *limits = tcase_create("limits");
    tcase_add_test(limits, queue_limit_and_total_budget);
    tcase_add_test(limits, message_that_no_frame_can_carry);
    suite_add_tcase(suite, limits);
    TCase *order = tcase_create("order");
    tcase_add_test(order, small_messages_overtake_lanes_of_others);
    tcase_add_test(order, lanes_take_turns);
    tcase_add_test(order, large_frames_take_turns);
    tcase_add_test(order, same_bytes_until_they_are_sent);
    tcase_add_test(order, loopback_with_random_messages);
    tcase_set_timeout(order, 60);
    suite_add_tcase(suite, order);
    TCase *memory = tcase_create("memory");
    tcase_add_test(memory, steady_small_messages_allocate_nothing);
    tcase_add_test(memory, memory_may_fail_anywhere);
    suite_add_tcase(suite, memory);
    return suite_run(suite);
}
