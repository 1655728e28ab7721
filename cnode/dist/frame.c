/* frame: a byte stream becomes messages.
 *
 * The reader is in one of three states:
 *
 *   AT_HEAD      between frames; up to HEAD_BYTES - 1 bytes of the next frame's head are held
 *   IN_FRAME     a frame that is large, or was not whole in the bytes read, fills its own block
 *   IN_FRAGMENT  a following fragment streams straight to the end of its sequence's block
 *
 * A whole small frame never leaves AT_HEAD: it is handed on where it lies. The head is the length
 * and the first 18 bytes: enough to refuse a wrong type, or to find the sequence of a fragment,
 * before anything is allocated. */
#include "brain/frame.h"

#include <assert.h>
#include <string.h>

#include "frame_reader.h"

struct frame_reader *frame_reader_create(
    bool header, const struct frame_limits *limits, struct frame_events events)
{
    struct frame_reader *reader = heap_allocate_zeroed(sizeof *reader);
    if (reader == NULL)
        return NULL;
    reader->header = header;
    reader->limits = *limits;
    if (reader->limits.scan_budget == 0)
        reader->limits.scan_budget = 1; /* else no large message would ever be checked */
    if (reader->limits.message_bytes > SIZE_MAX / 4)
        reader->limits.message_bytes = SIZE_MAX / 4; /* so that sums of sizes do not wrap */
    reader->events = events;
    reader->account = (struct frame_account){0, limits->pending_bytes, limits->total};
    reader->state = AT_HEAD;
    return reader;
}

static void backlog_release(struct frame_reader *reader)
{
    if (reader->backlog == NULL)
        return;
    heap_release(reader->backlog);
    frame_account_give(&reader->account, reader->backlog_size);
    reader->backlog = NULL;
    reader->backlog_begin = reader->backlog_size = 0;
}

void frame_reader_destroy(struct frame_reader *reader)
{
    if (reader == NULL)
        return;
    for (size_t i = 0; i < SEQUENCE_BUCKETS; i++) {
        struct sequence *sequence = reader->bucket[i];
        while (sequence != NULL) {
            struct sequence *next = sequence->next;
            frame_assembly_close(&sequence->assembly, &reader->account);
            heap_release(sequence);
            sequence = next;
        }
    }
    if (reader->frame.block != NULL)
        frame_assembly_close(&reader->frame, &reader->account);
    backlog_release(reader);
    assert(reader->account.held == 0);
    heap_release(reader);
}

/* ---- errors ---------------------------------------------------------------------------------- */

int frame_refuse(struct frame_reader *reader, int error, const char *text, struct slice offending)
{
    reader->error_text = text;
    reader->offending_size = offending.size < OFFENDING_BYTES ? offending.size : OFFENDING_BYTES;
    if (reader->offending_size > 0)
        memcpy(reader->offending, offending.data, reader->offending_size);
    return error;
}

