#include "storage.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "brain/log.h"
#include "storage_options.h"

/* At most this often the store is asked what time wants from it, even when nothing is due soon: a
 * request that arrives meanwhile may have a nearer deadline than the one the timer was set for. */
enum { ADVANCE_INTERVAL_MS = 100, TRIM_INTERVAL_MS = 1000 };
/* Objects looked at in one turn of the loop; about 0.2 ms of work. */
enum { ADVANCE_BUDGET = 2000 };
/* The same while the journal is above its limit: under a flood of writes it grows by MBs in 100 ms.
 */
enum { LARGE_JOURNAL_INTERVAL_MS = 10 };
/* The same near memory_limit: a stream of loads brings 2 MB in 10 ms. */
enum { NEAR_LIMIT_INTERVAL_MS = 10 };
enum { STATUS_INTERVAL_MS = 60000 };
enum { SPARE_LIMIT = 1024 };
/* What a request is for: of the store, or of holdings. */
enum { FOR_OBJECT, FOR_ASKER };
/* Of an id, in a log line. */
enum { SHOWN_ID_BYTES = 80 };

static int shown_size(size_t size)
{
    return size > SHOWN_ID_BYTES ? SHOWN_ID_BYTES : (int)size;
}

static struct warehouse_request *take_request(struct storage *storage)
{
    struct warehouse_request *request = storage->spare;
    if (request != NULL) {
        storage->spare = request->next;
        storage->spare_count--;
    } else {
        request = heap_allocate(sizeof(*request));
    }
    if (request != NULL)
        memset(request, 0, sizeof(*request));
    return request;
}

static void give_request(struct storage *storage, struct warehouse_request *request)
{
    if (storage->spare_count >= SPARE_LIMIT) {
        heap_release(request);
        return;
    }
    request->next = storage->spare;
    storage->spare = request;
    storage->spare_count++;
}

/* Ids are at most ID_LIMIT bytes, which is what a request has room for. */
static struct warehouse_request *request_for(
    struct storage *storage, enum warehouse_operation operation, struct slice id)
{
    struct warehouse_request *request = take_request(storage);
    if (request == NULL)
        return NULL;
    request->operation = operation;
    memcpy(request->id, id.data, id.size);
    request->id_size = id.size;
    return request;
}

/* Gives the request a reference to the value; a value without a block is copied. */
static bool request_take_value(struct warehouse_request *request, const struct value *value)
{
    request->value = value->block != NULL ? value_hold(*value) : value_copy(value_slice(*value));
    return request->value.block != NULL;
}

/* Alone there is none. */
static const _Atomic uint64_t *lease_of(const struct storage *storage)
{
    return storage->member.holdings != NULL ? &storage->lease_until_ms : NULL;
}

/* ---- store -> warehouse ---------------------------------------------------------------------- */

static void submit(
    struct storage *storage, struct object *object, struct warehouse_request *request)
{
    atomic_init(&request->wanted, store_is_wanted(object));
    store_set_operation(object, request);
    warehouse_submit(storage->warehouse, request);
}

static void on_load(void *context, struct object *object, struct slice id)
{
    struct storage *storage = context;
    struct warehouse_request *request = request_for(storage, WAREHOUSE_LOAD, id);
    if (request == NULL) {
        store_loaded(
            storage->store, object, BRAIN_ENOMEM, NULL, NULL, server_clock_ms(&storage->clock));
        return;
    }
    request->owner = object;
    submit(storage, object, request);
}

static void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value)
{
    struct storage *storage = context;
    struct warehouse_request *request = request_for(storage, WAREHOUSE_DUMP, id);
    if (request == NULL || (value != NULL && !request_take_value(request, value))) {
        if (request != NULL)
            give_request(storage, request);
        store_dumped(storage->store, object, BRAIN_ENOMEM, NULL, server_clock_ms(&storage->clock));
        return;
    }
    request->owner = object;
    request->lease_until_ms = lease_of(storage);
    request->version = version;
    request->tombstone = value == NULL;
    request->expected_known = expected != NULL;
    if (expected != NULL)
        request->expected = *expected;
    submit(storage, object, request);
}

