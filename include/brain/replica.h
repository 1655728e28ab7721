/* replica: objects whose ids have a configured prefix, held by every member: reads of them are
 * local, writes go through the owner to all. Pure: messages and events in, messages and events out;
 * time is an argument.
 *
 *   holdings --> written, held --> told to all members --> acknowledged --> events.reached
 *   members  --> told ----------> the table --> replica_get
 *
 * Nothing here decides who owns an object, and nothing of it is written to a warehouse: the owner
 * is found, and executes writes, as for any object (cluster.h). Who owns an object tells its new
 * versions to all other members, each of which says that it has them.
 *
 * What a strong read may see. An entry is what an owner told; a later grant's word counts before an
 * earlier one's, and of one owner's words the higher version. A table is readable while this node
 * is a member and every other member has said (`end`) that it knows of this table and has told all
 * that it had to tell. So an owner that acknowledges a write only when all members that it knows of
 * have it (wait_all) never leaves a readable table behind; and when a member goes that had not said
 * so, the table begins anew, in a new round: also what this node told itself is believed only if it
 * still owns it, by the same grant. What was told by a member that is gone is not shown to
 * strong reads: the next one finds an owner, which tells it again. The first word under a grant is
 * that there is one; the value follows when all have acknowledged that, so nobody shows an earlier
 * owner's word while, or after, somebody else shows the new one's (docs/decisions/0017).
 *
 * Not thread-safe; one struct per node. No function blocks. */
#ifndef BRAIN_REPLICA_H
#define BRAIN_REPLICA_H

#include "brain/cluster.h"

/* Rules that the simulator can break (scripts/sim --break NAME), to see that it would
 * notice. X(name, what is not done when it is broken) */
#define REPLICA_RULES(X)                                                                           \
    X(REPLICA_WORD, "a later grant's word counts before an earlier one's, whatever the versions")  \
    X(REPLICA_AWARE, "what a grant's owner wrote is told when all gave up what was told before")   \
    X(REPLICA_NEWEST, "what is told never takes the place of a newer word")                        \
    X(REPLICA_HELD, "a version is told when its holders, or the warehouse, have it")               \
    X(REPLICA_WAIT, "with write_wait = all a write waits for all members")                         \
    X(REPLICA_OFFER, "what was not acknowledged is offered again")                                 \
    X(REPLICA_END, "a table is read when all members have told all that they had to tell")         \
    X(REPLICA_ROUND, "a table begins anew when a member goes that had not told all")               \
    X(REPLICA_GONE, "what was told by a member that is gone is not shown to strong reads")         \
    X(REPLICA_UNPROVEN, "what was told here before a round counts only if it is still owned")      \
    X(REPLICA_AGREE, "no table is read beside a member that has other settings")
#define REPLICA_RULE_ENUM(name, text) RULE_##name,
enum replica_rule { REPLICA_RULES(REPLICA_RULE_ENUM) REPLICA_RULE_COUNT };
#undef REPLICA_RULE_ENUM
#define REPLICA_BREAK(rule) (UINT32_C(1) << (rule))

/* Where is a version that is written? As the one before: it is that one, written again by its
 * owner's store, whose class is forgotten. */
enum replica_hold { REPLICA_UNHELD, REPLICA_IS_HELD, REPLICA_AS_BEFORE };

struct replica_options {
    const struct slice *prefixes; /* of ids, none empty; copied */
    size_t prefixes_count;
    /* Writes wait until all members have them; part of what members must agree on. The waiting
     * itself is the caller's (events.reached). */
    bool wait_all;
    uint64_t seed;     /* of the hash of ids: the cluster's, so that messages about an id keep
                          their order with the cluster's own */
    uint64_t retry_ms; /* until what was not acknowledged is offered again */
    uint64_t pause_ms; /* after it was too large, until the table begins anew */
    uint64_t tombstone_keep_ms;
    uint64_t limit_bytes; /* of the table; 0: none */
    struct etf_limits term_limits;
    uint32_t broken; /* REPLICA_BREAK of rules; the simulator's, 0 in a server */
};

struct replica_events {
    void *context;
    /* One message to a member, as cluster_events.send. One that cannot be sent is dropped. */
    void (*send)(void *context, const struct cluster_member *to, uint64_t order, struct slice head,
        const struct value *tail);
    /* Is this node the object's owner, under this grant? */
    bool (*owns)(void *context, struct slice id, struct cluster_epoch epoch);
    /* All other members have this version of an object that was written here, or are gone. */
    void (*reached)(void *context, struct slice id, struct version version);
    /* A member replicates other ids than this one, or waits differently; `theirs` says what, in
     * words. Until they agree all such ids are read the strong way. Told once for each of its
     * incarnations. */
    void (*differs)(void *context, struct slice member, struct slice theirs);
    /* The table got larger than limit_bytes and was given up; such ids are read the strong way.
     */
    void (*overflowed)(void *context);
    /* Another owner has told a newer version than the last one that was written here, which is told
     * no more: `reached` does not follow for it. NULL: nobody asks. */
    void (*superseded)(void *context, struct slice id);
};

