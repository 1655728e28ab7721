/* R1, R13: journal records kept for copies. What was given up dirty is a copy of the core's from
 * then on, and its record brings it back as one after a crash: until the core has it no more, or
 * has a newer one, or the id is owned here again and was written, or found in the warehouse. */
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
    uint64_t seq = record->version.seq;
    forget(h, record);
    h->events.record_dead(h->events.context, seq);
}

void record_keep(struct holdings *h, struct record *record, struct version version)
{
    struct record *before = find(h, id_node_id(&record->node));
    record->version = version;
    if (before && before->version.seq == version.seq)
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

int holdings_restore(struct holdings *h, struct slice id, struct version version,
    const struct value *value, uint64_t age_ms, uint64_t now_ms)
{
    holdings_see(h, now_ms);
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
            h->events.record_dead(h->events.context, version.seq);
    } else if (h->events.record_dead) {
        record_keep(h, record, version);
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
