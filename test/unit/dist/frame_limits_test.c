/* The limits of the frame reader: sizes, budgets, memory, and the scan budget of one turn. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "frame_stream.h"
#include "heap_fault.h"
#include "suite.h"

START_TEST(too_large_frame_is_refused_before_memory_is_taken)
{
    static const char *const claims[] = {"ffffffff", "00010001", "00010001 8344006801"};
    for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++) {
        struct stream s = stream_new();
        put_hex(&s, claims[i]);
        struct frame_limits limits = roomy();
        limits.frame_bytes = 65536;
        struct record r;
        struct frame_reader *reader = reader_new(true, &limits, &r);
        heap_fault_start(1); /* whatever it allocated would fail: BRAIN_ENOMEM */
        ck_assert_int_eq(frame_reader_feed(reader, slice_of(s.data, s.size)), BRAIN_ETOOBIG);
        ck_assert(!heap_fault_stop());
        ck_assert_uint_eq(frame_reader_pending(reader), 0);
        reader_free(reader, &r);
        free(s.data);
    }
}
END_TEST

START_TEST(frame_of_exactly_the_limit_is_taken)
{
    struct stream s = stream_new(), payload = stream_new();
    put_binary(&payload, 50000, 1);
    put_whole(&s, true, &payload);
    struct frame_limits limits = roomy();
    limits.frame_bytes = s.size - 4;
    limits.pending_bytes = s.size - 4;
    struct record r;
    ck_assert_int_eq(run(true, &limits, &s, &r), 0);
    ck_assert_uint_eq(r.messages, 1);
    record_free(&r);
    limits.frame_bytes--;
    ck_assert_int_eq(run(true, &limits, &s, &r), BRAIN_ETOOBIG);
    record_free(&r);
    limits.frame_bytes++, limits.pending_bytes--;
    ck_assert_int_eq(run(true, &limits, &s, &r), BRAIN_ETOOBIG);
    record_free(&r);
    free(payload.data);
    free(s.data);
}
END_TEST

START_TEST(claimed_fragments_take_no_memory)
{
    struct stream s = stream_new();
    put_first(&s, 1, UINT64_C(1) << 60, "abc", 3);
    struct frame_limits limits = roomy();
    struct record r;
    struct frame_reader *reader = reader_new(true, &limits, &r);
    ck_assert_int_eq(pour(reader, s.data, s.size), 0);
    ck_assert_uint_eq(frame_reader_pending(reader), s.size - 4);
    ck_assert_uint_eq(total.used_bytes, s.size - 4);
    reader_free(reader, &r);
    free(s.data);
}
END_TEST

START_TEST(promises_take_at_most_half)
{
    static uint8_t part[16384];
    struct stream s = stream_new(), small = stream_new();
    for (uint64_t id = 1; id < 8; id++)
        put_first(&s, id, UINT64_C(1) << 60, part, sizeof part);
    put_binary(&small, 30000, 1);
    put_fragments(&s, 8, 3, &small);
    struct frame_limits limits = roomy();
    for (int which = 0; which < 2; which++) {
        struct record r;
        struct frame_reader *reader = reader_new(true, &limits, &r);
        if (which == 1)
            total.limit_bytes = limits.message_bytes + 200000;
        ck_assert_int_eq(pour(reader, s.data, s.size), 0);
        ck_assert_uint_eq(r.messages, 1);
        ck_assert_uint_le(
            frame_reader_pending(reader), (which ? total.limit_bytes : limits.pending_bytes) / 2 +
                                              7 * (sizeof part + 19 + sizeof control));
        reader_free(reader, &r);
        total = (struct budget){16 << 20, 0};
    }
    free(small.data);
    free(s.data);
}
END_TEST

START_TEST(message_limit_holds_across_fragments)
{
    for (int over = 0; over <= 1; over++) {
        struct stream s = stream_new(), payload = stream_new();
        put_binary(&payload, 100000, 1);
        put_fragments(&s, 1, 10, &payload);
        struct frame_limits limits = roomy();
        limits.message_bytes = payload.size + sizeof control - (unsigned)over;
        struct record r;
        ck_assert_int_eq(run(true, &limits, &s, &r), over ? BRAIN_ETOOBIG : 0);
        ck_assert_uint_eq(r.messages, !over);
        record_free(&r);
        free(payload.data);
        free(s.data);
    }
}
END_TEST

