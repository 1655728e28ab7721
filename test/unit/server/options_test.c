#include <check.h>

#include "brain/error.h"
#include "options.h"
#include "suite.h"

static char sentence[256];

static int parse(struct options *options, int argc, char **argv)
{
    return options_parse(options, argc, argv, sentence, sizeof(sentence));
}

START_TEST(nothing_given_means_run)
{
    char *argv[] = {"brain-server", NULL};
    struct options options;
    ck_assert_int_eq(parse(&options, 1, argv), 0);
    ck_assert_int_eq(options.action, OPTIONS_RUN);
    ck_assert_ptr_null(options.config);
    ck_assert_uint_eq(options.sets_count, 0);
}
END_TEST

START_TEST(all_options_are_taken)
{
    char *argv[] = {"brain-server", "--config", "a.conf", "--set", "key_ttl=1", "--set=node=x@y",
        "--check-config", NULL};
    struct options options;
    ck_assert_int_eq(parse(&options, 7, argv), 0);
    ck_assert_int_eq(options.action, OPTIONS_CHECK_CONFIG);
    ck_assert_str_eq(options.config, "a.conf");
    ck_assert_uint_eq(options.sets_count, 2);
    ck_assert_str_eq(options.sets[0], "key_ttl=1");
    ck_assert_str_eq(options.sets[1], "node=x@y");
}
END_TEST

START_TEST(each_mistake_has_a_sentence)
{
    struct options options;
    char *unknown[] = {"brain-server", "--verbose", NULL};
    ck_assert_int_eq(parse(&options, 2, unknown), BRAIN_ECONFIG);
    ck_assert_str_eq(sentence, "unknown option --verbose; see --help");
    char *missing[] = {"brain-server", "--config", NULL};
    ck_assert_int_eq(parse(&options, 2, missing), BRAIN_ECONFIG);
    ck_assert_str_eq(sentence, "--config needs a value; see --help");
    char *stray[] = {"brain-server", "start", NULL};
    ck_assert_int_eq(parse(&options, 2, stray), BRAIN_ECONFIG);
    ck_assert_str_eq(sentence, "unexpected argument \"start\"; see --help");
}
END_TEST

START_TEST(sets_are_bounded)
{
    enum { MANY = 1 + 2 * (OPTIONS_SETS_LIMIT + 1) };
    char *argv[MANY + 1];
    argv[0] = "brain-server";
    for (int i = 1; i < MANY; i += 2) {
        argv[i] = "--set";
        argv[i + 1] = "key_ttl=1";
    }
    argv[MANY] = NULL;
    struct options options;
    ck_assert_int_eq(parse(&options, MANY, argv), BRAIN_ECONFIG);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/options");
    TCase *tcase = tcase_create("command line");
    tcase_add_test(tcase, nothing_given_means_run);
    tcase_add_test(tcase, all_options_are_taken);
    tcase_add_test(tcase, each_mistake_has_a_sentence);
    tcase_add_test(tcase, sets_are_bounded);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
