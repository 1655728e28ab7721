/* The interleavings that broke earlier designs (docs/decisions/0011), and others that each rule
 * answers: harmless as the rules are, harmful when the rule is broken by its switch. Where two
 * rules stand before the same harm, both are broken.
 *
 * Each scenario returns whether harm was done: two owners, an acknowledged write lost, an old value
 * shown, or nothing happening any more. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "cluster_net.h"
#include "suite.h"
#include "wire.h"

static struct net net;

enum { A = 0, B = 1, C = 2, D = 3, E = 4 };
enum { ABC = 7, ABD = 11, ABCD = 15, BCD = 14, ABCDE = 31 };

static bool ended(bool harm)
{
    harm |= net.bad > 0;
    net_end(&net);
    return harm;
}

/* A member that is to join counts its incarnation before the others see it. */
static void joins(int node, uint64_t view, unsigned members)
{
    net.nodes[node].incarnation++;
    for (int i = 0; i < (int)net.count; i++) {
        if (i != node && members & 1U << i)
            net_view(&net, i, view, members);
    }
    net.nodes[node].incarnation--;
    net_join(&net, node, view, members);
}

/* All nodes up join the first view, those of `members`. */
static void start(uint32_t count, uint32_t backups, uint64_t broken, unsigned members)
{
    net_init(&net, count, backups, broken);
    net_create_clusters(&net);
    for (uint32_t i = 0; i < count; i++)
        net.nodes[i].incarnation += (members >> i) & 1;
    for (uint32_t i = 0; i < count; i++) {
        if (!(members >> i & 1))
            continue;
        net.nodes[i].incarnation--;
        net_join(&net, (int)i, 5, members);
    }
    net_settle(&net, true);
}

static void views(uint64_t number, unsigned members)
{
    for (int i = 0; i < (int)net.count; i++) {
        if (members & 1U << i)
            net_view(&net, i, number, members);
    }
}

static bool written(int node, const char *id, const char *text)
{
    struct net_request *write = net_ask(&net, node, CLUSTER_WRITE, id, text);
    net_settle(&net, true);
    return net_answered(write, STORE_DONE, NULL);
}

static bool reads(int node, const char *id, const char *text)
{
    return strcmp(net_read(&net, node, id), text) == 0;
}

/* ---- 1: late grants
 * -------------------------------------------------------------------------------- */

/* The grant of C, for view 5, reaches A after D has become the home and granted to B. */
static bool late_grant(uint64_t broken)
{
    start(4, 0, broken, ABC);
    const char *id = net_id(ABC, C, ABCD, D, -1, -1);
    net_hold(&net, "grant", C, A);
    (void)net_ask(&net, A, CLUSTER_WRITE, id, "a");
    net_settle(&net, true);
    net_hold(&net, "claim", A, -1);
    joins(D, 6, ABCD);
    net_settle(&net, true);
    (void)net_ask(&net, B, CLUSTER_WRITE, id, "b");
    net_settle(&net, true);
    bool granted = net_owns(&net, B, id);
    (void)net_deliver(&net, "grant", C, A);
    (void)net_operation(&net, A, false);
    net_deliver(&net, "nothing", A, A);
    return ended(!granted || net_owns(&net, A, id));
}

/* A was granted x and still fetches its copy when the view changes; A reports nothing. */
static bool grant_not_adopted(uint64_t broken)
{
    start(5, 1, broken, ABCDE);
    const char *id = net_id(ABCDE, D, ABCD, D, E, D);
    if (!written(E, id, "e"))
        return ended(true);
    net_crash(&net, E);
    views(6, ABCD);
    net_settle(&net, true);
    net_hold(&net, "fetched", -1, A);
    (void)net_ask(&net, A, CLUSTER_READ, id, NULL);
    net_settle(&net, true);
    net_hold(&net, "claim", A, -1);
    views(7, ABCD);
    (void)net_ask(&net, B, CLUSTER_READ, id, NULL);
    net_settle(&net, true);
    net_unhold(&net, "fetched");
    net_pass(&net, 300, true);
    return ended(!net_owns(&net, B, id) || net_owns(&net, A, id));
}

