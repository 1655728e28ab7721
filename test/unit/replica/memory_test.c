/* Every allocation fails in turn. What is lost for want of memory is as if a message were lost. */
#include <check.h>

#include "heap_fault.h"
#include "net.h"
#include "suite.h"

static struct net net;

static bool all_there(void)
{
    for (int i = 0; i < NET_NODES; i++)
        if (net.nodes[i].replica == NULL)
            return false;
    return true;
}

static void read_all(int64_t expected)
{
    for (int i = 1; i < 3; i++) {
        const int64_t seen = net_read(&net, i, "r:a rather long id, longer than most are");
        ck_assert(seen == expected || seen == -1);
    }
}

static void live(void)
{
    const char *id = "r:a rather long id, longer than most are";
    net_init(&net, true, 0);
    if (!all_there()) {
        net_end(&net);
        return;
    }
    net_up(&net, 0);
    net_up(&net, 1);
    net_install_all(&net);
    net_pass(&net, 300);
    int others = net_write(&net, 0, id, 5, 1, 11, true);
    ck_assert(others == 1 || others == 0 || others == BRAIN_ENOMEM);
    net_pass(&net, 300);
    net_up(&net, 2);
    net_install_all(&net);
    net_install_all(&net);
    net_pass(&net, 500);
    read_all(11);
    const int64_t before = others >= 0 ? 11 : -1;
    others = net_write(&net, 0, id, 5, 2, 22, false);
    net_pass(&net, 300);
    if (others >= 0) {
        const bool waits = net_held(&net, 0, id, 5, 2);
        net_pass(&net, 500);
        ck_assert(!waits || net.nodes[0].reached.seq == 2);
        read_all(22);
    } else {
        read_all(before);
    }
    net_down(&net, 1);
    net_install_all(&net);
    net_pass(&net, 300);
    net_end(&net);
}

START_TEST(every_allocation_fails_once)
{
    unsigned n = 1;
    for (; n < 10000; n++) {
        heap_fault_start(n);
        live();
        if (!heap_fault_stop())
            break;
    }
    ck_assert_uint_gt(n, 20);
    ck_assert_uint_lt(n, 10000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replica memory");
    TCase *tcase = tcase_create("memory");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, every_allocation_fails_once);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
