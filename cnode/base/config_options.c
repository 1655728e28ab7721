/* The table of options, and what each value may be. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "config_private.h"

#define COUNT_OFFSET_STRING(name) 0
#define COUNT_OFFSET_BOOL(name)   0
#define COUNT_OFFSET_NUMBER(name) 0
#define COUNT_OFFSET_LIST(name)   offsetof(struct config, name##_count)
#define OPTION(kind, name, value, help)                                                            \
    {#name, CONFIG_##kind, value, help, offsetof(struct config, name), COUNT_OFFSET_##kind(name)},
const struct config_option config_options[CONFIG_OPTION_COUNT] = {CONFIG_OPTIONS(OPTION)};

/* What a NUMBER may be, and what it counts. */
struct limits {
    uint64_t min, max;
    const char *noun;
};

#define TEN_YEARS  UINT64_C(315576000000) /* ms; sums of several never overflow */
#define MANY_BYTES (UINT64_C(1) << 46)    /* 64 TiB: what a 48-bit address space can map */
#define MS(min)                                                                                    \
    {                                                                                              \
        min, TEN_YEARS, "milliseconds"                                                             \
    }
#define BYTES(min)                                                                                 \
    {                                                                                              \
        min, MANY_BYTES, "bytes"                                                                   \
    }
#define AMOUNT(min, max)                                                                           \
    {                                                                                              \
        min, max, NULL                                                                             \
    }

static const struct limits limits_of[CONFIG_OPTION_COUNT] = {
    [CONFIG_AT_server_port] = AMOUNT(0, 65535),
    [CONFIG_AT_epmd_port] = AMOUNT(1, 65535),
    [CONFIG_AT_local_map_size] = BYTES(1048576),
    /* The idle wheel turns in steps of some ms: less would be a promise it cannot keep. */
    [CONFIG_AT_key_ttl] = MS(10),
    [CONFIG_AT_server_exec_timeout] = MS(1),
    [CONFIG_AT_drain_timeout] = MS(0),
    [CONFIG_AT_journal_segment_size] = BYTES(65536),
    [CONFIG_AT_journal_max_size] = BYTES(131072),
    [CONFIG_AT_memory_limit] = BYTES(0),
    [CONFIG_AT_max_dirty_ms] = MS(0),
    /* Longer than the longest request in flight can live. */
    [CONFIG_AT_tombstone_keep] = MS(1000),
    [CONFIG_AT_dump_breaker_failures] = AMOUNT(0, 1000000),
    [CONFIG_AT_s3_parallel] = AMOUNT(1, 1024),
    [CONFIG_AT_s3_timeout] = {1000, 600000, "milliseconds"},
    [CONFIG_AT_s3_connect_timeout] = {100, 60000, "milliseconds"},
    [CONFIG_AT_s3_stall_timeout] = {1000, 600000, "milliseconds"},
    [CONFIG_AT_ftp_port] = AMOUNT(1, 65535),
    [CONFIG_AT_ftp_parallel] = AMOUNT(1, 64),
    [CONFIG_AT_ftp_timeout] = {1000, 600000, "milliseconds"},
    [CONFIG_AT_dumps_parallel] = AMOUNT(1, 1000000),
    [CONFIG_AT_dumps_parallel_bytes] = BYTES(1),
    [CONFIG_AT_dump_retry_min] = MS(1),
    [CONFIG_AT_dump_retry_max] = MS(1),
    /* etcd grants no lease shorter than that; an hour without a lost member noticed is no cluster.
     */
    [CONFIG_AT_manager_lease] = {2000, 3600000, "milliseconds"},
    [CONFIG_AT_backups] = AMOUNT(0, 7),
    [CONFIG_AT_rejoin_wait] = {0, 3600000, "milliseconds"},
    [CONFIG_AT_handoff_uses] = AMOUNT(0, 1000000),
    [CONFIG_AT_log_max_size] = BYTES(1000),
    [CONFIG_AT_log_max_num_of_files] = AMOUNT(0, 1000),
    [CONFIG_AT_handshake_timeout] = MS(10),
    [CONFIG_AT_tick_interval] = MS(10),
    [CONFIG_AT_tick_timeout] = MS(20),
    [CONFIG_AT_max_connections] = AMOUNT(1, 1000000),
    [CONFIG_AT_max_pending_handshakes] = AMOUNT(1, 1000000),
    /* The length of a frame is a 32-bit number. */
    [CONFIG_AT_max_frame_bytes] = {1024, UINT32_MAX, "bytes"},
    [CONFIG_AT_max_object_bytes] = {1, UINT32_MAX, "bytes"},
    [CONFIG_AT_max_term_depth] = AMOUNT(1, 1000000),
    [CONFIG_AT_max_term_elements] = AMOUNT(1, UINT32_MAX),
    [CONFIG_AT_max_fragment_sequences] = AMOUNT(1, 1000000),
    [CONFIG_AT_max_receive_bytes] = BYTES(1024),
    [CONFIG_AT_max_output_bytes] = BYTES(1024),
    [CONFIG_AT_max_monitors] = AMOUNT(0, 100000000),
    [CONFIG_AT_max_buffers_bytes] = BYTES(1024),
};

