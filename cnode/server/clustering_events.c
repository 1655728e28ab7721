/* What managers, members, core and holdings say, passed on to whom it concerns. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "brain/log.h"
#include "clustering_inside.h"

/* ---- the core -> peers, managers, storage, service ------------------------------------------- */

void clustering_send(void *context, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail)
{
    struct clustering *clustering = context;
    if (clustering->peers == NULL)
        return;
    const struct managers_member *member = members_find(&clustering->members, to->name);
    struct peers_place place = {"", 0};
    if (member != NULL && member->incarnation == to->incarnation)
        place = (struct peers_place){member->address, member->port};
    peers_send(clustering->peers, to->name, place, order, head, tail);
}

static void on_evict(void *context, const struct cluster_member *member, uint64_t view)
{
    struct clustering *clustering = context;
    char name[CLUSTER_NAME_LIMIT + 1];
    memcpy(name, member->name.data, member->name.size);
    name[member->name.size] = '\0';
    (void)view;
    if (clustering->evicted != member->incarnation)
        log_error("member %s is not heard, does not hear this one, or does not do its part: it is "
                  "asked to leave and to join again",
            name);
    clustering->evicted = member->incarnation;
    managers_evict(clustering->managers, name, member->incarnation);
}

/* The watch tells it by itself; the renewals find out when it does not (R12). */
static void on_behind(void *context, uint64_t view)
{
    (void)context;
    log_debug("a member has view %" PRIu64 " of history %" PRIu64 ", which is newer than ours",
        managers_revision_of(view), managers_history_of(view));
}

static void on_copy_changed(void *context, struct slice id, const struct cluster_copy *copy)
{
    struct clustering *clustering = context;
    holdings_copy_changed(clustering->holdings, id, copy);
}

static void on_set_aside(void *context, struct slice id, const struct cluster_copy *copy)
{
    enum { SHOWN = 80 };
    struct clustering *clustering = context;
    const int size = id.size > SHOWN ? SHOWN : (int)id.size;
    log_error(
        "a write of \"%.*s\" is older than tombstone_keep: it may have been deleted since, so "
        "it does not come back%s",
        size, (const char *)id.data,
        copy->deleted ? "" : "; it is kept in the warehouse under a conflict name");
    if (!copy->deleted)
        storage_set_aside(clustering->storage, id, copy->version, &copy->value);
}

static bool on_has_room(void *context, uint64_t bytes)
{
    struct clustering *clustering = context;
    storage_note_copies(clustering->storage, cluster_copies_memory(clustering->cluster));
    return storage_has_room(clustering->storage, bytes);
}

static void on_state(void *context, enum cluster_state state)
{
    struct clustering *clustering = context;
    if (clustering->replica != NULL && (state == CLUSTER_OUT || state == CLUSTER_ABANDONING))
        replica_lost(clustering->replica);
    clustering_touch(clustering);
}

static void on_answer(
    void *context, struct cluster_request *request, int status, const struct value *value)
{
    struct clustering *clustering = context;
    routing_answer(&clustering->routing, request, status, value);
}

struct cluster_events clustering_core_events(struct clustering *clustering)
{
    return (struct cluster_events){
        .context = clustering,
        .send = clustering_send,
        .answer = on_answer,
        .evict = on_evict,
        .behind = on_behind,
        .copy_changed = on_copy_changed,
        .set_aside = on_set_aside,
        .state = on_state,
        .has_room = on_has_room,
    };
}

/* ---- holdings -> storage --------------------------------------------------------------------- */

static void on_read_stored(void *context, struct cluster_request *request)
{
    struct clustering *clustering = context;
    storage_read_stored(clustering->storage, request, request->id);
}

static int on_record(void *context, uint64_t seq, uint64_t age_ms, struct slice id,
    struct version version, const struct value *value)
{
    struct clustering *clustering = context;
    return storage_record(clustering->storage, seq, age_ms, id, version, value);
}

static void on_record_live(void *context, uint64_t seq)
{
    struct clustering *clustering = context;
    storage_record_live(clustering->storage, seq);
}

static void on_record_dead(void *context, uint64_t seq)
{
    struct clustering *clustering = context;
    storage_record_dead(clustering->storage, seq);
}

struct holdings_events clustering_holdings_events(struct clustering *clustering, bool journal)
{
    return (struct holdings_events){
        .context = clustering,
        .read_stored = on_read_stored,
        .record = journal ? on_record : NULL,
        .record_live = journal ? on_record_live : NULL,
        .record_dead = journal ? on_record_dead : NULL,
    };
}

/* ---- members -> the core ----------------------------------------------------------------------
 */

