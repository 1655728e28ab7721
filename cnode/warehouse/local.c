/* local: the embedded warehouse, LMDB in data_dir. No set-up, and a kill at any time leaves the
 * last commit.
 *
 *   data_dir/lock          held with flock(2) by the warehouse: one process at a time
 *   data_dir/objects.mdb   tree "objects": stored_name -> stored form; tree "meta": "epoch"
 *
 * LMDB maps the whole file, so the map has a size that must be there beforehand. It doubles when a
 * transaction finds it full. The file is made as long as the map at once (the tail is a hole and
 * costs nothing): a file that is shorter than its pages say was then cut off by somebody, and
 * reading it would kill the process. */
#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "brain/stored.h"
#include "data_dir.h"

enum {
    KEY_LIMIT = 511,      /* LMDB's, as built */
    CONFLICT_LIMIT = 400, /* of the name inside a conflict's key: a prefix and three numbers more */
    MAP_UNIT = 65536,     /* maps and files are multiples of it; and the least */
    PREFETCH_BYTES = 65536, /* from this on a value is read ahead as one piece */
};
/* LMDB keeps lengths in 32 bits; less room for the head. */
static const size_t value_limit = 0xffff0000u;

struct local {
    MDB_env *env; /* NULL: broken, opened again at the next request */
    MDB_dbi objects, meta;
    MDB_txn *reader; /* reset between uses; NULL: none yet */
    uint64_t map_bytes;
    dev_t device; /* of the file that was opened first */
    ino_t inode;
    struct buffer key, head;
    char path[4096 + 16];
};

/* ---- sentences ------------------------------------------------------------------------------- */

static const char *lmdb_text(int code, char *text, size_t size)
{
    /* Positive codes are errno; strerror may share a buffer between threads. */
    if (code > 0)
        return strerror_r(code, text, size);
    return mdb_strerror(code);
}

static void say(const struct local *local, char error[WAREHOUSE_TEXT], const char *what, int code)
{
    char text[128];
    snprintf(error, WAREHOUSE_TEXT, "%.300s could not be %s: %s", local->path, what,
        lmdb_text(code, text, sizeof(text)));
}

/* ---- the map --------------------------------------------------------------------------------- */

static uint64_t round_up(uint64_t bytes)
{
    return bytes < MAP_UNIT ? MAP_UNIT : (bytes + MAP_UNIT - 1) / MAP_UNIT * MAP_UNIT;
}

static void close_env(struct local *local)
{
    if (local->reader != NULL)
        mdb_txn_abort(local->reader);
    local->reader = NULL;
    if (local->env != NULL)
        mdb_env_close(local->env);
    local->env = NULL;
}

static uint64_t map_size(const struct local *local)
{
    MDB_envinfo info;
    mdb_env_info(local->env, &info);
    return info.me_mapsize;
}

/* Makes the file as long as the map. Returns 0 or an errno. */
static int extend_file(struct local *local)
{
    int fd;
    int status = mdb_env_get_fd(local->env, &fd);
    if (status != 0)
        return status;
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0)
        return errno;
    uint64_t wanted = map_size(local);
    if ((uint64_t)size < wanted && ftruncate(fd, (off_t)wanted) != 0)
        return errno;
    return 0;
}

