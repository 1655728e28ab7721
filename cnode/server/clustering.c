#include "clustering.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "brain/log.h"
#include "clustering_inside.h"
#include "replication.h"

/* At most this often it is asked what time wants from it, when nothing else happens. */
enum { ADVANCE_INTERVAL_MS = 100 };
/* How often the log says that this node is not a member. */
enum { JOINING_INTERVAL_MS = 10000 };
/* How often bytes are counted: that looks at every slot. */
enum { COUNT_INTERVAL_MS = 500 };
/* Until an unanswered claim, fetch, report or backup is repeated: above any round trip between
 * machines that belong together. A message is lost only with its link. */
enum { RETRY_MS = 200 };
/* How often the holder of a copy asks whether somebody owns it: only lost discards wait for it. */
enum { COPY_CHECK_MS = 10000 };
/* Owners that are remembered, some 50 bytes each; forgotten ones are asked for again. */
enum { HINTS_LIMIT = 200000 };
/* Messages of a view that etcd has not told this node yet, a matter of milliseconds. */
enum { STASH_BYTES = 16 << 20 };
/* Of copies on their way to one member: 2.7 GB/s, when an answer takes 3 ms. */
static const uint64_t BACKUP_WINDOW_BYTES = 8 << 20;

void clustering_touch(struct clustering *clustering)
{
    clustering->routing.touched = true;
}

uint64_t clustering_now(struct clustering *clustering)
{
    const uint64_t now_ms = managers_now_ms();
    holdings_time(clustering->holdings, now_ms);
    return now_ms;
}

/* ---- views ------------------------------------------------------------------------------------
 */

static void look_at_holders(struct clustering *clustering)
{
    const struct config *config = clustering->config;
    const size_t others = clustering->members.view.count - 1;
    if (others < config->backups && !clustering->short_of_holders)
        log_warning("backups = %" PRIu64 ", but there are %zu other members: changed objects have "
                    "no more holders than that",
            config->backups, others);
    else if (others >= config->backups && clustering->short_of_holders)
        log_info("there are enough members for backups = %" PRIu64 " again", config->backups);
    clustering->short_of_holders = others < config->backups;
}

static int install_in_replica(
    struct clustering *clustering, const struct cluster_view *view, uint64_t now_ms)
{
    if (clustering->replica == NULL || clustering->joining ||
        cluster_view_number(clustering->cluster) != view->number)
        return 0;
    return replica_view(clustering->replica, view, clustering->incarnation, now_ms);
}

static struct slice own_name(const struct clustering *clustering)
{
    return slice_of_string(clustering->config->node);
}

/* For how long those that were lost together with this member are waited for. They come back when
 * they next try to reach etcd, which after a while without it is a second and a quarter apart
 * (cnode/managers/endpoints.h), and then have a few requests to make, each of a sixth of a lease at
 * most. Shorter than others bear with who is silent (R12): two leases. */
uint64_t clustering_patience_ms(const struct clustering *clustering)
{
    enum { BETWEEN_ATTEMPTS_MS = 1250 };
    return BETWEEN_ATTEMPTS_MS + clustering->config->manager_lease / 2;
}

/* When all lost their membership at once (etcd was out of reach of all for a lease, or made anew),
 * all come back at about the same time, with everything they had as copies. Who is the first would
 * find nobody who holds what it is asked for, and take it for absent: it waits for the others. So
 * it does when all processes ended at once (returning.h). */
bool clustering_awaits_others(const struct clustering *clustering)
{
    if (!clustering->took_part)
        return returning_waits(&clustering->returning, &clustering->members, own_name(clustering),
            uv_now(clustering->loop), clustering->config->rejoin_wait);
    return clustering->joins > 1 && clustering->members.view.count < clustering->confirmed &&
           uv_now(clustering->loop) - clustering->joined_ms < clustering_patience_ms(clustering);
}

/* It takes part for the first time. Who is not back is counted and named, unless there is somebody
 * who goes on. */
static void end_waiting(struct clustering *clustering)
{
    char text[MEMBERS_TEXT_SIZE];
    const struct returning *returning = &clustering->returning;
    clustering->took_part = true;
    const size_t missing = returning_missing(
        returning, &clustering->members, own_name(clustering), text, sizeof(text));
    if (missing == 0 || returning->over)
        return;
    clustering->metrics.not_back += missing;
    log_error("%zu members of the last view did not come back in rejoin_wait, %" PRIu64
              " ms: %s; this node goes on without them, and without what only they have",
        missing, clustering->config->rejoin_wait, text);
}

