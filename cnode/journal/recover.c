#include "recover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "brain/log.h"
#include "record.h"

enum { WINDOW = 1 << 20, SEGMENTS_LIMIT = 1 << 20 };

static int fail(struct recovery *recovery, const char *name, const char *what)
{
    snprintf(recovery->why, JOURNAL_TEXT, "%s could not be %s: %s", name, what, strerror(errno));
    return BRAIN_EIO;
}

static int no_memory(struct recovery *recovery)
{
    snprintf(recovery->why, JOURNAL_TEXT, "%s", error_sentence(BRAIN_ENOMEM));
    return BRAIN_ENOMEM;
}

/* ---- a file in pieces ------------------------------------------------------------------------ */

struct window {
    int fd;
    uint64_t file_size;
    uint8_t *bytes;
    size_t capacity;
    uint64_t start; /* of what is in `bytes`, in the file */
    size_t filled;
};

static int fill(struct window *window, uint64_t offset, size_t size)
{
    window->start = offset;
    window->filled = 0;
    while (window->filled < size) {
        ssize_t got = pread(window->fd, window->bytes + window->filled, size - window->filled,
            (off_t)(offset + window->filled));
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = EIO; /* it became shorter: somebody else is at it */
        if (got <= 0)
            return BRAIN_EIO;
        window->filled += (size_t)got;
    }
    return 0;
}

/* record_source.view. Memory: what was asked for, at least WINDOW; a long record's is given back
 * with the next short one. */
static int view(void *context, uint64_t offset, size_t size, struct slice *bytes)
{
    struct window *window = context;
    if (offset < window->start || offset - window->start > window->filled ||
        size > window->filled - (offset - window->start)) {
        uint64_t rest = window->file_size - offset;
        size_t wanted = size > WINDOW ? size : WINDOW;
        if (window->capacity < wanted || (window->capacity > 4 * WINDOW && wanted == WINDOW)) {
            /* Not heap_resize: what is in it is not needed any more. */
            heap_release(window->bytes);
            window->filled = 0;
            window->capacity = 0;
            window->bytes = heap_allocate(wanted);
            if (window->bytes == NULL)
                return BRAIN_ENOMEM;
            window->capacity = wanted;
        }
        int status = fill(window, offset, rest < wanted ? (size_t)rest : wanted);
        if (status != 0)
            return status;
    }
    *bytes = slice_of(window->bytes + (offset - window->start), size);
    return 0;
}

/* ---- one segment ----------------------------------------------------------------------------- */

static int on_record(void *context, uint64_t seq, struct slice payload)
{
    struct recovery *recovery = context;
    const uint64_t begun_unix_ms = recovery->scan.label.begun_unix_ms;
    ledger_append(recovery->ledger, seq);
    recovery->records++;
    if (recovery->last_seq < seq)
        recovery->last_seq = seq;
    int status = recovery->record(recovery->context, seq, begun_unix_ms, payload);
    if (status != 0)
        snprintf(recovery->why, JOURNAL_TEXT, "record %" PRIu64 " was refused: %s", seq,
            error_sentence(status));
    return status;
}

static void count_missing(
    struct recovery *recovery, uint64_t first, uint64_t last, uint64_t next_seq, uint64_t last_seq)
{
    /* Segments are missing for sure; what was in them only their neighbours tell. */
    uint64_t writes = next_seq > last_seq + 1 ? next_seq - last_seq - 1 : 1;
    recovery->missing += writes;
    log_error("journal: segments %" PRIu64 " to %" PRIu64 " are missing, %" PRIu64
              " writes or more are lost",
        first, last, writes);
}

