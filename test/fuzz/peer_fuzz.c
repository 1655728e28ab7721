/* What a member may say to another: any bytes. What is read must be written again as it was; and a
 * cluster of three that hears a few such messages must live on. An input is a list of messages,
 * each with two bytes of length before it; or, when the first byte is odd, one message. */
#include <stdlib.h>
#include <string.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct etf_limits limits = {100, 100000};
static struct cluster *cluster;
static uint64_t now_ms;

static void round_trip(struct slice bytes)
{
    struct message first, second;
    if (message_read(&first, bytes, NULL, limits) != 0)
        return;
    struct buffer out;
    buffer_init(&out);
    message_write(&out, &first);
    if (message_has_value(&first))
        buffer_append_slice(&out, value_slice(first.value));
    /* Numbers have more than one form, so the bytes may differ; the second time they may not. */
    if (message_read(&second, buffer_slice(&out), NULL, limits) != 0 || first.kind != second.kind)
        abort();
    struct buffer again;
    buffer_init(&again);
    message_write(&again, &second);
    if (message_has_value(&second))
        buffer_append_slice(&again, value_slice(second.value));
    if (!slice_equal(buffer_slice(&out), buffer_slice(&again)))
        abort();
    buffer_release(&out);
    buffer_release(&again);
}

/* ---- a cluster with a store that forgets everything at once
 * ------------------------------------------ */

static void send(void *context, const struct cluster_member *to, uint64_t order, struct slice head,
    const struct value *tail)
{
    (void)context, (void)to, (void)order, (void)tail;
    struct message message;
    if (!tail && message_read(&message, head, NULL, limits) != 0)
        abort();
}

static void answer(
    void *context, struct cluster_request *request, int status, const struct value *value)
{
    (void)context, (void)status, (void)value;
    request->ack = 1;
}

static int adopt(void *context, struct slice id, struct cluster_epoch epoch,
    const struct cluster_copy *copy, bool complete)
{
    (void)context, (void)id, (void)epoch, (void)complete;
    return copy && copy->version.seq == 13 ? BRAIN_ENOMEM : 0;
}

static void raise_epoch(void *context, struct slice id, struct cluster_epoch epoch)
{
    (void)context, (void)id, (void)epoch;
}

static void execute(void *context, struct cluster_request *request)
{
    (void)context;
    struct version version = {9, 9, ++now_ms};
    if (request->kind == CLUSTER_WRITE)
        (void)cluster_object_written(cluster, request->id, version, &request->value, now_ms);
    cluster_executed(cluster, request, STORE_ABSENT, NULL, now_ms);
}

static bool peek(void *context, struct slice id, struct cluster_copy *copy)
{
    (void)context, (void)id, (void)copy;
    return false;
}

static bool in_warehouse(void *context, struct slice id, struct version *version)
{
    (void)context, (void)id;
    *version = (struct version){9, 9, 9};
    return true;
}

static void backed_up(void *context, struct slice id, struct version version)
{
    (void)context, (void)id, (void)version;
}

static enum cluster_parted give_up(
    void *context, struct slice id, enum cluster_parting parting, struct cluster_copy *copy)
{
    (void)context, (void)id, (void)parting, (void)copy;
    return CLUSTER_GONE_CLEAN;
}

static bool abandon(void *context, uint32_t budget)
{
    (void)context, (void)budget;
    return true;
}

static bool next(void *context, uint64_t *cursor, uint8_t *id, size_t *id_size)
{
    (void)context, (void)cursor, (void)id, (void)id_size;
    return false;
}

static void hear(struct slice bytes, const char *from)
{
    struct value message = value_copy(bytes);
    (void)cluster_receive(cluster, slice_of_string(from), &message, NULL, now_ms++);
    value_drop(&message);
}

/* Incarnations and view as in the corpus: view 7, from 101 (b) or 103 (c), to 102. */
static void live(const uint8_t *data, size_t size)
{
    struct cluster_options options = {.name = slice_of_string("a@n"),
        .seed = 7,
        .backups = 1,
        .request_timeout_ms = 5000,
        .weak_timeout_ms = 1000,
        .retry_ms = 10,
        .report_timeout_ms = 1000,
        .view_lag_ms = 2000,
        .copy_check_ms = 100,
        .tombstone_keep_ms = 60000,
        .handoff_uses = 2,
        .hints_limit = 10,
        .stash_limit_bytes = 10000,
        .term_limits = limits};
    struct cluster_events events = {.send = send, .answer = answer};
    struct cluster_objects objects = {NULL, adopt, raise_epoch, execute, execute, peek,
        in_warehouse, backed_up, give_up, abandon, next, NULL};
    struct cluster_member members[] = {{slice_of_string("a@n"), 102}, {slice_of_string("b@n"), 101},
        {slice_of_string("c@n"), 103}};
    struct cluster_view view = {7, 3, members};
    now_ms = 1000;
    cluster = cluster_create(&options, events, objects);
    struct cluster_request request = {.kind = CLUSTER_READ, .id = slice_of_string("user:1")};
    if (!cluster || cluster_join(cluster, 102, &view, 1000000, now_ms) != 0)
        abort();
    cluster_request(cluster, &request, now_ms);
    for (size_t at = 0; at + 2 <= size;) {
        size_t length = load_be16(data + at);
        at += 2;
        if (length > size - at)
            length = size - at;
        hear(slice_of(data + at, length), at % 3 == 0 ? "c@n" : "b@n");
        at += length;
        now_ms += 7;
        (void)cluster_advance(cluster, now_ms, 100);
    }
    for (int i = 0; i < 3; i++)
        (void)cluster_advance(cluster, now_ms += 11, 100);
    cluster_destroy(cluster);
    if (request.ack != 1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 << 16)
        return 0;
    if (data[0] & 1) {
        round_trip(slice_of(data + 1, size - 1));
        return 0;
    }
    live(data + 1, size - 1);
    return 0;
}
