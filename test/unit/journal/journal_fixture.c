#include "journal_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record.h"
#include "segment.h"

uv_loop_t loop;
struct journal *journal;
struct journal_options options;
char directory[64];
const char *why;
uint64_t next_seq, written, failed;
unsigned failures_told;
uint64_t written_before;
char told_why[256];
struct found *found;
size_t found_count;
bool keep_found;
struct fault fault;
uint64_t fault_unix_ms;
pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;

static char parent[48];
static size_t found_capacity;
static bool is_closed;

/* ---- the journal ----------------------------------------------------------------------------- */

static void on_written(void *context, uint64_t seq, int status)
{
    (void)context;
    if (status == 0) {
        ck_assert_uint_gt(seq, written);
        written = seq;
    } else {
        ck_assert_int_eq(status, BRAIN_EJOURNAL);
        ck_assert_uint_gt(seq, written);
        ck_assert_uint_gt(seq, failed);
        ck_assert(journal_is_failing(journal));
        snprintf(told_why, sizeof(told_why), "%s", journal_last_error(journal));
        if (failures_told++ == 0)
            written_before = written;
        failed = seq;
    }
}

static void forget_found(void)
{
    for (size_t i = 0; i < found_count; i++)
        free(found[i].data);
    found_count = 0;
}

static int on_record(void *context, uint64_t seq, uint64_t begun_unix_ms, struct slice payload)
{
    (void)context;
    if (found_count == found_capacity) {
        found_capacity = found_capacity == 0 ? 64 : 2 * found_capacity;
        found = realloc(found, found_capacity * sizeof(*found));
    }
    uint8_t *copy = malloc(payload.size);
    memcpy(copy, payload.data, payload.size);
    found[found_count++] = (struct found){seq, begun_unix_ms, copy, payload.size};
    if (keep_found)
        journal_live(journal, seq);
    return 0;
}

