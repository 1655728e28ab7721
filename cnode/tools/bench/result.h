/* result: what a run found out, and how it is told. */
#ifndef BRAIN_BENCH_RESULT_H
#define BRAIN_BENCH_RESULT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "histogram.h"
#include "options.h"

struct result {
    double seconds;
    uint64_t operations, errors, value_bytes;
    const struct histogram *latency;
    double client_cpu_us; /* in total */
    bool has_server;
    double server_cpu_us; /* in total */
    uint64_t server_rss_before, server_rss;
    double late_mean_us, late_most_us; /* at a fixed rate: how late requests were sent */
};

void result_print(const struct result *result, const struct options *options, FILE *out);
/* Writes one line of JSON to options->json. 0, or an errno. */
int result_write_json(const struct result *result, const struct options *options);

#endif
