/* epochs: versions in 8 bytes instead of 24.
 *
 * Few epochs are alive at a time and many objects share each, so an object keeps the low half of
 * its seq and the number of a row in this table; the row holds the rest. Rows are counted and
 * reused. */
#ifndef BRAIN_OBJECT_EPOCHS_H
#define BRAIN_OBJECT_EPOCHS_H

#include "brain/object.h"

struct packed_version {
    uint32_t epoch; /* row in struct epochs */
    uint32_t seq;   /* low half */
};

struct epoch {
    uint64_t view, counter;
    uint32_t seq_high;
    uint32_t references;
    uint32_t next; /* of the same hash, or of the free rows */
};

struct epochs {
    struct epoch *rows;
    uint32_t *heads; /* hash -> first row; as many as `capacity` */
    uint32_t capacity, used;
    uint32_t free;   /* first free row below `used` */
    uint32_t recent; /* found last: nearly always the right one */
};

void epochs_init(struct epochs *epochs);
void epochs_release(struct epochs *epochs);
/* One reference to the row of `version`, made if need be. 0 or BRAIN_ENOMEM. */
int epochs_hold(struct epochs *epochs, struct version version, struct packed_version *packed);
void epochs_drop(struct epochs *epochs, struct packed_version packed);
struct version epochs_unpack(const struct epochs *epochs, struct packed_version packed);

#endif
