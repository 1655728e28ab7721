/* call: the bodies of the requests to etcd, and the names of the keys.
 *
 * A body that could not be made for want of memory is one whose buffer has failed. */
#ifndef MANAGERS_CALL_H
#define MANAGERS_CALL_H

#include "brain/managers.h"

enum {
    CALL_PREFIX_LIMIT = 200,
    CALL_KEY_LIMIT = CALL_PREFIX_LIMIT + MANAGERS_NAME_LIMIT + 64, /* with its NUL */
};

/* The keys under a prefix. */
struct call_key {
    char text[CALL_KEY_LIMIT];
};
struct call_key call_key_member(
    const char *prefix, const char *name); /* name "": of all, a prefix */
struct call_key call_key_evict(const char *prefix, const char *name, uint64_t incarnation);
struct call_key call_key_history(const char *prefix);

void call_authenticate(struct buffer *body, const char *user, const char *password);
void call_grant(struct buffer *body, uint64_t ttl_s);
void call_lease(struct buffer *body, int64_t lease); /* keepalive, revoke */
/* The members as they were at `revision`. */
void call_members(struct buffer *body, const char *prefix, uint64_t revision);
/* From `revision` on. Keys only of the members are watched. */
void call_watch(struct buffer *body, const char *prefix, uint64_t revision);
/* Group 0: the member `name`, group 1: the history, group 2: all members. */
void call_look(struct buffer *body, const char *prefix, const char *name);
/* Puts the history in the place of the one of `revision`; 0: if there is none. */
void call_history(struct buffer *body, const char *prefix, uint64_t history, uint64_t revision);
/* R1: puts the member's key if there is none, and the history is still the one of `revision`. Not
 * succeeded: group 0 is the member's key that is there. */
void call_create(struct buffer *body, const char *prefix, const struct managers_member *member,
    uint64_t history_revision);
/* R12: group 0: the members, group 1: the evict key of this one, group 2: the history; keys only.
 */
void call_read(struct buffer *body, const char *prefix, const char *name, uint64_t incarnation);
/* Puts the evict key of `target` if it is still what it is here, and nobody is being evicted: two
 * who do not hear each other would otherwise both be gone at the same moment, and with them an
 * object and its only copy. */
void call_evict(
    struct buffer *body, const char *prefix, const struct managers_member *target, int64_t lease);
/* Removes target and evict key if both are of these revisions, else only the evict key. */
void call_remove(struct buffer *body, const char *prefix, const struct managers_member *target,
    uint64_t evict_revision);

/* The value of a member's key. False: not a member's; `member` has what is not in the value, too:
 * name, revision and lease are the caller's. */
bool call_member_decode(struct managers_member *member, struct slice value);

#endif
