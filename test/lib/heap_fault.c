#include "heap_fault.h"

#include <stdio.h>
#include <stdlib.h>

#include "brain/base.h"

static unsigned countdown;
static bool failed;
static long live;

static bool fails_now(void)
{
    if (countdown == 0 || --countdown != 0)
        return false;
    failed = true;
    return true;
}

static void *fault_allocate(size_t size)
{
    if (fails_now())
        return NULL;
    void *memory = malloc(size);
    live += memory != NULL;
    return memory;
}

static void *fault_resize(void *memory, size_t size)
{
    if (fails_now())
        return NULL;
    void *moved = realloc(memory, size);
    live += memory == NULL && moved != NULL;
    return moved;
}

static void fault_release(void *memory)
{
    live -= memory != NULL;
    free(memory);
}

static bool fault_may_map(void)
{
    if (fails_now())
        return false;
    live++;
    return true;
}

static void fault_unmapped(void)
{
    live--;
}

void heap_fault_start(unsigned fail_at)
{
    static const struct heap_hooks hooks = {.allocate = fault_allocate,
        .resize = fault_resize,
        .release = fault_release,
        .may_map = fault_may_map,
        .unmapped = fault_unmapped};
    countdown = fail_at;
    failed = false;
    live = 0;
    heap_set_hooks(&hooks);
}

bool heap_fault_stop(void)
{
    heap_set_hooks(NULL);
    if (live != 0) {
        fprintf(stderr, "heap_fault: %ld allocations were not released\n", live);
        abort();
    }
    return failed;
}
