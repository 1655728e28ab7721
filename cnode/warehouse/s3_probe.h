/* s3_probe: finds out by trying which conditions a store honours. Pure: says which requests to send
 * next, is told what came of them.
 *
 *   create twice at once, If-None-Match: *  -> exactly one may succeed
 *   replace, If-Match: the ETag             -> must succeed; first quoted, then bare (Ceph)
 *   replace, If-Match: the former ETag      -> must fail
 *   delete, If-Match: the former ETag       -> must fail (Ceph deletes anyway)
 *   delete
 *
 * All on one object of its own name. */
#ifndef WAREHOUSE_S3_PROBE_H
#define WAREHOUSE_S3_PROBE_H

#include "s3_text.h"

enum s3_condition { S3_ALWAYS, S3_IF_NONE, S3_IF_MATCH };

struct s3_ability {
    bool create, replace, remove; /* conditions are honoured */
    bool quoted;                  /* an If-Match needs the quotes around the ETag */
};

enum s3_probe_step {
    S3_PROBE_CREATE,
    S3_PROBE_CLEAR, /* what happened is not clear: away with the object, and from the start */
    S3_PROBE_PLAIN, /* no conditional create: can it be written at all? */
    S3_PROBE_REPLACE_QUOTED,
    S3_PROBE_REPLACE_BARE,
    S3_PROBE_REPLACE_STALE,
    S3_PROBE_DELETE_STALE,
    S3_PROBE_DELETE,
    S3_PROBE_OVER,   /* `ability` is known */
    S3_PROBE_FAILED, /* the answer that `again` and the caller's own records speak of */
};

struct s3_probe {
    enum s3_probe_step step;
    struct s3_ability ability;
    unsigned tries;                 /* of this step */
    unsigned starts;                /* from the start */
    unsigned bodies;                /* bodies sent: no two are equal */
    bool again;                     /* failed, but may work later */
    bool left;                      /* the object could not be removed */
    char etag[S3_ETAG_LIMIT + 1];   /* of the object now; "": not known */
    char former[S3_ETAG_LIMIT + 1]; /* an ETag it had */
};

struct s3_probe_call {
    bool remove; /* DELETE, else PUT */
    enum s3_condition condition;
    const char *etag; /* S3_IF_MATCH; lives until the answer */
    bool quoted;
    unsigned body; /* number to make it unique */
};

struct s3_probe_answer {
    enum s3_outcome outcome;
    char etag[S3_ETAG_LIMIT + 1];
};

void s3_probe_init(struct s3_probe *probe);
/* What to send now, all of it at once: 1 or 2, or 0 when it is over or failed. Once per step. */
unsigned s3_probe_calls(struct s3_probe *probe, struct s3_probe_call calls[2]);
/* What came of it, in the same order. */
void s3_probe_answer(struct s3_probe *probe, const struct s3_probe_answer answers[2]);

#endif
