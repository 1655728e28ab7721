/* The frame reader against byte dumps of real nodes, every way of cutting the stream, and
 * everything broken. Its limits: frame_limits_test.c. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "frame_stream.h"
#include "suite.h"

/* ---- dumps of real nodes -----------------------------------------------------------------------
 */

START_TEST(pass_through_frames_of_otp25)
{
    struct stream s = stream_new();
    put_hex(&s,
        "00000000 0000003b"
        "70 83 68 04 61 06 58 77 10 74 65 73 74 65 72 40 6c 6f 63 61 6c 68 6f 73 74 00 00 00 "
        "5b 00 00 00 00 6b 00 f7 65 77 00 77 05 62 72 61 69 6e 83 68 03 77 01 73 6b 00 01 6b "
        "77 01 76 00000000 00000000 00000034"
        "70 83 68 03 61 02 77 00 58 77 0f 62 72 61 69 6e 40 6c 6f 63 61 6c 68 6f 73 74 00 00 "
        "00 01 00 00 00 01 6b 00 f7 64 83 68 03 77 01 73 6d 00 00 00 01 6b 61 01");
    struct frame_limits limits = roomy();
    struct record r;
    struct frame_reader *reader = reader_new(false, &limits, &r);
    ck_assert_int_eq(frame_reader_feed(reader, slice_of(s.data, s.size)), 0);
    ck_assert_uint_eq(r.ticks, 3);
    ck_assert_uint_eq(r.messages, 2);
    /* In place: the second message lies in what was fed. */
    ck_assert_ptr_eq(r.last.control.data, s.data + s.size - 50);
    ck_assert_uint_eq(r.last.control.size, 36);
    ck_assert_ptr_eq(r.last.payload.data, s.data + s.size - 13);
    ck_assert_uint_eq(r.last.payload.size, 13);
    ck_assert_ptr_null(r.last.block);
    ck_assert(!r.last.payload_checked);
    ck_assert_uint_eq(frame_reader_pending(reader), 0);
    reader_free(reader, &r);
    free(s.data);
}
END_TEST

START_TEST(header_frames_of_otp25)
{
    struct stream s = stream_new();
    put_hex(&s,
        "00000052"
        "83 44 00 68 03 61 16 58 77 11 74 65 73 74 65 72 42 40 6c 6f 63 61 6c 68 6f 73 74 00 "
        "00 00 5c 00 00 00 00 6b 00 f7 c2 58 77 0f 62 72 61 69 6e 40 6c 6f 63 61 6c 68 6f 73 "
        "74 00 00 00 01 00 00 00 01 6b 00 f7 69 68 03 77 01 73 6d 00 00 00 01 6b 61 01"
        "00000045"
        "83 44 00 68 03 61 01 58 77 11 74 65 73 74 65 72 42 40 6c 6f 63 61 6c 68 6f 73 74 00 "
        "00 00 6f 00 00 00 00 6b 00 f7 c2 58 77 0f 62 72 61 69 6e 40 6c 6f 63 61 6c 68 6f 73 "
        "74 00 00 00 4d 00 00 00 01 6b 00 f7 69");
    struct frame_limits limits = roomy();
    struct record r;
    ck_assert_int_eq(run(true, &limits, &s, &r), 0);
    ck_assert_uint_eq(r.messages, 2);
    ck_assert_uint_eq(r.last.control.size, 66);
    ck_assert_uint_eq(r.last.payload.size, 0); /* LINK has none */
    ck_assert_int_eq(r.last.payload_error, 0);
    record_free(&r);
    free(s.data);
}
END_TEST

START_TEST(four_fragments_of_otp25)
{
    struct stream s = stream_new();
    put_big_200k(&s, UINT64_C(0x0000048800000913));
    struct frame_limits limits = roomy();
    struct record r;
    struct frame_reader *reader = reader_new(true, &limits, &r);
    ck_assert_int_eq(pour(reader, s.data, s.size), 0);
    ck_assert_uint_eq(r.messages, 1);
    ck_assert_uint_eq(r.last.control.size, 45);
    ck_assert_uint_eq(r.last.payload.size, 200012);
    ck_assert(r.last.payload_checked);
    ck_assert_mem_eq(r.last_payload, "\x68\x02\x77\x03\x62\x69\x67\x6d\x00\x03\x0d\x40xxxx", 16);
    ck_assert_uint_eq(frame_reader_pending(reader), 0);
    reader_free(reader, &r);
    free(s.data);
}
END_TEST

