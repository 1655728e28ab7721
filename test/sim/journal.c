/* The journal of a node: what include/brain/journal.h promises, with what cnode/server/journaling.c
 * makes of the store's events. It outlives the process, but for what was not appended yet; and the
 * machine, but for what was not synced. What is dead is found again as long as its segment is
 * there. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { SYNC_US = 100000, RETRY_US = 100000, OPEN_US = 200000 };
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

static void trim(struct node *node)
{
    struct journal *journal = &node->journal;
    uint64_t durable = 0;
    if (journal->replaying)
        return;
    for (size_t i = 0; i < journal->count; i++) {
        if (is_durable(node->world, &journal->records[i]))
            durable = journal->records[i].seq;
    }
    const uint64_t through = ledger_trim(&journal->ledger, durable);
    size_t gone = 0;
    while (gone < journal->count && journal->records[gone].segment <= through)
        gone++;
    remove_first(journal, gone);
}

/* The simulator's wall clocks agree. 0 would be a time that is not known. */
static uint64_t wall_ms(const struct node *node)
{
    return 1 + node->world->now_us / 1000;
}

static void begin_segment(struct node *node)
{
    uint64_t ordinal;
    if (ledger_begin(&node->journal.ledger, wall_ms(node), &ordinal) != 0)
        world_fail(node->world, "memory", "ledger_begin");
    node->journal.in_segment = 0;
}

/* ---- writes ------------------------------------------------------------------------------------
 */

