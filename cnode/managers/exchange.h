/* exchange: one POST to etcd over the pool: a request with its whole answer, or the watch, whose
 * bytes are handed on as they come. */
#ifndef MANAGERS_EXCHANGE_H
#define MANAGERS_EXCHANGE_H

#include "brain/base.h"
#include "brain/curl_pool.h"
#include "session.h"

struct exchange {
    /* The owner's: it is over; `why` NULL: `body` is the answer. The exchange is no longer running
     * and may be started again. */
    void (*done)(struct exchange *exchange, const char *why);
    /* The owner's: bytes of the stream; false stops it. NULL: the answer is collected in `body`. */
    bool (*bytes)(struct exchange *exchange, struct slice bytes);
    void *context;
    struct buffer body;
    bool running;

    /* Private. */
    struct curl_transfer transfer;
    struct curl_slist *headers;
    bool too_big;
};

/* Starts it; `call` needs to live until it is over. False: out of memory; `done` is not called. */
bool exchange_start(struct curl_pool *pool, struct exchange *exchange, const char *url,
    const struct session_call *call);
/* Ends one that runs, without `done`; frees. Nothing to do: allowed. */
void exchange_end(struct curl_pool *pool, struct exchange *exchange);

#endif
