/* server: brain-server, put together: configuration, log, warehouse, object store, node, signals.
 *
 * Set up in this order and torn down in the reverse one (cnode/server/server.c). The only room that
 * knows all the others. */
#ifndef BRAIN_SERVER_H
#define BRAIN_SERVER_H

#include "brain/config.h"

enum server_exit { SERVER_EXIT_CLEAN = 0, SERVER_EXIT_FAILURE = 1, SERVER_EXIT_CONFIG = 2 };

/* Runs until SIGTERM, SIGINT or a `shutdown` request: stops accepting, persists everything dirty
 * with progress in the log (at most drain_timeout), says goodbye, returns the exit status. A second
 * signal ends the process at once with status 1. */
int server_run(const struct config *config, const char *cookie);

#endif
