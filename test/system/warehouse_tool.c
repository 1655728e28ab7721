/* warehouse_tool: drives a warehouse through its real interface, from lines on standard input.
 *
 *   warehouse_tool manager=s3 endpoint=http://... bucket=b ...
 *   warehouse_tool manager=ftp host=127.0.0.1 port=2121 user=... pass=... dir=...
 *
 *   load ID                          ID: hex
 *   look ID                          a load that nobody waits for
 *   dump ID VERSION EXPECTED VALUE   VERSION: view.counter.seq; EXPECTED: the same, or - for not
 *   delete ID VERSION EXPECTED       known; VALUE: size:seed, an Erlang binary of so many bytes
 *   aside ID VERSION VALUE
 *   forget ID VERSION                a tombstone
 *   (end of input)                   closes
 *
 * Lines are submitted as they come, without waiting. Answers, as they come:
 *
 *   open EPOCH_COUNTER MS | refused CODE SENTENCE
 *   LINE STATUS STORED TOMBSTONE SIZE CRC MS SENTENCE      CRC: of the value loaded or dumped
 *   closed MS
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brain/warehouse.h"

struct job {
    struct warehouse_request request;
    unsigned line;
    uint64_t since_ms;
    uint32_t crc;
    size_t size;
};

static uv_loop_t loop;
static uv_pipe_t input;
static struct warehouse *warehouse;
static char text[1 << 16];
static size_t text_size;
static unsigned lines;
static uint64_t closing_ms;

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static void on_done(void *context, struct warehouse_request *request)
{
    struct job *job = (struct job *)request;
    const char *status = request->status == 0 ? "ok" : error_atom(request->status);
    (void)context;
    if (request->loaded.block != NULL) {
        job->crc = crc32c(0, value_slice(request->loaded));
        job->size = request->loaded.size;
    }
    printf("%u %s ", job->line, status);
    if (request->stored_known)
        printf("%" PRIu64 ".%" PRIu64 ".%" PRIu64, request->stored.view, request->stored.counter,
            request->stored.seq);
    else
        printf("-");
    printf(" %d %zu %08x %" PRIu64 " %s\n", request->stored_tombstone, job->size, job->crc,
        now_ms() - job->since_ms,
        request->status == BRAIN_EWAREHOUSE ? warehouse_last_error(warehouse) : "");
    fflush(stdout);
    value_drop(&request->loaded);
    free(job);
}

static bool read_id(struct warehouse_request *request, const char *hex)
{
    request->id_size = strlen(hex) / 2;
    if (request->id_size == 0 || request->id_size > sizeof(request->id))
        return false;
    for (size_t i = 0; i < request->id_size; i++) {
        unsigned byte;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return false;
        request->id[i] = (uint8_t)byte;
    }
    return true;
}

static bool read_version(struct version *version, const char *word)
{
    return sscanf(word, "%" SCNu64 ".%" SCNu64 ".%" SCNu64, &version->view, &version->counter,
               &version->seq) == 3;
}

/* BINARY_EXT of bytes that depend on the seed. */
static bool read_value(struct job *job, const char *word)
{
    size_t size;
    uint64_t seed;
    if (sscanf(word, "%zu:%" SCNu64, &size, &seed) != 2)
        return false;
    struct block *block = block_create(size + 5);
    if (block == NULL)
        return false;
    block->bytes[0] = 'm';
    store_be32(block->bytes + 1, (uint32_t)size);
    uint64_t state = seed * 2 + 1;
    for (size_t i = 0; i < size; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        block->bytes[5 + i] = (uint8_t)(state >> 56);
    }
    job->request.value = (struct value){block, block->bytes, size + 5};
    job->size = size + 5;
    job->crc = crc32c(0, value_slice(job->request.value));
    return true;
}

