/* dial: making connections: host names, epmd, connect(2), the cookie. All of it blocks, with time
 * limits; it happens before anything is measured. */
#ifndef BRAIN_BENCH_DIAL_H
#define BRAIN_BENCH_DIAL_H

#include <netinet/in.h>

#include "link.h"

enum { DIAL_TIMEOUT_MS = 10000 };

/* Where the target is, found once for all links. */
struct destination {
    struct sockaddr_storage address;
    socklen_t address_size;
};

/* Resolves TARGET: HOST:PORT, or for Erlang NAME@HOST through the epmd of HOST (of ERL_EPMD_PORT
 * where that is set). 0, or -1 with a sentence. */
int destination_find(
    struct destination *destination, const struct options *options, char sentence[SENTENCE_LIMIT]);

/* Connects link->fd: blocking, with time limits, without delay for small packets. 0 or -1. */
int dial_connect(struct link *link, const struct destination *destination);

/* Finds the cookie: of --cookie, of --cookie-file, of ~/.erlang.cookie. 0, or -1 with a sentence.
 */
int dial_cookie(struct options *options, char sentence[SENTENCE_LIMIT]);

#endif
