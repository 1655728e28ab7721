/* linear: is a history of one register linearizable? (Wing & Gong's search with Lowe's memory of
 * what was tried.) Knows nothing of clusters: reads, writes, and losses that a promise allows. */
#ifndef BRAIN_SIM_LINEAR_H
#define BRAIN_SIM_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum linear_kind {
    LINEAR_READ,
    LINEAR_WRITE,
    /* At some time after its start the register may, once, fall back to one of `allowed`; where
     * there is `from`, only if it is one of those then. */
    LINEAR_LOSS,
};

struct linear_operation {
    enum linear_kind kind;
    uint32_t value;      /* read: what it returned; written: what; 0: absent */
    uint64_t start, end; /* end UINT64_MAX: nobody knows whether it took effect; a write may have */
    /* Operations of one sender (not 0) whose outcome is known take effect in the order of the
     * array; but a read that was answered after a later one was may have been done again. One of
     * unknown outcome may take effect at any time: an owner that lost its lease kept it as a copy.
     */
    uint32_t sender;
    const uint32_t *allowed; /* LINEAR_LOSS: values */
    size_t allowed_count;
    const uint32_t *from; /* or NULL: from any */
    size_t from_count;
};

enum linear_result { LINEAR_YES, LINEAR_NO, LINEAR_UNDECIDED };

/* The register is absent (0) at first; no value but 0 is written twice. UNDECIDED: not known after
 * looking at `states_limit` states; or more than 64 reads and writes are known to have happened, or
 * more than 64 writes and losses that
 * matter may have. */
enum linear_result linear_check(
    const struct linear_operation *operations, size_t count, size_t states_limit);

#endif
