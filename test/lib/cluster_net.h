/* cluster_net: some nodes of a cluster in one process, driven by hand: their messages lie in a
 * queue until the test delivers, holds or drops them, and so do the operations on one warehouse.
 * Each node has a small honest store of its own (cluster_net_store.c) that does what
 * include/brain/cluster.h asks of objects. Nodes are numbered from 0 and named a@n, b@n, ... */
#ifndef CLUSTER_NET_H
#define CLUSTER_NET_H

#include "brain/cluster.h"

enum { NET_NODES = 6, NET_TEXT = 24 };

struct net_value {
    struct version version; /* all 0: there is none */
    bool deleted;
    char text[NET_TEXT];
};

/* One object in a node's store. */
struct net_object {
    struct net_object *next;
    char id[NET_TEXT];
    struct cluster_epoch epoch;
    uint64_t seq;
    bool loaded, dirty, written, outdated, has_copy;
    struct net_value now, copy, stored;
    bool stored_known;
    struct version backed_up;
    uint32_t puts, loads;                /* in flight */
    struct cluster_request *waiting[64]; /* for the load, or for backed_up */
    struct version waits_for[64];
    struct net_value captured[64];
    bool executed[64];
    uint32_t waiting_count;
};

/* One operation on the warehouse, in flight. */
struct net_operation {
    struct net_operation *next;
    int node;
    uint64_t incarnation;
    bool put, retry;
    char id[NET_TEXT];
    struct cluster_epoch epoch;
    struct net_value value;
    struct version expected;
};

struct net_message {
    struct net_message *next;
    int from, to;
    bool held;
    char kind[16];
    struct value bytes;
};

struct net_stored {
    struct net_stored *next;
    char id[NET_TEXT];
    struct net_value value;
};

struct net_request {
    struct cluster_request request;
    char id[NET_TEXT], text[NET_TEXT];
    uint8_t term[NET_TEXT + 8];
    int answers, status;
    char answer[NET_TEXT];
};

struct net {
    uint64_t now_ms, broken;
    uint32_t backups, count;
    struct net_node {
        struct net *net;
        int number;
        char name[8];
        bool up;
        uint64_t incarnation;
        struct cluster *cluster;
        struct net_object *objects;
        uint32_t evictions;
        int evicted; /* the last one */
        uint64_t behind;
        bool drained;
        uint32_t set_aside, copies_changed;
    } nodes[NET_NODES];
    struct net_message *messages;
    struct net_operation *operations;
    struct net_stored *warehouse;
    struct net_hold {
        char kind[16];
        int from, to; /* -1: any */
        bool drop;
    } holds[16];
    uint32_t holds_count;
    struct net_request *requests[256];
    uint32_t requests_count;
    uint64_t lease_ms; /* 10000 */
    uint32_t bad;      /* two owners at once, a warehouse that went back: what no rule may allow */
    const char *bad_text;
    bool unconditional; /* the warehouse does not look at what a write expects */
    bool away;          /* the warehouse: what is in flight to it stays there */
    uint32_t handoff_uses;
    uint32_t stash_limit;
    uint64_t backup_window;
    bool leave_at_once; /* what a request was executed on leaves RAM, when it is clean */
};

void net_init(struct net *net, uint32_t count, uint32_t backups, uint64_t broken);
void net_end(struct net *net);
/* Before the first join of a node: another count of uses, and the like. */
void net_create_clusters(struct net *net);

/* A view of the nodes whose bits are set, with their present incarnations: to one node. */
void net_join(struct net *net, int node, uint64_t number, unsigned members);
void net_view(struct net *net, int node, uint64_t number, unsigned members);
/* All of them join, and everything is delivered. */
void net_start(struct net *net, uint64_t number);
void net_lease(struct net *net, int node);
/* The node is gone with all it had; messages to it are too. */
void net_crash(struct net *net, int node);

/* Messages of this kind ("*": of any) between these nodes (-1: any) stay in the queue, or are
 * dropped, from now on. net_unhold ends that for a kind; what was held comes next (in the order
 * sent). */
void net_hold(struct net *net, const char *kind, int from, int to);
void net_drop(struct net *net, const char *kind, int from, int to);
void net_unhold(struct net *net, const char *kind);
uint32_t net_count(const struct net *net, const char *kind, int from, int to);
/* Delivers one message of that kind, held or not. False: there is none. */
bool net_deliver(struct net *net, const char *kind, int from, int to);
/* Delivers all messages that are not held; with `operations` also carries out what is in flight to
 * the warehouse; until nothing is left. */
void net_settle(struct net *net, bool operations);
/* Time passes in steps of 50 ms, each of which advances all nodes that are up and settles. Leases
 * are renewed when `renew`. */
void net_pass(struct net *net, uint64_t ms, bool renew);
/* One operation of that node, the oldest; false: none. */
bool net_operation(struct net *net, int node, bool put);

/* Requests. `text` NULL unless a write. */
struct net_request *net_ask(
    struct net *net, int node, enum cluster_kind kind, const char *id, const char *text);
/* Is it answered so? `text` NULL: any. */
bool net_answered(const struct net_request *request, int status, const char *text);
/* A whole read: asked, settled with operations, and this is what came ("" for absent, "?" for
 * nothing or an error). */
const char *net_read(struct net *net, int node, const char *id);

/* The node's store. */
struct net_object *net_object(struct net *net, int node, const char *id);
void net_dump(struct net *net, int node, const char *id); /* begins a PUT of what is dirty */
bool net_idle(struct net *net, int node, const char *id); /* leaves RAM when clean */
/* Begins a PUT of a copy that the node holds for its owner: what R8_OWNER is there to prevent. */
void net_put_copy(struct net *net, int node, const char *id);
struct net_stored *net_stored(struct net *net, const char *id);
void net_store(struct net *net, const char *id, struct version version, const char *text);
bool net_owns(const struct net *net, int node, const char *id); /* and may serve */

/* An id whose home is `home` in the view of `members`, and `home2` in that of `members2` (-1: any);
 * whose first holder, with `owner` owning it, is `holder` in the first (-1: any). The nth of them.
 */
const char *net_id(unsigned members, int home, unsigned members2, int home2, int owner, int holder);

extern const struct cluster_objects net_objects;

void net_fail(struct net *net, const char *text);

#endif
