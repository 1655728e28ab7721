#include "cluster_net.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

enum { RETRY_MS = 100, REQUEST_MS = 5000, STEP_MS = 50 };

void net_fail(struct net *net, const char *text)
{
    net->bad++;
    net->bad_text = text;
    if (net->broken == 0)
        ck_abort_msg("%s", text);
}

/* ---- messages
 * --------------------------------------------------------------------------------------- */

static bool matches(const struct net_message *message, const char *kind, int from, int to)
{
    bool kinds = strcmp(kind, "*") == 0 || strcmp(message->kind, kind) == 0;
    return kinds && (from < 0 || from == message->from) && (to < 0 || to == message->to);
}

static int node_of(const struct net *net, struct slice name)
{
    for (uint32_t i = 0; i < net->count; i++) {
        if (slice_equal_string(name, net->nodes[i].name))
            return (int)i;
    }
    ck_abort_msg("a message to nobody");
}

static void send(void *context, const struct cluster_member *to, uint64_t order, struct slice head,
    const struct value *tail)
{
    struct net_node *node = context;
    struct net *net = node->net;
    (void)order; /* the queue keeps the order of all, until a test says otherwise */
    struct net_message *message = calloc(1, sizeof(*message));
    struct block *block = block_create(head.size + (tail ? tail->size : 0));
    if (!message || !block) { /* lost, when memory is made to fail */
        free(message);
        block_drop(block);
        return;
    }
    memcpy(block->bytes, head.data, head.size);
    if (tail)
        memcpy(block->bytes + head.size, tail->data, tail->size);
    message->bytes = (struct value){block, block->bytes, head.size + (tail ? tail->size : 0)};
    message->from = node->number;
    message->to = node_of(net, to->name);
    struct etf_reader reader;
    struct slice kind;
    uint32_t arity;
    uint64_t view;
    etf_reader_init(&reader, value_slice(message->bytes), (struct etf_limits){100, UINT64_MAX});
    ck_assert_int_eq(etf_read_tuple(&reader, &arity), 0);
    ck_assert_int_eq(etf_read_uint64(&reader, &view), 0);
    ck_assert_int_eq(etf_read_atom(&reader, &kind), 0);
    snprintf(message->kind, sizeof(message->kind), "%.*s", (int)kind.size, (const char *)kind.data);
    for (uint32_t i = 0; i < net->holds_count; i++) {
        if (!matches(message, net->holds[i].kind, net->holds[i].from, net->holds[i].to))
            continue;
        if (net->holds[i].drop) {
            value_drop(&message->bytes);
            free(message);
            return;
        }
        message->held = true;
    }
    struct net_message **link = &net->messages;
    while (*link)
        link = &(*link)->next;
    *link = message;
}

static void deliver(struct net *net, struct net_message **link)
{
    struct net_message *message = *link;
    struct net_node *node = &net->nodes[message->to];
    *link = message->next;
    if (node->up)
        ck_assert_int_eq(
            cluster_receive(node->cluster, slice_of_string(net->nodes[message->from].name),
                &message->bytes, NULL, net->now_ms),
            0);
    value_drop(&message->bytes);
    free(message);
}

static struct net_message **find_message(struct net *net, const char *kind, int from, int to)
{
    struct net_message **link = &net->messages;
    while (*link && !matches(*link, kind, from, to))
        link = &(*link)->next;
    return *link ? link : NULL;
}

static void check_owners(struct net *net);

bool net_deliver(struct net *net, const char *kind, int from, int to)
{
    struct net_message **link = find_message(net, kind, from, to);
    if (link)
        deliver(net, link);
    check_owners(net);
    return link != NULL;
}

uint32_t net_count(const struct net *net, const char *kind, int from, int to)
{
    uint32_t count = 0;
    for (const struct net_message *message = net->messages; message; message = message->next)
        count += matches(message, kind, from, to);
    return count;
}

static void add_hold(struct net *net, const char *kind, int from, int to, bool drop)
{
    ck_assert(net->holds_count < 16);
    struct net_hold *hold = &net->holds[net->holds_count++];
    snprintf(hold->kind, sizeof(hold->kind), "%s", kind);
    hold->from = from;
    hold->to = to;
    hold->drop = drop;
}

