/* The parser's tokens: numbers, atoms, strings and binaries, as Erlang source has them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"

enum {
    NUMBER_DIGITS = 10000, /* converting takes the square of it; hexadecimal has no such limit */
    FLOAT_CHARACTERS = 400,
};

bool parse_fail(struct parse_text *text, const uint8_t *at, const char *sentence)
{
    if (text->error == NULL) {
        text->error = sentence;
        text->error_at = at;
    }
    return false;
}

void parse_blank(struct parse_text *text)
{
    for (; text->at < text->end; text->at++) {
        if (*text->at == '%')
            while (text->at + 1 < text->end && *text->at != '\n')
                text->at++;
        else if (*text->at > ' ')
            return;
    }
}

bool parse_take(struct parse_text *text, const char *token)
{
    size_t size = strlen(token);
    if ((size_t)(text->end - text->at) < size || memcmp(text->at, token, size) != 0)
        return false;
    text->at += size;
    return true;
}

/* ---- characters ------------------------------------------------------------------------------ */

static int digit_of(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : 99;
}

/* What follows a backslash: \n, \x41, \x{1F600}, \101, \^A, or a character that means itself. */
static bool escape(struct parse_text *text, uint32_t *point)
{
    static const char letters[] = "bdefnrstv0";
    static const uint8_t values[] = {8, 127, 27, 12, 10, 13, 32, 9, 11, 0};
    const uint8_t *at = text->at;
    int c = parse_peek(text, 0);
    if (c >= '0' && c <= '7') {
        *point = 0;
        for (int i = 0; i < 3 && digit_of(parse_peek(text, 0)) < 8; i++)
            *point = *point * 8 + (uint32_t)digit_of(*text->at++);
        return true;
    }
    const char *letter = c > 0 ? memchr(letters, c, sizeof letters - 1) : NULL;
    if (letter != NULL) {
        *point = values[letter - letters];
        text->at++;
        return true;
    }
    if (c == '^' && parse_peek(text, 1) >= '@' && parse_peek(text, 1) <= '_') {
        *point = text->at[1] & 31u;
        text->at += 2;
        return true;
    }
    if (c == 'x') {
        text->at++;
        bool braces = parse_take(text, "{");
        int digits = 0;
        *point = 0;
        while (digit_of(parse_peek(text, 0)) < 16 && digits < (braces ? 6 : 2)) {
            *point = *point * 16 + (uint32_t)digit_of(*text->at++);
            digits++;
        }
        if (digits == 0 || (!braces && digits != 2) || (braces && !parse_take(text, "}")) ||
            *point > 0x10ffff || (*point >= 0xd800 && *point <= 0xdfff))
            return parse_fail(text, at, "not a character number after \\x");
        return true;
    }
    unsigned size = c < 0 ? 0 : utf8_decode(slice_of(at, (size_t)(text->end - at)), point);
    if (size == 0)
        return parse_fail(text, at, "nothing after the backslash");
    text->at += size;
    return true;
}

