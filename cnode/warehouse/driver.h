/* driver: what a kind of storage does for the warehouse. There are two shapes; a driver has one.
 *
 * Batches (local): `load` and `write` serve a list at once, may block, and are done when they
 * return. The warehouse orders them.
 *
 * Events (network stores): `begin` starts a request and returns, `progress` waits for whatever
 * comes first and goes on with it, `complete` tells that one is over. So many are under way at
 * once, and a slow write keeps no load waiting. The warehouse (dispatch.h) sees to the order of one
 * id (only one request per id is under way), to the number under way, and to the deadlines of what
 * waits; the driver to the deadline of what it began.
 *
 * All calls but `open` (its caller's thread, before all others) and `wake` (any thread) come from
 * the warehouse's thread, one at a time. */
#ifndef WAREHOUSE_DRIVER_H
#define WAREHOUSE_DRIVER_H

#include <stdatomic.h>
#include <time.h>

#include "brain/warehouse.h"

enum { WAREHOUSE_TEXT = 512 }; /* bytes of a sentence, with its NUL */

struct driver_limits {
    unsigned parallel;   /* requests under way at once, at least 1 */
    uint64_t request_ms; /* a request is over so long after it began, retries included */
    uint64_t stop_ms;    /* at close, everything is over so long after that */
};

struct driver_events {
    void *context;
    /* The request is over, its result fields are set: exactly once for each `begin`, out of
     * `begin`, `progress` or `stop`. `error`: a sentence when its status is BRAIN_EWAREHOUSE, else
     * "". The request is the warehouse's again. */
    void (*complete)(void *context, struct warehouse_request *request, const char *error);
};

struct warehouse_driver {
    const char *name; /* warehouse_manager = NAME */
    bool forgets;     /* serves WAREHOUSE_FORGET: it can remove one version and no other */

    /* Opens, on the caller's thread. `*epoch`: as in warehouse_open. Returns 0, or an error with a
     * sentence in `why`. */
    int (*open)(void **state, const struct warehouse_options *options, struct version *epoch,
        char why[WAREHOUSE_TEXT]);

    /* ---- batches; NULL in the other shape ----
     * Serves a list (by `next`) of loads, or of dumps and set-asides in their order: sets the
     * result fields of each. A write that is reported done is durable. Whenever a status is
     * BRAIN_EWAREHOUSE, `error` says why. */
    void (*load)(void *state, struct warehouse_request *batch, char error[WAREHOUSE_TEXT]);
    void (*write)(void *state, struct warehouse_request *batch, char error[WAREHOUSE_TEXT]);

    /* ---- events; NULL in the other shape ---- */
    /* Before all others; fills `limits`. */
    void (*start)(void *state, struct driver_events events, struct driver_limits *limits);
    /* Starts one request; no other of its id is under way. It must be over at its deadline_ms (of
     * driver_now_ms). Its private fields `next` and `driver` are the driver's until then. */
    void (*begin)(void *state, struct warehouse_request *request);
    /* Waits for something to happen, at most `timeout_ms` and not after `wake`, and does it. */
    void (*progress)(void *state, int timeout_ms);
    /* Ends the `progress` that runs, or else the next one, at once. */
    void (*wake)(void *state);
    /* The warehouse closes: from now on nothing is tried a second time, what waits to be is over at
     * once, and everything else at `deadline_ms`. `begin` may still follow. */
    void (*stop)(void *state, uint64_t deadline_ms);

    /* Nothing is under way. */
    void (*close)(void *state);
};

/* The clock of deadlines: monotonic. */
static inline uint64_t driver_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* R11: may this dump or forget still change something? Asked right before each attempt. */
static inline bool driver_may_write(const struct warehouse_request *request)
{
    struct timespec now;
    if (request->lease_until_ms == NULL)
        return true;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 <
           atomic_load_explicit(request->lease_until_ms, memory_order_relaxed);
}
#define DRIVER_NO_LEASE "the lease of this node is over"

extern const struct warehouse_driver warehouse_local;
extern const struct warehouse_driver warehouse_s3;
extern const struct warehouse_driver warehouse_ftp;

#endif
