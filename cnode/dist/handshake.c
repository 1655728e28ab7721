/* The distribution handshake, both roles, as a state machine over length-prefixed packets.
 *
 *   acceptor                                initiator
 *   NAME        <- 'N' flags creation name  (sent by handshake_init)
 *               -> 's' ok | named:...       STATUS
 *               -> 'N' flags challenge ...  CHALLENGE
 *   REPLY       <- 'r' challenge digest     (sent on the challenge)
 *               -> 'a' digest               ACK
 *
 * A peer that did not ask epmd for our version begins with the old 'n' (32 bits of flags, no
 * creation) and completes it with 'c' before its 'r': state COMPLEMENT.
 *
 * Source: ERTS user's guide, "Distribution Protocol", section "Distribution Handshake". */
#include "brain/handshake.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

/* A negative state is the error that ended the handshake. */
enum handshake_state {
    STATE_NAME,
    STATE_COMPLEMENT,
    STATE_REPLY,
    STATE_STATUS,
    STATE_CHALLENGE,
    STATE_ACK,
    STATE_DONE,
};

enum {
    DIGEST_SIZE = 16,
    OLD_VERSION = 5,       /* what an 'n' packet claims at least */
    ATOM_CHARACTERS = 255, /* a node's name is an atom */
    U64_DIGITS = 20,
};

bool handshake_digest(struct slice cookie, uint32_t challenge, uint8_t digest[DIGEST_SIZE])
{
    char decimal[U64_DIGITS + 1];
    int digits = snprintf(decimal, sizeof(decimal), "%" PRIu32, challenge);
    EVP_MD_CTX *md5 = EVP_MD_CTX_new();
    unsigned size = 0;
    bool ok = md5 != NULL && EVP_DigestInit_ex(md5, EVP_md5(), NULL) == 1 &&
              EVP_DigestUpdate(md5, cookie.data, cookie.size) == 1 &&
              EVP_DigestUpdate(md5, decimal, (size_t)digits) == 1 &&
              EVP_DigestFinal_ex(md5, digest, &size) == 1 && size == DIGEST_SIZE;
    EVP_MD_CTX_free(md5);
    return ok;
}

static int fail(struct handshake *handshake, int error, const char *sentence)
{
    handshake->error_text = sentence;
    return error;
}

/* ---- names ------------------------------------------------------------------------------------
 */

/* Characters of `text`, or 0 when it is no text that may be part of a name: empty, malformed UTF-8
 * or with control characters (C0, DEL, C1), which have no place in a log line. */
static size_t name_characters(struct slice text)
{
    if (text.size == 0 || !utf8_is_valid(text))
        return 0;
    size_t characters = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte < 0x20 || byte == 0x7f)
            return 0;
        if (byte == 0xc2 && text.data[i + 1] < 0xa0) /* valid UTF-8: one more byte is there */
            return 0;
        characters += (byte & 0xc0) != 0x80;
    }
    return characters;
}

static bool name_is_full(struct slice name)
{
    size_t characters = name.size <= NODE_NAME_LIMIT ? name_characters(name) : 0;
    if (characters == 0 || characters > ATOM_CHARACTERS)
        return false;
    const uint8_t *at = memchr(name.data, '@', name.size);
    if (at == NULL || at == name.data)
        return false;
    size_t host_size = (size_t)(name.data + name.size - (at + 1));
    return host_size != 0 && memchr(at + 1, '@', host_size) == NULL;
}

/* As Erlang compares the atoms of two names. */
static bool name_is_less(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order < 0 || (order == 0 && a.size < b.size);
}

static void keep_peer_name(struct handshake *handshake, struct slice name)
{
    assert(name.size <= NODE_NAME_LIMIT);
    memcpy(handshake->peer_name, name.data, name.size);
    handshake->peer_name_size = name.size;
}

/* Makes up a name for a peer that has only a host. Our creation in it keeps names that two nodes
 * like us gave on one host apart, the number those that we gave. */
