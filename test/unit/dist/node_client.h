/* A client of the node that is a bare socket and half a handshake. */
#ifndef NODE_CLIENT_H
#define NODE_CLIENT_H

#include "node_fixture.h"

#define EI_FLAGS UINT64_C(0x407074f9c)

/* Of the clients that are opened next: whom they dial, and what they offer. */
extern const char *client_dials;
extern uint64_t client_flags;

struct client {
    int fd;
    char name[64];
    struct handshake handshake;
    struct buffer out, in;
    int progress;
    bool eof;
};

/* A small term to send. */
extern const struct slice an_atom;

int client_socket(uint16_t port);
/* Reads what is there. Returns whether the end of the stream was seen. */
bool client_read(struct client *client);
/* Has the handshake ended well? */
bool client_is_up(struct client *client);
/* Sends the first packet of the handshake; client_read goes on with it. */
void client_open(struct client *client, uint16_t port, const char *name, const char *cookie);
/* The whole handshake. */
void client_connect(struct client *client, uint16_t port, const char *name);
void client_close(struct client *client);
/* Turns the loop meanwhile, so that the node can read. */
void write_all(int fd, struct slice bytes);
/* {6, Pid, '', To} and a payload, from the pid of `from`. */
void client_frame_to(struct buffer *frame, const char *from, const char *to, struct slice payload);
/* To `brain`; client_send sends it. */
void client_frame(struct buffer *frame, const char *from, struct slice payload);
void client_send(struct client *client, const char *from, struct slice payload);

#endif
