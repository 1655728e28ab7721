#include "journaling.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/log.h"
#include "brain/stored.h"

/* Between two tries of an append that failed: soon enough that a disk with room again is used at
 * once, seldom enough that a full one is left alone. */
enum { RETRY_MS = 1000 };
/* Of records that nobody waits for: at most so long, or so many bytes, until they are handed over.
 */
enum { COLLECT_MS = 5, COLLECT_BYTES = 128 << 10 };
/* What surrounds a value in its record: tuple, id, version, checksum. */
enum { STORED_OVERHEAD = 4096 };
/* A loss of power may have taken the last records, and their numbers are in the warehouse already:
 * no number is ever given twice, if fewer writes than this were lost. */
static const uint64_t SEQ_GAP = UINT64_C(1) << 32;

/* ---- writes ---------------------------------------------------------------------------------- */

static void announce_live(struct journaling *journaling)
{
    if (journaling->last_live != 0)
        journal_live(journaling->journal, journaling->last_live);
    journaling->last_live = 0;
}

/* `kept_unix_ms`: of a copy that is written again; 0: a write of now. */
static int record(struct journaling *journaling, uint64_t seq, uint64_t kept_unix_ms,
    struct slice id, struct version version, const struct value *value)
{
    struct buffer *head = &journaling->head;
    if (journal_is_failing(journaling->journal))
        return BRAIN_EJOURNAL;
    buffer_clear(head);
    size_t sum = kept_unix_ms != 0 ? kept_write(head, kept_unix_ms) : 0;
    if (value != NULL)
        sum += stored_write_open_head(head, id, version);
    else
        stored_write_tombstone(head, id, version, journal_unix_ms());
    if (value == NULL)
        sum = 0;
    if (buffer_status(head) != 0)
        return BRAIN_ENOMEM;
    announce_live(journaling);
    return journal_append_summed(journaling->journal, seq, buffer_slice(head), sum, value);
}

int journaling_record(struct journaling *journaling, struct slice id, struct version version,
    const struct value *value)
{
    return record(journaling, version.seq, 0, id, version, value);
}

int journaling_record_copy(struct journaling *journaling, uint64_t seq, uint64_t age_ms,
    struct slice id, struct version version, const struct value *value)
{
    const uint64_t now_ms = journal_unix_ms();
    return record(journaling, seq, age_ms < now_ms ? now_ms - age_ms : 1, id, version, value);
}

/* Told to the journal with the next event: when a write replaces another, its record_dead follows
 * at once, and then the old record must stay until the new one is durable (journal_replace). */
void journaling_live(struct journaling *journaling, uint64_t seq)
{
    announce_live(journaling);
    journaling->last_live = seq;
}

/* A death that has nothing to do with the last write only waits for it without need, for a moment.
 */
void journaling_dead(struct journaling *journaling, uint64_t seq)
{
    if (journaling->last_live != 0)
        journal_replace(journaling->journal, seq, journaling->last_live);
    else
        journal_dead(journaling->journal, seq);
    journaling->last_live = 0;
}

static void on_written(void *context, uint64_t seq, int status)
{
    struct journaling *journaling = context;
    if (status != 0 && !journaling->failing)
        log_error("the journal cannot be written: %s; writes are refused until it can",
            journal_last_error(journaling->journal));
    else if (status == 0 && journaling->failing)
        log_info("the journal is written again");
    journaling->failing = status != 0;
    store_written(journaling->store, seq, status, server_clock_ms(&journaling->clock));
}

/* The turn in which it fires ends with on_turn. */
static void on_collected(uv_timer_t *timer)
{
    (void)timer;
}

/* Waking the journal's thread and being woken by it costs two changes of threads and two system
 * calls, as much as a score of small writes. Records that somebody waits for go at once; others
 * (ack = memory) are collected, for some milliseconds at most. */
static void on_turn(uv_prepare_t *turn)
{
    struct journaling *journaling = turn->data;
    announce_live(journaling);
    const uint64_t bytes = journal_collected_bytes(journaling->journal);
    if (bytes == 0)
        return;
    const uint64_t now_ms = uv_now(journaling->loop);
    if (bytes < COLLECT_BYTES && !store_awaits_records(journaling->store)) {
        if (journaling->collect_since_ms == 0) {
            journaling->collect_since_ms = now_ms;
            uv_timer_start(&journaling->collect, on_collected, COLLECT_MS, 0);
        }
        if (now_ms - journaling->collect_since_ms < COLLECT_MS)
            return;
    }
    journaling->collect_since_ms = 0;
    uv_timer_stop(&journaling->collect);
    journal_submit(journaling->journal);
}

/* ---- has the machine been restarted? ----------------------------------------------------------
 */

static bool read_boot_id(const char *path, char id[BOOT_ID_SIZE])
{
    FILE *file = fopen(path, "re");
    bool read = file != NULL && fread(id, 1, BOOT_ID_SIZE, file) == BOOT_ID_SIZE;
    if (file != NULL)
        fclose(file);
    return read;
}

