/* warehouse: where objects are when they are not in RAM. One narrow interface, asynchronous:
 * requests go to a thread, completions come back on the owner's loop.
 *
 * A driver never touches an object; it sees ids, versions and immutable reference-counted values.
 */
#ifndef BRAIN_WAREHOUSE_H
#define BRAIN_WAREHOUSE_H

#include <stdatomic.h>
#include <uv.h>

#include "brain/metrics.h"
#include "brain/object.h"

enum warehouse_operation {
    WAREHOUSE_LOAD,
    WAREHOUSE_DUMP,      /* a value, or a tombstone */
    WAREHOUSE_SET_ASIDE, /* under a conflict name, without precondition */
    WAREHOUSE_FORGET,    /* remove the tombstone of exactly the version `expected`, if it is still
                            there. Only with warehouse_forgets. status 0 in either case */
};

/* One request; allocated by the caller, owned by the warehouse until `done` is called with it. */
struct warehouse_request {
    struct warehouse_request *next;             /* private while queued */
    struct warehouse_request *chain;            /* private: writes under way whose ids hash alike */
    struct {                                    /* private to the warehouse's thread (dispatch.h) */
        struct warehouse_request *chain;        /* of ids that hash alike */
        struct warehouse_request *first, *last; /* of the same id, behind this one */
        uint64_t number;                        /* in the order in which they became firsts */
        bool wanted, under_way;
    } lane;
    void *driver;         /* private to the driver while it serves the request */
    uint64_t queued_ms;   /* private: waits for its turn since then */
    uint64_t deadline_ms; /* private: begun, and over by then, whatever happens */
    uint32_t id_hash;     /* private */
    enum warehouse_operation operation;
    /* Does somebody wait for it? Network stores serve such a request before others. Set it before
     * warehouse_submit; after that, by warehouse_want. */
    atomic_bool wanted;
    void *owner;      /* the caller's own: the object, or who else asked */
    unsigned purpose; /* the caller's own */
    uint8_t id[1024];
    size_t id_size;
    struct version version;  /* dump */
    struct version expected; /* dump: what is there now, when expected_known */
    bool expected_known;
    bool tombstone;
    struct value value; /* dump: held; dropped by the warehouse when done */
    /* Dump, forget: no attempt to change anything begins from this time on (CLOCK_BOOTTIME, ms),
     * which others may raise meanwhile: the end of a lease (rule R11). NULL: no such end. A request
     * that is not done for it is over with BRAIN_EWAREHOUSE. Network stores only. */
    const _Atomic uint64_t *lease_until_ms;
    /* Result: */
    int status;            /* load: 0, BRAIN_ENOENT (also for a tombstone), BRAIN_ECORRUPT,
                              BRAIN_EWAREHOUSE, BRAIN_ETIMEOUT (not begun). dump: 0 (also when this very
                              version was there            already), BRAIN_ECONFLICT, BRAIN_EWAREHOUSE,
                              BRAIN_ECORRUPT            (what is            there is not ours: left untouched),
                              BRAIN_ESHUTDOWN (taken back) */
    struct version stored; /* load: version found; dump conflict: version there, zero for nothing */
    bool stored_known;
    bool stored_tombstone;
    uint64_t stored_unix_ms; /* load of a tombstone: when the object was deleted */
    struct value loaded;     /* the caller drops it */
};

#define WAREHOUSE_METRICS(X)                                                                       \
    X(loads, COUNTER, "loads done, whatever their result")                                         \
    X(dumps, COUNTER, "dumps done, whatever their result")                                         \
    X(errors, COUNTER, "loads and dumps that failed")                                              \
    X(queued, GAUGE, "requests waiting or under way")                                              \
    X(bytes_loaded, COUNTER, "bytes of values loaded")                                             \
    X(bytes_dumped, COUNTER, "bytes of values dumped")

struct warehouse_metrics {
    METRICS_FIELDS(WAREHOUSE_METRICS)
};

struct warehouse; /* opaque: cnode/warehouse/warehouse.c */

