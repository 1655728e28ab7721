/* scale_load: the load of scripts/scale. Connected to all nodes of a cluster, one thread, it asks
 * for random objects at random nodes, small ones and large ones at a rate of their own, whether
 * answers come or not. A request's latency begins when it was due. Every value is compared with
 * what was stored.
 *
 *     scale_load [--option VALUE]... NODE@HOST...        epmd at ERL_EPMD_PORT
 *
 *     --cookie C
 *     --small-keys N, --small-size BYTES, --small-rate R     and the same with large
 *     --small-from N, --small-to N     only keys from N (0) up to N (all); and the same with large
 *     --reads PERCENT       of the requests are gets, the others acknowledged sets
 *     --seconds S, --warmup S
 *     --in-flight N         unanswered requests of each size and node; what is due beyond is not
 * sent
 *     --timeout S           for the answers after the end
 *     --seed N
 *     --fill 1              no rate: stores keys --from N (0) up to --to N (all) once; key k at
 * node k % nodes, so that these own them
 *     --trace FILE          a line for each request: due and answered (ns), size, key, node, get or
 *                           set, right or wrong
 *
 * It has two links to each node, one for each size. Prints one line of JSON. Exit status: 0 all was
 * answered and right, 1 not, 2 usage. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "brain/base.h"
#include "dial.h"
#include "link.h"
#include "protocol.h"

enum {
    READ_BYTES = 131072,
    EVENTS = 64,
    SECOND_NS = 1000000000,
    NODES_LIMIT = 1000,
    SIZES = 2,
};

static const char *const size_names[SIZES] = {"small", "large"};

/* ---- options --------------------------------------------------------------------------------- */

#define NUMBERS(X)                                                                                 \
    X(small_keys, 1000)                                                                            \
    X(small_size, 500)                                                                             \
    X(small_rate, 0)                                                                               \
    X(small_from, 0)                                                                               \
    X(small_to, 1e15)                                                                              \
    X(large_keys, 0)                                                                               \
    X(large_size, 300000)                                                                          \
    X(large_rate, 0)                                                                               \
    X(large_from, 0)                                                                               \
    X(large_to, 1e15)                                                                              \
    X(reads, 80)                                                                                   \
    X(seconds, 10)                                                                                 \
    X(warmup, 1)                                                                                   \
    X(in_flight, 512)                                                                              \
    X(timeout, 10)                                                                                 \
    X(seed, 1)                                                                                     \
    X(fill, 0)

#define NUMBER_FIELD(name, initial)   double name;
#define NUMBER_INITIAL(name, initial) .name = (initial),
static struct {
    NUMBERS(NUMBER_FIELD)
    const char *cookie, *trace, *nodes[NODES_LIMIT];
    uint32_t count; /* of nodes */
} given = {NUMBERS(NUMBER_INITIAL)};

static void refuse(const char *what)
{
    fprintf(stderr, "scale_load: %s: see its first comment for what it takes\n", what);
    exit(2);
}

static double *number_named(const char *name)
{
#define NUMBER_NAMED(field, initial)                                                               \
    if (strcmp(name, #field) == 0)                                                                 \
        return &given.field;
    NUMBERS(NUMBER_NAMED)
    return NULL;
}

static void parse_option(char *name, const char *value)
{
    for (char *c = name; *c != '\0'; c++) {
        if (*c == '-')
            *c = '_';
    }
    double *number = number_named(name);
    if (strcmp(name, "cookie") == 0) {
        given.cookie = value;
    } else if (strcmp(name, "trace") == 0) {
        given.trace = value;
    } else if (number != NULL) {
        char *end;
        *number = strtod(value, &end);
        if (end == value || *end != '\0' || !(*number >= 0 && *number <= 1e15))
            refuse(value);
    } else {
        refuse(name);
    }
}

static void parse_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0 && i + 1 < argc) {
            parse_option(argv[i] + 2, argv[i + 1]);
            i++;
        } else if (strchr(argv[i], '@') != NULL && given.count < NODES_LIMIT) {
            given.nodes[given.count++] = argv[i];
        } else {
            refuse(argv[i]);
        }
    }
    if (given.cookie == NULL || strlen(given.cookie) > COOKIE_LIMIT || given.count == 0)
        refuse("a cookie and nodes are needed");
    if (given.in_flight < 1 || given.in_flight > IN_FLIGHT_LIMIT ||
        given.small_size > VALUE_LIMIT || given.large_size > VALUE_LIMIT)
        refuse("out of range");
}

