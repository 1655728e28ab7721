/* brain-server, put together.
 *
 * Set up: epmd helper, log, loop, storage (warehouse and object store), node; of a member of a
 * cluster also holdings and core (with the store), links to members (with the node) and managers
 * (when it listens). Torn down in the reverse order, after a drain (server_stop.c). */
#include "brain/server.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#ifdef BRAIN_WITH_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "brain/log.h"
#include "get_nodes.h"
#include "info.h"
#include "server_inside.h"

/* Names of our process beside the registered one (node_options.other_names). */
enum { NAME_MANAGER, NAME_PEER, OTHER_NAMES };
static const char *const other_names[OTHER_NAMES] = {
    [NAME_MANAGER] = GET_NODES_NAME, [NAME_PEER] = PEERS_NAME};

/* ---- events ---------------------------------------------------------------------------------- */

void server_tell_systemd(const char *state)
{
#ifdef BRAIN_WITH_SYSTEMD
    sd_notify(0, state);
#else
    (void)state;
#endif
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *server = handle->data;
    if (server->phase != STOP_NOT)
        server_stop_at_once(server);
    server_stop(server, number == SIGINT ? "SIGINT" : number == SIGTERM ? "SIGTERM" : "SIGHUP");
}

static void on_failed(void *context, const char *sentence)
{
    struct server *server = context;
    log_error("%s", sentence);
    server->status = SERVER_EXIT_FAILURE;
    server_stop(server, "a failed start");
}

static void on_ready(void *context, uint16_t port)
{
    struct server *server = context;
    const char *why = "";
    if (server->clustered) {
        if (clustering_start(&server->clustering, port, on_failed, server, &why) != 0) {
            on_failed(server, why);
            return;
        }
        managers_metrics_register(&server->metrics, server->clustering.managers);
    }
    printf("ready %s port %u\n", server->config->node, (unsigned)port);
    fflush(stdout);
    if (server->config->log_dir[0] != '\0')
        log_info("ready %s port %u", server->config->node, (unsigned)port);
    server_tell_systemd("READY=1");
}

static void on_message(void *context, connection_id from, struct channel *channel,
    const struct channel_message *message)
{
    struct server *server = context;
    service_message(&server->service, from, channel, message);
}

static void on_settle(void *context, connection_id from, struct channel *channel)
{
    struct server *server = context;
    (void)channel;
    service_settle(&server->service, from);
}

static void on_named(void *context, connection_id from, struct channel *channel, size_t which,
    const struct channel_message *message)
{
    struct server *server = context;
    if (which == NAME_MANAGER)
        get_nodes_message(
            server->node, server->clustered ? &server->clustering.members : NULL, from, message);
    else if (server->clustered && server->clustering.peers != NULL)
        peers_on_message(server->clustering.peers, from, channel, message);
}

static void on_up(void *context, connection_id id, struct channel *channel)
{
    struct server *server = context;
    if (server->clustering.peers != NULL)
        peers_on_up(server->clustering.peers, id, channel);
}

static void on_down(void *context, connection_id id, struct slice peer)
{
    struct server *server = context;
    if (server->clustering.peers != NULL)
        peers_on_down(server->clustering.peers, id, peer);
}

static void on_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    struct server *server = context;
    if (server->clustered)
        clustering_answer(&server->clustering, waiter, status, value);
    else
        service_answer(&server->service, waiter, status, value);
}

static uint64_t buffered_bytes(void *context)
{
    struct server *server = context;
    return (server->node != NULL ? node_buffered_bytes(server->node) : 0) +
           (server->clustered ? clustering_bytes(&server->clustering) : 0);
}

static void on_start_epmd(void *context)
{
    struct server *server = context;
    epmd_starter_run(&server->epmd);
}

static void on_shutdown_request(void *context)
{
    server_stop(context, "a client's request");
}

