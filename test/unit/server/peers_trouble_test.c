/* Members that talk over real links on loopback, when a link or a peer is not as it should be. */
#include <signal.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "heap_fault.h"
#include "node_client.h"
#include "peers_fixture.h"
#include "suite.h"

START_TEST(nobody_there)
{
    start(a);
    start(b);
    stop(b); /* its port is free */
    for (uint64_t number = 1; number <= 5000; number++)
        say(a, b, 1, number, 2000);
    ck_assert_uint_le(peers_queued_bytes(a->peers), 4 << 20);
    ck_assert_uint_ge(peers_queued_bytes(a->peers), 3 << 20);
    ck_assert_uint_gt(peers_metric(a, "dropped"), 2500);
    turn_until(metric_of(&a->seen, "dials_failed") == 2, 3000); /* tried again after a second */
    turn_until(peers_queued_bytes(a->peers) == 0, 3000);
    ck_assert_uint_eq(peers_metric(a, "dropped"), 5000);
    ck_assert_uint_eq(a->downs, 0);
    start(b);
    for (uint64_t number = 1; b->heard_count == 0 && number < 100; number++) {
        say(a, b, 1, number, 10);
        turn_for(50);
    }
    ck_assert_uint_gt(b->heard_count, 0);
    check_order(b);
}
END_TEST

/* What b dialled takes the connection and says nothing. b has the greater name, so its own
 * handshake would win over a's for as long as it hangs. */
START_TEST(a_handshake_that_hangs_keeps_nobody_away)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    const int mute = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(mute, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(listen(mute, 8), 0);
    ck_assert_int_eq(getsockname(mute, (struct sockaddr *)&address, &size), 0);
    b->options.channel.handshake_timeout_ms = 60000;
    start(a);
    start(b);
    const struct member elsewhere = {.name = "a@localhost", .seen.port = ntohs(address.sin_port)};
    say(b, &elsewhere, 1, 1, 5);
    turn_until(metric_of(&b->seen, "handshakes_pending") == 1, 3000);
    for (uint64_t number = 1; number < 100 && b->heard_count == 0; number++) {
        say(a, b, 1, number, 5);
        turn_for(100);
    }
    ck_assert_uint_gt(b->heard_count, 0);
    close(mute);
}
END_TEST

START_TEST(names_that_are_no_members)
{
    static const char *const names[] = {"", "b", "@", "b@", "@localhost", "b@local host", "b@b@b",
        "a@localhost" /* itself */, "b\n@localhost"};
    start(a);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        peers_send(a->peers, slice_of_string(names[i]), (struct peers_place){"127.0.0.1", 1}, 1,
            slice_of("j", 1), NULL);
    turn_for(100);
    ck_assert_uint_eq(metric_of(&a->seen, "dials_failed"), 0);
    ck_assert_uint_eq(metric_of(&a->seen, "connections"), 0);
    turn_until(peers_metric(a, "dropped") == sizeof(names) / sizeof(names[0]), 3000);
}
END_TEST

START_TEST(another_protocol_is_refused_and_tried_again)
{
    start(a);
    start(b);
    b->protocol = 2;
    say(a, b, 1, 1, 10);
    turn_until(peers_metric(b, "refused") == 1, 3000);
    turn_until(metric_of(&b->seen, "connections") == 0, 1000);
    turn_until(metric_of(&a->seen, "connections") == 0, 1000);
    ck_assert_uint_eq(a->downs, 1); /* what was said behind the hello is lost */
    ck_assert_uint_eq(b->heard_count, 0);
    ck_assert_uint_eq(peers_metric(b, "links"), 0);
    say(a, b, 1, 2, 10);
    say(b, a, 1, 2, 10);
    turn_for(300);
    ck_assert_uint_eq(peers_metric(a, "dropped"), 1);
    ck_assert_uint_eq(peers_metric(b, "dropped"), 1);
    ck_assert_uint_eq(metric_of(&a->seen, "connections"), 0);
    b->protocol = 1;
    for (uint64_t number = 3; b->heard_count == 0 && number < 100; number++) {
        say(a, b, 1, number, 10);
        turn_for(50);
    }
    ck_assert_uint_gt(b->heard_count, 0);
    ck_assert_uint_eq(peers_metric(b, "refused"), 1);
}
END_TEST

