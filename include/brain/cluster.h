/* cluster: who owns an object, and how every other node reaches it. Pure: messages and events in,
 * messages and events out; time is an argument (CLOCK_BOOTTIME, ms), randomness comes from a seed.
 *
 *   managers --> view, lease --+                          +--> objects: adopt, execute, give up
 *   service  --> request ------+--> struct cluster -------+--> events: send, answer, evict, ...
 *   peers    --> message ------+                          |
 *   objects  --> written, stored, released, executed -----+
 *
 * Words. Member: a node's name and an incarnation. View: the list of members after one event, with
 * a number that grows. Slot: one of 4096, by seeded hash of the id. Home: the first member in a
 * slot's rendezvous order; it keeps the slot's directory (id -> owner, epoch; copies held). Owner:
 * the one member that may answer strongly for an id and write it to the warehouse. Copy: the latest
 * version of a dirty object, held by others in case its owner is lost.
 *
 * The way of a strong request: owned here -> execute. Else ask the home: granted -> fetch the
 * highest copy, adopt, execute; owned by M -> forward to M, relay the answer. First touch wins.
 *
 * The rules R1 to R13 are those of docs/decisions/0011; each is named in the code that keeps it
 * (grep R7 cnode/cluster). What is said between members: docs/protocol-peers.md.
 *
 * Not thread-safe; one struct per node. No function blocks. */
#ifndef BRAIN_CLUSTER_H
#define BRAIN_CLUSTER_H

#include "brain/etf.h"
#include "brain/list.h"
#include "brain/metrics.h"
#include "brain/object.h"

/* The simulator makes do with fewer slots: what a view costs is mostly theirs. */
#ifndef CLUSTER_SLOT_BITS
#define CLUSTER_SLOT_BITS 12
#endif

enum {
    CLUSTER_PROTOCOL = 3, /* told in the first message of a peer link; others are refused */
    CLUSTER_SLOTS = 1 << CLUSTER_SLOT_BITS,
    CLUSTER_BACKUPS_LIMIT = 7,
    CLUSTER_MEMBERS_LIMIT = 4096,
    CLUSTER_NAME_LIMIT = 255, /* bytes of a member's name */
};

/* A grant of ownership: the home's view, and a number that grows with each of its grants. For one
 * id no two grants are equal, and a later one is greater: it is the epoch of struct version. */
struct cluster_epoch {
    uint64_t view;
    uint64_t counter;
};
int cluster_epoch_compare(struct cluster_epoch a, struct cluster_epoch b); /* <0, 0, >0 */

struct cluster_member {
    struct slice name;    /* node name, name@host */
    uint64_t incarnation; /* never 0; differs for each time that any member joined */
};

/* The members after one event under the member prefix of etcd. `number`: revision of that event
 * (R3: equal numbers are equal lists). Names differ; the order does not matter. */
struct cluster_view {
    uint64_t number;
    size_t count;
    const struct cluster_member *members;
};

/* A version of an object outside of its owner's store, or on its way there. */
struct cluster_copy {
    struct version version;
    bool deleted;       /* a tombstone: no value */
    struct value value; /* else its external term, without version byte */
};

/* ---- requests ---------------------------------------------------------------------------------
 */

enum cluster_kind {
    CLUSTER_READ,      /* strong: what the owner has */
    CLUSTER_WEAK_READ, /* anything this node holds, else as strong, else the warehouse's */
    CLUSTER_WRITE,
    CLUSTER_DELETE,
    CLUSTER_PERSIST,
    CLUSTER_OWNER, /* where is it? Answered STORE_FOUND with the owner's name as the value's bytes,
                      or STORE_ABSENT; never executed */
};

/* A request that is embedded by the caller in a struct of its own. Zero it, fill in the first
 * fields; it belongs to the cluster until it was answered. Requests of one id take effect in the
 * order in which they were given, also across the hop to the owner (so the order of one sender and
 * id is kept); the exceptions are weak reads and CLUSTER_OWNER. */