static int invent_peer_name(struct handshake *handshake, struct slice host)
{
    const struct handshake_options *options = &handshake->options;
    uint8_t name[NODE_NAME_LIMIT];
    char prefix[32];
    int size = snprintf(prefix, sizeof(prefix), "dyn%" PRIx32 "n%" PRIu32 "@", options->creation,
        options->dynamic_name);
    if (host.size > sizeof(name) - (size_t)size)
        return fail(handshake, BRAIN_EPROTO, "the host of a peer that asks for a name is too long");
    memcpy(name, prefix, (size_t)size);
    memcpy(name + size, host.data, host.size);
    struct slice full = slice_of(name, (size_t)size + host.size);
    if (!name_is_full(full))
        return fail(handshake, BRAIN_EPROTO, "a peer that asks for a name sent no valid host");
    keep_peer_name(handshake, full);
    /* The name is new, so any creation is. */
    handshake->peer_creation = options->creation;
    return 0;
}

/* ---- packets out ------------------------------------------------------------------------------
 */

static void begin_packet(const struct handshake *handshake, struct buffer *out, size_t size)
{
    if (handshake->options.length_bytes == 4)
        buffer_append_be32(out, (uint32_t)size);
    else
        buffer_append_be16(out, (uint16_t)size);
}

static void send_status(const struct handshake *handshake, struct buffer *out, const char *status)
{
    struct slice text = slice_of_string(status);
    begin_packet(handshake, out, 1 + text.size);
    buffer_append_u8(out, 's');
    buffer_append_slice(out, text);
}

static void send_named(const struct handshake *handshake, struct buffer *out)
{
    static const char status[] = "named:";
    begin_packet(handshake, out, 1 + sizeof(status) - 1 + 2 + handshake->peer_name_size + 4);
    buffer_append_u8(out, 's');
    buffer_append(out, status, sizeof(status) - 1);
    buffer_append_be16(out, (uint16_t)handshake->peer_name_size);
    buffer_append(out, handshake->peer_name, handshake->peer_name_size);
    buffer_append_be32(out, handshake->peer_creation);
}

static void send_name(const struct handshake *handshake, struct buffer *out)
{
    const struct handshake_options *options = &handshake->options;
    begin_packet(handshake, out, 1 + 8 + 4 + 2 + options->node.size);
    buffer_append_u8(out, 'N');
    buffer_append_be64(out, options->flags);
    buffer_append_be32(out, options->creation);
    buffer_append_be16(out, (uint16_t)options->node.size);
    buffer_append_slice(out, options->node);
}

static void send_challenge(const struct handshake *handshake, struct buffer *out)
{
    const struct handshake_options *options = &handshake->options;
    /* A peer that asked for a name crashes when the flag does not come back. */
    uint64_t flags = options->flags | (handshake->name_me ? DFLAG_NAME_ME : 0);
    begin_packet(handshake, out, 1 + 8 + 4 + 4 + 2 + options->node.size);
    buffer_append_u8(out, 'N');
    buffer_append_be64(out, flags);
    buffer_append_be32(out, options->challenge);
    buffer_append_be32(out, options->creation);
    buffer_append_be16(out, (uint16_t)options->node.size);
    buffer_append_slice(out, options->node);
}

static int send_digest(
    struct handshake *handshake, struct buffer *out, char tag, const uint32_t *challenge)
{
    uint8_t digest[DIGEST_SIZE];
    if (!handshake_digest(handshake->options.cookie, handshake->peer_challenge, digest))
        return fail(handshake, BRAIN_ENOTSUP, "this OpenSSL does not offer MD5");
    begin_packet(handshake, out, 1 + (challenge != NULL ? 4u : 0u) + sizeof(digest));
    buffer_append_u8(out, (uint8_t)tag);
    if (challenge != NULL)
        buffer_append_be32(out, *challenge);
    buffer_append(out, digest, sizeof(digest));
    return 0;
}

