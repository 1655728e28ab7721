/* lease_file: the last lease of a data directory, kept in data_dir/lease: so that the next process
 * may revoke it (R1), and knows how old is what the journal brings back (R10).
 *
 * One line, "LEASE UNIX_MS": the lease, and when it was last known to be valid. It is replaced as a
 * whole, on a thread of libuv's pool, because it is synced. */
#ifndef BRAIN_SERVER_LEASE_FILE_H
#define BRAIN_SERVER_LEASE_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct lease_record {
    int64_t lease;    /* 0: not known */
    uint64_t unix_ms; /* 0: there never was one */
};

/* What is there. A file that is not in its form: its time is when it was written. */
struct lease_record lease_file_read(const char *path);
/* 0, or BRAIN_EIO (errno says why). Blocks. */
int lease_file_write(const char *path, struct lease_record record);

/* Writes in the background: the newest record, one write at a time. */
struct lease_keeper {
    uv_loop_t *loop;
    uv_work_t work;
    char path[4096];
    struct lease_record writing, next;
    uint64_t wrote_ms; /* on the loop's clock; 0: never */
    bool busy, again;
    bool failing; /* and the log says so */
    int error;    /* errno of the last write, 0: it succeeded */
};

void lease_keeper_init(struct lease_keeper *keeper, uv_loop_t *loop, const char *data_dir);
/* `lease` is valid now. Written at once when it is another one, else every few seconds. */
void lease_keeper_note(struct lease_keeper *keeper, int64_t lease);

#endif
