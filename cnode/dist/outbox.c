/* outbox: messages become frames or fragments, in lanes where order asks for it.
 *
 *   begin..commit --small--> queue (outbox_queue.c) --> writev
 *                 --large--> lane --one fragment of each in turn--^
 *
 * Whatever reaches the queue goes out in that order: a frame is never cut by another one. A lane is
 * open until its last fragment has reached the queue; from then on the queue keeps the order of its
 * receiver's messages. */
#include "brain/outbox.h"

#include <assert.h>
#include <string.h>

#include "outbox_queue.h"

enum {
    LENGTH_BYTES = 4,
    HEADER_PREFIX = LENGTH_BYTES + 3, /* length, 131, 68, 0 */
    FRAGMENT_PREFIX = LENGTH_BYTES + 18,
    FRAGMENT_DEFAULT = 65536,
    /* Most messages are shorter; a longer one makes its chunk grow. */
    BEGIN_ROOM = 2048,
    /* Fragments are chosen ahead of the socket up to here: enough for a writev that costs more in
     * copying (about 50 us) than in system call, little enough not to hold up what is committed
     * next by more than the socket's own buffer does. As long as the socket takes all that was
     * chosen there is nothing to be held up, and each time twice as much is chosen: several values
     * with one system call. */
    SCHEDULE_BYTES = 262144,
    SCHEDULE_LIMIT = 2097152,
    LANE_BUCKETS = 64,
    /* Of control and payload: an answer with a value that would be copied anyway. */
    OUTBOX_SMALL_BYTES = 4096,
};

/* How frames begin, their length to be filled in. */
static const uint8_t frame_header[HEADER_PREFIX] = {0, 0, 0, 0, 131, 68, 0};
static const uint8_t pass_through[] = {0, 0, 0, 0, 'p', 131};

/* A message in a lane. Its content is `head`, then `tail`. */
struct lane_message {
    struct lane_message *next;
    struct block *head;
    struct value tail;
    uint64_t size;   /* of the content */
    uint64_t offset; /* of the content, where the next fragment begins */
    bool large;      /* takes a turn of its own */
    /* Fragmented: the content is control and payload. Else it is one whole frame. */
    bool fragmented;
    size_t control_size;
    uint64_t sequence;
    uint64_t fragments; /* still to come; the next one bears this number */
};

struct lane {
    uint64_t receiver;
    struct lane *next_in_bucket; /* receiver 0 is in no bucket: nothing must follow it */
    struct lane *next_in_turn;
    struct lane_message *first, *last;
};

struct outbox {
    bool header;
    struct outbox_limits limits;
    uint64_t queued;   /* bytes on the wire to come, queue and lanes together */
    uint64_t schedule; /* fragments are chosen up to here */
    struct outbox_queue queue;

    /* The message between outbox_begin and outbox_commit. */
    struct buffer *writing; /* NULL: none; &broken: no memory for it */
    struct buffer broken;
    size_t begin;   /* its offset in `writing` */
    size_t payload; /* offset of the first byte behind its control; 0: no payload */

    uint64_t next_sequence;
    struct lane *turn_first, *turn_last;
    struct lane *bucket[LANE_BUCKETS];
};

struct outbox *outbox_create(bool header, const struct outbox_limits *limits)
{
    struct outbox *outbox = heap_allocate_zeroed(sizeof *outbox);
    if (outbox == NULL)
        return NULL;
    outbox->header = header;
    outbox->limits = *limits;
    outbox->schedule = SCHEDULE_BYTES;
    if (outbox->limits.fragment_bytes == 0)
        outbox->limits.fragment_bytes = FRAGMENT_DEFAULT;
    outbox->broken.failed = true;
    outbox->next_sequence = 1;
    return outbox;
}

static void lane_message_free(struct lane_message *message)
{
    block_drop(message->head);
    value_drop(&message->tail);
    heap_release(message);
}