/* ---- packets in -------------------------------------------------------------------------------
 */

/* `digest` must answer our challenge. */
static int check_digest(struct handshake *handshake, const uint8_t *digest)
{
    uint8_t expected[DIGEST_SIZE];
    if (!handshake_digest(handshake->options.cookie, handshake->options.challenge, expected))
        return fail(handshake, BRAIN_ENOTSUP, "this OpenSSL does not offer MD5");
    int differs = CRYPTO_memcmp(expected, digest, sizeof(expected));
    OPENSSL_cleanse(expected, sizeof(expected));
    if (differs != 0)
        return fail(handshake, BRAIN_EAUTH, "the peer's digest is wrong: it has another cookie");
    return 0;
}

/* MANDATORY_25_DIGEST stands for the whole mandatory set. */
static int take_peer_flags(struct handshake *handshake, uint64_t flags)
{
    if (flags & DFLAG_MANDATORY_25_DIGEST)
        flags |= DFLAGS_REQUIRED;
    handshake->peer_flags = flags;
    handshake->flags = flags & handshake->options.flags;
    return (flags & DFLAGS_REQUIRED) == DFLAGS_REQUIRED ? 0 : BRAIN_EFLAGS;
}

/* Reads `NameLength:16 Name` at `at` of `body`; what follows is for versions to come. */
static bool read_name(struct slice body, size_t at, struct slice *name)
{
    if (body.size < at + 2)
        return false;
    size_t size = load_be16(body.data + at);
    if (size > body.size - at - 2)
        return false;
    *name = slice_of(body.data + at + 2, size);
    return true;
}

static int on_name(struct handshake *handshake, struct slice body, struct buffer *out)
{
    uint64_t flags;
    struct slice name;
    if (body.data[0] == 'N') {
        if (body.size < 1 + 8 + 4 + 2 || !read_name(body, 1 + 8 + 4, &name))
            return fail(handshake, BRAIN_EPROTO, "the name packet is shorter than it says");
        flags = load_be64(body.data + 1);
        handshake->peer_creation = load_be32(body.data + 9);
        handshake->name_me = (flags & DFLAG_NAME_ME) != 0;
    } else if (body.data[0] == 'n') {
        if (body.size < 1 + 2 + 4)
            return fail(handshake, BRAIN_EPROTO, "the old name packet is too short");
        if (load_be16(body.data + 1) < OLD_VERSION)
            return fail(handshake, BRAIN_EPROTO, "the peer speaks a version before 5");
        flags = load_be32(body.data + 3);
        name = slice_of(body.data + 7, body.size - 7);
        handshake->old_name = true;
    } else {
        return fail(handshake, BRAIN_EPROTO, "the first packet is not a name");
    }

    if (handshake->name_me) {
        int error = invent_peer_name(handshake, name);
        if (error != 0)
            return error;
    } else {
        if (!name_is_full(name))
            return fail(handshake, BRAIN_EPROTO, "the peer's name is not name@host in UTF-8");
        keep_peer_name(handshake, name);
    }
    if (take_peer_flags(handshake, flags) != 0 ||
        (handshake->old_name && !(flags & DFLAG_HANDSHAKE_23))) {
        send_status(handshake, out, "not_allowed");
        return fail(handshake, BRAIN_EFLAGS, "the peer lacks required distribution flags");
    }
    /* Its pids could not be told from ours. */
    if (slice_equal(name, handshake->options.node)) {
        send_status(handshake, out, "not_allowed");
        return fail(handshake, BRAIN_EREFUSED, "the peer has this node's own name");
    }
    const bool both = !handshake->name_me && handshake->options.is_dialling != NULL &&
                      handshake->options.is_dialling(handshake->options.context, name);
    if (both && name_is_less(name, handshake->options.node)) {
        send_status(handshake, out, "nok");
        return fail(handshake, BRAIN_EREFUSED,
            "both dial at the same time: this node's own connection goes on (nok)");
    }
    if (handshake->name_me)
        send_named(handshake, out);
    else
        send_status(handshake, out, both ? "ok_simultaneous" : "ok");
    send_challenge(handshake, out);
    handshake->state = handshake->old_name ? STATE_COMPLEMENT : STATE_REPLY;
    return 0;
}

