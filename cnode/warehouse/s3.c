/* s3: the driver of S3 and of what speaks its protocol: many requests at once on one libcurl multi
 * handle, and the probe that finds out which conditions the store honours.
 *
 * The epoch is the clock's: a bucket is shared, and has no place where a node could count its own
 * starts without racing others. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "brain/log.h"
#include "s3_inside.h"

enum {
    ETAG_SETS = 8192,         /* of eight: 65,536 ETags, about 7 MB when they are all in use */
    OPEN_MS = 10000,          /* the probe may delay the start so long */
    PROBE_STEP_MS = 8000,     /* one request of it */
    PROBE_PAUSE_MS = 200,     /* before a step is repeated */
    PROBE_AGAIN_MS = 3000,    /* after it failed because the store was out of reach */
    PROBE_REFUSED_MS = 30000, /* after the store refused it */
    REFRESH_MS = 30000,       /* between two looks at the credentials file */
    STOP_MS = 5000,
    PREFIX_LIMIT = 512,
};
static const size_t value_limit_default = (size_t)1 << 30;

uint64_t s3_random(struct s3 *s3)
{
    /* xorshift64*, Vigna 2016 */
    s3->random ^= s3->random >> 12;
    s3->random ^= s3->random << 25;
    s3->random ^= s3->random >> 27;
    return s3->random * 0x2545F4914F6CDD1Du;
}

static uint64_t unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the probe --------------------------------------------------------------------------------
 */

static void probe_step(struct s3 *s3);

static void probe_over(struct s3 *s3)
{
    const struct s3_ability *ability = &s3->probe.steps.ability;
    s3->probe.running = s3->probe.is_refused = s3->probe.was_warned = false;
    s3->probe.error[0] = '\0';
    s3->ability = *ability;
    s3->state = S3_TRIED;
    const char *left = s3->probe.steps.left ? "; the probe object could not be removed" : "";
    if (ability->create && ability->replace)
        log_info("s3: %s: conditional create and replace work (ETag %s), conditional delete %s%s",
            s3->client.base, ability->quoted ? "quoted" : "bare",
            ability->remove ? "works" : "does not", left);
    else
        log_warning("s3: %s: conditional create %s, conditional replace %s: where they do not, a "
                    "late writer can replace a newer version%s",
            s3->client.base, ability->create ? "works" : "does not work",
            ability->replace ? "works" : "does not work", left);
    if (s3->require_conditions && !(ability->create && ability->replace)) {
        s3->state = S3_UNTRIED;
        s3->probe.is_refused = true;
        s3->probe.again_ms = driver_now_ms() + PROBE_REFUSED_MS;
        snprintf(s3->probe.error, sizeof(s3->probe.error),
            "%.200s: the store takes no conditional writes, and s3_require_conditions is set",
            s3->client.base);
    }
    s3_operations_release(s3, s3->probe.error);
}

static void warn_once(struct s3 *s3)
{
    if (!s3->probe.was_warned)
        log_warning(
            "s3: what the store can do is not known yet, writes wait for it: %s", s3->probe.error);
    s3->probe.was_warned = true;
}

static void probe_failed(struct s3 *s3)
{
    s3->probe.running = false;
    s3->probe.is_refused = !s3->probe.steps.again;
    s3->probe.again_ms =
        driver_now_ms() + (s3->probe.is_refused ? PROBE_REFUSED_MS : PROBE_AGAIN_MS);
    if (s3->events.complete != NULL) /* else try_store says it */
        warn_once(s3);
    if (s3->probe.is_refused)
        s3_operations_release(s3, s3->probe.error);
}

static void on_probe_answer(struct s3_exchange *exchange)
{
    struct s3 *s3 = exchange->context;
    size_t index = exchange == &s3->probe.exchanges[0] ? 0 : 1;
    struct s3_probe_answer *result = &s3->probe.results[index];
    result->outcome = exchange->outcome;
    memcpy(result->etag, exchange->etag, sizeof(result->etag));
    if (exchange->error[0] != '\0' && exchange->outcome != S3_CONDITION)
        memcpy(s3->probe.error, exchange->error, sizeof(s3->probe.error));
    if (++s3->probe.answers < s3->probe.calls)
        return;
    unsigned tries = s3->probe.steps.tries, starts = s3->probe.steps.starts;
    s3_probe_answer(&s3->probe.steps, s3->probe.results);
    for (unsigned i = 0; i < 2; i++)
        s3_exchange_end(&s3->client, &s3->probe.exchanges[i]);
    if (s3->probe.steps.step == S3_PROBE_FAILED)
        probe_failed(s3);
    else if (s3->probe.steps.step == S3_PROBE_OVER)
        probe_over(s3);
    else if (s3->probe.steps.tries > tries || s3->probe.steps.starts > starts)
        s3->probe.again_ms = driver_now_ms() + PROBE_PAUSE_MS; /* s3_advance goes on */
    else
        probe_step(s3);
}

