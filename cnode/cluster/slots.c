/* Rendezvous order: each slot ranks all members by a hash of (slot, name). Nobody decides it,
 * everybody computes the same, and a member that comes or goes changes only the slots it ranks
 * first in. By name, not incarnation: a node that comes back gets its slots back. */
#include <string.h>

#include "inside.h"

/* Members that rank differently must not be in one cluster: a change of it is one of the protocol.
 */
enum { ORDER = 1 };

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* ---- who has an incarnation ---------------------------------------------------------------------
 */

enum { NOBODY = UINT16_MAX };

static uint32_t finder_size(size_t count)
{
    uint32_t size = 2;
    while (size < 2 * count)
        size *= 2;
    return size;
}

static void fill_finder(struct view *view)
{
    for (uint32_t i = 0; i <= view->finder_mask; i++)
        view->finder[i] = NOBODY;
    for (uint16_t m = 0; m < view->count; m++) {
        uint32_t at = (uint32_t)mix(view->members[m].incarnation) & view->finder_mask;
        while (view->finder[at] != NOBODY)
            at = (at + 1) & view->finder_mask;
        view->finder[at] = m;
    }
}

int view_find(const struct view *view, uint64_t incarnation)
{
    uint32_t at = (uint32_t)mix(incarnation) & view->finder_mask;
    for (; view->finder[at] != NOBODY; at = (at + 1) & view->finder_mask) {
        if (view->members[view->finder[at]].incarnation == incarnation)
            return view->finder[at];
    }
    return -1;
}

/* ---- orders -------------------------------------------------------------------------------------
 */

/* Inserts member `m` of this weight among the first `width`, highest first. */
static void rank(
    uint16_t *order, uint64_t *weights, uint16_t width, uint16_t used, uint16_t m, uint64_t weight)
{
    uint16_t i = used < width ? used : (uint16_t)(width - 1);
    if (used >= width && weights[i] >= weight)
        return;
    while (i > 0 && weights[i - 1] < weight) {
        weights[i] = weights[i - 1];
        order[i] = order[i - 1];
        i--;
    }
    weights[i] = weight;
    order[i] = m;
}

static int compare_members(const struct member *a, const struct member *b)
{
    size_t size = a->name.size < b->name.size ? a->name.size : b->name.size;
    int order = memcmp(a->name.data, b->name.data, size);
    return order != 0 ? order : a->name.size < b->name.size ? -1 : a->name.size > b->name.size;
}

/* By name, so that equal weights fall the same way everywhere. */
static void sort(struct member *members, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct member member = members[i];
        size_t at = i;
        for (; at > 0 && compare_members(&members[at - 1], &member) > 0; at--)
            members[at] = members[at - 1];
        members[at] = member;
    }
}

static void fill_orders(struct view *view, const uint64_t *names)
{
    uint64_t weights[CLUSTER_BACKUPS_LIMIT + 1];
    for (uint32_t slot = 0; slot < CLUSTER_SLOTS; slot++) {
        uint16_t *order = &view->orders[(size_t)slot * view->width];
        uint64_t salt = mix(slot + 1);
        for (uint16_t m = 0; m < view->count; m++)
            rank(order, weights, view->width, m, m, mix(names[m] ^ salt));
        view->members[order[0]].is_home = true;
    }
    view->self_is_home = view->members[view->self].is_home;
}

struct view *view_create(
    const struct cluster_view *from, struct slice self, uint64_t incarnation, uint32_t backups)
{
    size_t count = from->count, names_size = 0, found = 0;
    if (count == 0 || count > CLUSTER_MEMBERS_LIMIT)
        return NULL;
    for (size_t i = 0; i < count; i++)
        names_size += from->members[i].name.size;
    size_t width = backups + 1 < count ? backups + 1 : count;
    size_t orders_size = CLUSTER_SLOTS * width * sizeof(uint16_t);
    size_t members_size = count * sizeof(struct member), hashes_size = count * sizeof(uint64_t);
    uint32_t finder_count = finder_size(count);
    size_t finder_bytes = finder_count * sizeof(uint16_t);
    struct view *view = heap_allocate_zeroed(
        sizeof(*view) + members_size + hashes_size + orders_size + finder_bytes + names_size);
    if (!view)
        return NULL;
    view->members = (struct member *)(view + 1);
    uint64_t *hashes = (uint64_t *)(void *)(view->members + count);
    view->orders = (uint16_t *)(void *)(hashes + count);
    view->finder = view->orders + CLUSTER_SLOTS * width;
    view->finder_mask = finder_count - 1;
    uint8_t *names = (uint8_t *)(view->finder + finder_count);
    view->number = from->number;
    view->count = (uint16_t)count;
    view->width = (uint16_t)width;
    view->holders = (uint16_t)(backups < count - 1 ? backups : count - 1);
    for (size_t i = 0; i < count; i++) {
        const struct cluster_member *member = &from->members[i];
        memcpy(names, member->name.data, member->name.size);
        view->members[i].name = slice_of(names, member->name.size);
        view->members[i].incarnation = member->incarnation;
        names += member->name.size;
    }
    sort(view->members, count);
    for (size_t i = 0; i < count; i++) {
        struct member *member = &view->members[i];
        list_init(&member->waiting[false]);
        list_init(&member->waiting[true]);
        hashes[i] = key_of(ORDER, member->name).low;
        if (slice_equal(member->name, self) && member->incarnation == incarnation) {
            view->self = (uint16_t)i;
            found++;
        }
    }
    if (found != 1) {
        heap_release(view);
        return NULL;
    }
    fill_finder(view);
    fill_orders(view, hashes);
    return view;
}

int holder_rank(const struct view *view, uint32_t slot, uint16_t member)
{
    for (uint16_t i = 0; i < view->holders; i++) {
        if (view_holder(view, slot, i) == member)
            return i;
    }
    return -1;
}

void view_release(struct view *view)
{
    heap_release(view);
}

uint16_t view_holder(const struct view *view, uint32_t slot, uint16_t rank)
{
    const uint16_t *order = &view->orders[(size_t)slot * view->width];
    for (uint16_t i = 0;; i++) {
        if (order[i] == view->self)
            continue;
        if (rank-- == 0)
            return order[i];
    }
}
