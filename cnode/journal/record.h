/* record: the form of a segment and of a record in it (the picture is in brain/journal.h), and the
 * search for good records in the bytes of a segment. Pure: the bytes come through a window that the
 * caller provides, so the same code reads a file in pieces and an array in a fuzzer. */
#ifndef JOURNAL_RECORD_H
#define JOURNAL_RECORD_H

#include "brain/base.h"

enum { RECORD_HEADER = 16, SEGMENT_HEADER = 8 + 2 * 32, SEGMENT_HEADER_1 = 8 + 2 * 24 };
/* Greater ones are taken for damage: no node writes that often, and seq + 1 must exist. */
#define RECORD_SEQ_LIMIT (UINT64_C(1) << 62)

struct segment_label {
    uint64_t number;
    uint64_t first_seq; /* no record in the segment has a lower one */
    uint32_t salt;
    /* Wall clock, ms: no record in the segment is older; 0: not known (BRAINJ1 did not say). */
    uint64_t begun_unix_ms;
};

void segment_header_write(uint8_t out[SEGMENT_HEADER], const struct segment_label *label);
/* `start`: the beginning of a segment, at most SEGMENT_HEADER bytes. The size of its header, when
 * one of the two labels is intact and has `number`, else 0; `*intact`: all of the header is. */
size_t segment_header_read(
    struct slice start, uint64_t number, struct segment_label *label, bool *intact);

/* Everything but the crc, which depends on the segment. */
void record_header_write(uint8_t out[RECORD_HEADER], uint64_t seq, uint32_t payload_size);
/* Writes the checksum of a record that lies in two pieces into its header. `start`, `size`: the
 * header and the beginning of the payload, together; of the rest: its own CRC-32C, and its size. */
void record_seal(uint8_t *start, size_t size, uint32_t rest_crc, uint64_t rest_size, uint32_t salt);

/* The bytes of a segment. `view` makes [offset, offset + size) readable at `bytes->data`, until its
 * next call; the range lies within `size`. Returns 0, BRAIN_EIO or BRAIN_ENOMEM. */
struct record_source {
    void *context;
    uint64_t size;
    int (*view)(void *context, uint64_t offset, size_t size, struct slice *bytes);
};

struct scan_result {
    uint64_t records;
    uint64_t bad;      /* damaged places that good records follow */
    uint64_t good_end; /* where the last good record ends; what follows is a damaged tail */
    uint64_t first_seq, last_seq; /* of the good records; 0 when there is none */
    size_t header_size;           /* 0: none; nothing in the segment can be verified */
    struct segment_label label;
};

/* Hands every good record of the segment to `record`, in order; `result->label` is set before the
 * first. After a bad one the next good one
 * is searched for byte by byte; what is looked at in that search is bounded by a multiple of the
 * segment's size, after that the rest counts as damaged. Payloads longer than `payload_limit` are
 * bad. Returns 0, or the error of `view` or `record`. */
int segment_scan(const struct record_source *source, uint64_t number, uint64_t payload_limit,
    int (*record)(void *context, uint64_t seq, struct slice payload), void *context,
    struct scan_result *result);

#endif
