/* Private to server.c and server_stop.c. */
#ifndef BRAIN_SERVER_SERVER_INSIDE_H
#define BRAIN_SERVER_SERVER_INSIDE_H

#include "brain/node.h"
#include "brain/server.h"
#include "clustering.h"
#include "epmd_starter.h"
#include "loop_watch.h"

enum { TRACKED_SIGNALS = 3 };

/* Of a stop; a node that is no member of a cluster goes from draining to closing. */
enum stop_phase {
    STOP_NOT,
    STOP_DRAINING,  /* what is dirty is persisted, what is owned handed over */
    STOP_FINISHING, /* a member: clients that wait are answered, new requests are refused */
    STOP_LEAVING,   /* a member: etcd is told */
    STOP_LINGERING, /* a member: the others are hearing of it */
    STOP_CLOSING,
};

struct server {
    const struct config *config;
    uv_loop_t loop;
    struct epmd_starter epmd;
    struct storage storage;
    bool storage_opened;
    struct service service;
    struct clustering clustering;
    bool clustered; /* and `clustering` was prepared */
    struct node *node;
    struct loop_watch watch;
    struct metrics_registry metrics;
    uv_signal_t signals[TRACKED_SIGNALS];
    uv_timer_t drain;
    uint64_t started_ms;
    uint64_t drain_started_ms, drain_reported_ms, drain_total;
    uint64_t drain_left, owned_left, copies_left; /* when drain_timeout was over */
    uint64_t phase_ms;                            /* when the phase began */
    /* A member that drains: others take over what is dirty, so that nothing need be dumped; how
     * much was owned when it was looked at last. */
    bool yields;
    uint64_t yield_owned, yield_looked_ms;
    enum stop_phase phase;
    bool given_up; /* drain_timeout is over, and the membership is still to be ended */
    enum server_exit status;
};

void server_tell_systemd(const char *state);
/* Begins to stop, when that has not begun. */
void server_stop(struct server *server, const char *reason);
/* Ends what was set up, in the reverse order, then the loop. */
void server_close(struct server *server);
/* A signal while it is stopping: ends the process. */
_Noreturn void server_stop_at_once(struct server *server);

#endif
