/* heap_fault: makes the n-th allocation of the core fail, and counts what is not given back.
 *
 *   for (unsigned n = 1; ; n++) {
 *       heap_fault_start(n);
 *       ... run the scenario; it must report BRAIN_ENOMEM or succeed, and free everything ...
 *       if (!heap_fault_stop()) break;   // the n-th allocation was never reached: all are covered
 *   }
 */
#ifndef HEAP_FAULT_H
#define HEAP_FAULT_H

#include <stdbool.h>

/* The `fail_at`-th allocation or growth from now fails (1: the very next); 0: none, only count. */
void heap_fault_start(unsigned fail_at);
/* Back to malloc(3). Returns whether an allocation was made to fail. Aborts when memory allocated
 * since the start was not released (a leak is a failed test). */
bool heap_fault_stop(void);

#endif
