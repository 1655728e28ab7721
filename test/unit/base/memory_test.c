/* heap, slice, buffer, block, value, budget. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "brain/base.h"
#include "heap_fault.h"
#include "suite.h"

/* ---- heap --------------------------------------------------------------------------------------
 */

START_TEST(heap_zeroes_and_resizes)
{
    uint8_t *bytes = heap_allocate_zeroed(100000);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < 100000; i++)
        ck_assert_uint_eq(bytes[i], 0);
    memset(bytes, 7, 100000);
    bytes = heap_resize(bytes, 200000);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(bytes[99999], 7);
    heap_release(bytes);
    heap_release(NULL);
}
END_TEST

START_TEST(heap_gives_memory_for_size_zero)
{
    void *memory = heap_allocate(0);
    ck_assert_ptr_nonnull(memory);
    memory = heap_resize(memory, 0);
    ck_assert_ptr_nonnull(memory);
    heap_release(memory);
}
END_TEST

START_TEST(heap_uses_hooks)
{
    heap_fault_start(1);
    ck_assert_ptr_null(heap_allocate(1));
    uint8_t *bytes = heap_allocate_zeroed(64);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(bytes[63], 0);
    heap_release(bytes);
    ck_assert(heap_fault_stop());

    heap_fault_start(2);
    void *memory = heap_allocate(8);
    ck_assert_ptr_nonnull(memory);
    ck_assert_ptr_null(heap_resize(memory, 16));
    heap_release(memory);
    ck_assert(heap_fault_stop());
}
END_TEST

/* ---- slice
 * --------------------------------------------------------------------------------------- */

START_TEST(slice_compares_bytes)
{
    struct slice abc = slice_of_string("abc");
    ck_assert_uint_eq(abc.size, 3);
    ck_assert(slice_equal(abc, slice_of("abcd", 3)));
    ck_assert(!slice_equal(abc, slice_of("abd", 3)));
    ck_assert(!slice_equal(abc, slice_of("abcd", 4)));
    ck_assert(slice_equal_string(abc, "abc"));
    ck_assert(!slice_equal_string(abc, "ab"));
    ck_assert(slice_equal(slice_of(NULL, 0), slice_of_string("")));
    ck_assert(slice_equal_string(slice_of(NULL, 0), ""));
    ck_assert(slice_equal(slice_of("a\0b", 3), slice_of("a\0b", 3)));
    ck_assert(!slice_equal(slice_of("a\0b", 3), slice_of("a\0c", 3)));
}
END_TEST

/* Each size of its own allocation, so that a byte too far is seen. */
START_TEST(few_bytes_are_compared_and_copied)
{
    ck_assert(bytes_equal(NULL, NULL, 0));
    bytes_copy(NULL, NULL, 0);
    for (size_t size = 1; size < 3 * BYTES_FEW; size++) {
        uint8_t *a = heap_allocate(size), *b = heap_allocate_zeroed(size);
        ck_assert_ptr_nonnull(a);
        ck_assert_ptr_nonnull(b);
        for (size_t i = 0; i < size; i++)
            a[i] = (uint8_t)(i * 31 + 1);
        bytes_copy(b, a, size);
        ck_assert_mem_eq(a, b, size);
        ck_assert(bytes_equal(a, b, size));
        for (size_t i = 0; i < size; i++) {
            b[i] ^= 0x80;
            ck_assert(!bytes_equal(a, b, size));
            b[i] ^= 0x80;
        }
        heap_release(a);
        heap_release(b);
    }
}
END_TEST

START_TEST(integers_are_big_endian)
{
    uint8_t bytes[8];
    store_be16(bytes, 0xFEDC);
    ck_assert_mem_eq(bytes, "\xFE\xDC", 2);
    ck_assert_uint_eq(load_be16(bytes), 0xFEDC);
    store_be32(bytes, 0x89ABCDEF);
    ck_assert_mem_eq(bytes, "\x89\xAB\xCD\xEF", 4);
    ck_assert_uint_eq(load_be32(bytes), 0x89ABCDEF);
    store_be64(bytes, UINT64_C(0xF123456789ABCDEF));
    ck_assert_mem_eq(bytes, "\xF1\x23\x45\x67\x89\xAB\xCD\xEF", 8);
    ck_assert(load_be64(bytes) == UINT64_C(0xF123456789ABCDEF));
}
END_TEST

