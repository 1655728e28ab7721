/* ftp: objects on an FTP server. As many threads as connections: libcurl's FTP waits in places
 * where nothing else could go on (ftp_session.c), and all a thread does here is to wait.
 *
 *   begin -> [ queue ] -> a session's thread: ftp_serve -> [ over ] -> progress -> complete
 *
 * The dispatch of the warehouse sees to it that no more are begun than there are sessions. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "dispatch.h"
#include "ftp_store.h"

enum { SESSIONS_LIMIT = 64, STOP_MS = 5000 };

/* One request under way; request->driver. */
struct job {
    char error[WAREHOUSE_TEXT];
};

struct ftp;

struct worker {
    struct ftp *ftp;
    struct ftp_session session;
    uint64_t random;
    pthread_t thread;
};

struct ftp {
    struct ftp_server server;
    struct driver_events events;
    pthread_mutex_t lock;     /* all below but `workers` */
    pthread_cond_t to_worker; /* queue, stopping, quitting */
    pthread_cond_t to_owner;  /* over, woken */
    struct request_list queue, over;
    bool woken, stopping, quitting;
    unsigned count;
    struct worker workers[];
};

/* ---- waiting ----------------------------------------------------------------------------------
 */

/* False when the time has come. */
static bool wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t until_ms)
{
    uint64_t now_ms = driver_now_ms();
    if (now_ms >= until_ms)
        return false;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + (until_ms - now_ms) % 1000 * 1000000;
    until.tv_sec += (time_t)((until_ms - now_ms) / 1000 + ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_cond_timedwait(condition, lock, &until);
    return true;
}

static bool pause_worker(void *context, uint64_t ms)
{
    struct worker *worker = context;
    struct ftp *ftp = worker->ftp;
    uint64_t until_ms = driver_now_ms() + ms;
    pthread_mutex_lock(&ftp->lock);
    while (!ftp->stopping && wait_until(&ftp->to_worker, &ftp->lock, until_ms))
        ;
    bool go_on = !ftp->stopping;
    pthread_mutex_unlock(&ftp->lock);
    return go_on;
}

static uint64_t next_random(void *context)
{
    struct worker *worker = context;
    worker->random ^= worker->random >> 12; /* xorshift64*, Vigna 2016 */
    worker->random ^= worker->random << 25;
    worker->random ^= worker->random >> 27;
    return worker->random * 0x2545F4914F6CDD1Du;
}

/* ---- the threads of sessions ------------------------------------------------------------------
 */

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    struct ftp *ftp = worker->ftp;
    struct ftp_waiting waiting = {worker, pause_worker, next_random};
    pthread_mutex_lock(&ftp->lock);
    for (;;) {
        struct warehouse_request *request = list_take(&ftp->queue);
        if (request == NULL) {
            if (ftp->quitting)
                break;
            pthread_cond_wait(&ftp->to_worker, &ftp->lock);
            continue;
        }
        pthread_mutex_unlock(&ftp->lock);
        ftp_serve(&worker->session, request, &waiting);
        if (request->status == BRAIN_EWAREHOUSE) {
            struct job *job = request->driver;
            memcpy(job->error, worker->session.error, sizeof(job->error));
        }
        pthread_mutex_lock(&ftp->lock);
        list_append(&ftp->over, request);
        pthread_cond_signal(&ftp->to_owner);
    }
    pthread_mutex_unlock(&ftp->lock);
    return NULL;
}

/* ---- the warehouse's thread -------------------------------------------------------------------
 */

static void ftp_start(void *state, struct driver_events events, struct driver_limits *limits)
{
    struct ftp *ftp = state;
    ftp->events = events;
    limits->parallel = ftp->count;
    limits->request_ms = ftp->server.timeout_ms;
    limits->stop_ms = STOP_MS;
}

static void ftp_begin(void *state, struct warehouse_request *request)
{
    struct ftp *ftp = state;
    request->driver = heap_allocate_zeroed(sizeof(struct job));
    if (request->driver == NULL) {
        request->status = BRAIN_EWAREHOUSE;
        ftp->events.complete(ftp->events.context, request, error_sentence(BRAIN_ENOMEM));
        return;
    }
    pthread_mutex_lock(&ftp->lock);
    list_append(&ftp->queue, request);
    /* All: one that pauses between attempts waits for the same and would let the news pass. */
    pthread_cond_broadcast(&ftp->to_worker);
    pthread_mutex_unlock(&ftp->lock);
}

