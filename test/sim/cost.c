/* scripts/sim --cost: what a change of the members costs, and how long claims wait for it.
 *
 * The core as servers run it (4096 slots, their retries) of N members that own M objects each, a
 * share of them dirty and so with a copy at another member. One joins, one drains and leaves, one
 * dies. Time is simulated, but the time of the CPU is measured (cost.h), so the figures differ from
 * run to run as those of any measurement do. Nothing else about them is assumed but the link and
 * the numbers in cost.h. Not charged: sockets, the store, etcd; all hear of a view at once. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"

/* ---- what is waited for ---- */

/* Has everybody this view, and all slots open? Notes when that was so first. */
static bool are_open(void)
{
    bool all = true;
    for (uint16_t i = 0; i < cost.members_count; i++) {
        struct member *member = &cost.members[i];
        if (!member->up || member->slots_open_ns != 0)
            continue;
        const struct cluster_metrics *metrics = cluster_metrics(member->core, cost_now_ms());
        if (cluster_view_number(member->core) == cost.view && metrics->slots_open == metrics->slots)
            member->slots_open_ns = cost.now_ns;
        else
            all = false;
    }
    return all;
}

static bool are_settled(void)
{
    for (uint16_t i = 0; i < cost.members_count; i++) {
        const struct member *member = &cost.members[i];
        if (!member->up)
            continue;
        const struct cluster_metrics *metrics = cluster_metrics(member->core, cost_now_ms());
        if (metrics->unbacked > 0 || metrics->waiting > 0)
            return false;
    }
    return cost.waiting == 0 && cost.orphans == 0;
}

/* All slots are open, all requests answered, all that is dirty has an owner and its copies. */
static void settle(void)
{
    uint64_t began_ns = cost.now_ns;
    bool open = false;
    while (!open || !are_settled()) {
        if (cost.now_ns - began_ns > PATIENCE_MS * MS)
            cost_fail("a change does not come to its end");
        cost_run_until(cost.now_ns + (open ? MS : MS / 4));
        open = open || are_open();
    }
}

/* `member` owns nothing any more, and nobody waits. false: it does not get there. */
static bool settle_drain(const struct member *member)
{
    uint64_t began_ns = cost.now_ns;
    while (cluster_state(member->core) != CLUSTER_DRAINED || !are_settled()) {
        if (cost.now_ns - began_ns > DRAIN_MS * MS)
            return false;
        cost_run_until(cost.now_ns + MS);
    }
    return true;
}

static void settle_view(void)
{
    for (uint16_t i = 0; i < cost.members_count; i++)
        cost.members[i].slots_open_ns = 0;
    settle();
}

static void view_tell(const struct member *joins)
{
    cost.view++;
    for (uint16_t i = 0; i < cost.members_count; i++) {
        struct member *member = &cost.members[i];
        if (member->up)
            cost_tell(member, member == joins ? ITEM_JOIN : ITEM_VIEW);
    }
}

/* ---- objects and probes ---- */

static uint32_t objects_new(uint32_t count)
{
    uint32_t first = cost.objects_count;
    while (first + count > cost.objects_capacity) {
        cost.objects_capacity = cost.objects_capacity ? cost.objects_capacity * 2 : 4096;
        cost.objects =
            cost_need(realloc(cost.objects, cost.objects_capacity * sizeof(struct object)));
    }
    cost.objects_count += count;
    for (uint32_t i = first; i < cost.objects_count; i++)
        cost.objects[i] = (struct object){.owner = NOBODY};
    return first;
}

static void ask(struct member *member, struct probe *probe, uint32_t object, bool write)
{
    *probe = (struct probe){.object = object, .start_ns = cost.now_ns};
    probe->request.kind = write ? CLUSTER_WRITE : CLUSTER_READ;
    probe->request.id = cost_id(object, probe->id);
    if (write)
        probe->request.value = cost.value;
    cost_ask(member, &probe->request);
}

