/* stored: writes and reads the form that objects have outside RAM. */
#include "brain/stored.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>

/* Between the version byte and the value there are two tuples and a handful of flat terms. */
static const struct etf_limits head_limits = {.max_depth = 4, .max_elements = 16};

static void write_version(struct buffer *out, struct slice id, struct version version)
{
    etf_write_binary(out, id);
    etf_write_tuple(out, 2);
    etf_write_uint64(out, version.view);
    etf_write_uint64(out, version.counter);
    etf_write_uint64(out, version.seq);
}

/* Up to the checksum; the journal writes it for every set, so its room is looked for once. NULL: no
 * memory. Leaves room for ETF_UINT64_BYTES more. */
static uint8_t *put_head(struct buffer *out, struct slice id, struct version version)
{
    static const uint8_t begin[] = {ETF_VERSION, ETF_SMALL_TUPLE, 6, ETF_SMALL_ATOM_UTF8, 6, 'b',
        'r', 'a', 'i', 'n', '1', ETF_BINARY};
    assert(id.size <= UINT32_MAX);
    uint8_t *at = buffer_reserve(out, sizeof(begin) + 4 + id.size + 2 + 4 * ETF_UINT64_BYTES);
    if (at == NULL)
        return NULL;
    memcpy(at, begin, sizeof(begin));
    store_be32(at + sizeof(begin), (uint32_t)id.size);
    at += sizeof(begin) + 4;
    if (id.size > 0)
        memcpy(at, id.data, id.size);
    at += id.size;
    *at++ = ETF_SMALL_TUPLE;
    *at++ = 2;
    at = etf_put_uint64(at, version.view);
    at = etf_put_uint64(at, version.counter);
    return etf_put_uint64(at, version.seq);
}

void stored_write_head(struct buffer *out, struct slice id, struct version version, uint32_t crc)
{
    uint8_t *at = put_head(out, id, version);
    if (at != NULL)
        out->size = (size_t)(etf_put_uint64(at, crc) - out->data);
}

size_t stored_write_open_head(struct buffer *out, struct slice id, struct version version)
{
    const size_t begin = out->size;
    /* SMALL_BIG_EXT, also where a shorter form would do: it is the one of known size. */
    static const uint8_t four_bytes[] = {ETF_SMALL_BIG, 4, 0, 0, 0, 0, 0};
    uint8_t *at = put_head(out, id, version);
    if (at == NULL)
        return 0;
    memcpy(at, four_bytes, sizeof(four_bytes));
    out->size = (size_t)(at - out->data) + sizeof(four_bytes);
    return out->size - begin - 4;
}

void stored_write_tombstone(
    struct buffer *out, struct slice id, struct version version, uint64_t unix_ms)
{
    etf_write_version(out);
    etf_write_tuple(out, 5);
    etf_write_atom(out, "brain1_deleted");
    write_version(out, id, version);
    etf_write_uint64(out, unix_ms);
}

static int read_version(struct etf_reader *reader, struct stored *stored)
{
    uint32_t arity;
    int status;
    if ((status = etf_read_binary(reader, &stored->id)) != 0 ||
        (status = etf_read_tuple(reader, &arity)) != 0)
        return status;
    if (arity != 2)
        return BRAIN_ECORRUPT;
    if ((status = etf_read_uint64(reader, &stored->version.view)) != 0 ||
        (status = etf_read_uint64(reader, &stored->version.counter)) != 0)
        return status;
    return etf_read_uint64(reader, &stored->version.seq);
}

int stored_read_head(struct slice bytes, struct slice id, struct stored *stored, uint32_t *crc)
{
    struct etf_reader reader;
    uint32_t arity;
    uint64_t number;

    *stored = (struct stored){.deleted = false};
    *crc = 0;
    if (bytes.size == 0 || bytes.data[0] != ETF_VERSION)
        return BRAIN_ECORRUPT;
    etf_reader_init(&reader, slice_of(bytes.data + 1, bytes.size - 1), head_limits);
    if (etf_read_tuple(&reader, &arity) != 0)
        return BRAIN_ECORRUPT;
    if (arity == 6 && etf_take_atom(&reader, "brain1"))
        stored->deleted = false;
    else if (arity == 5 && etf_take_atom(&reader, "brain1_deleted"))
        stored->deleted = true;
    else
        return BRAIN_ECORRUPT;
    if (read_version(&reader, stored) != 0 || etf_read_uint64(&reader, &number) != 0)
        return BRAIN_ECORRUPT;
    if (id.size != 0 && !slice_equal(stored->id, id))
        return BRAIN_ECORRUPT;
    if (stored->deleted) {
        stored->unix_ms = number;
        return etf_at_end(&reader) ? 0 : BRAIN_ECORRUPT;
    }
    if (number > UINT32_MAX || etf_at_end(&reader))
        return BRAIN_ECORRUPT;
    *crc = (uint32_t)number;
    stored->value = slice_of(reader.at, (size_t)(reader.end - reader.at));
    return 0;
}

int stored_read(struct slice bytes, struct slice id, struct stored *stored)
{
    uint32_t crc;
    int status = stored_read_head(bytes, id, stored, &crc);
    if (status != 0)
        return status;
    if (!stored->deleted && crc32c(0, stored->value) != crc)
        return BRAIN_ECORRUPT;
    return 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_plain(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}

void stored_name(struct buffer *out, const char *prefix, struct slice id, size_t limit)
{
    static const char hex[] = "0123456789ABCDEF";
    static const char lower_hex[] = "0123456789abcdef";
    size_t size = strlen(prefix);
    for (size_t i = 0; i < id.size; i++)
        size += is_plain(id.data[i]) ? 1 : 3;

    buffer_append(out, prefix, strlen(prefix));
    if (size <= limit) {
        for (size_t i = 0; i < id.size; i++) {
            uint8_t c = id.data[i];
            if (is_plain(c)) {
                buffer_append_u8(out, c);
                continue;
            }
            buffer_append_u8(out, '%');
            buffer_append_u8(out, (uint8_t)hex[c >> 4]);
            buffer_append_u8(out, (uint8_t)hex[c & 15]);
        }
    } else {
        uint8_t digest[EVP_MAX_MD_SIZE];
        unsigned digest_size = 0;
        if (EVP_Digest(id.data, id.size, digest, &digest_size, EVP_sha256(), NULL) != 1) {
            out->failed = true; /* OpenSSL fails here only for want of memory */
            return;
        }
        buffer_append_u8(out, '~');
        for (unsigned i = 0; i < digest_size; i++) {
            buffer_append_u8(out, (uint8_t)lower_hex[digest[i] >> 4]);
            buffer_append_u8(out, (uint8_t)lower_hex[digest[i] & 15]);
        }
    }
    buffer_append_u8(out, '\0');
    if (!out->failed)
        out->size--;
}
