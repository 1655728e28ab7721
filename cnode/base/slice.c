#include <string.h>

#include "brain/base.h"

struct slice slice_of_string(const char *text)
{
    return slice_of(text, strlen(text));
}

bool slice_equal(struct slice a, struct slice b)
{
    /* memcmp(3) must not see NULL, which an empty slice may have. */
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool slice_equal_string(struct slice a, const char *text)
{
    return slice_equal(a, slice_of_string(text));
}
