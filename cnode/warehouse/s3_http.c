/* s3_http: what libcurl is told, and what is kept of what comes back.
 *
 * libcurl signs (7.88 was measured), with these rules around it:
 * - it adds no x-amz-content-sha256, so it is always given;
 * - path and query are signed as they are, so they are encoded canonically here and left alone;
 * - every header given to it is signed, also one that is only there to remove a default one: none
 *   is removed. A PUT goes out as a POST of another name: that sends no `Expect` below 1 MB;
 * - headers are sorted by whole lines, so no name may be the beginning of another one. */
#include "s3_http.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
    HEADERS_LIMIT = 64 * 1024,  /* bytes of an answer's headers */
    IGNORED_LIMIT = 256 * 1024, /* bytes of an error's body that are read to keep the connection */
    FIRST_GROWTH = 1 << 20, /* no promise of a length makes us allocate more than this at once */
    BASE_LIMIT = sizeof(((struct s3_client *)0)->base),
};

/* ---- client ---------------------------------------------------------------------------------- */

static int refuse(char why[WAREHOUSE_TEXT], const char *sentence)
{
    snprintf(why, WAREHOUSE_TEXT, "%s", sentence);
    return BRAIN_ECONFIG;
}

static bool is_made_of(const char *text, const char *characters)
{
    return text[0] != '\0' && text[strspn(text, characters)] == '\0';
}

static int make_base(
    struct s3_client *client, const struct s3_options *options, char why[WAREHOUSE_TEXT])
{
    char endpoint[512];
    int size =
        options->endpoint[0] != '\0'
            ? snprintf(endpoint, sizeof(endpoint), "%s", options->endpoint)
            : snprintf(endpoint, sizeof(endpoint), "https://s3.%s.amazonaws.com", options->region);
    if ((size_t)size >= sizeof(endpoint))
        return refuse(why, "s3_endpoint is too long");
    while (size > 0 && endpoint[size - 1] == '/')
        endpoint[--size] = '\0';
    client->encrypted = strncmp(endpoint, "https://", 8) == 0;
    const char *host = client->encrypted ? endpoint + 8 : endpoint + 7;
    if ((!client->encrypted && strncmp(endpoint, "http://", 7) != 0) || host[0] == '\0' ||
        strpbrk(endpoint, "@?# \"\\%") != NULL || strchr(host, '/') != NULL)
        return refuse(why, "s3_endpoint must look like https://host or http://host:port");
    size = options->path_style
               ? snprintf(client->base, BASE_LIMIT, "%s/%s/", endpoint, options->bucket)
               : snprintf(client->base, BASE_LIMIT, "%s://%s.%s/",
                     client->encrypted ? "https" : "http", options->bucket, host);
    return (size_t)size < BASE_LIMIT ? 0 : refuse(why, "s3_bucket is too long");
}

