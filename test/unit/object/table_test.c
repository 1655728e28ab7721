/* The table alone: it finds what is in it while it grows and shrinks, bucket by bucket. */
#include <check.h>

#include "heap_fault.h"
#include "suite.h"
#include "table.h"

enum { ITEMS = 20000 };

static struct pages pages;
static struct item *items[ITEMS];
static uint8_t visits[ITEMS];

static struct item *make(uint32_t i)
{
    return item_create(&pages, slice_of(&i, sizeof(i)), NULL, false);
}

static uint32_t number_of(const struct item *item)
{
    uint32_t i;
    __builtin_memcpy(&i, item_id(item).data, sizeof(i));
    return i;
}

static struct item *find(const struct table *table, uint32_t i)
{
    struct slice id = slice_of(&i, sizeof(i));
    uint64_t hash = table_hash(table, id);
    table_prefetch_slot(table, hash); /* hints: of whatever is or is not there */
    table_prefetch_item(table, hash);
    return table_find(table, hash, id);
}

static uint64_t hash_of(const struct table *table, uint32_t i)
{
    return table_hash(table, slice_of(&i, sizeof(i)));
}

static void visit(void *context, struct item *item)
{
    (void)context;
    visits[number_of(item)]++;
}

START_TEST(finds_all_while_growing_and_shrinking)
{
    struct table table;
    heap_fault_start(0);
    pages_init(&pages, 0);
    ck_assert_int_eq(table_init(&table, &pages, 99), 0);
    size_t first_buckets = table.buckets;
    for (uint32_t i = 0; i < ITEMS; i++) {
        items[i] = make(i);
        size_t buckets = table.buckets;
        ck_assert_int_eq(table_insert(&table, hash_of(&table, i), items[i]), 0);
        ck_assert_uint_le(table.buckets, buckets + 1); /* one split at most */
        ck_assert_ptr_eq(find(&table, i / 2), items[i / 2]);
        ck_assert_ptr_null(find(&table, i + 1));
    }
    ck_assert_uint_gt(table.buckets, ITEMS / 10);
    for (uint32_t i = 0; i < ITEMS; i++)
        ck_assert_ptr_eq(find(&table, i), items[i]);

    struct item *other = make(5);
    table_replace(&table, hash_of(&table, 5), items[5], other);
    item_release(&pages, items[5]);
    items[5] = other;
    ck_assert_ptr_eq(find(&table, 5), other);

    for (size_t cursor = 0; table_scan(&table, &cursor, visit, NULL);)
        ;
    for (uint32_t i = 0; i < ITEMS; i++)
        ck_assert_uint_eq(visits[i], 1);

    for (uint32_t n = 0; n < ITEMS; n++) {
        uint32_t i = (uint32_t)((n * 7919ULL) % ITEMS); /* ITEMS and 7919 have no common factor */
        table_remove(&table, hash_of(&table, i), items[i]);
        item_release(&pages, items[i]);
        ck_assert_ptr_null(find(&table, i));
        uint32_t later = (uint32_t)(((n + 1) * 7919ULL) % ITEMS);
        if (n + 1 < ITEMS)
            ck_assert_ptr_eq(find(&table, later), items[later]);
    }
    ck_assert_uint_eq(table.items, 0);
    ck_assert_uint_eq(table.buckets, first_buckets);
    ck_assert_uint_eq(table.main.used, 1);
    ck_assert_uint_eq(table.overflow_used, 0);
    table_release(&table);
    ck_assert_uint_eq(pages.count, 0);
    pages_release(&pages);
    heap_fault_stop();
}
END_TEST

START_TEST(without_memory_nothing_is_lost)
{
    enum { FEW = 7000 };
    /* Each allocation fails once: item, overflow bucket, segment, array of segments. */
    for (unsigned n = 1, step = 1;; n += step, step *= 2) {
        struct table table;
        heap_fault_start(n);
        pages_init(&pages, 0);
        uint32_t made = 0;
        if (table_init(&table, &pages, 3) == 0) {
            for (uint32_t i = 0; i < FEW; i++) {
                struct item *item = make(i);
                if (item && table_insert(&table, hash_of(&table, i), item) != 0) {
                    item_release(&pages, item);
                    item = NULL;
                }
                items[i] = item;
                made += item != NULL;
            }
            ck_assert_uint_ge(made, FEW - 1);
            ck_assert_uint_eq(table.items, made);
            for (uint32_t i = 0; i < FEW; i++)
                ck_assert_ptr_eq(find(&table, i), items[i]);
            for (uint32_t i = 0; i < FEW; i++) {
                if (!items[i])
                    continue;
                table_remove(&table, hash_of(&table, i), items[i]);
                item_release(&pages, items[i]);
            }
            table_release(&table);
        }
        pages_release(&pages);
        if (!heap_fault_stop())
            break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/table");
    TCase *tcase = tcase_create("table");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, finds_all_while_growing_and_shrinking);
    tcase_add_test(tcase, without_memory_nothing_is_lost);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
