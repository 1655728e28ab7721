/* Each scenario of flaws.h: harmless as the rules are, harmful when its rule is broken. */
#include <check.h>

#include "flaws.h"
#include "suite.h"

#define X(rule) CLUSTER_BREAK(CLUSTER_##rule)
static const struct {
    const char *name;
    bool (*scenario)(uint64_t broken);
    uint64_t broken;
} flaws[] = {
    {"late grant", late_grant, X(R3_VIEW) | X(R2_SEAL)},
    {"late grant, nonce", late_grant, X(R3_VIEW) | X(R3_NONCE)},
    {"grant not adopted", grant_not_adopted, X(R2_SEAL)},
    {"denied grant, nonce", denied_grant, X(R3_NONCE)},
    {"denied grant, claim not voided", denied_grant, X(R5_VOID)},
    {"late report", late_report, X(R3_VIEW)},
    {"backup behind report", backup_behind_report, X(R3_BACKUP_VIEW) | X(R4_FRESH)},
    {"lost release", lost_release, X(R5_COPY)},
    {"late release", late_release, X(R5_EPOCH)},
    {"deleted returns", deleted_returns, X(R10_AGE)},
    {"old journal", old_journal, X(R7_COMPARE)},
    {"same name", same_name, X(R1_VOID)},
    {"silent member", silent_member, X(R12_EVICT)},
    {"stuck watch", stuck_watch, X(R12_LAG)},
    {"lost grant", lost_grant, X(R5_CONFIRM)},
    {"retried forward", retried_forward, X(R9_RETRY)},
    {"overtaking", overtaking, X(R9_ORDER)},
    {"located while claiming", located_while_claiming, X(R9_ORDER)},
    {"pipelined", pipelined, X(R9_EPOCH)},
    {"etcd anew", etcd_anew, X(R4_HIGHER)},
    {"opened early", opened_early, X(R4_REPORTS)},
    {"stale directory", stale_directory, X(R4_FRESH)},
    {"owner dies, copies not listed", owner_dies, X(R4_COPIES)},
    {"owner dies, copy not fetched", owner_dies, X(R7_FETCH)},
    {"owner dies early", owner_dies_early, X(R6_WAIT)},
    {"shown early", shown_early, X(R11_VERSION)},
    {"late backup", late_backup, X(R6_HIGHEST)},
    {"late discard", late_discard, X(R6_DISCARD)},
    {"copy dropped", copy_dropped, X(R6_KEEP)},
    {"two losses", two_losses, X(R6_RESEND)},
    {"holder without lease", holder_without_lease, X(R6_LEASE)},
    {"unclaimed copy", unclaimed_copy, X(R8_CLAIM)},
    {"answer after lease", answer_after_lease, X(R11_ANSWER)},
    {"asked after lease", asked_after_lease, X(R11_ANSWER) | X(R11_EXECUTE)},
    {"released under way", released_under_way, X(R13_RELEASE)},
};
enum { FLAWS = sizeof(flaws) / sizeof(flaws[0]) };

START_TEST(the_rules_prevent_it)
{
    ck_assert_msg(!flaws[_i].scenario(0), "%s: harm in spite of the rules", flaws[_i].name);
}
END_TEST

START_TEST(without_the_rule_it_happens)
{
    ck_assert_msg(flaws[_i].scenario(flaws[_i].broken), "%s: the broken rule does not matter",
        flaws[_i].name);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster flaws");
    TCase *tcase = tcase_create("flaws");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, the_rules_prevent_it, 0, FLAWS);
    tcase_add_loop_test(tcase, without_the_rule_it_happens, 0, FLAWS);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
