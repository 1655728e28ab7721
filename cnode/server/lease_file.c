#include "lease_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "brain/error.h"
#include "brain/log.h"

enum {
    /* The time is compared with tombstone_keep, which is days: some seconds do not matter. */
    WRITE_INTERVAL_MS = 5000,
    /* Of the lines of members: more than 4096 of them with names of 255 bytes. */
    MEMBERS_BYTES = 2 << 20,
};

static uint64_t ms_of(struct timespec time)
{
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void read_members(FILE *file, struct buffer *members)
{
    char piece[4096];
    size_t size;
    while (members->size < MEMBERS_BYTES && (size = fread(piece, 1, sizeof(piece), file)) > 0)
        buffer_append(members, piece, size);
}

struct lease_record lease_file_read(const char *path, struct buffer *members)
{
    struct lease_record record = {0};
    struct stat status;
    char end = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return record;
    if (fscanf(file, "%" SCNd64 " %" SCNu64 "%c", &record.lease, &record.unix_ms, &end) != 3 ||
        end != '\n' || record.lease <= 0 || record.unix_ms == 0) {
        record = (struct lease_record){0};
        if (fstat(fileno(file), &status) == 0)
            record.unix_ms = ms_of(status.st_mtim);
    } else {
        read_members(file, members);
        if (buffer_status(members) == 0)
            record.members = buffer_slice(members);
    }
    fclose(file);
    return record;
}

bool lease_file_next_member(struct slice *rest, uint64_t *incarnation, struct slice *name)
{
    const uint8_t *end = rest->size > 0 ? memchr(rest->data, '\n', rest->size) : NULL;
    size_t at = 0;
    *incarnation = 0;
    if (end == NULL)
        return false;
    const size_t size = (size_t)(end - rest->data);
    for (; at < size && at < 20 && rest->data[at] >= '0' && rest->data[at] <= '9'; at++)
        *incarnation = *incarnation * 10 + (uint64_t)(rest->data[at] - '0');
    if (at == 0 || at + 1 >= size || rest->data[at] != ' ')
        return false;
    *name = slice_of(rest->data + at + 1, size - at - 1);
    *rest = slice_of(end + 1, rest->size - size - 1);
    return true;
}

void lease_file_add_member(struct buffer *members, uint64_t incarnation, struct slice name)
{
    char number[24];
    const int size = snprintf(number, sizeof(number), "%" PRIu64 " ", incarnation);
    buffer_append(members, number, (size_t)size);
    buffer_append_slice(members, name);
    buffer_append(members, "\n", 1);
}

static bool write_and_sync(const char *path, struct lease_record record)
{
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return false;
    bool good = fprintf(file, "%" PRId64 " %" PRIu64 "\n", record.lease, record.unix_ms) > 0 &&
                (record.members.size == 0 ||
                    fwrite(record.members.data, record.members.size, 1, file) == 1) &&
                fflush(file) == 0 && fsync(fileno(file)) == 0;
    const int error = errno;
    good = fclose(file) == 0 && good;
    if (!good && error != 0)
        errno = error;
    return good;
}

int lease_file_write(const char *path, struct lease_record record)
{
    char temporary[4096 + 8];
    snprintf(temporary, sizeof(temporary), "%s.new", path);
    if (write_and_sync(temporary, record) && rename(temporary, path) == 0)
        return 0;
    const int error = errno;
    unlink(temporary);
    errno = error;
    return BRAIN_EIO;
}

/* ---- in the background ----------------------------------------------------------------------- */

static void on_work(uv_work_t *work)
{
    struct lease_keeper *keeper = work->data;
    keeper->error = lease_file_write(keeper->path, keeper->writing) == 0 ? 0 : errno;
}

static void begin(struct lease_keeper *keeper);

static void on_written(uv_work_t *work, int status)
{
    struct lease_keeper *keeper = work->data;
    keeper->busy = false;
    if (status != 0)
        return;
    if (keeper->error != 0 && !keeper->failing)
        log_error("%s cannot be written: %s; after a restart this node waits for its old lease to "
                  "end",
            keeper->path, strerror(keeper->error));
    keeper->failing = keeper->error != 0;
    if (keeper->again)
        begin(keeper);
}

static void begin(struct lease_keeper *keeper)
{
    keeper->again = false;
    buffer_clear(&keeper->members_writing);
    buffer_append_slice(&keeper->members_writing, buffer_slice(&keeper->members));
    keeper->writing = keeper->next;
    /* Without memory for them they are not known, which is what a drained node writes: the next
     * process waits for nobody. */
    if (buffer_status(&keeper->members_writing) == 0)
        keeper->writing.members = buffer_slice(&keeper->members_writing);
    keeper->work.data = keeper;
    keeper->wrote_ms = uv_now(keeper->loop);
    keeper->busy = uv_queue_work(keeper->loop, &keeper->work, on_work, on_written) == 0;
}

void lease_keeper_init(struct lease_keeper *keeper, uv_loop_t *loop, const char *data_dir)
{
    *keeper = (struct lease_keeper){.loop = loop};
    buffer_init(&keeper->members);
    buffer_init(&keeper->members_writing);
    snprintf(keeper->path, sizeof(keeper->path), "%s/lease", data_dir);
}

void lease_keeper_release(struct lease_keeper *keeper)
{
    buffer_release(&keeper->members);
    buffer_release(&keeper->members_writing);
}

static void write_soon(struct lease_keeper *keeper)
{
    if (keeper->busy)
        keeper->again = true;
    else
        begin(keeper);
}

void lease_keeper_note(struct lease_keeper *keeper, int64_t lease)
{
    struct timespec now;
    const bool other = lease != keeper->next.lease;
    clock_gettime(CLOCK_REALTIME, &now);
    keeper->next = (struct lease_record){.lease = lease, .unix_ms = ms_of(now)};
    if (other || keeper->wrote_ms == 0 ||
        uv_now(keeper->loop) - keeper->wrote_ms >= WRITE_INTERVAL_MS)
        write_soon(keeper);
}

void lease_keeper_note_members(struct lease_keeper *keeper, struct slice members)
{
    if (slice_equal(members, buffer_slice(&keeper->members)))
        return;
    buffer_clear(&keeper->members);
    buffer_append_slice(&keeper->members, members);
    if (keeper->next.lease != 0)
        write_soon(keeper);
}