static int on_complement(struct handshake *handshake, struct slice body)
{
    if (body.data[0] != 'c' || body.size != 1 + 4 + 4)
        return fail(handshake, BRAIN_EPROTO, "no complement follows an old name");
    uint64_t high = load_be32(body.data + 1);
    /* The name is given already: too late to ask for one. */
    uint64_t flags = (handshake->peer_flags | high << 32) & ~DFLAG_NAME_ME;
    handshake->peer_creation = load_be32(body.data + 5);
    handshake->state = STATE_REPLY;
    return take_peer_flags(handshake, flags);
}

static int on_reply(struct handshake *handshake, struct slice body, struct buffer *out)
{
    if (body.data[0] != 'r' || body.size != 1 + 4 + DIGEST_SIZE)
        return fail(handshake, BRAIN_EPROTO, "the peer did not answer the challenge");
    int error = check_digest(handshake, body.data + 5);
    if (error != 0)
        return error;
    handshake->peer_challenge = load_be32(body.data + 1);
    handshake->state = STATE_DONE;
    return send_digest(handshake, out, 'a', NULL);
}

static int on_status(struct handshake *handshake, struct slice body, struct buffer *out)
{
    if (body.data[0] != 's')
        return fail(handshake, BRAIN_EPROTO, "the peer did not answer with a status");
    struct slice status = slice_of(body.data + 1, body.size - 1);
    handshake->state = STATE_CHALLENGE;
    if (slice_equal_string(status, "ok") || slice_equal_string(status, "ok_simultaneous"))
        return 0;
    if (slice_equal_string(status, "alive")) {
        /* The peer still holds a link of our former life. This one replaces it. */
        send_status(handshake, out, "true");
        return 0;
    }
    handshake->gave_way = slice_equal_string(status, "nok");
    if (handshake->gave_way)
        return fail(handshake, BRAIN_EREFUSED, "the peer is connecting to this node itself (nok)");
    if (slice_equal_string(status, "not_allowed"))
        return fail(handshake, BRAIN_EREFUSED, "the peer does not allow this node (not_allowed)");
    return fail(handshake, BRAIN_EPROTO, "the peer answered with an unknown status");
}

static int on_challenge(struct handshake *handshake, struct slice body, struct buffer *out)
{
    const struct handshake_options *options = &handshake->options;
    struct slice name;
    if (body.data[0] == 'n')
        return fail(handshake, BRAIN_EFLAGS, "the peer speaks only version 5 of the handshake");
    if (body.data[0] != 'N')
        return fail(handshake, BRAIN_EPROTO, "the peer sent no challenge");
    if (body.size < 1 + 8 + 4 + 4 + 2 || !read_name(body, 1 + 8 + 4 + 4, &name))
        return fail(handshake, BRAIN_EPROTO, "the challenge is shorter than it says");
    if (!name_is_full(name))
        return fail(handshake, BRAIN_EPROTO, "the peer's name is not name@host in UTF-8");
    keep_peer_name(handshake, name);
    handshake->peer_challenge = load_be32(body.data + 9);
    handshake->peer_creation = load_be32(body.data + 13);
    if (!slice_equal(name, options->peer))
        return fail(handshake, BRAIN_EREFUSED, "another node answered than the one dialled");
    if (take_peer_flags(handshake, load_be64(body.data + 1)) != 0)
        return fail(handshake, BRAIN_EFLAGS, "the peer lacks required distribution flags");
    handshake->state = STATE_ACK;
    return send_digest(handshake, out, 'r', &options->challenge);
}

