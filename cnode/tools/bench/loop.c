#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "brain/base.h"
#include "dial.h"
#include "protocol.h"
#include "server_watch.h"

enum {
    /* Of one read. Stays in the second-level cache, where a large value is checked at once. */
    READ_BYTES = 131072,
    EVENTS = 64,
    SECOND_NS = 1000000000,
};

enum phase { WARMING, MEASURING, DRAINING };

struct loop {
    const struct options *options;
    struct tally *tally;
    struct result *result;
    struct values values;
    struct keys keys;
    struct link *links;
    uint32_t count; /* of links that are open */
    int epoll;
    uint8_t *area; /* of REST_LIMIT + READ_BYTES */
    bool plain_sets;

    enum phase phase;
    uint64_t issued, issue_limit;
    uint64_t begin_ns, measure_ns, end_ns; /* end_ns: UINT64_MAX until it is known */
    double interval_ns;                    /* of a fixed rate; 0: none */
    uint64_t second_ns, second_answered;   /* of the progress line */
    double late_sum_ns;
    uint64_t late_count, late_most_ns;
    double client_cpu_us;
    struct server_watch server;
};

static volatile sig_atomic_t interrupted;

void loop_interrupt(void)
{
    interrupted = 1;
}

uint64_t loop_now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND_NS + (uint64_t)time.tv_nsec;
}

