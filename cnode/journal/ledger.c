#include "ledger.h"

#include <assert.h>
#include <string.h>

void ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){.next_ordinal = 1};
}

void ledger_release(struct ledger *ledger)
{
    heap_release(ledger->segments);
    ledger_init(ledger);
}

int ledger_begin(struct ledger *ledger, uint64_t unix_ms, uint64_t *ordinal)
{
    if (ledger->count == ledger->capacity) {
        size_t capacity = ledger->capacity == 0 ? 16 : 2 * ledger->capacity;
        struct ledger_segment *segments =
            heap_resize(ledger->segments, capacity * sizeof(*segments));
        if (segments == NULL)
            return BRAIN_ENOMEM;
        ledger->segments = segments;
        ledger->capacity = capacity;
    }
    *ordinal = ledger->next_ordinal++;
    ledger->segments[ledger->count++] =
        (struct ledger_segment){.ordinal = *ordinal, .begun_unix_ms = unix_ms};
    return 0;
}

void ledger_date(struct ledger *ledger, uint64_t unix_ms)
{
    assert(ledger->count > 0);
    ledger->segments[ledger->count - 1].begun_unix_ms = unix_ms;
}

const struct ledger_segment *ledger_current(const struct ledger *ledger)
{
    return ledger->count > 0 ? &ledger->segments[ledger->count - 1] : NULL;
}

const struct ledger_segment *ledger_oldest(const struct ledger *ledger)
{
    for (size_t i = 0; i + 1 < ledger->count; i++) {
        if (ledger->segments[i].first_seq != 0)
            return &ledger->segments[i];
    }
    return NULL;
}

/* The highest seq so far; empty segments have none. */
static uint64_t last_seq(const struct ledger *ledger)
{
    for (size_t i = ledger->count; i > 0; i--) {
        if (ledger->segments[i - 1].first_seq != 0)
            return ledger->segments[i - 1].last_seq;
    }
    return 0;
}

void ledger_append(struct ledger *ledger, uint64_t seq)
{
    assert(ledger->count > 0 && seq > 0);
    struct ledger_segment *current = &ledger->segments[ledger->count - 1];
    if (seq <= last_seq(ledger))
        return;
    if (current->first_seq == 0)
        current->first_seq = seq;
    current->last_seq = seq;
}

/* An empty segment has no last seq of its own, so it is skipped to the right: the binary search
 * needs order, which the empty ones break. They are few (a start without writes), and trimmed. */
static struct ledger_segment *find(struct ledger *ledger, uint64_t seq)
{
    size_t low = 0, high = ledger->count;
    if (high > 0) {
        struct ledger_segment *current = &ledger->segments[high - 1];
        if (current->first_seq != 0 && current->first_seq <= seq) /* nearly always */
            return seq <= current->last_seq ? current : NULL;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2, at = middle;
        while (at < high && ledger->segments[at].first_seq == 0)
            at++;
        if (at == high || ledger->segments[at].last_seq >= seq)
            high = middle;
        else
            low = at + 1;
    }
    while (low < ledger->count && ledger->segments[low].first_seq == 0)
        low++;
    if (low == ledger->count || ledger->segments[low].last_seq < seq)
        return NULL;
    return &ledger->segments[low];
}

bool ledger_live(struct ledger *ledger, uint64_t seq)
{
    struct ledger_segment *segment = find(ledger, seq);
    if (segment == NULL)
        return false;
    segment->live++;
    ledger->live++;
    return true;
}

bool ledger_dead(struct ledger *ledger, uint64_t seq)
{
    struct ledger_segment *segment = find(ledger, seq);
    if (segment == NULL || segment->live == 0)
        return false;
    segment->live--;
    ledger->live--;
    return true;
}

bool ledger_replace(struct ledger *ledger, uint64_t old_seq, uint64_t new_seq)
{
    if (!ledger_dead(ledger, old_seq))
        return false;
    struct ledger_segment *segment = find(ledger, old_seq);
    if (segment->barrier < new_seq)
        segment->barrier = new_seq;
    return ledger_live(ledger, new_seq);
}

static uint64_t forget(struct ledger *ledger, size_t count)
{
    if (count == 0)
        return 0;
    uint64_t ordinal = ledger->segments[count - 1].ordinal;
    ledger->count -= count;
    memmove(ledger->segments, ledger->segments + count, ledger->count * sizeof(*ledger->segments));
    return ordinal;
}

uint64_t ledger_trim(struct ledger *ledger, uint64_t durable_seq)
{
    size_t count = 0;
    while (count + 1 < ledger->count && ledger->segments[count].live == 0 &&
           ledger->segments[count].barrier <= durable_seq)
        count++;
    return forget(ledger, count);
}

uint64_t ledger_clear(struct ledger *ledger)
{
    if (ledger->live != 0 || ledger->count == 0 ||
        (ledger->count == 1 && ledger->segments[0].first_seq == 0))
        return 0;
    uint64_t forgotten = ledger->segments[ledger->count - 1].ordinal;
    ledger->segments[0] = (struct ledger_segment){.ordinal = ledger->next_ordinal++,
        .begun_unix_ms = ledger->segments[ledger->count - 1].begun_unix_ms};
    ledger->count = 1;
    return forgotten;
}