static void write_info(void *context, struct buffer *out)
{
    struct server *server = context;
    storage_refresh(&server->storage);
    if (server->clustered)
        clustering_refresh(&server->clustering);
    const struct info info = {
        .node = slice_of_string(server->config->node),
        .uptime_ms = uv_now(&server->loop) - server->started_ms,
        .stopping = server->phase != STOP_NOT,
        .cluster_state = server->clustered ? clustering_state_text(&server->clustering) : "alone",
        .cluster_last_error = server->clustered ? clustering_last_error(&server->clustering) : "",
        .members = server->clustered ? &server->clustering.members : NULL,
        .warehouse = warehouse_name(server->storage.warehouse),
        .warehouse_last_error = warehouse_last_error(server->storage.warehouse),
        .log_dropped = log_dropped(),
        .registry = &server->metrics,
    };
    info_write(out, &info);
}

/* ---- starting -------------------------------------------------------------------------------- */

/* Room for every connection that the configuration allows, as far as the hard limit goes. */
static void raise_descriptor_limit(const struct config *config)
{
    const rlim_t wanted = config->max_connections + 64;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
        log_warning("max_connections = %" PRIu64 " needs %" PRIu64
                    " file descriptors, the system allows %" PRIu64,
            config->max_connections, (uint64_t)wanted, (uint64_t)limit.rlim_cur);
}

static int start_log(const struct config *config)
{
    const struct log_options options = {
        .level = strcmp(config->log_mode, "debug") == 0 ? LOG_DEBUG : LOG_INFO,
        .directory = config->log_dir,
        .file_name = config->log_file_name,
        .max_size_bytes = config->log_max_size,
        .max_files = (unsigned)config->log_max_num_of_files,
    };
    if (log_start(&options) == 0)
        return 0;
    log_error("the log file %s/%s cannot be written: %s", config->log_dir, config->log_file_name,
        strerror(errno));
    return BRAIN_EIO;
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcmp(address, "localhost") == 0;
}

static int open_node(struct server *server, const char *cookie, const char **why)
{
    const struct config *config = server->config;
    const struct node_options options = {
        .channel =
            {
                .name = slice_of_string(config->node),
                .cookie = slice_of_string(cookie),
                .registered_name = slice_of_string(config->registered_name),
                .flags = DFLAGS_OFFERED,
                .receive =
                    {
                        .frame_bytes = config->max_frame_bytes,
                        /* A request around the value: its id, pid, tag and options. */
                        .message_bytes = config->max_object_bytes + 65536,
                        .sequences = (uint32_t)config->max_fragment_sequences,
                        .pending_bytes = config->max_receive_bytes,
                        .terms = {(uint32_t)config->max_term_depth, config->max_term_elements},
                        .scan_budget = 200000, /* elements; about a millisecond */
                    },
                .send =
                    {
                        .queued_bytes = config->max_output_bytes,
                        .fragment_bytes = 65536,
                        /* Measured, gets of 300 kB by a BEAM: x 1.35 of what fragments give. */
                        .whole_bytes = 1 << 20,
                    },
                .monitors = (uint32_t)config->max_monitors,
                .handshake_timeout_ms = (uint32_t)config->handshake_timeout,
                .tick_interval_ms = (uint32_t)config->tick_interval,
                .tick_timeout_ms = (uint32_t)config->tick_timeout,
            },
        .max_buffers_bytes = config->max_buffers_bytes,
        .listen_address = config->listen_address,
        .listen_port = (uint16_t)config->server_port,
        .epmd_enable = config->epmd_enable,
        .epmd_address = config->epmd_address,
        .epmd_port = (uint16_t)config->epmd_port,
        .max_connections = (uint32_t)config->max_connections,
        .max_pending_handshakes = (uint32_t)config->max_pending_handshakes,
        .connect_nodes = config->connect_nodes,
        .connect_nodes_count = config->connect_nodes_count,
        .other_names = other_names,
        .other_names_count = server->clustered ? OTHER_NAMES : NAME_PEER,
    };
    struct node_events events = {
        .context = server,
        .on_ready = on_ready,
        .on_failed = on_failed,
        .on_message = on_message,
        .on_settle = on_settle,
        .start_epmd = config->epmd_start ? on_start_epmd : NULL,
        .on_named = on_named,
    };
    if (server->clustered) {
        events.on_up = on_up;
        events.on_down = on_down;
    }
    return node_open(&server->node, &server->loop, &options, events, why);
}

