#include "server_watch.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double clock_us(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) != 0)
        return -1;
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

bool server_watch_read(struct server_watch *watch, pid_t pid)
{
    /* The process's CPU clock counts in nanoseconds; /proc/PID/stat in hundredths of a second. */
    clockid_t clock;
    if (clock_getcpuclockid(pid, &clock) != 0)
        return false;
    watch->pid = pid;
    watch->cpu_us = clock_us(clock);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    unsigned long long pages = 0;
    bool read = file != NULL && fscanf(file, "%*s %llu", &pages) == 1;
    if (file != NULL)
        fclose(file);
    watch->rss_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return read && watch->cpu_us >= 0;
}

double own_cpu_us(void)
{
    return clock_us(CLOCK_PROCESS_CPUTIME_ID);
}
