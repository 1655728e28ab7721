/* net: some members with the real room each, in one process. Their messages lie in a queue until
 * the test delivers, drops or repeats them. Who owns an id, and what survives, is the test's to
 * say. Members are numbered from 0 and named a@n, b@n, ... A value is a number. */
#ifndef REPLICA_NET_H
#define REPLICA_NET_H

#include "brain/replica.h"
#include "wire.h"

enum { NET_NODES = 4 };

struct net_message {
    struct net_message *next;
    int from, to;
    uint64_t order;
    enum replica_kind kind;
    struct value bytes;
};

struct net_node {
    struct net *net;
    int number;
    char name[8];
    uint64_t incarnation; /* 0: down */
    struct replica *replica;
    struct version reached; /* the last one told, and how often */
    uint32_t reached_count, differs, overflowed, superseded;
    char id[16]; /* of it */
};

struct net {
    struct net_node nodes[NET_NODES];
    struct net_message *messages;
    uint64_t now_ms, incarnations, view;
    uint32_t broken; /* REPLICA_BREAK of rules, where that is compiled in */
    struct cluster_member members[NET_NODES];
    size_t members_count;
    bool (*owns)(
        struct net_node *node, struct slice id, struct cluster_epoch epoch); /* NULL: yes */
    void (*on_reached)(struct net_node *node, struct slice id, struct version version);
};

/* `prefix` "r:" unless told otherwise per node with net_configure before net_up. */
void net_init(struct net *net, bool wait_all, uint64_t limit_bytes);
/* Another configuration for one node. False: no memory. */
bool net_configure(
    struct net *net, int node, const char *prefix, bool wait_all, uint64_t limit_bytes);
/* Breaks rules, after net_init. */
void net_break(struct net *net, uint32_t broken);
void net_end(struct net *net);
/* The node is a member of the next view, anew; or not any more. Nobody has installed it yet. */
void net_up(struct net *net, int node);
void net_down(struct net *net, int node);
/* Installs the newest view in one node; in all. */
void net_install(struct net *net, int node);
void net_install_all(struct net *net);

/* Messages of this kind between these (-1: any). */
uint32_t net_count(const struct net *net, int kind, int from, int to);
bool net_deliver(struct net *net, int kind, int from, int to); /* the oldest one */
bool net_repeat(struct net *net, int kind, int from, int to);  /* delivers a copy, keeps it */
bool net_drop(struct net *net, int kind, int from, int to);
/* Delivers all until there is none, lets time pass, so many ms. */
void net_settle(struct net *net);
void net_pass(struct net *net, uint64_t ms);

struct version net_version(uint64_t grant, uint64_t seq);
/* A write of this number by an owner under this grant; 0: a delete. As replica_written. */
int net_write(struct net *net, int node, const char *id, uint64_t grant, uint64_t seq,
    uint64_t number, bool held);
bool net_held(struct net *net, int node, const char *id, uint64_t grant, uint64_t seq);
/* The number that a strong read shows: 0 absent, -1: not to be answered from here. */
int64_t net_read(struct net *net, int node, const char *id);
int64_t net_read_weak(struct net *net, int node, const char *id);
bool net_readable(struct net *net, int node);

#endif
