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
 *   segment: "BRAINJ2\n" | label | label (again) | record | record | ...
 *   label:   number:64 first_seq:64 unix_ms:64 salt:32 crc:32    crc is of the 28 bytes before it
 *   record:  crc:32 size:32 seq:64 payload                       big-endian; size is the payload's;
 *                                                                crc is CRC-32C of all that follows
 *                                                                it, begun with the segment's salt
 *   payload: the stored form (brain/stored.h), so a record is a stored object; before it stands,
 *            when compaction wrote a copy again, its time (cnode/server/compaction.h)
 *
 * unix_ms: when the segment was begun, so no record in it is older. It is in the file and not the
 * file's own time, which a restored backup does not have. (Segments of BRAINJ1 have labels without
 * it; they are read.)
 *
 * The salt is random: after damage, a search for the next record cannot be led to one that a client
 * has hidden in a value. The label stands there twice, so that one flipped bit in it costs nothing.
 *
 * seq: the number of the write, growing as long as the journal holds anything. An object that is
 * dirty has one live record, the one of its last write (or, of one that was given up to another
 * member, a later one of the same version: compaction wrote it again); a segment without live
 * records is deleted, the oldest first.
 *
 * What a failed sync means: the kernel may have dropped the pages and called them clean, so nothing
 * since the last good sync is trusted to be on the disk, and a later good sync of the same file
 * would prove nothing. Therefore batches are kept in memory until they are synced (a limit
 * says how many, then a sync is done at once), and after a failure they are written again, to a new
 * segment.
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
    X(recovered_bad_records, COUNTER, "damaged places skipped at start: checksum or form wrong")   \
    X(recovered_missing, COUNTER, "writes missing at start, where segments are: by their numbers")

struct journal_metrics {
    METRICS_FIELDS(JOURNAL_METRICS)
};

enum journal_sync {
    JOURNAL_SYNC_ALWAYS,   /* before on_written; one sync serves all that waits */
    JOURNAL_SYNC_INTERVAL, /* every sync_interval_ms while there is something to sync */
    JOURNAL_SYNC_NEVER,    /* the kernel decides */
};

struct journal_options {
    const char *directory;  /* made if absent (one level), mode 0700 */
    uint64_t segment_bytes; /* a new segment is begun at about this size */
    /* Longest payload, at most 4 GiB - 1: longer ones are refused, and taken for damage at start.
     * So not the limit of an object that is configured today, which somebody may have lowered. */
    uint64_t payload_limit_bytes;
    enum journal_sync sync;
    uint32_t sync_interval_ms;
    uint32_t retry_ms;             /* after a failed append, before it is tried again */
    uint64_t unsynced_limit_bytes; /* kept in memory until synced; then a sync is done; 0: 16 MiB */
};

struct journal_events {
    void *context;
    /* All records up to and with `seq` are appended (and synced with JOURNAL_SYNC_ALWAYS): status
     * 0. Or they could not be: BRAIN_EJOURNAL, told once when appending begins to fail, for
     * everything submitted so far that status 0 was not told for, and again for later batches
     * while it fails; the journal keeps them and tries again every retry_ms, and tells status 0
     * when they are in at last. Told for the highest seq only, once for many batches. */
    void (*on_written)(void *context, uint64_t seq, int status);
};

struct journal; /* opaque: cnode/journal/journal.c */

/* One record found at start. `begun_unix_ms`: when its segment was begun; 0: not known. `payload`:
 * the stored form, valid during the call. Returning an error
 * stops the recovery with it. The callback calls journal_live (or journal_replace) for the record
 * of an object that is still dirty because of it. Within a segment seq grows; but a segment may
 * begin with records that an older one has, too (after a failed sync), so keep the newer version,
 * as always, and do nothing for one that is there already. */
typedef int (*journal_record_cb)(
    void *context, uint64_t seq, uint64_t begun_unix_ms, struct slice payload);

/* Opens the directory and reads every segment in order, handing each good record to `record`
 * (synchronously; nothing else runs yet): a torn tail of the last segment is cut; a bad record in
 * the middle and a missing segment are counted, logged and skipped. Then starts the thread with a
 * new segment, and deletes the segments without live records.
 * `*journal` is set before the first call of `record`, for journal_live and its like only.
 * `*next_seq`: greater than every seq found; 1 when there is none. Returns 0, or an error with one
 * sentence in `*why` (static buffer): directory not writable, no space, a segment that cannot be
 * read, no memory; `*journal` is NULL then. */