/* ---- sentences ---------------------------------------------------------------------------------
 */

int config_refuse(
    char *sentence, struct config_origin origin, const char *key, const char *format, ...)
{
    size_t size = 0;
    va_list arguments;

    /* Long parts are cut: the sentence must still say what is wrong. */
    if (origin.name != NULL && origin.line > 0)
        size = (size_t)snprintf(
            sentence, CONFIG_SENTENCE_LIMIT, "%.600s:%u: ", origin.name, origin.line);
    else if (origin.name != NULL)
        size = (size_t)snprintf(sentence, CONFIG_SENTENCE_LIMIT, "%.600s: ", origin.name);
    if (key != NULL)
        size += (size_t)snprintf(sentence + size, CONFIG_SENTENCE_LIMIT - size, "%.60s: ", key);
    va_start(arguments, format);
    vsnprintf(sentence + size, CONFIG_SENTENCE_LIMIT - size, format, arguments);
    va_end(arguments);
    for (char *p = sentence; *p != '\0'; p++)
        if (iscntrl((unsigned char)*p))
            *p = '?';
    return BRAIN_ECONFIG;
}

int config_no_memory(char *sentence)
{
    snprintf(sentence, CONFIG_SENTENCE_LIMIT, "out of memory while the configuration was read");
    return BRAIN_ENOMEM;
}

/* ---- names -------------------------------------------------------------------------------------
 */

size_t config_option_find(const char *name)
{
    size_t index = 0;
    while (index < CONFIG_OPTION_COUNT && strcmp(config_options[index].name, name) != 0)
        index++;
    return index;
}

/* Edits (insert, delete, replace, each 1) from `a` to `b`; both shorter than NAME_LIMIT. */
enum { NAME_LIMIT = 40 };
static unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[NAME_LIMIT + 1];
    size_t b_size = strlen(b);

    for (size_t j = 0; j <= b_size; j++)
        row[j] = (unsigned)j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        unsigned diagonal = row[0]; /* the row above, one to the left */
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < b_size; j++) {
            unsigned replaced = diagonal + (a[i] != b[j]);
            unsigned inserted = row[j] + 1, deleted = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = replaced < inserted ? replaced : inserted;
            if (deleted < row[j + 1])
                row[j + 1] = deleted;
        }
    }
    return row[b_size];
}

const char *config_option_nearest(const char *name)
{
    size_t size = strlen(name);
    const char *nearest = NULL;
    unsigned least = size < 5 ? 2 : 4; /* three slips are a typing error, four another word */

    if (size >= NAME_LIMIT)
        return NULL;
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        unsigned distance = edit_distance(name, config_options[i].name);
        if (distance < least) {
            least = distance;
            nearest = config_options[i].name;
        }
    }
    return nearest;
}

/* ---- one value
 * ----------------------------------------------------------------------------------- */

