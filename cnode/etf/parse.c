/* The parser: Erlang source of one term into the external format.
 *
 * How many terms a container holds is known only at its end, but the format wants it at the
 * beginning. So a first pass writes all terms without the headers of containers and notes in
 * `nodes` where each header belongs; a second pass copies the terms with the headers put in. */
#include <stdlib.h>
#include <string.h>

#include "parse.h"

enum node_kind { NODE_ROOT, NODE_TUPLE, NODE_LIST, NODE_MAP };
enum { NO_NODE = UINT32_MAX };

struct node {
    size_t at; /* where it begins in `terms` */
    uint32_t count;
    uint32_t parent;
    uint32_t depth; /* containers around what it holds, less one; 0 for the outermost */
    uint8_t kind;
    bool tail;  /* list: '|' was seen */
    bool bytes; /* list: nothing but bytes so far, so a string */
};

/* Where a map's key begins. */
struct key {
    size_t at; /* in `terms`, then in the output */
    size_t size;
    uint32_t node;
    const uint8_t *data;
};

struct parser {
    struct parse_text text;
    struct etf_limits limits;
    uint64_t elements;
    struct buffer terms; /* without container headers */
    struct buffer nodes, keys;
    uint32_t current; /* the innermost open container */
};

static struct node *node_at(struct parser *parser, uint32_t index)
{
    return (struct node *)(void *)parser->nodes.data + index;
}

static bool fail(struct parser *parser, const char *sentence)
{
    return parse_fail(&parser->text, parser->text.at, sentence);
}

static bool claim(struct parser *parser, uint64_t elements)
{
    if (elements > parser->limits.max_elements - parser->elements)
        return fail(parser, "too many elements");
    parser->elements += elements;
    return true;
}

static bool node_open(struct parser *parser, enum node_kind kind)
{
    struct node node = {.at = parser->terms.size, .kind = (uint8_t)kind, .parent = NO_NODE};
    node.bytes = kind == NODE_LIST;
    uint32_t index = (uint32_t)(parser->nodes.size / sizeof node);
    if (index >= NO_NODE - 1)
        return fail(parser, "too many containers");
    if (kind != NODE_ROOT) {
        const struct node *around = node_at(parser, parser->current);
        node.parent = parser->current;
        node.depth = around->kind == NODE_ROOT ? 0 : around->depth + 1;
    }
    buffer_append(&parser->nodes, &node, sizeof node);
    parser->current = index;
    return true;
}

/* A term begins in the innermost container. */
static bool term_begin(struct parser *parser)
{
    struct node *node = node_at(parser, parser->current);
    if (node->kind != NODE_ROOT && node->depth > parser->limits.max_depth)
        return fail(parser, "nested too deep");
    if (!claim(parser, 1))
        return false;
    if (node->count == UINT32_MAX)
        return fail(parser, "too many elements");
    if (node->kind == NODE_MAP && node->count % 2 == 0) {
        struct key key = {.at = parser->terms.size, .node = parser->current};
        buffer_append(&parser->keys, &key, sizeof key);
    }
    node->count++;
    return true;
}

/* "abc" is a list of code points; as Erlang does: STRING_EXT where it can be. */
static bool string_term(struct parser *parser)
{
    struct buffer points;
    buffer_init(&points);
    bool good = parse_string(&parser->text, &points);
    size_t count = points.size / 4;
    uint32_t highest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t point;
        memcpy(&point, points.data + 4 * i, 4);
        highest = point > highest ? point : highest;
    }
    bool compact = highest <= 255 && count <= UINT16_MAX;
    struct buffer *out = &parser->terms;
    if (good && !compact)
        good = claim(parser, count + 1);
    if (good && count == 0) {
        etf_write_nil(out);
    } else if (good && compact) {
        buffer_append_u8(out, ETF_STRING);
        buffer_append_be16(out, (uint16_t)count);
        for (size_t i = 0; i < count; i++) {
            uint32_t point;
            memcpy(&point, points.data + 4 * i, 4);
            buffer_append_u8(out, (uint8_t)point);
        }
    } else if (good) {
        etf_write_list(out, (uint32_t)count);
        for (size_t i = 0; i < count; i++) {
            uint32_t point;
            memcpy(&point, points.data + 4 * i, 4);
            etf_write_uint64(out, point);
        }
        etf_write_nil(out);
    }
    out->failed = out->failed || points.failed;
    buffer_release(&points);
    return good;
}

