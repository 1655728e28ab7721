/* Each allocation fails once: what cannot be done is refused or comes later, nothing is lost that
 * was told, nothing leaks, and no record is left alive. */
#include <check.h>

#include "heap_fault.h"
#include "members.h"
#include "suite.h"

static struct world world;

/* Every path of the room once. Returns false when the members could not even be made. */
static bool run(void)
{
    world_init(&world, 2, 1);
    world.handoff_uses = 3;
    world_keep(&world, "x", "old");
    if (!world_start(&world))
        return false;
    struct ask *asks[32];
    int count = 0;
    const char *ids[] = {"x", "y", "z"};
    for (int i = 0; i < 3; i++) {
        asks[count++] = world_ask(&world, 0, CLUSTER_READ, ids[i], NULL, STORE_ACK_MEMORY);
        asks[count++] = world_ask(&world, 0, CLUSTER_WRITE, ids[i], "one", STORE_ACK_BACKUP);
        asks[count++] = world_ask(&world, 1, CLUSTER_READ, ids[i], NULL, STORE_ACK_MEMORY);
        asks[count++] = world_ask_fast(&world, 0, CLUSTER_WRITE, ids[i], "two", STORE_ACK_JOURNAL);
    }
    world_pass(&world, 500);
    for (int i = 0; i < 4; i++) { /* it moves */
        asks[count++] = world_ask(&world, 1, CLUSTER_READ, "y", NULL, STORE_ACK_MEMORY);
        world_settle(&world);
    }
    world_pass(&world, 500);
    asks[count++] = world_ask(&world, 0, CLUSTER_PERSIST, "x", NULL, STORE_ACK_MEMORY);
    asks[count++] = world_ask(&world, 0, CLUSTER_DELETE, "z", NULL, STORE_ACK_BACKUP);
    world_settle(&world);
    member_lose(&world, 0);
    world_view(&world);
    asks[count++] = world_ask(&world, 0, CLUSTER_WRITE, "x", "three", STORE_ACK_BACKUP);
    world_pass(&world, 6000);
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(asks[i]->answers, 1);
    world_pass(&world, 30000); /* all is dumped and leaves */
    for (int m = 0; m < 2; m++) {
        const struct cluster_metrics *metrics =
            cluster_metrics(world.members[m].cluster, world.now_ms);
        ck_assert_uint_eq(metrics->owned, 0);
        ck_assert_uint_eq(metrics->copies, 0);
        ck_assert_uint_eq(
            member_live_records(&world, m, NULL), member_metric(&world, m, "records_left"));
        ck_assert_uint_eq(member_metric(&world, m, "records_kept"), 0);
        ck_assert_uint_eq(member_metric(&world, m, "unbacked"), 0);
    }
    if (is_answered(asks[count - 1], STORE_DONE, NULL))
        ck_assert_str_eq(world_kept(&world, "x")->text, "three");
    return true;
}

START_TEST(every_allocation_may_fail)
{
    for (unsigned n = 1;; n++) {
        heap_fault_start(n);
        run();
        world_end(&world);
        if (!heap_fault_stop())
            break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("holdings/memory");
    TCase *tcase = tcase_create("memory");
    tcase_set_timeout(tcase, 170);
    tcase_add_test(tcase, every_allocation_may_fail);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
