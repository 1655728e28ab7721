/* waiters: requests in line. Each is in two lines, both in order of arrival: that of its object
 * (one for reads, one for persists) or of all writes that wait for the journal, and that of all by
 * deadline, which is the same order because all wait equally long. So whoever is late is the first
 * of its line. */
#ifndef BRAIN_OBJECT_WAITERS_H
#define BRAIN_OBJECT_WAITERS_H

#include "brain/object.h"

/* store_waiter.kind */
enum {
    WAITER_LOAD,    /* a read of what the load brings */
    WAITER_LOOK,    /* a read of a restored item, until the warehouse was looked at */
    WAITER_VALUE,   /* a read of `captured`, behind other reads or before its acknowledgement */
    WAITER_ABSENT,  /* the same, of an object deleted meanwhile */
    WAITER_PERSIST, /* for a dump */
    WAITER_STORED,  /* a write, for the same; in one line with them */
    WAITER_RECORD,  /* a write, for the journal to be at `seq`; it has no object */
};
/* store_waiter.state of WAITER_PERSIST and WAITER_STORED: is the dump under way the one it waits
 * for, or the next? */
enum { WAITER_NEXT_DUMP, WAITER_THIS_DUMP };
/* store_waiter.state of reads: what must have been acknowledged of the version `seq` they saw. */
enum { WAITER_NEEDS_RECORD = 1, WAITER_NEEDS_DUMP = 2, WAITER_NO_MEMORY = 4 /* to show it */ };

struct waiter_line {
    struct store_waiter *first, *last;
    size_t count;
};

struct waiter_deadlines {
    struct store_waiter *oldest, *newest;
    size_t count;
};

/* The line it is in; `records`: that of WAITER_RECORD. */
struct waiter_line *waiters_line(struct waiter_line *records, const struct store_waiter *waiter);
void waiters_push(struct waiter_deadlines *deadlines, struct waiter_line *line,
    struct store_waiter *waiter, struct object *object, uint8_t kind, uint64_t deadline_ms);
/* Takes out the first of the line, or NULL. Its `captured` is then the caller's to drop. */
struct store_waiter *waiters_pop(struct waiter_deadlines *deadlines, struct waiter_line *line);

#endif
