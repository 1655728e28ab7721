/* When a segment is written again, and how old a record is. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "compaction.h"
#include "suite.h"

enum { KEEP = 8000, NOW = 1000000 };

START_TEST(an_eighth_of_tombstone_keep_is_old)
{
    ck_assert(!compaction_is_stale(NOW, NOW, KEEP));
    ck_assert(!compaction_is_stale(NOW - 1000, NOW, KEEP));
    ck_assert(compaction_is_stale(NOW - 1001, NOW, KEEP));
    /* Under a clock that has been put back since; and without a time. */
    ck_assert(!compaction_is_stale(NOW + 1000, NOW, KEEP));
    ck_assert(compaction_is_stale(NOW + 1001, NOW, KEEP));
    ck_assert(compaction_is_stale(0, NOW, KEEP));
}
END_TEST

START_TEST(what_is_begun_with)
{
    struct compaction compaction = {0};
    struct compaction_case what = {.begun_unix_ms = NOW - 1001,
        .first_seq = 10,
        .last_seq = 20,
        .live = 1,
        .tombstone_keep_ms = KEEP,
        .unix_ms = NOW,
        .now_ms = 500};
    ck_assert(compaction_begin(&compaction, &what));
    ck_assert(compaction.under_way);
    ck_assert(!compaction.copies);
    ck_assert_uint_eq(compaction.first_seq, 10);
    ck_assert_uint_eq(compaction.last_seq, 20);
    /* What could not be written again is left alone for a while; the next segment is not. */
    what.now_ms = 500 + KEEP / 64 - 1;
    ck_assert(!compaction_begin(&compaction, &what));
    what.large = true;
    ck_assert(compaction_begin(&compaction, &what));
    what.large = false;
    what.now_ms += KEEP / 64;
    ck_assert(compaction_begin(&compaction, &what));
    what.first_seq = 21;
    ck_assert(compaction_begin(&compaction, &what));
    compaction = (struct compaction){0};
    what.begun_unix_ms = NOW - 1000;
    ck_assert(!compaction_begin(&compaction, &what));
    what.begun_unix_ms = NOW - 1001;
    what.live = 0;
    ck_assert(!compaction_begin(&compaction, &what));
    what.live = 1;
    what.tombstone_keep_ms = 0; /* alone */
    ck_assert(!compaction_begin(&compaction, &what));
    what.large = true;
    ck_assert(compaction_begin(&compaction, &what));
}
END_TEST

START_TEST(the_time_of_a_copy_stands_before_its_form)
{
    static const uint8_t form[] = {131, 104, 5, 100};
    struct buffer bytes;
    buffer_init(&bytes);
    ck_assert_uint_eq(kept_write(&bytes, UINT64_C(0x0102030405060708)), KEPT_HEADER);
    buffer_append(&bytes, form, sizeof(form));
    struct slice payload = buffer_slice(&bytes);
    ck_assert_uint_eq(kept_read(&payload), UINT64_C(0x0102030405060708));
    ck_assert(slice_equal(payload, slice_of(form, sizeof(form))));
    ck_assert_uint_eq(kept_read(&payload), 0);
    ck_assert_uint_eq(payload.size, sizeof(form));
    /* Too short for one: left as it is, to be refused as no stored form. */
    payload = slice_of(bytes.data, KEPT_HEADER - 1);
    ck_assert_uint_eq(kept_read(&payload), 0);
    ck_assert_uint_eq(payload.size, KEPT_HEADER - 1);
    payload = slice_of(NULL, 0);
    ck_assert_uint_eq(kept_read(&payload), 0);
    buffer_release(&bytes);
}
END_TEST

/* A lease that is young makes nothing younger: not what others may have deleted while its segment
 * lay there, and not what was restored before, under the lease that this one replaced. */
START_TEST(a_record_is_as_old_as_its_segment)
{
    ck_assert_uint_eq(record_age(0, NOW - 700, 0, NOW), 700);
    ck_assert_uint_eq(record_age(900, NOW - 700, 0, NOW), 900);
    /* A copy that was written again has a time of its own, whatever its segment's. */
    ck_assert_uint_eq(record_age(0, NOW - 5, NOW - 6000, NOW), 6000);
    ck_assert_uint_eq(record_age(0, NOW - 700, NOW - 20, NOW), 20);
    ck_assert_uint_eq(record_age(300, NOW - 700, NOW - 20, NOW), 300);
    /* Nothing is known, or the clock was put back. */
    ck_assert_uint_eq(record_age(12, 0, 0, NOW), 12);
    ck_assert_uint_eq(record_age(12, NOW + 5000, 0, NOW), 12);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/compaction");
    TCase *all = tcase_create("all");
    tcase_add_test(all, an_eighth_of_tombstone_keep_is_old);
    tcase_add_test(all, what_is_begun_with);
    tcase_add_test(all, the_time_of_a_copy_stands_before_its_form);
    tcase_add_test(all, a_record_is_as_old_as_its_segment);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
