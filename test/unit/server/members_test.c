/* The list of the last view: found by name, taken whole or not at all, told from another history's.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap_fault.h"
#include "members.h"
#include "suite.h"

static struct managers_member *make(size_t count)
{
    struct managers_member *list = calloc(count, sizeof(*list));
    for (size_t i = 0; i < count; i++) {
        snprintf(list[i].name, sizeof(list[i].name), "n%03zu@host", 2 * i);
        list[i].incarnation = 100 + i;
        list[i].port = (uint16_t)(4000 + i);
    }
    return list;
}

START_TEST(everyone_is_found_and_nobody_else)
{
    const size_t count = (size_t)_i;
    char name[32];
    struct members members = {0};
    struct managers_member *list = make(count);
    const struct managers_view view = {.number = 7, .digest = 9, .count = count, .members = list};
    ck_assert_int_eq(members_set(&members, &view), 0);
    free(list); /* a copy was taken */
    ck_assert_uint_eq(members.view.count, count);
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "n%03zu@host", 2 * i);
        const struct managers_member *found = members_find(&members, slice_of_string(name));
        ck_assert_ptr_nonnull(found);
        ck_assert_uint_eq(found->port, 4000 + i);
        ck_assert_uint_eq(members.view.members[i].incarnation, 100 + i);
        ck_assert(slice_equal_string(members.view.members[i].name, name));
    }
    static const char *const others[] = {"", "a", "n001@host", "n000@hos", "n000@hostt", "z"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        ck_assert_ptr_null(members_find(&members, slice_of_string(others[i])));
    members_release(&members);
    ck_assert_ptr_null(members_find(&members, slice_of_string("n000@host")));
}
END_TEST

START_TEST(another_history_is_seen)
{
    struct members members = {0};
    struct managers_member *list = make(2);
    struct managers_view view = {.number = 7, .digest = 9, .count = 2, .members = list};
    ck_assert(!members_contradict(&members, &view));
    ck_assert_int_eq(members_set(&members, &view), 0);
    ck_assert(!members_contradict(&members, &view)); /* the same again */
    view.digest = 10;
    ck_assert(members_contradict(&members, &view));
    view.number = 8;
    ck_assert(!members_contradict(&members, &view));
    view.number = 6;
    ck_assert(members_contradict(&members, &view));
    members_release(&members);
    free(list);
}
END_TEST

START_TEST(names_are_told_as_far_as_there_is_room)
{
    char text[40];
    struct members members = {0};
    struct managers_member *list = make(3);
    const struct managers_view view = {.number = 1, .count = 3, .members = list};
    ck_assert_str_eq(members_text(&members, text, sizeof(text)), "");
    ck_assert_int_eq(members_set(&members, &view), 0);
    ck_assert_str_eq(members_text(&members, text, sizeof(text)), "n000@host, n002@host, n004@host");
    for (size_t size = 4; size < sizeof(text); size++) {
        memset(text, 'x', sizeof(text));
        members_text(&members, text, size);
        ck_assert_ptr_nonnull(memchr(text, '\0', size));
        ck_assert_int_eq(text[size], 'x');
    }
    ck_assert_str_eq(members_text(&members, text, 20), "n000@host...");
    members_release(&members);
    free(list);
}
END_TEST

START_TEST(without_memory_the_old_list_stays)
{
    struct managers_member *list = make(3);
    const struct managers_view first = {.number = 1, .count = 2, .members = list};
    const struct managers_view second = {.number = 2, .count = 3, .members = list};
    for (unsigned n = 1;; n++) {
        struct members members = {0};
        ck_assert_int_eq(members_set(&members, &first), 0);
        heap_fault_start(n);
        const int status = members_set(&members, &second);
        const bool failed = heap_fault_stop();
        ck_assert_int_eq(status, failed ? BRAIN_ENOMEM : 0);
        ck_assert_uint_eq(members.view.number, failed ? 1 : 2);
        ck_assert_uint_eq(members.view.count, failed ? 2 : 3);
        members_release(&members);
        if (!failed)
            break;
    }
    free(list);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/members");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, everyone_is_found_and_nobody_else, 1, 9);
    tcase_add_test(all, another_history_is_seen);
    tcase_add_test(all, names_are_told_as_far_as_there_is_room);
    tcase_add_test(all, without_memory_the_old_list_stays);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
