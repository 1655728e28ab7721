/* journal: the owner's side; the thread is thread.c.
 *
 *   owner's loop                                     thread
 *   append -> batch -> submit -> [ incoming ] -----> writer: append, sync, delete
 *                     trim       trim_through -----> writer_trim
 *   on_written <- [ report, done batches ] <- uv_async
 *
 * The owner decides which segment a batch goes to, so that its ledger is right from the moment of
 * the append; the thread decides nothing but when to sync and what to do about failures. Batches
 * are allocated and freed by the owner only. */
#include "brain/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "brain/log.h"
#include "inside.h"
#include "record.h"
#include "recover.h"

enum {
    SPARE_LIMIT = 4,
    /* Batches and values given back in one turn of the loop. A sync can end the waiting of hundreds
     * of thousands of small batches at once; freeing one takes about 50 ns. */
    RELEASE_LIMIT = 10000,
};

/* ---- the owner's side ------------------------------------------------------------------------ */

static struct batch *take_spare(struct journal *journal)
{
    struct batch *batch = batch_list_take(&journal->spare);
    if (batch == NULL)
        return batch_create();
    journal->spare_count--;
    return batch;
}

/* Gives batches back, so many that the turn stays short. */
static void release_garbage(struct journal *journal)
{
    for (size_t work = 0; work < RELEASE_LIMIT && journal->garbage.first != NULL;) {
        struct batch *batch = batch_list_take(&journal->garbage);
        journal->held_bytes -= batch_memory(batch);
        work += 1 + batch->tail_count;
        if (journal->spare_count < SPARE_LIMIT) {
            batch_clear(batch);
            batch_list_append(&journal->spare, batch);
            journal->spare_count++;
        } else {
            batch_destroy(batch);
        }
    }
    if (journal->garbage.first != NULL)
        uv_async_send(&journal->wake_owner);
}

/* Its file is made when the first batch is appended. */
static int begin_segment(struct journal *journal)
{
    int status = ledger_begin(&journal->ledger, journal_unix_ms(), &journal->current);
    if (status == 0)
        journal->current_bytes = SEGMENT_HEADER;
    return status;
}

/* The segment of the batch that begins now. */
static int choose_segment(struct journal *journal)
{
    return journal->current_bytes < journal->segment_bytes ? 0 : begin_segment(journal);
}

int journal_append(
    struct journal *journal, uint64_t seq, struct slice head, const struct value *tail)
{
    return journal_append_summed(journal, seq, head, 0, tail);
}

int journal_append_summed(
    struct journal *journal, uint64_t seq, struct slice head, size_t sum, const struct value *tail)
{
    assert(!journal->is_closing && !journal->recovering);
    assert(seq > journal->last_seq && seq < RECORD_SEQ_LIMIT);
    size_t tail_size = tail == NULL ? 0 : tail->size;
    if (head.size > journal->payload_limit || tail_size > journal->payload_limit - head.size)
        return BRAIN_ETOOBIG;
    assert(head.size + tail_size > 0);
    if (journal->batch == NULL && (journal->batch = take_spare(journal)) == NULL)
        return BRAIN_ENOMEM;
    struct batch *batch = journal->batch;
    if (batch->records == 0) {
        int status = choose_segment(journal);
        if (status != 0)
            return status;
        batch->segment = journal->current;
        batch->begun_unix_ms = ledger_current(&journal->ledger)->begun_unix_ms;
        /* When the turn began: not later than anything that is acknowledged in it. */
        batch->since_ms = uv_now(journal->wake_owner.loop);
    }
    uint64_t size_before = batch->size;
    const uint64_t memory_before = batch->records > 0 ? batch_memory(batch) : 0;
    int status = batch_add(batch, seq, head, sum, tail);
    /* Also of a record that was not added: the memory may be there. */
    if (batch->records > 0)
        journal->held_bytes += batch_memory(batch) - memory_before;
    if (status != 0)
        return status;
    ledger_append(&journal->ledger, seq);
    journal->last_seq = seq;
    journal->appended_records++;
    journal->appended_bytes += batch->size - size_before;
    journal->current_bytes += batch->size - size_before;
    return 0;
}

