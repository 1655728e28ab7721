/* Many objects of many sizes come and go: RAM follows what is in use, whatever moves meanwhile
 * keeps its value, its place in line and its dump. */
#include <check.h>
#include <string.h>

#include "brain/object.h"
#include "heap_fault.h"
#include "suite.h"

enum { IDS = 40000, VALUE_MAX = 600, UNDER_WAY = 64, TTL = 10000 };

static struct store *store;
static uint64_t now, random_state;
static uint8_t bytes[VALUE_MAX];
/* What an id holds, and what the warehouse has of it. */
static struct {
    uint32_t write, size;
} contents[IDS], cells[IDS];
static struct version versions[IDS];
static struct {
    struct object *object;
    bool dump;
    uint32_t id, write, size;
    struct version version;
} under_way[UNDER_WAY];
static unsigned under_way_count;
static bool at_once, no_memory;
static struct read {
    struct store_waiter waiter; /* first: the store hands it back */
    uint32_t id;
    bool waits;
} reads[UNDER_WAY];

static uint32_t roll(uint32_t sides)
{
    random_state = random_state * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(random_state >> 33) % sides;
}

static void fill(uint32_t id, uint32_t write, uint32_t size)
{
    memset(bytes, (int)(id * 7 + write), size);
    memcpy(bytes, &id, size < sizeof(id) ? size : sizeof(id));
}

static void assert_value(uint32_t id, uint32_t write, uint32_t size, const struct value *value)
{
    fill(id, write, size);
    ck_assert(value->size == size && memcmp(value->data, bytes, size) == 0);
}

static uint32_t number_of(struct slice id)
{
    uint32_t number;
    memcpy(&number, id.data, sizeof(number));
    return number;
}

static struct slice id_of(const uint32_t *number)
{
    return slice_of(number, sizeof(*number));
}

static void finish(unsigned i)
{
    struct object *object = under_way[i].object;
    uint32_t id = under_way[i].id;
    under_way[i].object = NULL;
    under_way_count--;
    if (under_way[i].dump) {
        cells[id].write = under_way[i].write;
        cells[id].size = under_way[i].size;
        versions[id] = under_way[i].version;
        store_dumped(store, object, 0, NULL, now);
    } else if (cells[id].write > 0) {
        struct version version = versions[id];
        static uint8_t loaded[VALUE_MAX];
        fill(id, cells[id].write, cells[id].size);
        memcpy(loaded, bytes, cells[id].size); /* whoever checks an answer uses `bytes` */
        struct value value = {NULL, loaded, cells[id].size};
        store_loaded(store, object, 0, &version, &value, now);
    } else {
        store_loaded(store, object, STORE_ABSENT, NULL, NULL, now);
    }
}

static unsigned begin(struct object *object, struct slice id, bool dump)
{
    unsigned i = 0;
    while (under_way[i].object)
        i++;
    ck_assert_uint_lt(i, UNDER_WAY);
    under_way[i].object = object;
    under_way[i].dump = dump;
    under_way[i].id = number_of(id);
    under_way_count++;
    return i;
}

static void on_load(void *context, struct object *object, struct slice id)
{
    (void)context;
    unsigned i = begin(object, id, false);
    if (at_once)
        finish(i);
}

static void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value)
{
    (void)context, (void)expected;
    unsigned i = begin(object, id, true);
    under_way[i].version = version;
    under_way[i].write = contents[under_way[i].id].write;
    under_way[i].size = contents[under_way[i].id].size;
    assert_value(under_way[i].id, under_way[i].write, under_way[i].size, value);
    if (at_once)
        finish(i);
}

static void on_set_aside(
    void *context, struct slice id, struct version version, const struct value *value)
{
    (void)context, (void)id, (void)version, (void)value;
    ck_abort_msg("nothing is set aside here");
}

static void on_answer(
    void *context, struct store_waiter *waiter, int status, const struct value *value)
{
    (void)context;
    struct read *read = (struct read *)(void *)waiter;
    read->waits = false;
    /* Nothing is written here while it is read. */
    if (no_memory && status == BRAIN_ENOMEM)
        return;
    ck_assert_int_eq(status, contents[read->id].write == 0 ? STORE_ABSENT : STORE_FOUND);
    if (status == STORE_FOUND)
        assert_value(read->id, contents[read->id].write, contents[read->id].size, value);
}