static int fail(struct loop *loop, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct loop *loop, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (loop->tally->failure[0] == '\0')
        vsnprintf(loop->tally->failure, sizeof(loop->tally->failure), format, arguments);
    va_end(arguments);
    return -1;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static bool may_issue(const struct loop *loop)
{
    return loop->phase != DRAINING && loop->issued < loop->issue_limit;
}

static void bar(struct loop *loop, struct link *link, uint64_t now_ns)
{
    link_bar(link, now_ns);
    loop->issued++;
}

static void issue(struct loop *loop, struct link *link, uint64_t since_ns)
{
    const struct options *options = loop->options;
    bool is_set = options->work != WORK_GET;
    if (options->work == WORK_MIXED)
        is_set = keys_random(&loop->keys) % 100 >= options->reads;
    uint64_t key = options->work == WORK_FILL ? loop->issued : keys_next(&loop->keys);
    loop->issued++;
    link->issued++;
    if (!is_set || !loop->plain_sets)
        link_ask(link, is_set ? REQUEST_SET : REQUEST_GET, key, since_ns);
    else if (link_set_plainly(link, key, since_ns))
        bar(loop, link, since_ns);
}

/* When this link's next operation is due: they go round the links. */
static uint64_t due_ns(const struct loop *loop, const struct link *link)
{
    double before = (double)link->issued * loop->options->connections + link->number;
    return loop->begin_ns + (uint64_t)(before * loop->interval_ns);
}

static void issue_due(struct loop *loop, struct link *link, uint64_t now_ns)
{
    while (may_issue(loop) && link_has_room(link)) {
        uint64_t due = due_ns(loop, link);
        if (due > now_ns)
            break;
        if (loop->tally->measuring) {
            uint64_t late = now_ns - due;
            loop->late_sum_ns += (double)late;
            loop->late_count++;
            if (late > loop->late_most_ns)
                loop->late_most_ns = late;
        }
        issue(loop, link, due);
    }
}

static void watch_writing(struct loop *loop, struct link *link)
{
    bool wants_write = !output_is_empty(&link->output);
    if (wants_write == link->wants_write)
        return;
    struct epoll_event event = {
        .events = EPOLLIN | (wants_write ? (uint32_t)EPOLLOUT : 0), .data.ptr = link};
    link->wants_write = wants_write;
    if (epoll_ctl(loop->epoll, EPOLL_CTL_MOD, link->fd, &event) != 0)
        fail(loop, "epoll: %s", strerror(errno));
}

/* Asks as much as the link has room for, and writes. */
static void ask(struct loop *loop, struct link *link)
{
    uint64_t now_ns = loop_now_ns();
    if (link->outstanding == 0)
        link->heard_ns = now_ns; /* what comes now is the first to wait for */
    if (loop->interval_ns > 0) {
        issue_due(loop, link, now_ns);
    } else {
        while (may_issue(loop) && link_has_room(link))
            issue(loop, link, now_ns);
    }
    /* Sets wait for their barrier only as long as more of them are to come at once. */
    if (link->unbarred != 0 && (loop->interval_ns > 0 || !may_issue(loop)))
        bar(loop, link, now_ns);
    int error = output_write(&link->output, link->fd);
    if (error != 0)
        fail(loop, "the connection to %s was lost while writing: %s", loop->options->target,
            strerror(error));
    watch_writing(loop, link);
}

/* ---- being answered -------------------------------------------------------------------------- */

static void parse(struct loop *loop, struct link *link, size_t size)
{
    ptrdiff_t done = loop->options->protocol->parse(link, loop->area, size);
    if (done < 0)
        return;
    link->rest_size = size - (size_t)done;
    assert(link->rest_size <= REST_LIMIT);
    memcpy(link->rest, loop->area + done, link->rest_size);
}

static void receive(struct loop *loop, struct link *link)
{
    memcpy(loop->area, link->rest, link->rest_size);
    ssize_t got = read(link->fd, loop->area + link->rest_size, READ_BYTES);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        fail(loop, "%s closed the connection with %u operations unanswered%s%s",
            loop->options->target, link->outstanding, got < 0 ? ": " : "",
            got < 0 ? strerror(errno) : "");
        return;
    }
    link->now_ns = link->heard_ns = loop_now_ns();
    parse(loop, link, link->rest_size + (size_t)got);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void begin_measuring(struct loop *loop, uint64_t now_ns)
{
    const struct options *options = loop->options;
    loop->phase = MEASURING;
    loop->measure_ns = now_ns;
    if (options->work == WORK_FILL)
        loop->issue_limit = options->keys;
    else if (options->operations != 0)
        loop->issue_limit = loop->issued + options->operations;
    else
        loop->end_ns = now_ns + (uint64_t)(options->seconds * SECOND_NS);
    if (options->server_pid != 0 && !server_watch_read(&loop->server, options->server_pid))
        fail(loop, "there is no process %d (--server-pid)", (int)options->server_pid);
    loop->client_cpu_us = own_cpu_us();
    loop->tally->measuring = true;
}

static void end_measuring(struct loop *loop, uint64_t now_ns)
{
    struct result *result = loop->result;
    struct server_watch server;
    loop->tally->measuring = false;
    loop->phase = DRAINING;
    result->client_cpu_us = own_cpu_us() - loop->client_cpu_us;
    result->seconds = (double)(now_ns - loop->measure_ns) / SECOND_NS;
    if (loop->server.pid != 0 && server_watch_read(&server, loop->server.pid)) {
        result->has_server = true;
        result->server_cpu_us = server.cpu_us - loop->server.cpu_us;
        result->server_rss_before = loop->server.rss_bytes;
        result->server_rss = server.rss_bytes;
    }
}

static bool all_answered(const struct loop *loop)
{
    for (uint32_t i = 0; i < loop->count; i++) {
        if (loop->links[i].outstanding != 0)
            return false;
    }
    return true;
}

static void print_progress(struct loop *loop, uint64_t now_ns)
{
    uint64_t answered = loop->tally->answered - loop->second_answered;
    double seconds = (double)(now_ns - loop->second_ns + SECOND_NS) / SECOND_NS;
    const char *what = loop->phase == WARMING     ? "warming up"
                       : loop->phase == MEASURING ? "measuring"
                                                  : "waiting for answers";
    fprintf(stderr, "%s, %.0f s: %.0f operations/s, %llu wrong\n", what,
        (double)(now_ns - loop->begin_ns) / SECOND_NS, (double)answered / seconds,
        (unsigned long long)loop->tally->errors);
    loop->second_answered = loop->tally->answered;
}

static void look_for_silence(struct loop *loop, uint64_t now_ns)
{
    for (uint32_t i = 0; i < loop->count; i++) {
        const struct link *link = &loop->links[i];
        if (link->outstanding != 0 && now_ns > link->heard_ns &&
            (double)(now_ns - link->heard_ns) > loop->options->timeout * SECOND_NS)
            fail(loop, "%s did not answer for %g s: connection %u waits for %u operations",
                loop->options->target, loop->options->timeout, i + 1, link->outstanding);
    }
}

/* Whatever the time brings. False: the run is over. */
static bool keep_time(struct loop *loop)
{
    uint64_t now_ns = loop_now_ns();
    if (interrupted && loop->phase == WARMING)
        fail(loop, "interrupted before anything was measured");
    if (loop->phase == WARMING && now_ns >= loop->measure_ns)
        begin_measuring(loop, now_ns);
    if (loop->phase == MEASURING && (now_ns >= loop->end_ns || interrupted))
        end_measuring(loop, now_ns);
    if (loop->phase != WARMING && !may_issue(loop) && all_answered(loop)) {
        if (loop->phase == MEASURING)
            end_measuring(loop, now_ns);
        return false;
    }
    if (now_ns >= loop->second_ns) {
        look_for_silence(loop, now_ns);
        if (loop->options->progress)
            print_progress(loop, now_ns);
        loop->second_ns = now_ns + SECOND_NS;
    }
    return loop->tally->failure[0] == '\0';
}

static uint64_t next_event_ns(const struct loop *loop)
{
    uint64_t next = loop->second_ns;
    if (loop->phase == WARMING && loop->measure_ns < next)
        next = loop->measure_ns;
    if (loop->phase == MEASURING && loop->end_ns < next)
        next = loop->end_ns;
    for (uint32_t i = 0; loop->interval_ns > 0 && i < loop->count; i++) {
        const struct link *link = &loop->links[i];
        if (may_issue(loop) && link_has_room(link) && due_ns(loop, link) < next)
            next = due_ns(loop, link);
    }
    return next;
}

static void turn(struct loop *loop)
{
    struct epoll_event events[EVENTS];
    uint64_t now_ns = loop_now_ns(), next = next_event_ns(loop);
    uint64_t wait = next > now_ns ? next - now_ns : 0;
    struct timespec timeout = {(time_t)(wait / SECOND_NS), (long)(wait % SECOND_NS)};
    int count = epoll_pwait2(loop->epoll, events, EVENTS, &timeout, NULL);
    if (count < 0 && errno != EINTR)
        fail(loop, "epoll: %s", strerror(errno));
    for (int i = 0; i < count && loop->tally->failure[0] == '\0'; i++) {
        struct link *link = events[i].data.ptr;
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            receive(loop, link);
        if (loop->tally->failure[0] == '\0')
            ask(loop, link);
    }
    for (uint32_t i = 0; loop->interval_ns > 0 && i < loop->count; i++)
        ask(loop, &loop->links[i]);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int open_link(struct loop *loop, const struct destination *destination)
{
    const struct protocol *protocol = loop->options->protocol;
    struct link *link = &loop->links[loop->count];
    *link = (struct link){.fd = -1,
        .number = loop->count,
        .options = loop->options,
        .values = &loop->values,
        .tally = loop->tally,
        .id_digits = id_digits(loop->options->keys)};
    loop->count++;
    if (dial_connect(link, destination) != 0 || protocol->open(link) != 0)
        return -1;
    if (link_prepare(link) != 0)
        return fail(loop, "out of memory");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (fcntl(link->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, link->fd, &event) != 0)
        return fail(loop, "connection %u: %s", loop->count, strerror(errno));
    return 0;
}

static int open_all(struct loop *loop)
{
    const struct options *options = loop->options;
    struct destination destination;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    /* So that a fixed rate is kept to the microsecond. */
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    if (destination_find(&destination, options, loop->tally->failure) != 0)
        return -1;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->links = heap_allocate_zeroed(options->connections * sizeof(*loop->links));
    loop->area = heap_allocate(REST_LIMIT + READ_BYTES);
    if (loop->epoll < 0 || loop->links == NULL || loop->area == NULL ||
        values_init(&loop->values, options->size) != 0)
        return fail(loop, "out of memory");
    for (uint32_t i = 0; i < options->connections; i++) {
        if (open_link(loop, &destination) != 0)
            return -1;
    }
    return 0;
}

static void close_all(struct loop *loop)
{
    for (uint32_t i = 0; i < loop->count; i++)
        link_release(&loop->links[i]);
    heap_release(loop->links);
    heap_release(loop->area);
    values_release(&loop->values);
    if (loop->epoll >= 0)
        close(loop->epoll);
}

static void run(struct loop *loop)
{
    const struct options *options = loop->options;
    uint64_t now_ns = loop_now_ns();
    loop->begin_ns = now_ns;
    loop->measure_ns = now_ns + (uint64_t)(options->warmup * SECOND_NS);
    loop->second_ns = now_ns + SECOND_NS;
    loop->end_ns = loop->issue_limit = UINT64_MAX;
    if (options->rate > 0)
        loop->interval_ns = SECOND_NS / options->rate;
    if (!keep_time(loop)) /* without a warm-up everything is measured */
        return;
    for (uint32_t i = 0; i < loop->count; i++) {
        struct link *link = &loop->links[i];
        memcpy(loop->area, link->rest, link->rest_size);
        if (link->rest_size != 0)
            parse(loop, link, link->rest_size);
        ask(loop, link);
    }
    while (keep_time(loop))
        turn(loop);
}

int loop_run(const struct options *options, struct tally *tally, struct result *result)
{
    struct loop loop = {.options = options, .tally = tally, .result = result, .epoll = -1};
    if (options->protocol->is_erlang)
        loop.plain_sets = !options->acknowledged && options->work != WORK_FILL;
    else
        loop.plain_sets = options->noreply && options->work != WORK_FILL;
    keys_init(
        &loop.keys, options->keys, options->distribution, options->zipf_exponent, options->seed);
    histogram_clear(&tally->latency);
    if (open_all(&loop) == 0)
        run(&loop);
    close_all(&loop);
    result->operations = tally->operations;
    result->errors = tally->errors;
    result->value_bytes = tally->operations * options->size;
    result->latency = &tally->latency;
    if (loop.late_count != 0)
        result->late_mean_us = loop.late_sum_ns / 1e3 / (double)loop.late_count;
    result->late_most_us = (double)loop.late_most_ns / 1e3;
    return tally->failure[0] == '\0' ? 0 : -1;
}
