/* The node over real sockets on loopback: who gets in, who is refused, who hears what, and that
 * nothing is left behind. */
#include <dirent.h>
#include <stdio.h>

#include <sys/resource.h>

#include "heap_fault.h"
#include "node_client.h"
#include "suite.h"

static struct seen_node seen;

static void set_up(void)
{
    memset(&seen, 0, sizeof(seen));
    seen.answer_bytes = 10;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
}

static void tear_down(void)
{
    if (seen.node != NULL)
        stop_node(&seen);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* busy: a handle was left open */
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static void start_plain(void)
{
    struct node_options options = plain_options("brain@localhost");
    start_node(&seen, &options);
}

static const struct slice an_atom = {(const uint8_t *)"w\x02hi", 4};

/* ---- getting in -------------------------------------------------------------------------------
 */

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

/* ---- answers ----------------------------------------------------------------------------------
 */

static struct channel *route_to(connection_id asked_on, const char *name)
{
    struct buffer pid;
    buffer_init(&pid);
    etf_write_pid(&pid, slice_of_string(name), 9, 0, 77);
    struct channel *channel = node_route(seen.node, asked_on, buffer_slice(&pid));
    buffer_release(&pid);
    return channel;
}

START_TEST(answers_take_the_way_they_were_asked_on)
{
    start_plain();
    struct client twins[2], other;
    connection_id ids[2], other_id;
    for (int i = 0; i < 2; i++) { /* as PHP workers: two live links of one node name */
        client_connect(&twins[i], seen.port, "peb_client_1_0@localhost");
        client_send(&twins[i], twins[i].name, an_atom);
        turn_until((client_read(&twins[i]), twins[i].in.size > 0), 2000);
        ids[i] = seen.from;
    }
    client_connect(&other, seen.port, "other@localhost");
    client_send(&other, twins[0].name, an_atom); /* asks for an answer to another node */
    turn_until(seen.messages == 3, 2000);
    other_id = seen.from;
    ck_assert(ids[0] != ids[1] && ids[1] != other_id && ids[0] != 0);
    for (int i = 0; i < 2; i++)
        ck_assert_ptr_eq(route_to(ids[i], twins[i].name), node_channel(seen.node, ids[i]));
    ck_assert_ptr_eq(route_to(ids[0], other.name), node_channel(seen.node, other_id));
    ck_assert_ptr_nonnull(route_to(other_id, twins[0].name));
    ck_assert_uint_eq(metric_of(&seen, "answers_undeliverable"), 0);
    ck_assert_ptr_null(route_to(other_id, "nobody@localhost"));
    ck_assert_ptr_null(node_route(seen.node, other_id, an_atom));
    ck_assert_uint_eq(metric_of(&seen, "answers_undeliverable"), 2);

    /* One twin goes: the other takes its answers; a new connection does not take its id. */
    client_close(&twins[1]);
    turn_until(metric_of(&seen, "connections") == 2, 2000);
    ck_assert_ptr_null(node_channel(seen.node, ids[1]));
    ck_assert_ptr_eq(route_to(ids[1], twins[0].name), node_channel(seen.node, ids[0]));
    client_connect(&twins[1], seen.port, "third@localhost");
    ck_assert_ptr_null(node_channel(seen.node, ids[1]));
    client_close(&twins[0]);
    client_close(&twins[1]);
    client_close(&other);
}
END_TEST

START_TEST(large_answers_pass_a_full_socket)
{
    start_plain();
    seen.answer_bytes = 20 << 20;
    struct client client;
    client_connect(&client, seen.port, "tester@localhost");
    client_send(&client, client.name, an_atom);
    turn_until(seen.messages == 1, 2000);
    turn_for(50); /* nobody reads: it must wait, not spin or grow */
    ck_assert_uint_lt(metric_of(&seen, "bytes_sent"), 20 << 20);
    turn_until((client_read(&client), client.in.size > (20 << 20)), 10000);
    ck_assert_uint_eq(load_be32(client.in.data), client.in.size - 4);
    for (size_t i = 0; i < (20 << 20); i += 4096)
        ck_assert_uint_eq(client.in.data[client.in.size - 1 - i], 'v');
    client_close(&client);
}
END_TEST

/* Four requests of a crowd of 32 processes. */
static void ask_in_turn(struct client *client, unsigned *sent)
{
    enum { TOGETHER = 4, CROWD = 32, NUMBER_LAST = 9 };
    static const uint8_t begin[] = {0, 0, 0, 0, 'p', 131, 104, 4, 97, 6};
    static const uint8_t to[] = {119, 0, 119, 5, 'b', 'r', 'a', 'i', 'n', 131};
    struct buffer frames;
    buffer_init(&frames);
    for (int i = 0; i < TOGETHER; i++) {
        const size_t at = frames.size;
        buffer_append(&frames, begin, sizeof(begin));
        etf_write_pid(&frames, slice_of_string(client->name), 100 + ++*sent % CROWD, 0, 77);
        buffer_append(&frames, to, sizeof(to));
        buffer_append_slice(&frames, an_atom);
        store_be32(frames.data + at, (uint32_t)(frames.size - at - 4));
    }
    write_all(client->fd, buffer_slice(&frames));
    buffer_release(&frames);
    client_read(client);
}

static unsigned answers(struct client *client)
{
    client_read(client);
    return client->in.size < 4 ? 0 : (unsigned)(client->in.size / (load_be32(client->in.data) + 4));
}

/* More than is read at once, of small messages and of larger ones. */
START_TEST(many_requests_in_a_go_are_all_answered)
{
    enum { SMALL = 3000, MEDIUM = 100, MEDIUM_BYTES = 5000 };
    start_plain();
    struct client client;
    client_connect(&client, seen.port, "tester@localhost");
    struct buffer payload;
    buffer_init(&payload);
    buffer_append_u8(&payload, ETF_BINARY);
    buffer_append_be32(&payload, MEDIUM_BYTES);
    memset(buffer_reserve(&payload, MEDIUM_BYTES), 'v', MEDIUM_BYTES);
    payload.size += MEDIUM_BYTES;
    for (int round = 0; round < 3; round++) {
        struct buffer frames;
        buffer_init(&frames);
        for (int i = 0; i < SMALL; i++)
            client_frame(&frames, client.name, an_atom);
        for (int i = 0; i < MEDIUM; i++)
            client_frame(&frames, client.name, buffer_slice(&payload));
        write_all(client.fd, buffer_slice(&frames));
        buffer_release(&frames);
        turn_until(answers(&client) == SMALL + MEDIUM, 5000);
        ck_assert_uint_eq(client.in.size % (SMALL + MEDIUM), 0);
        ck_assert_uint_eq(seen.messages, (unsigned)(round + 1) * (SMALL + MEDIUM));
        buffer_clear(&client.in);
    }
    buffer_release(&payload);
    client_close(&client);
}
END_TEST

/* Asks until the connection is read by the clock. */
static void make_crowd(struct client *client, unsigned *sent)
{
    const uint64_t before = metric_of(&seen, "crowds"), end = uv_hrtime() + UINT64_C(20000000000);
    do {
        for (int i = 0; i < 20; i++)
            ask_in_turn(client, sent);
    } while (metric_of(&seen, "crowds") == before && uv_hrtime() < end);
    ck_assert_uint_gt(metric_of(&seen, "crowds"), before);
}

START_TEST(a_crowd_is_answered_as_ever)
{
    start_plain();
    struct client client, other;
    client_connect(&client, seen.port, "tester@localhost");
    client_connect(&other, seen.port, "other@localhost");
    unsigned sent = 0, others = 0;
    for (int round = 0; round < 3; round++) {
        make_crowd(&client, &sent);
        make_crowd(&other, &others);
        turn_until(answers(&client) == sent && answers(&other) == others, 5000);
        turn_for(5); /* nothing comes: the crowd is gone */
        client_send(&client, client.name, an_atom);
        buffer_clear(&client.in);
        turn_until(answers(&client) == 1, 2000);
        sent = 0;
        buffer_clear(&client.in);
    }
    /* One ends while it is read by the clock, the other when the node does. */
    make_crowd(&client, &sent);
    client_close(&client);
    turn_until(metric_of(&seen, "connections") == 1, 2000);
    make_crowd(&other, &others);
    stop_node(&seen);
    turn_until((client_read(&other), other.eof), 2000);
    client_close(&other);
}
END_TEST

/* A list of 300,000 elements against a budget of 1,000 a turn: others are served in between. */
START_TEST(a_large_term_is_checked_over_many_turns)
{
    start_plain();
    struct buffer list;
    buffer_init(&list);
    buffer_append_u8(&list, ETF_LIST);
    buffer_append_be32(&list, 300000);
    for (int i = 0; i < 300000; i++)
        buffer_append(&list, "a\x07", 2);
    buffer_append_u8(&list, ETF_NIL);
    struct client busy, quick;
    client_connect(&busy, seen.port, "busy@localhost");
    client_connect(&quick, seen.port, "quick@localhost");
    client_send(&busy, busy.name, buffer_slice(&list));
    buffer_release(&list);
    client_send(&quick, quick.name, an_atom);
    turn_until((client_read(&quick), quick.in.size != 0), 5000);
    turn_until((client_read(&busy), busy.in.size != 0), 20000);
    ck_assert_uint_eq(seen.messages, 2);
    client_close(&busy);
    client_close(&quick);
}
END_TEST

/* ---- ends -------------------------------------------------------------------------------------
 */

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
    TCase *answers = tcase_create("answers");
    tcase_add_checked_fixture(answers, set_up, tear_down);
    tcase_set_timeout(answers, 60);
    tcase_add_test(answers, answers_take_the_way_they_were_asked_on);
    tcase_add_test(answers, large_answers_pass_a_full_socket);
    tcase_add_test(answers, a_large_term_is_checked_over_many_turns);
    tcase_add_test(answers, many_requests_in_a_go_are_all_answered);
    tcase_add_test(answers, a_crowd_is_answered_as_ever);
    suite_add_tcase(suite, answers);
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
