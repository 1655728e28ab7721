/* Items at rest: at no cost in the item but a 2-byte stamp of its last use.
 *
 * What is watched is the page. For each kind, clean and dirty, it has a bound: no item of the kind
 * at rest in it is due (idle for long enough, or dirty for too long) before that tick; and it is in
 * the idle wheel of the kind at that tick. Use makes items due later, so a bound stays true; only
 * what comes to rest may lower it. When a page comes up, a pass looks at its items one after the
 * other: those that are due become cold or leave RAM, and the others tell the next bound. So that
 * items of different age do not bring up a full page at each tick, it does so 16 times per key_ttl
 * at most, and items are due that much later.
 *
 * A pass is done in pieces. The bounds of what it has passed gather in `following`. */
#include "store_inside.h"

#include <assert.h>

/* Items that are only looked at cost an eighth of those with which something is done. */
enum { LOOKS_PER_STEP = 8, FULL_PAGE = 512, PREFETCHED = 8 };

/* Stamps wrap after 65536 ticks, at least 8 times key_ttl. An item that nobody looked at for so
 * long (it was busy) only seems to have been used more lately than it was. */
uint32_t store_idle_ticks(const struct store *store, const struct item *item)
{
    return (uint16_t)((uint16_t)store->now_tick - item->accessed);
}

/* When it will have been dirty for max_dirty_ms. The group's start is a little before its entry. */
static uint64_t overdue_at_ms(const struct store *store, const struct item *item)
{
    uint64_t bound_ms = store->options.max_dirty_ms;
    if (bound_ms == 0 || !(item->flags & ITEM_DIRTY))
        return UINT64_MAX;
    return store->ages.start_ms[item->age] + bound_ms;
}

bool store_is_overdue(const struct store *store, const struct item *item, uint64_t now_ms)
{
    return overdue_at_ms(store, item) <= now_ms;
}

static enum page_kind kind_of(const struct item *item)
{
    return item->flags & ITEM_DIRTY ? PAGE_DIRTY : PAGE_CLEAN;
}

static bool is_at_rest(const struct item *item)
{
    return item->id_size > 0 && !(item->flags & (ITEM_BUSY | ITEM_COLD));
}

static uint64_t due_tick(const struct store *store, const struct item *item)
{
    uint32_t limit = item->flags & ITEM_DIRTY ? store->ttl_ticks : 2 * store->ttl_ticks;
    uint32_t idle = store_idle_ticks(store, item);
    uint64_t due = store->now_tick + (limit > idle ? limit - idle : 0);
    uint64_t overdue_ms = overdue_at_ms(store, item);
    if (overdue_ms == UINT64_MAX)
        return due;
    uint64_t granularity_ms = store->idle[PAGE_DIRTY].granularity_ms;
    uint64_t overdue = (overdue_ms + granularity_ms - 1) / granularity_ms;
    return overdue < due ? overdue : due;
}

static void set_bound(struct store *store, struct page *page, enum page_kind kind, uint64_t tick)
{
    list_remove(&page->idle[kind]);
    page->bound[kind] = tick;
    if (tick != UINT64_MAX)
        wheel_insert(
            &store->idle[kind], &page->idle[kind], tick * store->idle[kind].granularity_ms);
}

void store_rest(struct store *store, struct item *item)
{
    assert(!(item->flags & ITEM_BUSY));
    if (store->draining && item->flags & ITEM_DIRTY) {
        store_make_cold(store, item);
        return;
    }
    store_leave_cold(store, item);
    struct page *page = page_of(&store->pages, item);
    enum page_kind kind = kind_of(item);
    uint64_t due = due_tick(store, item);
    if (due < page->following[kind])
        page->following[kind] = due;
    if (due < page->bound[kind])
        set_bound(store, page, kind, due);
}

/* ---- passes ---------------------------------------------------------------------------------- */

static void begin_pass(struct page *page)
{
    if (page->passing)
        return;
    page->passing = true;
    page->cursor = 0;
    for (unsigned kind = 0; kind < PAGE_KINDS; kind++)
        page->following[kind] = UINT64_MAX;
}

/* The next item at rest, left where it is; NULL: the pass is over, or all `looks` taken. */
static struct item *next_at_rest(struct page *page, uint32_t *looks)
{
    while (page->cursor<page->touched && * looks> 0) {
        struct item *item = page_slot(page, page->cursor);
        __builtin_prefetch(page_slot(page, page->cursor + PREFETCHED));
        --*looks;
        if (is_at_rest(item))
            return item;
        page->cursor++;
    }
    return NULL;
}

static void pass_by(struct page *page, const struct item *item, uint64_t due)
{
    enum page_kind kind = kind_of(item);
    if (due < page->following[kind])
        page->following[kind] = due;
    page->cursor++;
}

