/* roster: puts and deletes in any order make the same list and the same digest; what no member
 * wrote is in no view. */
#include "roster.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "call.h"
#include "suite.h"

static struct roster roster;

/* One key as an answer has it. */
static bool apply(struct roster *to, const char *key, const char *value, uint64_t revision)
{
    struct answer answer;
    bool changed = false;
    answer_init(&answer);
    buffer_append(&answer.text, key, strlen(key));
    if (value != NULL)
        buffer_append(&answer.text, value, strlen(value));
    struct answer_kv kv = {.key_size = strlen(key),
        .value = strlen(key),
        .value_size = value == NULL ? 0 : strlen(value),
        .mod_revision = revision,
        .lease = 77,
        .deleted = value == NULL};
    ck_assert_int_eq(roster_apply(to, "brain/member/", &answer, &kv, &changed), 0);
    answer_release(&answer);
    return changed;
}

static const char *value_of(uint64_t incarnation)
{
    static char value[160];
    snprintf(value, sizeof(value),
        "{\"incarnation\":\"%016llx\",\"address\":\"10.0.0.1\",\"port\":4,\"protocol\":9,"
        "\"lease_ms\":10000}",
        (unsigned long long)incarnation);
    return value;
}

static bool put(struct roster *to, const char *name, uint64_t incarnation, uint64_t revision)
{
    char key[300];
    snprintf(key, sizeof(key), "brain/member/%s", name);
    return apply(to, key, value_of(incarnation), revision);
}

static bool delete_key(struct roster *to, const char *name, uint64_t revision)
{
    char key[300];
    snprintf(key, sizeof(key), "brain/member/%s", name);
    return apply(to, key, NULL, revision);
}

static uint64_t digest_of(const struct roster *of, uint64_t history)
{
    struct managers_view view;
    ck_assert_int_eq(roster_view(of, history, &view), 0);
    heap_release((void *)(uintptr_t)view.members);
    return view.digest;
}

static void set_up(void)
{
    answer_guard_memory();
    roster_init(&roster, 9);
}

static void tear_down(void)
{
    roster_release(&roster);
}

START_TEST(members)
{
    ck_assert(put(&roster, "b@h", 2, 12));
    ck_assert(put(&roster, "a@h", 1, 11));
    ck_assert(put(&roster, "c@h", 3, 13));
    struct managers_view view;
    ck_assert_int_eq(roster_view(&roster, 5, &view), 0);
    ck_assert_uint_eq(view.count, 3);
    ck_assert_uint_eq(view.number, 13);
    for (size_t i = 0; i < 3; i++) {
        const char name[] = {(char)('a' + i), '@', 'h', '\0'};
        ck_assert_str_eq(view.members[i].name, name);
        ck_assert_uint_eq(view.members[i].incarnation, i + 1);
        ck_assert_uint_eq(view.members[i].revision, i + 11);
        ck_assert_int_eq(view.members[i].lease, 77);
        ck_assert_str_eq(view.members[i].address, "10.0.0.1");
        ck_assert_uint_eq(view.members[i].port, 4);
        ck_assert_uint_eq(view.members[i].protocol, 9);
        ck_assert_uint_eq(view.members[i].lease_ms, 10000);
    }
    heap_release((void *)(uintptr_t)view.members);
    ck_assert(delete_key(&roster, "b@h", 14));
    ck_assert(!delete_key(&roster, "b@h", 15));
    ck_assert_uint_eq(roster.number, 14);
    ck_assert_ptr_null(roster_find(&roster, "b@h"));
    ck_assert(put(&roster, "c@h", 4, 16)); /* another life in one step */
    ck_assert_uint_eq(roster_find(&roster, "c@h")->incarnation, 4);
    ck_assert_uint_eq(roster.count, 2);
}
END_TEST