static bool starts_number(const struct parse_text *text)
{
    int c = parse_peek(text, 0);
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '$';
}

/* One term that is no container, or the beginning of one that is: *opened. */
static bool term_parse(struct parser *parser, bool *opened)
{
    struct parse_text *text = &parser->text;
    *opened = false;
    if (!term_begin(parser))
        return false;
    uint32_t around = parser->current;
    size_t begin = parser->terms.size;
    int c = parse_peek(text, 0);
    bool good;
    if (c == '{' || c == '[' || (c == '#' && parse_peek(text, 1) == '{')) {
        good = node_open(parser, c == '{' ? NODE_TUPLE : c == '[' ? NODE_LIST : NODE_MAP);
        text->at += c == '#' ? 2 : 1;
        *opened = good;
    } else if (c == '"') {
        good = string_term(parser);
    } else if (c == '<' && parse_peek(text, 1) == '<') {
        good = parse_binary(text, &parser->terms);
    } else if (starts_number(text)) {
        good = parse_number(text, &parser->terms);
    } else if (c == '\'' || (c >= 'a' && c <= 'z')) {
        good = parse_atom(text, &parser->terms);
    } else if ((c >= 'A' && c <= 'Z') || c == '_') {
        return fail(parser, "variables have no value here; atoms in capitals need 'quotes'");
    } else {
        return fail(parser, c < 0 ? "the term ends too early" : "a term expected");
    }
    if (good && !parser->nodes.failed && !parser->terms.failed) {
        struct node *node = node_at(parser, around);
        node->bytes = node->bytes && parser->terms.size > begin &&
                      parser->terms.data[begin] == ETF_SMALL_INTEGER;
    }
    return good;
}

/* The innermost container ends. */
static bool node_close(struct parser *parser)
{
    struct node *node = node_at(parser, parser->current);
    if (node->kind == NODE_LIST && !node->tail) {
        if (node->count > 0 && !claim(parser, 1))
            return false;
        if (node->count == 0 || node->count > UINT16_MAX)
            node->bytes = false;
        etf_write_nil(&parser->terms);
    }
    if (node->kind == NODE_LIST && node->tail) {
        node->count--; /* the tail */
        node->bytes = false;
    }
    parser->current = node->parent;
    return true;
}

/* What may follow a term in its container: *more when another term must. */
static bool after_term(struct parser *parser, bool *more)
{
    struct parse_text *text = &parser->text;
    struct node *node = node_at(parser, parser->current);
    *more = true;
    switch (node->kind) {
    case NODE_TUPLE:
        if (parse_take(text, ","))
            return true;
        *more = false;
        return parse_take(text, "}") ? node_close(parser) : fail(parser, "',' or '}' expected");
    case NODE_LIST:
        if (!node->tail && parse_take(text, ","))
            return true;
        if (!node->tail && parse_take(text, "|")) {
            node->tail = true;
            return true;
        }
        *more = false;
        return parse_take(text, "]") ? node_close(parser) : fail(parser, "',' or ']' expected");
    default:
        if (node->count % 2 == 1)
            return parse_take(text, "=>") || fail(parser, "'=>' expected");
        if (parse_take(text, ","))
            return true;
        *more = false;
        return parse_take(text, "}") ? node_close(parser) : fail(parser, "',' or '}' expected");
    }
}

static bool structure_parse(struct parser *parser)
{
    struct parse_text *text = &parser->text;
    if (!node_open(parser, NODE_ROOT))
        return false;
    bool more = true, opened = false;
    for (;;) {
        if (parser->terms.failed || parser->nodes.failed || parser->keys.failed)
            return false;
        parse_blank(text);
        if (opened) {
            opened = false;
            const char *closer = node_at(parser, parser->current)->kind == NODE_LIST ? "]" : "}";
            if (parse_take(text, closer)) {
                if (!node_close(parser))
                    return false;
                more = false;
                continue;
            }
        }
        if (more) {
            if (!term_parse(parser, &opened))
                return false;
            more = opened;
            continue;
        }
        if (node_at(parser, parser->current)->kind == NODE_ROOT)
            break;
        if (!after_term(parser, &more))
            return false;
    }
    if (parse_take(text, "."))
        parse_blank(text);
    return text->at == text->end || fail(parser, "one term expected, more found");
}

/* ---- second pass ----------------------------------------------------------------------------- */