/* Doubles the map, at least so far that `need_bytes` more go in. No transaction may be open. */
static int grow(struct local *local, uint64_t need_bytes)
{
    uint64_t old = map_size(local), wanted = old * 2;
    while (wanted < old + 2 * need_bytes)
        wanted *= 2;
    if (wanted > (uint64_t)1 << 46)
        return ENOMEM;
    if (local->reader != NULL)
        mdb_txn_abort(local->reader);
    local->reader = NULL;
    int status = mdb_env_set_mapsize(local->env, (size_t)wanted);
    if (status != 0) {
        close_env(local); /* it has lost its old map too */
        return status;
    }
    status = extend_file(local);
    if (status != 0 && mdb_env_set_mapsize(local->env, (size_t)old) != 0)
        close_env(local);
    return status;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Opens the trees and, for `epoch`, takes the next one. */
static int open_trees(struct local *local, struct version *epoch)
{
    MDB_txn *transaction;
    MDB_val key = {5, "epoch"}, number;
    uint8_t bytes[8];
    int status = mdb_txn_begin(local->env, NULL, 0, &transaction);
    if (status != 0)
        return status;
    if ((status = mdb_dbi_open(transaction, "objects", MDB_CREATE, &local->objects)) != 0 ||
        (status = mdb_dbi_open(transaction, "meta", MDB_CREATE, &local->meta)) != 0)
        goto fail;
    if (epoch != NULL) {
        *epoch = (struct version){0, 1, 0};
        status = mdb_get(transaction, local->meta, &key, &number);
        if (status == 0 && number.mv_size != sizeof(bytes))
            status = MDB_CORRUPTED;
        if (status == 0)
            epoch->counter = load_be64(number.mv_data) + 1;
        else if (status != MDB_NOTFOUND)
            goto fail;
        store_be64(bytes, epoch->counter);
        number = (MDB_val){sizeof(bytes), bytes};
        if ((status = mdb_put(transaction, local->meta, &key, &number, 0)) != 0)
            goto fail;
    }
    return mdb_txn_commit(transaction);
fail:
    mdb_txn_abort(transaction);
    return status;
}

static int open_env(struct local *local, struct version *epoch, char why[WAREHOUSE_TEXT])
{
    uint64_t size;
    int status = data_file_check(local->path, &size, why);
    if (status != 0)
        return status;
    uint64_t map_bytes = round_up(size > local->map_bytes ? size : local->map_bytes);
    status = mdb_env_create(&local->env);
    if (status != 0) {
        local->env = NULL;
        say(local, why, "opened", status);
        return BRAIN_EIO;
    }
    /* NOTLS: the reader belongs to the warehouse, not to a thread. NORDAHEAD: neighbours in the
     * tree are not neighbours in use; large values ask for themselves (prefetch). */
    if ((status = mdb_env_set_mapsize(local->env, (size_t)map_bytes)) != 0 ||
        (status = mdb_env_set_maxdbs(local->env, 4)) != 0 ||
        (status = mdb_env_open(
             local->env, local->path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD, 0600)) != 0 ||
        (status = extend_file(local)) != 0)
        goto fail;
    while ((status = open_trees(local, epoch)) == MDB_MAP_FULL) {
        if ((status = grow(local, 0)) != 0)
            goto fail;
    }
    if (status == 0)
        return 0;
fail:
    close_env(local);
    say(local, why, "opened", status);
    return BRAIN_EIO;
}

static int remember_file(struct local *local, char why[WAREHOUSE_TEXT])
{
    struct stat file;
    int fd, status = mdb_env_get_fd(local->env, &fd);
    if (status == 0 && fstat(fd, &file) != 0)
        status = errno;
    if (status != 0) {
        say(local, why, "opened", status);
        return BRAIN_EIO;
    }
    local->device = file.st_dev;
    local->inode = file.st_ino;
    return 0;
}

static int local_open(void **state, const struct warehouse_options *options, struct version *epoch,
    char why[WAREHOUSE_TEXT])
{
    struct local *local = heap_allocate_zeroed(sizeof(*local));
    if (local == NULL) {
        snprintf(why, WAREHOUSE_TEXT, "%s", error_sentence(BRAIN_ENOMEM));
        return BRAIN_ENOMEM;
    }
    buffer_init(&local->key);
    buffer_init(&local->head);
    local->map_bytes = options->map_bytes;
    snprintf(local->path, sizeof(local->path), "%s/objects.mdb", options->data_dir);
    int status = open_env(local, epoch, why);
    if (status == 0 && (status = remember_file(local, why)) != 0)
        close_env(local);
    if (status != 0) {
        heap_release(local);
        return status;
    }
    *state = local;
    return 0;
}

static void local_close(void *state)
{
    struct local *local = state;
    close_env(local);
    buffer_release(&local->key);
    buffer_release(&local->head);
    heap_release(local);
}

/* A file that was deleted, or moved away, can be written on until we close it, and nobody finds
 * that again: such dumps must fail, so that the objects stay in RAM. */
static bool is_in_place(const struct local *local, char error[WAREHOUSE_TEXT])
{
    struct stat now;
    if (stat(local->path, &now) == 0 && now.st_dev == local->device && now.st_ino == local->inode)
        return true;
    snprintf(error, WAREHOUSE_TEXT,
        "%.300s was removed or replaced while in use; only moving the same file back helps",
        local->path);
    return false;
}

/* Open, or open again after a failure that LMDB does not recover from? */
static bool is_ready(struct local *local, char error[WAREHOUSE_TEXT])
{
    return local->env != NULL || (is_in_place(local, error) && open_env(local, NULL, error) == 0);
}

static void fail_batch(struct warehouse_request *batch)
{
    for (struct warehouse_request *request = batch; request != NULL; request = request->next) {
        value_drop(&request->loaded);
        request->status = BRAIN_EWAREHOUSE;
        request->stored_known = false;
    }
}

/* The key of an object, in local->key. */
static bool make_key(struct local *local, const struct warehouse_request *request, MDB_val *key)
{
    struct buffer *out = &local->key;
    struct slice id = slice_of(request->id, request->id_size);
    buffer_clear(out);
    if (request->operation == WAREHOUSE_SET_ASIDE) {
        char tail[80];
        int size = snprintf(tail, sizeof(tail), "/%llu.%llu.%llu",
            (unsigned long long)request->version.view, (unsigned long long)request->version.counter,
            (unsigned long long)request->version.seq);
        stored_name(out, "!conflict/", id, CONFLICT_LIMIT);
        buffer_append(out, tail, (size_t)size);
    } else {
        stored_name(out, "", id, KEY_LIMIT);
    }
    *key = (MDB_val){out->size, out->data};
    return buffer_status(out) == 0;
}

/* ---- loads ----------------------------------------------------------------------------------- */

static int start_reading(struct local *local)
{
    if (local->reader != NULL)
        return mdb_txn_renew(local->reader);
    int status = mdb_txn_begin(local->env, NULL, MDB_RDONLY, &local->reader);
    if (status != 0)
        local->reader = NULL;
    return status;
}

/* A large value lies in consecutive pages: have the kernel read them as one piece instead of one
 * fault per page. */
static void prefetch(struct slice bytes)
{
    if (bytes.size < PREFETCH_BYTES)
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t)bytes.data & ~(page - 1);
    madvise((void *)begin, (uintptr_t)bytes.data + bytes.size - begin, MADV_WILLNEED);
}

