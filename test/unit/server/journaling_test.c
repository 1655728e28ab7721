/* The real journal of a real store, of a member that is alone in its view, in a directory: what
 * time does to its segments, and to what comes back from them. The clock on the wall is the test's.
 */
#include "journaling.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "suite.h"

enum { DAY_MS = 86400000, KEEP_MS = 7 * DAY_MS, LEASE_MS = 600000, TURNS = 20000 };

static char data_dir[48];
static struct config config;
static uv_loop_t loop;
static uint64_t wall_ms, incarnation;

static struct store *store;
static struct holdings *holdings;
static struct cluster *cluster;
static struct journaling journaling;
static unsigned set_aside, answered;
static int answer;

static uint64_t wall(void)
{
    return wall_ms;
}

/* ---- the node ---------------------------------------------------------------------------------
 */

static void on_load(void *context, struct object *object, struct slice id)
{
    (void)context, (void)id;
    store_loaded(store, object, STORE_ABSENT, NULL, NULL, managers_now_ms());
}

/* Nothing is idle for so long. */
static void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value)
{
    (void)context, (void)object, (void)id, (void)version, (void)expected, (void)value;
    ck_abort_msg("a dump");
}

static void on_conflict(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)context, (void)id, (void)version, (void)value;
    ck_abort_msg("a conflict");
}

static void on_store_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    (void)context;
    holdings_answer(holdings, waiter, status, value);
}

static int on_record(
    void *context, struct slice id, struct version version, const struct value *value)
{
    return journaling_record(context, id, version, value);
}

static int on_record_copy(void *context, uint64_t seq, uint64_t age_ms, struct slice id,
    struct version version, const struct value *value)
{
    return journaling_record_copy(context, seq, age_ms, id, version, value);
}

static void on_live(void *context, uint64_t seq)
{
    journaling_live(context, seq);
}

static void on_dead(void *context, uint64_t seq)
{
    journaling_dead(context, seq);
}

static void on_send(void *context, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail)
{
    (void)context, (void)to, (void)order, (void)head, (void)tail;
    ck_abort_msg("a message of a member that is alone");
}

static void on_answer(
    void *context, struct cluster_request *request, int status, const struct value *value)
{
    (void)context, (void)request, (void)value;
    answered++;
    answer = status;
}

static void on_evict(void *context, const struct cluster_member *member, uint64_t view)
{
    (void)context, (void)member, (void)view;
}

static void on_behind(void *context, uint64_t view)
{
    (void)context, (void)view;
}

static void on_copy_changed(void *context, struct slice id, const struct cluster_copy *copy)
{
    (void)context;
    holdings_copy_changed(holdings, id, copy);
}

static void on_set_aside(void *context, struct slice id, const struct cluster_copy *copy)
{
    (void)context, (void)id, (void)copy;
    set_aside++;
}

static void on_state(void *context, enum cluster_state state)
{
    (void)context, (void)state;
}

/* A process begins, whose data directory had a lease that long ago. */
static void start(uint64_t lease_age_ms)
{
    const char *why = "";
    holdings = holdings_create((struct holdings_events){.context = &journaling,
        .record = on_record_copy,
        .record_live = on_live,
        .record_dead = on_dead});
    struct store_options store_options = {.key_ttl_ms = DAY_MS,
        .wait_timeout_ms = 5000,
        .dumps_parallel = 1,
        .dumps_parallel_bytes = 1 << 20,
        .retry_min_ms = 100,
        .retry_max_ms = 200,
        .hash_seed = 5};
    struct store_events store_events = {.context = &journaling,
        .load = on_load,
        .dump = on_dump,
        .set_aside = on_conflict,
        .answer = on_store_answer,
        .record = on_record,
        .record_live = on_live,
        .record_dead = on_dead};
    holdings_store_events(holdings, &store_events);
    store = store_create(&store_options, store_events);
    const struct cluster_options options = {.name = slice_of_string("a@host"),
        .seed = 7,
        .random_seed = incarnation,
        .backups = 1,
        .request_timeout_ms = 5000,
        .weak_timeout_ms = 1000,
        .retry_ms = 50,
        .report_timeout_ms = 60000,
        .view_lag_ms = 60000,
        .copy_check_ms = 500,
        .tombstone_keep_ms = KEEP_MS,
        .hints_limit = 100,
        .stash_limit_bytes = 100000,
        .term_limits = {100, 1000000}};
    const struct cluster_events events = {.send = on_send,
        .answer = on_answer,
        .evict = on_evict,
        .behind = on_behind,
        .copy_changed = on_copy_changed,
        .set_aside = on_set_aside,
        .state = on_state};
    cluster = cluster_create(&options, events, holdings_objects(holdings));
    ck_assert(holdings != NULL && store != NULL && cluster != NULL);
    holdings_attach(holdings, store, cluster);
    holdings_time(holdings, managers_now_ms());
    set_aside = 0;
    const int status =
        journaling_open(&journaling, &loop, &config, store, holdings, lease_age_ms, &why);
    ck_assert_msg(status == 0, "%s", why);
}