/* ---- buffer
 * -------------------------------------------------------------------------------------- */

static void write_message(struct buffer *buffer)
{
    buffer_append_u8(buffer, 1);
    buffer_append_be16(buffer, 0x0203);
    buffer_append_be32(buffer, 0x04050607);
    buffer_append_be64(buffer, UINT64_C(0x08090A0B0C0D0E0F));
    buffer_append(buffer, "hello", 5);
    buffer_append(buffer, NULL, 0);
    buffer_append_slice(buffer, slice_of_string(" world"));
    uint8_t *room = buffer_extend(buffer, 100);
    if (room != NULL)
        memset(room, 'x', 100);
}

static void check_message(const struct buffer *buffer)
{
    ck_assert_uint_eq(buffer->size, 126);
    ck_assert_mem_eq(buffer->data,
        "\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17"
        "hello world",
        26);
    for (size_t i = 26; i < 126; i++)
        ck_assert_uint_eq(buffer->data[i], 'x');
}

START_TEST(buffer_holds_what_was_appended)
{
    struct buffer buffer;
    buffer_init(&buffer);
    ck_assert_uint_eq(buffer_slice(&buffer).size, 0);
    write_message(&buffer);
    ck_assert_int_eq(buffer_status(&buffer), 0);
    check_message(&buffer);
    ck_assert(slice_equal(buffer_slice(&buffer), slice_of(buffer.data, 126)));

    size_t capacity = buffer.capacity;
    buffer_clear(&buffer);
    ck_assert_uint_eq(buffer.size, 0);
    ck_assert_uint_eq(buffer.capacity, capacity);
    write_message(&buffer);
    check_message(&buffer);
    buffer_release(&buffer);
    ck_assert_ptr_null(buffer.data);
    buffer_append_u8(&buffer, 9); /* may be used again */
    ck_assert_uint_eq(buffer.data[0], 9);
    buffer_release(&buffer);
}
END_TEST

START_TEST(buffer_reserve_does_not_append)
{
    struct buffer buffer;
    buffer_init(&buffer);
    ck_assert_ptr_nonnull(buffer_reserve(&buffer, 0));
    uint8_t *room = buffer_reserve(&buffer, 1000);
    ck_assert_ptr_nonnull(room);
    ck_assert_uint_eq(buffer.size, 0);
    ck_assert_uint_ge(buffer.capacity, 1000);
    uint8_t *data = buffer.data;
    for (unsigned i = 0; i < 1000; i++)
        buffer_append_u8(&buffer, (uint8_t)i);
    ck_assert_ptr_eq(buffer.data, data); /* the room was used, nothing moved */
    buffer_release(&buffer);
}
END_TEST

static unsigned resizes;
static void *counting_resize(void *memory, size_t size)
{
    resizes++;
    return realloc(memory, size);
}

START_TEST(buffer_grows_by_doubling)
{
    static const struct heap_hooks hooks = {
        .allocate = malloc, .resize = counting_resize, .release = free};
    struct buffer buffer;
    buffer_init(&buffer);
    heap_set_hooks(&hooks);
    resizes = 0;
    for (unsigned i = 0; i < 1048576; i++)
        buffer_append_u8(&buffer, (uint8_t)i);
    heap_set_hooks(NULL);
    ck_assert_uint_le(resizes, 15); /* 64 bytes doubled 14 times are 1 MiB */
    ck_assert_uint_eq(buffer.size, 1048576);
    ck_assert_uint_eq(buffer.data[1048575], 255);
    buffer_release(&buffer);
}
END_TEST

