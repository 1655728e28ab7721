/* An LD_PRELOAD library that notes what would survive a loss of power.
 *
 * kill -9 of a process loses nothing that it wrote: the kernel keeps it. A loss of power takes what
 * was not synced. This library watches the files of one directory, POWER_LOSS_DIRECTORY, and keeps
 * in the shared file POWER_LOSS_NOTES, which outlives any kill:
 *
 * - for each file, how many bytes it had when the last good fsync or fdatasync of it began,
 * - when the last good one of any file began, and how long the longest took, or takes yet,
 * - whether its entry in the directory was ever synced, by an fsync of the directory,
 * - a second name, in the directory POWER_LOSS_REMOVED, for each file that was removed since then,
 *   because until then the removal can be undone; with the removal's number before its name.
 *   `durable_removals` says up to which number they are done: with one store, so that a kill at any
 *   moment leaves all removals that one sync covers, or none. (The second names go after that, one
 *   by one.)
 *
 * power_loss.py then makes of the directory what a disk could hold. Limits: only files that grow
 * are modelled (a write over synced bytes counts as done), and no renames; a journal does neither.
 * The number `fail_syncs` in the notes, set by the test, makes so many further syncs fail with EIO.
 */
/* With it, open is another name for open64: here each is a function of its own. */
#undef _FILE_OFFSET_BITS
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The layout that power_loss.py reads. */
enum { NOTES_LIMIT = 16384, NAME_LIMIT = 100 };
struct note {
    uint64_t inode;
    uint64_t synced;  /* bytes */
    uint32_t used;    /* 1: this note tells of a file */
    uint32_t entry;   /* 1: its directory entry is durable */
    uint32_t removal; /* its number; 0: it was not removed */
    char name[NAME_LIMIT];
};
struct notes {
    char magic[8]; /* "POWERL1\n" */
    uint32_t count;
    uint32_t overflow; /* files that found no note: the test is not to be trusted */
    uint32_t syncs;    /* good ones */
    _Atomic(uint32_t) fail_syncs;
    uint32_t removals;
    _Atomic(uint32_t) durable_removals;
    uint64_t sync_began_ns, longest_sync_ns; /* CLOCK_MONOTONIC */
    _Atomic(uint64_t) under_way_since_ns;    /* 0: no sync is */
    struct note note[NOTES_LIMIT];
};
_Static_assert(sizeof(struct note) == 128, "as power_loss.py unpacks it");

static struct notes *notes;
static char directory[PATH_MAX];
static ino_t directory_inode;
static dev_t directory_device;
static char removed[PATH_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The kernel is asked directly: looking the C library's functions up would call an allocator, which
 * may open files while it starts, before anything could be found. */
static int real_openat(int at, const char *path, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, at, path, flags, mode);
}

static int real_fsync(int fd)
{
    return (int)syscall(SYS_fsync, fd);
}

static int real_fdatasync(int fd)
{
    return (int)syscall(SYS_fdatasync, fd);
}

static int real_unlinkat(int at, const char *path, int flags)
{
    return (int)syscall(SYS_unlinkat, at, path, flags);
}

