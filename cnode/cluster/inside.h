/* The cluster's parts, for the files of this room.
 *
 * - cluster.c: life of the struct, lease, metrics
 * - view.c: join, install, lost; slots.c: rendezvous order: homes and holders
 * - reports.c: what is owned and held, to homes; liveness.c: who is heard, and who is not
 * - directory.c: a home: claims, grants, confirmations
 * - claims.c: a claimer: claim, fetch, adopt
 * - owned.c: an owner: what its objects tell; backups.c: its dirty versions; offers.c: to holders
 * - copies.c: a holder; room.c: what RAM it has for copies
 * - requests.c: queues, deadlines, answers; forward.c: requests to and from other nodes
 * - handoff.c: objects that move, drain
 * - receive.c: messages: checked and dispatched; wire.c: messages as terms
 * - advance.c: what time asks for
 * - idmap.c, keyed.c: tables */
#ifndef BRAIN_CLUSTER_INSIDE_H
#define BRAIN_CLUSTER_INSIDE_H

#include "brain/cluster.h"
#include "brain/list.h"
#include "idmap.h"
#include "keyed.h"
#include "wire.h"

/* ---- members ----------------------------------------------------------------------------------
 */

struct member {
    struct slice name; /* in the view's memory */
    uint64_t incarnation;
    /* As home of some slots: of these, the slots below have been reported by this member. */
    uint32_t reported;
    /* As a member: the slots below have been acknowledged by this one, as far as it is their home;
     * those below `told` have been sent. */
    uint32_t acknowledged, told;
    uint32_t under_way; /* reports not acknowledged yet */
    bool is_home;       /* of at least one slot */
    uint64_t told_ms;
    /* R12 (liveness.c): when it was heard last, sent anything, sent a ping, asked to be evicted;
     * since when it says that it does not hear this member (0: it does); when `reported` and
     * `acknowledged` grew last. */
    uint64_t full_until_ms; /* room.c */
    uint64_t heard_ms, sent_ms, pinged_ms, evicted_ms, deaf_ms, reported_ms, acknowledged_ms;
    uint8_t reassuring; /* so many pings are still to tell that it is heard again */
    /* As a holder (offers.c): this node's dirty objects that wait for room in the window, first
     * those that somebody waits for; offers not sent yet (`filling`: there are some); messages of
     * offers not answered yet, and when one was sent last; values not answered yet that nobody
     * waits for, and the bytes of all; when it answered last, and whether it stopped to. */
    struct link waiting[2];
    struct buffer offers;
    bool filling, stuck;
    uint32_t batches, calm;
    uint64_t batched_ms, backup_bytes, answered_ms;
};

/* One installed view; one allocation. */
struct view {
    uint64_t number;
    uint16_t count, self, width; /* width: members per slot that are of interest */
    bool self_is_home;
    uint16_t holders; /* members besides the owner that hold a dirty object */
    struct member *members;
    uint16_t *orders; /* [slot][width]: the first members in rendezvous order; the first: home */
    uint16_t *finder; /* a hash table: incarnation -> member; open addressing, half full at most */
    uint32_t finder_mask;
};

/* ---- ids with something under way -------------------------------------------------------------
 */

enum place_stage {
    PLACE_RESTING,  /* nothing asked */
    PLACE_CLAIMING, /* `nonce` is outstanding */
    PLACE_FETCHING, /* granted `epoch`: fetching copies; it is owned, but not adopted yet */
};

struct listed_copy {
    uint64_t holder;
    struct version version;
};

