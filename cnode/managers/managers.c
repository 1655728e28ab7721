/* managers: the thread around a session: commands in, requests through libcurl, events out.
 *
 *   owner's loop                         thread
 *   join, leave, evict -> [ commands ] -> session --- POST ---> etcd
 *   event             <-  [ events ]  <-          <-- watch ---
 *                       uv_async */
#include "brain/managers.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "brain/log.h"
#include "exchange.h"
#include "session.h"

enum {
    COMMANDS_LIMIT = 64, /* evictions that wait; more are forgotten */
    DELIVER_LIMIT = 64,  /* events in one turn of the owner's loop */
    IDLE_MS = 60000,
};

struct command {
    enum { COMMAND_JOIN, COMMAND_LEAVE, COMMAND_EVICT } kind;
    uint64_t incarnation;
    char name[MANAGERS_NAME_LIMIT + 1];
};

struct event_item {
    struct event_item *next;
    struct managers_event event;
    struct managers_metrics metrics; /* when it happened */
    bool is_kept;                    /* part of struct managers, not to be freed */
    struct managers_member *members; /* of the view, behind the item; NULL: none */
};

struct managers {
    managers_event_cb event;
    void *context;
    void (*closed)(void *context);
    struct managers_metrics metrics;
    char error[MANAGERS_TEXT];
    uv_async_t wake_owner;
    pthread_t thread;

    pthread_mutex_t lock;
    /* Shared, under `lock`: */
    struct command commands[COMMANDS_LIMIT];
    size_t commands_count;
    struct event_item *first, **last;
    struct managers_metrics latest;
    char failure[MANAGERS_TEXT];
    bool closing, stopped;
    /* The ends of a membership must be told even without memory. Each can be under way only once:
     * the next one needs a managers_join, which comes after the event. */
    struct event_item lost, left;
    bool lost_queued, left_queued;

    /* The thread's: */
    struct endpoints endpoints;
    struct session session;
    struct curl_pool *pool;
    struct exchange call, watch;
    char ca_file[4096], cert_file[4096], key_file[4096];
};

/* ---- the thread ---------------------------------------------------------------------------------
 */

static struct event_item *make_item(struct managers *managers, const struct managers_event *event)
{
    if (event->kind == MANAGERS_LOST || event->kind == MANAGERS_LEFT) {
        struct event_item *item = event->kind == MANAGERS_LOST ? &managers->lost : &managers->left;
        bool *queued =
            event->kind == MANAGERS_LOST ? &managers->lost_queued : &managers->left_queued;
        if (*queued)
            return NULL;
        *queued = true;
        item->is_kept = true;
        return item;
    }
    size_t bytes = event->view.count * sizeof(struct managers_member);
    struct event_item *item = heap_allocate(sizeof(*item) + bytes);
    if (item == NULL)
        return NULL;
    item->is_kept = false;
    item->members = (struct managers_member *)(item + 1);
    if (bytes > 0)
        memcpy(item->members, event->view.members, bytes);
    return item;
}

static bool on_event(void *context, const struct managers_event *event)
{
    struct managers *managers = context;
    pthread_mutex_lock(&managers->lock);
    struct event_item *item = make_item(managers, event);
    if (item != NULL) {
        item->next = NULL;
        item->event = *event;
        item->event.view.members = item->members;
        item->metrics = managers->session.metrics;
        *managers->last = item;
        managers->last = &item->next;
    }
    pthread_mutex_unlock(&managers->lock);
    uv_async_send(&managers->wake_owner);
    return item != NULL;
}

static void on_note(void *context, enum log_level level, const char *sentence)
{
    (void)context;
    log_line(level, "managers: %s", sentence);
}

static void on_call_done(struct exchange *exchange, const char *why)
{
    struct managers *managers = exchange->context;
    if (why != NULL)
        session_failed(&managers->session, managers_now_ms(), why);
    else
        session_answered(&managers->session, managers_now_ms(), buffer_slice(&exchange->body));
}

static bool on_watch_bytes(struct exchange *exchange, struct slice bytes)
{
    struct managers *managers = exchange->context;
    return session_watch_bytes(&managers->session, managers_now_ms(), bytes);
}

static void on_watch_done(struct exchange *exchange, const char *why)
{
    struct managers *managers = exchange->context;
    session_watch_ended(&managers->session, managers_now_ms(), why);
}

static void obey(struct managers *managers, const struct command *command)
{
    struct session *session = &managers->session;
    uint64_t now_ms = managers_now_ms();
    if (command->kind == COMMAND_JOIN)
        session_join(session, now_ms);
    else if (command->kind == COMMAND_LEAVE)
        session_leave(session, now_ms);
    else
        session_evict(session, now_ms, command->name, command->incarnation);
}

