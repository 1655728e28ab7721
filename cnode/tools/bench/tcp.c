#include "tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "brain/base.h"
#include "loop.h"
#include "protocol.h"
#include "server_watch.h"

enum { BUFFER_BYTES = 262144 };

struct end {
    int fd;
    pid_t child;
};

struct tcp {
    const struct options *options;
    uint8_t *buffer;
    struct end *ends;
    uint32_t count;
    char *sentence;
};

static int fail(struct tcp *tcp, const char *what)
{
    snprintf(tcp->sentence, SENTENCE_LIMIT, "loopback: %s: %s", what, strerror(errno));
    return -1;
}

/* Reads or writes one buffer. Returns what was moved, 0 at the end, -1 with errno. */
static ssize_t move(int fd, uint8_t *buffer, bool sends)
{
    return sends ? send(fd, buffer, BUFFER_BYTES, MSG_NOSIGNAL) : recv(fd, buffer, BUFFER_BYTES, 0);
}

/* The other end: moves until the connection is closed. */
static void child_run(struct tcp *tcp, int fd) __attribute__((noreturn));
static void child_run(struct tcp *tcp, int fd)
{
    if (tcp->options->server_cpu >= 0) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET((size_t)tcp->options->server_cpu, &cpus);
        sched_setaffinity(0, sizeof(cpus), &cpus);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    ssize_t moved = 1;
    while (moved > 0 || (moved < 0 && errno == EINTR))
        moved = move(fd, tcp->buffer, tcp->options->work == WORK_GET);
    _exit(0);
}

/* Two sockets connected with each other over TCP. */
static int make_pair(int pair[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pair[1] = -1;
    if (listener >= 0 && pair[0] >= 0 &&
        bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        listen(listener, 1) == 0 &&
        getsockname(listener, (struct sockaddr *)&address, &size) == 0 &&
        connect(pair[0], (struct sockaddr *)&address, size) == 0)
        pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    int error = errno;
    if (listener >= 0)
        close(listener);
    if (pair[1] < 0 && pair[0] >= 0)
        close(pair[0]);
    if (pair[1] >= 0)
        setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    errno = error;
    return pair[1] < 0 ? -1 : 0;
}

static int open_end(struct tcp *tcp)
{
    int pair[2];
    if (make_pair(pair) != 0)
        return fail(tcp, "no connection");
    pid_t child = fork();
    if (child == 0) {
        close(pair[0]);
        for (uint32_t i = 0; i < tcp->count; i++)
            close(tcp->ends[i].fd);
        child_run(tcp, pair[1]);
    }
    close(pair[1]);
    if (child < 0) {
        close(pair[0]);
        return fail(tcp, "fork");
    }
    tcp->ends[tcp->count++] = (struct end){pair[0], child};
    return 0;
}

static double children_cpu_us(const struct tcp *tcp)
{
    double sum = 0;
    for (uint32_t i = 0; i < tcp->count; i++) {
        struct server_watch watch;
        if (server_watch_read(&watch, tcp->ends[i].child))
            sum += watch.cpu_us;
    }
    return sum;
}

/* Moves bytes until `until_ns`. Returns their number, or -1. */
static double move_until(struct tcp *tcp, struct pollfd *polls, uint64_t until_ns)
{
    bool sends = tcp->options->work == WORK_SET;
    double bytes = 0;
    while (loop_now_ns() < until_ns) {
        int ready = poll(polls, tcp->count, 100);
        if (ready < 0 && errno != EINTR)
            return fail(tcp, "poll");
        for (uint32_t i = 0; i < tcp->count; i++) {
            if (ready <= 0 || polls[i].revents == 0)
                continue;
            ssize_t moved = move(polls[i].fd, tcp->buffer, sends);
            if (moved == 0 || (moved < 0 && errno != EAGAIN && errno != EINTR))
                return fail(tcp, "the other end is gone");
            bytes += moved > 0 ? (double)moved : 0;
        }
    }
    return bytes;
}

static int measure(struct tcp *tcp, struct result *result, struct pollfd *polls)
{
    const struct options *options = tcp->options;
    for (uint32_t i = 0; i < options->connections; i++) {
        if (open_end(tcp) != 0)
            return -1;
        polls[i] = (struct pollfd){
            .fd = tcp->ends[i].fd, .events = options->work == WORK_SET ? POLLOUT : POLLIN};
    }
    if (move_until(tcp, polls, loop_now_ns() + (uint64_t)(options->warmup * 1e9)) < 0)
        return -1;
    double server_us = children_cpu_us(tcp), client_us = own_cpu_us();
    uint64_t begin_ns = loop_now_ns();
    double bytes = move_until(tcp, polls, begin_ns + (uint64_t)(options->seconds * 1e9));
    if (bytes < 0)
        return -1;
    result->seconds = (double)(loop_now_ns() - begin_ns) / 1e9;
    result->client_cpu_us = own_cpu_us() - client_us;
    result->server_cpu_us = children_cpu_us(tcp) - server_us;
    result->has_server = true;
    result->value_bytes = (uint64_t)bytes;
    result->operations = (uint64_t)bytes / options->size;
    return 0;
}

int tcp_run(const struct options *options, struct result *result, char sentence[SENTENCE_LIMIT])
{
    struct tcp tcp = {.options = options, .sentence = sentence};
    tcp.buffer = heap_allocate_zeroed(BUFFER_BYTES);
    tcp.ends = heap_allocate_zeroed(options->connections * sizeof(*tcp.ends));
    struct pollfd *polls = heap_allocate_zeroed(options->connections * sizeof(*polls));
    int status = -1;
    if (tcp.buffer == NULL || tcp.ends == NULL || polls == NULL)
        snprintf(sentence, SENTENCE_LIMIT, "out of memory");
    else
        status = measure(&tcp, result, polls);
    for (uint32_t i = 0; i < tcp.count; i++) {
        close(tcp.ends[i].fd);
        kill(tcp.ends[i].child, SIGKILL);
        waitpid(tcp.ends[i].child, NULL, 0);
    }
    heap_release(tcp.buffer);
    heap_release(tcp.ends);
    heap_release(polls);
    return status;
}

const struct protocol protocol_tcp = {.name = "tcp"};
