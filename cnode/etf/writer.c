/* The writer: the forms that term_to_binary of OTP 25 writes. */
#include <string.h>

#include "term.h"

void etf_write_version(struct buffer *out)
{
    buffer_append_u8(out, ETF_VERSION);
}

static void tag_and_count(struct buffer *out, enum etf_tag tag, uint32_t count)
{
    buffer_append_u8(out, (uint8_t)tag);
    buffer_append_be32(out, count);
}

void etf_write_tuple(struct buffer *out, uint32_t arity)
{
    if (arity > 255) {
        tag_and_count(out, ETF_LARGE_TUPLE, arity);
        return;
    }
    buffer_append_u8(out, ETF_SMALL_TUPLE);
    buffer_append_u8(out, (uint8_t)arity);
}

/* A list of no heads is its tail: nothing to write before it. */
void etf_write_list(struct buffer *out, uint32_t length)
{
    if (length > 0)
        tag_and_count(out, ETF_LIST, length);
}

void etf_write_nil(struct buffer *out)
{
    buffer_append_u8(out, ETF_NIL);
}

void etf_write_map(struct buffer *out, uint32_t pairs)
{
    tag_and_count(out, ETF_MAP, pairs);
}

void etf_write_atom_slice(struct buffer *out, struct slice text)
{
    if (text.size <= 255) {
        buffer_append_u8(out, ETF_SMALL_ATOM_UTF8);
        buffer_append_u8(out, (uint8_t)text.size);
    } else if (text.size <= 4 * 255) {
        buffer_append_u8(out, ETF_ATOM_UTF8);
        buffer_append_be16(out, (uint16_t)text.size);
    } else {
        out->failed = true; /* no atom: what follows must not be sent */
        return;
    }
    buffer_append_slice(out, text);
}

void etf_write_atom(struct buffer *out, const char *text)
{
    etf_write_atom_slice(out, slice_of_string(text));
}

void etf_write_binary(struct buffer *out, struct slice bytes)
{
    if (bytes.size > UINT32_MAX) {
        out->failed = true;
        return;
    }
    tag_and_count(out, ETF_BINARY, (uint32_t)bytes.size);
    buffer_append_slice(out, bytes);
}

static uint8_t *put_big(uint8_t *at, bool negative, uint64_t magnitude)
{
    at[0] = ETF_SMALL_BIG;
    at[1] = 0;
    at[2] = negative;
    for (; magnitude != 0; magnitude >>= 8)
        at[3 + at[1]++] = (uint8_t)magnitude;
    return at + 3 + at[1];
}

static uint8_t *put_int64(uint8_t *at, int64_t number)
{
    if (number >= 0 && number <= 255) {
        at[0] = ETF_SMALL_INTEGER;
        at[1] = (uint8_t)number;
        return at + 2;
    }
    if (number >= INT32_MIN && number <= INT32_MAX) {
        at[0] = ETF_INTEGER;
        store_be32(at + 1, (uint32_t)number);
        return at + 5;
    }
    return put_big(at, number < 0, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

uint8_t *etf_put_uint64(uint8_t *at, uint64_t number)
{
    return number <= INT64_MAX ? put_int64(at, (int64_t)number) : put_big(at, false, number);
}

void etf_write_uint64(struct buffer *out, uint64_t number)
{
    uint8_t term[ETF_UINT64_BYTES];
    buffer_append(out, term, (size_t)(etf_put_uint64(term, number) - term));
}

void etf_write_int64(struct buffer *out, int64_t number)
{
    uint8_t term[ETF_UINT64_BYTES];
    buffer_append(out, term, (size_t)(put_int64(term, number) - term));
}

void etf_write_double(struct buffer *out, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    buffer_append_u8(out, ETF_NEW_FLOAT);
    buffer_append_be64(out, bits);
}

void etf_write_pid(
    struct buffer *out, struct slice node, uint32_t id, uint32_t serial, uint32_t creation)
{
    buffer_append_u8(out, ETF_NEW_PID);
    etf_write_atom_slice(out, node);
    buffer_append_be32(out, id);
    buffer_append_be32(out, serial);
    buffer_append_be32(out, creation);
}

void etf_write_reference(
    struct buffer *out, struct slice node, uint32_t creation, const uint32_t *words, unsigned count)
{
    buffer_append_u8(out, ETF_NEWER_REFERENCE);
    buffer_append_be16(out, (uint16_t)count);
    etf_write_atom_slice(out, node);
    buffer_append_be32(out, creation);
    for (unsigned i = 0; i < count; i++)
        buffer_append_be32(out, words[i]);
}
