#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "brain/epmd.h"
#include "brain/etf.h"
#include "receiver.h"

static const struct etf_limits answer_limits = {.max_depth = 1 << 20, .max_elements = UINT64_MAX};

static int fail(struct client *client, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct client *client, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(client->sentence, sizeof(client->sentence), format, arguments);
    va_end(arguments);
    return error;
}

static const char *host_of(const char *node)
{
    return strchr(node, '@') + 1;
}

static size_t alive_size(const char *node)
{
    return (size_t)(strchr(node, '@') - node);
}

/* ---- cookie ---------------------------------------------------------------------------------- */

static int read_cookie(struct client *client, const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return fail(
            client, BRAIN_ECONFIG, "the cookie file %s cannot be read: %s", path, strerror(errno));
    char line[sizeof(client->cookie) + 2];
    bool read = fgets(line, sizeof(line), file) != NULL;
    fclose(file);
    if (read)
        line[strcspn(line, "\r\n")] = '\0';
    if (!read || line[0] == '\0' || strlen(line) >= sizeof(client->cookie))
        return fail(client, BRAIN_ECONFIG,
            "the first line of the cookie file %s is no cookie (1 to 255 bytes)", path);
    memcpy(client->cookie, line, strlen(line) + 1);
    return 0;
}

static int find_cookie(struct client *client, const char *cookie_file)
{
    if (cookie_file != NULL) {
        client->cookie_source = cookie_file;
        return read_cookie(client, cookie_file);
    }
    client->cookie_source = "~/.erlang.cookie";
    const char *home = getenv("HOME");
    char path[4096];
    if (home == NULL ||
        snprintf(path, sizeof(path), "%s/.erlang.cookie", home) >= (int)sizeof(path))
        return fail(client, BRAIN_ECONFIG, "HOME is not set; name the cookie with --cookie-file");
    return read_cookie(client, path);
}

int client_init(struct client *client, const char *node, const char *registered_name,
    const char *cookie_file, uint32_t timeout_ms)
{
    memset(client, 0, sizeof(*client));
    client->descriptor = -1;
    client->timeout_ms = timeout_ms;
    const char *at = strchr(node, '@');
    if (at == NULL || at == node || at[1] == '\0' || strlen(node) > CLIENT_NODE_LIMIT)
        return fail(
            client, BRAIN_ECONFIG, "\"%s\" is not a node name; it has the form name@host", node);
    if (strlen(registered_name) >= sizeof(client->name))
        return fail(client, BRAIN_ECONFIG, "the registered name %s is too long", registered_name);
    memcpy(client->node, node, strlen(node) + 1);
    memcpy(client->name, registered_name, strlen(registered_name) + 1);
    int error = find_cookie(client, cookie_file);
    if (error != 0)
        return error;
    char alive[32], full[300];
    snprintf(alive, sizeof(alive), "brain_console_%d", (int)getpid());
    snprintf(full, sizeof(full), "%s@%s", alive, host_of(node));
    struct in_addr address = {.s_addr = htonl(INADDR_LOOPBACK)};
    ei_init();
    if (ei_connect_xinit(&client->self, host_of(node), alive, full, &address, client->cookie,
            (unsigned)getpid()) < 0)
        return fail(client, BRAIN_ENOMEM, "the Erlang interface library could not be set up");
    buffer_init(&client->received);
    return 0;
}

void client_rest(struct client *client)
{
    if (client->descriptor >= 0)
        ei_close_connection(client->descriptor);
    client->descriptor = -1;
    buffer_release(&client->received);
}

void client_release(struct client *client)
{
    client_rest(client);
    buffer_release(&client->received);
    explicit_bzero(client->cookie, sizeof(client->cookie));
}

/* ---- finding the node ------------------------------------------------------------------------ */

static uint16_t epmd_port(void)
{
    const char *text = getenv("ERL_EPMD_PORT");
    long port = text != NULL ? strtol(text, NULL, 10) : EPMD_PORT;
    return port > 0 && port <= UINT16_MAX ? (uint16_t)port : EPMD_PORT;
}