static void ftp_progress(void *state, int timeout_ms)
{
    struct ftp *ftp = state;
    struct warehouse_request *request;
    struct request_list over;
    uint64_t until_ms = driver_now_ms() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);
    list_init(&over);
    pthread_mutex_lock(&ftp->lock);
    while (
        ftp->over.first == NULL && !ftp->woken && wait_until(&ftp->to_owner, &ftp->lock, until_ms))
        ;
    ftp->woken = false;
    list_move(&over, &ftp->over);
    pthread_mutex_unlock(&ftp->lock);
    while ((request = list_take(&over)) != NULL) {
        struct job *job = request->driver;
        request->driver = NULL;
        ftp->events.complete(ftp->events.context, request, job->error);
        heap_release(job);
    }
}

static void ftp_wake(void *state)
{
    struct ftp *ftp = state;
    pthread_mutex_lock(&ftp->lock);
    ftp->woken = true;
    pthread_cond_signal(&ftp->to_owner);
    pthread_mutex_unlock(&ftp->lock);
}

static void ftp_stop(void *state, uint64_t deadline_ms)
{
    struct ftp *ftp = state;
    atomic_store(&ftp->server.stop_ms, deadline_ms);
    pthread_mutex_lock(&ftp->lock);
    ftp->stopping = true;
    pthread_cond_broadcast(&ftp->to_worker);
    pthread_mutex_unlock(&ftp->lock);
}

/* ---- life -------------------------------------------------------------------------------------
 */

/* The first `count` workers; those with a thread are `started`. */
static void destroy(struct ftp *ftp, unsigned started)
{
    pthread_mutex_lock(&ftp->lock);
    ftp->quitting = true;
    pthread_cond_broadcast(&ftp->to_worker);
    pthread_mutex_unlock(&ftp->lock);
    for (unsigned i = 0; i < started; i++)
        pthread_join(ftp->workers[i].thread, NULL);
    for (unsigned i = 0; i < ftp->count; i++)
        ftp_session_close(&ftp->workers[i].session);
    pthread_cond_destroy(&ftp->to_owner);
    pthread_cond_destroy(&ftp->to_worker);
    pthread_mutex_destroy(&ftp->lock);
    explicit_bzero(ftp->server.pass, sizeof(ftp->server.pass));
    heap_release(ftp);
    curl_global_cleanup();
}

static void ftp_close(void *state)
{
    struct ftp *ftp = state;
    destroy(ftp, ftp->count);
}

/* Threads of sessions take no signals: those are the program's, and writing to a connection that is
 * gone must not raise one. */
static unsigned start_workers(struct ftp *ftp)
{
    sigset_t all, before;
    unsigned started = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < ftp->count && pthread_create(&ftp->workers[started].thread, NULL, run_worker,
                                       &ftp->workers[started]) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static int ftp_open(void **state, const struct warehouse_options *options, struct version *epoch,
    char why[WAREHOUSE_TEXT])
{
    unsigned count = options->ftp.parallel < 1                ? 1
                     : options->ftp.parallel > SESSIONS_LIMIT ? SESSIONS_LIMIT
                                                              : options->ftp.parallel;
    pthread_condattr_t monotonic;
    struct timespec now;
    bool good = true;
    struct ftp *ftp = heap_allocate_zeroed(sizeof(*ftp) + count * sizeof(ftp->workers[0]));
    if (ftp == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        heap_release(ftp);
        snprintf(why, WAREHOUSE_TEXT, "%s", error_sentence(BRAIN_ENOMEM));
        return BRAIN_ENOMEM;
    }
    list_init(&ftp->queue);
    list_init(&ftp->over);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&ftp->lock, NULL);
    pthread_cond_init(&ftp->to_worker, &monotonic);
    pthread_cond_init(&ftp->to_owner, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int status = ftp_server_init(&ftp->server, options, why);
    if (status != 0) {
        destroy(ftp, 0);
        return status;
    }
    for (; ftp->count < count && good; ftp->count++) {
        struct worker *worker = &ftp->workers[ftp->count];
        worker->ftp = ftp;
        good = getrandom(&worker->random, sizeof(worker->random), 0) ==
                   (ssize_t)sizeof(worker->random) &&
               ftp_session_open(&worker->session, &ftp->server);
        worker->random |= 1; /* not all zero, for ever */
    }
    unsigned started = good ? start_workers(ftp) : 0;
    if (started < count) {
        destroy(ftp, started);
        snprintf(why, WAREHOUSE_TEXT,
            "the connections of the warehouse could not be made ready: "
            "see the limits on threads and memory");
        return BRAIN_EIO;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    *epoch = (struct version){0, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000, 0};
    *state = ftp;
    return 0;
}

const struct warehouse_driver warehouse_ftp = {
    .name = "ftp",
    .open = ftp_open,
    .start = ftp_start,
    .begin = ftp_begin,
    .progress = ftp_progress,
    .wake = ftp_wake,
    .stop = ftp_stop,
    .close = ftp_close,
};
