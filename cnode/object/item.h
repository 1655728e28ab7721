/* item: an object in RAM. One allocation: header, id, value.
 *
 *   0               16              32
 *   +-------+-------+----+----+-----+-----------+-------------+--------+-----------+
 *   | idle links    | ver-    | sizes, | [stored   | [struct     | id ... | value ... |
 *   | or object *   | sion    | flags  |  version] |  value]     |        |           |
 *   +-------+-------+----+----+-----+-----------+-------------+--------+-----------+
 *                                      8 bytes     24 bytes               inline
 *
 * [stored version]: which version the warehouse holds, for an item that differs from it. An item
 * that is clean needs none, it is that version; nor does one of which we never knew.
 * [struct value]: a value of more than ITEM_INLINE_LIMIT bytes lies in a block of its own.
 *
 * What only few objects need at a time (waiters, a load or dump under way, retries) is in a struct
 * object (store_inside.h), made when needed. An item that has one takes no part in idling, so the
 * pointer to it shares its place with the idle links. */
#ifndef BRAIN_OBJECT_ITEM_H
#define BRAIN_OBJECT_ITEM_H

#include "epochs.h"
#include "list.h"

/* Copying 4 KiB costs about 0.1 us, a block of its own a second allocation and cache miss. */
enum { ITEM_INLINE_LIMIT = 4096 };

enum item_flags {
    ITEM_DIRTY = 1,         /* the warehouse does not have it; `age` is valid */
    ITEM_TOMBSTONE = 2,     /* deleted */
    ITEM_UNKNOWN = 4,       /* being loaded, and not written meanwhile: no value, no version */
    ITEM_BUSY = 8,          /* has a struct object */
    ITEM_HAS_STORED = 16,   /* room for the stored version */
    ITEM_STORED_KNOWN = 32, /* and it is there */
    ITEM_EXTERNAL = 64,     /* struct value */
    ITEM_UNSURE =
        128, /* reads wait until the journal has this version, if it has not yet; of a
                restored item: until the warehouse was looked at, where that is asked for */
};

struct item {
    union {
        struct link idle;
        struct object *object; /* ITEM_BUSY */
    };
    struct packed_version version; /* holds a reference, unless ITEM_UNKNOWN */
    uint16_t accessed;             /* coarse: ticks of the idle wheel, wrapping */
    uint16_t id_size;
    uint16_t value_size; /* inline bytes */
    uint8_t age;         /* group in struct ages */
    uint8_t flags;
};
_Static_assert(sizeof(struct item) == 32, "the header of every object in RAM");

/* `value` NULL: none (ITEM_TOMBSTONE, ITEM_UNKNOWN). A large one is held by reference when its
 * block is mostly (3/4) this value, else copied. The version is the caller's to set. NULL: no
 * memory. */
struct item *item_create(struct slice id, const struct value *value, bool has_stored);
/* Frees; references to versions are the caller's to drop before. */
void item_release(struct item *item);
/* Does `value` take exactly the room of the item's own? Then item_overwrite puts it there. */
bool item_takes(const struct item *item, const struct value *value, bool has_stored);
/* What ITEM_EXTERNAL keeps of `value`: held or copied; without block: no memory. */
struct value item_keep(const struct value *value);
/* `value` of an item with ITEM_EXTERNAL: made by item_keep, and taken over. */
void item_overwrite(struct item *item, const struct value *value);
/* Bytes of RAM, as the allocator rounds them: of the item with its value; of one to be made; of any
 * allocation. An estimate that reads no allocator's header: exact for glibc but for the few large
 * blocks it recycles instead of mapping. */
size_t item_memory(const struct item *item);
size_t item_memory_for(size_t id_size, const struct value *value, bool has_stored);
size_t memory_of(size_t size);

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
