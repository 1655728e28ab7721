#include "epmd_starter.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "brain/error.h"

static void start_one(void)
{
    pid_t epmd = fork();
    if (epmd == 0) {
        /* What this process ignores, epmd would: nobody could end it but with SIGKILL. And Ctrl-C
         * is not for it. */
        setsid();
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        signal(SIGHUP, SIG_DFL);
        signal(SIGPIPE, SIG_DFL);
        execlp("epmd", "epmd", "-daemon", (char *)NULL);
        _exit(127);
    }
    if (epmd > 0)
        waitpid(epmd, NULL, 0); /* -daemon returns at once; the daemon is init's child */
}

static _Noreturn void serve(int requests)
{
    /* Ctrl-C reaches the whole foreground group; the helper ends when the server does. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    prctl(PR_SET_NAME, "brain-epmd", 0, 0, 0);
    char byte;
    while (read(requests, &byte, 1) == 1)
        start_one();
    _exit(0);
}

int epmd_starter_open(struct epmd_starter *starter, uint16_t epmd_port, const char *address)
{
    *starter = (struct epmd_starter){.request = -1, .child = -1};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return BRAIN_EIO;
    pid_t child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return BRAIN_EIO;
    }
    if (child == 0) {
        char port[8];
        snprintf(port, sizeof(port), "%u", (unsigned)epmd_port);
        setenv("ERL_EPMD_PORT", port, 1);
        if (address != NULL && address[0] != '\0')
            setenv("ERL_EPMD_ADDRESS", address, 0);
        close(ends[1]);
        serve(ends[0]);
    }
    close(ends[0]);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    starter->request = ends[1];
    starter->child = child;
    return 0;
}

void epmd_starter_run(struct epmd_starter *starter)
{
    /* A full pipe means that enough were asked for already. */
    if (starter->request >= 0 && write(starter->request, "e", 1) != 1)
        return;
}

void epmd_starter_close(struct epmd_starter *starter)
{
    if (starter->request >= 0) {
        close(starter->request);
        waitpid(starter->child, NULL, 0);
    }
    *starter = (struct epmd_starter){.request = -1, .child = -1};
}
