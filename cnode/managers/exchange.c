#include "exchange.h"

#include <stdio.h>
#include <string.h>

static size_t on_body(char *data, size_t one, size_t size, void *context)
{
    struct exchange *exchange = context;
    (void)one;
    if (exchange->bytes != NULL)
        return exchange->bytes(exchange, slice_of(data, size)) ? size : 0;
    exchange->too_big = exchange->body.size + size > ANSWER_LIMIT;
    if (exchange->too_big)
        return 0;
    buffer_append(&exchange->body, data, size);
    return buffer_status(&exchange->body) == 0 ? size : 0;
}

/* The answer of a request is judged by its content: an error comes as JSON, whatever its status. */
static void on_done(struct curl_transfer *transfer, CURLcode result)
{
    struct exchange *exchange = transfer->context;
    char why[CURL_ERROR_SIZE + 32];
    exchange->running = false;
    if (result == CURLE_OK && exchange->bytes == NULL) {
        exchange->done(exchange, NULL);
        return;
    }
    snprintf(why, sizeof(why), "%s",
        exchange->too_big    ? "the answer is larger than allowed"
        : result == CURLE_OK ? "the stream ended"
                             : curl_transfer_text(transfer, result));
    exchange->done(exchange, why);
}

static bool add_header(struct exchange *exchange, const char *line)
{
    struct curl_slist *headers = curl_slist_append(exchange->headers, line);
    if (headers == NULL)
        return false;
    exchange->headers = headers;
    return true;
}

static bool set_up(struct exchange *exchange, const char *url, const struct session_call *call)
{
    CURL *easy = exchange->transfer.easy;
    char line[ANSWER_TOKEN + 64];
    bool good =
        add_header(exchange, "Content-Type: application/json") && add_header(exchange, "Expect:");
    if (call->token[0] != '\0') {
        snprintf(line, sizeof(line), "Authorization: %s", call->token);
        good = good && add_header(exchange, line);
        explicit_bzero(line, sizeof(line));
    }
    snprintf(line, sizeof(line), "%s%s", url, call->path);
    if (!good || curl_easy_setopt(easy, CURLOPT_URL, line) != CURLE_OK)
        return false;
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)call->body.size);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body.data);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "brain/" BRAIN_VERSION);
    /* Managers are near: a proxy that the environment names for the world is not for them. */
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    /* The time limit of the whole says how long etcd may be silent: a password takes it a while. */
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 0L);
    if (exchange->bytes != NULL) {
        /* Silence is what a watch is for; the machine at the other end is asked whether it lives.
         */
        curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 5L);
        curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
    }
    return true;
}

bool exchange_start(struct curl_pool *pool, struct exchange *exchange, const char *url,
    const struct session_call *call)
{
    exchange_end(pool, exchange);
    exchange->too_big = false;
    buffer_clear(&exchange->body);
    exchange->transfer.done = on_done;
    exchange->transfer.context = exchange;
    /* A watch has no end: thirty years. */
    uint64_t timeout_ms = call->timeout_ms != 0 ? call->timeout_ms : UINT64_C(946728000000);
    exchange->running = curl_transfer_prepare(pool, &exchange->transfer) &&
                        set_up(exchange, url, call) &&
                        curl_transfer_start(pool, &exchange->transfer, timeout_ms);
    if (!exchange->running)
        exchange_end(pool, exchange);
    return exchange->running;
}

void exchange_end(struct curl_pool *pool, struct exchange *exchange)
{
    exchange->running = false;
    curl_transfer_end(pool, &exchange->transfer);
    curl_slist_free_all(exchange->headers);
    exchange->headers = NULL;
}
