/* tcp_server: the other end of the tcp protocol: the least that a server can do, which is to move
 * the bytes. For get it sends a value of --size for each byte it receives, for set it sends a byte
 * for each value. Nothing is looked up, nothing parsed: what is left is the kernel. */
#ifndef BRAIN_BENCH_TCP_SERVER_H
#define BRAIN_BENCH_TCP_SERVER_H

#include "options.h"
#include "protocol.h"

/* Starts it as a child process, on core options->server_cpu when that is set, with a blocking
 * thread for each connection, and makes it the target of the options. 0, or -1 with a sentence. */
int tcp_server_start(struct options *options, char sentence[SENTENCE_LIMIT]);
void tcp_server_stop(const struct options *options);

#endif
