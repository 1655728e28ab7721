/* The last lease of a data directory: written whole, read back, and what becomes of a damaged file.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "brain/error.h"
#include "lease_file.h"
#include "suite.h"

static char directory[64];
static char path[80];
static struct buffer lines;

static void set_up(void)
{
    strcpy(directory, "/tmp/lease_file_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/lease", directory);
    buffer_init(&lines);
}

static void tear_down(void)
{
    unlink(path);
    buffer_release(&lines);
    rmdir(directory); /* fails when something else was left there */
    ck_assert_int_ne(access(directory, F_OK), 0);
}

static struct lease_record read_it(void)
{
    buffer_clear(&lines);
    return lease_file_read(path, &lines);
}

static void write_text(const char *text)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

START_TEST(what_was_written_is_read)
{
    struct lease_record record = read_it();
    ck_assert_int_eq(record.lease, 0);
    ck_assert_uint_eq(record.unix_ms, 0); /* there never was one */
    struct lease_record one = {7587888765757312345, 1, slice_of(NULL, 0)}, two = one;
    struct buffer members;
    buffer_init(&members);
    lease_file_add_member(&members, UINT64_MAX, slice_of_string("one@host"));
    lease_file_add_member(&members, 7, slice_of_string("two@host"));
    two.lease++;
    two.unix_ms = 42;
    two.members = buffer_slice(&members);
    ck_assert_int_eq(lease_file_write(path, one), 0);
    ck_assert_uint_eq(read_it().members.size, 0);
    ck_assert_int_eq(lease_file_write(path, two), 0);
    record = read_it();
    ck_assert_int_eq(record.lease, 7587888765757312346);
    ck_assert_uint_eq(record.unix_ms, 42);
    uint64_t incarnation;
    struct slice rest = record.members, name;
    ck_assert(lease_file_next_member(&rest, &incarnation, &name));
    ck_assert(incarnation == UINT64_MAX && slice_equal_string(name, "one@host"));
    ck_assert(lease_file_next_member(&rest, &incarnation, &name));
    ck_assert(incarnation == 7 && slice_equal_string(name, "two@host"));
    ck_assert(!lease_file_next_member(&rest, &incarnation, &name));
    buffer_release(&members);
}
END_TEST

START_TEST(a_damaged_line_ends_the_members)
{
    static const char *const texts[] = {"", "\n", "7\n", "7 \n", " a\n", "x a\n", "7 a", "-7 a\n"};
    uint64_t incarnation;
    struct slice rest = slice_of_string(texts[_i]), name;
    ck_assert(!lease_file_next_member(&rest, &incarnation, &name));
}
END_TEST

START_TEST(a_damaged_file_tells_its_age)
{
    static const char *const texts[] = {
        "", "x", "12", "12 ", "12 34", "12 34 ", "-1 34\n", "0 34\n", "12 0\n", "12 34x\n"};
    const uint64_t now_ms = (uint64_t)time(NULL) * 1000;
    write_text(texts[_i]);
    const struct lease_record record = read_it();
    ck_assert_int_eq(record.lease, 0);
    ck_assert_uint_eq(record.members.size, 0);
    ck_assert_uint_ge(record.unix_ms, now_ms - 2000);
    ck_assert_uint_lt(record.unix_ms, now_ms + 60000);
}
END_TEST

START_TEST(a_directory_that_is_not_there)
{
    char nowhere[128];
    snprintf(nowhere, sizeof(nowhere), "%s/none/lease", directory);
    errno = 0;
    ck_assert_int_eq(
        lease_file_write(nowhere, (struct lease_record){.lease = 1, .unix_ms = 2}), BRAIN_EIO);
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

static bool is_there(uv_loop_t *loop, int64_t lease)
{
    for (int i = 0; i < 1000 && read_it().lease != lease; i++) {
        uv_run(loop, UV_RUN_NOWAIT);
        usleep(10000);
    }
    return read_it().lease == lease;
}

START_TEST(the_newest_lease_is_kept)
{
    uv_loop_t loop;
    struct lease_keeper keeper;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    lease_keeper_init(&keeper, &loop, directory);
    lease_keeper_note(&keeper, 1);
    lease_keeper_note(&keeper, 2); /* while the first is being written */
    lease_keeper_note(&keeper, 3);
    ck_assert(is_there(&loop, 3));
    uv_run(&loop, UV_RUN_DEFAULT);
    const struct lease_record before = read_it();
    lease_keeper_note(&keeper, 3); /* too soon to be written again */
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_uint_eq(read_it().unix_ms, before.unix_ms);
    /* Other members are written at once, and by each write from then on. */
    lease_keeper_note_members(&keeper, slice_of_string("7 one@host\n"));
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert(slice_equal_string(read_it().members, "7 one@host\n"));
    lease_keeper_note(&keeper, 4);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert(read_it().lease == 4 && slice_equal_string(buffer_slice(&lines), "7 one@host\n"));
    lease_keeper_note_members(&keeper, slice_of(NULL, 0));
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert(read_it().lease == 4 && lines.size == 0);
    lease_keeper_release(&keeper);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/lease_file");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, what_was_written_is_read);
    tcase_add_loop_test(all, a_damaged_line_ends_the_members, 0, 8);
    tcase_add_loop_test(all, a_damaged_file_tells_its_age, 0, 10);
    tcase_add_test(all, a_directory_that_is_not_there);
    tcase_add_test(all, the_newest_lease_is_kept);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
