/* s3_http: one request to S3 and its answer: URL, signature, condition, body, bounds. */
#ifndef WAREHOUSE_S3_HTTP_H
#define WAREHOUSE_S3_HTTP_H

#include "aws_credentials.h"
#include "brain/base.h"
#include "brain/curl_pool.h"
#include "s3_probe.h"
#include "s3_text.h"

enum { S3_FAULT_LIMIT = 2048 }; /* bytes kept of an error's XML */

struct s3_client {
    struct curl_pool *pool;
    struct aws_source source;
    unsigned generation; /* of the credentials */
    char base[1024];     /* "https://host/bucket/": a name goes behind it */
    char signing[96];    /* CURLOPT_AWS_SIGV4 */
    char ca_file[4096];
    bool encrypted; /* https: TLS protects the body, its hash is not sent */
};

enum s3_method { S3_GET, S3_PUT, S3_DELETE };

struct s3_call {
    enum s3_method method;
    struct slice name; /* in the bucket */
    /* GET: at most so many bytes are taken; a larger object fails. `first_bytes`: only the
     * beginning is asked for and taken. */
    size_t limit;
    bool first_bytes;
    /* PUT: the body is `head`, then `tail`; they must live until the exchange ended. */
    struct slice head, tail;
    enum s3_condition condition;
    const char *etag; /* S3_IF_MATCH */
    bool quoted;
};

struct s3_exchange {
    /* The owner's: called when it is over, with all that follows set. */
    void (*done)(struct s3_exchange *exchange);
    void *context;

    enum s3_outcome outcome;
    long status;                  /* of HTTP; 0: there was no answer */
    unsigned generation;          /* of the credentials it was signed with */
    bool not_sent;                /* S3_AGAIN, and the store has seen nothing of it */
    bool too_big;                 /* S3_REFUSED: the answer was larger than allowed */
    char etag[S3_ETAG_LIMIT + 1]; /* "": none */
    struct block *body;           /* of a GET that is done; the owner may take it */
    size_t body_size;             /* <= body->size */
    char error[WAREHOUSE_TEXT];   /* a sentence when not done */

    /* Private. */
    struct curl_transfer transfer;
    struct curl_slist *headers;
    struct s3_call call;
    const char *base;
    size_t sent, header_bytes, ignored_bytes;
    bool enough;
    size_t fault_size;
    char fault[S3_FAULT_LIMIT];
};

/* Checks the options. 0, or an error with a sentence. */
int s3_client_open(
    struct s3_client *client, const struct s3_options *options, char why[WAREHOUSE_TEXT]);
void s3_client_close(struct s3_client *client);
/* Reads the credentials again. Are they others? */
bool s3_client_refresh(struct s3_client *client);

/* Sends; `exchange` was zeroed but for done and context, or was ended. False: out of memory. */
bool s3_exchange_start(struct s3_client *client, struct s3_exchange *exchange,
    const struct s3_call *call, uint64_t timeout_ms);
/* Frees, cancels when it still runs; nothing to do is allowed. */
void s3_exchange_end(struct s3_client *client, struct s3_exchange *exchange);

#endif
