/* command: from the bytes of one message to a request, without an allocation.
 *
 * Every form is read front to back, once. What is wrong with a part whose end is known (an id that
 * is none, a consistency that is no boolean) is remembered and reading goes on, because the asker's
 * pid and tag may stand behind it: a refusal that can be told is told. What has no end (a malformed
 * or too deep value) ends the reading; whoever was found until then is in command->reply. */
#include "brain/command.h"

#include <string.h>

#include "shortcut.h"

/* A message that was refused as a whole is read only to find whom to tell, and was too large or too
 * deep to be looked at in one go: this bounds the second look to about a millisecond. */
enum { REFUSED_ELEMENTS = 100000 };

struct parser {
    struct etf_reader reader;
    struct command *command;
    int refusal; /* the first thing that is wrong with a readable message; 0: nothing */
};

static void refuse(struct parser *parser, int error)
{
    if (parser->refusal == 0)
        parser->refusal = error;
}

/* The next term is not what it should be: steps over it. */
static int skip_refused(struct parser *parser, int error)
{
    refuse(parser, error);
    return etf_skip(&parser->reader);
}

static int read_id(struct parser *parser)
{
    struct command *command = parser->command;
    size_t size = 0;
    int status = etf_read_id(&parser->reader, command->id_text, &size);
    if (status == 0)
        command->id = slice_of(command->id_text, size);
    if (status != BRAIN_EBADID)
        return status;
    refuse(parser, BRAIN_EBADID);
    return 0;
}

static int read_boolean(struct parser *parser, bool *boolean)
{
    struct slice text;
    if (etf_peek(&parser->reader) < 0)
        return BRAIN_ETERM;
    if (etf_read_atom(&parser->reader, &text) != 0)
        return skip_refused(parser, BRAIN_EREQUEST);
    if (slice_equal_string(text, "true"))
        *boolean = true;
    else if (slice_equal_string(text, "false"))
        *boolean = false;
    else
        refuse(parser, BRAIN_EREQUEST);
    return 0;
}

/* ---- plain tuples ---------------------------------------------------------------------------- */

/* `Pid, Tag`: from here on a refusal has an address. A tag that cannot be read leaves none. */
static int read_asker(struct parser *parser, bool may_be_untagged)
{
    struct reply_to *reply = &parser->command->reply;
    struct etf_reader *reader = &parser->reader;
    struct slice pid;
    if (etf_read_pid(reader, &pid) != 0)
        return BRAIN_EREQUEST;
    if (may_be_untagged && (etf_take_atom(reader, "null") || etf_take_atom(reader, "nil") ||
                               etf_take_atom(reader, "undefined"))) {
        reply->pid = pid;
        reply->form = REPLY_UNTAGGED;
        return 0;
    }
    int status = etf_read_term(reader, &reply->tag);
    if (status != 0)
        return status;
    reply->pid = pid;
    reply->form = REPLY_TAGGED;
    return 0;
}

/* {g, Consistency, Id, Pid, Tag} */
static int parse_plain_get(struct parser *parser, uint32_t arity)
{
    int status;
    if (arity != 5)
        return BRAIN_EREQUEST;
    parser->command->operation = COMMAND_GET;
    if ((status = read_boolean(parser, &parser->command->consistent)) != 0 ||
        (status = read_id(parser)) != 0)
        return status;
    return read_asker(parser, true);
}

/* {s, Id, Value} and {s, Id, Value, Pid, Tag} */
static int parse_plain_set(struct parser *parser, uint32_t arity)
{
    int status;
    if (arity != 3 && arity != 5)
        return BRAIN_EREQUEST;
    parser->command->operation = COMMAND_SET;
    if ((status = read_id(parser)) != 0 ||
        (status = etf_read_term(&parser->reader, &parser->command->value)) != 0)
        return status;
    return arity == 5 ? read_asker(parser, false) : 0;
}

/* {p, Id}, {d, Id} and {p, Id, Pid, Tag}, {d, Id, Pid, Tag} */
static int parse_plain_id(struct parser *parser, uint32_t arity, enum command_operation operation)
{
    int status;
    if (arity != 2 && arity != 4)
        return BRAIN_EREQUEST;
    parser->command->operation = operation;
    if ((status = read_id(parser)) != 0)
        return status;
    return arity == 4 ? read_asker(parser, false) : 0;
}

/* ---- calls and casts ------------------------------------------------------------------------- */

enum { OPTION_CONSISTENCY = 1, OPTION_ACK = 2 };

