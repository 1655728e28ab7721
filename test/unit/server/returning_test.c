/* Whom a restarted member waits for, and until when. */
#include <check.h>
#include <string.h>

#include "lease_file.h"
#include "returning.h"
#include "suite.h"

static struct returning returning;
static struct members members;
static struct managers_member list[4];
static char text[64];

static struct slice self;

/* The last view had a (itself), b and c, of incarnations 1, 2 and 3. */
static void set_up(void)
{
    self = slice_of_string("a@host");
    returning_init(&returning);
    lease_file_add_member(&returning.lines, 1, self);
    lease_file_add_member(&returning.lines, 2, slice_of_string("b@host"));
    lease_file_add_member(&returning.lines, 3, slice_of_string("c@host"));
    returning.since_ms = 1000;
}

static void tear_down(void)
{
    returning_release(&returning);
    members_release(&members);
}

/* Names with incarnations, in the order in which they joined: "b2 a9" */
static void view(const char *there)
{
    struct managers_view now = {.number = 9, .members = list};
    for (; *there != '\0'; there += 2 + (there[2] == ' ')) {
        struct managers_member *member = &list[now.count];
        *member = (struct managers_member){.incarnation = (uint64_t)(there[1] - '0')};
        member->name[0] = there[0];
        strcpy(member->name + 1, "@host");
        member->revision = 100 + now.count++;
    }
    for (size_t i = 1; i < now.count; i++) /* by name */
        for (size_t j = i; j > 0 && strcmp(list[j - 1].name, list[j].name) > 0; j--) {
            struct managers_member other = list[j];
            list[j] = list[j - 1];
            list[j - 1] = other;
        }
    ck_assert_int_eq(members_set(&members, &now), 0);
}

static bool waits(uint64_t now_ms)
{
    return returning_waits(&returning, &members, self, now_ms, 500);
}

static void hear(const char *name)
{
    returning_hear(&returning, &members, self, slice_of_string(name));
}

START_TEST(it_waits_until_all_are_back)
{
    view("a9");
    ck_assert(waits(1000) && waits(1499));
    ck_assert_uint_eq(returning_missing(&returning, &members, self, text, sizeof(text)), 2);
    ck_assert_str_eq(text, "b@host, c@host");
    view("a9 b8 d5");
    ck_assert(waits(1499));
    ck_assert_uint_eq(returning_missing(&returning, &members, self, text, sizeof(text)), 1);
    ck_assert_str_eq(text, "c@host");
    view("a9 b8 c7");
    ck_assert(!waits(1000));
}
END_TEST

START_TEST(it_does_not_wait_for_ever)
{
    view("a9 b8");
    ck_assert(waits(1499) && !waits(1500));
    ck_assert(!returning_waits(&returning, &members, self, 1000, 0));
}
END_TEST

/* Its key is there as long as its last lease: that is not the process that comes back. */
START_TEST(a_key_of_then_is_nobody)
{
    view("b2 c3 a9");
    ck_assert(waits(1000));
    ck_assert_uint_eq(returning_missing(&returning, &members, self, text, sizeof(text)), 2);
}
END_TEST

START_TEST(one_that_goes_on_is_enough)
{
    view("b2 a9 d5");
    hear("d@host"); /* it came later, and may know of nobody */
    hear("x@host"); /* not a member */
    hear("a@host");
    ck_assert(waits(1000));
    hear("b@host");
    ck_assert(!waits(1000));
}
END_TEST

START_TEST(alone_or_left_in_peace)
{
    view("a9");
    buffer_clear(&returning.lines);
    ck_assert(!waits(1000));
    lease_file_add_member(&returning.lines, 1, self);
    ck_assert(!waits(1000));
    buffer_append(&returning.lines, "damaged", 7);
    ck_assert(!waits(1000));
}
END_TEST

START_TEST(names_are_told_as_far_as_there_is_room)
{
    view("a9");
    for (size_t size = 1; size < 20; size++) {
        memset(text, 'x', sizeof(text));
        ck_assert_uint_eq(returning_missing(&returning, &members, self, text, size), 2);
        ck_assert_ptr_nonnull(memchr(text, '\0', size));
        ck_assert_int_eq(text[size], 'x');
    }
    ck_assert_str_eq(text, "b@host, c@host");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/returning");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, it_waits_until_all_are_back);
    tcase_add_test(all, it_does_not_wait_for_ever);
    tcase_add_test(all, a_key_of_then_is_nobody);
    tcase_add_test(all, one_that_goes_on_is_enough);
    tcase_add_test(all, alone_or_left_in_peace);
    tcase_add_test(all, names_are_told_as_far_as_there_is_room);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