START_TEST(message_limit_holds_for_refused_messages)
{
    struct stream s = stream_new();
    put_deep_fragments(&s);
    struct frame_limits limits = roomy();
    limits.message_bytes = 900000;
    struct record r;
    ck_assert_int_eq(run(true, &limits, &s, &r), BRAIN_ETOOBIG);
    record_free(&r);
    free(s.data);
}
END_TEST

START_TEST(sequences_at_once_are_limited)
{
    struct stream s = stream_new();
    for (uint64_t id = 1; id <= 8; id++)
        put_first(&s, id << 6, 2, "", 0); /* all in one bucket */
    put_next(&s, 3 << 6, 1, "j", 1);
    put_first(&s, 9 << 6, 2, "", 0);
    const size_t good = s.size;
    put_first(&s, 10 << 6, 2, "", 0);
    struct frame_limits limits = roomy();
    struct record r;
    struct frame_reader *reader = reader_new(true, &limits, &r);
    ck_assert_int_eq(pour(reader, s.data, good), 0);
    ck_assert_uint_eq(r.messages, 1);
    ck_assert_mem_eq(r.last_payload, "j", 1);
    ck_assert_int_eq(pour(reader, s.data + good, s.size - good), BRAIN_ETOOBIG);
    reader_free(reader, &r);
    free(s.data);
}
END_TEST

START_TEST(pending_and_total_budget_hold)
{
    for (int which = 0; which < 2; which++) {
        struct stream s = stream_new(), payload = stream_new();
        put_binary(&payload, 100000, 1);
        put_first(&s, 1, 2, payload.data, 60000);
        put_first(&s, 2, 2, payload.data, 60000);
        struct frame_limits limits = roomy();
        if (which == 0)
            limits.pending_bytes = 100000;
        else
            total.limit_bytes = 100000;
        struct record r;
        struct frame_reader *reader = reader_new(true, &limits, &r);
        ck_assert_int_eq(pour(reader, s.data, s.size), BRAIN_ETOOBIG);
        ck_assert_uint_le(frame_reader_pending(reader), 100000);
        reader_free(reader, &r);
        free(payload.data);
        free(s.data);
    }
}
END_TEST

START_TEST(growth_asks_for_no_more_than_needed_near_a_limit)
{
    struct stream s = stream_new(), payload = stream_new();
    put_binary(&payload, 100000, 1);
    put_first(&s, 1, 2, payload.data, 60000);
    put_next(&s, 1, 1, payload.data + 60000, payload.size - 60000);
    struct frame_limits limits = roomy();
    limits.pending_bytes = 19 + sizeof control + payload.size; /* less than twice 60000 */
    struct record r;
    ck_assert_int_eq(run(true, &limits, &s, &r), 0);
    ck_assert_uint_eq(r.messages, 1);
    record_free(&r);
    free(payload.data);
    free(s.data);
}
END_TEST

/* A list of 100,000 elements: in one frame, without and with header, or in fragments. Returns its
 * size. */
static size_t put_long_list(struct stream *s, int form, uint64_t fragments)
{
    struct stream list = stream_new();
    put_list(&list, 100000);
    if (form == 2)
        put_fragments(s, 1, fragments, &list);
    else
        put_whole(s, form > 0, &list);
    free(list.data);
    return list.size;
}

static void put_tick_and_message(struct stream *s, bool header)
{
    put_hex(s, "00000000");
    put_whole(s, header, NULL);
}

/* The list, the tick and the message. */
static void assert_all_came(const struct frame_reader *reader, const struct record *r)
{
    ck_assert_uint_eq(r->messages, 2);
    ck_assert_uint_eq(r->ticks, 1);
    ck_assert_uint_eq(frame_reader_pending(reader), 0);
}

