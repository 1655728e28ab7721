/* ftp_server: where the server is, and what its answers mean. Reply codes: RFC 959, 4.2. */
#include <stdio.h>
#include <string.h>

#include "ftp_session.h"

enum { ATTEMPT_MS = 15000 };

static int refuse(char why[WAREHOUSE_TEXT], const char *sentence)
{
    snprintf(why, WAREHOUSE_TEXT, "%s", sentence);
    return BRAIN_ECONFIG;
}

/* Fits, and cannot end the line of a command. */
static bool is_line(const char *text, size_t limit)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++) {
        if ((uint8_t)text[i] < ' ' || text[i] == 0x7f)
            return false;
    }
    return size < limit;
}

/* The path of a URL: a leading slash, which is one of the server's file system, is encoded. */
static void append_path(char *out, const char *path)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = (uint8_t)path[i];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     strchr("-._", c) != NULL || (c == '/' && i > 0);
        if (plain) {
            *out++ = (char)c;
            continue;
        }
        *out++ = '%';
        *out++ = hex[c >> 4];
        *out++ = hex[c & 15];
    }
    if (size > 0 && !(size == 1 && path[0] == '/'))
        *out++ = '/';
    *out = '\0';
}

int ftp_server_init(
    struct ftp_server *server, const struct warehouse_options *options, char why[WAREHOUSE_TEXT])
{
    const struct ftp_options *ftp = &options->ftp;
    memset(server, 0, sizeof(*server));
    if (ftp->host[0] == '\0')
        return refuse(why, "ftp_host is not set");
    if (!is_line(ftp->host, 254) || strpbrk(ftp->host, "/@?# \"\\%[]") != NULL)
        return refuse(why, "ftp_host is not the name or address of a host");
    if (ftp->port == 0 || ftp->port > 65535)
        return refuse(why, "ftp_port is not a port");
    if (!is_line(ftp->user, sizeof(server->user)) || !is_line(ftp->pass, sizeof(server->pass)))
        return refuse(why, "ftp_user and ftp_pass are lines of at most 255 bytes");
    if (!is_line(ftp->dir, 4096))
        return refuse(why, "ftp_dir is not the name of a directory");
    if (strlen(ftp->ca_file) >= sizeof(server->ca_file))
        return refuse(why, "ftp_ca_file is too long");
    if (ftp->timeout_ms == 0)
        return refuse(why, "ftp_timeout must be at least 1 ms");
    bool address6 = strchr(ftp->host, ':') != NULL;
    snprintf(server->label, sizeof(server->label), "ftp://%s%s%s:%u", address6 ? "[" : "",
        ftp->host, address6 ? "]" : "", ftp->port);
    int size = snprintf(server->base, sizeof(server->base), "%s/", server->label);
    append_path(server->base + size, ftp->dir);
    strcpy(server->user, ftp->user);
    strcpy(server->pass, ftp->pass);
    strcpy(server->ca_file, ftp->ca_file);
    server->tls = ftp->tls;
    server->timeout_ms = ftp->timeout_ms;
    server->attempt_ms = ftp->timeout_ms / 2 < ATTEMPT_MS ? ftp->timeout_ms / 2 + 1 : ATTEMPT_MS;
    server->value_limit_bytes =
        options->value_limit_bytes != 0 ? options->value_limit_bytes : (uint64_t)1 << 30;
    atomic_init(&server->stop_ms, UINT64_MAX);
    return 0;
}

enum ftp_outcome ftp_outcome_of(CURLcode result, long reply)
{
    switch (result) {
    case CURLE_OK:
        return FTP_DONE;
    case CURLE_REMOTE_FILE_NOT_FOUND:
        return FTP_ABSENT;
    case CURLE_USE_SSL_FAILED:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_FUNCTION_ARGUMENT:
        return FTP_REFUSED;
    /* The server said no, or not now. */
    case CURLE_LOGIN_DENIED:
    case CURLE_REMOTE_ACCESS_DENIED:
    case CURLE_FTP_WEIRD_SERVER_REPLY:
    case CURLE_FTP_WEIRD_PASV_REPLY:
    case CURLE_FTP_COULDNT_SET_TYPE:
    case CURLE_FTP_COULDNT_RETR_FILE:
    case CURLE_FTP_COULDNT_USE_REST:
    case CURLE_UPLOAD_FAILED:
    case CURLE_PARTIAL_FILE:
    case CURLE_REMOTE_DISK_FULL:
    case CURLE_QUOTE_ERROR:
        return reply >= 500 && reply <= 599 ? FTP_REFUSED : FTP_AGAIN;
    default:
        return FTP_AGAIN;
    }
}

const char *ftp_hint(CURLcode result, long reply)
{
    switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return "the name of the host cannot be resolved: see ftp_host";
    case CURLE_COULDNT_CONNECT:
        return "the connection was refused";
    case CURLE_USE_SSL_FAILED:
        return "the server refuses TLS, which ftp_tls asks for";
    case CURLE_PEER_FAILED_VERIFICATION:
        return "the certificate of the server is not trusted: see ftp_ca_file";
    case CURLE_SSL_CACERT_BADFILE:
        return "ftp_ca_file cannot be read";
    case CURLE_OPERATION_TIMEDOUT:
        return "not done in time";
    case CURLE_LOGIN_DENIED:
        return "the login was refused: see ftp_user and ftp_pass";
    default:
        break;
    }
    switch (reply) {
    case 421:
        return "the server has too many connections, or stops";
    case 452:
    case 552:
        return "the disk of the server is full, or a quota of it";
    case 522:
        return "the server refuses the TLS of the data connection";
    case 530:
    case 532:
        return "the login was refused: see ftp_user and ftp_pass, or the server wants ftp_tls";
    case 550:
    case 553:
        return result == CURLE_OK ? "" : "the server lacks it, or does not give permission";
    default:
        return "";
    }
}
