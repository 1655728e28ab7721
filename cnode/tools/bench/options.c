#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "brain/handshake.h"
#include "protocol.h"

static const char help[] =
    "Usage: brain-bench [options] [TARGET]\n"
    "\n"
    "Asks a server as fast as it answers (or at a fixed rate), checks every answer, and tells\n"
    "throughput, latencies and CPU time. One thread. Store the keys first: --work fill.\n"
    "\n"
    "  TARGET                a node, NAME@HOST (default brain@localhost), or HOST:PORT\n"
    "  --protocol P          erlang (default), redis, memcached, echo (a server that sends every\n"
    "                        byte back), tcp (no server: a child process only moves the bytes)\n"
    "  --peer beam|ei        connect as a BEAM node does (default), or as `ei` and PHP do\n"
    "  --name NAME           the registered name on the node, default brain\n"
    "  --cookie C, --cookie-file F   default ~/.erlang.cookie\n"
    "\n"
    "  --work W              get (default), set, mixed, or fill: store every key once, "
    "acknowledged\n"
    "  --reads PERCENT       of mixed, default 90\n"
    "  --size BYTES          of a value, default 100\n"
    "  --keys N              default 10000\n"
    "  --id-bytes B          default 20\n"
    "  --distribution D      uniform (default) or zipf\n"
    "  --zipf-exponent E     default 0.99\n"
    "  --seed N              of the choice of keys, default 1\n"
    "  --acknowledged        sets are answered (redis and memcached always answer)\n"
    "  --noreply             memcached: sets are not\n"
    "  --classic-get         memcached: get instead of mg, which is slower when pipelined\n"
    "  --barrier N           of sets without answers: a get follows N of them (default 16, at most "
    "as\n"
    "                        many as are in flight); it is an operation too, and its answer ends "
    "them\n"
    "\n"
    "  --connections N       default 1\n"
    "  --in-flight N         unanswered operations per connection, default 1; of fill 64\n"
    "  --rate R              operations per second in total; an operation's latency begins when it "
    "is\n"
    "                        due, also when it could only be sent later\n"
    "  --seconds S           how long to measure, default 10\n"
    "  --warmup S            before that, default 1; fill has none\n"
    "  --operations N        instead of --seconds; then the default of --warmup is 0\n"
    "  --timeout S           without an answer, default 10\n"
    "\n"
    "  --server-pid PID      whose CPU time and memory are told\n"
    "  --server-cpu N        tcp: the core of the other end\n"
    "  --json FILE           one line of JSON; - is standard output, instead of the text\n"
    "  --progress, --quiet   a line each second; default where standard error is a terminal\n"
    "  --version, --help\n"
    "\n"
    "Exit status: 0 all answers were right; 1 a wrong or missing answer, a lost connection; 2 "
    "usage.\n";

#define OPTIONS(X)                                                                                 \
    X(protocol, required_argument)                                                                 \
    X(peer, required_argument)                                                                     \
    X(name, required_argument)                                                                     \
    X(cookie, required_argument)                                                                   \
    X(cookie_file, required_argument)                                                              \
    X(work, required_argument)                                                                     \
    X(reads, required_argument)                                                                    \
    X(size, required_argument)                                                                     \
    X(keys, required_argument)                                                                     \
    X(id_bytes, required_argument)                                                                 \
    X(distribution, required_argument)                                                             \
    X(zipf_exponent, required_argument)                                                            \
    X(seed, required_argument)                                                                     \
    X(acknowledged, no_argument)                                                                   \
    X(classic_get, no_argument)                                                                    \
    X(noreply, no_argument)                                                                        \
    X(barrier, required_argument)                                                                  \
    X(connections, required_argument)                                                              \
    X(in_flight, required_argument)                                                                \
    X(rate, required_argument)                                                                     \
    X(seconds, required_argument)                                                                  \
    X(warmup, required_argument)                                                                   \
    X(operations, required_argument)                                                               \
    X(timeout, required_argument)                                                                  \
    X(server_pid, required_argument)                                                               \
    X(server_cpu, required_argument)                                                               \
    X(json, required_argument)                                                                     \
    X(progress, no_argument)                                                                       \
    X(quiet, no_argument)                                                                          \
    X(version, no_argument)                                                                        \
    X(help, no_argument)

#define OPTION_NUMBER(name, argument) OPTION_##name,
enum { OPTION_FIRST = 256, OPTIONS(OPTION_NUMBER) OPTIONS_END };
enum { OPTIONS_COUNT = OPTIONS_END - OPTION_FIRST - 1 };