START_TEST(what_no_member_wrote)
{
    static const char *const values[] = {"", "x", "[]", "{}",
        "{\"incarnation\":\"0000000000000000\",\"address\":\"\",\"port\":4,\"protocol\":9,\"lease_"
        "ms\":1}",
        "{\"incarnation\":\"1\",\"address\":\"\",\"port\":4,\"protocol\":9,\"lease_ms\":1}",
        "{\"incarnation\":\"000000000000000A\",\"address\":\"\",\"port\":4,\"protocol\":9,\"lease_"
        "ms\":1}",
        "{\"incarnation\":\"0000000000000001\",\"port\":4,\"protocol\":9,\"lease_ms\":1}",
        "{\"incarnation\":\"0000000000000001\",\"address\":\"\",\"port\":65536,\"protocol\":9,"
        "\"lease_ms\":1}",
        "{\"incarnation\":\"0000000000000001\",\"address\":\"\",\"port\":-1,\"protocol\":9,\"lease_"
        "ms\":1}",
        "{\"incarnation\":\"0000000000000001\",\"address\":\"\",\"port\":4,\"protocol\":\"9\","
        "\"lease_ms\":1}",
        "{\"incarnation\":\"0000000000000001\",\"address\":\"\",\"port\":4,\"protocol\":9}",
        "{\"incarnation\":\"0000000000000001\",\"address\":\"\",\"port\":4,\"protocol\":8,"
        "\"lease_ms\":1}"};
    put(&roster, "a@h", 1, 11);
    uint64_t digest = digest_of(&roster, 0), set = roster.set;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        ck_assert_msg(!apply(&roster, "brain/member/x@h", values[i], 12 + i), "%s", values[i]);
        ck_assert_uint_eq(digest_of(&roster, 0), digest);
        ck_assert_uint_ne(roster.set, set); /* but etcd's list is compared with all of it */
        ck_assert_ptr_null(roster_find(&roster, "x@h"));
    }
    ck_assert_uint_eq(roster.number, 11);
    ck_assert(put(&roster, "x@h", 5, 50));                 /* it becomes one */
    ck_assert(apply(&roster, "brain/member/x@h", "", 51)); /* and none again: it is gone */
    ck_assert_uint_eq(roster.number, 51);
    ck_assert(!delete_key(&roster, "x@h", 52));
    ck_assert_uint_eq(roster.set, set);
    /* Keys whose name is none are nowhere. */
    char long_key[400] = "brain/member/";
    memset(long_key + strlen(long_key), 'n', 300);
    ck_assert(!apply(&roster, "brain/member/", value_of(1), 60));
    ck_assert(!apply(&roster, long_key, value_of(1), 60));
    ck_assert(!apply(&roster, "brain/evict/a@h", value_of(1), 60));
    ck_assert_uint_eq(roster.set, set);
}
END_TEST

START_TEST(the_order_does_not_matter)
{
    /* Two ways to the same list: by events, and by a range afterwards. */
    struct roster other;
    roster_init(&other, 9);
    uint32_t random = 1;
    uint64_t there[26] = {0};
    for (uint64_t revision = 1; revision < 2000; revision++) {
        random = random * 1664525 + 1013904223;
        const char name[] = {(char)('a' + (random >> 8) % 26), '@', 'h', '\0'};
        uint64_t *revision_there = &there[name[0] - 'a'];
        if ((random >> 16) % 3 == 0) {
            ck_assert(delete_key(&roster, name, revision) == (*revision_there != 0));
            *revision_there = 0;
        } else {
            ck_assert(put(&roster, name, revision, revision));
            *revision_there = revision;
        }
    }
    for (int i = 25; i >= 0; i--)
        if (there[i] != 0)
            put(&other, (const char[]){(char)('a' + i), '@', 'h', '\0'}, there[i], there[i]);
    ck_assert_uint_eq(other.count, roster.count);
    ck_assert_uint_eq(other.set, roster.set);
    ck_assert_uint_eq(digest_of(&other, 3), digest_of(&roster, 3));
    ck_assert_uint_ne(digest_of(&other, 3), digest_of(&roster, 4)); /* of another etcd */
    for (size_t i = 1; i < roster.count; i++)
        ck_assert_int_lt(strcmp(roster.entries[i - 1].name, roster.entries[i].name), 0);
    roster_release(&other);
}
END_TEST

