/* Rules of REPLICA_RULES that random histories seldom need: harmless as the rule is, harmful when
 * it is broken. (Compiled with the switches that break them.) */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "suite.h"

static struct net net;

static bool owns_nothing(struct net_node *node, struct slice id, struct cluster_epoch epoch)
{
    (void)node, (void)id, (void)epoch;
    return false;
}

/* Three members; c owns r:1 and told all that it is 11. */
static void start(uint32_t broken)
{
    net_init(&net, true, 0);
    net_break(&net, broken);
    for (int i = 0; i < 3; i++)
        net_up(&net, i);
    net_install_all(&net);
    net_pass(&net, 50);
    net_write(&net, 2, "r:1", 5, 1, 11, true);
    net_settle(&net);
}

/* c told 11 when it owned the object. Its next owner, a, tells b, and is dead before it told c. b
 * is away, and comes back with an empty table, which c fills. */
static bool goes_back(uint32_t broken)
{
    start(broken);
    net_write(&net, 0, "r:1", 6, 1, 22, true);
    net.owns = owns_nothing;
    ck_assert(net_drop(&net, REPLICA_TELL, 0, 2));
    net_settle(&net);
    const bool shown = net_read(&net, 1, "r:1") == 22;
    net_down(&net, 0);
    net_install(&net, 1);
    net_install(&net, 2);
    net_down(&net, 1);
    net_up(&net, 1);
    net_install(&net, 1);
    net_install(&net, 2);
    net_pass(&net, 500);
    const bool went_back = shown && net_read(&net, 1, "r:1") == 11;
    net_end(&net);
    return went_back;
}

/* c owns the object, tells a another write, and is dead before it told b: its word is not the same
 * everywhere, and nobody else will say what it is. */
static bool tables_differ(uint32_t broken)
{
    start(broken);
    net_write(&net, 2, "r:1", 5, 2, 22, true);
    ck_assert(net_drop(&net, REPLICA_TELL, 2, 1));
    net_settle(&net);
    ck_assert_int_eq(net_read(&net, 0, "r:1"), 22);
    net_down(&net, 2);
    net.owns = owns_nothing;
    net_install_all(&net);
    net_pass(&net, 500);
    ck_assert(net_readable(&net, 0) && net_readable(&net, 1));
    const bool differ = net_read(&net, 0, "r:1") == 22 && net_read(&net, 1, "r:1") == 11;
    net_end(&net);
    return differ;
}

static const struct {
    const char *name;
    bool (*scenario)(uint32_t broken);
    uint32_t broken;
} cases[] = {
    {"a member that comes back shows something older", goes_back,
        REPLICA_BREAK(RULE_REPLICA_AWARE)},
    {"members go on to show different writes of one that is gone", tables_differ,
        REPLICA_BREAK(RULE_REPLICA_GONE)},
};
enum { CASES = sizeof(cases) / sizeof(cases[0]) };

START_TEST(the_rule_prevents_it)
{
    ck_assert_msg(!cases[_i].scenario(0), "%s in spite of the rule", cases[_i].name);
}
END_TEST

START_TEST(without_the_rule_it_happens)
{
    ck_assert_msg(cases[_i].scenario(cases[_i].broken), "%s: the broken rule does not matter",
        cases[_i].name);
}
END_TEST

static bool begins_a_line(const char *text, const char *name)
{
    const size_t size = strlen(name);
    for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name)) {
        if ((at == text || at[-1] == '\n') && at[size] == ' ')
            return true;
    }
    return false;
}

/* In test/sim/broken.txt, or here. */
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
    for (unsigned rule = 0; rule < REPLICA_RULE_COUNT; rule++) {
        bool found = begins_a_line(text, names[rule]);
        for (unsigned i = 0; i < CASES && !found; i++)
            found = (cases[i].broken & REPLICA_BREAK(rule)) != 0;
        ck_assert_msg(found, "nothing shows that %s matters", names[rule]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replica rules");
    TCase *tcase = tcase_create("rules");
    tcase_add_loop_test(tcase, the_rule_prevents_it, 0, CASES);
    tcase_add_loop_test(tcase, without_the_rule_it_happens, 0, CASES);
    tcase_add_test(tcase, every_rule_is_broken_somewhere);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
