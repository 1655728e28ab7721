/* The journal of a node: what include/brain/journal.h promises, with what cnode/server/journaling.c
 * makes of the store's events. It outlives the process, but for what was not appended yet; and the
 * machine, but for what was not synced. What is dead is found again as long as its segment is
 * there. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { SYNC_US = 100000, RETRY_US = 100000 };
/* journaling.c: numbers that a crash lost are not given again. */
static const uint64_t SEQ_GAP = UINT64_C(1) << 32;

static struct journal_record *find(struct journal *journal, uint64_t seq)
{
    for (size_t i = journal->count; i > 0; i--) {
        if (journal->records[i - 1].seq == seq)
            return &journal->records[i - 1];
    }
    return NULL;
}

static void remove_first(struct journal *journal, size_t count)
{
    for (size_t i = 0; i < count; i++)
        value_drop(&journal->records[i].form);
    journal->count -= count;
    if (count == 0)
        return;
    memmove(journal->records, journal->records + count, journal->count * sizeof(*journal->records));
}

/* Not synced within SYNC_US: nobody knows. */
static bool is_durable(const struct world *w, const struct journal_record *record)
{
    return record->appended_us != 0 && w->now_us - record->appended_us >= SYNC_US;
}

/* Segments go oldest first, when nothing in them is needed; never the current one. */
static void trim(struct node *node)
{
    struct journal *journal = &node->journal;
    uint64_t durable = 0;
    for (size_t i = 0; i < journal->count; i++) {
        if (is_durable(node->world, &journal->records[i]))
            durable = journal->records[i].seq;
    }
    size_t at = 0, whole = 0;
    while (at < journal->count) {
        const struct journal_record *record = &journal->records[at];
        if (record->segment == journal->segment || record->live || record->barrier > durable)
            break;
        at++;
        if (at == journal->count || journal->records[at].segment != record->segment)
            whole = at;
    }
    remove_first(journal, whole);
}

/* ---- writes ------------------------------------------------------------------------------------
 */

static void announce_live(struct journal *journal)
{
    struct journal_record *record = journal->last_live ? find(journal, journal->last_live) : NULL;
    if (record)
        record->live = true;
    journal->last_live = 0;
}

static struct journal_record *append(struct journal *journal)
{
    if (journal->count == journal->capacity) {
        journal->capacity = journal->capacity ? journal->capacity * 2 : 32;
        journal->records = realloc(journal->records, journal->capacity * sizeof(*journal->records));
        if (!journal->records)
            abort();
    }
    return &journal->records[journal->count++];
}

int journal_record(struct node *node, uint64_t seq, struct slice id, struct version version,
    const struct value *value)
{
    struct journal *journal = &node->journal;
    if (!node->up || journal->failing)
        return BRAIN_EJOURNAL;
    assert(seq > journal->collected);
    announce_live(journal);
    if (journal->in_segment == node->world->plan.segment_records) {
        journal->segment++;
        journal->in_segment = 0;
    }
    journal->in_segment++;
    *append(journal) = (struct journal_record){.seq = seq,
        .segment = journal->segment,
        .form = world_form(node->world, id, version, value)};
    journal->collected = seq;
    return 0;
}

void journal_live(struct node *node, uint64_t seq)
{
    if (!node->up)
        return;
    announce_live(&node->journal);
    node->journal.last_live = seq;
}

/* A death that comes right after a birth is a replacement: the old record stays until the new one
 * is durable. */
void journal_dead(struct node *node, uint64_t seq)
{
    struct journal *journal = &node->journal;
    if (!node->up)
        return;
    struct journal_record *record = find(journal, seq);
    if (!record || !record->live) {
        world_fail(node->world, "journal", "n%u: record %llu is dead, and was not live",
            node->index, (unsigned long long)seq);
        return;
    }
    record->live = false;
    record->barrier = journal->last_live;
    announce_live(journal);
    trim(node);
}

