/* The shortcut: the messages that make up the load of a busy node,
 *
 *   {g, Consistency, Id, Pid, Tag}    {'$gen_call', {Pid, [alias|Ref]}, {get, Id}}
 *   {s, Id, Value}                    {'$gen_call', {Pid, [alias|Ref]}, {set, Id, Value}}
 *
 * in the encodings that Erlang, Elixir, ei and PHP use, in one pass. It validates every byte like
 * the general way does, but never has to say what is wrong: at the first byte that is not what it
 * hopes for it gives up, and the general way reads the message from its start. So it holds no rule
 * of its own about errors; test/fuzz/command_fuzz.c compares the two.
 *
 * Measured, 256 in flight: a plain get costs 0.51 us of CPU instead of 0.58, a get by
 * gen_server:call 0.53 instead of 0.77. */
#include "shortcut.h"

#include <string.h>

enum {
    ATOM_CHARACTERS = 255,
    PID_NUMBERS = 12, /* id, serial, creation */
    ALIAS_ELEMENTS = 3,
    REFERENCE_WORDS = 5,
};

struct cursor {
    const uint8_t *at, *end;
    struct etf_limits limits;
};

static size_t left(const struct cursor *cursor)
{
    return (size_t)(cursor->end - cursor->at);
}

/* Without a byte beyond ASCII a text is UTF-8 and Latin-1, and has as many characters as bytes. */
static bool is_ascii(const uint8_t *text, size_t size)
{
    uint64_t seen = 0, word;
    if (size < sizeof word) {
        for (; size > 0; text++, size--)
            seen |= *text;
        return seen < 0x80;
    }
    const uint8_t *last = text + size - sizeof word; /* may lap over the word before it */
    for (; text < last; text += sizeof word) {
        memcpy(&word, text, sizeof word);
        seen |= word;
    }
    memcpy(&word, last, sizeof word);
    return ((seen | word) & UINT64_C(0x8080808080808080)) == 0;
}

static bool take_u8(struct cursor *cursor, uint8_t byte)
{
    if (left(cursor) < 1 || *cursor->at != byte)
        return false;
    cursor->at++;
    return true;
}

static bool take_tuple(struct cursor *cursor, uint8_t *arity)
{
    if (left(cursor) < 2 || cursor->at[0] != ETF_SMALL_TUPLE)
        return false;
    *arity = cursor->at[1];
    cursor->at += 2;
    return true;
}

/* An atom in any of its forms. Its text is not looked at: it must be compared with one of ours, or
 * be ASCII. */
static inline bool take_name(struct cursor *cursor, struct slice *text)
{
    size_t header, size;
    if (left(cursor) < 3) /* no atom of ours is empty, but a message never ends with one */
        return false;
    switch (cursor->at[0]) {
    case ETF_SMALL_ATOM_UTF8:
    case ETF_SMALL_ATOM:
        header = 2, size = cursor->at[1];
        break;
    case ETF_ATOM_UTF8:
    case ETF_ATOM:
        header = 3, size = load_be16(cursor->at + 1);
        break;
    default:
        return false;
    }
    if (size > ATOM_CHARACTERS || left(cursor) - header < size)
        return false;
    *text = slice_of(cursor->at + header, size);
    cursor->at += header + size;
    return true;
}

static inline bool take_atom(struct cursor *cursor, struct slice *text)
{
    return take_name(cursor, text) && is_ascii(text->data, text->size);
}

static inline bool is_text(struct slice text, const char *wanted, size_t size)
{
    return text.size == size && memcmp(text.data, wanted, size) == 0;
}
#define IS(text, wanted) is_text(text, wanted, sizeof(wanted) - 1)

/* What takes `size` bytes behind an atom: the rest of pids and references. */
static bool take_node_and(struct cursor *cursor, size_t size)
{
    struct slice node;
    if (!take_atom(cursor, &node) || left(cursor) < size)
        return false;
    cursor->at += size;
    return true;
}

static bool take_pid(struct cursor *cursor, struct slice *pid)
{
    const uint8_t *begin = cursor->at;
    if (!take_u8(cursor, ETF_NEW_PID) || !take_node_and(cursor, PID_NUMBERS))
        return false;
    *pid = slice_of(begin, (size_t)(cursor->at - begin));
    return true;
}

static bool take_reference(struct cursor *cursor, struct slice *reference)
{
    const uint8_t *begin = cursor->at;
    if (left(cursor) < 3 || begin[0] != ETF_NEWER_REFERENCE)
        return false;
    size_t words = load_be16(begin + 1);
    cursor->at += 3;
    if (words == 0 || words > REFERENCE_WORDS || !take_node_and(cursor, 4 + 4 * words))
        return false;
    *reference = slice_of(begin, (size_t)(cursor->at - begin));
    return true;
}

