#include "handshake_fixture.h"

#include <stdlib.h>

struct handshake_options acceptor_options(void)
{
    return (struct handshake_options){
        .role = HANDSHAKE_ACCEPTOR,
        .node = slice_of_string("brain@localhost"),
        .cookie = slice_of_string("secret"),
        .flags = DFLAGS_OFFERED,
        .creation = 0x6b00f764,
        .challenge = 0x55828aad,
        .dynamic_name = 7,
        .length_bytes = 2,
    };
}

struct handshake_options initiator_options(void)
{
    struct handshake_options options = acceptor_options();
    options.role = HANDSHAKE_INITIATOR;
    options.node = slice_of_string("tester@localhost");
    options.creation = 0x6b00f765;
    options.challenge = 0xf1c156c4;
    options.flags = UINT64_C(0xd07df7fbd);
    options.peer = slice_of_string("brain@localhost");
    return options;
}

void begin(struct handshake *handshake, struct handshake_options options, struct buffer *out)
{
    buffer_init(out);
    handshake_init(handshake, &options, out);
}

int feed(struct handshake *handshake, struct slice bytes, struct buffer *out)
{
    size_t consumed;
    return handshake_feed(handshake, bytes, &consumed, out);
}

int converse(const struct handshake_options *a_options, const struct handshake_options *b_options,
    size_t chunk, struct handshake *a, struct handshake *b)
{
    struct buffer to_a, to_b, none;
    buffer_init(&to_a);
    buffer_init(&to_b);
    buffer_init(&none);
    handshake_init(b, b_options, &none);
    handshake_init(a, a_options, &to_b);
    size_t a_read = 0, b_read = 0;
    int a_result = buffer_status(&to_b), b_result = HANDSHAKE_MORE;
    for (int turns = 0; turns < 10000 && a_result >= 0 && b_result >= 0; turns++) {
        if (a_result == HANDSHAKE_DONE && b_result == HANDSHAKE_DONE)
            break;
        size_t consumed, left = to_b.size - b_read;
        b_result = handshake_feed(
            b, slice_of(to_b.data + b_read, left < chunk ? left : chunk), &consumed, &to_a);
        b_read += consumed;
        left = to_a.size - a_read;
        if (b_result < 0)
            break;
        a_result = handshake_feed(
            a, slice_of(to_a.data + a_read, left < chunk ? left : chunk), &consumed, &to_b);
        a_read += consumed;
    }
    buffer_release(&to_a);
    buffer_release(&to_b);
    return a_result < 0 ? a_result : b_result < 0 ? b_result : a_result & b_result;
}

struct slice hex(const char *text)
{
    static uint8_t store[8][4096];
    static unsigned turn;
    uint8_t *bytes = store[turn++ % 8];
    size_t size = 0;
    unsigned digits = 0, byte = 0;
    for (; *text != '\0'; text++) {
        if (*text == ' ')
            continue;
        char digit[2] = {*text, '\0'};
        byte = byte << 4 | (unsigned)strtoul(digit, NULL, 16);
        if (++digits % 2 == 0) {
            bytes[size++] = (uint8_t)byte;
            byte = 0;
        }
    }
    return slice_of(bytes, size);
}
