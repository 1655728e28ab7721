/* config_print: the configuration in force, as a file that reads back the same. */
#include <string.h>

#include "config_private.h"

/* In double quotes, as libconfuse's scanner reads them: \xHH for what is not printable ASCII, so
 * that a terminal is safe; `$` is escaped, or "${HOME}" would read back as something else. */
static void print_quoted(const char *text, FILE *out)
{
    fputc('"', out);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\' || *p == '$')
            fprintf(out, "\\%c", *p);
        else if (*p < 0x20 || *p > 0x7E)
            fprintf(out, "\\x%02x", (unsigned)(unsigned char)*p);
        else
            fputc(*p, out);
    }
    fputc('"', out);
}

static void print_list(char *const *list, size_t count, FILE *out)
{
    fputc('{', out);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            fputs(", ", out);
        print_quoted(list[i], out);
    }
    fputc('}', out);
}

static void print_value(struct config *config, size_t index, FILE *out)
{
    switch (config_options[index].kind) {
    case CONFIG_STRING:
        print_quoted(*config_string_field(config, index), out);
        break;
    case CONFIG_BOOL:
        fputs(*config_bool_field(config, index) ? "true" : "false", out);
        break;
    case CONFIG_NUMBER:
        fprintf(out, "%llu", (unsigned long long)*config_number_field(config, index));
        break;
    case CONFIG_LIST:
        print_list(*config_list_field(config, index), *config_count_field(config, index), out);
        break;
    }
}

void config_print(const struct config *config, FILE *out)
{
    /* The field functions serve readers and writers alike: work on a shallow copy. */
    struct config copy = *config;

    fputs("# brain-server " BRAIN_VERSION ", read from ", out);
    if (config->source != NULL)
        print_quoted(config->source, out);
    else
        fputs("no file", out);
    fputs("\n", out);
    for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++) {
        fprintf(out, "\n# %s\n", config_options[i].help);
        if (config_option_is_secret(i) && (*config_string_field(&copy, i))[0] != '\0') {
            /* Commented out: it must not read back as a secret of three dots. */
            fprintf(out, "# %s = \"...\"\n", config_options[i].name);
            continue;
        }
        fprintf(out, "%s = ", config_options[i].name);
        print_value(&copy, i, out);
        fputc('\n', out);
    }
}
