/* memcached: its text protocols: `set`, and `mg` (meta get) for reading.
 *
 * Not the classic `get`, unless asked for: memcached 1.6 answers each of several pipelined ones
 * with a sendmsg(2) of its own, but the answers to `mg`, as those to `set`, together. It would be
 * compared with one hand tied. */
#include <stdio.h>

#include "ordered.h"

static const char prefix[] = "VALUE ";
enum { PREFIX_SIZE = sizeof(prefix) - 1 };

static bool starts_with(const uint8_t *bytes, size_t size, const char *text)
{
    return size >= strlen(text) && memcmp(bytes, text, strlen(text)) == 0;
}

static struct head read_head(
    struct link *link, const struct request *request, const uint8_t *bytes, size_t size)
{
    struct ordered *ordered = link->state;
    if (request->kind == REQUEST_SET && starts_with(bytes, size, "STORED\r\n"))
        return (struct head){HEAD_DONE, 8, NULL};
    if (request->kind == REQUEST_GET && size >= ordered->expected_size) {
        if (link->options->classic_get)
            id_write_digits(ordered->expected + PREFIX_SIZE + link->options->id_bytes, request->key,
                link->id_digits);
        if (memcmp(bytes, ordered->expected, ordered->expected_size) == 0)
            return (struct head){HEAD_VALUE, ordered->expected_size, NULL};
    }
    const uint8_t *end = memchr(bytes, '\n', size);
    if (end == NULL)
        return (struct head){size < REST_LIMIT / 2 ? HEAD_MORE : HEAD_BROKEN, 0, NULL};
    size_t line = (size_t)(end + 1 - bytes);
    if (starts_with(bytes, line, "EN\r\n") || starts_with(bytes, line, "END\r\n"))
        return (struct head){HEAD_WRONG, line, "nothing there (--work fill stores the keys)"};
    if (starts_with(bytes, line, "VA"))
        return (struct head){HEAD_BROKEN, line, "a value of another size or another key"};
    bool is_answer =
        starts_with(bytes, line, "ERROR") || starts_with(bytes, line, "CLIENT_ERROR") ||
        starts_with(bytes, line, "SERVER_ERROR") || starts_with(bytes, line, "NOT_STORED");
    return (struct head){is_answer ? HEAD_WRONG : HEAD_BROKEN, line, NULL};
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
    char id[ID_BYTES_LIMIT + 1], *expected = (char *)ordered->expected;
    unsigned long long size = options->size;
    bool classic = options->classic_get;
    int head = classic ? snprintf(expected, sizeof(ordered->expected), "%s%s 0 %llu\r\n", prefix,
                             link_id(link, 0, id), size)
                       : snprintf(expected, sizeof(ordered->expected), "VA %llu\r\n", size);
    ordered->expected_size = (size_t)head;
    ordered->tail = classic ? "\r\nEND\r\n" : "\r\n";
    ordered->tail_size = strlen(ordered->tail);

    template_begin(&link->get);
    template_text(&link->get, classic ? "get " : "mg ");
    template_id(&link->get, options->id_bytes);
    template_text(&link->get, classic ? "\r\n" : " v\r\n");
    set_template(link, &link->set, "");
    set_template(link, &link->plain_set, " noreply");
    return 0;
}

const struct protocol protocol_memcached = {
    .name = "memcached", .open = open_memcached, .close = ordered_close, .parse = ordered_parse};
