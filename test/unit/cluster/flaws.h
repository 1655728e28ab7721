/* The interleavings that broke earlier designs (docs/decisions/0011), and others that each rule
 * answers: harmless as the rules are, harmful when the rule is broken by its switch. Where two
 * rules stand before the same harm, both are broken: flaws_test.c has the table.
 *
 * Each scenario returns whether harm was done: two owners, an acknowledged write lost, an old value
 * shown, or nothing happening any more. */
#ifndef TEST_CLUSTER_FLAWS_H
#define TEST_CLUSTER_FLAWS_H

#include "cluster_net.h"

/* ---- what scenarios are made of: flaws_steps.c ---- */

enum { A = 0, B = 1, C = 2, D = 3, E = 4 };
enum { ABC = 7, ABD = 11, ABCD = 15, BCD = 14, ABCDE = 31 };

extern struct net net;

/* All nodes up join the first view, those of `members`. */
void start(uint32_t count, uint32_t backups, uint64_t broken, unsigned members);
/* A member that is to join counts its incarnation before the others see it. */
void joins(int node, uint64_t view, unsigned members);
/* All `members` install that view. */
void views(uint64_t number, unsigned members);
/* Settles; was it acknowledged? */
bool written(int node, const char *id, const char *text);
/* Settles; is that what a strong read shows? */
bool reads(int node, const char *id, const char *text);
/* Ends the scenario: `harm`, or two owners at any time before. */
bool ended(bool harm);

/* ---- who owns, who is asked, who is a member: flaws_owning.c ---- */

bool late_grant(uint64_t broken);
bool grant_not_adopted(uint64_t broken);
bool denied_grant(uint64_t broken);
bool late_report(uint64_t broken);
bool backup_behind_report(uint64_t broken);
bool lost_release(uint64_t broken);
bool late_release(uint64_t broken);
bool deleted_returns(uint64_t broken);
bool old_journal(uint64_t broken);
bool same_name(uint64_t broken);
bool silent_member(uint64_t broken);
bool stuck_watch(uint64_t broken);
bool lost_grant(uint64_t broken);
bool retried_forward(uint64_t broken);
bool overtaking(uint64_t broken);
bool pipelined(uint64_t broken);
bool located_while_claiming(uint64_t broken);
bool etcd_anew(uint64_t broken);
bool opened_early(uint64_t broken);
bool stale_directory(uint64_t broken);

/* ---- copies, leases, releases: flaws_copies.c ---- */

bool owner_dies(uint64_t broken);
bool owner_dies_early(uint64_t broken);
bool shown_early(uint64_t broken);
bool late_backup(uint64_t broken);
bool late_discard(uint64_t broken);
bool copy_dropped(uint64_t broken);
bool two_losses(uint64_t broken);
bool holder_without_lease(uint64_t broken);
bool unclaimed_copy(uint64_t broken);
bool answer_after_lease(uint64_t broken);
bool asked_after_lease(uint64_t broken);
bool released_under_way(uint64_t broken);

#endif
