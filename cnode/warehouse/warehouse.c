/* warehouse: the queue between the owner's loop and a driver.
 *
 *   owner's loop                      thread
 *   submit -> [ loads  ] ------------> driver->load, in chunks
 *          -> [ writes ] ------------> driver->write, in batches
 *   done  <- [ completed ] <- uv_async -
 *
 * With a driver of batches, each round the thread takes all loads that wait and one batch of
 * writes, under one lock, and serves the loads first: somebody waits for a load, nobody for a dump.
 * That keeps the order of one id too:
 * - a write never passes an earlier load of its id, because a round takes every load that is older
 *   than the writes it takes, and serves it first;
 * - a load never passes an earlier write of its id, because submit looks for one that is not
 *   delivered yet, and if there is, queues the load behind it, among the writes.
 *
 * With a driver of events everything goes through one queue to a dispatch (dispatch.h), which has
 * many under way at once and keeps that order. */
#include "brain/warehouse.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "data_dir.h"
#include "dispatch.h"
#include "driver.h"

enum {
    PENDING_BUCKETS = 4096,
    LOAD_CHUNK = 16, /* loads completed together: few, somebody waits for each */
    /* A batch is one commit. Measured cost of a commit is one or two syncs of the disk, so many
     * writes share it; and loads wait for it, so it has an end. */
    WRITE_BATCH = 512,
    DELIVER_LIMIT = 1024, /* completions in one turn of the owner's loop */
    SWEEP_MS = 500,       /* between two looks for requests that waited too long */
    IDLE_MS = 60000,      /* nothing is under way: only a wake-up ends this */
};
static const size_t write_batch_bytes = (size_t)8 << 20;

struct warehouse {
    const struct warehouse_driver *driver;
    void *state;
    warehouse_done_cb done;
    void *context;
    void (*closed)(void *context);

    /* The owner's: writes submitted and not delivered yet, by hash of their id. */
    struct warehouse_request *pending[PENDING_BUCKETS];
    struct warehouse_metrics metrics;
    char error[WAREHOUSE_TEXT];

    int data_dir_lock; /* descriptor; -1: there is no directory */
    uv_async_t wake_owner;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake_thread;
    /* Shared, under `lock`: */
    struct request_list loads, writes, completed; /* with a driver of events: all in `loads` */
    char failure[WAREHOUSE_TEXT]; /* why the last request with BRAIN_EWAREHOUSE failed */
    bool taking_back;             /* dumps that have not begun */
    bool promoting;               /* requests have become wanted */
    bool closing;                 /* the thread ends when its queues are empty */
    bool stopped;                 /* it has */

    /* The thread's, with a driver of events: */
    struct dispatch dispatch;
    struct driver_limits limits;
    struct request_list over; /* completed in this turn */
    bool told;                /* the driver knows that the warehouse closes */
    uint64_t stop_ms;         /* then: when everything is over */
    uint64_t answered_ms;     /* when the store last answered anything */
    uint64_t patience_ms;     /* that a load is waited for, at least limits.request_ms */
};

static const struct warehouse_driver *const drivers[] = {
    &warehouse_local, &warehouse_s3, &warehouse_ftp};

/* ---- writes under way ------------------------------------------------------------------------ */

static struct slice request_id(const struct warehouse_request *request)
{
    return slice_of(request->id, request->id_size);
}

static struct warehouse_request **pending_bucket(
    struct warehouse *warehouse, const struct warehouse_request *request)
{
    return &warehouse->pending[request->id_hash % PENDING_BUCKETS];
}

static bool is_pending(struct warehouse *warehouse, const struct warehouse_request *request)
{
    const struct warehouse_request *other = *pending_bucket(warehouse, request);
    while (other != NULL && !slice_equal(request_id(other), request_id(request)))
        other = other->chain;
    return other != NULL;
}

static void pending_remove(struct warehouse *warehouse, struct warehouse_request *request)
{
    struct warehouse_request **link = pending_bucket(warehouse, request);
    while (*link != request)
        link = &(*link)->chain;
    *link = request->chain;
}

/* ---- the thread: batches ----------------------------------------------------------------------
 */

/* Hands a served batch to the owner. */
static void complete(struct warehouse *warehouse, struct request_list *batch, const char *error)
{
    pthread_mutex_lock(&warehouse->lock);
    if (error[0] != '\0')
        snprintf(warehouse->failure, sizeof(warehouse->failure), "%s", error);
    list_move(&warehouse->completed, batch);
    pthread_mutex_unlock(&warehouse->lock);
    uv_async_send(&warehouse->wake_owner);
}

