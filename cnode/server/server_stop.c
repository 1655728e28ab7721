/* How a node stops: what is dirty is persisted, then everything is closed.
 *
 * A member of a cluster hands over or persists what it owns first, and goes on serving meanwhile:
 * what it still owns at once, all else by way of its owner, so that nobody elsewhere sees an error.
 * Then it stops answering its own clients, stops serving, tells etcd, and lingers until the others
 * have heard of it. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "brain/log.h"
#include "server_inside.h"

/* How long objects may be taken over without their number going down. */
enum { YIELD_LOOK_MS = 1000 };
enum { DRAIN_CHECK_MS = 20, DRAIN_REPORT_MS = 1000, GOODBYE_MS = 1000 };
/* etcd answers in milliseconds, or is out of reach; then the lease ends by itself. */
enum { LEAVE_MS = 2000 };
/* From etcd's answer until every member has the view without us: what they still send to us is
 * refused meanwhile, and goes elsewhere, where after that it would be lost with the link. */
enum { LINGER_MS = 300 };

/* ---- closing --------------------------------------------------------------------------------- */

static void close_signals(struct server *server)
{
    for (int i = 0; i < TRACKED_SIGNALS; i++)
        if (!uv_is_closing((uv_handle_t *)&server->signals[i]))
            uv_close((uv_handle_t *)&server->signals[i], NULL);
}

static void on_cluster_closed(void *context)
{
    struct server *server = context;
    loop_watch_stop(&server->watch);
    close_signals(server);
}

static void on_storage_closed(void *context)
{
    struct server *server = context;
    if (server->clustered)
        clustering_release(&server->clustering, on_cluster_closed, server);
    else
        on_cluster_closed(server);
}

static void on_node_closed(void *context)
{
    struct server *server = context;
    server->node = NULL;
    server->service.node = NULL; /* a load may still come back */
    if (server->storage_opened)
        storage_close(&server->storage, on_storage_closed);
    else
        on_storage_closed(server);
}