int s3_client_open(
    struct s3_client *client, const struct s3_options *options, char why[WAREHOUSE_TEXT])
{
    static const char lower[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    char bucket_characters[80];
    memset(client, 0, sizeof(*client));
    snprintf(bucket_characters, sizeof(bucket_characters), "%s._ABCDEFGHIJKLMNOPQRSTUVWXYZ", lower);
    if (options->bucket[0] == '\0')
        return refuse(why, "s3_bucket is not set");
    if (!is_made_of(options->bucket, bucket_characters) || strlen(options->bucket) > 255)
        return refuse(why, "s3_bucket is not the name of a bucket");
    if (!is_made_of(options->region, lower) || strlen(options->region) > 64)
        return refuse(why, "s3_region is not the name of a region");
    snprintf(client->signing, sizeof(client->signing), "aws:amz:%s:s3", options->region);
    int status = make_base(client, options, why);
    if (status != 0 || (status = aws_source_open(&client->source, options, why)) != 0)
        return status;
    struct curl_pool_options pool_options = {
        .connections = options->parallel + 2, /* the probe has two of its own */
        .protocols = client->encrypted ? "https" : "http",
        .ca_file = client->ca_file,
        .connect_timeout_ms = options->connect_timeout_ms,
        .stall_timeout_ms = options->stall_timeout_ms,
    };
    if (strlen(options->ca_file) >= sizeof(client->ca_file))
        return refuse(why, "s3_ca_file is too long");
    if (options->ca_file[0] != '\0' && access(options->ca_file, R_OK) != 0) {
        char text[128];
        snprintf(why, WAREHOUSE_TEXT, "s3_ca_file %.200s cannot be read: %s", options->ca_file,
            strerror_r(errno, text, sizeof(text)));
        return BRAIN_ECONFIG;
    }
    strcpy(client->ca_file, options->ca_file);
    client->pool = curl_pool_create(&pool_options);
    if (client->pool == NULL) {
        snprintf(why, WAREHOUSE_TEXT, "%s", error_sentence(BRAIN_ENOMEM));
        return BRAIN_ENOMEM;
    }
    return 0;
}

void s3_client_close(struct s3_client *client)
{
    curl_pool_destroy(client->pool);
    client->pool = NULL;
    aws_source_close(&client->source);
}

bool s3_client_refresh(struct s3_client *client)
{
    if (!aws_source_refresh(&client->source))
        return false;
    client->generation++;
    return true;
}

/* ---- what comes back --------------------------------------------------------------------------
 */

static size_t on_header(char *data, size_t one, size_t size, void *context)
{
    struct s3_exchange *exchange = context;
    (void)one;
    exchange->header_bytes += size;
    if (exchange->header_bytes > HEADERS_LIMIT) {
        exchange->too_big = true;
        return 0;
    }
    if (size >= 5 && strncasecmp(data, "HTTP/", 5) == 0)
        exchange->etag[0] = '\0'; /* of an answer before this one: 100 Continue */
    else if (size >= 5 && strncasecmp(data, "etag:", 5) == 0)
        s3_etag_read(slice_of(data + 5, size - 5), exchange->etag);
    return size;
}

/* What the answer says of the length of its body; 0: nothing. */
static uint64_t promised_bytes(const struct s3_exchange *exchange)
{
    curl_off_t promised = -1;
    curl_easy_getinfo(exchange->transfer.easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &promised);
    return promised > 0 ? (uint64_t)promised : 0;
}

/* Makes room for `size` bytes of body in all. */
static bool make_room(struct s3_exchange *exchange, size_t size)
{
    uint64_t promised = promised_bytes(exchange);
    size_t have = exchange->body == NULL ? 0 : exchange->body->size;
    if (size <= have)
        return true;
    size_t wanted = have * 2 < FIRST_GROWTH ? FIRST_GROWTH : have * 2;
    if (promised > 0 && promised < wanted)
        wanted = (size_t)promised;
    if (wanted < size)
        wanted = size;
    struct block *body =
        exchange->body == NULL ? block_create(wanted) : block_resize(exchange->body, wanted);
    if (body == NULL)
        return false;
    exchange->body = body;
    return true;
}

static size_t on_body(char *data, size_t one, size_t size, void *context)
{
    struct s3_exchange *exchange = context;
    long status = 0;
    (void)one;
    curl_easy_getinfo(exchange->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299 || exchange->call.method != S3_GET) {
        size_t room = S3_FAULT_LIMIT - exchange->fault_size;
        size_t kept = size < room ? size : room;
        memcpy(exchange->fault + exchange->fault_size, data, kept);
        exchange->fault_size += kept;
        exchange->ignored_bytes += size;
        exchange->too_big = exchange->ignored_bytes > IGNORED_LIMIT;
        return exchange->too_big ? 0 : size;
    }
    size_t limit = exchange->call.limit, taken = size;
    bool is_more = size > limit - exchange->body_size;
    if (!exchange->call.first_bytes && (is_more || promised_bytes(exchange) > limit)) {
        exchange->too_big = true;
        return 0;
    }
    if (is_more) {
        /* A store that does not know ranges sends everything. */
        exchange->enough = true;
        taken = limit - exchange->body_size;
    }
    if (taken == 0 || !make_room(exchange, exchange->body_size + taken))
        return 0;
    memcpy(exchange->body->bytes + exchange->body_size, data, taken);
    exchange->body_size += taken;
    return taken;
}

/* Could the store have seen the request? */
static bool is_before_sending(CURLcode result)
{
    switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_OUT_OF_MEMORY:
        return true;
    default:
        return false;
    }
}

