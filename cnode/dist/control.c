/* Control messages: one table says which fields each operation has and in which order. */
#include "brain/control.h"

#include <stddef.h>

/* What stands at one place of a control tuple, after the operation. */
enum field {
    FIELD_NONE, /* the tuple ends here */
    FIELD_FROM,
    FIELD_FROM_PID_OR_NAME,
    FIELD_TO,
    FIELD_TO_NAME,
    FIELD_TO_PID_OR_NAME,
    FIELD_REFERENCE,
    FIELD_REASON,
    FIELD_UNLINK_ID,
    FIELD_IGNORED, /* any term: cookie, trace token, group leader, what to spawn */
};

enum { FIELDS_LIMIT = 6 };

struct layout {
    uint8_t operation; /* as on the wire */
    uint8_t meaning;   /* with trace variants folded */
    bool has_payload;
    uint8_t fields[FIELDS_LIMIT];
};

/* Indexed by the operation. The reason of 13 and 18 stands behind the trace token; that of the
 * payload variants is the payload. */
#define ROW(operation, meaning, has_payload, ...)                                                  \
    [operation] = {operation, meaning, has_payload, {__VA_ARGS__}}
static const struct layout layouts[] = {
    ROW(CONTROL_LINK, CONTROL_LINK, false, FIELD_FROM, FIELD_TO),
    ROW(CONTROL_SEND, CONTROL_SEND, true, FIELD_IGNORED, FIELD_TO),
    ROW(CONTROL_EXIT, CONTROL_EXIT, false, FIELD_FROM, FIELD_TO, FIELD_REASON),
    ROW(CONTROL_UNLINK, CONTROL_UNLINK, false, FIELD_FROM, FIELD_TO),
    ROW(CONTROL_REG_SEND, CONTROL_REG_SEND, true, FIELD_FROM, FIELD_IGNORED, FIELD_TO_NAME),
    ROW(CONTROL_GROUP_LEADER, CONTROL_GROUP_LEADER, false, FIELD_FROM, FIELD_TO),
    ROW(CONTROL_EXIT2, CONTROL_EXIT2, false, FIELD_FROM, FIELD_TO, FIELD_REASON),
    ROW(CONTROL_SEND_TT, CONTROL_SEND, true, FIELD_IGNORED, FIELD_TO, FIELD_IGNORED),
    ROW(CONTROL_EXIT_TT, CONTROL_EXIT, false, FIELD_FROM, FIELD_TO, FIELD_IGNORED, FIELD_REASON),
    ROW(CONTROL_REG_SEND_TT, CONTROL_REG_SEND, true, FIELD_FROM, FIELD_IGNORED, FIELD_TO_NAME,
        FIELD_IGNORED),
    ROW(CONTROL_EXIT2_TT, CONTROL_EXIT2, false, FIELD_FROM, FIELD_TO, FIELD_IGNORED, FIELD_REASON),
    ROW(CONTROL_MONITOR_P, CONTROL_MONITOR_P, false, FIELD_FROM, FIELD_TO_PID_OR_NAME,
        FIELD_REFERENCE),
    ROW(CONTROL_DEMONITOR_P, CONTROL_DEMONITOR_P, false, FIELD_FROM, FIELD_TO_PID_OR_NAME,
        FIELD_REFERENCE),
    ROW(CONTROL_MONITOR_P_EXIT, CONTROL_MONITOR_P_EXIT, false, FIELD_FROM_PID_OR_NAME, FIELD_TO,
        FIELD_REFERENCE, FIELD_REASON),
    ROW(CONTROL_SEND_SENDER, CONTROL_SEND_SENDER, true, FIELD_FROM, FIELD_TO),
    ROW(CONTROL_SEND_SENDER_TT, CONTROL_SEND_SENDER, true, FIELD_FROM, FIELD_TO, FIELD_IGNORED),
    ROW(CONTROL_PAYLOAD_EXIT, CONTROL_PAYLOAD_EXIT, true, FIELD_FROM, FIELD_TO),
    ROW(CONTROL_PAYLOAD_EXIT_TT, CONTROL_PAYLOAD_EXIT, true, FIELD_FROM, FIELD_TO, FIELD_IGNORED),
    ROW(CONTROL_PAYLOAD_EXIT2, CONTROL_PAYLOAD_EXIT2, true, FIELD_FROM, FIELD_TO),
    ROW(CONTROL_PAYLOAD_EXIT2_TT, CONTROL_PAYLOAD_EXIT2, true, FIELD_FROM, FIELD_TO, FIELD_IGNORED),
    ROW(CONTROL_PAYLOAD_MONITOR_P_EXIT, CONTROL_PAYLOAD_MONITOR_P_EXIT, true,
        FIELD_FROM_PID_OR_NAME, FIELD_TO, FIELD_REFERENCE),
    ROW(CONTROL_SPAWN_REQUEST, CONTROL_SPAWN_REQUEST, true, FIELD_REFERENCE, FIELD_FROM,
        FIELD_IGNORED, FIELD_IGNORED, FIELD_IGNORED),
    ROW(CONTROL_SPAWN_REQUEST_TT, CONTROL_SPAWN_REQUEST, true, FIELD_REFERENCE, FIELD_FROM,
        FIELD_IGNORED, FIELD_IGNORED, FIELD_IGNORED, FIELD_IGNORED),
    ROW(CONTROL_SPAWN_REPLY, CONTROL_SPAWN_REPLY, false, FIELD_REFERENCE, FIELD_TO, FIELD_IGNORED,
        FIELD_IGNORED),
    ROW(CONTROL_SPAWN_REPLY_TT, CONTROL_SPAWN_REPLY, false, FIELD_REFERENCE, FIELD_TO,
        FIELD_IGNORED, FIELD_IGNORED, FIELD_IGNORED),
    ROW(CONTROL_ALIAS_SEND, CONTROL_ALIAS_SEND, true, FIELD_FROM, FIELD_REFERENCE),
    ROW(CONTROL_ALIAS_SEND_TT, CONTROL_ALIAS_SEND, true, FIELD_FROM, FIELD_REFERENCE,
        FIELD_IGNORED),
    ROW(CONTROL_UNLINK_ID, CONTROL_UNLINK_ID, false, FIELD_UNLINK_ID, FIELD_FROM, FIELD_TO),
    ROW(CONTROL_UNLINK_ID_ACK, CONTROL_UNLINK_ID_ACK, false, FIELD_UNLINK_ID, FIELD_FROM, FIELD_TO),
};
#undef ROW