void outbox_destroy(struct outbox *outbox)
{
    if (outbox == NULL)
        return;
    while (outbox->turn_first != NULL) {
        struct lane *lane = outbox->turn_first;
        outbox->turn_first = lane->next_in_turn;
        while (lane->first != NULL) {
            struct lane_message *message = lane->first;
            lane->first = message->next;
            lane_message_free(message);
        }
        heap_release(lane);
    }
    outbox_queue_release(&outbox->queue);
    if (outbox->limits.total != NULL)
        budget_give(outbox->limits.total, outbox->queued);
    heap_release(outbox);
}

void outbox_set_header(struct outbox *outbox, bool header)
{
    assert(outbox->writing == NULL && outbox->turn_first == NULL);
    outbox->header = header;
}

static int charge(struct outbox *outbox, uint64_t bytes)
{
    const uint64_t limit = outbox->limits.queued_bytes;
    if (bytes > limit || outbox->queued > limit - bytes)
        return BRAIN_ETOOBIG;
    if (outbox->limits.total != NULL && !budget_take(outbox->limits.total, bytes))
        return BRAIN_ETOOBIG;
    outbox->queued += bytes;
    return 0;
}

static void discharge(struct outbox *outbox, uint64_t bytes)
{
    outbox->queued -= bytes;
    if (outbox->limits.total != NULL)
        budget_give(outbox->limits.total, bytes);
}

/* ---- lanes ----------------------------------------------------------------------------------- */

static struct lane **lane_bucket(struct outbox *outbox, uint64_t receiver)
{
    return &outbox->bucket[(receiver ^ receiver >> 32) % LANE_BUCKETS];
}

static struct lane *lane_find(struct outbox *outbox, uint64_t receiver)
{
    if (receiver == 0 || outbox->turn_first == NULL)
        return NULL;
    struct lane *lane = *lane_bucket(outbox, receiver);
    while (lane != NULL && lane->receiver != receiver)
        lane = lane->next_in_bucket;
    return lane;
}

static void turn_append(struct outbox *outbox, struct lane *lane)
{
    lane->next_in_turn = NULL;
    if (outbox->turn_first == NULL)
        outbox->turn_first = lane;
    else
        outbox->turn_last->next_in_turn = lane;
    outbox->turn_last = lane;
}

static struct lane *lane_open(struct outbox *outbox, uint64_t receiver)
{
    struct lane *lane = heap_allocate_zeroed(sizeof *lane);
    if (lane == NULL)
        return NULL;
    lane->receiver = receiver;
    if (receiver != 0) {
        lane->next_in_bucket = *lane_bucket(outbox, receiver);
        *lane_bucket(outbox, receiver) = lane;
    }
    turn_append(outbox, lane);
    return lane;
}

/* An empty lane that is in no turn any more. */
static void lane_close(struct outbox *outbox, struct lane *lane)
{
    if (lane->receiver != 0) {
        struct lane **link = lane_bucket(outbox, lane->receiver);
        while (*link != lane)
            link = &(*link)->next_in_bucket;
        *link = lane->next_in_bucket;
    }
    heap_release(lane);
}

/* Puts a part of a message's content into the queue: short parts as copies. */
static void push_content(
    struct outbox *outbox, const struct lane_message *message, uint64_t offset, uint64_t size)
{
    struct outbox_queue *queue = &outbox->queue;
    struct buffer *out = &queue->current->bytes;
    const size_t head_size = (size_t)(message->size - message->tail.size);
    size_t begin = out->size;
    while (size > 0) {
        const bool in_head = offset < head_size;
        struct block *block = in_head ? message->head : message->tail.block;
        const uint8_t *data = in_head ? message->head->bytes + offset
                                      : message->tail.data + (size_t)(offset - head_size);
        uint64_t part = in_head && size > head_size - offset ? head_size - offset : size;
        if (part <= OUTBOX_COPY_BYTES) {
            buffer_append(out, data, (size_t)part);
        } else {
            outbox_queue_push(queue, begin);
            begin = out->size;
            outbox_queue_push_value(queue, block, data, (size_t)part);
        }
        offset += part;
        size -= part;
    }
    outbox_queue_push(queue, begin);
}

