/* The FTP driver's pure parts: names, listings, what replies mean, backoff, options. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ftp_names.h"
#include "ftp_store.h"
#include "heap_fault.h"
#include "suite.h"

static const uint64_t now_ms = 1800000000000;
static const uint64_t day_ms = 86400000;

static struct ftp_listing listing;
static char stem[FTP_NAME_LIMIT + 1];
static char name[FTP_NAME_LIMIT + 1];

static struct slice text(const char *bytes)
{
    return slice_of(bytes, strlen(bytes));
}

static struct ftp_version at(uint64_t view, uint64_t counter, uint64_t seq, bool deleted)
{
    return (struct ftp_version){{view, counter, seq}, deleted};
}

static void begin(const char *id)
{
    ck_assert(ftp_stem(text(id), stem));
    ftp_listing_init(&listing, stem, now_ms);
}

static void feed(const char *bytes)
{
    ck_assert(ftp_listing_feed(&listing, text(bytes)));
}

static void feed_version(const char *id, struct ftp_version version, const char *end)
{
    char other[FTP_NAME_LIMIT + 1];
    ck_assert(ftp_stem(text(id), other));
    ftp_file_name(name, other, version);
    feed(name);
    feed(end);
}

static void expect_highest(struct ftp_version version)
{
    ck_assert(listing.found);
    ck_assert_int_eq(version_compare(listing.highest.version, version.version), 0);
    ck_assert_int_eq(listing.highest.deleted, version.deleted);
}

/* ---- names ----------------------------------------------------------------------------------- */

START_TEST(file_names)
{
    char shard[FTP_SHARD_SIZE + 1];
    ck_assert(ftp_shard(text("user:1"), shard));
    ck_assert_str_eq(shard, "ab/c3"); /* printf user:1 | sha256sum */
    ck_assert(ftp_stem(text("user:1"), stem));
    ck_assert_str_eq(stem, "=user%3A1");
    ftp_file_name(name, stem, at(3, 0x1a2b, 9, false));
    ck_assert_str_eq(name, "=user%3A1@0000000000000003.0000000000001a2b.0000000000000009");
    ftp_file_name(name, stem, at(0, UINT64_MAX, 1, true));
    ck_assert_str_eq(name, "=user%3A1@0000000000000000.ffffffffffffffff.0000000000000001.deleted");
}
END_TEST

START_TEST(names_are_safe)
{
    static const char *const ids[] = {
        ".", "..", "-rf", "~root", "a/b", "*", "\r\nDELE x", " ", "@"};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        ck_assert(ftp_stem(text(ids[i]), stem));
        ck_assert_int_eq(stem[0], '=');
        ck_assert_uint_eq(strspn(stem + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "0123456789%._-"),
            strlen(stem + 1));
    }
}
END_TEST

START_TEST(names_fit)
{
    uint8_t id[1024];
    memset(id, 'x', sizeof(id));
    for (size_t size = 1; size <= sizeof(id); size++) {
        ck_assert(ftp_stem(slice_of(id, size), stem));
        ftp_file_name(name, stem, at(UINT64_MAX, UINT64_MAX, UINT64_MAX, true));
        ck_assert_uint_le(strlen(name), FTP_NAME_LIMIT);
        ck_assert_str_eq(name + strlen(name) - 8, ".deleted"); /* nothing was cut */
        begin("x");
        memcpy(stem, name, strcspn(name, "@"));
        stem[strcspn(name, "@")] = '\0';
        feed(name);
        feed("\r\n");
        expect_highest(at(UINT64_MAX, UINT64_MAX, UINT64_MAX, true));
    }
    ck_assert(ftp_stem(slice_of(id, sizeof(id)), stem));
    ck_assert_mem_eq(stem, "=~", 2); /* a hash */
}
END_TEST

