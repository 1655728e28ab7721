#include "link.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "brain/base.h"
#include "protocol.h"

enum {
    SLOT_BITS = 16,
    GENERATIONS = 1023,
};
/* Tags are 65536 to 2^26: four bytes as an Erlang integer, whoever encodes it (`ei` from 2^27 on
 * makes a big number of it, the BEAM below 256 a single byte). */
static_assert(2 * IN_FLIGHT_LIMIT <= 1 << SLOT_BITS, "a slot is 16 bits");

/* ---- templates ------------------------------------------------------------------------------- */

void template_begin(struct template *template)
{
    *template = (struct template){.value_at = SIZE_MAX};
}

void template_bytes(struct template *template, const void *bytes, size_t size)
{
    assert(size <= sizeof(template->bytes) - template->size);
    memcpy(template->bytes + template->size, bytes, size);
    template->size += size;
}

void template_text(struct template *template, const char *text)
{
    template_bytes(template, text, strlen(text));
}

void template_id(struct template *template, size_t id_bytes)
{
    uint8_t id[ID_BYTES_LIMIT];
    assert(id_bytes <= sizeof(id));
    id_write_zero(id, id_bytes);
    template_bytes(template, id, id_bytes);
    template->id_end = template->size;
}

void template_tag(struct template *template)
{
    template->tag_at = template->size;
    template_bytes(template, "\0\0\0", 4);
}