static void on_wanted(void *context, struct object *object)
{
    struct storage *storage = context;
    warehouse_want(storage->warehouse, store_operation(object));
}

void storage_set_aside(
    struct storage *storage, struct slice id, struct version version, const struct value *value)
{
    struct warehouse_request *request = request_for(storage, WAREHOUSE_SET_ASIDE, id);
    if (request == NULL || !request_take_value(request, value)) {
        log_error("no memory to keep a value of \"%.*s\" that was set aside; it is lost",
            shown_size(id.size), (const char *)id.data);
        if (request != NULL)
            give_request(storage, request);
        return;
    }
    request->version = version;
    warehouse_submit(storage->warehouse, request);
}

static void on_set_aside(
    void *context, struct slice id, struct version version, const struct value *value)
{
    struct storage *storage = context;
    int shown = shown_size(id.size);
    const char *text = (const char *)id.data;
    if (value == NULL) {
        log_error("late: the warehouse holds a newer version of \"%.*s\" that this node did not "
                  "write; our delete of it is void",
            shown, text);
        return;
    }
    log_error("late: the warehouse holds a newer version of \"%.*s\" that this node did not write; "
              "ours is kept beside it under a conflict name",
        shown, text);
    storage_set_aside(storage, id, version, value);
}

static void on_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    struct storage *storage = context;
    storage->answer(storage->context, waiter, status, value);
}

/* ---- store -> journal ------------------------------------------------------------------------ */

static int on_record(
    void *context, struct slice id, struct version version, const struct value *value)
{
    struct storage *storage = context;
    return journaling_record(&storage->journaling, id, version, value);
}

int storage_record(struct storage *storage, uint64_t seq, uint64_t age_ms, struct slice id,
    struct version version, const struct value *value)
{
    return journaling_record_copy(&storage->journaling, seq, age_ms, id, version, value);
}

void storage_record_live(struct storage *storage, uint64_t seq)
{
    journaling_live(&storage->journaling, seq);
}

static void on_record_live(void *context, uint64_t seq)
{
    storage_record_live(context, seq);
}

void storage_record_dead(struct storage *storage, uint64_t seq)
{
    journaling_dead(&storage->journaling, seq);
}

static void on_record_dead(void *context, uint64_t seq)
{
    storage_record_dead(context, seq);
}

/* ---- holdings -> warehouse --------------------------------------------------------------------
 */

void storage_read_stored(struct storage *storage, void *asker, struct slice id)
{
    struct warehouse_request *request = request_for(storage, WAREHOUSE_LOAD, id);
    if (request == NULL) {
        storage->member.stored_read(storage->member.context, asker, BRAIN_ENOMEM, NULL);
        return;
    }
    request->owner = asker;
    request->purpose = FOR_ASKER;
    atomic_init(&request->wanted, true);
    warehouse_submit(storage->warehouse, request);
}

/* ---- warehouse -> store ---------------------------------------------------------------------- */

/* One line when the warehouse begins to fail and one when it works again, however many requests
 * failed in between. */
static void note_health(struct storage *storage, const struct warehouse_request *request)
{
    if (request->status == BRAIN_EWAREHOUSE) {
        if (storage->failures++ == 0)
            log_error("warehouse %s fails: %s; dirty objects stay in RAM and are tried again",
                warehouse_name(storage->warehouse), warehouse_last_error(storage->warehouse));
    } else if (storage->failures > 0 && request->status != BRAIN_ENOMEM &&
               request->status != BRAIN_ESHUTDOWN && request->status != BRAIN_ETIMEOUT) {
        log_info("warehouse %s works again after %llu failures", warehouse_name(storage->warehouse),
            (unsigned long long)storage->failures);
        storage->failures = 0;
    }
    if (request->status == BRAIN_ECORRUPT)
        log_error("what the warehouse %s holds as \"%.*s\" is damaged or not ours; left untouched",
            warehouse_name(storage->warehouse), shown_size(request->id_size),
            (const char *)request->id);
}

static uint64_t unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A load found the mark of an object that was deleted long ago: nothing that could bring the object
 * back is left in flight, so the mark may go. Without memory it stays until the next load. */
