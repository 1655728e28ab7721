/* The switches of CLUSTER_RULES that random search does not notice (docs/decisions/0015): one
 * directed interleaving each, harmless as the rule is, harmful when its switch breaks it. Those of
 * flaws_test.c count too; every_rule_is_broken_somewhere says whether one is missing. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster_net.h"
#include "suite.h"

static struct net net;

enum { A = 0, B = 1, C = 2, D = 3, E = 4, ABC = 7, ABCD = 15, ABCDE = 31, TIMEOUT_MS = 1000 };

static bool ended(bool harm)
{
    harm |= net.bad > 0;
    net_end(&net);
    return harm;
}

static bool written(int node, const char *id, const char *text)
{
    struct net_request *write = net_ask(&net, node, CLUSTER_WRITE, id, text);
    net_settle(&net, true);
    return net_answered(write, STORE_DONE, NULL);
}

static void all_join(uint32_t count, uint64_t view)
{
    for (uint32_t i = 0; i < count; i++)
        net.nodes[i].incarnation++;
    for (uint32_t i = 0; i < count; i++) {
        net.nodes[i].incarnation--; /* net_join counts it */
        net_join(&net, (int)i, view, (1U << count) - 1);
    }
}

/* All but E go on without it: its lease is over, which it does not know. */
static void others_go_on(void)
{
    net.now_ms += 20000;
    for (int i = A; i <= D; i++)
        net_lease(&net, i);
    for (int i = A; i <= D; i++)
        net_view(&net, i, 6, ABCD);
    net_settle(&net, true);
}

/* etcd is made anew by somebody whose calendar is wrong, so that the new view has the old number. A
 * report of A's former life comes, in which it held nothing; meanwhile it holds the only copy. */
static bool report_of_a_former_life(uint64_t broken)
{
    net_init(&net, 3, 0, broken);
    net_create_clusters(&net);
    const char *id = net_id(ABC, C, 0, -1, -1, -1);
    net_store(&net, id, (struct version){1, 1, 1}, "old");
    net_hold(&net, "report_ack", C, A);
    all_join(3, 5);
    net_settle(&net, true);
    net_hold(&net, "report", A, C);
    net_pass(&net, 150, true); /* repeated, as it was not acknowledged */
    bool ready = net_count(&net, "report", A, C) == 1 && written(A, id, "new");
    for (int i = A; i <= C; i++)
        cluster_lost(net.nodes[i].cluster, net.now_ms);
    net_settle(&net, true);
    all_join(3, 5);
    net_settle(&net, true);
    struct net_request *read = net_ask(&net, B, CLUSTER_READ, id, NULL);
    (void)net_deliver(&net, "report", A, C); /* the first of those that are held */
    net_settle(&net, true);
    return ended(!ready || net_answered(read, STORE_FOUND, "old"));
}

/* A store without conditional writes: E's PUT begins after its lease, others' was before it. */
static bool put_after_lease(uint64_t broken)
{
    net_init(&net, 5, 1, broken);
    net.unconditional = true;
    net_start(&net, 5);
    const char *id = net_id(ABCDE, D, ABCD, -1, E, D);
    bool ready = written(E, id, "1");
    others_go_on();
    ready &= written(B, id, "2");
    for (int i = A; i <= D; i++)
        net_dump(&net, i, id);
    net_settle(&net, true);
    ready &= strcmp(net_stored(&net, id)->value.text, "2") == 0;
    net_dump(&net, E, id);
    net_settle(&net, true);
    return ended(!ready || strcmp(net_stored(&net, id)->value.text, "2") != 0);
}

/* E is asked to write when its lease is over. Nothing has happened yet, so it is done by whoever
 * owns the object later; once it was done, nobody could say whether it will be lost. */
static bool write_after_lease(uint64_t broken)
{
    net_init(&net, 5, 1, broken);
    net_start(&net, 5);
    const char *id = net_id(ABCDE, D, ABCD, -1, E, D);
    bool ready = written(E, id, "1");
    others_go_on();
    struct net_request *write = net_ask(&net, E, CLUSTER_WRITE, id, "2");
    net_settle(&net, true);
    cluster_lost(net.nodes[E].cluster, net.now_ms);
    net_settle(&net, true);
    net.nodes[E].incarnation++;
    for (int i = A; i <= D; i++)
        net_view(&net, i, 7, ABCDE);
    net.nodes[E].incarnation--;
    net_join(&net, E, 7, ABCDE);
    net_pass(&net, 400, true);
    return ended(!ready || !net_answered(write, STORE_DONE, NULL));
}

/* A and B cannot hear each other, in a view in which nothing else happens. */
static bool unheard(uint64_t broken)
{
    net_init(&net, 3, 0, broken);
    net_start(&net, 5);
    net_pass(&net, 2 * TIMEOUT_MS, true);
    net_drop(&net, "*", A, B);
    net_drop(&net, "*", B, A);
    net_pass(&net, 4 * TIMEOUT_MS, true);
    return ended(net.nodes[A].evictions + net.nodes[B].evictions == 0);
}

/* B was handed x by A, wrote, persisted and released it; nobody heard of that, and A holds its copy
 * still. B asks again. */
static bool owned_meanwhile(uint64_t broken)
{
    net_init(&net, 3, 0, broken);
    net.handoff_uses = 2;
    net_start(&net, 5);
    const char *id = net_id(ABC, C, 0, -1, A, -1);
    bool ready = written(A, id, "one");
    for (int i = 0; i < 2; i++) {
        (void)net_ask(&net, B, CLUSTER_READ, id, NULL);
        net_settle(&net, true);
    }
    net_pass(&net, 200, true);
    net_drop(&net, "discard", -1, -1);
    net_drop(&net, "release", B, C);
    ready &= net_owns(&net, B, id) && written(B, id, "two");
    net_dump(&net, B, id);
    net_settle(&net, true);
    ready &= net_idle(&net, B, id);
    return ended(!ready || strcmp(net_read(&net, B, id), "two") != 0);
}

