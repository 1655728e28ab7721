/* memcached: the classic text protocol, get and set. */
#include <stdio.h>

#include "ordered.h"

static const char prefix[] = "VALUE ";
enum { PREFIX_SIZE = sizeof(prefix) - 1 };

static struct head read_head(
    struct link *link, const struct request *request, const uint8_t *bytes, size_t size)
{
    static const char stored[] = "STORED\r\n", nothing[] = "END\r\n";
    struct ordered *ordered = link->state;
    if (request->kind == REQUEST_SET && size >= 8 && memcmp(bytes, stored, 8) == 0)
        return (struct head){HEAD_DONE, 8, NULL};
    if (request->kind == REQUEST_GET && size >= ordered->expected_size) {
        id_write_digits(ordered->expected + PREFIX_SIZE + link->options->id_bytes, request->key,
            link->id_digits);
        if (memcmp(bytes, ordered->expected, ordered->expected_size) == 0)
            return (struct head){HEAD_VALUE, ordered->expected_size, NULL};
    }
    const uint8_t *end = memchr(bytes, '\n', size);
    if (end == NULL)
        return (struct head){size < REST_LIMIT / 2 ? HEAD_MORE : HEAD_BROKEN, 0, NULL};
    size_t line = (size_t)(end + 1 - bytes);
    if (line == 5 && memcmp(bytes, nothing, 5) == 0)
        return (struct head){HEAD_WRONG, line, "nothing there (--work fill stores the keys)"};
    if (line >= PREFIX_SIZE && memcmp(bytes, prefix, PREFIX_SIZE) == 0)
        return (struct head){HEAD_BROKEN, line, "a value of another size or another key"};
    bool is_error = memchr(bytes, 'E', line) != NULL || request->kind == REQUEST_SET;
    return (struct head){is_error ? HEAD_WRONG : HEAD_BROKEN, line, NULL};
}

static void set_template(struct link *link, struct template *template, const char *end)
{
    const struct options *options = link->options;
    char text[64];
    template_begin(template);
    template_text(template, "set ");
    template_id(template, options->id_bytes);
    snprintf(text, sizeof(text), " 0 0 %llu%s\r\n", (unsigned long long)options->size, end);
    template_text(template, text);
    template_value(template);
    template_text(template, "\r\n");
}

static int open_memcached(struct link *link)
{
    const struct options *options = link->options;
    struct ordered *ordered = ordered_open(link);
    if (ordered == NULL)
        return -1;
    ordered->read_head = read_head;
    ordered->tail = "\r\nEND\r\n";
    ordered->tail_size = 7;
    char id[ID_BYTES_LIMIT + 1];
    ordered->expected_size = (size_t)snprintf((char *)ordered->expected, sizeof(ordered->expected),
        "%s%s 0 %llu\r\n", prefix, link_id(link, 0, id), (unsigned long long)options->size);

    template_begin(&link->get);
    template_text(&link->get, "get ");
    template_id(&link->get, options->id_bytes);
    template_text(&link->get, "\r\n");
    set_template(link, &link->set, "");
    set_template(link, &link->plain_set, " noreply");
    return 0;
}

const struct protocol protocol_memcached = {
    .name = "memcached", .open = open_memcached, .close = ordered_close, .parse = ordered_parse};
