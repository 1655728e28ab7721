/* managers: who the members of the cluster are, by etcd: a lease and a key for this node, a watch
 * for everybody's (docs/architecture.md). One narrow interface, asynchronous: the requests to etcd
 * are made on a thread, what they lead to comes back as events on the owner's loop, in order.
 *
 *   managers_open -> managers_join -> LEASE -> JOINED -> (VIEW | RENEWED)... -> LOST ->
 * managers_join ... managers_leave -> LEFT
 *
 * Between them etcd may be out of reach as long as it likes: nothing is told then, `until_ms`
 * passes (the node is fenced), and the next RENEWED says that the very same lease still lives, or
 * LOST that it does not. Whoever was told LOST stops serving, keeps what is dirty as copies, and
 * calls managers_join, which makes a new incarnation (rule R1); before that call nothing is
 * revoked.
 *
 * What etcd holds, under a prefix ("brain/"):
 *   brain/member/NAME           JSON: incarnation, address, port, protocol, lease_ms; the member's
 * lease brain/evict/NAME/INCARNATION                                             the evicting
 * member's lease
 *
 * Each renewal is: keep the lease alive, then read members and evict keys with a read that needs a
 * quorum. Only both together extend `until_ms`, counted from before the first was sent. So a member
 * that cannot see its evict key is fenced by its clock, and one that can, by reading it (R12).
 *
 * Members of one cluster speak one protocol. Who joins looks for others before its key is put, and
 * again at the revision of that: of two with different protocols the later one goes. So what comes
 * after a join is one that will go by itself: it is in no view, and nobody waits for it. */
#ifndef BRAIN_MANAGERS_H
#define BRAIN_MANAGERS_H

#include <time.h>
#include <uv.h>

#include "brain/base.h"
#include "brain/metrics.h"

enum {
    MANAGERS_NAME_LIMIT = 255,    /* bytes of a member's name */
    MANAGERS_ADDRESS_LIMIT = 255, /* and of its address */
    MANAGERS_MEMBERS_LIMIT = 4096,
    MANAGERS_TEXT = 512,         /* bytes of a sentence, with its NUL */
    MANAGERS_REVISION_BITS = 40, /* of a view's number: etcd's revision; above them: its history */
};

struct managers_member {
    char name[MANAGERS_NAME_LIMIT + 1];       /* the Erlang node: brain@host */
    uint64_t incarnation;                     /* random, not 0: another one is another life */
    uint64_t revision;                        /* of etcd, when its key was put */
    int64_t lease;                            /* of etcd */
    uint64_t lease_ms;                        /* how long it lasts */
    char address[MANAGERS_ADDRESS_LIMIT + 1]; /* as the member gave it; may be "" */
    uint16_t port;                            /* 0: ask epmd */
    uint32_t protocol;                        /* what it speaks to peers */
};

/* The member list after one revision of etcd that changed it. */
struct managers_view {
    /* That revision, and in the bits from 40 on when etcd's history began: the views of a history
     * that was made later (etcd lost its data, or an older state of it was restored) have greater
     * numbers, as far as calendars are right or somebody remembers the former one. */
    uint64_t number;
    /* Of etcd's history, and the members' names and revisions. Two views of one number and
     * different digests come from two histories. */
    uint64_t digest;
    size_t count;
    const struct managers_member *members; /* sorted by name (bytes), one each */
};

enum managers_event_kind {
    MANAGERS_LEASE,   /* `lease` was granted, no key is under it yet. Keep it in data_dir: the next
                         process may revoke it while it holds the lock of data_dir */
    MANAGERS_JOINED,  /* this node is a member: incarnation, view (it is in there), until_ms, reset
                       */
    MANAGERS_VIEW,    /* view: the next one, none left out; this node is in there */
    MANAGERS_RENEWED, /* until_ms, behind_ms, newest_view: etcd confirmed that the same lease and
                         key live */
    MANAGERS_LOST,    /* reason: the membership is over, for good. Before managers_join nothing else
                         is told */
    MANAGERS_LEFT,    /* after managers_leave: `confirmed` that etcd no longer has this member */
    MANAGERS_REFUSED, /* the view's only member speaks another protocol, and was there before: as
                         long as it is, this node does not join. Told once as long as it lasts */
};

enum managers_reason {
    MANAGERS_GONE,      /* the lease or the key no longer is: it expired, or somebody removed it */
    MANAGERS_EVICTED,   /* another member wants this one to start again (R12) */
    MANAGERS_COMPACTED, /* events are missing: etcd no longer has them (or there was no memory for
                           one) */
    MANAGERS_RESET,     /* etcd's revision went backwards: its data is another */
};

