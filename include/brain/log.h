/* log: one line an event, written by its own thread from a bounded ring, so that a slow disk or
 * terminal never stops the owner thread. When the ring is full, lines are dropped and counted, and
 * the next line that fits says how many.
 *
 * Line form: `2026-11-21T03:31:07.123Z info  text`. To stderr, or to `log_dir/log_file_name` with
 * rotation at `log_max_size` bytes, `log_max_num_of_files` kept. The pure core never logs: it
 * returns errors, and the devices around it say what happened. Never log a cookie, never a value.
 */
#ifndef BRAIN_LOG_H
#define BRAIN_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

struct log_options {
    enum log_level level;    /* lines below it are not written; log_mode = debug: LOG_DEBUG */
    const char *directory;   /* NULL or "": stderr */
    const char *file_name;   /* in `directory` */
    uint64_t max_size_bytes; /* of one file, before it is rotated to NAME.1, NAME.2, ... */
    unsigned max_files;      /* files kept besides the current one */
};

/* Starts the log thread. Before it, and after log_stop, lines go straight to stderr.
 * Returns 0, or BRAIN_EIO when the file cannot be opened (errno is set). */
int log_start(const struct log_options *options);

/* Writes what is queued, stops the thread. */
void log_stop(void);

/* Queues one line; callable from any thread; cut at 1000 bytes; control bytes are escaped. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)

/* How many lines were dropped because the ring was full, since the start. */
uint64_t log_dropped(void);

#endif
