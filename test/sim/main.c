/* scripts/sim: many seeds on all cores, or one seed to look at. */
#include <getopt.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

enum { PROCESSES_LIMIT = 64, STATS = sizeof(struct stats) / sizeof(uint64_t) };

/* Between processes. */
struct shared {
    atomic_ullong next, failed, stats[STATS];
    atomic_ullong current[PROCESSES_LIMIT]; /* the seed at work, for when it crashes */
};

struct run {
    struct sim_options options;
    uint64_t first, count;
    uint32_t processes;
    bool until_broken, quiet;
    const char *rule;
};

static const char *const rule_names[] = {
#define NAME(name, rule, text) #name,
    CLUSTER_RULES(NAME)
#undef NAME
#define NAME(name, text) #name,
        SIM_RULES(NAME)
#undef NAME
#define NAME(name, text) #name,
            REPLICA_RULES(NAME)
#undef NAME
};
static const char *const rule_texts[] = {
#define TEXT(name, rule, text) text,
    CLUSTER_RULES(TEXT)
#undef TEXT
#define TEXT(name, text) text,
        SIM_RULES(TEXT)
#undef TEXT
#define TEXT(name, text) text,
            REPLICA_RULES(TEXT)
#undef TEXT
};
enum { RULES = sizeof(rule_names) / sizeof(rule_names[0]) };

static void usage(void)
{
    fputs("usage: scripts/sim [options]; scripts/sim --help tells them\n", stderr);
    exit(2);
}

static void print_rules(void)
{
    for (int i = 0; i < RULES; i++)
        printf("%-16s %s\n", rule_names[i], rule_texts[i]);
    exit(0);
}

static void break_rule(struct sim_options *options, const char *name)
{
    size_t size = strlen(name);
    bool found = false;
    for (int i = 0; i < RULES; i++) {
        if (strncmp(rule_names[i], name, size) != 0 ||
            (rule_names[i][size] != '\0' && rule_names[i][size] != '_'))
            continue;
        found = true;
        if (i < CLUSTER_RULE_COUNT)
            options->broken |= CLUSTER_BREAK(i);
        else if (i < CLUSTER_RULE_COUNT + SIM_RULE_COUNT)
            options->sim_broken |= 1U << (i - CLUSTER_RULE_COUNT);
        else
            options->replica_broken |= 1U << (i - CLUSTER_RULE_COUNT - SIM_RULE_COUNT);
    }
    if (!found) {
        fprintf(stderr, "sim: there is no rule %s; --rules lists them\n", name);
        exit(2);
    }
}

static uint64_t number(const char *text, uint64_t low, uint64_t high)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*end != '\0' || end == text || value < low || value > high) {
        fprintf(stderr, "sim: \"%s\" is not a number from %llu to %llu\n", text,
            (unsigned long long)low, (unsigned long long)high);
        exit(2);
    }
    return value;
}

static struct run read_options(int count, char **arguments)
{
    enum { SEEDS = 1, SEED, NODES_OPTION, STEPS, BREAK, UNTIL, TRACE, RULES_OPTION, JOBS };
    static const struct option known[] = {{"seeds", 1, NULL, SEEDS}, {"seed", 1, NULL, SEED},
        {"nodes", 1, NULL, NODES_OPTION}, {"steps", 1, NULL, STEPS}, {"break", 1, NULL, BREAK},
        {"until-broken", 0, NULL, UNTIL}, {"trace", 0, NULL, TRACE},
        {"rules", 0, NULL, RULES_OPTION}, {"processes", 1, NULL, JOBS}, {NULL, 0, NULL, 0}};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct run run = {.options = {.steps = 6000},
        .first = 1,
        .processes = cores < 1                 ? 1
                     : cores > PROCESSES_LIMIT ? PROCESSES_LIMIT
                                               : (uint32_t)cores};
    bool one = false;
    int option;
    while ((option = getopt_long(count, arguments, "", known, NULL)) != -1) {
        switch (option) {
        case SEEDS:
            run.count = number(optarg, 1, UINT32_MAX);
            break;
        case SEED:
            run.first = number(optarg, 0, UINT64_MAX);
            one = true;
            break;
        case NODES_OPTION:
            run.options.nodes = (uint32_t)number(optarg, 2, NODES);
            break;
        case STEPS:
            run.options.steps = (uint32_t)number(optarg, 1, 10000000);
            break;
        case BREAK:
            break_rule(&run.options, optarg);
            run.rule = optarg;
            break;
        case UNTIL:
            run.until_broken = true;
            break;
        case TRACE:
            run.options.trace = true;
            break;
        case RULES_OPTION:
            print_rules();
            break;
        case JOBS:
            run.processes = (uint32_t)number(optarg, 1, PROCESSES_LIMIT);
            break;
        default:
            usage();
        }
    }
    if (optind != count)
        usage();
    if (run.count == 0)
        run.count = one ? 1 : 500;
    return run;
}

/* ---- one seed
 * ------------------------------------------------------------------------------------
 */

