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

/* The time is compared with tombstone_keep, which is days: some seconds do not matter. */
enum { WRITE_INTERVAL_MS = 5000 };

static uint64_t ms_of(struct timespec time)
{
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

struct lease_record lease_file_read(const char *path)
{
    struct lease_record record = {0, 0};
    struct stat status;
    char end = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return record;
    if (fscanf(file, "%" SCNd64 " %" SCNu64 "%c", &record.lease, &record.unix_ms, &end) != 3 ||
        end != '\n' || record.lease <= 0 || record.unix_ms == 0) {
        record = (struct lease_record){0, 0};
        if (fstat(fileno(file), &status) == 0)
            record.unix_ms = ms_of(status.st_mtim);
    }
    fclose(file);
    return record;
}

static bool write_and_sync(const char *path, struct lease_record record)
{
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return false;
    bool good = fprintf(file, "%" PRId64 " %" PRIu64 "\n", record.lease, record.unix_ms) > 0 &&
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
    keeper->writing = keeper->next;
    keeper->work.data = keeper;
    keeper->wrote_ms = uv_now(keeper->loop);
    keeper->busy = uv_queue_work(keeper->loop, &keeper->work, on_work, on_written) == 0;
}

void lease_keeper_init(struct lease_keeper *keeper, uv_loop_t *loop, const char *data_dir)
{
    *keeper = (struct lease_keeper){.loop = loop};
    snprintf(keeper->path, sizeof(keeper->path), "%s/lease", data_dir);
}

void lease_keeper_note(struct lease_keeper *keeper, int64_t lease)
{
    struct timespec now;
    const bool other = lease != keeper->next.lease;
    clock_gettime(CLOCK_REALTIME, &now);
    keeper->next = (struct lease_record){lease, ms_of(now)};
    if (!other && keeper->wrote_ms != 0 &&
        uv_now(keeper->loop) - keeper->wrote_ms < WRITE_INTERVAL_MS)
        return;
    if (keeper->busy)
        keeper->again = true;
    else
        begin(keeper);
}
