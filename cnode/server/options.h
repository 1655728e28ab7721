/* options: the command line of brain-server. */
#ifndef BRAIN_SERVER_OPTIONS_H
#define BRAIN_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum options_action {
    OPTIONS_RUN,
    OPTIONS_CHECK_CONFIG,
    OPTIONS_PRINT_CONFIG,
    OPTIONS_VERSION,
    OPTIONS_HELP,
};

enum { OPTIONS_SETS_LIMIT = 256 };

struct options {
    enum options_action action;
    const char *config; /* NULL: search the usual places */
    char *sets[OPTIONS_SETS_LIMIT];
    size_t sets_count;
};

extern const char options_help[];

/* Fills `options` from argv, which must outlive it. Returns 0, or BRAIN_ECONFIG with a sentence
 * (without the program's name) in `sentence`. */
int options_parse(
    struct options *options, int argc, char **argv, char *sentence, size_t sentence_size);

#endif
