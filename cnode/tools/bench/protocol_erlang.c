#include "protocol_erlang.h"

#include <string.h>

#include "brain/control.h"
#include "brain/etf.h"

enum {
    LENGTH_BYTES = 4,
    /* A frame's beginning up to its value is shorter: two pids, a tag, some atoms. */
    HEAD_LIMIT = REST_LIMIT - LENGTH_BYTES,
    FRAGMENT_HEAD = 18, /* 131, 69 or 70, sequence, fragment */
};

static const struct etf_limits limits = {.max_depth = 64, .max_elements = 100000};

/* ---- the end of a message -------------------------------------------------------------------- */

static void finish(struct link *link, struct arriving *arriving)
{
    struct request *request = link_request(link, arriving->tag);
    arriving->used = false;
    if (arriving->ignored || request == NULL)
        return;
    if (arriving->wrong || arriving->position != link->values->size)
        link_wrong(link, request, "another value than its own");
    else
        link_answered(link, request);
}

/* Checks the next bytes of the current frame's part of a value. Returns how many there were. */
static size_t read_body(struct link *link, struct erlang *erlang, const uint8_t *bytes, size_t size)
{
    struct arriving *arriving = erlang->current;
    size_t part = erlang->frame_left < size ? (size_t)erlang->frame_left : size;
    erlang->frame_left -= part;
    if (!arriving->ignored && !arriving->wrong) {
        const struct request *request = link_request(link, arriving->tag);
        arriving->wrong = request == NULL || !value_matches(link->values, request->key,
                                                 arriving->position, bytes, part);
        arriving->position += part;
    }
    if (erlang->frame_left == 0) {
        if (arriving->next_fragment == 0)
            finish(link, arriving);
        erlang->current = NULL;
    }
    return part;
}

/* ---- the beginning of a message -------------------------------------------------------------- */

static const char *print_term(struct buffer *text, const struct etf_reader *reader)
{
    buffer_init(text);
    etf_print(text, slice_of(reader->at, (size_t)(reader->end - reader->at)), 100);
    buffer_append_u8(text, 0);
    return buffer_status(text) == 0 ? (const char *)text->data : "something";
}

static int answer_is_odd(struct link *link, const char *what, const struct etf_reader *reader)
{
    struct buffer text;
    link_fail(link, "%s sent %s: %s", link->options->target, what, print_term(&text, reader));
    buffer_release(&text);
    return -1;
}

static void answer_is_wrong(
    struct link *link, struct request *request, const struct etf_reader *reader)
{
    struct buffer text;
    struct etf_reader at = *reader;
    bool nothing = etf_take_atom(&at, "ko");
    link_wrong(link, request, "%s%s", print_term(&text, reader),
        nothing ? ": nothing there (--work fill stores the keys)" : "");
    buffer_release(&text);
}

/* Reads {Tag, Answer} up to the value, where `reader` is left; `whole`: nothing is missing behind
 * it. An answer without a value is dealt with here, and ignored from then on. Returns whether it is
 * right so far (1 or 0), or -1. */
static int read_answer(struct link *link, struct etf_reader *reader, struct arriving *arriving,
    bool whole, const uint8_t **tag_term)
{
    const struct etf_reader begin = *reader;
    uint32_t arity;
    uint64_t tag = 0;
    int status = etf_read_tuple(reader, &arity);
    *tag_term = reader->at;
    if (status != 0 || arity != 2 || etf_read_uint64(reader, &tag) != 0)
        return answer_is_odd(link, "no answer to a tagged request", &begin);
    struct request *request = tag <= UINT32_MAX ? link_request(link, (uint32_t)tag) : NULL;
    if (request == NULL)
        return answer_is_odd(link, "an answer that was not asked for", &begin);
    arriving->tag = request->tag;
    const struct etf_reader answer = *reader;
    if (request->kind == REQUEST_GET) {
        if (etf_read_tuple(reader, &arity) == 0 && arity == 2 && etf_take_atom(reader, "ok") &&
            etf_peek(reader) == ETF_BINARY && reader->end - reader->at >= 5 &&
            load_be32(reader->at + 1) == link->values->size) {
            reader->at += 5;
            return 1;
        }
    } else if (etf_take_atom(reader, "ok") && whole && etf_at_end(reader)) {
        arriving->ignored = true;
        link_answered(link, request);
        return 1;
    }
    *reader = answer;
    arriving->ignored = true;
    answer_is_wrong(link, request, &answer);
    return 0;
}