void journal_submit(struct node *node)
{
    struct world *w = node->world;
    struct journal *journal = &node->journal;
    announce_live(journal);
    if (journal->collected == journal->submitted)
        return;
    journal->submitted = journal->collected;
    uint64_t delay_us = 1 + world_random(w, w->plan.journal_us);
    if (!w->calm && world_chance(w, w->plan.journal_slow_chance))
        delay_us += world_random(w, w->plan.journal_slow_us);
    if (journal->last_us < w->now_us + delay_us)
        journal->last_us = w->now_us + delay_us;
    struct event *event = world_event(w, EVENT_JOURNAL, journal->last_us - w->now_us, node);
    event->a = journal->submitted;
}

/* The batch is there, or could not be appended: then it is tried again until it is. */
void journal_written(struct node *node, const struct event *event)
{
    struct world *w = node->world;
    struct journal *journal = &node->journal;
    uint64_t seq = event->a;
    bool again = event->b != 0;
    if (!w->calm && world_chance(w, w->plan.journal_error_chance)) {
        world_trace(w, "n%u: the journal fails", node->index);
        journal->failing = true;
        struct event *retry = world_event(w, EVENT_JOURNAL, RETRY_US, node);
        retry->a = seq;
        retry->b = 1;
        if (!again)
            store_written(node->store, seq, BRAIN_EJOURNAL, node_ms(node));
        return;
    }
    for (size_t i = 0; i < journal->count && journal->records[i].seq <= seq; i++) {
        if (journal->records[i].appended_us == 0)
            journal->records[i].appended_us = w->now_us;
    }
    journal->failing = false;
    store_written(node->store, seq, 0, node_ms(node));
    trim(node);
}

/* ---- crashes and starts -------------------------------------------------------------------------
 */

/* What was appended stays; of what follows any number from the first on; of what was not synced
 * too, when the machine went with it. */
void journal_crash(struct node *node, bool power)
{
    struct world *w = node->world;
    struct journal *journal = &node->journal;
    size_t sure = 0, possible = 0;
    announce_live(journal);
    while (sure < journal->count && (power ? is_durable(w, &journal->records[sure])
                                           : journal->records[sure].appended_us != 0))
        sure++;
    while (possible < journal->count && journal->records[possible].seq <= journal->submitted)
        possible++;
    size_t left = sure + (possible > sure ? world_random(w, possible - sure + 1) : 0);
    for (size_t i = left; i < journal->count; i++)
        value_drop(&journal->records[i].form);
    journal->count = left;
}

void journal_forget(struct node *node)
{
    struct journal *journal = &node->journal;
    remove_first(journal, journal->count);
    free(journal->records);
    *journal = (struct journal){.count = 0};
}

/* R1, R10: before the first join. Dead records are found too. */
void journal_replay(struct node *node, uint64_t age_ms)
{
    struct world *w = node->world;
    struct journal *journal = &node->journal;
    uint64_t last = journal->count > 0 ? journal->records[journal->count - 1].seq : 0;
    for (size_t i = 0; i < journal->count; i++) {
        journal->records[i].live = false;
        journal->records[i].barrier = 0;
    }
    journal->last_live = 0;
    for (size_t i = 0; i < journal->count; i++) {
        struct journal_record *record = &journal->records[i];
        struct stored stored;
        int status = stored_read(value_slice(record->form), slice_of(NULL, 0), &stored);
        assert(status == 0);
        struct value value = {NULL, stored.value.data, stored.value.size};
        world_trace(w, "n%u replays %.*s@%llu.%llu.%llu: %u", node->index, (int)stored.id.size,
            (const char *)stored.id.data, (unsigned long long)stored.version.view,
            (unsigned long long)stored.version.counter, (unsigned long long)stored.version.seq,
            stored.deleted ? 0 : world_number(&value));
        record->appended_us = 1; /* long ago */
        record->live = true;
        status = holdings_restore(node->holdings, record->seq, stored.id, stored.version,
            stored.deleted ? NULL : &value, age_ms, node_ms(node));
        if (status != 0)
            world_fail(w, "memory", "holdings_restore");
    }
    journal->segment++;
    journal->in_segment = 0;
    journal->failing = false;
    journal->collected = journal->submitted = last + SEQ_GAP;
    journal->last_us = 0;
    store_raise_seq(node->store, last + SEQ_GAP);
    trim(node);
}
