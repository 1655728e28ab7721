/* random: all chance of a simulation comes from here, and all of it from the seed. */
#ifndef BRAIN_SIM_RANDOM_H
#define BRAIN_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

/* splitmix64 */
static inline uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
/* 0 <= result < limit; limit 0: 0 */
static inline uint64_t random_below(struct random *random, uint64_t limit)
{
    return limit == 0 ? 0 : (random_next(random) >> 11) % limit;
}
static inline uint64_t random_between(struct random *random, uint64_t low, uint64_t high)
{
    return low + random_below(random, high - low + 1);
}
static inline bool random_chance(struct random *random, uint32_t of_1000)
{
    return random_below(random, 1000) < of_1000;
}

#endif