static const char *const method_names[] = {"GET", "PUT", "DELETE"};

static void judge_answer(struct s3_exchange *exchange)
{
    char code[S3_CODE_LIMIT + 1], message[S3_MESSAGE_LIMIT + 1];
    struct slice fault = slice_of(exchange->fault, exchange->fault_size);
    long status = 0;
    curl_easy_getinfo(exchange->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
    exchange->status = status;
    s3_xml_text(fault, "Code", code, S3_CODE_LIMIT);
    s3_xml_text(fault, "Message", message, S3_MESSAGE_LIMIT);
    exchange->outcome = s3_outcome_of(status, code);
    if (exchange->outcome == S3_DONE)
        return;
    const char *hint = s3_hint(code);
    const char *more = hint[0] != '\0' ? hint : message;
    snprintf(exchange->error, sizeof(exchange->error), "%.200s: %s was answered %ld%s%s%s%s",
        exchange->base, method_names[exchange->call.method], status, code[0] != '\0' ? " " : "",
        code, more[0] != '\0' ? ": " : "", more);
}

static void judge_failure(struct s3_exchange *exchange, CURLcode result)
{
    exchange->outcome = S3_AGAIN;
    exchange->not_sent = is_before_sending(result);
    if (exchange->too_big) {
        exchange->outcome = S3_REFUSED;
        snprintf(exchange->error, sizeof(exchange->error),
            "%.200s: the answer to a %s is larger than allowed (%zu bytes)", exchange->base,
            method_names[exchange->call.method], exchange->call.limit);
        return;
    }
    snprintf(exchange->error, sizeof(exchange->error), "%.200s: %s failed: %s", exchange->base,
        method_names[exchange->call.method], curl_transfer_text(&exchange->transfer, result));
}

static void on_done(struct curl_transfer *transfer, CURLcode result)
{
    struct s3_exchange *exchange = transfer->context;
    if (exchange->enough && result == CURLE_WRITE_ERROR)
        result = CURLE_OK;
    if (result == CURLE_OK)
        judge_answer(exchange);
    else
        judge_failure(exchange, result);
    exchange->done(exchange);
}

/* ---- what is sent -----------------------------------------------------------------------------
 */

static size_t on_read(char *data, size_t one, size_t size, void *context)
{
    struct s3_exchange *exchange = context;
    struct slice head = exchange->call.head, tail = exchange->call.tail;
    size_t copied = 0;
    (void)one;
    if (exchange->sent < head.size) {
        copied = head.size - exchange->sent < size ? head.size - exchange->sent : size;
        memcpy(data, head.data + exchange->sent, copied);
        exchange->sent += copied;
    }
    size_t at = exchange->sent - head.size;
    if (exchange->sent >= head.size && copied < size && at < tail.size) {
        size_t more = tail.size - at < size - copied ? tail.size - at : size - copied;
        memcpy(data + copied, tail.data + at, more);
        exchange->sent += more;
        copied += more;
    }
    return copied;
}

/* libcurl goes back when a kept connection turns out to be dead. */
static int on_seek(void *context, curl_off_t offset, int origin)
{
    struct s3_exchange *exchange = context;
    size_t size = exchange->call.head.size + exchange->call.tail.size;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > size)
        return CURL_SEEKFUNC_FAIL;
    exchange->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static bool add_header(struct s3_exchange *exchange, const char *line)
{
    struct curl_slist *headers = curl_slist_append(exchange->headers, line);
    if (headers == NULL)
        return false;
    exchange->headers = headers;
    return true;
}

static bool hash_text(const struct s3_call *call, char text[65])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(context, call->head.data, call->head.size) == 1 &&
                EVP_DigestUpdate(context, call->tail.data, call->tail.size) == 1 &&
                EVP_DigestFinal_ex(context, digest, &size) == 1;
    EVP_MD_CTX_free(context);
    for (unsigned i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return good;
}

static bool add_headers(const struct s3_client *client, struct s3_exchange *exchange)
{
    const struct s3_call *call = &exchange->call;
    const struct aws_credentials *keys = &client->source.current;
    char hash[65] = "UNSIGNED-PAYLOAD";
    char line[AWS_TOKEN_LIMIT + 64];
    /* Without TLS the hash is what protects the body on its way. */
    if (!(client->encrypted && call->method == S3_PUT) && !hash_text(call, hash))
        return false;
    snprintf(line, sizeof(line), "x-amz-content-sha256: %s", hash);
    bool good = add_header(exchange, line);
    if (keys->session_token[0] != '\0') {
        snprintf(line, sizeof(line), "x-amz-security-token: %s", keys->session_token);
        good = good && add_header(exchange, line);
        explicit_bzero(line, sizeof(line));
    }
    if (call->method == S3_PUT)
        good = good && add_header(exchange, "Content-Type: application/octet-stream");
    if (call->condition == S3_IF_NONE) {
        good = good && add_header(exchange, "If-None-Match: *");
    } else if (call->condition == S3_IF_MATCH) {
        const char *quote = call->quoted ? "\"" : "";
        snprintf(line, sizeof(line), "If-Match: %s%s%s", quote, call->etag, quote);
        good = good && add_header(exchange, line);
    }
    return good;
}

static bool set_url(struct s3_exchange *exchange)
{
    struct buffer url;
    buffer_init(&url);
    buffer_append(&url, exchange->base, strlen(exchange->base));
    s3_append_path(&url, exchange->call.name);
    buffer_append_u8(&url, '\0');
    bool good = buffer_status(&url) == 0 &&
                curl_easy_setopt(exchange->transfer.easy, CURLOPT_URL, url.data) == CURLE_OK;
    buffer_release(&url);
    return good;
}

static bool set_up(struct s3_client *client, struct s3_exchange *exchange)
{
    const struct s3_call *call = &exchange->call;
    CURL *easy = exchange->transfer.easy;
    if (!set_url(exchange) || !add_headers(client, exchange))
        return false;
    if (call->method == S3_PUT) {
        curl_off_t size = (curl_off_t)(call->head.size + call->tail.size);
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, exchange);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(easy, CURLOPT_SEEKDATA, exchange);
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "PUT");
    } else if (call->method == S3_DELETE) {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "DELETE");
    } else if (call->first_bytes) {
        char range[32];
        snprintf(range, sizeof(range), "0-%zu", call->limit - 1);
        curl_easy_setopt(easy, CURLOPT_RANGE, range);
    }
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "brain/" BRAIN_VERSION);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    return curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, client->signing) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_USERNAME, client->source.current.access_key) ==
               CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PASSWORD, client->source.current.secret_key) == CURLE_OK;
}

bool s3_exchange_start(struct s3_client *client, struct s3_exchange *exchange,
    const struct s3_call *call, uint64_t timeout_ms)
{
    exchange->call = *call;
    exchange->status = 0;
    exchange->generation = client->generation;
    exchange->base = client->base;
    exchange->not_sent = exchange->too_big = exchange->enough = false;
    exchange->sent = exchange->header_bytes = exchange->ignored_bytes = exchange->fault_size = 0;
    exchange->etag[0] = exchange->error[0] = '\0';
    exchange->transfer.done = on_done;
    exchange->transfer.context = exchange;
    if (curl_transfer_prepare(client->pool, &exchange->transfer) && set_up(client, exchange) &&
        curl_transfer_start(client->pool, &exchange->transfer, timeout_ms))
        return true;
    s3_exchange_end(client, exchange);
    return false;
}

void s3_exchange_end(struct s3_client *client, struct s3_exchange *exchange)
{
    curl_transfer_end(client->pool, &exchange->transfer);
    curl_slist_free_all(exchange->headers);
    exchange->headers = NULL;
    block_drop(exchange->body);
    exchange->body = NULL;
    exchange->body_size = 0;
}
