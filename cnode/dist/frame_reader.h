/* frame_reader: the state of one frame reader, shared by the two files that work on it.
 *
 * Private to the frame reader: frame.c cuts the stream into frames, frame_message.c makes messages
 * of frames and fragments. */
#ifndef BRAIN_DIST_FRAME_READER_H
#define BRAIN_DIST_FRAME_READER_H

#include "brain/frame.h"

#include "frame_assembly.h"

enum {
    LENGTH_BYTES = 4,
    FRAGMENT_HEAD = 18, /* 131, type, sequence:64, fragment:64 */
    HEAD_BYTES = LENGTH_BYTES + FRAGMENT_HEAD,
    TYPE_PASS_THROUGH = 'p',
    TYPE_NORMAL = 68,
    TYPE_FIRST = 69,
    TYPE_NEXT = 70,
    SEQUENCE_BUCKETS = 64,
    OFFENDING_BYTES = 32,
    EXPECTED_BYTES = 256,
    /* Reading a shorter rest than this straight into place is not worth a read(2) of its own. */
    AREA_BYTES = FRAME_LARGE_BYTES,
    GO_ON = 2, /* beside 0 and 1 of frame_reader_feed */
};

enum frame_kind { KIND_WHOLE, KIND_FIRST, KIND_NEXT };

struct sequence {
    struct sequence *next; /* in its bucket */
    uint64_t id;
    uint64_t fragment; /* the one that arrives now or next; 1 is the last */
    uint64_t arrived;  /* bytes of control and payload, also those that were not kept */
    bool cut;          /* the payload is refused, its bytes are no longer kept */
    struct frame_assembly assembly;
};

struct frame_reader {
    bool header;
    struct frame_limits limits;
    struct frame_events events;
    struct frame_account account;
    uint64_t scan_left; /* elements that this call may still look at */
    bool from_backlog;  /* this call's bytes are the backlog's, gone when it returns */

    enum { AT_HEAD, IN_FRAME, IN_FRAGMENT } state;
    size_t held_size;
    uint8_t held[HEAD_BYTES];
    enum frame_kind kind; /* IN_FRAME: of the frame in `frame` */
    size_t length;        /* IN_FRAME: of that frame */
    struct frame_assembly frame;
    struct sequence *sequence; /* IN_FRAGMENT */
    uint64_t fragment_left;    /* IN_FRAGMENT: bytes of the fragment still to come */

    /* Bytes fed behind a message whose check ran out of budget. */
    uint8_t *backlog;
    size_t backlog_begin, backlog_size;

    /* frame_reader_expect; size 0: nothing. */
    size_t expected_size, free_at, free_end;
    uint8_t expected[EXPECTED_BYTES];

    uint32_t sequence_count;
    struct sequence *bucket[SEQUENCE_BUCKETS];

    int error;
    const char *error_text;
    size_t offending_size;
    uint8_t offending[OFFENDING_BYTES];
};

/* Remembers why; returns `error`. */
int frame_refuse(struct frame_reader *reader, int error, const char *text, struct slice offending);
int frame_refuse_memory(struct frame_reader *reader, int error, struct slice offending);

/* ---- frame_message.c: frames become messages ---------------------------------------------- */

/* A whole message in the read buffer or in the block of a small frame. Like every function here:
 * GO_ON, 1 when the scan budget is used up, 0 when more input is needed, or an error. */
int frame_deliver_in_place(struct frame_reader *reader, struct slice frame, bool stays);
/* The frame in reader->frame has grown, to all of its size when `whole`, and is large: locates its
 * control, checks its payload, and delivers it when it can. */
int frame_advance_large(struct frame_reader *reader, bool whole);
/* A following fragment begins; `head` is all of its head. */
int frame_begin_next(struct frame_reader *reader, uint64_t length, struct slice head);
/* A first fragment is here as a whole in `assembly`, which the new sequence takes over; on failure
 * it is closed. */
int frame_begin_sequence(struct frame_reader *reader, struct frame_assembly *assembly);
/* The fragment that streams into reader->sequence: takes what is there of it, and delivers the
 * message behind its last byte. */
int frame_fill_fragment(struct frame_reader *reader, struct slice *input);

#endif