/* A process that ended leaves its records with the kernel, which goes on; a machine that was
 * restarted may have lost those that were not synced, after their objects were dumped. So the boot
 * of the machine is kept on which the journal was known to be whole: data_dir/boot_id. */
static bool machine_was_restarted(struct journaling *journaling, const char *data_dir)
{
    char last[BOOT_ID_SIZE];
    snprintf(journaling->boot_path, sizeof(journaling->boot_path), "%s/boot_id", data_dir);
    if (!read_boot_id("/proc/sys/kernel/random/boot_id", journaling->boot_id))
        return true;
    return !read_boot_id(journaling->boot_path, last) ||
           memcmp(last, journaling->boot_id, BOOT_ID_SIZE) != 0;
}

/* Only when nothing of what the last boot left is on the disk any more: the next start of the
 * process, without one of the machine, must not trust it. That it is dead is not enough: it is
 * found again as long as it is there. */
static void note_boot(struct journaling *journaling)
{
    if (!journaling->restarted || journal_holds_recovered(journaling->journal))
        return;
    journaling->restarted = false;
    FILE *file = fopen(journaling->boot_path, "we");
    if (file == NULL)
        return; /* then the next start looks twice at what it restores */
    fwrite(journaling->boot_id, 1, BOOT_ID_SIZE, file);
    fclose(file);
}

/* ---- compaction ------------------------------------------------------------------------------ */

bool journaling_is_large(const struct journaling *journaling)
{
    return journaling->journal != NULL &&
           journal_bytes(journaling->journal) > journaling->max_bytes;
}

/* R10: of a member, what is written from now on is not to count as old as what was written when
 * this segment was begun. */
static void close_old(struct journaling *journaling)
{
    const uint64_t begun_ms = journal_newest(journaling->journal).begun_unix_ms;
    if (!compaction_is_stale(begun_ms, journal_unix_ms(), journaling->tombstone_keep_ms))
        return;
    announce_live(journaling);
    journal_begin_segment(journaling->journal);
}

/* The oldest segment holds the others back: what is still needed of it is written again. */
static bool begin_rewrite(struct journaling *journaling)
{
    struct journal_range oldest;
    const bool is_member = journaling->holdings != NULL;
    if (journal_is_failing(journaling->journal))
        return false;
    if (is_member)
        close_old(journaling);
    if (!journal_oldest(journaling->journal, &oldest))
        return false;
    const struct compaction_case what = {.begun_unix_ms = oldest.begun_unix_ms,
        .first_seq = oldest.first_seq,
        .last_seq = oldest.last_seq,
        .live = oldest.live,
        .large = journaling_is_large(journaling),
        .tombstone_keep_ms = is_member ? journaling->tombstone_keep_ms : 0,
        .unix_ms = journal_unix_ms(),
        .now_ms = server_clock_ms(&journaling->clock)};
    return compaction_begin(&journaling->compaction, &what);
}

void journaling_refresh(struct journaling *journaling)
{
    if (journaling->journal != NULL)
        journal_refresh(journaling->journal, uv_now(journaling->loop));
}

bool journaling_advance(struct journaling *journaling, uint32_t budget)
{
    struct holdings *holdings = journaling->holdings;
    if (journaling->journal == NULL)
        return false;
    journaling_refresh(journaling);
    note_boot(journaling);
    if (holdings != NULL && !holdings_may_rewrite(holdings, server_clock_ms(&journaling->clock)))
        return false;
    return (journaling->compaction.under_way || begin_rewrite(journaling)) &&
           compaction_advance(&journaling->compaction, journaling->store, holdings, budget);
}

uint64_t journaling_held_bytes(const struct journaling *journaling)
{
    return journaling->journal != NULL ? journal_held_bytes(journaling->journal) : 0;
}

bool journaling_is_sound(const struct journaling *journaling)
{
    return journaling->journal != NULL && !journal_is_failing(journaling->journal);
}

void journaling_metrics_register(
    struct metrics_registry *registry, const struct journaling *journaling)
{
    if (journaling->journal != NULL)
        journal_metrics_register(registry, journaling->journal);
}

/* ---- start and end --------------------------------------------------------------------------- */

static int on_record(void *context, uint64_t seq, uint64_t begun_unix_ms, struct slice payload)
{
    struct journaling *journaling = context;
    struct stored stored;
    const uint64_t kept_unix_ms = kept_read(&payload);
    if (stored_read(payload, slice_of(NULL, 0), &stored) != 0) {
        log_error("a record of the journal is not in the stored form; it is skipped");
        return 0;
    }
    const struct value value = {NULL, stored.value.data, stored.value.size};
    const uint64_t now_ms = server_clock_ms(&journaling->clock);
    const struct value *restored = stored.deleted ? NULL : &value;
    int status;
    if (journaling->holdings == NULL) {
        /* The same number, unless a member's compaction wrote it again. */
        stored.version.seq = seq;
        status = store_restore(journaling->store, stored.id, stored.version, restored, now_ms);
    } else {
        const uint64_t age_ms =
            journaling->age_ms == UINT64_MAX
                ? 0
                : record_age(journaling->age_ms, begun_unix_ms, kept_unix_ms, journal_unix_ms());
        journal_live(journaling->journal, seq);
        status = holdings_restore(
            journaling->holdings, seq, stored.id, stored.version, restored, age_ms, now_ms);
    }
    /* Not with the next event: when the recovery ends, segments without live records are deleted.
     */
    announce_live(journaling);
    return status;
}

