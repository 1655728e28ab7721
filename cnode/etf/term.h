/* Private to the room: one term at a time, without what containers hold.
 *
 * Accepts what OTP 25 accepts in `binary_to_term` and in distribution messages (checked against it
 * by test/unit/etf/differential), except for encodings that no Erlang node makes and that OTP takes
 * by accident; those are refused and named where they are. */
#ifndef ETF_TERM_H
#define ETF_TERM_H

#include "brain/etf.h"

/* The size in bytes of the term at `at`, of which `size` >= 1 bytes are here, when it holds no
 * other terms to be counted (everything but tuples, lists, maps and funs; those give BRAIN_ETERM).
 * The size may be larger than `size`: what is missing then needs no look.
 * 0: cannot be told yet, more bytes are needed (always fewer than 2 kB in all). Negative: why the
 * term is refused. */
int64_t etf_leaf_size(const uint8_t *at, size_t size);

/* A container's header. Nothing of what it holds is looked at, but the parts of a fun that are not
 * its environment. */
struct etf_container {
    uint64_t count;     /* terms in it: a list's tail included, keys and values each */
    size_t header_size; /* bytes before the first of them */
    size_t fun_size;    /* a fun's own idea of its size, from its tag; 0: not a fun */
};

/* 1: read. 0: more bytes are needed (fewer than 4 kB in all). BRAIN_ETERM: refused. */
int etf_container_read(const uint8_t *at, size_t size, struct etf_container *container);

static inline bool etf_is_container(uint8_t tag)
{
    return (tag >= ETF_SMALL_TUPLE && tag <= ETF_LARGE_TUPLE) || tag == ETF_LIST ||
           tag == ETF_MAP || tag == ETF_NEW_FUN;
}
static inline bool etf_is_atom(uint8_t tag)
{
    return tag == ETF_SMALL_ATOM_UTF8 || tag == ETF_ATOM_UTF8 || tag == ETF_ATOM ||
           tag == ETF_SMALL_ATOM;
}
static inline bool etf_is_integer(uint8_t tag)
{
    return tag == ETF_SMALL_INTEGER || tag == ETF_INTEGER || tag == ETF_SMALL_BIG ||
           tag == ETF_LARGE_BIG;
}

/* The text of a well-formed atom at `at`: Latin-1 for tags 100 and 115, else UTF-8. */
struct slice etf_atom_text(const uint8_t *at);

/* The value of the 31 characters at `at`, of a well-formed FLOAT_EXT. */
double etf_float_of_text(const uint8_t *at);

/* An integer as sign and magnitude, of a well-formed integer term. */
struct etf_integer {
    bool negative;
    size_t size;           /* bytes of magnitude without leading zeros; 0: zero */
    const uint8_t *little; /* least significant byte first; into the term or `small` */
    uint8_t small[4];
};
void etf_integer_of(const uint8_t *at, struct etf_integer *integer);

/* Decimal text of `integer` (with '-') into `text` of `limit` <= ID_LIMIT bytes; its length, or 0
 * when it does not fit. Work is bounded by `limit`, not by the integer. */
size_t etf_decimal(const struct etf_integer *integer, uint8_t *text, size_t limit);

/* UTF-8 of `point` into `text` (4 bytes); its length, 0 for surrogates and beyond 0x10FFFF. */
unsigned utf8_encode(uint32_t point, uint8_t text[4]);
/* The code point at the start of non-empty `bytes`; its length, or 0 when it is malformed or cut.
 */
unsigned utf8_decode(struct slice bytes, uint32_t *point);

#endif
