/* peb_client: what a PHP worker with the Peb extension does, by the same library (ei) and with the
 * same forms: two links of one node name at once, REG_SEND of ei_x_format terms, and a receive that
 * accepts nothing but SEND.
 *
 *     peb_client NODE COOKIE
 *
 * Prints one line per step; exit status 0 when all of them are as PHP needs them. */
#include <ei.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMEOUT_MS = 5000 };

static int failures;

static void step(const char *name, int good)
{
    printf("%s %s\n", good ? "ok  " : "FAIL", name);
    fflush(stdout);
    if (!good)
        failures++;
}

struct link {
    ei_cnode node;
    int socket;
};

/* Both links of a worker carry the same name: pconnect and the first connect have instance 0. */
static int link_open(struct link *link, const char *server, const char *cookie)
{
    char alive[64], node[128];
    struct in_addr address = {.s_addr = htonl(INADDR_LOOPBACK)};
    snprintf(alive, sizeof(alive), "peb_client_%d_0", (int)getpid());
    snprintf(node, sizeof(node), "%s@localhost", alive);
    if (ei_connect_xinit(&link->node, "localhost", alive, node, &address, cookie, 0) != 0)
        return -1;
    char name[128];
    snprintf(name, sizeof(name), "%s", server);
    link->socket = ei_connect_tmo(&link->node, name, TIMEOUT_MS);
    return link->socket < 0 ? -1 : 0;
}

static int link_send(struct link *link, const char *to, ei_x_buff *message)
{
    char name[32];
    snprintf(name, sizeof(name), "%s", to);
    int status =
        ei_reg_send_tmo(&link->node, link->socket, name, message->buff, message->index, TIMEOUT_MS);
    ei_x_free(message);
    return status;
}

/* Peb's receive: ticks are skipped, anything but SEND is an error. The term is left in `message`,
 * `*at` behind its version byte. */
static int link_receive(struct link *link, ei_x_buff *message, int *at, unsigned timeout_ms)
{
    erlang_msg control;
    ei_x_new(message);
    for (;;) {
        int status = ei_xreceive_msg_tmo(link->socket, &control, message, timeout_ms);
        if (status == ERL_TICK)
            continue;
        if (status != ERL_MSG || control.msgtype != ERL_SEND)
            return -1;
        int version;
        *at = 0;
        return ei_decode_version(message->buff, at, &version);
    }
}

static int is_nothing_there(struct link *link)
{
    ei_x_buff message;
    int at;
    int status = link_receive(link, &message, &at, 300);
    int timed_out = status != 0 && erl_errno == ETIMEDOUT;
    ei_x_free(&message);
    return timed_out;
}

static int is_atom(const ei_x_buff *message, int *at, const char *text)
{
    char atom[MAXATOMLEN_UTF8];
    return ei_decode_atom_as(message->buff, at, atom, sizeof(atom), ERLANG_UTF8, NULL, NULL) == 0 &&
           strcmp(atom, text) == 0;
}

static int is_string(const ei_x_buff *message, int *at, const char *text)
{
    char string[256];
    int type, size;
    if (ei_get_type(message->buff, at, &type, &size) != 0 || type != ERL_STRING_EXT ||
        size >= (int)sizeof(string))
        return 0;
    return ei_decode_string(message->buff, at, string) == 0 && strcmp(string, text) == 0;
}

static int is_binary(const ei_x_buff *message, int *at, const char *text)
{
    char bytes[256];
    int type, size;
    long length;
    if (ei_get_type(message->buff, at, &type, &size) != 0 || type != ERL_BINARY_EXT ||
        size >= (int)sizeof(bytes))
        return 0;
    return ei_decode_binary(message->buff, at, bytes, &length) == 0 &&
           (size_t)length == strlen(text) && memcmp(bytes, text, (size_t)length) == 0;
}

typedef int (*check)(const ei_x_buff *message, int *at, const char *text);

/* The next answer is {ok, Value}. */
static int answer_is(struct link *link, check is_value, const char *text)
{
    ei_x_buff message;
    int at, arity;
    int good = link_receive(link, &message, &at, TIMEOUT_MS) == 0 &&
               ei_decode_tuple_header(message.buff, &at, &arity) == 0 && arity == 2 &&
               is_atom(&message, &at, "ok") && is_value(&message, &at, text);
    ei_x_free(&message);
    return good;
}

static int answer_is_ko(struct link *link)
{
    ei_x_buff message;
    int at;
    int good = link_receive(link, &message, &at, TIMEOUT_MS) == 0 && is_atom(&message, &at, "ko");
    ei_x_free(&message);
    return good;
}

static int set_string(struct link *link, const char *id, const char *value)
{
    ei_x_buff message;
    ei_x_new_with_version(&message);
    ei_x_format_wo_ver(&message, "{~a,~s,~s}", "s", id, value);
    return link_send(link, "brain", &message);
}

static int ask(struct link *link, const char *format, const char *id)
{
    ei_x_buff message;
    ei_x_new_with_version(&message);
    ei_x_format_wo_ver(&message, format, "g", "true", id, ei_self(&link->node), "null");
    return link_send(link, "brain", &message);
}

static int ask_string(struct link *link, const char *id)
{
    return ask(link, "{~a,~a,~s,~p,~a}", id);
}