/* False: the thread is to end. */
static bool take_commands(struct managers *managers)
{
    struct command command;
    bool closing;
    for (;;) {
        pthread_mutex_lock(&managers->lock);
        bool some = managers->commands_count > 0;
        if (some) {
            command = managers->commands[0];
            managers->commands_count--;
            memmove(managers->commands, managers->commands + 1,
                managers->commands_count * sizeof(command));
        }
        closing = managers->closing;
        managers->latest = managers->session.metrics;
        bool news = strcmp(managers->failure, managers->session.error) != 0;
        memcpy(managers->failure, managers->session.error, sizeof(managers->failure));
        pthread_mutex_unlock(&managers->lock);
        if (news)
            uv_async_send(&managers->wake_owner);
        if (!some || closing)
            return !closing;
        obey(managers, &command);
    }
}

static void make_requests(struct managers *managers)
{
    struct session *session = &managers->session;
    struct session_call call;
    uint64_t now_ms = managers_now_ms();
    session_advance(session, now_ms);
    if (managers->watch.running && session_watch_unwanted(session)) {
        exchange_end(managers->pool, &managers->watch);
        session_watch_ended(session, now_ms, "it was stopped");
    }
    if (!managers->call.running && session_call(session, now_ms, &call) &&
        !exchange_start(
            managers->pool, &managers->call, managers->endpoints.urls[call.endpoint], &call))
        session_failed(session, now_ms, error_sentence(BRAIN_ENOMEM));
    if (!managers->watch.running && session_watch(session, now_ms, &call) &&
        !exchange_start(
            managers->pool, &managers->watch, managers->endpoints.urls[call.endpoint], &call))
        session_watch_ended(session, now_ms, error_sentence(BRAIN_ENOMEM));
}

static void *run(void *argument)
{
    struct managers *managers = argument;
    while (take_commands(managers)) {
        make_requests(managers);
        uint64_t now_ms = managers_now_ms(), due_ms = session_due(&managers->session);
        uint64_t wait_ms = due_ms <= now_ms ? 0 : due_ms - now_ms;
        curl_pool_run(managers->pool, wait_ms < IDLE_MS ? (int)wait_ms : IDLE_MS);
    }
    exchange_end(managers->pool, &managers->call);
    exchange_end(managers->pool, &managers->watch);
    pthread_mutex_lock(&managers->lock);
    managers->stopped = true;
    pthread_mutex_unlock(&managers->lock);
    uv_async_send(&managers->wake_owner);
    return NULL;
}

/* ---- the owner's side ---------------------------------------------------------------------------
 */

static void submit(struct managers *managers, const struct command *command)
{
    pthread_mutex_lock(&managers->lock);
    /* The last two places are for what must not be forgotten. */
    size_t limit = command->kind == COMMAND_EVICT ? COMMANDS_LIMIT - 2 : COMMANDS_LIMIT;
    if (managers->commands_count < limit)
        managers->commands[managers->commands_count++] = *command;
    pthread_mutex_unlock(&managers->lock);
    curl_pool_wake(managers->pool);
}

void managers_join(struct managers *managers)
{
    submit(managers, &(struct command){.kind = COMMAND_JOIN});
}

void managers_leave(struct managers *managers)
{
    submit(managers, &(struct command){.kind = COMMAND_LEAVE});
}

void managers_evict(struct managers *managers, const char *name, uint64_t incarnation)
{
    struct command command = {.kind = COMMAND_EVICT, .incarnation = incarnation};
    snprintf(command.name, sizeof(command.name), "%s", name);
    submit(managers, &command);
}

const char *managers_last_error(const struct managers *managers)
{
    return managers->error;
}

void managers_metrics_register(struct metrics_registry *registry, const struct managers *managers)
{
    const char *group = "managers";
    const struct managers_metrics *source = &managers->metrics;
    MANAGERS_METRICS(METRICS_ROW)
}

static void managers_free(struct managers *managers)
{
    while (managers->first != NULL) {
        struct event_item *item = managers->first;
        managers->first = item->next;
        if (!item->is_kept)
            heap_release(item);
    }
    buffer_release(&managers->call.body);
    buffer_release(&managers->watch.body);
    session_release(&managers->session);
    curl_pool_destroy(managers->pool);
    pthread_mutex_destroy(&managers->lock);
    heap_release(managers);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct managers *managers = handle->data;
    void (*closed)(void *context) = managers->closed;
    void *context = managers->context;
    managers_free(managers);
    if (closed != NULL)
        closed(context);
}

/* The next event, or NULL; what is true of the thread now goes with it. */
static struct event_item *next_event(struct managers *managers, bool *over)
{
    pthread_mutex_lock(&managers->lock);
    struct event_item *item = managers->first;
    if (item != NULL) {
        managers->first = item->next;
        if (managers->first == NULL)
            managers->last = &managers->first;
        if (item->event.kind == MANAGERS_LOST)
            managers->lost_queued = false;
        if (item->event.kind == MANAGERS_LEFT)
            managers->left_queued = false;
        managers->metrics = item->metrics;
    } else {
        managers->metrics = managers->latest;
    }
    memcpy(managers->error, managers->failure, sizeof(managers->error));
    *over = item == NULL && managers->stopped;
    pthread_mutex_unlock(&managers->lock);
    return item;
}

