/* output: what is still to be written to one connection, in the order in which it was put here.
 *
 *   bytes   | head tail head tail ...            |   requests, or what is around their values
 *   pieces  | bytes 0..90 | pattern | bytes 90..97 | ...   what writev sends, in this order
 *
 * All memory is taken when the connection opens: the requests that are unanswered at once are
 * limited, and so is what is unsent. Values larger than OUTPUT_COPY_LIMIT are sent by reference. */
#ifndef BRAIN_BENCH_OUTPUT_H
#define BRAIN_BENCH_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Up to here a value is copied beside its request: a copy of 4 KiB costs less than its pieces.
     */
    OUTPUT_COPY_LIMIT = 4096,
};

struct piece {
    const uint8_t *data; /* NULL: in the output's own bytes, at `offset` */
    size_t offset, size;
};

struct output {
    uint8_t *bytes;
    size_t size, capacity;
    struct piece *pieces;
    size_t first, count, pieces_capacity; /* pieces first..count are unsent */
};

/* Room for so many unsent requests of at most so many bytes and pieces each. 0 or BRAIN_ENOMEM. */
int output_init(
    struct output *output, size_t requests, size_t bytes_of_each, size_t pieces_of_each);
void output_release(struct output *output);

static inline bool output_is_empty(const struct output *output)
{
    return output->first == output->count;
}

/* Appends `size` bytes of the caller's making. */
uint8_t *output_extend(struct output *output, size_t size);
/* Appends bytes that stay where they are until they are sent. */
void output_refer(struct output *output, const uint8_t *data, size_t size);

/* Writes as much as the socket takes. 0, or an errno other than EAGAIN. */
int output_write(struct output *output, int fd);

#endif