static const char *const works[] = {"get", "set", "mixed", "fill", NULL};
static const char *const distributions[] = {"uniform", "zipf", NULL};
static const char *const peers[] = {"beam", "ei", NULL};
static const struct protocol *const protocols[] = {
    &protocol_erlang, &protocol_redis, &protocol_memcached, &protocol_echo, &protocol_tcp};
enum { PROTOCOLS = sizeof(protocols) / sizeof(protocols[0]) };

const char *work_name(enum work work)
{
    return works[work];
}

const char *distribution_name(enum distribution distribution)
{
    return distributions[distribution];
}

static void refuse(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("brain-bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("; --help tells more\n", stderr);
    va_end(arguments);
    exit(2);
}

static uint64_t whole_number(const char *name, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || number < least || number > most)
        refuse("--%s: \"%s\" is not a number from %llu to %llu", name, text,
            (unsigned long long)least, (unsigned long long)most);
    return number;
}

static double number(const char *name, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most))
        refuse("--%s: \"%s\" is not a number from %g to %g", name, text, least, most);
    return value;
}

static int choice(const char *name, const char *text, const char *const *choices)
{
    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(text, choices[i]) == 0)
            return i;
    }
    refuse("--%s has no %s", name, text);
}

static const struct protocol *find_protocol(const char *text)
{
    for (size_t i = 0; i < PROTOCOLS; i++) {
        if (strcmp(text, protocols[i]->name) == 0)
            return protocols[i];
    }
    refuse("there is no protocol %s", text);
}

static void keep_cookie(struct options *options, const char *text)
{
    if (text[0] == '\0' || strlen(text) > COOKIE_LIMIT)
        refuse("a cookie has 1 to %d bytes", COOKIE_LIMIT);
    memcpy(options->cookie, text, strlen(text) + 1);
}

/* `name` is the option's as it is typed. */
static void take(struct options *options, int option, const char *name, const char *text)
{
    switch (option) {
    case OPTION_protocol:
        options->protocol = find_protocol(text);
        break;
    case OPTION_peer:
        options->peer_is_ei = choice(name, text, peers) == 1;
        break;
    case OPTION_name:
        if (text[0] == '\0' || strlen(text) > 200)
            refuse("--name has 1 to 200 bytes");
        options->registered_name = text;
        break;
    case OPTION_cookie:
        keep_cookie(options, text);
        break;
    case OPTION_cookie_file:
        options->cookie_file = text;
        break;
    case OPTION_work:
        options->work = (enum work)choice(name, text, works);
        break;
    case OPTION_reads:
        options->reads = (uint32_t)whole_number(name, text, 0, 100);
        break;
    case OPTION_size:
        options->size = whole_number(name, text, 0, VALUE_LIMIT);
        break;
    case OPTION_keys:
        options->keys = whole_number(name, text, 1, UINT64_C(1000000000000));
        break;
    case OPTION_id_bytes:
        options->id_bytes = (uint32_t)whole_number(name, text, 1, ID_BYTES_LIMIT);
        break;
    case OPTION_distribution:
        options->distribution = (enum distribution)choice(name, text, distributions);
        break;
    case OPTION_zipf_exponent:
        options->zipf_exponent = number(name, text, 0.01, 10);
        break;
    case OPTION_seed:
        options->seed = whole_number(name, text, 0, UINT64_MAX);
        break;
    case OPTION_acknowledged:
        options->acknowledged = true;
        break;
    case OPTION_classic_get:
        options->classic_get = true;
        break;
    case OPTION_noreply:
        options->noreply = true;
        break;
    case OPTION_barrier:
        options->barrier = (uint32_t)whole_number(name, text, 1, BARRIER_LIMIT);
        break;
    case OPTION_connections:
        options->connections = (uint32_t)whole_number(name, text, 1, CONNECTIONS_LIMIT);
        break;
    case OPTION_in_flight:
        options->in_flight = (uint32_t)whole_number(name, text, 1, IN_FLIGHT_LIMIT);
        break;
    case OPTION_rate:
        options->rate = number(name, text, 0.001, 1e9);
        break;
    case OPTION_seconds:
        options->seconds = number(name, text, 0.001, 1e6);
        break;
    case OPTION_warmup:
        options->warmup = number(name, text, 0, 1e6);
        break;
    case OPTION_operations:
        options->operations = whole_number(name, text, 1, UINT64_C(1) << 60);
        break;
    case OPTION_timeout:
        options->timeout = number(name, text, 0.1, 1e6);
        break;
    case OPTION_server_pid:
        options->server_pid = (pid_t)whole_number(name, text, 1, INT32_MAX);
        break;
    case OPTION_server_cpu:
        options->server_cpu = (int)whole_number(name, text, 0, 1023);
        break;
    case OPTION_json:
        options->json = text;
        break;
    case OPTION_progress:
        options->progress = true;
        break;
    case OPTION_quiet:
        options->progress = false;
        break;
    case OPTION_version:
        puts("brain-bench " BRAIN_VERSION);
        exit(0);
    case OPTION_help:
        fputs(help, stdout);
        exit(0);
    default:
        fputs("brain-bench --help tells how it is used\n", stderr);
        exit(2);
    }
}

