/* config_cookie: where the cookie comes from, and who may read it. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "brain/base.h"
#include "brain/config.h"
#include "heap_fault.h"
#include "suite.h"

static char home[64], home_file[128], other_file[128];
static char sentence[CONFIG_SENTENCE_LIMIT];

static void make_home(void)
{
    strcpy(home, "/tmp/brain-cookie-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
    snprintf(home_file, sizeof home_file, "%s/.erlang.cookie", home);
    snprintf(other_file, sizeof other_file, "%s/other", home);
    setenv("HOME", home, 1);
}

static void remove_home(void)
{
    unlink(home_file);
    unlink(other_file);
    ck_assert_int_eq(rmdir(home), 0); /* no unfinished file was left */
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

/* The cookie of a configuration with these two options; NULL: refused, see `sentence`. Freed by the
 * caller with heap_release. */
static char *cookie_of(const char *secret, const char *secret_file)
{
    char text[1000], *cookie;
    struct config config;
    snprintf(text, sizeof text, "secret = \"%s\"\nsecret_file = \"%s\"\n", secret, secret_file);
    ck_assert_int_eq(config_parse(&config, "test", text, sentence), 0);
    int status = config_cookie(&config, &cookie, sentence);
    ck_assert_int_eq(status, cookie != NULL ? 0 : BRAIN_ECONFIG);
    ck_assert_int_eq(sentence[0] == '\0', cookie != NULL);
    config_release(&config);
    return cookie;
}

static void expect(const char *secret, const char *secret_file, const char *expected)
{
    char *cookie = cookie_of(secret, secret_file);
    ck_assert_msg(cookie != NULL, "%s", sentence);
    ck_assert_str_eq(cookie, expected);
    heap_release(cookie);
}

static void expect_refusal(const char *secret_file, const char *part)
{
    ck_assert_ptr_null(cookie_of("", secret_file));
    ck_assert_msg(strstr(sentence, part) != NULL, "%s", sentence);
}

START_TEST(secret_comes_first)
{
    write_file(home_file, "HOME", 0400);
    write_file(other_file, "FILE", 0400);
    expect("DIRECT", other_file, "DIRECT");
    expect("", other_file, "FILE");
    expect("", "", "HOME");
}
END_TEST

START_TEST(first_line_counts)
{
    write_file(other_file, "  first line \t\r\nsecond\n", 0600);
    expect("", other_file, "first line");
    char longest[300];
    memset(longest, 'c', sizeof longest);
    longest[255] = '\0';
    write_file(other_file, longest, 0600);
    expect("", other_file, longest);
    longest[255] = 'c', longest[256] = '\0';
    write_file(other_file, longest, 0600);
    expect_refusal(other_file, "longer than 255 bytes");
    write_file(other_file, "\nsecond", 0600);
    expect_refusal(other_file, "is empty");
    write_file(other_file, "", 0600);
    expect_refusal(other_file, "is empty");
    ck_assert_ptr_nonnull(strstr(sentence, other_file));
}
END_TEST

START_TEST(others_must_not_read_it)
{
    static const mode_t open_modes[] = {0440, 0404, 0620, 0602, 0610, 0601};
    for (size_t i = 0; i < sizeof open_modes / sizeof open_modes[0]; i++) {
        write_file(other_file, "VERYSECRET", open_modes[i]);
        expect_refusal(other_file, "must be accessible by owner only");
        write_file(home_file, "VERYSECRET", open_modes[i]);
        expect_refusal("", "must be accessible by owner only");
        ck_assert_ptr_null(strstr(sentence, "VERYSECRET"));
    }
}
END_TEST

START_TEST(strange_files_are_refused)
{
    expect_refusal(other_file, "No such file");
    expect_refusal(home, "not a regular file");
    ck_assert_int_eq(mkfifo(other_file, 0600), 0); /* and nobody is waited for */
    expect_refusal(other_file, "not a regular file");
}
END_TEST

/* The password for etcd: the same rules, but no file is made and none is needed. */
START_TEST(the_password_of_the_managers)
{
    char text[1000], *password;
    struct config config;
    write_file(other_file, " pass word \nmore\n", 0600);
    snprintf(text, sizeof text, "manager_user = u\nmanager_password_file = \"%s\"\n", other_file);
    ck_assert_int_eq(config_parse(&config, "test", text, sentence), 0);
    ck_assert_int_eq(config_manager_password(&config, &password, sentence), 0);
    ck_assert_str_eq(password, "pass word");
    heap_release(password);
    ck_assert_int_eq(chmod(other_file, 0640), 0);
    ck_assert_int_eq(config_manager_password(&config, &password, sentence), BRAIN_ECONFIG);
    ck_assert_ptr_null(password);
    ck_assert_ptr_nonnull(strstr(sentence, "the password file must be accessible by owner only"));
    ck_assert_int_eq(unlink(other_file), 0);
    ck_assert_int_eq(config_manager_password(&config, &password, sentence), BRAIN_ECONFIG);
    config_release(&config);
    ck_assert_int_eq(config_parse(&config, "test", "manager_password = given", sentence), 0);
    ck_assert_int_eq(config_manager_password(&config, &password, sentence), 0);
    ck_assert_str_eq(password, "given");
    heap_release(password);
    config_release(&config);
    ck_assert_int_eq(config_parse(&config, "test", "", sentence), 0);
    ck_assert_int_eq(config_manager_password(&config, &password, sentence), 0);
    ck_assert_str_eq(password, "");
    heap_release(password);
    config_release(&config);
}
END_TEST

START_TEST(absent_file_is_made)
{
    char *made = cookie_of("", "");
    ck_assert_msg(made != NULL, "%s", sentence);
    ck_assert_uint_eq(strlen(made), 20);
    ck_assert_uint_eq(strspn(made, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 20);
    struct stat file;
    ck_assert_int_eq(stat(home_file, &file), 0);
    ck_assert_uint_eq(file.st_mode & 07777, 0400);
    expect("", "", made); /* the same again */
    unlink(home_file);
    char *other = cookie_of("", "");
    ck_assert_str_ne(made, other);
    heap_release(made);
    heap_release(other);
}
END_TEST

START_TEST(without_home)
{
    unsetenv("HOME");
    expect_refusal("", "HOME");
    setenv("HOME", "/tmp/brain-cookie-test-not-there", 1);
    expect_refusal("", "cannot be made");
}
END_TEST

START_TEST(no_memory)
{
    struct config config;
    char *cookie;
    write_file(other_file, "FILE", 0400);
    char text[300];
    snprintf(text, sizeof text, "secret_file = \"%s\"", other_file);
    ck_assert_int_eq(config_parse(&config, "test", text, sentence), 0);
    heap_fault_start(1);
    ck_assert_int_eq(config_cookie(&config, &cookie, sentence), BRAIN_ENOMEM);
    ck_assert_ptr_null(cookie);
    ck_assert(heap_fault_stop());
    config_release(&config);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cookie");
    TCase *cookie = tcase_create("cookie");
    tcase_add_checked_fixture(cookie, make_home, remove_home);
    tcase_add_test(cookie, secret_comes_first);
    tcase_add_test(cookie, first_line_counts);
    tcase_add_test(cookie, the_password_of_the_managers);
    tcase_add_test(cookie, others_must_not_read_it);
    tcase_add_test(cookie, strange_files_are_refused);
    tcase_add_test(cookie, absent_file_is_made);
    tcase_add_test(cookie, without_home);
    tcase_add_test(cookie, no_memory);
    suite_add_tcase(suite, cookie);
    return suite_run(suite);
}