__attribute__((constructor)) static void begin(void)
{
    const char *watched = getenv("POWER_LOSS_DIRECTORY");
    const char *path = getenv("POWER_LOSS_NOTES");
    const char *aside = getenv("POWER_LOSS_REMOVED");
    if (watched == NULL || path == NULL || aside == NULL)
        return;
    snprintf(directory, sizeof(directory), "%s", watched);
    snprintf(removed, sizeof(removed), "%s", aside);
    int fd = real_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct notes)) != 0)
        abort();
    void *mapped = mmap(NULL, sizeof(struct notes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        abort();
    notes = mapped;
    memcpy(notes->magic, "POWERL1\n", sizeof(notes->magic));
}

/* ---- under the lock -------------------------------------------------------------------------- */

static struct note *note_of(ino_t inode)
{
    for (uint32_t i = 0; i < notes->count; i++)
        if (notes->note[i].used && notes->note[i].inode == inode)
            return &notes->note[i];
    return NULL;
}

static struct note *note_add(ino_t inode, const char *name, uint64_t synced, bool entry)
{
    struct note *note = NULL;
    for (uint32_t i = 0; i < notes->count && note == NULL; i++)
        if (!notes->note[i].used)
            note = &notes->note[i];
    if (note == NULL && notes->count < NOTES_LIMIT)
        note = &notes->note[notes->count++];
    if (note == NULL || strlen(name) >= NAME_LIMIT) {
        notes->overflow++;
        return NULL;
    }
    *note = (struct note){.inode = inode, .synced = synced, .entry = entry};
    memcpy(note->name, name, strlen(name) + 1);
    note->used = 1;
    return note;
}

/* The name of the file within the watched directory; NULL: it is not there. */
static const char *watched_name(int fd, char path[PATH_MAX])
{
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    size_t prefix = strlen(directory);
    if (size <= (ssize_t)prefix)
        return NULL;
    path[size] = '\0';
    if (strncmp(path, directory, prefix) != 0 || path[prefix] != '/' ||
        strchr(path + prefix + 1, '/') != NULL)
        return NULL;
    return path + prefix + 1;
}

static bool is_watched_directory(const struct stat *status)
{
    if (directory_inode == 0) {
        struct stat own;
        if (stat(directory, &own) != 0)
            return false;
        directory_inode = own.st_ino;
        directory_device = own.st_dev;
    }
    return status->st_ino == directory_inode && status->st_dev == directory_device;
}

static void opened(int fd, int flags, bool existed)
{
    if ((flags & O_ACCMODE) == O_RDONLY)
        return;
    char path[PATH_MAX];
    struct stat status;
    const char *name = watched_name(fd, path);
    if (name == NULL || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
        return;
    pthread_mutex_lock(&lock);
    /* What was there when we came is as durable as it is; an emptied file is not known to be. */
    if (note_of(status.st_ino) == NULL)
        note_add(status.st_ino, name, existed ? (uint64_t)status.st_size : 0, existed);
    pthread_mutex_unlock(&lock);
}

/* ---- what the program calls instead ---------------------------------------------------------- */

static int open_watched(int at, const char *path, int flags, mode_t mode)
{
    bool existed = !(flags & O_CREAT) || faccessat(at, path, F_OK, 0) == 0;
    int fd = real_openat(at, path, flags, mode);
    if (fd >= 0 && notes != NULL) {
        int error = errno;
        opened(fd, flags, existed);
        errno = error;
    }
    return fd;
}

#define MODE_OF(flags, mode)                                                                       \
    mode_t mode = 0;                                                                               \
    if (((flags)&O_CREAT) != 0 || ((flags)&O_TMPFILE) == O_TMPFILE) {                              \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode = va_arg(list, mode_t);                                                               \
        va_end(list);                                                                              \
    }

int openat(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_watched(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_watched(at, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_watched(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return open_watched(AT_FDCWD, path, flags, mode);
}

static bool must_fail(void)
{
    uint32_t left = atomic_load(&notes->fail_syncs);
    while (left > 0)
        if (atomic_compare_exchange_weak(&notes->fail_syncs, &left, left - 1))
            return true;
    return false;
}

static void aside_path(char out[PATH_MAX + NAME_LIMIT + 16], const struct note *note)
{
    snprintf(out, PATH_MAX + NAME_LIMIT + 16, "%s/%010u-%s", removed, note->removal, note->name);
}

/* `removals`: how many there were when the sync began. */
static void directory_synced(uint32_t removals)
{
    pthread_mutex_lock(&lock);
    atomic_store(&notes->durable_removals, removals);
    if (getenv("POWER_LOSS_KILL_IN_SYNC") != NULL)
        raise(SIGKILL);
    for (uint32_t i = 0; i < notes->count; i++) {
        struct note *note = &notes->note[i];
        if (!note->used)
            continue;
        if (note->removal == 0) {
            note->entry = 1;
        } else if (note->removal <= removals) {
            char aside[PATH_MAX + NAME_LIMIT + 16];
            aside_path(aside, note);
            real_unlinkat(AT_FDCWD, aside, 0);
            note->used = 0;
        }
    }
    pthread_mutex_unlock(&lock);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int sync_watched(int fd, int (*real)(int))
{
    struct stat before;
    uint64_t began = now_ns(); /* before the size is looked at */
    if (notes == NULL || fstat(fd, &before) != 0)
        return real(fd);
    bool is_directory = S_ISDIR(before.st_mode) && is_watched_directory(&before);
    pthread_mutex_lock(&lock);
    bool noted = note_of(before.st_ino) != NULL;
    uint32_t removals = notes->removals;
    pthread_mutex_unlock(&lock);
    if ((is_directory || noted) && must_fail()) {
        errno = EIO;
        return -1;
    }
    if (noted)
        atomic_store(&notes->under_way_since_ns, began);
    int status = real(fd);
    int error = errno;
    if (status == 0 && is_directory)
        directory_synced(removals);
    if (status == 0 && noted) {
        pthread_mutex_lock(&lock);
        struct note *note = note_of(before.st_ino);
        if (note != NULL)
            note->synced = (uint64_t)before.st_size; /* what came during the sync is not promised */
        notes->syncs++;
        notes->sync_began_ns = began;
        if (now_ns() - began > notes->longest_sync_ns)
            notes->longest_sync_ns = now_ns() - began;
        pthread_mutex_unlock(&lock);
    }
    if (noted)
        atomic_store(&notes->under_way_since_ns, 0);
    errno = error;
    return status;
}

int fsync(int fd)
{
    return sync_watched(fd, real_fsync);
}

int fdatasync(int fd)
{
    return sync_watched(fd, real_fdatasync);
}

int unlinkat(int at, const char *path, int flags)
{
    struct stat status;
    if (notes != NULL && flags == 0 && fstatat(at, path, &status, AT_SYMLINK_NOFOLLOW) == 0) {
        pthread_mutex_lock(&lock);
        struct note *note = note_of(status.st_ino);
        /* One whose entry was never durable may vanish, but a removal never brings it back. */
        if (note != NULL && !note->entry)
            note->used = 0;
        else if (note != NULL) {
            char aside[PATH_MAX + NAME_LIMIT + 16];
            note->removal = ++notes->removals;
            aside_path(aside, note);
            if (linkat(at, path, AT_FDCWD, aside, 0) != 0)
                notes->overflow++;
        }
        pthread_mutex_unlock(&lock);
    }
    return real_unlinkat(at, path, flags);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}
