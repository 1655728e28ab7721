#include "frame_stream.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct stream stream_new(void)
{
    return (struct stream){malloc(STREAM_BYTES), 0};
}

void put(struct stream *s, const void *data, size_t size)
{
    ck_assert_uint_le(s->size + size, STREAM_BYTES);
    memcpy(s->data + s->size, data, size);
    s->size += size;
}

void put_hex(struct stream *s, const char *text)
{
    unsigned digits = 0, byte = 0;
    for (; *text != '\0'; text++) {
        if (*text == ' ')
            continue;
        const char digit[2] = {*text, '\0'};
        byte = byte << 4 | (unsigned)strtoul(digit, NULL, 16);
        if (++digits % 2 == 0) {
            uint8_t out = (uint8_t)byte;
            put(s, &out, 1);
        }
    }
}

void put_be32(struct stream *s, uint32_t v)
{
    uint8_t out[4];
    store_be32(out, v);
    put(s, out, sizeof out);
}

void put_be64(struct stream *s, uint64_t v)
{
    uint8_t out[8];
    store_be64(out, v);
    put(s, out, sizeof out);
}

void put_binary(struct stream *s, uint32_t size, unsigned seed)
{
    put(s, (uint8_t[]){ETF_BINARY}, 1);
    put_be32(s, size);
    ck_assert_uint_le(s->size + size, STREAM_BYTES);
    for (uint32_t i = 0; i < size; i++)
        s->data[s->size++] = (uint8_t)((i * 2654435761U + seed) >> 11);
}

void put_list(struct stream *s, uint32_t count)
{
    put(s, (uint8_t[]){ETF_LIST}, 1);
    put_be32(s, count);
    for (uint32_t i = 0; i < count; i++)
        put(s, (uint8_t[]){ETF_SMALL_INTEGER, (uint8_t)i}, 2);
    put(s, (uint8_t[]){ETF_NIL}, 1);
}

void put_nested(struct stream *s, uint32_t depth)
{
    for (uint32_t i = 0; i < depth; i++)
        put(s, (uint8_t[]){ETF_SMALL_TUPLE, 1}, 2);
    put(s, (uint8_t[]){ETF_NIL}, 1);
}

void put_whole(struct stream *s, bool header, const struct stream *payload)
{
    size_t size = (header ? 3 : 2) + sizeof control;
    if (payload != NULL)
        size += payload->size + !header;
    put_be32(s, (uint32_t)size);
    put_hex(s, header ? "83 44 00" : "70 83");
    put(s, control, sizeof control);
    if (payload == NULL)
        return;
    if (!header)
        put_hex(s, "83");
    put(s, payload->data, payload->size);
}

void put_first(struct stream *s, uint64_t id, uint64_t fragment, const void *p, size_t size)
{
    put_be32(s, (uint32_t)(19 + sizeof control + size));
    put_hex(s, "83 45");
    put_be64(s, id);
    put_be64(s, fragment);
    put_hex(s, "00");
    put(s, control, sizeof control);
    put(s, p, size);
}

void put_next(struct stream *s, uint64_t id, uint64_t fragment, const void *p, size_t size)
{
    put_be32(s, (uint32_t)(18 + size));
    put_hex(s, "83 46");
    put_be64(s, id);
    put_be64(s, fragment);
    put(s, p, size);
}

void put_fragments(struct stream *s, uint64_t id, uint64_t count, const struct stream *payload)
{
    size_t at = 0;
    for (uint64_t left = count; left > 0; left--) {
        size_t part = (payload->size - at) / left;
        if (left == count)
            put_first(s, id, left, payload->data + at, part);
        else
            put_next(s, id, left, payload->data + at, part);
        at += part;
    }
}

void put_deep_fragments(struct stream *s)
{
    struct stream part = stream_new();
    put_nested(&part, 50000);
    put_first(s, 1, 1000, part.data, part.size);
    for (uint64_t fragment = 999; fragment > 990; fragment--)
        put_next(s, 1, fragment, part.data, part.size);
    free(part.data);
}

