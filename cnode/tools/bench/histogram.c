#include "histogram.h"

#include <string.h>

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
    histogram->least = UINT64_MAX;
}

size_t histogram_bucket(uint64_t value)
{
    if (value > HISTOGRAM_LIMIT)
        value = HISTOGRAM_LIMIT;
    /* The value's first 1 + HISTOGRAM_BITS binary digits, and how many follow them. */
    unsigned digits = 64u - (unsigned)__builtin_clzll(value | 1);
    unsigned cut = digits > HISTOGRAM_BITS + 1 ? digits - (HISTOGRAM_BITS + 1) : 0;
    return ((size_t)cut << HISTOGRAM_BITS) + (size_t)(value >> cut);
}

uint64_t histogram_bucket_end(size_t bucket)
{
    size_t octave = bucket >> HISTOGRAM_BITS;
    unsigned cut = octave > 1 ? (unsigned)octave - 1 : 0;
    uint64_t first = (uint64_t)(bucket - ((size_t)cut << HISTOGRAM_BITS));
    return ((first + 1) << cut) - 1;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[histogram_bucket(value)]++;
    histogram->count++;
    histogram->sum += (double)value;
    if (value < histogram->least)
        histogram->least = value;
    if (value > histogram->most)
        histogram->most = value;
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    /* The rank of the value that is asked for, from 1. */
    double exact = quantile * (double)histogram->count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0)
        rank++;
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= rank && histogram->buckets[i] != 0) {
            uint64_t end = histogram_bucket_end(i);
            return end < histogram->most && i + 1 < HISTOGRAM_BUCKETS ? end : histogram->most;
        }
    }
    return histogram->most;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count != 0 ? histogram->sum / (double)histogram->count : 0;
}
