/* What the two random models of the store share: a generator, ids, and how seeds are run. */
#ifndef BRAIN_TEST_RANDOM_MODEL_H
#define BRAIN_TEST_RANDOM_MODEL_H

#include <check.h>

#include "brain/base.h"

/* A failure prints the seed of `model`, which replays it.
 *
 * Not ck_assert_msg: that writes a note of every place passed, also of those where all is well, and
 * reading back a million of them took most of the test's time. */
#define expect(model, condition)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("MODEL_SEED=%llu: %s: line %d: %s", (unsigned long long)(model)->seed,    \
                __FILE__, __LINE__, #condition);                                                   \
    } while (0)

/* The next of the numbers that follow from `random`: 0 to sides - 1. */
uint32_t next_roll(uint64_t *random, uint32_t sides);

struct slice id_of(unsigned id, char text[16]);
unsigned index_of(struct slice id);

/* One history of `steps` steps. `faults`: an allocation may fail. */
typedef void model_run(uint64_t seed, unsigned steps, bool faults);

/* Runs the seeds from 1 to `seeds`; with MODEL_SEED=n that one alone, with MODEL_SEEDS=n so many.
 * Returns false when it was one alone. */
bool run_seeds(model_run *run, uint64_t seeds, unsigned steps);
/* Runs each seed again and again, with another allocation that fails each time. */
void run_without_memory(model_run *run, uint64_t seeds, unsigned steps);

#endif
