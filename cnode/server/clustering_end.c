/* How a member ends: it hands over, leaves, gives up what is left, and closes. */
#include <assert.h>

#include "clustering_inside.h"

void clustering_drain(struct clustering *clustering)
{
    clustering->draining = true;
    if (!clustering->took_part) {
        clustering_leave(clustering);
        return;
    }
    if (clustering->cluster != NULL)
        cluster_drain(clustering->cluster, clustering_now(clustering));
    clustering_touch(clustering);
}

bool clustering_is_drained(struct clustering *clustering)
{
    if (clustering->cluster == NULL || clustering->managers == NULL)
        return true;
    switch (cluster_state(clustering->cluster)) {
    case CLUSTER_DRAINED:
        return clustering->replica == NULL || replica_is_heard(clustering->replica);
    case CLUSTER_OUT:
        /* Never a member: nothing was answered, what the journal brought back is still in it. */
        return !clustering->took_part ||
               cluster_metrics(clustering->cluster, managers_now_ms())->copies == 0;
    case CLUSTER_ABANDONING:
    case CLUSTER_IN:
        break;
    }
    return false;
}

void clustering_left_nothing(struct clustering *clustering)
{
    /* Who has not taken part leaves behind what the process before it did: others may still have
     * what this one was waiting for. */
    if (!clustering->took_part)
        return;
    clustering->left_nothing = true;
    lease_keeper_note_members(&clustering->lease_keeper, slice_of(NULL, 0));
}

bool clustering_is_out(const struct clustering *clustering)
{
    return clustering->cluster == NULL || cluster_state(clustering->cluster) == CLUSTER_OUT;
}

bool clustering_hands_over(const struct clustering *clustering)
{
    return clustering->cluster != NULL && clustering->config->backups > 0 &&
           clustering->members.view.count > 1 && cluster_state(clustering->cluster) == CLUSTER_IN;
}

void clustering_left_over(struct clustering *clustering, uint64_t *owned, uint64_t *copies)
{
    *owned = *copies = 0;
    if (clustering->cluster == NULL)
        return;
    const struct cluster_metrics *metrics = cluster_metrics(clustering->cluster, managers_now_ms());
    *owned = metrics->owned;
    *copies = metrics->copies;
}

void clustering_leave(struct clustering *clustering)
{
    clustering->leaving = true;
    clustering->rejoin = clustering->joining = false;
    if (clustering->managers == NULL) {
        clustering->left = true;
        return;
    }
    clustering->storage->lease_until_ms = 0;
    if (!clustering_is_out(clustering))
        cluster_lost(clustering->cluster, clustering_now(clustering));
    clustering_touch(clustering);
    uv_timer_start(&clustering->timer, clustering_on_timer, 0, 0);
}

/* In one go: it is the end, and what is owned by now is what could not be given up otherwise. */
static void give_up_all(struct clustering *clustering)
{
    const uint64_t now_ms = clustering_now(clustering);
    cluster_lost(clustering->cluster, now_ms);
    while (cluster_state(clustering->cluster) == CLUSTER_ABANDONING)
        cluster_advance(clustering->cluster, now_ms, CLUSTERING_ADVANCE_BUDGET);
    holdings_settle(clustering->holdings, now_ms);
}

void clustering_stop(struct clustering *clustering)
{
    if (clustering->cluster != NULL) {
        give_up_all(clustering);
        routing_refuse_all(&clustering->routing, BRAIN_ESHUTDOWN);
    }
    clustering->stopped = true;
    if (clustering->peers != NULL)
        peers_destroy(clustering->peers);
    clustering->peers = NULL;
    uv_prepare_stop(&clustering->turn);
    uv_timer_stop(&clustering->timer);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct clustering *clustering = handle->data;
    clustering->closed(clustering->context);
}

static void on_turn_closed(uv_handle_t *handle)
{
    struct clustering *clustering = handle->data;
    uv_close((uv_handle_t *)&clustering->timer, on_timer_closed);
}

static void on_managers_closed(void *context)
{
    struct clustering *clustering = context;
    clustering->managers = NULL;
    uv_close((uv_handle_t *)&clustering->turn, on_turn_closed);
}

void clustering_release(struct clustering *clustering, void (*closed)(void *context), void *context)
{
    clustering->closed = closed;
    clustering->context = context;
    assert(clustering->cluster == NULL);
    replica_destroy(clustering->replica);
    clustering->replica = NULL;
    if (clustering->holdings != NULL)
        holdings_destroy(clustering->holdings);
    clustering->holdings = NULL;
    members_release(&clustering->members);
    returning_release(&clustering->returning);
    heap_release(clustering->password);
    clustering->password = NULL;
    if (clustering->managers != NULL)
        managers_close(clustering->managers, on_managers_closed);
    else
        on_managers_closed(clustering);
}
