#include "batch.h"

#include <assert.h>
#include <string.h>

#include "record.h"

enum {
    /* Copying this much costs about as much as counting a reference and a vector of its own. */
    COPY_LIMIT = 2048,
    KEEP_LIMIT = 1 << 20, /* memory that an empty batch keeps */
};

struct batch *batch_create(void)
{
    return heap_allocate_zeroed(sizeof(struct batch));
}

static void set_memory(struct batch *batch, struct block *memory)
{
    const size_t size = batch->bytes.size;
    batch->memory = memory;
    buffer_init(&batch->bytes);
    if (memory != NULL) {
        batch->bytes.data = memory->bytes;
        batch->bytes.capacity = memory->size;
        batch->bytes.size = size;
    }
}

/* Under load there are many batches of the size at which they are handed over, until they are
 * synced: in a block, their memory is recycled. With one write per turn there are more yet, small
 * ones. */
static bool make_room(struct batch *batch, size_t more)
{
    enum { FIRST = 1 << 10, SMALL = 4 << 10, LARGE = 64 << 10, WHOLE = 160 << 10 };
    const struct buffer *bytes = &batch->bytes;
    const size_t needed = bytes->size + more;
    if (needed <= bytes->capacity)
        return true;
    size_t capacity = bytes->capacity < FIRST ? FIRST : bytes->capacity;
    while (capacity < needed)
        capacity = capacity < SMALL ? capacity * 4 : capacity == LARGE ? WHOLE : capacity * 2;
    struct block *memory = block_create(capacity);
    if (memory == NULL)
        return false;
    if (bytes->size > 0)
        memcpy(memory->bytes, bytes->data, bytes->size);
    block_drop(batch->memory);
    set_memory(batch, memory);
    return true;
}

void batch_clear(struct batch *batch)
{
    for (size_t i = 0; i < batch->tail_count; i++)
        value_drop(&batch->tails[i].value);
    struct block *memory = batch->memory;
    struct batch_tail *tails = batch->tails;
    size_t tail_capacity = batch->tail_capacity;
    if (memory != NULL && memory->size > KEEP_LIMIT) {
        block_drop(memory);
        memory = NULL;
    }
    if (tail_capacity > KEEP_LIMIT / sizeof(*tails)) {
        heap_release(tails);
        tails = NULL;
        tail_capacity = 0;
    }
    *batch = (struct batch){.tails = tails, .tail_capacity = tail_capacity};
    set_memory(batch, memory);
}

void batch_destroy(struct batch *batch)
{
    batch_clear(batch);
    block_drop(batch->memory);
    heap_release(batch->tails);
    heap_release(batch);
}

uint64_t batch_memory(const struct batch *batch)
{
    const uint64_t referred = batch->size - batch->bytes.size;
    return batch->bytes.capacity + batch->tail_capacity * sizeof(*batch->tails) + referred;
}

static struct batch_tail *add_tail(struct batch *batch)
{
    if (batch->tail_count == batch->tail_capacity) {
        size_t capacity = batch->tail_capacity == 0 ? 8 : 2 * batch->tail_capacity;
        struct batch_tail *tails = heap_resize(batch->tails, capacity * sizeof(*tails));
        if (tails == NULL)
            return NULL;
        batch->tails = tails;
        batch->tail_capacity = capacity;
    }
    return &batch->tails[batch->tail_count];
}

static void store_le32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8), p[2] = (uint8_t)(v >> 16),
    p[3] = (uint8_t)(v >> 24);
}

int batch_add(
    struct batch *batch, uint64_t seq, struct slice head, size_t sum, const struct value *tail)
{
    struct buffer *bytes = &batch->bytes;
    size_t before = bytes->size, tail_size = tail == NULL ? 0 : tail->size;
    bool copied = tail_size > 0 && (tail->block == NULL || tail_size <= COPY_LIMIT);
    struct batch_tail *held = NULL;
    assert(head.size + tail_size <= UINT32_MAX);
    assert(sum == 0 || (sum <= head.size - 4 && tail_size > 0));

