/* brain-console: talks to a node, interactively or with one command on the command line. */
#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "shell.h"

static const char help[] =
    "Usage: brain-console [--node NAME@HOST] [--cookie-file FILE] [COMMAND ARGUMENTS...]\n"
    "\n"
    "Without a command it is interactive; ? lists the commands there. With one, for instance\n"
    "    brain-console get user:1\n"
    "    brain-console set user:1 '#{name => \"Ann\"}'\n"
    "it prints the answer and exits: 0 when it was done, 1 when not, 2 for a wrong option.\n"
    "From a pipe it reads one command per line and exits with the status of the last.\n"
    "\n"
    "  --node NAME@HOST     default brain@localhost\n"
    "  --name NAME          the registered name on that node, default brain\n"
    "  --cookie-file FILE   default ~/.erlang.cookie\n"
    "  --timeout MS         for connecting and for each answer, default 10000\n"
    "  --yes                shutdown does not ask\n"
    "  --version, --help\n";

enum {
    OPTION_NODE = 256,
    OPTION_NAME,
    OPTION_COOKIE,
    OPTION_TIMEOUT,
    OPTION_YES,
    OPTION_VERSION,
    OPTION_HELP
};

static const struct option options[] = {
    {"node", required_argument, NULL, OPTION_NODE},
    {"name", required_argument, NULL, OPTION_NAME},
    {"cookie-file", required_argument, NULL, OPTION_COOKIE},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"yes", no_argument, NULL, OPTION_YES},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct arguments {
    const char *node, *name, *cookie_file;
    uint32_t timeout_ms;
    bool yes;
};

static uint32_t parse_timeout(const char *text)
{
    char *end;
    unsigned long ms = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || ms == 0 || ms > 3600000) {
        fprintf(stderr, "brain-console: --timeout: \"%s\" is not a number of milliseconds\n", text);
        exit(2);
    }
    return (uint32_t)ms;
}

static void parse(struct arguments *arguments, int argc, char **argv)
{
    int option;
    /* '+': the first word that is no option begins the command; what follows belongs to it. */
    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        switch (option) {
        case OPTION_NODE:
            arguments->node = optarg;
            break;
        case OPTION_NAME:
            arguments->name = optarg;
            break;
        case OPTION_COOKIE:
            arguments->cookie_file = optarg;
            break;
        case OPTION_TIMEOUT:
            arguments->timeout_ms = parse_timeout(optarg);
            break;
        case OPTION_YES:
            arguments->yes = true;
            break;
        case OPTION_VERSION:
            puts("brain-console " BRAIN_VERSION);
            exit(0);
        case OPTION_HELP:
            fputs(help, stdout);
            exit(0);
        default:
            fputs("brain-console --help tells how it is used\n", stderr);
            exit(2);
        }
    }
}

static int run(struct console *console, char **words)
{
    if (words[0] == NULL)
        return shell_run(console);
    /* One word with spaces is a whole line. */
    bool is_line = words[1] == NULL && strchr(words[0], ' ') != NULL;
    return (is_line ? console_execute(console, words[0]) : console_execute_words(console, words)) ==
           CONSOLE_FAILED;
}

/* Terms are UTF-8. In any other locale libedit drops what is typed beyond ASCII. */
static void use_utf8(void)
{
    if (setlocale(LC_CTYPE, "") == NULL || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.node = "brain@localhost", .name = "brain", .timeout_ms = 10000};
    char program[] = "brain-console";
    if (argc > 0)
        argv[0] = program; /* for the sentences of getopt */
    use_utf8();
    /* A peer that goes away while we write is an error of that call, not the end of the program. */
    signal(SIGPIPE, SIG_IGN);
    parse(&arguments, argc, argv);
    struct console console = {.out = stdout, .assume_yes = arguments.yes, .confirm = shell_confirm};
    if (client_init(&console.client, arguments.node, arguments.name, arguments.cookie_file,
            arguments.timeout_ms) != 0) {
        fprintf(stderr, "brain-console: %s\n", console.client.sentence);
        return 2;
    }
    int status = run(&console, argv + optind);
    client_release(&console.client);
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (errno != EPIPE) /* `brain-console get x | head` is no mistake */
            fprintf(stderr, "brain-console: the output could not be written\n");
        status = 1;
    }
    return status;
}
