/* The scanner on bytes in memory: every kind of damage at every place. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"
#include "suite.h"

enum { RECORDS = 5, LIMIT = 1000 };
static const size_t sizes[RECORDS] = {48, 48, 48, 1, 200}; /* three of 64 bytes: see `flips` */
static const struct segment_label label = {7, 100, 0xfeedf00d, 1700000000000};

static uint8_t image[2000];
static size_t starts[RECORDS + 1]; /* of the records, and the end */
static size_t image_size;

static struct {
    uint64_t seqs[100];
    size_t count;
} seen;

static uint8_t byte_of(uint64_t seq, size_t i)
{
    return (uint8_t)(seq * 31 + i * 7);
}

static void put(uint64_t seq, size_t size)
{
    uint8_t *header = image + image_size;
    record_header_write(header, seq, (uint32_t)size);
    for (size_t i = 0; i < size; i++)
        header[RECORD_HEADER + i] = byte_of(seq, i);
    /* in two pieces, as a value by reference is */
    size_t inline_size = RECORD_HEADER + size / 2;
    struct slice rest = slice_of(header + inline_size, RECORD_HEADER + size - inline_size);
    record_seal(header, inline_size, crc32c(0, rest), rest.size, label.salt);
    image_size += RECORD_HEADER + size;
}

static void build(void)
{
    segment_header_write(image, &label);
    image_size = SEGMENT_HEADER;
    for (unsigned i = 0; i < RECORDS; i++) {
        starts[i] = image_size;
        put(100 + i, sizes[i]);
    }
    starts[RECORDS] = image_size;
}

static int view(void *context, uint64_t offset, size_t size, struct slice *bytes)
{
    const struct slice *all = context;
    ck_assert_uint_le(offset, all->size);
    ck_assert_uint_le(size, all->size - offset);
    *bytes = slice_of(all->data + offset, size);
    return 0;
}

static int record(void *context, uint64_t seq, struct slice payload)
{
    (void)context;
    ck_assert_uint_ge(seq, 100);
    ck_assert_uint_lt(seq, 100 + RECORDS);
    ck_assert_uint_eq(payload.size, sizes[seq - 100]);
    size_t same = 0;
    while (same < payload.size && payload.data[same] == byte_of(seq, same))
        same++;
    ck_assert_uint_eq(same, payload.size);
    seen.seqs[seen.count++] = seq;
    return 0;
}

/* Over a copy of exactly this size, so that the sanitizer sees a read past it. */
static struct scan_result scan(size_t size)
{
    struct scan_result result;
    uint8_t *copy = malloc(size + 1);
    memcpy(copy, image, size);
    struct slice all = {copy, size};
    struct record_source source = {&all, size, view};
    seen.count = 0;
    ck_assert_int_eq(segment_scan(&source, label.number, LIMIT, record, NULL, &result), 0);
    ck_assert_uint_eq(result.records, seen.count);
    free(copy);
    return result;
}

START_TEST(whole)
{
    build();
    struct scan_result result = scan(image_size);
    ck_assert_uint_eq(result.header_size, SEGMENT_HEADER);
    ck_assert_uint_eq(result.records, RECORDS);
    ck_assert_uint_eq(result.bad, 0);
    ck_assert_uint_eq(result.good_end, image_size);
    ck_assert_uint_eq(result.first_seq, 100);
    ck_assert_uint_eq(result.last_seq, 104);
    ck_assert_uint_eq(result.label.first_seq, 100);
    ck_assert_uint_eq(result.label.salt, label.salt);
}
END_TEST

/* Every record but the damaged one is found; in the header of the segment, every one. That the
 * sizes are equal matters: a wrong size can lead to the start of a later record. */
START_TEST(flips)
{
    build();
    for (size_t at = 0; at < image_size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            image[at] ^= (uint8_t)(1 << bit);
            struct scan_result result = scan(image_size);
            image[at] ^= (uint8_t)(1 << bit);
            ck_assert_uint_eq(result.header_size, SEGMENT_HEADER);
            if (at < SEGMENT_HEADER) {
                ck_assert_uint_eq(result.records, RECORDS);
                ck_assert_uint_eq(result.bad, 1);
                continue;
            }
            unsigned damaged = 0;
            while (at >= starts[damaged + 1])
                damaged++;
            ck_assert_uint_eq(result.records, RECORDS - 1);
            for (unsigned i = 0; i < RECORDS - 1; i++)
                ck_assert_uint_eq(seen.seqs[i], 100 + i + (i >= damaged));
            bool is_tail = damaged == RECORDS - 1;
            ck_assert_uint_eq(result.bad, is_tail ? 0 : 1);
            ck_assert_uint_eq(result.good_end, is_tail ? starts[damaged] : image_size);
        }
    }
}
END_TEST