/* One character of a quoted text, or after $. */
static bool character(struct parse_text *text, uint32_t *point)
{
    const uint8_t *at = text->at;
    if (at == text->end)
        return parse_fail(text, at, "the text ends within a character or a quote");
    if (*at == '\\') {
        text->at++;
        return escape(text, point);
    }
    unsigned size = utf8_decode(slice_of(at, (size_t)(text->end - at)), point);
    if (size == 0)
        return parse_fail(text, at, "not UTF-8");
    text->at += size;
    return true;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Writes sign and magnitude, most significant byte last, in the shortest form. */
static bool write_magnitude(struct parse_text *text, const uint8_t *at, struct buffer *out,
    bool negative, const uint8_t *little, size_t size)
{
    while (size > 0 && little[size - 1] == 0)
        size--;
    if (size <= 8) {
        uint64_t number = 0;
        for (size_t i = size; i > 0; i--)
            number = number << 8 | little[i - 1];
        if (!negative) {
            etf_write_uint64(out, number);
            return true;
        }
        if (number <= INT64_MAX) {
            etf_write_int64(out, -(int64_t)number);
            return true;
        }
    }
    if (size > ((1u << 19) - 1) * 8) /* the longest integer Erlang has */
        return parse_fail(text, at, "the integer is too long");
    buffer_append_u8(out, size > 255 ? ETF_LARGE_BIG : ETF_SMALL_BIG);
    if (size > 255)
        buffer_append_be32(out, (uint32_t)size);
    else
        buffer_append_u8(out, (uint8_t)size);
    buffer_append_u8(out, negative);
    buffer_append(out, little, size);
    return true;
}

/* Past the digits of `base` at the cursor, '_' between two of them allowed. How many, '_' not
 * counted. */
static size_t digits_pass(struct parse_text *text, int base)
{
    size_t count = 0;
    for (;; text->at++) {
        if (digit_of(parse_peek(text, 0)) < base)
            count++;
        else if (count == 0 || parse_peek(text, 0) != '_' || digit_of(parse_peek(text, 1)) >= base)
            return count;
    }
}

/* The digits in [at, end), in `base`, as a term. */
static bool write_digits(struct parse_text *text, struct buffer *out, bool negative,
    const uint8_t *at, const uint8_t *end, size_t count, int base)
{
    const uint8_t *begin = at;
    if (base != 16 && count > NUMBER_DIGITS)
        return parse_fail(text, at, "the integer has too many digits: write it as 16#...");
    if (count == 0)
        return parse_fail(text, at, "digits expected");
    /* No base has digits of more than 6 bits. */
    size_t capacity = base == 16 ? count / 2 + 1 : count * 6 / 32 + 2;
    struct buffer magnitude;
    buffer_init(&magnitude);
    bool good = true;
    if (base == 16) {
        uint8_t *little = buffer_extend(&magnitude, capacity);
        if (little != NULL) {
            memset(little, 0, capacity);
            for (size_t i = 0; end > at;) {
                if (*--end == '_')
                    continue;
                little[i / 2] |= (uint8_t)(digit_of(*end) << (i % 2 * 4));
                i++;
            }
            good = write_magnitude(text, begin, out, negative, little, capacity);
        }
    } else {
        uint8_t *bytes = buffer_extend(&magnitude, 2 * capacity * sizeof(uint32_t));
        if (bytes != NULL) {
            uint32_t *words = (uint32_t *)(void *)bytes;
            size_t used = 0;
            for (; at < end; at++) {
                if (*at == '_')
                    continue;
                uint64_t carry = (uint64_t)digit_of(*at);
                for (size_t i = 0; i < used; i++) {
                    carry += (uint64_t)words[i] * (unsigned)base;
                    words[i] = (uint32_t)carry;
                    carry >>= 32;
                }
                if (carry != 0)
                    words[used++] = (uint32_t)carry;
            }
            uint8_t *little = bytes + capacity * sizeof(uint32_t);
            for (size_t i = 0; i < 4 * used; i++)
                little[i] = (uint8_t)(words[i / 4] >> (8 * (i % 4)));
            good = write_magnitude(text, begin, out, negative, little, 4 * used);
        }
    }
    out->failed = out->failed || magnitude.failed;
    buffer_release(&magnitude);
    return good;
}

/* The float whose text is [at, text->at). */
static bool write_float(struct parse_text *text, struct buffer *out, const uint8_t *at)
{
    char copy[FLOAT_CHARACTERS];
    size_t size = 0;
    for (const uint8_t *p = at; p < text->at; p++) {
        if (*p == '_')
            continue;
        if (size == sizeof copy - 1)
            return parse_fail(text, at, "the float is too long");
        copy[size++] = (char)*p;
    }
    copy[size] = 0;
    double number = strtod(copy, NULL);
    if (!isfinite(number))
        return parse_fail(text, at, "the float is too large");
    etf_write_double(out, number);
    return true;
}

bool parse_number(struct parse_text *text, struct buffer *out)
{
    const uint8_t *begin = text->at;
    bool negative = parse_take(text, "-");
    if (!negative)
        parse_take(text, "+");
    if (parse_peek(text, 0) == '$') {
        text->at++;
        uint32_t point;
        if (!character(text, &point))
            return false;
        etf_write_int64(out, negative ? -(int64_t)point : (int64_t)point);
        return true;
    }
    const uint8_t *digits = text->at;
    size_t count = digits_pass(text, 10);
    const uint8_t *end = text->at;
    if (count > 0 && parse_peek(text, 0) == '#') {
        long base = end - digits > 2 ? 99 : strtol((const char *)digits, NULL, 10);
        if (base < 2 || base > 36)
            return parse_fail(text, digits, "the base of an integer is 2 to 36");
        text->at++;
        digits = text->at;
        count = digits_pass(text, (int)base);
        return write_digits(text, out, negative, digits, text->at, count, (int)base);
    }
    if (count == 0 || parse_peek(text, 0) != '.' || digit_of(parse_peek(text, 1)) > 9)
        return write_digits(text, out, negative, digits, end, count, 10);
    text->at++;
    digits_pass(text, 10);
    if (parse_peek(text, 0) == 'e' || parse_peek(text, 0) == 'E') {
        text->at++;
        if (!parse_take(text, "-"))
            parse_take(text, "+");
        if (digits_pass(text, 10) == 0)
            return parse_fail(text, text->at, "digits expected after the e of a float");
    }
    return write_float(text, out, begin);
}

/* ---- quoted and bare words ------------------------------------------------------------------- */

static bool is_word(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '@';
}

bool parse_atom(struct parse_text *text, struct buffer *out)
{
    const uint8_t *begin = text->at;
    uint8_t atom[4 * 255];
    size_t size = 0, characters = 0;
    bool quoted = parse_take(text, "'");
    while (quoted ? !parse_take(text, "'") : is_word(parse_peek(text, 0))) {
        uint32_t point;
        if (!character(text, &point))
            return false;
        if (++characters > 255)
            return parse_fail(text, begin, "an atom has at most 255 characters");
        size += utf8_encode(point, atom + size);
    }
    etf_write_atom_slice(out, slice_of(atom, size));
    return true;
}

bool parse_string(struct parse_text *text, struct buffer *points)
{
    const uint8_t *begin = text->at;
    text->at++;
    while (!parse_take(text, "\"")) {
        uint32_t point;
        if (text->at == text->end)
            return parse_fail(text, begin, "the string has no end");
        if (!character(text, &point))
            return false;
        buffer_append(points, &point, sizeof point);
        if (points->failed)
            return false;
    }
    return true;
}

/* <<"text">> in Latin-1, <<"text"/utf8>>, bytes as numbers, and all of it mixed. */
static bool binary_segment(struct parse_text *text, struct buffer *out)
{
    const uint8_t *begin = text->at;
    int c = parse_peek(text, 0);
    struct buffer segment;
    buffer_init(&segment);
    bool good;
    if (c == '"') {
        good = parse_string(text, &segment);
        bool utf8 = good && parse_take(text, "/utf8");
        for (size_t i = 0; i < segment.size && good; i += 4) {
            uint32_t point;
            memcpy(&point, segment.data + i, 4);
            uint8_t encoded[4] = {(uint8_t)point};
            if (utf8)
                buffer_append(out, encoded, utf8_encode(point, encoded));
            else if (point <= 255)
                buffer_append_u8(out, (uint8_t)point);
            else
                good = parse_fail(text, begin, "characters beyond 255 need \"...\"/utf8");
        }
    } else if (digit_of(c) <= 9 || c == '$' || c == '-' || c == '+') {
        good = parse_number(text, &segment);
        if (good && !segment.failed) {
            if (segment.data[0] == ETF_SMALL_INTEGER)
                buffer_append_u8(out, segment.data[1]);
            else
                good = parse_fail(text, begin, "a byte of a binary is 0 to 255");
        }
    } else {
        good = parse_fail(text, begin, "a byte or a string expected in the binary");
    }
    out->failed = out->failed || segment.failed;
    buffer_release(&segment);
    return good && !out->failed;
}

bool parse_binary(struct parse_text *text, struct buffer *out)
{
    text->at += 2;
    struct buffer bytes;
    buffer_init(&bytes);
    bool good = true;
    parse_blank(text);
    if (!parse_take(text, ">>")) {
        for (;;) {
            parse_blank(text);
            good = binary_segment(text, &bytes);
            if (!good)
                break;
            parse_blank(text);
            if (parse_take(text, ">>"))
                break;
            if (!parse_take(text, ",")) {
                good = parse_fail(text, text->at, "',' or '>>' expected in the binary");
                break;
            }
        }
    }
    if (good)
        etf_write_binary(out, buffer_slice(&bytes));
    out->failed = out->failed || bytes.failed;
    buffer_release(&bytes);
    return good;
}
