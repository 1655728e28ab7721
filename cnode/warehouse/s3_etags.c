/* s3_etags: one array, eight entries to a set. */
#include "s3_etags.h"

#include <string.h>
#include <xxhash.h>

enum { WAYS = 8 };

int s3_etags_init(struct s3_etags *etags, size_t sets)
{
    *etags = (struct s3_etags){.sets = sets};
    etags->entries = heap_allocate_zeroed(sets * WAYS * sizeof(etags->entries[0]));
    return etags->entries == NULL ? BRAIN_ENOMEM : 0;
}

void s3_etags_release(struct s3_etags *etags)
{
    heap_release(etags->entries);
    etags->entries = NULL;
}

/* The entry of this hash, or else the one of its set to replace. */
static struct s3_etag *place_of(struct s3_etags *etags, uint64_t hash)
{
    struct s3_etag *set = &etags->entries[hash % etags->sets * WAYS];
    struct s3_etag *oldest = set;
    for (struct s3_etag *entry = set; entry < set + WAYS; entry++) {
        if (entry->used != 0 && entry->hash == hash)
            return entry;
        if (entry->used < oldest->used)
            oldest = entry;
    }
    return oldest;
}

const struct s3_etag *s3_etags_find(struct s3_etags *etags, struct slice id)
{
    uint64_t hash = XXH3_64bits(id.data, id.size);
    struct s3_etag *entry = place_of(etags, hash);
    if (entry->used == 0 || entry->hash != hash)
        return NULL;
    entry->used = ++etags->clock;
    return entry;
}

void s3_etags_put(struct s3_etags *etags, struct slice id, struct version version, const char *text)
{
    size_t size = strlen(text);
    if (size == 0 || size > S3_ETAGS_TEXT) {
        s3_etags_forget(etags, id);
        return;
    }
    uint64_t hash = XXH3_64bits(id.data, id.size);
    struct s3_etag *entry = place_of(etags, hash);
    *entry = (struct s3_etag){.hash = hash, .version = version, .used = ++etags->clock};
    memcpy(entry->text, text, size + 1);
}

void s3_etags_forget(struct s3_etags *etags, struct slice id)
{
    uint64_t hash = XXH3_64bits(id.data, id.size);
    struct s3_etag *entry = place_of(etags, hash);
    if (entry->used != 0 && entry->hash == hash)
        entry->used = 0;
}
