/* One question to an epmd: on which port does that node listen? */
#include <string.h>

#include "brain/epmd.h"
#include "epmd_address.h"

struct epmd_lookup {
    uv_tcp_t socket;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    struct buffer request;
    uint8_t answer[512]; /* more than the longest part of it that matters */
    size_t answer_size;
    epmd_lookup_cb callback; /* NULL: answered, or cancelled */
    void *context;
    unsigned handles;
};

static void on_closed(uv_handle_t *handle)
{
    struct epmd_lookup *lookup = handle->data;
    if (--lookup->handles != 0)
        return;
    buffer_release(&lookup->request);
    heap_release(lookup);
}

static void finish(struct epmd_lookup *lookup, int status, uint16_t port)
{
    epmd_lookup_cb callback = lookup->callback;
    if (callback == NULL)
        return;
    epmd_lookup_cancel(lookup);
    callback(lookup->context, status, port);
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct epmd_lookup *lookup = handle->data;
    buffer->base = (char *)lookup->answer + lookup->answer_size;
    buffer->len = sizeof(lookup->answer) - lookup->answer_size;
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    (void)buffer;
    struct epmd_lookup *lookup = stream->data;
    if (size < 0) {
        finish(lookup, BRAIN_EPROTO, 0); /* closed before a whole answer */
        return;
    }
    lookup->answer_size += (size_t)size;
    uint16_t port = 0;
    int result = epmd_read_lookup(slice_of(lookup->answer, lookup->answer_size), &port);
    if (result != 1)
        finish(lookup, result, port);
}

static void on_written(uv_write_t *write, int status)
{
    if (status < 0)
        finish(write->data, BRAIN_EIO, 0);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct epmd_lookup *lookup = connect->data;
    if (lookup->callback == NULL)
        return;
    if (status < 0) {
        finish(lookup, BRAIN_EIO, 0);
        return;
    }
    uv_buf_t request = uv_buf_init((char *)lookup->request.data, (unsigned)lookup->request.size);
    lookup->write.data = lookup;
    uv_stream_t *stream = (uv_stream_t *)&lookup->socket;
    if (uv_write(&lookup->write, stream, &request, 1, on_written) != 0 ||
        uv_read_start(stream, on_allocate, on_read) != 0)
        finish(lookup, BRAIN_EIO, 0);
}

/* Also the way of a connect that failed at once: answers never come before epmd_lookup_start
 * returned. */
static void on_timer(uv_timer_t *timer)
{
    struct epmd_lookup *lookup = timer->data;
    finish(lookup, lookup->answer_size == SIZE_MAX ? BRAIN_EIO : BRAIN_ETIMEOUT, 0);
}

struct epmd_lookup *epmd_lookup_start(uv_loop_t *loop, const char *address, uint16_t epmd_port,
    const char *alive, uint32_t timeout_ms, epmd_lookup_cb callback, void *context)
{
    struct sockaddr_storage socket_address;
    struct epmd_lookup *lookup = heap_allocate_zeroed(sizeof(*lookup));
    if (lookup == NULL)
        return NULL;
    buffer_init(&lookup->request);
    epmd_write_lookup(&lookup->request, slice_of_string(alive));
    if (buffer_status(&lookup->request) != 0 || uv_tcp_init(loop, &lookup->socket) != 0) {
        buffer_release(&lookup->request);
        heap_release(lookup);
        return NULL;
    }
    uv_timer_init(loop, &lookup->timer);
    lookup->handles = 2;
    lookup->socket.data = lookup->timer.data = lookup->connect.data = lookup;
    lookup->callback = callback;
    lookup->context = context;
    if (epmd_socket_address(address, epmd_port, &socket_address) != 0 ||
        uv_tcp_connect(&lookup->connect, &lookup->socket, (const struct sockaddr *)&socket_address,
            on_connected) != 0) {
        lookup->answer_size = SIZE_MAX;
        timeout_ms = 0;
    }
    uv_timer_start(&lookup->timer, on_timer, timeout_ms, 0);
    return lookup;
}

void epmd_lookup_cancel(struct epmd_lookup *lookup)
{
    lookup->callback = NULL;
    uv_close((uv_handle_t *)&lookup->socket, on_closed);
    uv_close((uv_handle_t *)&lookup->timer, on_closed);
}
