#include "members_devices.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory)
        abort();
    return memory;
}

void set_text(char *to, const char *from)
{
    snprintf(to, TEXT, "%s", from);
}

void set_id(char *to, struct slice id)
{
    snprintf(to, TEXT, "%.*s", (int)id.size, (const char *)id.data);
}

void set_value(char *to, const struct value *value)
{
    ck_assert(value->size >= TERM_HEAD && value->size < TERM_HEAD + TEXT);
    snprintf(
        to, TEXT, "%.*s", (int)(value->size - TERM_HEAD), (const char *)value->data + TERM_HEAD);
}

size_t term_of(uint8_t *term, const char *text)
{
    size_t size = strlen(text);
    term[0] = 109;
    store_be32(term + 1, (uint32_t)size);
    memcpy(term + TERM_HEAD, text, size);
    return TERM_HEAD + size;
}

/* ---- network ----------------------------------------------------------------------------------
 */

static int stop_of(const struct world *world, const char *kind)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(world->stopped[i], kind) == 0)
            return i;
    }
    return -1;
}

void world_stop(struct world *world, const char *kind, bool lost)
{
    int free = stop_of(world, "");
    ck_assert_int_ge(free, 0);
    snprintf(world->stopped[free], sizeof(world->stopped[free]), "%s", kind);
    world->dropped[free] = lost;
}

void world_go_on(struct world *world, const char *kind)
{
    int stop = stop_of(world, kind);
    ck_assert_int_ge(stop, 0);
    world->stopped[stop][0] = 0;
}

static int member_of(const struct world *world, struct slice name)
{
    for (uint32_t i = 0; i < world->count; i++) {
        if (slice_equal_string(name, world->members[i].name))
            return (int)i;
    }
    ck_abort_msg("a message to nobody");
}

void on_send(void *context, const struct cluster_member *to, uint64_t order, struct slice head,
    const struct value *tail)
{
    struct member *member = context;
    struct world *world = member->world;
    (void)order; /* all stay in order */
    if (!member->up)
        return;
    size_t size = head.size + (tail ? tail->size : 0);
    struct block *block = block_create(size);
    if (!block)
        return; /* lost */
    memcpy(block->bytes, head.data, head.size);
    if (tail)
        memcpy(block->bytes + head.size, tail->data, tail->size);
    struct letter *letter = allocate(sizeof(*letter)), **end = &world->letters;
    letter->bytes = (struct value){block, block->bytes, size};
    letter->from = member->number;
    letter->to = member_of(world, to->name);
    struct etf_reader reader;
    struct slice kind;
    uint32_t arity;
    uint64_t view;
    etf_reader_init(&reader, value_slice(letter->bytes), (struct etf_limits){100, UINT64_MAX});
    ck_assert_int_eq(etf_read_tuple(&reader, &arity), 0);
    ck_assert_int_eq(etf_read_uint64(&reader, &view), 0);
    ck_assert_int_eq(etf_read_atom(&reader, &kind), 0);
    snprintf(letter->kind, sizeof(letter->kind), "%.*s", (int)kind.size, (const char *)kind.data);
    int stop = stop_of(world, letter->kind);
    if (stop >= 0 && world->dropped[stop]) {
        value_drop(&letter->bytes);
        free(letter);
        return;
    }
    while (*end)
        end = &(*end)->next;
    *end = letter;
}

bool deliver_one(struct world *world)
{
    struct letter **link = &world->letters, *letter;
    while ((letter = *link) != NULL && stop_of(world, letter->kind) >= 0)
        link = &letter->next;
    if (!letter)
        return false;
    *link = letter->next;
    struct member *to = &world->members[letter->to];
    if (to->up) {
        holdings_time(to->holdings, world->now_ms);
        struct slice from = slice_of_string(world->members[letter->from].name);
        ck_assert_int_eq(
            cluster_receive(to->cluster, from, &letter->bytes, NULL, world->now_ms), 0);
    }
    value_drop(&letter->bytes);
    free(letter);
    return true;
}