/* The strings need to live during warehouse_open only. */
struct s3_options {
    const char *endpoint; /* "https://host[:port]"; "": AWS's of the region */
    const char *region;
    const char *bucket;
    const char *prefix;  /* of every object's name; "" or for instance "brain/" */
    bool path_style;     /* endpoint/bucket/name, not bucket.endpoint/name */
    const char *ca_file; /* PEM; "": the system's certificates */
    /* "" for all three: the environment (AWS_ACCESS_KEY_ID and its like), else the profile of
     * ~/.aws/credentials (AWS_SHARED_CREDENTIALS_FILE), read again when it changed. */
    const char *access_key, *secret_key, *session_token;
    const char *profile; /* "": AWS_PROFILE, else "default" */
    uint32_t parallel;   /* requests under way at once; writes take at most half of them */
    uint64_t timeout_ms; /* a request that began is over after it, retries included */
    uint64_t connect_timeout_ms;
    uint64_t stall_timeout_ms; /* without a byte for so long, an attempt has failed */
    bool require_conditions;   /* refuse a store without conditional writes */
};

/* The strings need to live during warehouse_open only. */
struct ftp_options {
    const char *host; /* name or address */
    uint32_t port;    /* 21 */
    const char *user, *pass;
    const char *dir;     /* made if absent; relative to where the login leads; "": right there */
    bool tls;            /* explicit TLS, required for commands and data */
    const char *ca_file; /* PEM; "": the system's certificates */
    uint32_t parallel;   /* connections, 1 to 64; writes take at most half of them */
    uint64_t timeout_ms; /* a request that began is over after it, retries included */
};

struct warehouse_options {
    const char *manager;        /* "local", "s3", "ftp" */
    const char *data_dir;       /* local: the directory, made if absent */
    uint64_t map_bytes;         /* local: first size of the memory map; grows as needed */
    uint64_t value_limit_bytes; /* network stores: a larger value is not read; 0: 1 GiB */
    uint64_t patience_ms;       /* network stores: how long somebody waits for a load */
    struct s3_options s3;
    struct ftp_options ftp;
};

typedef void (*warehouse_done_cb)(void *context, struct warehouse_request *request);

/* Opens (and locks data_dir/lock against a second process, when there is a data_dir), starts the
 * thread.
 * `*epoch`: greater than every epoch it ever handed out. A store that is shared cannot count them:
 * there it is the clock's {0, milliseconds since 1970}, which holds as long as the clock is not set
 * back; where it was, dumps meet a greater stored version and the object store takes an epoch above
 * that. `s3` looks at what the store can do, for at most 10 s; one that does not answer is no
 * reason not to open, unless require_conditions. `ftp` asks nothing before the first request. It
 * has no conditional writes: of two writers at the same moment the higher version wins, and the
 * other is not told (docs/decisions/0008-ftp-names.md). Returns 0, or an error with a sentence in
 * `*why` (static buffer of the module, overwritten by the next call). */
int warehouse_open(struct warehouse **warehouse, uv_loop_t *loop,
    const struct warehouse_options *options, warehouse_done_cb done, void *context,
    struct version *epoch, const char **why);
/* Never blocks. Loads overtake dumps of other ids, what is `wanted` overtakes what is not; requests
 * for one id keep their order. With a network store each that has begun is over within timeout_ms,
 * at worst with BRAIN_EWAREHOUSE (less when the store has answered nothing for a while). One that
 * has not begun, because others are before it, waits as long as the store answers those: it is over
 * with BRAIN_EWAREHOUSE when the store has answered nothing for timeout_ms, and a load that is
 * wanted with BRAIN_ETIMEOUT after patience_ms (or timeout_ms, whichever is longer): nobody waits
 * for it any more. */
void warehouse_submit(struct warehouse *warehouse, struct warehouse_request *request);
/* Somebody has come to wait for what was submitted, and is not `done` yet. Cheap when that was said
 * before. */
void warehouse_want(struct warehouse *warehouse, struct warehouse_request *request);
/* Dumps of a network store that have not begun are over with BRAIN_ESHUTDOWN, those that were
 * submitted before this call; soon, not within it. */
void warehouse_take_back(struct warehouse *warehouse);
/* The last failure in words, "" when none since the last success; valid until the loop goes on. */
const char *warehouse_last_error(const struct warehouse *warehouse);
/* May WAREHOUSE_FORGET be submitted? Where not, tombstones stay for ever. */
bool warehouse_forgets(const struct warehouse *warehouse);
const char *warehouse_name(const struct warehouse *warehouse);
void warehouse_metrics_register(
    struct metrics_registry *registry, const struct warehouse *warehouse);
/* Completes everything queued (a network store: what can be done within 5 s, nothing twice), stops
 * the thread, closes; `closed` is called on the loop, after the
 * last `done`, and `warehouse` is gone then. What is submitted meanwhile is completed too, at worst
 * with BRAIN_EWAREHOUSE. */
void warehouse_close(struct warehouse *warehouse, void (*closed)(void *context));

#endif
