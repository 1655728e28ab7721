/* curl_pool: a libcurl multi handle, and the easy handles that are not in use. A handle is reset
 * between transfers, which keeps what it knows of hosts and TLS sessions; connections belong to the
 * multi handle. */
#include "brain/curl_pool.h"

#include "brain/base.h"

struct curl_pool {
    CURLM *multi;
    struct curl_pool_options options;
    unsigned idle_count;
    CURL *idle[]; /* options.connections of them */
};

struct curl_pool *curl_pool_create(const struct curl_pool_options *options)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return NULL;
    struct curl_pool *pool =
        heap_allocate_zeroed(sizeof(*pool) + options->connections * sizeof(pool->idle[0]));
    CURLM *multi = pool == NULL ? NULL : curl_multi_init();
    if (multi == NULL) {
        heap_release(pool);
        curl_global_cleanup();
        return NULL;
    }
    pool->options = *options;
    pool->multi = multi;
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)options->connections);
    /* One transfer per connection: a slow one must not hold up others. */
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    return pool;
}

void curl_pool_destroy(struct curl_pool *pool)
{
    if (pool == NULL)
        return;
    while (pool->idle_count > 0)
        curl_easy_cleanup(pool->idle[--pool->idle_count]);
    curl_multi_cleanup(pool->multi);
    heap_release(pool);
    curl_global_cleanup();
}

static bool set_file(CURL *easy, CURLoption option, const char *path)
{
    return path == NULL || path[0] == '\0' || curl_easy_setopt(easy, option, path) == CURLE_OK;
}

bool curl_transfer_prepare(struct curl_pool *pool, struct curl_transfer *transfer)
{
    const struct curl_pool_options *options = &pool->options;
    curl_transfer_end(pool, transfer);
    CURL *easy = pool->idle_count > 0 ? pool->idle[--pool->idle_count] : curl_easy_init();
    if (easy == NULL)
        return false;
    curl_easy_reset(easy);
    transfer->easy = easy;
    transfer->error[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)options->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(
        easy, CURLOPT_LOW_SPEED_TIME, (long)((options->stall_timeout_ms + 999) / 1000));
    if (curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, options->protocols) != CURLE_OK ||
        !set_file(easy, CURLOPT_CAINFO, options->ca_file) ||
        !set_file(easy, CURLOPT_SSLCERT, options->cert_file) ||
        !set_file(easy, CURLOPT_SSLKEY, options->key_file)) {
        curl_transfer_end(pool, transfer);
        return false;
    }
    return true;
}

bool curl_transfer_start(
    struct curl_pool *pool, struct curl_transfer *transfer, uint64_t timeout_ms)
{
    /* 0 would be: for ever. */
    curl_easy_setopt(transfer->easy, CURLOPT_TIMEOUT_MS, (long)(timeout_ms == 0 ? 1 : timeout_ms));
    transfer->running = curl_multi_add_handle(pool->multi, transfer->easy) == CURLM_OK;
    return transfer->running;
}

void curl_transfer_end(struct curl_pool *pool, struct curl_transfer *transfer)
{
    if (transfer->easy == NULL)
        return;
    if (transfer->running)
        curl_multi_remove_handle(pool->multi, transfer->easy);
    transfer->running = false;
    if (pool->idle_count < pool->options.connections) {
        /* Now, not when it is used again: what it points to may be gone. */
        curl_easy_reset(transfer->easy);
        pool->idle[pool->idle_count++] = transfer->easy;
    } else {
        curl_easy_cleanup(transfer->easy);
    }
    transfer->easy = NULL;
}

void curl_pool_run(struct curl_pool *pool, int timeout_ms)
{
    int running, left;
    CURLMsg *message;
    curl_multi_perform(pool->multi, &running);
    /* libcurl shortens the wait where one of its own timers is due sooner; but a transfer that was
     * over at once is not a reason to wait. */
    message = curl_multi_info_read(pool->multi, &left);
    if (message == NULL) {
        curl_multi_poll(pool->multi, NULL, 0, timeout_ms, NULL);
        curl_multi_perform(pool->multi, &running);
        message = curl_multi_info_read(pool->multi, &left);
    }
    for (; message != NULL; message = curl_multi_info_read(pool->multi, &left)) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode result = message->data.result;
        struct curl_transfer *transfer = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        curl_multi_remove_handle(pool->multi, transfer->easy);
        transfer->running = false;
        transfer->done(transfer, result);
    }
}

void curl_pool_wake(struct curl_pool *pool)
{
    curl_multi_wakeup(pool->multi);
}

const char *curl_transfer_text(const struct curl_transfer *transfer, CURLcode result)
{
    return transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(result);
}
