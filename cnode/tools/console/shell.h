/* shell: the interactive console, with history and completion (libedit). */
#ifndef BRAIN_CONSOLE_SHELL_H
#define BRAIN_CONSOLE_SHELL_H

#include "command.h"

/* Reads and executes lines until quit or end of input. Without a terminal it reads plain lines.
 * Returns the exit status: 0, or 1 when the last command failed. */
int shell_run(struct console *console);

/* Asks on the terminal; only "y" or "yes" is yes. */
bool shell_confirm(const char *question);

#endif