/* A's claim is denied by A itself to the home, which grants to B; then A's grant arrives. */
static void asked_to_confirm(int home, int owner, const char *id, struct cluster_epoch epoch)
{
    struct message confirm = {.kind = MESSAGE_CONFIRM,
        .view = 5,
        .from = net.nodes[home].incarnation,
        .to = net.nodes[owner].incarnation,
        .key = key_of(7, slice_of_string(id)),
        .epoch = epoch};
    struct buffer bytes;
    buffer_init(&bytes);
    message_write(&bytes, &confirm);
    struct value term = value_copy(buffer_slice(&bytes));
    buffer_release(&bytes);
    ck_assert_int_eq(cluster_receive(net.nodes[owner].cluster,
                         slice_of_string(net.nodes[home].name), &term, NULL, net.now_ms),
        0);
    value_drop(&term);
    net_settle(&net, true);
}

static bool denied_grant(uint64_t broken)
{
    start(3, 0, broken, ABC);
    const char *id = net_id(ABC, C, 0, -1, -1, -1);
    net_hold(&net, "grant", C, A);
    (void)net_ask(&net, A, CLUSTER_WRITE, id, "a");
    net_settle(&net, true);
    /* Somebody was refused by A, which had no memory for its request. */
    asked_to_confirm(C, A, id, (struct cluster_epoch){5, 1});
    (void)net_ask(&net, B, CLUSTER_WRITE, id, "b");
    net_settle(&net, true);
    bool granted = net_owns(&net, B, id);
    (void)net_deliver(&net, "grant", C, A);
    return ended(!granted || net_owns(&net, A, id));
}

/* A repetition of A's report of view 5, from before A got x, arrives in view 6. */
static bool late_report(uint64_t broken)
{
    start(4, 0, broken, 0);
    const char *id = net_id(ABC, C, ABCD, C, -1, -1);
    net_hold(&net, "report_ack", C, A);
    for (int i = 0; i < 3; i++)
        net.nodes[i].incarnation++;
    for (int i = 0; i < 3; i++) {
        net.nodes[i].incarnation--;
        net_join(&net, i, 5, ABC);
    }
    net_settle(&net, true);
    net_hold(&net, "report", A, C);
    net_pass(&net, 150, true); /* repeated, as it was not acknowledged */
    bool ready = net_count(&net, "report", A, C) == 1 && written(A, id, "a");
    joins(D, 6, ABCD);
    net_settle(&net, true);
    (void)net_deliver(&net, "report", A, C);
    (void)net_ask(&net, B, CLUSTER_WRITE, id, "b");
    net_settle(&net, true);
    return ended(!ready || net_owns(&net, B, id));
}

/* ---- 2: a backup acknowledged behind a report
 * ------------------------------------------------------ */

/* The holder D has installed view 6 and reported nothing to its home C; A, still in view 5, has D
 * keep a new version and the client hears ok; A dies, and C grants by what was reported. */
static bool backup_behind_report(uint64_t broken)
{
    start(4, 1, broken, ABD);
    const char *id = net_id(ABD, D, ABCD, C, A, D);
    net_store(&net, id, (struct version){1, 1, 1}, "old");
    if (!reads(A, id, "old"))
        return ended(true);
    net.nodes[C].incarnation++;
    net_view(&net, B, 6, ABCD);
    net_view(&net, D, 6, ABCD);
    net.nodes[C].incarnation--;
    net_join(&net, C, 6, ABCD);
    net_settle(&net, true);
    net_hold(&net, "report", A, C);
    bool heard = written(A, id, "new");
    net_crash(&net, A);
    views(7, BCD);
    bool lost = !reads(B, id, "new");
    return ended(heard && lost);
}

