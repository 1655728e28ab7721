/* epmd_starter: starts epmd from a small helper process forked before there are threads, so that
 * the owner thread, which may hold gigabytes by then, never forks itself. */
#ifndef BRAIN_SERVER_EPMD_STARTER_H
#define BRAIN_SERVER_EPMD_STARTER_H

#include <stdint.h>

struct epmd_starter {
    int request; /* one byte written here starts one epmd; closing it ends the helper; -1: none */
    int child;   /* its process id */
};

/* Forks the helper. `address`: what a started epmd listens on ("" or NULL: what it does by itself).
 * Call before any thread is started. Returns 0, or BRAIN_EIO: then epmd_starter_run does nothing.
 */
int epmd_starter_open(struct epmd_starter *starter, uint16_t epmd_port, const char *address);
/* Asks for one epmd; never blocks. It is on its own from then on. */
void epmd_starter_run(struct epmd_starter *starter);
/* Ends the helper and waits for it. An epmd that it started goes on, as Erlang's does. */
void epmd_starter_close(struct epmd_starter *starter);

#endif