/* `"value"`, cut when long. */
enum { SHOWN_LIMIT = 80 };
static const char *show(const char *text, char out[SHOWN_LIMIT])
{
    snprintf(out, SHOWN_LIMIT, strlen(text) > 64 ? "\"%.60s...\"" : "\"%s\"", text);
    return out;
}

static const char lower_digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
static const char letters_digits[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/* `min` to `max` bytes, each one of `letters` or of `others`. */
static bool is_made_of(
    const char *text, const char *letters, const char *others, size_t min, size_t max)
{
    for (const char *p = text; *p != '\0'; p++)
        if (strchr(letters, *p) == NULL && strchr(others, *p) == NULL)
            return false;
    return strlen(text) >= min && strlen(text) <= max;
}

/* http:// or https:// with a host and perhaps a port. */
static bool is_http_url(const char *text)
{
    size_t scheme = strncmp(text, "http://", 7) == 0    ? 7
                    : strncmp(text, "https://", 8) == 0 ? 8
                                                        : 0;
    return scheme > 0 && is_made_of(text + scheme, letters_digits, "-._:[]", 1, 300);
}

/* No part may be empty: that would be every id. */
static bool is_prefix_list(const char *text)
{
    enum { LIMIT = 3500 };
    if (strlen(text) > LIMIT || !utf8_is_valid(slice_of_string(text)))
        return false;
    for (const char *part = text; *text != '\0'; part++) {
        part += strspn(part, " \t");
        const size_t size = strcspn(part, ",");
        if (size == 0)
            return false;
        part += size;
        if (*part == '\0')
            break;
    }
    return true;
}

/* 1 to 16 such URLs, with commas; a slash at the end and spaces around are allowed. */
static bool is_server_list(const char *text)
{
    unsigned count = 0;
    for (const char *p = text; *p != '\0';) {
        char url[320];
        p += strspn(p, " \t,");
        size_t size = strcspn(p, ",");
        const char *next = p + size;
        while (size > 0 && (p[size - 1] == ' ' || p[size - 1] == '\t'))
            size--;
        size -= size > 0 && p[size - 1] == '/';
        if (size >= sizeof url)
            return false;
        memcpy(url, p, size);
        url[size] = '\0';
        p = next;
        if (size > 0 && (!is_http_url(url) || ++count > 16))
            return false;
    }
    return count > 0;
}

/* name@host, as OTP's net_kernel accepts it, so that a peer can write it as an atom and epmd can
 * register the first part. */
static bool is_node_name(const char *text)
{
    const char *at = strchr(text, '@');

    if (at == NULL || at == text || at[1] == '\0' || strlen(text) > 255)
        return false;
    for (const char *p = text; *p != '\0'; p++)
        if (p != at && strchr(letters_digits, *p) == NULL &&
            strchr(p < at ? "_-" : "_-.:", *p) == NULL)
            return false;
    return true;
}

static bool is_numeric_address(const char *text)
{
    uint8_t address[16];
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

/* Decimal digits only; a number too large for 64 bits becomes UINT64_MAX. */
static bool parse_number(const char *text, uint64_t *number)
{
    *number = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9')
            return false;
        unsigned digit = (unsigned)(*p - '0');
        *number = *number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *number * 10 + digit;
    }
    return text[0] != '\0';
}

/* Milliseconds between two syncs of the journal, as journal_sync has them. */
static bool is_sync_interval(const char *text)
{
    uint64_t ms;
    return parse_number(text, &ms) && ms >= 1 && ms <= 3600000;
}

/* NULL when the STRING (or LIST element) will do, else the rest of the sentence after the value. */
static const char *objection_to_string(size_t index, const char *text)
{
    switch (index) {
    case CONFIG_AT_node:
    case CONFIG_AT_connect_nodes:
        return is_node_name(text) ? NULL : "is not a node name like brain@localhost";
    case CONFIG_AT_registered_name:
        return text[0] != '\0' && strlen(text) <= 255 && utf8_is_valid(slice_of_string(text))
                   ? NULL
                   : "is not a name of 1 to 255 bytes of UTF-8";
    case CONFIG_AT_listen_address:
    case CONFIG_AT_data_dir:
        return text[0] != '\0' ? NULL : "is empty";
    case CONFIG_AT_epmd_address:
        return is_numeric_address(text) ? NULL : "is not a numeric address like 127.0.0.1";
    case CONFIG_AT_warehouse_manager:
        return strcmp(text, "local") == 0 || strcmp(text, "s3") == 0 || strcmp(text, "ftp") == 0
                   ? NULL
                   : "is none of local, s3 and ftp";
    case CONFIG_AT_s3_endpoint:
        return text[0] == '\0' || is_http_url(text)
                   ? NULL
                   : "is not a URL like https://host:port, without a path";
    case CONFIG_AT_s3_region:
        return is_made_of(text, lower_digits, "-", 1, 64) ? NULL : "is not the name of a region";
    case CONFIG_AT_s3_bucket:
        return text[0] == '\0' || is_made_of(text, lower_digits, "-.", 3, 63)
                   ? NULL
                   : "is not the name of a bucket: 3 to 63 of a-z, 0-9, - and .";
    case CONFIG_AT_s3_prefix:
        return is_made_of(text, letters_digits, "-._/!", 0, 512)
                   ? NULL
                   : "may have letters, digits and - . _ / ! only";
    case CONFIG_AT_ftp_host:
        return text[0] == '\0' || is_made_of(text, letters_digits, "-.:_", 1, 255)
                   ? NULL
                   : "is not the name or address of a host";
    case CONFIG_AT_manager_servers:
        return is_server_list(text)
                   ? NULL
                   : "is not 1 to 16 URLs like http://host:2379 with commas between";
    case CONFIG_AT_manager_prefix:
        return is_made_of(text, letters_digits, "-._/", 1, 200)
                   ? NULL
                   : "may have 1 to 200 letters, digits and - . _ / only";
    case CONFIG_AT_replicate:
        return is_prefix_list(text)
                   ? NULL
                   : "is not a list of prefixes of ids with commas between, 3500 bytes at most";
    case CONFIG_AT_write_wait:
        return strcmp(text, "all") == 0 || strcmp(text, "owner") == 0 ? NULL
                                                                      : "is neither all nor owner";
    case CONFIG_AT_manager_user:
        return strlen(text) <= 255 && utf8_is_valid(slice_of_string(text))
                   ? NULL
                   : "is not a name of at most 255 bytes of UTF-8";
    case CONFIG_AT_ack:
        return strcmp(text, "memory") == 0 || strcmp(text, "journal") == 0 ||
                       strcmp(text, "backup") == 0 || strcmp(text, "warehouse") == 0
                   ? NULL
                   : "is none of memory, journal, backup and warehouse";
    case CONFIG_AT_journal_sync:
        return strcmp(text, "always") == 0 || strcmp(text, "never") == 0 || is_sync_interval(text)
                   ? NULL
                   : "is neither always, never, nor a number of milliseconds from 1 to 3600000";
    case CONFIG_AT_log_mode:
        return strcmp(text, "production") == 0 || strcmp(text, "debug") == 0
                   ? NULL
                   : "is neither production nor debug";
    case CONFIG_AT_log_file_name:
        return text[0] != '\0' && strchr(text, '/') == NULL ? NULL : "is not a file name";
    default:
        return NULL;
    }
}

char *config_copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = heap_allocate(size);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}

