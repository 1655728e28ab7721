/* frame: distribution frames out of a byte stream, and fragments back into whole messages.
 *
 *   length:32 | bytes                                    length 0: a tick
 *   'p' 131 control [131 payload]                        peers without FRAGMENTS (ei, PHP)
 *   131 68 0 control [payload]                           distribution header, no atom cache
 *   131 69 sequence:64 fragment:64 0 control part        first fragment; ids count down to 1
 *   131 70 sequence:64 fragment:64 part                  the following ones
 *
 * Pure. A small frame is handed on where it lies in the read buffer. A frame that is larger than
 * 16 KiB, or not whole in what was read, gets a block of its own of exactly its size, and the
 * caller is told where to read the rest of it to (frame_reader_area); following fragments are read
 * straight to the end of their message. So a large value is not moved in user space. A control
 * tuple may be up to 64 KiB long. Source: ERTS user's guide, "Distribution Protocol", sections
 * "Protocol between Connected Nodes" and "Distribution Header". */
#ifndef BRAIN_FRAME_H
#define BRAIN_FRAME_H

#include "brain/base.h"
#include "brain/etf.h"

/* A whole message, reassembled, without version bytes: one control tuple, well-formed, and perhaps
 * a payload.
 *
 * A payload of up to 16 KiB is handed on unchecked: whoever reads it uses limits, and refuses bytes
 * behind the term (etf_at_end). A larger one was scanned while it arrived. */
struct frame_message {
    struct slice control;
    struct slice payload;          /* empty: none */
    struct block *block;           /* the block in which payload lies, to be held by whoever keeps
                                      part of it; NULL: it lies in the read buffer, copy it */
    bool payload_checked;          /* payload is exactly one well-formed term; marks are valid */
    const struct etf_marks *marks; /* offsets from payload.data; NULL when not checked */
    int payload_error;             /* the payload is not acceptable (BRAIN_ETERM, EDEPTH, EELEMENTS)
                                      but framing is intact: refuse the message, keep the link.
                                      BRAIN_ETERM also: 131 and nothing behind it, no 131, two
                                      terms. The payload's beginning may still be read to find whom
                                      to refuse; of a fragmented one 16 KiB are left. */
    bool expected;                 /* control is as frame_reader_expect said */
    bool stays; /* control and payload lie still until frame_reader_feed returns */
};

struct frame_events {
    void *context;
    void (*on_tick)(void *context);
    /* Slices are valid only during the call. A negative return value stops the reader with it. */
    int (*on_message)(void *context, const struct frame_message *message);
};

struct frame_limits {
    uint64_t frame_bytes;   /* of one frame */
    uint64_t message_bytes; /* of one reassembled message, control and payload */
    uint32_t sequences;     /* fragmented messages under way at once */
    uint64_t pending_bytes; /* in partial frames and unfinished sequences of this connection */
    struct etf_limits terms;
    uint64_t scan_budget; /* elements checked per call of frame_reader_feed */
    struct budget *total; /* pending bytes of all connections together; NULL: none */
};

struct frame_reader; /* opaque: cnode/dist/frame.c */

/* `header`: frames carry distribution headers (FRAGMENTS was negotiated), else 'p'. NULL: no
 * memory. */
struct frame_reader *frame_reader_create(
    bool header, const struct frame_limits *limits, struct frame_events events);
void frame_reader_destroy(struct frame_reader *reader);

/* Where the next bytes of the connection should be read to: inside the block of a large frame that
 * is under way (`*area` set, true), or anywhere (false): then read into a scratch buffer and feed
 * that. */
bool frame_reader_area(struct frame_reader *reader, uint8_t **area, size_t *size);

/* Feeds bytes read. When they were read into frame_reader_area, `bytes.data` is that area.
 * Consumes all of them. Returns 0 when all that could be done was done; 1 when the scan budget ran
 * out: call again with no bytes in the next turn of the loop, and do not feed more before it
 * returned 0 (the owner's loop serves other connections in between), except, at once, what was read
 * together with a large frame and lay behind it; or BRAIN_EPROTO (framing rules
 * broken: cut or empty or lying frame, unknown type, bad fragment order, atom cache used, malformed
 * control term), BRAIN_ETOOBIG (a limit; checked before memory is allocated), BRAIN_ENOMEM, or what
 * on_message returned: the connection must then be closed. */
int frame_reader_feed(struct frame_reader *reader, struct slice bytes);

/* The control tuples that follow are likely to have the bytes of this one, which was handed on and
 * understood, but for `free_size` bytes at `free_at`, any bytes at all: the number of a sender's
 * pid. Where that is so, message->expected says it, and the tuple was neither checked again nor
 * needs to be read again. Copied; a tuple longer than 256 bytes is not expected. */
void frame_reader_expect(
    struct frame_reader *reader, struct slice control, size_t free_at, size_t free_size);

/* More precise sentence of the last error, and its first bytes for the log. */
const char *frame_reader_error(const struct frame_reader *reader, struct slice *offending);

/* Bytes of memory this reader holds now in partial frames, sequences and input that waits for the
 * scan budget (not the up to 21 bytes of a frame's head, which lie in the reader itself). */
uint64_t frame_reader_pending(const struct frame_reader *reader);

#endif
