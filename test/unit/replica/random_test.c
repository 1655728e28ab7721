/* Members that come, go, write, and take ids over, with messages lost, repeated and in any order;
 * checked at every step: a strong read never shows less than what was acknowledged. At the end all
 * show the same.
 *
 * Of ownership, what the cluster's core keeps is modelled: an id is granted when every member has
 * installed the view; grants grow; what is held survives its owner, anything else does not. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "net.h"
#include "suite.h"

enum { IDS = 4, STEPS = 3000, SEEDS = 150 };

/* One id. Numbers are what values say; they grow with each write. */
static struct object {
    char id[8];
    int owner; /* -1: none */
    uint64_t owner_incarnation, grant, seq;
    uint64_t number; /* the last one written */
    uint64_t newest; /* of the owner's value */
    struct version newest_version;
    bool held;     /* that one is */
    uint64_t kept; /* what survives, and its version */
    struct version kept_version;
    uint64_t acknowledged; /* the highest number */
    struct {
        struct version version;
        uint64_t number;
    } writes[STEPS];
    unsigned writes_count;
} objects[IDS];

static struct net net;
static uint64_t random_state, installed[NET_NODES], grants;

static uint64_t below(uint64_t limit)
{
    random_state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = random_state;
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (z ^ z >> 31) % limit;
}

static bool is_up(int node)
{
    return net.nodes[node].incarnation != 0;
}

static bool is_owner(const struct object *object)
{
    return object->owner >= 0 && net.nodes[object->owner].incarnation == object->owner_incarnation;
}

static bool owns(struct net_node *node, struct slice id, struct cluster_epoch epoch)
{
    for (int i = 0; i < IDS; i++)
        if (slice_equal(id, slice_of_string(objects[i].id)))
            return is_owner(&objects[i]) && objects[i].owner == node->number &&
                   objects[i].grant == epoch.view;
    return false;
}

static void acknowledge(struct object *object, struct version version)
{
    for (unsigned i = 0; i < object->writes_count; i++)
        if (version_compare(object->writes[i].version, version) <= 0 &&
            object->writes[i].number > object->acknowledged)
            object->acknowledged = object->writes[i].number;
}

static void on_reached(struct net_node *node, struct slice id, struct version version)
{
    for (int i = 0; i < IDS; i++) {
        struct object *object = &objects[i];
        if (slice_equal(id, slice_of_string(object->id)) && is_owner(object) &&
            object->owner == node->number && version.view == object->grant)
            acknowledge(object, version);
    }
}

static bool all_installed(void)
{
    for (int i = 0; i < NET_NODES; i++)
        if (is_up(i) && installed[i] != net.view)
            return false;
    return true;
}

static void install(int node)
{
    if (is_up(node)) {
        net_install(&net, node);
        installed[node] = net.view;
    }
}

static void note_write(struct object *object)
{
    object->writes[object->writes_count].version = object->newest_version;
    object->writes[object->writes_count++].number = object->newest;
}

static void keep_newest(struct object *object)
{
    object->held = true;
    object->kept = object->newest;
    object->kept_version = object->newest_version;
}

static void write(struct object *object)
{
    const bool held = below(2) == 0;
    object->newest = ++object->number;
    object->newest_version = net_version(object->grant, ++object->seq);
    object->held = false;
    note_write(object);
    if (held)
        keep_newest(object);
    const int others = net_write(
        &net, object->owner, object->id, object->grant, object->seq, object->newest, held);
    ck_assert_int_ge(others, 0);
    if (others == 0 && held)
        acknowledge(object, object->newest_version);
}

static void hold(struct object *object)
{
    keep_newest(object);
    if (!net_held(&net, object->owner, object->id, object->newest_version.view,
            object->newest_version.seq))
        acknowledge(object, object->newest_version);
}

/* The new owner loads what was kept, and tells it, unless it knows that others know. */
static void claim(struct object *object, int node)
{
    object->owner = node;
    object->owner_incarnation = net.nodes[node].incarnation;
    object->grant = ++grants + 1000;
    object->seq = 0;
    object->newest = object->kept;
    object->newest_version = object->kept_version;
    object->held = true;
    if (object->kept == 0 ||
        replica_knows(net.nodes[node].replica, slice_of_string(object->id), object->kept_version))
        return;
    uint8_t bytes[ETF_UINT64_BYTES];
    const struct value value = {NULL, bytes, (size_t)(etf_put_uint64(bytes, object->kept) - bytes)};
    ck_assert_int_ge(replica_written(net.nodes[node].replica, slice_of_string(object->id),
                         (struct cluster_epoch){object->grant, 1}, object->kept_version, &value,
                         REPLICA_IS_HELD, net.now_ms),
        0);
}

