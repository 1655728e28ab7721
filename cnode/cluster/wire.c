#include "wire.h"

#include <assert.h>
#include <string.h>

#include "idmap.h"

static const struct {
    const char *atom, *elements;
    bool bound;
} kinds[MESSAGE_COUNT] = {
#define MESSAGE_ROW(name, atom, elements, bound) {atom, elements, bound},
    MESSAGES(MESSAGE_ROW)
#undef MESSAGE_ROW
};

static const char *const states[STATE_COUNT] = {"none", "value", "deleted"};
static const char *const booleans[2] = {"false", "true"};
static const char *const operations[] = {
    [CLUSTER_READ] = "read",
    [CLUSTER_WRITE] = "write",
    [CLUSTER_DELETE] = "delete",
    [CLUSTER_PERSIST] = "persist",
};
enum { OPERATIONS = sizeof(operations) / sizeof(operations[0]), HEADER_ELEMENTS = 4 };

bool message_is_bound(enum message_kind kind)
{
    return kinds[kind].bound;
}

bool message_has_value(const struct message *message)
{
    switch (message->kind) {
    case MESSAGE_FETCHED:
    case MESSAGE_BACKUP:
        return message->state == STATE_VALUE;
    case MESSAGE_FORWARD:
        return message->operation == CLUSTER_WRITE;
    case MESSAGE_REPLY:
        return message->status == STORE_FOUND;
    default:
        return false;
    }
}

static uint32_t arity_of(enum message_kind kind)
{
    uint32_t arity = HEADER_ELEMENTS;
    for (const char *element = kinds[kind].elements; *element; element++) {
        arity += *element == 'e' || *element == 'f'   ? 2
                 : *element == 'v' || *element == 'h' ? 3
                                                      : 1;
    }
    return arity;
}

/* ---- records ----------------------------------------------------------------------------------
 */

static void append_version(struct buffer *out, struct version version)
{
    buffer_append_be64(out, version.view);
    buffer_append_be64(out, version.counter);
    buffer_append_be64(out, version.seq);
}

static struct version load_version(const uint8_t *bytes)
{
    return (struct version){load_be64(bytes), load_be64(bytes + 8), load_be64(bytes + 16)};
}

static void append_key(struct buffer *out, struct key key)
{
    uint8_t bytes[KEY_BYTES];
    key_store(bytes, key);
    buffer_append(out, bytes, sizeof(bytes));
}

void owned_record_write(struct buffer *out, struct key key, struct cluster_epoch epoch)
{
    append_key(out, key);
    buffer_append_be64(out, epoch.view);
    buffer_append_be64(out, epoch.counter);
}

void held_record_write(struct buffer *out, struct key key, struct version version)
{
    append_key(out, key);
    append_version(out, version);
}

void listed_record_write(struct buffer *out, uint64_t holder, struct version version)
{
    buffer_append_be64(out, holder);
    append_version(out, version);
}

void owned_record_read(const uint8_t *bytes, struct key *key, struct cluster_epoch *epoch)
{
    *key = key_load(bytes);
    *epoch = (struct cluster_epoch){load_be64(bytes + KEY_BYTES), load_be64(bytes + KEY_BYTES + 8)};
}

void held_record_read(const uint8_t *bytes, struct key *key, struct version *version)
{
    *key = key_load(bytes);
    *version = load_version(bytes + KEY_BYTES);
}

void listed_record_read(const uint8_t *bytes, uint64_t *holder, struct version *version)
{
    *holder = load_be64(bytes);
    *version = load_version(bytes + 8);
}

void answer_record_write(
    struct buffer *out, struct key key, struct version asked, struct version held)
{
    held_record_write(out, key, asked);
    append_version(out, held);
}