/* `count` new objects for each of these members, claimed by it; the first is number `first`. */
static uint32_t populate(struct member *members, uint16_t members_count, uint32_t count)
{
    uint32_t first = objects_new(count * members_count);
    struct probe *probes = cost_need(calloc((size_t)AT_ONCE * members_count, sizeof(*probes)));
    for (uint32_t done = 0; done < count; done += AT_ONCE) {
        for (uint32_t i = done; i < count && i < done + AT_ONCE; i++) {
            for (uint16_t m = 0; m < members_count; m++)
                ask(&members[m], &probes[m * AT_ONCE + (i - done)], first + m * count + i,
                    i % 100 < cost.percent_dirty);
        }
        while (cost.waiting > 0)
            cost_run_until(cost.now_ns + MS / 4);
    }
    free(probes);
    settle();
    return first;
}

/* As if the warehouse had them, and they were not used any more. */
static void forget(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        struct object *object = &cost.objects[i];
        uint8_t bytes[ID_SIZE];
        struct slice id = cost_id(i, bytes);
        if (object->owner == NOBODY)
            continue;
        struct member *member = &cost.members[object->owner];
        uint64_t from_ns = cost_cpu_ns();
        cluster_object_stored(member->core, id,
            (struct version){object->epoch.view, object->epoch.counter, object->seq},
            cost_now_ms());
        cluster_object_released(member->core, id, cost_now_ms());
        cost_charge(member, from_ns);
        object->owner = NOBODY;
    }
    cost_run_until(cost.now_ns + 10 * MS);
    settle();
}

/* ---- one change ---- */

enum kind { STEADY, JOIN, LEAVE, DIE, KINDS };
static const char *const kind_names[] = {"none", "join", "drain, leave", "death"};
enum probe_kind { UNOWNED, CLEAN, DIRTY, PROBE_KINDS };

struct change {
    enum kind kind;
    uint32_t nodes, objects; /* that stay; of each */
    uint64_t homes, owners, given_up;
    uint64_t stays; /* what a member still owned that did not come to the end of its drain */
    uint64_t messages, messages_busiest, bytes, bytes_busiest, cpu_ns, cpu_busiest_ns;
    uint64_t drained_ns, open_ns, settled_ns;
    uint64_t median_ns[PROBE_KINDS], longest_ns[PROBE_KINDS];
};

static struct probe *unanswered;

struct before {
    uint16_t *homes, *owners;
    uint32_t count;
};

static uint16_t member_named(struct slice name)
{
    for (uint16_t i = 0; i < cost.members_count; i++) {
        if (slice_equal_string(name, cost.members[i].name))
            return i;
    }
    return NOBODY;
}

static void homes_of(uint16_t *homes, uint32_t count)
{
    const struct cluster *core = cost.members[0].core;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t bytes[ID_SIZE];
        homes[i] = member_named(cluster_home(core, cost_id(i, bytes)));
    }
}

static struct before look(void)
{
    struct before before = {.count = cost.objects_count};
    before.homes = cost_need(malloc(before.count * sizeof(uint16_t) + 1));
    before.owners = cost_need(malloc(before.count * sizeof(uint16_t) + 1));
    homes_of(before.homes, before.count);
    for (uint32_t i = 0; i < before.count; i++)
        before.owners[i] = cost.objects[i].owner;
    return before;
}

static void compare(struct before *before, struct change *change)
{
    uint16_t *homes = cost_need(malloc(before->count * sizeof(uint16_t) + 1));
    homes_of(homes, before->count);
    for (uint32_t i = 0; i < before->count; i++) {
        uint16_t owner = cost.objects[i].owner;
        uint8_t bytes[ID_SIZE];
        if (owner != NOBODY && !cluster_owns(cost.members[owner].core, cost_id(i, bytes), NULL))
            cost_fail("an owner does not know that it is one");
        if (before->owners[i] == NOBODY)
            continue;
        change->homes += homes[i] != before->homes[i];
        change->owners += owner != NOBODY && owner != before->owners[i];
        change->given_up += owner == NOBODY;
    }
    free(homes);
    free(before->homes);
    free(before->owners);
}

