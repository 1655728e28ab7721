/* The node over real sockets on loopback: who gets in, who is refused, and that nothing is left
 * behind. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/resource.h>
#include <sys/socket.h>

#include "heap_fault.h"
#include "node_alone.h"
#include "node_client.h"
#include "suite.h"

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* ---- getting in ------------------------------------------------------------------------------ */

START_TEST(a_client_is_answered)
{
    start_plain();
    ck_assert_uint_ge(node_identity(seen.node)->creation, 4);
    struct client client;
    client_connect(&client, seen.port, "tester@localhost");
    ck_assert_uint_eq(client.handshake.peer_creation, node_identity(seen.node)->creation);
    ck_assert_uint_eq(metric_of(&seen, "handshakes_pending"), 0);
    client_send(&client, client.name, an_atom);
    turn_until((client_read(&client), client.in.size > 20), 2000);
    ck_assert_uint_eq(load_be32(client.in.data), client.in.size - 4);
    ck_assert_mem_eq(client.in.data + client.in.size - 15, "m\0\0\0\x0avvvvvvvvvv", 15);
    ck_assert_uint_eq(seen.messages, 1);
    ck_assert_uint_eq(metric_of(&seen, "connections"), 1);
    client_close(&client);
    turn_until(metric_of(&seen, "connections") == 0, 2000);
    ck_assert_uint_eq(metric_of(&seen, "connections_closed"), 1);
    ck_assert_ptr_null(node_channel(seen.node, seen.from));
}
END_TEST

/* The peer resets the connection with 50 messages of it unread here, and the first thing that this
 * node does then is to send. */
START_TEST(what_was_sent_before_the_end_still_counts)
{
    start_plain();
    struct client client;
    client_connect(&client, seen.port, "tester@localhost");
    client_send(&client, client.name, an_atom);
    turn_until(seen.messages == 1, 2000);
    turn_for(20);
    struct buffer frame, pid;
    buffer_init(&frame);
    buffer_init(&pid);
    /* In one piece, or the reset would overtake most of it. */
    for (int i = 0; i < 50; i++)
        client_frame(&frame, client.name, an_atom);
    ck_assert_int_eq(send(client.fd, frame.data, frame.size, 0), (ssize_t)frame.size);
    client_close(&client); /* with an answer unread, hence the reset */

    struct channel *channel = node_channel(seen.node, seen.from);
    etf_write_pid(&pid, slice_of_string("tester@localhost"), 9, 0, 77);
    struct buffer *out = channel_send_begin(channel, buffer_slice(&pid), slice_of(NULL, 0));
    buffer_append_slice(out, an_atom);
    ck_assert_int_eq(channel_send_commit(channel, NULL), 0);
    node_flush(seen.node, channel);
    turn_until(metric_of(&seen, "connections") == 0, 2000);
    ck_assert_uint_eq(seen.messages, 51);
    buffer_release(&frame);
    buffer_release(&pid);
}
END_TEST

START_TEST(a_wrong_cookie_stays_outside)
{
    start_plain();
    struct client client;
    client_open(&client, seen.port, "tester@localhost", "guess");
    turn_until(client_read(&client), 2000);
    ck_assert_int_eq(client.progress, HANDSHAKE_MORE);
    ck_assert_uint_eq(metric_of(&seen, "refused_cookie"), 1);
    ck_assert_uint_eq(metric_of(&seen, "handshakes_pending"), 0);
    client_close(&client);
}
END_TEST

START_TEST(a_refusal_is_heard)
{
    start_plain();
    int fd = client_socket(seen.port);
    /* A name without the required flags. */
    static const uint8_t name[] = "\0\x12N\0\0\0\0\0\0\0\0\0\0\0\0\0\x03"
                                  "a@b";
    write_all(fd, slice_of(name, sizeof(name) - 1));
    uint8_t answer[64];
    turn_until(recv(fd, answer, sizeof(answer), MSG_PEEK) > 0, 2000);
    ck_assert_int_eq(recv(fd, answer, sizeof(answer), 0), 14);
    ck_assert_mem_eq(answer, "\0\x0csnot_allowed", 14);
    turn_until(recv(fd, answer, sizeof(answer), 0) == 0, 2000);
    ck_assert_uint_eq(metric_of(&seen, "refused_flags"), 1);
    close(fd);
}
END_TEST

START_TEST(garbage_is_closed_and_counted)
{
    start_plain();
    static const char *const garbage[] = {"GET / HTTP/1.1\r\n\r\n", "\xff\xff\xff\xff", "\0\0"};
    for (size_t i = 0; i < 3; i++) {
        int fd = client_socket(seen.port);
        write_all(fd, slice_of(garbage[i], i == 2 ? 2 : strlen(garbage[i])));
        char byte;
        turn_until(recv(fd, &byte, 1, 0) == 0 || errno == ECONNRESET, 2000);
        close(fd);
        ck_assert_uint_eq(metric_of(&seen, "refused_handshake"), i + 1);
    }
    /* After the handshake: a frame of an unknown type. */
    struct client client;
    client_connect(&client, seen.port, "tester@localhost");
    write_all(client.fd, slice_of("\0\0\0\x02zz", 6));
    turn_until(client_read(&client), 2000);
    ck_assert_uint_eq(metric_of(&seen, "protocol_errors"), 1);
    ck_assert_uint_eq(metric_of(&seen, "connections"), 0);
    client_close(&client);
}
END_TEST

