/* epmd's packets: what we ask and what it answers.
 *
 * Source: ERTS user's guide, "Distribution Protocol", section "EPMD Protocol". */
#include <assert.h>

#include "brain/epmd.h"

enum {
    ALIVE2_REQ = 120,
    ALIVE2_RESP = 121,
    ALIVE2_X_RESP = 118,
    PORT2_REQ = 122,
    PORT2_RESP = 119,
    TYPE_HIDDEN = 72,
    PROTOCOL_TCP_IPV4 = 0, /* also for IPv6 and TLS: there is no other number in use */
    VERSION_HIGHEST = 6,
    /* 5 too, or clients built with OTP 22 and older do not even connect: they compare it with
     * their own highest version. */
    VERSION_LOWEST = 5,
    ALIVE_LIMIT = 255,
};

void epmd_write_register(struct buffer *out, struct slice alive, uint16_t port)
{
    assert(alive.size != 0 && alive.size <= ALIVE_LIMIT);
    buffer_append_be16(out, (uint16_t)(1 + 2 + 1 + 1 + 2 + 2 + 2 + alive.size + 2));
    buffer_append_u8(out, ALIVE2_REQ);
    buffer_append_be16(out, port);
    buffer_append_u8(out, TYPE_HIDDEN);
    buffer_append_u8(out, PROTOCOL_TCP_IPV4);
    buffer_append_be16(out, VERSION_HIGHEST);
    buffer_append_be16(out, VERSION_LOWEST);
    buffer_append_be16(out, (uint16_t)alive.size);
    buffer_append_slice(out, alive);
    buffer_append_be16(out, 0); /* no extra field */
}

int epmd_read_register(struct slice bytes, uint32_t *creation)
{
    if (bytes.size < 1)
        return 1;
    uint8_t tag = bytes.data[0];
    if (tag != ALIVE2_RESP && tag != ALIVE2_X_RESP)
        return BRAIN_EPROTO;
    if (bytes.size < 2)
        return 1;
    if (bytes.data[1] != 0)
        return BRAIN_EREFUSED;
    if (bytes.size < (tag == ALIVE2_RESP ? 4u : 6u))
        return 1;
    *creation = tag == ALIVE2_RESP ? load_be16(bytes.data + 2) : load_be32(bytes.data + 2);
    return 0;
}

void epmd_write_lookup(struct buffer *out, struct slice alive)
{
    assert(alive.size != 0 && alive.size <= ALIVE_LIMIT);
    buffer_append_be16(out, (uint16_t)(1 + alive.size));
    buffer_append_u8(out, PORT2_REQ);
    buffer_append_slice(out, alive);
}

int epmd_read_lookup(struct slice bytes, uint16_t *port)
{
    if (bytes.size < 1)
        return 1;
    if (bytes.data[0] != PORT2_RESP)
        return BRAIN_EPROTO;
    if (bytes.size < 2)
        return 1;
    if (bytes.data[1] != 0)
        return BRAIN_ENOENT;
    /* port:16 type protocol highest:16; the rest (lowest, name, extra) is not needed. */
    if (bytes.size < 8)
        return 1;
    if (load_be16(bytes.data + 6) < VERSION_HIGHEST)
        return BRAIN_EPROTO; /* a node of OTP 22 or older */
    *port = load_be16(bytes.data + 2);
    return *port != 0 ? 0 : BRAIN_EPROTO;
}