static void serve_loads(struct warehouse *warehouse, struct request_list *loads)
{
    while (loads->first != NULL) {
        char error[WAREHOUSE_TEXT] = "";
        struct request_list chunk;
        list_init(&chunk);
        for (int i = 0; i < LOAD_CHUNK && loads->first != NULL; i++)
            list_append(&chunk, list_take(loads));
        warehouse->driver->load(warehouse->state, chunk.first, error);
        complete(warehouse, &chunk, error);
    }
}

/* The next batch of the write queue: writes up to the limits, or loads that wait behind writes. */
static void take_batch(struct request_list *queue, struct request_list *batch)
{
    size_t bytes = 0;
    int count = 0;
    list_init(batch);
    while (queue->first != NULL && count < WRITE_BATCH) {
        struct warehouse_request *request = queue->first;
        if (count > 0 && ((request->operation == WAREHOUSE_LOAD) !=
                                 (batch->first->operation == WAREHOUSE_LOAD) ||
                             bytes + request->value.size > write_batch_bytes))
            break;
        bytes += request->value.size;
        count++;
        list_append(batch, list_take(queue));
    }
}

static void serve_writes(struct warehouse *warehouse, struct request_list *batch)
{
    char error[WAREHOUSE_TEXT] = "";
    if (batch->first == NULL)
        return;
    if (batch->first->operation == WAREHOUSE_LOAD) {
        serve_loads(warehouse, batch);
        return;
    }
    warehouse->driver->write(warehouse->state, batch->first, error);
    complete(warehouse, batch, error);
}

static void *run_batches(void *argument)
{
    struct warehouse *warehouse = argument;
    for (;;) {
        struct request_list loads, batch;
        list_init(&loads);
        pthread_mutex_lock(&warehouse->lock);
        while (warehouse->loads.first == NULL && warehouse->writes.first == NULL &&
               !warehouse->closing)
            pthread_cond_wait(&warehouse->wake_thread, &warehouse->lock);
        list_move(&loads, &warehouse->loads);
        take_batch(&warehouse->writes, &batch);
        if (loads.first == NULL && batch.first == NULL) {
            warehouse->stopped = true;
            pthread_mutex_unlock(&warehouse->lock);
            break;
        }
        pthread_mutex_unlock(&warehouse->lock);
        serve_loads(warehouse, &loads);
        serve_writes(warehouse, &batch);
    }
    warehouse->driver->close(warehouse->state);
    uv_async_send(&warehouse->wake_owner);
    return NULL;
}

/* ---- the thread: events -----------------------------------------------------------------------
 */

static void note_failure(struct warehouse *warehouse, const char *error)
{
    pthread_mutex_lock(&warehouse->lock);
    snprintf(warehouse->failure, sizeof(warehouse->failure), "%s", error);
    pthread_mutex_unlock(&warehouse->lock);
}

static void on_complete(void *context, struct warehouse_request *request, const char *error)
{
    struct warehouse *warehouse = context;
    dispatch_done(&warehouse->dispatch, request);
    list_append(&warehouse->over, request);
    if (request->status != BRAIN_EWAREHOUSE)
        warehouse->answered_ms = driver_now_ms();
    if (error[0] != '\0')
        note_failure(warehouse, error);
}

/* Takes what was submitted. Returns false when the thread is to end. */
static bool take_submitted(struct warehouse *warehouse)
{
    struct request_list fresh;
    struct warehouse_request *request;
    uint64_t now_ms = driver_now_ms();
    list_init(&fresh);
    pthread_mutex_lock(&warehouse->lock);
    list_move(&fresh, &warehouse->loads);
    bool closing = warehouse->closing, taking_back = warehouse->taking_back;
    bool promoting = warehouse->promoting;
    warehouse->taking_back = warehouse->promoting = false;
    if (closing && fresh.first == NULL && warehouse->dispatch.count == 0 &&
        warehouse->over.first == NULL)
        warehouse->stopped = true;
    bool stopped = warehouse->stopped;
    pthread_mutex_unlock(&warehouse->lock);
    if (stopped)
        return false;
    if (closing && !warehouse->told) {
        warehouse->told = true;
        warehouse->stop_ms = now_ms + warehouse->limits.stop_ms;
        dispatch_limit(&warehouse->dispatch, warehouse->stop_ms);
        warehouse->driver->stop(warehouse->state, warehouse->stop_ms);
    }
    while ((request = list_take(&fresh)) != NULL) {
        request->queued_ms = now_ms;
        dispatch_add(&warehouse->dispatch, request);
    }
    if (promoting)
        dispatch_promote(&warehouse->dispatch, now_ms);
    while (taking_back && (request = dispatch_take_back(&warehouse->dispatch)) != NULL) {
        request->status = BRAIN_ESHUTDOWN;
        list_append(&warehouse->over, request);
    }
    return true;
}

