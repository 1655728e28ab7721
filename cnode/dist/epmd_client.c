/* Registration with epmd: a socket that stays open for as long as the name should be known.
 *
 *   connect --> send ALIVE2_REQ --> read the answer --> registered, reading until it closes
 *      ^                                                               |
 *      +---------------- RETRY_MS after the socket is closed <---------+
 *
 * One timer serves both as the time limit of an attempt and as the pause before the next. */
#include <string.h>

#include "brain/epmd.h"
#include "brain/log.h"
#include "epmd_address.h"

enum {
    RETRY_MS = 500,        /* so that a restarted epmd knows us within 2 s */
    ANSWER_MS = 5000,      /* for one attempt */
    START_PAUSE_MS = 5000, /* between two attempts to start an epmd */
    /* A predecessor that was killed just now may still be in epmd's table for a moment. */
    FIRST_REFUSALS = 3,
    REFUSED_RETRY_MS = 300,
};

struct epmd_registration {
    uv_loop_t *loop;
    uv_tcp_t socket;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    struct sockaddr_storage address;
    char address_text[64];
    uint16_t epmd_port, port;
    char *alive;
    struct buffer request;
    uint8_t answer[64];
    size_t answer_size;
    struct epmd_events events;
    uint64_t started_epmd_ms;
    unsigned refusals;
    unsigned handles; /* not yet closed */
    bool socket_open, registered, was_registered, said_absent, said_lost, started_epmd, ended;
};

static void begin_attempt(struct epmd_registration *registration);

static void release(struct epmd_registration *registration)
{
    buffer_release(&registration->request);
    heap_release(registration->alive);
    heap_release(registration);
}

static void on_timer(uv_timer_t *timer);

static void on_socket_closed(uv_handle_t *handle)
{
    struct epmd_registration *registration = handle->data;
    registration->socket_open = false;
    if (--registration->handles == 0)
        release(registration);
    else if (!registration->ended)
        uv_timer_start(&registration->timer, on_timer,
            registration->refusals != 0 && !registration->was_registered ? REFUSED_RETRY_MS
                                                                         : RETRY_MS,
            0);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct epmd_registration *registration = handle->data;
    if (--registration->handles == 0)
        release(registration);
}

/* Ends this attempt, or this registration; the next begins when the socket is closed. */
static void drop_socket(struct epmd_registration *registration)
{
    if (registration->registered) {
        registration->registered = false;
        registration->said_lost = true;
        log_warning("epmd at %s:%u is gone: registering %s again as soon as it is back",
            registration->address_text, registration->epmd_port, registration->alive);
    }
    uv_timer_stop(&registration->timer);
    if (!uv_is_closing((uv_handle_t *)&registration->socket))
        uv_close((uv_handle_t *)&registration->socket, on_socket_closed);
}

static void say_absent(struct epmd_registration *registration, const char *what)
{
    if (registration->said_absent || registration->said_lost)
        return;
    registration->said_absent = true;
    log_warning(
        "epmd at %s:%u: %s; trying on", registration->address_text, registration->epmd_port, what);
}

/* False: not now, or not by this node. */
static bool start_epmd(struct epmd_registration *registration)
{
    uint64_t now_ms = uv_now(registration->loop);
    if (registration->events.start_epmd == NULL ||
        (registration->started_epmd && now_ms - registration->started_epmd_ms < START_PAUSE_MS))
        return false;
    registration->started_epmd = true;
    registration->started_epmd_ms = now_ms;
    registration->events.start_epmd(registration->events.context);
    return true;
}

/* The first node of a machine finds none: nobody has to do anything, unless it cannot be started.
 */
static void on_no_epmd(struct epmd_registration *registration)
{
    bool first = !registration->started_epmd;
    if (start_epmd(registration) && first && !registration->said_lost)
        log_info(
            "no epmd at %s:%u: starting one", registration->address_text, registration->epmd_port);
    else
        say_absent(registration, uv_strerror(UV_ECONNREFUSED));
}

static void on_accepted(struct epmd_registration *registration, uint32_t creation)
{
    bool first = !registration->was_registered;
    uv_timer_stop(&registration->timer);
    registration->registered = registration->was_registered = true;
    registration->said_absent = registration->said_lost = false;
    registration->refusals = 0;
    log_info("registered %s with epmd at %s:%u%s", registration->alive, registration->address_text,
        registration->epmd_port, first ? "" : " again");
    if (first)
        registration->events.on_registered(registration->events.context, creation);
}

