/* frame: a byte stream becomes messages.
 *
 * The reader is in one of three states:
 *
 *   AT_HEAD      between frames; up to HEAD_BYTES - 1 bytes of the next frame's head are held
 *   IN_FRAME     a frame that was not whole in the bytes read, or is large, fills a block of its
 * size IN_FRAGMENT  a following fragment streams straight to the end of its sequence's block
 *
 * A whole small frame never leaves AT_HEAD: it is handed on where it lies. The head is the length
 * and the first 18 bytes: enough to refuse a wrong type, or to find the sequence of a fragment,
 * before anything is allocated. */
#include "brain/frame.h"

#include <assert.h>
#include <string.h>

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

    enum { AT_HEAD, IN_FRAME, IN_FRAGMENT } state;
    size_t held_size;
    uint8_t held[HEAD_BYTES];
    enum frame_kind kind; /* IN_FRAME: of the frame in `frame` */
    struct frame_assembly frame;
    struct sequence *sequence; /* IN_FRAGMENT */
    uint64_t fragment_left;    /* IN_FRAGMENT: bytes of the fragment still to come */

    /* Bytes fed behind a message whose check ran out of budget. */
    uint8_t *backlog;
    size_t backlog_begin, backlog_size;

    uint32_t sequence_count;
    struct sequence *bucket[SEQUENCE_BUCKETS];

    int error;
    const char *error_text;
    size_t offending_size;
    uint8_t offending[OFFENDING_BYTES];
};

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

static int refuse(struct frame_reader *reader, int error, const char *text, struct slice offending)
{
    reader->error_text = text;
    reader->offending_size = offending.size < OFFENDING_BYTES ? offending.size : OFFENDING_BYTES;
    if (reader->offending_size > 0)
        memcpy(reader->offending, offending.data, reader->offending_size);
    return error;
}

static int refuse_memory(struct frame_reader *reader, int error, struct slice offending)
{
    return refuse(reader, error,
        error == BRAIN_ENOMEM ? "no memory for a partial message"
                              : "partial messages take more than the limit of pending bytes",
        offending);
}

/* ---- sequences ------------------------------------------------------------------------------- */

/* Sequence ids are pids or counters: their low bits differ, and a peer that makes them collide only
 * slows down its own connection, by at most limits.sequences steps. */
static struct sequence **bucket_of(struct frame_reader *reader, uint64_t id)
{
    return &reader->bucket[(id ^ id >> 32) % SEQUENCE_BUCKETS];
}

static struct sequence *sequence_find(struct frame_reader *reader, uint64_t id)
{
    struct sequence *sequence = *bucket_of(reader, id);
    while (sequence != NULL && sequence->id != id)
        sequence = sequence->next;
    return sequence;
}