static int load_found(
    struct warehouse_request *request, struct slice bytes, char error[WAREHOUSE_TEXT])
{
    struct stored stored;
    uint32_t crc;
    int status = stored_read_head(bytes, slice_of(request->id, request->id_size), &stored, &crc);
    if (status != 0)
        return status;
    if (!stored.deleted) {
        prefetch(stored.value);
        request->loaded = value_copy(stored.value);
        if (request->loaded.block == NULL) {
            snprintf(
                error, WAREHOUSE_TEXT, "no memory for a value of %zu bytes", stored.value.size);
            return BRAIN_EWAREHOUSE;
        }
        if (crc32c(0, value_slice(request->loaded)) != crc) {
            value_drop(&request->loaded);
            return BRAIN_ECORRUPT;
        }
    }
    request->stored = stored.version;
    request->stored_known = true;
    request->stored_tombstone = stored.deleted;
    request->stored_unix_ms = stored.unix_ms;
    return stored.deleted ? BRAIN_ENOENT : 0;
}

static void load_one(
    struct local *local, struct warehouse_request *request, char error[WAREHOUSE_TEXT])
{
    MDB_val key, data;
    if (!make_key(local, request, &key)) {
        snprintf(error, WAREHOUSE_TEXT, "%s", error_sentence(BRAIN_ENOMEM));
        request->status = BRAIN_EWAREHOUSE;
        return;
    }
    int status = mdb_get(local->reader, local->objects, &key, &data);
    if (status == 0) {
        request->status = load_found(request, slice_of(data.mv_data, data.mv_size), error);
    } else if (status == MDB_NOTFOUND) {
        request->status = BRAIN_ENOENT;
    } else {
        say(local, error, "read", status);
        request->status = BRAIN_EWAREHOUSE;
    }
}

static void local_load(void *state, struct warehouse_request *batch, char error[WAREHOUSE_TEXT])
{
    struct local *local = state;
    if (!is_ready(local, error)) {
        fail_batch(batch);
        return;
    }
    int status = start_reading(local);
    if (status != 0) {
        say(local, error, "read", status);
        close_env(local);
        fail_batch(batch);
        return;
    }
    for (struct warehouse_request *request = batch; request != NULL; request = request->next)
        load_one(local, request, error);
    mdb_txn_reset(local->reader);
}

/* ---- dumps ----------------------------------------------------------------------------------- */

/* May this version replace what is there? 0: yes; BRAIN_ECONFLICT or BRAIN_ECORRUPT: no;
 * `*done`: it is there already, an earlier attempt had succeeded. */
static int check_precondition(
    struct warehouse_request *request, const MDB_val *existing, bool *done)
{
    struct stored stored = {.deleted = false};
    uint32_t crc;
    *done = false;
    if (existing != NULL && stored_read_head(slice_of(existing->mv_data, existing->mv_size),
                                slice_of(request->id, request->id_size), &stored, &crc) != 0)
        return BRAIN_ECORRUPT;
    int order = existing == NULL ? -1 : version_compare(stored.version, request->version);
    if (order == 0) {
        *done = true;
        return 0;
    }
    if (order < 0 &&
        (!request->expected_known || version_compare(stored.version, request->expected) == 0))
        return 0;
    request->stored = stored.version;
    request->stored_known = true;
    request->stored_tombstone = stored.deleted;
    return BRAIN_ECONFLICT;
}