struct cluster_request {
    enum cluster_kind kind;
    uint8_t ack;        /* as of holdings.h; goes with the request to the owner, otherwise unused */
    struct slice id;    /* the caller's memory until answered */
    struct value value; /* CLUSTER_WRITE: with a reference of the caller's, kept until answered */
    /* Set by cluster_request: waits no longer than this, also while it is being executed. */
    uint64_t deadline_ms;
    /* A request of another node's that is executed here: nobody here to tell; the core's own. */
    bool foreign;
    /* When it is answered: the incarnation of the member whose answer this is; 0: of this one. */
    uint64_t answered_by;
    /* private */
    uint8_t state;
    uint64_t number, order;
    struct cluster_place *place;
    struct link in_place, by_deadline;
    struct cluster_request *held; /* answers that are held back */
    int held_status;
};

/* ---- what happens outside ---------------------------------------------------------------------
 */

enum cluster_state {
    CLUSTER_OUT,        /* not a member, nothing owned: cluster_join may be called */
    CLUSTER_ABANDONING, /* the lease was lost: giving up what was owned, in slices */
    CLUSTER_IN,         /* a member; whether it may serve is cluster_serves */
    CLUSTER_DRAINED, /* after cluster_drain: owns nothing, holds no copy that nobody owns: leave */
};

/* None may call back into the cluster, except `answer`, which may make new requests. What an event
 * is given is borrowed for its call. */
struct cluster_events {
    void *context;
    /* One message to the process `brain_peer` of this member: a term without version byte, `head`
     * and then the bytes of `tail` (NULL: none; by reference, hold it to keep it). Messages to one
     * member with the same `order`, when it is not 0, must arrive in the order sent, or not at all;
     * others may overtake each other. A message that cannot be sent is dropped: the core repeats
     * what must be repeated. */
    void (*send)(void *context, const struct cluster_member *to, uint64_t order, struct slice head,
        const struct value *tail);
    /* A request is over, exactly once for each; it is the caller's again. status: STORE_FOUND with
     * the value, STORE_ABSENT, STORE_DONE; BRAIN_ETIMEOUT (nothing happened, or was a read);
     * BRAIN_EUNKNOWN (a write of which nobody knows whether it took effect); BRAIN_ESHUTDOWN;
     * BRAIN_ENOMEM; or what the store of the owner said. */
    void (*answer)(
        void *context, struct cluster_request *request, int status, const struct value *value);
    /* R12: this member of view `view` has not reported, has not answered our report, has not been
     * heard or does not hear us, for so long that somebody must go: write an evict key for it,
     * unless somebody is being evicted. Repeated while it lasts. */
    void (*evict)(void *context, const struct cluster_member *member, uint64_t view);
    /* A message told of a newer view than the one installed: look at the watch. */
    void (*behind)(void *context, uint64_t view);
    /* The copy held for others changed; NULL: it is there no more. For the journal (it is not an
     * owned object's record). May be NULL. */
    void (*copy_changed)(void *context, struct slice id, const struct cluster_copy *copy);
    /* R10: this copy is too old to be trusted: keep it under a conflict name, name it in the log.
     * It leaves RAM, and (by copy_changed) the journal. */
    void (*set_aside)(void *context, struct slice id, const struct cluster_copy *copy);
    /* The state below changed. */
    void (*state)(void *context, enum cluster_state state);
    /* Is there RAM for so many more bytes of copies held for others? No: it is not taken, nor
     * acknowledged, and will be offered again. A tombstone, and what takes the place of a larger
     * copy, are taken in any case. NULL: always. */
    bool (*has_room)(void *context, uint64_t bytes);
};

/* How an owned object is given up. */
enum cluster_parting {
    /* R13: not while a PUT is in flight or an answer is pending, and dirty only when
     * acknowledged by its holders; otherwise CLUSTER_BUSY. What is dirty is what a strong read
     * would have shown: not a copy that is still to be compared with the warehouse (R7). */
    CLUSTER_PART_POLITELY,
    /* The simulator's, when R13 is broken: whatever is under way. */
    CLUSTER_PART_CARELESSLY,
};
enum cluster_parted {
    CLUSTER_BUSY,       /* still there; ask again later */
    CLUSTER_GONE_CLEAN, /* gone: the warehouse has it, or it is absent */
    CLUSTER_GONE_DIRTY, /* gone: `copy` is what it was, with a reference for the core */
};

/* The objects of this node, in its store. Resident there implies owned (not the reverse: an id that
 * was adopted and is absent need not be there). All may call back into the cluster but for
 * `give_up`, `peek`, `in_warehouse` and `next`. The store
 * - stamps each write with (epoch of adopt or raise, seq), seq growing within the epoch;
 * - never writes to the warehouse what is not owned (R8), nor begins or repeats a PUT while
 *   cluster_serves is false (R11), nor shows a strong read a version that `backed_up` has not named
 *   yet unless its ack class did not ask for it, or the warehouse has it (R11, R6);
 * - tells every new version by cluster_object_written, every version the warehouse is known to hold
 *   by cluster_object_stored. */
