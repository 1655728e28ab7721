#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_DIGITS = 20 };

void segment_name(char out[SEGMENT_NAME], uint64_t number)
{
    snprintf(out, SEGMENT_NAME, "%020" PRIu64 ".log", number);
}

bool segment_name_read(const char *name, uint64_t *number)
{
    *number = 0;
    for (int i = 0; i < NAME_DIGITS; i++) {
        unsigned digit = (unsigned)(unsigned char)name[i] - '0';
        if (digit > 9 || *number > (UINT64_MAX / 2 - digit) / 10)
            return false;
        *number = *number * 10 + digit;
    }
    return *number > 0 && strcmp(name + NAME_DIGITS, ".log") == 0;
}

static int fail(char why[JOURNAL_TEXT], const char *what, uint64_t number)
{
    char name[SEGMENT_NAME];
    int error = errno;
    segment_name(name, number);
    snprintf(why, JOURNAL_TEXT, "%s could not be %s: %s", name, what, strerror(error));
    errno = error;
    return BRAIN_EIO;
}

/* Not all file systems can sync a directory; those say EINVAL, and need no sync. */
static int sync_directory(const struct segment *segment)
{
    return segment->device->sync_directory(segment->directory) == 0 || errno == EINVAL ? 0 : -1;
}

static uint32_t random_salt(uint64_t number)
{
    uint32_t salt;
    if (getrandom(&salt, sizeof(salt), GRND_NONBLOCK) != (ssize_t)sizeof(salt))
        salt = (uint32_t)(number * 2654435761U) ^ (uint32_t)getpid();
    return salt;
}

int segment_create(
    struct segment *segment, uint64_t ordinal, struct segment_label label, char why[JOURNAL_TEXT])
{
    const struct journal_device *device = segment->device;
    const uint64_t number = label.number;
    uint8_t header[SEGMENT_HEADER];
    char name[SEGMENT_NAME];
    segment_name(name, number);
    int fd =
        device->open_file(segment->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(why, "made", number);
    label.salt = random_salt(number);
    segment_header_write(header, &label);
    struct iovec vector = {header, sizeof(header)};
    ssize_t written = device->write_at(fd, &vector, 1, 0);
    if (written != (ssize_t)sizeof(header) || device->sync_data(fd) != 0 ||
        sync_directory(segment) != 0) {
        if (written >= 0 && written != (ssize_t)sizeof(header))
            errno = ENOSPC; /* what a short write of a file means */
        int status = fail(why, "begun", number);
        device->remove(segment->directory, name);
        close(fd);
        errno = 0;
        return status;
    }
    segment->fd = fd;
    segment->number = number;
    segment->ordinal = ordinal;
    segment->salt = label.salt;
    segment->size = segment->extent = segment->synced = sizeof(header);
    return 0;
}

/* A file that was deleted takes all that is written to it, and none of it can be read again. */
static bool is_removed(const struct segment *segment)
{
    struct stat about;
    if (fstat(segment->fd, &about) != 0 || about.st_nlink > 0)
        return false;
    errno = ENOENT;
    return true;
}

int segment_append(
    struct segment *segment, struct batch *batch, uint64_t *writes, char why[JOURNAL_TEXT])
{
    struct iovec vectors[SEGMENT_VECTORS];
    struct batch_cursor cursor = {0};
    uint64_t offset = segment->size;
    int count;
    if (is_removed(segment))
        return fail(why, "written", segment->number);
    batch_seal(batch, segment->salt);
    while ((count = batch_vectors(batch, &cursor, vectors, SEGMENT_VECTORS)) > 0) {
        ssize_t written = segment->device->write_at(segment->fd, vectors, count, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            if (written == 0)
                errno = ENOSPC;
            int status = fail(why, "written", segment->number);
            /* What was written of the batch has no place between good records. Should this fail,
             * too: the next append goes to the same offset, and a start cuts a torn tail. */
            segment->device->cut(segment->fd, (off_t)segment->extent);
            return status;
        }
        ++*writes;
        batch_advance(batch, &cursor, (size_t)written);
        offset += (uint64_t)written;
    }
    segment->size = offset;
    if (segment->extent < offset)
        segment->extent = offset;
    return 0;
}

int segment_sync(struct segment *segment, char why[JOURNAL_TEXT])
{
    if (segment->device->sync_data(segment->fd) != 0)
        return fail(why, "synced", segment->number);
    segment->synced = segment->size;
    return 0;
}

void segment_close(struct segment *segment)
{
    if (segment->fd >= 0)
        close(segment->fd);
    segment->fd = -1;
}
