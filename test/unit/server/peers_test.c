/* Members that talk over real links on loopback, all in this process: how links come up, which one
 * is spoken on, in which order things arrive, and what happens when a link or a peer is not as it
 * should be. */
#include <signal.h>
#include <stdio.h>

#include <linux/filter.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "heap_fault.h"
#include "node_client.h"
#include "peers.h"
#include "suite.h"

enum { MEMBERS = 3, HEARD_LIMIT = 20000 };

struct heard {
    uint64_t order, number;
    size_t size;
};

struct member {
    struct seen_node seen; /* first: the context of the node's events */
    struct node_options options;
    char name[32];
    struct peers *peers;
    uint64_t protocol; /* that it says and understands */
    unsigned downs, ups;
    unsigned sending; /* inside of peers_send */
    struct heard *heard;
    size_t heard_count;
    char heard_of[32]; /* who said the last one */
    bool saw_block, answers;
};

static struct member members[MEMBERS];
static const char *const other_names[] = {PEERS_NAME};

/* ---- a member ---------------------------------------------------------------------------------
 */

static void on_up(void *context, connection_id id, struct channel *channel)
{
    struct member *member = context;
    member->ups++;
    if (member->peers != NULL)
        peers_on_up(member->peers, id, channel);
}

static void on_down(void *context, connection_id id, struct slice peer)
{
    struct member *member = context;
    ck_assert_ptr_null(node_channel(member->seen.node, id));
    if (member->peers != NULL)
        peers_on_down(member->peers, id, peer);
}

static void on_named(void *context, connection_id from, struct channel *channel, size_t which,
    const struct channel_message *message)
{
    struct member *member = context;
    ck_assert_uint_eq(which, 0);
    if (member->peers != NULL)
        peers_on_message(member->peers, from, channel, message);
}

static void write_hello(void *context, struct buffer *out)
{
    const struct member *member = context;
    etf_write_tuple(out, 2);
    etf_write_atom(out, "hello");
    etf_write_uint64(out, member->protocol);
}

static const struct etf_limits limits = {16, 1000};

static int read_hello(void *context, struct slice payload, const char **why)
{
    const struct member *member = context;
    struct etf_reader reader;
    uint32_t arity;
    uint64_t protocol;
    etf_reader_init(&reader, payload, limits);
    *why = "not {hello, Protocol}";
    if (etf_read_tuple(&reader, &arity) != 0 || arity != 2 || !etf_take_atom(&reader, "hello") ||
        etf_read_uint64(&reader, &protocol) != 0)
        return BRAIN_EPROTO;
    *why = "another protocol";
    return protocol == member->protocol ? 0 : BRAIN_EPROTO;
}

static void say(
    struct member *from, const struct member *to, uint64_t order, uint64_t number, size_t size);

/* {Order, Number, Binary}, each byte of the binary the number's lowest. */
static int heard(
    void *context, struct slice from, const struct value *message, const struct etf_marks *marks)
{
    struct member *member = context;
    struct etf_reader reader;
    uint32_t arity;
    struct slice bytes;
    struct heard *one = &member->heard[member->heard_count];
    ck_assert_uint_eq(member->sending, 0);
    etf_reader_init(&reader, value_slice(*message), limits);
    reader.marks = marks;
    if (etf_read_tuple(&reader, &arity) != 0 || arity != 3 ||
        etf_read_uint64(&reader, &one->order) != 0 || etf_read_uint64(&reader, &one->number) != 0 ||
        etf_read_binary(&reader, &bytes) != 0 || !etf_at_end(&reader))
        return BRAIN_EPROTO;
    for (size_t i = 0; i < bytes.size; i += 997)
        ck_assert_uint_eq(bytes.data[i], one->number & 0xff);
    one->size = bytes.size;
    member->saw_block = member->saw_block || message->block != NULL;
    ck_assert_uint_lt(++member->heard_count, HEARD_LIMIT);
    snprintf(member->heard_of, sizeof(member->heard_of), "%.*s", (int)from.size,
        (const char *)from.data);
    if (member->answers)
        for (int i = 0; i < MEMBERS; i++)
            if (slice_equal_string(from, members[i].name))
                say(member, &members[i], one->order, one->number, 1);
    return 0;
}

static void down(void *context, struct slice name)
{
    struct member *member = context;
    ck_assert_uint_eq(member->sending, 0);
    ck_assert_uint_ne(name.size, 0);
    member->downs++;
}

