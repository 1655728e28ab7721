/* The node over real sockets on loopback: who hears what, and when. */
#include <string.h>

#include "node_alone.h"
#include "node_client.h"
#include "suite.h"

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

int main(void)
{
    Suite *suite = suite_create("dist/node_answers");
    TCase *answers = tcase_create("answers");
    tcase_add_checked_fixture(answers, set_up, tear_down);
    tcase_set_timeout(answers, 60);
    tcase_add_test(answers, answers_take_the_way_they_were_asked_on);
    tcase_add_test(answers, large_answers_pass_a_full_socket);
    tcase_add_test(answers, a_large_term_is_checked_over_many_turns);
    tcase_add_test(answers, many_requests_in_a_go_are_all_answered);
    tcase_add_test(answers, a_crowd_is_answered_as_ever);
    suite_add_tcase(suite, answers);
    return suite_run(suite);
}
