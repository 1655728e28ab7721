#include "workload.h"

#include <math.h>

#include "brain/base.h"

/* ---- values ---------------------------------------------------------------------------------- */

int values_init(struct values *values, uint64_t size)
{
    values->size = size;
    values->pattern = heap_allocate(2 * PATTERN_PERIOD + sizeof(uint64_t));
    if (values->pattern == NULL)
        return BRAIN_ENOMEM;
    for (size_t i = 0; i < PATTERN_PERIOD; i += sizeof(uint64_t)) {
        uint64_t word = value_stamp(UINT64_C(0x7061747465726e) + i);
        memcpy(values->pattern + i, &word, sizeof(word));
    }
    memcpy(values->pattern + PATTERN_PERIOD, values->pattern, PATTERN_PERIOD);
    return 0;
}

void values_release(struct values *values)
{
    heap_release(values->pattern);
    values->pattern = NULL;
}

void value_write(const struct values *values, uint64_t key, uint8_t *out)
{
    uint64_t stamp = value_stamp(key);
    uint64_t position = values->size < STAMP_BYTES ? values->size : STAMP_BYTES;
    memcpy(out, &stamp, (size_t)position);
    while (position < values->size) {
        uint64_t part = values->size - position;
        if (part > PATTERN_PERIOD)
            part = PATTERN_PERIOD;
        memcpy(out + position, value_pattern(values, stamp, position), (size_t)part);
        position += part;
    }
}

bool value_matches(const struct values *values, uint64_t key, uint64_t position,
    const uint8_t *bytes, uint64_t size)
{
    if (position > values->size || size > values->size - position)
        return false;
    uint64_t stamp = value_stamp(key);
    while (size > 0) {
        uint64_t part = position < STAMP_BYTES ? STAMP_BYTES - position : PATTERN_PERIOD;
        if (part > size)
            part = size;
        const uint8_t *expected = position < STAMP_BYTES ? (const uint8_t *)&stamp + position
                                                         : value_pattern(values, stamp, position);
        if (memcmp(bytes, expected, (size_t)part) != 0)
            return false;
        bytes += part;
        position += part;
        size -= part;
    }
    return true;
}

/* ---- ids ------------------------------------------------------------------------------------- */

const char id_pairs[200] = {"0001020304050607080910111213141516171819"
                            "2021222324252627282930313233343536373839"
                            "4041424344454647484950515253545556575859"
                            "6061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899"};

void id_write_zero(uint8_t *out, size_t size)
{
    memset(out, '0', size);
    if (size != 0)
        out[0] = 'k';
}

unsigned id_digits(uint64_t keys)
{
    unsigned digits = 1;
    for (uint64_t largest = keys - 1; largest >= 10; largest /= 10)
        digits++;
    return digits;
}

/* ---- keys ------------------------------------------------------------------------------------
 *
 * Zipf by rejection-inversion: W. Hörmann, G. Derflinger, "Rejection-inversion to generate variates
 * from monotone discrete distributions", 1996. Exact, any number of keys, no table. Here h(x) is
 * x^-exponent, H its integral, and `area` runs over H. */

/* log1p(x) / x and expm1(x) / x, whole also around 0: exponents close to 1 go through there. */
static double log1p_over(double x)
{
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x * (0.5 - x / 3);
}

static double expm1_over(double x)
{
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2 * (1 + x / 3);
}

static double zipf_integral(double exponent, double x)
{
    double log_x = log(x);
    return expm1_over((1 - exponent) * log_x) * log_x;
}

static double zipf_integral_inverse(double exponent, double area)
{
    double t = area * (1 - exponent);
    return exp(log1p_over(t < -1 ? -1 : t) * area);
}

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void keys_init(struct keys *keys, uint64_t count, enum distribution distribution, double exponent,
    uint64_t seed)
{
    *keys = (struct keys){.count = count,
        .distribution = distribution,
        .random = value_stamp(~seed),
        .exponent = exponent};
    keys->area_begin = zipf_integral(exponent, 1.5) - 1;
    keys->area_end = zipf_integral(exponent, (double)count + 0.5);
    keys->shortcut =
        2 - zipf_integral_inverse(exponent, zipf_integral(exponent, 2.5) - pow(2, -exponent));
    /* The golden section scatters neighbours far; a step without a common divisor reaches all. */
    keys->step = (uint64_t)((double)count * 0.6180339887);
    while (keys->step == 0 || greatest_common_divisor(keys->step, count) != 1)
        keys->step++;
}

uint64_t keys_zipf_rank(struct keys *keys)
{
    for (;;) {
        double share = (double)(keys_random(keys) >> 11) * 0x1p-53;
        double area = keys->area_end + share * (keys->area_begin - keys->area_end);
        double x = zipf_integral_inverse(keys->exponent, area);
        double rank = floor(x + 0.5);
        if (rank < 1)
            rank = 1;
        if (rank > (double)keys->count)
            rank = (double)keys->count;
        if (rank - x <= keys->shortcut ||
            area >= zipf_integral(keys->exponent, rank + 0.5) - pow(rank, -keys->exponent))
            return (uint64_t)rank - 1;
    }
}

uint64_t keys_of_rank(const struct keys *keys, uint64_t rank)
{
    if (keys->count <= UINT32_MAX)
        return rank * keys->step % keys->count;
    return (uint64_t)((unsigned __int128)rank * keys->step % keys->count);
}
