/* brain-server, put together.
 *
 * Set up: epmd helper, log, loop, storage (warehouse and object store), node. Torn down in the
 * reverse order, after a drain: stop listening, persist everything dirty, say goodbye, close. */
#include "brain/server.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef BRAIN_WITH_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "brain/log.h"
#include "brain/node.h"
#include "epmd_starter.h"
#include "info.h"
#include "loop_watch.h"
#include "service.h"
#include "storage.h"

enum { DRAIN_CHECK_MS = 20, DRAIN_REPORT_MS = 1000, GOODBYE_MS = 1000, TRACKED_SIGNALS = 3 };

struct server {
    const struct config *config;
    uv_loop_t loop;
    struct epmd_starter epmd;
    struct storage storage;
    struct service service;
    struct node *node;
    struct loop_watch watch;
    struct metrics_registry metrics;
    uv_signal_t signals[TRACKED_SIGNALS];
    uv_timer_t drain;
    uint64_t started_ms;
    uint64_t drain_started_ms, drain_reported_ms, drain_total;
    bool stopping, closing;
    enum server_exit status;
};

static void tell_systemd(const char *state)
{
#ifdef BRAIN_WITH_SYSTEMD
    sd_notify(0, state);
#else
    (void)state;
#endif
}

/* ---- stopping -------------------------------------------------------------------------------- */

static void close_signals(struct server *server)
{
    for (int i = 0; i < TRACKED_SIGNALS; i++)
        if (!uv_is_closing((uv_handle_t *)&server->signals[i]))
            uv_close((uv_handle_t *)&server->signals[i], NULL);
}

static void on_storage_closed(void *context)
{
    struct server *server = context;
    loop_watch_stop(&server->watch);
    close_signals(server);
}

static void on_node_closed(void *context)
{
    struct server *server = context;
    server->node = NULL;
    server->service.node = NULL; /* a load may still come back */
    storage_close(&server->storage, on_storage_closed);
}

static void close_everything(struct server *server)
{
    server->closing = true;
    uv_timer_stop(&server->drain);
    uv_close((uv_handle_t *)&server->drain, NULL);
    if (server->node != NULL)
        node_close(server->node, GOODBYE_MS, on_node_closed);
    else
        on_node_closed(server);
}

/* The end of a sentence about objects that the warehouse does not have. */
static const char *fate_of_unsaved(struct server *server)
{
    return journaling_is_sound(&server->storage.journaling)
               ? "; they are in the journal and come back with the next start"
               : " and are lost";
}

/* What is still dirty when drain_timeout is over cannot be waited for: the thread of a warehouse
 * that hangs cannot be ended, so the process is. */
static _Noreturn void give_up(struct server *server, uint64_t unsaved)
{
    log_error("stopped after drain_timeout: %" PRIu64 " objects could not be persisted%s", unsaved,
        fate_of_unsaved(server));
    log_stop();
    _exit(SERVER_EXIT_FAILURE);
}

static void on_drain(uv_timer_t *timer)
{
    struct server *server = timer->data;
    uint64_t now_ms = uv_now(&server->loop);
    uint64_t unsaved = storage_unsaved(&server->storage);
    /* Readers were served until here; those that never pause must not keep us. */
    if (unsaved == 0)
        server->service.closing = true;
    if (unsaved == 0 && !storage_is_busy(&server->storage)) {
        log_info("everything is persisted (%" PRIu64 " objects in %" PRIu64 " ms)",
            server->drain_total, now_ms - server->drain_started_ms);
        close_everything(server);
        return;
    }
    if (now_ms - server->drain_started_ms >= server->config->drain_timeout)
        give_up(server, unsaved);
    if (now_ms - server->drain_reported_ms >= DRAIN_REPORT_MS) {
        server->drain_reported_ms = now_ms;
        log_info("stopping: %" PRIu64 " of %" PRIu64 " objects still to be persisted", unsaved,
            server->drain_total);
    }
    uv_timer_start(timer, on_drain, DRAIN_CHECK_MS, 0);
}