int frame_refuse_memory(struct frame_reader *reader, int error, struct slice offending)
{
    return frame_refuse(reader, error,
        error == BRAIN_ENOMEM ? "no memory for a partial message"
                              : "partial messages take more than the limit of pending bytes",
        offending);
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* The frame in reader->frame: takes what is there of it, and hands it on when it is whole. */
static int fill_frame(struct frame_reader *reader, struct slice *input)
{
    struct frame_assembly *frame = &reader->frame;
    const size_t length = reader->length;
    size_t size = length - frame->size < input->size ? length - frame->size : input->size;
    frame_assembly_append(frame, input->data, size);
    if (size > 0)
        input->data += size, input->size -= size;
    const bool whole = frame->size == length;

    if (reader->kind == KIND_FIRST)
        return whole ? frame_begin_sequence(reader, frame) : 0;
    int status;
    if (length <= FRAME_LARGE_BYTES) {
        if (!whole)
            return 0;
        reader->state = AT_HEAD;
        status = frame_deliver_in_place(reader, slice_of(frame->block->bytes, length), false);
        frame_assembly_close(frame, &reader->account);
        return status;
    }
    return frame_advance_large(reader, whole);
}

/* Which kind of frame has this head (its first min(length, FRAGMENT_HEAD) bytes)? */
static int kind_of(
    struct frame_reader *reader, uint64_t length, struct slice head, enum frame_kind *kind)
{
    if (head.size < 3)
        return frame_refuse(reader, BRAIN_EPROTO, "frame of 1 or 2 bytes", head);
    if (!reader->header) {
        if (head.data[0] == ETF_VERSION)
            return frame_refuse(
                reader, BRAIN_EPROTO, "distribution header, but none was agreed on", head);
        if (head.data[0] != TYPE_PASS_THROUGH || head.data[1] != ETF_VERSION)
            return frame_refuse(reader, BRAIN_EPROTO, "unknown frame type", head);
        *kind = KIND_WHOLE;
        return 0;
    }
    if (head.data[0] == TYPE_PASS_THROUGH)
        return frame_refuse(
            reader, BRAIN_EPROTO, "pass-through frame where headers were agreed on", head);
    if (head.data[0] != ETF_VERSION || head.data[1] < TYPE_NORMAL || head.data[1] > TYPE_NEXT)
        return frame_refuse(reader, BRAIN_EPROTO, "unknown frame type", head);
    *kind = head.data[1] == TYPE_NORMAL  ? KIND_WHOLE
            : head.data[1] == TYPE_FIRST ? KIND_FIRST
                                         : KIND_NEXT;
    /* A first fragment has one byte more, the number of atom cache references. */
    if (*kind != KIND_WHOLE && length < (uint64_t)FRAGMENT_HEAD + (*kind == KIND_FIRST))
        return frame_refuse(reader, BRAIN_EPROTO, "fragment shorter than its head", head);
    if (*kind == KIND_WHOLE && head.data[2] != 0)
        return frame_refuse(reader, BRAIN_EPROTO, "atom cache used, but never offered", head);
    return 0;
}

/* What a fragmented message takes in all, if its fragments are as long as the first one, as those
 * of Erlang nodes are. Not believed of short ones, which would promise a lot for nothing. */
static uint64_t expected_of(const struct frame_reader *reader, uint64_t length, struct slice head)
{
    const uint64_t limit = reader->limits.message_bytes + FRAGMENT_HEAD + 1;
    const uint64_t more = load_be64(head.data + 10) - 1, part = length - FRAGMENT_HEAD - 1;
    if (part < FRAME_LARGE_BYTES || length > limit)
        return length;
    return more > (limit - length) / part ? limit : length + more * part;
}

/* A frame begins: `head` has been taken from the input, the rest of the frame follows there. */
static int begin_frame(
    struct frame_reader *reader, uint64_t length, struct slice head, enum frame_kind kind)
{
    if (kind == KIND_NEXT)
        return frame_begin_next(reader, length, head);
    if (length > SIZE_MAX / 2)
        return frame_refuse(reader, BRAIN_ETOOBIG, "frame larger than the limit", head);
    const uint64_t expected = kind == KIND_FIRST ? expected_of(reader, length, head) : length;
    int status = frame_assembly_open(&reader->frame, &reader->account, (size_t)length, expected);
    if (status < 0)
        return frame_refuse_memory(reader, status, head);
    frame_assembly_append(&reader->frame, head.data, head.size);
    reader->kind = kind;
    reader->length = (size_t)length;
    reader->state = IN_FRAME;
    return GO_ON;
}

/* Between frames with nothing held: whole small frames are taken where they lie. Returns 0 when
 * the input ends inside a head, GO_ON when a frame has begun that needs more than its place. */
static int read_in_place(struct frame_reader *reader, struct slice *input)
{
    while (input->size >= LENGTH_BYTES) {
        const uint64_t length = load_be32(input->data);
        if (length == 0) {
            input->data += LENGTH_BYTES, input->size -= LENGTH_BYTES;
            reader->events.on_tick(reader->events.context);
            continue;
        }
        const struct slice body = slice_of(input->data + LENGTH_BYTES, input->size - LENGTH_BYTES);
        if (length > reader->limits.frame_bytes)
            return frame_refuse(reader, BRAIN_ETOOBIG, "frame larger than the limit", *input);
        const struct slice head =
            slice_of(body.data, length < FRAGMENT_HEAD ? (size_t)length : FRAGMENT_HEAD);
        if (body.size < head.size)
            return 0;
        enum frame_kind kind;
        int status = kind_of(reader, length, head, &kind);
        if (status < 0)
            return status;
        if (kind == KIND_WHOLE && length <= FRAME_LARGE_BYTES && length <= body.size) {
            const struct slice frame = slice_of(body.data, (size_t)length);
            input->data = frame.data + frame.size, input->size = body.size - frame.size;
            status = frame_deliver_in_place(reader, frame, !reader->from_backlog);
            if (status < 0)
                return status;
            continue;
        }
        input->data = head.data + head.size, input->size = body.size - head.size;
        return begin_frame(reader, length, head, kind);
    }
    return 0;
}

/* Takes bytes into `held` until it has `size`. */
static bool hold(struct frame_reader *reader, struct slice *input, size_t size)
{
    if (reader->held_size >= size)
        return true;
    size_t taken = size - reader->held_size;
    if (taken > input->size)
        taken = input->size;
    if (taken > 0) {
        memcpy(reader->held + reader->held_size, input->data, taken);
        input->data += taken, input->size -= taken;
        reader->held_size += taken;
    }
    return reader->held_size == size;
}

/* A frame whose head came in pieces. */
static int read_held(struct frame_reader *reader, struct slice *input)
{
    if (!hold(reader, input, LENGTH_BYTES))
        return 0;
    const uint64_t length = load_be32(reader->held);
    if (length == 0) {
        reader->held_size = 0;
        reader->events.on_tick(reader->events.context);
        return GO_ON;
    }
    if (length > reader->limits.frame_bytes)
        return frame_refuse(reader, BRAIN_ETOOBIG, "frame larger than the limit",
            slice_of(reader->held, reader->held_size));
    const size_t head_size = length < FRAGMENT_HEAD ? (size_t)length : FRAGMENT_HEAD;
    if (!hold(reader, input, LENGTH_BYTES + head_size))
        return 0;
    reader->held_size = 0;
    const struct slice head = slice_of(reader->held + LENGTH_BYTES, head_size);
    enum frame_kind kind;
    int status = kind_of(reader, length, head, &kind);
    return status < 0 ? status : begin_frame(reader, length, head, kind);
}

static int read_head(struct frame_reader *reader, struct slice *input)
{
    if (reader->held_size > 0)
        return read_held(reader, input);
    int status = read_in_place(reader, input);
    if (status == 0 && input->size > 0)
        return read_held(reader, input);
    return status;
}

/* ---- feeding --------------------------------------------------------------------------------- */

static int run(struct frame_reader *reader, struct slice *input)
{
    int status;
    do {
        switch (reader->state) {
        case IN_FRAME:
            status = fill_frame(reader, input);
            break;
        case IN_FRAGMENT:
            status = frame_fill_fragment(reader, input);
            break;
        case AT_HEAD:
        default:
            status = read_head(reader, input);
            break;
        }
    } while (status == GO_ON);
    return status;
}

/* Keeps what was fed and could not be looked at yet. */
static int keep_backlog(struct frame_reader *reader, struct slice rest)
{
    int status = frame_account_take(&reader->account, rest.size);
    if (status < 0)
        return frame_refuse_memory(reader, status, rest);
    uint8_t *copy = heap_allocate(rest.size);
    if (copy == NULL) {
        frame_account_give(&reader->account, rest.size);
        return frame_refuse_memory(reader, BRAIN_ENOMEM, rest);
    }
    memcpy(copy, rest.data, rest.size);
    reader->backlog = copy;
    reader->backlog_begin = 0;
    reader->backlog_size = rest.size;
    return 0;
}

int frame_reader_feed(struct frame_reader *reader, struct slice bytes)
{
    if (reader->error < 0)
        return reader->error;
    const bool from_backlog = reader->backlog != NULL;
    assert(!from_backlog || bytes.size == 0); /* the last call returned 1 */
    struct slice input = bytes;
    if (from_backlog)
        input = slice_of(
            reader->backlog + reader->backlog_begin, reader->backlog_size - reader->backlog_begin);
    reader->from_backlog = from_backlog;
    reader->scan_left = reader->limits.scan_budget;

    int status = run(reader, &input);
    if (status == 1 && input.size > 0) {
        if (from_backlog) {
            reader->backlog_begin = reader->backlog_size - input.size;
        } else {
            int kept = keep_backlog(reader, input);
            status = kept < 0 ? kept : status;
        }
    } else if (from_backlog) {
        backlog_release(reader);
    }
    if (status < 0)
        reader->error = status;
    return status;
}

bool frame_reader_area(struct frame_reader *reader, uint8_t **area, size_t *size)
{
    if (reader->error < 0 || reader->backlog != NULL)
        return false;
    struct frame_assembly *assembly;
    uint64_t rest;
    if (reader->state == IN_FRAME) {
        assembly = &reader->frame;
        rest = reader->length - assembly->size;
    } else if (reader->state == IN_FRAGMENT && !reader->sequence->cut) {
        assembly = &reader->sequence->assembly;
        rest = reader->fragment_left;
    } else {
        return false;
    }
    if (rest < AREA_BYTES)
        return false;
    *area = assembly->block->bytes + assembly->size;
    *size = (size_t)rest;
    return true;
}

const char *frame_reader_error(const struct frame_reader *reader, struct slice *offending)
{
    *offending = slice_of(reader->offending, reader->offending_size);
    return reader->error_text != NULL ? reader->error_text : "no error";
}

uint64_t frame_reader_pending(const struct frame_reader *reader)
{
    return reader->account.held;
}
