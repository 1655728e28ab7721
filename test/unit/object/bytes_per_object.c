/* Not a test: measures what one object costs beyond its id and value, and the time of a set and a
 * get. Build with optimisation and without sanitizers:
 *     ninja test/unit/object/bytes_per_object && test/unit/object/bytes_per_object 1000000 20 100
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "brain/object.h"

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long resident_bytes(void)
{
    long pages = 0, ignored;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%ld %ld", &ignored, &pages) != 2)
        pages = 0;
    if (file)
        fclose(file);
    return pages * 4096;
}

int main(int argc, char **argv)
{
    size_t objects = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
    size_t id_size = argc > 2 ? strtoul(argv[2], NULL, 10) : 20;
    size_t value_size = argc > 3 ? strtoul(argv[3], NULL, 10) : 100;
    char id[1024];
    static uint8_t bytes[1 << 20];
    struct store_options options = {.key_ttl_ms = 60000,
        .wait_timeout_ms = 1000,
        .dumps_parallel = 1,
        .hash_seed = 7,
        .epoch = {1, 1, 0}};
    struct store *store = store_create(&options, (struct store_events){0});
    if (!store || id_size > sizeof(id) || id_size < 10 || value_size > sizeof(bytes))
        return 1;
    memset(id, 'k', sizeof(id));
    long before = resident_bytes();
    double slowest = 0, start = seconds(), last = start;
    for (size_t i = 0; i < objects; i++) {
        memcpy(id, &i, sizeof(i));
        if (store_set(store, slice_of(id, id_size), (struct value){NULL, bytes, value_size},
                STORE_ACK_MEMORY, i, NULL) != STORE_DONE)
            return 1;
        double now = seconds();
        slowest = now - last > slowest ? now - last : slowest;
        last = now;
    }
    double set_seconds = last - start;
    double used = (double)(resident_bytes() - before) / (double)objects;
    start = seconds();
    size_t found = 0;
    for (size_t i = 0; i < objects; i++) {
        size_t any = (i * 7919) % objects;
        struct value value;
        memcpy(id, &any, sizeof(any));
        found += store_get(store, slice_of(id, id_size), objects, &value, NULL) == STORE_FOUND;
    }
    double get_seconds = seconds() - start;
    printf("%zu objects of %zu + %zu bytes: %.1f bytes each, %.1f beyond id and value\n", objects,
        id_size, value_size, used, used - (double)(id_size + value_size));
    printf("set %.0f ns (slowest %.3f ms), get %.0f ns, %zu found\n",
        set_seconds * 1e9 / (double)objects, slowest * 1e3, get_seconds * 1e9 / (double)objects,
        found);
    return 0;
}
