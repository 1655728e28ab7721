#include "ordered.h"

#include "brain/base.h"

struct ordered *ordered_open(struct link *link)
{
    link->state = heap_allocate_zeroed(sizeof(struct ordered));
    if (link->state == NULL)
        link_fail(link, "out of memory");
    return link->state;
}

void ordered_close(struct link *link)
{
    heap_release(link->state);
    link->state = NULL;
}

/* The first line of `bytes`, as text for a sentence. */
static const char *first_line(const uint8_t *bytes, size_t size, char text[128])
{
    size_t length = 0;
    while (length < size && length < 127 && bytes[length] != '\r' && bytes[length] != '\n') {
        text[length] = bytes[length] >= 0x20 && bytes[length] < 0x7f ? (char)bytes[length] : '?';
        length++;
    }
    text[length] = '\0';
    return text;
}

static void finish(struct link *link, struct ordered *ordered)
{
    struct request *request = ordered->request;
    ordered->request = NULL;
    if (ordered->wrong)
        link_wrong(link, request, "another value than its own");
    else
        link_answered(link, request);
}

/* Checks what has arrived of the value and of the tail behind it. Returns how much that is. */
static size_t read_value(
    struct link *link, struct ordered *ordered, const uint8_t *bytes, size_t size)
{
    uint64_t value_size = link->values->size, whole = value_size + ordered->tail_size;
    uint64_t part = whole - ordered->position;
    if (part > size)
        part = size;
    const uint8_t *end = bytes + part;
    if (ordered->position == 0 && part >= value_size) {
        /* The usual case, when it is small. */
        ordered->wrong = !value_is(link->values, ordered->request->key, bytes);
        ordered->position = value_size;
        bytes += value_size;
    } else if (ordered->position < value_size) {
        uint64_t here = value_size - ordered->position;
        if (here > part)
            here = part;
        if (!value_matches(link->values, ordered->request->key, ordered->position, bytes, here))
            ordered->wrong = true;
        ordered->position += here;
        bytes += here;
    }
    size_t behind = (size_t)(end - bytes);
    if (behind > 0 && memcmp(bytes, ordered->tail + (ordered->position - value_size), behind) != 0)
        ordered->wrong = true;
    ordered->position += behind;
    if (ordered->position == whole)
        finish(link, ordered);
    return (size_t)part;
}

ptrdiff_t ordered_parse(struct link *link, const uint8_t *bytes, size_t size)
{
    struct ordered *ordered = link->state;
    size_t at = 0;
    while (at < size) {
        if (ordered->request != NULL) {
            at += read_value(link, ordered, bytes + at, size - at);
            continue;
        }
        char line[128];
        struct request *request = link_oldest(link);
        if (request == NULL)
            return link_fail(link, "%s answers although nothing was asked: %s",
                link->options->target, first_line(bytes + at, size - at, line));
        struct head head = ordered->read_head(link, request, bytes + at, size - at);
        const char *wrong =
            head.wrong != NULL ? head.wrong : first_line(bytes + at, size - at, line);
        switch (head.kind) {
        case HEAD_MORE:
            return (ptrdiff_t)at;
        case HEAD_VALUE:
            ordered->request = request;
            ordered->position = 0;
            ordered->wrong = false;
            break;
        case HEAD_DONE:
            link_answered(link, request);
            break;
        case HEAD_WRONG:
            link_wrong(link, request, "%s", wrong);
            break;
        case HEAD_BROKEN:
            return link_fail(link, "%s does not speak %s: %s", link->options->target,
                link->options->protocol->name, wrong);
        }
        at += head.size;
    }
    return (ptrdiff_t)at;
}