static int set_string(
    struct config_draft *draft, size_t index, const char *text, struct config_origin origin)
{
    char shown[SHOWN_LIMIT];
    const char *objection = objection_to_string(index, text);

    /* A secret is not shown, not even a wrong one: it may be right but for one letter. */
    if (index == CONFIG_AT_secret && strlen(text) > 255)
        return config_refuse(draft->sentence, origin, "secret", "it is longer than 255 bytes");
    if (index == CONFIG_AT_manager_password &&
        (strlen(text) > 255 || !utf8_is_valid(slice_of_string(text))))
        return config_refuse(draft->sentence, origin, "manager_password",
            "it is longer than 255 bytes, or not UTF-8");
    if (objection != NULL)
        return config_refuse(draft->sentence, origin, config_options[index].name, "%s %s",
            show(text, shown), objection);
    char *copy = config_copy(text);
    if (copy == NULL)
        return config_no_memory(draft->sentence);
    if (config_options[index].kind == CONFIG_STRING) {
        char **field = config_string_field(draft->config, index);
        heap_release(*field);
        *field = copy;
        return 0;
    }
    char ***list = config_list_field(draft->config, index);
    size_t *count = config_count_field(draft->config, index);
    char **grown = heap_resize(*list, (*count + 1) * sizeof **list);
    if (grown == NULL) {
        heap_release(copy);
        return config_no_memory(draft->sentence);
    }
    grown[(*count)++] = copy;
    *list = grown;
    return 0;
}

