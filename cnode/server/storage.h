/* storage: the object store wired to the warehouse (loads and dumps out, results back in) and to
 * the journal (journaling.h). */
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

struct storage {
    uv_loop_t *loop;
    uv_timer_t timer; /* runs store_advance */
    struct store *store;
    struct warehouse *warehouse;
    struct journaling journaling;
    struct warehouse_request *spare; /* finished requests, used again */
    unsigned spare_count;
    struct resident resident;
    uint64_t memory_limit; /* bytes; 0: none */
    uint64_t tombstone_keep_ms;
    uint64_t status_ms, status_activity; /* of the last status line */
    uint64_t trimmed_ms;                 /* when recycled memory was looked at */
    uint64_t failures;                   /* since the last success; 0: the warehouse works */
    storage_answer_cb answer;
    void *context;
    /* Bytes that connections hold in buffers: they count against memory_limit. NULL: none. Called
     * with `context`. */
    uint64_t (*buffered_bytes)(void *context);
    void (*closed)(void *context);
};

/* Opens the warehouse and makes the store. `answer` is called with `context`. Returns 0, or an
 * error with a sentence in `*why`. */
int storage_open(struct storage *storage, uv_loop_t *loop, const struct config *config,
    storage_answer_cb answer, void *context, const char **why);
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