/* ---- 3: a hand-off loses the dirty copy
 * ------------------------------------------------------------- */

static bool lost_release(uint64_t broken)
{
    net_init(&net, 3, 0, broken);
    net.handoff_uses = 2;
    net_start(&net, 5);
    const char *id = net_id(ABC, C, 0, -1, -1, -1);
    net_store(&net, id, (struct version){1, 1, 1}, "old");
    net_drop(&net, "release", -1, -1);
    net_drop(&net, "nudge", -1, -1);
    bool heard = written(A, id, "new");
    net_hold(&net, "claim", A, C); /* A would look after its copy */
    (void)net_read(&net, B, id);
    (void)net_read(&net, B, id);
    net_pass(&net, 200, true);
    bool released = cluster_copy_held(net.nodes[A].cluster, slice_of_string(id), NULL) &&
                    !net_owns(&net, A, id);
    struct net_request *read = net_ask(&net, B, CLUSTER_READ, id, NULL);
    net_pass(&net, 500, true); /* it may wait for A's claim, which is about to be repeated */
    return ended(!heard || !released || !net_answered(read, STORE_FOUND, "new"));
}

/* A late release, of an earlier grant. */
static bool late_release(uint64_t broken)
{
    start(3, 0, broken, ABC);
    const char *id = net_id(ABC, C, 0, -1, -1, -1);
    (void)net_read(&net, A, id);
    net_hold(&net, "release", A, C);
    (void)net_idle(&net, A, id);
    bool again = written(A, id, "a");
    (void)net_deliver(&net, "release", A, C);
    (void)net_ask(&net, B, CLUSTER_WRITE, id, "b");
    net_settle(&net, true);
    return ended(!again || net_owns(&net, B, id));
}

/* ---- 5, 7: what was deleted, and old copies
 * --------------------------------------------------------- */

/* C was away for longer than tombstones are kept; the object was deleted, the tombstone removed. */
static bool deleted_returns(uint64_t broken)
{
    start(3, 2, broken, ABC);
    if (!written(A, "x", "old"))
        return ended(true);
    cluster_lost(net.nodes[C].cluster, net.now_ms);
    net_settle(&net, true);
    views(6, 3);
    struct net_request *deleted = net_ask(&net, A, CLUSTER_DELETE, "x", NULL);
    net_settle(&net, true);
    net_dump(&net, A, "x");
    net_settle(&net, true);
    (void)net_idle(&net, A, "x");
    net_pass(&net, 80000, true);
    net_store(&net, "x", (struct version){0, 0, 0}, "");
    joins(C, 7, ABC);
    net_settle(&net, true);
    return ended(deleted->status != STORE_DONE || !reads(B, "x", ""));
}

static bool old_journal(uint64_t broken)
{
    net_init(&net, 2, 1, broken);
    net_create_clusters(&net);
    uint8_t term[] = {ETF_BINARY, 0, 0, 0, 3, 'o', 'l', 'd'};
    struct cluster_copy copy = {{4, 1, 7}, false, {NULL, term, sizeof(term)}};
    copy.value = value_copy(slice_of(term, sizeof(term)));
    (void)cluster_restore(net.nodes[A].cluster, slice_of_string("x"), &copy, 0);
    value_drop(&copy.value);
    net_store(&net, "x", (struct version){4, 2, 1}, "new");
    net.nodes[A].incarnation++;
    net.nodes[B].incarnation++;
    for (int i = 0; i < 2; i++) {
        net.nodes[i].incarnation--;
        net_join(&net, i, 5, 3);
    }
    net_settle(&net, true);
    return ended(!reads(B, "x", "new"));
}

/* ---- 6: the same name again
 * -------------------------------------------------------------------------- */