static void forget_tombstone(struct storage *storage, const struct warehouse_request *found)
{
    uint64_t now_ms = unix_ms();
    if (!warehouse_forgets(storage->warehouse) || !found->stored_tombstone ||
        found->stored_unix_ms > now_ms ||
        now_ms - found->stored_unix_ms < storage->tombstone_keep_ms)
        return;
    struct warehouse_request *request =
        request_for(storage, WAREHOUSE_FORGET, slice_of(found->id, found->id_size));
    if (request == NULL)
        return;
    request->expected = found->stored;
    request->expected_known = true;
    request->lease_until_ms = lease_of(storage);
    warehouse_submit(storage->warehouse, request);
}

static void stored_read(struct storage *storage, const struct warehouse_request *request)
{
    const bool found = request->status == 0;
    int status = found ? STORE_FOUND : request->status;
    if (request->status == BRAIN_ENOENT)
        status = STORE_ABSENT;
    storage->member.stored_read(
        storage->member.context, request->owner, status, found ? &request->loaded : NULL);
}

static void on_done(void *context, struct warehouse_request *request)
{
    struct storage *storage = context;
    uint64_t now_ms = server_clock_ms(&storage->clock);
    const struct version *stored = request->stored_known ? &request->stored : NULL;
    note_health(storage, request);
    switch (request->operation) {
    case WAREHOUSE_LOAD:
        if (request->purpose == FOR_ASKER)
            stored_read(storage, request);
        else if (request->status == BRAIN_ENOENT)
            store_loaded(storage->store, request->owner, STORE_ABSENT,
                request->stored_tombstone ? stored : NULL, NULL, now_ms);
        else
            store_loaded(storage->store, request->owner, request->status, stored,
                request->status == 0 ? &request->loaded : NULL, now_ms);
        value_drop(&request->loaded);
        if (request->purpose == FOR_OBJECT) /* R8 */
            forget_tombstone(storage, request);
        break;
    case WAREHOUSE_DUMP:
        store_dumped(storage->store, request->owner, request->status, stored, now_ms);
        break;
    case WAREHOUSE_SET_ASIDE:
        if (request->status != 0)
            log_error("a value of \"%.*s\" that was set aside could not be kept: %s",
                shown_size(request->id_size), (const char *)request->id,
                error_sentence(request->status));
        break;
    case WAREHOUSE_FORGET:
        break;
    }
    give_request(storage, request);
}

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t outside_bytes(const struct storage *storage)
{
    uint64_t bytes = journaling_held_bytes(&storage->journaling) + block_recycled_bytes();
    if (storage->buffered_bytes != NULL)
        bytes += storage->buffered_bytes(storage->context);
    return bytes;
}

/* Says to the store what is taken outside of it. True near memory_limit. */
static bool count_outside(struct storage *storage)
{
    const uint64_t limit = storage->memory_limit;
    storage->outside_bytes = outside_bytes(storage);
    storage_note_copies(storage, storage->copies_bytes);
    if (limit == 0)
        return false;
    const uint64_t counted =
        store_metrics(storage->store, server_clock_ms(&storage->clock))->memory;
    resident_look(&storage->resident, counted, limit);
    storage->outside_bytes += storage->resident.excess_bytes;
    storage_note_copies(storage, storage->copies_bytes);
    return counted + storage->resident.excess_bytes > limit - limit / 4;
}

/* ---- copies held for other members ------------------------------------------------------------
 */

static void on_timer(uv_timer_t *timer);

void storage_note_copies(struct storage *storage, uint64_t bytes)
{
    storage->copies_bytes = bytes;
    store_set_outside_bytes(storage->store, storage->outside_bytes + bytes);
}

/* What is clean leaves in the next turn, not within the call of the core's that asks; until then
 * there may be a sixteenth too much. */
bool storage_has_room(struct storage *storage, uint64_t bytes)
{
    enum { TOO_MUCH = 16 };
    const uint64_t limit = storage->memory_limit;
    if (limit == 0)
        return true;
    const uint64_t memory =
        store_metrics(storage->store, server_clock_ms(&storage->clock))->memory + bytes;
    if (memory > limit - limit / TOO_MUCH)
        uv_timer_start(&storage->timer, on_timer, 0, 0);
    return memory <= limit + limit / TOO_MUCH && store_held_bytes(storage->store) + bytes <= limit;
}

