/* objects: a small model of a node's store, as the cluster's core needs it (struct
 * cluster_objects).
 *
 * It holds few ids and searches them one after another. It keeps what include/brain/cluster.h asks
 * of the store, and breaks it where a switch of CLUSTER_RULES says so. An adapter over the real
 * store (cnode/object) can take its place behind this header when that store has: writes stamped
 * with the epoch of the object's grant, an acknowledgement class `backup` (an event when a version
 * needs holders, a result when they have it), adoption of an id with a copy to be compared,
 * restamping, giving up an id and all ids, and a load that reports versions above the grant. The
 * switches for R7_COMPARE, R8_OWNER, R10_TOMBSTONE, R11_VERSION and R11_PUT stay this model's.
 *
 * Pure, as the core: loads and dumps are asked for by events, and answered with their ticket. */
#ifndef BRAIN_SIM_OBJECTS_H
#define BRAIN_SIM_OBJECTS_H

#include "brain/cluster.h"
#include "random.h"

enum objects_ack { ACK_MEMORY, ACK_BACKUP, ACK_WAREHOUSE };

/* What the warehouse holds under one id; all 0: nothing. */
struct stored {
    struct version version;
    bool deleted;        /* a tombstone */
    uint64_t deleted_ms; /* when it was made */
    struct value value;  /* borrowed */
    uint64_t tag;        /* of this very state: what a conditional write compares */
};

struct objects_events {
    void *context;
    void (*load)(void *context, struct slice id, uint64_t ticket);
    /* Write on condition that the warehouse's tag is `expected` (0: that it holds nothing).
     * `removes`: the tombstone is to go, nothing is written. */
    void (*dump)(void *context, struct slice id, uint64_t ticket, const struct stored *what,
        uint64_t expected, bool removes);
    /* The journal: what `id` is now, as long as the warehouse does not have it; NULL: it has. */
    void (*record)(void *context, struct slice id, const struct cluster_copy *copy);
    /* This very write was carried out here, under that version. */
    void (*executed)(void *context, struct cluster_request *request, struct version version);
    /* A promise is broken: one sentence. */
    void (*broken)(void *context, const char *rule, const char *what, struct slice id);
};

struct objects_options {
    uint32_t ids_limit;
    uint64_t tombstone_keep_ms; /* 0: tombstones stay */
    uint64_t broken;            /* CLUSTER_BREAK of rules */
};

struct objects;

struct objects *objects_create(const struct objects_options *options, struct objects_events events);
void objects_destroy(struct objects *objects); /* nothing is answered */
struct cluster_objects objects_interface(struct objects *objects);
void objects_attach(struct objects *objects, struct cluster *cluster);
/* Before anything else happens at this time. `wall_ms`: what tombstones are stamped with. */
void objects_time(struct objects *objects, uint64_t now_ms, uint64_t wall_ms);
/* An id there may be; at most ids_limit of them. */
void objects_expect(struct objects *objects, struct slice id);

/* What time brings: deadlines, and by chance (of 256): a dump of what is dirty, a drop of what is
 * clean. Retries what failed. */
void objects_tick(
    struct objects *objects, struct random *random, uint32_t dump_chance, uint32_t drop_chance);

/* Answers of the warehouse. Load: 0 and what it holds, or BRAIN_EWAREHOUSE. Dump: 0 (the tag is
 * `stored->tag`), BRAIN_ECONFLICT and what it holds, or BRAIN_EWAREHOUSE: nobody knows. A ticket
 * that is not known any more is ignored. */
void objects_loaded(struct objects *objects, struct slice id, uint64_t ticket, int status,
    const struct stored *stored);
void objects_dumped(struct objects *objects, struct slice id, uint64_t ticket, int status,
    const struct stored *stored);

/* For checks: nothing owned is dirty or under way. */
bool objects_are_clean(const struct objects *objects);
bool objects_are_settled(const struct objects *objects); /* compared with copies */
/* What is known here of an owned id. */
bool objects_peek(const struct objects *objects, struct slice id, struct cluster_copy *copy);
bool objects_own(const struct objects *objects, struct slice id);

#endif