static void check_target(struct options *options)
{
    const char *target = options->target;
    if (options->protocol == &protocol_tcp) {
        if (target != NULL)
            refuse("tcp takes no target: it measures this machine's own loopback");
        options->target = "loopback";
        return;
    }
    if (options->protocol->is_erlang) {
        if (target == NULL)
            target = options->target = "brain@localhost";
        const char *at = strchr(target, '@');
        if (at == NULL || at == target || at - target > 255 || at[1] == '\0' ||
            strchr(at + 1, '@') != NULL || strlen(at) > 200)
            refuse("\"%s\" is not a node's name; it has the form NAME@HOST", target);
        return;
    }
    const char *colon = target != NULL ? strrchr(target, ':') : NULL;
    if (colon == NULL || colon == target || colon - target > 255)
        refuse("%s needs a target of the form HOST:PORT", options->protocol->name);
    whole_number("TARGET's port", colon + 1, 1, UINT16_MAX);
}

static void check(struct options *options)
{
    const struct protocol *protocol = options->protocol;
    check_target(options);
    if (options->id_bytes <= id_digits(options->keys))
        refuse("%llu keys need ids of at least %u bytes", (unsigned long long)options->keys,
            id_digits(options->keys) + 1);
    if (options->noreply && protocol != &protocol_memcached)
        refuse("--noreply is memcached's");
    if (protocol->is_bare) {
        if (options->work != WORK_SET && options->work != WORK_GET)
            refuse("%s knows neither mixed nor fill", protocol->name);
        if (options->size == 0)
            refuse("%s needs a --size of at least 1", protocol->name);
        options->keys = 1;
    }
    if (protocol == &protocol_echo)
        options->work = WORK_SET;
    if (options->classic_get && protocol != &protocol_memcached)
        refuse("--classic-get is memcached's");
    if (options->work == WORK_FILL && options->operations != 0)
        refuse("fill stores every key once: --keys says how many operations that are");
    /* Unsent pieces of the same value are kept apart. */
    if ((double)options->size * options->in_flight > 1e12)
        refuse("so many values of that size in flight are too much");
}

void options_parse(struct options *options, int argc, char **argv)
{
#define OPTION_ROW(name, argument) {#name, argument, NULL, OPTION_##name},
    static struct option table[] = {OPTIONS(OPTION_ROW){NULL, 0, NULL, 0}};
    static char names[OPTIONS_COUNT][32];
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        snprintf(names[i], sizeof(names[i]), "%s", table[i].name);
        for (char *at = names[i]; *at != '\0'; at++)
            *at = *at == '_' ? '-' : *at;
        table[i].name = names[i];
    }
    *options = (struct options){.protocol = &protocol_erlang,
        .registered_name = "brain",
        .reads = 90,
        .barrier = 16,
        .size = 100,
        .keys = 10000,
        .id_bytes = 20,
        .zipf_exponent = 0.99,
        .seed = 1,
        .connections = 1,
        .seconds = 10,
        .warmup = -1,
        .timeout = 10,
        .server_cpu = -1,
        .progress = isatty(STDERR_FILENO) == 1};
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        const char *name = option > OPTION_FIRST ? names[option - OPTION_FIRST - 1] : "";
        take(options, option, name, optarg);
    }
    if (optind < argc)
        options->target = argv[optind++];
    if (optind < argc)
        refuse("one target, not \"%s\" as well", argv[optind]);
    if (options->warmup < 0)
        options->warmup = options->operations != 0 ? 0 : 1;
    if (options->work == WORK_FILL)
        options->warmup = 0;
    if (options->in_flight == 0)
        options->in_flight = options->work == WORK_FILL ? 64 : 1;
    check(options);
}