bool storage_is_full(struct storage *storage)
{
    const uint64_t limit = storage->memory_limit, held = store_held_bytes(storage->store);
    if (limit > 0)
        storage->full = held > (storage->full ? limit - limit / 4 : limit - limit / 8);
    return storage->full;
}

/* Freed blocks kept for the next ones: as much as the journal holds until it is synced, so that a
 * stream of large writes finds all of its memory again, and a small share of what may be taken. */
static uint64_t recycle_limit(const struct config *config)
{
    enum { SHARE = 32 };
    const uint64_t most = UINT64_C(64) << 20;
    return config->memory_limit == 0 || config->memory_limit / SHARE > most
               ? most
               : config->memory_limit / SHARE;
}

static void trim_recycled(struct storage *storage)
{
    uint64_t now_ms = uv_now(storage->loop);
    if (now_ms - storage->trimmed_ms < TRIM_INTERVAL_MS)
        return;
    storage->trimmed_ms = now_ms;
    block_recycle_trim();
}

/* What an operator wants to see without asking: one line a minute, while anything is going on. */
static void log_status(struct storage *storage)
{
    uint64_t now_ms = uv_now(storage->loop);
    if (now_ms - storage->status_ms < STATUS_INTERVAL_MS)
        return;
    storage->status_ms = now_ms;
    const struct store_metrics *m = store_metrics(storage->store, server_clock_ms(&storage->clock));
    uint64_t activity = m->hits + m->misses + m->dumps_done + m->dumps_failed + m->loads_failed +
                        m->refused_overload + m->refused_journal;
    if (activity == storage->status_activity && m->dirty == 0)
        return;
    storage->status_activity = activity;
    const char *error = warehouse_last_error(storage->warehouse);
    log_info("status: %llu objects, %llu dirty (%llu bytes, oldest %llu ms), %llu loading, "
             "%llu persisting; loads %llu found %llu absent %llu failed; dumps %llu done %llu "
             "failed %llu late; writes refused: %llu overload, %llu journal%s%s",
        (unsigned long long)m->objects, (unsigned long long)m->dirty,
        (unsigned long long)m->dirty_bytes, (unsigned long long)m->oldest_dirty_ms,
        (unsigned long long)m->loading, (unsigned long long)m->persisting,
        (unsigned long long)m->loads_found, (unsigned long long)m->loads_absent,
        (unsigned long long)m->loads_failed, (unsigned long long)m->dumps_done,
        (unsigned long long)m->dumps_failed, (unsigned long long)m->dumps_late,
        (unsigned long long)m->refused_overload, (unsigned long long)m->refused_journal,
        error[0] != '\0' ? "; last error: " : "", error);
}

