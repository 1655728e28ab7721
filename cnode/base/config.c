/* config: defaults, then a file, then --set; one sentence for what cannot be.
 *
 * libconfuse knows the grammar; every value is taken from it as text, so that the limits and the
 * sentences are ours. */
#include "brain/config.h"

#include <confuse.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_private.h"

/* No sensible configuration is larger; a wrong path (a log, a core) often is. */
enum { FILE_LIMIT = 262144, SET_LIMIT = 65536 };

/* ---- text through libconfuse
 * ---------------------------------------------------------------------- */

struct reading {
    struct config_draft *draft;
    const char *name; /* of the file */
    int status;       /* the first failure; its sentence is in the draft */
    bool in_value;    /* a value was read... */
    size_t last;      /* ...of this option... */
    int last_line;    /* ...on this line */
};

/* libconfuse's callbacks carry no context of ours. */
static _Thread_local struct reading *reading;

static struct config_origin place(const cfg_t *cfg)
{
    return (struct config_origin){reading->name, cfg->line > 0 ? (unsigned)cfg->line : 1};
}

/* `KEY` when the message is "no such option 'KEY'". */
static bool unknown_key(const char *message, char *key, size_t limit)
{
    static const char beginning[] = "no such option '";
    size_t size = strlen(message);

    if (strncmp(message, beginning, sizeof beginning - 1) != 0 || message[size - 1] != '\'')
        return false;
    snprintf(key, limit, "%.*s", (int)(size - sizeof beginning), message + sizeof beginning - 1);
    return true;
}

static void on_error(cfg_t *cfg, const char *format, va_list arguments)
{
    char message[256], key[128];
    char *sentence = reading->draft->sentence;

    if (reading->status != 0)
        return;
    vsnprintf(message, sizeof message, format, arguments);
    /* What follows a value on its line is most likely a part of it; it may be half a cookie, so it
     * is not shown. */
    bool ended = strcmp(message, "premature end of file") == 0;
    if (reading->in_value && reading->last_line == cfg->line && !ended) {
        reading->status = config_refuse(sentence, place(cfg), config_options[reading->last].name,
            "a value with spaces or any of #\"'={}()+,* must be in quotes");
        return;
    }
    /* libconfuse takes "a|b" for option b of section a. */
    if (strstr(message, "sub-section") != NULL) {
        reading->status =
            config_refuse(sentence, place(cfg), NULL, "the name of an option holds no \"|\"");
        return;
    }
    if (!unknown_key(message, key, sizeof key)) {
        reading->status = config_refuse(sentence, place(cfg), NULL, "%s", message);
        return;
    }
    const char *nearest = config_option_nearest(key);
    if (nearest != NULL)
        reading->status = config_refuse(
            sentence, place(cfg), key, "there is no such option; did you mean %s?", nearest);
    else
        reading->status = config_refuse(sentence, place(cfg), key, "there is no such option");
}

/* libconfuse calls it after each value, with the line where it stood: the only moment at which the
 * line is known. A list is replaced by its first element here, or below when it is empty. */
static int on_value(cfg_t *cfg, cfg_opt_t *option)
{
    size_t index = config_option_find(option->name);
    unsigned size = cfg_opt_size(option);

    reading->in_value = true;
    reading->last = index;
    reading->last_line = cfg->line;
    if (size == 0 || reading->status != 0)
        return reading->status != 0 ? -1 : 0;
    /* After the closing brace it is called once more for the last element. */
    bool is_list = config_options[index].kind == CONFIG_LIST;
    if (is_list && size == 1)
        config_option_clear(reading->draft->config, index);
    if (is_list && *config_count_field(reading->draft->config, index) == size)
        return 0;
    reading->status =
        config_option_set(reading->draft, index, cfg_opt_getnstr(option, size - 1), place(cfg));
    return reading->status != 0 ? -1 : 0;
}

