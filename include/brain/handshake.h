/* handshake: the distribution handshake, version 6 (and version 5's `n` that upgrades), both sides.
 *
 * A pure state machine: bytes in, bytes out, no descriptor, no clock, no randomness of its own. The
 * deadline is the caller's: one absolute time for the whole handshake.
 * Source: ERTS user's guide, "Distribution Protocol", section "Distribution Handshake". */
#ifndef BRAIN_HANDSHAKE_H
#define BRAIN_HANDSHAKE_H

#include "brain/base.h"

/* Distribution flags (dist.h of OTP). */
#define DFLAG_PUBLISHED           UINT64_C(0x1)
#define DFLAG_EXTENDED_REFERENCES UINT64_C(0x4)
#define DFLAG_DIST_MONITOR        UINT64_C(0x8)
#define DFLAG_FUN_TAGS            UINT64_C(0x10)
#define DFLAG_DIST_MONITOR_NAME   UINT64_C(0x20)
#define DFLAG_NEW_FUN_TAGS        UINT64_C(0x80)
#define DFLAG_EXTENDED_PIDS_PORTS UINT64_C(0x100)
#define DFLAG_EXPORT_PTR_TAG      UINT64_C(0x200)
#define DFLAG_BIT_BINARIES        UINT64_C(0x400)
#define DFLAG_NEW_FLOATS          UINT64_C(0x800)
#define DFLAG_UNICODE_IO          UINT64_C(0x1000)
#define DFLAG_DIST_HDR_ATOM_CACHE UINT64_C(0x2000)
#define DFLAG_SMALL_ATOM_TAGS     UINT64_C(0x4000)
#define DFLAG_UTF8_ATOMS          UINT64_C(0x10000)
#define DFLAG_MAP_TAG             UINT64_C(0x20000)
#define DFLAG_BIG_CREATION        UINT64_C(0x40000)
#define DFLAG_SEND_SENDER         UINT64_C(0x80000)
#define DFLAG_BIG_SEQTRACE_LABELS UINT64_C(0x100000)
#define DFLAG_EXIT_PAYLOAD        UINT64_C(0x400000)
#define DFLAG_FRAGMENTS           UINT64_C(0x800000)
#define DFLAG_HANDSHAKE_23        UINT64_C(0x1000000)
#define DFLAG_UNLINK_ID           UINT64_C(0x2000000)
#define DFLAG_MANDATORY_25_DIGEST UINT64_C(0x4000000)
#define DFLAG_SPAWN               UINT64_C(0x100000000)
#define DFLAG_NAME_ME             UINT64_C(0x200000000)
#define DFLAG_V4_NC               UINT64_C(0x400000000)
#define DFLAG_ALIAS               UINT64_C(0x800000000)

/* What this node offers: OTP 25's set minus PUBLISHED and DIST_HDR_ATOM_CACHE. */
#define DFLAGS_OFFERED UINT64_C(0xD07DF5FBC)
/* What a peer must have (OTP 25's mandatory set); MANDATORY_25_DIGEST stands for all of them. */
#define DFLAGS_REQUIRED                                                                            \
    (DFLAG_EXTENDED_REFERENCES | DFLAG_FUN_TAGS | DFLAG_EXTENDED_PIDS_PORTS | DFLAG_UTF8_ATOMS |   \
        DFLAG_NEW_FUN_TAGS | DFLAG_BIG_CREATION | DFLAG_NEW_FLOATS | DFLAG_MAP_TAG |               \
        DFLAG_EXPORT_PTR_TAG | DFLAG_BIT_BINARIES | DFLAG_HANDSHAKE_23)

enum { NODE_NAME_LIMIT = 1020, HANDSHAKE_PACKET_LIMIT = 2048 };

enum handshake_role { HANDSHAKE_ACCEPTOR, HANDSHAKE_INITIATOR };

struct handshake_options {
    enum handshake_role role;
    struct slice node;     /* our full name, name@host; must outlive the handshake */
    struct slice cookie;   /* must outlive the handshake */
    uint64_t flags;        /* offered; usually DFLAGS_OFFERED */
    uint32_t creation;     /* ours, from epmd */
    uint32_t challenge;    /* ours: 32 random bits, fresh for each handshake */
    uint32_t dynamic_name; /* a number unique in this node's life, for peers that ask for a name */
    struct slice peer;     /* initiator: the name that was dialled; else empty */
    unsigned length_bytes; /* 2; 4 under TLS */
    /* Acceptor: is this node shaking hands with that peer on a connection of its own? Then the
     * connection of the greater name goes on, as between Erlang nodes. NULL: never asked. */
    bool (*is_dialling)(void *context, struct slice peer);
    void *context;
};

struct handshake {
    struct handshake_options options;
    int state;
    uint8_t packet[HANDSHAKE_PACKET_LIMIT];
    size_t packet_size;
    /* Valid when done (the name before that is what the peer claims, for the log): */
    uint8_t peer_name[NODE_NAME_LIMIT];
    size_t peer_name_size;
    uint64_t peer_flags;
    uint32_t peer_creation;
    uint64_t flags; /* negotiated: offered by both */
    /* private */
    uint32_t peer_challenge;
    bool old_name; /* the peer sent 'n' */
    bool name_me;  /* the peer asked us for a name */
    bool gave_way; /* initiator: the peer said nok, its own connection goes on */
    const char *error_text;
};

enum handshake_progress { HANDSHAKE_MORE = 0, HANDSHAKE_DONE = 1 };

/* Prepares; an initiator's first packet is appended to `out` (check buffer_status). */
void handshake_init(
    struct handshake *handshake, const struct handshake_options *options, struct buffer *out);

/* Feeds bytes from the peer. `*consumed` of them belong to the handshake; what follows after
 * HANDSHAKE_DONE is the first frame. Packets to send are appended to `out` and must be sent also
 * when an error is returned (a refusal the peer should hear).
 *
 * Acceptor: answers status `ok` also when the name is connected already (docs/decisions: PHP
 * workers share names), `named:` to a peer that asks for a name, `not_allowed` to one without the
 * required flags or with this node's own name; to one that is being dialled `nok` when this node's
 * name is the greater one, else `ok_simultaneous`. Initiator: sends `true` to `alive`.
 *
 * Returns HANDSHAKE_MORE, HANDSHAKE_DONE, or BRAIN_EPROTO (malformed packet, unknown tag or name
 * without a host), BRAIN_ETOOBIG (packet over HANDSHAKE_PACKET_LIMIT, its length included),
 * BRAIN_EFLAGS, BRAIN_EAUTH (digest wrong: another cookie), BRAIN_EREFUSED (status nok or
 * not_allowed, sent or received, another node answered, or the peer has our name), BRAIN_ENOTSUP
 * (no MD5), BRAIN_ENOMEM. Fed again, it returns the same error. */
int handshake_feed(
    struct handshake *handshake, struct slice bytes, size_t *consumed, struct buffer *out);

/* A sentence on what went wrong, more precise than error_sentence; never contains the cookie. */
const char *handshake_error(const struct handshake *handshake);

/* md5(cookie ++ decimal(challenge)), into 16 bytes. False: OpenSSL has no MD5 (FIPS) or no memory.
 */
bool handshake_digest(struct slice cookie, uint32_t challenge, uint8_t digest[16]);

#endif
