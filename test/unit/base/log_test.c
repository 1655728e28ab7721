/* log: the form of lines, rotation, and that a stopped reader costs lines, not time. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "brain/base.h"
#include "brain/log.h"
#include "suite.h"

static char directory[64];
static char path[128];

static void make_directory(void)
{
    strcpy(directory, "/tmp/brain-log-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/test_log", directory);
}

static void remove_directory(void)
{
    char name[160];
    unlink(path);
    for (unsigned n = 1; n <= 10; n++) {
        snprintf(name, sizeof name, "%s.%u", path, n);
        unlink(name);
    }
    ck_assert_int_eq(rmdir(directory), 0); /* nothing else was left there */
}

static void start(enum log_level level, uint64_t max_size, unsigned max_files)
{
    struct log_options options = {level, directory, "test_log", max_size, max_files};
    ck_assert_int_eq(log_start(&options), 0);
}

/* The file's text; to be freed. */
static char *read_whole(const char *name, size_t *size)
{
    FILE *file = fopen(name, "r");
    ck_assert_msg(file != NULL, "%s is not there", name);
    char *text = malloc(1 << 20);
    *size = fread(text, 1, (1 << 20) - 1, file);
    text[*size] = '\0';
    fclose(file);
    return text;
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    ck_assert_int_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool matched = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return matched;
}

#define TIME "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9][.][0-9]{3}Z"

START_TEST(lines_have_time_level_and_text)
{
    size_t size;
    start(LOG_INFO, 1000000, 1);
    log_debug("not %s", "shown");
    log_info("answer %d", 42);
    log_warning("careful");
    errno = EDOM;
    log_error("broken");
    ck_assert_int_eq(errno, EDOM);
    log_stop();
    char *text = read_whole(path, &size);
    ck_assert_msg(matches(text, "^" TIME " info  answer 42\n" TIME " warn  careful\n" TIME
                                " error broken\n$"),
        "%s", text);
    free(text);

    start(LOG_DEBUG, 1000000, 1); /* appends */
    log_debug("shown");
    log_stop();
    text = read_whole(path, &size);
    ck_assert_msg(matches(text, " error broken\n" TIME " debug shown\n$"), "%s", text);
    free(text);
}
END_TEST

START_TEST(control_bytes_are_escaped)
{
    size_t size;
    start(LOG_INFO, 1000000, 1);
    log_info("a\nb\r\t\x1b[31m\x7f|\xc3\xa9|\xff|\xc2\x9b|\xe2\x82|\xed\xa0\x80|\xf0\x9f\x98\x80");
    log_stop();
    char *text = read_whole(path, &size);
    const char *line = strstr(text, "info  ") + 6;
    ck_assert_str_eq(line, "a\\x0ab\\x0d\\x09\\x1b[31m\\x7f|\xc3\xa9|\\xff|\\xc2\\x9b|\\xe2\\x82|"
                           "\\xed\\xa0\\x80|\xf0\x9f\x98\x80\n");
    free(text);
}
END_TEST

/* The text of the only line of the log, written from `format` and `argument`. */
static size_t logged_size(const char *argument, char last[8])
{
    size_t size;
    start(LOG_INFO, 1000000, 1);
    log_info("%s", argument);
    log_stop();
    char *text = read_whole(path, &size);
    const char *line = strstr(text, "info  ") + 6;
    size_t length = strcspn(line, "\n");
    ck_assert_str_eq(line + length, "\n");
    snprintf(last, 8, "%.*s", 7, line + length - 7);
    free(text);
    unlink(path);
    return length;
}

START_TEST(long_lines_are_cut)
{
    char text[5000], last[8];
    memset(text, 'x', sizeof text);
    text[1000] = '\0';
    ck_assert_uint_eq(logged_size(text, last), 1000);
    ck_assert_str_eq(last, "xxxxxxx");
    text[1000] = 'x', text[1001] = '\0';
    ck_assert_uint_eq(logged_size(text, last), 1000);
    ck_assert_str_eq(last, "xxxx...");
    text[1001] = 'x', text[4999] = '\0';
    ck_assert_uint_eq(logged_size(text, last), 1000);
    ck_assert_str_eq(last, "xxxx...");

    memset(text, 1, 600); /* four bytes each when escaped */
    text[600] = '\0';
    size_t size = logged_size(text, last);
    ck_assert_uint_le(size, 1000);
    ck_assert_uint_ge(size, 990);
    ck_assert_str_eq(last, "\\x01...");

    for (size_t i = 0; i < 4998; i += 2) /* never half a character */
        memcpy(text + i, "\xc3\xa9", 2);
    text[4998] = '\0';
    ck_assert_uint_eq(logged_size(text, last), 999);
    ck_assert_str_eq(last, "\xc3\xa9\xc3\xa9...");
}
END_TEST

START_TEST(files_are_rotated)
{
    char name[160];
    size_t size;
    start(LOG_INFO, 2000, 3);
    for (int i = 0; i < 100; i++)
        log_info("line %03d of a log that is rotated, and some more text to fill it", i);
    log_stop();

    int expected = 99; /* from the newest backwards: nothing lost, nothing twice */
    for (int n = 0; n <= 3; n++) {
        snprintf(name, sizeof name, n == 0 ? "%s" : "%s.%d", path, n);
        char *text = read_whole(name, &size);
        ck_assert_uint_le(size, 2000);
        ck_assert_uint_ge(size, n == 0 ? 1 : 1800);
        char wanted[16], *line;
        for (;; expected--) {
            snprintf(wanted, sizeof wanted, "line %03d ", expected);
            if ((line = strstr(text, wanted)) == NULL)
                break;
            ck_assert_ptr_null(strstr(line + 1, wanted));
        }
        free(text);
    }
    ck_assert_int_lt(expected, 40);
    ck_assert_int_gt(expected, 0);
    snprintf(name, sizeof name, "%s.4", path);
    ck_assert_int_ne(access(name, F_OK), 0);

    start(LOG_INFO, 1000, 0); /* none kept: the file begins anew */
    for (int i = 0; i < 40; i++)
        log_info("again %03d, and some more text to fill the log", i);
    log_stop();
    char *text = read_whole(path, &size);
    ck_assert_uint_le(size, 1000);
    ck_assert_ptr_nonnull(strstr(text, "again 039"));
    free(text);
}
END_TEST

