/* Versions told to all: what is acknowledged, lost, overtaken, deleted, and whose word counts. */
#include <check.h>

#include "net.h"
#include "suite.h"

static struct net net;

static void start(bool wait_all, int count)
{
    net_init(&net, wait_all, 0);
    for (int i = 0; i < count; i++)
        net_up(&net, i);
    net_install_all(&net);
    net_pass(&net, 50);
    for (int i = 0; i < count; i++)
        ck_assert(net_readable(&net, i));
}

static bool was_reached(int node, uint64_t grant, uint64_t seq)
{
    return version_compare(net.nodes[node].reached, net_version(grant, seq)) == 0;
}

START_TEST(which_ids)
{
    start(true, 1);
    const struct replica *replica = net.nodes[0].replica;
    ck_assert(replica_covers(replica, slice_of_string("r:1")));
    ck_assert(replica_covers(replica, slice_of_string("r:")));
    ck_assert(replica_covers(replica, slice_of_string("also:x")));
    ck_assert(!replica_covers(replica, slice_of_string("r")));
    ck_assert(!replica_covers(replica, slice_of_string("user:r:1")));
    net_end(&net);
}
END_TEST

START_TEST(alone_nobody_is_waited_for)
{
    start(true, 1);
    ck_assert_int_eq(net_write(&net, 0, "r:1", 5, 1, 11, true), 0);
    /* Somebody may come before that is held. */
    ck_assert_int_eq(net_write(&net, 0, "r:2", 5, 2, 22, false), 1);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), 11);
    ck_assert_int_eq(net_read(&net, 0, "r:2"), -1);
    ck_assert(!net_held(&net, 0, "r:2", 5, 2));
    ck_assert_int_eq(net_read(&net, 0, "r:2"), 22);
    ck_assert_uint_eq(net.nodes[0].reached_count, 0);
    ck_assert_ptr_null(net.messages);
    net_end(&net);
}
END_TEST

START_TEST(all_have_it_when_it_is_acknowledged)
{
    start(true, 3);
    ck_assert_int_eq(net_write(&net, 0, "r:1", 5, 1, 11, true), 2);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 1));
    ck_assert(net_deliver(&net, REPLICA_ACK, 1, 0));
    ck_assert_uint_eq(net.nodes[0].reached_count, 0);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), -1);
    net_settle(&net);
    ck_assert_uint_eq(net.nodes[0].reached_count, 1);
    ck_assert(was_reached(0, 5, 1));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 11);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 11);
    /* They know of the grant: the next is told at once. */
    net_write(&net, 0, "r:1", 5, 2, 22, true);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 1));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 22);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 11);
    net_end(&net);
}
END_TEST

/* Else who has shown it, goes, and comes back when its owner is dead would be told the earlier one
 * by somebody who never heard of the later (simulator, seed 46133). */
START_TEST(a_new_owner_is_believed_by_all_or_by_nobody)
{
    start(true, 3);
    net_write(&net, 2, "r:1", 5, 1, 11, true);
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 11);
    net_write(&net, 0, "r:1", 6, 1, 22, true);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 1));
    ck_assert(net_deliver(&net, REPLICA_ACK, 1, 0));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), -1);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 11);
    /* A second write before all know of the grant does not begin again. */
    net_write(&net, 0, "r:1", 6, 2, 33, true);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 1));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 2));
    ck_assert(net_deliver(&net, REPLICA_ACK, 2, 0));
    ck_assert_int_eq(net_read(&net, 2, "r:1"), -1);
    ck_assert_uint_eq(net_count(&net, REPLICA_TELL, 0, 1), 1);
    ck_assert(net_deliver(&net, REPLICA_TELL, 0, 1));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 33);
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 33);
    ck_assert(was_reached(0, 6, 2));
    net_end(&net);
}
END_TEST

START_TEST(who_does_not_know_of_a_grant_and_goes)
{
    start(true, 3);
    net_write(&net, 0, "r:1", 6, 1, 22, true);
    ck_assert(net_drop(&net, REPLICA_TELL, 0, 2));
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert_uint_eq(net.nodes[0].reached_count, 0);
    net_down(&net, 2);
    net_install(&net, 0);
    net_install(&net, 1);
    ck_assert(was_reached(0, 6, 1));
    net_settle(&net);
    ck_assert_uint_eq(net.nodes[0].reached_count, 1);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 22);
    net_end(&net);
}
END_TEST

START_TEST(what_has_no_holder_yet_is_not_told)
{
    start(true, 2);
    ck_assert_int_eq(net_write(&net, 0, "r:1", 5, 1, 11, false), 1);
    ck_assert_ptr_null(net.messages);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), -1);
    ck_assert(net_held(&net, 0, "r:1", 5, 1));
    net_settle(&net);
    ck_assert(was_reached(0, 5, 1));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 11);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), 11);
    net_end(&net);
}
END_TEST

