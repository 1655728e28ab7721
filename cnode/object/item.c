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

static struct value hold_or_copy(const struct value *value)
{
    if (value->block && value->size >= value->block->size / 4 * 3)
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
        struct value kept = hold_or_copy(value);
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

bool item_overwrite(struct item *item, const struct value *value, bool has_stored)
{
    unsigned shape = shape_of(value, has_stored);
    size_t size = value ? value->size : 0;
    if (shape != (item->flags & (ITEM_HAS_STORED | ITEM_EXTERNAL)))
        return false;
    if (shape & ITEM_EXTERNAL) {
        struct value kept = hold_or_copy(value);
        if (!kept.block)
            return false;
        value_drop(external_of(item));
        *external_of(item) = kept;
        return true;
    }
    if (size != item->value_size)
        return false;
    /* The caller may store what it has just read from here. */
    if (size > 0)
        memmove(inline_of(item), value->data, size);
    return true;
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
