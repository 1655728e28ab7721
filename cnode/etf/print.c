/* The printer: terms as an Erlang shell shows them (~tp on one line), for logs and consoles.
 *
 * It goes once over the bytes, and no further than its output is long: deciding whether a list or
 * a binary is text looks at no more than could be shown. Containers are kept on a stack of fixed
 * size; what is nested deeper than that is cut like what is too long. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "term.h"

enum { PRINT_DEPTH = 256 };

struct print_level {
    uint8_t tag;
    uint64_t count, next; /* terms in it, and the one that comes next */
};

struct printer {
    struct buffer *out;
    struct etf_reader in;
    size_t end; /* out->size must not pass this */
    bool cut, malformed;
    uint32_t depth;
    struct print_level level[PRINT_DEPTH];
};

static bool stopped(const struct printer *printer)
{
    return printer->cut || printer->malformed;
}

static void emit(struct printer *printer, const void *data, size_t size)
{
    if (stopped(printer))
        return;
    if (printer->out->size > printer->end || size > printer->end - printer->out->size)
        printer->cut = true;
    else
        buffer_append(printer->out, data, size);
}

static void emit_string(struct printer *printer, const char *text)
{
    emit(printer, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void emit_format(
    struct printer *printer, const char *format, ...)
{
    char text[64];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    emit_string(printer, text);
}

/* The letter after the backslash for the control characters that Erlang counts as text; 0: none. */
static char escape_letter(uint32_t point)
{
    static const char letters[] = {['\b'] = 'b',
        ['\t'] = 't',
        ['\n'] = 'n',
        ['\v'] = 'v',
        ['\f'] = 'f',
        ['\r'] = 'r',
        [27] = 'e'};
    return point < sizeof letters ? letters[point] : 0;
}

static bool is_printable(uint32_t point)
{
    if (point < 0x20)
        return escape_letter(point) != 0;
    return point < 0x7f || (point >= 0xa0 && point < 0xd800) ||
           (point >= 0xe000 && point < 0xfffe) || (point >= 0x10000 && point <= 0x10ffff);
}

static void emit_character(struct printer *printer, uint32_t point, char quote)
{
    uint8_t text[4];
    if (point == (uint8_t)quote || point == '\\')
        emit_format(printer, "\\%c", (char)point);
    else if (escape_letter(point) != 0)
        emit_format(printer, "\\%c", escape_letter(point));
    else if (!is_printable(point))
        emit_format(printer, "\\x{%X}", (unsigned)point);
    else
        emit(printer, text, utf8_encode(point, text));
}

/* ---- leaves ---------------------------------------------------------------------------------- */

static bool is_reserved(struct slice text)
{
    static const char *const words[] = {"after", "and", "andalso", "band", "begin", "bnot", "bor",
        "bsl", "bsr", "bxor", "case", "catch", "cond", "div", "end", "fun", "if", "let", "maybe",
        "not", "of", "or", "orelse", "receive", "rem", "try", "when", "xor"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (slice_equal_string(text, words[i]))
            return true;
    return false;
}

static bool needs_quotes(struct slice text)
{
    if (text.size == 0 || text.data[0] < 'a' || text.data[0] > 'z' || is_reserved(text))
        return true;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '_' && c != '@')
            return true;
    }
    return false;
}

/* Atoms of nodes and modules stand bare within #Pid<...>, as the shell shows them. */
static void print_atom(struct printer *printer, const uint8_t *at, bool bare)
{
    struct slice text = etf_atom_text(at);
    bool utf8 = at[0] == ETF_ATOM_UTF8 || at[0] == ETF_SMALL_ATOM_UTF8;
    bool quoted = !bare && needs_quotes(text);
    if (quoted)
        emit_string(printer, "'");
    for (size_t i = 0; i < text.size && !stopped(printer);) {
        uint32_t point = text.data[i];
        i += utf8 ? utf8_decode(slice_of(text.data + i, text.size - i), &point) : 1;
        emit_character(printer, point, '\'');
    }
    if (quoted)
        emit_string(printer, "'");
}

/* Decimal as long as it is an id's length, then hexadecimal, which takes no time to make; both are
 * Erlang and read back as the same number. */
static void print_integer(struct printer *printer, const uint8_t *at)
{
    struct etf_integer integer;
    etf_integer_of(at, &integer);
    uint8_t text[ID_LIMIT];
    size_t size = etf_decimal(&integer, text, sizeof text);
    if (size > 0) {
        emit(printer, text, size);
        return;
    }
    emit_string(printer, integer.negative ? "-16#" : "16#");
    for (size_t i = integer.size; i > 0 && !stopped(printer); i--)
        emit_format(printer, i == integer.size ? "%X" : "%02X", integer.little[i - 1]);
}

/* The shortest digits that read back as the same number, in Erlang's form: 1.0, 1.5e-7. */
static void print_double(struct printer *printer, double number)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    char *exponent = strchr(text, 'e');
    long power = 0;
    if (exponent != NULL) {
        power = strtol(exponent + 1, NULL, 10);
        *exponent = 0;
    }
    emit_string(printer, text);
    if (strchr(text, '.') == NULL)
        emit_string(printer, ".0");
    if (exponent != NULL)
        emit_format(printer, "e%ld", power);
}