static void *log_many(void *name)
{
    for (int i = 0; i < 300; i++)
        log_info("thread %s line %03d.", (const char *)name, i);
    return NULL;
}

START_TEST(lines_of_threads_stay_whole)
{
    static char names[4][2] = {"A", "B", "C", "D"};
    pthread_t threads[4];
    size_t size, lines = 0;
    uint64_t dropped = log_dropped();

    start(LOG_INFO, 10000000, 1);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    log_stop();
    char *text = read_whole(path, &size);
    int next[4] = {0, 0, 0, 0}, number;
    char thread;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++) {
        ck_assert_int_eq(sscanf(line + 31, "thread %c line %d.", &thread, &number), 2);
        ck_assert_int_eq(number, next[thread - 'A']++);
    }
    ck_assert_uint_eq(lines, 1200); /* they fit the ring: none may be dropped */
    ck_assert(log_dropped() == dropped);
    free(text);
}
END_TEST

enum { FLOOD = 6000 };

struct flood_reader {
    int fd;
    unsigned long long *counts; /* of lines, and the sum of the numbers of dropped ones */
};

static void *count_lines(void *argument)
{
    struct flood_reader *reader = argument;
    FILE *in = fdopen(reader->fd, "r");
    char line[2000];
    unsigned long long number;

    while (fgets(line, sizeof line, in) != NULL) {
        if (sscanf(line + 31, "%llu lines were dropped", &number) == 1)
            reader->counts[1] += number;
        else
            reader->counts[0]++;
    }
    fclose(in);
    return NULL;
}

START_TEST(a_stopped_reader_costs_lines_not_time)
{
    char text[800];
    memset(text, 'f', sizeof text);
    text[sizeof text - 1] = '\0';
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    int both = open(path, O_RDWR | O_CLOEXEC);
    uint64_t before = log_dropped();
    start(LOG_INFO, UINT64_MAX, 1);
    int end = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(end, 0);
    close(both);

    for (int i = 0; i < FLOOD; i++) /* nobody reads: this would never return if it waited */
        log_info("%s", text);
    uint64_t dropped = log_dropped() - before;
    ck_assert(dropped > FLOOD / 4 && dropped < FLOOD);

    unsigned long long counts[2] = {0, 0};
    struct flood_reader reader = {end, counts};
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, count_lines, &reader), 0);
    /* The first line that fits again says how many were dropped; it is `last`. */
    unsigned more = 0;
    uint64_t last;
    do {
        usleep(1000);
        last = log_dropped();
        log_info("again");
        more++;
    } while (log_dropped() != last);
    dropped = last - before;
    log_stop();
    pthread_join(thread, NULL);
    ck_assert_uint_eq(counts[1], dropped);
    ck_assert_uint_eq(counts[0] + counts[1], FLOOD + more);
}
END_TEST

START_TEST(without_a_thread_lines_go_to_stderr)
{
    size_t size;
    int saved = dup(STDERR_FILENO);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(file, STDERR_FILENO);
    close(file);
    log_info("before");
    struct log_options to_stderr = {LOG_INFO, "", "ignored", 1, 0};
    int started = log_start(&to_stderr);
    log_info("during");
    log_stop();
    log_info("after");
    log_stop(); /* twice: nothing happens */
    dup2(saved, STDERR_FILENO);
    close(saved);
    ck_assert_int_eq(started, 0);
    char *text = read_whole(path, &size);
    ck_assert_msg(
        matches(text, "^" TIME " info  before\n" TIME " info  during\n" TIME " info  after\n$"),
        "%s", text);
    free(text);
}
END_TEST

START_TEST(a_file_that_cannot_be_opened)
{
    struct log_options options = {LOG_INFO, "/tmp/brain-log-test-not-there", "x", 1000, 1};
    errno = 0;
    ck_assert_int_eq(log_start(&options), BRAIN_EIO);
    ck_assert_int_eq(errno, ENOENT);
    char *long_name = malloc(5000);
    memset(long_name, 'n', 5000);
    long_name[4999] = '\0';
    options.file_name = long_name;
    ck_assert_int_eq(log_start(&options), BRAIN_EIO);
    ck_assert_int_eq(errno, ENAMETOOLONG);
    free(long_name);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *lines = tcase_create("log");
    tcase_set_timeout(lines, 60);
    tcase_add_checked_fixture(lines, make_directory, remove_directory);
    tcase_add_test(lines, lines_have_time_level_and_text);
    tcase_add_test(lines, control_bytes_are_escaped);
    tcase_add_test(lines, long_lines_are_cut);
    tcase_add_test(lines, files_are_rotated);
    tcase_add_test(lines, lines_of_threads_stay_whole);
    tcase_add_test(lines, a_stopped_reader_costs_lines_not_time);
    tcase_add_test(lines, without_a_thread_lines_go_to_stderr);
    tcase_add_test(lines, a_file_that_cannot_be_opened);
    suite_add_tcase(suite, lines);
    return suite_run(suite);
}
