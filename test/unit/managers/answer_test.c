/* answer, base64: what etcd 3.4 answers, byte for byte, and what is not such an answer. */
#include "answer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"
#include "heap_fault.h"
#include "suite.h"

static struct answer answer;

#define HEADER                                                                                     \
    "\"header\":{\"cluster_id\":\"324952591200643719\",\"member_id\":\"3319814642761637952\","     \
    "\"revision\":\"2\",\"raft_term\":\"2\"}"

static void set_up(void)
{
    answer_guard_memory();
    answer_init(&answer);
}

static void tear_down(void)
{
    answer_release(&answer);
}

static int decode(const char *json)
{
    return answer_decode(&answer, slice_of_string(json));
}

static void good(const char *json)
{
    ck_assert_int_eq(decode(json), 0);
    ck_assert_int_eq(answer.error, ANSWER_GOOD);
}

static bool is(struct slice bytes, const char *text)
{
    return slice_equal_string(bytes, text);
}

START_TEST(leases)
{
    good("{" HEADER ",\"ID\":\"2324035521146372614\",\"TTL\":\"2\"}");
    ck_assert_int_eq(answer.id, 2324035521146372614);
    ck_assert_uint_eq(answer.ttl, 2);
    ck_assert_uint_eq(answer.revision, 2);
    ck_assert_uint_eq(answer.cluster_id, 324952591200643719);
    good("{\"result\":{" HEADER ",\"ID\":\"12345\",\"TTL\":\"5\"}}\n");
    ck_assert_int_eq(answer.id, 12345);
    ck_assert_uint_eq(answer.ttl, 5);
    /* A lease that is not there: no error, no time. */
    good("{\"result\":{" HEADER ",\"ID\":\"12345\"}}");
    ck_assert_uint_eq(answer.ttl, 0);
}
END_TEST

START_TEST(ranges_and_transactions)
{
    good("{" HEADER ",\"succeeded\":true,\"responses\":[{\"response_put\":{\"header\":{"
         "\"revision\":\"2\"}}}]}");
    ck_assert(answer.succeeded);
    ck_assert_uint_eq(answer.count, 0);
    good("{" HEADER ",\"responses\":[{\"response_range\":{}},{\"response_range\":{\"header\":{"
         "\"revision\":\"2\"},\"kvs\":[{\"key\":\"YnJhaW4vbWVtYmVyL2E=\",\"create_revision\":\"2\","
         "\"mod_revision\":\"3\",\"version\":\"1\",\"value\":\"eyJ4IjoxfQ==\",\"lease\":"
         "\"2324035521146372616\"}],\"count\":\"1\"}}]}");
    ck_assert(!answer.succeeded);
    ck_assert_uint_eq(answer.count, 1);
    ck_assert_uint_eq(answer.kvs[0].group, 1);
    ck_assert_uint_eq(answer.kvs[0].mod_revision, 3);
    ck_assert_int_eq(answer.kvs[0].lease, 2324035521146372616);
    ck_assert(is(answer_key(&answer, &answer.kvs[0]), "brain/member/a"));
    ck_assert(is(answer_value(&answer, &answer.kvs[0]), "{\"x\":1}"));
    good("{" HEADER ",\"kvs\":[{\"key\":\"YQ==\"},{\"key\":\"Yg==\"}]}");
    ck_assert_uint_eq(answer.count, 2);
    ck_assert(is(answer_key(&answer, &answer.kvs[1]), "b"));
    ck_assert_uint_eq(answer_value(&answer, &answer.kvs[1]).size, 0);
}
END_TEST

/* Found by fuzzing: without a text to be in, an empty key is still a key. */
START_TEST(nothing_but_empty_keys)
{
    good("{" HEADER ",\"kvs\":[{\"key\":\"\",\"version\":\"1\"}]}");
    ck_assert_uint_eq(answer.count, 1);
    ck_assert_uint_eq(answer_key(&answer, &answer.kvs[0]).size, 0);
    ck_assert_uint_eq(answer_value(&answer, &answer.kvs[0]).size, 0);
}
END_TEST

START_TEST(watches)
{
    good("{\"result\":{" HEADER ",\"created\":true}}");
    ck_assert(answer.created && !answer.canceled);
    good("{\"result\":{" HEADER ",\"events\":[{\"type\":\"DELETE\",\"kv\":{\"key\":\"YQ==\","
         "\"mod_revision\":\"4\"}},{\"kv\":{\"key\":\"Yg==\",\"mod_revision\":\"4\",\"value\":"
         "\"eA==\"}}]}}");
    ck_assert(!answer.created);
    ck_assert_uint_eq(answer.count, 2);
    ck_assert(answer.kvs[0].deleted && !answer.kvs[1].deleted);
    good("{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"4\"}}");
    ck_assert(answer.canceled);
    ck_assert_uint_eq(answer.compact_revision, 4);
    ck_assert_int_eq(decode("{\"result\":{" HEADER ",\"watch_id\":\"-1\",\"created\":true,"
                            "\"canceled\":true,\"cancel_reason\":\"rpc error: code = "
                            "Unauthenticated desc = etcdserver: invalid auth token\"}}"),
        0);
    ck_assert_int_eq(answer.error, ANSWER_TOKEN_BAD);
}
END_TEST

static void bad(const char *text, const char *code, enum answer_error error)
{
    char json[512];
    snprintf(
        json, sizeof(json), "{\"error\":\"%s\",\"message\":\"%s\",\"code\":%s}", text, text, code);
    ck_assert_int_eq(decode(json), 0);
    ck_assert_int_eq(answer.error, error);
    ck_assert_str_eq(answer.sentence, text);
}

