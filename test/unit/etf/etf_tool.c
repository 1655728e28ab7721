/* etf_tool IN OUT: says what the etf room makes of encoded terms, for `differential`.
 *
 * IN: records of a 32-bit length and that many bytes, a term without version byte each.
 * OUT, per record: status of etf_check as a signed byte; size of the term, 32 bits; text of
 * etf_print; status of etf_parse of that text, a signed byte; its output, or its error text. Texts
 * and outputs are preceded by their length in 32 bits. */
#include <stdio.h>
#include <stdlib.h>

#include "brain/etf.h"

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        return NULL;
    long length = ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(length > 0 ? (size_t)length : 1);
    *size = bytes == NULL ? 0 : fread(bytes, 1, (size_t)length, file);
    fclose(file);
    return bytes;
}

static void append_block(struct buffer *out, struct slice bytes)
{
    buffer_append_be32(out, (uint32_t)bytes.size);
    buffer_append_slice(out, bytes);
}

static void examine(struct slice record, struct buffer *out)
{
    const struct etf_limits limits = {10000, 10000000};
    /* A copy of its own, so that the sanitizer sees a read beyond it. */
    uint8_t *copy = malloc(record.size > 0 ? record.size : 1);
    if (copy == NULL)
        abort();
    for (size_t i = 0; i < record.size; i++)
        copy[i] = record.data[i];
    struct slice bytes = slice_of(copy, record.size);

    size_t size = 0;
    int status = etf_check(bytes, limits, &size);
    buffer_append_u8(out, (uint8_t)status);
    buffer_append_be32(out, (uint32_t)size);
    struct buffer text, term;
    buffer_init(&text);
    buffer_init(&term);
    etf_print(&text, status == 0 ? slice_of(copy, size) : bytes, 1 << 24);
    append_block(out, buffer_slice(&text));
    size_t error_at;
    const char *error_text = "";
    status = etf_parse(&term, buffer_slice(&text), limits, &error_at, &error_text);
    buffer_append_u8(out, (uint8_t)status);
    append_block(out, status == 0 ? buffer_slice(&term) : slice_of_string(error_text));
    buffer_release(&text);
    buffer_release(&term);
    free(copy);
}

int main(int argc, char **argv)
{
    size_t size = 0;
    uint8_t *input = argc == 3 ? read_file(argv[1], &size) : NULL;
    if (input == NULL) {
        fprintf(stderr, "usage: etf_tool IN OUT\n");
        return 2;
    }
    struct buffer out;
    buffer_init(&out);
    for (size_t at = 0; size - at >= 4;) {
        size_t length = load_be32(input + at);
        if (length > size - at - 4)
            break;
        examine(slice_of(input + at + 4, length), &out);
        at += 4 + length;
    }
    FILE *file = fopen(argv[2], "wb");
    bool written = file != NULL && fwrite(out.data, 1, out.size, file) == out.size;
    if (file != NULL && fclose(file) != 0)
        written = false;
    bool good = written && buffer_status(&out) == 0;
    buffer_release(&out);
    free(input);
    return good ? 0 : 1;
}
