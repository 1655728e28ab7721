/* Dialling. The nodes of connect_nodes: each is dialled until there is a link to it, and again when
 * it is lost. Members of a cluster (node_link): each time that somebody asks and there is none.
 *
 *   WAITING --timer--> RESOLVING --address--> ASKING (epmd) --port--> CONNECTING --> LINKED
 *      ^                    |                    |                        |            |
 *      +--- pause, doubling from 2 to 30 s <-----+------------------------+------------+
 *
 * A member's begins and ends in IDLE instead of WAITING, and skips epmd where the port is known. A
 * link that the other side made counts too: then there is nothing to do. */
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
    MEMBER_PAUSE_MS = 1000,
    MEMBER_PAUSE_LIMIT_MS =
        8000,                  /* doubling, while it answers and closes: another cookie, no room */
    MEMBER_SAY_MS = 60000,     /* between two log lines on failing */
    MEMBER_FORGET_MS = 600000, /* not asked for: it may have left the cluster for good */
    /* So long a handshake of ours wins over one that the peer begins. It takes a few round trips;
     * one that hangs (the peer's machine was cut off, and is back) must not keep the peer away for
     * all of handshake_timeout. */
    MEMBER_SHAKE_MS = 1000,
    MEMBERS_LIMIT = 4096,
    HOST_LIMIT = 255,
};

enum dial_state { IDLE, WAITING, RESOLVING, ASKING, CONNECTING, LINKED, STOPPED };

