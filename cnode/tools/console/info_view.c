#include "info_view.h"

#include "brain/etf.h"

enum { KEY_WIDTH = 24 };

static const struct etf_limits limits = {.max_depth = 64, .max_elements = 1 << 20};

/* Text without control characters: what a node says must not steer the terminal. */
static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        /* C2 80 to C2 9F are the control characters U+0080 to U+009F. */
        if (byte < 0x20 || byte == 0x7f ||
            (byte == 0xc2 && i + 1 < text.size && text.data[i + 1] < 0xa0))
            return false;
    }
    return utf8_is_valid(text);
}

static void print_key(FILE *out, int width, struct slice key)
{
    if (!is_plain(key))
        key = slice_of_string("?");
    fprintf(out, "%-*.*s", width, (int)key.size, (const char *)key.data);
}

/* A binary is text here; anything else is printed as the term it is. */
static void print_value(FILE *out, struct slice term)
{
    struct etf_reader reader;
    struct slice bytes;
    etf_reader_init(&reader, term, limits);
    if (etf_read_binary(&reader, &bytes) == 0 && is_plain(bytes)) {
        if (bytes.size == 0)
            bytes = slice_of_string("-");
        fwrite(bytes.data, 1, bytes.size, out);
        return;
    }
    struct buffer text;
    buffer_init(&text);
    etf_print(&text, term, 200);
    fwrite(text.data, 1, text.size, out);
    buffer_release(&text);
}

static bool read_pair(struct etf_reader *reader, struct slice *key, struct slice *value)
{
    return etf_read_atom(reader, key) == 0 && etf_read_term(reader, value) == 0;
}

/* One level of the map: `maps` chooses between its plain keys and its groups. A map within a group
 * is a value like others. */
static void print_level(FILE *out, struct slice map, int indent, bool maps)
{
    struct etf_reader reader;
    uint32_t pairs = 0;
    struct slice key, value;
    etf_reader_init(&reader, map, limits);
    if (etf_read_map(&reader, &pairs) != 0)
        return;
    for (; pairs > 0 && read_pair(&reader, &key, &value); pairs--) {
        if ((value.data[0] == ETF_MAP && indent == 0) != maps)
            continue;
        fprintf(out, "%*s", indent, "");
        print_key(out, maps ? 0 : KEY_WIDTH - indent, key);
        if (!maps) {
            fputc(' ', out);
            print_value(out, value);
        }
        fputc('\n', out);
        if (maps)
            print_level(out, value, indent + 2, false);
    }
}

bool info_view_print(FILE *out, struct slice map)
{
    if (map.size == 0 || map.data[0] != ETF_MAP)
        return false;
    print_level(out, map, 0, false);
    print_level(out, map, 0, true);
    return true;
}
