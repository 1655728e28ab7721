/* ei_node: the object store that the library of Erlang/OTP for C programs leads to: ei, one thread
 * per connection, one hash table with a lock. It answers the same messages as Brain, so that the
 * same load can be put on both.
 *
 *     ei_node NAME@HOST        the cookie is in ~/.erlang.cookie, epmd at ERL_EPMD_PORT
 *
 * Prints "ready" when it is registered. A rival in a benchmark, not a server for strangers: ei's
 * decoders are not bounded by the message. */
#include <ei.h>

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct entry {
    struct entry *next;
    uint64_t hash;
    uint32_t id_bytes, value_bytes;
    char *value; /* in external form, without the version byte */
    char id[];
};

/* Chained, doubled when there is an entry per bucket. */
static struct table {
    pthread_mutex_t lock;
    struct entry **buckets;
    size_t size, count;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static ei_cnode node;

static void *allocate(size_t size)
{
    void *memory = malloc(size == 0 ? 1 : size);
    if (memory == NULL) {
        fputs("ei_node: out of memory\n", stderr);
        abort();
    }
    return memory;
}

static uint64_t hash_of(const char *id, size_t size)
{
    uint64_t hash = 14695981039346656037U; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)id[i]) * 1099511628211U;
    return hash;
}

static void table_grow(void)
{
    size_t size = table.size == 0 ? 1024 : table.size * 2;
    struct entry **buckets = calloc(size, sizeof(*buckets));
    if (buckets == NULL)
        return; /* longer chains, then */
    for (size_t i = 0; i < table.size; i++) {
        while (table.buckets[i] != NULL) {
            struct entry *entry = table.buckets[i];
            table.buckets[i] = entry->next;
            entry->next = buckets[entry->hash & (size - 1)];
            buckets[entry->hash & (size - 1)] = entry;
        }
    }
    free(table.buckets);
    table.buckets = buckets;
    table.size = size;
}

/* Where the entry hangs, or would. The table is locked and not empty. */
static struct entry **table_find(const char *id, size_t id_bytes, uint64_t hash)
{
    struct entry **link = &table.buckets[hash & (table.size - 1)];
    while (*link != NULL && ((*link)->hash != hash || (*link)->id_bytes != id_bytes ||
                                memcmp((*link)->id, id, id_bytes) != 0))
        link = &(*link)->next;
    return link;
}

static void table_set(const char *id, size_t id_bytes, const char *value, size_t value_bytes)
{
    uint64_t hash = hash_of(id, id_bytes);
    char *copy = allocate(value_bytes), *old = NULL;
    memcpy(copy, value, value_bytes);
    pthread_mutex_lock(&table.lock);
    if (table.count >= table.size)
        table_grow();
    struct entry **link = table_find(id, id_bytes, hash);
    if (*link == NULL) {
        struct entry *entry = allocate(sizeof(*entry) + id_bytes);
        *entry = (struct entry){.hash = hash, .id_bytes = (uint32_t)id_bytes};
        memcpy(entry->id, id, id_bytes);
        *link = entry;
        table.count++;
    }
    old = (*link)->value;
    (*link)->value = copy;
    (*link)->value_bytes = (uint32_t)value_bytes;
    pthread_mutex_unlock(&table.lock);
    free(old);
}

/* Appends {ok, Value} or ko. */
static void table_answer(const char *id, size_t id_bytes, ei_x_buff *answer)
{
    pthread_mutex_lock(&table.lock);
    struct entry *entry = table.size == 0 ? NULL : *table_find(id, id_bytes, hash_of(id, id_bytes));
    if (entry != NULL) {
        ei_x_encode_tuple_header(answer, 2);
        ei_x_encode_atom(answer, "ok");
        ei_x_append_buf(answer, entry->value, (int)entry->value_bytes);
    } else {
        ei_x_encode_atom(answer, "ko");
    }
    pthread_mutex_unlock(&table.lock);
}

static void table_delete(const char *id, size_t id_bytes)
{
    pthread_mutex_lock(&table.lock);
    struct entry **link = table.size == 0 ? NULL : table_find(id, id_bytes, hash_of(id, id_bytes));
    struct entry *entry = link == NULL ? NULL : *link;
    if (entry != NULL) {
        *link = entry->next;
        table.count--;
    }
    pthread_mutex_unlock(&table.lock);
    if (entry != NULL)
        free(entry->value);
    free(entry);
}

/* An id is a binary; the benchmark uses no other. Returns its bytes, or NULL. */
static const char *decode_id(const char *message, int *at, size_t *id_bytes)
{
    int type, size;
    if (ei_get_type(message, at, &type, &size) != 0 || type != ERL_BINARY_EXT)
        return NULL;
    const char *id = message + *at + 5; /* behind the tag and the length */
    *id_bytes = (size_t)size;
    return ei_skip_term(message, at) == 0 ? id : NULL;
}

