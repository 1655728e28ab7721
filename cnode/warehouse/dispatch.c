/* dispatch: lanes by id, and two queues of the firsts of their lanes. */
#include "dispatch.h"

#include <string.h>

void list_init(struct request_list *list)
{
    list->first = NULL;
    list->last = &list->first;
}

void list_append(struct request_list *list, struct warehouse_request *request)
{
    request->next = NULL;
    *list->last = request;
    list->last = &request->next;
}

struct warehouse_request *list_take(struct request_list *list)
{
    struct warehouse_request *request = list->first;
    if (request == NULL)
        return NULL;
    list->first = request->next;
    if (list->first == NULL)
        list->last = &list->first;
    request->next = NULL;
    return request;
}

void list_move(struct request_list *to, struct request_list *from)
{
    if (from->first == NULL)
        return;
    *to->last = from->first;
    to->last = from->last;
    list_init(from);
}

void dispatch_init(struct dispatch *dispatch, unsigned parallel)
{
    memset(dispatch, 0, sizeof(*dispatch));
    list_init(&dispatch->loads);
    list_init(&dispatch->writes);
    dispatch->parallel = parallel;
    dispatch->parallel_writes = parallel == 1 ? 1 : parallel / 2;
}

static bool is_write(const struct warehouse_request *request)
{
    return request->operation != WAREHOUSE_LOAD;
}

static struct warehouse_request **bucket_of(
    struct dispatch *dispatch, const struct warehouse_request *request)
{
    return &dispatch->lanes[request->id_hash % DISPATCH_BUCKETS];
}

static bool same_id(const struct warehouse_request *a, const struct warehouse_request *b)
{
    return slice_equal(slice_of(a->id, a->id_size), slice_of(b->id, b->id_size));
}

/* Makes it the first of its lane. */
static void open_lane(struct dispatch *dispatch, struct warehouse_request *request)
{
    struct warehouse_request **bucket = bucket_of(dispatch, request);
    request->lane.chain = *bucket;
    *bucket = request;
    list_append(is_write(request) ? &dispatch->writes : &dispatch->loads, request);
}

void dispatch_add(struct dispatch *dispatch, struct warehouse_request *request)
{
    struct warehouse_request *first = *bucket_of(dispatch, request);
    dispatch->count++;
    request->next = request->lane.first = request->lane.last = NULL;
    while (first != NULL && !same_id(first, request))
        first = first->lane.chain;
    if (first == NULL) {
        open_lane(dispatch, request);
        return;
    }
    if (first->lane.last == NULL)
        first->lane.first = request;
    else
        first->lane.last->next = request;
    first->lane.last = request;
}

struct warehouse_request *dispatch_next(struct dispatch *dispatch)
{
    struct warehouse_request *request = NULL;
    if (dispatch->under_way >= dispatch->parallel)
        return NULL;
    request = list_take(&dispatch->loads);
    if (request == NULL && dispatch->writes_under_way < dispatch->parallel_writes)
        request = list_take(&dispatch->writes);
    if (request == NULL)
        return NULL;
    dispatch->under_way++;
    if (is_write(request))
        dispatch->writes_under_way++;
    return request;
}

/* Takes the first out of its lane; the next one is first then. */
static void leave_lane(struct dispatch *dispatch, struct warehouse_request *request)
{
    struct warehouse_request **link = bucket_of(dispatch, request);
    while (*link != request)
        link = &(*link)->lane.chain;
    *link = request->lane.chain;
    dispatch->count--;

    struct warehouse_request *heir = request->lane.first;
    if (heir == NULL)
        return;
    heir->lane.first = heir->next;
    heir->lane.last = heir->next == NULL ? NULL : request->lane.last;
    open_lane(dispatch, heir);
}

void dispatch_done(struct dispatch *dispatch, struct warehouse_request *request)
{
    dispatch->under_way--;
    if (is_write(request))
        dispatch->writes_under_way--;
    leave_lane(dispatch, request);
}

/* `*link`: in this list. */
static struct warehouse_request *take_out(
    struct dispatch *dispatch, struct request_list *list, struct warehouse_request **link)
{
    struct warehouse_request *request = *link;
    *link = request->next;
    if (*link == NULL)
        list->last = link;
    request->next = NULL;
    leave_lane(dispatch, request);
    return request;
}

static struct warehouse_request *expire_in(
    struct dispatch *dispatch, struct request_list *list, uint64_t now_ms)
{
    for (struct warehouse_request **link = &list->first; *link != NULL; link = &(*link)->next) {
        if ((*link)->deadline_ms <= now_ms)
            return take_out(dispatch, list, link);
    }
    return NULL;
}

struct warehouse_request *dispatch_take_back(struct dispatch *dispatch)
{
    struct request_list *list = &dispatch->writes;
    for (struct warehouse_request **link = &list->first; *link != NULL; link = &(*link)->next) {
        if ((*link)->operation == WAREHOUSE_DUMP)
            return take_out(dispatch, list, link);
    }
    return NULL;
}

struct warehouse_request *dispatch_expire(struct dispatch *dispatch, uint64_t now_ms)
{
    struct warehouse_request *request = expire_in(dispatch, &dispatch->loads, now_ms);
    return request != NULL ? request : expire_in(dispatch, &dispatch->writes, now_ms);
}

void dispatch_limit(struct dispatch *dispatch, uint64_t deadline_ms)
{
    for (size_t i = 0; i < DISPATCH_BUCKETS; i++) {
        for (struct warehouse_request *first = dispatch->lanes[i]; first != NULL;
             first = first->lane.chain) {
            if (first->deadline_ms > deadline_ms)
                first->deadline_ms = deadline_ms;
            for (struct warehouse_request *next = first->lane.first; next != NULL;
                 next = next->next) {
                if (next->deadline_ms > deadline_ms)
                    next->deadline_ms = deadline_ms;
            }
        }
    }
}