/* Copies the terms up to `end`, and turns keys' places into places in the output. */
static void copy_until(struct parser *parser, struct buffer *out, size_t *from, size_t end,
    size_t *next_key, bool inclusive)
{
    struct key *keys = (struct key *)(void *)parser->keys.data;
    size_t count = parser->keys.size / sizeof *keys;
    for (; *next_key < count &&
           (keys[*next_key].at < end || (inclusive && keys[*next_key].at == end));
         ++*next_key)
        keys[*next_key].at = out->size + (keys[*next_key].at - *from);
    if (end > *from) /* there may be no terms at all, and then no data to point into */
        buffer_append(out, parser->terms.data + *from, end - *from);
    *from = end;
}

static void terms_assemble(struct parser *parser, struct buffer *out)
{
    size_t nodes = parser->nodes.size / sizeof(struct node);
    size_t from = 0, next_key = 0;
    for (uint32_t i = 1; i < nodes && !out->failed; i++) {
        const struct node *node = node_at(parser, i);
        copy_until(parser, out, &from, node->at, &next_key, false);
        /* A key that begins here is this container, or holds it, when it belongs to a container
         * before this one. */
        const struct key *keys = (const struct key *)(const void *)parser->keys.data;
        while (next_key < parser->keys.size / sizeof *keys && keys[next_key].at == node->at &&
               keys[next_key].node < i) {
            ((struct key *)(void *)parser->keys.data)[next_key].at = out->size;
            next_key++;
        }
        if (node->kind == NODE_TUPLE) {
            etf_write_tuple(out, node->count);
        } else if (node->kind == NODE_MAP) {
            etf_write_map(out, node->count / 2);
        } else if (node->bytes) { /* 97 and the byte each, then NIL: nothing else is in it */
            buffer_append_u8(out, ETF_STRING);
            buffer_append_be16(out, (uint16_t)node->count);
            for (uint32_t byte = 0; byte < node->count; byte++)
                buffer_append_u8(out, parser->terms.data[from + 2 * byte + 1]);
            from += 2 * (size_t)node->count + 1;
        } else {
            etf_write_list(out, node->count);
        }
    }
    copy_until(parser, out, &from, parser->terms.size, &next_key, true);
}

static int key_compare(const void *left, const void *right)
{
    const struct key *a = left, *b = right;
    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    return memcmp(a->data, b->data, a->size);
}

/* Equal keys have equal bytes, since a term is always written in one way here. */
static bool keys_differ(struct parser *parser, struct slice output)
{
    struct key *keys = (struct key *)(void *)parser->keys.data;
    size_t count = parser->keys.size / sizeof *keys;
    for (size_t i = 0; i < count; i++) {
        keys[i].data = output.data + keys[i].at;
        struct slice rest = slice_of(keys[i].data, output.size - keys[i].at);
        if (etf_check(rest, (struct etf_limits){UINT32_MAX, UINT64_MAX}, &keys[i].size) != 0)
            return fail(parser, "out of memory");
    }
    if (count > 1)
        qsort(keys, count, sizeof *keys, key_compare);
    for (size_t i = 1; i < count; i++)
        if (key_compare(&keys[i - 1], &keys[i]) == 0)
            return fail(parser, "a map with the same key twice");
    return true;
}

int etf_parse(struct buffer *out, struct slice text, struct etf_limits limits, size_t *error_at,
    const char **error_text)
{
    struct parser parser = {.limits = limits};
    parser.text.begin = parser.text.at = text.data;
    parser.text.end = text.data == NULL ? NULL : text.data + text.size;
    buffer_init(&parser.terms);
    buffer_init(&parser.nodes);
    buffer_init(&parser.keys);

    struct buffer whole;
    buffer_init(&whole);
    bool good = structure_parse(&parser);
    if (good) {
        terms_assemble(&parser, &whole);
        good = !whole.failed && keys_differ(&parser, buffer_slice(&whole));
    }
    if (good)
        buffer_append_slice(out, buffer_slice(&whole));
    bool memory = out->failed || whole.failed || parser.terms.failed || parser.nodes.failed ||
                  parser.keys.failed;
    buffer_release(&parser.terms);
    buffer_release(&parser.nodes);
    buffer_release(&parser.keys);
    buffer_release(&whole);
    if (good && !memory)
        return 0;
    *error_at = parser.text.error == NULL ? 0 : (size_t)(parser.text.error_at - parser.text.begin);
    *error_text = memory || parser.text.error == NULL ? "out of memory" : parser.text.error;
    return memory ? BRAIN_ENOMEM : BRAIN_ETERM;
}