static int cut_tail(struct recovery *recovery, const char *name, uint64_t size, uint64_t good_end)
{
    const struct journal_device *device = recovery->writer->device;
    int fd = device->open_file(recovery->directory, name, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fail(recovery, name, "cut");
    int status = 0;
    if (device->cut(fd, (off_t)good_end) != 0 || device->sync_data(fd) != 0)
        status = fail(recovery, name, "cut");
    close(fd);
    recovery->torn_bytes += size - good_end;
    log_warning("journal: %s: the last %" PRIu64
                " bytes were not written completely and are cut; the last good record is %" PRIu64,
        name, size - good_end, recovery->last_seq);
    return status;
}

/* What follows the last good record, or all of a segment whose header cannot be read. */
static int judge_tail(struct recovery *recovery, const char *name, bool is_last, uint64_t *size,
    const struct scan_result *result)
{
    if (result->header_size == 0 && *size > SEGMENT_HEADER) {
        recovery->bad++;
        log_error(
            "journal: %s does not begin as a segment: %" PRIu64 " bytes are skipped", name, *size);
        return 0;
    }
    if (result->good_end == *size)
        return 0;
    if (!is_last) {
        recovery->bad++;
        log_error("journal: %s: the last %" PRIu64 " bytes are damaged and skipped", name,
            *size - result->good_end);
        return 0;
    }
    int status = cut_tail(recovery, name, *size, result->good_end);
    *size = result->good_end;
    return status;
}

static int recover_segment(struct recovery *recovery, struct window *window, uint64_t number,
    uint64_t number_before, bool is_last)
{
    char name[SEGMENT_NAME];
    struct stat about;
    segment_name(name, number);
    int fd = recovery->writer->device->open_file(
        recovery->directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0)
        return fail(recovery, name, "opened");
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
        snprintf(recovery->why, JOURNAL_TEXT, "%s is not a file", name);
        close(fd);
        return BRAIN_EIO;
    }
    window->fd = fd;
    window->file_size = (uint64_t)about.st_size;
    window->filled = 0;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);

    uint64_t ordinal, size = window->file_size, last_seq = recovery->last_seq;
    struct record_source source = {window, size, view};
    struct scan_result *result = &recovery->scan;
    int status = ledger_begin(recovery->ledger, 0, &ordinal);
    if (status == 0)
        status =
            segment_scan(&source, number, recovery->payload_limit, on_record, recovery, result);
    if (status == 0)
        ledger_date(recovery->ledger, result->label.begun_unix_ms);
    /* After a kill the records may be in nothing but the page cache; older ones that they replace
     * are about to be deleted. */
    if (status == 0 && recovery->writer->policy != JOURNAL_SYNC_NEVER &&
        recovery->writer->device->sync_data(fd) != 0)
        status = fail(recovery, name, "synced");
    int error = errno;
    close(fd);
    errno = error;
    if (status != 0) {
        if (recovery->why[0] == '\0')
            status == BRAIN_ENOMEM ? no_memory(recovery) : fail(recovery, name, "read");
        return status;
    }
    if (number_before != 0 && number != number_before + 1)
        count_missing(recovery, number_before + 1, number - 1,
            result->header_size > 0 ? result->label.first_seq : result->first_seq, last_seq);
    if (result->bad > 0) {
        recovery->bad += result->bad;
        log_error("journal: %s: %" PRIu64 " damaged places are skipped", name, result->bad);
    }
    status = judge_tail(recovery, name, is_last, &size, result);
    if (status == 0 && writer_adopt(recovery->writer, number, ordinal, size) != 0)
        status = no_memory(recovery);
    recovery->segments++;
    return status;
}

/* ---- the directory --------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int list_segments(struct recovery *recovery, struct buffer *numbers)
{
    int fd = openat(recovery->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL) {
        int status = fail(recovery, "the directory", "listed");
        if (fd >= 0)
            close(fd);
        return status;
    }
    errno = 0;
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        uint64_t number;
        if (segment_name_read(entry->d_name, &number) &&
            numbers->size < SEGMENTS_LIMIT * sizeof(number))
            buffer_append(numbers, &number, sizeof(number));
        errno = 0;
    }
    int status = errno == 0 ? 0 : fail(recovery, "the directory", "listed");
    closedir(directory);
    if (status == 0 && buffer_status(numbers) != 0)
        status = no_memory(recovery);
    return status;
}

int recover(struct recovery *recovery)
{
    struct buffer listed;
    struct window window = {.fd = -1};
    buffer_init(&listed);
    recovery->why[0] = '\0';
    int status = list_segments(recovery, &listed);
    size_t count = listed.size / sizeof(uint64_t);
    /* malloc's alignment is enough for numbers. */
    uint64_t *numbers = (uint64_t *)(void *)listed.data;
    if (status == 0 && count > 0) {
        qsort(numbers, count, sizeof(*numbers), compare);
        for (size_t i = 0; i < count && status == 0; i++)
            status = recover_segment(
                recovery, &window, numbers[i], i == 0 ? 0 : numbers[i - 1], i + 1 == count);
    }
    heap_release(window.bytes);
    buffer_release(&listed);
    return status;
}
