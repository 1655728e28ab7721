#include "tcp_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "brain/base.h"

/* A buffer that holds a whole value was measured to cost half the CPU of one of 64 KiB: 28 against
 * 57 us for 300 kB. */
enum { RECEIVE_BYTES = 131072 };

struct connection {
    int fd;
    const struct options *options;
    const uint8_t *value;
    size_t receive_bytes;
};

static bool send_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return false;
        if (sent > 0) {
            bytes += sent;
            size -= (size_t)sent;
        }
    }
    return true;
}

static void serve(const struct connection *connection, uint8_t *buffer)
{
    bool is_get = connection->options->work == WORK_GET;
    size_t size = (size_t)connection->options->size, part = 0;
    for (;;) {
        ssize_t got = recv(connection->fd, buffer, connection->receive_bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        if (is_get) {
            for (ssize_t i = 0; i < got; i++) {
                if (!send_all(connection->fd, connection->value, size))
                    return;
            }
        } else {
            part += (size_t)got;
            if (part / size > 0 && !send_all(connection->fd, buffer, part / size))
                return;
            part %= size;
        }
    }
}

static void *connection_thread(void *argument)
{
    struct connection *connection = argument;
    uint8_t *buffer = heap_allocate_zeroed(connection->receive_bytes);
    if (buffer != NULL)
        serve(connection, buffer);
    heap_release(buffer);
    close(connection->fd);
    heap_release(connection);
    return NULL;
}

static void server_run(const struct options *options, int listener) __attribute__((noreturn));
static void server_run(const struct options *options, int listener)
{
    struct values values;
    uint8_t *value = heap_allocate((size_t)options->size);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (options->server_cpu >= 0) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET((size_t)options->server_cpu, &cpus);
        sched_setaffinity(0, sizeof(cpus), &cpus);
    }
    if (value == NULL || values_init(&values, options->size) != 0)
        _exit(1);
    value_write(&values, 0, value);
    for (;;) {
        struct connection *connection = heap_allocate(sizeof(*connection));
        pthread_t thread;
        int one = 1, fd = accept(listener, NULL, NULL);
        if (connection == NULL || fd < 0)
            _exit(1);
        *connection = (struct connection){fd, options, value,
            options->size > RECEIVE_BYTES ? (size_t)options->size : RECEIVE_BYTES};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (pthread_create(&thread, NULL, connection_thread, connection) != 0)
            _exit(1);
        pthread_detach(thread);
    }
}

int tcp_server_start(struct options *options, char sentence[SENTENCE_LIMIT])
{
    static char target[32];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, SOMAXCONN) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        snprintf(sentence, SENTENCE_LIMIT, "no port on loopback: %s", strerror(errno));
        return -1;
    }
    pid_t child = fork();
    if (child == 0)
        server_run(options, listener);
    close(listener);
    if (child < 0) {
        snprintf(sentence, SENTENCE_LIMIT, "fork: %s", strerror(errno));
        return -1;
    }
    snprintf(target, sizeof(target), "127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    options->target = target;
    options->server_pid = child;
    return 0;
}

void tcp_server_stop(const struct options *options)
{
    kill(options->server_pid, SIGKILL);
    waitpid(options->server_pid, NULL, 0);
}
