/* What the tests of a member's store share: a warehouse, a journal and grants that are played by
 * hand; what the store tells is a text. */
#ifndef BRAIN_TEST_MEMBER_FIXTURE_H
#define BRAIN_TEST_MEMBER_FIXTURE_H

#include "brain/object.h"

enum { ASKED_MAX = 256, RECORDS_MAX = 4096, TTL = 1000, LOG_SIZE = 4096 };

/* A load or a dump that the store asked for. */
struct asked {
    struct object *object;
    bool dump, expected_known, over, wanted;
    struct version version, expected;
    char id[16], value[16];
};

extern struct store *store;
extern struct asked asked[ASKED_MAX];
extern size_t asked_count;
extern int8_t records[RECORDS_MAX]; /* by seq: 0 none, 1 given, 2 live, 3 dead */
extern uint64_t last_seq;
extern bool journal, may_dump;
extern int journal_status, reserve_status;
extern struct version grant; /* of all ids; view 0: none */
extern unsigned grants_asked;
extern struct store_waiter w[8];
extern struct version kept_version;
extern uint64_t now;
extern char told[LOG_SIZE], answered[LOG_SIZE], text[16];
static const struct version NONE;

#define ASSERT_TOLD(wanted)     is_and_clear(told, wanted)
#define ASSERT_ANSWERED(wanted) is_and_clear(answered, wanted)

void is_and_clear(char *log, const char *wanted);
void copy_text(char out[16], const struct value *value);
void on_keep(void *member, struct slice id, struct version version, const struct value *value,
    bool recorded);
void open_with(uint64_t memory_limit);
void setup(void);
void setup_journal(void);
void teardown(void);
const struct store_metrics *metrics(void);
struct slice id_of(const char *id);
int set_as(const char *id, const char *value, enum store_ack ack, struct store_waiter *waiter);
int set(const char *id, const char *value);
int erase(const char *id);
int get(const char *id, struct store_waiter *waiter);
bool shows(const char *id, const char *wanted);
int persist(const char *id, struct store_waiter *waiter);
int adopt(const char *id, struct version version, const char *bytes);
int adopt_complete(const char *id, struct version version, const char *bytes);
int restamp(const char *id);
void loaded(size_t i, struct version version, const char *bytes);
void load_fails(size_t i);
void dumped(size_t i, int status);
void conflicted(size_t i, struct version stored);
void assert_asked(size_t i, bool dump, const char *id, struct version version);
uint64_t advance(uint64_t ms);
void have(const char *id, struct version version, const char *bytes);
struct version v(uint64_t view, uint64_t counter, uint64_t seq);
bool abandon_all(void);

#endif
