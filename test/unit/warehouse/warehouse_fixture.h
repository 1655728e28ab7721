/* A warehouse in a directory of its own, driven from a loop that runs until everything asked has
 * been answered. */
#ifndef WAREHOUSE_FIXTURE_H
#define WAREHOUSE_FIXTURE_H

#include "brain/warehouse.h"

extern uv_loop_t loop;
extern struct warehouse *warehouse;
extern struct version epoch;
extern const char *why;
extern char data_dir[64];
extern char data_file[96];
extern unsigned answered;                      /* completions since fixture_reset */
extern struct warehouse_request *order[65536]; /* they, in order; freed by fixture_reset */

void set_up(void);    /* an empty directory */
void tear_down(void); /* closes, removes everything */

int try_open(uint64_t map_bytes);
void open_with(uint64_t map_bytes);
void close_all(void);

struct version at(uint64_t counter, uint64_t seq);
struct warehouse_request *new_request(enum warehouse_operation operation, const char *id);
struct warehouse_request *new_dump(
    const char *id, struct version version, const struct version *expected, struct slice value);
void submit(struct warehouse_request *request);
void wait_for(unsigned count); /* until so many are answered */
void fixture_reset(void);

/* One request and its answer. */
const struct warehouse_request *dump(
    const char *id, struct version version, const struct version *expected, const char *text);
const struct warehouse_request *drop(const char *id, struct version version);
const struct warehouse_request *load(const char *id);
void expect_loaded(const char *id, struct version version, const char *text);

/* Behind the warehouse's back, while it is closed: bytes under a key of "objects". */
void put_raw(const char *key, struct slice bytes);
/* A copy (heap_release), data NULL when there is nothing. */
struct slice get_raw(const char *key);

#endif
