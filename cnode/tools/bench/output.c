#include "output.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "brain/base.h"

enum { PIECES_PER_WRITE = 256, SPARE_BYTES = 256 /* of ticks */, SPARE_PIECES = 8 };

int output_init(struct output *output, size_t requests, size_t bytes_of_each, size_t pieces_of_each)
{
    /* Twice what can be unsent: then moving it to the beginning is rare. */
    *output = (struct output){.capacity = 2 * requests * bytes_of_each + SPARE_BYTES,
        .pieces_capacity = 2 * requests * pieces_of_each + SPARE_PIECES};
    output->bytes = heap_allocate(output->capacity);
    output->pieces = heap_allocate(output->pieces_capacity * sizeof(*output->pieces));
    return output->bytes != NULL && output->pieces != NULL ? 0 : BRAIN_ENOMEM;
}

void output_release(struct output *output)
{
    heap_release(output->bytes);
    heap_release(output->pieces);
    *output = (struct output){0};
}

/* Moves what is unsent to the beginning. */
static void compact(struct output *output)
{
    size_t kept = 0;
    for (size_t i = output->first; i < output->count; i++) {
        struct piece *piece = &output->pieces[i];
        if (piece->data == NULL) {
            memmove(output->bytes + kept, output->bytes + piece->offset, piece->size);
            piece->offset = kept;
            kept += piece->size;
        }
    }
    output->size = kept;
    output->count -= output->first;
    memmove(
        output->pieces, output->pieces + output->first, output->count * sizeof(*output->pieces));
    output->first = 0;
}

static void push_piece(struct output *output, struct piece piece)
{
    if (output->count == output->pieces_capacity)
        compact(output);
    assert(output->count < output->pieces_capacity);
    output->pieces[output->count++] = piece;
}

uint8_t *output_extend(struct output *output, size_t size)
{
    if (size > output->capacity - output->size)
        compact(output);
    assert(size <= output->capacity - output->size);
    uint8_t *at = output->bytes + output->size;
    struct piece *last = output->pieces + output->count - 1;
    if (!output_is_empty(output) && last->data == NULL)
        last->size += size;
    else
        push_piece(output, (struct piece){NULL, output->size, size});
    at = output->bytes + output->size; /* push_piece may have moved them */
    output->size += size;
    return at;
}

void output_refer(struct output *output, const uint8_t *data, size_t size)
{
    push_piece(output, (struct piece){data, 0, size});
}

static void forget_sent(struct output *output, size_t sent)
{
    while (sent > 0) {
        struct piece *piece = &output->pieces[output->first];
        size_t part = sent < piece->size ? sent : piece->size;
        piece->offset += part;
        if (piece->data != NULL)
            piece->data += part;
        piece->size -= part;
        sent -= part;
        if (piece->size == 0)
            output->first++;
    }
    if (output_is_empty(output))
        output->first = output->count = output->size = 0;
}

int output_write(struct output *output, int fd)
{
    while (!output_is_empty(output)) {
        struct iovec vectors[PIECES_PER_WRITE];
        size_t count = 0;
        for (size_t i = output->first; i < output->count && count < PIECES_PER_WRITE; i++) {
            const struct piece *piece = &output->pieces[i];
            const uint8_t *data = piece->data != NULL ? piece->data : output->bytes + piece->offset;
            vectors[count++] = (struct iovec){(void *)(uintptr_t)data, piece->size};
        }
        ssize_t sent = writev(fd, vectors, (int)count);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? 0 : errno;
        forget_sent(output, (size_t)sent);
    }
    return 0;
}