void net_hold(struct net *net, const char *kind, int from, int to)
{
    add_hold(net, kind, from, to, false);
}

void net_drop(struct net *net, const char *kind, int from, int to)
{
    add_hold(net, kind, from, to, true);
}

void net_unhold(struct net *net, const char *kind)
{
    for (uint32_t i = 0; i < net->holds_count;) {
        if (strcmp(net->holds[i].kind, kind) == 0)
            net->holds[i] = net->holds[--net->holds_count];
        else
            i++;
    }
    for (struct net_message *message = net->messages; message; message = message->next) {
        if (strcmp(message->kind, kind) == 0)
            message->held = false;
    }
}

void net_settle(struct net *net, bool operations)
{
    for (uint32_t turns = 0; turns < 100000; turns++) {
        struct net_message **link = &net->messages;
        while (*link && (*link)->held)
            link = &(*link)->next;
        if (*link) {
            deliver(net, link);
            check_owners(net);
            continue;
        }
        if (operations && (net_operation(net, -1, false) || net_operation(net, -1, true)))
            continue;
        bool more = false;
        for (uint32_t i = 0; i < net->count; i++) {
            struct net_node *node = &net->nodes[i];
            if (node->up)
                more |= cluster_advance(node->cluster, net->now_ms, 1000) == 0;
        }
        link = &net->messages;
        while (*link && (*link)->held)
            link = &(*link)->next;
        if (!more && !*link)
            return;
    }
    ck_abort_msg("it never ends");
}

void net_pass(struct net *net, uint64_t ms, bool renew)
{
    for (uint64_t end = net->now_ms + ms; net->now_ms < end;) {
        net->now_ms += STEP_MS;
        for (uint32_t i = 0; renew && i < net->count; i++)
            net_lease(net, (int)i);
        net_settle(net, true);
    }
}

/* ---- what must hold, whatever happens
 * --------------------------------------------------------------- */

bool net_owns(const struct net *net, int number, const char *id)
{
    const struct net_node *node = &net->nodes[number];
    return node->up && cluster_serves(node->cluster, net->now_ms) &&
           cluster_owns(node->cluster, slice_of_string(id), NULL);
}

/* Promise 1. An owner that still fetches answers nothing, but is the only one already. */
static void check_owners(struct net *net)
{
    for (uint32_t i = 0; i < net->count; i++) {
        for (const struct net_object *object = net->nodes[i].up ? net->nodes[i].objects : NULL;
             object; object = object->next) {
            for (uint32_t j = 0; j < net->count; j++) {
                if (j != i && net_owns(net, (int)i, object->id) &&
                    net_owns(net, (int)j, object->id))
                    net_fail(net, "two owners");
            }
        }
    }
}

/* ---- other events
 * ------------------------------------------------------------------------------------ */

static void on_answer(
    void *context, struct cluster_request *request, int status, const struct value *value)
{
    struct net_node *node = context;
    struct net_request *asked = (struct net_request *)(void *)request;
    (void)node;
    asked->answers++;
    asked->status = status;
    if (status == STORE_FOUND) {
        const uint8_t *data = value->data;
        size_t size = value->size;
        if (request->kind != CLUSTER_OWNER && size >= 5)
            data += 5, size -= 5;
        snprintf(asked->answer, sizeof(asked->answer), "%.*s", (int)size, (const char *)data);
    }
}

static void on_evict(void *context, const struct cluster_member *member, uint64_t view)
{
    struct net_node *node = context;
    (void)view;
    node->evictions++;
    node->evicted = node_of(node->net, member->name);
}

static void on_behind(void *context, uint64_t view)
{
    struct net_node *node = context;
    node->behind = view;
}

static void on_copy_changed(void *context, struct slice id, const struct cluster_copy *copy)
{
    struct net_node *node = context;
    (void)id, (void)copy;
    node->copies_changed++;
}

static void on_set_aside(void *context, struct slice id, const struct cluster_copy *copy)
{
    struct net_node *node = context;
    (void)id, (void)copy;
    node->set_aside++;
}

static void on_state(void *context, enum cluster_state state)
{
    struct net_node *node = context;
    node->drained |= state == CLUSTER_DRAINED;
}

/* ---- nodes
 * -------------------------------------------------------------------------------------------- */