struct managers_event {
    enum managers_event_kind kind;
    int64_t lease;
    uint64_t incarnation;
    /* The lease holds until then, on the clock of managers_now_ms: time its renewal was sent +
     * granted time - a tenth of it. May be in the past (fenced). */
    uint64_t until_ms;
    /* For so long etcd has had a member list that the watch did not deliver; 0: it did. A member
     * for which this grows too large is to fence itself (R12). */
    uint64_t behind_ms;
    /* The number of the newest view that there must be: the last one told, or when behind, a
     * greater one (of a member that went no revision is left to read: then the next number there
     * could be). */
    uint64_t newest_view;
    enum managers_reason reason;
    /* JOINED: when it was made, and a random number; it came into etcd's data with the first member
     * ever: etcd that lost its data has another, and etcd that went back to an older state is given
     * another. */
    uint64_t history;
    /* JOINED: this etcd is not the one of this process's former membership, or an older state of
     * it. */
    bool reset;
    bool confirmed;
    struct managers_view view; /* valid during the call */
};

/* The strings need to live during managers_open only; none may be NULL. */
struct managers_options {
    const char *servers;              /* "http://host:port,https://host:port", tried in turn */
    const char *prefix;               /* of all keys: "brain/" */
    const char *user, *password;      /* user "": no authentication */
    const char *ca_file;              /* PEM; "": the system's certificates */
    const char *cert_file, *key_file; /* PEM, of this client; "": none */
    uint64_t lease_ms;                /* asked for; rounded up to seconds, etcd may grant more */
    /* This member. */
    const char *name;
    const char *address;
    uint16_t port;
    uint32_t protocol;
    /* R1: the lease of the process before this one, which may be revoked at the first join because
     * this one holds the lock of the data_dir where it was found. 0, or not locked: a key that is
     * there is waited for, at most until its lease ends. */
    int64_t predecessor_lease;
    bool data_dir_locked;
};

#define MANAGERS_METRICS(X)                                                                        \
    X(requests, COUNTER, "requests made to etcd")                                                  \
    X(errors, COUNTER, "requests to etcd that failed")                                             \
    X(renewals, COUNTER, "times the lease was renewed")                                            \
    X(views, COUNTER, "views told")                                                                \
    X(joins, COUNTER, "times this node became a member")                                           \
    X(losses, COUNTER, "times the membership was lost")                                            \
    X(watches, COUNTER, "times the watch was started")                                             \
    X(members, GAUGE, "members of the last view")                                                  \
    X(behind_ms, GAUGE, "ms that the watch is behind the member list")

struct managers_metrics {
    METRICS_FIELDS(MANAGERS_METRICS)
};

struct managers; /* opaque: cnode/managers/managers.c */

typedef void (*managers_event_cb)(void *context, const struct managers_event *event);

/* Starts the thread; asks nothing before managers_join. Every call that follows is the owner's
 * thread's and returns at once. Returns 0, or an error with a sentence in `*why` (static buffer of
 * the module, overwritten by the next call): BRAIN_ECONFIG (a server, a file), BRAIN_ENOMEM,
 * BRAIN_EIO. */
int managers_open(struct managers **managers, uv_loop_t *loop,
    const struct managers_options *options, managers_event_cb event, void *context,
    const char **why);

/* Become a member, first or after LOST or LEFT: tried until it succeeds, or managers_leave. The
 * caller serves nothing under an earlier incarnation any more: the lease of that one is revoked. */
void managers_join(struct managers *managers);

/* Stop being a member; call it when nothing is served any more. LEFT follows when etcd has
 * confirmed it, or after a lease's time at most (then the lease has ended by itself, or ends soon).
 * Between the two, events that were under way may still come. */
void managers_leave(struct managers *managers);

/* R12: member `name` of `incarnation` does not do its part: its evict key is written, and when its
 * lease would have ended since, its member key is removed (only while the evict key is there: in
 * one transaction) and its lease revoked; a view without it follows. Given up without a word when
 * it goes away by itself, when this member is lost, or when anybody is being evicted already, so
 * that no two are at once: ask again. Twice the same is once. */
void managers_evict(struct managers *managers, const char *name, uint64_t incarnation);

/* The last failure in words, "" when none since the last success; valid until the loop goes on. */
const char *managers_last_error(const struct managers *managers);
void managers_metrics_register(struct metrics_registry *registry, const struct managers *managers);

/* Stops the thread without revoking anything (managers_leave does); `closed` is called on the loop,
 * after the last event, and `managers` is gone then. */
void managers_close(struct managers *managers, void (*closed)(void *context));

/* A view's number in its two parts, as people are told them: etcd's revision, and when its history
 * began, in units of 64 s since 2025. */
static inline uint64_t managers_revision_of(uint64_t view)
{
    return view & ((UINT64_C(1) << MANAGERS_REVISION_BITS) - 1);
}
static inline uint64_t managers_history_of(uint64_t view)
{
    return view >> MANAGERS_REVISION_BITS;
}

/* The clock of until_ms: it goes on while the machine sleeps. */
static inline uint64_t managers_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#endif
