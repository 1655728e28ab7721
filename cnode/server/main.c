/* brain-server: reads its configuration and runs. */
#include <stdio.h>
#ifdef BRAIN_WITH_MIMALLOC
#include <mimalloc.h>
#else
#include <malloc.h>
#endif

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

/* Freed memory goes back to the kernel at once, not some time later: memory_limit is a promise.
 * With values of changing sizes (100 B, 100 kB, 100 B, 300 kB) at a limit of 200 MB the peak was
 * 210 MB; 238 MB with the delays that are usual, 376 MB with glibc's malloc. */
static void set_up_allocator(void)
{
#ifdef BRAIN_WITH_MIMALLOC
    mi_option_set(mi_option_decommit_delay, 0);
    mi_option_set(mi_option_segment_decommit_delay, 0);
#else
    /* One arena: what the warehouse's thread allocated and the owner's freed is used again by both.
     * And large values go back one by one. */
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#endif
}

int main(int argc, char **argv)
{
    set_up_allocator();
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