/* No member of anything. */
static void start_alone(void)
{
    const char *why = "";
    const struct store_options options = {.key_ttl_ms = DAY_MS,
        .wait_timeout_ms = 5000,
        .dumps_parallel = 1,
        .dumps_parallel_bytes = 1 << 20,
        .retry_min_ms = 100,
        .retry_max_ms = 200,
        .hash_seed = 5,
        .epoch = {1, 1, 0}};
    const struct store_events events = {.context = &journaling,
        .load = on_load,
        .dump = on_dump,
        .set_aside = on_conflict,
        .answer = on_store_answer,
        .record = on_record,
        .record_live = on_live,
        .record_dead = on_dead};
    store = store_create(&options, events);
    ck_assert_ptr_nonnull(store);
    holdings = NULL;
    cluster = NULL;
    const int status = journaling_open(&journaling, &loop, &config, store, NULL, UINT64_MAX, &why);
    ck_assert_msg(status == 0, "%s", why);
}

static void set_alone(const char *id)
{
    static const uint8_t term[] = {109, 0, 0, 0, 1, 'x'};
    const struct value value = {NULL, term, sizeof(term)};
    ck_assert_int_eq(
        store_set(store, slice_of_string(id), value, STORE_ACK_MEMORY, managers_now_ms(), NULL),
        STORE_DONE);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void join(void)
{
    const struct cluster_member self = {
        .name = slice_of_string("a@host"), .incarnation = ++incarnation};
    const struct cluster_view view = {incarnation, 1, &self};
    const uint64_t now_ms = managers_now_ms();
    ck_assert_int_eq(cluster_join(cluster, incarnation, &view, now_ms + LEASE_MS, now_ms), 0);
    for (int i = 0; i < 1000; i++)
        cluster_advance(cluster, now_ms, 1000);
    ck_assert(cluster_serves(cluster, now_ms));
}

static void turn(void)
{
    const uint64_t now_ms = managers_now_ms();
    holdings_time(holdings, now_ms);
    cluster_advance(cluster, now_ms, 1000);
    holdings_advance(holdings, now_ms);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void change(enum cluster_kind kind, const char *id, const char *text)
{
    uint8_t term[64] = {109, 0, 0, 0, (uint8_t)strlen(text)};
    memcpy(term + 5, text, strlen(text));
    struct cluster_request request = {
        .kind = kind, .ack = STORE_ACK_MEMORY, .id = slice_of_string(id), .value = value_none()};
    if (kind == CLUSTER_WRITE)
        request.value = value_copy(slice_of(term, 5 + strlen(text)));
    answered = 0;
    cluster_request(cluster, &request, managers_now_ms());
    holdings_settle(holdings, managers_now_ms());
    for (int i = 0; answered == 0; i++) {
        ck_assert_int_lt(i, TURNS);
        turn();
    }
    ck_assert_int_eq(answer, STORE_DONE);
    value_drop(&request.value);
}

static bool is_closed;
static void on_closed(void *context)
{
    (void)context;
    is_closed = true;
}

/* The process ends; its records stay as long as they are live. */
static void end(void)
{
    is_closed = false;
    journaling_close(&journaling, on_closed, NULL);
    while (!is_closed)
        uv_run(&loop, UV_RUN_ONCE);
    if (cluster != NULL)
        cluster_destroy(cluster);
    store_destroy(store);
    if (holdings != NULL)
        holdings_destroy(holdings);
}

/* ---- the directory ----------------------------------------------------------------------------
 */

/* How many segments there are, and the number of the oldest. */
static unsigned segments(uint64_t *oldest)
{
    char path[64];
    unsigned count = 0;
    snprintf(path, sizeof(path), "%s/journal", data_dir);
    DIR *stream = opendir(path);
    ck_assert_ptr_nonnull(stream);
    *oldest = UINT64_MAX;
    for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        char *rest;
        const uint64_t number = strtoull(entry->d_name, &rest, 10);
        if (strcmp(rest, ".log") != 0)
            continue;
        count++;
        if (number < *oldest)
            *oldest = number;
    }
    closedir(stream);
    return count;
}

/* Turns until that segment is gone. */
static void compact(uint64_t number)
{
    uint64_t oldest;
    for (int i = 0; segments(&oldest) == 0 || oldest <= number; i++) {
        ck_assert_int_lt(i, TURNS);
        while (journaling_advance(&journaling, 10))
            ;
        turn();
        usleep(500);
    }
}

static void set_up(void)
{
    char text[256], sentence[CONFIG_SENTENCE_LIMIT];
    static struct journal_device device;
    strcpy(data_dir, "/tmp/brain-journaling-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(data_dir));
    snprintf(text, sizeof(text), "data_dir = %s\ntombstone_keep = %d\njournal_sync = never\n",
        data_dir, KEEP_MS);
    ck_assert_msg(config_parse(&config, "test", text, sentence) == 0, "%s", sentence);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    device = journal_device_system;
    device.unix_ms = wall;
    journal_device_set(&device);
    wall_ms = UINT64_C(1800000000000);
    incarnation = 0;
}

static void tear_down(void)
{
    char command[128];
    journal_device_set(NULL);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    config_release(&config);
    snprintf(command, sizeof(command), "rm -r %s", data_dir);
    ck_assert_int_eq(system(command), 0);
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static struct slice id_of(const char *id)
{
    return slice_of_string(id);
}

/* A segment with one live record, and dead ones of what others may delete: it goes, and what is
 * live is young again. */
START_TEST(an_old_segment_goes_whatever_it_holds)
{
    uint64_t oldest;
    start(UINT64_MAX);
    join();
    change(CLUSTER_WRITE, "kept", "one");
    change(CLUSTER_WRITE, "other", "one");
    change(CLUSTER_WRITE, "other", "two");
    change(CLUSTER_DELETE, "gone", "");
    turn();
    ck_assert_uint_eq(segments(&oldest), 1);
    wall_ms += DAY_MS / 2; /* less than an eighth of seven days */
    for (int i = 0; i < 100; i++) {
        ck_assert(!journaling_advance(&journaling, 10));
        turn();
    }
    const uint64_t first = oldest;
    ck_assert_uint_eq(segments(&oldest), 1);
    ck_assert_uint_eq(oldest, first);
    wall_ms += DAY_MS / 2;
    compact(first);
    end();

    /* The lease is five days old, the records are not older: had they the age of their first
     * segment, they were nearly seven. */
    wall_ms += 6 * (uint64_t)DAY_MS;
    start(6 * (uint64_t)DAY_MS);
    ck_assert_uint_eq(set_aside, 0);
    ck_assert(cluster_copy_held(cluster, id_of("kept"), NULL));
    ck_assert(cluster_copy_held(cluster, id_of("other"), NULL));
    ck_assert(cluster_copy_held(cluster, id_of("gone"), NULL));
    ck_assert_uint_eq(cluster_copy_age(cluster, id_of("kept"), managers_now_ms()) / DAY_MS, 6);
    end();
}
END_TEST

/* A node that was away writes the time of its new lease before it has settled what it brought back,
 * and is killed: it is no younger for that. */
START_TEST(a_young_lease_makes_no_record_young)
{
    uint64_t oldest;
    start(UINT64_MAX);
    join();
    change(CLUSTER_WRITE, "a", "one");
    change(CLUSTER_WRITE, "b", "one");
    end();
    wall_ms += 5 * (uint64_t)DAY_MS;
    start(5 * (uint64_t)DAY_MS);
    ck_assert_uint_eq(set_aside, 0);
    ck_assert(cluster_copy_held(cluster, id_of("a"), NULL));
    end();
    wall_ms += 3 * (uint64_t)DAY_MS;
    start(0);
    ck_assert_uint_eq(set_aside, 2);
    ck_assert(!cluster_copy_held(cluster, id_of("a"), NULL));
    end();
    /* Nor does it come back later. */
    ck_assert_uint_eq(segments(&oldest), 0);
}
END_TEST

/* A record is announced as live at the end of its turn; a segment that is closed before that keeps
 * it all the same. */
START_TEST(an_old_segment_is_closed_right_after_a_write)
{
    start(UINT64_MAX);
    join();
    wall_ms += DAY_MS;
    change(CLUSTER_WRITE, "a", "one"); /* not a turn of the loop since */
    while (journaling_advance(&journaling, 10))
        ;
    for (int i = 0; i < 100; i++) {
        turn();
        usleep(500);
    }
    end();
    start(0);
    ck_assert(cluster_copy_held(cluster, id_of("a"), NULL));
    end();
}
END_TEST

/* Nobody else could have deleted what a node alone has in its journal. */
START_TEST(alone_no_segment_is_old)
{
    uint64_t oldest, before;
    start_alone();
    set_alone("a");
    end();
    ck_assert_uint_eq(segments(&before), 1);
    start_alone(); /* what it restores is in a segment before its own */
    wall_ms += 100 * (uint64_t)DAY_MS;
    for (int i = 0; i < 100; i++) {
        ck_assert(!journaling_advance(&journaling, 10));
        if (i % 50 == 0)
            set_alone("b");
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(500);
    }
    ck_assert_uint_eq(segments(&oldest), 2);
    ck_assert_uint_eq(oldest, before);
    end();
}
END_TEST

/* What compaction writes again is a copy that nobody has wanted since: under a lease, so that the
 * journal may be written, but owned by nobody. */
START_TEST(a_copy_that_is_written_again_is_no_younger)
{
    uint64_t oldest;
    start(UINT64_MAX);
    join();
    change(CLUSTER_WRITE, "a", "one");
    change(CLUSTER_DELETE, "gone", "");
    end();
    wall_ms += 5 * (uint64_t)DAY_MS;
    segments(&oldest);
    start(0);
    ck_assert_uint_eq(set_aside, 0);
    /* Not joined: nothing is written again without a lease. */
    for (int i = 0; i < 100; i++) {
        ck_assert(!journaling_advance(&journaling, 10));
        turn();
    }
    const uint64_t before = oldest;
    segments(&oldest);
    ck_assert_uint_eq(oldest, before);
    end();
    start(0);
    ck_assert_uint_eq(cluster_copy_age(cluster, id_of("a"), managers_now_ms()) / DAY_MS, 5);
    const uint64_t latest = UINT64_C(1) << 40;
    while (holdings_rewrite(holdings, 1, latest, 10))
        ;
    end();
    wall_ms += DAY_MS;
    start(0);
    ck_assert_uint_eq(cluster_copy_age(cluster, id_of("a"), managers_now_ms()) / DAY_MS, 6);
    struct cluster_copy copy;
    ck_assert(cluster_copy_held(cluster, id_of("a"), &copy) && !copy.deleted);
    ck_assert_uint_eq(copy.value.size, 8);
    ck_assert_mem_eq(copy.value.data + 5, "one", 3);
    ck_assert(cluster_copy_held(cluster, id_of("gone"), &copy) && copy.deleted);
    ck_assert_uint_eq(cluster_copy_age(cluster, id_of("gone"), managers_now_ms()) / DAY_MS, 6);
    end();
    wall_ms += DAY_MS + 1000;
    start(0);
    ck_assert_uint_eq(set_aside, 2);
    end();
}
END_TEST

/* A journal from before it was a member is its own: nobody else can have deleted anything. */
START_TEST(without_a_lease_ever_nothing_has_an_age)
{
    start(UINT64_MAX);
    join();
    change(CLUSTER_WRITE, "a", "one");
    end();
    wall_ms += 100 * (uint64_t)DAY_MS;
    start(UINT64_MAX);
    ck_assert_uint_eq(set_aside, 0);
    ck_assert(cluster_copy_held(cluster, id_of("a"), NULL));
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("server/journaling");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, an_old_segment_goes_whatever_it_holds);
    tcase_add_test(all, a_young_lease_makes_no_record_young);
    tcase_add_test(all, an_old_segment_is_closed_right_after_a_write);
    tcase_add_test(all, alone_no_segment_is_old);
    tcase_add_test(all, a_copy_that_is_written_again_is_no_younger);
    tcase_add_test(all, without_a_lease_ever_nothing_has_an_age);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