static void on_write_hello(void *context, struct buffer *out)
{
    const struct clustering *clustering = context;
    cluster_hello_write(clustering->cluster, out);
}

static int on_read_hello(void *context, struct slice payload, const char **why)
{
    const struct clustering *clustering = context;
    return cluster_hello_read(clustering->cluster, payload, why);
}

static int on_message(
    void *context, struct slice from, const struct value *message, const struct etf_marks *marks)
{
    struct clustering *clustering = context;
    const uint64_t now_ms = clustering_now(clustering);
    clustering_touch(clustering);
    if (clustering->joining && !clustering->took_part)
        returning_hear(&clustering->returning, &clustering->members,
            slice_of_string(clustering->config->node), from);
    int status = 0;
    if (!replica_is_message(value_slice(*message)))
        status = cluster_receive(clustering->cluster, from, message, marks, now_ms);
    else if (clustering->replica != NULL)
        status = replica_receive(clustering->replica, from, message, marks, now_ms);
    holdings_settle(clustering->holdings, now_ms);
    return status;
}

static void on_down(void *context, struct slice name)
{
    struct clustering *clustering = context;
    if (clustering->stopped)
        return;
    clustering_touch(clustering);
    cluster_peer_down(clustering->cluster, name, clustering_now(clustering));
}

struct peers_events clustering_peers_events(struct clustering *clustering)
{
    return (struct peers_events){
        .context = clustering,
        .write_hello = on_write_hello,
        .read_hello = on_read_hello,
        .message = on_message,
        .down = on_down,
    };
}

/* ---- managers -> the core ---------------------------------------------------------------------
 */

/* Gives the membership up and joins anew, where what managers tell cannot be used. */
static void start_over(struct clustering *clustering, const char *why)
{
    log_error("the membership is given up: %s; joining again", why);
    clustering->joining = clustering->view_pending = false;
    clustering->restarting = true;
    clustering->storage->lease_until_ms = 0;
    cluster_lost(clustering->cluster, clustering_now(clustering));
    managers_leave(clustering->managers);
}

/* Sets the newest list; false: it could not be used. */
static bool take_view(struct clustering *clustering, const struct managers_view *view)
{
    if (members_set(&clustering->members, view) == 0)
        return true;
    start_over(clustering, "no memory for the list of members");
    return false;
}

static void note_waiting(struct clustering *clustering)
{
    char text[MEMBERS_TEXT_SIZE];
    if (clustering->took_part) {
        log_info("there were %zu members: the others are waited for, %" PRIu64 " ms at most",
            clustering->confirmed, clustering_patience_ms(clustering));
        return;
    }
    returning_missing(&clustering->returning, &clustering->members,
        slice_of_string(clustering->config->node), text, sizeof(text));
    log_info("members of the last view are not back yet, and may hold what was not persisted: %s; "
             "unless others have gone on they are waited for, %" PRIu64 " ms at most",
        text, clustering->config->rejoin_wait);
}

static void joined(struct clustering *clustering, const struct managers_event *event)
{
    clustering->incarnation = event->incarnation;
    clustering->joined_until_ms = event->until_ms;
    clustering->joined_ms = uv_now(clustering->loop);
    clustering->joining = true;
    if (!take_view(clustering, &event->view))
        return;
    clustering->joins++;
    /* R4 says how the rest is safe; what people should know is that it happened. */
    if (event->reset)
        log_warning("etcd's data is another, or older, than when this node was last a member");
    clustering->storage->lease_until_ms = event->until_ms;
    if (clustering->returning.since_ms == 0)
        clustering->returning.since_ms = clustering->joined_ms;
    if (clustering_awaits_others(clustering))
        note_waiting(clustering);
    clustering_install(clustering);
}

/* Who has been a member waits, with what it has; who has not, has nothing to wait with. */
static void refused(struct clustering *clustering, const struct managers_member *other)
{
    char sentence[2 * MANAGERS_TEXT];
    snprintf(sentence, sizeof(sentence),
        "this program speaks protocol %d of members, and member %s speaks %" PRIu32
        ": they cannot be of one cluster; %s",
        CLUSTER_PROTOCOL, other->name, other->protocol,
        clustering->joins == 0 ? "start the same version on all, or stop the others first"
                               : "it is waited for to leave");
    if (clustering->joins == 0)
        clustering->failed(clustering->failed_context, sentence);
    else
        log_error("%s", sentence);
}

