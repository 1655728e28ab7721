/* See linear.h. A depth-first search places one operation after another, each of those that began
 * before the first remaining one ended. A state is (operations that must be placed yet, those that
 * may be, value).
 *
 * What keeps it small. A read that fits is placed at once. What need not be placed (a write of
 * unknown outcome, a loss) is placed only right before a read that shows it: elsewhere it would
 * change nothing, or could as well be left out. A state with fewer of these left than another one
 * that is the same otherwise leads nowhere that the other does not. A value that somebody still
 * reads is not written over if nothing can bring it back. */
#include "linear.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct state {
    uint64_t must, may;
    uint32_t value;
    uint32_t next; /* seen: index + 1 of another with the same `must` and value */
};

struct search {
    const struct linear_operation *operations;
    size_t count;
    uint64_t before[LINEAR_LIMIT]; /* must have been placed */
    uint64_t like[LINEAR_LIMIT];   /* losses that allow just the same, and began no later */
    struct state *stack;
    size_t stack_size, stack_capacity;
    struct state *seen;
    size_t seen_count, seen_capacity;
    uint32_t *heads; /* index + 1 of the first with that hash; a power of two of them */
    size_t heads_count;
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

static bool contains(const uint32_t *values, size_t count, uint32_t value)
{
    for (size_t i = 0; i < count; i++) {
        if (values[i] == value)
            return true;
    }
    return false;
}

static bool allows(const struct linear_operation *loss, uint32_t value)
{
    return contains(loss->allowed, loss->allowed_count, value);
}

static bool takes(const struct linear_operation *loss, uint32_t value)
{
    return !loss->from || contains(loss->from, loss->from_count, value);
}

static bool is_same(
    const uint32_t *values, size_t count, const uint32_t *others, size_t others_count)
{
    return count == others_count &&
           (count == 0 || memcmp(values, others, count * sizeof(uint32_t)) == 0);
}

/* ---- states that were seen ----------------------------------------------------------------------
 */

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

static uint32_t *head_of(const struct search *search, const struct state *state)
{
    uint64_t hash = (state->must ^ (uint64_t)state->value << 40) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
    return &search->heads[(size_t)(hash * UINT64_C(0xbf58476d1ce4e5b9) >> 20) &
                          (search->heads_count - 1)];
}

static void grow(struct search *search)
{
    search->seen_capacity = search->seen_capacity ? search->seen_capacity * 4 : 256;
    search->seen = must(realloc(search->seen, search->seen_capacity * sizeof(struct state)));
    free(search->heads);
    search->heads_count = search->seen_capacity * 2;
    search->heads = must(calloc(search->heads_count, sizeof(uint32_t)));
    for (size_t i = 0; i < search->seen_count; i++) {
        uint32_t *head = head_of(search, &search->seen[i]);
        search->seen[i].next = *head;
        *head = (uint32_t)i + 1;
    }
}

/* False: one that leads at least as far was there. */
static bool remember(struct search *search, const struct state *state)
{
    if (search->seen_count == search->seen_capacity)
        grow(search);
    uint32_t *head = head_of(search, state);
    for (uint32_t at = *head; at != 0; at = search->seen[at - 1].next) {
        const struct state *other = &search->seen[at - 1];
        if (other->must == state->must && other->value == state->value &&
            (state->may & ~other->may) == 0)
            return false;
    }
    search->seen[search->seen_count] = *state;
    search->seen[search->seen_count].next = *head;
    *head = (uint32_t)++search->seen_count;
    return true;
}

static void push(struct search *search, uint64_t left, uint64_t may, uint32_t value)
{
    struct state state = {.must = left, .may = may, .value = value};
    if (!remember(search, &state))
        return;
    if (search->stack_size == search->stack_capacity) {
        search->stack_capacity = search->stack_capacity ? search->stack_capacity * 2 : 64;
        search->stack = must(realloc(search->stack, search->stack_capacity * sizeof(struct state)));
    }
    search->stack[search->stack_size++] = state;
}

/* ---- the search ---------------------------------------------------------------------------------
 */

static void prepare(struct search *search)
{
    for (size_t i = 0; i < search->count; i++) {
        const struct linear_operation *one = &search->operations[i];
        for (size_t j = 0; j < i && one->kind == LINEAR_LOSS; j++) {
            const struct linear_operation *other = &search->operations[j];
            if (other->kind == LINEAR_LOSS && other->start <= one->start &&
                is_same(one->allowed, one->allowed_count, other->allowed, other->allowed_count) &&
                is_same(one->from, one->from_count, other->from, other->from_count) &&
                !one->from == !other->from)
                search->like[i] |= bit(j);
        }
        for (size_t j = 0; one->sender != 0 && j < i; j++) {
            const struct linear_operation *other = &search->operations[j];
            if (other->sender != one->sender || other->kind == LINEAR_LOSS)
                continue;
            bool overtaken = other->kind == LINEAR_READ && one->end < other->end;
            if (is_known(one) && is_known(other) && !overtaken)
                search->before[i] |= bit(j);
        }
    }
}

static bool may_be_next(const struct search *search, uint64_t left, uint64_t end, size_t i)
{
    return (left & bit(i)) != 0 && search->operations[i].start <= end &&
           (search->before[i] & left) == 0;
}

/* Somebody still reads the value, and nothing that is left can bring it back. */
static bool is_needed(const struct search *search, const struct state *state)
{
    bool read = false;
    for (uint64_t left = state->must | state->may; left; left &= left - 1) {
        const struct linear_operation *one = &search->operations[__builtin_ctzll(left)];
        if (one->kind == LINEAR_LOSS ? allows(one, state->value)
                                     : one->kind == LINEAR_WRITE && one->value == state->value)
            return false;
        read |= one->kind == LINEAR_READ && one->value == state->value;
    }
    return read;
}

/* A read that does not fit, after what need not have happened but would make it fit. */
static void bring(struct search *search, const struct state *state, uint64_t end, size_t read)
{
    uint32_t value = search->operations[read].value;
    bool written = false; /* of writes of one value (deletes) any is as good as another */
    for (uint64_t left = state->may; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const struct linear_operation *one = &search->operations[i];
        if (one->start > end)
            continue;
        bool fits = one->kind == LINEAR_LOSS ? (search->like[i] & state->may) == 0 &&
                                                   takes(one, state->value) && allows(one, value)
                                             : one->value == value && !written;
        if (!fits)
            continue;
        written |= one->kind == LINEAR_WRITE;
        push(search, state->must & ~bit(read), state->may & ~bit(i), value);
    }
}

static void expand(struct search *search, struct state state)
{
    uint64_t end = UINT64_MAX;
    for (uint64_t left = state.must; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (search->operations[i].end < end)
            end = search->operations[i].end;
    }
    for (uint64_t left = state.must; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const struct linear_operation *one = &search->operations[i];
        if (one->kind == LINEAR_READ && one->value == state.value &&
            may_be_next(search, state.must, end, i)) {
            push(search, state.must & ~bit(i), state.may, state.value);
            return;
        }
    }
    if (is_needed(search, &state))
        return;
    for (size_t n = search->count; n > 0; n--) {
        size_t i = n - 1;
        const struct linear_operation *one = &search->operations[i];
        if (!may_be_next(search, state.must, end, i))
            continue;
        if (one->kind == LINEAR_WRITE)
            push(search, state.must & ~bit(i), state.may, one->value);
        else
            bring(search, &state, end, i);
    }
}

enum linear_result linear_check(
    const struct linear_operation *operations, size_t count, size_t states_limit)
{
    assert(count <= LINEAR_LIMIT);
    struct search search = {.operations = operations, .count = count};
    uint64_t known = 0, may = 0;
    prepare(&search);
    for (size_t i = 0; i < count; i++) {
        const struct linear_operation *one = &operations[i];
        /* A read that nobody heard the answer of says nothing; nor does a write, if no read did. */
        if (one->kind == LINEAR_LOSS)
            may |= bit(i);
        else if (is_known(one))
            known |= bit(i);
        else if (one->kind == LINEAR_WRITE && is_read(operations, count, one->value))
            may |= bit(i);
    }
    enum linear_result result = LINEAR_NO;
    push(&search, known, may, 0);
    while (search.stack_size > 0) {
        struct state state = search.stack[--search.stack_size];
        if (state.must == 0) {
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
    free(search.heads);
    return result;
}