void server_close(struct server *server)
{
    server->phase = STOP_CLOSING;
    uv_timer_stop(&server->drain);
    uv_close((uv_handle_t *)&server->drain, NULL);
    if (server->clustered)
        clustering_stop(&server->clustering);
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

/* What it still was to the others, at the end of a member's last sentence; "": nothing. */
static const char *left_over_text(uint64_t owned, uint64_t copies)
{
    static char text[96];
    text[0] = '\0';
    if (owned > 0 || copies > 0)
        snprintf(text, sizeof(text),
            "; %" PRIu64 " objects were still owned, %" PRIu64 " copies still held", owned, copies);
    return text;
}

/* What is still dirty when drain_timeout is over cannot be waited for: the thread of a warehouse
 * that hangs cannot be ended, so the process is. */
static _Noreturn void give_up(struct server *server)
{
    log_error("stopped after drain_timeout: %" PRIu64 " objects could not be persisted%s%s",
        server->drain_left, server->drain_left > 0 ? fate_of_unsaved(server) : "",
        left_over_text(server->owned_left, server->copies_left));
    log_stop();
    _exit(SERVER_EXIT_FAILURE);
}

_Noreturn void server_stop_at_once(struct server *server)
{
    uint64_t unsaved = server->phase == STOP_CLOSING ? 0 : storage_unsaved(&server->storage);
    uint64_t owned = 0, copies = 0;
    if (server->clustered)
        clustering_left_over(&server->clustering, &owned, &copies);
    log_error("second signal: stopped at once, %" PRIu64 " objects were not persisted%s%s", unsaved,
        unsaved > 0 ? fate_of_unsaved(server) : "", left_over_text(owned, copies));
    log_stop();
    _exit(SERVER_EXIT_FAILURE);
}

/* ---- draining -------------------------------------------------------------------------------- */

static void begin_phase(struct server *server, enum stop_phase phase)
{
    server->phase = phase;
    server->phase_ms = uv_now(&server->loop);
}

/* What is dirty is handed over, and dumps that have not begun would only keep it here. When nobody
 * takes it (others are stopping too) it is dumped after all. */
static void yield_or_dump(struct server *server)
{
    struct store *store = server->storage.store;
    const uint64_t now_ms = uv_now(&server->loop);
    uint64_t owned, copies;
    if (!server->yields || now_ms - server->yield_looked_ms < YIELD_LOOK_MS)
        return;
    clustering_left_over(&server->clustering, &owned, &copies);
    if (clustering_hands_over(&server->clustering) && owned < server->yield_owned) {
        server->yield_owned = owned;
        server->yield_looked_ms = now_ms;
        return;
    }
    server->yields = false;
    store_yield(store, false, server_clock_ms(&server->storage.clock));
    store_drain(store, server_clock_ms(&server->storage.clock));
}

static void report(struct server *server, uint64_t unsaved)
{
    const uint64_t now_ms = uv_now(&server->loop);
    if (now_ms - server->drain_reported_ms < DRAIN_REPORT_MS)
        return;
    server->drain_reported_ms = now_ms;
    if (!server->clustered) {
        log_info("stopping: %" PRIu64 " of %" PRIu64 " objects still to be persisted", unsaved,
            server->drain_total);
        return;
    }
    uint64_t owned, copies;
    clustering_left_over(&server->clustering, &owned, &copies);
    log_info("stopping: %" PRIu64 " objects still owned, %" PRIu64
             " of them to be persisted or handed over; %" PRIu64 " copies held for others",
        owned, unsaved, copies);
}

static void drained(struct server *server)
{
    uint64_t owned = 0, copies = 0;
    if (server->clustered && clustering_is_out(&server->clustering))
        clustering_left_over(&server->clustering, &owned, &copies);
    if (copies > 0)
        log_warning("no member of the cluster: %" PRIu64
                    " objects that the journal brought back stay there for the next start",
            copies);
    else {
        if (server->clustered)
            clustering_left_nothing(&server->clustering);
        log_info("everything is persisted%s (%" PRIu64 " objects in %" PRIu64 " ms)",
            server->clustered ? " or handed over" : "", server->drain_total,
            uv_now(&server->loop) - server->drain_started_ms);
    }
    server->service.stopping = server->service.closing = true;
    if (server->clustered)
        begin_phase(server, STOP_FINISHING);
    else
        server_close(server);
}

static void drain(struct server *server)
{
    const uint64_t unsaved = storage_unsaved(&server->storage);
    yield_or_dump(server);
    /* Readers were served until here; those that never pause must not keep us. */
    if (unsaved == 0 && !server->clustered)
        server->service.closing = true;
    if (unsaved == 0 && !storage_is_busy(&server->storage) &&
        (!server->clustered || clustering_is_drained(&server->clustering))) {
        drained(server);
        return;
    }
    report(server, unsaved);
    if (uv_now(&server->loop) - server->drain_started_ms < server->config->drain_timeout)
        return;
    server->drain_left = unsaved;
    if (!server->clustered)
        give_up(server);
    clustering_left_over(&server->clustering, &server->owned_left, &server->copies_left);
    server->given_up = server->service.stopping = server->service.closing = true;
    begin_phase(server, STOP_LEAVING);
    clustering_leave(&server->clustering);
}

static void finish(struct server *server, uint64_t waited_ms)
{
    if (!list_is_empty(&server->clustering.routing.waiting) &&
        !clustering_is_out(&server->clustering) && waited_ms < server->config->server_exec_timeout)
        return;
    begin_phase(server, STOP_LEAVING);
    clustering_leave(&server->clustering);
}

static void leave(struct server *server, uint64_t waited_ms)
{
    if (server->clustering.left || waited_ms >= LEAVE_MS)
        begin_phase(server, STOP_LINGERING);
}

static void linger(struct server *server, uint64_t waited_ms)
{
    if (waited_ms < LINGER_MS && server->clustering.took_part)
        return;
    if (server->given_up)
        give_up(server);
    server_close(server);
}

static void on_drain(uv_timer_t *timer)
{
    struct server *server = timer->data;
    const uint64_t waited_ms = uv_now(&server->loop) - server->phase_ms;
    switch (server->phase) {
    case STOP_DRAINING:
        drain(server);
        break;
    case STOP_FINISHING:
        finish(server, waited_ms);
        break;
    case STOP_LEAVING:
        leave(server, waited_ms);
        break;
    case STOP_LINGERING:
        linger(server, waited_ms);
        break;
    case STOP_NOT:
    case STOP_CLOSING:
        break;
    }
    if (server->phase != STOP_CLOSING)
        uv_timer_start(timer, on_drain, DRAIN_CHECK_MS, 0);
}

void server_stop(struct server *server, const char *reason)
{
    if (server->phase != STOP_NOT)
        return;
    begin_phase(server, STOP_DRAINING);
    server_tell_systemd("STOPPING=1");
    server->drain_started_ms = server->drain_reported_ms = uv_now(&server->loop);
    server->drain_total = storage_unsaved(&server->storage);
    log_info("stopping on %s: %" PRIu64 " objects to persist", reason, server->drain_total);
    if (server->clustered) {
        clustering_drain(&server->clustering);
    } else {
        server->service.stopping = true;
        if (server->node != NULL)
            node_stop_listening(server->node);
    }
    server->yields = server->clustered && clustering_hands_over(&server->clustering);
    if (server->yields) {
        uint64_t copies;
        clustering_left_over(&server->clustering, &server->yield_owned, &copies);
        server->yield_looked_ms = uv_now(&server->loop);
        store_yield(server->storage.store, true, server_clock_ms(&server->storage.clock));
        warehouse_take_back(server->storage.warehouse);
    } else {
        store_drain(server->storage.store, server_clock_ms(&server->storage.clock));
    }
    /* Not at once: the answer to a `shutdown` request is flushed first. */
    uv_timer_start(&server->drain, on_drain, DRAIN_CHECK_MS, 0);
}