static int on_ack(struct handshake *handshake, struct slice body)
{
    if (body.data[0] != 'a' || body.size != 1 + DIGEST_SIZE)
        return fail(handshake, BRAIN_EPROTO, "the peer did not acknowledge the challenge");
    handshake->state = STATE_DONE;
    return check_digest(handshake, body.data + 1);
}

static int on_packet(struct handshake *handshake, struct slice body, struct buffer *out)
{
    if (body.size == 0)
        return fail(handshake, BRAIN_EPROTO, "an empty packet during the handshake");
    switch (handshake->state) {
    case STATE_NAME:
        return on_name(handshake, body, out);
    case STATE_COMPLEMENT:
        return on_complement(handshake, body);
    case STATE_REPLY:
        return on_reply(handshake, body, out);
    case STATE_STATUS:
        return on_status(handshake, body, out);
    case STATE_CHALLENGE:
        return on_challenge(handshake, body, out);
    default:
        assert(handshake->state == STATE_ACK);
        return on_ack(handshake, body);
    }
}

/* ---- the stream -------------------------------------------------------------------------------
 */

void handshake_init(
    struct handshake *handshake, const struct handshake_options *options, struct buffer *out)
{
    assert(options->length_bytes == 2 || options->length_bytes == 4);
    assert(options->node.size != 0 && options->node.size <= NODE_NAME_LIMIT);
    memset(handshake, 0, sizeof(*handshake));
    handshake->options = *options;
    if (options->role == HANDSHAKE_ACCEPTOR) {
        handshake->state = STATE_NAME;
        return;
    }
    handshake->state = STATE_STATUS;
    send_name(handshake, out);
}

/* How many bytes the packet under way has in all, as far as is known yet: its length field first.
 */
static int packet_goal(struct handshake *handshake, size_t *goal)
{
    size_t header = handshake->options.length_bytes;
    *goal = header;
    if (handshake->packet_size < header)
        return 0;
    size_t body = header == 4 ? load_be32(handshake->packet) : (size_t)load_be16(handshake->packet);
    if (body > HANDSHAKE_PACKET_LIMIT - header)
        return fail(handshake, BRAIN_ETOOBIG, "a handshake packet is over the limit");
    *goal = header + body;
    return 0;
}

static int feed(
    struct handshake *handshake, struct slice bytes, size_t *consumed, struct buffer *out)
{
    size_t header = handshake->options.length_bytes;
    while (handshake->state != STATE_DONE) {
        size_t goal;
        int error = packet_goal(handshake, &goal);
        if (error != 0)
            return error;
        if (handshake->packet_size >= header && handshake->packet_size == goal) {
            handshake->packet_size = 0;
            error = on_packet(handshake, slice_of(handshake->packet + header, goal - header), out);
            if (error != 0)
                return error;
            if (buffer_status(out) != 0)
                return fail(handshake, BRAIN_ENOMEM, error_sentence(BRAIN_ENOMEM));
            continue;
        }
        size_t size = goal - handshake->packet_size;
        size_t left = bytes.size - *consumed;
        if (left == 0)
            return HANDSHAKE_MORE;
        if (size > left)
            size = left;
        memcpy(handshake->packet + handshake->packet_size, bytes.data + *consumed, size);
        handshake->packet_size += size;
        *consumed += size;
    }
    return HANDSHAKE_DONE;
}

int handshake_feed(
    struct handshake *handshake, struct slice bytes, size_t *consumed, struct buffer *out)
{
    *consumed = 0;
    if (handshake->state < 0)
        return handshake->state;
    int result = feed(handshake, bytes, consumed, out);
    if (result < 0)
        handshake->state = result;
    return result;
}

const char *handshake_error(const struct handshake *handshake)
{
    return handshake->error_text != NULL ? handshake->error_text : "no error";
}