static void expire(
    struct warehouse *warehouse, uint64_t since_ms, bool loads, int status, const char *error)
{
    struct warehouse_request *request;
    while ((request = dispatch_expire(&warehouse->dispatch, since_ms, loads)) != NULL) {
        request->status = status;
        list_append(&warehouse->over, request);
        if (error != NULL)
            note_failure(warehouse, error);
    }
}

static bool stands_still(const struct warehouse *warehouse, uint64_t now_ms)
{
    return now_ms >= warehouse->answered_ms + warehouse->limits.request_ms;
}

/* What waits for its turn has not failed as long as the store answers those whose turn it is. */
static void sweep(struct warehouse *warehouse, uint64_t now_ms)
{
    if (warehouse->told && now_ms >= warehouse->stop_ms)
        expire(warehouse, UINT64_MAX, false, BRAIN_EWAREHOUSE,
            "the warehouse closed before the request's turn came");
    else if (stands_still(warehouse, now_ms))
        expire(warehouse, now_ms - warehouse->limits.request_ms, false, BRAIN_EWAREHOUSE,
            "the store answers nothing: the request's turn did not come");
    if (now_ms > warehouse->patience_ms)
        expire(warehouse, now_ms - warehouse->patience_ms, true, BRAIN_ETIMEOUT, NULL);
}

/* Its time runs since it was submitted, or since the store last answered anything: a store that
 * answers nothing is not given as much for each. */
static void begin(struct warehouse *warehouse, struct warehouse_request *request)
{
    const uint64_t since_ms =
        request->queued_ms > warehouse->answered_ms ? request->queued_ms : warehouse->answered_ms;
    request->deadline_ms = since_ms + warehouse->limits.request_ms;
    if (warehouse->told && request->deadline_ms > warehouse->stop_ms)
        request->deadline_ms = warehouse->stop_ms;
    warehouse->driver->begin(warehouse->state, request);
}

static void *run_events(void *argument)
{
    struct warehouse *warehouse = argument;
    const struct warehouse_driver *driver = warehouse->driver;
    struct driver_events events = {warehouse, on_complete};
    struct warehouse_request *request;
    uint64_t sweep_ms = 0;
    list_init(&warehouse->over);
    driver->start(warehouse->state, events, &warehouse->limits);
    dispatch_init(&warehouse->dispatch, warehouse->limits.parallel);
    warehouse->answered_ms = driver_now_ms();
    if (warehouse->patience_ms < warehouse->limits.request_ms)
        warehouse->patience_ms = warehouse->limits.request_ms;
    while (take_submitted(warehouse)) {
        uint64_t now_ms = driver_now_ms();
        if (now_ms >= sweep_ms || stands_still(warehouse, now_ms)) {
            sweep(warehouse, now_ms);
            sweep_ms = now_ms + SWEEP_MS;
        }
        while ((request = dispatch_next(&warehouse->dispatch)) != NULL)
            begin(warehouse, request);
        if (warehouse->over.first != NULL)
            complete(warehouse, &warehouse->over, "");
        else
            driver->progress(warehouse->state, warehouse->dispatch.count > 0 ? SWEEP_MS : IDLE_MS);
    }
    driver->close(warehouse->state);
    uv_async_send(&warehouse->wake_owner);
    return NULL;
}

/* Tells the thread, which may wait for one thing or the other, that a queue or a flag changed. */
static void wake_thread(struct warehouse *warehouse)
{
    if (warehouse->driver->wake != NULL)
        warehouse->driver->wake(warehouse->state);
    else
        pthread_cond_signal(&warehouse->wake_thread);
}

/* ---- the owner's side ------------------------------------------------------------------------ */

