/* workload: which keys are asked for, how they are written as ids, and what their values must be.
 *
 * Pure. A value is a function of its key's number and the size alone, so that every answer is
 * checked without keeping what was stored:
 *
 *   byte 0..7    the stamp: the key's number, mixed
 *   byte p >= 8  pattern[(o + p) % PATTERN_PERIOD], o the first 12 bits of the stamp
 *
 * The pattern is random bytes, the same for every key: a check is one comparison of 8 bytes and a
 * memcmp, a large value is sent out of it by reference. Its period is a prime, so that a page or a
 * fragment in the wrong place does not look right. */
#ifndef BRAIN_BENCH_WORKLOAD_H
#define BRAIN_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    STAMP_BYTES = 8,
    PATTERN_PERIOD = 65521,
    ID_BYTES_LIMIT = 250, /* memcached's; Brain's is 1024 */
    ID_DIGITS = 20,       /* of 64 bits, in decimal */
};

enum work { WORK_GET, WORK_SET, WORK_MIXED, WORK_FILL };
enum distribution { DISTRIBUTION_UNIFORM, DISTRIBUTION_ZIPF };

/* ---- values ---------------------------------------------------------------------------------- */

struct values {
    uint64_t size;
    uint8_t *pattern; /* two periods, so that a period may begin anywhere in the first */
};

/* The stamp of a key: splitmix64's finisher, a bijection. */
static inline uint64_t value_stamp(uint64_t key)
{
    uint64_t z = (key + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

int values_init(struct values *values, uint64_t size); /* 0 or BRAIN_ENOMEM */
void values_release(struct values *values);

/* Where the value's bytes from `position` (>= STAMP_BYTES) on lie; a period of them may be read. */
static inline const uint8_t *value_pattern(
    const struct values *values, uint64_t stamp, uint64_t position)
{
    return values->pattern + ((stamp >> 52) + position) % PATTERN_PERIOD;
}

/* Writes the whole value. */
void value_write(const struct values *values, uint64_t key, uint8_t *out);

/* Are these the bytes of the key's value from `position` on? False also when they are more than it
 * has. */
bool value_matches(const struct values *values, uint64_t key, uint64_t position,
    const uint8_t *bytes, uint64_t size);

/* The same of a whole value, for small ones in a hurry. */
static inline bool value_is(const struct values *values, uint64_t key, const uint8_t *bytes)
{
    if (values->size < STAMP_BYTES || values->size > PATTERN_PERIOD)
        return value_matches(values, key, 0, bytes, values->size);
    uint64_t stamp = value_stamp(key);
    return memcmp(bytes, &stamp, STAMP_BYTES) == 0 &&
           memcmp(bytes + STAMP_BYTES, value_pattern(values, stamp, STAMP_BYTES),
               (size_t)values->size - STAMP_BYTES) == 0;
}

/* ---- ids ------------------------------------------------------------------------------------- */

/* An id is `k`, zeros, and the key's number in decimal, in `size` bytes. Writes the id of key 0. */
void id_write_zero(uint8_t *out, size_t size);
unsigned id_digits(uint64_t keys); /* of the largest number below `keys`, at least 1 */

/* Writes the last `digits` bytes of an id; `end` is behind them. */
static inline void id_write_digits(uint8_t *end, uint64_t key, unsigned digits)
{
    extern const char id_pairs[200];
    for (; digits >= 2; digits -= 2, key /= 100)
        memcpy(end -= 2, id_pairs + 2 * (key % 100), 2);
    if (digits != 0)
        end[-1] = (uint8_t)('0' + key % 10);
}

/* ---- keys ------------------------------------------------------------------------------------ */

struct keys {
    uint64_t count;
    enum distribution distribution;
    uint64_t random; /* splitmix64 */
    /* Of zipf. */
    double exponent, area_begin, area_end, shortcut;
    uint64_t step; /* ranks are scattered over the keys: rank * step % count */
};

void keys_init(struct keys *keys, uint64_t count, enum distribution distribution, double exponent,
    uint64_t seed);

static inline uint64_t keys_random(struct keys *keys)
{
    return value_stamp(keys->random++);
}

/* A rank from 0, the most frequent, to count - 1. Uniform: any. */
uint64_t keys_zipf_rank(struct keys *keys);
uint64_t keys_of_rank(const struct keys *keys, uint64_t rank);

/* The next key to ask for. */
static inline uint64_t keys_next(struct keys *keys)
{
    if (keys->distribution == DISTRIBUTION_ZIPF)
        return keys_of_rank(keys, keys_zipf_rank(keys));
    return (uint64_t)((unsigned __int128)keys_random(keys) * keys->count >> 64);
}

#endif
