#include "answer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"

static void *allocate_or_end(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL && size > 0)
        abort();
    return memory;
}

void answer_guard_memory(void)
{
    json_set_alloc_funcs(allocate_or_end, free);
}

void answer_init(struct answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    buffer_init(&answer->text);
}

void answer_release(struct answer *answer)
{
    heap_release(answer->kvs);
    buffer_release(&answer->text);
    explicit_bzero(answer->token, sizeof(answer->token));
    answer_init(answer);
}

/* Where all keys and values are empty no text was allocated, and an offset needs an array. */
static struct slice text_part(const struct answer *answer, size_t at, size_t size)
{
    return size == 0 ? slice_of(NULL, 0) : slice_of(answer->text.data + at, size);
}

struct slice answer_key(const struct answer *answer, const struct answer_kv *kv)
{
    return text_part(answer, kv->key, kv->key_size);
}

struct slice answer_value(const struct answer *answer, const struct answer_kv *kv)
{
    return text_part(answer, kv->value, kv->value_size);
}

/* ---- fields: absent is zero, another type is an error ------------------------------------------
 */

/* Proto3's JSON: a 64-bit number is a string of digits; a plain number is allowed, too. */
static bool get_number(const json_t *object, const char *name, uint64_t *number)
{
    const json_t *field = json_object_get(object, name);
    *number = 0;
    if (field == NULL)
        return true;
    if (json_is_integer(field)) {
        *number = (uint64_t)json_integer_value(field);
        return json_integer_value(field) >= 0;
    }
    const char *text = json_string_value(field);
    if (text == NULL || text[0] == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (*number > (UINT64_MAX - digit) / 10)
            return false;
        *number = *number * 10 + digit;
    }
    return true;
}

/* A lease: a positive int64, 0 for none. */
static bool get_lease(const json_t *object, const char *name, int64_t *lease)
{
    uint64_t number;
    bool good = get_number(object, name, &number) && number <= INT64_MAX;
    *lease = good ? (int64_t)number : 0;
    return good;
}

static bool get_bool(const json_t *object, const char *name, bool *flag)
{
    const json_t *field = json_object_get(object, name);
    *flag = json_is_true(field);
    return field == NULL || json_is_boolean(field);
}

static bool get_base64(
    struct buffer *out, const json_t *object, const char *name, size_t *at, size_t *size)
{
    const json_t *field = json_object_get(object, name);
    *at = out->size;
    *size = 0;
    if (field == NULL)
        return true;
    if (!json_is_string(field) ||
        !base64_decode(out, slice_of(json_string_value(field), json_string_length(field))))
        return false;
    *size = out->size - *at;
    return true;
}

/* ---- keys and events ----------------------------------------------------------------------------
 */

static int add_kv(struct answer *answer, const json_t *object, unsigned group, bool deleted)
{
    if (!json_is_object(object))
        return BRAIN_EPROTO;
    if (answer->count == answer->capacity) {
        size_t capacity = answer->capacity == 0 ? 8 : 2 * answer->capacity;
        struct answer_kv *grown = heap_resize(answer->kvs, capacity * sizeof(*grown));
        if (grown == NULL)
            return BRAIN_ENOMEM;
        answer->kvs = grown;
        answer->capacity = capacity;
    }
    struct answer_kv *kv = &answer->kvs[answer->count];
    *kv = (struct answer_kv){.group = group, .deleted = deleted};
    if (!get_base64(&answer->text, object, "key", &kv->key, &kv->key_size) ||
        !get_base64(&answer->text, object, "value", &kv->value, &kv->value_size) ||
        !get_number(object, "create_revision", &kv->create_revision) ||
        !get_number(object, "mod_revision", &kv->mod_revision) ||
        !get_lease(object, "lease", &kv->lease))
        return BRAIN_EPROTO;
    answer->count++;
    return buffer_status(&answer->text);
}

static int add_kvs(struct answer *answer, const json_t *list, unsigned group)
{
    int status = list == NULL || json_is_array(list) ? 0 : BRAIN_EPROTO;
    for (size_t i = 0; status == 0 && i < json_array_size(list); i++)
        status = add_kv(answer, json_array_get(list, i), group, false);
    return status;
}

static int add_responses(struct answer *answer, const json_t *list)
{
    int status = list == NULL || json_is_array(list) ? 0 : BRAIN_EPROTO;
    for (size_t i = 0; status == 0 && i < json_array_size(list); i++) {
        const json_t *range = json_object_get(json_array_get(list, i), "response_range");
        status = range == NULL || json_is_object(range) ? 0 : BRAIN_EPROTO;
        if (status == 0)
            status = add_kvs(answer, json_object_get(range, "kvs"), (unsigned)i);
    }
    return status;
}

