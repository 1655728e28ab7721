/* ftp_session: what libcurl is told, and what is kept of what comes back. A few of its ways (7.88)
 * shape this:
 *
 * - It waits for some replies (226 after a transfer, the handshake of a TLS data connection) with
 *   the whole handle blocked. So a session has a thread to itself, not a share of a multi handle,
 *   and each session is one connection, whose working directory libcurl remembers: a second
 *   transfer in a directory needs no CWD, and TLS sessions are found again.
 * - Commands without a transfer are PREQUOTE ones of a transfer without a body: they run in the
 *   directory and go on only after a good reply. (QUOTE ones run wherever the last transfer was.)
 * - Closing a connection says QUIT and waits up to two minutes for the reply; hence the shutdown.
 * - A whole path in one CWD is one round trip, but a missing parent cannot be made that way. So
 *   that is tried first, and the slow way, directory by directory, when it was refused.
 * - It may wait for a data connection that it has yet to make, when the reply to EPSV came fast
 *   enough: curl_easy_perform was measured to lose a second so. Hence a loop of our own, which asks
 *   again soon after something happened. */
#include "ftp_session.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECT_MS = 5000,
    WAIT_MOST_MS = 256,     /* between two looks at a transfer where nothing happens */
    FIRST_GROWTH = 1 << 20, /* no promise of a length makes us allocate more than this at once */
};

bool ftp_session_open(struct ftp_session *session, const struct ftp_server *server)
{
    memset(session, 0, sizeof(*session));
    session->server = server;
    session->link = CURL_SOCKET_BAD;
    session->easy = curl_easy_init();
    session->multi = curl_multi_init();
    curl_multi_setopt(session->multi, CURLMOPT_MAXCONNECTS, 1L);
    return session->easy != NULL && session->multi != NULL;
}

void ftp_session_close(struct ftp_session *session)
{
    if (session->link != CURL_SOCKET_BAD)
        shutdown(session->link, SHUT_RDWR);
    if (session->easy != NULL)
        curl_easy_cleanup(session->easy);
    if (session->multi != NULL)
        curl_multi_cleanup(session->multi);
    session->easy = NULL;
    session->multi = NULL;
}

/* ---- what comes back --------------------------------------------------------------------------
 */

static void take_reply(struct ftp_session *session, const char *line, size_t size)
{
    size_t kept = 0;
    for (size_t i = 0; i < size && kept + 1 < sizeof(session->reply); i++) {
        char c = line[i];
        if (c == '\r' || c == '\n')
            break;
        session->reply[kept++] = c >= ' ' && c < 0x7f ? c : '?';
    }
    session->reply[kept] = '\0';
}

static bool take_size(struct ftp_session *session, const char *line, size_t size)
{
    size_t number = 0, i = 4;
    for (; i < size && line[i] >= '0' && line[i] <= '9' && number <= SIZE_MAX / 10 - 1; i++)
        number = number * 10 + (size_t)(line[i] - '0');
    session->size_seen = true;
    session->size_wrong =
        i == 4 || number != session->size || (i < size && line[i] != '\r' && line[i] != '\n');
    return !session->size_wrong;
}

/* A line of a reply. Refusing it ends everything, before the next command is sent. */
static size_t on_reply(char *line, size_t one, size_t size, void *context)
{
    struct ftp_session *session = context;
    (void)one;
    if (size < 4 || line[3] != ' ' || strspn(line, "0123456789") != 3)
        return size;
    take_reply(session, line, size);
    if (!session->check_size)
        return size;
    if (memcmp(line, "213", 3) == 0)
        return take_size(session, line, size) ? size : 0;
    if (memcmp(line, "350", 3) == 0 && !session->size_seen) {
        session->size_wrong = true;
        return 0;
    }
    return size;
}

