/* Messages: what OTP sends to any process is answered here, what is meant for the registered
 * process goes up.
 *
 *   to               message                                    answer
 *   net_kernel       '$gen_call' {is_auth, Node} (ping)         {Tag, yes}
 *   net_kernel       '$gen_call' anything else                  {Tag, {error, notsup}}
 *   rex              '$gen_call' (rpc:block_call, old rpc)      {Tag, {badrpc, notsup}}
 *   rex              {Pid, {call, M, F, A, GL}} (ei_rpc)        {rex, {badrpc, notsup}}
 *   rex              {Pid, {sbcast, Name, Msg}}                 {rex, Node, {nonexisting_name, N}}
 *   rex              {Pid, features_request}                    {features_reply, Node, []}
 *   any              {system, {Pid, Tag}, get_status}           {Tag, {status, ...}}
 *   any              {system, {Pid, Tag}, get_state}            {Tag, {ok, running}}
 *   any              {system, {Pid, Tag}, anything else}        {Tag, {error, notsup}}
 *   registered, pid  {io_request, Pid, ReplyAs, Request}        {io_reply, ReplyAs, {error,
 * enotsup}} registered, pid  {Pid, {Pid, Tag}, Request} (gen_event)     {Tag, {error, bad_module}}
 * and like registered, pid  everything else                            on_message
 * other names      as registered                              on_named
 *
 * In a call's {Pid, Tag} the tag is opaque and goes back as it came. A payload that turns out
 * malformed behind a readable tag is refused with {Tag, {error, Reason}}. */
#include "citizen_mail.h"

/* ---- calls ------------------------------------------------------------------------------------
 */

struct caller {
    struct slice pid, tag;
    struct slice alias; /* or empty */
};

/* The reference of [alias|Ref] (gen:call) and [[alias|Ref]|_] (gen:send_request). */
static struct slice alias_of(struct slice tag, struct etf_limits limits)
{
    const struct slice none = slice_of(NULL, 0);
    struct etf_reader reader;
    struct slice reference;
    uint32_t length = 0;
    etf_reader_init(&reader, tag, limits);
    if (etf_peek(&reader) != ETF_LIST || etf_read_list(&reader, &length) != 0)
        return none;
    if (etf_peek(&reader) == ETF_LIST && etf_read_list(&reader, &length) != 0)
        return none;
    if (length != 1 || !etf_take_atom(&reader, "alias") ||
        etf_read_reference(&reader, &reference) != 0)
        return none;
    return reference;
}

/* {Pid, Tag} */
static int read_caller(struct etf_reader *reader, struct caller *caller)
{
    uint32_t arity;
    int status = etf_read_tuple(reader, &arity);
    if (status == 0 && arity != 2)
        status = BRAIN_EREQUEST;
    if (status == 0)
        status = etf_read_pid(reader, &caller->pid);
    if (status == 0)
        status = etf_read_term(reader, &caller->tag);
    if (status == 0)
        caller->alias = alias_of(caller->tag, reader->limits);
    return status;
}

/* The last term of a message: well formed, and nothing behind it? */
static int read_last(struct etf_reader *reader, struct slice *term)
{
    int status = etf_read_term(reader, term);
    return status == 0 && !etf_at_end(reader) ? BRAIN_ETERM : status;
}

/* ---- answers ----------------------------------------------------------------------------------
 */

struct mail {
    struct channel *channel;
    const struct frame_message *message;
    enum monitor_target target;
    struct etf_reader reader;
};

static struct channel_metrics *metrics_of(const struct mail *mail)
{
    return &mail->channel->node->metrics;
}

/* Somebody waits for this answer: one that cannot be sent ends the channel. */
static int commit(struct channel *channel)
{
    int status = channel_send_commit(channel, NULL);
    if (status == BRAIN_ENOMEM)
        return channel_fail(channel, status, &channel->node->metrics.memory_errors,
            error_sentence(status), slice_of(NULL, 0));
    return channel->error;
}

static struct buffer *begin_plain(struct channel *channel, struct slice to, struct slice alias)
{
    channel_settle(channel);
    struct buffer *out = channel_send_begin(channel, to, alias);
    if (out == NULL)
        channel_fail(channel, BRAIN_ENOMEM, &channel->node->metrics.memory_errors,
            error_sentence(BRAIN_ENOMEM), slice_of(NULL, 0));
    return out;
}

