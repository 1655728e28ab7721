/* frame_assembly: one message whose bytes arrive in pieces, and the memory it may take meanwhile.
 *
 * Private to the frame reader. An assembly is either one large frame (its block has exactly the
 * frame's size) or the fragments of one sequence (its block has the size that the first one lets
 * expect, and grows by doubling where that was not to be trusted):
 *
 *   block  | frame header | control | [131] payload so far ...          | room |
 *          0              control   payload                             size   block->size
 *
 * The payload is checked while it arrives, so that the last fragment of a value of many MB does not
 * stall the owner's loop. */
#ifndef BRAIN_DIST_FRAME_ASSEMBLY_H
#define BRAIN_DIST_FRAME_ASSEMBLY_H

#include "brain/base.h"
#include "brain/etf.h"

enum {
    /* Frames up to this size are handed on in place and their payload is checked by who reads it;
     * larger ones get a block of their own and are scanned here. A memcpy of 16 KiB (about 1 us)
     * costs less than the extra read(2) that a smaller limit would cause. */
    FRAME_LARGE_BYTES = 16384,
    /* A control tuple may be as long as this. The longest real ones carry an exit reason (peers
     * without EXIT_PAYLOAD) or a trace token. */
    FRAME_CONTROL_BYTES = 65536,
};

/* What one reader holds, within its own limit and the limit of all readers together. */
struct frame_account {
    uint64_t held;
    uint64_t limit;
    struct budget *total; /* NULL: none */
};

/* 0, or BRAIN_ETOOBIG and nothing is taken. */
int frame_account_take(struct frame_account *account, uint64_t bytes);
void frame_account_give(struct frame_account *account, uint64_t bytes);

struct frame_assembly {
    struct block *block; /* NULL: closed */
    size_t size;         /* bytes of it that have arrived */
    size_t control, control_size;
    size_t payload; /* offset of its first byte; 0: control is not located yet */
    uint64_t charged;
    struct etf_scanner scanner;
    bool scanner_open;
    bool checked;      /* the scanner saw the whole term */
    int payload_error; /* why the payload cannot be accepted, or 0 */
};

/* Takes `needed` bytes from the account and allocates them; `expected`, what the whole message will
 * take by its own word, when that is more and leaves half of the account and of the limit of all
 * readers. 0, BRAIN_ETOOBIG or BRAIN_ENOMEM. */
int frame_assembly_open(struct frame_assembly *assembly, struct frame_account *account,
    size_t needed, uint64_t expected);
/* Gives everything back. A block held by a receiver of the message lives on with it. */
void frame_assembly_close(struct frame_assembly *assembly, struct frame_account *account);

/* Makes room for `more` bytes, growing by doubling but never beyond `limit` bytes in all. 0,
 * BRAIN_ETOOBIG or BRAIN_ENOMEM. */
int frame_assembly_reserve(
    struct frame_assembly *assembly, struct frame_account *account, uint64_t more, uint64_t limit);
/* Appends bytes for which there is room; bytes read to their place already are only counted. */
void frame_assembly_append(struct frame_assembly *assembly, const uint8_t *data, size_t size);
/* Gives back the room behind the last byte, unless it is little: then its pages are worth more to
 * the next value of this size. */
void frame_assembly_trim(struct frame_assembly *assembly, struct frame_account *account);
/* The payload is refused: keeps only its beginning (whom to answer), gives back the rest. */
void frame_assembly_cut(struct frame_assembly *assembly, struct frame_account *account);

/* Checks what has arrived of the payload, looking at no more than `*budget` elements, which are
 * taken from it. With `last` nothing more will arrive. Returns 0, 1 when the budget is used up and
 * bytes are left to check, or BRAIN_ENOMEM. A bad payload sets payload_error. Payloads up to
 * FRAME_LARGE_BYTES are left alone. */
int frame_assembly_check(
    struct frame_assembly *assembly, struct etf_limits limits, uint64_t *budget, bool last);

#endif
