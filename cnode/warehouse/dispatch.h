/* dispatch: which request a network store serves next. Pure.
 *
 *   add -> [ lane of its id: first | behind | behind ]
 *            first -> one of four queues -> next: under way -> done -> the one behind is first
 *
 * - One request of an id at a time, in the order they came.
 * - What somebody waits for goes first, loads before writes. Nobody waits for most dumps, nor for
 *   the loads of copies that a member took over from one that died. Who is behind such a one in
 *   its lane and is waited for takes it along; and it may come to be waited for any time.
 * - But each eighth is the one that is first in its lane for longest: nothing waits for ever.
 * - At most `parallel` under way; of writes, and of what nobody waits for, at most half as many
 *   each: so what is waited for finds a slot, however slow the store is. (parallel = 1: the one
 *   slot is for all.) */
#ifndef WAREHOUSE_DISPATCH_H
#define WAREHOUSE_DISPATCH_H

#include "brain/warehouse.h"

struct request_list {
    struct warehouse_request *first, **last;
};

void list_init(struct request_list *list);
void list_append(struct request_list *list, struct warehouse_request *request);
struct warehouse_request *list_take(struct request_list *list); /* NULL when empty */
/* Appends all of `from`, which is empty then. */
void list_move(struct request_list *to, struct request_list *from);

enum { DISPATCH_BUCKETS = 4096 };

/* In order of precedence. */
enum dispatch_queue {
    DISPATCH_WANTED_LOADS,
    DISPATCH_WANTED_WRITES,
    DISPATCH_LOADS, /* these two by age */
    DISPATCH_WRITES,
    DISPATCH_QUEUES
};

struct dispatch {
    struct request_list queues[DISPATCH_QUEUES]; /* first of their lanes, not under way */
    unsigned parallel, half;
    unsigned under_way, writes_under_way, unwanted_under_way;
    uint64_t begun;  /* all that ever were */
    uint64_t opened; /* lanes that ever were */
    size_t count;    /* all there are, under way or not */
    struct warehouse_request *lanes[DISPATCH_BUCKETS];
};

void dispatch_init(struct dispatch *dispatch, unsigned parallel);

/* Uses the request's id_hash, and its queued_ms for dispatch_expire. */
void dispatch_add(struct dispatch *dispatch, struct warehouse_request *request);

/* Requests that are here have become `wanted`: looks for them among those that were not. Their
 * waiting begins now. */
void dispatch_promote(struct dispatch *dispatch, uint64_t now_ms);

/* The next to serve, under way from now on; NULL: none may start now. */
struct warehouse_request *dispatch_next(struct dispatch *dispatch);

/* It is over, and the next of its id may go; the request is the caller's. */
void dispatch_done(struct dispatch *dispatch, struct warehouse_request *request);

/* One that is not under way and waits since `since_ms` or longer; `loads`: a load that is waited
 * for, and no other. Removed, the caller's. NULL: none. Only the firsts of their lanes are looked
 * at: what is behind one came later. */
struct warehouse_request *dispatch_expire(struct dispatch *dispatch, uint64_t since_ms, bool loads);

/* A dump that is the first of its lane and not under way; removed, the caller's. NULL: none. */
struct warehouse_request *dispatch_take_back(struct dispatch *dispatch);

/* Nothing that is under way may last longer. */
void dispatch_limit(struct dispatch *dispatch, uint64_t deadline_ms);

#endif
