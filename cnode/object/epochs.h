/* epochs: versions in 8 bytes instead of 24.
 *
 * Few epochs are alive at a time and many objects share each, so an object keeps the low half of
 * its seq and the number of a row in this table; the row holds the rest. Rows are counted and
 * reused.
 *
 * In a cluster each grant is an epoch, so there may be as many as objects: nothing that grows is
 * ever copied. Rows lie in segments, each as large as all before it; there are as many buckets as
 * rows, one more of which takes its part of another's chain with each new row (linear hashing). */
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

enum { EPOCHS_FIRST_BITS = 2, EPOCHS_SEGMENTS = 29 }; /* 4 rows, 4, 8, 16, ... */

struct epochs {
    struct epoch *rows[EPOCHS_SEGMENTS];
    uint32_t *heads[EPOCHS_SEGMENTS]; /* bucket -> first row; there are `used` of them */
    unsigned segments;
    uint32_t used;
    uint32_t free;   /* first free row below `used` */
    uint32_t recent; /* found last: nearly always the right one */
};

void epochs_init(struct epochs *epochs);
void epochs_release(struct epochs *epochs);
/* One reference to the row of `version`, made if need be. 0 or BRAIN_ENOMEM. */
int epochs_hold(struct epochs *epochs, struct version version, struct packed_version *packed);
void epochs_drop(struct epochs *epochs, struct packed_version packed);
struct version epochs_unpack(const struct epochs *epochs, struct packed_version packed);
uint64_t epochs_bytes(const struct epochs *epochs);

#endif