/* Sends the requests of the step. */
static void probe_step(struct s3 *s3)
{
    struct s3_probe_call steps[2];
    s3->probe.calls = s3_probe_calls(&s3->probe.steps, steps);
    s3->probe.answers = 0;
    s3->probe.again_ms = UINT64_MAX;
    for (unsigned i = 0; i < s3->probe.calls; i++) {
        char *body = s3->probe.bodies[i];
        int size = snprintf(
            body, sizeof(s3->probe.bodies[i]), "brain: what can this store do? %u", steps[i].body);
        struct s3_call call = {
            .method = steps[i].remove ? S3_DELETE : S3_PUT,
            .name = slice_of_string(s3->probe.name),
            .head = slice_of(body, steps[i].remove ? 0 : (size_t)size),
            .condition = steps[i].condition,
            .etag = steps[i].etag,
            .quoted = steps[i].quoted,
        };
        if (s3_exchange_start(&s3->client, &s3->probe.exchanges[i], &call, PROBE_STEP_MS))
            continue;
        for (unsigned k = 0; k < i; k++)
            s3_exchange_end(&s3->client, &s3->probe.exchanges[k]);
        snprintf(s3->probe.error, sizeof(s3->probe.error), "%s", error_sentence(BRAIN_ENOMEM));
        s3->probe.steps.again = true;
        probe_failed(s3);
        return;
    }
}

static void probe_begin(struct s3 *s3)
{
    s3_probe_init(&s3->probe.steps);
    s3->probe.running = true;
    snprintf(s3->probe.name, sizeof(s3->probe.name), "%s!probe/%" PRIx64 "-%016" PRIx64, s3->prefix,
        unix_ms(), s3_random(s3));
    probe_step(s3);
}

static void probe_cancel(struct s3 *s3)
{
    for (unsigned i = 0; i < 2; i++)
        s3_exchange_end(&s3->client, &s3->probe.exchanges[i]);
    s3->probe.running = false;
}

/* What is due of the probe; returns when the next is. */
static uint64_t probe_advance(struct s3 *s3, uint64_t now_ms)
{
    if (s3->state == S3_TRIED || s3->stopping)
        return UINT64_MAX;
    if (now_ms >= s3->probe.again_ms) {
        if (s3->probe.running)
            probe_step(s3);
        else
            probe_begin(s3);
    }
    return s3->probe.again_ms;
}

void s3_note_weak(struct s3 *s3)
{
    if (!s3->ability.create && !s3->ability.replace)
        return;
    log_warning("s3: %s refuses conditional writes (501): from now on a late writer can replace a "
                "newer version",
        s3->client.base);
    s3->ability = (struct s3_ability){.quoted = true};
}

/* ---- opening ----------------------------------------------------------------------------------
 */

/* Tries the store out. It may be down: a node must be able to start then; but not with a store that
 * will never serve it. */
static int try_store(struct s3 *s3, char why[WAREHOUSE_TEXT])
{
    uint64_t now_ms = driver_now_ms(), end_ms = now_ms + OPEN_MS;
    probe_begin(s3);
    while (s3->probe.running && now_ms < end_ms) {
        curl_pool_run(s3->client.pool, PROBE_PAUSE_MS);
        now_ms = driver_now_ms();
        if (s3->probe.running)
            probe_advance(s3, now_ms);
    }
    if (s3->probe.running) {
        probe_cancel(s3);
        s3->probe.again_ms = now_ms + PROBE_AGAIN_MS;
        if (s3->probe.error[0] == '\0')
            snprintf(s3->probe.error, sizeof(s3->probe.error), "%.200s: no answer within %d s",
                s3->client.base, OPEN_MS / 1000);
    }
    if (s3->state == S3_TRIED)
        return 0;
    if (!s3->probe.is_refused && !s3->require_conditions) {
        warn_once(s3);
        return 0;
    }
    memcpy(why, s3->probe.error, WAREHOUSE_TEXT);
    return s3->probe.is_refused ? BRAIN_ECONFIG : BRAIN_EWAREHOUSE;
}

