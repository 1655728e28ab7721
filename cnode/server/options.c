#include "options.h"

#include <getopt.h>
#include <stdio.h>

#include "brain/error.h"

const char options_help[] =
    "Usage: brain-server [--config FILE] [--set key=value]...\n"
    "\n"
    "An object store that is an Erlang node. Send {s, Id, Value} and {g, true, Id, self(), null} "
    "to\n"
    "{brain, 'brain@localhost'} from any Erlang, Elixir or PHP (Peb) program with the same "
    "cookie.\n"
    "\n"
    "  --config FILE     read this file instead of the first that exists of /etc/brain_node.conf,\n"
    "                    /etc/brain/brain_node.conf and etc/brain_node.conf\n"
    "  --set key=value   set one option, after the file; may be given many times\n"
    "  --check-config    read and check the configuration, then exit\n"
    "  --print-config    print every option with its value (never the cookie), then exit\n"
    "  --version         print the version, then exit\n"
    "  --help            print this, then exit\n"
    "\n"
    "Every option is explained in config/brain_node.conf.\n"
    "SIGTERM or SIGINT persists everything and stops; a second one stops at once.\n"
    "Exit status: 0 after a clean stop, 2 for a bad configuration, 1 otherwise.\n";

enum { OPTION_CONFIG = 256, OPTION_SET, OPTION_CHECK, OPTION_PRINT, OPTION_VERSION, OPTION_HELP };

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"set", required_argument, NULL, OPTION_SET},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"print-config", no_argument, NULL, OPTION_PRINT},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

int options_parse(
    struct options *options, int argc, char **argv, char *sentence, size_t sentence_size)
{
    *options = (struct options){.action = OPTIONS_RUN};
    optind = 0; /* start over: tests parse more than once */
    opterr = 0;
    for (;;) {
        /* ':' first: a missing argument is told apart from an unknown option. */
        int option = getopt_long(argc, argv, ":", long_options, NULL);
        switch (option) {
        case -1:
            if (optind < argc) {
                snprintf(sentence, sentence_size, "unexpected argument \"%s\"; see --help",
                    argv[optind]);
                return BRAIN_ECONFIG;
            }
            return 0;
        case OPTION_CONFIG:
            options->config = optarg;
            break;
        case OPTION_SET:
            if (options->sets_count == OPTIONS_SETS_LIMIT) {
                snprintf(
                    sentence, sentence_size, "--set more than %d times", (int)OPTIONS_SETS_LIMIT);
                return BRAIN_ECONFIG;
            }
            options->sets[options->sets_count++] = optarg;
            break;
        case OPTION_CHECK:
            options->action = OPTIONS_CHECK_CONFIG;
            break;
        case OPTION_PRINT:
            options->action = OPTIONS_PRINT_CONFIG;
            break;
        case OPTION_VERSION:
            options->action = OPTIONS_VERSION;
            break;
        case OPTION_HELP:
            options->action = OPTIONS_HELP;
            break;
        case ':':
            snprintf(sentence, sentence_size, "%s needs a value; see --help", argv[optind - 1]);
            return BRAIN_ECONFIG;
        default:
            snprintf(sentence, sentence_size, "unknown option %s; see --help", argv[optind - 1]);
            return BRAIN_ECONFIG;
        }
    }
}
