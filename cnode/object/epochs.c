#include "epochs.h"

#include <assert.h>

static const uint32_t NONE = UINT32_MAX;

int version_compare(struct version a, struct version b)
{
    if (a.view != b.view)
        return a.view < b.view ? -1 : 1;
    if (a.counter != b.counter)
        return a.counter < b.counter ? -1 : 1;
    return a.seq < b.seq ? -1 : a.seq > b.seq;
}

void epochs_init(struct epochs *epochs)
{
    *epochs = (struct epochs){.free = NONE, .recent = NONE};
}

void epochs_release(struct epochs *epochs)
{
    heap_release(epochs->rows);
    heap_release(epochs->heads);
    epochs_init(epochs);
}

static uint32_t *head_of(struct epochs *epochs, uint64_t view, uint64_t counter, uint32_t seq_high)
{
    uint64_t mixed = (view * 0x9E3779B97F4A7C15U) ^ (counter * 0xC2B2AE3D27D4EB4FU) ^ seq_high;
    mixed ^= mixed >> 29;
    return &epochs->heads[mixed * 0x9E3779B97F4A7C15U >> 32 & (epochs->capacity - 1)];
}

static bool row_matches(const struct epoch *row, const struct version *version)
{
    return row->view == version->view && row->counter == version->counter &&
           row->seq_high == (uint32_t)(version->seq >> 32);
}

static int grow(struct epochs *epochs)
{
    if (epochs->capacity >= 1U << 30)
        return BRAIN_ENOMEM;
    uint32_t capacity = epochs->capacity ? epochs->capacity * 2 : 4;
    uint32_t *heads = heap_allocate(capacity * sizeof(*heads));
    if (!heads)
        return BRAIN_ENOMEM;
    struct epoch *rows = heap_resize(epochs->rows, capacity * sizeof(*rows));
    if (!rows) {
        heap_release(heads);
        return BRAIN_ENOMEM;
    }
    heap_release(epochs->heads);
    epochs->rows = rows;
    epochs->heads = heads;
    epochs->capacity = capacity;
    for (uint32_t i = 0; i < capacity; i++)
        heads[i] = NONE;
    /* Only ever called without free rows: all below `used` are alive. */
    for (uint32_t i = 0; i < epochs->used; i++) {
        uint32_t *head = head_of(epochs, rows[i].view, rows[i].counter, rows[i].seq_high);
        rows[i].next = *head;
        *head = i;
    }
    return 0;
}

int epochs_hold(struct epochs *epochs, struct version version, struct packed_version *packed)
{
    uint32_t seq_high = (uint32_t)(version.seq >> 32);
    packed->seq = (uint32_t)version.seq;
    uint32_t index = epochs->recent;
    if (index == NONE || !row_matches(&epochs->rows[index], &version)) {
        index = NONE;
        if (epochs->capacity > 0)
            index = *head_of(epochs, version.view, version.counter, seq_high);
        while (index != NONE && !row_matches(&epochs->rows[index], &version))
            index = epochs->rows[index].next;
    }
    if (index == NONE) {
        if (epochs->free == NONE && epochs->used == epochs->capacity && grow(epochs) != 0)
            return BRAIN_ENOMEM;
        if (epochs->free != NONE) {
            index = epochs->free;
            epochs->free = epochs->rows[index].next;
        } else {
            index = epochs->used++;
        }
        uint32_t *head = head_of(epochs, version.view, version.counter, seq_high);
        epochs->rows[index] =
            (struct epoch){version.view, version.counter, seq_high, 0, /* next: */ *head};
        *head = index;
    }
    assert(epochs->rows[index].references < UINT32_MAX);
    epochs->rows[index].references++;
    epochs->recent = index;
    packed->epoch = index;
    return 0;
}

void epochs_drop(struct epochs *epochs, struct packed_version packed)
{
    struct epoch *row = &epochs->rows[packed.epoch];
    assert(packed.epoch < epochs->used && row->references > 0);
    if (--row->references > 0)
        return;
    uint32_t *link = head_of(epochs, row->view, row->counter, row->seq_high);
    while (*link != packed.epoch)
        link = &epochs->rows[*link].next;
    *link = row->next;
    row->next = epochs->free;
    epochs->free = packed.epoch;
    if (epochs->recent == packed.epoch)
        epochs->recent = NONE;
}

struct version epochs_unpack(const struct epochs *epochs, struct packed_version packed)
{
    const struct epoch *row = &epochs->rows[packed.epoch];
    assert(packed.epoch < epochs->used && row->references > 0);
    return (struct version){row->view, row->counter, (uint64_t)row->seq_high << 32 | packed.seq};
}
