/* channel_fixture: one channel of a node brain@localhost, and by hand the peer on its other side.
 */
#ifndef CHANNEL_FIXTURE_H
#define CHANNEL_FIXTURE_H

#include "brain/channel.h"

#define FLAGS_ERLANG UINT64_C(0xD07DF7FBD) /* what OTP 25 offers */
#define FLAGS_EI     UINT64_C(0x407074F9C)

/* What a process sends with gen_server:call and sys, in the notation of terms_append. */
#define SYSTEM(request) "{system {P [alias|R]} " request "}"
#define CALL(request)   "{'$gen_call' {P [alias|R]} " request "}"

struct fixture {
    struct channel_node node;
    struct channel *channel;
    uint64_t now_ms;
    int status;        /* of the last feed or clock */
    struct buffer out; /* what the channel sent and the test has not looked at */
    uint32_t random;
    bool header;   /* frames have distribution headers */
    bool echo;     /* answer calls with {ok, Request}, except the request noreply */
    bool puts_off; /* but only when on_settle comes, where that may be */
    struct slice put_off[16];
    unsigned put_offs, put_offs_ever;
    /* seen by on_up and on_message: */
    unsigned ups, messages;      /* to all of our names */
    const char *name;            /* of the last message, when it was for one of the others */
    struct buffer payload, from; /* of the last message */
    int payload_error;
    bool has_marks, has_block;
};

/* A channel that accepts, before its handshake. `flags`: what our node offers. False: no memory. */
bool fixture_open(struct fixture *fixture, uint64_t flags, uint32_t creation);
void fixture_close(struct fixture *fixture);

/* The peer's packets, and all of them with our answers forgotten; asserts that it is up. */
void fixture_send_name(struct fixture *fixture, const char *peer, uint64_t peer_flags);
void fixture_send_reply(struct fixture *fixture, const char *cookie);
void fixture_connect(struct fixture *fixture, const char *peer, uint64_t peer_flags);

/* A channel that is up: its peer an Erlang node, or an ei client. */
void connect_full(struct fixture *fixture);
void connect_ei(struct fixture *fixture);

/* Feeds in pieces of random size until an error; returns fixture->status. */
int fixture_feed(struct fixture *fixture, struct slice bytes);
/* A frame in hex with spaces, without its length. */
int fixture_frame(struct fixture *fixture, const char *hex);
/* Appends a frame as this connection has them: terms in the notation of terms_append; payload may
 * be NULL. */
void fixture_frame_append(
    const struct fixture *fixture, struct buffer *out, const char *control, const char *payload);
/* Feeds one. */
int fixture_message(struct fixture *fixture, const char *control, const char *payload);

/* Takes everything that the channel wants to send to the end of fixture->out. */
void fixture_drain(struct fixture *fixture);
/* Drains; is that what came out, nothing more? Then forgets it. NULL: nothing. */
void fixture_expect_hex(struct fixture *fixture, const char *where, const char *hex);
void fixture_expect(struct fixture *fixture, const char *control, const char *payload);

void hex_append(struct buffer *out, const char *hex);

/* Terms of the tests, elements separated by spaces: {..} [..] [..|Tail] integers atoms 'atoms'
 * "binaries", and P, Q: pids of the peer; S: our pid; D: a dead pid of our node; F: a pid of a
 * third node; R, T: references of the peer. */
void terms_append(struct buffer *out, const char *text);

#endif
