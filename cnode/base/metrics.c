#include <assert.h>

#include "brain/metrics.h"

void metrics_register(struct metrics_registry *registry, struct metric metric)
{
    assert(registry->count < METRICS_LIMIT);
    assert(metric.value != NULL);
    registry->metrics[registry->count++] = metric;
}
