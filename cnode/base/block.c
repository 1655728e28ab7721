#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "brain/base.h"

/* ---- recycling --------------------------------------------------------------------------------
 *
 * Fresh memory costs a page fault per 4 kB, which is more than copying a value into it: receiving
 * 300 kB into fresh pages took 250 us, into pages that are there 70. So blocks of at least
 * RECYCLE_FROM that are dropped are kept for the next ones, up to a limit, by size classes of 1/32
 * of a power of two: a block of a class has room for every size of it, at most 3 % more than asked
 * for. That is also what keeps memory_limit: what the owner drops is at once what the warehouse's
 * thread reads the next value into, where an allocator leaves holes with the one and takes new
 * pages for the other (values of 20 kB: 91 MB at a limit of 64). The list of a class goes through
 * the bytes of its blocks. What nobody took for a while goes back to the heap (block_recycle_trim).
 */
enum {
    RECYCLE_FROM_BITS = 12, /* 4 KiB: what does not lie in a page of objects */
    RECYCLE_UP_TO_BITS = 26,
    STEP_BITS = 5,
    CLASSES = (RECYCLE_UP_TO_BITS - RECYCLE_FROM_BITS) << STEP_BITS,
    TRIM_BYTES = 16 << 20, /* in one call: 1 to 2 ms of work for the kernel */
};

static struct {
    pthread_mutex_t lock; /* blocks are dropped by the threads of the warehouse, too */
    atomic_bool on;
    uint64_t limit, bytes;
    struct {
        struct block *first;
        uint32_t count, lowest; /* lowest: count, since the last trim */
    } classes[CLASSES];
} recycled = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Under a sanitizer a block that lies here is as forbidden as one that was freed. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
#include <sanitizer/asan_interface.h>
#define FORBID(bytes, size) ASAN_POISON_MEMORY_REGION(bytes, size)
#define ALLOW(bytes, size)  ASAN_UNPOISON_MEMORY_REGION(bytes, size)
#else
#define FORBID(bytes, size) ((void)0)
#define ALLOW(bytes, size)  ((void)0)
#endif

/* The class of blocks with room for `size`, and that room. false: they are not recycled. */
static bool class_of(size_t size, unsigned *class, size_t *room)
{
    const size_t whole = sizeof(struct block) + size;
    if (size < (size_t)1 << RECYCLE_FROM_BITS || whole > (size_t)1 << RECYCLE_UP_TO_BITS)
        return false;
    const unsigned bits = 63 - (unsigned)__builtin_clzll(whole - 1);
    const unsigned shift = bits - STEP_BITS;
    const size_t steps = (whole - 1) >> shift; /* 32 to 63 */
    *class = ((bits - RECYCLE_FROM_BITS) << STEP_BITS) + (unsigned)(steps - (1U << STEP_BITS));
    *room = ((steps + 1) << shift) - sizeof(struct block);
    assert(*room >= size && *class < CLASSES);
    return true;
}

static bool is_on(void)
{
    return atomic_load_explicit(&recycled.on, memory_order_relaxed);
}

static struct block **next_of(struct block *block)
{
    return (struct block **)(void *)block->bytes;
}

/* Under the lock. */
static struct block *pop(unsigned class, size_t room)
{
    struct block *block = recycled.classes[class].first;
    if (block == NULL)
        return NULL;
    ALLOW(block->bytes, room);
    recycled.classes[class].first = *next_of(block);
    if (--recycled.classes[class].count < recycled.classes[class].lowest)
        recycled.classes[class].lowest--;
    recycled.bytes -= sizeof *block + room;
    return block;
}

static struct block *take_recycled(unsigned class, size_t room)
{
    pthread_mutex_lock(&recycled.lock);
    struct block *block = pop(class, room);
    pthread_mutex_unlock(&recycled.lock);
    return block;
}

static bool recycle(struct block *block)
{
    unsigned class;
    size_t room;
    if (!block->has_room || !is_on() || !class_of(block->size, &class, &room))
        return false;
    pthread_mutex_lock(&recycled.lock);
    const uint64_t bytes = recycled.bytes + sizeof *block + room;
    const bool fits = bytes <= recycled.limit;
    if (fits) {
        *next_of(block) = recycled.classes[class].first;
        recycled.classes[class].first = block;
        recycled.classes[class].count++;
        recycled.bytes = bytes;
        FORBID(block->bytes, room);
    }
    pthread_mutex_unlock(&recycled.lock);
    return fits;
}