static enum journal_sync sync_of(const char *text, uint32_t *interval_ms)
{
    *interval_ms = 0;
    if (strcmp(text, "always") == 0)
        return JOURNAL_SYNC_ALWAYS;
    if (strcmp(text, "never") == 0)
        return JOURNAL_SYNC_NEVER;
    *interval_ms = (uint32_t)strtoul(text, NULL, 10);
    return JOURNAL_SYNC_INTERVAL;
}

/* Without a journal, one that holds records would be forgotten, and replayed over newer objects
 * when it is turned on again. */
static bool has_segments(const char *directory)
{
    bool found = false;
    DIR *stream = opendir(directory);
    if (stream == NULL)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(stream)) != NULL;) {
        size_t size = strlen(entry->d_name);
        found = size > 4 && strcmp(entry->d_name + size - 4, ".log") == 0;
    }
    closedir(stream);
    return found;
}

/* What waits for a sync counts against memory_limit: it may not be most of it. */
static uint64_t unsynced_limit(uint64_t memory_limit)
{
    enum { SHARE = 16 };
    const uint64_t most = UINT64_C(16) << 20;
    return memory_limit == 0 || memory_limit / SHARE > most ? most : 1 + memory_limit / SHARE;
}

int journaling_open(struct journaling *journaling, uv_loop_t *loop, const struct config *config,
    struct store *store, struct holdings *holdings, uint64_t age_ms, const char **why)
{
    static char sentence[4352];
    char directory[4096];
    uint64_t next_seq;
    *journaling = (struct journaling){.loop = loop,
        .clock = {loop, holdings != NULL},
        .store = store,
        .holdings = holdings,
        .age_ms = age_ms};
    buffer_init(&journaling->head);
    snprintf(directory, sizeof(directory), "%s/journal", config->data_dir);
    if (!config->journal) {
        if (!has_segments(directory))
            return 0;
        snprintf(sentence, sizeof(sentence),
            "journal = false, but %s holds writes that no warehouse has: start once with the "
            "journal "
            "and stop, or remove it",
            directory);
        *why = sentence;
        return BRAIN_ECONFIG;
    }
    journaling->max_bytes = config->journal_max_size;
    journaling->tombstone_keep_ms = config->tombstone_keep;
    struct journal_options options = {
        .directory = directory,
        .segment_bytes = config->journal_segment_size,
        .payload_limit_bytes = UINT32_MAX - STORED_OVERHEAD,
        .retry_ms = RETRY_MS,
        .unsynced_limit_bytes = unsynced_limit(config->memory_limit),
    };
    options.sync = sync_of(config->journal_sync, &options.sync_interval_ms);
    const struct journal_events events = {.context = journaling, .on_written = on_written};
    int error = journal_open(
        &journaling->journal, loop, &options, events, on_record, journaling, &next_seq, why);
    if (error != 0)
        return error;
    journaling->restarted = machine_was_restarted(journaling, config->data_dir);
    /* Also with journal_sync = always. There no record is missing that was acknowledged, but some
     * that were dumped since: their segments are removed oldest first, and synced after that, and
     * until then POSIX lets a loss of power undo any of these removals. Then an old record is there
     * without the one that had replaced it, which only the warehouse has. */
    if (journaling->restarted && holdings == NULL) /* copies are compared in any case (R7) */
        store_verify_restored(store);
    store_raise_seq(store, next_seq - 1 + SEQ_GAP);
    uv_prepare_init(loop, &journaling->turn);
    journaling->turn.data = journaling;
    uv_prepare_start(&journaling->turn, on_turn);
    uv_unref((uv_handle_t *)&journaling->turn);
    uv_timer_init(loop, &journaling->collect);
    journaling->collect.data = journaling;
    uv_unref((uv_handle_t *)&journaling->collect);
    journaling->open_handles = 2;
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct journaling *journaling = handle->data;
    if (--journaling->open_handles > 0)
        return;
    buffer_release(&journaling->head);
    journaling->closed(journaling->context);
}

static void on_journal_closed(void *context)
{
    struct journaling *journaling = context;
    journaling->journal = NULL;
    uv_close((uv_handle_t *)&journaling->turn, on_handle_closed);
    uv_close((uv_handle_t *)&journaling->collect, on_handle_closed);
}

void journaling_close(struct journaling *journaling, void (*closed)(void *context), void *context)
{
    journaling->closed = closed;
    journaling->context = context;
    if (journaling->journal == NULL) {
        closed(context);
        return;
    }
    uv_prepare_stop(&journaling->turn);
    announce_live(journaling);
    journal_close(journaling->journal, on_journal_closed);
}
