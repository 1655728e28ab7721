/* brain-server: reads its configuration and runs. */
#include <stdio.h>

#include "brain/base.h"
#include "brain/server.h"
#include "options.h"

static int complain(const char *sentence, int status)
{
    fprintf(stderr, "brain-server: %s\n", sentence);
    return status;
}

static int run(const struct options *options, const struct config *config)
{
    char sentence[CONFIG_SENTENCE_LIMIT];
    if (options->action == OPTIONS_PRINT_CONFIG) {
        config_print(config, stdout);
        return SERVER_EXIT_CLEAN;
    }
    if (options->action == OPTIONS_CHECK_CONFIG) {
        printf("%s: the configuration is good\n", config->source ? config->source : "defaults");
        return SERVER_EXIT_CLEAN;
    }
    char *cookie = NULL;
    if (config_cookie(config, &cookie, sentence) != 0)
        return complain(sentence, SERVER_EXIT_CONFIG);
    int status = server_run(config, cookie);
    heap_release(cookie);
    return status;
}

int main(int argc, char **argv)
{
    struct options options;
    char sentence[CONFIG_SENTENCE_LIMIT];
    if (options_parse(&options, argc, argv, sentence, sizeof(sentence)) != 0)
        return complain(sentence, SERVER_EXIT_CONFIG);
    if (options.action == OPTIONS_HELP) {
        fputs(options_help, stdout);
        return SERVER_EXIT_CLEAN;
    }
    if (options.action == OPTIONS_VERSION) {
        puts("brain-server " BRAIN_VERSION);
        return SERVER_EXIT_CLEAN;
    }
    struct config config;
    int status =
        config_load(&config, options.config, options.sets, options.sets_count, sentence) == 0
            ? run(&options, &config)
            : complain(sentence, SERVER_EXIT_CONFIG);
    config_release(&config);
    return status;
}
