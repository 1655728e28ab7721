#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "brain/control.h"
#include "brain/etf.h"
#include "brain/handshake.h"
#include "protocol_erlang.h"

/* What `ei` offers, and PHP with it: 'p' frames, no fragments. */
#define DFLAGS_EI UINT64_C(0x407074F9C)

enum { PID_ID = 1, PID_SERIAL = 0 };

/* ---- handshake ------------------------------------------------------------------------------- */

static int send_all(int fd, const struct buffer *bytes)
{
    size_t sent = 0;
    while (sent < bytes->size) {
        ssize_t part = send(fd, bytes->data + sent, bytes->size - sent, MSG_NOSIGNAL);
        if (part < 0 && errno == EINTR)
            continue;
        if (part <= 0)
            return -1;
        sent += (size_t)part;
    }
    return 0;
}

static int shake_hands(struct link *link, struct handshake *handshake, struct buffer *out)
{
    const char *target = link->options->target;
    int status = HANDSHAKE_MORE;
    while (status == HANDSHAKE_MORE) {
        if (buffer_status(out) != 0)
            return link_fail(link, "out of memory");
        if (send_all(link->fd, out) != 0)
            return link_fail(link, "%s closed the connection during the handshake", target);
        buffer_clear(out);
        uint8_t bytes[REST_LIMIT];
        ssize_t got = recv(link->fd, bytes, sizeof(bytes), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return link_fail(link, "%s did not finish the handshake within %d s", target, 10);
        if (got <= 0)
            return link_fail(
                link, "%s refused the handshake: most likely it has another cookie", target);
        size_t consumed = 0;
        status = handshake_feed(handshake, slice_of(bytes, (size_t)got), &consumed, out);
        link->rest_size = (size_t)got - consumed;
        memcpy(link->rest, bytes + consumed, link->rest_size);
    }
    if (status < 0)
        return link_fail(link, "the handshake with %s failed: %s", target,
            handshake_error(handshake) != NULL ? handshake_error(handshake)
                                               : error_sentence(status));
    return 0;
}

/* ---- templates ------------------------------------------------------------------------------- */

/* What stands before the payload in every frame of ours. */
static void begin_frame(
    struct template *template, const struct erlang *erlang, const struct buffer *control)
{
    static const uint8_t header[] = {0, 0, 0, 0, 131, 68, 0},
                         pass_through[] = {0, 0, 0, 0, 'p', 131};
    template_begin(template);
    if (erlang->header)
        template_bytes(template, header, sizeof(header));
    else
        template_bytes(template, pass_through, sizeof(pass_through));
    template_bytes(template, control->data, control->size);
    if (!erlang->header)
        template_bytes(template, "\203", 1);
}

static void end_frame(struct template *template, uint64_t value_size)
{
    uint64_t size = template->size - 4 + (template->value_at != SIZE_MAX ? value_size : 0);
    store_be32(template->bytes, (uint32_t)size);
}

static void put_tuple(struct template *template, uint8_t arity)
{
    template_bytes(template, (uint8_t[]){ETF_SMALL_TUPLE, arity}, 2);
}

static void put_atom(struct template *template, const char *text)
{
    template_bytes(template, (uint8_t[]){ETF_SMALL_ATOM_UTF8, (uint8_t)strlen(text)}, 2);
    template_text(template, text);
}

static void put_binary_head(struct template *template, uint64_t size)
{
    uint8_t head[5] = {ETF_BINARY};
    store_be32(head + 1, (uint32_t)size);
    template_bytes(template, head, sizeof(head));
}

static void put_id(struct template *template, const struct options *options)
{
    put_binary_head(template, options->id_bytes);
    template_id(template, options->id_bytes);
}

static void put_pid_and_tag(struct template *template, const struct erlang *erlang)
{
    template_bytes(template, erlang->pid, erlang->pid_size);
    template_bytes(template, (uint8_t[]){ETF_INTEGER}, 1);
    template_tag(template);
}

static void make_templates(
    struct link *link, const struct erlang *erlang, const struct buffer *control)
{
    const struct options *options = link->options;

    begin_frame(&link->get, erlang, control);
    put_tuple(&link->get, 5);
    put_atom(&link->get, "g");
    put_atom(&link->get, "true");
    put_id(&link->get, options);
    put_pid_and_tag(&link->get, erlang);
    end_frame(&link->get, 0);

    begin_frame(&link->set, erlang, control);
    put_tuple(&link->set, 5);
    put_atom(&link->set, "s");
    put_id(&link->set, options);
    put_binary_head(&link->set, options->size);
    template_value(&link->set);
    put_pid_and_tag(&link->set, erlang);
    end_frame(&link->set, options->size);

    begin_frame(&link->plain_set, erlang, control);
    put_tuple(&link->plain_set, 3);
    put_atom(&link->plain_set, "s");
    put_id(&link->plain_set, options);
    put_binary_head(&link->plain_set, options->size);
    template_value(&link->plain_set);
    end_frame(&link->plain_set, options->size);
}

/* ---- the whole ------------------------------------------------------------------------------- */

int erlang_open(struct link *link)
{
    const struct options *options = link->options;
    struct erlang *erlang = heap_allocate_zeroed(sizeof(*erlang));
    struct handshake *handshake = heap_allocate_zeroed(sizeof(*handshake));
    struct buffer out;
    char node[NODE_NAME_LIMIT];
    uint32_t challenge, creation = (uint32_t)getpid() + 4;
    int status = -1;

    buffer_init(&out);
    link->state = erlang;
    snprintf(node, sizeof(node), "bench_%d_%u%s", (int)getpid(), link->number,
        strchr(options->target, '@'));
    if (erlang == NULL || handshake == NULL) {
        link_fail(link, "out of memory");
    } else if (getrandom(&challenge, sizeof(challenge), 0) != sizeof(challenge)) {
        link_fail(link, "no random bytes: %s", strerror(errno));
    } else {
        const struct handshake_options how = {.role = HANDSHAKE_INITIATOR,
            .node = slice_of_string(node),
            .cookie = slice_of_string(options->cookie),
            .flags = options->peer_is_ei ? DFLAGS_EI : DFLAGS_OFFERED,
            .creation = creation,
            .challenge = challenge,
            .peer = slice_of_string(options->target),
            .length_bytes = 2};
        handshake_init(handshake, &how, &out);
        status = shake_hands(link, handshake, &out);
    }
    if (status == 0) {
        erlang->header = (handshake->flags & DFLAG_FRAGMENTS) != 0;
        buffer_clear(&out);
        etf_write_pid(&out, slice_of_string(node), PID_ID, PID_SERIAL, creation);
        erlang->pid_size = out.size;
        memcpy(erlang->pid, out.data, out.size);
        buffer_clear(&out);
        control_write_reg_send(&out, slice_of(erlang->pid, erlang->pid_size),
            slice_of_string(options->registered_name));
        if (buffer_status(&out) == 0)
            make_templates(link, erlang, &out);
        else
            status = link_fail(link, "out of memory");
    }
    buffer_release(&out);
    heap_release(handshake);
    return status;
}