/* Is this message for us? */
static bool is_ours(const struct erlang *erlang, const struct control *control)
{
    return (control->operation == CONTROL_SEND || control->operation == CONTROL_SEND_SENDER) &&
           slice_equal(control->to, slice_of(erlang->pid, erlang->pid_size));
}

/* The `head` bytes of this frame (its length included) were those of a right answer, whose tag is
 * at `tag_term`: the next ones will look the same. */
static void learn(struct erlang *erlang, enum request_kind kind, const uint8_t *bytes, size_t head,
    size_t whole, const uint8_t *tag_term)
{
    struct shape *shape = &erlang->shapes[kind];
    if (head > sizeof(shape->bytes) || whole > REST_LIMIT || *tag_term != ETF_INTEGER)
        return;
    memcpy(shape->bytes, bytes, head);
    shape->size = head;
    shape->whole = whole;
    shape->tag_at = (size_t)(tag_term + 1 - bytes);
}

static struct arriving *sequence_begin(struct erlang *erlang, uint64_t sequence)
{
    for (size_t i = 0; i < ARRIVING_LIMIT; i++) {
        struct arriving *arriving = &erlang->fragmented[i];
        if (!arriving->used) {
            *arriving = (struct arriving){.sequence = sequence, .used = true};
            return arriving;
        }
    }
    return NULL;
}

static struct arriving *sequence_find(struct erlang *erlang, uint64_t sequence)
{
    for (size_t i = 0; i < ARRIVING_LIMIT; i++) {
        if (erlang->fragmented[i].used && erlang->fragmented[i].sequence == sequence)
            return &erlang->fragmented[i];
    }
    return NULL;
}

/* Steps over what stands before the control message and finds the message it belongs to.
 * Returns the offset of the control message, 0 when there is none (a following fragment: the value
 * goes on at FRAGMENT_HEAD), or -1. */
static ptrdiff_t read_frame_kind(
    struct link *link, struct erlang *erlang, const uint8_t *frame, size_t size)
{
    erlang->whole = (struct arriving){.used = true};
    erlang->current = &erlang->whole;
    if (size >= 3 && frame[0] == 'p' && frame[1] == ETF_VERSION)
        return 2;
    if (size >= 3 && frame[0] == ETF_VERSION && frame[1] == 68 && frame[2] == 0)
        return 3;
    bool first = size > FRAGMENT_HEAD && frame[1] == 69 && frame[FRAGMENT_HEAD] == 0;
    bool next = size >= FRAGMENT_HEAD && frame[1] == 70;
    if (frame[0] != ETF_VERSION || (!first && !next))
        return link_fail(link, "%s sent a frame of an unknown kind", link->options->target);
    uint64_t sequence = load_be64(frame + 2), number = load_be64(frame + 10);
    struct arriving *arriving =
        first ? sequence_begin(erlang, sequence) : sequence_find(erlang, sequence);
    if (arriving == NULL || number == 0 || (next && number != arriving->next_fragment))
        return link_fail(link, "%s sent a fragment out of order", link->options->target);
    arriving->next_fragment = number - 1;
    erlang->current = arriving;
    return first ? FRAGMENT_HEAD + 1 : 0;
}

/* Reads the control message at `frame` + `at` and, when it is an answer, that up to its value.
 * `here` of the frame's `size` bytes are there. Returns the offset of the value, or -1. */
