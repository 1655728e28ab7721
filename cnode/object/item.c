#include "pages.h"

#include <assert.h>
#include <string.h>

/* Where the parts of an item begin. */
struct shape {
    size_t external, id, value, end;
};

static struct shape shape_of(bool has_stored, bool external, size_t id_size, size_t value_size)
{
    struct shape shape;
    shape.external = sizeof(struct item) + (has_stored ? sizeof(struct packed_version) : 0);
    shape.id = shape.external + (external ? sizeof(struct value) : 0);
    shape.value = shape.id + id_size;
    shape.end = shape.value + (external ? 0 : value_size);
    return shape;
}

static struct shape shape_to_be(const struct pages *pages, size_t id_size,
    const struct value *value, bool has_stored, bool *external)
{
    size_t value_size = value ? value->size : 0;
    struct shape shape = shape_of(has_stored, false, id_size, value_size);
    *external = value_size > 0 && shape.end > pages->item_limit;
    return *external ? shape_of(has_stored, true, id_size, value_size) : shape;
}

static bool is_external(const struct item *item)
{
    return item->value_size == ITEM_EXTERNAL;
}

static struct shape shape_of_item(const struct item *item)
{
    assert(item->id_size > 0);
    return shape_of(
        item->flags & ITEM_HAS_STORED, is_external(item), item->id_size, item->value_size);
}

static struct value *external_of(const struct item *item)
{
    return (struct value *)(void *)((char *)item + shape_of_item(item).external);
}

static uint8_t *inline_of(const struct item *item)
{
    return (uint8_t *)item + shape_of_item(item).value;
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

struct item *item_create(
    struct pages *pages, struct slice id, const struct value *value, bool has_stored)
{
    assert(id.size > 0 && id.size <= UINT16_MAX);
    bool external;
    struct shape shape = shape_to_be(pages, id.size, value, has_stored, &external);
    struct value kept = value_none();
    if (external && (kept = item_keep(value)).block == NULL)
        return NULL;
    struct item *item = pages_allocate(pages, shape.end);
    if (!item) {
        value_drop(&kept);
        return NULL;
    }
    *item = (struct item){.id_size = (uint16_t)id.size,
        .value_size = external ? (uint16_t)ITEM_EXTERNAL : (uint16_t)(shape.end - shape.value),
        .flags = has_stored ? ITEM_HAS_STORED : 0};
    memcpy((uint8_t *)item + shape.id, id.data, id.size);
    if (external)
        *external_of(item) = kept;
    else if (shape.end > shape.value)
        memcpy((uint8_t *)item + shape.value, value->data, value->size);
    return item;
}

void item_release(struct pages *pages, struct item *item)
{
    if (is_external(item))
        value_drop(external_of(item));
    pages_free(pages, item);
}

struct item *item_copy(struct pages *pages, const struct item *item)
{
    size_t size = item_size(item);
    struct item *moved = pages_allocate(pages, size);
    if (!moved)
        return NULL;
    memcpy(moved, item, size);
    return moved;
}

bool item_takes(
    const struct pages *pages, const struct item *item, const struct value *value, bool has_stored)
{
    bool external;
    shape_to_be(pages, item->id_size, value, has_stored, &external);
    return has_stored == ((item->flags & ITEM_HAS_STORED) != 0) && external == is_external(item) &&
           (external || (value ? value->size : 0) == item->value_size);
}

void item_overwrite(struct item *item, const struct value *value)
{
    if (is_external(item)) {
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

size_t item_size(const struct item *item)
{
    return shape_of_item(item).end;
}

size_t item_memory_outside(const struct item *item)
{
    return is_external(item) ? block_memory(external_of(item)->block->size) : 0;
}

size_t item_memory_outside_for(const struct pages *pages, size_t id_size, const struct value *value,
    bool has_stored, size_t *slot_size)
{
    bool external;
    *slot_size = shape_to_be(pages, id_size, value, has_stored, &external).end;
    if (!external)
        return 0;
    return block_memory(is_mostly(value) ? value->block->size : value->size);
}

struct slice item_id(const struct item *item)
{
    return slice_of((const uint8_t *)item + shape_of_item(item).id, item->id_size);
}

struct value item_value(const struct item *item)
{
    struct shape shape = shape_of_item(item);
    const uint8_t *bytes = (const uint8_t *)item;
    if (is_external(item))
        return *(const struct value *)(const void *)(bytes + shape.external);
    return (struct value){NULL, bytes + shape.value, item->value_size};
}

size_t item_value_size(const struct item *item)
{
    return is_external(item) ? external_of(item)->size : item->value_size;
}