struct cluster_place {
    struct keyed keyed;
    struct link timer;    /* in cluster.timers by sent_ms, or cluster.wake, or alone */
    struct link queue;    /* requests not sent anywhere, in order */
    struct link forwards; /* requests at the owner, in order */
    struct link asking;   /* CLUSTER_OWNER */
    struct cluster_request *last_refused;
    uint64_t at; /* where the forwards are: an incarnation, and the epoch they carry */
    struct cluster_epoch at_epoch;
    uint64_t sent_ms;
    enum place_stage stage;
    uint32_t waits; /* retry_ms that a claim has waited for its answer */
    uint64_t nonce;
    struct cluster_epoch epoch;
    struct cluster_epoch floor;  /* R4: the grant must be above */
    struct cluster_epoch denied; /* R5: a grant that is still on its way must not be this */
    uint64_t refused_by;         /* R5: an incarnation that said it is not the owner of refused */
    struct cluster_epoch refused;
    /* Of the claims since it was adopted here last, or since the place was made: 0: none. */
    uint64_t first_nonce;
    struct version complete;        /* as the grant says: nothing is above it; all 0: not known */
    struct listed_copy *candidates; /* highest first */
    uint32_t candidates_count, candidates_at;
    struct cluster_copy best; /* fetched, or held here */
    bool has_best;
    bool wanted;   /* claims although nobody waits: a copy to look after, a nudge, a higher epoch */
    bool looked;   /* of wanted: a copy to look after */
    bool raising;  /* owned, under too low an epoch */
    bool locating; /* `where` is outstanding */
    uint8_t pins;  /* in use further up the stack */
    uint16_t id_size;
    uint8_t id[];
};

/* ---- owned dirty objects ----------------------------------------------------------------------
 */

/* At one holder, in this view. */
struct backup_at {
    struct version acknowledged;
    uint64_t bytes; /* of values under way, weighed (offers.c) */
    uint32_t under_way;
    uint16_t calm; /* of these: nobody waited */
    bool asked;    /* the version was offered or sent */
    bool lacks;    /* not offered: the value must be sent */
};

struct dirty {
    struct keyed keyed;
    /* In cluster.unsettled by sent_ms, .stale_first, .stale_dirty, .settled or in member.waiting.
     */
    struct link timer;
    struct version version; /* the latest; seq 0 in all: none yet (reserved) */
    uint64_t sent_ms;
    uint64_t view;       /* of `at` */
    uint64_t settled_in; /* equal to cluster.settling: in .settled */
    bool told;           /* objects.backed_up was called for `version`, or was not needed */
    bool listed;         /* others may hold copies that the home knows of */
    uint16_t id_size;
    uint8_t *id;           /* behind at[] */
    struct backup_at at[]; /* by the rank of holders, options.backups */
};

/* ---- copies held for others -------------------------------------------------------------------
 */

struct copy {
    struct keyed keyed;
    struct link timer; /* in cluster.fresh_copies by checked_ms, or .stale_copies */
    struct cluster_copy what;
    uint64_t checked_ms;
    uint64_t owned_view;  /* the view in which another member was known to own it */
    uint64_t nudged_view; /* the view in which a draining node asked another to claim it */
    /* R10: at that time, at least, its owner wanted it to be kept. Before this process knows what
     * time it is: minus the age. */
    int64_t confirmed_ms;
    /* It is what the object was when this node released it under that epoch; view 0: it is not. */
    struct cluster_epoch released;
    uint16_t id_size;
    uint8_t id[];
};

/* ---- a home's ----------------------------------------------------------------------------------
 */

/* Copies of one id that members told of in this view. */
struct listing {
    struct keyed keyed;
    uint32_t count, capacity;
    struct listed_copy *copies;
};

/* Complete: released by its last owner, who left a copy of what it was (directory.c). */
struct finished {
    struct keyed keyed;
    struct version version;
    /* Whom it was granted since: nobody (0), or one who has not adopted it as long as its claims
     * are those that began no later than this one. */
    uint64_t granted_to, granted_nonce;
};

/* A claim, or a question where, that waits for its slot to open or for a confirmation. */
struct parked {
    struct parked *next;
    struct message message; /* without pointers */
    uint16_t member;
};

struct slot {
    struct idmap owned;     /* adopted by this node */
    struct idmap directory; /* owned by others; this node is the home */
    struct idmap hints;     /* owned by others, as their home said */
    struct keyed_table places, dirty, copies, listings, finished;
    struct parked *parked, **parked_end;
};

/* ---- the rest ---------------------------------------------------------------------------------
 */