static void sequence_remove(struct frame_reader *reader, struct sequence *sequence)
{
    struct sequence **link = bucket_of(reader, sequence->id);
    while (*link != sequence)
        link = &(*link)->next;
    *link = sequence->next;
    frame_assembly_close(&sequence->assembly, &reader->account);
    heap_release(sequence);
    reader->sequence_count--;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* How long the control tuple at `offset` of a frame is. The control's own bytes bound its elements;
 * a tuple that is cut here, is longer than FRAME_CONTROL_BYTES or is no tuple breaks the protocol.
 */
static int locate_control(
    struct frame_reader *reader, struct slice frame, size_t offset, size_t *size)
{
    struct slice rest = slice_of(frame.data + offset, frame.size - offset);
    if (rest.size > FRAME_CONTROL_BYTES)
        rest.size = FRAME_CONTROL_BYTES;
    if (rest.size == 0)
        return refuse(reader, BRAIN_EPROTO, "frame without a control message", frame);
    if (rest.data[0] != ETF_SMALL_TUPLE && rest.data[0] != ETF_LARGE_TUPLE)
        return refuse(reader, BRAIN_EPROTO, "control message is not a tuple", frame);
    const struct etf_limits limits = {reader->limits.terms.max_depth, FRAME_CONTROL_BYTES};
    int status = etf_check(rest, limits, size);
    if (status == BRAIN_ENOMEM)
        return refuse(reader, status, "no memory to check a control message", frame);
    if (status < 0)
        return refuse(reader, BRAIN_EPROTO, "control message is cut or malformed", frame);
    return 0;
}

/* `payload` is what follows the control tuple; in pass-through mode with its version byte, which is
 * taken off. Returns BRAIN_ETERM when it cannot be a payload (real peers do send a version byte and
 * nothing after it). */
static int strip_version(const struct frame_reader *reader, struct slice *payload)
{
    if (reader->header || payload->size == 0)
        return 0;
    if (payload->data[0] != ETF_VERSION)
        return BRAIN_ETERM;
    payload->data++, payload->size--;
    return payload->size == 0 ? BRAIN_ETERM : 0;
}

static int deliver(struct frame_reader *reader, const struct frame_message *message)
{
    int status = reader->events.on_message(reader->events.context, message);
    if (status < 0)
        return refuse(reader, status, "the message was refused by its receiver", message->control);
    return GO_ON;
}

/* Where the control tuple begins in a frame of `kind`, behind type and empty atom cache. */
static size_t control_offset(const struct frame_reader *reader, enum frame_kind kind)
{
    if (kind == KIND_FIRST)
        return FRAGMENT_HEAD + 1;
    return reader->header ? 3 : 2;
}

/* A whole message in the read buffer or in the block of a small frame. */
static int deliver_in_place(struct frame_reader *reader, struct slice frame)
{
    const size_t offset = control_offset(reader, KIND_WHOLE);
    size_t size;
    int status = locate_control(reader, frame, offset, &size);
    if (status < 0)
        return status;
    struct frame_message message = {
        .control = slice_of(frame.data + offset, size),
        .payload = slice_of(frame.data + offset + size, frame.size - offset - size),
    };
    message.payload_error = strip_version(reader, &message.payload);
    return deliver(reader, &message);
}

/* Finds control and payload in an assembly that begins with a whole frame or a first fragment. */
static int assembly_locate(
    struct frame_reader *reader, struct frame_assembly *assembly, enum frame_kind kind)
{
    struct slice frame = slice_of(assembly->block->bytes, assembly->size);
    assembly->control = control_offset(reader, kind);
    int status = locate_control(reader, frame, assembly->control, &assembly->control_size);
    if (status < 0)
        return status;
    assembly->payload = assembly->control + assembly->control_size;
    struct slice payload =
        slice_of(frame.data + assembly->payload, assembly->size - assembly->payload);
    assembly->payload_error = strip_version(reader, &payload);
    assembly->payload = (size_t)(payload.data - frame.data);
    return 0;
}

static int assembly_check(struct frame_reader *reader, struct frame_assembly *assembly, bool last)
{
    int status = frame_assembly_check(assembly, reader->limits.terms, &reader->scan_left, last);
    if (status < 0)
        return refuse(reader, status, "no memory to check a large term", slice_of(NULL, 0));
    return status;
}

static int assembly_deliver(struct frame_reader *reader, struct frame_assembly *assembly)
{
    const uint8_t *bytes = assembly->block->bytes;
    const bool checked = assembly->checked && assembly->payload_error == 0;
    const struct frame_message message = {
        .control = slice_of(bytes + assembly->control, assembly->control_size),
        .payload = slice_of(bytes + assembly->payload, assembly->size - assembly->payload),
        .block = assembly->block,
        .payload_checked = checked,
        .marks = checked ? &assembly->scanner.marks : NULL,
        .payload_error = assembly->payload_error,
    };
    return deliver(reader, &message);
}

/* ---- fragments ------------------------------------------------------------------------------- */

/* The fragment that streams into reader->sequence: takes what is there of it, and delivers the
 * message behind its last byte. */
static int fill_fragment(struct frame_reader *reader, struct slice *input)
{
    struct sequence *sequence = reader->sequence;
    struct frame_assembly *assembly = &sequence->assembly;
    size_t size = input->size < reader->fragment_left ? input->size : (size_t)reader->fragment_left;
    if (!sequence->cut)
        frame_assembly_append(assembly, input->data, size);
    if (size > 0)
        input->data += size, input->size -= size;
    reader->fragment_left -= size;

    const bool last = sequence->fragment == 1 && reader->fragment_left == 0;
    if (last)
        frame_assembly_trim(assembly, &reader->account);
    int status = assembly_check(reader, assembly, last);
    if (status < 0)
        return status;
    if (assembly->payload_error != 0 && !sequence->cut) {
        sequence->cut = true;
        frame_assembly_cut(assembly, &reader->account);
    }
    if (reader->fragment_left > 0)
        return 0;
    if (!last) {
        sequence->fragment--;
        reader->state = AT_HEAD;
        return GO_ON;
    }
    if (status > 0)
        return 1; /* the rest of the check is for the next turn */
    reader->state = AT_HEAD;
    reader->sequence = NULL;
    status = assembly_deliver(reader, assembly);
    sequence_remove(reader, sequence);
    return status;
}

/* A following fragment begins; `head` is all of its head. */
static int begin_next(struct frame_reader *reader, uint64_t length, struct slice head)
{
    struct sequence *sequence = sequence_find(reader, load_be64(head.data + 2));
    if (sequence == NULL)
        return refuse(reader, BRAIN_EPROTO, "fragment of an unknown sequence", head);
    if (load_be64(head.data + 10) != sequence->fragment)
        return refuse(reader, BRAIN_EPROTO, "fragment out of order", head);
    const uint64_t more = length - FRAGMENT_HEAD;
    const uint64_t limit = reader->limits.message_bytes;
    if (more > limit || sequence->arrived > limit - more)
        return refuse(reader, BRAIN_ETOOBIG, "message larger than the limit", head);
    sequence->arrived += more;
    if (!sequence->cut) {
        /* `arrived` is within the limit; the first fragment's own head lies in the block too. */
        int status = frame_assembly_reserve(
            &sequence->assembly, &reader->account, more, limit + FRAGMENT_HEAD + 1);
        if (status < 0)
            return refuse_memory(reader, status, head);
    }
    reader->sequence = sequence;
    reader->fragment_left = more;
    reader->state = IN_FRAGMENT;
    return GO_ON;
}

/* A first fragment is here as a whole in `assembly`, which the new sequence takes over (or closes).
 */
static int begin_sequence(struct frame_reader *reader, struct frame_assembly *assembly)
{
    const struct slice frame = slice_of(assembly->block->bytes, assembly->size);
    const uint64_t id = load_be64(frame.data + 2);
    const uint64_t fragment = load_be64(frame.data + 10);
    const uint64_t arrived = frame.size - FRAGMENT_HEAD - 1;
    int status = 0;
    if (fragment == 0)
        status = refuse(reader, BRAIN_EPROTO, "fragment number 0", frame);
    else if (frame.data[FRAGMENT_HEAD] != 0)
        status = refuse(reader, BRAIN_EPROTO, "atom cache used, but never offered", frame);
    else if (sequence_find(reader, id) != NULL)
        status = refuse(reader, BRAIN_EPROTO, "sequence begun twice", frame);
    else if (reader->sequence_count >= reader->limits.sequences)
        status = refuse(reader, BRAIN_ETOOBIG, "too many fragmented messages at once", frame);
    else if (arrived > reader->limits.message_bytes)
        status = refuse(reader, BRAIN_ETOOBIG, "message larger than the limit", frame);
    else
        status = assembly_locate(reader, assembly, KIND_FIRST);
    struct sequence *sequence = status < 0 ? NULL : heap_allocate(sizeof *sequence);
    if (status == 0 && sequence == NULL)
        status = refuse_memory(reader, BRAIN_ENOMEM, frame);
    if (status < 0) {
        frame_assembly_close(assembly, &reader->account);
        return status;
    }
    *sequence = (struct sequence){*bucket_of(reader, id), id, fragment, arrived, false, *assembly};
    *bucket_of(reader, id) = sequence;
    reader->sequence_count++;
    *assembly = (struct frame_assembly){.block = NULL};
    reader->sequence = sequence;
    reader->fragment_left = 0;
    reader->state = IN_FRAGMENT; /* and at its end: fill_fragment does the rest */
    return GO_ON;
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* The frame in reader->frame: takes what is there of it, and hands it on when it is whole. */
static int fill_frame(struct frame_reader *reader, struct slice *input)
{
    struct frame_assembly *frame = &reader->frame;
    const size_t length = frame->block->size;
    size_t size = length - frame->size < input->size ? length - frame->size : input->size;
    frame_assembly_append(frame, input->data, size);
    if (size > 0)
        input->data += size, input->size -= size;
    const bool whole = frame->size == length;

    if (reader->kind == KIND_FIRST)
        return whole ? begin_sequence(reader, frame) : 0;
    int status;
    if (length <= FRAME_LARGE_BYTES) {
        if (!whole)
            return 0;
        reader->state = AT_HEAD;
        status = deliver_in_place(reader, slice_of(frame->block->bytes, length));
        frame_assembly_close(frame, &reader->account);
        return status;
    }
    /* The control is looked for only when all of it must be here: as late as this, a cut control
     * is a lie about the frame's length. */
    if (frame->payload == 0 && (whole || frame->size >= FRAME_CONTROL_BYTES + 8)) {
        status = assembly_locate(reader, frame, KIND_WHOLE);
        if (status < 0)
            return status;
    }
    status = assembly_check(reader, frame, whole);
    if (status < 0)
        return status;
    if (!whole)
        return 0;
    if (status > 0)
        return 1;
    reader->state = AT_HEAD;
    status = assembly_deliver(reader, frame);
    frame_assembly_close(frame, &reader->account);
    return status;
}

/* Which kind of frame has this head (its first min(length, FRAGMENT_HEAD) bytes)? */
static int kind_of(
    struct frame_reader *reader, uint64_t length, struct slice head, enum frame_kind *kind)
{
    if (head.size < 3)
        return refuse(reader, BRAIN_EPROTO, "frame of 1 or 2 bytes", head);
    if (!reader->header) {
        if (head.data[0] == ETF_VERSION)
            return refuse(
                reader, BRAIN_EPROTO, "distribution header, but none was agreed on", head);
        if (head.data[0] != TYPE_PASS_THROUGH || head.data[1] != ETF_VERSION)
            return refuse(reader, BRAIN_EPROTO, "unknown frame type", head);
        *kind = KIND_WHOLE;
        return 0;
    }
    if (head.data[0] == TYPE_PASS_THROUGH)
        return refuse(
            reader, BRAIN_EPROTO, "pass-through frame where headers were agreed on", head);
    if (head.data[0] != ETF_VERSION || head.data[1] < TYPE_NORMAL || head.data[1] > TYPE_NEXT)
        return refuse(reader, BRAIN_EPROTO, "unknown frame type", head);
    *kind = head.data[1] == TYPE_NORMAL  ? KIND_WHOLE
            : head.data[1] == TYPE_FIRST ? KIND_FIRST
                                         : KIND_NEXT;
    /* A first fragment has one byte more, the number of atom cache references. */
    if (*kind != KIND_WHOLE && length < (uint64_t)FRAGMENT_HEAD + (*kind == KIND_FIRST))
        return refuse(reader, BRAIN_EPROTO, "fragment shorter than its head", head);
    if (*kind == KIND_WHOLE && head.data[2] != 0)
        return refuse(reader, BRAIN_EPROTO, "atom cache used, but never offered", head);
    return 0;
}

/* A frame begins: `head` has been taken from the input, the rest of the frame follows there. */
static int begin_frame(
    struct frame_reader *reader, uint64_t length, struct slice head, enum frame_kind kind)
{
    if (kind == KIND_NEXT)
        return begin_next(reader, length, head);
    if (length > SIZE_MAX / 2)
        return refuse(reader, BRAIN_ETOOBIG, "frame larger than the limit", head);
    int status = frame_assembly_open(&reader->frame, &reader->account, (size_t)length);
    if (status < 0)
        return refuse_memory(reader, status, head);
    frame_assembly_append(&reader->frame, head.data, head.size);
    reader->kind = kind;
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
            return refuse(reader, BRAIN_ETOOBIG, "frame larger than the limit", *input);
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
            status = deliver_in_place(reader, frame);
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
        return refuse(reader, BRAIN_ETOOBIG, "frame larger than the limit",
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
            status = fill_fragment(reader, input);
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
        return refuse_memory(reader, status, rest);
    uint8_t *copy = heap_allocate(rest.size);
    if (copy == NULL) {
        frame_account_give(&reader->account, rest.size);
        return refuse_memory(reader, BRAIN_ENOMEM, rest);
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
        rest = assembly->block->size - assembly->size;
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
