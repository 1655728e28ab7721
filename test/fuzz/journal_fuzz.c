/* The scanner of the journal's segments fed with anything: in one piece and through a window of a
 * few bytes, which must find the same; the first byte chooses the window and whether the input gets
 * a header whose salt the fuzzer cannot know (then good records are made of what follows). */
#include <stdlib.h>
#include <string.h>

#include "brain/base.h"
#include "record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1 << 16, INPUT_LIMIT = 1 << 18 };

struct window {
    struct slice all;
    uint8_t *copy;
};

/* A copy of exactly what was asked for: the sanitizer sees a read past it, or of an old view. */
static int view(void *context, uint64_t offset, size_t size, struct slice *bytes)
{
    struct window *window = context;
    if (offset > window->all.size || size > window->all.size - offset)
        abort();
    free(window->copy);
    window->copy = malloc(size == 0 ? 1 : size);
    memcpy(window->copy, window->all.data + offset, size);
    *bytes = slice_of(window->copy, size);
    return 0;
}

static int view_all(void *context, uint64_t offset, size_t size, struct slice *bytes)
{
    const struct window *window = context;
    if (offset > window->all.size || size > window->all.size - offset)
        abort();
    *bytes = slice_of(window->all.data + offset, size);
    return 0;
}

struct seen {
    uint64_t hash, last_seq, bytes;
};

static int record(void *context, uint64_t seq, struct slice payload)
{
    struct seen *seen = context;
    if (seq <= seen->last_seq || payload.size == 0 || payload.size > LIMIT)
        abort();
    seen->last_seq = seq;
    seen->bytes += payload.size + RECORD_HEADER;
    seen->hash = (seen->hash ^ seq ^ crc32c(0, payload)) * UINT64_C(0x100000001b3);
    return 0;
}

/* The input's records get right checksums, as far as its sizes lead, but for those it spares. */
static void mend(uint8_t *bytes, size_t size, uint32_t salt)
{
    for (size_t at = SEGMENT_HEADER; size - at >= RECORD_HEADER;) {
        uint64_t total = RECORD_HEADER + (uint64_t)load_be32(bytes + at + 4);
        if (total > size - at)
            return;
        if ((bytes[at] & 1) == 0)
            record_seal(bytes + at, (size_t)total, 0, 0, salt);
        at += (size_t)total;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > INPUT_LIMIT)
        return 0;
    uint64_t number = 1;
    size_t extra = (data[0] & 1) != 0 ? SEGMENT_HEADER : 0;
    size_t total = extra + size - 1;
    uint8_t *bytes = malloc(total + 1);
    memcpy(bytes + extra, data + 1, size - 1);
    if (extra != 0) {
        struct segment_label label = {number, 1, 0x12345678, 1};
        segment_header_write(bytes, &label);
        mend(bytes, total, label.salt);
    }
    struct window window = {{bytes, total}, NULL};
    struct record_source whole = {&window, total, view_all}, pieces = {&window, total, view};
    struct seen a = {0}, b = {0};
    struct scan_result first, second;
    if (segment_scan(&whole, number, LIMIT, record, &a, &first) != 0 ||
        segment_scan(&pieces, number, LIMIT, record, &b, &second) != 0)
        abort();
    if (a.hash != b.hash || first.records != second.records || first.bad != second.bad ||
        first.good_end != second.good_end || first.good_end > total ||
        a.bytes + first.header_size > total)
        abort();
    free(window.copy);
    free(bytes);
    return 0;
}
