#include "record.h"

#include <string.h>

static const char magic[] = "BRAINJ2\n";
/* Segments of before 2026-11: without a time. Read, not written. */
static const char magic_1[] = "BRAINJ1\n";
enum {
    MAGIC_BYTES = 8,
    LABEL_BYTES = 32,
    LABEL_1_BYTES = 24,
    PIECE = 256 << 10, /* of a payload whose checksum is tried, and of bytes that are searched */
};
/* How far the numbers of one segment's records may be apart for a record that is found by search:
 * with it, random bytes are taken for a header worth a checksum once in 2^32 places. */
static const uint64_t seq_window = UINT64_C(1) << 32;

/* ---- the header of a segment ----------------------------------------------------------------- */

static void label_write(uint8_t *out, const struct segment_label *label)
{
    store_be64(out, label->number);
    store_be64(out + 8, label->first_seq);
    store_be64(out + 16, label->begun_unix_ms);
    store_be32(out + 24, label->salt);
    store_be32(out + 28, crc32c(0, slice_of(out, 28)));
}

static bool label_read(
    const uint8_t *bytes, size_t size, uint64_t number, struct segment_label *label)
{
    if (load_be32(bytes + size - 4) != crc32c(0, slice_of(bytes, size - 4)) ||
        load_be64(bytes) != number)
        return false;
    label->number = number;
    label->first_seq = load_be64(bytes + 8);
    label->begun_unix_ms = size == LABEL_BYTES ? load_be64(bytes + 16) : 0;
    label->salt = load_be32(bytes + size - 8);
    return true;
}

void segment_header_write(uint8_t out[SEGMENT_HEADER], const struct segment_label *label)
{
    memcpy(out, magic, MAGIC_BYTES);
    label_write(out + MAGIC_BYTES, label);
    label_write(out + MAGIC_BYTES + LABEL_BYTES, label);
}

static bool read_labels(struct slice start, const char *expected, size_t size, uint64_t number,
    struct segment_label *label, bool *intact)
{
    const uint8_t *one = start.data + MAGIC_BYTES, *two = one + size;
    if (start.size < MAGIC_BYTES + 2 * size)
        return false;
    const bool first = label_read(one, size, number, label);
    *intact =
        first && memcmp(start.data, expected, MAGIC_BYTES) == 0 && memcmp(one, two, size) == 0;
    return first || label_read(two, size, number, label);
}

/* By its labels, whose checksums say which form it is: the first bytes may be damaged. */
size_t segment_header_read(
    struct slice start, uint64_t number, struct segment_label *label, bool *intact)
{
    if (read_labels(start, magic, LABEL_BYTES, number, label, intact))
        return SEGMENT_HEADER;
    if (read_labels(start, magic_1, LABEL_1_BYTES, number, label, intact))
        return SEGMENT_HEADER_1;
    return 0;
}

/* ---- records --------------------------------------------------------------------------------- */

void record_header_write(uint8_t out[RECORD_HEADER], uint64_t seq, uint32_t payload_size)
{
    store_be32(out, 0);
    store_be32(out + 4, payload_size);
    store_be64(out + 8, seq);
}

void record_seal(uint8_t *start, size_t size, uint32_t rest_crc, uint64_t rest_size, uint32_t salt)
{
    uint32_t crc = crc32c(salt, slice_of(start + 4, size - 4));
    store_be32(start, crc32c_combine(crc, rest_crc, rest_size));
}

/* ---- scanning -------------------------------------------------------------------------------- */

struct scan {
    const struct record_source *source;
    struct segment_label label;
    uint64_t payload_limit;
    uint64_t last_seq;
    uint64_t budget; /* bytes of checksums that the searches may still compute */
};

/* What a header at `offset` claims, if it can be true at all. */
static bool header_is_plausible(
    const struct scan *scan, uint64_t offset, const uint8_t *header, uint64_t *size, uint64_t *seq)
{
    *size = load_be32(header + 4);
    *seq = load_be64(header + 8);
    return *size > 0 && *size <= scan->payload_limit &&
           *size <= scan->source->size - offset - RECORD_HEADER && *seq > scan->last_seq &&
           *seq >= scan->label.first_seq && *seq < RECORD_SEQ_LIMIT;
}

/* A good record at `offset`? 1: yes, `*payload` is it; 0: no; or an error. */
static int read_record(
    const struct scan *scan, uint64_t offset, uint64_t *seq, struct slice *payload)
{
    struct slice bytes;
    uint64_t size;
    if (scan->source->size - offset < RECORD_HEADER)
        return 0;
    int status = scan->source->view(scan->source->context, offset, RECORD_HEADER, &bytes);
    if (status != 0)
        return status;
    if (!header_is_plausible(scan, offset, bytes.data, &size, seq))
        return 0;
    size_t total = RECORD_HEADER + (size_t)size;
    status = scan->source->view(scan->source->context, offset, total, &bytes);
    if (status != 0)
        return status;
    if (load_be32(bytes.data) != crc32c(scan->label.salt, slice_of(bytes.data + 4, total - 4)))
        return 0;
    *payload = slice_of(bytes.data + RECORD_HEADER, (size_t)size);
    return 1;
}

