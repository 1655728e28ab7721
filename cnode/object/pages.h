/* pages: where items live.
 *
 * A general allocator rounds 149 bytes up to 160 and keeps a page for as long as one item in it
 * lives. Here items of nearly the same size share a page, and can be moved out of it.
 *
 *   region, 2 MiB, aligned, from the kernel          page, 64 KiB, aligned (smaller: pages_init)
 *   +--------+--------+--------+--------+- - -       +---+------+------+------+------+- - -+---+
 *   | page   | page   | free   | page   |            | * | slot | slot | free | slot |     |   |
 *   +--------+--------+--------+--------+- - -       +-|-+------+------+------+------+- - -+---+
 *                                                      v          all of one size class
 *                                             struct page: what is in use, idle bounds
 *
 *   handle, 36 bits                                  free slot
 *   +---------------+----------------------+         +------+---------+-------------+- - -
 *   | region number | offset in it, by 8   |         | next |         | id_size = 0 |
 *   +---------------+----------------------+         +------+---------+-------------+- - -
 *        18 bits            18 bits
 *
 * Size classes: every 8 bytes up to 256, then 16 to each doubling, so that at most 1/17 of a slot
 * is lost. The table takes pages from here, too. A new item goes into the fullest page of its class
 * that has room, so that others become empty; an empty page gives its RAM back, an empty region its
 * addresses. What is sparse all the same is emptied by moving items (compact.c). */
#ifndef BRAIN_OBJECT_PAGES_H
#define BRAIN_OBJECT_PAGES_H

#include "item.h"

enum {
    REGION_SIZE = 2 * 1024 * 1024, /* of a huge page */
    REGION_OFFSET_BITS = 18,       /* of handles: REGION_SIZE / 8 */
    REGIONS_MAX = 1 << 18,         /* 512 GiB */
    PAGE_SIZE_MIN = 4096,
    PAGE_SIZE_MAX = 64 * 1024,
    PAGE_SLOTS_AT = 8, /* before them: struct page * */
    PAGE_CLASSES = 32 + 4 * 16,
    PAGE_BINS = 16,
};

enum page_kind { PAGE_CLEAN, PAGE_DIRTY, PAGE_KINDS };

struct page {
    uint8_t *memory;
    uint32_t slot_size;
    uint32_t region;
    uint16_t size_class;
    uint16_t capacity, used; /* slots */
    uint16_t touched;        /* slots that were ever in use: those after them are free */
    uint16_t free;           /* number of the first free slot below `touched`, from 1; 0: none */
    uint16_t bin;            /* PAGE_BINS: it is full, or being emptied */
    struct link in_bin;
    /* Kept by idle.c: see there. */
    struct link idle[PAGE_KINDS];   /* in the idle wheels */
    uint64_t bound[PAGE_KINDS];     /* no item of that kind at rest is due before this tick */
    uint64_t following[PAGE_KINDS]; /* the same of those that the pass under way has passed */
    uint16_t cursor;                /* of the pass under way: a slot */
    bool passing;
    struct link cold; /* in store.cold: has items with ITEM_COLD */
    uint16_t cold_items, cold_cursor;
};

struct page_class {
    struct link bins[PAGE_BINS]; /* pages with room, by how full they are */
    uint32_t bins_used;          /* a bit for each that is not empty */
    uint32_t slot_size;
    uint16_t capacity;
    uint8_t bin_shift;
    uint64_t pages, used; /* pages; slots */
};

struct region {
    uint64_t taken[REGION_SIZE / PAGE_SIZE_MIN / 64]; /* a bit for each page */
    uint32_t pages;
    bool huge;  /* may consist of a huge page */
    bool moved; /* was made to be one, once: that copies it */
};

struct pages {
    uint8_t **bases; /* of regions, by number; NULL: none */
    struct region *regions;
    uint32_t regions_used, regions_capacity;
    uint32_t room_from;                       /* no region before this one has a free page */
    uint32_t page_size;                       /* a power of two */
    uint32_t item_limit;                      /* bytes of an item with its value in it */
    uint64_t count, memory;                   /* pages with items; bytes of all this */
    uint64_t loose[(PAGE_CLASSES + 63) / 64]; /* classes of which a page could be emptied */
    struct page *pinned;                      /* not given back, though it may be empty */
    struct page *source;                      /* being emptied */
    struct page_class classes[PAGE_CLASSES];
};

/* `limit_bytes` of RAM for all of the store, 0: none. Where it is small pages are, too: so that no
 * page is more than about a thousandth of it. */
void pages_init(struct pages *pages, uint64_t limit_bytes);
void pages_release(struct pages *pages); /* whatever is in them */

/* Uninitialised: the caller sets id_size before anything else happens. NULL: no memory. */
struct item *pages_allocate(struct pages *pages, size_t size);
void pages_free(struct pages *pages, struct item *item);
/* Bytes of RAM that one more item of `size` bytes will take, and what its slot is. */
size_t pages_growth(const struct pages *pages, size_t size);
size_t pages_slot_size(const struct pages *pages, size_t size);

/* Gives the page back when it is empty and not pinned. */
void pages_tidy(struct pages *pages, struct page *page);

/* A page for other uses, zeroed, and its region. NULL: no memory. Before pages_release they are
 * given back. */
void *pages_take_plain(struct pages *pages, uint32_t *region);
void pages_give_plain(struct pages *pages, void *memory, uint32_t region);

/* For compact.c. Could a page of this class be emptied into the others, and (`clearly`) is what
 * they leave unused more than a sixteenth? */
bool pages_is_loose(const struct pages *pages, unsigned size_class, bool clearly);
/* Takes the emptiest page of such a class, but that of `kept`, out of use for new items, as
 * `source`, until it is empty. False: there is none. */
bool pages_begin_emptying(struct pages *pages, unsigned size_class, const struct item *kept);
void pages_stop_emptying(struct pages *pages);
/* Is there a slot for another item of the source, but in the source? */
bool pages_has_room_beside(const struct pages *pages);

static inline struct page *page_of(const struct pages *pages, const struct item *item)
{
    return *(struct page **)((uintptr_t)item & ~(uintptr_t)(pages->page_size - 1));
}

/* Number `slot` of the page; free ones have id_size 0. */
static inline struct item *page_slot(const struct page *page, unsigned slot)
{
    return (struct item *)(void *)(page->memory + PAGE_SLOTS_AT + (size_t)slot * page->slot_size);
}

static inline struct item *pages_item(const struct pages *pages, uint64_t handle)
{
    uint64_t offset = (handle & ((1U << REGION_OFFSET_BITS) - 1)) * 8;
    return (struct item *)(void *)(pages->bases[handle >> REGION_OFFSET_BITS] + offset);
}

static inline uint64_t pages_handle(const struct pages *pages, const struct item *item)
{
    uint64_t offset = (uintptr_t)item & (REGION_SIZE - 1);
    return (uint64_t)page_of(pages, item)->region << REGION_OFFSET_BITS | offset / 8;
}

#endif