enum request_state {
    REQUEST_NEW,
    REQUEST_QUEUED,
    REQUEST_FORWARDED,
    REQUEST_EXECUTING,
    REQUEST_READING, /* objects.read_stored */
    REQUEST_HELD,
    REQUEST_ASKING, /* CLUSTER_OWNER */
};

/* A request of another node's. */
struct foreign {
    struct cluster_request request;
    uint64_t number, incarnation;
    struct cluster_epoch epoch;
    struct key key;
    struct link all;
    uint16_t name_size;
    uint8_t name[CLUSTER_NAME_LIMIT];
    uint8_t id[];
};

struct stashed {
    struct stashed *next;
    struct value message;
    uint64_t view, at_ms;
    size_t name_size;
    uint8_t name[];
};

enum { USES = 1024 }; /* objects whose use through other nodes is counted at a time */
struct use {
    struct key key;
    uint64_t incarnation;
    uint32_t count; /* no more than options.handoff_uses: then it is to move */
    bool moving;    /* and is in line for it */
};
struct moving {
    struct moving *next;
    uint64_t incarnation;
    size_t id_size;
    uint8_t id[];
};

struct cluster {
    struct cluster_options options;
    struct cluster_events events;
    struct cluster_objects objects;
    struct cluster_metrics metrics;
    enum cluster_state state;
    bool draining, drained, cursor_started;
    uint64_t now_ms;
    uint64_t incarnation;
    uint64_t former;                       /* of the membership that ended last */
    uint64_t lease_until_ms, lag_since_ms; /* 0: none */
    uint64_t serve_until_ms;               /* R11: the one comparison; 0: not at all */
    uint64_t last_valid_ms;                /* end of the last lease that there was */
    bool fenced;                           /* requests wait for the lease */
    struct view *view;
    uint64_t installed_ms;
    uint64_t rebuilt_ms; /* this node's part of the view's directories was done; 0: not yet */
    bool clock_known;
    uint64_t advanced_ms, liveness_due_ms; /* R12 */
    uint64_t grants;                       /* R4: the counter of epochs in this view */
    uint64_t shared_grant;                 /* of what home_takes; 0: the next one */
    uint32_t open_below;
    uint64_t nonce, number, order;
    uint64_t behind_told;
    struct epoch_views epochs;
    struct slot *slots;
    uint64_t owned, directory, hints, places, dirty, copies, copies_bytes, parked, waiting;
    struct link timers, wake;
    struct link deadlines, weak_deadlines;
    struct cluster_request *held_first, **held_end;
    struct link foreigners;
    struct link unsettled, stale_first, stale_dirty, settled; /* stale_first: those before others */
    uint64_t settling, settled_count;
    uint32_t filling; /* members with offers not sent yet */
    struct link fresh_copies, stale_copies;
    uint32_t looking;       /* places that are `looked` */
    bool full, room_untold; /* room.c: hardly any RAM for copies; and not said yet */
    uint64_t room_told_ms, room_wanted;
    bool sweeping;        /* dirty objects that no holder has been told of are looked for */
    bool sweeping_waited; /* some of them may be waited for */
    uint64_t sweep_cursor, drain_cursor;
    uint64_t given_ms; /* when the drain gave away last, and how much in that ms */
    uint32_t drain_spent;
    uint32_t hints_evict;
    struct stashed *stashed, **stashed_end;
    size_t stashed_bytes;
    struct use *uses;
    uint32_t uses_count;
    struct moving *moving;
    struct buffer out;
};

static inline struct slot *slot_of(struct cluster *c, struct key key)
{
    return &c->slots[key_slot(key)];
}
static inline bool keeps(const struct cluster *c, enum cluster_rule rule)
{
    return (c->options.broken & CLUSTER_BREAK(rule)) == 0;
}
static inline bool serves(const struct cluster *c)
{
    return c->now_ms < c->serve_until_ms;
}
static inline struct cluster_epoch version_epoch(struct version version)
{
    return (struct cluster_epoch){version.view, version.counter};
}
static inline struct key id_key(const struct cluster *c, struct slice id)
{
    return key_of(c->options.seed, id);
}

