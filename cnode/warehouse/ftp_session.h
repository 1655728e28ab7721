/* ftp_session: one connection to an FTP server, used by one thread, one command or transfer after
 * the other; libcurl's. It connects when needed and again after a failure. */
#ifndef WAREHOUSE_FTP_SESSION_H
#define WAREHOUSE_FTP_SESSION_H

#include <curl/curl.h>
#include <stdatomic.h>

#include "driver.h"
#include "ftp_names.h"

/* What all sessions share; does not change. */
struct ftp_server {
    char base[4096 * 3 + 512]; /* "ftp://host:port/dir/": a directory's name goes behind it */
    char label[300];           /* "ftp://host:port", for sentences */
    char user[256], pass[256];
    char ca_file[4096];
    bool tls;
    uint64_t timeout_ms;
    uint64_t attempt_ms; /* without a byte or a reply for so long, an attempt has failed */
    uint64_t value_limit_bytes;
    /* When everything must be over, of driver_now_ms; UINT64_MAX until the warehouse closes. */
    _Atomic uint64_t stop_ms;
};

/* Checks the options. 0, or an error with a sentence. */
int ftp_server_init(
    struct ftp_server *server, const struct warehouse_options *options, char why[WAREHOUSE_TEXT]);

enum ftp_outcome {
    FTP_DONE,
    FTP_ABSENT,  /* a file to be read could not be: it went, or must not be read */
    FTP_AGAIN,   /* may work later */
    FTP_REFUSED, /* will not */
};

/* What a result of libcurl and the server's last reply (0: none) amount to. Pure. */
enum ftp_outcome ftp_outcome_of(CURLcode result, long reply);
/* What people can do about it, or "". Pure. */
const char *ftp_hint(CURLcode result, long reply);

struct ftp_session {
    const struct ftp_server *server;
    CURLM *multi; /* of this one handle */
    CURL *easy;
    bool old_tls;               /* 1.2: see perform() */
    curl_socket_t link;         /* the connection for commands; CURL_SOCKET_BAD: none */
    uint64_t deadline_ms;       /* of what it does now */
    char error[WAREHOUSE_TEXT]; /* a sentence when not done */
    bool out_of_time;           /* not done, and only because its time was over */

    /* Private: the transfer under way. */
    CURLcode result;
    struct ftp_listing *listing;
    struct block *body;
    size_t body_size, limit;
    bool first_bytes, enough, too_big, no_memory;
    struct slice head, tail;
    size_t sent;
    bool check_size, size_seen, size_wrong;
    size_t size;
    char reply[200], detail[CURL_ERROR_SIZE];
};

bool ftp_session_open(struct ftp_session *session, const struct ftp_server *server);
void ftp_session_close(struct ftp_session *session); /* never waits for the server */

/* `directory`: below the server's, "ab/cd". All of these are over at session->deadline_ms. */

/* Reads the names in the directory; done only when the listing is complete. Makes the directory
 * when it is not there: so an object is absent only where a whole listing without it was seen, and
 * neither a lack of permission nor a cut connection reads as absent. */
enum ftp_outcome ftp_list(struct ftp_session *session, const char *directory, const char *stem,
    struct ftp_listing *listing);

/* Reads a file; `*body`, the caller's, has *size bytes in use. With `first_bytes` of a longer file
 * the first `limit` are taken; else that is refused. */
enum ftp_outcome ftp_get(struct ftp_session *session, const char *directory, const char *name,
    size_t limit, bool first_bytes, struct block **body, size_t *size);

/* Writes a file: `head`, then `tail`. Makes the directory when it is not there. */
enum ftp_outcome ftp_put(struct ftp_session *session, const char *directory, const char *name,
    struct slice head, struct slice tail);

/* Gives the file of `size` bytes its name and removes others (failures of that are ignored). A file
 * of another size is not renamed: the server has no other means to tell that an upload was cut.
 * `from` NULL: removes only. */
enum ftp_outcome ftp_rename(struct ftp_session *session, const char *directory, const char *from,
    size_t size, const char *to, struct curl_slist *removals);

/* Appends a file to a list for ftp_rename. False: out of memory. */
bool ftp_removal_add(struct curl_slist **removals, const char *name);

#endif