void answer_record_read(
    const uint8_t *bytes, struct key *key, struct version *asked, struct version *held)
{
    held_record_read(bytes, key, asked);
    *held = load_version(bytes + HELD_RECORD);
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static void write_epoch(struct buffer *out, struct cluster_epoch epoch)
{
    etf_write_uint64(out, epoch.view);
    etf_write_uint64(out, epoch.counter);
}

static void write_version(struct buffer *out, struct version version)
{
    etf_write_uint64(out, version.view);
    etf_write_uint64(out, version.counter);
    etf_write_uint64(out, version.seq);
}

static void write_element(struct buffer *out, const struct message *message, char element)
{
    uint8_t key[KEY_BYTES];
    switch (element) {
    case 'k':
        key_store(key, message->key);
        etf_write_binary(out, slice_of(key, sizeof(key)));
        break;
    case 'i':
        etf_write_binary(out, message->id);
        break;
    case 'n':
        etf_write_uint64(out, message->number);
        break;
    case 'N':
        etf_write_uint64(out, message->second_number);
        break;
    case 'm':
        etf_write_uint64(out, message->member);
        break;
    case 'e':
        write_epoch(out, message->epoch);
        break;
    case 'f':
        write_epoch(out, message->second_epoch);
        break;
    case 'v':
        write_version(out, message->version);
        break;
    case 'h':
        write_version(out, message->second_version);
        break;
    case 's':
        etf_write_atom(out, states[message->state]);
        break;
    case 'b':
        etf_write_atom(out, booleans[message->complete]);
        break;
    case 'o':
        etf_write_atom(out, operations[message->operation]);
        break;
    case 'a':
        etf_write_uint64(out, message->ack);
        break;
    case 't':
        etf_write_int64(out, message->status);
        break;
    case 'F':
        etf_write_uint64(out, message->first);
        break;
    case 'T':
        etf_write_uint64(out, message->through);
        break;
    case 'O':
        etf_write_binary(out, message->owned);
        break;
    case 'C':
    case 'L':
    case 'A':
        etf_write_binary(out, message->copies);
        break;
    default:
        assert(element == 'x');
        if (!message_has_value(message))
            etf_write_nil(out);
        break;
    }
}

void message_write(struct buffer *out, const struct message *message)
{
    etf_write_tuple(out, arity_of(message->kind));
    etf_write_uint64(out, message->view);
    etf_write_atom(out, kinds[message->kind].atom);
    etf_write_uint64(out, message->from);
    etf_write_uint64(out, message->to);
    for (const char *element = kinds[message->kind].elements; *element; element++)
        write_element(out, message, *element);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static int read_view(struct etf_reader *reader, uint64_t *view)
{
    int status = etf_read_uint64(reader, view);
    return status != 0 ? status : *view <= VIEW_LIMIT ? 0 : BRAIN_EPROTO;
}

static int read_epoch(struct etf_reader *reader, struct cluster_epoch *epoch, bool optional)
{
    int status = read_view(reader, &epoch->view);
    if (status == 0)
        status = etf_read_uint64(reader, &epoch->counter);
    if (status != 0)
        return status;
    bool none = epoch->view == 0 && epoch->counter == 0;
    return epoch_is_valid(*epoch) || (optional && none) ? 0 : BRAIN_EPROTO;
}

static int read_version(struct etf_reader *reader, struct version *version)
{
    int status = read_view(reader, &version->view);
    if (status == 0)
        status = etf_read_uint64(reader, &version->counter);
    return status != 0 ? status : etf_read_uint64(reader, &version->seq);
}

static int read_one_of(
    struct etf_reader *reader, const char *const *names, unsigned count, unsigned *index)
{
    for (*index = 0; *index < count; ++*index) {
        if (names[*index] && etf_take_atom(reader, names[*index]))
            return 0;
    }
    return BRAIN_EPROTO;
}

static int read_bounded(struct etf_reader *reader, uint64_t limit, uint64_t *number)
{
    int status = etf_read_uint64(reader, number);
    return status != 0 ? status : *number <= limit ? 0 : BRAIN_EPROTO;
}

/* Each has the number of a view at `view_at`. */
static int read_records(
    struct etf_reader *reader, size_t record, size_t view_at, struct slice *records)
{
    int status = etf_read_binary(reader, records);
    if (status != 0 || records->size % record != 0)
        return status != 0 ? status : BRAIN_EPROTO;
    for (size_t at = view_at; at < records->size; at += record) {
        if (load_be64(records->data + at) > VIEW_LIMIT)
            return BRAIN_EPROTO;
    }
    return 0;
}

static int read_status(struct etf_reader *reader, int *status)
{
    int64_t number;
    int error = etf_read_int64(reader, &number);
    if (error != 0)
        return error;
    if (number != STORE_DONE && number != STORE_FOUND && number != STORE_ABSENT &&
        (number >= 0 || number < -1000))
        return BRAIN_EPROTO;
    *status = (int)number;
    return 0;
}

static int read_value(struct etf_reader *reader, struct message *message)
{
    struct slice term;
    if (!message_has_value(message)) {
        uint32_t length;
        if (etf_peek(reader) != ETF_NIL)
            return BRAIN_EPROTO;
        return etf_read_list(reader, &length);
    }
    int status = etf_read_term(reader, &term);
    message->value = (struct value){NULL, term.data, term.size};
    return status;
}

static int read_element(struct etf_reader *reader, struct message *message, char element)
{
    bool optional = message->kind == MESSAGE_CLAIM || message->kind == MESSAGE_LOCATED;
    struct slice bytes;
    uint64_t number;
    unsigned index;
    int status;
    switch (element) {
    case 'k':
        status = etf_read_binary(reader, &bytes);
        if (status == 0 && bytes.size != KEY_BYTES)
            return BRAIN_EPROTO;
        if (status == 0)
            message->key = key_load(bytes.data);
        return status;
    case 'i':
        status = etf_read_binary(reader, &message->id);
        return status != 0                                            ? status
               : message->id.size > 0 && message->id.size <= ID_LIMIT ? 0
                                                                      : BRAIN_EPROTO;
    case 'n':
        return etf_read_uint64(reader, &message->number);
    case 'N':
        return etf_read_uint64(reader, &message->second_number);
    case 'm':
        return etf_read_uint64(reader, &message->member);
    case 'e':
        return read_epoch(reader, &message->epoch, optional);
    case 'f':
        /* A floor may be an epoch of a store's own making, with any counter. */
        status = etf_read_uint64(reader, &message->second_epoch.view);
        return status != 0 ? status : etf_read_uint64(reader, &message->second_epoch.counter);
    case 'v':
        return read_version(reader, &message->version);
    case 'h':
        return read_version(reader, &message->second_version);
    case 's':
        status = read_one_of(reader, states, STATE_COUNT, &index);
        message->state = (enum message_state)index;
        return status;
    case 'b':
        status = read_one_of(reader, booleans, 2, &index);
        message->complete = index == 1;
        return status;
    case 'o':
        status = read_one_of(reader, operations, OPERATIONS, &index);
        message->operation = (enum cluster_kind)index;
        return status;
    case 'a':
        status = read_bounded(reader, UINT8_MAX, &number);
        message->ack = (uint8_t)number;
        return status;
    case 't':
        return read_status(reader, &message->status);
    case 'F':
        status = read_bounded(reader, CLUSTER_SLOTS, &number);
        message->first = (uint32_t)number;
        return status;
    case 'T':
        status = read_bounded(reader, CLUSTER_SLOTS, &number);
        message->through = (uint32_t)number;
        return status;
    case 'O':
        return read_records(reader, OWNED_RECORD, KEY_BYTES, &message->owned);
    case 'C':
        return read_records(reader, HELD_RECORD, KEY_BYTES, &message->copies);
    case 'L':
        return read_records(reader, LISTED_RECORD, sizeof(message->from), &message->copies);
    case 'A':
        return read_records(reader, ANSWER_RECORD, HELD_RECORD, &message->copies);
    default:
        assert(element == 'x');
        return read_value(reader, message);
    }
}

static int read_kind(struct etf_reader *reader, enum message_kind *kind)
{
    struct slice text;
    int status = etf_read_atom(reader, &text);
    if (status != 0)
        return status;
    for (unsigned i = 0; i < MESSAGE_COUNT; i++) {
        if (slice_equal_string(text, kinds[i].atom)) {
            *kind = (enum message_kind)i;
            return 0;
        }
    }
    return BRAIN_EPROTO;
}

static int read_all(struct etf_reader *reader, struct message *message)
{
    uint32_t arity;
    int status = etf_read_tuple(reader, &arity);
    if (status == 0)
        status = read_view(reader, &message->view);
    if (status == 0)
        status = read_kind(reader, &message->kind);
    if (status == 0 && arity != arity_of(message->kind))
        status = BRAIN_EPROTO;
    if (status == 0)
        status = etf_read_uint64(reader, &message->from);
    if (status == 0)
        status = etf_read_uint64(reader, &message->to);
    if (status != 0)
        return status;
    for (const char *element = kinds[message->kind].elements; *element; element++) {
        status = read_element(reader, message, *element);
        if (status != 0)
            return status;
    }
    return etf_at_end(reader) ? 0 : BRAIN_EPROTO;
}

static bool is_too_large(const struct message *message)
{
    const size_t owned = message->owned.size, copies = message->copies.size;
    switch (message->kind) {
    case MESSAGE_REPORT:
        return owned / OWNED_RECORD + copies / HELD_RECORD > REPORT_RECORDS;
    case MESSAGE_OFFER:
        return copies > (size_t)OFFER_RECORDS * HELD_RECORD;
    case MESSAGE_OFFER_ACK:
        return copies > (size_t)OFFER_RECORDS * ANSWER_RECORD;
    case MESSAGE_GRANT:
        return copies > (size_t)CLUSTER_MEMBERS_LIMIT * LISTED_RECORD;
    default:
        return false;
    }
}

int message_read(struct message *message, struct slice bytes, const struct etf_marks *marks,
    struct etf_limits limits)
{
    struct etf_reader reader;
    etf_reader_init(&reader, bytes, limits);
    reader.marks = marks;
    *message = (struct message){0};
    int status = read_all(&reader, message);
    if (status != 0)
        return status == BRAIN_ENOMEM ? status : BRAIN_EPROTO;
    if ((message->kind == MESSAGE_REPORT && message->first > message->through) ||
        is_too_large(message))
        return BRAIN_EPROTO;
    return 0;
}

/* ---- hello ------------------------------------------------------------------------------------
 */

/* Tells that the seeds are equal, and nothing about the seed. */
static uint64_t check_of(uint64_t seed)
{
    return key_of(seed, slice_of_string("brain_peer")).high;
}

void hello_write(struct buffer *out, uint64_t seed)
{
    etf_write_tuple(out, 3);
    etf_write_atom(out, "hello");
    etf_write_uint64(out, CLUSTER_PROTOCOL);
    etf_write_uint64(out, check_of(seed));
}

int hello_read(struct slice payload, uint64_t seed, struct etf_limits limits, const char **why)
{
    struct etf_reader reader;
    uint32_t arity;
    uint64_t protocol, check;
    etf_reader_init(&reader, payload, limits);
    *why = "the first message of a peer link is not {hello, Protocol, Check}";
    if (etf_read_tuple(&reader, &arity) != 0 || arity < 2 || !etf_take_atom(&reader, "hello") ||
        etf_read_uint64(&reader, &protocol) != 0)
        return BRAIN_EPROTO;
    if (protocol != CLUSTER_PROTOCOL) {
        *why = "the peer speaks another version of the protocol between members";
        return BRAIN_EPROTO;
    }
    if (arity != 3 || etf_read_uint64(&reader, &check) != 0 || !etf_at_end(&reader))
        return BRAIN_EPROTO;
    if (check != check_of(seed)) {
        *why = "the peer hashes ids with another seed: another cookie, or another cluster";
        return BRAIN_EPROTO;
    }
    *why = "";
    return 0;
}