struct dial {
    struct dial *next;
    struct node *node;
    char *name; /* name@host; memory behind the struct */
    bool member;
    char host[HOST_LIMIT + 1];
    uint16_t port;                       /* 0: epmd knows */
    uint64_t retry_ms, asked_ms, say_ms; /* of members: not before; last asked; not before */
    uint64_t linked_ms;                  /* when the handshake began */
    char alive[UINT8_MAX + 1];
    enum dial_state state;
    uv_timer_t timer; /* the pause, or the time limit of connect(2) */
    bool poll_open, started;
    bool next_address; /* goes on when the poll handle is closed */
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
static void try_address(struct dial *dial);

static bool linked_otherwise(const struct dial *dial)
{
    const struct connection_table *table = &dial->node->connections;
    const struct slice name = slice_of_string(dial->name);
    return (dial->member ? connection_table_node(table, name)
                         : connection_table_by_name(table, name)) != NULL;
}

/* ---- failing ----------------------------------------------------------------------------------
 */

static void wait_a_while(struct dial *dial)
{
    dial->state = WAITING;
    uv_timer_start(&dial->timer, on_pause_over, dial->pause_ms, 0);
    dial->pause_ms = dial->pause_ms * 2 > PAUSE_LIMIT_MS ? PAUSE_LIMIT_MS : dial->pause_ms * 2;
}

static void fail_member(struct dial *dial, const char *why)
{
    const bool handshake = dial->state == LINKED;
    const uint64_t now_ms = uv_now(dial->node->loop);
    dial->state = IDLE;
    dial->retry_ms = now_ms + (handshake ? dial->pause_ms : MEMBER_PAUSE_MS);
    if (handshake && dial->pause_ms < MEMBER_PAUSE_LIMIT_MS)
        dial->pause_ms *= 2;
    if (now_ms < dial->say_ms || linked_otherwise(dial))
        return;
    log_warning("cannot connect to member %s: %s; tried again when there is something to say to it",
        dial->name, why);
    dial->say_ms = now_ms + MEMBER_SAY_MS;
}

static void fail(struct dial *dial, const char *why)
{
    dial->node->metrics.dials_failed++;
    if (dial->member) {
        fail_member(dial, why);
        return;
    }
    if (!dial->said_failed && !linked_otherwise(dial)) {
        log_warning("cannot connect to %s: %s; trying on", dial->name, why);
        dial->said_failed = true;
    }
    wait_a_while(dial);
}

static void fail_or_next_address(struct dial *dial, const char *why)
{
    if (++dial->address >= dial->addresses_count)
        fail(dial, why);
    else if (dial->poll_open) /* of the address that failed: it is closing */
        dial->next_address = true;
    else
        try_address(dial);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct dial *dial = handle->data;
    struct node *node = dial->node;
    dial->poll_open = false;
    if (dial->next_address && dial->state != STOPPED) {
        dial->next_address = false;
        try_address(dial);
    }
    node_handle_closed(node);
}

bool dial_is_quiet(const struct dial *dial)
{
    return dial->member && dial->up;
}

void dial_up(struct dial *dial)
{
    dial->up = true;
    dial->said_failed = false;
    dial->pause_ms = dial->member ? MEMBER_PAUSE_MS : PAUSE_MS;
    dial->say_ms = 0;
    if (!dial->member) /* what a member's link is good for is known after its hello */
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
    if (dial->member) {
        dial->state = IDLE;
        return;
    }
    log_warning("lost the link to %s: %s; dialling again", dial->name, why);
    wait_a_while(dial);
}

void dial_gives_way(struct dial *dial, const char *why)
{
    if (!dial->member || dial->state == STOPPED) {
        dial_lost(dial, why);
        return;
    }
    assert(dial->state == LINKED && !dial->up);
    dial->state = IDLE;
    dial->retry_ms = uv_now(dial->node->loop) + MEMBER_PAUSE_MS;
}

/* ---- connecting -------------------------------------------------------------------------------
 */

static void link_up(struct dial *dial)
{
    struct node *node = dial->node;
    int fd = dial->fd;
    dial->fd = -1;
    dial->state = LINKED;
    dial->linked_ms = uv_now(node->loop);
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
    assert(!dial->poll_open);
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

static void try_address(struct dial *dial)
{
    if (dial->port != 0) {
        begin_connect(dial, dial->port);
        return;
    }
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
            try_address(dial);
        else
            fail(dial, status != 0 ? uv_strerror(status) : "its host has no address");
    }
    uv_freeaddrinfo(list);
    node_handle_closed(dial->node);
}

static void resolve(struct dial *dial)
{
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

static void on_pause_over(uv_timer_t *timer)
{
    struct dial *dial = timer->data;
    if (linked_otherwise(dial)) {
        dial->said_failed = false;
        dial->pause_ms = PAUSE_MS;
        uv_timer_start(&dial->timer, on_pause_over, PAUSE_MS, 0);
        return;
    }
    resolve(dial);
}

/* ---- the whole --------------------------------------------------------------------------------
 */

/* Is it name@host, short enough, and text? */
static bool is_name(struct slice name)
{
    const uint8_t *at = name.size != 0 ? memchr(name.data, '@', name.size) : NULL;
    if (at == NULL || name.size > NODE_NAME_LIMIT)
        return false;
    const size_t alive = (size_t)(at - name.data), host = name.size - alive - 1;
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] <= ' ' || name.data[i] == 0x7f)
            return false;
    return alive > 0 && alive <= UINT8_MAX && host > 0 && host <= HOST_LIMIT &&
           memchr(at + 1, '@', host) == NULL;
}

/* NULL: no memory. */
static struct dial *dial_create(struct node *node, struct slice name, bool member)
{
    struct dial *dial = heap_allocate_zeroed(sizeof(*dial) + name.size + 1);
    if (dial == NULL)
        return NULL;
    dial->node = node;
    dial->name = (char *)(dial + 1);
    memcpy(dial->name, name.data, name.size);
    const char *at = strchr(dial->name, '@');
    memcpy(dial->alive, dial->name, (size_t)(at - dial->name));
    strcpy(dial->host, at + 1);
    dial->member = member;
    dial->fd = -1;
    dial->pause_ms = member ? MEMBER_PAUSE_MS : PAUSE_MS;
    dial->next = node->dials;
    node->dials = dial;
    node->dials_count++;
    return dial;
}

static void dial_start(struct dial *dial)
{
    uv_timer_init(dial->node->loop, &dial->timer);
    dial->timer.data = dial;
    dial->node->handles++;
    dial->started = true;
}

