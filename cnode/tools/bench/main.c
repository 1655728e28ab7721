/* brain-bench: a load generator for Brain, and for those it is compared with. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "dial.h"
#include "loop.h"
#include "protocol.h"
#include "tcp_server.h"

static void on_interrupt(int number)
{
    (void)number;
    loop_interrupt();
}

static int complain(const char *sentence)
{
    fprintf(stderr, "brain-bench: %s\n", sentence);
    return 1;
}

static int report(const struct result *result, const struct options *options)
{
    if (options->json == NULL || strcmp(options->json, "-") != 0)
        result_print(result, options, stdout);
    int error = options->json != NULL ? result_write_json(result, options) : 0;
    if (error != 0) {
        fprintf(stderr, "brain-bench: %s cannot be written: %s\n", options->json, strerror(error));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct options options; /* with the cookie: not on the stack */
    static struct tally tally;
    struct result result = {0};
    char program[] = "brain-bench";
    if (argc > 0)
        argv[0] = program; /* for the sentences of getopt */
    options_parse(&options, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    const struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);

    bool is_tcp = options.protocol == &protocol_tcp;
    if ((options.protocol->is_erlang && dial_cookie(&options, tally.failure) != 0) ||
        (is_tcp && tcp_server_start(&options, tally.failure) != 0))
        return complain(tally.failure);
    int status = loop_run(&options, &tally, &result);
    explicit_bzero(options.cookie, sizeof(options.cookie));
    if (is_tcp)
        tcp_server_stop(&options);
    if (status != 0) {
        if (tally.errors != 0)
            complain(tally.wrong);
        return complain(tally.failure);
    }
    status = report(&result, &options);
    if (tally.errors != 0) {
        fprintf(stderr, "brain-bench: %llu wrong answers; the first: %s\n",
            (unsigned long long)tally.errors, tally.wrong);
        status = 1;
    }
    return status;
}
