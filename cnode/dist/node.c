/* The node as a device: from nothing to ready, its clock, and its end.
 *
 *   node_open -> listening address resolved -> bound -> registered with epmd -> ready
 *
 * Connections are accepted only when ready: before that our creation is not known, and it is part
 * of the handshake and of our pids. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sys/random.h>

#include "brain/log.h"
#include "node_private.h"

enum {
    CLOCK_MS = 1000,
    CLOSING_STEP_MS = 10,
    FIRST_CREATION = 4, /* 0 to 3 are the creations of ancient nodes */
};

/* Refilled from the kernel a pool at a time: a challenge costs no system call. */
uint32_t node_random(struct node *node)
{
    if (node->random_left == 0) {
        uint8_t *bytes = (uint8_t *)node->random;
        for (size_t filled = 0; filled < sizeof(node->random);) {
            ssize_t got = getrandom(bytes + filled, sizeof(node->random) - filled, 0);
            /* It fails only when interrupted, and not at all once the pool is initialised. */
            assert(got > 0 || errno == EINTR);
            filled += got > 0 ? (size_t)got : 0;
        }
        node->random_left = NODE_RANDOM_POOL;
    }
    return node->random[--node->random_left];
}

/* ---- the end of each turn ---------------------------------------------------------------------
 */

static void flush_dirty(struct node *node)
{
    while (node->dirty != NULL)
        connection_flush(node->dirty); /* takes it off the list */
}

static void on_before_poll(uv_prepare_t *prepare)
{
    flush_dirty(prepare->data);
}

static void on_after_poll(uv_check_t *check)
{
    flush_dirty(check->data);
}

static void on_clock(uv_timer_t *timer)
{
    struct node *node = timer->data;
    uint64_t now_ms = uv_now(node->loop);
    for (uint32_t i = 0; i < node->connections.slots_used; i++) {
        struct connection *connection = connection_table_at(&node->connections, i);
        if (connection != NULL)
            connection_clock(connection, now_ms);
    }
    dialler_clock(node);
    listen_clock(node);
}

/* ---- becoming ready ---------------------------------------------------------------------------
 */

void node_fail(struct node *node, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(node->sentence, sizeof(node->sentence), format, arguments);
    va_end(arguments);
    node->state = NODE_FAILED;
    node->events.on_failed(node->events.context, node->sentence);
}

static void become_ready(struct node *node, uint32_t creation)
{
    node->options.channel.creation = creation;
    node->state = NODE_READY;
    listen_accept(node);
    dialler_start(node);
    node->events.on_ready(node->events.context, node->port);
}

static void on_registered(void *context, uint32_t creation)
{
    struct node *node = context;
    if (node->state == NODE_STARTING)
        become_ready(node, creation);
}

static void on_refused(void *context, int error)
{
    struct node *node = context;
    (void)error;
    if (node->state == NODE_STARTING)
        node_fail(
            node, "a node named %s is already registered with epmd on this host", node->alive);
}

static void on_start_epmd(void *context)
{
    struct node *node = context;
    if (node->state != NODE_CLOSING)
        node->events.start_epmd(node->events.context);
}

void node_listening(struct node *node)
{
    if (!node->options.epmd_enable) {
        become_ready(node, node_random(node) % (UINT32_MAX - FIRST_CREATION) + FIRST_CREATION);
        return;
    }
    node->registration = epmd_register(node->loop, node->options.epmd_address,
        node->options.epmd_port, node->alive, node->port,
        (struct epmd_events){
            .context = node,
            .on_registered = on_registered,
            .on_refused = on_refused,
            .start_epmd = node->events.start_epmd != NULL ? on_start_epmd : NULL,
        });
    if (node->registration == NULL)
        node_fail(node, "cannot register with epmd: %s is no numeric address, or memory is short",
            node->options.epmd_address);
}

static const char *check_options(const struct node_options *options)
{
    struct slice name = options->channel.name;
    const uint8_t *at = name.size != 0 ? memchr(name.data, '@', name.size) : NULL;
    if (name.size > NODE_NAME_LIMIT || at == NULL || at == name.data ||
        at - name.data > UINT8_MAX || at + 1 == name.data + name.size)
        return "the node's name must be name@host";
    return NULL;
}

