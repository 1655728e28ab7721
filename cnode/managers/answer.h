/* answer: what etcd's JSON gateway sends, as one struct: an answer to any request, or one message
 * of a watch. 64-bit numbers come as strings, keys and values in base64; what is 0, false or empty
 * is left out. Nothing here says which fields an answer must have: who asked knows.
 *
 *   {"header":{...}, "ID":"..", "TTL":".."}                      grant; keepalive: inside "result"
 *   {"header":{...}, "kvs":[{...}]}                              range: group 0
 *   {"header":{...}, "succeeded":true, "responses":[{"response_range":{"kvs":[..]}}, ..]}
 *                                                                txn: the n-th response is group n
 *   {"result":{"header":{...}, "created":true, "events":[{"type":"DELETE","kv":{...}}]}}   watch
 *   {"error":"...", "code":5}                                    what went wrong
 */
#ifndef MANAGERS_ANSWER_H
#define MANAGERS_ANSWER_H

#include "brain/base.h"

enum {
    ANSWER_LIMIT = 2 << 20, /* bytes of one answer, or one message of a watch */
    ANSWER_TEXT = 256,      /* bytes kept of an error, with its NUL */
    ANSWER_TOKEN = 2048,    /* bytes of a token, with its NUL (a JWT has some hundreds) */
};

struct answer_kv {
    size_t key, key_size, value, value_size; /* in `text` */
    uint64_t create_revision, mod_revision;
    int64_t lease;
    unsigned group;
    bool deleted; /* a DELETE event */
};

enum answer_error {
    ANSWER_GOOD,
    ANSWER_MISSING,   /* the lease is not there */
    ANSWER_COMPACTED, /* that revision is no longer there */
    ANSWER_TOKEN_BAD, /* authenticate (again) */
    ANSWER_AUTH_OFF,  /* authentication is not enabled there */
    ANSWER_REFUSED,   /* anything else */
};

struct answer {
    enum answer_error error;
    char sentence[ANSWER_TEXT]; /* etcd's words, printable; "" when good */
    uint64_t cluster_id, revision;
    int64_t id;   /* of a lease */
    uint64_t ttl; /* s */
    char token[ANSWER_TOKEN];
    bool succeeded, created, canceled;
    uint64_t compact_revision;
    struct answer_kv *kvs; /* also the events of a watch, in order */
    size_t count, capacity;
    struct buffer text;
};

void answer_init(struct answer *answer);
/* Decodes; the former content is gone. 0, BRAIN_EPROTO: not JSON, or a field is not what it should
 * be; BRAIN_ENOMEM. */
int answer_decode(struct answer *answer, struct slice json);
void answer_release(struct answer *answer);

struct slice answer_key(const struct answer *answer, const struct answer_kv *kv);
struct slice answer_value(const struct answer *answer, const struct answer_kv *kv);

/* Before the first use of jansson. Its parser (2.14) writes beyond its buffer when memory runs out
 * inside a string; so where there is none for it, the process ends instead. Answers are small. */
void answer_guard_memory(void);

#endif