static void count_begin(void)
{
    for (uint16_t i = 0; i < cost.members_count; i++) {
        struct member *member = &cost.members[i];
        member->cpu_ns = member->messages = member->bytes = member->slots_open_ns = 0;
    }
}

static void most(uint64_t *all, uint64_t *busiest, uint64_t one)
{
    *all += one;
    if (one > *busiest)
        *busiest = one;
}

/* Each message was counted where it was sent and where it arrived. */
static void count_end(struct change *change)
{
    for (uint16_t i = 0; i < cost.members_count; i++) {
        const struct member *member = &cost.members[i];
        most(&change->messages, &change->messages_busiest, member->messages);
        most(&change->bytes, &change->bytes_busiest, member->bytes);
        most(&change->cpu_ns, &change->cpu_busiest_ns, member->cpu_ns);
    }
    change->messages /= 2;
    change->bytes /= 2;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void probes_end(
    const struct probe *probes, uint32_t count, struct change *change, enum probe_kind kind)
{
    uint64_t *waits = cost_need(malloc((count + 1) * sizeof(uint64_t)));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end_ns = probes[i].end_ns != 0 ? probes[i].end_ns : cost.now_ns;
        waits[i] = end_ns - probes[i].start_ns;
    }
    qsort(waits, count, sizeof(uint64_t), compare_numbers);
    change->median_ns[kind] = count ? waits[count / 2] : 0;
    change->longest_ns[kind] = count ? waits[count - 1] : 0;
    free(waits);
}

static uint64_t owned_by(const struct member *member)
{
    uint64_t owned = 0;
    for (uint32_t i = 0; i < cost.objects_count; i++)
        owned += cost.objects[i].owner == member->index;
    return owned;
}

/* Up to PROBES reads, at once, by the members that stay: in turn. */
static uint32_t probe(
    struct probe *probes, const struct change *change, uint32_t first, uint32_t count, int dirty)
{
    uint32_t asked = 0;
    for (uint32_t i = first; i < first + count && asked < (uint32_t)PROBES; i++) {
        if (dirty >= 0 && cost.objects[i].dirty != (dirty == 1))
            continue;
        ask(&cost.members[asked % change->nodes], &probes[asked], i, false);
        asked++;
    }
    return asked;
}

static void change_start(struct change *change, struct member *last)
{
    if (change->kind == JOIN) {
        cost_member_start(last);
        view_tell(last);
    } else if (change->kind == LEAVE) {
        cost_tell(last, ITEM_DRAIN);
    } else if (change->kind == DIE) {
        for (size_t i = 0; i < last->ids_count; i++) {
            struct object *object = &cost.objects[last->ids[i]];
            if (object->owner != last->index)
                continue;
            object->owner = NOBODY;
            object->orphan = object->dirty;
            cost.orphans += object->dirty;
        }
        cost_member_end(last);
        view_tell(NULL);
    }
}

/* The member after those that stay joins with nothing, or ends with its objects, `first` and on. */
static struct change change_run(
    enum kind kind, uint32_t nodes, uint32_t objects, uint32_t first, bool probed)
{
    struct change change = {.kind = kind, .nodes = nodes, .objects = objects};
    struct member *last = &cost.members[nodes];
    struct probe *probes = cost_need(calloc((size_t)PROBES * PROBE_KINDS, sizeof(*probes)));
    uint32_t asked[PROBE_KINDS] = {0}, fresh = probed ? objects_new(PROBES) : 0;
    struct before before = look();
    count_begin();
    uint64_t began_ns = cost.now_ns;
    change_start(&change, last);
    if (probed)
        asked[UNOWNED] = probe(probes, &change, fresh, PROBES, -1);
    for (int i = 0; probed && (kind == LEAVE || kind == DIE) && i < 2; i++)
        asked[CLEAN + i] = probe(probes + (CLEAN + i) * PROBES, &change, first, objects, i);
    uint64_t view_ns = began_ns;
    if (kind != LEAVE) {
        settle();
    } else if (!settle_drain(last)) {
        change.stays = owned_by(last);
    } else {
        view_ns = cost.now_ns;
        change.drained_ns = view_ns - began_ns;
        if (owned_by(last) > 0)
            cost_fail("a member leaves with objects");
        cost_member_end(last);
        view_tell(NULL);
        settle_view();
    }
    count_end(&change);
    for (uint16_t i = 0; i < cost.members_count; i++) {
        const struct member *member = &cost.members[i];
        if (kind != STEADY && member->up && member->slots_open_ns > view_ns + change.open_ns)
            change.open_ns = member->slots_open_ns - view_ns;
    }
    change.settled_ns = cost.now_ns - began_ns;
    compare(&before, &change);
    for (int i = 0; i < PROBE_KINDS; i++)
        probes_end(probes + i * PROBES, asked[i], &change, (enum probe_kind)i);
    if (change.stays > 0) {
        unanswered = probes; /* some may be */
        return change;
    }
    if (probed) /* those that were nobody's are so again */
        forget(fresh, PROBES);
    free(probes);
    return change;
}

