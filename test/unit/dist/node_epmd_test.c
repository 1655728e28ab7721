/* Two nodes and a real epmd of their own on a free port: registration, dialling, and epmd or the
 * other node going away and coming back. */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>

#include <sys/wait.h>

#include "brain/epmd.h"
#include "node_fixture.h"
#include "suite.h"

static uint16_t epmd_port;
static pid_t epmd_pid;
static struct seen_node left, right;

static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void start_epmd(void)
{
    char port[8];
    snprintf(port, sizeof(port), "%u", epmd_port);
    char *const arguments[] = {"epmd", "-address", "127.0.0.1", "-port", port, NULL};
    extern char **environ;
    ck_assert_int_eq(posix_spawnp(&epmd_pid, "epmd", NULL, NULL, arguments, environ), 0);
}

static void stop_epmd(void)
{
    if (epmd_pid == 0)
        return;
    kill(epmd_pid, SIGKILL);
    ck_assert_int_eq(waitpid(epmd_pid, NULL, 0), epmd_pid);
    epmd_pid = 0;
}

static void set_up(void)
{
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    memset(&left, 0, sizeof(left));
    memset(&right, 0, sizeof(right));
    epmd_port = free_port();
    start_epmd();
}

static void tear_down(void)
{
    if (left.node != NULL)
        stop_node(&left);
    if (right.node != NULL)
        stop_node(&right);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    stop_epmd();
}

static struct node_options options_of(const char *name)
{
    struct node_options options = plain_options(name);
    options.epmd_enable = true;
    options.epmd_port = epmd_port;
    return options;
}

struct asked {
    bool answered;
    int status;
    uint16_t port;
};

static void on_port(void *context, int status, uint16_t port)
{
    *(struct asked *)context = (struct asked){true, status, port};
}

/* What epmd says of a name; BRAIN_EIO when there is no epmd. */
static struct asked ask(const char *alive)
{
    struct asked asked = {0};
    epmd_lookup_start(&loop, "127.0.0.1", epmd_port, alive, 1000, on_port, &asked);
    turn_until(asked.answered, 3000);
    return asked;
}

START_TEST(registers_and_survives_a_restart_of_epmd)
{
    struct node_options options = options_of("brain@localhost");
    start_node(&left, &options);
    uint32_t creation = node_identity(left.node)->creation;
    ck_assert_uint_ge(creation, 4);
    struct asked asked = ask("brain");
    ck_assert_int_eq(asked.status, 0);
    ck_assert_uint_eq(asked.port, left.port);

    stop_epmd();
    turn_for(100);
    ck_assert_int_eq(ask("brain").status, BRAIN_EIO);
    start_epmd();
    uint64_t start = uv_hrtime();
    turn_until(ask("brain").status == 0, 4000);
    ck_assert_uint_le((uv_hrtime() - start) / 1000000, 2500);
    ck_assert_uint_eq(ask("brain").port, left.port);
    ck_assert_uint_eq(node_identity(left.node)->creation, creation);

    node_stop_listening(left.node);
    turn_until(ask("brain").status == BRAIN_ENOENT, 2000);
}
END_TEST

START_TEST(a_name_in_use_is_said_plainly)
{
    struct node_options options = options_of("brain@localhost");
    start_node(&left, &options);
    ck_assert_int_eq(open_node(&right, &options), 0);
    turn_until(right.failed, 5000);
    ck_assert_str_eq(
        right.sentence, "a node named brain is already registered with epmd on this host");
    ck_assert(!right.ready);
    /* When the first is gone the name is free at once. */
    stop_node(&right);
    stop_node(&left);
    memset(&right, 0, sizeof(right));
    start_node(&right, &options);
}
END_TEST

START_TEST(waits_for_an_epmd)
{
    stop_epmd();
    struct node_options options = options_of("brain@localhost");
    ck_assert_int_eq(open_node(&left, &options), 0);
    turn_for(1200);
    ck_assert(!left.ready && !left.failed);
    start_epmd();
    turn_until(left.ready, 4000);
}
END_TEST

