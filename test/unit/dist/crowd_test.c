/* Who is a crowd: how many ask, how often, and for how long that is believed. */
#include "crowd.h"

#include <check.h>

#include "suite.h"

enum { US = 1000, MS = 1000 * US };

/* `count` messages, one every `every_ns` from `senders` processes in turn, one to a read. */
static uint64_t ask(struct crowd *crowd, uint64_t now_ns, unsigned count, unsigned senders,
    uint64_t every_ns, bool *ever)
{
    *ever = false;
    for (unsigned i = 0; i < count; i++, now_ns += every_ns)
        *ever = crowd_note(crowd, 1, UINT64_C(1) << i % senders % 64, now_ns) || *ever;
    return now_ns;
}

START_TEST(many_that_ask_at_once_are)
{
    static const struct {
        unsigned senders;
        uint64_t every_ns;
        bool is;
    } cases[] = {
        {1, 10 * US, false},
        {15, 10 * US, false}, /* too few */
        {50, 10 * US, true},
        {500, 10 * US, true},
        {30, 10 * US, true},
        {50, 60 * US, true},
        {50, 80 * US, false}, /* too rarely */
        {50, 5 * US, true},
        {50, 4 * US, false}, /* they would wait for the clock */
        {20, 10 * US, false},
        {20, 12 * US, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct crowd crowd = {0};
        bool ever;
        ask(&crowd, 5 * MS, 5000, cases[i].senders, cases[i].every_ns, &ever);
        ck_assert_msg(ever == cases[i].is, "case %zu", i);
        ck_assert(crowd.present == cases[i].is);
    }
}
END_TEST

START_TEST(a_burst_of_one_process_is_none)
{
    struct crowd crowd = {0};
    for (uint64_t now = MS; now < 50 * MS; now += 100 * US)
        ck_assert(!crowd_note(&crowd, 256, 1, now));
}
END_TEST

START_TEST(it_ends_when_they_stop)
{
    struct crowd crowd = {0};
    bool ever;
    uint64_t now = ask(&crowd, MS, 1000, 50, 10 * US, &ever);
    ck_assert(crowd.present);
    /* Read by the clock: what came by then, then nothing, within two windows. */
    const uint64_t stopped = now;
    while (crowd_note(&crowd, 0, 0, now += CROWD_INTERVAL_NS)) {
    }
    ck_assert_uint_le(now - stopped, 2 * CROWD_WINDOW_NS);
    /* Seen again only after a pause: no crowd, whatever there was before. */
    ask(&crowd, now, 1000, 50, 10 * US, &ever);
    ck_assert(crowd.present);
    ck_assert(!crowd_note(&crowd, 1, 1, now + 1000 * MS));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dist/crowd");
    TCase *tests = tcase_create("crowd");
    tcase_add_test(tests, many_that_ask_at_once_are);
    tcase_add_test(tests, a_burst_of_one_process_is_none);
    tcase_add_test(tests, it_ends_when_they_stop);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
