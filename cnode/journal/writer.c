#include "writer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "brain/log.h"
#include "record.h"

/* Kept in memory until synced; more than this is synced at once. */
static const uint64_t unsynced_limit_default = UINT64_C(16) << 20;
enum { NAME_ATTEMPTS = 16 };

void writer_init(struct writer *writer, const struct journal_device *device,
    const struct journal_options *options)
{
    *writer = (struct writer){
        .device = device,
        .policy = options->sync,
        .interval_ms = options->sync_interval_ms,
        .retry_ms = options->retry_ms,
        .unsynced_limit_bytes = options->unsynced_limit_bytes > 0 ? options->unsynced_limit_bytes
                                                                  : unsynced_limit_default,
        .directory = -1,
        .last_file = &writer->files,
        .next_number = 1,
        .current = {.device = device, .fd = -1},
        .abandoned = {.device = device, .fd = -1},
    };
    batch_list_init(&writer->pending);
    batch_list_init(&writer->unsynced);
    batch_list_init(&writer->done);
}

void writer_release(struct writer *writer)
{
    segment_close(&writer->current);
    segment_close(&writer->abandoned);
    for (struct segment_file *file = writer->files, *next; file != NULL; file = next) {
        next = file->next;
        heap_release(file);
    }
    if (writer->directory >= 0)
        close(writer->directory);
    writer->files = NULL;
    writer->last_file = &writer->files;
    writer->directory = -1;
}

/* ---- files ----------------------------------------------------------------------------------- */

static void count_file(struct writer *writer, struct segment_file *file)
{
    *writer->last_file = file;
    writer->last_file = &file->next;
    writer->segment_count++;
    writer->total_bytes += file->size;
}

int writer_adopt(struct writer *writer, uint64_t number, uint64_t ordinal, uint64_t size)
{
    struct segment_file *file = heap_allocate(sizeof(*file));
    if (file == NULL)
        return BRAIN_ENOMEM;
    *file = (struct segment_file){NULL, number, ordinal, size};
    count_file(writer, file);
    writer->next_number = number + 1;
    writer->adopted_ordinal = ordinal;
    return 0;
}

int writer_begin(
    struct writer *writer, uint64_t ordinal, uint64_t begun_unix_ms, uint64_t first_seq)
{
    struct segment_file *file = heap_allocate(sizeof(*file));
    if (file == NULL) {
        snprintf(writer->error, sizeof(writer->error), "%s", error_sentence(BRAIN_ENOMEM));
        return BRAIN_ENOMEM;
    }
    segment_close(&writer->current);
    writer->current_file = NULL;
    writer->current.directory = writer->directory;
    int status;
    for (int i = 0; i < NAME_ATTEMPTS; i++) {
        const struct segment_label label = {
            .number = writer->next_number, .first_seq = first_seq, .begun_unix_ms = begun_unix_ms};
        status = segment_create(&writer->current, ordinal, label, writer->error);
        if (status == 0 || errno != EEXIST)
            break;
        writer->next_number++; /* somebody else's, or the rest of a failed attempt */
    }
    if (status != 0) {
        heap_release(file);
        return status;
    }
    writer->current_file = file;
    *file = (struct segment_file){NULL, writer->next_number++, ordinal, writer->current.size};
    count_file(writer, file);
    return 0;
}

static void set_size(struct writer *writer, struct segment_file *file, uint64_t size)
{
    if (file == NULL)
        return;
    writer->total_bytes = writer->total_bytes - file->size + size;
    file->size = size;
}

/* ---- failures -------------------------------------------------------------------------------- */

static void begin_failing(struct writer *writer, uint64_t now_ms)
{
    writer->failures++;
    writer->retry_at_ms = now_ms + writer->retry_ms;
    if (!writer->failing)
        log_error(
            "journal: %s; trying again every %" PRIu64 " ms", writer->error, writer->retry_ms);
    writer->failing = true;
}

static void end_failing(struct writer *writer)
{
    if (writer->failing)
        log_info("journal: appending works again");
    writer->failing = writer->sync_failed = false;
    writer->error[0] = '\0';
}

