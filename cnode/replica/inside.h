/* replica's parts, for the files of this room.
 *
 *   replica.c   life of the struct, reads, what time asks for
 *   entries.c   the table: what was told of each id, and by whom
 *   telling.c   the owner's side: to all, until acknowledged; all there is, to a new member
 *   hearing.c   the others' side: messages received
 *   members.c   other members, rounds, whether the table is readable
 *   wire.c      messages
 *
 * An entry is in one of two lists: `told`, by this node, in the order in which it was told (with
 * the cursors of members to which all of it is being told), or `heard`. What this node told and has
 * given up, for a later owner's word that says only that there is one, stays its to tell, as just
 * that: not all may have heard the later owner. With its value that one has been heard by all that
 * it knows of, and tells it to those that come. What began in an earlier
 * round or under an earlier incarnation is as if it were not there (era), and is freed in slices.
 */
#ifndef BRAIN_REPLICA_INSIDE_H
#define BRAIN_REPLICA_INSIDE_H

#include "brain/idtable.h"
#include "brain/list.h"
#include "brain/replica.h"
#include "wire.h"

/* A place in the list `told`. */
struct mark {
    struct link link;
    bool is_cursor;
};

/* Another member. One that is gone stays as long as entries name it. */
struct peer {
    struct link link; /* in replica.peers */
    uint64_t incarnation;
    bool present;
    bool agrees;    /* has said what it replicates, which is what this node does */
    bool complains; /* has said something else */
    bool ended;     /* has told all to this node's round */
    uint64_t round; /* of its table; 0: not said */
    uint64_t asked_ms;
    uint64_t entries; /* that it told */
    uint32_t slot;    /* its bit in tellings, while present */
    /* All that was told until it said its round is told to it too. */
    struct mark cursor; /* in `told` while pushing */
    bool pushing, pushed_all;
    uint64_t push_until; /* entry.number */
    uint32_t in_flight;  /* pushed and not acknowledged, and about how many bytes */
    uint64_t in_flight_bytes;
    uint16_t name_size;
    uint8_t name[];
};

struct entry {
    struct id_node node;
    struct mark mark;    /* in `told`, `heard` or `stale` */
    struct link dead;    /* in `tombstones`, `given_up`, `spread`, or alone */
    struct peer *teller; /* NULL: this node */
    struct telling *telling;
    struct cluster_epoch epoch; /* of the teller's grant */
    struct version version;
    struct value value;
    uint64_t number; /* told by this node: grows */
    uint64_t since_ms;
    uint32_t era;
    bool given_up; /* another one's word, of which this node tells that there is one */
    enum replica_state state;
    uint8_t id[];
};

/* What some member has not acknowledged. `version`: the last that was told; none: nothing yet.
 * While it is not the entry's, that one waits for its holders, and of the told one only that it
 * exists can be said; likewise under a grant of which some member does not know. */
struct telling {
    struct link timer; /* in `waiting`, by sent_ms, while somebody owes it; else in `unheld` */
    struct entry *entry;
    struct version version;
    uint64_t sent_ms;
    uint32_t words; /* of bits, for each of three: who owes; of them, to whom it was pushed; of
                       them, who may still show what was told under an earlier grant */
    uint32_t owed, unaware;
    bool fresh;   /* nothing was told under this grant */
    bool reached; /* that all have the version was said; they are told what it is */
    bool offered;
    uint64_t bits[];
};

struct replica {
    struct replica_options options;
    struct replica_events events;
    struct replica_metrics metrics;
    struct slice *prefixes;
    struct buffer settings, out;
    uint64_t incarnation;
    uint64_t now_ms;
    bool in, readable;
    bool incomplete; /* the view could not be installed as a whole */
    bool overflowed;
    uint64_t overflowed_ms;
    uint32_t eras; /* the last one given out */
    uint32_t told_era, heard_era;
    uint64_t round;
    uint64_t numbers, unproven; /* what was told up to then counts only if it is still owned */
    struct id_table table;
    struct link told, heard, stale; /* entry.mark */
    struct link tombstones;         /* entry.dead, by since_ms */
    struct link given_up, spread;   /* entry.dead; of the latter all are to be told */
    struct link waiting, unheld;    /* telling.timer */
    struct link peers;
    struct peer **slots; /* present members, by bit */
    uint32_t slots_count;
    uint64_t tellings, memory;
    struct entry *spare_entry;
    uint16_t spare_id_size;
    struct telling *spare_telling;
};

