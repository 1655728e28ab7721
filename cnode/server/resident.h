/* resident: what the process really takes, beside what the store counts.
 *
 * memory_limit is a promise about the process. An allocator may take more than it was asked for:
 * blocks of one size that were allocated in one order and freed in another leave holes, and what
 * one thread frees of another's is not at once of use to a third. Measured: 64 MB of values of 20
 * kB, read by the warehouse's thread in the place of those that clients had written, took 91 MB for
 * a while. So the difference is looked at, and what is more than a small part of the limit counts
 * like the buffers of connections: the coldest objects leave until there is room. */
#ifndef BRAIN_SERVER_RESIDENT_H
#define BRAIN_SERVER_RESIDENT_H

#include <stdint.h>

struct resident {
    int statm;              /* /proc/self/statm; negative: not there, nothing is looked at */
    uint64_t program_bytes; /* RssAnon before there was any object */
    uint64_t excess_bytes;  /* what resident_excess said last */
};

/* Before the store is made. */
void resident_open(struct resident *resident);
void resident_close(struct resident *resident);
/* Looks. `counted_bytes`: all that is counted against the limit, without the excess. */
void resident_look(struct resident *resident, uint64_t counted_bytes, uint64_t limit_bytes);

/* Pure: what is to be counted beside `counted_bytes`. A twentieth of the limit is not: no allocator
 * is exact. Never more than a quarter of the limit: what does not come back when objects leave must
 * not drive all of them out. 0 without a limit. */
uint64_t resident_excess(
    uint64_t anonymous_bytes, uint64_t program_bytes, uint64_t counted_bytes, uint64_t limit_bytes);

#endif