/* From now on it serves. */
static void note_joined(const struct clustering *clustering, bool again)
{
    char text[MEMBERS_TEXT_SIZE];
    const struct cluster_view *view = &clustering->members.view;
    log_info("joined the cluster%s: view %" PRIu64 " of history %" PRIu64 ", %zu members: %s",
        again ? " again" : "", managers_revision_of(view->number),
        managers_history_of(view->number), view->count,
        members_text(&clustering->members, text, sizeof(text)));
}

/* For the next process. */
static void keep_view(struct clustering *clustering)
{
    const struct cluster_view *view = &clustering->members.view;
    struct buffer lines;
    /* Those that leave while this node drains may not hold what it still has. */
    if (clustering->left_nothing || clustering->joining || clustering->draining)
        return;
    buffer_init(&lines);
    for (size_t i = 0; i < view->count; i++)
        lease_file_add_member(&lines, view->members[i].incarnation, view->members[i].name);
    if (buffer_status(&lines) == 0)
        lease_keeper_note_members(&clustering->lease_keeper, buffer_slice(&lines));
    buffer_release(&lines);
}

void clustering_install(struct clustering *clustering)
{
    struct cluster *cluster = clustering->cluster;
    const struct cluster_view *view = &clustering->members.view;
    const uint64_t now_ms = clustering_now(clustering);
    int status = 0;
    if (!clustering->joining) {
        status = cluster_view(cluster, view, now_ms);
    } else if (clustering_awaits_others(clustering)) {
        clustering->view_pending = true;
        return;
    } else if (cluster_state(cluster) == CLUSTER_OUT) {
        clustering->routing.direct = false;
        status = cluster_join(
            cluster, clustering->incarnation, view, clustering->joined_until_ms, now_ms);
        clustering->joining = status != 0;
        const bool again = clustering->took_part;
        if (status == 0 && !again)
            end_waiting(clustering);
        if (status == 0)
            note_joined(clustering, again);
    }
    if (status == 0)
        status = install_in_replica(clustering, view, now_ms);
    clustering->view_pending = status != 0;
    if (status != 0)
        return;
    /* What is told later is who lost it at the same time as this node. */
    if (!clustering->joining && now_ms < clustering->joined_until_ms)
        clustering->confirmed = view->count;
    keep_view(clustering);
    look_at_holders(clustering);
}

/* ---- the turn of the loop -------------------------------------------------------------------- */

/* One line when this node begins to be fenced, and one when it serves again. */
static void look_at_lease(struct clustering *clustering, uint64_t now_ms)
{
    const bool in = cluster_state(clustering->cluster) == CLUSTER_IN ||
                    cluster_state(clustering->cluster) == CLUSTER_DRAINED;
    const bool serves = cluster_serves(clustering->cluster, now_ms);
    if (in && !serves && clustering->serving) {
        const char *error = clustering_last_error(clustering);
        log_error("fenced: etcd did not confirm the lease in time, or not the members of this "
                  "view; reads and writes wait%s%s",
            error[0] != '\0' ? ": " : "", error);
    }
    if (in && serves && clustering->fenced)
        log_info("no longer fenced: the same lease was confirmed");
    if (in)
        clustering->fenced = !serves && (clustering->serving || clustering->fenced);
    else
        clustering->fenced = false;
    clustering->serving = serves;
}

/* Decision 0019. RAM for copies, here: the others are told when there is hardly any, so that they
 * refuse writes. And there: what is dirty here is dumped as soon as may be. */
static void look_at_memory(struct clustering *clustering, uint64_t now_ms)
{
    struct storage *storage = clustering->storage;
    storage_note_copies(storage, cluster_copies_memory(clustering->cluster));
    const bool full = storage_is_full(storage);
    if (full && !clustering->full)
        log_error("memory_limit: hardly any RAM is left for copies of other members' changed "
                  "objects; writes that need one here are refused until there is more");
    else if (!full && clustering->full)
        log_info("there is RAM for copies of other members' objects again");
    clustering->full = full;
    cluster_set_full(clustering->cluster, full);
    const uint32_t members = cluster_full_members(clustering->cluster, now_ms);
    if (members > 0 && !clustering->pressed)
        log_warning("%" PRIu32 " members have hardly any RAM left for copies: writes that need "
                    "them are refused, and changed objects are persisted at once",
            members);
    else if (members == 0 && clustering->pressed)
        log_info("all members have RAM for copies again");
    clustering->pressed = members > 0;
    store_press(storage->store, clustering->pressed);
}