START_TEST(a_malformed_message_ends_the_link)
{
    start(a);
    start(b);
    say(a, b, 1, 1, 10);
    turn_until(b->heard_count == 1 && peers_metric(a, "links") == 1, 3000);
    struct buffer head;
    buffer_init(&head);
    etf_write_tuple(&head, 1);
    etf_write_nil(&head);
    send_term(a, b, 1, &head, NULL);
    say(a, b, 1, 2, 10); /* unread: it came on a link that is given up */
    turn_until(a->downs == 1 && b->downs == 1, 3000);
    ck_assert_uint_eq(peers_metric(b, "refused"), 1);
    ck_assert_uint_eq(peers_metric(a, "links") + peers_metric(b, "links"), 0);
    ck_assert_uint_eq(b->heard_count, 1);
    say(a, b, 1, 3, 10);
    turn_until(b->heard_count == 2, 3000);
    ck_assert_uint_eq(b->heard[1].number, 3);
}
END_TEST

START_TEST(a_link_that_is_cut_is_made_again)
{
    start(a);
    start(b);
    b->answers = true;
    uint64_t number = 0;
    for (unsigned round = 1; round <= 3; round++) {
        const size_t before = a->heard_count;
        while (a->heard_count < before + 5) {
            say(a, b, 1, ++number, 1000);
            turn_for(5);
            ck_assert_uint_lt(number, 2000);
        }
        stop(b);
        turn_until(a->downs == round, 3000);
        ck_assert_uint_eq(peers_metric(a, "links"), 0);
        start(b);
    }
    check_order(a);
    check_order(b);
    ck_assert_uint_eq(b->downs, 0); /* of its own end it is not told */
}
END_TEST

/* Cuts the network: no connection of this process hears anything any more, not even that bytes
 * arrived, and nobody is told. */
static void cut_network(void)
{
    struct sock_filter nothing = {BPF_RET | BPF_K, 0, 0, 0};
    const struct sock_fprog filter = {1, &nothing};
    for (int fd = 3; fd < 100; fd++) {
        struct sockaddr_in peer;
        socklen_t size = sizeof(peer);
        if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sin_family == AF_INET)
            ck_assert_int_eq(
                setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)), 0);
    }
}

/* One of them has something to say, the other is silent. */
START_TEST(a_cut_network_is_noticed_by_both)
{
    start(a);
    start(b);
    say(a, b, 1, 1, 10);
    turn_until(b->heard_count == 1 && peers_metric(a, "links") == 1, 3000);
    turn_for(100);
    cut_network();
    say(a, b, 1, 2, 10);
    turn_until(a->downs == 1 && b->downs == 1, 25000); /* not the 75 s of an Erlang node */
    say(a, b, 1, 3, 10);
    turn_until(b->heard_count == 2, 5000);
    ck_assert_uint_eq(b->heard[1].number, 3);
}
END_TEST

/* b in a process of its own, which answers until it is killed. */
static pid_t start_b_elsewhere(void)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when an assertion ends the test */
        close(ends[0]);
        ck_assert_int_eq(uv_loop_init(&loop), 0);
        b->answers = true;
        start(b);
        if (write(ends[1], &b->seen.port, sizeof(b->seen.port)) > 0)
            uv_run(&loop, UV_RUN_DEFAULT);
        _exit(0);
    }
    close(ends[1]);
    ck_assert_int_eq(read(ends[0], &b->seen.port, sizeof(b->seen.port)), sizeof(b->seen.port));
    close(ends[0]);
    return pid;
}