static void open_service(struct server *server)
{
    struct service *service = &server->service;
    service->store = server->storage.store;
    service->node = server->node;
    service->context = server;
    service->write_info = write_info;
    service->on_shutdown = on_shutdown_request;
    if (server->clustered)
        service->routing = &server->clustering.routing;
}

static void watch_signals(struct server *server)
{
    static const int numbers[TRACKED_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* past ulimit -f: an error of the write, not our end */
    for (int i = 0; i < TRACKED_SIGNALS; i++) {
        uv_signal_init(&server->loop, &server->signals[i]);
        server->signals[i].data = server;
        uv_signal_start(&server->signals[i], on_signal, numbers[i]);
        /* They never keep the loop alive; what is to be finished does. */
        uv_unref((uv_handle_t *)&server->signals[i]);
    }
}

static int open_storage(struct server *server, const char *cookie, const char **why)
{
    struct storage_member member;
    const bool clustered = server->config->manager_enable;
    if (clustered) {
        int error = clustering_prepare(&server->clustering, server->config, cookie, &server->loop,
            &server->storage, &server->service, &member, why);
        server->clustered = true;
        if (error != 0)
            return error;
    }
    server->storage_opened = true; /* also when only partly: it is closed then */
    return storage_open(&server->storage, &server->loop, server->config, clustered ? &member : NULL,
        on_answer, server, why);
}

static int open_all(struct server *server, const char *cookie, const char **why)
{
    service_init(&server->service, server->config, &server->loop);
    int error = open_storage(server, cookie, why);
    if (error != 0)
        return error;
    server->storage.buffered_bytes = buffered_bytes;
    error = open_node(server, cookie, why);
    open_service(server);
    if (error == 0 && server->clustered)
        error = clustering_open_peers(&server->clustering, server->node);
    if (error != 0)
        return error;
    storage_metrics_register(&server->metrics, &server->storage);
    service_metrics_register(&server->metrics, &server->service);
    node_metrics_register(&server->metrics, server->node);
    loop_watch_metrics_register(&server->metrics, &server->watch);
    if (server->clustered)
        clustering_metrics_register(&server->metrics, &server->clustering);
    return 0;
}

static enum server_exit serve(struct server *server, const char *cookie)
{
    const char *why = "";
    uv_timer_init(&server->loop, &server->drain);
    server->drain.data = server;
    watch_signals(server);
    server->started_ms = uv_now(&server->loop);
    if (open_all(server, cookie, &why) != 0) {
        server->status = SERVER_EXIT_FAILURE;
        log_error("%s", why);
        server_close(server);
    }
    /* A long recovery is no turn: the watch begins when there is somebody to be served. */
    loop_watch_start(&server->watch, &server->loop);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    if (server->clustered)
        lease_keeper_release(&server->clustering.lease_keeper);
    service_release(&server->service);
    return server->status;
}

int server_run(const struct config *config, const char *cookie)
{
    static struct server server; /* one per process; large, and zeroed */
    server.config = config;
    server.epmd.request = -1;
    if (config->epmd_enable && config->epmd_start &&
        epmd_starter_open(&server.epmd, (uint16_t)config->epmd_port,
            is_loopback(config->listen_address) ? "127.0.0.1" : "") != 0)
        log_warning("no helper to start epmd with: %s", strerror(errno));
    enum server_exit status = SERVER_EXIT_FAILURE;
    if (start_log(config) == 0) {
        raise_descriptor_limit(config);
        if (uv_loop_init(&server.loop) == 0) {
            status = serve(&server, cookie);
            int open = uv_loop_close(&server.loop);
            if (open != 0)
                log_error("stopped with handles still open: %s", uv_strerror(open));
        }
        log_info("stopped");
        log_stop();
    }
    epmd_starter_close(&server.epmd);
    return (int)status;
}
