/* redis: RESP, GET and SET. */
#include <stdio.h>

#include "ordered.h"

static struct head read_head(
    struct link *link, const struct request *request, const uint8_t *bytes, size_t size)
{
    static const char stored[] = "+OK\r\n", nothing[] = "$-1\r\n";
    const struct ordered *ordered = link->state;
    if (request->kind == REQUEST_GET && size >= ordered->expected_size &&
        memcmp(bytes, ordered->expected, ordered->expected_size) == 0)
        return (struct head){HEAD_VALUE, ordered->expected_size, NULL};
    if (request->kind == REQUEST_SET && size >= 5 && memcmp(bytes, stored, 5) == 0)
        return (struct head){HEAD_DONE, 5, NULL};
    const uint8_t *end = memchr(bytes, '\n', size);
    if (end == NULL)
        return (struct head){size < REST_LIMIT / 2 ? HEAD_MORE : HEAD_BROKEN, 0, NULL};
    size_t line = (size_t)(end + 1 - bytes);
    if (line == 5 && memcmp(bytes, nothing, 5) == 0)
        return (struct head){HEAD_WRONG, line, "nothing there (--work fill stores the keys)"};
    if (bytes[0] == '$')
        return (struct head){HEAD_BROKEN, line, "a value of another size"};
    bool is_answer = bytes[0] == '+' || bytes[0] == '-' || bytes[0] == ':';
    return (struct head){is_answer ? HEAD_WRONG : HEAD_BROKEN, line, NULL};
}

static int open_redis(struct link *link)
{
    const struct options *options = link->options;
    char text[128];
    struct ordered *ordered = ordered_open(link);
    if (ordered == NULL)
        return -1;
    ordered->read_head = read_head;
    ordered->tail = "\r\n";
    ordered->tail_size = 2;
    ordered->expected_size = (size_t)snprintf((char *)ordered->expected, sizeof(ordered->expected),
        "$%llu\r\n", (unsigned long long)options->size);

    template_begin(&link->get);
    snprintf(text, sizeof(text), "*2\r\n$3\r\nGET\r\n$%u\r\n", options->id_bytes);
    template_text(&link->get, text);
    template_id(&link->get, options->id_bytes);
    template_text(&link->get, "\r\n");

    template_begin(&link->set);
    snprintf(text, sizeof(text), "*3\r\n$3\r\nSET\r\n$%u\r\n", options->id_bytes);
    template_text(&link->set, text);
    template_id(&link->set, options->id_bytes);
    snprintf(text, sizeof(text), "\r\n$%llu\r\n", (unsigned long long)options->size);
    template_text(&link->set, text);
    template_value(&link->set);
    template_text(&link->set, "\r\n");
    return 0;
}

const struct protocol protocol_redis = {
    .name = "redis", .open = open_redis, .close = ordered_close, .parse = ordered_parse};
