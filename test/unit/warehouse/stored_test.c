/* The stored form: exact bytes, read back, refused when damaged, understood by a real Erlang; and
 * the names of objects. */
#include "brain/stored.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap_fault.h"
#include "suite.h"

static const struct version version = {3, 70000, 5000000000};
static const struct slice user = {(const uint8_t *)"user:1", 6};

/* #{a => [1, 2.5], "name" => <<"J">>} */
static const uint8_t term[] =
    "\x74\0\0\0\2w\1a\x6c\0\0\0\2a\1F@\4\0\0\0\0\0\0\x6a\x6b\0\4namem\0\0\0\1J";
static const struct slice value = {term, sizeof(term) - 1};

static struct buffer out;

static void set_up(void)
{
    buffer_init(&out);
}

static void tear_down(void)
{
    buffer_release(&out);
}

static void write_object(void)
{
    buffer_clear(&out);
    stored_write_head(&out, user, version, crc32c(0, value));
    buffer_append_slice(&out, value);
    ck_assert_int_eq(buffer_status(&out), 0);
}

START_TEST(form)
{
    static const char expected[] =
        "\203h\6w\6brain1m\0\0\0\6user:1h\2a\3b\0\1\021\160n\5\0\0\362\5\052\1";
    write_object();
    ck_assert_uint_ge(out.size, sizeof(expected) - 1);
    ck_assert_mem_eq(out.data, expected, sizeof(expected) - 1);
    ck_assert_mem_eq(out.data + out.size - value.size, value.data, value.size);
}
END_TEST

START_TEST(checksum_put_in_later)
{
    struct stored stored;
    buffer_clear(&out);
    buffer_append_u8(&out, 'x'); /* whatever stands before it */
    const size_t place = stored_write_open_head(&out, user, version);
    for (uint32_t zeros = 0; zeros < 2; zeros++) {
        /* The second time a value whose checksum has few bytes: the form stays four of them. */
        const struct slice bytes = zeros == 0 ? value : slice_of("", 0);
        const uint32_t crc = crc32c(0, bytes);
        struct buffer copy;
        buffer_init(&copy);
        buffer_append(&copy, out.data + 1, out.size - 1);
        for (unsigned i = 0; i < 4; i++)
            copy.data[place + i] = (uint8_t)(crc >> 8 * i);
        uint32_t read = ~crc;
        buffer_append(&copy, "j", 1);
        ck_assert_int_eq(stored_read_head(buffer_slice(&copy), user, &stored, &read), 0);
        ck_assert_uint_eq(read, crc);
        copy.size--;
        buffer_append_slice(&copy, value);
        ck_assert_int_eq(
            stored_read(buffer_slice(&copy), user, &stored), zeros == 0 ? 0 : BRAIN_ECORRUPT);
        buffer_release(&copy);
    }
}
END_TEST

START_TEST(round_trip)
{
    struct stored stored;
    write_object();
    ck_assert_int_eq(stored_read(buffer_slice(&out), user, &stored), 0);
    ck_assert(!stored.deleted);
    ck_assert(slice_equal(stored.id, user));
    ck_assert_int_eq(version_compare(stored.version, version), 0);
    ck_assert(slice_equal(stored.value, value));
    ck_assert_ptr_eq(stored.value.data, out.data + out.size - value.size);
    ck_assert_int_eq(stored_read(buffer_slice(&out), slice_of(NULL, 0), &stored), 0);
    ck_assert_int_eq(
        stored_read(buffer_slice(&out), slice_of_string("user:2"), &stored), BRAIN_ECORRUPT);
}
END_TEST

START_TEST(tombstone)
{
    struct stored stored;
    uint32_t crc;
    stored_write_tombstone(&out, user, version, 1700000000123);
    ck_assert_int_eq(stored_read(buffer_slice(&out), user, &stored), 0);
    ck_assert(stored.deleted);
    ck_assert_int_eq(version_compare(stored.version, version), 0);
    ck_assert_uint_eq(stored.unix_ms, 1700000000123);
    ck_assert_uint_eq(stored.value.size, 0);
    ck_assert_int_eq(stored_read_head(buffer_slice(&out), user, &stored, &crc), 0);
    buffer_append_u8(&out, ETF_NIL); /* something behind it */
    ck_assert_int_eq(stored_read(buffer_slice(&out), user, &stored), BRAIN_ECORRUPT);
}
END_TEST

START_TEST(greatest_numbers)
{
    struct stored stored;
    struct version last = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    stored_write_head(&out, user, last, crc32c(0, value));
    buffer_append_slice(&out, value);
    ck_assert_int_eq(stored_read(buffer_slice(&out), user, &stored), 0);
    ck_assert_int_eq(version_compare(stored.version, last), 0);
}
END_TEST

/* No cut is taken for the object. A changed byte may be (in the version, which the checksum does
 * not cover, or one spelling of an atom for another), but never with another id or value. */
