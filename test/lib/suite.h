/* suite: how a test program of one Check suite ends. */
#ifndef SUITE_H
#define SUITE_H

#include <check.h>

/* Runs every test of `suite`, prints the summary (as CK_VERBOSITY asks, else the failures and the
 * counts), and frees the suite. Returns what main() is to return: EXIT_SUCCESS, or EXIT_FAILURE
 * when a test failed. */
int suite_run(Suite *suite);

#endif