static void changed(struct clustering *clustering, const struct managers_view *view)
{
    char text[MEMBERS_TEXT_SIZE];
    if (members_contradict(&clustering->members, view)) {
        start_over(clustering, "etcd's data is another than before");
        return;
    }
    if (!take_view(clustering, view))
        return;
    log_info("view %" PRIu64 " of history %" PRIu64 ": %zu members: %s",
        managers_revision_of(view->number), managers_history_of(view->number), view->count,
        members_text(&clustering->members, text, sizeof(text)));
    clustering_install(clustering);
}

static void renewed(struct clustering *clustering, const struct managers_event *event)
{
    const uint64_t now_ms = clustering_now(clustering);
    lease_keeper_note(&clustering->lease_keeper, clustering->lease);
    /* What waited for the lease goes first: then what can be answered at once. */
    if (!cluster_serves(clustering->cluster, now_ms))
        clustering->routing.direct = false;
    cluster_lease(clustering->cluster, event->until_ms, event->newest_view, now_ms);
    if (!clustering->joining)
        clustering->confirmed = clustering->members.view.count;
    clustering->joined_until_ms = event->until_ms;
    clustering->storage->lease_until_ms = event->until_ms;
}

static const char *reason_text(enum managers_reason reason)
{
    switch (reason) {
    case MANAGERS_GONE:
        return "its lease ended, or somebody removed its key";
    case MANAGERS_EVICTED:
        return "another member did not hear from this one";
    case MANAGERS_COMPACTED:
        return "etcd no longer has the events that were missed";
    case MANAGERS_RESET:
        return "etcd's data is another, or older, than before";
    }
    return "";
}

/* For how long an evicted member stays away. Not at all the first time: the others want its copies.
 * When it does not hear one of the others, or is not heard, it is evicted each time it comes back,
 * and what that pair keeps the directory of has nobody to ask meanwhile: then it leaves the others
 * in peace for a lease, two, ... eight. */
static uint64_t stay_away_ms(struct clustering *clustering, enum managers_reason reason)
{
    enum { LEASES_OF_PEACE = 8, DOUBLINGS = 3 };
    const uint64_t lease_ms = clustering->config->manager_lease;
    const uint64_t stayed_ms = uv_now(clustering->loop) - clustering->joined_ms;
    if (reason != MANAGERS_EVICTED)
        return 0;
    if (stayed_ms > LEASES_OF_PEACE * lease_ms)
        clustering->evictions = 0;
    const uint32_t before = clustering->evictions;
    clustering->evictions += before <= DOUBLINGS;
    return before == 0 ? 0 : lease_ms << (before - 1);
}

static void lost(struct clustering *clustering, enum managers_reason reason)
{
    const uint64_t away_ms = stay_away_ms(clustering, reason);
    log_error("the membership was lost: %s; what was owned is given up%s", reason_text(reason),
        clustering->leaving ? "" : ", joining again");
    if (away_ms > 0)
        log_warning("evicted again: the others are left in peace for %" PRIu64 " ms", away_ms);
    clustering->rejoin_ms = uv_now(clustering->loop) + away_ms;
    clustering->lease = 0;
    clustering->storage->lease_until_ms = 0;
    clustering->joining = clustering->view_pending = clustering->restarting = false;
    clustering->rejoin = !clustering->leaving;
    cluster_lost(clustering->cluster, clustering_now(clustering));
}

static void left(struct clustering *clustering, bool confirmed)
{
    clustering->lease = 0;
    clustering->left = clustering->leaving;
    if (!clustering->leaving) {
        clustering->rejoin = clustering->restarting;
        clustering->restarting = false;
        return;
    }
    if (clustering->joins == 0)
        return;
    if (confirmed)
        log_info("left the cluster");
    else
        log_warning("left the cluster without a word of etcd: others wait until the lease ends");
}

void clustering_managers_event(void *context, const struct managers_event *event)
{
    struct clustering *clustering = context;
    if (clustering->stopped)
        return;
    clustering_touch(clustering);
    /* It was told to stop: a join that was under way is undone by managers_leave. */
    if (clustering->leaving && clustering_is_out(clustering) && event->kind != MANAGERS_LEFT)
        return;
    switch (event->kind) {
    case MANAGERS_LEASE:
        clustering->lease = event->lease;
        lease_keeper_note(&clustering->lease_keeper, event->lease);
        break;
    case MANAGERS_JOINED:
        joined(clustering, event);
        break;
    case MANAGERS_VIEW:
        changed(clustering, &event->view);
        break;
    case MANAGERS_RENEWED:
        renewed(clustering, event);
        break;
    case MANAGERS_LOST:
        lost(clustering, event->reason);
        break;
    case MANAGERS_LEFT:
        left(clustering, event->confirmed);
        break;
    case MANAGERS_REFUSED:
        refused(clustering, &event->view.members[0]);
        break;
    }
}