static size_t on_listing(char *data, size_t one, size_t size, void *context)
{
    struct ftp_session *session = context;
    (void)one;
    session->too_big = !ftp_listing_feed(session->listing, slice_of(data, size));
    return session->too_big ? 0 : size;
}

/* Makes room for `size` bytes of body in all. */
static bool make_room(struct ftp_session *session, size_t size)
{
    curl_off_t promised = -1;
    size_t have = session->body == NULL ? 0 : session->body->size;
    if (size <= have)
        return true;
    curl_easy_getinfo(session->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &promised);
    size_t wanted = have * 2 < FIRST_GROWTH ? FIRST_GROWTH : have * 2;
    if (promised > 0 && (size_t)promised < wanted)
        wanted = (size_t)promised;
    if (wanted < size)
        wanted = size;
    struct block *body =
        session->body == NULL ? block_create(wanted) : block_resize(session->body, wanted);
    session->no_memory = body == NULL;
    if (session->no_memory)
        return false;
    session->body = body;
    return true;
}

static size_t on_body(char *data, size_t one, size_t size, void *context)
{
    struct ftp_session *session = context;
    size_t taken = size;
    (void)one;
    if (size > session->limit - session->body_size) {
        session->enough = session->first_bytes;
        session->too_big = !session->first_bytes;
        taken = session->enough ? session->limit - session->body_size : 0;
    }
    if (taken == 0 || !make_room(session, session->body_size + taken))
        return 0;
    memcpy(session->body->bytes + session->body_size, data, taken);
    session->body_size += taken;
    return taken;
}

static size_t on_read(char *data, size_t one, size_t size, void *context)
{
    struct ftp_session *session = context;
    struct slice parts[2] = {session->head, session->tail};
    size_t copied = 0, begin = 0;
    (void)one;
    for (int i = 0; i < 2; i++) {
        size_t at = session->sent - begin; /* in this part, when not beyond it */
        if (session->sent >= begin && at < parts[i].size && copied < size) {
            size_t more = parts[i].size - at < size - copied ? parts[i].size - at : size - copied;
            memcpy(data + copied, parts[i].data + at, more);
            session->sent += more;
            copied += more;
        }
        begin += parts[i].size;
    }
    return copied;
}

static uint64_t end_ms(const struct ftp_session *session)
{
    uint64_t stop_ms = atomic_load(&session->server->stop_ms);
    return session->deadline_ms < stop_ms ? session->deadline_ms : stop_ms;
}

/* At least once a second, also while libcurl waits for a reply. */
static int on_progress(
    void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    return driver_now_ms() >= end_ms(context);
}

static int on_close(void *context, curl_socket_t closed)
{
    struct ftp_session *session = context;
    if (closed == session->link)
        session->link = CURL_SOCKET_BAD;
    return close(closed);
}

/* ---- one transfer -----------------------------------------------------------------------------
 */

