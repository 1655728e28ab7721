#include <string.h>

#include "brain/base.h"

enum { FIRST_CAPACITY = 64 };

void buffer_init(struct buffer *buffer)
{
    *buffer = (struct buffer){NULL, 0, 0, false};
}

void buffer_release(struct buffer *buffer)
{
    heap_release(buffer->data);
    buffer_init(buffer);
}

void buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
    buffer->failed = false;
}

/* Doubles, so that n appended bytes cost O(n) copies in all. The result is at least `needed`. */
static size_t grown_capacity(size_t capacity, size_t needed)
{
    size_t doubled = capacity > SIZE_MAX / 2 ? SIZE_MAX : capacity * 2;
    size_t grown = doubled > needed ? doubled : needed;
    return grown < FIRST_CAPACITY ? FIRST_CAPACITY : grown;
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t size)
{
    if (buffer->failed)
        return NULL;
    if (buffer->data == NULL || buffer->capacity - buffer->size < size) {
        if (size > SIZE_MAX - buffer->size) {
            buffer->failed = true;
            return NULL;
        }
        size_t capacity = grown_capacity(buffer->capacity, buffer->size + size);
        uint8_t *data = heap_resize(buffer->data, capacity);
        if (data == NULL) {
            buffer->failed = true; /* what was appended before stays valid */
            return NULL;
        }
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

uint8_t *buffer_extend(struct buffer *buffer, size_t size)
{
    uint8_t *room = buffer_reserve(buffer, size);
    if (room != NULL)
        buffer->size += size;
    return room;
}

void buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    if (size == 0)
        return;
    uint8_t *room = buffer_extend(buffer, size);
    if (room != NULL)
        memcpy(room, data, size);
}

void buffer_append_slice(struct buffer *buffer, struct slice bytes)
{
    buffer_append(buffer, bytes.data, bytes.size);
}

void buffer_append_u8(struct buffer *buffer, uint8_t v)
{
    uint8_t *room = buffer_extend(buffer, 1);
    if (room != NULL)
        *room = v;
}

void buffer_append_be16(struct buffer *buffer, uint16_t v)
{
    uint8_t *room = buffer_extend(buffer, 2);
    if (room != NULL)
        store_be16(room, v);
}

void buffer_append_be32(struct buffer *buffer, uint32_t v)
{
    uint8_t *room = buffer_extend(buffer, 4);
    if (room != NULL)
        store_be32(room, v);
}

void buffer_append_be64(struct buffer *buffer, uint64_t v)
{
    uint8_t *room = buffer_extend(buffer, 8);
    if (room != NULL)
        store_be64(room, v);
}

int buffer_status(const struct buffer *buffer)
{
    return buffer->failed ? BRAIN_ENOMEM : 0;
}
