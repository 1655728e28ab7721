/* See cost.h. */
#include "cost.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct cost cost;

_Noreturn void cost_fail(const char *what)
{
    fprintf(stderr, "sim: cost: %s\n", what);
    exit(1);
}

void *cost_need(void *memory)
{
    if (!memory)
        cost_fail("no memory");
    return memory;
}

struct slice cost_id(uint32_t object, uint8_t *bytes)
{
    int size = snprintf((char *)bytes, ID_SIZE, "object:%08u", object);
    return slice_of(bytes, (size_t)size);
}

static struct object *object_of(struct slice id)
{
    uint32_t number = 0;
    for (size_t i = strlen("object:"); i < id.size; i++)
        number = number * 10 + (uint32_t)(id.data[i] - '0');
    assert(number < cost.objects_count);
    return &cost.objects[number];
}

/* ---- events ---- */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->number < b->number;
}

static void event_add(uint64_t at_ns, struct member *member, struct item *item)
{
    if (cost.queue_size == cost.queue_capacity) {
        cost.queue_capacity = cost.queue_capacity ? cost.queue_capacity * 2 : 1024;
        cost.queue = cost_need(realloc(cost.queue, cost.queue_capacity * sizeof(struct event)));
    }
    struct event event = {at_ns, cost.events_count++, member, item};
    size_t at = cost.queue_size++;
    for (; at > 0 && is_before(&event, &cost.queue[(at - 1) / 2]); at = (at - 1) / 2)
        cost.queue[at] = cost.queue[(at - 1) / 2];
    cost.queue[at] = event;
}

static struct event event_take(void)
{
    struct event first = cost.queue[0], last = cost.queue[--cost.queue_size];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < cost.queue_size && is_before(&cost.queue[child + 1], &cost.queue[child]))
            child++;
        if (child >= cost.queue_size || !is_before(&cost.queue[child], &last))
            break;
        cost.queue[at] = cost.queue[child];
        at = child;
    }
    cost.queue[at] = last;
    return first;
}

static void turn_plan(struct member *member, uint64_t at_ns)
{
    if (at_ns < member->busy_until_ns)
        at_ns = member->busy_until_ns;
    if (at_ns >= member->turn_ns)
        return;
    member->turn_ns = at_ns;
    event_add(at_ns, member, NULL);
}

static void inbox_put(struct member *member, struct item *item, uint64_t ready_ns)
{
    item->ready_ns = ready_ns;
    item->next = NULL;
    *member->inbox_end = item;
    member->inbox_end = &item->next;
    turn_plan(member, ready_ns);
}

static struct item *item_new(enum item_kind kind)
{
    struct item *item = cost_need(calloc(1, sizeof(*item)));
    item->kind = kind;
    return item;
}

static void item_free(struct item *item)
{
    value_drop(&item->message);
    free(item);
}

void cost_tell(struct member *member, enum item_kind kind)
{
    inbox_put(member, item_new(kind), cost.now_ns);
}

void cost_ask(struct member *member, struct cluster_request *request)
{
    struct item *item = item_new(ITEM_REQUEST);
    item->request = request;
    cost.waiting++;
    inbox_put(member, item, cost.now_ns);
}

void cost_clear(void)
{
    while (cost.queue_size > 0) {
        struct event event = event_take();
        if (event.item)
            item_free(event.item);
    }
    free(cost.queue);
    cost.queue = NULL;
    cost.queue_capacity = 0;
}

/* ---- the core's surroundings ---- */

static uint64_t wire_ns(size_t bytes)
{
    return bytes * 8 / LINK_BITS_PER_NS;
}

