/* base: what every room stands on: memory, byte ranges, reference-counted values, checksums.
 *
 * Nothing here knows of Erlang, of sockets or of objects. Everything is usable from the pure core:
 * no clock, no descriptor, no global state except the allocation hooks that tests replace. */
#ifndef BRAIN_BASE_H
#define BRAIN_BASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "brain/error.h"

/* ---- memory --------------------------------------------------------------------------------
 *
 * All of the core allocates through these, so that tests can make the n-th allocation fail
 * (test/lib/heap_fault.h). They return NULL on failure; callers return BRAIN_ENOMEM. */
struct heap_hooks {
    void *(*allocate)(size_t size);
    void *(*resize)(void *memory, size_t size);
    void (*release)(void *memory);
    bool (*may_map)(void);  /* false: heap_map fails; NULL: it never does */
    void (*unmapped)(void); /* NULL: nobody counts */
};

void *heap_allocate(size_t size);                    /* uninitialised */
void *heap_allocate_zeroed(size_t size);             /* all bytes 0 */
void *heap_resize(void *memory, size_t size);        /* as realloc(3) */
void heap_release(void *memory);                     /* NULL is allowed */
void heap_set_hooks(const struct heap_hooks *hooks); /* NULL: back to malloc(3); tests only */

/* Areas straight from the kernel, for who manages memory himself: zeroed, aligned to their size,
 * which is a power of two and a multiple of 4096. What is not touched takes no RAM. */
void *heap_map(size_t size);
void heap_unmap(void *area, size_t size);
/* A part of an area (multiples of 4096): its RAM goes back, and it reads as zeroes again. */
void heap_discard(void *part, size_t size);
/* All of the area is in use, or soon will be: the kernel may use huge pages for it, from now on
 * where it is touched, and in its own time; `at_once`: also for what is in use, which copies it
 * (0.2 ms for 2 MiB). Or not any more. */
void heap_use_huge_pages(void *area, size_t size, bool at_once);
void heap_use_small_pages(void *area, size_t size);

/* ---- slice: bytes that somebody else owns ---------------------------------------------------- */
struct slice {
    const uint8_t *data;
    size_t size;
};

static inline struct slice slice_of(const void *data, size_t size)
{
    return (struct slice){(const uint8_t *)data, size};
}
struct slice slice_of_string(const char *text); /* without the NUL */
bool slice_equal(struct slice a, struct slice b);
bool slice_equal_string(struct slice a, const char *text);

/* memcmp(3) == 0 and memcpy(3) for what is usually a few words, where the call costs more than the
 * work. `size` may be 0, and the pointers NULL then. What is copied must not overlap. */
enum { BYTES_FEW = 64 };
static inline bool bytes_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
    uint64_t x, y;
    if (size >= sizeof x) {
        for (size_t i = 0; i < size - sizeof x; i += sizeof x) {
            memcpy(&x, a + i, sizeof x), memcpy(&y, b + i, sizeof y);
            if (x != y)
                return false;
        }
        /* The last word may lap over the one before it. */
        memcpy(&x, a + size - sizeof x, sizeof x), memcpy(&y, b + size - sizeof y, sizeof y);
        return x == y;
    }
    for (size_t i = 0; i < size; i++)
        if (a[i] != b[i])
            return false;
    return true;
}
static inline void bytes_copy(uint8_t *to, const uint8_t *from, size_t size)
{
    struct {
        uint64_t a, b;
    } words;
    if (size > BYTES_FEW) {
        memcpy(to, from, size);
        return;
    }
    if (size >= sizeof words) {
        for (size_t i = 0; i < size - sizeof words; i += sizeof words)
            memcpy(&words, from + i, sizeof words), memcpy(to + i, &words, sizeof words);
        memcpy(&words, from + size - sizeof words, sizeof words);
        memcpy(to + size - sizeof words, &words, sizeof words);
        return;
    }
    if (size >= sizeof words.a) {
        memcpy(&words.a, from, sizeof words.a);
        memcpy(&words.b, from + size - sizeof words.b, sizeof words.b);
        memcpy(to, &words.a, sizeof words.a);
        memcpy(to + size - sizeof words.b, &words.b, sizeof words.b);
        return;
    }
    uint32_t first, last;
    if (size >= sizeof first) {
        memcpy(&first, from, sizeof first);
        memcpy(&last, from + size - sizeof last, sizeof last);
        memcpy(to, &first, sizeof first);
        memcpy(to + size - sizeof last, &last, sizeof last);
        return;
    }
    for (size_t i = 0; i < size; i++)
        to[i] = from[i];
}

/* Big-endian integers, as the network and the external term format have them. The caller has
 * checked the bounds. */
static inline uint16_t load_be16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}
static inline uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint64_t load_be64(const uint8_t *p)
{
    return (uint64_t)load_be32(p) << 32 | load_be32(p + 4);
}
static inline void store_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v;
}
static inline void store_be32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8),
    p[3] = (uint8_t)v;
}
static inline void store_be64(uint8_t *p, uint64_t v)
{
    store_be32(p, (uint32_t)(v >> 32)), store_be32(p + 4, (uint32_t)v);
}

