/* batch: the records of one turn of the owner's loop, as they will stand in a segment.
 *
 *   bytes:  | header head small value | header head | header head small value | ...
 *   tails:                                          ^ a large value, by reference
 *
 * Made by the owner, read by the journal's thread, freed by the owner again. */
#ifndef JOURNAL_BATCH_H
#define JOURNAL_BATCH_H

#include <sys/uio.h>

#include "brain/base.h"

struct batch_tail {
    size_t record; /* where its record begins in `bytes` */
    size_t at;     /* it stands before this place of `bytes` */
    size_t sum;    /* place in `bytes` of its checksum; 0: it has none there */
    bool summed;   /* the writer's: crc is known */
    uint32_t crc;
    struct value value;
};

struct batch {
    struct batch *next;
    struct buffer bytes;  /* in `memory` */
    struct block *memory; /* NULL: none yet */
    struct batch_tail *tails;
    size_t tail_count, tail_capacity;
    uint64_t segment; /* the ledger's ordinal, and when that was begun */
    uint64_t begun_unix_ms;
    uint64_t first_seq, last_seq;
    uint64_t records;
    uint64_t size;     /* of everything, as appended */
    uint64_t since_ms; /* when its first record was added, which may be acknowledged since then */
    bool counted;      /* the writer's: in its numbers already */
};

struct batch_list {
    struct batch *first, **last;
    uint64_t size; /* of all of them in memory, about */
};

struct batch *batch_create(void); /* NULL: no memory */
/* Drops the values; the batch is empty again and keeps some of its memory. */
void batch_clear(struct batch *batch);
void batch_destroy(struct batch *batch);

/* Bytes of RAM that it takes, with the values it refers to. */
uint64_t batch_memory(const struct batch *batch);

/* As journal_append_summed. 0 or BRAIN_ENOMEM: then the batch is as before. The payload's size fits
 * 32 bits. */
int batch_add(
    struct batch *batch, uint64_t seq, struct slice head, size_t sum, const struct value *tail);

/* Computes the checksums for a segment with this salt. */
void batch_seal(struct batch *batch, uint32_t salt);

/* What is appended next: the first byte that is not written yet. Zeroed: the beginning. */
struct batch_cursor {
    size_t at;      /* in `bytes` */
    size_t tail;    /* the first one that is not written completely */
    size_t in_tail; /* bytes of it that are; only when `at` has reached it */
};
/* Fills at most `limit` vectors from the cursor on; 0: all is written. */
int batch_vectors(
    const struct batch *batch, const struct batch_cursor *cursor, struct iovec *vectors, int limit);
void batch_advance(const struct batch *batch, struct batch_cursor *cursor, size_t written);

void batch_list_init(struct batch_list *list);
void batch_list_append(struct batch_list *list, struct batch *batch);
struct batch *batch_list_take(struct batch_list *list);                  /* the first, or NULL */
void batch_list_move(struct batch_list *to, struct batch_list *from);    /* to the end */
void batch_list_prepend(struct batch_list *to, struct batch_list *from); /* to the beginning */

#endif
