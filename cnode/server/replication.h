/* replication: the room replica wired to the cluster: `replicate` and `write_wait`. */
#ifndef BRAIN_SERVER_REPLICATION_H
#define BRAIN_SERVER_REPLICATION_H

#include "brain/config.h"
#include "brain/holdings.h"
#include "brain/replica.h"

struct clustering;

/* NULL with `*status` 0: nothing is replicated; with BRAIN_ENOMEM: no memory. To be freed by
 * replica_destroy. Holdings tell it from then on. */
struct replica *replication_create(
    struct clustering *clustering, const struct config *config, uint64_t seed, int *status);

#endif
