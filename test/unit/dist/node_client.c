#include "node_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <netinet/in.h>
#include <sys/socket.h>

const char *client_dials = "brain@localhost";
uint64_t client_flags = EI_FLAGS | DFLAG_MANDATORY_25_DIGEST;
const struct slice an_atom = {(const uint8_t *)"w\x02hi", 4};

int client_socket(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

bool client_read(struct client *client)
{
    uint8_t bytes[65536];
    ssize_t got;
    while (!client->eof && (got = recv(client->fd, bytes, sizeof(bytes), 0)) != 0) {
        if (got < 0) {
            client->eof = errno != EAGAIN;
            return client->eof;
        }
        size_t at = 0;
        if (client->progress == HANDSHAKE_MORE) {
            size_t consumed;
            client->progress = handshake_feed(
                &client->handshake, slice_of(bytes, (size_t)got), &consumed, &client->out);
            at = consumed;
            if (client->out.size != 0)
                (void)!write(client->fd, client->out.data, client->out.size);
            buffer_clear(&client->out);
        }
        buffer_append(&client->in, bytes + at, (size_t)got - at);
    }
    return client->eof = true;
}

bool client_is_up(struct client *client)
{
    client_read(client);
    return client->progress == HANDSHAKE_DONE;
}

void client_open(struct client *client, uint16_t port, const char *name, const char *cookie)
{
    memset(client, 0, sizeof(*client));
    snprintf(client->name, sizeof(client->name), "%s", name);
    client->fd = client_socket(port);
    struct handshake_options options = {
        .role = HANDSHAKE_INITIATOR,
        .node = slice_of_string(client->name),
        .cookie = slice_of_string(cookie),
        .flags = client_flags,
        .creation = 77,
        .challenge = 12345,
        .peer = slice_of_string(client_dials),
        .length_bytes = 2,
    };
    handshake_init(&client->handshake, &options, &client->out);
    (void)!write(client->fd, client->out.data, client->out.size);
    buffer_clear(&client->out);
}

void client_connect(struct client *client, uint16_t port, const char *name)
{
    client_open(client, port, name, "secret");
    turn_until(client_is_up(client), 3000);
}

void client_close(struct client *client)
{
    close(client->fd);
    buffer_release(&client->in);
    buffer_release(&client->out);
}

void write_all(int fd, struct slice bytes)
{
    for (size_t at = 0; at < bytes.size;) {
        ssize_t sent = send(fd, bytes.data + at, bytes.size - at, MSG_NOSIGNAL);
        ck_assert(sent > 0 || errno == EAGAIN);
        at += sent > 0 ? (size_t)sent : 0;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

void client_frame_to(struct buffer *frame, const char *from, const char *to, struct slice payload)
{
    static const uint8_t begin[] = {0, 0, 0, 0, 'p', 131, 104, 4, 97, 6};
    size_t at = frame->size;
    buffer_append(frame, begin, sizeof(begin));
    etf_write_pid(frame, slice_of_string(from), 9, 0, 77);
    etf_write_atom(frame, "");
    etf_write_atom(frame, to);
    etf_write_version(frame);
    buffer_append_slice(frame, payload);
    if (buffer_status(frame) == 0) /* else a test of this very thing is running */
        store_be32(frame->data + at, (uint32_t)(frame->size - at - 4));
}

void client_frame(struct buffer *frame, const char *from, struct slice payload)
{
    client_frame_to(frame, from, "brain", payload);
}

void client_send(struct client *client, const char *from, struct slice payload)
{
    struct buffer frame;
    buffer_init(&frame);
    client_frame(&frame, from, payload);
    if (buffer_status(&frame) == 0)
        write_all(client->fd, buffer_slice(&frame));
    buffer_release(&frame);
}
