/* Three members that talk over real links on loopback, all in this process. */
#ifndef PEERS_FIXTURE_H
#define PEERS_FIXTURE_H

#include "node_fixture.h"
#include "peers.h"

enum { MEMBERS = 3, HEARD_LIMIT = 20000 };

struct heard {
    uint64_t order, number;
    size_t size;
};

struct member {
    struct seen_node seen; /* first: the context of the node's events */
    struct node_options options;
    char name[32];
    struct peers *peers;
    uint64_t protocol; /* that it says and understands */
    unsigned downs, ups;
    unsigned sending; /* inside of peers_send */
    struct heard *heard;
    size_t heard_count;
    char heard_of[32]; /* who said the last one */
    bool saw_block, answers;
};

extern struct member members[MEMBERS];
extern struct member *const a, *const b;

void prepare(struct member *member, char letter);

/* `peers` is NULL when there was no memory. */
void open_peers(struct member *member);

/* The node listens on the same port again when it is started again. */
void start(struct member *member);
void stop(struct member *member);
void set_up(void);
void tear_down(void);

/* {Order, Number, Binary}, each byte of the binary of `size` the number's lowest. */
void say(
    struct member *from, const struct member *to, uint64_t order, uint64_t number, size_t size);

/* Any term: `head`, which it releases, and `tail`, which may be NULL. */
void send_term(struct member *from, const struct member *to, uint64_t order, struct buffer *head,
    const struct value *tail);

uint64_t peers_metric(const struct member *member, const char *name);
/* Each lane's numbers grow. */
void check_order(const struct member *member);

#endif