/* ---- the table ---- */

static void print_head(void)
{
    printf("| members | change | ids: another home | another owner | given up | messages | of one "
           "member | MB | of one member | CPU ms | of one member | drained, ms | slots open, ms "
           "| settled, ms | wait ms: nobody's | the leaver's, clean | dirty |\n"
           "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
}

static double ms_of(uint64_t ns)
{
    return (double)ns / (double)MS;
}

/* Counts are of the change without probes, waits of the same once more with them. */
static void print_change(const struct change *counts, const struct change *waits)
{
    static const char *const more[] = {"", " + 1", " - 1", " - 1"};
    uint32_t nodes = counts->nodes + (counts->kind == LEAVE || counts->kind == DIE);
    printf("| %u%s | %s | %llu | %llu | %llu | %llu | %llu | %.2f | %.2f | %.1f | %.1f | ", nodes,
        more[counts->kind], kind_names[counts->kind], (unsigned long long)counts->homes,
        (unsigned long long)counts->owners, (unsigned long long)counts->given_up,
        (unsigned long long)counts->messages, (unsigned long long)counts->messages_busiest,
        (double)counts->bytes / 1e6, (double)counts->bytes_busiest / 1e6, ms_of(counts->cpu_ns),
        ms_of(counts->cpu_busiest_ns));
    if (counts->stays > 0)
        printf("not in %d: %llu ids left", DRAIN_MS, (unsigned long long)counts->stays);
    else if (counts->kind == LEAVE)
        printf("%.0f", ms_of(counts->drained_ns));
    printf(" | %.2f | %.0f |", ms_of(counts->open_ns), ms_of(counts->settled_ns));
    for (int i = 0; i < PROBE_KINDS; i++) {
        if (waits->longest_ns[i] != 0)
            printf(" %.2f / %.2f |", ms_of(waits->median_ns[i]), ms_of(waits->longest_ns[i]));
        else
            printf(" |");
    }
    printf("\n");
    fflush(stdout);
}

/* ---- one size of cluster ---- */

static void world_begin(uint32_t nodes)
{
    cost.members_count = (uint16_t)(nodes + 1);
    cost.members = cost_need(calloc(cost.members_count, sizeof(struct member)));
    for (uint16_t i = 0; i < cost.members_count; i++) {
        struct member *member = &cost.members[i];
        member->index = i;
        (void)snprintf(member->name, sizeof(member->name), "brain@node%u", i);
        member->inbox_end = &member->inbox;
        member->outbox_end = &member->outbox;
        member->turn_ns = UINT64_MAX;
    }
    cost.view = 1;
    cost.now_ns = 1000 * MS;
    for (uint32_t i = 0; i < nodes; i++)
        cost_member_start(&cost.members[i]);
    for (uint32_t i = 0; i < nodes; i++)
        cost_tell(&cost.members[i], ITEM_JOIN);
    settle_view();
}

static void world_end(void)
{
    for (uint16_t i = 0; i < cost.members_count; i++) {
        if (cost.members[i].up)
            cost_member_end(&cost.members[i]);
        free(cost.members[i].ids);
    }
    free(unanswered);
    unanswered = NULL;
    cost.answered = NULL;
    cost.waiting = cost.orphans = 0;
    free(cost.members);
    free(cost.objects);
    cost.objects = NULL;
    cost_clear();
    cost.objects_count = cost.objects_capacity = 0;
}

static void ending(enum kind kind, uint32_t nodes, uint32_t objects)
{
    struct change changes[2];
    for (int probed = 0; probed < 2; probed++) {
        struct member *last = &cost.members[nodes];
        if (!last->up)
            (void)change_run(JOIN, nodes, objects, 0, false);
        uint32_t first = populate(last, 1, objects);
        changes[probed] = change_run(kind, nodes, objects, first, probed == 1);
        if (changes[probed].stays > 0) {
            print_change(&changes[probed], &changes[probed]);
            return;
        }
        forget(first, objects);
    }
    print_change(&changes[0], &changes[1]);
}

static void run(uint32_t nodes, uint32_t objects)
{
    world_begin(nodes);
    (void)populate(cost.members, (uint16_t)nodes, objects);
    struct change steady = change_run(STEADY, nodes, objects, 0, true);
    steady.messages = steady.messages_busiest = steady.bytes = steady.bytes_busiest = 0;
    steady.cpu_ns = steady.cpu_busiest_ns = 0; /* the probes' */
    print_change(&steady, &steady);
    struct change quiet = change_run(JOIN, nodes, objects, 0, false);
    (void)change_run(DIE, nodes, objects, 0, false); /* it has nothing yet */
    struct change probed = change_run(JOIN, nodes, objects, 0, true);
    print_change(&quiet, &probed);
    ending(DIE, nodes, objects);
    ending(LEAVE, nodes, objects); /* last: it may not come to its end */
    world_end();
}

static uint32_t number(const char *text, uint32_t low, uint32_t high)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end != '\0' || end == text || value < low || value > high) {
        fprintf(stderr, "sim: cost: \"%s\" is not a number from %u to %u\n", text, low, high);
        exit(2);
    }
    return (uint32_t)value;
}