/* ---- every way of cutting the stream ------------------------------------------------------------
 */

static void put_mixture(struct stream *s, bool header)
{
    struct stream big = stream_new(), small = stream_new();
    put_hex(s, "00000000");
    put_whole(s, header, NULL);
    put_binary(&small, 20, 1);
    put_whole(s, header, &small);
    put_hex(s, "00000000 00000000");
    put_binary(&big, 40000, 2);
    put_whole(s, header, &big);
    put_whole(s, header, &small);
    if (header) {
        big.size = 0;
        put_list(&big, 15000);
        put_fragments(s, 7, 4, &big);
        put_fragments(s, 7, 1, &small);
        /* Two sequences, a small message and a tick woven into each other. */
        put_first(s, 1, 3, big.data, 20000);
        put_first(s, UINT64_MAX, 2, small.data, 10);
        put_hex(s, "00000000");
        put_next(s, 1, 2, big.data + 20000, 0);
        put_whole(s, header, &small);
        put_next(s, UINT64_MAX, 1, small.data + 10, small.size - 10);
        put_next(s, 1, 1, big.data + 20000, big.size - 20000);
    }
    put_whole(s, header, &small);
    free(big.data);
    free(small.data);
}

static void expect_same_for_all_cuts(bool header)
{
    struct stream s = stream_new();
    put_mixture(&s, header);
    struct frame_limits limits = roomy();
    struct record whole, r;
    ck_assert_int_eq(run(header, &limits, &s, &whole), 0);
    ck_assert_uint_eq(whole.messages, header ? 10 : 5);
    ck_assert_uint_eq(whole.ticks, header ? 4 : 3);
    for (size_t step = 1; step < 200; step = step * 3 + 1) {
        struct frame_reader *reader = reader_new(header, &limits, &r);
        for (size_t at = 0; at < s.size; at += step)
            ck_assert_int_eq(pour(reader, s.data + at, s.size - at < step ? s.size - at : step), 0);
        ck_assert_uint_eq(frame_reader_pending(reader), 0);
        ck_assert_uint_eq(r.log.size, whole.log.size);
        ck_assert_mem_eq(r.log.data, whole.log.data, whole.log.size);
        reader_free(reader, &r);
    }
    /* Every single cut: around each frame's head all of them, inside the bulk every 1999th. */
    for (size_t cut = 1; cut < s.size; cut += cut < 150 || cut + 150 > s.size ? 1 : 1999) {
        struct frame_reader *reader = reader_new(header, &limits, &r);
        ck_assert_int_eq(pour(reader, s.data, cut), 0);
        ck_assert_int_eq(pour(reader, s.data + cut, s.size - cut), 0);
        ck_assert_uint_eq(r.log.size, whole.log.size);
        ck_assert_mem_eq(r.log.data, whole.log.data, whole.log.size);
        reader_free(reader, &r);
    }
    record_free(&whole);
    free(s.data);
}

START_TEST(cuts_of_pass_through)
{
    expect_same_for_all_cuts(false);
}
END_TEST

START_TEST(cuts_of_header_mode)
{
    expect_same_for_all_cuts(true);
}
END_TEST

START_TEST(large_frame_is_read_into_its_place)
{
    struct stream s = stream_new(), payload = stream_new();
    put_binary(&payload, 1000000, 3);
    put_whole(&s, false, &payload);
    struct frame_limits limits = roomy();
    struct record r;
    struct frame_reader *reader = reader_new(false, &limits, &r);
    ck_assert_int_eq(frame_reader_feed(reader, slice_of(s.data, 100)), 0);
    /* All of the frame is accounted for at once. */
    ck_assert_uint_eq(frame_reader_pending(reader), s.size - 4);
    uint8_t *area;
    size_t size;
    ck_assert(frame_reader_area(reader, &area, &size));
    ck_assert_uint_eq(size, s.size - 100);
    memcpy(area, s.data + 100, size);
    ck_assert_int_eq(frame_reader_feed(reader, slice_of(area, size)), 0);
    ck_assert_uint_eq(r.messages, 1);
    ck_assert(r.last.payload_checked);
    ck_assert_ptr_eq(r.last.payload.data, area - 100 + 4 + 2 + sizeof control + 1);
    ck_assert(!frame_reader_area(reader, &area, &size));
    reader_free(reader, &r);
    free(payload.data);
    free(s.data);
}
END_TEST