static void create(struct net *net, int number)
{
    struct net_node *node = &net->nodes[number];
    struct cluster_options options = {
        .name = slice_of_string(node->name),
        .seed = 7,
        .random_seed = (uint64_t)number << 40,
        .backups = net->backups,
        .request_timeout_ms = REQUEST_MS,
        .weak_timeout_ms = REQUEST_MS / 2,
        .retry_ms = RETRY_MS,
        .report_timeout_ms = 1000,
        .view_lag_ms = 2000,
        .copy_check_ms = 1000,
        .backup_window_bytes = net->backup_window,
        .tombstone_keep_ms = 60000,
        .handoff_uses = net->handoff_uses,
        .hints_limit = 1000,
        .stash_limit_bytes = net->stash_limit,
        .term_limits = {100, 1000000},
        .broken = net->broken,
    };
    struct cluster_events events = {
        node, send, on_answer, on_evict, on_behind, on_copy_changed, on_set_aside, on_state, NULL};
    struct cluster_objects objects = net_objects;
    objects.context = node;
    node->cluster = cluster_create(&options, events, objects);
    node->up = node->cluster != NULL;
}

void net_create_clusters(struct net *net)
{
    for (uint32_t i = 0; i < net->count; i++)
        create(net, (int)i);
}

void net_init(struct net *net, uint32_t count, uint32_t backups, uint64_t broken)
{
    *net = (struct net){.now_ms = 1000,
        .count = count,
        .backups = backups,
        .broken = broken,
        .lease_ms = 10000,
        .stash_limit = 100000};
    for (uint32_t i = 0; i < count; i++) {
        net->nodes[i].net = net;
        net->nodes[i].number = (int)i;
        net->nodes[i].incarnation = 100 * (i + 1);
        snprintf(net->nodes[i].name, sizeof(net->nodes[i].name), "%c@n", 'a' + (char)i);
    }
}

static void end_node(struct net *net, int number)
{
    struct net_node *node = &net->nodes[number];
    if (!node->up)
        return;
    node->up = false;
    while (node->objects) {
        struct net_object *next = node->objects->next;
        free(node->objects);
        node->objects = next;
    }
    cluster_destroy(node->cluster);
    node->cluster = NULL;
}

void net_end(struct net *net)
{
    for (uint32_t i = 0; i < net->count; i++)
        end_node(net, (int)i);
    while (net->messages) {
        struct net_message *next = net->messages->next;
        value_drop(&net->messages->bytes);
        free(net->messages);
        net->messages = next;
    }
    while (net->operations) {
        struct net_operation *next = net->operations->next;
        free(net->operations);
        net->operations = next;
    }
    while (net->warehouse) {
        struct net_stored *next = net->warehouse->next;
        free(net->warehouse);
        net->warehouse = next;
    }
    for (uint32_t i = 0; i < net->requests_count; i++)
        free(net->requests[i]);
    struct cluster_copy none;
    net_objects.peek(&net->nodes[0], slice_of_string("nothing"), &none); /* drops what it lent */
}

void net_crash(struct net *net, int node)
{
    end_node(net, node);
}

static struct cluster_view view_of(
    struct net *net, uint64_t number, unsigned members, struct cluster_member list[NET_NODES])
{
    struct cluster_view view = {number, 0, list};
    for (uint32_t i = 0; i < net->count; i++) {
        if (members & 1U << i)
            list[view.count++] = (struct cluster_member){
                slice_of_string(net->nodes[i].name), net->nodes[i].incarnation};
    }
    return view;
}

void net_join(struct net *net, int number, uint64_t view_number, unsigned members)
{
    struct cluster_member list[NET_NODES];
    struct net_node *node = &net->nodes[number];
    if (!node->up)
        create(net, number);
    while (cluster_state(node->cluster) == CLUSTER_ABANDONING)
        cluster_advance(node->cluster, net->now_ms, 1000);
    node->incarnation++;
    struct cluster_view view = view_of(net, view_number, members, list);
    (void)cluster_join(
        node->cluster, node->incarnation, &view, net->now_ms + net->lease_ms, net->now_ms);
}