static int set_bool(
    struct config_draft *draft, size_t index, const char *text, struct config_origin origin)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    char shown[SHOWN_LIMIT];

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *config_bool_field(draft->config, index) = i % 2 == 1;
            return 0;
        }
    }
    return config_refuse(draft->sentence, origin, config_options[index].name,
        "%s is neither true nor false", show(text, shown));
}

static int set_number(
    struct config_draft *draft, size_t index, const char *text, struct config_origin origin)
{
    const char *name = config_options[index].name;
    struct limits limits = limits_of[index];
    const char *noun = limits.noun != NULL ? limits.noun : "";
    const char *of = limits.noun != NULL ? " of " : "", *space = limits.noun != NULL ? " " : "";
    char shown[SHOWN_LIMIT];
    uint64_t number;

    if (!parse_number(text, &number))
        return config_refuse(
            draft->sentence, origin, name, "%s is not a number%s%s", show(text, shown), of, noun);
    if (number < limits.min)
        return config_refuse(draft->sentence, origin, name, "%s is too small: at least %llu%s%s",
            show(text, shown), (unsigned long long)limits.min, space, noun);
    if (number > limits.max)
        return config_refuse(draft->sentence, origin, name, "%s is too large: at most %llu%s%s",
            show(text, shown), (unsigned long long)limits.max, space, noun);
    *config_number_field(draft->config, index) = number;
    return 0;
}

int config_option_set(
    struct config_draft *draft, size_t index, const char *text, struct config_origin origin)
{
    int status = 0;

    switch (config_options[index].kind) {
    case CONFIG_STRING:
    case CONFIG_LIST:
        status = set_string(draft, index, text, origin);
        break;
    case CONFIG_BOOL:
        status = set_bool(draft, index, text, origin);
        break;
    case CONFIG_NUMBER:
        status = set_number(draft, index, text, origin);
        break;
    }
    if (status == 0)
        draft->origins[index] = origin;
    return status;
}

bool config_option_is_secret(size_t index)
{
    return index == CONFIG_AT_secret || index == CONFIG_AT_s3_secret_key ||
           index == CONFIG_AT_s3_session_token || index == CONFIG_AT_ftp_pass ||
           index == CONFIG_AT_manager_password;
}

void config_option_clear(struct config *config, size_t index)
{
    if (config_options[index].kind == CONFIG_STRING) {
        char **field = config_string_field(config, index);
        heap_release(*field);
        *field = NULL;
    } else if (config_options[index].kind == CONFIG_LIST) {
        char ***list = config_list_field(config, index);
        size_t *count = config_count_field(config, index);
        for (size_t i = 0; i < *count; i++)
            heap_release((*list)[i]);
        heap_release(*list);
        *list = NULL;
        *count = 0;
    }
}

/* ---- between options
 * ----------------------------------------------------------------------------- */

/* The place to point at: where `index` was given, or else where `other` was. */
static struct config_origin origin_of(const struct config_draft *draft, size_t index, size_t other)
{
    return draft->origins[index].name != NULL ? draft->origins[index] : draft->origins[other];
}

