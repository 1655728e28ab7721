/* client: one connection to a node on `ei`, and calls over it.
 *
 * `ei` does the handshake and the sending; what arrives is read with the project's own bounded
 * reader. Everything that can go wrong has a sentence for a person. */
#ifndef BRAIN_CONSOLE_CLIENT_H
#define BRAIN_CONSOLE_CLIENT_H

#include <ei.h>
#include <stdint.h>

#include "brain/base.h"

enum { CLIENT_SENTENCE_LIMIT = 512, CLIENT_NODE_LIMIT = 255 };

struct client {
    char node[CLIENT_NODE_LIMIT + 1]; /* name@host of the server */
    char name[16];                    /* the registered name there */
    char cookie[256];
    const char *cookie_source; /* for sentences: where the cookie came from */
    uint32_t timeout_ms;       /* for connecting, and for each answer */
    int descriptor;            /* -1: not connected */
    uint32_t calls;            /* numbers the references of calls */
    ei_cnode self;
    struct buffer received;
    char sentence[CLIENT_SENTENCE_LIMIT]; /* what went wrong last */
};

/* Prepares; reads the cookie from `cookie_file`, or from ~/.erlang.cookie when NULL. Returns 0 or
 * BRAIN_ECONFIG with client->sentence. */
int client_init(struct client *client, const char *node, const char *registered_name,
    const char *cookie_file, uint32_t timeout_ms);
void client_release(struct client *client);

/* Closes the connection; the next call opens it again. For the time in which nobody reads from it:
 * a peer that does not answer ticks is taken for dead. */
void client_rest(struct client *client);

/* Calls {'$gen_call', ...} with the request term (without version byte) and waits for the answer;
 * connects first when not connected. `*answer` points into the client and is valid until the next
 * call. Returns 0, or an error with client->sentence. */
int client_call(struct client *client, struct slice request, struct slice *answer);

#endif