static int hold_block(void *context, const struct frame_message *message)
{
    struct record *r = context;
    r->held = block_hold(message->block);
    r->last = *message;
    return 0;
}

START_TEST(held_block_outlives_the_reader)
{
    struct stream s = stream_new(), payload = stream_new();
    put_binary(&payload, 100000, 3);
    put_fragments(&s, 1, 3, &payload);
    struct frame_limits limits = roomy();
    struct record r = {.held = NULL};
    struct frame_reader *reader =
        frame_reader_create(true, &limits, (struct frame_events){&r, on_tick, hold_block});
    ck_assert_int_eq(pour(reader, s.data, s.size), 0);
    ck_assert_uint_eq(frame_reader_pending(reader), 0);
    frame_reader_destroy(reader);
    ck_assert_ptr_nonnull(r.held);
    ck_assert_mem_eq(r.last.payload.data, payload.data, payload.size);
    /* Room that was left over has been given back, but for a little. */
    const size_t needed = 19 + sizeof control + payload.size;
    ck_assert_uint_ge(r.held->size, needed);
    ck_assert_uint_le(r.held->size, needed + needed / 7);
    block_drop(r.held);
    free(payload.data);
    free(s.data);
}
END_TEST

START_TEST(fragments_are_received_into_one_block)
{
    struct stream s = stream_new(), payload = stream_new();
    put_binary(&payload, 299995, 3);
    put_fragments(&s, 9, 5, &payload);
    struct frame_limits limits = roomy();
    struct record r = {.held = NULL};
    struct frame_reader *reader =
        frame_reader_create(true, &limits, (struct frame_events){&r, on_tick, hold_block});
    uint8_t *area = NULL;
    size_t size = 0;
    const size_t first = 4 + 19 + sizeof control + 60000;
    ck_assert_int_eq(pour(reader, s.data, first + 4 + 18), 0);
    ck_assert(frame_reader_area(reader, &area, &size));
    ck_assert_uint_eq(size, 60000);
    ck_assert_int_eq(pour(reader, s.data + first + 22, s.size - first - 22), 0);
    ck_assert_ptr_nonnull(r.held);
    /* It was not moved since. */
    ck_assert_ptr_eq(area, r.held->bytes + first - 4);
    frame_reader_destroy(reader);
    block_drop(r.held);
    ck_assert_uint_eq(total.used_bytes, 0);
    free(payload.data);
    free(s.data);
}
END_TEST

/* ---- broken framing
 * ------------------------------------------------------------------------------ */

