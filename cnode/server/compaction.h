/* compaction: what is still needed of the journal's oldest segment is written again, so that the
 * segment can go; and how old what is found in the journal is. Pure: the journal itself is given as
 * numbers, the store and holdings do the writing. The simulator compiles it, too.
 *
 * A segment is compacted when the journal is above its limit; and, by a member, when it is older
 * than an eighth of tombstone_keep, whatever it holds: beside one record that is needed there may
 * be others that are not, of objects that others have deleted since (R10, docs/decisions/0022). */
#ifndef BRAIN_SERVER_COMPACTION_H
#define BRAIN_SERVER_COMPACTION_H

#include "brain/holdings.h"

struct compaction {
    uint64_t first_seq, last_seq; /* the records that are being written again */
    bool under_way;
    bool copies; /* the store is through with them, now those of holdings */
    /* What an old segment holds after all is not tried again before that, on the store's clock. */
    uint64_t again_ms;
};

/* The oldest segment that is not the current one, and when it is. */
struct compaction_case {
    uint64_t begun_unix_ms, first_seq, last_seq, live;
    bool large;                 /* is the journal above its limit? */
    uint64_t tombstone_keep_ms; /* 0: alone */
    uint64_t unix_ms, now_ms;   /* wall clock, the store's clock */
};

/* Is a segment of this time to be closed, or compacted? So much off the wall clock in either
 * direction: what was written under a clock that has been put right since is dated anew. */
bool compaction_is_stale(uint64_t begun_unix_ms, uint64_t unix_ms, uint64_t tombstone_keep_ms);
/* Begins with that segment, when it is to be compacted. false: not now. */
bool compaction_begin(struct compaction *compaction, const struct compaction_case *what);
/* Goes on for about `budget` objects. `holdings` NULL: alone. true: there is more to do at once. */
bool compaction_advance(
    struct compaction *compaction, struct store *store, struct holdings *holdings, uint32_t budget);

/* ---- how old a record is (R10) ---- */

enum { KEPT_HEADER = 9 };
/* A copy that is written again keeps its time: when its owner wanted it last. It stands before the
 * stored form, which begins with another byte. Returns where it ends in `out`. */
size_t kept_write(struct buffer *out, uint64_t unix_ms);
/* Takes it off the payload; 0: there is none. */
uint64_t kept_read(struct slice *payload);

/* For so long, at least, nobody is known to have wanted what a record brings back. `lease_age_ms`:
 * since the last valid lease of the data directory; `begun_unix_ms`: its segment's; `kept_unix_ms`:
 * its own; 0 where they are not known. A time that is yet to come says nothing. */
uint64_t record_age(
    uint64_t lease_age_ms, uint64_t begun_unix_ms, uint64_t kept_unix_ms, uint64_t unix_ms);

#endif