static int is_no_tag(const char *message, int at)
{
    char atom[MAXATOMLEN_UTF8];
    return ei_decode_atom(message, &at, atom) == 0 &&
           (strcmp(atom, "null") == 0 || strcmp(atom, "nil") == 0 ||
               strcmp(atom, "undefined") == 0);
}

/* Appends the head of an answer: {Tag, ... unless there is no tag. */
static void encode_tag(ei_x_buff *answer, const char *message, int from, int to)
{
    ei_x_new_with_version(answer);
    if (!is_no_tag(message, from)) {
        ei_x_encode_tuple_header(answer, 2);
        ei_x_append_buf(answer, message + from, to - from);
    }
}

/* One request; returns 0 unless the connection failed. A message that is no request is ignored. */
static int serve(int socket, const char *message)
{
    int at = 0, version, arity, consistent;
    char verb[MAXATOMLEN_UTF8];
    const char *id;
    size_t id_bytes;
    if (ei_decode_version(message, &at, &version) != 0 ||
        ei_decode_tuple_header(message, &at, &arity) != 0 || arity < 2 ||
        ei_decode_atom(message, &at, verb) != 0 || verb[1] != '\0')
        return 0;
    if (verb[0] == 'g' && (arity != 5 || ei_decode_boolean(message, &at, &consistent) != 0))
        return 0;
    id = decode_id(message, &at, &id_bytes);
    if (id == NULL)
        return 0;
    if (verb[0] == 's' && arity >= 3) {
        int value = at;
        if (ei_skip_term(message, &at) != 0)
            return 0;
        table_set(id, id_bytes, message + value, (size_t)(at - value));
    } else if (verb[0] == 'd') {
        table_delete(id, id_bytes);
    } else if (verb[0] != 'g') {
        return 0;
    }
    erlang_pid client;
    int is_answered =
        verb[0] == 'g' || (verb[0] == 's' && arity == 5) || (verb[0] == 'd' && arity == 4);
    if (!is_answered || ei_decode_pid(message, &at, &client) != 0)
        return 0;
    int tag = at;
    ei_x_buff answer;
    if (ei_skip_term(message, &at) != 0)
        return 0;
    encode_tag(&answer, message, tag, at);
    if (verb[0] == 'g')
        table_answer(id, id_bytes, &answer);
    else
        ei_x_encode_atom(&answer, "ok");
    int status = ei_send(socket, &client, answer.buff, answer.index);
    ei_x_free(&answer);
    return status;
}

static void *connection_main(void *argument)
{
    int socket = (int)(intptr_t)argument;
    ei_x_buff message;
    erlang_msg control;
    ei_x_new(&message);
    for (;;) {
        message.index = 0;
        int status = ei_xreceive_msg(socket, &control, &message);
        if (status == ERL_TICK)
            continue;
        if (status != ERL_MSG)
            break;
        if ((control.msgtype == ERL_SEND || control.msgtype == ERL_REG_SEND) &&
            serve(socket, message.buff) != 0)
            break;
    }
    ei_x_free(&message);
    ei_close_connection(socket);
    return NULL;
}

static int publish(const char *name)
{
    const char *host = strchr(name, '@');
    char alive[MAXNODELEN], copy[MAXNODELEN], host_name[MAXNODELEN];
    struct in_addr address = {.s_addr = htonl(INADDR_LOOPBACK)};
    if (host == NULL || strlen(name) >= sizeof(copy))
        return -1;
    snprintf(alive, sizeof(alive), "%.*s", (int)(host - name), name);
    snprintf(host_name, sizeof(host_name), "%s", host + 1);
    snprintf(copy, sizeof(copy), "%s", name);
    if (ei_connect_xinit(&node, host_name, alive, copy, &address, NULL, 0) != 0)
        return -1;
    int port = 0; /* any */
    int listener = ei_listen(&node, &port, SOMAXCONN);
    if (listener < 0 || ei_publish(&node, port) < 0)
        return -1;
    return listener;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: ei_node NAME@HOST\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* a client that goes while it is answered must not end the node */
    ei_init();
    int listener = publish(argv[1]);
    if (listener < 0) {
        fputs("ei_node: cannot listen, or epmd refuses the name\n", stderr);
        return EXIT_FAILURE;
    }
    puts("ready");
    fflush(stdout);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        ErlConnect peer;
        pthread_t thread;
        int socket = ei_accept(&node, listener, &peer);
        if (socket == ERL_ERROR)
            continue; /* a handshake that failed is the client's affair */
        if (pthread_create(&thread, &detached, connection_main, (void *)(intptr_t)socket) != 0)
            ei_close_connection(socket);
    }
}
