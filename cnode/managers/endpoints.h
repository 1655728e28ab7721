/* endpoints: the servers, tried in turn: the next one at once after a failure, and a pause, which
 * doubles, after each round in which all failed. One that answers is kept. */
#ifndef MANAGERS_ENDPOINTS_H
#define MANAGERS_ENDPOINTS_H

#include "brain/base.h"

enum {
    ENDPOINTS_LIMIT = 16,
    ENDPOINT_TEXT = 320, /* "https://host:port", with its NUL */
    ENDPOINTS_PAUSE_MIN_MS = 100,
    /* Short: the service is back soon after etcd is, and a refused connection costs nothing. */
    ENDPOINTS_PAUSE_MAX_MS = 1000,
};

struct endpoints {
    char urls[ENDPOINTS_LIMIT][ENDPOINT_TEXT];
    unsigned count;
};

/* Reads a comma list of http:// and https:// URLs without a path (a slash at the end is allowed).
 * 0, or BRAIN_ECONFIG with a sentence in `why`. */
int endpoints_parse(struct endpoints *endpoints, const char *list, char *why, size_t why_size);

/* One way through them. */
struct endpoint_turn {
    unsigned at;       /* which one */
    unsigned failures; /* in a row */
    uint64_t again_ms; /* not before */
};

void endpoint_succeeded(struct endpoint_turn *turn);
/* `random`: any number, for the jitter of ±25 %. */
void endpoint_failed(struct endpoint_turn *turn, unsigned count, uint64_t now_ms, uint64_t random);

#endif
