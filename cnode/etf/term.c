/* Single terms: their sizes and what must hold inside them. Every rule below was compared with
 * OTP 25's own decoder. */
#include "term.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ATOM_CHARACTERS = 255,
    REFERENCE_WORDS = 5,
    FLOAT_TEXT = 31,
    FUN_FIXED = 30, /* tag, size, arity, uniq, index, numfree */
    FUN_FREE = 255, /* as OTP 25 does: 256 free variables are refused */
    /* As OTP 25 does: the longest integer of the 64-bit emulator has 2^19 - 1 words. */
    BIG_BYTES = ((1 << 19) - 1) * 8,
};

static int64_t atom_size(const uint8_t *at, size_t size)
{
    uint8_t tag = at[0];
    bool is_long = tag == ETF_ATOM || tag == ETF_ATOM_UTF8;
    size_t header = is_long ? 3 : 2;
    if (size < header)
        return 0;
    size_t length = is_long ? load_be16(at + 1) : at[1];
    if (tag == ETF_ATOM || tag == ETF_SMALL_ATOM) /* Latin-1: any byte is a character */
        return length > ATOM_CHARACTERS ? BRAIN_ETERM : (int64_t)(header + length);
    if (length > 4 * ATOM_CHARACTERS)
        return BRAIN_ETERM;
    if (size - header < length)
        return 0;
    const uint8_t *text = at + header;
    if (!utf8_is_valid(slice_of(text, length)))
        return BRAIN_ETERM;
    if (length > ATOM_CHARACTERS) {
        unsigned characters = 0;
        for (size_t i = 0; i < length; i++)
            characters += (text[i] & 0xc0) != 0x80;
        if (characters > ATOM_CHARACTERS)
            return BRAIN_ETERM;
    }
    return (int64_t)(header + length);
}

/* An atom, then `rest` bytes: the shape of pids, ports and references. `prefix` bytes come before
 * the atom. */
static int64_t node_and_rest(const uint8_t *at, size_t size, size_t prefix, size_t rest)
{
    if (size <= prefix)
        return 0;
    if (!etf_is_atom(at[prefix]))
        return BRAIN_ETERM;
    int64_t node = atom_size(at + prefix, size - prefix);
    return node <= 0 ? node : (int64_t)(prefix + rest) + node;
}

/* The old forms have a creation of one byte, of which two bits were ever used; OTP 25 refuses the
 * others. */
static int64_t old_identifier_size(const uint8_t *at, size_t size, size_t rest)
{
    int64_t total = node_and_rest(at, size, 1, rest);
    if (total <= 0)
        return total;
    if ((size_t)total > size)
        return 0;
    return at[total - 1] > 3 ? BRAIN_ETERM : total;
}

/* As OTP 25 does: the first word of an old reference has 18 bits. */
enum { OLD_REFERENCE_WORD = 0x3ffff };

static int64_t old_reference_size(const uint8_t *at, size_t size)
{
    int64_t total = old_identifier_size(at, size, 5);
    return total > 0 && load_be32(at + total - 5) > OLD_REFERENCE_WORD ? BRAIN_ETERM : total;
}

static int64_t reference_size(const uint8_t *at, size_t size)
{
    if (size < 3)
        return 0;
    unsigned words = load_be16(at + 1);
    /* OTP 25 takes 0 words in tag 90, by accident: such a reference cannot be made. */
    if (words == 0 || words > REFERENCE_WORDS)
        return BRAIN_ETERM;
    bool is_new = at[0] == ETF_NEWER_REFERENCE;
    size_t creation = is_new ? 4 : 1;
    int64_t total = node_and_rest(at, size, 3, creation + 4 * words);
    if (total <= 0 || is_new)
        return total;
    if ((size_t)total > size)
        return 0;
    const uint8_t *rest = at + total - 4 * words - 1;
    return rest[0] > 3 || load_be32(rest + 1) > OLD_REFERENCE_WORD ? BRAIN_ETERM : total;
}

/* FLOAT_EXT: "%.20e" in 31 bytes, filled up with NUL. OTP 25 wants digits, a point, digits, and a
 * value that is finite. (It takes a comma for the point, too. Nobody sends one: refused.) */