/* {Tag, and the caller writes the rest */
static struct buffer *begin_reply(struct channel *channel, const struct caller *caller)
{
    struct buffer *out = begin_plain(channel, caller->pid, caller->alias);
    if (out != NULL) {
        etf_write_tuple(out, 2);
        buffer_append_slice(out, caller->tag);
    }
    return out;
}

static void write_pair(struct buffer *out, const char *first, const char *second)
{
    etf_write_tuple(out, 2);
    etf_write_atom(out, first);
    etf_write_atom(out, second);
}

static int reply_pair(
    struct mail *mail, const struct caller *caller, const char *first, const char *second)
{
    struct buffer *out = begin_reply(mail->channel, caller);
    if (out == NULL)
        return mail->channel->error;
    write_pair(out, first, second);
    return commit(mail->channel);
}

static int refuse(
    struct mail *mail, const struct caller *caller, const char *first, const char *second)
{
    metrics_of(mail)->requests_refused++;
    return reply_pair(mail, caller, first, second);
}

/* The request itself is malformed, `status` says how. One that frame_reader found was counted. */
static int refuse_term(struct mail *mail, const struct caller *caller, int status)
{
    if (mail->message->payload_error == 0)
        metrics_of(mail)->terms_refused++;
    return reply_pair(mail, caller, "error", error_atom(status));
}

static int drop(struct mail *mail)
{
    metrics_of(mail)->messages_dropped++;
    return 0;
}

static bool is_ours(enum monitor_target target)
{
    return target == MONITOR_REGISTERED || target == MONITOR_PID || target >= MONITOR_OTHER;
}

static void count_message(struct channel *channel, struct slice from)
{
    enum { NUMBERS = 12, NUMBER_LAST = 9, BITS = 64 }; /* a pid ends with id, serial, creation */
    channel->node->metrics.messages_received++;
    channel->messages++;
    if (from.size > NUMBERS)
        channel->senders |= UINT64_C(1) << from.data[from.size - NUMBER_LAST] % BITS;
}

static int deliver(struct channel *channel, enum monitor_target target, struct slice from,
    const struct frame_message *message)
{
    const struct channel_message up = {
        .payload = message->payload,
        .block = message->block,
        .marks = message->payload_checked ? message->marks : NULL,
        .payload_error = message->payload_error,
        .from = from,
        .stays = message->stays,
    };
    count_message(channel, from);
    channel->unsettled = channel->unsettled || message->stays;
    if (target >= MONITOR_OTHER)
        channel->events.on_named(channel->events.context, channel, target - MONITOR_OTHER, &up);
    else
        channel->events.on_message(channel->events.context, channel, &up);
    return channel->error;
}

/* ---- sys --------------------------------------------------------------------------------------
 */

/* {status, Pid, {module, Mod}, [PDict, SysState, Parent, Debug, Misc]}, as sys:get_status shows it.
 */
static void write_status(struct buffer *out, struct slice self)
{
    etf_write_tuple(out, 4);
    etf_write_atom(out, "status");
    buffer_append_slice(out, self);
    write_pair(out, "module", "brain");
    etf_write_list(out, 5);
    etf_write_nil(out);
    etf_write_atom(out, "running");
    buffer_append_slice(out, self); /* there is no parent */
    etf_write_nil(out);
    etf_write_nil(out);
    etf_write_nil(out);
}

/* The reader stands behind the atom system. Returns 1 when this is no system message after all. */
static int receive_system(struct mail *mail)
{
    struct channel *channel = mail->channel;
    struct caller caller = {0};
    struct slice request;
    if (read_caller(&mail->reader, &caller) != 0)
        return 1;
    int status = mail->message->payload_error;
    if (status == 0)
        status = read_last(&mail->reader, &request);
    if (status != 0)
        return refuse_term(mail, &caller, status);

    struct etf_reader reader;
    etf_reader_init(&reader, request, mail->reader.limits);
    if (etf_take_atom(&reader, "get_state"))
        return reply_pair(mail, &caller, "ok", "running");
    if (!etf_take_atom(&reader, "get_status"))
        return refuse(mail, &caller, "error", "notsup");
    struct buffer *out = begin_reply(channel, &caller);
    if (out == NULL)
        return channel->error;
    write_status(out, buffer_slice(&channel->self));
    return commit(channel);
}

/* ---- net_kernel -------------------------------------------------------------------------------
 */

