/* monitor_table: who of one peer monitors or links to our processes.
 *
 * Every gen_server:call adds a monitor and takes it back, so both are one hash lookup and no
 * allocation once the table is warm.
 *
 *   slots (open addressing)      records (slab with a free list)
 *   [ 0 | 3 | 0 | 1 | 0 | 2 ]--> | hash, sizes, target | key ... watcher ...      |
 *                                | hash, sizes, target | -> heap, when long names |
 *
 * Keys are raw terms: the reference of a monitor, the pid of a linked process. Their tags differ,
 * so both live in one table. */
#ifndef BRAIN_DIST_MONITOR_TABLE_H
#define BRAIN_DIST_MONITOR_TABLE_H

#include "brain/base.h"

/* What is watched. */
enum monitor_target {
    MONITOR_FREE = 0, /* not in use */
    MONITOR_LINK,     /* our pid, by a link */
    MONITOR_PID,      /* our pid */
    MONITOR_REGISTERED,
    MONITOR_NET_KERNEL,
    MONITOR_REX,
    MONITOR_OTHER, /* the first of the further names; the others follow */
    MONITOR_OTHER_LAST = MONITOR_OTHER + 15,
};

struct monitor_record;

struct monitor_table {
    uint32_t count;
    /* private */
    uint32_t limit;
    uint64_t seed;
    uint32_t *slots; /* index of a record plus one; 0: empty */
    uint32_t slots_capacity;
    struct monitor_record *records;
    uint32_t records_capacity, records_used; /* used: ever, free ones among them */
    uint32_t free_record;                    /* index plus one */
};

/* One entry, as given to monitor_table_add; valid until the table is changed. */
struct monitor {
    enum monitor_target target;
    struct slice key;
    struct slice watcher;
};

/* Allocates nothing. `seed` differs between channels. */
void monitor_table_init(struct monitor_table *table, uint32_t limit, uint64_t seed);
/* Empties the table and frees its memory; it may be used again. */
void monitor_table_release(struct monitor_table *table);

/* Adds, after taking out what had the same key. `watcher` may be empty (links: the key is the
 * watcher). Returns 0, or BRAIN_ETOOBIG (the limit is reached; checked before memory is allocated)
 * or BRAIN_ENOMEM: not added. */
int monitor_table_add(struct monitor_table *table, enum monitor_target target, struct slice key,
    struct slice watcher);
/* Was there one? */
bool monitor_table_remove(struct monitor_table *table, struct slice key);

/* All entries, one by one: `*cursor` begins at 0; false after the last. */
bool monitor_table_next(
    const struct monitor_table *table, uint32_t *cursor, struct monitor *monitor);

#endif
