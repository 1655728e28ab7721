/* outbox_queue: the bytes that go out next, in order: what one writev takes.
 *
 * Private to the outbox. Encoded bytes lie in chunks; a piece is a range of a chunk or a value held
 * by reference. Neighbouring bytes of one chunk are one piece, so a burst of small messages is a
 * single iovec:
 *
 *   pieces   [ chunk A: 0..400 ][ value: 300000 ][ chunk A: 400..2000 ][ chunk B: 0..64 ]
 *
 * A chunk is used again when all its bytes have left, so a steady stream of messages allocates
 * nothing. */
#ifndef BRAIN_DIST_OUTBOX_QUEUE_H
#define BRAIN_DIST_OUTBOX_QUEUE_H

#include <sys/uio.h>

#include "brain/base.h"

enum {
    /* The first chunk of a connection is small, because there may be ten thousand of them that send
     * little; further ones, needed when the socket does not keep up, are large. */
    OUTBOX_CHUNK_FIRST = 4096,
    OUTBOX_CHUNK_BYTES = 65536,
    /* Values up to this size are copied: cheaper than a reference and an iovec of their own. */
    OUTBOX_COPY_BYTES = 1024,
};

struct outbox_chunk {
    struct outbox_chunk *next; /* in the list of spare ones */
    struct buffer bytes;
    size_t unsent; /* bytes of it in pieces */
};

struct outbox_piece {
    struct outbox_chunk *chunk; /* NULL: a value */
    struct block *block;
    const uint8_t *data; /* of a value; a chunk may move while it grows, so it has an offset */
    size_t offset;
    size_t size;
};

struct outbox_queue {
    struct outbox_piece *ring; /* capacity is a power of 2 */
    size_t head, count, capacity;
    struct outbox_chunk *current; /* where bytes are written now; NULL: none yet */
    struct outbox_chunk *spare;
    unsigned spare_count;
    uint64_t bytes; /* in pieces */
};

void outbox_queue_release(struct outbox_queue *queue);
/* Room for `pieces` more pieces without allocation. 0 or BRAIN_ENOMEM. */
int outbox_queue_reserve(struct outbox_queue *queue, size_t pieces);
/* The buffer to write to, with at least `size` bytes of room; what is written there goes out only
 * with outbox_queue_push. NULL: no memory. */
struct buffer *outbox_queue_room(struct outbox_queue *queue, size_t size);
/* The bytes of the current chunk from `begin` to its end go out. Needs one reserved piece. */
void outbox_queue_push(struct outbox_queue *queue, size_t begin);
/* Do the next `size` bytes fit behind the last piece, so that neither of the above is needed? */
static inline bool outbox_queue_can_extend(const struct outbox_queue *queue, size_t size)
{
    const struct outbox_chunk *chunk = queue->current;
    if (queue->count == 0 || chunk->bytes.capacity - chunk->bytes.size < size)
        return false;
    const struct outbox_piece *last =
        &queue->ring[(queue->head + queue->count - 1) & (queue->capacity - 1)];
    return last->chunk == chunk && last->offset + last->size == chunk->bytes.size;
}
/* The next `size` bytes of the current chunk go out, the caller writes them now. Needs a piece and
 * room for them, or can_extend. */
uint8_t *outbox_queue_extend(struct outbox_queue *queue, size_t size);
/* A value goes out by reference; the queue holds the block. Needs one reserved piece. */
void outbox_queue_push_value(
    struct outbox_queue *queue, struct block *block, const uint8_t *data, size_t size);
size_t outbox_queue_vector(const struct outbox_queue *queue, struct iovec *vector, size_t limit);
void outbox_queue_sent(struct outbox_queue *queue, size_t size);
/* Frees spare memory. The queue must be empty. */
void outbox_queue_shrink(struct outbox_queue *queue);

#endif
