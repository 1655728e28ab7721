/* Messages between members: written and read back; cut, lengthened and wrong ones refused.
 * `cluster_wire_test --corpus DIR` writes one file per sample, for the fuzzer. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"
#include "wire.h"

static const struct etf_limits limits = {100, 100000};
static uint8_t records[4 * HELD_RECORD * OWNED_RECORD];

static uint32_t samples(struct message *list)
{
    static const uint8_t term[] = {ETF_BINARY, 0, 0, 0, 2, 'h', 'i'};
    static const uint8_t id[] = "user:1";
    uint32_t count = 0;
    struct buffer owned, held, listed, answers;
    buffer_init(&owned);
    buffer_init(&held);
    buffer_init(&listed);
    buffer_init(&answers);
    for (unsigned i = 1; i < 3; i++) {
        owned_record_write(&owned, (struct key){i, i}, (struct cluster_epoch){5, i});
        held_record_write(&held, (struct key){i, i}, (struct version){5, i, 1});
        listed_record_write(&listed, 100 + i, (struct version){5, i, 1});
        answer_record_write(
            &answers, (struct key){i, i}, (struct version){5, i, 1}, (struct version){5, i, 0});
    }
    size_t at = 0;
    struct slice parts[4];
    const struct buffer *buffers[4] = {&owned, &held, &listed, &answers};
    for (unsigned i = 0; i < 4; i++) {
        memcpy(records + at, buffers[i]->data, buffers[i]->size);
        parts[i] = slice_of(records + at, buffers[i]->size);
        at += buffers[i]->size;
    }
    buffer_release(&owned);
    buffer_release(&held);
    buffer_release(&listed);
    buffer_release(&answers);
    for (unsigned kind = 0; kind < MESSAGE_COUNT; kind++) {
        for (unsigned variant = 0; variant < 4; variant++) {
            struct message m = {.kind = (enum message_kind)kind,
                .view = 7,
                .from = 101,
                .to = variant == 3 ? UINT64_MAX : 102,
                .key = {UINT64_C(0x123456789abcdef0), 42},
                .id = slice_of(id, variant == 2 ? 1 : 6),
                .number = variant == 1 ? UINT64_MAX : 17,
                .second_number = variant == 1 ? 0 : 16,
                .member = 103,
                .epoch = {5, 3},
                .second_epoch = {variant, UINT64_MAX},
                .version = {5, 3, variant},
                .second_version = {5, 2, UINT64_MAX},
                .state = (enum message_state)(variant % STATE_COUNT),
                .complete = variant % 2 == 1,
                .operation = variant == 0   ? CLUSTER_READ
                             : variant == 1 ? CLUSTER_WRITE
                             : variant == 2 ? CLUSTER_DELETE
                                            : CLUSTER_PERSIST,
                .ack = (uint8_t)variant,
                .status = variant == 3 ? BRAIN_EWAREHOUSE : (int)variant,
                .first = 0,
                .through = CLUSTER_SLOTS,
                .owned = parts[0],
                .copies = kind == MESSAGE_GRANT       ? parts[2]
                          : kind == MESSAGE_OFFER_ACK ? parts[3]
                                                      : parts[1]};
            if (message_has_value(&m))
                m.value = (struct value){NULL, term, sizeof(term)};
            list[count++] = m;
        }
    }
    return count;
}

static void write_whole(struct buffer *out, const struct message *message)
{
    message_write(out, message);
    if (message_has_value(message))
        buffer_append_slice(out, value_slice(message->value));
    if (out->failed)
        abort();
}

static struct message list[MESSAGE_COUNT * 4];

START_TEST(messages_are_read_back)
{
    uint32_t count = samples(list);
    for (uint32_t i = 0; i < count; i++) {
        struct buffer first, second;
        struct message read;
        buffer_init(&first);
        buffer_init(&second);
        write_whole(&first, &list[i]);
        ck_assert_int_eq(message_read(&read, buffer_slice(&first), NULL, limits), 0);
        ck_assert_int_eq(read.kind, list[i].kind);
        ck_assert_uint_eq(read.view, 7);
        ck_assert_uint_eq(read.to, list[i].to);
        ck_assert_int_eq(message_has_value(&read), message_has_value(&list[i]));
        write_whole(&second, &read);
        ck_assert(slice_equal(buffer_slice(&first), buffer_slice(&second)));
        buffer_release(&first);
        buffer_release(&second);
    }
}
END_TEST

START_TEST(cut_and_lengthened_ones_are_refused)
{
    uint32_t count = samples(list);
    for (uint32_t i = 0; i < count; i++) {
        struct buffer out;
        struct message read;
        buffer_init(&out);
        write_whole(&out, &list[i]);
        for (size_t cut = 0; cut < out.size; cut++) {
            uint8_t *copy = malloc(cut + 1);
            memcpy(copy, out.data, cut);
            ck_assert_int_eq(message_read(&read, slice_of(copy, cut), NULL, limits), BRAIN_EPROTO);
            free(copy);
        }
        buffer_append_u8(&out, ETF_NIL);
        ck_assert_int_eq(message_read(&read, buffer_slice(&out), NULL, limits), BRAIN_EPROTO);
        buffer_release(&out);
    }
}
END_TEST

static int read_of(const struct message *message)
{
    struct buffer out;
    struct message read;
    buffer_init(&out);
    write_whole(&out, message);
    int status = message_read(&read, buffer_slice(&out), NULL, limits);
    buffer_release(&out);
    return status;
}

START_TEST(nonsense_is_refused)
{
    struct message m = {.kind = MESSAGE_CONFIRM, .epoch = {5, 1}};
    ck_assert_int_eq(read_of(&m), 0);
    m.epoch.counter = 0; /* no grant */
    ck_assert_int_eq(read_of(&m), BRAIN_EPROTO);
    m.epoch.counter = UINT64_MAX; /* more than can be packed */
    ck_assert_int_eq(read_of(&m), BRAIN_EPROTO);
    m = (struct message){.kind = MESSAGE_CLAIM};
    ck_assert_int_eq(read_of(&m), 0); /* refused by nobody */
    m = (struct message){.kind = MESSAGE_REPORT, .first = 5, .through = 4};
    ck_assert_int_eq(read_of(&m), BRAIN_EPROTO);
    m = (struct message){.kind = MESSAGE_REPORT, .through = CLUSTER_SLOTS + 1};
    ck_assert_int_eq(read_of(&m), BRAIN_EPROTO);
    m = (struct message){.kind = MESSAGE_REPORT, .through = 1, .owned = slice_of("123", 3)};
    ck_assert_int_eq(read_of(&m), BRAIN_EPROTO);
    m = (struct message){.kind = MESSAGE_NUDGE, .epoch = {1, 1}};
    ck_assert_int_eq(read_of(&m), BRAIN_EPROTO); /* an empty id */
    static const uint8_t long_id[ID_LIMIT + 1];
    m.id = slice_of(long_id, sizeof(long_id));
    ck_assert_int_eq(read_of(&m), BRAIN_EPROTO);
    m.id.size = ID_LIMIT;
    ck_assert_int_eq(read_of(&m), 0);
    m = (struct message){.kind = MESSAGE_REPLY, .status = 3};
    ck_assert_int_eq(read_of(&m), BRAIN_EPROTO);
    m.status = -1000000;
    ck_assert_int_eq(read_of(&m), BRAIN_EPROTO);
}
END_TEST