static void on_name_taken(struct epmd_registration *registration)
{
    drop_socket(registration);
    if (registration->refusals < FIRST_REFUSALS)
        registration->refusals++;
    if (registration->refusals < FIRST_REFUSALS)
        return;
    if (registration->was_registered) {
        say_absent(registration, "another node has taken our name");
        return;
    }
    registration->ended = true;
    registration->events.on_refused(registration->events.context, BRAIN_EREFUSED);
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct epmd_registration *registration = handle->data;
    if (registration->registered) /* nothing is expected any more: read over it */
        registration->answer_size = 0;
    buffer->base = (char *)registration->answer + registration->answer_size;
    buffer->len = sizeof(registration->answer) - registration->answer_size;
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    (void)buffer;
    struct epmd_registration *registration = stream->data;
    if (size < 0) { /* UV_ENOBUFS too: an answer longer than any */
        if (!registration->registered)
            say_absent(registration, "closed the connection without an answer");
        drop_socket(registration);
        return;
    }
    if (registration->registered)
        return;
    registration->answer_size += (size_t)size;
    uint32_t creation = 0;
    int result =
        epmd_read_register(slice_of(registration->answer, registration->answer_size), &creation);
    if (result == 0) {
        on_accepted(registration, creation);
    } else if (result == BRAIN_EREFUSED) {
        on_name_taken(registration);
    } else if (result < 0) {
        say_absent(registration, "what answers there is no epmd");
        drop_socket(registration);
    }
}

static void on_written(uv_write_t *write, int status)
{
    struct epmd_registration *registration = write->data;
    if (status < 0 && !uv_is_closing((uv_handle_t *)&registration->socket))
        drop_socket(registration);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct epmd_registration *registration = connect->data;
    if (uv_is_closing((uv_handle_t *)&registration->socket))
        return;
    if (status < 0) {
        if (status == UV_ECONNREFUSED)
            on_no_epmd(registration);
        else
            say_absent(registration, uv_strerror(status));
        drop_socket(registration);
        return;
    }
    uv_buf_t request =
        uv_buf_init((char *)registration->request.data, (unsigned)registration->request.size);
    registration->write.data = registration;
    uv_stream_t *stream = (uv_stream_t *)&registration->socket;
    if (uv_write(&registration->write, stream, &request, 1, on_written) != 0 ||
        uv_read_start(stream, on_allocate, on_read) != 0)
        drop_socket(registration);
}

static void on_timer(uv_timer_t *timer)
{
    struct epmd_registration *registration = timer->data;
    if (!registration->socket_open) {
        begin_attempt(registration);
        return;
    }
    say_absent(registration, "no answer in time");
    drop_socket(registration);
}

static void begin_attempt(struct epmd_registration *registration)
{
    registration->answer_size = 0;
    if (uv_tcp_init(registration->loop, &registration->socket) != 0) {
        uv_timer_start(&registration->timer, on_timer, RETRY_MS, 0);
        return;
    }
    registration->socket.data = registration->connect.data = registration;
    registration->socket_open = true;
    registration->handles++;
    uv_timer_start(&registration->timer, on_timer, ANSWER_MS, 0);
    int error = uv_tcp_connect(&registration->connect, &registration->socket,
        (const struct sockaddr *)&registration->address, on_connected);
    if (error != 0) {
        say_absent(registration, uv_strerror(error));
        drop_socket(registration);
    }
}

struct epmd_registration *epmd_register(uv_loop_t *loop, const char *address, uint16_t epmd_port,
    const char *alive, uint16_t port, struct epmd_events events)
{
    struct epmd_registration *registration = heap_allocate_zeroed(sizeof(*registration));
    if (registration == NULL)
        return NULL;
    size_t alive_size = strlen(alive);
    registration->loop = loop;
    registration->events = events;
    registration->epmd_port = epmd_port;
    registration->port = port;
    buffer_init(&registration->request);
    registration->alive = heap_allocate(alive_size + 1);
    if (registration->alive != NULL)
        memcpy(registration->alive, alive, alive_size + 1);
    epmd_write_register(&registration->request, slice_of_string(alive), port);
    if (registration->alive == NULL || buffer_status(&registration->request) != 0 ||
        epmd_socket_address(address, epmd_port, &registration->address) != 0 ||
        strlen(address) >= sizeof(registration->address_text)) {
        release(registration);
        return NULL;
    }
    strcpy(registration->address_text, address);
    uv_timer_init(loop, &registration->timer);
    registration->timer.data = registration;
    registration->handles = 1;
    begin_attempt(registration);
    return registration;
}

bool epmd_is_registered(const struct epmd_registration *registration)
{
    return registration->registered;
}

void epmd_unregister(struct epmd_registration *registration)
{
    registration->ended = true;
    registration->registered = false; /* on purpose: nothing to complain about */
    if (registration->socket_open)
        drop_socket(registration);
    uv_close((uv_handle_t *)&registration->timer, on_timer_closed);
}
