/* A plain model of what the store must hold, an emulated warehouse that writes conditionally, and
 * an emulated journal; all of them answer, fail and crash by what is rolled. model_test.c says what
 * is checked. */
#ifndef BRAIN_TEST_MODEL_H
#define BRAIN_TEST_MODEL_H

#include "brain/object.h"
#include "random_model.h"

enum { IDS = 12, OPERATIONS = 64, RECORDS = 8192, VALUE_MAX = 4800, NEST_MAX = 3 };

/* What an id holds, here or in the warehouse. `write` numbers the writes of one id; the bytes of a
 * value follow from id, write and size. */
struct content {
    bool exists;
    uint32_t write;
    size_t size;
    enum store_ack ack; /* of that write, when this process made it */
    uint64_t seq;       /* and its first record; 0: none */
    uint64_t failed;    /* dumps that had failed before it */
};

struct cell {
    struct content content;
    struct version version; /* 0: never written */
};

struct operation {
    struct object *object; /* NULL: free */
    bool dump;
    unsigned id;
    struct version version, expected;
    bool expected_known;
    struct content content;
};

struct record {
    unsigned id;
    struct version version;
    struct content content;
    bool live, dead;
    uint64_t dead_after; /* dead: it may be deleted when the journal has got to here */
};

enum request_kind { READ, PERSIST, WRITE };

struct request {
    struct store_waiter waiter; /* first: the store hands it back */
    unsigned id;
    enum request_kind kind;
    struct content seen; /* read: at the time of the request; else what must be acknowledged */
    uint32_t turn;       /* order of the reads of one id */
    bool unsure;         /* read: begun before a restored object was looked for in the warehouse */
};

struct model {
    uint64_t seed, random, now_ms, key_ttl_ms;
    struct store *store;
    struct content contents[IDS];
    struct cell cells[IDS];
    struct operation operations[OPERATIONS];
    unsigned operations_count;
    uint32_t reads_begun[IDS], reads_done[IDS];
    unsigned waiting, depth;
    unsigned loads_failed; /* results given */
    bool at_once, reliable, faults;
    struct store_options options;
    bool journal, crashed;
    uint64_t power_lost; /* last seq given when it was */
    bool verify;         /* the journal still has records from before that */
    struct record records[RECORDS];
    unsigned records_count;
    uint64_t recorded, written, settled; /* last seq: given, appended, told about */
    uint64_t synced;                     /* what a loss of power leaves for sure */
    bool journal_fails, journal_failed;
    unsigned journal_errors;
    bool proposing; /* a write is under way, and not recorded yet */
    unsigned proposed_id;
    struct content proposed;
    uint32_t acked[IDS];  /* the last write that the journal or the warehouse has */
    uint32_t stored[IDS]; /* and that the warehouse has */
    bool unsure[IDS];     /* restored after a loss of power, not written or read since */
};

extern uint8_t bytes[VALUE_MAX];

static inline uint32_t roll(struct model *model, uint32_t sides)
{
    return next_roll(&model->random, sides);
}

/* Into `bytes`. */
void fill_bytes(unsigned id, const struct content *content);
bool value_is(unsigned id, const struct content *content, const struct value *value);

/* ---- devices --------------------------------------------------------------------------------- */

/* False: there was no memory for it. */
bool open_store(struct model *model);
/* One load or dump that is under way, if there is one. */
void complete_one(struct model *model);
/* Some of what was recorded gets written, synced, or fails. */
void journal_step(struct model *model);
/* What a crash leaves of the journal: all that was written (a loss of power: synced) and is not
 * dead; of the rest, a part from the end of the dead on, or to the beginning of what was not. */
void lose_records(struct model *model, bool power);

/* ---- requests -------------------------------------------------------------------------------- */

void random_request(struct model *model);
void on_answer(void *context, struct store_waiter *waiter, int status, const struct value *value);

#endif
