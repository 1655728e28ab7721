/* dispatch: lanes by id, and four queues of the firsts of their lanes. */
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
    for (unsigned i = 0; i < DISPATCH_QUEUES; i++)
        list_init(&dispatch->queues[i]);
    dispatch->parallel = parallel;
    dispatch->half = parallel == 1 ? 1 : parallel / 2;
}

static bool is_write(const struct warehouse_request *request)
{
    return request->operation != WAREHOUSE_LOAD;
}

/* Is it waited for, or anyone behind it? */
static bool is_wanted(const struct warehouse_request *first)
{
    bool wanted = atomic_load_explicit(&first->wanted, memory_order_relaxed);
    for (const struct warehouse_request *next = first->lane.first; next != NULL && !wanted;
         next = next->next)
        wanted = atomic_load_explicit(&next->wanted, memory_order_relaxed);
    return wanted;
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

static void enqueue(struct dispatch *dispatch, struct warehouse_request *first, bool wanted)
{
    first->lane.wanted = wanted;
    list_append(
        &dispatch
             ->queues[wanted ? (is_write(first) ? DISPATCH_WANTED_WRITES : DISPATCH_WANTED_LOADS)
                             : (is_write(first) ? DISPATCH_WRITES : DISPATCH_LOADS)],
        first);
}

/* Makes it the first of its lane. */
static void open_lane(struct dispatch *dispatch, struct warehouse_request *request)
{
    struct warehouse_request **bucket = bucket_of(dispatch, request);
    request->lane.chain = *bucket;
    *bucket = request;
    request->lane.number = dispatch->opened++;
    request->lane.under_way = false;
    enqueue(dispatch, request, is_wanted(request));
}

/* `*link`: in this queue. */
static struct warehouse_request *unlink_from(
    struct request_list *queue, struct warehouse_request **link)
{
    struct warehouse_request *request = *link;
    *link = request->next;
    if (*link == NULL)
        queue->last = link;
    request->next = NULL;
    return request;
}

void dispatch_promote(struct dispatch *dispatch, uint64_t now_ms)
{
    for (unsigned i = DISPATCH_LOADS; i <= DISPATCH_WRITES; i++) {
        struct request_list *queue = &dispatch->queues[i];
        struct warehouse_request **link = &queue->first;
        while (*link != NULL) {
            if (!is_wanted(*link)) {
                link = &(*link)->next;
                continue;
            }
            struct warehouse_request *request = unlink_from(queue, link);
            request->queued_ms = now_ms;
            enqueue(dispatch, request, true);
        }
    }
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
    if (!first->lane.under_way && !first->lane.wanted && is_wanted(request))
        dispatch_promote(dispatch, request->queued_ms);
}

/* ---- whose turn it is ------------------------------------------------------------------------ */

/* The first of the queue; NULL: none, or none may begin now. */
static const struct warehouse_request *head(
    const struct dispatch *dispatch, enum dispatch_queue queue)
{
    const bool writes = queue == DISPATCH_WANTED_WRITES || queue == DISPATCH_WRITES;
    const bool unwanted = queue == DISPATCH_LOADS || queue == DISPATCH_WRITES;
    if ((writes && dispatch->writes_under_way >= dispatch->half) ||
        (unwanted && dispatch->unwanted_under_way >= dispatch->half))
        return NULL;
    return dispatch->queues[queue].first;
}

/* Of the queues from `from` on. */
static int eldest(const struct dispatch *dispatch, enum dispatch_queue from)
{
    const struct warehouse_request *found = NULL;
    int queue = -1;
    for (int i = (int)from; i < DISPATCH_QUEUES; i++) {
        const struct warehouse_request *request = head(dispatch, (enum dispatch_queue)i);
        if (request == NULL || (found != NULL && found->lane.number <= request->lane.number))
            continue;
        found = request;
        queue = i;
    }
    return queue;
}

static int choose(const struct dispatch *dispatch)
{
    enum { TURNS = 8 };
    if (dispatch->begun % TURNS == TURNS - 1)
        return eldest(dispatch, DISPATCH_WANTED_LOADS);
    if (head(dispatch, DISPATCH_WANTED_LOADS) != NULL)
        return DISPATCH_WANTED_LOADS;
    if (head(dispatch, DISPATCH_WANTED_WRITES) != NULL)
        return DISPATCH_WANTED_WRITES;
    return eldest(dispatch, DISPATCH_LOADS);
}

struct warehouse_request *dispatch_next(struct dispatch *dispatch)
{
    const int queue = dispatch->under_way < dispatch->parallel ? choose(dispatch) : -1;
    if (queue < 0)
        return NULL;
    struct warehouse_request *request = list_take(&dispatch->queues[queue]);
    dispatch->begun++;
    dispatch->under_way++;
    dispatch->writes_under_way += is_write(request);
    dispatch->unwanted_under_way += !request->lane.wanted;
    request->lane.under_way = true;
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
    dispatch->writes_under_way -= is_write(request);
    dispatch->unwanted_under_way -= !request->lane.wanted;
    leave_lane(dispatch, request);
}

/* ---- what is over before its turn ------------------------------------------------------------ */

struct warehouse_request *dispatch_expire(struct dispatch *dispatch, uint64_t since_ms, bool loads)
{
    for (unsigned i = 0; i < (loads ? 1 : DISPATCH_QUEUES); i++) {
        struct request_list *queue = &dispatch->queues[i];
        for (struct warehouse_request **link = &queue->first; *link != NULL;
             link = &(*link)->next) {
            if ((*link)->queued_ms > since_ms)
                continue;
            struct warehouse_request *request = unlink_from(queue, link);
            leave_lane(dispatch, request);
            return request;
        }
    }
    return NULL;
}

struct warehouse_request *dispatch_take_back(struct dispatch *dispatch)
{
    static const enum dispatch_queue queues[] = {DISPATCH_WANTED_WRITES, DISPATCH_WRITES};
    for (unsigned i = 0; i < 2; i++) {
        struct request_list *queue = &dispatch->queues[queues[i]];
        for (struct warehouse_request **link = &queue->first; *link != NULL;
             link = &(*link)->next) {
            if ((*link)->operation != WAREHOUSE_DUMP)
                continue;
            struct warehouse_request *request = unlink_from(queue, link);
            leave_lane(dispatch, request);
            return request;
        }
    }
    return NULL;
}

void dispatch_limit(struct dispatch *dispatch, uint64_t deadline_ms)
{
    for (size_t i = 0; i < DISPATCH_BUCKETS; i++) {
        for (struct warehouse_request *first = dispatch->lanes[i]; first != NULL;
             first = first->lane.chain) {
            if (first->lane.under_way && first->deadline_ms > deadline_ms)
                first->deadline_ms = deadline_ms;
        }
    }
}
