/* lease_file: the last lease of a data directory, kept in data_dir/lease: so that the next process
 * may revoke it (R1), knows how old is what the journal brings back (R10), and whom it was a member
 * with.
 *
 * A line "LEASE UNIX_MS": the lease, and when it was last known to be valid. Then a line
 * "INCARNATION NAME" for each member of the last view that this node took part in; none when it
 * has left with nothing to come back for. The file is replaced as a whole, on a thread of libuv's
 * pool, because it is synced. */
#ifndef BRAIN_SERVER_LEASE_FILE_H
#define BRAIN_SERVER_LEASE_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "brain/base.h"

struct lease_record {
    int64_t lease;    /* 0: not known */
    uint64_t unix_ms; /* 0: there never was one */
    /* The lines of members; borrowed where a record is given to be written. */
    struct slice members;
};

/* What is there. A file that is not in its form: its time is when it was written, and there are no
 * members. Their lines are put into `members` (initialized by the caller), which the record then
 * points into. */
struct lease_record lease_file_read(const char *path, struct buffer *members);
/* The next line of members, which `rest` is moved behind. false: there is none in its form. */
bool lease_file_next_member(struct slice *rest, uint64_t *incarnation, struct slice *name);
void lease_file_add_member(struct buffer *members, uint64_t incarnation, struct slice name);
/* 0, or BRAIN_EIO (errno says why). Blocks. */
int lease_file_write(const char *path, struct lease_record record);

/* Writes in the background: the newest record, one write at a time. */
struct lease_keeper {
    uv_loop_t *loop;
    uv_work_t work;
    char path[4096];
    struct lease_record writing, next;
    struct buffer members, members_writing;
    uint64_t wrote_ms; /* on the loop's clock; 0: never */
    bool busy, again;
    bool failing; /* and the log says so */
    int error;    /* errno of the last write, 0: it succeeded */
};

void lease_keeper_init(struct lease_keeper *keeper, uv_loop_t *loop, const char *data_dir);
/* When the loop has ended. */
void lease_keeper_release(struct lease_keeper *keeper);
/* The lines of members that are written from now on; written at once when they are others, and
 * there is a lease. */
void lease_keeper_note_members(struct lease_keeper *keeper, struct slice members);
/* `lease` is valid now. Written at once when it is another one, else every few seconds. */
void lease_keeper_note(struct lease_keeper *keeper, int64_t lease);

#endif
