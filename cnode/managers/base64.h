/* base64 (RFC 4648, section 4): how etcd's gateway has keys and values in JSON. */
#ifndef MANAGERS_BASE64_H
#define MANAGERS_BASE64_H

#include "brain/base.h"

void base64_append(struct buffer *out, struct slice bytes);
/* Appends the bytes of `text`, with its padding. False, and `out` as it was: not base64. */
bool base64_decode(struct buffer *out, struct slice text);

#endif