struct cluster_objects {
    void *context;
    /* This node owns `id` from now on, under `epoch`. `copy`: the highest that other members or
     * this one hold; NULL: there is none. R7: the warehouse is read after this call, and the
     * greater of the two is the object: a copy that wins is a new write (epoch, first seq), dirty,
     * told by cluster_object_written, shown to a strong read only when backed up. A write needs no
     * load before it. `complete`: the copy is what the last owner released, nothing above it is
     * anywhere: it wins without a look at the warehouse (its dump compares, as any). 0, or
     * BRAIN_ENOMEM (not adopted; the grant is given back). */
    int (*adopt)(void *context, struct slice id, struct cluster_epoch epoch,
        const struct cluster_copy *copy, bool complete);
    /* R4: later writes of this owned id are stamped with `epoch`; what is dirty is stamped anew
     * (cluster_object_written) and its dump tried again. */
    void (*raise)(void *context, struct slice id, struct cluster_epoch epoch);
    /* Carry this out on an owned id and tell the result by exactly one cluster_executed. */
    void (*execute)(void *context, struct cluster_request *request);
    /* A weak read, of the warehouse's copy and nothing else, of an id that is not owned; one
     * cluster_executed. */
    void (*read_stored)(void *context, struct cluster_request *request);
    /* The version and value of an owned dirty object; borrowed. false: clean or not there. */
    bool (*peek)(void *context, struct slice id, struct cluster_copy *copy);
    /* The version that the warehouse is known to hold of an owned id (all 0: it has none). false:
     * not known (not loaded, nothing dumped yet). */
    bool (*in_warehouse)(void *context, struct slice id, struct version *version);
    /* All holders of this view have `version` of the owned id, or the warehouse has. */
    void (*backed_up)(void *context, struct slice id, struct version version);
    enum cluster_parted (*give_up)(
        void *context, struct slice id, enum cluster_parting parting, struct cluster_copy *copy);
    /* R1: the lease was lost. Give up everything, whatever is under way: by cluster_executed,
     * requests that had no effect are told BRAIN_EUNAVAILABLE (they are done again by whoever owns
     * the id then), writes that did BRAIN_EUNKNOWN; dirty objects are handed over by
     * cluster_keep_copy; nothing is told to cluster_object_released. At most about `budget` objects
     * a call; true when there is nothing left. Writes on their way to the warehouse may still
     * arrive there. */
    bool (*abandon)(void *context, uint32_t budget);
    /* For draining: an owned object after the one at `*cursor` (0 to start); its id in `id`
     * (ID_LIMIT bytes), of size 0: none on this part of the way, go on. false: no more, and the
     * cursor is 0 again. All are seen that stay. */
    bool (*next)(void *context, uint64_t *cursor, uint8_t *id, size_t *id_size);
    /* How many objects that were adopted with a copy are being compared with the warehouse now: as
     * long as there are many, copies that nobody asks for are left where they are. NULL: none. */
    uint32_t (*comparing)(void *context);
};

/* ---- the cluster ------------------------------------------------------------------------------
 */

/* The switches of the simulator: each breaks one part of a rule. In a server none is set; the code
 * that keeps the part asks cluster_keeps. X(name, rule, what is not done when it is broken) */
