#include "command.h"

#include <ctype.h>
#include <string.h>

#include "brain/etf.h"
#include "info_view.h"
#include "syntax_view.h"

enum { REASON_LIMIT = 1000 };

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
    "An ID is plain text up to the next space, or \"text with spaces\" in quotes (\\\" for a quote "
    "in it).\n";

struct words {
    struct slice verb, id, rest;
    const char *wrong;           /* why the line cannot be carried out; NULL: it can */
    char unquoted[ID_LIMIT + 1]; /* holds the id of a line with quotes */
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

/* Reads an id after its opening quote; returns what follows the closing one. */
static const char *read_quoted(struct words *words, const char *at)
{
    size_t size = 0;
    while (*at != '\0' && *at != '"' && size < sizeof(words->unquoted)) {
        if (*at == '\\' && (at[1] == '"' || at[1] == '\\'))
            at++;
        words->unquoted[size++] = *at++;
    }
    words->id = slice_of(words->unquoted, size);
    if (size == sizeof(words->unquoted))
        words->wrong = "the id is longer than 1024 bytes";
    else if (*at == '\0' || *at == '\n')
        words->wrong = "the quote before the id has no end";
    return *at == '"' ? at + 1 : at;
}

/* verb, id (perhaps in double quotes), rest; trailing spaces are dropped. */
static void split(struct words *words, const char *line)
{
    const char *at = skip_spaces(line);
    const char *end = word_end(at);
    words->wrong = NULL;
    words->verb = slice_of(at, (size_t)(end - at));
    at = skip_spaces(end);
    if (*at == '"') {
        at = read_quoted(words, at + 1);
    } else {
        end = word_end(at);
        words->id = slice_of(at, (size_t)(end - at));
        at = end;
    }
    at = skip_spaces(at);
    size_t size = strlen(at);
    while (size > 0 && isspace((unsigned char)at[size - 1]))
        size--;
    words->rest = slice_of(at, size);
}

static enum console_result complain(struct console *console, const char *sentence)
{
    fflush(console->out); /* in the order of the commands, also into one file */
    fprintf(stderr, "%s\n", sentence);
    return CONSOLE_FAILED;
}

static enum console_result print_term(struct console *console, struct slice term)
{
    struct buffer text;
    buffer_init(&text);
    etf_print(&text, term, SIZE_MAX / 2);
    bool printed = buffer_status(&text) == 0;
    if (printed) {
        fwrite(text.data, 1, text.size, console->out);
        fputc('\n', console->out);
    }
    buffer_release(&text);
    return printed ? CONSOLE_OK : complain(console, "out of memory");
}

/* {error, Reason}: the atom, and the sentence that belongs to it. */
static enum console_result show_error(struct console *console, struct slice reason)
{
#define BRAIN_ERROR_NUMBER(name, value, atom, sentence) name,
    static const int errors[] = {BRAIN_ERRORS(BRAIN_ERROR_NUMBER)};
#undef BRAIN_ERROR_NUMBER
    struct etf_reader reader;
    struct buffer text;
    const char *sentence = "";
    etf_reader_init(&reader, reason, limits);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (etf_take_atom(&reader, error_atom(errors[i])))
            sentence = error_sentence(errors[i]);
    buffer_init(&text);
    etf_print(&text, reason, REASON_LIMIT);
    fflush(console->out);
    fprintf(stderr, "error: %.*s%s%s\n", (int)text.size, (const char *)text.data,
        sentence[0] != '\0' ? ": " : "", sentence);
    buffer_release(&text);
    return CONSOLE_FAILED;
}

/* ok, ko, {ok, Value}, {error, Reason}, or any other term. */
static enum console_result show_answer(struct console *console, struct slice answer)
{
    struct etf_reader reader;
    uint32_t arity;
    etf_reader_init(&reader, answer, limits);
    if (etf_take_atom(&reader, "ko"))
        return complain(console, "no such object");
    if (etf_peek(&reader) == ETF_SMALL_TUPLE && etf_read_tuple(&reader, &arity) == 0 &&
        arity == 2) {
        struct slice body;
        bool is_value = etf_take_atom(&reader, "ok");
        if ((is_value || etf_take_atom(&reader, "error")) && etf_read_term(&reader, &body) == 0)
            return is_value ? print_term(console, body) : show_error(console, body);
    }
    return print_term(console, answer);
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
    return error == 0 ? CONSOLE_OK : complain(console, console->client.sentence);
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
        return complain(console, "set needs an id and a term: set user:1 #{name => \"Ann\"}");
    begin_request(&request, 3, "set", words->id);
    if (etf_parse(&request, words->rest, limits, &at, &why) != 0) {
        buffer_release(&request);
        fflush(console->out);
        fprintf(stderr, "not an Erlang term: %s\n", why);
        syntax_view_print(stderr, words->rest, at);
        return CONSOLE_FAILED;
    }
    return call_and_show(console, &request);
}

static enum console_result do_with_id(
    struct console *console, const char *operation, const struct words *words)
{
    struct buffer request;
    if (words->rest.size != 0)
        return complain(console, "too much after the id; put an id with spaces in double quotes");
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
        return show_answer(console, answer);
    return result;
}

static enum console_result do_shutdown(struct console *console)
{
    char question[CLIENT_NODE_LIMIT + 64];
    snprintf(question, sizeof(question), "Persist everything and stop %s?", console->client.node);
    if (!console->assume_yes && !console->confirm(question))
        return complain(console, "not stopped");
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

static enum console_result execute(struct console *console, const struct words *words)
{
    if (words->verb.size == 0)
        return CONSOLE_OK;
    const char *operation = operation_of(words->verb);
    if (operation != NULL && words->wrong != NULL)
        return complain(console, words->wrong);
    if (operation != NULL && words->id.size == 0)
        return complain(console, "which object? Name its id after the command");
    if (operation != NULL)
        return strcmp(operation, "set") == 0 ? do_set(console, words)
                                             : do_with_id(console, operation, words);
    if (slice_equal_string(words->verb, "info"))
        return do_info(console);
    if (slice_equal_string(words->verb, "shutdown"))
        return do_shutdown(console);
    if (slice_equal_string(words->verb, "quit") || slice_equal_string(words->verb, "exit"))
        return CONSOLE_QUIT;
    if (slice_equal_string(words->verb, "help") || slice_equal_string(words->verb, "?")) {
        fputs(help, console->out);
        return CONSOLE_OK;
    }
    fflush(console->out);
    fprintf(stderr, "no command \"%.*s\"; ? lists them\n", (int)words->verb.size,
        (const char *)words->verb.data);
    return CONSOLE_FAILED;
}

enum console_result console_execute(struct console *console, const char *line)
{
    struct words words;
    split(&words, line);
    return execute(console, &words);
}

enum console_result console_execute_words(struct console *console, char *const *list)
{
    struct words words = {.verb = slice_of_string(list[0])};
    struct buffer term;
    buffer_init(&term);
    if (list[1] != NULL) {
        words.id = slice_of_string(list[1]);
        for (char *const *word = list + 2; *word != NULL; word++) {
            if (term.size > 0)
                buffer_append_u8(&term, ' ');
            buffer_append_slice(&term, slice_of_string(*word));
        }
    }
    words.rest = buffer_slice(&term);
    enum console_result result =
        buffer_status(&term) == 0 ? execute(console, &words) : complain(console, "out of memory");
    buffer_release(&term);
    return result;
}