void journal_submit(struct journal *journal)
{
    struct batch *batch = journal->batch;
    if (batch == NULL || batch->records == 0)
        return;
    journal->batch = NULL;
    pthread_mutex_lock(&journal->lock);
    batch_list_append(&journal->incoming, batch);
    pthread_cond_signal(&journal->wake_thread);
    pthread_mutex_unlock(&journal->lock);
}

uint64_t journal_collected_bytes(const struct journal *journal)
{
    return journal->batch != NULL ? journal->batch->size : 0;
}

bool journal_is_failing(const struct journal *journal)
{
    return journal->news.failed_seq != 0;
}

const char *journal_last_error(const struct journal *journal)
{
    return journal->news.error;
}

uint64_t journal_held_bytes(const struct journal *journal)
{
    return journal->held_bytes;
}

/* ---- live records ---------------------------------------------------------------------------- */

static void trim(struct journal *journal)
{
    if (journal->recovering)
        return;
    uint64_t through = ledger_trim(&journal->ledger, journal->news.durable_seq);
    /* While appending fails, a batch that cannot be written must not keep what nobody needs: the
     * room may be all that is missing. */
    if (journal_is_failing(journal) && (journal->batch == NULL || journal->batch->records == 0)) {
        uint64_t cleared = ledger_clear(&journal->ledger);
        if (cleared != 0) {
            through = cleared;
            journal->current = journal->ledger.segments[0].ordinal;
            journal->current_bytes = SEGMENT_HEADER;
        }
    }
    if (through == 0)
        return;
    pthread_mutex_lock(&journal->lock);
    journal->trim_through = through;
    pthread_cond_signal(&journal->wake_thread);
    pthread_mutex_unlock(&journal->lock);
}

void journal_live(struct journal *journal, uint64_t seq)
{
    bool known = ledger_live(&journal->ledger, seq);
    assert(known);
    (void)known;
}

void journal_dead(struct journal *journal, uint64_t seq)
{
    /* A count that is wrong would delete what somebody was told is safe. */
    bool was_live = ledger_dead(&journal->ledger, seq);
    assert(was_live);
    (void)was_live;
    trim(journal);
}

void journal_replace(struct journal *journal, uint64_t old_seq, uint64_t new_seq)
{
    bool known = ledger_replace(&journal->ledger, old_seq, new_seq);
    assert(known);
    (void)known;
    trim(journal);
}

uint64_t journal_unix_ms(void)
{
    return journal_device_get()->unix_ms();
}

static struct journal_range range_of(const struct ledger_segment *segment)
{
    return (struct journal_range){
        segment->begun_unix_ms, segment->first_seq, segment->last_seq, segment->live};
}

bool journal_oldest(const struct journal *journal, struct journal_range *range)
{
    const struct ledger_segment *oldest = ledger_oldest(&journal->ledger);
    if (oldest != NULL)
        *range = range_of(oldest);
    return oldest != NULL;
}

struct journal_range journal_newest(const struct journal *journal)
{
    return range_of(ledger_current(&journal->ledger));
}

void journal_begin_segment(struct journal *journal)
{
    journal_submit(journal);
    if (begin_segment(journal) == 0)
        trim(journal);
}

bool journal_holds_recovered(const struct journal *journal)
{
    return journal->news.holds_recovered;
}

uint64_t journal_bytes(const struct journal *journal)
{
    return journal->news.total_bytes + journal->appended_bytes - journal->news.appended_bytes;
}

/* ---- metrics --------------------------------------------------------------------------------- */

void journal_metrics_register(struct metrics_registry *registry, const struct journal *journal)
{
    const char *group = "journal";
    const struct journal_metrics *source = &journal->metrics;
    JOURNAL_METRICS(METRICS_ROW)
}