#define CLUSTER_RULES(X)                                                                           \
    X(R1_VOID, 1, "a lost lease voids grants, claims and directories")                             \
    X(R1_INCARNATION, 1, "messages of and to former incarnations are dropped")                     \
    X(R2_SEAL, 2, "a view voids outstanding claims and grants that are not adopted yet")           \
    X(R3_VIEW, 3, "messages of older views are dropped")                                           \
    X(R3_BACKUP_VIEW, 3, "backups and their acknowledgements of older views are dropped")          \
    X(R3_NONCE, 3, "a grant needs the nonce of a claim still outstanding")                         \
    X(R4_REPORTS, 4, "a slot opens only after reports of every member")                            \
    X(R4_FRESH, 4, "directory and reports are rebuilt in each view")                               \
    X(R4_COPIES, 4, "a grant lists the copies that are known")                                     \
    X(R4_HIGHER, 4, "a version above the grant makes the owner ask for a higher epoch")            \
    X(R5_COPY, 5, "'not owner' and a release tell the copy that is held")                          \
    X(R5_EPOCH, 5, "a directory entry goes only if the epoch matches too")                         \
    X(R5_CONFIRM, 5, "a refused claimer makes the home ask the owner it knows")                    \
    X(R5_VOID, 5, "who denies to be the owner voids its outstanding claim")                        \
    X(R6_HIGHEST, 6, "a holder keeps the highest version, and tells which it holds")               \
    X(R6_KEEP, 6, "a copy outlives changes of the view")                                           \
    X(R6_DISCARD, 6, "a discard spares newer copies")                                              \
    X(R6_RESEND, 6, "dirty copies are sent again in each view")                                    \
    X(R6_LEASE, 6, "a holder accepts only with a valid lease")                                     \
    X(R6_WAIT, 6, "a write waits for all holders")                                                 \
    X(R7_FETCH, 7, "the highest listed copy is fetched before the warehouse is read")              \
    X(R7_COMPARE, 7, "copy and warehouse are compared (kept by the store)")                        \
    X(R7_COMPLETE, 7, "only what nobody owned since is shown without a look at the warehouse")     \
    X(R8_CLAIM, 8, "a copy that nobody owns is claimed by its holder")                             \
    X(R8_OWNER, 8, "only owners write to the warehouse (kept by the store)")                       \
    X(R9_EPOCH, 9, "an owner refuses forwards of another epoch")                                   \
    X(R9_ORDER, 9, "nothing overtakes requests that were refused")                                 \
    X(R9_RETRY, 9, "a write whose outcome is unknown is not tried again")                          \
    X(R10_TOMBSTONE, 10, "a delete leaves a tombstone (kept by the store)")                        \
    X(R10_AGE, 10, "copies older than tombstone_keep are set aside")                               \
    X(R11_ANSWER, 11, "the lease is checked before an answer leaves")                              \
    X(R11_EXECUTE, 11, "the lease is checked before a request is executed")                        \
    X(R11_VERSION, 11, "a read waits for the version it shows (kept by the store)")                \
    X(R11_PUT, 11, "the lease is checked before each PUT (kept by the store)")                     \
    X(R12_LAG, 12, "a node whose view lags behind fences itself")                                  \
    X(R12_EVICT, 12, "a silent member is evicted")                                                 \
    X(R12_HEAR, 12, "members that cannot hear each other find out, at any time")                   \
    X(R13_RELEASE, 13, "no release with a PUT in flight or an answer pending")
#define CLUSTER_RULE_ENUM(name, rule, text) CLUSTER_##name,
enum cluster_rule { CLUSTER_RULES(CLUSTER_RULE_ENUM) CLUSTER_RULE_COUNT };
#undef CLUSTER_RULE_ENUM
#define CLUSTER_BREAK(rule) (UINT64_C(1) << (rule))

struct cluster_options {
    struct slice name; /* this node's; copied */
    uint64_t seed;     /* of the hash of ids: the same for all members, secret from clients */
    uint64_t random_seed;
    uint32_t backups;            /* members besides the owner that hold a dirty object */
    uint64_t request_timeout_ms; /* server_exec_timeout */
    uint64_t weak_timeout_ms;    /* after which a weak read takes the warehouse's copy */
    uint64_t retry_ms;           /* unanswered claims, fetches, reports and backups */
    uint64_t
        report_timeout_ms;  /* R12: silence of a member; three times in it each says something */
    uint64_t view_lag_ms;   /* R12: for how long the installed view may be an older one */
    uint64_t copy_check_ms; /* how often a holder asks whether its copy is still owned */
    uint32_t looks_at_once; /* copies that are looked after at once; 0: 64 */
    uint64_t tombstone_keep_ms;  /* R10: a copy is trusted for nine tenths of it, after its owner
                                    wanted it last */
    uint32_t handoff_uses;       /* uses in a row through one other node that move an object there;
                                    0: none moves */
    uint32_t hints_limit;        /* remembered owners of ids that are not owned here */
    uint32_t stash_limit_bytes;  /* messages of a newer view, kept until it is installed */
    uint32_t report_chunk_bytes; /* of one report message, about; 0: 65536 */
    /* Of dirty values that one holder has not acknowledged yet, about (a message counts as 8 KiB
     * more than its value); twice that of those that a write waits for. So it is well below what a
     * link may have queued. 0: 8 MiB */
    uint64_t backup_window_bytes;
    struct etf_limits term_limits;
    uint64_t broken; /* CLUSTER_BREAK of rules; the simulator's, 0 in a server */
};

