/* driver: what a kind of storage does for the warehouse. All calls but `open` come from the
 * warehouse's thread, one at a time, and may block. */
#ifndef WAREHOUSE_DRIVER_H
#define WAREHOUSE_DRIVER_H

#include "brain/warehouse.h"

enum { WAREHOUSE_TEXT = 512 }; /* bytes of a sentence, with its NUL */

struct warehouse_driver {
    const char *name; /* warehouse_manager = NAME */

    /* Opens, on the caller's thread. `*epoch`: as in warehouse_open. Returns 0, or an error with a
     * sentence in `why`. */
    int (*open)(void **state, const struct warehouse_options *options, struct version *epoch,
        char why[WAREHOUSE_TEXT]);

    /* Serves a list (by `next`) of loads, or of dumps and set-asides in their order: sets the
     * result fields of each. A write that is reported done is durable. Whenever a status is
     * BRAIN_EWAREHOUSE, `error` says why. */
    void (*load)(void *state, struct warehouse_request *batch, char error[WAREHOUSE_TEXT]);
    void (*write)(void *state, struct warehouse_request *batch, char error[WAREHOUSE_TEXT]);

    void (*close)(void *state);
};

extern const struct warehouse_driver warehouse_local;

#endif
