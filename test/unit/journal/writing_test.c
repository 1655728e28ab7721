/* Appending, reading back, segments that come and go. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "heap_fault.h"
#include "journal_fixture.h"
#include "record.h"
#include "suite.h"
#include "writer.h"

START_TEST(round_trip)
{
    static const size_t sizes[] = {1, 19, 20, 21, 100, 2047, 2068, 2069, 70000, 20 << 20, 300000};
    enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
    open_journal();
    ck_assert_uint_eq(next_seq, 1);
    ck_assert_uint_eq(found_count, 0);
    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < COUNT; i++)
            append(round * COUNT + i + 1, sizes[i]);
        journal_submit(journal);
        journal_submit(journal); /* empty: nothing happens */
    }
    ck_assert_uint_gt(journal_held_bytes(journal), 40 << 20);
    run_until_written(2 * COUNT);
    ck_assert_uint_eq(metric("records"), 2 * COUNT);
    ck_assert_uint_eq(metric("batches"), 2);
    ck_assert_uint_eq(metric("pending_records"), 0);
    ck_assert_uint_eq(metric("live"), 2 * COUNT);
    ck_assert_uint_eq(journal_held_bytes(journal), 0);
    ck_assert_uint_eq(failures_told, 0);
    close_journal();
    open_journal();
    ck_assert_uint_eq(next_seq, 2 * COUNT + 1);
    ck_assert_uint_eq(found_count, 2 * COUNT);
    for (uint64_t i = 0; i < 2 * COUNT; i++)
        expect_found(i, i + 1, sizes[i % COUNT]);
    ck_assert_uint_eq(metric("recovered_records"), 2 * COUNT);
    ck_assert_uint_eq(metric("recovered_bad_records"), 0);
    ck_assert_uint_eq(metric("recovered_torn_bytes"), 0);
    ck_assert_uint_eq(metric("recovered_missing"), 0);
    for (uint64_t i = 0; i < 2 * COUNT; i++)
        journal_dead(journal, i + 1);
    close_journal();
    uint64_t number;
    ck_assert_uint_eq(segment_files(&number, 1), 0);
}
END_TEST

/* A tombstone has no value; a value without a block is copied. */
START_TEST(without_block)
{
    char text[] = "borrowed";
    open_journal();
    append_text(1, "tombstone", NULL);
    append_text(7, "head ", text);
    memset(text, 'x', sizeof(text) - 1);
    journal_submit(journal);
    run_until_written(7);
    close_journal();
    open_journal();
    ck_assert_uint_eq(found_count, 2);
    ck_assert(slice_equal_string(slice_of(found[0].data, found[0].size), "tombstone"));
    ck_assert_uint_eq(found[1].seq, 7);
    ck_assert(slice_equal_string(slice_of(found[1].data, found[1].size), "head borrowed"));
    ck_assert_uint_eq(next_seq, 8);
}
END_TEST

/* More vectors than one call takes, and a device that takes little at a time. */
START_TEST(many_pieces)
{
    fault_install();
    fault_set((struct fault){.chunk = 1000});
    open_journal();
    for (uint64_t seq = 1; seq <= 700; seq++)
        append(seq, 2100);
    journal_submit(journal);
    run_until_written(700);
    fault_set((struct fault){0});
    for (uint64_t seq = 701; seq <= 2200; seq++)
        append(seq, 2100);
    journal_submit(journal);
    run_until_written(2200);
    ck_assert_uint_eq(fault.writes, 4); /* 3001 vectors, 1024 at a time; and a header */
    close_journal();
    open_journal();
    ck_assert_uint_eq(found_count, 2200);
    for (uint64_t i = 0; i < found_count; i++)
        expect_found(i, i + 1, 2100);
}
END_TEST

/* The checksum of a value stands in its head, whether the value was copied or is written by
 * reference. */
