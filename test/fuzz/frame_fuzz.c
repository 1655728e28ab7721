/* The frame reader fed with anything, twice: in one piece, and cut as the first two bytes say. Both
 * must report the same messages and end the same way, and give all memory back. */
#include <stdlib.h>
#include <string.h>

#include "brain/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything reported, hashed (FNV-1a): comparing is all that is done with it. */
struct record {
    uint64_t hash;
};

static void add(struct record *r, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        r->hash = (r->hash ^ bytes[i]) * UINT64_C(0x100000001b3);
}

static void on_tick(void *context)
{
    add(context, "T", 1);
}

static int on_message(void *context, const struct frame_message *message)
{
    add(context, &message->control.size, sizeof message->control.size);
    add(context, message->control.data, message->control.size);
    add(context, &message->payload.size, sizeof message->payload.size);
    add(context, message->payload.data, message->payload.size);
    add(context, &message->payload_error, sizeof message->payload_error);
    add(context, message->payload_checked ? "C" : "U", 1);
    if (message->payload_checked && message->payload_error != 0)
        abort();
    if (message->marks != NULL)
        for (uint32_t i = 0; i < message->marks->count; i++)
            if (message->marks->mark[i].end > message->payload.size)
                abort();
    return 0;
}

static int feed(struct frame_reader *reader, const uint8_t *data, size_t size)
{
    int status = 0;
    while (size > 0 && status >= 0) {
        uint8_t *area;
        size_t part = size;
        if (frame_reader_area(reader, &area, &part)) {
            if (part > size)
                part = size;
            memcpy(area, data, part);
            status = frame_reader_feed(reader, slice_of(area, part));
        } else {
            /* A copy of exactly this size shows the sanitizer a read past it. */
            part = size;
            uint8_t *copy = malloc(part);
            memcpy(copy, data, part);
            status = frame_reader_feed(reader, slice_of(copy, part));
            free(copy);
        }
        while (status == 1)
            status = frame_reader_feed(reader, slice_of(NULL, 0));
        data += part;
        size -= part;
    }
    return status;
}

static int run(const uint8_t *data, size_t size, bool header, size_t piece, uint64_t scan_budget,
    struct record *r)
{
    struct budget total = {8 << 20, 0};
    const struct frame_limits limits = {
        .frame_bytes = 1 << 18,
        .message_bytes = 1 << 19,
        .sequences = 4,
        .pending_bytes = 8 << 20,
        .terms = {.max_depth = 64, .max_elements = 1 << 16},
        .scan_budget = scan_budget,
        .total = &total,
    };
    *r = (struct record){UINT64_C(0xcbf29ce484222325)};
    struct frame_reader *reader =
        frame_reader_create(header, &limits, (struct frame_events){r, on_tick, on_message});
    int status = 0;
    for (size_t at = 0; at < size && status == 0; at += piece) {
        status = feed(reader, data + at, size - at < piece ? size - at : piece);
        if (frame_reader_pending(reader) != total.used_bytes)
            abort();
    }
    frame_reader_destroy(reader);
    if (total.used_bytes != 0)
        abort();
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const bool header = data[0] & 1;
    const size_t piece = 1 + (data[0] >> 1) * (size_t)(1 + data[1]);
    struct record whole, cut;
    int status = run(data + 2, size - 2, header, SIZE_MAX / 2, UINT64_MAX, &whole);
    if (run(data + 2, size - 2, header, piece, 1 + data[1], &cut) != status ||
        whole.hash != cut.hash)
        abort();
    return 0;
}
