/* Objects of which all members hold replicas: who holds them is told of each version, and may have
 * to be waited for like holders of copies. */
#include "inside.h"

void holdings_replicate(struct holdings *h, const struct holdings_replicas *replicas)
{
    h->replicas = *replicas;
}

bool is_replicated(const struct holdings *h, struct slice id)
{
    return h->replicas.covers && h->replicas.covers(h->replicas.context, id);
}

bool replicated_written(struct holdings *h, struct slice id, struct version version,
    const struct value *value, enum replica_hold hold)
{
    if (!is_replicated(h, id))
        return false;
    int others = h->replicas.written(h->replicas.context, id, version, value, hold, h->now_ms);
    /* An error: they have not been told, so it must not be acknowledged. */
    return h->replicas.wait && others != 0;
}

bool replicated_lack(struct holdings *h, struct slice id, struct version version)
{
    return is_replicated(h, id) && !version_is_none(version) &&
           h->replicas.held(h->replicas.context, id, version, h->now_ms) && h->replicas.wait;
}

void replicated_stored(struct holdings *h, struct slice id, struct version version)
{
    if (is_replicated(h, id) && !version_is_none(version) &&
        !h->replicas.knows(h->replicas.context, id, version))
        holdings_tell_later(h, id, version);
}

/* A later version than the one loaded was told when it was written. What was given up since cannot
 * be told any more, but reads may have shown it. */
void replicated_loaded(struct holdings *h, struct slice id, struct version version)
{
    struct value value;
    struct version now;
    bool deleted;
    if (store_peek_dirty(h->store, id, &now, &value, &deleted))
        return;
    if (!store_peek_stored(h->store, id, &now) || version_compare(now, version) != 0 ||
        !cluster_owns(h->cluster, id, NULL)) {
        h->replicas.doubt(h->replicas.context, id, version);
        return;
    }
    int status = store_get(h->store, id, h->now_ms, &value, NULL);
    if (status == STORE_FOUND || status == STORE_ABSENT)
        (void)h->replicas.written(h->replicas.context, id, version,
            status == STORE_FOUND ? &value : NULL, REPLICA_IS_HELD, h->now_ms);
}

void holdings_replicated(struct holdings *h, struct slice id, struct version version)
{
    if (h->replicas.wait)
        unbacked_reached(h, id, version, false);
}

void holdings_superseded(struct holdings *h, struct slice id)
{
    unbacked_superseded(h, id);
}