/* A connection to the first address of the host that answers on this port, or -1. */
static int dial(const struct addrinfo *addresses, uint16_t port, uint32_t timeout_ms)
{
    for (const struct addrinfo *a = addresses; a != NULL; a = a->ai_next) {
        int descriptor = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (descriptor < 0)
            continue;
        struct sockaddr_in where = *(const struct sockaddr_in *)(const void *)a->ai_addr;
        where.sin_port = htons(port);
        struct timeval limit = {
            (time_t)(timeout_ms / 1000), (suseconds_t)(timeout_ms % 1000) * 1000};
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        if (connect(descriptor, (const struct sockaddr *)&where, sizeof(where)) == 0)
            return descriptor;
        close(descriptor);
    }
    return -1;
}

/* Asks an epmd for the node's port. 0, BRAIN_ENOENT, BRAIN_ETIMEOUT, BRAIN_EIO. */
static int ask_epmd(int epmd, struct slice alive, uint64_t deadline_ms, uint16_t *port)
{
    struct buffer question;
    buffer_init(&question);
    epmd_write_lookup(&question, alive);
    uint8_t bytes[1024];
    size_t size = 0;
    int status = BRAIN_EIO;
    if (buffer_status(&question) == 0 &&
        send(epmd, question.data, question.size, MSG_NOSIGNAL) == (ssize_t)question.size) {
        do {
            ssize_t got = recv(epmd, bytes + size, sizeof(bytes) - size, 0);
            if (got < 0 && (errno == EAGAIN || errno == EINTR))
                status = BRAIN_ETIMEOUT;
            else if (got <= 0)
                status = BRAIN_EIO;
            if (got <= 0)
                break;
            size += (size_t)got;
            status = epmd_read_lookup(slice_of(bytes, size), port);
        } while (status == 1 && size < sizeof(bytes) && receiver_now_ms() < deadline_ms);
    }
    buffer_release(&question);
    return status == 1 ? BRAIN_EIO : status;
}

static int find_node(struct client *client, uint16_t *port)
{
    const char *host = host_of(client->node);
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    int failed = getaddrinfo(host, NULL, &hints, &addresses);
    if (failed != 0)
        return fail(client, BRAIN_EIO, "the host %s is not known: %s", host, gai_strerror(failed));
    int epmd = dial(addresses, epmd_port(), client->timeout_ms);
    freeaddrinfo(addresses);
    if (epmd < 0)
        return fail(client, BRAIN_EIO,
            "no epmd answers on %s port %u: no Erlang node runs there, brain-server neither", host,
            (unsigned)epmd_port());
    struct slice alive = slice_of(client->node, alive_size(client->node));
    int status = ask_epmd(epmd, alive, receiver_now_ms() + client->timeout_ms, port);
    close(epmd);
    if (status == BRAIN_ENOENT)
        return fail(client, BRAIN_ENOENT, "no node named %.*s is registered with epmd on %s",
            (int)alive.size, (const char *)alive.data, host);
    if (status == BRAIN_ETIMEOUT)
        return fail(client, status,
            receiver_interrupted ? "interrupted; epmd on %s did not answer yet"
                                 : "epmd on %s did not answer in time",
            host);
    if (status != 0)
        return fail(client, BRAIN_EIO, "epmd on %s gave no sensible answer", host);
    return 0;
}