/* B holds x for A, which has written it again and persisted that; B has heard of neither. Then B
 * wants to be rid of its copy. A store without conditional writes. */
static bool written_by_its_holder(uint64_t broken)
{
    net_init(&net, 3, 1, broken);
    net.unconditional = true;
    net_start(&net, 5);
    const char *id = net_id(ABC, B, 0, -1, A, B);
    bool ready = written(A, id, "one");
    net_drop(&net, "backup", A, B);
    net_drop(&net, "discard", -1, B);
    struct net_request *write = net_ask(&net, A, CLUSTER_WRITE, id, "two");
    net_dump(&net, A, id);
    net_settle(&net, true);
    ready &= net_answered(write, STORE_DONE, NULL) &&
             strcmp(net_stored(&net, id)->value.text, "two") == 0;
    if (broken & CLUSTER_BREAK(CLUSTER_R8_OWNER))
        net_put_copy(&net, B, id);
    net_pass(&net, 3 * TIMEOUT_MS, true);
    return ended(!ready || strcmp(net_stored(&net, id)->value.text, "two") != 0);
}

/* A deletes x, persists that and is gone, before B, which holds the version before, has heard of
 * it: B claims x, which nobody owns, and asks the warehouse what has become of it. */
static bool deleted_behind_a_holder(uint64_t broken)
{
    net_init(&net, 3, 1, broken);
    net_start(&net, 5);
    const char *id = net_id(ABC, B, 0, -1, A, B);
    bool ready = written(A, id, "one");
    net_drop(&net, "backup", A, B);
    net_drop(&net, "discard", -1, B);
    struct net_request *deletes = net_ask(&net, A, CLUSTER_DELETE, id, NULL);
    net_dump(&net, A, id);
    net_settle(&net, true);
    ready &= net_answered(deletes, STORE_DONE, NULL) &&
             cluster_copy_held(net.nodes[B].cluster, slice_of_string(id), NULL);
    net_crash(&net, A);
    net_view(&net, B, 6, ABC & ~(1U << A));
    net_view(&net, C, 6, ABC & ~(1U << A));
    net_pass(&net, 3 * TIMEOUT_MS, true);
    return ended(!ready || strcmp(net_read(&net, C, id), "") != 0);
}

#define X(rule) CLUSTER_BREAK(CLUSTER_##rule)
static const struct {
    const char *name;
    bool (*scenario)(uint64_t broken);
    uint64_t broken;
} cases[] = {
    {"report of a former life", report_of_a_former_life, X(R1_INCARNATION)},
    {"owned meanwhile", owned_meanwhile, X(R7_COMPLETE)},
    {"written by its holder", written_by_its_holder, X(R8_OWNER)},
    {"deleted behind a holder", deleted_behind_a_holder, X(R10_TOMBSTONE)},
    {"PUT after the lease", put_after_lease, X(R11_PUT)},
    {"write after the lease", write_after_lease, X(R11_EXECUTE)},
    {"unheard", unheard, X(R12_HEAR)},
};
enum { CASES = sizeof(cases) / sizeof(cases[0]) };

START_TEST(the_rule_prevents_it)
{
    ck_assert_msg(!cases[_i].scenario(0), "%s: harm in spite of the rule", cases[_i].name);
}
END_TEST

START_TEST(without_the_rule_it_happens)
{
    ck_assert_msg(cases[_i].scenario(cases[_i].broken), "%s: the broken rule does not matter",
        cases[_i].name);
}
END_TEST

/* ---- is there one for each? ------------------------------------------------------------------ */

static char *text_of(const char *variable)
{
    static char text[1 << 17];
    const char *path = getenv(variable);
    FILE *file = path ? fopen(path, "r") : NULL;
    ck_assert_msg(file != NULL, "%s: no such file (run by meson test)", variable);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return text;
}

static bool begins_a_line(const char *text, const char *name)
{
    size_t size = strlen(name);
    for (const char *at = strstr(text, name); at; at = strstr(at + 1, name)) {
        if ((at == text || at[-1] == '\n') && at[size] == ' ')
            return true;
    }
    return false;
}

/* In test/sim/broken.txt, here, or as X(NAME) in the table of a test beside this one. */
START_TEST(every_rule_is_broken_somewhere)
{
    static const char *const names[] = {
#define NAME(name, rule, text) #name,
        CLUSTER_RULES(NAME)
#undef NAME
    };
    for (unsigned rule = 0; rule < CLUSTER_RULE_COUNT; rule++) {
        bool found = begins_a_line(text_of("SIM_BROKEN"), names[rule]);
        for (unsigned i = 0; i < CASES && !found; i++)
            found = (cases[i].broken & CLUSTER_BREAK(rule)) != 0;
        char mark[64];
        snprintf(mark, sizeof(mark), "X(%s)", names[rule]);
        found = found || strstr(text_of("FLAWS_TEST"), mark);
        ck_assert_msg(found, "nothing shows that %s matters", names[rule]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broken rules");
    TCase *tcase = tcase_create("broken");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, the_rule_prevents_it, 0, CASES);
    tcase_add_loop_test(tcase, without_the_rule_it_happens, 0, CASES);
    tcase_add_test(tcase, every_rule_is_broken_somewhere);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