static uint64_t unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Writes the stored form into the room that LMDB makes for it: the value is copied once. Returns 0
 * or LMDB's code. */
static int put(struct local *local, MDB_txn *transaction, MDB_val *key,
    const struct warehouse_request *request)
{
    struct slice id = slice_of(request->id, request->id_size);
    struct slice value = request->tombstone ? slice_of(NULL, 0) : value_slice(request->value);
    buffer_clear(&local->head);
    if (request->tombstone)
        stored_write_tombstone(&local->head, id, request->version, unix_ms());
    else
        stored_write_head(&local->head, id, request->version, crc32c(0, value));
    if (buffer_status(&local->head) != 0)
        return ENOMEM;
    MDB_val room = {local->head.size + value.size, NULL};
    int status = mdb_put(transaction, local->objects, key, &room, MDB_RESERVE);
    if (status != 0)
        return status;
    memcpy(room.mv_data, local->head.data, local->head.size);
    if (value.size > 0)
        memcpy((uint8_t *)room.mv_data + local->head.size, value.data, value.size);
    return 0;
}

/* Removes the tombstone that the request means, and nothing else. Returns 0 or LMDB's code. */
static int forget(struct local *local, MDB_txn *transaction, MDB_val *key,
    const struct warehouse_request *request, const MDB_val *existing)
{
    struct stored stored;
    uint32_t crc;
    if (stored_read_head(slice_of(existing->mv_data, existing->mv_size),
            slice_of(request->id, request->id_size), &stored, &crc) != 0 ||
        !stored.deleted || version_compare(stored.version, request->expected) != 0)
        return 0;
    return mdb_del(transaction, local->objects, key, NULL);
}

/* One request inside the transaction. Sets its status; returns LMDB's code when the transaction as
 * a whole is lost. */
static int write_one(struct local *local, MDB_txn *transaction, struct warehouse_request *request,
    char error[WAREHOUSE_TEXT])
{
    MDB_val key, existing;
    request->stored_known = false;
    request->status = 0;
    if (request->value.size > value_limit) {
        snprintf(error, WAREHOUSE_TEXT, "a value of %zu bytes is more than LMDB can hold",
            request->value.size);
        request->status = BRAIN_EWAREHOUSE;
        return 0;
    }
    if (!make_key(local, request, &key))
        return ENOMEM;
    if (request->operation == WAREHOUSE_SET_ASIDE)
        return put(local, transaction, &key, request);
    bool done;
    int status = mdb_get(transaction, local->objects, &key, &existing);
    if (status != 0 && status != MDB_NOTFOUND)
        return status;
    if (request->operation == WAREHOUSE_FORGET)
        return status == 0 ? forget(local, transaction, &key, request, &existing) : 0;
    request->status = check_precondition(request, status == 0 ? &existing : NULL, &done);
    if (request->status != 0 || done)
        return 0;
    return put(local, transaction, &key, request);
}

static int write_batch(
    struct local *local, struct warehouse_request *batch, char error[WAREHOUSE_TEXT])
{
    MDB_txn *transaction;
    int status = mdb_txn_begin(local->env, NULL, 0, &transaction);
    if (status != 0)
        return status;
    for (struct warehouse_request *request = batch; request != NULL; request = request->next) {
        status = write_one(local, transaction, request, error);
        if (status != 0) {
            mdb_txn_abort(transaction);
            return status;
        }
    }
    return mdb_txn_commit(transaction);
}

static void local_write(void *state, struct warehouse_request *batch, char error[WAREHOUSE_TEXT])
{
    struct local *local = state;
    uint64_t bytes = 0;
    if (!is_ready(local, error) || !is_in_place(local, error)) {
        fail_batch(batch);
        return;
    }
    for (struct warehouse_request *request = batch; request != NULL; request = request->next)
        bytes += request->value.size;
    int status;
    while ((status = write_batch(local, batch, error)) == MDB_MAP_FULL) {
        if ((status = grow(local, bytes)) != 0)
            break;
    }
    if (status == 0)
        return;
    say(local, error, "written", status);
    fail_batch(batch);
    /* After a failed commit LMDB may refuse everything until it is opened again. */
    close_env(local);
}

const struct warehouse_driver warehouse_local = {
    .name = "local",
    .forgets = true,
    .open = local_open,
    .load = local_load,
    .write = local_write,
    .close = local_close,
};