static void print_replay(const struct run *run, uint64_t seed)
{
    printf("  replay: scripts/sim --seed %llu --steps %u", (unsigned long long)seed,
        run->options.steps);
    if (run->options.nodes != 0)
        printf(" --nodes %u", run->options.nodes);
    if (run->rule)
        printf(" --break %s", run->rule);
    printf(" --trace\n");
    fflush(stdout);
}

static void add(struct shared *shared, const struct stats *stats)
{
    const uint64_t *numbers = (const uint64_t *)(const void *)stats;
    for (size_t i = 0; i < STATS; i++)
        atomic_fetch_add(&shared->stats[i], numbers[i]);
}

static bool run_seed(const struct run *run, struct shared *shared, uint64_t seed)
{
    struct sim_options options = run->options;
    options.seed = seed;
    struct world *world = world_create(&options);
    world_run(world);
    bool failed = world->failed;
    world->stats.seeds = 1;
    add(shared, &world->stats);
    if (options.trace)
        check_print(world, stdout), clients_print(world, stdout);
    if (failed) {
        printf("seed %llu (%u nodes, %u ids, %u backups%s%s): %s\n", (unsigned long long)seed,
            world->plan.nodes, world->plan.ids, world->plan.backups,
            world->plan.versioned_names ? ", versioned names" : "",
            world->plan.losses_overlap ? ", losses overlap" : "", world->failure);
        print_replay(run, seed);
    }
    world_destroy(world);
    return !failed;
}

static void work(const struct run *run, struct shared *shared, uint32_t process)
{
    for (;;) {
        uint64_t n = atomic_fetch_add(&shared->next, 1);
        if (n >= run->count || (run->until_broken && atomic_load(&shared->failed) > 0))
            return;
        atomic_store(&shared->current[process], run->first + n);
        if (!run_seed(run, shared, run->first + n))
            atomic_fetch_add(&shared->failed, 1);
    }
}

static pid_t start(const struct run *run, struct shared *shared, uint32_t process)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        work(run, shared, process);
        exit(0); /* not _exit: leaks are looked for */
    }
    return pid;
}

/* A process that crashes is a failed seed too; another one goes on. */
static void run_all(const struct run *run, struct shared *shared)
{
    pid_t pids[PROCESSES_LIMIT] = {0};
    uint32_t running = 0;
    for (uint32_t i = 0; i < run->processes; i++) {
        pids[i] = start(run, shared, i);
        running += pids[i] > 0;
    }
    while (running > 0) {
        int status;
        pid_t ended = wait(&status);
        uint32_t i = 0;
        while (i < run->processes && pids[i] != ended)
            i++;
        if (i == run->processes)
            continue;
        running--;
        pids[i] = 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        atomic_fetch_add(&shared->failed, 1);
        uint64_t seed = atomic_load(&shared->current[i]);
        printf("seed %llu: the process died (%s %d)\n", (unsigned long long)seed,
            WIFSIGNALED(status) ? "signal" : "exit status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        print_replay(run, seed);
        if (atomic_load(&shared->next) < run->count && !run->until_broken) {
            pids[i] = start(run, shared, i);
            running += pids[i] > 0;
        }
    }
}

static void print_stats(const struct run *run, struct shared *shared, double seconds)
{
    struct stats s;
    uint64_t *numbers = (uint64_t *)(void *)&s;
    for (size_t i = 0; i < STATS; i++)
        numbers[i] = atomic_load(&shared->stats[i]);
#define N(name) (unsigned long long)s.name
    printf("%llu seeds in %.1f s: %llu events; %llu requests, %llu answered (%llu of unknown "
           "outcome); %llu views, %llu joins, %llu drains, %llu nodes lost (%llu while not all was "
           "covered), %llu evictions, %llu resets of etcd; %llu grants, %llu take-overs, %llu "
           "hand-offs; %llu dumps, %llu conflicts, %llu tombstones removed, %llu copies set aside; "
           "%llu reads from replicas; %llu histories not decided\n",
        N(seeds), seconds, N(events), N(operations), N(answered), N(unknown), N(views), N(joins),
        N(drains), N(losses), N(overlapping), N(evictions), N(resets), N(grants), N(takeovers),
        N(handoffs), N(dumps), N(conflicts), N(removed), N(set_aside), N(replicated), N(undecided));
#undef N
    if (run->rule)
        printf("with %s broken: ", run->rule);
    printf("%llu of %llu seeds failed\n", (unsigned long long)atomic_load(&shared->failed),
        (unsigned long long)s.seeds);
}

int main(int count, char **arguments)
{
    struct run run = read_options(count, arguments);
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("sim: mmap");
        return 2;
    }
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    if (run.options.trace || run.count == 1) {
        run.processes = 1;
        work(&run, shared, 0);
    } else {
        run_all(&run, shared);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    print_stats(&run, shared,
        (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    bool failed = atomic_load(&shared->failed) > 0;
    return failed != run.until_broken;
}
