/* tcp: what plain TCP over loopback moves: messages of --size bytes in one direction, nothing
 * asked, nothing answered, nothing checked. The bound for large values. */
#ifndef BRAIN_BENCH_TCP_H
#define BRAIN_BENCH_TCP_H

#include "link.h"
#include "result.h"

/* The other ends are child processes, one for each connection; "server" is their CPU time. 0, or -1
 * with a sentence. */
int tcp_run(const struct options *options, struct result *result, char sentence[SENTENCE_LIMIT]);

#endif