static bool request_is_ping(struct slice request, struct etf_limits limits)
{
    struct etf_reader reader;
    uint32_t arity;
    etf_reader_init(&reader, request, limits);
    return etf_read_tuple(&reader, &arity) == 0 && arity == 2 && etf_take_atom(&reader, "is_auth");
}

/* The reader stands behind the atom '$gen_call'. */
static int receive_net_kernel_call(struct mail *mail)
{
    struct channel *channel = mail->channel;
    struct caller caller = {0};
    struct slice request;
    if (read_caller(&mail->reader, &caller) != 0)
        return drop(mail);
    int status = mail->message->payload_error;
    if (status == 0)
        status = read_last(&mail->reader, &request);
    if (status != 0)
        return refuse_term(mail, &caller, status);
    if (!request_is_ping(request, mail->reader.limits))
        return refuse(mail, &caller, "error", "notsup");
    struct buffer *out = begin_reply(channel, &caller);
    if (out == NULL)
        return channel->error;
    metrics_of(mail)->pings_answered++;
    etf_write_atom(out, "yes");
    return commit(channel);
}

/* ---- rex --------------------------------------------------------------------------------------
 */

/* rpc without spawn requests. The request is not even looked at: whatever it is, it is refused. */
static int receive_rex_call(struct mail *mail)
{
    struct caller caller = {0};
    if (read_caller(&mail->reader, &caller) != 0)
        return drop(mail);
    return refuse(mail, &caller, "badrpc", "notsup");
}

/* {rex, Node, {nonexisting_name, Name}}: rpc:sbcast waits for one of these from every node. */
static int refuse_sbcast(struct mail *mail, struct slice to, struct slice name)
{
    struct channel *channel = mail->channel;
    struct buffer *out = begin_plain(channel, to, slice_of(NULL, 0));
    if (out == NULL)
        return channel->error;
    metrics_of(mail)->requests_refused++;
    etf_write_tuple(out, 3);
    etf_write_atom(out, "rex");
    etf_write_atom_slice(out, channel->node->name);
    etf_write_tuple(out, 2);
    etf_write_atom(out, "nonexisting_name");
    buffer_append_slice(out, name);
    return commit(channel);
}

/* ei_rpc and PHP's peb_rpc wait for this without a timeout. */
static int refuse_plain_rpc(struct mail *mail, struct slice to)
{
    struct channel *channel = mail->channel;
    struct buffer *out = begin_plain(channel, to, slice_of(NULL, 0));
    if (out == NULL)
        return channel->error;
    metrics_of(mail)->requests_refused++;
    etf_write_tuple(out, 2);
    etf_write_atom(out, "rex");
    write_pair(out, "badrpc", "notsup");
    return commit(channel);
}

static int answer_features_request(struct mail *mail, struct slice to)
{
    struct channel *channel = mail->channel;
    struct buffer *out = begin_plain(channel, to, slice_of(NULL, 0));
    if (out == NULL)
        return channel->error;
    etf_write_tuple(out, 3);
    etf_write_atom(out, "features_reply");
    etf_write_atom_slice(out, channel->node->name);
    etf_write_nil(out);
    return commit(channel);
}

/* {Pid, Request}: the reader stands at Pid. */
static int receive_rex_message(struct mail *mail)
{
    struct etf_reader *reader = &mail->reader;
    struct slice pid, name;
    uint32_t arity;
    if (etf_read_pid(reader, &pid) != 0)
        return drop(mail);
    if (etf_take_atom(reader, "features_request"))
        return answer_features_request(mail, pid);
    if (etf_read_tuple(reader, &arity) != 0)
        return drop(mail);
    if (etf_take_atom(reader, "call"))
        return refuse_plain_rpc(mail, pid);
    if (arity == 3 && etf_take_atom(reader, "sbcast") && etf_read_term(reader, &name) == 0)
        return refuse_sbcast(mail, pid, name);
    return drop(mail);
}

/* ---- the registered process -------------------------------------------------------------------
 */

/* The reader stands behind the atom io_request. Returns 1 when this is none after all. */
static int receive_io_request(struct mail *mail)
{
    struct channel *channel = mail->channel;
    struct slice pid, reply_as;
    if (etf_read_pid(&mail->reader, &pid) != 0 || etf_read_term(&mail->reader, &reply_as) != 0)
        return 1;
    struct buffer *out = begin_plain(channel, pid, slice_of(NULL, 0));
    if (out == NULL)
        return channel->error;
    metrics_of(mail)->requests_refused++;
    etf_write_tuple(out, 3);
    etf_write_atom(out, "io_reply");
    buffer_append_slice(out, reply_as);
    write_pair(out, "error", "enotsup");
    return commit(channel);
}