static bool same_name(uint64_t broken)
{
    start(3, 0, broken, ABC);
    const char *id = net_id(6, C, ABC, C, -1, -1);
    (void)net_read(&net, A, id);
    cluster_lost(net.nodes[A].cluster, net.now_ms);
    net_settle(&net, true);
    views(6, 6);
    net_settle(&net, true);
    bool taken = written(B, id, "b");
    joins(A, 7, ABC);
    net_settle(&net, true);
    return ended(!taken || !reads(A, id, "b"));
}

/* ---- 8: silence
 * --------------------------------------------------------------------------------------- */

static bool silent_member(uint64_t broken)
{
    start(4, 0, broken, ABC);
    net_drop(&net, "report", B, -1);
    joins(D, 6, ABCD);
    net_pass(&net, 3000, true);
    return ended(net.nodes[D].evictions == 0 || net.nodes[D].evicted != B);
}

static bool stuck_watch(uint64_t broken)
{
    start(2, 0, broken, 3);
    for (int i = 0; i < 50; i++) {
        net.now_ms += 100;
        cluster_lease(net.nodes[A].cluster, net.now_ms + 10000, 6, net.now_ms);
    }
    return ended(cluster_serves(net.nodes[A].cluster, net.now_ms));
}

/* ---- 9: a lost grant, whose claimer does not want it any more
 * ------------------------------------------ */

static bool lost_grant(uint64_t broken)
{
    start(3, 0, broken, ABC);
    const char *id = net_id(ABC, C, 0, -1, -1, -1);
    net_drop(&net, "grant", C, A);
    struct net_request *gone = net_ask(&net, A, CLUSTER_WRITE, id, "a");
    net_pass(&net, 5200, true);
    struct net_request *write = net_ask(&net, B, CLUSTER_WRITE, id, "b");
    net_pass(&net, 2000, true);
    return ended(gone->status != BRAIN_ETIMEOUT || !net_answered(write, STORE_DONE, NULL));
}

/* ---- 10: forwards
 * ---------------------------------------------------------------------------------------- */

static bool retried_forward(uint64_t broken)
{
    start(3, 0, broken, ABC);
    const char *id = net_id(ABC, C, 0, -1, -1, -1);
    bool ready = written(B, id, "0") && reads(A, id, "0");
    net_drop(&net, "reply", B, A);
    (void)net_ask(&net, A, CLUSTER_WRITE, id, "1");
    net_settle(&net, true);
    net_unhold(&net, "reply");
    ready &= written(B, id, "2");
    cluster_peer_down(net.nodes[A].cluster, slice_of_string("b@n"), net.now_ms);
    net_settle(&net, true);
    return ended(!ready || !reads(B, id, "2"));
}

/* Of two forwards one is known to be refused; a third request must not overtake the second. */
static bool overtaking(uint64_t broken)
{
    start(3, 0, broken, ABC);
    const char *id = net_id(ABC, C, 0, -1, -1, -1);
    bool ready = written(B, id, "0") && reads(A, id, "0");
    net_dump(&net, B, id);
    while (net_operation(&net, B, true))
        ;
    ready &= net_idle(&net, B, id);
    net_hold(&net, "refuse", B, A);
    (void)net_ask(&net, A, CLUSTER_WRITE, id, "1");
    (void)net_ask(&net, A, CLUSTER_WRITE, id, "2");
    net_settle(&net, true);
    ready &= net_count(&net, "refuse", B, A) == 2 && net_deliver(&net, "refuse", B, A);
    (void)net_ask(&net, A, CLUSTER_WRITE, id, "3");
    net_settle(&net, true);
    net_unhold(&net, "refuse");
    net_settle(&net, true);
    return ended(!ready || !reads(A, id, "3"));
}

/* The first forward is refused; then the owner has it again, under another epoch, and the second
 * one arrives. */
