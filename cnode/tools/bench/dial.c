#include "dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "brain/epmd.h"
#include "protocol.h"

/* ---- the cookie ------------------------------------------------------------------------------ */

int dial_cookie(struct options *options, char sentence[SENTENCE_LIMIT])
{
    char path[4096];
    if (options->cookie[0] != '\0')
        return 0;
    if (options->cookie_file != NULL) {
        snprintf(path, sizeof(path), "%s", options->cookie_file);
    } else {
        const char *home = getenv("HOME");
        snprintf(path, sizeof(path), "%s/.erlang.cookie", home != NULL ? home : "");
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        snprintf(sentence, SENTENCE_LIMIT, "the cookie file %.300s cannot be read: %s", path,
            strerror(errno));
        return -1;
    }
    char line[COOKIE_LIMIT + 3];
    bool read = fgets(line, sizeof(line), file) != NULL;
    fclose(file);
    if (read)
        line[strcspn(line, "\r\n")] = '\0';
    if (!read || line[0] == '\0' || strlen(line) > COOKIE_LIMIT) {
        snprintf(sentence, SENTENCE_LIMIT,
            "the first line of the cookie file %.300s is no cookie (1 to 255 bytes)", path);
        return -1;
    }
    memcpy(options->cookie, line, strlen(line) + 1);
    explicit_bzero(line, sizeof(line));
    return 0;
}

/* ---- sockets --------------------------------------------------------------------------------- */

/* A connected, blocking socket with time limits, or -1 with errno. */
static int connect_to(const struct sockaddr *address, socklen_t size)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    struct timeval limit = {DIAL_TIMEOUT_MS / 1000, 0};
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, address, size) == 0)
        return fd;
    int error = errno == EINPROGRESS ? ETIMEDOUT : errno;
    close(fd);
    errno = error;
    return -1;
}

int dial_connect(struct link *link, const struct destination *destination)
{
    link->fd =
        connect_to((const struct sockaddr *)&destination->address, destination->address_size);
    if (link->fd >= 0)
        return 0;
    return link_fail(link, "%s refuses connection %u: %s", link->options->target, link->number + 1,
        strerror(errno));
}

/* ---- where the target is --------------------------------------------------------------------- */

/* The first address of `host` with something listening on `port`; the connection to it. */
static int connect_first(struct destination *destination, const char *host, const char *port,
    char sentence[SENTENCE_LIMIT])
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int failed = getaddrinfo(host, port, &hints, &list);
    if (failed != 0) {
        snprintf(sentence, SENTENCE_LIMIT, "the host %.200s is not known: %s", host,
            gai_strerror(failed));
        return -1;
    }
    int fd = -1, error = ECONNREFUSED;
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = connect_to(a->ai_addr, a->ai_addrlen);
        if (fd < 0) {
            error = errno;
        } else {
            memcpy(&destination->address, a->ai_addr, a->ai_addrlen);
            destination->address_size = a->ai_addrlen;
        }
    }
    freeaddrinfo(list);
    errno = error;
    return fd;
}

static int ask_epmd(int epmd, struct slice alive, uint16_t *port)
{
    struct buffer question;
    buffer_init(&question);
    epmd_write_lookup(&question, alive);
    uint8_t bytes[1024];
    size_t size = 0;
    int status = BRAIN_EIO;
    if (buffer_status(&question) == 0 &&
        send(epmd, question.data, question.size, MSG_NOSIGNAL) == (ssize_t)question.size) {
        status = 1;
        while (status == 1 && size < sizeof(bytes)) {
            ssize_t got = recv(epmd, bytes + size, sizeof(bytes) - size, 0);
            if (got <= 0)
                break;
            size += (size_t)got;
            status = epmd_read_lookup(slice_of(bytes, size), port);
        }
    }
    buffer_release(&question);
    return status;
}

static int find_node(
    struct destination *destination, const char *node, char sentence[SENTENCE_LIMIT])
{
    const char *host = strchr(node, '@') + 1;
    const char *text = getenv("ERL_EPMD_PORT");
    char epmd_port[8];
    long number = text != NULL ? strtol(text, NULL, 10) : EPMD_PORT;
    snprintf(epmd_port, sizeof(epmd_port), "%u",
        (unsigned)(number > 0 && number <= UINT16_MAX ? number : EPMD_PORT));
    sentence[0] = '\0';
    int epmd = connect_first(destination, host, epmd_port, sentence);
    if (epmd < 0) {
        if (sentence[0] == '\0')
            snprintf(sentence, SENTENCE_LIMIT,
                "no epmd answers on %.200s port %s: no Erlang node runs there, brain-server "
                "neither",
                host, epmd_port);
        return -1;
    }
    uint16_t port = 0;
    struct slice alive = slice_of(node, (size_t)(host - 1 - node));
    int status = ask_epmd(epmd, alive, &port);
    close(epmd);
    if (status == BRAIN_ENOENT)
        snprintf(sentence, SENTENCE_LIMIT, "no node named %.*s is registered with epmd on %.200s",
            (int)alive.size, (const char *)alive.data, host);
    else if (status != 0)
        snprintf(sentence, SENTENCE_LIMIT, "epmd on %.200s gave no sensible answer", host);
    if (status != 0)
        return -1;
    if (destination->address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&destination->address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&destination->address)->sin_port = htons(port);
    return 0;
}

int destination_find(
    struct destination *destination, const struct options *options, char sentence[SENTENCE_LIMIT])
{
    memset(destination, 0, sizeof(*destination));
    if (options->protocol->is_erlang)
        return find_node(destination, options->target, sentence);
    char host[256];
    const char *colon = strrchr(options->target, ':');
    snprintf(host, sizeof(host), "%.*s", (int)(colon - options->target), options->target);
    sentence[0] = '\0';
    int fd = connect_first(destination, host, colon + 1, sentence);
    if (fd < 0 && sentence[0] == '\0')
        snprintf(sentence, SENTENCE_LIMIT, "nothing answers on %.200s: %s", options->target,
            strerror(errno));
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : -1;
}
