/* Items and the pages they live in, without a store. */
#include <check.h>
#include <string.h>

#include "heap_fault.h"
#include "pages.h"
#include "suite.h"

static struct pages pages;

START_TEST(item_holds_all_its_parts)
{
    static const uint64_t limits[] = {0, 1};
    for (unsigned l = 0; l < 2; l++) {
        heap_fault_start(0);
        pages_init(&pages, limits[l]);
        static uint8_t bytes[5000];
        memset(bytes, 9, sizeof(bytes));
        char id[1024];
        memset(id, 'i', sizeof(id));
        size_t most = pages.item_limit > 1024 + 24 ? pages.item_limit - 1024 - 24 : 0;
        const size_t sizes[] = {0, 1, most, most + 1, most + 8, most + 9, sizeof(bytes)};
        for (unsigned s = 0; s < 14; s++) {
            bool stored = s % 2;
            struct value value = {NULL, bytes, sizes[s / 2]};
            struct item *item = item_create(&pages, slice_of(id, sizeof(id)), &value, stored);
            size_t whole = 1040U + (stored ? 8U : 0U) + value.size;
            bool external = item->value_size == ITEM_EXTERNAL;
            ck_assert(external == (value.size > 0 && whole > pages.item_limit));
            if (stored)
                *item_stored(item) = (struct packed_version){1, 2};
            ck_assert(slice_equal(item_id(item), slice_of(id, sizeof(id))));
            ck_assert(slice_equal(value_slice(item_value(item)), slice_of(bytes, value.size)));
            ck_assert_uint_eq(item_value_size(item), value.size);
            /* Only what takes the same room is overwritten. */
            struct value other = {NULL, bytes, value.size ^ 1};
            ck_assert(external || !item_takes(&pages, item, &other, stored));
            ck_assert(!item_takes(&pages, item, &value, !stored));
            ck_assert(item_takes(&pages, item, &value, stored));
            struct value kept = external ? item_keep(&value) : value;
            item_overwrite(item, &kept);
            ck_assert_mem_eq(item_value(item).data, bytes, value.size);
            size_t slot;
            ck_assert_uint_eq(item_memory_outside(item),
                item_memory_outside_for(&pages, sizeof(id), &value, stored, &slot));
            ck_assert_uint_eq(slot, item_size(item));
            ck_assert_uint_le(slot, pages_slot_size(&pages, slot));
            if (stored)
                ck_assert_uint_eq(item_stored(item)->seq, 2);
            struct item *copy = item_copy(&pages, item);
            pages_free(&pages, item);
            ck_assert(slice_equal(item_id(copy), slice_of(id, sizeof(id))));
            ck_assert(slice_equal(value_slice(item_value(copy)), slice_of(bytes, value.size)));
            item_release(&pages, copy);
        }
        ck_assert_uint_eq(pages.count, 0);
        pages_release(&pages);
        heap_fault_stop();
    }
}
END_TEST

START_TEST(little_of_a_slot_is_lost)
{
    pages_init(&pages, 0);
    for (size_t size = 17; size <= 4096; size++) {
        size_t slot = pages_slot_size(&pages, size);
        ck_assert_uint_ge(slot, size);
        ck_assert_uint_eq(slot % 8, 0);
        ck_assert_uint_le(slot, size <= 256 ? size + 7 : size + size / 16);
    }
    pages_release(&pages);
}
END_TEST

START_TEST(pages_are_smaller_where_ram_is_little)
{
    static const uint64_t limits[] = {0, 1, 10 << 20, 32 << 20, 64 << 20, UINT64_C(1) << 40};
    static const uint32_t sizes[] = {65536, 4096, 8192, 32768, 65536, 65536};
    for (unsigned i = 0; i < 6; i++) {
        pages_init(&pages, limits[i]);
        ck_assert_uint_eq(pages.page_size, sizes[i]);
        pages_release(&pages);
    }
}
END_TEST

/* Items of random sizes come and go: none overlaps another, a handle leads back to its item, and
 * when all are gone so is the memory. */
