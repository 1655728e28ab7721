/* A session, the clock, and etcd's answers by hand: what it asks is looked at, what it tells is
 * kept. */
#ifndef SESSION_FIXTURE_H
#define SESSION_FIXTURE_H

#include "session.h"

enum { LEASE_ID = 4711, TTL_S = 10, OWN_REVISION = 100, TOLD_LIMIT = 256 };

struct told {
    struct managers_event event; /* its members are gone */
    char names[256];             /* of the view: "a@h b@h" */
};

extern struct session session;
extern uint64_t now_ms;
extern struct told told[TOLD_LIMIT];
extern size_t told_count;
extern struct session_call call; /* the last one made */
extern bool told_fails;          /* no memory for JOINED and VIEW */
extern char notes[4096];
extern uint64_t look_revision, history_revision; /* what etcd is said to have */
extern const char *history_text;

/* Before set_up; set_up changes nothing in it. */
extern struct managers_options options;

void set_up(void); /* two servers */
void tear_down(void);

/* The session asks exactly this now. */
void asks(enum session_step step);
void asks_nothing(void);
void answers(const char *format, ...) __attribute__((format(printf, 1, 2)));
void fails(void);
bool body_has(const char *text); /* of the last call */
bool body_has_key(const char *key);

/* Answers of etcd, as text; static buffers, two of them in turn. */
const char *kv_of(const char *key, const char *value, uint64_t revision, int64_t lease);
const char *member_value(uint64_t incarnation, uint64_t lease_ms);
/* The key of a member which speaks that protocol; it has lease 9000. */
const char *stranger_kv(const char *name, uint32_t protocol, uint64_t revision);
void answers_look(const char *member_kv);        /* NULL: nobody has the name */
void answers_look_among(const char *member_kvs); /* the name is free, these are members */
void answers_grant(void);
void answers_create(uint64_t revision);
void answers_members(uint64_t revision, const char *kvs);
void answers_keepalive(uint64_t ttl_s);
void answers_read(uint64_t revision, const char *member_kvs, bool evicted);

/* The name is free, the lease is granted; the key is asked for. */
void comes_to_create(void);
/* From managers_join to JOINED at OWN_REVISION, alone. The watch is not started. */
void becomes_member(void);
/* One renewal, now: the lease is kept, and this is read. */
void renewal_reads(uint64_t revision, const char *member_kvs, bool evicted);
/* With nobody else there. */
void renews(uint64_t revision);
const char *own_kv(void); /* in a list of keys */

void watch_starts(void); /* and is created */
bool watch_says(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *put_event(const char *name, uint64_t incarnation, uint64_t revision);
const char *delete_event(const char *name, uint64_t revision);

/* The n-th event from the end, 0 the last. */
const struct managers_event *last_told(size_t n);
size_t count_told(enum managers_event_kind kind);

int session_suite_run(const char *name, void (*add)(void *tcase));

#endif
