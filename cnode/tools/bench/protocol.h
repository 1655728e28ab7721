/* protocol: how requests of one kind of server are written, and how its answers are read.
 *
 * The loop, the links, the counting and the checking of values are the same for all, so that two
 * servers are compared, and not two generators. */
#ifndef BRAIN_BENCH_PROTOCOL_H
#define BRAIN_BENCH_PROTOCOL_H

#include <stddef.h>

#include "link.h"

struct protocol {
    const char *name;
    bool is_erlang; /* TARGET is a node's name */
    bool is_bare;   /* no keys: values go over the wire and nothing else */
    /* Fills in the link's templates and state; its descriptor blocks, with time limits (dial.h).
     * 0, or -1 with the tally's failure. */
    int (*open)(struct link *link);
    void (*close)(struct link *link); /* frees link->state */
    /* Reads answers. Returns how many bytes it is done with, of which at most REST_LIMIT may be
     * missing at the end; or -1 with the tally's failure. */
    ptrdiff_t (*parse)(struct link *link, const uint8_t *bytes, size_t size);
};

extern const struct protocol protocol_erlang, protocol_redis, protocol_memcached, protocol_echo,
    protocol_tcp;

/* ---- building templates ---------------------------------------------------------------------- */

void template_begin(struct template *template);
void template_bytes(struct template *template, const void *bytes, size_t size);
void template_text(struct template *template, const char *text);
void template_id(struct template *template, size_t id_bytes);
void template_tag(struct template *template); /* four bytes */
void template_value(struct template *template);

#endif
