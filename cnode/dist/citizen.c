/* Control messages: monitors, links, spawn requests; messages to processes go to citizen_mail.c.
 *
 * There is one process here, known by our pid and the registered name, and two names that only
 * answer calls, net_kernel and rex. Everything else does not exist, and whoever asks is told so at
 * once. Source: ERTS user's guide, "Distribution Protocol", "Protocol between Connected Nodes", and
 * what OTP 23 to 29 were seen to send. */
#include "citizen.h"

#include "citizen_mail.h"

/* ---- who is meant -----------------------------------------------------------------------------
 */

static enum monitor_target name_target(const struct channel *channel, struct slice name)
{
    if (slice_equal(name, channel->node->registered_name))
        return MONITOR_REGISTERED;
    if (slice_equal_string(name, "net_kernel"))
        return MONITOR_NET_KERNEL;
    if (slice_equal_string(name, "rex"))
        return MONITOR_REX;
    _Static_assert(MONITOR_OTHER_LAST - MONITOR_OTHER + 1 == CHANNEL_OTHER_NAMES, "one for each");
    for (size_t i = 0; i < channel->node->other_names_count; i++)
        if (slice_equal_string(name, channel->node->other_names[i]))
            return (enum monitor_target)(MONITOR_OTHER + i);
    return MONITOR_FREE;
}

/* A pid of this node's name, living or not? An Erlang node closes the connection on a signal from
 * a pid that is not, so those are never answered. */
static bool pid_is_of_this_node(const struct channel *channel, struct slice term)
{
    struct etf_pid pid;
    return etf_pid_parts(term, &pid) == 0 && slice_equal(pid.node, channel->node->name);
}

static bool pid_is_self(const struct channel *channel, struct slice term)
{
    if (slice_equal(term, buffer_slice(&channel->self)))
        return true;
    /* The same pid in another encoding, as old peers have; or made by who knows our name only (0 is
     * no creation: any), as the answer to get_nodes has of other members. */
    struct etf_pid pid;
    return etf_pid_parts(term, &pid) == 0 && pid.id == CHANNEL_PID_ID &&
           pid.serial == CHANNEL_PID_SERIAL &&
           (pid.creation == channel->node->creation || pid.creation == 0) &&
           slice_equal(pid.node, channel->node->name);
}

/* ---- signals that we send ---------------------------------------------------------------------
 */

/* The reason stands in the control tuple, or with EXIT_PAYLOAD behind it. */
static int commit_with_reason(
    struct channel *channel, struct buffer *out, struct slice to, const char *reason)
{
    if (channel_has(channel, DFLAG_EXIT_PAYLOAD)) {
        outbox_payload(channel->outbox);
        etf_write_atom(out, reason);
    }
    return channel_signal_commit(channel, to);
}

static int send_exit(
    struct channel *channel, struct slice from, struct slice to, const char *reason)
{
    struct buffer *out = channel_signal_begin(channel);
    if (out == NULL)
        return channel->error;
    control_write_exit(out, from, to, reason, channel_has(channel, DFLAG_EXIT_PAYLOAD));
    return commit_with_reason(channel, out, to, reason);
}

static int send_monitor_exit(struct channel *channel, struct slice from, struct slice to,
    struct slice reference, const char *reason)
{
    struct buffer *out = channel_signal_begin(channel);
    if (out == NULL)
        return channel->error;
    control_write_monitor_exit(
        out, from, to, reference, reason, channel_has(channel, DFLAG_EXIT_PAYLOAD));
    return commit_with_reason(channel, out, to, reason);
}

/* As above, for what was monitored by name. */
static int send_name_exit(struct channel *channel, struct slice name, struct slice to,
    struct slice reference, const char *reason)
{
    struct buffer atom;
    buffer_init(&atom);
    etf_write_atom_slice(&atom, name);
    int status = buffer_status(&atom);
    if (status == 0)
        status = send_monitor_exit(channel, buffer_slice(&atom), to, reference, reason);
    else
        status = channel_fail(channel, status, &channel->node->metrics.memory_errors,
            error_sentence(status), slice_of(NULL, 0));
    buffer_release(&atom);
    return status;
}

