/* device: the system calls of the journal that can fail while it runs, replaceable, so that tests
 * can fill the disk and break it. */
#ifndef JOURNAL_DEVICE_H
#define JOURNAL_DEVICE_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* As the calls of their names: -1 and errno; and the time. */
struct journal_device {
    int (*open_file)(int directory, const char *name, int flags, mode_t mode); /* openat(2) */
    ssize_t (*write_at)(int fd, const struct iovec *vectors, int count, off_t offset); /* pwritev */
    int (*sync_data)(int fd);                       /* fdatasync(2) */
    int (*sync_directory)(int fd);                  /* fsync(2) */
    int (*cut)(int fd, off_t size);                 /* ftruncate(2) */
    int (*remove)(int directory, const char *name); /* unlinkat(2) */
    uint64_t (*unix_ms)(void);                      /* CLOCK_REALTIME; it cannot fail */
};

extern const struct journal_device journal_device_system;
/* The one that journal_open takes; tests only. NULL: the system's. */
void journal_device_set(const struct journal_device *device);
const struct journal_device *journal_device_get(void);

#endif
