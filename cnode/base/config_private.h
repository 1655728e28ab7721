/* The parts of the configuration reader, shared by config*.c only.
 *
 *   text --config_scan--> text without comments --libconfuse--> (option, values, line)
 *        --config_option_set--> struct config --checks across options--> done */
#ifndef BASE_CONFIG_PRIVATE_H
#define BASE_CONFIG_PRIVATE_H

#include "brain/base.h"
#include "brain/config.h"

enum config_kind { CONFIG_STRING, CONFIG_BOOL, CONFIG_NUMBER, CONFIG_LIST };

#define CONFIG_INDEX(kind, name, value, help) CONFIG_AT_##name,
enum config_index { CONFIG_OPTIONS(CONFIG_INDEX) CONFIG_OPTION_COUNT };
#undef CONFIG_INDEX

/* One row of CONFIG_OPTIONS. */
struct config_option {
    const char *name;
    enum config_kind kind;
    const char *value; /* the default, as text */
    const char *help;
    size_t offset;       /* of the field in struct config */
    size_t count_offset; /* LIST: of the number of its elements */
};
extern const struct config_option config_options[CONFIG_OPTION_COUNT];

/* Where a value was given. name NULL: it is the default; line 0: not in a file. */
struct config_origin {
    const char *name;
    unsigned line;
};

/* A configuration being read. */
struct config_draft {
    struct config *config;
    char *sentence; /* CONFIG_SENTENCE_LIMIT bytes */
    struct config_origin origins[CONFIG_OPTION_COUNT];
};

/* Writes "NAME:LINE: KEY: text" (each part where there is one), control bytes shown as '?', and
 * returns BRAIN_ECONFIG. */
int config_refuse(char *sentence, struct config_origin origin, const char *key, const char *format,
    ...) __attribute__((format(printf, 4, 5)));

/* Out of memory, with its sentence. */
int config_no_memory(char *sentence);

/* Checks `text` and stores it in the option's field, for a LIST as one more element, and remembers
 * the origin. Returns 0, BRAIN_ECONFIG or BRAIN_ENOMEM with a sentence. */
int config_option_set(
    struct config_draft *draft, size_t index, const char *text, struct config_origin origin);

/* Empties a LIST, frees a STRING. */
/* A cookie, a key, a password: never printed. */
bool config_option_is_secret(size_t index);
void config_option_clear(struct config *config, size_t index);

/* The index of the option called `name`, or CONFIG_OPTION_COUNT. */
size_t config_option_find(const char *name);

/* The name most like `name`, or NULL when none is near enough to be a slip of the finger. */
const char *config_option_nearest(const char *name);

/* Defaults that depend on other options, after all were given. 0, or BRAIN_ENOMEM with a sentence.
 */
int config_complete(struct config_draft *draft);

/* What must hold between options. */
int config_check_together(const struct config_draft *draft);

/* Overwrites comments with spaces, in place, and finds what libconfuse would misread: a quote or
 * comment that never ends (its scanner would stay inside it, even for the next text), and bytes it
 * drops silently. Returns 0, or BRAIN_ECONFIG with a sentence. */
int config_scan(char *text, const char *name, char *sentence);

static inline char **config_string_field(struct config *config, size_t index)
{
    return (char **)(void *)((char *)config + config_options[index].offset);
}
static inline bool *config_bool_field(struct config *config, size_t index)
{
    return (bool *)(void *)((char *)config + config_options[index].offset);
}
static inline uint64_t *config_number_field(struct config *config, size_t index)
{
    return (uint64_t *)(void *)((char *)config + config_options[index].offset);
}
static inline char ***config_list_field(struct config *config, size_t index)
{
    return (char ***)(void *)((char *)config + config_options[index].offset);
}
static inline size_t *config_count_field(struct config *config, size_t index)
{
    return (size_t *)(void *)((char *)config + config_options[index].count_offset);
}

/* A copy on the heap of the core; NULL: no memory. */
char *config_copy(const char *text);

#endif