/* cluster.c */
void serve_update(struct cluster *c);
void state_set(struct cluster *c, enum cluster_state state);

/* slots.c. NULL: no memory, or the view lacks this node. */
struct view *view_create(
    const struct cluster_view *from, struct slice self, uint64_t incarnation, uint32_t backups);
void view_release(struct view *view);
static inline uint16_t view_home(const struct view *view, uint32_t slot)
{
    return view->orders[(size_t)slot * view->width];
}
/* The member of this rank among the holders of what this node owns in the slot. */
uint16_t view_holder(const struct view *view, uint32_t slot, uint16_t rank);
/* The other way round; -1: it is none. */
int holder_rank(const struct view *view, uint32_t slot, uint16_t member);
/* -1: none. */
int view_find(const struct view *view, uint64_t incarnation);

/* receive.c */
void send_message(struct cluster *c, uint16_t member, struct message *message);
void send_to(struct cluster *c, struct slice name, uint64_t incarnation, struct message *message);
void stash_replay(struct cluster *c);
void stash_clear(struct cluster *c);
/* etcd counts to `newest_view`: what was of a later one a while ago is of none. */
void stash_prune(struct cluster *c, uint64_t newest_view);

/* reports.c */
void reports_begin(struct cluster *c, const struct view *before);
void reports_send(struct cluster *c, uint16_t member);
uint64_t reports_advance(struct cluster *c); /* ms until the next */
void report_received(struct cluster *c, uint16_t member, const struct message *message);
void report_acknowledged(struct cluster *c, uint16_t member, const struct message *message);
/* Have the members probably heard all? Waits for this at most until `retry_ms` have passed twice.
 */
bool reports_are_over(struct cluster *c, uint64_t *wait_ms);
bool slot_is_open(const struct cluster *c, uint32_t slot);

/* liveness.c */
void liveness_begin(struct cluster *c, const struct view *before);
void liveness_heard(struct cluster *c, uint16_t member, const struct message *message);
uint64_t liveness_advance(struct cluster *c); /* ms until the next */
uint32_t liveness_silent(const struct cluster *c);

/* room.c */
/* May this backup be answered, and kept? */
bool room_for(struct cluster *c, const struct message *message);
uint64_t room_advance(struct cluster *c); /* ms until the next */
void room_heard(struct cluster *c, uint16_t member, const struct message *message);
void room_begin(struct cluster *c, const struct view *before);

/* directory.c */
void directory_begin(struct cluster *c, const struct view *before);
void directory_clear(struct cluster *c);
int directory_report(
    struct cluster *c, uint16_t member, struct key key, struct cluster_epoch epoch);
int listing_add(struct cluster *c, struct key key, uint64_t holder, struct version version);
/* Claims, and questions where, for a slot whose home is this node. */
void home_asked(struct cluster *c, uint16_t member, const struct message *message);
/* A claim of this node's own, for an id of which it knows nothing as its home: may it take it, and
 * under which epoch? It must be among what is owned then, before anything else happens. */
bool home_takes(struct cluster *c, struct key key, struct cluster_epoch *epoch);
void home_released(struct cluster *c, uint16_t member, const struct message *message);
void home_not_owner(struct cluster *c, uint16_t member, const struct message *message);
void home_confirmed(struct cluster *c, uint16_t member, const struct message *message);
void home_discards(struct cluster *c, struct key key, struct version version);
void home_opened(struct cluster *c, uint32_t first, uint32_t through);

