/* reply: the answer to a command, and what has to be remembered to give it later. */
#include "brain/command.h"

#include <assert.h>
#include <string.h>

static struct slice keep_slice(uint8_t **end, struct slice bytes)
{
    if (bytes.size == 0)
        return slice_of(NULL, 0);
    memcpy(*end, bytes.data, bytes.size);
    struct slice kept = slice_of(*end, bytes.size);
    *end += bytes.size;
    return kept;
}

struct reply_to *reply_to_keep(const struct reply_to *reply)
{
    /* One piece of memory: the struct, then the bytes its slices point at. */
    size_t size = sizeof(struct reply_to) + reply->pid.size + reply->tag.size + reply->alias.size;
    struct reply_to *kept = heap_allocate(size);
    if (kept == NULL)
        return NULL;
    uint8_t *end = (uint8_t *)(kept + 1);
    kept->form = reply->form;
    kept->pid = keep_slice(&end, reply->pid);
    kept->tag = keep_slice(&end, reply->tag);
    kept->alias = keep_slice(&end, reply->alias);
    return kept;
}

bool reply_is_sent(enum reply_form form, enum reply_kind kind)
{
    switch (form) {
    case REPLY_UNTAGGED:
        return kind == REPLY_KIND_VALUE || kind == REPLY_KIND_KO;
    case REPLY_TAGGED:
    case REPLY_CALL:
        return true;
    case REPLY_NONE:
        break;
    }
    return false;
}

static const uint8_t pair[] = {ETF_SMALL_TUPLE, 2};
static const uint8_t ok[] = {ETF_SMALL_ATOM_UTF8, 2, 'o', 'k'};
static const uint8_t ko[] = {ETF_SMALL_ATOM_UTF8, 2, 'k', 'o'};
static const uint8_t ok_value[] = {ETF_SMALL_TUPLE, 2, ETF_SMALL_ATOM_UTF8, 2, 'o', 'k'};

size_t reply_parts(
    const struct reply_to *reply, enum reply_kind kind, struct slice parts[REPLY_PARTS])
{
    size_t count = 0;
    assert(reply_is_sent(reply->form, kind));
    if (reply->form != REPLY_UNTAGGED) {
        parts[count++] = slice_of(pair, sizeof pair);
        parts[count++] = reply->tag;
    }
    switch (kind) {
    case REPLY_KIND_OK:
        parts[count++] = slice_of(ok, sizeof ok);
        return count;
    case REPLY_KIND_VALUE:
        parts[count++] = slice_of(ok_value, sizeof ok_value);
        return count;
    case REPLY_KIND_KO:
        parts[count++] = slice_of(ko, sizeof ko);
        return count;
    case REPLY_KIND_ERROR:
    case REPLY_KIND_TERM:
        break;
    }
    return 0;
}

void reply_write(struct buffer *out, const struct reply_to *reply, enum reply_kind kind, int error)
{
    struct slice parts[REPLY_PARTS];
    size_t count = reply_parts(reply, kind, parts);
    for (size_t i = 0; i < count; i++)
        buffer_append_slice(out, parts[i]);
    if (count > 0)
        return;
    if (reply->form != REPLY_UNTAGGED) {
        etf_write_tuple(out, 2);
        buffer_append_slice(out, reply->tag);
    }
    if (kind == REPLY_KIND_ERROR) {
        etf_write_tuple(out, 2);
        etf_write_atom(out, "error");
        etf_write_atom(out, error_atom(error));
    }
}
