/* ages: how old is the oldest of many, at one byte each.
 *
 * What enters is counted in a group with all that entered at nearly the same time, and keeps the
 * number of its group to leave by. The oldest group that is not empty tells the age. Groups open
 * no more often than every 1/128 of that age, so the answer is at most about 1 % too high, and
 * exact when all is well (young). 255 groups at most: should they run out, the newest goes on
 * collecting, and ages are rounded up more. */
#ifndef BRAIN_OBJECT_AGES_H
#define BRAIN_OBJECT_AGES_H

#include <stdint.h>

struct ages {
    uint64_t total;
    uint64_t start_ms[256];
    uint64_t count[256];
    uint8_t oldest, newest; /* a ring: the groups from oldest to newest are in use */
};

void ages_init(struct ages *ages);
/* Returns the group, for ages_leave. */
uint8_t ages_enter(struct ages *ages, uint64_t now_ms);
void ages_leave(struct ages *ages, uint8_t group);
/* 0 when there is nothing. */
uint64_t ages_oldest_ms(const struct ages *ages, uint64_t now_ms);

#endif
