/* The nodes of connect_nodes: each is dialled until there is a link to it, and again when it is
 * lost.
 *
 *   WAITING --timer--> RESOLVING --address--> ASKING (epmd) --port--> CONNECTING --> LINKED
 *      ^                    |                    |                        |            |
 *      +--- pause, doubling from 2 to 30 s <-----+------------------------+------------+
 *
 * A link that the other side made counts too: then there is nothing to do. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include "brain/log.h"
#include "node_private.h"

enum {
    PAUSE_MS = 2000,
    PAUSE_LIMIT_MS = 30000,
    LOOKUP_MS = 5000,
    CONNECT_MS = 5000,
    ADDRESSES = 4, /* of one host, tried in the resolver's order */
};

enum dial_state { WAITING, RESOLVING, ASKING, CONNECTING, LINKED, STOPPED };

struct dial {
    struct node *node;
    const char *name; /* name@host */
    const char *host; /* inside name */
    char alive[UINT8_MAX + 1];
    enum dial_state state;
    uv_timer_t timer; /* the pause, or the time limit of connect(2) */
    bool poll_open;
    uv_getaddrinfo_t request;
    struct epmd_lookup *lookup;
    struct sockaddr_storage addresses[ADDRESSES];
    unsigned address, addresses_count;
    int fd;
    uv_poll_t poll; /* of connect(2) */
    uint32_t pause_ms;
    bool said_failed;
    bool up;
};

static void on_pause_over(uv_timer_t *timer);
static void ask_epmd(struct dial *dial);

static bool linked_otherwise(const struct dial *dial)
{
    return connection_table_by_name(&dial->node->connections, slice_of_string(dial->name)) != NULL;
}

/* ---- failing ----------------------------------------------------------------------------------
 */

static void wait_a_while(struct dial *dial)
{
    dial->state = WAITING;
    uv_timer_start(&dial->timer, on_pause_over, dial->pause_ms, 0);
    dial->pause_ms = dial->pause_ms * 2 > PAUSE_LIMIT_MS ? PAUSE_LIMIT_MS : dial->pause_ms * 2;
}

static void fail(struct dial *dial, const char *why)
{
    if (!dial->said_failed && !linked_otherwise(dial)) {
        log_warning("cannot connect to %s: %s; trying on", dial->name, why);
        dial->said_failed = true;
    }
    wait_a_while(dial);
}

static void fail_or_next_address(struct dial *dial, const char *why)
{
    if (++dial->address < dial->addresses_count)
        ask_epmd(dial);
    else
        fail(dial, why);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct dial *dial = handle->data;
    dial->poll_open = false;
    node_handle_closed(dial->node);
}

void dial_up(struct dial *dial)
{
    dial->up = true;
    dial->said_failed = false;
    dial->pause_ms = PAUSE_MS;
    log_info("connected to %s", dial->name);
}

void dial_lost(struct dial *dial, const char *why)
{
    if (dial->state == STOPPED)
        return;
    assert(dial->state == LINKED);
    if (!dial->up) {
        fail(dial, why);
        return;
    }
    dial->up = false;
    log_warning("lost the link to %s: %s; dialling again", dial->name, why);
    wait_a_while(dial);
}

/* ---- connecting -------------------------------------------------------------------------------
 */

static void link_up(struct dial *dial)
{
    struct node *node = dial->node;
    int fd = dial->fd;
    dial->fd = -1;
    dial->state = LINKED;
    node_tune_socket(fd);
    if (connection_open(node, fd, HANDSHAKE_INITIATOR, slice_of_string(dial->name),
            &dial->addresses[dial->address], dial) == NULL) {
        fail(dial, error_sentence(BRAIN_ENOMEM));
        return;
    }
    node->metrics.connections_dialled++;
}

static void give_up_connect(struct dial *dial, const char *why)
{
    close(dial->fd);
    dial->fd = -1;
    fail_or_next_address(dial, why);
}

static void on_connected(uv_poll_t *poll, int status, int events)
{
    struct dial *dial = poll->data;
    (void)events;
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    else if (error == 0 && status < 0)
        error = -status;
    uv_timer_stop(&dial->timer);
    uv_close((uv_handle_t *)poll, on_poll_closed);
    if (error != 0)
        give_up_connect(dial, strerror(error));
    else
        link_up(dial);
}

static void on_connect_late(uv_timer_t *timer)
{
    struct dial *dial = timer->data;
    uv_close((uv_handle_t *)&dial->poll, on_poll_closed);
    give_up_connect(dial, "no answer to connect in time");
}

static void begin_connect(struct dial *dial, uint16_t port)
{
    struct sockaddr_storage *address = &dial->addresses[dial->address];
    bool is_ipv6 = address->ss_family == AF_INET6;
    if (is_ipv6)
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)address)->sin_port = htons(port);
    assert(!dial->poll_open); /* closed turns ago: an epmd was asked in between */
    dial->fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dial->fd < 0) {
        fail(dial, strerror(errno));
        return;
    }
    dial->state = CONNECTING;
    socklen_t size = is_ipv6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (connect(dial->fd, (struct sockaddr *)address, size) != 0 && errno != EINPROGRESS) {
        give_up_connect(dial, strerror(errno));
        return;
    }
    int error = uv_poll_init(dial->node->loop, &dial->poll, dial->fd);
    if (error != 0) {
        give_up_connect(dial, uv_strerror(error));
        return;
    }
    dial->poll.data = dial;
    dial->poll_open = true;
    dial->node->handles++;
    uv_poll_start(&dial->poll, UV_WRITABLE, on_connected);
    uv_timer_start(&dial->timer, on_connect_late, CONNECT_MS, 0);
}

