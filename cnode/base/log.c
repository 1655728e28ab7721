/* log: the ring and the thread that writes it.
 *
 *   log_line (any thread)                    log thread
 *   format, take the lock, copy into   -->   write lines [tail, tail + count) without the lock,
 *   the slot after the last one              then take the lock and give the slots back
 *
 * The lock is held for a copy of at most LINE_LIMIT bytes, never during input or output: a full
 * disk, a slow terminal or a stopped pipe costs lines (counted), not time. */
#include "brain/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "brain/base.h"

enum {
    LINE_LIMIT = 1000, /* bytes of text in one line */
    RING_LINES = 2048, /* 2 MB of static memory, touched only as far as it was ever filled */
    OUT_LIMIT = 65536, /* bytes for one write(2) */
    PREFIX_LIMIT = 64, /* time and level */
};

struct line {
    struct timespec at;
    enum log_level level;
    uint64_t dropped_before; /* lines that found the ring full just before this one */
    size_t size;
    char text[LINE_LIMIT];
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_t thread;
    bool running; /* under the lock: log_line may queue */
    bool stopping;
    struct line ring[RING_LINES];
    size_t tail, count;
    uint64_t dropped_pending;
    atomic_uint_fast64_t dropped;
    atomic_int level;
} queue = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .level = LOG_INFO};

/* Belongs to the log thread while it runs. */
static struct {
    int fd;
    bool is_file;
    char path[PATH_MAX];
    uint64_t file_bytes, max_size_bytes;
    unsigned max_files;
    char out[OUT_LIMIT];
    size_t out_size;
} writer;

/* ---- the text of a line ---------------------------------------------------------------------- */

/* The length of the printable UTF-8 sequence at `p`, or 0: a byte to escape. Control characters
 * (C0, DEL, and C1, which some terminals obey) never reach a terminal or forge a second line. */
static size_t printable_length(const char *p, size_t left)
{
    uint8_t byte = (uint8_t)*p;

    if (byte < 0x80)
        return byte >= 0x20 && byte != 0x7F;
    size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    if (length > left || !utf8_is_valid(slice_of(p, length)))
        return 0;
    return byte == 0xC2 && (uint8_t)p[1] < 0xA0 ? 0 : length;
}

/* Escapes `text` into at most LINE_LIMIT bytes; what does not fit is cut and ends in "...". */
static size_t escape(char out[LINE_LIMIT], const char *text, size_t size, bool cut)
{
    static const char digits[] = "0123456789abcdef", dots[] = "...";
    size_t used = 0, last_fit = 0; /* last_fit: where "..." can still be put */

    for (size_t i = 0; i < size;) {
        size_t length = printable_length(text + i, size - i);
        size_t needed = length != 0 ? length : 4;
        if (needed > LINE_LIMIT - used) {
            cut = true;
            break;
        }
        if (length != 0) {
            memcpy(out + used, text + i, length);
        } else {
            uint8_t byte = (uint8_t)text[i];
            out[used] = '\\', out[used + 1] = 'x';
            out[used + 2] = digits[byte >> 4], out[used + 3] = digits[byte & 15];
        }
        used += needed;
        i += length != 0 ? length : 1;
        if (used <= LINE_LIMIT - (sizeof dots - 1))
            last_fit = used;
    }
    if (cut) {
        memcpy(out + last_fit, dots, sizeof dots - 1);
        used = last_fit + sizeof dots - 1;
    }
    return used;
}

/* `2026-11-21T03:31:07.123Z info  `; the levels are padded so that texts stand in one column. */
static size_t prefix(char out[PREFIX_LIMIT], struct timespec at, enum log_level level)
{
    static const char *const names[] = {"debug", "info ", "warn ", "error"};
    struct tm utc;

    gmtime_r(&at.tv_sec, &utc);
    size_t size = strftime(out, PREFIX_LIMIT, "%Y-%m-%dT%H:%M:%S", &utc);
    int rest = snprintf(
        out + size, PREFIX_LIMIT - size, ".%03ldZ %s ", at.tv_nsec / 1000000, names[level]);
    return size + (size_t)rest;
}

/* ---- writing: the log thread, or the caller before the start and after the stop
 * ------------------ */

/* Nobody can be told when this fails: it is where complaints go. */
static void write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) /* a full disk, a closed pipe: the lines are lost, the node lives */
            return;
        data += written;
        size -= (size_t)written;
    }
}

static void flush_out(void)
{
    write_all(writer.fd, writer.out, writer.out_size);
    writer.out_size = 0;
}

static int open_file(void)
{
    int fd = open(writer.path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0)
        return BRAIN_EIO;
    struct stat file;
    writer.file_bytes = fstat(fd, &file) == 0 && S_ISREG(file.st_mode) ? (uint64_t)file.st_size : 0;
    writer.fd = fd;
    return 0;
}

/* NAME.(n-1) becomes NAME.n, ..., NAME becomes NAME.1, and a new NAME is begun. */
static void rotate(void)
{
    char from[PATH_MAX + 16], to[PATH_MAX + 16];

    flush_out();
    for (unsigned n = writer.max_files; n > 1; n--) {
        snprintf(from, sizeof from, "%s.%u", writer.path, n - 1);
        snprintf(to, sizeof to, "%s.%u", writer.path, n);
        rename(from, to); /* not there yet: nothing to keep */
    }
    if (writer.max_files > 0) {
        snprintf(to, sizeof to, "%s.1", writer.path);
        rename(writer.path, to);
    } else {
        unlink(writer.path);
    }
    int old = writer.fd;
    if (open_file() == 0)
        close(old);
    else
        writer.file_bytes = 0; /* go on with the old file, try again when it is as large again */
}

