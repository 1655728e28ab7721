#include "compaction.h"

enum {
    STALE_SHARE = 8,
    AGAIN_SHARE = 64,
    KEPT_MARK = 1, /* external term format begins with 131 */
};

bool compaction_is_stale(uint64_t begun_unix_ms, uint64_t unix_ms, uint64_t tombstone_keep_ms)
{
    const uint64_t apart =
        begun_unix_ms < unix_ms ? unix_ms - begun_unix_ms : begun_unix_ms - unix_ms;
    return apart > tombstone_keep_ms / STALE_SHARE;
}

bool compaction_begin(struct compaction *compaction, const struct compaction_case *what)
{
    const uint64_t keep_ms = what->tombstone_keep_ms;
    const bool again = compaction->first_seq == what->first_seq;
    const bool old = keep_ms > 0 &&
                     compaction_is_stale(what->begun_unix_ms, what->unix_ms, keep_ms) &&
                     !(again && what->now_ms < compaction->again_ms);
    if (what->live == 0 || !(old || what->large))
        return false;
    *compaction = (struct compaction){.first_seq = what->first_seq,
        .last_seq = what->last_seq,
        .under_way = true,
        .again_ms = what->now_ms + keep_ms / AGAIN_SHARE};
    return true;
}

bool compaction_advance(
    struct compaction *compaction, struct store *store, struct holdings *holdings, uint32_t budget)
{
    const uint64_t first = compaction->first_seq, last = compaction->last_seq;
    if (compaction->copies)
        compaction->under_way = holdings_rewrite(holdings, first, last, budget);
    else if (!store_rewrite(store, first, last, budget))
        compaction->under_way = compaction->copies = holdings != NULL;
    return compaction->under_way;
}

/* ---- how old a record is ---------------------------------------------------------------------
 */

size_t kept_write(struct buffer *out, uint64_t unix_ms)
{
    uint8_t header[KEPT_HEADER] = {KEPT_MARK};
    store_be64(header + 1, unix_ms);
    buffer_append(out, header, sizeof(header));
    return sizeof(header);
}

uint64_t kept_read(struct slice *payload)
{
    if (payload->size < KEPT_HEADER || payload->data[0] != KEPT_MARK)
        return 0;
    const uint64_t unix_ms = load_be64(payload->data + 1);
    *payload = slice_of(payload->data + KEPT_HEADER, payload->size - KEPT_HEADER);
    return unix_ms;
}

uint64_t record_age(
    uint64_t lease_age_ms, uint64_t begun_unix_ms, uint64_t kept_unix_ms, uint64_t unix_ms)
{
    const uint64_t wanted_ms = kept_unix_ms != 0 ? kept_unix_ms : begun_unix_ms;
    const uint64_t age_ms = wanted_ms != 0 && wanted_ms < unix_ms ? unix_ms - wanted_ms : 0;
    return age_ms > lease_age_ms ? age_ms : lease_age_ms;
}
