/* metrics: what happened, counted. Every room owns a plain struct of 64-bit counters and gauges and
 * a table that names and describes each; the registry collects the tables so that `info`, the log
 * and later /metrics show all of them without knowing any.
 *
 *   #define CHANNEL_METRICS(X) \
 *       X(frames_received, COUNTER, "frames received from peers")
 *   struct channel_metrics { METRICS_FIELDS(CHANNEL_METRICS) };
 *   ...
 *   void channel_metrics_register(struct metrics_registry *registry,
 *       const struct channel_metrics *source)
 *   {
 *       const char *group = "dist";
 *       CHANNEL_METRICS(METRICS_ROW)
 *   }
 *
 * docs/info.md shows all tables (scripts/lib/info_page.py writes it, a test compares).
 *
 * All metrics are written by the owner thread only. Values that another thread counts are handed
 * over with its completions. */
#ifndef BRAIN_METRICS_H
#define BRAIN_METRICS_H

#include <stddef.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

struct metric {
    const char *group; /* the room: "dist", "object", "warehouse", "command" */
    const char *name;
    const char *help;
    enum metric_kind kind;
    const uint64_t *value; /* lives as long as the registry */
};

enum { METRICS_LIMIT = 256 };
struct metrics_registry {
    struct metric metrics[METRICS_LIMIT];
    size_t count;
};

#define METRICS_FIELD(field, kind, help) uint64_t field;
#define METRICS_FIELDS(TABLE)            TABLE(METRICS_FIELD)

/* Adds one metric; asserts that the registry is not full. */
void metrics_register(struct metrics_registry *registry, struct metric metric);

/* One row of a room's `register` function: METRICS_ROW(frames_received, COUNTER, "...") inside a
 * function that has `registry`, `group` and `source` (pointer to the room's struct) in scope. */
#define METRICS_ROW(field, metric_kind_, help_)                                                    \
    metrics_register(                                                                              \
        registry, (struct metric){group, #field, help_, METRIC_##metric_kind_, &source->field});

#endif