/* Puts the next fragment of a message, or all of an unfragmented one, into the queue. false: no
 * memory, nothing happened. */
static bool message_step(struct outbox *outbox, struct lane_message *message)
{
    struct outbox_queue *queue = &outbox->queue;
    /* At most: fragment header, head part, tail part; short parts are copied behind the header. */
    if (outbox_queue_reserve(queue, 3) < 0)
        return false;
    struct buffer *out = outbox_queue_room(queue, FRAGMENT_PREFIX + 1 + 2 * OUTBOX_COPY_BYTES);
    if (out == NULL)
        return false;
    uint64_t size = message->size - message->offset;
    if (message->fragmented) {
        const bool first = message->offset == 0;
        uint64_t part = outbox->limits.fragment_bytes;
        if (first && message->control_size > part)
            part = message->control_size;
        if (size > part)
            size = part;
        const size_t begin = out->size;
        buffer_append_be32(out, (uint32_t)(FRAGMENT_PREFIX - LENGTH_BYTES + first + size));
        buffer_append_u8(out, 131);
        buffer_append_u8(out, first ? 69 : 70);
        buffer_append_be64(out, message->sequence);
        buffer_append_be64(out, message->fragments);
        if (first)
            buffer_append_u8(out, 0);
        outbox_queue_push(queue, begin);
        message->fragments--;
    }
    push_content(outbox, message, message->offset, size);
    message->offset += size;
    assert(!message->fragmented || (message->fragments == 0) == (message->offset == message->size));
    return true;
}

/* Gives the first lane its turn: one fragment or one large frame, and the small messages that
 * waited behind it when it was the message's last. false: no memory, try again later. */