static bool submit(struct job *job, char *line)
{
    struct warehouse_request *request = &job->request;
    char *rest = NULL, *words[5];
    size_t count = 0;
    for (char *word = strtok_r(line, " ", &rest); word != NULL && count < 5;
         word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    if (count < 2 || !read_id(request, words[1]))
        return false;
    if (count == 2 && (strcmp(words[0], "load") == 0 || strcmp(words[0], "look") == 0)) {
        request->operation = WAREHOUSE_LOAD;
        request->wanted = words[0][2] == 'a';
        return true;
    }
    if (count == 3 && strcmp(words[0], "forget") == 0) {
        request->operation = WAREHOUSE_FORGET;
        request->expected_known = true;
        return warehouse_forgets(warehouse) && read_version(&request->expected, words[2]);
    }
    if (count < 4 || !read_version(&request->version, words[2]))
        return false;
    if (count == 4 && strcmp(words[0], "aside") == 0) {
        request->operation = WAREHOUSE_SET_ASIDE;
        return read_value(job, words[3]);
    }
    request->operation = WAREHOUSE_DUMP;
    request->expected_known = strcmp(words[3], "-") != 0;
    if (request->expected_known && !read_version(&request->expected, words[3]))
        return false;
    request->tombstone = count == 4 && strcmp(words[0], "delete") == 0;
    return request->tombstone ||
           (count == 5 && strcmp(words[0], "dump") == 0 && read_value(job, words[4]));
}

static void on_line(char *line)
{
    struct job *job = calloc(1, sizeof(*job));
    if (job == NULL)
        abort();
    job->line = ++lines;
    job->since_ms = now_ms();
    if (!submit(job, line)) {
        fprintf(stderr, "warehouse_tool: line %u is not a command\n", lines);
        exit(2);
    }
    warehouse_submit(warehouse, &job->request);
}

static void on_closed(void *context)
{
    (void)context;
    printf("closed %" PRIu64 "\n", now_ms() - closing_ms);
    fflush(stdout);
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
        closing_ms = now_ms();
        warehouse_close(warehouse, on_closed);
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

static bool set_option(struct warehouse_options *options, const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **text;
        uint64_t *number;
        bool *flag;
    } all[] = {
        {"manager", &options->manager, NULL, NULL},
        {"data_dir", &options->data_dir, NULL, NULL},
        {"value_limit", NULL, &options->value_limit_bytes, NULL},
        {"patience", NULL, &options->patience_ms, NULL},
        {"endpoint", &options->s3.endpoint, NULL, NULL},
        {"region", &options->s3.region, NULL, NULL},
        {"bucket", &options->s3.bucket, NULL, NULL},
        {"prefix", &options->s3.prefix, NULL, NULL},
        {"path_style", NULL, NULL, &options->s3.path_style},
        {"ca_file", &options->s3.ca_file, NULL, NULL},
        {"access_key", &options->s3.access_key, NULL, NULL},
        {"secret_key", &options->s3.secret_key, NULL, NULL},
        {"session_token", &options->s3.session_token, NULL, NULL},
        {"profile", &options->s3.profile, NULL, NULL},
        {"timeout", NULL, &options->s3.timeout_ms, NULL},
        {"connect_timeout", NULL, &options->s3.connect_timeout_ms, NULL},
        {"stall_timeout", NULL, &options->s3.stall_timeout_ms, NULL},
        {"host", &options->ftp.host, NULL, NULL},
        {"user", &options->ftp.user, NULL, NULL},
        {"pass", &options->ftp.pass, NULL, NULL},
        {"dir", &options->ftp.dir, NULL, NULL},
        {"tls", NULL, NULL, &options->ftp.tls},
        {"require_conditions", NULL, NULL, &options->s3.require_conditions},
    };
    /* What the drivers have in common is set for all. */
    if (strcmp(name, "parallel") == 0) {
        options->s3.parallel = options->ftp.parallel = (uint32_t)strtoul(value, NULL, 10);
        return true;
    }
    if (strcmp(name, "port") == 0) {
        options->ftp.port = (uint32_t)strtoul(value, NULL, 10);
        return true;
    }
    if (strcmp(name, "timeout") == 0)
        options->ftp.timeout_ms = strtoull(value, NULL, 10);
    if (strcmp(name, "ca_file") == 0)
        options->ftp.ca_file = value;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(all[i].name, name) != 0)
            continue;
        if (all[i].text != NULL)
            *all[i].text = value;
        else if (all[i].number != NULL)
            *all[i].number = strtoull(value, NULL, 10);
        else
            *all[i].flag = strcmp(value, "true") == 0;
        return true;
    }
    return false;
}

int main(int count, char **arguments)
{
    struct warehouse_options options = {.manager = "s3",
        .data_dir = "",
        .s3 = {.endpoint = "",
            .region = "us-east-1",
            .bucket = "",
            .prefix = "",
            .path_style = true,
            .ca_file = "",
            .access_key = "",
            .secret_key = "",
            .session_token = "",
            .profile = "",
            .parallel = 32,
            .timeout_ms = 30000,
            .connect_timeout_ms = 3000,
            .stall_timeout_ms = 5000},
        .ftp = {.host = "127.0.0.1",
            .port = 21,
            .user = "",
            .pass = "",
            .dir = "",
            .ca_file = "",
            .parallel = 8,
            .timeout_ms = 30000}};
    for (int i = 1; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (value != NULL)
            *value++ = '\0';
        if (value == NULL || !set_option(&options, arguments[i], value)) {
            fprintf(stderr, "warehouse_tool: %s is not an option\n", arguments[i]);
            return 2;
        }
    }
    struct version epoch;
    const char *why = "";
    uint64_t since_ms = now_ms();
    uv_loop_init(&loop);
    int status = warehouse_open(&warehouse, &loop, &options, on_done, NULL, &epoch, &why);
    if (status != 0) {
        printf("refused %s %s\n", error_atom(status), why);
    } else {
        printf("open %" PRIu64 " %" PRIu64 "\n", epoch.counter, now_ms() - since_ms);
        uv_pipe_init(&loop, &input, 0);
        uv_pipe_open(&input, 0);
        uv_read_start((uv_stream_t *)&input, on_allocate, on_read);
    }
    fflush(stdout);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return status == 0 ? 0 : 1;
}
