#include "brain/base.h"

char *hex_of(struct slice bytes, size_t limit, char *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t shown = bytes.size < limit ? bytes.size : limit;
    char *p = out;

    for (size_t i = 0; i < shown; i++) {
        *p++ = digits[bytes.data[i] >> 4];
        *p++ = digits[bytes.data[i] & 15];
    }
    if (shown < bytes.size)
        for (int dots = 0; dots < 3; dots++)
            *p++ = '.';
    *p = '\0';
    return out;
}