/* In a turn of its own: nobody expects events before node_open returned. */
static void on_no_lookup(uv_timer_t *timer)
{
    struct node *node = timer->data;
    node_fail(node, "cannot look up listen_address %s: %s", node->options.listen_address,
        uv_strerror(node->listen_error));
}

int node_open(struct node **out, uv_loop_t *loop, const struct node_options *options,
    struct node_events events, const char **why)
{
    *out = NULL;
    *why = check_options(options);
    if (*why != NULL)
        return BRAIN_ECONFIG;
    *why = error_sentence(BRAIN_ENOMEM);
    struct node *node = heap_allocate_zeroed(sizeof(*node));
    if (node == NULL)
        return BRAIN_ENOMEM;
    node->loop = loop;
    node->options = *options;
    node->events = events;
    node->listen_fd = node->reserve_fd = -1;
    node->buffers.limit_bytes = options->max_buffers_bytes;
    node->options.channel.receive.total = node->options.channel.send.total = &node->buffers;
    assert(options->other_names_count <= CHANNEL_OTHER_NAMES);
    assert(options->other_names_count == 0 || events.on_named != NULL);
    node->options.channel.other_names = options->other_names;
    node->options.channel.other_names_count = options->other_names_count;
    const uint8_t *name = options->channel.name.data;
    size_t alive_size =
        (size_t)((const uint8_t *)memchr(name, '@', options->channel.name.size) - name);
    memcpy(node->alive, name, alive_size); /* zeroed: ends with NUL */
    uint64_t seed = (uint64_t)node_random(node) << 32 | node_random(node);
    int status = connection_table_init(&node->connections, seed);
    if (status == 0)
        status = dialler_init(node);
    if (status == 0)
        status = clocked_open(node);
    if (status != 0) {
        dialler_release(node);
        connection_table_release(&node->connections);
        heap_release(node);
        if (status != BRAIN_ENOMEM)
            *why = "no descriptor is left for a timer";
        return status;
    }
    /* From here on the loop knows us: what fails is told by on_failed, and node_close cleans up. */
    uv_timer_init(loop, &node->clock);
    uv_timer_init(loop, &node->closing);
    uv_prepare_init(loop, &node->before_poll);
    uv_check_init(loop, &node->after_poll);
    uv_idle_init(loop, &node->unfinished_idle);
    node->clock.data = node->closing.data = node->before_poll.data = node->after_poll.data =
        node->unfinished_idle.data = node;
    node->handles = 6;
    uv_timer_start(&node->clock, on_clock, CLOCK_MS, CLOCK_MS);
    uv_prepare_start(&node->before_poll, on_before_poll);
    uv_check_start(&node->after_poll, on_after_poll);
    *out = node;
    int error = listen_begin(node);
    if (error != 0) {
        node->listen_error = error;
        uv_timer_start(&node->closing, on_no_lookup, 0, 0);
    }
    *why = NULL;
    return 0;
}

/* ---- what the server asks ---------------------------------------------------------------------
 */

struct channel *node_channel(struct node *node, connection_id id)
{
    struct connection *connection = connection_table_find(&node->connections, id);
    return connection != NULL ? connection->channel : NULL;
}

/* Is `pid` one of the node `name`, written in the form that all of today's peers use? */
static bool is_pid_of(struct slice pid, struct slice name)
{
    enum { BEGIN = 3, NUMBERS = 12 }; /* tag, atom's tag and length; id, serial, creation */
    return name.size <= 255 && pid.size == BEGIN + name.size + NUMBERS &&
           pid.data[0] == ETF_NEW_PID && pid.data[1] == ETF_SMALL_ATOM_UTF8 &&
           pid.data[2] == name.size && bytes_equal(pid.data + BEGIN, name.data, name.size);
}