void put_big_200k(struct stream *s, uint64_t sequence)
{
    static uint8_t x[65536];
    memset(x, 'x', sizeof x);
    put_hex(s, "00010013 83 45");
    put_be64(s, sequence);
    put_hex(s,
        "00 00 00 00 00 00 00 04 00 68 04 61 06 58 77 11 74 65 73 74 65 72 42 40 6c 6f 63 61 6c "
        "68 6f 73 74 00 00 00 91 00 00 00 00 6b 00 f7 c2 77 00 77 05 62 72 61 69 6e 68 02 77 03 "
        "62 69 67 6d 00 03 0d 40");
    put(s, x, 65555 - 76);
    for (uint64_t fragment = 3; fragment > 0; fragment--) {
        put_hex(s, fragment > 1 ? "00010012 83 46" : "00000d8b 83 46");
        put_be64(s, sequence);
        put_be64(s, fragment);
        put(s, x, fragment > 1 ? 65536 : 3467 - 18);
    }
}

void on_tick(void *context)
{
    struct record *r = context;
    r->ticks++;
    put(&r->log, "T", 1);
}

static int on_message(void *context, const struct frame_message *message)
{
    struct record *r = context;
    r->messages++;
    r->last = *message;
    put(&r->log, "M", 1);
    put_be64(&r->log, message->control.size);
    put(&r->log, message->control.data, message->control.size);
    put_be64(&r->log, message->payload.size);
    put(&r->log, message->payload.data, message->payload.size);
    put_be32(&r->log, (uint32_t)message->payload_error);
    put(&r->log, message->payload_checked ? "C" : "U", 1);
    ck_assert_int_eq(message->payload_checked, message->marks != NULL);
    if (message->payload_checked)
        ck_assert_int_eq(message->payload_error, 0);
    if (message->payload.size > 0)
        memcpy(r->last_payload, message->payload.data,
            message->payload.size < sizeof r->last_payload ? message->payload.size
                                                           : sizeof r->last_payload);
    if (message->block != NULL && message->payload.size > 0) {
        ck_assert(message->payload.data >= message->block->bytes);
        ck_assert(message->payload.data + message->payload.size <=
                  message->block->bytes + message->block->size);
    }
    return r->answer;
}

struct budget total;

struct frame_limits roomy(void)
{
    total = (struct budget){16 << 20, 0};
    return (struct frame_limits){
        .frame_bytes = 4 << 20,
        .message_bytes = 4 << 20,
        .sequences = 8,
        .pending_bytes = 8 << 20,
        .terms = {.max_depth = 100, .max_elements = 1000000},
        .scan_budget = UINT64_MAX,
        .total = &total,
    };
}

struct frame_reader *reader_new(bool header, const struct frame_limits *limits, struct record *r)
{
    *r = (struct record){.log = stream_new()};
    return frame_reader_create(header, limits, (struct frame_events){r, on_tick, on_message});
}

void reader_free(struct frame_reader *reader, struct record *r)
{
    frame_reader_destroy(reader);
    ck_assert_uint_eq(total.used_bytes, 0);
    free(r->log.data);
    r->log.data = NULL;
}

int pour(struct frame_reader *reader, const uint8_t *data, size_t size)
{
    int status = 0;
    while (size > 0 && status >= 0) {
        uint8_t *area = NULL;
        size_t room = size;
        if (frame_reader_area(reader, &area, &room)) {
            if (room > size)
                room = size;
            memcpy(area, data, room);
            status = frame_reader_feed(reader, slice_of(area, room));
        } else {
            uint8_t *scratch = malloc(size);
            room = size;
            memcpy(scratch, data, size);
            status = frame_reader_feed(reader, slice_of(scratch, room));
            memset(scratch, 0xEE, room);
            free(scratch);
        }
        while (status == 1)
            status = frame_reader_feed(reader, slice_of(NULL, 0));
        data += room;
        size -= room;
    }
    return status;
}

int run(bool header, const struct frame_limits *limits, const struct stream *s, struct record *r)
{
    struct frame_reader *reader = reader_new(header, limits, r);
    int status = pour(reader, s->data, s->size);
    frame_reader_destroy(reader);
    ck_assert_uint_eq(total.used_bytes, 0);
    return status;
}

void record_free(struct record *r)
{
    free(r->log.data);
}
