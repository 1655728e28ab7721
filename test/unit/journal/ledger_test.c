/* The ledger against a plain model, and its rules one by one. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "heap_fault.h"
#include "ledger.h"
#include "suite.h"

static struct ledger ledger;

static void begin(uint64_t expected, uint64_t first, uint64_t last)
{
    uint64_t ordinal;
    ck_assert_int_eq(ledger_begin(&ledger, 0, &ordinal), 0);
    ck_assert_uint_eq(ordinal, expected);
    for (uint64_t seq = first; seq <= last; seq++)
        ledger_append(&ledger, seq);
}

START_TEST(oldest_first)
{
    ledger_init(&ledger);
    begin(1, 1, 10);
    begin(2, 1, 0);
    begin(3, 11, 20);
    begin(4, 21, 30);
    ck_assert(ledger_live(&ledger, 10));
    ck_assert(ledger_live(&ledger, 11));
    ck_assert(ledger_live(&ledger, 21));
    ck_assert(!ledger_live(&ledger, 31));
    ck_assert_uint_eq(ledger.live, 3);
    ck_assert(!ledger_dead(&ledger, 31));
    ck_assert(ledger_dead(&ledger, 11));
    ck_assert(!ledger_dead(&ledger, 12)); /* nothing live in that segment */
    ck_assert_uint_eq(ledger_trim(&ledger, 0), 0);
    ck_assert(ledger_dead(&ledger, 10));
    ck_assert_uint_eq(ledger_trim(&ledger, 0), 3);
    ck_assert(ledger_dead(&ledger, 21));
    ck_assert_uint_eq(ledger_trim(&ledger, 0), 0); /* the current one */
    ck_assert_uint_eq(ledger_clear(&ledger), 4);
    ck_assert_uint_eq(ledger_clear(&ledger), 0);
    ck_assert_uint_eq(ledger.segments[0].ordinal, 5);
    ledger_release(&ledger);
}
END_TEST

START_TEST(times)
{
    uint64_t ordinal;
    ledger_init(&ledger);
    ck_assert_ptr_null(ledger_current(&ledger));
    ck_assert_ptr_null(ledger_oldest(&ledger));
    ck_assert_int_eq(ledger_begin(&ledger, 100, &ordinal), 0);
    ck_assert_int_eq(ledger_begin(&ledger, 200, &ordinal), 0);
    ledger_append(&ledger, 1);
    ck_assert_ptr_null(ledger_oldest(&ledger)); /* the first is empty */
    ck_assert_int_eq(ledger_begin(&ledger, 300, &ordinal), 0);
    ck_assert_uint_eq(ledger_oldest(&ledger)->begun_unix_ms, 200);
    ck_assert_uint_eq(ledger_current(&ledger)->begun_unix_ms, 300);
    ledger_date(&ledger, 250);
    ck_assert_uint_eq(ledger_current(&ledger)->begun_unix_ms, 250);
    /* Emptied, the current one is dated as it was: its batches may be on their way. */
    ledger_append(&ledger, 2);
    ck_assert_uint_ne(ledger_clear(&ledger), 0);
    ck_assert_uint_eq(ledger_current(&ledger)->begun_unix_ms, 250);
    ledger_release(&ledger);
}
END_TEST

START_TEST(barrier)
{
    ledger_init(&ledger);
    begin(1, 1, 10);
    begin(2, 11, 20);
    ck_assert(ledger_live(&ledger, 5));
    ck_assert(ledger_replace(&ledger, 5, 15));
    ck_assert_uint_eq(ledger.live, 1);
    ck_assert_uint_eq(ledger_clear(&ledger), 0);
    ck_assert_uint_eq(ledger_trim(&ledger, 14), 0);
    ck_assert_uint_eq(ledger_trim(&ledger, 15), 1);
    ck_assert(!ledger_replace(&ledger, 16, 21));
    ledger_release(&ledger);
}
END_TEST

/* Records that an older segment has, too, stay its. */
START_TEST(written_again)
{
    ledger_init(&ledger);
    begin(1, 1, 10);
    begin(2, 6, 14);
    ck_assert_uint_eq(ledger.segments[1].first_seq, 11);
    ck_assert(ledger_live(&ledger, 8));
    ck_assert_uint_eq(ledger.segments[0].live, 1);
    ck_assert(ledger_live(&ledger, 11));
    ck_assert_uint_eq(ledger.segments[1].live, 1);
    ledger_release(&ledger);
}
END_TEST

START_TEST(model)
{
    enum { SEQS = 2000 };
    static uint64_t segment_of[SEQS + 1];
    static bool live[SEQS + 1];
    for (unsigned seed = 1; seed <= 5; seed++) {
        uint64_t seq = 0, ordinal = 0, oldest = 1, total = 0;
        srand(seed);
        memset(live, 0, sizeof(live));
        ledger_init(&ledger);
        ck_assert_int_eq(ledger_begin(&ledger, 0, &ordinal), 0);
        while (seq < SEQS) {
            int what = rand() % 100;
            if (what < 4) {
                ck_assert_int_eq(ledger_begin(&ledger, 0, &ordinal), 0);
            } else if (what < 50) {
                ledger_append(&ledger, ++seq);
                segment_of[seq] = ordinal;
                ck_assert(ledger_live(&ledger, seq));
                live[seq] = true;
                total++;
            } else if (seq > 0) {
                uint64_t victim = 1 + (uint64_t)rand() % seq;
                for (int i = 0; i < 50 && !live[victim]; i++)
                    victim = victim % seq + 1;
                if (!live[victim])
                    continue;
                ck_assert(ledger_dead(&ledger, victim));
                live[victim] = false;
                total--;
            }
            ck_assert_uint_eq(ledger.live, total);
            if (rand() % 8 != 0)
                continue;
            uint64_t first_live = ordinal;
            for (uint64_t i = seq; i > 0; i--)
                if (live[i])
                    first_live = segment_of[i];
            uint64_t trimmed = ledger_trim(&ledger, UINT64_MAX);
            ck_assert_uint_eq(trimmed, first_live == oldest ? 0 : first_live - 1);
            oldest = first_live;
        }
        ledger_release(&ledger);
    }
}
END_TEST

START_TEST(no_memory)
{
    unsigned n;
    for (n = 1;; n++) {
        uint64_t ordinal, begun = 0;
        heap_fault_start(n);
        ledger_init(&ledger);
        for (int i = 0; i < 100; i++)
            begun += ledger_begin(&ledger, 0, &ordinal) == 0;
        ck_assert_uint_eq(ledger.count, begun);
        ledger_release(&ledger);
        if (!heap_fault_stop())
            break;
        ck_assert_uint_eq(begun, 99);
    }
    ck_assert_uint_eq(n, 5); /* 16, 32, 64, 128 */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal: ledger");
    TCase *tcase = tcase_create("ledger");
    tcase_add_test(tcase, oldest_first);
    tcase_add_test(tcase, times);
    tcase_add_test(tcase, barrier);
    tcase_add_test(tcase, written_again);
    tcase_add_test(tcase, model);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