START_TEST(order_of_names_is_order_of_versions)
{
    static const uint64_t numbers[] = {0, 1, 9, 10, 15, 16, 255, 256, UINT64_MAX - 1, UINT64_MAX};
    size_t count = sizeof(numbers) / sizeof(numbers[0]);
    char other[FTP_NAME_LIMIT + 1];
    for (size_t i = 0; i < count * count * count; i++) {
        struct ftp_version a =
            at(numbers[i % count], numbers[i / count % count], numbers[i / count / count], false);
        struct ftp_version b = at(numbers[(i * 7 + 3) % count], numbers[(i / 3) % count],
            numbers[(i * 3 + 1) % count], false);
        ftp_file_name(name, "=k", a);
        ftp_file_name(other, "=k", b);
        int names = strcmp(name, other), versions = version_compare(a.version, b.version);
        ck_assert_int_eq((names > 0) - (names < 0), (versions > 0) - (versions < 0));
    }
}
END_TEST

/* ---- listings -------------------------------------------------------------------------------- */

START_TEST(takes_the_highest)
{
    begin("k");
    feed_version("k", at(0, 1, 2, false), "\r\n");
    feed_version("k", at(0, 2, 1, true), "\r\n");
    feed_version("k", at(0, 1, 9, false), "\r\n");
    feed_version("kk", at(0, 9, 9, false), "\r\n");
    feed_version("K", at(0, 9, 9, false), "\r\n");
    ck_assert(!listing.complete);
    feed("zz-complete\r\n");
    ftp_listing_end(&listing);
    ck_assert(listing.complete);
    expect_highest(at(0, 2, 1, true));
    ck_assert_uint_eq(listing.older_count, 2);
    ck_assert_uint_eq(listing.older[0].version.seq, 2);
    ck_assert_uint_eq(listing.older[1].version.seq, 9);
}
END_TEST

START_TEST(takes_bytes_as_they_come)
{
    begin("k");
    ftp_file_name(name, stem, at(1, 2, 3, false));
    for (size_t i = 0; name[i] != '\0'; i++)
        ck_assert(ftp_listing_feed(&listing, slice_of(name + i, 1)));
    feed("\n");
    feed("./zz-");
    feed("complete\n");
    ftp_listing_end(&listing);
    ck_assert(listing.complete);
    expect_highest(at(1, 2, 3, false));
}
END_TEST

START_TEST(a_cut_listing_is_not_complete)
{
    static const char whole[] =
        "=k@0000000000000000.0000000000000001.0000000000000001.deleted\r\nzz-complete\r\n";
    for (size_t size = 0; size < sizeof(whole) - 1; size++) {
        begin("k");
        ck_assert(ftp_listing_feed(&listing, slice_of(whole, size)));
        ftp_listing_end(&listing);
        ck_assert(!listing.complete);
    }
    begin("k");
    feed(whole);
    ftp_listing_end(&listing);
    ck_assert(listing.complete && listing.found);
}
END_TEST

START_TEST(foreign_names_are_passed_over)
{
    static const char *const lines[] = {"=k", "=k@", "=k@1.2.3", "k",
        "=k@0000000000000000.0000000000000001.000000000000000G",
        "=k@0000000000000000.0000000000000001.000000000000000A",
        "=k@0000000000000000-0000000000000001.0000000000000001",
        "=k@0000000000000000.0000000000000001.0000000000000001.delete",
        "=k@0000000000000000.0000000000000001.0000000000000001.bak9999",
        "=k@0000000000000000.0000000000000001.0000000000000001 ", "", "\r", "/", "tmp.", "..",
        "tmp.00000000000.000000000000000g", "tmp.0000000000g.0000000000000000", "zz-complet",
        "zz-complete2"};
    begin("k");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        feed(lines[i]);
        feed("\r\n");
    }
    feed("\xff\xfe\n");
    ck_assert(ftp_listing_feed(&listing, slice_of("a\0b\n", 4)));
    ftp_listing_end(&listing);
    ck_assert(!listing.found && !listing.complete);
    ck_assert_uint_eq(listing.stale_count, 0);
}
END_TEST