/* ---- warehouse --------------------------------------------------------------------------------
 */

struct kept *kept_of(const struct world *world, const char *id)
{
    struct kept *kept = world->warehouse;
    while (kept && strcmp(kept->id, id) != 0)
        kept = kept->next;
    return kept;
}

const struct kept *world_kept(const struct world *world, const char *id)
{
    return kept_of(world, id);
}

static struct kept *make_kept(struct world *world, const char *id)
{
    struct kept *kept = kept_of(world, id);
    if (kept)
        return kept;
    kept = allocate(sizeof(*kept));
    set_text(kept->id, id);
    kept->next = world->warehouse;
    world->warehouse = kept;
    return kept;
}

void world_keep(struct world *world, const char *id, const char *text)
{
    struct kept *kept = make_kept(world, id);
    kept->version = (struct version){1, 1, 1};
    kept->deleted = false;
    set_text(kept->text, text);
}

static struct operation *operate(struct member *member, struct object *object, struct slice id)
{
    struct operation *operation = allocate(sizeof(*operation)), **end;
    operation->member = member->number;
    operation->object = object;
    set_id(operation->id, id);
    for (end = &member->world->operations; *end; end = &(*end)->next)
        ;
    return *end = operation;
}

void on_load(void *context, struct object *object, struct slice id)
{
    (void)operate(context, object, id);
}

void on_dump(void *context, struct object *object, struct slice id, struct version version,
    const struct version *expected, const struct value *value)
{
    struct operation *operation = operate(context, object, id);
    operation->put = true;
    operation->version = version;
    operation->blind = expected == NULL;
    if (expected)
        operation->expected = *expected;
    operation->deleted = value == NULL;
    if (value)
        set_value(operation->text, value);
}

static void load(struct member *member, const struct operation *operation)
{
    const struct kept *kept = kept_of(member->world, operation->id);
    uint8_t term[TEXT + TERM_HEAD];
    struct value value = {NULL, term, 0};
    int status = !kept || kept->deleted ? STORE_ABSENT : 0;
    if (member->loads_fail)
        status = BRAIN_EWAREHOUSE;
    if (status == 0)
        value.size = term_of(term, kept->text);
    store_loaded(member->store, operation->object, status,
        kept && status >= 0 ? &kept->version : NULL, status == 0 ? &value : NULL,
        member->world->now_ms);
}

/* A condition as a real one: on the very state that was seen. */
static int put(struct world *world, const struct operation *operation, struct version *found)
{
    static const struct version none;
    struct kept *kept = kept_of(world, operation->id);
    *found = kept ? kept->version : none;
    if (version_compare(*found, operation->blind ? none : operation->expected) != 0)
        return BRAIN_ECONFLICT;
    ck_assert_msg(version_compare(*found, operation->version) < 0, "the warehouse went back");
    kept = make_kept(world, operation->id);
    kept->version = operation->version;
    kept->deleted = operation->deleted;
    set_text(kept->text, operation->text);
    return 0;
}

bool operate_one(struct world *world)
{
    struct operation **link = &world->operations, *operation;
    for (; (operation = *link) != NULL; link = &operation->next) {
        const struct member *member = &world->members[operation->member];
        if (!(operation->put ? member->dumps_stop : member->loads_stop))
            break;
    }
    if (!operation)
        return false;
    *link = operation->next;
    struct member *member = &world->members[operation->member];
    if (operation->put) {
        struct version found;
        int status = put(world, operation, &found);
        store_dumped(member->store, operation->object, status,
            status == BRAIN_ECONFLICT ? &found : NULL, world->now_ms);
    } else {
        load(member, operation);
    }
    free(operation);
    return true;
}

void on_set_aside(void *context, struct slice id, struct version version, const struct value *value)
{
    struct member *member = context;
    (void)id, (void)version, (void)value;
    member->late_set_aside++;
}
