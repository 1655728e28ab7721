/* The store of a node of cluster_net: objects, loads, dumps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster_net.h"

static bool is_none(struct version v)
{
    return v.view == 0 && v.counter == 0 && v.seq == 0;
}

static void copy_id(char out[NET_TEXT], struct slice id)
{
    size_t size = id.size < NET_TEXT - 1 ? id.size : NET_TEXT - 1;
    memcpy(out, id.data, size);
    out[size] = 0;
}

struct net_object *net_object(struct net *net, int node, const char *id)
{
    struct net_object *object = net->nodes[node].objects;
    while (object && strcmp(object->id, id) != 0)
        object = object->next;
    return object;
}

static struct net_object *find(struct net_node *node, struct slice id)
{
    char text[NET_TEXT];
    copy_id(text, id);
    return net_object(node->net, node->number, text);
}

static void forget(struct net_node *node, struct net_object *object)
{
    struct net_object **link = &node->objects;
    while (*link != object)
        link = &(*link)->next;
    *link = object->next;
    free(object);
}

static struct net_value value_of(const struct cluster_copy *copy)
{
    struct net_value value = {.version = copy->version, .deleted = copy->deleted};
    if (!copy->deleted && copy->value.size > 5) { /* a binary term */
        size_t size = copy->value.size - 5 < NET_TEXT - 1 ? copy->value.size - 5 : NET_TEXT - 1;
        memcpy(value.text, copy->value.data + 5, size);
    }
    return value;
}

/* A binary term of the text, as a value of its own. */
static struct value term_of(const char *text)
{
    uint8_t bytes[5 + NET_TEXT];
    size_t size = strlen(text);
    bytes[0] = ETF_BINARY;
    store_be32(bytes + 1, (uint32_t)size);
    memcpy(bytes + 5, text, size);
    /* The store's own memory does not fail: what is tested is the cluster's. */
    struct value value = value_copy(slice_of(bytes, size + 5));
    if (!value.block)
        value = value_copy(slice_of(bytes, size + 5));
    return value;
}

static struct slice id_of(const struct net_object *object)
{
    return slice_of_string(object->id);
}

static void answer(struct net_node *node, struct cluster_request *request, int status,
    const struct net_value *value)
{
    struct value term = value_none();
    if (status == STORE_FOUND)
        term = term_of(value->text);
    cluster_executed(node->cluster, request, status, &term, node->net->now_ms);
    value_drop(&term);
}

static void answer_read(
    struct net_node *node, struct cluster_request *request, const struct net_value *value)
{
    bool absent = value->deleted || is_none(value->version);
    answer(node, request, absent ? STORE_ABSENT : STORE_FOUND, value);
}

static void wait_in(struct net_object *object, struct cluster_request *request, bool executed,
    struct version version)
{
    uint32_t i = object->waiting_count++;
    if (i >= 64)
        abort();
    object->waiting[i] = request;
    object->executed[i] = executed;
    object->waits_for[i] = version;
    object->captured[i] = object->now;
}

/* ---- writing
 * ------------------------------------------------------------------------------------- */

static struct version next_version(struct net_object *object)
{
    return (struct version){object->epoch.view, object->epoch.counter, ++object->seq};
}

/* The object has a new version. Returns whether holders are waited for. */
static bool written(
    struct net_node *node, struct net_object *object, bool deleted, const char *text)
{
    struct net_value now = {.deleted = deleted};
    if (!deleted)
        snprintf(now.text, sizeof(now.text), "%s", text);
    now.version = next_version(object);
    object->now = now;
    object->dirty = object->written = true;
    struct value term = deleted ? value_none() : term_of(text);
    int holders = cluster_object_written(node->cluster, id_of(object), object->now.version,
        deleted ? NULL : &term, node->net->now_ms);
    value_drop(&term);
    if (holders == 0)
        object->backed_up = now.version;
    return holders != 0;
}