/* A handle with everything set that all transfers share. */
static bool prepare(struct ftp_session *session, const char *directory, const char *name)
{
    const struct ftp_server *server = session->server;
    CURL *easy = session->easy;
    struct buffer url;
    curl_easy_reset(easy);
    session->reply[0] = session->detail[0] = '\0';
    session->enough = session->too_big = session->no_memory = false;
    session->check_size = session->size_seen = session->size_wrong = false;
    session->sent = session->body_size = 0;
    buffer_init(&url);
    buffer_append(&url, server->base, strlen(server->base));
    buffer_append(&url, directory, strlen(directory));
    buffer_append_u8(&url, '/');
    for (; *name != '\0'; name++) {
        /* Names hold nothing else that a URL would take for something. */
        if (*name == '%' || *name == '~' || *name == '=' || *name == '@') {
            char code[4];
            snprintf(code, sizeof(code), "%%%02X", (unsigned)(uint8_t)*name);
            buffer_append(&url, code, 3);
        } else {
            buffer_append_u8(&url, (uint8_t)*name);
        }
    }
    buffer_append_u8(&url, '\0');
    bool good = buffer_status(&url) == 0 &&
                curl_easy_setopt(easy, CURLOPT_URL, url.data) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "ftp") == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_USERNAME, server->user) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_PASSWORD, server->pass) == CURLE_OK &&
                curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK;
    buffer_release(&url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, session->detail);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(
        easy, CURLOPT_SERVER_RESPONSE_TIMEOUT, (long)((server->attempt_ms + 999) / 1000));
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)((server->attempt_ms + 999) / 1000));
    curl_easy_setopt(easy, CURLOPT_FTP_SKIP_PASV_IP, 1L);
    curl_easy_setopt(easy, CURLOPT_FTP_FILEMETHOD, (long)CURLFTPMETHOD_SINGLECWD);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_reply);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, session);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, session);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, session);
    if (server->tls) {
        good = good && curl_easy_setopt(easy, CURLOPT_USE_SSL, (long)CURLUSESSL_ALL) == CURLE_OK &&
               curl_easy_setopt(easy, CURLOPT_FTPSSLAUTH, (long)CURLFTPAUTH_TLS) == CURLE_OK &&
               (!session->old_tls || curl_easy_setopt(easy, CURLOPT_SSLVERSION,
                                         (long)CURL_SSLVERSION_MAX_TLSv1_2) == CURLE_OK) &&
               (server->ca_file[0] == '\0' ||
                   curl_easy_setopt(easy, CURLOPT_CAINFO, server->ca_file) == CURLE_OK);
    }
    if (!good)
        snprintf(session->error, sizeof(session->error), "%s", error_sentence(BRAIN_ENOMEM));
    return good;
}

static long last_reply(const struct ftp_session *session)
{
    long reply = 0;
    curl_easy_getinfo(session->easy, CURLINFO_RESPONSE_CODE, &reply);
    return reply;
}

static void say(struct ftp_session *session, const char *what, const char *directory,
    const char *hint, const char *detail)
{
    const char *between = hint[0] != '\0' && detail[0] != '\0' ? ": " : "";
    snprintf(session->error, sizeof(session->error), "%.200s: %s %s failed: %.100s%s%.160s",
        session->server->label, what, directory, hint, between, detail);
}

static CURLcode run(struct ftp_session *session)
{
    CURLcode result = CURLE_OUT_OF_MEMORY;
    int running = 1, ready, wait_ms = 1, left;
    if (curl_multi_add_handle(session->multi, session->easy) != CURLM_OK)
        return result;
    while (curl_multi_perform(session->multi, &running) == CURLM_OK && running > 0) {
        if (curl_multi_poll(session->multi, NULL, 0, wait_ms, &ready) != CURLM_OK)
            break;
        wait_ms = ready > 0 ? 1 : wait_ms < WAIT_MOST_MS ? wait_ms * 2 : wait_ms;
    }
    const CURLMsg *message = curl_multi_info_read(session->multi, &left);
    if (message != NULL && message->msg == CURLMSG_DONE)
        result = message->data.result;
    session->link = CURL_SOCKET_BAD;
    curl_easy_getinfo(session->easy, CURLINFO_ACTIVESOCKET, &session->link);
    curl_multi_remove_handle(session->multi, session->easy);
    return result;
}

