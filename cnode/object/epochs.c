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
    for (unsigned i = 0; i < epochs->segments; i++) {
        heap_release(epochs->rows[i]);
        heap_release(epochs->heads[i]);
    }
    epochs_init(epochs);
}

/* ---- segments -----------------------------------------------------------------------------------
 */

static unsigned top_bit(uint32_t number)
{
    return 31 - (unsigned)__builtin_clz(number);
}

static uint32_t segment_size(unsigned segment)
{
    return UINT32_C(1) << (segment == 0 ? EPOCHS_FIRST_BITS : EPOCHS_FIRST_BITS + segment - 1);
}

/* Where the row, or bucket, of this number is. */
static unsigned place_of(uint32_t number, uint32_t *offset)
{
    if (number >> EPOCHS_FIRST_BITS == 0) {
        *offset = number;
        return 0;
    }
    const unsigned top = top_bit(number);
    *offset = number - (UINT32_C(1) << top);
    return top - EPOCHS_FIRST_BITS + 1;
}

static struct epoch *row_at(const struct epochs *epochs, uint32_t number)
{
    uint32_t offset;
    const unsigned segment = place_of(number, &offset);
    return &epochs->rows[segment][offset];
}

static uint32_t *head_at(const struct epochs *epochs, uint32_t bucket)
{
    uint32_t offset;
    const unsigned segment = place_of(bucket, &offset);
    return &epochs->heads[segment][offset];
}

uint64_t epochs_bytes(const struct epochs *epochs)
{
    uint64_t rows = 0;
    for (unsigned i = 0; i < epochs->segments; i++)
        rows += segment_size(i);
    return rows * (sizeof(struct epoch) + sizeof(uint32_t));
}

static int add_segment(struct epochs *epochs)
{
    if (epochs->segments == EPOCHS_SEGMENTS)
        return BRAIN_ENOMEM;
    const size_t size = segment_size(epochs->segments);
    struct epoch *rows = heap_allocate(size * sizeof(*rows));
    uint32_t *heads = heap_allocate(size * sizeof(*heads));
    if (!rows || !heads) {
        heap_release(rows);
        heap_release(heads);
        return BRAIN_ENOMEM;
    }
    epochs->rows[epochs->segments] = rows;
    epochs->heads[epochs->segments++] = heads;
    return 0;
}

/* ---- buckets ------------------------------------------------------------------------------------
 */

static uint32_t hash_of(uint64_t view, uint64_t counter, uint32_t seq_high)
{
    uint64_t mixed = (view * 0x9E3779B97F4A7C15U) ^ (counter * 0xC2B2AE3D27D4EB4FU) ^ seq_high;
    mixed ^= mixed >> 29;
    return (uint32_t)(mixed * 0x9E3779B97F4A7C15U >> 32);
}

/* Of those bits of a hash that all buckets are told apart by, the highest does not count yet for
 * those whose other half is still to come. */
static uint32_t bucket_of(const struct epochs *epochs, uint32_t hash)
{
    const uint32_t last = epochs->used - 1;
    if (last == 0)
        return 0;
    const uint32_t mask = UINT32_MAX >> (31 - top_bit(last)), bucket = hash & mask;
    return bucket <= last ? bucket : bucket & mask >> 1;
}

static uint32_t *head_of(const struct epochs *epochs, uint32_t hash)
{
    return head_at(epochs, bucket_of(epochs, hash));
}

static bool row_matches(const struct epoch *row, const struct version *version)
{
    return row->view == version->view && row->counter == version->counter &&
           row->seq_high == (uint32_t)(version->seq >> 32);
}

/* One more bucket, with what is its of the bucket that it is split from; and the row of its number.
 */
static int add_row(struct epochs *epochs, uint32_t *index)
{
    uint32_t offset;
    const uint32_t added = epochs->used;
    if (place_of(added, &offset) == epochs->segments && add_segment(epochs) != 0)
        return BRAIN_ENOMEM;
    epochs->used++;
    uint32_t *to = head_at(epochs, added);
    *to = NONE;
    *index = added;
    if (added == 0)
        return 0;
    uint32_t *link = head_at(epochs, added - (UINT32_C(1) << top_bit(added)));
    while (*link != NONE) {
        struct epoch *row = row_at(epochs, *link);
        if (bucket_of(epochs, hash_of(row->view, row->counter, row->seq_high)) != added) {
            link = &row->next;
            continue;
        }
        const uint32_t moved = *link;
        *link = row->next;
        row->next = *to;
        *to = moved;
    }
    return 0;
}

/* ---- versions -----------------------------------------------------------------------------------
 */

int epochs_hold(struct epochs *epochs, struct version version, struct packed_version *packed)
{
    const uint32_t seq_high = (uint32_t)(version.seq >> 32);
    packed->seq = (uint32_t)version.seq;
    uint32_t index = epochs->recent;
    if (index == NONE || !row_matches(row_at(epochs, index), &version)) {
        const uint32_t hash = hash_of(version.view, version.counter, seq_high);
        index = epochs->used > 0 ? *head_of(epochs, hash) : NONE;
        while (index != NONE && !row_matches(row_at(epochs, index), &version))
            index = row_at(epochs, index)->next;
        if (index == NONE) {
            if (epochs->free != NONE) {
                index = epochs->free;
                epochs->free = row_at(epochs, index)->next;
            } else if (add_row(epochs, &index) != 0) {
                return BRAIN_ENOMEM;
            }
            uint32_t *head = head_of(epochs, hash);
            *row_at(epochs, index) =
                (struct epoch){version.view, version.counter, seq_high, 0, /* next: */ *head};
            *head = index;
        }
    }
    struct epoch *row = row_at(epochs, index);
    assert(row->references < UINT32_MAX);
    row->references++;
    epochs->recent = index;
    packed->epoch = index;
    return 0;
}

void epochs_drop(struct epochs *epochs, struct packed_version packed)
{
    assert(packed.epoch < epochs->used);
    struct epoch *row = row_at(epochs, packed.epoch);
    assert(row->references > 0);
    if (--row->references > 0)
        return;
    uint32_t *link = head_of(epochs, hash_of(row->view, row->counter, row->seq_high));
    while (*link != packed.epoch)
        link = &row_at(epochs, *link)->next;
    *link = row->next;
    row->next = epochs->free;
    epochs->free = packed.epoch;
    if (epochs->recent == packed.epoch)
        epochs->recent = NONE;
}

struct version epochs_unpack(const struct epochs *epochs, struct packed_version packed)
{
    assert(packed.epoch < epochs->used);
    const struct epoch *row = row_at(epochs, packed.epoch);
    assert(row->references > 0);
    return (struct version){row->view, row->counter, (uint64_t)row->seq_high << 32 | packed.seq};
}