static bool pipelined(uint64_t broken)
{
    start(3, 0, broken, ABC);
    const char *id = net_id(ABC, C, 0, -1, -1, -1);
    bool ready = written(B, id, "0") && reads(A, id, "0");
    net_dump(&net, B, id);
    while (net_operation(&net, B, true))
        ;
    ready &= net_idle(&net, B, id);
    net_hold(&net, "forward", A, B);
    (void)net_ask(&net, A, CLUSTER_WRITE, id, "1");
    (void)net_ask(&net, A, CLUSTER_WRITE, id, "2");
    ready &= net_deliver(&net, "forward", A, B);
    ready &= reads(B, id, "0");
    net_unhold(&net, "forward");
    net_settle(&net, true);
    return ended(!ready || !reads(A, id, "2"));
}

/* A claim is under way, and the home says who the owner is, for somebody who only wanted to know:
 * no request may go there while a grant may still come. */
static bool located_while_claiming(uint64_t broken)
{
    start(3, 0, broken, ABC);
    const char *id = net_id(ABC, C, 0, -1, -1, -1);
    bool ready = written(A, id, "0");
    net_dump(&net, A, id);
    while (net_operation(&net, A, true))
        ;
    net_hold(&net, "claim", B, C);
    net_hold(&net, "forward", B, A);
    (void)net_ask(&net, B, CLUSTER_WRITE, id, "1");
    struct net_request *where = net_ask(&net, B, CLUSTER_OWNER, id, NULL);
    net_settle(&net, true);
    ready &= net_answered(where, STORE_FOUND, "a@n") && net_idle(&net, A, id);
    net_settle(&net, true);
    ready &= net_deliver(&net, "claim", B, C);
    net_settle(&net, true);
    (void)net_ask(&net, B, CLUSTER_WRITE, id, "2");
    net_settle(&net, true);
    net_unhold(&net, "claim");
    net_unhold(&net, "forward");
    net_settle(&net, true);
    return ended(!ready || !reads(C, id, "2"));
}

/* ---- 13: etcd made anew
 * ------------------------------------------------------------------------------------ */

static bool etcd_anew(uint64_t broken)
{
    start(2, 0, broken, 3);
    net_store(&net, "x", (struct version){100, 7, 3}, "old");
    bool ok = reads(A, "x", "old") && written(A, "x", "new");
    net_dump(&net, A, "x");
    net_settle(&net, true);
    return ended(!ok || strcmp(net_stored(&net, "x")->value.text, "new") != 0);
}

/* ---- homes
 * ----------------------------------------------------------------------------------------------------
 */

static bool opened_early(uint64_t broken)
{
    start(4, 0, broken, ABC);
    const char *id = net_id(ABC, C, ABCD, D, -1, -1);
    bool ready = written(A, id, "a");
    net_hold(&net, "report", A, D);
    joins(D, 6, ABCD);
    net_settle(&net, true);
    (void)net_ask(&net, B, CLUSTER_WRITE, id, "b");
    net_settle(&net, true);
    return ended(!ready || net_owns(&net, B, id));
}

/* D granted x in view 6; in view 7 C is the home again, with what it knew. */
static bool stale_directory(uint64_t broken)
{
    start(4, 0, broken, ABC);
    const char *id = net_id(ABC, C, ABCD, D, -1, -1);
    joins(D, 6, ABCD);
    net_settle(&net, true);
    bool ready = written(A, id, "a");
    net_crash(&net, D);
    net_hold(&net, "report", A, C);
    views(7, ABC);
    net_settle(&net, true);
    (void)net_ask(&net, B, CLUSTER_WRITE, id, "b");
    net_settle(&net, true);
    return ended(!ready || net_owns(&net, B, id));
}

/* ---- copies
 * ------------------------------------------------------------------------------------------------------
 */

/* E is the owner, D holds the copy; E dies; B asks. */
static bool owner_dies(uint64_t broken)
{
    start(5, 1, broken, ABCDE);
    const char *id = net_id(ABCDE, D, ABCD, -1, E, D);
    net_store(&net, id, (struct version){1, 1, 1}, "old");
    bool heard = written(E, id, "new");
    net_crash(&net, E);
    views(6, ABCD);
    return ended(!heard || !reads(B, id, "new"));
}

