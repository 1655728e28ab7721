/* ordered: answers that come in the order of the requests, each a short head and perhaps a value
 * with something fixed behind it. What redis, memcached and the echo protocol have in common. */
#ifndef BRAIN_BENCH_ORDERED_H
#define BRAIN_BENCH_ORDERED_H

#include "protocol.h"

enum head_kind {
    HEAD_MORE,  /* not whole yet */
    HEAD_VALUE, /* a value of the right size follows */
    HEAD_DONE,  /* that was the whole answer, and it is right */
    HEAD_WRONG, /* that was the whole answer, and it is wrong */
    HEAD_BROKEN /* it is no answer */
};

struct head {
    enum head_kind kind;
    size_t size;
    /* Of HEAD_WRONG and HEAD_BROKEN: what came, in words; empty: the head's own first line. */
    const char *wrong;
};

struct ordered {
    /* Reads the head of the answer to `request`. */
    struct head (*read_head)(
        struct link *link, const struct request *request, const uint8_t *bytes, size_t size);
    const char *tail; /* behind a value */
    size_t tail_size;
    /* Of an answer that is under way. */
    struct request *request; /* NULL: a head is next */
    uint64_t position;       /* in the value and the tail behind it */
    bool wrong;
    uint8_t expected[ID_BYTES_LIMIT + 64]; /* the head of a get's right answer */
    size_t expected_size;
};

ptrdiff_t ordered_parse(struct link *link, const uint8_t *bytes, size_t size);
void ordered_close(struct link *link);
/* Makes link->state. NULL, with the tally's failure, without memory. */
struct ordered *ordered_open(struct link *link);

#endif
