/* Credentials: what is read of a file, and which source is taken. */
#include "aws_credentials.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

static struct aws_credentials keys;

static int parse(const char *text, const char *profile)
{
    /* A copy of its size, so that a read behind it is seen. */
    size_t size = strlen(text);
    uint8_t *copy = malloc(size + (size == 0));
    memcpy(copy, text, size);
    memset(&keys, 'x', sizeof(keys));
    int status = aws_credentials_parse(slice_of(copy, size), profile, &keys);
    free(copy);
    return status;
}

START_TEST(profiles)
{
    static const char text[] = "aws_access_key_id = stray\n# [other]\n; x\n[default]\r\n"
                               "aws_access_key_id = A1\r\naws_secret_access_key = s/e=c+r\r\n"
                               "[ other ]\n\taws_access_key_id=A2\naws_secret_access_key =S2 \n"
                               "aws_session_token = T==\nregion = x\nnonsense\n"
                               "[half]\naws_access_key_id = A3\n[profile named]\n"
                               "aws_access_key_id=A4\naws_secret_access_key=S4";
    ck_assert_int_eq(parse(text, "default"), 0);
    ck_assert_str_eq(keys.access_key, "A1");
    ck_assert_str_eq(keys.secret_key, "s/e=c+r");
    ck_assert_str_eq(keys.session_token, "");
    ck_assert_int_eq(parse(text, "other"), 0);
    ck_assert_str_eq(keys.access_key, "A2");
    ck_assert_str_eq(keys.secret_key, "S2");
    ck_assert_str_eq(keys.session_token, "T==");
    ck_assert_int_eq(parse(text, "named"), 0);
    ck_assert_str_eq(keys.access_key, "A4");
    ck_assert_str_eq(keys.secret_key, "S4");
    ck_assert_int_eq(parse(text, "half"), BRAIN_ENOENT);
    ck_assert_int_eq(keys.access_key[0], 'x');
    ck_assert_int_eq(parse(text, "absent"), BRAIN_ENOENT);
    ck_assert_int_eq(parse("", "default"), BRAIN_ENOENT);
    ck_assert_int_eq(parse("[", "default"), BRAIN_ENOENT);
    ck_assert_int_eq(parse("[default", "default"), BRAIN_ENOENT);
}
END_TEST

START_TEST(limits)
{
    char text[2 * AWS_TOKEN_LIMIT];
    int head = snprintf(text, sizeof(text), "[default]\naws_access_key_id=");
    memset(text + head, 'k', AWS_KEY_LIMIT);
    snprintf(text + head + AWS_KEY_LIMIT, 64, "\naws_secret_access_key=s");
    ck_assert_int_eq(parse(text, "default"), 0);
    ck_assert_uint_eq(strlen(keys.access_key), AWS_KEY_LIMIT);
    memset(text + head, 'k', AWS_KEY_LIMIT + 1);
    snprintf(text + head + AWS_KEY_LIMIT + 1, 64, "\naws_secret_access_key=s");
    ck_assert_int_eq(parse(text, "default"), BRAIN_ETOOBIG);
}
END_TEST

static void write_file(const char *path, const char *access_key)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "[default]\naws_access_key_id=%s\naws_secret_access_key=s\n", access_key);
    fclose(file);
}

START_TEST(sources)
{
    static struct aws_source source;
    char path[] = "/tmp/brain-credentials-XXXXXX", why[WAREHOUSE_TEXT];
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    fclose(fdopen(fd, "w"));
    struct s3_options options = {
        .access_key = "", .secret_key = "", .session_token = "", .profile = ""};
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_PROFILE");
    setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    ck_assert_int_eq(aws_source_open(&source, &options, why), BRAIN_ECONFIG);
    ck_assert_ptr_nonnull(strstr(why, path));

    write_file(path, "FROMFILE");
    ck_assert_int_eq(aws_source_open(&source, &options, why), 0);
    ck_assert_str_eq(source.current.access_key, "FROMFILE");
    ck_assert(!aws_source_refresh(&source));
    write_file(path, "NEWER");
    ck_assert(aws_source_refresh(&source));
    ck_assert_str_eq(source.current.access_key, "NEWER");
    remove(path);
    ck_assert(!aws_source_refresh(&source));
    ck_assert_str_eq(source.current.access_key, "NEWER");

    setenv("AWS_ACCESS_KEY_ID", "FROMENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    setenv("AWS_SESSION_TOKEN", "token", 1);
    ck_assert_int_eq(aws_source_open(&source, &options, why), 0);
    ck_assert_str_eq(source.current.access_key, "FROMENV");
    ck_assert_str_eq(source.current.session_token, "token");
    ck_assert(!aws_source_refresh(&source));
    /* Sources are not mixed: no token of the environment with keys of the configuration. */
    options.access_key = "FROMCONFIG";
    ck_assert_int_eq(aws_source_open(&source, &options, why), BRAIN_ECONFIG);
    options.secret_key = "s";
    ck_assert_int_eq(aws_source_open(&source, &options, why), 0);
    ck_assert_str_eq(source.current.access_key, "FROMCONFIG");
    ck_assert_str_eq(source.current.session_token, "");
    aws_source_close(&source);
    ck_assert_str_eq(source.current.secret_key, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("aws_credentials");
    TCase *tcase = tcase_create("credentials");
    tcase_add_test(tcase, profiles);
    tcase_add_test(tcase, limits);
    tcase_add_test(tcase, sources);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
