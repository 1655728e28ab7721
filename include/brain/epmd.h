/* epmd: the Erlang port mapper daemon, as a client: packets (pure), and registration (device).
 *
 * Source: ERTS user's guide, "Distribution Protocol", section "EPMD Protocol". */
#ifndef BRAIN_EPMD_H
#define BRAIN_EPMD_H

#include <uv.h>

#include "brain/base.h"

enum { EPMD_PORT = 4369 };

/* ALIVE2_REQ: hidden node, TCP/IPv4, versions 5 to 6. `alive`: the part of the name before @. */
void epmd_write_register(struct buffer *out, struct slice alive, uint16_t port);
/* Reads ALIVE2_RESP or ALIVE2_X_RESP. 0: complete and accepted; 1: more bytes needed;
 * BRAIN_EREFUSED: the name is taken; BRAIN_EPROTO. */
int epmd_read_register(struct slice bytes, uint32_t *creation);
void epmd_write_lookup(struct buffer *out, struct slice alive);
/* 0, 1 (more bytes needed), BRAIN_ENOENT (not registered), BRAIN_EPROTO (also for a node that
 * speaks only versions before 6). */
int epmd_read_lookup(struct slice bytes, uint16_t *port);

/* ---- registration: kept alive by itself ------------------------------------------------------
 *
 * Connects to epmd at address:port, registers, keeps the socket. When it closes (epmd restarted),
 * registers again within 2 seconds, for as long as it takes. When epmd refuses the connection,
 * `start_epmd` is called (at most once in 5 s), which should start one and must not block. */
struct epmd_registration; /* opaque: cnode/dist/epmd_client.c */

struct epmd_events {
    void *context;
    /* The first registration succeeded with this creation. Later ones are only logged: a creation
     * that is in use never changes. */
    void (*on_registered)(void *context, uint32_t creation);
    /* The first registration cannot succeed: BRAIN_EREFUSED (the name is taken by a live node). */
    void (*on_refused)(void *context, int error);
    void (*start_epmd)(void *context); /* NULL: never */
};

/* `address`: numeric IPv4 or IPv6. Strings are copied. NULL: no memory, or no such address. No
 * event is called before this returned, nor after epmd_unregister. */
struct epmd_registration *epmd_register(uv_loop_t *loop, const char *address, uint16_t epmd_port,
    const char *alive, uint16_t port, struct epmd_events events);
bool epmd_is_registered(const struct epmd_registration *registration);
/* Closes the socket, which unregisters; frees when the loop has closed its handles. */
void epmd_unregister(struct epmd_registration *registration);

/* ---- look-up of another node's port: one question, one answer ----------------------------------
 */
struct epmd_lookup; /* opaque: cnode/dist/epmd_lookup.c */
typedef void (*epmd_lookup_cb)(void *context, int status, uint16_t port);
/* Answers exactly once within timeout_ms, and never before this returned: 0, BRAIN_ENOENT,
 * BRAIN_EIO (no epmd there), BRAIN_ETIMEOUT, BRAIN_EPROTO. `address` as above, of the host to ask.
 * The look-up frees itself; it is gone when the callback runs. NULL: no memory. */
struct epmd_lookup *epmd_lookup_start(uv_loop_t *loop, const char *address, uint16_t epmd_port,
    const char *alive, uint32_t timeout_ms, epmd_lookup_cb callback, void *context);
/* Before it answered: it will not. */
void epmd_lookup_cancel(struct epmd_lookup *lookup);

#endif
