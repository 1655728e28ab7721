/* returning: whom a member that was started again waits for, before it takes part for the first
 * time. Pure.
 *
 * What a member has in its journal and the warehouse does not have, it tells the others when it
 * joins (R2). When all members ended at once, whoever comes back first finds nobody who could tell
 * it anything, and would take for absent, or old, what those still hold who are about to come back.
 * So it waits for the members of its last view (lease_file.h): for each until it is there with
 * another incarnation than then, which is a process that has read its journal; at most for
 * rejoin_wait. It ends at once when a member that was there before this one says anything: who
 * waits is silent, so there is somebody who takes part, and what could be lost by that is lost. A
 * member that is alone in its last view, or that has left with nothing to come back for, waits for
 * nobody. */
#ifndef BRAIN_SERVER_RETURNING_H
#define BRAIN_SERVER_RETURNING_H

#include "members.h"

struct returning {
    struct buffer lines; /* the members of the last view, as in the lease file */
    uint64_t since_ms;   /* of the first join; 0: not yet */
    bool over;
};

void returning_init(struct returning *returning);
void returning_release(struct returning *returning);
/* How many others of the last view are not back in this list, and their names, cut with "..." where
 * `size` ends. */
size_t returning_missing(const struct returning *returning, const struct members *members,
    struct slice self, char *text, size_t size);
/* `from` said something that only a member says which takes part. */
void returning_hear(struct returning *returning, const struct members *members, struct slice self,
    struct slice from);
/* Is it to wait (any more)? `limit_ms`: rejoin_wait. */
bool returning_waits(const struct returning *returning, const struct members *members,
    struct slice self, uint64_t now_ms, uint64_t limit_ms);

#endif