START_TEST(dials_and_dials_again)
{
    static char *const peers[] = {"nobody@localhost", "left@localhost", "right@localhost"};
    struct node_options options = options_of("left@localhost");
    options.connect_nodes = peers; /* one list for all: each leaves itself out */
    options.connect_nodes_count = 3;
    start_node(&left, &options);
    turn_for(200);
    ck_assert_uint_eq(metric_of(&left, "connections"), 0);

    struct node_options other = options_of("right@localhost");
    start_node(&right, &other);
    turn_until(metric_of(&left, "handshakes_done") == 1, 8000);
    ck_assert_uint_eq(metric_of(&left, "connections_dialled"), 1);
    turn_until(metric_of(&right, "handshakes_done") == 1, 1000);
    struct buffer pid;
    buffer_init(&pid);
    etf_write_pid(&pid, slice_of_string("right@localhost"), 1, 1, 4);
    ck_assert_ptr_nonnull(node_route(left.node, 0, buffer_slice(&pid)));
    turn_for(4500); /* linked: no second link, from neither side */
    ck_assert_uint_eq(metric_of(&left, "connections"), 1);

    stop_node(&right);
    turn_until(metric_of(&left, "connections") == 0, 2000);
    ck_assert_ptr_null(node_route(left.node, 0, buffer_slice(&pid)));
    buffer_release(&pid);
    memset(&right, 0, sizeof(right));
    start_node(&right, &other);
    turn_until(metric_of(&left, "handshakes_done") == 2, 6000);
}
END_TEST

static connection_id linked, unlinked;

static void note_up(void *context, connection_id id, struct channel *channel)
{
    struct seen_node *seen = context;
    ck_assert_ptr_eq(node_channel(seen->node, id), channel);
    ck_assert(slice_equal_string(channel_peer(channel), "right@localhost"));
    linked = id;
}

static void note_down(void *context, connection_id id, struct slice peer)
{
    struct seen_node *seen = context;
    ck_assert_ptr_null(node_channel(seen->node, id));
    ck_assert(slice_equal_string(peer, "right@localhost"));
    unlinked = id;
}

/* Dialled when it is asked for, and only then. */
START_TEST(links_are_made_when_asked_for)
{
    const struct slice name = slice_of_string("right@localhost");
    struct node_options options = options_of("left@localhost");
    linked = unlinked = 0;
    left.on_up = note_up;
    left.on_down = note_down;
    start_node(&left, &options);
    const uint64_t begin = uv_hrtime();
    while (metric_of(&left, "dials_failed") < 2) { /* epmd does not know it */
        ck_assert_uint_eq(node_link(left.node, name, NULL, 0), 0);
        turn_for(20);
    }
    ck_assert_uint_ge((uv_hrtime() - begin) / 1000000, 990);

    struct node_options other = options_of("right@localhost");
    start_node(&right, &other);
    turn_for(1500);
    ck_assert_uint_eq(metric_of(&left, "connections"), 0); /* nobody asked */
    ck_assert_uint_eq(node_link(left.node, name, NULL, 0), 0);
    ck_assert_uint_eq(node_link(left.node, name, NULL, 0), 0);
    turn_until(linked != 0, 3000);
    ck_assert_uint_eq(node_link(left.node, name, NULL, 0), linked);
    ck_assert_uint_eq(metric_of(&left, "connections_dialled"), 1);

    node_disconnect(left.node, linked, "the test says so");
    turn_until(unlinked == linked, 1000);
    linked = 0;
    ck_assert_uint_eq(node_link(left.node, name, "127.0.0.1", 0), 0); /* at once */
    turn_until(linked != 0, 3000);
    ck_assert_uint_ne(linked, unlinked);
    stop_node(&right);
    turn_until(unlinked == linked, 3000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dist/node with epmd");
    TCase *tcase = tcase_create("epmd");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, registers_and_survives_a_restart_of_epmd);
    tcase_add_test(tcase, a_name_in_use_is_said_plainly);
    tcase_add_test(tcase, waits_for_an_epmd);
    tcase_add_test(tcase, dials_and_dials_again);
    tcase_add_test(tcase, links_are_made_when_asked_for);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
