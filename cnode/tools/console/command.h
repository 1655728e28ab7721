/* command: one line of the console, carried out. */
#ifndef BRAIN_CONSOLE_COMMAND_H
#define BRAIN_CONSOLE_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

#include "client.h"

enum console_result {
    CONSOLE_OK = 0,
    CONSOLE_FAILED = 1, /* said on stderr why */
    CONSOLE_QUIT = 2,
};

struct console {
    struct client client;
    FILE *out;
    bool assume_yes; /* shutdown does not ask */
    /* Asks a yes-or-no question. */
    bool (*confirm)(const char *question);
};

/* Names of all commands, for completion, NULL at the end. */
extern const char *const console_commands[];

/* Carries out one line, such as `get user:1` or `set user:1 #{name => "Ann"}`. Answers go to
 * console->out, complaints to stderr. */
enum console_result console_execute(struct console *console, const char *line);

/* The same, with the words that a command line was made of, NULL at the end: the second is the id
 * as it is, without quotes; the others are the term. */
enum console_result console_execute_words(struct console *console, char *const *words);

#endif