/* Nothing since the last good sync counts as written to the disk: all of it is appended once more.
 *
 * It goes to a new segment; only when this one holds nothing that was synced, it is written again
 * to the same places, so that a disk that fails for long gets no segment per attempt. Nothing is
 * cut before: as long as the process's end is the only misfortune, the pages are still good. */
static void sync_has_failed(struct writer *writer, uint64_t now_ms)
{
    struct segment *current = &writer->current;
    begin_failing(writer, now_ms);
    writer->sync_failed = true;
    batch_list_prepend(&writer->pending, &writer->unsynced);
    if (current->synced == SEGMENT_HEADER || writer->abandoned.fd >= 0) {
        current->size = current->synced;
        return;
    }
    writer->abandoned = *current;
    writer->abandoned_file = writer->current_file;
    writer->abandoned_seq = writer->unsynced_seq;
    current->fd = -1;
    writer->current_file = NULL;
}

/* What the abandoned segment may have lost is durable in another one. Cut to what is certain, or
 * the next start would report damage that cost nothing. */
static void settle_abandoned(struct writer *writer)
{
    struct segment *abandoned = &writer->abandoned;
    if (abandoned->fd < 0 || writer->durable_seq < writer->abandoned_seq)
        return;
    if (writer->device->cut(abandoned->fd, (off_t)abandoned->synced) == 0)
        set_size(writer, writer->abandoned_file, abandoned->synced);
    segment_close(abandoned);
}

/* ---- work ------------------------------------------------------------------------------------ */

static int sync_now(struct writer *writer, uint64_t now_ms)
{
    if (writer->current.fd < 0 || writer->current.synced == writer->current.size)
        return 0;
    if (segment_sync(&writer->current, writer->error) != 0) {
        sync_has_failed(writer, now_ms);
        return BRAIN_EIO;
    }
    writer->syncs++;
    if (writer->durable_seq < writer->unsynced_seq)
        writer->durable_seq = writer->unsynced_seq;
    batch_list_move(&writer->done, &writer->unsynced);
    writer->dirty_since_ms = 0;
    writer->sync_failed = false;
    settle_abandoned(writer);
    if (writer->pending.first == NULL)
        end_failing(writer);
    return 0;
}

static int append_one(struct writer *writer, uint64_t now_ms)
{
    struct batch *batch = writer->pending.first;
    struct segment *current = &writer->current;
    /* Only one file at a time holds what is not synced. */
    if (current->fd >= 0 && current->ordinal != batch->segment &&
        writer->policy != JOURNAL_SYNC_NEVER && sync_now(writer, now_ms) != 0)
        return BRAIN_EIO;
    if ((current->fd < 0 || current->ordinal != batch->segment) &&
        writer_begin(writer, batch->segment, batch->begun_unix_ms, batch->first_seq) != 0) {
        begin_failing(writer, now_ms);
        return BRAIN_EIO;
    }
    uint64_t writes = 0;
    int status = segment_append(current, batch, &writes, writer->error);
    if (status != 0) {
        begin_failing(writer, now_ms);
        return status;
    }
    set_size(writer, writer->current_file, current->extent);
    batch_list_take(&writer->pending);
    writer->batches++;
    writer->bytes_written += batch->size;
    if (!batch->counted) {
        batch->counted = true;
        writer->records += batch->records;
        writer->appended_bytes += batch->size;
    }
    if (writer->written_seq < batch->last_seq)
        writer->written_seq = batch->last_seq;
    if (writer->dirty_since_ms == 0)
        writer->dirty_since_ms = batch->since_ms;
    if (writer->policy == JOURNAL_SYNC_NEVER) {
        writer->durable_seq = writer->written_seq;
        batch_list_append(&writer->done, batch);
    } else {
        /* From the acknowledgement on: records are collected before they come here, and wait while
         * another sync is under way. */
        if (writer->unsynced.first == NULL)
            writer->unsynced_since_ms = batch->since_ms;
        writer->unsynced_seq = batch->last_seq;
        batch_list_append(&writer->unsynced, batch);
    }
    if (!writer->sync_failed)
        end_failing(writer);
    return 0;
}

