#include "store_inside.h"

struct waiter_line *waiters_line(struct waiter_line *records, const struct store_waiter *waiter)
{
    if (waiter->kind == WAITER_RECORD)
        return records;
    bool for_dump = waiter->kind == WAITER_PERSIST || waiter->kind == WAITER_STORED;
    return for_dump ? &waiter->object->persists : &waiter->object->reads;
}

void waiters_push(struct waiter_deadlines *deadlines, struct waiter_line *line,
    struct store_waiter *waiter, struct object *object, uint8_t kind, uint64_t deadline_ms)
{
    /* The order of arrival counts, whatever a caller's clock did. */
    if (deadlines->newest && deadlines->newest->deadline_ms > deadline_ms)
        deadline_ms = deadlines->newest->deadline_ms;
    waiter->object = object;
    waiter->kind = kind;
    waiter->state = 0;
    waiter->seq = 0;
    waiter->deadline_ms = deadline_ms;
    waiter->captured = value_none();
    waiter->next = NULL;
    waiter->older = deadlines->newest;
    waiter->newer = NULL;
    *(line->last ? &line->last->next : &line->first) = waiter;
    line->last = waiter;
    line->count++;
    *(deadlines->newest ? &deadlines->newest->newer : &deadlines->oldest) = waiter;
    deadlines->newest = waiter;
    deadlines->count++;
}

struct store_waiter *waiters_pop(struct waiter_deadlines *deadlines, struct waiter_line *line)
{
    struct store_waiter *waiter = line->first;
    if (!waiter)
        return NULL;
    line->first = waiter->next;
    if (!line->first)
        line->last = NULL;
    line->count--;
    *(waiter->older ? &waiter->older->newer : &deadlines->oldest) = waiter->newer;
    *(waiter->newer ? &waiter->newer->older : &deadlines->newest) = waiter->older;
    deadlines->count--;
    waiter->next = waiter->older = waiter->newer = NULL;
    waiter->object = NULL;
    return waiter;
}