START_TEST(half_open_ones_end_at_the_deadline)
{
    start_plain();
    int silent = client_socket(seen.port), slow = client_socket(seen.port);
    static const uint8_t name[] = "\0\x12N\0\0\0\x0d\x07\xdf\x7f\xbd";
    uint64_t start = uv_hrtime();
    size_t sent = 0;
    struct client client;
    client_connect(&client, seen.port, "tester@localhost"); /* the others do not stop it */
    bool silent_closed = false, slow_closed = false;
    while (!(silent_closed && slow_closed) && uv_hrtime() - start < UINT64_C(4000000000)) {
        char byte;
        if (sent < sizeof(name) && uv_hrtime() - start > sent * 200000000)
            sent += send(slow, name + sent, 1, MSG_NOSIGNAL) == 1;
        silent_closed = silent_closed || recv(silent, &byte, 1, 0) == 0;
        slow_closed = slow_closed || recv(slow, &byte, 1, 0) == 0 || errno == ECONNRESET;
        turn_for(2);
    }
    ck_assert(silent_closed && slow_closed);
    ck_assert_uint_ge((uv_hrtime() - start) / 1000000, 500);
    ck_assert_uint_eq(metric_of(&seen, "handshake_timeouts"), 2);
    ck_assert_uint_eq(metric_of(&seen, "connections"), 1);
    close(silent);
    close(slow);
    client_close(&client);
}
END_TEST

START_TEST(more_than_allowed_are_refused)
{
    struct node_options options = plain_options("brain@localhost");
    options.max_connections = 3;
    options.max_pending_handshakes = 2;
    start_node(&seen, &options);
    int fds[3];
    char byte;
    for (int i = 0; i < 3; i++)
        fds[i] = client_socket(seen.port);
    turn_until(recv(fds[2], &byte, 1, 0) == 0, 400); /* before any deadline */
    ck_assert_uint_eq(metric_of(&seen, "connections_refused"), 1);
    ck_assert_uint_eq(metric_of(&seen, "handshakes_pending"), 2);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    turn_until(metric_of(&seen, "connections") == 0, 2000);
    struct client clients[3];
    for (int i = 0; i < 3; i++)
        client_connect(&clients[i], seen.port, "tester@localhost");
    int fd = client_socket(seen.port);
    turn_until(recv(fd, &byte, 1, 0) == 0, 2000);
    ck_assert_uint_eq(metric_of(&seen, "connections_refused"), 2);
    close(fd);
    for (int i = 0; i < 3; i++)
        client_close(&clients[i]);
}
END_TEST

START_TEST(no_descriptors_left)
{
    start_plain();
    int fds[20];
    for (int i = 0; i < 20; i++)
        fds[i] = client_socket(seen.port);
    struct rlimit before, now;
    getrlimit(RLIMIT_NOFILE, &before);
    now = before;
    now.rlim_cur = (rlim_t)fds[19] + 1; /* all below are taken, save what closes below */
    setrlimit(RLIMIT_NOFILE, &now);
    char byte;
    turn_until(metric_of(&seen, "connections_refused") >= 20, 2000);
    setrlimit(RLIMIT_NOFILE, &before);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(recv(fds[i], &byte, 1, 0), 0);
        close(fds[i]);
    }
    /* And on with it. */
    struct client client;
    client_connect(&client, seen.port, "tester@localhost");
    client_close(&client);
}
END_TEST

/* ---- ends ------------------------------------------------------------------------------------ */

START_TEST(closing_closes_every_link)
{
    size_t before = open_descriptors();
    start_plain();
    struct client clients[5];
    for (int i = 0; i < 5; i++)
        client_connect(&clients[i], seen.port, "tester@localhost");
    int half_open = client_socket(seen.port);
    turn_until(metric_of(&seen, "connections") == 6, 2000);
    node_stop_listening(seen.node);
    turn_for(20);
    ck_assert_uint_eq(metric_of(&seen, "connections"), 6); /* open ones go on */
    client_send(&clients[0], clients[0].name, an_atom);
    turn_until((client_read(&clients[0]), clients[0].in.size != 0), 2000);
    stop_node(&seen);
    for (int i = 0; i < 5; i++) {
        ck_assert(client_read(&clients[i]));
        client_close(&clients[i]);
    }
    char byte;
    ck_assert_int_eq(recv(half_open, &byte, 1, 0), 0);
    close(half_open);
    ck_assert_uint_le(open_descriptors(), before + 4); /* the loop's own */
}
END_TEST

START_TEST(closing_from_a_message_with_a_peer_that_does_not_read)
{
    start_plain();
    seen.answer_bytes = 20 << 20;
    seen.close_on_message = true;
    struct client client;
    client_connect(&client, seen.port, "tester@localhost");
    uint64_t start = uv_hrtime();
    client_send(&client, client.name, an_atom);
    turn_until(seen.closed, 3000);
    ck_assert_uint_ge((uv_hrtime() - start) / 1000000, 450); /* the grace time was given */
    client_close(&client);
}
END_TEST

