/* writer: what the journal's thread does to the files: appends, syncs, begins and deletes segments,
 * and gets over failures. No thread and no clock of its own: journal.c calls it with the time. */
#ifndef JOURNAL_WRITER_H
#define JOURNAL_WRITER_H

#include "brain/journal.h"
#include "segment.h"

struct segment_file {
    struct segment_file *next;
    uint64_t number, ordinal, size;
};

struct writer {
    const struct journal_device *device;
    enum journal_sync policy;
    uint64_t interval_ms, retry_ms, unsynced_limit_bytes;
    int directory;
    struct segment_file *files, **last_file; /* oldest first; the last one is `current`, if any */
    uint64_t next_number;
    uint64_t adopted_ordinal; /* of the last file that was there already */
    bool removal_refused;     /* and the log says so */
    struct segment current;
    struct segment_file *current_file; /* its entry; NULL: there is no current segment */
    /* The segment whose sync failed, until what it may have lost is durable elsewhere: then it is
     * cut to what was synced. */
    struct segment abandoned;
    struct segment_file *abandoned_file;
    uint64_t abandoned_seq; /* the last record in it */

    struct batch_list pending; /* to append */
    struct batch_list
        unsynced;           /* appended to `current`, kept until synced; not with policy NEVER */
    struct batch_list done; /* the owner frees them */
    uint64_t unsynced_seq;  /* the last one ever put there */
    uint64_t unsynced_since_ms; /* since when its first record may be acknowledged */
    uint64_t dirty_since_ms; /* the same with policy NEVER, for nothing but being shown; 0: none */

    uint64_t written_seq; /* all up to here is appended */
    uint64_t durable_seq; /* and synced, or appended with policy NEVER */
    bool failing;
    bool sync_failed; /* an append alone does not end this failure */
    uint64_t retry_at_ms;
    char error[JOURNAL_TEXT];

    /* Counted here, handed over by journal.c. */
    uint64_t records, batches, bytes_written, syncs, failures;
    uint64_t appended_bytes; /* as bytes_written, but once for what was written again */
    uint64_t segment_count, total_bytes;
};

void writer_init(struct writer *writer, const struct journal_device *device,
    const struct journal_options *options);
/* Frees what writer_init and the rest made; the batches must be gone. */
void writer_release(struct writer *writer);

/* A file that is there already; oldest first. 0 or BRAIN_ENOMEM. */
int writer_adopt(struct writer *writer, uint64_t number, uint64_t ordinal, uint64_t size);
/* Begins a new segment at once; its time is given. 0, BRAIN_EIO or BRAIN_ENOMEM with a sentence in
 * writer->error. */
int writer_begin(
    struct writer *writer, uint64_t ordinal, uint64_t begun_unix_ms, uint64_t first_seq);

/* Appends what is pending and syncs what the policy says, unless a failure was less than retry_ms
 * ago. `last`: do it now whatever the policy says. */
void writer_work(struct writer *writer, uint64_t now_ms, bool last);
/* When writer_work has something to do by itself; UINT64_MAX: never. */
uint64_t writer_due_ms(const struct writer *writer);
/* Deletes all files of the ledger's segments up to `ordinal`, the oldest first. When one cannot be
 * removed, the younger ones stay, too, and the next call tries again: what is left of the journal
 * is always its end, so an old record is never found without the ones that replaced it. */
void writer_trim(struct writer *writer, uint64_t ordinal);
/* May a file that was adopted still be there? */
bool writer_holds_adopted(const struct writer *writer);
/* Gives up what is pending, closes the current segment, and removes it when it is empty. */
void writer_close(struct writer *writer);

#endif
