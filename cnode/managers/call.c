#include "call.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base64.h"

struct call_key call_key_member(const char *prefix, const char *name)
{
    struct call_key key;
    snprintf(key.text, sizeof(key.text), "%.*smember/%.*s", CALL_PREFIX_LIMIT, prefix,
        MANAGERS_NAME_LIMIT, name);
    return key;
}

struct call_key call_key_evict(const char *prefix, const char *name, uint64_t incarnation)
{
    struct call_key key;
    snprintf(key.text, sizeof(key.text), "%.*sevict/%.*s/%016" PRIx64, CALL_PREFIX_LIMIT, prefix,
        MANAGERS_NAME_LIMIT, name, incarnation);
    return key;
}

struct call_key call_key_history(const char *prefix)
{
    struct call_key key;
    snprintf(key.text, sizeof(key.text), "%.*shistory", CALL_PREFIX_LIMIT, prefix);
    return key;
}

/* ---- pieces -------------------------------------------------------------------------------------
 */

static void text(struct buffer *body, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void text(struct buffer *body, const char *format, ...)
{
    char piece[256];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(piece, sizeof(piece), format, arguments);
    va_end(arguments);
    buffer_append(body, piece, (size_t)size);
}

/* "field":"BASE64" */
static void field(struct buffer *body, const char *name, struct slice bytes)
{
    text(body, "\"%s\":\"", name);
    base64_append(body, bytes);
    text(body, "\"");
}

static void key_field(struct buffer *body, const struct call_key *key)
{
    field(body, "key", slice_of_string(key->text));
}

/* All keys that begin with `prefix`: up to its successor. */
static void prefix_fields(struct buffer *body, const struct call_key *prefix)
{
    struct call_key end = *prefix;
    end.text[strlen(end.text) - 1]++; /* '/': never the last of all bytes */
    key_field(body, prefix);
    text(body, ",");
    field(body, "range_end", slice_of_string(end.text));
}

static void compare(struct buffer *body, const struct call_key *key, bool create, uint64_t revision)
{
    text(body, "{");
    key_field(body, key);
    text(body, ",\"target\":\"%s\",\"result\":\"EQUAL\",\"%s\":\"%" PRIu64 "\"}",
        create ? "CREATE" : "MOD", create ? "create_revision" : "mod_revision", revision);
}

/* That there is no key in the range: etcd compares all that are there, or one of revision 0. */
static void compare_none(struct buffer *body, const struct call_key *prefix)
{
    text(body, "{");
    prefix_fields(body, prefix);
    text(body, ",\"target\":\"CREATE\",\"result\":\"EQUAL\",\"create_revision\":\"0\"}");
}

static void put(struct buffer *body, const struct call_key *key, struct slice value, int64_t lease)
{
    text(body, "{\"request_put\":{");
    key_field(body, key);
    text(body, ",");
    field(body, "value", value);
    text(body, ",\"lease\":\"%" PRId64 "\"}}", lease);
}

static void range(struct buffer *body, const struct call_key *key, bool keys_only)
{
    text(body, "{\"request_range\":{");
    key_field(body, key);
    text(body, ",\"keys_only\":%s}}", keys_only ? "true" : "false");
}

static void remove_key(struct buffer *body, const struct call_key *key)
{
    text(body, "{\"request_delete_range\":{");
    key_field(body, key);
    text(body, "}}");
}

/* ---- requests -----------------------------------------------------------------------------------
 */

static void append_json(struct buffer *body, json_t *value)
{
    char *dumped = value == NULL ? NULL : json_dumps(value, JSON_COMPACT);
    if (dumped != NULL)
        buffer_append(body, dumped, strlen(dumped));
    else
        body->failed = true;
    if (dumped != NULL)
        explicit_bzero(dumped, strlen(dumped));
    free(dumped);
    json_decref(value);
}

void call_authenticate(struct buffer *body, const char *user, const char *password)
{
    append_json(body, json_pack("{s:s,s:s}", "name", user, "password", password));
}

void call_grant(struct buffer *body, uint64_t ttl_s)
{
    text(body, "{\"TTL\":\"%" PRIu64 "\"}", ttl_s);
}

void call_lease(struct buffer *body, int64_t lease)
{
    text(body, "{\"ID\":\"%" PRId64 "\"}", lease);
}

void call_members(struct buffer *body, const char *prefix, uint64_t revision)
{
    struct call_key all = call_key_member(prefix, "");
    text(body, "{");
    prefix_fields(body, &all);
    text(body, ",\"revision\":\"%" PRIu64 "\"}", revision);
}

void call_watch(struct buffer *body, const char *prefix, uint64_t revision)
{
    struct call_key all = call_key_member(prefix, "");
    text(body, "{\"create_request\":{");
    prefix_fields(body, &all);
    text(body, ",\"start_revision\":\"%" PRIu64 "\",\"progress_notify\":true}}", revision);
}

void call_look(struct buffer *body, const char *prefix, const char *name)
{
    struct call_key member = call_key_member(prefix, name), history = call_key_history(prefix);
    struct call_key all = call_key_member(prefix, "");
    text(body, "{\"success\":[");
    range(body, &member, false);
    text(body, ",");
    range(body, &history, false);
    text(body, ",{\"request_range\":{");
    prefix_fields(body, &all);
    text(body, "}}]}");
}

void call_history(struct buffer *body, const char *prefix, uint64_t history, uint64_t revision)
{
    struct call_key key = call_key_history(prefix);
    char value[17];
    snprintf(value, sizeof(value), "%016" PRIx64, history);
    text(body, "{\"compare\":[");
    compare(body, &key, revision == 0, revision);
    text(body, "],\"success\":[");
    put(body, &key, slice_of_string(value), 0);
    text(body, "]}");
}

static void member_encode(struct buffer *value, const struct managers_member *member)
{
    char incarnation[17];
    snprintf(incarnation, sizeof(incarnation), "%016" PRIx64, member->incarnation);
    append_json(value, json_pack("{s:s,s:s,s:I,s:I,s:I}", "incarnation", incarnation, "address",
                           member->address, "port", (json_int_t)member->port, "protocol",
                           (json_int_t)member->protocol, "lease_ms", (json_int_t)member->lease_ms));
}

void call_create(struct buffer *body, const char *prefix, const struct managers_member *member,
    uint64_t history_revision)
{
    struct call_key key = call_key_member(prefix, member->name);
    struct call_key history = call_key_history(prefix);
    struct buffer value;
    buffer_init(&value);
    member_encode(&value, member);
    text(body, "{\"compare\":[");
    compare(body, &key, true, 0);
    text(body, ",");
    compare(body, &history, false, history_revision);
    text(body, "],\"success\":[");
    put(body, &key, buffer_slice(&value), member->lease);
    text(body, "],\"failure\":[");
    range(body, &key, false);
    text(body, "]}");
    body->failed = body->failed || value.failed;
    buffer_release(&value);
}

void call_read(struct buffer *body, const char *prefix, const char *name, uint64_t incarnation)
{
    struct call_key all = call_key_member(prefix, "");
    struct call_key evict = call_key_evict(prefix, name, incarnation);
    struct call_key history = call_key_history(prefix);
    text(body, "{\"success\":[{\"request_range\":{");
    prefix_fields(body, &all);
    text(body, ",\"keys_only\":true}},");
    range(body, &evict, true);
    text(body, ",");
    range(body, &history, true);
    text(body, "]}");
}

void call_evict(
    struct buffer *body, const char *prefix, const struct managers_member *target, int64_t lease)
{
    struct call_key member = call_key_member(prefix, target->name);
    struct call_key evict = call_key_evict(prefix, target->name, target->incarnation), all;
    snprintf(all.text, sizeof(all.text), "%.*sevict/", CALL_PREFIX_LIMIT, prefix);
    text(body, "{\"compare\":[");
    compare(body, &member, false, target->revision);
    text(body, ",");
    compare_none(body, &all);
    text(body, "],\"success\":[");
    put(body, &evict, slice_of(NULL, 0), lease);
    text(body, "]}");
}

void call_remove(struct buffer *body, const char *prefix, const struct managers_member *target,
    uint64_t evict_revision)
{
    struct call_key member = call_key_member(prefix, target->name);
    struct call_key evict = call_key_evict(prefix, target->name, target->incarnation);
    text(body, "{\"compare\":[");
    compare(body, &member, false, target->revision);
    text(body, ",");
    compare(body, &evict, false, evict_revision);
    text(body, "],\"success\":[");
    remove_key(body, &member);
    text(body, ",");
    remove_key(body, &evict);
    text(body, "],\"failure\":[");
    remove_key(body, &evict);
    text(body, "]}");
}

/* ---- a member's value ---------------------------------------------------------------------------
 */

static bool get_integer(const json_t *object, const char *name, uint64_t max, uint64_t *number)
{
    const json_t *found = json_object_get(object, name);
    json_int_t value = json_integer_value(found);
    *number = (uint64_t)value;
    return json_is_integer(found) && value >= 0 && (uint64_t)value <= max;
}

static bool get_incarnation(const json_t *object, uint64_t *incarnation)
{
    const char *hex = json_string_value(json_object_get(object, "incarnation"));
    *incarnation = 0;
    if (hex == NULL || strlen(hex) != 16 || strspn(hex, "0123456789abcdef") != 16)
        return false;
    sscanf(hex, "%16" SCNx64, incarnation);
    return *incarnation != 0;
}

bool call_member_decode(struct managers_member *member, struct slice value)
{
    json_t *object =
        value.size <= 4096 ? json_loadb((const char *)value.data, value.size, 0, NULL) : NULL;
    const char *address = json_string_value(json_object_get(object, "address"));
    uint64_t port = 0, protocol = 0;
    bool good = address != NULL && strlen(address) <= MANAGERS_ADDRESS_LIMIT &&
                get_incarnation(object, &member->incarnation) &&
                get_integer(object, "port", UINT16_MAX, &port) &&
                get_integer(object, "protocol", UINT32_MAX, &protocol) &&
                get_integer(object, "lease_ms", 3600000, &member->lease_ms);
    if (good) {
        memcpy(member->address, address, strlen(address) + 1);
        member->port = (uint16_t)port;
        member->protocol = (uint32_t)protocol;
    }
    json_decref(object);
    return good;
}