static void use(struct object *object)
{
    const int node = (int)below(NET_NODES);
    if (is_owner(object)) {
        if (!object->held && below(2) == 0)
            hold(object);
        else if (below(4) > 0)
            write(object);
        else if (object->held)
            object->owner = -1; /* released, whatever was acknowledged */
    } else if (is_up(node) && all_installed()) {
        claim(object, node);
    }
}

static void check(void)
{
    for (int node = 0; node < NET_NODES; node++) {
        if (!is_up(node))
            continue;
        for (int i = 0; i < IDS; i++) {
            if (is_owner(&objects[i]) && objects[i].owner == node)
                continue; /* it reads its store */
            const int64_t seen = net_read(&net, node, objects[i].id);
            if (seen >= 0)
                ck_assert_int_ge(seen, (int64_t)objects[i].acknowledged);
        }
    }
}

static void come_or_go(void)
{
    const int node = (int)below(NET_NODES);
    if (is_up(node) && below(3) > 0)
        return;
    if (is_up(node))
        net_down(&net, node);
    else
        net_up(&net, node);
}

static void one_message(void)
{
    const int from = (int)below(NET_NODES + 1) - 1, to = (int)below(NET_NODES + 1) - 1;
    const int kind = below(3) == 0 ? (int)below(REPLICA_KINDS) : -1;
    switch (below(12)) {
    case 0:
        (void)net_drop(&net, kind, from, to);
        break;
    case 1:
        (void)net_repeat(&net, kind, from, to);
        break;
    default:
        (void)net_deliver(&net, kind, from, to);
        break;
    }
}

static void step(void)
{
    const uint64_t what = below(100);
    const int node = (int)below(NET_NODES);
    if (what < 20)
        use(&objects[below(IDS)]);
    else if (what < 22)
        come_or_go();
    else if (what < 32)
        install(node);
    else if (what < 45 && is_up(node))
        (void)replica_advance(
            net.nodes[node].replica, net.now_ms += below(40), 1 + (uint32_t)below(5));
    else
        one_message();
}

static void live(uint64_t seed)
{
    random_state = seed;
    grants = 0;
    net_init(&net, true, seed % 5 == 0 ? 1400 : 0);
    net.on_reached = on_reached;
    net.owns = owns;
    for (int i = 0; i < IDS; i++) {
        memset(&objects[i], 0, sizeof(objects[i]));
        snprintf(objects[i].id, sizeof(objects[i].id), "r:%d", i);
        objects[i].owner = -1;
    }
    for (int i = 0; i < NET_NODES - 1; i++)
        net_up(&net, i);
    for (int i = 0; i < NET_NODES; i++)
        install(i);
    for (int i = 0; i < STEPS; i++) {
        step();
        check();
    }
    for (int i = 0; i < NET_NODES; i++)
        install(i);
    for (int i = 0; i < IDS; i++)
        if (is_owner(&objects[i]) && !objects[i].held)
            hold(&objects[i]);
    net_pass(&net, 20000);
    for (int i = 0; i < IDS; i++) {
        int64_t all = is_owner(&objects[i]) ? (int64_t)objects[i].newest : -1;
        for (int node = 0; node < NET_NODES; node++) {
            if (!is_up(node) || (is_owner(&objects[i]) && objects[i].owner == node))
                continue;
            const int64_t seen = net_read(&net, node, objects[i].id);
            ck_assert(seen < 0 || all < 0 || seen == all);
            all = seen >= 0 ? seen : all;
        }
    }
    for (int node = 0; node < NET_NODES; node++)
        if (is_up(node))
            ck_assert(net_readable(&net, node));
    net_end(&net);
}

START_TEST(nothing_older_than_acknowledged)
{
    live((uint64_t)_i + 1);
}
END_TEST

int main(void)
{
    /* REPLICA_SEEDS: so many more of them than usual, for a longer search. */
    const char *more = getenv("REPLICA_SEEDS");
    const int seeds = SEEDS + (more != NULL ? atoi(more) : 0);
    Suite *suite = suite_create("replica random");
    TCase *tcase = tcase_create("random");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, nothing_older_than_acknowledged, 0, seeds);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