START_TEST(buffer_failure_is_sticky)
{
    struct buffer buffer;
    buffer_init(&buffer);
    buffer_append(&buffer, "abc", 3);
    ck_assert_ptr_null(buffer_reserve(&buffer, SIZE_MAX)); /* the sum would overflow */
    ck_assert_int_eq(buffer_status(&buffer), BRAIN_ENOMEM);
    buffer_append_u8(&buffer, 1);
    ck_assert_ptr_null(buffer_extend(&buffer, 1));
    ck_assert_uint_eq(buffer.size, 3);
    ck_assert_mem_eq(buffer.data, "abc", 3);
    buffer_clear(&buffer);
    ck_assert_int_eq(buffer_status(&buffer), 0);
    buffer_append_u8(&buffer, 'z');
    ck_assert_uint_eq(buffer.data[0], 'z');
    buffer_release(&buffer);
}
END_TEST

START_TEST(buffer_survives_any_failed_allocation)
{
    unsigned failures = 0;
    for (unsigned n = 1;; n++) {
        struct buffer buffer;
        heap_fault_start(n);
        buffer_init(&buffer);
        write_message(&buffer);
        int status = buffer_status(&buffer);
        if (status == 0)
            check_message(&buffer);
        buffer_release(&buffer);
        if (!heap_fault_stop()) {
            ck_assert_int_eq(status, 0);
            break;
        }
        ck_assert_int_eq(status, BRAIN_ENOMEM);
        failures++;
    }
    ck_assert_uint_ge(failures, 2);
}
END_TEST

/* ---- block and value
 * ------------------------------------------------------------------------------- */

START_TEST(block_counts_references)
{
    heap_fault_start(0);
    struct block *block = block_create(3);
    ck_assert_ptr_nonnull(block);
    ck_assert_uint_eq(block->size, 3);
    memcpy(block->bytes, "abc", 3);
    ck_assert_ptr_eq(block_hold(block), block);
    block_drop(block);
    ck_assert_mem_eq(block->bytes, "abc", 3); /* under ASan: still there */
    block_drop(block);
    ck_assert(!heap_fault_stop()); /* aborts when it was not freed */
    ck_assert_ptr_null(block_hold(NULL));
    block_drop(NULL);
}
END_TEST

START_TEST(block_resize_keeps_the_bytes)
{
    struct block *block = block_create(5);
    memcpy(block->bytes, "01234", 5);
    for (size_t size = 65536; size <= 64 * 1048576; size *= 4) {
        block = block_resize(block, size);
        ck_assert_ptr_nonnull(block);
        ck_assert_uint_eq(block->size, size);
        block->bytes[size - 1] = 1;
    }
    block = block_resize(block, 5);
    ck_assert_uint_eq(block->size, 5);
    ck_assert_mem_eq(block->bytes, "01234", 5);
    ck_assert_ptr_null(block_resize(block, SIZE_MAX)); /* with the header it would overflow */
    ck_assert_uint_eq(block->size, 5);
    block_drop(block);
    ck_assert_ptr_null(block_create(SIZE_MAX));
}
END_TEST

START_TEST(block_resize_failure_leaves_it)
{
    heap_fault_start(2);
    struct block *block = block_create(4);
    memcpy(block->bytes, "keep", 4);
    ck_assert_ptr_null(block_resize(block, 4096));
    ck_assert_uint_eq(block->size, 4);
    ck_assert_mem_eq(block->bytes, "keep", 4);
    block_drop(block);
    ck_assert(heap_fault_stop());
}
END_TEST

START_TEST(value_copies_and_shares)
{
    char text[] = "value";
    heap_fault_start(0);
    struct value value = value_copy(slice_of_string(text));
    text[0] = 'X';
    ck_assert(slice_equal_string(value_slice(value), "value"));
    struct value other = value_hold(value);
    value_drop(&value);
    ck_assert_ptr_null(value.block);
    ck_assert_ptr_null(value.data);
    ck_assert(slice_equal_string(value_slice(other), "value"));
    value_drop(&other);
    value_drop(&other); /* none: nothing happens */

    struct value empty = value_copy(slice_of(NULL, 0));
    ck_assert_ptr_nonnull(empty.block); /* an empty value is not "no value" */
    ck_assert_uint_eq(empty.size, 0);
    value_drop(&empty);
    heap_fault_stop();

    heap_fault_start(1);
    value = value_copy(slice_of_string("x"));
    ck_assert_ptr_null(value.block);
    ck_assert_uint_eq(value.size, 0);
    ck_assert(heap_fault_stop());
}
END_TEST