static bool float_text_is_valid(const uint8_t *at)
{
    char text[FLOAT_TEXT + 1];
    memcpy(text, at, FLOAT_TEXT);
    /* Without an end OTP 25 reads on into what its memory holds there: now accepted, now not. */
    if (memchr(text, 0, FLOAT_TEXT) == NULL)
        return false;
    static const char digits[] = "0123456789";
    const char *p = text;
    p += *p == '-' || *p == '+';
    size_t whole = strspn(p, digits);
    p += whole;
    if (whole == 0 || *p++ != '.')
        return false;
    size_t fraction = strspn(p, digits);
    p += fraction;
    if (fraction == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        size_t exponent = strspn(p, digits);
        p += exponent;
        if (exponent == 0)
            return false;
    }
    return *p == 0 && isfinite(strtod(text, NULL));
}

double etf_float_of_text(const uint8_t *at)
{
    char text[FLOAT_TEXT + 1];
    memcpy(text, at, FLOAT_TEXT);
    text[FLOAT_TEXT] = 0;
    return strtod(text, NULL);
}

static int64_t big_size(const uint8_t *at, size_t size)
{
    size_t header = at[0] == ETF_SMALL_BIG ? 3 : 6;
    if (size < header)
        return 0;
    size_t length = at[0] == ETF_SMALL_BIG ? at[1] : load_be32(at + 1);
    /* The sign byte: OTP 25 takes every value but 0 for minus; so is it here. */
    return length > BIG_BYTES ? BRAIN_ETERM : (int64_t)(header + length);
}

static int64_t bit_binary_size(const uint8_t *at, size_t size)
{
    if (size < 6)
        return 0;
    uint32_t length = load_be32(at + 1);
    uint8_t bits = at[5];
    /* As OTP 25 does: no bytes have no bits, every last byte has 1 to 8. */
    if (length == 0 ? bits != 0 : bits == 0 || bits > 8)
        return BRAIN_ETERM;
    return 6 + (int64_t)length;
}

/* fun M:F/A: two atoms and a small integer. OTP 25 takes any small integer for the arity, and
 * shows it modulo 2^32; functions have at most 255 arguments, so more is refused. */
static int64_t export_size(const uint8_t *at, size_t size)
{
    size_t offset = 1;
    for (int part = 0; part < 2; part++) {
        if (size <= offset)
            return 0;
        if (!etf_is_atom(at[offset]))
            return BRAIN_ETERM;
        int64_t atom = atom_size(at + offset, size - offset);
        if (atom <= 0)
            return atom;
        offset += (size_t)atom;
        if (offset > size)
            return 0;
    }
    if (size <= offset)
        return 0;
    if (!etf_is_integer(at[offset]))
        return BRAIN_ETERM;
    int64_t arity = etf_leaf_size(at + offset, size - offset);
    if (arity <= 0)
        return arity;
    if (arity > 16) /* a small integer with many leading zeros */
        return BRAIN_ETERM;
    if ((size_t)arity > size - offset)
        return 0;
    struct etf_integer number;
    etf_integer_of(at + offset, &number);
    if (number.negative || number.size > 1)
        return BRAIN_ETERM;
    return (int64_t)offset + arity;
}