START_TEST(every_cut_and_change)
{
    struct stored stored;
    write_object();
    for (size_t size = 0; size < out.size; size++) {
        uint8_t *cut = malloc(size + (size == 0));
        memcpy(cut, out.data, size);
        ck_assert_int_eq(stored_read(slice_of(cut, size), user, &stored), BRAIN_ECORRUPT);
        free(cut);
    }
    for (size_t i = 0; i < out.size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            out.data[i] ^= (uint8_t)(1 << bit);
            if (stored_read(buffer_slice(&out), user, &stored) == 0) {
                ck_assert(slice_equal(stored.value, value));
                ck_assert(slice_equal(stored.id, user));
            }
            out.data[i] ^= (uint8_t)(1 << bit);
        }
    }
    ck_assert_int_eq(stored_read(buffer_slice(&out), user, &stored), 0);
}
END_TEST

START_TEST(head_does_not_look_at_the_value)
{
    struct stored stored;
    uint32_t crc;
    write_object();
    out.data[out.size - 1] ^= 1;
    ck_assert_int_eq(stored_read(buffer_slice(&out), user, &stored), BRAIN_ECORRUPT);
    ck_assert_int_eq(stored_read_head(buffer_slice(&out), user, &stored, &crc), 0);
    ck_assert_uint_eq(crc, crc32c(0, value));
    ck_assert_int_eq(version_compare(stored.version, version), 0);
}
END_TEST

/* A file of ours means something to any Erlang shell. */
START_TEST(erlang_reads_it)
{
    char file[] = "/tmp/brain-stored-XXXXXX", command[1024], answer[256] = "";
    int fd = mkstemp(file);
    ck_assert_int_ge(fd, 0);
    FILE *stream = fdopen(fd, "w");
    write_object();
    ck_assert_uint_eq(fwrite(out.data, 1, out.size, stream), out.size);
    fclose(stream);
    snprintf(command, sizeof(command),
        "erl -noinput -boot start_clean -eval '"
        "{ok, B} = file:read_file(\"%s\"),"
        "{brain1, <<\"user:1\">>, {3, 70000}, 5000000000, Crc, Value} = binary_to_term(B),"
        "true = Value =:= #{a => [1, 2.5], \"name\" => <<\"J\">>},"
        "io:format(\"~p\", [Crc]), halt().' 2>&1",
        file);
    FILE *erl = popen(command, "r");
    ck_assert_ptr_nonnull(erl);
    size_t size = fread(answer, 1, sizeof(answer) - 1, erl);
    answer[size] = '\0';
    int status = pclose(erl);
    remove(file);
    ck_assert_msg(status == 0, "erl said: %s", answer);
    ck_assert_uint_eq(strtoul(answer, NULL, 10), crc32c(0, value));
}
END_TEST

/* ---- names ----------------------------------------------------------------------------------- */

static void expect_name(const char *prefix, struct slice id, size_t limit, const char *expected)
{
    buffer_clear(&out);
    stored_name(&out, prefix, id, limit);
    ck_assert_int_eq(buffer_status(&out), 0);
    ck_assert_str_eq((const char *)out.data, expected);
    ck_assert_uint_eq(out.size, strlen(expected));
}

START_TEST(names)
{
    expect_name("", user, 511, "user%3A1");
    expect_name("brain/", slice_of_string("AZaz09-._"), 511, "brain/AZaz09-._");
    expect_name("", slice_of("~/ %\0\xc3\xa9", 7), 511, "%7E%2F%20%25%00%C3%A9");
    /* printf 'user:1' | sha256sum */
    expect_name(
        "p/", user, 9, "p/~abc3a47b8ad18b855c687d9ca2c6091ee7312db5563021942a57ada889c87b34");
    expect_name("p/", user, 10, "p/user%3A1");
}
END_TEST

START_TEST(no_memory)
{
    struct stored stored;
    for (unsigned n = 1;; n++) {
        heap_fault_start(n);
        struct buffer bytes;
        buffer_init(&bytes);
        stored_write_head(&bytes, user, version, crc32c(0, value));
        buffer_append_slice(&bytes, value);
        bool good = buffer_status(&bytes) == 0;
        if (good)
            ck_assert_int_eq(stored_read(buffer_slice(&bytes), user, &stored), 0);
        buffer_clear(&bytes);
        stored_name(&bytes, "", slice_of(term, 10), 20);
        good = good && buffer_status(&bytes) == 0;
        buffer_release(&bytes);
        bool failed = heap_fault_stop();
        ck_assert_int_eq(good, !failed);
        if (!failed)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stored");
    TCase *tcase = tcase_create("form");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, form);
    tcase_add_test(tcase, checksum_put_in_later);
    tcase_add_test(tcase, round_trip);
    tcase_add_test(tcase, tombstone);
    tcase_add_test(tcase, greatest_numbers);
    tcase_add_test(tcase, every_cut_and_change);
    tcase_add_test(tcase, head_does_not_look_at_the_value);
    tcase_add_test(tcase, erlang_reads_it);
    suite_add_tcase(suite, tcase);
    TCase *name = tcase_create("names");
    tcase_add_checked_fixture(name, set_up, tear_down);
    tcase_add_test(name, names);
    tcase_add_test(name, no_memory);
    suite_add_tcase(suite, name);
    return suite_run(suite);
}