/* claims.c */
struct cluster_place *place_find(struct cluster *c, struct key key);
struct cluster_place *place_create(struct cluster *c, struct key key, struct slice id);
void place_wait(struct cluster *c, struct cluster_place *place);   /* for retry_ms */
void place_settle(struct cluster *c, struct cluster_place *place); /* frees it when unused */
void place_pump(struct cluster *c, struct cluster_place *place);
void place_retry(struct cluster *c, struct cluster_place *place);
void place_look(struct cluster *c, struct key key, struct slice id);
/* Of an id without place: claim, grant and adoption at once, where this node is the home. */
bool place_spared(struct cluster *c, struct key key, struct slice id);
bool places_want(const struct cluster *c); /* is any of them about to own its id? */
void place_void(struct cluster *c, struct cluster_place *place); /* R2: claim, unadopted grant */
void place_disowned(struct cluster *c, struct key key);          /* it was owned, until now */
/* R5: a request was refused: this node does not own the id under that epoch, and never will. */
void place_deny(struct cluster *c, struct key key, struct cluster_epoch epoch);
void place_granted(struct cluster *c, const struct message *message);
void place_owned(struct cluster *c, const struct message *message);
void place_located(struct cluster *c, const struct message *message);
void place_fetched(struct cluster *c, uint16_t member, const struct message *message);
void place_free(struct cluster *c, struct cluster_place *place);
void hint_put(struct cluster *c, struct key key, uint16_t owner, struct cluster_epoch epoch);
void hint_drop(struct cluster *c, struct key key);
void hints_clear(struct cluster *c);

/* owned.c */
bool owned_find(struct cluster *c, struct key key, struct cluster_epoch *epoch);
int owned_put(struct cluster *c, struct key key, struct cluster_epoch epoch);
bool owned_remove(struct cluster *c, struct key key);
void owned_clear(struct cluster *c);
/* Owned no more; `copy`: what is still held here, NULL: nothing. */
void owned_release(struct cluster *c, struct key key, struct cluster_epoch epoch);
void owned_confirm(struct cluster *c, uint16_t member, const struct message *message);
/* Tells this home that the id is not owned here under that epoch; nothing, if it is. */
void owned_deny(struct cluster *c, uint16_t home, struct key key, struct cluster_epoch epoch);
/* Gives it up, keeping a copy when it was dirty, and tells the home. False: not now. */
bool owned_part(struct cluster *c, struct slice id, struct key key);

/* backups.c */
void dirty_free(struct cluster *c, struct dirty *dirty);
void dirty_mark_listed(struct cluster *c, struct key key, struct slice id);
void dirty_begin(struct cluster *c, struct view *before);
void dirty_stored(struct cluster *c, struct key key, struct slice id, struct version version);
void dirty_forget(struct cluster *c, struct key key);
/* `held`: what this holder has. `in_order`: said after all that was sent it of this id before. */
void dirty_answered(struct cluster *c, uint16_t member, struct key key, struct version asked,
    struct version held, bool in_order);
/* Does what is to be done next. `what`: the present value, when it is known; else it is asked for.
 */
void dirty_push(struct cluster *c, struct dirty *dirty, const struct cluster_copy *what);
void dirty_put_in(struct cluster *c, struct dirty *dirty, struct link *list);
bool dirty_is_backed_up(struct cluster *c, struct key key, struct slice id); /* in this view */
uint64_t dirty_advance(struct cluster *c, uint32_t *budget);
void owned_held(struct cluster *c, uint16_t member, const struct message *message);

/* offers.c */
/* To each holder that was not asked yet. False: some holder's window is full: it waits there. */
bool dirty_send(struct cluster *c, struct dirty *dirty, const struct cluster_copy *what);
void dirty_ask_again(struct cluster *c, struct dirty *dirty);
/* A value under way is there, or lost; `all`: all of them. */
void backup_arrived(struct member *member, struct backup_at *at, bool all);
void offers_answered(struct cluster *c, uint16_t member, const struct message *message);
void backup_answered(struct cluster *c, uint16_t member, const struct message *message);
void offers_flush(struct cluster *c);
void offers_advance(struct cluster *c, uint32_t *budget);
/* What waits at members of a view that ends becomes stale. */
void offers_gather(struct cluster *c, struct view *view);

/* copies.c */
struct copy *copy_allocate(struct cluster *c, struct key key, struct slice id);
/* Takes the struct, and a reference to the value. */
void copy_install(struct cluster *c, struct copy *copy, const struct cluster_copy *what);
/* Of what this node has just given up: somebody else is told to claim it, so it is not looked after
 * at once. */
