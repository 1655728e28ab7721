#include "members.h"

#include <stdio.h>
#include <string.h>

int members_set(struct members *members, const struct managers_view *view)
{
    struct managers_member *list = heap_allocate(view->count * sizeof(*list));
    struct cluster_member *core = heap_allocate(view->count * sizeof(*core));
    if (list == NULL || core == NULL) {
        heap_release(list);
        heap_release(core);
        return BRAIN_ENOMEM;
    }
    members_release(members);
    memcpy(list, view->members, view->count * sizeof(*list));
    for (size_t i = 0; i < view->count; i++)
        core[i] = (struct cluster_member){slice_of_string(list[i].name), list[i].incarnation};
    *members = (struct members){
        .digest = view->digest,
        .list = list,
        .core = core,
        .view = {.number = view->number, .count = view->count, .members = core},
    };
    return 0;
}

void members_release(struct members *members)
{
    heap_release(members->list);
    heap_release(members->core);
    *members = (struct members){0};
}

static int compare(struct slice a, struct slice b)
{
    const int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    if (order != 0)
        return order;
    return a.size == b.size ? 0 : a.size < b.size ? -1 : 1;
}

const struct managers_member *members_find(const struct members *members, struct slice name)
{
    size_t low = 0, high = members->view.count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = compare(name, members->core[middle].name);
        if (order == 0)
            return &members->list[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool members_contradict(const struct members *members, const struct managers_view *view)
{
    return view->number < members->view.number ||
           (view->number == members->view.number && view->digest != members->digest);
}

char *members_text(const struct members *members, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < members->view.count; i++) {
        const char *name = members->list[i].name, *between = i == 0 ? "" : ", ";
        if (used + strlen(between) + strlen(name) + sizeof("...") > size) {
            snprintf(text + used, size - used, "...");
            break;
        }
        used += (size_t)snprintf(text + used, size - used, "%s%s", between, name);
    }
    return text;
}
