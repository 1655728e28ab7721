/* See linear.h. A state is (operations not placed yet, value); a depth-first search places one
 * operation after another, each of those that began before the first remaining one ended. States
 * that were seen lead nowhere. */
#include "linear.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct state {
    uint64_t remaining;
    uint32_t value;
};

struct search {
    const struct linear_operation *operations;
    size_t count;
    uint64_t known;                /* operations that must be placed */
    uint64_t before[LINEAR_LIMIT]; /* must have been placed */
    uint64_t maximum_end;
    struct state *stack;
    size_t stack_size, stack_capacity;
    struct state *seen; /* open addressing; remaining and value 0 are stored + 1 in `used` */
    bool *used;
    size_t seen_count, seen_capacity;
};

static uint64_t bit(size_t i)
{
    return UINT64_C(1) << i;
}

static bool is_known(const struct linear_operation *operation)
{
    return operation->end != UINT64_MAX;
}

static bool is_read(const struct linear_operation *operations, size_t count, uint32_t value)
{
    for (size_t i = 0; i < count; i++) {
        if (operations[i].kind == LINEAR_READ && is_known(&operations[i]) &&
            operations[i].value == value)
            return true;
    }
    return false;
}

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

static size_t place_of(const struct search *search, struct state state)
{
    uint64_t hash = (state.remaining ^ (uint64_t)state.value << 40) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
    size_t i = (size_t)(hash * UINT64_C(0xbf58476d1ce4e5b9) >> 20) & (search->seen_capacity - 1);
    while (search->used[i] &&
           (search->seen[i].remaining != state.remaining || search->seen[i].value != state.value))
        i = (i + 1) & (search->seen_capacity - 1);
    return i;
}

static void grow(struct search *search)
{
    struct state *seen = search->seen;
    bool *used = search->used;
    size_t capacity = search->seen_capacity;
    search->seen_capacity = capacity ? capacity * 4 : 256;
    search->seen = must(calloc(search->seen_capacity, sizeof(struct state)));
    search->used = must(calloc(search->seen_capacity, sizeof(bool)));
    for (size_t i = 0; i < capacity; i++) {
        if (!used[i])
            continue;
        size_t at = place_of(search, seen[i]);
        search->seen[at] = seen[i];
        search->used[at] = true;
    }
    free(seen);
    free(used);
}

/* False: it was there. */
static bool remember(struct search *search, struct state state)
{
    if (search->seen_count * 2 >= search->seen_capacity)
        grow(search);
    size_t at = place_of(search, state);
    if (search->used[at])
        return false;
    search->used[at] = true;
    search->seen[at] = state;
    search->seen_count++;
    return true;
}

static void push(struct search *search, uint64_t remaining, uint32_t value)
{
    struct state state = {remaining, value};
    if (!remember(search, state))
        return;
    if (search->stack_size == search->stack_capacity) {
        search->stack_capacity = search->stack_capacity ? search->stack_capacity * 2 : 64;
        search->stack = must(realloc(search->stack, search->stack_capacity * sizeof(struct state)));
    }
    search->stack[search->stack_size++] = state;
}

static void prepare(struct search *search)
{
    for (size_t i = 0; i < search->count; i++) {
        const struct linear_operation *one = &search->operations[i];
        search->known |= is_known(one) && one->kind != LINEAR_LOSS ? bit(i) : 0;
        for (size_t j = 0; one->sender != 0 && j < search->count; j++) {
            const struct linear_operation *other = &search->operations[j];
            if (other->sender != one->sender || other->kind == LINEAR_LOSS)
                continue;
            bool overtaken = other->kind == LINEAR_READ && one->end < other->end;
            if (j < i && is_known(one) && is_known(other) && !overtaken)
                search->before[i] |= bit(j);
        }
    }
}

static bool may_be_next(const struct search *search, uint64_t remaining, uint64_t end, size_t i)
{
    return (remaining & bit(i)) != 0 && search->operations[i].start <= end &&
           (search->before[i] & remaining) == 0;
}

static void expand(struct search *search, struct state state)
{
    uint64_t end = UINT64_MAX;
    for (uint64_t left = state.remaining; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (search->operations[i].end < end)
            end = search->operations[i].end;
    }
    /* A read that fits may be placed at once: nothing becomes impossible by it. */
    for (uint64_t left = state.remaining; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const struct linear_operation *one = &search->operations[i];
        if (one->kind == LINEAR_READ && one->value == state.value &&
            may_be_next(search, state.remaining, end, i)) {
            push(search, state.remaining & ~bit(i), state.value);
            return;
        }
    }
    for (size_t n = search->count; n > 0; n--) {
        size_t i = n - 1;
        const struct linear_operation *one = &search->operations[i];
        if (!may_be_next(search, state.remaining, end, i))
            continue;
        uint64_t remaining = state.remaining & ~bit(i);
        if (one->kind == LINEAR_WRITE)
            push(search, remaining, one->value);
        else if (one->kind == LINEAR_READ && one->value == state.value)
            push(search, remaining, state.value);
        for (size_t v = 0; one->kind == LINEAR_LOSS && v < one->allowed_count; v++)
            push(search, remaining, one->allowed[v]);
    }
}

enum linear_result linear_check(
    const struct linear_operation *operations, size_t count, size_t states_limit)
{
    assert(count <= LINEAR_LIMIT);
    struct search search = {.operations = operations, .count = count};
    uint64_t all = 0;
    prepare(&search);
    for (size_t i = 0; i < count; i++) {
        const struct linear_operation *one = &operations[i];
        /* A read that nobody heard the answer of says nothing; nor does a write, if no read did. */
        if (is_known(one) || one->kind == LINEAR_LOSS ||
            (one->kind == LINEAR_WRITE && is_read(operations, count, one->value)))
            all |= bit(i);
    }
    enum linear_result result = LINEAR_NO;
    push(&search, all, 0);
    while (search.stack_size > 0) {
        struct state state = search.stack[--search.stack_size];
        if ((state.remaining & search.known) == 0) {
            result = LINEAR_YES;
            break;
        }
        if (search.seen_count > states_limit) {
            result = LINEAR_UNDECIDED;
            break;
        }
        expand(&search, state);
    }
    free(search.stack);
    free(search.seen);
    free(search.used);
    return result;
}