static int send_pair(struct link *link, const char *operation, const char *id)
{
    ei_x_buff message;
    ei_x_new_with_version(&message);
    ei_x_format_wo_ver(&message, "{~a,~s}", operation, id);
    return link_send(link, "brain", &message);
}

/* {s, ~b, ~b}: ei_x_format has no binaries; Peb encodes them itself. */
static int set_binary(struct link *link, const char *id, const char *value)
{
    ei_x_buff message;
    ei_x_new_with_version(&message);
    ei_x_encode_tuple_header(&message, 3);
    ei_x_encode_atom(&message, "s");
    ei_x_encode_binary(&message, id, (int)strlen(id));
    ei_x_encode_binary(&message, value, (int)strlen(value));
    return link_send(link, "brain", &message);
}

static int ask_binary(struct link *link, const char *id)
{
    ei_x_buff message;
    ei_x_new_with_version(&message);
    ei_x_encode_tuple_header(&message, 5);
    ei_x_encode_atom(&message, "g");
    ei_x_encode_atom(&message, "true");
    ei_x_encode_binary(&message, id, (int)strlen(id));
    ei_x_encode_pid(&message, ei_self(&link->node));
    ei_x_encode_atom(&message, "null");
    return link_send(link, "brain", &message);
}

/* What Peb sends for a broken format: 131 and nothing; a tuple that lacks elements; two terms. */
static void send_broken(struct link *link)
{
    ei_x_buff message;
    ei_x_new_with_version(&message);
    link_send(link, "brain", &message);
    ei_x_new_with_version(&message);
    ei_x_encode_tuple_header(&message, 3);
    ei_x_encode_atom(&message, "s");
    link_send(link, "brain", &message);
    ei_x_new_with_version(&message);
    ei_x_encode_atom(&message, "one");
    ei_x_encode_atom(&message, "two");
    link_send(link, "brain", &message);
}

static int rpc_is_answered(struct link *link)
{
    ei_x_buff arguments, result;
    char module[] = "erlang", function[] = "node";
    ei_x_new(&arguments);
    ei_x_encode_empty_list(&arguments);
    ei_x_new(&result);
    int status = ei_rpc(&link->node, link->socket, module, function, arguments.buff,
        arguments.index, &result); /* waits for ever when nobody answers: the test has a limit */
    int at = 0, arity;
    int good = status >= 0 && ei_decode_tuple_header(result.buff, &at, &arity) == 0 && arity == 2 &&
               is_atom(&result, &at, "badrpc");
    ei_x_free(&arguments);
    ei_x_free(&result);
    return good;
}

static void two_links(struct link *plain, struct link *persistent)
{
    step("set on one link", set_string(plain, "obj1", "hello") == 0);
    step("get on the same link",
        ask_string(plain, "obj1") == 0 && answer_is(plain, is_string, "hello"));
    step("get on the other link of the same name",
        ask_string(persistent, "obj1") == 0 && answer_is(persistent, is_string, "hello"));
    set_string(persistent, "obj2", "world");
    step("the set on the other link is there",
        ask_string(persistent, "obj2") == 0 && answer_is(persistent, is_string, "world"));

    /* Asked on both before either answer is read: each comes back where it was asked. */
    int good = 1;
    for (int i = 0; i < 50; i++) {
        good &= ask_string(plain, "obj1") == 0 && ask_string(persistent, "obj2") == 0;
        good &= answer_is(persistent, is_string, "world") && answer_is(plain, is_string, "hello");
    }
    step("answers go to the link that asked", good);
    step("absent is ko", ask_string(plain, "absent") == 0 && answer_is_ko(plain));
    step("one answer per get, on each link",
        is_nothing_there(plain) && is_nothing_there(persistent));
}

static void forms(struct link *link)
{
    set_binary(link, "obj3", "bytes");
    step("binary id and value",
        ask_binary(link, "obj3") == 0 && answer_is(link, is_binary, "bytes"));
    step("the same object by ~s",
        ask_string(link, "obj3") == 0 && answer_is(link, is_binary, "bytes"));
    step("the same object by ~a",
        ask(link, "{~a,~a,~a,~p,~a}", "obj3") == 0 && answer_is(link, is_binary, "bytes"));
    send_pair(link, "p", "obj3");
    step("back from the warehouse",
        ask_binary(link, "obj3") == 0 && answer_is(link, is_binary, "bytes"));
    send_pair(link, "d", "obj3");
    step("deleted is ko", ask_binary(link, "obj3") == 0 && answer_is_ko(link));
    send_broken(link);
    step("broken messages have no answer", is_nothing_there(link));
    step(
        "and the link lives", ask_string(link, "obj1") == 0 && answer_is(link, is_string, "hello"));
    step("peb_rpc is answered", rpc_is_answered(link));
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: peb_client NODE COOKIE\n");
        return 2;
    }
    struct link plain, persistent;
    ei_init();
    if (link_open(&plain, argv[1], argv[2]) != 0 || link_open(&persistent, argv[1], argv[2]) != 0) {
        fprintf(stderr, "cannot connect to %s: %s\n", argv[1], strerror(erl_errno));
        return 1;
    }
    step("two links of the same name", 1);
    two_links(&plain, &persistent);
    forms(&plain);
    /* One of the two goes; the other does not notice. */
    close(persistent.socket);
    step("the other link outlives it",
        ask_string(&plain, "obj1") == 0 && answer_is(&plain, is_string, "hello"));
    close(plain.socket);
    printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