static bool sync_is_due(const struct writer *writer, uint64_t now_ms, bool last)
{
    if (writer->unsynced.first == NULL)
        return false;
    return last || writer->sync_failed || writer->policy == JOURNAL_SYNC_ALWAYS ||
           now_ms >= writer->unsynced_since_ms + writer->interval_ms ||
           writer->unsynced.size > writer->unsynced_limit_bytes;
}

void writer_work(struct writer *writer, uint64_t now_ms, bool last)
{
    bool wait = writer->failing && now_ms < writer->retry_at_ms && !last;
    while (writer->pending.first != NULL && !wait) {
        if (append_one(writer, now_ms) != 0)
            break;
        if (writer->unsynced.size > writer->unsynced_limit_bytes && sync_now(writer, now_ms) != 0)
            break;
    }
    /* Also while appending fails: a full disk can still be synced. */
    if (sync_is_due(writer, now_ms, last) && !(wait && writer->sync_failed))
        sync_now(writer, now_ms);
}

uint64_t writer_due_ms(const struct writer *writer)
{
    uint64_t due = UINT64_MAX;
    if (writer->unsynced.first != NULL && !writer->sync_failed)
        due = writer->unsynced_since_ms + writer->interval_ms;
    if (writer->failing && due > writer->retry_at_ms)
        due = writer->retry_at_ms;
    return due;
}

bool writer_holds_adopted(const struct writer *writer)
{
    return writer->files != NULL && writer->files->ordinal <= writer->adopted_ordinal;
}

static bool remove_oldest(struct writer *writer)
{
    char name[SEGMENT_NAME];
    segment_name(name, writer->files->number);
    bool gone = writer->device->remove(writer->directory, name) == 0 || errno == ENOENT;
    if (!gone && !writer->removal_refused)
        log_warning("journal: %s could not be removed: %s; it and those after it stay until it can",
            name, strerror(errno));
    else if (gone && writer->removal_refused)
        log_info("journal: %s could be removed at last", name);
    writer->removal_refused = !gone;
    return gone;
}

void writer_trim(struct writer *writer, uint64_t ordinal)
{
    bool removed = false;
    if (writer->abandoned.fd >= 0 && writer->abandoned.ordinal <= ordinal)
        segment_close(&writer->abandoned);
    if (writer->current.fd >= 0 && writer->current.ordinal <= ordinal) {
        /* Its records are worth nothing, synced or not. */
        segment_close(&writer->current);
        writer->current_file = NULL;
        if (writer->unsynced.first != NULL && writer->durable_seq < writer->unsynced_seq)
            writer->durable_seq = writer->unsynced_seq;
        batch_list_move(&writer->done, &writer->unsynced);
        writer->dirty_since_ms = 0;
    }
    while (writer->files != NULL && writer->files->ordinal <= ordinal && remove_oldest(writer)) {
        struct segment_file *file = writer->files;
        writer->files = file->next;
        if (writer->files == NULL)
            writer->last_file = &writer->files;
        writer->segment_count--;
        writer->total_bytes -= file->size;
        heap_release(file);
        removed = true;
    }
    if (removed)
        writer->device->sync_directory(writer->directory);
    /* Those that had to stay count as no bytes: compaction could not make them fewer. */
    for (struct segment_file *file = writer->files; file != NULL && file->ordinal <= ordinal;
         file = file->next)
        set_size(writer, file, 0);
}

void writer_close(struct writer *writer)
{
    struct segment *current = &writer->current;
    uint64_t lost = 0;
    for (const struct batch *batch = writer->pending.first; batch != NULL; batch = batch->next)
        lost += batch->records;
    if (lost > 0)
        log_error("journal: %" PRIu64 " records could not be written before the end: %s", lost,
            writer->error);
    batch_list_move(&writer->done, &writer->pending);
    batch_list_move(&writer->done, &writer->unsynced);
    if (current->fd >= 0 && current->extent == SEGMENT_HEADER) {
        char name[SEGMENT_NAME];
        segment_name(name, current->number);
        writer->device->remove(writer->directory, name);
    }
    segment_close(current);
    segment_close(&writer->abandoned);
}