static void prepare(struct member *member, char letter)
{
    memset(member, 0, sizeof(*member));
    snprintf(member->name, sizeof(member->name), "%c@localhost", letter);
    member->options = plain_options(member->name);
    member->options.other_names = other_names;
    member->options.other_names_count = 1;
    member->options.channel.receive.sequences = 4096;
    member->seen.answer_bytes = 10;
    member->seen.on_up = on_up;
    member->seen.on_down = on_down;
    member->seen.on_named = on_named;
    member->protocol = 1;
    member->heard = calloc(HEARD_LIMIT, sizeof(*member->heard));
}

static void open_peers(struct member *member)
{
    member->peers = peers_create(member->seen.node, &loop,
        (struct peers_events){
            .context = member,
            .write_hello = write_hello,
            .read_hello = read_hello,
            .message = heard,
            .down = down,
        });
}

/* The node listens on the same port again when it is started again. */
static void start(struct member *member)
{
    member->seen.ready = member->seen.closed = false;
    member->options.listen_port = member->seen.port;
    start_node(&member->seen, &member->options);
    open_peers(member);
    ck_assert_ptr_nonnull(member->peers);
}

static void stop(struct member *member)
{
    peers_destroy(member->peers);
    member->peers = NULL;
    stop_node(&member->seen);
}

static void set_up(void)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    for (int i = 0; i < MEMBERS; i++)
        prepare(&members[i], (char)('a' + i));
}

static void tear_down(void)
{
    for (int i = 0; i < MEMBERS; i++) {
        if (members[i].seen.node != NULL)
            stop(&members[i]);
        free(members[i].heard);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* busy: a handle was left open */
}

/* ---- talking ----------------------------------------------------------------------------------
 */

static void send_term(struct member *from, const struct member *to, uint64_t order,
    struct buffer *head, const struct value *tail)
{
    from->sending++;
    if (buffer_status(head) == 0)
        peers_send(from->peers, slice_of_string(to->name),
            (struct peers_place){"127.0.0.1", to->seen.port}, order, buffer_slice(head), tail);
    from->sending--;
    buffer_release(head);
}

static void say(
    struct member *from, const struct member *to, uint64_t order, uint64_t number, size_t size)
{
    struct buffer head;
    buffer_init(&head);
    etf_write_tuple(&head, 3);
    etf_write_uint64(&head, order);
    etf_write_uint64(&head, number);
    struct value tail = {block_create(size + 5), NULL, size + 5};
    if (tail.block == NULL) {
        buffer_release(&head);
        return;
    }
    tail.data = tail.block->bytes;
    tail.block->bytes[0] = ETF_BINARY;
    store_be32(tail.block->bytes + 1, (uint32_t)size);
    memset(tail.block->bytes + 5, (int)(number & 0xff), size);
    send_term(from, to, order, &head, &tail);
    value_drop(&tail);
}

static uint64_t peers_metric(const struct member *member, const char *name)
{
    struct metrics_registry *registry = calloc(1, sizeof(*registry));
    peers_metrics_register(registry, member->peers);
    uint64_t value = UINT64_MAX;
    for (size_t i = 0; i < registry->count; i++)
        if (strcmp(registry->metrics[i].name, name) == 0)
            value = *registry->metrics[i].value;
    free(registry);
    ck_assert_msg(value != UINT64_MAX, "no metric %s", name);
    return value;
}

/* Each lane's numbers grow. */
static void check_order(const struct member *member)
{
    uint64_t last[16] = {0};
    for (size_t i = 0; i < member->heard_count; i++) {
        const struct heard *one = &member->heard[i];
        ck_assert_uint_lt(one->order, 16);
        if (one->order != 0)
            ck_assert_uint_gt(one->number, last[one->order]);
        last[one->order] = one->number;
    }
}

static struct member *const a = &members[0], *const b = &members[1];

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

/* ---- what is not as it should be --------------------------------------------------------------
 */

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

static const struct slice an_atom = {(const uint8_t *)"w\x02hi", 4};

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
    Suite *suite = suite_create("server/peers");
    TCase *links = tcase_create("links");
    tcase_add_checked_fixture(links, set_up, tear_down);
    tcase_set_timeout(links, 120);
    tcase_add_test(links, the_first_word_makes_the_link);
    tcase_add_test(links, three_members_all_dial_at_once);
    tcase_add_test(links, values_of_many_sizes_in_lanes);
    tcase_add_test(links, a_large_value_may_be_the_first_word);
    suite_add_tcase(suite, links);
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
