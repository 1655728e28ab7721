/* echo: values go to a server that sends every byte back. How fast that is is how fast anything can
 * be over the same sockets. */
#include "ordered.h"

static struct head read_head(
    struct link *link, const struct request *request, const uint8_t *bytes, size_t size)
{
    (void)link, (void)request, (void)bytes, (void)size;
    return (struct head){HEAD_VALUE, 0, NULL};
}

static int open_echo(struct link *link)
{
    struct ordered *ordered = ordered_open(link);
    if (ordered == NULL)
        return -1;
    ordered->read_head = read_head;
    ordered->tail = "";
    template_begin(&link->set);
    template_value(&link->set);
    return 0;
}

const struct protocol protocol_echo = {.name = "echo",
    .only_set = true,
    .open = open_echo,
    .close = ordered_close,
    .parse = ordered_parse};