int journal_open(struct journal **journal, uv_loop_t *loop, const struct journal_options *options,
    struct journal_events events, journal_record_cb record, void *record_context,
    uint64_t *next_seq, const char **why);

/* Adds one record to the batch of this turn: payload = head, then the value's bytes (by reference
 * where that is cheaper; a value without a block is copied; NULL: none). seq must grow; by one,
 * where missing writes shall be counted exactly. 0, or BRAIN_ENOMEM or BRAIN_ETOOBIG (not added,
 * and the seq is free again). */
int journal_append(
    struct journal *journal, uint64_t seq, struct slice head, const struct value *tail);
/* The same, and the CRC-32C of the value is put, little-endian, into the four bytes at `sum` of the
 * head (0: none; not of the caller's copy): for a large value by the thread, which has to look at
 * its bytes anyway. */
int journal_append_summed(
    struct journal *journal, uint64_t seq, struct slice head, size_t sum, const struct value *tail);
/* The end of the turn: hands the batch to the thread; nothing happens when it is empty. Never
 * blocks. Records that nobody waits for may be collected over several turns. */
void journal_submit(struct journal *journal);
/* Bytes of the batch that was not handed over yet. */
uint64_t journal_collected_bytes(const struct journal *journal);
/* Did the last append or sync fail, and no later one succeed? Then new writes should be refused. */
bool journal_is_failing(const struct journal *journal);
/* The last failure in words, "" while it works. Valid until the loop goes on. */
const char *journal_last_error(const struct journal *journal);
/* Bytes that the journal holds in memory: not appended yet, or not synced yet. They grow while
 * appending fails or is slow: part of the memory limit. */
uint64_t journal_held_bytes(const struct journal *journal);

/* Bookkeeping of live records, by seq; O(log segments).
 * `journal_live`: an object became dirty by this write (its record was just appended, and no other
 * since, or is being recovered).
 * `journal_dead`: what that write did is in the warehouse, or superseded there.
 * `journal_replace`: a dirty object was written again: `old_seq`'s record is worth nothing once
 * `new_seq`'s is durable, and not before: until then its segment stays.
 * A segment whose records are all dead, and all older segments too, is deleted, the oldest first;
 * one that cannot be removed keeps the younger ones, until it can. */
void journal_live(struct journal *journal, uint64_t seq);
void journal_dead(struct journal *journal, uint64_t seq);
void journal_replace(struct journal *journal, uint64_t old_seq, uint64_t new_seq);
/* The wall clock by which segments are dated. */
uint64_t journal_unix_ms(void);
/* For compaction: a segment, as a range of seqs (0: it is empty). */
struct journal_range {
    uint64_t begun_unix_ms; /* 0: not known */
    uint64_t first_seq, last_seq, live;
};
/* The oldest segment that is not the current one; false: there is none. The owner then appends the
 * live objects of that range again (new seqs, journal_replace), or has them dumped. */
bool journal_oldest(const struct journal *journal, struct journal_range *range);
/* The current one. */
struct journal_range journal_newest(const struct journal *journal);
/* What is appended from now on goes to a new segment, with a time of its own. Hands over the batch
 * of this turn; what is live in it must have been told. Without memory nothing happens. */
void journal_begin_segment(struct journal *journal);
/* May a segment that was there when the journal was opened still be on the disk? True until its
 * removal was told to have succeeded. */
bool journal_holds_recovered(const struct journal *journal);
/* Of all segments, those to be appended yet included; without dead ones that could not be removed.
 */
uint64_t journal_bytes(const struct journal *journal);

void journal_metrics_register(struct metrics_registry *registry, const struct journal *journal);
/* Refreshes the gauges. `now_ms`: uv_now of the loop. */
void journal_refresh(struct journal *journal, uint64_t now_ms);

/* Appends and syncs what is pending (once: what fails now is lost, told and logged), stops the
 * thread, frees; `closed` is called on the loop with the context of the events, after the last
 * on_written. When no record is live, the segments are deleted: a clean stop leaves an empty
 * journal. No journal_append after it. */
void journal_close(struct journal *journal, void (*closed)(void *context));

#endif
