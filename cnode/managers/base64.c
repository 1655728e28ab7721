#include "base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_append(struct buffer *out, struct slice bytes)
{
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        if (left > 1)
            group |= (uint32_t)bytes.data[i + 1] << 8;
        if (left > 2)
            group |= bytes.data[i + 2];
        const char quad[4] = {alphabet[group >> 18], alphabet[group >> 12 & 63],
            left > 1 ? alphabet[group >> 6 & 63] : '=', left > 2 ? alphabet[group & 63] : '='};
        buffer_append(out, quad, 4);
    }
}

static int digit_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct buffer *out, struct slice text)
{
    size_t before = out->size, size = text.size;
    if (size % 4 != 0)
        return false;
    for (size_t i = 0; i < size; i += 4) {
        const uint8_t *quad = text.data + i;
        bool last = i + 4 == size;
        unsigned padding = last && quad[3] == '=' ? (quad[2] == '=' ? 2 : 1) : 0;
        uint32_t group = 0;
        for (unsigned j = 0; j < 4; j++) {
            int digit = j < 4 - padding ? digit_of(quad[j]) : 0;
            if (digit < 0) {
                out->size = before;
                return false;
            }
            group = group << 6 | (uint32_t)digit;
        }
        const uint8_t bytes[3] = {(uint8_t)(group >> 16), (uint8_t)(group >> 8), (uint8_t)group};
        buffer_append(out, bytes, 3 - padding);
    }
    return true;
}
