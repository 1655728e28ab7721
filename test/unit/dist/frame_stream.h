/* frame_stream: streams of frames to feed to a frame reader, and a record of what it said about
 * them. For the tests of frame reader and outbox. */
#ifndef FRAME_STREAM_H
#define FRAME_STREAM_H

#include "brain/frame.h"

/* ---- bytes to feed: a plain arena, so that heap_fault sees only the reader's memory -----------
 */

enum { STREAM_BYTES = 4 << 20 };

struct stream {
    uint8_t *data;
    size_t size;
};

struct stream stream_new(void);
void put(struct stream *s, const void *data, size_t size);
void put_hex(struct stream *s, const char *text);
void put_be32(struct stream *s, uint32_t v);
void put_be64(struct stream *s, uint64_t v);

/* {2,'',''} is not what nodes send, but a control tuple like any other. */
static const uint8_t control[] = {104, 3, 97, 2, 119, 0, 119, 0};

/* BINARY_EXT of `size` bytes that depend on `seed`, as one payload. */
void put_binary(struct stream *s, uint32_t size, unsigned seed);
/* A list of `count` small integers, one element each. */
void put_list(struct stream *s, uint32_t count);
void put_nested(struct stream *s, uint32_t depth);
void put_whole(struct stream *s, bool header, const struct stream *payload);
void put_first(struct stream *s, uint64_t id, uint64_t fragment, const void *p, size_t size);
void put_next(struct stream *s, uint64_t id, uint64_t fragment, const void *p, size_t size);
/* `payload` as `count` fragments of about the same size. */
void put_fragments(struct stream *s, uint64_t id, uint64_t count, const struct stream *payload);
/* The first ten of 1000 fragments, each nested deeper than is allowed. */
void put_deep_fragments(struct stream *s);

/* {big, <<200000 x "x">>} from OTP 25: fragments of 65555, 65554, 65554 and 3467 bytes. */
enum { BIG_CONTROL = 45, BIG_PAYLOAD = 200012 };

void put_big_200k(struct stream *s, uint64_t sequence);

/* ---- what the reader said ----------------------------------------------------------------------
 */

struct record {
    unsigned ticks, messages;
    struct stream log; /* every event with all its bytes */
    struct frame_message last;
    uint8_t last_payload[64];
    struct block *held;
    int answer;
};

void on_tick(void *context);

/* Of all that reads and writes here. */
extern struct budget total;

struct frame_limits roomy(void);
struct frame_reader *reader_new(bool header, const struct frame_limits *limits, struct record *r);
void reader_free(struct frame_reader *reader, struct record *r);
/* Feeds `size` bytes as a socket would: into the area when there is one, else a scratch buffer that
 * is poisoned afterwards; and goes on while the budget runs out. */
int pour(struct frame_reader *reader, const uint8_t *data, size_t size);
/* Runs a stream through a reader of its own; `*r` must be freed by record_free. */
int run(bool header, const struct frame_limits *limits, const struct stream *s, struct record *r);
void record_free(struct record *r);

#endif