/* For longer than a network may be cut. */
START_TEST(a_process_that_stands_still_keeps_its_links)
{
    pid_t pid = start_b_elsewhere();
    start(a);
    say(a, b, 1, 1, 10);
    turn_until(a->heard_count == 1, 3000);
    kill(pid, SIGSTOP);
    for (uint64_t number = 2; number <= 100; number++) {
        say(a, b, 1, number, 1000);
        turn_for((NODE_LINK_SILENCE_MS + 3000) / 100);
    }
    ck_assert_uint_eq(a->downs, 0);
    ck_assert_uint_eq(a->heard_count, 1);
    kill(pid, SIGCONT);
    turn_until(a->heard_count == 100, 5000);
    check_order(a);
    kill(pid, SIGKILL);
    turn_until(a->downs == 1, 3000);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

START_TEST(another_cookie)
{
    b->options.channel.cookie = slice_of_string("guess");
    start(a);
    start(b);
    say(a, b, 1, 1, 10);
    turn_until(peers_metric(a, "dropped") == 1, 4000);
    ck_assert_uint_ge(metric_of(&a->seen, "dials_failed"), 1);
    ck_assert_uint_eq(metric_of(&a->seen, "connections"), 0);
    ck_assert_uint_ge(metric_of(&b->seen, "refused_cookie"), 1);
    ck_assert_uint_eq(a->downs + b->downs + a->ups + b->ups, 0);
}
END_TEST

/* More than max_output_bytes for one peer. */
START_TEST(a_peer_that_does_not_read_is_given_up)
{
    a->options.channel.send.queued_bytes = 8 << 20;
    start(a);
    start(b);
    say(a, b, 1, 1, 10);
    turn_until(b->heard_count == 1 && peers_metric(a, "links") == 1, 3000);
    for (uint64_t number = 2; number < 40; number++)
        say(a, b, number % 8, number, 1 << 20); /* nothing is read meanwhile */
    ck_assert_uint_eq(a->downs, 0);
    ck_assert_uint_gt(peers_metric(a, "dropped"), 20);
    turn_until(a->downs == 1 && b->downs == 1, 3000);
    say(a, b, 1, 50, 10);
    turn_until(b->heard_count > 1 && b->heard[b->heard_count - 1].number == 50, 3000);
}
END_TEST

static void client_says(struct client *client, const char *to, const char *term, size_t size)
{
    struct buffer frame;
    buffer_init(&frame);
    client_frame_to(&frame, client->name, to, slice_of(term, size));
    write_all(client->fd, buffer_slice(&frame));
    buffer_release(&frame);
}

/* A client of ei, which may have any name, and an Erlang node that is no member. */
START_TEST(strangers_are_ignored_and_stay_connected)
{
    start(a);
    client_dials = a->name;
    for (int i = 0; i < 2; i++) {
        struct client client;
        client_flags =
            EI_FLAGS | DFLAG_MANDATORY_25_DIGEST | (i == 1 ? DFLAG_DIST_MONITOR_NAME : 0);
        client_connect(&client, a->seen.port, "b@localhost");
        client_says(&client, PEERS_NAME, "w\x02hi", 4);
        client_says(&client, PEERS_NAME, "h\x03j", 3); /* cut */
        client_says(&client, PEERS_NAME, "", 0);
        client_send(&client, client.name, an_atom);
        turn_until(a->seen.messages == (unsigned)i + 1, 3000);
        turn_until((client_read(&client), client.in.size > 20), 2000);
        ck_assert(!client.eof);
        ck_assert_uint_eq(peers_metric(a, "refused"), 2 + 2 * (unsigned)i);
        ck_assert_uint_eq(peers_metric(a, "links"), 0);
        if (i == 1) { /* what begins as a hello must be one */
            client_says(&client, PEERS_NAME, "h\x02w\x05helloa\x09", 11);
            turn_until(client_read(&client), 2000);
            ck_assert_uint_eq(peers_metric(a, "refused"), 5);
        }
        client_close(&client);
    }
    client_flags = EI_FLAGS | DFLAG_MANDATORY_25_DIGEST;
    ck_assert_uint_eq(a->downs, 0);
    ck_assert_uint_eq(a->heard_count, 0);
}
END_TEST

/* An ei client of a member's name is not taken for the member. */
START_TEST(a_php_worker_of_the_same_name)
{
    start(a);
    start(b);
    client_dials = a->name;
    struct client client;
    client_connect(&client, a->seen.port, "b@localhost");
    turn_until(metric_of(&a->seen, "connections") == 1, 1000);
    say(a, b, 1, 1, 10);
    turn_until(b->heard_count == 1, 3000);
    client_read(&client);
    ck_assert_uint_eq(client.in.size, 0);
    client_close(&client);
}
END_TEST

START_TEST(members_get_in_where_clients_fill_the_node)
{
    b->options.max_connections = 2;
    start(a);
    start(b);
    say(b, a, 1, 1, 10);
    turn_until(a->heard_count == 1, 3000); /* b knows a now */
    struct client clients[3];
    client_dials = b->name;
    for (int i = 0; i < 2; i++)
        client_connect(&clients[i], b->seen.port, "tester@localhost");
    client_open(&clients[2], b->seen.port, "tester@localhost", "secret");
    turn_until(client_read(&clients[2]), 2000); /* one too many */
    ck_assert_uint_eq(metric_of(&b->seen, "connections_refused"), 1);
    stop(a);
    turn_until(b->downs == 1, 2000);
    start(a);
    say(a, b, 1, 1, 10);
    turn_until(b->heard_count == 1, 3000);
    for (int i = 0; i < 3; i++)
        client_close(&clients[i]);
}
END_TEST

START_TEST(memory_runs_out_anywhere)
{
    for (unsigned n = 1;; n++) {
        for (int i = 0; i < 2; i++) {
            free(members[i].heard);
            prepare(&members[i], (char)('a' + i));
        }
        heap_fault_start(n);
        bool ready = true;
        for (int i = 0; i < 2 && ready; i++) {
            struct member *member = &members[i];
            ready = open_node(&member->seen, &member->options) == 0;
            if (ready) {
                turn_until(member->seen.ready, 3000);
                open_peers(member);
                ready = member->peers != NULL;
            }
        }
        for (int i = 0; ready && i < 40 && (a->heard_count == 0 || b->heard_count < 2); i++) {
            say(a, b, 1, 2 * (uint64_t)i + 1, 10);
            say(a, b, 1, 2 * (uint64_t)i + 2, 100000);
            say(b, a, 1, (uint64_t)i + 1, 10);
            turn_for(3);
        }
        const bool talked = a->heard_count > 0 && b->heard_count > 1;
        check_order(a);
        check_order(b);
        for (int i = 0; i < 2; i++)
            if (members[i].seen.node != NULL)
                stop(&members[i]);
        uv_run(&loop, UV_RUN_DEFAULT);
        if (!heap_fault_stop()) {
            ck_assert(talked);
            ck_assert_uint_gt(n, 50);
            break;
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/peers_trouble");
    TCase *wrong = tcase_create("what is not as it should be");
    tcase_add_checked_fixture(wrong, set_up, tear_down);
    tcase_set_timeout(wrong, 120);
    tcase_add_test(wrong, nobody_there);
    tcase_add_test(wrong, a_handshake_that_hangs_keeps_nobody_away);
    tcase_add_test(wrong, names_that_are_no_members);
    tcase_add_test(wrong, another_protocol_is_refused_and_tried_again);
    tcase_add_test(wrong, a_malformed_message_ends_the_link);
    tcase_add_test(wrong, a_link_that_is_cut_is_made_again);
    tcase_add_test(wrong, a_cut_network_is_noticed_by_both);
    tcase_add_test(wrong, a_process_that_stands_still_keeps_its_links);
    tcase_add_test(wrong, another_cookie);
    tcase_add_test(wrong, a_peer_that_does_not_read_is_given_up);
    tcase_add_test(wrong, strangers_are_ignored_and_stay_connected);
    tcase_add_test(wrong, a_php_worker_of_the_same_name);
    tcase_add_test(wrong, members_get_in_where_clients_fill_the_node);
    tcase_add_test(wrong, memory_runs_out_anywhere);
    suite_add_tcase(suite, wrong);
    return suite_run(suite);
}
