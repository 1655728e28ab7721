#include "data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the directory --------------------------------------------------------------------------- */

/* mkdir -p. Returns 0 or an errno. */
static int make_directories(const char *path)
{
    char part[4096];
    size_t size = strlen(path);
    if (size == 0)
        return ENOENT;
    if (size >= sizeof(part))
        return ENAMETOOLONG;
    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return errno;
    }
    struct stat status;
    if (stat(path, &status) != 0)
        return errno;
    return S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
}

/* The number that the holder of the lock wrote into it; 0 when it is not there (yet). */
static long holder_of(int lock)
{
    char text[32];
    ssize_t size = pread(lock, text, sizeof(text) - 1, 0);
    if (size <= 0)
        return 0;
    text[size] = '\0';
    return strtol(text, NULL, 10);
}

int data_dir_lock(const char *path, int *lock, char why[WAREHOUSE_TEXT])
{
    char name[4096], text[32];
    int error = make_directories(path);
    if (error != 0) {
        snprintf(why, WAREHOUSE_TEXT, "data_dir %s could not be made: %s", path, strerror(error));
        return BRAIN_EIO;
    }
    if ((size_t)snprintf(name, sizeof(name), "%s/lock", path) >= sizeof(name)) {
        snprintf(why, WAREHOUSE_TEXT, "data_dir %.64s... is too long a path", path);
        return BRAIN_EIO;
    }
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(why, WAREHOUSE_TEXT, "data_dir %s: the file \"lock\" could not be opened: %s",
            path, strerror(errno));
        return BRAIN_EIO;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        error = errno;
        long holder = holder_of(fd);
        if (error != EWOULDBLOCK)
            snprintf(
                why, WAREHOUSE_TEXT, "data_dir %s could not be locked: %s", path, strerror(error));
        else if (holder > 0)
            snprintf(why, WAREHOUSE_TEXT, "data_dir %s is in use by process %ld", path, holder);
        else
            snprintf(why, WAREHOUSE_TEXT, "data_dir %s is in use by another process", path);
        close(fd);
        return BRAIN_EIO;
    }
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)size, 0) != size) {
        snprintf(
            why, WAREHOUSE_TEXT, "data_dir %s could not be written: %s", path, strerror(errno));
        close(fd);
        return BRAIN_EIO;
    }
    *lock = fd;
    return 0;
}

/* ---- the database file ------------------------------------------------------------------------
 *
 * The first two pages of an LMDB 0.9 file, 64 bits, native byte order; both have this at their
 * beginning, and the one with the higher transaction number counts:
 *
 *   0 page number (8)  8 pad (2)  10 flags (2)  12 (4)
 *  16 magic (4)  20 version (4)  24 address (8)  32 map size (8)
 *  40 free-page tree (48), of which 40 page size (4), 44 flags (2), 46 depth (2), 80 root page (8)
 *  88 main tree (48), of which 92 flags (2), 94 depth (2), 128 root page (8)
 * 136 last page (8)  144 transaction number (8) */
enum { TREE_INTEGER_KEY = 0x08, TREE_FLAGS = 0x7f, DEPTH_LIMIT = 32 };
enum { META_BYTES = 152, META_MAGIC = (int)0xBEEFC0DE, META_VERSION = 1, META_FLAG = 0x08 };

struct meta {
    uint32_t page_bytes;
    uint64_t free_root, main_root, last_page, transaction;
};

/* What LMDB asserts about a tree instead of checking it. */
static bool tree_is_good(const uint8_t *tree, unsigned expected_flags)
{
    uint16_t flags, depth;
    memcpy(&flags, tree + 4, sizeof(flags));
    memcpy(&depth, tree + 6, sizeof(depth));
    return (flags & TREE_FLAGS) == expected_flags && depth < DEPTH_LIMIT;
}

static bool meta_read(const uint8_t page[META_BYTES], struct meta *meta)
{
    uint16_t flags;
    uint32_t magic, version;
    memcpy(&flags, page + 10, sizeof(flags));
    memcpy(&magic, page + 16, sizeof(magic));
    memcpy(&version, page + 20, sizeof(version));
    memcpy(&meta->page_bytes, page + 40, sizeof(meta->page_bytes));
    memcpy(&meta->free_root, page + 80, sizeof(meta->free_root));
    memcpy(&meta->main_root, page + 128, sizeof(meta->main_root));
    memcpy(&meta->last_page, page + 136, sizeof(meta->last_page));
    memcpy(&meta->transaction, page + 144, sizeof(meta->transaction));
    if (!(flags & META_FLAG) || magic != (uint32_t)META_MAGIC || version != META_VERSION)
        return false;
    if (meta->page_bytes < 512 || meta->page_bytes > 65536 ||
        (meta->page_bytes & (meta->page_bytes - 1)) != 0)
        return false;
    if (!tree_is_good(page + 40, TREE_INTEGER_KEY) || !tree_is_good(page + 88, 0))
        return false;
    /* A tree without pages has the root ~0. */
    return meta->last_page >= 1 && meta->last_page < UINT64_MAX / 65536 - 1 &&
           (meta->free_root == UINT64_MAX || meta->free_root <= meta->last_page) &&
           (meta->main_root == UINT64_MAX || meta->main_root <= meta->last_page);
}

/* A page that LMDB walks into first must be a branch or a leaf. */
static bool root_is_good(int fd, const struct meta *meta, uint64_t root)
{
    uint8_t head[16];
    uint64_t number;
    uint16_t flags;
    if (root == UINT64_MAX)
        return true;
    if (pread(fd, head, sizeof(head), (off_t)(root * meta->page_bytes)) != (ssize_t)sizeof(head))
        return false;
    memcpy(&number, head, sizeof(number));
    memcpy(&flags, head + 10, sizeof(flags));
    return number == root && (flags & 0x03) != 0 && (flags & 0x03) != 0x03;
}

static const char *find_damage(int fd, uint64_t size)
{
    uint8_t page[META_BYTES];
    struct meta first, second;
    if (size < META_BYTES || pread(fd, page, sizeof(page), 0) != (ssize_t)sizeof(page))
        return "it is too short";
    if (!meta_read(page, &first))
        return "it does not begin as one";
    if (pread(fd, page, sizeof(page), (off_t)first.page_bytes) != (ssize_t)sizeof(page))
        return "it is too short";
    if (!meta_read(page, &second) || second.page_bytes != first.page_bytes)
        return "its second page is damaged";
    const struct meta *newest = second.transaction > first.transaction ? &second : &first;
    if (size < (newest->last_page + 1) * newest->page_bytes)
        return "it is cut off";
    if (!root_is_good(fd, newest, newest->main_root) ||
        !root_is_good(fd, newest, newest->free_root))
        return "its index is damaged";
    return NULL;
}

int data_file_check(const char *path, uint64_t *size, char why[WAREHOUSE_TEXT])
{
    struct stat status;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fstat(fd, &status) != 0) {
        snprintf(why, WAREHOUSE_TEXT, "%s could not be opened: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return BRAIN_EIO;
    }
    const char *damage = NULL;
    if (!S_ISREG(status.st_mode))
        damage = "it is not a file";
    else if (status.st_size > 0)
        damage = find_damage(fd, (uint64_t)status.st_size);
    close(fd);
    if (damage != NULL) {
        snprintf(why, WAREHOUSE_TEXT,
            "%s is not a usable object database: %s; restore it, or move it away to begin empty",
            path, damage);
        return BRAIN_ECORRUPT;
    }
    *size = (uint64_t)status.st_size;
    return 0;
}
