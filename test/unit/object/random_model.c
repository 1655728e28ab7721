#include "random_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap_fault.h"

uint32_t next_roll(uint64_t *random, uint32_t sides)
{
    *random = *random * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*random >> 33) % sides;
}

struct slice id_of(unsigned id, char text[16])
{
    return slice_of(text, (size_t)snprintf(text, 16, "key-%u", id));
}

unsigned index_of(struct slice id)
{
    char text[16] = {0};
    memcpy(text, id.data, id.size);
    return (unsigned)atoi(text + 4);
}

bool run_seeds(model_run *run, uint64_t seeds, unsigned steps)
{
    const char *only = getenv("MODEL_SEED"), *wanted = getenv("MODEL_SEEDS");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only ? first : wanted ? strtoull(wanted, NULL, 10) : seeds;
    for (uint64_t seed = first; seed <= last; seed++) {
        heap_fault_start(0);
        run(seed, steps, false);
        heap_fault_stop();
    }
    return !only;
}

void run_without_memory(model_run *run, uint64_t seeds, unsigned steps)
{
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        unsigned n = 1;
        for (bool reached = true; reached; n++) {
            heap_fault_start(n);
            run(seed, steps, true);
            reached = heap_fault_stop();
        }
        ck_assert_uint_gt(n, 20);
    }
}
