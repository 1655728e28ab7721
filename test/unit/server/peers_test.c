/* Members that talk over real links on loopback, all in this process: how links come up, which one
 * is spoken on, and in which order things arrive. What happens when a link or a peer is not as it
 * should be: peers_trouble_test.c. */
#include "peers_fixture.h"
#include "suite.h"

START_TEST(the_first_word_makes_the_link)
{
    start(a);
    start(b);
    b->answers = true;
    say(a, b, 1, 1, 5);
    say(a, b, 1, 2, 5);
    ck_assert_uint_gt(peers_queued_bytes(a->peers), 0);
    turn_until(a->heard_count == 2, 3000);
    ck_assert_uint_eq(b->heard_count, 2);
    ck_assert_str_eq(a->heard_of, "b@localhost");
    ck_assert_str_eq(b->heard_of, "a@localhost");
    check_order(b);
    ck_assert_uint_eq(peers_queued_bytes(a->peers), 0);
    ck_assert_uint_eq(peers_metric(a, "links"), 1);
    ck_assert_uint_eq(peers_metric(b, "links"), 1);
    ck_assert_uint_eq(peers_metric(a, "sent"), 2);
    ck_assert_uint_eq(peers_metric(a, "received"), 2);
    /* One connection for both. */
    ck_assert_uint_eq(metric_of(&a->seen, "connections"), 1);
    ck_assert_uint_eq(metric_of(&b->seen, "connections"), 1);
    ck_assert_uint_eq(metric_of(&a->seen, "connections_dialled"), 1);
    ck_assert_uint_eq(metric_of(&b->seen, "connections_dialled"), 0);
    ck_assert_uint_eq(a->downs + b->downs, 0);
    ck_assert_uint_eq(peers_metric(a, "dropped") + peers_metric(b, "dropped"), 0);
}
END_TEST

START_TEST(three_members_all_dial_at_once)
{
    for (int i = 0; i < MEMBERS; i++)
        start(&members[i]);
    for (uint64_t number = 1; number <= 300; number++) {
        for (int from = 0; from < MEMBERS; from++)
            for (int to = 0; to < MEMBERS; to++)
                if (from != to) /* the order tells who said it */
                    say(&members[from], &members[to], 1 + (uint64_t)from * 3 + number % 3, number,
                        number % 7 == 0 ? 70000 : 10);
        if (number % 10 == 0)
            turn_for(1);
    }
    for (int i = 0; i < MEMBERS; i++) {
        turn_until(members[i].heard_count == 600, 20000);
        check_order(&members[i]);
        ck_assert_uint_eq(members[i].downs, 0);
        ck_assert_uint_eq(peers_metric(&members[i], "dropped"), 0);
        /* Both ends of each pair dialled; one gave way, or at worst both links are used. */
        turn_until(metric_of(&members[i].seen, "handshakes_pending") == 0, 1000);
        ck_assert_uint_ge(metric_of(&members[i].seen, "connections"), 2);
        ck_assert_uint_le(metric_of(&members[i].seen, "connections"), 4);
    }
}
END_TEST

START_TEST(values_of_many_sizes_in_lanes)
{
    start(a);
    start(b);
    say(a, b, 9, 1, 10);
    turn_until(b->heard_count == 1, 3000);
    for (uint64_t number = 1; number <= 40; number++) {
        if (number == 1)
            say(a, b, 1, number, 30 << 20);
        say(a, b, 2, number, 300000);
        say(a, b, 3, number, 20);
        say(a, b, 1, 100 + number, 20); /* behind the 30 MB */
    }
    turn_until(b->heard_count == 122, 30000);
    check_order(b);
    ck_assert(b->saw_block);
    /* Small ones of another lane did not wait for any large one. */
    size_t small = 0, large = 0;
    for (size_t i = 0; i < b->heard_count; i++) {
        if (b->heard[i].order == 3 && b->heard[i].number == 40)
            small = i;
        if (b->heard[i].order == 1 && b->heard[i].number == 1)
            large = i;
    }
    ck_assert_uint_lt(small, large);
    ck_assert_uint_eq(b->heard[large].size, 30 << 20);
}
END_TEST

START_TEST(a_large_value_may_be_the_first_word)
{
    start(a);
    start(b);
    say(a, b, 1, 1, 30 << 20); /* more than the queue is for */
    say(a, b, 1, 2, 10);       /* that is full now */
    turn_until(b->heard_count == 1, 10000);
    ck_assert_uint_eq(b->heard[0].size, 30 << 20);
    ck_assert_uint_eq(peers_metric(a, "dropped"), 1);
    say(a, b, 1, 3, 10);
    turn_until(b->heard_count == 2, 3000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/peers");
    TCase *links = tcase_create("links");
    tcase_add_checked_fixture(links, set_up, tear_down);
    tcase_set_timeout(links, 120);
    tcase_add_test(links, the_first_word_makes_the_link);
    tcase_add_test(links, three_members_all_dial_at_once);
    tcase_add_test(links, values_of_many_sizes_in_lanes);
    tcase_add_test(links, a_large_value_may_be_the_first_word);
    suite_add_tcase(suite, links);
    return suite_run(suite);
}