void template_value(struct template *template)
{
    template->value_at = template->size;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static uint32_t power_of_two_above(uint32_t number)
{
    uint32_t power = 1;
    while (power < number)
        power *= 2;
    return power;
}

int link_prepare(struct link *link)
{
    const struct options *options = link->options;
    link->id_digits = id_digits(options->keys);
    link->barrier = options->barrier < options->in_flight ? options->barrier : options->in_flight;
    /* Each unanswered set may have a barrier of its own. */
    link->slots = power_of_two_above(2 * options->in_flight);
    link->requests = heap_allocate_zeroed(link->slots * sizeof(*link->requests));
    link->free_slots = heap_allocate(link->slots * sizeof(*link->free_slots));
    link->unbarred_since = heap_allocate(link->barrier * sizeof(*link->unbarred_since));
    link->sets_since =
        heap_allocate((size_t)link->slots * link->barrier * sizeof(*link->sets_since));
    bool large = options->size > OUTPUT_COPY_LIMIT;
    size_t bytes = STAMP_BYTES + (large ? 0 : (size_t)options->size);
    bytes += link->get.size > link->set.size ? link->get.size : link->set.size;
    size_t pieces = large ? (size_t)options->size / PATTERN_PERIOD + 4 : 1;
    if (link->requests == NULL || link->free_slots == NULL || link->unbarred_since == NULL ||
        link->sets_since == NULL || output_init(&link->output, link->slots, bytes, pieces) != 0)
        return BRAIN_ENOMEM;
    for (uint32_t i = 0; i < link->slots; i++)
        link->free_slots[i] = i;
    link->given = link->slots;
    return 0;
}

void link_release(struct link *link)
{
    if (link->state != NULL)
        link->options->protocol->close(link);
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    heap_release(link->requests);
    heap_release(link->free_slots);
    heap_release(link->unbarred_since);
    heap_release(link->sets_since);
    output_release(&link->output);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static struct request *take_slot(struct link *link)
{
    assert(link->taken != link->given);
    uint32_t slot = link->free_slots[link->taken++ & (link->slots - 1)];
    struct request *request = &link->requests[slot];
    /* Not the tag this slot had before: a second answer to that is no answer to this. */
    request->generation = (uint16_t)(request->generation % GENERATIONS + 1);
    request->tag = (uint32_t)request->generation << SLOT_BITS | slot;
    return request;
}

static void give_slot(struct link *link, struct request *request)
{
    link->free_slots[link->given++ & (link->slots - 1)] = (uint32_t)(request - link->requests);
    request->tag = 0;
}

/* Writes the template's bytes before the value, the value, and those behind it, by reference where
 * it is large. Returns where the latter lie. */
static uint8_t *write_with_value(struct link *link, const struct template *template, uint64_t key)
{
    const struct values *values = link->values;
    struct output *output = &link->output;
    size_t head = template->value_at, tail = template->size - head;
    bool large = values->size > OUTPUT_COPY_LIMIT;
    size_t inside = large ? STAMP_BYTES : (size_t)values->size;
    uint8_t *at = output_extend(output, head + inside + (large ? 0 : tail));
    memcpy(at, template->bytes, head);
    if (template->id_end != 0)
        id_write_digits(at + template->id_end, key, link->id_digits);
    if (!large) {
        value_write(values, key, at + head);
        at += head + inside;
    } else {
        uint64_t stamp = value_stamp(key);
        memcpy(at + head, &stamp, STAMP_BYTES);
        for (uint64_t position = STAMP_BYTES; position < values->size;) {
            uint64_t part = values->size - position;
            if (part > PATTERN_PERIOD)
                part = PATTERN_PERIOD;
            output_refer(output, value_pattern(values, stamp, position), (size_t)part);
            position += part;
        }
        if (tail == 0)
            return NULL;
        at = output_extend(output, tail);
    }
    memcpy(at, template->bytes + head, tail);
    return at;
}

static void write_request(
    struct link *link, const struct template *template, uint64_t key, uint32_t tag)
{
    if (template->value_at != SIZE_MAX) {
        uint8_t *behind = write_with_value(link, template, key);
        if (template->tag_at != 0)
            store_be32(behind + (template->tag_at - template->value_at), tag);
        return;
    }
    uint8_t *at = output_extend(&link->output, template->size);
    memcpy(at, template->bytes, template->size);
    if (template->id_end != 0)
        id_write_digits(at + template->id_end, key, link->id_digits);
    if (template->tag_at != 0)
        store_be32(at + template->tag_at, tag);
}

static struct request *ask(struct link *link, const struct template *template,
    enum request_kind kind, uint64_t key, uint64_t since_ns)
{
    assert(key < link->options->keys);
    struct request *request = take_slot(link);
    request->since_ns = since_ns;
    request->key = key;
    request->kind = kind;
    request->is_barrier = false;
    request->sets = link->unbarred;
    if (link->unbarred != 0) {
        size_t slot = (size_t)(request - link->requests);
        memcpy(link->sets_since + slot * link->barrier, link->unbarred_since,
            link->unbarred * sizeof(*link->unbarred_since));
        link->unbarred = 0;
    }
    write_request(link, template, key, request->tag);
    return request;
}

void link_ask(struct link *link, enum request_kind kind, uint64_t key, uint64_t since_ns)
{
    link->outstanding++;
    ask(link, kind == REQUEST_GET ? &link->get : &link->set, kind, key, since_ns);
}

bool link_set_plainly(struct link *link, uint64_t key, uint64_t since_ns)
{
    link->outstanding++;
    link->unbarred_since[link->unbarred++] = since_ns;
    link->unbarred_key = key;
    write_request(link, &link->plain_set, key, 0);
    return link->unbarred == link->barrier;
}

void link_bar(struct link *link, uint64_t since_ns)
{
    ask(link, &link->get, REQUEST_GET, link->unbarred_key, since_ns)->is_barrier = true;
}

/* ---- being answered -------------------------------------------------------------------------- */

struct request *link_oldest(const struct link *link)
{
    uint32_t used = link->slots - (link->given - link->taken);
    if (used == 0)
        return NULL;
    /* Answers come in order, so the ring is in order too. */
    return &link->requests[link->free_slots[(link->taken - used) & (link->slots - 1)]];
}

static void finish(struct link *link, struct request *request, bool right)
{
    struct tally *tally = link->tally;
    if (tally->on_answer != NULL)
        tally->on_answer(link, request, right);
    uint32_t operations = 1 + request->sets;
    tally->answered += operations;
    link->outstanding -= request->sets + (request->is_barrier ? 0 : 1);
    if (tally->measuring) {
        tally->operations += operations;
        histogram_record(&tally->latency, link->now_ns - request->since_ns);
        const uint64_t *since =
            link->sets_since + (size_t)(request - link->requests) * link->barrier;
        for (uint32_t i = 0; i < request->sets; i++)
            histogram_record(&tally->latency, link->now_ns - since[i]);
    }
    give_slot(link, request);
}

void link_answered(struct link *link, struct request *request)
{
    finish(link, request, true);
}

void link_wrong(struct link *link, struct request *request, const char *format, ...)
{
    struct tally *tally = link->tally;
    if (tally->errors++ == 0) {
        char what[SENTENCE_LIMIT / 2], id[ID_BYTES_LIMIT + 1];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(what, sizeof(what), format, arguments);
        va_end(arguments);
        snprintf(tally->wrong, sizeof(tally->wrong), "%s %.64s was answered with %s",
            request->kind == REQUEST_GET ? "get" : "set", link_id(link, request->key, id), what);
    }
    finish(link, request, false);
}

int link_fail(struct link *link, const char *format, ...)
{
    struct tally *tally = link->tally;
    va_list arguments;
    va_start(arguments, format);
    if (tally->failure[0] == '\0')
        vsnprintf(tally->failure, sizeof(tally->failure), format, arguments);
    va_end(arguments);
    return -1;
}

const char *link_id(const struct link *link, uint64_t key, char *text)
{
    size_t size = link->options->id_bytes;
    id_write_zero((uint8_t *)text, size);
    id_write_digits((uint8_t *)text + size, key, link->id_digits);
    text[size] = '\0';
    return text;
}