/* ---- state ----------------------------------------------------------------------------------- */

/* The requests of one size. */
struct load {
    struct values values;
    struct tally tally;
    struct keys keys; /* also the source of nodes, kinds and gaps */
    struct histogram latency[REQUEST_KINDS];
    struct options *options; /* of each node */
    struct link *links;
    double mean_gap_ns, due_ns; /* due_ns: INFINITY when nothing is to come */
    uint64_t from, to;          /* keys */
    uint64_t sent, unsent;      /* unsent: too many were unanswered */
};

struct trace_line {
    uint64_t due_ns, answered_ns, key;
    uint32_t node;
    uint8_t size, kind, right;
};

static struct load loads[SIZES];
static struct trace_line *trace;
static size_t trace_size, trace_limit;
static uint64_t measure_ns, end_ns, late_most_ns;
static int poller;
static uint8_t *area; /* of REST_LIMIT + READ_BYTES */
static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static uint64_t now_of(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_nsec;
}

static uint64_t now(void)
{
    return now_of(CLOCK_MONOTONIC);
}

static struct load *load_of(const struct link *link)
{
    return &loads[link->number / given.count];
}

static const char *failure(void)
{
    for (int i = 0; i < SIZES; i++) {
        if (loads[i].tally.failure[0] != '\0')
            return loads[i].tally.failure;
    }
    return NULL;
}

/* A latency counts when the request was due while it was measured, whenever it is answered. */
static void note_answer(const struct link *link, const struct request *request, bool right)
{
    struct load *load = load_of(link);
    if (request->since_ns >= measure_ns && request->since_ns < end_ns)
        histogram_record(&load->latency[request->kind], link->now_ns - request->since_ns);
    if (given.trace == NULL)
        return;
    if (trace_size == trace_limit) {
        size_t limit = trace_limit == 0 ? 65536 : 2 * trace_limit;
        struct trace_line *larger = realloc(trace, limit * sizeof(*trace));
        if (larger == NULL) {
            link_fail(&load->links[0], "out of memory");
            return;
        }
        trace = larger;
        trace_limit = limit;
    }
    trace[trace_size++] = (struct trace_line){request->since_ns, link->now_ns, request->key,
        link->number % given.count, (uint8_t)(link->number / given.count), (uint8_t)request->kind,
        right};
}

/* ---- opening --------------------------------------------------------------------------------- */

static int open_link(struct load *load, uint32_t node)
{
    struct destination destination;
    struct link *link = &load->links[node];
    *link = (struct link){.fd = -1,
        .number = (uint32_t)(load - loads) * given.count + node,
        .options = &load->options[node],
        .values = &load->values,
        .tally = &load->tally,
        .id_digits = id_digits(load->options[node].keys)};
    if (destination_find(&destination, link->options, load->tally.failure) != 0 ||
        dial_connect(link, &destination) != 0 || protocol_erlang.open(link) != 0)
        return -1;
    if (link_prepare(link) != 0)
        return link_fail(link, "out of memory");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (fcntl(link->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, link->fd, &event) != 0)
        return link_fail(link, "epoll: %s", strerror(errno));
    return 0;
}

