/* stored: the form of an object outside RAM, the same for every warehouse, and its name there.
 *
 * External term format, version byte included:
 *     {brain1, Id, {View, Counter}, Seq, Crc32c, Value}
 *     {brain1_deleted, Id, {View, Counter}, Seq, UnixMs}
 * Id is a binary; Crc32c is of Value's bytes, which stand verbatim at the end. Any Erlang shell
 * reads it with binary_to_term. Two dumps never have equal bytes. Pure. */
#ifndef BRAIN_STORED_H
#define BRAIN_STORED_H

#include "brain/etf.h"
#include "brain/object.h"

/* Appends everything but the value's bytes. */
void stored_write_head(struct buffer *out, struct slice id, struct version version, uint32_t crc);
/* The same for a value whose checksum is not known yet: it has four bytes, little-endian, in `out`
 * at the place that is returned, relative to where the form begins. */
size_t stored_write_open_head(struct buffer *out, struct slice id, struct version version);
void stored_write_tombstone(
    struct buffer *out, struct slice id, struct version version, uint64_t unix_ms);

struct stored {
    bool deleted;
    struct slice id;
    struct version version;
    struct slice value; /* points into the input */
    uint64_t unix_ms;   /* tombstone */
};
/* Reads and verifies: form, checksum, and that it is the object `id` (when not empty). 0 or
 * BRAIN_ECORRUPT. The value's bytes are verified by the checksum, not scanned. */
int stored_read(struct slice bytes, struct slice id, struct stored *stored);

/* The same without the checksum: form and owner only, so that asking for the version of a large
 * object costs nothing. `*crc`: what `stored->value` should have (0 for a tombstone). */
int stored_read_head(struct slice bytes, struct slice id, struct stored *stored, uint32_t *crc);

/* Name in a warehouse: prefix + percent-encoded id (everything but A-Za-z0-9-._ is encoded, ~ too),
 * or prefix + "~" + hex SHA-256 of the id when that is longer than `limit` bytes. Appended to
 * `out` with a NUL behind it that is not counted in its size. */
void stored_name(struct buffer *out, const char *prefix, struct slice id, size_t limit);

#endif
