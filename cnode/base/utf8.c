#include <string.h>

#include "brain/base.h"

/* The length of the well-formed sequence that begins at `p` with `left` bytes to go, or 0.
 * Source: RFC 3629, section 4: the second byte's range depends on the first, which excludes
 * overlong forms, surrogates (U+D800..DFFF) and code points above U+10FFFF. */
static size_t sequence_length(const uint8_t *p, size_t left)
{
    uint8_t low = 0x80, high = 0xBF;
    size_t length;

    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF) {
        length = 2;
    } else if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        length = 3;
        if (p[0] == 0xE0)
            low = 0xA0;
        else if (p[0] == 0xED)
            high = 0x9F;
    } else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        length = 4;
        if (p[0] == 0xF0)
            low = 0x90;
        else if (p[0] == 0xF4)
            high = 0x8F;
    } else {
        return 0;
    }
    if (left < length || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

bool utf8_is_valid(struct slice bytes)
{
    const uint8_t *p = bytes.data;
    size_t left = bytes.size;

    while (left > 0) {
        uint64_t word;
        if (left >= sizeof word) {
            /* Most ids are ASCII: eight bytes at a time. */
            memcpy(&word, p, sizeof word);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                p += sizeof word, left -= sizeof word;
                continue;
            }
        }
        size_t length = sequence_length(p, left);
        if (length == 0)
            return false;
        p += length, left -= length;
    }
    return true;
}
