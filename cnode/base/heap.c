/* heap: one door for all memory of the core, so that tests can close it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "brain/base.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

static const struct heap_hooks from_libc = {.allocate = malloc, .resize = realloc, .release = free};

/* Written only by tests, while a single thread runs. */
static struct heap_hooks hooks = {.allocate = malloc, .resize = realloc, .release = free};
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

/* ---- areas ----------------------------------------------------------------------------------- */

static bool is_area(size_t size)
{
    return size >= 4096 && (size & (size - 1)) == 0 && size <= SIZE_MAX / 2;
}

void *heap_map(size_t size)
{
    assert(is_area(size));
    if (hooks.may_map && !hooks.may_map())
        return NULL;
    /* Twice as much, and what lies before and after the aligned part goes back. */
    uint8_t *wide =
        mmap(NULL, size * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (wide == MAP_FAILED) {
        if (hooks.may_map && hooks.unmapped)
            hooks.unmapped();
        return NULL;
    }
    size_t before = -(uintptr_t)wide & (size - 1);
    uint8_t *area = wide + before;
    if (before > 0)
        munmap(wide, before);
    munmap(area + size, size - before);
    /* Not by itself: a huge page takes RAM for parts that nobody has touched, and the kernel makes
     * one again of an area of which most was given back. */
    heap_use_small_pages(area, size);
#ifdef __SANITIZE_ADDRESS__
    __lsan_register_root_region(area, size);
#endif
    return area;
}

void heap_unmap(void *area, size_t size)
{
    assert(is_area(size));
#ifdef __SANITIZE_ADDRESS__
    __lsan_unregister_root_region(area, size);
#endif
    munmap(area, size);
    if (hooks.unmapped)
        hooks.unmapped();
}

/* These are advice: where the kernel does not know it, or refuses, all goes on with more RAM or
 * less speed. */
void heap_discard(void *part, size_t size)
{
    if (madvise(part, size, MADV_DONTNEED) != 0)
        memset(part, 0, size);
}

void heap_use_huge_pages(void *area, size_t size, bool at_once)
{
    madvise(area, size, MADV_HUGEPAGE);
#ifdef MADV_COLLAPSE /* Linux 6.1 */
    if (at_once)
        madvise(area, size, MADV_COLLAPSE);
#else
    (void)at_once;
#endif
}

void heap_use_small_pages(void *area, size_t size)
{
    madvise(area, size, MADV_NOHUGEPAGE);
}