static int read_of_view(enum message_kind kind, uint64_t view)
{
    const struct version version = {view, 1, 1};
    struct buffer owned, copies;
    buffer_init(&owned);
    buffer_init(&copies);
    if (kind == MESSAGE_REPORT)
        owned_record_write(&owned, (struct key){1, 1}, (struct cluster_epoch){view, 1});
    if (kind == MESSAGE_OFFER)
        held_record_write(&copies, (struct key){1, 1}, version);
    if (kind == MESSAGE_GRANT)
        listed_record_write(&copies, 1, version);
    if (kind == MESSAGE_OFFER_ACK)
        answer_record_write(&copies, (struct key){1, 1}, (struct version){1, 1, 1}, version);
    struct message m = {.kind = kind,
        .view = kind == MESSAGE_PING ? view : 7,
        .epoch = {kind == MESSAGE_CONFIRM ? view : 7, 1},
        .version = kind == MESSAGE_DISCARD ? version : (struct version){7, 1, 1},
        .second_version = kind == MESSAGE_BACKUP_ACK ? version : (struct version){7, 1, 1},
        .owned = buffer_slice(&owned),
        .copies = buffer_slice(&copies)};
    const int status = read_of(&m);
    buffer_release(&owned);
    buffer_release(&copies);
    return status;
}

/* No grant would ever be above it. */
START_TEST(views_that_leave_no_room_are_refused)
{
    static const enum message_kind kinds[] = {MESSAGE_PING, MESSAGE_CONFIRM, MESSAGE_DISCARD,
        MESSAGE_BACKUP_ACK, MESSAGE_REPORT, MESSAGE_OFFER, MESSAGE_GRANT, MESSAGE_OFFER_ACK};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        ck_assert_int_eq(read_of_view(kinds[i], UINT64_MAX - (UINT64_C(1) << 40)), 0);
        ck_assert_int_eq(
            read_of_view(kinds[i], UINT64_MAX - (UINT64_C(1) << 40) + 1), BRAIN_EPROTO);
        ck_assert_int_eq(read_of_view(kinds[i], UINT64_MAX), BRAIN_EPROTO);
    }
}
END_TEST

