/* What a member may say about replicated objects: any bytes. What is read must be written again as
 * it was; and a member that hears a few such messages must live on. An input is a list of messages,
 * each with two bytes of length before it; or, when the first byte is odd, one message. */
#include <stdlib.h>
#include <string.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct etf_limits limits = {100, 100000};

static void write(struct buffer *out, const struct replica_message *message)
{
    replica_message_write(out, message);
    if (message->state == REPLICA_VALUE)
        buffer_append_slice(out, value_slice(message->value));
}

static void round_trip(struct slice bytes)
{
    struct replica_message first, second;
    struct buffer out, again;
    if (replica_message_read(&first, bytes, NULL, limits) != 0)
        return;
    if (!replica_is_message(bytes))
        abort();
    buffer_init(&out);
    buffer_init(&again);
    write(&out, &first);
    /* Numbers have more than one form, so the bytes may differ; the second time they may not. */
    if (replica_message_read(&second, buffer_slice(&out), NULL, limits) != 0 ||
        first.kind != second.kind)
        abort();
    write(&again, &second);
    if (!slice_equal(buffer_slice(&out), buffer_slice(&again)))
        abort();
    buffer_release(&out);
    buffer_release(&again);
}

/* ---- a member that owns two ids ---------------------------------------------------------------
 */

static void on_send(void *context, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail)
{
    (void)context, (void)to, (void)order;
    struct replica_message message;
    if (tail == NULL && replica_message_read(&message, head, NULL, limits) != 0)
        abort();
}

static bool on_owns(void *context, struct slice id, struct cluster_epoch epoch)
{
    (void)context, (void)epoch;
    return id.size % 2 == 0;
}

static void on_reached(void *context, struct slice id, struct version version)
{
    (void)context, (void)id, (void)version;
}

static void on_differs(void *context, struct slice member, struct slice theirs)
{
    (void)context, (void)member, (void)theirs;
}

static void own(struct replica *replica, const char *id, uint64_t seq, uint64_t now_ms)
{
    static const uint8_t term[] = {ETF_SMALL_INTEGER, 9};
    const struct value value = {NULL, term, sizeof(term)};
    (void)replica_written(replica, slice_of_string(id), (struct cluster_epoch){7, 1},
        (struct version){7, 1, seq}, seq % 3 == 0 ? NULL : &value, (enum replica_hold)(seq % 4 % 3),
        now_ms);
}

/* Incarnations as in the corpus: from 101 (b) or 103 (c), to 102; rounds 1 and 2. */
static void live(const uint8_t *data, size_t size)
{
    const struct slice prefixes[] = {slice_of_string("r:")};
    const struct replica_options options = {.prefixes = prefixes,
        .prefixes_count = 1,
        .wait_all = true,
        .seed = 7,
        .retry_ms = 10,
        .pause_ms = 50,
        .tombstone_keep_ms = 60,
        .limit_bytes = 3000,
        .term_limits = limits};
    const struct cluster_member members[] = {{slice_of_string("a@n"), 102},
        {slice_of_string("b@n"), 101}, {slice_of_string("c@n"), 103}};
    const struct cluster_view all = {7, 3, members}, two = {8, 2, members};
    struct replica *replica = replica_create(&options,
        (struct replica_events){NULL, on_send, on_owns, on_reached, on_differs, NULL, NULL});
    uint64_t now_ms = 1000, count = 0;
    if (replica == NULL || replica_view(replica, &all, 102, now_ms) != 0)
        abort();
    for (size_t at = 0; at + 2 <= size; now_ms += 7) {
        size_t length = load_be16(data + at);
        at += 2;
        if (length > size - at)
            length = size - at;
        struct value message = value_copy(slice_of(data + at, length));
        (void)replica_receive(
            replica, slice_of_string(at % 3 == 0 ? "c@n" : "b@n"), &message, NULL, now_ms);
        value_drop(&message);
        at += length;
        count++;
        own(replica, count % 2 == 0 ? "r:1" : "r:10", count, now_ms);
        (void)replica_held(replica, slice_of_string("r:1"), (struct version){7, 1, count}, now_ms);
        (void)replica_advance(replica, now_ms, 100);
        if (count % 8 == 0)
            (void)replica_view(replica, count % 16 == 0 ? &all : &two, 102, now_ms);
    }
    struct value value;
    (void)replica_get(replica, slice_of_string("r:1"), &value);
    replica_destroy(replica);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1 << 16)
        return 0;
    if (data[0] & 1)
        round_trip(slice_of(data + 1, size - 1));
    else
        live(data + 1, size - 1);
    return 0;
}
