/* Ids: the rule of docs/protocol.md, "Ids". */
#include <string.h>

#include "term.h"

struct id_text {
    uint8_t *text;
    size_t size;
    bool too_long;
};

static void id_append(struct id_text *id, const uint8_t *data, size_t size)
{
    if (size > ID_LIMIT - id->size) {
        id->too_long = true;
        return;
    }
    memcpy(id->text + id->size, data, size);
    id->size += size;
}

/* Latin-1 and UTF-8 atoms of the same characters are the same atom, so the same id. */
static void id_from_atom(struct id_text *id, const uint8_t *term)
{
    struct slice text = etf_atom_text(term);
    if (term[0] == ETF_ATOM_UTF8 || term[0] == ETF_SMALL_ATOM_UTF8) {
        id_append(id, text.data, text.size);
        return;
    }
    for (size_t i = 0; i < text.size; i++) {
        uint8_t character[4];
        id_append(id, character, utf8_encode(text.data[i], character));
    }
}

/* Reads the code points of a list, heads and tail, that is known to be well formed. A tail may be
 * a string or a list in its turn: [$a | "bc"] is "abc". Returns how many, or -1 when it is no list
 * of code points, or one of more than ID_LIMIT of them, each of which takes a byte or more. */
static int points_of(struct etf_reader *term, uint32_t points[ID_LIMIT])
{
    unsigned count = 0;
    while (etf_peek(term) == ETF_LIST) {
        uint32_t length;
        etf_read_list(term, &length);
        if (length > ID_LIMIT - count)
            return -1;
        for (uint32_t i = 0; i < length; i++) {
            uint64_t point;
            if (etf_read_uint64(term, &point) != 0 || point > 0x10ffff ||
                (point >= 0xd800 && point <= 0xdfff))
                return -1;
            points[count++] = (uint32_t)point;
        }
    }
    if (etf_peek(term) == ETF_NIL)
        return (int)count;
    if (etf_peek(term) != ETF_STRING)
        return -1;
    size_t length = load_be16(term->at + 1);
    if (length > ID_LIMIT - count)
        return -1;
    for (size_t i = 0; i < length; i++)
        points[count++] = term->at[3 + i];
    return (int)count;
}

/* A list of bytes may hold characters (Erlang's "hé") or UTF-8 already (PHP's "hé"): it is taken
 * for UTF-8 when it is some with a character beyond ASCII, which real Latin-1 text hardly ever is.
 */
static bool id_from_list(struct id_text *id, struct etf_reader term)
{
    uint32_t points[ID_LIMIT];
    int count = points_of(&term, points);
    if (count < 0)
        return false;
    uint8_t bytes[ID_LIMIT];
    uint32_t highest = 0;
    for (int i = 0; i < count; i++) {
        bytes[i] = (uint8_t)points[i];
        highest = points[i] > highest ? points[i] : highest;
    }
    if (highest >= 0x80 && highest <= 0xff && utf8_is_valid(slice_of(bytes, (size_t)count))) {
        id_append(id, bytes, (size_t)count);
        return true;
    }
    for (int i = 0; i < count && !id->too_long; i++) {
        uint8_t character[4];
        id_append(id, character, utf8_encode(points[i], character));
    }
    return true;
}

int etf_read_id(struct etf_reader *reader, uint8_t text[ID_LIMIT], size_t *size)
{
    struct slice term;
    int status = etf_read_term(reader, &term);
    if (status != 0)
        return status;

    struct id_text id = {text, 0, false};
    uint8_t tag = term.data[0];
    struct etf_reader inside;
    etf_reader_init(&inside, term, reader->limits);
    struct slice bytes;
    if (etf_read_binary(&inside, &bytes) == 0) {
        id_append(&id, bytes.data, bytes.size);
    } else if (etf_is_atom(tag)) {
        id_from_atom(&id, term.data);
    } else if (etf_is_integer(tag)) {
        struct etf_integer integer;
        etf_integer_of(term.data, &integer);
        id.size = etf_decimal(&integer, text, ID_LIMIT);
    } else if (tag == ETF_STRING || tag == ETF_LIST) {
        if (!id_from_list(&id, inside))
            return BRAIN_EBADID;
    } else {
        return BRAIN_EBADID;
    }
    if (id.size == 0 || id.too_long)
        return BRAIN_EBADID;
    *size = id.size;
    return 0;
}
