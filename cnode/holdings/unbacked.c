/* R6, R11, R7: versions that wait for their holders, and who waits for them. An object has an entry
 * here while a version of it that needs holders has none yet, or somebody waits; so there is none
 * in a cluster of one, and few in others. */
#include <assert.h>

#include "inside.h"

static struct unbacked *entry_of(struct id_node *node)
{
    return (struct unbacked *)(void *)node;
}

struct unbacked *unbacked_find_hashed(const struct holdings *h, struct slice id, uint64_t hash)
{
    return entry_of(id_table_find(&h->unbacked, hash, id));
}

struct unbacked *unbacked_find(const struct holdings *h, struct slice id)
{
    return h->unbacked.count == 0 ? NULL : unbacked_find_hashed(h, id, hash_of(h, id));
}

/* ---- entries ----------------------------------------------------------------------------------
 */

bool unbacked_reserve(struct holdings *h, struct slice id)
{
    enum { USUAL = 40 };
    struct unbacked *spare = h->spare_unbacked;
    if (spare && spare->capacity >= id.size)
        return true;
    size_t capacity = id.size > USUAL ? id.size : USUAL;
    spare = heap_allocate(sizeof(*spare) + capacity);
    if (!spare)
        return false;
    spare->capacity = (uint16_t)capacity;
    heap_release(h->spare_unbacked);
    h->spare_unbacked = spare;
    return true;
}

static struct unbacked *obtain(struct holdings *h, struct slice id)
{
    struct unbacked *entry = unbacked_find(h, id);
    if (entry)
        return entry;
    entry = h->spare_unbacked;
    assert(entry && entry->capacity >= id.size); /* reserved */
    h->spare_unbacked = NULL;
    uint16_t capacity = entry->capacity;
    *entry = (struct unbacked){.capacity = capacity};
    memcpy(entry->id, id.data, id.size);
    entry->node =
        (struct id_node){.hash = hash_of(h, id), .id = entry->id, .id_size = (uint16_t)id.size};
    list_init(&entry->ready);
    list_init(&entry->waiting);
    id_table_insert(&h->unbacked, &entry->node);
    h->metrics.unbacked = h->unbacked.count;
    return entry;
}

static void discard(struct holdings *h, struct unbacked *entry)
{
    assert(list_is_empty(&entry->waiting) && !entry->pinned);
    list_remove(&entry->ready);
    id_table_remove(&h->unbacked, &entry->node);
    h->metrics.unbacked = h->unbacked.count;
    if (!h->spare_unbacked)
        h->spare_unbacked = entry;
    else
        heap_release(entry);
}

static bool is_reached(const struct unbacked *entry)
{
    return version_reaches(entry->reached, entry->needed);
}

/* Something of it changed: it may have answers to give, or be of no use any more. */
static void review(struct holdings *h, struct unbacked *entry)
{
    if (!list_is_empty(&entry->waiting)) {
        if (list_is_empty(&entry->ready))
            list_append(&h->ready, &entry->ready);
    } else if (is_reached(entry) && !entry->comparing && !entry->pinned) {
        discard(h, entry);
    }
}

/* ---- what is told -----------------------------------------------------------------------------
 */

void unbacked_written(
    struct holdings *h, struct slice id, struct version version, bool needed, int holders)
{
    struct unbacked *entry = unbacked_find(h, id);
    bool waits = needed && holders != 0;
    if (!entry && !waits)
        return;
    if (!entry)
        entry = obtain(h, id);
    entry->newest = version;
    /* While it is compared, a read may see the copy, whatever was written meanwhile. */
    if (waits || (entry->comparing && holders != 0))
        entry->needed = version;
    if (holders == 0)
        entry->reached = version;
    review(h, entry);
}

void unbacked_compare(struct holdings *h, struct slice id)
{
    obtain(h, id)->comparing = true;
}

void unbacked_reached(struct holdings *h, struct slice id, struct version version, bool warehouse)
{
    struct unbacked *entry = unbacked_find(h, id);
    if (!entry)
        return;
    if (warehouse)
        entry->comparing = false;
    if (version_compare(version, entry->reached) > 0)
        entry->reached = version;
    review(h, entry);
}

void unbacked_compared(struct holdings *h, struct slice id)
{
    struct unbacked *entry = unbacked_find(h, id);
    if (!entry)
        return;
    entry->comparing = false;
    review(h, entry);
}