int64_t etf_leaf_size(const uint8_t *at, size_t size)
{
    switch (at[0]) {
    case ETF_SMALL_INTEGER:
        return 2;
    case ETF_INTEGER:
        return 5;
    case ETF_NIL:
        return 1;
    case ETF_NEW_FLOAT:
        if (size < 9)
            return 0;
        /* As OTP 25 does: neither infinity nor NaN. */
        return (load_be16(at + 1) & 0x7ff0) == 0x7ff0 ? BRAIN_ETERM : 9;
    case ETF_FLOAT:
        if (size < 1 + FLOAT_TEXT)
            return 0;
        return float_text_is_valid(at + 1) ? 1 + FLOAT_TEXT : BRAIN_ETERM;
    case ETF_ATOM:
    case ETF_SMALL_ATOM:
    case ETF_ATOM_UTF8:
    case ETF_SMALL_ATOM_UTF8:
        return atom_size(at, size);
    case ETF_STRING:
        return size < 3 ? 0 : 3 + (int64_t)load_be16(at + 1);
    case ETF_BINARY:
        return size < 5 ? 0 : 5 + (int64_t)load_be32(at + 1);
    case ETF_BIT_BINARY:
        return bit_binary_size(at, size);
    case ETF_SMALL_BIG:
    case ETF_LARGE_BIG:
        return big_size(at, size);
    case ETF_PID:
        return old_identifier_size(at, size, 9);
    case ETF_NEW_PID:
        return node_and_rest(at, size, 1, 12);
    case ETF_PORT:
        return old_identifier_size(at, size, 5);
    case ETF_NEW_PORT:
        return node_and_rest(at, size, 1, 8);
    case ETF_V4_PORT:
        return node_and_rest(at, size, 1, 12);
    case ETF_REFERENCE:
        return old_reference_size(at, size);
    case ETF_NEW_REFERENCE:
    case ETF_NEWER_REFERENCE:
        return reference_size(at, size);
    case ETF_EXPORT:
        return export_size(at, size);
    default:
        /* Also those that OTP 25 refuses, though the standard lists them: FUN_EXT (117) is gone,
         * and COMPRESSED (80) and atom cache references (82) never stand inside a term. */
        return BRAIN_ETERM;
    }
}

/* Module, old index, old uniq and creator of a fun. OTP 25 neither looks at the size field nor
 * cares what the creator is (any term will do); every Erlang node sends both right, and only what
 * is right is accepted here, since others rely on the size to step over funs. */
static int fun_read(const uint8_t *at, size_t size, struct etf_container *container)
{
    if (size < FUN_FIXED)
        return 0;
    container->fun_size = 1 + (size_t)load_be32(at + 1);
    container->count = load_be32(at + 26);
    if (container->count > FUN_FREE || container->fun_size < FUN_FIXED)
        return BRAIN_ETERM;
    size_t offset = FUN_FIXED;
    for (int part = 0; part < 4; part++) {
        if (size <= offset)
            return 0;
        uint8_t tag = at[offset];
        bool fits = part == 0 ? etf_is_atom(tag)
                    : part < 3
                        ? tag == ETF_SMALL_INTEGER || tag == ETF_INTEGER || tag == ETF_SMALL_BIG
                        : tag == ETF_PID || tag == ETF_NEW_PID;
        if (!fits)
            return BRAIN_ETERM;
        int64_t term = etf_leaf_size(at + offset, size - offset);
        if (term < 0)
            return (int)term;
        if (term == 0 || (size_t)term > size - offset)
            return 0;
        /* Old index and uniq: small integers (60 bits). */
        if (part == 1 || part == 2) {
            struct etf_integer number;
            etf_integer_of(at + offset, &number);
            uint64_t magnitude = 0;
            for (size_t i = number.size; i > 0 && number.size <= 8; i--)
                magnitude = magnitude << 8 | number.little[i - 1];
            uint64_t limit = ((uint64_t)1 << 59) - !number.negative;
            if (number.size > 8 || magnitude > limit)
                return BRAIN_ETERM;
        }
        offset += (size_t)term;
    }
    if (container->fun_size < offset || (container->count == 0 && container->fun_size != offset))
        return BRAIN_ETERM;
    container->header_size = offset;
    return 1;
}

int etf_container_read(const uint8_t *at, size_t size, struct etf_container *container)
{
    container->fun_size = 0;
    switch (at[0]) {
    case ETF_SMALL_TUPLE:
        if (size < 2)
            return 0;
        container->header_size = 2;
        container->count = at[1];
        return 1;
    case ETF_LARGE_TUPLE:
    case ETF_LIST:
    case ETF_MAP:
        if (size < 5)
            return 0;
        container->header_size = 5;
        container->count = load_be32(at + 1);
        if (at[0] == ETF_LIST) /* as OTP 25 does: no heads and a tail is the tail */
            container->count++;
        else if (at[0] == ETF_MAP)
            container->count *= 2;
        return 1;
    case ETF_NEW_FUN:
        return fun_read(at, size, container);
    default:
        return BRAIN_ETERM;
    }
}

struct slice etf_atom_text(const uint8_t *at)
{
    if (at[0] == ETF_ATOM || at[0] == ETF_ATOM_UTF8)
        return slice_of(at + 3, load_be16(at + 1));
    return slice_of(at + 2, at[1]);
}