static void on_send(void *context, const struct cluster_member *to, uint64_t order,
    struct slice head, const struct value *tail)
{
    struct member *from = context;
    (void)order; /* links are in order anyway */
    struct item *item = item_new(ITEM_MESSAGE);
    item->from = from->index;
    item->to = (uint16_t)(to->incarnation % NODES_LIMIT);
    size_t size = head.size + (tail ? tail->size : 0);
    struct block *block = cost_need(block_create(size));
    memcpy(block->bytes, head.data, head.size);
    if (tail && tail->size > 0)
        memcpy(block->bytes + head.size, tail->data, tail->size);
    item->message = (struct value){block, block->bytes, size};
    *from->outbox_end = item;
    from->outbox_end = &item->next;
}

static void on_answer(
    void *context, struct cluster_request *request, int status, const struct value *value)
{
    (void)context, (void)value;
    if (status == BRAIN_ESHUTDOWN)
        return; /* all ends */
    if (status != STORE_FOUND && status != STORE_ABSENT && status != STORE_DONE)
        cost_fail("a request failed");
    struct probe *probe = (struct probe *)(void *)request;
    probe->next = cost.answered;
    cost.answered = probe;
}

uint64_t cost_now_ms(void)
{
    return cost.now_ns / MS;
}

static struct version version_of(const struct object *object)
{
    return (struct version){object->epoch.view, object->epoch.counter, object->seq};
}

static void write_object(struct member *member, struct slice id, struct object *object)
{
    if (cluster_object_reserve(member->core, id) != 0)
        cost_fail("no memory");
    object->dirty = true;
    object->seq++;
    (void)cluster_object_written(member->core, id, version_of(object), &cost.value, cost_now_ms());
}

static int on_adopt(void *context, struct slice id, struct cluster_epoch epoch,
    const struct cluster_copy *copy, bool complete)
{
    struct member *member = context;
    struct object *object = object_of(id);
    (void)complete;
    if (object->owner != NOBODY)
        cost_fail("an id has two owners");
    cost.orphans -= object->orphan;
    if (object->orphan && !copy)
        cost_fail("a dirty object is lost");
    *object = (struct object){.epoch = epoch, .owner = member->index};
    if (member->ids_count == member->ids_capacity) {
        member->ids_capacity = member->ids_capacity ? member->ids_capacity * 2 : 1024;
        member->ids = cost_need(realloc(member->ids, member->ids_capacity * sizeof(uint32_t)));
    }
    member->ids[member->ids_count++] = (uint32_t)(object - cost.objects);
    if (copy)
        write_object(member, id, object);
    return 0;
}

static void on_raise(void *context, struct slice id, struct cluster_epoch epoch)
{
    struct object *object = object_of(id);
    object->epoch = epoch;
    object->seq = 0;
    if (object->dirty)
        write_object(context, id, object);
}

static void on_execute(void *context, struct cluster_request *request)
{
    struct member *member = context;
    struct object *object = object_of(request->id);
    int status = STORE_DONE;
    if (request->kind == CLUSTER_WRITE)
        write_object(member, request->id, object);
    else
        status = object->dirty ? STORE_FOUND : STORE_ABSENT;
    cluster_executed(
        member->core, request, status, status == STORE_FOUND ? &cost.value : NULL, cost_now_ms());
}

static void on_read_stored(void *context, struct cluster_request *request)
{
    struct member *member = context;
    cluster_executed(member->core, request, STORE_ABSENT, NULL, cost_now_ms());
}

static bool on_peek(void *context, struct slice id, struct cluster_copy *copy)
{
    const struct member *member = context;
    const struct object *object = object_of(id);
    if (object->owner != member->index || !object->dirty)
        return false;
    *copy = (struct cluster_copy){version_of(object), false, cost.value};
    return true;
}

static bool on_in_warehouse(void *context, struct slice id, struct version *version)
{
    (void)context;
    *version = (struct version){0, 0, 0};
    return !object_of(id)->dirty;
}

static void on_backed_up(void *context, struct slice id, struct version version)
{
    (void)context, (void)id, (void)version;
}