/* Is this rule kept? Always, but in the simulator. */
static inline bool keeps(const struct replica *r, enum replica_rule rule)
{
#ifdef BRAIN_BREAKABLE
    return (r->options.broken & REPLICA_BREAK(rule)) == 0;
#else
    (void)r, (void)rule;
    return true;
#endif
}
static inline bool version_is_none(struct version version)
{
    return version.view == 0 && version.counter == 0 && version.seq == 0;
}
static inline bool version_equal(struct version a, struct version b)
{
    return version_compare(a, b) == 0;
}
static inline struct slice entry_id(const struct entry *entry)
{
    return id_node_id(&entry->node);
}
/* May members be told what the entry is, not only that it is there? */
static inline bool may_be_shown(const struct entry *entry)
{
    const struct telling *telling = entry->telling;
    return telling == NULL || (!telling->fresh && telling->unaware == 0 &&
                                  version_equal(telling->version, entry->version));
}
/* Which word counts: a later grant's, of one grant the higher version. */
int word_compare(
    struct cluster_epoch epoch_a, struct version a, struct cluster_epoch epoch_b, struct version b);

/* entries.c */
uint64_t id_hash(const struct replica *r, struct slice id);
uint64_t id_order(const struct replica *r, struct slice id);
struct entry *entry_find(struct replica *r, struct slice id);
/* A new one, of no version, in `heard` or `told`; NULL: no memory. */
struct entry *entry_create(struct replica *r, struct slice id, struct peer *teller);
int entry_reserve(struct replica *r, struct slice id);
void entry_free(struct replica *r, struct entry *entry);
/* Whose word it is from now on; to the end of its list. */
void entry_take_over(struct replica *r, struct entry *entry, struct peer *teller);
/* Another one's word, which says only that there is one, and of which it is told on. */
void entry_give_up(
    struct replica *r, struct entry *entry, struct cluster_epoch epoch, struct version version);
/* The value is the entry's then. */
void entry_set(struct replica *r, struct entry *entry, struct cluster_epoch epoch,
    struct version version, enum replica_state state, struct value value);
size_t entry_room(size_t id_size, size_t value_size);

/* telling.c */
int telling_reserve(struct replica *r);
/* To all, that it is there. */
void telling_named(struct replica *r, struct entry *entry);
void telling_free(struct replica *r, struct entry *entry);
void tellings_release(struct replica *r);
void telling_acknowledged(struct replica *r, struct peer *peer, struct entry *entry,
    struct cluster_epoch epoch, struct version version);
/* A member is gone, or begins anew: what it owed, or what was pushed to it, does not count. */
void tellings_forgive(struct replica *r, struct peer *peer, bool gone);
void push_begin(struct replica *r, struct peer *peer);
void push_stop(struct peer *peer);
/* False: no more for now. */
bool push_some(struct replica *r, struct peer *peer, uint32_t *budget);
/* Tells what was given up for the word of one that is gone. False: the budget is used up. */
bool spread_advance(struct replica *r, uint32_t *budget);
/* Offers again what is due. Returns in how many ms the next is; 0: the budget is used up. */
uint64_t tellings_advance(struct replica *r, uint32_t *budget);

/* members.c */
struct peer *peer_find(const struct replica *r, uint64_t incarnation); /* present */
void peer_unused(struct replica *r, struct peer *peer); /* frees it, if it is gone and unnamed */
void peers_release(struct replica *r);
void peer_synced(struct replica *r, struct peer *peer, const struct replica_message *message);
void peer_ended(struct replica *r, struct peer *peer);
void peer_end_if_all(struct replica *r, struct peer *peer);
uint64_t peers_advance(struct replica *r, uint32_t *budget);
bool peer_is_told(const struct peer *peer);
uint32_t peers_told(const struct replica *r);
void round_begin(struct replica *r);
void overflow(struct replica *r);
void look_whether_readable(struct replica *r);
void send_to_peer(struct replica *r, const struct peer *peer, struct replica_message *message);

#endif