static void print_float(struct printer *printer, const uint8_t *at)
{
    double number;
    if (at[0] == ETF_NEW_FLOAT) {
        uint64_t bits = load_be64(at + 1);
        memcpy(&number, &bits, sizeof number);
    } else {
        number = etf_float_of_text(at + 1);
    }
    print_double(printer, number);
}

/* Pids, ports and references: the node, then their numbers as the shell shows them. */
static void print_identifier(struct printer *printer, const uint8_t *at, size_t size)
{
    const uint8_t *node = at + 1;
    bool is_reference = at[0] == ETF_NEWER_REFERENCE || at[0] == ETF_NEW_REFERENCE;
    if (is_reference)
        node += 2;
    struct slice name = etf_atom_text(node);
    const uint8_t *rest = name.data + name.size, *end = at + size;
    emit_string(printer, at[0] == ETF_PID || at[0] == ETF_NEW_PID ? "#Pid<"
                         : at[0] == ETF_PORT || at[0] == ETF_NEW_PORT || at[0] == ETF_V4_PORT
                             ? "#Port<"
                             : "#Ref<");
    print_atom(printer, node, true);
    if (at[0] == ETF_PID || at[0] == ETF_NEW_PID) {
        emit_format(printer, ".%u.%u", load_be32(rest), load_be32(rest + 4));
    } else if (at[0] == ETF_V4_PORT) {
        emit_format(printer, ".%llu", (unsigned long long)load_be64(rest));
    } else if (is_reference) { /* creation, then words */
        for (rest += at[0] == ETF_NEWER_REFERENCE ? 4 : 1; rest < end; rest += 4)
            emit_format(printer, ".%u", load_be32(rest));
    } else {
        emit_format(printer, ".%u", load_be32(rest));
    }
    emit_string(printer, ">");
}

static void print_export(struct printer *printer, const uint8_t *at)
{
    struct slice module = etf_atom_text(at + 1);
    const uint8_t *function = module.data + module.size;
    struct slice name = etf_atom_text(function);
    emit_string(printer, "fun ");
    print_atom(printer, at + 1, false);
    emit_string(printer, ":");
    print_atom(printer, function, false);
    emit_string(printer, "/");
    print_integer(printer, name.data + name.size);
}

/* How the bytes of a binary are shown. */
enum text_kind { TEXT_NONE, TEXT_ASCII, TEXT_UTF8 };

/* Looks at no more than `look` bytes; a character cut by that is good so far. */
static enum text_kind binary_kind(struct slice bytes, size_t look)
{
    enum text_kind kind = TEXT_ASCII;
    bool all = bytes.size <= look;
    size_t size = all ? bytes.size : look;
    for (size_t i = 0; i < size;) {
        uint32_t point;
        unsigned length = utf8_decode(slice_of(bytes.data + i, bytes.size - i), &point);
        if (length == 0 || !is_printable(point))
            return TEXT_NONE;
        if (point >= 0x80)
            kind = TEXT_UTF8;
        i += length;
    }
    return bytes.size == 0 ? TEXT_NONE : kind;
}

