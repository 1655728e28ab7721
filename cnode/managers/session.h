/* session: one node's membership as a state machine: answers of etcd and the time in, requests and
 * events out. It holds no descriptor and reads no clock; managers.c gives it both.
 *
 *   IDLE --join--> JOINING --created, members read--> MEMBER --lost--> LOST --join--> JOINING
 *                     |                                  |              |
 *                     +------------- leave --------------+--------------+--> LEAVING --> IDLE
 *
 * Requests go one at a time (a lane), which is what makes "sent after" and "answered before"
 * simple; the watch is a second, endless one. Each step of the lane is repeated, at the next
 * server, until it is answered:
 *
 *   joining:   [AUTHENTICATE] [REVOKE own former lease] LOOK [HISTORY] [REVOKE predecessor's] GRANT
 *              CREATE MEMBERS [REVOKE, where another protocol was there first]
 *   a member:  KEEPALIVE READ, every third of the lease; between them EVICT ... REMOVE CLEAR
 *   leaving:   LEAVE */
#ifndef MANAGERS_SESSION_H
#define MANAGERS_SESSION_H

#include "answer.h"
#include "brain/log.h"
#include "brain/managers.h"
#include "call.h"
#include "endpoints.h"
#include "roster.h"

enum {
    SESSION_EVICTIONS = 64,  /* under way at once; more are forgotten, whoever asks asks again */
    SESSION_SECRET = 256,    /* bytes of user and password, with NUL */
    SESSION_TAKEN_MS = 1000, /* between two looks at who is in the way */
};

struct session_options {
    const struct endpoints *endpoints; /* outlives the session */
    char prefix[CALL_PREFIX_LIMIT + 1];
    char user[SESSION_SECRET], password[SESSION_SECRET];
    uint64_t lease_ms;
    struct managers_member self; /* name, address, port, protocol */
    int64_t predecessor_lease;
    bool data_dir_locked;
    uint64_t seed;               /* not 0: of incarnations and jitter */
    uint64_t wall_s, wall_at_ms; /* what time it was by the calendar (s since 1970), at that time */
};

struct session_hooks {
    void *context;
    /* False: no memory to tell JOINED or VIEW; the membership is given up then (LOST always fits).
     */
    bool (*event)(void *context, const struct managers_event *event);
    void (*note)(void *context, enum log_level level, const char *sentence);
};

enum session_step {
    STEP_NONE,
    STEP_AUTHENTICATE,
    STEP_REVOKE,
    STEP_LOOK,
    STEP_HISTORY,
    STEP_GRANT,
    STEP_CREATE,
    STEP_MEMBERS,
    STEP_KEEPALIVE,
    STEP_READ,
    STEP_EVICT,
    STEP_REMOVE,
    STEP_CLEAR,
    STEP_LEAVE,
};

/* A request to be made: POST `path` at `endpoint`. All is valid until its answer was given. */
struct session_call {
    enum session_step step;
    unsigned endpoint;
    const char *path;
    struct slice body;
    const char *token; /* "": none */
    uint64_t timeout_ms;
};

struct eviction {
    enum session_step step; /* STEP_NONE: free; else EVICT, REMOVE or CLEAR is next */
    uint64_t at_ms;         /* not before */
    uint64_t revision;      /* of the evict key */
    struct managers_member target;
};

struct session {
    struct session_options options;
    struct session_hooks hooks;
    uint64_t random;
    enum { SESSION_IDLE, SESSION_JOINING, SESSION_MEMBER, SESSION_LOST, SESSION_LEAVING } phase;
    unsigned epoch; /* grows with the phase: answers of an earlier one do not count */
    char error[MANAGERS_TEXT];
    bool was_out_of_reach;

    struct {
        enum session_step step; /* STEP_NONE: nothing is under way */
        unsigned epoch;
        uint64_t sent_ms;
        uint64_t seen_revision; /* when it was sent */
        struct eviction *eviction;
        struct buffer body;
    } lane;
    struct endpoint_turn turn;
    struct answer answer;

    char token[ANSWER_TOKEN];
    bool wants_token, token_proven;

    /* Joining: */
    enum session_step next; /* of the lane */
    uint64_t next_ms;       /* not before */
    bool taken_told, refused_told;
    int64_t old_lease; /* of an earlier incarnation, to be revoked; 0: none */

