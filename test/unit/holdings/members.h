/* members: some members of a cluster in one process: the real core, holdings and store of each, a
 * network and a warehouse that do what a test lets them do, and a journal that checks what it is
 * told. Members are numbered from 0 and named a@n, b@n, ... */
#ifndef HOLDINGS_MEMBERS_H
#define HOLDINGS_MEMBERS_H

#include "brain/holdings.h"

enum { MEMBERS = 4, TEXT = 24 };

struct ask {
    struct cluster_request request; /* first */
    struct ask *next;
    int member;
    char id[TEXT];
    int answers, status;
    char text[TEXT];   /* of a STORE_FOUND */
    uint64_t answered; /* the how manieth answer of all */
};

/* What lies in the warehouse. */
struct kept {
    struct kept *next;
    char id[TEXT];
    struct version version;
    bool deleted;
    char text[TEXT];
};

/* One load or dump under way. */
struct operation {
    struct operation *next;
    int member;
    struct object *object;
    bool put, blind;
    char id[TEXT];
    struct version version, expected;
    bool deleted;
    char text[TEXT];
};

struct journaled {
    struct journaled *next;
    char id[TEXT];
    uint64_t seq;    /* the version's, unless compaction wrote it again */
    uint64_t age_ms; /* of a copy that was written again */
    struct version version;
    bool deleted, live, dead;
    char text[TEXT];
};

struct letter {
    struct letter *next;
    int from, to;
    char kind[16];
    struct value bytes;
};

struct world {
    uint64_t now_ms, request_ms, view;
    uint32_t count, backups, handoff_uses;
    uint64_t answers;
    struct member {
        struct world *world;
        int number;
        char name[8];
        bool up;
        uint64_t incarnation;
        struct cluster *cluster;
        struct holdings *holdings;
        struct store *store;
        struct journaled *journal;
        uint64_t appended; /* the last seq */
        bool has_no_room;  /* for copies */
        bool journal_fails, journal_stops, dumps_stop, loads_stop, loads_fail;
        uint32_t set_aside;
        uint32_t late_set_aside; /* by the store */
    } members[MEMBERS];
    bool journals;
    struct letter *letters;
    struct operation *operations;
    struct kept *warehouse;
    struct ask *asks;
    char stopped[4][16]; /* kinds of messages that are not delivered */
    bool dropped[4];     /* but lost */
};

/* `count` members, none of them up. */
void world_init(struct world *world, uint32_t count, uint32_t backups);
/* All are up, in one view. False: no memory. */
bool world_start(struct world *world);
void world_end(struct world *world); /* asks are freed too */

bool member_create(struct world *world, int member);
/* It is gone at once; what is live in its journal is still there for the next one. */
void member_crash(struct world *world, int member);
/* Its lease is lost: it gives everything up, and is out, under a new incarnation. */
void member_lose(struct world *world, int member);
/* A record in its journal that no store of this process wrote; live. */
void member_journal(
    struct world *world, int member, const char *id, struct version version, const char *text);
/* All live records of its journal become copies, before it joins. */
void member_restore(struct world *world, int member);
/* A view of all that are up; those that are out join. */
void world_view(struct world *world);
void world_lease(struct world *world); /* is renewed for all */

/* Messages of this kind are kept, or lost, from now on; or go on. */
void world_stop(struct world *world, const char *kind, bool lost);
void world_go_on(struct world *world, const char *kind);
/* Delivers and carries out everything that is not stopped, until nothing is left to do now. */
void world_settle(struct world *world);
/* Time passes in steps of 50 ms, with leases renewed. */
void world_pass(struct world *world, uint64_t ms);

/* A request to the core. */
struct ask *world_ask(struct world *world, int member, enum cluster_kind kind, const char *id,
    const char *text, enum store_ack ack);
/* The same as a service does it: by the fast path where there is one. */
struct ask *world_ask_fast(struct world *world, int member, enum cluster_kind kind, const char *id,
    const char *text, enum store_ack ack);
bool is_answered(const struct ask *ask, int status, const char *text);
/* A whole strong read: "" for absent, "?" for anything else. */
const char *world_read(struct world *world, int member, const char *id);
/* A write of class STORE_ACK_BACKUP, answered. */
void world_write(struct world *world, int member, const char *id, const char *text);

const struct kept *world_kept(const struct world *world, const char *id);
void world_keep(struct world *world, const char *id, const char *text); /* version 1, 1, 1 */
bool member_owns(const struct world *world, int member, const char *id);
bool member_has_copy(const struct world *world, int member, const char *id);
bool member_has_resident(const struct world *world, int member, const char *id);
uint32_t member_live_records(const struct world *world, int member, const char *id); /* NULL: all */
uint64_t member_metric(const struct world *world, int member, const char *name);

#endif
