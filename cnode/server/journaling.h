/* journaling: the object store wired to the journal: writes out, "it is there" back in, recovery at
 * start, compaction. */
#ifndef BRAIN_SERVER_JOURNALING_H
#define BRAIN_SERVER_JOURNALING_H

#include <uv.h>

#include "brain/config.h"
#include "brain/holdings.h"
#include "brain/journal.h"
#include "clock.h"
#include "compaction.h"

enum { BOOT_ID_SIZE = 36 };

struct journaling {
    uv_loop_t *loop;
    struct server_clock clock; /* the store's */
    uv_prepare_t turn;         /* the end of each turn of the loop: its batch goes to the journal */
    uv_timer_t collect; /* ends the waiting of records that nobody waits for; one turn comes then */
    uint64_t collect_since_ms; /* 0: nothing is collected */
    unsigned open_handles;
    struct store *store;
    struct holdings *holdings; /* of a member, else NULL: what is read back becomes copies */
    uint64_t age_ms; /* since the last valid lease; UINT64_MAX: never a member, they have no age */
    struct journal *journal; /* NULL: none */
    struct buffer head;      /* of the record being written */
    uint64_t max_bytes;      /* of journal; above it, it is compacted */
    uint64_t tombstone_keep_ms;
    uint64_t last_live; /* seq of a live record that the journal does not know of yet; 0: none */
    struct compaction compaction;
    bool failing;   /* and the log says so */
    bool restarted; /* the machine was, since the records below were written */
    char boot_id[BOOT_ID_SIZE];
    char boot_path[4096];
    void (*closed)(void *context);
    void *context;
};

/* Opens the journal and restores what it holds into `store`, whose record events are the functions
 * below; or, of a member, into `holdings` as copies: of that age, or their records' (R10,
 * compaction.h); UINT64_MAX: of none, it never was a member. Returns 0, or an error with a sentence
 * in `*why` (also when the configuration says `journal = false` and there are records that nobody
 * would read). */
int journaling_open(struct journaling *journaling, uv_loop_t *loop, const struct config *config,
    struct store *store, struct holdings *holdings, uint64_t age_ms, const char **why);
/* There is a journal, and it can be written. */
bool journaling_is_sound(const struct journaling *journaling);
void journaling_metrics_register(
    struct metrics_registry *registry, const struct journaling *journaling);

/* As holdings_events.record. */
int journaling_record_copy(struct journaling *journaling, uint64_t seq, uint64_t age_ms,
    struct slice id, struct version version, const struct value *value);
/* As store_events.record, record_live and record_dead. */
int journaling_record(struct journaling *journaling, struct slice id, struct version version,
    const struct value *value);
void journaling_live(struct journaling *journaling, uint64_t seq);
void journaling_dead(struct journaling *journaling, uint64_t seq);

/* Time passed: starts compaction, or goes on with it for at most `budget` objects. Returns true
 * while there is more to do at once. */
bool journaling_advance(struct journaling *journaling, uint32_t budget);
/* Is the journal above journal_max_size? */
bool journaling_is_large(const struct journaling *journaling);
/* Brings the gauges up to date. */
void journaling_refresh(struct journaling *journaling);
/* Bytes that it holds in RAM. */
uint64_t journaling_held_bytes(const struct journaling *journaling);
/* `closed` is called on the loop. */
void journaling_close(struct journaling *journaling, void (*closed)(void *context), void *context);

#endif