START_TEST(scan_budget_spreads_the_work)
{
    for (int form = 0; form < 3; form++) {
        const bool header = form > 0;
        struct stream s = stream_new();
        const size_t list_size = put_long_list(&s, form, 4);
        put_tick_and_message(&s, header);
        struct frame_limits limits = roomy();
        limits.scan_budget = 10000;
        struct record r;
        struct frame_reader *reader = reader_new(header, &limits, &r);
        int status = frame_reader_feed(reader, slice_of(s.data, s.size));
        ck_assert_int_eq(status, 1);
        /* The tick and the message behind it wait, accounted for. */
        ck_assert_uint_eq(r.messages + r.ticks, 0);
        ck_assert_uint_ge(frame_reader_pending(reader), list_size + 4 + 4 + 3 + sizeof control);
        uint8_t *area;
        size_t size;
        ck_assert(!frame_reader_area(reader, &area, &size));
        unsigned turns = 0;
        while (status == 1 && ++turns < 1000)
            status = frame_reader_feed(reader, slice_of(NULL, 0));
        ck_assert_int_eq(status, 0);
        ck_assert_uint_ge(turns, 9);
        ck_assert_uint_le(turns, 11);
        assert_all_came(reader, &r);
        reader_free(reader, &r);
        free(s.data);
    }
}
END_TEST

/* One read brings the rest of a large frame into its place and what lies behind it elsewhere. */
START_TEST(what_was_read_behind_a_large_frame_may_follow_at_once)
{
    for (int form = 0; form < 3; form++) {
        const bool header = form > 0;
        struct stream s = stream_new();
        put_long_list(&s, form, 2);
        const size_t end = s.size;
        put_tick_and_message(&s, header);
        struct frame_limits limits = roomy();
        limits.scan_budget = 10000;
        struct record r;
        struct frame_reader *reader = reader_new(header, &limits, &r);
        const size_t begin = end - 60000;
        int status = 0;
        for (size_t at = 0; at < begin; at += 20000)
            status = pour(reader, s.data + at, begin - at < 20000 ? begin - at : (size_t)20000);
        ck_assert_int_eq(status, 0);
        uint8_t *area;
        size_t size;
        ck_assert(frame_reader_area(reader, &area, &size));
        ck_assert_uint_eq(size, 60000);
        memcpy(area, s.data + begin, size);
        ck_assert_int_eq(frame_reader_feed(reader, slice_of(area, size)), 1);
        status = frame_reader_feed(reader, slice_of(s.data + end, s.size - end));
        ck_assert_int_eq(status, 1);
        ck_assert_uint_eq(r.messages + r.ticks, 0);
        memset(s.data, 0xEE, s.size);
        while (status == 1)
            status = frame_reader_feed(reader, slice_of(NULL, 0));
        ck_assert_int_eq(status, 0);
        assert_all_came(reader, &r);
        reader_free(reader, &r);
        free(s.data);
    }
}
END_TEST

START_TEST(scan_budget_changes_nothing_but_time)
{
    struct stream s = stream_new(), list = stream_new();
    put_list(&list, 30000);
    for (uint64_t id = 1; id < 4; id++) {
        put_fragments(&s, id, 3, &list);
        put_whole(&s, true, &list);
        put_whole(&s, true, NULL);
    }
    struct frame_limits limits = roomy();
    struct record whole, r;
    ck_assert_int_eq(run(true, &limits, &s, &whole), 0);
    ck_assert_uint_eq(whole.messages, 9);
    static const uint64_t budgets[] = {0, 1, 777, 1024, 30001};
    for (size_t i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        limits.scan_budget = budgets[i];
        ck_assert_int_eq(run(true, &limits, &s, &r), 0);
        ck_assert_uint_eq(r.log.size, whole.log.size);
        ck_assert_mem_eq(r.log.data, whole.log.data, whole.log.size);
        record_free(&r);
    }
    record_free(&whole);
    free(list.data);
    free(s.data);
}
END_TEST

