/* See flaws.h: who owns, who is asked, who is a member. */
#include <check.h>
#include <string.h>

#include "flaws.h"
#include "wire.h"

/* ---- 1: late grants
 * -------------------------------------------------------------------------------- */

/* The grant of C, for view 5, reaches A after D has become the home and granted to B. */
bool late_grant(uint64_t broken)
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
bool grant_not_adopted(uint64_t broken)
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

bool denied_grant(uint64_t broken)
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
bool late_report(uint64_t broken)
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
bool backup_behind_report(uint64_t broken)
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

bool lost_release(uint64_t broken)
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
bool late_release(uint64_t broken)
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
bool deleted_returns(uint64_t broken)
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

bool old_journal(uint64_t broken)
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

bool same_name(uint64_t broken)
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

bool silent_member(uint64_t broken)
{
    start(4, 0, broken, ABC);
    net_drop(&net, "report", B, -1);
    joins(D, 6, ABCD);
    net_pass(&net, 3000, true);
    return ended(net.nodes[D].evictions == 0 || net.nodes[D].evicted != B);
}

bool stuck_watch(uint64_t broken)
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

bool lost_grant(uint64_t broken)
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

bool retried_forward(uint64_t broken)
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
bool overtaking(uint64_t broken)
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
bool pipelined(uint64_t broken)
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
bool located_while_claiming(uint64_t broken)
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

bool etcd_anew(uint64_t broken)
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

bool opened_early(uint64_t broken)
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
bool stale_directory(uint64_t broken)
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
