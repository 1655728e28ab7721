/* link: one connection: its unanswered requests, what it has to send, what it has half received.
 *
 * A link knows the requests it made, and for each answer that its protocol recognised it says how
 * long it took. It owns the descriptor but does not wait for it: that is the loop's (loop.h). */
#ifndef BRAIN_BENCH_LINK_H
#define BRAIN_BENCH_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "options.h"
#include "output.h"
#include "workload.h"

enum {
    SENTENCE_LIMIT = 512,
    /* No protocol leaves more than this unread: larger answers are checked as they arrive. */
    REST_LIMIT = 4096,
};

struct link;
struct request;

/* What all links count together. */
struct tally {
    bool measuring;
    uint64_t operations, errors;
    uint64_t value_bytes;         /* of answered gets and sets */
    uint64_t answered;            /* ever, for the progress line */
    char wrong[SENTENCE_LIMIT];   /* the first wrong answer; empty: none */
    char failure[SENTENCE_LIMIT]; /* why the run cannot go on; empty: it can */
    struct histogram latency;     /* ns */
    /* NULL, or called for each answer, while the request is still as it was asked. */
    void (*on_answer)(const struct link *link, const struct request *request, bool right);
};

enum request_kind { REQUEST_GET, REQUEST_SET, REQUEST_KINDS };

/* A request whose answer is awaited. */
struct request {
    uint64_t since_ns; /* when it was sent or, at a fixed rate, due */
    uint64_t key;
    uint32_t tag;        /* 0: free */
    uint32_t sets;       /* sets without answers that this answer stands for: it comes after them */
    uint16_t generation; /* of the tag: how often the slot was used */
    bool is_barrier;     /* does not count as unanswered itself */
    enum request_kind kind;
};

/* A request as bytes, of which only the id, the tag and the value are to be filled in. */
struct template
{
    uint8_t bytes[1024];
    size_t size;     /* without the value */
    size_t id_end;   /* behind the id's last byte; 0: it has none */
    size_t tag_at;   /* four bytes; 0: it has none */
    size_t value_at; /* the value belongs before this byte; SIZE_MAX: it has none */
};

struct link {
    int fd;
    uint32_t number;
    const struct options *options;
    const struct values *values;
    struct tally *tally;
    unsigned id_digits;

    /* Requests. Slots are used in turn: where answers come in order, the next one is always for
     * the slot behind that of the last one. */
    struct request *requests;
    uint32_t *free_slots;  /* ring */
    uint32_t slots;        /* a power of two */
    uint32_t taken, given; /* of the ring, ever */
    uint32_t outstanding;  /* operations that count against in_flight */

    /* Sets without answers. */
    uint32_t barrier; /* so many of them are followed by a get */
    uint32_t unbarred;
    uint64_t unbarred_key;    /* of the last of them */
    uint64_t *unbarred_since; /* barrier numbers */
    uint64_t *sets_since;     /* slots times barrier numbers */

    struct template get, set, plain_set;
    struct output output;

    /* Receiving. */
    uint64_t now_ns; /* when the bytes that are being parsed were there */
    uint64_t heard_ns;
    uint8_t rest[REST_LIMIT];
    size_t rest_size;
    void *state; /* the protocol's */

    /* The loop's. */
    uint64_t issued; /* by this link, at a fixed rate */
    bool wants_write;
};

/* Takes the memory it needs while it runs. 0 or BRAIN_ENOMEM. */
int link_prepare(struct link *link);
void link_release(struct link *link);

/* ---- asking ---------------------------------------------------------------------------------- */

static inline bool link_has_room(const struct link *link)
{
    return link->outstanding < link->options->in_flight;
}
void link_ask(struct link *link, enum request_kind kind, uint64_t key, uint64_t since_ns);
/* A set without an answer. It counts as unanswered until a later answer proves that it was read.
 * Returns true when the barrier has to follow now. */
bool link_set_plainly(struct link *link, uint64_t key, uint64_t since_ns);
/* The get that stands for the sets before it; on top of in_flight. */
void link_bar(struct link *link, uint64_t since_ns);

/* ---- being answered: for the protocols ------------------------------------------------------- */

/* The request with this tag, or NULL. */
static inline struct request *link_request(const struct link *link, uint32_t tag)
{
    struct request *request = &link->requests[tag & (link->slots - 1)];
    return request->tag == tag && tag != 0 ? request : NULL;
}
/* The oldest one, or NULL. */
struct request *link_oldest(const struct link *link);

/* The answer is there, and is right. */
void link_answered(struct link *link, struct request *request);
/* It is there, and is wrong: counted; the first one is told. */
void link_wrong(struct link *link, struct request *request, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Nothing sensible can be expected any more. Returns -1. */
int link_fail(struct link *link, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The id of a key, as text, for sentences. `text` has ID_BYTES_LIMIT + 1 bytes. */
const char *link_id(const struct link *link, uint64_t key, char *text);

#endif
