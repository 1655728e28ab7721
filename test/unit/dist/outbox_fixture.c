#include "outbox_fixture.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct outbox_limits wide(void)
{
    total = (struct budget){64 << 20, 0};
    return (struct outbox_limits){
        .queued_bytes = 64 << 20, .fragment_bytes = 65536, .total = &total};
}

size_t take(struct outbox *outbox, size_t size, struct stream *s)
{
    struct iovec vector[7];
    const size_t count = outbox_vector(outbox, vector, 7);
    size_t taken = 0;
    for (size_t i = 0; i < count && taken < size; i++) {
        size_t part = vector[i].iov_len < size - taken ? vector[i].iov_len : size - taken;
        put(s, vector[i].iov_base, part);
        taken += part;
    }
    outbox_sent(outbox, taken);
    return taken;
}

void drain(struct outbox *outbox, struct stream *s)
{
    while (!outbox_is_empty(outbox))
        ck_assert_uint_gt(take(outbox, SIZE_MAX, s), 0);
}

void outbox_free(struct outbox *outbox)
{
    outbox_destroy(outbox);
    ck_assert_uint_eq(total.used_bytes, 0);
}

int send_tagged(struct outbox *outbox, uint32_t receiver, uint32_t number,
    const struct stream *payload, size_t by_value, bool with_block)
{
    if (number % 2 == 1 && payload != NULL) { /* in one go, where that can be */
        uint8_t integer[10] = {ETF_INTEGER, [5] = ETF_INTEGER};
        store_be32(integer + 1, receiver);
        store_be32(integer + 6, number);
        const struct slice head[] = {slice_of("\x68\x03\x61\x02", 4), slice_of(integer, 10)};
        const struct slice parts[] = {slice_of(payload->data, payload->size - by_value),
            slice_of(payload->data + payload->size - by_value, by_value)};
        int status = outbox_small(outbox, head, 2, parts, 2);
        if (status != OUTBOX_NOT_SMALL)
            return status;
    }
    struct buffer *out = outbox_begin(outbox);
    buffer_append(out, "\x68\x03\x61\x02\x62", 5);
    buffer_append_be32(out, receiver);
    buffer_append_u8(out, ETF_INTEGER);
    buffer_append_be32(out, number);
    if (payload == NULL)
        return outbox_commit(outbox, receiver, NULL);
    outbox_payload(outbox);
    const size_t direct = payload->size - by_value;
    buffer_append(out, payload->data, direct);
    if (by_value == 0)
        return outbox_commit(outbox, receiver, NULL);
    struct value value = {NULL, payload->data + direct, by_value};
    if (with_block) {
        value = value_copy(slice_of(payload->data + direct, by_value));
        if (value.block == NULL) {
            outbox_abort(outbox);
            return BRAIN_ENOMEM;
        }
    }
    int status = outbox_commit(outbox, receiver, &value);
    value_drop(&value);
    return status;
}

int on_arrival(void *context, const struct frame_message *message)
{
    struct arrivals *a = context;
    ck_assert_uint_eq(message->control.size, TAGGED_CONTROL);
    ck_assert_int_eq(message->payload_error, 0);
    ck_assert_uint_lt(a->count, 4096);
    const uint32_t number = load_be32(message->control.data + 10);
    a->receiver[a->count] = load_be32(message->control.data + 5);
    a->number[a->count++] = number;
    if (a->sizes == NULL)
        return 0;
    struct stream expected = {malloc(a->sizes[number] + 5), 0}; /* all it needs */
    put_binary(&expected, a->sizes[number], number);
    ck_assert_uint_eq(message->payload.size, expected.size);
    ck_assert_mem_eq(message->payload.data, expected.data, expected.size);
    free(expected.data);
    return 0;
}

void no_tick(void *context)
{
    (void)context;
}

void read_back(const struct stream *s, bool header, struct arrivals *a)
{
    *a = (struct arrivals){.count = 0};
    struct frame_limits limits = roomy();
    limits.total = NULL;
    struct frame_reader *reader =
        frame_reader_create(header, &limits, (struct frame_events){a, no_tick, on_arrival});
    ck_assert_int_eq(pour(reader, s->data, s->size), 0);
    ck_assert_uint_eq(frame_reader_pending(reader), 0);
    frame_reader_destroy(reader);
}
