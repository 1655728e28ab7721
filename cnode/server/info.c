#include "info.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "brain/etf.h"

/* Resident set size. The file is the kernel's own and is read from memory; 0 when it is not there.
 */
static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*s %lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void write_number(struct buffer *out, const char *key, uint64_t number)
{
    etf_write_atom(out, key);
    etf_write_uint64(out, number);
}

static void write_text(struct buffer *out, const char *key, const char *text)
{
    etf_write_atom(out, key);
    etf_write_binary(out, slice_of_string(text));
}

static void write_members(struct buffer *out, const struct info *info)
{
    const size_t count = info->members != NULL ? info->members->view.count : 1;
    if (count > 0)
        etf_write_list(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        etf_write_atom_slice(out, info->members != NULL ? info->members->core[i].name : info->node);
    etf_write_nil(out);
}

/* Rows of one group stand together in the registry: each room registers all of its own at once. */
static size_t group_end(const struct metrics_registry *registry, size_t begin)
{
    size_t end = begin;
    while (end < registry->count &&
           strcmp(registry->metrics[end].group, registry->metrics[begin].group) == 0)
        end++;
    return end;
}

static uint32_t count_groups(const struct metrics_registry *registry)
{
    uint32_t groups = 0;
    for (size_t i = 0; i < registry->count; i = group_end(registry, i))
        groups++;
    return groups;
}

void info_write(struct buffer *out, const struct info *info)
{
    const struct metrics_registry *registry = info->registry;
    enum { OWN_KEYS = 11 };
    etf_write_map(out, OWN_KEYS + count_groups(registry));
    etf_write_atom(out, "node");
    etf_write_atom_slice(out, info->node);
    write_text(out, "version", BRAIN_VERSION);
    etf_write_atom(out, "state");
    etf_write_atom(out, info->stopping ? "stopping" : "running");
    write_number(out, "uptime_ms", info->uptime_ms);
    write_number(out, "memory_bytes", resident_bytes());
    write_text(out, "warehouse_name", info->warehouse);
    write_text(out, "warehouse_error", info->warehouse_last_error);
    etf_write_atom(out, "cluster_state");
    etf_write_atom(out, info->cluster_state);
    write_text(out, "cluster_error", info->cluster_last_error);
    etf_write_atom(out, "cluster_members");
    write_members(out, info);
    write_number(out, "log_dropped", info->log_dropped);
    for (size_t begin = 0; begin < registry->count;) {
        size_t end = group_end(registry, begin);
        etf_write_atom(out, registry->metrics[begin].group);
        etf_write_map(out, (uint32_t)(end - begin));
        for (; begin < end; begin++)
            write_number(out, registry->metrics[begin].name, *registry->metrics[begin].value);
    }
}
