/* See inside.h. Life of the struct, reads, what time asks for. */
#include "inside.h"

/* ---- life -------------------------------------------------------------------------------------
 */

/* What members must agree on, in words: prefixes in order, with commas, and write_wait. */
static int write_settings(struct replica *r)
{
    buffer_append_slice(&r->settings, slice_of_string("replicate = "));
    for (size_t i = 0; i < r->options.prefixes_count; i++) {
        if (i > 0)
            buffer_append_u8(&r->settings, ',');
        buffer_append_slice(&r->settings, r->prefixes[i]);
    }
    buffer_append_slice(&r->settings,
        slice_of_string(r->options.wait_all ? ", write_wait = all" : ", write_wait = owner"));
    if (r->settings.size > REPLICA_SETTINGS_LIMIT)
        return BRAIN_ETOOBIG;
    return buffer_status(&r->settings);
}

/* Each prefix in one allocation with its bytes. */
static int copy_prefixes(struct replica *r)
{
    const size_t count = r->options.prefixes_count;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += r->options.prefixes[i].size;
    r->prefixes = heap_allocate(count * sizeof(struct slice) + bytes + 1);
    if (r->prefixes == NULL)
        return BRAIN_ENOMEM;
    uint8_t *at = (uint8_t *)(r->prefixes + count);
    for (size_t i = 0; i < count; i++) {
        const struct slice prefix = r->options.prefixes[i];
        memcpy(at, prefix.data, prefix.size);
        r->prefixes[i] = slice_of(at, prefix.size);
        at += prefix.size;
    }
    r->options.prefixes = NULL;
    return 0;
}

struct replica *replica_create(const struct replica_options *options, struct replica_events events)
{
    struct replica *r = heap_allocate_zeroed(sizeof(*r));
    if (r == NULL)
        return NULL;
    r->options = *options;
    r->events = events;
    struct link *lists[] = {&r->told, &r->heard, &r->stale, &r->tombstones, &r->given_up,
        &r->spread, &r->waiting, &r->unheld, &r->peers};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        list_init(lists[i]);
    buffer_init(&r->settings);
    buffer_init(&r->out);
    if (copy_prefixes(r) != 0 || write_settings(r) != 0) {
        replica_destroy(r);
        return NULL;
    }
    return r;
}

static void sweep(struct replica *r, uint32_t *budget)
{
    struct link *link;
    while (*budget > 0 && (link = list_first(&r->stale)) != NULL) {
        --*budget;
        entry_free(r, list_entry(link, struct entry, mark.link));
    }
}

void replica_destroy(struct replica *r)
{
    uint32_t all = UINT32_MAX;
    if (r == NULL)
        return;
    replica_lost(r);
    list_take_all(&r->stale, &r->told);
    list_take_all(&r->stale, &r->heard);
    sweep(r, &all);
    peers_release(r);
    heap_release(r->spare_entry);
    heap_release(r->spare_telling);
    heap_release(r->prefixes);
    buffer_release(&r->settings);
    buffer_release(&r->out);
    heap_release(r);
}

const struct replica_metrics *replica_metrics(struct replica *r)
{
    r->metrics.objects = r->table.count;
    r->metrics.memory = r->memory;
    r->metrics.unacknowledged = r->tellings;
    return &r->metrics;
}

void replica_metrics_register(struct metrics_registry *registry, struct replica *r)
{
    const char *group = "replica";
    const struct replica_metrics *source = &r->metrics;
    REPLICA_METRICS(METRICS_ROW)
}

bool replica_covers(const struct replica *r, struct slice id)
{
    for (size_t i = 0; i < r->options.prefixes_count; i++) {
        const struct slice prefix = r->prefixes[i];
        if (id.size >= prefix.size && bytes_equal(id.data, prefix.data, prefix.size))
            return true;
    }
    return false;
}

/* ---- reads ------------------------------------------------------------------------------------
 */

static int found(struct replica *r, const struct entry *entry, struct value *value)
{
    if (entry->state == REPLICA_NONE)
        return STORE_WAIT;
    r->metrics.hits++;
    if (entry->state == REPLICA_DELETED)
        return STORE_ABSENT;
    *value = entry->value;
    return STORE_FOUND;
}

/* Was what is here told to all, by a member that is still there? */
static bool is_good(const struct replica *r, const struct entry *entry)
{
    if (entry->teller != NULL)
        return entry->teller->present || !keeps(r, RULE_REPLICA_GONE);
    if (entry->number <= r->unproven && keeps(r, RULE_REPLICA_UNPROVEN))
        return false;
    return may_be_shown(entry);
}

int replica_get(struct replica *r, struct slice id, struct value *value)
{
    const struct entry *entry = r->readable ? entry_find(r, id) : NULL;
    return entry != NULL && is_good(r, entry) ? found(r, entry, value) : STORE_WAIT;
}

int replica_get_weak(struct replica *r, struct slice id, struct value *value)
{
    const struct entry *entry = entry_find(r, id);
    return entry != NULL ? found(r, entry, value) : STORE_WAIT;
}

bool replica_knows(struct replica *r, struct slice id, struct version version)
{
    const struct entry *entry = r->in ? entry_find(r, id) : NULL;
    if (entry == NULL || !version_equal(entry->version, version))
        return false;
    if (entry->teller == NULL)
        return !entry->given_up && entry->number > r->unproven;
    return r->readable && is_good(r, entry);
}

void replica_doubt(struct replica *r, struct slice id, struct version version)
{
    struct entry *entry = r->in ? entry_find(r, id) : NULL;
    if (entry != NULL && version_compare(entry->version, version) < 0)
        entry_set(r, entry, entry->epoch, entry->version, REPLICA_NONE, value_none());
}

/* ---- time -------------------------------------------------------------------------------------
 */

/* Nothing that could bring the object back is under way any more. */
static void bury(struct replica *r, uint32_t *budget)
{
    struct link *link;
    while (*budget > 0 && (link = list_first(&r->tombstones)) != NULL) {
        struct entry *entry = list_entry(link, struct entry, dead);
        if (r->now_ms - entry->since_ms < r->options.tombstone_keep_ms)
            return;
        --*budget;
        if (entry->telling == NULL) {
            entry_free(r, entry);
            continue;
        }
        entry->since_ms = r->now_ms; /* somebody has not got it yet */
        list_remove(link);
        list_append(&r->tombstones, link);
    }
}

bool replica_is_heard(const struct replica *r)
{
    return list_is_empty(&r->waiting);
}

uint64_t replica_advance(struct replica *r, uint64_t now_ms, uint32_t budget)
{
    uint64_t wait_ms = UINT64_MAX, other;
    r->now_ms = now_ms;
    sweep(r, &budget);
    bury(r, &budget);
    if (r->overflowed && now_ms - r->overflowed_ms >= r->options.pause_ms)
        round_begin(r);
    if (r->in) {
        wait_ms = peers_advance(r, &budget);
        if (!spread_advance(r, &budget))
            wait_ms = 0;
        other = tellings_advance(r, &budget);
        wait_ms = other < wait_ms ? other : wait_ms;
    }
    if (!list_is_empty(&r->stale))
        wait_ms = 0;
    return wait_ms < r->options.retry_ms ? wait_ms : r->options.retry_ms;
}
