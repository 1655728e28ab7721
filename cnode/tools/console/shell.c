#include "shell.h"

#include <histedit.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HISTORY_LINES = 1000 };

static const char *prompt_text = "> ";

static char *prompt(EditLine *editor)
{
    (void)editor;
    return (char *)(uintptr_t)prompt_text;
}

/* Completes the first word of the line to a command. */
static unsigned char complete(EditLine *editor, int character)
{
    (void)character;
    const LineInfo *line = el_line(editor);
    size_t size = (size_t)(line->cursor - line->buffer);
    const char *match = NULL;
    if (memchr(line->buffer, ' ', size) != NULL)
        return CC_ERROR;
    for (size_t i = 0; console_commands[i] != NULL; i++) {
        if (strncmp(console_commands[i], line->buffer, size) != 0)
            continue;
        if (match != NULL)
            return CC_ERROR; /* more than one: beep */
        match = console_commands[i];
    }
    if (match == NULL || el_insertstr(editor, match + size) != 0 || el_insertstr(editor, " ") != 0)
        return CC_ERROR;
    return CC_REFRESH;
}

bool shell_confirm(const char *question)
{
    char answer[16];
    fprintf(stderr, "%s [y/N] ", question);
    fflush(stderr);
    if (fgets(answer, sizeof(answer), stdin) == NULL)
        return false;
    answer[strcspn(answer, "\r\n")] = '\0';
    return strcmp(answer, "y") == 0 || strcmp(answer, "yes") == 0;
}

static int run_plain(struct console *console)
{
    enum console_result result = CONSOLE_OK;
    char *line = NULL;
    size_t capacity = 0;
    while (result != CONSOLE_QUIT && getline(&line, &capacity, stdin) >= 0)
        result = console_execute(console, line);
    free(line);
    return result == CONSOLE_FAILED;
}

static void history_path(char *path, size_t size)
{
    const char *home = getenv("HOME");
    if (home == NULL || snprintf(path, size, "%s/.brain_console_history", home) >= (int)size)
        path[0] = '\0';
}

static int run_edited(struct console *console)
{
    char path[4096];
    HistEvent event;
    enum console_result result = CONSOLE_OK;
    History *past = history_init();
    EditLine *editor = el_init("brain-console", stdin, stdout, stderr);
    if (editor == NULL || past == NULL) {
        if (past != NULL)
            history_end(past);
        return run_plain(console);
    }
    history_path(path, sizeof(path));
    history(past, &event, H_SETSIZE, HISTORY_LINES);
    history(past, &event, H_SETUNIQUE, 1);
    if (path[0] != '\0')
        history(past, &event, H_LOAD, path);
    el_set(editor, EL_PROMPT, prompt);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_SIGNAL, 1);
    el_set(editor, EL_HIST, history, past);
    el_set(editor, EL_ADDFN, "brain-complete", "Complete a command", complete);
    el_set(editor, EL_BIND, "^I", "brain-complete", NULL);
    el_source(editor, NULL);
    while (result != CONSOLE_QUIT) {
        int count = 0;
        const char *line = el_gets(editor, &count);
        if (line == NULL || count <= 0) {
            fputc('\n', stdout);
            break;
        }
        if (line[strspn(line, " \t\r\n")] != '\0')
            history(past, &event, H_ENTER, line);
        result = console_execute(console, line);
    }
    if (path[0] != '\0')
        history(past, &event, H_SAVE, path);
    history_end(past);
    el_end(editor);
    return result == CONSOLE_FAILED;
}

int shell_run(struct console *console)
{
    if (!isatty(STDIN_FILENO))
        return run_plain(console);
    static char text[CLIENT_NODE_LIMIT + 4];
    snprintf(text, sizeof(text), "%s> ", console->client.node);
    prompt_text = text;
    printf("Talking to %s. ? lists the commands.\n", console->client.node);
    return run_edited(console);
}