    if (tail_size > 0 && !copied && (held = add_tail(batch)) == NULL)
        return BRAIN_ENOMEM;
    if (!make_room(batch, RECORD_HEADER + head.size + (copied ? tail_size : 0)))
        return BRAIN_ENOMEM;
    record_header_write(
        buffer_extend(bytes, RECORD_HEADER), seq, (uint32_t)(head.size + tail_size));
    buffer_append_slice(bytes, head);
    if (copied)
        buffer_append(bytes, tail->data, tail_size);
    const size_t sum_at = sum != 0 ? before + RECORD_HEADER + sum : 0;
    if (held != NULL) {
        *held = (struct batch_tail){
            .record = before, .at = bytes->size, .sum = sum_at, .value = value_hold(*tail)};
        batch->tail_count++;
    } else if (sum != 0) {
        store_le32(bytes->data + sum_at, crc32c(0, value_slice(*tail)));
    }
    if (batch->records++ == 0)
        batch->first_seq = seq;
    batch->last_seq = seq;
    batch->size += RECORD_HEADER + head.size + tail_size;
    return 0;
}

/* A large value is looked at once, also when it is written a second time. */
static uint32_t sum_of(struct batch *batch, struct batch_tail *tail)
{
    if (!tail->summed) {
        tail->crc = crc32c(0, value_slice(tail->value));
        tail->summed = true;
        if (tail->sum != 0)
            store_le32(batch->bytes.data + tail->sum, tail->crc);
    }
    return tail->crc;
}

void batch_seal(struct batch *batch, uint32_t salt)
{
    struct batch_tail *tail = batch->tails, *end = tail + batch->tail_count;
    for (size_t at = 0; at < batch->bytes.size;) {
        uint8_t *header = batch->bytes.data + at;
        size_t size = RECORD_HEADER + (size_t)load_be32(header + 4);
        if (batch->tail_count > 0 && tail < end && tail->record == at) {
            const size_t rest = tail->value.size;
            size -= rest;
            record_seal(header, size, sum_of(batch, tail), rest, salt);
            tail++;
        } else {
            record_seal(header, size, 0, 0, salt);
        }
        at += size;
    }
}

int batch_vectors(
    const struct batch *batch, const struct batch_cursor *cursor, struct iovec *vectors, int limit)
{
    struct batch_cursor c = *cursor;
    int count = 0;
    while (count < limit) {
        size_t stop = c.tail < batch->tail_count ? batch->tails[c.tail].at : batch->bytes.size;
        if (c.at < stop) {
            vectors[count++] = (struct iovec){batch->bytes.data + c.at, stop - c.at};
            c.at = stop;
        } else if (c.tail < batch->tail_count) {
            const struct value *value = &batch->tails[c.tail].value;
            /* writev(2) only reads, but its vectors do not say so. */
            union {
                const uint8_t *from;
                void *to;
            } base = {value->data + c.in_tail};
            vectors[count++] = (struct iovec){base.to, value->size - c.in_tail};
            c.tail++;
            c.in_tail = 0;
        } else {
            break;
        }
    }
    return count;
}

void batch_advance(const struct batch *batch, struct batch_cursor *cursor, size_t written)
{
    while (written > 0) {
        bool has_tail = cursor->tail < batch->tail_count;
        size_t stop = has_tail ? batch->tails[cursor->tail].at : batch->bytes.size;
        if (cursor->at < stop) {
            size_t step = stop - cursor->at < written ? stop - cursor->at : written;
            cursor->at += step;
            written -= step;
        } else {
            assert(has_tail);
            size_t left = batch->tails[cursor->tail].value.size - cursor->in_tail;
            size_t step = left < written ? left : written;
            cursor->in_tail += step;
            written -= step;
            if (step == left) {
                cursor->tail++;
                cursor->in_tail = 0;
            }
        }
    }
}

/* ---- lists ----------------------------------------------------------------------------------- */

void batch_list_init(struct batch_list *list)
{
    *list = (struct batch_list){NULL, &list->first, 0};
}

void batch_list_append(struct batch_list *list, struct batch *batch)
{
    batch->next = NULL;
    *list->last = batch;
    list->last = &batch->next;
    list->size += batch->size + sizeof(*batch);
}

struct batch *batch_list_take(struct batch_list *list)
{
    struct batch *batch = list->first;
    if (batch == NULL)
        return NULL;
    list->first = batch->next;
    if (list->first == NULL)
        list->last = &list->first;
    list->size -= batch->size + sizeof(*batch);
    batch->next = NULL;
    return batch;
}

void batch_list_move(struct batch_list *to, struct batch_list *from)
{
    if (from->first == NULL)
        return;
    *to->last = from->first;
    to->last = from->last;
    to->size += from->size;
    batch_list_init(from);
}

void batch_list_prepend(struct batch_list *to, struct batch_list *from)
{
    batch_list_move(from, to);
    batch_list_move(to, from);
}
