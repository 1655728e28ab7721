/* s3_etags: remembers the ETag of versions that were seen in the store, so that a dump can say what
 * it replaces without asking first. Bounded: sets of eight, the one unused for longest goes.
 *
 * Keyed by a hash only. When two ids share one, the ETag is that of other bytes, the store refuses
 * the write, and what it holds is read: slower, never wrong. */
#ifndef WAREHOUSE_S3_ETAGS_H
#define WAREHOUSE_S3_ETAGS_H

#include "brain/object.h"

enum { S3_ETAGS_TEXT = 47 }; /* longer ETags are not remembered */

struct s3_etag {
    uint64_t hash;
    struct version version;
    uint64_t used; /* 0: empty */
    char text[S3_ETAGS_TEXT + 1];
};

struct s3_etags {
    struct s3_etag *entries;
    size_t sets;
    uint64_t clock;
};

int s3_etags_init(struct s3_etags *etags, size_t sets); /* 0 or BRAIN_ENOMEM */
void s3_etags_release(struct s3_etags *etags);
/* NULL: not known. Valid until the next call. */
const struct s3_etag *s3_etags_find(struct s3_etags *etags, struct slice id);
/* "" or a long text: forgets. */
void s3_etags_put(
    struct s3_etags *etags, struct slice id, struct version version, const char *text);
void s3_etags_forget(struct s3_etags *etags, struct slice id);

#endif