/* The value of {ack, Class}. */
static int read_ack(struct parser *parser)
{
    static const struct {
        const char *text;
        enum command_ack ack;
    } classes[] = {
        {"memory", COMMAND_ACK_MEMORY},
        {"journal", COMMAND_ACK_JOURNAL},
        {"backup", COMMAND_ACK_BACKUP},
        {"warehouse", COMMAND_ACK_WAREHOUSE},
    };
    struct slice text;
    if (etf_peek(&parser->reader) < 0)
        return BRAIN_ETERM;
    if (etf_read_atom(&parser->reader, &text) != 0)
        return skip_refused(parser, BRAIN_EREQUEST);
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (slice_equal_string(text, classes[i].text)) {
            parser->command->ack = classes[i].ack;
            return 0;
        }
    }
    refuse(parser, BRAIN_EREQUEST);
    return 0;
}

/* One option's key and value. `allowed`: the options that mean something to this operation;
 * `*seen`: those that were here already, because in a list the first of a key counts (proplists,
 * Keyword). */
static int read_option(struct parser *parser, unsigned allowed, unsigned *seen)
{
    struct etf_reader *reader = &parser->reader;
    bool boolean = true;
    int status;
    if (allowed & OPTION_CONSISTENCY && etf_take_atom(reader, "consistency")) {
        status = read_boolean(parser, &boolean);
        if (!(*seen & OPTION_CONSISTENCY))
            parser->command->consistent = boolean;
        *seen |= OPTION_CONSISTENCY;
        return status;
    }
    if (allowed & OPTION_ACK && etf_take_atom(reader, "ack")) {
        if (*seen & OPTION_ACK)
            return etf_skip(reader);
        *seen |= OPTION_ACK;
        return read_ack(parser);
    }
    return BRAIN_EREQUEST;
}

/* [{Key, Value}] or #{Key => Value} */
static int read_options(struct parser *parser, unsigned allowed)
{
    struct etf_reader *reader = &parser->reader;
    unsigned seen = 0;
    uint32_t count, arity;
    int status = 0;
    if (etf_read_map(reader, &count) == 0) {
        while (status == 0 && count-- > 0)
            status = read_option(parser, allowed, &seen);
        return status;
    }
    if (etf_peek(reader) == ETF_NIL)
        return etf_skip(reader);
    if (etf_read_list(reader, &count) != 0)
        return BRAIN_EREQUEST;
    while (status == 0 && count-- > 0) {
        if (etf_read_tuple(reader, &arity) != 0 || arity != 2)
            return BRAIN_EREQUEST;
        status = read_option(parser, allowed, &seen);
    }
    if (status == 0 && etf_peek(reader) != ETF_NIL)
        return BRAIN_EREQUEST; /* improper */
    return status == 0 ? etf_skip(reader) : status;
}

static int parse_request(struct parser *parser)
{
    struct command *command = parser->command;
    struct etf_reader *reader = &parser->reader;
    uint32_t arity;
    unsigned allowed;
    bool value = false;
    int status;

    if (etf_take_atom(reader, "info")) {
        command->operation = COMMAND_INFO;
        return 0;
    }
    if (etf_take_atom(reader, "shutdown")) {
        command->operation = COMMAND_SHUTDOWN;
        return 0;
    }
    if (etf_read_tuple(reader, &arity) != 0)
        return BRAIN_EREQUEST;
    if (etf_take_atom(reader, "get")) {
        command->operation = COMMAND_GET;
        allowed = OPTION_CONSISTENCY;
    } else if (etf_take_atom(reader, "set")) {
        command->operation = COMMAND_SET;
        allowed = OPTION_ACK;
        value = true;
    } else if (etf_take_atom(reader, "persist")) {
        command->operation = COMMAND_PERSIST;
        allowed = OPTION_ACK;
    } else if (etf_take_atom(reader, "delete")) {
        command->operation = COMMAND_DELETE;
        allowed = OPTION_ACK;
    } else if (etf_take_atom(reader, "owner")) {
        command->operation = COMMAND_OWNER;
        allowed = 0;
    } else {
        return BRAIN_EREQUEST;
    }
    uint32_t least = value ? 3 : 2;
    if (arity != least && !(allowed != 0 && arity == least + 1))
        return BRAIN_EREQUEST;
    if ((status = read_id(parser)) != 0)
        return status;
    if (value && (status = etf_read_term(reader, &command->value)) != 0)
        return status;
    return arity > least ? read_options(parser, allowed) : 0;
}