static void join(struct clustering *clustering)
{
    clustering->rejoin = false;
    clustering->joining_since_ms = clustering->told_ms = uv_now(clustering->loop);
    managers_join(clustering->managers);
}

static void note_joining(struct clustering *clustering)
{
    const uint64_t now_ms = uv_now(clustering->loop);
    const char *error = managers_last_error(clustering->managers);
    if (now_ms - clustering->told_ms < JOINING_INTERVAL_MS)
        return;
    clustering->told_ms = now_ms;
    log_warning("not a member of the cluster for %" PRIu64 " s: %s",
        (now_ms - clustering->joining_since_ms) / 1000,
        error[0] != '\0' ? error : "the lease of this name's last process has not ended yet");
}

/* What waits until everything owned was given up. */
static void look_at_membership(struct clustering *clustering)
{
    if (cluster_state(clustering->cluster) != CLUSTER_OUT)
        return;
    if (clustering->rejoin && clustering->draining && clustering_is_drained(clustering)) {
        /* Whoever was told to stop joins again only for what it has to give. */
    } else if (clustering->rejoin) {
        if (uv_now(clustering->loop) >= clustering->rejoin_ms)
            join(clustering);
    } else if (!clustering->leaving)
        note_joining(clustering);
    else if (!clustering->left && !clustering->leave_asked) {
        clustering->leave_asked = true;
        managers_leave(clustering->managers);
    }
}

/* Returns in how many ms it wants to be called again. */
static uint64_t advance(struct clustering *clustering, uint64_t now_ms)
{
    if (clustering->view_pending)
        clustering_install(clustering);
    uint64_t wait_ms = cluster_advance(clustering->cluster, now_ms, CLUSTERING_ADVANCE_BUDGET);
    if (clustering->replica != NULL) {
        const uint64_t other_ms =
            replica_advance(clustering->replica, now_ms, CLUSTERING_ADVANCE_BUDGET);
        wait_ms = other_ms < wait_ms ? other_ms : wait_ms;
    }
    if (now_ms - clustering->waited_ms >= ADVANCE_INTERVAL_MS) {
        clustering->waited_ms = now_ms;
        holdings_advance(clustering->holdings, now_ms);
    }
    holdings_settle(clustering->holdings, now_ms);
    if (wait_ms > 0)
        clustering->routing.direct = true;
    look_at_lease(clustering, now_ms);
    look_at_memory(clustering, now_ms);
    look_at_membership(clustering);
    return wait_ms;
}

void clustering_on_timer(uv_timer_t *timer)
{
    (void)timer; /* the turn that it begins ends with on_turn */
}

static void on_turn(uv_prepare_t *turn)
{
    struct clustering *clustering = turn->data;
    if (clustering->stopped)
        return;
    const uint64_t now_ms = clustering_now(clustering);
    holdings_settle(clustering->holdings, now_ms);
    if (!clustering->routing.touched && now_ms < clustering->due_ms)
        return;
    clustering->routing.touched = false;
    uint64_t wait_ms = advance(clustering, now_ms);
    if (clustering->routing.touched)
        wait_ms = 0;
    else if (wait_ms > ADVANCE_INTERVAL_MS)
        wait_ms = ADVANCE_INTERVAL_MS;
    clustering->due_ms = now_ms + wait_ms;
    uv_timer_start(&clustering->timer, clustering_on_timer, wait_ms, 0);
}

/* ---- start ------------------------------------------------------------------------------------
 */

/* The same for all who know the cookie; who does not can neither find it out nor choose ids that
 * share a slot. */
static uint64_t seed_of(const char *cookie)
{
    static const char purpose[] = "brain: seed of ids\n";
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const bool good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                      EVP_DigestUpdate(context, purpose, sizeof(purpose) - 1) == 1 &&
                      EVP_DigestUpdate(context, cookie, strlen(cookie)) == 1 &&
                      EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    return good ? load_be64(digest) : 0;
}