static void open_with(uint64_t limit_bytes)
{
    struct store_options options = {.key_ttl_ms = TTL,
        .wait_timeout_ms = 1000000,
        .dumps_parallel = UNDER_WAY / 2,
        .dumps_parallel_bytes = UINT64_MAX,
        .retry_min_ms = 100,
        .retry_max_ms = 1000,
        .hash_seed = 5,
        .epoch = {1, 1, 0},
        .memory_limit_bytes = limit_bytes};
    struct store_events events = {
        .load = on_load, .dump = on_dump, .set_aside = on_set_aside, .answer = on_answer};
    store = store_create(&options, events);
    ck_assert_ptr_nonnull(store);
}

static void setup(void)
{
    heap_fault_start(0);
    now = 1000000;
    random_state = 77;
    under_way_count = 0;
    at_once = no_memory = false;
    memset(contents, 0, sizeof(contents));
    memset(cells, 0, sizeof(cells));
    memset(versions, 0, sizeof(versions));
    memset(reads, 0, sizeof(reads));
}

static void teardown(void)
{
    for (unsigned i = 0; i < UNDER_WAY; i++) {
        if (under_way[i].object)
            finish(i);
    }
    ck_assert_uint_eq(under_way_count, 0);
    store_destroy(store);
    heap_fault_stop();
}

static const struct store_metrics *metrics(void)
{
    return store_metrics(store, now);
}

static int set(uint32_t id, uint32_t size)
{
    fill(id, contents[id].write + 1, size);
    struct value value = {NULL, bytes, size};
    int status = store_set(store, id_of(&id), value, STORE_ACK_MEMORY, now, NULL);
    if (status == STORE_DONE) {
        contents[id].write++;
        contents[id].size = size;
    }
    return status;
}

static void assert_reads(uint32_t id)
{
    unsigned i = 0;
    while (i < UNDER_WAY && reads[i].waits)
        i++;
    if (i == UNDER_WAY || under_way_count + 1 >= UNDER_WAY / 2)
        return;
    struct value value;
    memset(&reads[i].waiter, 0, sizeof(reads[i].waiter));
    reads[i].id = id;
    reads[i].waits = true;
    int status = store_get(store, id_of(&id), now, &value, &reads[i].waiter);
    if (status == STORE_WAIT)
        return;
    reads[i].waits = false;
    if (no_memory && status == BRAIN_ENOMEM)
        return;
    ck_assert_int_eq(status, contents[id].write == 0 ? STORE_ABSENT : STORE_FOUND);
    if (status == STORE_FOUND)
        assert_value(id, contents[id].write, contents[id].size, &value);
}

static void finish_one(void)
{
    unsigned i = roll(UNDER_WAY);
    if (under_way[i].object)
        finish(i);
}

static void advance_until_done(void)
{
    while (store_advance(store, now, 100) == 0)
        ;
}

/* What the objects need, with a slot's rounding, and an index of 11 bytes for each. */
static uint64_t needed(void)
{
    return metrics()->bytes + metrics()->objects * (16 + 8 + 7 + 11);
}

/* The bound of compact.c: 16/15, and two pages of 64 KiB for each size class, which are all that
 * occur below 256 bytes, or up to 600; and what an index that has not shrunk yet takes. */
static void assert_bounded(unsigned size_classes, uint64_t empty)
{
    uint64_t bound = needed() * 16 / 15 + size_classes * 2ULL * 65536 + 2 * 65536;
    ck_assert_uint_le(metrics()->memory - empty, bound);
}

