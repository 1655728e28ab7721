/* Handshakes of brain@localhost, and packets of them in hex. */
#ifndef HANDSHAKE_FIXTURE_H
#define HANDSHAKE_FIXTURE_H

#include <check.h>

#include "brain/handshake.h"

/* What brain@localhost says to who connects, and tester@localhost to it. */
struct handshake_options acceptor_options(void);
struct handshake_options initiator_options(void);

/* A handshake, and an empty buffer for what it sends. */
void begin(struct handshake *handshake, struct handshake_options options, struct buffer *out);

int feed(struct handshake *handshake, struct slice bytes, struct buffer *out);
/* Carries bytes between the two in chunks; returns the first error or DONE when both are done. */
int converse(const struct handshake_options *a_options, const struct handshake_options *b_options,
    size_t chunk, struct handshake *a, struct handshake *b);
/* Bytes from hex text; blanks are skipped. */
struct slice hex(const char *text);

#define assert_bytes(actual, expected_hex)                                                         \
    do {                                                                                           \
        struct slice actual_ = buffer_slice(actual), expected_ = hex(expected_hex);                \
        ck_assert_uint_eq(actual_.size, expected_.size);                                           \
        if (expected_.size != 0)                                                                   \
            ck_assert_mem_eq(actual_.data, expected_.data, expected_.size);                        \
    } while (0)

#define NAME_TESTER "001f 4e 0000000d07df7fbd 6b00f765 0010 746573746572406c6f63616c686f7374"
#define CHALLENGE_BRAIN                                                                            \
    "0022 4e 0000000407074f9c 55828aad 6b00f764 000f 627261696e406c6f63616c686f7374"
#define REPLY_TESTER "0015 72 f1c156c4 14f23ed73a2ccb2b03ae4c6b0cef296a"
#define ACK_BRAIN    "0011 61 b9c9b538fd75918281937dcab2321ea4"

#endif
