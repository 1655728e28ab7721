#include "item.h"

#include <assert.h>
#include <string.h>

static size_t external_offset(unsigned flags)
{
    return sizeof(struct item) + (flags & ITEM_HAS_STORED ? sizeof(struct packed_version) : 0);
}

static size_t id_offset(unsigned flags)
{
    return external_offset(flags) + (flags & ITEM_EXTERNAL ? sizeof(struct value) : 0);
}

static struct value *external_of(const struct item *item)
{
    return (struct value *)(void *)((char *)item + external_offset(item->flags));
}

static uint8_t *inline_of(const struct item *item)
{
    return (uint8_t *)item + id_offset(item->flags) + item->id_size;
}

static bool is_mostly(const struct value *value)
{
    return value->block && value->size >= value->block->size / 4 * 3;
}

struct value item_keep(const struct value *value)
{
    if (is_mostly(value))
        return value_hold(*value);
    return value_copy(value_slice(*value));
}

static unsigned shape_of(const struct value *value, bool has_stored)
{
    return (has_stored ? ITEM_HAS_STORED : 0U) |
           (value && value->size > ITEM_INLINE_LIMIT ? ITEM_EXTERNAL : 0U);
}

struct item *item_create(struct slice id, const struct value *value, bool has_stored)
{
    assert(id.size > 0 && id.size <= UINT16_MAX);
    unsigned flags = shape_of(value, has_stored);
    size_t value_size = value && !(flags & ITEM_EXTERNAL) ? value->size : 0;
    struct item *item = heap_allocate(id_offset(flags) + id.size + value_size);
    if (!item)
        return NULL;
    *item = (struct item){
        .id_size = (uint16_t)id.size, .value_size = (uint16_t)value_size, .flags = (uint8_t)flags};
    list_init(&item->idle);
    memcpy((uint8_t *)item + id_offset(flags), id.data, id.size);
    if (value_size > 0)
        memcpy(inline_of(item), value->data, value_size);
    if (flags & ITEM_EXTERNAL) {
        struct value kept = item_keep(value);
        if (!kept.block) {
            heap_release(item);
            return NULL;
        }
        *external_of(item) = kept;
    }
    return item;
}

void item_release(struct item *item)
{
    if (item->flags & ITEM_EXTERNAL)
        value_drop(external_of(item));
    heap_release(item);
}

bool item_takes(const struct item *item, const struct value *value, bool has_stored)
{
    unsigned shape = shape_of(value, has_stored);
    return shape == (item->flags & (ITEM_HAS_STORED | ITEM_EXTERNAL)) &&
           (shape & ITEM_EXTERNAL || (value ? value->size : 0) == item->value_size);
}

void item_overwrite(struct item *item, const struct value *value)
{
    if (item->flags & ITEM_EXTERNAL) {
        value_drop(external_of(item));
        *external_of(item) = *value;
    } else if (item->value_size > 0) {
        /* The caller may store what it has just read from here. */
        memmove(inline_of(item), value->data, item->value_size);
    }
}

size_t memory_of(size_t size)
{
    enum { MAPPED_FROM = 128 * 1024, PAGE = 4096, HEADER = 8, UNIT = 16, SMALLEST = 32 };
    if (size >= MAPPED_FROM)
        return (size + 2 * HEADER + PAGE - 1) / PAGE * PAGE;
    size_t rounded = (size + HEADER + UNIT - 1) / UNIT * UNIT;
    return rounded < SMALLEST ? SMALLEST : rounded;
}

static size_t block_memory(size_t size)
{
    return memory_of(sizeof(struct block) + size);
}

size_t item_memory(const struct item *item)
{
    size_t size = memory_of(id_offset(item->flags) + item->id_size + item->value_size);
    return item->flags & ITEM_EXTERNAL ? size + block_memory(external_of(item)->block->size) : size;
}

size_t item_memory_for(size_t id_size, const struct value *value, bool has_stored)
{
    unsigned flags = shape_of(value, has_stored);
    if (!(flags & ITEM_EXTERNAL))
        return memory_of(id_offset(flags) + id_size + (value ? value->size : 0));
    return memory_of(id_offset(flags) + id_size) +
           block_memory(is_mostly(value) ? value->block->size : value->size);
}

struct slice item_id(const struct item *item)
{
    return slice_of((const uint8_t *)item + id_offset(item->flags), item->id_size);
}

struct value item_value(const struct item *item)
{
    if (item->flags & ITEM_EXTERNAL)
        return *external_of(item);
    return (struct value){NULL, inline_of(item), item->value_size};
}

size_t item_value_size(const struct item *item)
{
    return item->flags & ITEM_EXTERNAL ? external_of(item)->size : item->value_size;
}