START_TEST(listings_have_limits)
{
    static char chunk[65536];
    begin("k");
    memset(chunk, 'x', sizeof(chunk));
    size_t fed = 0;
    /* One line without an end; and what follows it is read again. */
    for (int i = 0; i < 3; i++, fed += sizeof(chunk))
        ck_assert(ftp_listing_feed(&listing, slice_of(chunk, sizeof(chunk))));
    feed("\n");
    feed_version("k", at(0, 1, 1, false), "\n");
    expect_highest(at(0, 1, 1, false));
    while (fed < (size_t)64 << 20 && ftp_listing_feed(&listing, slice_of(chunk, sizeof(chunk))))
        fed += sizeof(chunk);
    ck_assert_uint_lt(fed, (size_t)64 << 20);
    ck_assert(!ftp_listing_feed(&listing, slice_of(chunk, sizeof(chunk))));

    begin("k");
    for (uint64_t i = 1; i <= 100; i++)
        feed_version("k", at(0, 1, i, false), "\n");
    expect_highest(at(0, 1, 100, false));
    ck_assert_uint_eq(listing.older_count, FTP_OLDER_LIMIT);
}
END_TEST

START_TEST(stale_temporary_files)
{
    char temporary[FTP_TEMPORARY_SIZE + 1];
    begin("k");
    for (uint64_t i = 0; i < 20; i++) {
        ftp_temporary_name(temporary, now_ms - day_ms + 1, i);
        feed(temporary);
        feed("\r\n");
        ftp_temporary_name(temporary, now_ms + day_ms, i); /* another's clock */
        feed(temporary);
        feed("\r\n");
    }
    ck_assert_uint_eq(listing.stale_count, 0);
    for (uint64_t i = 0; i < 20; i++) {
        ftp_temporary_name(temporary, now_ms - day_ms, i);
        ck_assert_uint_eq(strlen(temporary), FTP_TEMPORARY_SIZE);
        feed(temporary);
        feed("\r\n");
    }
    ck_assert_uint_eq(listing.stale_count, FTP_STALE_LIMIT);
    ftp_temporary_name(temporary, now_ms - day_ms, 0);
    ck_assert_str_eq(listing.stale[0], temporary);
}
END_TEST

/* ---- replies, backoff, options ----------------------------------------------------------------
 */

START_TEST(outcomes)
{
    static const struct {
        CURLcode result;
        long reply;
        enum ftp_outcome outcome;
        const char *hint; /* a part of it */
    } all[] = {
        {CURLE_OK, 226, FTP_DONE, ""},
        {CURLE_COULDNT_RESOLVE_HOST, 0, FTP_AGAIN, "resolved"},
        {CURLE_COULDNT_CONNECT, 0, FTP_AGAIN, "refused"},
        {CURLE_OPERATION_TIMEDOUT, 150, FTP_AGAIN, "in time"},
        {CURLE_RECV_ERROR, 550, FTP_AGAIN, ""},
        {CURLE_LOGIN_DENIED, 530, FTP_REFUSED, "ftp_pass"},
        {CURLE_LOGIN_DENIED, 421, FTP_AGAIN, ""},
        {CURLE_USE_SSL_FAILED, 500, FTP_REFUSED, "TLS"},
        {CURLE_PEER_FAILED_VERIFICATION, 234, FTP_REFUSED, "ftp_ca_file"},
        {CURLE_REMOTE_ACCESS_DENIED, 550, FTP_REFUSED, "permission"},
        {CURLE_REMOTE_ACCESS_DENIED, 450, FTP_AGAIN, ""},
        {CURLE_REMOTE_ACCESS_DENIED, 421, FTP_AGAIN, "too many"},
        {CURLE_REMOTE_FILE_NOT_FOUND, 550, FTP_ABSENT, ""},
        {CURLE_UPLOAD_FAILED, 552, FTP_REFUSED, "full"},
        {CURLE_UPLOAD_FAILED, 452, FTP_AGAIN, "full"},
        {CURLE_PARTIAL_FILE, 226, FTP_AGAIN, ""},
        {CURLE_PARTIAL_FILE, 552, FTP_REFUSED, "full"},
        {CURLE_QUOTE_ERROR, 553, FTP_REFUSED, "permission"},
        {CURLE_QUOTE_ERROR, 450, FTP_AGAIN, ""},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        ck_assert_int_eq(ftp_outcome_of(all[i].result, all[i].reply), all[i].outcome);
        ck_assert_ptr_nonnull(strstr(ftp_hint(all[i].result, all[i].reply), all[i].hint));
    }
}
END_TEST

