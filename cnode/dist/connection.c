/* One distribution connection as a device: a socket, a poll handle and a channel.
 *
 * Fairness: a wake-up reads for at most READ_NS and at most READ_LIMIT bytes, and writes at most
 * WRITE_LIMIT; a channel that has a large term to check says so and is called again in the next
 * turn. The poll is level-triggered, so that whatever was left is found again. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "brain/log.h"
#include "node_private.h"

enum {
    READ_LIMIT = 1 << 20, /* per wake-up, of large values: the kernel only copies */
    /* While large values arrive, so much is read of what follows the one that is under way, and of
     * the head of the next one: whatever is read there of a large value is copied once more. */
    READ_BEHIND = 1 << 10,
    /* Of many small messages so much is read at once, and what they ask is answered before more is
     * read: a client with many requests under way is at work again while we are at the rest.
     * Measured, get of 100 bytes, 256 in flight, 8, 12, 16, 24, 32, 128 KiB: 3.1, 3.9, 3.5, 2.7,
     * 1.9, 1.8 million a second, for 0.32, 0.25, 0.26, 0.28, 0.30, 0.33 us of CPU each. Of messages
     * of 8 kB too many would be cut: half again as much CPU. */
    READ_DENSE = 16 << 10,
    DENSE_BYTES = 512,     /* of a message on average; more is not dense */
    READ_NS = 2000000,     /* per wake-up, of small messages: their work is in the feeding */
    WRITE_LIMIT = 4 << 20, /* per turn: 1 to 2 ms over loopback */
    VECTOR_LIMIT = 64,
    /* A peer built on ei sends nothing of its own for as long as it lives, ticks included, so only
     * the kernel can tell that its machine is gone: after 60 + 4 * 15 s. */
    KEEPALIVE_IDLE_S = 60,
    KEEPALIVE_INTERVAL_S = 15,
    KEEPALIVE_PROBES = 4,
    /* Of a link to a member: probes after so long without traffic. TCP_USER_TIMEOUT bounds how long
     * they, and data, may stay unacknowledged. */
    MEMBER_KEEPALIVE_S = 2,
};

void node_tune_socket(int fd)
{
    /* None of these is vital: a failure costs speed or a late notice, not correctness. */
    static const struct {
        int level, option, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        (void)setsockopt(
            fd, options[i].level, options[i].option, &options[i].value, sizeof(options[i].value));
}

static uint64_t now_of(const struct connection *connection)
{
    return uv_now(connection->node->loop);
}

/* ---- closing ----------------------------------------------------------------------------------
 */

static void on_poll_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
    struct node *node = connection->node;
    heap_release(connection);
    node_handle_closed(node);
}

static void forget_dirty(struct connection *connection)
{
    if (!connection->dirty)
        return;
    struct connection **at = &connection->node->dirty;
    while (*at != connection)
        at = &(*at)->next_dirty;
    *at = connection->next_dirty;
    connection->dirty = false;
}

static void set_unfinished(struct connection *connection, bool unfinished);

/* Tells of the end when nothing of the connection is left to be found. `name`: of its peer, copied.
 */
static void tell_down(struct node *node, connection_id id, struct slice name)
{
    if (node->events.on_down != NULL && node->closed == NULL)
        node->events.on_down(node->events.context, id, name);
}

static void close_because(struct connection *connection, const char *why)
{
    struct node *node = connection->node;
    struct dial *dial = connection->dial;
    const connection_id id = connection->id;
    const bool was_up = connection->up;
    uint8_t name[NODE_NAME_LIMIT];
    struct slice peer = channel_peer(connection->channel);
    assert(!connection->closing && node->current != connection && peer.size <= sizeof(name));
    bytes_copy(name, peer.data, peer.size);
    peer.data = name;
    connection->closing = true;
    connection->dial = NULL;
    forget_dirty(connection);
    set_unfinished(connection, false);
    connection_set_clocked(connection, false);
    connection_table_remove(&node->connections, connection);
    node->metrics.connections--;
    node->metrics.connections_closed++;
    if (!connection->up)
        node->metrics.handshakes_pending--;
    if (connection->member)
        node->members--;
    if (dial != NULL && channel_gave_way(connection->channel))
        dial_gives_way(dial, why);
    else if (dial != NULL)
        dial_lost(dial, why); /* `why` may lie in the channel */
    channel_destroy(connection->channel);
    connection->channel = NULL;
    uv_close((uv_handle_t *)&connection->poll, on_poll_closed);
    close(connection->fd);
    connection->fd = -1;
    if (was_up)
        tell_down(node, id, peer);
}

void connection_close(struct connection *connection)
{
    close_because(connection, "closed");
}

