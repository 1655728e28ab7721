/* echo and tcp: servers that do nothing, so that it can be seen how much of a figure is the kernel.
 *
 * echo: a value goes to a server that sends every byte back.
 * tcp: get sends one byte, and a value comes back; set sends a value, and one byte comes back
 * (tcp_server.h). There is only one key, because nothing tells the server which one is meant. */
#include "ordered.h"

static struct head echo_head(
    struct link *link, const struct request *request, const uint8_t *bytes, size_t size)
{
    (void)link, (void)request, (void)bytes, (void)size;
    return (struct head){HEAD_VALUE, 0, NULL};
}

static struct head tcp_head(
    struct link *link, const struct request *request, const uint8_t *bytes, size_t size)
{
    (void)link, (void)bytes, (void)size;
    if (request->kind == REQUEST_GET)
        return (struct head){HEAD_VALUE, 0, NULL};
    return (struct head){HEAD_DONE, 1, NULL};
}

static int open_echo(struct link *link)
{
    struct ordered *ordered = ordered_open(link);
    if (ordered == NULL)
        return -1;
    ordered->read_head = link->options->protocol == &protocol_tcp ? tcp_head : echo_head;
    ordered->tail = "";
    template_begin(&link->get);
    template_text(&link->get, "?");
    template_begin(&link->set);
    template_value(&link->set);
    return 0;
}

const struct protocol protocol_echo = {.name = "echo",
    .is_bare = true,
    .open = open_echo,
    .close = ordered_close,
    .parse = ordered_parse};

const struct protocol protocol_tcp = {.name = "tcp",
    .is_bare = true,
    .open = open_echo,
    .close = ordered_close,
    .parse = ordered_parse};
