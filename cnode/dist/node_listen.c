/* The listening socket: resolve, bind, accept, refuse. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include "brain/log.h"
#include "node_private.h"

enum {
    BACKLOG = 4096,       /* the kernel cuts it to net.core.somaxconn */
    ACCEPTS_PER_TURN = 64 /* about a millisecond of accept4 and set-up */
};

void node_address_text(const struct sockaddr_storage *address, char out[NODE_ADDRESS_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        uv_ip6_name(in6, host, sizeof(host));
        snprintf(out, NODE_ADDRESS_TEXT, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        if (address->ss_family == AF_INET)
            uv_ip4_name(in, host, sizeof(host));
        snprintf(out, NODE_ADDRESS_TEXT, "%s:%u", host, ntohs(in->sin_port));
    }
}

/* ---- accepting --------------------------------------------------------------------------------
 */

static void on_listen_poll(uv_poll_t *poll, int status, int events);

static void refuse(struct node *node, int fd)
{
    close(fd);
    node->metrics.connections_refused++;
    node->refused_since_log++;
}

/* No descriptor is left: one that was kept for this moment takes the waiting connection, so that it
 * is closed instead of waking us up again and again. When even that fails, accepting rests until
 * the next tick of the clock. */
static bool refuse_without_descriptors(struct node *node)
{
    int fd = -1;
    node->descriptors_ran_out = true;
    if (node->reserve_fd >= 0) {
        close(node->reserve_fd);
        fd = accept4(node->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            refuse(node, fd);
        node->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    if (fd >= 0)
        return true;
    node->listen_paused = true;
    uv_poll_stop(&node->listen_poll);
    return false;
}

/* Returns whether another connection may be waiting. */
static bool accept_one(struct node *node)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    memset(&address, 0, sizeof(address));
    /* Members must get in whatever the number of clients: who comes is known after the handshake.
     */
    const uint64_t reserve = node->events.on_up != NULL ? NODE_LINK_RESERVE : 0;
    int fd =
        accept4(node->listen_fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return false;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            return refuse_without_descriptors(node);
        return true; /* that one connection died while it waited: ECONNABORTED and its like */
    }
    if (node->metrics.connections - node->members >= node->options.max_connections + reserve ||
        node->metrics.handshakes_pending >= node->options.max_pending_handshakes) {
        refuse(node, fd);
        return true;
    }
    node_tune_socket(fd);
    if (connection_open(node, fd, HANDSHAKE_ACCEPTOR, slice_of(NULL, 0), &address, NULL) != NULL) {
        node->metrics.connections_accepted++;
    } else {
        node->metrics.connections_refused++;
        node->refused_since_log++;
    }
    return true;
}

static void on_listen_poll(uv_poll_t *poll, int status, int events)
{
    struct node *node = poll->data;
    (void)events;
    if (status < 0)
        return;
    for (int i = 0; i < ACCEPTS_PER_TURN && accept_one(node); i++)
        ;
}

void listen_accept(struct node *node)
{
    uv_poll_start(&node->listen_poll, UV_READABLE, on_listen_poll);
}

void listen_clock(struct node *node)
{
    if (node->refused_since_log != 0) {
        log_warning("refused %" PRIu64 " connections%s: %" PRIu64
                    " are open (max_connections %" PRIu32 "), %" PRIu64
                    " of them in their handshake (max_pending_handshakes %" PRIu32 ")",
            node->refused_since_log,
            node->descriptors_ran_out ? " because file descriptors ran out" : "",
            node->metrics.connections, node->options.max_connections,
            node->metrics.handshakes_pending, node->options.max_pending_handshakes);
        node->descriptors_ran_out = false;
        node->refused_since_log = 0;
    }
    if (node->listen_poll_open && node->listen_paused) {
        node->listen_paused = false;
        listen_accept(node);
    }
}

/* ---- binding ----------------------------------------------------------------------------------
 */

static int bind_to(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1, off = 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (info->ai_family == AF_INET6) /* "::" means both */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static int take_socket(struct node *node, int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    memset(&address, 0, sizeof(address));
    node->listen_fd = fd;
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        return -errno;
    node->port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                     : ((struct sockaddr_in *)&address)->sin_port);
    int error = uv_poll_init(node->loop, &node->listen_poll, fd);
    if (error != 0)
        return error;
    node->listen_poll.data = node;
    node->listen_poll_open = true;
    node->handles++;
    node->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return 0;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct node *node = request->data;
    int result = status;
    node->resolving = false;
    if (!node->listen_ended) {
        for (const struct addrinfo *info = list; info != NULL; info = info->ai_next) {
            result = bind_to(info);
            if (result >= 0)
                break;
        }
        if (result >= 0)
            result = take_socket(node, result);
        if (result == 0)
            node_listening(node);
        else
            node_fail(node, "cannot listen on %s, port %u: %s", node->options.listen_address,
                node->options.listen_port, uv_strerror(result));
    }
    uv_freeaddrinfo(list);
    node_handle_closed(node);
}

int listen_begin(struct node *node)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    snprintf(node->port_text, sizeof(node->port_text), "%u", node->options.listen_port);
    node->resolve.data = node;
    int error = uv_getaddrinfo(node->loop, &node->resolve, on_resolved,
        node->options.listen_address, node->port_text, &hints);
    if (error == 0) {
        node->resolving = true;
        node->handles++;
    }
    return error;
}

static void on_listen_closed(uv_handle_t *handle)
{
    node_handle_closed(handle->data);
}

void listen_end(struct node *node)
{
    node->listen_ended = true;
    if (node->resolving)
        uv_cancel((uv_req_t *)&node->resolve);
    if (node->listen_poll_open) {
        node->listen_poll_open = false;
        uv_close((uv_handle_t *)&node->listen_poll, on_listen_closed);
    }
    if (node->listen_fd >= 0)
        close(node->listen_fd);
    if (node->reserve_fd >= 0)
        close(node->reserve_fd);
    node->listen_fd = node->reserve_fd = -1;
}