static enum ftp_outcome perform(
    struct ftp_session *session, const char *what, const char *directory)
{
    uint64_t now_ms = driver_now_ms(), until_ms = end_ms(session);
    session->out_of_time = now_ms >= until_ms;
    if (session->out_of_time) {
        say(session, what, directory, "not done in time", "");
        return FTP_AGAIN;
    }
    curl_easy_setopt(session->easy, CURLOPT_TIMEOUT_MS, (long)(until_ms - now_ms));
    CURLcode result = run(session);
    if (session->enough && result == CURLE_WRITE_ERROR)
        return FTP_DONE;
    if (result == CURLE_ABORTED_BY_CALLBACK)
        result = CURLE_OPERATION_TIMEDOUT;
    session->result = result;
    session->out_of_time = result == CURLE_OPERATION_TIMEDOUT && driver_now_ms() >= until_ms;
    long reply = last_reply(session);
    if (result == CURLE_OK)
        return FTP_DONE;
    /* The server's own words, where it was the server that failed it. */
    enum ftp_outcome outcome = ftp_outcome_of(result, reply);
    /* Servers that want the TLS session of the command connection again for data (vsftpd) do not
     * always get it from libcurl with TLS 1.3, whose tickets are for one use; with 1.2 they do. */
    if (reply == 522 && session->server->tls && !session->old_tls) {
        session->old_tls = true;
        outcome = FTP_AGAIN;
    }
    const char *detail = reply >= 400 && session->reply[0] != '\0' ? session->reply
                         : session->detail[0] != '\0'              ? session->detail
                                                                   : curl_easy_strerror(result);
    say(session, what, directory, ftp_hint(result, reply), detail);
    if (session->too_big) {
        say(session, what, directory, "it is larger than allowed", "");
        return FTP_REFUSED;
    }
    if (session->no_memory)
        say(session, what, directory, error_sentence(BRAIN_ENOMEM), "");
    return outcome;
}

/* ---- operations -------------------------------------------------------------------------------
 */

/* Was it the directory, or something in it, that the server refused, and not the login? */
static bool is_place_refused(const struct ftp_session *session, enum ftp_outcome outcome)
{
    return outcome == FTP_REFUSED && (session->result == CURLE_REMOTE_ACCESS_DENIED ||
                                         session->result == CURLE_REMOTE_FILE_NOT_FOUND ||
                                         session->result == CURLE_FTP_COULDNT_RETR_FILE ||
                                         session->result == CURLE_UPLOAD_FAILED);
}

static enum ftp_outcome list_once(struct ftp_session *session, const char *directory,
    const char *stem, struct ftp_listing *listing)
{
    ftp_listing_init(listing, stem, listing->unix_ms);
    session->listing = listing;
    if (!prepare(session, directory, ""))
        return FTP_AGAIN;
    curl_easy_setopt(session->easy, CURLOPT_DIRLISTONLY, 1L);
    curl_easy_setopt(session->easy, CURLOPT_WRITEFUNCTION, on_listing);
    curl_easy_setopt(session->easy, CURLOPT_WRITEDATA, session);
    enum ftp_outcome outcome = perform(session, "listing", directory);
    ftp_listing_end(listing);
    if (outcome == FTP_DONE && !listing->complete)
        say(session, "listing", directory, "not all names came", "");
    return outcome == FTP_ABSENT ? FTP_REFUSED : outcome;
}

enum ftp_outcome ftp_list(struct ftp_session *session, const char *directory, const char *stem,
    struct ftp_listing *listing)
{
    enum ftp_outcome outcome = list_once(session, directory, stem, listing);
    if (outcome == FTP_DONE ? listing->complete : !is_place_refused(session, outcome))
        return outcome;
    /* New, or cut, or no permission: this shows which. */
    enum ftp_outcome made =
        ftp_put(session, directory, FTP_SENTINEL, slice_of("", 0), slice_of("", 0));
    if (made == FTP_AGAIN || (made == FTP_REFUSED && outcome == FTP_REFUSED))
        return made;
    char reason[WAREHOUSE_TEXT];
    memcpy(reason, session->error, sizeof(reason));
    outcome = list_once(session, directory, stem, listing);
    if (outcome != FTP_DONE || listing->complete)
        return outcome;
    if (made == FTP_DONE)
        return FTP_AGAIN;
    memcpy(session->error, reason, sizeof(reason));
    return made;
}