static void run(struct net_node *node, struct net_object *object, struct cluster_request *request);

/* Those that may be answered now; others of the object go on waiting. */
static void release(struct net_node *node, const char *id)
{
    for (bool again = true; again;) {
        again = false;
        struct net_object *object = net_object(node->net, node->number, id);
        for (uint32_t i = 0; object && i < object->waiting_count; i++) {
            struct cluster_request *request = object->waiting[i];
            struct net_value captured = object->captured[i];
            bool executed = object->executed[i];
            if (executed ? version_compare(object->waits_for[i], object->backed_up) > 0
                         : !object->loaded)
                continue;
            for (uint32_t j = i + 1; j < object->waiting_count; j++) {
                object->waiting[j - 1] = object->waiting[j];
                object->waits_for[j - 1] = object->waits_for[j];
                object->captured[j - 1] = object->captured[j];
                object->executed[j - 1] = object->executed[j];
            }
            object->waiting_count--;
            if (!executed)
                run(node, object, request);
            else if (request->kind == CLUSTER_READ || request->kind == CLUSTER_WEAK_READ)
                answer_read(node, request, &captured);
            else
                answer(node, request, STORE_DONE, NULL);
            again = true;
            break;
        }
    }
}

/* ---- the warehouse
 * --------------------------------------------------------------------------------- */

struct net_stored *net_stored(struct net *net, const char *id)
{
    struct net_stored *stored = net->warehouse;
    while (stored && strcmp(stored->id, id) != 0)
        stored = stored->next;
    return stored;
}

static struct net_stored *stored_make(struct net *net, const char *id)
{
    struct net_stored *stored = net_stored(net, id);
    if (!stored) {
        stored = calloc(1, sizeof(*stored));
        if (!stored)
            abort();
        snprintf(stored->id, sizeof(stored->id), "%s", id);
        stored->next = net->warehouse;
        net->warehouse = stored;
    }
    return stored;
}

void net_store(struct net *net, const char *id, struct version version, const char *text)
{
    struct net_stored *stored = stored_make(net, id);
    stored->value = (struct net_value){.version = version};
    snprintf(stored->value.text, sizeof(stored->value.text), "%s", text);
}

static void operate(struct net_node *node, const char *id, struct cluster_epoch epoch, bool put,
    const struct net_value *value, struct version expected)
{
    struct net_operation *operation = calloc(1, sizeof(*operation));
    if (!operation)
        abort();
    operation->node = node->number;
    operation->incarnation = node->incarnation;
    operation->put = put;
    operation->epoch = epoch;
    operation->expected = expected;
    if (value)
        operation->value = *value;
    snprintf(operation->id, sizeof(operation->id), "%s", id);
    struct net_operation **link = &node->net->operations;
    while (*link)
        link = &(*link)->next;
    *link = operation;
}

void net_dump(struct net *net, int number, const char *id)
{
    struct net_node *node = &net->nodes[number];
    struct net_object *object = net_object(net, number, id);
    if (!object || !object->dirty || !object->loaded || object->puts > 0 || object->outdated ||
        (!cluster_serves(node->cluster, net->now_ms) &&
            cluster_keeps(node->cluster, CLUSTER_R11_PUT)))
        return;
    object->puts++;
    operate(node, id, object->epoch, true, &object->now, object->stored.version);
}

static void loaded(struct net_node *node, struct net_object *object)
{
    struct net *net = node->net;
    char id[NET_TEXT];
    snprintf(id, sizeof(id), "%s", object->id);
    struct version stored = object->stored.version;
    struct cluster_epoch epoch = {stored.view, stored.counter};
    if (!is_none(stored) && cluster_epoch_compare(epoch, object->epoch) >= 0 &&
        cluster_keeps(node->cluster, CLUSTER_R4_HIGHER)) {
        object->outdated = true; /* goes on in raise */
        cluster_object_outdated(node->cluster, id_of(object), stored, net->now_ms);
        return;
    }
    object->loaded = true;
    cluster_object_stored(node->cluster, id_of(object), stored, net->now_ms);
    bool compares = cluster_keeps(node->cluster, CLUSTER_R7_COMPARE);
    if (object->written)
        ; /* the write replaced whatever it was */
    else if (object->has_copy && (!compares || version_compare(object->copy.version, stored) > 0))
        (void)written(node, object, object->copy.deleted, object->copy.text);
    else
        object->now = object->stored;
    release(node, id);
}