/* ---- who watches us ---------------------------------------------------------------------------
 */

static int watch(
    struct channel *channel, enum monitor_target target, struct slice key, struct slice watcher)
{
    struct channel_metrics *metrics = &channel->node->metrics;
    metrics->monitors -= channel->monitors.count;
    int status = monitor_table_add(&channel->monitors, target, key, watcher);
    metrics->monitors += channel->monitors.count;
    if (status == BRAIN_ETOOBIG)
        return channel_fail(channel, status, &metrics->limit_errors,
            "more monitors and links than max_monitors", key);
    if (status != 0)
        return channel_fail(
            channel, status, &metrics->memory_errors, error_sentence(status), slice_of(NULL, 0));
    return 0;
}

static int unwatch(struct channel *channel, struct slice key)
{
    if (monitor_table_remove(&channel->monitors, key))
        channel->node->metrics.monitors--;
    return 0;
}

void citizen_release(struct channel *channel)
{
    channel->node->metrics.monitors -= channel->monitors.count;
    monitor_table_release(&channel->monitors);
}

static struct slice target_name(const struct channel *channel, enum monitor_target target)
{
    if (target >= MONITOR_OTHER)
        return slice_of_string(channel->node->other_names[target - MONITOR_OTHER]);
    switch (target) {
    case MONITOR_REGISTERED:
        return channel->node->registered_name;
    case MONITOR_NET_KERNEL:
        return slice_of_string("net_kernel");
    case MONITOR_REX:
        return slice_of_string("rex");
    case MONITOR_FREE:
    case MONITOR_LINK:
    case MONITOR_PID:
    default:
        break;
    }
    return slice_of(NULL, 0);
}

void citizen_say_goodbye(struct channel *channel)
{
    static const char reason[] = "shutdown";
    struct slice self = buffer_slice(&channel->self);
    struct monitor monitor;
    uint32_t cursor = 0;
    while (channel->error == 0 && monitor_table_next(&channel->monitors, &cursor, &monitor)) {
        if (monitor.target == MONITOR_LINK)
            send_exit(channel, self, monitor.key, reason);
        else if (monitor.target == MONITOR_PID)
            send_monitor_exit(channel, self, monitor.watcher, monitor.key, reason);
        else
            send_name_exit(channel, target_name(channel, monitor.target), monitor.watcher,
                monitor.key, reason);
    }
    citizen_release(channel);
}

/* ---- control messages -------------------------------------------------------------------------
 */

static int drop(struct channel *channel)
{
    channel->node->metrics.messages_dropped++;
    return 0;
}

static int receive_monitor(struct channel *channel, const struct control *control)
{
    if (control->to.size == 0) {
        enum monitor_target target = name_target(channel, control->to_name);
        if (target == MONITOR_FREE)
            return send_name_exit(
                channel, control->to_name, control->from, control->reference, "noproc");
        return watch(channel, target, control->reference, control->from);
    }
    if (pid_is_self(channel, control->to))
        return watch(channel, MONITOR_PID, control->reference, control->from);
    if (!pid_is_of_this_node(channel, control->to))
        return drop(channel);
    return send_monitor_exit(channel, control->to, control->from, control->reference, "noproc");
}

static int receive_link(struct channel *channel, const struct control *control)
{
    if (pid_is_self(channel, control->to))
        return watch(channel, MONITOR_LINK, control->from, slice_of(NULL, 0));
    if (!pid_is_of_this_node(channel, control->to))
        return drop(channel);
    return send_exit(channel, control->to, control->from, "noproc");
}

/* The acknowledgement goes out at once, and so before any later signal to that process: only then
 * does its node take a new link for a new one. */
static int receive_unlink_id(struct channel *channel, const struct control *control)
{
    if (!pid_is_of_this_node(channel, control->to))
        return drop(channel);
    if (pid_is_self(channel, control->to))
        unwatch(channel, control->from);
    struct buffer *out = channel_signal_begin(channel);
    if (out == NULL)
        return channel->error;
    control_write_unlink_ack(out, control->unlink_id, control->to, control->from);
    return channel_signal_commit(channel, control->from);
}

