/* clustering: this node as a member of a cluster: the core (cluster.h) wired to managers (who the
 * members are, until when the lease holds), peers (what members say), holdings and storage (the
 * objects), and the service's requests (routing.h).
 *
 * One prepare handle, at the end of each turn of the loop, settles what the turn brought and lets
 * the core do what time asks for; a timer wakes the loop for it. Life:
 *
 *   prepare -> (storage_open: attach) -> start (node is ready) -> leave -> stop -> (storage_close:
 *   detach) -> release */
#ifndef BRAIN_SERVER_CLUSTERING_H
#define BRAIN_SERVER_CLUSTERING_H

#include "brain/managers.h"
#include "brain/replica.h"
#include "lease_file.h"
#include "members.h"
#include "peers.h"
#include "returning.h"
#include "routing.h"
#include "storage.h"

/* In one group with the core's. */
#define CLUSTERING_METRICS(X)                                                                      \
    X(view, GAUGE, "etcd's revision of the installed view, as in the log")                         \
    X(history, GAUGE, "when the history began that the view is of: units of 64 s since 2025")      \
    X(not_back, COUNTER, "members of the last view that this node went on without at its start")

struct clustering_metrics {
    METRICS_FIELDS(CLUSTERING_METRICS)
};

struct clustering {
    struct clustering_metrics metrics;
    const struct config *config;
    uv_loop_t *loop;
    uv_prepare_t turn;
    uv_timer_t timer;
    struct storage *storage;
    struct service *service;
    struct routing routing;
    struct holdings *holdings;
    struct cluster *cluster; /* NULL until attached */
    struct replica *replica; /* NULL: nothing is replicated, or not attached yet */
    struct peers *peers;     /* NULL until the node is open, and from stop on */
    struct managers *managers;
    struct members members;
    struct lease_keeper lease_keeper;
    struct lease_record predecessor; /* its members are returning.lines */
    struct returning returning;
    char *password;
    int64_t lease;      /* 0: none */
    uint64_t seed;      /* of ids */
    uint64_t due_ms;    /* when cluster_advance is to be called at the latest */
    uint64_t waited_ms; /* when holdings_advance was last called */
    uint64_t joining_since_ms, told_ms;
    uint64_t counted_ms; /* when `bytes` was counted */
    uint64_t bytes;
    uint64_t joins;
    uint64_t incarnation; /* of the newest JOINED, and until when its lease holds */
    uint64_t joined_until_ms;
    uint64_t evicted;     /* incarnation of the member last asked to leave, for the log */
    bool joining;         /* JOINED came, the core does not know it yet */
    bool view_pending;    /* the newest view was not installed: no memory */
    bool restarting;      /* leaving in order to join anew */
    bool rejoin;          /* join again as soon as everything was given up */
    uint32_t evictions;   /* of this member, in a row */
    uint64_t joined_ms;   /* when it last became a member, and not before when it joins again */
    uint64_t rejoin_ms;   /* (on the loop's clock) */
    size_t confirmed;     /* members of the view in which the lease was last confirmed */
    bool serving, fenced; /* when last looked, for the log */
    bool full, pressed;   /* hardly any RAM for copies: here, at others */
    bool short_of_holders;
    bool took_part; /* the core was a member, once: it may have answered, and hold what others want
                     */
    bool draining;
    bool left_nothing; /* drained: the next process has nothing to come back for */
    bool leaving;      /* no join any more */
    bool leave_asked;
    bool left;    /* etcd has said so */
    bool stopped; /* the core is told nothing any more */
    void (*failed)(void *failed_context, const char *sentence); /* of clustering_start */
    void *failed_context;
    void (*closed)(void *context);
    void *context;
};

/* Before storage_open. Fills in `member` for it. 0, or an error with a sentence in `*why`. */
int clustering_prepare(struct clustering *clustering, const struct config *config,
    const char *cookie, uv_loop_t *loop, struct storage *storage, struct service *service,
    struct storage_member *member, const char **why);
/* As storage_answer_cb: a waiting request of the store is over. */
void clustering_answer(struct clustering *clustering, struct store_waiter *waiter, int status,
    const struct value *value);
/* The node is open, the service is set up: links to members can be made. 0 or BRAIN_ENOMEM. */
int clustering_open_peers(struct clustering *clustering, struct node *node);
/* The node listens on `port`: joins. 0, or an error with a sentence in `*why`. `failed` is called
 * when it turns out that it can be no member at all: the process is to end, with that sentence. */
int clustering_start(struct clustering *clustering, uint16_t port,
    void (*failed)(void *context, const char *sentence), void *context, const char **why);
void clustering_metrics_register(struct metrics_registry *registry, struct clustering *clustering);
/* Brings the gauges up to date. */
void clustering_refresh(struct clustering *clustering);
/* Bytes that count against memory_limit. */
uint64_t clustering_bytes(struct clustering *clustering);

/* joining (no member yet, or any more), member, fenced (its lease ran out, or it does not see the
 * members that others see), draining. */
const char *clustering_state_text(const struct clustering *clustering);
/* The last failure of etcd in words; "": none. */
const char *clustering_last_error(const struct clustering *clustering);

/* ---- the end ---- */

/* Hands over or persists what is owned; goes on until clustering_is_drained. A node that never took
 * part leaves at once; one that has lost its membership joins again only to hand over what it
 * holds. */
void clustering_drain(struct clustering *clustering);
/* Nothing is owned, and of what is held for others nothing has no owner; or this node is no member
 * and holds nothing that is not in its journal as well. */
bool clustering_is_drained(struct clustering *clustering);
/* It is drained: the next process waits for nobody. */
void clustering_left_nothing(struct clustering *clustering);
/* Nobody answers what waits here, and nothing more will be: it is no member, and becomes none. */
bool clustering_is_out(const struct clustering *clustering);
/* Are there other members that take over what is dirty? */
bool clustering_hands_over(const struct clustering *clustering);
/* For the progress: objects that are owned, copies that are held. */
void clustering_left_over(struct clustering *clustering, uint64_t *owned, uint64_t *copies);
/* Gives up what is still owned, and the membership; `left` is set when that is done. */
void clustering_leave(struct clustering *clustering);
/* Before the node is closed: who still waits is told BRAIN_ESHUTDOWN, no member anything more. */
void clustering_stop(struct clustering *clustering);
/* After storage_close. `closed` is called on the loop. */
void clustering_release(
    struct clustering *clustering, void (*closed)(void *context), void *context);

#endif
