/* The outbox: bytes against dumps of real nodes, limits, memory. */
#include <check.h>
#include <stdlib.h>

#include "heap_fault.h"
#include "outbox_fixture.h"
#include "suite.h"

/* ---- bytes ----------------------------------------------------------------------------------- */

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
    ck_assert_uint_eq(s.size, 2 * (7 + TAGGED_CONTROL));
    ck_assert_uint_eq(s.data[s.size - 1], 2);
    outbox_free(outbox);
    free(s.data);
}
END_TEST

/* ---- limits ---------------------------------------------------------------------------------- */

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

/* ---- memory ---------------------------------------------------------------------------------- */

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
    TCase *memory = tcase_create("memory");
    tcase_add_test(memory, steady_small_messages_allocate_nothing);
    tcase_add_test(memory, memory_may_fail_anywhere);
    suite_add_tcase(suite, memory);
    return suite_run(suite);
}
