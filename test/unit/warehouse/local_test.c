/* The local warehouse and what can happen to its directory: restarts, a second process, damage, a
 * full disk, no permission. Each is one sentence, none a crash. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"
#include "warehouse_fixture.h"

enum { MAP = 1 << 20, TINY = 64 << 10 };

static void fill_file(const char *path, off_t offset, int byte, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    uint8_t *bytes = malloc(size);
    memset(bytes, byte, size);
    ck_assert_int_eq(pwrite(fd, bytes, size, offset), (ssize_t)size);
    free(bytes);
    close(fd);
}

static void expect_refused(int error, const char *sentence)
{
    ck_assert_int_eq(try_open(MAP), error);
    ck_assert_msg(strstr(why, sentence) != NULL, "said: %s", why);
    ck_assert_ptr_null(strchr(why, '\n'));
    ck_assert_ptr_nonnull(strstr(why, data_dir));
}

START_TEST(restart_and_epochs)
{
    uint64_t last = 0;
    for (unsigned i = 0; i < 5; i++) {
        open_with(MAP);
        ck_assert_uint_eq(epoch.view, 0);
        ck_assert_uint_gt(epoch.counter, last);
        ck_assert_uint_eq(epoch.seq, 0);
        last = epoch.counter;
        if (i > 0)
            expect_loaded("k", at(i, 1), "v");
        ck_assert_int_eq(dump("k", at(i + 1, 1), NULL, "v")->status, 0);
        close_all();
    }
}
END_TEST

/* A kill at any time leaves what was confirmed, and the epoch grows all the same. */
START_TEST(killed)
{
    open_with(MAP);
    uint64_t first = epoch.counter;
    close_all();
    pid_t child = fork();
    if (child == 0) {
        open_with(MAP);
        if (dump("k", at(1, 1), NULL, "confirmed")->status == 0)
            raise(SIGKILL);
        _exit(1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    open_with(MAP);
    ck_assert_uint_eq(epoch.counter, first + 2);
    expect_loaded("k", at(1, 1), "confirmed");
}
END_TEST

START_TEST(second_process)
{
    char sentence[64];
    open_with(MAP);
    struct warehouse_options options = {.manager = "local", .data_dir = data_dir, .map_bytes = MAP};
    snprintf(sentence, sizeof(sentence), "is in use by process %ld", (long)getpid());
    pid_t child = fork();
    if (child == 0) {
        int error = warehouse_open(&warehouse, &loop, &options, NULL, NULL, &epoch, &why);
        _exit(error == BRAIN_EIO && strstr(why, sentence) != NULL ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_int_eq(dump("k", at(1, 1), NULL, "v")->status, 0);
    close_all();
    open_with(MAP);
}
END_TEST

START_TEST(directories_are_made)
{
    struct stat status;
    char path[64];
    strcpy(path, data_dir);
    strcat(data_dir, "/deep/er");
    open_with(MAP);
    ck_assert_int_eq(dump("k", at(1, 1), NULL, "v")->status, 0);
    ck_assert_int_eq(stat(data_dir, &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0700);
    close_all();
    strcpy(data_dir, path);
}
END_TEST

START_TEST(no_directory)
{
    char path[64];
    strcpy(path, data_dir);
    strcat(data_dir, "/file");
    fill_file(data_dir, 0, 'x', 1);
    expect_refused(BRAIN_EIO, "Not a directory");
    strcat(data_dir, "/below");
    expect_refused(BRAIN_EIO, "Not a directory");
    strcpy(data_dir, path);
    snprintf(data_file, sizeof(data_file), "%s/lock", path);
    ck_assert_int_eq(mkdir(data_file, 0700), 0);
    expect_refused(BRAIN_EIO, "\"lock\" could not be opened");
}
END_TEST

START_TEST(unknown_manager)
{
    struct warehouse_options options = {
        .manager = "floppy", .data_dir = data_dir, .map_bytes = MAP};
    ck_assert_int_eq(
        warehouse_open(&warehouse, &loop, &options, NULL, NULL, &epoch, &why), BRAIN_ECONFIG);
    ck_assert_ptr_nonnull(strstr(why, "floppy"));
    warehouse = NULL;
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------- */

START_TEST(garbage)
{
    static const size_t sizes[] = {1, 100, 511, 1024, 4096, 8192, 100000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        remove(data_file);
        fill_file(data_file, 0, 0xa5, sizes[i]);
        expect_refused(BRAIN_ECORRUPT, "is not a usable object database");
        remove(data_file);
        fill_file(data_file, 0, 0, sizes[i]);
        expect_refused(BRAIN_ECORRUPT, "is not a usable object database");
    }
    remove(data_file);
    ck_assert_int_eq(mkdir(data_file, 0700), 0);
    expect_refused(BRAIN_ECORRUPT, "it is not a file");
    ck_assert_int_eq(rmdir(data_file), 0);
    /* An empty file is a database that has not begun. */
    fill_file(data_file, 0, 0, 1);
    ck_assert_int_eq(truncate(data_file, 0), 0);
    open_with(MAP);
    ck_assert_int_eq(dump("k", at(1, 1), NULL, "v")->status, 0);
}
END_TEST

static void make_objects(unsigned count)
{
    char id[32];
    open_with(MAP);
    fixture_reset();
    for (unsigned i = 0; i < count; i++) {
        snprintf(id, sizeof(id), "user:%u", i);
        submit(new_dump(id, at(1, 1), NULL, slice_of_string("a value of some length")));
    }
    wait_for(count);
    fixture_reset();
    close_all();
}

/* Cut anywhere, it is refused or complete: never a page that is not there. */
START_TEST(truncated)
{
    struct stat status;
    make_objects(1000);
    ck_assert_int_eq(stat(data_file, &status), 0);
    /* From the end, which is a hole, to the beginning. */
    unsigned refused = 0;
    for (off_t size = status.st_size - 4096; size > 0; size -= 4096) {
        ck_assert_int_eq(truncate(data_file, size), 0);
        if (try_open(TINY) != 0) {
            ck_assert_ptr_nonnull(strstr(why, "is not a usable object database"));
            refused++;
            continue;
        }
        ck_assert_uint_eq(refused, 0);
        ck_assert_int_eq(load("user:999")->status, 0);
        close_all();
        /* The file is as long as the map again, so the next cut is one of its own. */
    }
    ck_assert_uint_gt(refused, 10);
}
END_TEST

/* Any byte of the two pages that LMDB trusts most, changed: opened or refused, no crash. */
START_TEST(damaged_beginning)
{
    char copy[128], command[320];
    make_objects(1000);
    snprintf(copy, sizeof(copy), "%s/copy", data_dir);
    snprintf(command, sizeof(command), "cp --sparse=always %s %s", data_file, copy);
    ck_assert_int_eq(system(command), 0);
    unsigned refused = 0;
    for (off_t i = 0; i < 152; i++) {
        for (off_t page = 0; page < 2; page++)
            fill_file(data_file, page * 4096 + i, 0xff, 1);
        if (try_open(MAP) != 0) {
            refused++;
        } else {
            int status = load("user:500")->status;
            ck_assert(status == 0 || status == BRAIN_ENOENT || status == BRAIN_EWAREHOUSE);
            status = dump("user:500", at(2, 1), NULL, "v")->status;
            ck_assert(status == 0 || status == BRAIN_EWAREHOUSE);
            close_all();
        }
        snprintf(command, sizeof(command), "cp --sparse=always %s %s", copy, data_file);
        ck_assert_int_eq(system(command), 0);
    }
    ck_assert_uint_gt(refused, 30);
    open_with(MAP);
    expect_loaded("user:500", at(1, 1), "a value of some length");
}
END_TEST

/* ---- a full disk ----------------------------------------------------------------------------- */

START_TEST(disk_full_and_again_not)
{
    struct rlimit limit, small;
    char big[200001];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    signal(SIGXFSZ, SIG_IGN);
    open_with(TINY);
    ck_assert_int_eq(dump("k", at(1, 1), NULL, "v")->status, 0);

    /* No file may become longer than this one is. */
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = TINY;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 3; i++) {
        const struct warehouse_request *request = dump("big", at(1, 1), NULL, big);
        ck_assert_int_eq(request->status, BRAIN_EWAREHOUSE);
        ck_assert(!request->stored_known);
        ck_assert_ptr_nonnull(strstr(warehouse_last_error(warehouse), "objects.mdb"));
        ck_assert_ptr_nonnull(strstr(warehouse_last_error(warehouse), strerror(EFBIG)));
        /* It goes on reading, and writing what fits. */
        expect_loaded("k", at(1, 1 + (uint64_t)i), "v");
        ck_assert_str_eq(warehouse_last_error(warehouse), "");
        ck_assert_int_eq(dump("k", at(1, 2 + (uint64_t)i), NULL, "v")->status, 0);
    }
    ck_assert_int_eq(load("big")->status, BRAIN_ENOENT);

    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(dump("big", at(1, 1), NULL, big)->status, 0);
    expect_loaded("big", at(1, 1), big);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("local");
    TCase *tcase = tcase_create("directory");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, restart_and_epochs);
    tcase_add_test(tcase, killed);
    tcase_add_test(tcase, second_process);
    tcase_add_test(tcase, directories_are_made);
    tcase_add_test(tcase, no_directory);
    tcase_add_test(tcase, unknown_manager);
    suite_add_tcase(suite, tcase);
    TCase *damage = tcase_create("damage");
    tcase_add_checked_fixture(damage, set_up, tear_down);
    tcase_set_timeout(damage, 120);
    tcase_add_test(damage, garbage);
    tcase_add_test(damage, truncated);
    tcase_add_test(damage, damaged_beginning);
    tcase_add_test(damage, disk_full_and_again_not);
    suite_add_tcase(suite, damage);

    return suite_run(suite);
}