void net_view(struct net *net, int number, uint64_t view_number, unsigned members)
{
    struct cluster_member list[NET_NODES];
    struct cluster_view view = view_of(net, view_number, members, list);
    if (net->nodes[number].up)
        (void)cluster_view(net->nodes[number].cluster, &view, net->now_ms);
    check_owners(net);
}

void net_start(struct net *net, uint64_t number)
{
    unsigned members = (1U << net->count) - 1;
    net_create_clusters(net);
    for (uint32_t i = 0; i < net->count; i++)
        net->nodes[i].incarnation++;
    for (uint32_t i = 0; i < net->count; i++) {
        net->nodes[i].incarnation--; /* net_join counts it */
        net_join(net, (int)i, number, members);
    }
    net_settle(net, true);
}

void net_lease(struct net *net, int number)
{
    struct net_node *node = &net->nodes[number];
    if (node->up)
        cluster_lease(node->cluster, net->now_ms + net->lease_ms, 0, net->now_ms);
}

/* ---- requests
 * ------------------------------------------------------------------------------------------ */

struct net_request *net_ask(
    struct net *net, int node, enum cluster_kind kind, const char *id, const char *text)
{
    struct net_request *asked = calloc(1, sizeof(*asked));
    ck_assert(asked && net->requests_count < 256);
    net->requests[net->requests_count++] = asked;
    snprintf(asked->id, sizeof(asked->id), "%s", id);
    asked->request.kind = kind;
    asked->request.id = slice_of_string(asked->id);
    if (text) {
        size_t size = strlen(text);
        asked->term[0] = ETF_BINARY;
        store_be32(asked->term + 1, (uint32_t)size);
        memcpy(asked->term + 5, text, size);
        asked->request.value = (struct value){NULL, asked->term, size + 5};
    }
    cluster_request(net->nodes[node].cluster, &asked->request, net->now_ms);
    check_owners(net);
    return asked;
}

bool net_answered(const struct net_request *request, int status, const char *text)
{
    return request->answers == 1 && request->status == status &&
           (!text || strcmp(request->answer, text) == 0);
}

const char *net_read(struct net *net, int node, const char *id)
{
    struct net_request *read = net_ask(net, node, CLUSTER_READ, id, NULL);
    net_settle(net, true);
    for (int i = 0; i < 20 && read->answers == 0; i++)
        net_pass(net, RETRY_MS, true);
    if (net_answered(read, STORE_ABSENT, NULL))
        return "";
    return net_answered(read, STORE_FOUND, NULL) ? read->answer : "?";
}

/* ---- ids
 * --------------------------------------------------------------------------------------------- */

static struct view *view_for(unsigned members, int self)
{
    static char names[NET_NODES][8];
    struct cluster_member list[NET_NODES];
    struct cluster_view view = {1, 0, list};
    for (int i = 0; i < NET_NODES; i++) {
        snprintf(names[i], sizeof(names[i]), "%c@n", 'a' + (char)i);
        if (members & 1U << i)
            list[view.count++] =
                (struct cluster_member){slice_of_string(names[i]), (uint64_t)i + 1};
    }
    struct view *made = view_create(&view, slice_of_string(names[self]), (uint64_t)self + 1, 1);
    ck_assert_ptr_nonnull(made);
    return made;
}

static int number_of(const struct view *view, uint16_t member)
{
    return (int)view->members[member].incarnation - 1;
}

const char *net_id(unsigned members, int home, unsigned members2, int home2, int owner, int holder)
{
    static char ids[16][NET_TEXT];
    static unsigned turn;
    char *id = ids[turn++ % 16];
    int self = owner >= 0 ? owner : __builtin_ctz(members);
    struct view *first = view_for(members, self);
    struct view *second = members2 ? view_for(members2, __builtin_ctz(members2)) : NULL;
    for (unsigned i = 0;; i++) {
        snprintf(id, NET_TEXT, "x%u", i);
        uint32_t slot = key_slot(key_of(7, slice_of_string(id)));
        if (home >= 0 && number_of(first, view_home(first, slot)) != home)
            continue;
        if (second && home2 >= 0 && number_of(second, view_home(second, slot)) != home2)
            continue;
        if (holder >= 0 && number_of(first, view_holder(first, slot, 0)) != holder)
            continue;
        break;
    }
    view_release(first);
    if (second)
        view_release(second);
    return id;
}
