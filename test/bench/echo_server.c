/* echo_server: sends every byte back as soon as it has it. One thread, epoll, one read and one
 * write per wake-up and connection: what a server costs that does nothing, so the kernel's floor
 * under all the others.
 *
 *     echo_server PORT
 *
 * Listens on 127.0.0.1; prints "ready" when it does. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 256 * 1024, EVENTS = 256 };

/* What was read and not yet written: [sent, held) of bytes. */
struct connection {
    int socket;
    uint32_t awaited; /* events of epoll */
    size_t sent, held;
    char bytes[BUFFER_BYTES];
};

static int die(const char *what)
{
    perror(what);
    return EXIT_FAILURE;
}

static int listen_on(uint16_t port)
{
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, SOMAXCONN) != 0)
        return -1;
    return listener;
}

static void accept_all(int poller, int listener)
{
    for (;;) {
        int one = 1;
        int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted < 0)
            return;
        (void)setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        struct connection *connection = malloc(sizeof(*connection));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (connection == NULL || epoll_ctl(poller, EPOLL_CTL_ADD, accepted, &event) != 0) {
            free(connection);
            close(accepted);
            continue;
        }
        connection->socket = accepted;
        connection->awaited = EPOLLIN;
        connection->sent = connection->held = 0;
    }
}

/* Waits for `wanted` from now on. */
static int await(int poller, struct connection *connection, uint32_t wanted)
{
    struct epoll_event event = {.events = wanted, .data.ptr = connection};
    if (connection->awaited == wanted)
        return 0;
    connection->awaited = wanted;
    return epoll_ctl(poller, EPOLL_CTL_MOD, connection->socket, &event);
}

/* Nothing is read while something waits to be written, so the buffer bounds the memory. Returns 0
 * while the connection lives. */
static int echo(int poller, struct connection *connection)
{
    if (connection->held == 0) {
        ssize_t got = read(connection->socket, connection->bytes, BUFFER_BYTES);
        if (got <= 0)
            return got < 0 && errno == EAGAIN ? 0 : -1;
        connection->held = (size_t)got;
    }
    ssize_t put = write(connection->socket, connection->bytes + connection->sent,
        connection->held - connection->sent);
    if (put < 0 && errno != EAGAIN)
        return -1;
    connection->sent += put > 0 ? (size_t)put : 0;
    if (connection->sent < connection->held)
        return await(poller, connection, EPOLLOUT);
    connection->sent = connection->held = 0;
    return await(poller, connection, EPOLLIN);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: echo_server PORT\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_on((uint16_t)strtoul(argv[1], NULL, 10));
    if (listener < 0)
        return die("echo_server: listen");
    int poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) != 0)
        return die("echo_server: epoll");
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poller, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            return die("echo_server: epoll_wait");
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL) {
                accept_all(poller, listener);
            } else if (echo(poller, connection) != 0) {
                close(connection->socket);
                free(connection);
            }
        }
    }
}