    /* This membership: */
    struct managers_member self;
    uint64_t until_ms;
    uint64_t keepalive_sent_ms, renewed_until_ms; /* of the renewal under way */
    uint64_t renew_ms;                            /* when the next is due */
    uint64_t history, history_revision;
    uint64_t seen_revision; /* the greatest that a read with a quorum, or the watch, has shown */
    struct roster roster;
    uint64_t behind_since_ms, behind_set; /* 0: not behind */
    struct eviction evictions[SESSION_EVICTIONS];
    struct {
        bool joined;
        uint64_t history, seen_revision;
    } former;
    uint64_t leave_ms; /* LEAVING: given up then */

    struct {
        enum { WATCH_OFF, WATCH_STARTING, WATCH_RUNNING } state;
        bool unwanted;
        struct endpoint_turn turn;
        unsigned endpoint;
        uint64_t created_by_ms; /* STARTING: else it is tried elsewhere */
        uint64_t delivered;     /* every event up to this revision is in the roster */
        struct buffer body, line;
        struct answer answer;
        char why[ANSWER_TEXT]; /* etcd ended it; "": it did not say */
    } watch;

    struct managers_metrics metrics;
};

/* 0, or BRAIN_ECONFIG with a sentence in `why` (MANAGERS_TEXT bytes). */
int session_options_set(struct session_options *to, const struct managers_options *from, char *why);

void session_init(
    struct session *session, const struct session_options *options, struct session_hooks hooks);
void session_release(struct session *session);

void session_join(struct session *session, uint64_t now_ms);
void session_leave(struct session *session, uint64_t now_ms);
void session_evict(
    struct session *session, uint64_t now_ms, const char *name, uint64_t incarnation);

/* Does what is due; before the others, whenever something happened or session_due has come. */
void session_advance(struct session *session, uint64_t now_ms);
uint64_t session_due(const struct session *session); /* UINT64_MAX: nothing by itself */

/* Is there a request to be made now? It is under way then, until one of the two that follow. */
bool session_call(struct session *session, uint64_t now_ms, struct session_call *call);
void session_answered(struct session *session, uint64_t now_ms, struct slice body);
void session_failed(struct session *session, uint64_t now_ms, const char *why);

/* Is the watch to be started now? Then it runs until session_watch_ended, which the device also
 * calls after it stopped an unwanted one, or one of which session_watch_bytes returned false. */
bool session_watch(struct session *session, uint64_t now_ms, struct session_call *call);
bool session_watch_unwanted(const struct session *session);
bool session_watch_bytes(struct session *session, uint64_t now_ms, struct slice bytes);
void session_watch_ended(struct session *session, uint64_t now_ms, const char *why);

/* ---- between session*.c only --------------------------------------------------------------------
 */

void session_note(struct session *session, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
uint64_t session_random(struct session *session);
uint64_t session_timeout_ms(const struct session *session);
/* Remembers a failure; the first of an outage is noted. */
void session_trouble(struct session *session, unsigned endpoint, const char *why);
/* A server answered. */
void session_fine(struct session *session, unsigned endpoint);
/* The membership is over. */
void session_lose(struct session *session, enum managers_reason reason);
/* Tells JOINED or VIEW. False: the membership was given up. */
bool session_tell_view(struct session *session, enum managers_event_kind kind, bool reset);
/* The lane's answer, good or an error that the step knows. False: it is a failure after all. */
bool session_take(struct session *session, uint64_t now_ms);
void session_see(struct session *session, uint64_t revision);
/* Is this the key of another member than this one, which speaks another protocol? */
bool session_is_stranger(const struct session *session, const struct answer *answer,
    const struct answer_kv *kv, struct managers_member *stranger);
/* A key among the members' was put, and is in the roster: says so if it is in no view. */
void session_note_key(
    struct session *session, const struct answer *answer, const struct answer_kv *kv);
/* Is this node in the roster as what it is? */
bool session_is_in_roster(const struct session *session);

void watch_start_from(struct session *session, uint64_t revision);
void watch_stop(struct session *session);
void watch_advance(struct session *session, uint64_t now_ms);
uint64_t watch_due(const struct session *session);

/* The next eviction that is due; NULL: none. */
struct eviction *eviction_due(struct session *session, uint64_t now_ms);
uint64_t evictions_due(const struct session *session);
void eviction_body(struct session *session, struct eviction *eviction);
bool eviction_take(struct session *session, struct eviction *eviction, uint64_t now_ms);

#endif
