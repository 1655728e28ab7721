/* Each rule of REPLICA_RULES can be broken, and test/sim/broken.txt says from which seed on the
 * simulator notices it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/replica.h"
#include "suite.h"

static bool begins_a_line(const char *text, const char *name)
{
    const size_t size = strlen(name);
    for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name)) {
        if ((at == text || at[-1] == '\n') && at[size] == ' ')
            return true;
    }
    return false;
}

START_TEST(every_rule_is_broken_somewhere)
{
    static const char *const names[] = {
#define NAME(name, text) #name,
        REPLICA_RULES(NAME)
#undef NAME
    };
    static char text[1 << 16];
    const char *path = getenv("SIM_BROKEN");
    FILE *file = path != NULL ? fopen(path, "r") : NULL;
    ck_assert_msg(file != NULL, "SIM_BROKEN: no such file (run by meson test)");
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    for (unsigned rule = 0; rule < REPLICA_RULE_COUNT; rule++)
        ck_assert_msg(
            begins_a_line(text, names[rule]), "nothing shows that %s matters", names[rule]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replica rules");
    TCase *tcase = tcase_create("rules");
    tcase_add_test(tcase, every_rule_is_broken_somewhere);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
