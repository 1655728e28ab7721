/* dispatch: which request a network store serves next. Pure.
 *
 *   add -> [ lane of its id: first | behind | behind ]
 *            first -> [ loads ] or [ writes ] -> next: under way -> done -> the one behind is first
 *
 * - One request of an id at a time, in the order they came.
 * - Loads go first: somebody waits for a load, nobody for a dump.
 * - At most `parallel` under way; writes at most half of them, so that a load finds a slot however
 *   slow writes are. (parallel = 1: the one slot is for both.) */
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

struct dispatch {
    struct request_list loads, writes; /* first of their lanes, not under way */
    unsigned parallel, parallel_writes;
    unsigned under_way, writes_under_way;
    size_t count; /* all there are, under way or not */
    struct warehouse_request *lanes[DISPATCH_BUCKETS];
};

void dispatch_init(struct dispatch *dispatch, unsigned parallel);

/* Uses the request's id_hash, and its deadline_ms for dispatch_expire. */
void dispatch_add(struct dispatch *dispatch, struct warehouse_request *request);

/* The next to serve, under way from now on; NULL: none may start now. */
struct warehouse_request *dispatch_next(struct dispatch *dispatch);

/* It is over, and the next of its id may go; the request is the caller's. */
void dispatch_done(struct dispatch *dispatch, struct warehouse_request *request);

/* One that is not under way and whose deadline has come; removed, the caller's. NULL: none. Only
 * the firsts of their lanes are looked at: what is behind one came later. */
struct warehouse_request *dispatch_expire(struct dispatch *dispatch, uint64_t now_ms);

/* A dump that is the first of its lane and not under way; removed, the caller's. NULL: none. */
struct warehouse_request *dispatch_take_back(struct dispatch *dispatch);

/* Nothing that is here may last longer. */
void dispatch_limit(struct dispatch *dispatch, uint64_t deadline_ms);

#endif
