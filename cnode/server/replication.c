#include "replication.h"

#include <string.h>

#include "brain/log.h"
#include "clustering_inside.h"

/* Until what was not acknowledged is offered again. */
enum { RETRY_MS = 200 };
/* After it was given up for its size, until the table is asked for again. */
enum { PAUSE_MS = 600000 };
/* Of memory_limit: what replicas may take. */
enum { MEMORY_SHARE = 2 };

/* ---- replica -> members, core, holdings, log --------------------------------------------------
 */

static void on_send(void *context, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail)
{
    clustering_send(context, to, order, head, tail);
}

static bool on_owns(void *context, struct slice id, struct cluster_epoch epoch)
{
    const struct clustering *clustering = context;
    struct cluster_epoch now;
    return cluster_owns(clustering->cluster, id, &now) && cluster_epoch_compare(now, epoch) == 0;
}

static void on_reached(void *context, struct slice id, struct version version)
{
    struct clustering *clustering = context;
    holdings_replicated(clustering->holdings, id, version);
}

static void on_superseded(void *context, struct slice id)
{
    struct clustering *clustering = context;
    holdings_superseded(clustering->holdings, id);
}

static void on_differs(void *context, struct slice member, struct slice theirs)
{
    (void)context;
    log_warning(
        "member %.*s has %.*s, which is not what this node has: such ids are read from their "
        "owners until all members agree",
        (int)member.size, (const char *)member.data, (int)theirs.size, (const char *)theirs.data);
}

static void on_overflowed(void *context)
{
    (void)context;
    log_error(
        "the replicas of this node take more than half of memory_limit: they are given up, and "
        "such ids are read from their owners for %d minutes",
        PAUSE_MS / 60000);
}

/* ---- holdings -> replica ----------------------------------------------------------------------
 */

static bool on_covers(void *context, struct slice id)
{
    const struct clustering *clustering = context;
    return replica_covers(clustering->replica, id);
}

static int on_reserve(void *context, struct slice id)
{
    struct clustering *clustering = context;
    return replica_reserve(clustering->replica, id);
}

static int on_written(void *context, struct slice id, struct version version,
    const struct value *value, enum replica_hold hold, uint64_t now_ms)
{
    struct clustering *clustering = context;
    struct cluster_epoch epoch;
    if (!cluster_owns(clustering->cluster, id, &epoch))
        return BRAIN_EUNAVAILABLE;
    return replica_written(clustering->replica, id, epoch, version, value, hold, now_ms);
}

static bool on_held(void *context, struct slice id, struct version version, uint64_t now_ms)
{
    struct clustering *clustering = context;
    return replica_held(clustering->replica, id, version, now_ms);
}

static bool on_knows(void *context, struct slice id, struct version version)
{
    struct clustering *clustering = context;
    return replica_knows(clustering->replica, id, version);
}

static void on_doubt(void *context, struct slice id, struct version version)
{
    struct clustering *clustering = context;
    replica_doubt(clustering->replica, id, version);
}

/* ---- start ------------------------------------------------------------------------------------
 */

/* The parts between commas, without the spaces around them; config has checked them. */
static size_t split(const char *text, struct slice *parts)
{
    size_t count = 0;
    while (*text != '\0') {
        text += strspn(text, " \t");
        size_t size = strcspn(text, ",");
        const char *next = text + size + (text[size] == ',');
        while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t'))
            size--;
        if (size > 0 && parts != NULL)
            parts[count] = slice_of(text, size);
        count += size > 0;
        text = next;
    }
    return count;
}

struct replica *replication_create(
    struct clustering *clustering, const struct config *config, uint64_t seed, int *status)
{
    const size_t count = split(config->replicate, NULL);
    *status = 0;
    if (count == 0)
        return NULL;
    struct slice *prefixes = heap_allocate(count * sizeof(*prefixes));
    if (prefixes != NULL)
        split(config->replicate, prefixes);
    const struct replica_options options = {
        .prefixes = prefixes,
        .prefixes_count = count,
        .wait_all = strcmp(config->write_wait, "all") == 0,
        .seed = seed,
        .retry_ms = RETRY_MS,
        .pause_ms = PAUSE_MS,
        .tombstone_keep_ms = config->tombstone_keep,
        .limit_bytes = config->memory_limit / MEMORY_SHARE,
        .term_limits = {(uint32_t)config->max_term_depth, config->max_term_elements},
    };
    const struct replica_events events = {
        clustering, on_send, on_owns, on_reached, on_differs, on_overflowed, on_superseded};
    struct replica *replica = prefixes != NULL ? replica_create(&options, events) : NULL;
    heap_release(prefixes);
    if (replica == NULL) {
        *status = BRAIN_ENOMEM;
        return NULL;
    }
    const struct holdings_replicas replicas = {clustering, options.wait_all, on_covers, on_reserve,
        on_written, on_held, on_knows, on_doubt};
    holdings_replicate(clustering->holdings, &replicas);
    return replica;
}
