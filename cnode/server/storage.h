/* storage: the object store wired to the warehouse (loads and dumps out, results back in) and to
 * the journal (journaling.h); alone, or with the holdings of a member of a cluster. */
#ifndef BRAIN_SERVER_STORAGE_H
#define BRAIN_SERVER_STORAGE_H

#include <uv.h>

#include "brain/config.h"
#include "brain/metrics.h"
#include "brain/object.h"
#include "brain/warehouse.h"
#include "journaling.h"
#include "resident.h"

/* A waiting request of the store is over; as store_events.answer. */
typedef void (*storage_answer_cb)(
    void *context, struct store_waiter *waiter, int status, const struct value *value);

/* Of a member of a cluster. All are called with `context`. */
struct storage_member {
    struct holdings *holdings;
    uint64_t age_ms; /* since its last valid lease; UINT64_MAX: there never was one */
    void *context;
    /* The store was made, the journal was not read yet. 0 or BRAIN_ENOMEM. */
    int (*attach)(void *context, struct store *store);
    /* Nothing is under way any more; the store is destroyed next. Not called when attach was not.
     */
    void (*detach)(void *context);
    /* What storage_read_stored found, as holdings_stored_read. */
    void (*stored_read)(void *context, void *asker, int status, const struct value *value);
};

struct storage {
    uv_loop_t *loop;
    struct server_clock clock;    /* the store's */
    struct storage_member member; /* holdings NULL: alone */
    /* Of a member: nothing in the warehouse is changed from then on (R11); CLOCK_BOOTTIME. Raised
     * with each renewal, read by the warehouse's thread. */
    _Atomic uint64_t lease_until_ms;
    bool attached;
    uv_timer_t timer; /* runs store_advance */
    struct store *store;
    struct warehouse *warehouse;
    struct journaling journaling;
    struct warehouse_request *spare; /* finished requests, used again */
    unsigned spare_count;
    struct resident resident;
    uint64_t memory_limit; /* bytes; 0: none */
    /* Beside the store: copies held for other members, as they said last; and all the rest. */
    uint64_t copies_bytes, outside_bytes;
    bool full;
    uint64_t tombstone_keep_ms;
    uint64_t status_ms, status_activity; /* of the last status line */
    uint64_t trimmed_ms;                 /* when recycled memory was looked at */
    uint64_t failures;                   /* since the last success; 0: the warehouse works */
    storage_answer_cb answer;
    void *context;
    /* Bytes that others hold, connections in their buffers, the cluster: they count against
     * memory_limit. NULL: none. Called with `context`. */
    uint64_t (*buffered_bytes)(void *context);
    void (*closed)(void *context);
};

/* Opens the warehouse and makes the store. `answer` is called with `context`. `member` NULL: alone.
 * Returns 0, or an error with a sentence in `*why`. */
int storage_open(struct storage *storage, uv_loop_t *loop, const struct config *config,
    const struct storage_member *member, storage_answer_cb answer, void *context, const char **why);
/* Loads from the warehouse alone, beside the store: one member.stored_read with `asker`. */
void storage_read_stored(struct storage *storage, void *asker, struct slice id);
/* Keeps a value that must not be used under a conflict name. */
void storage_set_aside(
    struct storage *storage, struct slice id, struct version version, const struct value *value);
/* What copies for other members take by now. */
void storage_note_copies(struct storage *storage, uint64_t bytes);
/* Is there room for so many more bytes of them, within memory_limit? Clean objects leave for them,
 * in the next turn. */
bool storage_has_room(struct storage *storage, uint64_t bytes);
/* Is so much of memory_limit taken by what cannot leave that other members should send no more
 * copies? From seven eighths on, until it is less than three quarters. */
bool storage_is_full(struct storage *storage);
/* As store_events.record_dead, of a record that holdings kept. */
int storage_record(struct storage *storage, uint64_t seq, uint64_t age_ms, struct slice id,
    struct version version, const struct value *value);
void storage_record_live(struct storage *storage, uint64_t seq);
void storage_record_dead(struct storage *storage, uint64_t seq);
void storage_metrics_register(struct metrics_registry *registry, struct storage *storage);
/* Brings the gauges of store and journal up to date. */
void storage_refresh(struct storage *storage);
/* How many objects and tombstones the warehouse does not have yet. */
uint64_t storage_unsaved(struct storage *storage);
/* Is something on its way to or from the warehouse? */
bool storage_is_busy(struct storage *storage);
/* Nothing may be on its way. `closed` is called on the loop, after that nothing is left. */
void storage_close(struct storage *storage, void (*closed)(void *context));

#endif