START_TEST(broken_frames_close_the_connection)
{
    static const struct {
        bool header;
        const char *bytes;
    } broken[] = {
        {false, "00000001 70"},
        {false, "00000002 7083"},
        {true, "00000001 83"},
        {true, "00000002 8344"},
        {false, "00000003 708368"},              /* cut in its control */
        {false, "00000006 7083 6802 6102"},      /* the same */
        {false, "00000008 7083 6d 00000001 78"}, /* control is no tuple */
        {false, "00000005 7083 6801 ff"},        /* unknown tag in the control */
        {false, "00000008 7083 6801 7702 ffff"}, /* bad UTF-8 in the control */
        {false, "00000005 7082 6801 6a"},
        {false, "00000005 7183 6801 6a"},
        {false, "00000006 834400 6801 6a"}, /* header where 'p' was agreed on */
        {true, "00000005 7083 6801 6a"},    /* 'p' where headers were agreed on */
        {true, "00000006 834401 6801 6a"},  /* atom cache */
        {true, "00000006 834300 6801 6a"},  /* unknown type */
        {true, "00000006 834700 6801 6a"},  /* unknown type */
        {true, "00000006 844400 6801 6a"},  /* not version 131 */
        {true, "00000003 834400"},          /* nothing in it */
        {true, "00000006 834400 6803 6a"},  /* cut */
        {true, "0000000b 834400 6c7fffffff 6a6a6a"},
        {true, "00000012 8345 0000000000000001 0000000000000001"},            /* no N */
        {true, "00000013 8345 0000000000000001 0000000000000001 00"},         /* no control */
        {true, "00000016 8345 0000000000000001 0000000000000000 00 6801 6a"}, /* number 0 */
        {true, "00000016 8345 0000000000000001 0000000000000002 01 6801 6a"}, /* atom cache */
        {true, "00000016 8345 0000000000000001 0000000000000002 00 6802 6a"}, /* control is cut */
        {true, "00000011 8346 0000000000000001 00000000000000"},
        {true, "00000012 8346 0000000000000001 0000000000000001"}, /* unknown sequence */
        /* the same sequence begun twice */
        {true, "00000016 8345 0000000000000001 0000000000000002 00 6801 6a"
               "00000016 8345 0000000000000001 0000000000000002 00 6801 6a"},
        /* a fragment left out, repeated, one after the last */
        {true, "00000016 8345 0000000000000001 0000000000000003 00 6801 6a"
               "00000012 8346 0000000000000001 0000000000000001"},
        {true, "00000016 8345 0000000000000001 0000000000000003 00 6801 6a"
               "00000012 8346 0000000000000001 0000000000000003"},
        {true, "00000016 8345 0000000000000001 0000000000000001 00 6801 6a"
               "00000012 8346 0000000000000001 0000000000000000"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct stream s = stream_new();
        put_hex(&s, broken[i].bytes);
        struct frame_limits limits = roomy();
        for (int one_by_one = 0; one_by_one <= 1; one_by_one++) {
            struct record r;
            struct frame_reader *reader = reader_new(broken[i].header, &limits, &r);
            int status = 0;
            if (one_by_one)
                for (size_t at = 0; at < s.size && status == 0; at++)
                    status = pour(reader, s.data + at, 1);
            else
                status = pour(reader, s.data, s.size);
            ck_assert_msg(status == BRAIN_EPROTO, "row %zu: %d", i, status);
            struct slice offending;
            const char *text = frame_reader_error(reader, &offending);
            ck_assert_str_ne(text, "no error");
            ck_assert_uint_gt(offending.size, 0);
            /* And stays so. */
            ck_assert_int_eq(frame_reader_feed(reader, slice_of(s.data, 4)), BRAIN_EPROTO);
            reader_free(reader, &r);
        }
        free(s.data);
    }
}
END_TEST

START_TEST(control_over_64_KiB_is_refused)
{
    for (int way = 0; way < 3; way++) {
        struct stream s = stream_new();
        const uint32_t binary = way == 2 ? 65536 - 7 : 65536 - 6;
        const size_t size = 7 + binary + (way == 1 ? 200000 : 0);
        put_be32(&s, (uint32_t)(3 + size));
        put_hex(&s, "834400 6801");
        put_binary(&s, binary, 1);
        if (way == 1)
            put_binary(&s, 200000 - 5, 1);
        struct frame_limits limits = roomy();
        struct record r;
        ck_assert_int_eq(run(true, &limits, &s, &r), way == 2 ? 0 : BRAIN_EPROTO);
        ck_assert_uint_eq(r.messages, way == 2);
        record_free(&r);
        free(s.data);
    }
}
END_TEST

/* ---- bad payloads: the link lives
 * ---------------------------------------------------------------- */

START_TEST(version_byte_and_nothing_behind_it)
{
    struct stream s = stream_new(), good = stream_new();
    put_binary(&good, 3, 1);
    put_hex(&s, "0000000b 7083"), put(&s, control, sizeof control), put_hex(&s, "83");
    struct frame_limits limits = roomy();
    struct record r;
    struct frame_reader *reader = reader_new(false, &limits, &r);
    ck_assert_int_eq(pour(reader, s.data, s.size), 0);
    ck_assert_int_eq(r.last.payload_error, BRAIN_ETERM);
    ck_assert_uint_eq(r.last.payload.size, 0);
    s.size = 0; /* a payload without its version byte */
    put_hex(&s, "0000000c 7083"), put(&s, control, sizeof control), put_hex(&s, "6101");
    ck_assert_int_eq(pour(reader, s.data, s.size), 0);
    ck_assert_int_eq(r.last.payload_error, BRAIN_ETERM);
    s.size = 0;
    put_whole(&s, false, &good);
    ck_assert_int_eq(pour(reader, s.data, s.size), 0);
    ck_assert_int_eq(r.last.payload_error, 0);
    ck_assert_uint_eq(r.messages, 3);
    reader_free(reader, &r);
    free(good.data);
    free(s.data);
}
END_TEST

/* Sends `bad` as one frame, as 'p' frame and in fragments; each must be delivered as refused, the
 * next message as good. Returns the payload error. */
static int refused_as(const struct stream *bad)
{
    int error = 0;
    for (int form = 0; form < 3; form++) {
        const bool header = form > 0;
        struct stream s = stream_new(), good = stream_new();
        put_binary(&good, 20000, 1);
        if (form == 2)
            put_fragments(&s, 5, 9, bad);
        else
            put_whole(&s, header, bad);
        struct frame_limits limits = roomy();
        struct record r;
        struct frame_reader *reader = reader_new(header, &limits, &r);
        ck_assert_int_eq(pour(reader, s.data, s.size), 0);
        ck_assert_uint_eq(r.messages, 1);
        ck_assert(!r.last.payload_checked);
        ck_assert(form == 0 || r.last.payload_error == error);
        error = r.last.payload_error;
        ck_assert_uint_eq(r.last.payload.size, form == 2 ? 16384 : bad->size);
        ck_assert_mem_eq(r.last_payload, bad->data, sizeof r.last_payload);
        ck_assert_uint_eq(frame_reader_pending(reader), 0);
        s.size = 0;
        put_whole(&s, header, &good);
        ck_assert_int_eq(pour(reader, s.data, s.size), 0);
        ck_assert_uint_eq(r.messages, 2);
        ck_assert(r.last.payload_checked);
        reader_free(reader, &r);
        free(good.data);
        free(s.data);
    }
    return error;
}

START_TEST(large_payloads_that_are_no_good)
{
    struct stream bad = stream_new();
    put_binary(&bad, 100000, 1);
    put_hex(&bad, "6a"); /* two terms */
    ck_assert_int_eq(refused_as(&bad), BRAIN_ETERM);
    bad.size -= 2; /* cut */
    ck_assert_int_eq(refused_as(&bad), BRAIN_ETERM);
    bad.size = 0;
    put_list(&bad, 50000);
    bad.data[60001] = 255; /* unknown tag */
    ck_assert_int_eq(refused_as(&bad), BRAIN_ETERM);
    bad.size = 0;
    put_nested(&bad, 100000);
    ck_assert_int_eq(refused_as(&bad), BRAIN_EDEPTH);
    bad.size = 0;
    put_list(&bad, 50000);
    store_be32(bad.data + 1, 0x7fffffff);
    ck_assert_int_eq(refused_as(&bad), BRAIN_EELEMENTS);
    free(bad.data);
}
END_TEST

START_TEST(refused_sequence_keeps_little)
{
    struct stream s = stream_new();
    put_deep_fragments(&s);
    struct frame_limits limits = roomy();
    struct record r;
    struct frame_reader *reader = reader_new(true, &limits, &r);
    ck_assert_int_eq(pour(reader, s.data, s.size), 0);
    ck_assert_uint_eq(r.messages, 0);
    ck_assert_uint_eq(frame_reader_pending(reader), 16384 + 19 + sizeof control);
    reader_free(reader, &r);
    free(s.data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("frame reader");
    TCase *dumps = tcase_create("dumps");
    tcase_add_test(dumps, pass_through_frames_of_otp25);
    tcase_add_test(dumps, header_frames_of_otp25);
    tcase_add_test(dumps, four_fragments_of_otp25);
    suite_add_tcase(suite, dumps);
    TCase *cuts = tcase_create("cuts");
    tcase_add_test(cuts, cuts_of_pass_through);
    tcase_add_test(cuts, cuts_of_header_mode);
    tcase_add_test(cuts, large_frame_is_read_into_its_place);
    tcase_add_test(cuts, held_block_outlives_the_reader);
    tcase_add_test(cuts, fragments_are_received_into_one_block);
    suite_add_tcase(suite, cuts);
    TCase *broken = tcase_create("broken framing");
    tcase_add_test(broken, broken_frames_close_the_connection);
    tcase_add_test(broken, control_over_64_KiB_is_refused);
    suite_add_tcase(suite, broken);
    TCase *payloads = tcase_create("bad payloads");
    tcase_add_test(payloads, version_byte_and_nothing_behind_it);
    tcase_add_test(payloads, large_payloads_that_are_no_good);
    tcase_add_test(payloads, refused_sequence_keeps_little);
    suite_add_tcase(suite, payloads);
    return suite_run(suite);
}