static size_t room_of_class(unsigned class)
{
    const unsigned shift = (class >> STEP_BITS) + RECYCLE_FROM_BITS - STEP_BITS;
    const size_t steps = (class & ((1U << STEP_BITS) - 1)) + (1U << STEP_BITS);
    return ((steps + 1) << shift) - sizeof(struct block);
}

static void release_all(struct block *first)
{
    while (first != NULL) {
        struct block *next = *next_of(first);
        heap_release(first);
        first = next;
    }
}

void block_recycle(uint64_t limit_bytes)
{
    struct block *gone = NULL;
    pthread_mutex_lock(&recycled.lock);
    recycled.limit = limit_bytes;
    atomic_store(&recycled.on, limit_bytes != 0);
    for (unsigned class = 0; class < CLASSES; class ++) {
        struct block *block;
        while (recycled.bytes > limit_bytes && (block = pop(class, room_of_class(class))) != NULL) {
            *next_of(block) = gone;
            gone = block;
        }
    }
    pthread_mutex_unlock(&recycled.lock);
    release_all(gone);
}

void block_recycle_trim(void)
{
    struct block *gone = NULL;
    pthread_mutex_lock(&recycled.lock);
    const uint64_t before = recycled.bytes;
    for (unsigned class = 0; class < CLASSES; class ++) {
        uint32_t unused = recycled.classes[class].lowest;
        while (unused > 0 && before - recycled.bytes < TRIM_BYTES) {
            struct block *block = pop(class, room_of_class(class));
            *next_of(block) = gone;
            gone = block;
            unused--;
        }
        recycled.classes[class].lowest = recycled.classes[class].count;
    }
    pthread_mutex_unlock(&recycled.lock);
    release_all(gone);
}

uint64_t block_recycled_bytes(void)
{
    pthread_mutex_lock(&recycled.lock);
    const uint64_t bytes = recycled.bytes;
    pthread_mutex_unlock(&recycled.lock);
    return bytes;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static bool fits(size_t size)
{
    return size <= SIZE_MAX - sizeof(struct block);
}

struct block *block_create(size_t size)
{
    struct block *block = NULL;
    unsigned class;
    size_t room = size;
    if (!fits(size))
        return NULL;
    const bool has_room = is_on() && class_of(size, &class, &room);
    if (has_room)
        block = take_recycled(class, room);
    if (block == NULL)
        block = heap_allocate(sizeof *block + room);
    if (block == NULL)
        return NULL;
    atomic_init(&block->references, 1);
    block->has_room = has_room;
    block->size = size;
    return block;
}

/* The pages of a large block behind its first `size` bytes go back to the kernel: an allocator may
 * leave a block that shrinks where it is. */
static void drop_tail(struct block *block, size_t size)
{
    enum { PAGE = 4096 };
    const uintptr_t end = (uintptr_t)(block->bytes + block->size);
    const uintptr_t from = ((uintptr_t)(block->bytes + size) + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    if (block->size >= (size_t)1 << RECYCLE_FROM_BITS && from < end && end - from >= PAGE)
        (void)madvise((void *)from, (end - from) & ~(size_t)(PAGE - 1), MADV_DONTNEED);
}

struct block *block_resize(struct block *block, size_t size)
{
    assert(atomic_load_explicit(&block->references, memory_order_relaxed) == 1);
    unsigned class, class_before;
    size_t room = size, room_before;
    if (!fits(size))
        return NULL;
    const bool has_room = is_on() && class_of(size, &class, &room);
    if (has_room && block->has_room && class_of(block->size, &class_before, &room_before) &&
        class == class_before) {
        block->size = size;
        return block;
    }
    if (size < block->size)
        drop_tail(block, size);
    struct block *moved = heap_resize(block, sizeof *block + room);
    if (moved == NULL)
        return NULL;
    moved->has_room = has_room;
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
    if (before == 1 && !recycle(block))
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
