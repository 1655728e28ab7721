#include "returning.h"

#include <stdio.h>

#include "lease_file.h"

void returning_init(struct returning *returning)
{
    *returning = (struct returning){0};
    buffer_init(&returning->lines);
}

void returning_release(struct returning *returning)
{
    buffer_release(&returning->lines);
}

static bool is_back(const struct members *members, struct slice name, uint64_t incarnation)
{
    const struct managers_member *member = members_find(members, name);
    return member != NULL && member->incarnation != incarnation;
}

size_t returning_missing(const struct returning *returning, const struct members *members,
    struct slice self, char *text, size_t size)
{
    struct slice rest = buffer_slice(&returning->lines), name;
    uint64_t incarnation;
    size_t missing = 0, used = 0;
    text[0] = '\0';
    while (lease_file_next_member(&rest, &incarnation, &name)) {
        if (slice_equal(name, self) || is_back(members, name, incarnation))
            continue;
        const char *between = missing++ == 0 ? "" : ", ";
        if (used + name.size + sizeof(", ...") <= size) {
            used += (size_t)snprintf(text + used, size - used, "%s%.*s", between, (int)name.size,
                (const char *)name.data);
        } else if (used < size) {
            snprintf(text + used, size - used, "...");
            used = size;
        }
    }
    return missing;
}

void returning_hear(struct returning *returning, const struct members *members, struct slice self,
    struct slice from)
{
    const struct managers_member *own = members_find(members, self),
                                 *other = members_find(members, from);
    if (own != NULL && other != NULL && other->revision < own->revision)
        returning->over = true;
}

bool returning_waits(const struct returning *returning, const struct members *members,
    struct slice self, uint64_t now_ms, uint64_t limit_ms)
{
    char unused[8];
    return !returning->over && returning->since_ms != 0 &&
           now_ms - returning->since_ms < limit_ms &&
           returning_missing(returning, members, self, unused, sizeof(unused)) > 0;
}