/* A key is 16 bytes, whatever its head says. */
START_TEST(a_key_of_another_size_is_refused)
{
    static const uint8_t head[] = {ETF_BINARY, 0, 0, 0, KEY_BYTES};
    struct message m = {.kind = MESSAGE_CONFIRM, .epoch = {5, 1}}, read;
    struct buffer out;
    buffer_init(&out);
    write_whole(&out, &m);
    uint8_t *at = memmem(out.data, out.size, head, sizeof(head));
    ck_assert_ptr_nonnull(at);
    const size_t before = (size_t)(at - out.data) + sizeof(head);
    for (int size = 0; size <= KEY_BYTES; size++) {
        /* As long as it is whole otherwise; in memory of its own, where nothing follows. */
        const size_t skipped = (size_t)(KEY_BYTES - size);
        uint8_t *bytes = malloc(out.size - skipped);
        memcpy(bytes, out.data, before);
        bytes[before - 1] = (uint8_t)size;
        memcpy(bytes + before, out.data + before + skipped, out.size - before - skipped);
        const int status = message_read(&read, slice_of(bytes, out.size - skipped), NULL, limits);
        ck_assert_int_eq(status, size == KEY_BYTES ? 0 : BRAIN_EPROTO);
        free(bytes);
    }
    buffer_release(&out);
}
END_TEST

/* Nobody may keep a member's loop busy with one message. */
START_TEST(too_many_records_are_refused)
{
    static const struct {
        enum message_kind kind;
        size_t records, size;
    } limits_of[] = {{MESSAGE_OFFER, OFFER_RECORDS, HELD_RECORD},
        {MESSAGE_OFFER_ACK, OFFER_RECORDS, ANSWER_RECORD},
        {MESSAGE_GRANT, CLUSTER_MEMBERS_LIMIT, LISTED_RECORD},
        {MESSAGE_REPORT, REPORT_RECORDS, HELD_RECORD}};
    for (size_t i = 0; i < sizeof(limits_of) / sizeof(limits_of[0]); i++) {
        const size_t size = limits_of[i].records * limits_of[i].size;
        uint8_t *bytes = calloc(limits_of[i].records + 1, limits_of[i].size);
        struct message m = {.kind = limits_of[i].kind,
            .epoch = {5, 1},
            .through = 1,
            .copies = slice_of(bytes, size)};
        ck_assert_int_eq(read_of(&m), 0);
        m.copies.size += limits_of[i].size;
        ck_assert_int_eq(read_of(&m), BRAIN_EPROTO);
        m.copies.size = size;
        m.owned = slice_of(bytes, OWNED_RECORD);
        if (m.kind == MESSAGE_REPORT)
            ck_assert_int_eq(read_of(&m), BRAIN_EPROTO);
        free(bytes);
    }
}
END_TEST

static int write_file(const char *directory, unsigned number, const struct buffer *out)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/message-%02u", directory, number);
    FILE *file = fopen(path, "wb");
    if (!file)
        return 1;
    size_t size = fwrite(out->data, 1, out->size, file);
    return fclose(file) != 0 || size != out->size;
}

/* Each sample alone, and all in one conversation. */
static int write_corpus(const char *directory)
{
    uint32_t count = samples(list);
    struct buffer all;
    buffer_init(&all);
    buffer_append_u8(&all, 0);
    int status = 0;
    for (uint32_t i = 0; i < count && status == 0; i++) {
        struct buffer out;
        buffer_init(&out);
        buffer_append_u8(&out, 1);
        write_whole(&out, &list[i]);
        status = write_file(directory, i, &out);
        buffer_append_be16(&all, (uint16_t)(out.size - 1));
        buffer_append(&all, out.data + 1, out.size - 1);
        buffer_release(&out);
    }
    if (status == 0)
        status = write_file(directory, count, &all);
    buffer_release(&all);
    return status;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--corpus") == 0)
        return write_corpus(argv[2]);
    Suite *suite = suite_create("cluster wire");
    TCase *tcase = tcase_create("wire");
    tcase_add_test(tcase, messages_are_read_back);
    tcase_add_test(tcase, cut_and_lengthened_ones_are_refused);
    tcase_add_test(tcase, nonsense_is_refused);
    tcase_add_test(tcase, views_that_leave_no_room_are_refused);
    tcase_add_test(tcase, a_key_of_another_size_is_refused);
    tcase_add_test(tcase, too_many_records_are_refused);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
