/* The tables and the rendezvous order. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "heap_fault.h"
#include "inside.h"
#include "suite.h"

/* ---- idmap: against a plain array, with keys that collide
 * ------------------------------------------- */

enum { KEYS = 300 };
static struct idmap_entry model[KEYS];
static bool there[KEYS];

static uint64_t state = 1;
static int any(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int)(state >> 34);
}

static struct key key_number(unsigned i)
{
    return (struct key){i, i % 7}; /* seven chains */
}

static void same_as_model(const struct idmap *map, const struct epoch_views *views)
{
    uint32_t count = 0, cursor = 0, visited = 0;
    struct idmap_entry entry;
    for (unsigned i = 0; i < KEYS; i++) {
        ck_assert_int_eq(idmap_find(map, views, key_number(i), &entry), there[i]);
        if (!there[i])
            continue;
        count++;
        ck_assert(epoch_equal(entry.epoch, model[i].epoch));
        ck_assert_uint_eq(entry.owner, model[i].owner);
    }
    ck_assert_uint_eq(map->count, count);
    while (idmap_next(map, views, &cursor, &entry)) {
        visited++;
        ck_assert(there[entry.key.high]);
    }
    ck_assert_uint_eq(visited, count);
}

START_TEST(idmap_is_a_map)
{
    struct idmap map = {.with_owner = _i == 1};
    struct epoch_views views = {0};
    memset(there, 0, sizeof(there));
    for (int step = 0; step < 20000; step++) {
        unsigned i = (unsigned)any() % (step % 4000 < 2000 ? KEYS : KEYS / 8);
        struct idmap_entry entry = {key_number(i),
            {(uint64_t)any() % 50, 1 + (uint64_t)any() % 1000}, (uint16_t)(_i * (any() % 4096))};
        if (any() % 5 < 2 + (step / 2000) % 2) {
            ck_assert_int_eq(idmap_put(&map, &views, &entry), 0);
            model[i] = entry;
            there[i] = true;
        } else {
            ck_assert_int_eq(idmap_remove(&map, &views, key_number(i)), there[i]);
            there[i] = false;
        }
        if (step % 100 == 0)
            same_as_model(&map, &views);
    }
    ck_assert_uint_le(views.count, 51); /* views without entries are used again */
    idmap_clear(&map, &views);
    for (uint32_t i = 0; i < views.count; i++)
        ck_assert_uint_eq(views.views[i].uses, 0);
    epoch_views_release(&views);
}
END_TEST

static struct key spread(unsigned i)
{
    return (struct key){i, i * UINT64_C(0x9E3779B97F4A7C15) >> 32};
}

/* As many as there are entries: whoever reports says what the views were. */
START_TEST(idmap_with_many_views)
{
    enum { MANY = 300000 };
    struct idmap map = {0};
    struct epoch_views views = {0};
    for (unsigned round = 0; round < 2; round++) {
        unsigned good = 0;
        for (unsigned i = 0; i < MANY; i++) {
            struct idmap_entry entry = {spread(i), {(uint64_t)i << 20, 1}, 0}, found;
            good += idmap_put(&map, &views, &entry) == 0 &&
                    idmap_find(&map, &views, entry.key, &found) &&
                    found.epoch.view == entry.epoch.view;
        }
        ck_assert_uint_eq(good, MANY);
        ck_assert_uint_eq(views.count, MANY);
        for (unsigned i = 0; i < MANY; i++)
            good -= idmap_remove(&map, &views, spread(i));
        ck_assert_uint_eq(good, 0);
    }
    epoch_views_release(&views);
}
END_TEST

START_TEST(idmap_without_memory)
{
    for (unsigned n = 1;; n++) {
        heap_fault_start(n);
        struct idmap map = {.with_owner = true};
        struct epoch_views views = {0};
        unsigned failed = 0;
        for (unsigned i = 0; i < 40; i++) {
            struct idmap_entry entry = {key_number(i), {i, 1}, 3};
            if (idmap_put(&map, &views, &entry) != 0) {
                failed++;
                ck_assert(!idmap_find(&map, &views, key_number(i), NULL));
                ck_assert_int_eq(idmap_put(&map, &views, &entry), 0);
            }
        }
        ck_assert_uint_eq(map.count, 40);
        for (unsigned i = 0; i < 40; i++)
            ck_assert(idmap_remove(&map, &views, key_number(i)));
        ck_assert_ptr_null(map.memory);
        epoch_views_release(&views);
        if (!heap_fault_stop()) {
            ck_assert_uint_eq(failed, 0);
            break;
        }
    }
}
END_TEST

START_TEST(keyed_tables)
{
    static struct keyed nodes[500];
    for (unsigned n = 0; n < 20; n++) {
        heap_fault_start(n);
        struct keyed_table table = {0};
        for (unsigned i = 0; i < 500; i++) {
            nodes[i].key = (struct key){i, i * 31};
            keyed_insert(&table, &nodes[i]);
        }
        ck_assert_uint_eq(table.count, 500);
        unsigned visited = 0;
        for (struct keyed *node = keyed_any(&table); node; node = keyed_next(&table, node))
            visited++;
        ck_assert_uint_eq(visited, 500);
        for (unsigned i = 0; i < 500; i++)
            ck_assert_ptr_eq(keyed_find(&table, nodes[i].key), &nodes[i]);
        for (unsigned i = 0; i < 500; i++) {
            keyed_remove(&table, &nodes[i]);
            ck_assert_ptr_null(keyed_find(&table, nodes[i].key));
        }
        ck_assert_ptr_null(keyed_any(&table));
        heap_fault_stop();
    }
}
END_TEST

