/* See linear.h. A depth-first search places one operation after another, each of those that began
 * before the first remaining one ended. A state is (operations that must be placed yet, those that
 * may be, value).
 *
 * What keeps it small. A read that fits is placed at once. What need not be placed (a write of
 * unknown outcome, a loss) is placed only right before a read that shows it: elsewhere it would
 * change nothing, or could as well be left out; of two losses that would do, of which one can do
 * all that the other can, only the other is tried. A state with fewer of these left than another
 * one that is the same otherwise leads nowhere that the other does not. A value that somebody still
 * reads is not written over if nothing can bring it back. */
#include "linear.h"

#include <stdlib.h>
#include <string.h>

struct state {
    uint64_t must, may;
    uint32_t value;
    uint32_t next; /* seen: index + 1 of another with the same `must` and value */
};

enum { MASK = 64 };

struct search {
    const struct linear_operation *must[MASK], *may[MASK];
    size_t must_count, may_count;
    uint64_t before[MASK]; /* of must: of these, must have been placed */
    uint64_t less[MASK];   /* of may: losses that this loss could take the place of, at any time */
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

static bool contains_all(
    const uint32_t *values, size_t count, const uint32_t *others, size_t others_count)
{
    for (size_t i = 0; i < others_count; i++) {
        if (!contains(values, count, others[i]))
            return false;
    }
    return true;
}

/* Whatever the other one makes of whatever value, this one can too. */
static bool can_all(const struct linear_operation *loss, const struct linear_operation *other)
{
    return contains_all(loss->allowed, loss->allowed_count, other->allowed, other->allowed_count) &&
           (!loss->from || (other->from && contains_all(loss->from, loss->from_count, other->from,
                                               other->from_count)));
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
    for (size_t i = 0; i < search->must_count; i++) {
        const struct linear_operation *one = search->must[i];
        for (size_t j = 0; one->sender != 0 && j < i; j++) {
            const struct linear_operation *other = search->must[j];
            bool overtaken = other->kind == LINEAR_READ && one->end < other->end;
            if (other->sender == one->sender && !overtaken)
                search->before[i] |= bit(j);
        }
    }
    for (size_t i = 0; i < search->may_count; i++) {
        for (size_t j = 0; search->may[i]->kind == LINEAR_LOSS && j < search->may_count; j++) {
            if (j != i && search->may[j]->kind == LINEAR_LOSS &&
                can_all(search->may[i], search->may[j]) &&
                (j < i || !can_all(search->may[j], search->may[i])))
                search->less[i] |= bit(j);
        }
    }
}

static bool may_be_next(const struct search *search, uint64_t left, uint64_t end, size_t i)
{
    return search->must[i]->start <= end && (search->before[i] & left) == 0;
}

/* Somebody still reads the value, and nothing that is left can bring it back. */
static bool is_needed(const struct search *search, const struct state *state)
{
    bool read = false;
    for (uint64_t left = state->may; left; left &= left - 1) {
        const struct linear_operation *one = search->may[__builtin_ctzll(left)];
        if (one->kind == LINEAR_LOSS ? allows(one, state->value) : one->value == state->value)
            return false;
    }
    for (uint64_t left = state->must; left; left &= left - 1) {
        const struct linear_operation *one = search->must[__builtin_ctzll(left)];
        if (one->value == state->value && one->kind == LINEAR_WRITE)
            return false;
        read |= one->value == state->value;
    }
    return read;
}

/* A read that does not fit, after what need not have happened but would make it fit: a write (of
 * one value, deletes, any is as good as another), or a loss, of two of which one can do all that
 * the other can, the other. */
static void bring(struct search *search, const struct state *state, uint64_t end, size_t read)
{
    uint32_t value = search->must[read]->value;
    uint64_t losses = 0;
    bool written = false;
    for (uint64_t left = state->may; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        const struct linear_operation *one = search->may[i];
        if (one->start > end)
            continue;
        if (one->kind == LINEAR_LOSS) {
            losses |= takes(one, state->value) && allows(one, value) ? bit(i) : 0;
        } else if (one->value == value && !written) {
            written = true;
            push(search, state->must & ~bit(read), state->may & ~bit(i), value);
        }
    }
    for (uint64_t left = losses; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if ((search->less[i] & losses) == 0)
            push(search, state->must & ~bit(read), state->may & ~bit(i), value);
    }
}

static void expand(struct search *search, struct state state)
{
    uint64_t end = UINT64_MAX;
    for (uint64_t left = state.must; left; left &= left - 1) {
        const struct linear_operation *one = search->must[__builtin_ctzll(left)];
        if (one->end < end)
            end = one->end;
    }
    for (uint64_t left = state.must; left; left &= left - 1) {
        size_t i = (size_t)__builtin_ctzll(left);
        if (search->must[i]->kind == LINEAR_READ && search->must[i]->value == state.value &&
            may_be_next(search, state.must, end, i)) {
            push(search, state.must & ~bit(i), state.may, state.value);
            return;
        }
    }
    if (is_needed(search, &state))
        return;
    for (uint64_t left = state.must; left;) { /* from the last one on: the first is tried first */
        size_t i = (size_t)(63 - __builtin_clzll(left));
        left &= ~bit(i);
        if (!may_be_next(search, state.must, end, i))
            continue;
        if (search->must[i]->kind == LINEAR_WRITE)
            push(search, state.must & ~bit(i), state.may, search->must[i]->value);
        else
            bring(search, &state, end, i);
    }
}

/* No more losses happen than there are reads, so this one is not missed if so many others can do
 * all that it can, at any time at which it can. */
static bool is_spare(const struct search *search, const struct linear_operation *loss, size_t reads)
{
    size_t others = 0;
    for (size_t i = 0; i < search->may_count && others < reads; i++)
        others += search->may[i]->kind == LINEAR_LOSS && search->may[i]->start <= loss->start &&
                  can_all(search->may[i], loss);
    return others >= reads;
}

/* The operations that matter. A read that nobody heard the answer of says nothing; nor does a write
 * that nobody heard of, if no read did, nor a loss after the last read. False: too many. */
static bool gather(struct search *search, const struct linear_operation *operations, size_t count)
{
    uint64_t last_read = 0;
    size_t reads = 0;
    for (size_t i = 0; i < count; i++) {
        if (operations[i].kind != LINEAR_READ || !is_known(&operations[i]))
            continue;
        reads++;
        if (operations[i].end > last_read)
            last_read = operations[i].end;
    }
    for (size_t i = 0; i < count; i++) {
        const struct linear_operation *one = &operations[i];
        bool must = one->kind != LINEAR_LOSS && is_known(one), may = false;
        if (one->kind == LINEAR_LOSS)
            may = one->start <= last_read && !is_spare(search, one, reads);
        else if (one->kind == LINEAR_WRITE && !must)
            may = is_read(operations, count, one->value);
        if ((must && search->must_count == MASK) || (may && search->may_count == MASK))
            return false;
        if (must)
            search->must[search->must_count++] = one;
        else if (may)
            search->may[search->may_count++] = one;
    }
    return true;
}

static uint64_t all(size_t count)
{
    return count == MASK ? UINT64_MAX : bit(count) - 1;
}

enum linear_result linear_check(
    const struct linear_operation *operations, size_t count, size_t states_limit)
{
    struct search search = {.must_count = 0};
    if (!gather(&search, operations, count))
        return LINEAR_UNDECIDED;
    prepare(&search);
    enum linear_result result = LINEAR_NO;
    push(&search, all(search.must_count), all(search.may_count), 0);
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
