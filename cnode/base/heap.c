/* heap: one door for all memory of the core, so that tests can close it. */
#include <stdlib.h>
#include <string.h>

#include "brain/base.h"

static const struct heap_hooks from_libc = {malloc, realloc, free};

/* Written only by tests, while a single thread runs. */
static struct heap_hooks hooks = {malloc, realloc, free};
static bool replaced;

/* malloc(0) and realloc(p, 0) may answer NULL without a failure; one byte never does. */
static size_t at_least_one(size_t size)
{
    return size != 0 ? size : 1;
}

void *heap_allocate(size_t size)
{
    return hooks.allocate(at_least_one(size));
}

void *heap_allocate_zeroed(size_t size)
{
    /* calloc(3) knows which pages come zeroed from the kernel: large tables cost nothing at first.
     */
    if (!replaced)
        return calloc(1, at_least_one(size));
    void *memory = hooks.allocate(at_least_one(size));
    if (memory != NULL)
        memset(memory, 0, at_least_one(size));
    return memory;
}

void *heap_resize(void *memory, size_t size)
{
    return hooks.resize(memory, at_least_one(size));
}

void heap_release(void *memory)
{
    hooks.release(memory);
}

void heap_set_hooks(const struct heap_hooks *replacement)
{
    replaced = replacement != NULL;
    hooks = replaced ? *replacement : from_libc;
}