/* The alias in a call's tag: [alias|Ref], or [[alias|Ref]|_] as gen:send_request makes. Any other
 * tag is only copied back. Source: OTP, gen:reply/2. */
static struct slice alias_of(struct slice tag, struct etf_limits limits)
{
    struct etf_reader reader;
    struct slice reference;
    uint32_t length;
    etf_reader_init(&reader, tag, limits);
    if (etf_peek(&reader) != ETF_LIST || etf_read_list(&reader, &length) != 0)
        return slice_of(NULL, 0);
    if (etf_peek(&reader) == ETF_LIST && etf_read_list(&reader, &length) != 0)
        return slice_of(NULL, 0);
    if (length != 1 || !etf_take_atom(&reader, "alias") ||
        etf_read_reference(&reader, &reference) != 0)
        return slice_of(NULL, 0);
    return reference;
}

/* {'$gen_call', {Pid, Tag}, Request} */
static int parse_call(struct parser *parser)
{
    struct reply_to *reply = &parser->command->reply;
    struct slice pid;
    uint32_t arity;
    int status;
    if (etf_read_tuple(&parser->reader, &arity) != 0 || arity != 2 ||
        etf_read_pid(&parser->reader, &pid) != 0)
        return BRAIN_EREQUEST;
    if ((status = etf_read_term(&parser->reader, &reply->tag)) != 0)
        return status;
    reply->pid = pid;
    reply->alias = alias_of(reply->tag, parser->reader.limits);
    reply->form = REPLY_CALL;
    return parse_request(parser);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static int parse_message(struct parser *parser)
{
    struct slice name;
    uint32_t arity;
    if (etf_read_tuple(&parser->reader, &arity) != 0)
        return BRAIN_EREQUEST;
    if (arity == 0 || etf_read_atom(&parser->reader, &name) != 0)
        return BRAIN_EREQUEST;
    if (name.size == 1) {
        switch (name.data[0]) {
        case 'g':
            return parse_plain_get(parser, arity);
        case 's':
            return parse_plain_set(parser, arity);
        case 'p':
            return parse_plain_id(parser, arity, COMMAND_PERSIST);
        case 'd':
            return parse_plain_id(parser, arity, COMMAND_DELETE);
        default:
            return BRAIN_EREQUEST;
        }
    }
    if (arity == 3 && slice_equal_string(name, "$gen_call"))
        return parse_call(parser);
    if (arity == 2 && slice_equal_string(name, "$gen_cast"))
        return parse_request(parser);
    return BRAIN_EREQUEST;
}

/* An unacceptable request is one thing, a message that is no term another: whoever counts them
 * wants to know which. Only for messages that nobody has checked yet, which are small. */
static int malformed_or(int error, struct slice payload, struct etf_limits limits)
{
    struct etf_reader reader;
    etf_reader_init(&reader, payload, limits);
    int status = etf_skip(&reader);
    if (status != 0)
        return status;
    return etf_at_end(&reader) ? error : BRAIN_ETERM;
}

int command_parse_any(struct command *command, struct slice payload, const struct etf_marks *marks,
    struct etf_limits limits, int payload_error)
{
    struct parser parser = {.command = command, .refusal = 0};
    command->operation = COMMAND_GET;
    command->consistent = true;
    command->ack = COMMAND_ACK_DEFAULT;
    command->id = slice_of(NULL, 0);
    command->value = slice_of(NULL, 0);
    command->reply = (struct reply_to){.form = REPLY_NONE};

    if (payload_error != 0 && limits.max_elements > REFUSED_ELEMENTS)
        limits.max_elements = REFUSED_ELEMENTS;
    etf_reader_init(&parser.reader, payload, limits);
    parser.reader.marks = marks;

    int status = parse_message(&parser);
    if (payload_error != 0)
        return payload_error;
    if (status == 0 && !etf_at_end(&parser.reader))
        status = BRAIN_ETERM; /* a second term, for instance */
    if ((status == 0 || status == BRAIN_EREQUEST) && parser.refusal != 0)
        status = parser.refusal;
    if (status == 0)
        return 0;
    return marks == NULL ? malformed_or(status, payload, limits) : status;
}

int command_parse(struct command *command, struct slice payload, const struct etf_marks *marks,
    struct etf_limits limits, int payload_error)
{
    if (payload_error == 0 && marks == NULL && command_shortcut(command, payload, limits))
        return 0;
    return command_parse_any(command, payload, marks, limits, payload_error);
}
