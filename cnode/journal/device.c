#include "device.h"

#include <fcntl.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

static int open_file(int directory, const char *name, int flags, mode_t mode)
{
    return openat(directory, name, flags, mode);
}

static ssize_t write_at(int fd, const struct iovec *vectors, int count, off_t offset)
{
    return pwritev(fd, vectors, count, offset);
}

static int remove_file(int directory, const char *name)
{
    return unlinkat(directory, name, 0);
}

static uint64_t unix_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

const struct journal_device journal_device_system = {
    open_file, write_at, fdatasync, fsync, ftruncate, remove_file, unix_ms};

static const struct journal_device *device = &journal_device_system;

void journal_device_set(const struct journal_device *replacement)
{
    device = replacement != NULL ? replacement : &journal_device_system;
}

const struct journal_device *journal_device_get(void)
{
    return device;
}