static void print_bytes(struct printer *printer, struct slice bytes)
{
    for (size_t i = 0; i < bytes.size && !stopped(printer); i++)
        emit_format(printer, i == 0 ? "%u" : ",%u", bytes.data[i]);
}

static void print_binary(struct printer *printer, struct slice bytes, unsigned last_bits)
{
    enum text_kind kind = last_bits == 8 ? binary_kind(bytes, printer->end) : TEXT_NONE;
    emit_string(printer, "<<");
    if (kind != TEXT_NONE) {
        emit_string(printer, "\"");
        for (size_t i = 0; i < bytes.size && !stopped(printer);) {
            uint32_t point = 0;
            unsigned length = utf8_decode(slice_of(bytes.data + i, bytes.size - i), &point);
            if (length == 0) /* beyond what was looked at; the output ends first */
                break;
            emit_character(printer, point, '"');
            i += length;
        }
        emit_string(printer, kind == TEXT_UTF8 ? "\"/utf8" : "\"");
    } else if (last_bits == 8 || bytes.size == 0) {
        print_bytes(printer, bytes);
    } else {
        print_bytes(printer, slice_of(bytes.data, bytes.size - 1));
        emit_format(printer, bytes.size > 1 ? ",%u:%u" : "%u:%u",
            bytes.data[bytes.size - 1] >> (8 - last_bits), last_bits);
    }
    emit_string(printer, ">>");
}

static void print_string(struct printer *printer, struct slice characters)
{
    bool text = characters.size > 0;
    for (size_t i = 0; i < characters.size && i < printer->end && text; i++)
        text = is_printable(characters.data[i]);
    emit_string(printer, text ? "\"" : "[");
    if (!text)
        print_bytes(printer, characters);
    for (size_t i = 0; i < characters.size && text && !stopped(printer); i++)
        emit_character(printer, characters.data[i], '"');
    emit_string(printer, text ? "\"" : "]");
}

static void print_leaf(struct printer *printer, const uint8_t *at, size_t size)
{
    switch (at[0]) {
    case ETF_SMALL_INTEGER:
    case ETF_INTEGER:
    case ETF_SMALL_BIG:
    case ETF_LARGE_BIG:
        print_integer(printer, at);
        break;
    case ETF_NEW_FLOAT:
    case ETF_FLOAT:
        print_float(printer, at);
        break;
    case ETF_NIL:
        emit_string(printer, "[]");
        break;
    case ETF_STRING:
        print_string(printer, slice_of(at + 3, size - 3));
        break;
    case ETF_BINARY:
        print_binary(printer, slice_of(at + 5, size - 5), 8);
        break;
    case ETF_BIT_BINARY:
        print_binary(printer, slice_of(at + 6, size - 6), at[5]);
        break;
    case ETF_EXPORT:
        print_export(printer, at);
        break;
    case ETF_ATOM:
    case ETF_SMALL_ATOM:
    case ETF_ATOM_UTF8:
    case ETF_SMALL_ATOM_UTF8:
        print_atom(printer, at, false);
        break;
    default:
        print_identifier(printer, at, size);
        break;
    }
}

/* ---- containers ------------------------------------------------------------------------------ */

/* Prints the list of `length` heads that begins at the cursor as "text" when all of it, or as much
 * as can be shown, is printable. Its header has been read. */
static bool print_text_list(struct printer *printer, uint64_t length)
{
    struct etf_reader look = printer->in;
    uint64_t point;
    for (uint64_t i = 0; i < length && i < printer->end; i++)
        if (etf_read_uint64(&look, &point) != 0 || point > 0x10ffff ||
            !is_printable((uint32_t)point))
            return false;
    if (length <= printer->end && etf_peek(&look) != ETF_NIL)
        return false;
    emit_string(printer, "\"");
    for (uint64_t i = 0; i < length && !stopped(printer); i++) {
        if (etf_read_uint64(&printer->in, &point) != 0)
            break; /* beyond what was looked at; the output ends first */
        emit_character(printer, (uint32_t)point, '"');
    }
    emit_string(printer, "\"");
    if (!stopped(printer))
        printer->in.at = look.at + 1;
    return true;
}