/* Ids of different sizes differ in length. */
static int open_load(
    struct load *load, double keys, double size, double rate, double from, double to)
{
    uint32_t number = (uint32_t)(load - loads);
    load->from = (uint64_t)from;
    load->to = (uint64_t)fmin(keys, to);
    if (load->from >= load->to)
        return 0;
    load->links = heap_allocate_zeroed(given.count * sizeof(*load->links));
    load->options = heap_allocate_zeroed(given.count * sizeof(*load->options));
    if (load->links == NULL || load->options == NULL ||
        values_init(&load->values, (uint64_t)size) != 0) {
        snprintf(load->tally.failure, SENTENCE_LIMIT, "out of memory");
        return -1;
    }
    keys_init(&load->keys, load->to - load->from, DISTRIBUTION_UNIFORM, 1,
        (uint64_t)given.seed * SIZES + number);
    load->mean_gap_ns = rate > 0 ? SECOND_NS / rate : INFINITY;
    load->tally.on_answer = note_answer;
    for (uint32_t node = 0; node < given.count; node++) {
        struct options *options = &load->options[node];
        *options = (struct options){.target = given.nodes[node],
            .protocol = &protocol_erlang,
            .registered_name = "brain",
            .acknowledged = true,
            .size = (uint64_t)size,
            .keys = (uint64_t)keys,
            .id_bytes = 20 + number,
            .in_flight = (uint32_t)given.in_flight,
            .barrier = 1};
        memcpy(options->cookie, given.cookie, strlen(given.cookie) + 1);
        if (open_link(load, node) != 0)
            return -1;
    }
    return 0;
}

/* ---- one link -------------------------------------------------------------------------------- */

static void flush(struct link *link)
{
    int error = output_write(&link->output, link->fd);
    if (error != 0)
        link_fail(link, "the connection to %s was lost while writing: %s", link->options->target,
            strerror(error));
    bool wants_write = !output_is_empty(&link->output);
    if (wants_write == link->wants_write)
        return;
    struct epoll_event event = {
        .events = EPOLLIN | (wants_write ? (uint32_t)EPOLLOUT : 0), .data.ptr = link};
    link->wants_write = wants_write;
    if (epoll_ctl(poller, EPOLL_CTL_MOD, link->fd, &event) != 0)
        link_fail(link, "epoll: %s", strerror(errno));
}

static void parse(struct link *link, size_t size)
{
    ptrdiff_t done = protocol_erlang.parse(link, area, size);
    if (done < 0)
        return;
    link->rest_size = size - (size_t)done;
    memcpy(link->rest, area + done, link->rest_size);
}

static void receive(struct link *link)
{
    memcpy(area, link->rest, link->rest_size);
    ssize_t got = read(link->fd, area + link->rest_size, READ_BYTES);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        link_fail(link, "%s closed the connection with %u requests unanswered",
            link->options->target, link->outstanding);
        return;
    }
    link->now_ns = now();
    parse(link, link->rest_size + (size_t)got);
}

/* Stores what is next of this node's share. */
static void fill(struct load *load, struct link *link)
{
    while (link_has_room(link)) {
        uint64_t key = load->from + link->issued * given.count + link->number % given.count;
        if (key >= load->to || interrupted)
            break;
        link->issued++;
        load->sent++;
        link_ask(link, REQUEST_SET, key, now());
    }
    flush(link);
}

/* ---- at a rate ------------------------------------------------------------------------------- */

/* A number of 53 random bits in [0, 1). */
static double share(struct load *load)
{
    return (double)(keys_random(&load->keys) >> 11) * 0x1p-53;
}

/* The next request is due after an exponential gap: requests of many users who know nothing of each
 * other. */
static void plan(struct load *load)
{
    load->due_ns -= log1p(-share(load)) * load->mean_gap_ns;
    if (interrupted || load->due_ns >= (double)end_ns)
        load->due_ns = INFINITY;
}

static void ask(struct load *load, uint64_t now_ns)
{
    struct link *link = &load->links[(uint32_t)(share(load) * given.count)];
    enum request_kind kind = share(load) * 100 < given.reads ? REQUEST_GET : REQUEST_SET;
    uint64_t key = load->from + keys_next(&load->keys), due_ns = (uint64_t)load->due_ns;
    bool measured = due_ns >= measure_ns;
    plan(load);
    if (!link_has_room(link)) {
        load->unsent += measured;
        return;
    }
    load->sent += measured;
    if (measured && now_ns - due_ns > late_most_ns)
        late_most_ns = now_ns - due_ns;
    link_ask(link, kind, key, due_ns);
    flush(link);
}