/* Written again by its owner's store: where it is has not changed by that. */
START_TEST(what_is_written_again_is_held_as_it_was)
{
    const struct slice id = slice_of_string("r:1");
    const struct cluster_epoch epoch = {5, 1};
    uint8_t bytes[] = {ETF_SMALL_INTEGER, 11};
    const struct value value = {NULL, bytes, sizeof(bytes)};
    struct replica *replica;
    start(true, 2);
    replica = net.nodes[0].replica;
    (void)net_write(&net, 0, "r:1", 5, 1, 11, false);
    ck_assert_int_eq(replica_written(replica, id, epoch, net_version(5, 2), &value,
                         REPLICA_AS_BEFORE, net.now_ms),
        1);
    ck_assert_ptr_null(net.messages);
    ck_assert(net_held(&net, 0, "r:1", 5, 2));
    net_settle(&net);
    ck_assert(was_reached(0, 5, 2));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 11);
    (void)replica_written(
        replica, id, epoch, net_version(5, 3), &value, REPLICA_AS_BEFORE, net.now_ms);
    net_settle(&net);
    ck_assert(was_reached(0, 5, 3));
    net_end(&net);
}
END_TEST

/* Holders have the first of two writes: its value is gone here, so others must ask. */
START_TEST(an_overtaken_version_is_only_named)
{
    start(true, 2);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    net_settle(&net);
    net_write(&net, 0, "r:1", 5, 2, 22, false);
    net_write(&net, 0, "r:1", 5, 3, 33, false);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 11);
    ck_assert(net_held(&net, 0, "r:1", 5, 2));
    net_settle(&net);
    ck_assert(was_reached(0, 5, 2));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert(net_held(&net, 0, "r:1", 5, 3));
    net_settle(&net);
    ck_assert(was_reached(0, 5, 3));
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 33);
    net_end(&net);
}
END_TEST

START_TEST(lost_messages_are_repeated)
{
    start(true, 3);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    ck_assert(net_drop(&net, REPLICA_TELL, 0, 2));
    net_settle(&net);
    ck_assert_uint_eq(net.nodes[0].reached_count, 0);
    net_pass(&net, 200);
    ck_assert(was_reached(0, 5, 1));
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 11);
    /* The acknowledgement alone is lost: the value does not go again. */
    net_write(&net, 0, "r:1", 5, 2, 22, true);
    while (net_deliver(&net, REPLICA_TELL, 0, -1))
        continue;
    ck_assert(net_drop(&net, REPLICA_ACK, 2, 0));
    net_settle(&net);
    const uint64_t told = replica_metrics(net.nodes[0].replica)->told;
    net_pass(&net, 200);
    ck_assert(was_reached(0, 5, 2));
    ck_assert_uint_eq(replica_metrics(net.nodes[0].replica)->told, told);
    net_end(&net);
}
END_TEST

START_TEST(old_news_change_nothing)
{
    start(true, 2);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    net_write(&net, 0, "r:1", 5, 2, 22, true);
    ck_assert_uint_eq(net_count(&net, REPLICA_TELL, 0, 1), 2);
    ck_assert(net_repeat(&net, REPLICA_TELL, 0, 1));
    struct net_message *first = net.messages; /* the older one comes last */
    net.messages = first->next;
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 22);
    first->next = NULL;
    net.messages = first;
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 22);
    ck_assert(was_reached(0, 5, 2));
    net_end(&net);
}
END_TEST

START_TEST(deleted_stays_deleted)
{
    start(true, 2);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    ck_assert_uint_eq(net_count(&net, REPLICA_TELL, 0, 1), 1);
    struct net_message *late = net.messages;
    net.messages = NULL;
    net_write(&net, 0, "r:1", 5, 2, 0, true);
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 0);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), 0);
    net.messages = late;
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 0);
    net_pass(&net, 59000);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 0);
    net_pass(&net, 2000); /* then the mark is gone, and the owner knows */
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert_uint_eq(replica_metrics(net.nodes[1].replica)->objects, 0);
    net_end(&net);
}
END_TEST

/* The write that only one saw was lost with its owner, and the next owner never knew it. */
START_TEST(the_later_grant_is_believed)
{
    start(true, 3);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    net_settle(&net);
    net_write(&net, 0, "r:1", 5, 2, 22, true);
    net_deliver(&net, REPLICA_TELL, 0, 2);
    while (net_drop(&net, -1, -1, -1))
        continue;
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 11);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 22);
    net_down(&net, 0);
    net_install_all(&net);
    net_settle(&net);
    /* Nobody who is there vouches for either. */
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), -1);
    ck_assert_int_eq(net_read_weak(&net, 2, "r:1"), 22);
    const struct cluster_epoch epoch = {6, 1};
    uint8_t bytes[] = {ETF_SMALL_INTEGER, 11};
    const struct value value = {NULL, bytes, sizeof(bytes)};
    ck_assert(!replica_knows(net.nodes[1].replica, slice_of_string("r:1"), net_version(5, 1)));
    ck_assert_int_eq(replica_written(net.nodes[1].replica, slice_of_string("r:1"), epoch,
                         net_version(5, 1), &value, REPLICA_IS_HELD, net.now_ms),
        1);
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 2, "r:1"), 11);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 11);
    ck_assert(replica_knows(net.nodes[2].replica, slice_of_string("r:1"), net_version(5, 1)));
    net_end(&net);
}
END_TEST

