/* ledger: how many live records each segment has, so that segments can be deleted when none is
 * left. Pure.
 *
 * A segment here is a range of seqs: a record belongs to the first segment whose last seq is not
 * below its own. On disk a segment is one file, or several after a failed sync (the writer knows);
 * deleting always goes from the oldest on, so it does not matter which of them holds a record. */
#ifndef JOURNAL_LEDGER_H
#define JOURNAL_LEDGER_H

#include "brain/base.h"

struct ledger_segment {
    uint64_t ordinal;             /* 1, 2, ... since the start of the process */
    uint64_t begun_unix_ms;       /* none of its records is older; 0: not known */
    uint64_t first_seq, last_seq; /* first 0: empty */
    uint64_t live;
    /* The records here that are dead because a later write replaced them are worth nothing only
     * when that write is durable: the highest such write. */
    uint64_t barrier;
};

struct ledger {
    struct ledger_segment *segments; /* oldest first; the last one is the current one */
    size_t count, capacity;
    uint64_t next_ordinal;
    uint64_t live;
};

void ledger_init(struct ledger *ledger);
void ledger_release(struct ledger *ledger);
/* Begins a segment, at this time; it becomes the current one. 0 or BRAIN_ENOMEM. `*ordinal` is its.
 */
int ledger_begin(struct ledger *ledger, uint64_t unix_ms, uint64_t *ordinal);
/* The current one was begun at another time. */
void ledger_date(struct ledger *ledger, uint64_t unix_ms);
/* The current one; NULL: none was begun yet. Until the next call. */
const struct ledger_segment *ledger_current(const struct ledger *ledger);
/* The oldest that is not the current one and has records, as long; NULL: there is none. */
const struct ledger_segment *ledger_oldest(const struct ledger *ledger);
/* A record joins the current segment. A seq that is not above all before changes nothing: that
 * record belongs to an older segment. */
void ledger_append(struct ledger *ledger, uint64_t seq);
/* These return false when no segment has that seq, or none of its records is live. */
bool ledger_live(struct ledger *ledger, uint64_t seq);
bool ledger_dead(struct ledger *ledger, uint64_t seq);
bool ledger_replace(struct ledger *ledger, uint64_t old_seq, uint64_t new_seq);
/* Forgets the oldest segments that are worth nothing, given that all records up to `durable_seq`
 * are durable; never the current one. Returns the ordinal of the last one forgotten, 0: none. */
uint64_t ledger_trim(struct ledger *ledger, uint64_t durable_seq);
/* When nothing at all is live, no record is worth anything, durable or not: empties all segments,
 * leaving the current one as it is, but for a new ordinal. Returns the ordinal of the last one
 * forgotten, 0: none, because something is live, or there is nothing to forget. */
uint64_t ledger_clear(struct ledger *ledger);

#endif
