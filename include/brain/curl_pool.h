/* curl_pool: transfers of libcurl, many at once on one thread, over connections that are kept. What
 * the drivers of network stores and the managers share.
 *
 *   prepare -> set what this transfer needs on transfer->easy -> start -> ... done() -> end
 *
 * All from one thread but curl_pool_wake. */
#ifndef BRAIN_CURL_POOL_H
#define BRAIN_CURL_POOL_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

struct curl_pool; /* opaque: curl_pool.c */

struct curl_pool_options {
    unsigned connections;        /* kept open while idle, and handles kept */
    const char *protocols;       /* as CURLOPT_PROTOCOLS_STR: "http,https" */
    const char *ca_file;         /* "" or NULL: the system's certificates */
    const char *cert_file;       /* PEM, of this client; "" or NULL: none */
    const char *key_file;        /* PEM, to it; "" or NULL: it is in cert_file */
    uint64_t connect_timeout_ms; /* for a connection to be made, TLS included */
    uint64_t stall_timeout_ms;   /* a transfer without a byte for so long fails; rounded up to s */
};

/* One transfer; zeroed by its owner, who keeps it in place from prepare to end. */
struct curl_transfer {
    CURL *easy; /* after prepare */
    /* The transfer is over, also when it failed; may prepare, start and end any transfer, this one
     * too. */
    void (*done)(struct curl_transfer *transfer, CURLcode result);
    void *context;               /* the owner's own */
    char error[CURL_ERROR_SIZE]; /* what libcurl has to say about a failure; may be "" */
    bool running;                /* private */
};

/* The strings of `options` must outlive the pool. NULL: out of memory. */
struct curl_pool *curl_pool_create(const struct curl_pool_options *options);
void curl_pool_destroy(struct curl_pool *pool); /* every transfer has ended; NULL is allowed */

/* Gives the transfer a handle with everything at its default but: the pool's options, no signals,
 * no redirects followed, `error` connected. Ends it first if need be. False: out of memory. */
bool curl_transfer_prepare(struct curl_pool *pool, struct curl_transfer *transfer);
/* Starts it; over after `timeout_ms` at the latest. `done` is called out of curl_pool_run, never
 * from here. False: out of memory, and `done` will not be called. */
bool curl_transfer_start(
    struct curl_pool *pool, struct curl_transfer *transfer, uint64_t timeout_ms);
/* Gives the handle back; one that runs is cancelled, without `done`. Nothing to do: allowed. */
void curl_transfer_end(struct curl_pool *pool, struct curl_transfer *transfer);

/* Waits for something to happen, at most `timeout_ms`, and calls `done` of what is over. */
void curl_pool_run(struct curl_pool *pool, int timeout_ms);
/* Ends the curl_pool_run that waits, or else the next one; from any thread. */
void curl_pool_wake(struct curl_pool *pool);

/* Why, in words: the transfer's own, or libcurl's for the code. */
const char *curl_transfer_text(const struct curl_transfer *transfer, CURLcode result);

#endif
