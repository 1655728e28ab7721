/* What time asks for. */
#include "inside.h"

static uint64_t places_advance(struct cluster *c, uint32_t *budget)
{
    struct link *link;
    while ((link = list_first(&c->wake)) != NULL) {
        if (*budget == 0)
            return 0;
        --*budget;
        struct cluster_place *place = list_entry(link, struct cluster_place, timer);
        list_remove(link);
        if (place->stage == PLACE_RESTING)
            place_pump(c, place);
        else
            place_wait(c, place);
    }
    while ((link = list_first(&c->timers)) != NULL) {
        struct cluster_place *place = list_entry(link, struct cluster_place, timer);
        uint64_t due = place->sent_ms + c->options.retry_ms;
        if (due > c->now_ms)
            return due - c->now_ms;
        if (*budget == 0)
            return 0;
        --*budget;
        place_retry(c, place);
    }
    return list_is_empty(&c->wake) ? UINT64_MAX : 0;
}

static void sooner(uint64_t *wait, uint64_t other)
{
    if (other < *wait)
        *wait = other;
}

uint64_t cluster_advance(struct cluster *c, uint64_t now_ms, uint32_t budget)
{
    c->now_ms = now_ms;
    copies_clock(c);
    if (c->state == CLUSTER_ABANDONING && !lost_advance(c, budget))
        return 0;
    uint64_t wait = requests_advance(c, &budget);
    if (c->state != CLUSTER_IN || !c->view)
        return wait;
    if (!serves(c))
        c->fenced = true;
    sooner(&wait, places_advance(c, &budget));
    if (c->state == CLUSTER_IN)
        sooner(&wait, reports_advance(c));
    if (c->state == CLUSTER_IN)
        sooner(&wait, liveness_advance(c));
    if (c->state == CLUSTER_IN)
        sooner(&wait, room_advance(c));
    if (c->state == CLUSTER_IN)
        sooner(&wait, dirty_advance(c, &budget));
    if (c->state == CLUSTER_IN)
        sooner(&wait, copies_advance(c, &budget));
    if (c->state == CLUSTER_IN)
        sooner(&wait, handoff_advance(c, &budget));
    sooner(&wait, c->options.retry_ms);
    return wait;
}