static void *hold_and_drop(void *block)
{
    for (unsigned i = 0; i < 20000; i++) {
        block_hold(block);
        block_drop(block);
    }
    return NULL;
}

START_TEST(block_is_counted_from_many_threads)
{
    struct block *block = block_create(16);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hold_and_drop, block), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(atomic_load(&block->references), 1);
    block_drop(block);
}
END_TEST

/* With recycling on, for the test that calls it; off again at its end, everything given back. */
static void end_recycling(void)
{
    block_recycle(0);
    ck_assert_uint_eq(block_recycled_bytes(), 0);
}

START_TEST(large_blocks_are_recycled)
{
    block_recycle(1 << 20);
    struct block *small = block_create(4000), *large = block_create(300000);
    memset(large->bytes, 'x', 300000);
    block_drop(small);
    ck_assert_uint_eq(block_recycled_bytes(), 0);
    /* What is too large for a page of objects, from 4 KiB on. */
    struct block *medium = block_create(5000);
    block_drop(medium);
    ck_assert_uint_ge(block_recycled_bytes(), 5000);
    ck_assert_ptr_eq(block_create(5000), medium);
    ck_assert_uint_eq(block_recycled_bytes(), 0);
    block_drop(large);
    const uint64_t kept = block_recycled_bytes();
    ck_assert_uint_ge(kept, 300000);
    ck_assert_uint_le(kept, 300000 + 300000 / 32 + sizeof *large);
    struct block *other = block_create(200000); /* of another class */
    ck_assert_uint_eq(block_recycled_bytes(), kept);
    struct block *again = block_create(299000);
    ck_assert_ptr_eq(again, large);
    ck_assert_uint_eq(again->size, 299000);
    ck_assert_uint_eq(atomic_load(&again->references), 1);
    ck_assert_uint_eq(block_recycled_bytes(), 0);
    memset(again->bytes, 'y', 299000); /* under ASan: nothing of it is forbidden any more */
    block_drop(again);
    block_drop(other);
    block_drop(medium);
    end_recycling();
}
END_TEST

START_TEST(recycling_has_a_limit)
{
    block_recycle(700000);
    struct block *blocks[4];
    for (size_t i = 0; i < 4; i++)
        blocks[i] = block_create(200000);
    for (size_t i = 0; i < 4; i++)
        block_drop(blocks[i]);
    ck_assert_uint_gt(block_recycled_bytes(), 600000);
    ck_assert_uint_le(block_recycled_bytes(), 700000);
    block_recycle(300000);
    ck_assert_uint_gt(block_recycled_bytes(), 200000);
    ck_assert_uint_le(block_recycled_bytes(), 300000);
    end_recycling();
}
END_TEST

START_TEST(recycling_forgets_what_nobody_needs)
{
    block_recycle(64 << 20);
    struct block *blocks[10];
    for (size_t i = 0; i < 10; i++)
        blocks[i] = block_create(100000 + 20000 * i);
    for (size_t i = 0; i < 10; i++)
        block_drop(blocks[i]);
    const uint64_t all = block_recycled_bytes();
    block_recycle_trim(); /* they came only just now */
    ck_assert_uint_eq(block_recycled_bytes(), all);
    struct block *taken = block_create(100000);
    block_drop(taken);
    block_recycle_trim(); /* one was needed */
    ck_assert_uint_ge(block_recycled_bytes(), 100000);
    ck_assert_uint_lt(block_recycled_bytes(), all / 2);
    block_recycle_trim();
    ck_assert_uint_eq(block_recycled_bytes(), 0);
    end_recycling();
}
END_TEST

