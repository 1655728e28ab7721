/* Private to clustering.c (views, the turn of the loop, start, reports), clustering_events.c and
 * clustering_end.c. */
#ifndef BRAIN_SERVER_CLUSTERING_INSIDE_H
#define BRAIN_SERVER_CLUSTERING_INSIDE_H

#include "clustering.h"

/* Pieces of work of the core in one turn of the loop; about a millisecond. */
enum { CLUSTERING_ADVANCE_BUDGET = 1000 };

/* The timer of the core: what time wants from it. */
void clustering_on_timer(uv_timer_t *timer);
/* Something happened: the core is given time at the end of this turn. */
void clustering_touch(struct clustering *clustering);
/* The time, told to holdings as well: before each call into the core. */
uint64_t clustering_now(struct clustering *clustering);
/* Installs the newest view, or joins with it. */
void clustering_install(struct clustering *clustering);
/* It has joined again, and is not yet to take part: fewer members are there than when it was lost.
 */
bool clustering_awaits_others(const struct clustering *clustering);
/* At most so long, once it has taken part before. */
uint64_t clustering_patience_ms(const struct clustering *clustering);

/* As cluster_events.send. */
void clustering_send(void *context, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail);
/* What core, peers and managers say (clustering_events.c). */
struct cluster_events clustering_core_events(struct clustering *clustering);
struct holdings_events clustering_holdings_events(struct clustering *clustering, bool journal);
struct peers_events clustering_peers_events(struct clustering *clustering);
void clustering_managers_event(void *context, const struct managers_event *event);

#endif