/* ---- rendezvous order
 * ------------------------------------------------------------------------------- */

static struct view *make(unsigned count, unsigned without, uint32_t backups, bool backwards)
{
    static char names[64][24];
    struct cluster_member members[64];
    struct cluster_view from = {1, 0, members};
    for (unsigned i = 0; i < count; i++) {
        unsigned n = backwards ? count - 1 - i : i;
        snprintf(names[n], sizeof(names[n]), "node%u@host", n);
        if (n != without)
            members[from.count++] = (struct cluster_member){slice_of_string(names[n]), 1000 + n};
    }
    struct view *view = view_create(&from, slice_of_string("node0@host"), 1000, backups);
    ck_assert_ptr_nonnull(view);
    return view;
}

static uint64_t home_of(const struct view *view, uint32_t slot)
{
    return view->members[view_home(view, slot)].incarnation;
}

START_TEST(homes_are_spread_and_move_little)
{
    enum { MEMBERS = 20 };
    struct view *all = make(MEMBERS, MEMBERS, 2, false);
    struct view *same = make(MEMBERS, MEMBERS, 2, true);
    struct view *less = make(MEMBERS, 7, 2, false);
    unsigned homes[MEMBERS] = {0};
    for (uint32_t slot = 0; slot < CLUSTER_SLOTS; slot++) {
        uint64_t home = home_of(all, slot);
        homes[home - 1000]++;
        /* All compute the same, whatever order they heard of members in. */
        ck_assert_uint_eq(home, home_of(same, slot));
        /* Only the slots of who left move, and to who was next. */
        if (home != 1007)
            ck_assert_uint_eq(home, home_of(less, slot));
        else
            ck_assert_uint_eq(home_of(less, slot),
                all->members[all->orders[(size_t)slot * all->width + 1]].incarnation);
        /* Holders: others, different ones. */
        uint16_t first = view_holder(all, slot, 0), second = view_holder(all, slot, 1);
        ck_assert(first != all->self && second != all->self && first != second);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        ck_assert_uint_gt(homes[i], CLUSTER_SLOTS / MEMBERS / 2);
        ck_assert_uint_lt(homes[i], CLUSTER_SLOTS / MEMBERS * 2);
    }
    view_release(all);
    view_release(same);
    view_release(less);
}
END_TEST

START_TEST(few_members)
{
    struct view *one = make(1, 1, 3, false);
    ck_assert_uint_eq(one->holders, 0);
    ck_assert_uint_eq(one->width, 1);
    struct view *two = make(2, 2, 3, false);
    ck_assert_uint_eq(two->holders, 1);
    for (uint32_t slot = 0; slot < CLUSTER_SLOTS; slot++)
        ck_assert_uint_ne(view_holder(two, slot, 0), two->self);
    view_release(one);
    view_release(two);
}
END_TEST

START_TEST(so_many_members_and_no_more)
{
    static char names[CLUSTER_MEMBERS_LIMIT + 1][24];
    static struct cluster_member members[CLUSTER_MEMBERS_LIMIT + 1];
    const struct slice self = slice_of(names[0], 8);
    for (unsigned i = 0; i <= CLUSTER_MEMBERS_LIMIT; i++) {
        const int size = snprintf(names[i], sizeof(names[i]), "node%04u", i);
        members[i] = (struct cluster_member){slice_of(names[i], (size_t)size), 1000 + i};
    }
    struct cluster_view from = {1, CLUSTER_MEMBERS_LIMIT, members};
    struct view *view = view_create(&from, self, 1000, 1);
    ck_assert_ptr_nonnull(view);
    ck_assert_uint_eq(view->count, CLUSTER_MEMBERS_LIMIT);
    ck_assert_int_eq(view_find(view, 1000 + CLUSTER_MEMBERS_LIMIT - 1), CLUSTER_MEMBERS_LIMIT - 1);
    view_release(view);
    from.count++;
    ck_assert_ptr_null(view_create(&from, self, 1000, 1));
    from.count = 0;
    ck_assert_ptr_null(view_create(&from, self, 1000, 1));
}
END_TEST

START_TEST(epochs_compare)
{
    struct cluster_epoch a = {1, 9}, b = {2, 1}, c = {2, 2};
    ck_assert_int_lt(cluster_epoch_compare(a, b), 0);
    ck_assert_int_lt(cluster_epoch_compare(b, c), 0);
    ck_assert_int_gt(cluster_epoch_compare(c, a), 0);
    ck_assert_int_eq(cluster_epoch_compare(b, b), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster structures");
    TCase *tcase = tcase_create("structures");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, idmap_is_a_map, 0, 2);
    tcase_add_test(tcase, idmap_with_many_views);
    tcase_add_test(tcase, idmap_without_memory);
    tcase_add_test(tcase, keyed_tables);
    tcase_add_test(tcase, homes_are_spread_and_move_little);
    tcase_add_test(tcase, few_members);
    tcase_add_test(tcase, so_many_members_and_no_more);
    tcase_add_test(tcase, epochs_compare);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
