/* inside: what the two sides of the journal share (journal.c draws it). */
#ifndef JOURNAL_INSIDE_H
#define JOURNAL_INSIDE_H

#include <pthread.h>

#include "brain/journal.h"
#include "ledger.h"
#include "writer.h"

/* What the thread tells of its writer, as one. */
struct report {
    uint64_t acknowledged_seq; /* on_written may be told */
    uint64_t durable_seq;
    uint64_t failed_seq; /* what was submitted while it fails; 0: it works */
    uint64_t dirty_since_ms;
    uint64_t records, batches, bytes_written, appended_bytes, syncs, failures;
    uint64_t segment_count, total_bytes;
    bool holds_recovered;
    char error[JOURNAL_TEXT];
};

struct journal {
    struct journal_events events;
    void (*closed)(void *context);
    uint64_t segment_bytes, payload_limit;

    /* The owner's: */
    struct ledger ledger;
    bool recovering;  /* live records are not known yet: nothing may be deleted */
    uint64_t current; /* ordinal of the ledger's current segment, and about its size: */
    uint64_t current_bytes;
    struct batch *batch;       /* of this turn; NULL: nothing yet */
    struct batch_list garbage; /* done, to be given back */
    struct batch_list spare;
    size_t spare_count;
    uint64_t last_seq; /* appended */
    uint64_t told_written, told_failed;
    uint64_t appended_records, appended_bytes, held_bytes;
    struct report news; /* the last one taken */
    struct journal_metrics metrics;
    bool is_closing;

    uv_async_t wake_owner;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake_thread;
    /* Shared, under `lock`: */
    struct batch_list incoming, done;
    uint64_t trim_through;
    bool closing, delete_all; /* with `closing`: nothing is live */
    bool stopped;
    struct report report;

    struct writer writer; /* the thread's, once it runs */
};

/* Of the monotonic clock. */
uint64_t journal_clock_ms(void);
/* Under the lock, or before there is a thread: what the writer has come to. `submitted_seq`: the
 * last record that it was given. */
void journal_publish(struct journal *journal, uint64_t submitted_seq);
/* The thread: appends, syncs and deletes until the journal is closed. */
void *journal_run(void *journal);

#endif