void warehouse_submit(struct warehouse *warehouse, struct warehouse_request *request)
{
    assert(request->id_size > 0 && request->id_size <= sizeof(request->id));
    assert(request->operation != WAREHOUSE_FORGET || warehouse->driver->forgets);
    bool events = warehouse->driver->begin != NULL;
    struct request_list *queue = events ? &warehouse->loads : &warehouse->writes;
    request->id_hash = crc32c(0, request_id(request));
    request->status = 0;
    request->stored = (struct version){0, 0, 0};
    request->stored_known = false;
    request->stored_tombstone = false;
    request->loaded = value_none();
    if (request->operation == WAREHOUSE_LOAD) {
        if (!is_pending(warehouse, request))
            queue = &warehouse->loads;
    } else {
        struct warehouse_request **bucket = pending_bucket(warehouse, request);
        request->chain = *bucket;
        *bucket = request;
    }
    warehouse->metrics.queued++;

    pthread_mutex_lock(&warehouse->lock);
    bool stopped = warehouse->stopped;
    if (stopped) {
        request->status = BRAIN_EWAREHOUSE;
        snprintf(warehouse->failure, sizeof(warehouse->failure), "the warehouse is closed");
        list_append(&warehouse->completed, request);
    } else {
        /* A thread that was woken takes everything there is. */
        bool first = queue->first == NULL;
        list_append(queue, request);
        if (first)
            wake_thread(warehouse);
    }
    pthread_mutex_unlock(&warehouse->lock);
    if (stopped)
        uv_async_send(&warehouse->wake_owner);
}

void warehouse_want(struct warehouse *warehouse, struct warehouse_request *request)
{
    if (warehouse->driver->begin == NULL || /* a batch of loads goes before any write */
        atomic_load_explicit(&request->wanted, memory_order_relaxed))
        return;
    pthread_mutex_lock(&warehouse->lock);
    atomic_store_explicit(&request->wanted, true, memory_order_relaxed);
    bool first = !warehouse->promoting;
    warehouse->promoting = true;
    if (first && !warehouse->stopped)
        wake_thread(warehouse);
    pthread_mutex_unlock(&warehouse->lock);
}

void warehouse_take_back(struct warehouse *warehouse)
{
    if (warehouse->driver->begin == NULL)
        return; /* a batch is a matter of milliseconds */
    pthread_mutex_lock(&warehouse->lock);
    warehouse->taking_back = true;
    if (!warehouse->stopped)
        wake_thread(warehouse);
    pthread_mutex_unlock(&warehouse->lock);
}

static void deliver(struct warehouse *warehouse, struct warehouse_request *request)
{
    struct warehouse_metrics *metrics = &warehouse->metrics;
    metrics->queued--;
    if (request->operation == WAREHOUSE_LOAD) {
        metrics->loads++;
        metrics->bytes_loaded += request->loaded.size;
    } else {
        pending_remove(warehouse, request);
        metrics->dumps += request->status != BRAIN_ESHUTDOWN;
        if (request->status == 0)
            metrics->bytes_dumped += request->value.size;
        value_drop(&request->value);
    }
    if (request->status == BRAIN_EWAREHOUSE || request->status == BRAIN_ECORRUPT)
        metrics->errors++;
    if (request->status == BRAIN_EWAREHOUSE) {
        pthread_mutex_lock(&warehouse->lock);
        memcpy(warehouse->error, warehouse->failure, sizeof(warehouse->error));
        pthread_mutex_unlock(&warehouse->lock);
    } else if (request->status != BRAIN_ESHUTDOWN && request->status != BRAIN_ETIMEOUT) {
        warehouse->error[0] = '\0';
    }
    warehouse->done(warehouse->context, request);
}

/* Locks the directory against a second process, whatever the driver: the journal is there too. */
static int take_data_dir(struct warehouse *warehouse, const char *path, char why[WAREHOUSE_TEXT])
{
    warehouse->data_dir_lock = -1;
    if (path == NULL || path[0] == '\0')
        return 0;
    return data_dir_lock(path, &warehouse->data_dir_lock, why);
}

static void warehouse_free(struct warehouse *warehouse)
{
    if (warehouse->data_dir_lock >= 0)
        close(warehouse->data_dir_lock);
    heap_release(warehouse);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct warehouse *warehouse = handle->data;
    void (*closed)(void *context) = warehouse->closed;
    void *context = warehouse->context;
    pthread_cond_destroy(&warehouse->wake_thread);
    pthread_mutex_destroy(&warehouse->lock);
    warehouse_free(warehouse);
    if (closed != NULL)
        closed(context);
}