/* R10: how long ago was the last lease? Without a former membership what the journal brings back is
 * this node's alone, and of no age. */
static uint64_t age_of(struct lease_record last)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    if (last.unix_ms == 0)
        return UINT64_MAX;
    return last.unix_ms > now_ms ? 0 : now_ms - last.unix_ms;
}

static int attach(void *context, struct store *store)
{
    struct clustering *clustering = context;
    const struct config *config = clustering->config;
    struct cluster_options options = {
        .name = slice_of_string(config->node),
        .seed = clustering->seed,
        .backups = (uint32_t)config->backups,
        .request_timeout_ms = config->server_exec_timeout,
        .weak_timeout_ms = 1 + config->server_exec_timeout / 4,
        .retry_ms = RETRY_MS,
        /* A lease is how long a member that ended is missed; one that lives and is not heard of is
         * given as long. */
        .report_timeout_ms = config->manager_lease,
        .view_lag_ms = config->manager_lease,
        .copy_check_ms = COPY_CHECK_MS,
        .tombstone_keep_ms = config->tombstone_keep,
        .handoff_uses = (uint32_t)config->handoff_uses,
        .hints_limit = HINTS_LIMIT,
        .stash_limit_bytes = STASH_BYTES,
        .backup_window_bytes = config->max_output_bytes / 8 < BACKUP_WINDOW_BYTES
                                   ? config->max_output_bytes / 8
                                   : BACKUP_WINDOW_BYTES,
        .term_limits = {(uint32_t)config->max_term_depth, config->max_term_elements},
    };
    if (getrandom(&options.random_seed, sizeof(options.random_seed), 0) !=
        (ssize_t)sizeof(options.random_seed))
        return BRAIN_EIO;
    clustering->cluster = cluster_create(
        &options, clustering_core_events(clustering), holdings_objects(clustering->holdings));
    if (clustering->cluster == NULL)
        return BRAIN_ENOMEM;
    holdings_attach(clustering->holdings, store, clustering->cluster);
    holdings_time(clustering->holdings, managers_now_ms());
    int status;
    clustering->replica = replication_create(clustering, config, clustering->seed, &status);
    routing_init(&clustering->routing, clustering->service, config, clustering->holdings,
        clustering->cluster, store);
    clustering->routing.replica = clustering->replica;
    clustering->routing.replicas_awaited =
        clustering->replica != NULL && strcmp(config->write_wait, "all") == 0;
    return status;
}

static void detach(void *context)
{
    struct clustering *clustering = context;
    cluster_destroy(clustering->cluster);
    clustering->cluster = NULL;
}

static void stored_read(void *context, void *asker, int status, const struct value *value)
{
    struct clustering *clustering = context;
    holdings_stored_read(clustering->holdings, asker, status, value, clustering_now(clustering));
    clustering_touch(clustering);
}

int clustering_prepare(struct clustering *clustering, const struct config *config,
    const char *cookie, uv_loop_t *loop, struct storage *storage, struct service *service,
    struct storage_member *member, const char **why)
{
    static char sentence[CONFIG_SENTENCE_LIMIT];
    *clustering = (struct clustering){.config = config,
        .loop = loop,
        .storage = storage,
        .service = service,
        .seed = seed_of(cookie)};
    list_init(&clustering->routing.waiting);
    uv_prepare_init(loop, &clustering->turn);
    uv_timer_init(loop, &clustering->timer);
    clustering->turn.data = clustering->timer.data = clustering;
    lease_keeper_init(&clustering->lease_keeper, loop, config->data_dir);
    returning_init(&clustering->returning);
    clustering->predecessor =
        lease_file_read(clustering->lease_keeper.path, &clustering->returning.lines);
    /* Until this process takes part itself. */
    lease_keeper_note_members(&clustering->lease_keeper, clustering->predecessor.members);
    *why = sentence;
    int status = config_manager_password(config, &clustering->password, sentence);
    if (status != 0)
        return status;
    clustering->holdings = holdings_create(clustering_holdings_events(clustering, config->journal));
    if (clustering->holdings == NULL) {
        *why = error_sentence(BRAIN_ENOMEM);
        return BRAIN_ENOMEM;
    }
    *member = (struct storage_member){
        .holdings = clustering->holdings,
        .age_ms = age_of(clustering->predecessor),
        .context = clustering,
        .attach = attach,
        .detach = detach,
        .stored_read = stored_read,
    };
    return 0;
}