START_TEST(errors)
{
    bad("etcdserver: requested lease not found", "5", ANSWER_MISSING);
    bad("etcdserver: mvcc: required revision has been compacted", "11", ANSWER_COMPACTED);
    bad("etcdserver: mvcc: required revision is a future revision", "11", ANSWER_REFUSED);
    bad("etcdserver: authentication is not enabled", "9", ANSWER_AUTH_OFF);
    bad("etcdserver: user name is empty", "3", ANSWER_TOKEN_BAD);
    bad("etcdserver: invalid auth token", "16", ANSWER_TOKEN_BAD);
    bad("etcdserver: authentication failed, invalid user ID or password", "3", ANSWER_REFUSED);
    bad("etcdserver: permission denied", "7", ANSWER_REFUSED);
    ck_assert_int_eq(decode("{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":"
                            "\"no \\u0007leader\"}}"),
        0);
    ck_assert_int_eq(answer.error, ANSWER_REFUSED);
    ck_assert_str_eq(answer.sentence, "no ?leader");
    /* Nothing of the former one is left. */
    good("{}");
    ck_assert_str_eq(answer.sentence, "");
}
END_TEST

START_TEST(what_is_no_answer)
{
    static const char *const texts[] = {"", "Not Found\n", "[]", "3", "{", "{\"header\":3}",
        "{\"header\":{\"revision\":\"x\"}}", "{\"header\":{\"revision\":\"\"}}",
        "{\"header\":{\"revision\":\"18446744073709551616\"}}", "{\"header\":{\"revision\":-1}}",
        "{\"header\":{\"revision\":1.5}}", "{\"ID\":\"9223372036854775808\"}", "{\"kvs\":{}}",
        "{\"kvs\":[3]}", "{\"kvs\":[{\"key\":\"YQ\"}]}", "{\"kvs\":[{\"key\":3}]}",
        "{\"kvs\":[{\"key\":\"YQ==\",\"lease\":true}]}", "{\"succeeded\":\"true\"}",
        "{\"responses\":3}", "{\"responses\":[{\"response_range\":3}]}",
        "{\"result\":{\"events\":[{\"type\":\"PATCH\",\"kv\":{}}]}}",
        "{\"result\":{\"events\":[{\"type\":3,\"kv\":{}}]}}", "{\"result\":{\"events\":[{}]}}",
        "{\"token\":\"a\\nb\"}", "{\"token\":3}", "{\"error\":3}",
        "{\"error\":\"x\",\"code\":\"y\"}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert_msg(decode(texts[i]) == BRAIN_EPROTO, "%s", texts[i]);
        ck_assert_uint_eq(answer.count, 0);
    }
    char *deep = malloc(200001);
    memset(deep, '[', 200000);
    deep[200000] = '\0';
    ck_assert_int_eq(decode(deep), BRAIN_EPROTO);
    free(deep);
    char *long_one = malloc(ANSWER_LIMIT + 2);
    memset(long_one, ' ', ANSWER_LIMIT + 1);
    memcpy(long_one, "{}", 2);
    long_one[ANSWER_LIMIT + 1] = '\0';
    ck_assert_int_eq(decode(long_one), BRAIN_EPROTO);
    long_one[ANSWER_LIMIT] = '\0';
    ck_assert_int_eq(decode(long_one), 0);
    free(long_one);
}
END_TEST

START_TEST(without_memory)
{
    unsigned n;
    for (n = 1;; n++) {
        heap_fault_start(n);
        answer_init(&answer);
        int status = decode("{" HEADER ",\"kvs\":[{\"key\":\"YQ==\",\"value\":\"eA==\"}]}");
        ck_assert(status == 0 || status == BRAIN_ENOMEM);
        ck_assert_uint_eq(answer.count, status == 0 ? 1 : 0);
        answer_release(&answer);
        if (!heap_fault_stop())
            break;
        ck_assert_int_eq(status, BRAIN_ENOMEM);
    }
    ck_assert_uint_ge(n, 3);
}
END_TEST

START_TEST(base64_both_ways)
{
    /* RFC 4648, section 10. */
    static const char *const pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
    struct buffer out;
    buffer_init(&out);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        buffer_clear(&out);
        base64_append(&out, slice_of_string(pairs[i][0]));
        ck_assert(is(buffer_slice(&out), pairs[i][1]));
        buffer_clear(&out);
        ck_assert(base64_decode(&out, slice_of_string(pairs[i][1])));
        ck_assert(is(buffer_slice(&out), pairs[i][0]));
    }
    uint8_t all[256];
    struct buffer text;
    buffer_init(&text);
    for (unsigned i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    buffer_clear(&out);
    base64_append(&text, slice_of(all, 256));
    ck_assert(base64_decode(&out, buffer_slice(&text)));
    ck_assert(slice_equal(buffer_slice(&out), slice_of(all, 256)));
    static const char *const wrong[] = {"Z", "Zg", "Zg=", "Zg=a", "====", "Z===", "Zm9v=", "Zm 9",
        "Zg==Zg==", "Zm9-", "Zm9_", "\xc3\xa4==", "Zg==="};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ck_assert_msg(!base64_decode(&out, slice_of_string(wrong[i])), "%s", wrong[i]);
        ck_assert_uint_eq(out.size, 256);
    }
    buffer_release(&text);
    buffer_release(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("answer");
    TCase *tcase = tcase_create("answer");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, leases);
    tcase_add_test(tcase, ranges_and_transactions);
    tcase_add_test(tcase, nothing_but_empty_keys);
    tcase_add_test(tcase, watches);
    tcase_add_test(tcase, errors);
    tcase_add_test(tcase, what_is_no_answer);
    tcase_add_test(tcase, without_memory);
    tcase_add_test(tcase, base64_both_ways);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
