/* item: an object in RAM: header, id, value, in a slot of a page (pages.h).
 *
 *   0             8      10     12     14    15     16
 *   +-------------+------+------+------+-----+-------+-----------+-----------+--------+-----------+
 *   | version or  | acc- | id   | value| age | flags | [stored   | [struct   | id ... | value ... |
 *   | object *    | essed| size | size |     |       |  version] |  value]   |        |           |
 *   +-------------+------+------+------+-----+-------+-----------+-----------+--------+-----------+
 *                                                       8 bytes    24 bytes             inline
 *
 * [stored version]: which version the warehouse holds, for an item that differs from it. An item
 * that is clean needs none, it is that version; nor does one of which we never knew.
 * [struct value]: a value too large for the page (pages.item_limit) lies in a block of its own.
 *
 * What only few objects need at a time (waiters, a load or dump under way, retries) is in a struct
 * object (store_inside.h), made when needed. It then keeps the version, too, and the item has the
 * pointer to it in that place. */
#ifndef BRAIN_OBJECT_ITEM_H
#define BRAIN_OBJECT_ITEM_H

#include "brain/list.h"
#include "epochs.h"

struct pages;

enum { ITEM_EXTERNAL = UINT16_MAX }; /* value_size: struct value */

enum item_flags {
    ITEM_DIRTY = 1,         /* the warehouse does not have it; `age` is valid */
    ITEM_TOMBSTONE = 2,     /* deleted */
    ITEM_UNKNOWN = 4,       /* being loaded, and not written meanwhile: no value, no version */
    ITEM_BUSY = 8,          /* has a struct object */
    ITEM_HAS_STORED = 16,   /* room for the stored version */
    ITEM_STORED_KNOWN = 32, /* and it is there */
    ITEM_COLD = 64,         /* its turn to be dumped has come; not BUSY */
    ITEM_UNSURE =
        128, /* reads wait until the journal has this version, if it has not yet; of a
                restored item: until the warehouse was looked at, where that is asked for */
};

struct item {
    union {
        struct packed_version version; /* holds a reference, unless ITEM_UNKNOWN */
        struct object *object;         /* ITEM_BUSY */
    };
    uint16_t accessed;   /* coarse: ticks of the idle wheels, wrapping */
    uint16_t id_size;    /* 0: a free slot */
    uint16_t value_size; /* inline bytes, or ITEM_EXTERNAL */
    uint8_t age;         /* group in struct ages */
    uint8_t flags;
};
_Static_assert(sizeof(struct item) == 16, "the header of every object in RAM");

/* `value` NULL: none (ITEM_TOMBSTONE, ITEM_UNKNOWN). A large one is held by reference when its
 * block is mostly (3/4) this value, else copied. The version is the caller's to set. NULL: no
 * memory. */
struct item *item_create(
    struct pages *pages, struct slice id, const struct value *value, bool has_stored);
/* Frees; references to versions are the caller's to drop before. */
void item_release(struct pages *pages, struct item *item);
/* The same item in another slot. Who points at it is the caller's to tell, before he gives the old
 * slot back (pages_free). NULL: no memory. */
struct item *item_copy(struct pages *pages, const struct item *item);
/* Does `value` take exactly the room of the item's own? Then item_overwrite puts it there. */
bool item_takes(
    const struct pages *pages, const struct item *item, const struct value *value, bool has_stored);
/* What ITEM_EXTERNAL keeps of `value`: held or copied; without block: no memory. */
struct value item_keep(const struct value *value);
/* `value` of an item with ITEM_EXTERNAL: made by item_keep, and taken over. */
void item_overwrite(struct item *item, const struct value *value);

/* Bytes of RAM beside the pages: of an item's block; and of one to be made, with the size that its
 * slot must have. As the allocator rounds them: an estimate that reads no allocator's header, exact
 * for glibc but for the few large blocks it recycles instead of mapping. */
size_t item_memory_outside(const struct item *item);
size_t item_memory_outside_for(const struct pages *pages, size_t id_size, const struct value *value,
    bool has_stored, size_t *slot_size);
size_t memory_of(size_t size);             /* of any allocation */
size_t item_size(const struct item *item); /* that its slot must have */

struct slice item_id(const struct item *item);
/* Borrowed: without block when inline. */
struct value item_value(const struct item *item);
size_t item_value_size(const struct item *item);

/* ITEM_HAS_STORED only. */
static inline struct packed_version *item_stored(struct item *item)
{
    return (struct packed_version *)(void *)(item + 1);
}

#endif