START_TEST(backoff)
{
    for (unsigned attempt = 0; attempt < 100; attempt++) {
        uint64_t most_ms = attempt < 7 ? (uint64_t)50 << attempt : 5000;
        ck_assert_uint_eq(ftp_backoff_ms(attempt, 0), 0);
        ck_assert_uint_eq(ftp_backoff_ms(attempt, most_ms), most_ms);
        ck_assert_uint_eq(ftp_backoff_ms(attempt, most_ms + 1), 0);
        ck_assert_uint_le(ftp_backoff_ms(attempt, UINT64_MAX), most_ms);
    }
}
END_TEST

static struct warehouse_options good_options(void)
{
    return (struct warehouse_options){.ftp = {.host = "ftp.example",
                                          .port = 21,
                                          .user = "u",
                                          .pass = "p:/@",
                                          .dir = "a b/c%d/",
                                          .ca_file = "",
                                          .parallel = 4,
                                          .timeout_ms = 30000}};
}

START_TEST(options)
{
    static struct ftp_server server;
    char why[WAREHOUSE_TEXT];
    struct warehouse_options given = good_options();
    ck_assert_int_eq(ftp_server_init(&server, &given, why), 0);
    ck_assert_str_eq(server.base, "ftp://ftp.example:21/a%20b/c%25d/");
    ck_assert_uint_eq(server.value_limit_bytes, 1 << 30);
    given.ftp.dir = "/srv/brain";
    given.ftp.host = "::1";
    ck_assert_int_eq(ftp_server_init(&server, &given, why), 0);
    ck_assert_str_eq(server.base, "ftp://[::1]:21/%2Fsrv/brain/");
    given.ftp.dir = "/";
    ck_assert_int_eq(ftp_server_init(&server, &given, why), 0);
    ck_assert_str_eq(server.base, "ftp://[::1]:21/%2F");
    given.ftp.dir = "";
    ck_assert_int_eq(ftp_server_init(&server, &given, why), 0);
    ck_assert_str_eq(server.base, "ftp://[::1]:21/");

#define REFUSED(field, value, word)                                                                \
    do {                                                                                           \
        given = good_options();                                                                    \
        given.ftp.field = value;                                                                   \
        ck_assert_int_eq(ftp_server_init(&server, &given, why), BRAIN_ECONFIG);                    \
        ck_assert_ptr_nonnull(strstr(why, word));                                                  \
    } while (0)
    REFUSED(host, "", "ftp_host");
    REFUSED(host, "a/b", "ftp_host");
    REFUSED(host, "user@host", "ftp_host");
    REFUSED(port, 0, "ftp_port");
    REFUSED(port, 65536, "ftp_port");
    REFUSED(user, "a\r\nDELE b", "ftp_user");
    REFUSED(pass, "a\nb", "ftp_pass");
    REFUSED(dir, "a\rb", "ftp_dir");
    REFUSED(timeout_ms, 0, "ftp_timeout");
}
END_TEST

START_TEST(lack_of_memory)
{
    unsigned n = 1;
    for (;; n++) {
        heap_fault_start(n);
        bool good = ftp_stem(text("user:1"), stem);
        bool failed = heap_fault_stop();
        ck_assert_int_eq(good, !failed);
        if (!failed)
            break;
    }
    ck_assert_uint_gt(n, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ftp");
    TCase *names = tcase_create("names"), *listings = tcase_create("listings");
    TCase *others = tcase_create("others");
    tcase_add_test(names, file_names);
    tcase_add_test(names, names_are_safe);
    tcase_add_test(names, names_fit);
    tcase_add_test(names, order_of_names_is_order_of_versions);
    tcase_add_test(names, lack_of_memory);
    tcase_add_test(listings, takes_the_highest);
    tcase_add_test(listings, takes_bytes_as_they_come);
    tcase_add_test(listings, a_cut_listing_is_not_complete);
    tcase_add_test(listings, foreign_names_are_passed_over);
    tcase_add_test(listings, listings_have_limits);
    tcase_add_test(listings, stale_temporary_files);
    tcase_add_test(others, outcomes);
    tcase_add_test(others, backoff);
    tcase_add_test(others, options);
    suite_add_tcase(suite, names);
    suite_add_tcase(suite, listings);
    suite_add_tcase(suite, others);
    return suite_run(suite);
}