START_TEST(cuts)
{
    build();
    for (size_t size = 0; size < image_size; size++) {
        struct scan_result result = scan(size);
        unsigned complete = 0;
        while (complete < RECORDS && starts[complete + 1] <= size)
            complete++;
        ck_assert((result.header_size > 0) == (size >= SEGMENT_HEADER));
        ck_assert_uint_eq(result.records, complete);
        ck_assert_uint_eq(result.good_end, size >= SEGMENT_HEADER ? starts[complete] : 0);
        ck_assert_uint_eq(result.bad, 0);
    }
}
END_TEST

START_TEST(removed_and_inserted)
{
    for (size_t at = SEGMENT_HEADER; at < starts[RECORDS - 1]; at++) {
        build();
        memmove(image + at, image + at + 1, image_size - at - 1);
        ck_assert_uint_eq(scan(image_size - 1).records, RECORDS - 1);
        build();
        memmove(image + at + 1, image + at, image_size - at);
        ck_assert_uint_ge(scan(image_size + 1).records, RECORDS - 1);
    }
}
END_TEST

START_TEST(wrong_header)
{
    struct scan_result result;
    build();
    memset(image + 8 + 20, 0xff, 28); /* both labels */
    result = scan(image_size);
    ck_assert_uint_eq(result.header_size, 0);
    ck_assert_uint_eq(result.good_end, 0);
    build();
    struct segment_label other = {8, 100, label.salt, 0}; /* another segment's */
    segment_header_write(image, &other);
    ck_assert_uint_eq(scan(image_size).header_size, 0);
    /* Another salt: what an older file left on the disk is not taken. */
    other = (struct segment_label){7, 100, label.salt ^ 1, 0};
    segment_header_write(image, &other);
    ck_assert_uint_eq(scan(image_size).records, 0);
}
END_TEST

/* A client stores a value that is a record: after damage before it, it is not taken for one, as
 * nobody outside knows the salt. */
START_TEST(hidden_in_a_value)
{
    static uint8_t inner[RECORD_HEADER + 40];
    build();
    size_t at = starts[4] + RECORD_HEADER + 10;
    record_header_write(inner, 1000, 40);
    record_seal(inner, sizeof(inner), 0, 0, 0);
    memcpy(image + at, inner, sizeof(inner));
    record_seal(image + starts[4], image_size - starts[4], 0, 0, label.salt);
    image[starts[4] + 9] ^= 1;
    struct scan_result result = scan(image_size);
    ck_assert_uint_eq(result.records, 4);
    ck_assert_uint_eq(result.good_end, starts[4]);
}
END_TEST

/* Places that look like headers of long records, everywhere: the search ends all the same. */
START_TEST(false_headers)
{
    enum { BIG = 8 << 20 };
    uint8_t *bytes = calloc(1, BIG);
    segment_header_write(bytes, &label);
    for (size_t at = SEGMENT_HEADER; at + 16 <= BIG; at += 16)
        record_header_write(bytes + at, 200 + at, (uint32_t)(BIG - at) / 2);
    struct slice all = {bytes, BIG};
    struct record_source source = {&all, BIG, view};
    struct scan_result result;
    ck_assert_int_eq(segment_scan(&source, 7, BIG, record, NULL, &result), 0);
    ck_assert_uint_eq(result.records, 0);
    ck_assert_uint_eq(result.good_end, SEGMENT_HEADER);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal: record");
    TCase *tcase = tcase_create("scan");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, whole);
    tcase_add_test(tcase, flips);
    tcase_add_test(tcase, cuts);
    tcase_add_test(tcase, removed_and_inserted);
    tcase_add_test(tcase, wrong_header);
    tcase_add_test(tcase, hidden_in_a_value);
    tcase_add_test(tcase, false_headers);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
