/* R1, R13: journal records kept for copies. What was given up dirty is a copy of the core's from
 * then on, and its record brings it back as one after a crash: until the core has it no more, or
 * has a newer one, or the id is owned here again and was written, or found in the warehouse.
 *
 * Compaction writes such a record again, from the core's copy, under a new number and with the old
 * version: it is the same write; and with the old age: that it is written again does not mean that
 * its owner wants it (R10). */
#include "inside.h"

static struct record *record_of(struct id_node *node)
{
    return (struct record *)(void *)node;
}

static struct record *find(const struct holdings *h, struct slice id)
{
    return h->records.count == 0 ? NULL : record_of(id_table_find(&h->records, hash_of(h, id), id));
}

struct record *record_create(struct holdings *h, struct slice id)
{
    struct record *record = heap_allocate(sizeof(*record) + id.size);
    if (!record)
        return NULL;
    *record = (struct record){.version = {0, 0, 0}};
    memcpy(record->id, id.data, id.size);
    record->node =
        (struct id_node){.hash = hash_of(h, id), .id = record->id, .id_size = (uint16_t)id.size};
    return record;
}

static void forget(struct holdings *h, struct record *record)
{
    id_table_remove(&h->records, &record->node);
    h->metrics.records_kept = h->records.count;
    heap_release(record);
}

static void bury(struct holdings *h, struct record *record)
{
    uint64_t seq = record->seq;
    forget(h, record);
    h->events.record_dead(h->events.context, seq);
}

void record_keep(struct holdings *h, struct record *record, struct version version, uint64_t seq)
{
    struct record *before = find(h, id_node_id(&record->node));
    record->version = version;
    record->seq = seq;
    if (before && before->seq == seq)
        forget(h, before);
    else if (before)
        bury(h, before);
    id_table_insert(&h->records, &record->node);
    h->metrics.records_kept = h->records.count;
}

void record_compare(struct holdings *h, struct slice id)
{
    struct record *record = find(h, id);
    struct cluster_copy copy;
    /* No copy at all: the core had no memory for it. Then the record is all there is. */
    if (record && cluster_copy_held(h->cluster, id, &copy) &&
        version_compare(copy.version, record->version) > 0)
        bury(h, record);
}

void record_superseded(struct holdings *h, struct slice id, struct version version)
{
    struct record *record = find(h, id);
    if (record && version_reaches(version, record->version))
        bury(h, record);
}

void holdings_copy_changed(struct holdings *h, struct slice id, const struct cluster_copy *copy)
{
    struct record *record = find(h, id);
    if (record && (!copy || version_compare(copy->version, record->version) > 0))
        bury(h, record);
}

/* ---- compaction -------------------------------------------------------------------------------
 */

static void rewrite(void *context, struct id_node *node)
{
    struct holdings *h = context;
    struct record *record = record_of(node);
    struct cluster_copy copy;
    h->rewrite_looked++;
    if (h->rewrite_refused || record->seq < h->rewrite_first || record->seq > h->rewrite_last)
        return;
    /* No copy: the core had no memory for it, so the record stays where it is. */
    if (!cluster_copy_held(h->cluster, id_node_id(node), &copy) ||
        version_compare(copy.version, record->version) != 0)
        return;
    const uint64_t age_ms = cluster_copy_age(h->cluster, id_node_id(node), h->now_ms);
    uint64_t seq = store_take_seq(h->store), old_seq = record->seq;
    if (h->events.record(h->events.context, seq, age_ms, id_node_id(node), copy.version,
            copy.deleted ? NULL : &copy.value) != 0) {
        h->rewrite_refused = true;
        return;
    }
    record->seq = seq;
    h->metrics.records_rewritten++;
    h->events.record_live(h->events.context, seq);
    h->events.record_dead(h->events.context, old_seq);
}

bool holdings_may_rewrite(const struct holdings *h, uint64_t now_ms)
{
    return cluster_serves(h->cluster, now_ms);
}

bool holdings_rewrite(struct holdings *h, uint64_t first_seq, uint64_t last_seq, uint32_t budget)
{
    if (h->rewrite_first != first_seq || h->rewrite_last != last_seq) {
        h->rewrite_first = first_seq;
        h->rewrite_last = last_seq;
        h->rewrite_cursor = (struct id_cursor){0, 0, 0};
    }
    h->rewrite_looked = 0;
    h->rewrite_refused = false;
    bool more = h->records.count > 0;
    while (more && !h->rewrite_refused && h->rewrite_looked < budget) {
        more = id_table_visit(&h->records, &h->rewrite_cursor, rewrite, h);
        h->rewrite_looked++; /* an empty bucket is looked at, too */
    }
    if (more && !h->rewrite_refused)
        return true;
    h->rewrite_first = 1;
    h->rewrite_last = 0;
    return false;
}

/* ---- start ------------------------------------------------------------------------------------
 */

int holdings_restore(struct holdings *h, uint64_t seq, struct slice id, struct version version,
    const struct value *value, uint64_t age_ms, uint64_t now_ms)
{
    holdings_see(h, now_ms);
    const struct record *before = find(h, id);
    if (before && before->seq == seq) { /* it is in two segments */
        h->events.record_dead(h->events.context, seq);
        return 0;
    }
    struct value kept = value_none();
    if (value) {
        kept = value->block ? value_hold(*value) : value_copy(value_slice(*value));
        if (!kept.block)
            return BRAIN_ENOMEM;
    }
    struct record *record = record_create(h, id);
    struct cluster_copy copy = {version, value == NULL, kept}, held;
    int status = record ? cluster_restore(h->cluster, id, &copy, age_ms) : BRAIN_ENOMEM;
    value_drop(&kept);
    if (status != 0) {
        heap_release(record);
        return status;
    }
    if (!cluster_copy_held(h->cluster, id, &held) || version_compare(held.version, version) != 0) {
        /* Set aside as too old, or there is a later one. */
        heap_release(record);
        if (h->events.record_dead)
            h->events.record_dead(h->events.context, seq);
    } else if (h->events.record_dead) {
        record_keep(h, record, version, seq);
    } else {
        heap_release(record);
    }
    return 0;
}

void records_release(struct holdings *h)
{
    struct id_node *node;
    while ((node = id_table_any(&h->records)) != NULL)
        forget(h, record_of(node));
}