static void announce_live(struct journal *journal)
{
    struct journal_record *record = journal->last_live ? find(journal, journal->last_live) : NULL;
    if (record) {
        record->live = true;
        ledger_live(&journal->ledger, record->seq);
    }
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

int journal_record(struct node *node, uint64_t seq, const uint64_t *age_ms, struct slice id,
    struct version version, const struct value *value)
{
    struct journal *journal = &node->journal;
    if (!node->up || journal->failing)
        return BRAIN_EJOURNAL;
    assert(seq > journal->collected);
    announce_live(journal);
    if (journal->in_segment == node->world->plan.segment_records)
        begin_segment(node);
    journal->in_segment++;
    ledger_append(&journal->ledger, seq);
    const struct ledger_segment *current = ledger_current(&journal->ledger);
    const uint64_t now_ms = wall_ms(node);
    const uint64_t kept_ms = !age_ms ? 0 : *age_ms < now_ms ? now_ms - *age_ms : 1;
    *append(journal) = (struct journal_record){.seq = seq,
        .segment = current->ordinal,
        .begun_ms = current->begun_unix_ms,
        .kept_ms = kept_ms,
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
    struct journal_record *later = journal->last_live ? find(journal, journal->last_live) : NULL;
    if (later) {
        later->live = true;
        ledger_replace(&journal->ledger, seq, later->seq);
    } else {
        ledger_dead(&journal->ledger, seq);
    }
    journal->last_live = 0;
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
    ledger_release(&journal->ledger);
    free(journal->records);
    *journal = (struct journal){.count = 0};
}

/* ---- compaction --------------------------------------------------------------------------------
 */

/* As journaling_advance. */
void journal_advance(struct node *node)
{
    struct world *w = node->world;
    struct journal *journal = &node->journal;
    const bool by_age = sim_keeps(w, SIM_R10_SEGMENT);
    const uint64_t keep_ms = by_age ? w->plan.tombstone_keep_ms : 0;
    if (journal->failing || !holdings_may_rewrite(node->holdings, node_ms(node)))
        return;
    if (w->now_us - journal->open_until_us > OPEN_US)
        journal->open_since_us = w->now_us;
    journal->open_until_us = w->now_us;
    if (!journal->compaction.under_way) {
        if (by_age && compaction_is_stale(ledger_current(&journal->ledger)->begun_unix_ms,
                          wall_ms(node), keep_ms)) {
            announce_live(journal);
            begin_segment(node);
            trim(node);
        }
        const struct ledger_segment *oldest = ledger_oldest(&journal->ledger);
        if (!oldest)
            return;
        const struct compaction_case what = {.begun_unix_ms = oldest->begun_unix_ms,
            .first_seq = oldest->first_seq,
            .last_seq = oldest->last_seq,
            .live = oldest->live,
            .large =
                w->plan.journal_limit != 0 && journal->ledger.count > w->plan.journal_limit + 1,
            .tombstone_keep_ms = keep_ms,
            .unix_ms = wall_ms(node),
            .now_ms = node_ms(node)};
        if (!compaction_begin(&journal->compaction, &what))
            return;
        world_trace(w, "n%u compacts %llu of its journal, from %llu ms on", node->index,
            (unsigned long long)what.live, (unsigned long long)what.begun_unix_ms);
    }
    compaction_advance(
        &journal->compaction, node->store, node->holdings, world_chance(w, 200) ? 1 : 1000);
}

/* ---- starts ------------------------------------------------------------------------------------
 */

/* What was there stays in the segments that it was in, which get new ordinals. */
static void rebuild_ledger(struct node *node)
{
    struct journal *journal = &node->journal;
    uint64_t before = 0, ordinal = 0;
    ledger_release(&journal->ledger);
    for (size_t i = 0; i < journal->count; i++) {
        struct journal_record *record = &journal->records[i];
        if ((ordinal == 0 || record->segment != before) &&
            ledger_begin(&journal->ledger, record->begun_ms, &ordinal) != 0)
            world_fail(node->world, "memory", "ledger_begin");
        before = record->segment;
        record->segment = ordinal;
        record->live = true;
        ledger_append(&journal->ledger, record->seq);
        ledger_live(&journal->ledger, record->seq);
    }
    begin_segment(node);
    journal->compaction = (struct compaction){0};
    journal->last_live = 0;
}

/* R10: what was owned until the end counts as hardly older than that, or it would be set aside
 * though nobody else can have deleted it: an eighth of tombstone_keep, and what the node takes to
 * see it. Not of one that could not write, or was fenced, shortly before its end. */
static void check_age(
    const struct node *node, const struct journal_record *record, uint32_t id, uint64_t age_ms)
{
    enum { SLACK_MS = 2000 }; /* one segment goes after the other, when the journal has synced */
    const struct world *w = node->world;
    const struct journal *journal = &node->journal;
    const uint64_t keep_ms = w->plan.tombstone_keep_ms;
    if (record->seq == node->owned_seq[id] &&
        journal->open_until_us - journal->open_since_us > SLACK_MS * 1000 &&
        age_ms >
            (w->now_us - journal->open_until_us) / 1000 + keep_ms / 8 + keep_ms / 64 + SLACK_MS)
        world_fail(node->world, "R10", "n%u owned %s %llu ms ago, and its record is %llu ms old",
            node->index, w->id_text[id],
            (unsigned long long)((w->now_us - journal->open_until_us) / 1000),
            (unsigned long long)age_ms);
}

/* R1, R10: before the first join. Dead records are found too. */
void journal_replay(struct node *node, uint64_t lease_age_ms)
{
    struct world *w = node->world;
    struct journal *journal = &node->journal;
    uint64_t last = journal->count > 0 ? journal->records[journal->count - 1].seq : 0;
    rebuild_ledger(node);
    journal->failing = false;
    journal->replaying = true;
    for (size_t i = 0; i < journal->count; i++) {
        struct journal_record *record = &journal->records[i];
        struct stored stored;
        int status = stored_read(value_slice(record->form), slice_of(NULL, 0), &stored);
        assert(status == 0);
        struct value value = {NULL, stored.value.data, stored.value.size};
        uint64_t age_ms = lease_age_ms == UINT64_MAX ? 0 : lease_age_ms;
        if (lease_age_ms != UINT64_MAX && sim_keeps(w, SIM_R10_RECORD))
            age_ms = record_age(lease_age_ms, record->begun_ms, record->kept_ms, wall_ms(node));
        world_trace(w, "n%u replays %.*s@%llu.%llu.%llu: %u, %llu ms old", node->index,
            (int)stored.id.size, (const char *)stored.id.data,
            (unsigned long long)stored.version.view, (unsigned long long)stored.version.counter,
            (unsigned long long)stored.version.seq, stored.deleted ? 0 : world_number(&value),
            (unsigned long long)age_ms);
        check_age(node, record, (uint32_t)world_id(w, stored.id), age_ms);
        record->appended_us = 1; /* long ago */
        node->restoring_us = w->now_us > age_ms * 1000 ? w->now_us - age_ms * 1000 : 1;
        status = holdings_restore(node->holdings, record->seq, stored.id, stored.version,
            stored.deleted ? NULL : &value, age_ms, node_ms(node));
        if (status != 0)
            world_fail(w, "memory", "holdings_restore");
    }
    journal->replaying = false;
    node->restoring_us = 0;
    journal->collected = journal->submitted = last + SEQ_GAP;
    journal->last_us = 0;
    store_raise_seq(node->store, last + SEQ_GAP);
    trim(node);
}
