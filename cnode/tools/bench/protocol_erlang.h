/* protocol_erlang: Brain's messages on the Erlang distribution protocol, as a client node.
 *
 * Requests are tagged, because answers may come in another order than the requests:
 *
 *   {g, true, Id, Pid, Tag} -> {Tag, {ok, Value}}     {s, Id, Value, Pid, Tag} -> {Tag, ok}
 *
 * Reading is two ways. The slow one (protocol_erlang.c) decodes a frame with the project's own
 * reader, whatever form the server gave it, and checks everything. An answer that was right that
 * way is remembered without its tag and value (struct shape); the fast way compares the next ones
 * with it byte for byte, and leaves whatever differs to the slow one. Large values are checked
 * while they arrive, across fragments. */
#ifndef BRAIN_BENCH_PROTOCOL_ERLANG_H
#define BRAIN_BENCH_PROTOCOL_ERLANG_H

#include "brain/base.h"
#include "protocol.h"

/* A right answer, up to its value. */
struct shape {
    uint8_t bytes[512];
    size_t size;   /* 0: none seen yet */
    size_t tag_at; /* four bytes inside */
    size_t whole;  /* with the value */
};

/* A message that is under way: a large frame, or fragments. */
struct arriving {
    uint64_t sequence, next_fragment; /* 0: it is one frame */
    uint32_t tag;
    bool used, ignored, wrong;
    uint64_t position; /* in the value */
};

enum { ARRIVING_LIMIT = 64 /* of fragmented messages at once */ };

struct erlang {
    bool header; /* distribution headers, else 'p' */
    uint8_t pid[300];
    size_t pid_size;
    struct shape shapes[REQUEST_KINDS];
    uint64_t frame_left; /* bytes of the current frame still to come */
    struct arriving *current;
    struct arriving whole, fragmented[ARRIVING_LIMIT];
};

/* Handshake and templates: protocol_erlang_open.c. */
int erlang_open(struct link *link);

#endif
