/* Objects that leave RAM leave holes in pages. Where those of a size class add up to a page, the
 * items of its emptiest page move into them, and the page goes: by itself when more than a
 * sixteenth of the class is unused, a few items in each turn of the loop; and at memory_limit
 * before anybody has to leave.
 *
 * So, without a limit, RAM for pages is at most 16/15 of what is in use, and two pages for each
 * size class. */
#include "store_inside.h"

/* To another slot: all that points at the item follows. False: no memory. */
static bool relocate(struct store *store, struct item *item)
{
    struct item *copy = item_copy(&store->pages, item);
    if (!copy)
        return false;
    table_replace(&store->table, table_hash(&store->table, item_id(item)), item, copy);
    bool cold = item->flags & ITEM_COLD;
    store_leave_cold(store, item);
    copy->flags &= (uint8_t)~ITEM_COLD;
    pages_free(&store->pages, item);
    if (copy->flags & ITEM_BUSY)
        copy->object->item = copy;
    else if (cold)
        store_make_cold(store, copy);
    else
        store_rest(store, copy);
    return true;
}

static bool begin(struct store *store, bool clearly)
{
    struct pages *pages = &store->pages;
    for (unsigned size_class = 0; size_class < PAGE_CLASSES; size_class++) {
        uint64_t *word = &pages->loose[size_class / 64], bit = UINT64_C(1) << size_class % 64;
        if (*word == 0)
            size_class |= 63; /* none of these */
        else if (!(*word & bit))
            continue;
        else if (!pages_is_loose(pages, size_class, false))
            *word &= ~bit;
        else if (pages_is_loose(pages, size_class, clearly) &&
                 pages_begin_emptying(pages, size_class, store->kept)) {
            store->source_cursor = 0;
            return true;
        }
    }
    return false;
}

bool store_compact(struct store *store, bool clearly, uint32_t *budget)
{
    struct pages *pages = &store->pages;
    struct page *page = pages->source;
    if (page && store->kept && page == page_of(pages, store->kept)) {
        pages_stop_emptying(pages);
        page = NULL;
    }
    if (*budget == 0 || (!page && !begin(store, clearly)))
        return false;
    page = pages->source;
    /* The page is given back with its last item: source is NULL then. */
    while (*budget > 0 && pages->source == page) {
        --*budget;
        struct item *item = page_slot(page, store->source_cursor++);
        if (item->id_size > 0 && !pages_has_room_beside(pages)) {
            pages_stop_emptying(pages);
            return false;
        }
        if (item->id_size > 0 && !relocate(store, item)) {
            pages_stop_emptying(pages);
            return false;
        }
    }
    return true;
}
