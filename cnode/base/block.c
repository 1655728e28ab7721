#include <assert.h>
#include <limits.h>
#include <string.h>

#include "brain/base.h"

static bool fits(size_t size)
{
    return size <= SIZE_MAX - sizeof(struct block);
}

struct block *block_create(size_t size)
{
    struct block *block = fits(size) ? heap_allocate(sizeof *block + size) : NULL;
    if (block == NULL)
        return NULL;
    atomic_init(&block->references, 1);
    block->size = size;
    return block;
}

struct block *block_resize(struct block *block, size_t size)
{
    assert(atomic_load_explicit(&block->references, memory_order_relaxed) == 1);
    /* realloc(3) moves large blocks by remapping their pages: a value of tens of MB that grows
     * fragment by fragment is not copied each time. */
    struct block *moved = fits(size) ? heap_resize(block, sizeof *block + size) : NULL;
    if (moved != NULL)
        moved->size = size;
    return moved;
}

struct block *block_hold(struct block *block)
{
    if (block != NULL) {
        /* Relaxed: who holds a reference already sees the bytes; the count orders nothing. */
        unsigned before = atomic_fetch_add_explicit(&block->references, 1, memory_order_relaxed);
        assert(before > 0 && before < UINT_MAX);
        (void)before;
    }
    return block;
}

void block_drop(struct block *block)
{
    if (block == NULL)
        return;
    /* Release: our reads of the bytes are done before the last holder frees them; acquire: that
     * holder frees after everybody's reads. */
    unsigned before = atomic_fetch_sub_explicit(&block->references, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        heap_release(block);
}

struct value value_copy(struct slice bytes)
{
    struct block *block = block_create(bytes.size);
    if (block == NULL)
        return value_none();
    if (bytes.size != 0)
        memcpy(block->bytes, bytes.data, bytes.size);
    return (struct value){block, block->bytes, bytes.size};
}