static void on_timer(uv_timer_t *timer)
{
    struct storage *storage = timer->data;
    const bool near_limit = count_outside(storage);
    uint64_t wait_ms =
        store_advance(storage->store, server_clock_ms(&storage->clock), ADVANCE_BUDGET);
    if (journaling_advance(&storage->journaling, ADVANCE_BUDGET))
        wait_ms = 0;
    else if (journaling_is_large(&storage->journaling) && wait_ms > LARGE_JOURNAL_INTERVAL_MS)
        wait_ms = LARGE_JOURNAL_INTERVAL_MS;
    if (near_limit && wait_ms > NEAR_LIMIT_INTERVAL_MS)
        wait_ms = NEAR_LIMIT_INTERVAL_MS;
    log_status(storage);
    trim_recycled(storage);
    if (wait_ms > ADVANCE_INTERVAL_MS)
        wait_ms = ADVANCE_INTERVAL_MS;
    uv_timer_start(timer, on_timer, wait_ms, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int open_store(
    struct storage *storage, const struct config *config, struct version epoch, const char **why)
{
    struct store_options options = storage_store_options(config);
    struct store_events events = {
        .context = storage,
        .load = on_load,
        .dump = on_dump,
        .wanted = on_wanted,
        .set_aside = on_set_aside,
        .answer = on_answer,
    };
    const struct storage_member *member = &storage->member;
    if (member->holdings != NULL)
        holdings_store_events(member->holdings, &events);
    options.epoch = epoch;
    if (getrandom(&options.hash_seed, sizeof(options.hash_seed), 0) !=
        (ssize_t)sizeof(options.hash_seed)) {
        *why = "the kernel gives no random numbers";
        return BRAIN_EIO;
    }
    if (config->journal) {
        events.record = on_record;
        events.record_live = on_record_live;
        events.record_dead = on_record_dead;
    }
    storage->store = store_create(&options, events);
    if (storage->store != NULL && member->holdings != NULL)
        storage->attached = member->attach(member->context, storage->store) == 0;
    if (storage->store == NULL || (member->holdings != NULL && !storage->attached)) {
        *why = error_sentence(BRAIN_ENOMEM);
        return BRAIN_ENOMEM;
    }
    return 0;
}

int storage_open(struct storage *storage, uv_loop_t *loop, const struct config *config,
    const struct storage_member *member, storage_answer_cb answer, void *context, const char **why)
{
    *storage = (struct storage){
        .loop = loop,
        .clock = {loop, member != NULL},
        .answer = answer,
        .context = context,
        .tombstone_keep_ms = config->tombstone_keep,
        .memory_limit = config->memory_limit,
        .status_ms = uv_now(loop),
    };
    if (member != NULL)
        storage->member = *member;
    resident_open(&storage->resident);
    block_recycle(recycle_limit(config));
    uv_timer_init(loop, &storage->timer);
    storage->timer.data = storage;
    const struct warehouse_options where = storage_warehouse_options(config);
    struct version epoch;
    int error = warehouse_open(&storage->warehouse, loop, &where, on_done, storage, &epoch, why);
    if (error == 0)
        error = open_store(storage, config, epoch, why);
    if (error == 0)
        error = journaling_open(&storage->journaling, loop, config, storage->store,
            storage->member.holdings, storage->member.age_ms, why);
    if (error == 0)
        uv_timer_start(&storage->timer, on_timer, ADVANCE_INTERVAL_MS, 0);
    return error;
}

void storage_metrics_register(struct metrics_registry *registry, struct storage *storage)
{
    store_metrics_register(registry, storage->store);
    warehouse_metrics_register(registry, storage->warehouse);
    journaling_metrics_register(registry, &storage->journaling);
}

void storage_refresh(struct storage *storage)
{
    store_metrics(storage->store, server_clock_ms(&storage->clock));
    journaling_refresh(&storage->journaling);
}

uint64_t storage_unsaved(struct storage *storage)
{
    return store_metrics(storage->store, server_clock_ms(&storage->clock))->dirty;
}

bool storage_is_busy(struct storage *storage)
{
    const struct store_metrics *metrics =
        store_metrics(storage->store, server_clock_ms(&storage->clock));
    return metrics->loading > 0 || metrics->persisting > 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct storage *storage = handle->data;
    storage->closed(storage->context);
}

static void on_warehouse_closed(void *context)
{
    struct storage *storage = context;
    if (storage->attached)
        storage->member.detach(storage->member.context);
    if (storage->store != NULL)
        store_destroy(storage->store);
    storage->store = NULL;
    while (storage->spare != NULL) {
        struct warehouse_request *next = storage->spare->next;
        heap_release(storage->spare);
        storage->spare = next;
    }
    block_recycle(0);
    resident_close(&storage->resident);
    uv_close((uv_handle_t *)&storage->timer, on_timer_closed);
}

/* After the journal: the warehouse holds the lock of data_dir for both. */
static void on_journaling_closed(void *context)
{
    struct storage *storage = context;
    if (storage->warehouse != NULL)
        warehouse_close(storage->warehouse, on_warehouse_closed);
    else
        on_warehouse_closed(storage);
}

void storage_close(struct storage *storage, void (*closed)(void *context))
{
    storage->closed = closed;
    uv_timer_stop(&storage->timer);
    journaling_close(&storage->journaling, on_journaling_closed, storage);
}