START_TEST(there_is_a_limit)
{
    char name[16];
    for (unsigned i = 0; i < MANAGERS_MEMBERS_LIMIT; i++) {
        snprintf(name, sizeof(name), "%u@h", i);
        ck_assert(put(&roster, name, i + 1, i + 1));
    }
    struct answer answer;
    bool changed = false;
    answer_init(&answer);
    buffer_append(&answer.text, "brain/member/mo@e", 17);
    struct answer_kv kv = {.key_size = 17, .mod_revision = 9999};
    ck_assert_int_eq(roster_apply(&roster, "brain/member/", &answer, &kv, &changed), BRAIN_ENOMEM);
    ck_assert(!changed);
    ck_assert_uint_eq(roster.count, MANAGERS_MEMBERS_LIMIT);
    answer_release(&answer);
    ck_assert(put(&roster, "7@h", 5000, 10000));
}
END_TEST

/* What is not name@host is no node's: nobody could link with it, and an atom of it none may read.
 */
START_TEST(names_of_nobody)
{
    static const char *const names[] = {"no-at-sign", "two@at@signs", "@", "a@", "@h", "a b@h",
        "a@h ", "new\nline@h", "\xff\xfe@h", "a@\xc3", "\x7f@h"};
    put(&roster, "a@h", 1, 11);
    uint64_t digest = digest_of(&roster, 0), set = roster.set;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        ck_assert_msg(!put(&roster, names[i], 5, 12 + 2 * i), "%s", names[i]);
        ck_assert_uint_eq(digest_of(&roster, 0), digest);
        ck_assert_uint_ne(roster.set, set);
        ck_assert(!delete_key(&roster, names[i], 13 + 2 * i));
        ck_assert_uint_eq(roster.set, set);
    }
    ck_assert(put(&roster, "\xc3\xa4@h", 5, 50));
}
END_TEST

static void check_names(const char *expected)
{
    struct managers_view view;
    char names[1000] = "";
    ck_assert_int_eq(roster_view(&roster, 5, &view), 0);
    for (size_t i = 0; i < view.count; i++)
        strcat(strcat(names, view.members[i].name), " ");
    ck_assert_str_eq(names, expected);
    heap_release((void *)(uintptr_t)view.members);
}

/* Members draw their incarnations: whoever has another's copied it. All see the same one, also who
 * comes later, and the other one when the first is gone. */
START_TEST(of_twins_the_first_counts)
{
    put(&roster, "b@h", 2, 11);
    put(&roster, "c@h", 3, 12);
    put(&roster, "a@h", 2, 13);
    put(&roster, "d@h", 2, 14);
    check_names("b@h c@h ");
    ck_assert_str_eq(roster_twin(&roster, roster_find(&roster, "a@h"))->name, "b@h");
    ck_assert_ptr_null(roster_twin(&roster, roster_find(&roster, "b@h")));
    delete_key(&roster, "b@h", 15);
    check_names("a@h c@h ");
    put(&roster, "a@h", 7, 16);
    check_names("a@h c@h d@h ");
    put(&roster, "x@h", 0, 17); /* none: those are no twins */
    put(&roster, "y@h", 0, 18);
    check_names("a@h c@h d@h ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("roster");
    TCase *tcase = tcase_create("roster");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, members);
    tcase_add_test(tcase, what_no_member_wrote);
    tcase_add_test(tcase, the_order_does_not_matter);
    tcase_add_test(tcase, there_is_a_limit);
    tcase_add_test(tcase, names_of_nobody);
    tcase_add_test(tcase, of_twins_the_first_counts);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
