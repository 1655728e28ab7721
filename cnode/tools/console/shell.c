#include "shell.h"

#include <histedit.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "receiver.h"

enum { HISTORY_LINES = 1000, HISTORY_LINE_LIMIT = 4096 };

static const char *prompt_text = "> ";

static char *prompt(EditLine *editor)
{
    (void)editor;
    return (char *)(uintptr_t)prompt_text;
}

static void on_interrupt(int signal)
{
    (void)signal;
    receiver_interrupted = 1;
}

/* Ctrl-C gives up the line or the wait for an answer, not the console. Without SA_RESTART: what
 * waits must notice. */
static void catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

/* Ctrl-C while a line is edited. There it is a key, not a signal: one that came just before libedit
 * waits for a key would be slept through. */
static unsigned char give_up_line(EditLine *editor, int character)
{
    (void)editor, (void)character;
    receiver_interrupted = 1;
    return CC_EOF;
}

/* Ctrl-Z likewise. */
static unsigned char suspend(EditLine *editor, int character)
{
    (void)editor, (void)character;
    raise(SIGTSTP);
    return CC_REFRESH;
}

static void list_commands(const char *beginning, size_t size)
{
    fputc('\n', stdout);
    for (size_t i = 0; console_commands[i] != NULL; i++)
        if (strncmp(console_commands[i], beginning, size) == 0)
            printf("%s  ", console_commands[i]);
    fputc('\n', stdout);
    fflush(stdout);
}

/* Completes the first word of the line to a command; lists them when there are several. */
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
        if (match != NULL) {
            list_commands(line->buffer, size);
            return CC_REDISPLAY;
        }
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
    if (fgets(answer, sizeof(answer), stdin) == NULL) {
        clearerr(stdin); /* Ctrl-C or Ctrl-D here is a no, not the end of the console */
        fputc('\n', stderr);
        return false;
    }
    if (!isatty(STDIN_FILENO))
        fputc('\n', stderr); /* nobody typed one */
    answer[strcspn(answer, "\r\n")] = '\0';
    return strcmp(answer, "y") == 0 || strcmp(answer, "yes") == 0;
}

static int run_plain(struct console *console)
{
    enum console_result result = CONSOLE_OK;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    while (result != CONSOLE_QUIT && (size = getline(&line, &capacity, stdin)) >= 0) {
        if (strlen(line) == (size_t)size) {
            result = console_execute(console, line);
        } else {
            fputs("a line with a zero byte is no command\n", stderr);
            result = CONSOLE_FAILED;
        }
    }
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
    el_set(editor, EL_SETTY, "-d", "-isig", NULL); /* while it edits; else ^C is a signal */
    el_set(editor, EL_ADDFN, "brain-give-up", "Give up the line", give_up_line);
    el_set(editor, EL_BIND, "^C", "brain-give-up", NULL);
    el_set(editor, EL_ADDFN, "brain-suspend", "Suspend the console", suspend);
    el_set(editor, EL_BIND, "^Z", "brain-suspend", NULL);
    el_source(editor, NULL);
    catch_interrupts();
    while (result != CONSOLE_QUIT) {
        int count = 0;
        client_rest(&console->client); /* a person thinks for longer than a peer waits for a tick */
        receiver_interrupted = 0;      /* the last Ctrl-C has been heeded */
        const char *line = el_gets(editor, &count);
        if (line == NULL || count <= 0) {
            fputc('\n', stdout);
            if (!receiver_interrupted)
                break;
            el_reset(editor);
            continue;
        }
        if (line[strspn(line, " \t\r\n")] != '\0' && count <= HISTORY_LINE_LIMIT)
            history(past, &event, H_ENTER, line);
        receiver_interrupted = 0; /* Ctrl-C before the line was not meant for its answer */
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