static enum cluster_parted on_give_up(
    void *context, struct slice id, enum cluster_parting parting, struct cluster_copy *copy)
{
    (void)parting;
    struct object *object = object_of(id);
    bool dirty = on_peek(context, id, copy);
    if (dirty)
        value_hold(copy->value);
    object->owner = NOBODY;
    object->orphan = dirty;
    cost.orphans += dirty;
    return dirty ? CLUSTER_GONE_DIRTY : CLUSTER_GONE_CLEAN;
}

static bool on_abandon(void *context, uint32_t budget)
{
    (void)context, (void)budget;
    return true; /* nobody loses a lease here */
}

static bool on_next(void *context, uint64_t *cursor, uint8_t *id, size_t *id_size)
{
    const struct member *member = context;
    while (*cursor < member->ids_count) {
        uint32_t object = member->ids[(*cursor)++];
        if (cost.objects[object].owner != member->index)
            continue;
        *id_size = cost_id(object, id).size;
        return true;
    }
    *cursor = 0;
    return false;
}

/* ---- members ---- */

void cost_member_start(struct member *member)
{
    member->up = true;
    member->incarnation = ++cost.incarnations * NODES_LIMIT + member->index;
    member->ids_count = 0;
    member->due_ns = member->busy_until_ns = cost.now_ns;
    struct cluster_options options = {.name = slice_of_string(member->name),
        .seed = 1,
        .random_seed = member->incarnation << 20,
        .backups = BACKUPS,
        .request_timeout_ms = REQUEST_TIMEOUT_MS,
        .weak_timeout_ms = 1 + REQUEST_TIMEOUT_MS / 4,
        .retry_ms = RETRY_MS,
        .report_timeout_ms = LEASE_MS,
        .view_lag_ms = LEASE_MS,
        .copy_check_ms = COPY_CHECK_MS,
        .tombstone_keep_ms = UINT64_C(604800000),
        .handoff_uses = HANDOFF_USES,
        .hints_limit = HINTS_LIMIT,
        .stash_limit_bytes = 16 << 20,
        .term_limits = {32, 100000}};
    struct cluster_events events = {.context = member, .send = on_send, .answer = on_answer};
    struct cluster_objects objects = {member, on_adopt, on_raise, on_execute, on_read_stored,
        on_peek, on_in_warehouse, on_backed_up, on_give_up, on_abandon, on_next, NULL};
    member->core = cost_need(cluster_create(&options, events, objects));
}

void cost_member_end(struct member *member)
{
    member->up = false;
    while (member->inbox) {
        struct item *item = member->inbox;
        member->inbox = item->next;
        item_free(item);
    }
    member->inbox_end = &member->inbox;
    member->turn_ns = UINT64_MAX;
    cluster_destroy(member->core);
    member->core = NULL;
}

static void install(struct member *member, bool joins)
{
    struct cluster_member *list = cost_need(calloc(cost.members_count, sizeof(*list)));
    struct cluster_view view = {cost.view, 0, list};
    for (uint16_t i = 0; i < cost.members_count; i++) {
        const struct member *other = &cost.members[i];
        if (other->up)
            list[view.count++] =
                (struct cluster_member){slice_of_string(other->name), other->incarnation};
    }
    if (joins
            ? cluster_join(member->core, member->incarnation, &view, UINT64_MAX / 2, cost_now_ms())
            : cluster_view(member->core, &view, cost_now_ms()))
        cost_fail("no memory");
    free(list);
}

static void carry_out(struct member *member, struct item *item)
{
    const struct member *from = &cost.members[item->from];
    switch (item->kind) {
    case ITEM_MESSAGE:
        if (cluster_receive(member->core, slice_of_string(from->name), &item->message, NULL,
                cost_now_ms()) != 0)
            cost_fail("a message was refused");
        break;
    case ITEM_VIEW:
    case ITEM_JOIN:
        install(member, item->kind == ITEM_JOIN);
        break;
    case ITEM_REQUEST:
        cluster_request(member->core, item->request, cost_now_ms());
        break;
    case ITEM_DRAIN:
        cluster_drain(member->core, cost_now_ms());
        break;
    }
}