/* The same for a place found by search: in pieces, as most are not records, and their claimed sizes
 * are worth no memory. `header`: its bytes, a copy. */
static int try_record(
    struct scan *scan, uint64_t offset, const uint8_t *header, uint64_t size, bool *good)
{
    uint32_t crc = crc32c(scan->label.salt, slice_of(header + 4, RECORD_HEADER - 4));
    uint64_t at = offset + RECORD_HEADER, end = at + size;
    *good = false;
    if (size > scan->budget) {
        scan->budget = 0;
        return 0;
    }
    scan->budget -= size;
    while (at < end) {
        struct slice bytes;
        size_t piece = end - at < PIECE ? (size_t)(end - at) : PIECE;
        int status = scan->source->view(scan->source->context, at, piece, &bytes);
        if (status != 0)
            return status;
        crc = crc32c(crc, slice_of(bytes.data, piece));
        at += piece;
    }
    *good = crc == load_be32(header);
    return 0;
}

/* The next good record behind the damage that begins at `*offset`; `*found` false: none. */
static int search(struct scan *scan, uint64_t *offset, bool *found)
{
    const struct record_source *source = scan->source;
    uint64_t low = scan->last_seq > scan->label.first_seq ? scan->last_seq : scan->label.first_seq;
    *found = false;
    for (uint64_t at = *offset + 1; source->size - at > RECORD_HEADER && scan->budget > 0;) {
        struct slice bytes;
        size_t piece = source->size - at < PIECE ? (size_t)(source->size - at) : PIECE;
        size_t last = piece - RECORD_HEADER; /* in this piece, of a header that is all in it */
        int status = source->view(source->context, at, piece, &bytes);
        if (status != 0)
            return status;
        bool again = false;
        for (size_t i = 0; i <= last && !again; i++) {
            uint8_t header[RECORD_HEADER];
            uint64_t size, seq;
            if (!header_is_plausible(scan, at + i, bytes.data + i, &size, &seq) ||
                seq - low > seq_window)
                continue;
            memcpy(header, bytes.data + i, sizeof(header));
            status = try_record(scan, at + i, header, size, found);
            if (status != 0)
                return status;
            if (*found) {
                *offset = at + i;
                return 0;
            }
            if (scan->budget == 0)
                return 0;
            /* The bytes of this piece may be gone. */
            at += i + 1;
            again = true;
        }
        if (!again)
            at += last + 1;
        if (at >= source->size)
            break;
    }
    return 0;
}

static int read_header(const struct record_source *source, uint64_t number,
    struct scan_result *result, struct scan *scan, bool *intact)
{
    struct slice bytes;
    const size_t size = source->size < SEGMENT_HEADER ? (size_t)source->size : SEGMENT_HEADER;
    if (size == 0)
        return 0;
    int status = source->view(source->context, 0, size, &bytes);
    if (status != 0)
        return status;
    result->header_size = segment_header_read(bytes, number, &scan->label, intact);
    result->label = scan->label;
    return 0;
}

int segment_scan(const struct record_source *source, uint64_t number, uint64_t payload_limit,
    int (*record)(void *context, uint64_t seq, struct slice payload), void *context,
    struct scan_result *result)
{
    struct scan scan = {
        .source = source,
        .payload_limit = payload_limit < UINT32_MAX ? payload_limit : UINT32_MAX,
        /* Enough for a real record behind each of several false ones; see seq_window. */
        .budget = source->size > UINT64_MAX / 8 ? UINT64_MAX : 4 * source->size + PIECE,
    };
    bool intact = true;
    *result = (struct scan_result){0};
    int status = read_header(source, number, result, &scan, &intact);
    if (status != 0 || result->header_size == 0)
        return status;
    if (!intact)
        result->bad++;

    uint64_t offset = result->header_size;
    result->good_end = offset;
    while (offset < source->size) {
        struct slice payload;
        uint64_t seq;
        int good = read_record(&scan, offset, &seq, &payload);
        if (good < 0)
            return good;
        if (good == 0) {
            bool found;
            status = search(&scan, &offset, &found);
            if (status != 0)
                return status;
            if (!found)
                return 0;
            result->bad++;
            continue;
        }
        if (result->records++ == 0)
            result->first_seq = seq;
        result->last_seq = scan.last_seq = seq;
        offset += RECORD_HEADER + payload.size;
        result->good_end = offset;
        status = record(context, seq, payload);
        if (status != 0)
            return status;
    }
    return 0;
}
