/* endpoints: the list, the turn, the pauses. */
#include "endpoints.h"

#include <check.h>
#include <string.h>

#include "suite.h"

static struct endpoints endpoints;
static char why[256];

START_TEST(lists)
{
    ck_assert_int_eq(endpoints_parse(&endpoints,
                         " http://a:1/ ,https://[::1]:2379,, http://c.example ", why, sizeof(why)),
        0);
    ck_assert_uint_eq(endpoints.count, 3);
    ck_assert_str_eq(endpoints.urls[0], "http://a:1");
    ck_assert_str_eq(endpoints.urls[1], "https://[::1]:2379");
    ck_assert_str_eq(endpoints.urls[2], "http://c.example");
    static const char *const wrong[] = {"", ",", " , ", "a:1", "ftp://a", "http://", "http://a/b",
        "http://a:1,b:1", "http://a b", "http://user@a", "http://a?b"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ck_assert_msg(endpoints_parse(&endpoints, wrong[i], why, sizeof(why)) == BRAIN_ECONFIG,
            "%s", wrong[i]);
        ck_assert_ptr_nonnull(strstr(why, "manager_servers"));
    }
    char many[512] = "";
    for (int i = 0; i < 17; i++)
        strcat(many, "http://a,");
    ck_assert_int_eq(endpoints_parse(&endpoints, many, why, sizeof(why)), BRAIN_ECONFIG);
    many[strlen(many) - 9] = '\0';
    ck_assert_int_eq(endpoints_parse(&endpoints, many, why, sizeof(why)), 0);
    char long_one[ENDPOINT_TEXT + 1] = "http://";
    memset(long_one + 7, 'a', ENDPOINT_TEXT - 7);
    ck_assert_int_eq(endpoints_parse(&endpoints, long_one, why, sizeof(why)), BRAIN_ECONFIG);
    long_one[ENDPOINT_TEXT - 1] = '\0';
    ck_assert_int_eq(endpoints_parse(&endpoints, long_one, why, sizeof(why)), 0);
}
END_TEST

START_TEST(turns)
{
    struct endpoint_turn turn = {.at = 1};
    uint64_t pause = ENDPOINTS_PAUSE_MIN_MS;
    for (unsigned round = 0; round < 8; round++) {
        /* The others at once, then a pause, of ±25 %, that doubles. */
        uint64_t before_ms = turn.again_ms;
        endpoint_failed(&turn, 3, 1000, 0);
        ck_assert_uint_eq(turn.at, 2);
        endpoint_failed(&turn, 3, 1000, 0);
        ck_assert_uint_eq(turn.at, 0);
        ck_assert_uint_eq(turn.again_ms, before_ms);
        endpoint_failed(&turn, 3, 1000, 0);
        ck_assert_uint_eq(turn.at, 1);
        ck_assert_uint_eq(turn.again_ms, 1000 + pause * 3 / 4);
        struct endpoint_turn other = turn;
        other.failures--;
        endpoint_failed(&other, 3, 1000, pause / 2);
        ck_assert_uint_eq(other.again_ms, 1000 + pause * 5 / 4);
        pause = pause * 2 > ENDPOINTS_PAUSE_MAX_MS ? ENDPOINTS_PAUSE_MAX_MS : pause * 2;
    }
    endpoint_succeeded(&turn);
    ck_assert_uint_eq(turn.at, 1); /* kept */
    ck_assert_uint_eq(turn.again_ms, 0);
    endpoint_failed(&turn, 3, 1000, 0);
    ck_assert_uint_eq(turn.again_ms, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("endpoints");
    TCase *tcase = tcase_create("endpoints");
    tcase_add_test(tcase, lists);
    tcase_add_test(tcase, turns);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
