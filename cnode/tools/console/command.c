#include "command.h"

#include <ctype.h>
#include <string.h>

#include "brain/etf.h"
#include "info_view.h"

static const struct etf_limits limits = {.max_depth = 1 << 20, .max_elements = UINT64_MAX};

const char *const console_commands[] = {
    "get", "set", "dump", "del", "info", "shutdown", "help", "?", "quit", NULL};

static const char help[] =
    "  get ID          print the object\n"
    "  set ID TERM     store an Erlang term, for instance: set user:1 #{name => \"Ann\", age => "
    "7}\n"
    "  dump ID         write the object to the warehouse now and release it from RAM\n"
    "  del ID          delete the object, in RAM and in the warehouse\n"
    "  info            what the node says of itself\n"
    "  shutdown        persist everything, then stop the node (asks first)\n"
    "  help, ?         this\n"
    "  quit            leave (also Ctrl-D)\n"
    "An ID is plain text up to the next space, or \"text with spaces\" in quotes.\n";

struct words {
    struct slice verb, id, rest;
};

static const char *skip_spaces(const char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

static const char *word_end(const char *text)
{
    while (*text != '\0' && !isspace((unsigned char)*text))
        text++;
    return text;
}

/* verb, id (perhaps in double quotes), rest; trailing spaces are dropped. */
static struct words split(const char *line)
{
    struct words words;
    const char *at = skip_spaces(line);
    const char *end = word_end(at);
    words.verb = slice_of(at, (size_t)(end - at));
    at = skip_spaces(end);
    const char *quote = *at == '"' ? strchr(at + 1, '"') : NULL;
    if (quote != NULL) {
        words.id = slice_of(at + 1, (size_t)(quote - at - 1));
        end = quote + 1;
    } else {
        end = word_end(at);
        words.id = slice_of(at, (size_t)(end - at));
    }
    at = skip_spaces(end);
    size_t size = strlen(at);
    while (size > 0 && isspace((unsigned char)at[size - 1]))
        size--;
    words.rest = slice_of(at, size);
    return words;
}

static enum console_result complain(const char *sentence)
{
    fprintf(stderr, "%s\n", sentence);
    return CONSOLE_FAILED;
}

static void print_term(FILE *out, struct slice term)
{
    struct buffer text;
    buffer_init(&text);
    etf_print(&text, term, SIZE_MAX / 2);
    fwrite(text.data, 1, text.size, out);
    fputc('\n', out);
    buffer_release(&text);
}

/* ok, ko, {ok, Value}, {error, Reason}, or any other term. */
static enum console_result show_answer(struct console *console, struct slice answer)
{
    struct etf_reader reader;
    uint32_t arity;
    etf_reader_init(&reader, answer, limits);
    if (etf_take_atom(&reader, "ko"))
        return complain("no such object");
    if (etf_peek(&reader) == ETF_SMALL_TUPLE && etf_read_tuple(&reader, &arity) == 0 &&
        arity == 2) {
        struct slice body;
        bool is_value = etf_take_atom(&reader, "ok");
        if ((is_value || etf_take_atom(&reader, "error")) && etf_read_term(&reader, &body) == 0) {
            if (!is_value)
                fputs("error: ", stderr);
            print_term(is_value ? console->out : stderr, body);
            return is_value ? CONSOLE_OK : CONSOLE_FAILED;
        }
    }
    print_term(console->out, answer);
    return CONSOLE_OK;
}

static enum console_result call(
    struct console *console, struct buffer *request, struct slice *answer)
{
    int error = buffer_status(request);
    if (error == 0)
        error = client_call(&console->client, buffer_slice(request), answer);
    else
        snprintf(console->client.sentence, sizeof(console->client.sentence), "out of memory");
    buffer_release(request);
    return error == 0 ? CONSOLE_OK : complain(console->client.sentence);
}

static enum console_result call_and_show(struct console *console, struct buffer *request)
{
    struct slice answer;
    enum console_result result = call(console, request, &answer);
    return result == CONSOLE_OK ? show_answer(console, answer) : result;
}

/* {Operation, Id} */
static void begin_request(
    struct buffer *request, uint32_t arity, const char *operation, struct slice id)
{
    buffer_init(request);
    etf_write_tuple(request, arity);
    etf_write_atom(request, operation);
    etf_write_binary(request, id);
}

static enum console_result do_set(struct console *console, const struct words *words)
{
    struct buffer request;
    size_t at = 0;
    const char *why = "";
    if (words->rest.size == 0)
        return complain("set needs an id and a term: set user:1 #{name => \"Ann\"}");
    begin_request(&request, 3, "set", words->id);
    if (etf_parse(&request, words->rest, limits, &at, &why) != 0) {
        buffer_release(&request);
        fprintf(stderr, "not an Erlang term: %s\n  %.*s\n  %*s^\n", why, (int)words->rest.size,
            (const char *)words->rest.data, (int)at, "");
        return CONSOLE_FAILED;
    }
    return call_and_show(console, &request);
}

static enum console_result do_with_id(
    struct console *console, const char *operation, const struct words *words)
{
    struct buffer request;
    if (words->rest.size != 0)
        return complain("too much after the id; put an id with spaces in double quotes");
    begin_request(&request, 2, operation, words->id);
    return call_and_show(console, &request);
}

static enum console_result do_info(struct console *console)
{
    struct buffer request;
    struct slice answer;
    buffer_init(&request);
    etf_write_atom(&request, "info");
    enum console_result result = call(console, &request, &answer);
    if (result == CONSOLE_OK && !info_view_print(console->out, answer))
        print_term(console->out, answer);
    return result;
}

static enum console_result do_shutdown(struct console *console)
{
    char question[CLIENT_NODE_LIMIT + 64];
    snprintf(question, sizeof(question), "Persist everything and stop %s?", console->client.node);
    if (!console->assume_yes && !console->confirm(question))
        return complain("not stopped");
    struct buffer request;
    buffer_init(&request);
    etf_write_atom(&request, "shutdown");
    return call_and_show(console, &request);
}

/* The request that a verb about one object stands for; NULL: it is not about one object. */
static const char *operation_of(struct slice verb)
{
    static const struct {
        const char *verb, *operation;
    } table[] = {{"get", "get"}, {"set", "set"}, {"dump", "persist"}, {"del", "delete"}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (slice_equal_string(verb, table[i].verb))
            return table[i].operation;
    return NULL;
}

enum console_result console_execute(struct console *console, const char *line)
{
    const struct words words = split(line);
    if (words.verb.size == 0)
        return CONSOLE_OK;
    const char *operation = operation_of(words.verb);
    if (operation != NULL && words.id.size == 0)
        return complain("which object? Name its id after the command");
    if (operation != NULL)
        return strcmp(operation, "set") == 0 ? do_set(console, &words)
                                             : do_with_id(console, operation, &words);
    if (slice_equal_string(words.verb, "info"))
        return do_info(console);
    if (slice_equal_string(words.verb, "shutdown"))
        return do_shutdown(console);
    if (slice_equal_string(words.verb, "quit") || slice_equal_string(words.verb, "exit"))
        return CONSOLE_QUIT;
    if (slice_equal_string(words.verb, "help") || slice_equal_string(words.verb, "?")) {
        fputs(help, console->out);
        return CONSOLE_OK;
    }
    fprintf(stderr, "no command \"%.*s\"; ? lists them\n", (int)words.verb.size,
        (const char *)words.verb.data);
    return CONSOLE_FAILED;
}