START_TEST(what_is_left_moves_together)
{
    open_with(0);
    uint64_t empty = metrics()->memory;
    at_once = true;
    for (uint32_t i = 0; i < IDS; i++)
        ck_assert_int_eq(set(i, 100 + i % 20), STORE_DONE);
    uint64_t full = metrics()->memory;
    assert_bounded(5, empty);
    /* Nine of ten leave, in no order; the others are dirty, or being dumped. */
    for (uint32_t n = 0; n < IDS; n++) {
        uint32_t i = (uint32_t)(n * 7919ULL % IDS);
        at_once = n % 10 != 0;
        if (n % 10 == 0 && n % 2000 != 0)
            continue;
        int status = store_persist(store, id_of(&i), now, NULL);
        ck_assert_int_eq(status, STORE_WAIT);
    }
    at_once = true;
    ck_assert_uint_gt(under_way_count, 10);
    advance_until_done();
    assert_bounded(5, empty);
    ck_assert_uint_lt(metrics()->memory - empty, (full - empty) / 4);
    while (under_way_count > 0)
        finish_one();
    /* Other sizes take the place of what has gone. */
    for (uint32_t i = 0; i < IDS; i += 2)
        ck_assert_int_eq(set(i, 300 + i % 300), STORE_DONE);
    advance_until_done();
    assert_bounded(5 + 20, empty);
    for (uint32_t i = 0; i < IDS; i++)
        assert_reads(i);
    /* And when all have gone, all is as it was. */
    now += 3 * TTL;
    advance_until_done();
    now += 3 * TTL;
    advance_until_done();
    ck_assert_uint_eq(metrics()->objects, 0);
    ck_assert_uint_le(metrics()->memory - empty, 65536 + 4096);
}
END_TEST

/* At the limit, with objects loading and being dumped all the time. */
static void churn(uint64_t seed, unsigned steps, uint64_t limit_bytes)
{
    random_state = seed;
    open_with(limit_bytes);
    uint32_t largest = 40;
    for (unsigned step = 0; step < steps; step++) {
        uint32_t id = roll(roll(4) == 0 ? IDS : IDS / 20);
        if (step % (steps / 10 + 1) == 0)
            largest = 10 + roll(VALUE_MAX - 10); /* the sizes change */
        switch (roll(8)) {
        case 0:
        case 1:
        case 2: {
            bool waits = false;
            for (unsigned i = 0; i < UNDER_WAY; i++)
                waits |= reads[i].waits && reads[i].id == id;
            int status = waits ? STORE_DONE : set(id, 4 + roll(largest));
            ck_assert(status == STORE_DONE || status == BRAIN_EOVERLOAD ||
                      (no_memory && status == BRAIN_ENOMEM));
            break;
        }
        case 3:
            store_persist(store, id_of(&id), now, NULL);
            break;
        case 4:
        case 5:
            assert_reads(id);
            break;
        default:
            finish_one();
            finish_one();
        }
        if (roll(10) == 0) {
            now += roll(20);
            store_advance(store, now, 50);
        }
    }
    store_drain(store, now);
    for (unsigned i = 0; metrics()->dirty + metrics()->loading + metrics()->persisting > 0; i++) {
        ck_assert_uint_lt(i, 10000000);
        finish_one();
        now += store_advance(store, now, 50);
    }
    for (uint32_t id = 0; id < IDS; id++)
        ck_assert(cells[id].write == contents[id].write && cells[id].size == contents[id].size);
}

START_TEST(objects_move_while_they_are_in_use)
{
    churn(1, 300000, 1000000);
    ck_assert_uint_gt(metrics()->dropped_memory, 1000);
    ck_assert_uint_gt(metrics()->hits, 1000);
    ck_assert_uint_le(metrics()->memory, 1000000);
}
END_TEST

START_TEST(objects_move_without_a_limit)
{
    churn(2, 300000, 0);
    ck_assert_uint_eq(metrics()->refused_overload, 0);
}
END_TEST

START_TEST(without_memory_nothing_is_lost)
{
    no_memory = true;
    for (unsigned n = 30, step = 1;; n += step, step += step / 2 + 1) { /* opening needs a few */
        heap_fault_start(n);
        churn(n, 5000, 400000);
        store_destroy(store);
        if (!heap_fault_stop())
            break;
        setup();
        no_memory = true;
    }
    setup();
    open_with(0); /* for teardown */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/compact");
    TCase *tcase = tcase_create("compact");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_is_left_moves_together);
    tcase_add_test(tcase, objects_move_while_they_are_in_use);
    tcase_add_test(tcase, objects_move_without_a_limit);
    tcase_add_test(tcase, without_memory_nothing_is_lost);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
