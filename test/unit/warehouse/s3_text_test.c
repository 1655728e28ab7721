/* The pure parts of the S3 driver: URLs, ETags, XML, the meaning of answers, remembered ETags. */
#include "s3_text.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap_fault.h"
#include "s3_etags.h"
#include "suite.h"

static void expect_path(const char *name, size_t size, const char *path)
{
    struct buffer url;
    buffer_init(&url);
    s3_append_path(&url, slice_of(name, size));
    ck_assert_int_eq(buffer_status(&url), 0);
    ck_assert_msg(slice_equal_string(buffer_slice(&url), path), "%.*s", (int)url.size, url.data);
    buffer_release(&url);
}

START_TEST(paths)
{
    expect_path("AZaz09-._~/", 11, "AZaz09-._~/");
    expect_path("a%2Fb", 5, "a%252Fb");
    expect_path("\0 \xff+?#", 6, "%00%20%FF%2B%3F%23");
    expect_path("", 0, "");
}
END_TEST

START_TEST(etags)
{
    char etag[S3_ETAG_LIMIT + 1], long_one[S3_ETAG_LIMIT + 4];
    static const char *const good[][2] = {
        {" \"d41d8cd9-2\"\r\n", "d41d8cd9-2"}, {"bare\r\n", "bare"}, {"\"x\"", "x"}, {"W", "W"}};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert(s3_etag_read(slice_of_string(good[i][0]), etag));
        ck_assert_str_eq(etag, good[i][1]);
    }
    /* Nothing, weak, and what would break the header that it is put into. */
    static const char *const bad[] = {
        "", "\r\n", "\"\"", "\"", "W/\"x\"", "a\rb", "a\"b", "a b", "\x80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!s3_etag_read(slice_of_string(bad[i]), etag), "%zu", i);
        ck_assert_str_eq(etag, "");
    }
    memset(long_one, 'e', sizeof(long_one));
    ck_assert(s3_etag_read(slice_of(long_one, S3_ETAG_LIMIT), etag));
    ck_assert_uint_eq(strlen(etag), S3_ETAG_LIMIT);
    ck_assert(!s3_etag_read(slice_of(long_one, S3_ETAG_LIMIT + 1), etag));
}
END_TEST

START_TEST(xml)
{
    char text[9];
    static const char *const rows[][2] = {
        {"<?xml?><Error><Code>Slow</Code><Message>m</Message></Error>", "Slow"},
        {"<Code>a<Code>b", "a"}, {"<Code>12345678901", "12345678"}, {"<Code>a\n\x1b[m", "a??[m"},
        {"<Code></Code>", ""}, {"<Code", ""}, {"", ""}, {"<Codex>a</Codex><Code>b", "b"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        /* A copy of its size, so that a read behind it is seen. */
        size_t size = strlen(rows[i][0]);
        char *copy = malloc(size + (size == 0));
        memcpy(copy, rows[i][0], size);
        s3_xml_text(slice_of(copy, size), "Code", text, 8);
        ck_assert_str_eq(text, rows[i][1]);
        free(copy);
    }
}
END_TEST

START_TEST(outcomes)
{
    static const struct {
        long status;
        const char *code;
        enum s3_outcome outcome;
    } rows[] = {{200, "", S3_DONE}, {204, "", S3_DONE}, {206, "", S3_DONE},
        {404, "NoSuchKey", S3_ABSENT}, {404, "NoSuchBucket", S3_REFUSED}, {404, "", S3_REFUSED},
        {412, "PreconditionFailed", S3_CONDITION},
        {409, "ConditionalRequestConflict", S3_CONDITION}, {500, "UnknownError", S3_AGAIN},
        {503, "SlowDown", S3_AGAIN}, {429, "", S3_AGAIN}, {408, "", S3_AGAIN},
        {400, "RequestTimeout", S3_AGAIN}, {501, "NotImplemented", S3_UNSUPPORTED},
        {403, "AccessDenied", S3_DENIED}, {400, "ExpiredToken", S3_DENIED}, {401, "", S3_DENIED},
        {400, "InvalidArgument", S3_REFUSED}, {301, "PermanentRedirect", S3_REFUSED},
        {307, "", S3_REFUSED}, {100, "", S3_REFUSED}, {0, "", S3_REFUSED}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        ck_assert_msg(s3_outcome_of(rows[i].status, rows[i].code) == rows[i].outcome, "%ld %s",
            rows[i].status, rows[i].code);
    ck_assert_str_ne(s3_hint("NoSuchBucket"), "");
    ck_assert_str_eq(s3_hint("Unheard"), "");
}
END_TEST

static struct slice numbered(unsigned number)
{
    static char text[16];
    return slice_of(text, (size_t)snprintf(text, sizeof(text), "id%u", number));
}

START_TEST(remembered)
{
    struct s3_etags known;
    char long_text[S3_ETAGS_TEXT + 2];
    heap_fault_start(0);
    ck_assert_int_eq(s3_etags_init(&known, 4), 0); /* room for 32 */
    ck_assert_ptr_null(s3_etags_find(&known, numbered(1)));
    s3_etags_put(&known, numbered(1), (struct version){1, 2, 3}, "tag");
    const struct s3_etag *found = s3_etags_find(&known, numbered(1));
    ck_assert_ptr_nonnull(found);
    ck_assert_str_eq(found->text, "tag");
    ck_assert_uint_eq(found->version.seq, 3);
    s3_etags_put(&known, numbered(1), (struct version){1, 2, 4}, "tag2");
    ck_assert_str_eq(s3_etags_find(&known, numbered(1))->text, "tag2");
    /* What is used stays, however many come. */
    unsigned kept = 0;
    for (unsigned i = 2; i < 1000; i++) {
        s3_etags_put(&known, numbered(i), (struct version){0, 0, i}, "x");
        found = s3_etags_find(&known, numbered(1));
        ck_assert_ptr_nonnull(found);
        ck_assert_str_eq(found->text, "tag2");
    }
    for (unsigned i = 1; i < 1000; i++)
        kept += s3_etags_find(&known, numbered(i)) != NULL;
    ck_assert_uint_eq(kept, 32);
    s3_etags_forget(&known, numbered(1));
    ck_assert_ptr_null(s3_etags_find(&known, numbered(1)));
    /* One too long to keep replaces what was known by nothing. */
    s3_etags_put(&known, numbered(1), (struct version){0, 0, 1}, "short");
    memset(long_text, 'l', sizeof(long_text));
    long_text[S3_ETAGS_TEXT + 1] = '\0';
    s3_etags_put(&known, numbered(1), (struct version){0, 0, 2}, long_text);
    ck_assert_ptr_null(s3_etags_find(&known, numbered(1)));
    s3_etags_release(&known);
    ck_assert(!heap_fault_stop());
    heap_fault_start(1);
    ck_assert_int_eq(s3_etags_init(&known, 4), BRAIN_ENOMEM);
    ck_assert(heap_fault_stop());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("s3_text");
    TCase *tcase = tcase_create("text");
    tcase_add_test(tcase, paths);
    tcase_add_test(tcase, etags);
    tcase_add_test(tcase, xml);
    tcase_add_test(tcase, outcomes);
    tcase_add_test(tcase, remembered);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
