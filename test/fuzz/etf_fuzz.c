/* Fuzzes all of the etf room. The first four bytes choose how the rest arrives; the rest is a term
 * for the scanner and the readers, and a text for the parser. */
#include <stdlib.h>
#include <string.h>

#include "brain/etf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct etf_limits limits = {64, 100000};

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* The scanner says the same of a term that arrives in pieces and is looked at in turns. */
static void scan_in_pieces(struct slice term, uint32_t choice, int whole, size_t whole_size)
{
    struct etf_scanner scanner;
    etf_scanner_init(&scanner, limits);
    size_t here = 0;
    int status = ETF_NEED_BYTES;
    for (;;) {
        uint8_t *copy = malloc(here + 1);
        must(copy != NULL);
        if (here > 0)
            memcpy(copy, term.data, here);
        status = etf_scan(&scanner, slice_of(copy, here), choice % 13 + 1);
        free(copy);
        if (status == ETF_DONE || status < 0 || (status == ETF_NEED_BYTES && here == term.size))
            break;
        choice = choice * 1664525u + 1013904223u;
        if (status == ETF_NEED_BYTES) {
            size_t more = (choice >> 24) % 40 + 1;
            here = more < term.size - here ? here + more : term.size;
        }
    }
    if (status == ETF_NEED_BYTES)
        must(whole == BRAIN_ETERM);
    else
        must(status == whole && (status != ETF_DONE || scanner.offset == whole_size));
    etf_scanner_release(&scanner);
}

static void read_all(struct slice term, const struct etf_marks *marks)
{
    struct etf_reader reader;
    uint8_t id[ID_LIMIT];
    size_t id_size = 0;
    etf_reader_init(&reader, term, limits);
    int status = etf_read_id(&reader, id, &id_size);
    must(status == 0 ? id_size > 0 && id_size <= ID_LIMIT && etf_at_end(&reader)
                     : status == BRAIN_EBADID);
    etf_reader_init(&reader, term, limits);
    reader.marks = marks;
    must(etf_skip(&reader) == 0 && etf_at_end(&reader));
    /* Every term by the function of its kind, to the end. */
    etf_reader_init(&reader, term, limits);
    while (!etf_at_end(&reader)) {
        const uint8_t *before = reader.at;
        uint32_t count;
        uint64_t magnitude;
        int64_t number;
        struct slice bytes;
        struct etf_pid pid;
        if (etf_read_tuple(&reader, &count) != 0 && etf_read_list(&reader, &count) != 0 &&
            etf_read_map(&reader, &count) != 0 && etf_read_atom(&reader, &bytes) != 0 &&
            etf_read_binary(&reader, &bytes) != 0 && etf_read_uint64(&reader, &magnitude) != 0 &&
            etf_read_int64(&reader, &number) != 0 && etf_read_reference(&reader, &bytes) != 0) {
            if (etf_read_pid(&reader, &bytes) == 0)
                (void)etf_pid_parts(bytes, &pid);
            else
                must(etf_skip(&reader) == 0);
        }
        must(reader.at > before);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    uint32_t choice = load_be32(data);
    struct slice term = slice_of(data + 4, size - 4);

    struct etf_scanner scanner;
    etf_scanner_init(&scanner, limits);
    int status = etf_scan(&scanner, term, UINT64_MAX);
    if (status == ETF_DONE)
        read_all(slice_of(term.data, scanner.offset), &scanner.marks);
    scan_in_pieces(term, choice, status == ETF_NEED_BYTES ? BRAIN_ETERM : status, scanner.offset);
    etf_scanner_release(&scanner);

    struct buffer text, parsed;
    buffer_init(&text);
    etf_print(&text, term, choice % 1000);
    must(text.size <= choice % 1000 + 13);
    buffer_release(&text);

    buffer_init(&parsed);
    size_t error_at = 0, parsed_size = 0;
    const char *error_text = NULL;
    if (etf_parse(&parsed, term, limits, &error_at, &error_text) == 0) {
        must(etf_check(buffer_slice(&parsed), limits, &parsed_size) == 0);
        must(parsed_size == parsed.size);
    } else {
        must(error_text != NULL && error_at <= term.size);
    }
    buffer_release(&parsed);
    return 0;
}