static void on_wake(uv_async_t *async)
{
    struct warehouse *warehouse = async->data;
    struct warehouse_request *request;
    bool over = false;
    for (int i = 0; i < DELIVER_LIMIT; i++) {
        pthread_mutex_lock(&warehouse->lock);
        request = list_take(&warehouse->completed);
        over = request == NULL && warehouse->stopped;
        pthread_mutex_unlock(&warehouse->lock);
        if (request == NULL)
            break;
        deliver(warehouse, request);
    }
    if (over) {
        if (uv_is_closing((uv_handle_t *)async))
            return;
        pthread_join(warehouse->thread, NULL);
        uv_close((uv_handle_t *)async, on_handle_closed);
    } else {
        pthread_mutex_lock(&warehouse->lock);
        bool more = warehouse->completed.first != NULL;
        pthread_mutex_unlock(&warehouse->lock);
        if (more)
            uv_async_send(async);
    }
}

const char *warehouse_last_error(const struct warehouse *warehouse)
{
    return warehouse->error;
}

bool warehouse_forgets(const struct warehouse *warehouse)
{
    return warehouse->driver->forgets;
}

const char *warehouse_name(const struct warehouse *warehouse)
{
    return warehouse->driver->name;
}

void warehouse_metrics_register(
    struct metrics_registry *registry, const struct warehouse *warehouse)
{
    const char *group = "warehouse";
    const struct warehouse_metrics *source = &warehouse->metrics;
    WAREHOUSE_METRICS(METRICS_ROW)
}

/* ---- life ------------------------------------------------------------------------------------ */

static const struct warehouse_driver *find_driver(const char *name)
{
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
        if (strcmp(drivers[i]->name, name) == 0)
            return drivers[i];
    }
    return NULL;
}

int warehouse_open(struct warehouse **warehouse_out, uv_loop_t *loop,
    const struct warehouse_options *options, warehouse_done_cb done, void *context,
    struct version *epoch, const char **why)
{
    static char text[WAREHOUSE_TEXT];
    *why = text;
    const struct warehouse_driver *driver = find_driver(options->manager);
    if (driver == NULL) {
        snprintf(text, sizeof(text),
            "warehouse_manager \"%.100s\" is not known; there are: local, s3, ftp",
            options->manager);
        return BRAIN_ECONFIG;
    }
    struct warehouse *warehouse = heap_allocate_zeroed(sizeof(*warehouse));
    if (warehouse == NULL) {
        snprintf(text, sizeof(text), "%s", error_sentence(BRAIN_ENOMEM));
        return BRAIN_ENOMEM;
    }
    warehouse->driver = driver;
    warehouse->done = done;
    warehouse->context = context;
    warehouse->patience_ms = options->patience_ms;
    list_init(&warehouse->loads);
    list_init(&warehouse->writes);
    list_init(&warehouse->completed);

    int status = take_data_dir(warehouse, options->data_dir, text);
    if (status == 0)
        status = driver->open(&warehouse->state, options, epoch, text);
    if (status != 0) {
        warehouse_free(warehouse);
        return status;
    }
    pthread_mutex_init(&warehouse->lock, NULL);
    pthread_cond_init(&warehouse->wake_thread, NULL);
    status = uv_async_init(loop, &warehouse->wake_owner, on_wake);
    if (status != 0) {
        snprintf(text, sizeof(text), "no descriptor to wake the loop: %s", uv_strerror(status));
        driver->close(warehouse->state);
        warehouse_free(warehouse);
        return BRAIN_EIO;
    }
    warehouse->wake_owner.data = warehouse;
    status = pthread_create(
        &warehouse->thread, NULL, driver->begin != NULL ? run_events : run_batches, warehouse);
    if (status != 0) {
        snprintf(text, sizeof(text), "the warehouse's thread could not be started: %s",
            uv_strerror(uv_translate_sys_error(status)));
        driver->close(warehouse->state);
        uv_close((uv_handle_t *)&warehouse->wake_owner, on_handle_closed);
        return BRAIN_EIO;
    }
    *warehouse_out = warehouse;
    return 0;
}

void warehouse_close(struct warehouse *warehouse, void (*closed)(void *context))
{
    warehouse->closed = closed;
    pthread_mutex_lock(&warehouse->lock);
    warehouse->closing = true;
    if (!warehouse->stopped)
        wake_thread(warehouse);
    pthread_mutex_unlock(&warehouse->lock);
}