#define CLUSTER_METRICS(X)                                                                         \
    X(members, GAUGE, "members of the view")                                                       \
    X(serving, GAUGE, "1 while this node may answer strongly")                                     \
    X(owned, GAUGE, "objects owned by this node")                                                  \
    X(directory, GAUGE, "objects of other owners in this node's directory")                        \
    X(slots, GAUGE, "slots whose home is this node")                                               \
    X(slots_open, GAUGE, "of them, those where all members have reported")                         \
    X(copies, GAUGE, "copies of other owners' dirty objects")                                      \
    X(copies_bytes, GAUGE, "bytes of them")                                                        \
    X(full, GAUGE, "1 while this node says that it has hardly any RAM for copies")                 \
    X(full_members, GAUGE, "members that say so: writes that they would hold are refused")         \
    X(unbacked, GAUGE, "owned dirty objects that some holder has not acknowledged")                \
    X(silent, GAUGE, "members that have not done their part for the report timeout")               \
    X(waiting, GAUGE, "requests waiting for a view, an owner or an answer")                        \
    X(memory, GAUGE, "bytes of RAM taken by tables, copies and bookkeeping")                       \
    X(views_installed, COUNTER, "views installed")                                                 \
    X(leases_lost, COUNTER, "times that the lease was lost and everything given up")               \
    X(claims, COUNTER, "claims made")                                                              \
    X(grants, COUNTER, "grants of ownership given")                                                \
    X(granted, COUNTER, "objects adopted")                                                         \
    X(takeovers, COUNTER, "objects adopted with a copy")                                           \
    X(takeovers_complete, COUNTER, "of them, those that need no look at the warehouse")            \
    X(releases, COUNTER, "objects released")                                                       \
    X(handoffs, COUNTER, "objects handed to the node that uses them")                              \
    X(confirms, COUNTER, "owners asked whether they are")                                          \
    X(forwards_sent, COUNTER, "requests forwarded to their owner")                                 \
    X(forwards_executed, COUNTER, "requests of other nodes executed")                              \
    X(forwards_refused, COUNTER, "requests of other nodes refused: not the owner")                 \
    X(backups_sent, COUNTER, "versions sent to holders")                                           \
    X(backups_short, COUNTER, "versions acknowledged by fewer holders than configured")            \
    X(answers_held, COUNTER, "answers held back because the lease had run out")                    \
    X(timeouts, COUNTER, "requests that waited longer than server_exec_timeout")                   \
    X(unknown, COUNTER, "writes answered with unknown outcome")                                    \
    X(stale_reads, COUNTER, "weak reads answered from a copy or the warehouse")                    \
    X(messages, COUNTER, "messages of members received")                                           \
    X(messages_old, COUNTER, "messages dropped: of an older view or a former incarnation")         \
    X(messages_stashed, COUNTER, "messages kept until a newer view came")                          \
    X(messages_dropped, COUNTER, "messages dropped: over the stash limit or without memory")       \
    X(messages_malformed, COUNTER, "messages refused as malformed")                                \
    X(pings, COUNTER, "pings sent to members that nothing else was said to")                       \
    X(evictions, COUNTER, "evictions of silent members asked for")                                 \
    X(copies_set_aside, COUNTER, "copies set aside as too old")                                    \
    X(copies_refused, COUNTER, "copies not taken for want of RAM; they are offered again")

struct cluster_metrics {
    METRICS_FIELDS(CLUSTER_METRICS)
};

struct cluster; /* opaque: cnode/cluster/inside.h */

/* NULL: no memory. Starts in CLUSTER_OUT. */
struct cluster *cluster_create(const struct cluster_options *options, struct cluster_events events,
    struct cluster_objects objects);
/* Requests are answered BRAIN_ESHUTDOWN (`objects` hears nothing); none may be executing. */
void cluster_destroy(struct cluster *cluster);
const struct cluster_metrics *cluster_metrics(struct cluster *cluster, uint64_t now_ms);
void cluster_metrics_register(struct metrics_registry *registry, struct cluster *cluster);
bool cluster_keeps(const struct cluster *cluster, enum cluster_rule rule);