static ptrdiff_t read_message(struct link *link, struct erlang *erlang, const uint8_t *frame,
    size_t at, size_t here, size_t size)
{
    struct arriving *arriving = erlang->current;
    struct etf_reader reader;
    struct control control;
    etf_reader_init(&reader, slice_of(frame + at, here - at), limits);
    if (control_read(&reader, &control) != 0)
        return link_fail(link, "%s sent a broken control message", link->options->target);
    arriving->ignored = !is_ours(erlang, &control);
    if (arriving->ignored)
        return reader.at - frame;
    if (!erlang->header && etf_peek(&reader) == ETF_VERSION)
        reader.at++;
    const uint8_t *tag_term;
    int right = read_answer(link, &reader, arriving, here == size, &tag_term);
    if (right < 0)
        return -1;
    size_t value_at = (size_t)(reader.at - frame);
    bool is_get = !arriving->ignored;
    if (right != 0 && arriving == &erlang->whole &&
        (!is_get || size - value_at == link->values->size))
        learn(erlang, is_get ? REQUEST_GET : REQUEST_SET, frame - LENGTH_BYTES,
            LENGTH_BYTES + value_at, LENGTH_BYTES + size, tag_term);
    return (ptrdiff_t)value_at;
}

/* Reads a frame up to where its part of a value begins. Returns the bytes it is done with, 0 when
 * more are needed, or -1. */
static ptrdiff_t read_frame(
    struct link *link, struct erlang *erlang, const uint8_t *bytes, size_t size)
{
    if (size < LENGTH_BYTES)
        return 0;
    const uint8_t *frame = bytes + LENGTH_BYTES;
    size_t frame_size = load_be32(bytes);
    size_t here = size - LENGTH_BYTES < frame_size ? size - LENGTH_BYTES : frame_size;
    if (frame_size == 0) { /* a tick: we live, too */
        if (output_is_empty(&link->output))
            memset(output_extend(&link->output, LENGTH_BYTES), 0, LENGTH_BYTES);
        return LENGTH_BYTES;
    }
    if (here < frame_size && here < HEAD_LIMIT)
        return 0;
    ptrdiff_t at = read_frame_kind(link, erlang, frame, here);
    ptrdiff_t value_at =
        at > 0 ? read_message(link, erlang, frame, (size_t)at, here, frame_size) : FRAGMENT_HEAD;
    if (at < 0 || value_at < 0)
        return -1;
    erlang->frame_left = frame_size - (size_t)value_at;
    if (erlang->frame_left == 0)
        read_body(link, erlang, frame, 0);
    return LENGTH_BYTES + value_at;
}

/* ---- the fast way ---------------------------------------------------------------------------- */

/* Takes a whole answer that looks like the right one seen before, and is right. Returns its size,
 * or 0. */
static inline size_t take_known(struct link *link, const struct shape *shape,
    enum request_kind kind, const uint8_t *bytes, size_t size)
{
    if (size < shape->whole || shape->size == 0 || memcmp(bytes, shape->bytes, shape->tag_at) != 0)
        return 0;
    size_t behind = shape->tag_at + 4;
    struct request *request = link_request(link, load_be32(bytes + shape->tag_at));
    if (request == NULL || request->kind != kind ||
        memcmp(bytes + behind, shape->bytes + behind, shape->size - behind) != 0)
        return 0;
    if (kind == REQUEST_GET && !value_is(link->values, request->key, bytes + shape->size))
        return 0;
    link_answered(link, request);
    return shape->whole;
}

static ptrdiff_t erlang_parse(struct link *link, const uint8_t *bytes, size_t size)
{
    struct erlang *erlang = link->state;
    size_t at = 0;
    while (at < size) {
        if (erlang->current != NULL) {
            at += read_body(link, erlang, bytes + at, size - at);
            continue;
        }
        size_t taken =
            take_known(link, &erlang->shapes[REQUEST_GET], REQUEST_GET, bytes + at, size - at);
        if (taken == 0)
            taken =
                take_known(link, &erlang->shapes[REQUEST_SET], REQUEST_SET, bytes + at, size - at);
        if (taken == 0) {
            ptrdiff_t read = read_frame(link, erlang, bytes + at, size - at);
            if (read <= 0)
                return read < 0 ? read : (ptrdiff_t)at;
            taken = (size_t)read;
        }
        at += taken;
    }
    return (ptrdiff_t)at;
}

static void erlang_close(struct link *link)
{
    heap_release(link->state);
    link->state = NULL;
}

const struct protocol protocol_erlang = {.name = "erlang",
    .is_erlang = true,
    .open = erlang_open,
    .close = erlang_close,
    .parse = erlang_parse};