START_TEST(receiver_can_stop_the_reader)
{
    for (int large = 0; large <= 2; large++) {
        struct stream s = stream_new(), payload = stream_new();
        put_binary(&payload, large ? 50000 : 10, 1);
        if (large == 2)
            put_fragments(&s, 1, 2, &payload);
        else
            put_whole(&s, true, &payload);
        put_whole(&s, true, NULL);
        struct frame_limits limits = roomy();
        struct record r;
        struct frame_reader *reader = reader_new(true, &limits, &r);
        r.answer = BRAIN_ESHUTDOWN;
        ck_assert_int_eq(pour(reader, s.data, s.size), BRAIN_ESHUTDOWN);
        ck_assert_uint_eq(r.messages, 1);
        ck_assert_int_eq(frame_reader_feed(reader, slice_of(NULL, 0)), BRAIN_ESHUTDOWN);
        reader_free(reader, &r);
        free(payload.data);
        free(s.data);
    }
}
END_TEST

START_TEST(memory_may_fail_anywhere)
{
    struct stream s = stream_new(), list = stream_new(), nested = stream_new();
    put_list(&list, 20000);
    put_nested(&nested, 90);
    put_whole(&s, true, &nested);
    put_whole(&s, true, &list);
    put_first(&s, 1, 3, list.data, 20000);
    put_first(&s, 2, 2, list.data, 100);
    put_whole(&s, true, &list);
    put_next(&s, 1, 2, list.data + 20000, 1000);
    put_next(&s, 1, 1, list.data + 21000, list.size - 21000);
    struct frame_limits limits = roomy();
    limits.scan_budget = 5000;
    unsigned n = 1;
    bool fault = true;
    for (; fault; n++) {
        struct record r;
        heap_fault_start(n);
        struct frame_reader *reader = reader_new(true, &limits, &r);
        int status = 0;
        if (reader != NULL) {
            static const size_t cuts[] = {10, 5000, 40000, 41000, 61500, 90000, 103000, SIZE_MAX};
            size_t at = 0;
            for (size_t i = 0; i < sizeof cuts / sizeof cuts[0] && status == 0; i++) {
                const size_t end = cuts[i] < s.size ? cuts[i] : s.size;
                status = pour(reader, s.data + at, end - at);
                at = end;
            }
        }
        frame_reader_destroy(reader);
        fault = heap_fault_stop();
        ck_assert_uint_eq(total.used_bytes, 0);
        /* One failure is harmless: a block that cannot be made smaller stays as it is. */
        if (reader != NULL && (!fault || status == 0)) {
            ck_assert_int_eq(status, 0);
            ck_assert_uint_eq(r.messages, 4);
        } else if (reader != NULL) {
            ck_assert_int_eq(status, BRAIN_ENOMEM);
        }
        record_free(&r);
    }
    ck_assert_uint_gt(n, 8);
    free(nested.data);
    free(list.data);
    free(s.data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("frame reader limits");
    TCase *sizes = tcase_create("sizes and budgets");
    tcase_add_test(sizes, too_large_frame_is_refused_before_memory_is_taken);
    tcase_add_test(sizes, frame_of_exactly_the_limit_is_taken);
    tcase_add_test(sizes, claimed_fragments_take_no_memory);
    tcase_add_test(sizes, promises_take_at_most_half);
    tcase_add_test(sizes, message_limit_holds_across_fragments);
    tcase_add_test(sizes, message_limit_holds_for_refused_messages);
    tcase_add_test(sizes, sequences_at_once_are_limited);
    tcase_add_test(sizes, pending_and_total_budget_hold);
    tcase_add_test(sizes, growth_asks_for_no_more_than_needed_near_a_limit);
    suite_add_tcase(suite, sizes);
    TCase *turns = tcase_create("scan budget");
    tcase_add_test(turns, scan_budget_spreads_the_work);
    tcase_add_test(turns, what_was_read_behind_a_large_frame_may_follow_at_once);
    tcase_add_test(turns, scan_budget_changes_nothing_but_time);
    suite_add_tcase(suite, turns);
    TCase *faults = tcase_create("faults");
    tcase_add_test(faults, receiver_can_stop_the_reader);
    tcase_add_test(faults, memory_may_fail_anywhere);
    suite_add_tcase(suite, faults);
    return suite_run(suite);
}
