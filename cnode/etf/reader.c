/* The reader: a cursor over one term. */
#include <string.h>

#include "term.h"

void etf_reader_init(struct etf_reader *reader, struct slice bytes, struct etf_limits limits)
{
    reader->base = reader->at = bytes.data;
    reader->end = bytes.data == NULL ? NULL : bytes.data + bytes.size;
    reader->marks = NULL;
    reader->limits = limits;
}

static size_t left(const struct etf_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* Moves past the next term, which must be a leaf, whole. Returns where it began, or NULL. */
static const uint8_t *leaf_take(struct etf_reader *reader)
{
    if (etf_at_end(reader))
        return NULL;
    const uint8_t *at = reader->at;
    int64_t size = etf_leaf_size(at, left(reader));
    if (size <= 0 || (size_t)size > left(reader))
        return NULL;
    reader->at += size;
    return at;
}

/* The header of a container with a count of 32 bits. */
static int count_take(struct etf_reader *reader, uint32_t *count)
{
    if (left(reader) < 5)
        return BRAIN_ETERM;
    *count = load_be32(reader->at + 1);
    reader->at += 5;
    return 0;
}

int etf_read_tuple(struct etf_reader *reader, uint32_t *arity)
{
    int tag = etf_peek(reader);
    if (tag == ETF_LARGE_TUPLE)
        return count_take(reader, arity);
    if (tag != ETF_SMALL_TUPLE || left(reader) < 2)
        return BRAIN_ETERM;
    *arity = reader->at[1];
    reader->at += 2;
    return 0;
}

int etf_read_list(struct etf_reader *reader, uint32_t *length)
{
    int tag = etf_peek(reader);
    if (tag == ETF_LIST)
        return count_take(reader, length);
    if (tag != ETF_NIL)
        return BRAIN_ETERM;
    *length = 0;
    reader->at += 1;
    return 0;
}

int etf_read_map(struct etf_reader *reader, uint32_t *pairs)
{
    return etf_peek(reader) == ETF_MAP ? count_take(reader, pairs) : BRAIN_ETERM;
}

static bool is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] >= 0x80)
            return false;
    return true;
}

/* Text of the atom at `at`, when it is UTF-8 as it stands. */
static bool atom_borrow(const uint8_t *at, struct slice *text)
{
    *text = etf_atom_text(at);
    return at[0] == ETF_ATOM_UTF8 || at[0] == ETF_SMALL_ATOM_UTF8 || is_ascii(*text);
}

int etf_read_atom(struct etf_reader *reader, struct slice *text)
{
    struct etf_reader ahead = *reader;
    if (etf_at_end(reader) || !etf_is_atom(*reader->at))
        return BRAIN_ETERM;
    const uint8_t *at = leaf_take(&ahead);
    struct slice borrowed;
    if (at == NULL || !atom_borrow(at, &borrowed))
        return BRAIN_ETERM;
    *text = borrowed;
    *reader = ahead;
    return 0;
}

bool etf_take_atom(struct etf_reader *reader, const char *text)
{
    struct etf_reader ahead = *reader;
    struct slice atom;
    if (etf_read_atom(&ahead, &atom) != 0 || !slice_equal_string(atom, text))
        return false;
    *reader = ahead;
    return true;
}

/* BIT_BINARY_EXT of whole bytes is the same term as a binary. */
int etf_read_binary(struct etf_reader *reader, struct slice *bytes)
{
    int tag = etf_peek(reader);
    size_t header = tag == ETF_BIT_BINARY ? 6 : 5;
    if ((tag != ETF_BINARY && tag != ETF_BIT_BINARY) || left(reader) < header)
        return BRAIN_ETERM;
    if (tag == ETF_BIT_BINARY && reader->at[5] != 8)
        return BRAIN_ETERM;
    const uint8_t *at = leaf_take(reader);
    if (at == NULL)
        return BRAIN_ETERM;
    *bytes = slice_of(at + header, load_be32(at + 1));
    return 0;
}

