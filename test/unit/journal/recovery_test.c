/* What a start finds: torn tails, damage, missing files, and what is no journal at all. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap_fault.h"
#include "journal_fixture.h"
#include "record.h"
#include "suite.h"

enum { SMALL = 60 };

/* Writes records first..last, each of `size` bytes, into one new segment. */
static uint64_t write_records(uint64_t first, uint64_t last, size_t size)
{
    uint64_t numbers[64];
    open_journal();
    for (uint64_t seq = first; seq <= last; seq++)
        append(seq, size);
    journal_submit(journal);
    run_until_written(last);
    close_journal();
    size_t count = segment_files(numbers, 64);
    return numbers[count - 1];
}

START_TEST(torn_at_every_byte)
{
    size_t size;
    uint64_t number = write_records(1, 3, SMALL);
    uint8_t *bytes = read_segment(number, &size);
    size_t good = SEGMENT_HEADER + 2 * (RECORD_HEADER + SMALL);
    ck_assert_uint_eq(size, good + RECORD_HEADER + SMALL);
    for (size_t cut = good; cut < size; cut++) {
        remove_segments();
        write_segment(number, bytes, cut);
        open_journal();
        ck_assert_uint_eq(found_count, 2);
        expect_found(1, 2, SMALL);
        ck_assert_uint_eq(next_seq, 3);
        ck_assert_uint_eq(metric("recovered_torn_bytes"), cut - good);
        ck_assert_uint_eq(metric("recovered_bad_records"), 0);
        close_journal();
        size_t left;
        free(read_segment(number, &left));
        ck_assert_uint_eq(left, good);
    }
    /* What is appended after it is found behind it, and nothing is torn any more. */
    write_records(3, 4, SMALL);
    open_journal();
    ck_assert_uint_eq(found_count, 4);
    ck_assert_uint_eq(metric("recovered_torn_bytes"), 0);
    ck_assert_uint_eq(metric("recovered_bad_records"), 0);
    free(bytes);
}
END_TEST

/* A start that was cut off while it made its segment. */
START_TEST(torn_header)
{
    size_t size;
    uint64_t number = write_records(1, 1, SMALL);
    uint8_t *bytes = read_segment(number, &size);
    for (size_t cut = 0; cut < SEGMENT_HEADER; cut += 5) {
        remove_segments();
        write_segment(number, bytes, size);
        write_segment(number + 1, bytes, cut);
        open_journal();
        ck_assert_uint_eq(found_count, 1);
        ck_assert_uint_eq(metric("recovered_torn_bytes"), cut);
        close_journal();
        /* and once more, when the empty file is in the middle */
        write_records(2, 2, SMALL);
        open_journal();
        ck_assert_uint_eq(found_count, 2);
        ck_assert_uint_eq(metric("recovered_bad_records"), 0);
        ck_assert_uint_eq(metric("recovered_missing"), 0);
        close_journal();
    }
    free(bytes);
}
END_TEST

START_TEST(flipped_at_every_byte)
{
    size_t size;
    uint64_t number = write_records(1, 4, SMALL);
    uint8_t *bytes = read_segment(number, &size);
    size_t start = SEGMENT_HEADER + RECORD_HEADER + SMALL;
    for (size_t at = start; at < start + RECORD_HEADER + SMALL; at++) {
        remove_segments();
        bytes[at] ^= (uint8_t)(1 << at % 8);
        write_segment(number, bytes, size);
        bytes[at] ^= (uint8_t)(1 << at % 8);
        open_journal();
        ck_assert_uint_eq(found_count, 3);
        expect_found(0, 1, SMALL);
        expect_found(1, 3, SMALL);
        expect_found(2, 4, SMALL);
        ck_assert_uint_eq(metric("recovered_bad_records"), 1);
        ck_assert_uint_eq(metric("recovered_torn_bytes"), 0);
        close_journal();
    }
    free(bytes);
}
END_TEST

/* Records longer than what is read at once, with damage in and between them. */
START_TEST(damage_in_long_records)
{
    size_t size;
    const size_t length = 3000000;
    uint64_t number = write_records(1, 5, length);
    uint8_t *bytes = read_segment(number, &size);
    bytes[SEGMENT_HEADER + (length + RECORD_HEADER) + 5] ^= 0x40;     /* the second's size */
    bytes[SEGMENT_HEADER + 3 * (length + RECORD_HEADER) + 2000000]++; /* in the fourth */
    write_segment(number, bytes, size);
    open_journal();
    ck_assert_uint_eq(found_count, 3);
    expect_found(0, 1, length);
    expect_found(1, 3, length);
    expect_found(2, 5, length);
    ck_assert_uint_eq(metric("recovered_bad_records"), 2);
    free(bytes);
}
END_TEST

