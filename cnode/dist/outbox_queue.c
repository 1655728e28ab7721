#include "outbox_queue.h"

#include <assert.h>

enum { SPARE_CHUNKS = 4, FIRST_PIECES = 8 };

static void chunk_free(struct outbox_chunk *chunk)
{
    buffer_release(&chunk->bytes);
    heap_release(chunk);
}

static void spare_release(struct outbox_queue *queue)
{
    while (queue->spare != NULL) {
        struct outbox_chunk *chunk = queue->spare;
        queue->spare = chunk->next;
        chunk_free(chunk);
    }
    queue->spare_count = 0;
}

/* All bytes of `chunk` have left and nobody writes to it. */
static void chunk_retire(struct outbox_queue *queue, struct outbox_chunk *chunk)
{
    /* A chunk that had to grow for one huge message, or a small first one, is not kept. */
    if (queue->spare_count == SPARE_CHUNKS || chunk->bytes.capacity != OUTBOX_CHUNK_BYTES) {
        chunk_free(chunk);
        return;
    }
    buffer_clear(&chunk->bytes);
    chunk->next = queue->spare;
    queue->spare = chunk;
    queue->spare_count++;
}

static struct outbox_piece *piece_at(const struct outbox_queue *queue, size_t index)
{
    return &queue->ring[(queue->head + index) & (queue->capacity - 1)];
}

/* `size` bytes of the first piece left. */
static void piece_sent(struct outbox_queue *queue, size_t size)
{
    struct outbox_piece *piece = piece_at(queue, 0);
    struct outbox_chunk *chunk = piece->chunk;
    queue->bytes -= size;
    piece->size -= size;
    piece->offset += size;
    if (piece->size == 0) {
        block_drop(piece->block);
        queue->head = (queue->head + 1) & (queue->capacity - 1);
        queue->count--;
    }
    if (chunk == NULL)
        return;
    chunk->unsent -= size;
    if (chunk->unsent == 0 && chunk != queue->current)
        chunk_retire(queue, chunk);
}

void outbox_queue_release(struct outbox_queue *queue)
{
    while (queue->count > 0)
        piece_sent(queue, piece_at(queue, 0)->size);
    if (queue->current != NULL)
        chunk_free(queue->current);
    spare_release(queue);
    heap_release(queue->ring);
    *queue = (struct outbox_queue){.ring = NULL};
}

int outbox_queue_reserve(struct outbox_queue *queue, size_t pieces)
{
    if (queue->capacity - queue->count >= pieces)
        return 0;
    size_t capacity = queue->capacity == 0 ? FIRST_PIECES : queue->capacity * 2;
    while (capacity - queue->count < pieces)
        capacity *= 2;
    struct outbox_piece *ring = heap_allocate(capacity * sizeof *ring);
    if (ring == NULL)
        return BRAIN_ENOMEM;
    for (size_t i = 0; i < queue->count; i++)
        ring[i] = *piece_at(queue, i);
    heap_release(queue->ring);
    queue->ring = ring;
    queue->head = 0;
    queue->capacity = capacity;
    return 0;
}

struct buffer *outbox_queue_room(struct outbox_queue *queue, size_t size)
{
    struct outbox_chunk *current = queue->current;
    if (current != NULL && current->unsent == 0)
        buffer_clear(&current->bytes); /* everything in it has left: begin again at its start */
    if (current != NULL && current->bytes.capacity - current->bytes.size >= size)
        return &current->bytes;

    struct outbox_chunk *chunk = queue->spare;
    if (chunk != NULL && size <= OUTBOX_CHUNK_BYTES) {
        queue->spare = chunk->next;
        queue->spare_count--;
    } else {
        size_t capacity = current == NULL ? OUTBOX_CHUNK_FIRST : OUTBOX_CHUNK_BYTES;
        chunk = heap_allocate_zeroed(sizeof *chunk);
        if (chunk == NULL)
            return NULL;
        buffer_init(&chunk->bytes);
        if (buffer_reserve(&chunk->bytes, size > capacity ? size : capacity) == NULL) {
            chunk_free(chunk);
            return NULL;
        }
    }
    if (current != NULL && current->unsent == 0)
        chunk_retire(queue, current);
    queue->current = chunk;
    return &chunk->bytes;
}

void outbox_queue_push(struct outbox_queue *queue, size_t begin)
{
    struct outbox_chunk *chunk = queue->current;
    const size_t size = chunk->bytes.size - begin;
    if (size == 0)
        return;
    chunk->unsent += size;
    queue->bytes += size;
    if (queue->count > 0) {
        struct outbox_piece *last = piece_at(queue, queue->count - 1);
        if (last->chunk == chunk && last->offset + last->size == begin) {
            last->size += size;
            return;
        }
    }
    assert(queue->count < queue->capacity);
    *piece_at(queue, queue->count++) = (struct outbox_piece){chunk, NULL, NULL, begin, size};
}

uint8_t *outbox_queue_extend(struct outbox_queue *queue, size_t size)
{
    struct buffer *bytes = &queue->current->bytes;
    const size_t begin = bytes->size;
    assert(bytes->capacity - begin >= size);
    bytes->size += size;
    outbox_queue_push(queue, begin);
    return bytes->data + begin;
}

void outbox_queue_push_value(
    struct outbox_queue *queue, struct block *block, const uint8_t *data, size_t size)
{
    if (size == 0)
        return;
    assert(queue->count < queue->capacity);
    queue->bytes += size;
    *piece_at(queue, queue->count++) =
        (struct outbox_piece){NULL, block_hold(block), data, 0, size};
}

size_t outbox_queue_vector(const struct outbox_queue *queue, struct iovec *vector, size_t limit)
{
    size_t count = queue->count < limit ? queue->count : limit;
    for (size_t i = 0; i < count; i++) {
        const struct outbox_piece *piece = piece_at(queue, i);
        const uint8_t *data = piece->chunk != NULL ? piece->chunk->bytes.data : piece->data;
        /* writev(2) only reads, but its iovec has no const. */
        vector[i].iov_base = (void *)(uintptr_t)(data + piece->offset);
        vector[i].iov_len = piece->size;
    }
    return count;
}

void outbox_queue_sent(struct outbox_queue *queue, size_t size)
{
    assert(size <= queue->bytes);
    while (size > 0) {
        size_t first = piece_at(queue, 0)->size;
        size_t part = size < first ? size : first;
        piece_sent(queue, part);
        size -= part;
    }
}

void outbox_queue_shrink(struct outbox_queue *queue)
{
    assert(queue->count == 0);
    spare_release(queue);
    if (queue->current != NULL && queue->current->bytes.capacity > OUTBOX_CHUNK_FIRST) {
        chunk_free(queue->current);
        queue->current = NULL;
    }
    if (queue->capacity > FIRST_PIECES) {
        heap_release(queue->ring);
        queue->ring = NULL;
        queue->head = queue->capacity = 0;
    }
}
