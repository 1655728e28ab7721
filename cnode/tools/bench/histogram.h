/* histogram: latencies counted so that percentiles are right to 0.2 %, whatever their range.
 *
 * HDR style: an octave of values (from a power of two to the next) is divided into 512 buckets of
 * equal width, so a bucket is never wider than 1/512 of what it holds; values below 1024 have a
 * bucket each. Recording is one increment. Nothing is allocated. */
#ifndef BRAIN_BENCH_HISTOGRAM_H
#define BRAIN_BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum {
    HISTOGRAM_BITS = 9,    /* of an octave: 512 buckets */
    HISTOGRAM_OCTAVES = 30 /* up to 2^39 ns, nine minutes; what is longer counts as that */
};
#define HISTOGRAM_BUCKETS ((HISTOGRAM_OCTAVES + 1) << HISTOGRAM_BITS)
#define HISTOGRAM_LIMIT   ((UINT64_C(1) << (HISTOGRAM_OCTAVES + HISTOGRAM_BITS)) - 1)

struct histogram {
    uint64_t count, least, most;
    double sum;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *histogram);

/* The bucket that holds `value`, and the largest value that it holds. */
size_t histogram_bucket(uint64_t value);
uint64_t histogram_bucket_end(size_t bucket);

void histogram_record(struct histogram *histogram, uint64_t value);

/* The value that the share `quantile` (0 to 1) of all recorded ones does not exceed: the end of its
 * bucket, but never above the largest recorded. 0 when nothing was recorded. */
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);
double histogram_mean(const struct histogram *histogram);

#endif