static void s3_close(void *state)
{
    struct s3 *s3 = state;
    probe_cancel(s3);
    s3_client_close(&s3->client);
    s3_etags_release(&s3->etags);
    heap_release(s3);
}

static int set_up(struct s3 *s3, const struct s3_options *options, char why[WAREHOUSE_TEXT])
{
    int size = snprintf(s3->prefix, sizeof(s3->prefix), "%s", options->prefix);
    if (size > PREFIX_LIMIT || !utf8_is_valid(slice_of_string(options->prefix))) {
        snprintf(why, WAREHOUSE_TEXT, "s3_prefix is not UTF-8 of at most %d bytes", PREFIX_LIMIT);
        return BRAIN_ECONFIG;
    }
    if (options->parallel == 0 || options->timeout_ms == 0) {
        snprintf(why, WAREHOUSE_TEXT, "s3_parallel and s3_timeout must not be 0");
        return BRAIN_ECONFIG;
    }
    if (getrandom(&s3->random, sizeof(s3->random), 0) != (ssize_t)sizeof(s3->random)) {
        snprintf(why, WAREHOUSE_TEXT, "the kernel gives no random numbers");
        return BRAIN_EIO;
    }
    s3->random |= 1; /* not all zero, for ever */
    if (s3_etags_init(&s3->etags, ETAG_SETS) != 0) {
        snprintf(why, WAREHOUSE_TEXT, "%s", error_sentence(BRAIN_ENOMEM));
        return BRAIN_ENOMEM;
    }
    for (unsigned i = 0; i < 2; i++) {
        s3->probe.exchanges[i].done = on_probe_answer;
        s3->probe.exchanges[i].context = s3;
    }
    s3->limits = (struct driver_limits){options->parallel, options->timeout_ms, STOP_MS};
    s3->require_conditions = options->require_conditions;
    return s3_client_open(&s3->client, options, why);
}

static int s3_open(void **state, const struct warehouse_options *options, struct version *epoch,
    char why[WAREHOUSE_TEXT])
{
    struct s3 *s3 = heap_allocate_zeroed(sizeof(*s3));
    if (s3 == NULL) {
        snprintf(why, WAREHOUSE_TEXT, "%s", error_sentence(BRAIN_ENOMEM));
        return BRAIN_ENOMEM;
    }
    s3->value_limit =
        options->value_limit_bytes != 0 ? options->value_limit_bytes : value_limit_default;
    int status = set_up(s3, &options->s3, why);
    if (status == 0)
        status = try_store(s3, why);
    if (status != 0) {
        s3_close(s3);
        return status;
    }
    *epoch = (struct version){0, unix_ms(), 0};
    *state = s3;
    return 0;
}

/* ---- the thread -------------------------------------------------------------------------------
 */

static void s3_start(void *state, struct driver_events events, struct driver_limits *limits)
{
    struct s3 *s3 = state;
    s3->events = events;
    *limits = s3->limits;
}

static void s3_begin(void *state, struct warehouse_request *request)
{
    s3_operation_begin(state, request);
}

static void s3_progress(void *state, int timeout_ms)
{
    struct s3 *s3 = state;
    uint64_t now_ms = driver_now_ms();
    if (now_ms >= s3->refresh_ms) {
        if (s3->refresh_ms != 0 && s3_client_refresh(&s3->client))
            log_info("s3: read new credentials from %s", s3->client.source.file);
        s3->refresh_ms = now_ms + REFRESH_MS;
    }
    uint64_t probe_ms = probe_advance(s3, now_ms);
    uint64_t due_ms = s3_operations_advance(s3, now_ms);
    if (probe_ms < due_ms)
        due_ms = probe_ms;
    if (due_ms < now_ms + (uint64_t)timeout_ms)
        timeout_ms = due_ms > now_ms ? (int)(due_ms - now_ms) : 0;
    curl_pool_run(s3->client.pool, timeout_ms);
}

static void s3_wake(void *state)
{
    struct s3 *s3 = state;
    curl_pool_wake(s3->client.pool);
}

static void s3_stop(void *state, uint64_t deadline_ms)
{
    struct s3 *s3 = state;
    s3_operations_stop(s3, deadline_ms);
    if (s3->probe.running)
        probe_cancel(s3);
}

const struct warehouse_driver warehouse_s3 = {
    .name = "s3",
    .forgets = true, /* where the store removes under a condition; s3_operation.c */
    .open = s3_open,
    .start = s3_start,
    .begin = s3_begin,
    .progress = s3_progress,
    .wake = s3_wake,
    .stop = s3_stop,
    .close = s3_close,
};
