/* Messages as bytes: what is written is read again; what is not one is refused. */
#include <check.h>

#include "suite.h"
#include "wire.h"

static const struct etf_limits limits = {100, 100000};

static struct replica_message example(enum replica_kind kind)
{
    static const uint8_t term[] = {ETF_SMALL_INTEGER, 9};
    struct replica_message message = {.kind = kind, .round = 3, .from = 101, .to = 102};
    if (kind == REPLICA_SYNC)
        message.settings = slice_of_string("replicate = r:");
    if (kind == REPLICA_SYNC || kind == REPLICA_END)
        return message;
    message.id = slice_of_string("r:1");
    message.epoch = (struct cluster_epoch){7, UINT64_MAX};
    message.version = (struct version){7, 8, 9};
    if (kind == REPLICA_TELL) {
        message.state = REPLICA_VALUE;
        message.value = (struct value){NULL, term, sizeof(term)};
    }
    return message;
}

static void write(struct buffer *out, const struct replica_message *message)
{
    buffer_clear(out);
    replica_message_write(out, message);
    if (message->state == REPLICA_VALUE)
        buffer_append_slice(out, value_slice(message->value));
    ck_assert_int_eq(buffer_status(out), 0);
}

START_TEST(there_and_back)
{
    struct buffer out;
    buffer_init(&out);
    for (int kind = 0; kind < REPLICA_KINDS; kind++) {
        const struct replica_message message = example((enum replica_kind)kind);
        struct replica_message read;
        write(&out, &message);
        ck_assert(replica_is_message(buffer_slice(&out)));
        ck_assert_int_eq(replica_message_read(&read, buffer_slice(&out), NULL, limits), 0);
        ck_assert_int_eq(read.kind, message.kind);
        ck_assert_uint_eq(read.round, 3);
        ck_assert_uint_eq(read.from, 101);
        ck_assert_uint_eq(read.to, 102);
        ck_assert_int_eq(read.state, message.state);
        ck_assert(slice_equal(read.settings, message.settings));
        ck_assert(slice_equal(read.id, message.id));
        ck_assert_int_eq(cluster_epoch_compare(read.epoch, message.epoch), 0);
        ck_assert_int_eq(version_compare(read.version, message.version), 0);
        ck_assert(slice_equal(value_slice(read.value), value_slice(message.value)));
    }
    buffer_release(&out);
}
END_TEST

START_TEST(no_part_is_a_message)
{
    struct buffer out;
    buffer_init(&out);
    for (int kind = 0; kind < REPLICA_KINDS; kind++) {
        const struct replica_message message = example((enum replica_kind)kind);
        struct replica_message read;
        write(&out, &message);
        for (size_t size = 0; size < out.size; size++)
            ck_assert_int_eq(
                replica_message_read(&read, slice_of(out.data, size), NULL, limits), BRAIN_EPROTO);
        buffer_append_u8(&out, ETF_NIL);
        ck_assert_int_eq(
            replica_message_read(&read, buffer_slice(&out), NULL, limits), BRAIN_EPROTO);
    }
    buffer_release(&out);
}
END_TEST

START_TEST(what_is_refused)
{
    static const uint8_t zeroes[ID_LIMIT + 1];
    struct replica_message message = example(REPLICA_OFFER), read;
    struct buffer out;
    buffer_init(&out);
    message.id = slice_of(zeroes, 0);
    write(&out, &message);
    ck_assert_int_eq(replica_message_read(&read, buffer_slice(&out), NULL, limits), BRAIN_EPROTO);
    message.id = slice_of(zeroes, sizeof(zeroes));
    write(&out, &message);
    ck_assert_int_eq(replica_message_read(&read, buffer_slice(&out), NULL, limits), BRAIN_EPROTO);
    message = example(REPLICA_TELL);
    message.state = REPLICA_DELETED; /* with a value behind it all the same */
    buffer_clear(&out);
    replica_message_write(&out, &message);
    ck_assert_int_eq(replica_message_read(&read, buffer_slice(&out), NULL, limits), 0);
    out.data[out.size - 1] = ETF_SMALL_INTEGER;
    buffer_append_u8(&out, 1);
    ck_assert_int_eq(replica_message_read(&read, buffer_slice(&out), NULL, limits), BRAIN_EPROTO);
    buffer_release(&out);
}
END_TEST

START_TEST(the_clusters_own_are_not_ours)
{
    struct buffer out;
    buffer_init(&out);
    etf_write_tuple(&out, 5);
    etf_write_uint64(&out, 7);
    etf_write_atom(&out, "replica");
    ck_assert(!replica_is_message(buffer_slice(&out)));
    ck_assert(!replica_is_message(slice_of(NULL, 0)));
    buffer_release(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replica wire");
    TCase *tcase = tcase_create("wire");
    tcase_add_test(tcase, there_and_back);
    tcase_add_test(tcase, no_part_is_a_message);
    tcase_add_test(tcase, what_is_refused);
    tcase_add_test(tcase, the_clusters_own_are_not_ours);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
