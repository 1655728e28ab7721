#include "receiver.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "brain/etf.h"

/* PASS_THROUGH, the only frame type that a peer sends to one without atom cache and fragments.
 * SEND {2, Unused, To} and SEND_SENDER {22, From, To}: a message follows the control message.
 * Source: Erlang distribution protocol, "Protocol between Connected Nodes". */
enum { FRAME_PASS_THROUGH = 112, CONTROL_SEND = 2, CONTROL_SEND_SENDER = 22 };

enum { READ_STEP = 1 << 20, POLL_SLICE_MS = 100 };

static const struct etf_limits control_limits = {.max_depth = 64, .max_elements = 1 << 16};

volatile sig_atomic_t receiver_interrupted;

uint64_t receiver_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Waits until there is something to read. In slices, so that a signal that came just before poll
 * is not slept through. */
static int await_bytes(int descriptor, uint64_t deadline_ms)
{
    for (;;) {
        uint64_t at_ms = receiver_now_ms();
        if (at_ms >= deadline_ms || receiver_interrupted)
            return BRAIN_ETIMEOUT;
        uint64_t left_ms = deadline_ms - at_ms;
        struct pollfd poll_one = {.fd = descriptor, .events = POLLIN};
        int ready = poll(&poll_one, 1, left_ms < POLL_SLICE_MS ? (int)left_ms : POLL_SLICE_MS);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return BRAIN_ECLOSED;
    }
}

/* Appends exactly `size` bytes to `frame`. */
static int read_bytes(int descriptor, uint64_t deadline_ms, size_t size, struct buffer *frame)
{
    while (size > 0) {
        size_t step = size < READ_STEP ? size : READ_STEP;
        uint8_t *room = buffer_reserve(frame, step);
        if (room == NULL)
            return BRAIN_ENOMEM;
        int error = await_bytes(descriptor, deadline_ms);
        if (error != 0)
            return error;
        ssize_t got = recv(descriptor, room, step, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return BRAIN_ECLOSED;
        frame->size += (size_t)got;
        size -= (size_t)got;
    }
    return 0;
}

/* One frame without its length; a tick is answered and has size 0. */
static int read_frame(int descriptor, uint64_t deadline_ms, struct buffer *frame)
{
    static const uint8_t tick[4];
    buffer_clear(frame);
    int error = read_bytes(descriptor, deadline_ms, 4, frame);
    if (error != 0)
        return error;
    uint32_t size = load_be32(frame->data);
    buffer_clear(frame);
    if (size > RECEIVER_FRAME_LIMIT)
        return BRAIN_ETOOBIG;
    if (size == 0)
        return send(descriptor, tick, sizeof(tick), MSG_NOSIGNAL) < 0 ? BRAIN_ECLOSED : 0;
    return read_bytes(descriptor, deadline_ms, size, frame);
}

/* 0: `*message` is one for a process of ours. 1: the frame is something else (a link, a monitor).
 */
static int read_message(struct slice frame, struct slice *message)
{
    struct etf_reader reader;
    struct slice control;
    uint32_t arity;
    uint64_t operation;
    if (frame.size < 2 || frame.data[0] != FRAME_PASS_THROUGH || frame.data[1] != ETF_VERSION)
        return BRAIN_EPROTO;
    etf_reader_init(&reader, slice_of(frame.data + 2, frame.size - 2), control_limits);
    if (etf_read_term(&reader, &control) != 0)
        return BRAIN_EPROTO;
    *message = slice_of(reader.at, (size_t)(reader.end - reader.at));
    etf_reader_init(&reader, control, control_limits);
    if (etf_read_tuple(&reader, &arity) != 0 || etf_read_uint64(&reader, &operation) != 0)
        return BRAIN_EPROTO;
    return operation == CONTROL_SEND || operation == CONTROL_SEND_SENDER ? 0 : 1;
}

int receiver_await(
    int descriptor, uint64_t deadline_ms, struct buffer *frame, struct slice *message)
{
    int status;
    do {
        status = read_frame(descriptor, deadline_ms, frame);
        if (status == 0)
            status = frame->size == 0 ? 1 : read_message(buffer_slice(frame), message);
    } while (status == 1);
    return status;
}