static void lost(struct connection *connection, const char *why)
{
    struct slice peer = channel_peer(connection->channel);
    log_debug("%s: %.*s: %s", connection->address, (int)peer.size, (const char *)peer.data, why);
    close_because(connection, why);
}

static ssize_t send_some(struct connection *connection);

/* The channel gave up. What it still has to say (a refusal) goes as far as the socket takes it. */
static void give_up(struct connection *connection)
{
    if (!connection->mute)
        (void)send_some(connection);
    const char *why = channel_error(connection->channel);
    if (connection->both_dial && !connection->up)
        log_debug("%s: %s", connection->address, why);
    else if (connection->dial == NULL || dial_is_quiet(connection->dial)) /* else dial_lost does */
        log_warning("%s: %s", connection->address, why);
    close_because(connection, why);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

/* One sendmsg of what the channel has. Bytes sent, 0 when it has nothing, or -errno. */
static ssize_t send_some(struct connection *connection)
{
    struct iovec vector[VECTOR_LIMIT];
    struct msghdr message = {.msg_iov = vector};
    message.msg_iovlen = channel_output(connection->channel, vector, VECTOR_LIMIT);
    if (message.msg_iovlen == 0)
        return 0;
    ssize_t sent;
    do
        sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    channel_sent(connection->channel, (size_t)sent, now_of(connection));
    connection->node->metrics.bytes_sent += (uint64_t)sent;
    return sent;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void arm(struct connection *connection)
{
    int events = connection->blocked ? UV_WRITABLE : 0;
    /* A channel that is called again every turn reads nothing until it is through. A node that is
     * closing reads no more. */
    if (!connection->unfinished && !connection->clocked && connection->node->state != NODE_CLOSING)
        events |= UV_READABLE;
    if (events == connection->armed)
        return;
    connection->armed = events;
    if (events == 0)
        uv_poll_stop(&connection->poll);
    else
        uv_poll_start(&connection->poll, events, on_poll);
}

/* Everything is sent and the node is closing. The peer's unread bytes are read away: closing with
 * bytes unread would make the kernel send a reset, which may overtake our goodbye. */
static void depart(struct connection *connection)
{
    shutdown(connection->fd, SHUT_WR);
    for (int i = 0; i < READ_LIMIT / NODE_SCRATCH; i++)
        if (recv(connection->fd, connection->node->scratch, NODE_SCRATCH, MSG_DONTWAIT) <= 0)
            break;
    connection_close(connection);
}

void connection_flush(struct connection *connection)
{
    forget_dirty(connection);
    if (connection->ending != NULL) {
        lost(connection, connection->ending);
        return;
    }
    if (connection->up && !channel_is_up(connection->channel)) { /* sending passed a limit */
        give_up(connection);
        return;
    }
    connection->blocked = false;
    for (size_t total = 0; !connection->mute && channel_queued(connection->channel) != 0;) {
        if (total >= WRITE_LIMIT) {
            connection->blocked = true;
            break;
        }
        ssize_t sent = send_some(connection);
        if (sent == -EAGAIN || sent == -EWOULDBLOCK) {
            connection->blocked = true;
            break;
        }
        if (sent == -EPIPE || sent == -ECONNRESET) {
            /* The peer is gone, but what it sent before may still wait to be read. Reading ends
             * with an error or the end, which closes. */
            connection->mute = true;
            break;
        }
        if (sent < 0) {
            lost(connection, strerror((int)-sent));
            return;
        }
        if (sent == 0)
            break;
        total += (size_t)sent;
    }
    if (connection->node->state == NODE_CLOSING && !connection->blocked)
        depart(connection);
    else
        arm(connection);
}

void connection_mark_dirty(struct connection *connection)
{
    /* While the socket is full its poll does the work, unless it is to be closed. */
    const bool ends =
        connection->ending != NULL || (connection->up && !channel_is_up(connection->channel));
    if (connection->dirty || (connection->blocked && !ends))
        return;
    connection->dirty = true;
    connection->next_dirty = connection->node->dirty;
    connection->node->dirty = connection;
}

void connection_end(struct connection *connection, const char *why)
{
    if (connection->ending != NULL)
        return;
    connection->ending = why;
    if (connection->node->current != connection)
        connection_mark_dirty(connection);
}

void connection_mark_member(struct connection *connection)
{
    /* A failure costs a late notice. */
    static const struct {
        int option, value;
    } options[] = {
        {TCP_KEEPIDLE, MEMBER_KEEPALIVE_S},
        {TCP_KEEPINTVL, MEMBER_KEEPALIVE_S},
        {TCP_USER_TIMEOUT, NODE_LINK_SILENCE_MS},
    };
    if (connection->member)
        return;
    connection->member = true;
    connection->node->members++;
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        (void)setsockopt(connection->fd, IPPROTO_TCP, options[i].option, &options[i].value,
            sizeof(options[i].value));
}

void connection_leave(struct connection *connection)
{
    if (connection->up)
        channel_say_goodbye(connection->channel);
    set_unfinished(connection, false);
    connection_set_clocked(connection, false);
    connection_flush(connection);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static void on_idle(uv_idle_t *idle);

static void set_unfinished(struct connection *connection, bool unfinished)
{
    struct node *node = connection->node;
    if (connection->unfinished == unfinished)
        return;
    connection->unfinished = unfinished;
    if (unfinished) {
        connection->next_unfinished = node->unfinished;
        node->unfinished = connection;
        uv_idle_start(&node->unfinished_idle, on_idle);
        return;
    }
    struct connection **at = &node->unfinished;
    while (*at != connection)
        at = &(*at)->next_unfinished;
    *at = connection->next_unfinished;
    if (node->unfinished == NULL)
        uv_idle_stop(&node->unfinished_idle);
}

/* Returns whether more may be read now. May close the connection. */
static bool feed(struct connection *connection, struct slice bytes)
{
    struct node *node = connection->node;
    node->current = connection;
    int result = channel_feed(connection->channel, bytes, now_of(connection));
    node->current = NULL;
    if (connection->ending != NULL) {
        lost(connection, connection->ending);
        return false;
    }
    if (result < 0) {
        give_up(connection);
        return false;
    }
    set_unfinished(connection, result == 1);
    return result == 0;
}

/* One turn of every channel that was not through with its bytes. */
static void on_idle(uv_idle_t *idle)
{
    struct node *node = idle->data;
    struct connection *next;
    for (struct connection *connection = node->unfinished; connection != NULL; connection = next) {
        next = connection->next_unfinished;
        feed(connection, slice_of(NULL, 0));
        if (!connection->closing)
            connection_flush(connection);
    }
}

/* Where the next bytes go: straight into the block of a large value that is under way, and behind
 * it into the scratch buffer. */
static int read_vector(struct connection *connection, struct iovec vector[2])
{
    struct node *node = connection->node;
    uint8_t *area;
    size_t size;
    if (!channel_area(connection->channel, &area, &size)) {
        const size_t limit = connection->bulk    ? READ_BEHIND
                             : connection->dense ? READ_DENSE
                                                 : NODE_SCRATCH;
        vector[0] = (struct iovec){node->scratch, limit};
        return 1;
    }
    assert(size != 0);
    connection->bulk = true;
    vector[0] = (struct iovec){area, size < READ_LIMIT ? size : READ_LIMIT};
    vector[1] = (struct iovec){node->scratch, READ_BEHIND};
    return size < READ_LIMIT ? 2 : 1;
}

/* Feeds what came, `got` bytes. Returns whether more may be read now. May close the connection. */
static bool feed_vector(
    struct connection *connection, const struct iovec vector[2], int count, size_t got)
{
    const size_t first = got < vector[0].iov_len ? got : vector[0].iov_len;
    bool more = feed(connection, slice_of(vector[0].iov_base, first));
    if (connection->closing)
        return false;
    const bool full = got == vector[0].iov_len + (count == 2 ? vector[1].iov_len : 0);
    if (got > first) {
        more = feed(connection, slice_of(vector[1].iov_base, got - first));
        if (connection->closing)
            return false;
    }
    /* Small messages again, and many: they are read by the scratch buffer. */
    uint8_t *area;
    size_t size;
    if (full && connection->bulk && vector[count - 1].iov_base == connection->node->scratch &&
        !channel_area(connection->channel, &area, &size))
        connection->bulk = false;
    return more && full;
}

/* Takes note of what one read brought. */
static void count_read(
    struct connection *connection, size_t got, uint64_t *messages, uint64_t *senders)
{
    uint64_t from;
    const uint64_t count = channel_take_count(connection->channel, &from);
    *messages += count;
    *senders |= from;
    if (got >= READ_DENSE)
        connection->dense = count * DENSE_BYTES >= got;
}

/* Returns how many bytes came. May close the connection. */
static size_t read_some(struct connection *connection)
{
    struct node *node = connection->node;
    const uint64_t now_ns = uv_hrtime(), end_ns = now_ns + READ_NS;
    uint64_t messages = 0, senders = 0;
    size_t total = 0;
    while (total < READ_LIMIT) {
        struct iovec vector[2];
        struct msghdr message = {.msg_iov = vector};
        const int count = read_vector(connection, vector);
        message.msg_iovlen = (size_t)count;
        ssize_t got =
            count == 1 ? recv(connection->fd, vector[0].iov_base, vector[0].iov_len, MSG_DONTWAIT)
                       : recvmsg(connection->fd, &message, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (got <= 0) {
            lost(connection, got == 0 ? "the peer closed the connection" : strerror(errno));
            return total;
        }
        total += (size_t)got;
        node->metrics.bytes_received += (uint64_t)got;
        bool more = feed_vector(connection, vector, count, (size_t)got);
        if (connection->closing)
            return total;
        count_read(connection, (size_t)got, &messages, &senders);
        if (!more || uv_hrtime() >= end_ns)
            break;
        connection_flush(connection);
        if (connection->closing)
            return total;
    }
    connection_set_clocked(connection, crowd_note(&connection->crowd, messages, senders, now_ns));
    connection_flush(connection);
    return total;
}

void connection_read(struct connection *connection)
{
    if (!connection->unfinished && connection->node->state != NODE_CLOSING)
        read_some(connection);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct connection *connection = poll->data;
    if (status < 0) {
        /* How libuv tells of POLLERR; the poll is stopped. A reset leaves what came before it
         * readable: read until the socket says the error itself. */
        connection->armed = 0;
        if (!connection->unfinished && read_some(connection) == 0 && !connection->closing)
            lost(connection, uv_strerror(status));
        return;
    }
    if (events & UV_WRITABLE) {
        connection_flush(connection);
        if (connection->closing)
            return;
    }
    if ((events & UV_READABLE) && !connection->unfinished)
        read_some(connection);
}

void connection_clock(struct connection *connection, uint64_t now_ms)
{
    if (channel_clock(connection->channel, now_ms) < 0)
        give_up(connection);
    else if (channel_queued(connection->channel) != 0 && !connection->blocked)
        connection_flush(connection);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static void on_up(void *context, struct channel *channel)
{
    struct connection *connection = context;
    struct node *node = connection->node;
    connection->up = true;
    node->metrics.handshakes_pending--;
    connection_table_add_name(&node->connections, connection);
    struct slice peer = channel_peer(connection->channel);
    log_debug(
        "%s: %.*s is connected", connection->address, (int)peer.size, (const char *)peer.data);
    if (connection->dial != NULL)
        dial_up(connection->dial);
    else if (node->metrics.connections - node->members > node->options.max_connections &&
             !dialler_knows(node, peer)) {
        node->metrics.connections_refused++;
        node->refused_since_log++;
        connection_end(connection, "more connections than max_connections");
        return;
    }
    if (node->events.on_up != NULL && node->closed == NULL)
        node->events.on_up(node->events.context, connection->id, channel);
}

static void on_named(
    void *context, struct channel *channel, size_t which, const struct channel_message *message)
{
    struct connection *connection = context;
    struct node *node = connection->node;
    if (connection->ending == NULL && node->closed == NULL)
        node->events.on_named(node->events.context, connection->id, channel, which, message);
}

static bool is_dialling(void *context, struct slice peer)
{
    struct connection *connection = context;
    return connection->both_dial = dialler_shakes_hands(connection->node, peer);
}

static void on_message(
    void *context, struct channel *channel, const struct channel_message *message)
{
    struct connection *connection = context;
    struct node *node = connection->node;
    node->events.on_message(node->events.context, connection->id, channel, message);
}

static void on_settle(void *context, struct channel *channel)
{
    struct connection *connection = context;
    struct node *node = connection->node;
    if (node->events.on_settle != NULL)
        node->events.on_settle(node->events.context, connection->id, channel);
}

struct connection *connection_open(struct node *node, int fd, enum handshake_role role,
    struct slice peer, const struct sockaddr_storage *address, struct dial *dial)
{
    struct connection *connection = heap_allocate_zeroed(sizeof(*connection));
    if (connection == NULL)
        goto no_connection;
    connection->node = node;
    connection->fd = fd;
    node_address_text(address, connection->address);
    connection->channel =
        channel_create(&node->options.channel, role, peer, node_random(node), uv_now(node->loop),
            (struct channel_events){.context = connection,
                .on_up = on_up,
                .on_message = on_message,
                .on_settle = on_settle,
                .on_named = on_named,
                .is_dialling = is_dialling});
    if (connection->channel == NULL)
        goto no_channel;
    if (connection_table_add(&node->connections, connection) != 0)
        goto no_id;
    if (uv_poll_init(node->loop, &connection->poll, fd) != 0)
        goto no_poll;
    connection->poll.data = connection;
    connection->dial = dial;
    connection_table_add_channel(&node->connections, connection);
    node->handles++;
    node->metrics.connections++;
    node->metrics.handshakes_pending++;
    /* Not flushed here: that may close it, and the caller has not even got it yet. */
    arm(connection);
    if (channel_queued(connection->channel) != 0)
        connection_mark_dirty(connection);
    return connection;

no_poll:
    connection_table_remove(&node->connections, connection);
no_id:
    channel_destroy(connection->channel);
no_channel:
    heap_release(connection);
no_connection:
    close(fd);
    return NULL;
}