/* Simulator, seed 16144: an owner showed what it had loaded, and gave it up before it was told. */
START_TEST(what_was_shown_and_not_told_is_not_followed_by_something_older)
{
    start(true, 2);
    net_write(&net, 0, "r:1", 5, 2, 22, true);
    net_settle(&net);
    for (int node = 0; node < 2; node++) {
        struct replica *replica = net.nodes[node].replica;
        ck_assert_int_eq(net_read(&net, node, "r:1"), 22);
        replica_doubt(replica, slice_of_string("r:1"), net_version(5, 2));
        replica_doubt(replica, slice_of_string("r:1"), net_version(5, 1));
        ck_assert_int_eq(net_read(&net, node, "r:1"), 22);
        replica_doubt(replica, slice_of_string("r:1"), net_version(5, 3));
        ck_assert_int_eq(net_read(&net, node, "r:1"), -1);
        ck_assert_int_eq(net_read_weak(&net, node, "r:1"), -1);
        ck_assert(!replica_knows(replica, slice_of_string("r:1"), net_version(5, 3)));
        replica_doubt(replica, slice_of_string("r:2"), net_version(5, 3)); /* not here */
    }
    net_write(&net, 1, "r:1", 6, 1, 33, true);
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), 33);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 33);
    net_end(&net);
}
END_TEST

/* Simulator, seed 1081: whoever owned the object waited for ever for what it had written. */
START_TEST(the_former_owner_hears_that_its_version_is_told_no_more)
{
    start(true, 3);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    while (net_drop(&net, -1, 0, 2))
        continue;
    net_settle(&net);
    net_write(&net, 1, "r:1", 6, 1, 22, true);
    ck_assert(net_deliver(&net, REPLICA_TELL, 1, 0));
    ck_assert_uint_eq(net.nodes[0].superseded, 1);
    net_pass(&net, 500);
    ck_assert_uint_eq(net.nodes[0].reached_count, 0);
    ck_assert(was_reached(1, 6, 1));
    /* What all have acknowledged is not awaited: nothing to say. */
    net_write(&net, 0, "r:1", 7, 1, 33, true);
    net_settle(&net);
    ck_assert_uint_eq(net.nodes[1].superseded, 0);
    net_end(&net);
}
END_TEST

START_TEST(who_goes_is_not_waited_for)
{
    start(true, 3);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    while (net_drop(&net, -1, 0, 2))
        continue;
    net_settle(&net);
    ck_assert_uint_eq(net.nodes[0].reached_count, 0);
    net_down(&net, 2);
    net_install(&net, 0);
    ck_assert(was_reached(0, 5, 1));
    net_settle(&net); /* the other one is told what it is now */
    ck_assert_uint_eq(replica_metrics(net.nodes[0].replica)->unacknowledged, 0);
    net_end(&net);
}
END_TEST

START_TEST(without_membership_only_weak_reads)
{
    start(false, 2);
    net_write(&net, 0, "r:1", 5, 1, 11, true);
    net_settle(&net);
    replica_lost(net.nodes[1].replica);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), -1);
    ck_assert_int_eq(net_read_weak(&net, 1, "r:1"), 11);
    net_down(&net, 1);
    net_up(&net, 1);
    net_install(&net, 1); /* anew: what it had is not believed any more */
    ck_assert_int_eq(net_read_weak(&net, 1, "r:1"), -1);
    net_install(&net, 0);
    net_settle(&net);
    net_pass(&net, 300);
    ck_assert_int_eq(net_read(&net, 1, "r:1"), 11);
    net_end(&net);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replica telling");
    TCase *tcase = tcase_create("telling");
    tcase_add_test(tcase, which_ids);
    tcase_add_test(tcase, alone_nobody_is_waited_for);
    tcase_add_test(tcase, all_have_it_when_it_is_acknowledged);
    tcase_add_test(tcase, a_new_owner_is_believed_by_all_or_by_nobody);
    tcase_add_test(tcase, who_does_not_know_of_a_grant_and_goes);
    tcase_add_test(tcase, what_has_no_holder_yet_is_not_told);
    tcase_add_test(tcase, what_is_written_again_is_held_as_it_was);
    tcase_add_test(tcase, an_overtaken_version_is_only_named);
    tcase_add_test(tcase, lost_messages_are_repeated);
    tcase_add_test(tcase, old_news_change_nothing);
    tcase_add_test(tcase, deleted_stays_deleted);
    tcase_add_test(tcase, the_later_grant_is_believed);
    tcase_add_test(tcase, what_was_shown_and_not_told_is_not_followed_by_something_older);
    tcase_add_test(tcase, the_former_owner_hears_that_its_version_is_told_no_more);
    tcase_add_test(tcase, who_goes_is_not_waited_for);
    tcase_add_test(tcase, without_membership_only_weak_reads);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
