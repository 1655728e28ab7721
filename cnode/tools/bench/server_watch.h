/* server_watch: what the kernel says about the server process: its CPU time and its memory. */
#ifndef BRAIN_BENCH_SERVER_WATCH_H
#define BRAIN_BENCH_SERVER_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct server_watch {
    pid_t pid;     /* 0: none */
    double cpu_us; /* user and system, all threads, also those that have ended */
    uint64_t rss_bytes;
};

/* Reads both. False: there is no such process, or it is not ours to see. */
bool server_watch_read(struct server_watch *watch, pid_t pid);

/* CPU time of this process, user and system, in microseconds. */
double own_cpu_us(void);

#endif