static int parse_scanned(struct reading *state, const char *text)
{
    cfg_opt_t options[CONFIG_OPTION_COUNT + 1];

    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        if (config_options[i].kind == CONFIG_LIST)
            options[i] = (cfg_opt_t)CFG_STR_LIST(config_options[i].name, NULL, CFGF_NODEFAULT);
        else
            options[i] = (cfg_opt_t)CFG_STR(config_options[i].name, NULL, CFGF_NODEFAULT);
    }
    options[CONFIG_OPTION_COUNT] = (cfg_opt_t)CFG_END();

    cfg_t *cfg = cfg_init(options, CFGF_NONE);
    if (cfg == NULL)
        return config_no_memory(state->draft->sentence);
    cfg_set_error_function(cfg, on_error);
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        cfg_set_validate_func(cfg, config_options[i].name, on_value);

    reading = state;
    int result = cfg_parse_buf(cfg, text);
    reading = NULL;
    if (result != CFG_SUCCESS && state->status == 0)
        state->status = config_refuse(state->draft->sentence,
            (struct config_origin){state->name, (unsigned)cfg->line}, NULL,
            "this is not a configuration file of lines key = value");

    for (size_t i = 0; i < CONFIG_OPTION_COUNT && state->status == 0; i++) {
        cfg_opt_t *option = cfg_getopt(cfg, config_options[i].name);
        bool given_empty = (option->flags & CFGF_MODIFIED) != 0 && cfg_opt_size(option) == 0;
        if (given_empty && config_options[i].kind == CONFIG_LIST) {
            config_option_clear(state->draft->config, i);
            state->draft->origins[i] = (struct config_origin){state->name, 0};
        }
    }
    cfg_free(cfg);
    return state->status;
}

/* `text` is changed: its comments are blanked out. */
static int read_text(struct config_draft *draft, const char *name, char *text)
{
    struct reading state = {.draft = draft, .name = name};
    int status = config_scan(text, name, draft->sentence);
    return status != 0 ? status : parse_scanned(&state, text);
}

/* ---- --set key=value
 * -------------------------------------------------------------------------------- */

/* A value that begins like a quoted string or a list is read as in a file; any other is taken as
 * it stands, because the shell has already eaten one layer of quotes. */
static int read_set(struct config_draft *draft, const char *set)
{
    static const struct config_origin origin = {"--set", 0};
    const char *equals = strchr(set, '=');
    char key[64];

    if (equals == NULL || equals == set)
        return config_refuse(draft->sentence, origin, NULL, "\"%.60s\" is not key=value", set);
    snprintf(key, sizeof key, "%.*s", (int)(equals - set < 60 ? equals - set : 60), set);
    key[strcspn(key, " \t")] = '\0';
    const char *value = equals + 1 + strspn(equals + 1, " \t");
    size_t index = config_option_find(key);
    if (index == CONFIG_OPTION_COUNT) {
        const char *nearest = config_option_nearest(key);
        return config_refuse(draft->sentence, origin, key, "there is no such option%s%s%s",
            nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "",
            nearest != NULL ? "?" : "");
    }
    if (strlen(value) > SET_LIMIT)
        return config_refuse(
            draft->sentence, origin, key, "the value is longer than %d bytes", SET_LIMIT);

    bool is_list = config_options[index].kind == CONFIG_LIST;
    if (value[0] != '"' && value[0] != '\'' && !is_list)
        return config_option_set(draft, index, value, origin);
    size_t limit = strlen(key) + strlen(value) + 16;
    char *text = heap_allocate(limit);
    if (text == NULL)
        return config_no_memory(draft->sentence);
    snprintf(text, limit, is_list && value[0] != '{' ? "%s = {%s}\n" : "%s = %s\n", key, value);
    int status = read_text(draft, "--set", text);
    heap_release(text);
    return status;
}

/* ---- files
 * --------------------------------------------------------------------------------------------- */

/* The whole file, NUL-terminated, into `text` (FILE_LIMIT + 1 bytes). */
static int read_file(const char *path, FILE *file, char *text, char *sentence)
{
    struct config_origin origin = {path, 0};
    size_t size = fread(text, 1, FILE_LIMIT + 1, file);

    if (ferror(file))
        return config_refuse(sentence, origin, NULL, "cannot be read: %s", strerror(errno));
    if (size > FILE_LIMIT)
        return config_refuse(sentence, origin, NULL,
            "this is not a configuration file: it is larger than %d bytes", FILE_LIMIT);
    if (memchr(text, '\0', size) != NULL)
        return config_refuse(
            sentence, origin, NULL, "this is not a configuration file: it holds a zero byte");
    text[size] = '\0';
    return 0;
}

/* Opens `path`, or the first of the usual places where there is a file. `found` is its name; with
 * neither file nor failure there is none. */