void clustering_answer(struct clustering *clustering, struct store_waiter *waiter, int status,
    const struct value *value)
{
    holdings_answer(clustering->holdings, waiter, status, value);
    clustering_touch(clustering);
}

int clustering_open_peers(struct clustering *clustering, struct node *node)
{
    clustering->peers = peers_create(node, clustering->loop, clustering_peers_events(clustering));
    return clustering->peers != NULL ? 0 : BRAIN_ENOMEM;
}

int clustering_start(struct clustering *clustering, uint16_t port,
    void (*failed)(void *context, const char *sentence), void *context, const char **why)
{
    const struct config *config = clustering->config;
    const struct managers_options options = {
        .servers = config->manager_servers,
        .prefix = config->manager_prefix,
        .user = config->manager_user,
        .password = clustering->password,
        .ca_file = config->manager_ca_file,
        .cert_file = config->manager_cert_file,
        .key_file = config->manager_key_file,
        .lease_ms = config->manager_lease,
        .name = config->node,
        .address = "", /* the host of the name: how Erlang nodes find each other */
        .port = port,
        .protocol = CLUSTER_PROTOCOL,
        .predecessor_lease = clustering->predecessor.lease,
        .data_dir_locked = true, /* storage_open has done that */
    };
    clustering->failed = failed;
    clustering->failed_context = context;
    int status = managers_open(&clustering->managers, clustering->loop, &options,
        clustering_managers_event, clustering, why);
    if (status != 0)
        return status;
    join(clustering);
    /* Started last, so it is called first in the turn: before answers are flushed, and before the
     * journal's batch leaves. */
    uv_prepare_start(&clustering->turn, on_turn);
    uv_timer_start(&clustering->timer, clustering_on_timer, 0, 0);
    return 0;
}

/* ---- reports ----------------------------------------------------------------------------------
 */

void clustering_metrics_register(struct metrics_registry *registry, struct clustering *clustering)
{
    const char *group = "cluster";
    const struct clustering_metrics *source = &clustering->metrics;
    cluster_metrics_register(registry, clustering->cluster);
    CLUSTERING_METRICS(METRICS_ROW)
    holdings_metrics_register(registry, clustering->holdings);
    peers_metrics_register(registry, clustering->peers);
    if (clustering->replica != NULL)
        replica_metrics_register(registry, clustering->replica);
}

void clustering_refresh(struct clustering *clustering)
{
    if (clustering->cluster != NULL) {
        const uint64_t view = cluster_view_number(clustering->cluster);
        clustering->metrics.view = managers_revision_of(view);
        clustering->metrics.history = managers_history_of(view);
        cluster_metrics(clustering->cluster, managers_now_ms());
    }
    if (clustering->replica != NULL)
        replica_metrics(clustering->replica);
}

uint64_t clustering_bytes(struct clustering *clustering)
{
    const uint64_t now_ms = uv_now(clustering->loop);
    uint64_t replicas = 0;
    if (clustering->cluster == NULL)
        return 0;
    if (clustering->counted_ms == 0 || now_ms - clustering->counted_ms >= COUNT_INTERVAL_MS) {
        clustering->counted_ms = now_ms;
        clustering->bytes = cluster_metrics(clustering->cluster, managers_now_ms())->memory -
                            cluster_copies_memory(clustering->cluster);
    }
    if (clustering->replica != NULL)
        replicas = replica_metrics(clustering->replica)->memory;
    return clustering->bytes + clustering->routing.bytes + replicas +
           (clustering->peers != NULL ? peers_queued_bytes(clustering->peers) : 0);
}

const char *clustering_state_text(const struct clustering *clustering)
{
    if (clustering->draining)
        return "draining";
    if (cluster_state(clustering->cluster) != CLUSTER_IN)
        return "joining";
    return cluster_serves(clustering->cluster, managers_now_ms()) ? "member" : "fenced";
}

const char *clustering_last_error(const struct clustering *clustering)
{
    return clustering->managers != NULL ? managers_last_error(clustering->managers) : "";
}