START_TEST(damaged_end_of_an_older_segment)
{
    size_t size;
    uint64_t number = write_records(1, 3, SMALL);
    write_records(4, 5, SMALL);
    uint8_t *bytes = read_segment(number, &size);
    write_segment(number, bytes, size - 1);
    open_journal();
    ck_assert_uint_eq(found_count, 4);
    ck_assert_uint_eq(metric("recovered_bad_records"), 1);
    ck_assert_uint_eq(metric("recovered_torn_bytes"), 0);
    free(bytes);
}
END_TEST

START_TEST(missing)
{
    char path[128];
    uint64_t numbers[8];
    write_records(1, 3, SMALL);
    write_records(4, 10, SMALL);
    write_records(11, 12, SMALL);
    ck_assert_uint_eq(segment_files(numbers, 8), 3);
    segment_path(path, numbers[1]);
    unlink(path);
    open_journal();
    ck_assert_uint_eq(found_count, 5);
    ck_assert_uint_eq(metric("recovered_missing"), 7);
    ck_assert_uint_eq(metric("recovered_bad_records"), 0);
    ck_assert_uint_eq(next_seq, 13);
    close_journal();
    /* The oldest is deleted when it is dead: nobody misses that. */
    segment_files(numbers, 8);
    segment_path(path, numbers[0]);
    unlink(path);
    open_journal();
    ck_assert_uint_eq(found_count, 2);
    ck_assert_uint_eq(metric("recovered_missing"), 0);
}
END_TEST

