/* What the tests of the store share: a warehouse and a journal that are played by hand. The test
 * sees what was asked for, and answers when and how it likes. */
#ifndef BRAIN_TEST_STORE_FIXTURE_H
#define BRAIN_TEST_STORE_FIXTURE_H

#include "brain/object.h"

enum { ASKED_MAX = 4096, ANSWERS_MAX = 64, RECORDS_MAX = 4096, TTL = 1000 };

/* A load or a dump that the store asked for. */
struct asked {
    struct object *object;
    bool dump, expected_known, tombstone;
    struct version version, expected;
    char id[32], value[32];
    size_t size;
};

struct answered {
    struct store_waiter *waiter;
    int status;
    char value[32];
};

struct record {
    uint64_t seq;
    int live; /* 1: live, -1: dead again */
    bool tombstone;
};

/* What came later than there is room for is at its place modulo ..._MAX. */
extern struct store *store;
extern struct asked asked[ASKED_MAX];
extern struct answered answers[ANSWERS_MAX];
extern struct record records[RECORDS_MAX];
extern size_t asked_count, answers_count, records_count, asides;
extern char aside[32]; /* what was set aside last */
extern struct store_waiter w[16];
extern int journal_status; /* what it answers to a record */
extern bool at_once;       /* the warehouse answers within the event */
extern uint64_t now;
extern char text[32]; /* what was read last; "" when there was no value */

#define VERSION(view, counter, seq) ((struct version){view, counter, seq})

struct store_options options_default(void);
/* Instead of the store there was; `store` is NULL when there was no memory. */
void open_with(struct store_options options, bool journal);
void setup(void);
void teardown(void);
/* With a journal; nothing may be set aside. */
void setup_journal(void);
void teardown_journal(void);

const struct store_metrics *metrics(void);
int set_as(const char *id, const char *value, enum store_ack ack, struct store_waiter *waiter);
int set(const char *id, const char *value);
int erase(const char *id);
/* STORE_WAIT, or the status of the read, and its value in `text`. */
int get(const char *id, struct store_waiter *waiter);
int get_is(const char *id, const char *want);
int persist(const char *id, struct store_waiter *waiter);
/* What a start brings back out of the journal; `value` "": a tombstone. */
void restore(const char *id, struct version version, const char *value);

void loaded(size_t i, int status, struct version version, const char *value);
void dumped(size_t i, int status);
/* For what is not about waiting for it: every record is there as soon as it is given. */
void journal_is_ahead(void);
void advance(uint64_t ms);

void assert_version(struct version a, struct version b);
void assert_answer(size_t i, struct store_waiter *waiter, int status, const char *value);

#endif
