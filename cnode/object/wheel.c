#include "wheel.h"

#include <assert.h>

void wheel_init(struct wheel *wheel, uint64_t granularity_ms)
{
    assert(granularity_ms > 0);
    wheel->granularity_ms = granularity_ms;
    wheel->cursor = 0;
    wheel->nearest = 0;
    for (unsigned i = 0; i < WHEEL_TICKS; i++)
        list_init(&wheel->ticks[i]);
}

void wheel_insert(struct wheel *wheel, struct link *link, uint64_t due_ms)
{
    uint64_t tick = due_ms / wheel->granularity_ms + (due_ms % wheel->granularity_ms != 0);
    if (tick < wheel->cursor)
        tick = wheel->cursor;
    if (tick - wheel->cursor >= WHEEL_TICKS)
        tick = wheel->cursor + WHEEL_TICKS - 1;
    if (tick < wheel->nearest)
        wheel->nearest = tick;
    list_append(&wheel->ticks[tick % WHEEL_TICKS], link);
}

struct link *wheel_take(struct wheel *wheel, uint64_t now_ms)
{
    uint64_t now_tick = now_ms / wheel->granularity_ms;
    if (now_tick < wheel->cursor)
        return NULL;
    /* The ring is walked at most once, also after a long sleep: it holds nothing beyond. */
    for (unsigned walked = 0; walked < WHEEL_TICKS; walked++) {
        struct link *link = list_first(&wheel->ticks[wheel->cursor % WHEEL_TICKS]);
        if (link) {
            list_remove(link);
            return link;
        }
        if (wheel->cursor == now_tick)
            return NULL;
        wheel->cursor++;
    }
    wheel->cursor = now_tick;
    return NULL;
}

struct link *wheel_peek(struct wheel *wheel, uint64_t *tick)
{
    if (wheel->nearest < wheel->cursor)
        wheel->nearest = wheel->cursor;
    for (; wheel->nearest < wheel->cursor + WHEEL_TICKS; wheel->nearest++) {
        struct link *link = list_first(&wheel->ticks[wheel->nearest % WHEEL_TICKS]);
        if (link) {
            *tick = wheel->nearest;
            return link;
        }
    }
    return NULL;
}

uint64_t wheel_next_ms(const struct wheel *wheel, uint64_t now_ms)
{
    for (uint64_t tick = wheel->cursor; tick < wheel->cursor + WHEEL_TICKS; tick++) {
        if (!list_is_empty(&wheel->ticks[tick % WHEEL_TICKS])) {
            uint64_t due_ms = tick * wheel->granularity_ms;
            return due_ms > now_ms ? due_ms - now_ms : 0;
        }
    }
    return UINT64_MAX;
}

void wheel_take_all(struct wheel *wheel, struct link *list)
{
    for (uint64_t tick = wheel->cursor; tick < wheel->cursor + WHEEL_TICKS; tick++)
        list_take_all(list, &wheel->ticks[tick % WHEEL_TICKS]);
}