void journal_refresh(struct journal *journal, uint64_t now_ms)
{
    struct journal_metrics *metrics = &journal->metrics;
    const struct report *news = &journal->news;
    metrics->records = news->records;
    metrics->batches = news->batches;
    metrics->bytes_written = news->bytes_written;
    metrics->syncs = news->syncs;
    metrics->failures = news->failures;
    metrics->segments = news->segment_count;
    metrics->bytes = journal_bytes(journal);
    metrics->live = journal->ledger.live;
    metrics->pending_records = journal->appended_records - news->records;
    metrics->unsynced_ms = news->dirty_since_ms != 0 && now_ms > news->dirty_since_ms
                               ? now_ms - news->dirty_since_ms
                               : 0;
}

/* ---- news from the thread -------------------------------------------------------------------- */

static void free_journal(struct journal *journal)
{
    if (journal->batch != NULL)
        batch_destroy(journal->batch);
    batch_list_move(&journal->garbage, &journal->spare);
    for (struct batch *batch; (batch = batch_list_take(&journal->garbage)) != NULL;)
        batch_destroy(batch);
    ledger_release(&journal->ledger);
    writer_release(&journal->writer);
    pthread_cond_destroy(&journal->wake_thread);
    pthread_mutex_destroy(&journal->lock);
    heap_release(journal);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct journal *journal = handle->data;
    void (*closed)(void *context) = journal->closed;
    void *context = journal->events.context;
    free_journal(journal);
    if (closed != NULL)
        closed(context);
}

/* All that is told with status 0 is in, so this comes first, and nobody hears of a failure that is
 * over for his record. */
static void tell(struct journal *journal)
{
    const struct journal_events *events = &journal->events;
    uint64_t written = journal->news.acknowledged_seq, failed = journal->news.failed_seq;
    if (written > journal->told_written) {
        journal->told_written = written;
        events->on_written(events->context, written, 0);
    }
    if (failed > journal->told_written && failed > journal->told_failed) {
        journal->told_failed = failed;
        events->on_written(events->context, failed, BRAIN_EJOURNAL);
    }
}