void set_up(void)
{
    strcpy(parent, "/tmp/brain-journal-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(parent));
    snprintf(directory, sizeof(directory), "%s/journal", parent);
    options = (struct journal_options){
        .directory = directory,
        .segment_bytes = 1 << 20,
        .payload_limit_bytes = 64 << 20,
        .sync = JOURNAL_SYNC_NEVER,
        .sync_interval_ms = 10,
        .retry_ms = 5,
    };
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    journal = NULL;
    keep_found = true;
    fault = (struct fault){0};
    fault_unix_ms = 0;
}

void tear_down(void)
{
    char path[128];
    if (journal != NULL)
        close_journal();
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    forget_found();
    free(found);
    found = NULL;
    found_capacity = 0;
    journal_device_set(NULL);
    if (access(directory, F_OK) == 0) {
        chmod(directory, 0700);
        remove_segments();
        snprintf(path, sizeof(path), "%s", directory);
        ck_assert_int_eq(rmdir(path), 0);
    }
    ck_assert_int_eq(rmdir(parent), 0);
}

int try_open(void)
{
    forget_found();
    written = failed = 0;
    failures_told = 0;
    struct journal_events events = {NULL, on_written};
    int status = journal_open(&journal, &loop, &options, events, on_record, NULL, &next_seq, &why);
    ck_assert_int_eq(journal == NULL, status != 0);
    return status;
}

void open_journal(void)
{
    int status = try_open();
    ck_assert_msg(status == 0, "%s", why);
}

static void on_closed(void *context)
{
    (void)context;
    is_closed = true;
}

void close_journal(void)
{
    is_closed = false;
    journal_close(journal, on_closed);
    while (!is_closed)
        uv_run(&loop, UV_RUN_ONCE);
    journal = NULL;
}

static void on_timer(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

void run_once(void)
{
    uv_timer_t timer;
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, on_timer, 1, 0);
    uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

void run_until(bool (*condition)(void))
{
    uint64_t end = uv_hrtime() + UINT64_C(20000000000);
    while (!condition()) {
        ck_assert_uint_lt(uv_hrtime(), end);
        run_once();
    }
}

static uint64_t awaited;
static bool awaited_written(void)
{
    return written >= awaited;
}
static bool awaited_failed(void)
{
    return failed >= awaited;
}

void run_until_written(uint64_t seq)
{
    awaited = seq;
    run_until(awaited_written);
}

void run_until_failed(uint64_t seq)
{
    awaited = seq;
    run_until(awaited_failed);
}

/* ---- payloads -------------------------------------------------------------------------------- */

struct value payload_of(uint64_t seq, size_t size)
{
    struct block *block = block_create(size);
    uint64_t x = seq * UINT64_C(0x9E3779B97F4A7C15) + 1;
    for (size_t i = 0; i < size; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        block->bytes[i] = (uint8_t)x;
    }
    return (struct value){block, block->bytes, size};
}

void append(uint64_t seq, size_t size)
{
    struct value value = payload_of(seq, size);
    size_t head = size < 20 ? size : 20;
    struct value tail = {value.block, value.data + head, size - head};
    ck_assert_int_eq(journal_append(journal, seq, slice_of(value.data, head), &tail), 0);
    journal_live(journal, seq);
    value_drop(&value);
}

void append_text(uint64_t seq, const char *head, const char *tail)
{
    struct value value = {NULL, (const uint8_t *)tail, tail == NULL ? 0 : strlen(tail)};
    ck_assert_int_eq(
        journal_append(journal, seq, slice_of_string(head), tail == NULL ? NULL : &value), 0);
    journal_live(journal, seq);
}

void expect_found(size_t index, uint64_t seq, size_t size)
{
    ck_assert_uint_lt(index, found_count);
    struct value value = payload_of(seq, size);
    ck_assert_uint_eq(found[index].seq, seq);
    ck_assert_uint_eq(found[index].size, size);
    ck_assert_int_eq(memcmp(found[index].data, value.data, size), 0);
    value_drop(&value);
}

/* ---- files ----------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

size_t segment_files(uint64_t *numbers, size_t limit)
{
    size_t count = 0;
    DIR *dir = opendir(directory);
    ck_assert_ptr_nonnull(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        uint64_t number;
        if (segment_name_read(entry->d_name, &number) && count++ < limit)
            numbers[count - 1] = number;
    }
    closedir(dir);
    qsort(numbers, count < limit ? count : limit, sizeof(*numbers), compare);
    return count;
}

void segment_path(char out[128], uint64_t number)
{
    char name[SEGMENT_NAME];
    segment_name(name, number);
    snprintf(out, 128, "%s/%s", directory, name);
}

uint8_t *read_segment(uint64_t number, size_t *size)
{
    char path[128];
    struct stat about;
    segment_path(path, number);
    int fd = open(path, O_RDONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &about), 0);
    *size = (size_t)about.st_size;
    uint8_t *bytes = malloc(*size + 1);
    ck_assert_int_eq(read(fd, bytes, *size), about.st_size);
    close(fd);
    return bytes;
}

void write_segment(uint64_t number, const void *data, size_t size)
{
    char path[128];
    segment_path(path, number);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
    close(fd);
}

void remove_segments(void)
{
    uint64_t numbers[4096];
    char path[128];
    size_t count = segment_files(numbers, 4096);
    ck_assert_uint_le(count, 4096);
    for (size_t i = 0; i < count; i++) {
        segment_path(path, numbers[i]);
        unlink(path);
    }
}

/* ---- metrics --------------------------------------------------------------------------------- */

uint64_t metric(const char *name)
{
    static struct metrics_registry registry;
    registry.count = 0;
    journal_metrics_register(&registry, journal);
    journal_refresh(journal, uv_hrtime() / 1000000);
    for (size_t i = 0; i < registry.count; i++) {
        if (strcmp(registry.metrics[i].name, name) == 0)
            return *registry.metrics[i].value;
    }
    ck_abort_msg("no metric %s", name);
    return 0;
}

/* ---- faults ---------------------------------------------------------------------------------- */

enum { FDS = 1024 };
static off_t synced[FDS]; /* by descriptor: what its last good sync covered */

static int fault_open(int dir, const char *name, int flags, mode_t mode)
{
    pthread_mutex_lock(&fault_lock);
    bool refused = fault.refuse_new && (flags & O_CREAT) != 0;
    pthread_mutex_unlock(&fault_lock);
    if (refused) {
        errno = EMFILE;
        return -1;
    }
    int fd = openat(dir, name, flags, mode);
    if (fd >= 0 && fd < FDS)
        synced[fd] = 0;
    return fd;
}

static ssize_t fault_write(int fd, const struct iovec *vectors, int count, off_t offset)
{
    pthread_mutex_lock(&fault_lock);
    size_t limit = SIZE_MAX;
    fault.writes++;
    if (fault.chunk != 0)
        limit = fault.chunk;
    if (fault.limited && fault.space < limit)
        limit = (size_t)fault.space;
    ssize_t total = 0;
    for (int i = 0; i < count && limit > 0; i++) {
        size_t part = vectors[i].iov_len < limit ? vectors[i].iov_len : limit;
        ck_assert_int_eq(pwrite(fd, vectors[i].iov_base, part, offset + total), (ssize_t)part);
        total += (ssize_t)part;
        limit -= part;
    }
    if (fault.limited)
        fault.space -= (uint64_t)total;
    pthread_mutex_unlock(&fault_lock);
    if (total == 0) {
        errno = ENOSPC;
        return -1;
    }
    return total;
}

static int fault_sync(int fd)
{
    struct stat about;
    ck_assert_int_eq(fstat(fd, &about), 0);
    pthread_mutex_lock(&fault_lock);
    bool fails =
        fault.failing_syncs > 0 && !(fault.spares_headers && about.st_size == SEGMENT_HEADER);
    if (fails)
        fault.failing_syncs--;
    else
        fault.syncs++;
    pthread_mutex_unlock(&fault_lock);
    if (!fails) {
        synced[fd] = about.st_size;
        return 0;
    }
    /* The pages are dropped, and the next sync will not know of it. */
    for (off_t at = synced[fd]; at < about.st_size; at++)
        ck_assert_int_eq(pwrite(fd, "", 1, at), 1);
    errno = EIO;
    return -1;
}

static int fault_cut(int fd, off_t size)
{
    pthread_mutex_lock(&fault_lock);
    fault.cuts++;
    pthread_mutex_unlock(&fault_lock);
    if (synced[fd] > size)
        synced[fd] = size;
    return ftruncate(fd, size);
}

static int fault_remove(int dir, const char *name)
{
    uint64_t number;
    ck_assert(segment_name_read(name, &number));
    pthread_mutex_lock(&fault_lock);
    bool refused = fault.unremovable == number;
    pthread_mutex_unlock(&fault_lock);
    if (refused) {
        errno = EPERM;
        return -1;
    }
    return unlinkat(dir, name, 0);
}

static uint64_t fault_clock(void)
{
    return fault_unix_ms != 0 ? fault_unix_ms : journal_device_system.unix_ms();
}

void fault_install(void)
{
    static struct journal_device device;
    device = journal_device_system;
    device.open_file = fault_open;
    device.write_at = fault_write;
    device.sync_data = fault_sync;
    device.cut = fault_cut;
    device.remove = fault_remove;
    device.unix_ms = fault_clock;
    journal_device_set(&device);
}

void fault_set(struct fault now)
{
    pthread_mutex_lock(&fault_lock);
    fault = now;
    pthread_mutex_unlock(&fault_lock);
}