#define REPLICA_METRICS(X)                                                                         \
    X(readable, GAUGE, "1 while strong reads are answered from replicas")                          \
    X(objects, GAUGE, "replicated objects known here, marks of deleted ones included")             \
    X(memory, GAUGE, "bytes of RAM taken by them and their bookkeeping")                           \
    X(unacknowledged, GAUGE, "objects whose newest version some member has not acknowledged")      \
    X(members_behind, GAUGE, "members that have not told all they own, or replicate other ids")    \
    X(hits, COUNTER, "reads answered from replicas")                                               \
    X(told, COUNTER, "versions sent to members")                                                   \
    X(offered, COUNTER, "versions offered again for want of an acknowledgement")                   \
    X(heard, COUNTER, "versions received")                                                         \
    X(rounds, COUNTER, "times the table began anew")                                               \
    X(overflows, COUNTER, "times the table was given up because it was too large")                 \
    X(messages_dropped, COUNTER, "messages of former rounds or members, or without memory")        \
    X(messages_malformed, COUNTER, "messages refused as malformed")

struct replica_metrics {
    METRICS_FIELDS(REPLICA_METRICS)
};

struct replica; /* opaque: cnode/replica/inside.h */

/* NULL: no memory. */
struct replica *replica_create(const struct replica_options *options, struct replica_events events);
void replica_destroy(struct replica *replica);
const struct replica_metrics *replica_metrics(struct replica *replica);
void replica_metrics_register(struct metrics_registry *registry, struct replica *replica);

/* Has this id a configured prefix? All ids below have. */
bool replica_covers(const struct replica *replica, struct slice id);

/* ---- membership ---- */

/* The view was installed in the cluster's core, where this node is `incarnation`. 0, or
 * BRAIN_ENOMEM: give it again; until then nothing is readable. */
int replica_view(struct replica *replica, const struct cluster_view *view, uint64_t incarnation,
    uint64_t now_ms);
/* The membership was lost or given up: nothing is readable, and nothing is told any more. */
void replica_lost(struct replica *replica);

/* ---- reads ---- */

/* A strong read, by a node that serves (cluster_serves) of an id that it neither owns nor has
 * requests waiting for: STORE_FOUND with the value (borrowed until the next call), STORE_ABSENT; or
 * STORE_WAIT: not to be answered from here. */
int replica_get(struct replica *replica, struct slice id, struct value *value);
/* A weak one, of anything, by anyone. */
int replica_get_weak(struct replica *replica, struct slice id, struct value *value);
/* Was just this version told to all, or will be, by this node or another one that is there? */
bool replica_knows(struct replica *replica, struct slice id, struct version version);

/* This node owned the object, showed this version, and told it to nobody. Of an older one it has
 * the value no more: reads take the strong way until the next owner has told. */
void replica_doubt(struct replica *replica, struct slice id, struct version version);

/* ---- what the owner tells ---- */

/* Memory for the next replica_written of this id. 0 or BRAIN_ENOMEM. */
int replica_reserve(struct replica *replica, struct slice id);
/* The object has this version now, of which `epoch` is the owner's grant; `value` NULL: a
 * tombstone. It is told to the others when it is held (so that what others have seen is not lost
 * with its owner): at once (`hold`), or by replica_held. `events.reached` follows, not within this
 * call. Returns how many other members that concerns; 0: none, there is nothing to wait for. What
 * is not held yet is to be waited for even if there is nobody: members may come before it is.
 * BRAIN_ENOMEM, without replica_reserve: nothing happened. */
int replica_written(struct replica *replica, struct slice id, struct cluster_epoch epoch,
    struct version version, const struct value *value, enum replica_hold hold, uint64_t now_ms);
/* The holders of the object, or the warehouse, have all versions up to this one. False: it was not
 * written here, or no other member waits for it any more. */
bool replica_held(
    struct replica *replica, struct slice id, struct version version, uint64_t now_ms);

/* ---- what members say ---- */

/* Is this one of our messages, and not one of the cluster's core? */
bool replica_is_message(struct slice message);
/* As cluster_receive. */
int replica_receive(struct replica *replica, struct slice from, const struct value *message,
    const struct etf_marks *marks, uint64_t now_ms);

/* Has everybody acknowledged what this node told? Who leaves waits for that, or what it
 * acknowledged without waiting (wait_all) may not be heard by all. */
bool replica_is_heard(const struct replica *replica);

/* Does what time asks for, at most about `budget` pieces of work. Returns in how many ms it wants
 * to be called again (0: at once, in the next turn). */
uint64_t replica_advance(struct replica *replica, uint64_t now_ms, uint32_t budget);

#endif
