/* idmap: a compact map from a key to (epoch, owner), without a copy of the id.
 *
 * One per slot and use, so that a map is small (a node with 10 million objects has 2,441 in each)
 * and growing one takes some 20 us, never a long turn. Open addressing, linear probing:
 *
 *   one allocation:  | key 0 | key 1 | ... | packed epoch 0 | ... | owner 0 | ...   (owners: only
 *                      16 B                   8 B, 0: free            2 B            where wanted)
 *
 * Between 7/16 and 7/8 full: 27 to 55 bytes for each object owned here, 30 to 60 for one in the
 * directory of another owner's. */
#ifndef BRAIN_CLUSTER_IDMAP_H
#define BRAIN_CLUSTER_IDMAP_H

#include "brain/cluster.h"
#include "keyed.h"

/* Epochs are packed: 20 bits say which view (an index into `views`, counted), 44 bits are the
 * counter, never 0. All 0 at the beginning. */
struct epoch_view {
    uint64_t view;
    uint64_t uses; /* 0: free */
    uint32_t next; /* 1 + index: in its bucket, or of those that are free; 0: none */
};
struct epoch_views {
    struct epoch_view *views;
    uint32_t *heads; /* of buckets: `capacity`, as many as there are views */
    uint32_t count, capacity, last, free;
};
enum { EPOCH_COUNTER_BITS = 44 };
static const uint64_t EPOCH_COUNTER_LIMIT = UINT64_C(1) << EPOCH_COUNTER_BITS;

static inline bool epoch_is_valid(struct cluster_epoch epoch)
{
    return epoch.counter != 0 && epoch.counter < EPOCH_COUNTER_LIMIT;
}
static inline bool epoch_equal(struct cluster_epoch a, struct cluster_epoch b)
{
    return a.view == b.view && a.counter == b.counter;
}

struct idmap {
    void *memory;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t count;
    bool with_owner;
};
struct idmap_entry {
    struct key key;
    struct cluster_epoch epoch;
    uint16_t owner;
};

bool idmap_find(const struct idmap *map, const struct epoch_views *epochs, struct key key,
    struct idmap_entry *entry);
/* Inserts or replaces; the epoch must be valid. 0 or BRAIN_ENOMEM (unchanged). */
int idmap_put(struct idmap *map, struct epoch_views *epochs, const struct idmap_entry *entry);
/* An entry that is there is replaced without memory, as long as its view stays the same. */
bool idmap_remove(struct idmap *map, struct epoch_views *epochs, struct key key);
/* Visits entries; `*cursor` 0 to start. No change meanwhile. */
bool idmap_next(const struct idmap *map, const struct epoch_views *epochs, uint32_t *cursor,
    struct idmap_entry *entry);
void idmap_clear(struct idmap *map, struct epoch_views *epochs);
size_t idmap_memory(const struct idmap *map);

void epoch_views_release(struct epoch_views *epochs);

#endif
