/* wheel: what is due, and roughly when. A ring of lists, one per tick of `granularity_ms`.
 *
 * Insert and removal (list_remove) are O(1). It is lazy: nothing moves while the thing it watches
 * is used. What comes up is looked at by its owner, who puts it back with a later time when it was
 * used meanwhile; so a busy thing costs one visit per period, however often it is used. A time
 * beyond the ring's end goes to the last list, comes up there, and is put back as well. Nothing
 * comes up early by design of the ring alone: a time is rounded up to a tick. */
#ifndef BRAIN_OBJECT_WHEEL_H
#define BRAIN_OBJECT_WHEEL_H

#include <stdint.h>

#include "brain/list.h"

enum { WHEEL_TICKS = 512 };

struct wheel {
    uint64_t granularity_ms;
    uint64_t cursor;  /* the tick being emptied; all before it are empty */
    uint64_t nearest; /* no tick before this one holds anything */
    struct link ticks[WHEEL_TICKS];
};

void wheel_init(struct wheel *wheel, uint64_t granularity_ms);
void wheel_insert(struct wheel *wheel, struct link *link, uint64_t due_ms);
/* Takes out one link whose tick has come, or returns NULL when there is none. */
struct link *wheel_take(struct wheel *wheel, uint64_t now_ms);
/* Milliseconds until wheel_take may have something; 0: now; UINT64_MAX: never. */
uint64_t wheel_next_ms(const struct wheel *wheel, uint64_t now_ms);
/* What comes up first, left where it is, and its tick; NULL: empty. */
struct link *wheel_peek(struct wheel *wheel, uint64_t *tick);
/* Moves everything to the end of `list`. */
void wheel_take_all(struct wheel *wheel, struct link *list);

#endif