static double next_due(void)
{
    return fmin(loads[0].due_ns, loads[1].due_ns);
}

static void ask_due(void)
{
    uint64_t now_ns = now();
    while (next_due() <= (double)now_ns && failure() == NULL)
        ask(&loads[loads[0].due_ns <= loads[1].due_ns ? 0 : 1], now_ns);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static uint64_t unanswered(void)
{
    uint64_t count = 0;
    for (int i = 0; i < SIZES; i++) {
        for (uint32_t node = 0; loads[i].links != NULL && node < given.count; node++)
            count += loads[i].links[node].outstanding;
    }
    return count;
}

static void turn(uint64_t limit_ns)
{
    struct epoll_event events[EVENTS];
    double next = fmin(next_due(), (double)limit_ns);
    double wait = fmax(0, next - (double)now());
    struct timespec timeout = {
        (time_t)(wait / SECOND_NS), (long)(wait - floor(wait / SECOND_NS) * SECOND_NS)};
    int count = epoll_pwait2(poller, events, EVENTS, &timeout, NULL);
    for (int i = 0; i < count && failure() == NULL; i++) {
        struct link *link = events[i].data.ptr;
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            receive(link);
        if (failure() == NULL && given.fill > 0)
            fill(load_of(link), link);
        else if (failure() == NULL)
            flush(link);
        if (next_due() <= (double)now())
            ask_due();
    }
    ask_due();
}

/* Answers are waited for until nothing has come for `timeout`. */
static void run(void)
{
    for (int i = 0; i < SIZES; i++) {
        loads[i].due_ns = INFINITY;
        if (loads[i].links == NULL)
            continue;
        if (given.fill > 0) {
            for (uint32_t node = 0; node < given.count; node++)
                fill(&loads[i], &loads[i].links[node]);
        } else if (isfinite(loads[i].mean_gap_ns)) {
            loads[i].due_ns = (double)now();
            plan(&loads[i]);
        }
    }
    uint64_t answered = 0, heard_ns = now();
    while (failure() == NULL && (isfinite(next_due()) || unanswered() > 0)) {
        uint64_t seen = loads[0].tally.answered + loads[1].tally.answered;
        if (seen != answered || isfinite(next_due()))
            heard_ns = now();
        answered = seen;
        uint64_t limit_ns = heard_ns + (uint64_t)(given.timeout * SECOND_NS);
        if (now() >= limit_ns)
            break;
        turn(limit_ns < now() + SECOND_NS ? limit_ns : now() + SECOND_NS);
    }
}

/* ---- telling --------------------------------------------------------------------------------- */

static void print_text(const char *name, const char *text)
{
    printf(", \"%s\": \"", name);
    for (; text != NULL && *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        if ((unsigned char)*text >= ' ')
            putchar(*text);
    }
    putchar('"');
}

static void print_latency(const char *name, const struct histogram *histogram)
{
    printf(", \"%s\": {\"count\": %llu", name, (unsigned long long)histogram->count);
    if (histogram->count > 0)
        printf(", \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, \"most_ms\": %.3f",
            (double)histogram_quantile(histogram, 0.5) / 1e6,
            (double)histogram_quantile(histogram, 0.99) / 1e6,
            (double)histogram_quantile(histogram, 0.999) / 1e6, (double)histogram->most / 1e6);
    putchar('}');
}

static void print_load(int number)
{
    const struct load *load = &loads[number];
    struct histogram *both = heap_allocate_zeroed(sizeof(*both));
    if (both == NULL)
        return;
    *both = load->latency[REQUEST_GET];
    const struct histogram *sets = &load->latency[REQUEST_SET];
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        both->buckets[i] += sets->buckets[i];
    both->count += sets->count;
    both->most = both->most > sets->most ? both->most : sets->most;
    printf(", \"%s\": {\"sent\": %llu, \"unsent\": %llu, \"wrong\": %llu", size_names[number],
        (unsigned long long)load->sent, (unsigned long long)load->unsent,
        (unsigned long long)load->tally.errors);
    print_text("wrong_answer", load->tally.wrong);
    print_latency("all", both);
    print_latency("get", &load->latency[REQUEST_GET]);
    print_latency("set", sets);
    putchar('}');
    heap_release(both);
}

static int write_trace(void)
{
    FILE *file = fopen(given.trace, "we");
    if (file == NULL)
        return -1;
    for (size_t i = 0; i < trace_size; i++) {
        const struct trace_line *line = &trace[i];
        fprintf(file, "%llu %llu %s %llu %u %s %s\n", (unsigned long long)line->due_ns,
            (unsigned long long)line->answered_ns, size_names[line->size],
            (unsigned long long)line->key, line->node, line->kind == REQUEST_GET ? "get" : "set",
            line->right ? "right" : "wrong");
    }
    return fclose(file);
}

static int open_all(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    /* So that what is due is sent to the microsecond. */
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, interrupt);
    signal(SIGTERM, interrupt);
    poller = epoll_create1(EPOLL_CLOEXEC);
    area = heap_allocate(REST_LIMIT + READ_BYTES);
    if (poller < 0 || area == NULL)
        return -1;
    if (open_load(&loads[0], given.small_keys, given.small_size, given.small_rate, given.small_from,
            given.small_to) != 0)
        return -1;
    return open_load(&loads[1], given.large_keys, given.large_size, given.large_rate,
        given.large_from, given.large_to);
}