static bool take_turn(struct outbox *outbox)
{
    struct lane *lane = outbox->turn_first;
    do {
        struct lane_message *message = lane->first;
        if (!message_step(outbox, message))
            return false;
        if (message->offset < message->size)
            break;
        lane->first = message->next;
        lane_message_free(message);
    } while (lane->first != NULL && !lane->first->large);
    outbox->turn_first = lane->next_in_turn;
    if (lane->first == NULL)
        lane_close(outbox, lane);
    else
        turn_append(outbox, lane);
    return true;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Does a message with so much payload go in a lane, small ones before it? */
static bool is_large(const struct outbox *outbox, uint64_t payload)
{
    return outbox->header && payload > outbox->limits.fragment_bytes;
}

static bool is_fragmented(const struct outbox *outbox, uint64_t payload)
{
    return is_large(outbox, payload) && payload > outbox->limits.whole_bytes;
}

struct buffer *outbox_begin(struct outbox *outbox)
{
    assert(outbox->writing == NULL);
    outbox->writing = outbox_queue_room(&outbox->queue, BEGIN_ROOM);
    outbox->payload = 0;
    if (outbox->writing == NULL) {
        outbox->writing = &outbox->broken;
        return outbox->writing;
    }
    outbox->begin = outbox->writing->size;
    if (outbox->header)
        buffer_append(outbox->writing, frame_header, sizeof frame_header);
    else
        buffer_append(outbox->writing, pass_through, sizeof pass_through);
    return outbox->writing;
}

void outbox_payload(struct outbox *outbox)
{
    assert(outbox->writing != NULL && outbox->payload == 0);
    outbox->payload = outbox->writing->size;
    if (!outbox->header)
        buffer_append_u8(outbox->writing, 131);
}

void outbox_abort(struct outbox *outbox)
{
    assert(outbox->writing != NULL);
    if (outbox->writing != &outbox->broken) {
        outbox->writing->size = outbox->begin;
        outbox->writing->failed = false;
    }
    outbox->writing = NULL;
}

/* Queues the written message as one frame. */
static int commit_frame(struct outbox *outbox, struct value tail)
{
    struct buffer *out = outbox->writing;
    const uint64_t size = (uint64_t)(out->size - outbox->begin) + tail.size;
    if (size - LENGTH_BYTES > UINT32_MAX)
        return BRAIN_ETOOBIG;
    if (outbox_queue_reserve(&outbox->queue, 2) < 0)
        return BRAIN_ENOMEM;
    int status = charge(outbox, size);
    if (status < 0)
        return status;
    store_be32(out->data + outbox->begin, (uint32_t)(size - LENGTH_BYTES));
    outbox_queue_push(&outbox->queue, outbox->begin);
    outbox_queue_push_value(&outbox->queue, tail.block, tail.data, tail.size);
    outbox->writing = NULL;
    return 0;
}

/* What a message of a lane puts on the wire, and its form; BRAIN_ETOOBIG when no frame can carry
 * it. */
static int message_plan(struct outbox *outbox, struct lane_message *message, uint64_t *wire)
{
    uint64_t frame = message->size - LENGTH_BYTES;
    *wire = message->size;
    if (message->fragmented) {
        const uint64_t part = outbox->limits.fragment_bytes;
        uint64_t first = message->control_size > part ? message->control_size : part;
        message->fragments = 1 + (message->size - first + part - 1) / part;
        *wire = message->size + message->fragments * FRAGMENT_PREFIX + 1;
        frame = first + FRAGMENT_PREFIX;
    }
    return frame > UINT32_MAX ? BRAIN_ETOOBIG : 0;
}

/* Queues the written message, of `payload` bytes, in the lane of its receiver. */
static int commit_to_lane(struct outbox *outbox, struct lane *lane, uint64_t receiver,
    uint64_t payload, struct value tail)
{
    struct buffer *out = outbox->writing;
    const bool fragmented = is_fragmented(outbox, payload);
    const size_t begin = outbox->begin + (fragmented ? HEADER_PREFIX : 0);
    const size_t head_size = out->size - begin;
    struct lane_message *message = heap_allocate_zeroed(sizeof *message);
    if (message == NULL)
        return BRAIN_ENOMEM;
    message->tail = value_hold(tail);
    message->size = (uint64_t)head_size + tail.size;
    message->large = is_large(outbox, payload);
    message->fragmented = fragmented;
    message->control_size = fragmented ? outbox->payload - begin : 0;
    message->head = block_create(head_size);

    uint64_t wire = 0;
    int status = message->head == NULL ? BRAIN_ENOMEM : message_plan(outbox, message, &wire);
    if (status == 0)
        status = charge(outbox, wire);
    if (status < 0) {
        lane_message_free(message);
        return status;
    }
    if (lane == NULL && (lane = lane_open(outbox, receiver)) == NULL) {
        discharge(outbox, wire);
        lane_message_free(message);
        return BRAIN_ENOMEM;
    }
    memcpy(message->head->bytes, out->data + begin, head_size);
    if (fragmented)
        message->sequence = outbox->next_sequence++;
    else
        store_be32(message->head->bytes, (uint32_t)(message->size - LENGTH_BYTES));
    if (lane->first == NULL)
        lane->first = message;
    else
        lane->last->next = message;
    lane->last = message;
    outbox_abort(outbox); /* the bytes live on in the lane */
    return 0;
}

int outbox_commit(struct outbox *outbox, uint64_t receiver, const struct value *value)
{
    struct buffer *out = outbox->writing;
    assert(out != NULL);
    struct value tail = value_none();
    if (value != NULL && value->size <= OUTBOX_COPY_BYTES) {
        buffer_append(out, value->data, value->size);
    } else if (value != NULL) {
        tail = value->block != NULL ? value_hold(*value) : value_copy(value_slice(*value));
        if (tail.block == NULL)
            out->failed = true;
    }
    int status = buffer_status(out);
    if (status == 0) {
        const uint64_t payload =
            outbox->payload == 0 ? 0 : (uint64_t)(out->size - outbox->payload) + tail.size;
        struct lane *lane = lane_find(outbox, receiver);
        if (is_large(outbox, payload) || lane != NULL)
            status = commit_to_lane(outbox, lane, receiver, payload, tail);
        else
            status = commit_frame(outbox, tail);
    }
    if (status < 0)
        outbox_abort(outbox);
    value_drop(&tail);
    return status;
}

static uint64_t size_of(const struct slice *parts, size_t count)
{
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += parts[i].size;
    return size;
}

static uint8_t *put_parts(uint8_t *at, const struct slice *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bytes_copy(at, parts[i].data, parts[i].size);
        at += parts[i].size;
    }
    return at;
}

