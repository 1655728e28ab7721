/* The two ways to parse a message must agree on every input: shared by the fuzzer and a unit test.
 * Needs the headers of cnode/command. */
#ifndef BRAIN_TEST_COMMAND_AGREE_H
#define BRAIN_TEST_COMMAND_AGREE_H

#include <string.h>

#include "shortcut.h"

/* The very same bytes of the message. */
static inline bool same_place(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || a.data == b.data);
}

static inline bool same_command(const struct command *a, const struct command *b)
{
    return a->operation == b->operation && a->consistent == b->consistent && a->ack == b->ack &&
           slice_equal(a->id, b->id) && same_place(a->value, b->value) &&
           a->reply.form == b->reply.form && same_place(a->reply.pid, b->reply.pid) &&
           same_place(a->reply.tag, b->reply.tag) && same_place(a->reply.alias, b->reply.alias);
}

/* Is what the shortcut takes exactly what the general way makes of it? `*taken`: did it take it? */
static inline bool command_agree(struct slice payload, struct etf_limits limits, bool *taken)
{
    static struct command quick, any;
    memset(&quick, 0xa5, sizeof quick);
    memset(&any, 0x5a, sizeof any);
    *taken = command_shortcut(&quick, payload, limits);
    return !*taken ||
           (command_parse_any(&any, payload, NULL, limits, 0) == 0 && same_command(&quick, &any));
}

#endif