static void print_fun(
    struct printer *printer, const uint8_t *at, const struct etf_container *container)
{
    if (container->fun_size > (size_t)(printer->in.end - at)) {
        printer->malformed = true;
        return;
    }
    const uint8_t *module = at + 30; /* after tag, size, arity, uniq, index and numfree */
    struct slice name = etf_atom_text(module);
    const uint8_t *index = name.data + name.size;
    emit_string(printer, "#Fun<");
    print_atom(printer, module, true);
    emit_string(printer, ".");
    print_integer(printer, index);
    emit_string(printer, ".");
    print_integer(printer, index + etf_leaf_size(index, (size_t)(printer->in.end - index)));
    emit_string(printer, ">");
    printer->in.at = at + container->fun_size;
}

static void print_container(struct printer *printer)
{
    const uint8_t *at = printer->in.at;
    struct etf_container container;
    if (etf_container_read(at, (size_t)(printer->in.end - at), &container) != 1) {
        printer->malformed = true;
        return;
    }
    if (at[0] == ETF_NEW_FUN) {
        print_fun(printer, at, &container);
        return;
    }
    printer->in.at += container.header_size;
    if (at[0] == ETF_LIST) {
        if (container.count == 1) { /* no heads: it is its tail, and gives its place to it */
            if (printer->depth > 0)
                printer->level[printer->depth - 1].next--;
            return;
        }
        if (print_text_list(printer, container.count - 1))
            return;
    }
    if (printer->depth == PRINT_DEPTH) {
        printer->cut = true;
        return;
    }
    emit_string(printer, at[0] == ETF_LIST ? "[" : at[0] == ETF_MAP ? "#{" : "{");
    printer->level[printer->depth++] = (struct print_level){at[0], container.count, 0};
}

static void print_separator(struct printer *printer, const struct print_level *level)
{
    if (level->next == 0)
        return;
    if (level->tag == ETF_MAP && level->next % 2 == 1)
        emit_string(printer, " => ");
    else if (level->tag == ETF_LIST && level->next == level->count - 1)
        emit_string(printer, "|");
    else
        emit_string(printer, ",");
}

/* One term, or one end of a container. */
static void print_step(struct printer *printer)
{
    struct print_level *level = printer->depth > 0 ? &printer->level[printer->depth - 1] : NULL;
    if (level != NULL && level->next < level->count && level->tag == ETF_LIST &&
        level->next == level->count - 1 && etf_peek(&printer->in) == ETF_NIL) {
        printer->in.at++;
        level->next++;
    }
    if (level != NULL && level->next == level->count) {
        emit_string(printer, level->tag == ETF_LIST ? "]" : "}");
        printer->depth--;
        return;
    }
    if (etf_at_end(&printer->in)) {
        printer->malformed = true;
        return;
    }
    const uint8_t *at = printer->in.at;
    size_t left = (size_t)(printer->in.end - at);
    bool transparent = at[0] == ETF_LIST && left >= 5 && load_be32(at + 1) == 0;
    if (level != NULL) {
        if (!transparent)
            print_separator(printer, level);
        level->next++;
    }
    if (etf_is_container(at[0])) {
        print_container(printer);
        return;
    }
    int64_t size = etf_leaf_size(at, left);
    if (size <= 0 || (size_t)size > left) {
        printer->malformed = true;
        return;
    }
    printer->in.at += size;
    print_leaf(printer, at, (size_t)size);
}

void etf_print(struct buffer *out, struct slice term, size_t limit)
{
    struct printer printer;
    printer.out = out;
    etf_reader_init(&printer.in, term, (struct etf_limits){0, 0});
    printer.end = limit > SIZE_MAX - out->size ? SIZE_MAX : out->size + limit;
    printer.cut = printer.malformed = false;
    printer.depth = 0;
    do {
        const uint8_t *before = printer.in.at;
        print_step(&printer);
        /* At the root, a list of no heads has printed nothing yet. */
        if (printer.depth == 0 && printer.in.at != before && before[0] == ETF_LIST &&
            printer.in.at == before + 5 && load_be32(before + 1) == 0)
            continue;
        if (printer.depth == 0)
            break;
    } while (!stopped(&printer) && !out->failed);
    if (printer.malformed)
        buffer_append(out, "<<malformed>>", 13);
    else if (printer.cut)
        buffer_append(out, "...", 3);
}
