/* storage_options: what store and warehouse are told of the configuration. */
#ifndef BRAIN_SERVER_STORAGE_OPTIONS_H
#define BRAIN_SERVER_STORAGE_OPTIONS_H

#include "brain/config.h"
#include "brain/object.h"
#include "brain/warehouse.h"

/* All but the epoch and the seed of the hash. */
struct store_options storage_store_options(const struct config *config);
/* The strings are the configuration's. */
struct warehouse_options storage_warehouse_options(const struct config *config);

#endif