void copy_parted(struct cluster *c, struct copy *copy);
/* Draining: the first of its holders is asked to claim it. False: was asked before in this view, or
 * there is nobody to ask. */
bool copy_nudge(struct cluster *c, struct copy *copy, struct cluster_epoch epoch);
/* Draining: has it come back, although another was asked to claim it? */
bool copy_came_back(struct cluster *c, struct key key);
bool copies_are_owned(const struct cluster *c); /* by others, as far as is known in this view */
struct copy *copy_find(struct cluster *c, struct key key);
int copy_keep(struct cluster *c, struct key key, struct slice id, const struct cluster_copy *what);
void copy_drop(struct cluster *c, struct copy *copy);
void copy_discard(struct cluster *c, struct key key, struct version version);
void copy_backup(struct cluster *c, uint16_t member, const struct message *message);
void copy_offered(struct cluster *c, uint16_t member, const struct message *message);
void copy_fetch(struct cluster *c, uint16_t member, const struct message *message);
void copies_begin(struct cluster *c);
void copies_age(struct cluster *c); /* R10: what is too old is set aside */
void copies_clock(struct cluster *c);
void copy_wanted(struct cluster *c, const struct message *message);
uint64_t copies_advance(struct cluster *c, uint32_t *budget);
void copy_is_owned(struct cluster *c, struct key key, uint16_t owner, struct cluster_epoch epoch);
void copies_clear(struct cluster *c);

/* requests.c */
void request_queue(struct cluster *c, struct cluster_place *place, struct cluster_request *request);
void request_requeue(struct cluster *c, struct cluster_place *place, struct cluster_request *r);
void request_unlink(struct cluster *c, struct cluster_request *request);
void request_execute(struct cluster *c, struct cluster_request *request);
void request_finish(
    struct cluster *c, struct cluster_request *request, int status, const struct value *value);
void requests_held_flush(struct cluster *c);
void requests_held_end(struct cluster *c);
uint64_t requests_advance(struct cluster *c, uint32_t *budget);
static inline bool request_may_repeat(const struct cluster_request *request)
{
    return request->kind == CLUSTER_READ || request->kind == CLUSTER_WEAK_READ ||
           request->kind == CLUSTER_PERSIST || request->kind == CLUSTER_OWNER;
}

/* forward.c */
void forward_all(struct cluster *c, struct cluster_place *place, const struct idmap_entry *hint);
void forward_late(struct cluster *c, struct slice from, const struct message *forward);
void forward_received(struct cluster *c, struct slice from, const struct message *message);
void forward_refused(struct cluster *c, const struct message *message);
void forward_replied(struct cluster *c, const struct message *message);
/* R9: those at members that are not in `view` any more (NULL: all), or at this name. */
void forwards_lost(struct cluster *c, const struct view *view, struct slice name);
void foreign_finish(
    struct cluster *c, struct foreign *foreign, int status, const struct value *value);
void foreign_refuse(struct cluster *c, struct foreign *foreign);
void foreign_refuse_queue(struct cluster *c, struct cluster_place *place);
void foreign_refuse_others(
    struct cluster *c, struct cluster_place *place, struct cluster_epoch but);

/* handoff.c */
void use_count(struct cluster *c, struct key key, uint64_t incarnation, struct slice id);
/* A request of that member has been answered. */
void use_answered(struct cluster *c, struct key key, uint64_t incarnation, struct slice id);
void use_clear(struct cluster *c, struct key key);
void uses_reset(struct cluster *c);
void moving_clear(struct cluster *c);
uint64_t handoff_advance(struct cluster *c, uint32_t *budget);
void nudged(struct cluster *c, uint16_t member, const struct message *message);
void nudge_send(struct cluster *c, uint16_t member, struct slice id, struct cluster_epoch epoch);

/* view.c */
bool lost_advance(struct cluster *c, uint32_t budget);

#endif