/* The same, and the client hears before the copy is there. */
static bool owner_dies_early(uint64_t broken)
{
    start(5, 1, broken, ABCDE);
    const char *id = net_id(ABCDE, D, ABCD, -1, E, D);
    net_store(&net, id, (struct version){1, 1, 1}, "old");
    net_drop(&net, "backup", E, D);
    bool heard = written(E, id, "new");
    net_crash(&net, E);
    views(6, ABCD);
    return ended(heard && !reads(B, id, "new"));
}

/* A read shows a version that no holder has yet; its owner dies. */
static bool shown_early(uint64_t broken)
{
    start(5, 1, broken, ABCDE);
    const char *id = net_id(ABCDE, D, ABCD, -1, E, D);
    net_drop(&net, "backup", E, D);
    (void)net_ask(&net, E, CLUSTER_WRITE, id, "new");
    net_settle(&net, true);
    struct net_request *read = net_ask(&net, E, CLUSTER_READ, id, NULL);
    net_settle(&net, true);
    bool shown = net_answered(read, STORE_FOUND, "new");
    net_crash(&net, E);
    views(6, ABCD);
    return ended(shown && !reads(B, id, "new"));
}

/* An older version overtaken by a newer one on its way to the holder. */
static bool late_backup(uint64_t broken)
{
    start(5, 1, broken, ABCDE);
    const char *id = net_id(ABCDE, D, ABCD, -1, E, D);
    net_hold(&net, "backup", E, D);
    (void)net_ask(&net, E, CLUSTER_WRITE, id, "1");
    net_settle(&net, true);
    struct net_request *second = net_ask(&net, E, CLUSTER_WRITE, id, "2");
    struct net_message *first = net.messages;
    while (first && strcmp(first->kind, "backup") != 0)
        first = first->next;
    ck_assert_ptr_nonnull(first);
    snprintf(first->kind, sizeof(first->kind), "late");
    (void)net_deliver(&net, "backup", E, D);
    net_settle(&net, true);
    (void)net_deliver(&net, "late", E, D);
    bool heard = net_answered(second, STORE_DONE, NULL);
    net_crash(&net, E);
    views(6, ABCD);
    return ended(!heard || !reads(B, id, "2"));
}

/* A discard of an older version arrives after a newer one. */
static bool late_discard(uint64_t broken)
{
    start(5, 1, broken, ABCDE);
    const char *id = net_id(ABCDE, D, ABCD, -1, E, D);
    bool heard = written(E, id, "1");
    net_hold(&net, "discard", -1, D);
    net_dump(&net, E, id);
    net_settle(&net, true);
    heard &= written(E, id, "2");
    while (net_deliver(&net, "discard", -1, D))
        ;
    net_crash(&net, E);
    views(6, ABCD);
    return ended(!heard || !reads(B, id, "2"));
}

/* D is no holder any more in view 6; who is one has not got the copy yet when the owner dies. */
static bool copy_dropped(uint64_t broken)
{
    start(5, 1, broken, 27); /* A B D E */
    const char *id = net_id(27, D, ABCDE, C, E, D);
    bool heard = written(E, id, "new");
    net_drop(&net, "backup", E, C);
    joins(C, 6, ABCDE);
    net_settle(&net, false);
    net_crash(&net, E);
    views(7, ABCD);
    net_unhold(&net, "backup");
    return ended(!heard || !reads(B, id, "new"));
}

/* C becomes the holder in view 6; then D, which had the copy, is lost, and then the owner. */
static bool two_losses(uint64_t broken)
{
    start(5, 1, broken, 27);
    const char *id = net_id(27, D, ABCDE, C, E, D);
    bool heard = written(E, id, "new");
    joins(C, 6, ABCDE);
    net_settle(&net, true);
    net_crash(&net, D);
    net_crash(&net, E);
    views(7, ABC);
    return ended(!heard || !reads(B, id, "new"));
}