static int receive_spawn_request(struct channel *channel, const struct control *control)
{
    struct buffer *out = channel_signal_begin(channel);
    if (out == NULL)
        return channel->error;
    channel->node->metrics.requests_refused++;
    control_write_spawn_refusal(out, control->reference, control->from, "notsup");
    return channel_signal_commit(channel, control->from);
}

/* A busy connection's messages are addressed alike; they differ in the process that sends. */
static void expect_more(struct channel *channel, const struct control *control,
    const struct frame_message *message, enum monitor_target target)
{
    enum { NUMBERS = 12, ID_AND_SERIAL = 8 }; /* a NEW_PID_EXT ends with id, serial, creation */
    const struct slice from = control->from;
    const bool numbered = from.size > 0 && from.data[0] == ETF_NEW_PID;
    channel->expected_target = target;
    channel->expected_from = from.size > 0 ? (size_t)(from.data - message->control.data) : 0;
    channel->expected_from_size = from.size;
    frame_reader_expect(channel->reader, message->control,
        numbered ? channel->expected_from + from.size - NUMBERS : 0, numbered ? ID_AND_SERIAL : 0);
}

static int receive_mail(
    struct channel *channel, const struct control *control, const struct frame_message *message)
{
    enum monitor_target target = MONITOR_FREE;
    if (control->operation == CONTROL_REG_SEND)
        target = name_target(channel, control->to_name);
    else if (pid_is_self(channel, control->to))
        target = MONITOR_PID;
    if (target == MONITOR_FREE)
        return drop(channel);
    expect_more(channel, control, message, target);
    return citizen_mail(channel, target, control->from, message);
}

static int receive(
    struct channel *channel, const struct control *control, const struct frame_message *message)
{
    switch (control->operation) {
    case CONTROL_SEND:
    case CONTROL_SEND_SENDER:
    case CONTROL_REG_SEND:
        return receive_mail(channel, control, message);
    case CONTROL_MONITOR_P:
        return receive_monitor(channel, control);
    case CONTROL_DEMONITOR_P:
        return unwatch(channel, control->reference);
    case CONTROL_LINK:
        return receive_link(channel, control);
    case CONTROL_UNLINK:
    case CONTROL_EXIT:
    case CONTROL_PAYLOAD_EXIT:
        return pid_is_self(channel, control->to) ? unwatch(channel, control->from) : 0;
    case CONTROL_UNLINK_ID:
        return receive_unlink_id(channel, control);
    case CONTROL_SPAWN_REQUEST:
        return receive_spawn_request(channel, control);
    case CONTROL_ALIAS_SEND: /* we hand out no aliases */
        return drop(channel);
    default:
        /* exit/2 and group_leader/2 do nothing to our process, which is no Erlang process; we
         * monitor, unlink and spawn nothing, so answers to that mean nothing. */
        return 0;
    }
}

int citizen_message(struct channel *channel, const struct frame_message *message)
{
    struct channel_metrics *metrics = &channel->node->metrics;
    if (message->expected)
        return citizen_mail(channel, channel->expected_target,
            slice_of(message->control.data + channel->expected_from, channel->expected_from_size),
            message);
    struct control control;
    struct etf_reader reader;
    etf_reader_init(&reader, message->control, channel->node->receive.terms);
    int status = control_read(&reader, &control);
    if (status == BRAIN_ENOMEM)
        return channel_fail(
            channel, status, &metrics->memory_errors, error_sentence(status), slice_of(NULL, 0));
    if (status != 0)
        return channel_fail(channel, BRAIN_EPROTO, &metrics->protocol_errors,
            "unknown or malformed control message", message->control);
    if (!etf_at_end(&reader) || (!control.has_payload && message->payload.size != 0))
        return channel_fail(channel, BRAIN_EPROTO, &metrics->protocol_errors,
            "control message with something behind it", message->control);
    return receive(channel, &control, message);
}