START_TEST(values_are_summed)
{
    static const size_t sizes[] = {1, 100, 2048, 2049, 300000};
    static const uint8_t head[] = "head....tail";
    open_journal();
    for (uint64_t i = 0; i < 5; i++) {
        struct value value = payload_of(i + 1, sizes[i]);
        ck_assert_int_eq(journal_append_summed(journal, i + 1, slice_of(head, 12), 4, &value), 0);
        journal_live(journal, i + 1);
        value_drop(&value);
    }
    journal_submit(journal);
    run_until_written(5);
    close_journal();
    open_journal();
    ck_assert_uint_eq(found_count, 5);
    for (uint64_t i = 0; i < 5; i++) {
        struct value value = payload_of(i + 1, sizes[i]);
        const uint8_t *bytes = found[i].data;
        ck_assert_uint_eq(found[i].size, 12 + sizes[i]);
        ck_assert_mem_eq(bytes, "head", 4);
        ck_assert_mem_eq(bytes + 8, "tail", 4);
        ck_assert_mem_eq(bytes + 12, value.data, value.size);
        const uint32_t crc = bytes[4] | (uint32_t)bytes[5] << 8 | (uint32_t)bytes[6] << 16 |
                             (uint32_t)bytes[7] << 24;
        ck_assert_uint_eq(crc, crc32c(0, value_slice(value)));
        value_drop(&value);
    }
}
END_TEST

START_TEST(too_big)
{
    options.payload_limit_bytes = 1000;
    open_journal();
    struct value value = payload_of(1, 981);
    ck_assert_int_eq(journal_append(journal, 1, slice_of(value.data, 20), &value), BRAIN_ETOOBIG);
    value.size = 980;
    ck_assert_int_eq(journal_append(journal, 1, slice_of(value.data, 20), &value), 0);
    value_drop(&value);
}
END_TEST

static size_t expected_files;
static bool files_are_expected(void)
{
    uint64_t number;
    return segment_files(&number, 1) == expected_files;
}

START_TEST(rollover_and_deletion)
{
    uint64_t numbers[16];
    struct journal_range oldest;
    options.segment_bytes = 1000 + SEGMENT_HEADER;
    open_journal();
    ck_assert(!journal_oldest(journal, &oldest));
    /* 4 records of 484 + 16 bytes: 2 in each segment */
    for (uint64_t seq = 1; seq <= 8; seq++) {
        append(seq, 484);
        journal_submit(journal);
    }
    run_until_written(8);
    ck_assert_uint_eq(segment_files(numbers, 16), 4);
    ck_assert_uint_eq(metric("segments"), 4);
    ck_assert_uint_eq(metric("bytes"), 4 * (1000 + SEGMENT_HEADER));
    ck_assert(journal_oldest(journal, &oldest));
    ck_assert_uint_eq(oldest.first_seq, 1);
    ck_assert_uint_eq(oldest.last_seq, 2);
    ck_assert_uint_eq(oldest.live, 2);
    /* The second and third die first: nothing can go. */
    for (uint64_t seq = 3; seq <= 6; seq++)
        journal_dead(journal, seq);
    journal_dead(journal, 1);
    for (int i = 0; i < 20; i++)
        run_once();
    ck_assert_uint_eq(segment_files(numbers, 16), 4);
    journal_dead(journal, 2);
    expected_files = 1;
    run_until(files_are_expected);
    segment_files(numbers, 16);
    ck_assert_uint_eq(numbers[0], 4);
    ck_assert(!journal_oldest(journal, &oldest));
    /* The current one stays, whatever is dead. */
    journal_dead(journal, 7);
    journal_dead(journal, 8);
    for (int i = 0; i < 20; i++)
        run_once();
    ck_assert_uint_eq(segment_files(numbers, 16), 1);
    append(9, 10);
    journal_submit(journal);
    close_journal();
    /* Segment 4 holds nothing live: it goes with the next start. */
    keep_found = false;
    open_journal();
    ck_assert_uint_eq(found_count, 3);
    ck_assert_uint_eq(next_seq, 10);
    ck_assert_uint_eq(segment_files(numbers, 16), 1);
    ck_assert_uint_gt(numbers[0], 4);
}
END_TEST

/* What is replaced is needed until its replacement is durable: a disk that takes nothing more must
 * not cost what it took before. */
START_TEST(replaced_but_not_durable)
{
    uint64_t numbers[16];
    fault_install();
    options.segment_bytes = 500;
    open_journal();
    append(1, 600);
    journal_submit(journal);
    run_until_written(1);
    fault_set((struct fault){.limited = true});
    append(2, 600);
    append(3, 600);
    journal_submit(journal);
    struct value value = payload_of(4, 50);
    ck_assert_int_eq(journal_append(journal, 4, value_slice(value), NULL), 0);
    value_drop(&value);
    journal_replace(journal, 1, 4);
    journal_submit(journal);
    run_until_failed(4);
    ck_assert_uint_eq(segment_files(numbers, 16), 1);
    ck_assert_uint_eq(numbers[0], 1);
    fault_set((struct fault){0});
    run_until_written(4);
    expected_files = 2;
    run_until(files_are_expected);
    segment_files(numbers, 16);
    ck_assert_uint_eq(numbers[0], 2);
}
END_TEST