/* The holder D has lost its lease and is out of view 6, but does not know; nor does the owner. */
static bool holder_without_lease(uint64_t broken)
{
    start(5, 1, broken, ABCDE);
    const char *id = net_id(ABCDE, D, 23, -1, E, D);
    net_store(&net, id, (struct version){1, 1, 1}, "old");
    bool ready = reads(E, id, "old");
    net.now_ms += 20000;
    for (int i = 0; i < 5; i++) {
        if (i != D)
            net_lease(&net, i);
    }
    views(6, 7); /* A B C; E is late */
    bool heard = written(E, id, "new");
    net_crash(&net, E);
    net_crash(&net, D);
    views(7, ABC);
    return ended(!ready || (heard && !reads(B, id, "new")));
}

/* R8: nobody asks for it any more. */
static bool unclaimed_copy(uint64_t broken)
{
    start(5, 1, broken, ABCDE);
    const char *id = net_id(ABCDE, D, ABCD, -1, E, D);
    bool heard = written(E, id, "new");
    net_crash(&net, E);
    views(6, ABCD);
    net_pass(&net, 3000, true);
    bool owned = false;
    for (int i = 0; i < 4; i++)
        owned |= net_owns(&net, i, id);
    return ended(!heard || !owned);
}

/* ---- the lease
 * ---------------------------------------------------------------------------------------------------
 */

/* A read waits for its version at E, which pauses past its lease; others go on without E. */
static bool answer_after_lease(uint64_t broken)
{
    start(5, 1, broken, ABCDE);
    const char *id = net_id(ABCDE, D, ABCD, -1, E, D);
    net_hold(&net, "backup_ack", D, E);
    (void)net_ask(&net, E, CLUSTER_WRITE, id, "1");
    net_settle(&net, true);
    struct net_request *read = net_ask(&net, E, CLUSTER_READ, id, NULL);
    net_settle(&net, true);
    net.now_ms += 20000;
    for (int i = 0; i < 4; i++)
        net_lease(&net, i);
    views(6, ABCD);
    bool taken = written(B, id, "2");
    (void)net_deliver(&net, "backup_ack", D, E);
    return ended(!taken || read->status == STORE_FOUND);
}

static bool asked_after_lease(uint64_t broken)
{
    start(5, 1, broken, ABCDE);
    const char *id = net_id(ABCDE, D, ABCD, -1, E, D);
    bool ready = written(E, id, "1");
    net.now_ms += 20000;
    for (int i = 0; i < 4; i++)
        net_lease(&net, i);
    views(6, ABCD);
    ready &= written(B, id, "2");
    struct net_request *read = net_ask(&net, E, CLUSTER_READ, id, NULL);
    return ended(!ready || read->status == STORE_FOUND);
}

/* ---- release
 * --------------------------------------------------------------------------------------------------------
 */

/* A PUT is in flight when the object is to move. */
static bool released_under_way(uint64_t broken)
{
    net_init(&net, 3, 0, broken);
    net.handoff_uses = 2;
    net_start(&net, 5);
    const char *id = net_id(ABC, C, 0, -1, -1, -1);
    net_store(&net, id, (struct version){1, 1, 1}, "old");
    bool heard = written(A, id, "new");
    net_dump(&net, A, id); /* in flight */
    for (int i = 0; i < 2; i++) {
        (void)net_ask(&net, B, CLUSTER_READ, id, NULL);
        net_settle(&net, false);
    }
    net_settle(&net, false);
    struct net_request *read = net_ask(&net, B, CLUSTER_READ, id, NULL);
    while (net.messages || net_operation(&net, B, false))
        net_settle(&net, false);
    return ended(!heard || !net_answered(read, STORE_FOUND, "new"));
}

/* ---- all of them
 * ------------------------------------------------------------------------------------------------------
 */

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