struct channel *node_route(struct node *node, connection_id asked_on, struct slice pid)
{
    struct connection *connection = connection_table_find(&node->connections, asked_on);
    /* Nearly always the asker's own. */
    if (connection != NULL && connection->up && is_pid_of(pid, channel_peer(connection->channel)))
        return connection->channel;
    struct etf_pid parts;
    if (etf_pid_parts(pid, &parts) == 0) {
        if (connection == NULL || !connection->up ||
            !slice_equal(channel_peer(connection->channel), parts.node))
            connection = connection_table_by_name(&node->connections, parts.node);
        if (connection != NULL)
            return connection->channel;
    }
    node->metrics.answers_undeliverable++;
    return NULL;
}

void node_flush(struct node *node, struct channel *channel)
{
    /* What is being fed is flushed after that anyway. */
    if (node->current != NULL && node->current->channel == channel)
        return;
    struct connection *connection = connection_table_by_channel(&node->connections, channel);
    if (connection != NULL)
        connection_mark_dirty(connection);
}

void node_mark_link(struct node *node, connection_id id)
{
    struct connection *connection = connection_table_find(&node->connections, id);
    if (connection != NULL)
        connection_mark_member(connection);
}

void node_disconnect(struct node *node, connection_id id, const char *why)
{
    struct connection *connection = connection_table_find(&node->connections, id);
    if (connection != NULL)
        connection_end(connection, why);
}

const struct channel_node *node_identity(const struct node *node)
{
    return &node->options.channel;
}

uint64_t node_buffered_bytes(const struct node *node)
{
    return node->buffers.used_bytes;
}

void node_metrics_register(struct metrics_registry *registry, const struct node *node)
{
    const char *group = "dist";
    const struct node_metrics *source = &node->metrics;
    NODE_METRICS(METRICS_ROW)
    channel_metrics_register(registry, &node->options.channel.metrics);
}

/* ---- the end ----------------------------------------------------------------------------------
 */

void node_finish_if_closed(struct node *node)
{
    if (node->state != NODE_CLOSING || node->handles != 0)
        return;
    assert(node->connections.count == 0);
    connection_table_release(&node->connections);
    dialler_release(node);
    node->closed(node->events.context);
    heap_release(node);
}

void node_handle_closed(struct node *node)
{
    assert(node->handles != 0);
    node->handles--;
    node_finish_if_closed(node);
}

static void on_handle_closed(uv_handle_t *handle)
{
    node_handle_closed(handle->data);
}

/* The last one is gone, or the time to say goodbye is over. */
static void on_grace_over(uv_timer_t *timer)
{
    struct node *node = timer->data;
    for (uint32_t i = 0; i < node->connections.slots_used; i++) {
        struct connection *connection = connection_table_at(&node->connections, i);
        if (connection != NULL)
            connection_close(connection);
    }
    uv_handle_t *const handles[] = {
        (uv_handle_t *)&node->clock,
        (uv_handle_t *)&node->closing,
        (uv_handle_t *)&node->before_poll,
        (uv_handle_t *)&node->after_poll,
        (uv_handle_t *)&node->unfinished_idle,
    };
    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
        uv_close(handles[i], on_handle_closed);
    clocked_close(node, on_handle_closed);
}

static void on_closing(uv_timer_t *timer)
{
    struct node *node = timer->data;
    if (node->state != NODE_CLOSING) {
        node->state = NODE_CLOSING;
        node_stop_listening(node);
        dialler_stop(node);
        for (uint32_t i = 0; i < node->connections.slots_used; i++) {
            struct connection *connection = connection_table_at(&node->connections, i);
            if (connection != NULL)
                connection_leave(connection);
        }
        node->grace_end_ms = uv_now(node->loop) + node->grace_ms;
    }
    if (node->connections.count == 0 || uv_now(node->loop) >= node->grace_end_ms) {
        uv_timer_stop(timer);
        on_grace_over(timer);
    }
}

void node_stop_listening(struct node *node)
{
    listen_end(node);
    if (node->registration != NULL)
        epmd_unregister(node->registration);
    node->registration = NULL;
}

void node_close(struct node *node, uint32_t grace_ms, void (*closed)(void *context))
{
    if (node->closed != NULL)
        return;
    node->closed = closed;
    node->grace_ms = grace_ms;
    /* In a turn of its own: this may be called from a message of one of the connections. */
    uv_timer_start(&node->closing, on_closing, 0, CLOSING_STEP_MS);
}
