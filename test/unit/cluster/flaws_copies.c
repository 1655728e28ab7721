/* See flaws.h: copies, leases, releases. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "flaws.h"

/* ---- copies
 * ------------------------------------------------------------------------------------------------------
 */

/* E is the owner, D holds the copy; E dies; B asks. */
bool owner_dies(uint64_t broken)
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
bool owner_dies_early(uint64_t broken)
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
bool shown_early(uint64_t broken)
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
bool late_backup(uint64_t broken)
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
bool late_discard(uint64_t broken)
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
bool copy_dropped(uint64_t broken)
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
bool two_losses(uint64_t broken)
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
bool holder_without_lease(uint64_t broken)
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
bool unclaimed_copy(uint64_t broken)
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
bool answer_after_lease(uint64_t broken)
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

bool asked_after_lease(uint64_t broken)
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
bool released_under_way(uint64_t broken)
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
