/* options: what the command line asks for, checked. */
#ifndef BRAIN_BENCH_OPTIONS_H
#define BRAIN_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "workload.h"

enum {
    IN_FLIGHT_LIMIT = 16384, /* per connection */
    CONNECTIONS_LIMIT = 10000,
    BARRIER_LIMIT = 4096,
    VALUE_LIMIT = 1 << 30,
    COOKIE_LIMIT = 255,
};

struct protocol; /* protocol.h */

struct options {
    const char *target;
    const struct protocol *protocol;
    bool peer_is_ei;
    const char *registered_name;
    char cookie[COOKIE_LIMIT + 1]; /* empty: of cookie_file */
    const char *cookie_file;       /* NULL: ~/.erlang.cookie */

    enum work work;
    bool acknowledged; /* erlang: sets are answered */
    bool noreply;      /* memcached: sets are not */
    bool classic_get;  /* memcached: get, not mg */
    uint32_t reads;    /* percent of mixed */
    uint32_t barrier;
    uint64_t size, keys, seed;
    uint32_t id_bytes;
    enum distribution distribution;
    double zipf_exponent;

    uint32_t connections, in_flight; /* in_flight: of each connection */
    double rate; /* per second, all connections together; 0: as fast as answers come */
    double seconds, warmup;
    uint64_t operations; /* 0: until `seconds` are over */
    double timeout;      /* s without an answer */

    pid_t server_pid; /* 0: none */
    int server_cpu;   /* of the tcp protocol's server; -1: any */
    const char *json; /* NULL: none; "-": standard output */
    bool progress;
};

/* Parses the command line. Prints a sentence and exits with 2 where it is wrong; --help and
 * --version print and exit with 0. */
void options_parse(struct options *options, int argc, char **argv);

const char *work_name(enum work work);
const char *distribution_name(enum distribution distribution);

#endif