static void put_done(struct net_node *node, struct net_object *object,
    const struct net_operation *operation, bool done, struct version stored)
{
    struct net *net = node->net;
    object->puts--;
    object->stored.version = stored;
    if (!done && version_compare(stored, object->now.version) != 0) {
        struct cluster_epoch epoch = {stored.view, stored.counter};
        if (cluster_epoch_compare(epoch, object->epoch) >= 0)
            cluster_object_outdated(node->cluster, id_of(object), stored, net->now_ms);
        else
            net_dump(net, node->number, object->id);
        return;
    }
    char id[NET_TEXT];
    snprintf(id, sizeof(id), "%s", object->id);
    if (version_compare(object->now.version, operation->value.version) == 0)
        object->dirty = false;
    if (version_compare(object->backed_up, operation->value.version) < 0)
        object->backed_up = operation->value.version;
    cluster_object_stored(node->cluster, id_of(object), operation->value.version, net->now_ms);
    release(node, id);
}

void net_put_copy(struct net *net, int number, const char *id)
{
    struct net_node *node = &net->nodes[number];
    struct cluster_copy copy;
    if (!cluster_copy_held(node->cluster, slice_of_string(id), &copy))
        return;
    struct net_operation *put = calloc(1, sizeof(*put)), **end = &net->operations;
    *put = (struct net_operation){
        .node = number, .incarnation = node->incarnation, .put = true, .value = value_of(&copy)};
    snprintf(put->id, sizeof(put->id), "%s", id);
    while (*end)
        end = &(*end)->next;
    *end = put;
}

bool net_operation(struct net *net, int number, bool put)
{
    struct net_operation **link = &net->operations;
    while (*link && ((number >= 0 && (*link)->node != number) || (*link)->put != put))
        link = &(*link)->next;
    struct net_operation *operation = *link;
    if (!operation || net->away)
        return false;
    *link = operation->next;
    struct net_node *node = &net->nodes[operation->node];
    struct net_stored *stored = stored_make(net, operation->id);
    bool done = false;
    if (put &&
        (net->unconditional || version_compare(stored->value.version, operation->expected) == 0)) {
        if (version_compare(operation->value.version, stored->value.version) < 0)
            net_fail(net, "the warehouse went back");
        stored->value = operation->value;
        if (stored->value.deleted && net->broken & CLUSTER_BREAK(CLUSTER_R10_TOMBSTONE))
            stored->value = (struct net_value){.version = {0, 0, 0}};
        done = true;
    }
    struct net_object *object = node->up && node->incarnation == operation->incarnation
                                    ? net_object(net, operation->node, operation->id)
                                    : NULL;
    /* An answer for an object that was given up meanwhile, and perhaps adopted again, is nobody's.
     */
    if (object && cluster_epoch_compare(object->epoch, operation->epoch) != 0 && !object->outdated)
        object = NULL;
    if (object && put) {
        put_done(node, object, operation, done, stored->value.version);
    } else if (object) {
        object->loads--;
        object->stored = stored->value;
        object->stored_known = true;
        loaded(node, object);
    }
    free(operation);
    return true;
}

/* ---- what the cluster asks
 * -------------------------------------------------------------------------- */

