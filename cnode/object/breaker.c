/* The breaker: while the warehouse fails, dumps pause and one at a time is tried. What waits for a
 * retry then needs no struct object of its own: a million dirty objects cost what they cost when
 * all is well, and the pace of the tries is the same however many there are. */
#include "store_inside.h"

bool breaker_allows(const struct store *store)
{
    return !store->breaker_open ||
           (store->metrics.persisting == 0 && store->now_ms >= store->breaker_probe_at_ms);
}

void breaker_succeeded(struct store *store)
{
    store->breaker_open = false;
    store->breaker_failures = 0;
    store->breaker_probes = 0;
}

/* Twice as long after each probe, a random part between a half and all of it. */
static uint64_t probe_delay_ms(struct store *store)
{
    uint64_t delay_ms = store->options.retry_min_ms, longest_ms = store->options.retry_max_ms;
    unsigned doublings = store->draining ? 0 : store->breaker_probes;
    while (doublings-- > 0 && delay_ms < longest_ms)
        delay_ms = delay_ms <= longest_ms / 2 ? delay_ms * 2 : longest_ms;
    return delay_ms - store_random(store) % (delay_ms / 2 + 1);
}

bool breaker_failed(struct store *store)
{
    if (store->options.breaker_failures == 0)
        return false;
    if (store->breaker_open)
        store->breaker_probes += store->breaker_probes < 64;
    else if (++store->breaker_failures >= store->options.breaker_failures)
        store->breaker_open = true;
    else
        return false;
    store->breaker_probe_at_ms = store->now_ms + probe_delay_ms(store);
    return true;
}

/* To where dirty items wait for their turn, however lately it was used: its turn has been. */
static void shelve(struct store *store, struct object *object)
{
    object_let_go(store, object);
    object->soon = false;
    object_settle(store, object, store->now_ms);
}

void breaker_tell(struct store *store, int status)
{
    /* Those that stand there now: an answer may bring new ones. */
    struct link waiting;
    list_init(&waiting);
    list_take_all(&waiting, &store->ready);
    list_take_all(&waiting, &store->unrecorded);
    list_take_all(&waiting, &store->urgent);
    struct link *link;
    while ((link = list_first(&waiting)) != NULL) {
        struct object *object = list_entry(link, struct object, link);
        object_let_go(store, object);
        object->soon = false;
        object->guarded = false;
        if (object->failures == 0)
            object->failures = 1;
        object->pins++;
        store_forget_guard(object, UINT64_MAX);
        store_answer_persists(store, object, true, status);
        store_release_reads(store, object);
        object_unpin(store, object, store->now_ms);
    }
}

void breaker_shelve(struct store *store, uint32_t *budget)
{
    struct link *link;
    uint64_t tick;
    while (*budget > 0 && ((link = list_first(&store->ready)) != NULL ||
                              (link = list_first(&store->retries)) != NULL ||
                              (link = wheel_peek(&store->backoff, &tick)) != NULL)) {
        --*budget;
        shelve(store, list_entry(link, struct object, link));
    }
}

uint64_t breaker_next_ms(const struct store *store)
{
    if (!store->breaker_open || store->metrics.persisting > 0 || !store_has_waiting_dumps(store))
        return UINT64_MAX;
    return store->breaker_probe_at_ms > store->now_ms ? store->breaker_probe_at_ms - store->now_ms
                                                      : 0;
}