int outbox_small(struct outbox *outbox, const struct slice *control, size_t controls,
    const struct slice *payload, size_t payloads)
{
    assert(outbox->writing == NULL);
    const uint64_t payload_size = size_of(payload, payloads);
    const uint64_t bytes = size_of(control, controls) + payload_size;
    if (outbox->turn_first != NULL || bytes > OUTBOX_SMALL_BYTES ||
        payload_size > outbox->limits.fragment_bytes)
        return OUTBOX_NOT_SMALL;
    const size_t prefix = outbox->header ? sizeof frame_header : sizeof pass_through;
    const size_t size = prefix + !outbox->header + (size_t)bytes;
    if (!outbox_queue_can_extend(&outbox->queue, size) &&
        (outbox_queue_reserve(&outbox->queue, 1) < 0 ||
            outbox_queue_room(&outbox->queue, size) == NULL))
        return BRAIN_ENOMEM;
    int status = charge(outbox, size);
    if (status < 0)
        return status;
    uint8_t *at = outbox_queue_extend(&outbox->queue, size);
    memcpy(at, outbox->header ? frame_header : pass_through, prefix);
    store_be32(at, (uint32_t)(size - LENGTH_BYTES));
    at = put_parts(at + prefix, control, controls);
    if (!outbox->header)
        *at++ = 131;
    put_parts(at, payload, payloads);
    return 0;
}

int outbox_raw(struct outbox *outbox, struct slice bytes)
{
    assert(outbox->writing == NULL);
    if (outbox_queue_reserve(&outbox->queue, 1) < 0)
        return BRAIN_ENOMEM;
    struct buffer *out = outbox_queue_room(&outbox->queue, bytes.size);
    if (out == NULL)
        return BRAIN_ENOMEM;
    int status = charge(outbox, bytes.size);
    if (status < 0)
        return status;
    const size_t begin = out->size;
    buffer_append_slice(out, bytes);
    outbox_queue_push(&outbox->queue, begin);
    return 0;
}

int outbox_tick(struct outbox *outbox)
{
    static const uint8_t tick[LENGTH_BYTES] = {0, 0, 0, 0};
    if (outbox->queued > 0)
        return 0;
    outbox_queue_shrink(&outbox->queue);
    return outbox_raw(outbox, slice_of(tick, sizeof tick));
}

bool outbox_is_empty(const struct outbox *outbox)
{
    return outbox->queued == 0;
}

uint64_t outbox_queued(const struct outbox *outbox)
{
    return outbox->queued;
}

size_t outbox_vector(struct outbox *outbox, struct iovec *vector, size_t limit)
{
    assert(outbox->writing == NULL);
    while (outbox->turn_first != NULL && outbox->queue.bytes < outbox->schedule &&
           outbox->queue.count < limit && take_turn(outbox)) {
    }
    return outbox_queue_vector(&outbox->queue, vector, limit);
}

void outbox_sent(struct outbox *outbox, size_t size)
{
    outbox_queue_sent(&outbox->queue, size);
    discharge(outbox, size);
    if (outbox->queue.bytes > 0)
        outbox->schedule = SCHEDULE_BYTES;
    else if (size >= outbox->schedule && outbox->schedule < SCHEDULE_LIMIT)
        outbox->schedule *= 2;
}
