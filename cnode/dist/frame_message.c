/* frame_message: whole frames and fragments become messages. */
#include <string.h>

#include "frame_reader.h"

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

void frame_reader_expect(
    struct frame_reader *reader, struct slice control, size_t free_at, size_t free_size)
{
    reader->expected_size = control.size <= EXPECTED_BYTES ? control.size : 0;
    reader->free_at = free_at;
    reader->free_end = free_at + free_size;
    memcpy(reader->expected, control.data, reader->expected_size);
}

/* Does a well-formed tuple of expected_size bytes begin here, the expected one? Then every byte of
 * it was checked when it came first. */
static bool is_expected(const struct frame_reader *reader, struct slice rest)
{
    const size_t size = reader->expected_size;
    const size_t free_end = reader->free_end;
    return size != 0 && rest.size >= size &&
           memcmp(rest.data, reader->expected, reader->free_at) == 0 &&
           memcmp(rest.data + free_end, reader->expected + free_end, size - free_end) == 0;
}

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
        return frame_refuse(reader, BRAIN_EPROTO, "frame without a control message", frame);
    if (rest.data[0] != ETF_SMALL_TUPLE && rest.data[0] != ETF_LARGE_TUPLE)
        return frame_refuse(reader, BRAIN_EPROTO, "control message is not a tuple", frame);
    const struct etf_limits limits = {reader->limits.terms.max_depth, FRAME_CONTROL_BYTES};
    int status = etf_check(rest, limits, size);
    if (status == BRAIN_ENOMEM)
        return frame_refuse(reader, status, "no memory to check a control message", frame);
    if (status < 0)
        return frame_refuse(reader, BRAIN_EPROTO, "control message is cut or malformed", frame);
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
        return frame_refuse(
            reader, status, "the message was refused by its receiver", message->control);
    return GO_ON;
}

/* Where the control tuple begins in a frame of `kind`, behind type and empty atom cache. */
static size_t control_offset(const struct frame_reader *reader, enum frame_kind kind)
{
    if (kind == KIND_FIRST)
        return FRAGMENT_HEAD + 1;
    return reader->header ? 3 : 2;
}

int frame_deliver_in_place(struct frame_reader *reader, struct slice frame, bool stays)
{
    const size_t offset = control_offset(reader, KIND_WHOLE);
    const bool expected = is_expected(reader, slice_of(frame.data + offset, frame.size - offset));
    size_t size = reader->expected_size;
    int status = expected ? 0 : locate_control(reader, frame, offset, &size);
    if (status < 0)
        return status;
    struct frame_message message = {
        .expected = expected,
        .stays = stays,
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
        return frame_refuse(reader, status, "no memory to check a large term", slice_of(NULL, 0));
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

int frame_fill_fragment(struct frame_reader *reader, struct slice *input)
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

int frame_begin_next(struct frame_reader *reader, uint64_t length, struct slice head)
{
    struct sequence *sequence = sequence_find(reader, load_be64(head.data + 2));
    if (sequence == NULL)
        return frame_refuse(reader, BRAIN_EPROTO, "fragment of an unknown sequence", head);
    if (load_be64(head.data + 10) != sequence->fragment)
        return frame_refuse(reader, BRAIN_EPROTO, "fragment out of order", head);
    const uint64_t more = length - FRAGMENT_HEAD;
    const uint64_t limit = reader->limits.message_bytes;
    if (more > limit || sequence->arrived > limit - more)
        return frame_refuse(reader, BRAIN_ETOOBIG, "message larger than the limit", head);
    sequence->arrived += more;
    if (!sequence->cut) {
        /* `arrived` is within the limit; the first fragment's own head lies in the block too. */
        int status = frame_assembly_reserve(
            &sequence->assembly, &reader->account, more, limit + FRAGMENT_HEAD + 1);
        if (status < 0)
            return frame_refuse_memory(reader, status, head);
    }
    reader->sequence = sequence;
    reader->fragment_left = more;
    reader->state = IN_FRAGMENT;
    return GO_ON;
}

int frame_begin_sequence(struct frame_reader *reader, struct frame_assembly *assembly)
{
    const struct slice frame = slice_of(assembly->block->bytes, assembly->size);
    const uint64_t id = load_be64(frame.data + 2);
    const uint64_t fragment = load_be64(frame.data + 10);
    const uint64_t arrived = frame.size - FRAGMENT_HEAD - 1;
    int status = 0;
    if (fragment == 0)
        status = frame_refuse(reader, BRAIN_EPROTO, "fragment number 0", frame);
    else if (frame.data[FRAGMENT_HEAD] != 0)
        status = frame_refuse(reader, BRAIN_EPROTO, "atom cache used, but never offered", frame);
    else if (sequence_find(reader, id) != NULL)
        status = frame_refuse(reader, BRAIN_EPROTO, "sequence begun twice", frame);
    else if (reader->sequence_count >= reader->limits.sequences)
        status = frame_refuse(reader, BRAIN_ETOOBIG, "too many fragmented messages at once", frame);
    else if (arrived > reader->limits.message_bytes)
        status = frame_refuse(reader, BRAIN_ETOOBIG, "message larger than the limit", frame);
    else
        status = assembly_locate(reader, assembly, KIND_FIRST);
    struct sequence *sequence = status < 0 ? NULL : heap_allocate(sizeof *sequence);
    if (status == 0 && sequence == NULL)
        status = frame_refuse_memory(reader, BRAIN_ENOMEM, frame);
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
    reader->state = IN_FRAGMENT; /* and at its end: frame_fill_fragment does the rest */
    return GO_ON;
}

/* ---- large frames ---------------------------------------------------------------------------- */

int frame_advance_large(struct frame_reader *reader, bool whole)
{
    struct frame_assembly *frame = &reader->frame;
    int status;
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