int main(int count, char **arguments)
{
    static const struct option known[] = {{"nodes", 1, NULL, 'n'}, {"objects", 1, NULL, 'o'},
        {"dirty", 1, NULL, 'd'}, {NULL, 0, NULL, 0}};
    uint32_t nodes = 0, objects = 0;
    int option;
    cost.percent_dirty = 10;
    while ((option = getopt_long(count, arguments, "", known, NULL)) != -1) {
        if (option == 'n')
            nodes = number(optarg, 1, NODES_LIMIT - 1);
        else if (option == 'o')
            objects = number(optarg, 1, 10000000);
        else if (option == 'd')
            cost.percent_dirty = number(optarg, 0, 100);
        else
            option = '?';
        if (option == '?') {
            fputs("usage: scripts/sim --cost [--nodes N] [--objects M] [--dirty PERCENT]\n"
                  "  default: 1 and 3 nodes of 100000 objects each, 10 of 30000, 100 of 3000;\n"
                  "  10 % of them dirty\n",
                stderr);
            return 2;
        }
    }
    static const struct {
        uint32_t nodes, objects;
    } sizes[] = {{1, 100000}, {3, 100000}, {10, 30000}, {100, 3000}};
    uint8_t bytes[VALUE_SIZE] = {109, 0, 0, 0, VALUE_SIZE - 5}; /* a binary */
    cost.value = value_copy(slice_of(bytes, VALUE_SIZE));
    if (!cost.value.block)
        cost_fail("no memory");
    cost_clock_measure();
    print_head();
    if (nodes != 0) {
        run(nodes, objects ? objects : 10000);
    } else {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            run(sizes[i].nodes, objects ? objects : sizes[i].objects);
    }
    value_drop(&cost.value);
    return 0;
}
