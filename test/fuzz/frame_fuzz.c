/* The frame reader fed with anything, three times: in one piece, cut as the first two bytes say,
 * and told to expect more of each control tuple that it hands on. All must report the same messages
 * and end the same way, and give all memory back. */
#include <stdlib.h>
#include <string.h>

#include "brain/control.h"
#include "brain/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything reported, hashed (FNV-1a): comparing is all that is done with it. */
struct record {
    uint64_t hash;
    bool expects;
    struct frame_reader *reader;
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

/* As a channel does it for every message to its process; here for whatever can be read, so that a
 * tuple taken for an expected one must also read like it. */
static void expect(struct record *r, const struct frame_message *message)
{
    struct etf_reader reader;
    struct control control;
    etf_reader_init(&reader, message->control, (struct etf_limits){64, 1 << 16});
    int status = control_read(&reader, &control);
    if (message->expected) {
        if (status != 0 || !etf_at_end(&reader))
            abort();
    } else if (status == 0 && control.from.size > 0 && control.from.data[0] == ETF_NEW_PID) {
        size_t end = (size_t)(control.from.data - message->control.data) + control.from.size;
        frame_reader_expect(r->reader, message->control, end - 12, 8);
    } else if (status == 0) {
        frame_reader_expect(r->reader, message->control, 0, 0);
    }
}

static int on_message(void *context, const struct frame_message *message)
{
    struct record *record = context;
    if (record->expects)
        expect(record, message);
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
    bool expects, struct record *r)
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
    struct frame_reader *reader =
        frame_reader_create(header, &limits, (struct frame_events){r, on_tick, on_message});
    *r = (struct record){UINT64_C(0xcbf29ce484222325), expects, reader};
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
    struct record whole, cut, expecting;
    int status = run(data + 2, size - 2, header, SIZE_MAX / 2, UINT64_MAX, false, &whole);
    if (run(data + 2, size - 2, header, piece, 1 + data[1], false, &cut) != status ||
        whole.hash != cut.hash)
        abort();
    if (run(data + 2, size - 2, header, SIZE_MAX / 2, UINT64_MAX, true, &expecting) != status ||
        whole.hash != expecting.hash)
        abort();
    return 0;
}