static void on_wake(uv_async_t *async)
{
    struct journal *journal = async->data;
    pthread_mutex_lock(&journal->lock);
    journal->news = journal->report;
    batch_list_move(&journal->garbage, &journal->done);
    bool stopped = journal->stopped;
    pthread_mutex_unlock(&journal->lock);

    release_garbage(journal);
    if (!journal->is_closing)
        trim(journal);
    tell(journal);
    if (stopped && journal->garbage.first == NULL && !uv_is_closing((uv_handle_t *)async)) {
        pthread_join(journal->thread, NULL);
        uv_close((uv_handle_t *)async, on_handle_closed);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static int open_directory(struct journal *journal, const char *path, char why[JOURNAL_TEXT])
{
    bool made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST) {
        snprintf(why, JOURNAL_TEXT, "could not be made: %s", strerror(errno));
        return BRAIN_EIO;
    }
    journal->writer.directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (journal->writer.directory < 0) {
        snprintf(why, JOURNAL_TEXT, "could not be opened: %s", strerror(errno));
        return BRAIN_EIO;
    }
    if (made) {
        int parent = openat(journal->writer.directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent >= 0) {
            (void)fsync(parent);
            close(parent);
        }
    }
    return 0;
}

static int recover_all(struct journal *journal, journal_record_cb record, void *context,
    uint64_t *next_seq, char why[JOURNAL_TEXT])
{
    struct recovery recovery = {
        .directory = journal->writer.directory,
        .payload_limit = journal->payload_limit,
        .writer = &journal->writer,
        .ledger = &journal->ledger,
        .record = record,
        .context = context,
    };
    uint64_t begin = journal_clock_ms();
    journal->recovering = true;
    int status = recover(&recovery);
    journal->recovering = false;
    if (status != 0) {
        memcpy(why, recovery.why, JOURNAL_TEXT);
        return status;
    }
    journal->metrics.recovered_records = recovery.records;
    journal->metrics.recovered_torn_bytes = recovery.torn_bytes;
    journal->metrics.recovered_bad_records = recovery.bad;
    journal->metrics.recovered_missing = recovery.missing;
    journal->last_seq = recovery.last_seq;
    *next_seq = recovery.last_seq + 1;
    if (recovery.segments > 0)
        log_info("journal: %" PRIu64 " records read from %" PRIu64 " segments (%" PRIu64
                 " bytes) in %" PRIu64 " ms, %" PRIu64 " of them live",
            recovery.records, recovery.segments, journal->writer.total_bytes,
            journal_clock_ms() - begin, journal->ledger.live);
    return 0;
}

static int begin_first(struct journal *journal, char why[JOURNAL_TEXT])
{
    int status = begin_segment(journal);
    if (status != 0) {
        snprintf(why, JOURNAL_TEXT, "%s", error_sentence(status));
        return status;
    }
    status = writer_begin(&journal->writer, journal->current,
        ledger_current(&journal->ledger)->begun_unix_ms, journal->last_seq + 1);
    if (status != 0)
        memcpy(why, journal->writer.error, JOURNAL_TEXT);
    return status;
}

static int start_thread(struct journal *journal)
{
    sigset_t all, before;
    /* Signals are the owner's; and a write over RLIMIT_FSIZE is an error here, not a signal. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&journal->thread, NULL, journal_run, journal);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static struct journal *create(const struct journal_options *options, struct journal_events events)
{
    struct journal *journal = heap_allocate_zeroed(sizeof(*journal));
    if (journal == NULL)
        return NULL;
    journal->events = events;
    journal->segment_bytes = options->segment_bytes;
    journal->payload_limit =
        options->payload_limit_bytes < UINT32_MAX ? options->payload_limit_bytes : UINT32_MAX;
    ledger_init(&journal->ledger);
    batch_list_init(&journal->garbage);
    batch_list_init(&journal->spare);
    batch_list_init(&journal->incoming);
    batch_list_init(&journal->done);
    writer_init(&journal->writer, journal_device_get(), options);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&journal->wake_thread, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&journal->lock, NULL);
    return journal;
}

int journal_open(struct journal **journal_out, uv_loop_t *loop,
    const struct journal_options *options, struct journal_events events, journal_record_cb record,
    void *record_context, uint64_t *next_seq, const char **why)
{
    static char text[JOURNAL_TEXT + 4096];
    char reason[JOURNAL_TEXT] = "";
    *why = text;
    text[0] = '\0';
    struct journal *journal = *journal_out = create(options, events);
    int status = BRAIN_ENOMEM;
    if (journal == NULL) {
        snprintf(reason, sizeof(reason), "%s", error_sentence(status));
        goto failed;
    }
    status = open_directory(journal, options->directory, reason);
    if (status == 0)
        status = recover_all(journal, record, record_context, next_seq, reason);
    if (status == 0)
        status = begin_first(journal, reason);
    if (status != 0)
        goto failed;
    uint64_t dead = ledger_trim(&journal->ledger, UINT64_MAX);
    if (dead != 0)
        writer_trim(&journal->writer, dead);
    journal_publish(journal, 0);
    journal->news = journal->report;

    int error = uv_async_init(loop, &journal->wake_owner, on_wake);
    if (error != 0) {
        snprintf(reason, sizeof(reason), "no descriptor to wake the loop: %s", uv_strerror(error));
        status = BRAIN_EIO;
        goto failed;
    }
    journal->wake_owner.data = journal;
    error = start_thread(journal);
    if (error != 0) {
        snprintf(text, sizeof(text), "journal %.4000s: its thread could not be started: %s",
            options->directory, strerror(error));
        uv_close((uv_handle_t *)&journal->wake_owner, on_handle_closed);
        *journal_out = NULL;
        return BRAIN_EIO;
    }
    return 0;

failed:
    snprintf(text, sizeof(text), "journal %.4000s: %s", options->directory, reason);
    if (journal != NULL)
        free_journal(journal);
    *journal_out = NULL;
    return status;
}

void journal_close(struct journal *journal, void (*closed)(void *context))
{
    journal_submit(journal);
    journal->closed = closed;
    journal->is_closing = true;
    pthread_mutex_lock(&journal->lock);
    journal->closing = true;
    journal->delete_all = journal->ledger.live == 0;
    pthread_cond_signal(&journal->wake_thread);
    pthread_mutex_unlock(&journal->lock);
}