/* ---- finding ----------------------------------------------------------------------------------
 */

static void on_port(void *context, int status, uint16_t port)
{
    struct dial *dial = context;
    dial->lookup = NULL;
    if (status == 0)
        begin_connect(dial, port);
    else if (status == BRAIN_ENOENT)
        fail_or_next_address(dial, "the epmd of its host does not know it");
    else
        fail_or_next_address(dial, "no epmd answers on its host");
}

static void ask_epmd(struct dial *dial)
{
    char address[INET6_ADDRSTRLEN];
    const struct sockaddr_storage *from = &dial->addresses[dial->address];
    if (from->ss_family == AF_INET6)
        uv_ip6_name((const struct sockaddr_in6 *)from, address, sizeof(address));
    else
        uv_ip4_name((const struct sockaddr_in *)from, address, sizeof(address));
    dial->state = ASKING;
    dial->lookup = epmd_lookup_start(dial->node->loop, address, dial->node->options.epmd_port,
        dial->alive, LOOKUP_MS, on_port, dial);
    if (dial->lookup == NULL)
        fail(dial, error_sentence(BRAIN_ENOMEM));
}

static void keep_addresses(struct dial *dial, const struct addrinfo *list)
{
    dial->address = dial->addresses_count = 0;
    for (; list != NULL && dial->addresses_count < ADDRESSES; list = list->ai_next) {
        if (list->ai_family == AF_INET || list->ai_family == AF_INET6)
            memcpy(&dial->addresses[dial->addresses_count++], list->ai_addr, list->ai_addrlen);
    }
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct dial *dial = request->data;
    if (dial->state == RESOLVING) {
        if (status == 0)
            keep_addresses(dial, list);
        if (status == 0 && dial->addresses_count != 0)
            ask_epmd(dial);
        else
            fail(dial, status != 0 ? uv_strerror(status) : "its host has no address");
    }
    uv_freeaddrinfo(list);
    node_handle_closed(dial->node);
}

static void on_pause_over(uv_timer_t *timer)
{
    struct dial *dial = timer->data;
    if (linked_otherwise(dial)) {
        dial->said_failed = false;
        dial->pause_ms = PAUSE_MS;
        uv_timer_start(&dial->timer, on_pause_over, PAUSE_MS, 0);
        return;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    dial->state = RESOLVING;
    dial->request.data = dial;
    int error =
        uv_getaddrinfo(dial->node->loop, &dial->request, on_resolved, dial->host, NULL, &hints);
    if (error != 0)
        fail(dial, uv_strerror(error));
    else
        dial->node->handles++;
}

/* ---- the whole --------------------------------------------------------------------------------
 */

int dialler_init(struct node *node)
{
    size_t count = node->options.connect_nodes_count;
    if (count == 0)
        return 0;
    node->dials = heap_allocate_zeroed(count * sizeof(*node->dials));
    return node->dials == NULL ? BRAIN_ENOMEM : 0;
}

void dialler_start(struct node *node)
{
    for (size_t i = 0; i < node->options.connect_nodes_count; i++) {
        const char *name = node->options.connect_nodes[i];
        const char *at = strchr(name, '@');
        if (slice_equal_string(node->options.channel.name, name))
            continue; /* one list for all nodes of a cluster names ourselves as well */
        if (at == NULL || at == name || at[1] == '\0' || at - name > UINT8_MAX ||
            strlen(name) > NODE_NAME_LIMIT) {
            log_warning("connect_nodes: %s is not name@host", name);
            continue;
        }
        struct dial *dial = &node->dials[node->dials_count++];
        dial->node = node;
        dial->name = name;
        dial->host = at + 1;
        memcpy(dial->alive, name, (size_t)(at - name));
        dial->fd = -1;
        dial->pause_ms = PAUSE_MS;
        uv_timer_init(node->loop, &dial->timer);
        dial->timer.data = dial;
        node->handles++;
        uv_timer_start(&dial->timer, on_pause_over, 0, 0);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct dial *dial = handle->data;
    node_handle_closed(dial->node);
}

void dialler_stop(struct node *node)
{
    for (size_t i = 0; i < node->dials_count; i++) {
        struct dial *dial = &node->dials[i];
        if (dial->state == RESOLVING)
            uv_cancel((uv_req_t *)&dial->request);
        if (dial->state == CONNECTING) {
            uv_close((uv_handle_t *)&dial->poll, on_poll_closed);
            close(dial->fd);
            dial->fd = -1;
        }
        if (dial->lookup != NULL)
            epmd_lookup_cancel(dial->lookup);
        dial->lookup = NULL;
        dial->state = STOPPED;
        uv_close((uv_handle_t *)&dial->timer, on_timer_closed);
    }
}

void dialler_release(struct node *node)
{
    heap_release(node->dials);
    node->dials = NULL;
    node->dials_count = 0;
}
