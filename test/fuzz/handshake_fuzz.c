/* The handshake fed with anything, in chunks. The first byte picks the role, the length field, and
 * the size of the chunks. */
#include <stdlib.h>
#include <string.h>

#include "brain/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t choice = data[0];
    struct handshake_options options = {
        .role = choice & 1 ? HANDSHAKE_INITIATOR : HANDSHAKE_ACCEPTOR,
        .node = slice_of_string("brain@localhost"),
        .cookie = slice_of_string("secret"),
        .flags = DFLAGS_OFFERED,
        .creation = 0x6b00f764,
        .challenge = choice & 1 ? 0xf1c156c4 : 0x55828aad,
        .dynamic_name = 1,
        .peer = slice_of_string(choice & 1 ? "tester@localhost" : ""),
        .length_bytes = choice & 2 ? 4 : 2,
    };
    size_t chunk = (choice >> 2) + 1u;
    struct buffer out;
    buffer_init(&out);
    struct handshake handshake;
    handshake_init(&handshake, &options, &out);
    size_t at = 1;
    int result = HANDSHAKE_MORE;
    while (at < size && result == HANDSHAKE_MORE) {
        size_t part = size - at < chunk ? size - at : chunk, consumed;
        /* A copy of exactly this size shows the sanitizer a read past it. */
        uint8_t *copy = malloc(part);
        memcpy(copy, data + at, part);
        result = handshake_feed(&handshake, slice_of(copy, part), &consumed, &out);
        free(copy);
        if (consumed > part || (result == HANDSHAKE_MORE && consumed != part))
            abort();
        at += consumed;
    }
    if (handshake.peer_name_size > NODE_NAME_LIMIT ||
        (result == HANDSHAKE_DONE && (handshake.flags & ~options.flags) != 0))
        abort();
    buffer_release(&out);
    return 0;
}