/* ---- time ---- */

uint64_t cost_cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000 * MS + (uint64_t)time.tv_nsec;
}

/* What two readings of the clock say of nothing. */
void cost_clock_measure(void)
{
    enum { TIMES = 20000 };
    uint64_t sum = 0;
    for (int i = 0; i < TIMES; i++) {
        uint64_t from = cost_cpu_ns();
        sum += cost_cpu_ns() - from;
    }
    cost.clock_ns = sum / TIMES;
}

void cost_charge(struct member *member, uint64_t from_ns)
{
    uint64_t spent = cost_cpu_ns() - from_ns;
    spent -= spent < cost.clock_ns ? spent : cost.clock_ns;
    member->cpu_ns += spent;
    cost.now_ns += spent;
    for (; cost.answered; cost.answered = cost.answered->next) {
        cost.answered->end_ns = cost.now_ns;
        cost.waiting--;
    }
    struct item *item = member->outbox;
    member->outbox = NULL;
    member->outbox_end = &member->outbox;
    while (item) {
        struct item *next = item->next;
        member->messages++;
        member->bytes += item->message.size;
        if (member->out_free_ns < cost.now_ns)
            member->out_free_ns = cost.now_ns;
        member->out_free_ns += wire_ns(item->message.size);
        event_add(member->out_free_ns + LINK_NS, &cost.members[item->to], item);
        item = next;
    }
}

static void turn(struct member *member)
{
    uint64_t began_ns = cost.now_ns, wait_ms;
    uint64_t limit_ns = began_ns + (uint64_t)TURN_NS * (cost.members_count - 1U);
    bool done = false;
    struct item *item;
    member->turn_ns = UINT64_MAX;
    while ((item = member->inbox) != NULL && item->ready_ns <= began_ns && cost.now_ns < limit_ns) {
        member->inbox = item->next;
        if (!member->inbox)
            member->inbox_end = &member->inbox;
        uint64_t from_ns = cost_cpu_ns();
        carry_out(member, item);
        cost_charge(member, from_ns);
        item_free(item);
        done = true;
    }
    if (done || began_ns >= member->due_ns) {
        uint64_t from_ns = cost_cpu_ns();
        wait_ms = cluster_advance(member->core, cost_now_ms(), ADVANCE_BUDGET);
        cost_charge(member, from_ns);
        if (wait_ms > ADVANCE_INTERVAL_MS)
            wait_ms = ADVANCE_INTERVAL_MS;
        member->due_ns = cost.now_ns + wait_ms * MS;
    }
    member->busy_until_ns = cost.now_ns;
    turn_plan(member, member->due_ns);
    if (member->inbox)
        turn_plan(member, member->inbox->ready_ns);
}

static void arrive(struct member *member, struct item *item)
{
    const struct member *from = &cost.members[item->from];
    if (!member->up || !from->up) {
        item_free(item);
        return;
    }
    uint64_t free_ns = member->in_free_ns + wire_ns(item->message.size);
    member->in_free_ns = free_ns > cost.now_ns ? free_ns : cost.now_ns;
    member->messages++;
    member->bytes += item->message.size;
    inbox_put(member, item, member->in_free_ns);
}

/* A member's calls take time, so events of others come at times that are past: only their order at
 * one member matters, and that is kept. */
void cost_run_until(uint64_t until_ns)
{
    while (cost.queue_size > 0 && cost.queue[0].at_ns <= until_ns) {
        struct event event = event_take();
        cost.now_ns = event.at_ns;
        if (event.item)
            arrive(event.member, event.item);
        else if (event.member->up && event.member->turn_ns == event.at_ns)
            turn(event.member);
    }
    cost.now_ns = until_ns;
}
