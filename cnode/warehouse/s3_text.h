/* s3_text: what S3's answers mean, and the bytes of its URLs. Pure. */
#ifndef WAREHOUSE_S3_TEXT_H
#define WAREHOUSE_S3_TEXT_H

#include "brain/base.h"

/* Longest ETag used, without quotes (AWS: 32, with parts "-10000" more). */
enum { S3_ETAG_LIMIT = 127, S3_CODE_LIMIT = 63, S3_MESSAGE_LIMIT = 191 };

/* Appends `name` as the path of a URL: everything but A-Za-z0-9-._~/ as %XX, upper case, because
 * the path is signed as it is sent. */
void s3_append_path(struct buffer *url, struct slice name);

/* The value of an ETag header without spaces and quotes. False: none, too long, weak ("W/"), or
 * with characters that do not belong into a header: not to be used as a condition. */
bool s3_etag_read(struct slice header_value, char etag[S3_ETAG_LIMIT + 1]);

/* The text of the first <tag> in an XML error, entities left alone, other than printable ASCII
 * characters as '?', cut at `limit` bytes; "" when there is none. `text` has limit + 1 bytes. */
void s3_xml_text(struct slice xml, const char *tag, char *text, size_t limit);

enum s3_outcome {
    S3_DONE,        /* 2xx */
    S3_ABSENT,      /* no such key */
    S3_CONDITION,   /* the condition does not hold, or lost a race */
    S3_AGAIN,       /* may work later; a write may have been applied */
    S3_DENIED,      /* the credentials; newer ones may help */
    S3_UNSUPPORTED, /* 501 */
    S3_REFUSED,     /* trying again is useless */
};

/* `code`: of the XML error, or "". */
enum s3_outcome s3_outcome_of(long status, const char *code);

/* What a person can do about it; "" for codes that say it all. */
const char *s3_hint(const char *code);

#endif
