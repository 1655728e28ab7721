/* Ids that come and go: adopted, given up, abandoned. */
#include <assert.h>

#include "inside.h"

/* Is it a new write already? Else it is being compared after all. */
static bool is_written(struct holdings *h, struct slice id)
{
    struct version version;
    struct value value;
    bool deleted;
    return store_peek_dirty(h->store, id, &version, &value, &deleted);
}

/* R7. Without a copy there is nothing for the store to know until something is asked: a read loads,
 * a write needs no load. If nothing is, it is not owned for long. */
int parting_adopt(void *context, struct slice id, struct cluster_epoch epoch,
    const struct cluster_copy *copy, bool complete)
{
    struct holdings *h = context;
    (void)epoch; /* the store asks for it */
    if (!copy)
        return holdings_check_later(h, id) ? 0 : BRAIN_ENOMEM;
    if (!unbacked_reserve(h, id))
        return BRAIN_ENOMEM;
    unbacked_compare(h, id);
    h->depth++;
    int status = store_adopt(
        h->store, id, copy->version, copy->deleted ? NULL : &copy->value, complete, h->now_ms);
    h->depth--;
    if (status != 0)
        unbacked_forget(h, id);
    else if (complete && is_written(h, id))
        unbacked_compared(h, id); /* there is nothing to compare */
    return status;
}

/* ---- giving up one ----------------------------------------------------------------------------
 */

/* CLUSTER_PART_CARELESSLY, which only the simulator asks for: those who wait for holders are told
 * as if these had answered. */
enum cluster_parted parting_give_up(
    void *context, struct slice id, enum cluster_parting parting, struct cluster_copy *copy)
{
    struct holdings *h = context;
    const struct unbacked *entry = unbacked_find(h, id);
    if (entry && !list_is_empty(&entry->waiting) &&
        (parting == CLUSTER_PART_POLITELY || holdings_keeps(h, CLUSTER_R13_RELEASE)))
        return CLUSTER_BUSY;
    struct record *record = NULL; /* memory first: what is given up must not be lost for it */
    if (h->events.record_dead && !(record = record_create(h, id)))
        return CLUSTER_BUSY;
    h->depth++;
    enum store_parted parted =
        store_part(h->store, id, &copy->version, &copy->value, &copy->deleted);
    h->depth--;
    if (parted == STORE_GONE_DIRTY && record) {
        record_keep(h, record, copy->version, copy->version.seq);
        record = NULL;
    }
    heap_release(record);
    if (parted == STORE_BUSY)
        return CLUSTER_BUSY;
    unbacked_forget(h, id);
    return parted == STORE_GONE_DIRTY ? CLUSTER_GONE_DIRTY : CLUSTER_GONE_CLEAN;
}

/* ---- giving up everything ---------------------------------------------------------------------
 */

static void keep(
    void *member, struct slice id, struct version version, const struct value *value, bool recorded)
{
    struct holdings *h = member;
    struct cluster_copy copy = {version, value == NULL, value_none()};
    recorded = recorded && h->events.record_dead;
    if (recorded) {
        struct record *record = record_create(h, id);
        if (record)
            record_keep(h, record, version, version.seq);
        else
            h->metrics.records_left++; /* it stays live until the next start brings it back */
    }
    if (value)
        copy.value = value->block ? value_hold(*value) : value_copy(value_slice(*value));
    if (!value || copy.value.block) /* else others hold it, or the journal */
        cluster_keep_copy(h->cluster, id, &copy, h->now_ms);
    value_drop(&copy.value);
    if (recorded)
        record_compare(h, id);
}

bool parting_abandon(void *context, uint32_t budget)
{
    struct holdings *h = context;
    h->depth++;
    bool done = store_abandon(h->store, budget, h->now_ms, keep);
    done = done && unbacked_abandon(h, &budget);
    h->depth--;
    if (done)
        buffer_clear(&h->put_off); /* of what is owned no more */
    return done;
}
