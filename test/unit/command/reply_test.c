/* Answers: what is sent in which form, byte for byte, and a reply kept for later. */
#include "brain/command.h"

#include <check.h>
#include <string.h>

#include "heap_fault.h"
#include "suite.h"

static const enum reply_kind kinds[] = {
    REPLY_KIND_OK, REPLY_KIND_VALUE, REPLY_KIND_KO, REPLY_KIND_ERROR, REPLY_KIND_TERM};

START_TEST(what_is_sent)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        bool seed = kinds[i] == REPLY_KIND_VALUE || kinds[i] == REPLY_KIND_KO;
        ck_assert(!reply_is_sent(REPLY_NONE, kinds[i]));
        ck_assert_int_eq(reply_is_sent(REPLY_UNTAGGED, kinds[i]), seed);
        ck_assert(reply_is_sent(REPLY_TAGGED, kinds[i]));
        ck_assert(reply_is_sent(REPLY_CALL, kinds[i]));
    }
}
END_TEST

static void expect_written(
    enum reply_form form, enum reply_kind kind, int error, const char *expected, size_t size)
{
    struct reply_to reply = {.form = form, .tag = slice_of("\x61\x2a", 2)};
    struct buffer out;
    buffer_init(&out);
    reply_write(&out, &reply, kind, error);
    ck_assert_int_eq(buffer_status(&out), 0);
    ck_assert_uint_eq(out.size, size);
    ck_assert_mem_eq(out.data, expected, size);
    struct slice parts[REPLY_PARTS];
    size_t count = reply_parts(&reply, kind, parts);
    ck_assert_int_eq(count > 0, kind != REPLY_KIND_ERROR && kind != REPLY_KIND_TERM);
    buffer_clear(&out);
    for (size_t i = 0; i < count; i++)
        buffer_append_slice(&out, parts[i]);
    ck_assert(count == 0 || slice_equal(buffer_slice(&out), slice_of(expected, size)));
    buffer_release(&out);
}

START_TEST(what_is_written)
{
#define EXPECT(form, kind, error, text) expect_written(form, kind, error, text, sizeof(text) - 1)
    EXPECT(REPLY_UNTAGGED, REPLY_KIND_VALUE, 0, "h\2w\2ok");
    EXPECT(REPLY_UNTAGGED, REPLY_KIND_KO, 0, "w\2ko");
    EXPECT(REPLY_TAGGED, REPLY_KIND_OK, 0, "h\2a*w\2ok");
    EXPECT(REPLY_TAGGED, REPLY_KIND_VALUE, 0, "h\2a*h\2w\2ok");
    EXPECT(REPLY_TAGGED, REPLY_KIND_KO, 0, "h\2a*w\2ko");
    EXPECT(REPLY_CALL, REPLY_KIND_ERROR, BRAIN_EBADID, "h\2a*h\2w\5errorw\6bad_id");
    EXPECT(REPLY_CALL, REPLY_KIND_ERROR, BRAIN_EREQUEST, "h\2a*h\2w\5errorw\13bad_request");
    EXPECT(REPLY_CALL, REPLY_KIND_TERM, 0, "h\2a*");
}
END_TEST

START_TEST(kept_for_later)
{
    char pid[] = "a pid", tag[] = "a tag with an alias", alias[] = "alias";
    struct reply_to reply = {
        REPLY_CALL, slice_of_string(pid), slice_of_string(tag), slice_of_string(alias)};
    struct reply_to *kept = reply_to_keep(&reply);
    ck_assert_ptr_nonnull(kept);
    memset(pid, 'x', sizeof(pid) - 1); /* the message is gone */
    memset(tag, 'x', sizeof(tag) - 1);
    memset(alias, 'x', sizeof(alias) - 1);
    ck_assert_int_eq(kept->form, REPLY_CALL);
    ck_assert(slice_equal_string(kept->pid, "a pid"));
    ck_assert(slice_equal_string(kept->tag, "a tag with an alias"));
    ck_assert(slice_equal_string(kept->alias, "alias"));
    heap_release(kept);

    struct reply_to nobody = {.form = REPLY_NONE};
    kept = reply_to_keep(&nobody);
    ck_assert_ptr_nonnull(kept);
    ck_assert_int_eq(kept->form, REPLY_NONE);
    ck_assert_uint_eq(kept->pid.size + kept->tag.size + kept->alias.size, 0);
    heap_release(kept);
}
END_TEST

START_TEST(no_memory)
{
    struct reply_to reply = {
        REPLY_TAGGED, slice_of_string("pid"), slice_of_string("tag"), slice_of(NULL, 0)};
    for (unsigned n = 1;; n++) {
        struct buffer out;
        buffer_init(&out);
        heap_fault_start(n);
        struct reply_to *kept = reply_to_keep(&reply);
        if (kept != NULL)
            reply_write(&out, kept, REPLY_KIND_ERROR, BRAIN_ETIMEOUT);
        bool written = kept != NULL && buffer_status(&out) == 0;
        heap_release(kept);
        buffer_release(&out);
        bool failed = heap_fault_stop();
        ck_assert_int_eq(written, !failed);
        if (!failed)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reply");
    TCase *tcase = tcase_create("answers");
    tcase_add_test(tcase, what_is_sent);
    tcase_add_test(tcase, what_is_written);
    tcase_add_test(tcase, kept_for_later);
    tcase_add_test(tcase, no_memory);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
