/* members: the list of the last view, and where each member is. Pure. */
#ifndef BRAIN_SERVER_MEMBERS_H
#define BRAIN_SERVER_MEMBERS_H

#include "brain/cluster.h"
#include "brain/managers.h"

/* Room for the names of some members in a sentence. */
enum { MEMBERS_TEXT_SIZE = 600 };

struct members {
    uint64_t digest;
    struct managers_member *list; /* sorted by name */
    struct cluster_member *core;  /* the same members, as the cluster's core wants them */
    struct cluster_view view;     /* of them */
};

/* Takes a copy of the view. 0, or BRAIN_ENOMEM: unchanged. */
int members_set(struct members *members, const struct managers_view *view);
void members_release(struct members *members);
/* NULL: none of that name. */
const struct managers_member *members_find(const struct members *members, struct slice name);
/* Is `view` of another history: not newer than what is here, and yet not the same? */
bool members_contradict(const struct members *members, const struct managers_view *view);
/* The names with commas between, cut with "..." where `size` ends. Returns `text`. */
char *members_text(const struct members *members, char *text, size_t size);

#endif
