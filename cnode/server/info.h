/* info: what the node says of itself: the map that answers `info`. */
#ifndef BRAIN_SERVER_INFO_H
#define BRAIN_SERVER_INFO_H

#include "brain/base.h"
#include "brain/metrics.h"
#include "members.h"

struct info {
    struct slice node;
    uint64_t uptime_ms;
    bool stopping;
    const char *warehouse;            /* its name */
    const char *warehouse_last_error; /* "": it works */
    const char *cluster_state;        /* alone, joining, member, fenced, draining */
    const char *cluster_last_error;   /* of etcd; "": it answers */
    const struct members *members;    /* NULL: this node alone */
    uint64_t log_dropped;
    const struct metrics_registry *registry;
};

/* Appends the map: node, version, uptime_ms, state, memory_bytes, warehouse_name, warehouse_error,
 * cluster_state, cluster_error, cluster_members, log_dropped, and one map of numbers for each group
 * of the registry (docs/protocol.md, "info"). */
void info_write(struct buffer *out, const struct info *info);

#endif