START_TEST(recycled_blocks_may_be_resized)
{
    block_recycle(4 << 20);
    struct block *block = block_create(131072);
    block->bytes[0] = 'a';
    block->bytes[131071] = 'b';
    for (size_t size = 131073; size < 1048576; size += 70000) {
        block = block_resize(block, size);
        ck_assert_uint_eq(block->size, size);
        block->bytes[size - 1] = 'c';
    }
    ck_assert_int_eq(block->bytes[131071], 'b');
    block = block_resize(block, 131072);
    ck_assert_int_eq(block->bytes[131071], 'b');
    block = block_resize(block, 5);
    ck_assert_int_eq(block->bytes[0], 'a');
    block_drop(block);
    ck_assert_uint_eq(block_recycled_bytes(), 0); /* it is small now */

    heap_fault_start(2);
    block = block_create(70000);
    ck_assert_ptr_null(block_resize(block, 700000));
    ck_assert_uint_eq(block->size, 70000);
    block_drop(block);
    block_recycle_trim();
    block_recycle_trim();
    ck_assert(heap_fault_stop());
    /* What was made before is not taken for one with room. */
    end_recycling();
    block = block_create(100000);
    block_recycle(1 << 20);
    block_drop(block);
    ck_assert_uint_eq(block_recycled_bytes(), 0);
    end_recycling();
}
END_TEST

static void *take_and_drop(void *context)
{
    (void)context;
    for (unsigned i = 0; i < 5000; i++) {
        struct block *block = block_create(65536 + i % 7 * 5000);
        block->bytes[0] = block->bytes[65535] = 'x';
        block_drop(block);
    }
    return NULL;
}

START_TEST(blocks_are_recycled_from_many_threads)
{
    block_recycle(1 << 20);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_and_drop, NULL), 0);
    for (unsigned i = 0; i < 100; i++)
        block_recycle_trim();
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_gt(block_recycled_bytes(), 0);
    end_recycling();
}
END_TEST

START_TEST(budget_bounds_a_sum)
{
    struct budget budget = {100, 0};
    ck_assert(budget_take(&budget, 60));
    ck_assert(!budget_take(&budget, 41));
    ck_assert(budget_take(&budget, 40));
    ck_assert(!budget_take(&budget, UINT64_MAX));
    budget_give(&budget, 1);
    ck_assert(budget.used_bytes == 99);
    budget_give(&budget, 1000);
    ck_assert(budget.used_bytes == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *heap = tcase_create("heap");
    tcase_add_test(heap, heap_zeroes_and_resizes);
    tcase_add_test(heap, heap_gives_memory_for_size_zero);
    tcase_add_test(heap, heap_uses_hooks);
    suite_add_tcase(suite, heap);
    TCase *slice = tcase_create("slice");
    tcase_add_test(slice, slice_compares_bytes);
    tcase_add_test(slice, few_bytes_are_compared_and_copied);
    tcase_add_test(slice, integers_are_big_endian);
    suite_add_tcase(suite, slice);
    TCase *buffer = tcase_create("buffer");
    tcase_add_test(buffer, buffer_holds_what_was_appended);
    tcase_add_test(buffer, buffer_reserve_does_not_append);
    tcase_add_test(buffer, buffer_grows_by_doubling);
    tcase_add_test(buffer, buffer_failure_is_sticky);
    tcase_add_test(buffer, buffer_survives_any_failed_allocation);
    suite_add_tcase(suite, buffer);
    TCase *block = tcase_create("block");
    tcase_add_test(block, block_counts_references);
    tcase_add_test(block, block_resize_keeps_the_bytes);
    tcase_add_test(block, block_resize_failure_leaves_it);
    tcase_add_test(block, large_blocks_are_recycled);
    tcase_add_test(block, recycling_has_a_limit);
    tcase_add_test(block, recycling_forgets_what_nobody_needs);
    tcase_add_test(block, recycled_blocks_may_be_resized);
    tcase_add_test(block, blocks_are_recycled_from_many_threads);
    tcase_add_test(block, value_copies_and_shares);
    tcase_add_test(block, block_is_counted_from_many_threads);
    tcase_add_test(block, budget_bounds_a_sum);
    suite_add_tcase(suite, block);
    return suite_run(suite);
}