static int client_connect(struct client *client)
{
    uint16_t port = 0;
    int error = find_node(client, &port);
    if (error != 0)
        return error;
    char host[CLIENT_NODE_LIMIT + 1];
    snprintf(host, sizeof(host), "%s", host_of(client->node));
    client->descriptor =
        ei_connect_host_port_tmo(&client->self, host, (int)port, client->timeout_ms);
    if (client->descriptor >= 0)
        return 0;
    client->descriptor = -1;
    if (receiver_interrupted) /* which `ei` takes for the end of the time */
        return fail(client, BRAIN_ETIMEOUT, "interrupted; %s did not answer yet", client->node);
    if (erl_errno == ETIMEDOUT)
        return fail(client, BRAIN_ETIMEOUT, "%s did not answer within %u ms", client->node,
            (unsigned)client->timeout_ms);
    if (erl_errno == ECONNREFUSED)
        return fail(
            client, BRAIN_EIO, "%s is registered with epmd but refuses connections", client->node);
    /* `ei` does not say why; a full or a stopping node closes the connection as well. */
    return fail(client, BRAIN_EAUTH,
        "%s refused the handshake: most likely its cookie is not the one of %s", client->node,
        client->cookie_source);
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* {'$gen_call', {Pid, Ref}, Request}. The reference is appended to `tag` alone as well. */
static void write_call(
    struct client *client, struct slice request, struct buffer *out, struct buffer *tag)
{
    const erlang_pid *pid = ei_self(&client->self);
    struct slice node = slice_of_string(pid->node);
    const uint32_t words[3] = {
        ++client->calls & 0x3ffff, (uint32_t)receiver_now_ms(), (uint32_t)getpid()};
    etf_write_reference(tag, node, pid->creation, words, 3);
    etf_write_version(out);
    etf_write_tuple(out, 3);
    etf_write_atom(out, "$gen_call");
    etf_write_tuple(out, 2);
    etf_write_pid(out, node, pid->num, pid->serial, pid->creation);
    buffer_append_slice(out, buffer_slice(tag));
    buffer_append_slice(out, request);
}

/* Is this message {Tag, Answer} with our tag? */
static bool is_answer(struct slice message, struct slice tag, struct slice *answer)
{
    struct etf_reader reader;
    uint32_t arity;
    struct slice got;
    if (message.size < 1 || message.data[0] != ETF_VERSION)
        return false;
    etf_reader_init(&reader, slice_of(message.data + 1, message.size - 1), answer_limits);
    return etf_read_tuple(&reader, &arity) == 0 && arity == 2 &&
           etf_read_term(&reader, &got) == 0 && slice_equal(got, tag) &&
           etf_read_term(&reader, answer) == 0;
}

static int await(struct client *client, struct slice tag, struct slice *answer)
{
    const uint64_t deadline_ms = receiver_now_ms() + client->timeout_ms;
    int error;
    do {
        struct slice message;
        error = receiver_await(client->descriptor, deadline_ms, &client->received, &message);
        if (error == 0 && is_answer(message, tag, answer))
            return 0;
    } while (error == 0);
    client_rest(client);
    if (error == BRAIN_ETIMEOUT && receiver_interrupted)
        return fail(client, error, "interrupted; whether %s did it is not known", client->node);
    if (error == BRAIN_ETIMEOUT)
        return fail(client, error, "no answer from the process %s of %s within %u ms", client->name,
            client->node, (unsigned)client->timeout_ms);
    if (error == BRAIN_ECLOSED)
        return fail(client, error, "%s closed the connection", client->node);
    return fail(
        client, error, "the answer of %s cannot be read: %s", client->node, error_sentence(error));
}

static int call(struct client *client, struct slice request, struct slice *answer,
    struct buffer *message, struct buffer *tag)
{
    write_call(client, request, message, tag);
    if (buffer_status(message) != 0)
        return fail(client, BRAIN_ENOMEM, "out of memory");
    if (ei_reg_send_tmo(&client->self, client->descriptor, client->name, (char *)message->data,
            (int)message->size, client->timeout_ms) < 0) {
        client_rest(client);
        return fail(client, BRAIN_ECLOSED, "the connection to %s is lost", client->node);
    }
    return await(client, buffer_slice(tag), answer);
}

/* Has the server gone since the last call? Then its end of file is waiting to be read. */
static bool is_stale(int descriptor)
{
    struct pollfd poll_one = {.fd = descriptor, .events = POLLIN | POLLRDHUP};
    return poll(&poll_one, 1, 0) > 0 && (poll_one.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

int client_call(struct client *client, struct slice request, struct slice *answer)
{
    if (client->descriptor >= 0 && is_stale(client->descriptor))
        client_rest(client);
    if (client->descriptor < 0) {
        int error = client_connect(client);
        if (error != 0)
            return error;
    }
    struct buffer message, tag;
    buffer_init(&message);
    buffer_init(&tag);
    int error = call(client, request, answer, &message, &tag);
    buffer_release(&message);
    buffer_release(&tag);
    return error;
}
