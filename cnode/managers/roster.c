#include "roster.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "call.h"

void roster_init(struct roster *roster, uint32_t protocol)
{
    *roster = (struct roster){.protocol = protocol};
}

void roster_release(struct roster *roster)
{
    heap_release(roster->entries);
    roster_init(roster, roster->protocol);
}

/* XXH64, which never changes, and not XXH3: members of different builds compare digests. */
uint64_t roster_set_mark(struct slice name, uint64_t revision)
{
    return XXH64(name.data, name.size, revision);
}

static uint64_t mark_of(const struct managers_member *entry)
{
    return roster_set_mark(slice_of_string(entry->name), entry->revision);
}

/* Where `name` is, or would be. */
static size_t place_of(const struct roster *roster, const char *name, bool *found)
{
    size_t low = 0, high = roster->count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(roster->entries[middle].name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct managers_member *roster_find(const struct roster *roster, const char *name)
{
    bool found;
    size_t place = place_of(roster, name, &found);
    return found && roster->entries[place].incarnation != 0 ? &roster->entries[place] : NULL;
}

static bool make_room(struct roster *roster)
{
    if (roster->count < roster->capacity)
        return true;
    if (roster->count >= MANAGERS_MEMBERS_LIMIT)
        return false;
    size_t capacity = roster->capacity == 0 ? 8 : 2 * roster->capacity;
    struct managers_member *grown = heap_resize(roster->entries, capacity * sizeof(*grown));
    if (grown == NULL)
        return false;
    roster->entries = grown;
    roster->capacity = capacity;
    return true;
}

static void take_out(struct roster *roster, size_t place)
{
    struct managers_member *entry = &roster->entries[place];
    roster->set -= mark_of(entry);
    roster->strays -= entry->incarnation == 0;
    roster->count--;
    memmove(entry, entry + 1, (roster->count - place) * sizeof(*entry));
}

bool roster_name(struct slice key, const char *prefix, struct slice *name)
{
    size_t skip = strlen(prefix);
    if (key.size <= skip || key.size - skip > MANAGERS_NAME_LIMIT ||
        memcmp(key.data, prefix, skip) != 0)
        return false;
    *name = slice_of(key.data + skip, key.size - skip);
    return memchr(name->data, '\0', name->size) == NULL;
}

bool roster_is_node(struct slice name)
{
    const uint8_t *at = name.size == 0 ? NULL : memchr(name.data, '@', name.size);
    if (at == NULL || at == name.data || at + 1 == name.data + name.size ||
        memchr(at + 1, '@', (size_t)(name.data + name.size - at - 1)) != NULL)
        return false;
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] <= ' ' || name.data[i] == 0x7f)
            return false;
    return utf8_is_valid(name);
}

int roster_apply(struct roster *roster, const char *prefix, const struct answer *answer,
    const struct answer_kv *kv, bool *changed)
{
    struct managers_member entry = {.revision = kv->mod_revision, .lease = kv->lease};
    bool found, visible = false;
    struct slice name;
    if (!roster_name(answer_key(answer, kv), prefix, &name))
        return 0;
    memcpy(entry.name, name.data, name.size);
    size_t place = place_of(roster, entry.name, &found);
    if (found)
        visible = roster->entries[place].incarnation != 0;
    if (kv->deleted) {
        if (found)
            take_out(roster, place);
    } else {
        if (!call_member_decode(&entry, answer_value(answer, kv)) ||
            entry.protocol != roster->protocol || !roster_is_node(name))
            entry.incarnation = 0;
        visible = visible || entry.incarnation != 0;
        if (found) {
            take_out(roster, place);
        } else if (!make_room(roster)) {
            return BRAIN_ENOMEM;
        }
        struct managers_member *to = &roster->entries[place];
        memmove(to + 1, to, (roster->count - place) * sizeof(*to));
        *to = entry;
        roster->count++;
        roster->strays += entry.incarnation == 0;
        roster->set += mark_of(&entry);
    }
    if (visible) {
        roster->number = kv->mod_revision;
        *changed = true;
    }
    return 0;
}

/* ---- the view -----------------------------------------------------------------------------------
 */

static bool is_before(const struct managers_member *a, const struct managers_member *b)
{
    return a->revision != b->revision ? a->revision < b->revision : strcmp(a->name, b->name) < 0;
}

const struct managers_member *roster_twin(
    const struct roster *roster, const struct managers_member *entry)
{
    for (size_t i = 0; i < roster->count; i++) {
        const struct managers_member *other = &roster->entries[i];
        if (entry->incarnation != 0 && other->incarnation == entry->incarnation &&
            is_before(other, entry))
            return other;
    }
    return NULL;
}

static int compare_incarnations(const void *a, const void *b)
{
    const struct managers_member *const *x = a, *const *y = b;
    if ((*x)->incarnation != (*y)->incarnation)
        return (*x)->incarnation < (*y)->incarnation ? -1 : 1;
    return is_before(*x, *y) ? -1 : is_before(*y, *x);
}

/* Do two claim the same incarnation? Nearly never: members draw it. */
static int find_twins(const struct roster *roster, bool *twins)
{
    const struct managers_member **order =
        heap_allocate((roster->count + 1) * sizeof(struct managers_member *));
    size_t count = 0;
    *twins = false;
    if (order == NULL)
        return BRAIN_ENOMEM;
    for (size_t i = 0; i < roster->count; i++)
        if (roster->entries[i].incarnation != 0)
            order[count++] = &roster->entries[i];
    if (count > 1)
        qsort(order, count, sizeof(*order), compare_incarnations);
    for (size_t i = 1; i < count; i++)
        *twins = *twins || order[i]->incarnation == order[i - 1]->incarnation;
    heap_release(order);
    return 0;
}

int roster_view(const struct roster *roster, uint64_t history, struct managers_view *view)
{
    size_t count = roster->count - roster->strays, made = 0;
    uint64_t set = 0;
    uint8_t bytes[8];
    bool twins;
    if (find_twins(roster, &twins) != 0)
        return BRAIN_ENOMEM;
    struct managers_member *members = heap_allocate((count + 1) * sizeof(*members));
    if (members == NULL)
        return BRAIN_ENOMEM;
    for (size_t i = 0; i < roster->count; i++) {
        const struct managers_member *entry = &roster->entries[i];
        if (entry->incarnation == 0 || (twins && roster_twin(roster, entry) != NULL))
            continue;
        members[made++] = *entry;
        set += mark_of(entry);
    }
    store_be64(bytes, set);
    *view = (struct managers_view){.number = roster_number(history, roster->number),
        .digest = XXH64(bytes, sizeof(bytes), history),
        .count = made,
        .members = members};
    return 0;
}