/* {Pid, {Pid, Tag}, Request}, all of gen_event's functions, most of which wait for ever: an event
 * manager without handlers. Returns 1 when this is none after all. */
static int receive_gen_event_call(struct mail *mail)
{
    struct caller caller = {0};
    struct slice pid, request;
    uint32_t arity;
    if (etf_read_pid(&mail->reader, &pid) != 0 || read_caller(&mail->reader, &caller) != 0)
        return 1;
    int status = mail->message->payload_error;
    if (status == 0)
        status = read_last(&mail->reader, &request);
    if (status != 0)
        return refuse_term(mail, &caller, status);

    struct etf_reader reader;
    etf_reader_init(&reader, request, mail->reader.limits);
    if (etf_take_atom(&reader, "which_handlers")) {
        struct buffer *out = begin_reply(mail->channel, &caller);
        if (out == NULL)
            return mail->channel->error;
        etf_write_nil(out);
        return commit(mail->channel);
    }
    bool is_tuple = etf_read_tuple(&reader, &arity) == 0;
    if (is_tuple && etf_take_atom(&reader, "call"))
        return refuse(mail, &caller, "error", "bad_module");
    if (is_tuple && etf_take_atom(&reader, "delete_handler"))
        return refuse(mail, &caller, "error", "module_not_found");
    return refuse(mail, &caller, "error", "notsup");
}

static bool peek_is_pid(const struct etf_reader *reader)
{
    int tag = etf_peek(reader);
    return tag == ETF_NEW_PID || tag == ETF_PID;
}

/* What any process answers by itself; 1: not that. */
static int receive_as_any_process(struct mail *mail, uint32_t arity)
{
    const bool registered = is_ours(mail->target);
    if (arity == 3 && etf_take_atom(&mail->reader, "system"))
        return receive_system(mail);
    if (registered && arity == 3 && peek_is_pid(&mail->reader))
        return receive_gen_event_call(mail);
    if (registered && arity == 4 && etf_take_atom(&mail->reader, "io_request"))
        return receive_io_request(mail);
    return 1;
}

/* Nearly every message is {g, ..}, {s, ..}, {'$gen_call', ..} or another that begins with an atom
 * as long as these: nothing that any process answers does (system, io_request, a pid). */
static bool is_request(struct slice payload)
{
    enum { LETTER = 1, GEN_CALL = sizeof("$gen_call") - 1 };
    if (payload.size < 5 || payload.data[0] != ETF_SMALL_TUPLE)
        return false;
    const uint8_t *atom = payload.data + 2;
    unsigned size;
    if (atom[0] == ETF_SMALL_ATOM_UTF8 || atom[0] == ETF_SMALL_ATOM)
        size = atom[1];
    else if (atom[0] == ETF_ATOM || atom[0] == ETF_ATOM_UTF8)
        size = load_be16(atom + 1);
    else
        return false;
    return size == LETTER || size == GEN_CALL;
}

int citizen_mail(struct channel *channel, enum monitor_target target, struct slice from,
    const struct frame_message *message)
{
    const bool registered = is_ours(target);
    if (message->payload_error != 0 || message->payload.size == 0)
        channel->node->metrics.terms_refused++;
    if (message->payload.size == 0)
        return 0; /* nobody to refuse */
    if (registered && is_request(message->payload))
        return deliver(channel, target, from, message);
    struct mail mail = {.channel = channel, .message = message, .target = target};
    uint32_t arity = 0;
    etf_reader_init(&mail.reader, message->payload, channel->node->receive.terms);
    mail.reader.marks = message->payload_checked ? message->marks : NULL;
    if (etf_read_tuple(&mail.reader, &arity) == 0) {
        const struct etf_reader elements = mail.reader;
        int status = receive_as_any_process(&mail, arity);
        if (status != 1)
            return status;
        mail.reader = elements;
    }
    if (registered)
        return deliver(channel, target, from, message);
    if (target == MONITOR_REX && arity == 2)
        return receive_rex_message(&mail);
    if (arity == 3 && etf_take_atom(&mail.reader, "$gen_call"))
        return target == MONITOR_REX ? receive_rex_call(&mail) : receive_net_kernel_call(&mail);
    return drop(&mail);
}