enum ftp_outcome ftp_get(struct ftp_session *session, const char *directory, const char *name,
    size_t limit, bool first_bytes, struct block **body, size_t *size)
{
    if (!prepare(session, directory, name))
        return FTP_AGAIN;
    session->limit = limit;
    session->first_bytes = first_bytes;
    curl_easy_setopt(session->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(session->easy, CURLOPT_WRITEDATA, session);
    enum ftp_outcome outcome = perform(session, "reading from", directory);
    *body = session->body;
    *size = session->body_size;
    session->body = NULL;
    if (outcome == FTP_DONE)
        return outcome;
    block_drop(*body);
    *body = NULL;
    return outcome;
}

static enum ftp_outcome put_once(struct ftp_session *session, const char *directory,
    const char *name, struct slice head, struct slice tail, bool make)
{
    if (!prepare(session, directory, name))
        return FTP_AGAIN;
    session->head = head;
    session->tail = tail;
    if (make) {
        curl_easy_setopt(session->easy, CURLOPT_FTP_FILEMETHOD, (long)CURLFTPMETHOD_MULTICWD);
        curl_easy_setopt(
            session->easy, CURLOPT_FTP_CREATE_MISSING_DIRS, (long)CURLFTP_CREATE_DIR_RETRY);
    }
    curl_easy_setopt(session->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(session->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)(head.size + tail.size));
    curl_easy_setopt(session->easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(session->easy, CURLOPT_READDATA, session);
    enum ftp_outcome outcome = perform(session, "writing to", directory);
    return outcome == FTP_ABSENT ? FTP_REFUSED : outcome;
}

enum ftp_outcome ftp_put(struct ftp_session *session, const char *directory, const char *name,
    struct slice head, struct slice tail)
{
    enum ftp_outcome outcome = put_once(session, directory, name, head, tail, false);
    if (is_place_refused(session, outcome))
        outcome = put_once(session, directory, name, head, tail, true);
    return outcome;
}

static bool add_command(struct curl_slist **commands, const char *verb, const char *name)
{
    char line[FTP_NAME_LIMIT + 16];
    snprintf(line, sizeof(line), "%s %s", verb, name);
    struct curl_slist *longer = curl_slist_append(*commands, line);
    if (longer != NULL)
        *commands = longer;
    return longer != NULL;
}

bool ftp_removal_add(struct curl_slist **removals, const char *name)
{
    return add_command(removals, "*DELE", name); /* "*": libcurl goes on when it fails */
}

enum ftp_outcome ftp_rename(struct ftp_session *session, const char *directory, const char *from,
    size_t size, const char *to, struct curl_slist *removals)
{
    struct curl_slist *commands = NULL;
    bool good = prepare(session, directory, "");
    if (from != NULL) /* Sizes are of binary files: some servers refuse to tell others. */
        good = good && add_command(&commands, "TYPE", "I") &&
               add_command(&commands, "SIZE", from) && add_command(&commands, "RNFR", from) &&
               add_command(&commands, "RNTO", to);
    for (; good && removals != NULL; removals = removals->next) {
        struct curl_slist *longer = curl_slist_append(commands, removals->data);
        good = longer != NULL;
        commands = good ? longer : commands;
    }
    if (!good) {
        say(session, "renaming in", directory, error_sentence(BRAIN_ENOMEM), "");
        curl_slist_free_all(commands);
        return FTP_AGAIN;
    }
    session->check_size = from != NULL;
    session->size = size;
    curl_easy_setopt(session->easy, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(session->easy, CURLOPT_PREQUOTE, commands);
    enum ftp_outcome outcome = perform(session, "renaming in", directory);
    curl_easy_setopt(session->easy, CURLOPT_PREQUOTE, NULL);
    curl_slist_free_all(commands);
    if (session->size_wrong) {
        say(session, "writing to", directory,
            session->size_seen ? "not all of it arrived" : "the server does not tell sizes", "");
        return session->size_seen ? FTP_AGAIN : FTP_REFUSED;
    }
    return outcome == FTP_ABSENT ? FTP_REFUSED : outcome;
}