static int adopt(void *context, struct slice id, struct cluster_epoch epoch,
    const struct cluster_copy *copy, bool complete)
{
    struct net_node *node = context;
    if (find(node, id))
        net_fail(node->net, "adopted twice");
    struct net_object *object = calloc(1, sizeof(*object));
    if (!object)
        return BRAIN_ENOMEM;
    copy_id(object->id, id);
    object->epoch = epoch;
    object->has_copy = copy != NULL;
    if (copy)
        object->copy = value_of(copy);
    object->next = node->objects;
    node->objects = object;
    if (copy && complete) {
        object->loaded = true;
        object->has_copy = false;
        (void)written(node, object, object->copy.deleted, object->copy.text);
        return 0;
    }
    object->loads++;
    operate(node, object->id, epoch, false, NULL, (struct version){0, 0, 0});
    return 0;
}

static void raise_epoch(void *context, struct slice id, struct cluster_epoch epoch)
{
    struct net_node *node = context;
    struct net_object *object = find(node, id);
    if (!object)
        return;
    if (cluster_epoch_compare(epoch, object->epoch) <= 0)
        net_fail(node->net, "an epoch went back");
    object->epoch = epoch;
    object->seq = 0;
    if (object->dirty)
        (void)written(node, object, object->now.deleted, object->now.text);
    if (object->outdated) {
        object->outdated = false;
        loaded(node, object);
    }
}

static void run(struct net_node *node, struct net_object *object, struct cluster_request *request)
{
    char text[NET_TEXT];
    bool wait_for_version = cluster_keeps(node->cluster, CLUSTER_R11_VERSION);
    switch (request->kind) {
    case CLUSTER_READ:
    case CLUSTER_WEAK_READ:
        if (!object->loaded)
            wait_in(object, request, false, object->now.version);
        else if (object->dirty && wait_for_version &&
                 version_compare(object->now.version, object->backed_up) > 0)
            wait_in(object, request, true, object->now.version);
        else
            answer_read(node, request, &object->now);
        return;
    case CLUSTER_WRITE:
        snprintf(text, sizeof(text), "%.*s", (int)(request->value.size - 5),
            (const char *)request->value.data + 5);
        /* fall through */
    case CLUSTER_DELETE:
        if (!object->loaded)
            wait_in(object, request, false, object->now.version); /* in order with the reads */
        else if (written(node, object, request->kind == CLUSTER_DELETE, text))
            wait_in(object, request, true, object->now.version);
        else
            answer(node, request, STORE_DONE, NULL);
        return;
    case CLUSTER_PERSIST:
        net_dump(node->net, node->number, object->id);
        answer(node, request, STORE_DONE, NULL);
        return;
    case CLUSTER_OWNER:
        break;
    }
    abort();
}

static void execute(void *context, struct cluster_request *request)
{
    struct net_node *node = context;
    struct net_object *object = find(node, request->id);
    if (!object) {
        net_fail(node->net, "executed what is not here");
        cluster_executed(node->cluster, request, BRAIN_EUNAVAILABLE, NULL, node->net->now_ms);
        return;
    }
    char id[NET_TEXT];
    copy_id(id, request->id);
    run(node, object, request);
    if (node->net->leave_at_once)
        (void)net_idle(node->net, node->number, id);
}

static void read_stored(void *context, struct cluster_request *request)
{
    struct net_node *node = context;
    char id[NET_TEXT];
    copy_id(id, request->id);
    struct net_value none = {0};
    const struct net_stored *stored = net_stored(node->net, id);
    answer_read(node, request, stored ? &stored->value : &none);
}

/* What peek lends lives until the next one. */
static bool peek(void *context, struct slice id, struct cluster_copy *copy)
{
    static struct value lent;
    struct net_node *node = context;
    const struct net_object *object = find(node, id);
    value_drop(&lent);
    if (!object || !object->dirty)
        return false;
    if (!object->now.deleted)
        lent = term_of(object->now.text);
    *copy = (struct cluster_copy){object->now.version, object->now.deleted, lent};
    return true;
}