static double cpu_seconds(void)
{
    return (double)now_of(CLOCK_PROCESS_CPUTIME_ID) / SECOND_NS;
}

static void close_all(void)
{
    for (int i = 0; i < SIZES; i++) {
        for (uint32_t node = 0; loads[i].links != NULL && node < given.count; node++) {
            if (loads[i].links[node].options != NULL)
                link_release(&loads[i].links[node]);
        }
        heap_release(loads[i].links);
        heap_release(loads[i].options);
        values_release(&loads[i].values);
    }
    heap_release(area);
    free(trace);
    close(poller);
}

int main(int argc, char **argv)
{
    parse_arguments(argc, argv);
    for (int i = 0; i < SIZES; i++) {
        histogram_clear(&loads[i].latency[REQUEST_GET]);
        histogram_clear(&loads[i].latency[REQUEST_SET]);
    }
    uint64_t begin_ns = 0;
    double cpu = 0;
    if (open_all() == 0) {
        begin_ns = now();
        cpu = cpu_seconds();
        measure_ns = begin_ns + (given.fill > 0 ? 0 : (uint64_t)(given.warmup * SECOND_NS));
        end_ns = given.fill > 0 ? UINT64_MAX : measure_ns + (uint64_t)(given.seconds * SECOND_NS);
        run();
    }
    uint64_t lost = unanswered(), problems = lost;
    for (int i = 0; i < SIZES; i++)
        problems += loads[i].tally.errors + loads[i].unsent;
    printf(
        "{\"seconds\": %.3f, \"cpu_seconds\": %.3f, \"late_most_ms\": %.3f, \"unanswered\": %llu",
        (double)(now() - begin_ns) / SECOND_NS, cpu_seconds() - cpu, (double)late_most_ns / 1e6,
        (unsigned long long)lost);
    printf(", \"realtime_offset_ns\": %llu", (unsigned long long)(now_of(CLOCK_REALTIME) - now()));
    print_load(0);
    print_load(1);
    bool failed = failure() != NULL;
    print_text("failure", failure());
    puts("}");
    if (given.trace != NULL && write_trace() != 0) {
        fprintf(stderr, "scale_load: %s: %s\n", given.trace, strerror(errno));
        failed = true;
    }
    close_all();
    return failed || problems != 0 ? 1 : 0;
}
