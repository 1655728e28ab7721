/* list: intrusive doubly linked lists. A link knows nothing of what it is embedded in, and can be
 * taken out without knowing which list it is in: so one link serves all lists of which an item is
 * in exactly one. */
#ifndef BRAIN_LIST_H
#define BRAIN_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *previous, *next;
};

/* The list's own link closes the ring. */
static inline void list_init(struct link *list)
{
    list->previous = list->next = list;
}

static inline bool list_is_empty(const struct link *list)
{
    return list->next == list;
}

static inline void list_append(struct link *list, struct link *link)
{
    link->previous = list->previous;
    link->next = list;
    list->previous->next = link;
    list->previous = link;
}

static inline void list_remove(struct link *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
    link->previous = link->next = link;
}

/* NULL when empty. */
static inline struct link *list_first(const struct link *list)
{
    return list_is_empty(list) ? NULL : list->next;
}

/* Moves everything in `from` to the end of `list`. */
static inline void list_take_all(struct link *list, struct link *from)
{
    if (list_is_empty(from))
        return;
    from->next->previous = list->previous;
    from->previous->next = list;
    list->previous->next = from->next;
    list->previous = from->previous;
    list_init(from);
}

#define list_entry(link_, type, member) ((type *)(void *)((char *)(link_)-offsetof(type, member)))

#endif
