/* managers_tool: one member of a cluster without a server around it, driven from standard input.
 *
 *   managers_tool name=a@host servers=http://127.0.0.1:2379 [option=value ...]
 *
 *   join | leave | evict NAME INCARNATION | error | (end of input: closes)
 *
 * With rejoin=true a LOST is followed by a join at once. Each event is a line, flushed:
 *
 *   MS KIND key=value ...       MS: CLOCK_BOOTTIME in ms, which all processes of a machine share
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/managers.h"

static uv_loop_t loop;
static uv_pipe_t input;
static struct managers *managers;
static bool rejoin;
static char text[4096];
static size_t text_size;

static void print_view(const struct managers_view *view)
{
    printf(" view=%" PRIu64 " digest=%016" PRIx64 " members=", view->number, view->digest);
    for (size_t i = 0; i < view->count; i++) {
        const struct managers_member *member = &view->members[i];
        printf("%s%s/%016" PRIx64 "/%s/%u/%" PRIu32, i == 0 ? "" : ",", member->name,
            member->incarnation, member->address, member->port, member->protocol);
    }
}

static void on_event(void *context, const struct managers_event *event)
{
    static const char *const kinds[] = {
        "LEASE", "JOINED", "VIEW", "RENEWED", "LOST", "LEFT", "REFUSED"};
    static const char *const reasons[] = {"gone", "evicted", "compacted", "reset"};
    (void)context;
    printf("%" PRIu64 " %s", managers_now_ms(), kinds[event->kind]);
    switch (event->kind) {
    case MANAGERS_LEASE:
        printf(" lease=%" PRId64, event->lease);
        break;
    case MANAGERS_JOINED:
        printf(" incarnation=%016" PRIx64 " until=%" PRIu64 " history=%016" PRIx64 " reset=%d",
            event->incarnation, event->until_ms, event->history, event->reset);
        print_view(&event->view);
        break;
    case MANAGERS_VIEW:
    case MANAGERS_REFUSED:
        print_view(&event->view);
        break;
    case MANAGERS_RENEWED:
        printf(" until=%" PRIu64 " behind=%" PRIu64, event->until_ms, event->behind_ms);
        break;
    case MANAGERS_LOST:
        printf(" reason=%s", reasons[event->reason]);
        break;
    case MANAGERS_LEFT:
        printf(" confirmed=%d", event->confirmed);
        break;
    }
    printf("\n");
    fflush(stdout);
    if (event->kind == MANAGERS_LOST && rejoin)
        managers_join(managers);
}

static void on_closed(void *context)
{
    (void)context;
    printf("%" PRIu64 " CLOSED\n", managers_now_ms());
    fflush(stdout);
}

static void on_line(char *line)
{
    char name[MANAGERS_NAME_LIMIT + 1];
    uint64_t incarnation;
    if (strcmp(line, "join") == 0) {
        managers_join(managers);
    } else if (strcmp(line, "leave") == 0) {
        managers_leave(managers);
    } else if (sscanf(line, "evict %255s %" SCNx64, name, &incarnation) == 2) {
        managers_evict(managers, name, incarnation);
    } else if (strcmp(line, "error") == 0) {
        printf("%" PRIu64 " ERROR text=%s\n", managers_now_ms(), managers_last_error(managers));
        fflush(stdout);
    } else {
        fprintf(stderr, "managers_tool: \"%s\" is not a command\n", line);
        exit(2);
    }
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(text + text_size, (unsigned)(sizeof(text) - text_size));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    (void)buffer;
    if (got < 0) {
        uv_close((uv_handle_t *)stream, NULL);
        managers_close(managers, on_closed);
        return;
    }
    text_size += (size_t)got;
    char *begin = text, *end;
    while ((end = memchr(begin, '\n', text_size - (size_t)(begin - text))) != NULL) {
        *end = '\0';
        on_line(begin);
        begin = end + 1;
    }
    text_size -= (size_t)(begin - text);
    memmove(text, begin, text_size);
}

static bool set_option(struct managers_options *options, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **text;
    } texts[] = {{"servers", &options->servers}, {"prefix", &options->prefix},
        {"user", &options->user}, {"password", &options->password}, {"ca_file", &options->ca_file},
        {"cert_file", &options->cert_file}, {"key_file", &options->key_file},
        {"name", &options->name}, {"address", &options->address}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(texts[i].name, name) == 0) {
            *texts[i].text = value;
            return true;
        }
    }
    uint64_t number = strtoull(value, NULL, 10);
    if (strcmp(name, "lease") == 0)
        options->lease_ms = number;
    else if (strcmp(name, "port") == 0)
        options->port = (uint16_t)number;
    else if (strcmp(name, "protocol") == 0)
        options->protocol = (uint32_t)number;
    else if (strcmp(name, "predecessor") == 0)
        options->predecessor_lease = (int64_t)number;
    else if (strcmp(name, "locked") == 0)
        options->data_dir_locked = strcmp(value, "true") == 0;
    else if (strcmp(name, "rejoin") == 0)
        rejoin = strcmp(value, "true") == 0;
    else
        return false;
    return true;
}

int main(int count, char **arguments)
{
    struct managers_options options = {.servers = "",
        .prefix = "brain/",
        .user = "",
        .password = "",
        .ca_file = "",
        .cert_file = "",
        .key_file = "",
        .lease_ms = 2000,
        .name = "",
        .address = ""};
    for (int i = 1; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (value != NULL)
            *value++ = '\0';
        if (value == NULL || !set_option(&options, arguments[i], value)) {
            fprintf(stderr, "managers_tool: %s is not an option\n", arguments[i]);
            return 2;
        }
    }
    const char *why = "";
    uv_loop_init(&loop);
    int status = managers_open(&managers, &loop, &options, on_event, NULL, &why);
    if (status != 0) {
        printf("%" PRIu64 " REFUSED text=%s\n", managers_now_ms(), why);
    } else {
        uv_pipe_init(&loop, &input, 0);
        uv_pipe_open(&input, 0);
        uv_read_start((uv_stream_t *)&input, on_allocate, on_read);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return status == 0 ? 0 : 1;
}