int dialler_init(struct node *node)
{
    for (size_t i = 0; i < node->options.connect_nodes_count; i++) {
        struct slice name = slice_of_string(node->options.connect_nodes[i]);
        if (slice_equal(node->options.channel.name, name))
            continue; /* one list for all nodes of a cluster names ourselves as well */
        if (!is_name(name))
            log_warning("connect_nodes: %s is not name@host", node->options.connect_nodes[i]);
        else if (dial_create(node, name, false) == NULL)
            return BRAIN_ENOMEM;
    }
    return 0;
}

void dialler_start(struct node *node)
{
    for (struct dial *dial = node->dials; dial != NULL; dial = dial->next) {
        dial_start(dial);
        dial->state = WAITING;
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
    for (struct dial *dial = node->dials; dial != NULL; dial = dial->next) {
        if (dial->state == RESOLVING)
            uv_cancel((uv_req_t *)&dial->request);
        if (dial->fd >= 0) {
            if (dial->poll_open && !uv_is_closing((uv_handle_t *)&dial->poll))
                uv_close((uv_handle_t *)&dial->poll, on_poll_closed);
            close(dial->fd);
            dial->fd = -1;
        }
        if (dial->lookup != NULL)
            epmd_lookup_cancel(dial->lookup);
        dial->lookup = NULL;
        dial->state = STOPPED;
        if (dial->started)
            uv_close((uv_handle_t *)&dial->timer, on_timer_closed);
    }
}

void dialler_release(struct node *node)
{
    while (node->dials != NULL) {
        struct dial *dial = node->dials;
        node->dials = dial->next;
        heap_release(dial);
    }
    node->dials_count = 0;
}

/* ---- members ----------------------------------------------------------------------------------
 */

static struct dial *dial_of(const struct node *node, struct slice name)
{
    struct dial *dial = node->dials;
    while (dial != NULL && !(dial->member && slice_equal_string(name, dial->name)))
        dial = dial->next;
    return dial;
}

bool dialler_knows(const struct node *node, struct slice name)
{
    return dial_of(node, name) != NULL;
}

bool dialler_shakes_hands(const struct node *node, struct slice name)
{
    const struct dial *dial = dial_of(node, name);
    return dial != NULL && dial->state == LINKED && !dial->up &&
           uv_now(node->loop) - dial->linked_ms < MEMBER_SHAKE_MS;
}

static void on_forgotten(uv_handle_t *handle)
{
    struct dial *dial = handle->data;
    struct node *node = dial->node;
    heap_release(dial);
    node_handle_closed(node);
}

void dialler_clock(struct node *node)
{
    const uint64_t now_ms = uv_now(node->loop);
    if (node->state != NODE_READY)
        return;
    for (struct dial **at = &node->dials; *at != NULL;) {
        struct dial *dial = *at;
        if (!dial->member || dial->state != IDLE || now_ms - dial->asked_ms < MEMBER_FORGET_MS) {
            at = &dial->next;
            continue;
        }
        *at = dial->next;
        node->dials_count--;
        uv_close((uv_handle_t *)&dial->timer, on_forgotten);
    }
}

connection_id node_link(struct node *node, struct slice name, const char *address, uint16_t port)
{
    const uint64_t now_ms = uv_now(node->loop);
    const struct connection *connection = connection_table_node(&node->connections, name);
    struct dial *dial = dial_of(node, name);
    if (dial != NULL)
        dial->asked_ms = now_ms;
    if (connection != NULL)
        return connection->id;
    if (node->state != NODE_READY || node->closed != NULL)
        return 0;
    if (dial == NULL) {
        if (!is_name(name) || slice_equal(name, node->options.channel.name) ||
            node->dials_count >= MEMBERS_LIMIT)
            return 0;
        dial = dial_create(node, name, true);
        if (dial == NULL)
            return 0;
        dial->asked_ms = now_ms;
        dial_start(dial);
    }
    if (dial->state != IDLE || now_ms < dial->retry_ms)
        return 0;
    const char *host =
        address != NULL && address[0] != '\0' ? address : strchr(dial->name, '@') + 1;
    if (strlen(host) > HOST_LIMIT)
        return 0;
    strcpy(dial->host, host);
    dial->port = port;
    resolve(dial);
    return 0;
}
