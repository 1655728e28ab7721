/* See flaws.h: what scenarios are made of. */
#include <string.h>

#include "flaws.h"

struct net net;

bool ended(bool harm)
{
    harm |= net.bad > 0;
    net_end(&net);
    return harm;
}

/* A member that is to join counts its incarnation before the others see it. */
void joins(int node, uint64_t view, unsigned members)
{
    net.nodes[node].incarnation++;
    for (int i = 0; i < (int)net.count; i++) {
        if (i != node && members & 1U << i)
            net_view(&net, i, view, members);
    }
    net.nodes[node].incarnation--;
    net_join(&net, node, view, members);
}

/* All nodes up join the first view, those of `members`. */
void start(uint32_t count, uint32_t backups, uint64_t broken, unsigned members)
{
    net_init(&net, count, backups, broken);
    net_create_clusters(&net);
    for (uint32_t i = 0; i < count; i++)
        net.nodes[i].incarnation += (members >> i) & 1;
    for (uint32_t i = 0; i < count; i++) {
        if (!(members >> i & 1))
            continue;
        net.nodes[i].incarnation--;
        net_join(&net, (int)i, 5, members);
    }
    net_settle(&net, true);
}

void views(uint64_t number, unsigned members)
{
    for (int i = 0; i < (int)net.count; i++) {
        if (members & 1U << i)
            net_view(&net, i, number, members);
    }
}

bool written(int node, const char *id, const char *text)
{
    struct net_request *write = net_ask(&net, node, CLUSTER_WRITE, id, text);
    net_settle(&net, true);
    return net_answered(write, STORE_DONE, NULL);
}

bool reads(int node, const char *id, const char *text)
{
    return strcmp(net_read(&net, node, id), text) == 0;
}