/* Of a former ownership: what is written since has told its own version, which is newer. */
void unbacked_superseded(struct holdings *h, struct slice id)
{
    struct unbacked *entry = unbacked_find(h, id);
    if (!entry)
        return;
    entry->needed = (struct version){0, 0, 0};
    review(h, entry);
}

void unbacked_forget(struct holdings *h, struct slice id)
{
    struct unbacked *entry = unbacked_find(h, id);
    if (!entry)
        return;
    entry->comparing = false;
    if (!is_reached(entry))
        entry->reached = entry->needed;
    review(h, entry);
}

/* ---- who waits --------------------------------------------------------------------------------
 */

struct version unbacked_need_of_any(const struct holdings *h, const struct unbacked *entry)
{
    static const struct version none;
    bool waits = entry && !is_reached(entry) && holdings_keeps(h, CLUSTER_R11_VERSION);
    return waits ? entry->needed : none;
}

struct version unbacked_need_of_newest(const struct holdings *h, const struct unbacked *entry)
{
    static const struct version none;
    bool needed = entry && version_compare(entry->needed, entry->newest) == 0;
    return needed ? unbacked_need_of_any(h, entry) : none;
}

bool unbacked_blocks(const struct holdings *h, const struct unbacked *entry)
{
    return entry->reads > 0 || !version_is_none(unbacked_need_of_newest(h, entry));
}

void unbacked_wait(
    struct holdings *h, struct unbacked *entry, struct execution *execution, struct version needs)
{
    execution->entry = entry;
    execution->needs = needs;
    list_append(&entry->waiting, &execution->in_entry);
    entry->reads += is_read(execution->request);
    h->metrics.awaiting_backup++;
    if (version_reaches(entry->reached, needs))
        review(h, entry);
}

void unbacked_leave(struct holdings *h, struct execution *execution)
{
    struct unbacked *entry = execution->entry;
    list_remove(&execution->in_entry);
    execution->entry = NULL;
    entry->reads -= is_read(execution->request);
    h->metrics.awaiting_backup--;
    review(h, entry);
}

/* Reads in order; a write waits for nobody. Behind a write that waits are none for earlier
 * versions.
 */
static struct execution *first_reached(const struct unbacked *entry)
{
    bool read_before = false, write_before = false;
    struct link *link = entry->waiting.next;
    for (; link != &entry->waiting && !(read_before && write_before); link = link->next) {
        struct execution *execution = list_entry(link, struct execution, in_entry);
        bool read = is_read(execution->request);
        if (version_reaches(entry->reached, execution->needs) && !(read && read_before))
            return execution;
        read_before |= read;
        write_before |= !read;
    }
    return NULL;
}

static void answer_reached(struct holdings *h, struct unbacked *entry)
{
    struct execution *execution;
    entry->pinned = true;
    while ((execution = first_reached(entry)) != NULL) {
        unbacked_leave(h, execution);
        int status = is_read(execution->request) ? execution->status : STORE_DONE;
        execution_finish(h, execution, status, &execution->value);
    }
    entry->pinned = false;
    list_remove(&entry->ready);
    if (list_is_empty(&entry->waiting))
        review(h, entry);
}

void unbacked_flush(struct holdings *h)
{
    struct link now, *link; /* an answer may bring requests that are ready at once: another time */
    list_init(&now);
    list_take_all(&now, &h->ready);
    while ((link = list_first(&now)) != NULL) {
        list_remove(link);
        answer_reached(h, list_entry(link, struct unbacked, ready));
    }
}

/* ---- the end ----------------------------------------------------------------------------------
 */

bool unbacked_abandon(struct holdings *h, uint32_t *budget)
{
    struct id_node *node;
    while ((node = id_table_any(&h->unbacked)) != NULL) {
        struct unbacked *entry = entry_of(node);
        struct link *link;
        entry->comparing = false;
        entry->pinned = true;
        while (*budget > 0 && (link = list_first(&entry->waiting)) != NULL) {
            struct execution *execution = list_entry(link, struct execution, in_entry);
            --*budget;
            unbacked_leave(h, execution);
            execution_finish(h, execution, execution_abandoned(execution->request), NULL);
        }
        entry->pinned = false;
        if (*budget == 0)
            return false;
        --*budget;
        discard(h, entry);
    }
    return true;
}

void unbacked_release(struct holdings *h)
{
    struct id_node *node;
    while ((node = id_table_any(&h->unbacked)) != NULL)
        discard(h, entry_of(node));
    heap_release(h->spare_unbacked);
    h->spare_unbacked = NULL;
}