static bool in_warehouse(void *context, struct slice id, struct version *version)
{
    struct net_node *node = context;
    const struct net_object *object = find(node, id);
    if (!object || !object->stored_known || object->outdated)
        return false;
    *version = object->stored.version;
    return true;
}

static void backed_up(void *context, struct slice id, struct version version)
{
    struct net_node *node = context;
    struct net_object *object = find(node, id);
    if (!object)
        return;
    if (version_compare(object->backed_up, version) < 0)
        object->backed_up = version;
    char text[NET_TEXT];
    copy_id(text, id);
    release(node, text);
}

static enum cluster_parted give_up(
    void *context, struct slice id, enum cluster_parting parting, struct cluster_copy *copy)
{
    struct net_node *node = context;
    struct net_object *object = find(node, id);
    if (!object)
        return CLUSTER_GONE_CLEAN;
    bool unsure = object->dirty && version_compare(object->now.version, object->backed_up) > 0;
    if (parting == CLUSTER_PART_POLITELY && (object->puts > 0 || object->loads > 0 || unsure ||
                                                !object->loaded || object->waiting_count > 0))
        return CLUSTER_BUSY;
    bool dirty = object->dirty && parting == CLUSTER_PART_POLITELY;
    if (dirty)
        *copy = (struct cluster_copy){object->now.version, object->now.deleted,
            object->now.deleted ? value_none() : term_of(object->now.text)};
    for (uint32_t i = 0; i < object->waiting_count; i++)
        answer(node, object->waiting[i], STORE_DONE, NULL);
    forget(node, object);
    return dirty ? CLUSTER_GONE_DIRTY : CLUSTER_GONE_CLEAN;
}

static bool abandon(void *context, uint32_t budget)
{
    struct net_node *node = context;
    (void)budget;
    struct net_object *object = node->objects;
    if (!object)
        return true;
    if (object->dirty) {
        struct cluster_copy copy = {object->now.version, object->now.deleted,
            object->now.deleted ? value_none() : term_of(object->now.text)};
        cluster_keep_copy(node->cluster, id_of(object), &copy, node->net->now_ms);
        value_drop(&copy.value);
    }
    for (uint32_t i = 0; i < object->waiting_count; i++) {
        bool lost = object->executed[i] && object->waiting[i]->kind != CLUSTER_READ;
        bool read = object->waiting[i]->kind == CLUSTER_READ;
        answer(node, object->waiting[i], read || !lost ? BRAIN_EUNAVAILABLE : BRAIN_EUNKNOWN, NULL);
    }
    forget(node, object);
    return false;
}

static bool next(void *context, uint64_t *cursor, uint8_t *id, size_t *id_size)
{
    struct net_node *node = context;
    uint64_t at = 0;
    for (const struct net_object *object = node->objects; object; object = object->next) {
        if (at++ < *cursor)
            continue;
        *cursor = at;
        *id_size = strlen(object->id);
        memcpy(id, object->id, *id_size);
        return true;
    }
    *cursor = 0;
    return false;
}

bool net_idle(struct net *net, int number, const char *id)
{
    struct net_object *object = net_object(net, number, id);
    if (!object || object->dirty || object->puts > 0 || object->waiting_count > 0 ||
        !object->loaded)
        return false;
    struct net_node *node = &net->nodes[number];
    forget(node, object);
    cluster_object_released(node->cluster, slice_of_string(id), net->now_ms);
    return true;
}

static uint32_t comparing(void *context)
{
    const struct net_node *node = context;
    uint32_t count = 0;
    for (const struct net_object *object = node->objects; object; object = object->next)
        count += object->has_copy && object->loads > 0;
    return count;
}

const struct cluster_objects net_objects = {
    .adopt = adopt,
    .raise = raise_epoch,
    .execute = execute,
    .read_stored = read_stored,
    .peek = peek,
    .in_warehouse = in_warehouse,
    .backed_up = backed_up,
    .give_up = give_up,
    .abandon = abandon,
    .next = next,
    .comparing = comparing,
};