static int add_events(struct answer *answer, const json_t *list)
{
    int status = list == NULL || json_is_array(list) ? 0 : BRAIN_EPROTO;
    for (size_t i = 0; status == 0 && i < json_array_size(list); i++) {
        const json_t *event = json_array_get(list, i);
        const json_t *type = json_object_get(event, "type");
        const char *name = type == NULL ? "PUT" : json_string_value(type);
        if (name == NULL || (strcmp(name, "PUT") != 0 && strcmp(name, "DELETE") != 0))
            return BRAIN_EPROTO;
        status = add_kv(answer, json_object_get(event, "kv"), 0, name[0] == 'D');
    }
    return status;
}

/* ---- errors -------------------------------------------------------------------------------------
 */

/* The gateway gives gRPC's code and etcd's words. The code alone does not tell a compacted revision
 * from a future one. */
static enum answer_error classify(uint64_t code, const char *text)
{
    if (code == 16 || strstr(text, "auth token") != NULL ||
        strstr(text, "user name is empty") != NULL ||
        strstr(text, "revision of auth store is old") != NULL)
        return ANSWER_TOKEN_BAD;
    if (strstr(text, "lease not found") != NULL)
        return ANSWER_MISSING;
    if (strstr(text, "has been compacted") != NULL)
        return ANSWER_COMPACTED;
    if (strstr(text, "authentication is not enabled") != NULL)
        return ANSWER_AUTH_OFF;
    return ANSWER_REFUSED;
}

static void set_error(struct answer *answer, uint64_t code, const char *text)
{
    answer->error = classify(code, text);
    snprintf(answer->sentence, sizeof(answer->sentence), "%s",
        text[0] != '\0' ? text : "an error without words");
    for (char *p = answer->sentence; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
            *p = '?';
}

/* {"error": "words", "code": n}, or in a stream {"error": {"message": "words", "grpc_code": n}}. */
static int decode_error(struct answer *answer, const json_t *root, const json_t *error)
{
    const json_t *inside = json_is_object(error) ? error : root;
    const json_t *words = json_is_object(error) ? json_object_get(error, "message") : error;
    uint64_t code;
    if (!get_number(inside, json_is_object(error) ? "grpc_code" : "code", &code))
        return BRAIN_EPROTO;
    if (words != NULL && !json_is_string(words))
        return BRAIN_EPROTO;
    set_error(answer, code, words == NULL ? "" : json_string_value(words));
    return 0;
}

/* ---- all of it ----------------------------------------------------------------------------------
 */

static int decode_plain(struct answer *answer, const json_t *root)
{
    const json_t *header = json_object_get(root, "header");
    const json_t *token = json_object_get(root, "token");
    const json_t *reason = json_object_get(root, "cancel_reason");
    if ((header != NULL && !json_is_object(header)) ||
        !get_number(header, "cluster_id", &answer->cluster_id) ||
        !get_number(header, "revision", &answer->revision) || !get_lease(root, "ID", &answer->id) ||
        !get_number(root, "TTL", &answer->ttl) ||
        !get_bool(root, "succeeded", &answer->succeeded) ||
        !get_bool(root, "created", &answer->created) ||
        !get_bool(root, "canceled", &answer->canceled) ||
        !get_number(root, "compact_revision", &answer->compact_revision) ||
        (token != NULL && !json_is_string(token)) || (reason != NULL && !json_is_string(reason)))
        return BRAIN_EPROTO;
    if (token != NULL) {
        const char *text = json_string_value(token);
        /* It goes into a header line. */
        for (const char *p = text; *p != '\0'; p++)
            if (*p <= ' ' || *p > '~')
                return BRAIN_EPROTO;
        if (strlen(text) >= sizeof(answer->token))
            return BRAIN_EPROTO;
        memcpy(answer->token, text, strlen(text) + 1);
    }
    if (reason != NULL && json_string_length(reason) > 0)
        set_error(answer, 0, json_string_value(reason));
    int status = add_kvs(answer, json_object_get(root, "kvs"), 0);
    if (status == 0)
        status = add_responses(answer, json_object_get(root, "responses"));
    if (status == 0)
        status = add_events(answer, json_object_get(root, "events"));
    return status;
}

int answer_decode(struct answer *answer, struct slice json)
{
    struct answer_kv *kvs = answer->kvs;
    size_t capacity = answer->capacity;
    struct buffer text = answer->text;
    json_error_t problem;

    buffer_clear(&text);
    *answer = (struct answer){.kvs = kvs, .capacity = capacity, .text = text};
    if (json.size > ANSWER_LIMIT)
        return BRAIN_EPROTO;
    json_t *root = json_loadb((const char *)json.data, json.size, 0, &problem);
    if (root == NULL)
        return BRAIN_EPROTO;
    const json_t *error = json_object_get(root, "error");
    const json_t *result = json_object_get(root, "result");
    int status = BRAIN_EPROTO;
    if (error != NULL)
        status = decode_error(answer, root, error);
    else if (json_is_object(root))
        status = decode_plain(answer, json_is_object(result) ? result : root);
    json_decref(root);
    if (status != 0)
        answer->count = 0;
    return status;
}
