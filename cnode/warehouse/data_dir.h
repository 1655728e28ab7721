/* data_dir: the directory of the local warehouse: made, locked against a second process, and its
 * database looked at before LMDB, which trusts what it maps, is let near it. */
#ifndef WAREHOUSE_DATA_DIR_H
#define WAREHOUSE_DATA_DIR_H

#include "driver.h"

/* Makes `path` (and what is above it, mode 0700) if absent and locks `path`/lock. `*lock`: a
 * descriptor; closing it unlocks. 0, or an error with a sentence in `why`. */
int data_dir_lock(const char *path, int *lock, char why[WAREHOUSE_TEXT]);

/* Is the database file `path` one that can be opened: absent, empty, or with two good meta pages
 * and as long as they say? `*size`: its length, 0 when absent. 0, or an error with a sentence in
 * `why`: BRAIN_ECORRUPT, or BRAIN_EIO when it cannot be read. */
int data_file_check(const char *path, uint64_t *size, char why[WAREHOUSE_TEXT]);

#endif