static void put_line(struct timespec at, enum log_level level, const char *text, size_t size)
{
    char head[PREFIX_LIMIT];
    size_t head_size = prefix(head, at, level);
    size_t whole = head_size + size + 1;

    if (writer.is_file && writer.file_bytes > 0 &&
        writer.file_bytes + whole > writer.max_size_bytes)
        rotate();
    if (whole > OUT_LIMIT - writer.out_size)
        flush_out();
    memcpy(writer.out + writer.out_size, head, head_size);
    memcpy(writer.out + writer.out_size + head_size, text, size);
    writer.out[writer.out_size + whole - 1] = '\n';
    writer.out_size += whole;
    writer.file_bytes += whole;
}

static void put_dropped(struct timespec at, uint64_t dropped)
{
    char text[80];
    int size = snprintf(text, sizeof text, "%llu lines were dropped: the log is too slow",
        (unsigned long long)dropped);
    put_line(at, LOG_WARNING, text, (size_t)size);
}

static void *log_thread(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&queue.lock);
    for (;;) {
        while (queue.count == 0 && !queue.stopping)
            pthread_cond_wait(&queue.filled, &queue.lock);
        size_t tail = queue.tail, count = queue.count;
        if (count == 0)
            break;
        pthread_mutex_unlock(&queue.lock);

        for (size_t i = 0; i < count; i++) {
            const struct line *line = &queue.ring[(tail + i) % RING_LINES];
            if (line->dropped_before > 0)
                put_dropped(line->at, line->dropped_before);
            put_line(line->at, line->level, line->text, line->size);
        }
        flush_out();

        pthread_mutex_lock(&queue.lock);
        queue.tail = (tail + count) % RING_LINES;
        queue.count -= count;
    }
    uint64_t dropped = queue.dropped_pending;
    queue.dropped_pending = 0;
    pthread_mutex_unlock(&queue.lock);

    if (dropped > 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        put_dropped(now, dropped);
        flush_out();
    }
    return NULL;
}

/* ---- the public functions ----------------------------------------------------------------------
 */

/* The thread takes no signal: they are the owner thread's to handle. */
static int start_thread(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(&queue.thread, NULL, log_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

int log_start(const struct log_options *options)
{
    assert(!queue.running);
    writer.fd = STDERR_FILENO;
    writer.is_file = options->directory != NULL && options->directory[0] != '\0';
    writer.max_size_bytes = options->max_size_bytes;
    writer.max_files = options->max_files;
    writer.file_bytes = 0;
    writer.out_size = 0;
    if (writer.is_file) {
        /* Room for ".NUMBER" of the rotated names stays in PATH_MAX. */
        int size = snprintf(
            writer.path, sizeof writer.path, "%s/%s", options->directory, options->file_name);
        if (size < 0 || (size_t)size >= sizeof writer.path - 16) {
            errno = ENAMETOOLONG;
            return BRAIN_EIO;
        }
        if (open_file() != 0)
            return BRAIN_EIO;
    }
    atomic_store(&queue.level, (int)options->level);
    queue.stopping = false;
    queue.tail = queue.count = 0;
    int failure = start_thread();
    if (failure != 0) {
        if (writer.is_file)
            close(writer.fd);
        errno = failure;
        return BRAIN_EIO;
    }
    pthread_mutex_lock(&queue.lock);
    queue.running = true;
    pthread_mutex_unlock(&queue.lock);
    return 0;
}

void log_stop(void)
{
    pthread_mutex_lock(&queue.lock);
    bool was_running = queue.running;
    queue.running = false; /* from now on, lines go straight to stderr */
    queue.stopping = true;
    pthread_cond_signal(&queue.filled);
    pthread_mutex_unlock(&queue.lock);
    if (!was_running)
        return;
    pthread_join(queue.thread, NULL);
    if (writer.is_file)
        close(writer.fd);
}

/* Before the start and after the stop. */
static void write_directly(const struct line *line)
{
    char out[PREFIX_LIMIT + LINE_LIMIT + 1];
    size_t size = prefix(out, line->at, line->level);

    memcpy(out + size, line->text, line->size);
    size += line->size;
    out[size++] = '\n';
    write_all(STDERR_FILENO, out, size);
}

void log_line(enum log_level level, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&queue.level, memory_order_relaxed))
        return;

    int caller_errno = errno; /* logging an error must not change it */
    char raw[LINE_LIMIT + 1];
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    if (wanted < 0)
        wanted = snprintf(raw, sizeof raw, "(a line that cannot be formatted)");

    struct line line = {.level = level};
    bool cut = (size_t)wanted > LINE_LIMIT;
    line.size = escape(line.text, raw, cut ? LINE_LIMIT : (size_t)wanted, cut);
    clock_gettime(CLOCK_REALTIME, &line.at);

    pthread_mutex_lock(&queue.lock);
    bool direct = !queue.running;
    if (!direct && queue.count == RING_LINES) {
        queue.dropped_pending++;
        atomic_fetch_add_explicit(&queue.dropped, 1, memory_order_relaxed);
    } else if (!direct) {
        struct line *slot = &queue.ring[(queue.tail + queue.count) % RING_LINES];
        memcpy(slot, &line, offsetof(struct line, text) + line.size);
        slot->dropped_before = queue.dropped_pending;
        queue.dropped_pending = 0;
        if (queue.count++ == 0)
            pthread_cond_signal(&queue.filled);
    }
    pthread_mutex_unlock(&queue.lock);
    if (direct)
        write_directly(&line);
    errno = caller_errno;
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&queue.dropped, memory_order_relaxed);
}