/* Sign and magnitude of the next integer. The caller moves on with `ahead` when it likes it. */
static int integer_take(struct etf_reader *ahead, bool *negative, uint64_t *magnitude)
{
    if (etf_at_end(ahead) || !etf_is_integer(*ahead->at))
        return BRAIN_ETERM;
    const uint8_t *at = leaf_take(ahead);
    if (at == NULL)
        return BRAIN_ETERM;
    struct etf_integer integer;
    etf_integer_of(at, &integer);
    if (integer.size > 8)
        return BRAIN_ETERM;
    *negative = integer.negative;
    *magnitude = 0;
    for (size_t i = integer.size; i > 0; i--)
        *magnitude = *magnitude << 8 | integer.little[i - 1];
    return 0;
}

int etf_read_uint64(struct etf_reader *reader, uint64_t *number)
{
    struct etf_reader ahead = *reader;
    bool negative;
    uint64_t magnitude;
    int status = integer_take(&ahead, &negative, &magnitude);
    if (status != 0 || negative)
        return BRAIN_ETERM;
    *number = magnitude;
    *reader = ahead;
    return 0;
}

int etf_read_int64(struct etf_reader *reader, int64_t *number)
{
    struct etf_reader ahead = *reader;
    bool negative;
    uint64_t magnitude;
    int status = integer_take(&ahead, &negative, &magnitude);
    if (status != 0 || magnitude > (uint64_t)INT64_MAX + negative)
        return BRAIN_ETERM;
    *number = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    *reader = ahead;
    return 0;
}

static int leaf_take_of(struct etf_reader *reader, bool right_kind, struct slice *term)
{
    const uint8_t *at = right_kind ? leaf_take(reader) : NULL;
    if (at == NULL)
        return BRAIN_ETERM;
    *term = slice_of(at, (size_t)(reader->at - at));
    return 0;
}

int etf_read_pid(struct etf_reader *reader, struct slice *term)
{
    int tag = etf_peek(reader);
    return leaf_take_of(reader, tag == ETF_NEW_PID || tag == ETF_PID, term);
}

int etf_read_reference(struct etf_reader *reader, struct slice *term)
{
    int tag = etf_peek(reader);
    return leaf_take_of(reader,
        tag == ETF_NEWER_REFERENCE || tag == ETF_NEW_REFERENCE || tag == ETF_REFERENCE, term);
}

/* Where the container at the cursor ends, when the scan noted it; else 0. */
static size_t marked_size(const struct etf_reader *reader)
{
    if (reader->marks == NULL)
        return 0;
    size_t begin = (size_t)(reader->at - reader->base);
    for (uint32_t i = 0; i < reader->marks->count; i++) {
        const struct etf_mark *mark = &reader->marks->mark[i];
        if (mark->begin == begin && mark->end - begin <= left(reader))
            return mark->end - begin;
    }
    return 0;
}

int etf_skip(struct etf_reader *reader)
{
    if (etf_at_end(reader))
        return BRAIN_ETERM;
    if (!etf_is_container(*reader->at))
        return leaf_take(reader) == NULL ? BRAIN_ETERM : 0;
    size_t size = marked_size(reader);
    if (size == 0) {
        int status = etf_check(slice_of(reader->at, left(reader)), reader->limits, &size);
        if (status != 0)
            return status;
    }
    reader->at += size;
    return 0;
}

int etf_read_term(struct etf_reader *reader, struct slice *term)
{
    const uint8_t *at = reader->at;
    int status = etf_skip(reader);
    if (status == 0)
        *term = slice_of(at, (size_t)(reader->at - at));
    return status;
}

int etf_pid_parts(struct slice term, struct etf_pid *pid)
{
    struct etf_reader reader;
    etf_reader_init(&reader, term, (struct etf_limits){0, 1});
    struct slice whole, node;
    if (etf_read_pid(&reader, &whole) != 0 || !etf_at_end(&reader) ||
        !atom_borrow(term.data + 1, &node))
        return BRAIN_ETERM;
    const uint8_t *rest = node.data + node.size;
    pid->node = node;
    pid->id = load_be32(rest);
    pid->serial = load_be32(rest + 4);
    pid->creation = term.data[0] == ETF_NEW_PID ? load_be32(rest + 8) : rest[8];
    return 0;
}