/* An id whose text stands in the message as it is. */
static bool take_id(struct cursor *cursor, struct slice *id)
{
    if (left(cursor) < 5)
        return false;
    size_t header, size;
    switch (cursor->at[0]) {
    case ETF_BINARY:
        header = 5, size = load_be32(cursor->at + 1);
        break;
    case ETF_STRING:
        header = 3, size = load_be16(cursor->at + 1);
        break;
    default:
        return take_atom(cursor, id) && id->size > 0;
    }
    if (size == 0 || size > ID_LIMIT || left(cursor) - header < size)
        return false;
    if (cursor->at[0] == ETF_STRING && !is_ascii(cursor->at + header, size))
        return false;
    *id = slice_of(cursor->at + header, size);
    cursor->at += header + size;
    return true;
}

/* Any term, by the general rules: a value, a tag. */
static bool take_term(struct cursor *cursor, struct slice *term)
{
    struct etf_reader reader;
    etf_reader_init(&reader, slice_of(cursor->at, left(cursor)), cursor->limits);
    if (etf_read_term(&reader, term) != 0)
        return false;
    cursor->at = reader.at;
    return true;
}

static bool take_boolean(struct cursor *cursor, bool *boolean)
{
    struct slice text;
    if (!take_name(cursor, &text))
        return false;
    *boolean = IS(text, "true");
    return *boolean || IS(text, "false");
}

/* true, Id, Pid, Tag} */
static bool take_get(struct cursor *cursor, struct command *command)
{
    struct reply_to *reply = &command->reply;
    if (!take_boolean(cursor, &command->consistent) || !take_id(cursor, &command->id) ||
        !take_pid(cursor, &reply->pid))
        return false;
    command->operation = COMMAND_GET;
    const uint8_t *tag = cursor->at;
    struct slice text;
    if (take_name(cursor, &text) &&
        (IS(text, "null") || IS(text, "nil") || IS(text, "undefined"))) {
        reply->form = REPLY_UNTAGGED;
        return true;
    }
    cursor->at = tag;
    reply->form = REPLY_TAGGED;
    return take_term(cursor, &reply->tag);
}

/* Id, Value} */
static bool take_set(struct cursor *cursor, struct command *command)
{
    command->operation = COMMAND_SET;
    return take_id(cursor, &command->id) && take_term(cursor, &command->value);
}

/* {Pid, [alias|Ref]}, {get, Id}} */
static bool take_call(struct cursor *cursor, struct command *command)
{
    static const uint8_t list_of_one[] = {ETF_LIST, 0, 0, 0, 1};
    struct reply_to *reply = &command->reply;
    struct slice text;
    uint8_t arity;
    if (!take_tuple(cursor, &arity) || arity != 2 || !take_pid(cursor, &reply->pid))
        return false;
    const uint8_t *tag = cursor->at;
    if (left(cursor) < sizeof list_of_one || memcmp(tag, list_of_one, sizeof list_of_one) != 0 ||
        cursor->limits.max_elements < ALIAS_ELEMENTS)
        return false;
    cursor->at += sizeof list_of_one;
    if (!take_name(cursor, &text) || !IS(text, "alias") || !take_reference(cursor, &reply->alias))
        return false;
    reply->tag = slice_of(tag, (size_t)(cursor->at - tag));
    reply->form = REPLY_CALL;

    if (!take_tuple(cursor, &arity) || !take_name(cursor, &text))
        return false;
    if (arity == 2 && IS(text, "get")) {
        command->operation = COMMAND_GET;
        return take_id(cursor, &command->id);
    }
    return arity == 3 && IS(text, "set") && take_set(cursor, command);
}

bool command_shortcut(struct command *command, struct slice payload, struct etf_limits limits)
{
    struct cursor cursor = {payload.data, payload.data + payload.size, limits};
    struct slice name;
    uint8_t arity;
    bool taken = false;
    if (payload.size == 0 || !take_tuple(&cursor, &arity) || !take_name(&cursor, &name))
        return false;
    command->consistent = true;
    command->ack = COMMAND_ACK_DEFAULT;
    command->value = slice_of(NULL, 0);
    command->reply = (struct reply_to){.form = REPLY_NONE};
    if (arity == 5 && IS(name, "g"))
        taken = take_get(&cursor, command);
    else if (arity == 3 && IS(name, "s"))
        taken = take_set(&cursor, command);
    else if (arity == 3 && IS(name, "$gen_call"))
        taken = take_call(&cursor, command);
    return taken && cursor.at == cursor.end;
}