START_TEST(garbage)
{
    uint8_t junk[4096];
    uint64_t number = write_records(1, 2, SMALL);
    memset(junk, 0x5a, sizeof(junk));
    write_segment(number + 1, junk, sizeof(junk));
    write_segment(number + 2, junk, 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/notes.txt", directory);
    close(open(path, O_CREAT | O_WRONLY, 0600)); /* not ours: left alone */
    open_journal();
    ck_assert_uint_eq(found_count, 2);
    ck_assert_uint_eq(metric("recovered_bad_records"), 1);
    append(3, SMALL);
    close_journal();
    ck_assert_int_eq(unlink(path), 0);
    segment_path(path, number + 50);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(try_open(), BRAIN_EIO);
    ck_assert_ptr_nonnull(strstr(why, "is not a file"));
    ck_assert_ptr_nonnull(strstr(why, directory));
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* A header that claims more than the limit, or than the file has, gets no memory. */
START_TEST(lying_size)
{
    uint64_t number = write_records(1, 2, SMALL);
    size_t size;
    uint8_t *bytes = read_segment(number, &size);
    store_be32(bytes + SEGMENT_HEADER + 4, 0xfffffff0);
    write_segment(number, bytes, size);
    open_journal();
    ck_assert_uint_eq(found_count, 1);
    expect_found(0, 2, SMALL);
    close_journal();
    options.payload_limit_bytes = SMALL - 1;
    open_journal();
    ck_assert_uint_eq(found_count, 0);
    free(bytes);
}
END_TEST

/* A record is as old as its segment says, however often it is found, and not as its file. */
START_TEST(segments_tell_their_time)
{
    char path[128];
    struct timespec times[2] = {{1, 0}, {1, 0}};
    fault_install();
    fault_unix_ms = 1000;
    open_journal();
    append(1, SMALL);
    journal_submit(journal);
    fault_unix_ms = 2000;
    append(2, SMALL); /* the same segment */
    journal_begin_segment(journal);
    fault_unix_ms = 3000;
    append(3, SMALL);
    ck_assert_uint_eq(journal_newest(journal).begun_unix_ms, 2000);
    struct journal_range oldest;
    ck_assert(journal_oldest(journal, &oldest));
    ck_assert_uint_eq(oldest.begun_unix_ms, 1000);
    journal_submit(journal);
    run_until_written(3);
    close_journal();
    segment_path(path, 1);
    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
    for (int i = 0; i < 2; i++) {
        fault_unix_ms = 9000;
        open_journal();
        ck_assert_uint_eq(found_count, 3);
        ck_assert_uint_eq(found[0].begun_unix_ms, 1000);
        ck_assert_uint_eq(found[1].begun_unix_ms, 1000);
        ck_assert_uint_eq(found[2].begun_unix_ms, 2000);
        ck_assert(journal_oldest(journal, &oldest));
        ck_assert_uint_eq(oldest.begun_unix_ms, 1000);
        ck_assert_uint_eq(journal_newest(journal).begun_unix_ms, 9000);
        close_journal();
    }
}
END_TEST

/* A segment of before segments had a time. */
START_TEST(segments_without_a_time)
{
    size_t size;
    uint64_t number = write_records(1, 3, SMALL);
    uint8_t *bytes = read_segment(number, &size);
    struct segment_label label;
    bool intact;
    ck_assert_uint_eq(
        segment_header_read(slice_of(bytes, size), number, &label, &intact), SEGMENT_HEADER);
    uint8_t *old = bytes + SEGMENT_HEADER - SEGMENT_HEADER_1;
    memcpy(old, "BRAINJ1\n", 8);
    for (size_t at = 8; at < SEGMENT_HEADER_1; at += 24) {
        store_be64(old + at, label.number);
        store_be64(old + at + 8, label.first_seq);
        store_be32(old + at + 16, label.salt);
        store_be32(old + at + 20, crc32c(0, slice_of(old + at, 20)));
    }
    for (int damaged = 0; damaged < 3; damaged++) {
        if (damaged > 0)
            old[damaged == 1 ? 0 : 8]++;
        write_segment(number, old, size - (SEGMENT_HEADER - SEGMENT_HEADER_1));
        open_journal();
        ck_assert_uint_eq(found_count, 3);
        for (uint64_t i = 0; i < 3; i++) {
            expect_found(i, i + 1, SMALL);
            ck_assert_uint_eq(found[i].begun_unix_ms, 0);
        }
        ck_assert_uint_eq(metric("recovered_bad_records"), damaged > 0);
        close_journal();
    }
    /* Nothing but its header. */
    old[0]--, old[8]--;
    write_segment(number, old, SEGMENT_HEADER_1);
    open_journal();
    ck_assert_uint_eq(found_count, 0);
    ck_assert_uint_eq(metric("recovered_bad_records"), 0);
    free(bytes);
}
END_TEST

static int refuse(void *context, uint64_t seq, uint64_t begun_unix_ms, struct slice payload)
{
    (void)context;
    (void)begun_unix_ms;
    (void)payload;
    return seq == 2 ? BRAIN_ENOMEM : 0;
}

START_TEST(callback_stops)
{
    write_records(1, 3, SMALL);
    struct journal_events events = {NULL, NULL};
    int status = journal_open(&journal, &loop, &options, events, refuse, NULL, &next_seq, &why);
    ck_assert_int_eq(status, BRAIN_ENOMEM);
    ck_assert_ptr_null(journal);
    ck_assert_ptr_nonnull(strstr(why, "record 2"));
    open_journal();
    ck_assert_uint_eq(found_count, 3);
}
END_TEST

START_TEST(no_memory)
{
    write_records(1, 3, 5000);
    write_records(4, 6, 5000);
    for (unsigned n = 1;; n++) {
        heap_fault_start(n);
        int status = try_open();
        if (status == 0)
            close_journal();
        if (!heap_fault_stop()) {
            ck_assert_int_eq(status, 0);
            ck_assert_uint_eq(found_count, 6);
            ck_assert_uint_gt(n, 6);
            break;
        }
        ck_assert_int_eq(status, BRAIN_ENOMEM);
        ck_assert_ptr_nonnull(strstr(why, "out of memory"));
    }
}
END_TEST

/* In a child that is nobody: root may write anywhere. */
START_TEST(read_only)
{
    write_records(1, 2, SMALL);
    ck_assert_int_eq(chmod(directory, 0555), 0);
    char name[64];
    strcpy(name, directory);
    *strrchr(name, '/') = '\0';
    ck_assert_int_eq(chmod(name, 0755), 0);
    uint64_t numbers[4];
    char path[128];
    segment_files(numbers, 4);
    segment_path(path, numbers[0]);
    ck_assert_int_eq(chmod(path, 0644), 0);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(2);
        int status = try_open();
        if (status == 0 || strstr(why, "Permission denied") == NULL ||
            strstr(why, directory) == NULL || found_count != 2)
            _exit(1);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(no_directory)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/below", directory);
    options.directory = path;
    ck_assert_int_eq(try_open(), BRAIN_EIO);
    ck_assert_ptr_nonnull(strstr(why, "could not be made: No such file"));
    options.directory = directory;
    close(open(directory, O_CREAT | O_WRONLY, 0600));
    ck_assert_int_eq(try_open(), BRAIN_EIO);
    ck_assert_ptr_nonnull(strstr(why, "Not a directory"));
    unlink(directory);
    open_journal();
    struct stat about;
    ck_assert_int_eq(stat(directory, &about), 0);
    ck_assert_uint_eq(about.st_mode & 0777, 0700);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal: recovery");
    TCase *tcase = tcase_create("recovery");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, torn_at_every_byte);
    tcase_add_test(tcase, torn_header);
    tcase_add_test(tcase, flipped_at_every_byte);
    tcase_add_test(tcase, damage_in_long_records);
    tcase_add_test(tcase, damaged_end_of_an_older_segment);
    tcase_add_test(tcase, missing);
    tcase_add_test(tcase, garbage);
    tcase_add_test(tcase, lying_size);
    tcase_add_test(tcase, segments_tell_their_time);
    tcase_add_test(tcase, segments_without_a_time);
    tcase_add_test(tcase, callback_stops);
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, read_only);
    tcase_add_test(tcase, no_directory);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