START_TEST(close_empty)
{
    uint64_t number;
    open_journal();
    close_journal();
    ck_assert_uint_eq(segment_files(&number, 1), 0);
    open_journal();
    append(1, 100);
    journal_dead(journal, 1);
    close_journal();
    ck_assert_uint_eq(written, 1);
    ck_assert_uint_eq(segment_files(&number, 1), 0);
    open_journal();
    ck_assert_uint_eq(next_seq, 1);
}
END_TEST

START_TEST(policies)
{
    fault_install();
    options.sync = JOURNAL_SYNC_ALWAYS;
    open_journal();
    unsigned before = fault.syncs;
    append(1, 100);
    journal_submit(journal);
    run_until_written(1);
    ck_assert_uint_eq(fault.syncs, before + 1);
    ck_assert_uint_eq(metric("unsynced_ms"), 0);
    ck_assert_uint_eq(metric("syncs"), 1);
    close_journal();
    options.sync = JOURNAL_SYNC_INTERVAL;
    options.sync_interval_ms = 3600000;
    open_journal();
    before = fault.syncs;
    append(2, 100);
    journal_submit(journal);
    run_until_written(2);
    ck_assert_uint_eq(fault.syncs, before);
    ck_assert_uint_gt(journal_held_bytes(journal), 100);
    /* More than 16 MiB is not held: synced before its time. */
    append(3, 16 << 20);
    journal_submit(journal);
    run_until_written(3);
    ck_assert_uint_eq(fault.syncs, before + 1);
    ck_assert_uint_eq(journal_held_bytes(journal), 0);
    /* Counted is the memory, of which a batch has more than its bytes. */
    append(4, 1100);
    ck_assert_uint_ge(journal_held_bytes(journal), 4 << 10);
    journal_submit(journal);
    run_until_written(4);
    close_journal();
    /* Less is held where less is allowed. */
    options.unsynced_limit_bytes = 1000;
    open_journal();
    before = fault.syncs;
    append(5, 500);
    journal_submit(journal);
    run_until_written(5);
    ck_assert_uint_eq(fault.syncs, before);
    append(6, 600);
    journal_submit(journal);
    run_until_written(6);
    while (journal_held_bytes(journal) > 0)
        run_once();
    ck_assert_uint_eq(fault.syncs, before + 1);
    close_journal();
    options.unsynced_limit_bytes = 0;
    options.sync_interval_ms = 5;
    open_journal();
    ck_assert_uint_eq(found_count, 6);
    append(7, 100);
    journal_submit(journal);
    run_until_written(7);
    while (metric("syncs") == 0)
        run_once();
    ck_assert_uint_eq(metric("unsynced_ms"), 0);
    ck_assert_uint_eq(journal_held_bytes(journal), 0);
}
END_TEST

/* Not from when the thread hears of a record: that may be much later than its acknowledgement. */
START_TEST(interval_counts_from_the_oldest_record)
{
    options.sync = JOURNAL_SYNC_INTERVAL;
    options.sync_interval_ms = 100;
    ck_assert_int_eq(mkdir(directory, 0700), 0);
    struct writer writer;
    writer_init(&writer, journal_device_get(), &options);
    writer.directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(writer_begin(&writer, 1, 1000, 1), 0);
    static const struct {
        uint64_t since_ms, handed_over_ms, due_ms; /* due 0: at once */
    } batches[] = {{1000, 1080, 1100}, {1101, 1101, 1201}, {1202, 1302, 0}, {1210, 1999, 0}};
    for (uint64_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
        struct batch *batch = batch_create();
        ck_assert_int_eq(batch_add(batch, i + 1, slice_of_string("record"), 0, NULL), 0);
        batch->segment = 1;
        batch->since_ms = batches[i].since_ms;
        batch_list_append(&writer.pending, batch);
        writer_work(&writer, batches[i].handed_over_ms, false);
        if (batches[i].due_ms != 0) {
            ck_assert_uint_eq(writer.syncs, i);
            ck_assert_uint_eq(writer_due_ms(&writer), batches[i].due_ms);
            writer_work(&writer, batches[i].due_ms - 1, false);
            ck_assert_uint_eq(writer.syncs, i);
            writer_work(&writer, batches[i].due_ms, false);
        }
        ck_assert_uint_eq(writer.syncs, i + 1);
        ck_assert_uint_eq(writer_due_ms(&writer), UINT64_MAX);
    }
    writer_close(&writer);
    for (struct batch *batch; (batch = batch_list_take(&writer.done)) != NULL;)
        batch_destroy(batch);
    writer_release(&writer);
}
END_TEST

