/* A journal in a directory of its own, what it told, and a disk that can be made to fail. */
#ifndef JOURNAL_FIXTURE_H
#define JOURNAL_FIXTURE_H

#include <check.h>
#include <pthread.h>

#include "brain/journal.h"
#include "device.h"

extern uv_loop_t loop;
extern struct journal *journal;
extern struct journal_options options; /* changed before open_journal, reset by set_up */
extern char directory[64];
extern const char *why;
extern uint64_t next_seq;

/* What on_written told. */
extern uint64_t written, failed;
extern unsigned failures_told;
/* When the first failure was told: what was written then; and why, of the last one. */
extern uint64_t written_before;
extern char told_why[256];

/* What was recovered by the last open; copies. */
struct found {
    uint64_t seq, begun_unix_ms;
    uint8_t *data;
    size_t size;
};
extern struct found *found;
extern size_t found_count;
/* Are recovered records live? (true after set_up) */
extern bool keep_found;

void set_up(void);
void tear_down(void);

int try_open(void);
void open_journal(void);
void close_journal(void);
void run_once(void);
void run_until_written(uint64_t seq);
void run_until_failed(uint64_t seq);
/* Waits until `condition` is true, at most 20 s. */
void run_until(bool (*condition)(void));

/* A payload that its number tells: any size, bytes that look random. */
struct value payload_of(uint64_t seq, size_t size);
void append(uint64_t seq, size_t size); /* and live */
void append_text(uint64_t seq, const char *head, const char *tail);
void expect_found(size_t index, uint64_t seq, size_t size);

/* Files of the directory. */
size_t segment_files(uint64_t *numbers, size_t limit); /* sorted; returns how many there are */
void segment_path(char out[128], uint64_t number);
uint8_t *read_segment(uint64_t number, size_t *size); /* malloc'd */
void write_segment(uint64_t number, const void *data, size_t size);
void remove_segments(void);

uint64_t metric(const char *name); /* refreshed */

/* A disk with faults; 0 everywhere: none. */
struct fault {
    bool limited; /* only `space` more bytes can be written */
    uint64_t space;
    unsigned failing_syncs; /* so many syncs fail, and lose what was not synced: zeros it */
    bool spares_headers;    /* but not of a segment that has nothing but its header */
    unsigned chunk;         /* writes are cut to this many bytes */
    bool refuse_new;        /* no new file can be made */
    uint64_t unremovable;   /* the segment of this number cannot be removed */
    unsigned syncs, writes, cuts;
};
extern struct fault fault; /* read and written under fault_lock */
extern pthread_mutex_t fault_lock;
extern uint64_t fault_unix_ms; /* the wall clock of that disk; 0: the system's */
void fault_install(void);
void fault_set(struct fault now);

#endif
