#include "wire.h"

#include <assert.h>

static const struct {
    const char *atom, *elements;
} kinds[REPLICA_KINDS] = {
#define REPLICA_MESSAGE_ROW(name, atom, elements) {atom, elements},
    REPLICA_MESSAGES(REPLICA_MESSAGE_ROW)
#undef REPLICA_MESSAGE_ROW
};

static const char *const states[REPLICA_STATES] = {"none", "value", "deleted"};
static const char first[] = "replica";
enum { HEADER_ELEMENTS = 5 };

static uint32_t arity_of(enum replica_kind kind)
{
    uint32_t arity = HEADER_ELEMENTS;
    for (const char *element = kinds[kind].elements; *element; element++)
        arity += *element == 'e' ? 2 : *element == 'v' ? 3 : 1;
    return arity;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static void write_element(struct buffer *out, const struct replica_message *message, char element)
{
    switch (element) {
    case 'g':
        etf_write_binary(out, message->settings);
        break;
    case 'i':
        etf_write_binary(out, message->id);
        break;
    case 'e':
        etf_write_uint64(out, message->epoch.view);
        etf_write_uint64(out, message->epoch.counter);
        break;
    case 'v':
        etf_write_uint64(out, message->version.view);
        etf_write_uint64(out, message->version.counter);
        etf_write_uint64(out, message->version.seq);
        break;
    case 's':
        etf_write_atom(out, states[message->state]);
        break;
    default:
        assert(element == 'x');
        if (message->state != REPLICA_VALUE)
            etf_write_nil(out);
        break;
    }
}

void replica_message_write(struct buffer *out, const struct replica_message *message)
{
    etf_write_tuple(out, arity_of(message->kind));
    etf_write_atom(out, first);
    etf_write_atom(out, kinds[message->kind].atom);
    etf_write_uint64(out, message->round);
    etf_write_uint64(out, message->from);
    etf_write_uint64(out, message->to);
    for (const char *element = kinds[message->kind].elements; *element; element++)
        write_element(out, message, *element);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

bool replica_is_message(struct slice message)
{
    static const struct etf_limits limits = {1, 1};
    struct etf_reader reader;
    uint32_t arity;
    etf_reader_init(&reader, message, limits);
    return etf_read_tuple(&reader, &arity) == 0 && etf_take_atom(&reader, first);
}

static int read_one_of(
    struct etf_reader *reader, const char *const *names, unsigned count, unsigned *index)
{
    for (*index = 0; *index < count; ++*index)
        if (etf_take_atom(reader, names[*index]))
            return 0;
    return BRAIN_EPROTO;
}

static int read_value(struct etf_reader *reader, struct replica_message *message)
{
    struct slice term;
    if (message->state != REPLICA_VALUE) {
        uint32_t length;
        return etf_peek(reader) == ETF_NIL ? etf_read_list(reader, &length) : BRAIN_EPROTO;
    }
    const int status = etf_read_term(reader, &term);
    message->value = (struct value){NULL, term.data, term.size};
    return status;
}

static int read_bytes(struct etf_reader *reader, size_t least, size_t most, struct slice *bytes)
{
    const int status = etf_read_binary(reader, bytes);
    return status != 0 ? status : bytes->size >= least && bytes->size <= most ? 0 : BRAIN_EPROTO;
}

static int read_numbers(struct etf_reader *reader, uint64_t *const numbers[], unsigned count)
{
    int status = 0;
    for (unsigned i = 0; i < count && status == 0; i++)
        status = etf_read_uint64(reader, numbers[i]);
    return status;
}

static int read_element(struct etf_reader *reader, struct replica_message *message, char element)
{
    struct cluster_epoch *epoch = &message->epoch;
    struct version *version = &message->version;
    unsigned index;
    int status;
    switch (element) {
    case 'g':
        return read_bytes(reader, 0, REPLICA_SETTINGS_LIMIT, &message->settings);
    case 'i':
        return read_bytes(reader, 1, ID_LIMIT, &message->id);
    case 'e':
        return read_numbers(reader, (uint64_t *const[]){&epoch->view, &epoch->counter}, 2);
    case 'v':
        return read_numbers(
            reader, (uint64_t *const[]){&version->view, &version->counter, &version->seq}, 3);
    case 's':
        status = read_one_of(reader, states, REPLICA_STATES, &index);
        message->state = (enum replica_state)index;
        return status;
    default:
        assert(element == 'x');
        return read_value(reader, message);
    }
}

static int read_kind(struct etf_reader *reader, enum replica_kind *kind)
{
    for (unsigned i = 0; i < REPLICA_KINDS; i++) {
        *kind = (enum replica_kind)i;
        if (etf_take_atom(reader, kinds[i].atom))
            return 0;
    }
    return BRAIN_EPROTO;
}

static int read_all(struct etf_reader *reader, struct replica_message *message)
{
    uint32_t arity;
    int status = etf_read_tuple(reader, &arity);
    if (status == 0 && !etf_take_atom(reader, first))
        return BRAIN_EPROTO;
    if (status == 0)
        status = read_kind(reader, &message->kind);
    if (status == 0 && arity != arity_of(message->kind))
        return BRAIN_EPROTO;
    if (status == 0)
        status = read_numbers(
            reader, (uint64_t *const[]){&message->round, &message->from, &message->to}, 3);
    if (status != 0)
        return status;
    for (const char *element = kinds[message->kind].elements; *element; element++) {
        status = read_element(reader, message, *element);
        if (status != 0)
            return status;
    }
    return etf_at_end(reader) ? 0 : BRAIN_EPROTO;
}

int replica_message_read(struct replica_message *message, struct slice bytes,
    const struct etf_marks *marks, struct etf_limits limits)
{
    struct etf_reader reader;
    etf_reader_init(&reader, bytes, limits);
    reader.marks = marks;
    *message = (struct replica_message){0};
    const int status = read_all(&reader, message);
    return status == 0 || status == BRAIN_ENOMEM ? status : BRAIN_EPROTO;
}