/* ---- what managers tell ---- */

/* R1, R10: before the first join: a dirty object that the journal brought back. It is a copy from
 * now on, reported after the join and claimed like any other. `age_ms`: for how long nobody is
 * known to have wanted it (cnode/server/compaction.h); above tombstone_keep it is set aside.
 * `copy`: a reference is taken. 0 or BRAIN_ENOMEM. */
int cluster_restore(
    struct cluster *cluster, struct slice id, const struct cluster_copy *copy, uint64_t age_ms);

/* In CLUSTER_OUT only. The member key is there; `view` is that of its creation and has this node
 * with `incarnation`, which differs from all before. 0 or BRAIN_ENOMEM (still out). */
int cluster_join(struct cluster *cluster, uint64_t incarnation, const struct cluster_view *view,
    uint64_t lease_until_ms, uint64_t now_ms);
/* The next view (or a later one). Ignored when not in, or not newer than the one installed. One
 * that lacks this incarnation is cluster_lost. 0 or BRAIN_ENOMEM: not installed, give it again. */
int cluster_view(struct cluster *cluster, const struct cluster_view *view, uint64_t now_ms);
/* A renewal of the lease was confirmed: strong answers until `until_ms` = time it was sent + TTL -
 * margin (R1). `newest_view`: number of the newest member event seen with it (R12); 0: not known.
 */
void cluster_lease(
    struct cluster *cluster, uint64_t until_ms, uint64_t newest_view, uint64_t now_ms);
/* The lease is known to be lost, or this node was evicted, or it leaves: gives up everything
 * (CLUSTER_ABANDONING, cluster_advance goes on with it), then CLUSTER_OUT. Waiting requests go on
 * waiting for the next join. To leave: call this, before the lease is revoked. */
void cluster_lost(struct cluster *cluster, uint64_t now_ms);
/* SIGTERM: claims no more for clients; hands over, releases and (the store) dumps everything; then
 * CLUSTER_DRAINED. The store must dump what is dirty on its own (store_drain). */
void cluster_drain(struct cluster *cluster, uint64_t now_ms);

/* R11: may this node answer strongly and write to the warehouse, now? One comparison. */
bool cluster_serves(const struct cluster *cluster, uint64_t now_ms);
enum cluster_state cluster_state(const struct cluster *cluster);

/* Does what time asks for, at most about `budget` pieces of work. Returns in how many ms it wants
 * to be called again (0: at once, in the next turn); calls in the meantime may make that sooner, to
 * retry_ms. */
uint64_t cluster_advance(struct cluster *cluster, uint64_t now_ms, uint32_t budget);

/* ---- what clients ask ---- */

/* Answered exactly once, perhaps within the call. A resident object may be read and written in the
 * store without this when cluster_serves says so, and the answer leaves in the same turn (or
 * cluster_serves is asked again before it leaves): it is owned, and no request of its id waits. */
void cluster_request(struct cluster *cluster, struct cluster_request *request, uint64_t now_ms);
/* While cluster_counts_uses: an owned id was used by this node's own clients without a request. */
bool cluster_counts_uses(const struct cluster *cluster);
void cluster_used(struct cluster *cluster, struct slice id);

/* ---- what objects tell ----
 *
 * Written, stored and released lead to no call of `objects` nor to an answer. */

/* The result of objects.execute or read_stored, as of events.answer; `value` is borrowed. R11: when
 * the lease has run out, the answer is held until it is known whether it was lost. */
void cluster_executed(struct cluster *cluster, struct cluster_request *request, int status,
    const struct value *value, uint64_t now_ms);
/* Memory for the next cluster_object_written of this id, so that the write can be refused instead.
 * 0 or BRAIN_ENOMEM. */
int cluster_object_reserve(struct cluster *cluster, struct slice id);
/* An owned object has a new version that the warehouse does not have; `value` NULL: a tombstone.
 * Sends it to its holders. Returns how many holders are waited for: objects.backed_up comes later;
 * 0: nobody, it is as good as backed up. BRAIN_ENOMEM: not sent; it is backed up when the next
 * version is, or stored. */
int cluster_object_written(struct cluster *cluster, struct slice id, struct version version,
    const struct value *value, uint64_t now_ms);
/* Is anybody to be told of writes, or was it told before? Else, until the next view, the two calls
 * above need not be made: when holders come, dirty objects are looked for (objects.next). Instead
 * cluster_object_untold, after each write, counts it. */
