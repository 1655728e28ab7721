/* journal: an append-only log of the writes that the warehouse does not have yet, so that an
 * acknowledged write survives the end of the process.
 *
 * The owner thread collects the records of one turn of its loop into a batch; the journal's own
 * thread appends each batch with one write and syncs by policy (the thread exists because even a
 * buffered write stalled 40 to 116 ms behind a sync when it was measured). The owner holds the
 * answers that depend on a record until on_written says that it is there.
 *
 *   data_dir/journal/00000000000000000001.log, ...2.log, ...     segments, oldest first
 *
 *   segment: "BRAINJ1\n" number:64 | record | record | ...
 *   record:  size:32 crc:32 seq:64 payload                       big-endian; crc is CRC-32C of
 *                                                                seq and payload
 *   payload: the stored form (brain/stored.h), so a record is a stored object
 *
 * seq: the number of the write, growing over the whole life of the data directory. An object that
 * is dirty has one live record, the one of its last write; a segment without live records is
 * deleted.
 */
#ifndef BRAIN_JOURNAL_H
#define BRAIN_JOURNAL_H

#include <uv.h>

#include "brain/base.h"
#include "brain/metrics.h"

#define JOURNAL_METRICS(X)                                                                         \
    X(records, COUNTER, "records appended")                                                        \
    X(batches, COUNTER, "batches appended, one write each")                                        \
    X(bytes_written, COUNTER, "bytes appended")                                                    \
    X(syncs, COUNTER, "syncs done")                                                                \
    X(failures, COUNTER, "appends and syncs that failed")                                          \
    X(segments, GAUGE, "segments on disk")                                                         \
    X(bytes, GAUGE, "bytes of all segments")                                                       \
    X(live, GAUGE, "records of objects that the warehouse does not have yet")                      \
    X(pending_records, GAUGE, "records not appended yet")                                          \
    X(unsynced_ms, GAUGE, "age of the oldest record that is appended but not synced, ms")          \
    X(recovered_records, COUNTER, "records read at start")                                         \
    X(recovered_torn_bytes, COUNTER, "bytes of a torn tail cut at start")                          \
    X(recovered_bad_records, COUNTER, "records skipped at start: checksum or form wrong")          \
    X(recovered_missing, COUNTER, "writes missing at start: gaps between the numbers of segments")

struct journal_metrics {
    METRICS_FIELDS(JOURNAL_METRICS)
};

enum journal_sync {
    JOURNAL_SYNC_ALWAYS,   /* before on_written; one sync serves all that waits */
    JOURNAL_SYNC_INTERVAL, /* every sync_interval_ms while there is something to sync */
    JOURNAL_SYNC_NEVER,    /* the kernel decides */
};

struct journal_options {
    const char *directory;  /* made if absent, mode 0700 */
    uint64_t segment_bytes; /* a new segment is begun at about this size */
    enum journal_sync sync;
    uint32_t sync_interval_ms;
    uint32_t retry_ms; /* after a failed append, before it is tried again */
};

struct journal_events {
    void *context;
    /* All records up to and with `seq` are appended (and synced with JOURNAL_SYNC_ALWAYS): status
     * 0. Or they could not be: BRAIN_EIO, told once when appending begins to fail, for everything
     * submitted so far, and again for each later batch while it fails; the journal keeps them and
     * tries again every retry_ms, and tells status 0 when they are in at last. */
    void (*on_written)(void *context, uint64_t seq, int status);
};

struct journal; /* opaque: cnode/journal/journal.c */

/* One record found at start. `payload`: the stored form. Returning an error stops the recovery with
 * it. The callback calls journal_live for the record of an object that is still dirty because of
 * it. */
typedef int (*journal_record_cb)(void *context, uint64_t seq, struct slice payload);

/* Opens the directory and reads every segment in order, handing each good record to `record`
 * (synchronously; nothing else runs yet): a torn tail of the last segment is cut; a bad record in
 * the middle and a missing segment are counted, logged and skipped. Then starts the thread with a
 * new segment.
 * `*next_seq`: greater than every seq found. Returns 0, or an error with one sentence in `*why`
 * (directory not writable, no space, a segment that cannot be read, no memory). */
int journal_open(struct journal **journal, uv_loop_t *loop, const struct journal_options *options,
    struct journal_events events, journal_record_cb record, void *record_context,
    uint64_t *next_seq, const char **why);

/* Adds one record to the batch of this turn: payload = head, then the value's bytes (by reference:
 * a value without a block is copied). seq must grow. 0 or BRAIN_ENOMEM (not added). */
int journal_append(
    struct journal *journal, uint64_t seq, struct slice head, const struct value *tail);
/* The end of the turn: hands the batch to the thread; nothing happens when it is empty. Never
 * blocks. */
void journal_submit(struct journal *journal);
/* Did the last append fail, and no later one succeed? Then new writes should be refused. */
bool journal_is_failing(const struct journal *journal);
/* The last failure in words, "" while it works. */
const char *journal_last_error(const struct journal *journal);

/* Bookkeeping of live records, by seq. `journal_live`: an object became dirty, or dirty again, by
 * this write. `journal_dead`: that write is in the warehouse, or was overwritten by a later record.
 * A segment whose records are all dead, and all older segments too, is deleted. O(log segments). */
void journal_live(struct journal *journal, uint64_t seq);
void journal_dead(struct journal *journal, uint64_t seq);
/* For compaction: the range of the oldest segment that is not the current one; false: there is
 * none. The owner then appends the live objects of that range again (new seqs), or has them dumped.
 */
bool journal_oldest(
    const struct journal *journal, uint64_t *first_seq, uint64_t *last_seq, uint64_t *live);
uint64_t journal_bytes(const struct journal *journal);

void journal_metrics_register(struct metrics_registry *registry, const struct journal *journal);
/* Refreshes the gauges. */
void journal_refresh(struct journal *journal, uint64_t now_ms);

/* Appends and syncs what is pending, stops the thread, frees; `closed` is called on the loop. When
 * no record is live, the segments are deleted: a clean stop leaves an empty journal. */
void journal_close(struct journal *journal, void (*closed)(void *context));

#endif
