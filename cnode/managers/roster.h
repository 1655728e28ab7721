/* roster: the member list, put together from the list at one revision and the events since.
 *
 * Keys that are not a member's (a value that is not what members write, or of one that speaks
 * another protocol; a name that is none) are kept in mind, because the list that etcd has must be
 * comparable with this one, but are in no view. */
#ifndef MANAGERS_ROSTER_H
#define MANAGERS_ROSTER_H

#include "answer.h"
#include "brain/managers.h"

struct roster {
    struct managers_member *entries; /* sorted by name; incarnation 0: not a member */
    size_t count, capacity, strays;
    uint32_t protocol; /* that members speak */
    uint64_t number;   /* revision of the last change that is in a view */
    uint64_t set;      /* of all entries' names and revisions: roster_set_add */
};

void roster_init(struct roster *roster, uint32_t protocol);
void roster_release(struct roster *roster); /* empty then, and may be used again */

/* Takes one key under `prefix` ("brain/member/") that was put or deleted. `*changed` becomes true
 * when the members are others now. 0, BRAIN_ENOMEM (also for more than MANAGERS_MEMBERS_LIMIT
 * entries): the roster is then as it was. */
int roster_apply(struct roster *roster, const char *prefix, const struct answer *answer,
    const struct answer_kv *kv, bool *changed);

const struct managers_member *roster_find(const struct roster *roster, const char *name);

/* The members. `members` of the view is the caller's (heap_release). 0 or BRAIN_ENOMEM. Of those
 * that claim the same incarnation the one that was put first: two would be one to all others. */
int roster_view(const struct roster *roster, uint64_t history, struct managers_view *view);

/* A history is 24 bits of the time when it began, in units of 64 s since 2025, and 40 random ones.
 * The number of a view is that time, and 40 bits of etcd's revision. */
enum {
    ROSTER_REVISION_BITS = MANAGERS_REVISION_BITS,
    ROSTER_ERA_S = 64,
    ROSTER_ERA_LIMIT = 1 << 24
};
static inline uint64_t roster_era(uint64_t history)
{
    return history >> ROSTER_REVISION_BITS;
}
static inline uint64_t roster_number(uint64_t history, uint64_t revision)
{
    return (roster_era(history) << ROSTER_REVISION_BITS) + revision;
}

/* The name in a key under `prefix`. False: no member's, whatever its value; such keys are nowhere.
 */
bool roster_name(struct slice key, const char *prefix, struct slice *name);

/* Is it name@host, as a node's is? Other names are no member's, whatever the value. */
bool roster_is_node(struct slice name);

/* Who has its incarnation, and was put before it; NULL: nobody. */
const struct managers_member *roster_twin(
    const struct roster *roster, const struct managers_member *entry);

/* The mark of a set of keys does not depend on their order: the sum of these. */
uint64_t roster_set_mark(struct slice name, uint64_t revision);

#endif
