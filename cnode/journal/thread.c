/* The journal's thread: what has to wait for the disk. It decides nothing but when to sync and what
 * to do about failures. */
#include <errno.h>
#include <string.h>

#include "inside.h"

uint64_t journal_clock_ms(void)
{
    return uv_hrtime() / 1000000;
}

void journal_publish(struct journal *journal, uint64_t submitted_seq)
{
    struct writer *writer = &journal->writer;
    struct report *report = &journal->report;
    report->acknowledged_seq =
        writer->policy == JOURNAL_SYNC_ALWAYS ? writer->durable_seq : writer->written_seq;
    report->durable_seq = writer->durable_seq;
    report->failed_seq = writer->failing ? submitted_seq : 0;
    report->dirty_since_ms = writer->dirty_since_ms;
    report->records = writer->records;
    report->batches = writer->batches;
    report->bytes_written = writer->bytes_written;
    report->appended_bytes = writer->appended_bytes;
    report->syncs = writer->syncs;
    report->failures = writer->failures;
    report->segment_count = writer->segment_count;
    report->total_bytes = writer->total_bytes;
    report->holds_recovered = writer_holds_adopted(writer);
    memcpy(report->error, writer->error, sizeof(report->error));
    batch_list_move(&journal->done, &writer->done);
}

/* Waits, under the lock, until there is something to do, or `due_ms`. */
static void wait_for_work(struct journal *journal, uint64_t trimmed, uint64_t due_ms)
{
    while (
        journal->incoming.first == NULL && journal->trim_through == trimmed && !journal->closing) {
        if (due_ms == UINT64_MAX) {
            pthread_cond_wait(&journal->wake_thread, &journal->lock);
            continue;
        }
        struct timespec until = {(time_t)(due_ms / 1000), (long)(due_ms % 1000) * 1000000};
        if (pthread_cond_timedwait(&journal->wake_thread, &journal->lock, &until) == ETIMEDOUT)
            return;
    }
}

static void finish(struct writer *writer, bool delete_all)
{
    /* What is dead makes room for the rest first. */
    if (delete_all)
        writer_trim(writer, UINT64_MAX);
    writer_work(writer, journal_clock_ms(), true);
    if (writer->failing)
        writer_work(writer, journal_clock_ms(), true);
    if (delete_all)
        writer_trim(writer, UINT64_MAX);
    writer_close(writer);
}

void *journal_run(void *argument)
{
    struct journal *journal = argument;
    struct writer *writer = &journal->writer;
    uint64_t trimmed = 0, submitted_seq = 0;
    pthread_mutex_lock(&journal->lock);
    for (bool closing = false; !closing;) {
        wait_for_work(journal, trimmed, writer_due_ms(writer));
        for (struct batch *batch; (batch = batch_list_take(&journal->incoming)) != NULL;) {
            submitted_seq = batch->last_seq;
            batch_list_append(&writer->pending, batch);
        }
        trimmed = journal->trim_through;
        closing = journal->closing;
        bool delete_all = journal->delete_all;
        pthread_mutex_unlock(&journal->lock);

        writer_work(writer, journal_clock_ms(), false);
        writer_trim(writer, trimmed);
        if (closing)
            finish(writer, delete_all);

        pthread_mutex_lock(&journal->lock);
        journal_publish(journal, submitted_seq);
        journal->stopped = closing;
        uv_async_send(&journal->wake_owner);
    }
    pthread_mutex_unlock(&journal->lock);
    return NULL;
}