START_TEST(slots_are_used_again)
{
    enum { ITEMS = 3000, STEPS = 100000 };
    static struct item *items[ITEMS];
    static uint8_t sizes[ITEMS];
    static uint8_t bytes[256];
    uint64_t random = 1;
    heap_fault_start(0);
    pages_init(&pages, 0);
    for (unsigned step = 0; step < STEPS + ITEMS; step++) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        uint32_t i = step < STEPS ? (uint32_t)(random >> 33) % ITEMS : step - STEPS;
        if (items[i]) {
            struct value value = item_value(items[i]);
            ck_assert_uint_eq(value.size, sizes[i]);
            for (size_t b = 0; b < value.size; b++)
                ck_assert(value.data[b] == (uint8_t)i);
            ck_assert_mem_eq(item_id(items[i]).data, &i, sizeof(i));
            ck_assert_ptr_eq(pages_item(&pages, pages_handle(&pages, items[i])), items[i]);
            item_release(&pages, items[i]);
            items[i] = NULL;
        } else if (step < STEPS) {
            sizes[i] = (uint8_t)(random >> 56);
            memset(bytes, (int)i, sizes[i]);
            struct value value = {NULL, bytes, sizes[i]};
            size_t growth = pages_growth(&pages, 16 + sizeof(i) + sizes[i]);
            uint64_t before = pages.memory;
            items[i] = item_create(&pages, slice_of(&i, sizeof(i)), &value, false);
            if (pages.regions_capacity > 0 && before > 0)
                ck_assert_uint_eq(pages.memory - before, growth);
        }
    }
    ck_assert_uint_eq(pages.count, 0);
    ck_assert_uint_eq(pages.regions_used, 0);
    pages_release(&pages);
    heap_fault_stop();
}
END_TEST

/* The first page with room, so that what is used stays together and the rest is given back. */
START_TEST(regions_are_given_back)
{
    enum { ITEMS = 3000 };
    static struct item *items[ITEMS];
    static uint8_t bytes[3000];
    heap_fault_start(0);
    pages_init(&pages, 0);
    struct value value = {NULL, bytes, sizeof(bytes)};
    for (uint32_t i = 0; i < ITEMS; i++)
        items[i] = item_create(&pages, slice_of(&i, sizeof(i)), &value, false);
    uint32_t most = pages.regions_used;
    ck_assert_uint_ge(most, 4);
    for (uint32_t i = ITEMS; i > ITEMS / 4; i--)
        item_release(&pages, items[i - 1]);
    ck_assert_uint_le(pages.regions_used, most / 4 + 1);
    for (uint32_t i = 0; i < ITEMS / 4; i++)
        item_release(&pages, items[i]);
    ck_assert_uint_eq(pages.regions_used, 0);
    /* A page for other uses is zeroed, also when it was used. */
    uint32_t region, other;
    uint8_t *plain = pages_take_plain(&pages, &region), *keeps = pages_take_plain(&pages, &other);
    memset(plain, 1, pages.page_size);
    pages_give_plain(&pages, plain, region);
    ck_assert_ptr_eq(pages_take_plain(&pages, &region), plain);
    for (size_t i = 0; i < pages.page_size; i++)
        ck_assert(plain[i] == 0);
    pages_give_plain(&pages, plain, region);
    pages_give_plain(&pages, keeps, other);
    pages_release(&pages);
    heap_fault_stop();
}
END_TEST

START_TEST(without_memory_nothing_is_lost)
{
    static uint8_t bytes[5000];
    for (unsigned n = 1;; n++) {
        heap_fault_start(n);
        pages_init(&pages, 0);
        struct item *items[40] = {NULL};
        unsigned failures = 0;
        for (uint32_t i = 0; i < 40; i++) {
            struct value value = {NULL, bytes, i * 125};
            items[i] = item_create(&pages, slice_of(&i, sizeof(i)), &value, false);
            failures += !items[i];
        }
        ck_assert_uint_le(failures, 1);
        for (uint32_t i = 0; i < 40; i++) {
            if (items[i])
                item_release(&pages, items[i]);
        }
        ck_assert_uint_eq(pages.count, 0);
        pages_release(&pages);
        if (!heap_fault_stop())
            break;
        ck_assert_uint_eq(failures, 1);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("object/pages");
    TCase *tcase = tcase_create("pages");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, item_holds_all_its_parts);
    tcase_add_test(tcase, little_of_a_slot_is_lost);
    tcase_add_test(tcase, pages_are_smaller_where_ram_is_little);
    tcase_add_test(tcase, slots_are_used_again);
    tcase_add_test(tcase, regions_are_given_back);
    tcase_add_test(tcase, without_memory_nothing_is_lost);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