static uint32_t layout_arity(const struct layout *layout)
{
    uint32_t arity = 1;
    for (size_t i = 0; i < FIELDS_LIMIT && layout->fields[i] != FIELD_NONE; i++)
        arity++;
    return arity;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static bool peek_is_atom(const struct etf_reader *reader)
{
    int tag = etf_peek(reader);
    return tag == ETF_SMALL_ATOM_UTF8 || tag == ETF_ATOM_UTF8 || tag == ETF_SMALL_ATOM ||
           tag == ETF_ATOM;
}

static int read_pid_or_name_term(struct etf_reader *reader, struct slice *term)
{
    return peek_is_atom(reader) ? etf_read_term(reader, term) : etf_read_pid(reader, term);
}

static int read_unlink_id(struct etf_reader *reader, struct slice *term)
{
    const uint8_t *begin = reader->at;
    uint64_t id;
    int status = etf_read_uint64(reader, &id);
    if (status == 0)
        *term = slice_of(begin, (size_t)(reader->at - begin));
    return status;
}

static int read_field(struct etf_reader *reader, enum field field, struct control *control)
{
    switch (field) {
    case FIELD_FROM:
        return etf_read_pid(reader, &control->from);
    case FIELD_FROM_PID_OR_NAME:
        return read_pid_or_name_term(reader, &control->from);
    case FIELD_TO:
        return etf_read_pid(reader, &control->to);
    case FIELD_TO_NAME:
        return etf_read_atom(reader, &control->to_name);
    case FIELD_TO_PID_OR_NAME:
        return peek_is_atom(reader) ? etf_read_atom(reader, &control->to_name)
                                    : etf_read_pid(reader, &control->to);
    case FIELD_REFERENCE:
        return etf_read_reference(reader, &control->reference);
    case FIELD_REASON:
        return etf_read_term(reader, &control->reason);
    case FIELD_UNLINK_ID:
        return read_unlink_id(reader, &control->unlink_id);
    case FIELD_IGNORED:
        return etf_skip(reader);
    case FIELD_NONE:
        break;
    }
    return BRAIN_EPROTO;
}

int control_read(struct etf_reader *reader, struct control *control)
{
    struct etf_reader at = *reader;
    uint32_t arity;
    uint64_t operation;
    *control = (struct control){0};
    if (etf_read_tuple(&at, &arity) != 0 || arity == 0 || etf_read_uint64(&at, &operation) != 0)
        return BRAIN_EPROTO;
    if (operation >= sizeof(layouts) / sizeof(layouts[0]) || layouts[operation].operation == 0)
        return BRAIN_EPROTO;
    const struct layout *layout = &layouts[operation];
    if (arity != layout_arity(layout))
        return BRAIN_EPROTO;
    control->operation = (enum control_operation)layout->meaning;
    control->has_payload = layout->has_payload;
    for (size_t i = 0; i + 1 < arity; i++) {
        enum field field = (enum field)layout->fields[i];
        int status = read_field(&at, field, control);
        if (status == 0)
            continue;
        /* A term that may be anything is malformed by its own fault; of the others the reader only
         * knows that they are not of the kind that must stand here. */
        bool any_term = field == FIELD_IGNORED || field == FIELD_REASON;
        return any_term || status == BRAIN_ENOMEM ? status : BRAIN_EPROTO;
    }
    *reader = at;
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static void begin(struct buffer *out, uint32_t arity, enum control_operation operation)
{
    etf_write_tuple(out, arity);
    etf_write_uint64(out, (uint64_t)operation);
}

/* The cookie's place, unused since the handshake has digests. */
static void write_no_cookie(struct buffer *out)
{
    etf_write_atom(out, "");
}

void control_write_send(struct buffer *out, struct slice to)
{
    begin(out, 3, CONTROL_SEND);
    write_no_cookie(out);
    buffer_append_slice(out, to);
}

void control_write_send_sender(struct buffer *out, struct slice from, struct slice to)
{
    begin(out, 3, CONTROL_SEND_SENDER);
    buffer_append_slice(out, from);
    buffer_append_slice(out, to);
}

void control_write_reg_send(struct buffer *out, struct slice from, struct slice name)
{
    begin(out, 4, CONTROL_REG_SEND);
    buffer_append_slice(out, from);
    write_no_cookie(out);
    etf_write_atom_slice(out, name);
}

void control_write_alias_send(struct buffer *out, struct slice from, struct slice reference)
{
    begin(out, 3, CONTROL_ALIAS_SEND);
    buffer_append_slice(out, from);
    buffer_append_slice(out, reference);
}

void control_write_exit(
    struct buffer *out, struct slice from, struct slice to, const char *reason, bool as_payload)
{
    begin(out, as_payload ? 3 : 4, as_payload ? CONTROL_PAYLOAD_EXIT : CONTROL_EXIT);
    buffer_append_slice(out, from);
    buffer_append_slice(out, to);
    if (!as_payload)
        etf_write_atom(out, reason);
}

void control_write_monitor_exit(struct buffer *out, struct slice from, struct slice to,
    struct slice reference, const char *reason, bool as_payload)
{
    begin(out, as_payload ? 4 : 5,
        as_payload ? CONTROL_PAYLOAD_MONITOR_P_EXIT : CONTROL_MONITOR_P_EXIT);
    buffer_append_slice(out, from);
    buffer_append_slice(out, to);
    buffer_append_slice(out, reference);
    if (!as_payload)
        etf_write_atom(out, reason);
}

void control_write_unlink_ack(
    struct buffer *out, struct slice id, struct slice from, struct slice to)
{
    begin(out, 4, CONTROL_UNLINK_ID_ACK);
    buffer_append_slice(out, id);
    buffer_append_slice(out, from);
    buffer_append_slice(out, to);
}

void control_write_spawn_refusal(
    struct buffer *out, struct slice reference, struct slice to, const char *reason)
{
    begin(out, 5, CONTROL_SPAWN_REPLY);
    buffer_append_slice(out, reference);
    buffer_append_slice(out, to);
    etf_write_uint64(out, 0); /* no link and no monitor was set up */
    etf_write_atom(out, reason);
}