static int open_file(const char *path, FILE **file, const char **found, char *sentence)
{
    static const char *const places[] = {
        "/etc/brain_node.conf", "/etc/brain/brain_node.conf", "etc/brain_node.conf"};
    size_t count = path != NULL ? 1 : sizeof places / sizeof places[0];

    *file = NULL;
    for (size_t i = 0; i < count && *file == NULL; i++) {
        *found = path != NULL ? path : places[i];
        *file = fopen(*found, "re");
        if (*file == NULL && (path != NULL || errno != ENOENT))
            return config_refuse(sentence, (struct config_origin){*found, 0}, NULL,
                "cannot be opened: %s", strerror(errno));
    }
    return 0;
}

static int load_file(struct config_draft *draft, const char *path)
{
    FILE *file;
    const char *found;
    int status = open_file(path, &file, &found, draft->sentence);

    if (status != 0 || file == NULL)
        return status;
    char *text = heap_allocate(FILE_LIMIT + 2);
    draft->config->source = text != NULL ? config_copy(found) : NULL;
    if (draft->config->source == NULL)
        status = config_no_memory(draft->sentence);
    if (status == 0)
        status = read_file(found, file, text, draft->sentence);
    if (status == 0)
        status = read_text(draft, draft->config->source, text);
    fclose(file);
    heap_release(text);
    return status;
}

/* ---- the public functions
 * -------------------------------------------------------------------------------- */

static int begin(struct config_draft *draft, struct config *config, char *sentence)
{
    int status = 0;

    memset(config, 0, sizeof *config);
    memset(draft, 0, sizeof *draft);
    sentence[0] = '\0';
    draft->config = config;
    draft->sentence = sentence;
    for (size_t i = 0; i < CONFIG_OPTION_COUNT && status == 0; i++)
        if (config_options[i].kind == CONFIG_STRING && config_options[i].value[0] == '\0') {
            /* An empty default means "not set": no check applies to it. */
            char **field = config_string_field(config, i);
            *field = config_copy("");
            status = *field != NULL ? 0 : config_no_memory(sentence);
        } else if (config_options[i].kind != CONFIG_LIST) { /* the default of a LIST is {} */
            status = config_option_set(
                draft, i, config_options[i].value, (struct config_origin){NULL, 0});
        }
    return status;
}

/* Erlang's programs find epmd by this variable; ours must look at the same place. A value that is
 * no port is ignored, as they do. */
static void take_epmd_port(struct config_draft *draft)
{
    const char *port = getenv("ERL_EPMD_PORT");
    char sentence[CONFIG_SENTENCE_LIMIT];
    struct config_draft quiet = {.config = draft->config, .sentence = sentence};

    if (port != NULL && draft->origins[CONFIG_AT_epmd_port].name == NULL)
        config_option_set(
            &quiet, CONFIG_AT_epmd_port, port, (struct config_origin){"ERL_EPMD_PORT", 0});
}

static int finish(struct config_draft *draft)
{
    take_epmd_port(draft);
    int status = config_check_together(draft);
    return status == 0 ? config_complete(draft) : status;
}

int config_load(struct config *config, const char *path, char *const *sets, size_t sets_count,
    char sentence[CONFIG_SENTENCE_LIMIT])
{
    struct config_draft draft;
    int status = begin(&draft, config, sentence);

    if (status == 0)
        status = load_file(&draft, path);
    for (size_t i = 0; i < sets_count && status == 0; i++)
        status = read_set(&draft, sets[i]);
    return status != 0 ? status : finish(&draft);
}

int config_parse(
    struct config *config, const char *name, const char *text, char sentence[CONFIG_SENTENCE_LIMIT])
{
    struct config_draft draft;
    int status = begin(&draft, config, sentence);

    if (status != 0)
        return status;
    if (strlen(text) > FILE_LIMIT)
        return config_refuse(sentence, (struct config_origin){name, 0}, NULL,
            "this is not a configuration file: it is larger than %d bytes", FILE_LIMIT);
    config->source = config_copy(name);
    char *copy = config_copy(text);
    if (config->source == NULL || copy == NULL)
        status = config_no_memory(sentence);
    if (status == 0)
        status = read_text(&draft, name, copy);
    heap_release(copy);
    return status != 0 ? status : finish(&draft);
}

void config_release(struct config *config)
{
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
        config_option_clear(config, i);
    heap_release(config->source);
    config->source = NULL;
}