static void stop(struct server *server, const char *reason)
{
    if (server->stopping)
        return;
    server->stopping = true;
    server->service.stopping = true;
    tell_systemd("STOPPING=1");
    server->drain_started_ms = server->drain_reported_ms = uv_now(&server->loop);
    server->drain_total = storage_unsaved(&server->storage);
    log_info("stopping on %s: %" PRIu64 " objects to persist", reason, server->drain_total);
    if (server->node != NULL)
        node_stop_listening(server->node);
    store_drain(server->storage.store, uv_now(&server->loop));
    /* Not at once: the answer to a `shutdown` request is flushed first. */
    uv_timer_start(&server->drain, on_drain, DRAIN_CHECK_MS, 0);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct server *server = handle->data;
    if (server->stopping) {
        uint64_t unsaved = server->closing ? 0 : storage_unsaved(&server->storage);
        log_error("second signal: stopped at once, %" PRIu64 " objects were not persisted%s",
            unsaved, unsaved > 0 ? fate_of_unsaved(server) : "");
        log_stop();
        _exit(SERVER_EXIT_FAILURE);
    }
    stop(server, number == SIGINT ? "SIGINT" : number == SIGTERM ? "SIGTERM" : "SIGHUP");
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_ready(void *context, uint16_t port)
{
    struct server *server = context;
    printf("ready %s port %u\n", server->config->node, (unsigned)port);
    fflush(stdout);
    if (server->config->log_dir[0] != '\0')
        log_info("ready %s port %u", server->config->node, (unsigned)port);
    tell_systemd("READY=1");
}

static void on_failed(void *context, const char *sentence)
{
    struct server *server = context;
    log_error("%s", sentence);
    server->status = SERVER_EXIT_FAILURE;
    stop(server, "a failed start");
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

static void on_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    struct server *server = context;
    service_answer(&server->service, waiter, status, value);
}

static uint64_t buffered_bytes(void *context)
{
    const struct server *server = context;
    return server->node != NULL ? node_buffered_bytes(server->node) : 0;
}

static void on_start_epmd(void *context)
{
    struct server *server = context;
    epmd_starter_run(&server->epmd);
}

static void on_shutdown_request(void *context)
{
    stop(context, "a client's request");
}

static void write_info(void *context, struct buffer *out)
{
    struct server *server = context;
    storage_refresh(&server->storage);
    const struct info info = {
        .node = slice_of_string(server->config->node),
        .uptime_ms = uv_now(&server->loop) - server->started_ms,
        .stopping = server->stopping,
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
    };
    const struct node_events events = {
        .context = server,
        .on_ready = on_ready,
        .on_failed = on_failed,
        .on_message = on_message,
        .on_settle = on_settle,
        .start_epmd = config->epmd_start ? on_start_epmd : NULL,
    };
    return node_open(&server->node, &server->loop, &options, events, why);
}

static void open_service(struct server *server)
{
    struct service *service = &server->service;
    service_init(service, server->config, &server->loop);
    service->store = server->storage.store;
    service->node = server->node;
    service->context = server;
    service->write_info = write_info;
    service->on_shutdown = on_shutdown_request;
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

static int open_all(struct server *server, const char *cookie, const char **why)
{
    int error =
        storage_open(&server->storage, &server->loop, server->config, on_answer, server, why);
    if (error != 0)
        return error;
    server->storage.buffered_bytes = buffered_bytes;
    error = open_node(server, cookie, why);
    open_service(server);
    if (error != 0)
        return error;
    storage_metrics_register(&server->metrics, &server->storage);
    service_metrics_register(&server->metrics, &server->service);
    node_metrics_register(&server->metrics, server->node);
    loop_watch_metrics_register(&server->metrics, &server->watch);
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
        close_everything(server);
    }
    /* A long recovery is no turn: the watch begins when there is somebody to be served. */
    loop_watch_start(&server->watch, &server->loop);
    uv_run(&server->loop, UV_RUN_DEFAULT);
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
