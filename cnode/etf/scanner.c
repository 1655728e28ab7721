/* The scanner: one loop over all terms of a term, innermost container first.
 *
 * `current.remaining` counts the terms still to come in the innermost open container; the root is
 * the one term of a container that is not there. A leaf moves `offset` past itself, which may lie
 * beyond the bytes that are here: nothing is looked at until they are. A container claims its
 * elements from the limit at once, so the total is right before any of them is looked at, and the
 * loop has nothing to count per element but `remaining`. */
#include <string.h>

#include "term.h"

void etf_scanner_init(struct etf_scanner *scanner, struct etf_limits limits)
{
    memset(scanner, 0, sizeof *scanner);
    scanner->limits = limits;
    scanner->current.remaining = 1;
    scanner->elements = 1;
    if (limits.max_elements == 0)
        scanner->error = BRAIN_EELEMENTS;
}

void etf_scanner_release(struct etf_scanner *scanner)
{
    heap_release(scanner->levels);
    scanner->levels = NULL;
    scanner->capacity = 0;
}

/* Notes a container that has ended. When all marks are taken, the smallest gives way: containers
 * end before those around them, so the large ones near the root come last. */
static void mark_add(struct etf_marks *marks, size_t begin, size_t end)
{
    uint32_t place = marks->count;
    if (place < ETF_MARKS) {
        marks->count++;
    } else {
        size_t smallest = end - begin;
        for (uint32_t i = 0; i < ETF_MARKS; i++) {
            size_t size = marks->mark[i].end - marks->mark[i].begin;
            if (size < smallest) {
                smallest = size;
                place = i;
            }
        }
        if (place == ETF_MARKS)
            return;
    }
    marks->mark[place] = (struct etf_mark){begin, end};
}

static struct etf_level *levels_of(struct etf_scanner *scanner)
{
    return scanner->levels != NULL ? scanner->levels : scanner->few;
}

/* Room for one more level. Never more than max_depth + 1 of them are asked for. */
static bool levels_grow(struct etf_scanner *scanner)
{
    uint32_t capacity = scanner->capacity == 0 ? 8 * ETF_INLINE_LEVELS : scanner->capacity * 2;
    if (capacity < scanner->capacity || scanner->capacity == UINT32_MAX)
        return false;
    if (scanner->limits.max_depth < UINT32_MAX && capacity > scanner->limits.max_depth + 1)
        capacity = scanner->limits.max_depth + 1;
    struct etf_level *levels =
        heap_resize(scanner->levels, (size_t)capacity * sizeof(struct etf_level));
    if (levels == NULL)
        return false;
    if (scanner->levels == NULL)
        memcpy(levels, scanner->few, sizeof scanner->few);
    scanner->levels = levels;
    scanner->capacity = capacity;
    return true;
}

/* Steps into the container that begins at scanner->offset. 1: done; 0: more bytes are needed; or
 * an error. `current` is the caller's copy of scanner->current. */
static int container_open(
    struct etf_scanner *scanner, struct slice bytes, struct etf_level *current)
{
    struct etf_container container;
    size_t begin = scanner->offset;
    int status = etf_container_read(bytes.data + begin, bytes.size - begin, &container);
    if (status != 1)
        return status;
    if (container.count > scanner->limits.max_elements - scanner->elements)
        return BRAIN_EELEMENTS;
    scanner->elements += container.count;
    scanner->offset = begin + container.header_size;
    current->remaining--;
    if (container.count == 0)
        return 1;

    if (scanner->depth > scanner->limits.max_depth)
        return BRAIN_EDEPTH;
    uint32_t capacity = scanner->levels != NULL ? scanner->capacity : ETF_INLINE_LEVELS;
    if (scanner->depth == capacity && !levels_grow(scanner))
        return BRAIN_ENOMEM;
    if (scanner->depth <= ETF_MARK_DEPTH)
        scanner->mark_begin[scanner->depth] = begin;
    levels_of(scanner)[scanner->depth++] = *current;
    current->remaining = container.count;
    current->fun_end = container.fun_size == 0 ? 0 : begin + container.fun_size;
    return 1;
}