static void end_pass(struct store *store, struct page *page)
{
    page->passing = false;
    for (unsigned kind = 0; kind < PAGE_KINDS; kind++) {
        uint64_t gap = page->used < FULL_PAGE
                           ? 1 + (uint64_t)store->pass_gap[kind] * page->used / FULL_PAGE
                           : 1 + store->pass_gap[kind];
        uint64_t tick = page->following[kind];
        if (tick < store->now_tick + gap)
            tick = store->now_tick + gap;
        set_bound(store, page, (enum page_kind)kind, tick);
    }
}

/* The page has come up. */
static void advance_page(
    struct store *store, struct page *page, enum page_kind kind, uint32_t *budget)
{
    begin_pass(page);
    store->pages.pinned = page;
    uint32_t steps = *budget, looks = LOOKS_PER_STEP;
    struct item *item;
    while (steps > 0) {
        if ((item = next_at_rest(page, &looks)) != NULL) {
            uint64_t due = due_tick(store, item);
            if (due > store->now_tick) {
                pass_by(page, item, due);
            } else {
                page->cursor++;
                steps--;
                if (item->flags & ITEM_DIRTY) {
                    store_make_cold(store, item);
                } else {
                    store_remove(store, item);
                    store->metrics.dropped_idle++;
                }
            }
        } else if (looks > 0) {
            break;
        }
        if (looks == 0 && steps > 0) {
            looks = LOOKS_PER_STEP;
            steps--;
        }
    }
    if (page->cursor == page->touched)
        end_pass(store, page);
    else
        set_bound(store, page, kind, store->now_tick); /* the rest in the next turn */
    *budget = steps;
    store->pages.pinned = NULL;
    pages_tidy(&store->pages, page);
}

static struct page *page_in_wheel(struct link *link, enum page_kind kind)
{
    return kind == PAGE_CLEAN ? list_entry(link, struct page, idle[PAGE_CLEAN])
                              : list_entry(link, struct page, idle[PAGE_DIRTY]);
}

void store_advance_rest(struct store *store, enum page_kind kind, uint32_t *budget)
{
    struct wheel *wheel = &store->idle[kind];
    struct link *link;
    while (*budget > 0 && (link = wheel_take(wheel, store->now_ms)) != NULL) {
        struct page *page = page_in_wheel(link, kind);
        if (page->bound[kind] > store->now_tick) { /* farther off than the wheel reaches */
            --*budget;
            set_bound(store, page, kind, page->bound[kind]);
        } else {
            advance_page(store, page, kind, budget);
        }
    }
}

struct item *store_coldest(struct store *store, enum page_kind kind, uint32_t *looks)
{
    struct wheel *wheel = &store->idle[kind];
    struct link *link;
    uint64_t tick;
    while (*looks > 0 && (link = wheel_peek(wheel, &tick)) != NULL) {
        struct page *page = page_in_wheel(link, kind);
        begin_pass(page);
        /* What is nearly as cold goes with it: or each pass would find one item only. */
        uint64_t warmest = page->bound[kind] + store->pass_gap[kind] / 8;
        struct item *item;
        while ((item = next_at_rest(page, looks)) != NULL) {
            uint64_t due = due_tick(store, item);
            if (kind_of(item) == kind && due <= warmest && item != store->kept)
                return item;
            pass_by(page, item, due);
        }
        if (page->cursor == page->touched)
            end_pass(store, page);
    }
    return NULL;
}

/* ---- cold items ------------------------------------------------------------------------------ */

void store_make_cold(struct store *store, struct item *item)
{
    assert((item->flags & (ITEM_DIRTY | ITEM_BUSY)) == ITEM_DIRTY);
    if (item->flags & ITEM_COLD)
        return;
    item->flags |= ITEM_COLD;
    struct page *page = page_of(&store->pages, item);
    if (page->cold_items++ > 0)
        return;
    page->cold_cursor = 0;
    list_append(&store->cold, &page->cold);
}

void store_leave_cold(struct store *store, struct item *item)
{
    if (!(item->flags & ITEM_COLD))
        return;
    item->flags &= (uint8_t)~ITEM_COLD;
    struct page *page = page_of(&store->pages, item);
    if (--page->cold_items == 0)
        list_remove(&page->cold);
}

struct item *store_first_cold(struct store *store)
{
    struct link *link = list_first(&store->cold);
    if (!link)
        return NULL;
    struct page *page = list_entry(link, struct page, cold);
    for (;; page->cold_cursor++) {
        if (page->cold_cursor == page->touched)
            page->cold_cursor = 0;
        struct item *item = page_slot(page, page->cold_cursor);
        if (item->id_size > 0 && item->flags & ITEM_COLD)
            return item;
    }
}