START_TEST(age_of_what_was_collected)
{
    options.sync = JOURNAL_SYNC_INTERVAL;
    options.sync_interval_ms = 3600000;
    open_journal();
    uv_update_time(&loop);
    append(1, 100);
    uv_sleep(30);
    append(2, 100);
    journal_submit(journal);
    run_until_written(2);
    uv_update_time(&loop);
    ck_assert_uint_ge(metric("unsynced_ms"), 29); /* the loop's clock may be a tick behind */
}
END_TEST

/* Very many batches, and values, given back by one sync: in slices, but all of them. */
START_TEST(many_batches)
{
    options.sync = JOURNAL_SYNC_INTERVAL;
    options.sync_interval_ms = 3600000;
    open_journal();
    for (uint64_t seq = 1; seq <= 25000; seq++) {
        append(seq, 30);
        journal_submit(journal);
    }
    for (uint64_t seq = 25001; seq <= 29000; seq++)
        append(seq, 2100);
    journal_submit(journal);
    run_until_written(29000);
    ck_assert_uint_ge(journal_held_bytes(journal), 4000 * 2100);
    close_journal(); /* frees all, or the sanitizer says so */
    options.sync_interval_ms = 5;
    keep_found = false;
    open_journal();
    ck_assert_uint_eq(found_count, 29000);
    for (uint64_t seq = next_seq; seq < next_seq + 25000; seq++) {
        append(seq, 30);
        journal_submit(journal);
    }
    run_until_written(next_seq + 24999);
    while (journal_held_bytes(journal) > 0)
        run_once();
    ck_assert_uint_eq(metric("records"), 25000);
}
END_TEST

START_TEST(no_memory)
{
    unsigned n, refused = 0;
    keep_found = false;
    for (n = 1;; n++) {
        uint64_t seq = 0;
        options.segment_bytes = 64 << 10;
        struct value value = payload_of(5, 3000);
        heap_fault_start(n);
        int status = try_open();
        if (status != 0) {
            ck_assert_int_eq(status, BRAIN_ENOMEM);
            ck_assert_ptr_nonnull(strstr(why, "out of memory"));
        } else {
            seq = next_seq;
            for (unsigned i = 0; i < 40; i++) {
                int added = journal_append(journal, seq, slice_of(value.data, 100), &value);
                if (added == 0) {
                    journal_live(journal, seq++);
                    continue;
                }
                ck_assert_int_eq(added, BRAIN_ENOMEM);
                refused++;
            }
            journal_submit(journal);
            if (seq > next_seq)
                run_until_written(seq - 1);
            close_journal();
        }
        bool failed_once = heap_fault_stop();
        value_drop(&value);
        if (seq > 0) {
            /* What was refused left no trace; the rest is there, whole. */
            keep_found = false;
            uint64_t first = next_seq;
            open_journal();
            ck_assert_uint_eq(found_count, seq - first);
            for (size_t i = 0; i < found_count; i++) {
                ck_assert_uint_eq(found[i].seq, first + i);
                ck_assert_uint_eq(found[i].size, 3100);
            }
            close_journal();
        }
        if (!failed_once)
            break;
    }
    ck_assert_uint_gt(n, 8);
    ck_assert_uint_gt(refused, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal: writing");
    TCase *tcase = tcase_create("writing");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, round_trip);
    tcase_add_test(tcase, without_block);
    tcase_add_test(tcase, many_pieces);
    tcase_add_test(tcase, values_are_summed);
    tcase_add_test(tcase, too_big);
    tcase_add_test(tcase, rollover_and_deletion);
    tcase_add_test(tcase, replaced_but_not_durable);
    tcase_add_test(tcase, close_empty);
    tcase_add_test(tcase, policies);
    tcase_add_test(tcase, interval_counts_from_the_oldest_record);
    tcase_add_test(tcase, age_of_what_was_collected);
    tcase_add_test(tcase, many_batches);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
