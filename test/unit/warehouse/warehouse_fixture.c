#include "warehouse_fixture.h"

#include <check.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uv_loop_t loop;
struct warehouse *warehouse;
struct version epoch;
const char *why;
char data_dir[64];
char data_file[96];
unsigned answered;
struct warehouse_request *order[65536];

static bool closed;

void set_up(void)
{
    strcpy(data_dir, "/tmp/brain-warehouse-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(data_dir));
    snprintf(data_file, sizeof(data_file), "%s/objects.mdb", data_dir);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    warehouse = NULL;
}

void tear_down(void)
{
    char command[128];
    if (warehouse != NULL)
        close_all();
    fixture_reset();
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    snprintf(command, sizeof(command), "rm -rf %s", data_dir);
    ck_assert_int_eq(system(command), 0);
}

static void on_done(void *context, struct warehouse_request *request)
{
    ck_assert_ptr_eq(context, &loop);
    ck_assert_uint_lt(answered, sizeof(order) / sizeof(order[0]));
    ck_assert_ptr_null(request->value.block);
    order[answered++] = request;
}

int try_open(uint64_t map_bytes)
{
    struct warehouse_options options = {
        .manager = "local", .data_dir = data_dir, .map_bytes = map_bytes};
    warehouse = NULL;
    int status = warehouse_open(&warehouse, &loop, &options, on_done, &loop, &epoch, &why);
    if (status != 0)
        uv_run(&loop, UV_RUN_DEFAULT);
    return status;
}

void open_with(uint64_t map_bytes)
{
    int status = try_open(map_bytes);
    ck_assert_msg(status == 0, "open: %s", why);
}

static void on_closed(void *context)
{
    ck_assert_ptr_eq(context, &loop);
    closed = true;
}

void close_all(void)
{
    closed = false;
    warehouse_close(warehouse, on_closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert(closed);
    warehouse = NULL;
}

struct version at(uint64_t counter, uint64_t seq)
{
    return (struct version){0, counter, seq};
}

struct warehouse_request *new_request(enum warehouse_operation operation, const char *id)
{
    struct warehouse_request *request = calloc(1, sizeof(*request));
    request->operation = operation;
    request->id_size = strlen(id);
    ck_assert_uint_le(request->id_size, sizeof(request->id));
    memcpy(request->id, id, request->id_size);
    return request;
}

struct warehouse_request *new_dump(
    const char *id, struct version version, const struct version *expected, struct slice value)
{
    struct warehouse_request *request = new_request(WAREHOUSE_DUMP, id);
    request->version = version;
    request->expected_known = expected != NULL;
    if (expected != NULL)
        request->expected = *expected;
    request->value = value_copy(value);
    return request;
}

void submit(struct warehouse_request *request)
{
    warehouse_submit(warehouse, request);
}

void wait_for(unsigned count)
{
    while (answered < count)
        uv_run(&loop, UV_RUN_ONCE);
}

void fixture_reset(void)
{
    for (unsigned i = 0; i < answered; i++) {
        value_drop(&order[i]->loaded);
        free(order[i]);
    }
    answered = 0;
}

static const struct warehouse_request *ask(struct warehouse_request *request)
{
    fixture_reset();
    submit(request);
    wait_for(1);
    ck_assert_ptr_eq(order[0], request);
    return request;
}

const struct warehouse_request *dump(
    const char *id, struct version version, const struct version *expected, const char *text)
{
    return ask(new_dump(id, version, expected, slice_of_string(text)));
}

const struct warehouse_request *drop(const char *id, struct version version)
{
    struct warehouse_request *request = new_request(WAREHOUSE_DUMP, id);
    request->version = version;
    request->tombstone = true;
    return ask(request);
}

const struct warehouse_request *load(const char *id)
{
    return ask(new_request(WAREHOUSE_LOAD, id));
}

void expect_loaded(const char *id, struct version version, const char *text)
{
    const struct warehouse_request *request = load(id);
    ck_assert_int_eq(request->status, 0);
    ck_assert(request->stored_known);
    ck_assert(!request->stored_tombstone);
    ck_assert_int_eq(version_compare(request->stored, version), 0);
    ck_assert(slice_equal_string(value_slice(request->loaded), text));
}

/* ---- behind its back ------------------------------------------------------------------------- */

static MDB_txn *open_raw(MDB_env **env, MDB_dbi *objects)
{
    MDB_txn *transaction;
    ck_assert_int_eq(mdb_env_create(env), 0);
    ck_assert_int_eq(mdb_env_set_maxdbs(*env, 4), 0);
    ck_assert_int_eq(mdb_env_set_mapsize(*env, 1 << 20), 0);
    ck_assert_int_eq(mdb_env_open(*env, data_file, MDB_NOSUBDIR, 0600), 0);
    ck_assert_int_eq(mdb_txn_begin(*env, NULL, 0, &transaction), 0);
    ck_assert_int_eq(mdb_dbi_open(transaction, "objects", 0, objects), 0);
    return transaction;
}

void put_raw(const char *key, struct slice bytes)
{
    MDB_env *env;
    MDB_dbi objects;
    MDB_txn *transaction = open_raw(&env, &objects);
    MDB_val name = {strlen(key), (void *)key}, data = {bytes.size, (void *)bytes.data};
    ck_assert_int_eq(mdb_put(transaction, objects, &name, &data, 0), 0);
    ck_assert_int_eq(mdb_txn_commit(transaction), 0);
    mdb_env_close(env);
}

struct slice get_raw(const char *key)
{
    MDB_env *env;
    MDB_dbi objects;
    struct slice copy = {NULL, 0};
    MDB_txn *transaction = open_raw(&env, &objects);
    MDB_val name = {strlen(key), (void *)key}, data;
    if (mdb_get(transaction, objects, &name, &data) == 0) {
        uint8_t *bytes = heap_allocate(data.mv_size);
        memcpy(bytes, data.mv_data, data.mv_size);
        copy = slice_of(bytes, data.mv_size);
    }
    mdb_txn_abort(transaction);
    mdb_env_close(env);
    return copy;
}