/* Leaves the containers that have nothing more to come. */
static int containers_close(struct etf_scanner *scanner, struct etf_level *current)
{
    const struct etf_level *levels = levels_of(scanner);
    while (current->remaining == 0 && scanner->depth > 0) {
        if (current->fun_end != 0 && current->fun_end != scanner->offset)
            return BRAIN_ETERM;
        *current = levels[--scanner->depth];
        if (scanner->depth <= ETF_MARK_DEPTH) {
            size_t begin = scanner->mark_begin[scanner->depth];
            if (scanner->offset - begin >= ETF_MARK_MIN_BYTES)
                mark_add(&scanner->marks, begin, scanner->offset);
        }
    }
    return 0;
}

/* Leaves that stand next to each other in one container: most of what large terms consist of, so
 * their state is kept in registers. Returns 0 when something else is next (or the container, the
 * bytes or the budget end), or an error. */
static int leaves_pass(
    struct etf_scanner *scanner, struct slice bytes, uint64_t *budget, struct etf_level *current)
{
    const uint8_t *data = bytes.data;
    size_t offset = scanner->offset;
    uint64_t limit = current->remaining < *budget ? current->remaining : *budget;
    uint64_t left = limit;
    int status = 0;
    while (left > 0 && offset < bytes.size) {
        uint8_t tag = data[offset];
        if (tag == ETF_SMALL_INTEGER) {
            offset += 2;
        } else if (tag == ETF_INTEGER) {
            offset += 5;
        } else if (tag == ETF_NIL) {
            offset += 1;
        } else if (etf_is_container(tag)) {
            break;
        } else {
            int64_t size = etf_leaf_size(data + offset, bytes.size - offset);
            if (size <= 0) {
                status = size < 0 ? (int)size : ETF_NEED_BYTES;
                break;
            }
            offset += (size_t)size;
        }
        left--;
    }
    scanner->offset = offset;
    current->remaining -= limit - left;
    *budget -= limit - left;
    return status;
}

int etf_scan(struct etf_scanner *scanner, struct slice bytes, uint64_t budget)
{
    if (scanner->error != 0)
        return scanner->error;
    if (scanner->done)
        return ETF_DONE;

    struct etf_level current = scanner->current;
    int status;
    for (;;) {
        if (current.remaining == 0) {
            status = containers_close(scanner, &current);
            if (status < 0)
                break;
        }
        if (current.remaining == 0) {
            status = scanner->offset > bytes.size ? ETF_NEED_BYTES : ETF_DONE;
            break;
        }
        if (scanner->offset >= bytes.size) {
            status = ETF_NEED_BYTES;
            break;
        }
        if (budget == 0) {
            status = ETF_NEED_BUDGET;
            break;
        }
        if (etf_is_container(bytes.data[scanner->offset])) {
            status = container_open(scanner, bytes, &current);
            if (status <= 0) {
                status = status == 0 ? ETF_NEED_BYTES : status;
                break;
            }
            budget--;
            continue;
        }
        status = leaves_pass(scanner, bytes, &budget, &current);
        if (status != 0)
            break;
    }
    scanner->current = current;
    scanner->done = status == ETF_DONE;
    if (status < 0) {
        scanner->error = status;
        etf_scanner_release(scanner);
    }
    return status;
}

int etf_check(struct slice bytes, struct etf_limits limits, size_t *size)
{
    struct etf_scanner scanner;
    etf_scanner_init(&scanner, limits);
    int status = etf_scan(&scanner, bytes, UINT64_MAX);
    etf_scanner_release(&scanner);
    if (status != ETF_DONE)
        return status < 0 ? status : BRAIN_ETERM;
    *size = scanner.offset;
    return 0;
}
