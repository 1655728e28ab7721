/* Integers of any size, and UTF-8 one character at a time. */
#include <string.h>

#include "term.h"

void etf_integer_of(const uint8_t *at, struct etf_integer *integer)
{
    if (at[0] == ETF_SMALL_INTEGER || at[0] == ETF_INTEGER) {
        int64_t number = at[0] == ETF_SMALL_INTEGER ? at[1] : (int32_t)load_be32(at + 1);
        uint32_t magnitude = (uint32_t)(number < 0 ? -number : number);
        integer->negative = number < 0;
        for (unsigned i = 0; i < 4; i++)
            integer->small[i] = (uint8_t)(magnitude >> (8 * i));
        integer->little = integer->small;
        integer->size = 4;
    } else {
        bool is_small = at[0] == ETF_SMALL_BIG;
        integer->size = is_small ? at[1] : load_be32(at + 1);
        integer->little = at + (is_small ? 3 : 6);
        integer->negative = integer->little[-1] != 0;
    }
    while (integer->size > 0 && integer->little[integer->size - 1] == 0)
        integer->size--;
    if (integer->size == 0) /* there is no negative zero */
        integer->negative = false;
}

size_t etf_decimal(const struct etf_integer *integer, uint8_t *text, size_t limit)
{
    /* 426 bytes with a leading one have at least 1024 digits; with 427 there are more. */
    enum { BYTES = 428, WORDS = BYTES / 4, CHUNK_DIGITS = 9 };
    if (integer->size >= BYTES || limit > ID_LIMIT)
        return 0;
    uint32_t words[WORDS] = {0};
    for (size_t i = 0; i < integer->size; i++)
        words[i / 4] |= (uint32_t)integer->little[i] << (8 * (i % 4));
    size_t count = (integer->size + 3) / 4;

    /* Nine digits at a time, from the last one, backwards into `digits`. */
    uint8_t digits[WORDS * 10 + CHUNK_DIGITS];
    size_t at = sizeof digits;
    do {
        uint64_t rest = 0;
        for (size_t i = count; i > 0; i--) {
            rest = rest << 32 | words[i - 1];
            words[i - 1] = (uint32_t)(rest / 1000000000);
            rest %= 1000000000;
        }
        while (count > 0 && words[count - 1] == 0)
            count--;
        for (int i = 0; i < CHUNK_DIGITS; i++, rest /= 10)
            digits[--at] = (uint8_t)('0' + rest % 10);
    } while (count > 0);
    while (at < sizeof digits - 1 && digits[at] == '0')
        at++;

    size_t size = sizeof digits - at;
    if (size + integer->negative > limit)
        return 0;
    if (integer->negative)
        *text++ = '-';
    memcpy(text, digits + at, size);
    return size + integer->negative;
}

unsigned utf8_encode(uint32_t point, uint8_t text[4])
{
    if (point < 0x80) {
        text[0] = (uint8_t)point;
        return 1;
    }
    if (point < 0x800) {
        text[0] = (uint8_t)(0xc0 | point >> 6);
        text[1] = (uint8_t)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        if (point >= 0xd800 && point <= 0xdfff)
            return 0;
        text[0] = (uint8_t)(0xe0 | point >> 12);
        text[1] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        text[2] = (uint8_t)(0x80 | (point & 0x3f));
        return 3;
    }
    if (point > 0x10ffff)
        return 0;
    text[0] = (uint8_t)(0xf0 | point >> 18);
    text[1] = (uint8_t)(0x80 | (point >> 12 & 0x3f));
    text[2] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
    text[3] = (uint8_t)(0x80 | (point & 0x3f));
    return 4;
}

unsigned utf8_decode(struct slice bytes, uint32_t *point)
{
    const uint8_t *p = bytes.data;
    unsigned size = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (size == 0 || size > bytes.size || !utf8_is_valid(slice_of(p, size)))
        return 0;
    static const uint8_t first_bits[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    *point = p[0] & first_bits[size];
    for (unsigned i = 1; i < size; i++)
        *point = *point << 6 | (p[i] & 0x3f);
    return size;
}