bool cluster_tells_holders(const struct cluster *cluster);
void cluster_object_untold(struct cluster *cluster);
/* The warehouse is known to hold `version` of an owned object, by a load or a confirmed dump:
 * copies up to it are discarded everywhere. objects.backed_up is not called for it. */
void cluster_object_stored(
    struct cluster *cluster, struct slice id, struct version version, uint64_t now_ms);
/* R4: the warehouse holds `version`, above the grant's epoch: asks for a higher one; answered by
 * objects.raise (or the id is given up). */
void cluster_object_outdated(
    struct cluster *cluster, struct slice id, struct version version, uint64_t now_ms);
/* R13: an owned object has left RAM, clean or absent, no answer pending, no PUT in flight. */
void cluster_object_released(struct cluster *cluster, struct slice id, uint64_t now_ms);
/* Within objects.abandon: what a dirty object was. A reference is taken. */
void cluster_keep_copy(
    struct cluster *cluster, struct slice id, const struct cluster_copy *copy, uint64_t now_ms);

/* ---- RAM for copies (docs/decisions/0019) ---- */

/* What copies held for others take. O(1). */
uint64_t cluster_copies_memory(const struct cluster *cluster);
/* There is hardly any left here, or enough again: all others are told, at the next
 * cluster_advance. */
void cluster_set_full(struct cluster *cluster, bool full);
/* Has none of the holders of this id said so? Else a new write of it should be refused before it
 * takes effect. */
bool cluster_has_room(const struct cluster *cluster, struct slice id, uint64_t now_ms);
/* How many members say so: what is dirty should be dumped as soon as may be, so that they need not
 * hold it. */
uint32_t cluster_full_members(const struct cluster *cluster, uint64_t now_ms);

/* ---- what members say ---- */

/* The first message on a peer link, each way: a whole term. `read` returns 0, or BRAIN_EPROTO with
 * one sentence in `*why` (static): another protocol, or another seed (cookie). */
void cluster_hello_write(const struct cluster *cluster, struct buffer *out);
int cluster_hello_read(const struct cluster *cluster, struct slice payload, const char **why);
/* One message of the node `from`. `message`: the whole term without version byte; values in it are
 * kept by reference to its block (without one they are copied). `marks` as in etf_reader. 0, or
 * BRAIN_EPROTO: malformed, drop the peer. What has no memory is dropped and counted. */
int cluster_receive(struct cluster *cluster, struct slice from, const struct value *message,
    const struct etf_marks *marks, uint64_t now_ms);
/* The link to this node ended: what was sent may be lost. R9: forwarded writes are answered
 * BRAIN_EUNKNOWN, reads are done again. */
void cluster_peer_down(struct cluster *cluster, struct slice name, uint64_t now_ms);

/* ---- for reports, tests and the simulator ---- */

uint64_t cluster_view_number(const struct cluster *cluster); /* 0: none installed */
/* Is this node the owner, adopted or about to adopt? `*epoch` (may be NULL): of the grant. */
bool cluster_owns(const struct cluster *cluster, struct slice id, struct cluster_epoch *epoch);
/* Is nothing of this id under way here: neither owned, nor claimed, nor does a request of it wait?
 * Then what other members told of it may answer a read (replica.h). */
bool cluster_is_idle(const struct cluster *cluster, struct slice id);
/* Are there, in the installed view, members that hold what this node changes? Not when it is alone,
 * or `backups` is 0. */
bool cluster_has_holders(const struct cluster *cluster);
/* The name of who has that incarnation in the installed view; empty: nobody. */
struct slice cluster_member_name(const struct cluster *cluster, uint64_t incarnation);
/* The home's name in the installed view; empty: none. */
struct slice cluster_home(const struct cluster *cluster, struct slice id);
/* Is this node the home of the id's slot, and is that open? */
bool cluster_is_open(const struct cluster *cluster, struct slice id);
/* The copy held for others; borrowed until the next call. false: none. */
bool cluster_copy_held(const struct cluster *cluster, struct slice id, struct cluster_copy *copy);
/* R10: for how long nobody is known to have wanted that copy, ms: since its owner said so last; 0
 * when it is owned here and the lease is valid, or there is none. */
uint64_t cluster_copy_age(const struct cluster *cluster, struct slice id, uint64_t now_ms);

#endif