START_TEST(closing_before_it_is_ready)
{
    struct node_options options = plain_options("brain@localhost");
    for (int turns = 0; turns < 4; turns++) {
        memset(&seen, 0, sizeof(seen));
        ck_assert_int_eq(open_node(&seen, &options), 0);
        for (int i = 0; i < turns; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        stop_node(&seen);
        ck_assert(!seen.failed);
    }
}
END_TEST

START_TEST(what_cannot_start_says_why)
{
    start_plain();
    struct seen_node second = {0};
    struct node_options options = plain_options("brain@localhost");
    options.listen_port = seen.port;
    ck_assert_int_eq(open_node(&second, &options), 0);
    turn_until(second.failed, 5000);
    ck_assert_ptr_nonnull(strstr(second.sentence, "cannot listen on 127.0.0.1"));
    ck_assert_ptr_nonnull(strstr(second.sentence, "address already in use"));
    stop_node(&second);
    options = plain_options("no host");
    ck_assert_int_eq(open_node(&second, &options), BRAIN_ECONFIG);
}
END_TEST

START_TEST(ten_thousand_come_and_go)
{
    start_plain();
    for (int i = 0; i < 100; i++) /* so that tables have grown */
        close(client_socket(seen.port));
    turn_until(metric_of(&seen, "connections_closed") == 100, 5000);
    size_t before = open_descriptors();
    for (int round = 0; round < 99; round++) {
        int fds[100];
        for (int i = 0; i < 100; i++) {
            fds[i] = client_socket(seen.port);
            if (i % 2 == 0)
                (void)!write(fds[i], "\0\x05\x01\x02", (size_t)(i % 5));
        }
        if (round % 3 == 0)
            turn_for(1);
        for (int i = 0; i < 100; i++)
            close(fds[i]);
        turn_until(metric_of(&seen, "connections_closed") == 100 * (uint64_t)(round + 2), 5000);
    }
    ck_assert_uint_eq(metric_of(&seen, "connections"), 0);
    ck_assert_uint_eq(metric_of(&seen, "handshakes_pending"), 0);
    ck_assert_uint_eq(open_descriptors(), before);
}
END_TEST

START_TEST(no_memory_closes_one_connection_or_refuses_to_open)
{
    for (unsigned n = 1;; n++) {
        memset(&seen, 0, sizeof(seen));
        seen.answer_bytes = 10;
        struct node_options options = plain_options("brain@localhost");
        heap_fault_start(n);
        int error = open_node(&seen, &options);
        bool answered = false;
        struct client client = {.fd = -1};
        if (error == 0) {
            uint64_t end = uv_hrtime() + UINT64_C(100000000);
            while (!seen.ready && !seen.failed && uv_hrtime() < end)
                turn_for(1);
            ck_assert(seen.ready);
            client_open(&client, seen.port, "tester@localhost", "secret");
            while (!client_is_up(&client) && !client.eof && uv_hrtime() < end)
                turn_for(1);
            if (client.progress == HANDSHAKE_DONE && !client.eof) {
                client_send(&client, client.name, an_atom);
                while (!client_read(&client) && client.in.size == 0 && uv_hrtime() < end)
                    turn_for(1);
                answered = client.in.size != 0;
            }
            client_close(&client);
            stop_node(&seen);
        }
        uv_run(&loop, UV_RUN_DEFAULT);
        if (!heap_fault_stop()) {
            ck_assert(answered);
            ck_assert_uint_gt(n, 10);
            break;
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dist/node");
    TCase *entry = tcase_create("getting in");
    tcase_add_checked_fixture(entry, set_up, tear_down);
    tcase_set_timeout(entry, 60);
    tcase_add_test(entry, a_client_is_answered);
    tcase_add_test(entry, what_was_sent_before_the_end_still_counts);
    tcase_add_test(entry, a_wrong_cookie_stays_outside);
    tcase_add_test(entry, a_refusal_is_heard);
    tcase_add_test(entry, garbage_is_closed_and_counted);
    tcase_add_test(entry, half_open_ones_end_at_the_deadline);
    tcase_add_test(entry, more_than_allowed_are_refused);
    tcase_add_test(entry, no_descriptors_left);
    suite_add_tcase(suite, entry);
    TCase *ends = tcase_create("ends");
    tcase_add_checked_fixture(ends, set_up, tear_down);
    tcase_set_timeout(ends, 120);
    tcase_add_test(ends, closing_closes_every_link);
    tcase_add_test(ends, closing_from_a_message_with_a_peer_that_does_not_read);
    tcase_add_test(ends, closing_before_it_is_ready);
    tcase_add_test(ends, what_cannot_start_says_why);
    tcase_add_test(ends, ten_thousand_come_and_go);
    tcase_add_test(ends, no_memory_closes_one_connection_or_refuses_to_open);
    suite_add_tcase(suite, ends);
    return suite_run(suite);
}
