#include "frame_assembly.h"

#include <assert.h>
#include <string.h>

int frame_account_take(struct frame_account *account, uint64_t bytes)
{
    if (bytes > account->limit || account->held > account->limit - bytes)
        return BRAIN_ETOOBIG;
    if (account->total != NULL && !budget_take(account->total, bytes))
        return BRAIN_ETOOBIG;
    account->held += bytes;
    return 0;
}

void frame_account_give(struct frame_account *account, uint64_t bytes)
{
    assert(account->held >= bytes);
    account->held -= bytes;
    if (account->total != NULL)
        budget_give(account->total, bytes);
}

static int open_with(
    struct frame_assembly *assembly, struct frame_account *account, size_t capacity)
{
    *assembly = (struct frame_assembly){.block = NULL};
    int status = frame_account_take(account, capacity);
    if (status < 0)
        return status;
    assembly->block = block_create(capacity);
    if (assembly->block == NULL) {
        frame_account_give(account, capacity);
        return BRAIN_ENOMEM;
    }
    assembly->charged = capacity;
    return 0;
}

/* Promises of a peer never take what others, or its other messages, really need. */
static bool may_expect(const struct frame_account *account, uint64_t bytes)
{
    const struct budget *total = account->total;
    return bytes <= account->limit / 2 && account->held <= account->limit / 2 - bytes &&
           (total == NULL || (bytes <= total->limit_bytes / 2 &&
                                 total->used_bytes <= total->limit_bytes / 2 - bytes));
}

int frame_assembly_open(struct frame_assembly *assembly, struct frame_account *account,
    size_t needed, uint64_t expected)
{
    if (expected > needed && may_expect(account, expected) &&
        open_with(assembly, account, (size_t)expected) == 0)
        return 0;
    return open_with(assembly, account, needed);
}

void frame_assembly_close(struct frame_assembly *assembly, struct frame_account *account)
{
    if (assembly->scanner_open)
        etf_scanner_release(&assembly->scanner);
    block_drop(assembly->block);
    frame_account_give(account, assembly->charged);
    *assembly = (struct frame_assembly){.block = NULL};
}

/* Grows to exactly `capacity`. */
static int grow(struct frame_assembly *assembly, struct frame_account *account, uint64_t capacity)
{
    uint64_t more = capacity - assembly->charged;
    int status = frame_account_take(account, more);
    if (status < 0)
        return status;
    struct block *grown = block_resize(assembly->block, (size_t)capacity);
    if (grown == NULL) {
        frame_account_give(account, more);
        return BRAIN_ENOMEM;
    }
    assembly->block = grown;
    assembly->charged = capacity;
    return 0;
}

int frame_assembly_reserve(
    struct frame_assembly *assembly, struct frame_account *account, uint64_t more, uint64_t limit)
{
    if (more > limit || assembly->size > limit - more)
        return BRAIN_ETOOBIG;
    uint64_t needed = assembly->size + more;
    if (needed <= assembly->charged)
        return 0;
    uint64_t doubled = assembly->charged > limit / 2 ? limit : assembly->charged * 2;
    if (doubled > needed) {
        int status = grow(assembly, account, doubled);
        if (status != BRAIN_ETOOBIG)
            return status;
    }
    /* Near a limit only what is really needed is asked for. */
    return grow(assembly, account, needed);
}

void frame_assembly_append(struct frame_assembly *assembly, const uint8_t *data, size_t size)
{
    assert(size <= assembly->charged - assembly->size);
    uint8_t *place = assembly->block->bytes + assembly->size;
    if (size > 0 && data != place)
        memcpy(place, data, size);
    assembly->size += size;
}

static void shrink(struct frame_assembly *assembly, struct frame_account *account)
{
    if (assembly->size == assembly->charged || assembly->size == 0)
        return;
    struct block *smaller = block_resize(assembly->block, assembly->size);
    if (smaller == NULL)
        return; /* too large is still right */
    assembly->block = smaller;
    frame_account_give(account, assembly->charged - assembly->size);
    assembly->charged = assembly->size;
}

void frame_assembly_trim(struct frame_assembly *assembly, struct frame_account *account)
{
    /* 300 kB in fragments of 64 KiB leave a twelfth of what they let expect. */
    if (assembly->charged - assembly->size > assembly->charged / 8)
        shrink(assembly, account);
}

void frame_assembly_cut(struct frame_assembly *assembly, struct frame_account *account)
{
    if (assembly->size > assembly->payload + FRAME_LARGE_BYTES)
        assembly->size = assembly->payload + FRAME_LARGE_BYTES;
    shrink(assembly, account);
}

/* Scans in small steps, because only a step that used all of its budget tells how much it looked
 * at: the last one is charged with the bytes it passed, at most the step. */
static int scan(struct etf_scanner *scanner, struct slice payload, uint64_t *budget)
{
    enum { STEP = 1024 };
    while (*budget > 0) {
        const uint64_t step = *budget < STEP ? *budget : STEP;
        const size_t before = scanner->offset;
        int status = etf_scan(scanner, payload, step);
        if (status == ETF_NEED_BUDGET) {
            *budget -= step;
            continue;
        }
        const size_t after = scanner->offset < payload.size ? scanner->offset : payload.size;
        const uint64_t passed = after > before ? after - before : 0;
        *budget -= passed < step ? passed : step;
        return status;
    }
    return ETF_NEED_BUDGET;
}

int frame_assembly_check(
    struct frame_assembly *assembly, struct etf_limits limits, uint64_t *budget, bool last)
{
    if (assembly->payload == 0 || assembly->payload_error != 0)
        return 0;
    struct slice payload =
        slice_of(assembly->block->bytes + assembly->payload, assembly->size - assembly->payload);
    if (payload.size <= FRAME_LARGE_BYTES)
        return 0;
    if (!assembly->scanner_open) {
        etf_scanner_init(&assembly->scanner, limits);
        assembly->scanner_open = true;
    }
    if (!assembly->checked) {
        int status = scan(&assembly->scanner, payload, budget);
        switch (status) {
        case ETF_DONE:
            assembly->checked = true;
            break;
        case ETF_NEED_BYTES:
            if (last)
                assembly->payload_error = BRAIN_ETERM; /* cut */
            return 0;
        case ETF_NEED_BUDGET:
            return 1;
        case BRAIN_ENOMEM:
            return BRAIN_ENOMEM;
        default:
            assembly->payload_error = status;
            return 0;
        }
    }
    if (assembly->scanner.offset < payload.size)
        assembly->payload_error = BRAIN_ETERM; /* two terms */
    return 0;
}
