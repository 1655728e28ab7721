/* A plain model of what a member's store must hold: what the warehouse has, what other members
 * hold, and what each owned object must be; an emulated warehouse and journal, and grants, raises
 * and other members by what is rolled. member_model_test.c says what is checked. */
#ifndef BRAIN_TEST_MEMBER_MODEL_H
#define BRAIN_TEST_MEMBER_MODEL_H

#include "brain/object.h"
#include "random_model.h"

enum { IDS = 8, OPERATIONS = 64, SEQS = 8192, VALUE_MAX = 20000, HISTORY = 4096 };

/* `number` counts all writes of a run, whoever made them; 0: never written. */
struct content {
    struct version version;
    uint32_t number;
    bool deleted;
};

struct operation {
    struct object *object; /* NULL: free */
    bool dump, orphan, expected_known;
    unsigned id;
    struct version expected;
    struct content content;
};

struct request {
    struct store_waiter waiter; /* first: the store hands it back */
    enum { READ, PERSIST, WRITE } kind;
    unsigned id;
    uint32_t since;  /* read: an index into the history of the id */
    uint32_t number; /* write: its own; persist: what must be stored */
    enum store_ack ack;
};

struct place {
    struct content cell;   /* in the warehouse */
    struct content copy;   /* what other members hold; number 0: nothing */
    bool granted, pending; /* pending: the copy is not compared yet */
    struct version epoch;
    bool dirty;
    struct content now; /* what it is: when dirty, the version written last */
    uint32_t wanted;    /* a raise was asked for, above this version */
    struct version outdated;
    uint32_t history[HISTORY]; /* numbers of what it was, 0 for absent */
    uint32_t history_count;
    unsigned waiting;
};

struct model {
    uint64_t seed, random, now_ms;
    struct store *store;
    struct store_options options;
    bool journal, faults, reliable, fenced, abandoning, journal_failed, no_reserve;
    uint32_t number;
    uint64_t counter;
    unsigned waiting, operations_count;
    unsigned asking; /* whose request is in a call of the store; IDS: none */
    struct place places[IDS];
    struct operation operations[OPERATIONS];
    uint64_t recorded, written;
    bool proposing;
    unsigned proposed_id;
    uint32_t proposed;
    bool proposed_deleted;
    uint32_t kept; /* live records of what was given up */
    uint32_t live;
    unsigned reached; /* of what a run is to reach: bits */
    struct content writes[SEQS];
    uint8_t record_states[SEQS]; /* 1 given, 2 live, 3 dead */
};

enum {
    REACHED_ADOPTED = 1,
    REACHED_COPY_WON = 2,
    REACHED_OUTDATED = 4,
    REACHED_PARTED = 8,
    REACHED_BUSY = 16,
    REACHED_LATE = 32,
    REACHED_KEPT = 64,
    REACHED_RELEASED = 128,
};

static inline uint32_t roll(struct model *model, uint32_t sides)
{
    return next_roll(&model->random, sides);
}

static inline bool is_above(struct version a, struct version b)
{
    return version_compare(a, b) > 0;
}

/* The value that write `number` wrote; valid until the next call. */
struct slice bytes_of(uint32_t number);
/* Which write wrote it: all of its bytes must be that one's. */
uint32_t number_of(struct model *model, const struct value *value);
void becomes(struct model *model, struct place *place, struct content content);

/* ---- devices --------------------------------------------------------------------------------- */

void add_device_events(const struct model *model, struct store_events *events);
/* Another member wrote it to the warehouse. */
void put(struct model *model, struct place *place, struct content content);
/* One load or dump that is under way, if there is one. */
void complete_one(struct model *model);
bool is_under_way(const struct model *model, unsigned id);
/* Some of what was recorded gets written, or fails. */
void journal_step(struct model *model);

/* ---- the member ------------------------------------------------------------------------------ */

void add_member_events(struct model *model, struct store_events *events);
/* Asks the home for the object, as who was asked for it does. False: not now. */
bool claim(struct model *model, unsigned id);
/* The home answers `outdated`; sometimes with an epoch that is still too low. */
void raise_epoch(struct model *model, unsigned id);
void part(struct model *model, unsigned id);
void lose_lease(struct model *model);
void go_on_abandoning(struct model *model);
/* Another member owns it for a while. */
void write_elsewhere(struct model *model, unsigned id);

/* ---- requests -------------------------------------------------------------------------------- */

void on_answer(void *context, struct store_waiter *waiter, int status, const struct value *value);
void random_read(struct model *model, unsigned id);
void random_write(struct model *model, unsigned id, bool deletes);
void random_persist(struct model *model, unsigned id);

#endif
