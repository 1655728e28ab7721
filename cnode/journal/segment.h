/* segment: one file of the journal that is being appended to. */
#ifndef JOURNAL_SEGMENT_H
#define JOURNAL_SEGMENT_H

#include "batch.h"
#include "device.h"
#include "record.h"

enum { JOURNAL_TEXT = 256, SEGMENT_NAME = 32, SEGMENT_VECTORS = 1024 };

struct segment {
    const struct journal_device *device;
    int directory;
    int fd; /* -1: none */
    uint64_t number;
    uint64_t ordinal; /* the ledger's segment that it is, or is a part of */
    uint32_t salt;
    uint64_t size;   /* where the next record goes */
    uint64_t extent; /* good bytes; above `size` while they are written a second time */
    uint64_t synced; /* so much is on the disk */
};

void segment_name(char out[SEGMENT_NAME], uint64_t number);
/* True for the name of a segment, and its number. */
bool segment_name_read(const char *name, uint64_t *number);

/* These return 0, or BRAIN_EIO with a sentence in `why`. */

/* Makes the file of this label, which gets a salt, and that was not there, with its header, durable
 * itself and in its directory; on failure nothing of it is left. */
int segment_create(
    struct segment *segment, uint64_t ordinal, struct segment_label label, char why[JOURNAL_TEXT]);
/* Appends all of the batch. On failure the file is cut back to the last good record. `*writes`: how
 * many writes it took. */
int segment_append(
    struct segment *segment, struct batch *batch, uint64_t *writes, char why[JOURNAL_TEXT]);
int segment_sync(struct segment *segment, char why[JOURNAL_TEXT]);
void segment_close(struct segment *segment);

#endif