/* ---- buffer: bytes that grow ------------------------------------------------------------------
 *
 * A failed allocation is sticky: `failed` is set, later appends do nothing, and whoever hands the
 * bytes on checks it once (buffer_status). So code that writes a message needs no check per byte.
 */
struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    bool failed;
};

void buffer_init(struct buffer *buffer);    /* empty, owns nothing */
void buffer_release(struct buffer *buffer); /* frees; may be used again */
void buffer_clear(struct buffer *buffer);   /* size 0, capacity kept, failed reset */
uint8_t *buffer_reserve(struct buffer *buffer, size_t size); /* room for `size` more, or NULL */
uint8_t *buffer_extend(struct buffer *buffer, size_t size); /* appends `size` uninitialised bytes */
void buffer_append(struct buffer *buffer, const void *data, size_t size);
void buffer_append_slice(struct buffer *buffer, struct slice bytes);
void buffer_append_u8(struct buffer *buffer, uint8_t v);
void buffer_append_be16(struct buffer *buffer, uint16_t v);
void buffer_append_be32(struct buffer *buffer, uint32_t v);
void buffer_append_be64(struct buffer *buffer, uint64_t v);
int buffer_status(const struct buffer *buffer); /* 0 or BRAIN_ENOMEM */
static inline struct slice buffer_slice(const struct buffer *buffer)
{
    return slice_of(buffer->data, buffer->size);
}

/* ---- block and value: immutable bytes shared between threads --------------------------------
 *
 *   struct block                             struct value (a view; copied freely, counted by hand)
 *   +------------+------+----------------+   +-------+------+------+
 *   | references | size | bytes ...      |<--| block | data | size |
 *   +------------+------+----------------+   +-------+------+------+
 *
 * A block is written by one thread until it is shared, and never changed after that. The count is
 * atomic, so any thread may hold and drop references. */
struct block {
    atomic_uint references;
    bool has_room; /* for all of its class: block.c */
    size_t size;   /* usable bytes */
    uint8_t bytes[];
};

struct value {
    struct block *block; /* NULL: no value, or `data` is borrowed and must not outlive its owner */
    const uint8_t *data;
    size_t size;
};

struct block *block_create(size_t size);                      /* one reference; NULL: no memory */
struct block *block_resize(struct block *block, size_t size); /* sole owner only; NULL: unchanged */
struct block *block_hold(struct block *block);                /* one more reference; NULL allowed */
void block_drop(struct block *block);                         /* the last one frees; NULL allowed */

/* Large blocks (4 KiB to 64 MiB) that are dropped are kept for the next ones, up to `limit_bytes`
 * of them together: fresh pages cost more than the bytes that are received into them. 0, as at the
 * start: none is, and those that are go back to the heap. While it is on, a large block takes up to
 * 3 % more memory than its size. */
void block_recycle(uint64_t limit_bytes);
/* Gives back what nobody needed since the last call, at most 16 MB of it. To be called about every
 * second. */
void block_recycle_trim(void);
/* What lies there now: memory that is taken. Any thread. */
uint64_t block_recycled_bytes(void);

/* A new block holding a copy of `bytes`, one reference. value.block is NULL when out of memory. */
struct value value_copy(struct slice bytes);
static inline struct value value_none(void)
{
    return (struct value){NULL, NULL, 0};
}
static inline struct value value_hold(struct value value)
{
    block_hold(value.block);
    return value;
}
static inline void value_drop(struct value *value)
{
    block_drop(value->block);
    *value = value_none();
}
static inline struct slice value_slice(struct value value)
{
    return slice_of(value.data, value.size);
}

/* ---- budget: a limit on bytes shared by many holders ----------------------------------------- */
struct budget {
    uint64_t limit_bytes;
    uint64_t used_bytes;
};
static inline bool budget_take(struct budget *budget, uint64_t bytes)
{
    if (bytes > budget->limit_bytes || budget->used_bytes > budget->limit_bytes - bytes)
        return false;
    budget->used_bytes += bytes;
    return true;
}
static inline void budget_give(struct budget *budget, uint64_t bytes)
{
    budget->used_bytes = bytes > budget->used_bytes ? 0 : budget->used_bytes - bytes;
}

/* ---- text and checksums ---------------------------------------------------------------------- */

/* Is `bytes` well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms)? */
bool utf8_is_valid(struct slice bytes);

/* CRC-32C (Castagnoli, reflected, initial and final inversion), of `bytes`, continuing from `crc`
 * (0 to start). Uses the processor's instruction where there is one. */
uint32_t crc32c(uint32_t crc, struct slice bytes);
/* crc32c(first, bytes) from second = crc32c(0, bytes), without looking at them again. */
uint32_t crc32c_combine(uint32_t first, uint32_t second, uint64_t second_size);

/* Hex of at most `limit` first bytes, lower case, into `out` (2 * limit + 4 bytes), with "..." when
 * cut. Returns `out`. For log lines that show a bad frame. */
char *hex_of(struct slice bytes, size_t limit, char *out);

#endif
