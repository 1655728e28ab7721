/* s3_inside: the parts of the S3 driver: s3.c (driver, probe), s3_operation.c (one request). */
#ifndef WAREHOUSE_S3_INSIDE_H
#define WAREHOUSE_S3_INSIDE_H

#include "driver.h"
#include "s3_etags.h"
#include "s3_http.h"

/* What the store can do. */
enum s3_state {
    S3_UNTRIED, /* not known yet: loads go on, writes wait for the probe */
    S3_TRIED,   /* s3.ability */
};

struct s3 {
    struct s3_client client;
    struct s3_etags etags;
    struct driver_events events;
    struct driver_limits limits;
    size_t value_limit;
    char prefix[513];
    bool require_conditions;
    uint64_t random; /* of the backoff's jitter */

    struct s3_operation *operations; /* all there are */
    uint64_t refresh_ms;             /* when to look at the credentials again */
    bool stopping;

    enum s3_state state;
    struct s3_ability ability;
    struct {
        struct s3_probe steps;
        bool running, is_refused; /* is_refused: trying again is useless until something changes */
        bool was_warned;
        unsigned calls, answers; /* of this step */
        uint64_t again_ms;       /* when not running: when to try (again) */
        struct s3_exchange exchanges[2];
        struct s3_probe_answer results[2];
        char bodies[2][64];
        char name[640];
        char error[WAREHOUSE_TEXT];
    } probe;
};

/* The name of an object, or of the copy that is set aside, appended. */
void s3_object_name(
    const struct s3 *s3, struct buffer *out, const struct warehouse_request *request);

uint64_t s3_random(struct s3 *s3); /* not for secrets */

/* One request from begin to complete; it frees itself. */
void s3_operation_begin(struct s3 *s3, struct warehouse_request *request);
/* Does what is due in all of them; returns when the next is. */
uint64_t s3_operations_advance(struct s3 *s3, uint64_t now_ms);
/* The probe is over: those that waited for it go on, or fail with `error` when it is not "". */
void s3_operations_release(struct s3 *s3, const char *error);
/* See driver.h. */
void s3_operations_stop(struct s3 *s3, uint64_t deadline_ms);

/* An answer says that the store does not know conditional writes. */
void s3_note_weak(struct s3 *s3);

#endif