static int check_order(
    const struct config_draft *draft, size_t lower, size_t upper, bool may_be_equal)
{
    uint64_t low = *config_number_field(draft->config, lower);
    uint64_t high = *config_number_field(draft->config, upper);

    if (low < high || (may_be_equal && low == high))
        return 0;
    return config_refuse(draft->sentence, origin_of(draft, lower, upper),
        config_options[lower].name, "%llu must be %s %s, which is %llu", (unsigned long long)low,
        may_be_equal ? "at most" : "less than", config_options[upper].name,
        (unsigned long long)high);
}

static int check_cluster(const struct config_draft *draft)
{
    const struct config *config = draft->config;
    if (config->manager_enable && strcmp(config->warehouse_manager, "local") == 0)
        return config_refuse(draft->sentence, draft->origins[CONFIG_AT_manager_enable],
            "manager_enable",
            "the members of a cluster need one warehouse for all: set warehouse_manager to s3 or "
            "ftp as well");
    if (strcmp(config->ack, "backup") == 0 && (!config->manager_enable || config->backups == 0))
        return config_refuse(draft->sentence, draft->origins[CONFIG_AT_ack], "ack",
            "backup needs other members: set manager_enable, and backups to at least 1");
    return 0;
}

int config_check_together(const struct config_draft *draft)
{
    const struct config *config = draft->config;
    int status = check_order(draft, CONFIG_AT_max_object_bytes, CONFIG_AT_max_frame_bytes, true);

    if (status == 0)
        status = check_order(draft, CONFIG_AT_dump_retry_min, CONFIG_AT_dump_retry_max, true);
    if (status == 0)
        status =
            check_order(draft, CONFIG_AT_journal_segment_size, CONFIG_AT_journal_max_size, true);
    if (status == 0)
        status = check_order(draft, CONFIG_AT_tick_interval, CONFIG_AT_tick_timeout, false);
    if (status != 0)
        return status;
    if (strcmp(config->warehouse_manager, "s3") == 0 && config->s3_bucket[0] == '\0')
        return config_refuse(draft->sentence, draft->origins[CONFIG_AT_warehouse_manager],
            "warehouse_manager", "s3 needs a bucket: set s3_bucket as well");
    if (strcmp(config->warehouse_manager, "ftp") == 0 && config->ftp_host[0] == '\0')
        return config_refuse(draft->sentence, draft->origins[CONFIG_AT_warehouse_manager],
            "warehouse_manager", "ftp needs a server: set ftp_host as well");
    if (!config->epmd_enable && config->server_port == 0)
        return config_refuse(draft->sentence,
            origin_of(draft, CONFIG_AT_epmd_enable, CONFIG_AT_server_port), "epmd_enable",
            "without epmd clients need a fixed port: set server_port as well");
    if (config->manager_user[0] != '\0' && config->manager_password[0] == '\0' &&
        config->manager_password_file[0] == '\0')
        return config_refuse(draft->sentence, draft->origins[CONFIG_AT_manager_user],
            "manager_user",
            "it needs a password: set manager_password or manager_password_file as well");
    if (config->manager_key_file[0] != '\0' && config->manager_cert_file[0] == '\0')
        return config_refuse(draft->sentence, draft->origins[CONFIG_AT_manager_key_file],
            "manager_key_file", "a key needs its certificate: set manager_cert_file as well");
    return check_cluster(draft);
}

static bool is_given(const struct config_draft *draft, size_t index)
{
    return draft->origins[index].name != NULL;
}

int config_complete(struct config_draft *draft)
{
    struct config *config = draft->config;
    if (!config->manager_enable)
        return 0;
    if (!is_given(draft, CONFIG_AT_s3_require_conditions))
        config->s3_require_conditions = true;
    if (is_given(draft, CONFIG_AT_ack) || config->backups == 0)
        return 0;
    char *ack = config_copy("backup");
    if (ack == NULL)
        return config_no_memory(draft->sentence);
    heap_release(config->ack);
    config->ack = ack;
    return 0;
}