static void on_wake(uv_async_t *async)
{
    struct managers *managers = async->data;
    bool over = false;
    for (int i = 0; i < DELIVER_LIMIT; i++) {
        struct event_item *item = next_event(managers, &over);
        if (item == NULL)
            break;
        /* A copy: a kept item may be queued again out of the call. */
        struct managers_event event = item->event;
        managers->event(managers->context, &event);
        if (!item->is_kept)
            heap_release(item);
        if (i + 1 == DELIVER_LIMIT)
            uv_async_send(async);
    }
    if (over && !uv_is_closing((uv_handle_t *)async)) {
        pthread_join(managers->thread, NULL);
        uv_close((uv_handle_t *)async, on_handle_closed);
    }
}

/* ---- opening ------------------------------------------------------------------------------------
 */

static bool keep_file(char to[4096], const char *path, const char *what, char why[MANAGERS_TEXT])
{
    snprintf(to, 4096, "%s", path);
    if (path[0] == '\0' || (strlen(path) < 4096 && access(path, R_OK) == 0))
        return true;
    snprintf(why, MANAGERS_TEXT, "the %s for etcd, %.200s, cannot be read", what, path);
    return false;
}

static int set_options(
    struct managers *managers, const struct managers_options *options, char why[MANAGERS_TEXT])
{
    struct session_options own;
    struct session_hooks hooks = {managers, on_event, on_note};
    int status = endpoints_parse(&managers->endpoints, options->servers, why, MANAGERS_TEXT);
    if (status == 0)
        status = session_options_set(&own, options, why);
    if (status != 0)
        return status;
    if (!keep_file(managers->ca_file, options->ca_file, "file of authorities", why) ||
        !keep_file(managers->cert_file, options->cert_file, "certificate", why) ||
        !keep_file(managers->key_file, options->key_file, "key", why))
        return BRAIN_ECONFIG;
    own.endpoints = &managers->endpoints;
    if (getrandom(&own.seed, sizeof(own.seed), 0) != sizeof(own.seed)) {
        snprintf(why, MANAGERS_TEXT, "no random bytes");
        return BRAIN_EIO;
    }
    own.seed |= own.seed == 0;
    own.wall_s = (uint64_t)time(NULL);
    own.wall_at_ms = managers_now_ms();
    session_init(&managers->session, &own, hooks);
    explicit_bzero(&own, sizeof(own));
    uint64_t timeout_ms = session_timeout_ms(&managers->session);
    struct curl_pool_options pool = {.connections = 4,
        .protocols = "http,https",
        .ca_file = managers->ca_file,
        .cert_file = managers->cert_file,
        .key_file = managers->key_file,
        .connect_timeout_ms = timeout_ms,
        .stall_timeout_ms = timeout_ms};
    managers->pool = curl_pool_create(&pool);
    if (managers->pool == NULL) {
        session_release(&managers->session);
        snprintf(why, MANAGERS_TEXT, "%s", error_sentence(BRAIN_ENOMEM));
        return BRAIN_ENOMEM;
    }
    return 0;
}

int managers_open(struct managers **managers_out, uv_loop_t *loop,
    const struct managers_options *options, managers_event_cb event, void *context,
    const char **why)
{
    static char text[MANAGERS_TEXT];
    *why = text;
    struct managers *managers = heap_allocate_zeroed(sizeof(*managers));
    if (managers == NULL) {
        snprintf(text, sizeof(text), "%s", error_sentence(BRAIN_ENOMEM));
        return BRAIN_ENOMEM;
    }
    managers->event = event;
    managers->context = context;
    managers->last = &managers->first;
    int status = set_options(managers, options, text);
    if (status != 0) {
        heap_release(managers);
        return status;
    }
    managers->call = (struct exchange){.done = on_call_done, .context = managers};
    managers->watch =
        (struct exchange){.done = on_watch_done, .bytes = on_watch_bytes, .context = managers};
    pthread_mutex_init(&managers->lock, NULL);
    status = uv_async_init(loop, &managers->wake_owner, on_wake);
    if (status != 0) {
        snprintf(text, sizeof(text), "no descriptor to wake the loop: %s", uv_strerror(status));
        managers_free(managers);
        return BRAIN_EIO;
    }
    managers->wake_owner.data = managers;
    status = pthread_create(&managers->thread, NULL, run, managers);
    if (status != 0) {
        snprintf(text, sizeof(text), "the managers' thread could not be started: %s",
            uv_strerror(uv_translate_sys_error(status)));
        uv_close((uv_handle_t *)&managers->wake_owner, on_handle_closed);
        return BRAIN_EIO;
    }
    *managers_out = managers;
    return 0;
}

void managers_close(struct managers *managers, void (*closed)(void *context))
{
    managers->closed = closed;
    pthread_mutex_lock(&managers->lock);
    managers->closing = true;
    pthread_mutex_unlock(&managers->lock);
    curl_pool_wake(managers->pool);
}
